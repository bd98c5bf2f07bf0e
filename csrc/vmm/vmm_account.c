/*
 * Where a vCPU's time goes: illumos' states, one at a time.  The vCPU's own
 * thread says when one begins; whoever looks sees the present one, too, for a
 * guest may sleep or compute for hours without an exit.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "vmm_local.h"

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec);
}

/* A reader that sees an odd or another number reads again. */
static void
write_begin(struct vcpu_times *t)
{
	atomic_store_explicit(&t->seq, t->seq + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
}

static void
write_end(struct vcpu_times *t)
{
	atomic_store_explicit(&t->seq, t->seq + 1, memory_order_release);
}

void
vcpu_time_enter(struct vcpu *vcpu, enum vcpu_time state)
{
	struct vcpu_times *t = &vcpu->times;
	uint64_t now = now_ns();
	int old = t->state;

	if (state == VT_RUN)
		t->ran = true;
	else if (!t->ran && (state == VT_KERN || state == VT_USER))
		state = VT_INIT;
	write_begin(t);
	if (t->since != 0)
		atomic_store_explicit(&t->spent[old],
		    t->spent[old] + (now - t->since), memory_order_relaxed);
	atomic_store_explicit(&t->since, now, memory_order_relaxed);
	atomic_store_explicit(&t->state, (int)state, memory_order_relaxed);
	write_end(t);
}

/* The present state turns out to be another one: no look at the clock. */
void
vcpu_time_rename(struct vcpu *vcpu, enum vcpu_time state)
{
	if (vcpu->times.ran)
		atomic_store_explicit(
		    &vcpu->times.state, (int)state, memory_order_relaxed);
}

/* The caller keeps the vCPU from running. */
void
vcpu_time_reset(struct vcpu *vcpu)
{
	struct vcpu_times *t = &vcpu->times;

	write_begin(t);
	for (int i = 0; i < VT_COUNT; i++)
		atomic_store(&t->spent[i], 0);
	atomic_store(&t->since, 0); /* the next run begins anew */
	atomic_store(&t->state, VT_INIT);
	t->ran = false;
	write_end(t);
}

/* Of one moment, in nanoseconds; returns their sum. */
uint64_t
vcpu_time_read(struct vcpu *vcpu, uint64_t spent[VT_COUNT])
{
	struct vcpu_times *t = &vcpu->times;
	uint64_t now, since, sum = 0;
	uint32_t seq;
	int state;

	for (;;) {
		seq = atomic_load_explicit(&t->seq, memory_order_acquire);
		for (int i = 0; i < VT_COUNT; i++)
			spent[i] = atomic_load_explicit(
			    &t->spent[i], memory_order_relaxed);
		since = atomic_load_explicit(&t->since, memory_order_relaxed);
		state = atomic_load_explicit(&t->state, memory_order_relaxed);
		now = now_ns();
		atomic_thread_fence(memory_order_acquire);
		if ((seq & 1) == 0 &&
		    atomic_load_explicit(&t->seq, memory_order_relaxed) == seq)
			break;
		sched_yield();
	}
	if (since != 0 && now > since)
		spent[state] += now - since;
	for (int i = 0; i < VT_COUNT; i++)
		sum += spent[i];
	return (sum);
}

/* What the vCPU's thread has waited for a host processor in its life. */
static uint64_t
thread_waited(struct vcpu *vcpu)
{
	unsigned long long ran, waited;
	char path[64], text[96];
	ssize_t n;
	int fd;

	if (atomic_load(&vcpu->tid) == 0)
		return (0);
	snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat",
	    atomic_load(&vcpu->tid));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return (0);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	if (sscanf(text, "%llu %llu", &ran, &waited) != 2)
		return (0);
	return (waited);
}

void
vcpu_time_begin(struct vcpu *vcpu)
{
	atomic_store(&vcpu->tid, gettid());
	vcpu->times.waited = thread_waited(vcpu);
	vcpu_time_enter(vcpu, VT_INIT);
}

/* Since it first ran the vCPU. */
uint64_t
vcpu_time_waited(struct vcpu *vcpu)
{
	uint64_t waited = thread_waited(vcpu);

	return (waited > vcpu->times.waited ? waited - vcpu->times.waited : 0);
}
