/*
 * SSE as host code: moves, packed integers, logic and plain arithmetic.  The
 * guest's registers stay in cpu->fpu; xmm0 and xmm1 are scratch.  MXCSR is
 * the guest's while translated code runs, with all exceptions masked; where
 * the guest unmasks one, ssefp_ok is clear and the handler does it.
 */
#include "fp_local.h"
#include "jit_asm.h"

#define OFF_XMM(n) (OFF_CPU(fpu.ymm) + 32 * (int32_t)(n))

enum kind {
	S_NONE,
	S_LD,	/* xmm <- xmm/mem */
	S_ST,	/* xmm/mem <- xmm */
	S_LDZ,	/* scalar load from memory, the rest is cleared */
	S_STS,	/* scalar store to memory */
	S_OP,	/* xmm <- xmm op xmm/mem */
	S_FOP,	/* the same, may raise exceptions */
	S_MASK, /* general register <- xmm */
};

struct form {
	enum kind kind;
	unsigned size; /* of the memory operand */
	bool aligned;
};

/* Packed integers, with prefix 66. */
static bool
packed_int(unsigned opc)
{
	switch (opc) {
	case 0x60:
	case 0x61:
	case 0x62:
	case 0x63:
	case 0x64:
	case 0x65:
	case 0x66:
	case 0x67:
	case 0x68:
	case 0x69:
	case 0x6a:
	case 0x6b:
	case 0x6c:
	case 0x6d:
	case 0x74:
	case 0x75:
	case 0x76:
	case 0xd1:
	case 0xd2:
	case 0xd3:
	case 0xd4:
	case 0xd5:
	case 0xd8:
	case 0xd9:
	case 0xda:
	case 0xdb:
	case 0xdc:
	case 0xdd:
	case 0xde:
	case 0xdf:
	case 0xe0:
	case 0xe1:
	case 0xe2:
	case 0xe3:
	case 0xe4:
	case 0xe5:
	case 0xe8:
	case 0xe9:
	case 0xea:
	case 0xeb:
	case 0xec:
	case 0xed:
	case 0xee:
	case 0xef:
	case 0xf1:
	case 0xf2:
	case 0xf3:
	case 0xf4:
	case 0xf5:
	case 0xf6:
	case 0xf8:
	case 0xf9:
	case 0xfa:
	case 0xfb:
	case 0xfc:
	case 0xfd:
	case 0xfe:
		return (true);
	default:
		return (false);
	}
}

static struct form
moves(const struct soft_dec *d)
{
	const unsigned pfx = d->row->prefix;
	const struct form none = { S_NONE, 0, false };

	switch (d->opcode) {
	case 0x10:
	case 0x11:
		if (pfx == P_F3 || pfx == P_F2) {
			if (!d->mem)
				return (none);
			return (
			    (struct form) { d->opcode == 0x10 ? S_LDZ : S_STS,
				pfx == P_F3 ? 4 : 8, false });
		}
		return ((struct form) {
		    d->opcode == 0x10 ? S_LD : S_ST, 16, false });
	case 0x28:
	case 0x29:
		if (pfx != P_NONE && pfx != P_66)
			return (none);
		return ((struct form) {
		    d->opcode == 0x28 ? S_LD : S_ST, 16, true });
	case 0x6f:
	case 0x7f:
		if (pfx != P_66 && pfx != P_F3)
			return (none);
		return ((struct form) {
		    d->opcode == 0x6f ? S_LD : S_ST, 16, pfx == P_66 });
	case 0x7e:
		if (pfx != P_F3 || !d->mem)
			return (none);
		return ((struct form) { S_LDZ, 8, false });
	case 0xd6:
		if (pfx != P_66 || !d->mem)
			return (none);
		return ((struct form) { S_STS, 8, false });
	case 0xd7:
		if (pfx != P_66 || d->mem)
			return (none);
		return ((struct form) { S_MASK, 0, false });
	default:
		return (none);
	}
}

static struct form
form_of(const struct soft_dec *d)
{
	const unsigned pfx = d->row->prefix;
	struct form f;

	if (d->row->map != M_0F || d->row->imm != I_NONE || pfx == P_ANY)
		return ((struct form) { S_NONE, 0, false });
	f = moves(d);
	if (f.kind != S_NONE)
		return (f);
	switch (d->opcode) {
	case 0x14:
	case 0x15: /* UNPCK */
	case 0x54:
	case 0x55:
	case 0x56:
	case 0x57: /* logic */
		if (pfx == P_NONE || pfx == P_66)
			return ((struct form) { S_OP, 16, true });
		break;
	case 0x51:
	case 0x58:
	case 0x59:
	case 0x5c:
	case 0x5d:
	case 0x5e:
	case 0x5f: /* SQRT ADD MUL SUB MIN DIV MAX */
		if (pfx == P_NONE || pfx == P_66)
			return ((struct form) { S_FOP, 16, true });
		return ((struct form) { S_FOP, pfx == P_F3 ? 4 : 8, false });
	default:
		if (pfx == P_66 && packed_int(d->opcode))
			return ((struct form) { S_OP, 16, true });
		break;
	}
	return ((struct form) { S_NONE, 0, false });
}

/* op xmm, [base + disp] and op xmm, xmm with a prefix of their own. */
static void
x_rm(struct jb *t, unsigned pfx, unsigned opc, unsigned x, unsigned base,
    int32_t disp)
{
	if (pfx != 0)
		a_byte(t, pfx);
	a_rm(t, 4, opc, x, base, disp);
}
static void
x_rr(struct jb *t, unsigned pfx, unsigned opc, unsigned x, unsigned y)
{
	if (pfx != 0)
		a_byte(t, pfx);
	a_rr(t, 4, opc, x, y);
}
static void
x_get(struct jb *t, unsigned x, unsigned guest)
{
	x_rm(t, 0, 0x0f10, x, H_CPU, OFF_XMM(guest)); /* MOVUPS */
}
static void
x_put(struct jb *t, unsigned x, unsigned guest)
{
	x_rm(t, 0, 0x0f11, x, H_CPU, OFF_XMM(guest));
}

/* H_ADDR = host address of the operand. */
static void
x_mem(struct jb *t, const struct form *f, bool write)
{
	jb_addr(t, f->size);
	if (f->aligned) {
		a_rr(t, 1, 0xf6, 0, H_ADDR);
		a_byte(t, 15);
		jb_slow_if(t, C_NZ);
	}
	jb_probe(t, f->size, write, false);
}

static void
x_op(struct jb *t, const struct form *f)
{
	static const uint8_t bytes[] = {
		[P_66] = 0x66, [P_F3] = 0xf3, [P_F2] = 0xf2
	};
	const struct soft_dec *d = &t->d[t->k];
	const struct insn *in = &t->in[t->k];
	unsigned pfx = bytes[d->row->prefix];

	if (d->mem) {
		x_mem(t, f, false);
		x_rm(t,
		    f->size == 4       ? 0xf3
			: f->size == 8 ? 0xf2
				       : 0,
		    0x0f10, 1, H_ADDR, 0);
	} else
		x_get(t, 1, in->rm);
	x_get(t, 0, in->reg);
	x_rr(t, pfx, 0x0f00u | d->opcode, 0, 1);
	x_put(t, 0, in->reg);
}

static void
x_move(struct jb *t, const struct form *f)
{
	const struct soft_dec *d = &t->d[t->k];
	const struct insn *in = &t->in[t->k];
	const bool store = f->kind == S_ST || f->kind == S_STS;
	const unsigned pfx = f->size == 4 ? 0xf3 : f->size == 8 ? 0xf2 : 0;

	if (d->mem)
		x_mem(t, f, store);
	if (store)
		x_get(t, 0, in->reg);
	else if (d->mem)
		x_rm(t, pfx, 0x0f10, 0, H_ADDR, 0);
	else
		x_get(t, 0, in->rm);
	if (!store)
		x_put(t, 0, in->reg);
	else if (d->mem)
		x_rm(t, pfx, 0x0f11, 0, H_ADDR, 0);
	else
		x_put(t, 0, in->rm);
}

bool
jit_sse(struct jb *t)
{
	const struct soft_dec *d = &t->d[t->k];
	const struct insn *in = &t->in[t->k];
	struct form f;
	unsigned h;

	if (d->row == NULL || d->lock)
		return (false);
	f = form_of(d);
	if (f.kind == S_NONE || (d->mem && !jb_mem_ok(t)))
		return (false);
	jb_clobber(t);
	a_rm(t, 1, 0x80, 7, H_CPU,
	    f.kind == S_FOP ? OFF_CPU(fpu.ssefp_ok) : OFF_CPU(fpu.sse_ok));
	a_byte(t, 0);
	jb_slow_if(t, C_Z);
	switch (f.kind) {
	case S_OP:
	case S_FOP:
		x_op(t, &f);
		break;
	case S_MASK:
		h = jb_dst(t, in->reg, H_TMP);
		x_get(t, 0, in->rm);
		x_rr(t, 0x66, 0x0fd7, h, 0);
		jb_put(t, in->reg, h);
		break;
	default:
		x_move(t, &f);
		break;
	}
	return (true);
}
