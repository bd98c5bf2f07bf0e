/*
 * SSE4.2: string comparison and CRC32.  All four PCMPxSTRx are built on the
 * host's PCMPESTRM: the implicit-length forms measure their operands first,
 * and the index forms take the index from the bit mask.
 */
#include <string.h>

#include "fp_local.h"

/*
 * Slots of 32 bytes, one for each value of imm bits 6:0.  Arguments: lengths
 * in %rdi and %rsi, operands in %xmm0 and %xmm1, where the mask goes in %rcx.
 * Returns the flags as LAHF and SETO leave them.
 */
__asm__(".pushsection .text\n"
	".balign 64\n"
	".globl soft_pcmpestrm\n"
	".hidden soft_pcmpestrm\n"
	"soft_pcmpestrm:\n"
	".set soft_imm_i,0\n"
	".rept 128\n"
	"movl %edi,%eax\n"
	"movl %esi,%edx\n"
	"pcmpestrm $soft_imm_i,%xmm1,%xmm0\n"
	"lahf\n"
	"seto %al\n"
	"movdqu %xmm0,(%rcx)\n"
	"ret\n"
	".balign 32\n"
	".set soft_imm_i,soft_imm_i+1\n"
	".endr\n"
	".popsection\n");
extern const char soft_pcmpestrm[] __attribute__((__visibility__("hidden")));
typedef uint32_t (*pcmp_stub)(
    int64_t la, int64_t lb, uint64_t unused, void *mask, __m128i a, __m128i b);

/* Elements before the first zero one. */
static int
pcmp_len(__m128i v, bool words)
{
	unsigned m;

	if (words) {
		m = (unsigned)_mm_movemask_epi8(
		    _mm_cmpeq_epi16(v, _mm_setzero_si128()));
		return (m == 0 ? 8 : __builtin_ctz(m) / 2);
	}
	m = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128()));
	return (m == 0 ? 16 : __builtin_ctz(m));
}

/* An explicit length saturates at +-n; the sign does not matter then. */
static int
pcmp_sat(int64_t v, int n)
{
	return (v > n || v < -n ? n : (int)(v < 0 ? -v : v));
}

static bool
pcmpstr(struct softcpu *cpu, const struct insn *in, bool expl, bool index)
{
	__m128i a, b;
	uint64_t mask[2];
	const void *p;
	unsigned imm, m;
	int la, lb, n;
	bool words;

	if (!cpu->fpu.sse_ok && !soft_sse_check(cpu, in))
		return (false);
	a = XMM(cpu, in->reg);
	if (in->flags & IN_MEM) {
		/* Misaligned operands are allowed. */
		if ((p = fp_ld(cpu, in, 16, 1)) == NULL)
			return (false);
		b = fp_get16(p);
	} else
		b = XMM(cpu, in->rm);
	imm = (unsigned)in->imm & 0x7f;
	words = (imm & 1) != 0;
	n = words ? 8 : 16;
	if (!expl) {
		la = pcmp_len(a, words);
		lb = pcmp_len(b, words);
	} else if (in->aux) {
		la = pcmp_sat((int64_t)QREG(cpu, R_AX), n);
		lb = pcmp_sat((int64_t)QREG(cpu, R_DX), n);
	} else {
		la = pcmp_sat((int32_t)DREG(cpu, R_AX), n);
		lb = pcmp_sat((int32_t)DREG(cpu, R_DX), n);
	}
	if (index)
		imm &= 0x3f;
	cpu->cc = (uint16_t)(((pcmp_stub)(uintptr_t)(soft_pcmpestrm +
				 imm * 32))(la, lb, 0, mask, a, b) &
	    CC_ALL);
	if (index) {
		m = (unsigned)mask[0];
		QREG(cpu, R_CX) = m == 0 ? (unsigned)n
		    : in->imm & 0x40	 ? 31u - (unsigned)__builtin_clz(m)
					 : (unsigned)__builtin_ctz(m);
	} else
		memcpy(cpu->fpu.ymm[0], mask, 16);
	return (true);
}

#define PCMPSTR(name, expl, index)                                        \
	static noinline bool do_##name(                                   \
	    struct softcpu *cpu, const struct insn *in)                   \
	{                                                                 \
		return (pcmpstr(cpu, in, expl, index));                   \
	}                                                                 \
	static void op_##name(struct softcpu *cpu, const struct insn *in) \
	{                                                                 \
		if (do_##name(cpu, in))                                   \
			SOFT_NEXT(cpu, in);                               \
	}                                                                 \
	soft_op bind_##name(const struct soft_dec *dec, struct insn *in)  \
	{                                                                 \
		in->aux = (dec->rex & 8) != 0;                            \
		return (op_##name);                                       \
	}
PCMPSTR(pcmpestrm, true, false)
PCMPSTR(pcmpestri, true, true)
PCMPSTR(pcmpistrm, false, false)
PCMPSTR(pcmpistri, false, true)

/* ---- CRC32: general registers only, so the gates do not apply ---- */

#define CRC32_CORE(sfx, bits, type)                                       \
	static inline uint64_t crc_##bits(uint64_t d, uint64_t s)         \
	{                                                                 \
		type r = (type)d;                                         \
                                                                          \
		__asm__("crc32" sfx " %1,%0"                              \
			: "+r"(r)                                         \
			: "r"((uint##bits##_t)s));                        \
		return (r);                                               \
	}                                                                 \
	static void op_crc##bits##_m(                                     \
	    struct softcpu *cpu, const struct insn *in)                   \
	{                                                                 \
		const void *p;                                            \
                                                                          \
		p = fp_ld(cpu, in, (bits) / 8, 1);                        \
		if (unlikely(p == NULL))                                  \
			return;                                           \
		QREG(cpu, in->reg) = crc_##bits(                          \
		    QREG(cpu, in->reg), *(const volatile u##bits##a *)p); \
		SOFT_NEXT(cpu, in);                                       \
	}                                                                 \
	static void op_crc##bits##_r(                                     \
	    struct softcpu *cpu, const struct insn *in)                   \
	{                                                                 \
		QREG(cpu, in->reg) = crc_##bits(                          \
		    QREG(cpu, in->reg), CRC_SRC_##bits(cpu, in->rm));     \
		SOFT_NEXT(cpu, in);                                       \
	}
typedef uint8_t u8a;
#define CRC_SRC_8 BREG /* A_RMB: a byte offset */
#define CRC_SRC_16 QREG
#define CRC_SRC_32 QREG
#define CRC_SRC_64 QREG
CRC32_CORE("b", 8, uint32_t)
CRC32_CORE("w", 16, uint32_t)
CRC32_CORE("l", 32, uint32_t)
CRC32_CORE("q", 64, uint64_t)
FP_BIND2(crc32_b, op_crc8_r, op_crc8_m)

soft_op
bind_crc32_v(const struct soft_dec *dec, struct insn *in)
{
	if (dec->opsize == 8)
		return (dec->mem ? op_crc64_m : op_crc64_r);
	if (dec->opsize == 2)
		return (dec->mem ? op_crc16_m : op_crc16_r);
	return (dec->mem ? op_crc32_m : op_crc32_r);
}
