/*
 * SSE moves: whole registers, halves, scalars, general registers and MMX
 * registers, masks, non-temporal and masked stores.
 */
#include <string.h>

#include "fp_local.h"

/* ---- 16 bytes ---- */

static __m128i
c_mov(__m128i d, __m128i s)
{
	(void)d;
	return (s);
}

static void
op_mov_rr(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	XMM(cpu, in->reg) = XMM(cpu, in->rm);
	SOFT_NEXT(cpu, in);
}

/* The store form of a register move writes rm. */
static void
op_mov_rr_st(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	XMM(cpu, in->rm) = XMM(cpu, in->reg);
	SOFT_NEXT(cpu, in);
}

#define MOV16(sfx, align)                                        \
	static void op_mov##sfx##_ld(                            \
	    struct softcpu *cpu, const struct insn *in)          \
	{                                                        \
		const void *p;                                   \
                                                                 \
		if (unlikely(!cpu->fpu.sse_ok) ||                \
		    unlikely(!fp_ldp(cpu, in, 16, align, &p))) { \
			sse_int_slow(cpu, in, c_mov,             \
			    16 | ((align) == 16 ? K_ALIGN : 0)); \
			return;                                  \
		}                                                \
		XMM(cpu, in->reg) = fp_get16(p);                 \
		SOFT_NEXT(cpu, in);                              \
	}                                                        \
	static void op_mov##sfx##_st(                            \
	    struct softcpu *cpu, const struct insn *in)          \
	{                                                        \
		void *p;                                         \
                                                                 \
		SSE_GATE(cpu, in);                               \
		if (unlikely(!fp_stp(cpu, in, 16, align, &p))) { \
			*(__m128i_u *)(void *)cpu->fpu.tmp =     \
			    XMM(cpu, in->reg);                   \
			sse_st_slow(cpu, in, 16, align);         \
			return;                                  \
		}                                                \
		*(__m128i_u *)p = XMM(cpu, in->reg);             \
		SOFT_NEXT(cpu, in);                              \
	}
MOV16(a, 16)
MOV16(u, 1)
FP_BIND2(mova_ld, op_mov_rr, op_mova_ld)
FP_BIND2(mova_st, op_mov_rr_st, op_mova_st)
FP_BIND2(movu_ld, op_mov_rr, op_movu_ld)
FP_BIND2(movu_st, op_mov_rr_st, op_movu_st)

/* ---- scalars: loads clear the rest, register moves merge ---- */

static void
op_movss_rr(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	*(u32a *)(void *)cpu->fpu.ymm[in->reg] =
	    *(u32a *)(void *)cpu->fpu.ymm[in->rm];
	SOFT_NEXT(cpu, in);
}

static void
op_movss_rr_st(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	*(u32a *)(void *)cpu->fpu.ymm[in->rm] =
	    *(u32a *)(void *)cpu->fpu.ymm[in->reg];
	SOFT_NEXT(cpu, in);
}

static void
op_movsd_rr(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	*(u64a *)(void *)cpu->fpu.ymm[in->reg] =
	    *(u64a *)(void *)cpu->fpu.ymm[in->rm];
	SOFT_NEXT(cpu, in);
}

static void
op_movsd_rr_st(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	*(u64a *)(void *)cpu->fpu.ymm[in->rm] =
	    *(u64a *)(void *)cpu->fpu.ymm[in->reg];
	SOFT_NEXT(cpu, in);
}

/* MOVQ xmm, xmm clears the upper half. */
static void
op_movq_rr(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	XMM(cpu, in->reg) = _mm_move_epi64(XMM(cpu, in->rm));
	SOFT_NEXT(cpu, in);
}

static void
op_movq_rr_st(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	XMM(cpu, in->rm) = _mm_move_epi64(XMM(cpu, in->reg));
	SOFT_NEXT(cpu, in);
}

static void
op_ld4(struct softcpu *cpu, const struct insn *in)
{
	const void *p;

	if (unlikely(!cpu->fpu.sse_ok) ||
	    unlikely(!fp_ldp(cpu, in, 4, 1, &p))) {
		sse_int_slow(cpu, in, c_mov, 4);
		return;
	}
	XMM(cpu, in->reg) = fp_get4(p);
	SOFT_NEXT(cpu, in);
}

static void
op_ld8(struct softcpu *cpu, const struct insn *in)
{
	const void *p;

	if (unlikely(!cpu->fpu.sse_ok) ||
	    unlikely(!fp_ldp(cpu, in, 8, 1, &p))) {
		sse_int_slow(cpu, in, c_mov, 8);
		return;
	}
	XMM(cpu, in->reg) = fp_get8(p);
	SOFT_NEXT(cpu, in);
}

/* A value of 1, 2, 4 or 8 bytes to memory, and the next instruction. */
#define ST(bits, value)                                               \
	do {                                                          \
		void *p_;                                             \
                                                                      \
		if (unlikely(!fp_stp(cpu, in, (bits) / 8, 1, &p_))) { \
			*(u##bits##a *)(void *)cpu->fpu.tmp =         \
			    (uint##bits##_t)(value);                  \
			sse_st_slow(cpu, in, (bits) / 8, 1);          \
			return;                                       \
		}                                                     \
		*(volatile u##bits##a *)p_ = (uint##bits##_t)(value); \
		SOFT_NEXT(cpu, in);                                   \
	} while (0)
typedef uint8_t u8a;

#define XD(n, i) (((u32a *)(void *)cpu->fpu.ymm[(n)])[(i)])
#define XQ(n, i) (((u64a *)(void *)cpu->fpu.ymm[(n)])[(i)])

static void
op_st4(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	ST(32, XD(in->reg, 0));
}

static void
op_st8(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	ST(64, XQ(in->reg, 0));
}

static void
op_st8_hi(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	ST(64, XQ(in->reg, 1));
}
FP_BIND2(movss_ld, op_movss_rr, op_ld4)
FP_BIND2(movss_st, op_movss_rr_st, op_st4)
FP_BIND2(movsd_ld, op_movsd_rr, op_ld8)
FP_BIND2(movsd_st, op_movsd_rr_st, op_st8)
FP_BIND2(movq_ld, op_movq_rr, op_ld8)
FP_BIND2(movq_st, op_movq_rr_st, op_st8)

/* ---- halves ---- */

static __m128i
c_ldlo(__m128i d, __m128i s)
{
	__asm__("movsd %1,%0" : "+x"(d) : "x"(s));
	return (d);
}

static __m128i
c_ldhi(__m128i d, __m128i s)
{
	return (_mm_unpacklo_epi64(d, s));
}

#define LDHALF(name, half)                                                \
	static void op_##name(struct softcpu *cpu, const struct insn *in) \
	{                                                                 \
		const void *p;                                            \
                                                                          \
		if (unlikely(!cpu->fpu.sse_ok) ||                         \
		    unlikely(!fp_ldp(cpu, in, 8, 1, &p))) {               \
			sse_int_slow(cpu, in, c_##name, 8);               \
			return;                                           \
		}                                                         \
		XQ(in->reg, half) = *(const volatile u64a *)p;            \
		SOFT_NEXT(cpu, in);                                       \
	}
LDHALF(ldlo, 0)
LDHALF(ldhi, 1)

static void
op_movhlps(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	XQ(in->reg, 0) = XQ(in->rm, 1);
	SOFT_NEXT(cpu, in);
}

static void
op_movlhps(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	XQ(in->reg, 1) = XQ(in->rm, 0);
	SOFT_NEXT(cpu, in);
}
FP_BIND2(movlps, op_movhlps, op_ldlo)
FP_BIND2(movhps, op_movlhps, op_ldhi)
FP_BIND1(movlp_st, op_st8)
FP_BIND1(movhp_st, op_st8_hi)

SSE_OP(movddup, 8, 1, d = _mm_unpacklo_epi64(s, s))
SSE_OP(movsldup, 16, 16, d = _mm_shuffle_epi32(s, 0xa0))
SSE_OP(movshdup, 16, 16, d = _mm_shuffle_epi32(s, 0xf5))

/* ---- general registers ---- */

static void
op_movd_ld(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	XMM(cpu, in->reg) = _mm_cvtsi32_si128((int)DREG(cpu, in->rm));
	SOFT_NEXT(cpu, in);
}

static void
op_movq_ld(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	XMM(cpu, in->reg) = _mm_cvtsi64_si128((int64_t)QREG(cpu, in->rm));
	SOFT_NEXT(cpu, in);
}

static void
op_movd_st(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	QREG(cpu, in->rm) = XD(in->reg, 0);
	SOFT_NEXT(cpu, in);
}

static void
op_movq_st(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	QREG(cpu, in->rm) = XQ(in->reg, 0);
	SOFT_NEXT(cpu, in);
}

soft_op
bind_movd_ld(const struct soft_dec *dec, struct insn *in)
{
	if (dec->rex & 8)
		return (dec->mem ? op_ld8 : op_movq_ld);
	return (dec->mem ? op_ld4 : op_movd_ld);
}

soft_op
bind_movd_st(const struct soft_dec *dec, struct insn *in)
{
	if (dec->rex & 8)
		return (dec->mem ? op_st8 : op_movq_st);
	return (dec->mem ? op_st4 : op_movd_st);
}

/* MOVNTI uses no SSE state: the gates do not apply. */
static void
op_movnti_l(struct softcpu *cpu, const struct insn *in)
{
	ST(32, DREG(cpu, in->reg));
}

static void
op_movnti_q(struct softcpu *cpu, const struct insn *in)
{
	ST(64, QREG(cpu, in->reg));
}

soft_op
bind_movnti(const struct soft_dec *dec, struct insn *in)
{
	return (dec->rex & 8 ? op_movnti_q : op_movnti_l);
}

/* ---- masks ---- */

#define MOVMSK(name)                                                       \
	static void op_##name(struct softcpu *cpu, const struct insn *in)  \
	{                                                                  \
		uint32_t r;                                                \
                                                                           \
		SSE_GATE(cpu, in);                                         \
		__asm__(#name " %1,%0" : "=r"(r) : "x"(XMM(cpu, in->rm))); \
		QREG(cpu, in->reg) = r;                                    \
		SOFT_NEXT(cpu, in);                                        \
	}                                                                  \
	FP_BIND1(name, op_##name)
MOVMSK(movmskps)
MOVMSK(movmskpd)
MOVMSK(pmovmskb)

/* ---- between MMX and SSE registers ---- */

static void
op_movq2dq(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	MMX_GATE(cpu, in);
	XMM(cpu, in->reg) = _mm_cvtsi64_si128((int64_t)MMR(cpu, in->rm & 7));
	mmx_touch(cpu);
	SOFT_NEXT(cpu, in);
}
FP_BIND1(movq2dq, op_movq2dq)

static void
op_movdq2q(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	MMX_GATE(cpu, in);
	mmx_set(cpu, in->reg & 7, XQ(in->rm, 0));
	SOFT_NEXT(cpu, in);
}
FP_BIND1(movdq2q, op_movdq2q)

/* ---- masked store ---- */

/* Byte by byte through DS:rDI; all bytes are probed before the first one. */
static bool
maskmov(struct softcpu *cpu, const struct insn *in, const uint8_t *val,
    const uint8_t *mask, int n)
{
	uint64_t lin;
	int i;

	if (!soft_ea(cpu, in, n, true, &lin))
		return (false);
	for (i = 0; i < n; i++)
		if ((mask[i] & 0x80) &&
		    !soft_probe_write(cpu, in, lin + (unsigned)i, 1))
			return (false);
	for (i = 0; i < n; i++)
		if ((mask[i] & 0x80) &&
		    !soft_st8(cpu, in, lin + (unsigned)i, val[i]))
			return (false);
	return (true);
}

static noinline bool
maskmovdqu_do(struct softcpu *cpu, const struct insn *in)
{
	return (
	    maskmov(cpu, in, cpu->fpu.ymm[in->reg], cpu->fpu.ymm[in->rm], 16));
}

static noinline bool
maskmovq_do(struct softcpu *cpu, const struct insn *in)
{
	return (maskmov(cpu, in, (const uint8_t *)&MMR(cpu, in->reg & 7),
	    (const uint8_t *)&MMR(cpu, in->rm & 7), 8));
}

static void
op_maskmovdqu(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	if (maskmovdqu_do(cpu, in))
		SOFT_NEXT(cpu, in);
}

static void
op_maskmovq(struct softcpu *cpu, const struct insn *in)
{
	MMX_GATE(cpu, in);
	if (maskmovq_do(cpu, in)) {
		mmx_touch(cpu);
		SOFT_NEXT(cpu, in);
	}
}

/*
 * The decoder sees a register operand but has resolved segment and address
 * size as for a string instruction; the record gets [rDI] as its address.
 */
static void
maskmov_addr(struct insn *in)
{
	in->base = R_DI;
	in->index = R_ZERO;
	in->scale = 0;
	in->disp = 0;
}

soft_op
bind_maskmovdqu(const struct soft_dec *dec, struct insn *in)
{
	maskmov_addr(in);
	return (op_maskmovdqu);
}

soft_op
bind_maskmovq(const struct soft_dec *dec, struct insn *in)
{
	maskmov_addr(in);
	return (op_maskmovq);
}

/* ---- extraction to general registers and memory (SSE4.1) ---- */

#define PEXTR(name, bits, lanes)                                              \
	static void op_##name##_r(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		SSE_GATE(cpu, in);                                            \
		QREG(cpu, in->rm) =                                           \
		    ((u##bits##a *)(void *)                                   \
			    cpu->fpu.ymm[in->reg])[in->imm & (lanes - 1)];    \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	static void op_##name##_m(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		SSE_GATE(cpu, in);                                            \
		ST(bits,                                                      \
		    ((u##bits##a *)(void *)                                   \
			    cpu->fpu.ymm[in->reg])[in->imm & (lanes - 1)]);   \
	}
PEXTR(pextrb, 8, 16)
PEXTR(pextrw, 16, 8)
PEXTR(pextrd, 32, 4)
PEXTR(pextrq, 64, 2)
FP_BIND2(pextrb, op_pextrb_r, op_pextrb_m)
FP_BIND2(pextrw, op_pextrw_r, op_pextrw_m)
FP_BIND2(extractps, op_pextrd_r, op_pextrd_m)

soft_op
bind_pextrd(const struct soft_dec *dec, struct insn *in)
{
	if (dec->rex & 8)
		return (dec->mem ? op_pextrq_m : op_pextrq_r);
	return (dec->mem ? op_pextrd_m : op_pextrd_r);
}

/* PEXTRW of SSE2 has its operands the other way round. */
static void
op_pextrw_c5(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	QREG(cpu, in->reg) =
	    ((u16a *)(void *)cpu->fpu.ymm[in->rm])[in->imm & 7];
	SOFT_NEXT(cpu, in);
}
FP_BIND1(pextrw_c5, op_pextrw_c5)

/* ---- insertion ---- */

#define PINSR(name, bits, lanes)                                              \
	static void op_##name##_r(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		SSE_GATE(cpu, in);                                            \
		((u##bits##a *)(void *)                                       \
			cpu->fpu.ymm[in->reg])[in->imm & (lanes - 1)] =       \
		    (uint##bits##_t)QREG(cpu, in->rm);                        \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	static void op_##name##_m(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		const void *p;                                                \
                                                                              \
		SSE_GATE(cpu, in);                                            \
		p = fp_ld(cpu, in, (bits) / 8, 1);                            \
		if (unlikely(p == NULL))                                      \
			return;                                               \
		((u##bits##a *)(void *)                                       \
			cpu->fpu.ymm[in->reg])[in->imm & (lanes - 1)] =       \
		    *(const volatile u##bits##a *)p;                          \
		SOFT_NEXT(cpu, in);                                           \
	}
PINSR(pinsrb, 8, 16)
PINSR(pinsrw, 16, 8)
PINSR(pinsrd, 32, 4)
PINSR(pinsrq, 64, 2)
FP_BIND2(pinsrb, op_pinsrb_r, op_pinsrb_m)
FP_BIND2(pinsrw, op_pinsrw_r, op_pinsrw_m)

soft_op
bind_pinsrd(const struct soft_dec *dec, struct insn *in)
{
	if (dec->rex & 8)
		return (dec->mem ? op_pinsrq_m : op_pinsrq_r);
	return (dec->mem ? op_pinsrd_m : op_pinsrd_r);
}
