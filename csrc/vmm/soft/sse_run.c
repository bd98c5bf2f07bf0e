/*
 * Slow paths of floating point: operands that the TLB does not answer, and
 * SSE operations while the guest has some exception unmasked.
 */
#include <string.h>

#include "fp_local.h"

/* See fp_ld(): the copy in tmp, or NULL with the fault recorded. */
noinline const void *
fp_ld_slow(struct softcpu *cpu, const struct insn *in, int size, int align)
{
	uint64_t lin;

	if (!soft_ea(cpu, in, size, false, &lin))
		return (NULL);
	if (lin & (unsigned)(align - 1)) {
		soft_fault_err(cpu, in, X_GP, 0);
		return (NULL);
	}
	if (size <= 8 && (size & (size - 1)) == 0) {
		if (!soft_ld_slow(cpu, in, lin, size, cpu->fpu.tmp))
			return (NULL);
	} else if (!soft_ld_bytes(cpu, in, lin, cpu->fpu.tmp, size))
		return (NULL);
	return (cpu->fpu.tmp);
}

/* Stores (size) bytes of tmp. */
noinline bool
fp_st_slow(struct softcpu *cpu, const struct insn *in, int size, int align)
{
	uint64_t lin;

	if (!soft_ea(cpu, in, size, true, &lin))
		return (false);
	if (lin & (unsigned)(align - 1)) {
		soft_fault_err(cpu, in, X_GP, 0);
		return (false);
	}
	if (size <= 8 && (size & (size - 1)) == 0)
		return (soft_st_slow(cpu, in, lin, size, cpu->fpu.tmp));
	return (soft_st_bytes(cpu, in, lin, cpu->fpu.tmp, size));
}

/*
 * An unmasked underflow is signalled for a tiny result even when it is
 * exact, which the masked host does not report: look for a denormal.
 */
static bool
sse_tiny(__m128i r, uint32_t kind)
{
	uint32_t f[4];
	uint64_t d[2];
	int i, n;

	memcpy(f, &r, sizeof(f));
	memcpy(d, &r, sizeof(d));
	n = kind & K_SS ? 1 : kind & K_PS ? 4 : 0;
	for (i = 0; i < n; i++)
		if (!(f[i] & 0x7f800000u) && (f[i] & 0x7fffffu))
			return (true);
	n = kind & K_SD ? 1 : kind & K_PD ? 2 : 0;
	for (i = 0; i < n; i++)
		if (!(d[i] & 0x7ff0000000000000u) && (d[i] & 0xfffffffffffffu))
			return (true);
	return (false);
}

/* Flags that one operation raised; true: an unmasked one among them. */
static bool
sse_exceptions(struct softcpu *cpu, const struct insn *in, bool tiny)
{
	uint32_t f, old, unmasked;

	f = fp_host_stmxcsr() & MXCSR_FLAGS;
	old = cpu->fpu.mxcsr;
	unmasked = ~(old >> 7) & MXCSR_FLAGS;
	if (tiny && (unmasked & 0x10))
		f |= 0x10;
	/* Faults on operands leave the result's ones uncomputed. */
	if (f & unmasked & 7)
		f &= 7;
	fp_set_mxcsr(cpu, old | f);
	if (!(f & unmasked))
		return (false);
	soft_fault(cpu, in, cpu->cr4 & FP_CR4_OSXMMEXCPT ? X_XM : X_UD);
	return (true);
}

static void
sse_exceptions_begin(struct softcpu *cpu)
{
	fp_set_mxcsr(cpu, fp_mxcsr(cpu));
	fp_host_ldmxcsr(fp_host_stmxcsr() & ~MXCSR_FLAGS);
}

bool
sse_source(
    struct softcpu *cpu, const struct insn *in, uint32_t kind, __m128i *s)
{
	const void *p;

	if (in->flags & IN_MEM) {
		p = fp_ld(
		    cpu, in, (int)(kind & K_SIZE), kind & K_ALIGN ? 16 : 1);
		if (p == NULL)
			return (false);
		*s = sse_get(p, kind & K_SIZE);
	} else if (kind & K_GPR)
		*s = _mm_cvtsi64_si128(kind & K_W ? (int64_t)QREG(cpu, in->rm)
						  : (int64_t)DREG(cpu, in->rm));
	else if (kind & K_MMXS)
		*s = _mm_cvtsi64_si128((int64_t)MMR(cpu, in->rm & 7));
	else
		*s = XMM(cpu, in->rm);
	return (true);
}

/* Does the instruction use an MMX register? */
static bool
sse_mmx(const struct insn *in, uint32_t kind)
{
	return ((kind & K_MMXD) || ((kind & K_MMXS) && !(in->flags & IN_MEM)));
}

static bool
sse_slow_gate(struct softcpu *cpu, const struct insn *in, uint32_t kind)
{
	if (!soft_sse_check(cpu, in))
		return (false);
	if (sse_mmx(in, kind) && !cpu->fpu.mmx_ok)
		return (soft_mmx_check(cpu, in));
	return (true);
}

#define DP_STEP(op, d, s)                                         \
	do {                                                      \
		sse_exceptions_begin(cpu);                        \
		__asm__ volatile(op " %1,%0" : "+x"(d) : "x"(s)); \
		if (sse_exceptions(cpu, in, sse_tiny(d, kind)))   \
			return (false);                           \
	} while (0)

/*
 * A dot product signals after its products, after the sums of pairs and after
 * the last sum: run the three steps for their exceptions alone.
 */
static bool
sse_dp_steps(struct softcpu *cpu, const struct insn *in, __m128i d, __m128i s,
    uint32_t kind)
{
	const int imm = in->imm;
	__m128i m;

	if (kind & K_PS) {
		m = _mm_set_epi32(-(imm >> 7 & 1), -(imm >> 6 & 1),
		    -(imm >> 5 & 1), -(imm >> 4 & 1));
		d = _mm_and_si128(d, m);
		DP_STEP("mulps", d, _mm_and_si128(s, m));
		DP_STEP("haddps", d, d);
		DP_STEP("haddps", d, d);
	} else {
		m = _mm_set_epi64x(
		    -(int64_t)(imm >> 5 & 1), -(int64_t)(imm >> 4 & 1));
		d = _mm_and_si128(d, m);
		DP_STEP("mulpd", d, _mm_and_si128(s, m));
		DP_STEP("haddpd", d, d);
	}
	return (true);
}

static bool
sse_fp_do(
    struct softcpu *cpu, const struct insn *in, sse_core core, uint32_t kind)
{
	__m128i r, s;

	if (!sse_slow_gate(cpu, in, kind) || !sse_source(cpu, in, kind, &s))
		return (false);
	if ((kind & K_DP) && !sse_dp_steps(cpu, in, XMM(cpu, in->reg), s, kind))
		return (false);
	sse_exceptions_begin(cpu);
	r = core(XMM(cpu, in->reg), s);
	if (sse_exceptions(cpu, in, sse_tiny(r, kind)))
		return (false);
	if (kind & K_MMXD)
		mmx_set(cpu, in->reg & 7, (uint64_t)_mm_cvtsi128_si64(r));
	else {
		XMM(cpu, in->reg) = r;
		if (sse_mmx(in, kind))
			mmx_touch(cpu);
	}
	return (true);
}

noinline void
sse_fp_slow(
    struct softcpu *cpu, const struct insn *in, sse_core core, uint32_t kind)
{
	if (!sse_fp_do(cpu, in, core, kind))
		return;
	SOFT_NEXT(cpu, in);
}

static bool
sse_int_do(
    struct softcpu *cpu, const struct insn *in, sse_core core, uint32_t kind)
{
	__m128i s;

	if (!soft_sse_check(cpu, in) || !sse_source(cpu, in, kind, &s))
		return (false);
	XMM(cpu, in->reg) = core(XMM(cpu, in->reg), s);
	return (true);
}

noinline void
sse_int_slow(
    struct softcpu *cpu, const struct insn *in, sse_core core, uint32_t kind)
{
	if (!sse_int_do(cpu, in, core, kind))
		return;
	SOFT_NEXT(cpu, in);
}

noinline void
sse_st_slow(struct softcpu *cpu, const struct insn *in, int size, int align)
{
	if (!fp_st_slow(cpu, in, size, align))
		return;
	SOFT_NEXT(cpu, in);
}

static bool
sse_gpr_do(
    struct softcpu *cpu, const struct insn *in, sse_gcore core, uint32_t kind)
{
	__m128i s;
	uint64_t r;

	if (!sse_slow_gate(cpu, in, kind) || !sse_source(cpu, in, kind, &s))
		return (false);
	sse_exceptions_begin(cpu);
	r = core(XMM(cpu, in->reg), s);
	if (sse_exceptions(cpu, in, false))
		return (false);
	if (kind & K_CC)
		cpu->cc = (uint16_t)r;
	else
		QREG(cpu, in->reg) = r;
	return (true);
}

noinline void
sse_gpr_slow(
    struct softcpu *cpu, const struct insn *in, sse_gcore core, uint32_t kind)
{
	if (!sse_gpr_do(cpu, in, core, kind))
		return;
	SOFT_NEXT(cpu, in);
}
