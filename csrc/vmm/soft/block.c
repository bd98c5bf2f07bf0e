/*
 * The block cache of a vCPU.  A block is found by linear rip in the jump
 * cache, else by (gpa, mode) in a hash.  Blocks come from an arena that is
 * emptied as a whole when it is full; a killed block stays where it is, and
 * each of its records only stops the chain.
 */
#include <sys/mman.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "soft_core_local.h"
#include "soft_goto.h"

#define BLOCK_BYTES (BLOCK_MAX * 15)
#define BLOCK_SIZE(n) \
	(sizeof(struct block) + ((size_t)(n) + 1) * sizeof(struct insn))
#define TF_BIT ((uint64_t)MODE_TF << 48)

/* Behind the last record of a block without a control transfer. */
static void
op_block_end(struct softcpu *cpu, const struct insn *in)
{
	soft_goto(cpu, soft_rip(cpu, in));
}

/* A record of a killed block: stop in front of it. */
static void
op_stale(struct softcpu *cpu, const struct insn *in)
{
	cpu->rip = soft_rip(cpu, in);
}

static unsigned
bhash(uint64_t gpa, uint32_t mode)
{
	uint64_t h = (gpa ^ ((uint64_t)mode << 40)) * 0x9e3779b97f4a7c15ull;

	return ((unsigned)(h >> (64 - BH_BITS)));
}

static unsigned
vphash(uint64_t gpa)
{
	return ((unsigned)(((gpa >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull) >>
	    (64 - VP_BITS)));
}

static void *
arena_alloc(struct soft_core *co, size_t n)
{
	void *p;

	n = (n + 31) & ~(size_t)31;
	if (BLK_ARENA - co->arena_used < n) {
		co->arena_full = true;
		return (NULL);
	}
	p = co->arena + co->arena_used;
	co->arena_used += n;
	return (p);
}

int
block_init(struct softcpu *cpu)
{
	struct soft_core *co = cpu->core;

	co->scratch_mem = aligned_alloc(64, 4096);
	if (co->scratch_mem == NULL)
		return (ENOMEM);
	_Static_assert(BLOCK_SIZE(BLOCK_MAX) <= 4096, "scratch block");
	if (!cpu->svm->stepper) {
		co->arena = mmap(NULL, BLK_ARENA, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (co->arena == MAP_FAILED) {
			co->arena = NULL;
			return (errno);
		}
	}
	for (unsigned i = 0; i < 1u << JC_BITS; i++)
		cpu->jc[i].tag = ~0ull;
	return (0);
}

void
block_fini(struct softcpu *cpu)
{
	struct soft_core *co = cpu->core;

	jit_fini(cpu);
	free(co->scratch_mem);
	if (co->arena != NULL)
		munmap(co->arena, BLK_ARENA);
}

/* ---- the jump cache ---- */

static unsigned
jc_pagebit(uint64_t lin)
{
	return (
	    (unsigned)(((lin >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull) >> 54));
}

static void
jc_put(struct softcpu *cpu, uint64_t lin, struct block *b)
{
	struct soft_core *co = cpu->core;
	struct jcent *j = soft_jc(cpu, lin);
	unsigned i = (unsigned)(j - cpu->jc), bit;

	j->tag = lin ^ cpu->modekey;
	j->blk = b;
	co->jcfill[b->global][i / 64] |= 1ull << (i % 64);
	co->jcfill[!b->global][i / 64] &= ~(1ull << (i % 64));
	bit = jc_pagebit(lin);
	co->jcpages[bit / 64] |= 1ull << (bit % 64);
	if (b->gpa2 != 0) {
		bit = jc_pagebit(lin + PAGE_SIZE);
		co->jcpages[bit / 64] |= 1ull << (bit % 64);
	}
}

static void
jc_flush_half(struct softcpu *cpu, unsigned global)
{
	uint64_t *fill = cpu->core->jcfill[global], w;

	for (unsigned i = 0; i < (1u << JC_BITS) / 64; i++) {
		for (w = fill[i]; w != 0; w &= w - 1)
			cpu->jc[i * 64 + (unsigned)__builtin_ctzll(w)].tag =
			    ~0ull;
		fill[i] = 0;
	}
}

/* Empty the jump cache; cost is proportional to what it holds. */
void
jc_flush(struct softcpu *cpu, bool keep_global)
{
	jc_flush_half(cpu, 0);
	if (keep_global)
		return;
	jc_flush_half(cpu, 1);
	memset(cpu->core->jcpages, 0, sizeof(cpu->core->jcpages));
}

/* The mapping of one page changes: only entries of that page go. */
void
jc_flush_page(struct softcpu *cpu, uint64_t lin)
{
	unsigned bit = jc_pagebit(lin);

	if (cpu->core->jcpages[bit / 64] & (1ull << (bit % 64)))
		jc_flush(cpu, false);
}

/* ---- pages ---- */

static struct vpage *
vpage_find(struct softcpu *cpu, uint64_t gpa)
{
	struct vpage *vp;

	gpa = PAGE_BASE(gpa);
	for (vp = cpu->core->vphash[vphash(gpa)]; vp != NULL; vp = vp->next)
		if (vp->gpa == gpa)
			return (vp);
	return (NULL);
}

/* The page's record, made known to all vCPUs; NULL: the arena is full. */
static struct vpage *
vpage_use(struct softcpu *cpu, uint64_t gpa)
{
	struct soft_core *co = cpu->core;
	struct vpage *vp = vpage_find(cpu, gpa);

	gpa = PAGE_BASE(gpa);
	if (vp == NULL) {
		vp = arena_alloc(co, sizeof(*vp));
		if (vp == NULL)
			return (NULL);
		vp->gpa = gpa;
		vp->blocks = NULL;
		vp->used = false;
		vp->next = co->vphash[vphash(gpa)];
		co->vphash[vphash(gpa)] = vp;
	}
	if (!vp->used) {
		vp->used = true;
		code_use(cpu, gpa);
	}
	return (vp);
}

/* Which of the block's two page lists is that of page (gpa)? */
static unsigned
page_side(const struct block *b, uint64_t gpa)
{
	return (PAGE_BASE(b->gpa) != PAGE_BASE(gpa));
}

static void
vpage_unlink(struct vpage *vp, struct block *b)
{
	struct block **pp = &vp->blocks;

	while (*pp != NULL && *pp != b)
		pp = &(*pp)->page_next[page_side(*pp, vp->gpa)];
	if (*pp == b)
		*pp = b->page_next[page_side(b, vp->gpa)];
}

static void
hash_unlink(struct soft_core *co, struct block *b)
{
	struct block **pp = &co->bhash[bhash(b->gpa, b->mode)];

	while (*pp != NULL && *pp != b)
		pp = &(*pp)->hash_next;
	if (*pp == b)
		*pp = b->hash_next;
}

/* Take a block out of all tables; whoever still runs it stops. */
static void
block_kill_one(struct softcpu *cpu, struct block *b)
{
	struct vpage *vp;

	jit_kill(cpu, b);
	b->dead = true;
	for (int i = 0; i <= b->count; i++)
		b->insn[i].op = op_stale;
	hash_unlink(cpu->core, b);
	if ((vp = vpage_find(cpu, b->gpa)) != NULL)
		vpage_unlink(vp, b);
	if (b->gpa2 != 0 && (vp = vpage_find(cpu, b->gpa2)) != NULL)
		vpage_unlink(vp, b);
	cpu->core->st_kill++;
}

static bool
block_hit(const struct block *b, uint64_t gpa, uint64_t len)
{
	uint64_t n = b->gpa2 != 0 ? PAGE_SIZE - PAGE_OFF(b->gpa) : b->len;

	if (gpa < b->gpa + n && b->gpa < gpa + len)
		return (true);
	return (b->gpa2 != 0 && gpa < b->gpa2 + (b->len - n) &&
	    b->gpa2 < gpa + len);
}

/* The part of [gpa, gpa+len) in one page was written. */
static void
block_kill_page(
    struct softcpu *cpu, struct vpage *vp, uint64_t gpa, uint64_t len)
{
	struct block *b, *next;

	for (b = vp->blocks; b != NULL; b = next) {
		next = b->page_next[page_side(b, vp->gpa)];
		if (block_hit(b, gpa, len))
			block_kill_one(cpu, b);
	}
	if (vp->blocks == NULL && !cpu->core->decoding) {
		vp->used = false;
		code_unuse(cpu, vp->gpa);
	}
}

/* [gpa, gpa+len) was written.  Own thread only. */
void
block_kill(struct softcpu *cpu, uint64_t gpa, uint64_t len)
{
	struct vpage *vp;

	for (uint64_t p = PAGE_BASE(gpa); p < gpa + len; p += PAGE_SIZE) {
		vp = vpage_find(cpu, p);
		if (vp != NULL && vp->used)
			block_kill_page(cpu, vp, gpa, len);
	}
}

/*
 * Forget every block.  Between instructions only: nothing of the arena is
 * in use then.
 */
void
block_flush(struct softcpu *cpu)
{
	struct soft_core *co = cpu->core;

	if (co->arena == NULL)
		return;
	for (unsigned i = 0; i < 1u << VP_BITS; i++) {
		for (struct vpage *vp = co->vphash[i]; vp != NULL;
		     vp = vp->next)
			if (vp->used)
				code_unuse(cpu, vp->gpa);
		co->vphash[i] = NULL;
	}
	memset(co->bhash, 0, sizeof(co->bhash));
	jc_flush(cpu, false);
	jit_flush(cpu);
	co->arena_used = 0;
	co->arena_full = false;
	cpu->blk = NULL;
	co->st_flush++;
}

/* ---- decoding ---- */

struct decoding {
	struct softcpu *cpu;
	uint64_t lin, gpa;
	const struct etlbe *e;
	unsigned room;	     /* bytes of the first page, and of the limit */
	unsigned page;	     /* bytes of the first page */
	uint64_t limit;	     /* bytes that CS's limit allows */
	const uint8_t *hva2; /* of the second page */
	uint64_t epoch;	     /* core->epoch at the start */
	struct soft_dec d[BLOCK_MAX];
	uint8_t bytes[BLOCK_BYTES + 16];
	unsigned nbytes;
};

static const uint8_t no_memory[PAGE_SIZE] = { [0 ... PAGE_SIZE - 1] = 0xff };

static const uint8_t *
code_ptr(const uint8_t *hva)
{
	return (hva != NULL ? hva : no_memory);
}

static void
fetch_fault(struct softcpu *cpu, uint64_t lin, uint32_t err)
{
	cpu->cr2 = lin;
	soft_raise_err(cpu, X_PF, err & ~WALK_FAULT);
}

/*
 * The block's first instruction goes on behind the first page (or CS's
 * limit): fetch the rest of 15 bytes.  False: a fault is recorded.
 */
static bool
dec_second_page(struct decoding *dc, struct block *b)
{
	struct softcpu *cpu = dc->cpu;
	const struct etlbe *e;
	uint64_t lin2;
	unsigned rest;
	uint32_t err;

	if (dc->room < dc->page) {
		soft_raise_err(cpu, X_GP, 0);
		return (false);
	}
	lin2 = PAGE_BASE(dc->lin) + PAGE_SIZE;
	if (!(cpu->mode & MODE_64))
		lin2 = (uint32_t)lin2;
	else if (!soft_canonical(lin2)) {
		soft_raise_err(cpu, X_GP, 0);
		return (false);
	}
	if (dc->limit <= dc->page) {
		soft_raise_err(cpu, X_GP, 0);
		return (false);
	}
	err = tlb_exec(cpu, lin2, &e);
	if (err != 0) {
		fetch_fault(cpu, lin2, err);
		return (false);
	}
	dc->hva2 = e->hva;
	b->gpa2 = e->gpa;
	rest = 15 - dc->page;
	if (rest > dc->limit - dc->page)
		rest = (unsigned)(dc->limit - dc->page);
	memcpy(dc->bytes, code_ptr(dc->e->hva) + PAGE_OFF(dc->gpa), dc->page);
	memcpy(dc->bytes + dc->page, code_ptr(e->hva), rest);
	dc->nbytes = dc->page + rest;
	return (true);
}

/* Decode records into (b); false: fault recorded. */
static bool
dec_records(struct decoding *dc, struct block *b, int max)
{
	unsigned at = 0;
	int n = 0;

	dc->nbytes = dc->room < BLOCK_BYTES ? dc->room : BLOCK_BYTES;
	memcpy(dc->bytes, code_ptr(dc->e->hva) + PAGE_OFF(dc->gpa), dc->nbytes);
	while (n < max) {
		b->insn[n].off = (uint16_t)at;
		switch (decode_insn(&dc->d[n], &b->insn[n], dc->bytes + at,
		    dc->nbytes - at, b->mode)) {
		case DEC_OK:
			at += b->insn[n].len;
			n++;
			if (decode_ends_block(&dc->d[n - 1]))
				goto out;
			continue;
		case DEC_TOOLONG:
			if (n > 0)
				goto out;
			soft_raise_err(dc->cpu, X_GP, 0);
			return (false);
		case DEC_MORE:
			if (n > 0)
				goto out;
			if (b->gpa2 != 0) {
				/* The limit ends within the second page. */
				soft_raise_err(dc->cpu, X_GP, 0);
				return (false);
			}
			if (!dec_second_page(dc, b))
				return (false);
			max = 1;
			continue;
		}
	}
out:
	b->count = (uint8_t)n;
	b->len = (uint16_t)at;
	if (at <= dc->page)
		b->gpa2 = 0;
	return (true);
}

/* Are the bytes still what was decoded? */
static int
dec_verify(const struct decoding *dc, const struct block *b)
{
	unsigned n = b->len < dc->page ? b->len : dc->page;

	if (memcmp(dc->bytes, code_ptr(dc->e->hva) + PAGE_OFF(dc->gpa), n) != 0)
		return (0);
	return (b->gpa2 == 0 ||
	    memcmp(dc->bytes + n, code_ptr(dc->hva2), b->len - n) == 0);
}

/* INT n and its kin clear TF and take no trap; SYSCALL, SYSRET make their own.
 */
static bool
dec_notrap(const struct soft_dec *d)
{
	if (d->row == NULL)
		return (false);
	if (d->row->map == M_1)
		return (d->opcode == 0xcc || d->opcode == 0xcd ||
		    d->opcode == 0xce || d->opcode == 0xf1);
	return (
	    d->row->map == M_0F && (d->opcode == 0x05 || d->opcode == 0x07));
}

static void
dec_finish(struct decoding *dc, struct block *b)
{
	struct insn *end = &b->insn[b->count];

	decode_bind(dc->d, b->insn, b->count);
	decode_fuse(dc->d, b->insn, b->count);
	memset(end, 0, sizeof(*end));
	end->op = op_block_end;
	end->off = b->len;
	end->base = end->index = R_ZERO;
	b->notrap = dec_notrap(&dc->d[0]);
}

/* Room for a copy of the block; NULL: it cannot be kept. */
static struct block *
block_room(struct softcpu *cpu, const struct block *b)
{
	if (vpage_find(cpu, b->gpa) == NULL ||
	    (b->gpa2 != 0 && vpage_find(cpu, b->gpa2) == NULL))
		return (NULL);
	return (arena_alloc(cpu->core, BLOCK_SIZE(b->count)));
}

/* Copy the finished block to (nb) and enter it into the tables. */
static void
block_keep(struct softcpu *cpu, struct block *nb, const struct block *b)
{
	struct block **head = &cpu->core->bhash[bhash(b->gpa, b->mode)];
	struct vpage *vp;

	memcpy(nb, b, BLOCK_SIZE(b->count));
	nb->hash_next = *head;
	*head = nb;
	vp = vpage_find(cpu, b->gpa);
	nb->page_next[0] = vp->blocks;
	vp->blocks = nb;
	if (b->gpa2 != 0) {
		vp = vpage_find(cpu, b->gpa2);
		nb->page_next[1] = vp->blocks;
		vp->blocks = nb;
	}
	jit_block(cpu, nb);
}

/* A block of one page at (gpa), or NULL. */
struct block *
block_at(struct softcpu *cpu, uint64_t gpa, uint32_t mode)
{
	struct block *b;

	for (b = cpu->core->bhash[bhash(gpa, mode)]; b != NULL;
	     b = b->hash_next)
		if (b->gpa == gpa && b->mode == mode && b->gpa2 == 0)
			return (b);
	return (NULL);
}

/*
 * Mark the pages, then make sure of the bytes that were read.  Returns 1:
 * they stand; 0: decode again; -1: the block cannot be kept.
 */
static int
dec_settle(struct decoding *dc, struct block *b)
{
	struct softcpu *cpu = dc->cpu;

	if (b->gpa2 != 0) {
		/* A page that follows itself is not worth the trouble. */
		if (dc->hva2 == NULL || PAGE_BASE(b->gpa) == b->gpa2 ||
		    b->gpa2 >> 30 >= CP_DIRS || vpage_use(cpu, b->gpa2) == NULL)
			return (-1);
		if (dc->epoch != cpu->core->epoch)
			return (0);
		code_cover(cpu->svm, b->gpa2, b->len - dc->page);
		b->global = false;
	}
	code_cover(cpu->svm, dc->gpa, b->len < dc->page ? b->len : dc->page);
	return (dec_verify(dc, b));
}

/* Decode into the scratch block until the bytes hold still. */
static bool
dec_block(struct decoding *dc, struct block *b, bool *keep)
{
	struct softcpu *cpu = dc->cpu;
	int max, rc;

	for (int try = 0; try < 8; try++) {
		max = *keep && !(cpu->mode & MODE_TF) ? BLOCK_MAX : 1;
		memset(b, 0, sizeof(*b));
		b->gpa = dc->gpa;
		b->mode = cpu->mode;
		b->global = dc->e->global;
		if (!dec_records(dc, b, max))
			return (false);
		if (!*keep)
			return (true);
		rc = dec_settle(dc, b);
		if (dc->epoch != cpu->core->epoch) {
			cpu->stop = STOP_RETRY;
			return (false);
		}
		if (rc > 0)
			return (true);
		if (rc < 0)
			*keep = false;
	}
	*keep = false;
	return (true);
}

/*
 * Decode the block at (lin), which (e) translates.  It is kept when it lies
 * in memory; else one record of it stands in the scratch block for one run.
 */
static struct block *
block_decode(
    struct softcpu *cpu, uint64_t lin, const struct etlbe *e, uint64_t limit)
{
	struct soft_core *co = cpu->core;
	struct block *b = co->scratch_mem, *nb = NULL;
	struct decoding dc;
	struct etlbe copy = *e;
	bool keep, ok;

	dc.cpu = cpu;
	dc.lin = lin;
	dc.e = &copy; /* serving requests while waiting may empty the TLB */
	dc.gpa = copy.gpa | PAGE_OFF(lin);
	dc.limit = limit;
	dc.page = (unsigned)(PAGE_SIZE - PAGE_OFF(lin));
	dc.room = dc.page < limit ? dc.page : (unsigned)limit;
	dc.hva2 = NULL;
	dc.epoch = co->epoch;
	co->st_blocks++;
	cpu->blk = NULL;
	keep = copy.hva != NULL && co->arena != NULL && !co->arena_full &&
	    dc.gpa >> 30 < CP_DIRS;
	co->decoding = true;
	if (keep && vpage_use(cpu, dc.gpa) == NULL)
		keep = false;
	ok = dc.epoch == co->epoch;
	if (!ok)
		cpu->stop = STOP_RETRY;
	else
		ok = dec_block(&dc, b, &keep);
	co->decoding = false;
	if (!ok)
		return (NULL);
	if (keep)
		nb = block_room(cpu, b);
	if (nb == NULL) {
		/* One record: nothing can change between two of them. */
		b->count = 1;
		b->len = b->insn[0].len;
	}
	dec_finish(&dc, b);
	if (nb == NULL)
		return (b);
	block_keep(cpu, nb, b);
	return (nb);
}

/* Bytes from rip on that CS's limit allows; 0: none. */
static uint64_t
cs_room(const struct softcpu *cpu)
{
	uint64_t limit = cpu->seg[S_CS].limit;

	if (cpu->mode & MODE_64)
		return (~0ull);
	if (cpu->mode & MODE_CSFLAT)
		return ((1ull << 32) + 16 - cpu->rip);
	return (cpu->rip <= limit ? limit - cpu->rip + 1 : 0);
}

struct block *
block_find(struct softcpu *cpu, uint64_t lin)
{
	struct soft_core *co = cpu->core;
	const struct etlbe *e, *e2;
	struct block *b;
	uint64_t room, gpa;
	uint32_t err;

	if (co->arena_full)
		block_flush(cpu);
	room = cs_room(cpu);
	if (room == 0 || ((cpu->mode & MODE_64) && !soft_canonical(lin))) {
		soft_raise_err(cpu, X_GP, 0);
		return (NULL);
	}
	err = tlb_exec(cpu, lin, &e);
	if (err != 0) {
		fetch_fault(cpu, lin, err);
		return (NULL);
	}
	gpa = e->gpa | PAGE_OFF(lin);
	for (b = co->bhash[bhash(gpa, cpu->mode)]; b != NULL;
	     b = b->hash_next) {
		if (b->gpa != gpa || b->mode != cpu->mode)
			continue;
		if (b->len > room)
			continue;
		b->global = e->global;
		if (b->gpa2 == 0)
			break;
		b->global = false;
		if (tlb_exec(cpu,
			(cpu->mode & MODE_64)
			    ? PAGE_BASE(lin) + PAGE_SIZE
			    : (uint32_t)(PAGE_BASE(lin) + PAGE_SIZE),
			&e2) == 0 &&
		    e2->gpa == b->gpa2)
			break;
	}
	if (b == NULL) {
		b = block_decode(cpu, lin, e, room);
		if (b == NULL)
			return (NULL);
	}
	if (b != co->scratch_mem && !(cpu->mode & MODE_TF) &&
	    cpu->csbase + cpu->rip == lin)
		jc_put(cpu, lin, b);
	return (b);
}
