/*
 * x87 instructions that are the host's own: a table of two-byte stubs holds
 * each register form and each memory form (operand at %rdi), and a handler
 * calls the record's stub while the guest's registers are resident.  The
 * record's arg is FOP in the low half and the stub's offset in the high one.
 */
#include <string.h>

#include "fp_local.h"
#include "x87_local.h"

/* D8 C0 ... DF FF, then D8 /0 ... DF /7 with a memory operand. */
__asm__(".pushsection .text\n"
	".balign 64\n"
	".globl soft_x87_stub\n"
	".hidden soft_x87_stub\n"
	"soft_x87_stub:\n"
	".set x87_i,0\n"
	".rept 512\n"
	".byte 0xd8 + (x87_i >> 6), 0xc0 + (x87_i & 63), 0xc3, 0x90\n"
	".set x87_i,x87_i+1\n"
	".endr\n"
	".set x87_i,0\n"
	".rept 64\n"
	".byte 0xd8 + (x87_i >> 3), ((x87_i & 7) << 3) | 7, 0xc3, 0x90\n"
	".set x87_i,x87_i+1\n"
	".endr\n"
	/*
	 * DA, DB and DF C0 ... FF with the arithmetic flags passed in %esi
	 * and returned: 16 bytes each.
	 */
	".globl soft_x87_cc_stub\n"
	".hidden soft_x87_cc_stub\n"
	".balign 64\n"
	"soft_x87_cc_stub:\n"
	".set x87_i,0\n"
	".rept 512\n"
	"movl %esi,%eax\n"
	"addb $127,%al\n"
	"sahf\n"
	".byte 0xd8 + (x87_i >> 6), 0xc0 + (x87_i & 63)\n"
	"lahf\n"
	"seto %al\n"
	"ret\n"
	".balign 16\n"
	".set x87_i,x87_i+1\n"
	".endr\n"
	".popsection\n");

/* Sets arg; returns the modrm byte's index into the stub table. */
static void
x87_arg(const struct soft_dec *dec, struct insn *in)
{
	uint32_t fop, idx;

	fop = (dec->opcode & 7u) << 8 | dec->modrm;
	if (dec->mem)
		idx =
		    512 + ((dec->opcode & 7u) << 3) + ((dec->modrm >> 3) & 7u);
	else
		idx = ((dec->opcode & 7u) << 6) + (dec->modrm & 63u);
	in->arg = idx * 4 << 16 | fop;
}

/* After an operation with some exception unmasked. */
static inline void
x87_post(struct softcpu *cpu)
{
	if (!cpu->fpu.x87_ok && (x87_host_fnstsw() & FSW_ES))
		x87_evict(cpu);
}

/* ---- register forms ---- */

static noinline void
x87_reg_slow(struct softcpu *cpu, const struct insn *in)
{
	if (!x87_prep(cpu, in))
		return;
	x87_note(cpu, in);
	x87_call(in, NULL);
	x87_post(cpu);
	SOFT_NEXT(cpu, in);
}

static void
op_x87_reg(struct softcpu *cpu, const struct insn *in)
{
	if (unlikely(!cpu->fpu.x87_ok)) {
		x87_reg_slow(cpu, in);
		return;
	}
	x87_note(cpu, in);
	x87_call(in, NULL);
	SOFT_NEXT(cpu, in);
}

soft_op
bind_x87_reg(const struct soft_dec *dec, struct insn *in)
{
	x87_arg(dec, in);
	return (op_x87_reg);
}

/* FCOS alone has the modrm byte that rows use for "any". */
soft_op
bind_fcos(const struct soft_dec *dec, struct insn *in)
{
	return (dec->modrm == 0xff ? bind_x87_reg(dec, in) : NULL);
}

/* FCMOVcc reads the flags, FCOMI and its kin write them. */
static noinline void
x87_cc_slow(struct softcpu *cpu, const struct insn *in)
{
	if (!x87_prep(cpu, in))
		return;
	x87_note(cpu, in);
	cpu->cc = x87_cc_call(in, cpu->cc);
	x87_post(cpu);
	SOFT_NEXT(cpu, in);
}

static void
op_x87_cc(struct softcpu *cpu, const struct insn *in)
{
	if (unlikely(!cpu->fpu.x87_ok)) {
		x87_cc_slow(cpu, in);
		return;
	}
	x87_note(cpu, in);
	cpu->cc = x87_cc_call(in, cpu->cc);
	SOFT_NEXT(cpu, in);
}

soft_op
bind_x87_cc(const struct soft_dec *dec, struct insn *in)
{
	x87_arg(dec, in);
	return (op_x87_cc);
}

/* ---- memory sources ---- */

static noinline void
x87_ld_slow(struct softcpu *cpu, const struct insn *in, int size)
{
	const void *p;

	if (!x87_prep(cpu, in))
		return;
	if ((p = fp_ld(cpu, in, size, 1)) == NULL)
		return;
	x87_note_mem(cpu, in);
	x87_call(in, (void *)(uintptr_t)p);
	x87_post(cpu);
	SOFT_NEXT(cpu, in);
}

#define X87_LD(size)                                                           \
	static void op_x87_ld##size(                                           \
	    struct softcpu *cpu, const struct insn *in)                        \
	{                                                                      \
		const void *p;                                                 \
                                                                               \
		if (unlikely(!cpu->fpu.x87_ok) ||                              \
		    unlikely(!fp_ldp(cpu, in, size, 1, &p))) {                 \
			x87_ld_slow(cpu, in, size);                            \
			return;                                                \
		}                                                              \
		x87_note(cpu, in);                                             \
		x87_call(in, (void *)(uintptr_t)p);                            \
		SOFT_NEXT(cpu, in);                                            \
	}                                                                      \
	soft_op bind_x87_ld##size(const struct soft_dec *dec, struct insn *in) \
	{                                                                      \
		x87_arg(dec, in);                                              \
		return (op_x87_ld##size);                                      \
	}
X87_LD(2)
X87_LD(4)
X87_LD(8)
X87_LD(10)

/* ---- memory destinations ---- */

/*
 * Everything but a plain store into mapped memory with all exceptions
 * masked: the operation runs into a buffer; when the store then stops the
 * instruction, the registers are put back.
 */
static noinline bool
x87_st_careful(struct softcpu *cpu, const struct insn *in, int size)
{
	struct softfpu snap;
	uint8_t buf[16];
	uint16_t sw;

	if (!soft_fpu_check(cpu, in, true))
		return (false);
	x87_evict(cpu);
	memcpy(&snap, &cpu->fpu, sizeof(snap));
	x87_load(cpu);
	x87_note_mem(cpu, in);
	x87_call(in, buf);
	sw = x87_host_fnstsw();
	x87_post(cpu);
	/*
	 * An unmasked exception other than inexact result keeps the value
	 * from being stored.
	 */
	if ((sw & FSW_ES) && (sw & ~cpu->fpu.fcw & 0x1f))
		return (true);
	memcpy(cpu->fpu.tmp, buf, (size_t)size);
	if (fp_st_slow(cpu, in, size, 1))
		return (true);
	if (cpu->fpu.resident)
		x87_drop(cpu);
	memcpy(&cpu->fpu, &snap, offsetof(struct softfpu, mxcsr));
	soft_fpu_mode_update(cpu);
	return (false);
}

static noinline void
x87_st_slow(struct softcpu *cpu, const struct insn *in, int size)
{
	if (!x87_st_careful(cpu, in, size))
		return;
	SOFT_NEXT(cpu, in);
}

#define X87_ST(size)                                                           \
	static void op_x87_st##size(                                           \
	    struct softcpu *cpu, const struct insn *in)                        \
	{                                                                      \
		void *p;                                                       \
                                                                               \
		if (unlikely(!cpu->fpu.x87_ok) ||                              \
		    unlikely(!fp_stp(cpu, in, size, 1, &p))) {                 \
			x87_st_slow(cpu, in, size);                            \
			return;                                                \
		}                                                              \
		x87_note(cpu, in);                                             \
		x87_call(in, p);                                               \
		SOFT_NEXT(cpu, in);                                            \
	}                                                                      \
	soft_op bind_x87_st##size(const struct soft_dec *dec, struct insn *in) \
	{                                                                      \
		x87_arg(dec, in);                                              \
		return (op_x87_st##size);                                      \
	}
X87_ST(2)
X87_ST(4)
X87_ST(8)
X87_ST(10)
