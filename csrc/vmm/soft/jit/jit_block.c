/*
 * From a block's records to host code.
 *
 * The guest's arithmetic flags are the host's as long as nothing disturbs
 * them (t->flags says where they are); they are stored to cpu->cc before
 * something does, unless dead.  In front of each record that may stop, all
 * state but rip is where the interpreter has it or in the registers that the
 * stubs spill: the slow way of any record is its own handler.
 */
#include "jit_asm.h"

/* ---- flags ---- */

void
jb_flags_save(struct jb *t)
{
	if (t->flags != JF_HOST)
		return;
	a_byte(t, 0x9f); /* lahf */
	a_rr(t, 1, 0x0f90, 0, H_AX);
	a_rm(t, 2, 0x89, H_AX, H_CPU, OFF_CPU(cc));
	t->flags = JF_BOTH;
}

static void
flags_to_host(struct jb *t)
{
	a_rm(t, 4, 0x0fb7, H_AX, H_CPU, OFF_CPU(cc));
	a_byte(t, 0x04); /* add al, 0x7f: OF */
	a_byte(t, 0x7f);
	a_byte(t, 0x9e); /* sahf */
}

void
jb_flags_load(struct jb *t)
{
	if (t->flags != JF_MEM)
		return;
	flags_to_host(t);
	t->flags = JF_BOTH;
}

void
jb_flags_carry(struct jb *t)
{
	if (t->flags != JF_MEM)
		return;
	a_rm(t, 2, 0x0fba, 4, H_CPU, OFF_CPU(cc));
	a_byte(t, 8);
}

void
jb_clobber(struct jb *t)
{
	if (t->live[t->k] != 0)
		jb_flags_save(t);
	t->flags = JF_MEM;
}

void
jb_flags_merge(struct jb *t)
{
	if (t->live[t->k + 1] & ~(uint32_t)t->d[t->k].row->fl_write)
		jb_flags_load(t);
}

/* ---- registers ---- */

/* The host register that holds guest register g. */
unsigned
jb_src(struct jb *t, unsigned g, unsigned scratch)
{
	if (jit_host[g] != H_NONE)
		return (jit_host[g]);
	a_load(t, scratch, OFF_GPR(g));
	return (scratch);
}

/* The host register in which g's new value is made; jb_put() ends that. */
unsigned
jb_dst(const struct jb *t, unsigned g, unsigned scratch)
{
	(void)t;
	return (jit_host[g] != H_NONE ? jit_host[g] : scratch);
}

void
jb_put(struct jb *t, unsigned g, unsigned h)
{
	if (jit_host[g] == H_NONE)
		a_store(t, h, OFF_GPR(g));
	else
		a_mov(t, jit_host[g], h);
}

/* ---- the slow ways ---- */

static struct jcold *
cold_new(struct jb *t, uint32_t site)
{
	struct jcold *c;

	if (t->ncold == JCOLD_MAX) {
		t->failed = true;
		return (&t->cold[0]);
	}
	c = &t->cold[t->ncold++];
	memset(c, 0, sizeof(*c));
	c->site = site;
	return (c);
}

/* Does the block's record k do the next one as well? */
static bool
jb_fused(const struct jb *t, int k)
{
	return (k == t->n - 2 &&
	    (k == 0 ? *jit_first_op(t->b) : t->b->insn[k].op) != t->in[k].op);
}

/* The slow way of the record in hand. */
static void
cold_record(struct jb *t, struct jcold *c)
{
	struct jrec *r;

	c->k = t->k;
	c->kind = JC_RECORD;
	if (!jb_fused(t, t->k))
		return;
	c->kind = JC_COPY;
	c->rec = r = jit_data(t->j, sizeof(*r));
	if (r == NULL) {
		t->failed = true;
		return;
	}
	r->in = t->in[t->k];
	r->done = jit_done_op();
	r->blk = t->b;
}

/* On this condition the last record is the interpreter's. */
void
jb_leave_if(struct jb *t, unsigned cc)
{
	struct jcold *c = cold_new(t, a_jcc(t, cc));

	c->kind = JC_LEAVE;
	c->k = t->k;
}

void
jb_leave(struct jb *t)
{
	struct jcold *c = cold_new(t, a_jmp(t));

	c->kind = JC_LEAVE;
	c->k = t->k;
}

static void
jb_call(struct jb *t, const struct jcold *c)
{
	if (c->kind == JC_COPY) {
		a_imm64(t, H_AX, (uint64_t)(uintptr_t)c->rec);
		a_call_to(t, t->j->copy);
		return;
	}
	a_imm64(t, H_ADDR, (unsigned)c->k);
	a_call_to(t, t->thunk);
}

/* On this condition the record's handler does it; nothing has changed. */
void
jb_slow_if(struct jb *t, unsigned cc)
{
	cold_record(t, cold_new(t, a_jcc(t, cc)));
}

/* The record in hand by its handler, in line. */
static void
jb_handler(struct jb *t)
{
	struct jcold c;

	jb_clobber(t);
	cold_record(t, &c);
	jb_call(t, &c);
}

static void
cold_emit(struct jb *t, const struct jcold *c)
{
	a_land(t, c->site);
	switch (c->kind) {
	case JC_LINK:
		a_load(t, H_ADDR, OFF_CPU(jit_page));
		a_lea(t, H_ADDR, H_ADDR, (int32_t)c->off);
		a_jump_to(t, t->j->lookup);
		break;
	case JC_LEAVE:
		a_imm64(t, H_AX, (uint64_t)(uintptr_t)&t->b->insn[c->k]);
		a_rm(t, 8, 0x8b, H_TMP, H_AX,
		    c->k != 0 ? 0
			      : (int32_t)((uint8_t *)jit_first_op(t->b) -
				    (uint8_t *)t->b->insn));
		a_imm64(t, H_ADDR, t->boff);
		a_jump_to(t, t->j->leave);
		break;
	case JC_RECORD:
	case JC_COPY:
		jb_call(t, c);
		if (c->flags)
			flags_to_host(t);
		a_jump_to(t, c->back);
		break;
	}
}

/* ---- memory operands ---- */

bool
jb_mem_ok(const struct jb *t)
{
	const struct insn *in = &t->in[t->k];

	/* RIP-relative: counted from the page, not from the block. */
	if (in->base == R_BLOCK && in->disp > INT32_MAX - (int)PAGE_SIZE)
		return (false);
	/* Of segments with a base, those that systems keep their data in. */
	if (in->amode == AM_SLOW &&
	    ((t->b->mode & MODE_64) || t->d[t->k].asize != 4 ||
		(in->seg != S_FS && in->seg != S_GS)))
		return (false);
	return (in->index <= R_ZERO);
}

/* H_ADDR = offset of the operand; flags stay. */
void
jb_lin(struct jb *t, unsigned scratch)
{
	const struct insn *in = &t->in[t->k];
	unsigned base = H_NONE, index = H_NONE;
	int32_t disp = in->disp;

	if (in->base == R_BLOCK) {
		base = H_ADDR;
		disp += (int32_t)t->boff;
		a_load(t, H_ADDR, OFF_CPU(jit_page));
	} else if (in->base < 16)
		base = jb_src(t, in->base, H_ADDR);
	if (in->index < 16)
		index = jb_src(t, in->index, scratch);
	a_rx(t, t->d[t->k].asize, 0x8d, H_ADDR, base, index, in->scale, disp);
}

/*
 * The TLB probe of an access of (size) bytes at H_ADDR, which then is the
 * host's address.  rax and r13 are used.
 */
void
jb_probe(struct jb *t, unsigned size, bool write, bool leave)
{
	jb_clobber(t);
	a_rr(t, 4, 0x8b, H_TMP, H_ADDR);
	a_rr(t, 4, 0xc1, 5, H_TMP);
	a_byte(t, PAGE_SHIFT - 5);
	a_rr(t, 4, 0x81, 4, H_TMP);
	a_le(t, (TLB_SIZE - 1) << 5, 4);
	a_rm(t, 8, 0x03, H_TMP, H_CPU, OFF_CPU(tlb));
	a_mov(t, H_AX, H_ADDR);
	a_rm(t, 8, 0x2b, H_AX, H_TMP,
	    write ? offsetof(struct tlbe, wtag) : offsetof(struct tlbe, rtag));
	a_rr(t, 8, 0x81, 7, H_AX);
	a_le(t, 4096 - size, 4);
	if (leave)
		jb_leave_if(t, C_A);
	else
		jb_slow_if(t, C_A);
	a_rm(t, 8, 0x03, H_ADDR, H_TMP, offsetof(struct tlbe, addend));
}
_Static_assert(sizeof(struct tlbe) == 32, "the probe's shifts");

/*
 * A segment of 32-bit code with a base: taken when it is writable, expands
 * up, ends at 4 GiB, and the operand does, too.
 */
static void
jb_segment32(struct jb *t, unsigned size)
{
	const int32_t seg =
	    OFF_CPU(seg) + (int32_t)sizeof(struct softseg) * t->in[t->k].seg;

	jb_clobber(t);
	a_rm(t, 4, 0x8b, H_AX, H_CPU,
	    seg + (int32_t)offsetof(struct softseg, attr));
	a_rr(t, 4, 0x81, 4, H_AX);
	a_le(t, SEG_UNUSABLE | 0x1e, 4);
	a_rr(t, 4, 0x83, 7, H_AX);
	a_byte(t, 0x12);
	jb_slow_if(t, C_NZ);
	a_rm(t, 4, 0x83, 7, H_CPU,
	    seg + (int32_t)offsetof(struct softseg, limit));
	a_byte(t, 0xff);
	jb_slow_if(t, C_NZ);
	a_rr(t, 4, 0x83, 7, H_ADDR);
	a_byte(t, (unsigned)-(int)size & 0xff);
	jb_slow_if(t, C_A);
}

/* From the operand's offset in H_ADDR to its linear address. */
void
jb_segment(struct jb *t, unsigned size)
{
	const struct insn *in = &t->in[t->k];

	if (in->amode == AM_FLAT32 || in->seg == S_FLAT)
		return;
	if (in->amode == AM_SLOW)
		jb_segment32(t, size);
	a_load(t, H_TMP, OFF_CPU(segbase) + 8 * in->seg);
	a_rx(t, jb_word(t), 0x8d, H_ADDR, H_ADDR, H_TMP, 0, 0);
}

/* H_ADDR = linear address of an operand of (size) bytes. */
void
jb_addr(struct jb *t, unsigned size)
{
	jb_lin(t, H_TMP);
	jb_segment(t, size);
}

void
jb_mem(struct jb *t, unsigned size, bool write)
{
	jb_addr(t, size);
	jb_probe(t, size, write, false);
}

/* ---- from block to block ---- */

static unsigned
link_hash(uint64_t gpa)
{
	return ((unsigned)((gpa * 0x9e3779b97f4a7c15ull) >> (64 - JLINK_BITS)));
}

/* Go to the block at an offset of the same page. */
void
jb_link(struct jb *t, uint32_t off)
{
	const uint64_t gpa = PAGE_BASE(t->b->gpa) + off;
	struct jcold *c;
	struct jlink *l;

	if (off <= t->boff) {
		/* Each loop comes by here: something may be pending. */
		a_load(t, H_TMP, OFF_CPU(pending));
		a_rm(t, 4, 0x83, 7, H_TMP, 0);
		a_byte(t, 0);
		c = cold_new(t, a_jcc(t, C_NZ));
		c->kind = JC_LINK;
		c->off = off;
	}
	c = cold_new(t, a_jmp(t));
	c->kind = JC_LINK;
	c->off = off;
	l = jit_data(t->j, sizeof(*l));
	if (l == NULL) {
		t->failed = true;
		return;
	}
	l->gpa = gpa | (uint64_t)t->b->mode << 48;
	l->site = c->site;
	l->next = t->links;
	t->links = (uint32_t)((uint8_t *)l - t->j->data) + 1;
}

static struct jlink *
link_of(struct jit *j, uint32_t at)
{
	return ((struct jlink *)(void *)(j->data + at - 1));
}

/* The block's links become jumps where the target has code. */
static void
links_settle(struct jb *t)
{
	struct jit *j = t->j;
	struct jlink *l;
	struct block *to;
	uint32_t at, next;
	unsigned h;

	for (at = t->links; at != 0; at = next) {
		l = link_of(j, at);
		next = l->next;
		h = link_hash(l->gpa);
		l->next = j->links[h];
		j->links[h] = at;
		to = block_at(t->cpu, l->gpa & ~(0xffffull << 48), t->b->mode);
		if (to != NULL && to->tcode != j->rx + j->plain)
			a_patch(j, l->site, to->tlink);
	}
	/* Who waits for this block? */
	for (at = j->links[link_hash(t->b->gpa | (uint64_t)t->b->mode << 48)];
	     at != 0; at = l->next) {
		l = link_of(j, at);
		if (l->gpa == (t->b->gpa | (uint64_t)t->b->mode << 48))
			a_patch(j, l->site, t->b->tlink);
	}
}

/* ---- the whole block ---- */

/* Decode again and compare: the records tell less than the decoder knows. */
static bool
jb_decode(struct jb *t)
{
	struct block *b = t->b;
	struct insn check[BLOCK_MAX];
	const uint8_t *p;
	uint32_t live = FL_ARITH;
	unsigned at = 0;

	p = vmm_gpa2hva(t->cpu->vm, PAGE_BASE(b->gpa), PAGE_SIZE, VM_PROT_READ);
	if (p == NULL)
		return (false);
	memcpy(t->bytes, p + t->boff, b->len);
	for (t->n = 0; t->n < b->count; t->n++) {
		t->in[t->n].off = (uint16_t)at;
		if (decode_insn(&t->d[t->n], &t->in[t->n], t->bytes + at,
			b->len - at, b->mode) != DEC_OK)
			return (false);
		at += t->in[t->n].len;
	}
	decode_bind(t->d, t->in, t->n);
	memcpy(check, t->in, (size_t)t->n * sizeof(check[0]));
	decode_fuse(t->d, check, t->n);
	if (t->n != b->count || *jit_first_op(b) != check[0].op)
		return (false);
	check[0].op = b->insn[0].op;
	if (memcmp(check, b->insn, (size_t)t->n * sizeof(check[0])) != 0)
		return (false);
	t->live[t->n] = live;
	for (int i = t->n - 1; i >= 0; i--)
		t->live[i] = live = decode_live(&t->d[i], &t->in[i], live);
	return (true);
}

/* In front: what r14 = address needs, and where a killed block's links go. */
static void
jb_head(struct jb *t)
{
	uint32_t start;

	t->thunk = a_here(t);
	a_imm64(t, H_AX, (uint64_t)(uintptr_t)t->b);
	a_jump_to(t, t->j->interp);
	start = a_here(t);
	a_load(t, H_ADDR, OFF_CPU(jit_page));
	a_rm(t, 8, 0x8d, H_ADDR, H_ADDR, 0x1000);
	if (!t->full)
		memcpy(t->p - 4, &t->boff, 4);
	a_jump_to(t, t->j->lookup);
	t->entry = a_here(t);
	a_rr(t, 8, 0x81, 4, H_ADDR);
	a_le(t, (uint32_t) ~(PAGE_SIZE - 1), 4);
	a_store(t, H_ADDR, OFF_CPU(jit_page));
	t->j->stale_len = a_here(t) - start;
	t->link = a_here(t);
}

static bool
jb_body(struct jb *t)
{
	const struct jcold *c;
	bool ended = false;
	uint32_t next;
	int native = 0, first;

	for (t->k = 0; t->k < t->n; t->k++) {
		first = t->ncold;
		ended = decode_ends_block(&t->d[t->k]);
		if (ended) {
			if (t->flags == JF_HOST)
				jb_flags_save(t);
			if (!jit_flow(t)) {
				if (t->k == 0)
					return (false);
				jb_leave(t);
			} else
				native++;
		} else if (jit_int(t) || jit_sse(t))
			native++;
		else
			jb_handler(t);
		for (int i = first; i < t->ncold; i++)
			if (t->cold[i].kind <= JC_COPY) {
				t->cold[i].back = a_here(t);
				t->cold[i].flags = t->flags != JF_MEM;
			}
	}
	if (!ended) {
		jb_flags_save(t);
		next = t->boff + t->b->len;
		if (next < PAGE_SIZE)
			jb_link(t, next);
		else {
			a_load(t, H_ADDR, OFF_CPU(jit_page));
			a_lea(t, H_ADDR, H_ADDR, (int32_t)next);
			a_jump_to(t, t->j->lookup);
		}
	}
	for (c = t->cold; c < t->cold + t->ncold; c++)
		cold_emit(t, c);
	return (native * 2 >= t->n && !t->full && !t->failed);
}

bool
jit_translate(struct softcpu *cpu, struct block *b)
{
	struct jit *j = cpu->core->jit;
	struct jb *t = &j->jb;
	uint32_t data = j->data_used;

	if (JIT_CODE - j->used < JIT_ROOM ||
	    JIT_DATA - j->data_used < JIT_ROOM) {
		cpu->core->arena_full = true;
		return (false);
	}
	memset(t, 0, offsetof(struct jb, cold));
	t->j = j;
	t->cpu = cpu;
	t->b = b;
	t->p = j->rw + j->used;
	t->end = t->p + JIT_ROOM;
	t->boff = (uint32_t)PAGE_OFF(b->gpa);
	if (!jb_decode(t))
		return (false);
	jb_head(t);
	if (!jb_body(t)) {
		j->data_used = data;
		return (false);
	}
	b->tcode = j->rx + t->entry;
	b->tlink = t->link;
	j->used = (a_here(t) + 15) & ~15u;
	links_settle(t);
	jit_serialize();
	cpu->core->st_jit++;
	return (true);
}
