/*
 * Why vm_run() came back (struct vm_exit) and how it is to go on (struct
 * vm_entry).  Both processors fill the same structures.  As on illumos, an
 * access that left the vmm is finished by the next entry: a port or memory
 * access is answered with VEC_FULFILL_INOUT or VEC_FULFILL_MMIO.
 */
#ifndef _VMM_EXIT_H_
#define _VMM_EXIT_H_

#include <stdbool.h>
#include <stdint.h>

#include "vmm_regs.h"

enum vm_suspend_how {
	VM_SUSPEND_NONE = 0,
	VM_SUSPEND_RESET,
	VM_SUSPEND_POWEROFF,
	VM_SUSPEND_HALT,
	VM_SUSPEND_TRIPLEFAULT,
	VM_SUSPEND_DESTROY,
	VM_SUSPEND_LAST
};

enum vm_exitcode {
	VM_EXITCODE_INOUT = 0,
	VM_EXITCODE_VMX,
	VM_EXITCODE_BOGUS,
	VM_EXITCODE_RDMSR,
	VM_EXITCODE_WRMSR,
	VM_EXITCODE_HLT,
	VM_EXITCODE_MTRAP,
	VM_EXITCODE_PAUSE,
	VM_EXITCODE_PAGING,
	VM_EXITCODE_INST_EMUL, /* u.inst_emul: an instruction nobody can run */
	VM_EXITCODE_SPINUP_AP,
	VM_EXITCODE_DEPRECATED1,
	VM_EXITCODE_RENDEZVOUS,
	VM_EXITCODE_IOAPIC_EOI,
	VM_EXITCODE_SUSPENDED,
	VM_EXITCODE_INOUT_STR, /* same union member as INOUT, one element */
	VM_EXITCODE_TASK_SWITCH,
	VM_EXITCODE_MONITOR,
	VM_EXITCODE_MWAIT,
	VM_EXITCODE_SVM,
	VM_EXITCODE_REQIDLE,
	VM_EXITCODE_DEBUG, /* the vCPU was suspended by vm_suspend_cpu() */
	VM_EXITCODE_VMINSN,
	VM_EXITCODE_BPT,
	VM_EXITCODE_IPI,
	VM_EXITCODE_DB,
	VM_EXITCODE_MMIO, /* illumos: a memory access that no chip claims */
	VM_EXITCODE_MAX
};

/* One element of a port access; REP forms leave once an element. */
struct vm_inout {
	uint8_t bytes; /* 1, 2 or 4 */
	bool in;
	bool string;
	bool rep;
	uint16_t port;
	uint16_t pad;
	uint32_t eax; /* OUT: the value; IN: filled by the entry */
};

/* One access of at most 8 bytes that does not cross a page. */
struct vm_mmio {
	uint8_t bytes; /* 1 to 8, not only powers of two */
	bool read;
	uint8_t pad[6];
	uint64_t gpa;
	uint64_t data;
};

struct vm_exit {
	uint32_t exitcode;   /* enum vm_exitcode */
	int32_t inst_length; /* 0: not known */
	uint64_t rip;	     /* of the instruction that exits */
	union {
		struct vm_inout inout;
		struct vm_mmio mmio;
		struct {
			uint32_t code; /* ecx */
			uint32_t pad;
			uint64_t wval;
		} msr;
		struct {
			uint64_t rflags;
			uint64_t intr_status;
		} hlt;
		struct {
			uint32_t how;	/* enum vm_suspend_how */
			int32_t source; /* vCPU id, -1: not a vCPU */
			uint64_t when;	/* CLOCK_REALTIME, ns */
		} suspended;
		struct {
			uint64_t gpa;
			uint64_t gla;
			uint8_t num_bytes;
			uint8_t bytes[15];
		} inst_emul;
		struct {
			int32_t trace_trap, pushf_intercept;
			uint64_t drx_access; /* DR6 bits */
		} dbg;
		struct {
			int32_t inst_length;
		} bpt;
		struct {
			int32_t vector;
		} ioapic_eoi;
		struct {
			uint32_t status;      /* KVM exit reason or errno */
			uint32_t exit_reason; /* the processor's own */
			uint64_t exit_qualification; /* or KVM's suberror */
			int32_t inst_type, inst_error;
		} vmx;
		struct {
			uint32_t mode; /* of the ICR */
			uint32_t vector;
			uint64_t dmask;
		} ipi;
	} u;
};

enum vm_entry_cmds {
	VEC_DEFAULT = 0,
	VEC_DISCARD_INSTR, /* skip the instruction that exited */
	VEC_FULFILL_MMIO,  /* u.mmio.data answers a read, completes a write */
	VEC_FULFILL_INOUT, /* u.inout.eax answers an IN, completes an OUT */
};

/*
 * The caller does not look at rip, inst_length and the string flags of port
 * and memory accesses, which may cost system calls to find: they may be
 * missing.  VM_REG_GUEST_RIP tells where the instruction is, if need be.
 */
#define VEF_BRIEF 0x1u

struct vm_entry {
	uint32_t cmd;	/* enum vm_entry_cmds */
	uint32_t flags; /* VEF_* */
	union {
		struct vm_inout inout;
		struct vm_mmio mmio;
	} u;
};

#endif
