/*
 * Addressing forms: ModRM, SIB, displacement, segment and the mode in which
 * soft_ea() computes the address.
 */
#include "soft_core_local.h"

/*
 * Choose segment and address mode of a memory operand.  (segov) is the
 * override prefix or -1, (defseg) the segment that the form implies.
 */
void
decode_amode(const struct soft_dec *d, struct insn *in, int segov, int defseg)
{
	bool flat;
	int seg;

	if (d->mode & MODE_64) {
		if (segov != S_FS && segov != S_GS) {
			in->seg = S_FLAT;
			if (defseg == S_SS)
				in->flags |= IN_SS;
		} else
			in->seg = (uint8_t)segov;
		if (d->asize == 8)
			in->amode = AM_64;
		else if (in->seg == S_FLAT)
			in->amode = AM_FLAT32;
		else
			in->amode = AM_SLOW;
	} else {
		seg = segov >= 0 ? segov : defseg;
		in->seg = (uint8_t)seg;
		if (seg == S_SS)
			in->flags |= IN_SS;
		flat = (d->mode & MODE_FLAT) != 0 &&
		    (seg == S_DS || seg == S_ES || seg == S_SS);
		in->amode = flat && d->asize == 4 ? AM_FLAT32 : AM_SLOW;
	}
	if (d->asize == 4 && (d->mode & MODE_64))
		in->flags |= IN_AS32;
	else if (d->asize == 4)
		in->flags |= IN_AS32;
	else if (d->asize == 2)
		in->flags |= IN_AS16;
}

/* 16-bit forms: BX/BP + SI/DI + disp8/16. */
static int
modrm16(struct dec_cur *c, struct insn *in, unsigned mod, unsigned rm)
{
	static const uint8_t base[8] = { R_BX, R_BX, R_BP, R_BP, R_SI, R_DI,
		R_BP, R_BX };
	static const uint8_t idx[8] = { R_SI, R_DI, R_SI, R_DI, R_ZERO, R_ZERO,
		R_ZERO, R_ZERO };

	if (mod == 0 && rm == 6) {
		in->disp = (int16_t)cur_le(c, 2);
		return (S_DS);
	}
	in->base = base[rm];
	in->index = idx[rm];
	if (mod == 1)
		in->disp = (int8_t)cur_le(c, 1);
	else if (mod == 2)
		in->disp = (int16_t)cur_le(c, 2);
	return (in->base == R_BP ? S_SS : S_DS);
}

/* Parse ModRM's memory form; see soft_core_local.h. */
bool
decode_modrm(struct dec_cur *c, struct soft_dec *d, struct insn *in, int segov)
{
	unsigned mod, rm, sib, base, index, r;
	bool riprel = false;
	int defseg = S_DS;

	mod = d->modrm >> 6;
	rm = d->modrm & 7;
	in->base = R_ZERO;
	in->index = R_ZERO;
	in->flags |= IN_MEM;
	r = d->rex;
	if (d->asize == 2) {
		defseg = modrm16(c, in, mod, rm);
		decode_amode(d, in, segov, defseg);
		return (false);
	}
	if (rm == 4) {
		sib = (unsigned)cur_le(c, 1);
		base = (sib & 7) | ((r & 1) << 3);
		index = ((sib >> 3) & 7) | ((r & 2) << 2);
		if (index != 4) {
			in->index = (uint8_t)index;
			in->scale = (uint8_t)(sib >> 6);
		}
		if ((sib & 7) == 5 && mod == 0)
			in->disp = (int32_t)cur_le(c, 4);
		else
			in->base = (uint8_t)base;
	} else if (rm == 5 && mod == 0) {
		in->disp = (int32_t)cur_le(c, 4);
		riprel = (d->mode & MODE_64) != 0;
	} else
		in->base = (uint8_t)(rm | ((r & 1) << 3));
	if (mod == 1)
		in->disp = (int8_t)cur_le(c, 1);
	else if (mod == 2)
		in->disp = (int32_t)cur_le(c, 4);
	if (in->base == R_SP || in->base == R_BP)
		defseg = S_SS;
	decode_amode(d, in, segov, defseg);
	return (riprel);
}
