/*
 * The high precision event timer: IA-PC HPET 1.0a with eight timers and a
 * 32-bit main counter of 2^24 Hz, no legacy replacement route.  A timer
 * delivers by message (FSB) or through pins 24 to 31 of the I/O APIC.
 * Lock: `mtx`, above the I/O APIC and the local APICs.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "chip_time_local.h"
#include "vchips.h"
#include "vmm.h"
#include "vmm_data.h"

#define HPET_FREQ 16777216ULL
#define HPET_PERIOD_FS (1000000000000000ULL / HPET_FREQ)
#define HPET_TIMERS 8
#define HPET_PINS_ALLOWED 0xff000000ULL

#define HPET_CAPABILITIES 0x000
#define HPET_CONFIG 0x010
#define HPET_ISR 0x020
#define HPET_MAIN_COUNTER 0x0f0
#define HPET_TIMER_BASE 0x100
#define HPET_TIMER_STRIDE 0x20
#define HPET_TIMER_CONFIG 0x00
#define HPET_TIMER_COMPARATOR 0x08
#define HPET_TIMER_FSB 0x10

#define CAP_VENDOR_INTEL 0x8086ULL
#define CAP_REV 1ULL

#define CNF_ENABLE 0x01ULL

#define TCNF_LEVEL 0x0002ULL
#define TCNF_INT_ENB 0x0004ULL
#define TCNF_PERIODIC 0x0008ULL
#define TCAP_PER_INT 0x0010ULL
#define TCNF_VAL_SET 0x0040ULL
#define TCNF_ROUTE_SHIFT 9
#define TCNF_ROUTE 0x3e00ULL
#define TCNF_FSB_EN 0x4000ULL
#define TCAP_FSB 0x8000ULL
#define TCNF_WRITABLE                                               \
	(TCNF_LEVEL | TCNF_INT_ENB | TCNF_PERIODIC | TCNF_VAL_SET | \
	    TCNF_ROUTE | TCNF_FSB_EN)
#define TCAP_ALL ((HPET_PINS_ALLOWED << 32) | TCAP_FSB | TCAP_PER_INT)

struct hpet_timer {
	struct vhpet *hpet;
	struct vmm_callout callout;
	uint64_t config;
	uint64_t msi;
	uint32_t comp_val;
	uint32_t comp_rate;
	uint64_t due; /* full-width count of the next match */
	bool armed;
};

struct vhpet {
	struct vm *vm;
	pthread_mutex_t mtx;
	uint64_t config;
	uint64_t isr;
	/* The counter is kept wider than the guest sees it. */
	uint64_t count_base;
	int64_t time_base;
	struct hpet_timer timer[HPET_TIMERS];
};

static uint64_t
vhpet_capabilities(void)
{
	return (HPET_PERIOD_FS << 32 | CAP_VENDOR_INTEL << 16 |
	    (HPET_TIMERS - 1) << 8 | CAP_REV);
}

static bool
vhpet_enabled(const struct vhpet *vhpet)
{
	return ((vhpet->config & CNF_ENABLE) != 0);
}

static uint64_t
vhpet_counter(const struct vhpet *vhpet, int64_t now)
{
	uint64_t count;

	count = vhpet->count_base;
	if (vhpet_enabled(vhpet))
		count += chip_ns_to_ticks(now - vhpet->time_base, HPET_FREQ);
	return (count);
}

static int64_t
vhpet_count2time(const struct vhpet *vhpet, uint64_t count)
{
	if (count <= vhpet->count_base)
		return (vhpet->time_base);
	return (vhpet->time_base +
	    chip_ticks_to_ns(count - vhpet->count_base, HPET_FREQ));
}

static int
timer_pin(const struct hpet_timer *t)
{
	return ((int)((t->config & TCNF_ROUTE) >> TCNF_ROUTE_SHIFT));
}

static uint64_t
timer_bit(const struct hpet_timer *t)
{
	return (1ULL << (t - t->hpet->timer));
}

static void
timer_interrupt(struct hpet_timer *t)
{
	struct vhpet *vhpet;
	int pin;

	vhpet = t->hpet;
	if ((t->config & TCNF_INT_ENB) == 0)
		return;
	if (t->config & TCNF_FSB_EN) {
		lapic_intr_msi(vhpet->vm, t->msi >> 32, t->msi & 0xffffffff);
		return;
	}
	pin = timer_pin(t);
	if ((HPET_PINS_ALLOWED & (1ULL << pin)) == 0)
		return;
	if ((t->config & TCNF_LEVEL) == 0) {
		vioapic_pulse_irq(vhpet->vm, pin);
	} else if ((vhpet->isr & timer_bit(t)) == 0) {
		vhpet->isr |= timer_bit(t);
		vioapic_assert_irq(vhpet->vm, pin);
	}
}

/* Ends a level interrupt: the guest wrote the status, or changed the line. */
static void
timer_clear_isr(struct hpet_timer *t)
{
	if (t->hpet->isr & timer_bit(t)) {
		t->hpet->isr &= ~timer_bit(t);
		vioapic_deassert_irq(t->hpet->vm, timer_pin(t));
	}
}

/* Place the next match after the counter or the comparator changed. */
static void
timer_start(struct hpet_timer *t, int64_t now)
{
	struct vhpet *vhpet;
	uint64_t count;
	int64_t when;

	vhpet = t->hpet;
	if (!vhpet_enabled(vhpet) || (t->config & TCNF_INT_ENB) == 0) {
		t->armed = false;
		vmm_callout_stop(&t->callout);
		return;
	}
	count = vhpet_counter(vhpet, now);
	t->due = count + (uint32_t)(t->comp_val - (uint32_t)count);
	t->armed = true;
	when = vhpet_count2time(vhpet, t->due);
	vmm_callout_reset(&t->callout, when);
}

/* The match at t->due is past: where is the next one? */
static void
timer_advance(struct hpet_timer *t, int64_t now)
{
	struct vhpet *vhpet;
	uint64_t count, behind;
	int64_t when, gap;

	vhpet = t->hpet;
	count = vhpet_counter(vhpet, now);
	gap = CHIP_MIN_GAP_NS;
	if ((t->config & TCNF_PERIODIC) != 0 && t->comp_rate != 0) {
		t->due += t->comp_rate;
		if (t->due <= count) {
			behind = (count - t->due) / t->comp_rate + 1;
			if (behind > CHIP_CATCHUP_MAX)
				t->due += behind * t->comp_rate;
			else if (chip_ticks_to_ns(t->comp_rate, HPET_FREQ) / 4 >
			    gap)
				gap =
				    chip_ticks_to_ns(t->comp_rate, HPET_FREQ) /
				    4;
		}
		t->comp_val = (uint32_t)t->due;
	} else
		/* The same value matches again after a wrap. */
		t->due += 1ULL << 32;
	when = vhpet_count2time(vhpet, t->due);
	if (when < now + gap)
		when = now + gap;
	vmm_callout_reset(&t->callout, when);
}

static void
timer_callout(void *arg)
{
	struct hpet_timer *t;
	struct vhpet *vhpet;
	int64_t now;

	t = arg;
	vhpet = t->hpet;
	pthread_mutex_lock(&vhpet->mtx);
	now = vmm_now(vhpet->vm);
	if (t->armed && vhpet_enabled(vhpet)) {
		/* Look again: the timer may have been programmed anew. */
		if (vhpet_counter(vhpet, now) < t->due)
			vmm_callout_reset(
			    &t->callout, vhpet_count2time(vhpet, t->due));
		else {
			timer_interrupt(t);
			timer_advance(t, now);
		}
	}
	pthread_mutex_unlock(&vhpet->mtx);
}

static void
vhpet_start_all(struct vhpet *vhpet, int64_t now)
{
	int i;

	for (i = 0; i < HPET_TIMERS; i++)
		timer_start(&vhpet->timer[i], now);
}

static void
vhpet_write_config(struct vhpet *vhpet, uint64_t val)
{
	int64_t now;

	now = vmm_now(vhpet->vm);
	if (((vhpet->config ^ val) & CNF_ENABLE) == 0)
		return;
	if (val & CNF_ENABLE) {
		vhpet->time_base = now;
		vhpet->config |= CNF_ENABLE;
	} else {
		vhpet->count_base = vhpet_counter(vhpet, now);
		vhpet->config &= ~CNF_ENABLE;
	}
	vhpet_start_all(vhpet, now);
}

static void
timer_write_config(struct hpet_timer *t, uint64_t val, uint64_t mask)
{
	uint64_t new;

	mask &= TCNF_WRITABLE;
	new = (t->config & ~mask) | (val & mask);
	/* The line of a level interrupt moves or ends with the setting. */
	if ((t->config ^ new) &
	    (TCNF_ROUTE | TCNF_LEVEL | TCNF_FSB_EN | TCNF_INT_ENB))
		timer_clear_isr(t);
	if (((t->config ^ new) & (TCNF_INT_ENB | TCNF_PERIODIC)) == 0) {
		t->config = new;
		return;
	}
	t->config = new;
	timer_start(t, vmm_now(t->hpet->vm));
}

static void
timer_write_comparator(struct hpet_timer *t, uint32_t val)
{
	if (t->config & TCNF_PERIODIC) {
		/*
		 * The period; the accumulator too when VAL_SET was set, which
		 * this write uses up.
		 */
		t->comp_rate = val;
		if ((t->config & TCNF_VAL_SET) == 0)
			return;
		t->config &= ~TCNF_VAL_SET;
	}
	t->comp_val = val;
	timer_start(t, vmm_now(t->hpet->vm));
}

/* mask: the bytes that the access covers. */
static void
vhpet_write_reg(
    struct vhpet *vhpet, uint64_t offset, uint64_t val, uint64_t mask)
{
	struct hpet_timer *t;
	uint64_t count;
	int64_t now;
	int i;

	switch (offset) {
	case HPET_CONFIG:
		if (mask & CNF_ENABLE)
			vhpet_write_config(vhpet, val);
		return;
	case HPET_ISR:
		for (i = 0; i < HPET_TIMERS; i++)
			if (val & mask & (1ULL << i))
				timer_clear_isr(&vhpet->timer[i]);
		return;
	case HPET_MAIN_COUNTER:
		now = vmm_now(vhpet->vm);
		count = vhpet_counter(vhpet, now);
		vhpet->count_base = (uint32_t)((count & ~mask) | (val & mask));
		vhpet->time_base = now;
		vhpet_start_all(vhpet, now);
		return;
	default:
		break;
	}
	if (offset < HPET_TIMER_BASE ||
	    offset >= HPET_TIMER_BASE + HPET_TIMERS * HPET_TIMER_STRIDE)
		return;
	t = &vhpet->timer[(offset - HPET_TIMER_BASE) / HPET_TIMER_STRIDE];
	switch (offset % HPET_TIMER_STRIDE) {
	case HPET_TIMER_CONFIG:
		timer_write_config(t, val, mask);
		break;
	case HPET_TIMER_COMPARATOR:
		if (mask & 0xffffffffULL)
			timer_write_comparator(t, (uint32_t)val);
		break;
	case HPET_TIMER_FSB:
		t->msi = (t->msi & ~mask) | (val & mask);
		break;
	default:
		break;
	}
}

static uint64_t
vhpet_read_reg(struct vhpet *vhpet, uint64_t offset)
{
	struct hpet_timer *t;

	switch (offset) {
	case HPET_CAPABILITIES:
		return (vhpet_capabilities());
	case HPET_CONFIG:
		return (vhpet->config);
	case HPET_ISR:
		return (vhpet->isr);
	case HPET_MAIN_COUNTER:
		return ((uint32_t)vhpet_counter(vhpet, vmm_now(vhpet->vm)));
	default:
		break;
	}
	if (offset < HPET_TIMER_BASE ||
	    offset >= HPET_TIMER_BASE + HPET_TIMERS * HPET_TIMER_STRIDE)
		return (0);
	t = &vhpet->timer[(offset - HPET_TIMER_BASE) / HPET_TIMER_STRIDE];
	switch (offset % HPET_TIMER_STRIDE) {
	case HPET_TIMER_CONFIG:
		return (t->config | TCAP_ALL);
	case HPET_TIMER_COMPARATOR:
		return (t->comp_val);
	case HPET_TIMER_FSB:
		return (t->msi);
	default:
		return (0);
	}
}

/* Aligned accesses of four and eight bytes exist (section 2.3.1). */
int
vhpet_mmio_read(struct vcpu *vcpu, uint64_t gpa, uint64_t *rval, int size)
{
	struct vhpet *vhpet;
	uint64_t offset, val;

	vhpet = vm_hpet(vcpu_vm(vcpu));
	offset = gpa - VHPET_BASE;
	*rval = 0;
	if ((size != 4 && size != 8) || (offset & (uint64_t)(size - 1)) != 0 ||
	    offset >= VHPET_SIZE)
		return (0);
	pthread_mutex_lock(&vhpet->mtx);
	val = vhpet_read_reg(vhpet, offset & ~7ULL);
	pthread_mutex_unlock(&vhpet->mtx);
	if (size == 4)
		val = (uint32_t)(offset & 4 ? val >> 32 : val);
	*rval = val;
	return (0);
}

int
vhpet_mmio_write(struct vcpu *vcpu, uint64_t gpa, uint64_t val, int size)
{
	struct vhpet *vhpet;
	uint64_t offset, mask;

	vhpet = vm_hpet(vcpu_vm(vcpu));
	offset = gpa - VHPET_BASE;
	if ((size != 4 && size != 8) || (offset & (uint64_t)(size - 1)) != 0 ||
	    offset >= VHPET_SIZE)
		return (0);
	mask = ~0ULL;
	if (size == 4) {
		val = (uint32_t)val;
		mask = 0xffffffffULL;
		if (offset & 4) {
			val <<= 32;
			mask <<= 32;
		}
	}
	pthread_mutex_lock(&vhpet->mtx);
	vhpet_write_reg(vhpet, offset & ~7ULL, val, mask);
	pthread_mutex_unlock(&vhpet->mtx);
	return (0);
}

int
vhpet_getcap(uint32_t *cap)
{
	*cap = (uint32_t)vhpet_capabilities();
	return (0);
}

void
vhpet_reset(struct vhpet *vhpet)
{
	struct hpet_timer *t;
	int i;

	pthread_mutex_lock(&vhpet->mtx);
	vhpet->config = 0;
	vhpet->count_base = 0;
	vhpet->time_base = 0;
	for (i = 0; i < HPET_TIMERS; i++) {
		t = &vhpet->timer[i];
		vmm_callout_stop(&t->callout);
		timer_clear_isr(t);
		t->config = 0;
		t->msi = 0;
		t->comp_val = 0xffffffff;
		t->comp_rate = 0;
		t->due = 0;
		t->armed = false;
	}
	pthread_mutex_unlock(&vhpet->mtx);
}

struct vhpet *
vhpet_init(struct vm *vm)
{
	struct vhpet *vhpet;
	struct hpet_timer *t;
	int i;

	vhpet = calloc(1, sizeof(*vhpet));
	if (vhpet == NULL)
		return (NULL);
	vhpet->vm = vm;
	pthread_mutex_init(&vhpet->mtx, NULL);
	for (i = 0; i < HPET_TIMERS; i++) {
		t = &vhpet->timer[i];
		t->hpet = vhpet;
		vmm_callout_init(&t->callout, vm, timer_callout, t);
	}
	vhpet_reset(vhpet);
	return (vhpet);
}

void
vhpet_cleanup(struct vhpet *vhpet)
{
	int i;

	if (vhpet == NULL)
		return;
	for (i = 0; i < HPET_TIMERS; i++)
		vmm_callout_drain(&vhpet->timer[i].callout);
	pthread_mutex_destroy(&vhpet->mtx);
	free(vhpet);
}

int
vhpet_data_read(struct vhpet *vhpet, void *buf, size_t len)
{
	struct vdi_hpet_v1 out;
	struct hpet_timer *t;
	int i;

	if (len < sizeof(out))
		return (-ENOSPC);
	memset(&out, 0, sizeof(out));
	pthread_mutex_lock(&vhpet->mtx);
	out.config = vhpet->config;
	out.isr = vhpet->isr;
	out.count_base = vhpet->count_base;
	out.time_base = vhpet->time_base;
	for (i = 0; i < HPET_TIMERS; i++) {
		t = &vhpet->timer[i];
		out.timers[i].config = t->config;
		out.timers[i].msi = t->msi;
		out.timers[i].comp_val = t->comp_val;
		out.timers[i].comp_rate = t->comp_rate;
		out.timers[i].due = t->due;
		out.timers[i].armed = t->armed;
	}
	pthread_mutex_unlock(&vhpet->mtx);
	memcpy(buf, &out, sizeof(out));
	return ((int)sizeof(out));
}

static bool
vhpet_data_valid(const struct vdi_hpet_v1 *in)
{
	int i;

	/* Bounds that keep sums and products of times in range. */
	if ((in->config & ~CNF_ENABLE) != 0 || in->count_base > 1ULL << 60 ||
	    in->time_base > INT64_MAX / 4 || in->time_base < -(INT64_MAX / 4) ||
	    in->isr >> HPET_TIMERS != 0)
		return (false);
	for (i = 0; i < HPET_TIMERS; i++)
		if ((in->timers[i].config & ~TCNF_WRITABLE) != 0 ||
		    in->timers[i].due > 1ULL << 61 || in->timers[i].armed > 1)
			return (false);
	return (true);
}

/* Asserted pins are the I/O APIC's state: its counts are restored there. */
int
vhpet_data_write(struct vhpet *vhpet, const void *buf, size_t len)
{
	struct vdi_hpet_v1 in;
	struct hpet_timer *t;
	int i;

	if (len != sizeof(in))
		return (-EINVAL);
	memcpy(&in, buf, sizeof(in));
	if (!vhpet_data_valid(&in))
		return (-EINVAL);
	pthread_mutex_lock(&vhpet->mtx);
	vhpet->config = in.config;
	vhpet->isr = in.isr;
	vhpet->count_base = in.count_base;
	vhpet->time_base = in.time_base;
	for (i = 0; i < HPET_TIMERS; i++) {
		t = &vhpet->timer[i];
		t->config = in.timers[i].config;
		t->msi = in.timers[i].msi;
		t->comp_val = in.timers[i].comp_val;
		t->comp_rate = in.timers[i].comp_rate;
		t->due = in.timers[i].due;
		t->armed = in.timers[i].armed != 0;
		if (t->armed && vhpet_enabled(vhpet))
			vmm_callout_reset(
			    &t->callout, vhpet_count2time(vhpet, t->due));
		else
			vmm_callout_stop(&t->callout);
	}
	pthread_mutex_unlock(&vhpet->mtx);
	return ((int)sizeof(in));
}
