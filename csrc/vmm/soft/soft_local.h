/*
 * The software processor's private contracts: state of a vCPU, decoded
 * records, memory access, faults.  See csrc/README.md, "The software
 * processor", for the whole picture.
 *
 * A block is an array of records (struct insn).  Each record's handler ends
 * by tail-calling the next record's handler (SOFT_NEXT), a control transfer
 * ends with soft_goto(), and a handler that cannot go on returns: the whole
 * chain is unwound to soft_run()'s loop, which looks at cpu->stop.
 */
#ifndef _SOFT_LOCAL_H_
#define _SOFT_LOCAL_H_

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

struct softcpu;
struct softvm;
struct insn;
struct block;

typedef void (*soft_op)(struct softcpu *cpu, const struct insn *in);

/* Loads and stores of guest memory: one host move, any alignment. */
typedef uint16_t u16a __attribute__((__aligned__(1), __may_alias__));
typedef uint32_t u32a __attribute__((__aligned__(1), __may_alias__));
typedef uint64_t u64a __attribute__((__aligned__(1), __may_alias__));

/* ---- general registers: 0-15, then two helpers of address arithmetic ---- */
enum {
	R_AX,
	R_CX,
	R_DX,
	R_BX,
	R_SP,
	R_BP,
	R_SI,
	R_DI,
	R_ZERO = 16,  /* always 0: "no base", "no index" */
	R_BLOCK = 17, /* linear rip of the running block's first byte */
	R_BIG = 18,   /* always 1 << 30: displacements of RIP past 31 bits */
	R_COUNT = 19
};

/* ---- segments ---- */
enum { S_ES, S_CS, S_SS, S_DS, S_FS, S_GS, S_FLAT, S_COUNT = 8 };
struct softseg {
	uint64_t base;
	uint32_t limit; /* bytes; ~0u for 4 GiB */
	uint32_t attr;	/* seg_desc access bits; bit 16 unusable */
	uint16_t sel;
};

/*
 * Arithmetic flags as LAHF;SETO leave them in AX: bits 15:8 are SF ZF - AF -
 * PF - CF, bits 7:0 are OF (0 or 1).
 */
#define CC_CF 0x0100u
#define CC_PF 0x0400u
#define CC_AF 0x1000u
#define CC_ZF 0x4000u
#define CC_SF 0x8000u
#define CC_OF 0x0001u
#define CC_ALL (CC_CF | CC_PF | CC_AF | CC_ZF | CC_SF | CC_OF)

#define FL_CF 0x1u
#define FL_PF 0x4u
#define FL_AF 0x10u
#define FL_ZF 0x40u
#define FL_SF 0x80u
#define FL_TF 0x100u
#define FL_IF 0x200u
#define FL_DF 0x400u
#define FL_OF 0x800u
#define FL_IOPL 0x3000u
#define FL_NT 0x4000u
#define FL_RF 0x10000u
#define FL_VM 0x20000u
#define FL_AC 0x40000u
#define FL_VIF 0x80000u
#define FL_VIP 0x100000u
#define FL_ID 0x200000u
#define FL_ARITH (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

/* ---- TLB ---- */
#define TLB_BITS 12
#define TLB_SIZE (1u << TLB_BITS)
/*
 * An access of n bytes at lin hits when lin - tag <= 4096 - n.  A tag of the
 * wrong page index (TLB_BAD) never hits.  hva = lin + addend.
 */
struct tlbe {
	uint64_t rtag, wtag;
	uint64_t addend;
	uint64_t gpa; /* page address; low bits: private to tlb.c */
};
#define TLB_BAD(idx) ((uint64_t)((idx) ^ 1) << 12)
/* Which table a mode uses: user, supervisor (AC set or no SMAP), supervisor
 * under SMAP.  Supervisor-implicit accesses use TLB_SUPER. */
enum { TLB_USER, TLB_SUPER, TLB_SMAP, TLB_KINDS };

/* ---- what the engine is to do when the chain has unwound ---- */
enum soft_stop {
	STOP_NONE = 0, /* look up the block at cpu->rip and go on */
	STOP_FAULT,    /* cpu->exc_*: deliver an exception */
	STOP_EXIT,     /* cpu->vme is filled: leave soft_run() */
	STOP_HLT,      /* HLT executed, rip behind it */
	STOP_SHUTDOWN, /* triple fault */
	STOP_RETRY, /* run the instruction at cpu->rip again (no effect yet) */
};

/* x87, MMX, SSE state; op_x87*.c and sse*.c alone look inside. */
struct softfpu {
	_Alignas(64) uint8_t ymm[16][32]; /* xmm in the low half */
	struct {
		uint64_t mant;
		uint16_t se;
		uint16_t pad[3];
	} st[8];	   /* physical registers R0..R7, not ST(i) */
	uint16_t fcw, fsw; /* fsw without TOP: see top */
	uint16_t fop;
	uint8_t ftw; /* abridged: bit i set = Ri is in use */
	uint8_t top;
	uint64_t fip, fdp;
	uint16_t fcs, fds;
	uint32_t mxcsr;
	uint64_t xcr0;
	uint64_t xinuse; /* XINUSE bits */
	/*
	 * Gates, one cached byte each; soft_fpu_mode_update() computes them.
	 * 0: the handler takes its slow path, which finds out why.
	 */
	uint8_t fpu_ok;	     /* CR0.EM and TS clear */
	uint8_t sse_ok;	     /* SSE may run */
	uint8_t ssefp_ok;    /* ... and MXCSR masks every exception */
	uint8_t x87_ok;	     /* x87 may run, is on the host, all masked */
	uint8_t mmx_ok;	     /* MMX may run, st[] is exact */
	uint8_t resident;    /* x87 state is in the host's registers */
	uint8_t entered;     /* between soft_fpu_enter and soft_fpu_leave */
	uint8_t host_mmx;    /* the host's x87 tags want EMMS at leave */
	uint32_t host_mxcsr; /* the thread's own, while entered */
	_Alignas(16) uint8_t tmp[64]; /* operand on its way to or from memory */
};

/* An access that user space answers; replayed when the instruction is run
 * again (see "io" in soft_run.c). */
struct soft_io {
	bool done;
	bool write;
	bool port;
	uint8_t bytes;
	uint64_t addr;
	uint64_t data;
};
#define SOFT_IO_MAX 256

#define JC_BITS 14
struct jcent {
	uint64_t tag; /* linear address ^ cpu->modekey; ~0: empty */
	struct block *blk;
};

struct softcpu {
	/* --- hot: registers, flags, table pointers --- */
	uint64_t gpr[R_COUNT];
	uint64_t rip; /* offset in CS; exact whenever the chain is unwound */
	uint64_t segbase[S_COUNT];
	struct tlbe *tlb;	   /* of the current mode */
	_Atomic uint32_t *pending; /* vcpu_pending(): VCPU_EV_* */
	struct block *blk;	   /* where the loop entered the chain */
	uint32_t rfl; /* RFLAGS less the arithmetic flags; bit 1 set */
	uint16_t cc;  /* CC_*: the arithmetic flags */
	uint8_t cpl;
	uint8_t stop;	  /* enum soft_stop */
	uint32_t mode;	  /* block key bits: MODE_* */
	uint64_t modekey; /* mode << 48: part of jump cache tags */
	uint64_t csbase; /* CS base (0 in 64-bit mode): linear = csbase + rip */
	uint64_t jit_page; /* linear page that translated code runs on */
	uint32_t jit_done; /* a handler called by it came through */

	/* --- system state --- */
	struct softseg seg[6];
	struct softseg ldtr, tr;
	struct {
		uint64_t base;
		uint32_t limit;
	} gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, efer;
	uint64_t pdpte[4]; /* PAE */
	uint64_t dr[8];	   /* 0-3, 6, 7 */
	uint64_t star, lstar, cstar, sfmask, kgsbase;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t tsc_aux;
	uint64_t tsc_offset; /* guest TSC = host TSC + offset */
	uint8_t intr_shadow; /* 1: behind STI, 2: behind MOV SS/POP SS */
	uint8_t nmi_blocked; /* until IRET */
	uint8_t halted;
	uint8_t dr7_active;	/* some breakpoint is enabled */
	uint8_t entry_inst_len; /* VM_REG_GUEST_ENTRY_INST_LENGTH */
	uint32_t pauses;	/* PAUSEs run, to yield the host's CPU */
	uint64_t cr8;		/* where no vlapic of the core keeps it */

	/* --- fault being raised (STOP_FAULT) --- */
	uint8_t exc_vector;
	bool exc_errvalid;
	uint32_t exc_err;
	uint64_t event_now;   /* intinfo being delivered, 0: none */
	uint64_t dr6_pending; /* DR6 bits of a #DB trap of the last insn */

	/* --- exits --- */
	struct vm_exit *vme;
	struct soft_io io[SOFT_IO_MAX];
	uint16_t io_count; /* fulfilled accesses to replay */
	uint16_t io_next;  /* next one within this execution */
	bool step_one;	   /* one record a block: MODE_TF is set in mode */
	bool recheck;	   /* soft_end() ran: ask for interrupts again */
	uint16_t caps;	   /* bit n: VM_CAP n is set */

	struct softfpu fpu;

	/* --- cold: identity and caches --- */
	struct vcpu *vcpu;
	struct vm *vm;
	struct softvm *svm;
	int vcpuid;
	uint64_t n_insn, n_block; /* statistics */
	struct jcent jc[1u << JC_BITS];
	struct tlbe tlbs[TLB_KINDS][TLB_SIZE];
	struct soft_core *core; /* block.c's, tlb.c's private state */
};

/* Bits of cpu->mode: everything that changes how bytes are decoded or which
 * handler is bound.  Blocks are keyed by (gpa, mode). */
#define MODE_64 0x01u	/* CS.L in long mode */
#define MODE_CS32 0x02u /* CS.D */
#define MODE_SS32 0x04u /* SS.B */
#define MODE_PROT 0x08u /* CR0.PE and not virtual-8086 */
#define MODE_V86 0x10u
#define MODE_FLAT 0x20u /* CS DS ES SS base 0, limit 4 GiB, writable data */
#define MODE_LONG 0x40u /* EFER.LMA */
#define MODE_CPL0 0x80u
#define MODE_CPL3 0x100u
#define MODE_TF 0x200u	   /* single-step: one record a block */
#define MODE_CSFLAT 0x400u /* CS base 0, limit 4 GiB */

/* ---- a decoded instruction: 32 bytes ---- */
struct insn {
	soft_op op;
	union {
		struct {
			int32_t disp; /* of the memory operand */
			int32_t imm;  /* sign-extended as the row says */
		};
		uint64_t imm64; /* MOV r64,imm64; moffs; far pointers */
	};
	uint8_t reg, rm;     /* register numbers (REX applied) or byte offsets
			      * into gpr[] for byte registers: SOFT_BREG */
	uint8_t base, index; /* R_*; R_ZERO when absent */
	uint8_t scale;	     /* shift of the index */
	uint8_t seg;	     /* S_*; S_FLAT: base 0, no checks */
	uint8_t amode;	     /* enum soft_amode */
	uint8_t len;	     /* bytes of the instruction */
	uint16_t off;	     /* from the block's first byte */
	uint8_t flags;	     /* IN_* */
	uint8_t aux;	     /* the binder's own */
	uint32_t arg;	     /* the binder's own (row->arg by default) */
};
_Static_assert(sizeof(struct insn) == 32, "a record is half a cache line");

enum soft_amode {
	AM_64,	   /* 64-bit offset + segbase[seg]; no checks but canonical */
	AM_FLAT32, /* 32-bit wrap, flat segment */
	AM_SLOW,   /* anything else: soft_ea_slow() */
};
#define IN_SS 0x01u  /* default segment is SS: bad address is #SS */
#define IN_MEM 0x02u /* has a memory operand */
#define IN_LOCK 0x04u
#define IN_REP 0x08u   /* F3 */
#define IN_REPNE 0x10u /* F2 */
#define IN_OS16 0x20u  /* operand size 16 */
#define IN_AS16 0x40u  /* address size 16 (AM_SLOW) */
#define IN_AS32 0x80u  /* address size 32 */

#define BLOCK_MAX 32
struct block {
	uint64_t gpa; /* of the first byte */
	uint32_t mode;
	uint16_t len;	/* bytes of code */
	uint8_t count;	/* records, the end record not counted */
	bool dead;	/* killed: its records only stop */
	bool notrap;	/* MODE_TF: the instruction swallows the TF trap */
	bool global;	/* mapped global when last looked up */
	uint16_t hits;	/* entries so far, until it is translated */
	uint32_t tlink; /* jit: offset of the code that links jump to */
	struct block *hash_next;
	struct block *page_next[2]; /* lists of the pages it stands on */
	uint64_t gpa2;		    /* second page's address, or 0 */
	const uint8_t *tcode;	    /* jit: where to enter with r14 = address */
	/* count + 1: op_block_end closes it. */
	_Alignas(32) struct insn insn[];
};

#define SOFT_BREG(gprno) ((uint8_t)((gprno)*8))		   /* AL, CL, ... SIL */
#define SOFT_BREGH(gprno) ((uint8_t)(((gprno)-4) * 8 + 1)) /* AH CH DH BH */
#define BREG(cpu, r) (((uint8_t *)(cpu)->gpr)[(r)])
#define WREG(cpu, r) (*(u16a *)(void *)&(cpu)->gpr[(r)])
#define DREG(cpu, r)                                                           \
	(*(u32a *)(void *)&(cpu)                                               \
		->gpr[(r)]) /* read only:                                      \
			     * a 32-bit write must zero the upper half: gpr[r] \
			     * = (uint32_t)v */
#define QREG(cpu, r) ((cpu)->gpr[(r)])

/* ---- ending a handler ---- */
#define SOFT_NEXT(cpu, in)                        \
	do {                                      \
		const struct insn *n_ = (in) + 1; \
		n_->op((cpu), n_);                \
		return;                           \
	} while (0)

/* rip (offset in CS) of this record and of the one behind it. */
static inline uint64_t
soft_rip(const struct softcpu *cpu, const struct insn *in)
{
	return (cpu->gpr[R_BLOCK] + in->off - cpu->csbase);
}
static inline uint64_t
soft_rip_next(const struct softcpu *cpu, const struct insn *in)
{
	return (cpu->gpr[R_BLOCK] + in->off + in->len - cpu->csbase);
}

/* ---- flags (flags.c) ---- */
uint64_t soft_get_rflags(const struct softcpu *cpu);
/* Sets all flags; TF, IF, VM changes refresh cpu->mode (soft_mode_update).
 * The caller ends the block when system flags may change. */
void soft_set_rflags(struct softcpu *cpu, uint64_t rflags);

/*
 * ---- faults and exits (soft_run.c) ----
 * Set rip to the record's own and cpu->stop; the handler then returns.
 */
void soft_fault(struct softcpu *cpu, const struct insn *in, int vector);
void soft_fault_err(
    struct softcpu *cpu, const struct insn *in, int vector, uint32_t err);
/* The same without a record: rip already stands at the instruction.  Used by
 * system helpers that run with cpu->rip exact. */
void soft_raise(struct softcpu *cpu, int vector);
void soft_raise_err(struct softcpu *cpu, int vector, uint32_t err);
/* rip = behind the record; the chain unwinds, the loop goes on there.
 * Used by instructions that change mode, mapping or interrupt state. */
void soft_end(struct softcpu *cpu, const struct insn *in);

/* Vectors. */
enum {
	X_DE,
	X_DB,
	X_NMI,
	X_BP,
	X_OF,
	X_BR,
	X_UD,
	X_NM,
	X_DF,
	X_TS = 10,
	X_NP,
	X_SS,
	X_GP,
	X_PF,
	X_MF = 16,
	X_AC,
	X_MC,
	X_XM
};

/*
 * ---- memory (ldst.c, mmu.c, tlb.c) ----
 * All take linear addresses.  False: the instruction must stop (fault or
 * exit recorded, rip set to the record's own): the handler returns at once
 * and must not have changed state before.
 */
bool soft_ea_slow(struct softcpu *cpu, const struct insn *in, int size,
    bool write, uint64_t *lin);
bool soft_ld_slow(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    int size, void *val);
bool soft_st_slow(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    int size, const void *val);
/* Would a store of len bytes (<= 4096) succeed?  Faults if not. */
bool soft_probe_write(
    struct softcpu *cpu, const struct insn *in, uint64_t lin, int len);
/*
 * Host pointer to [lin, lin+size) when it is plain RAM within one page and
 * writable without further ado, else NULL (no fault raised): the caller then
 * goes the load/store way (soft_lock_begin() around it when LOCKed).
 */
void *soft_rmw_slow(struct softcpu *cpu, uint64_t lin, int size);
void soft_lock_begin(struct softcpu *cpu); /* VM-wide, for what no host */
void soft_lock_end(struct softcpu *cpu);   /* atomic can do (split, MMIO) */

/* Offset of the memory operand before segmentation (LEA, far pointers). */
static inline uint64_t
soft_offset(const struct softcpu *cpu, const struct insn *in)
{
	uint64_t ea;

	ea = cpu->gpr[in->base] + (cpu->gpr[in->index] << in->scale) +
	    (uint64_t)(int64_t)in->disp;
	if (in->flags & (IN_AS16 | IN_AS32))
		ea = (in->flags & IN_AS16) ? (uint16_t)ea : (uint32_t)ea;
	return (ea);
}

/* Linear address of the memory operand, segment checks done. */
static inline bool
soft_ea(struct softcpu *cpu, const struct insn *in, int size, bool write,
    uint64_t *lin)
{
	uint64_t ea;

	ea = cpu->gpr[in->base] + (cpu->gpr[in->index] << in->scale) +
	    (uint64_t)(int64_t)in->disp;
	if (likely(in->amode == AM_64)) {
		*lin = ea + cpu->segbase[in->seg];
		return (true);
	}
	if (likely(in->amode == AM_FLAT32)) {
		*lin = (uint32_t)ea;
		return (true);
	}
	return (soft_ea_slow(cpu, in, size, write, lin));
}

static inline struct tlbe *
soft_tlbe(const struct softcpu *cpu, uint64_t lin)
{
	return (&cpu->tlb[(lin >> 12) & (TLB_SIZE - 1)]);
}

#define SOFT_LDST(bits, type)                                                  \
	static inline bool soft_ld##bits(struct softcpu *cpu,                  \
	    const struct insn *in, uint64_t lin, uint##bits##_t *val)          \
	{                                                                      \
		const struct tlbe *e = soft_tlbe(cpu, lin);                    \
		if (likely(lin - e->rtag <= 4096 - bits / 8)) {                \
			*val = *(volatile type *)(uintptr_t)(lin + e->addend); \
			return (true);                                         \
		}                                                              \
		return (soft_ld_slow(cpu, in, lin, bits / 8, val));            \
	}                                                                      \
	static inline bool soft_st##bits(struct softcpu *cpu,                  \
	    const struct insn *in, uint64_t lin, uint##bits##_t val)           \
	{                                                                      \
		const struct tlbe *e = soft_tlbe(cpu, lin);                    \
		if (likely(lin - e->wtag <= 4096 - bits / 8)) {                \
			*(volatile type *)(uintptr_t)(lin + e->addend) = val;  \
			return (true);                                         \
		}                                                              \
		return (soft_st_slow(cpu, in, lin, bits / 8, &val));           \
	}
SOFT_LDST(8, uint8_t)
SOFT_LDST(16, u16a)
SOFT_LDST(32, u32a)
SOFT_LDST(64, u64a)

/* RAM pointer for a read-modify-write or a wide access; NULL: slow way. */
static inline void *
soft_rmw(struct softcpu *cpu, uint64_t lin, int size)
{
	const struct tlbe *e = soft_tlbe(cpu, lin);

	if (likely(lin - e->wtag <= (uint64_t)(4096 - size) &&
		lin - e->rtag <= (uint64_t)(4096 - size)))
		return ((void *)(uintptr_t)(lin + e->addend));
	return (soft_rmw_slow(cpu, lin, size));
}
static inline const void *
soft_rdptr(struct softcpu *cpu, uint64_t lin, int size)
{
	const struct tlbe *e = soft_tlbe(cpu, lin);

	if (likely(lin - e->rtag <= (uint64_t)(4096 - size)))
		return ((const void *)(uintptr_t)(lin + e->addend));
	return (NULL);
}
static inline void *
soft_wrptr(struct softcpu *cpu, uint64_t lin, int size)
{
	const struct tlbe *e = soft_tlbe(cpu, lin);

	if (likely(lin - e->wtag <= (uint64_t)(4096 - size)))
		return ((void *)(uintptr_t)(lin + e->addend));
	return (NULL);
}
/*
 * A part of an instruction (an iteration of REP) is final: accesses made so
 * far are not replayed.  String instructions run one iteration a call when
 * cpu->mode has MODE_TF, then need not call this.
 */
static inline void
soft_io_commit(struct softcpu *cpu)
{
	cpu->io_count = cpu->io_next = 0;
}
/* 16-byte and longer operands (<= 512) by the two pointers or byte-wise. */
bool soft_ld_bytes(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    void *buf, int size);
bool soft_st_bytes(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    const void *buf, int size);

/*
 * System accesses (descriptor tables, TSS, interrupt frames): supervisor
 * rights whatever the CPL ("implicit"), or the rights of the given cpl.
 * False: fault recorded with rip = cpu->rip (which must be exact).
 */
bool soft_sys_ld(struct softcpu *cpu, uint64_t lin, int size, void *val);
bool soft_sys_st(struct softcpu *cpu, uint64_t lin, int size, const void *val);
bool soft_cpl_ld(
    struct softcpu *cpu, int cpl, uint64_t lin, int size, void *val);
bool soft_cpl_st(
    struct softcpu *cpu, int cpl, uint64_t lin, int size, const void *val);
bool soft_cpl_probe_write(struct softcpu *cpu, int cpl, uint64_t lin, int len);

/* TLB and mode maintenance.  Each takes effect at once for data; code is
 * looked up anew because the callers end the block. */
void soft_tlb_flush(struct softcpu *cpu, bool keep_global);
void soft_tlb_flush_page(struct softcpu *cpu, uint64_t lin);
void soft_tlb_flush_pcid(struct softcpu *cpu, uint16_t pcid, bool all);
/* CR0, CR4, EFER, CS, SS, RFLAGS.{VM,TF,AC} or CPL changed: recompute mode,
 * segbase[], csbase, tlb, flat bits. */
void soft_mode_update(struct softcpu *cpu);
bool soft_load_pdptes(struct softcpu *cpu, uint64_t cr3); /* false: #GP */
/* Translate for reading code or for debugging: no fault is recorded.
 * Returns 0 and *gpa, or the #PF error code | 1<<31. */
#define MMU_READ 0
#define MMU_WRITE 1
#define MMU_EXEC 2
uint32_t soft_walk(struct softcpu *cpu, uint64_t lin, int access, bool user,
    bool update_ad, uint64_t *gpa, uint64_t *page_flags);

/* ---- ports (op_io.c decides permission; this does the access) ----
 * False: the instruction leaves with an exit (or retries). */
bool soft_port_in(struct softcpu *cpu, const struct insn *in, uint16_t port,
    int bytes, bool string, uint32_t *val);
bool soft_port_out(struct softcpu *cpu, const struct insn *in, uint16_t port,
    int bytes, bool string, uint32_t val);

/* ---- control transfer: rip = new offset in CS, then the next block ----
 * Defined in soft_goto.h (included by op_branch.c and friends). */

/* ---- events and far transfers (idt.c, op_far.c, seg.c, task.c) ---- */
/* Deliver intinfo (VM_INTINFO_*, error code in the high half).  software:
 * INT n/INT3/INTO (rip already behind it).  False: a fault was raised. */
bool soft_deliver(struct softcpu *cpu, uint64_t intinfo, bool software);
/* Load a segment register from a selector with all checks; false: fault
 * recorded at cpu->rip. */
bool soft_load_seg(struct softcpu *cpu, int seg, uint16_t sel);
bool soft_task_switch(
    struct softcpu *cpu, uint16_t sel, int reason, bool has_err, uint32_t err);
/* The debugger's breakpoints, and whether there are any of either kind. */
int soft_setdebug(void *vcpui, const uint64_t dr[4], uint64_t dr7);
void soft_debug_update(struct softcpu *cpu);
bool soft_exit_debug(struct softcpu *cpu);
/* Check for code/data breakpoints when cpu->dr7_active. */
bool soft_check_code_bp(struct softcpu *cpu, uint64_t lin);

/* A #DB is at hand: DR6 tells of the traps that were pending, too. */
static inline void
soft_take_traps(struct softcpu *cpu)
{
	cpu->dr[6] = (cpu->dr[6] & ~0xfull) | cpu->dr6_pending;
	cpu->dr6_pending = 0;
}
void soft_check_data_bp(
    struct softcpu *cpu, uint64_t lin, int size, bool write);

/* ---- FPU gates (x87_env.c): false: #NM/#UD/#MF recorded ---- */
bool soft_fpu_check(struct softcpu *cpu, const struct insn *in, bool wait);
bool soft_sse_check(struct softcpu *cpu, const struct insn *in);
void soft_fpu_reset(struct softcpu *cpu, bool init);
/* Standard-format XSAVE image (KVM_GET_XSAVE's layout); returns length. */
size_t soft_fpu_get(struct softcpu *cpu, void *buf, size_t len);
bool soft_fpu_set(struct softcpu *cpu, const void *buf, size_t len);
/* CR0.MP/EM/TS or CR4.OSFXSR changed: recompute the gates. */
void soft_fpu_mode_update(struct softcpu *cpu);
/* Host FPU environment of the vCPU thread: guest MXCSR in, host's out.  Both
 * may be called twice.  soft_fpu_get/set work on the vCPU's own thread at any
 * time, on another only after leave. */
void soft_fpu_enter(struct softcpu *cpu);
void soft_fpu_leave(struct softcpu *cpu);

/* ---- registers (soft_reg.c), MSRs (op_msr.c), reset (soft_reset.c) ---- */
int soft_getreg(void *vcpui, int reg, uint64_t *val);
int soft_setreg(void *vcpui, int reg, uint64_t val);
int soft_getdesc(void *vcpui, int reg, struct seg_desc *desc);
int soft_setdesc(void *vcpui, int reg, const struct seg_desc *desc);
int soft_getcap(void *vcpui, int type, int *val);
int soft_setcap(void *vcpui, int type, int val);
int soft_getmsr(void *vcpui, uint32_t msr, uint64_t *val);
int soft_setmsr(void *vcpui, uint32_t msr, uint64_t val);
void soft_reset(struct softcpu *cpu, bool init);
/* RDMSR/WRMSR as the guest does them: 0, EINVAL: #GP, ENOENT: user space. */
int soft_rdmsr(struct softcpu *cpu, uint32_t msr, uint64_t *val);
int soft_wrmsr(struct softcpu *cpu, uint32_t msr, uint64_t val);
/* MOV CRn with all checks; false: #GP recorded at cpu->rip. */
bool soft_write_cr0(struct softcpu *cpu, uint64_t val);
bool soft_write_cr3(struct softcpu *cpu, uint64_t val);
bool soft_write_cr4(struct softcpu *cpu, uint64_t val);
bool soft_write_efer(struct softcpu *cpu, uint64_t val);
uint64_t soft_rdtsc(const struct softcpu *cpu);
/* CPUID bits that the engine implements: AND them into r[4]. */
void soft_cpuid_mask(void *vmi, uint32_t leaf, uint32_t subleaf, uint32_t r[4]);

#endif
