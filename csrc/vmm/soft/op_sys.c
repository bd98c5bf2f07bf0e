/*
 * System instructions: descriptor table registers, TLB invalidation, cache
 * control, HLT, interrupt flag, FS and GS bases, SMAP's AC.
 */
#include "sys_local.h"

/* ---- operands of this family ---- */

/* r/m16 source: a register's low half or 16 bits of memory. */
bool
sys_ld_rm16(struct softcpu *cpu, const struct insn *in, uint16_t *val)
{
	uint64_t lin;

	if (!(in->flags & IN_MEM)) {
		*val = WREG(cpu, in->rm);
		return (true);
	}
	return (
	    soft_ea(cpu, in, 2, false, &lin) && soft_ld16(cpu, in, lin, val));
}

/* Destination of SMSW, SLDT, STR: a register of operand size, or 16 bits of
 * memory whatever the operand size. */
bool
sys_st_rm(struct softcpu *cpu, const struct insn *in, uint64_t val)
{
	uint64_t lin;

	if (in->flags & IN_MEM)
		return (soft_ea(cpu, in, 2, true, &lin) &&
		    soft_st16(cpu, in, lin, (uint16_t)val));
	if (in->aux == 2)
		WREG(cpu, in->rm) = (uint16_t)val;
	else
		cpu->gpr[in->rm] = (in->aux == 4) ? (uint32_t)val : val;
	return (true);
}

/* CR4.UMIP keeps the tables' addresses from user code. */
bool
sys_umip_ok(struct softcpu *cpu, const struct insn *in)
{
	if (!(cpu->cr4 & CR4_UMIP) || cpu->cpl == 0)
		return (true);
	soft_fault_err(cpu, in, X_GP, 0);
	return (false);
}

/* ---- LGDT, LIDT, SGDT, SIDT ---- */

static bool
dtr_load(
    struct softcpu *cpu, const struct insn *in, uint64_t *base, uint32_t *limit)
{
	uint64_t lin, b;
	uint16_t l;
	int size;

	size = (cpu->mode & MODE_64) ? 8 : 4;
	b = 0;
	if (!soft_ea(cpu, in, size + 2, false, &lin) ||
	    !soft_ld16(cpu, in, lin, &l) ||
	    !soft_ld_bytes(cpu, in, lin + 2, &b, size))
		return (false);
	if (size == 8 && !sys_canonical(b)) {
		soft_fault_err(cpu, in, X_GP, 0);
		return (false);
	}
	if (size == 4 && (in->flags & IN_OS16))
		b &= 0xffffff;
	*base = b;
	*limit = l;
	return (true);
}

static bool
dtr_store(
    struct softcpu *cpu, const struct insn *in, uint64_t base, uint32_t limit)
{
	uint64_t lin;
	uint8_t image[10];
	int i, size;

	if (!sys_umip_ok(cpu, in))
		return (false);
	size = (cpu->mode & MODE_64) ? 10 : 6;
	image[0] = (uint8_t)limit;
	image[1] = (uint8_t)(limit >> 8);
	for (i = 0; i < 8; i++)
		image[2 + i] = (uint8_t)(base >> (8 * i));
	return (soft_ea(cpu, in, size, true, &lin) &&
	    soft_st_bytes(cpu, in, lin, image, size));
}

static void
op_lgdt(struct softcpu *cpu, const struct insn *in)
{
	if (dtr_load(cpu, in, &cpu->gdtr.base, &cpu->gdtr.limit))
		soft_end(cpu, in);
}
static void
op_lidt(struct softcpu *cpu, const struct insn *in)
{
	if (dtr_load(cpu, in, &cpu->idtr.base, &cpu->idtr.limit))
		soft_end(cpu, in);
}
static void
op_sgdt(struct softcpu *cpu, const struct insn *in)
{
	if (!dtr_store(cpu, in, cpu->gdtr.base, cpu->gdtr.limit))
		return;
	SOFT_NEXT(cpu, in);
}
static void
op_sidt(struct softcpu *cpu, const struct insn *in)
{
	if (!dtr_store(cpu, in, cpu->idtr.base, cpu->idtr.limit))
		return;
	SOFT_NEXT(cpu, in);
}

BIND(lgdt, op_lgdt)
BIND(lidt, op_lidt)
BIND(sgdt, op_sgdt)
BIND(sidt, op_sidt)

/* ---- INVLPG, caches ---- */

static void
op_invlpg(struct softcpu *cpu, const struct insn *in)
{
	uint64_t lin = sys_ea(cpu, in);

	if (sys_canonical(lin))
		soft_tlb_flush_page(cpu, lin);
	soft_end(cpu, in);
}

/* Guest memory is coherent: cache control has no effect. */
static void
op_cache(struct softcpu *cpu, const struct insn *in)
{
	SOFT_NEXT(cpu, in);
}

BIND(invlpg, op_invlpg)
BIND(cache, op_cache)

/* ---- HLT, CLI, STI ---- */

static void
op_hlt(struct softcpu *cpu, const struct insn *in)
{
	cpu->rip = soft_rip_next(cpu, in);
	cpu->stop = STOP_HLT;
}

/* What CLI and STI act on: IF, VIF or nothing (#GP). */
static uint32_t
if_target(const struct softcpu *cpu)
{
	if (cpu->mode & MODE_V86) {
		if (sys_iopl(cpu) == 3)
			return (FL_IF);
		return ((cpu->cr4 & CR4_VME) ? FL_VIF : 0);
	}
	if (cpu->cpl <= sys_iopl(cpu))
		return (FL_IF);
	return (cpu->cpl == 3 && (cpu->cr4 & CR4_PVI) ? FL_VIF : 0);
}

static void
op_cli(struct softcpu *cpu, const struct insn *in)
{
	uint32_t fl;

	fl = if_target(cpu);
	if (fl == 0) {
		soft_fault_err(cpu, in, X_GP, 0);
		return;
	}
	cpu->rfl &= ~fl;
	SOFT_NEXT(cpu, in);
}

static void
op_cli_cpl0(struct softcpu *cpu, const struct insn *in)
{
	cpu->rfl &= ~FL_IF;
	SOFT_NEXT(cpu, in);
}

static void
op_sti(struct softcpu *cpu, const struct insn *in)
{
	uint32_t fl;

	fl = if_target(cpu);
	if (fl == 0 || (fl == FL_VIF && (cpu->rfl & FL_VIP))) {
		soft_fault_err(cpu, in, X_GP, 0);
		return;
	}
	if (fl == FL_IF && !(cpu->rfl & FL_IF))
		cpu->intr_shadow = 1;
	cpu->rfl |= fl;
	soft_end(cpu, in);
}

soft_op
bind_cli(const struct soft_dec *d, struct insn *in)
{
	return ((d->mode & MODE_CPL0) ? op_cli_cpl0 : op_cli);
}
BIND(hlt, op_hlt)
BIND(sti, op_sti)

/* ---- FS, GS ---- */

static void
op_swapgs(struct softcpu *cpu, const struct insn *in)
{
	uint64_t base = cpu->seg[S_GS].base;

	cpu->seg[S_GS].base = cpu->segbase[S_GS] = cpu->kgsbase;
	cpu->kgsbase = base;
	SOFT_NEXT(cpu, in);
}

/* RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE: in->arg is S_FS or S_GS. */
static void
op_rdbase(struct softcpu *cpu, const struct insn *in)
{
	uint64_t base;

	if (!(cpu->cr4 & CR4_FSGSBASE)) {
		soft_fault(cpu, in, X_UD);
		return;
	}
	base = cpu->seg[in->arg].base;
	cpu->gpr[in->rm] = (in->aux == 8) ? base : (uint32_t)base;
	SOFT_NEXT(cpu, in);
}

static void
op_wrbase(struct softcpu *cpu, const struct insn *in)
{
	uint64_t base;

	if (!(cpu->cr4 & CR4_FSGSBASE)) {
		soft_fault(cpu, in, X_UD);
		return;
	}
	base = cpu->gpr[in->rm];
	if (in->aux != 8)
		base = (uint32_t)base;
	else if (!sys_canonical(base)) {
		soft_fault_err(cpu, in, X_GP, 0);
		return;
	}
	cpu->seg[in->arg].base = cpu->segbase[in->arg] = base;
	SOFT_NEXT(cpu, in);
}

BIND(swapgs, op_swapgs)
BIND(rdbase, op_rdbase)
BIND(wrbase, op_wrbase)

/* ---- CLAC, STAC: only the choice of data TLB changes ---- */

static void
op_clac(struct softcpu *cpu, const struct insn *in)
{
	cpu->rfl &= ~FL_AC;
	if ((cpu->cr4 & CR4_SMAP) && cpu->tlb == cpu->tlbs[TLB_SUPER])
		cpu->tlb = cpu->tlbs[TLB_SMAP];
	SOFT_NEXT(cpu, in);
}

static void
op_stac(struct softcpu *cpu, const struct insn *in)
{
	cpu->rfl |= FL_AC;
	if (cpu->tlb == cpu->tlbs[TLB_SMAP])
		cpu->tlb = cpu->tlbs[TLB_SUPER];
	SOFT_NEXT(cpu, in);
}

soft_op
bind_clac(const struct soft_dec *d, struct insn *in)
{
	return ((d->mode & MODE_CPL0) ? op_clac : NULL);
}

soft_op
bind_stac(const struct soft_dec *d, struct insn *in)
{
	return ((d->mode & MODE_CPL0) ? op_stac : NULL);
}
