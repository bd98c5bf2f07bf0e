/*
 * Pause and resume.  A paused VM stands between instructions: an access that
 * a vCPU's thread is just serving is finished first, on both sides, so that
 * whoever saves the state now neither loses nor repeats it.
 */
#include <errno.h>
#include <time.h>

#include "vmm_local.h"

#define QUIET_WAIT 5000000000LL /* ns for accesses in user space to end */
#define QUIET_LOOK 1000000L	/* ns between two looks, if nobody wakes us */

/* Names a thread. */
static _Thread_local char self;

void
vmm_exit_owes(struct vcpu *vcpu, bool owes)
{
	vcpu->user_thread = &self;
	atomic_store(&vcpu->owes, owes);
}

/* A vCPU has come to rest, or leaves to user space. */
void
vmm_pause_notice(struct vm *vm)
{
	if (!atomic_load(&vm->paused))
		return;
	pthread_mutex_lock(&vm->mtx);
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->mtx);
}

/* Who serves an exit himself and pauses meanwhile knows what he does. */
static bool
vcpu_quiet(struct vcpu *vcpu)
{
	if (vcpu_get_state(vcpu, NULL) != VCPU_IDLE)
		return (false);
	return (!atomic_load(&vcpu->owes) || vcpu->user_thread == &self);
}

static int
busy_vcpu(struct vm *vm)
{
	struct vcpu *vcpu;

	for (int i = 0; i < VM_MAXCPU; i++)
		if ((vcpu = vmm_vcpu(vm, i)) != NULL && !vcpu_quiet(vcpu))
			return (i);
	return (-1);
}

static int64_t
clock_at(clockid_t id, struct timespec *ts)
{
	clock_gettime(id, ts);
	return ((int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec);
}

/* The vCPU that still works when the time is up, or -1. */
static int
wait_quiet(struct vm *vm)
{
	struct timespec ts;
	int64_t end;
	int busy;

	end = clock_at(CLOCK_MONOTONIC, &ts) + QUIET_WAIT;
	pthread_mutex_lock(&vm->mtx);
	while ((busy = busy_vcpu(vm)) >= 0 &&
	    vmm_suspended(vm) == VM_SUSPEND_NONE &&
	    clock_at(CLOCK_MONOTONIC, &ts) < end) {
		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += QUIET_LOOK;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_nsec -= 1000000000;
			ts.tv_sec++;
		}
		pthread_cond_timedwait(&vm->cond, &vm->mtx, &ts);
	}
	pthread_mutex_unlock(&vm->mtx);
	return (vmm_suspended(vm) != VM_SUSPEND_NONE ? -1 : busy);
}

static void
let_go(struct vm *vm)
{
	struct vcpu *vcpu;

	/* The bits first: none may stay without the flag. */
	for (int i = 0; i < VM_MAXCPU; i++)
		if ((vcpu = vmm_vcpu(vm, i)) != NULL)
			atomic_fetch_and(&vcpu->pending, ~VCPU_EV_PAUSE);
	pthread_mutex_lock(&vm->mtx);
	atomic_store(&vm->paused, false);
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->mtx);
}

/* No lock is held: vCPUs serve their accesses meanwhile. */
int
vmm_pause(struct vm *vm)
{
	struct vcpu *vcpu;
	int busy;

	if (atomic_exchange(&vm->paused, true))
		return (EALREADY);
	for (int i = 0; i < VM_MAXCPU; i++)
		if ((vcpu = vmm_vcpu(vm, i)) != NULL)
			vcpu_post(vcpu, VCPU_EV_PAUSE);
	busy = wait_quiet(vm);
	if (busy >= 0) {
		let_go(vm);
		vmm_set_error("vCPU %d does not come to rest: user space has "
			      "an access of it in hand",
		    busy);
		return (EBUSY);
	}
	pthread_mutex_lock(&vm->mtx);
	/* Somebody may have resumed meanwhile. */
	if (atomic_load(&vm->paused))
		vmm_time_stop(vm);
	pthread_mutex_unlock(&vm->mtx);
	return (0);
}

int
vmm_resume(struct vm *vm)
{
	if (!atomic_load(&vm->paused))
		return (EALREADY);
	if (vm->started)
		vmm_time_run(vm);
	let_go(vm);
	return (0);
}

bool
vmm_is_paused(struct vm *vm)
{
	return (atomic_load(&vm->paused));
}
