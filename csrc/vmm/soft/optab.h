/*
 * THE opcode table.  Rows stand in optab_int.def, optab_sys.def and
 * optab_fp.def; decoder, disassembler for logs, CPUID policy and the random
 * instruction test read the same rows.
 *
 * OP(map, opcode, prefix, reg, mod, name, operands, imm, attr, feature,
 *    fl_read, fl_write, fl_undef, bind, arg)
 *
 * Rows of one opcode are tried in order; the first that matches wins.
 */
#ifndef _OPTAB_H_
#define _OPTAB_H_

#include "soft_local.h"

enum op_map { M_1, M_0F, M_0F38, M_0F3A };
/* Mandatory prefix: P_ANY ignores 66/F3/F2 (they keep their usual meaning);
 * the others want exactly that one. */
enum op_prefix { P_ANY, P_NONE, P_66, P_F3, P_F2 };
#define R_ANY                                                           \
	0xff /* any modrm.reg; 0-7 selects; 0xc0-0xff: whole modrm byte \
	      */
enum op_mod { MOD_ANY, MOD_MEM, MOD_REG };
enum op_imm {
	I_NONE,
	I_B,	 /* imm8, sign-extended */
	I_BU,	 /* imm8, zero-extended */
	I_W,	 /* imm16, zero-extended */
	I_Z,	 /* imm16 or imm32 by operand size, sign-extended */
	I_V,	 /* imm16/32/64 by operand size, in imm64 */
	I_MOFFS, /* address-size offset, in imm64 */
	I_FAR,	 /* imm16/32 offset, then selector: imm64 = sel<<32|off */
	I_WB,	 /* ENTER: imm16 in imm, imm8 in aux */
};

/* Attributes. */
#define A_MODRM 0x0001u
#define A_B 0x0002u	/* byte operands: reg/rm become byte offsets */
#define A_D64 0x0004u	/* operand size defaults to 64 in 64-bit mode */
#define A_F64 0x0008u	/* operand size is 64 in 64-bit mode, 66 ignored */
#define A_LOCK 0x0010u	/* LOCK allowed (memory destination) */
#define A_END 0x0020u	/* ends the block */
#define A_I64 0x0040u	/* #UD in 64-bit mode */
#define A_O64 0x0080u	/* only in 64-bit mode */
#define A_PRIV 0x0100u	/* CPL > 0: #GP(0) */
#define A_PROT 0x0200u	/* #UD in real and virtual-8086 mode */
#define A_FAULT 0x0400u /* may fault or exit without a memory operand */
#define A_RMB 0x0800u	/* rm alone is a byte operand (MOVZX Gv,Eb) */
#define A_OPREG 0x1000u /* register in opcode bits 2:0 (one row covers 8) */
#define A_EA 0x2000u	/* memory form computes an address only (LEA) */
#define A_REP 0x4000u	/* string: F2/F3 repeat */
#define A_X87 0x8000u

struct soft_dec;
/* Chooses the handler; may fill in->reg/rm/aux/arg further.  NULL: #UD. */
typedef soft_op (*soft_bind)(const struct soft_dec *d, struct insn *in);

struct optab {
	uint8_t map, opcode, prefix, reg, mod, imm;
	uint16_t attr;
	const char *name;
	const char *operands; /* "Eb,Gb" as the manuals write them */
	uint32_t feature;     /* SF_*: 0 base */
	uint16_t fl_read, fl_write, fl_undef; /* FL_ARITH bits */
	soft_bind bind;
	uint32_t arg;
};

/* What the decoder knows of one instruction; input of the binders. */
struct soft_dec {
	const struct optab *row;
	uint32_t mode; /* MODE_* */
	uint8_t opcode;
	uint8_t opsize; /* 1, 2, 4, 8 */
	uint8_t asize;	/* 2, 4, 8 */
	uint8_t rex;	/* 0, or 0x40..0x4f */
	bool p66, lock, mem;
	uint8_t rep; /* 0, 0xf2, 0xf3: the last one */
	uint8_t modrm;
	uint8_t reg, rm; /* REX applied */
	bool flags_dead; /* nobody reads this one's arithmetic flags */
};

extern const struct optab optab_int[], optab_sys[], optab_fp[];
extern const size_t optab_int_n, optab_sys_n, optab_fp_n;

/* Byte register number -> offset into gpr[] as the REX prefix says. */
static inline uint8_t
dec_breg(const struct soft_dec *d, uint8_t n)
{
	if (d->rex == 0 && n >= 4 && n < 8)
		return (SOFT_BREGH(n));
	return (SOFT_BREG(n));
}

/*
 * Record a and the conditional jump b behind it in one handler for a
 * (op_pair.c), or NULL.  Called after both are bound; b stays as it is, and
 * flags are written exactly.
 */
soft_op soft_fuse(const struct soft_dec *a, const struct soft_dec *b,
    struct insn *ia, const struct insn *ib);

/* Feature bits of rows; soft_cpuid_mask() maps them to CPUID. */
#define SF_CX8 0x1u
#define SF_CX16 0x2u
#define SF_MMX 0x4u
#define SF_SSE 0x8u
#define SF_SSE2 0x10u
#define SF_SSE3 0x20u
#define SF_SSSE3 0x40u
#define SF_SSE41 0x80u
#define SF_SSE42 0x100u
#define SF_POPCNT 0x200u
#define SF_XSAVE 0x400u
#define SF_FXSR 0x800u
#define SF_RDTSCP 0x1000u
#define SF_FSGSBASE 0x2000u
#define SF_MOVBE 0x8000u
#define SF_RDPID 0x10000u
#define SF_CLFLUSH 0x20000u
#define SF_CMOV 0x40000u
#define SF_LZCNT 0x80000u
#define SF_BMI1 0x100000u
#define SF_BMI2 0x200000u
#define SF_RDRAND 0x400000u
#define SF_ADX 0x800000u
#define SF_PCLMUL 0x1000000u
#define SF_AES 0x2000000u

#endif
