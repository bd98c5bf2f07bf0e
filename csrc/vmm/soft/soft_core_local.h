/*
 * Private to the software processor's core (decode, block, mmu, tlb, ldst,
 * run, ops, step): the caches of a vCPU and what the vCPUs of a VM share.
 */
#ifndef _SOFT_CORE_LOCAL_H_
#define _SOFT_CORE_LOCAL_H_

#include <pthread.h>

#include "optab.h"
#include "soft_local.h"

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ull
#define PAGE_OFF(a) ((a) & (PAGE_SIZE - 1))
#define PAGE_BASE(a) ((a) & ~(PAGE_SIZE - 1))

#define CR0_PE_ 0x1u
#define CR0_WP_ 0x10000u
#define CR0_AM_ 0x40000u
#define CR0_PG_ 0x80000000u
#define CR4_PSE_ 0x10u
#define CR4_PAE_ 0x20u
#define CR4_PGE_ 0x80u
#define CR4_SMEP_ 0x100000u
#define CR4_SMAP_ 0x200000u
#define EFER_LMA_ 0x400u
#define EFER_NXE_ 0x800u
#define SEG_UNUSABLE 0x10000u
#define SEG_L 0x2000u
#define SEG_DB 0x4000u

#define PF_P 0x1u
#define PF_W 0x2u
#define PF_U 0x4u
#define PF_RSVD 0x8u
#define PF_I 0x10u
#define WALK_FAULT 0x80000000u /* with an error code: the walk failed */

/* page_flags of soft_walk() */
#define WF_WRITE 0x1u /* writable as the mode goes */
#define WF_USER 0x2u
#define WF_GLOBAL 0x4u
#define WF_DIRTY 0x8u
#define WF_BIG 0x10u  /* 2 or 4 MiB */
#define WF_HUGE 0x20u /* 1 GiB */

/*
 * What the vCPUs know of a physical page, shared and lock-free but for the
 * transitions (code_lock):
 *	cp_users	bit n: vCPU n has, or is about to make, blocks here
 *	cp_writers	bit n: vCPU n may have a fast write entry
 *	cp_granules	64-byte granules with code; cleared with the last user
 *
 * A writer sets its cp_writers bit, then reads cp_users; a decoder sets its
 * cp_users bit, then reads cp_writers: one of the two sees the other.
 */
struct codepage {
	_Atomic uint64_t cp_users;
	_Atomic uint64_t cp_writers;
	_Atomic uint64_t cp_granules;
	uint8_t *cp_seen; /* code_dma.c: its bytes as they were decoded */
};
#define CP_DIRS 4096u /* of 1 GiB each */
struct cp_leaf {
	struct codepage page[512];
};
struct cp_dir {
	struct cp_leaf *_Atomic leaf[512];
};

struct softvm {
	struct vm *vm;
	struct softcpu *_Atomic cpus[VM_MAXCPU];
	pthread_mutex_t lock;	   /* soft_lock_begin() */
	pthread_mutex_t code_lock; /* users of a codepage come and go */
	struct cp_dir *_Atomic dir[CP_DIRS];
	bool stepper; /* soft_step: no blocks are kept, nobody is told */
	/* Devices of the host write memory: pages with code, by address. */
	_Atomic bool dma;
	uint64_t *dma_pages; /* under code_lock */
	size_t dma_npages, dma_room;
};

/* What others ask of a vCPU; done at its next instruction boundary. */
enum req_kind {
	REQ_KILL,  /* [gpa, gpa+len) was written: blocks there are void */
	REQ_WDROP, /* no fast write entries to this page any more */
	REQ_ALL,   /* everything: the memory map changed */
};
struct soft_req {
	uint64_t gpa, len;
	enum req_kind kind;
};
#define REQ_MAX 64

/* The slow side of a TLB entry: all that the walk found. */
struct tlbx {
	uint64_t lin; /* page, or ~0 */
	uint64_t gpa;
	uint8_t *hva;	  /* NULL: not memory */
	bool read, write; /* rights (write: and D is set) */
	bool ram;	  /* hva may be written */
	bool fast;	  /* the write tag is set: no code here */
	bool global;
};

#define ETLB_BITS 8
#define ETLB_SIZE (1u << ETLB_BITS)
struct etlbe {
	uint64_t lin; /* page, or ~0 */
	uint64_t gpa;
	const uint8_t *hva; /* NULL: not memory */
	bool global;
};

/* Blocks of one physical page in this vCPU's cache. */
struct vpage {
	uint64_t gpa;
	struct vpage *next;
	struct block *blocks;
	bool used; /* our bit of cp_users is set */
};

#define BH_BITS 14
#define VP_BITS 12
#define BLK_ARENA (6u << 20)
#define CSID_MAX 8

struct soft_core {
	/* --- the debugger's registers (soft_debug.c) --- */
	uint64_t debug_dr[4], debug_dr7;
	uint64_t debug_hits; /* DR6 bits of the last instruction */

	/* --- blocks (block.c) --- */
	struct block *bhash[1u << BH_BITS];
	struct vpage *vphash[1u << VP_BITS];
	uint8_t *arena;
	size_t arena_used;
	bool arena_full; /* flush when the chain is unwound */
	bool decoding;	 /* pages stay marked though they have no block */
	uint64_t epoch;	 /* counts REQ_ALL: host addresses may be void */
	uint64_t jcfill[2][(1u << JC_BITS) / 64]; /* [global] */
	uint64_t jcpages[1024 / 64]; /* pages (hashed) with entries in jc */
	struct block *scratch_mem;   /* the block that is not kept */
	struct jit *jit;	     /* the translator's cache, or NULL */
	bool jit_asked;		     /* jit_init() was here */

	/* --- TLBs (tlb.c) --- */
	struct tlbx x[TLB_KINDS][TLB_SIZE];
	uint64_t fill[TLB_KINDS][2][TLB_SIZE / 64]; /* [global] */
	struct etlbe e[2][ETLB_SIZE];		    /* [user] */
	uint64_t efill[2][2][ETLB_SIZE / 64];	    /* [user][global] */
	uint64_t big[4096 / 64]; /* hashed 2M regions with large pages */
	uint64_t huge;		 /* hashed 1G regions with 1 GiB pages */
	int physbits;		 /* guest's MAXPHYADDR; 0: not asked yet */
	bool gbpages;

	/* --- code segments of 16-bit and segmented code (soft_mode.c) --- */
	struct {
		uint64_t base;
		uint32_t limit;
	} csid[CSID_MAX];
	uint32_t csid_n, csid_gen;

	/* --- requests --- */
	pthread_mutex_t req_lock;
	struct soft_req req[REQ_MAX];
	int req_n;
	bool req_all;
	uint64_t req_seq;	  /* last one posted; under req_lock */
	_Atomic uint64_t req_ack; /* last one done */
	_Atomic bool in_run;	  /* guest instructions may be running */

	/* --- run loop (soft_run.c) --- */
	bool ev_pending;  /* an event may be waiting: ask the core */
	bool intr_wait;	  /* an interrupt may be waiting for IF */
	bool intr_shut;	  /* one is, and was seen while it could not be taken */
	bool nmi_wait;	  /* an NMI waits for IRET */
	bool want_step;	  /* a device access wants the careful way */
	uint8_t exit_len; /* length of the instruction that exited */
	uint64_t io_rip;  /* rip of the instruction being replayed */
	int lock_depth;

	/* --- statistics, folded into vmm_stat at each exit --- */
	uint64_t st_blocks, st_flush, st_kill, st_tlbflush, st_walk, st_wait,
	    st_jit;
};

/* ---- decode.c ---- */
enum dec_result { DEC_OK, DEC_MORE, DEC_TOOLONG };
/*
 * Decode one instruction from n bytes (<= 15 are looked at).  Fills *d and
 * *in but for op; off must be set.  DEC_MORE: it goes on behind the n bytes.
 */
enum dec_result decode_insn(struct soft_dec *d, struct insn *in,
    const uint8_t *p, unsigned n, uint32_t mode);
void decode_init(void); /* pthread_once */
/* Bind handlers of n records, flag liveness included. */
void decode_bind(struct soft_dec *d, struct insn *in, int n);
/* ... and the last two as one, where they make a pair. */
void decode_fuse(const struct soft_dec *d, struct insn *in, int n);
/* Arithmetic flags live in front of a bound record, given those behind. */
uint32_t decode_live(
    const struct soft_dec *d, const struct insn *in, uint32_t live);
bool decode_ends_block(const struct soft_dec *d);
uint32_t soft_features(void); /* SF_* that the engine offers on this host */
/* May the instruction let a waiting interrupt through (WRMSR, MOV CR8)? */
bool decode_unblocks(soft_op op);

/* ---- decode_modrm.c ---- */
struct dec_cur {
	const uint8_t *p;
	unsigned n, at;
	bool more; /* ran out of bytes */
};
static inline uint64_t
cur_le(struct dec_cur *c, unsigned bytes)
{
	uint64_t v = 0;

	if (c->at + bytes > c->n) {
		c->more = true;
		c->at = c->n;
		return (0);
	}
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)c->p[c->at + i] << (8 * i);
	c->at += bytes;
	return (v);
}
/* rex: as decoded; segov: override or -1.  Returns true for RIP-relative
 * (disp then counts from the end of the instruction). */
bool decode_modrm(
    struct dec_cur *c, struct soft_dec *d, struct insn *in, int segov);
void decode_amode(
    const struct soft_dec *d, struct insn *in, int segov, int defseg);

/* ---- block.c ---- */
int block_init(struct softcpu *cpu);
void block_fini(struct softcpu *cpu);
/* The block at cpu->rip, decoded if need be; NULL: cpu->stop is a fetch
 * fault, or STOP_RETRY. */
struct block *block_find(struct softcpu *cpu, uint64_t lin);
void block_flush(struct softcpu *cpu); /* forget everything */
void block_kill(struct softcpu *cpu, uint64_t gpa, uint64_t len);
struct block *block_at(struct softcpu *cpu, uint64_t gpa, uint32_t mode);
void jc_flush(struct softcpu *cpu, bool keep_global);
void jc_flush_page(struct softcpu *cpu, uint64_t lin);

/* ---- jit/: the translator ---- */
void jit_init(struct softcpu *cpu);
void jit_fini(struct softcpu *cpu);
void jit_flush(struct softcpu *cpu);
void jit_block(struct softcpu *cpu, struct block *b);
void jit_kill(struct softcpu *cpu, struct block *b);

/* ---- code.c: code that changes ---- */
struct codepage *cp_get(struct softvm *svm, uint64_t gpa, bool create);
void cp_fini(struct softvm *svm);
void code_use(struct softcpu *cpu, uint64_t gpa);
void code_unuse(struct softcpu *cpu, uint64_t gpa);
void code_cover(struct softvm *svm, uint64_t gpa, unsigned len);
/* The store of [gpa, gpa+len) is done: kill blocks.  cpu NULL: a device. */
void code_written(
    struct softvm *svm, struct softcpu *cpu, uint64_t gpa, uint64_t len);
void code_hook(void *arg, vm_paddr_t gpa, size_t len);
/* code_dma.c */
void code_dma_cover(
    struct softvm *svm, struct codepage *cp, uint64_t gpa, uint64_t fresh);
void soft_dma_begin(void *vmi);
void soft_dma_written(void *vmi);
uint64_t req_post(
    struct softcpu *to, enum req_kind kind, uint64_t gpa, uint64_t len);
void req_wait(struct softcpu *self, struct softcpu *to, uint64_t seq);
void req_serve(struct softcpu *cpu);
void req_enter(struct softcpu *cpu);
void req_leave(struct softcpu *cpu);

/* ---- tlb.c ---- */
int tlb_init(struct softcpu *cpu);
void tlb_drop_writes(struct softcpu *cpu, uint64_t gpa);
void tlb_flush_all(struct softcpu *cpu); /* global ones, too; no jc */
/*
 * Translate one page for data; 0 and *x (valid until the next fill), or the
 * error code | WALK_FAULT.
 */
uint32_t tlb_data(struct softcpu *cpu, int kind, uint64_t lin, bool write,
    const struct tlbx **x);
uint32_t tlb_exec(struct softcpu *cpu, uint64_t lin, const struct etlbe **e);
int tlb_kind(const struct softcpu *cpu, int cpl);
extern struct tlbe tlb_empty[TLB_SIZE]; /* never hits; read-only after init */

/* ---- mmu.c ---- */
uint32_t mmu_walk(struct softcpu *cpu, uint64_t lin, int access, int kind,
    bool update_ad, uint64_t *gpa, uint64_t *flags);

/* ---- soft_mode.c ---- */
void soft_set_step(struct softcpu *cpu, bool on);

/* ---- ldst.c ---- */
static inline bool
soft_canonical(uint64_t a)
{
	return ((uint64_t)((int64_t)(a << 16) >> 16) == a);
}
bool soft_mmio(struct softcpu *cpu, const struct insn *in, uint64_t gpa,
    bool write, uint64_t *data, int bytes);
/* Replay list: the next access of the running instruction; NULL when the
 * list is full (the exit is filled). */
struct soft_io *soft_io_get(struct softcpu *cpu, const struct insn *in,
    bool port, bool write, uint64_t addr, int bytes);

/* ---- soft_run.c ---- */
int soft_run(void *vcpui, const struct vm_entry *entry, struct vm_exit *vme);
/* Deliver an event, with the faults that this raises; one instruction with
 * everything that stepping entails.  True: *cpu->vme is filled, leave. */
bool soft_inject(struct softcpu *cpu, uint64_t info);
bool soft_run_one(struct softcpu *cpu);
bool soft_db_trap(struct softcpu *cpu);
void soft_entry_cmd(struct softcpu *cpu, const struct vm_entry *entry);

/* ---- soft_ops.c ---- */
struct softvm *softvm_create(struct vm *vm, bool stepper);
void softvm_destroy(struct softvm *svm);
struct softcpu *softcpu_create(
    struct softvm *svm, struct vcpu *vcpu, int vcpuid);
void softcpu_destroy(struct softcpu *cpu);
void soft_stat_fold(struct softcpu *cpu);

#endif
