/*
 * MMX: the host's MMX instruction on the low halves of the x87 registers in
 * memory.  The host's x87 holds nothing of the guest's meanwhile; leaving the
 * run loop executes EMMS.
 */
#include "fp_local.h"

#define MMX_BODY(insn, dst, src)                         \
	__asm__ volatile("movq %0,%%mm0\n\t" insn "\n\t" \
			 "movq %%mm0,%0"                 \
			 : "+m"(dst)                     \
			 : "m"(src)                      \
			 : "mm0", "mm1")

typedef void (*mmx_core)(uint64_t *d, const void *s);

/* The memory form when the TLB has no answer. */
static noinline void
mmx_ld_slow(struct softcpu *cpu, const struct insn *in, mmx_core core, int size)
{
	const void *p;

	if ((p = fp_ld_slow(cpu, in, size, 1)) == NULL)
		return;
	core(&MMR(cpu, in->reg & 7), p);
	cpu->fpu.st[in->reg & 7].se = 0xffff;
	mmx_touch(cpu);
	SOFT_NEXT(cpu, in);
}

/* mm <- op(mm, mm/mem); PUNPCKL* read 4 bytes, the others 8. */
#define MMX_OP(name, ld, bits, op)                                   \
	static void op_m_##name##_r(                                 \
	    struct softcpu *cpu, const struct insn *in)              \
	{                                                            \
		MMX_GATE(cpu, in);                                   \
		MMX_BODY("movq %1,%%mm1\n\t" op " %%mm1,%%mm0",      \
		    MMR(cpu, in->reg & 7), MMR(cpu, in->rm & 7));    \
		cpu->fpu.st[in->reg & 7].se = 0xffff;                \
		mmx_touch(cpu);                                      \
		SOFT_NEXT(cpu, in);                                  \
	}                                                            \
	static inline void mc_##name(uint64_t *d, const void *s)     \
	{                                                            \
		MMX_BODY(ld " %1,%%mm1\n\t" op " %%mm1,%%mm0", *d,   \
		    *(const volatile u##bits##a *)s);                \
	}                                                            \
	static void op_m_##name##_m(                                 \
	    struct softcpu *cpu, const struct insn *in)              \
	{                                                            \
		const void *p;                                       \
                                                                     \
		MMX_GATE(cpu, in);                                   \
		if (unlikely(!fp_ldp(cpu, in, (bits) / 8, 1, &p))) { \
			mmx_ld_slow(cpu, in, mc_##name, (bits) / 8); \
			return;                                      \
		}                                                    \
		mc_##name(&MMR(cpu, in->reg & 7), p);                \
		cpu->fpu.st[in->reg & 7].se = 0xffff;                \
		mmx_touch(cpu);                                      \
		SOFT_NEXT(cpu, in);                                  \
	}                                                            \
	FP_BIND2(m_##name, op_m_##name##_r, op_m_##name##_m)
#define MMX_V(name) MMX_OP(name, "movq", 64, #name)
#define MMX_V4(name) MMX_OP(name, "movd", 32, #name)

MMX_V4(punpcklbw)
MMX_V4(punpcklwd)
MMX_V4(punpckldq)
MMX_V(punpckhbw)
MMX_V(punpckhwd)
MMX_V(punpckhdq)
MMX_V(packsswb)
MMX_V(packuswb)
MMX_V(packssdw)
MMX_V(pcmpgtb)
MMX_V(pcmpgtw)
MMX_V(pcmpgtd)
MMX_V(pcmpeqb)
MMX_V(pcmpeqw)
MMX_V(pcmpeqd)
MMX_V(psrlw)
MMX_V(psrld)
MMX_V(psrlq)
MMX_V(psraw)
MMX_V(psrad)
MMX_V(psllw)
MMX_V(pslld)
MMX_V(psllq)
MMX_V(paddb)
MMX_V(paddw)
MMX_V(paddd)
MMX_V(paddq)
MMX_V(psubb)
MMX_V(psubw)
MMX_V(psubd)
MMX_V(psubq)
MMX_V(paddsb)
MMX_V(paddsw)
MMX_V(paddusb)
MMX_V(paddusw)
MMX_V(psubsb)
MMX_V(psubsw)
MMX_V(psubusb)
MMX_V(psubusw)
MMX_V(pmullw)
MMX_V(pmulhw)
MMX_V(pmulhuw)
MMX_V(pmuludq)
MMX_V(pmaddwd)
MMX_V(psadbw)
MMX_V(pavgb)
MMX_V(pavgw)
MMX_V(pminub)
MMX_V(pmaxub)
MMX_V(pminsw)
MMX_V(pmaxsw)
MMX_V(pand)
MMX_V(pandn)
MMX_V(por)
MMX_V(pxor)
MMX_V(pshufb)
MMX_V(phaddw)
MMX_V(phaddd)
MMX_V(phaddsw)
MMX_V(phsubw)
MMX_V(phsubd)
MMX_V(phsubsw)
MMX_V(pmaddubsw)
MMX_V(pmulhrsw)
MMX_V(psignb)
MMX_V(psignw)
MMX_V(psignd)
MMX_V(pabsb)
MMX_V(pabsw)
MMX_V(pabsd)

/* ---- shifts by an immediate ---- */

#define MMX_SHI(name)                                                         \
	static void op_m_i##name(struct softcpu *cpu, const struct insn *in)  \
	{                                                                     \
		MMX_GATE(cpu, in);                                            \
		__asm__ volatile("movq %0,%%mm0\n\t"                          \
				 "movd %1,%%mm1\n\t" #name " %%mm1,%%mm0\n\t" \
				 "movq %%mm0,%0"                              \
				 : "+m"(MMR(cpu, in->rm & 7))                 \
				 : "r"(in->imm & 0xff)                        \
				 : "mm0", "mm1");                             \
		cpu->fpu.st[in->rm & 7].se = 0xffff;                          \
		mmx_touch(cpu);                                               \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	FP_BIND1(m_i##name, op_m_i##name)
MMX_SHI(psrlw)
MMX_SHI(psrld)
MMX_SHI(psrlq)
MMX_SHI(psraw)
MMX_SHI(psrad)
MMX_SHI(psllw)
MMX_SHI(pslld)
MMX_SHI(psllq)

/* ---- with an immediate: computed here ---- */

static inline uint64_t
mmx_shufw(uint64_t s, unsigned imm)
{
	return ((s >> (imm & 3) * 16 & 0xffff) |
	    (s >> (imm >> 2 & 3) * 16 & 0xffff) << 16 |
	    (s >> (imm >> 4 & 3) * 16 & 0xffff) << 32 |
	    (s >> (imm >> 6 & 3) * 16 & 0xffff) << 48);
}

/* Bytes imm ... imm+7 of d:s. */
static inline uint64_t
mmx_alignr(uint64_t d, uint64_t s, unsigned imm)
{
	if (imm >= 16)
		return (0);
	if (imm >= 8)
		return (d >> (imm - 8) * 8);
	if (imm == 0)
		return (s);
	return (s >> imm * 8 | d << (8 - imm) * 8);
}

#define MMX_IMM(name, expr)                                       \
	static void op_m_##name##_r(                              \
	    struct softcpu *cpu, const struct insn *in)           \
	{                                                         \
		uint64_t d, s;                                    \
		unsigned imm;                                     \
                                                                  \
		MMX_GATE(cpu, in);                                \
		d = MMR(cpu, in->reg & 7);                        \
		s = MMR(cpu, in->rm & 7);                         \
		imm = (unsigned)in->imm & 0xff;                   \
		(void)d;                                          \
		mmx_set(cpu, in->reg & 7, expr);                  \
		SOFT_NEXT(cpu, in);                               \
	}                                                         \
	static void op_m_##name##_m(                              \
	    struct softcpu *cpu, const struct insn *in)           \
	{                                                         \
		const void *p;                                    \
		uint64_t d, s;                                    \
		unsigned imm;                                     \
                                                                  \
		MMX_GATE(cpu, in);                                \
		if (unlikely((p = fp_ld(cpu, in, 8, 1)) == NULL)) \
			return;                                   \
		d = MMR(cpu, in->reg & 7);                        \
		s = *(const volatile u64a *)p;                    \
		imm = (unsigned)in->imm & 0xff;                   \
		(void)d;                                          \
		mmx_set(cpu, in->reg & 7, expr);                  \
		SOFT_NEXT(cpu, in);                               \
	}                                                         \
	FP_BIND2(m_##name, op_m_##name##_r, op_m_##name##_m)
MMX_IMM(pshufw, mmx_shufw(s, imm))
MMX_IMM(palignr, mmx_alignr(d, s, imm))

/* ---- moves ---- */

static void
op_m_mov_rr(struct softcpu *cpu, const struct insn *in)
{
	MMX_GATE(cpu, in);
	mmx_set(cpu, in->reg & 7, MMR(cpu, in->rm & 7));
	SOFT_NEXT(cpu, in);
}

static void
op_m_mov_rr_st(struct softcpu *cpu, const struct insn *in)
{
	MMX_GATE(cpu, in);
	mmx_set(cpu, in->rm & 7, MMR(cpu, in->reg & 7));
	SOFT_NEXT(cpu, in);
}

static void
mc_ld8(uint64_t *d, const void *s)
{
	*d = *(const volatile u64a *)s;
}

static void
mc_ld4(uint64_t *d, const void *s)
{
	*d = *(const volatile u32a *)s;
}

static void
op_m_ld8(struct softcpu *cpu, const struct insn *in)
{
	const void *p;

	MMX_GATE(cpu, in);
	if (unlikely(!fp_ldp(cpu, in, 8, 1, &p))) {
		mmx_ld_slow(cpu, in, mc_ld8, 8);
		return;
	}
	mmx_set(cpu, in->reg & 7, *(const volatile u64a *)p);
	SOFT_NEXT(cpu, in);
}

static void
op_m_ld4(struct softcpu *cpu, const struct insn *in)
{
	const void *p;

	MMX_GATE(cpu, in);
	if (unlikely(!fp_ldp(cpu, in, 4, 1, &p))) {
		mmx_ld_slow(cpu, in, mc_ld4, 4);
		return;
	}
	mmx_set(cpu, in->reg & 7, *(const volatile u32a *)p);
	SOFT_NEXT(cpu, in);
}

static noinline void
mmx_st_slow(struct softcpu *cpu, const struct insn *in, int size)
{
	if (!fp_st_slow(cpu, in, size, 1))
		return;
	mmx_touch(cpu);
	SOFT_NEXT(cpu, in);
}

#define MMX_ST(bits)                                                          \
	static void op_m_st##bits(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		uint64_t v;                                                   \
		void *p;                                                      \
                                                                              \
		MMX_GATE(cpu, in);                                            \
		v = MMR(cpu, in->reg & 7);                                    \
		if (unlikely(!fp_stp(cpu, in, (bits) / 8, 1, &p))) {          \
			*(u64a *)(void *)cpu->fpu.tmp = v;                    \
			mmx_st_slow(cpu, in, (bits) / 8);                     \
			return;                                               \
		}                                                             \
		*(volatile u##bits##a *)p = (uint##bits##_t)v;                \
		mmx_touch(cpu);                                               \
		SOFT_NEXT(cpu, in);                                           \
	}
MMX_ST(32)
MMX_ST(64)

static void
op_m_movd_ld(struct softcpu *cpu, const struct insn *in)
{
	MMX_GATE(cpu, in);
	mmx_set(cpu, in->reg & 7, DREG(cpu, in->rm));
	SOFT_NEXT(cpu, in);
}

static void
op_m_movq_ld(struct softcpu *cpu, const struct insn *in)
{
	MMX_GATE(cpu, in);
	mmx_set(cpu, in->reg & 7, QREG(cpu, in->rm));
	SOFT_NEXT(cpu, in);
}

static void
op_m_movd_st(struct softcpu *cpu, const struct insn *in)
{
	MMX_GATE(cpu, in);
	QREG(cpu, in->rm) = (uint32_t)MMR(cpu, in->reg & 7);
	mmx_touch(cpu);
	SOFT_NEXT(cpu, in);
}

static void
op_m_movq_st(struct softcpu *cpu, const struct insn *in)
{
	MMX_GATE(cpu, in);
	QREG(cpu, in->rm) = MMR(cpu, in->reg & 7);
	mmx_touch(cpu);
	SOFT_NEXT(cpu, in);
}
FP_BIND2(m_movq_ld, op_m_mov_rr, op_m_ld8)
FP_BIND2(m_movq_st, op_m_mov_rr_st, op_m_st64)
FP_BIND1(m_movntq, op_m_st64)

soft_op
bind_m_movd_ld(const struct soft_dec *dec, struct insn *in)
{
	if (dec->rex & 8)
		return (dec->mem ? op_m_ld8 : op_m_movq_ld);
	return (dec->mem ? op_m_ld4 : op_m_movd_ld);
}

soft_op
bind_m_movd_st(const struct soft_dec *dec, struct insn *in)
{
	if (dec->rex & 8)
		return (dec->mem ? op_m_st64 : op_m_movq_st);
	return (dec->mem ? op_m_st32 : op_m_movd_st);
}

/* ---- words, masks, EMMS ---- */

static void
op_m_pmovmskb(struct softcpu *cpu, const struct insn *in)
{
	__m128i v;

	MMX_GATE(cpu, in);
	v = _mm_cvtsi64_si128((int64_t)MMR(cpu, in->rm & 7));
	QREG(cpu, in->reg) = (unsigned)_mm_movemask_epi8(v);
	mmx_touch(cpu);
	SOFT_NEXT(cpu, in);
}
FP_BIND1(m_pmovmskb, op_m_pmovmskb)

static void
op_m_pextrw(struct softcpu *cpu, const struct insn *in)
{
	MMX_GATE(cpu, in);
	QREG(cpu, in->reg) =
	    (uint16_t)(MMR(cpu, in->rm & 7) >> (in->imm & 3) * 16);
	mmx_touch(cpu);
	SOFT_NEXT(cpu, in);
}
FP_BIND1(m_pextrw, op_m_pextrw)

static inline uint64_t
mmx_insw(uint64_t d, uint64_t w, unsigned imm)
{
	unsigned n = (imm & 3) * 16;

	return ((d & ~(0xffffull << n)) | (w & 0xffff) << n);
}

static void
op_m_pinsrw_r(struct softcpu *cpu, const struct insn *in)
{
	MMX_GATE(cpu, in);
	mmx_set(cpu, in->reg & 7,
	    mmx_insw(
		MMR(cpu, in->reg & 7), QREG(cpu, in->rm), (unsigned)in->imm));
	SOFT_NEXT(cpu, in);
}

static void
op_m_pinsrw_m(struct softcpu *cpu, const struct insn *in)
{
	const void *p;

	MMX_GATE(cpu, in);
	if (unlikely((p = fp_ld(cpu, in, 2, 1)) == NULL))
		return;
	mmx_set(cpu, in->reg & 7,
	    mmx_insw(MMR(cpu, in->reg & 7), *(const volatile u16a *)p,
		(unsigned)in->imm));
	SOFT_NEXT(cpu, in);
}
FP_BIND2(m_pinsrw, op_m_pinsrw_r, op_m_pinsrw_m)

static void
op_emms(struct softcpu *cpu, const struct insn *in)
{
	MMX_GATE(cpu, in);
	cpu->fpu.top = 0;
	cpu->fpu.ftw = 0;
	SOFT_NEXT(cpu, in);
}
FP_BIND1(emms, op_emms)
