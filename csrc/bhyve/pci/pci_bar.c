/*
 * Base address registers: the windows they are placed in, sizing, moving,
 * and the bridge from the buses to a device's handlers.
 *
 * Placement is guarded by pci_cfg_mtx.  A BAR that the guest puts where
 * something else is stays unmapped, and is tried again when anything moves.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "inout.h"
#include "mem.h"
#include "pci_local.h"
#include "pci_lpc.h"
#include "pctestdev.h"
#include "vmmapi.h"

#define PCI_EMUL_IOBASE 0x2000UL
#define PCI_EMUL_IOLIMIT 0x10000UL
#define PCI_EMUL_MEMBASE32 0xc0000000UL
#define PCI_EMUL_MEMLIMIT32 PCI_EMUL_ECFG_BASE
#define PCI_EMUL_MEMSIZE64 (32UL << 30)
#define GB (1UL << 30)
/* A 64-bit BAR above this size goes to the window above 4 GB. */
#define BAR64_LOW_MAX (128UL << 20)

/* Room that a bus's windows have for a guest that moves BARs. */
#define BUSIO_SLOP 32UL
#define BUSMEM32_SLOP (1UL << 20)
#define BUSMEM64_SLOP (512UL << 20)

#define MAX_PENDING_BARS (MAXSLOTS * MAXFUNCS * (PCI_BARMAX + 1))

struct bar_request {
	struct pci_devinst *pi;
	int idx;
};

struct window {
	uint64_t base, limit;
};

static uint64_t next_io, next_mem32, next_mem64, mem64_limit;
static struct window io_windows[MAXBUSES], mem32_windows[MAXBUSES],
    mem64_windows[MAXBUSES];
static struct bar_request requests[MAX_PENDING_BARS];
static int nrequests;
static int nblocked; /* BARs with wanted && !mapped */

void
pci_bar_init(struct vmctx *ctx)
{
	uint64_t top;

	next_io = PCI_EMUL_IOBASE;
	if (get_config_bool_default("lpc.pc-testdev", false))
		next_io += PCTESTDEV_IRQ_PORTS;
	next_mem32 = PCI_EMUL_MEMBASE32;
	top = VM_HIGHMEM_BASE + vm_get_highmem_size(ctx);
	next_mem64 = (top + PCI_EMUL_MEMSIZE64 - 1) & ~(PCI_EMUL_MEMSIZE64 - 1);
	mem64_limit = next_mem64 + PCI_EMUL_MEMSIZE64;
	memset(io_windows, 0, sizeof(io_windows));
	memset(mem32_windows, 0, sizeof(mem32_windows));
	memset(mem64_windows, 0, sizeof(mem64_windows));
	nrequests = 0;
	nblocked = 0;
}

/* ---- from the buses to the device ---- */

static uint64_t
bar_read(struct pci_devinst *pi, int idx, uint64_t offset, int size)
{
	if (idx == PCI_ROM_IDX)
		return (pci_rom_read(pi, offset, size));
	if (pi->pi_d->pe_barread == NULL)
		return (~0UL);
	return (pi->pi_d->pe_barread(pi, idx, offset, size));
}

static void
bar_write(
    struct pci_devinst *pi, int idx, uint64_t offset, int size, uint64_t val)
{
	if (idx != PCI_ROM_IDX && pi->pi_d->pe_barwrite != NULL)
		pi->pi_d->pe_barwrite(pi, idx, offset, size, val);
}

static int
pci_emul_mem_handler(struct vcpu *vcpu, int dir, uint64_t addr, int size,
    uint64_t *val, void *arg1, long arg2)
{
	struct pci_devinst *pi = arg1;
	int idx = (int)arg2;
	struct pcibar *bar = &pi->pi_bar[idx];
	uint64_t offset;

	/* The BAR may have moved since the bus looked it up. */
	offset = addr - __atomic_load_n(&bar->addr, __ATOMIC_RELAXED);
	if (offset >= bar->size || bar->size - offset < (uint64_t)size)
		return (-1);
	if (dir == MEM_F_WRITE) {
		if (size == 8) {
			bar_write(pi, idx, offset, 4, *val & 0xffffffff);
			bar_write(pi, idx, offset + 4, 4, *val >> 32);
		} else {
			bar_write(pi, idx, offset, size, *val);
		}
	} else if (size == 8) {
		*val = bar_read(pi, idx, offset, 4) & 0xffffffff;
		*val |= bar_read(pi, idx, offset + 4, 4) << 32;
	} else {
		*val = bar_read(pi, idx, offset, size);
	}
	return (0);
}

static int
pci_emul_io_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	struct pci_devinst *pi = arg;
	struct pcibar *bar;
	uint64_t offset;
	int i;

	for (i = 0; i <= PCI_BARMAX; i++) {
		bar = &pi->pi_bar[i];
		if (bar->type != PCIBAR_IO)
			continue;
		offset = (uint64_t)port -
		    __atomic_load_n(&bar->addr, __ATOMIC_RELAXED);
		if (offset >= bar->size || bar->size - offset < (uint64_t)bytes)
			continue;
		if (in)
			*eax = (uint32_t)bar_read(pi, i, offset, bytes);
		else
			bar_write(pi, i, offset, bytes, *eax);
		return (0);
	}
	return (-1);
}

/* ---- mapping ---- */

static int
bus_register(struct pci_devinst *pi, int idx, bool add)
{
	struct pcibar *bar = &pi->pi_bar[idx];
	struct inout_port iop;
	struct mem_range mr;

	if (bar->type == PCIBAR_IO) {
		memset(&iop, 0, sizeof(iop));
		iop.name = pi->pi_name;
		iop.port = (int)bar->addr;
		iop.size = (int)bar->size;
		iop.flags = IOPORT_F_INOUT;
		iop.handler = pci_emul_io_handler;
		iop.arg = pi;
		return (add ? register_inout(&iop) : unregister_inout(&iop));
	}
	memset(&mr, 0, sizeof(mr));
	mr.name = pi->pi_name;
	mr.base = bar->addr;
	mr.size = bar->size;
	mr.flags = MEM_F_RW;
	mr.handler = pci_emul_mem_handler;
	mr.arg1 = pi;
	mr.arg2 = idx;
	return (add ? register_mem(&mr) : unregister_mem(&mr));
}

/* RAM is not on the memory bus, so a BAR over it is refused here. */
static bool
over_ram(struct pci_devinst *pi, const struct pcibar *bar)
{
	uint64_t high, low;

	low = vm_get_lowmem_size(pi->pi_vmctx);
	high = vm_get_highmem_size(pi->pi_vmctx);
	return (bar->addr < low ||
	    (high != 0 && bar->addr < VM_HIGHMEM_BASE + high &&
		bar->addr + (bar->size - 1) >= VM_HIGHMEM_BASE));
}

static void
try_map(struct pci_devinst *pi, int idx)
{
	struct pcibar *bar = &pi->pi_bar[idx];

	if ((bar->type != PCIBAR_IO && over_ram(pi, bar)) ||
	    bus_register(pi, idx, true) != 0)
		return;
	bar->mapped = true;
	nblocked--;
	if (idx != PCI_ROM_IDX && pi->pi_d->pe_baraddr != NULL)
		pi->pi_d->pe_baraddr(pi, idx, 1, bar->addr);
}

/* Something moved away: BARs that were in its way may fit now. */
static void
retry_blocked(void)
{
	struct pci_devinst *pi;
	int bus, func, i, slot;

	for (bus = 0; bus < MAXBUSES && nblocked > 0; bus++) {
		if (!pci_bus_configured(bus))
			continue;
		for (slot = 0; slot < MAXSLOTS; slot++) {
			for (func = 0; func < MAXFUNCS; func++) {
				pi = pci_devinst_at(bus, slot, func);
				for (i = 0; pi != NULL && i <= PCI_ROM_IDX;
				     i++) {
					if (pi->pi_bar[i].wanted &&
					    !pi->pi_bar[i].mapped)
						try_map(pi, i);
				}
			}
		}
	}
}

static void
bar_map(struct pci_devinst *pi, int idx)
{
	struct pcibar *bar = &pi->pi_bar[idx];

	if (bar->wanted)
		return;
	bar->wanted = true;
	nblocked++;
	try_map(pi, idx);
	if (!bar->mapped && !(bar->type == PCIBAR_IO && bar->addr > 0xffff))
		GUEST_LOG("%s: BAR%d at 0x%" PRIx64 " conflicts, not mapped",
		    pi->pi_name, idx, bar->addr);
}

static void
bar_unmap(struct pci_devinst *pi, int idx, bool retry)
{
	struct pcibar *bar = &pi->pi_bar[idx];

	if (!bar->wanted)
		return;
	bar->wanted = false;
	if (!bar->mapped) {
		nblocked--;
		return;
	}
	bus_register(pi, idx, false);
	bar->mapped = false;
	if (idx != PCI_ROM_IDX && pi->pi_d->pe_baraddr != NULL)
		pi->pi_d->pe_baraddr(pi, idx, 0, bar->addr);
	if (retry && nblocked > 0)
		retry_blocked();
}

static bool
decodes(struct pci_devinst *pi, const struct pcibar *bar)
{
	uint16_t cmd;

	cmd = pci_get_cfgdata16(pi, PCIR_COMMAND);
	switch (bar->type) {
	case PCIBAR_IO:
		return ((cmd & PCIM_CMD_PORTEN) != 0);
	case PCIBAR_MEM32:
	case PCIBAR_MEM64:
		return ((cmd & PCIM_CMD_MEMEN) != 0);
	case PCIBAR_ROM:
		return ((cmd & PCIM_CMD_MEMEN) != 0 &&
		    (pci_get_cfgdata32(pi, PCIR_BIOS) & PCIM_BIOS_ENABLE) != 0);
	default:
		return (false);
	}
}

void
pci_bar_decode(struct pci_devinst *pi)
{
	int i;

	for (i = 0; i <= PCI_ROM_IDX; i++) {
		if (decodes(pi, &pi->pi_bar[i]))
			bar_map(pi, i);
		else
			bar_unmap(pi, i, true);
	}
}

void
pci_bar_unmap_all(struct pci_devinst *pi)
{
	int i;

	for (i = 0; i <= PCI_ROM_IDX; i++)
		bar_unmap(pi, i, false);
}

static void
bar_move(struct pci_devinst *pi, int idx, uint64_t addr)
{
	struct pcibar *bar = &pi->pi_bar[idx];

	if (bar->addr == addr)
		return;
	bar_unmap(pi, idx, true);
	__atomic_store_n(&bar->addr, addr, __ATOMIC_RELAXED);
	if (decodes(pi, bar))
		bar_map(pi, idx);
}

void
pci_bar_cfgwrite(struct pci_devinst *pi, int idx, uint32_t val)
{
	struct pcibar *bar = &pi->pi_bar[idx];
	uint64_t mask;
	uint32_t reg;

	switch (bar->type) {
	case PCIBAR_IO:
		/* Ports have 16 bits, but SeaBIOS sizes with all 32: a BAR
		 * above 64 KB is not on the bus. */
		reg = val & (uint32_t) ~(bar->size - 1);
		bar_move(pi, idx, reg);
		reg |= bar->lobits;
		break;
	case PCIBAR_MEM32:
		reg = val & (uint32_t) ~(bar->size - 1);
		bar_move(pi, idx, reg);
		reg |= bar->lobits;
		break;
	case PCIBAR_MEM64:
		mask = ~(bar->size - 1);
		reg = val & (uint32_t)mask;
		bar_move(pi, idx, (bar->addr & 0xffffffff00000000UL) | reg);
		reg |= bar->lobits;
		break;
	case PCIBAR_MEMHI64:
		/* The upper half of the BAR before this one. */
		bar--;
		mask = ~(bar->size - 1);
		reg = val & (uint32_t)(mask >> 32);
		bar_move(pi, idx - 1,
		    (bar->addr & 0xffffffffUL) | ((uint64_t)reg << 32));
		break;
	default:
		return; /* reads as zero */
	}
	pci_set_cfgdata32(pi, PCIR_BAR(idx), reg);
}

void
pci_rom_cfgwrite(struct pci_devinst *pi, uint32_t val)
{
	struct pcibar *bar = &pi->pi_bar[PCI_ROM_IDX];
	uint32_t addr;

	if (bar->type != PCIBAR_ROM)
		return; /* reads as zero */
	addr = val & PCIM_BIOS_ADDR_MASK & (uint32_t) ~(bar->size - 1);
	pci_set_cfgdata32(pi, PCIR_BIOS, addr | (val & PCIM_BIOS_ENABLE));
	bar_move(pi, PCI_ROM_IDX, addr);
	/* It has a decode bit of its own. */
	if (decodes(pi, bar))
		bar_map(pi, PCI_ROM_IDX);
	else
		bar_unmap(pi, PCI_ROM_IDX, true);
}

/* ---- requests of the devices, and where they go ---- */

/* Nobody places it but the guest: until then it has no address. */
void
pci_bar_add_rom(struct pci_devinst *pi, uint64_t size)
{
	pi->pi_bar[PCI_ROM_IDX].type = PCIBAR_ROM;
	pi->pi_bar[PCI_ROM_IDX].size = size;
}

int
pci_emul_alloc_bar(
    struct pci_devinst *pi, int idx, enum pcibar_type type, uint64_t size)
{
	struct pcibar *bar;
	uint64_t min;

	if (idx < 0 || idx > PCI_BARMAX || size == 0 ||
	    (type == PCIBAR_MEM64 && idx == PCI_BARMAX) ||
	    pi->pi_bar[idx].type != PCIBAR_NONE)
		return (EINVAL);
	min = type == PCIBAR_IO ? 4 : 16;
	if (size < min)
		size = min;
	if ((size & (size - 1)) != 0)
		size = 1UL << (64 - __builtin_clzl(size));
	if ((type == PCIBAR_IO && size > PCI_EMUL_IOLIMIT) ||
	    (type == PCIBAR_MEM32 &&
		size > PCI_EMUL_MEMLIMIT32 - PCI_EMUL_MEMBASE32) ||
	    nrequests == MAX_PENDING_BARS)
		return (ENOMEM);
	bar = &pi->pi_bar[idx];
	bar->type = type;
	bar->size = size;
	switch (type) {
	case PCIBAR_IO:
		bar->lobits = PCIM_BAR_IO_SPACE;
		break;
	case PCIBAR_MEM32:
		bar->lobits = PCIM_BAR_MEM_32;
		break;
	case PCIBAR_MEM64:
		bar->lobits = PCIM_BAR_MEM_64;
		if (size > BAR64_LOW_MAX)
			bar->lobits |= PCIM_BAR_MEM_PREFETCH;
		pi->pi_bar[idx + 1].type = PCIBAR_MEMHI64;
		break;
	default:
		bar->type = PCIBAR_NONE;
		return (EINVAL);
	}
	requests[nrequests++] = (struct bar_request) { pi, idx };
	return (0);
}

/* Largest first wastes no room; equal ones stay in slot order. */
static int
by_size(const void *a, const void *b)
{
	const struct bar_request *ra = a, *rb = b;
	uint64_t sa = ra->pi->pi_bar[ra->idx].size;
	uint64_t sb = rb->pi->pi_bar[rb->idx].size;

	if (sa != sb)
		return (sa > sb ? -1 : 1);
	if (ra->pi != rb->pi) {
		int la = ra->pi->pi_slot * MAXFUNCS + ra->pi->pi_func;
		int lb = rb->pi->pi_slot * MAXFUNCS + rb->pi->pi_func;

		return (la < lb ? -1 : 1);
	}
	return (ra->idx - rb->idx);
}

static int
take(uint64_t *next, uint64_t limit, uint64_t size, uint64_t *addr)
{
	uint64_t base;

	base = (*next + size - 1) & ~(size - 1);
	if (base < *next || base > limit || size > limit - base)
		return (ENOMEM);
	*addr = base;
	*next = base + size;
	return (0);
}

static int
assign_bar(struct pci_devinst *pi, int idx, bool enable)
{
	struct pcibar *bar = &pi->pi_bar[idx];
	uint16_t cmd;
	int error;

	if (bar->type == PCIBAR_IO)
		error = take(&next_io, PCI_EMUL_IOLIMIT, bar->size, &bar->addr);
	else if (bar->type == PCIBAR_MEM64 && bar->size > BAR64_LOW_MAX)
		error = take(&next_mem64, mem64_limit, bar->size, &bar->addr);
	else
		error = take(
		    &next_mem32, PCI_EMUL_MEMLIMIT32, bar->size, &bar->addr);
	if (error != 0) {
		EPRINTLN("%s: no room for BAR%d of %" PRIu64 " bytes",
		    pi->pi_name, idx, bar->size);
		return (error);
	}
	pci_set_cfgdata32(pi, PCIR_BAR(idx), (uint32_t)bar->addr | bar->lobits);
	if (bar->type == PCIBAR_MEM64)
		pci_set_cfgdata32(
		    pi, PCIR_BAR(idx + 1), (uint32_t)(bar->addr >> 32));
	if (enable) {
		cmd = pci_get_cfgdata16(pi, PCIR_COMMAND);
		cmd |=
		    bar->type == PCIBAR_IO ? PCIM_CMD_PORTEN : PCIM_CMD_MEMEN;
		pci_set_cfgdata16(pi, PCIR_COMMAND, cmd);
		bar_map(pi, idx);
	}
	return (0);
}

int
pci_assign_bars(int bus)
{
	bool enable;
	int error, i;

	/* Firmware places and enables BARs itself. */
	enable =
	    get_config_bool_default("pci.enable_bars", lpc_bootrom() == NULL);
	qsort(requests, (size_t)nrequests, sizeof(requests[0]), by_size);
	error = 0;
	for (i = 0; i < nrequests && error == 0; i++)
		error = assign_bar(requests[i].pi, requests[i].idx, enable);
	nrequests = 0;
	return (error);
}

/* ---- windows of the buses ---- */

void
pci_bus_window_begin(int bus)
{
	io_windows[bus].base = next_io;
	mem32_windows[bus].base = next_mem32;
	mem64_windows[bus].base = next_mem64;
}

static uint64_t
with_slop(uint64_t *next, uint64_t slop, uint64_t limit)
{
	*next = (*next + 2 * slop - 1) & ~(slop - 1);
	if (*next > limit)
		*next = limit;
	return (*next);
}

void
pci_bus_window_end(int bus)
{
	io_windows[bus].limit =
	    with_slop(&next_io, BUSIO_SLOP, PCI_EMUL_IOLIMIT);
	mem32_windows[bus].limit =
	    with_slop(&next_mem32, BUSMEM32_SLOP, PCI_EMUL_MEMLIMIT32);
	mem64_windows[bus].limit =
	    with_slop(&next_mem64, BUSMEM64_SLOP, mem64_limit);
}

static void
get_window(const struct window *w, uint64_t *base, uint64_t *limit)
{
	*base = w->base;
	*limit = w->limit;
}

void
pci_bus_io(int bus, uint64_t *base, uint64_t *limit)
{
	get_window(&io_windows[bus], base, limit);
}

void
pci_bus_mem32(int bus, uint64_t *base, uint64_t *limit)
{
	get_window(&mem32_windows[bus], base, limit);
}

void
pci_bus_mem64(int bus, uint64_t *base, uint64_t *limit)
{
	get_window(&mem64_windows[bus], base, limit);
}
