/*
 * The local APIC: registers, priorities, the local vector table.  IRR and
 * TMR are set by any thread without a lock; ISR is the vCPU's own.  The bit
 * map irr_words makes "nothing pending" one load.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vchips.h"
#include "vlapic_local.h"
#include "vmm_stat.h"

#define VLAPIC_VERSION (0x10u | APIC_LVT_MAX << 16)
#define LDR_XAPIC 0xff000000u
#define DFR_RESERVED 0x0fffffffu
#define APIC_BASE_RESERVED 0x2ffull /* bits 0-7 and 9 */

VMM_STAT(VLAPIC_SPURIOUS_EOI, "EOI without any in-service interrupt");
static unsigned int
vec_word(unsigned int base, int vector)
{
	return (base + (unsigned int)(vector >> 5) * 0x10);
}

/* The highest vector of a 256-bit register, or -1. */
static int
highest_vector(struct vlapic *vlapic, unsigned int base)
{
	uint32_t word;
	int i;

	for (i = 7; i >= 0; i--) {
		word = vlapic_reg(vlapic, base + (unsigned int)i * 0x10);
		if (word != 0)
			return (i * 32 + 31 - __builtin_clz(word));
	}
	return (-1);
}

uint32_t
vlapic_ppr(struct vlapic *vlapic)
{
	uint32_t tpr, isr;
	int vector;

	tpr = vlapic_reg(vlapic, APIC_TPR);
	vector = highest_vector(vlapic, APIC_ISR0);
	isr = vector < 0 ? 0 : (uint32_t)vector;
	if ((tpr & 0xf0) >= (isr & 0xf0))
		return (tpr);
	return (isr & 0xf0);
}

bool
vlapic_enabled(struct vlapic *vlapic)
{
	return (vlapic_hw_enabled(vlapic) &&
	    (vlapic_reg(vlapic, APIC_SVR) & SVR_ENABLE) != 0);
}

/*
 * The priority may have fallen, or a line been let through: the vCPU looks
 * for interrupts before its next instruction.  Own thread: no kick.
 */
static void
vlapic_recheck(struct vlapic *vlapic)
{
	if (atomic_load_explicit(&vlapic->irr_words, memory_order_relaxed) != 0)
		atomic_fetch_or(vcpu_pending(vlapic->vcpu), VCPU_EV_EVENT);
}

bool
vlapic_set_intr_ready(struct vlapic *vlapic, int vector, bool level)
{
	_Atomic uint32_t *tmr, *irr;
	uint32_t bit, old;

	if (!vlapic_enabled(vlapic))
		return (false);
	if (vector < 16 || vector > 255) {
		vlapic_set_error(vlapic, ESR_RECV_ILLEGAL);
		return (false);
	}
	bit = 1u << (vector & 31);
	tmr = &vlapic->page[vec_word(APIC_TMR0, vector) / 4];
	irr = &vlapic->page[vec_word(APIC_IRR0, vector) / 4];
	if (level)
		atomic_fetch_or(tmr, bit);
	else if (atomic_load_explicit(tmr, memory_order_relaxed) & bit)
		atomic_fetch_and(tmr, ~bit);
	/* The word first: whoever sees the map's bit finds the vector. */
	old = atomic_fetch_or(irr, bit);
	atomic_fetch_or(&vlapic->irr_words, 1u << (vector >> 5));
	return ((old & bit) == 0);
}

void
vlapic_post(struct vlapic *vlapic, int vector, bool level)
{
	if (vlapic_set_intr_ready(vlapic, vector, level))
		vcpu_notify_event(vlapic->vcpu, true);
}

bool
vlapic_pending_intr(struct vlapic *vlapic, int *vecptr)
{
	uint32_t words, word;
	int vector;

	words = atomic_load_explicit(&vlapic->irr_words, memory_order_acquire);
	vector = -1;
	while (words != 0) {
		int i = 31 - __builtin_clz(words);

		word = vlapic_reg(vlapic, APIC_IRR0 + (unsigned int)i * 0x10);
		if (word != 0) {
			vector = i * 32 + 31 - __builtin_clz(word);
			break;
		}
		words &= ~(1u << i);
	}
	if (vector < 0 ||
	    ((uint32_t)vector & 0xf0) <= (vlapic_ppr(vlapic) & 0xf0) ||
	    !vlapic_enabled(vlapic))
		return (false);
	*vecptr = vector;
	return (true);
}

/* Take a bit out of the IRR and keep irr_words a superset of what is set. */
static void
irr_clear(struct vlapic *vlapic, int vector)
{
	_Atomic uint32_t *irr;
	uint32_t bit;

	bit = 1u << (vector & 31);
	irr = &vlapic->page[vec_word(APIC_IRR0, vector) / 4];
	if ((atomic_fetch_and(irr, ~bit) & ~bit) != 0)
		return;
	atomic_fetch_and(&vlapic->irr_words, ~(1u << (vector >> 5)));
	/* A vector that came in between shows in one of the two. */
	if (atomic_load(irr) != 0)
		atomic_fetch_or(&vlapic->irr_words, 1u << (vector >> 5));
}

void
vlapic_intr_accepted(struct vlapic *vlapic, int vector)
{
	unsigned int isr;

	if (vector < 16 || vector > 255)
		return;
	irr_clear(vlapic, vector);
	isr = vec_word(APIC_ISR0, vector);
	vlapic_set_reg(
	    vlapic, isr, vlapic_reg(vlapic, isr) | 1u << (vector & 31));
}

static void
vlapic_eoi(struct vlapic *vlapic)
{
	unsigned int isr;
	uint32_t bit;
	int vector;

	vector = highest_vector(vlapic, APIC_ISR0);
	if (vector < 0) {
		vmm_stat_incr(vlapic->vcpu, VLAPIC_SPURIOUS_EOI, 1);
		return;
	}
	bit = 1u << (vector & 31);
	isr = vec_word(APIC_ISR0, vector);
	vlapic_set_reg(vlapic, isr, vlapic_reg(vlapic, isr) & ~bit);
	if (vlapic_reg(vlapic, vec_word(APIC_TMR0, vector)) & bit)
		vioapic_process_eoi(vlapic->vm, vector);
	vlapic_recheck(vlapic);
}

static void
vlapic_set_tpr(struct vlapic *vlapic, uint32_t tpr)
{
	vlapic_set_reg(vlapic, APIC_TPR, tpr & 0xff);
	vlapic_recheck(vlapic);
}

uint64_t
vlapic_get_cr8(struct vlapic *vlapic)
{
	return (vlapic_reg(vlapic, APIC_TPR) >> 4);
}

void
vlapic_set_cr8(struct vlapic *vlapic, uint64_t val)
{
	vlapic_set_tpr(vlapic, (uint32_t)(val & 0xf) << 4);
}

static void
vlapic_write_svr(struct vlapic *vlapic, uint32_t val)
{
	uint32_t lvt;
	int i;

	vlapic_set_reg(vlapic, APIC_SVR, val & SVR_WRITABLE);
	if (val & SVR_ENABLE) {
		vlapic_recheck(vlapic);
		return;
	}
	for (i = 0; i <= APIC_LVT_MAX; i++) {
		lvt = vlapic_reg(vlapic, vlapic_lvt_table[i].offset);
		vlapic_write_lvt(vlapic, i, lvt | LVT_MASKED);
	}
}

/* Returns EINVAL for what is no readable register. */
static int
vlapic_read(struct vlapic *vlapic, unsigned int offset, uint32_t *val)
{
	switch (offset) {
	case APIC_PPR:
	case APIC_APR:
		*val = vlapic_ppr(vlapic);
		return (0);
	case APIC_TIMER_CCR:
		*val = vlapic_timer_ccr(vlapic);
		return (0);
	case APIC_ID:
	case APIC_VERSION:
	case APIC_TPR:
	case APIC_RRR:
	case APIC_LDR:
	case APIC_DFR:
	case APIC_SVR:
	case APIC_ESR:
	case APIC_ICR_LOW:
	case APIC_ICR_HI:
	case APIC_TIMER_ICR:
	case APIC_TIMER_DCR:
		break;
	default:
		if ((offset < APIC_ISR0 || offset >= APIC_ESR) &&
		    vlapic_lvt_of_offset(offset) < 0)
			return (EINVAL);
		break;
	}
	*val = vlapic_reg(vlapic, offset);
	return (0);
}

/* Returns EINVAL for what is no writable register. */
static int
vlapic_write(struct vlapic *vlapic, unsigned int offset, uint32_t val)
{
	int lvt;

	switch (offset) {
	case APIC_TPR:
		vlapic_set_tpr(vlapic, val);
		break;
	case APIC_EOI:
		vlapic_eoi(vlapic);
		break;
	case APIC_SVR:
		vlapic_write_svr(vlapic, val);
		break;
	case APIC_ESR:
		vlapic_set_reg(
		    vlapic, APIC_ESR, atomic_exchange(&vlapic->esr_pending, 0));
		break;
	case APIC_TIMER_ICR:
		vlapic_timer_write_icr(vlapic, val);
		break;
	case APIC_TIMER_DCR:
		vlapic_timer_write_dcr(vlapic, val);
		break;
	default:
		lvt = vlapic_lvt_of_offset(offset);
		if (lvt < 0)
			return (EINVAL);
		vlapic_write_lvt(vlapic, lvt, val);
		break;
	}
	return (0);
}

int
vlapic_mmio_read(
    struct vlapic *vlapic, uint64_t offset, uint64_t *data, int size)
{
	uint32_t val;
	unsigned int shift;

	*data = 0;
	/* The page is not there in x2APIC mode or when disabled. */
	if (!vlapic_hw_enabled(vlapic) || vlapic_x2apic(vlapic)) {
		*data = ~0ULL;
		return (0);
	}
	/* Dwords at 16-byte distance; parts of one are tolerated. */
	shift = (unsigned int)(offset & 0xf);
	if (offset > 0xfff || shift + (unsigned int)size > 4)
		return (0);
	if (vlapic_read(vlapic, (unsigned int)(offset & ~0xfULL), &val) != 0) {
		vlapic_set_error(vlapic, ESR_ILLEGAL_REG);
		return (0);
	}
	val >>= shift * 8;
	if (size < 4)
		val &= (1u << (size * 8)) - 1;
	*data = val;
	return (0);
}

int
vlapic_mmio_write(
    struct vlapic *vlapic, uint64_t offset, uint64_t data, int size)
{
	uint32_t val;

	if (!vlapic_hw_enabled(vlapic) || vlapic_x2apic(vlapic))
		return (0);
	if ((offset & 0xf) != 0 || size < 4 || offset > 0xfff)
		return (0);
	val = (uint32_t)data;
	switch (offset) {
	case APIC_ICR_LOW:
		vlapic_icr_write(
		    vlapic, val, vlapic_reg(vlapic, APIC_ICR_HI) >> 24);
		break;
	case APIC_ICR_HI:
		vlapic_set_reg(vlapic, APIC_ICR_HI, val & 0xff000000u);
		break;
	case APIC_LDR:
		vlapic_set_reg(vlapic, APIC_LDR, val & LDR_XAPIC);
		break;
	case APIC_DFR:
		vlapic_set_reg(vlapic, APIC_DFR, val | DFR_RESERVED);
		break;
	case APIC_ID:
	case APIC_VERSION:
	case APIC_PPR:
	case APIC_APR:
	case APIC_TIMER_CCR:
		break; /* read only; the ID is the vCPU's number for good */
	default:
		if (vlapic_write(vlapic, (unsigned int)offset, val) != 0)
			vlapic_set_error(vlapic, ESR_ILLEGAL_REG);
		break;
	}
	return (0);
}

static int
x2apic_read(struct vlapic *vlapic, uint32_t msr, uint64_t *val)
{
	unsigned int offset;
	uint32_t low;

	offset = (msr - MSR_X2APIC_FIRST) << 4;
	switch (offset) {
	case APIC_ICR_LOW:
		*val = (uint64_t)vlapic_reg(vlapic, APIC_ICR_HI) << 32 |
		    vlapic_reg(vlapic, APIC_ICR_LOW);
		return (0);
	case APIC_APR:
	case APIC_RRR:
	case APIC_DFR:
	case APIC_ICR_HI:
		return (EINVAL); /* not in x2APIC mode (table 11-6) */
	default:
		if (vlapic_read(vlapic, offset, &low) != 0)
			return (EINVAL);
		*val = low;
		return (0);
	}
}

/* True when reserved bits of a register are set: #GP in x2APIC mode. */
static bool
x2apic_reserved(unsigned int offset, uint64_t val)
{
	int lvt;

	switch (offset) {
	case APIC_TPR:
	case APIC_SELF_IPI:
		return (val > 0xff);
	case APIC_EOI:
	case APIC_ESR:
		return (val != 0);
	case APIC_SVR:
		return ((val & ~(uint64_t)SVR_WRITABLE) != 0);
	case APIC_TIMER_DCR:
		return ((val & ~0xbULL) != 0);
	case APIC_TIMER_ICR:
		return (val >> 32 != 0);
	default:
		lvt = vlapic_lvt_of_offset(offset);
		/* The status bits 12 and 14 are read-only, not reserved. */
		return (lvt < 0 ||
		    (val &
			~(uint64_t)(vlapic_lvt_table[lvt].writable | 0x5000)) !=
			0);
	}
}

static int
x2apic_write(struct vlapic *vlapic, uint32_t msr, uint64_t val)
{
	unsigned int offset;

	offset = (msr - MSR_X2APIC_FIRST) << 4;
	if (offset == APIC_ICR_LOW)
		return (vlapic_icr_write(
		    vlapic, (uint32_t)val, (uint32_t)(val >> 32)));
	if (x2apic_reserved(offset, val))
		return (EINVAL);
	if (offset == APIC_SELF_IPI) {
		vlapic_self_ipi(vlapic, (uint32_t)val);
		return (0);
	}
	return (vlapic_write(vlapic, offset, (uint32_t)val));
}

int
vlapic_msr_read(struct vlapic *vlapic, uint32_t msr, uint64_t *val)
{
	switch (msr) {
	case MSR_APICBASE:
		*val = vlapic_get_apicbase(vlapic);
		return (0);
	case MSR_TSC_DEADLINE:
		*val = vlapic_timer_deadline(vlapic);
		return (0);
	default:
		if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST ||
		    !vlapic_x2apic(vlapic))
			return (EINVAL);
		return (x2apic_read(vlapic, msr, val));
	}
}

int
vlapic_msr_write(struct vlapic *vlapic, uint32_t msr, uint64_t val)
{
	switch (msr) {
	case MSR_APICBASE:
		return (vlapic_set_apicbase(vlapic, val));
	case MSR_TSC_DEADLINE:
		vlapic_timer_set_deadline(vlapic, val);
		return (0);
	default:
		if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST ||
		    !vlapic_x2apic(vlapic))
			return (EINVAL);
		return (x2apic_write(vlapic, msr, val));
	}
}

uint64_t
vlapic_get_apicbase(struct vlapic *vlapic)
{
	return (atomic_load(&vlapic->apic_base));
}

/* The registers as RESET and INIT leave them (11.4.7.1). */
static void
vlapic_reset_regs(struct vlapic *vlapic)
{
	unsigned int i;

	for (i = 0; i < 1024; i++)
		atomic_store_explicit(
		    &vlapic->page[i], 0, memory_order_relaxed);
	atomic_store(&vlapic->irr_words, 0);
	atomic_store(&vlapic->esr_pending, 0);
	vlapic_set_reg(vlapic, APIC_VERSION, VLAPIC_VERSION);
	vlapic_set_reg(vlapic, APIC_DFR, 0xffffffffu);
	vlapic_set_reg(vlapic, APIC_SVR, 0xff);
	for (i = 0; i <= APIC_LVT_MAX; i++)
		vlapic_set_reg(vlapic, vlapic_lvt_table[i].offset, LVT_MASKED);
}

/* The ID's form, and the LDR that follows from it in x2APIC mode. */
static void
vlapic_set_ids(struct vlapic *vlapic)
{
	uint32_t id;

	id = vlapic->id;
	if (vlapic_x2apic(vlapic)) {
		vlapic_set_reg(vlapic, APIC_ID, id);
		vlapic_set_reg(
		    vlapic, APIC_LDR, (id >> 4) << 16 | 1u << (id & 0xf));
	} else
		vlapic_set_reg(vlapic, APIC_ID, id << 24);
}

int
vlapic_check_apicbase(struct vcpu *vcpu, uint64_t old, uint64_t *newval)
{
	enum x2apic_state x2state;
	uint64_t val = *newval;
	bool was_on, was_x2, on, x2;

	/* bhyve's APIC does not move; the boot processor bit is fixed. */
	if ((val & APIC_BASE_RESERVED) != 0 || ((old ^ val) & ~0xfffULL) != 0)
		return (EINVAL);
	val = (val & ~(uint64_t)APICBASE_BSP) | (old & APICBASE_BSP);
	was_on = (old & APICBASE_ENABLED) != 0;
	was_x2 = (old & APICBASE_X2APIC) != 0;
	on = (val & APICBASE_ENABLED) != 0;
	x2 = (val & APICBASE_X2APIC) != 0;
	/* Of the transitions of figure 11-27 these are illegal. */
	if (x2 && (!on || !was_on))
		return (EINVAL);
	if (was_x2 && on && !x2)
		return (EINVAL);
	if (x2 && !was_x2 &&
	    (vmm_get_x2apic_state(vcpu, &x2state) != 0 ||
		x2state != X2APIC_ENABLED))
		return (EINVAL);
	*newval = val;
	return (0);
}

int
vlapic_set_apicbase(struct vlapic *vlapic, uint64_t val)
{
	uint64_t old;
	int error;

	old = vlapic_get_apicbase(vlapic);
	error = vlapic_check_apicbase(vlapic->vcpu, old, &val);
	if (error != 0 || old == val)
		return (error);
	if ((old & ~val & APICBASE_ENABLED) != 0) {
		vlapic_reset_regs(vlapic);
		vlapic_timer_reset(vlapic);
	}
	atomic_store(&vlapic->apic_base, val);
	vlapic_set_ids(vlapic);
	/* Without an APIC the 8259 has a free way. */
	atomic_fetch_or(vcpu_pending(vlapic->vcpu), VCPU_EV_EVENT);
	return (0);
}

void
vlapic_reset(struct vlapic *vlapic, bool init)
{
	uint64_t base;

	/* INIT keeps the base register, and with it the x2APIC mode. */
	if (!init) {
		base = DEFAULT_APIC_BASE | APICBASE_ENABLED;
		if (vlapic->id == 0)
			base |= APICBASE_BSP;
		atomic_store(&vlapic->apic_base, base);
	}
	vlapic_reset_regs(vlapic);
	vlapic_set_ids(vlapic);
	/*
	 * Guests that were loaded without firmware find what every firmware
	 * leaves for those that know no APIC: the virtual wire mode.
	 */
	if (!init && vlapic->id == 0)
		vlapic_set_reg(vlapic, APIC_LINT0_LVT,
		    DELMODE_EXTINT << LVT_DELMODE_SHIFT);
	vlapic_timer_reset(vlapic);
}

struct vlapic *
vlapic_init(struct vcpu *vcpu)
{
	struct vlapic *vlapic;

	vlapic = calloc(1, sizeof(*vlapic));
	if (vlapic == NULL)
		return (NULL);
	vlapic->vcpu = vcpu;
	vlapic->vm = vcpu_vm(vcpu);
	vlapic->id = (uint32_t)vcpu_vcpuid(vcpu);
	vlapic_timer_init(vlapic);
	vlapic_reset(vlapic, false);
	return (vlapic);
}

void
vlapic_cleanup(struct vlapic *vlapic)
{
	if (vlapic == NULL)
		return;
	vlapic_timer_cleanup(vlapic);
	free(vlapic);
}

int
vlapic_data_read(struct vlapic *vlapic, void *buf, size_t len)
{
	struct vdi_lapic_v1 *out;
	unsigned int i;

	out = buf;
	if (len < sizeof(*out))
		return (-ENOSPC);
	memset(out, 0, sizeof(*out));
	for (i = 0; i < 1024; i++)
		out->page[i] = vlapic_reg(vlapic, i * 4);
	out->page[APIC_PPR / 4] = vlapic_ppr(vlapic);
	out->apic_base = vlapic_get_apicbase(vlapic);
	out->esr_pending = atomic_load(&vlapic->esr_pending);
	vlapic_timer_save(vlapic, out);
	return ((int)sizeof(*out));
}

static bool
vlapic_data_valid(const struct vdi_lapic_v1 *in)
{
	const uint64_t mode = APICBASE_ENABLED | APICBASE_X2APIC;

	return ((in->apic_base & ~0xfffULL) == DEFAULT_APIC_BASE &&
	    (in->apic_base & APIC_BASE_RESERVED) == 0 &&
	    (in->apic_base & mode) != APICBASE_X2APIC &&
	    in->esr_pending <= 0xff && in->timer_target >= 0 &&
	    in->timer_target <= INT64_MAX / 4 &&
	    (in->page[APIC_IRR0 / 4] & 0xffff) == 0 &&
	    (in->page[APIC_ISR0 / 4] & 0xffff) == 0);
}

int
vlapic_data_write(struct vlapic *vlapic, const void *buf, size_t len)
{
	const struct vdi_lapic_v1 *in;
	uint32_t val;
	unsigned int i, off;
	uint32_t words;

	in = buf;
	if (len != sizeof(*in) || !vlapic_data_valid(in))
		return (-EINVAL);
	vlapic_reset_regs(vlapic);
	atomic_store(&vlapic->apic_base,
	    (in->apic_base & ~(uint64_t)APICBASE_BSP) |
		(vlapic->id == 0 ? APICBASE_BSP : 0));
	vlapic_set_ids(vlapic);
	words = 0;
	for (i = 0; i < 8; i++) {
		off = i * 0x10;
		vlapic_set_reg(
		    vlapic, APIC_ISR0 + off, in->page[(APIC_ISR0 + off) / 4]);
		vlapic_set_reg(
		    vlapic, APIC_TMR0 + off, in->page[(APIC_TMR0 + off) / 4]);
		val = in->page[(APIC_IRR0 + off) / 4];
		vlapic_set_reg(vlapic, APIC_IRR0 + off, val);
		if (val != 0)
			words |= 1u << i;
	}
	vlapic_set_reg(vlapic, APIC_TPR, in->page[APIC_TPR / 4] & 0xff);
	vlapic_set_reg(vlapic, APIC_SVR, in->page[APIC_SVR / 4] & SVR_WRITABLE);
	if (!vlapic_x2apic(vlapic)) {
		vlapic_set_reg(
		    vlapic, APIC_LDR, in->page[APIC_LDR / 4] & LDR_XAPIC);
		vlapic_set_reg(
		    vlapic, APIC_DFR, in->page[APIC_DFR / 4] | DFR_RESERVED);
	}
	vlapic_set_reg(vlapic, APIC_ESR, in->page[APIC_ESR / 4] & 0xff);
	vlapic_set_reg(
	    vlapic, APIC_ICR_LOW, in->page[APIC_ICR_LOW / 4] & 0xccfff);
	vlapic_set_reg(vlapic, APIC_ICR_HI, in->page[APIC_ICR_HI / 4]);
	vlapic_set_reg(vlapic, APIC_TIMER_ICR, in->page[APIC_TIMER_ICR / 4]);
	vlapic_set_reg(
	    vlapic, APIC_TIMER_DCR, in->page[APIC_TIMER_DCR / 4] & 0xb);
	for (i = 0; i <= APIC_LVT_MAX; i++)
		vlapic_set_reg(vlapic, vlapic_lvt_table[i].offset,
		    in->page[vlapic_lvt_table[i].offset / 4] &
			vlapic_lvt_table[i].writable);
	atomic_store(&vlapic->esr_pending, in->esr_pending);
	atomic_store(&vlapic->irr_words, words);
	vlapic_timer_load(vlapic, in);
	vcpu_notify_event(vlapic->vcpu, true);
	return ((int)sizeof(*in));
}
