/*
 * The LPC bridge with its COM ports and PIRQ registers, the grammar of -l,
 * and the bridge's part of the DSDT.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "acpi_aml.h"
#include "bhyverun.h"
#include "debug.h"
#include "inout.h"
#include "pci_emul.h"
#include "pci_irq.h"
#include "pci_lpc.h"
#include "pctestdev.h"
#include "uart_emul.h"
#include "vmmapi.h"

#define LPC_DEV 0x7000
#define LPC_VENDOR 0x8086
#define IO_ICU1 0x20
#define IO_ICU2 0xa0
#define IO_ELCR1 0x4d0
#define IO_TIMER1_PORT 0x40
#define NMISC_PORT 0x61
#define LPC_UART_NUM 4

SET_DECLARE(lpc_dsdt_set, const struct lpc_dsdt);
SET_DECLARE(lpc_sysres_set, const struct lpc_sysres);

struct lpc_uart_softc {
	struct uart_ns16550_softc *uart;
	struct vmctx *ctx;
	int iobase, irq;
};

static struct lpc_uart_softc lpc_uarts[LPC_UART_NUM];
static struct pci_devinst *lpc_devinst;

static const char *const lpc_uart_names[LPC_UART_NUM] = { "com1", "com2",
	"com3", "com4" };
static const char *const lpc_names[] = { "bootrom", "com1", "com2", "com3",
	"com4", "tpm", "pc-testdev" };

/* ---- the grammar of -l ---- */

const char *
lpc_device_name(int i)
{
	if (i < 0 || (size_t)i >= sizeof(lpc_names) / sizeof(lpc_names[0]))
		return (NULL);
	return (lpc_names[i]);
}

void
lpc_print_supported_devices(void)
{
	const char *name;
	int i;

	for (i = 0; (name = lpc_device_name(i)) != NULL; i++)
		PRINTLN("%s", name);
}

/* ROM[,VARS][,name=value...] */
static int
parse_bootrom(char *rest)
{
	char *romfile, *varfile;
	nvlist_t *nvl;

	romfile = strsep(&rest, ",");
	if (romfile == NULL || *romfile == '\0') {
		ewarnx("bootrom: no firmware file given");
		return (BHYVE_EXIT_ERROR);
	}
	if (set_config_value("bootrom", romfile) != 0)
		return (BHYVE_EXIT_ERROR);
	/* The second word is the variable store unless it is an option. */
	if (rest != NULL && memchr(rest, '=', strcspn(rest, ",")) == NULL) {
		varfile = strsep(&rest, ",");
		if (*varfile != '\0' &&
		    set_config_value("bootvars", varfile) != 0)
			return (BHYVE_EXIT_ERROR);
	}
	nvl = create_config_node("lpc");
	if (nvl == NULL)
		return (BHYVE_EXIT_ERROR);
	/* A default may stand there already; this is the user's word. */
	while (rest != NULL) {
		char *name, *value;

		name = strsep(&rest, ",");
		value = strchr(name, '=');
		if (*name == '\0')
			continue;
		if (value != NULL)
			*value++ = '\0';
		if (set_config_value_node(
			nvl, name, value != NULL ? value : "true") != 0)
			return (BHYVE_EXIT_ERROR);
	}
	return (0);
}

/* TYPE,PATH[,name=value...] */
static int
parse_tpm(char *rest)
{
	char *path, *type;
	nvlist_t *nvl;

	type = strsep(&rest, ",");
	path = strsep(&rest, ",");
	if (type == NULL || *type == '\0' || path == NULL || *path == '\0') {
		ewarnx("tpm: %s",
		    type == NULL || *type == '\0' ? "no type given"
						  : "no path given");
		return (BHYVE_EXIT_ERROR);
	}
	nvl = create_config_node("tpm");
	if (nvl == NULL || set_config_value_node(nvl, "type", type) != 0 ||
	    set_config_value_node(nvl, "path", path) != 0 ||
	    pci_parse_legacy_config(nvl, rest) != 0 ||
	    set_config_value_node_if_unset(nvl, "version", "2.0") != 0)
		return (BHYVE_EXIT_ERROR);
	return (0);
}

static int
parse_named(const char *name, char *rest)
{
	char path[32];
	int unit;

	if (strcasecmp(name, "bootrom") == 0)
		return (parse_bootrom(rest));
	if (strcasecmp(name, "tpm") == 0)
		return (parse_tpm(rest));
	for (unit = 0; unit < LPC_UART_NUM; unit++) {
		if (strcasecmp(name, lpc_uart_names[unit]) != 0)
			continue;
		if (rest == NULL || *rest == '\0')
			return (BHYVE_EXIT_USAGE);
		snprintf(
		    path, sizeof(path), "lpc.%s.path", lpc_uart_names[unit]);
		return (
		    set_config_value(path, rest) != 0 ? BHYVE_EXIT_ERROR : 0);
	}
	if (strcasecmp(name, "pc-testdev") == 0 && rest == NULL)
		return (set_config_bool("lpc.pc-testdev", true) != 0
			? BHYVE_EXIT_ERROR
			: 0);
	return (BHYVE_EXIT_USAGE);
}

int
lpc_device_parse(const char *opt)
{
	char *copy, *name, *rest;
	int status;

	copy = rest = strdup(opt);
	if (copy == NULL)
		return (BHYVE_EXIT_ERROR);
	name = strsep(&rest, ",");
	status = parse_named(name, rest);
	if (status == BHYVE_EXIT_USAGE)
		ewarnx("invalid lpc device configuration '%s'", opt);
	free(copy);
	return (status);
}

const char *
lpc_bootrom(void)
{
	return (get_config_value("bootrom"));
}

const char *
lpc_fwcfg(void)
{
	return (get_config_value("lpc.fwcfg"));
}

struct pci_devinst *
lpc_bridge(void)
{
	return (lpc_devinst);
}

/* ---- COM ports ---- */

static void
lpc_uart_intr_assert(void *arg)
{
	struct lpc_uart_softc *sc = arg;

	vm_isa_pulse_irq(sc->ctx, sc->irq, sc->irq);
}

static void
lpc_uart_intr_deassert(void *arg)
{
	/* The interrupt is an edge: there is no level to take away. */
}

static int
lpc_uart_io_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	struct lpc_uart_softc *sc = arg;

	if (in)
		*eax = uart_ns16550_read(sc->uart, port - sc->iobase);
	else
		uart_ns16550_write(sc->uart, port - sc->iobase, (uint8_t)*eax);
	return (0);
}

static int
lpc_uart_init(struct vmctx *ctx, int unit)
{
	struct lpc_uart_softc *sc = &lpc_uarts[unit];
	struct inout_port iop;
	const char *backend;
	char path[32];
	int error;

	if (uart_legacy_alloc(unit, &sc->iobase, &sc->irq) != 0) {
		EPRINTLN("Unable to allocate resources for LPC device %s",
		    lpc_uart_names[unit]);
		return (-1);
	}
	pci_irq_reserve(sc->irq);
	sc->ctx = ctx;
	sc->uart =
	    uart_ns16550_init(lpc_uart_intr_assert, lpc_uart_intr_deassert, sc);
	snprintf(path, sizeof(path), "lpc.%s.path", lpc_uart_names[unit]);
	backend = get_config_value(path);
	if (sc->uart == NULL) {
		EPRINTLN("%s: out of memory", lpc_uart_names[unit]);
		return (-1);
	}
	if (uart_ns16550_tty_open(sc->uart, backend) != 0)
		return (-1);
	memset(&iop, 0, sizeof(iop));
	iop.name = lpc_uart_names[unit];
	iop.port = sc->iobase;
	iop.size = UART_NS16550_IO_BAR_SIZE;
	iop.flags = IOPORT_F_INOUT | IOPORT_F_BYTES;
	iop.handler = lpc_uart_io_handler;
	iop.arg = sc;
	error = register_inout(&iop);
	if (error != 0)
		EPRINTLN("%s: %s", lpc_uart_names[unit], strerror(error));
	return (error);
}

static void
lpc_uarts_cleanup(void)
{
	int unit;

	for (unit = 0; unit < LPC_UART_NUM; unit++) {
		if (lpc_uarts[unit].iobase == 0)
			continue;
		uart_ns16550_cleanup(lpc_uarts[unit].uart);
		uart_legacy_dealloc(unit);
		memset(&lpc_uarts[unit], 0, sizeof(lpc_uarts[unit]));
	}
}

/* ---- the bridge ---- */

/* PIRQ pin (1 to 8) of a configuration register, or 0. */
static int
pirq_pin_of(int offset)
{
	if (offset >= 0x60 && offset <= 0x63)
		return (offset - 0x60 + 1);
	if (offset >= 0x68 && offset <= 0x6b)
		return (offset - 0x68 + 5);
	return (0);
}

static int
pci_lpc_cfgwrite(struct pci_devinst *pi, int offset, int bytes, uint32_t val)
{
	bool hit;
	int i, pin;

	hit = false;
	for (i = 0; i < bytes; i++, val >>= 8) {
		pin = pirq_pin_of(offset + i);
		if (pin != 0) {
			pirq_write(pi->pi_vmctx, pin, (uint8_t)val);
			hit = true;
		}
	}
	return (hit ? 0 : -1);
}

static int
pci_lpc_cfgread(struct pci_devinst *pi, int offset, int bytes, uint32_t *retval)
{
	uint32_t byte, val;
	bool hit;
	int i, pin;

	hit = false;
	val = 0;
	for (i = 0; i < bytes; i++) {
		pin = pirq_pin_of(offset + i);
		byte = pin != 0 ? pirq_read(pin)
				: pci_get_cfgdata8(pi, offset + i);
		hit = hit || pin != 0;
		val |= byte << (i * 8);
	}
	if (hit)
		*retval = val;
	return (hit ? 0 : -1);
}

/* lpc.pcireg.NAME = host: the number of the host's own ISA bridge. */
static int
host_isa_reg(const char *file, uint32_t *val)
{
	char path[512];
	unsigned int class, num;
	struct dirent *de;
	DIR *dir;
	FILE *fp;
	int found;

	dir = opendir("/sys/bus/pci/devices");
	found = 0;
	while (dir != NULL && !found && (de = readdir(dir)) != NULL) {
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/class",
		    de->d_name);
		fp = fopen(path, "re");
		if (fp == NULL)
			continue;
		if (fscanf(fp, "%x", &class) != 1)
			class = 0;
		fclose(fp);
		if (class >> 8 != (PCIC_BRIDGE << 8 | PCIS_BRIDGE_ISA))
			continue;
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s",
		    de->d_name, file);
		fp = fopen(path, "re");
		if (fp == NULL)
			continue;
		found = fscanf(fp, "%x", &num) == 1;
		fclose(fp);
		if (found)
			*val = num;
	}
	if (dir != NULL)
		closedir(dir);
	return (found ? 0 : -1);
}

static int
lpc_read_reg(nvlist_t *nvl, const char *name, const char *file, long max,
    uint32_t def, uint32_t *val)
{
	const char *text;
	nvlist_t *regs;

	regs = nvl != NULL ? find_relative_config_node(nvl, "pcireg") : NULL;
	text = regs != NULL ? get_config_value_node(regs, name) : NULL;
	if (text != NULL && strcmp(text, "host") == 0) {
		if (host_isa_reg(file, val) == 0)
			return (0);
		EPRINTLN(
		    "lpc: the host has no ISA bridge to take %s from", name);
		return (-1);
	}
	return (pci_config_read_reg(nvl, name, max, def, val));
}

static int
lpc_set_identity(struct pci_devinst *pi)
{
	static const struct {
		const char *name, *file;
		int offset;
		uint32_t def;
	} regs[] = {
		{ "vendor", "vendor", PCIR_VENDOR, LPC_VENDOR },
		{ "device", "device", PCIR_DEVICE, LPC_DEV },
		{ "revid", "revision", PCIR_REVID, 0 },
		{ "subvendor", "subsystem_vendor", PCIR_SUBVEND_0, 0 },
		{ "subdevice", "subsystem_device", PCIR_SUBDEV_0, 0 },
	};
	nvlist_t *nvl;
	uint32_t val;
	bool byte;
	size_t i;

	nvl = find_config_node("lpc");
	for (i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
		byte = regs[i].offset == PCIR_REVID;
		if (lpc_read_reg(nvl, regs[i].name, regs[i].file,
			byte ? 0xff : 0xffff, regs[i].def, &val) != 0)
			return (-1);
		if (byte)
			pci_set_cfgdata8(pi, regs[i].offset, (uint8_t)val);
		else
			pci_set_cfgdata16(pi, regs[i].offset, (uint16_t)val);
	}
	return (0);
}

static int
pci_lpc_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	int unit;

	if (lpc_devinst != NULL) {
		EPRINTLN("Only one LPC device is allowed.");
		return (-1);
	}
	if (pi->pi_bus != 0) {
		EPRINTLN("LPC bridge can be present only on bus 0.");
		return (-1);
	}
	for (unit = 0; unit < LPC_UART_NUM; unit++) {
		if (lpc_uart_init(pi->pi_vmctx, unit) != 0)
			goto fail;
	}
	if (get_config_bool_default("lpc.pc-testdev", false) &&
	    pctestdev_init(pi->pi_vmctx) != 0)
		goto fail;
	if (lpc_set_identity(pi) != 0)
		goto fail;
	pci_set_cfgdata8(pi, PCIR_CLASS, PCIC_BRIDGE);
	pci_set_cfgdata8(pi, PCIR_SUBCLASS, PCIS_BRIDGE_ISA);
	lpc_devinst = pi;
	return (0);
fail:
	lpc_uarts_cleanup();
	return (-1);
}

static void
pci_lpc_cleanup(struct pci_devinst *pi)
{
	lpc_uarts_cleanup();
	lpc_devinst = NULL;
}

/* ---- DSDT ---- */

static void
pci_lpc_write_dsdt(struct pci_devinst *pi, struct aml *a)
{
	const struct lpc_dsdt *const *ldp;

	aml_device_begin(a, "ISA");
	aml_name_int(a, "_ADR", (uint64_t)(pi->pi_slot << 16 | pi->pi_func));
	SET_FOREACH(ldp, lpc_dsdt_set)
	(*ldp)->handler(a);
	aml_device_end(a);
}

static void
lpc_pic_dsdt(struct aml *a)
{
	aml_device_begin(a, "PIC");
	aml_name_eisaid(a, "_HID", "PNP0000");
	aml_crs_begin(a);
	aml_res_io(a, IO_ICU1, 2);
	aml_res_io(a, IO_ICU2, 2);
	aml_res_irq(a, 2);
	aml_crs_end(a);
	aml_device_end(a);

	aml_device_begin(a, "TIMR");
	aml_name_eisaid(a, "_HID", "PNP0100");
	aml_crs_begin(a);
	aml_res_io(a, IO_TIMER1_PORT, 4);
	aml_res_irq(a, 0);
	aml_crs_end(a);
	aml_device_end(a);
}
LPC_DSDT(lpc_pic_dsdt);

/* What the motherboard itself takes. */
static void
lpc_sysres_dsdt(struct aml *a)
{
	const struct lpc_sysres *const *lspp;
	const struct lpc_sysres *ls;

	aml_device_begin(a, "SIO");
	aml_name_eisaid(a, "_HID", "PNP0C02");
	aml_crs_begin(a);
	SET_FOREACH(lspp, lpc_sysres_set)
	{
		ls = *lspp;
		if (ls->type == LPC_SYSRES_IO)
			aml_res_io(a, (uint16_t)ls->base, (uint16_t)ls->length);
		else
			aml_res_mem32(a, ls->base, ls->length);
	}
	aml_crs_end(a);
	aml_device_end(a);
}
LPC_DSDT(lpc_sysres_dsdt);

static void
lpc_uart_dsdt(struct aml *a)
{
	char name[5];
	int unit;

	for (unit = 0; unit < LPC_UART_NUM; unit++) {
		if (lpc_uarts[unit].iobase == 0)
			continue;
		snprintf(name, sizeof(name), "COM%d", unit + 1);
		aml_device_begin(a, name);
		aml_name_eisaid(a, "_HID", "PNP0501");
		aml_name_int(a, "_UID", (uint64_t)unit + 1);
		aml_crs_begin(a);
		aml_res_io(a, (uint16_t)lpc_uarts[unit].iobase,
		    UART_NS16550_IO_BAR_SIZE);
		aml_res_irq(a, lpc_uarts[unit].irq);
		aml_crs_end(a);
		aml_device_end(a);
	}
}
LPC_DSDT(lpc_uart_dsdt);

SYSRES_IO(NMISC_PORT, 1);
SYSRES_IO(IO_ELCR1, 2);
SYSRES_MEM(PCI_EMUL_ECFG_BASE, PCI_EMUL_ECFG_SIZE);

static const struct pci_devemu pci_de_lpc = {
	.pe_emu = "lpc",
	.pe_init = pci_lpc_init,
	.pe_cleanup = pci_lpc_cleanup,
	.pe_write_dsdt = pci_lpc_write_dsdt,
	.pe_cfgwrite = pci_lpc_cfgwrite,
	.pe_cfgread = pci_lpc_cfgread,
};
PCI_EMUL_SET(pci_de_lpc);
