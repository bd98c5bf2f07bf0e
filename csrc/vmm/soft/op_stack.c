/*
 * PUSH POP in all forms, PUSHA POPA, PUSHF POPF, ENTER LEAVE.  Handlers
 * named _64 and _f32 are for flat stacks; _any takes SS, its width and its
 * limit into account.
 */
#include "int_local.h"

#define CR4_VME_BIT 0x1u

bool
int_push(
    struct softcpu *cpu, const struct insn *in, unsigned size, uint64_t val)
{
	unsigned w = int_spsize(cpu);
	uint64_t sp = (cpu->gpr[R_SP] - size) & int_mask(w), lin;

	if (!int_seg_lin(cpu, in, S_SS, sp, (int)size, true, &lin) ||
	    !int_st(cpu, in, lin, (int)size, val))
		return (false);
	int_setreg(cpu, w, R_SP, sp);
	return (true);
}

bool
int_peek(struct softcpu *cpu, const struct insn *in, unsigned size,
    unsigned skip, uint64_t *val)
{
	uint64_t sp, lin;

	sp = (cpu->gpr[R_SP] + skip) & int_mask(int_spsize(cpu));
	return (int_seg_lin(cpu, in, S_SS, sp, (int)size, false, &lin) &&
	    int_ld(cpu, in, lin, (int)size, val));
}

void
int_addsp(struct softcpu *cpu, int64_t n)
{
	int_setreg(cpu, int_spsize(cpu), R_SP, cpu->gpr[R_SP] + (uint64_t)n);
}

/* ---- PUSH ---- */
#define PUSH_VAL(name, expr)                                      \
	DEF_OP(op_push_##name##_64)                               \
	{                                                         \
		uint64_t sp = RD64(R_SP) - 8;                     \
                                                                  \
		ST(64, sp, expr);                                 \
		WR64(R_SP, sp);                                   \
		SOFT_NEXT(cpu, in);                               \
	}                                                         \
	DEF_OP(op_push_##name##_f32)                              \
	{                                                         \
		uint64_t sp = (uint32_t)(RD32(R_SP) - 4);         \
                                                                  \
		ST(32, sp, expr);                                 \
		WR32(R_SP, sp);                                   \
		SOFT_NEXT(cpu, in);                               \
	}                                                         \
	DEF_REG(op_push_##name##_any)                             \
	{                                                         \
		if (!int_push(cpu, in, int_osize(cpu, in), expr)) \
			return;                                   \
		SOFT_NEXT(cpu, in);                               \
	}
PUSH_VAL(r, RD64(in->rm))
PUSH_VAL(i, (uint64_t)(int64_t)in->imm)

/* Memory operands: #SS is the stack's, whatever the operand's segment. */
DEF_OP(op_push_m_64)
{
	uint64_t lin = LIN(8, false);
	it64 v = LD(64, lin);
	uint64_t sp = RD64(R_SP) - 8;

	if (slow == NULL) {
		if (!int_push(cpu, in, 8, v))
			return;
		SOFT_NEXT(cpu, in);
	}
	ST(64, sp, v);
	WR64(R_SP, sp);
	SOFT_NEXT(cpu, in);
}
#define PUSH_M(S)                                 \
	DEF_REG(op_push_m_any##S)                 \
	{                                         \
		const soft_op slow = NULL;        \
		uint64_t lin = LIN(S / 8, false); \
		it##S v = LD(S, lin);             \
                                                  \
		if (!int_push(cpu, in, S / 8, v)) \
			return;                   \
		SOFT_NEXT(cpu, in);               \
	}
PUSH_M(16)
PUSH_M(32)

soft_op
ibind_push(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[2][3] = {
		{ op_push_r_64, op_push_r_f32, op_push_r_any },
		{ op_push_i_64, op_push_i_f32, op_push_i_any },
	};

	if (d->mem)
		return (d->opsize == 8	 ? op_push_m_64
			: d->opsize == 4 ? op_push_m_any32
					 : op_push_m_any16);
	in->flags |= IN_SS;
	return (tab[d->opcode == 0x68 || d->opcode == 0x6a][int_stk(d)]);
}

/* ---- POP ---- */
DEF_OP(op_pop_r_64)
{
	uint64_t sp = RD64(R_SP);
	it64 v = LD(64, sp);

	WR64(R_SP, sp + 8);
	WR64(in->rm, v);
	SOFT_NEXT(cpu, in);
}
DEF_OP(op_pop_r_f32)
{
	uint64_t sp = RD32(R_SP);
	it32 v = LD(32, sp);

	WR32(R_SP, sp + 4);
	WR32(in->rm, v);
	SOFT_NEXT(cpu, in);
}

static bool
pop_reg(struct softcpu *cpu, const struct insn *in)
{
	unsigned n = int_osize(cpu, in);
	uint64_t v;

	if (!int_peek(cpu, in, n, 0, &v))
		return (false);
	int_addsp(cpu, n);
	int_setreg(cpu, n, in->rm, v);
	return (true);
}

DEF_REG(op_pop_r_any)
{
	if (!pop_reg(cpu, in))
		return;
	SOFT_NEXT(cpu, in);
}

/* The address is computed with rSP behind the popped value. */
static bool
pop_mem(struct softcpu *cpu, const struct insn *in)
{
	unsigned n = int_osize(cpu, in);
	uint64_t v, lin, old = cpu->gpr[R_SP];

	if (!int_peek(cpu, in, n, 0, &v))
		return (false);
	int_addsp(cpu, n);
	if (!soft_ea(cpu, in, (int)n, true, &lin) ||
	    !int_st(cpu, in, lin, (int)n, v)) {
		cpu->gpr[R_SP] = old;
		return (false);
	}
	return (true);
}

DEF_REG(op_pop_m)
{
	if (!pop_mem(cpu, in))
		return;
	SOFT_NEXT(cpu, in);
}

soft_op
ibind_pop(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[3] = {
		op_pop_r_64,
		op_pop_r_f32,
		op_pop_r_any,
	};

	if (d->mem)
		return (op_pop_m);
	in->flags |= IN_SS;
	return (tab[int_stk(d)]);
}

/* ---- segment registers: arg is S_*, in->arg bit 4 POP ---- */
DEF_REG(op_push_seg)
{
	if (!int_push(cpu, in, int_osize(cpu, in), cpu->seg[in->reg].sel))
		return;
	SOFT_NEXT(cpu, in);
}

static void
op_pop_seg(struct softcpu *cpu, const struct insn *in)
{
	unsigned n = int_osize(cpu, in), w = int_spsize(cpu);
	uint64_t v;

	if (!int_peek(cpu, in, n, 0, &v))
		return;
	cpu->rip = soft_rip(cpu, in);
	if (!soft_load_seg(cpu, in->reg, (uint16_t)v))
		return;
	int_setreg(cpu, w, R_SP, cpu->gpr[R_SP] + n);
	soft_end(cpu, in);
	if (in->reg == S_SS)
		cpu->intr_shadow = 2;
}

soft_op
ibind_pushpop_seg(const struct soft_dec *d, struct insn *in)
{
	in->reg = d->row->arg & 7;
	in->flags |= IN_SS;
	return ((d->row->arg & 0x10) ? op_pop_seg : op_push_seg);
}

/* ---- PUSHA, POPA ---- */
static bool
pusha(struct softcpu *cpu, const struct insn *in)
{
	unsigned n = int_osize(cpu, in), w = int_spsize(cpu);
	uint64_t sp = cpu->gpr[R_SP], lin[8];

	for (unsigned i = 0; i < 8; i++) {
		sp = (sp - n) & int_mask(w);
		if (!int_seg_lin(cpu, in, S_SS, sp, (int)n, true, &lin[i]) ||
		    !soft_probe_write(cpu, in, lin[i], (int)n))
			return (false);
	}
	for (unsigned i = 0; i < 8; i++)
		if (!int_st(cpu, in, lin[i], (int)n, cpu->gpr[i]))
			return (false);
	int_setreg(cpu, w, R_SP, sp);
	return (true);
}

static bool
popa(struct softcpu *cpu, const struct insn *in)
{
	unsigned n = int_osize(cpu, in);
	uint64_t v[8];

	for (unsigned i = 0; i < 8; i++)
		if (!int_peek(cpu, in, n, i * n, &v[7 - i]))
			return (false);
	int_addsp(cpu, 8 * n);
	for (unsigned i = 0; i < 8; i++)
		if (i != R_SP)
			int_setreg(cpu, n, (int)i, v[i]);
	return (true);
}

DEF_REG(op_pusha)
{
	if (!pusha(cpu, in))
		return;
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_popa)
{
	if (!popa(cpu, in))
		return;
	SOFT_NEXT(cpu, in);
}

/* ---- PUSHF, POPF ---- */
DEF_OP(op_pushf_64)
{
	uint64_t sp = RD64(R_SP) - 8;

	ST(64, sp, INT_RFLAGS(cpu) & ~(FL_VM | FL_RF));
	WR64(R_SP, sp);
	SOFT_NEXT(cpu, in);
}

static bool
pushf_any(struct softcpu *cpu, const struct insn *in)
{
	unsigned n = int_osize(cpu, in);
	uint32_t fl = INT_RFLAGS(cpu) & ~(FL_VM | FL_RF);

	if ((cpu->mode & MODE_V86) && (fl & FL_IOPL) != FL_IOPL) {
		if (n != 2 || !(cpu->cr4 & CR4_VME_BIT)) {
			soft_fault_err(cpu, in, X_GP, 0);
			return (false);
		}
		fl = (fl & ~FL_IF) | FL_IOPL | ((fl & FL_VIF) ? FL_IF : 0);
	}
	return (int_push(cpu, in, n, fl));
}

DEF_REG(op_pushf_any)
{
	if (!pushf_any(cpu, in))
		return;
	SOFT_NEXT(cpu, in);
}

/* Flags that POPF may change; 0 with a fault recorded: none. */
static uint32_t
popf_mask(struct softcpu *cpu, const struct insn *in, uint64_t *v)
{
	uint32_t mask = FL_ARITH | FL_TF | FL_DF | FL_NT | FL_AC | FL_ID;
	uint32_t iopl = (cpu->rfl >> 12) & 3;

	if (cpu->mode & MODE_V86) {
		if (iopl == 3) {
			mask |= FL_IF;
		} else if (!(in->flags & IN_OS16) ||
		    !(cpu->cr4 & CR4_VME_BIT) || (*v & FL_TF) ||
		    ((*v & FL_IF) && (cpu->rfl & FL_VIP))) {
			soft_fault_err(cpu, in, X_GP, 0);
			return (0);
		} else {
			*v = (*v & ~(uint64_t)FL_VIF) |
			    ((*v & FL_IF) ? FL_VIF : 0);
			return ((mask & 0xffff) | FL_VIF);
		}
	} else if (cpu->cpl == 0) {
		mask |= FL_IF | FL_IOPL;
	} else if (cpu->cpl <= iopl) {
		mask |= FL_IF;
	}
	return ((in->flags & IN_OS16) ? mask & 0xffff : mask | FL_RF);
}

/* -1: stopped; 0: go on; 1: what the run loop must see has changed. */
static int
popf(struct softcpu *cpu, const struct insn *in)
{
	unsigned n = int_osize(cpu, in);
	uint32_t mask, old, fl;
	uint64_t v;

	if (!int_peek(cpu, in, n, 0, &v))
		return (-1);
	mask = popf_mask(cpu, in, &v);
	if (mask == 0)
		return (-1);
	int_addsp(cpu, n);
	old = INT_RFLAGS(cpu);
	fl = ((old & ~mask) | ((uint32_t)v & mask)) & ~FL_RF;
	soft_set_rflags(cpu, fl);
	if (((old ^ fl) & (FL_TF | FL_VM | FL_AC | FL_VIF)) ||
	    (fl & ~old & FL_IF) || (fl & FL_TF))
		return (1);
	return (0);
}

DEF_REG(op_popf)
{
	int rc = popf(cpu, in);

	if (rc < 0)
		return;
	if (rc > 0)
		soft_end(cpu, in);
	else
		soft_goto(cpu, soft_rip_next(cpu, in));
}

/* ---- ENTER, LEAVE ---- */
static bool
enter(struct softcpu *cpu, const struct insn *in)
{
	unsigned n = int_osize(cpu, in), w = int_spsize(cpu);
	unsigned level = in->aux & 31;
	uint64_t mask = int_mask(w), sp, bp, frame, v, lin;

	bp = cpu->gpr[R_BP];
	sp = (cpu->gpr[R_SP] - n) & mask;
	if (!int_seg_lin(cpu, in, S_SS, sp, (int)n, true, &lin) ||
	    !int_st(cpu, in, lin, (int)n, bp))
		return (false);
	frame = sp;
	for (unsigned i = 1; i < level; i++) {
		bp = (bp - n) & mask;
		sp = (sp - n) & mask;
		if (!int_seg_lin(cpu, in, S_SS, bp, (int)n, false, &lin) ||
		    !int_ld(cpu, in, lin, (int)n, &v) ||
		    !int_seg_lin(cpu, in, S_SS, sp, (int)n, true, &lin) ||
		    !int_st(cpu, in, lin, (int)n, v))
			return (false);
	}
	if (level > 0) {
		sp = (sp - n) & mask;
		if (!int_seg_lin(cpu, in, S_SS, sp, (int)n, true, &lin) ||
		    !int_st(cpu, in, lin, (int)n, frame))
			return (false);
	}
	sp = (sp - (uint32_t)in->imm) & mask;
	/* The final stack pointer must be writable. */
	if (!int_seg_lin(cpu, in, S_SS, sp, 1, true, &lin) ||
	    !soft_probe_write(cpu, in, lin, 1))
		return (false);
	int_setreg(cpu, n, R_BP, frame);
	int_setreg(cpu, w, R_SP, sp);
	return (true);
}

DEF_REG(op_enter)
{
	if (!enter(cpu, in))
		return;
	SOFT_NEXT(cpu, in);
}

DEF_OP(op_leave_64)
{
	uint64_t bp = RD64(R_BP);
	it64 v = LD(64, bp);

	WR64(R_SP, bp + 8);
	WR64(R_BP, v);
	SOFT_NEXT(cpu, in);
}
DEF_OP(op_leave_f32)
{
	uint64_t bp = RD32(R_BP);
	it32 v = LD(32, bp);

	WR32(R_SP, bp + 4);
	WR32(R_BP, v);
	SOFT_NEXT(cpu, in);
}

static bool
leave_any(struct softcpu *cpu, const struct insn *in)
{
	unsigned n = int_osize(cpu, in), w = int_spsize(cpu);
	uint64_t bp = cpu->gpr[R_BP] & int_mask(w), v, lin;

	if (!int_seg_lin(cpu, in, S_SS, bp, (int)n, false, &lin) ||
	    !int_ld(cpu, in, lin, (int)n, &v))
		return (false);
	int_setreg(cpu, w, R_SP, bp + n);
	int_setreg(cpu, n, R_BP, v);
	return (true);
}

DEF_REG(op_leave_any)
{
	if (!leave_any(cpu, in))
		return;
	SOFT_NEXT(cpu, in);
}

soft_op
ibind_stackmisc(const struct soft_dec *d, struct insn *in)
{
	static const soft_op leave[3] = {
		op_leave_64,
		op_leave_f32,
		op_leave_any,
	};

	in->flags |= IN_SS;
	switch (d->opcode) {
	case 0x60:
		return (op_pusha);
	case 0x61:
		return (op_popa);
	case 0x9c:
		return (int_stk(d) == STK_64 ? op_pushf_64 : op_pushf_any);
	case 0x9d:
		return (op_popf);
	case 0xc8:
		return (op_enter);
	default:
		return (leave[int_stk(d)]);
	}
}
