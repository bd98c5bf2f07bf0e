/*
 * What the files of the PCI core share.
 *
 * Lock order: pci_cfg_mtx (configuration space, BAR placement) -> a device's
 * own lock -> pi_intr_mtx -> the interrupt router -> the vmm's chips.
 */
#ifndef _PCI_LOCAL_H_
#define _PCI_LOCAL_H_

#include <pthread.h>

#include "pci_emul.h"

extern pthread_mutex_t pci_cfg_mtx;

/* ---- pci_bar.c; all with pci_cfg_mtx held or before the vCPUs run ---- */
void pci_bar_init(struct vmctx *ctx);
/* Place the BARs that the devices of a bus asked for. */
int pci_assign_bars(int bus);
void pci_bus_window_begin(int bus);
void pci_bus_window_end(int bus);
/* COMMAND changed: map and unmap by its decode bits. */
void pci_bar_decode(struct pci_devinst *pi);
void pci_bar_cfgwrite(struct pci_devinst *pi, int idx, uint32_t val);
void pci_bar_unmap_all(struct pci_devinst *pi);
/* The expansion ROM's BAR (size is a power of two) and its register. */
void pci_bar_add_rom(struct pci_devinst *pi, uint64_t size);
void pci_rom_cfgwrite(struct pci_devinst *pi, uint32_t val);

/* ---- pci_rom.c ---- */
void pci_rom_cleanup(struct pci_devinst *pi);
uint64_t pci_rom_read(struct pci_devinst *pi, uint64_t offset, int size);

/* ---- pci_msi.c ---- */
void pci_msi_capwrite(
    struct pci_devinst *pi, int capoff, int offset, int bytes, uint32_t val);
void pci_msix_capwrite(
    struct pci_devinst *pi, int capoff, int offset, int bytes, uint32_t val);
void pci_msix_cleanup(struct pci_devinst *pi);

/* Bookkeeping of a slot's interrupt pins, for pci_irq.c. */
struct intxinfo {
	int ii_count;
	int ii_pirq_pin;
	int ii_ioapic_irq;
};
struct intxinfo *pci_slot_intxinfo(int bus, int slot); /* four of them */

static inline void
pci_cfg_store(struct pci_devinst *pi, int offset, int bytes, uint32_t val)
{
	if (bytes == 1)
		pci_set_cfgdata8(pi, offset, (uint8_t)val);
	else if (bytes == 2)
		pci_set_cfgdata16(pi, offset, (uint16_t)val);
	else
		pci_set_cfgdata32(pi, offset, val);
}

static inline uint32_t
pci_cfg_load(const struct pci_devinst *pi, int offset, int bytes)
{
	if (bytes == 1)
		return (pci_get_cfgdata8(pi, offset));
	if (bytes == 2)
		return (pci_get_cfgdata16(pi, offset));
	return (pci_get_cfgdata32(pi, offset));
}

/* ---- pci_irqfd.c ---- */
/* False: the message is the caller's to send. */
bool pci_irqfd_send(
    struct pci_devinst *pi, int index, uint64_t addr, uint32_t data);
void pci_irqfd_cleanup(struct pci_devinst *pi);

#endif
