/*
 * One instruction in the software processor for a backend whose processor
 * cannot run it (KVM's emulation failures).  The vCPU's state is handed over
 * as a plain structure and taken back.
 */
#ifndef _SOFT_STEP_H_
#define _SOFT_STEP_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm.h"

struct soft_stepper;

struct soft_arch_seg {
	uint64_t base;
	uint32_t limit;	 /* bytes */
	uint32_t access; /* as in struct seg_desc; bit 16: unusable */
	uint16_t sel;
};

struct soft_arch_state {
	uint64_t gpr[16]; /* rax rcx rdx rbx rsp rbp rsi rdi r8 .. r15 */
	uint64_t rip, rflags;
	struct soft_arch_seg seg[6]; /* es cs ss ds fs gs */
	struct soft_arch_seg ldtr, tr;
	struct {
		uint64_t base;
		uint32_t limit;
	} gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, xcr0;
	uint64_t pdpte[4]; /* used when PAE paging is on outside long mode */
	uint64_t dr[8];	   /* 0-3, 6, 7 */
	uint64_t star, lstar, cstar, sfmask, kgsbase;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t tsc_aux;
	uint64_t tsc_offset; /* guest TSC less host TSC */
	uint8_t intr_shadow; /* 1: behind STI, 2: behind MOV SS */
	uint8_t nmi_blocked;
	/*
	 * In: an event to deliver instead of an instruction (VM_INTINFO_*,
	 * bit 31 set), else 0.  Out: 0.
	 */
	uint64_t event;
	size_t xsave_len;
	_Alignas(64) uint8_t xsave[4096]; /* standard format */
};

/*
 * One for each vCPU, used by that vCPU's thread only.  NULL with errno set.
 */
struct soft_stepper *soft_step_create(struct vm *vm, struct vcpu *vcpu);
void soft_step_destroy(struct soft_stepper *st);

/*
 * Execute the instruction at *state (or deliver state->event).  Exceptions
 * and single-step traps are delivered to the guest within the call.
 *	0	done, *state is the state behind it
 *	1	*vme is an exit as run() has them (INOUT, MMIO, RDMSR, HLT,
 *		SUSPENDED, ...), *state stands at its rip: handle it, then
 *		call again with the entry that completes it
 *	errno	*state cannot be taken (a bad XSAVE image)
 */
int soft_step(struct soft_stepper *st, struct soft_arch_state *state,
    const struct vm_entry *entry, struct vm_exit *vme);

/* ---- soft_insn.c: what an instruction is, from its bytes ---- */
struct soft_insn_ctx {
	uint64_t gpr[16];    /* as in struct soft_arch_state */
	uint64_t segbase[6]; /* es cs ss ds fs gs */
	int bits;	     /* of the code segment: 16, 32, 64 */
};
enum soft_insn_kind {
	SOFT_INSN_OTHER,
	SOFT_INSN_IN,
	SOFT_INSN_OUT,
	SOFT_INSN_INS,
	SOFT_INSN_OUTS
};
struct soft_insn_info {
	enum soft_insn_kind kind;
	uint8_t len;   /* bytes */
	uint8_t size;  /* of the operand */
	uint8_t asize; /* of an address */
	bool string, rep;
	bool mem;     /* it has a memory operand, at lin */
	int port;     /* of IN and OUT; -1: in DX */
	uint64_t lin; /* linear address, RIP-relative to `at` */
};
/* The instruction at linear address (at), of which n bytes are known; false
 * when they are none. */
bool soft_insn_info(const struct soft_insn_ctx *c, uint64_t at,
    const uint8_t *bytes, unsigned n, struct soft_insn_info *info);

#endif
