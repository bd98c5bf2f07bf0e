/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT: segments come from MSRs, descriptors
 * are not read.  Both vendors' rules are joined: SYSCALL works in
 * compatibility and legacy mode (AMD), SYSENTER in every mode (Intel).
 */
#include "sys_local.h"
#include "soft_goto.h"

static void
flat_seg(struct softseg *s, uint16_t sel, uint32_t attr)
{
	s->sel = sel;
	s->base = 0;
	s->limit = ~0u;
	s->attr = attr;
}

/* Flat code and stack of level cpl; l: 64-bit code. */
static void
flat_cs_ss(struct softcpu *cpu, uint16_t cs, uint16_t ss, unsigned cpl, bool l)
{
	uint32_t dpl = cpl << 5;

	flat_seg(&cpu->seg[S_CS], (cs & ~3) | (uint16_t)cpl,
	    AT_G | AT_P | AT_S | AT_CODE | AT_RW | AT_A | dpl |
		(l ? AT_L : AT_DB));
	flat_seg(&cpu->seg[S_SS], (ss & ~3) | (uint16_t)cpl,
	    AT_G | AT_DB | AT_P | AT_S | AT_RW | AT_A | dpl);
	cpu->cpl = (uint8_t)cpl;
}

/* SYSCALL and SYSRET trap by the TF that they leave, not the one they found. */
static bool
trap_by_new_tf(struct softcpu *cpu)
{
	if (likely((cpu->rfl & FL_TF) == 0))
		return (false);
	cpu->dr6_pending |= DR6_BS;
	return (true);
}

static void
op_syscall(struct softcpu *cpu, const struct insn *in)
{
	uint64_t next;
	uint16_t sel;

	if (!(cpu->efer & EFER_SCE)) {
		soft_fault(cpu, in, X_UD);
		return;
	}
	next = soft_rip_next(cpu, in);
	sel = (uint16_t)(cpu->star >> 32);
	if (!sys_lma(cpu)) {
		cpu->gpr[R_CX] = (uint32_t)next;
		cpu->rfl &= ~(FL_VM | FL_IF | FL_RF);
		next = (uint32_t)cpu->star;
	} else {
		cpu->gpr[R_CX] = next;
		next = (cpu->mode & MODE_64) ? cpu->lstar : cpu->cstar;
		cpu->gpr[11] = soft_get_rflags(cpu) & ~(uint64_t)FL_RF;
		sys_put_rflags(cpu, cpu->gpr[11] & ~cpu->sfmask);
	}
	flat_cs_ss(cpu, sel, sel + 8, 0, sys_lma(cpu));
	soft_mode_update(cpu);
	cpu->stop = STOP_NONE;
	if (trap_by_new_tf(cpu))
		sys_done(cpu, next);
	else
		soft_goto(cpu, next);
}

static void
op_sysret(struct softcpu *cpu, const struct insn *in)
{
	uint64_t next;
	uint16_t sel;
	bool l;

	l = in->aux == 8;
	if (!(cpu->efer & EFER_SCE)) {
		soft_fault(cpu, in, X_UD);
		return;
	}
	if (cpu->cpl != 0 || (l && !sys_canonical(cpu->gpr[R_CX]))) {
		soft_fault_err(cpu, in, X_GP, 0);
		return;
	}
	next = l ? cpu->gpr[R_CX] : (uint32_t)cpu->gpr[R_CX];
	sel = (uint16_t)(cpu->star >> 48);
	if (sys_lma(cpu))
		sys_put_rflags(cpu, (cpu->gpr[11] & 0x3c7fd7) | 2);
	else
		cpu->rfl |= FL_IF;
	flat_cs_ss(cpu, l ? sel + 16 : sel, sel + 8, 3, l);
	soft_mode_update(cpu);
	(void)trap_by_new_tf(cpu);
	sys_done(cpu, next);
}

static void
op_sysenter(struct softcpu *cpu, const struct insn *in)
{
	uint16_t sel = (uint16_t)cpu->sysenter_cs;

	if (!(cpu->cr0 & CR0_PE) || (sel & 0xfffc) == 0) {
		soft_fault_err(cpu, in, X_GP, 0);
		return;
	}
	cpu->rfl &= ~(FL_VM | FL_IF | FL_RF);
	flat_cs_ss(cpu, sel, sel + 8, 0, sys_lma(cpu));
	soft_mode_update(cpu);
	if (sys_lma(cpu)) {
		cpu->gpr[R_SP] = cpu->sysenter_esp;
		sys_done(cpu, cpu->sysenter_eip);
	} else {
		cpu->gpr[R_SP] = (uint32_t)cpu->sysenter_esp;
		sys_done(cpu, (uint32_t)cpu->sysenter_eip);
	}
}

static void
op_sysexit(struct softcpu *cpu, const struct insn *in)
{
	uint16_t sel = (uint16_t)cpu->sysenter_cs;
	uint64_t next, sp;
	bool l;

	l = in->aux == 8;
	next = cpu->gpr[R_DX];
	sp = cpu->gpr[R_CX];
	if (!(cpu->cr0 & CR0_PE) || (sel & 0xfffc) == 0 || cpu->cpl != 0 ||
	    (l && (!sys_canonical(next) || !sys_canonical(sp)))) {
		soft_fault_err(cpu, in, X_GP, 0);
		return;
	}
	if (l)
		flat_cs_ss(cpu, sel + 32, sel + 40, 3, true);
	else
		flat_cs_ss(cpu, sel + 16, sel + 24, 3, false);
	soft_mode_update(cpu);
	cpu->gpr[R_SP] = l ? sp : (uint32_t)sp;
	sys_done(cpu, l ? next : (uint32_t)next);
}

BIND(syscall, op_syscall)
BIND(sysret, op_sysret)
BIND(sysenter, op_sysenter)
BIND(sysexit, op_sysexit)
