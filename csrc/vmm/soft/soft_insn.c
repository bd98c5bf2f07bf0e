/*
 * What the bytes of one instruction say, for a backend that must find the
 * instruction it stopped in.  Nothing is executed.
 */
#include <string.h>

#include "soft_core_local.h"
#include "soft_step.h"

#define OP_INS 0x6c    /* to OUTS, 0x6f */
#define OP_IN_IMM 0xe4 /* IN and OUT with the port in the instruction */
#define OP_IN_DX 0xec  /* and in DX */

static enum soft_insn_kind
port_kind(const struct soft_dec *d)
{
	if (d->row->map != M_1)
		return (SOFT_INSN_OTHER);
	if ((d->opcode & 0xfc) == OP_INS)
		return ((d->opcode & 2) != 0 ? SOFT_INSN_OUTS : SOFT_INSN_INS);
	if ((d->opcode & 0xf4) == OP_IN_IMM)
		return ((d->opcode & 2) != 0 ? SOFT_INSN_OUT : SOFT_INSN_IN);
	return (SOFT_INSN_OTHER);
}

static uint64_t
operand_lin(const struct soft_insn_ctx *c, const struct soft_dec *d,
    const struct insn *in, uint64_t at)
{
	uint64_t gpr[R_COUNT] = { 0 }, ea;

	memcpy(gpr, c->gpr, sizeof(c->gpr));
	gpr[R_BLOCK] = at;
	gpr[R_BIG] = 1u << 30;
	if (d->row->imm == I_MOFFS)
		ea = in->imm64;
	else
		ea = gpr[in->base] + (gpr[in->index] << in->scale) +
		    (uint64_t)(int64_t)in->disp;
	if ((in->flags & IN_AS16) != 0)
		ea = (uint16_t)ea;
	else if ((in->flags & IN_AS32) != 0)
		ea = (uint32_t)ea;
	if (in->seg < 6)
		ea += c->segbase[in->seg];
	return (c->bits == 64 ? ea : (uint32_t)ea);
}

bool
soft_insn_info(const struct soft_insn_ctx *c, uint64_t at, const uint8_t *bytes,
    unsigned n, struct soft_insn_info *info)
{
	uint32_t mode = MODE_PROT | MODE_CPL0;
	struct soft_dec d;
	struct insn in = { .off = 0 };

	decode_init();
	if (c->bits == 64)
		mode |= MODE_64 | MODE_LONG | MODE_SS32;
	else if (c->bits == 32)
		mode |= MODE_CS32 | MODE_SS32;
	if (decode_insn(&d, &in, bytes, n, mode) != DEC_OK || d.row == NULL)
		return (false);
	memset(info, 0, sizeof(*info));
	info->len = in.len;
	info->kind = port_kind(&d);
	info->size = d.opsize;
	if (info->kind != SOFT_INSN_OTHER && d.opsize == 8)
		info->size = 4;
	info->string = (d.row->attr & A_REP) != 0;
	info->rep = info->string && d.rep != 0;
	info->asize = d.asize;
	info->port = d.row->imm == I_BU ? (uint8_t)in.imm : -1;
	info->mem = d.mem && (d.row->attr & A_EA) == 0;
	if (info->mem)
		info->lin = operand_lin(c, &d, &in, at);
	return (true);
}
