/*
 * Integer instructions as host code.  The host's instruction of the same
 * name does the work, flags included; what has no short form here (high byte
 * registers, LOCK, segmented addresses) is left to the handler.
 */
#include "int_local.h"
#include "jit_asm.h"
#include "sys_local.h"

#define G_AX 0u
#define G_DX 2u
#define G_SP 4u
#define G_BP 5u

struct op {
	struct jb *t;
	const struct soft_dec *d;
	const struct insn *in;
	unsigned size;
};

/* Guest register of an operand; byte operands are offsets into gpr[]. */
static unsigned
greg(const struct op *o, unsigned r)
{
	return (o->size == 1 ? r >> 3 : r);
}
/* AH to BH. */
static bool
high(const struct op *o, unsigned r)
{
	return (o->size == 1 && (r & 7) != 0);
}

/* The prefix of what follows, where the record has it. */
static void
lock(const struct op *o)
{
	if (o->d->lock)
		a_byte(o->t, 0xf0);
}

/* A new value of (size) bytes was made in h: sizes below 4 merge, so h must
 * have held the whole register. */
static unsigned
rmw_reg(const struct op *o, unsigned g)
{
	return (jb_src(o->t, g, H_TMP));
}

/* ---- ADD ... CMP, TEST ---- */

static bool
alu_rr(const struct op *o, unsigned op)
{
	struct jb *t = o->t;
	unsigned d, s, b = o->size == 1 ? 0 : 1;

	if (high(o, o->in->rm) || high(o, o->in->reg))
		return (false);
	if (op == I_ADC || op == I_SBB)
		jb_flags_carry(t);
	s = jb_src(t, greg(o, o->in->reg), H_ADDR);
	d = rmw_reg(o, greg(o, o->in->rm));
	if (op == I_TEST)
		a_rr(t, o->size, 0x84 | b, s, d);
	else
		a_rr(t, o->size, op << 3 | b, s, d);
	if (op < I_CMP)
		jb_put(t, greg(o, o->in->rm), d);
	t->flags = JF_HOST;
	return (true);
}

/* op r/m, imm; the opcode is written, modrm comes by (mem) or (reg). */
static void
alu_imm(const struct op *o, unsigned op, bool mem, unsigned h)
{
	struct jb *t = o->t;
	int64_t imm = o->in->imm;
	unsigned opc, ext = op;
	bool small = false;

	if (op == I_TEST) {
		opc = o->size == 1 ? 0xf6 : 0xf7;
		ext = 0;
	} else {
		small = o->size > 1 && imm == (int8_t)imm;
		opc = o->size == 1 ? 0x80 : small ? 0x83 : 0x81;
	}
	if (mem)
		a_rm(t, o->size, opc, ext, h, 0);
	else
		a_rr(t, o->size, opc, ext, h);
	if (small)
		a_byte(t, (unsigned)imm & 0xff);
	else
		a_immz(t, o->size, imm);
}

static bool
alu_ri(const struct op *o, unsigned op)
{
	struct jb *t = o->t;
	unsigned d;

	if (high(o, o->in->rm))
		return (false);
	if (op == I_ADC || op == I_SBB)
		jb_flags_carry(t);
	d = rmw_reg(o, greg(o, o->in->rm));
	alu_imm(o, op, false, d);
	if (op < I_CMP)
		jb_put(t, greg(o, o->in->rm), d);
	t->flags = JF_HOST;
	return (true);
}

/* reg op= mem; or mem op= reg. */
static bool
alu_mem(const struct op *o, unsigned op, bool to_mem)
{
	struct jb *t = o->t;
	unsigned r, b = o->size == 1 ? 0 : 1;

	if (high(o, o->in->reg) || !jb_mem_ok(t))
		return (false);
	jb_mem(t, o->size, to_mem && op < I_CMP);
	if (op == I_ADC || op == I_SBB)
		jb_flags_carry(t);
	r = jb_src(t, greg(o, o->in->reg), H_TMP);
	lock(o);
	if (op == I_TEST)
		a_rm(t, o->size, 0x84 | b, r, H_ADDR, 0);
	else
		a_rm(t, o->size, op << 3 | (to_mem ? 0 : 2) | b, r, H_ADDR, 0);
	if (!to_mem && op < I_CMP)
		jb_put(t, greg(o, o->in->reg), r);
	t->flags = JF_HOST;
	return (true);
}

static bool
alu_mi(const struct op *o, unsigned op)
{
	struct jb *t = o->t;

	if (!jb_mem_ok(t))
		return (false);
	jb_mem(t, o->size, op < I_CMP);
	if (op == I_ADC || op == I_SBB)
		jb_flags_carry(t);
	lock(o);
	alu_imm(o, op, true, H_ADDR);
	t->flags = JF_HOST;
	return (true);
}

static bool
i_alu(const struct op *o)
{
	const struct soft_dec *d = o->d;
	unsigned op = d->row->arg;

	if (d->opcode >= 0x80)
		return (d->mem ? alu_mi(o, op) : alu_ri(o, op));
	if ((d->opcode & 7) >= 4)
		return (alu_ri(o, op));
	if (!d->mem)
		return (alu_rr(o, op));
	return (alu_mem(o, op, (d->opcode & 2) == 0));
}

static bool
i_test(const struct op *o)
{
	const struct soft_dec *d = o->d;

	if (d->opcode == 0x84 || d->opcode == 0x85)
		return (d->mem ? alu_mem(o, I_TEST, true) : alu_rr(o, I_TEST));
	return (d->mem ? alu_mi(o, I_TEST) : alu_ri(o, I_TEST));
}

/* ---- INC DEC NOT NEG ---- */
static bool
i_unary(const struct op *o)
{
	static const uint8_t ext[4] = { 0, 1, 2, 3 };
	struct jb *t = o->t;
	unsigned kind = o->d->row->arg, opc, r = 0;

	opc = (kind < 2 ? 0xfe : 0xf6) | (o->size == 1 ? 0 : 1);
	if (o->d->mem) {
		if (!jb_mem_ok(t))
			return (false);
		jb_mem(t, o->size, true);
	} else {
		if (high(o, o->in->rm))
			return (false);
		r = rmw_reg(o, greg(o, o->in->rm));
	}
	if (kind < 2 && (t->live[t->k + 1] & FL_CF))
		jb_flags_carry(t);
	lock(o);
	if (o->d->mem)
		a_rm(t, o->size, opc, ext[kind], H_ADDR, 0);
	else {
		a_rr(t, o->size, opc, ext[kind], r);
		jb_put(t, greg(o, o->in->rm), r);
	}
	if (kind != 2)
		t->flags = JF_HOST;
	return (true);
}

/* ---- MOV ---- */
static bool
mov_reg(const struct op *o)
{
	struct jb *t = o->t;
	unsigned d, s, gd = greg(o, o->in->rm), gs = greg(o, o->in->reg);

	if (high(o, o->in->rm) || high(o, o->in->reg))
		return (false);
	s = jb_src(t, gs, H_ADDR);
	if (o->size == 8) {
		jb_put(t, gd, s);
		return (true);
	}
	d = o->size == 4 ? jb_dst(t, gd, H_TMP) : rmw_reg(o, gd);
	a_rr(t, o->size, o->size == 1 ? 0x8a : 0x8b, d, s);
	jb_put(t, gd, d);
	return (true);
}

static bool
mov_imm(const struct op *o)
{
	struct jb *t = o->t;
	unsigned g = greg(o, o->in->rm), d;
	bool wide = o->d->opcode >= 0xb8 && o->d->opcode < 0xc0;
	uint64_t v = wide ? o->in->imm64 : (uint64_t)(int64_t)o->in->imm;

	if (high(o, o->in->rm))
		return (false);
	if (o->size >= 4) {
		if (o->size == 4)
			v = (uint32_t)v;
		d = jb_dst(t, g, H_TMP);
		a_imm64(t, d, v);
	} else {
		d = rmw_reg(o, g);
		a_rr(t, o->size, o->size == 1 ? 0xc6 : 0xc7, 0, d);
		a_le(t, v, o->size);
	}
	jb_put(t, g, d);
	return (true);
}

static bool
mov_mem(const struct op *o)
{
	struct jb *t = o->t;
	unsigned b = o->size == 1 ? 0 : 1, g = greg(o, o->in->reg), h;
	bool load = (o->d->opcode & 2) != 0;

	if (!jb_mem_ok(t))
		return (false);
	if (o->d->opcode >= 0xc6) {
		jb_mem(t, o->size, true);
		a_rm(t, o->size, 0xc6 | b, 0, H_ADDR, 0);
		a_immz(t, o->size, o->in->imm);
		return (true);
	}
	if (high(o, o->in->reg))
		return (false);
	jb_mem(t, o->size, !load);
	if (!load) {
		h = jb_src(t, g, H_TMP);
		a_rm(t, o->size, 0x88 | b, h, H_ADDR, 0);
		return (true);
	}
	h = o->size >= 4 ? jb_dst(t, g, H_TMP) : rmw_reg(o, g);
	a_rm(t, o->size, 0x8a | b, h, H_ADDR, 0);
	jb_put(t, g, h);
	return (true);
}

/* MOV between AL, eAX and a full address. */
static bool
i_moffs(const struct op *o)
{
	struct jb *t = o->t;
	const unsigned ax = jit_host[G_AX], b = o->size == 1 ? 0 : 1;
	const bool load = (o->d->opcode & 2) == 0;

	if (!jb_mem_ok(t))
		return (false);
	a_imm64(t, H_ADDR, o->in->imm64);
	jb_segment(t, o->size);
	jb_probe(t, o->size, !load, false);
	a_rm(t, o->size, (load ? 0x8a : 0x88) | b, ax, H_ADDR, 0);
	return (true);
}

static bool
i_mov(const struct op *o)
{
	if (o->d->mem)
		return (mov_mem(o));
	return (o->d->opcode >= 0xb0 ? mov_imm(o) : mov_reg(o));
}

/* MOVZX MOVSX MOVSXD: arg as in ibind_movx. */
static bool
i_movx(const struct op *o)
{
	static const uint16_t opcs[5] = { 0x0fb6, 0x0fb7, 0x0fbe, 0x0fbf,
		0x63 };
	static const uint8_t widths[5] = { 1, 2, 1, 2, 4 };
	struct jb *t = o->t;
	unsigned kind = o->d->row->arg, opc = opcs[kind];
	unsigned width = widths[kind], s, d, g = o->in->reg;

	if (o->size == 2)
		return (false);
	d = jb_dst(t, g, H_TMP);
	if (o->d->mem) {
		if (!jb_mem_ok(t))
			return (false);
		jb_mem(t, width, false);
		a_rm(t, o->size, opc, d, H_ADDR, 0);
	} else if (width == 1) {
		s = jb_src(t, o->in->rm >> 3, H_AX);
		if (o->in->rm & 7) {
			/* AH to BH: bits 15:8, by way of rax. */
			a_mov(t, H_AX, s);
			a_rr(t, 4, 0x0fb6 | (kind == 2 ? 8 : 0), H_AX, 4);
			if (o->size == 8 && kind == 2)
				a_rr(t, 8, 0x63, H_AX, H_AX);
			a_mov(t, d, H_AX);
		} else
			a_rr8(t, o->size, opc, d, s);
	} else {
		s = jb_src(t, o->in->rm, H_AX);
		a_rr(t, o->size, opc, d, s);
	}
	jb_put(t, g, d);
	return (true);
}

static bool
i_lea(const struct op *o)
{
	struct jb *t = o->t;
	unsigned d;

	/* No segment has a part in it. */
	if (o->size < 4 || o->d->asize < 4 || o->in->index > R_ZERO ||
	    (o->in->base == R_BLOCK && !jb_mem_ok(t)))
		return (false);
	jb_lin(t, H_TMP);
	if (o->size == 8) {
		jb_put(t, o->in->reg, H_ADDR);
		return (true);
	}
	d = jb_dst(t, o->in->reg, H_ADDR);
	a_rr(t, 4, 0x8b, d, H_ADDR);
	jb_put(t, o->in->reg, d);
	return (true);
}

/* ---- CMOVcc SETcc ---- */
static bool
i_cmov(const struct op *o)
{
	struct jb *t = o->t;
	unsigned g = o->in->reg, d, s = 0, cc = o->d->opcode & 15;

	if (o->size == 2 || (o->d->mem && !jb_mem_ok(t)))
		return (false);
	if (o->d->mem)
		jb_mem(t, o->size, false);
	jb_flags_load(t);
	if (!o->d->mem)
		s = jb_src(t, o->in->rm, H_ADDR);
	d = jb_src(t, g, H_TMP);
	if (o->d->mem)
		a_rm(t, o->size, 0x0f40 | cc, d, H_ADDR, 0);
	else
		a_rr(t, o->size, 0x0f40 | cc, d, s);
	jb_put(t, g, d);
	return (true);
}

static bool
i_setcc(const struct op *o)
{
	struct jb *t = o->t;
	unsigned d, cc = o->d->opcode & 15;

	if (o->d->mem ? !jb_mem_ok(t) : high(o, o->in->rm))
		return (false);
	if (o->d->mem)
		jb_mem(t, 1, true);
	jb_flags_load(t);
	if (o->d->mem) {
		a_rm(t, 1, 0x0f90 | cc, 0, H_ADDR, 0);
		return (true);
	}
	d = rmw_reg(o, greg(o, o->in->rm));
	a_rr(t, 1, 0x0f90 | cc, 0, d);
	jb_put(t, greg(o, o->in->rm), d);
	return (true);
}

/* ---- shifts and rotates ---- */
static bool
i_shift(const struct op *o)
{
	struct jb *t = o->t;
	uint32_t arg = o->d->row->arg;
	unsigned kind = arg & 7, d, b = o->size == 1 ? 0 : 1;
	unsigned n = (unsigned)o->in->imm & (o->size == 8 ? 63 : 31);

	if (o->d->mem || high(o, o->in->rm))
		return (false);
	if (!(arg & 0x10) && n == 0)
		return (false);
	if (kind == 2 || kind == 3)
		jb_flags_load(t);
	else if (arg & 0x10) {
		/* A count of zero leaves all flags alone. */
		if (t->live[t->k + 1] != 0)
			jb_flags_load(t);
	} else
		jb_flags_merge(t);
	d = rmw_reg(o, greg(o, o->in->rm));
	if (arg & 0x10)
		a_rr(t, o->size, 0xd2 | b, kind, d);
	else {
		a_rr(t, o->size, 0xc0 | b, kind, d);
		a_byte(t, n);
	}
	jb_put(t, greg(o, o->in->rm), d);
	t->flags = JF_HOST;
	return (true);
}

static bool
i_shd(const struct op *o)
{
	struct jb *t = o->t;
	unsigned n = (unsigned)o->in->imm & (o->size == 8 ? 63 : 31), d, s;
	bool cl = (o->d->opcode & 1) != 0;

	if (o->d->mem || o->size == 2 || (!cl && n == 0))
		return (false);
	if (cl && t->live[t->k + 1] != 0)
		jb_flags_load(t);
	s = jb_src(t, o->in->reg, H_ADDR);
	d = rmw_reg(o, o->in->rm);
	a_rr(t, o->size, 0x0f00u | o->d->opcode, s, d);
	if (!cl)
		a_byte(t, n);
	jb_put(t, o->in->rm, d);
	t->flags = JF_HOST;
	return (true);
}

/* ---- MUL IMUL ---- */
static bool
i_mul(const struct op *o)
{
	struct jb *t = o->t;
	unsigned kind = o->d->row->arg, s = 0, b = o->size == 1 ? 0 : 1;

	if (kind > 5 || (o->d->mem ? !jb_mem_ok(t) : high(o, o->in->rm)))
		return (false);
	if (o->d->mem)
		jb_mem(t, o->size, false);
	else
		s = jb_src(t, greg(o, o->in->rm), H_TMP);
	a_mov(t, H_AX, jit_host[G_AX]);
	if (o->d->mem)
		a_rm(t, o->size, 0xf6 | b, kind, H_ADDR, 0);
	else
		a_rr(t, o->size, 0xf6 | b, kind, s);
	a_mov(t, jit_host[G_AX], H_AX);
	t->flags = JF_HOST;
	return (true);
}

static bool
i_imul2(const struct op *o)
{
	struct jb *t = o->t;
	unsigned g = o->in->reg, d, s = 0, opc = 0x0faf;
	bool imm = o->d->row->arg == 3;

	if (o->size == 2 || (o->d->mem && !jb_mem_ok(t)))
		return (false);
	if (o->d->mem)
		jb_mem(t, o->size, false);
	else
		s = jb_src(t, o->in->rm, H_ADDR);
	if (imm) {
		d = jb_dst(t, g, H_TMP);
		opc = 0x69;
	} else
		d = jb_src(t, g, H_TMP);
	if (o->d->mem)
		a_rm(t, o->size, opc, d, H_ADDR, 0);
	else
		a_rr(t, o->size, opc, d, s);
	if (imm)
		a_le(t, (uint32_t)o->in->imm, 4);
	jb_put(t, g, d);
	t->flags = JF_HOST;
	return (true);
}

/* ---- BT BTS BTR BTC of registers, BSWAP, CWD and family ---- */
static bool
i_bt(const struct op *o)
{
	struct jb *t = o->t;
	unsigned kind = o->d->row->arg & 3, d, s = 0;
	bool imm = o->d->row->arg >= 4;

	/* A bit offset in a register reaches beyond the operand. */
	if (o->size == 2 || (o->d->mem && (!imm || !jb_mem_ok(t))))
		return (false);
	if (o->d->mem) {
		jb_mem(t, o->size, kind != 0);
		jb_flags_merge(t);
		lock(o);
		a_rm(t, o->size, 0x0fba, 4 + kind, H_ADDR, 0);
		a_byte(t, (unsigned)o->in->imm & 63);
		t->flags = JF_HOST;
		return (true);
	}
	jb_flags_merge(t);
	if (!imm)
		s = jb_src(t, o->in->reg, H_ADDR);
	d = rmw_reg(o, o->in->rm);
	if (imm) {
		a_rr(t, o->size, 0x0fba, 4 + kind, d);
		a_byte(t, (unsigned)o->in->imm & 63);
	} else
		a_rr(t, o->size, 0x0fa3 | kind << 3, s, d);
	if (kind != 0)
		jb_put(t, o->in->rm, d);
	t->flags = JF_HOST;
	return (true);
}

static bool
i_bswap(const struct op *o)
{
	struct jb *t = o->t;
	unsigned d;

	if (o->size == 2)
		return (false);
	d = rmw_reg(o, o->in->rm);
	a_head(t, o->size, 0x0fc8 | (d & 7), 0, 0, d, false);
	jb_put(t, o->in->rm, d);
	return (true);
}

static bool
i_conv(const struct op *o)
{
	const unsigned ax = jit_host[G_AX], dx = jit_host[G_DX];
	struct jb *t = o->t;

	if (o->size == 2)
		return (false);
	if (!(o->d->opcode & 1)) {
		if (o->size == 8)
			a_rr(t, 8, 0x63, ax, ax);
		else
			a_rr(t, 4, 0x0fbf, ax, ax);
		return (true);
	}
	/* CDQ and CQO work on rax and rdx and touch no flags. */
	if (dx != H_DX)
		return (false);
	a_mov(t, H_AX, ax);
	a_head(t, o->size, 0x99, 0, 0, 0, false);
	return (true);
}

static bool
i_xchg(const struct op *o)
{
	struct jb *t = o->t;
	unsigned ga, gb, a, b;

	if (o->d->mem) {
		if (high(o, o->in->reg) || !jb_mem_ok(t))
			return (false);
		jb_mem(t, o->size, true);
		gb = greg(o, o->in->reg);
		b = rmw_reg(o, gb);
		a_rm(t, o->size, o->size == 1 ? 0x86 : 0x87, b, H_ADDR, 0);
		jb_put(t, gb, b);
		return (true);
	}
	if (o->size < 4)
		return (false);
	ga = o->in->rm;
	gb = o->d->opcode >= 0x90 ? G_AX : o->in->reg;
	if (o->d->opcode == 0x90 && ga == G_AX)
		return (true); /* NOP */
	a = jb_src(t, ga, H_TMP);
	b = jb_src(t, gb, H_ADDR);
	a_rr(t, o->size, 0x8b, H_AX, a);
	a_rr(t, o->size, 0x8b, b, b);
	jb_put(t, ga, b);
	jb_put(t, gb, H_AX);
	return (true);
}

/* CMPXCHG and XADD of memory. */
static bool
i_cmpxchg(const struct op *o)
{
	struct jb *t = o->t;
	unsigned r;

	if (!o->d->mem || high(o, o->in->reg) || !jb_mem_ok(t))
		return (false);
	jb_mem(t, o->size, true);
	r = jb_src(t, greg(o, o->in->reg), H_TMP);
	a_mov(t, H_AX, jit_host[G_AX]);
	lock(o);
	a_rm(t, o->size, o->size == 1 ? 0x0fb0 : 0x0fb1, r, H_ADDR, 0);
	a_mov(t, jit_host[G_AX], H_AX);
	t->flags = JF_HOST;
	return (true);
}

static bool
i_xadd(const struct op *o)
{
	struct jb *t = o->t;
	unsigned g, r;

	if (!o->d->mem || high(o, o->in->reg) || !jb_mem_ok(t))
		return (false);
	jb_mem(t, o->size, true);
	g = greg(o, o->in->reg);
	r = rmw_reg(o, g);
	lock(o);
	a_rm(t, o->size, o->size == 1 ? 0x0fc0 : 0x0fc1, r, H_ADDR, 0);
	jb_put(t, g, r);
	t->flags = JF_HOST;
	return (true);
}

/* ---- the stack ---- */
static bool
push_mem(const struct op *o)
{
	const unsigned sp = jit_host[G_SP], w = o->size;
	struct jb *t = o->t;

	if (!jb_mem_ok(t))
		return (false);
	jb_mem(t, w, false);
	a_rm(t, w, 0x8b, H_AX, H_ADDR, 0);
	a_rm(t, w, 0x89, H_AX, H_SP, 0);
	a_leaw(t, H_ADDR, sp, -(int32_t)w);
	jb_probe(t, w, true, false);
	a_rm(t, w, 0x8b, H_AX, H_SP, 0);
	a_rm(t, w, 0x89, H_AX, H_ADDR, 0);
	a_leaw(t, sp, sp, -(int32_t)w);
	return (true);
}

static bool
i_push(const struct op *o)
{
	const unsigned sp = jit_host[G_SP], w = o->size;
	struct jb *t = o->t;

	if (w != jb_word(t))
		return (false);
	if (o->d->mem)
		return (push_mem(o));
	a_leaw(t, H_ADDR, sp, -(int32_t)w);
	jb_probe(t, w, true, false);
	if (o->d->opcode == 0x68 || o->d->opcode == 0x6a) {
		a_rm(t, w, 0xc7, 0, H_ADDR, 0);
		a_le(t, (uint32_t)o->in->imm, 4);
	} else
		a_rm(t, w, 0x89, jb_src(t, o->in->rm, H_TMP), H_ADDR, 0);
	a_leaw(t, sp, sp, -(int32_t)w);
	return (true);
}

static bool
i_pop(const struct op *o)
{
	const unsigned sp = jit_host[G_SP], w = o->size;
	struct jb *t = o->t;
	unsigned d;

	if (o->d->mem || w != jb_word(t))
		return (false);
	a_rr(t, w, 0x8b, H_ADDR, sp);
	jb_probe(t, w, false, false);
	a_leaw(t, sp, sp, (int32_t)w);
	d = jb_dst(t, o->in->rm, H_TMP);
	a_rm(t, w, 0x8b, d, H_ADDR, 0);
	jb_put(t, o->in->rm, d);
	return (true);
}

static bool
i_leave(const struct op *o)
{
	const unsigned sp = jit_host[G_SP], bp = jit_host[G_BP], w = o->size;
	struct jb *t = o->t;

	if (o->d->opcode != 0xc9 || w != jb_word(t))
		return (false);
	a_rr(t, w, 0x8b, H_ADDR, bp);
	jb_probe(t, w, false, false);
	a_leaw(t, sp, bp, (int32_t)w);
	a_rm(t, w, 0x8b, bp, H_ADDR, 0);
	return (true);
}

static bool
i_nop(const struct op *o)
{
	return (true);
}

static const struct {
	soft_bind bind;
	bool (*fn)(const struct op *);
} int_fns[] = {
	{ ibind_mov, i_mov },
	{ ibind_moffs, i_moffs },
	{ ibind_alu, i_alu },
	{ ibind_test, i_test },
	{ ibind_lea, i_lea },
	{ ibind_movx, i_movx },
	{ ibind_push, i_push },
	{ ibind_pop, i_pop },
	{ ibind_unary, i_unary },
	{ ibind_shift, i_shift },
	{ ibind_cmov, i_cmov },
	{ ibind_setcc, i_setcc },
	{ ibind_nop, i_nop },
	{ ibind_imul2, i_imul2 },
	{ ibind_mul, i_mul },
	{ ibind_bt, i_bt },
	{ ibind_conv, i_conv },
	{ ibind_bswap, i_bswap },
	{ ibind_xchg, i_xchg },
	{ ibind_shd, i_shd },
	{ ibind_stackmisc, i_leave },
	{ bind_nop, i_nop },
	{ ibind_cmpxchg, i_cmpxchg },
	{ ibind_xadd, i_xadd },
};

bool
jit_int(struct jb *t)
{
	struct op o;

	o.t = t;
	o.d = &t->d[t->k];
	o.in = &t->in[t->k];
	o.size = o.d->opsize;
	/* LOCK without memory or where it must not be is #UD. */
	if (o.d->row == NULL ||
	    (o.d->lock && (!o.d->mem || !(o.d->row->attr & A_LOCK))))
		return (false);
	for (size_t i = 0; i < sizeof(int_fns) / sizeof(int_fns[0]); i++)
		if (o.d->row->bind == int_fns[i].bind)
			return (int_fns[i].fn(&o));
	return (false);
}
