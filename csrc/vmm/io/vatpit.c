/*
 * The 8254 interval timer: three channels in all six modes, and the port
 * 0x61 bits that gate channel 2 and show its output.  Counters are not
 * stepped: what a guest reads follows from the time since counting began.
 * Channel 0's rising edges go to IRQ 0 of the 8259 and to pin 2 of the
 * I/O APIC.  Lock: `mtx`, above both controllers.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "chip_time_local.h"
#include "vchips.h"
#include "vmm.h"
#include "vmm_data.h"

#define PIT_FREQ 1193182

#define PORT_TIMER_0 0x40
#define PORT_TIMER_MODE 0x43

/* The control word (8254 data sheet). */
#define CW_SEL(v) ((v) >> 6)
#define CW_RW(v) (((v) >> 4) & 3)
#define CW_MODE(v) (((v) >> 1) & 7)
#define CW_BCD 0x01
#define CW_SEL_READBACK 3
#define RB_NO_COUNT 0x20
#define RB_NO_STATUS 0x10

#define STATUS_OUT 0x80
#define STATUS_NULL 0x40

enum { RW_LATCH, RW_LOW, RW_HIGH, RW_BOTH };

#define P61_GATE2 0x01
#define P61_SPEAKER 0x02
#define P61_WRITABLE 0x0f
#define P61_REFRESH 0x10
#define P61_OUT2 0x20
/* The refresh request toggles every 15.085 microseconds, 18 clocks. */
#define REFRESH_CLOCKS 18

struct pit_channel {
	uint8_t mode;
	uint8_t access;
	bool bcd;
	bool gate;
	bool loaded;	    /* a count was written since the mode */
	bool counting;	    /* clocks pass: base is valid */
	bool reload_valid;  /* `reload` waits for the end of the period */
	bool edges;	    /* channel 0: a callout delivers the edges */
	bool write_high;    /* the next write is the high byte */
	bool read_high;	    /* the next read is the high byte */
	bool count_latched; /* `latched` answers reads */
	bool status_latched;
	uint8_t status;
	uint8_t write_low;
	uint16_t initial;
	uint16_t reload;
	uint16_t latched;
	int64_t base;	 /* time of clock 0 */
	uint64_t frozen; /* clocks done, while the gate holds them */
	uint64_t tick;	 /* periodic modes: edges delivered since base */
};

struct vatpit {
	struct vm *vm;
	pthread_mutex_t mtx;
	struct vmm_callout callout;
	struct pit_channel channel[3];
	uint8_t port61;
};

/* The number of clocks that a count stands for. */
static uint32_t
pit_clocks(const struct pit_channel *c, uint16_t count)
{
	uint32_t n;

	if (!c->bcd)
		return (count == 0 ? 0x10000 : count);
	n = (count >> 12) * 1000u + ((count >> 8) & 0xfu) * 100 +
	    ((count >> 4) & 0xfu) * 10 + (count & 0xfu);
	return (n == 0 ? 10000 : n);
}

static uint16_t
pit_encode(const struct pit_channel *c, uint32_t n)
{
	if (!c->bcd)
		return ((uint16_t)n);
	n %= 10000;
	return ((uint16_t)((n / 1000) << 12 | (n / 100 % 10) << 8 |
	    (n / 10 % 10) << 4 | n % 10));
}

static bool
pit_periodic(const struct pit_channel *c)
{
	return (c->mode == 2 || c->mode == 3);
}

/* A period of one clock does not exist in modes 2 and 3. */
static uint64_t
pit_period(const struct pit_channel *c)
{
	uint64_t n;

	n = pit_clocks(c, c->initial);
	return (n < 2 ? 2 : n);
}

/*
 * A count written meanwhile takes over where the period ended, which is the
 * one after edge `tick`.
 */
static void
pit_take_reload(struct pit_channel *c, int64_t now)
{
	int64_t end;

	if (!c->reload_valid || !c->counting)
		return;
	end =
	    c->base + chip_ticks_to_ns((c->tick + 1) * pit_period(c), PIT_FREQ);
	if (end > now)
		return;
	c->base = end;
	c->initial = c->reload;
	c->reload_valid = false;
	c->tick = 0;
}

/* Before a look: channel 0's callout does this together with the edge. */
static void
pit_follow(struct pit_channel *c, int64_t now)
{
	if (!c->edges)
		pit_take_reload(c, now);
}

static uint64_t
pit_elapsed(const struct pit_channel *c, int64_t now)
{
	if (!c->counting)
		return (c->frozen);
	return (chip_ns_to_ticks(now - c->base, PIT_FREQ));
}

static bool
pit_out(const struct pit_channel *c, int64_t now)
{
	uint64_t e, n;

	if (!c->loaded)
		return (c->mode != 0);
	e = pit_elapsed(c, now);
	n = pit_clocks(c, c->initial);
	switch (c->mode) {
	case 0:
		return (e > n);
	case 1:
		/* Low from the trigger until the count ends. */
		return (!c->counting && c->frozen == 0) || e > n;
	case 2:
		if (!c->gate)
			return (true);
		n = pit_period(c);
		return (e % n != n - 1);
	case 3:
		if (!c->gate)
			return (true);
		n = pit_period(c);
		return (e % n < (n + 1) / 2);
	default: /* strobes: low for the one clock at zero */
		return (!(e == n + 1));
	}
}

/* The counting element's value. */
static uint16_t
pit_count(const struct pit_channel *c, int64_t now)
{
	uint64_t e, n, mod;

	if (!c->loaded)
		return (c->initial);
	e = pit_elapsed(c, now);
	n = pit_clocks(c, c->initial);
	mod = c->bcd ? 10000 : 0x10000;
	switch (c->mode) {
	case 2:
		n = pit_period(c);
		return (pit_encode(c, (uint32_t)(n - e % n)));
	case 3:
		/* Counts down by two, twice a period. */
		n = pit_period(c);
		e %= n;
		if (e >= (n + 1) / 2)
			e -= (n + 1) / 2;
		return (pit_encode(c, (uint32_t)((n & ~1ULL) - 2 * e)));
	default:
		/* The first clock loads; past zero it wraps and goes on. */
		if (e > 0)
			e--;
		return (pit_encode(c, (uint32_t)((n + mod - e % mod) % mod)));
	}
}

/* When channel 0's output rises next; 0: never. */
static int64_t
pit_next_edge(struct pit_channel *c, int64_t now)
{
	uint64_t n;

	if (!c->loaded || !c->counting)
		return (0);
	n = pit_clocks(c, c->initial);
	if (pit_periodic(c)) {
		n = pit_period(c);
		return (chip_next_edge(&c->tick, c->base, n, PIT_FREQ, now));
	}
	if (c->tick != 0)
		return (0);
	/* Modes 4 and 5 rise at the end of the strobe. */
	n += c->mode >= 4 ? 2 : 1;
	return (c->base + chip_ticks_to_ns(n, PIT_FREQ));
}

static void
pit_schedule(struct vatpit *vatpit, int64_t now)
{
	int64_t when;

	when = pit_next_edge(&vatpit->channel[0], now);
	if (when == 0)
		vmm_callout_stop(&vatpit->callout);
	else
		vmm_callout_reset(&vatpit->callout, when);
}

/*
 * A vCPU that gets too little of the host's time to take each tick must not
 * find its clock slow, or the ticks that it counts too few: a tick waits for
 * its turn while every controller that would take it still holds the one
 * before.  Where one controller is free the other may be in nobody's use.
 */
static bool
pit_tick_waits(struct vm *vm)
{
	enum edge_fate pic, ioapic;

	pic = vatpic_edge_fate(vm, 0);
	ioapic = vioapic_edge_fate(vm, 2);
	return (pic != EDGE_TAKEN && ioapic != EDGE_TAKEN &&
	    (pic == EDGE_LOST || ioapic == EDGE_LOST));
}

static void
pit_callout(void *arg)
{
	struct vatpit *vatpit;
	struct pit_channel *c;
	uint64_t n;
	int64_t now, due;

	vatpit = arg;
	pthread_mutex_lock(&vatpit->mtx);
	c = &vatpit->channel[0];
	now = vmm_now(vatpit->vm);
	if (!c->loaded || !c->counting || (!pit_periodic(c) && c->tick != 0))
		goto out;
	/* Look again: the channel may have been programmed anew. */
	n = pit_periodic(c)
	    ? (c->tick + 1) * pit_period(c)
	    : pit_clocks(c, c->initial) + (c->mode >= 4 ? 2 : 1);
	due = c->base + chip_ticks_to_ns(n, PIT_FREQ);
	/* A new count is not kept waiting. */
	if (due <= now &&
	    (!pit_periodic(c) || c->reload_valid ||
		!pit_tick_waits(vatpit->vm))) {
		if (pit_periodic(c) && c->reload_valid)
			pit_take_reload(c, now);
		else
			c->tick++;
		vatpic_pulse_irq(vatpit->vm, 0);
		vioapic_pulse_irq(vatpit->vm, 2);
	}
	pit_schedule(vatpit, now);
out:
	pthread_mutex_unlock(&vatpit->mtx);
}

static void
pit_start(struct pit_channel *c, int64_t now)
{
	c->base = now;
	c->frozen = 0;
	c->tick = 0;
	c->counting = true;
}

/* The guest has written a whole count. */
static void
pit_load(struct vatpit *vatpit, int which, uint16_t count)
{
	struct pit_channel *c;
	int64_t now;

	c = &vatpit->channel[which];
	now = vmm_now(vatpit->vm);
	if (pit_periodic(c) && c->loaded && c->counting) {
		pit_follow(c, now);
		if (!c->edges && !c->reload_valid)
			c->tick = pit_elapsed(c, now) / pit_period(c);
		c->reload = count;
		c->reload_valid = true;
		return;
	}
	c->initial = count;
	if (c->mode == 1 || c->mode == 5) {
		/* Waits for the gate's rise. */
		if (!c->loaded) {
			c->loaded = true;
			c->counting = false;
			c->frozen = 0;
		}
	} else {
		c->loaded = true;
		pit_start(c, now);
		if (!c->gate)
			c->counting = false;
	}
	if (which == 0)
		pit_schedule(vatpit, now);
}

static void
pit_latch_count(struct pit_channel *c, int64_t now)
{
	if (c->count_latched)
		return;
	pit_follow(c, now);
	c->latched = pit_count(c, now);
	c->count_latched = true;
}

static void
pit_latch_status(struct pit_channel *c, int64_t now)
{
	if (c->status_latched)
		return;
	pit_follow(c, now);
	c->status = (uint8_t)((pit_out(c, now) ? STATUS_OUT : 0) |
	    (!c->loaded || c->reload_valid ? STATUS_NULL : 0) |
	    (c->access << 4) | (c->mode << 1) | (c->bcd ? 1 : 0));
	c->status_latched = true;
}

static void
pit_readback(struct vatpit *vatpit, uint8_t cmd, int64_t now)
{
	int i;

	for (i = 0; i < 3; i++) {
		if ((cmd & (2u << i)) == 0)
			continue;
		if ((cmd & RB_NO_COUNT) == 0)
			pit_latch_count(&vatpit->channel[i], now);
		if ((cmd & RB_NO_STATUS) == 0)
			pit_latch_status(&vatpit->channel[i], now);
	}
}

static void
pit_control(struct vatpit *vatpit, uint8_t cmd)
{
	struct pit_channel *c;
	int64_t now;
	uint8_t mode;

	now = vmm_now(vatpit->vm);
	if (CW_SEL(cmd) == CW_SEL_READBACK) {
		pit_readback(vatpit, cmd, now);
		return;
	}
	c = &vatpit->channel[CW_SEL(cmd)];
	if (CW_RW(cmd) == RW_LATCH) {
		pit_latch_count(c, now);
		return;
	}
	mode = CW_MODE(cmd);
	if (mode > 5)
		mode -= 4; /* bit 2 is ignored in modes 2 and 3 */
	c->mode = mode;
	c->access = CW_RW(cmd);
	c->bcd = (cmd & CW_BCD) != 0;
	c->loaded = c->counting = c->reload_valid = false;
	c->write_high = c->read_high = false;
	c->count_latched = c->status_latched = false;
	c->frozen = 0;
	c->tick = 0;
	if (CW_SEL(cmd) == 0)
		pit_schedule(vatpit, now);
}

static uint8_t
pit_read(struct vatpit *vatpit, int which)
{
	struct pit_channel *c;
	uint16_t count;
	int64_t now;
	bool high;

	c = &vatpit->channel[which];
	if (c->status_latched) {
		c->status_latched = false;
		return (c->status);
	}
	now = vmm_now(vatpit->vm);
	pit_follow(c, now);
	count = c->count_latched ? c->latched : pit_count(c, now);
	if (c->access == RW_BOTH) {
		high = c->read_high;
		c->read_high = !high;
	} else
		high = c->access == RW_HIGH;
	if (c->access != RW_BOTH || high)
		c->count_latched = false;
	return ((uint8_t)(high ? count >> 8 : count));
}

static void
pit_write(struct vatpit *vatpit, int which, uint8_t val)
{
	struct pit_channel *c;

	c = &vatpit->channel[which];
	switch (c->access) {
	case RW_LOW:
		pit_load(vatpit, which, val);
		break;
	case RW_HIGH:
		pit_load(vatpit, which, (uint16_t)(val << 8));
		break;
	default:
		if (!c->write_high) {
			c->write_low = val;
			c->write_high = true;
			/* The first byte stops a count in mode 0. */
			if (c->mode == 0 && c->loaded) {
				c->loaded = c->counting = false;
				if (which == 0)
					vmm_callout_stop(&vatpit->callout);
			}
			break;
		}
		c->write_high = false;
		pit_load(vatpit, which, (uint16_t)(val << 8 | c->write_low));
		break;
	}
}

int
vatpit_handler(struct vm *vm, bool in, int port, int bytes, uint32_t *eax)
{
	struct vatpit *vatpit;

	if (bytes != 1 || port < PORT_TIMER_0 || port > PORT_TIMER_MODE)
		return (EINVAL);
	vatpit = vm_atpit(vm);
	if (port == PORT_TIMER_MODE && in)
		return (EINVAL); /* write only */
	pthread_mutex_lock(&vatpit->mtx);
	if (port == PORT_TIMER_MODE)
		pit_control(vatpit, (uint8_t)*eax);
	else if (in)
		*eax = pit_read(vatpit, port - PORT_TIMER_0);
	else
		pit_write(vatpit, port - PORT_TIMER_0, (uint8_t)*eax);
	pthread_mutex_unlock(&vatpit->mtx);
	return (0);
}

static void
pit_set_gate(struct vatpit *vatpit, int which, bool gate)
{
	struct pit_channel *c;
	int64_t now;

	c = &vatpit->channel[which];
	if (c->gate == gate)
		return;
	now = vmm_now(vatpit->vm);
	pit_follow(c, now);
	c->gate = gate;
	if (!c->loaded)
		return;
	switch (c->mode) {
	case 0:
	case 4: /* the gate enables counting */
		if (!gate) {
			c->frozen = pit_elapsed(c, now);
			c->counting = false;
		} else {
			c->base = now - chip_ticks_to_ns(c->frozen, PIT_FREQ);
			c->counting = true;
		}
		break;
	case 1:
	case 5: /* a rise triggers */
		if (gate)
			pit_start(c, now);
		break;
	default: /* low stops, a rise starts a new period */
		if (gate)
			pit_start(c, now);
		else {
			c->counting = false;
			c->frozen = 0;
			if (c->reload_valid)
				c->initial = c->reload;
			c->reload_valid = false;
		}
		break;
	}
}

int
vatpit_nmisc_handler(struct vm *vm, bool in, int port, int bytes, uint32_t *eax)
{
	struct vatpit *vatpit;
	int64_t now;

	if (bytes != 1)
		return (EINVAL);
	vatpit = vm_atpit(vm);
	pthread_mutex_lock(&vatpit->mtx);
	if (in) {
		now = vmm_now(vm);
		pit_follow(&vatpit->channel[2], now);
		*eax = vatpit->port61;
		if (chip_ns_to_ticks(now, PIT_FREQ) / REFRESH_CLOCKS & 1)
			*eax |= P61_REFRESH;
		if (pit_out(&vatpit->channel[2], now))
			*eax |= P61_OUT2;
	} else {
		vatpit->port61 = (uint8_t)*eax & P61_WRITABLE;
		pit_set_gate(vatpit, 2, (*eax & P61_GATE2) != 0);
	}
	pthread_mutex_unlock(&vatpit->mtx);
	return (0);
}

void
vatpit_reset(struct vatpit *vatpit)
{
	int i;

	pthread_mutex_lock(&vatpit->mtx);
	vmm_callout_stop(&vatpit->callout);
	memset(vatpit->channel, 0, sizeof(vatpit->channel));
	vatpit->port61 = 0;
	for (i = 0; i < 3; i++) {
		vatpit->channel[i].access = RW_BOTH;
		vatpit->channel[i].gate = i != 2;
		vatpit->channel[i].edges = i == 0;
	}
	/* The chip's own mode is undefined; firmware leaves mode 3. */
	vatpit->channel[0].mode = 3;
	vatpit->channel[1].mode = 2;
	pthread_mutex_unlock(&vatpit->mtx);
}

struct vatpit *
vatpit_init(struct vm *vm)
{
	struct vatpit *vatpit;

	vatpit = calloc(1, sizeof(*vatpit));
	if (vatpit == NULL)
		return (NULL);
	vatpit->vm = vm;
	pthread_mutex_init(&vatpit->mtx, NULL);
	vmm_callout_init(&vatpit->callout, vm, pit_callout, vatpit);
	vatpit_reset(vatpit);
	return (vatpit);
}

void
vatpit_cleanup(struct vatpit *vatpit)
{
	if (vatpit == NULL)
		return;
	vmm_callout_drain(&vatpit->callout);
	pthread_mutex_destroy(&vatpit->mtx);
	free(vatpit);
}

/* Bits of vdi_atpit_channel_v1.flags[0] and flags[1]. */
#define PF_GATE 0x01
#define PF_LOADED 0x02
#define PF_COUNTING 0x04
#define PF_RELOAD 0x08
#define PF_WRITE_HIGH 0x10
#define PF_READ_HIGH 0x20
#define PF_COUNT_LATCHED 0x40
#define PF_STATUS_LATCHED 0x80

static void
pit_pack(const struct pit_channel *c, struct vdi_atpit_channel_v1 *out)
{
	out->initial = c->initial;
	out->reload = c->reload;
	out->latched = c->latched;
	out->status = c->status;
	out->mode = c->mode;
	out->access = c->access;
	out->bcd = c->bcd;
	out->write_low = c->write_low;
	out->flags[0] = (uint8_t)((c->gate ? PF_GATE : 0) |
	    (c->loaded ? PF_LOADED : 0) | (c->counting ? PF_COUNTING : 0) |
	    (c->reload_valid ? PF_RELOAD : 0) |
	    (c->write_high ? PF_WRITE_HIGH : 0) |
	    (c->read_high ? PF_READ_HIGH : 0) |
	    (c->count_latched ? PF_COUNT_LATCHED : 0) |
	    (c->status_latched ? PF_STATUS_LATCHED : 0));
	out->base = c->base;
	out->frozen = c->frozen;
	out->tick = c->tick;
}

static bool
pit_unpack(struct pit_channel *c, const struct vdi_atpit_channel_v1 *in)
{
	uint8_t f;

	memset(c, 0, sizeof(*c));
	if (in->mode > 5 || in->access < RW_LOW || in->access > RW_BOTH ||
	    in->bcd > 1)
		return (false);
	/* Bounds that keep products and sums of times in range. */
	if (in->tick > 1ULL << 45 || in->frozen > 1ULL << 60 ||
	    in->base > INT64_MAX / 4 || in->base < -(INT64_MAX / 4))
		return (false);
	f = in->flags[0];
	c->initial = in->initial;
	c->reload = in->reload;
	c->latched = in->latched;
	c->status = in->status;
	c->mode = in->mode;
	c->access = in->access;
	c->bcd = in->bcd != 0;
	c->write_low = in->write_low;
	c->gate = (f & PF_GATE) != 0;
	c->loaded = (f & PF_LOADED) != 0;
	c->counting = (f & PF_COUNTING) != 0;
	c->reload_valid = (f & PF_RELOAD) != 0;
	c->write_high = (f & PF_WRITE_HIGH) != 0;
	c->read_high = (f & PF_READ_HIGH) != 0;
	c->count_latched = (f & PF_COUNT_LATCHED) != 0;
	c->status_latched = (f & PF_STATUS_LATCHED) != 0;
	c->base = in->base;
	c->frozen = in->frozen;
	c->tick = in->tick;
	return (true);
}

int
vatpit_data_read(struct vatpit *vatpit, void *buf, size_t len)
{
	struct vdi_atpit_v1 out;
	int i;

	if (len < sizeof(out))
		return (-ENOSPC);
	memset(&out, 0, sizeof(out));
	pthread_mutex_lock(&vatpit->mtx);
	for (i = 0; i < 3; i++)
		pit_pack(&vatpit->channel[i], &out.channel[i]);
	out.port61 = vatpit->port61;
	pthread_mutex_unlock(&vatpit->mtx);
	memcpy(buf, &out, sizeof(out));
	return ((int)sizeof(out));
}

int
vatpit_data_write(struct vatpit *vatpit, const void *buf, size_t len)
{
	struct vdi_atpit_v1 in;
	struct pit_channel channel[3];
	int i;

	if (len != sizeof(in))
		return (-EINVAL);
	memcpy(&in, buf, sizeof(in));
	if ((in.port61 & ~P61_WRITABLE) != 0)
		return (-EINVAL);
	for (i = 0; i < 3; i++)
		if (!pit_unpack(&channel[i], &in.channel[i]))
			return (-EINVAL);
	pthread_mutex_lock(&vatpit->mtx);
	memcpy(vatpit->channel, channel, sizeof(channel));
	vatpit->channel[0].edges = true;
	vatpit->port61 = in.port61;
	pit_schedule(vatpit, vmm_now(vatpit->vm));
	pthread_mutex_unlock(&vatpit->mtx);
	return ((int)sizeof(in));
}
