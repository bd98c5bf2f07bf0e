/*
 * What the device code expects around it, as little as possible.  Guest
 * memory lies between pages that nobody may touch.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../support/shared.h"
#include "bhyverun.h"
#include "config.h"
#include "fake_machine.h"
#include "pci_local.h"
#include "qemu_fwcfg.h"
#include "vmmapi.h"

SET_DECLARE(pci_devemu_set, const struct pci_devemu);

bool fake_msix = true;
_Atomic int fake_msis;
_Atomic int fake_intx;
static char *low, *high;

void
check_failed(const char *file, int line, const char *func, const char *cond)
{
	fprintf(stderr, "%s:%d: %s: %s\n", file, line, func, cond);
	abort();
}

static char *
guarded(size_t size)
{
	char *p;

	p = mmap(NULL, size + (2UL << 20), PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	CHECK(mprotect(p + (1UL << 20), size, PROT_READ | PROT_WRITE) == 0);
	return (p + (1UL << 20));
}

void
fake_init(void)
{
	low = guarded(LOW_SIZE);
	high = guarded(HIGH_SIZE);
	GUEST_MEMORY(low, LOW_SIZE);
	GUEST_MEMORY(high, HIGH_SIZE);
	init_config();
}

void *
paddr_guest2host(struct vmctx *ctx, uint64_t addr, size_t len)
{
	if (addr < LOW_SIZE && len <= LOW_SIZE - addr)
		return (low + addr);
	if (addr >= HIGH_BASE && addr - HIGH_BASE < HIGH_SIZE &&
	    len <= HIGH_SIZE - (addr - HIGH_BASE))
		return (high + (addr - HIGH_BASE));
	return (NULL);
}

void *
gpa(uint64_t addr)
{
	void *p;

	p = paddr_guest2host(NULL, addr, 1);
	CHECK(p != NULL);
	return (p);
}

void
vm_dirty_gpa(struct vmctx *ctx, vm_paddr_t addr, size_t len)
{
	CHECK(paddr_guest2host(ctx, addr, len) != NULL);
}

size_t
vm_get_lowmem_size(struct vmctx *ctx)
{
	return (LOW_SIZE);
}

size_t
vm_get_highmem_size(struct vmctx *ctx)
{
	return (HIGH_SIZE);
}

const char *
vm_get_name(struct vmctx *ctx)
{
	return ("fake");
}

int
vm_raise_msi(
    struct vmctx *ctx, uint64_t addr, uint64_t msg, int bus, int slot, int func)
{
	fake_msis++;
	return (0);
}

/* Taken, and nobody ever rings: accesses come to the BARs all the same. */
int
vm_ioevent(struct vmctx *ctx, const struct vm_ioevent *ioe)
{
	return (0);
}

int
vm_irqfd(struct vmctx *ctx, struct vm_irqfd *ifd)
{
	errno = EOPNOTSUPP;
	return (-1);
}

bool
fbsdrun_virtio_msix(void)
{
	return (fake_msix);
}

int
qemu_fwcfg_add_boot_device(
    struct pci_devinst *pi, int bootindex, const char *path)
{
	return (0);
}

/* ---- of the PCI core ---- */

int
pci_emul_alloc_bar(
    struct pci_devinst *pi, int idx, enum pcibar_type type, uint64_t size)
{
	pi->pi_bar[idx].type = type;
	pi->pi_bar[idx].size =
	    size < 4 ? 4 : 1UL << (64 - __builtin_clzl(size - 1));
	return (0);
}

int
pci_emul_add_capability(
    struct pci_devinst *pi, const uint8_t *capdata, int caplen)
{
	int off;

	off = pi->pi_capend == 0 ? 0x40 : (pi->pi_capend + 4) & ~3;
	CHECK(off + caplen <= PCI_REGMAX + 1);
	if (pi->pi_prevcap != 0)
		pi->pi_cfgdata[pi->pi_prevcap + 1] = (uint8_t)off;
	memcpy(&pi->pi_cfgdata[off], capdata, (size_t)caplen);
	pi->pi_prevcap = off;
	pi->pi_capend = off + caplen - 1;
	return (0);
}

int
pci_parse_legacy_config(nvlist_t *nvl, const char *opt)
{
	return (0);
}

void
pci_lintr_request(struct pci_devinst *pi)
{
	pi->pi_lintr.pin = 1;
}

void
pci_lintr_assert(struct pci_devinst *pi)
{
	fake_intx = 1;
}

void
pci_lintr_deassert(struct pci_devinst *pi)
{
	fake_intx = 0;
}

void pci_lintr_update(struct pci_devinst *pi);
void
pci_lintr_update(struct pci_devinst *pi)
{
}

struct pci_devinst *
fake_device(const char *name)
{
	const struct pci_devemu *const *pe;
	struct pci_devinst *pi;

	SET_FOREACH(pe, pci_devemu_set)
	{
		if (strcmp((*pe)->pe_emu, name) != 0)
			continue;
		pi = calloc(1, sizeof(*pi));
		CHECK(pi != NULL);
		pi->pi_d = *pe;
		snprintf(pi->pi_name, sizeof(pi->pi_name), "%s", name);
		pthread_mutex_init(&pi->pi_intr_mtx, NULL);
		pi->pi_msix.table_bar = pi->pi_msix.pba_bar = -1;
		pci_set_cfgdata16(pi, PCIR_COMMAND, PCIM_CMD_BUSMASTEREN);
		CHECK((*pe)->pe_init(pi, create_config_node("dev")) == 0);
		return (pi);
	}
	CHECK(!"device model");
}

void
fake_destroy(struct pci_devinst *pi)
{
	pi->pi_d->pe_cleanup(pi);
	pci_msix_cleanup(pi);
	free(pi);
	init_config();
}

/* As the PCI core: only accesses that lie in the BAR reach the device. */
void
bar_out(struct pci_devinst *pi, int bar, uint64_t off, int size, uint32_t val)
{
	if (off + (uint64_t)size <= pi->pi_bar[bar].size)
		pi->pi_d->pe_barwrite(pi, bar, off, size, val);
}

uint32_t
bar_in(struct pci_devinst *pi, int bar, uint64_t off, int size)
{
	if (off + (uint64_t)size > pi->pi_bar[bar].size)
		return (~0U);
	return ((uint32_t)pi->pi_d->pe_barread(pi, bar, off, size));
}
