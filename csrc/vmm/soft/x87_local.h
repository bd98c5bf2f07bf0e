/*
 * Private to op_x87*.c: the stub tables of op_x87_arith.c and the x87
 * instruction pointers.
 */
#ifndef _X87_LOCAL_H_
#define _X87_LOCAL_H_

#include "fp_local.h"

extern const char soft_x87_stub[] __attribute__((__visibility__("hidden")));
extern const char soft_x87_cc_stub[] __attribute__((__visibility__("hidden")));

static inline void
x87_call(const struct insn *in, void *mem)
{
	((void (*)(void *))(uintptr_t)(soft_x87_stub + (in->arg >> 16)))(mem);
}

static inline uint16_t
x87_cc_call(const struct insn *in, unsigned cc)
{
	return ((uint16_t)(((unsigned (*)(void *, unsigned))(
			       uintptr_t)(soft_x87_cc_stub +
			       (in->arg >> 16) * 4))(NULL, cc) &
	    CC_ALL));
}

static inline uint16_t
x87_host_fnstsw(void)
{
	uint16_t sw;

	__asm__ volatile("fnstsw %0" : "=a"(sw));
	return (sw);
}

/* FIP, FCS and FOP of a non-control instruction. */
static inline void
x87_note(struct softcpu *cpu, const struct insn *in)
{
	cpu->fpu.fip = soft_rip(cpu, in);
	cpu->fpu.fcs = cpu->seg[S_CS].sel;
	cpu->fpu.fop = in->arg & 0x7ff;
}

/* ... with a memory operand.  The record's segment is S_FLAT when it does
 * not matter for the address. */
static inline void
x87_note_mem(struct softcpu *cpu, const struct insn *in)
{
	int seg;

	x87_note(cpu, in);
	cpu->fpu.fdp = soft_offset(cpu, in);
	seg = in->seg;
	if (seg >= S_FLAT)
		seg = in->flags & IN_SS ? S_SS : S_DS;
	cpu->fpu.fds = cpu->seg[seg].sel;
}

#endif
