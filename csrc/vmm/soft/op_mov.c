/*
 * Data transfer: MOV in all forms, MOVZX MOVSX MOVSXD, LEA, CMOVcc, SETcc,
 * XLAT, BSWAP, MOVBE, CBW and family, flag instructions, NOP.
 */
#include "int_local.h"

#define MOV_SIZE(S)                                     \
	DEF_REG(op_mov_rr##S)                           \
	{                                               \
		WR##S(in->rm, RD##S(in->reg));          \
		SOFT_NEXT(cpu, in);                     \
	}                                               \
	DEF_REG(op_mov_ri##S)                           \
	{                                               \
		WR##S(in->rm, (it##S)(int64_t)in->imm); \
		SOFT_NEXT(cpu, in);                     \
	}                                               \
	DEF_REG(op_mov_rv##S)                           \
	{                                               \
		WR##S(in->rm, (it##S)in->imm64);        \
		SOFT_NEXT(cpu, in);                     \
	}                                               \
	DEF_OP(op_mov_rm##S)                            \
	{                                               \
		uint64_t lin = LIN(S / 8, false);       \
		it##S v = LD(S, lin);                   \
                                                        \
		WR##S(in->reg, v);                      \
		SOFT_NEXT(cpu, in);                     \
	}                                               \
	DEF_OP(op_mov_mr##S)                            \
	{                                               \
		uint64_t lin = LIN(S / 8, true);        \
                                                        \
		ST(S, lin, RD##S(in->reg));             \
		SOFT_NEXT(cpu, in);                     \
	}                                               \
	DEF_OP(op_mov_mi##S)                            \
	{                                               \
		uint64_t lin = LIN(S / 8, true);        \
                                                        \
		ST(S, lin, (int64_t)in->imm);           \
		SOFT_NEXT(cpu, in);                     \
	}                                               \
	DEF_OP(op_mov_ao##S)                            \
	{                                               \
		uint64_t lin = MOFFS(S / 8, false);     \
		it##S v = LD(S, lin);                   \
                                                        \
		WR##S(R_AX, v);                         \
		SOFT_NEXT(cpu, in);                     \
	}                                               \
	DEF_OP(op_mov_oa##S)                            \
	{                                               \
		uint64_t lin = MOFFS(S / 8, true);      \
                                                        \
		ST(S, lin, RD##S(R_AX));                \
		SOFT_NEXT(cpu, in);                     \
	}
/* The address is in imm64, cut to the address size by the decoder. */
#define MOFFS(n, w)                                                            \
	({                                                                     \
		uint64_t l_ = in->imm64;                                       \
		if (likely(in->amode != AM_SLOW || (cpu->mode & MODE_64))) {   \
			l_ += cpu->segbase[in->seg];                           \
		} else if (slow != NULL) {                                     \
			slow(cpu, in);                                         \
			return;                                                \
		} else {                                                       \
			uint64_t t_;                                           \
			if (!int_seg_lin(cpu, in, in->seg, l_, (n), (w), &t_)) \
				return;                                        \
			l_ = t_;                                               \
		}                                                              \
		l_;                                                            \
	})
MOV_SIZE(8)
MOV_SIZE(16)
MOV_SIZE(32)
MOV_SIZE(64)

DEF_REG(op_int_nop)
{
	SOFT_NEXT(cpu, in);
}

#define T_SZ(n)                           \
	{                                 \
		n##8, n##16, n##32, n##64 \
	}
enum { V_RR, V_RI, V_RV, V_RM, V_MR, V_MI };
static const soft_op mov_tab[][4] = {
	T_SZ(op_mov_rr),
	T_SZ(op_mov_ri),
	T_SZ(op_mov_rv),
	T_SZ(op_mov_rm),
	T_SZ(op_mov_mr),
	T_SZ(op_mov_mi),
};

soft_op
ibind_mov(const struct soft_dec *d, struct insn *in)
{
	unsigned z = int_szi(d);
	uint8_t t;

	if (d->opcode >= 0xc6)
		return (mov_tab[d->mem ? V_MI : V_RI][z]);
	if (d->opcode >= 0xb8)
		return (mov_tab[V_RV][z]);
	if (d->opcode >= 0xb0)
		return (mov_tab[V_RI][0]);
	if (d->mem)
		return (mov_tab[(d->opcode & 2) ? V_RM : V_MR][z]);
	if (d->opcode & 2) {
		t = in->rm;
		in->rm = in->reg;
		in->reg = t;
	}
	return (mov_tab[V_RR][z]);
}

soft_op
ibind_moffs(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[2][4] = { T_SZ(op_mov_ao), T_SZ(op_mov_oa) };

	return (tab[(d->opcode >> 1) & 1][int_szi(d)]);
}

/* ---- MOVZX, MOVSX, MOVSXD: n##SS##DS, register and memory source ---- */
#define MOVX(n, SS, DS, conv)                      \
	DEF_REG(op_##n##_r##SS##_##DS)             \
	{                                          \
		it##SS v = (it##SS)RD##SS(in->rm); \
                                                   \
		WR##DS(in->reg, conv v);           \
		SOFT_NEXT(cpu, in);                \
	}                                          \
	DEF_OP(op_##n##_m##SS##_##DS)              \
	{                                          \
		uint64_t lin = LIN(SS / 8, false); \
		it##SS v = LD(SS, lin);            \
                                                   \
		WR##DS(in->reg, conv v);           \
		SOFT_NEXT(cpu, in);                \
	}
MOVX(zx, 8, 16, (it16))
MOVX(zx, 8, 64, (it64))
MOVX(zx, 16, 16, (it16))
MOVX(zx, 16, 64, (it64))
MOVX(sx, 8, 16, (it16)(st8))
MOVX(sx, 8, 32, (it32)(st8))
MOVX(sx, 8, 64, (it64)(st8))
MOVX(sx, 16, 32, (it32)(st16))
MOVX(sx, 16, 64, (it64)(st16))
MOVX(sx, 32, 32, (it32))
MOVX(sx, 32, 64, (it64)(st32))

/* [kind][destination 16, 32, 64][memory] */
static const soft_op movx_tab[5][3][2] = {
	{ { op_zx_r8_16, op_zx_m8_16 }, { op_zx_r8_64, op_zx_m8_64 },
	    { op_zx_r8_64, op_zx_m8_64 } },
	{ { op_zx_r16_16, op_zx_m16_16 }, { op_zx_r16_64, op_zx_m16_64 },
	    { op_zx_r16_64, op_zx_m16_64 } },
	{ { op_sx_r8_16, op_sx_m8_16 }, { op_sx_r8_32, op_sx_m8_32 },
	    { op_sx_r8_64, op_sx_m8_64 } },
	{ { op_zx_r16_16, op_zx_m16_16 }, { op_sx_r16_32, op_sx_m16_32 },
	    { op_sx_r16_64, op_sx_m16_64 } },
	{ { op_zx_r16_16, op_zx_m16_16 }, { op_sx_r32_32, op_sx_m32_32 },
	    { op_sx_r32_64, op_sx_m32_64 } },
};

/* arg: index of movx_tab.  MOVSXD with operand size 16 reads 16 bits. */
soft_op
ibind_movx(const struct soft_dec *d, struct insn *in)
{
	return (movx_tab[d->row->arg][int_szi(d) - 1][d->mem]);
}

/* ---- segment registers ---- */
#define MOVSEG_SIZE(S)                                \
	DEF_REG(op_mov_rs##S)                         \
	{                                             \
		WR##S(in->rm, cpu->seg[in->reg].sel); \
		SOFT_NEXT(cpu, in);                   \
	}
MOVSEG_SIZE(16)
MOVSEG_SIZE(32)
MOVSEG_SIZE(64)

DEF_OP(op_mov_ms)
{
	uint64_t lin = LIN(2, true);

	ST(16, lin, cpu->seg[in->reg].sel);
	SOFT_NEXT(cpu, in);
}

/* MOV SS and POP SS hold back interrupts for one instruction. */
static void
mov_to_seg(struct softcpu *cpu, const struct insn *in, uint16_t sel)
{
	cpu->rip = soft_rip(cpu, in);
	if (!soft_load_seg(cpu, in->reg, sel))
		return;
	soft_end(cpu, in);
	if (in->reg == S_SS)
		cpu->intr_shadow = 2;
}

DEF_REG(op_mov_sr)
{
	mov_to_seg(cpu, in, RD16(in->rm));
}

static void
op_mov_sm(struct softcpu *cpu, const struct insn *in)
{
	const soft_op slow = NULL;
	uint64_t lin = LIN(2, false);
	it16 v = LD(16, lin);

	mov_to_seg(cpu, in, v);
}

/* arg 0: MOV Ev,Sw; 1: MOV Sw,Ew. */
soft_op
ibind_movseg(const struct soft_dec *d, struct insn *in)
{
	static const soft_op store[4] = { NULL, op_mov_rs16, op_mov_rs32,
		op_mov_rs64 };

	in->reg = d->reg & 7;
	if (in->reg > S_GS)
		return (NULL);
	if (d->row->arg == 0)
		return (d->mem ? op_mov_ms : store[int_szi(d)]);
	if (in->reg == S_CS)
		return (NULL);
	return (d->mem ? op_mov_sm : op_mov_sr);
}

/* ---- LEA ---- */
DEF_REG(op_lea16)
{
	WR16(in->reg, INT_EA());
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_lea32)
{
	WR32(in->reg, INT_EA());
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_lea64)
{
	WR64(in->reg, INT_EA());
	SOFT_NEXT(cpu, in);
}
/* The address size is smaller than the operand size. */
DEF_REG(op_lea_cut)
{
	WR64(in->reg, soft_offset(cpu, in));
	SOFT_NEXT(cpu, in);
}

soft_op
ibind_lea(const struct soft_dec *d, struct insn *in)
{
	if (d->asize < d->opsize)
		return (op_lea_cut);
	return (d->opsize == 8	 ? op_lea64
		: d->opsize == 4 ? op_lea32
				 : op_lea16);
}

/* ---- conditional moves and sets ---- */
#define CMOV_SIZE(c, S)                                                 \
	DEF_REG(op_cmov##c##_r##S)                                      \
	{                                                               \
		WR##S(in->reg,                                          \
		    CND_##c(cpu->cc) ? RD##S(in->rm) : RD##S(in->reg)); \
		SOFT_NEXT(cpu, in);                                     \
	}                                                               \
	DEF_OP(op_cmov##c##_m##S)                                       \
	{                                                               \
		uint64_t lin = LIN(S / 8, false);                       \
		it##S v = LD(S, lin);                                   \
                                                                        \
		WR##S(in->reg, CND_##c(cpu->cc) ? v : RD##S(in->reg));  \
		SOFT_NEXT(cpu, in);                                     \
	}
#define COND_OPS(c)                            \
	CMOV_SIZE(c, 16)                       \
	CMOV_SIZE(c, 32)                       \
	CMOV_SIZE(c, 64)                       \
	DEF_REG(op_set##c##_r)                 \
	{                                      \
		WR8(in->rm, CND_##c(cpu->cc)); \
		SOFT_NEXT(cpu, in);            \
	}                                      \
	DEF_OP(op_set##c##_m)                  \
	{                                      \
		uint64_t lin = LIN(1, true);   \
                                               \
		ST(8, lin, CND_##c(cpu->cc));  \
		SOFT_NEXT(cpu, in);            \
	}
FOR_COND(COND_OPS)

#define T_COND(c)                                                           \
	{ op_set##c##_r, op_set##c##_m, op_cmov##c##_r16, op_cmov##c##_m16, \
		op_cmov##c##_r32, op_cmov##c##_m32, op_cmov##c##_r64,       \
		op_cmov##c##_m64 },
static const soft_op cond_tab[16][8] = { FOR_COND(T_COND) };

soft_op
ibind_cmov(const struct soft_dec *d, struct insn *in)
{
	return (cond_tab[d->opcode & 15][int_szi(d) * 2 + d->mem]);
}

soft_op
ibind_setcc(const struct soft_dec *d, struct insn *in)
{
	return (cond_tab[d->opcode & 15][d->mem]);
}

/* ---- CBW CWDE CDQE (98), CWD CDQ CQO (99) ---- */
DEF_REG(op_cbw)
{
	WR16(R_AX, (int8_t)RD8(SOFT_BREG(R_AX)));
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_cwde)
{
	WR32(R_AX, (int16_t)RD16(R_AX));
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_cdqe)
{
	WR64(R_AX, (uint64_t)(int32_t)RD32(R_AX));
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_cwd)
{
	WR16(R_DX, (int16_t)RD16(R_AX) >> 15);
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_cdq)
{
	WR32(R_DX, (int32_t)RD32(R_AX) >> 31);
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_cqo)
{
	WR64(R_DX, (uint64_t)((int64_t)RD64(R_AX) >> 63));
	SOFT_NEXT(cpu, in);
}

soft_op
ibind_conv(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[2][3] = { { op_cbw, op_cwde, op_cdqe },
		{ op_cwd, op_cdq, op_cqo } };

	return (tab[d->opcode & 1][int_szi(d) - 1]);
}

/* ---- BSWAP, MOVBE, XLAT ---- */
/* BSWAP of 16 bits is undefined; processors clear the register. */
DEF_REG(op_bswap16)
{
	WR16(in->rm, 0);
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_bswap32)
{
	WR32(in->rm, __builtin_bswap32(RD32(in->rm)));
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_bswap64)
{
	WR64(in->rm, __builtin_bswap64(RD64(in->rm)));
	SOFT_NEXT(cpu, in);
}

soft_op
ibind_bswap(const struct soft_dec *d, struct insn *in)
{
	return (d->opsize == 8	 ? op_bswap64
		: d->opsize == 4 ? op_bswap32
				 : op_bswap16);
}

#define MOVBE_SIZE(S)                                           \
	DEF_OP(op_movbe_rm##S)                                  \
	{                                                       \
		uint64_t lin = LIN(S / 8, false);               \
		it##S v = LD(S, lin);                           \
                                                                \
		WR##S(in->reg, __builtin_bswap##S(v));          \
		SOFT_NEXT(cpu, in);                             \
	}                                                       \
	DEF_OP(op_movbe_mr##S)                                  \
	{                                                       \
		uint64_t lin = LIN(S / 8, true);                \
                                                                \
		ST(S, lin, __builtin_bswap##S(RD##S(in->reg))); \
		SOFT_NEXT(cpu, in);                             \
	}
MOVBE_SIZE(16)
MOVBE_SIZE(32)
MOVBE_SIZE(64)

soft_op
ibind_movbe(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[2][3] = {
		{ op_movbe_rm16, op_movbe_rm32, op_movbe_rm64 },
		{ op_movbe_mr16, op_movbe_mr32, op_movbe_mr64 },
	};

	unsigned size = d->opsize;

	/* The decoder takes 66 as a part of the P_66 rows' opcode. */
	if (d->row->prefix == P_66 && size != 8)
		size ^= 6;
	return (tab[d->opcode & 1][(unsigned)__builtin_ctz(size) - 1]);
}

static void
op_xlat(struct softcpu *cpu, const struct insn *in)
{
	const soft_op slow = NULL;
	uint64_t lin, off;
	it8 v;

	off = (RD64(R_BX) + RD8(SOFT_BREG(R_AX))) & int_mask(in->aux);
	lin = ({
		uint64_t t;
		if (!int_seg_lin(cpu, in, in->seg, off, 1, false, &t))
			return;
		t;
	});
	v = LD(8, lin);
	WR8(SOFT_BREG(R_AX), v);
	SOFT_NEXT(cpu, in);
}

soft_op
ibind_xlat(const struct soft_dec *d, struct insn *in)
{
	in->aux = d->asize;
	return (op_xlat);
}

soft_op
ibind_nop(const struct soft_dec *d, struct insn *in)
{
	return (op_int_nop);
}

/* ---- CLC STC CMC CLD STD LAHF SAHF SALC ---- */
DEF_REG(op_clc)
{
	cpu->cc &= (uint16_t)~CC_CF;
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_stc)
{
	cpu->cc |= CC_CF;
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_cmc)
{
	cpu->cc ^= CC_CF;
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_cld)
{
	cpu->rfl &= ~FL_DF;
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_std)
{
	cpu->rfl |= FL_DF;
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_lahf)
{
	WR8(SOFT_BREGH(4), ((cpu->cc & (CC_ALL & ~CC_OF)) >> 8) | 2);
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_sahf)
{
	cpu->cc = (uint16_t)((cpu->cc & CC_OF) |
	    ((RD8(SOFT_BREGH(4)) << 8) & (CC_ALL & ~CC_OF)));
	SOFT_NEXT(cpu, in);
}
DEF_REG(op_salc)
{
	WR8(SOFT_BREG(R_AX), CND_B(cpu->cc) ? 0xff : 0);
	SOFT_NEXT(cpu, in);
}

soft_op
ibind_flag(const struct soft_dec *d, struct insn *in)
{
	switch (d->opcode) {
	case 0x9e:
		return (op_sahf);
	case 0x9f:
		return (op_lahf);
	case 0xd6:
		return (op_salc);
	case 0xf5:
		return (op_cmc);
	case 0xf8:
		return (op_clc);
	case 0xf9:
		return (op_stc);
	case 0xfc:
		return (op_cld);
	default:
		return (op_std);
	}
}
