/*
 * Model-specific registers.  The engine answers for its own; the vmm's
 * common ones come next (vmm_msr.c); what nobody knows goes to user space.
 */
#include <errno.h>
#include <x86intrin.h>

#include "sys_local.h"
#include "vmm_stat.h"

#define MSR_TSC 0x10u
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FSBASE 0xc0000100u
#define MSR_GSBASE 0xc0000101u
#define MSR_KGSBASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u

#define EFER_KNOWN (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

uint64_t
soft_rdtsc(const struct softcpu *cpu)
{
	/* Unfenced, two host processors can read it out of order. */
	_mm_lfence();
	return (__rdtsc() + cpu->tsc_offset);
}

/* MSRs that are plain storage; *canonical says how writes are checked. */
static uint64_t *
msr_field(struct softcpu *cpu, uint32_t msr, bool *canonical)
{
	*canonical = false;
	switch (msr) {
	case MSR_SYSENTER_CS:
		return (&cpu->sysenter_cs);
	case MSR_STAR:
		return (&cpu->star);
	case MSR_SFMASK:
		return (&cpu->sfmask);
	case MSR_TSC_AUX:
		return (&cpu->tsc_aux);
	default:
		break;
	}
	*canonical = true;
	switch (msr) {
	case MSR_SYSENTER_ESP:
		return (&cpu->sysenter_esp);
	case MSR_SYSENTER_EIP:
		return (&cpu->sysenter_eip);
	case MSR_LSTAR:
		return (&cpu->lstar);
	case MSR_CSTAR:
		return (&cpu->cstar);
	case MSR_FSBASE:
		return (&cpu->seg[S_FS].base);
	case MSR_GSBASE:
		return (&cpu->seg[S_GS].base);
	case MSR_KGSBASE:
		return (&cpu->kgsbase);
	default:
		return (NULL);
	}
}

static int
msr_get(struct softcpu *cpu, uint32_t msr, uint64_t *val)
{
	uint64_t *field;
	bool canonical;

	if (msr == MSR_TSC)
		*val = soft_rdtsc(cpu);
	else if (msr == MSR_EFER)
		*val = cpu->efer;
	else if ((field = msr_field(cpu, msr, &canonical)) != NULL)
		*val = *field;
	else
		return (ENOENT);
	return (0);
}

/* LMA follows LME and paging; LME stands still while paging is on. */
bool
sys_write_efer(struct softcpu *cpu, uint64_t val)
{
	uint64_t changed;

	changed = cpu->efer ^ val;
	if ((val & ~(uint64_t)EFER_KNOWN) ||
	    ((changed & EFER_LME) && (cpu->cr0 & CR0_PG)))
		return (false);
	cpu->efer = (val & ~(uint64_t)EFER_LMA) | (cpu->efer & EFER_LMA);
	if (changed & EFER_NXE)
		soft_tlb_flush(cpu, false);
	soft_mode_update(cpu);
	return (true);
}

bool
soft_write_efer(struct softcpu *cpu, uint64_t val)
{
	if (!sys_write_efer(cpu, val))
		return (sys_fail(cpu, X_GP, 0));
	return (true);
}

/* The guest moves its TSC: a deadline that is set comes sooner or later. */
static void
write_tsc(struct softcpu *cpu, uint64_t val)
{
	uint64_t deadline;

	cpu->tsc_offset = val - __rdtsc();
	if (vmm_rdmsr(cpu->vcpu, MSR_TSC_DEADLINE, &deadline) == 0 &&
	    deadline != 0)
		(void)vmm_wrmsr(cpu->vcpu, MSR_TSC_DEADLINE, deadline);
}

int
soft_rdmsr(struct softcpu *cpu, uint32_t msr, uint64_t *val)
{
	if (msr_get(cpu, msr, val) == 0)
		return (0);
	return (vmm_rdmsr(cpu->vcpu, msr, val));
}

int
soft_wrmsr(struct softcpu *cpu, uint32_t msr, uint64_t val)
{
	uint64_t *field;
	bool canonical;

	if (msr == MSR_EFER)
		return (sys_write_efer(cpu, val) ? 0 : EINVAL);
	if (msr == MSR_TSC) {
		write_tsc(cpu, val);
		return (0);
	}
	field = msr_field(cpu, msr, &canonical);
	if (field == NULL)
		return (vmm_wrmsr(cpu->vcpu, msr, val));
	if ((canonical && !sys_canonical(val)) ||
	    ((msr == MSR_TSC_AUX || msr == MSR_SFMASK) && (val >> 32)))
		return (EINVAL);
	*field = val;
	cpu->segbase[S_FS] = cpu->seg[S_FS].base;
	cpu->segbase[S_GS] = cpu->seg[S_GS].base;
	return (0);
}

/* The host's side, for saving and restoring: no checks, the engine's own. */
int
soft_getmsr(void *vcpui, uint32_t msr, uint64_t *val)
{
	return (msr_get(vcpui, msr, val));
}

int
soft_setmsr(void *vcpui, uint32_t msr, uint64_t val)
{
	struct softcpu *cpu = vcpui;
	uint64_t *field;
	bool canonical;

	if (msr == MSR_TSC)
		cpu->tsc_offset = val - __rdtsc();
	else if (msr == MSR_EFER)
		return (soft_setreg(cpu, VM_REG_GUEST_EFER, val));
	else if ((field = msr_field(cpu, msr, &canonical)) != NULL)
		*field = val;
	else
		return (ENOENT);
	soft_mode_update(cpu);
	return (0);
}

/* ---- RDMSR, WRMSR ---- */

/* User space finishes the instruction: it is already behind us. */
static void
msr_exit(
    struct softcpu *cpu, const struct insn *in, uint32_t code, uint64_t wval)
{
	cpu->vme->exitcode = code;
	cpu->vme->rip = soft_rip(cpu, in);
	cpu->vme->inst_length = in->len;
	cpu->vme->u.msr.code = (uint32_t)cpu->gpr[R_CX];
	cpu->vme->u.msr.pad = 0;
	cpu->vme->u.msr.wval = wval;
	cpu->rip = soft_rip_next(cpu, in);
	cpu->stop = STOP_EXIT;
}

static void
op_rdmsr(struct softcpu *cpu, const struct insn *in)
{
	uint64_t val;

	switch (soft_rdmsr(cpu, (uint32_t)cpu->gpr[R_CX], &val)) {
	case 0:
		vmm_stat_inside(cpu->vcpu, VMEXIT_RDMSR);
		cpu->gpr[R_AX] = (uint32_t)val;
		cpu->gpr[R_DX] = val >> 32;
		soft_end(cpu, in);
		break;
	case ENOENT:
		/* vmm_run() counts the exit itself. */
		vmm_stat_incr(cpu->vcpu, VMEXIT_RDMSR, 1);
		msr_exit(cpu, in, VM_EXITCODE_RDMSR, 0);
		break;
	default:
		vmm_stat_inside(cpu->vcpu, VMEXIT_RDMSR);
		soft_fault_err(cpu, in, X_GP, 0);
		break;
	}
}

static void
op_wrmsr(struct softcpu *cpu, const struct insn *in)
{
	uint64_t val;

	val = (uint32_t)cpu->gpr[R_AX] | (cpu->gpr[R_DX] << 32);
	switch (soft_wrmsr(cpu, (uint32_t)cpu->gpr[R_CX], val)) {
	case 0:
		vmm_stat_inside(cpu->vcpu, VMEXIT_WRMSR);
		soft_end(cpu, in);
		break;
	case ENOENT:
		/* vmm_run() counts the exit itself. */
		vmm_stat_incr(cpu->vcpu, VMEXIT_WRMSR, 1);
		msr_exit(cpu, in, VM_EXITCODE_WRMSR, val);
		break;
	default:
		vmm_stat_inside(cpu->vcpu, VMEXIT_WRMSR);
		soft_fault_err(cpu, in, X_GP, 0);
		break;
	}
}

BIND(rdmsr, op_rdmsr)
BIND(wrmsr, op_wrmsr)
