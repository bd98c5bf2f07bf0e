/*
 * Instructions about descriptors: LLDT, LTR, SLDT, STR, LAR, LSL, VERR,
 * VERW, ARPL; far pointers: LES, LDS, LSS, LFS, LGS.
 */
#include "sys_local.h"

static void
op_lldt(struct softcpu *cpu, const struct insn *in)
{
	struct sysdesc d;
	uint16_t sel;

	if (!sys_ld_rm16(cpu, in, &sel))
		return;
	cpu->rip = soft_rip(cpu, in);
	if ((sel & 0xfffc) == 0) {
		sys_null_seg(&cpu->ldtr, sel);
		soft_end(cpu, in);
		return;
	}
	if (sel & 4) {
		soft_raise_err(cpu, X_GP, SEL_ERR(sel, 0));
		return;
	}
	if (!sys_fetch_sys(cpu, sel, &d, X_GP, 0))
		return;
	if (AT_TYPE(d.attr) != ST_LDT ||
	    (sys_lma(cpu) && !sys_canonical(d.base))) {
		soft_raise_err(cpu, X_GP, SEL_ERR(sel, 0));
		return;
	}
	if (!(d.attr & AT_P)) {
		soft_raise_err(cpu, X_NP, SEL_ERR(sel, 0));
		return;
	}
	sys_set_seg(&cpu->ldtr, sel, &d);
	soft_end(cpu, in);
}

static void
op_ltr(struct softcpu *cpu, const struct insn *in)
{
	struct sysdesc d;
	uint16_t sel;
	uint8_t byte;

	if (!sys_ld_rm16(cpu, in, &sel))
		return;
	cpu->rip = soft_rip(cpu, in);
	if ((sel & 0xfffc) == 0) {
		soft_raise_err(cpu, X_GP, 0);
		return;
	}
	if (sel & 4) {
		soft_raise_err(cpu, X_GP, SEL_ERR(sel, 0));
		return;
	}
	if (!sys_fetch_sys(cpu, sel, &d, X_GP, 0))
		return;
	if ((AT_TYPE(d.attr) != ST_TSS32 &&
		(sys_lma(cpu) || AT_TYPE(d.attr) != ST_TSS16)) ||
	    (sys_lma(cpu) && !sys_canonical(d.base))) {
		soft_raise_err(cpu, X_GP, SEL_ERR(sel, 0));
		return;
	}
	if (!(d.attr & AT_P)) {
		soft_raise_err(cpu, X_NP, SEL_ERR(sel, 0));
		return;
	}
	byte = (uint8_t)d.attr | 2;
	if (!soft_sys_st(cpu, sys_lin(cpu, d.addr + 5), 1, &byte))
		return;
	d.attr |= 2;
	sys_set_seg(&cpu->tr, sel, &d);
	soft_end(cpu, in);
}

static void
op_sldt(struct softcpu *cpu, const struct insn *in)
{
	if (!sys_umip_ok(cpu, in) || !sys_st_rm(cpu, in, cpu->ldtr.sel))
		return;
	SOFT_NEXT(cpu, in);
}

static void
op_str(struct softcpu *cpu, const struct insn *in)
{
	if (!sys_umip_ok(cpu, in) || !sys_st_rm(cpu, in, cpu->tr.sel))
		return;
	SOFT_NEXT(cpu, in);
}

BIND(lldt, op_lldt)
BIND(ltr, op_ltr)
BIND(sldt, op_sldt)
BIND(str, op_str)

/* ---- LAR, LSL, VERR, VERW ---- */

/* Descriptor types that LAR and LSL accept: bit N is system type N. */
#define LAR_TYPES 0x1a3eu /* TSS, LDT, call and task gates */
#define LAR_TYPES64 0x1a04u
#define LSL_TYPES 0x0a0eu /* TSS, LDT */
#define LSL_TYPES64 0x0a04u

/*
 * Fetch for inspection: 1 visible, 0 not (ZF clear), -1 fault.  (types) is
 * the set of system types that count.
 */
static int
seg_visible(
    struct softcpu *cpu, uint16_t sel, uint32_t types, struct sysdesc *d)
{
	unsigned dpl;
	int r;

	if ((sel & 0xfffc) == 0)
		return (0);
	r = sys_peek(cpu, sel, d);
	if (r <= 0)
		return (r);
	dpl = AT_DPL(d->attr);
	if (!(d->attr & AT_S) && !(types & (1u << (d->attr & 0xf))))
		return (0);
	if (!at_is_conforming(d->attr) && (dpl < cpu->cpl || dpl < (sel & 3u)))
		return (0);
	return (1);
}

static bool
lar_lsl(struct softcpu *cpu, const struct insn *in, bool lsl)
{
	struct sysdesc d;
	uint32_t types, val;
	uint16_t sel;
	int r;

	if (!sys_ld_rm16(cpu, in, &sel))
		return (false);
	cpu->rip = soft_rip(cpu, in);
	if (lsl)
		types = sys_lma(cpu) ? LSL_TYPES64 : LSL_TYPES;
	else
		types = sys_lma(cpu) ? LAR_TYPES64 : LAR_TYPES;
	r = seg_visible(cpu, sel, types, &d);
	if (r < 0)
		return (false);
	cpu->cc &= (uint16_t)~CC_ZF;
	if (r == 0)
		return (true);
	cpu->cc |= CC_ZF;
	val = lsl ? d.limit : d.hi & 0xf0ff00;
	if (in->aux == 2)
		WREG(cpu, in->reg) = (uint16_t)val;
	else
		cpu->gpr[in->reg] = val;
	return (true);
}

static void
op_lar(struct softcpu *cpu, const struct insn *in)
{
	if (!lar_lsl(cpu, in, false))
		return;
	SOFT_NEXT(cpu, in);
}

static void
op_lsl(struct softcpu *cpu, const struct insn *in)
{
	if (!lar_lsl(cpu, in, true))
		return;
	SOFT_NEXT(cpu, in);
}

/* VERR (in->arg 0) and VERW (1). */
static bool
verify(struct softcpu *cpu, const struct insn *in)
{
	struct sysdesc d;
	uint16_t sel;
	int r;

	if (!sys_ld_rm16(cpu, in, &sel))
		return (false);
	cpu->rip = soft_rip(cpu, in);
	r = seg_visible(cpu, sel, 0, &d);
	if (r < 0)
		return (false);
	cpu->cc &= (uint16_t)~CC_ZF;
	if (r == 0)
		return (true);
	if (in->arg ? at_is_wdata(d.attr)
		    : (d.attr & (AT_CODE | AT_RW)) != AT_CODE)
		cpu->cc |= CC_ZF;
	return (true);
}

static void
op_verify(struct softcpu *cpu, const struct insn *in)
{
	if (!verify(cpu, in))
		return;
	SOFT_NEXT(cpu, in);
}

static bool
arpl(struct softcpu *cpu, const struct insn *in)
{
	uint64_t lin;
	uint16_t dst, src;

	src = WREG(cpu, in->reg) & 3;
	lin = 0;
	if (in->flags & IN_MEM) {
		if (!soft_ea(cpu, in, 2, true, &lin) ||
		    !soft_probe_write(cpu, in, lin, 2) ||
		    !soft_ld16(cpu, in, lin, &dst))
			return (false);
	} else
		dst = WREG(cpu, in->rm);
	if ((dst & 3) >= src) {
		cpu->cc &= (uint16_t)~CC_ZF;
		return (true);
	}
	dst = (dst & ~3) | src;
	if (!(in->flags & IN_MEM))
		WREG(cpu, in->rm) = dst;
	else if (!soft_st16(cpu, in, lin, dst))
		return (false);
	cpu->cc |= CC_ZF;
	return (true);
}

static void
op_arpl(struct softcpu *cpu, const struct insn *in)
{
	if (!arpl(cpu, in))
		return;
	SOFT_NEXT(cpu, in);
}

BIND(lar, op_lar)
BIND(lsl, op_lsl)
BIND(verify, op_verify)
BIND(arpl, op_arpl)

/* ---- LES, LDS, LSS, LFS, LGS: in->arg is the segment register ---- */

static void
op_load_far(struct softcpu *cpu, const struct insn *in)
{
	uint64_t lin, off;
	uint16_t sel;
	int size = in->aux;

	if (!soft_ea(cpu, in, size + 2, false, &lin))
		return;
	off = 0;
	if (!soft_ld_bytes(cpu, in, lin, &off, size) ||
	    !soft_ld_bytes(cpu, in, lin + (unsigned)size, &sel, 2))
		return;
	cpu->rip = soft_rip(cpu, in);
	if (!soft_load_seg(cpu, (int)in->arg, sel))
		return;
	if (size == 2)
		WREG(cpu, in->reg) = (uint16_t)off;
	else
		cpu->gpr[in->reg] = off;
	soft_end(cpu, in);
}

BIND(load_far, op_load_far)
