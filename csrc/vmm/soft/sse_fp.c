/*
 * SSE floating point arithmetic, comparison and conversion.
 */
#include "fp_local.h"

#define SSE_ARITH(op)              \
	SSE_F(op##ps, KA16 | K_PS) \
	SSE_F(op##pd, KA16 | K_PD) \
	SSE_F(op##ss, 4 | K_SS)    \
	SSE_F(op##sd, 8 | K_SD)
#define SSE_NOTINY(op)      \
	SSE_F(op##ps, KA16) \
	SSE_F(op##pd, KA16) \
	SSE_F(op##ss, 4)    \
	SSE_F(op##sd, 8)
SSE_ARITH(add)
SSE_ARITH(sub)
SSE_ARITH(mul)
SSE_ARITH(div)
SSE_NOTINY(sqrt)
SSE_NOTINY(min)
SSE_NOTINY(max)
SSE_F(addsubps, KA16 | K_PS)
SSE_F(addsubpd, KA16 | K_PD)
SSE_F(haddps, KA16 | K_PS)
SSE_F(haddpd, KA16 | K_PD)
SSE_F(hsubps, KA16 | K_PS)
SSE_F(hsubpd, KA16 | K_PD)

/* ---- conversions between xmm registers ---- */

SSE_F(cvtps2pd, 8)
SSE_F(cvtpd2ps, KA16 | K_PS)
SSE_F(cvtss2sd, 4)
SSE_F(cvtsd2ss, 8 | K_SS)
SSE_F(cvtdq2ps, KA16)
SSE_F(cvtps2dq, KA16)
SSE_F(cvttps2dq, KA16)
SSE_F(cvtdq2pd, 8)
SSE_F(cvtpd2dq, KA16)
SSE_F(cvttpd2dq, KA16)

/* ---- from general registers ---- */

#define SSE_FROMG(name, sfx, kind, expr)                                     \
	static inline __m128i c_##name##sfx(__m128i d, __m128i s)            \
	{                                                                    \
		__asm__ volatile(#name #sfx " %1,%0" : "+x"(d) : "r"(expr)); \
		return (d);                                                  \
	}                                                                    \
	static void op_##name##sfx##_r(                                      \
	    struct softcpu *cpu, const struct insn *in)                      \
	{                                                                    \
		__m128i s;                                                   \
                                                                             \
		if (unlikely(!cpu->fpu.ssefp_ok)) {                          \
			sse_fp_slow(cpu, in, c_##name##sfx, kind);           \
			return;                                              \
		}                                                            \
		s = _mm_cvtsi64_si128((int64_t)QREG(cpu, in->rm));           \
		XMM(cpu, in->reg) = c_##name##sfx(XMM(cpu, in->reg), s);     \
		SOFT_NEXT(cpu, in);                                          \
	}                                                                    \
	static void op_##name##sfx##_m(                                      \
	    struct softcpu *cpu, const struct insn *in)                      \
	{                                                                    \
		const void *p;                                               \
                                                                             \
		if (unlikely(!cpu->fpu.ssefp_ok) ||                          \
		    unlikely(!FP_LDK(cpu, in, kind, &p))) {                  \
			sse_fp_slow(cpu, in, c_##name##sfx, kind);           \
			return;                                              \
		}                                                            \
		XMM(cpu, in->reg) = c_##name##sfx(                           \
		    XMM(cpu, in->reg), sse_get(p, (kind)&K_SIZE));           \
		SOFT_NEXT(cpu, in);                                          \
	}
#define SSE_FROMGS(name)                                                     \
	SSE_FROMG(name, l, 4 | K_GPR, _mm_cvtsi128_si32(s))                  \
	SSE_FROMG(name, q, 8 | K_GPR | K_W, _mm_cvtsi128_si64(s))            \
	soft_op bind_##name(const struct soft_dec *dec, struct insn *in)     \
	{                                                                    \
		if (dec->rex & 8)                                            \
			return (dec->mem ? op_##name##q_m : op_##name##q_r); \
		return (dec->mem ? op_##name##l_m : op_##name##l_r);         \
	}
SSE_FROMGS(cvtsi2ss)
SSE_FROMGS(cvtsi2sd)

/* ---- to general registers and to flags ---- */

#define SSE_TOG_OPS(name, kind, dest)                                         \
	static void op_##name##_r(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		if (unlikely(!cpu->fpu.ssefp_ok)) {                           \
			sse_gpr_slow(cpu, in, g_##name, kind);                \
			return;                                               \
		}                                                             \
		dest g_##name(XMM(cpu, in->reg & 15), XMM(cpu, in->rm));      \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	static void op_##name##_m(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		const void *p;                                                \
                                                                              \
		if (unlikely(!cpu->fpu.ssefp_ok) ||                           \
		    unlikely(!FP_LDK(cpu, in, kind, &p))) {                   \
			sse_gpr_slow(cpu, in, g_##name, kind);                \
			return;                                               \
		}                                                             \
		dest g_##name(                                                \
		    XMM(cpu, in->reg & 15), sse_get(p, (kind)&K_SIZE));       \
		SOFT_NEXT(cpu, in);                                           \
	}
#define SSE_TOG(name, sfx, kind, type)                               \
	static inline uint64_t g_##name##sfx(__m128i d, __m128i s)   \
	{                                                            \
		type r;                                              \
                                                                     \
		(void)d;                                             \
		__asm__ volatile(#name " %1,%0" : "=r"(r) : "x"(s)); \
		return (r);                                          \
	}                                                            \
	SSE_TOG_OPS(name##sfx, kind, QREG(cpu, in->reg) =)
#define SSE_TOGS(name, size)                                                 \
	SSE_TOG(name, l, size, uint32_t)                                     \
	SSE_TOG(name, q, size, uint64_t)                                     \
	soft_op bind_##name(const struct soft_dec *dec, struct insn *in)     \
	{                                                                    \
		if (dec->rex & 8)                                            \
			return (dec->mem ? op_##name##q_m : op_##name##q_r); \
		return (dec->mem ? op_##name##l_m : op_##name##l_r);         \
	}
SSE_TOGS(cvtss2si, 4)
SSE_TOGS(cvtsd2si, 8)
SSE_TOGS(cvttss2si, 4)
SSE_TOGS(cvttsd2si, 8)

#define SSE_COMI(name, size)                                         \
	static inline uint64_t g_##name(__m128i d, __m128i s)        \
	{                                                            \
		uint32_t r;                                          \
                                                                     \
		__asm__ volatile(#name " %2,%1\n\tlahf\n\tseto %%al" \
				 : "=a"(r)                           \
				 : "x"(d), "x"(s)                    \
				 : "cc");                            \
		return (r & CC_ALL);                                 \
	}                                                            \
	SSE_TOG_OPS(name, size | K_CC, cpu->cc = (uint16_t))         \
	FP_BIND2(name, op_##name##_r, op_##name##_m)
SSE_COMI(ucomiss, 4)
SSE_COMI(ucomisd, 8)
SSE_COMI(comiss, 4)
SSE_COMI(comisd, 8)

/*
 * ---- between MMX and SSE registers ----
 * The host's conversions on an xmm register give the same lanes, except
 * that the packed single forms convert four: the upper two are made zero,
 * which raises nothing.  These are rare: they always go the exact way.
 */
static __m128i
c_cvtpi2ps(__m128i d, __m128i s)
{
	__asm__ volatile("movq %0,%0\n\tcvtdq2ps %0,%0" : "+x"(s));
	return (_mm_castpd_si128(
	    _mm_move_sd(_mm_castsi128_pd(d), _mm_castsi128_pd(s))));
}

static __m128i
c_cvtps2pi(__m128i d, __m128i s)
{
	s = _mm_move_epi64(s);
	ASM_DSV("cvtps2dq");
	return (d);
}

static __m128i
c_cvttps2pi(__m128i d, __m128i s)
{
	s = _mm_move_epi64(s);
	ASM_DSV("cvttps2dq");
	return (d);
}

#define SSE_MMXCVT(name, core, kind)                                      \
	static void op_##name(struct softcpu *cpu, const struct insn *in) \
	{                                                                 \
		sse_fp_slow(cpu, in, core, kind);                         \
	}                                                                 \
	FP_BIND1(name, op_##name)
SSE_MMXCVT(cvtpi2ps, c_cvtpi2ps, 8 | K_MMXS)
SSE_MMXCVT(cvtpi2pd, c_cvtdq2pd, 8 | K_MMXS)
SSE_MMXCVT(cvtps2pi, c_cvtps2pi, 8 | K_MMXD)
SSE_MMXCVT(cvttps2pi, c_cvttps2pi, 8 | K_MMXD)
SSE_MMXCVT(cvtpd2pi, c_cvtpd2dq, KA16 | K_MMXD)
SSE_MMXCVT(cvttpd2pi, c_cvttpd2dq, KA16 | K_MMXD)
