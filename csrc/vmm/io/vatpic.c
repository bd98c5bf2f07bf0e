/*
 * The two cascaded 8259A interrupt controllers with their edge/level control
 * registers (ELCR).  Lines count their sources.  The master's INTR pin goes
 * to LINT0 of every local APIC and to pin 0 of the I/O APIC; where the
 * backend has its own local APICs, to vCPU 0.  Lock: `mtx`, beside vioapic's
 * (neither is taken under the other but vioapic's under this one).
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "vchips.h"
#include "vlapic.h"
#include "vmm.h"
#include "vmm_data.h"

/* ICW1: bit 4 tells it from OCW2 and OCW3. */
#define ICW1_RESET 0x10
#define ICW1_SNGL 0x02
#define ICW1_IC4 0x01
#define ICW4_AEOI 0x02
#define ICW4_SFNM 0x10
#define OCW3_SELECT 0x08
#define OCW3_ESMM 0x40
#define OCW3_SMM 0x20
#define OCW3_POLL 0x04
#define OCW3_RR 0x02
#define OCW3_RIS 0x01
#define OCW2_R 0x80
#define OCW2_SL 0x40
#define OCW2_EOI 0x20

#define IRQ_NONE (-1)
#define SPURIOUS_PIN 7
#define CASCADE_PIN 2
/* IRQ 0, 1, 2, 8 and 13 are edge lines for good. */
#define ELC_MASTER_WRITABLE 0xf8
#define ELC_SLAVE_WRITABLE 0xde

#define PORT_ELC1 0x4d0

#define POLL_VALID 0x80

enum { EXPECT_ICW3 = 1, EXPECT_ICW4 = 2 };

struct atpic {
	uint8_t icw_state;  /* 0, or the ICW that is next: 2, 3, 4 */
	uint8_t icw_expect; /* of 3 and 4, which will come */
	bool ready;	    /* initialization is complete */
	bool aeoi, poll, rotate, sfnm, smm, read_isr;
	uint8_t vec_base;
	uint8_t lowprio; /* the pin with the lowest priority */
	uint8_t irr, isr, imr, elc;
	uint32_t acnt[8];
};

struct vatpic {
	struct vm *vm;
	pthread_mutex_t mtx;
	bool intr_raised; /* INTR is high and has been told */
	/* The same for a look without the lock. */
	_Atomic bool intr_hint;
	struct atpic chip[2];
};

/*
 * The pin that asks for service, or IRQ_NONE: the highest request that is not
 * masked and has a higher priority than what is in service.
 */
static int
atpic_highest(const struct atpic *atpic, bool master)
{
	uint8_t bit, requests, isr;
	int i, pin;

	requests = atpic->irr & (uint8_t)~atpic->imr;
	if (!atpic->ready || requests == 0)
		return (IRQ_NONE);
	isr = atpic->isr;
	/* In special mask mode a masked service does not block others. */
	if (atpic->smm)
		isr &= (uint8_t)~atpic->imr;
	for (i = 1; i <= 8; i++) {
		pin = (atpic->lowprio + i) & 7;
		bit = (uint8_t)(1u << pin);
		if (isr & bit) {
			/*
			 * The slave may interrupt its own service routine
			 * in special fully nested mode.
			 */
			if (master && atpic->sfnm && pin == CASCADE_PIN &&
			    (requests & bit) != 0)
				return (pin);
			/* In special mask mode only the same level waits. */
			if (!atpic->smm)
				return (IRQ_NONE);
			continue;
		}
		if (requests & bit)
			return (pin);
	}
	return (IRQ_NONE);
}

/* The slave's INTR pin is the master's third line. */
static void
vatpic_cascade(struct vatpic *vatpic)
{
	if (atpic_highest(&vatpic->chip[1], false) != IRQ_NONE)
		vatpic->chip[0].irr |= 1u << CASCADE_PIN;
	else
		vatpic->chip[0].irr &= (uint8_t) ~(1u << CASCADE_PIN);
}

static void
vatpic_raise_intr(struct vatpic *vatpic)
{
	struct vcpu *vcpu;
	struct vm *vm;
	vm_cpuset_t cpus;
	int i;

	vm = vatpic->vm;
	if (vmm_vm_ops(vm)->lapic_msi != NULL) {
		vcpu = vmm_vcpu(vm, 0);
		if (vcpu != NULL) {
			vmm_inject_extint(vcpu);
			vcpu_notify_event(vcpu, false);
		}
	} else {
		cpus = vmm_active_cpus(vm);
		for (i = 0; i < VM_MAXCPU; i++) {
			if ((cpus & (1ULL << i)) == 0)
				continue;
			vcpu = vmm_vcpu(vm, i);
			if (vcpu != NULL && vm_lapic(vcpu) != NULL)
				vlapic_trigger_lvt(
				    vm_lapic(vcpu), APIC_LVT_LINT0);
		}
	}
	vioapic_pulse_irq(vm, 0);
}

/* After every change: follow INTR and tell of its rise. */
static void
vatpic_update(struct vatpic *vatpic)
{
	bool intr;

	vatpic_cascade(vatpic);
	intr = atpic_highest(&vatpic->chip[0], true) != IRQ_NONE;
	atomic_store(&vatpic->intr_hint, intr);
	if (intr && !vatpic->intr_raised) {
		vatpic->intr_raised = true;
		vatpic_raise_intr(vatpic);
	} else if (!intr)
		vatpic->intr_raised = false;
}

static void
atpic_line_up(struct atpic *atpic, int pin)
{
	if (atpic->acnt[pin] == UINT32_MAX)
		return;
	if (atpic->acnt[pin]++ == 0)
		atpic->irr |= (uint8_t)(1u << pin);
}

/* A level request goes with its line; an edge stays latched. */
static void
atpic_line_down(struct atpic *atpic, int pin)
{
	if (atpic->acnt[pin] != 0)
		atpic->acnt[pin]--;
	if (atpic->acnt[pin] == 0 && (atpic->elc & (1u << pin)) != 0)
		atpic->irr &= (uint8_t) ~(1u << pin);
}

enum line_change { LINE_ASSERT, LINE_DEASSERT, LINE_PULSE };

static int
vatpic_set_line(struct vm *vm, int irq, enum line_change change)
{
	struct vatpic *vatpic;
	struct atpic *atpic;

	/* Nobody but the slave drives the cascade line. */
	if (irq < 0 || irq > 15 || irq == CASCADE_PIN)
		return (EINVAL);
	vatpic = vm_atpic(vm);
	pthread_mutex_lock(&vatpic->mtx);
	atpic = &vatpic->chip[irq >> 3];
	if (change != LINE_DEASSERT)
		atpic_line_up(atpic, irq & 7);
	if (change == LINE_PULSE)
		vatpic_update(vatpic);
	if (change != LINE_ASSERT)
		atpic_line_down(atpic, irq & 7);
	vatpic_update(vatpic);
	pthread_mutex_unlock(&vatpic->mtx);
	return (0);
}

int
vatpic_assert_irq(struct vm *vm, int irq)
{
	return (vatpic_set_line(vm, irq, LINE_ASSERT));
}

int
vatpic_deassert_irq(struct vm *vm, int irq)
{
	return (vatpic_set_line(vm, irq, LINE_DEASSERT));
}

int
vatpic_pulse_irq(struct vm *vm, int irq)
{
	return (vatpic_set_line(vm, irq, LINE_PULSE));
}

enum edge_fate
vatpic_edge_fate(struct vm *vm, int irq)
{
	struct vatpic *vatpic;
	const struct atpic *atpic;
	enum edge_fate fate;
	uint8_t bit;

	vatpic = vm_atpic(vm);
	atpic = &vatpic->chip[irq >> 3];
	bit = (uint8_t)(1u << (irq & 7));
	pthread_mutex_lock(&vatpic->mtx);
	if (!atpic->ready || (atpic->imr & bit) != 0)
		fate = EDGE_MASKED;
	else
		fate = (atpic->irr & bit) != 0 ? EDGE_LOST : EDGE_TAKEN;
	pthread_mutex_unlock(&vatpic->mtx);
	return (fate);
}

/* Write an ELCR: lines that are now level lines show their level. */
static void
atpic_set_elc(struct atpic *atpic, uint8_t elc)
{
	int pin;

	atpic->elc = elc;
	for (pin = 0; pin < 8; pin++) {
		if ((elc & (1u << pin)) == 0)
			continue;
		if (atpic->acnt[pin] != 0)
			atpic->irr |= (uint8_t)(1u << pin);
		else
			atpic->irr &= (uint8_t) ~(1u << pin);
	}
}

int
vatpic_set_irq_trigger(struct vm *vm, int irq, int level)
{
	struct vatpic *vatpic;
	struct atpic *atpic;
	uint8_t writable, elc;

	if (irq < 0 || irq > 15 || (level != 0 && level != 1))
		return (EINVAL);
	writable = irq < 8 ? ELC_MASTER_WRITABLE : ELC_SLAVE_WRITABLE;
	if (level && (writable & (1u << (irq & 7))) == 0)
		return (EINVAL);
	vatpic = vm_atpic(vm);
	pthread_mutex_lock(&vatpic->mtx);
	atpic = &vatpic->chip[irq >> 3];
	elc = atpic->elc & (uint8_t) ~(1u << (irq & 7));
	if (level)
		elc |= (uint8_t)(1u << (irq & 7));
	atpic_set_elc(atpic, elc);
	vatpic_update(vatpic);
	pthread_mutex_unlock(&vatpic->mtx);
	return (0);
}

/* The interrupt acknowledge cycle on one chip for a pin. */
static void
atpic_ack(struct atpic *atpic, int pin)
{
	uint8_t bit;

	bit = (uint8_t)(1u << pin);
	/* A level request stays for as long as its line is high. */
	if ((atpic->elc & bit) == 0 || atpic->acnt[pin] == 0)
		atpic->irr &= (uint8_t)~bit;
	if (!atpic->aeoi)
		atpic->isr |= bit;
	else if (atpic->rotate)
		atpic->lowprio = (uint8_t)pin;
}

bool
vatpic_pending_intr(struct vm *vm, int *vecptr)
{
	struct vatpic *vatpic;
	struct atpic *atpic;
	int pin;

	vatpic = vm_atpic(vm);
	if (!atomic_load_explicit(&vatpic->intr_hint, memory_order_acquire))
		return (false);
	pthread_mutex_lock(&vatpic->mtx);
	atpic = &vatpic->chip[0];
	pin = atpic_highest(atpic, true);
	if (pin == CASCADE_PIN) {
		atpic = &vatpic->chip[1];
		pin = atpic_highest(atpic, false);
		if (pin == IRQ_NONE)
			pin = SPURIOUS_PIN;
	}
	if (pin != IRQ_NONE)
		*vecptr = atpic->vec_base + pin;
	pthread_mutex_unlock(&vatpic->mtx);
	return (pin != IRQ_NONE);
}

/*
 * INTA for the vector that vatpic_pending_intr() gave.  A request that went
 * away in between was spurious: pin 7 without a bit in service.
 */
void
vatpic_intr_accepted(struct vm *vm, int vector)
{
	struct vatpic *vatpic;
	struct atpic *master, *slave;
	int pin;

	vatpic = vm_atpic(vm);
	pthread_mutex_lock(&vatpic->mtx);
	master = &vatpic->chip[0];
	slave = &vatpic->chip[1];
	pin = vector & 7;
	if ((vector & ~7) == master->vec_base) {
		if (master->irr & (1u << pin))
			atpic_ack(master, pin);
	} else if ((vector & ~7) == slave->vec_base) {
		atpic_ack(master, CASCADE_PIN);
		if (slave->irr & (1u << pin))
			atpic_ack(slave, pin);
	}
	/* INTR drops during INTA: what still waits raises it again. */
	vatpic->intr_raised = false;
	vatpic_update(vatpic);
	pthread_mutex_unlock(&vatpic->mtx);
}

static void
atpic_icw1(struct atpic *atpic, uint8_t val)
{
	int pin;

	atpic->ready = false;
	atpic->icw_state = 2;
	atpic->icw_expect = 0;
	if ((val & ICW1_SNGL) == 0)
		atpic->icw_expect |= EXPECT_ICW3;
	if (val & ICW1_IC4)
		atpic->icw_expect |= EXPECT_ICW4;
	/* The edge sense is cleared: edges must come again. */
	for (pin = 0; pin < 8; pin++)
		if ((atpic->elc & (1u << pin)) == 0 || atpic->acnt[pin] == 0)
			atpic->irr &= (uint8_t) ~(1u << pin);
	atpic->imr = 0;
	atpic->isr = 0;
	atpic->lowprio = 7;
	atpic->aeoi = atpic->sfnm = atpic->rotate = false;
	atpic->smm = atpic->poll = atpic->read_isr = false;
}

static void
atpic_icw_next(struct atpic *atpic)
{
	if (atpic->icw_state < 3 && (atpic->icw_expect & EXPECT_ICW3) != 0)
		atpic->icw_state = 3;
	else if (atpic->icw_state < 4 && (atpic->icw_expect & EXPECT_ICW4) != 0)
		atpic->icw_state = 4;
	else {
		atpic->icw_state = 0;
		atpic->ready = true;
	}
}

static void
atpic_icw(struct atpic *atpic, uint8_t val)
{
	switch (atpic->icw_state) {
	case 2:
		atpic->vec_base = val & 0xf8;
		break;
	case 4:
		atpic->aeoi = (val & ICW4_AEOI) != 0;
		atpic->sfnm = (val & ICW4_SFNM) != 0;
		break;
	default: /* ICW3: the wiring is fixed */
		break;
	}
	atpic_icw_next(atpic);
}

/* The pin that a non-specific EOI ends, or IRQ_NONE. */
static int
atpic_highest_isr(const struct atpic *atpic)
{
	uint8_t isr;
	int i, pin;

	isr = atpic->isr;
	if (atpic->smm)
		isr &= (uint8_t)~atpic->imr;
	for (i = 1; i <= 8; i++) {
		pin = (atpic->lowprio + i) & 7;
		if (isr & (1u << pin))
			return (pin);
	}
	return (IRQ_NONE);
}

static void
atpic_ocw2(struct atpic *atpic, uint8_t val)
{
	int pin;

	if ((val & OCW2_EOI) == 0) {
		if ((val & OCW2_SL) == 0)
			atpic->rotate = (val & OCW2_R) != 0;
		else if (val & OCW2_R)
			atpic->lowprio = val & 7;
		return;
	}
	pin = (val & OCW2_SL) != 0 ? val & 7 : atpic_highest_isr(atpic);
	if (pin == IRQ_NONE)
		return;
	atpic->isr &= (uint8_t) ~(1u << pin);
	if (val & OCW2_R)
		atpic->lowprio = (uint8_t)pin;
}

static void
atpic_ocw3(struct atpic *atpic, uint8_t val)
{
	if (val & OCW3_ESMM)
		atpic->smm = (val & OCW3_SMM) != 0;
	if (val & OCW3_RR)
		atpic->read_isr = (val & OCW3_RIS) != 0;
	atpic->poll = (val & OCW3_POLL) != 0;
}

/* A read after the poll command is the acknowledge. */
static uint8_t
vatpic_poll(struct vatpic *vatpic, int which)
{
	struct atpic *atpic;
	int pin;

	atpic = &vatpic->chip[which];
	atpic->poll = false;
	pin = atpic_highest(atpic, which == 0);
	if (pin == IRQ_NONE)
		return (0);
	atpic_ack(atpic, pin);
	return ((uint8_t)(POLL_VALID | pin));
}

static int
vatpic_handler(
    struct vm *vm, int which, bool in, int port, int bytes, uint32_t *eax)
{
	struct vatpic *vatpic;
	struct atpic *atpic;
	uint8_t val;

	if (bytes != 1)
		return (EINVAL);
	vatpic = vm_atpic(vm);
	pthread_mutex_lock(&vatpic->mtx);
	atpic = &vatpic->chip[which];
	if (in) {
		if (atpic->poll)
			*eax = vatpic_poll(vatpic, which);
		else if (port & 1)
			*eax = atpic->imr;
		else
			*eax = atpic->read_isr ? atpic->isr : atpic->irr;
	} else {
		val = (uint8_t)*eax;
		if (port & 1) {
			if (atpic->icw_state != 0)
				atpic_icw(atpic, val);
			else
				atpic->imr = val;
		} else if (val & ICW1_RESET)
			atpic_icw1(atpic, val);
		else if (val & OCW3_SELECT)
			atpic_ocw3(atpic, val);
		else
			atpic_ocw2(atpic, val);
	}
	vatpic_update(vatpic);
	pthread_mutex_unlock(&vatpic->mtx);
	return (0);
}

int
vatpic_master_handler(
    struct vm *vm, bool in, int port, int bytes, uint32_t *eax)
{
	return (vatpic_handler(vm, 0, in, port, bytes, eax));
}

int
vatpic_slave_handler(struct vm *vm, bool in, int port, int bytes, uint32_t *eax)
{
	return (vatpic_handler(vm, 1, in, port, bytes, eax));
}

int
vatpic_elc_handler(struct vm *vm, bool in, int port, int bytes, uint32_t *eax)
{
	struct vatpic *vatpic;
	struct atpic *atpic;
	int which;

	if (bytes != 1)
		return (EINVAL);
	which = port == PORT_ELC1 ? 0 : 1;
	vatpic = vm_atpic(vm);
	pthread_mutex_lock(&vatpic->mtx);
	atpic = &vatpic->chip[which];
	if (in)
		*eax = atpic->elc;
	else {
		atpic_set_elc(atpic,
		    (uint8_t)*eax &
			(which == 0 ? ELC_MASTER_WRITABLE
				    : ELC_SLAVE_WRITABLE));
		vatpic_update(vatpic);
	}
	pthread_mutex_unlock(&vatpic->mtx);
	return (0);
}

/* The devices that pulled the lines are gone, too: the VM begins anew. */
void
vatpic_reset(struct vatpic *vatpic)
{
	struct atpic *atpic;
	int i;

	pthread_mutex_lock(&vatpic->mtx);
	for (i = 0; i < 2; i++) {
		atpic = &vatpic->chip[i];
		atpic_icw1(atpic, ICW1_RESET);
		atpic->icw_state = 0;
		atpic->icw_expect = 0;
		atpic->vec_base = 0;
		atpic->elc = 0;
		atpic->irr = 0;
		memset(atpic->acnt, 0, sizeof(atpic->acnt));
	}
	vatpic_update(vatpic);
	pthread_mutex_unlock(&vatpic->mtx);
}

struct vatpic *
vatpic_init(struct vm *vm)
{
	struct vatpic *vatpic;

	vatpic = calloc(1, sizeof(*vatpic));
	if (vatpic == NULL)
		return (NULL);
	vatpic->vm = vm;
	pthread_mutex_init(&vatpic->mtx, NULL);
	vatpic_reset(vatpic);
	return (vatpic);
}

void
vatpic_cleanup(struct vatpic *vatpic)
{
	if (vatpic == NULL)
		return;
	pthread_mutex_destroy(&vatpic->mtx);
	free(vatpic);
}

static void
atpic_pack(const struct atpic *atpic, struct vdi_atpic_chip_v1 *out)
{
	out->icw_state = atpic->icw_state;
	out->icw_expect = atpic->icw_expect;
	out->status = (uint8_t)((atpic->ready ? VDI_ATPIC_READY : 0) |
	    (atpic->aeoi ? VDI_ATPIC_AEOI : 0) |
	    (atpic->poll ? VDI_ATPIC_POLL : 0) |
	    (atpic->rotate ? VDI_ATPIC_ROTATE : 0) |
	    (atpic->sfnm ? VDI_ATPIC_SFNM : 0) |
	    (atpic->smm ? VDI_ATPIC_SMM : 0) |
	    (atpic->read_isr ? VDI_ATPIC_READ_ISR : 0));
	out->vec_base = atpic->vec_base;
	out->lowprio = atpic->lowprio;
	out->reg_irr = atpic->irr;
	out->reg_isr = atpic->isr;
	out->reg_imr = atpic->imr;
	out->reg_elc = atpic->elc;
	memcpy(out->line_level, atpic->acnt, sizeof(out->line_level));
}

static bool
atpic_unpack(struct atpic *atpic, const struct vdi_atpic_chip_v1 *in,
    uint8_t elc_writable)
{
	memset(atpic, 0, sizeof(*atpic));
	if (in->icw_state == 1 || in->icw_state > 4 || in->icw_expect > 3 ||
	    (in->status & 0x80) != 0 || (in->vec_base & 7) != 0 ||
	    in->lowprio > 7 || (in->reg_elc & ~elc_writable) != 0)
		return (false);
	atpic->icw_state = in->icw_state;
	atpic->icw_expect = in->icw_expect;
	atpic->ready = (in->status & VDI_ATPIC_READY) != 0;
	atpic->aeoi = (in->status & VDI_ATPIC_AEOI) != 0;
	atpic->poll = (in->status & VDI_ATPIC_POLL) != 0;
	atpic->rotate = (in->status & VDI_ATPIC_ROTATE) != 0;
	atpic->sfnm = (in->status & VDI_ATPIC_SFNM) != 0;
	atpic->smm = (in->status & VDI_ATPIC_SMM) != 0;
	atpic->read_isr = (in->status & VDI_ATPIC_READ_ISR) != 0;
	atpic->vec_base = in->vec_base;
	atpic->lowprio = in->lowprio;
	atpic->irr = in->reg_irr;
	atpic->isr = in->reg_isr;
	atpic->imr = in->reg_imr;
	atpic->elc = in->reg_elc;
	memcpy(atpic->acnt, in->line_level, sizeof(atpic->acnt));
	return (true);
}

int
vatpic_data_read(struct vatpic *vatpic, void *buf, size_t len)
{
	struct vdi_atpic_v1 out;

	if (len < sizeof(out))
		return (-ENOSPC);
	memset(&out, 0, sizeof(out));
	pthread_mutex_lock(&vatpic->mtx);
	atpic_pack(&vatpic->chip[0], &out.chip[0]);
	atpic_pack(&vatpic->chip[1], &out.chip[1]);
	pthread_mutex_unlock(&vatpic->mtx);
	memcpy(buf, &out, sizeof(out));
	return ((int)sizeof(out));
}

int
vatpic_data_write(struct vatpic *vatpic, const void *buf, size_t len)
{
	struct vdi_atpic_v1 in;
	struct atpic chip[2];

	if (len != sizeof(in))
		return (-EINVAL);
	memcpy(&in, buf, sizeof(in));
	if (!atpic_unpack(&chip[0], &in.chip[0], ELC_MASTER_WRITABLE) ||
	    !atpic_unpack(&chip[1], &in.chip[1], ELC_SLAVE_WRITABLE))
		return (-EINVAL);
	pthread_mutex_lock(&vatpic->mtx);
	memcpy(vatpic->chip, chip, sizeof(chip));
	vatpic->intr_raised = false;
	vatpic_update(vatpic);
	pthread_mutex_unlock(&vatpic->mtx);
	return ((int)sizeof(in));
}
