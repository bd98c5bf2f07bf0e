/*
 * DAA DAS AAA AAS AAM AAD.  Flags that the manuals leave undefined are those
 * of the last addition.
 */
#include "int_local.h"

#define AL SOFT_BREG(R_AX)
#define AH SOFT_BREGH(4)

/* SF ZF PF of v; CF AF OF as given. */
static void
bcd_flags(struct softcpu *cpu, uint8_t v, unsigned more)
{
	uint32_t f;

	__asm__("testb %1, %1" ASM_GETFLAGS : "=&a"(f) : "q"(v) : "cc");
	cpu->cc = (uint16_t)((f & (CC_SF | CC_ZF | CC_PF)) | more);
}

DEF_REG(op_daa)
{
	uint8_t al = RD8(AL), old = al;
	unsigned f = 0;

	if ((al & 15) > 9 || (cpu->cc & CC_AF)) {
		al = (uint8_t)(al + 6);
		f |= CC_AF;
	}
	if (old > 0x99 || (cpu->cc & CC_CF)) {
		al = (uint8_t)(al + 0x60);
		f |= CC_CF;
	}
	WR8(AL, al);
	bcd_flags(cpu, al, f);
	SOFT_NEXT(cpu, in);
}

DEF_REG(op_das)
{
	uint8_t al = RD8(AL), old = al;
	unsigned f = 0;

	if ((al & 15) > 9 || (cpu->cc & CC_AF)) {
		f |= CC_AF | ((cpu->cc & CC_CF) || al < 6 ? CC_CF : 0);
		al = (uint8_t)(al - 6);
	}
	if (old > 0x99 || (cpu->cc & CC_CF)) {
		al = (uint8_t)(al - 0x60);
		f |= CC_CF;
	}
	WR8(AL, al);
	bcd_flags(cpu, al, f);
	SOFT_NEXT(cpu, in);
}

/* AAA and AAS; add: 0x106 or its negative. */
INT_INLINE void
bcd_ascii(struct softcpu *cpu, int add)
{
	unsigned f = 0;

	if ((RD8(AL) & 15) > 9 || (cpu->cc & CC_AF)) {
		WR16(R_AX, RD16(R_AX) + add);
		f = CC_AF | CC_CF;
	}
	WR8(AL, RD8(AL) & 15);
	bcd_flags(cpu, RD8(AL), f);
}

DEF_REG(op_aaa)
{
	bcd_ascii(cpu, 0x106);
	SOFT_NEXT(cpu, in);
}

DEF_REG(op_aas)
{
	bcd_ascii(cpu, -0x106);
	SOFT_NEXT(cpu, in);
}

DEF_REG(op_aam)
{
	uint8_t al = RD8(AL), n = (uint8_t)in->imm;

	if (n == 0) {
		soft_fault(cpu, in, X_DE);
		return;
	}
	WR8(AH, al / n);
	WR8(AL, al % n);
	bcd_flags(cpu, RD8(AL), 0);
	SOFT_NEXT(cpu, in);
}

DEF_REG(op_aad)
{
	uint8_t v = (uint8_t)(RD8(AH) * (uint8_t)in->imm), al = RD8(AL);
	uint32_t f;

	__asm__("addb %2, %0" ASM_GETFLAGS
		: "+q"(v), "=&a"(f)
		: "q"(al)
		: "cc");
	WR16(R_AX, v);
	cpu->cc = (uint16_t)f;
	SOFT_NEXT(cpu, in);
}

soft_op
ibind_bcd(const struct soft_dec *d, struct insn *in)
{
	switch (d->opcode) {
	case 0x27:
		return (op_daa);
	case 0x2f:
		return (op_das);
	case 0x37:
		return (op_aaa);
	case 0x3f:
		return (op_aas);
	case 0xd4:
		return (op_aam);
	default:
		return (op_aad);
	}
}
