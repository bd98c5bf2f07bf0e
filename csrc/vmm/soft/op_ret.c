/*
 * Far RET and IRET: real and virtual-8086 mode, protected mode to the same
 * and to outer levels, back into virtual-8086 mode, task return, 64-bit.
 */
#include "sys_local.h"

struct farret {
	uint64_t rip, sp, flags;
	uint16_t cs, ss;
	int size;
	bool iret;
	uint64_t pop; /* bytes below the outer SP, or above the frame */
};

/* RFLAGS bits that IRET at this CPL and operand size replaces. */
static uint32_t
iret_mask(const struct softcpu *cpu, int size)
{
	uint32_t mask;

	mask = FL_ARITH | FL_TF | FL_DF | FL_NT;
	if (size >= 4)
		mask |= FL_RF | FL_AC | FL_ID;
	if (cpu->cpl <= sys_iopl(cpu))
		mask |= FL_IF;
	if (cpu->cpl == 0) {
		mask |= FL_IOPL;
		if (size >= 4)
			mask |= FL_VIF | FL_VIP;
	}
	return (mask);
}

static void
iret_flags(struct softcpu *cpu, uint64_t flags, uint32_t mask)
{
	sys_put_rflags(
	    cpu, (soft_get_rflags(cpu) & ~(uint64_t)mask) | (flags & mask));
}

/* Read the frame's first parts: rip, cs and, for IRET, the flags. */
static bool
ret_frame(struct softcpu *cpu, const struct sysstk *k, struct farret *r)
{
	uint64_t cs;
	unsigned w = (unsigned)r->size;

	r->flags = 0;
	if (!sys_stk_read(cpu, k, 0, r->size, &r->rip) ||
	    !sys_stk_read(cpu, k, w, r->size, &cs))
		return (false);
	if (r->iret && !sys_stk_read(cpu, k, 2 * w, r->size, &r->flags))
		return (false);
	r->cs = (uint16_t)cs;
	return (true);
}

static bool
ret_real(struct softcpu *cpu, struct farret *r, uint32_t mask)
{
	struct sysstk k;

	sys_stk_cur(cpu, &k);
	if (!ret_frame(cpu, &k, r))
		return (false);
	if (r->rip > cpu->seg[S_CS].limit)
		return (sys_fail(cpu, X_GP, 0));
	sys_set_sp(
	    cpu, &k, k.sp + (unsigned)r->size * (r->iret ? 3 : 2) + r->pop);
	sys_real_seg(cpu, S_CS, r->cs);
	cpu->rip = r->rip;
	if (r->iret)
		iret_flags(cpu, r->flags, mask);
	return (true);
}

/* IRET in virtual-8086 mode with IOPL < 3: CR4.VME's 16-bit form or #GP. */
static bool
iret_vme(struct softcpu *cpu, struct farret *r)
{
	struct sysstk k;
	bool vif;

	if (!(cpu->cr4 & CR4_VME) || r->size != 2)
		return (sys_fail(cpu, X_GP, 0));
	sys_stk_cur(cpu, &k);
	if (!ret_frame(cpu, &k, r))
		return (false);
	if ((r->flags & FL_TF) || ((r->flags & FL_IF) && (cpu->rfl & FL_VIP)))
		return (sys_fail(cpu, X_GP, 0));
	vif = (r->flags & FL_IF) != 0;
	if (!ret_real(cpu, r, FL_ARITH | FL_TF | FL_DF | FL_NT))
		return (false);
	cpu->rfl = vif ? cpu->rfl | FL_VIF : cpu->rfl & ~FL_VIF;
	return (true);
}

/* From level 0 to virtual-8086 mode. */
static bool
iret_to_v86(struct softcpu *cpu, const struct sysstk *k, struct farret *r)
{
	static const uint8_t order[] = { S_SS, S_ES, S_DS, S_FS, S_GS };
	uint64_t esp, sel[5];
	unsigned i;

	if (!sys_stk_read(cpu, k, 12, 4, &esp))
		return (false);
	for (i = 0; i < 5; i++)
		if (!sys_stk_read(cpu, k, 16 + 4 * i, 4, &sel[i]))
			return (false);
	if (r->rip > 0xffff)
		return (sys_fail(cpu, X_GP, 0));
	sys_v86_seg(&cpu->seg[S_CS], r->cs);
	for (i = 0; i < 5; i++)
		sys_v86_seg(&cpu->seg[order[i]], (uint16_t)sel[i]);
	cpu->gpr[R_SP] = (uint32_t)esp;
	cpu->cpl = 3;
	cpu->rip = r->rip;
	sys_put_rflags(cpu, r->flags & 0x3f7fd5);
	return (true);
}

static bool
ret_code(struct softcpu *cpu, const struct farret *r, struct sysdesc *d)
{
	unsigned dpl, rpl;

	if ((r->cs & 0xfffc) == 0)
		return (sys_fail(cpu, X_GP, 0));
	if (!sys_fetch(cpu, r->cs, d, X_GP, 0))
		return (false);
	rpl = r->cs & 3;
	dpl = AT_DPL(d->attr);
	if (!at_is_code(d->attr) || rpl < cpu->cpl ||
	    (at_is_conforming(d->attr) ? dpl > rpl : dpl != rpl))
		return (sys_fail(cpu, X_GP, SEL_ERR(r->cs, 0)));
	if (sys_lma(cpu) && (d->attr & (AT_L | AT_DB)) == (AT_L | AT_DB))
		return (sys_fail(cpu, X_GP, SEL_ERR(r->cs, 0)));
	if (!(d->attr & AT_P))
		return (sys_fail(cpu, X_NP, SEL_ERR(r->cs, 0)));
	return (true);
}

/* The outer stack segment; *null when it is a null selector that 64-bit
 * mode takes. */
static bool
ret_outer_ss(struct softcpu *cpu, const struct farret *r,
    const struct sysdesc *code, struct sysdesc *d, bool *null)
{
	unsigned rpl = r->cs & 3;

	*null = false;
	if ((r->ss & 0xfffc) == 0) {
		if (!sys_lma(cpu) || !(code->attr & AT_L) || rpl == 3 ||
		    (r->ss & 3u) != rpl)
			return (sys_fail(cpu, X_GP, 0));
		*null = true;
		return (true);
	}
	return (sys_fetch_ss(cpu, r->ss, rpl, X_GP, 0, d));
}

/* Return that takes SS:SP from the frame. */
static bool
ret_outer(struct softcpu *cpu, const struct sysstk *k, struct farret *r,
    struct sysdesc *code, uint32_t mask)
{
	struct sysdesc sd;
	struct sysstk out;
	uint64_t ss, delta;
	bool null;

	delta = (unsigned)r->size * (r->iret ? 3 : 2) + r->pop;
	if (!sys_stk_read(cpu, k, delta, r->size, &r->sp) ||
	    !sys_stk_read(cpu, k, delta + (unsigned)r->size, r->size, &ss))
		return (false);
	r->ss = (uint16_t)ss;
	if (!ret_outer_ss(cpu, r, code, &sd, &null) ||
	    !sys_check_rip(cpu, code, r->rip, 0) ||
	    !sys_set_accessed(cpu, code))
		return (false);
	sys_set_cs(cpu, r->cs, code, r->cs & 3);
	if (null)
		sys_null_ss(cpu, r->ss);
	else
		sys_set_seg(&cpu->seg[S_SS], r->ss, &sd);
	cpu->rip = r->rip;
	/* RET n releases the parameters of the outer stack as well. */
	out.ss = cpu->seg[S_SS];
	out.is64 = sys_lma(cpu) && (code->attr & AT_L);
	sys_set_sp(cpu, &out, r->sp + r->pop);
	if (r->iret)
		iret_flags(cpu, r->flags, mask);
	sys_drop_segs(cpu);
	return (true);
}

static bool
ret_protected(struct softcpu *cpu, struct farret *r)
{
	struct sysdesc code;
	struct sysstk k;
	uint32_t mask;

	sys_stk_cur(cpu, &k);
	if (!ret_frame(cpu, &k, r))
		return (false);
	if (r->iret && (r->flags & FL_VM) && cpu->cpl == 0 && !sys_lma(cpu))
		return (iret_to_v86(cpu, &k, r));
	if (!ret_code(cpu, r, &code))
		return (false);
	if (!sys_lma(cpu) || !(code.attr & AT_L))
		r->rip = (uint32_t)r->rip;
	mask = r->iret ? iret_mask(cpu, r->size) : 0;
	if ((r->cs & 3) > cpu->cpl || (r->iret && k.is64))
		return (ret_outer(cpu, &k, r, &code, mask));
	if (!sys_check_rip(cpu, &code, r->rip, 0) ||
	    !sys_set_accessed(cpu, &code))
		return (false);
	sys_set_sp(
	    cpu, &k, k.sp + (unsigned)r->size * (r->iret ? 3 : 2) + r->pop);
	sys_set_cs(cpu, r->cs, &code, cpu->cpl);
	cpu->rip = r->rip;
	if (r->iret)
		iret_flags(cpu, r->flags, mask);
	return (true);
}

static void
op_retf(struct softcpu *cpu, const struct insn *in)
{
	struct farret r = { .size = in->aux, .pop = (uint16_t)in->imm };
	bool ok;

	cpu->rip = soft_rip(cpu, in);
	ok = (cpu->mode & MODE_PROT) ? ret_protected(cpu, &r)
				     : ret_real(cpu, &r, 0);
	if (!ok)
		return;
	soft_mode_update(cpu);
	sys_done(cpu, cpu->rip);
}

static bool
iret_task(struct softcpu *cpu, int len)
{
	uint16_t link;

	if (!soft_sys_ld(cpu, (uint32_t)cpu->tr.base, 2, &link))
		return (false);
	return (soft_task_switch(cpu, link, TASK_IRET | len << 8, false, 0));
}

static void
op_iret(struct softcpu *cpu, const struct insn *in)
{
	struct farret r = { .size = in->aux, .iret = true };
	uint32_t mask;
	bool ok;

	cpu->rip = soft_rip(cpu, in);
	if (cpu->mode & MODE_PROT) {
		if (!(cpu->rfl & FL_NT))
			ok = ret_protected(cpu, &r);
		else if (sys_lma(cpu))
			ok = sys_fail(cpu, X_GP, 0);
		else
			ok = iret_task(cpu, in->len);
	} else if (cpu->mode & MODE_V86) {
		mask = iret_mask(cpu, r.size);
		ok = sys_iopl(cpu) == 3 ? ret_real(cpu, &r, mask)
					: iret_vme(cpu, &r);
	} else
		ok = ret_real(
		    cpu, &r, iret_mask(cpu, r.size) & ~(FL_VIF | FL_VIP));
	if (!ok)
		return;
	cpu->nmi_blocked = 0;
	soft_mode_update(cpu);
	sys_done(cpu, cpu->rip);
}

BIND(retf, op_retf)
BIND(iret, op_iret)
