/*
 * One instruction for another backend: a vCPU of the software processor
 * without a block cache takes the state, runs one record and gives it back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "soft_core_local.h"
#include "soft_step.h"

struct soft_stepper {
	struct softvm *svm;
	struct softcpu *cpu;
	_Atomic uint32_t no_pending; /* vcpu_pending() is the caller's */
};

struct soft_stepper *
soft_step_create(struct vm *vm, struct vcpu *vcpu)
{
	struct soft_stepper *st = calloc(1, sizeof(*st));
	int error;

	if (st == NULL)
		return (NULL);
	st->svm = softvm_create(vm, true);
	if (st->svm != NULL)
		st->cpu = softcpu_create(st->svm, vcpu, vcpu_vcpuid(vcpu));
	if (st->cpu == NULL) {
		error = errno;
		if (st->svm != NULL)
			softvm_destroy(st->svm);
		free(st);
		errno = error;
		return (NULL);
	}
	st->cpu->pending = &st->no_pending;
	return (st);
}

void
soft_step_destroy(struct soft_stepper *st)
{
	if (st == NULL)
		return;
	softcpu_destroy(st->cpu);
	softvm_destroy(st->svm);
	free(st);
}

static void
seg_in(struct softseg *s, const struct soft_arch_seg *a)
{
	s->base = a->base;
	s->limit = a->limit;
	s->attr = a->access;
	s->sel = a->sel;
}

static void
seg_out(struct soft_arch_seg *a, const struct softseg *s)
{
	a->base = s->base;
	a->limit = s->limit;
	a->access = s->attr;
	a->sel = s->sel;
}

/* clang-format off */
#define EACH_WORD(X) \
	X(cr0) X(cr2) X(cr3) X(cr4) X(cr8) X(efer) X(star) X(lstar) \
	X(cstar) X(sfmask) X(kgsbase) X(sysenter_cs) X(sysenter_esp) \
	X(sysenter_eip) X(tsc_aux) X(tsc_offset) \
	X(intr_shadow) X(nmi_blocked) X(rip)
/* clang-format on */

static int
state_in(struct softcpu *cpu, const struct soft_arch_state *a)
{
	if (a->xsave_len > sizeof(a->xsave))
		return (EINVAL);
	memcpy(cpu->gpr, a->gpr, sizeof(a->gpr));
#define IN(f) cpu->f = a->f;
	EACH_WORD(IN)
#undef IN
	for (int i = 0; i < 6; i++)
		seg_in(&cpu->seg[i], &a->seg[i]);
	seg_in(&cpu->ldtr, &a->ldtr);
	seg_in(&cpu->tr, &a->tr);
	cpu->gdtr.base = a->gdtr.base;
	cpu->gdtr.limit = a->gdtr.limit;
	cpu->idtr.base = a->idtr.base;
	cpu->idtr.limit = a->idtr.limit;
	memcpy(cpu->pdpte, a->pdpte, sizeof(cpu->pdpte));
	memcpy(cpu->dr, a->dr, sizeof(cpu->dr));
	soft_debug_update(cpu);
	cpu->fpu.xcr0 = a->xcr0 | 1;
	if (a->xsave_len != 0 && !soft_fpu_set(cpu, a->xsave, a->xsave_len))
		return (EINVAL);
	if (!(a->cr0 & CR0_PE_))
		cpu->cpl = 0;
	else if (a->rflags & FL_VM)
		cpu->cpl = 3;
	else
		cpu->cpl = (a->seg[S_SS].access >> 5) & 3;
	soft_set_rflags(cpu, a->rflags);
	soft_fpu_mode_update(cpu);
	/* The other processor may have changed any table meanwhile. */
	soft_tlb_flush(cpu, false);
	soft_mode_update(cpu);
	return (0);
}

static void
state_out(struct softcpu *cpu, struct soft_arch_state *a)
{
	memcpy(a->gpr, cpu->gpr, sizeof(a->gpr));
#define OUT(f) a->f = cpu->f;
	EACH_WORD(OUT)
#undef OUT
	for (int i = 0; i < 6; i++)
		seg_out(&a->seg[i], &cpu->seg[i]);
	seg_out(&a->ldtr, &cpu->ldtr);
	seg_out(&a->tr, &cpu->tr);
	a->gdtr.base = cpu->gdtr.base;
	a->gdtr.limit = cpu->gdtr.limit;
	a->idtr.base = cpu->idtr.base;
	a->idtr.limit = cpu->idtr.limit;
	memcpy(a->pdpte, cpu->pdpte, sizeof(a->pdpte));
	memcpy(a->dr, cpu->dr, sizeof(a->dr));
	a->xcr0 = cpu->fpu.xcr0;
	if (a->xsave_len != 0)
		a->xsave_len = soft_fpu_get(cpu, a->xsave, sizeof(a->xsave));
	a->rflags = soft_get_rflags(cpu);
	a->event = 0;
}

int
soft_step(struct soft_stepper *st, struct soft_arch_state *state,
    const struct vm_entry *entry, struct vm_exit *vme)
{
	struct softcpu *cpu = st->cpu;
	bool leave;
	int error;

	error = state_in(cpu, state);
	if (error != 0)
		return (error);
	cpu->vme = vme;
	cpu->dr6_pending = 0;
	soft_fpu_enter(cpu);
	if (state->event & VM_INTINFO_VALID) {
		soft_io_commit(cpu);
		leave = soft_inject(cpu, state->event);
	} else {
		soft_entry_cmd(cpu, entry);
		if (entry->cmd == VEC_DISCARD_INSTR)
			leave = false;
		else {
			do
				leave = soft_run_one(cpu);
			while (!leave && cpu->stop == STOP_RETRY);
		}
	}
	if (!leave && cpu->dr6_pending != 0 && cpu->intr_shadow != 2)
		leave = soft_db_trap(cpu);
	soft_fpu_leave(cpu);
	state_out(cpu, state);
	return (leave ? 1 : 0);
}
