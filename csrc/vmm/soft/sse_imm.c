/*
 * SSE instructions with an immediate byte.  Each has a table of 256 stubs
 * "op $i, %xmm1, %xmm0; ret" in 8-byte slots, called with destination and
 * source as the ABI passes vectors: the host's instruction for each value.
 */
#include "fp_local.h"

#define IMM_TABLE(name)                                          \
	__asm__(".pushsection .text\n"                           \
		".balign 64\n"                                   \
		".globl soft_imm_" #name "\n"                    \
		".hidden soft_imm_" #name "\n"                   \
		"soft_imm_" #name ":\n"                          \
		".set soft_imm_i,0\n"                            \
		".rept 256\n" #name " $soft_imm_i,%xmm1,%xmm0\n" \
		"ret\n"                                          \
		".balign 8\n"                                    \
		".set soft_imm_i,soft_imm_i+1\n"                 \
		".endr\n"                                        \
		".popsection\n");                                \
	extern const char soft_imm_##name[]                      \
	    __attribute__((__visibility__("hidden")));

static inline sse_core
imm_stub(const char *table, const struct insn *in)
{
	return ((sse_core)(uintptr_t)(table + (in->imm & 0xff) * 8));
}

#define SSE_IMM(name, size, al)                                               \
	IMM_TABLE(name)                                                       \
	static void op_##name##_r(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		SSE_GATE(cpu, in);                                            \
		XMM(cpu, in->reg) = imm_stub(soft_imm_##name, in)(            \
		    XMM(cpu, in->reg), XMM(cpu, in->rm));                     \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	static void op_##name##_m(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		const void *p;                                                \
                                                                              \
		if (unlikely(!cpu->fpu.sse_ok) ||                             \
		    unlikely(!fp_ldp(cpu, in, size, al, &p))) {               \
			sse_int_slow(cpu, in, imm_stub(soft_imm_##name, in),  \
			    (size) | ((al) == 16 ? K_ALIGN : 0));             \
			return;                                               \
		}                                                             \
		XMM(cpu, in->reg) = imm_stub(soft_imm_##name, in)(            \
		    XMM(cpu, in->reg), sse_get(p, size));                     \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	FP_BIND2(name, op_##name##_r, op_##name##_m)

#define SSE_FIMM(name, kind)                                                  \
	IMM_TABLE(name)                                                       \
	static void op_##name##_r(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		if (unlikely(!cpu->fpu.ssefp_ok)) {                           \
			sse_fp_slow(                                          \
			    cpu, in, imm_stub(soft_imm_##name, in), kind);    \
			return;                                               \
		}                                                             \
		XMM(cpu, in->reg) = imm_stub(soft_imm_##name, in)(            \
		    XMM(cpu, in->reg), XMM(cpu, in->rm));                     \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	static void op_##name##_m(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		const void *p;                                                \
                                                                              \
		if (unlikely(!cpu->fpu.ssefp_ok) ||                           \
		    unlikely(!FP_LDK(cpu, in, kind, &p))) {                   \
			sse_fp_slow(                                          \
			    cpu, in, imm_stub(soft_imm_##name, in), kind);    \
			return;                                               \
		}                                                             \
		XMM(cpu, in->reg) = imm_stub(soft_imm_##name, in)(            \
		    XMM(cpu, in->reg), sse_get(p, (kind)&K_SIZE));            \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	FP_BIND2(name, op_##name##_r, op_##name##_m)

SSE_IMM(pshufd, 16, 16)
SSE_IMM(pshuflw, 16, 16)
SSE_IMM(pshufhw, 16, 16)
SSE_IMM(shufps, 16, 16)
SSE_IMM(shufpd, 16, 16)
SSE_IMM(blendps, 16, 16)
SSE_IMM(blendpd, 16, 16)
SSE_IMM(pblendw, 16, 16)
SSE_IMM(palignr, 16, 16)
SSE_IMM(mpsadbw, 16, 16)
SSE_IMM(pclmulqdq, 16, 16)
SSE_IMM(aeskeygenassist, 16, 16)

SSE_FIMM(cmpps, KA16)
SSE_FIMM(cmppd, KA16)
SSE_FIMM(cmpss, 4)
SSE_FIMM(cmpsd, 8)
SSE_FIMM(roundps, KA16)
SSE_FIMM(roundpd, KA16)
SSE_FIMM(roundss, 4)
SSE_FIMM(roundsd, 8)
SSE_FIMM(dpps, KA16 | K_PS | K_DP)
SSE_FIMM(dppd, KA16 | K_PD | K_DP)

/* ---- INSERTPS: a memory source is the one float, not picked by imm ---- */

IMM_TABLE(insertps)

static void
op_insertps_r(struct softcpu *cpu, const struct insn *in)
{
	SSE_GATE(cpu, in);
	XMM(cpu, in->reg) = imm_stub(soft_imm_insertps, in)(
	    XMM(cpu, in->reg), XMM(cpu, in->rm));
	SOFT_NEXT(cpu, in);
}

static void
op_insertps_m(struct softcpu *cpu, const struct insn *in)
{
	const void *p;

	SSE_GATE(cpu, in);
	if (unlikely((p = fp_ld(cpu, in, 4, 1)) == NULL))
		return;
	XMM(cpu, in->reg) = ((sse_core)(uintptr_t)(soft_imm_insertps +
	    (in->imm & 0x3f) * 8))(XMM(cpu, in->reg), fp_get4(p));
	SOFT_NEXT(cpu, in);
}
FP_BIND2(insertps, op_insertps_r, op_insertps_m)

/* ---- whole register byte shifts ---- */

#define SSE_BSHIFT(name)                                                  \
	__asm__(".pushsection .text\n"                                    \
		".balign 64\n"                                            \
		".globl soft_imm_" #name "\n"                             \
		".hidden soft_imm_" #name "\n"                            \
		"soft_imm_" #name ":\n"                                   \
		".set soft_imm_i,0\n"                                     \
		".rept 256\n" #name " $soft_imm_i,%xmm0\n"                \
		"ret\n"                                                   \
		".balign 8\n"                                             \
		".set soft_imm_i,soft_imm_i+1\n"                          \
		".endr\n"                                                 \
		".popsection\n");                                         \
	extern const char soft_imm_##name[]                               \
	    __attribute__((__visibility__("hidden")));                    \
	static void op_##name(struct softcpu *cpu, const struct insn *in) \
	{                                                                 \
		SSE_GATE(cpu, in);                                        \
		XMM(cpu, in->rm) = imm_stub(soft_imm_##name, in)(         \
		    XMM(cpu, in->rm), _mm_setzero_si128());               \
		SOFT_NEXT(cpu, in);                                       \
	}                                                                 \
	FP_BIND1(name, op_##name)
SSE_BSHIFT(pslldq)
SSE_BSHIFT(psrldq)
