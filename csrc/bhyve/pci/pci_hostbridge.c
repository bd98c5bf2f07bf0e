/*
 * The host bridge: an identity and a PCI Express capability.
 */
#include <stdlib.h>
#include <string.h>

#include "bootrom.h"
#include "debug.h"
#include "pci_emul.h"
#include "qemu_fwcfg.h"

#define NETAPP_VENDOR 0x1275
#define NETAPP_DEVICE 0x1275
/* The subsystem by which SeaBIOS knows that there is a fw_cfg device. */
#define QEMU_SUBVENDOR 0x1af4
#define QEMU_SUBDEVICE 0x1100

static const struct {
	const char *model;
	uint16_t vendor, device;
} models[] = {
	{ "netapp", NETAPP_VENDOR, NETAPP_DEVICE },
	{ "amd", 0x1022, 0x7432 },
	{ "i440fx", 0x8086, 0x1237 },
	{ "q35", 0x8086, 0x29b0 },
};

static int
pci_hostbridge_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	const char *model;
	long device, vendor;
	size_t i, n;

	vendor = NETAPP_VENDOR;
	device = NETAPP_DEVICE;
	model = get_config_value_node(nvl, "model");
	if (model != NULL) {
		n = sizeof(models) / sizeof(models[0]);
		for (i = 0; i < n && strcmp(models[i].model, model) != 0; i++)
			;
		if (i == n) {
			EPRINTLN("hostbridge: unknown model \"%s\"", model);
			return (-1);
		}
		vendor = models[i].vendor;
		device = models[i].device;
	}
	vendor = get_config_int_node_default(nvl, "vendor", vendor, 0, 0xffff);
	device = get_config_int_node_default(nvl, "devid", device, 0, 0xffff);
	if (config_failed())
		return (-1);
	pci_set_cfgdata16(pi, PCIR_VENDOR, (uint16_t)vendor);
	pci_set_cfgdata16(pi, PCIR_DEVICE, (uint16_t)device);
	pci_set_cfgdata8(pi, PCIR_HDRTYPE, PCIM_HDRTYPE_NORMAL);
	pci_set_cfgdata8(pi, PCIR_CLASS, PCIC_BRIDGE);
	pci_set_cfgdata8(pi, PCIR_SUBCLASS, PCIS_BRIDGE_HOST);
	if (bootrom_is_bios() && qemu_fwcfg_present()) {
		pci_set_cfgdata16(pi, PCIR_SUBVEND_0, QEMU_SUBVENDOR);
		pci_set_cfgdata16(pi, PCIR_SUBDEV_0, QEMU_SUBDEVICE);
	}
	return (pci_emul_add_pciecap(pi, PCIEM_TYPE_ROOT_PORT));
}

/*
 * illumos' managers spell the device id "device=", which is the name of the
 * model in the tree: it becomes "devid".
 */
static int
pci_hostbridge_legacy_config(nvlist_t *nvl, const char *opts)
{
	char *copy, *next, *word;
	int error;

	if (opts == NULL)
		return (0);
	next = copy = strdup(opts);
	if (copy == NULL)
		return (-1);
	error = 0;
	while (error == 0 && (word = strsep(&next, ",")) != NULL) {
		if (strncmp(word, "device=", 7) == 0)
			error = set_config_value_node(nvl, "devid", word + 7);
		else
			error = pci_parse_legacy_config(nvl, word);
	}
	free(copy);
	return (error);
}

static int
pci_amd_hostbridge_legacy_config(nvlist_t *nvl, const char *opts)
{
	if (set_config_value_node(nvl, "vendor", "0x1022") != 0 ||
	    set_config_value_node(nvl, "devid", "0x7432") != 0)
		return (-1);
	return (pci_hostbridge_legacy_config(nvl, opts));
}

static const struct pci_devemu pci_de_amd_hostbridge = {
	.pe_emu = "amd_hostbridge",
	.pe_legacy_config = pci_amd_hostbridge_legacy_config,
	.pe_alias = "hostbridge",
};
PCI_EMUL_SET(pci_de_amd_hostbridge);

static const struct pci_devemu pci_de_hostbridge = {
	.pe_emu = "hostbridge",
	.pe_legacy_config = pci_hostbridge_legacy_config,
	.pe_init = pci_hostbridge_init,
};
PCI_EMUL_SET(pci_de_hostbridge);
