/*
 * SSE integer, logical and shuffle instructions without an immediate, and
 * those floating point ones that raise nothing (logic, unpack, estimates).
 */
#include "fp_local.h"

SSE_V(andps)
SSE_V(andnps)
SSE_V(orps)
SSE_V(xorps)
SSE_V(andpd)
SSE_V(andnpd)
SSE_V(orpd)
SSE_V(xorpd)
SSE_V(unpcklps)
SSE_V(unpckhps)
SSE_V(unpcklpd)
SSE_V(unpckhpd)
SSE_V(rcpps)
SSE_V(rsqrtps)
SSE_OP(rcpss, 4, 1, ASM_DS("rcpss"))
SSE_OP(rsqrtss, 4, 1, ASM_DS("rsqrtss"))

SSE_V(punpcklbw)
SSE_V(punpcklwd)
SSE_V(punpckldq)
SSE_V(punpcklqdq)
SSE_V(punpckhbw)
SSE_V(punpckhwd)
SSE_V(punpckhdq)
SSE_V(punpckhqdq)
SSE_V(packsswb)
SSE_V(packuswb)
SSE_V(packssdw)
SSE_V(packusdw)
SSE_V(pcmpgtb)
SSE_V(pcmpgtw)
SSE_V(pcmpgtd)
SSE_V(pcmpgtq)
SSE_V(pcmpeqb)
SSE_V(pcmpeqw)
SSE_V(pcmpeqd)
SSE_V(pcmpeqq)
SSE_V(psrlw)
SSE_V(psrld)
SSE_V(psrlq)
SSE_V(psraw)
SSE_V(psrad)
SSE_V(psllw)
SSE_V(pslld)
SSE_V(psllq)
SSE_V(paddb)
SSE_V(paddw)
SSE_V(paddd)
SSE_V(paddq)
SSE_V(psubb)
SSE_V(psubw)
SSE_V(psubd)
SSE_V(psubq)
SSE_V(paddsb)
SSE_V(paddsw)
SSE_V(paddusb)
SSE_V(paddusw)
SSE_V(psubsb)
SSE_V(psubsw)
SSE_V(psubusb)
SSE_V(psubusw)
SSE_V(pmullw)
SSE_V(pmulhw)
SSE_V(pmulhuw)
SSE_V(pmuludq)
SSE_V(pmuldq)
SSE_V(pmulld)
SSE_V(pmaddwd)
SSE_V(psadbw)
SSE_V(pavgb)
SSE_V(pavgw)
SSE_V(pminub)
SSE_V(pmaxub)
SSE_V(pminsw)
SSE_V(pmaxsw)
SSE_V(pminsb)
SSE_V(pmaxsb)
SSE_V(pminuw)
SSE_V(pmaxuw)
SSE_V(pminsd)
SSE_V(pmaxsd)
SSE_V(pminud)
SSE_V(pmaxud)
SSE_V(pand)
SSE_V(pandn)
SSE_V(por)
SSE_V(pxor)

SSE_V(pshufb)
SSE_V(phaddw)
SSE_V(phaddd)
SSE_V(phaddsw)
SSE_V(phsubw)
SSE_V(phsubd)
SSE_V(phsubsw)
SSE_V(pmaddubsw)
SSE_V(pmulhrsw)
SSE_V(psignb)
SSE_V(psignw)
SSE_V(psignd)
SSE_V(pabsb)
SSE_V(pabsw)
SSE_V(pabsd)
SSE_V(phminposuw)

SSE_V(aesimc)
SSE_V(aesenc)
SSE_V(aesenclast)
SSE_V(aesdec)
SSE_V(aesdeclast)

#define SSE_EXT(name, size) SSE_OP(name, size, 1, ASM_DS(#name))
SSE_EXT(pmovsxbw, 8)
SSE_EXT(pmovsxbd, 4)
SSE_EXT(pmovsxbq, 2)
SSE_EXT(pmovsxwd, 8)
SSE_EXT(pmovsxwq, 4)
SSE_EXT(pmovsxdq, 8)
SSE_EXT(pmovzxbw, 8)
SSE_EXT(pmovzxbd, 4)
SSE_EXT(pmovzxbq, 2)
SSE_EXT(pmovzxwd, 8)
SSE_EXT(pmovzxwq, 4)
SSE_EXT(pmovzxdq, 8)

/* Variable blends take their mask from XMM0. */
#define SSE_BLENDV(name)                                                      \
	static inline __m128i c_##name(__m128i d, __m128i s, __m128i m)       \
	{                                                                     \
		register __m128i x0 __asm__("xmm0") = m;                      \
                                                                              \
		__asm__(#name " %%xmm0,%1,%0" : "+x"(d) : "x"(s), "x"(x0));   \
		return (d);                                                   \
	}                                                                     \
	static void op_##name##_r(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		SSE_GATE(cpu, in);                                            \
		XMM(cpu, in->reg) = c_##name(                                 \
		    XMM(cpu, in->reg), XMM(cpu, in->rm), XMM(cpu, 0));        \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	static void op_##name##_m(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		const void *p;                                                \
                                                                              \
		SSE_GATE(cpu, in);                                            \
		if (unlikely((p = fp_ld(cpu, in, 16, 16)) == NULL))           \
			return;                                               \
		XMM(cpu, in->reg) =                                           \
		    c_##name(XMM(cpu, in->reg), fp_get16(p), XMM(cpu, 0));    \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	FP_BIND2(name, op_##name##_r, op_##name##_m)
SSE_BLENDV(pblendvb)
SSE_BLENDV(blendvps)
SSE_BLENDV(blendvpd)

/* ---- shifts by an immediate: the count in a register ---- */

#define SSE_SHI(name)                                                      \
	static void op_i##name(struct softcpu *cpu, const struct insn *in) \
	{                                                                  \
		__m128i d, s;                                              \
                                                                           \
		SSE_GATE(cpu, in);                                         \
		d = XMM(cpu, in->rm);                                      \
		s = _mm_cvtsi32_si128(in->imm & 0xff);                     \
		ASM_DS(#name);                                             \
		XMM(cpu, in->rm) = d;                                      \
		SOFT_NEXT(cpu, in);                                        \
	}                                                                  \
	FP_BIND1(i##name, op_i##name)
SSE_SHI(psrlw)
SSE_SHI(psrld)
SSE_SHI(psrlq)
SSE_SHI(psraw)
SSE_SHI(psrad)
SSE_SHI(psllw)
SSE_SHI(pslld)
SSE_SHI(psllq)

/* ---- PTEST ---- */

static inline uint16_t
ptest_cc(__m128i d, __m128i s)
{
	uint32_t r;

	__asm__("ptest %2,%1\n\tlahf\n\tseto %%al"
		: "=a"(r)
		: "x"(d), "x"(s)
		: "cc");
	return ((uint16_t)(r & (CC_ZF | CC_CF)));
}

static void
op_ptest_r(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	cpu->cc = ptest_cc(XMM(cpu, in->reg), XMM(cpu, in->rm));
	SOFT_NEXT(cpu, in);
}

static void
op_ptest_m(struct softcpu *cpu, const struct insn *in)
{
	const void *p;

	SSE_GATE(cpu, in);
	if (unlikely((p = fp_ld(cpu, in, 16, 16)) == NULL))
		return;
	cpu->cc = ptest_cc(XMM(cpu, in->reg), fp_get16(p));
	SOFT_NEXT(cpu, in);
}
FP_BIND2(ptest, op_ptest_r, op_ptest_m)
