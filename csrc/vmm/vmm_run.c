/*
 * Running a vCPU: the state machine around the processor's run(), HLT with
 * halt detection, waiting for SIPI, and the ways to stop: suspend and
 * debug (pause: vmm_pause.c).
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm_dev.h"
#include "vmm_local.h"

static uint64_t
clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec);
}

/* Counts what only the vCPU's own thread counts: no locked instruction. */
static void
count_own(struct vcpu *vcpu, int index, uint64_t n)
{
	_Atomic uint64_t *stat = &vcpu->stats[index];

	atomic_store_explicit(stat,
	    atomic_load_explicit(stat, memory_order_relaxed) + n,
	    memory_order_relaxed);
}

/* Exits that leave the processor; those that it serves itself it counts. */
static void
count_exit(struct vcpu *vcpu, uint32_t exitcode)
{
	count_own(vcpu, VMEXIT_COUNT_index, 1);
	switch (exitcode) {
	case VM_EXITCODE_HLT:
		count_own(vcpu, VMEXIT_HLT_index, 1);
		break;
	case VM_EXITCODE_PAUSE:
		count_own(vcpu, VMEXIT_PAUSE_index, 1);
		break;
	case VM_EXITCODE_MTRAP:
		count_own(vcpu, VMEXIT_MTRAP_index, 1);
		break;
	case VM_EXITCODE_BPT:
	case VM_EXITCODE_DB:
		count_own(vcpu, VMEXIT_EXCEPTION_index, 1);
		break;
	default:
		break;
	}
}

/* ---- suspend ---- */

int
vmm_suspend(struct vm *vm, enum vm_suspend_how how, int source)
{
	struct vcpu *vcpu;
	int none = VM_SUSPEND_NONE;

	if (how <= VM_SUSPEND_NONE || how >= VM_SUSPEND_LAST)
		return (EINVAL);
	/* The first reason stands. */
	if (!atomic_compare_exchange_strong(&vm->suspend, &none, (int)how))
		return (EALREADY);
	vm->suspend_source = source;
	vm->suspend_when = clock_ns(CLOCK_REALTIME);
	for (int i = 0; i < VM_MAXCPU; i++)
		if ((vcpu = vmm_vcpu(vm, i)) != NULL)
			vcpu_post(vcpu, VCPU_EV_SUSPEND);
	/* Those that stand in a pause. */
	pthread_mutex_lock(&vm->mtx);
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->mtx);
	return (0);
}

enum vm_suspend_how
vmm_suspended(struct vm *vm)
{
	return ((enum vm_suspend_how)atomic_load(&vm->suspend));
}

static void
exit_suspended(struct vcpu *vcpu, uint64_t rip, struct vm_exit *vme)
{
	struct vm *vm = vcpu->vm;

	memset(vme, 0, sizeof(*vme));
	vme->exitcode = VM_EXITCODE_SUSPENDED;
	vme->rip = rip;
	vme->u.suspended.how = (uint32_t)atomic_load(&vm->suspend);
	vme->u.suspended.source = vm->suspend_source;
	vme->u.suspended.when = vm->suspend_when;
	atomic_fetch_or(&vm->suspended_cpus, 1UL << vcpu->vcpuid);
}

static void
exit_simple(uint32_t exitcode, uint64_t rip, struct vm_exit *vme)
{
	memset(vme, 0, sizeof(*vme));
	vme->exitcode = exitcode;
	vme->rip = rip;
}

void
vmm_exit_pending(struct vcpu *vcpu, uint64_t rip, struct vm_exit *vme)
{
	uint32_t bits = atomic_load(&vcpu->pending);

	if (vmm_suspended(vcpu->vm) != VM_SUSPEND_NONE) {
		exit_suspended(vcpu, rip, vme);
	} else if ((bits & VCPU_EV_RENDEZVOUS) != 0) {
		exit_simple(VM_EXITCODE_RENDEZVOUS, rip, vme);
		vmm_stat_incr(vcpu, VMEXIT_RENDEZVOUS, 1);
	} else if ((bits & VCPU_EV_REQIDLE) != 0) {
		exit_simple(VM_EXITCODE_REQIDLE, rip, vme);
		vmm_stat_incr(vcpu, VMEXIT_REQIDLE, 1);
	} else if ((bits & VCPU_EV_DEBUG) != 0) {
		exit_simple(VM_EXITCODE_DEBUG, rip, vme);
	} else {
		exit_simple(VM_EXITCODE_BOGUS, rip, vme);
		vmm_stat_incr(vcpu, VMEXIT_ASTPENDING, 1);
	}
}

/* ---- sets of vCPUs, debug ---- */

int
vmm_activate_cpu(struct vcpu *vcpu)
{
	uint64_t bit = 1UL << vcpu->vcpuid;

	if ((atomic_fetch_or(&vcpu->vm->active_cpus, bit) & bit) != 0)
		return (EBUSY);
	return (0);
}

int
vmm_suspend_cpu(struct vm *vm, struct vcpu *vcpu)
{
	uint64_t active = atomic_load(&vm->active_cpus);
	struct vcpu *other;

	if (vcpu != NULL && (active & (1UL << vcpu->vcpuid)) == 0)
		return (EINVAL);
	for (int i = 0; i < VM_MAXCPU; i++) {
		other = vmm_vcpu(vm, i);
		if (other == NULL || (active & (1UL << i)) == 0 ||
		    (vcpu != NULL && other != vcpu))
			continue;
		atomic_fetch_or(&vm->debug_cpus, 1UL << i);
		vcpu_post(other, VCPU_EV_DEBUG);
	}
	return (0);
}

int
vmm_resume_cpu(struct vm *vm, struct vcpu *vcpu)
{
	struct vcpu *other;

	if (vcpu != NULL &&
	    (atomic_load(&vm->debug_cpus) & (1UL << vcpu->vcpuid)) == 0)
		return (EINVAL);
	for (int i = 0; i < VM_MAXCPU; i++) {
		other = vmm_vcpu(vm, i);
		if (other == NULL || (vcpu != NULL && other != vcpu))
			continue;
		atomic_fetch_and(&vm->debug_cpus, ~(1UL << i));
		atomic_fetch_and(&other->pending, ~VCPU_EV_DEBUG);
	}
	return (0);
}

vm_cpuset_t
vmm_active_cpus(struct vm *vm)
{
	return (atomic_load(&vm->active_cpus));
}

vm_cpuset_t
vmm_debug_cpus(struct vm *vm)
{
	return (atomic_load(&vm->debug_cpus));
}

vm_cpuset_t
vmm_suspended_cpus(struct vm *vm)
{
	return (atomic_load(&vm->suspended_cpus));
}

/* The instruction of the last exit runs again. */
int
vmm_restart_instruction(struct vcpu *vcpu)
{
	const struct vmm_ops *ops = vcpu->vm->ops;
	uint64_t rip = vcpu->exit_rip;
	int error;

	/* Inside run() the processor has not moved on yet. */
	if (vcpu_get_state(vcpu, NULL) == VCPU_RUNNING)
		return (0);
	/* The register says where the instruction is that user space sees. */
	if ((vcpu->exit_brief || rip == 0) &&
	    (error = ops->getreg(vcpu->cookie, VM_REG_GUEST_RIP, &rip)) != 0)
		return (error);
	return (ops->setreg(vcpu->cookie, VM_REG_GUEST_RIP, rip));
}

/* While the VM is paused its vCPUs are idle, free for any ioctl. */
static void
wait_resume(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	vcpu_time_enter(vcpu, VT_PAUSED);
	vmm_exit_owes(vcpu, false);
	vcpu_set_state(vcpu, VCPU_IDLE, false);
	pthread_mutex_lock(&vm->mtx);
	pthread_cond_broadcast(&vm->cond);
	while (atomic_load(&vm->paused) && vmm_suspended(vm) == VM_SUSPEND_NONE)
		pthread_cond_wait(&vm->cond, &vm->mtx);
	pthread_mutex_unlock(&vm->mtx);
	vcpu_set_state(vcpu, VCPU_FROZEN, true);
	vcpu_time_enter(vcpu, VT_KERN);
}

/* ---- HLT and the wait for SIPI ---- */

/*
 * A vCPU lies down where no interrupt can wake it.  When all that are active
 * do, nobody is left to wake them: the machine is halted.  One that a debugger
 * holds does not lie: it may wake the others when it is let go.
 */
static void
detect_halt(struct vm *vm)
{
	uint64_t want, halted;
	struct vcpu *vcpu;

	want = atomic_load(&vm->active_cpus);
	halted = atomic_load(&vm->halted_cpus);
	if (want == 0 || (want & ~halted) != 0 ||
	    atomic_load(&vm->debug_cpus) != 0)
		return;
	for (int i = 0; i < VM_MAXCPU; i++) {
		vcpu = vmm_vcpu(vm, i);
		if (vcpu == NULL || (want & (1UL << i)) == 0)
			continue;
		if (vmm_nmi_pending(vcpu) ||
		    (atomic_load(&vcpu->pending) & VCPU_EV_LEAVE) != 0 ||
		    (atomic_load(&vcpu->run_state) &
			(VRS_PEND_INIT | VRS_PEND_SIPI)) != 0)
			return;
	}
	vmm_suspend(vm, VM_SUSPEND_HALT, -1);
}

/*
 * Sleeps in HLT or for a SIPI (wait_sipi) until there is something to do:
 * bits of VCPU_EV_LEAVE, or an event that ends the HLT.
 */
static void
vcpu_sleep(struct vcpu *vcpu, bool wait_sipi)
{
	struct vm *vm = vcpu->vm;
	uint64_t bit = 1UL << vcpu->vcpuid;
	bool intr_enabled, deaf;
	uint32_t seq;

	vcpu_time_enter(vcpu, VT_IDLE);
	vcpu_set_state(vcpu, VCPU_SLEEPING, false);
	for (;;) {
		seq = atomic_load(&vcpu->wake_seq);
		if ((atomic_load(&vcpu->pending) & VCPU_EV_LEAVE) != 0)
			break;
		deaf = wait_sipi;
		if (!wait_sipi) {
			if (vmm_event_deliverable(vcpu, &intr_enabled)) {
				atomic_store(&vcpu->halted, false);
				break;
			}
			deaf = !intr_enabled;
		}
		/* At each turn: at the last one a debugger may have held a
		 * vCPU that it has let go since. */
		if (deaf) {
			atomic_fetch_or(&vm->halted_cpus, bit);
			detect_halt(vm);
		}
		if ((atomic_load(&vcpu->pending) & VCPU_EV_LEAVE) != 0)
			break;
		vcpu_wait_event(vcpu, seq);
	}
	atomic_fetch_and(&vm->halted_cpus, ~bit);
	vcpu_set_state(vcpu, VCPU_FROZEN, false);
	vcpu_time_enter(vcpu, VT_KERN);
}

/* ---- the run loop ---- */

static bool
waits_for_sipi(struct vcpu *vcpu)
{
	return (vmm_own_lapic(vcpu->vm) &&
	    (atomic_load(&vcpu->run_state) & VRS_RUN) == 0);
}

/*
 * What has to be done before the processor runs.  Returns true when *vme is
 * an exit for the caller.
 */
static bool
before_entry(struct vcpu *vcpu, struct vm_exit *vme, int *error)
{
	struct vm *vm = vcpu->vm;
	uint64_t rip = 0;
	uint32_t bits;

	for (;;) {
		bits = atomic_load(&vcpu->pending);
		if (vmm_suspended(vm) != VM_SUSPEND_NONE) {
			vmm_get_register(vcpu, VM_REG_GUEST_RIP, &rip);
			exit_suspended(vcpu, rip, vme);
			return (true);
		}
		if ((bits & VCPU_EV_RENDEZVOUS) != 0) {
			vmm_rendezvous_handle(vcpu);
		} else if ((bits & VCPU_EV_REQIDLE) != 0) {
			vcpu_yield(vcpu);
		} else if (atomic_load(&vm->paused)) {
			wait_resume(vcpu);
		} else if ((bits & VCPU_EV_INIT) != 0) {
			count_own(vcpu, VMEXIT_RUN_STATE_index, 1);
			if ((*error = vcpu_apply_run_state(vcpu)) != 0)
				return (false);
		} else if ((bits & VCPU_EV_DEBUG) != 0) {
			vmm_get_register(vcpu, VM_REG_GUEST_RIP, &rip);
			exit_simple(VM_EXITCODE_DEBUG, rip, vme);
			return (true);
		} else if (waits_for_sipi(vcpu)) {
			vcpu_sleep(vcpu, true);
		} else if (atomic_load(&vcpu->halted)) {
			vcpu_sleep(vcpu, false);
		} else {
			return (false);
		}
	}
}

static int
run_once(struct vcpu *vcpu, const struct vm_entry *entry, struct vm_exit *vme)
{
	int cpu, error;

	cpu = sched_getcpu();
	if (cpu != vcpu->lasthostcpu) {
		if (vcpu->lasthostcpu >= 0)
			vmm_stat_incr(vcpu, VCPU_MIGRATIONS, 1);
		vcpu->lasthostcpu = cpu;
		atomic_store(&vcpu->hostcpu, cpu);
	}
	vcpu_time_enter(vcpu, VT_RUN);
	vcpu_set_state(vcpu, VCPU_RUNNING, false);
	error = vcpu->vm->ops->run(vcpu->cookie, entry, vme);
	vcpu_set_state(vcpu, VCPU_FROZEN, false);
	vcpu_time_enter(vcpu, VT_KERN);
	return (error);
}

static bool
is_access(const struct vm_exit *vme)
{
	return (vme->exitcode == VM_EXITCODE_INOUT ||
	    vme->exitcode == VM_EXITCODE_INOUT_STR ||
	    vme->exitcode == VM_EXITCODE_MMIO);
}

/* An exit goes to the caller, who may not care where an access stands. */
static void
exit_to_user(struct vcpu *vcpu, struct vm_exit *vme, bool brief)
{
	const struct vmm_ops *ops = vcpu->vm->ops;

	vcpu->exit_brief = false;
	if (ops->locate != NULL && is_access(vme)) {
		if (brief)
			vcpu->exit_brief = true;
		else
			ops->locate(vcpu->cookie, vme);
	}
	/* What user space answers is not done before the answer is in. */
	vmm_exit_owes(vcpu,
	    is_access(vme) || vme->exitcode == VM_EXITCODE_RDMSR ||
		vme->exitcode == VM_EXITCODE_WRMSR);
	vcpu->exit_rip = vme->rip;
	vcpu_time_rename(vcpu, VT_USER);
	count_own(vcpu, VMEXIT_USERSPACE_index, 1);
}

int
vmm_run(struct vcpu *vcpu, const struct vm_entry *entry, struct vm_exit *vme)
{
	static const struct vm_entry default_entry;
	struct vm *vm = vcpu->vm;
	bool brief, done = false;
	int error;

	if ((atomic_load(&vm->active_cpus) & (1UL << vcpu->vcpuid)) == 0)
		return (EINVAL);
	if ((error = vmm_start(vm)) != 0)
		return (error);
	if (entry == NULL)
		entry = &default_entry;
	brief = (entry->flags & VEF_BRIEF) != 0;
	if (vcpu->times.since == 0)
		vcpu_time_begin(vcpu);
	vcpu_set_state(vcpu, VCPU_FROZEN, true);
	while (error == 0 && !done) {
		/* An answer to the last exit must reach the processor before
		 * anything else does; run() takes it, then looks around. */
		if (entry->cmd == VEC_DEFAULT &&
		    before_entry(vcpu, vme, &error))
			break;
		if (error != 0)
			break;
		error = run_once(vcpu, entry, vme);
		entry = &default_entry;
		if (error != 0)
			break;
		switch (vme->exitcode) {
		case VM_EXITCODE_SUSPENDED:
		case VM_EXITCODE_RENDEZVOUS:
		case VM_EXITCODE_REQIDLE:
		case VM_EXITCODE_DEBUG:
		case VM_EXITCODE_BOGUS:
			/* before_entry() knows what to do. */
			break;
		case VM_EXITCODE_HLT:
			count_exit(vcpu, vme->exitcode);
			atomic_store(&vcpu->halted, true);
			break;
		default:
			count_exit(vcpu, vme->exitcode);
			done = true;
		}
	}
	if (error == 0)
		exit_to_user(vcpu, vme, brief);
	vcpu_set_state(vcpu, VCPU_IDLE, false);
	vmm_pause_notice(vm);
	return (error);
}

int
vmm_run_vcpuid(struct vm *vm, int vcpuid, const struct vm_entry *entry,
    struct vm_exit *vme)
{
	struct vcpu *vcpu = vmm_alloc_vcpu(vm, vcpuid);

	if (vcpu == NULL)
		return (errno);
	return (vmm_run(vcpu, entry, vme));
}
