/*
 * CMP, TEST, SUB, AND, ADD, DEC or INC together with the conditional jump
 * behind it.  The first record's handler does both; the jump's record stays
 * in place, for the slow way and for whoever enters there.  The host's flags
 * are kept for the guest (LAHF and SETO change none), then the host's own
 * conditional jump tests them.
 */
#include "int_local.h"

/* Condition codes worth a handler: O, NO, P, NP are not. */
#define CCN_B "c"
#define CCN_NB "nc"
#define CCN_Z "z"
#define CCN_NZ "nz"
#define CCN_BE "be"
#define CCN_NBE "a"
#define CCN_S "s"
#define CCN_NS "ns"
#define CCN_L "l"
#define CCN_NL "ge"
#define CCN_LE "le"
#define CCN_NLE "g"
/* clang-format off */
#define FOR_FCOND(X, ...) \
	X(B, __VA_ARGS__) X(NB, __VA_ARGS__) X(Z, __VA_ARGS__) \
	X(NZ, __VA_ARGS__) X(BE, __VA_ARGS__) X(NBE, __VA_ARGS__) \
	X(S, __VA_ARGS__) X(NS, __VA_ARGS__) X(L, __VA_ARGS__) \
	X(NL, __VA_ARGS__) X(LE, __VA_ARGS__) X(NLE, __VA_ARGS__)
/* clang-format on */
#define N_FCOND 12

#define PAIR_KEEP ASM_GETFLAGS "\n\tmovw %%ax, %1\n\tj"
#define PAIR_CMP(op, c, d, s)                                     \
	__asm__ goto(#op " %2, %0" PAIR_KEEP CCN_##c " %l[taken]" \
		     :                                            \
		     : "q"(d), "m"(cpu->cc), "q"(s)               \
		     : "rax", "cc", "memory"                      \
		     : taken)
#define PAIR_OP(op, c, d, s)                                      \
	__asm__ goto(#op " %2, %0" PAIR_KEEP CCN_##c " %l[taken]" \
		     : "+q"(d), "=m"(cpu->cc)                     \
		     : "q"(s)                                     \
		     : "rax", "cc"                                \
		     : taken)
/* INC and DEC take the guest's CF along. */
#define PAIR_UN(op, c, d)                                                      \
	__asm__ goto("btw $8, %1\n\t" #op " %0" PAIR_KEEP CCN_##c " %l[taken]" \
		     : "+q"(d), "+m"(cpu->cc)                                  \
		     :                                                         \
		     : "rax", "cc"                                             \
		     : taken)
#define PAIR_ENDS(wb)          \
	wb;                    \
	int_fall(cpu, in + 1); \
	return;                \
	taken:                 \
	wb;                    \
	int_jump_rel(cpu, in + 1, in[1].disp)

/* No TLB hit: the plain handler, then the jump's record. */
INT_COLD void
pair_miss(struct softcpu *cpu, const struct insn *in)
{
	int_alu_op(in->arg >> 8, (in->arg >> 4) & 15, in->arg & 15)(cpu, in);
}

#define IMM(S) ((it##S)(int64_t)in->imm)
#define P_REG(c, op, form, S, dst, src, DO) \
	DEF_REG(pr_##op##_##form##S##_##c)  \
	{                                   \
		it##S d = dst, s = src;     \
                                            \
		DO(op, c, S);               \
	}
#define WB_YES(op, c, S)      \
	PAIR_OP(op, c, d, s); \
	PAIR_ENDS(WR##S(in->rm, d))
#define WB_NO(op, c, S)        \
	PAIR_CMP(op, c, d, s); \
	PAIR_ENDS((void)0)
#define P_RRC(c, op, S, wb) \
	P_REG(c, op, rr, S, RD##S(in->rm), RD##S(in->reg), wb)
#define P_RIC(c, op, S, wb) P_REG(c, op, ri, S, RD##S(in->rm), IMM(S), wb)
/* rm compares register with memory, mr and mi memory with something. */
#define P_MEM(c, op, form, S, dst, src)                 \
	DEF_REG(pr_##op##_##form##S##_##c)              \
	{                                               \
		const soft_op slow = pair_miss;         \
		uint64_t lin = LIN(S / 8, false);       \
		it##S v = LD(S, lin), d = dst, s = src; \
                                                        \
		WB_NO(op, c, S);                        \
	}
#define P_RMC(c, op, S) P_MEM(c, op, rm, S, RD##S(in->reg), v)
#define P_MRC(c, op, S) P_MEM(c, op, mr, S, v, RD##S(in->reg))
#define P_MIC(c, op, S) P_MEM(c, op, mi, S, v, IMM(S))
#define P_UNC(c, op, S)                      \
	DEF_REG(pr_##op##_r##S##_##c)        \
	{                                    \
		it##S d = RD##S(in->rm);     \
                                             \
		PAIR_UN(op, c, d);           \
		PAIR_ENDS(WR##S(in->rm, d)); \
	}

#define P_CMP(S)                         \
	FOR_FCOND(P_RRC, cmp, S, WB_NO)  \
	FOR_FCOND(P_RIC, cmp, S, WB_NO)  \
	FOR_FCOND(P_RMC, cmp, S)         \
	FOR_FCOND(P_MRC, cmp, S)         \
	FOR_FCOND(P_MIC, cmp, S)         \
	FOR_FCOND(P_RRC, test, S, WB_NO) \
	FOR_FCOND(P_RIC, test, S, WB_NO) FOR_FCOND(P_MIC, test, S)
#define P_ALU(S)                         \
	FOR_FCOND(P_RRC, sub, S, WB_YES) \
	FOR_FCOND(P_RIC, sub, S, WB_YES) \
	FOR_FCOND(P_RRC, and, S, WB_YES) \
	FOR_FCOND(P_RIC, and, S, WB_YES) \
	FOR_FCOND(P_RRC, add, S, WB_YES) \
	FOR_FCOND(P_RIC, add, S, WB_YES) \
	FOR_FCOND(P_UNC, dec, S) FOR_FCOND(P_UNC, inc, S)
P_CMP(8)
P_CMP(16)
P_CMP(32)
P_CMP(64)
P_ALU(32)
P_ALU(64)

#define T_C(c, pre) pre##_##c,
#define T_ROW(pre)                  \
	{                           \
		FOR_FCOND(T_C, pre) \
	}
#define T_4(pre)                                                              \
	{                                                                     \
		T_ROW(pre##8), T_ROW(pre##16), T_ROW(pre##32), T_ROW(pre##64) \
	}
#define T_2(pre)                                             \
	{                                                    \
		{ 0 }, { 0 }, T_ROW(pre##32), T_ROW(pre##64) \
	}
typedef const soft_op pair_row[4][N_FCOND];
static pair_row pr_cmp[F_COUNT] = {
	T_4(pr_cmp_rr),
	T_4(pr_cmp_ri),
	T_4(pr_cmp_rm),
	T_4(pr_cmp_mr),
	T_4(pr_cmp_mi),
};
/* TEST of memory with a register is rare. */
static pair_row pr_test[F_COUNT] = {
	[F_RR] = T_4(pr_test_rr),
	[F_RI] = T_4(pr_test_ri),
	[F_MI] = T_4(pr_test_mi),
};
static pair_row pr_sub[2] = { T_2(pr_sub_rr), T_2(pr_sub_ri) };
static pair_row pr_and[2] = { T_2(pr_and_rr), T_2(pr_and_ri) };
static pair_row pr_add[2] = { T_2(pr_add_rr), T_2(pr_add_ri) };
static pair_row pr_un[2] = { T_2(pr_inc_r), T_2(pr_dec_r) };

/* Jcc opcode bits 3:0 -> column. */
static const int8_t pair_cond[16] = {
	-1,
	-1,
	0,
	1,
	2,
	3,
	4,
	5,
	6,
	7,
	-1,
	-1,
	8,
	9,
	10,
	11,
};

/* Which form the ALU binder chose; rr operands are in order already. */
static unsigned
alu_form(const struct soft_dec *d)
{
	if (d->opcode >= 0xf6 || (d->opcode >= 0x80 && d->opcode <= 0x83))
		return (d->mem ? F_MI : F_RI);
	if (d->opcode == 0xa8 || d->opcode == 0xa9)
		return (F_RI);
	if (d->opcode == 0x84 || d->opcode == 0x85)
		return (d->mem ? F_MR : F_RR);
	if ((d->opcode & 7) >= 4)
		return (F_RI);
	if (!d->mem)
		return (F_RR);
	return ((d->opcode & 2) ? F_RM : F_MR);
}

soft_op
soft_fuse(const struct soft_dec *a, const struct soft_dec *b, struct insn *ia,
    const struct insn *ib)
{
	int c = pair_cond[b->opcode & 15];
	unsigned z, form, op;

	if (a->row == NULL || b->row == NULL || a->lock || b->lock || c < 0 ||
	    b->row->bind != ibind_jcc || b->opsize == 2 ||
	    ib->disp != (int64_t)ib->imm + ib->off + ib->len)
		return (NULL);
	z = int_szi(a);
	if (a->row->bind == ibind_unary)
		return (a->row->arg > 1 || a->mem ? NULL
						  : pr_un[a->row->arg][z][c]);
	if (a->row->bind == ibind_test)
		op = I_TEST;
	else if (a->row->bind == ibind_alu)
		op = a->row->arg;
	else
		return (NULL);
	form = alu_form(a);
	ia->arg = op << 8 | form << 4 | z;
	if (op == I_CMP)
		return (pr_cmp[form][z][c]);
	if (op == I_TEST)
		return (pr_test[form][z][c]);
	if (form > F_RI)
		return (NULL);
	switch (op) {
	case I_SUB:
		return (pr_sub[form][z][c]);
	case I_AND:
		return (pr_and[form][z][c]);
	case I_ADD:
		return (pr_add[form][z][c]);
	default:
		return (NULL);
	}
}
