/*
 * x87 control instructions: control and status word, FNINIT, FNCLEX, FWAIT,
 * and the environment and state images of 14 to 108 bytes.
 */
#include <string.h>

#include "x87_local.h"

/* ---- FWAIT ---- */

static noinline void
fwait_slow(struct softcpu *cpu, const struct insn *in)
{
	if ((cpu->cr0 & (FP_CR0_MP | FP_CR0_TS)) == (FP_CR0_MP | FP_CR0_TS)) {
		soft_fault(cpu, in, X_NM);
		return;
	}
	if (!cpu->fpu.resident && (cpu->fpu.fsw & FSW_ES)) {
		soft_fault(cpu, in, X_MF);
		return;
	}
	SOFT_NEXT(cpu, in);
}

static void
op_fwait(struct softcpu *cpu, const struct insn *in)
{
	if (unlikely(!cpu->fpu.x87_ok)) {
		fwait_slow(cpu, in);
		return;
	}
	SOFT_NEXT(cpu, in);
}
FP_BIND1(fwait, op_fwait)

/* ---- control word ---- */

static noinline void
fldcw_slow(struct softcpu *cpu, const struct insn *in)
{
	const void *p;

	if (!soft_fpu_check(cpu, in, true))
		return;
	if ((p = fp_ld(cpu, in, 2, 1)) == NULL)
		return;
	x87_evict(cpu);
	cpu->fpu.fcw = (*(const volatile u16a *)p & 0x1f3f) | 0x40;
	x87_summary(cpu);
	SOFT_NEXT(cpu, in);
}

/* Programs switch the rounding mode for each conversion to integer. */
static void
op_fldcw(struct softcpu *cpu, const struct insn *in)
{
	const void *p;
	uint32_t cw;

	if (unlikely(!cpu->fpu.x87_ok) ||
	    unlikely(!fp_ldp(cpu, in, 2, 1, &p))) {
		fldcw_slow(cpu, in);
		return;
	}
	cw = (*(const volatile u16a *)p & 0x1f3fu) | 0x40;
	if (unlikely((cw & FCW_MASKS) != FCW_MASKS)) {
		fldcw_slow(cpu, in);
		return;
	}
	cpu->fpu.fcw = (uint16_t)cw;
	__asm__ volatile("fldcw %0" : : "m"(cpu->fpu.fcw));
	SOFT_NEXT(cpu, in);
}
FP_BIND1(fldcw, op_fldcw)

static void
op_fnstcw(struct softcpu *cpu, const struct insn *in)
{
	void *p;

	if (unlikely(!cpu->fpu.fpu_ok) && !soft_fpu_check(cpu, in, false))
		return;
	if (unlikely(!fp_stp(cpu, in, 2, 1, &p))) {
		memcpy(cpu->fpu.tmp, &cpu->fpu.fcw, 2);
		sse_st_slow(cpu, in, 2, 1);
		return;
	}
	*(volatile u16a *)p = cpu->fpu.fcw;
	SOFT_NEXT(cpu, in);
}
FP_BIND1(fnstcw, op_fnstcw)

/* ---- status word ---- */

static uint32_t
fsw_now(const struct softcpu *cpu)
{
	if (likely(cpu->fpu.resident))
		return (x87_host_fnstsw());
	return ((cpu->fpu.fsw & ~FSW_TOP) | (uint32_t)cpu->fpu.top << 11);
}

static void
op_fnstsw_ax(struct softcpu *cpu, const struct insn *in)
{
	if (unlikely(!cpu->fpu.fpu_ok) && !soft_fpu_check(cpu, in, false))
		return;
	WREG(cpu, R_AX) = (uint16_t)fsw_now(cpu);
	SOFT_NEXT(cpu, in);
}

static void
op_fnstsw_m(struct softcpu *cpu, const struct insn *in)
{
	uint16_t sw;
	void *p;

	if (unlikely(!cpu->fpu.fpu_ok) && !soft_fpu_check(cpu, in, false))
		return;
	sw = (uint16_t)fsw_now(cpu);
	if (unlikely(!fp_stp(cpu, in, 2, 1, &p))) {
		memcpy(cpu->fpu.tmp, &sw, 2);
		sse_st_slow(cpu, in, 2, 1);
		return;
	}
	*(volatile u16a *)p = sw;
	SOFT_NEXT(cpu, in);
}
FP_BIND2(fnstsw, op_fnstsw_ax, op_fnstsw_m)

static void
op_fnclex(struct softcpu *cpu, const struct insn *in)
{
	if (unlikely(!cpu->fpu.fpu_ok) && !soft_fpu_check(cpu, in, false))
		return;
	if (cpu->fpu.resident)
		__asm__ volatile("fnclex");
	else {
		cpu->fpu.fsw &= 0x7f00;
		soft_fpu_mode_update(cpu);
	}
	SOFT_NEXT(cpu, in);
}
FP_BIND1(fnclex, op_fnclex)

static void
op_fninit(struct softcpu *cpu, const struct insn *in)
{
	if (unlikely(!cpu->fpu.fpu_ok) && !soft_fpu_check(cpu, in, false))
		return;
	x87_evict(cpu);
	x87_init(cpu);
	SOFT_NEXT(cpu, in);
}
FP_BIND1(fninit, op_fninit)

/* FENI, FDISI, FSETPM: accepted and without effect since the 387. */
static void
op_fnop_ctl(struct softcpu *cpu, const struct insn *in)
{
	if (unlikely(!cpu->fpu.fpu_ok) && !soft_fpu_check(cpu, in, false))
		return;
	SOFT_NEXT(cpu, in);
}
FP_BIND1(fnop_ctl, op_fnop_ctl)

/* ---- environment ---- */

/* Two tag bits of a register in use: 0 valid, 1 zero, 2 special. */
static unsigned
x87_tag(uint64_t mant, unsigned se)
{
	unsigned e;

	e = se & 0x7fff;
	if (e == 0)
		return (mant == 0 ? 1 : 2);
	if (e == 0x7fff || !(mant >> 63))
		return (2);
	return (0);
}

static uint16_t
x87_full_tags(const struct softfpu *f)
{
	unsigned i, t, v;

	for (i = 0, v = 0; i < 8; i++) {
		t = f->ftw & 1u << i ? x87_tag(f->st[i].mant, f->st[i].se) : 3;
		v |= t << (i * 2);
	}
	return ((uint16_t)v);
}

static void
put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static unsigned
get16(const uint8_t *p)
{
	return (p[0] | (unsigned)p[1] << 8);
}

static void
put32(uint8_t *p, uint64_t v)
{
	put16(p, (unsigned)v & 0xffff);
	put16(p + 2, (unsigned)(v >> 16) & 0xffff);
}

static uint32_t
get32(const uint8_t *p)
{
	return (get16(p) | (uint32_t)get16(p + 2) << 16);
}

/* Real and virtual-8086 mode keep linear pointers in the image. */
static bool
env_real(const struct softcpu *cpu)
{
	return ((cpu->mode & MODE_PROT) == 0);
}

static int
env_put(const struct softcpu *cpu, bool os16, uint8_t *b)
{
	const struct softfpu *f = &cpu->fpu;
	uint64_t ip, dp;
	unsigned tags;

	tags = x87_full_tags(f);
	ip = f->fip;
	dp = f->fdp;
	if (env_real(cpu)) {
		ip = (uint32_t)(((uint32_t)f->fcs << 4) + ip);
		dp = (uint32_t)(((uint32_t)f->fds << 4) + dp);
	}
	if (os16) {
		put16(b, f->fcw);
		put16(b + 2, f->fsw | f->top << 11);
		put16(b + 4, tags);
		put16(b + 6, ip & 0xffff);
		put16(b + 10, dp & 0xffff);
		if (env_real(cpu)) {
			put16(b + 8, (ip >> 4 & 0xf000) | f->fop);
			put16(b + 12, dp >> 4 & 0xf000);
		} else {
			put16(b + 8, f->fcs);
			put16(b + 12, f->fds);
		}
		return (14);
	}
	put32(b, 0xffff0000u | f->fcw);
	put32(b + 4, 0xffff0000u | f->fsw | (uint32_t)f->top << 11);
	put32(b + 8, 0xffff0000u | tags);
	if (env_real(cpu)) {
		put32(b + 12, 0xffff0000u | (ip & 0xffff));
		put32(b + 16, (ip >> 4 & 0x0ffff000) | f->fop);
		put32(b + 20, 0xffff0000u | (dp & 0xffff));
		put32(b + 24, dp >> 4 & 0x0ffff000);
	} else {
		put32(b + 12, ip);
		put32(b + 16, (uint32_t)f->fop << 16 | f->fcs);
		put32(b + 20, dp);
		put32(b + 24, 0xffff0000u | f->fds);
	}
	return (28);
}

static int
env_get(struct softcpu *cpu, bool os16, const uint8_t *b)
{
	struct softfpu *f = &cpu->fpu;
	unsigned i, tags;

	f->fcw = (get16(b) & 0x1f3f) | 0x40;
	i = get16(b + (os16 ? 2 : 4));
	f->fsw = (uint16_t)(i & ~FSW_TOP);
	f->top = (i >> 11) & 7;
	tags = get16(b + (os16 ? 4 : 8));
	for (i = 0, f->ftw = 0; i < 8; i++)
		if ((tags >> (i * 2) & 3) != 3)
			f->ftw |= (uint8_t)(1u << i);
	f->fcs = f->fds = 0;
	if (os16) {
		f->fip = get16(b + 6);
		f->fdp = get16(b + 10);
		if (env_real(cpu)) {
			f->fip |= (get16(b + 8) & 0xf000) << 4;
			f->fdp |= (get16(b + 12) & 0xf000) << 4;
			f->fop = get16(b + 8) & 0x7ff;
		} else {
			f->fcs = (uint16_t)get16(b + 8);
			f->fds = (uint16_t)get16(b + 12);
		}
		return (14);
	}
	if (env_real(cpu)) {
		f->fip = get16(b + 12) | (get32(b + 16) & 0x0ffff000) << 4;
		f->fop = get16(b + 16) & 0x7ff;
		f->fdp = get16(b + 20) | (get32(b + 24) & 0x0ffff000) << 4;
	} else {
		f->fip = get32(b + 12);
		f->fcs = (uint16_t)get16(b + 16);
		f->fop = get16(b + 18) & 0x7ff;
		f->fdp = get32(b + 20);
		f->fds = (uint16_t)get16(b + 24);
	}
	return (28);
}

/* Loads and stores of an image; nothing changes when one fails. */
static bool
img_ld(struct softcpu *cpu, const struct insn *in, uint64_t lin, uint8_t *b,
    int size)
{
	int n, off;

	for (off = 0; off < size; off += n) {
		n = size - off > 64 ? 64 : size - off;
		if (!soft_ld_bytes(cpu, in, lin + (unsigned)off, b + off, n))
			return (false);
	}
	return (true);
}

static bool
img_st(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    const uint8_t *b, int size)
{
	int n, off;

	if (!soft_probe_write(cpu, in, lin, size))
		return (false);
	for (off = 0; off < size; off += n) {
		n = size - off > 64 ? 64 : size - off;
		if (!soft_st_bytes(cpu, in, lin + (unsigned)off, b + off, n))
			return (false);
	}
	return (true);
}

static noinline bool
do_fnstenv(struct softcpu *cpu, const struct insn *in)
{
	uint8_t b[28];
	uint64_t lin;
	int size;

	if (!soft_fpu_check(cpu, in, false))
		return (false);
	x87_evict(cpu);
	size = env_put(cpu, in->flags & IN_OS16, b);
	if (!soft_ea(cpu, in, size, true, &lin) ||
	    !img_st(cpu, in, lin, b, size))
		return (false);
	cpu->fpu.fcw |= FCW_MASKS;
	x87_summary(cpu);
	return (true);
}

static noinline bool
do_fldenv(struct softcpu *cpu, const struct insn *in)
{
	uint8_t b[28];
	uint64_t lin;
	int size;

	if (!soft_fpu_check(cpu, in, true))
		return (false);
	size = in->flags & IN_OS16 ? 14 : 28;
	if (!soft_ea(cpu, in, size, false, &lin) ||
	    !img_ld(cpu, in, lin, b, size))
		return (false);
	x87_evict(cpu);
	(void)env_get(cpu, in->flags & IN_OS16, b);
	x87_summary(cpu);
	return (true);
}

static noinline bool
do_fnsave(struct softcpu *cpu, const struct insn *in)
{
	const struct softfpu *f = &cpu->fpu;
	uint8_t b[108];
	uint64_t lin;
	int i, n, r;

	if (!soft_fpu_check(cpu, in, false))
		return (false);
	x87_evict(cpu);
	n = env_put(cpu, in->flags & IN_OS16, b);
	for (i = 0; i < 8; i++, n += 10) {
		r = (f->top + i) & 7;
		memcpy(b + n, &f->st[r].mant, 8);
		put16(b + n + 8, f->st[r].se);
	}
	if (!soft_ea(cpu, in, n, true, &lin) || !img_st(cpu, in, lin, b, n))
		return (false);
	x87_init(cpu);
	return (true);
}

static noinline bool
do_frstor(struct softcpu *cpu, const struct insn *in)
{
	struct softfpu *f = &cpu->fpu;
	uint8_t b[108];
	uint64_t lin;
	int i, n, r;

	if (!soft_fpu_check(cpu, in, true))
		return (false);
	n = in->flags & IN_OS16 ? 94 : 108;
	if (!soft_ea(cpu, in, n, false, &lin) || !img_ld(cpu, in, lin, b, n))
		return (false);
	x87_evict(cpu);
	n = env_get(cpu, in->flags & IN_OS16, b);
	for (i = 0; i < 8; i++, n += 10) {
		r = (f->top + i) & 7;
		memcpy(&f->st[r].mant, b + n, 8);
		f->st[r].se = (uint16_t)get16(b + n + 8);
	}
	x87_summary(cpu);
	return (true);
}

#define X87_IMG(name)                                                     \
	static void op_##name(struct softcpu *cpu, const struct insn *in) \
	{                                                                 \
		if (do_##name(cpu, in))                                   \
			SOFT_NEXT(cpu, in);                               \
	}                                                                 \
	FP_BIND1(name, op_##name)
X87_IMG(fnstenv)
X87_IMG(fldenv)
X87_IMG(fnsave)
X87_IMG(frstor)
