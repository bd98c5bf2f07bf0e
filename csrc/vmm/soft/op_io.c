/*
 * Port instructions: permission (IOPL, the TSS's bitmap), then the access.
 * String forms finish one element at a time, so that an exit or an interrupt
 * between elements finds registers that say where to go on.
 */
#include "int_local.h"
#include "sys_local.h"

/* The TSS's I/O permission bitmap: every bit of the access must be 0. */
static bool
io_bitmap_ok(struct softcpu *cpu, uint16_t port, int bytes)
{
	uint64_t base = cpu->tr.base;
	uint16_t map, bits;

	if ((cpu->tr.attr & (AT_UNUSABLE | AT_P | 8)) != (AT_P | 8) ||
	    cpu->tr.limit < 0x67)
		return (sys_fail(cpu, X_GP, 0));
	if (!soft_sys_ld(cpu, sys_lin(cpu, base + 0x66), 2, &map))
		return (false);
	/* Two bytes are read always: the limit must cover both. */
	if ((uint32_t)map + port / 8u + 1 > cpu->tr.limit)
		return (sys_fail(cpu, X_GP, 0));
	if (!soft_sys_ld(cpu, sys_lin(cpu, base + map + port / 8u), 2, &bits))
		return (false);
	if ((bits >> (port & 7)) & ((1u << bytes) - 1))
		return (sys_fail(cpu, X_GP, 0));
	return (true);
}

static bool
io_allowed(struct softcpu *cpu, const struct insn *in, uint16_t port)
{
	if (!(cpu->mode & MODE_V86) && cpu->cpl <= sys_iopl(cpu))
		return (true);
	cpu->rip = soft_rip(cpu, in);
	return (io_bitmap_ok(cpu, port, in->aux));
}

static __attribute__((__noinline__)) bool
io_in(struct softcpu *cpu, const struct insn *in, uint16_t port)
{
	uint32_t val;

	if (!io_allowed(cpu, in, port) ||
	    !soft_port_in(cpu, in, port, in->aux, false, &val))
		return (false);
	if (in->aux == 1)
		BREG(cpu, 0) = (uint8_t)val;
	else if (in->aux == 2)
		WREG(cpu, R_AX) = (uint16_t)val;
	else
		cpu->gpr[R_AX] = val;
	if (cpu->dr7_active)
		sys_check_io_bp(cpu, port, in->aux);
	return (true);
}

static __attribute__((__noinline__)) bool
io_out(struct softcpu *cpu, const struct insn *in, uint16_t port)
{
	static const uint32_t mask[] = { 0, 0xff, 0xffff, 0, ~0u };

	if (!io_allowed(cpu, in, port) ||
	    !soft_port_out(cpu, in, port, in->aux, false,
		(uint32_t)cpu->gpr[R_AX] & mask[in->aux]))
		return (false);
	if (cpu->dr7_active)
		sys_check_io_bp(cpu, port, in->aux);
	return (true);
}

static void
op_in_imm(struct softcpu *cpu, const struct insn *in)
{
	if (io_in(cpu, in, (uint8_t)in->imm))
		soft_end(cpu, in);
}
static void
op_in_dx(struct softcpu *cpu, const struct insn *in)
{
	if (io_in(cpu, in, WREG(cpu, R_DX)))
		soft_end(cpu, in);
}
static void
op_out_imm(struct softcpu *cpu, const struct insn *in)
{
	if (io_out(cpu, in, (uint8_t)in->imm))
		soft_end(cpu, in);
}
static void
op_out_dx(struct softcpu *cpu, const struct insn *in)
{
	if (io_out(cpu, in, WREG(cpu, R_DX)))
		soft_end(cpu, in);
}

/* ---- INS, OUTS ---- */

static uint64_t
io_amask(const struct insn *in)
{
	if (in->flags & IN_AS16)
		return (0xffff);
	return ((in->flags & IN_AS32) ? 0xffffffffull : ~0ull);
}

/* Write a count or index register at the address size. */
static void
io_setreg(struct softcpu *cpu, const struct insn *in, int reg, uint64_t val)
{
	if (in->flags & IN_AS16)
		WREG(cpu, reg) = (uint16_t)val;
	else
		cpu->gpr[reg] = val & io_amask(in);
}

static uint64_t
io_step(const struct softcpu *cpu, const struct insn *in)
{
	return ((cpu->rfl & FL_DF) ? -(uint64_t)in->aux : in->aux);
}

static bool
ins_element(struct softcpu *cpu, const struct insn *in)
{
	uint64_t lin, off;
	uint32_t val;

	off = cpu->gpr[R_DI] & io_amask(in);
	if (!int_seg_lin(cpu, in, S_ES, off, in->aux, true, &lin) ||
	    !soft_probe_write(cpu, in, lin, in->aux) ||
	    !soft_port_in(cpu, in, WREG(cpu, R_DX), in->aux, true, &val) ||
	    !soft_st_bytes(cpu, in, lin, &val, in->aux))
		return (false);
	io_setreg(cpu, in, R_DI, off + io_step(cpu, in));
	return (true);
}

static bool
outs_element(struct softcpu *cpu, const struct insn *in)
{
	uint64_t lin, off;
	uint32_t val;

	off = cpu->gpr[R_SI] & io_amask(in);
	val = 0;
	if (!int_seg_lin(cpu, in, in->seg, off, in->aux, false, &lin) ||
	    !soft_ld_bytes(cpu, in, lin, &val, in->aux) ||
	    !soft_port_out(cpu, in, WREG(cpu, R_DX), in->aux, true, val))
		return (false);
	io_setreg(cpu, in, R_SI, off + io_step(cpu, in));
	return (true);
}

/* True: the whole instruction is done. */
static bool
io_string(struct softcpu *cpu, const struct insn *in,
    bool (*element)(struct softcpu *, const struct insn *))
{
	bool rep = (in->flags & (IN_REP | IN_REPNE)) != 0;
	uint64_t count;

	count = rep ? cpu->gpr[R_CX] & io_amask(in) : 1;
	if (count == 0)
		return (true);
	if (!io_allowed(cpu, in, WREG(cpu, R_DX)))
		return (false);
	for (;;) {
		if (!element(cpu, in))
			return (false);
		if (cpu->dr7_active)
			sys_check_io_bp(cpu, WREG(cpu, R_DX), in->aux);
		if (!rep)
			return (true);
		io_setreg(cpu, in, R_CX, --count);
		if (count == 0)
			return (true);
		soft_io_commit(cpu);
		if ((cpu->mode & MODE_TF) || cpu->dr6_pending != 0 ||
		    atomic_load_explicit(cpu->pending, memory_order_relaxed) !=
			0) {
			sys_done(cpu, soft_rip(cpu, in));
			return (false);
		}
	}
}

static void
op_ins(struct softcpu *cpu, const struct insn *in)
{
	if (io_string(cpu, in, ins_element))
		soft_end(cpu, in);
}
static void
op_outs(struct softcpu *cpu, const struct insn *in)
{
	if (io_string(cpu, in, outs_element))
		soft_end(cpu, in);
}

/* Ports are at most 32 bits wide, whatever REX.W says. */
static soft_op
bind_io(const struct soft_dec *d, struct insn *in, soft_op op)
{
	in->aux = d->opsize == 8 ? 4 : d->opsize;
	return (op);
}
soft_op
bind_in_imm(const struct soft_dec *d, struct insn *in)
{
	return (bind_io(d, in, op_in_imm));
}
soft_op
bind_in_dx(const struct soft_dec *d, struct insn *in)
{
	return (bind_io(d, in, op_in_dx));
}
soft_op
bind_out_imm(const struct soft_dec *d, struct insn *in)
{
	return (bind_io(d, in, op_out_imm));
}
soft_op
bind_out_dx(const struct soft_dec *d, struct insn *in)
{
	return (bind_io(d, in, op_out_dx));
}
soft_op
bind_ins(const struct soft_dec *d, struct insn *in)
{
	return (bind_io(d, in, op_ins));
}
soft_op
bind_outs(const struct soft_dec *d, struct insn *in)
{
	return (bind_io(d, in, op_outs));
}
