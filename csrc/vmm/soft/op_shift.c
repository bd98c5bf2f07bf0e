/*
 * Shifts and rotates by an immediate or by CL, SHLD and SHRD.
 *
 * g: the guest's flags are the host's beforehand, so that a count of zero,
 * the rotates and undefined flags leave what the host leaves.  y: nobody
 * reads the flags.
 */
#include "int_local.h"

#define G_SH(op, S)                                                     \
	INT_INLINE it##S g_##op##S(it##S d, uint8_t n, uint16_t *cc)    \
	{                                                               \
		uint32_t f = *cc;                                       \
		__asm__(ASM_SETFLAGS #op " %%cl, %0" ASM_GETFLAGS       \
			: "+q"(d), "+a"(f)                              \
			: "c"(n)                                        \
			: "cc");                                        \
		*cc = (uint16_t)f;                                      \
		return (d);                                             \
	}                                                               \
	static uint64_t f_##op##S(uint64_t d, uint64_t s, uint16_t *cc) \
	{                                                               \
		return (g_##op##S((it##S)d, (uint8_t)s, cc));           \
	}
#define Y_SH(op, S)                                                  \
	INT_INLINE it##S y_##op##S(it##S d, uint8_t n, uint16_t *cc) \
	{                                                            \
		(void)cc;                                            \
		__asm__(#op " %%cl, %0" : "+q"(d) : "c"(n) : "cc");  \
		return (d);                                          \
	}

#define CNT_i ((uint8_t)in->imm)
#define CNT_c (RD8(SOFT_BREG(R_CX)))
#define REG_SH(v, op, c, S)                                                   \
	DEF_REG(op_##op##_##v##r##c##S)                                       \
	{                                                                     \
		WR##S(in->rm, v##_##op##S(RD##S(in->rm), CNT_##c, &cpu->cc)); \
		SOFT_NEXT(cpu, in);                                           \
	}
#define MEM_SH(op, c, S)                                             \
	DEF_OP(op_##op##_m##c##S)                                    \
	{                                                            \
		uint64_t lin = LIN(S / 8, true);                     \
		volatile pt##S *p = RMWP(S, lin);                    \
                                                                     \
		if (slow == NULL && p == NULL)                       \
			RMW_SLOW(S, lin, f_##op##S, CNT_##c, false); \
		*p = g_##op##S(*p, CNT_##c, &cpu->cc);               \
		SOFT_NEXT(cpu, in);                                  \
	}
#define SH_ALL(op, S)       \
	G_SH(op, S)         \
	REG_SH(g, op, i, S) \
	REG_SH(g, op, c, S) MEM_SH(op, i, S) MEM_SH(op, c, S)
#define SH_Y(op, S) Y_SH(op, S) REG_SH(y, op, i, S) REG_SH(y, op, c, S)
#define SH_SIZE(S)     \
	SH_ALL(rol, S) \
	SH_ALL(ror, S) \
	SH_ALL(rcl, S) \
	SH_ALL(rcr, S) \
	SH_ALL(shl, S) \
	SH_ALL(shr, S) \
	SH_ALL(sar, S) \
	SH_Y(rol, S) SH_Y(ror, S) SH_Y(shl, S) SH_Y(shr, S) SH_Y(sar, S)
SH_SIZE(8)
SH_SIZE(16)
SH_SIZE(32)
SH_SIZE(64)

#define T_SZ(n)                           \
	{                                 \
		n##8, n##16, n##32, n##64 \
	}
/* Forms: imm, CL, memory imm, memory CL, then dead imm, dead CL. */
enum { H_I, H_C, H_MI, H_MC, H_YI, H_YC, H_COUNT };
#define T_ALL(op)                                                     \
	T_SZ(op_##op##_gri), T_SZ(op_##op##_grc), T_SZ(op_##op##_mi), \
	    T_SZ(op_##op##_mc)
#define T_SH(op)                                                    \
	{                                                           \
		T_ALL(op), T_SZ(op_##op##_yri), T_SZ(op_##op##_yrc) \
	}
#define T_RC(op)                                                    \
	{                                                           \
		T_ALL(op), T_SZ(op_##op##_gri), T_SZ(op_##op##_grc) \
	}
static const soft_op sh_tab[8][H_COUNT][4] = {
	T_SH(rol),
	T_SH(ror),
	T_RC(rcl),
	T_RC(rcr),
	T_SH(shl),
	T_SH(shr),
	T_SH(shl),
	T_SH(sar),
};

/* arg: modrm.reg, and 0x10 for a count in CL, 0x20 for a count of 1. */
soft_op
ibind_shift(const struct soft_dec *d, struct insn *in)
{
	uint32_t arg = d->row->arg;
	unsigned z = int_szi(d), form;

	if (arg & 0x20)
		in->imm = 1;
	if (d->mem)
		form = (arg & 0x10) ? H_MC : H_MI;
	else if (d->flags_dead)
		form = (arg & 0x10) ? H_YC : H_YI;
	else
		form = (arg & 0x10) ? H_C : H_I;
	return (sh_tab[arg & 7][form][z]);
}

/* ---- SHLD, SHRD ---- */
#define SHD_CORE(op, S)                                                       \
	INT_INLINE it##S d_##op##S(it##S d, it##S s, uint8_t n, uint16_t *cc) \
	{                                                                     \
		uint32_t f = *cc;                                             \
		__asm__(ASM_SETFLAGS #op " %%cl, %2, %0" ASM_GETFLAGS         \
			: "+r"(d), "+a"(f)                                    \
			: "r"(s), "c"(n)                                      \
			: "cc");                                              \
		*cc = (uint16_t)f;                                            \
		return (d);                                                   \
	}
/* The slow version stands by itself: int_rmw() has no room for a count. */
#define SHD_FORM(op, c, S)                                                  \
	DEF_REG(op_##op##_r##c##S)                                          \
	{                                                                   \
		WR##S(in->rm,                                               \
		    d_##op##S(                                              \
			RD##S(in->rm), RD##S(in->reg), CNT_##c, &cpu->cc)); \
		SOFT_NEXT(cpu, in);                                         \
	}                                                                   \
	static bool sl_##op##c##S(                                          \
	    struct softcpu *cpu, const struct insn *in, uint64_t lin)       \
	{                                                                   \
		uint16_t cc = cpu->cc;                                      \
		uint64_t v;                                                 \
                                                                            \
		if (!soft_probe_write(cpu, in, lin, S / 8) ||               \
		    !int_ld(cpu, in, lin, S / 8, &v))                       \
			return (false);                                     \
		v = d_##op##S((it##S)v, RD##S(in->reg), CNT_##c, &cc);      \
		if (!int_st(cpu, in, lin, S / 8, v))                        \
			return (false);                                     \
		cpu->cc = cc;                                               \
		return (true);                                              \
	}                                                                   \
	DEF_OP(op_##op##_m##c##S)                                           \
	{                                                                   \
		uint64_t lin = LIN(S / 8, true);                            \
		volatile pt##S *p = RMWP(S, lin);                           \
                                                                            \
		if (slow == NULL && p == NULL) {                            \
			if (!sl_##op##c##S(cpu, in, lin))                   \
				return;                                     \
			SOFT_NEXT(cpu, in);                                 \
		}                                                           \
		*p = d_##op##S(*p, RD##S(in->reg), CNT_##c, &cpu->cc);      \
		SOFT_NEXT(cpu, in);                                         \
	}
#define SHD(op, S) SHD_CORE(op, S) SHD_FORM(op, i, S) SHD_FORM(op, c, S)
SHD(shld, 16)
SHD(shld, 32)
SHD(shld, 64)
SHD(shrd, 16)
SHD(shrd, 32)
SHD(shrd, 64)

#define T_SHD(op, f)                                                    \
	{                                                               \
		op_##op##_##f##16, op_##op##_##f##32, op_##op##_##f##64 \
	}
static const soft_op shd_tab[2][4][3] = {
	{ T_SHD(shld, ri), T_SHD(shld, rc), T_SHD(shld, mi), T_SHD(shld, mc) },
	{ T_SHD(shrd, ri), T_SHD(shrd, rc), T_SHD(shrd, mi), T_SHD(shrd, mc) },
};

soft_op
ibind_shd(const struct soft_dec *d, struct insn *in)
{
	return (shd_tab[(d->opcode >> 3) & 1]
		       [(d->mem ? 2 : 0) + (d->opcode & 1)][int_szi(d) - 1]);
}
