/*
 * PCI configuration space: mechanism 1 (ports 0xcf8 and 0xcfc) and the
 * memory-mapped ECAM, over one access function.
 */
#include <errno.h>
#include <string.h>

#include "debug.h"
#include "inout.h"
#include "mem.h"
#include "pci_irq.h"
#include "pci_local.h"
#include "vmmapi.h"

#define CONF1_ADDR_PORT 0xcf8
#define CONF1_DATA_PORT 0xcfc
#define CONF1_ENABLE 0x80000000u
#define CONF1_ADDR_MASK 0x80fffffcu
#define CAP_START_OFFSET 0x40

#define CMD_WRITABLE                                               \
	(PCIM_CMD_PORTEN | PCIM_CMD_MEMEN | PCIM_CMD_BUSMASTEREN | \
	    PCIM_CMD_PERRESPEN | PCIM_CMD_SERRESPEN | PCIM_CMD_INTxDIS)

pthread_mutex_t pci_cfg_mtx = PTHREAD_MUTEX_INITIALIZER;

static uint32_t conf1_addr; /* the register at 0xcf8; pci_cfg_mtx */

/* ---- capabilities ---- */

int
pci_emul_add_capability(
    struct pci_devinst *pi, const uint8_t *capdata, int caplen)
{
	int capoff, reallen;
	uint16_t sts;

	reallen = (caplen + 3) & ~3;
	sts = pci_get_cfgdata16(pi, PCIR_STATUS);
	if ((sts & PCIM_STATUS_CAPPRESENT) == 0)
		capoff = CAP_START_OFFSET;
	else
		capoff = pi->pi_capend + 1;
	if (caplen < 2 || capoff + reallen > PCI_REGMAX + 1)
		return (ENOSPC);
	if ((sts & PCIM_STATUS_CAPPRESENT) == 0) {
		pci_set_cfgdata8(pi, PCIR_CAP_PTR, (uint8_t)capoff);
		pci_set_cfgdata16(
		    pi, PCIR_STATUS, sts | PCIM_STATUS_CAPPRESENT);
	} else {
		pci_set_cfgdata8(
		    pi, pi->pi_prevcap + PCICAP_NEXTPTR, (uint8_t)capoff);
	}
	memcpy(&pi->pi_cfgdata[capoff], capdata, (size_t)caplen);
	pci_set_cfgdata8(pi, capoff + PCICAP_NEXTPTR, 0);
	pi->pi_prevcap = capoff;
	pi->pi_capend = capoff + reallen - 1;
	return (0);
}

int
pci_emul_add_pciecap(struct pci_devinst *pi, int pcie_device_type)
{
	/* Offsets in the capability (PCI Express 2.0, 7.8). */
	struct {
		uint8_t capid, nextptr;
		uint16_t pcie_capabilities; /* 0x02 */
		uint32_t dev_capabilities;  /* 0x04 */
		uint16_t dev_control, dev_status;
		uint32_t link_capabilities; /* 0x0c */
		uint16_t link_control, link_status;
		uint32_t slot_capabilities; /* 0x14 */
		uint16_t slot_control, slot_status;
		uint16_t root_control, root_capabilities;
		uint32_t root_status; /* 0x20 */
		uint32_t dev_capabilities2;
		uint16_t dev_control2, dev_status2;
		uint32_t link_capabilities2;
		uint16_t link_control2, link_status2;
		uint32_t slot_capabilities2;
		uint16_t slot_control2, slot_status2;
	} __attribute__((__packed__)) cap;

	_Static_assert(sizeof(cap) == 60, "PCIe capability");
	memset(&cap, 0, sizeof(cap));
	cap.capid = PCIY_EXPRESS;
	cap.pcie_capabilities = (uint16_t)(2 | pcie_device_type);
	if (pcie_device_type != PCIEM_TYPE_ROOT_INT_EP) {
		cap.link_capabilities = 0x411; /* gen1, x1 */
		cap.link_status = 0x11;
	}
	return (
	    pci_emul_add_capability(pi, (const uint8_t *)&cap, sizeof(cap)));
}

static bool
is_cap(const struct pci_devinst *pi, int offset)
{
	return ((pci_get_cfgdata16(pi, PCIR_STATUS) & PCIM_STATUS_CAPPRESENT) !=
		0 &&
	    offset >= CAP_START_OFFSET && offset <= pi->pi_capend);
}

/* A write into the capability area: find the capability that it hits. */
static void
cap_write(struct pci_devinst *pi, int offset, int bytes, uint32_t val)
{
	int capoff, next;

	/* The chain is ours and ends: offsets only grow. */
	capoff = CAP_START_OFFSET;
	for (;;) {
		next = pci_get_cfgdata8(pi, capoff + PCICAP_NEXTPTR);
		if (next == 0 || (offset >= capoff && offset < next))
			break;
		capoff = next;
	}
	/* Neither id nor next pointer can be written. */
	if (offset < capoff + 2) {
		if (bytes != 4)
			return;
		offset += 2;
		bytes = 2;
		val >>= 16;
	}
	switch (pci_get_cfgdata8(pi, capoff + PCICAP_ID)) {
	case PCIY_MSI:
		pci_msi_capwrite(pi, capoff, offset, bytes, val);
		break;
	case PCIY_MSIX:
		pci_msix_capwrite(pi, capoff, offset, bytes, val);
		break;
	default:
		break; /* read-only */
	}
}

/* ---- the header ---- */

static void
cmdsts_write(struct pci_devinst *pi, int offset, int bytes, uint32_t val)
{
	uint32_t old, new, rw, w1c;
	int i;

	pthread_mutex_lock(&pi->pi_intr_mtx);
	old = pci_get_cfgdata32(pi, PCIR_COMMAND);
	new = old;
	for (i = 0; i < bytes; i++) {
		int shift = (offset - PCIR_COMMAND + i) * 8;

		rw = CMD_WRITABLE & (0xffu << shift);
		w1c = ((uint32_t)PCIM_STATUS_W1C << 16) & (0xffu << shift);
		new = (new & ~rw) | (((val >> (i * 8)) << shift) & rw);
		new &= ~(((val >> (i * 8)) << shift) & w1c);
	}
	pci_set_cfgdata32(pi, PCIR_COMMAND, new);
	pthread_mutex_unlock(&pi->pi_intr_mtx);
	if (((old ^ new) & (PCIM_CMD_PORTEN | PCIM_CMD_MEMEN)) != 0)
		pci_bar_decode(pi);
	if (((old ^ new) & PCIM_CMD_INTxDIS) != 0)
		pci_lintr_update(pi);
}

static void
cfg_write(struct pci_devinst *pi, int offset, int bytes, uint32_t val)
{
	int i;

	if (pi->pi_d->pe_cfgwrite != NULL &&
	    pi->pi_d->pe_cfgwrite(pi, offset, bytes, val) == 0)
		return;
	if (offset >= PCIR_BAR(0) && offset < PCIR_BAR(PCI_BARMAX + 1)) {
		if (bytes == 4)
			pci_bar_cfgwrite(pi, (offset - PCIR_BAR(0)) / 4, val);
	} else if (offset >= PCIR_BIOS && offset < PCIR_BIOS + 4) {
		if (bytes == 4)
			pci_rom_cfgwrite(pi, val);
	} else if (offset >= PCIR_COMMAND && offset < PCIR_REVID) {
		cmdsts_write(pi, offset, bytes, val);
	} else if (is_cap(pi, offset)) {
		cap_write(pi, offset, bytes, val);
	} else {
		/* Of the rest only these three are not read-only. */
		for (i = 0; i < bytes; i++, offset++, val >>= 8) {
			if (offset == PCIR_CACHELNSZ ||
			    offset == PCIR_LATTIMER || offset == PCIR_INTLINE)
				pci_set_cfgdata8(pi, offset, (uint8_t)val);
		}
	}
}

void
pci_cfgrw(
    int in, int bus, int slot, int func, int coff, int bytes, uint32_t *val)
{
	struct pci_devinst *pi;

	pi = pci_devinst_at(bus, slot, func);
	if (pi == NULL || coff < 0 ||
	    (bytes != 1 && bytes != 2 && bytes != 4) ||
	    (coff & (bytes - 1)) != 0) {
		if (in)
			*val = 0xffffffffu;
		return;
	}
	if (coff > PCI_REGMAX) {
		/* Extended space: an empty list of capabilities. */
		if (in)
			*val = coff >= 0x100 && coff < 0x104 ? 0 : 0xffffffffu;
		return;
	}
	pthread_mutex_lock(&pci_cfg_mtx);
	if (!in)
		cfg_write(pi, coff, bytes, *val);
	else if (pi->pi_d->pe_cfgread == NULL ||
	    pi->pi_d->pe_cfgread(pi, coff, bytes, val) != 0)
		*val = pci_cfg_load(pi, coff, bytes);
	pthread_mutex_unlock(&pci_cfg_mtx);
}

/* ---- mechanism 1 ---- */

static int
pci_emul_cfgaddr(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	if (bytes != 4)
		return (-1);
	pthread_mutex_lock(&pci_cfg_mtx);
	if (in)
		*eax = conf1_addr;
	else
		conf1_addr = *eax & CONF1_ADDR_MASK;
	pthread_mutex_unlock(&pci_cfg_mtx);
	return (0);
}
INOUT_PORT(pci_cfgaddr, CONF1_ADDR_PORT, IOPORT_F_INOUT, pci_emul_cfgaddr);

static int
pci_emul_cfgdata(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	uint32_t addr;

	pthread_mutex_lock(&pci_cfg_mtx);
	addr = conf1_addr;
	pthread_mutex_unlock(&pci_cfg_mtx);
	if ((addr & CONF1_ENABLE) == 0)
		return (0); /* all ones, or ignored */
	pci_cfgrw(in, (addr >> 16) & 0xff, (addr >> 11) & 0x1f,
	    (addr >> 8) & 0x7, (int)(addr & 0xfc) + (port - CONF1_DATA_PORT),
	    bytes, eax);
	return (0);
}
INOUT_PORT_RANGE(
    pci_cfgdata, CONF1_DATA_PORT, 4, IOPORT_F_INOUT, pci_emul_cfgdata);

/* ---- ECAM ---- */

static int
pci_emul_ecfg_handler(struct vcpu *vcpu, int dir, uint64_t addr, int bytes,
    uint64_t *val, void *arg1, long arg2)
{
	uint64_t off;
	uint32_t data;

	if (bytes > 4)
		return (0); /* all ones, or ignored */
	off = addr - PCI_EMUL_ECFG_BASE;
	data = (uint32_t)*val;
	pci_cfgrw(dir == MEM_F_READ, (int)(off >> 20) & 0xff,
	    (int)(off >> 15) & 0x1f, (int)(off >> 12) & 0x7, (int)(off & 0xfff),
	    bytes, &data);
	*val = data;
	return (0);
}

/* What no device claims in the PCI windows reads as ones. */
static int
pci_emul_fallback_handler(struct vcpu *vcpu, int dir, uint64_t addr, int bytes,
    uint64_t *val, void *arg1, long arg2)
{
	return (0);
}

int
pci_cfg_init(struct vmctx *ctx)
{
	struct mem_range mr = {
		.name = "PCI ECFG",
		.flags = MEM_F_RW,
		.handler = pci_emul_ecfg_handler,
		.base = PCI_EMUL_ECFG_BASE,
		.size = PCI_EMUL_ECFG_SIZE,
	};
	uint64_t lowlimit;
	int error;

	conf1_addr = 0;
	error = register_mem(&mr);
	if (error == 0) {
		lowlimit = vm_get_lowmem_size(ctx);
		if (lowlimit > VM_LOWMEM_LIMIT)
			lowlimit = VM_LOWMEM_LIMIT;
		mr.name = "PCI hole";
		mr.handler = pci_emul_fallback_handler;
		mr.base = lowlimit;
		mr.size = VM_HIGHMEM_BASE - lowlimit;
		error = register_mem_fallback(&mr);
	}
	if (error != 0)
		EPRINTLN(
		    "pci: cannot register memory ranges: %s", strerror(error));
	return (error);
}
