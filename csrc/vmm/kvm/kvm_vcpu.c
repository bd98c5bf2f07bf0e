/*
 * A vCPU of KVM: KVM_RUN, and what its exits become.  Ports and memory of
 * the vmm's own chips are served here; other accesses leave one element at a
 * time and are finished by the next entry.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kvm_local.h"

#define NO_BASIC_REASON 0xffffu /* no exit reason of VT-x */
#define SETTLE_MAX 64		/* exits that one instruction may still make */
#define IDT_DB 1
#define IDT_BP 3

VMM_STAT_KVM(KVM_KICKS, "vm exits due to kicks");
VMM_STAT_KVM(KVM_MMIO_EXITS, "vm exits for mmio emulation");

void *
kvm_vcpu_init(void *vmi, struct vcpu *vcpu, int vcpuid)
{
	struct kvm_vm *kv = vmi;
	struct kvm_vcpu *kc;
	int error;

	kc = calloc(1, sizeof(*kc));
	if (kc == NULL)
		return (NULL);
	kc->kv = kv;
	kc->vcpu = vcpu;
	kc->id = vcpuid;
	kc->fd = KVM_IOCTL(kv->fd, KVM_CREATE_VCPU, vcpuid);
	if (kc->fd < 0)
		goto fail;
	kc->run = mmap(NULL, (size_t)kv->vcpu_run_size, PROT_READ | PROT_WRITE,
	    MAP_SHARED, kc->fd, 0);
	if (kc->run == MAP_FAILED) {
		error = errno;
		close(kc->fd);
		errno = error;
		goto fail;
	}
	kvm_stats_init(kc);
	if (kv->sync_regs)
		kc->run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	pthread_mutex_lock(&kv->mtx);
	kv->vcpu[vcpuid] = kc;
	pthread_mutex_unlock(&kv->mtx);
	return (kc);
fail:
	error = errno;
	free(kc);
	errno = error;
	return (NULL);
}

void
kvm_vcpu_cleanup(void *vcpui)
{
	struct kvm_vcpu *kc = vcpui;
	struct kvm_vm *kv = kc->kv;

	pthread_mutex_lock(&kv->mtx);
	kv->vcpu[kc->id] = NULL;
	pthread_mutex_unlock(&kv->mtx);
	kvm_soft_cleanup(kc);
	kvm_stats_cleanup(kc);
	munmap(kc->run, (size_t)kv->vcpu_run_size);
	close(kc->fd);
	free(kc);
}

/*
 * The flag stops a KVM_RUN that is about to begin, the signal one that goes
 * on.  The vCPU's thread clears the flag, then looks at what is pending.
 */
void
kvm_vcpu_kick(void *vcpui)
{
	struct kvm_vcpu *kc = vcpui;

	__atomic_store_n(&kc->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (atomic_load(&kc->in_run))
		syscall(SYS_tgkill, getpid(), atomic_load(&kc->tid),
		    kvm_kick_signal());
}

/* Once for each thread that runs the vCPU. */
static void
adopt_thread(struct kvm_vcpu *kc)
{
	static _Thread_local pid_t self;
	sigset_t set;

	if (self == 0) {
		self = (pid_t)syscall(SYS_gettid);
		sigemptyset(&set);
		sigaddset(&set, kvm_kick_signal());
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	}
	atomic_store(&kc->tid, self);
}

/* KVM_RUN; 0, or errno (EINTR: kicked). */
static int
run_kvm(struct kvm_vcpu *kc)
{
	int rc, error;

	error = kvm_regs_flush(kc);
	if (error != 0)
		return (error);
	rc = ioctl(kc->fd, KVM_RUN, 0);
	error = rc < 0 ? errno : 0;
	kc->ran = true;
	kc->unfinished = false;
	/* An error of the entry itself leaves the page as it was. */
	kvm_regs_forget(kc);
	return (error);
}

/* ---- accesses ---- */

static uint8_t *
io_element(struct kvm_vcpu *kc)
{
	struct kvm_run *run = kc->run;

	return ((uint8_t *)run + run->io.data_offset +
	    (size_t)kc->io_done * run->io.size);
}

static void
io_answer(struct kvm_vcpu *kc, uint32_t val)
{
	if (kc->run->io.direction == KVM_EXIT_IO_IN)
		memcpy(io_element(kc), &val, kc->run->io.size);
	kc->io_done++;
}

/* Serves elements until one is for user space: true, and *vme. */
static bool
exit_io(struct kvm_vcpu *kc, struct vm_exit *vme)
{
	struct kvm_run *run = kc->run;
	bool in = run->io.direction == KVM_EXIT_IO_IN;
	struct kvm_regs *regs;
	uint32_t val;

	while (kc->io_done < run->io.count) {
		val = 0;
		if (!in)
			memcpy(&val, io_element(kc), run->io.size);
		if (vmm_handle_inout(
			kc->vcpu, in, run->io.port, run->io.size, &val)) {
			io_answer(kc, val);
			continue;
		}
		regs = kvm_regs(kc);
		memset(vme, 0, sizeof(*vme));
		vme->exitcode = run->io.count > 1 ? VM_EXITCODE_INOUT_STR
						  : VM_EXITCODE_INOUT;
		vme->rip = regs != NULL ? regs->rip : 0;
		vme->u.inout.bytes = run->io.size;
		vme->u.inout.in = in;
		vme->u.inout.string = run->io.count > 1;
		vme->u.inout.rep = run->io.count > 1;
		vme->u.inout.port = run->io.port;
		vme->u.inout.eax = val;
		kc->owed = OWED_INOUT;
		return (true);
	}
	kc->unfinished = true;
	return (false);
}

static bool
exit_mmio(struct kvm_vcpu *kc, struct vm_exit *vme)
{
	struct kvm_run *run = kc->run;
	bool write = run->mmio.is_write != 0;
	uint64_t gpa = run->mmio.phys_addr, val = 0;
	int len = (int)run->mmio.len;
	struct kvm_regs *regs;

	vmm_stat_incr(kc->vcpu, KVM_MMIO_EXITS, 1);
	if (write)
		memcpy(&val, run->mmio.data, (size_t)len);
	if (vmm_handle_mmio(kc->vcpu, gpa, write, &val, len)) {
		if (!write)
			memcpy(run->mmio.data, &val, (size_t)len);
		kc->unfinished = true;
		return (false);
	}
	/* A write to ROM has no effect. */
	if (write &&
	    vmm_gpa2hva(kc->kv->vm, gpa, (size_t)len, VM_PROT_READ) != NULL) {
		kc->unfinished = true;
		return (false);
	}
	regs = kvm_regs(kc);
	memset(vme, 0, sizeof(*vme));
	vme->exitcode = VM_EXITCODE_MMIO;
	vme->rip = regs != NULL ? regs->rip : 0;
	vme->u.mmio.bytes = (uint8_t)len;
	vme->u.mmio.read = !write;
	vme->u.mmio.gpa = gpa;
	vme->u.mmio.data = val;
	kc->owed = OWED_MMIO;
	return (true);
}

/* What user space answered to the last exit. */
static void
entry_answer(struct kvm_vcpu *kc, const struct vm_entry *entry)
{
	struct kvm_run *run = kc->run;

	if (kc->owed == OWED_INOUT) {
		io_answer(kc, entry->u.inout.eax);
	} else if (kc->owed == OWED_MMIO) {
		if (!run->mmio.is_write)
			memcpy(
			    run->mmio.data, &entry->u.mmio.data, run->mmio.len);
		kc->unfinished = true;
	}
	kc->owed = OWED_NONE;
}

/*
 * Begin with what the caller says of the last exit.  True: *vme is an exit
 * already, the next element of a string or the same one again.
 */
static bool
entry_begin(struct kvm_vcpu *kc, const struct vm_entry *entry,
    struct vm_exit *vme, int *error)
{
	static const struct vm_entry ones = {
		.u.mmio.data = UINT64_MAX,
	};
	static const struct vm_entry ones_io = {
		.u.inout.eax = UINT32_MAX,
	};
	enum kvm_owed owed = kc->owed;

	if (owed == OWED_NONE)
		return (false);
	if (owed == OWED_SOFT && entry->cmd != VEC_DEFAULT)
		return (kvm_soft_resume(kc, entry, vme, error));
	if (entry->cmd == VEC_DISCARD_INSTR)
		/* The access is over; what it would have read is ones. */
		entry_answer(kc, owed == OWED_INOUT ? &ones_io : &ones);
	else if ((owed == OWED_INOUT && entry->cmd == VEC_FULFILL_INOUT) ||
	    (owed == OWED_MMIO && entry->cmd == VEC_FULFILL_MMIO))
		entry_answer(kc, entry);
	else {
		*vme = kc->owed_exit;
		return (true);
	}
	return (owed == OWED_INOUT && exit_io(kc, vme));
}

int
kvm_vcpu_settle(struct kvm_vcpu *kc)
{
	struct kvm_run *run = kc->run;
	int error = 0;

	for (int i = 0; i < SETTLE_MAX; i++) {
		/* An instruction of the software processor has not begun. */
		if (kc->owed == OWED_SOFT)
			kc->owed = OWED_NONE;
		if (kc->owed == OWED_INOUT)
			memset(io_element(kc), 0xff,
			    (size_t)run->io.size *
				(run->io.count - kc->io_done));
		else if (kc->owed == OWED_MMIO)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		else if (!kc->unfinished)
			break;
		kc->owed = OWED_NONE;
		__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		error = run_kvm(kc);
		if (error == EINTR || error == EAGAIN) {
			error = 0;
			break;
		}
		if (error != 0)
			break;
		/* The rest of the same access, or an exit that comes again. */
		kc->io_done = 0;
		if (run->exit_reason == KVM_EXIT_IO)
			kc->owed = OWED_INOUT;
		else if (run->exit_reason == KVM_EXIT_MMIO)
			kc->owed = OWED_MMIO;
		else
			break;
	}
	/* Whoever kicked meanwhile has set a bit that is looked at. */
	__atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	return (error);
}

/* ---- other exits ---- */

static bool
exit_debug(struct kvm_vcpu *kc, struct vm_exit *vme)
{
	const struct kvm_debug_exit_arch *d = &kc->run->debug.arch;
	struct kvm_regs *regs = kvm_regs(kc);

	memset(vme, 0, sizeof(*vme));
	vme->rip = regs != NULL ? regs->rip : d->pc;
	if (d->exception == IDT_BP) {
		vme->exitcode = VM_EXITCODE_BPT;
		vme->u.bpt.inst_length = 1;
	} else if (kc->cap_mtrap &&
	    ((kc->debug_dr7 & 0xff) == 0 || (d->dr6 & 0xf) == 0)) {
		vme->exitcode = VM_EXITCODE_MTRAP;
	} else {
		vme->exitcode = VM_EXITCODE_DB;
		vme->u.dbg.trace_trap = d->exception == IDT_DB;
		vme->u.dbg.drx_access = (int64_t)d->dr6 & 0xf;
	}
	return (true);
}

static bool
exit_unknown(struct kvm_vcpu *kc, struct vm_exit *vme)
{
	struct kvm_run *run = kc->run;
	struct kvm_regs *regs = kvm_regs(kc);

	vmm_stat_incr(kc->vcpu, VMEXIT_UNKNOWN, 1);
	memset(vme, 0, sizeof(*vme));
	vme->exitcode = x86_host_is_amd() ? VM_EXITCODE_SVM : VM_EXITCODE_VMX;
	vme->rip = regs != NULL ? regs->rip : 0;
	vme->u.vmx.status = run->exit_reason;
	/* Only the first two come with a reason of the processor's own. */
	vme->u.vmx.exit_reason = NO_BASIC_REASON;
	if (run->exit_reason == KVM_EXIT_FAIL_ENTRY) {
		vme->u.vmx.exit_qualification =
		    run->fail_entry.hardware_entry_failure_reason;
		vme->u.vmx.exit_reason =
		    (uint32_t)run->fail_entry.hardware_entry_failure_reason;
	} else if (run->exit_reason == KVM_EXIT_UNKNOWN) {
		vme->u.vmx.exit_reason = (uint32_t)run->hw.hardware_exit_reason;
	} else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
		vme->u.vmx.exit_qualification = run->internal.suberror;
	}
	return (true);
}

/* True: *vme is an exit.  False: go on, unless *error is set. */
static bool
handle_exit(struct kvm_vcpu *kc, struct vm_exit *vme, int *error)
{
	struct kvm_run *run = kc->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		vmm_stat_incr(kc->vcpu, VMEXIT_INOUT, 1);
		kc->io_done = 0;
		return (exit_io(kc, vme));
	case KVM_EXIT_MMIO:
		return (exit_mmio(kc, vme));
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		vmm_stat_incr(kc->vcpu, VMEXIT_INTR_WINDOW, 1);
		atomic_fetch_or(vcpu_pending(kc->vcpu), VCPU_EV_EVENT);
		return (false);
	case KVM_EXIT_IOAPIC_EOI:
		vioapic_process_eoi(kc->kv->vm, run->eoi.vector);
		return (false);
	case KVM_EXIT_X86_RDMSR:
	case KVM_EXIT_X86_WRMSR:
		return (kvm_exit_msr(kc, vme, error));
	case KVM_EXIT_DEBUG:
		return (exit_debug(kc, vme));
	case KVM_EXIT_SHUTDOWN:
		(void)vmm_suspend(kc->kv->vm, VM_SUSPEND_TRIPLEFAULT, kc->id);
		return (false);
	case KVM_EXIT_HLT:
		memset(vme, 0, sizeof(*vme));
		vme->exitcode = VM_EXITCODE_HLT;
		return (true);
	case KVM_EXIT_INTERNAL_ERROR:
		if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION) {
			vmm_stat_incr(kc->vcpu, VMEXIT_INST_EMUL, 1);
			return (kvm_soft_run(kc, vme, error));
		}
		return (exit_unknown(kc, vme));
	case KVM_EXIT_INTR:
	case KVM_EXIT_UNKNOWN:
		return (run->exit_reason == KVM_EXIT_UNKNOWN &&
		    exit_unknown(kc, vme));
	default:
		return (exit_unknown(kc, vme));
	}
}

/* The next KVM_RUN completes the access in hand and does no more. */
static void
only_finish(struct kvm_vcpu *kc)
{
	__atomic_store_n(&kc->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

/*
 * Single-stepping: an instruction that user space helped with is done, but
 * where KVM emulates the trap behind it may be missing.
 */
static bool
exit_stepped(struct kvm_vcpu *kc, struct vm_exit *vme)
{
	struct kvm_regs *regs = kvm_regs(kc);

	memset(vme, 0, sizeof(*vme));
	vme->exitcode = VM_EXITCODE_MTRAP;
	vme->rip = regs != NULL ? regs->rip : 0;
	return (true);
}

/*
 * Look at what is pending.  True: *vme is an exit.  An access in hand is
 * finished first, so that whoever looks at the vCPU next sees whole
 * instructions; that may bring an exit of its own, which goes first.  A vCPU
 * about to leave is given no event: what KVM has taken in hand but not
 * delivered does not show in its state.
 */
static bool
before_run(struct kvm_vcpu *kc, struct vm_exit *vme, int *error)
{
	struct kvm_regs *regs;
	uint32_t bits;

	bits = atomic_load(vcpu_pending(kc->vcpu));
	if ((bits & VCPU_EV_LEAVE) != 0) {
		if (kc->unfinished) {
			only_finish(kc);
			return (false);
		}
		regs = kvm_regs(kc);
		vmm_exit_pending(kc->vcpu, regs != NULL ? regs->rip : 0, vme);
		return (true);
	}
	if ((bits & (VCPU_EV_EVENT | VCPU_EV_BACKEND)) != 0)
		*error = kvm_event_push(kc);
	return (false);
}

/* KVM_RUN until there is an exit for the caller, or an error. */
static int
run_loop(struct kvm_vcpu *kc, struct vm_exit *vme)
{
	bool step;
	int error = 0;

	for (;;) {
		__atomic_store_n(&kc->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		if (before_run(kc, vme, &error))
			return (0);
		step = kc->cap_mtrap && kc->unfinished;
		if (step)
			only_finish(kc);
		if (error == 0)
			error = run_kvm(kc);
		switch (error) {
		case 0:
			atomic_fetch_add_explicit(
			    &kc->exits, 1, memory_order_relaxed);
			if (handle_exit(kc, vme, &error))
				return (0);
			if (error != 0)
				return (error);
			break;
		case EINTR:
			error = 0;
			if (step && exit_stepped(kc, vme))
				return (0);
			vmm_stat_incr(kc->vcpu, KVM_KICKS, 1);
			break;
		case EAGAIN: /* INIT or SIPI has come in */
			error = 0;
			break;
		default:
			return (error);
		}
		vmm_stat_incr(kc->vcpu, VMEXIT_COUNT, 1);
	}
}

int
kvm_vcpu_run(void *vcpui, const struct vm_entry *entry, struct vm_exit *vme)
{
	struct kvm_vcpu *kc = vcpui;
	bool retold = kc->owed == OWED_INOUT || kc->owed == OWED_MMIO;
	int error = 0;

	adopt_thread(kc);
	retold = retold && entry->cmd == VEC_DEFAULT;
	if (!kc->ran) {
		/* The topology and the x2APIC are settled by now. */
		if (kvm_cpuid_set(kc) != 0)
			return (errno);
		kvm_halt_start(kc->kv);
	}
	if (!entry_begin(kc, entry, vme, &error) && error == 0) {
		atomic_store(&kc->in_run, true);
		error = run_loop(kc, vme);
		atomic_store(&kc->in_run, false);
	}
	if (error == 0 && kc->owed != OWED_NONE && !retold) {
		kc->owed_exit = *vme;
		kc->located = false;
	}
	return (error);
}

/* Registers are the core's to reset; this is what they do not show. */
int
kvm_vcpu_reset(void *vcpui, bool init)
{
	static const uint8_t fpu[576] = {
		[0] = 0x40, /* FCW after RESET; INIT leaves the FPU alone */
		[24] = 0x80,
		[25] = 0x1f, /* MXCSR */
		[512] = 3,
	};
	struct kvm_vcpu *kc = vcpui;
	int error;

	error = kvm_vcpu_settle(kc);
	if (error == 0)
		error = kvm_regs_flush(kc);
	if (error == 0)
		error = kvm_event_reset(kc);
	if (error == 0)
		error = kvm_lapic_reset(kc, init);
	if (error == 0)
		error = kvm_msr_reset(kc, init);
	if (error == 0 && !init)
		error = kvm_setfpu(kc, fpu, sizeof(fpu));
	if (error == 0 && !init)
		error = kvm_setreg(kc, VM_REG_GUEST_XCR0, 1);
	return (error);
}
