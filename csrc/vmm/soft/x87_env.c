/*
 * Where the floating point state lives.  The x87 registers of the running
 * guest stay in the host's x87 ("resident") from the first x87 instruction
 * until somebody wants to look at them or the thread leaves the run loop;
 * cpu->fpu.st[], fsw, top and ftw are stale meanwhile (fcw and the pointers
 * are always exact).  State with an exception pending (FSW.ES) is never
 * resident, so no host instruction traps.
 */
#include <string.h>

#include "fp_local.h"

void
soft_fpu_mode_update(struct softcpu *cpu)
{
	struct softfpu *f = &cpu->fpu;

	f->fpu_ok = (cpu->cr0 & (FP_CR0_EM | FP_CR0_TS)) == 0;
	f->sse_ok = f->fpu_ok && (cpu->cr4 & FP_CR4_OSFXSR) != 0;
	f->ssefp_ok = f->sse_ok && (f->mxcsr & MXCSR_MASKS) == MXCSR_MASKS;
	f->x87_ok =
	    f->fpu_ok && f->resident && (f->fcw & FCW_MASKS) == FCW_MASKS;
	f->mmx_ok =
	    f->fpu_ok && !f->resident && f->host_mmx && (f->fsw & FSW_ES) == 0;
}

/* ---- gates ---- */

bool
soft_fpu_check(struct softcpu *cpu, const struct insn *in, bool wait)
{
	if (cpu->cr0 & (FP_CR0_EM | FP_CR0_TS)) {
		soft_fault(cpu, in, X_NM);
		return (false);
	}
	if (wait && !cpu->fpu.resident && (cpu->fpu.fsw & FSW_ES)) {
		/* CR0.NE clear is not told apart: the same as on a
		 * processor whose hypervisor holds NE set. */
		soft_fault(cpu, in, X_MF);
		return (false);
	}
	return (true);
}

noinline bool
soft_sse_check(struct softcpu *cpu, const struct insn *in)
{
	if ((cpu->cr0 & FP_CR0_EM) || !(cpu->cr4 & FP_CR4_OSFXSR)) {
		soft_fault(cpu, in, X_UD);
		return (false);
	}
	if (cpu->cr0 & FP_CR0_TS) {
		soft_fault(cpu, in, X_NM);
		return (false);
	}
	return (true);
}

bool
soft_mmx_check(struct softcpu *cpu, const struct insn *in)
{
	if (cpu->cr0 & FP_CR0_EM) {
		soft_fault(cpu, in, X_UD);
		return (false);
	}
	if (!soft_fpu_check(cpu, in, true))
		return (false);
	if (cpu->fpu.resident)
		x87_evict(cpu);
	cpu->fpu.host_mmx = 1;
	soft_fpu_mode_update(cpu);
	return (true);
}

noinline void
mmx_again(struct softcpu *cpu, const struct insn *in)
{
	if (soft_mmx_check(cpu, in))
		in->op(cpu, in);
}

/* ---- images ---- */

/* The x87 part of an FXSAVE image, pointers left out. */
void
x87_to_fx(const struct softcpu *cpu, struct fximg *img)
{
	const struct softfpu *f = &cpu->fpu;
	int i, r;

	img->fcw = f->fcw;
	img->fsw = (uint16_t)((f->fsw & ~FSW_TOP) | f->top << 11);
	img->ftw = f->ftw;
	img->rsvd = 0;
	img->fop = f->fop;
	for (i = 0; i < 8; i++) {
		r = (f->top + i) & 7;
		img->st[i].mant = f->st[r].mant;
		img->st[i].se = f->st[r].se;
		memset(img->st[i].pad, 0, sizeof(img->st[i].pad));
	}
}

void
x87_from_fx(struct softcpu *cpu, const struct fximg *img)
{
	struct softfpu *f = &cpu->fpu;
	int i, r;

	f->fcw = img->fcw;
	f->fsw = img->fsw & ~FSW_TOP;
	f->top = (img->fsw >> 11) & 7;
	f->ftw = img->ftw;
	for (i = 0; i < 8; i++) {
		r = (f->top + i) & 7;
		f->st[r].mant = img->st[i].mant;
		f->st[r].se = img->st[i].se;
	}
}

/* FSW.ES and B follow from flags and masks. */
void
x87_summary(struct softcpu *cpu)
{
	struct softfpu *f = &cpu->fpu;

	if (f->fsw & ~f->fcw & FSW_FLAGS)
		f->fsw |= FSW_ES | FSW_B;
	else
		f->fsw &= (uint16_t) ~(FSW_ES | FSW_B);
	soft_fpu_mode_update(cpu);
}

/* FNINIT: the data registers stay. */
void
x87_init(struct softcpu *cpu)
{
	struct softfpu *f = &cpu->fpu;

	f->fcw = FCW_INIT;
	f->fsw = 0;
	f->top = 0;
	f->ftw = 0;
	f->fop = 0;
	f->fip = f->fdp = 0;
	f->fcs = f->fds = 0;
	soft_fpu_mode_update(cpu);
}

/* ---- residency ---- */

void
x87_load(struct softcpu *cpu)
{
	struct fximg img;

	x87_to_fx(cpu, &img);
	img.fip = img.fdp = 0;
	img.fop = 0;
	img.mxcsr = fp_host_stmxcsr();
	img.mxcsr_mask = MXCSR_VALID;
	memset(img.xmm, 0, sizeof(img.xmm));
	__asm__ volatile("fxrstor64 %0"
			 :
			 : "m"(img)
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
			 "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
			 "xmm12", "xmm13", "xmm14", "xmm15");
	cpu->fpu.resident = 1;
	cpu->fpu.host_mmx = 0;
	soft_fpu_mode_update(cpu);
}

/* Forget what the host's registers hold. */
void
x87_drop(struct softcpu *cpu)
{
	__asm__ volatile("fninit");
	cpu->fpu.resident = 0;
	soft_fpu_mode_update(cpu);
}

/* Bring the state home.  FXSAVE does not trap on a pending exception. */
void
x87_evict(struct softcpu *cpu)
{
	struct fximg img;

	if (!cpu->fpu.resident)
		return;
	__asm__ volatile("fxsave64 %0" : "=m"(img));
	x87_from_fx(cpu, &img);
	x87_drop(cpu);
}

/*
 * An x87 instruction that waits: faults, or the state is resident.  Called
 * when x87_ok is clear.
 */
bool
x87_prep(struct softcpu *cpu, const struct insn *in)
{
	if (!soft_fpu_check(cpu, in, true))
		return (false);
	if (!cpu->fpu.resident)
		x87_load(cpu);
	return (true);
}

/* ---- MXCSR ---- */

static uint32_t
fp_host_value(uint32_t guest)
{
	uint32_t v;

	v = (guest & MXCSR_VALID) | MXCSR_MASKS;
	/* Hardware ignores FTZ while underflow is unmasked. */
	if (!(guest & MXCSR_UM))
		v &= ~MXCSR_FTZ;
	return (v);
}

/* The guest's MXCSR, flags up to date. */
uint32_t
fp_mxcsr(struct softcpu *cpu)
{
	if (cpu->fpu.entered)
		cpu->fpu.mxcsr |= fp_host_stmxcsr() & MXCSR_FLAGS;
	return (cpu->fpu.mxcsr);
}

void
fp_set_mxcsr(struct softcpu *cpu, uint32_t val)
{
	cpu->fpu.mxcsr = val;
	if (cpu->fpu.entered)
		fp_host_ldmxcsr(fp_host_value(val));
	soft_fpu_mode_update(cpu);
}

void
soft_fpu_enter(struct softcpu *cpu)
{
	if (cpu->fpu.entered)
		return;
	cpu->fpu.host_mxcsr = fp_host_stmxcsr();
	fp_host_ldmxcsr(fp_host_value(cpu->fpu.mxcsr));
	cpu->fpu.entered = 1;
	soft_fpu_mode_update(cpu);
}

void
soft_fpu_leave(struct softcpu *cpu)
{
	if (!cpu->fpu.entered)
		return;
	(void)fp_mxcsr(cpu);
	if (cpu->fpu.resident)
		x87_evict(cpu);
	else if (cpu->fpu.host_mmx)
		__asm__ volatile("emms");
	cpu->fpu.host_mmx = 0;
	cpu->fpu.entered = 0;
	fp_host_ldmxcsr(cpu->fpu.host_mxcsr);
	soft_fpu_mode_update(cpu);
}

/* ---- reset and the image for KVM and snapshots ---- */

/* RESET clears everything; INIT leaves the state alone. */
void
soft_fpu_reset(struct softcpu *cpu, bool init)
{
	struct softfpu *f = &cpu->fpu;

	if (init) {
		soft_fpu_mode_update(cpu);
		return;
	}
	if (f->resident)
		x87_drop(cpu);
	memset(f->ymm, 0, sizeof(f->ymm));
	memset(f->st, 0, sizeof(f->st));
	x87_init(cpu);
	f->fcw = 0x40;
	f->ftw = 0xff;
	f->xcr0 = XCR0_X87;
	f->xinuse = XCR0_X87;
	fp_set_mxcsr(cpu, MXCSR_INIT);
}

#define XIMG_SIZE (512 + 64)

size_t
soft_fpu_get(struct softcpu *cpu, void *buf, size_t len)
{
	struct softfpu *f = &cpu->fpu;
	struct fximg img;
	uint64_t bv;
	int i;

	if (len < XIMG_SIZE)
		return (0);
	x87_evict(cpu);
	memset(&img, 0, sizeof(img));
	x87_to_fx(cpu, &img);
	img.fip = f->fip;
	img.fdp = f->fdp;
	img.mxcsr = fp_mxcsr(cpu);
	img.mxcsr_mask = MXCSR_VALID;
	for (i = 0; i < 16; i++)
		memcpy(img.xmm[i], f->ymm[i], 16);
	memset(buf, 0, len);
	memcpy(buf, &img, sizeof(img));
	bv = XCR0_VALID;
	memcpy((uint8_t *)buf + 512, &bv, sizeof(bv));
	return (XIMG_SIZE);
}

/* False: the image is not one that XRSTOR would take. */
bool
soft_fpu_set(struct softcpu *cpu, const void *buf, size_t len)
{
	struct softfpu *f = &cpu->fpu;
	struct fximg img;
	uint64_t bv;
	int i;

	if (len < XIMG_SIZE)
		return (false);
	memcpy(&img, buf, sizeof(img));
	memcpy(&bv, (const uint8_t *)buf + 512, sizeof(bv));
	if (img.mxcsr & ~MXCSR_VALID)
		return (false);
	if (f->resident)
		x87_drop(cpu);
	if (bv & XCR0_X87) {
		x87_from_fx(cpu, &img);
		f->fcw = (f->fcw & 0x1f3f) | 0x40;
		f->fop = img.fop & 0x7ff;
		f->fip = img.fip;
		f->fdp = img.fdp;
		f->fcs = f->fds = 0;
	} else {
		memset(f->st, 0, sizeof(f->st));
		x87_init(cpu);
	}
	for (i = 0; i < 16; i++) {
		memset(f->ymm[i], 0, sizeof(f->ymm[i]));
		if (bv & XCR0_SSE)
			memcpy(f->ymm[i], img.xmm[i], 16);
	}
	fp_set_mxcsr(cpu, img.mxcsr);
	x87_summary(cpu);
	return (true);
}
