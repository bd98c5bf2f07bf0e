/* Random instructions for int_host.c; see int_gen.h. */
#include <string.h>

#include "int_gen.h"

static uint64_t rnd_state;

void
gen_seed(uint64_t seed)
{
	rnd_state = seed * 0x9e3779b97f4a7c15ull + 1;
}

static uint64_t
rnd(void)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return (rnd_state * 0x2545f4914f6cdd1dull);
}

static unsigned
below(unsigned n)
{
	return ((unsigned)((rnd() >> 32) % n));
}

/* Numbers that arithmetic finds interesting. */
static uint64_t
value(void)
{
	static const uint64_t edge[] = {
		0,
		1,
		2,
		~0ull,
		~1ull,
		0x7f,
		0x80,
		0xff,
		0x100,
		0x7fff,
		0x8000,
		0xffff,
		0x10000,
		0x7fffffff,
		0x80000000,
		0xffffffff,
		0x100000000,
		0x7fffffffffffffff,
		0x8000000000000000,
		0xffffffff80000000,
		0xffffffffffff8000,
		0xffffffffffffff80,
	};

	switch (below(4)) {
	case 0:
		return (edge[below(sizeof(edge) / sizeof(edge[0]))]);
	case 1:
		return (rnd() >> below(64));
	case 2:
		return (edge[below(sizeof(edge) / sizeof(edge[0]))] +
		    (uint64_t)(int64_t)((int)below(5) - 2));
	default:
		return (rnd());
	}
}

bool
gen_seg_lin(struct softcpu *cpu, const struct insn *in, int seg, uint64_t off,
    int size, bool write, uint64_t *lin)
{
	const struct softseg *s = &cpu->seg[seg];
	bool ok;

	if (cpu->mode & MODE_64) {
		*lin = off + cpu->segbase[seg];
		return (true);
	}
	ok = !(s->attr & 0x10000) &&
	    off + (uint64_t)size <= (uint64_t)s->limit + 1;
	if (s->attr & 8)
		ok = ok && !write;
	if (!ok) {
		soft_fault_err(cpu, in, seg == S_SS ? X_SS : X_GP, 0);
		return (false);
	}
	*lin = s->base + off;
	return (true);
}

static bool
named(const struct optab *r, const char *name)
{
	return (strcmp(r->name, name) == 0);
}

static bool
starts(const struct optab *r, const char *name)
{
	return (strncmp(r->name, name, strlen(name)) == 0);
}

/* Left to guests: loads of segment registers, PAUSE. */
bool
gen_applies(const struct gen *g)
{
	const struct optab *r = g->row;

	if (named(r, "pause") || (r->opcode == 0x8e && r->map == M_1))
		return (false);
	if (named(r, "pop") && strlen(r->operands) == 2 &&
	    r->operands[1] == 'S')
		return (false);
	if (g->mode == N_64)
		return ((r->attr & A_I64) == 0 && r->opcode != 0x82);
	return ((r->attr & A_O64) == 0);
}

/* ---- encoding ---- */
struct enc {
	struct gen *g;
	struct nctx *in;
	bool p66, p67, lock;
	uint8_t rep, segov, rex;
	unsigned opsize, asize;
	bool mem, riprel;
	uint8_t modrm, sib;
	int64_t disp;
	unsigned displen;
	uint64_t imm;
	unsigned immlen;
	uint8_t opreg;
};

static void
put(struct gen *g, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		g->code[g->len++] = (uint8_t)(v >> (8 * i));
}

static void
choose_prefixes(struct enc *e)
{
	static const uint8_t legacy[] = { 0x26, 0x2e, 0x36, 0x64, 0x65 };
	const struct optab *r = e->g->row;
	bool wide = e->g->mode == N_64;

	e->p66 = r->prefix == P_66 || (r->prefix == P_ANY && below(4) == 0) ||
	    (r->prefix == P_F3 && below(4) == 0);
	e->p67 = below(5) == 0;
	/* No address of the flat modes has 16 bits. */
	if (e->g->mode == N_32 && e->p67 && (r->attr & A_MODRM))
		e->p67 = named(r, "lea");
	if (e->g->mode == N_32 &&
	    ((r->attr & A_REP) || r->imm == I_MOFFS || named(r, "xlat")))
		e->p67 = false;
	/* Vendors differ in 66 with MOVSXD and with 64-bit near branches. */
	if (wide && ((r->attr & A_F64) || named(r, "movsxd")))
		e->p66 = false;
	e->rep = r->prefix == P_F3 ? 0xf3 : r->prefix == P_F2 ? 0xf2 : 0;
	if (r->attr & A_REP)
		e->rep = below(2) ? 0 : below(2) ? 0xf3 : 0xf2;
	if (below(4) == 0)
		e->segov = wide ? 0x65 : legacy[below(5)];
	if (wide && below(3) != 0)
		e->rex = (uint8_t)(0x40 | below(16));
	if (wide && (r->attr & A_F64))
		e->rex &= (uint8_t)~8;
	if (e->g->mode == N_64)
		e->asize = e->p67 ? 4 : 8;
	else
		e->asize = ((e->g->mode != N_16) != e->p67) ? 4 : 2;
}

static void
choose_opsize(struct enc *e)
{
	const struct optab *r = e->g->row;
	bool p66 = e->p66 && r->prefix != P_66;

	if (e->g->mode == N_64) {
		if ((e->rex & 8) || (r->attr & A_F64))
			e->opsize = 8;
		else
			e->opsize = p66 ? 2 : (r->attr & A_D64) ? 8 : 4;
	} else
		e->opsize = ((e->g->mode != N_16) != p66) ? 4 : 2;
	if (named(r, "movbe") && r->prefix == P_66 && e->opsize != 8)
		e->opsize ^= 6;
	if (r->attr & A_B)
		e->opsize = 1;
}

static void
choose_modrm(struct enc *e)
{
	const struct optab *r = e->g->row;
	uint8_t reg = (uint8_t)below(8), rm = (uint8_t)below(8), mod;

	if (r->reg < 8)
		reg = r->reg;
	if (r->opcode == 0x8c && r->map == M_1)
		reg = (uint8_t)below(6);
	mod = r->mod == MOD_MEM		    ? (uint8_t)below(3)
	    : r->mod == MOD_REG || below(2) ? 3
					    : (uint8_t)below(3);
	e->modrm = (uint8_t)(mod << 6 | reg << 3 | rm);
	e->mem = mod != 3;
	if (!e->mem)
		return;
	if (e->asize == 2) {
		e->displen = mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0;
		if (mod == 0 && rm != 6)
			e->displen = 0;
		return;
	}
	if (rm == 4)
		e->sib = (uint8_t)rnd();
	e->displen = mod == 1 ? 1 : mod == 2 ? 4 : 0;
	if (mod == 0 && (rm == 5 || (rm == 4 && (e->sib & 7) == 5)))
		e->displen = 4;
	e->riprel = e->g->mode == N_64 && mod == 0 && rm == 5;
	if (r->attr & A_LOCK)
		e->lock = below(3) == 0;
}

static void
choose_imm(struct enc *e)
{
	unsigned z = e->opsize == 2 ? 2 : 4;

	e->imm = value();
	switch (e->g->row->imm) {
	case I_B:
	case I_BU:
		e->immlen = 1;
		break;
	case I_W:
		e->immlen = 2;
		e->imm = below(64);
		break;
	case I_Z:
		e->immlen = z;
		break;
	case I_V:
		e->immlen = e->opsize;
		break;
	case I_MOFFS:
		e->immlen = e->asize;
		break;
	case I_WB:
		e->immlen = 3;
		e->imm = below(256) | below(2) * (below(33) << 16);
		break;
	default:
		e->immlen = 0;
		break;
	}
}

static void
emit(struct enc *e)
{
	struct gen *g = e->g;
	const struct optab *r = g->row;

	g->len = 0;
	if (e->segov)
		put(g, e->segov, 1);
	if (e->p66)
		put(g, 0x66, 1);
	if (e->p67)
		put(g, 0x67, 1);
	if (e->lock)
		put(g, 0xf0, 1);
	if (e->rep)
		put(g, e->rep, 1);
	if (e->rex)
		put(g, e->rex, 1);
	if (r->map != M_1)
		put(g, 0x0f, 1);
	if (r->map == M_0F38)
		put(g, 0x38, 1);
	put(g, r->opcode | e->opreg, 1);
	if (r->attr & A_MODRM) {
		put(g, e->modrm, 1);
		if (e->mem && e->asize != 2 && (e->modrm & 7) == 4)
			put(g, e->sib, 1);
		put(g, (uint64_t)e->disp, e->displen);
	}
	put(g, e->imm, e->immlen);
}

/* ---- operands ---- */
/* Offset (in DS of the mode) of a memory operand. */
static uint64_t
target(const struct enc *e)
{
	uint64_t off;

	switch (below(16)) {
	case 0: /* near or over the end */
		off = DATA_LEN - 1 - below(20);
		break;
	case 1:
	case 2: /* page crossing */
		off = (1 + below(3)) * 4096 - below(8) - 1;
		break;
	default:
		off = below(DATA_LEN - 64);
		break;
	}
	if (below(2))
		off &= ~15ull;
	if ((e->g->mode == N_32 || e->g->mode == N_64) && e->segov != 0x65)
		off += ARENA;
	return (off);
}

static uint64_t *
reg_of(struct enc *e, unsigned n, unsigned rexbit)
{
	return (&e->in->gpr[(n & 7) | ((e->rex & rexbit) ? 8 : 0)]);
}

static void
solve16(struct enc *e, uint64_t to)
{
	static const int8_t base[8] = { 3, 3, 5, 5, 6, 7, 5, 3 };
	static const int8_t idx[8] = { 6, 7, 6, 7, -1, -1, -1, -1 };
	unsigned rm = e->modrm & 7;
	uint64_t *b;

	if (e->modrm < 0x40 && rm == 6) {
		e->disp = (int64_t)to;
		return;
	}
	b = &e->in->gpr[base[rm]];
	e->disp = e->displen == 1 ? (int8_t)rnd()
	    : e->displen == 2	  ? (int16_t)rnd()
				  : 0;
	to -= (uint64_t)e->disp;
	if (idx[rm] >= 0)
		to -= e->in->gpr[idx[rm]];
	*b = (*b & ~0xffffull) | (to & 0xffff);
}

/* Choose displacement and base so that the address is `to`. */
static void
solve(struct enc *e, uint64_t to)
{
	uint64_t *b = NULL, *x = NULL, mul = 0;
	unsigned rm = e->modrm & 7, scale = e->sib >> 6;

	if (e->asize == 2) {
		solve16(e, to);
		return;
	}
	if (rm == 4) {
		if (((e->sib >> 3) & 7) != 4 || (e->rex & 2)) {
			x = reg_of(e, e->sib >> 3, 2);
			mul = 1ull << scale;
		}
		if ((e->sib & 7) != 5 || e->modrm >= 0x40)
			b = reg_of(e, e->sib, 1);
	} else if (rm != 5 || e->modrm >= 0x40)
		b = reg_of(e, rm, 1);
	if (e->displen == 1)
		e->disp = (int8_t)rnd();
	else if (e->displen == 4)
		e->disp = b != NULL || x != NULL ? (int32_t)rnd() : (int32_t)to;
	to -= (uint64_t)e->disp;
	if (b != NULL && b == x)
		*b = to / (mul + 1);
	else if (b != NULL)
		*b = to - (x != NULL ? *x * mul : 0);
	else if (x != NULL) {
		/* The displacement takes what the scale cannot give. */
		e->disp = (int32_t)(to + (uint64_t)e->disp) & ~7;
		e->disp -= (int64_t)below(4096) * 8;
		*x = (to + below(1)) / mul;
		to = *x * mul;
		*x = below(512);
		e->disp = (int64_t)(ARENA + below(8192)) - (int64_t)(*x * mul);
		if (e->g->mode == N_32SEG || e->segov == 0x65)
			e->disp -= ARENA;
	}
	if (e->asize == 4 && e->g->mode == N_64 && b != NULL && b != x)
		*b = (uint32_t)*b | rnd() << 32;
}

static void
choose_pointers(struct enc *e)
{
	const struct optab *r = e->g->row;
	struct nctx *in = e->in;
	uint64_t stack, keep = 0;
	bool plain = e->g->mode == N_32 || e->g->mode == N_64;

	stack = 0x1000 + below(0x2000);
	if (below(20) == 0)
		stack = below(2) ? below(16) : DATA_LEN - below(16);
	if (below(4))
		stack &= ~7ull;
	in->gpr[R_SP] = stack + (plain ? ARENA : 0);
	if (named(r, "leave") || named(r, "enter"))
		in->gpr[R_BP] = 0x1000 + below(0x2000) + (plain ? ARENA : 0);
	if (r->attr & A_REP) {
		in->gpr[R_SI] = target(e);
		in->gpr[R_DI] = below(DATA_LEN) + (plain ? ARENA : 0);
		if (below(3) == 0) /* overlapping */
			in->gpr[R_DI] = in->gpr[R_SI] + below(80) - 40;
		if (below(3) == 0)
			in->gpr[R_DI] &= ~7ull;
		keep = e->asize == 2 ? 0xffffull
		    : e->asize == 4  ? 0xffffffffull
				     : ~0ull;
		in->gpr[R_CX] = below(8) == 0 ? below(0x3000) : below(40);
		in->gpr[R_CX] |= rnd() & ~keep;
		if (e->g->mode != N_64)
			in->gpr[R_CX] &= 0xffffffff;
	}
	if (r->attr & A_REP || starts(r, "loop") || named(r, "jcxz"))
		if (below(4) == 0)
			in->gpr[R_CX] = below(2) | (rnd() << 32 << below(2));
	if (named(r, "xlat"))
		in->gpr[R_BX] = target(e) - (in->gpr[R_AX] & 0xff);
	if (r->imm == I_MOFFS)
		e->imm = target(e);
}

/* Indirect branches and RET: where the address goes. */
static void
choose_branch(struct enc *e, uint64_t to)
{
	const struct optab *r = e->g->row;
	uint64_t dest = CODE_OFF + TAKEN_OFF, at;
	bool plain = e->g->mode == N_32 || e->g->mode == N_64;

	if (!(r->attr & A_F64))
		return;
	if (plain)
		dest += ARENA;
	/* What solve() or a stack over the end finds is anything. */
	e->g->wild = e->mem || named(r, "ret");
	if (below(8) == 0) {
		/* Nowhere: not canonical, past the limit, or not mapped. */
		dest = value() & 0xffffffff;
		if ((dest & 0xf000) == CODE_OFF)
			dest ^= 0x8000;
		if (e->g->mode == N_64 && below(2))
			dest |= 1ull << (47 + below(16));
		e->g->wild = true;
	}
	if (r->imm == I_B || r->imm == I_Z)
		e->imm = TAKEN_OFF; /* less the length: see gen_case() */
	else if (named(r, "ret")) {
		at = e->in->gpr[R_SP] + (plain ? 0 : ARENA) - ARENA;
		if (at <= DATA_LEN - 8)
			memcpy((uint8_t *)ARENA + at, &dest, e->opsize);
	} else if (!e->mem)
		*reg_of(e, e->modrm, 1) = dest;
	else {
		at = to - (to >= ARENA ? ARENA : 0);
		if (at <= DATA_LEN - 8)
			memcpy((uint8_t *)ARENA + at, &dest, e->opsize);
	}
}

/* A memory operand that the conditions of the row make special. */
static void
choose_special(struct enc *e, uint64_t to)
{
	const struct optab *r = e->g->row;
	struct nctx *in = e->in;
	uint8_t *m = (uint8_t *)ARENA;
	uint64_t at = to - (to >= ARENA ? ARENA : 0);
	unsigned n = e->opsize;

	if (starts(r, "bt") && e->mem && r->imm == I_NONE)
		*reg_of(e, e->modrm >> 3, 4) = below(4) == 0
		    ? rnd()
		    : (uint64_t)(int64_t)((int)below(8192) - 4096);
	if (starts(r, "cmpxchg") && e->mem && below(2) && at <= DATA_LEN - 16) {
		memcpy(m + at, &in->gpr[R_AX], n);
		if (r->opcode == 0xc7) {
			n = n == 8 ? 8 : 4;
			memcpy(m + at, &in->gpr[R_AX], n);
			memcpy(m + at + n, &in->gpr[R_DX], n);
		}
	}
	if (starts(r, "cmpxchg") && !e->mem && below(2))
		*reg_of(e, e->modrm, 1) = in->gpr[R_AX];
	if (named(r, "div") && below(2))
		in->gpr[R_DX] = below(4);
	if (named(r, "idiv") && below(2))
		in->gpr[R_DX] = (uint64_t)((int64_t)in->gpr[R_AX] >> 63);
	if (named(r, "bound") && at <= DATA_LEN - 8 && below(2)) {
		memset(m + at, 0x80, 8);
		memset(m + at + n, 0x7f, n);
	}
	/* TF, NT and AC would act on the host. */
	if (named(r, "popf")) {
		at = in->gpr[R_SP] & 0x3fff;
		if (at + 1 < DATA_LEN)
			m[at + 1] &= (uint8_t)~0x41;
		if (at + 2 < DATA_LEN)
			m[at + 2] &= (uint8_t)~0x04;
	}
}

static void
choose_flmask(struct gen *g)
{
	const struct optab *r = g->row;

	g->flmask = FL_ARITH | FL_DF;
	/* Handlers that do not get undefined flags from the host. */
	if (starts(r, "bt") || named(r, "tzcnt") || named(r, "lzcnt") ||
	    named(r, "div") || named(r, "idiv") || (r->attr & A_I64))
		g->flmask &= ~(uint32_t)r->fl_undef;
}

void
gen_case(struct gen *g, struct nctx *in)
{
	struct enc e = { .g = g, .in = in };
	uint64_t to;

	g->wild = false;
	for (int i = 0; i < 16; i++) {
		in->gpr[i] = value();
		if (g->mode != N_64)
			in->gpr[i] = i < 8 ? (uint32_t)in->gpr[i] : 0;
	}
	for (unsigned i = 0; i < DATA_LEN; i += 8) {
		uint64_t v = (i & 64) ? value() : rnd();

		memcpy((uint8_t *)ARENA + i, &v, 8);
	}
	in->flags = (rnd() & FL_ARITH) | 0x202;
	if ((g->row->attr & A_REP) && below(4) == 0)
		in->flags |= FL_DF;
	choose_prefixes(&e);
	choose_opsize(&e);
	if (g->row->attr & A_MODRM)
		choose_modrm(&e);
	if (g->row->attr & A_OPREG)
		e.opreg = (uint8_t)below(8);
	choose_imm(&e);
	choose_pointers(&e);
	to = target(&e);
	choose_special(&e, to);
	choose_branch(&e, to);
	if (e.mem && !(g->row->attr & A_EA))
		solve(&e, to);
	else if (e.mem)
		e.disp = (int64_t)rnd();
	if (g->mode != N_64)
		for (int i = 0; i < 8; i++)
			in->gpr[i] = (uint32_t)in->gpr[i];
	emit(&e);
	if (g->len > 15) { /* too long: without its segment override */
		e.segov = 0;
		emit(&e);
	}
	if (e.riprel && !(g->row->attr & A_EA)) {
		e.disp = (int64_t)to - (int64_t)(ARENA + CODE_OFF + g->len);
		emit(&e);
	}
	if ((g->row->attr & A_F64) &&
	    (g->row->imm == I_B || g->row->imm == I_Z)) {
		e.imm = TAKEN_OFF - g->len;
		emit(&e);
	}
	choose_flmask(g);
}

/* Behind g's instruction: a short conditional jump to TAKEN_OFF. */
void
gen_add_jcc(struct gen *g)
{
	put(g, 0x70 | below(16), 1);
	put(g, TAKEN_OFF - (g->len + 1), 1);
}
