/*
 * The loop of a software vCPU: events between blocks, running blocks, and
 * what happens when a chain of blocks has unwound: faults, exits, HLT,
 * single-step and debug traps.
 *
 * An instruction that reaches a device runs alone ("careful"): its accesses
 * are noted in cpu->io[].  When user space has to answer one, the
 * instruction stops without an effect; the next run() executes it again and
 * takes what is noted instead of touching devices twice.
 */
#include <string.h>

#include "soft_core_local.h"
#include "soft_goto.h"
#include "vmm_stat.h"

#define DR6_BS_ 0x4000u

/* ---- what handlers call ---- */

static bool
has_error_code(int vector)
{
	return (vector < 32 && (0x00227d00u >> vector & 1) != 0);
}

void
soft_raise_err(struct softcpu *cpu, int vector, uint32_t err)
{
	cpu->exc_vector = (uint8_t)vector;
	cpu->exc_errvalid = has_error_code(vector);
	cpu->exc_err = err;
	cpu->stop = STOP_FAULT;
}

void
soft_raise(struct softcpu *cpu, int vector)
{
	soft_raise_err(cpu, vector, 0);
}

void
soft_fault_err(
    struct softcpu *cpu, const struct insn *in, int vector, uint32_t err)
{
	cpu->rip = soft_rip(cpu, in);
	soft_raise_err(cpu, vector, err);
}

void
soft_fault(struct softcpu *cpu, const struct insn *in, int vector)
{
	soft_fault_err(cpu, in, vector, 0);
}

void
soft_end(struct softcpu *cpu, const struct insn *in)
{
	cpu->rip = soft_rip_next(cpu, in);
	if (decode_unblocks(in->op))
		cpu->recheck = true;
}

/* ---- delivering events ---- */

static uint64_t
raised_info(const struct softcpu *cpu)
{
	uint64_t info;

	info = VM_INTINFO_VALID | VM_INTINFO_HWEXCEPTION | cpu->exc_vector;
	if (cpu->exc_errvalid)
		info |= VM_INTINFO_DEL_ERRCODE | (uint64_t)cpu->exc_err << 32;
	return (info);
}

static bool
triple_fault(struct softcpu *cpu)
{
	cpu->event_now = 0;
	vmm_suspend(cpu->vm, VM_SUSPEND_TRIPLEFAULT, cpu->vcpuid);
	vmm_exit_pending(cpu->vcpu, cpu->rip, cpu->vme);
	return (true);
}

bool
soft_inject(struct softcpu *cpu, uint64_t info)
{
	/* Each round climbs: benign, contributory, double, triple fault. */
	for (int round = 0; round < 8; round++) {
		cpu->event_now = info;
		cpu->stop = STOP_NONE;
		if (soft_deliver(cpu, info, false)) {
			cpu->event_now = 0;
			cpu->stop = STOP_NONE;
			return (false);
		}
		if (cpu->stop != STOP_FAULT) {
			/* No fault of its own: it is delivered later. */
			vmm_exit_intinfo(cpu->vcpu, info);
			cpu->event_now = 0;
			return (cpu->stop == STOP_EXIT);
		}
		info = vmm_nested_fault(info, raised_info(cpu));
		if ((info & VM_INTINFO_VALID) == 0)
			break;
	}
	return (triple_fault(cpu));
}

/* #DB for the traps that the last instruction left. */
bool
soft_db_trap(struct softcpu *cpu)
{
	soft_take_traps(cpu);
	return (
	    soft_inject(cpu, VM_INTINFO_VALID | VM_INTINFO_HWEXCEPTION | X_DB));
}

static bool
intr_open(const struct softcpu *cpu)
{
	return ((cpu->rfl & FL_IF) != 0 && cpu->intr_shadow == 0 &&
	    !(cpu->caps & (1u << VM_CAP_MASK_HWINTR)));
}

/*
 * Take the first event that may be taken now.  *took says that one was;
 * returns true to leave the loop.
 */
static bool
soft_events(struct softcpu *cpu, bool *took)
{
	struct soft_core *co = cpu->core;
	uint64_t info;
	bool nmi_waited;
	int vector;

	*took = false;
	/* An instruction half-way done with its devices goes on first; one that
	 * is to restart is not half-way any more. */
	if (cpu->io_count != 0)
		return (false);
	if (vmm_entry_intinfo(cpu->vcpu, &info)) {
		*took = true;
		return (soft_inject(cpu, info));
	}
	co->ev_pending = false;
	nmi_waited = co->nmi_wait;
	co->nmi_wait = vmm_nmi_pending(cpu->vcpu);
	if (co->nmi_wait && !cpu->nmi_blocked && cpu->intr_shadow == 0) {
		co->ev_pending = true;
		if (nmi_waited)
			vmm_stat_inside(cpu->vcpu, VMEXIT_NMI_WINDOW);
		vmm_nmi_clear(cpu->vcpu);
		*took = true;
		return (soft_inject(
		    cpu, VM_INTINFO_VALID | VM_INTINFO_NMI | X_NMI));
	}
	co->intr_wait = true;
	if (!intr_open(cpu)) {
		if (!co->intr_shut)
			co->intr_shut = vmm_intr_pending(cpu->vcpu) >= 0;
		return (false);
	}
	cpu->recheck = false;
	vector = vmm_intr_pending(cpu->vcpu);
	if (co->intr_shut && vector >= 0)
		vmm_stat_inside(cpu->vcpu, VMEXIT_INTR_WINDOW);
	co->intr_shut = false;
	if (vector < 0) {
		co->intr_wait = false;
		return (false);
	}
	vmm_intr_accepted(cpu->vcpu, vector);
	*took = true;
	return (soft_inject(
	    cpu, VM_INTINFO_VALID | VM_INTINFO_HWINTR | (uint64_t)vector));
}

static bool
events_due(const struct softcpu *cpu)
{
	const struct soft_core *co = cpu->core;

	if (likely(!co->ev_pending && !co->intr_wait && !co->nmi_wait &&
		!cpu->recheck))
		return (false);
	if (co->ev_pending)
		return (true);
	if ((co->intr_wait || cpu->recheck) && intr_open(cpu))
		return (true);
	return (co->nmi_wait && !cpu->nmi_blocked && cpu->intr_shadow == 0);
}

/* ---- when the chain has unwound ---- */

static bool
exit_hlt(struct softcpu *cpu)
{
	struct vm_exit *vme = cpu->vme;

	memset(vme, 0, sizeof(*vme));
	vme->exitcode = VM_EXITCODE_HLT;
	vme->rip = cpu->rip;
	vme->u.hlt.rflags = soft_get_rflags(cpu);
	return (true);
}

static bool
exit_step(struct softcpu *cpu, uint32_t code)
{
	struct vm_exit *vme = cpu->vme;

	memset(vme, 0, sizeof(*vme));
	vme->exitcode = code;
	vme->rip = cpu->rip;
	if (code == VM_EXITCODE_DB)
		vme->u.dbg.trace_trap = 1;
	return (true);
}

static bool
soft_stopped(struct softcpu *cpu)
{
	while (unlikely(cpu->core->lock_depth > 0))
		soft_lock_end(cpu);
	switch (cpu->stop) {
	case STOP_FAULT:
		cpu->dr6_pending = 0;
		return (soft_inject(cpu, raised_info(cpu)));
	case STOP_EXIT:
		cpu->core->io_rip = cpu->rip;
		if (cpu->vme->inst_length > 0)
			cpu->core->exit_len = (uint8_t)cpu->vme->inst_length;
		return (true);
	case STOP_HLT:
		/* A trap of HLT itself ends it. */
		return (cpu->dr6_pending == 0 ? exit_hlt(cpu) : false);
	case STOP_SHUTDOWN:
		return (triple_fault(cpu));
	default:
		return (false);
	}
}

/* The block at rip; NULL with cpu->stop set. */
static struct block *
soft_lookup(struct softcpu *cpu)
{
	struct jcent *j;
	uint64_t lin;

	if (!(cpu->mode & MODE_64))
		cpu->rip = (uint32_t)cpu->rip;
	lin = cpu->csbase + cpu->rip;
	j = soft_jc(cpu, lin);
	if (j->tag == (lin ^ cpu->modekey) && !j->blk->dead)
		return (j->blk);
	if (!(cpu->mode & MODE_64))
		lin = (uint32_t)lin;
	return (block_find(cpu, lin));
}

static void
soft_execute(struct softcpu *cpu, struct block *b)
{
	cpu->blk = b;
	cpu->gpr[R_BLOCK] = cpu->csbase + cpu->rip;
	b->insn[0].op(cpu, &b->insn[0]);
}

/* After an instruction run alone: which traps it leaves, what to forget. */
static bool
one_done(struct softcpu *cpu, bool tf, bool trap)
{
	soft_io_commit(cpu);
	if (tf && trap && cpu->intr_shadow != 2)
		cpu->dr6_pending |= DR6_BS_;
	if (soft_stopped(cpu))
		return (true);
	if (cpu->core->debug_hits != 0)
		return (soft_exit_debug(cpu));
	if (cpu->caps & (1u << VM_CAP_RFLAGS_TF))
		return (exit_step(cpu, VM_EXITCODE_DB));
	if (cpu->caps & (1u << VM_CAP_MTRAP_EXIT))
		return (exit_step(cpu, VM_EXITCODE_MTRAP));
	return (false);
}

bool
soft_run_one(struct softcpu *cpu)
{
	const uint8_t shadow = cpu->intr_shadow;
	const uint32_t rf = cpu->rfl & FL_RF;
	const bool tf = (cpu->rfl & FL_TF) != 0;
	struct block *b = NULL;
	bool trap = true;

	soft_set_step(cpu, true);
	cpu->core->want_step = false;
	cpu->io_next = 0;
	cpu->stop = STOP_NONE;
	cpu->core->debug_hits = 0;
	if (!cpu->dr7_active || rf != 0 || cpu->io_count != 0 ||
	    !soft_check_code_bp(cpu, cpu->csbase + cpu->rip)) {
		cpu->rfl &= ~FL_RF;
		b = soft_lookup(cpu);
	}
	if (b != NULL) {
		trap = !b->notrap;
		cpu->intr_shadow = 0;
		soft_execute(cpu, b);
	}
	soft_set_step(cpu, false);
	switch (cpu->stop) {
	case STOP_NONE:
	case STOP_HLT:
		return (one_done(cpu, tf, trap));
	case STOP_EXIT:
	case STOP_RETRY:
		cpu->intr_shadow = shadow;
		cpu->rfl |= rf;
		return (soft_stopped(cpu));
	default:
		cpu->intr_shadow = 0;
		soft_io_commit(cpu);
		return (soft_stopped(cpu));
	}
}

static bool
careful(const struct softcpu *cpu)
{
	return (cpu->intr_shadow != 0 || cpu->core->want_step ||
	    cpu->io_count != 0 || (cpu->mode & MODE_TF) != 0 ||
	    (cpu->caps & (1u << VM_CAP_MTRAP_EXIT | 1u << VM_CAP_RFLAGS_TF)) !=
		0);
}

/*
 * An instruction whose access is answered goes on first: whoever looks at the
 * vCPU next sees it done, and the access does not happen again.
 */
static bool
half_done(const struct softcpu *cpu)
{
	return (cpu->io_count != 0 && cpu->io[cpu->io_count - 1].done);
}

/* One turn of the loop; true: *cpu->vme is filled. */
static bool
soft_turn(struct softcpu *cpu)
{
	uint32_t pend;
	struct block *b;
	bool took;

	pend = atomic_load_explicit(cpu->pending, memory_order_relaxed);
	if (unlikely(pend != 0)) {
		if (pend & VCPU_EV_BACKEND)
			req_serve(cpu);
		if (pend & VCPU_EV_EVENT) {
			atomic_fetch_and(cpu->pending, ~VCPU_EV_EVENT);
			cpu->core->ev_pending = true;
		}
		if ((pend & VCPU_EV_LEAVE) && !half_done(cpu)) {
			vmm_exit_pending(cpu->vcpu, cpu->rip, cpu->vme);
			return (true);
		}
	}
	if (unlikely(cpu->dr6_pending != 0) && cpu->intr_shadow != 2)
		return (soft_db_trap(cpu));
	if (unlikely(events_due(cpu))) {
		if (soft_events(cpu, &took))
			return (true);
		if (took)
			return (false);
	}
	if (unlikely(careful(cpu)))
		return (soft_run_one(cpu));
	cpu->rfl &= ~FL_RF;
	cpu->stop = STOP_NONE;
	b = soft_lookup(cpu);
	if (likely(b != NULL))
		soft_execute(cpu, b);
	if (likely(cpu->stop == STOP_NONE))
		return (false);
	return (soft_stopped(cpu));
}

/*
 * How the last exit is answered.  An access that user space completes is
 * marked done; the instruction then runs again.
 */
void
soft_entry_cmd(struct softcpu *cpu, const struct vm_entry *entry)
{
	struct soft_io *io;
	bool open;

	if (cpu->io_count != 0 && cpu->core->io_rip != cpu->rip)
		soft_io_commit(cpu); /* somebody moved rip */
	io = cpu->io_count != 0 ? &cpu->io[cpu->io_count - 1] : NULL;
	open = io != NULL && !io->done;
	switch (entry->cmd) {
	case VEC_FULFILL_MMIO:
		if (open && !io->port) {
			if (!io->write)
				io->data = entry->u.mmio.data;
			io->done = true;
		}
		break;
	case VEC_FULFILL_INOUT:
		if (open && io->port) {
			if (!io->write)
				io->data = entry->u.inout.eax;
			io->done = true;
		}
		break;
	case VEC_DISCARD_INSTR:
		soft_io_commit(cpu);
		cpu->rip += cpu->core->exit_len;
		if (!(cpu->mode & MODE_64))
			cpu->rip = (uint32_t)cpu->rip;
		cpu->core->exit_len = 0;
		cpu->intr_shadow = 0;
		break;
	default:
		if (open)
			cpu->io_count--; /* the access is asked again */
		break;
	}
}

int
soft_run(void *vcpui, const struct vm_entry *entry, struct vm_exit *vme)
{
	struct softcpu *cpu = vcpui;

	cpu->vme = vme;
	if (unlikely(!cpu->core->jit_asked))
		jit_init(cpu);
	req_enter(cpu);
	soft_fpu_enter(cpu);
	soft_entry_cmd(cpu, entry);
	soft_mode_update(cpu);
	cpu->core->ev_pending = true;
	while (!soft_turn(cpu))
		continue;
	soft_fpu_leave(cpu);
	req_leave(cpu);
	soft_stat_fold(cpu);
	return (0);
}
