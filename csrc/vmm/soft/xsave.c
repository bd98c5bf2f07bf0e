/*
 * FXSAVE/FXRSTOR, XSAVE/XSAVEOPT/XSAVEC/XRSTOR, XGETBV/XSETBV and the MXCSR
 * instructions.  Components: x87 and SSE.  A component beyond them (AVX)
 * adds an entry at its own offset behind the header.
 */
#include <string.h>

#include "fp_local.h"

#define XHDR 512u /* the header's offset: XSTATE_BV, XCOMP_BV */
#define XCOMP_COMPACT (1ull << 63)

/* ---- MXCSR ---- */

static noinline bool
ldmxcsr_do(struct softcpu *cpu, const struct insn *in)
{
	const void *p;
	uint32_t v;

	if (!cpu->fpu.sse_ok && !soft_sse_check(cpu, in))
		return (false);
	if ((p = fp_ld(cpu, in, 4, 1)) == NULL)
		return (false);
	v = *(const volatile u32a *)p;
	if (v & ~MXCSR_VALID) {
		soft_fault_err(cpu, in, X_GP, 0);
		return (false);
	}
	fp_set_mxcsr(cpu, v);
	return (true);
}

static void
op_ldmxcsr(struct softcpu *cpu, const struct insn *in)
{
	if (ldmxcsr_do(cpu, in))
		SOFT_NEXT(cpu, in);
}
FP_BIND1(ldmxcsr, op_ldmxcsr)

static noinline bool
stmxcsr_do(struct softcpu *cpu, const struct insn *in)
{
	uint32_t v;
	void *p;

	if (!cpu->fpu.sse_ok && !soft_sse_check(cpu, in))
		return (false);
	v = fp_mxcsr(cpu);
	if (fp_stp(cpu, in, 4, 1, &p)) {
		*(volatile u32a *)p = v;
		return (true);
	}
	memcpy(cpu->fpu.tmp, &v, 4);
	return (fp_st_slow(cpu, in, 4, 1));
}

static void
op_stmxcsr(struct softcpu *cpu, const struct insn *in)
{
	if (stmxcsr_do(cpu, in))
		SOFT_NEXT(cpu, in);
}
FP_BIND1(stmxcsr, op_stmxcsr)

/* ---- pieces of an image ---- */

/* rm's REX.W chooses 64-bit pointers; aux carries it. */
static void
ptrs_put(const struct softcpu *cpu, bool wide, struct fximg *img)
{
	const struct softfpu *f = &cpu->fpu;

	if (wide) {
		img->fip = f->fip;
		img->fdp = f->fdp;
	} else {
		img->fip = (uint32_t)f->fip | (uint64_t)f->fcs << 32;
		img->fdp = (uint32_t)f->fdp | (uint64_t)f->fds << 32;
	}
}

static void
ptrs_get(struct softcpu *cpu, bool wide, const struct fximg *img)
{
	struct softfpu *f = &cpu->fpu;

	f->fop = img->fop & 0x7ff;
	if (wide) {
		f->fip = img->fip;
		f->fdp = img->fdp;
		f->fcs = f->fds = 0;
	} else {
		f->fip = (uint32_t)img->fip;
		f->fdp = (uint32_t)img->fdp;
		f->fcs = (uint16_t)(img->fip >> 32);
		f->fds = (uint16_t)(img->fdp >> 32);
	}
}

static bool
img_ld(struct softcpu *cpu, const struct insn *in, uint64_t lin, void *buf,
    unsigned from, unsigned to)
{
	unsigned n;

	for (; from < to; from += n) {
		n = to - from > 64 ? 64 : to - from;
		if (!soft_ld_bytes(
			cpu, in, lin + from, (uint8_t *)buf + from, (int)n))
			return (false);
	}
	return (true);
}

static bool
img_st(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    const void *buf, unsigned from, unsigned to)
{
	unsigned n;

	for (; from < to; from += n) {
		n = to - from > 64 ? 64 : to - from;
		if (!soft_st_bytes(cpu, in, lin + from,
			(const uint8_t *)buf + from, (int)n))
			return (false);
	}
	return (true);
}

static unsigned
xmm_count(const struct softcpu *cpu)
{
	return (cpu->mode & MODE_64 ? 16 : 8);
}

static void
xmm_put(const struct softcpu *cpu, struct fximg *img)
{
	unsigned i;

	for (i = 0; i < 16; i++)
		memcpy(img->xmm[i], cpu->fpu.ymm[i], 16);
}

/* ... or all zero for no image. */
static void
xmm_get(struct softcpu *cpu, const struct fximg *img)
{
	unsigned i;

	for (i = 0; i < xmm_count(cpu); i++) {
		if (img != NULL)
			memcpy(cpu->fpu.ymm[i], img->xmm[i], 16);
		else
			memset(cpu->fpu.ymm[i], 0, 16);
	}
}

/* x87 registers from an image, or the initial state. */
static void
x87_restore(struct softcpu *cpu, const struct fximg *img, bool wide)
{
	if (cpu->fpu.resident)
		x87_drop(cpu);
	if (img == NULL) {
		memset(cpu->fpu.st, 0, sizeof(cpu->fpu.st));
		x87_init(cpu);
		return;
	}
	x87_from_fx(cpu, img);
	cpu->fpu.fcw = (cpu->fpu.fcw & 0x1f3f) | 0x40;
	ptrs_get(cpu, wide, img);
	x87_summary(cpu);
}

/* Address of the image with its alignment enforced. */
static bool
img_addr(struct softcpu *cpu, const struct insn *in, int size, bool write,
    unsigned align, uint64_t *lin)
{
	if (!soft_ea(cpu, in, size, write, lin))
		return (false);
	if (*lin & (align - 1)) {
		soft_fault_err(cpu, in, X_GP, 0);
		return (false);
	}
	return (true);
}

/* ---- FXSAVE, FXRSTOR ---- */

static bool
fxsr_check(struct softcpu *cpu, const struct insn *in)
{
	if (cpu->cr0 & (FP_CR0_EM | FP_CR0_TS)) {
		soft_fault(cpu, in, X_NM);
		return (false);
	}
	return (true);
}

static noinline bool
fxsave_do(struct softcpu *cpu, const struct insn *in)
{
	struct fximg img;
	uint64_t lin;
	unsigned end;

	if (!fxsr_check(cpu, in) || !img_addr(cpu, in, 512, true, 16, &lin))
		return (false);
	end = 160 + xmm_count(cpu) * 16;
	if (!soft_probe_write(cpu, in, lin, 512))
		return (false);
	x87_evict(cpu);
	x87_to_fx(cpu, &img);
	ptrs_put(cpu, in->aux != 0, &img);
	img.mxcsr = fp_mxcsr(cpu);
	img.mxcsr_mask = MXCSR_VALID;
	xmm_put(cpu, &img);
	return (img_st(cpu, in, lin, &img, 0, end));
}

static noinline bool
fxrstor_do(struct softcpu *cpu, const struct insn *in)
{
	struct fximg img;
	uint64_t lin;

	if (!fxsr_check(cpu, in) || !img_addr(cpu, in, 512, false, 16, &lin))
		return (false);
	if (!img_ld(cpu, in, lin, &img, 0, sizeof(img)))
		return (false);
	if (img.mxcsr & ~MXCSR_VALID) {
		soft_fault_err(cpu, in, X_GP, 0);
		return (false);
	}
	x87_restore(cpu, &img, in->aux != 0);
	xmm_get(cpu, &img);
	fp_set_mxcsr(cpu, img.mxcsr);
	return (true);
}

/* ---- XSAVE family ---- */

static bool
xsave_check(struct softcpu *cpu, const struct insn *in)
{
	if (!(cpu->cr4 & FP_CR4_OSXSAVE)) {
		soft_fault(cpu, in, X_UD);
		return (false);
	}
	if (cpu->cr0 & FP_CR0_TS) {
		soft_fault(cpu, in, X_NM);
		return (false);
	}
	return (true);
}

static uint64_t
xsave_rfbm(const struct softcpu *cpu)
{
	return (((uint64_t)DREG(cpu, R_DX) << 32 | DREG(cpu, R_AX)) &
	    cpu->fpu.xcr0);
}

/* Components that differ from their initial state; x87 state is at home. */
static uint64_t
xsave_inuse(const struct softcpu *cpu)
{
	static const uint8_t zero[16];
	const struct softfpu *f = &cpu->fpu;
	uint64_t bv;
	unsigned i;

	bv = 0;
	if (f->fcw != FCW_INIT || f->fsw != 0 || f->top != 0 || f->ftw != 0 ||
	    f->fop != 0 || f->fip != 0 || f->fdp != 0)
		bv |= XCR0_X87;
	for (i = 0; i < 8 && !(bv & XCR0_X87); i++)
		if (f->st[i].mant != 0 || f->st[i].se != 0)
			bv |= XCR0_X87;
	for (i = 0; i < 16 && !(bv & XCR0_SSE); i++)
		if (memcmp(f->ymm[i], zero, 16) != 0)
			bv |= XCR0_SSE;
	return (bv);
}

enum { XS_PLAIN, XS_OPT, XS_COMPACT };

/* XSAVE writes the components of (bits), MXCSR with SSE, and the header. */
static bool
xsave_image(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    uint64_t rfbm, int how)
{
	struct fximg img;
	uint64_t bits, hdr[8];
	unsigned nhdr;

	x87_evict(cpu);
	x87_to_fx(cpu, &img);
	ptrs_put(cpu, in->aux != 0, &img);
	img.mxcsr = fp_mxcsr(cpu);
	img.mxcsr_mask = MXCSR_VALID;
	xmm_put(cpu, &img);
	bits = rfbm & xsave_inuse(cpu);
	/* The initial MXCSR counts for XSAVEC only. */
	if (how == XS_COMPACT && (rfbm & XCR0_SSE) && img.mxcsr != MXCSR_INIT)
		bits |= XCR0_SSE;
	memset(hdr, 0, sizeof(hdr));
	nhdr = 8;
	if (how == XS_COMPACT) {
		hdr[0] = bits;
		hdr[1] = rfbm | XCOMP_COMPACT;
		nhdr = 64;
	} else {
		if (!soft_ld64(cpu, in, lin + XHDR, &hdr[0]))
			return (false);
		hdr[0] = (hdr[0] & ~rfbm) | bits;
		if (how == XS_PLAIN)
			bits = rfbm;
	}
	if ((bits & XCR0_X87) &&
	    (!img_st(cpu, in, lin, &img, 0, 24) ||
		!img_st(cpu, in, lin, &img, 32, 160)))
		return (false);
	if ((how == XS_COMPACT ? bits : rfbm) & XCR0_SSE &&
	    !img_st(cpu, in, lin, &img, 24, 32))
		return (false);
	if ((bits & XCR0_SSE) &&
	    !img_st(cpu, in, lin, &img, 160, 160 + xmm_count(cpu) * 16))
		return (false);
	return (soft_st_bytes(cpu, in, lin + XHDR, hdr, (int)nhdr));
}

static bool
xsave_any(struct softcpu *cpu, const struct insn *in, int how)
{
	uint64_t lin;

	if (!xsave_check(cpu, in) || !img_addr(cpu, in, 576, true, 64, &lin) ||
	    !soft_probe_write(cpu, in, lin, 576))
		return (false);
	return (xsave_image(cpu, in, lin, xsave_rfbm(cpu), how));
}

static noinline bool
xsave_do(struct softcpu *cpu, const struct insn *in)
{
	return (xsave_any(cpu, in, XS_PLAIN));
}

static noinline bool
xsaveopt_do(struct softcpu *cpu, const struct insn *in)
{
	return (xsave_any(cpu, in, XS_OPT));
}

static noinline bool
xsavec_do(struct softcpu *cpu, const struct insn *in)
{
	return (xsave_any(cpu, in, XS_COMPACT));
}

/* Is the header one that XRSTOR takes? */
static bool
xrstor_header(const struct softcpu *cpu, const uint64_t hdr[8])
{
	int i;

	if (hdr[0] & ~cpu->fpu.xcr0)
		return (false);
	if (!(hdr[1] & XCOMP_COMPACT))
		return (hdr[1] == 0 && hdr[2] == 0);
	if ((hdr[1] & ~(cpu->fpu.xcr0 | XCOMP_COMPACT)) || (hdr[0] & ~hdr[1]))
		return (false);
	for (i = 2; i < 8; i++)
		if (hdr[i] != 0)
			return (false);
	return (true);
}

static noinline bool
xrstor_do(struct softcpu *cpu, const struct insn *in)
{
	struct fximg img;
	uint64_t hdr[8], lin, rfbm;
	bool compact, mxcsr;

	if (!xsave_check(cpu, in) || !img_addr(cpu, in, 576, false, 64, &lin))
		return (false);
	if (!img_ld(cpu, in, lin, &img, 0, sizeof(img)) ||
	    !soft_ld_bytes(cpu, in, lin + XHDR, hdr, sizeof(hdr)))
		return (false);
	rfbm = xsave_rfbm(cpu);
	compact = (hdr[1] & XCOMP_COMPACT) != 0;
	/* The standard form takes MXCSR even where SSE becomes initial. */
	mxcsr = (rfbm & XCR0_SSE) && (!compact || (hdr[0] & XCR0_SSE));
	if (!xrstor_header(cpu, hdr) || (mxcsr && (img.mxcsr & ~MXCSR_VALID))) {
		soft_fault_err(cpu, in, X_GP, 0);
		return (false);
	}
	if (rfbm & XCR0_X87)
		x87_restore(cpu, hdr[0] & XCR0_X87 ? &img : NULL, in->aux != 0);
	if (rfbm & XCR0_SSE) {
		xmm_get(cpu, hdr[0] & XCR0_SSE ? &img : NULL);
		fp_set_mxcsr(cpu, mxcsr ? img.mxcsr : MXCSR_INIT);
	}
	return (true);
}

#define XS_OP(name)                                                       \
	static void op_##name(struct softcpu *cpu, const struct insn *in) \
	{                                                                 \
		if (name##_do(cpu, in))                                   \
			SOFT_NEXT(cpu, in);                               \
	}                                                                 \
	soft_op bind_##name(const struct soft_dec *dec, struct insn *in)  \
	{                                                                 \
		in->aux = (dec->rex & 8) != 0;                            \
		return (op_##name);                                       \
	}
XS_OP(fxsave)
XS_OP(fxrstor)
XS_OP(xsave)
XS_OP(xsaveopt)
XS_OP(xsavec)
XS_OP(xrstor)

/* ---- XCR0 ---- */

static void
op_xgetbv(struct softcpu *cpu, const struct insn *in)
{
	uint64_t v;

	if (!(cpu->cr4 & FP_CR4_OSXSAVE)) {
		soft_fault(cpu, in, X_UD);
		return;
	}
	if (DREG(cpu, R_CX) == 1) {
		x87_evict(cpu);
		v = cpu->fpu.xcr0 & xsave_inuse(cpu);
	} else if (DREG(cpu, R_CX) == 0)
		v = cpu->fpu.xcr0;
	else {
		soft_fault_err(cpu, in, X_GP, 0);
		return;
	}
	QREG(cpu, R_AX) = (uint32_t)v;
	QREG(cpu, R_DX) = v >> 32;
	SOFT_NEXT(cpu, in);
}
FP_BIND1(xgetbv, op_xgetbv)

/* The decoder has checked the privilege level (A_PRIV). */
static void
op_xsetbv(struct softcpu *cpu, const struct insn *in)
{
	uint64_t v;

	if (!(cpu->cr4 & FP_CR4_OSXSAVE)) {
		soft_fault(cpu, in, X_UD);
		return;
	}
	v = (uint64_t)DREG(cpu, R_DX) << 32 | DREG(cpu, R_AX);
	if (DREG(cpu, R_CX) != 0 || !(v & XCR0_X87) || (v & ~XCR0_VALID)) {
		soft_fault_err(cpu, in, X_GP, 0);
		return;
	}
	cpu->fpu.xcr0 = v;
	soft_end(cpu, in);
}
FP_BIND1(xsetbv, op_xsetbv)
