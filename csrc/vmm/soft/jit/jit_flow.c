/*
 * Control transfers of translated code.  Targets on the block's own page are
 * linked; others are looked up.  What is out of the ordinary (a TLB miss, a
 * target that may not be canonical) runs the whole record in the
 * interpreter, before anything has changed.
 */
#include "int_local.h"
#include "jit_asm.h"

#define G_SP 4u

/*
 * The target (off) bytes from the page must be canonical: bit 47 may not
 * turn over on the way.  H_ADDR = the page.
 */
static void
check_distance(struct jb *t, int64_t off)
{
	a_load(t, H_ADDR, OFF_CPU(jit_page));
	a_lea(t, H_AX, H_ADDR, (int32_t)off);
	a_rr(t, 8, 0x33, H_AX, H_ADDR);
	a_rr(t, 8, 0x0fba, 4, H_AX);
	a_byte(t, 47);
	jb_leave_if(t, C_B);
}

/*
 * Go (dist) bytes on from the block's start.  (jump): not just on to the next
 * instruction; the target is checked, or cut to 32 bits.
 */
static void
go(struct jb *t, int64_t dist, bool jump)
{
	int64_t off = (int64_t)t->boff + dist;

	if (off >= 0 && off < (int64_t)PAGE_SIZE) {
		jb_link(t, (uint32_t)off);
		return;
	}
	if (jump && jb_word(t) == 8)
		check_distance(t, off);
	else
		a_load(t, H_ADDR, OFF_CPU(jit_page));
	if (jump)
		a_leaw(t, H_ADDR, H_ADDR, (int32_t)off);
	else
		a_lea(t, H_ADDR, H_ADDR, (int32_t)off);
	a_jump_to(t, t->j->lookup);
}

/* The address in (h) must be canonical. */
static void
check_canonical(struct jb *t, unsigned h)
{
	if (jb_word(t) != 8)
		return;
	a_mov(t, H_AX, h);
	a_rr(t, 8, 0xc1, 4, H_AX);
	a_byte(t, 16);
	a_rr(t, 8, 0xc1, 7, H_AX);
	a_byte(t, 16);
	a_rr(t, 8, 0x3b, H_AX, h);
	jb_leave_if(t, C_NZ);
}

static bool
dist_ok(const struct jb *t, int64_t *dist)
{
	const struct insn *in = &t->in[t->k];

	*dist = (int64_t)in->imm + in->off + in->len;
	return (*dist + (int64_t)PAGE_SIZE <= INT32_MAX);
}

static bool
flow_jcc(struct jb *t)
{
	const struct insn *in = &t->in[t->k];
	uint32_t taken;
	int64_t dist;

	if (!dist_ok(t, &dist))
		return (false);
	jb_flags_load(t);
	taken = a_jcc(t, t->d[t->k].opcode & 15);
	go(t, in->off + in->len, false);
	a_land(t, taken);
	go(t, dist, true);
	return (true);
}

/* The return address to the stack; H_ADDR and rax are used. */
static void
push_return(struct jb *t)
{
	const struct insn *in = &t->in[t->k];
	const unsigned w = jb_word(t);

	a_leaw(t, H_ADDR, jit_host[G_SP], -(int32_t)w);
	jb_probe(t, w, true, true);
	a_load(t, H_AX, OFF_CPU(jit_page));
	a_lea(t, H_AX, H_AX, (int32_t)(t->boff + in->off + in->len));
	a_rm(t, w, 0x89, H_AX, H_ADDR, 0);
	a_leaw(t, jit_host[G_SP], jit_host[G_SP], -(int32_t)w);
}

static bool
flow_call_near(struct jb *t)
{
	int64_t dist, off;

	if (!dist_ok(t, &dist))
		return (false);
	off = (int64_t)t->boff + dist;
	/* The target's check comes before the push. */
	if (jb_word(t) == 8 && (off < 0 || off >= (int64_t)PAGE_SIZE))
		check_distance(t, off);
	push_return(t);
	go(t, dist, jb_word(t) != 8);
	return (true);
}

/* The linear address of a memory operand, probed: H_ADDR = its value. */
static void
load_target(struct jb *t)
{
	const unsigned w = jb_word(t);

	jb_addr(t, w);
	jb_probe(t, w, false, true);
	a_rm(t, w, 0x8b, H_ADDR, H_ADDR, 0);
}

/* FF /2 and /4 */
static bool
flow_indirect(struct jb *t, bool call)
{
	const struct soft_dec *d = &t->d[t->k];
	const struct insn *in = &t->in[t->k];

	/* A segment with a base has a slow way that this could not take. */
	if (d->mem && (!jb_mem_ok(t) || in->amode == AM_SLOW))
		return (false);
	if (d->mem)
		load_target(t);
	else
		a_rr(t, jb_word(t), 0x8b, H_ADDR, jb_src(t, in->rm, H_ADDR));
	check_canonical(t, H_ADDR);
	if (call) {
		a_rm(t, 8, 0x89, H_ADDR, H_SP, 0);
		push_return(t);
		a_rm(t, 8, 0x8b, H_ADDR, H_SP, 0);
	}
	a_jump_to(t, t->j->lookup);
	return (true);
}

static bool
flow_ret(struct jb *t)
{
	const struct insn *in = &t->in[t->k];
	const unsigned w = jb_word(t);

	a_rr(t, w, 0x8b, H_ADDR, jit_host[G_SP]);
	jb_probe(t, w, false, true);
	a_rm(t, w, 0x8b, H_ADDR, H_ADDR, 0);
	check_canonical(t, H_ADDR);
	a_leaw(t, jit_host[G_SP], jit_host[G_SP], (int32_t)w + in->imm);
	a_jump_to(t, t->j->lookup);
	return (true);
}

bool
jit_flow(struct jb *t)
{
	const struct soft_dec *d = &t->d[t->k];
	int64_t dist;

	if (d->row == NULL || d->lock || d->opsize != jb_word(t))
		return (false);
	if (d->row->bind == ibind_jcc)
		return (flow_jcc(t));
	if (d->row->bind == ibind_jmp) {
		if (d->opcode == 0xff)
			return (flow_indirect(t, false));
		if (!dist_ok(t, &dist))
			return (false);
		go(t, dist, true);
		return (true);
	}
	if (d->row->bind == ibind_call)
		return (d->opcode == 0xff ? flow_indirect(t, true)
					  : flow_call_near(t));
	if (d->row->bind == ibind_ret)
		return (flow_ret(t));
	return (false);
}
