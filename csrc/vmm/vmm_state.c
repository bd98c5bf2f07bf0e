/*
 * States of a vCPU: who may touch it, how it is told of events, how it is
 * stopped, and what INIT and SIPI make of it.
 *
 * A vCPU belongs to the thread that moved it from IDLE to FROZEN.  Its own
 * thread goes on to RUNNING or SLEEPING and back; others set REQIDLE and
 * wait for IDLE, and go before the vCPU's thread when it wants to run again.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vmm_local.h"

/* The vCPU whose vmm_run() this thread is in. */
static _Thread_local struct vcpu *curvcpu;

static bool
transition_ok(enum vcpu_state from, enum vcpu_state to)
{
	switch (from) {
	case VCPU_IDLE:
	case VCPU_RUNNING:
	case VCPU_SLEEPING:
		return (to == VCPU_FROZEN);
	case VCPU_FROZEN:
		return (to != VCPU_FROZEN);
	}
	return (false);
}

static int
set_state_locked(struct vcpu *vcpu, enum vcpu_state state)
{
	if (!transition_ok(atomic_load(&vcpu->state), state))
		return (EBUSY);
	atomic_store_explicit(&vcpu->state, state, memory_order_release);
	if (state == VCPU_IDLE)
		pthread_cond_broadcast(&vcpu->cond);
	return (0);
}

/* Its own thread goes between FROZEN and RUNNING or SLEEPING; nobody waits
 * for these, so that the mutex is not needed. */
static int
set_state_own(struct vcpu *vcpu, enum vcpu_state state)
{
	if (!transition_ok(atomic_load(&vcpu->state), state))
		return (EBUSY);
	if (state == VCPU_FROZEN) {
		atomic_store_explicit(
		    &vcpu->state, state, memory_order_release);
		return (0);
	}
	if (state == VCPU_RUNNING)
		curvcpu = vcpu;
	/* Sequentially consistent: vcpu_post() sets bits, then looks here. */
	atomic_store(&vcpu->state, state);
	return (0);
}

/* However many tools ask, a vCPU runs this long between two interruptions. */
#define RUN_SLICE_NS 100000

static int64_t
monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec);
}

/* Those who wait now go before the vCPU's thread, later ones after it. */
static void
admit_lockers(struct vcpu *vcpu)
{
	vcpu->batch++;
	vcpu->late = 0;
}

/* The vCPU's thread takes it when all whom it admitted are done. */
static void
runner_take(struct vcpu *vcpu)
{
	while (vcpu->lockers > vcpu->late ||
	    atomic_load(&vcpu->state) != VCPU_IDLE)
		pthread_cond_wait(&vcpu->cond, &vcpu->mtx);
	set_state_locked(vcpu, VCPU_FROZEN);
	if (vcpu->lockers > 0) {
		vcpu->slice_end = monotonic() + RUN_SLICE_NS;
		pthread_cond_broadcast(&vcpu->cond);
	}
}

/* from_idle: wait until the vCPU is free (the vCPU's own thread). */
int
vcpu_set_state(struct vcpu *vcpu, enum vcpu_state state, bool from_idle)
{
	int error = 0;

	if (!from_idle && state != VCPU_IDLE)
		return (set_state_own(vcpu, state));
	pthread_mutex_lock(&vcpu->mtx);
	if (from_idle) {
		admit_lockers(vcpu);
		vcpu->runner = true;
		runner_take(vcpu);
	} else {
		error = set_state_locked(vcpu, state);
	}
	if (state == VCPU_IDLE && vcpu->runner) {
		vcpu->runner = false;
		admit_lockers(vcpu);
	}
	pthread_mutex_unlock(&vcpu->mtx);
	if (state == VCPU_IDLE && curvcpu == vcpu)
		curvcpu = NULL;
	return (error);
}

enum vcpu_state
vcpu_get_state(struct vcpu *vcpu, int *hostcpu)
{
	enum vcpu_state state = atomic_load(&vcpu->state);

	if (hostcpu != NULL)
		*hostcpu =
		    state == VCPU_RUNNING ? atomic_load(&vcpu->hostcpu) : -1;
	return (state);
}

/* The vCPU's thread lets those in who asked for it, then takes it back. */
void
vcpu_yield(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->mtx);
	atomic_fetch_and(&vcpu->pending, ~VCPU_EV_REQIDLE);
	admit_lockers(vcpu);
	set_state_locked(vcpu, VCPU_IDLE);
	runner_take(vcpu);
	vcpu->slice_end = monotonic() + RUN_SLICE_NS;
	pthread_mutex_unlock(&vcpu->mtx);
}

/* A locker waits for its turn; the vCPU is asked unless it was just now. */
static void
locker_wait(struct vcpu *vcpu)
{
	struct timespec ts;

	if (atomic_load(&vcpu->state) == VCPU_IDLE) {
		/* Its thread is about to take it, and will say so. */
		pthread_cond_wait(&vcpu->cond, &vcpu->mtx);
	} else if (monotonic() < vcpu->slice_end) {
		ts.tv_sec = vcpu->slice_end / 1000000000;
		ts.tv_nsec = vcpu->slice_end % 1000000000;
		pthread_cond_timedwait(&vcpu->cond, &vcpu->mtx, &ts);
	} else {
		vcpu_post(vcpu, VCPU_EV_REQIDLE);
		pthread_cond_wait(&vcpu->cond, &vcpu->mtx);
	}
}

int
vcpu_lock_one(struct vcpu *vcpu)
{
	uint64_t batch;

	if (curvcpu == vcpu)
		return (EDEADLK);
	pthread_mutex_lock(&vcpu->mtx);
	batch = vcpu->batch;
	vcpu->lockers++;
	if (vcpu->runner)
		vcpu->late++;
	while (atomic_load(&vcpu->state) != VCPU_IDLE ||
	    (vcpu->runner && batch == vcpu->batch))
		locker_wait(vcpu);
	vcpu->lockers--;
	set_state_locked(vcpu, VCPU_FROZEN);
	pthread_mutex_unlock(&vcpu->mtx);
	return (0);
}

/* Not by the vCPU's own thread: that one sets IDLE. */
void
vcpu_unlock_one(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->mtx);
	set_state_locked(vcpu, VCPU_IDLE);
	pthread_mutex_unlock(&vcpu->mtx);
}

/* In ascending order, so that two callers never wait for each other. */
int
vcpu_lock_all(struct vm *vm)
{
	struct vcpu *vcpu;
	int error;

	for (int i = 0; i < VM_MAXCPU; i++) {
		if ((vcpu = vmm_vcpu(vm, i)) == NULL)
			continue;
		if ((error = vcpu_lock_one(vcpu)) == 0)
			continue;
		while (--i >= 0)
			if ((vcpu = vmm_vcpu(vm, i)) != NULL)
				vcpu_unlock_one(vcpu);
		return (error);
	}
	return (0);
}

void
vcpu_unlock_all(struct vm *vm)
{
	struct vcpu *vcpu;

	for (int i = 0; i < VM_MAXCPU; i++)
		if ((vcpu = vmm_vcpu(vm, i)) != NULL)
			vcpu_unlock_one(vcpu);
}

/* ---- notification ---- */

_Atomic uint32_t *
vcpu_pending(struct vcpu *vcpu)
{
	return (&vcpu->pending);
}

static void
vcpu_wake(struct vcpu *vcpu)
{
	atomic_fetch_add(&vcpu->wake_seq, 1);
	syscall(SYS_futex, &vcpu->wake_seq, FUTEX_WAKE_PRIVATE, INT_MAX, NULL,
	    NULL, 0);
}

/* Sleeps until something is posted after wake_seq was seq. */
void
vcpu_wait_event(struct vcpu *vcpu, uint32_t seq)
{
	syscall(
	    SYS_futex, &vcpu->wake_seq, FUTEX_WAIT_PRIVATE, seq, NULL, NULL, 0);
}

void
vcpu_post(struct vcpu *vcpu, uint32_t bits)
{
	uint32_t old;

	old = atomic_fetch_or(&vcpu->pending, bits);
	switch (atomic_load(&vcpu->state)) {
	case VCPU_RUNNING:
		/* A bit that is still set was kicked for already. */
		if ((old & bits) != bits && curvcpu != vcpu)
			vcpu->vm->ops->kick(vcpu->cookie);
		break;
	case VCPU_SLEEPING:
		vcpu_wake(vcpu);
		break;
	default:
		break;
	}
}

void
vcpu_notify_event(struct vcpu *vcpu, bool lapic_intr)
{
	(void)lapic_intr;
	vcpu_post(vcpu, VCPU_EV_EVENT);
}

/* ---- rendezvous ---- */

static void
rendezvous_done(struct vm *vm, int vcpuid)
{
	vm->rdv_todo &= ~(1UL << vcpuid);
	if (vm->rdv_todo == 0)
		pthread_cond_broadcast(&vm->cond);
}

void
vmm_rendezvous_handle(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	pthread_mutex_lock(&vm->mtx);
	atomic_fetch_and(&vcpu->pending, ~VCPU_EV_RENDEZVOUS);
	if ((vm->rdv_todo & (1UL << vcpu->vcpuid)) != 0) {
		vm->rdv_func(vcpu, vm->rdv_arg);
		rendezvous_done(vm, vcpu->vcpuid);
	}
	pthread_mutex_unlock(&vm->mtx);
}

/* vCPUs that nobody runs cannot come themselves. */
static void
rendezvous_idle(struct vm *vm)
{
	struct vcpu *vcpu;

	for (int i = 0; i < VM_MAXCPU; i++) {
		if ((vm->rdv_todo & (1UL << i)) == 0 ||
		    (vcpu = vmm_vcpu(vm, i)) == NULL)
			continue;
		pthread_mutex_lock(&vcpu->mtx);
		if (atomic_load(&vcpu->state) == VCPU_IDLE) {
			vm->rdv_func(vcpu, vm->rdv_arg);
			rendezvous_done(vm, i);
		}
		pthread_mutex_unlock(&vcpu->mtx);
	}
}

int
vmm_smp_rendezvous(
    struct vm *vm, vm_cpuset_t dest, vm_rendezvous_func_t func, void *arg)
{
	struct vcpu *self = curvcpu, *vcpu;
	struct timespec ts;

	if (self != NULL && self->vm != vm)
		self = NULL;
	pthread_mutex_lock(&vm->mtx);
	while (vm->rdv_todo != 0) {
		/* Take part in the one in progress: it waits for us. */
		if (self != NULL &&
		    (vm->rdv_todo & (1UL << self->vcpuid)) != 0) {
			vm->rdv_func(self, vm->rdv_arg);
			rendezvous_done(vm, self->vcpuid);
			continue;
		}
		pthread_cond_wait(&vm->cond, &vm->mtx);
	}
	vm->rdv_func = func;
	vm->rdv_arg = arg;
	for (int i = 0; i < VM_MAXCPU; i++) {
		if ((dest & (1UL << i)) == 0 ||
		    (vcpu = vmm_vcpu(vm, i)) == NULL)
			continue;
		if (vcpu == self) {
			func(vcpu, arg);
			continue;
		}
		vm->rdv_todo |= 1UL << i;
		vcpu_post(vcpu, VCPU_EV_RENDEZVOUS);
	}
	for (;;) {
		rendezvous_idle(vm);
		if (vm->rdv_todo == 0)
			break;
		/* Short, for a vCPU may leave to user space meanwhile. */
		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += 500000;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_nsec -= 1000000000;
			ts.tv_sec++;
		}
		pthread_cond_timedwait(&vm->cond, &vm->mtx, &ts);
	}
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->mtx);
	return (0);
}

/* ---- INIT and SIPI ---- */

void
vcpu_init_run_state(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->mtx);
	atomic_store(&vcpu->run_state, vcpu->vcpuid == 0 ? VRS_RUN : VRS_INIT);
	vcpu->sipi_vector = 0;
	pthread_mutex_unlock(&vcpu->mtx);
}

uint32_t
vcpu_run_state(struct vcpu *vcpu, uint8_t *sipi_vector)
{
	uint32_t state;

	pthread_mutex_lock(&vcpu->mtx);
	state = atomic_load(&vcpu->run_state);
	if (sipi_vector != NULL)
		*sipi_vector = vcpu->sipi_vector;
	pthread_mutex_unlock(&vcpu->mtx);
	return (state);
}

int
vcpu_set_run_state(struct vcpu *vcpu, uint32_t state, uint8_t vector)
{
	if ((state & ~(VRS_INIT | VRS_RUN | VRS_PEND_INIT | VRS_PEND_SIPI)) !=
	    0)
		return (EINVAL);
	pthread_mutex_lock(&vcpu->mtx);
	atomic_store(&vcpu->run_state, state);
	vcpu->sipi_vector = vector;
	pthread_mutex_unlock(&vcpu->mtx);
	vcpu_post(vcpu, VCPU_EV_INIT);
	return (0);
}

void
vcpu_post_init(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->mtx);
	/* A SIPI that came before this INIT is void. */
	atomic_store(&vcpu->run_state,
	    (atomic_load(&vcpu->run_state) & ~VRS_PEND_SIPI) | VRS_PEND_INIT);
	pthread_mutex_unlock(&vcpu->mtx);
	vcpu_post(vcpu, VCPU_EV_INIT);
}

void
vcpu_post_sipi(struct vcpu *vcpu, uint8_t vector)
{
	uint32_t state;
	bool post;

	pthread_mutex_lock(&vcpu->mtx);
	state = atomic_load(&vcpu->run_state);
	/* Only a processor that waits for it takes a SIPI. */
	post = (state & VRS_PEND_INIT) != 0 ||
	    (state & (VRS_RUN | VRS_INIT)) == VRS_INIT;
	if (post && (state & VRS_PEND_SIPI) == 0) {
		vcpu->sipi_vector = vector;
		atomic_store(&vcpu->run_state, state | VRS_PEND_SIPI);
	}
	pthread_mutex_unlock(&vcpu->mtx);
	if (post)
		vcpu_post(vcpu, VCPU_EV_INIT);
}

static int
vcpu_start_at(struct vcpu *vcpu, uint8_t vector)
{
	struct seg_desc cs = { (uint64_t)vector << 12, 0xffff, 0x93 };
	int error;

	error = vmm_set_seg_desc(vcpu, VM_REG_GUEST_CS, &cs);
	if (error == 0)
		error = vmm_set_register(
		    vcpu, VM_REG_GUEST_CS, (uint64_t)vector << 8);
	if (error == 0)
		error = vmm_set_register(vcpu, VM_REG_GUEST_RIP, 0);
	return (error);
}

int
vcpu_apply_run_state(struct vcpu *vcpu)
{
	uint32_t state;
	uint8_t vector;
	int error = 0;

	atomic_fetch_and(&vcpu->pending, ~VCPU_EV_INIT);
	pthread_mutex_lock(&vcpu->mtx);
	state = atomic_load(&vcpu->run_state);
	vector = vcpu->sipi_vector;
	if ((state & VRS_PEND_INIT) != 0)
		/* The bootstrap processor starts again by itself. */
		atomic_store(&vcpu->run_state,
		    (state & VRS_PEND_SIPI) |
			(vcpu->vcpuid == 0 ? VRS_RUN : VRS_INIT));
	pthread_mutex_unlock(&vcpu->mtx);
	if ((state & VRS_PEND_INIT) != 0)
		error = vmm_vcpu_reset(vcpu, true);
	if (error != 0 || (state & VRS_PEND_SIPI) == 0)
		return (error);

	pthread_mutex_lock(&vcpu->mtx);
	state = atomic_load(&vcpu->run_state);
	atomic_store(
	    &vcpu->run_state, (state & ~(VRS_PEND_SIPI | VRS_INIT)) | VRS_RUN);
	pthread_mutex_unlock(&vcpu->mtx);
	if ((state & (VRS_RUN | VRS_INIT)) == VRS_INIT)
		error = vcpu_start_at(vcpu, vector);
	return (error);
}
