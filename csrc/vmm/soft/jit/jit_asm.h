/*
 * Host instructions, written byte by byte.  Opcodes are 0xNN, 0x0fNN or
 * 0x0f38NN; size is 1, 2, 4 or 8 bytes.  Byte registers are always encoded
 * with REX, so that 4 to 7 are SPL to DIL.
 */
#ifndef _JIT_ASM_H_
#define _JIT_ASM_H_

#include <string.h>

#include "jit_local.h"

/* Conditions, as in Jcc's opcode. */
enum { C_O, C_NO, C_B, C_NB, C_Z, C_NZ, C_BE, C_A };

static inline void
a_byte(struct jb *t, unsigned v)
{
	if (t->p >= t->end) {
		t->full = true;
		return;
	}
	*t->p++ = (uint8_t)v;
}

static inline void
a_le(struct jb *t, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		a_byte(t, (unsigned)(v >> (8 * i)) & 0xff);
}

/* Offset of the next byte. */
static inline uint32_t
a_here(const struct jb *t)
{
	return ((uint32_t)(t->p - t->j->rw));
}

static inline void
a_head(struct jb *t, unsigned size, unsigned opc, unsigned reg, unsigned idx,
    unsigned rm, bool rex8)
{
	unsigned rex;

	if (size == 2)
		a_byte(t, 0x66);
	rex = (size == 8 ? 8u : 0) | ((reg >> 3) & 1) << 2 |
	    ((idx >> 3) & 1) << 1 | ((rm >> 3) & 1);
	if (rex != 0 || size == 1 || rex8)
		a_byte(t, 0x40 | rex);
	if (opc > 0xffff)
		a_byte(t, opc >> 16);
	if (opc > 0xff)
		a_byte(t, (opc >> 8) & 0xff);
	a_byte(t, opc & 0xff);
}

/* reg, rm both registers. */
static inline void
a_rr(struct jb *t, unsigned size, unsigned opc, unsigned reg, unsigned rm)
{
	a_head(t, size, opc, reg, 0, rm, false);
	a_byte(t, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* The same with a byte register as source of a wider one. */
static inline void
a_rr8(struct jb *t, unsigned size, unsigned opc, unsigned reg, unsigned rm)
{
	a_head(t, size, opc, reg, 0, rm, true);
	a_byte(t, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* reg, [base + disp] */
static inline void
a_rm(struct jb *t, unsigned size, unsigned opc, unsigned reg, unsigned base,
    int32_t disp)
{
	unsigned mod = disp == 0 && (base & 7) != 5 ? 0
	    : disp == (int8_t)disp		    ? 1
						    : 2;

	a_head(t, size, opc, reg, 0, base, false);
	a_byte(t, mod << 6 | (reg & 7) << 3 | (base & 7));
	if ((base & 7) == 4)
		a_byte(t, 0x24);
	if (mod == 1)
		a_byte(t, (unsigned)disp & 0xff);
	else if (mod == 2)
		a_le(t, (uint32_t)disp, 4);
}

/* reg, [base + index << scale + disp]; base or index may be H_NONE. */
static inline void
a_rx(struct jb *t, unsigned size, unsigned opc, unsigned reg, unsigned base,
    unsigned index, unsigned scale, int32_t disp)
{
	unsigned mod = 2;

	if (index == H_NONE && base != H_NONE) {
		a_rm(t, size, opc, reg, base, disp);
		return;
	}
	if (base == H_NONE)
		mod = 0;
	else if (disp == (int8_t)disp)
		mod = disp == 0 && (base & 7) != 5 ? 0 : 1;
	a_head(t, size, opc, reg, index == H_NONE ? 0 : index,
	    base == H_NONE ? 0 : base, false);
	a_byte(t, mod << 6 | (reg & 7) << 3 | 4);
	a_byte(t,
	    scale << 6 | (index == H_NONE ? 4 : index & 7) << 3 |
		(base == H_NONE ? 5 : base & 7));
	if (mod == 2 || base == H_NONE)
		a_le(t, (uint32_t)disp, 4);
	else if (mod == 1)
		a_byte(t, (unsigned)disp & 0xff);
}

static inline void
a_mov(struct jb *t, unsigned dst, unsigned src)
{
	if (dst != src)
		a_rr(t, 8, 0x8b, dst, src);
}
static inline void
a_load(struct jb *t, unsigned dst, int32_t off)
{
	a_rm(t, 8, 0x8b, dst, H_CPU, off);
}
static inline void
a_store(struct jb *t, unsigned src, int32_t off)
{
	a_rm(t, 8, 0x89, src, H_CPU, off);
}
static inline void
a_lea(struct jb *t, unsigned dst, unsigned base, int32_t disp)
{
	a_rm(t, 8, 0x8d, dst, base, disp);
}
/* The same of a guest's address: 32 bits in 32-bit code. */
static inline void
a_leaw(struct jb *t, unsigned dst, unsigned base, int32_t disp)
{
	a_rm(t, jb_word(t), 0x8d, dst, base, disp);
}
static inline void
a_imm64(struct jb *t, unsigned dst, uint64_t v)
{
	if (v <= 0xffffffffull) {
		a_head(t, 4, 0xb8 + (dst & 7), 0, 0, dst, false);
		a_le(t, v, 4);
	} else if ((uint64_t)(int64_t)(int32_t)v == v) {
		a_rr(t, 8, 0xc7, 0, dst);
		a_le(t, v, 4);
	} else {
		a_head(t, 8, 0xb8 + (dst & 7), 0, 0, dst, false);
		a_le(t, v, 8);
	}
}
/* An immediate of an instruction of this size. */
static inline void
a_immz(struct jb *t, unsigned size, int64_t v)
{
	a_le(t, (uint64_t)v, size == 8 ? 4 : size);
}

static inline void
a_jump_to(struct jb *t, unsigned target)
{
	a_byte(t, 0xe9);
	a_le(t, target - (a_here(t) + 4), 4);
}
static inline void
a_call_to(struct jb *t, unsigned target)
{
	a_byte(t, 0xe8);
	a_le(t, target - (a_here(t) + 4), 4);
}
/* A jump whose target comes later; returns the rel32's offset. */
static inline uint32_t
a_jcc(struct jb *t, unsigned cc)
{
	a_byte(t, 0x0f);
	a_byte(t, 0x80 | cc);
	a_le(t, 0, 4);
	return (a_here(t) - 4);
}
static inline uint32_t
a_jmp(struct jb *t)
{
	a_byte(t, 0xe9);
	a_le(t, 0, 4);
	return (a_here(t) - 4);
}
static inline void
a_patch(struct jit *j, uint32_t site, uint32_t target)
{
	uint32_t rel = target - (site + 4);

	memcpy(j->rw + site, &rel, 4);
}
static inline void
a_land(struct jb *t, uint32_t site)
{
	if (!t->full)
		a_patch(t->j, site, a_here(t));
}

#endif
