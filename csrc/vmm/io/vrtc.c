/*
 * The real-time clock: an MC146818 with 128 bytes of CMOS RAM and the PC's
 * century byte at 0x32, IRQ 8.  Its time is the host's CLOCK_REALTIME plus an
 * offset, so it goes on while the VM stands still.  Lock: `mtx`, above the
 * interrupt controllers.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chip_time_local.h"
#include "vchips.h"
#include "vmm.h"
#include "vmm_data.h"
#include "vrtc_local.h"

#define RTC_IRQ 8
#define RTC_FREQ 32768
/* UIP rises this long before the registers change (244 + 1984 us). */
#define RTC_UIP_NS 2228000
#define SECS_PER_DAY 86400
/* Seconds: more than lie between any two dates of the calendar. */
#define RTC_OFFSET_MAX (20000LL * 366 * SECS_PER_DAY)
#define RTC_DEFAULT_RATE 6 /* 1024 Hz */

struct vrtc {
	struct vm *vm;
	pthread_mutex_t mtx;
	struct vmm_callout callout;
	uint8_t addr;
	bool running; /* the date registers follow the clock */
	bool irq;     /* IRQ 8 is asserted */
	/* The clock minus CLOCK_REALTIME: years 0 to 9999 need two words. */
	int64_t offset_sec;
	int64_t offset_nsec; /* 0 to 999999999 */
	int64_t last_second; /* up to here UF and AF were looked at */
	int64_t pi_base;     /* vmm_now() of periodic tick 0 */
	uint64_t pi_tick;    /* last periodic tick that set PF */
	uint8_t reg[RTC_SIZE];
};

/* The second that the clock shows; *nsec: how much of it is over. */
static int64_t
rtc_clock(const struct vrtc *vrtc, int64_t *nsec)
{
	struct timespec ts;
	int64_t ns;

	clock_gettime(CLOCK_REALTIME, &ts);
	ns = ts.tv_nsec + vrtc->offset_nsec;
	if (nsec != NULL)
		*nsec = ns % CHIP_NS_PER_SEC;
	return (ts.tv_sec + vrtc->offset_sec + ns / CHIP_NS_PER_SEC);
}

/* Let the clock show this from now on. */
static void
rtc_set_clock(struct vrtc *vrtc, int64_t sec, int64_t nsec)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	vrtc->offset_sec = sec - ts.tv_sec;
	vrtc->offset_nsec = nsec - ts.tv_nsec;
	if (vrtc->offset_nsec < 0) {
		vrtc->offset_nsec += CHIP_NS_PER_SEC;
		vrtc->offset_sec--;
	}
}

static bool
rtc_halted(const struct vrtc *vrtc)
{
	return ((vrtc->reg[RTC_STATUSB] & RTCSB_SET) != 0 ||
	    (vrtc->reg[RTC_STATUSA] & RTCSA_DIVIDER) != RTCSA_DIVIDER_RUN);
}

/* Clocks of 32768 Hz between periodic interrupts; 0: none. */
static uint64_t
rtc_pi_period(const struct vrtc *vrtc)
{
	unsigned int rate;

	if ((vrtc->reg[RTC_STATUSA] & RTCSA_DIVIDER) != RTCSA_DIVIDER_RUN)
		return (0);
	rate = vrtc->reg[RTC_STATUSA] & RTCSA_RATE;
	if (rate == 0)
		return (0);
	/* The first two taps repeat those of 256 and 128 Hz. */
	if (rate < 3)
		rate += 7;
	return (1ULL << (rate - 1));
}

static void
rtc_update_irq(struct vrtc *vrtc)
{
	uint8_t *c;
	bool irq;

	c = &vrtc->reg[RTC_STATUSC];
	irq = (*c & vrtc->reg[RTC_STATUSB] &
		  (RTCIR_PF | RTCIR_AF | RTCIR_UF)) != 0;
	if (irq)
		*c |= RTCIR_IRQF;
	else
		*c &= (uint8_t)~RTCIR_IRQF;
	if (irq == vrtc->irq)
		return;
	vrtc->irq = irq;
	if (irq) {
		vatpic_assert_irq(vrtc->vm, RTC_IRQ);
		vioapic_assert_irq(vrtc->vm, RTC_IRQ);
	} else {
		vatpic_deassert_irq(vrtc->vm, RTC_IRQ);
		vioapic_deassert_irq(vrtc->vm, RTC_IRQ);
	}
}

/* Set UF and AF for the seconds that passed since the last look. */
static void
rtc_look_seconds(struct vrtc *vrtc)
{
	int64_t now, sec;

	if (!vrtc->running)
		return;
	now = rtc_clock(vrtc, NULL);
	if (now <= vrtc->last_second) {
		vrtc->last_second = now; /* the host's clock went back */
		return;
	}
	vrtc->reg[RTC_STATUSC] |= RTCIR_UF;
	sec = vrtc->last_second + 1;
	if (now - sec >= SECS_PER_DAY)
		sec = now - SECS_PER_DAY + 1;
	for (; sec <= now; sec++) {
		if (vrtc_alarm_match(vrtc->reg,
			(unsigned int)((sec % SECS_PER_DAY + SECS_PER_DAY) %
			    SECS_PER_DAY))) {
			vrtc->reg[RTC_STATUSC] |= RTCIR_AF;
			break;
		}
	}
	vrtc->last_second = now;
}

/* Set PF when a periodic tick is due; late ones stay due, up to a bound. */
static void
rtc_look_periodic(struct vrtc *vrtc, int64_t now)
{
	uint64_t period, due;

	period = rtc_pi_period(vrtc);
	if (period == 0)
		return;
	due = chip_ns_to_ticks(now - vrtc->pi_base, RTC_FREQ) / period;
	if (due <= vrtc->pi_tick)
		return;
	vrtc->reg[RTC_STATUSC] |= RTCIR_PF;
	/* Polling guests are told once; interrupts catch up. */
	if ((vrtc->reg[RTC_STATUSB] & RTCSB_PIE) == 0)
		vrtc->pi_tick = due;
	else
		vrtc->pi_tick++;
}

/* Arm for the next event that interrupts. */
static void
rtc_schedule(struct vrtc *vrtc, int64_t now)
{
	int64_t when, next, nsec;
	uint64_t period;
	uint8_t b;

	b = vrtc->reg[RTC_STATUSB];
	when = INT64_MAX;
	period = rtc_pi_period(vrtc);
	if ((b & RTCSB_PIE) != 0 && period != 0)
		when = chip_next_edge(
		    &vrtc->pi_tick, vrtc->pi_base, period, RTC_FREQ, now);
	if ((b & (RTCSB_AIE | RTCSB_UIE)) != 0 && vrtc->running) {
		rtc_clock(vrtc, &nsec);
		/* The two clocks differ: not too close before the second. */
		next = now + CHIP_NS_PER_SEC - nsec + CHIP_MIN_GAP_NS;
		if (next < when)
			when = next;
	}
	if (when == INT64_MAX)
		vmm_callout_stop(&vrtc->callout);
	else
		vmm_callout_reset(&vrtc->callout, when);
}

static void
rtc_callout(void *arg)
{
	struct vrtc *vrtc;
	int64_t now;

	vrtc = arg;
	pthread_mutex_lock(&vrtc->mtx);
	now = vmm_now(vrtc->vm);
	rtc_look_seconds(vrtc);
	if (vrtc->reg[RTC_STATUSB] & RTCSB_PIE)
		rtc_look_periodic(vrtc, now);
	rtc_update_irq(vrtc);
	rtc_schedule(vrtc, now);
	pthread_mutex_unlock(&vrtc->mtx);
}

/* Bring the date registers to the present. */
static void
rtc_refresh(struct vrtc *vrtc)
{
	if (vrtc->running)
		vrtc_secs_to_regs(rtc_clock(vrtc, NULL), vrtc->reg);
}

/* The clock runs on from what the registers say; no date: it stands. */
static void
rtc_start(struct vrtc *vrtc, int64_t fraction)
{
	int64_t secs;

	vrtc->running = false;
	if (!vrtc_regs_to_secs(vrtc->reg, &secs))
		return;
	vrtc->running = true;
	rtc_set_clock(vrtc, secs, fraction);
	vrtc->last_second = secs;
}

static int64_t
rtc_fraction(const struct vrtc *vrtc)
{
	int64_t nsec;

	rtc_clock(vrtc, &nsec);
	return (nsec);
}

static void
rtc_write_status_a(struct vrtc *vrtc, uint8_t val, int64_t now)
{
	uint8_t old;
	bool halted;

	old = vrtc->reg[RTC_STATUSA];
	rtc_refresh(vrtc);
	halted = rtc_halted(vrtc);
	vrtc->reg[RTC_STATUSA] = val & (uint8_t)~RTCSA_UIP;
	if (rtc_halted(vrtc))
		vrtc->running = false;
	else if (halted)
		/* A divider out of reset makes its first tick in 500 ms. */
		rtc_start(vrtc, CHIP_NS_PER_SEC / 2);
	if ((old ^ val) & (RTCSA_RATE | RTCSA_DIVIDER)) {
		vrtc->pi_base = now;
		vrtc->pi_tick = 0;
	}
}

static void
rtc_write_status_b(struct vrtc *vrtc, uint8_t val, int64_t now)
{
	uint8_t old;
	bool halted;

	old = vrtc->reg[RTC_STATUSB];
	rtc_refresh(vrtc);
	halted = rtc_halted(vrtc);
	/* SET clears UIE (data sheet, register B). */
	if (val & RTCSB_SET)
		val &= (uint8_t)~RTCSB_UIE;
	vrtc->reg[RTC_STATUSB] = val;
	if (rtc_halted(vrtc))
		vrtc->running = false;
	else if (halted)
		rtc_start(vrtc, 0);
	else
		/* The same time in a new form. */
		rtc_refresh(vrtc);
	if ((old ^ val) & val & RTCSB_PIE) {
		vrtc->pi_base = now;
		vrtc->pi_tick = 0;
	}
}

static bool
rtc_is_date(int reg)
{
	return (reg == RTC_SEC || reg == RTC_MIN || reg == RTC_HOUR ||
	    (reg >= RTC_WDAY && reg <= RTC_YEAR) || reg == RTC_CENTURY);
}

static void
rtc_write(struct vrtc *vrtc, int reg, uint8_t val)
{
	int64_t now, fraction;

	now = vmm_now(vrtc->vm);
	rtc_look_seconds(vrtc);
	switch (reg) {
	case RTC_STATUSA:
		rtc_write_status_a(vrtc, val, now);
		break;
	case RTC_STATUSB:
		rtc_write_status_b(vrtc, val, now);
		break;
	case RTC_STATUSC:
	case RTC_STATUSD:
		return;
	default:
		if (!rtc_is_date(reg)) {
			vrtc->reg[reg] = val;
			return;
		}
		rtc_refresh(vrtc);
		fraction = rtc_fraction(vrtc);
		vrtc->reg[reg] = val;
		/* Writing the seconds restarts the second's divider. */
		if (!rtc_halted(vrtc))
			rtc_start(vrtc, reg == RTC_SEC ? 0 : fraction);
		break;
	}
	rtc_update_irq(vrtc);
	rtc_schedule(vrtc, now);
}

static uint8_t
rtc_read(struct vrtc *vrtc, int reg)
{
	uint8_t val;

	switch (reg) {
	case RTC_STATUSA:
		val = vrtc->reg[RTC_STATUSA];
		if (vrtc->running &&
		    rtc_fraction(vrtc) >= CHIP_NS_PER_SEC - RTC_UIP_NS)
			val |= RTCSA_UIP;
		return (val);
	case RTC_STATUSC:
		rtc_look_seconds(vrtc);
		if ((vrtc->reg[RTC_STATUSB] & RTCSB_PIE) == 0)
			rtc_look_periodic(vrtc, vmm_now(vrtc->vm));
		val = vrtc->reg[RTC_STATUSC];
		vrtc->reg[RTC_STATUSC] = 0;
		rtc_update_irq(vrtc);
		return (val);
	case RTC_STATUSD:
		return (RTCSD_VALID);
	default:
		if (rtc_is_date(reg))
			rtc_refresh(vrtc);
		return (vrtc->reg[reg]);
	}
}

int
vrtc_addr_handler(struct vm *vm, bool in, int port, int bytes, uint32_t *eax)
{
	struct vrtc *vrtc;

	if (bytes != 1 || in)
		return (EINVAL); /* write only */
	vrtc = vm_rtc(vm);
	pthread_mutex_lock(&vrtc->mtx);
	/* Bit 7 masks NMI on a PC; this one has nothing there to mask. */
	vrtc->addr = (uint8_t)*eax & 0x7f;
	pthread_mutex_unlock(&vrtc->mtx);
	return (0);
}

int
vrtc_data_handler(struct vm *vm, bool in, int port, int bytes, uint32_t *eax)
{
	struct vrtc *vrtc;

	if (bytes != 1)
		return (EINVAL);
	vrtc = vm_rtc(vm);
	pthread_mutex_lock(&vrtc->mtx);
	if (in)
		*eax = rtc_read(vrtc, vrtc->addr);
	else
		rtc_write(vrtc, vrtc->addr, (uint8_t)*eax);
	pthread_mutex_unlock(&vrtc->mtx);
	return (0);
}

time_t
vrtc_get_time(struct vm *vm)
{
	struct vrtc *vrtc;
	int64_t secs;

	vrtc = vm_rtc(vm);
	pthread_mutex_lock(&vrtc->mtx);
	if (vrtc->running)
		secs = rtc_clock(vrtc, NULL);
	else if (!vrtc_regs_to_secs(vrtc->reg, &secs))
		secs = -1;
	pthread_mutex_unlock(&vrtc->mtx);
	return ((time_t)secs);
}

int
vrtc_set_time(struct vm *vm, time_t secs)
{
	struct vrtc *vrtc;

	vrtc = vm_rtc(vm);
	/* The first second of year 0 to the last of 9999. */
	if (secs < -62167219200LL || secs > 253402300799LL)
		return (EINVAL);
	pthread_mutex_lock(&vrtc->mtx);
	vrtc_secs_to_regs(secs, vrtc->reg);
	if (!rtc_halted(vrtc)) {
		rtc_start(vrtc, 0);
		rtc_schedule(vrtc, vmm_now(vm));
	}
	pthread_mutex_unlock(&vrtc->mtx);
	return (0);
}

/* The clock's own registers are not for these two to write. */
static bool
rtc_is_nvram(int offset)
{
	return (offset >= RTC_NVRAM_FIRST && offset < RTC_SIZE &&
	    offset != RTC_CENTURY);
}

int
vrtc_nvram_read(struct vm *vm, int offset, uint8_t *val)
{
	struct vrtc *vrtc;

	if (offset < 0 || offset >= RTC_SIZE)
		return (EINVAL);
	vrtc = vm_rtc(vm);
	pthread_mutex_lock(&vrtc->mtx);
	if (rtc_is_date(offset))
		rtc_refresh(vrtc);
	/* Without the side effect of reading status C. */
	*val = vrtc->reg[offset];
	pthread_mutex_unlock(&vrtc->mtx);
	return (0);
}

int
vrtc_nvram_write(struct vm *vm, int offset, uint8_t val)
{
	struct vrtc *vrtc;

	if (!rtc_is_nvram(offset))
		return (EINVAL);
	vrtc = vm_rtc(vm);
	pthread_mutex_lock(&vrtc->mtx);
	vrtc->reg[offset] = val;
	pthread_mutex_unlock(&vrtc->mtx);
	return (0);
}

/* RESET stops the interrupts; the battery keeps the rest. */
void
vrtc_reset(struct vrtc *vrtc)
{
	pthread_mutex_lock(&vrtc->mtx);
	vrtc->addr = 0;
	vrtc->reg[RTC_STATUSB] &=
	    (uint8_t) ~(RTCSB_PIE | RTCSB_AIE | RTCSB_UIE);
	vrtc->reg[RTC_STATUSC] = 0;
	rtc_update_irq(vrtc);
	vmm_callout_stop(&vrtc->callout);
	pthread_mutex_unlock(&vrtc->mtx);
}

struct vrtc *
vrtc_init(struct vm *vm)
{
	struct vrtc *vrtc;

	vrtc = calloc(1, sizeof(*vrtc));
	if (vrtc == NULL)
		return (NULL);
	vrtc->vm = vm;
	pthread_mutex_init(&vrtc->mtx, NULL);
	vmm_callout_init(&vrtc->callout, vm, rtc_callout, vrtc);
	vrtc->reg[RTC_STATUSA] = RTCSA_DIVIDER_RUN | RTC_DEFAULT_RATE;
	vrtc->reg[RTC_STATUSB] = RTCSB_24HR;
	vrtc->reg[RTC_STATUSD] = RTCSD_VALID;
	vrtc->running = true;
	vrtc->pi_base = vmm_now(vm);
	vrtc->last_second = rtc_clock(vrtc, NULL);
	rtc_refresh(vrtc);
	return (vrtc);
}

void
vrtc_cleanup(struct vrtc *vrtc)
{
	if (vrtc == NULL)
		return;
	vmm_callout_drain(&vrtc->callout);
	pthread_mutex_destroy(&vrtc->mtx);
	free(vrtc);
}

int
vrtc_data_read(struct vrtc *vrtc, void *buf, size_t len)
{
	struct vdi_rtc_v1 out;

	if (len < sizeof(out))
		return (-ENOSPC);
	memset(&out, 0, sizeof(out));
	pthread_mutex_lock(&vrtc->mtx);
	rtc_refresh(vrtc);
	memcpy(out.nvram, vrtc->reg, sizeof(out.nvram));
	out.addr = vrtc->addr;
	out.running = vrtc->running;
	out.irq = vrtc->irq;
	out.offset_sec = vrtc->offset_sec;
	out.offset_nsec = (uint32_t)vrtc->offset_nsec;
	out.last_second = vrtc->last_second;
	out.pi_base = vrtc->pi_base;
	out.pi_tick = vrtc->pi_tick;
	pthread_mutex_unlock(&vrtc->mtx);
	memcpy(buf, &out, sizeof(out));
	return ((int)sizeof(out));
}

/* The asserted line is the controllers' state and restored there. */
int
vrtc_data_write(struct vrtc *vrtc, const void *buf, size_t len)
{
	struct vdi_rtc_v1 in;

	if (len != sizeof(in))
		return (-EINVAL);
	memcpy(&in, buf, sizeof(in));
	if (in.addr >= RTC_SIZE || in.running > 1 || in.irq > 1 ||
	    in.offset_nsec >= CHIP_NS_PER_SEC ||
	    in.offset_sec > RTC_OFFSET_MAX || in.offset_sec < -RTC_OFFSET_MAX ||
	    in.last_second > RTC_OFFSET_MAX ||
	    in.last_second < -RTC_OFFSET_MAX || in.pi_base > INT64_MAX / 4 ||
	    in.pi_base < -(INT64_MAX / 4) || in.pi_tick > 1ULL << 45)
		return (-EINVAL);
	pthread_mutex_lock(&vrtc->mtx);
	memcpy(vrtc->reg, in.nvram, sizeof(vrtc->reg));
	vrtc->reg[RTC_STATUSA] &= (uint8_t)~RTCSA_UIP;
	vrtc->addr = in.addr;
	vrtc->running = in.running != 0 && !rtc_halted(vrtc);
	vrtc->irq = in.irq != 0;
	vrtc->offset_sec = in.offset_sec;
	vrtc->offset_nsec = in.offset_nsec;
	vrtc->last_second = in.last_second;
	vrtc->pi_base = in.pi_base;
	vrtc->pi_tick = in.pi_tick;
	rtc_schedule(vrtc, vmm_now(vrtc->vm));
	pthread_mutex_unlock(&vrtc->mtx);
	return ((int)sizeof(in));
}
