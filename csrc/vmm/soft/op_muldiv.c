/*
 * MUL IMUL DIV IDIV.  Overflow of a division is found out beforehand; the
 * host divides only what cannot fault.  DIV leaves the flags alone.
 */
#include "int_local.h"

#define MUL_CORE(op, S)                                                 \
	INT_INLINE void m_##op##S(struct softcpu *cpu, it##S s)         \
	{                                                               \
		uint64_t a = cpu->cc, lo, hi;                           \
		__asm__(ASM_SETFLAGS "movq %4, %%rax\n\t" #op " %3\n\t" \
				     "movq %%rax, %1" ASM_GETFLAGS      \
			: "+&a"(a), "=&r"(lo), "=&d"(hi)                \
			: "r"(s), "m"(RD64(R_AX))                       \
			: "cc");                                        \
		MUL_WR##S(lo, hi);                                      \
		cpu->cc = (uint16_t)a;                                  \
	}
#define MUL_WR8(lo, hi)         \
	do {                    \
		WR16(R_AX, lo); \
		(void)hi;       \
	} while (0)
#define MUL_WR16(lo, hi)        \
	do {                    \
		WR16(R_AX, lo); \
		WR16(R_DX, hi); \
	} while (0)
#define MUL_WR32(lo, hi)        \
	do {                    \
		WR32(R_AX, lo); \
		WR32(R_DX, hi); \
	} while (0)
#define MUL_WR64(lo, hi)        \
	do {                    \
		WR64(R_AX, lo); \
		WR64(R_DX, hi); \
	} while (0)

/* False: #DE.  Nothing is changed then. */
INT_INLINE bool
m_div8(struct softcpu *cpu, it8 s)
{
	unsigned d = RD16(R_AX), q;

	if (s == 0 || (q = d / s) > 0xff)
		return (false);
	WR16(R_AX, (d % s) << 8 | q);
	return (true);
}
INT_INLINE bool
m_idiv8(struct softcpu *cpu, it8 s)
{
	int d = (int16_t)RD16(R_AX), q;

	if (s == 0)
		return (false);
	q = d / (int8_t)s;
	if (q != (int8_t)q)
		return (false);
	WR16(R_AX, (unsigned)(d % (int8_t)s) << 8 | (q & 0xff));
	return (true);
}
INT_INLINE bool
m_div16(struct softcpu *cpu, it16 s)
{
	uint32_t d = (uint32_t)RD16(R_DX) << 16 | RD16(R_AX), q;

	if (s == 0 || (q = d / s) > 0xffff)
		return (false);
	WR16(R_AX, q);
	WR16(R_DX, d % s);
	return (true);
}
INT_INLINE bool
m_idiv16(struct softcpu *cpu, it16 s)
{
	int64_t d = (int32_t)((uint32_t)RD16(R_DX) << 16 | RD16(R_AX)), q;

	if (s == 0)
		return (false);
	q = d / (int16_t)s;
	if (q != (int16_t)q)
		return (false);
	WR16(R_AX, q);
	WR16(R_DX, d % (int16_t)s);
	return (true);
}
INT_INLINE bool
m_div32(struct softcpu *cpu, it32 s)
{
	uint32_t lo = RD32(R_AX), hi = RD32(R_DX);

	if (hi >= s)
		return (false);
	__asm__("divl %2" : "+a"(lo), "+d"(hi) : "r"(s) : "cc");
	WR32(R_AX, lo);
	WR32(R_DX, hi);
	return (true);
}
INT_INLINE bool
m_idiv32(struct softcpu *cpu, it32 us)
{
	int64_t d = (int64_t)((uint64_t)RD32(R_DX) << 32 | RD32(R_AX)), q;
	int64_t s = (int32_t)us;

	if (s == 0 || (s == -1 && d == INT64_MIN))
		return (false);
	q = d / s;
	if (q != (int32_t)q)
		return (false);
	WR32(R_AX, q);
	WR32(R_DX, d % s);
	return (true);
}
INT_INLINE bool
m_div64(struct softcpu *cpu, it64 s)
{
	uint64_t lo = RD64(R_AX), hi = RD64(R_DX);

	if (hi >= s)
		return (false);
	__asm__("divq %2" : "+a"(lo), "+d"(hi) : "r"(s) : "cc");
	WR64(R_AX, lo);
	WR64(R_DX, hi);
	return (true);
}
/* By magnitudes: the quotient fits when it is below 2^63, or is -2^63. */
INT_INLINE bool
m_idiv64(struct softcpu *cpu, it64 s)
{
	uint64_t lo = RD64(R_AX), hi = RD64(R_DX);
	uint64_t ds = (uint64_t)((int64_t)hi >> 63);
	uint64_t ss = (uint64_t)((int64_t)s >> 63);
	uint64_t qs = ds ^ ss;

	if (ds) {
		lo = -lo;
		hi = ~hi + (lo == 0);
	}
	s = (s ^ ss) - ss;
	if (hi >= s)
		return (false);
	__asm__("divq %2" : "+a"(lo), "+d"(hi) : "r"(s) : "cc");
	if (lo > (1ull << 63) - (qs ? 0 : 1))
		return (false);
	WR64(R_AX, (lo ^ qs) - qs);
	WR64(R_DX, (hi ^ ds) - ds);
	return (true);
}

#define MUL_FORMS(op, S)                          \
	MUL_CORE(op, S)                           \
	DEF_REG(op_##op##_r##S)                   \
	{                                         \
		m_##op##S(cpu, RD##S(in->rm));    \
		SOFT_NEXT(cpu, in);               \
	}                                         \
	DEF_OP(op_##op##_m##S)                    \
	{                                         \
		uint64_t lin = LIN(S / 8, false); \
		it##S v = LD(S, lin);             \
                                                  \
		m_##op##S(cpu, v);                \
		SOFT_NEXT(cpu, in);               \
	}
#define DIV_FORMS(op, S)                                        \
	DEF_REG(op_##op##_r##S)                                 \
	{                                                       \
		if (unlikely(!m_##op##S(cpu, RD##S(in->rm)))) { \
			soft_fault(cpu, in, X_DE);              \
			return;                                 \
		}                                               \
		SOFT_NEXT(cpu, in);                             \
	}                                                       \
	DEF_OP(op_##op##_m##S)                                  \
	{                                                       \
		uint64_t lin = LIN(S / 8, false);               \
		it##S v = LD(S, lin);                           \
                                                                \
		if (unlikely(!m_##op##S(cpu, v))) {             \
			soft_fault(cpu, in, X_DE);              \
			return;                                 \
		}                                               \
		SOFT_NEXT(cpu, in);                             \
	}
#define MD_SIZE(S)        \
	MUL_FORMS(mul, S) \
	MUL_FORMS(imul, S) DIV_FORMS(div, S) DIV_FORMS(idiv, S)
MD_SIZE(8)
MD_SIZE(16)
MD_SIZE(32)
MD_SIZE(64)

#define T_SZ(n)                           \
	{                                 \
		n##8, n##16, n##32, n##64 \
	}
#define T_MD(op)                                     \
	{                                            \
		T_SZ(op_##op##_r), T_SZ(op_##op##_m) \
	}
static const soft_op md_tab[4][2][4] = {
	T_MD(mul),
	T_MD(imul),
	T_MD(div),
	T_MD(idiv),
};

/* arg: modrm.reg, 4 to 7. */
soft_op
ibind_mul(const struct soft_dec *d, struct insn *in)
{
	return (md_tab[d->row->arg - 4][d->mem][int_szi(d)]);
}

/* ---- IMUL with two and three operands ---- */
#define IMUL_SIZE(S)                                               \
	INT_INLINE it##S x_imul##S(it##S d, it##S s, uint16_t *cc) \
	{                                                          \
		uint32_t f = *cc;                                  \
		__asm__(ASM_SETFLAGS "imul %2, %0" ASM_GETFLAGS    \
			: "+r"(d), "+a"(f)                         \
			: "r"(s)                                   \
			: "cc");                                   \
		*cc = (uint16_t)f;                                 \
		return (d);                                        \
	}                                                          \
	INT_INLINE it##S y_imul##S(it##S d, it##S s, uint16_t *cc) \
	{                                                          \
		(void)cc;                                          \
		return ((it##S)((uint64_t)d * s));                 \
	}                                                          \
	IMUL_FORMS(x, S) IMUL_FORMS(y, S)
#define IMUL_FORMS(v, S)                                                    \
	DEF_REG(op_imul2_r##v##S)                                           \
	{                                                                   \
		WR##S(in->reg,                                              \
		    v##_imul##S(RD##S(in->reg), RD##S(in->rm), &cpu->cc));  \
		SOFT_NEXT(cpu, in);                                         \
	}                                                                   \
	DEF_OP(op_imul2_m##v##S)                                            \
	{                                                                   \
		uint64_t lin = LIN(S / 8, false);                           \
		it##S s = LD(S, lin);                                       \
                                                                            \
		WR##S(in->reg, v##_imul##S(RD##S(in->reg), s, &cpu->cc));   \
		SOFT_NEXT(cpu, in);                                         \
	}                                                                   \
	DEF_REG(op_imul3_r##v##S)                                           \
	{                                                                   \
		WR##S(in->reg,                                              \
		    v##_imul##S(                                            \
			RD##S(in->rm), (it##S)(int64_t)in->imm, &cpu->cc)); \
		SOFT_NEXT(cpu, in);                                         \
	}                                                                   \
	DEF_OP(op_imul3_m##v##S)                                            \
	{                                                                   \
		uint64_t lin = LIN(S / 8, false);                           \
		it##S s = LD(S, lin);                                       \
                                                                            \
		WR##S(in->reg,                                              \
		    v##_imul##S(s, (it##S)(int64_t)in->imm, &cpu->cc));     \
		SOFT_NEXT(cpu, in);                                         \
	}
IMUL_SIZE(16)
IMUL_SIZE(32)
IMUL_SIZE(64)

#define T_IM(f, v)                                                      \
	{                                                               \
		op_imul##f##v##16, op_imul##f##v##32, op_imul##f##v##64 \
	}
/* [operands - 2][memory][dead] */
static const soft_op im_tab[2][2][2][3] = {
	{ { T_IM(2_r, x), T_IM(2_r, y) }, { T_IM(2_m, x), T_IM(2_m, y) } },
	{ { T_IM(3_r, x), T_IM(3_r, y) }, { T_IM(3_m, x), T_IM(3_m, y) } },
};

/* arg: number of operands. */
soft_op
ibind_imul2(const struct soft_dec *d, struct insn *in)
{
	return (im_tab[d->row->arg - 2][d->mem][d->flags_dead][int_szi(d) - 1]);
}
