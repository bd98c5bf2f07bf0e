/*
 * Near transfers: JMP Jcc CALL RET LOOP JCXZ, and BOUND.
 */
#include "int_local.h"

__attribute__((__cold__)) void
int_jump_checked(struct softcpu *cpu, const struct insn *in, uint64_t rip)
{
	if (!(cpu->mode & MODE_64))
		rip = (uint32_t)rip;
	if (int_code_ok(cpu, in, rip))
		soft_goto(cpu, rip);
}

#define TRUNC16(v) ((uint16_t)(v))
#define TRUNC32(v) ((uint32_t)(v))
#define TRUNC64(v) (v)
#define TARGET(S) TRUNC##S(soft_rip_next(cpu, in) + (uint64_t)(int64_t)in->imm)

/* ---- Jcc ---- */
/* disp: the target's distance from the block's first byte. */
#define JCC(c)                                                              \
	DEF_REG(op_j##c)                                                    \
	{                                                                   \
		if (CND_##c(cpu->cc))                                       \
			int_jump_rel(cpu, in, in->disp);                    \
		else                                                        \
			int_fall(cpu, in);                                  \
	}                                                                   \
	DEF_REG(op_j##c##_16)                                               \
	{                                                                   \
		if (CND_##c(cpu->cc))                                       \
			int_jump(cpu, in, TARGET(16));                      \
		else                                                        \
			int_fall(cpu, in);                                  \
	}                                                                   \
	DEF_REG(op_j##c##_far)                                              \
	{                                                                   \
		if (CND_##c(cpu->cc))                                       \
			int_jump_rel(                                       \
			    cpu, in, (int64_t)in->imm + in->off + in->len); \
		else                                                        \
			int_fall(cpu, in);                                  \
	}
FOR_COND(JCC)
#define T_JCC(c) { op_j##c##_16, op_j##c, op_j##c##_far },
static const soft_op jcc_tab[16][3] = { FOR_COND(T_JCC) };

soft_op
ibind_jcc(const struct soft_dec *d, struct insn *in)
{
	int64_t dist = (int64_t)in->imm + in->off + in->len;

	in->disp = (int32_t)dist;
	return (jcc_tab[d->opcode & 15][d->opsize == 2 ? 0
		: in->disp == dist		       ? 1
						       : 2]);
}

/* ---- JMP ---- */
DEF_REG(op_jmp_i16)
{
	int_jump(cpu, in, TARGET(16));
}
DEF_REG(op_jmp_i)
{
	int_jump_rel(cpu, in, (int64_t)in->imm + in->off + in->len);
}
#define JMP_SIZE(S)                               \
	DEF_REG(op_jmp_r##S)                      \
	{                                         \
		it##S v = RD##S(in->rm);          \
                                                  \
		CHECK##S(v);                      \
		int_jump(cpu, in, v);             \
	}                                         \
	DEF_OP(op_jmp_m##S)                       \
	{                                         \
		uint64_t lin = LIN(S / 8, false); \
		it##S v = LD(S, lin);             \
                                                  \
		CHECK##S(v);                      \
		int_jump(cpu, in, v);             \
	}
#define CHECK16(v) ((void)0)
#define CHECK32(v) ((void)0)
#define CHECK64(v)                                        \
	do {                                              \
		if (unlikely(!int_canonical(v))) {        \
			soft_fault_err(cpu, in, X_GP, 0); \
			return;                           \
		}                                         \
	} while (0)
JMP_SIZE(16)
JMP_SIZE(32)
JMP_SIZE(64)

soft_op
ibind_jmp(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[3][3] = {
		{ op_jmp_i16, op_jmp_i, op_jmp_i },
		{ op_jmp_r16, op_jmp_r32, op_jmp_r64 },
		{ op_jmp_m16, op_jmp_m32, op_jmp_m64 },
	};
	unsigned form = d->opcode != 0xff ? 0 : d->mem ? 2 : 1;

	return (tab[form][int_szi(d) - 1]);
}

/* ---- CALL: the target is checked before anything is pushed ---- */
DEF_OP(op_call_i_64)
{
	uint64_t sp = RD64(R_SP) - 8, to = TARGET(64);

	CHECK64(to);
	ST(64, sp, soft_rip_next(cpu, in));
	WR64(R_SP, sp);
	soft_goto(cpu, to);
}
DEF_OP(op_call_r_64)
{
	uint64_t sp = RD64(R_SP) - 8, to = RD64(in->rm);

	CHECK64(to);
	ST(64, sp, soft_rip_next(cpu, in));
	WR64(R_SP, sp);
	soft_goto(cpu, to);
}
DEF_OP(op_call_m_64)
{
	uint64_t lin = LIN(8, false);
	it64 to = LD(64, lin);
	uint64_t sp = RD64(R_SP) - 8;

	CHECK64(to);
	if (slow == NULL) {
		if (!int_push(cpu, in, 8, soft_rip_next(cpu, in)))
			return;
	} else {
		ST(64, sp, soft_rip_next(cpu, in));
		WR64(R_SP, sp);
	}
	soft_goto(cpu, to);
}
DEF_OP(op_call_i_f32)
{
	uint64_t sp = (uint32_t)(RD32(R_SP) - 4);

	ST(32, sp, soft_rip_next(cpu, in));
	WR32(R_SP, sp);
	soft_goto(cpu, TARGET(32));
}
DEF_OP(op_call_r_f32)
{
	uint64_t sp = (uint32_t)(RD32(R_SP) - 4), to = RD32(in->rm);

	ST(32, sp, soft_rip_next(cpu, in));
	WR32(R_SP, sp);
	soft_goto(cpu, to);
}

INT_COLD void
call_any(struct softcpu *cpu, const struct insn *in, uint64_t to)
{
	if (!int_code_ok(cpu, in, to) ||
	    !int_push(cpu, in, int_osize(cpu, in), soft_rip_next(cpu, in)))
		return;
	soft_goto(cpu, to);
}

#define CALL_ANY(S)                               \
	DEF_REG(op_call_i_any##S)                 \
	{                                         \
		call_any(cpu, in, TARGET(S));     \
	}                                         \
	DEF_REG(op_call_r_any##S)                 \
	{                                         \
		call_any(cpu, in, RD##S(in->rm)); \
	}                                         \
	DEF_REG(op_call_m_any##S)                 \
	{                                         \
		const soft_op slow = NULL;        \
		uint64_t lin = LIN(S / 8, false); \
		it##S to = LD(S, lin);            \
                                                  \
		call_any(cpu, in, to);            \
	}
CALL_ANY(16)
CALL_ANY(32)

soft_op
ibind_call(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[3][4] = {
		{ op_call_i_64, op_call_i_f32, op_call_i_any16,
		    op_call_i_any32 },
		{ op_call_r_64, op_call_r_f32, op_call_r_any16,
		    op_call_r_any32 },
		{ op_call_m_64, op_call_m_any32, op_call_m_any16,
		    op_call_m_any32 },
	};
	unsigned form = d->opcode != 0xff ? 0 : d->mem ? 2 : 1;
	int stk = int_stk(d);

	if (form != 2)
		in->flags |= IN_SS;
	if (stk == STK_ANY && d->opsize == 4)
		stk++;
	return (tab[form][stk]);
}

/* ---- RET, RET imm16 (imm is 0 without one) ---- */
DEF_OP(op_ret_64)
{
	uint64_t sp = RD64(R_SP);
	it64 to = LD(64, sp);

	CHECK64(to);
	WR64(R_SP, sp + 8 + (uint32_t)in->imm);
	soft_goto(cpu, to);
}
DEF_OP(op_ret_f32)
{
	uint64_t sp = RD32(R_SP);
	it32 to = LD(32, sp);

	WR32(R_SP, sp + 4 + (uint32_t)in->imm);
	soft_goto(cpu, to);
}

static bool
ret_any(struct softcpu *cpu, const struct insn *in)
{
	unsigned n = int_osize(cpu, in);
	uint64_t to;

	if (!int_peek(cpu, in, n, 0, &to) || !int_code_ok(cpu, in, to))
		return (false);
	int_addsp(cpu, (int64_t)n + in->imm);
	cpu->rip = to;
	return (true);
}

DEF_REG(op_ret_any)
{
	if (ret_any(cpu, in))
		soft_goto(cpu, cpu->rip);
}

soft_op
ibind_ret(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[3] = { op_ret_64, op_ret_f32, op_ret_any };

	in->flags |= IN_SS;
	return (tab[int_stk(d)]);
}

/* ---- LOOPNE LOOPE LOOP JCXZ; aux: address size ---- */
INT_INLINE void
loop_end(struct softcpu *cpu, const struct insn *in, bool taken)
{
	uint64_t rip = soft_rip_next(cpu, in);

	if (!taken) {
		soft_goto(cpu, rip);
		return;
	}
	rip += (uint64_t)(int64_t)in->imm;
	if (!(cpu->mode & MODE_64))
		rip = (in->flags & IN_OS16) ? (uint16_t)rip : (uint32_t)rip;
	int_jump(cpu, in, rip);
}

/* Is the counter zero behind this turn?  It must not be written before the
 * target is known to be legal. */
INT_INLINE uint64_t
loop_count(const struct softcpu *cpu, const struct insn *in, int dec)
{
	return ((cpu->gpr[R_CX] - (uint64_t)dec) & int_mask(in->aux));
}

INT_INLINE bool
loop_target_ok(struct softcpu *cpu, const struct insn *in)
{
	uint64_t rip;

	rip = soft_rip_next(cpu, in) + (uint64_t)(int64_t)in->imm;
	if (!(cpu->mode & MODE_64))
		rip = (in->flags & IN_OS16) ? (uint16_t)rip : (uint32_t)rip;
	return (int_code_ok(cpu, in, rip));
}

#define LOOP_OP(name, cond)                            \
	DEF_REG(op_##name)                             \
	{                                              \
		uint64_t n = loop_count(cpu, in, 1);   \
		bool taken = n != 0 && (cond);         \
                                                       \
		if (taken && !loop_target_ok(cpu, in)) \
			return;                        \
		int_setreg(cpu, in->aux, R_CX, n);     \
		loop_end(cpu, in, taken);              \
	}
LOOP_OP(loopne, CND_NZ(cpu->cc))
LOOP_OP(loope, CND_Z(cpu->cc))
LOOP_OP(loop, true)

DEF_REG(op_jcxz)
{
	loop_end(cpu, in, loop_count(cpu, in, 0) == 0);
}

soft_op
ibind_loop(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[4] = {
		op_loopne,
		op_loope,
		op_loop,
		op_jcxz,
	};

	in->aux = d->asize;
	return (tab[d->opcode & 3]);
}

/* ---- BOUND ---- */
#define BOUND_SIZE(S)                                                     \
	static bool bound##S(struct softcpu *cpu, const struct insn *in)  \
	{                                                                 \
		uint64_t lin, v;                                          \
		st##S i = (st##S)RD##S(in->reg), lo, hi;                  \
                                                                          \
		if (!soft_ea(cpu, in, S / 4, false, &lin) ||              \
		    !int_ld(cpu, in, lin, S / 8, &v))                     \
			return (false);                                   \
		lo = (st##S)v;                                            \
		if (!int_ld(cpu, in, (uint32_t)(lin + S / 8), S / 8, &v)) \
			return (false);                                   \
		hi = (st##S)v;                                            \
		if (i >= lo && i <= hi)                                   \
			return (true);                                    \
		soft_fault(cpu, in, X_BR);                                \
		return (false);                                           \
	}                                                                 \
	DEF_REG(op_bound##S)                                              \
	{                                                                 \
		if (bound##S(cpu, in))                                    \
			SOFT_NEXT(cpu, in);                               \
	}
BOUND_SIZE(16)
BOUND_SIZE(32)

soft_op
ibind_bound(const struct soft_dec *d, struct insn *in)
{
	return (d->opsize == 2 ? op_bound16 : op_bound32);
}
