/*
 * What the integer instructions (op_mov.c to op_atomic.c) share: register
 * access by size, memory access macros that keep the fast path free of
 * frames, conditions, and the binders that optab_int.def names.
 *
 * A handler with a memory operand is written once (DEF_OP) and compiled
 * twice: the fast version holds TLB hits only and jumps to the slow version,
 * which may call out, on anything else.  Nothing has been changed by then.
 */
#ifndef _INT_LOCAL_H_
#define _INT_LOCAL_H_

#include "optab.h"
#include "soft_goto.h"
#include "soft_local.h"

#define INT_INLINE static inline __attribute__((__always_inline__))
#define INT_COLD static __attribute__((__noinline__, __cold__))

typedef uint8_t it8;
typedef uint16_t it16;
typedef uint32_t it32;
typedef uint64_t it64;
typedef int8_t st8;
typedef int16_t st16;
typedef int32_t st32;
typedef int64_t st64;
typedef uint8_t pt8 __attribute__((__may_alias__));
typedef u16a pt16;
typedef u32a pt32;
typedef u64a pt64;

/* Registers by operand size; r: as in struct insn. */
#define RD8(r) BREG(cpu, r)
#define RD16(r) (*(u16a *)&cpu->gpr[r])
#define RD32(r) ((uint32_t)cpu->gpr[r])
#define RD64(r) (cpu->gpr[r])
#define WR8(r, v) ((void)(BREG(cpu, r) = (uint8_t)(v)))
#define WR16(r, v) ((void)(RD16(r) = (uint16_t)(v)))
#define WR32(r, v) ((void)(cpu->gpr[r] = (uint32_t)(v)))
#define WR64(r, v) ((void)(cpu->gpr[r] = (v)))

#define DEF_OP(name)                                                       \
	INT_INLINE void name##_b(                                          \
	    struct softcpu *cpu, const struct insn *in, soft_op slow);     \
	INT_COLD void name##_s(struct softcpu *cpu, const struct insn *in) \
	{                                                                  \
		name##_b(cpu, in, NULL);                                   \
	}                                                                  \
	static void name(struct softcpu *cpu, const struct insn *in)       \
	{                                                                  \
		name##_b(cpu, in, name##_s);                               \
	}                                                                  \
	INT_INLINE void name##_b(                                          \
	    struct softcpu *cpu, const struct insn *in, soft_op slow)
/* A handler without memory operand. */
#define DEF_REG(name) \
	static void name(struct softcpu *cpu, const struct insn *in)

#define INT_EA()                                                   \
	(cpu->gpr[in->base] + (cpu->gpr[in->index] << in->scale) + \
	    (uint64_t)(int64_t)in->disp)

/* Linear address of the memory operand of n bytes. */
#define LIN(n, w)                                                  \
	({                                                         \
		uint64_t l_ = INT_EA();                            \
		if (likely(in->amode == AM_64)) {                  \
			l_ += cpu->segbase[in->seg];               \
		} else if (likely(in->amode == AM_FLAT32)) {       \
			l_ = (uint32_t)l_;                         \
		} else if (slow != NULL) {                         \
			slow(cpu, in);                             \
			return;                                    \
		} else {                                           \
			uint64_t t_;                               \
			if (!soft_ea_slow(cpu, in, (n), (w), &t_)) \
				return;                            \
			l_ = t_;                                   \
		}                                                  \
		l_;                                                \
	})

#define LD(S, lin)                                                            \
	({                                                                    \
		const struct tlbe *e_ = soft_tlbe(cpu, (lin));                \
		it##S v_;                                                     \
		if (likely((lin)-e_->rtag <= 4096 - S / 8)) {                 \
			v_ = *(                                               \
			    volatile pt##S *)(uintptr_t)((lin) + e_->addend); \
		} else if (slow != NULL) {                                    \
			slow(cpu, in);                                        \
			return;                                               \
		} else {                                                      \
			it##S t_;                                             \
			if (!soft_ld_slow(cpu, in, (lin), S / 8, &t_))        \
				return;                                       \
			v_ = t_;                                              \
		}                                                             \
		v_;                                                           \
	})

#define ST(S, lin, v)                                                        \
	do {                                                                 \
		const struct tlbe *e_ = soft_tlbe(cpu, (lin));               \
		if (likely((lin)-e_->wtag <= 4096 - S / 8)) {                \
			*(volatile pt##S *)(uintptr_t)((lin) + e_->addend) = \
			    (it##S)(v);                                      \
		} else if (slow != NULL) {                                   \
			slow(cpu, in);                                       \
			return;                                              \
		} else {                                                     \
			it##S t_ = (it##S)(v);                               \
			if (!soft_st_slow(cpu, in, (lin), S / 8, &t_))       \
				return;                                      \
		}                                                            \
	} while (0)

/* Pointer for a read-modify-write; NULL in the slow version only. */
#define RMWP(S, lin)                                                   \
	({                                                             \
		const struct tlbe *e_ = soft_tlbe(cpu, (lin));         \
		pt##S *p_;                                             \
		if (likely((lin)-e_->wtag <= 4096 - S / 8 &&           \
			(lin)-e_->rtag <= 4096 - S / 8)) {             \
			p_ = (pt##S *)(uintptr_t)((lin) + e_->addend); \
		} else if (slow != NULL) {                             \
			slow(cpu, in);                                 \
			return;                                        \
		} else {                                               \
			p_ = soft_rmw_slow(cpu, (lin), S / 8);         \
		}                                                      \
		p_;                                                    \
	})

/*
 * The read-modify-write that no pointer can do (MMIO, page crossing, code
 * page): fn computes the new value and flags, which are committed last.
 * False: the instruction must stop.
 */
typedef uint64_t (*int_rmw_fn)(uint64_t d, uint64_t s, uint16_t *cc);
bool int_rmw(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    int_rmw_fn fn, uint64_t s, bool lock);
#define RMW_SLOW(S, lin, fn, s, lock)                                   \
	do {                                                            \
		if (!int_rmw(cpu, in, (lin), S / 8, (fn), (s), (lock))) \
			return;                                         \
		SOFT_NEXT(cpu, in);                                     \
	} while (0)

/*
 * Linear address of seg:off (implicit operands: stack, strings) with the
 * checks of the running mode.  False: #SS(0) or #GP(0) was raised.
 */
bool int_seg_lin(struct softcpu *cpu, const struct insn *in, int seg,
    uint64_t off, int size, bool write, uint64_t *lin);
/* The same question without raising anything; any size below 4 GiB. */
bool int_seg_ok(const struct softcpu *cpu, int seg, uint64_t off, uint64_t size,
    bool write, uint64_t *lin);
bool int_ld(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    uint64_t *val);
bool int_st(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    uint64_t val);
/* Is off a legal target of a near transfer?  False: #GP(0) was raised. */
bool int_code_ok(struct softcpu *cpu, const struct insn *in, uint64_t off);

static inline bool
int_canonical(uint64_t a)
{
	return ((uint64_t)((int64_t)(a << 16) >> 16) == a);
}

static inline uint64_t
int_mask(unsigned bytes)
{
	return (bytes == 8 ? ~0ull : (1ull << (bytes * 8)) - 1);
}

/* Write a counter or pointer register of asize bytes. */
static inline void
int_setreg(struct softcpu *cpu, unsigned asize, int r, uint64_t v)
{
	if (asize == 8)
		WR64(r, v);
	else if (asize == 4)
		WR32(r, v);
	else
		WR16(r, v);
}

/* Host flags = guest flags: used as the head of inline asm with cc in AX. */
#define ASM_SETFLAGS "addb $0x7f, %%al\n\tsahf\n\t"
#define ASM_GETFLAGS "\n\tlahf\n\tseto %%al"

/* Conditions on LAHF;SETO flags, in encoding order of the even codes. */
#define CND_O(c) (((c)&CC_OF) != 0)
#define CND_B(c) (((c)&CC_CF) != 0)
#define CND_Z(c) (((c)&CC_ZF) != 0)
#define CND_BE(c) (((c) & (CC_CF | CC_ZF)) != 0)
#define CND_S(c) (((c)&CC_SF) != 0)
#define CND_P(c) (((c)&CC_PF) != 0)
#define CND_L(c) (((((c) >> 15) ^ (c)) & 1) != 0)
#define CND_LE(c) (CND_L(c) || CND_Z(c))
#define CND_NO(c) (!CND_O(c))
#define CND_NB(c) (!CND_B(c))
#define CND_NZ(c) (!CND_Z(c))
#define CND_NBE(c) (!CND_BE(c))
#define CND_NS(c) (!CND_S(c))
#define CND_NP(c) (!CND_P(c))
#define CND_NL(c) (!CND_L(c))
#define CND_NLE(c) (!CND_LE(c))
/* clang-format off */
#define FOR_COND(X) \
	X(O) X(NO) X(B) X(NB) X(Z) X(NZ) X(BE) X(NBE) X(S) X(NS) X(P) \
	X(NP) X(L) X(NL) X(LE) X(NLE)
/* clang-format on */

/* RFLAGS as soft_get_rflags() has them, without the call. */
#define INT_RFLAGS(cpu)                              \
	(((cpu)->rfl & ~FL_ARITH) | 2u |             \
	    (((cpu)->cc & (CC_ALL & ~CC_OF)) >> 8) | \
	    (((cpu)->cc & CC_OF) << 11))

/* Operand size of an instruction that has no byte form. */
static inline unsigned
int_osize(const struct softcpu *cpu, const struct insn *in)
{
	if (in->flags & IN_OS16)
		return (2);
	return ((cpu->mode & MODE_64) ? 8 : 4);
}

/* ---- stack (op_stack.c): the slow ways, any mode ---- */
/* Bytes of the stack pointer. */
static inline unsigned
int_spsize(const struct softcpu *cpu)
{
	if (cpu->mode & MODE_64)
		return (8);
	return ((cpu->mode & MODE_SS32) ? 4 : 2);
}
/* Commits rSP.  False: nothing changed. */
bool int_push(
    struct softcpu *cpu, const struct insn *in, unsigned size, uint64_t val);
/* Read at rSP + skip; the caller commits by int_addsp(). */
bool int_peek(struct softcpu *cpu, const struct insn *in, unsigned size,
    unsigned skip, uint64_t *val);
void int_addsp(struct softcpu *cpu, int64_t n);
/* Which stack handler: 64-bit, flat 32-bit, any. */
enum { STK_64, STK_F32, STK_ANY };
static inline int
int_stk(const struct soft_dec *d)
{
	if ((d->mode & MODE_64) && d->opsize == 8)
		return (STK_64);
	if ((d->mode & (MODE_64 | MODE_FLAT | MODE_SS32 | MODE_CSFLAT)) ==
		(MODE_FLAT | MODE_SS32 | MODE_CSFLAT) &&
	    d->opsize == 4)
		return (STK_F32);
	return (STK_ANY);
}

/* Index of an operand size in tables: 0 to 3. */
static inline unsigned
int_szi(const struct soft_dec *d)
{
	return ((unsigned)__builtin_ctz(d->opsize));
}

/* ---- near transfers (op_branch.c) ---- */
void int_jump_checked(struct softcpu *cpu, const struct insn *in, uint64_t rip);
/*
 * End the block at rip.  A target that the jump cache knows has been fetched
 * in this mode and is legal.  64-bit indirect targets must have been checked
 * before: a jump cache tag has no room for bits 63:48.
 */
INT_INLINE void
int_jump(struct softcpu *cpu, const struct insn *in, uint64_t rip)
{
	uint64_t lin = cpu->csbase + rip;

	if (likely(soft_jc(cpu, lin)->tag == (lin ^ cpu->modekey)))
		soft_goto(cpu, rip);
	else
		int_jump_checked(cpu, in, rip);
}
/*
 * The same for direct jumps, by the distance from the block's first byte:
 * cheaper, as no rip is needed on a hit.  A distance over 4 GiB or below 0
 * misses and is cut to the mode's width then.
 */
INT_INLINE void
int_jump_rel(struct softcpu *cpu, const struct insn *in, int64_t dist)
{
#if SOFT_CHAIN
	uint64_t lin = cpu->gpr[R_BLOCK] + (uint64_t)dist;
	const struct jcent *j = soft_jc(cpu, lin);

	if (likely(j->tag == (lin ^ cpu->modekey)) &&
	    likely(atomic_load_explicit(cpu->pending, memory_order_relaxed) ==
		0)) {
		cpu->gpr[R_BLOCK] = lin;
		j->blk->insn[0].op(cpu, &j->blk->insn[0]);
		return;
	}
#endif
	int_jump_checked(
	    cpu, in, cpu->gpr[R_BLOCK] + (uint64_t)dist - cpu->csbase);
}
/* A conditional jump that is not taken, from its record. */
INT_INLINE void
int_fall(struct softcpu *cpu, const struct insn *in)
{
#if SOFT_CHAIN
	uint64_t lin = cpu->gpr[R_BLOCK] + in->off + in->len;
	const struct jcent *j = soft_jc(cpu, lin);

	if (likely(j->tag == (lin ^ cpu->modekey)) &&
	    likely(atomic_load_explicit(cpu->pending, memory_order_relaxed) ==
		0)) {
		cpu->gpr[R_BLOCK] = lin;
		j->blk->insn[0].op(cpu, &j->blk->insn[0]);
		return;
	}
#endif
	cpu->rip = soft_rip_next(cpu, in);
}

/* The handler of an ALU operation whose flags live (op_alu.c). */
enum { I_ADD, I_OR, I_ADC, I_SBB, I_AND, I_SUB, I_XOR, I_CMP, I_TEST };
enum { F_RR, F_RI, F_RM, F_MR, F_MI, F_COUNT };
soft_op int_alu_op(unsigned op, unsigned form, unsigned z);

/* A count of zero leaves the flags alone: fl_read of optab_int.def. */
#define FL_IMM0 0x2u

soft_op ibind_nop(const struct soft_dec *d, struct insn *in);

/* Prototypes of all binders that the rows name. */
#define OP(map, opcode, prefix, reg, mod, name, operands, imm, attr, feature, \
    fl_read, fl_write, fl_undef, bind, arg)                                   \
	soft_op bind(const struct soft_dec *d, struct insn *in);
#include "optab_int.def"
#undef OP

#endif
