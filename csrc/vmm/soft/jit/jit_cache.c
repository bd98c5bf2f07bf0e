/*
 * The translator's memory and its fixed pieces of code: how the interpreter
 * enters translated code and how that goes back.
 *
 * One memfd is mapped twice, writable here and executable there; no address
 * is ever both.  Each vCPU has its own, and only its thread runs or changes
 * it, so patching needs no lock.  The cache is emptied together with the
 * vCPU's blocks.
 */
#include <sys/mman.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "jit_asm.h"
#include "soft_goto.h"

#define JIT_HOT 24 /* entries of a block before it is worth its code */

const uint8_t jit_host[16] = {
	[0] = H_12,
	[1] = H_CX,
	[2] = H_DX,
	[3] = H_BX,
	[4] = H_11,
	[5] = H_BP,
	[6] = H_SI,
	[7] = H_DI,
	[8] = H_8,
	[9] = H_9,
	[10] = H_NONE,
	[11] = H_NONE,
	[12] = H_10,
	[13] = H_NONE,
	[14] = H_NONE,
	[15] = H_NONE,
};

/* ---- called from translated code ---- */

static void
op_done(struct softcpu *cpu, const struct insn *in)
{
	(void)in;
	cpu->jit_done = 1;
}

/*
 * Run the handler of record k, and only that one.  False: leave translated
 * code; rip is exact.  When the handler's own store kills the block, the
 * next record is op_stale by then.
 */
static bool
jit_interp(struct softcpu *cpu, struct block *b, unsigned k)
{
	struct insn *in = &b->insn[k];
	const soft_op here = in->op, next = in[1].op;

	cpu->gpr[R_BLOCK] = cpu->jit_page + PAGE_OFF(b->gpa);
	cpu->jit_done = 0;
	in[1].op = op_done;
	if (k == 0)
		in->op = *jit_first_op(b);
	in->op(cpu, in);
	if (likely(!b->dead)) {
		in->op = here;
		in[1].op = next;
	}
	return (cpu->jit_done != 0);
}

/* The same for a copy of a record. */
static bool
jit_copy(struct softcpu *cpu, struct jrec *t)
{
	cpu->gpr[R_BLOCK] = cpu->jit_page + PAGE_OFF(t->blk->gpa);
	cpu->jit_done = 0;
	t->in.op(cpu, &t->in);
	if (!cpu->jit_done)
		return (false);
	if (unlikely(t->blk->dead)) {
		cpu->rip = soft_rip_next(cpu, &t->in);
		return (false);
	}
	return (true);
}

/* ---- stubs ---- */

static const uint8_t saved[] = { H_BX, H_BP, H_12, H_13, H_14, H_15 };

static void
stub_spill(struct jb *t)
{
	for (unsigned g = 0; g < 16; g++)
		if (jit_host[g] != H_NONE)
			a_store(t, jit_host[g], OFF_GPR(g));
}

static void
stub_fill(struct jb *t)
{
	for (unsigned g = 0; g < 16; g++)
		if (jit_host[g] != H_NONE)
			a_load(t, jit_host[g], OFF_GPR(g));
}

static void
stub_pops(struct jb *t)
{
	a_rr(t, 8, 0x83, 0, H_SP);
	a_byte(t, 8);
	for (int i = 5; i >= 0; i--) {
		a_head(t, 4, 0x58 + (saved[i] & 7), 0, 0, saved[i], false);
	}
}

/*
 * enter: a handler.  rdi: cpu, rsi: the block's first record.
 * The stack is 16-byte aligned in translated code.
 */
static void
stub_enter(struct jb *t)
{
	t->j->enter = a_here(t);
	for (int i = 0; i < 6; i++)
		a_head(t, 4, 0x50 + (saved[i] & 7), 0, 0, saved[i], false);
	a_rr(t, 8, 0x83, 5, H_SP);
	a_byte(t, 8);
	a_mov(t, H_CPU, H_DI);
	a_rm(t, 8, 0x8b, H_AX, H_SI,
	    (int32_t)offsetof(struct block, tcode) -
		(int32_t)offsetof(struct block, insn));
	stub_fill(t);
	a_load(t, H_ADDR, OFF_GPR(R_BLOCK));
	a_rr(t, 4, 0xff, 4, H_AX);
}

/* unwind: rip = r14, back to soft_run()'s loop.  outside: rip is set and
 * the registers are in gpr[]. */
static void
stub_unwind(struct jb *t)
{
	t->j->unwind = a_here(t);
	a_store(t, H_ADDR, OFF_CPU(rip));
	stub_spill(t);
	t->j->outside = a_here(t);
	stub_pops(t);
	a_byte(t, 0xc3);
}

/* rax: a record to go on with, r13: its handler, which is jumped to. */
static void
stub_to_record(struct jb *t)
{
	a_mov(t, H_DI, H_CPU);
	a_mov(t, H_SI, H_AX);
	a_mov(t, H_AX, H_TMP);
	stub_pops(t);
	a_rr(t, 4, 0xff, 4, H_AX);
}

/* leave: rax: the record, r13: its handler, r14: the block's page offset. */
static void
stub_leave(struct jb *t)
{
	t->j->leave = a_here(t);
	a_rm(t, 8, 0x03, H_ADDR, H_CPU, OFF_CPU(jit_page));
	a_store(t, H_ADDR, OFF_GPR(R_BLOCK));
	stub_spill(t);
	stub_to_record(t);
}

/*
 * interp: rax: the block, r14: the record's number; copy: rax: struct jrec.
 * Both return, or leave translated code.
 */
static void
stub_handler(struct jb *t, uint64_t fn)
{
	uint32_t out;

	stub_spill(t);
	a_rr(t, 8, 0x83, 5, H_SP);
	a_byte(t, 8);
	a_mov(t, H_DI, H_CPU);
	a_mov(t, H_SI, H_AX);
	a_mov(t, H_DX, H_ADDR);
	a_imm64(t, H_AX, fn);
	a_rr(t, 4, 0xff, 2, H_AX);
	a_rr(t, 8, 0x83, 0, H_SP);
	a_byte(t, 8);
	a_rr(t, 1, 0x84, H_AX, H_AX);
	out = a_jcc(t, C_Z);
	stub_fill(t);
	a_byte(t, 0xc3);
	a_land(t, out);
	a_rr(t, 8, 0x83, 0, H_SP); /* the return address */
	a_byte(t, 8);
	a_jump_to(t, t->j->outside);
}

/*
 * lookup: go to the linear address in r14 by the jump cache, as soft_goto()
 * does.  A block without code is run by the interpreter: its tcode is
 * "outside the cache", the last piece here.
 */
static void
stub_lookup(struct jb *t)
{
	uint32_t miss[2];

	t->j->lookup = a_here(t);
	a_load(t, H_TMP, OFF_CPU(pending));
	a_rm(t, 4, 0x83, 7, H_TMP, 0);
	a_byte(t, 0);
	miss[0] = a_jcc(t, C_NZ);
	a_mov(t, H_AX, H_ADDR);
	a_rr(t, 8, 0xc1, 5, H_AX);
	a_byte(t, JC_BITS);
	a_rr(t, 4, 0x31, H_ADDR, H_AX);
	a_rr(t, 4, 0x81, 4, H_AX);
	a_le(t, (1u << JC_BITS) - 1, 4);
	a_rr(t, 4, 0xc1, 4, H_AX);
	a_byte(t, 4);
	a_mov(t, H_TMP, H_ADDR);
	a_rm(t, 8, 0x33, H_TMP, H_CPU, OFF_CPU(modekey));
	a_rx(t, 8, 0x3b, H_TMP, H_CPU, H_AX, 0, OFF_CPU(jc));
	miss[1] = a_jcc(t, C_NZ);
	a_rx(t, 8, 0x8b, H_TMP, H_CPU, H_AX, 0, OFF_CPU(jc) + 8);
	a_rm(t, 4, 0xff, 4, H_TMP, (int32_t)offsetof(struct block, tcode));
	a_land(t, miss[0]);
	a_land(t, miss[1]);
	a_jump_to(t, t->j->unwind);
}
_Static_assert(sizeof(struct jcent) == 16 && offsetof(struct jcent, blk) == 8,
    "the jump cache's entries");

/* tcode of blocks that have no code; r13: the block, r14: its address. */
static uint32_t
stub_plain(struct jb *t)
{
	uint32_t at = a_here(t);

	a_store(t, H_ADDR, OFF_GPR(R_BLOCK));
	stub_spill(t);
	a_lea(t, H_AX, H_TMP, (int32_t)offsetof(struct block, insn));
	a_rm(t, 8, 0x8b, H_TMP, H_AX, 0);
	stub_to_record(t);
	return (at);
}

static void
jit_stubs(struct jit *j)
{
	struct jb t = { .j = j, .p = j->rw, .end = j->rw + JIT_ROOM };

	stub_enter(&t);
	stub_unwind(&t);
	stub_leave(&t);
	j->interp = a_here(&t);
	stub_handler(&t, (uint64_t)(uintptr_t)jit_interp);
	j->copy = a_here(&t);
	stub_handler(&t, (uint64_t)(uintptr_t)jit_copy);
	stub_lookup(&t);
	j->plain = stub_plain(&t);
	j->first = (a_here(&t) + 63) & ~63u;
	j->used = j->first;
}

/* ---- memory ---- */

static bool
jit_map(struct jit *j)
{
	void *rw, *rx = MAP_FAILED;
	int fd;

	fd = memfd_create("vmm-code", MFD_CLOEXEC);
	if (fd < 0)
		return (false);
	rw = MAP_FAILED;
	if (ftruncate(fd, JIT_CODE) == 0)
		rw = mmap(
		    NULL, JIT_CODE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (rw != MAP_FAILED)
		rx = mmap(
		    NULL, JIT_CODE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	close(fd);
	if (rx == MAP_FAILED) {
		if (rw != MAP_FAILED)
			munmap(rw, JIT_CODE);
		return (false);
	}
	j->rw = rw;
	j->rx = rx;
	j->data = mmap(NULL, JIT_DATA, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (j->data == MAP_FAILED) {
		munmap(rw, JIT_CODE);
		munmap(rx, JIT_CODE);
		return (false);
	}
	return (true);
}

/* Translate after this many entries; 0: never. */
static uint32_t
jit_wanted(void)
{
	const char *s = getenv("BHYVE_TRANSLATE");

#ifndef __x86_64__
	return (0);
#endif
	if (!vmm_translate())
		return (0);
	return (s != NULL && strcmp(s, "all") == 0 ? 1 : JIT_HOT);
}

/* Called when the vCPU runs for the first time: it has no block yet. */
void
jit_init(struct softcpu *cpu)
{
	struct jit *j;
	uint32_t hot;

	if (cpu->core->jit_asked)
		return;
	cpu->core->jit_asked = true;
	hot = jit_wanted();
	if (hot == 0)
		return;
	j = calloc(1, sizeof(*j));
	if (j == NULL || !jit_map(j)) {
		if (cpu->vcpuid == 0)
			fprintf(stderr,
			    "soft: this host gives no executable "
			    "memory (%s); guests are interpreted\n",
			    strerror(errno));
		free(j);
		return;
	}
	j->hot = hot;
	jit_stubs(j);
	jit_serialize();
	cpu->core->jit = j;
}

void
jit_fini(struct softcpu *cpu)
{
	struct jit *j = cpu->core->jit;

	if (j == NULL)
		return;
	munmap(j->rw, JIT_CODE);
	munmap((void *)(uintptr_t)j->rx, JIT_CODE);
	munmap(j->data, JIT_DATA);
	free(j);
	cpu->core->jit = NULL;
}

/* All blocks are gone. */
void
jit_flush(struct softcpu *cpu)
{
	struct jit *j = cpu->core->jit;

	if (j == NULL)
		return;
	memset(j->links, 0, sizeof(j->links));
	j->used = j->first;
	j->data_used = 0;
}

void *
jit_data(struct jit *j, size_t n)
{
	void *p;

	n = (n + 7) & ~(size_t)7;
	if (JIT_DATA - j->data_used < n)
		return (NULL);
	p = j->data + j->data_used;
	j->data_used += (uint32_t)n;
	return (p);
}

/*
 * Code was written through another address than it is run from: the
 * processor's manuals want a serializing instruction in between.  IRET is
 * one that needs no privilege and does not trap under a hypervisor.
 */
void
jit_serialize(void)
{
#ifdef __x86_64__
	__asm__ volatile("subq $128, %%rsp\n\t"
			 "movq %%rsp, %%rax\n\t"
			 "movl %%ss, %%ecx\n\t"
			 "pushq %%rcx\n\t"
			 "pushq %%rax\n\t"
			 "pushfq\n\t"
			 "movl %%cs, %%ecx\n\t"
			 "pushq %%rcx\n\t"
			 "leaq 1f(%%rip), %%rcx\n\t"
			 "pushq %%rcx\n\t"
			 "iretq\n"
			 "1:\taddq $128, %%rsp"
			 :
			 :
			 : "rax", "rcx", "cc", "memory");
#endif
}

/* ---- from the interpreter ---- */

/* The first record of a block that is not translated yet. */
static void
op_count(struct softcpu *cpu, const struct insn *in)
{
	struct block *b = (struct block *)(void *)(uintptr_t)((uintptr_t)in -
	    offsetof(struct block, insn));
	soft_op op = *jit_first_op(b);

	if (unlikely(++b->hits >= cpu->core->jit->hot)) {
		b->insn[0].op = op;
		if (jit_translate(cpu, b)) {
			op = (soft_op)(uintptr_t)(cpu->core->jit->rx +
			    cpu->core->jit->enter);
			b->insn[0].op = op;
		}
	}
	op(cpu, in);
}

/* 64-bit code, or 32-bit code and stack in segments that start at 0. */
static bool
jit_mode(uint32_t mode)
{
	const uint32_t flat =
	    MODE_PROT | MODE_CS32 | MODE_SS32 | MODE_FLAT | MODE_CSFLAT;

	return ((mode & MODE_TF) == 0 &&
	    ((mode & MODE_64) != 0 || (mode & flat) == flat));
}

/* A new block: count its entries if it may ever be translated. */
void
jit_block(struct softcpu *cpu, struct block *b)
{
	struct jit *j = cpu->core->jit;

	if (j == NULL)
		return;
	b->tcode = j->rx + j->plain;
	if (!jit_mode(b->mode) || b->gpa2 != 0 || b->count == 0 ||
	    decode_unblocks(b->insn[0].op))
		return;
	*jit_first_op(b) = b->insn[0].op;
	b->insn[0].op = op_count;
}

/* The block is killed: whoever jumps to its code looks up its address. */
void
jit_kill(struct softcpu *cpu, struct block *b)
{
	struct jit *j = cpu->core->jit;
	uint32_t at;

	if (j == NULL || b->tcode == j->rx + j->plain)
		return;
	at = b->tlink;
	b->tcode = j->rx + j->plain;
	j->rw[at] = 0xe9;
	a_patch(j, at + 1, at - j->stale_len);
	jit_serialize();
}

soft_op
jit_done_op(void)
{
	return (op_done);
}
