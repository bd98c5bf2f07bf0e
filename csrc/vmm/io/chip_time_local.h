/*
 * Arithmetic that the chips share: clocks of a given frequency against
 * nanoseconds, and where the next tick of a periodic timer goes when ticks
 * were missed (a host that slept, or a vCPU that got no time).
 */
#ifndef _CHIP_TIME_LOCAL_H_
#define _CHIP_TIME_LOCAL_H_

#include <stdint.h>

#define CHIP_NS_PER_SEC 1000000000LL

/* No timer fires more often: a guest cannot occupy the timer thread. */
#define CHIP_MIN_GAP_NS 50000
/* So many missed ticks are delivered late; more than these are dropped. */
#define CHIP_CATCHUP_MAX 32

/* Whole clocks that fit into ns; 0 for a negative time. */
static inline uint64_t
chip_ns_to_ticks(int64_t ns, uint64_t hz)
{
	if (ns <= 0)
		return (0);
	return (
	    (uint64_t)((unsigned __int128)(uint64_t)ns * hz / CHIP_NS_PER_SEC));
}

/* The first nanosecond at which so many clocks are complete. */
static inline int64_t
chip_ticks_to_ns(uint64_t ticks, uint64_t hz)
{
	unsigned __int128 ns;

	ns = ((unsigned __int128)ticks * CHIP_NS_PER_SEC + hz - 1) / hz;
	if (ns > INT64_MAX / 2)
		ns = INT64_MAX / 2;
	return ((int64_t)ns);
}

/*
 * A periodic timer began at `base`; its edge number n comes after n *
 * period clocks.  Edge *tick has just been delivered.  Advances *tick past
 * dropped edges so that the next one is *tick + 1, and returns when to
 * deliver that one: the phase stays, late ones come at eight times the pace.
 */
static inline int64_t
chip_next_edge(
    uint64_t *tick, int64_t base, uint64_t period, uint64_t hz, int64_t now)
{
	uint64_t due;
	int64_t when, gap;

	gap = CHIP_MIN_GAP_NS;
	due = chip_ns_to_ticks(now - base, hz) / period;
	if (due > *tick) {
		if (due - *tick > CHIP_CATCHUP_MAX)
			*tick = due;
		else if (chip_ticks_to_ns(period, hz) / 8 > gap)
			gap = chip_ticks_to_ns(period, hz) / 8;
	}
	if (*tick >= UINT64_MAX / period - 1)
		return (INT64_MAX / 2);
	when = base + chip_ticks_to_ns((*tick + 1) * period, hz);
	if (when < now + gap)
		when = now + gap;
	return (when);
}

#endif
