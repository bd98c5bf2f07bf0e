/*
 * Time: a VM's clock, which stands while the VM is paused or has not started,
 * its TSC, and the callouts of the chips, served by one thread a process.
 */
#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <x86intrin.h>

#include "vmm_local.h"

#define NS_PER_SEC 1000000000LL
#define MSR_TSC 0x10

static pthread_mutex_t timer_mtx = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t timer_cond; /* the first callout changed */
static pthread_cond_t drain_cond = PTHREAD_COND_INITIALIZER;
static pthread_t timer_thread;
static bool timer_running;
static struct vmm_callout **heap;
static int heap_count, heap_room;

static int64_t
monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec);
}

int64_t
vmm_now(struct vm *vm)
{
	uint32_t seq;
	int64_t now;

	do {
		while (((seq = atomic_load(&vm->time_seq)) & 1) != 0)
			_mm_pause();
		now = atomic_load(&vm->time_runs)
		    ? monotonic() + atomic_load(&vm->time_off)
		    : atomic_load(&vm->time_frozen);
	} while (atomic_load(&vm->time_seq) != seq);
	return (now);
}

/* ---- the heap, ordered by the host's clock ---- */

static int64_t
callout_key(const struct vmm_callout *c)
{
	if (!atomic_load(&c->vm->time_runs))
		return (INT64_MAX);
	return (c->when - atomic_load(&c->vm->time_off));
}

static void
heap_set(int i, struct vmm_callout *c)
{
	heap[i] = c;
	c->heap_index = i;
}

static void
heap_up(int i, struct vmm_callout *c)
{
	int64_t key = callout_key(c);
	int parent;

	for (; i > 0; i = parent) {
		parent = (i - 1) / 2;
		if (callout_key(heap[parent]) <= key)
			break;
		heap_set(i, heap[parent]);
	}
	heap_set(i, c);
}

static void
heap_down(int i, struct vmm_callout *c)
{
	int64_t key = callout_key(c);
	int child;

	while ((child = 2 * i + 1) < heap_count) {
		if (child + 1 < heap_count &&
		    callout_key(heap[child + 1]) < callout_key(heap[child]))
			child++;
		if (callout_key(heap[child]) >= key)
			break;
		heap_set(i, heap[child]);
		i = child;
	}
	heap_set(i, c);
}

static void
heap_remove(struct vmm_callout *c)
{
	struct vmm_callout *last = heap[--heap_count];
	int i = c->heap_index;

	c->heap_index = -1;
	if (last == c)
		return;
	heap_up(i, last);
	heap_down(last->heap_index, last);
}

static void
heap_insert(struct vmm_callout *c)
{
	struct vmm_callout **bigger;
	int room;

	if (heap_count == heap_room) {
		/* A callout a timer of a chip: guests cannot make more. */
		room = heap_room == 0 ? 256 : heap_room * 2;
		bigger = realloc(heap, (size_t)room * sizeof(heap[0]));
		if (bigger == NULL) {
			vmm_log("no memory for timers");
			abort();
		}
		heap = bigger;
		heap_room = room;
	}
	heap_count++;
	heap_up(heap_count - 1, c);
}

/* A VM's clock started, stopped or jumped. */
static void
heap_rebuild(void)
{
	for (int i = heap_count / 2 - 1; i >= 0; i--)
		heap_down(i, heap[i]);
	if (timer_running)
		pthread_cond_signal(&timer_cond);
}

/* ---- the thread ---- */

static void *
timer_main(void *arg)
{
	struct vmm_callout *c;
	struct timespec ts;
	int64_t key;

	(void)arg;
	prctl(PR_SET_NAME, "vmm timer");
	prctl(PR_SET_TIMERSLACK, 1UL);
	pthread_mutex_lock(&timer_mtx);
	for (;;) {
		key = heap_count > 0 ? callout_key(heap[0]) : INT64_MAX;
		if (key == INT64_MAX) {
			pthread_cond_wait(&timer_cond, &timer_mtx);
			continue;
		}
		if (key > monotonic()) {
			ts.tv_sec = key / NS_PER_SEC;
			ts.tv_nsec = key % NS_PER_SEC;
			pthread_cond_timedwait(&timer_cond, &timer_mtx, &ts);
			continue;
		}
		c = heap[0];
		heap_remove(c);
		c->firing = true;
		pthread_mutex_unlock(&timer_mtx);
		c->fn(c->arg);
		pthread_mutex_lock(&timer_mtx);
		c->firing = false;
		pthread_cond_broadcast(&drain_cond);
	}
	return (NULL);
}

static void
timer_start(void)
{
	pthread_condattr_t attr;
	sigset_t all, old;

	if (timer_running)
		return;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&timer_cond, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&timer_thread, NULL, timer_main, NULL) == 0)
		timer_running = true;
	else
		vmm_log("no thread for timers");
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void
vmm_callout_init(
    struct vmm_callout *c, struct vm *vm, vmm_callout_fn fn, void *arg)
{
	c->vm = vm;
	c->fn = fn;
	c->arg = arg;
	c->when = 0;
	c->heap_index = -1;
	c->firing = false;
}

void
vmm_callout_reset(struct vmm_callout *c, int64_t when)
{
	pthread_mutex_lock(&timer_mtx);
	timer_start();
	if (c->heap_index >= 0)
		heap_remove(c);
	c->when = when;
	heap_insert(c);
	if (c->heap_index == 0 && timer_running)
		pthread_cond_signal(&timer_cond);
	pthread_mutex_unlock(&timer_mtx);
}

void
vmm_callout_stop(struct vmm_callout *c)
{
	pthread_mutex_lock(&timer_mtx);
	if (c->heap_index >= 0)
		heap_remove(c);
	pthread_mutex_unlock(&timer_mtx);
}

void
vmm_callout_drain(struct vmm_callout *c)
{
	pthread_mutex_lock(&timer_mtx);
	for (;;) {
		if (c->heap_index >= 0)
			heap_remove(c);
		if (!c->firing || pthread_equal(pthread_self(), timer_thread))
			break;
		pthread_cond_wait(&drain_cond, &timer_mtx);
	}
	pthread_mutex_unlock(&timer_mtx);
}

/* ---- the clock of a VM ---- */

void
vmm_time_init(struct vm *vm)
{
	/* Not zero, which chips take for "never". */
	atomic_store(&vm->time_frozen, NS_PER_SEC);
	atomic_store(&vm->time_runs, false);
}

static void
time_change(struct vm *vm, bool run, int64_t now)
{
	atomic_fetch_add(&vm->time_seq, 1);
	atomic_store(&vm->time_runs, run);
	atomic_store(&vm->time_frozen, now);
	atomic_store(&vm->time_off, now - monotonic());
	atomic_fetch_add(&vm->time_seq, 1);
	heap_rebuild();
}

/*
 * The TSC goes on when the clock does.  A pause keeps the offset: a guest
 * sees the cycles pass, as on a machine that slept.
 */
void
vmm_time_run(struct vm *vm)
{
	pthread_mutex_lock(&timer_mtx);
	if (!atomic_load(&vm->time_runs)) {
		if (!vm->started)
			vm->tsc_offset = vm->tsc_frozen - __rdtsc();
		time_change(vm, true, atomic_load(&vm->time_frozen));
	}
	pthread_mutex_unlock(&timer_mtx);
}

void
vmm_time_stop(struct vm *vm)
{
	pthread_mutex_lock(&timer_mtx);
	if (atomic_load(&vm->time_runs))
		time_change(vm, false, vmm_now(vm));
	pthread_mutex_unlock(&timer_mtx);
}

void
vmm_time_set(struct vm *vm, int64_t now)
{
	pthread_mutex_lock(&timer_mtx);
	time_change(vm, atomic_load(&vm->time_runs), now);
	pthread_mutex_unlock(&timer_mtx);
}

/* ---- TSC ---- */

uint64_t
vmm_guest_tsc(struct vm *vm)
{
	if (!vm->started)
		return (vm->tsc_frozen);
	return (__rdtsc() + vm->tsc_offset);
}

/* A vCPU's TSC is the VM's, plus what the guest wrote to it (tsc_delta). */
int
vcpu_sync_tsc(struct vcpu *vcpu)
{
	const struct vmm_ops *ops = vcpu->vm->ops;
	uint64_t offset = vcpu->vm->tsc_offset + vcpu->tsc_delta;

	if (!vcpu->vm->started)
		return (0);
	if (ops->set_tsc_offset != NULL)
		return (ops->set_tsc_offset(vcpu->cookie, offset));
	return (ops->setmsr(vcpu->cookie, MSR_TSC, __rdtsc() + offset));
}

uint64_t
vcpu_tsc_delta(struct vcpu *vcpu)
{
	const struct vmm_ops *ops = vcpu->vm->ops;
	uint64_t offset;

	if (vcpu->vm->started && ops->get_tsc_offset != NULL &&
	    ops->get_tsc_offset(vcpu->cookie, &offset) == 0)
		return (offset - vcpu->vm->tsc_offset);
	return (vcpu->tsc_delta);
}

int
vcpu_set_tsc_delta(struct vcpu *vcpu, uint64_t delta)
{
	vcpu->tsc_delta = delta;
	return (vcpu_sync_tsc(vcpu));
}

static uint64_t
tsc_hz_cpuid(void)
{
	uint32_t a, b, c, d;

	__cpuid(1, a, b, c, d);
	if ((c & (1u << 31)) != 0) {
		/* Many hypervisors tell kHz at 0x40000010. */
		__cpuid(0x40000000, a, b, c, d);
		if (a >= 0x40000010 && a < 0x40010000) {
			__cpuid(0x40000010, a, b, c, d);
			if (a > 100000 && a < 100000000)
				return ((uint64_t)a * 1000);
		}
	}
	if (__get_cpuid_max(0, NULL) >= 0x15) {
		__cpuid(0x15, a, b, c, d);
		if (a != 0 && b != 0 && c != 0)
			return ((uint64_t)c * b / a);
	}
	return (0);
}

/* A reading of both clocks, the tightest of several. */
static void
tsc_sample(int64_t *ns, uint64_t *tsc)
{
	uint64_t before, after, best = UINT64_MAX;
	int64_t now;

	for (int i = 0; i < 8; i++) {
		before = __rdtsc();
		now = monotonic();
		after = __rdtsc();
		if (after - before < best) {
			best = after - before;
			*ns = now;
			*tsc = before + best / 2;
		}
	}
}

static uint64_t tsc_hz;

static void
tsc_hz_init(void)
{
	struct timespec ts = { 0, 10000000 };
	uint64_t tsc0 = 0, tsc1 = 0;
	int64_t ns0 = 0, ns1 = 0;

	tsc_hz = tsc_hz_cpuid();
	if (tsc_hz != 0)
		return;
	tsc_sample(&ns0, &tsc0);
	nanosleep(&ts, NULL);
	tsc_sample(&ns1, &tsc1);
	tsc_hz = (uint64_t)((double)(tsc1 - tsc0) * NS_PER_SEC /
	    (double)(ns1 - ns0));
}

uint64_t
vmm_tsc_hz(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, tsc_hz_init);
	return (tsc_hz);
}
