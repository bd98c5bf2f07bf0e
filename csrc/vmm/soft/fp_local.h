/*
 * Private to the floating point files (op_x87*.c, x87_env.c, op_mmx*.c,
 * sse_*.c, xsave.c): operand access, the gates, and the macros that make
 * handlers out of host instructions.
 *
 * MXCSR: while the thread is in the run loop the host's register has the
 * guest's rounding, FTZ and DAZ with every exception masked, and its sticky
 * flags are a subset of what the guest's register shall show.
 */
#ifndef _FP_LOCAL_H_
#define _FP_LOCAL_H_

#include <emmintrin.h>

#include "optab.h"
#include "soft_local.h"

#define FP_CR0_MP 0x2u
#define FP_CR0_EM 0x4u
#define FP_CR0_TS 0x8u
#define FP_CR4_OSFXSR 0x200u
#define FP_CR4_OSXMMEXCPT 0x400u
#define FP_CR4_OSXSAVE 0x40000u

#define FSW_FLAGS 0x003fu
#define FSW_SF 0x0040u
#define FSW_ES 0x0080u
#define FSW_C1 0x0200u
#define FSW_TOP 0x3800u
#define FSW_B 0x8000u
#define FCW_INIT 0x037fu
#define FCW_MASKS 0x003fu

#define MXCSR_FLAGS 0x003fu
#define MXCSR_DAZ 0x0040u
#define MXCSR_MASKS 0x1f80u
#define MXCSR_UM 0x0800u
#define MXCSR_FTZ 0x8000u
#define MXCSR_INIT 0x1f80u
#define MXCSR_VALID 0xffffu /* MXCSR_MASK of the FXSAVE image */

#define XCR0_X87 1u
#define XCR0_SSE 2u
#define XCR0_VALID (XCR0_X87 | XCR0_SSE)

#define noinline __attribute__((__noinline__))

/* The FXSAVE image with 64-bit pointers. */
struct fximg {
	uint16_t fcw, fsw;
	uint8_t ftw, rsvd;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	struct {
		uint64_t mant;
		uint16_t se;
		uint16_t pad[3];
	} st[8];
	uint8_t xmm[16][16];
	uint8_t avail[96];
} __attribute__((__aligned__(16)));
_Static_assert(sizeof(struct fximg) == 512, "FXSAVE image");

/* An xmm register of the guest. */
#define XMM(cpu, n) (*(__m128i_u *)(void *)(cpu)->fpu.ymm[(n)])
/* An MMX register of the guest; valid while the x87 state is in st[]. */
#define MMR(cpu, n) ((cpu)->fpu.st[(n)].mant)

/* ---- operands ---- */
const void *fp_ld_slow(
    struct softcpu *cpu, const struct insn *in, int size, int align);
bool fp_st_slow(
    struct softcpu *cpu, const struct insn *in, int size, int align);

static inline bool
fp_lin(
    const struct softcpu *cpu, const struct insn *in, int align, uint64_t *lin)
{
	uint64_t ea;

	ea = cpu->gpr[in->base] + (cpu->gpr[in->index] << in->scale) +
	    (uint64_t)(int64_t)in->disp;
	if (likely(in->amode == AM_64))
		*lin = ea + cpu->segbase[in->seg];
	else if (likely(in->amode == AM_FLAT32))
		*lin = (uint32_t)ea;
	else
		return (false);
	return ((*lin & (unsigned)(align - 1)) == 0);
}

/*
 * Guest memory of the operand for reading; false: not at hand, the handler
 * ends in a call of its slow function, so that its own frame stays empty.
 * (align) is the alignment without which the access is #GP(0), 1 for none.
 */
static inline bool
fp_ldp(const struct softcpu *cpu, const struct insn *in, int size, int align,
    const void **p)
{
	const struct tlbe *e;
	uint64_t lin;

	if (unlikely(!fp_lin(cpu, in, align, &lin)))
		return (false);
	e = soft_tlbe(cpu, lin);
	if (unlikely(lin - e->rtag > (uint64_t)(4096 - size)))
		return (false);
	*p = (const void *)(uintptr_t)(lin + e->addend);
	return (true);
}

/* The same or a copy in cpu->fpu.tmp.  NULL: the instruction stops. */
static inline const void *
fp_ld(struct softcpu *cpu, const struct insn *in, int size, int align)
{
	const void *p;

	if (likely(fp_ldp(cpu, in, size, align, &p)))
		return (p);
	return (fp_ld_slow(cpu, in, size, align));
}

/* Guest memory of the operand for writing; false: put the value into
 * cpu->fpu.tmp and call fp_st_slow(), or end in sse_st_slow(). */
static inline bool
fp_stp(const struct softcpu *cpu, const struct insn *in, int size, int align,
    void **p)
{
	const struct tlbe *e;
	uint64_t lin;

	if (unlikely(!fp_lin(cpu, in, align, &lin)))
		return (false);
	e = soft_tlbe(cpu, lin);
	if (unlikely(lin - e->wtag > (uint64_t)(4096 - size)))
		return (false);
	*p = (void *)(uintptr_t)(lin + e->addend);
	return (true);
}

static inline __m128i
fp_get16(const void *p)
{
	return (*(const __m128i_u *)p);
}
static inline __m128i
fp_get8(const void *p)
{
	return (_mm_cvtsi64_si128((int64_t) * (const volatile u64a *)p));
}
static inline __m128i
fp_get4(const void *p)
{
	return (_mm_cvtsi32_si128((int)*(const volatile u32a *)p));
}
static inline __m128i
fp_get2(const void *p)
{
	return (_mm_cvtsi32_si128(*(const volatile u16a *)p));
}

/* ---- gates ---- */
#define SSE_GATE(cpu, in)                                  \
	do {                                               \
		if (unlikely(!(cpu)->fpu.sse_ok)) {        \
			(void)soft_sse_check((cpu), (in)); \
			return;                            \
		}                                          \
	} while (0)
#define MMX_GATE(cpu, in)                           \
	do {                                        \
		if (unlikely(!(cpu)->fpu.mmx_ok)) { \
			mmx_again((cpu), (in));     \
			return;                     \
		}                                   \
	} while (0)
/* #UD/#NM/#MF of an MMX instruction; brings the x87 state into st[] and
 * sets mmx_ok. */
bool soft_mmx_check(struct softcpu *cpu, const struct insn *in);
/* ... and starts the handler again. */
void mmx_again(struct softcpu *cpu, const struct insn *in);

/* Every MMX instruction clears TOP, and all but EMMS make all registers
 * valid. */
static inline void
mmx_touch(struct softcpu *cpu)
{
	cpu->fpu.top = 0;
	cpu->fpu.ftw = 0xff;
}
static inline void
mmx_set(struct softcpu *cpu, int n, uint64_t v)
{
	cpu->fpu.st[n].mant = v;
	cpu->fpu.st[n].se = 0xffff;
	mmx_touch(cpu);
}

/* ---- x87 residency (x87_env.c) ---- */
bool x87_prep(struct softcpu *cpu, const struct insn *in);
void x87_load(struct softcpu *cpu);
void x87_evict(struct softcpu *cpu);
void x87_drop(struct softcpu *cpu);
void x87_summary(struct softcpu *cpu);
void x87_to_fx(const struct softcpu *cpu, struct fximg *img);
void x87_from_fx(struct softcpu *cpu, const struct fximg *img);
void x87_init(struct softcpu *cpu);

/* ---- MXCSR (x87_env.c) ---- */
uint32_t fp_mxcsr(struct softcpu *cpu);
void fp_set_mxcsr(struct softcpu *cpu, uint32_t val);

static inline uint32_t
fp_host_stmxcsr(void)
{
	uint32_t v;

	__asm__ volatile("stmxcsr %0" : "=m"(v));
	return (v);
}
static inline void
fp_host_ldmxcsr(uint32_t v)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(v) : "memory");
}

/*
 * ---- SSE with exceptions (sse_run.c) ----
 * A core computes from destination and source.  The slow functions run one
 * under the gates and with exact unmasked exceptions.  (kind): size of the
 * memory operand, its alignment, and which lanes of the result may be tiny.
 */
typedef __m128i (*sse_core)(__m128i d, __m128i s);
typedef uint64_t (*sse_gcore)(__m128i d, __m128i s);
#define K_SIZE 0xffu
#define K_ALIGN 0x100u /* to 16 bytes */
#define K_SS 0x200u
#define K_PS 0x400u
#define K_SD 0x800u
#define K_PD 0x1000u
#define K_TINY (K_SS | K_PS | K_SD | K_PD)
#define K_GPR 0x2000u	/* sources are general registers (CVTSI2xx) */
#define K_W 0x4000u	/* ... of 64 bits */
#define K_MMXS 0x8000u	/* source is an MMX register */
#define K_MMXD 0x10000u /* destination is an MMX register */
#define K_CC 0x20000u	/* destination is the arithmetic flags */
#define K_DP 0x40000u	/* a dot product */
#define KA16 (16u | K_ALIGN)
void sse_fp_slow(
    struct softcpu *cpu, const struct insn *in, sse_core core, uint32_t kind);
void sse_gpr_slow(
    struct softcpu *cpu, const struct insn *in, sse_gcore core, uint32_t kind);
/* The same for a core that raises nothing. */
void sse_int_slow(
    struct softcpu *cpu, const struct insn *in, sse_core core, uint32_t kind);
/* Stores (size) bytes of cpu->fpu.tmp and goes on. */
void sse_st_slow(
    struct softcpu *cpu, const struct insn *in, int size, int align);
/* Source operand as (kind) says; false: stop. */
bool sse_source(
    struct softcpu *cpu, const struct insn *in, uint32_t kind, __m128i *s);

/* fp_ldp() by kind. */
#define FP_LDK(cpu, in, kind, p) \
	fp_ldp((cpu), (in), (kind)&K_SIZE, (kind)&K_ALIGN ? 16 : 1, (p))

static inline __m128i
sse_get(const void *p, uint32_t size)
{
	switch (size) {
	case 2:
		return (fp_get2(p));
	case 4:
		return (fp_get4(p));
	case 8:
		return (fp_get8(p));
	default:
		return (fp_get16(p));
	}
}

/* Binder of a register and a memory handler. */
#define FP_BIND2(name, regop, memop)                                     \
	soft_op bind_##name(const struct soft_dec *dec, struct insn *in) \
	{                                                                \
		return (dec->mem ? (memop) : (regop));                   \
	}
#define FP_BIND1(name, theop)                                            \
	soft_op bind_##name(const struct soft_dec *dec, struct insn *in) \
	{                                                                \
		return (theop);                                          \
	}

/*
 * xmm <- op(xmm, xmm/mem) without floating point exceptions.  (size) is the
 * memory operand's, (al) its alignment.
 */
#define SSE_OP(name, size, al, statement)                                     \
	static inline __m128i c_##name(__m128i d, __m128i s)                  \
	{                                                                     \
		statement;                                                    \
		return (d);                                                   \
	}                                                                     \
	static void op_##name##_r(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		SSE_GATE(cpu, in);                                            \
		XMM(cpu, in->reg) =                                           \
		    c_##name(XMM(cpu, in->reg), XMM(cpu, in->rm));            \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	static void op_##name##_m(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		const void *p;                                                \
                                                                              \
		if (unlikely(!cpu->fpu.sse_ok) ||                             \
		    unlikely(!fp_ldp(cpu, in, size, al, &p))) {               \
			sse_int_slow(cpu, in, c_##name,                       \
			    (size) | ((al) == 16 ? K_ALIGN : 0));             \
			return;                                               \
		}                                                             \
		XMM(cpu, in->reg) =                                           \
		    c_##name(XMM(cpu, in->reg), sse_get(p, size));            \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	FP_BIND2(name, op_##name##_r, op_##name##_m)

#define ASM_DS(mnemonic) __asm__(mnemonic " %1,%0" : "+x"(d) : "x"(s))
#define ASM_DSV(mnemonic) __asm__ volatile(mnemonic " %1,%0" : "+x"(d) : "x"(s))
/* The usual case: an aligned 16-byte operand, the row's name is the
 * mnemonic. */
#define SSE_V(name) SSE_OP(name, 16, 16, ASM_DS(#name))

/* The same for an operation that raises floating point exceptions. */
#define SSE_FPOP(name, kind, statement)                                       \
	static inline __m128i c_##name(__m128i d, __m128i s)                  \
	{                                                                     \
		statement;                                                    \
		return (d);                                                   \
	}                                                                     \
	static void op_##name##_r(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		if (unlikely(!cpu->fpu.ssefp_ok)) {                           \
			sse_fp_slow(cpu, in, c_##name, kind);                 \
			return;                                               \
		}                                                             \
		XMM(cpu, in->reg) =                                           \
		    c_##name(XMM(cpu, in->reg), XMM(cpu, in->rm));            \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	static void op_##name##_m(struct softcpu *cpu, const struct insn *in) \
	{                                                                     \
		const void *p;                                                \
                                                                              \
		if (unlikely(!cpu->fpu.ssefp_ok) ||                           \
		    unlikely(!FP_LDK(cpu, in, kind, &p))) {                   \
			sse_fp_slow(cpu, in, c_##name, kind);                 \
			return;                                               \
		}                                                             \
		XMM(cpu, in->reg) =                                           \
		    c_##name(XMM(cpu, in->reg), sse_get(p, (kind)&K_SIZE));   \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	FP_BIND2(name, op_##name##_r, op_##name##_m)
#define SSE_F(name, kind) SSE_FPOP(name, kind, ASM_DSV(#name))

/* Binders' prototypes: one for each row. */
#define OP(map, opc, pfx, reg, mod, name, opnds, imm, attr, feat, fr, fw, fu, \
    bind, arg)                                                                \
	soft_op bind(const struct soft_dec *dec, struct insn *in);
#include "optab_fp.def"
#undef OP

#endif
