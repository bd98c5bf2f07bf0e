/*
 * Legacy PCI interrupts: the PIRQ router of the LPC bridge (eight pins to
 * ISA IRQs), the IOAPIC pins above the ISA ones, and the INTx lines.
 *
 * A PIRQ pin is shared: it is asserted while any of its devices asserts.
 */
#include <pthread.h>
#include <string.h>

#include "debug.h"
#include "ioapic.h"
#include "pci_irq.h"
#include "pci_local.h"
#include "pci_lpc.h"
#include "vmmapi.h"

/* IRQs that a PIRQ may be routed to: 3-7, 9-12, 14, 15. */
#define PERMITTED_IRQS 0xdef8
#define IRQ_PERMITTED(irq) (((1U << (irq)) & PERMITTED_IRQS) != 0)
#define ISA_PINS 16
#define NIRQ_COUNTS 16

static struct pirq {
	uint8_t reg;
	int use_count;
	int active_count;
} pirqs[PIRQ_PINS];

static pthread_mutex_t pirq_mtx = PTHREAD_MUTEX_INITIALIZER;
static int irq_counts[NIRQ_COUNTS]; /* devices of each IRQ */
static bool irq_reserved[NIRQ_COUNTS];
static int ioapic_pins; /* above the ISA ones */
static int ioapic_next;

void
pci_irq_init(struct vmctx *ctx)
{
	int i;

	for (i = 0; i < PIRQ_PINS; i++) {
		pirqs[i].reg = PIRQ_DIS;
		pirqs[i].use_count = 0;
		pirqs[i].active_count = 0;
	}
	for (i = 0; i < NIRQ_COUNTS; i++) {
		irq_counts[i] = 0;
		irq_reserved[i] = false;
	}
}

void
pci_irq_reserve(int irq)
{
	if (irq >= 0 && irq < NIRQ_COUNTS)
		irq_reserved[irq] = true;
}

void
pci_irq_use(int irq)
{
	if (irq >= 0 && irq < NIRQ_COUNTS)
		irq_counts[irq]++;
}

uint16_t
pirq_permitted(void)
{
	uint16_t mask;
	int irq;

	mask = 0;
	for (irq = 0; irq < NIRQ_COUNTS; irq++) {
		if (IRQ_PERMITTED(irq) && !irq_reserved[irq])
			mask |= (uint16_t)(1U << irq);
	}
	return (mask);
}

static bool
pirq_valid(uint8_t reg)
{
	return ((reg & PIRQ_DIS) == 0 && IRQ_PERMITTED(reg & PIRQ_IRQ));
}

uint8_t
pirq_read(int pin)
{
	uint8_t reg;

	if (pin < 1 || pin > PIRQ_PINS)
		return (0xff);
	pthread_mutex_lock(&pirq_mtx);
	reg = pirqs[pin - 1].reg;
	pthread_mutex_unlock(&pirq_mtx);
	return (reg);
}

void
pirq_write(struct vmctx *ctx, int pin, uint8_t val)
{
	struct pirq *pirq;

	if (pin < 1 || pin > PIRQ_PINS)
		return;
	pthread_mutex_lock(&pirq_mtx);
	pirq = &pirqs[pin - 1];
	val &= PIRQ_DIS | PIRQ_IRQ;
	if (pirq->reg != val) {
		/* An asserted pin takes its level along. */
		if (pirq->active_count != 0 && pirq_valid(pirq->reg))
			vm_isa_deassert_irq(ctx, pirq->reg & PIRQ_IRQ, -1);
		pirq->reg = val;
		if (pirq->active_count != 0 && pirq_valid(val))
			vm_isa_assert_irq(ctx, val & PIRQ_IRQ, -1);
	}
	pthread_mutex_unlock(&pirq_mtx);
}

int
pirq_irq(int pin)
{
	int irq;

	if (pin < 1 || pin > PIRQ_PINS)
		return (0);
	pthread_mutex_lock(&pirq_mtx);
	irq =
	    pirq_valid(pirqs[pin - 1].reg) ? pirqs[pin - 1].reg & PIRQ_IRQ : 0;
	pthread_mutex_unlock(&pirq_mtx);
	return (irq);
}

/* ---- IOAPIC pins ---- */

int
ioapic_init(struct vmctx *ctx)
{
	int pins;

	if (vm_ioapic_pincount(ctx, &pins) != 0 || pins < ISA_PINS)
		pins = ISA_PINS;
	ioapic_pins = pins - ISA_PINS;
	ioapic_next = 0;
	return (0);
}

int
ioapic_pci_alloc_irq(struct pci_devinst *pi)
{
	if (ioapic_pins == 0)
		return (-1);
	/* Firmware has tables of its own, so its mapping is fixed. */
	if (lpc_bootrom() != NULL)
		return (ISA_PINS + (4 + pi->pi_slot + pi->pi_lintr.pin) % 8);
	return (ISA_PINS + ioapic_next++ % ioapic_pins);
}

/* ---- routing ---- */

static int
pirq_alloc_pin(struct pci_devinst *pi)
{
	int best, best_irq, irq, pin;

	best = 0;
	if (lpc_bootrom() != NULL) {
		best = (4 + pi->pi_slot + pi->pi_lintr.pin) % PIRQ_PINS;
	} else {
		for (pin = 1; pin < PIRQ_PINS; pin++) {
			if (pirqs[pin].use_count < pirqs[best].use_count)
				best = pin;
		}
	}
	pirqs[best].use_count++;

	/* A pin without an IRQ gets the one that fewest devices use. */
	if (!pirq_valid(pirqs[best].reg)) {
		best_irq = -1;
		for (irq = 0; irq < NIRQ_COUNTS; irq++) {
			if (!IRQ_PERMITTED(irq) || irq_reserved[irq])
				continue;
			if (best_irq < 0 ||
			    irq_counts[irq] < irq_counts[best_irq])
				best_irq = irq;
		}
		if (best_irq >= 0) {
			irq_counts[best_irq]++;
			pirqs[best].reg = (uint8_t)best_irq;
			vm_isa_set_irq_trigger(
			    pi->pi_vmctx, best_irq, LEVEL_TRIGGER);
		}
	}
	return (best + 1);
}

void
pci_lintr_request(struct pci_devinst *pi)
{
	struct intxinfo *ii;
	int bestpin, pin;

	ii = pci_slot_intxinfo(pi->pi_bus, pi->pi_slot);
	bestpin = 0;
	for (pin = 1; pin < 4; pin++) {
		if (ii[pin].ii_count < ii[bestpin].ii_count)
			bestpin = pin;
	}
	ii[bestpin].ii_count++;
	pi->pi_lintr.pin = (int8_t)(bestpin + 1);
	pci_set_cfgdata8(pi, PCIR_INTPIN, (uint8_t)(bestpin + 1));
}

void
pci_lintr_route(struct pci_devinst *pi)
{
	struct intxinfo *ii;

	if (pi->pi_lintr.pin == 0)
		return;
	ii = &pci_slot_intxinfo(pi->pi_bus, pi->pi_slot)[pi->pi_lintr.pin - 1];
	/* Devices of a slot that share the pin share its route. */
	if (ii->ii_ioapic_irq == 0)
		ii->ii_ioapic_irq = ioapic_pci_alloc_irq(pi);
	if (ii->ii_pirq_pin == 0)
		ii->ii_pirq_pin = pirq_alloc_pin(pi);
	pi->pi_lintr.ioapic_irq = ii->ii_ioapic_irq;
	pi->pi_lintr.pirq_pin = ii->ii_pirq_pin;
	pci_set_cfgdata8(pi, PCIR_INTLINE, (uint8_t)pirq_irq(ii->ii_pirq_pin));
}

/* ---- levels ---- */

void
pci_irq_assert(struct pci_devinst *pi)
{
	struct pirq *pirq;

	if (pi->pi_lintr.pirq_pin > 0) {
		pthread_mutex_lock(&pirq_mtx);
		pirq = &pirqs[pi->pi_lintr.pirq_pin - 1];
		if (++pirq->active_count == 1 && pirq_valid(pirq->reg))
			vm_isa_assert_irq(
			    pi->pi_vmctx, pirq->reg & PIRQ_IRQ, -1);
		pthread_mutex_unlock(&pirq_mtx);
	}
	if (pi->pi_lintr.ioapic_irq > 0)
		vm_ioapic_assert_irq(pi->pi_vmctx, pi->pi_lintr.ioapic_irq);
}

void
pci_irq_deassert(struct pci_devinst *pi)
{
	struct pirq *pirq;

	if (pi->pi_lintr.pirq_pin > 0) {
		pthread_mutex_lock(&pirq_mtx);
		pirq = &pirqs[pi->pi_lintr.pirq_pin - 1];
		if (--pirq->active_count == 0 && pirq_valid(pirq->reg))
			vm_isa_deassert_irq(
			    pi->pi_vmctx, pirq->reg & PIRQ_IRQ, -1);
		pthread_mutex_unlock(&pirq_mtx);
	}
	if (pi->pi_lintr.ioapic_irq > 0)
		vm_ioapic_deassert_irq(pi->pi_vmctx, pi->pi_lintr.ioapic_irq);
}

static bool
lintr_permitted(const struct pci_devinst *pi)
{
	return (!pi->pi_msi.enabled && !pi->pi_msix.enabled &&
	    (pci_get_cfgdata16(pi, PCIR_COMMAND) & PCIM_CMD_INTxDIS) == 0);
}

void
pci_lintr_assert(struct pci_devinst *pi)
{
	pthread_mutex_lock(&pi->pi_intr_mtx);
	if (pi->pi_lintr.pin > 0 && pi->pi_lintr.state == IDLE) {
		pci_set_cfgdata8(pi, PCIR_STATUS,
		    pci_get_cfgdata8(pi, PCIR_STATUS) | PCIM_STATUS_INTxSTATE);
		if (lintr_permitted(pi)) {
			pi->pi_lintr.state = ASSERTED;
			pci_irq_assert(pi);
		} else {
			pi->pi_lintr.state = PENDING;
		}
	}
	pthread_mutex_unlock(&pi->pi_intr_mtx);
}

void
pci_lintr_deassert(struct pci_devinst *pi)
{
	/* Devices say so at each completion, most by message. */
	if (pi->pi_lintr.state == IDLE)
		return;
	pthread_mutex_lock(&pi->pi_intr_mtx);
	if (pi->pi_lintr.state == ASSERTED)
		pci_irq_deassert(pi);
	pi->pi_lintr.state = IDLE;
	pci_set_cfgdata8(pi, PCIR_STATUS,
	    pci_get_cfgdata8(pi, PCIR_STATUS) & ~PCIM_STATUS_INTxSTATE);
	pthread_mutex_unlock(&pi->pi_intr_mtx);
}

void
pci_lintr_update(struct pci_devinst *pi)
{
	pthread_mutex_lock(&pi->pi_intr_mtx);
	if (pi->pi_lintr.state == ASSERTED && !lintr_permitted(pi)) {
		pci_irq_deassert(pi);
		pi->pi_lintr.state = PENDING;
	} else if (pi->pi_lintr.state == PENDING && lintr_permitted(pi)) {
		pi->pi_lintr.state = ASSERTED;
		pci_irq_assert(pi);
	}
	pthread_mutex_unlock(&pi->pi_intr_mtx);
}
