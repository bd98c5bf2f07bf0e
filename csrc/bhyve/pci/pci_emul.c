/*
 * PCI slots: the grammar of -s, the set of device models, and building the
 * devices that the configuration tree names.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "pci_emul.h"
#include "pci_irq.h"
#include "pci_local.h"
#include "vmmapi.h"

SET_DECLARE(pci_devemu_set, const struct pci_devemu);

struct slotinfo {
	struct intxinfo si_intpins[4];
	struct pci_devinst *si_funcs[MAXFUNCS];
};

struct businfo {
	struct slotinfo slotinfo[MAXSLOTS];
};

static struct businfo *pci_businfo[MAXBUSES];

static const struct pci_devemu *
pci_emul_finddev(const char *name)
{
	const struct pci_devemu *const *pdpp;

	SET_FOREACH(pdpp, pci_devemu_set)
	{
		if (strcmp((*pdpp)->pe_emu, name) == 0)
			return (*pdpp);
	}
	return (NULL);
}

/* ---- the list of models ---- */

const char *
pci_devemu_name(int i)
{
	const struct pci_devemu *const *a;
	const struct pci_devemu *const *b;
	int below;

	/* The i'th name has exactly i names before it: names are unique. */
	SET_FOREACH(a, pci_devemu_set)
	{
		below = 0;
		SET_FOREACH(b, pci_devemu_set)
		{
			if (strcmp((*b)->pe_emu, (*a)->pe_emu) < 0)
				below++;
		}
		if (below == i)
			return ((*a)->pe_emu);
	}
	return (NULL);
}

void
pci_print_supported_devices(void)
{
	const char *name;
	int i;

	for (i = 0; (name = pci_devemu_name(i)) != NULL; i++)
		PRINTLN("%s", name);
}

/* ---- the grammar of -s ---- */

int
pci_parse_legacy_config(nvlist_t *nvl, const char *opt)
{
	char *config, *name, *tofree, *value;
	int error;

	if (opt == NULL)
		return (0);
	config = tofree = strdup(opt);
	if (config == NULL)
		return (ENOMEM);
	error = 0;
	while (error == 0 && (name = strsep(&config, ",")) != NULL) {
		if (*name == '\0')
			continue;
		value = strchr(name, '=');
		if (value != NULL)
			*value++ = '\0';
		else
			value = (char *)"true";
		if (get_config_value_node(nvl, name) != NULL) {
			EPRINTLN("device setting \"%s\" given twice", name);
			error = EINVAL;
		} else {
			error = set_config_value_node(nvl, name, value);
		}
	}
	free(tofree);
	return (error);
}

/* "4", "4:1" or "0:4:1"; *parts tells how many numbers there were. */
static bool
parse_bsf(const char *text, int *parts, int bsf[3])
{
	unsigned long num[3];
	const char *cp;
	char *end;
	int n;

	n = 0;
	for (cp = text;; cp = end + 1) {
		if (n == 3 || *cp < '0' || *cp > '9')
			return (false);
		num[n] = strtoul(cp, &end, 10);
		if (num[n++] >= MAXBUSES)
			return (false);
		if (*end == '\0')
			break;
		if (*end != ':')
			return (false);
	}
	bsf[0] = n == 3 ? (int)num[0] : 0;
	bsf[1] = n == 3 ? (int)num[1] : (int)num[0];
	bsf[2] = n == 3 ? (int)num[2] : n == 2 ? (int)num[1] : 0;
	*parts = n;
	return (bsf[1] < MAXSLOTS && bsf[2] < MAXFUNCS);
}

static int
configure_slot(
    const char *emul, const char *config, const int bsf[3], int parts)
{
	const struct pci_devemu *pde;
	char path[32];
	nvlist_t *nvl;
	int error;

	pde = pci_emul_finddev(emul);
	if (pde == NULL) {
		/* Managers compare this line; it has the slot as given. */
		if (parts == 3)
			EPRINTLN("pci slot %d:%d:%d: unknown device \"%s\"",
			    bsf[0], bsf[1], bsf[2], emul);
		else
			EPRINTLN("pci slot %d:%d: unknown device \"%s\"",
			    bsf[1], bsf[2], emul);
		return (-1);
	}
	snprintf(path, sizeof(path), "pci.%d.%d.%d", bsf[0], bsf[1], bsf[2]);
	nvl = find_config_node(path);
	if (nvl != NULL && get_config_value_node(nvl, "device") != NULL) {
		EPRINTLN("pci slot %d:%d:%d already occupied!", bsf[0], bsf[1],
		    bsf[2]);
		return (-1);
	}
	nvl = create_config_node(path);
	if (nvl == NULL)
		return (-1);
	if (set_config_value_node(nvl, "device",
		pde->pe_alias != NULL ? pde->pe_alias : pde->pe_emu) != 0)
		return (-1);
	if (pde->pe_legacy_config != NULL)
		error = pde->pe_legacy_config(nvl, config);
	else
		error = pci_parse_legacy_config(nvl, config);
	return (error != 0 ? -1 : 0);
}

int
pci_parse_slot(const char *opt)
{
	char *config, *copy, *emul;
	int bsf[3], error, parts;

	copy = strdup(opt);
	if (copy == NULL)
		return (-1);
	error = -1;
	config = NULL;
	emul = strchr(copy, ',');
	if (emul != NULL) {
		*emul++ = '\0';
		config = strchr(emul, ',');
		if (config != NULL)
			*config++ = '\0';
	}
	if (emul == NULL || *emul == '\0' || !parse_bsf(copy, &parts, bsf))
		EPRINTLN("Invalid PCI slot info field \"%s\"", opt);
	else
		error = configure_slot(emul, config, bsf, parts);
	free(copy);
	return (error);
}

/* ---- identity registers ---- */

int
pci_config_read_reg(
    nvlist_t *nvl, const char *name, long max, uint32_t def, uint32_t *val)
{
	const char *text;
	nvlist_t *regs;
	char *end;
	long num;

	*val = def;
	regs = nvl != NULL ? find_relative_config_node(nvl, "pcireg") : NULL;
	text = regs != NULL ? get_config_value_node(regs, name) : NULL;
	if (text == NULL)
		return (0);
	errno = 0;
	num = strtol(text, &end, 0);
	if (end == text || *end != '\0' || errno != 0 || num < 0 || num > max) {
		EPRINTLN("Invalid pcireg value for %s: \"%s\"", name, text);
		return (EINVAL);
	}
	*val = (uint32_t)num;
	return (0);
}

/* pci.B.S.F.pcireg.* wins over what the model put there. */
static int
override_regs(struct pci_devinst *pi, nvlist_t *nvl)
{
	static const struct {
		const char *name;
		int offset, bytes;
	} regs[] = {
		{ "vendor", PCIR_VENDOR, 2 },
		{ "device", PCIR_DEVICE, 2 },
		{ "revid", PCIR_REVID, 1 },
		{ "subvendor", PCIR_SUBVEND_0, 2 },
		{ "subdevice", PCIR_SUBDEV_0, 2 },
	};
	uint32_t val;
	size_t i;

	for (i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
		if (pci_config_read_reg(nvl, regs[i].name,
			regs[i].bytes == 1 ? 0xff : 0xffff,
			pci_cfg_load(pi, regs[i].offset, regs[i].bytes),
			&val) != 0)
			return (-1);
		pci_cfg_store(pi, regs[i].offset, regs[i].bytes, val);
	}
	return (0);
}

/* ---- building the devices ---- */

/* Any function may have an expansion ROM. */
static int
option_rom(struct pci_devinst *pi, nvlist_t *nvl)
{
	const char *path;

	path = get_config_value_node(nvl, "romfile");
	return (path != NULL ? pci_emul_add_rom(pi, path) : 0);
}

static int
pci_emul_init(struct vmctx *ctx, const struct pci_devemu *pde, int bus,
    int slot, int func, nvlist_t *nvl)
{
	struct pci_devinst *pi;
	struct businfo *bi;

	bi = pci_businfo[bus];
	if (bi == NULL)
		bi = pci_businfo[bus] = calloc(1, sizeof(*bi));
	pi = calloc(1, sizeof(*pi));
	if (bi == NULL || pi == NULL) {
		EPRINTLN("%s: out of memory", pde->pe_emu);
		free(pi);
		return (-1);
	}
	pi->pi_d = pde;
	pi->pi_vmctx = ctx;
	pi->pi_bus = (uint8_t)bus;
	pi->pi_slot = (uint8_t)slot;
	pi->pi_func = (uint8_t)func;
	pthread_mutex_init(&pi->pi_intr_mtx, NULL);
	pi->pi_lintr.state = IDLE;
	pi->pi_msix.table_bar = -1;
	pi->pi_msix.pba_bar = -1;
	snprintf(pi->pi_name, sizeof(pi->pi_name), "%s@pci.%d.%d.%d",
	    pde->pe_emu, bus, slot, func);

	pci_set_cfgdata8(pi, PCIR_INTLINE, 255);
	pci_set_cfgdata8(pi, PCIR_INTPIN, 0);
	pci_set_cfgdata16(pi, PCIR_COMMAND, PCIM_CMD_BUSMASTEREN);

	if (pde->pe_init(pi, nvl) != 0 || override_regs(pi, nvl) != 0 ||
	    option_rom(pi, nvl) != 0 || config_failed()) {
		pci_rom_cleanup(pi);
		pci_msix_cleanup(pi);
		pthread_mutex_destroy(&pi->pi_intr_mtx);
		free(pi);
		return (-1);
	}
	bi->slotinfo[slot].si_funcs[func] = pi;
	return (0);
}

static int
init_function(struct vmctx *ctx, int bus, int slot, int func)
{
	const struct pci_devemu *pde;
	const char *emul;
	char path[32];
	nvlist_t *nvl;

	snprintf(path, sizeof(path), "pci.%d.%d.%d", bus, slot, func);
	nvl = find_config_node(path);
	if (nvl == NULL)
		return (0);
	emul = get_config_value_node(nvl, "device");
	if (emul == NULL) {
		EPRINTLN("pci slot %d:%d:%d: missing \"device\" value", bus,
		    slot, func);
		return (-1);
	}
	pde = pci_emul_finddev(emul);
	if (pde == NULL) {
		EPRINTLN("pci slot %d:%d:%d: unknown device \"%s\"", bus, slot,
		    func, emul);
		return (-1);
	}
	if (pde->pe_alias != NULL) {
		EPRINTLN("pci slot %d:%d:%d: legacy device \"%s\", use \"%s\" "
			 "instead",
		    bus, slot, func, emul, pde->pe_alias);
		return (-1);
	}
	return (pci_emul_init(ctx, pde, bus, slot, func, nvl));
}

/* A slot with more than one function says so in each header. */
static void
mark_multifunction(struct slotinfo *si)
{
	struct pci_devinst *pi;
	int count, func;

	count = 0;
	for (func = 0; func < MAXFUNCS; func++)
		count += si->si_funcs[func] != NULL;
	for (func = 0; func < MAXFUNCS && count > 1; func++) {
		pi = si->si_funcs[func];
		if (pi != NULL)
			pci_set_cfgdata8(pi, PCIR_HDRTYPE,
			    pci_get_cfgdata8(pi, PCIR_HDRTYPE) | PCIM_MFDEV);
	}
}

static int
init_bus(struct vmctx *ctx, int bus)
{
	struct pci_devinst *pi;
	char path[16];
	int func, slot;

	snprintf(path, sizeof(path), "pci.%d", bus);
	if (find_config_node(path) == NULL)
		return (0);
	for (slot = 0; slot < MAXSLOTS; slot++) {
		for (func = 0; func < MAXFUNCS; func++) {
			if (init_function(ctx, bus, slot, func) != 0)
				return (-1);
		}
	}
	if (pci_businfo[bus] == NULL)
		return (0);
	pci_bus_window_begin(bus);
	if (pci_assign_bars(bus) != 0)
		return (-1);
	pci_bus_window_end(bus);
	for (slot = 0; slot < MAXSLOTS; slot++) {
		mark_multifunction(&pci_businfo[bus]->slotinfo[slot]);
		for (func = 0; func < MAXFUNCS; func++) {
			pi = pci_devinst_at(bus, slot, func);
			if (pi != NULL && pi->pi_lintr.pin > 0)
				pci_lintr_route(pi);
		}
	}
	return (0);
}

/* Numbers in pci.B.S.F must be in range, or the device would be lost. */
static int
check_number(void *arg, const char *name, nvlist_t *node, const char *value)
{
	const long *max = arg;
	char *end;
	long num;

	if (node == NULL)
		return (0); /* pci.enable_bars and the like */
	num = strtol(name, &end, 10);
	if (*name == '\0' || *end != '\0' || num < 0 || num >= *max) {
		EPRINTLN("Invalid PCI slot info field \"%s\"", name);
		return (-1);
	}
	return (max[1] == 0 ? 0
			    : walk_config_nodes(node, check_number,
				  (void *)(uintptr_t)(max + 1)));
}

int
init_pci(struct vmctx *ctx)
{
	static const long limits[] = { MAXBUSES, MAXSLOTS, MAXFUNCS, 0 };
	nvlist_t *nvl;
	int bus;

	nvl = find_config_node("pci");
	if (nvl != NULL &&
	    walk_config_nodes(nvl, check_number, (void *)(uintptr_t)limits) !=
		0)
		return (-1);
	pci_bar_init(ctx);
	if (pci_cfg_init(ctx) != 0)
		return (-1);
	for (bus = 0; bus < MAXBUSES; bus++) {
		if (init_bus(ctx, bus) != 0)
			return (-1);
	}
	return (0);
}

void
pci_cleanup(void)
{
	struct pci_devinst *pi;
	int bus, func, slot;

	for (bus = 0; bus < MAXBUSES; bus++) {
		if (pci_businfo[bus] == NULL)
			continue;
		for (slot = 0; slot < MAXSLOTS; slot++) {
			for (func = 0; func < MAXFUNCS; func++) {
				pi = pci_devinst_at(bus, slot, func);
				if (pi == NULL)
					continue;
				if (pi->pi_d->pe_cleanup != NULL)
					pi->pi_d->pe_cleanup(pi);
				pci_bar_unmap_all(pi);
				pci_rom_cleanup(pi);
				pci_msix_cleanup(pi);
				pthread_mutex_destroy(&pi->pi_intr_mtx);
				free(pi);
			}
		}
		free(pci_businfo[bus]);
		pci_businfo[bus] = NULL;
	}
}

/* ---- looking at what was built ---- */

struct pci_devinst *
pci_devinst_at(int bus, int slot, int func)
{
	if (bus < 0 || bus >= MAXBUSES || slot < 0 || slot >= MAXSLOTS ||
	    func < 0 || func >= MAXFUNCS || pci_businfo[bus] == NULL)
		return (NULL);
	return (pci_businfo[bus]->slotinfo[slot].si_funcs[func]);
}

struct intxinfo *
pci_slot_intxinfo(int bus, int slot)
{
	/* A device asks for its pin before it is entered in the slot. */
	return (pci_businfo[bus]->slotinfo[slot].si_intpins);
}

bool
pci_bus_configured(int bus)
{
	return (bus >= 0 && bus < MAXBUSES && pci_businfo[bus] != NULL);
}

int
pci_bus_count(void)
{
	int bus, count;

	count = 0;
	for (bus = 0; bus < MAXBUSES; bus++)
		count += pci_businfo[bus] != NULL;
	return (count);
}

void
pci_walk_lintr(int bus, pci_lintr_cb cb, void *arg)
{
	struct intxinfo *ii;
	int pin, slot;

	if (!pci_bus_configured(bus))
		return;
	for (slot = 0; slot < MAXSLOTS; slot++) {
		ii = pci_slot_intxinfo(bus, slot);
		for (pin = 0; pin < 4; pin++) {
			if (ii[pin].ii_count != 0)
				cb(slot, pin + 1, ii[pin].ii_pirq_pin,
				    ii[pin].ii_ioapic_irq, arg);
		}
	}
}

static void
count_one(int slot, int pin, int pirq_pin, int ioapic_irq, void *arg)
{
	(*(int *)arg)++;
}

int
pci_count_lintr(int bus)
{
	int count;

	count = 0;
	pci_walk_lintr(bus, count_one, &count);
	return (count);
}

void
pci_bus_write_dsdt(int bus, struct aml *a)
{
	struct pci_devinst *pi;
	int func, slot;

	for (slot = 0; slot < MAXSLOTS; slot++) {
		for (func = 0; func < MAXFUNCS; func++) {
			pi = pci_devinst_at(bus, slot, func);
			if (pi != NULL && pi->pi_d->pe_write_dsdt != NULL)
				pi->pi_d->pe_write_dsdt(pi, a);
		}
	}
}
