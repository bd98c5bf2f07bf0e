/*
 * Far JMP and CALL in real and protected mode, call gates with their change
 * of privilege, software interrupts.
 */
#include "sys_local.h"

static bool
far_real(struct softcpu *cpu, uint16_t sel, uint64_t off, int size, bool call,
    uint64_t next)
{
	struct sysstk k;
	uint64_t frame[2];

	if (off > cpu->seg[S_CS].limit)
		return (sys_fail(cpu, X_GP, 0));
	if (call) {
		frame[0] = cpu->seg[S_CS].sel;
		frame[1] = next;
		sys_stk_cur(cpu, &k);
		if (!sys_stk_push(cpu, &k, size, frame, 2, 0))
			return (false);
		sys_set_sp(cpu, &k, k.sp);
	}
	sys_real_seg(cpu, S_CS, sel);
	cpu->rip = off;
	return (true);
}

/* Transfer to a code segment without a gate. */
static bool
far_code(struct softcpu *cpu, uint16_t sel, uint64_t off, int size, bool call,
    uint64_t next, struct sysdesc *d)
{
	struct sysstk k;
	uint64_t frame[2];
	unsigned dpl;

	dpl = AT_DPL(d->attr);
	if (at_is_conforming(d->attr)
		? dpl > cpu->cpl
		: (dpl != cpu->cpl || (sel & 3u) > cpu->cpl))
		return (sys_fail(cpu, X_GP, SEL_ERR(sel, 0)));
	if (!(d->attr & AT_P))
		return (sys_fail(cpu, X_NP, SEL_ERR(sel, 0)));
	if (sys_lma(cpu) && (d->attr & (AT_L | AT_DB)) == (AT_L | AT_DB))
		return (sys_fail(cpu, X_GP, SEL_ERR(sel, 0)));
	if (!sys_lma(cpu) || !(d->attr & AT_L))
		off = (uint32_t)off;
	if (!sys_check_rip(cpu, d, off, 0) || !sys_set_accessed(cpu, d))
		return (false);
	if (call) {
		frame[0] = cpu->seg[S_CS].sel;
		frame[1] = next;
		sys_stk_cur(cpu, &k);
		if (!sys_stk_push(cpu, &k, size, frame, 2, 0))
			return (false);
		sys_set_sp(cpu, &k, k.sp);
	}
	sys_set_cs(cpu, sel, d, cpu->cpl);
	cpu->rip = off;
	return (true);
}

/* The new stack of a call to inner level dpl. */
static bool
gate_new_stack(
    struct softcpu *cpu, unsigned dpl, struct sysstk *k, uint16_t *sel)
{
	struct sysdesc ss;

	k->cpl = (int)dpl;
	k->is64 = sys_lma(cpu);
	*sel = (uint16_t)dpl;
	if (!sys_tss_stack(cpu, dpl, 0, sel, &k->sp))
		return (false);
	if (k->is64)
		return (true);
	if (!sys_fetch_ss(cpu, *sel, dpl, X_TS, 0, &ss))
		return (false);
	sys_set_seg(&k->ss, *sel, &ss);
	return (true);
}

static bool
gate_call_inner(
    struct softcpu *cpu, unsigned dpl, int size, int params, uint64_t next)
{
	struct sysstk k, old;
	uint64_t frame[36];
	uint16_t sel;
	int i, n;

	if (!gate_new_stack(cpu, dpl, &k, &sel))
		return (false);
	sys_stk_cur(cpu, &old);
	n = 0;
	frame[n++] = cpu->seg[S_SS].sel;
	frame[n++] = cpu->gpr[R_SP];
	for (i = params - 1; i >= 0; i--)
		if (!sys_stk_read(
			cpu, &old, (uint64_t)(i * size), size, &frame[n++]))
			return (false);
	frame[n++] = cpu->seg[S_CS].sel;
	frame[n++] = next;
	if (!sys_stk_push(cpu, &k, size, frame, n, SEL_ERR(sel, 0)))
		return (false);
	if (k.is64)
		sys_null_ss(cpu, (uint16_t)dpl);
	else
		cpu->seg[S_SS] = k.ss;
	sys_set_sp(cpu, &k, k.sp);
	return (true);
}

static bool
gate_call_same(struct softcpu *cpu, int size, uint64_t next)
{
	struct sysstk k;
	uint64_t frame[2];

	frame[0] = cpu->seg[S_CS].sel;
	frame[1] = next;
	sys_stk_cur(cpu, &k);
	if (sys_lma(cpu))
		k.is64 = true;
	if (!sys_stk_push(cpu, &k, size, frame, 2, 0))
		return (false);
	sys_set_sp(cpu, &k, k.sp);
	return (true);
}

/* Through a call gate whose DPL has been found good. */
static bool
far_gate(struct softcpu *cpu, const struct sysdesc *g, bool call, uint64_t next)
{
	struct sysdesc d;
	uint64_t off;
	uint16_t sel;
	unsigned dpl, cpl;
	uint32_t upper;
	int size;

	sel = (uint16_t)(g->lo >> 16);
	off = (g->lo & 0xffff) | (g->hi & 0xffff0000u);
	size = (g->attr & 8) ? 4 : 2;
	if (size == 2)
		off &= 0xffff;
	if (sys_lma(cpu)) {
		size = 8;
		if (!soft_sys_ld(cpu, g->addr + 8, 4, &upper))
			return (false);
		off |= (uint64_t)upper << 32;
	}
	if ((sel & 0xfffc) == 0)
		return (sys_fail(cpu, X_GP, 0));
	if (!sys_fetch(cpu, sel, &d, X_GP, 0))
		return (false);
	dpl = AT_DPL(d.attr);
	if (!at_is_code(d.attr) || dpl > cpu->cpl ||
	    (!call && !at_is_conforming(d.attr) && dpl != cpu->cpl))
		return (sys_fail(cpu, X_GP, SEL_ERR(sel, 0)));
	if (sys_lma(cpu) && (d.attr & (AT_L | AT_DB)) != AT_L)
		return (sys_fail(cpu, X_GP, SEL_ERR(sel, 0)));
	if (!(d.attr & AT_P))
		return (sys_fail(cpu, X_NP, SEL_ERR(sel, 0)));
	if (!sys_check_rip(cpu, &d, off, 0) || !sys_set_accessed(cpu, &d))
		return (false);
	cpl = cpu->cpl;
	if (call && !at_is_conforming(d.attr) && dpl < cpl) {
		if (!gate_call_inner(cpu, dpl, size,
			size == 8 ? 0 : (int)(g->hi & 0x1f), next))
			return (false);
		cpl = dpl;
	} else if (call && !gate_call_same(cpu, size, next))
		return (false);
	sys_set_cs(cpu, sel, &d, (int)cpl);
	cpu->rip = off;
	return (true);
}

/* System descriptors: call gates, task gates, TSSs. */
static bool
far_system(
    struct softcpu *cpu, uint16_t sel, bool call, int len, struct sysdesc *d)
{
	uint32_t err = SEL_ERR(sel, 0);
	unsigned dpl, type;

	type = AT_TYPE(d->attr);
	dpl = AT_DPL(d->attr);
	if (sys_lma(cpu)) {
		if (type != ST_CALL32)
			return (sys_fail(cpu, X_GP, err));
	} else if (type != ST_CALL16 && type != ST_CALL32 &&
	    type != ST_TASKGATE && type != ST_TSS16 && type != ST_TSS32)
		return (sys_fail(cpu, X_GP, err));
	if (dpl < cpu->cpl || (sel & 3u) > dpl)
		return (sys_fail(cpu, X_GP, err));
	if (!(d->attr & AT_P))
		return (sys_fail(cpu, X_NP, err));
	if (type == ST_CALL16 || type == ST_CALL32) {
		/* 16 bytes in long mode, with the upper type field 0. */
		if (sys_lma(cpu) && !sys_fetch_sys(cpu, sel, d, X_GP, 0))
			return (false);
		return (far_gate(cpu, d, call, cpu->rip + (unsigned)len));
	}
	if (type == ST_TASKGATE)
		sel = (uint16_t)(d->lo >> 16);
	return (soft_task_switch(
	    cpu, sel, (call ? TASK_CALL : TASK_JMP) | len << 8, false, 0));
}

/*
 * Far JMP or CALL to sel:off.  (size) is the operand size, (len) the
 * instruction's length.
 */
bool
far_transfer(struct softcpu *cpu, uint16_t sel, uint64_t off, int size,
    bool call, int len)
{
	struct sysdesc d;
	bool ok;

	if (!(cpu->mode & MODE_PROT))
		ok = far_real(
		    cpu, sel, off, size, call, cpu->rip + (unsigned)len);
	else if ((sel & 0xfffc) == 0)
		ok = sys_fail(cpu, X_GP, 0);
	else if (!sys_fetch(cpu, sel, &d, X_GP, 0))
		ok = false;
	else if (at_is_code(d.attr))
		ok = far_code(
		    cpu, sel, off, size, call, cpu->rip + (unsigned)len, &d);
	else if (d.attr & AT_S)
		ok = sys_fail(cpu, X_GP, SEL_ERR(sel, 0));
	else
		ok = far_system(cpu, sel, call, len, &d);
	if (ok)
		soft_mode_update(cpu);
	return (ok);
}

static void
far_imm(struct softcpu *cpu, const struct insn *in, bool call)
{
	uint64_t off;

	cpu->rip = soft_rip(cpu, in);
	off = (uint32_t)in->imm64;
	if (in->aux == 2)
		off &= 0xffff;
	if (far_transfer(
		cpu, (uint16_t)(in->imm64 >> 32), off, in->aux, call, in->len))
		sys_done(cpu, cpu->rip);
}
static void
op_jmp_imm(struct softcpu *cpu, const struct insn *in)
{
	far_imm(cpu, in, false);
}
static void
op_call_imm(struct softcpu *cpu, const struct insn *in)
{
	far_imm(cpu, in, true);
}

static void
far_mem(struct softcpu *cpu, const struct insn *in, bool call)
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
	if (far_transfer(cpu, sel, off, size, call, in->len))
		sys_done(cpu, cpu->rip);
}
static void
op_jmp_mem(struct softcpu *cpu, const struct insn *in)
{
	far_mem(cpu, in, false);
}
static void
op_call_mem(struct softcpu *cpu, const struct insn *in)
{
	far_mem(cpu, in, true);
}

BIND(jmp_far_imm, op_jmp_imm)
BIND(call_far_imm, op_call_imm)
BIND(jmp_far_mem, op_jmp_mem)
BIND(call_far_mem, op_call_mem)

/* ---- INT n, INT3, INTO, INT1 ---- */

static void
int_event(struct softcpu *cpu, const struct insn *in, enum idt_kind kind,
    uint8_t vector)
{
	struct idt_event ev = {
		.kind = kind, .vector = vector, .len = in->len
	};

	cpu->rip = soft_rip(cpu, in);
	if (idt_deliver(cpu, &ev))
		sys_done(cpu, cpu->rip);
}

static void
op_int(struct softcpu *cpu, const struct insn *in)
{
	int_event(cpu, in, IDT_INTN, (uint8_t)in->imm);
}

static void
op_int3(struct softcpu *cpu, const struct insn *in)
{
	if (cpu->caps & (1u << VM_CAP_BPT_EXIT)) {
		cpu->rip = soft_rip(cpu, in);
		cpu->vme->exitcode = VM_EXITCODE_BPT;
		cpu->vme->rip = cpu->rip;
		cpu->vme->inst_length = 0;
		cpu->vme->u.bpt.inst_length = in->len;
		cpu->stop = STOP_EXIT;
		return;
	}
	int_event(cpu, in, IDT_SWEXC, X_BP);
}

static void
op_into(struct softcpu *cpu, const struct insn *in)
{
	if (!(cpu->cc & CC_OF)) {
		sys_done(cpu, soft_rip_next(cpu, in));
		return;
	}
	int_event(cpu, in, IDT_SWEXC, X_OF);
}

static void
op_int1(struct softcpu *cpu, const struct insn *in)
{
	/* What a MOV SS before it left is told by this #DB. */
	soft_take_traps(cpu);
	int_event(cpu, in, IDT_ICEBP, X_DB);
}

BIND(int, op_int)
BIND(int3, op_int3)
BIND(into, op_into)
BIND(int1, op_int1)
