/*
 * Events into KVM: exceptions, NMI and the 8259's interrupts; and the watch
 * for a machine that is halted for good, which KVM does not tell of.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_local.h"

#define PSL_I 0x200u
#define HALT_PERIOD 500000000LL /* ns between two looks */

/* ---- exceptions and interrupted deliveries ---- */

/* What KVM is about to deliver, as an intinfo; 0: nothing. */
uint64_t
kvm_events_intinfo(const struct kvm_vcpu_events *ev)
{
	uint64_t info;

	if (ev->exception.injected) {
		info = VM_INTINFO_VALID | VM_INTINFO_HWEXCEPTION |
		    ev->exception.nr;
		if (ev->exception.has_error_code)
			info |= VM_INTINFO_DEL_ERRCODE |
			    (uint64_t)ev->exception.error_code << 32;
		return (info);
	}
	if (ev->nmi.injected)
		return (VM_INTINFO_VALID | VM_INTINFO_NMI | 2);
	if (ev->interrupt.injected)
		return (VM_INTINFO_VALID | ev->interrupt.nr |
		    (ev->interrupt.soft ? VM_INTINFO_SWINTR
					: VM_INTINFO_HWINTR));
	return (0);
}

static void
events_set_intinfo(struct kvm_vcpu_events *ev, uint64_t info)
{
	uint64_t type = info & VM_INTINFO_TYPE;
	uint8_t nr = VM_INTINFO_VECTOR(info);

	ev->exception.injected = ev->exception.pending = 0;
	ev->nmi.injected = ev->interrupt.injected = 0;
	ev->interrupt.soft = 0;
	if (type == VM_INTINFO_HWEXCEPTION) {
		ev->exception.injected = 1;
		ev->exception.nr = nr;
		ev->exception.has_error_code =
		    (info & VM_INTINFO_DEL_ERRCODE) != 0;
		ev->exception.error_code = (uint32_t)(info >> 32);
	} else if (type == VM_INTINFO_NMI) {
		ev->nmi.injected = 1;
	} else {
		ev->interrupt.injected = 1;
		ev->interrupt.nr = nr;
		ev->interrupt.soft = type == VM_INTINFO_SWINTR;
	}
}

static int
push_intinfo(struct kvm_vcpu *kc, uint64_t info)
{
	struct kvm_vcpu_events ev;

	if (KVM_IOCTL(kc->fd, KVM_GET_VCPU_EVENTS, &ev) < 0)
		return (errno);
	info = vmm_nested_fault(kvm_events_intinfo(&ev), info);
	if (info == 0)
		return (vmm_suspend(kc->kv->vm, VM_SUSPEND_TRIPLEFAULT,
			    kc->id) == EINVAL
			? EINVAL
			: 0);
	events_set_intinfo(&ev, info);
	/* Bits of flags say what else is to be set: nothing. */
	ev.flags = 0;
	if (KVM_IOCTL(kc->fd, KVM_SET_VCPU_EVENTS, &ev) < 0)
		return (errno);
	return (0);
}

/* ---- the 8259's interrupts ---- */

static int
push_extint(struct kvm_vcpu *kc)
{
	struct kvm_run *run = kc->run;
	struct kvm_interrupt intr;
	int vector;

	run->request_interrupt_window = 0;
	vector = kc->extint_held ? kc->extint : vmm_intr_pending(kc->vcpu);
	if (vector < 0)
		return (0);
	/* Both are KVM's word of the last exit. */
	if (!run->ready_for_interrupt_injection || !run->if_flag) {
		run->request_interrupt_window = 1;
		return (0);
	}
	if (!kc->extint_held)
		vmm_intr_accepted(kc->vcpu, vector);
	kc->extint_held = false;
	intr.irq = (uint32_t)vector;
	run->ready_for_interrupt_injection = 0;
	if (ioctl(kc->fd, KVM_INTERRUPT, &intr) == 0)
		return (0);
	if (errno != EEXIST) {
		vmm_log("KVM_INTERRUPT: %s", strerror(errno));
		return (errno);
	}
	/*
	 * A kick came before KVM could deliver the one before, of which it
	 * does not tell.  The 8259 has let go of this one: keep it.
	 */
	kc->extint = (uint8_t)vector;
	kc->extint_held = true;
	run->request_interrupt_window = 1;
	return (0);
}

/* ---- halt detection ---- */

/* Halted with interrupts off, or waiting for INIT or SIPI. */
static bool
is_deaf(struct kvm_vcpu *kc)
{
	struct kvm_mp_state mp;
	struct kvm_regs *regs;

	if (ioctl(kc->fd, KVM_GET_MP_STATE, &mp) < 0)
		return (false);
	if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED ||
	    mp.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		return (true);
	if (mp.mp_state != KVM_MP_STATE_HALTED)
		return (false);
	regs = kvm_regs(kc);
	return (regs != NULL && (regs->rflags & PSL_I) == 0 &&
	    !vmm_nmi_pending(kc->vcpu));
}

static void
look_at_halt(struct kvm_vcpu *kc)
{
	struct kvm_vm *kv = kc->kv;
	uint64_t deaf, want;

	if (!is_deaf(kc)) {
		atomic_fetch_and(&kv->deaf, ~(1ULL << kc->id));
		return;
	}
	deaf = atomic_fetch_or(&kv->deaf, 1ULL << kc->id) | 1ULL << kc->id;
	want = vmm_active_cpus(kv->vm);
	/*
	 * A deaf vCPU wakes by an NMI or a message of another one only: when
	 * all of them are, none ever will, unless a debugger holds one.
	 */
	if (want != 0 && (want & ~deaf) == 0 && vmm_debug_cpus(kv->vm) == 0)
		(void)vmm_suspend(kv->vm, VM_SUSPEND_HALT, -1);
}

/*
 * vCPUs that leave KVM now and then are not halted; where none of them does,
 * each is asked to look at itself.
 */
static void
halt_callout(void *arg)
{
	struct kvm_vm *kv = arg;
	struct kvm_vcpu *kc;
	bool quiet = true;
	uint64_t exits;

	pthread_mutex_lock(&kv->mtx);
	for (int i = 0; i < VM_MAXCPU; i++) {
		if ((kc = kv->vcpu[i]) == NULL)
			continue;
		exits = atomic_load(&kc->exits);
		if (exits != kc->exits_seen) {
			kc->exits_seen = exits;
			quiet = false;
		}
	}
	for (int i = 0; quiet && i < VM_MAXCPU; i++)
		if ((kc = kv->vcpu[i]) != NULL && atomic_load(&kc->in_run))
			vcpu_post(kc->vcpu, VCPU_EV_BACKEND);
	pthread_mutex_unlock(&kv->mtx);
	vmm_callout_reset(&kv->halt_callout, vmm_now(kv->vm) + HALT_PERIOD);
}

void
kvm_halt_init(struct kvm_vm *kv)
{
	vmm_callout_init(&kv->halt_callout, kv->vm, halt_callout, kv);
}

/* At the first KVM_RUN of the VM: before, time stands still. */
void
kvm_halt_start(struct kvm_vm *kv)
{
	if (!atomic_exchange(&kv->halt_watch, true))
		vmm_callout_reset(
		    &kv->halt_callout, vmm_now(kv->vm) + HALT_PERIOD);
}

void
kvm_halt_cleanup(struct kvm_vm *kv)
{
	vmm_callout_drain(&kv->halt_callout);
}

/* ---- before an entry ---- */

int
kvm_event_push(struct kvm_vcpu *kc)
{
	uint64_t info;
	uint32_t bits;
	int error = 0;

	/* Cleared first: what is posted from here on is seen again. */
	bits = atomic_fetch_and(
	    vcpu_pending(kc->vcpu), ~(VCPU_EV_EVENT | VCPU_EV_BACKEND));
	if ((bits & VCPU_EV_BACKEND) != 0)
		look_at_halt(kc);
	if ((bits & VCPU_EV_EVENT) == 0)
		return (0);
	atomic_fetch_and(&kc->kv->deaf, ~(1ULL << kc->id));
	if (vmm_entry_intinfo(kc->vcpu, &info))
		error = push_intinfo(kc, info);
	if (error == 0 && vmm_nmi_pending(kc->vcpu)) {
		vmm_nmi_clear(kc->vcpu);
		if (KVM_IOCTL(kc->fd, KVM_NMI, 0) < 0)
			error = errno;
	}
	if (error == 0)
		error = push_extint(kc);
	return (error);
}

/* ---- STI and MOV SS shadow, reset ---- */

int
kvm_get_shadow(struct kvm_vcpu *kc, uint64_t *val)
{
	struct kvm_vcpu_events ev;

	if (KVM_IOCTL(kc->fd, KVM_GET_VCPU_EVENTS, &ev) < 0)
		return (errno);
	*val = ev.interrupt.shadow != 0;
	return (0);
}

int
kvm_set_shadow(struct kvm_vcpu *kc, uint64_t val)
{
	struct kvm_vcpu_events ev;

	if (KVM_IOCTL(kc->fd, KVM_GET_VCPU_EVENTS, &ev) < 0)
		return (errno);
	if ((ev.interrupt.shadow != 0) == (val != 0))
		return (0);
	ev.interrupt.shadow = val != 0 ? KVM_X86_SHADOW_INT_STI : 0;
	ev.flags = KVM_VCPUEVENT_VALID_SHADOW;
	if (KVM_IOCTL(kc->fd, KVM_SET_VCPU_EVENTS, &ev) < 0)
		return (errno);
	return (0);
}

/* Nothing pending, nothing masked; APs wait for their SIPI. */
int
kvm_event_reset(struct kvm_vcpu *kc)
{
	struct kvm_vcpu_events ev;
	struct kvm_mp_state mp;

	memset(&ev, 0, sizeof(ev));
	ev.flags = KVM_VCPUEVENT_VALID_NMI_PENDING |
	    KVM_VCPUEVENT_VALID_SIPI_VECTOR | KVM_VCPUEVENT_VALID_SHADOW;
	if (KVM_IOCTL(kc->fd, KVM_SET_VCPU_EVENTS, &ev) < 0)
		return (errno);
	mp.mp_state =
	    kc->id == 0 ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED;
	if (KVM_IOCTL(kc->fd, KVM_SET_MP_STATE, &mp) < 0)
		return (errno);
	kc->run->request_interrupt_window = 0;
	kc->extint_held = false;
	atomic_fetch_and(&kc->kv->deaf, ~(1ULL << kc->id));
	return (0);
}
