/*
 * The PCI interrupt router of the LPC bridge: eight PIRQ pins to ISA IRQs,
 * and the lines of each device to it and to the IOAPIC.
 */
#ifndef _PCI_IRQ_H_
#define _PCI_IRQ_H_

#include <stdbool.h>
#include <stdint.h>

struct pci_devinst;
struct vmctx;

#define PIRQ_PINS 8
#define PIRQ_DIS 0x80
#define PIRQ_IRQ 0x0f

void pci_irq_init(struct vmctx *ctx);
/* Take an ISA IRQ out of the PCI pool. */
void pci_irq_reserve(int irq);
/* Mark an ISA IRQ that a device other than PCI uses. */
void pci_irq_use(int irq);
void pci_irq_assert(struct pci_devinst *pi);
void pci_irq_deassert(struct pci_devinst *pi);
/* Choose the PIRQ pin, IOAPIC pin and interrupt line of a device. */
void pci_lintr_route(struct pci_devinst *pi);
/* COMMAND.INTxDIS changed. */
void pci_lintr_update(struct pci_devinst *pi);

/* pin is 1 to 8 (A to H). */
uint8_t pirq_read(int pin);
void pirq_write(struct vmctx *ctx, int pin, uint8_t val);
int pirq_irq(int pin);	       /* IRQ of a pin, or 0 */
uint16_t pirq_permitted(void); /* IRQs that a pin may be given */

#endif
