/*
 * A device of the host as a function of the guest's.  Its registers are its
 * own, but for what would reach beyond the guest: BARs, MSI and MSI-X are
 * emulated, decode bits and the power state are kept away from it, and INTx
 * is not delivered.  BAR memory stands in the guest's physical space, without
 * the pages of the MSI-X table.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "pci_local.h"
#include "qemu_fwcfg.h"
#include "vmmapi.h"

#define PAGE_SIZE 4096UL
#define PAGE_MASK (PAGE_SIZE - 1)

#define CAP_FIRST 0x40
#define CAP_MAX 48 /* more do not fit */

#define PCIY_PMG 0x01
#define PCIR_PM_STATUS 0x4
#define PCIM_PM_STATE 0x3
#define PCIM_MSICTRL_VECTOR 0x0100 /* can mask single messages */
#define PCIR_MSI_DATA_32BIT 0x8
#define MSI_LEN_32BIT 10
#define MSI_LEN_64BIT 14
#define MSI_LEN_MASKS 10 /* with the padding in front of them */
#define PCIR_MSIX_TABLE 0x4
#define PCIM_MSIX_BIR_MASK 0x7u
#define MSIX_LEN 12

/* What of COMMAND is the device's own business. */
#define CMD_PASSED \
	(PCIM_CMD_BUSMASTEREN | PCIM_CMD_PERRESPEN | PCIM_CMD_SERRESPEN)
/* The host's side of its BARs stays open, whatever the guest decodes. */
#define CMD_FORCED (PCIM_CMD_PORTEN | PCIM_CMD_MEMEN | PCIM_CMD_INTxDIS)

struct passthru_bar {
	vm_paddr_t hpa;
	size_t len;
};

struct pci_passthru_softc {
	struct pci_devinst *psc_pi;
	int psc_bus, psc_slot, psc_func; /* on the host */
	struct passthru_bar psc_bar[PCI_BARMAX + 1];
	/* Bytes of the configuration space that pi_cfgdata holds. */
	bool psc_own[PCI_REGMAX + 1];
	int psc_pm, psc_msi, psc_msix; /* capabilities; 0: none */
	int psc_msi_end, psc_msi_data;
	/* MSI as it was set up last. */
	uint64_t psc_msi_addr;
	uint32_t psc_msi_msg;
	int psc_msi_count;
	uint64_t psc_trap, psc_trap_end; /* pages of the MSI-X table's BAR */
};

static uint32_t
host_read(struct pci_passthru_softc *sc, int region, uint64_t off, int size)
{
	uint64_t val;

	if (vm_read_pptdev(sc->psc_pi->pi_vmctx, sc->psc_bus, sc->psc_slot,
		sc->psc_func, region, off, size, &val) != 0)
		return (UINT32_MAX >> (32 - 8 * size));
	return ((uint32_t)val);
}

static void
host_write(struct pci_passthru_softc *sc, int region, uint64_t off, int size,
    uint32_t val)
{
	(void)vm_write_pptdev(sc->psc_pi->pi_vmctx, sc->psc_bus, sc->psc_slot,
	    sc->psc_func, region, off, size, val);
}

/* ---- options ---- */

/* N numbers between separators, and nothing else. */
static bool
parse_numbers(const char *text, char sep, int n, char num[][4])
{
	int i, len;

	for (i = 0; i < n; i++) {
		len = (int)strspn(text, "0123456789");
		if (len < 1 || len > 3 || text[len] != (i < n - 1 ? sep : '\0'))
			return (false);
		memcpy(num[i], text, (size_t)len);
		num[i][len] = '\0';
		text += len + 1;
	}
	return (true);
}

/* B/S/F, pciB:S:F or pci0:B:S:F into num; false: none of them. */
static bool
parse_place(const char *word, char num[3][4])
{
	char four[4][4];

	if (strncmp(word, "pci", 3) != 0)
		return (parse_numbers(word, '/', 3, num));
	if (parse_numbers(word + 3, ':', 3, num))
		return (true);
	if (!parse_numbers(word + 3, ':', 4, four) ||
	    strtol(four[0], NULL, 10) != 0)
		return (false);
	memcpy(num, four[1], 3 * sizeof(four[0]));
	return (true);
}

static int
parse_word(nvlist_t *nvl, const char *word)
{
	static const char *const names[] = { "bus", "slot", "func" };
	char num[3][4];
	int error, i;

	if (strncmp(word, "ppt", 3) == 0)
		return (set_config_value_node(nvl, "pptdev", word));
	if (strncmp(word, "/dev/ppt", 8) == 0)
		return (set_config_value_node(nvl, "path", word));
	if (!parse_place(word, num)) {
		ewarnx("invalid passthru options \"%s\"", word);
		return (EINVAL);
	}
	error = 0;
	for (i = 0; error == 0 && i < 3; i++)
		error = set_config_value_node(nvl, names[i], num[i]);
	return (error);
}

/* The device's place, then name[=value] pairs. */
static int
passthru_legacy_config(nvlist_t *nvl, const char *opts)
{
	const char *rest;
	char *word;
	int error;

	if (opts == NULL)
		return (0);
	rest = strchr(opts, ',');
	word =
	    strndup(opts, rest != NULL ? (size_t)(rest - opts) : strlen(opts));
	if (word == NULL)
		return (-1);
	error = *word != '\0' ? parse_word(nvl, word) : 0;
	free(word);
	if (error == 0 && rest != NULL)
		error = pci_parse_legacy_config(nvl, rest + 1);
	return (error != 0 ? -1 : 0);
}

static int
read_place(struct pci_passthru_softc *sc, nvlist_t *nvl)
{
	static const char *const strange[] = { "pptdev", "path" };
	const char *name = sc->psc_pi->pi_name, *value;
	int i;

	for (i = 0; i < 2; i++) {
		value = get_config_value_node(nvl, strange[i]);
		if (value == NULL)
			continue;
		EPRINTLN("%s: %s \"%s\": this host names its devices by "
			 "bus/slot/func only",
		    name, strange[i], value);
		return (-1);
	}
	if (get_config_value_node(nvl, "bus") == NULL ||
	    get_config_value_node(nvl, "slot") == NULL ||
	    get_config_value_node(nvl, "func") == NULL) {
		EPRINTLN(
		    "%s: bus, slot and func of a host device needed", name);
		return (-1);
	}
	sc->psc_bus =
	    (int)get_config_int_node_default(nvl, "bus", 0, 0, MAXBUSES - 1);
	sc->psc_slot =
	    (int)get_config_int_node_default(nvl, "slot", 0, 0, MAXSLOTS - 1);
	sc->psc_func =
	    (int)get_config_int_node_default(nvl, "func", 0, 0, MAXFUNCS - 1);
	return (config_failed() ? -1 : 0);
}

/* ---- MSI ---- */

static void
msi_update(struct pci_passthru_softc *sc)
{
	struct pci_devinst *pi = sc->psc_pi;
	int cap = sc->psc_msi, count;
	uint16_t ctrl;
	uint64_t addr;
	uint32_t msg;

	ctrl = pci_get_cfgdata16(pi, cap + PCIR_MSI_CTRL);
	addr = pci_get_cfgdata32(pi, cap + PCIR_MSI_ADDR);
	if ((ctrl & PCIM_MSICTRL_64BIT) != 0)
		addr |=
		    (uint64_t)pci_get_cfgdata32(pi, cap + PCIR_MSI_ADDR_HIGH)
		    << 32;
	msg = pci_get_cfgdata16(pi, sc->psc_msi_data);
	count = (ctrl & PCIM_MSICTRL_MSI_ENABLE) != 0
	    ? 1 << ((ctrl & PCIM_MSICTRL_MME_MASK) >> 4)
	    : 0;
	if (count == sc->psc_msi_count &&
	    (count == 0 ||
		(addr == sc->psc_msi_addr && msg == sc->psc_msi_msg)))
		return;
	sc->psc_msi_count = count;
	sc->psc_msi_addr = addr;
	sc->psc_msi_msg = msg;
	if (vm_setup_pptdev_msi(pi->pi_vmctx, sc->psc_bus, sc->psc_slot,
		sc->psc_func, addr, msg, count) != 0)
		GUEST_LOG("%s: MSI: %s", pi->pi_name, vm_open_error());
}

/* Of the control word two fields are the guest's, of the rest all. */
static void
msi_write(struct pci_passthru_softc *sc, int offset, int bytes, uint32_t val)
{
	const uint16_t rw = PCIM_MSICTRL_MME_MASK | PCIM_MSICTRL_MSI_ENABLE;
	struct pci_devinst *pi = sc->psc_pi;
	int cap = sc->psc_msi, i;
	uint16_t ctrl, mme, old;

	old = pci_get_cfgdata16(pi, cap + PCIR_MSI_CTRL);
	for (i = 0; i < bytes; i++, offset++, val >>= 8)
		if (offset >= cap + PCIR_MSI_CTRL &&
		    offset < sc->psc_msi_data + 2)
			pci_set_cfgdata8(pi, offset, (uint8_t)val);
	ctrl = pci_get_cfgdata16(pi, cap + PCIR_MSI_CTRL);
	ctrl = (uint16_t)((old & ~rw) | (ctrl & rw));
	/* More messages than offered are not granted. */
	mme = (ctrl & PCIM_MSICTRL_MME_MASK) >> 4;
	if (mme > (ctrl & PCIM_MSICTRL_MMC_MASK) >> 1)
		mme = (ctrl & PCIM_MSICTRL_MMC_MASK) >> 1;
	ctrl = (uint16_t)((ctrl & ~PCIM_MSICTRL_MME_MASK) | mme << 4);
	pci_set_cfgdata16(pi, cap + PCIR_MSI_CTRL, ctrl);
	pci_set_cfgdata8(pi, cap + PCIR_MSI_ADDR,
	    pci_get_cfgdata8(pi, cap + PCIR_MSI_ADDR) & 0xfc);
	msi_update(sc);
}

/* ---- MSI-X ---- */

static void
msix_update(struct pci_passthru_softc *sc, int index)
{
	struct pci_devinst *pi = sc->psc_pi;
	struct msix_table_entry entry;

	pthread_mutex_lock(&pi->pi_intr_mtx);
	entry = pi->pi_msix.table[index];
	if (pi->pi_msix.function_mask)
		entry.vector_control |= PCIM_MSIX_VCTRL_MASK;
	pthread_mutex_unlock(&pi->pi_intr_mtx);
	if (vm_setup_pptdev_msix(pi->pi_vmctx, sc->psc_bus, sc->psc_slot,
		sc->psc_func, index, entry.addr, entry.msg_data,
		entry.vector_control) != 0)
		GUEST_LOG(
		    "%s: MSI-X %d: %s", pi->pi_name, index, vm_open_error());
}

static void
msix_write(struct pci_passthru_softc *sc, int offset, int bytes, uint32_t val)
{
	struct pci_devinst *pi = sc->psc_pi;
	int i;

	/* Neither id nor next pointer can be written. */
	if (offset < sc->psc_msix + PCIR_MSIX_CTRL) {
		if (bytes != 4)
			return;
		offset += 2;
		bytes = 2;
		val >>= 16;
	}
	pci_msix_capwrite(pi, sc->psc_msix, offset, bytes, val);
	if (!pi->pi_msix.enabled) {
		(void)vm_disable_pptdev_msix(
		    pi->pi_vmctx, sc->psc_bus, sc->psc_slot, sc->psc_func);
		return;
	}
	for (i = 0; i < pi->pi_msix.table_count; i++)
		msix_update(sc, i);
}

/* ---- configuration space ---- */

static void
command_write(
    struct pci_passthru_softc *sc, int offset, int bytes, uint32_t val)
{
	uint32_t reg, mask;
	int shift;

	/* COMMAND as the core is about to have it; STATUS: ones clear. */
	shift = (offset - PCIR_COMMAND) * 8;
	mask = (bytes == 4 ? ~0U : (1U << (bytes * 8)) - 1) << shift;
	reg = pci_get_cfgdata16(sc->psc_pi, PCIR_COMMAND);
	reg = (reg & ~mask) | ((val << shift) & mask);
	host_write(sc, VM_PPT_CONFIG, PCIR_COMMAND, 2,
	    (reg & CMD_PASSED) | CMD_FORCED);
	if ((mask >> 16) != 0)
		host_write(
		    sc, VM_PPT_CONFIG, PCIR_STATUS, 2, (reg >> 16) & 0xffff);
}

/* The guest sees the state that it asked for, but the device stays awake:
 * asleep it would not answer at its BARs. */
static void
power_write(struct pci_passthru_softc *sc, int offset, uint32_t val)
{
	int reg = sc->psc_pm + PCIR_PM_STATUS;

	if (offset == reg)
		pci_set_cfgdata8(sc->psc_pi, reg, val & PCIM_PM_STATE);
}

static bool
within(int offset, int start, int end)
{
	return (start != 0 && offset >= start && offset < end);
}

static int
passthru_cfgwrite(struct pci_devinst *pi, int offset, int bytes, uint32_t val)
{
	struct pci_passthru_softc *sc = pi->pi_arg;
	int pm = sc->psc_pm != 0 ? sc->psc_pm + PCIR_PM_STATUS : 0;

	if (offset >= PCIR_COMMAND && offset < PCIR_REVID)
		command_write(sc, offset, bytes, val);
	if (offset < CAP_FIRST)
		return (-1); /* the core's */
	if (within(offset, sc->psc_msi, sc->psc_msi_end))
		msi_write(sc, offset, bytes, val);
	else if (within(offset, sc->psc_msix, sc->psc_msix + MSIX_LEN))
		msix_write(sc, offset, bytes, val);
	else if (within(offset, pm, pm + 4))
		power_write(sc, offset, val);
	else
		host_write(sc, VM_PPT_CONFIG, (uint64_t)offset, bytes, val);
	return (0);
}

static int
passthru_cfgread(
    struct pci_devinst *pi, int offset, int bytes, uint32_t *retval)
{
	struct pci_passthru_softc *sc = pi->pi_arg;
	uint32_t byte, val;
	int i;

	val = host_read(sc, VM_PPT_CONFIG, (uint64_t)offset, bytes);
	for (i = 0; i < bytes; i++) {
		if (!sc->psc_own[offset + i])
			continue;
		byte = pci_get_cfgdata8(pi, offset + i);
		val = (val & ~(0xffU << (i * 8))) | byte << (i * 8);
	}
	*retval = val;
	return (0);
}

/* ---- BARs ---- */

/* Does the access touch the MSI-X table?  *off: where, if wholly. */
static bool
in_table(const struct pci_devinst *pi, int baridx, uint64_t offset, int size,
    int64_t *off)
{
	uint64_t start = pi->pi_msix.table_offset;
	uint64_t end =
	    start + (uint64_t)pi->pi_msix.table_count * MSIX_TABLE_ENTRY_SIZE;

	if (baridx != pi->pi_msix.table_bar || offset >= end ||
	    offset + (uint64_t)size <= start)
		return (false);
	*off = offset >= start && offset + (uint64_t)size <= end
	    ? (int64_t)(offset - start)
	    : -1;
	return (true);
}

static void
passthru_write(struct pci_devinst *pi, int baridx, uint64_t offset, int size,
    uint64_t value)
{
	struct pci_passthru_softc *sc = pi->pi_arg;
	int64_t off;

	if (!in_table(pi, baridx, offset, size, &off))
		host_write(sc, baridx, offset, size, (uint32_t)value);
	else if (off >= 0 &&
	    pci_emul_msix_twrite(pi, (uint64_t)off, size, value) == 0 &&
	    pi->pi_msix.enabled)
		msix_update(sc, (int)(off / MSIX_TABLE_ENTRY_SIZE));
}

static uint64_t
passthru_read(struct pci_devinst *pi, int baridx, uint64_t offset, int size)
{
	struct pci_passthru_softc *sc = pi->pi_arg;
	int64_t off;

	if (!in_table(pi, baridx, offset, size, &off))
		return (host_read(sc, baridx, offset, size));
	return (off >= 0 ? pci_emul_msix_tread(pi, (uint64_t)off, size) : ~0UL);
}

/* [start, end) of a BAR comes to stand at the guest's address, or goes. */
static void
piece(struct pci_passthru_softc *sc, int idx, bool map, uint64_t start,
    uint64_t end, uint64_t address)
{
	struct pci_devinst *pi = sc->psc_pi;
	vm_paddr_t hpa = sc->psc_bar[idx].hpa;
	int error;

	/* The rest is reached by way of the bus. */
	if (start >= end || hpa == 0 ||
	    ((hpa | start | end | address) & PAGE_MASK) != 0)
		return;
	if (!map) {
		(void)vm_unmap_pptdev_mmio(pi->pi_vmctx, sc->psc_bus,
		    sc->psc_slot, sc->psc_func, address + start, end - start);
		return;
	}
	error = vm_map_pptdev_mmio(pi->pi_vmctx, sc->psc_bus, sc->psc_slot,
	    sc->psc_func, address + start, end - start, hpa + start);
	if (error != 0)
		GUEST_LOG("%s: BAR%d: %s", pi->pi_name, idx, vm_open_error());
}

static void
passthru_baraddr(
    struct pci_devinst *pi, int baridx, int enabled, uint64_t address)
{
	struct pci_passthru_softc *sc = pi->pi_arg;
	struct passthru_bar *bar;

	/* After the device has been given back, its BARs go from the bus. */
	if (sc == NULL || pi->pi_bar[baridx].type == PCIBAR_IO)
		return;
	bar = &sc->psc_bar[baridx];
	if (baridx == pi->pi_msix.table_bar) {
		piece(sc, baridx, enabled != 0, 0, sc->psc_trap, address);
		piece(sc, baridx, enabled != 0, sc->psc_trap_end, bar->len,
		    address);
	} else {
		piece(sc, baridx, enabled != 0, 0, bar->len, address);
	}
}

/* ---- setting up ---- */

static void
own(struct pci_passthru_softc *sc, int first, int count)
{
	memset(&sc->psc_own[first], true, (size_t)count);
}

static void
init_header(struct pci_passthru_softc *sc)
{
	static const struct {
		uint8_t first, count;
	} ours[] = {
		/* What pcireg may have changed, and what the core keeps. */
		{ PCIR_VENDOR, 4 },
		{ PCIR_COMMAND, 2 },
		{ PCIR_REVID, 1 },
		{ PCIR_CACHELNSZ, 2 },
		{ PCIR_HDRTYPE, 1 },
		{ PCIR_BAR(0), 4 * (PCI_BARMAX + 1) },
		{ PCIR_SUBVEND_0, 4 },
		{ PCIR_BIOS, 4 },
		{ PCIR_INTLINE, 2 },
	};
	struct pci_devinst *pi = sc->psc_pi;
	size_t i;
	int off;

	for (off = 0; off <= PCI_REGMAX; off += 4)
		pci_set_cfgdata32(
		    pi, off, host_read(sc, VM_PPT_CONFIG, (uint64_t)off, 4));
	for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		own(sc, ours[i].first, ours[i].count);
	pci_set_cfgdata16(pi, PCIR_COMMAND, PCIM_CMD_BUSMASTEREN);
	command_write(sc, PCIR_COMMAND, 2, PCIM_CMD_BUSMASTEREN);
	/* Whether there are more functions is the guest's slot's. */
	pci_set_cfgdata8(
	    pi, PCIR_HDRTYPE, pci_get_cfgdata8(pi, PCIR_HDRTYPE) & ~PCIM_MFDEV);
	memset(&pi->pi_cfgdata[PCIR_BIOS], 0, 4);
	pci_set_cfgdata8(pi, PCIR_INTLINE, 255);
	pci_set_cfgdata8(pi, PCIR_INTPIN, 0);
}

static void
init_msi(struct pci_passthru_softc *sc, int cap)
{
	struct pci_devinst *pi = sc->psc_pi;
	bool wide;
	uint16_t ctrl;

	ctrl = pci_get_cfgdata16(pi, cap + PCIR_MSI_CTRL);
	wide = (ctrl & PCIM_MSICTRL_64BIT) != 0;
	sc->psc_msi_data =
	    cap + (wide ? PCIR_MSI_DATA_64BIT : PCIR_MSI_DATA_32BIT);
	sc->psc_msi_end = cap + (wide ? MSI_LEN_64BIT : MSI_LEN_32BIT);
	if ((ctrl & PCIM_MSICTRL_VECTOR) != 0)
		sc->psc_msi_end += MSI_LEN_MASKS;
	if (sc->psc_msi_end > PCI_REGMAX + 1)
		return;
	sc->psc_msi = cap;
	/* Single messages are not masked here, and nothing is on yet. */
	ctrl &= (uint16_t) ~(PCIM_MSICTRL_VECTOR | PCIM_MSICTRL_MME_MASK |
	    PCIM_MSICTRL_MSI_ENABLE);
	memset(&pi->pi_cfgdata[cap + PCIR_MSI_ADDR], 0,
	    (size_t)(sc->psc_msi_end - cap - PCIR_MSI_ADDR));
	pci_set_cfgdata16(pi, cap + PCIR_MSI_CTRL, ctrl);
	own(sc, cap + PCIR_MSI_CTRL, sc->psc_msi_end - cap - PCIR_MSI_CTRL);
}

static int
init_msix(struct pci_passthru_softc *sc, int cap)
{
	struct pci_devinst *pi = sc->psc_pi;
	uint64_t end;
	uint32_t table;
	uint16_t ctrl;
	int bar, count, i;

	ctrl = pci_get_cfgdata16(pi, cap + PCIR_MSIX_CTRL);
	table = pci_get_cfgdata32(pi, cap + PCIR_MSIX_TABLE);
	count = (ctrl & PCIM_MSIXCTRL_TABLE_SIZE) + 1;
	bar = (int)(table & PCIM_MSIX_BIR_MASK);
	table &= ~PCIM_MSIX_BIR_MASK;
	end = table + (uint64_t)count * MSIX_TABLE_ENTRY_SIZE;
	if (cap + MSIX_LEN > PCI_REGMAX + 1 || bar > PCI_BARMAX ||
	    end > sc->psc_bar[bar].len) {
		EPRINTLN(
		    "%s: the device's MSI-X table is nowhere", pi->pi_name);
		return (-1);
	}
	pi->pi_msix.table = calloc((size_t)count, sizeof(*pi->pi_msix.table));
	pi->pi_msix.pba_size = (count + 63) / 64 * 8;
	pi->pi_msix.pba = calloc(1, (size_t)pi->pi_msix.pba_size);
	if (pi->pi_msix.table == NULL || pi->pi_msix.pba == NULL) {
		EPRINTLN("%s: out of memory", pi->pi_name);
		return (-1);
	}
	for (i = 0; i < count; i++)
		pi->pi_msix.table[i].vector_control = PCIM_MSIX_VCTRL_MASK;
	pi->pi_msix.table_count = count;
	pi->pi_msix.table_bar = bar;
	pi->pi_msix.table_offset = table;
	sc->psc_trap = table & ~PAGE_MASK;
	sc->psc_trap_end = (end + PAGE_MASK) & ~PAGE_MASK;
	sc->psc_msix = cap;
	pci_set_cfgdata16(
	    pi, cap + PCIR_MSIX_CTRL, ctrl & PCIM_MSIXCTRL_TABLE_SIZE);
	own(sc, cap + PCIR_MSIX_CTRL, MSIX_LEN - PCIR_MSIX_CTRL);
	return (0);
}

/* The chain is the device's, and so is whether it ends. */
static int
init_caps(struct pci_passthru_softc *sc)
{
	struct pci_devinst *pi = sc->psc_pi;
	int cap, left;

	if ((pci_get_cfgdata16(pi, PCIR_STATUS) & PCIM_STATUS_CAPPRESENT) == 0)
		return (0);
	cap = pci_get_cfgdata8(pi, PCIR_CAP_PTR) & ~3;
	for (left = CAP_MAX; cap >= CAP_FIRST && left > 0; left--) {
		switch (pci_get_cfgdata8(pi, cap + PCICAP_ID)) {
		case PCIY_MSI:
			if (sc->psc_msi == 0)
				init_msi(sc, cap);
			break;
		case PCIY_MSIX:
			if (sc->psc_msix == 0 && init_msix(sc, cap) != 0)
				return (-1);
			break;
		case PCIY_PMG:
			if (cap + PCIR_PM_STATUS + 4 > PCI_REGMAX + 1)
				break;
			sc->psc_pm = cap;
			memset(&pi->pi_cfgdata[cap + PCIR_PM_STATUS], 0, 2);
			own(sc, cap + PCIR_PM_STATUS, 2);
			break;
		default:
			break;
		}
		cap = pci_get_cfgdata8(pi, cap + PCICAP_NEXTPTR) & ~3;
	}
	return (0);
}

static int
init_bar(struct pci_passthru_softc *sc, int i)
{
	struct pci_devinst *pi = sc->psc_pi;
	enum pcibar_type type;
	uint32_t reg;
	bool io;

	reg = pci_get_cfgdata32(pi, PCIR_BAR(i));
	pci_set_cfgdata32(pi, PCIR_BAR(i), 0);
	/* The upper half of the one before has been placed with it. */
	if (pi->pi_bar[i].type == PCIBAR_MEMHI64)
		return (0);
	if (vm_get_pptdev_bar(pi->pi_vmctx, sc->psc_bus, sc->psc_slot,
		sc->psc_func, i, &sc->psc_bar[i].hpa, &sc->psc_bar[i].len,
		&io) != 0) {
		EPRINTLN("%s: BAR%d: %s", pi->pi_name, i, strerror(errno));
		return (-1);
	}
	if (sc->psc_bar[i].len == 0)
		return (0);
	type = io			   ? PCIBAR_IO
	    : (reg & PCIM_BAR_MEM_64) != 0 ? PCIBAR_MEM64
					   : PCIBAR_MEM32;
	if (pci_emul_alloc_bar(pi, i, type, sc->psc_bar[i].len) != 0) {
		EPRINTLN("%s: no room for BAR%d of %zu bytes", pi->pi_name, i,
		    sc->psc_bar[i].len);
		return (-1);
	}
	if (type != PCIBAR_IO)
		pi->pi_bar[i].lobits |= reg & PCIM_BAR_MEM_PREFETCH;
	return (0);
}

static int
init_device(struct pci_passthru_softc *sc, nvlist_t *nvl)
{
	struct pci_devinst *pi = sc->psc_pi;
	const char *rom;
	int boot, i;

	init_header(sc);
	if ((pci_get_cfgdata8(pi, PCIR_HDRTYPE)) != PCIM_HDRTYPE_NORMAL) {
		EPRINTLN("%s: host device %d/%d/%d is a bridge", pi->pi_name,
		    sc->psc_bus, sc->psc_slot, sc->psc_func);
		return (-1);
	}
	for (i = 0; i <= PCI_BARMAX; i++)
		if (init_bar(sc, i) != 0)
			return (-1);
	if (init_caps(sc) != 0)
		return (-1);
	if (sc->psc_msi == 0 && sc->psc_msix == 0) {
		EPRINTLN("%s: host device %d/%d/%d has neither MSI nor MSI-X",
		    pi->pi_name, sc->psc_bus, sc->psc_slot, sc->psc_func);
		return (-1);
	}
	rom = get_config_value_node(nvl, "rom");
	if (rom != NULL && get_config_value_node(nvl, "romfile") != NULL) {
		EPRINTLN("%s: rom and romfile are one thing", pi->pi_name);
		return (-1);
	}
	if (rom != NULL && pci_emul_add_rom(pi, rom) != 0)
		return (-1);
	boot = (int)get_config_int_node_default(nvl, "bootindex", -1, -1, 255);
	if (config_failed() ||
	    (boot >= 0 && qemu_fwcfg_add_boot_device(pi, boot, "") != 0))
		return (-1);
	return (0);
}

static void
passthru_cleanup(struct pci_devinst *pi)
{
	struct pci_passthru_softc *sc = pi->pi_arg;

	(void)vm_unassign_pptdev(
	    pi->pi_vmctx, sc->psc_bus, sc->psc_slot, sc->psc_func);
	pi->pi_arg = NULL;
	free(sc);
}

static int
passthru_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	struct pci_passthru_softc *sc;

	if ((sc = calloc(1, sizeof(*sc))) == NULL) {
		EPRINTLN("%s: out of memory", pi->pi_name);
		return (1);
	}
	sc->psc_pi = pi;
	if (read_place(sc, nvl) != 0) {
		free(sc);
		return (1);
	}
	if ((vm_get_memflags(pi->pi_vmctx) & VM_MEM_F_WIRED) == 0) {
		EPRINTLN("%s: guest memory must be wired: -S", pi->pi_name);
		free(sc);
		return (1);
	}
	if (vm_assign_pptdev(
		pi->pi_vmctx, sc->psc_bus, sc->psc_slot, sc->psc_func) != 0) {
		EPRINTLN("%s: %s", pi->pi_name,
		    vm_open_error()[0] != '\0' ? vm_open_error()
					       : strerror(errno));
		free(sc);
		return (1);
	}
	pi->pi_arg = sc;
	if (init_device(sc, nvl) != 0) {
		passthru_cleanup(pi);
		return (1);
	}
	return (0);
}

static const struct pci_devemu pci_de_passthru = {
	.pe_emu = "passthru",
	.pe_init = passthru_init,
	.pe_legacy_config = passthru_legacy_config,
	.pe_cfgread = passthru_cfgread,
	.pe_cfgwrite = passthru_cfgwrite,
	.pe_barread = passthru_read,
	.pe_barwrite = passthru_write,
	.pe_baraddr = passthru_baraddr,
	.pe_cleanup = passthru_cleanup,
};
PCI_EMUL_SET(pci_de_passthru);
