/*
 * ADD OR ADC SBB AND SUB XOR CMP TEST, NOT NEG INC DEC, in all forms and
 * sizes.  Flags come from the same host instruction; the y variants belong
 * to instructions whose flags nobody reads.
 */
#include "int_local.h"

/* x: value and flags. */
#define X_ALU(op, S)                                               \
	INT_INLINE it##S x_##op##S(it##S d, it##S s, uint16_t *cc) \
	{                                                          \
		uint32_t f;                                        \
		__asm__(#op " %2, %0" ASM_GETFLAGS                 \
			: "+q"(d), "=&a"(f)                        \
			: "q"(s)                                   \
			: "cc");                                   \
		*cc = (uint16_t)f;                                 \
		return (d);                                        \
	}
#define X_ALUC(op, S)                                               \
	INT_INLINE it##S x_##op##S(it##S d, it##S s, uint16_t *cc)  \
	{                                                           \
		uint32_t f;                                         \
		__asm__("btw $8, %3\n\t" #op " %2, %0" ASM_GETFLAGS \
			: "+q"(d), "=&a"(f)                         \
			: "q"(s), "m"(*cc)                          \
			: "cc");                                    \
		*cc = (uint16_t)f;                                  \
		return (d);                                         \
	}
/* y: value alone. */
#define Y_ALU(op, S, expr)                                         \
	INT_INLINE it##S y_##op##S(it##S d, it##S s, uint16_t *cc) \
	{                                                          \
		(void)cc;                                          \
		return ((it##S)(expr));                            \
	}
/* f: the out-of-line form for int_rmw(). */
#define F_ALU(op, S)                                                    \
	static uint64_t f_##op##S(uint64_t d, uint64_t s, uint16_t *cc) \
	{                                                               \
		return (x_##op##S((it##S)d, (it##S)s, cc));             \
	}
/* l: locked, on memory. */
#define L_ALU(op, S, head)                                                  \
	INT_INLINE void l_##op##S(volatile pt##S *p, it##S s, uint16_t *cc) \
	{                                                                   \
		uint32_t f;                                                 \
		__asm__ volatile(head "lock; " #op " %2, %1" ASM_GETFLAGS   \
				 : "=&a"(f), "+m"(*p)                       \
				 : "q"(s), "m"(*cc)                         \
				 : "cc", "memory");                         \
		*cc = (uint16_t)f;                                          \
	}

#define CARRY ((*cc >> 8) & 1)
#define CORE_SIZE(S)                                                         \
	X_ALU(add, S)                                                        \
	X_ALU(or, S)                                                         \
	X_ALUC(adc, S)                                                       \
	X_ALUC(sbb, S)                                                       \
	X_ALU(and, S)                                                        \
	X_ALU(sub, S)                                                        \
	X_ALU(xor, S) X_ALU(cmp, S) X_ALU(test, S) Y_ALU(add, S, d + s)      \
	    Y_ALU(or, S, d | s) Y_ALU(adc, S, d + s + CARRY)                 \
		Y_ALU(sbb, S, d - s - CARRY) Y_ALU(and, S, d &s) Y_ALU(      \
		    sub, S, d - s) Y_ALU(xor, S, d ^ s) F_ALU(add, S)        \
		    F_ALU(or, S) F_ALU(adc, S) F_ALU(sbb, S) F_ALU(and, S)   \
			F_ALU(sub, S) F_ALU(xor, S) L_ALU(add, S, "")        \
			    L_ALU(or, S, "") L_ALU(adc, S, "btw $8, %3\n\t") \
				L_ALU(sbb, S, "btw $8, %3\n\t")              \
				    L_ALU(and, S, "") L_ALU(sub, S, "")      \
					L_ALU(xor, S, "")
CORE_SIZE(8)
CORE_SIZE(16)
CORE_SIZE(32)
CORE_SIZE(64)

/* v: x or y.  rm is the destination of rr and ri. */
#define FORMS_V(v, op, S)                                                   \
	DEF_REG(op_##op##_rr##S##v)                                         \
	{                                                                   \
		WR##S(in->rm,                                               \
		    v##_##op##S(RD##S(in->rm), RD##S(in->reg), &cpu->cc));  \
		SOFT_NEXT(cpu, in);                                         \
	}                                                                   \
	DEF_REG(op_##op##_ri##S##v)                                         \
	{                                                                   \
		WR##S(in->rm,                                               \
		    v##_##op##S(                                            \
			RD##S(in->rm), (it##S)(int64_t)in->imm, &cpu->cc)); \
		SOFT_NEXT(cpu, in);                                         \
	}                                                                   \
	DEF_OP(op_##op##_rm##S##v)                                          \
	{                                                                   \
		uint64_t lin = LIN(S / 8, false);                           \
		it##S s = LD(S, lin);                                       \
                                                                            \
		WR##S(in->reg, v##_##op##S(RD##S(in->reg), s, &cpu->cc));   \
		SOFT_NEXT(cpu, in);                                         \
	}                                                                   \
	DEF_OP(op_##op##_mr##S##v)                                          \
	{                                                                   \
		uint64_t lin = LIN(S / 8, true);                            \
		volatile pt##S *p = RMWP(S, lin);                           \
                                                                            \
		if (slow == NULL && p == NULL)                              \
			RMW_SLOW(S, lin, f_##op##S, RD##S(in->reg), false); \
		*p = v##_##op##S(*p, RD##S(in->reg), &cpu->cc);             \
		SOFT_NEXT(cpu, in);                                         \
	}                                                                   \
	DEF_OP(op_##op##_mi##S##v)                                          \
	{                                                                   \
		uint64_t lin = LIN(S / 8, true);                            \
		volatile pt##S *p = RMWP(S, lin);                           \
		it##S s = (it##S)(int64_t)in->imm;                          \
                                                                            \
		if (slow == NULL && p == NULL)                              \
			RMW_SLOW(S, lin, f_##op##S, s, false);              \
		*p = v##_##op##S(*p, s, &cpu->cc);                          \
		SOFT_NEXT(cpu, in);                                         \
	}
#define FORMS_L(op, S)                                                     \
	DEF_OP(op_##op##_lr##S)                                            \
	{                                                                  \
		uint64_t lin = LIN(S / 8, true);                           \
		volatile pt##S *p = RMWP(S, lin);                          \
                                                                           \
		if (slow == NULL && p == NULL)                             \
			RMW_SLOW(S, lin, f_##op##S, RD##S(in->reg), true); \
		l_##op##S(p, RD##S(in->reg), &cpu->cc);                    \
		SOFT_NEXT(cpu, in);                                        \
	}                                                                  \
	DEF_OP(op_##op##_li##S)                                            \
	{                                                                  \
		uint64_t lin = LIN(S / 8, true);                           \
		volatile pt##S *p = RMWP(S, lin);                          \
		it##S s = (it##S)(int64_t)in->imm;                         \
                                                                           \
		if (slow == NULL && p == NULL)                             \
			RMW_SLOW(S, lin, f_##op##S, s, true);              \
		l_##op##S(p, s, &cpu->cc);                                 \
		SOFT_NEXT(cpu, in);                                        \
	}
/* CMP and TEST: no destination. */
#define FORMS_C(op, S)                                                       \
	DEF_REG(op_##op##_rr##S)                                             \
	{                                                                    \
		x_##op##S(RD##S(in->rm), RD##S(in->reg), &cpu->cc);          \
		SOFT_NEXT(cpu, in);                                          \
	}                                                                    \
	DEF_REG(op_##op##_ri##S)                                             \
	{                                                                    \
		x_##op##S(RD##S(in->rm), (it##S)(int64_t)in->imm, &cpu->cc); \
		SOFT_NEXT(cpu, in);                                          \
	}                                                                    \
	DEF_OP(op_##op##_rm##S)                                              \
	{                                                                    \
		uint64_t lin = LIN(S / 8, false);                            \
		it##S s = LD(S, lin);                                        \
                                                                             \
		x_##op##S(RD##S(in->reg), s, &cpu->cc);                      \
		SOFT_NEXT(cpu, in);                                          \
	}                                                                    \
	DEF_OP(op_##op##_mr##S)                                              \
	{                                                                    \
		uint64_t lin = LIN(S / 8, false);                            \
		it##S s = LD(S, lin);                                        \
                                                                             \
		x_##op##S(s, RD##S(in->reg), &cpu->cc);                      \
		SOFT_NEXT(cpu, in);                                          \
	}                                                                    \
	DEF_OP(op_##op##_mi##S)                                              \
	{                                                                    \
		uint64_t lin = LIN(S / 8, false);                            \
		it##S s = LD(S, lin);                                        \
                                                                             \
		x_##op##S(s, (it##S)(int64_t)in->imm, &cpu->cc);             \
		SOFT_NEXT(cpu, in);                                          \
	}
#define FOR_ALUW(X, ...)    \
	X(add, __VA_ARGS__) \
	X(or, __VA_ARGS__)  \
	X(adc, __VA_ARGS__) \
	X(sbb, __VA_ARGS__) \
	X(and, __VA_ARGS__) X(sub, __VA_ARGS__) X(xor, __VA_ARGS__)
#define ALL_FORMS(op, S) FORMS_V(x, op, S) FORMS_V(y, op, S) FORMS_L(op, S)
#define ALL_SIZE(S) FOR_ALUW(ALL_FORMS, S) FORMS_C(cmp, S) FORMS_C(test, S)
ALL_SIZE(8)
ALL_SIZE(16)
ALL_SIZE(32)
ALL_SIZE(64)

#define T_FORM(op, f, v)                                       \
	{                                                      \
		op_##op##_##f##8##v, op_##op##_##f##16##v,     \
		    op_##op##_##f##32##v, op_##op##_##f##64##v \
	}
#define T_OPV(op, v)                                                     \
	{                                                                \
		T_FORM(op, rr, v), T_FORM(op, ri, v), T_FORM(op, rm, v), \
		    T_FORM(op, mr, v), T_FORM(op, mi, v)                 \
	}
#define T_OPX(op) T_OPV(op, x)
#define T_OPY(op) T_OPV(op, y)
#define T_OPL(op)                                  \
	{                                          \
		T_FORM(op, lr, ), T_FORM(op, li, ) \
	}
/* [dead][op]: ADD OR ADC SBB AND SUB XOR CMP TEST */
static const soft_op alu_tab[2][9][F_COUNT][4] = {
	{ T_OPX(add), T_OPX(or), T_OPX(adc), T_OPX(sbb), T_OPX(and), T_OPX(sub),
	    T_OPX(xor), T_OPV(cmp, ), T_OPV(test, ) },
	{ T_OPY(add), T_OPY(or), T_OPY(adc), T_OPY(sbb), T_OPY(and), T_OPY(sub),
	    T_OPY(xor), T_OPV(cmp, ), T_OPV(test, ) },
};
static const soft_op alu_locked[7][2][4] = {
	T_OPL(add),
	T_OPL(or),
	T_OPL(adc),
	T_OPL(sbb),
	T_OPL(and),
	T_OPL(sub),
	T_OPL(xor),
};

soft_op
int_alu_op(unsigned op, unsigned form, unsigned z)
{
	return (alu_tab[0][op][form][z]);
}

/* arg: operation; operand order as the row's opcode says (bits 2:0). */
static soft_op
alu_bind(const struct soft_dec *d, struct insn *in, unsigned op, int form)
{
	unsigned z = int_szi(d);

	if (d->lock && op < 7)
		return (alu_locked[op][form == F_MI][z]);
	return (alu_tab[d->flags_dead][op][form][z]);
}

soft_op
ibind_alu(const struct soft_dec *d, struct insn *in)
{
	uint8_t t;

	if (d->opcode >= 0x80)
		return (alu_bind(d, in, d->row->arg, d->mem ? F_MI : F_RI));
	if ((d->opcode & 7) >= 4) {
		in->rm = 0;
		return (alu_bind(d, in, d->row->arg, F_RI));
	}
	if (d->mem)
		return (alu_bind(
		    d, in, d->row->arg, (d->opcode & 2) ? F_RM : F_MR));
	if (d->opcode & 2) {
		t = in->rm;
		in->rm = in->reg;
		in->reg = t;
	}
	return (alu_bind(d, in, d->row->arg, F_RR));
}

soft_op
ibind_test(const struct soft_dec *d, struct insn *in)
{
	if (d->opcode == 0xa8 || d->opcode == 0xa9) {
		in->rm = 0;
		return (alu_bind(d, in, 8, F_RI));
	}
	if (d->opcode >= 0xf6)
		return (alu_bind(d, in, 8, d->mem ? F_MI : F_RI));
	return (alu_bind(d, in, 8, d->mem ? F_MR : F_RR));
}

/* ---- one operand ---- */
#define X_UN(op, S, head)                                                    \
	INT_INLINE it##S u_##op##S(it##S d, uint16_t *cc)                    \
	{                                                                    \
		uint32_t f;                                                  \
		__asm__(head #op " %0" ASM_GETFLAGS                          \
			: "+q"(d), "=&a"(f)                                  \
			: "m"(*cc)                                           \
			: "cc");                                             \
		*cc = (uint16_t)f;                                           \
		return (d);                                                  \
	}                                                                    \
	INT_INLINE void ul_##op##S(volatile pt##S *p, uint16_t *cc)          \
	{                                                                    \
		uint32_t f;                                                  \
		__asm__ volatile(head "lock; " #op SFX##S " %1" ASM_GETFLAGS \
				 : "=&a"(f), "+m"(*p)                        \
				 : "m"(*cc)                                  \
				 : "cc", "memory");                          \
		*cc = (uint16_t)f;                                           \
	}
#define SFX8 "b"
#define SFX16 "w"
#define SFX32 "l"
#define SFX64 "q"
#define X_NOT(S)                                                   \
	INT_INLINE it##S u_not##S(it##S d, uint16_t *cc)           \
	{                                                          \
		(void)cc;                                          \
		return ((it##S) ~d);                               \
	}                                                          \
	INT_INLINE void ul_not##S(volatile pt##S *p, uint16_t *cc) \
	{                                                          \
		(void)cc;                                          \
		__asm__ volatile("lock; not" SFX##S " %0"          \
				 : "+m"(*p)                        \
				 :                                 \
				 : "memory");                      \
	}
#define UN_FORMS(op, S)                                                  \
	static uint64_t uf_##op##S(uint64_t d, uint64_t s, uint16_t *cc) \
	{                                                                \
		(void)s;                                                 \
		return (u_##op##S((it##S)d, cc));                        \
	}                                                                \
	DEF_REG(op_##op##_r##S)                                          \
	{                                                                \
		WR##S(in->rm, u_##op##S(RD##S(in->rm), &cpu->cc));       \
		SOFT_NEXT(cpu, in);                                      \
	}                                                                \
	DEF_OP(op_##op##_m##S)                                           \
	{                                                                \
		uint64_t lin = LIN(S / 8, true);                         \
		volatile pt##S *p = RMWP(S, lin);                        \
                                                                         \
		if (slow == NULL && p == NULL)                           \
			RMW_SLOW(S, lin, uf_##op##S, 0, false);          \
		*p = u_##op##S(*p, &cpu->cc);                            \
		SOFT_NEXT(cpu, in);                                      \
	}                                                                \
	DEF_OP(op_##op##_l##S)                                           \
	{                                                                \
		uint64_t lin = LIN(S / 8, true);                         \
		volatile pt##S *p = RMWP(S, lin);                        \
                                                                         \
		if (slow == NULL && p == NULL)                           \
			RMW_SLOW(S, lin, uf_##op##S, 0, true);           \
		ul_##op##S(p, &cpu->cc);                                 \
		SOFT_NEXT(cpu, in);                                      \
	}
/* INC and DEC leave CF alone: bring the guest's into the host's first. */
#define UN_SIZE(S)                                             \
	X_UN(inc, S, "btw $8, %2\n\t")                         \
	X_UN(dec, S, "btw $8, %2\n\t")                         \
	X_UN(neg, S, "")                                       \
	X_NOT(S)                                               \
	UN_FORMS(inc, S)                                       \
	UN_FORMS(dec, S)                                       \
	UN_FORMS(neg, S) UN_FORMS(not, S) DEF_REG(op_inc_y##S) \
	{                                                      \
		WR##S(in->rm, RD##S(in->rm) + 1);              \
		SOFT_NEXT(cpu, in);                            \
	}                                                      \
	DEF_REG(op_dec_y##S)                                   \
	{                                                      \
		WR##S(in->rm, RD##S(in->rm) - 1);              \
		SOFT_NEXT(cpu, in);                            \
	}                                                      \
	DEF_REG(op_neg_y##S)                                   \
	{                                                      \
		WR##S(in->rm, -(uint64_t)RD##S(in->rm));       \
		SOFT_NEXT(cpu, in);                            \
	}
UN_SIZE(8)
UN_SIZE(16)
UN_SIZE(32)
UN_SIZE(64)

#define T_UN(op)                                                  \
	{                                                         \
		T_FORM(op, r, ), T_FORM(op, m, ), T_FORM(op, l, ) \
	}
enum { U_INC, U_DEC, U_NOT, U_NEG };
static const soft_op un_tab[4][3][4] = {
	T_UN(inc),
	T_UN(dec),
	T_UN(not ),
	T_UN(neg),
};
static const soft_op un_dead[4][4] = {
	T_FORM(inc, y, ),
	T_FORM(dec, y, ),
	T_FORM(not, r, ),
	T_FORM(neg, y, ),
};

/* arg: U_*. */
soft_op
ibind_unary(const struct soft_dec *d, struct insn *in)
{
	unsigned z = int_szi(d);

	if (d->mem)
		return (un_tab[d->row->arg][d->lock ? 2 : 1][z]);
	if (d->flags_dead)
		return (un_dead[d->row->arg][z]);
	return (un_tab[d->row->arg][0][z]);
}
