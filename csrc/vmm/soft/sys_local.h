/*
 * Shared by the files of system instructions: descriptors, stacks, far
 * transfers, tasks.  All of it works with an exact cpu->rip; false means
 * that a fault (or an exit) is recorded and nothing is committed.
 */
#ifndef _SYS_LOCAL_H_
#define _SYS_LOCAL_H_

#include "optab.h"
#include "soft_local.h"

/* Bits of softseg.attr and of a descriptor's attributes. */
#define AT_A 0x1u  /* accessed */
#define AT_RW 0x2u /* data: writable; code: readable */
#define AT_EC 0x4u /* data: expand-down; code: conforming */
#define AT_CODE 0x8u
#define AT_S 0x10u /* code or data, not a system descriptor */
#define AT_P 0x80u
#define AT_L 0x2000u
#define AT_DB 0x4000u
#define AT_G 0x8000u
#define AT_UNUSABLE 0x10000u
#define AT_DPL(a) (((a) >> 5) & 3u)
#define AT_TYPE(a) ((a)&0x1fu)

/* System descriptor types (S clear). */
#define ST_TSS16 0x1u
#define ST_LDT 0x2u
#define ST_TSS16_BUSY 0x3u
#define ST_CALL16 0x4u
#define ST_TASKGATE 0x5u
#define ST_INT16 0x6u
#define ST_TRAP16 0x7u
#define ST_TSS32 0x9u
#define ST_TSS32_BUSY 0xbu
#define ST_CALL32 0xcu
#define ST_INT32 0xeu
#define ST_TRAP32 0xfu

#define CR0_PE 0x1u
#define CR0_MP 0x2u
#define CR0_EM 0x4u
#define CR0_TS 0x8u
#define CR0_ET 0x10u
#define CR0_NE 0x20u
#define CR0_WP 0x10000u
#define CR0_AM 0x40000u
#define CR0_NW 0x20000000u
#define CR0_CD 0x40000000u
#define CR0_PG 0x80000000u

#define CR4_VME 0x1u
#define CR4_PVI 0x2u
#define CR4_TSD 0x4u
#define CR4_DE 0x8u
#define CR4_PSE 0x10u
#define CR4_PAE 0x20u
#define CR4_MCE 0x40u
#define CR4_PGE 0x80u
#define CR4_PCE 0x100u
#define CR4_OSFXSR 0x200u
#define CR4_OSXMMEXCPT 0x400u
#define CR4_UMIP 0x800u
#define CR4_FSGSBASE 0x10000u
#define CR4_OSXSAVE 0x40000u
#define CR4_SMEP 0x100000u
#define CR4_SMAP 0x200000u

#define EFER_SCE 0x1u
#define EFER_LME 0x100u
#define EFER_LMA 0x400u
#define EFER_NXE 0x800u

#define DR6_BD 0x2000u
#define DR6_BS 0x4000u
#define DR6_BT 0x8000u
#define DR6_ONES 0xffff0ff0u
#define DR7_GD 0x2000u
#define DR7_LOCAL 0x155u /* L0-L3 and LE: a task switch clears them */

struct sysdesc {
	uint64_t base;
	uint32_t limit; /* bytes */
	uint32_t attr;
	uint32_t lo, hi; /* as in memory */
	uint64_t addr;	 /* linear address of the descriptor */
};

static inline bool
at_is_code(uint32_t attr)
{
	return ((attr & (AT_S | AT_CODE)) == (AT_S | AT_CODE));
}
static inline bool
at_is_wdata(uint32_t attr)
{
	return ((attr & (AT_S | AT_CODE | AT_RW)) == (AT_S | AT_RW));
}
static inline bool
at_is_conforming(uint32_t attr)
{
	return ((attr & (AT_S | AT_CODE | AT_EC)) == (AT_S | AT_CODE | AT_EC));
}
static inline bool
sys_canonical(uint64_t a)
{
	return ((uint64_t)((int64_t)(a << 16) >> 16) == a);
}
static inline bool
sys_lma(const struct softcpu *cpu)
{
	return ((cpu->efer & EFER_LMA) != 0);
}
static inline unsigned
sys_iopl(const struct softcpu *cpu)
{
	return ((cpu->rfl >> 12) & 3);
}
/* A system access's linear address: 32 bits wide outside of long mode. */
static inline uint64_t
sys_lin(const struct softcpu *cpu, uint64_t lin)
{
	return (sys_lma(cpu) ? lin : (uint32_t)lin);
}
/* The instruction is done: go on at rip (offset in the CS now loaded). */
static inline void
sys_done(struct softcpu *cpu, uint64_t rip)
{
	cpu->rip = rip;
	cpu->stop = STOP_NONE;
}
/* RFLAGS where the caller goes on to soft_mode_update() anyway. */
static inline void
sys_put_rflags(struct softcpu *cpu, uint64_t fl)
{
	cpu->cc = (uint16_t)(((fl << 8) & (CC_ALL & ~CC_OF)) |
	    ((fl & FL_OF) ? CC_OF : 0));
	cpu->rfl = ((uint32_t)fl & 0x3f7702u) | 2u;
}
/* Record #vec(err) and answer false: "return (sys_fail(...));". */
static inline bool
sys_fail(struct softcpu *cpu, int vec, uint32_t err)
{
	soft_raise_err(cpu, vec, err);
	return (false);
}
#define SEL_ERR(sel, ext) (((uint32_t)(sel)&0xfffcu) | (ext))

/* ---- descriptors (seg.c) ---- */
/* 8-byte descriptor; out of the table's limit: #vec(sel | ext). */
bool sys_fetch(struct softcpu *cpu, uint16_t sel, struct sysdesc *d, int vec,
    uint32_t ext);
/* System descriptor: 16 bytes in long mode. */
bool sys_fetch_sys(struct softcpu *cpu, uint16_t sel, struct sysdesc *d,
    int vec, uint32_t ext);
/* 1: fetched; 0: outside of the table; -1: fault recorded. */
int sys_peek(struct softcpu *cpu, uint16_t sel, struct sysdesc *d);
bool sys_set_accessed(struct softcpu *cpu, struct sysdesc *d);
void sys_set_seg(struct softseg *s, uint16_t sel, const struct sysdesc *d);
void sys_null_seg(struct softseg *s, uint16_t sel);
void sys_v86_seg(struct softseg *s, uint16_t sel);
/* CS for privilege level cpl: RPL and cpu->cpl follow it. */
void sys_set_cs(
    struct softcpu *cpu, uint16_t sel, const struct sysdesc *d, int cpl);
/* SS null with DPL cpl, as 64-bit mode allows. */
void sys_null_ss(struct softcpu *cpu, uint16_t sel);
/* Real mode and virtual-8086 mode. */
void sys_real_seg(struct softcpu *cpu, int seg, uint16_t sel);
/* Stack segment for cpl: errors #vec(sel), not present #SS(sel). */
bool sys_fetch_ss(struct softcpu *cpu, uint16_t sel, unsigned cpl, int vec,
    uint32_t ext, struct sysdesc *d);
/* New rip within CS of descriptor d?  #GP(ext) if not. */
bool sys_check_rip(
    struct softcpu *cpu, const struct sysdesc *d, uint64_t rip, uint32_t ext);
/* A return to outer level cpl voids segments that it may not see. */
void sys_drop_segs(struct softcpu *cpu);

/* ---- stacks (sysstk.c) ---- */
struct sysstk {
	struct softseg ss;
	uint64_t sp;
	int cpl;
	bool is64;
};
void sys_stk_cur(struct softcpu *cpu, struct sysstk *k);
/* Read at SP + delta; #SS(0) out of limit. */
bool sys_stk_read(struct softcpu *cpu, const struct sysstk *k, uint64_t delta,
    int size, uint64_t *val);
/* Push n values of `size` bytes, all or none; #SS(err).  k->sp moves. */
bool sys_stk_push(struct softcpu *cpu, struct sysstk *k, int size,
    const uint64_t *vals, int n, uint32_t err);
/* Store an SP: 16, 32 or 64 bits of it as the stack's width says. */
void sys_set_sp(struct softcpu *cpu, const struct sysstk *k, uint64_t sp);
/* SS:SP of level dpl from the TSS (RSPn in long mode: *ss is not set). */
bool sys_tss_stack(struct softcpu *cpu, unsigned dpl, uint32_t ext,
    uint16_t *ss, uint64_t *sp);

/* ---- events, tasks (idt.c, idt_gate.c, task.c) ---- */
enum idt_kind {
	IDT_HW,	   /* external interrupt, NMI */
	IDT_EXC,   /* exception of the processor */
	IDT_INTN,  /* INT n */
	IDT_SWEXC, /* INT3, INTO */
	IDT_ICEBP, /* INT1 */
};
struct idt_event {
	enum idt_kind kind;
	uint8_t vector;
	uint8_t len; /* instruction bytes behind cpu->rip */
	bool has_err;
	uint32_t err;
	uint32_t ext;	/* EXT bit of error codes of nested faults */
	uint64_t flags; /* RFLAGS image to push */
};
bool idt_deliver(struct softcpu *cpu, struct idt_event *ev);
bool idt_protected(struct softcpu *cpu, const struct idt_event *ev);

/* reason: one of these, and the instruction's length << 8. */
enum { TASK_JMP, TASK_CALL, TASK_IRET, TASK_INT, TASK_EXT };
/* TASK_INT: software interrupt or exception gate without EXT; TASK_EXT: with
 * EXT.  The old task's saved EIP is cpu->rip + length. */

/* ---- far transfers (op_far.c, op_ret.c) ---- */
bool far_transfer(struct softcpu *cpu, uint16_t sel, uint64_t off, int size,
    bool call, int len);

/* ---- control registers (op_cr.c), debug (soft_debug.c) ---- */
/* DR0-3, 6, 7 with their fixed bits. */
void sys_write_dr(struct softcpu *cpu, int n, uint64_t val);
bool sys_write_efer(struct softcpu *cpu, uint64_t val); /* false: #GP, not
							 * recorded */
/* I/O breakpoints of [port, port + bytes). */
void sys_check_io_bp(struct softcpu *cpu, uint16_t port, int bytes);

/* ---- operands (op_sys.c) ---- */
bool sys_ld_rm16(struct softcpu *cpu, const struct insn *in, uint16_t *val);
bool sys_st_rm(struct softcpu *cpu, const struct insn *in, uint64_t val);
bool sys_umip_ok(struct softcpu *cpu, const struct insn *in);
/* Linear address of a memory operand that is not accessed. */
static inline uint64_t
sys_ea(const struct softcpu *cpu, const struct insn *in)
{
	uint64_t lin;

	lin = cpu->segbase[in->seg] + soft_offset(cpu, in);
	return ((cpu->mode & MODE_64) ? lin : (uint32_t)lin);
}

#define BIND(name, handler)                                            \
	soft_op bind_##name(const struct soft_dec *d, struct insn *in) \
	{                                                              \
		in->aux = d->opsize;                                   \
		return (handler);                                      \
	}

/* Prototypes of all binders that the rows name. */
#define OP(map, opcode, prefix, reg, mod, name, operands, imm, attr, feature, \
    fl_read, fl_write, fl_undef, bind, arg)                                   \
	soft_op bind(const struct soft_dec *d, struct insn *in);
#include "optab_sys.def"
#undef OP

#endif
