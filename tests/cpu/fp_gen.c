/*
 * Random instructions from the rows of optab_fp.def, and random operands that
 * are rich in special values.
 */
#include <string.h>

#include "fp_host.h"
#include "soft_core_local.h"

uint64_t rng = 88172645463325252ull;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng * 0x2545f4914f6cdd1dull);
}
#define R(n) ((unsigned)(rnd() >> 33) % (unsigned)(n))

/* ---- operands ---- */

static uint32_t
gen_f32(void)
{
	static const uint32_t sp[] = { 0, 0x80000000, 0x3f800000, 0xbf800000,
		0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345,
		0xff812345, 1, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff,
		0x3f000000, 0x3fc00000, 0x4f000000, 0xcf000000, 0x5f000000,
		0x4effffff, 0x40200000, 0x80ffffff, 0x00ffffff };

	switch (R(4)) {
	case 0:
		return (sp[R(sizeof(sp) / sizeof(sp[0]))]);
	case 1:
		return ((uint32_t)rnd());
	default:
		return (
		    ((uint32_t)rnd() & 0x80ffffffu) | (0x78u + R(40)) << 23);
	}
}

static uint64_t
gen_f64(void)
{
	static const uint64_t sp[] = { 0, 1ull << 63, 0x3ff0000000000000,
		0xbff0000000000000, 0x7ff0000000000000, 0xfff0000000000000,
		0x7ff8000000000000, 0x7ff0000000000001, 0xfff8000000012345,
		0xfff0000000012345, 1, 0x8000000000000001, 0x000fffffffffffff,
		0x0010000000000000, 0x7fefffffffffffff, 0x3fe0000000000000,
		0x41e0000000000000, 0xc1e0000000000000, 0x43e0000000000000,
		0xc3e0000000000000, 0x3810000000000000, 0x380fffffffffffff,
		0x47efffffe0000000, 0x47f0000000000000, 0x36a0000000000000,
		0x001fffffffffffff, 0x3ca0000000000000 };

	switch (R(4)) {
	case 0:
		return (sp[R(sizeof(sp) / sizeof(sp[0]))]);
	case 1:
		return (rnd());
	default:
		return ((rnd() & 0x800fffffffffffffull) |
		    (uint64_t)(0x3e0u + R(0x60)) << 52);
	}
}

static void
gen_f80(uint64_t *mant, uint16_t *se)
{
	static const struct {
		uint64_t m;
		uint16_t se;
	} sp[] = { { 0, 0 }, { 0, 0x8000 }, { 1ull << 63, 0x3fff },
		{ 1ull << 63, 0xbfff }, { 1ull << 63, 0x7fff },
		{ 1ull << 63, 0xffff }, { 3ull << 62, 0x7fff },
		{ 0x8000000000000001, 0x7fff }, { 0xc000000000012345, 0xffff },
		{ 1, 0 }, { 1, 0x8000 }, { 0x7fffffffffffffff, 0 },
		{ 1ull << 63, 0 }, { 1ull << 63, 1 }, { ~0ull, 0x7ffe },
		{ 0, 0x7fff }, { 0x1234, 0x4000 }, { 0x1234, 0x7fff },
		{ 0xffffffffffffffff, 0x403e }, { 1ull << 63, 0x403e },
		{ 1ull << 63, 0x401e }, { 1ull << 63, 0x3ffe },
		{ 0xc90fdaa22168c235, 0x4000 }, { 1ull << 63, 0x3c01 },
		{ ~0ull, 0x407e }, { 1ull << 63, 0x3f6a } };
	unsigned i;

	switch (R(5)) {
	case 0:
		i = R(sizeof(sp) / sizeof(sp[0]));
		*mant = sp[i].m;
		*se = sp[i].se;
		break;
	case 1:
		*mant = rnd() | 1ull << 63;
		*se = (uint16_t)rnd();
		break;
	default:
		*mant = rnd() | 1ull << 63;
		*se = (uint16_t)((0x3fd0 + R(0x70)) | (rnd() & 0x8000));
		break;
	}
}

static void
gen_16(uint8_t *p)
{
	uint32_t f[4];
	uint64_t d[2];
	int i;

	switch (R(4)) {
	case 0:
		for (i = 0; i < 4; i++)
			f[i] = gen_f32();
		memcpy(p, f, 16);
		break;
	case 1:
		for (i = 0; i < 2; i++)
			d[i] = gen_f64();
		memcpy(p, d, 16);
		break;
	case 2: /* small numbers and repeated bytes, zeros among them */
		for (i = 0; i < 16; i++)
			p[i] = (uint8_t)(R(3) ? R(4) : rnd());
		break;
	default:
		d[0] = rnd();
		d[1] = rnd();
		memcpy(p, d, 16);
		break;
	}
}

static void
gen_fx(struct fximg *fx)
{
	unsigned i;

	memset(fx, 0, sizeof(*fx));
	fx->fcw = (uint16_t)(0x40 | (R(3) ? 0x3f : R(64)) | R(4) << 10 |
	    (uint16_t[]) { 0, 0x200, 0x300, 0x300 }[R(4)]);
	fx->fsw = (uint16_t)((rnd() & 0x7f00) | (R(2) ? 0 : R(0x80)));
	if (R(10))
		fx->fsw &= (uint16_t) ~(~fx->fcw & 0x3f);
	if (fx->fsw & ~fx->fcw & 0x3f)
		fx->fsw |= 0x8080;
	fx->ftw = R(4) ? 0xff : (uint8_t)rnd();
	fx->mxcsr =
	    (R(3) ? 0x1f80 : R(64) << 7) | R(4) << 13 | (R(2) ? 0 : R(64));
	if (R(4) == 0)
		fx->mxcsr |= (R(2) ? 0x40u : 0) | (R(2) ? 0x8000u : 0);
	fx->mxcsr_mask = 0xffff;
	for (i = 0; i < 8; i++)
		gen_f80(&fx->st[i].mant, &fx->st[i].se);
	for (i = 0; i < 16; i++)
		gen_16(fx->xmm[i]);
}

static void
put_le(uint8_t *p, uint64_t v, int n)
{
	memcpy(p, &v, (size_t)n);
}

/* What the row's memory operand should hold. */
static void
gen_operand(const struct optab *r, uint8_t *p, bool os16)
{
	struct fximg fx;
	uint64_t mant;
	uint16_t se;
	int i;

	if (!strcmp(r->name, "fxrstor") || !strcmp(r->name, "xrstor")) {
		gen_fx(&fx);
		if (R(10) == 0)
			fx.mxcsr |= 1u << 20;
		memcpy(p, &fx, 512);
		memset(p + 512, 0, 64);
		p[512] = (uint8_t)R(4);
		if (R(10) == 0)
			p[512 + 8 + R(16)] = 1;
	} else if (!strcmp(r->name, "fldenv") || !strcmp(r->name, "frstor")) {
		gen_fx(&fx);
		put_le(p, fx.fcw, 2);
		put_le(p + (os16 ? 2 : 4), fx.fsw, 2);
		put_le(p + (os16 ? 4 : 8), rnd() & rnd(), 2);
		for (i = 0; i < 8; i++)
			memcpy(p + (os16 ? 14 : 28) + i * 10, &fx.st[i], 10);
	} else if (!strcmp(r->name, "xsave") || !strcmp(r->name, "xsaveopt") ||
	    !strcmp(r->name, "xsavec")) {
		memset(p + 512, 0, 64);
		p[512] = (uint8_t)R(4);
	} else if (!strcmp(r->name, "fldcw"))
		put_le(p, rnd() | (R(2) ? 0x3f : 0), 2);
	else if (!strcmp(r->name, "ldmxcsr"))
		put_le(p, rnd() & (R(8) ? 0xffff : 0x1fffff) & ~0x20000ull, 4);
	else if (!strcmp(r->operands, "Mt")) {
		gen_f80(&mant, &se);
		put_le(p, mant, 8);
		put_le(p + 8, se, 2);
		if (!strcmp(r->name, "fbld"))
			for (i = 0; i < 10; i++)
				p[i] = (uint8_t)(R(10) | R(10) << 4);
	} else if (!strcmp(r->operands, "Md"))
		put_le(p, R(2) ? gen_f32() : R(200), 4);
	else if (!strcmp(r->operands, "Mq"))
		put_le(p, R(3) ? gen_f64() : R(200), 8);
	else
		gen_16(p);
}

/* ---- encodings ---- */

bool
has(const struct optab *r, char c)
{
	return (strchr(r->operands, c) != NULL);
}

/* The state before; register and memory contents. */
static void
gen_state(struct tcase *t)
{
	unsigned mis;
	int i;

	memset(t, 0, sizeof(*t));
	t->x87_warm = R(2);
	t->mmx_warm = !t->x87_warm && R(2);
	t->slow = R(4) == 0;
	gen_fx(&t->in.fx);
	for (i = 0; i < 16; i++)
		t->in.gpr[i] = R(3) ? rnd() : R(20) - 2ull;
	t->in.rfl = 2 | (rnd() & 0x8d5);
	for (i = 0; i < WIN; i += 16)
		gen_16(t->in.mem + i);
	mis = R(6) ? 0 : R(16);
	t->in.gpr[R_SI] = t->in.gpr[R_DI] =
	    (uint64_t)(uintptr_t)gmem + OPND + mis;
}

static bool
is_env(const struct optab *r)
{
	return (!strcmp(r->name, "fnstenv") || !strcmp(r->name, "fldenv") ||
	    !strcmp(r->name, "fnsave") || !strcmp(r->name, "frstor"));
}

bool
is_xsave(const struct optab *r)
{
	return (!strncmp(r->name, "xsave", 5) || !strcmp(r->name, "xrstor"));
}

/* General registers that an instruction may use freely. */
static unsigned
gen_gpr(unsigned n)
{
	return (n == R_SP || n == R_SI || n == R_DI ? R_BX : n);
}

/* Appends an instruction of the row. */
static void
gen_insn(const struct optab *r, bool mem, struct tcase *t)
{
	static const uint8_t pfx[] = { 0, 0, 0x66, 0xf3, 0xf2 };
	unsigned reg, rm, modrm, rex;
	uint8_t *c, *start;
	bool os16;

	t->wants_mem = mem;
	os16 = t->os16 = is_env(r) && R(2);
	start = c = t->code + t->len;
	if (os16 ||
	    (!strcmp(r->name, "crc32") && r->opcode == 0xf1 && R(3) == 0))
		*c++ = 0x66;
	if (pfx[r->prefix])
		*c++ = pfx[r->prefix];
	reg = R(16);
	rm = R(16);
	if (has(r, 'G') || has(r, 'E')) {
		reg = gen_gpr(reg);
		rm = gen_gpr(rm);
	}
	if (r->reg < 8)
		reg = r->reg | (reg & 8);
	if (mem)
		rm = R_SI;
	rex = 0x40 | (reg >> 3) << 2 | rm >> 3 | (R(4) ? 0 : 8);
	if (os16)
		rex &= ~8u;
	if (rex != 0x40 || R(4) == 0 || r->attr & A_RMB)
		*c++ = (uint8_t)rex;
	if (r->map != M_1)
		*c++ = 0x0f;
	if (r->map == M_0F38)
		*c++ = 0x38;
	if (r->map == M_0F3A)
		*c++ = 0x3a;
	*c++ = r->opcode;
	if (r->attr & A_MODRM) {
		modrm = (mem ? 0 : 0xc0) | (reg & 7) << 3 | (rm & 7);
		if (r->reg >= 0xc0 && r->reg != R_ANY)
			modrm = r->reg;
		if (!strcmp(r->name, "fcos"))
			modrm = 0xff;
		*c++ = (uint8_t)modrm;
	}
	if (r->imm != I_NONE)
		*c++ = (uint8_t)rnd();
	t->rows[t->count] = r;
	t->ilen[t->count++] = (int)(c - start);
	t->len = (int)(c - t->code);
}

void
gen_case(const struct optab *r, bool mem, struct tcase *t)
{
	gen_state(t);
	gen_insn(r, mem, t);
	if (is_xsave(r)) {
		t->in.gpr[R_AX] = R(4);
		t->in.gpr[R_DX] = 0;
	}
	gen_operand(r,
	    t->in.mem + (t->in.gpr[R_SI] - (uint64_t)(uintptr_t)gmem), t->os16);
}

/* Rows that the host cannot run for us: privileged, or the host's own. */
bool
skipped(const struct optab *r)
{
	return (!strcmp(r->name, "xsetbv") || !strcmp(r->name, "xgetbv") ||
	    (r->feature & ~soft_features()) != 0);
}

bool
has_form(const struct optab *r, bool mem)
{
	return (
	    mem ? r->mod != MOD_REG && (r->attr & A_MODRM) : r->mod != MOD_MEM);
}

/*
 * Images with pointers in them are not stored in front of others, and MXCSR
 * comes from a prepared operand only (AMD has a bit 17 that we do not offer).
 */
static bool
seq_ok(const struct optab *r, bool first)
{
	if (!first &&
	    (!strcmp(r->name, "ldmxcsr") || !strcmp(r->name, "fxrstor")))
		return (false);
	return (!skipped(r) && !is_xsave(r) && strcmp(r->name, "fnstenv") &&
	    strcmp(r->name, "fnsave") && strcmp(r->name, "fxsave"));
}

/* A sequence: x87, MMX and SSE take turns with the state. */
void
gen_seq(struct tcase *t)
{
	const struct optab *r;
	int i, n;
	bool mem;

	gen_state(t);
	if (R(4)) /* long sequences want no fault at once */
		t->in.fx.fsw &= (uint16_t)~0x80bf;
	n = 2 + (int)R(SEQ - 1);
	for (i = 0; i < n;) {
		r = &optab_fp[R(optab_fp_n)];
		mem = R(2);
		if (!seq_ok(r, i == 0) || !has_form(r, mem))
			continue;
		gen_insn(r, mem, t);
		if (i++ == 0)
			gen_operand(r,
			    t->in.mem +
				(t->in.gpr[R_SI] - (uint64_t)(uintptr_t)gmem),
			    t->os16);
	}
}
