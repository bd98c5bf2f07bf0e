/* IOAPIC pins of PCI interrupts: those above the 16 of the ISA bus. */
#ifndef _IOAPIC_H_
#define _IOAPIC_H_

struct pci_devinst;
struct vmctx;

int ioapic_init(struct vmctx *ctx);
/* The pin for the device's INTx, or -1. */
int ioapic_pci_alloc_irq(struct pci_devinst *pi);

#endif
