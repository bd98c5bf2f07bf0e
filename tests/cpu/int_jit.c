/*
 * The translator against the interpreter: random blocks, each run from the
 * same state by the handlers and as host code.  Between the instructions
 * under test stand moves that give each its operands.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "int_gen.h"
#include "int_native.h"
#include "soft_core_local.h"

#include "int_jit.h"

#define SEQ_MAX 5

static uint8_t mem_in[DATA_LEN], mem_int[DATA_LEN];
static uint8_t *const data = (uint8_t *)ARENA;

/* ---- sequences ---- */
static uint64_t state;

static uint64_t
rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state * 0x2545f4914f6cdd1dull);
}

struct seq {
	uint8_t bytes[SEQ_MAX * 80 + 16];
	unsigned len, n;
	enum nmode mode;
	struct soft_dec d[BLOCK_MAX];
	struct insn rec[BLOCK_MAX + 1];
	uint32_t flmask;
};

static void
seq_move(struct seq *s, unsigned r, uint64_t v)
{
	const unsigned n = s->mode == N_64 ? 8 : 4;

	if (s->mode == N_64)
		s->bytes[s->len++] = (uint8_t)(0x48 | r >> 3);
	s->bytes[s->len++] = (uint8_t)(0xb8 | (r & 7));
	memcpy(s->bytes + s->len, &v, n);
	s->len += n;
}

/* One instruction of a random row, its operands first; true: the last. */
static bool
seq_add(struct seq *s, struct softcpu *cpu)
{
	struct soft_dec d;
	struct insn in;
	struct nctx ctx;
	struct gen g;

	do {
		g.row = &optab_int[rnd() % optab_int_n];
		g.mode = s->mode;
	} while (!gen_applies(&g));
	memset(&ctx, 0, sizeof(ctx));
	gen_case(&g, &ctx);
	memset(&in, 0, sizeof(in));
	if (decode_insn(&d, &in, g.code, g.len, cpu->mode) != DEC_OK ||
	    d.row == NULL)
		return (false);
	if (d.mem || (d.row->attr & A_REP)) {
		if (in.base < 16)
			seq_move(s, in.base, ctx.gpr[in.base]);
		if (in.index < 16 && in.index != in.base)
			seq_move(s, in.index, ctx.gpr[in.index]);
	}
	if (d.row->attr & A_REP) {
		seq_move(s, R_SI, ctx.gpr[R_SI]);
		seq_move(s, R_DI, ctx.gpr[R_DI]);
		seq_move(s, R_CX, ctx.gpr[R_CX] & 0xff);
	} else if (!d.mem && (d.row->attr & (A_FAULT | A_F64)) &&
	    rnd() % 4 != 0)
		seq_move(s, R_SP, ctx.gpr[R_SP]);
	memcpy(s->bytes + s->len, g.code, g.len);
	s->len += g.len;
	return (decode_ends_block(&d));
}

static bool
seq_make(struct seq *s, enum nmode mode, struct softcpu *cpu)
{
	unsigned at = 0;
	bool end = false;

	memset(s, 0, sizeof(*s));
	s->mode = mode;
	for (unsigned i = 0; i < 1 + rnd() % SEQ_MAX && !end; i++)
		end = seq_add(s, cpu);
	while (at < s->len) {
		s->rec[s->n].off = (uint16_t)at;
		if (s->n == BLOCK_MAX - 1 ||
		    decode_insn(&s->d[s->n], &s->rec[s->n], s->bytes + at,
			s->len - at, cpu->mode) != DEC_OK)
			return (false);
		at += s->rec[s->n++].len;
		if (decode_ends_block(&s->d[s->n - 1]))
			break;
	}
	s->len = at;
	decode_bind(s->d, s->rec, (int)s->n);
	s->flmask = FL_ARITH | FL_DF;
	/* From the last writer on: undefined flags are anybody's. */
	for (unsigned i = 0; i < s->n; i++)
		if (s->d[i].row != NULL)
			s->flmask &= ~(uint32_t)s->d[i].row->fl_undef;
	return (s->n > 0);
}

static void
seq_report(const struct seq *s, const struct nctx *in, const struct nctx *a,
    const struct nctx *b)
{
	printf("FAIL translated:");
	for (unsigned i = 0; i < s->len; i++)
		printf(" %02x", s->bytes[i]);
	printf("\n");
	for (unsigned i = 0; i < s->n; i++)
		printf("  %s %s\n", s->d[i].row ? s->d[i].row->name : "?",
		    s->d[i].row ? s->d[i].row->operands : "");
	printf("  vector %d/%d rip %lx/%lx flags %lx/%lx mask %x\n", a->vector,
	    b->vector, a->rip, b->rip, a->flags, b->flags, s->flmask);
	for (int i = 0; i < 16; i++)
		if (a->gpr[i] != b->gpr[i])
			printf("  r%d in %016lx handlers %016lx code %016lx\n",
			    i, in->gpr[i], a->gpr[i], b->gpr[i]);
	for (unsigned i = 0; i < DATA_LEN; i++)
		if (mem_int[i] != data[i])
			printf("  mem %04x handlers %02x code %02x\n", i,
			    mem_int[i], data[i]);
}

/* May flags that some instruction left undefined have reached a register? */
static bool
seq_vague(const struct seq *s)
{
	uint32_t vague = 0;

	for (unsigned i = 0; i < s->n; i++) {
		const struct optab *r = s->d[i].row;

		if (r == NULL)
			continue;
		if (r->fl_read & vague)
			return (true);
		vague = (vague & ~(uint32_t)r->fl_write) | r->fl_undef;
	}
	return (false);
}

int
jit_sequences(struct softcpu *cpu, enum nmode mode, unsigned long rounds,
    uint64_t seed, jit_runner run, struct tlbe *hit, struct tlbe *miss)
{
	struct nctx in, a, b;
	struct insn *first;
	struct seq s;
	unsigned long fails = 0, made = 0;

	state = seed * 0x9e3779b97f4a7c15ull + 1;
	for (unsigned long r = 0; r < rounds; r++) {
		unsigned boff = (unsigned)(rnd() % (4096 - sizeof(s.bytes)));

		if (!seq_make(&s, mode, cpu) || seq_vague(&s))
			continue;
		for (unsigned i = 0; i < DATA_LEN; i++)
			mem_in[i] = (uint8_t)rnd();
		memset(&in, 0, sizeof(in));
		for (int i = 0; i < 16; i++)
			in.gpr[i] =
			    rnd() & 1 ? rnd() : ARENA + rnd() % DATA_LEN;
		in.flags = (rnd() & FL_ARITH) | 0x202;
		jit_end_record(&s.rec[s.n], s.len);
		/* The handlers, then the code. */
		cpu->tlb = r % 4 == 0 ? miss : hit;
		memcpy(data, mem_in, DATA_LEN);
		a = in;
		run(s.rec, &a, boff);
		memcpy(mem_int, data, DATA_LEN);
		memcpy(data, mem_in, DATA_LEN);
		first = jit_make(cpu, s.rec, s.n, s.bytes, s.len, boff);
		b = in;
		run(first, &b, boff);
		made += jit_made(cpu);
		if (a.vector != b.vector || a.rip != b.rip ||
		    memcmp(a.gpr, b.gpr, sizeof(a.gpr)) != 0 ||
		    ((a.flags ^ b.flags) & s.flmask) != 0 ||
		    memcmp(mem_int, data, DATA_LEN) != 0) {
			if (fails++ < 10)
				seq_report(&s, &in, &a, &b);
		}
	}
	printf("%s-bit: %lu sequences, %lu translated, %lu failures\n",
	    mode == N_64 ? "64" : "32", rounds, made, fails);
	return (fails != 0 || made < rounds / 4);
}
