/*
 * The integer instructions of the software processor against the host CPU.
 *
 * Every row of optab_int.def is encoded with random prefixes, operands,
 * registers and memory, decoded and bound by the engine's decoder, executed
 * by its handler on a bare softcpu (once with TLB hits, once the slow way)
 * and by the host on the same addresses.  Registers, flags, memory, branch
 * direction and faults are compared.  This file holds the engine's side and
 * the comparison; int_gen.c makes the instructions.
 *
 * usage: int_host [rounds [seed [row name]]], int_host rules, or
 * int_host blocks [rounds [seed]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "int_gen.h"
#include "int_jit.h"
#include "int_native.h"
#include "soft_core_local.h"
#include "soft_goto.h"

/* ---- what the handlers call ---- */
const struct optab optab_sys[1], optab_fp[1];
const size_t optab_sys_n = 0, optab_fp_n = 0;

static struct tlbe tlb_hit[TLB_SIZE], tlb_miss[TLB_SIZE];
static bool give_rmw;
static uint64_t fault_cr2;
static uint8_t *const data = (uint8_t *)ARENA;

static void
op_stop(struct softcpu *cpu, const struct insn *in)
{
	cpu->rip = soft_rip(cpu, in);
}

void
jit_end_record(struct insn *rec, unsigned off)
{
	memset(rec, 0, sizeof(*rec));
	rec->op = op_stop;
	rec->off = (uint16_t)off;
}

soft_op bind_pause(const struct soft_dec *d, struct insn *in);
soft_op
bind_pause(const struct soft_dec *d, struct insn *in)
{
	(void)d;
	(void)in;
	return (op_stop);
}

soft_op bind_nop(const struct soft_dec *d, struct insn *in);
soft_op
bind_nop(const struct soft_dec *d, struct insn *in)
{
	(void)d;
	(void)in;
	return (NULL);
}

void
soft_raise_err(struct softcpu *cpu, int vector, uint32_t err)
{
	cpu->exc_vector = (uint8_t)vector;
	cpu->exc_err = err;
	cpu->stop = STOP_FAULT;
}

void
soft_fault_err(
    struct softcpu *cpu, const struct insn *in, int vector, uint32_t err)
{
	cpu->rip = soft_rip(cpu, in);
	soft_raise_err(cpu, vector, err);
}

void
soft_fault(struct softcpu *cpu, const struct insn *in, int vector)
{
	soft_fault_err(cpu, in, vector, 0);
}

void
soft_end(struct softcpu *cpu, const struct insn *in)
{
	cpu->rip = soft_rip_next(cpu, in);
}

void
soft_mode_update(struct softcpu *cpu)
{
	(void)cpu;
}

bool
soft_load_seg(struct softcpu *cpu, int seg, uint16_t sel)
{
	cpu->seg[seg].sel = sel;
	return (true);
}

void
soft_lock_begin(struct softcpu *cpu)
{
	(void)cpu;
}

void
soft_lock_end(struct softcpu *cpu)
{
	(void)cpu;
}

/* The arena's pages: data may be written, code is as the host has it. */
static bool
check(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    bool write)
{
	uint64_t off;

	for (int i = 0; i < size; i++) {
		off = lin + (uint64_t)i;
		if ((cpu->mode & MODE_64) == 0)
			off = (uint32_t)off;
		else if ((uint64_t)((int64_t)(off << 16) >> 16) != off) {
			soft_fault_err(
			    cpu, in, (in->flags & IN_SS) ? X_SS : X_GP, 0);
			return (false);
		}
		off -= ARENA;
		if (off < DATA_LEN ||
		    (off >= CODE_OFF && off < CODE_OFF + CODE_LEN))
			continue;
		fault_cr2 = off + ARENA;
		soft_fault_err(cpu, in, X_PF, (write ? 2u : 0u) | 4u);
		return (false);
	}
	return (true);
}

bool
soft_ld_slow(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    void *val)
{
	if (!check(cpu, in, lin, size, false))
		return (false);
	memcpy(val, (void *)(uintptr_t)lin, (size_t)size);
	return (true);
}

bool
soft_st_slow(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    const void *val)
{
	if (!check(cpu, in, lin, size, true))
		return (false);
	memcpy((void *)(uintptr_t)lin, val, (size_t)size);
	return (true);
}

bool
soft_ld_bytes(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    void *buf, int size)
{
	return (soft_ld_slow(cpu, in, lin, size, buf));
}

bool
soft_st_bytes(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    const void *buf, int size)
{
	return (soft_st_slow(cpu, in, lin, size, buf));
}

bool
soft_probe_write(
    struct softcpu *cpu, const struct insn *in, uint64_t lin, int len)
{
	return (check(cpu, in, lin, len, true));
}

void *
soft_rmw_slow(struct softcpu *cpu, uint64_t lin, int size)
{
	(void)cpu;
	if (!give_rmw || lin - ARENA > DATA_LEN - (unsigned)size)
		return (NULL);
	return ((void *)(uintptr_t)lin);
}

bool
soft_ea_slow(struct softcpu *cpu, const struct insn *in, int size, bool write,
    uint64_t *lin)
{
	return (gen_seg_lin(
	    cpu, in, in->seg, soft_offset(cpu, in), size, write, lin));
}

/* ---- the engine's processor ---- */
static _Atomic uint32_t no_pending;
static struct softcpu *cpu;

static void
cpu_mode(enum nmode mode)
{
	static const uint32_t bits[N_MODES] = {
		[N_64] = MODE_64 | MODE_LONG | MODE_PROT | MODE_CPL3,
		[N_32] = MODE_PROT | MODE_CS32 | MODE_SS32 | MODE_FLAT |
		    MODE_CSFLAT | MODE_CPL3 | MODE_LONG,
		[N_32SEG] =
		    MODE_PROT | MODE_CS32 | MODE_SS32 | MODE_CPL3 | MODE_LONG,
		[N_16] = MODE_PROT | MODE_CPL3 | MODE_LONG,
	};
	const struct nseg *s = native_segs(mode);

	cpu->mode = bits[mode];
	cpu->modekey = (uint64_t)cpu->mode << 48;
	cpu->cpl = 3;
	for (int i = 0; i < 6; i++) {
		cpu->seg[i].sel = s[i].sel;
		cpu->seg[i].base = s[i].base;
		cpu->seg[i].limit = s[i].limit;
		cpu->seg[i].attr = s[i].attr;
		cpu->segbase[i] = mode == N_64 && i < S_FS ? 0 : s[i].base;
	}
	cpu->segbase[S_FLAT] = 0;
	cpu->csbase = mode == N_64 ? 0 : s[S_CS].base;
}

static void
cpu_init(void)
{
	cpu = calloc(1, sizeof(*cpu));
	if (cpu == NULL)
		exit(2);
	cpu->pending = &no_pending;
	for (unsigned i = 0; i < 1u << JC_BITS; i++)
		cpu->jc[i].tag = ~0ull;
	for (unsigned i = 0; i < TLB_SIZE; i++) {
		tlb_miss[i].rtag = tlb_miss[i].wtag = TLB_BAD(i);
		tlb_hit[i] = tlb_miss[i];
	}
	for (unsigned off = 0; off < DATA_LEN; off += 4096) {
		struct tlbe *e =
		    &tlb_hit[((ARENA + off) >> 12) & (TLB_SIZE - 1)];

		e->rtag = e->wtag = ARENA + off;
	}
}

/* Load registers, run the record (op_stop is behind it), fetch registers. */
static void
cpu_run_at(struct insn *rec, struct nctx *c, unsigned boff)
{
	memcpy(cpu->gpr, c->gpr, sizeof(c->gpr));
	cpu->gpr[R_ZERO] = 0;
	cpu->gpr[R_BLOCK] = ARENA + CODE_OFF + boff;
	cpu->rfl = (c->flags & FL_DF) | FL_IF | 2;
	soft_set_rflags(cpu, cpu->rfl | (c->flags & FL_ARITH));
	cpu->stop = STOP_NONE;
	cpu->rip = 0xdead;
	rec[0].op(cpu, rec);
	memcpy(c->gpr, cpu->gpr, sizeof(c->gpr));
	c->flags = soft_get_rflags(cpu);
	c->vector = cpu->stop == STOP_FAULT ? cpu->exc_vector : -1;
	c->err = cpu->exc_err;
	c->cr2 = fault_cr2;
	c->rip = cpu->rip;
	c->path = cpu->rip + cpu->csbase == ARENA + CODE_OFF + TAKEN_OFF;
}

static void
cpu_run(struct insn *rec, struct nctx *c)
{
	cpu_run_at(rec, c, 0);
}

/* ---- comparison ---- */
static const char *const reg_names[16] = {
	"rax",
	"rcx",
	"rdx",
	"rbx",
	"rsp",
	"rbp",
	"rsi",
	"rdi",
	"r8",
	"r9",
	"r10",
	"r11",
	"r12",
	"r13",
	"r14",
	"r15",
};
static uint8_t mem_in[DATA_LEN], mem_host[DATA_LEN];

static bool
differs(
    const struct gen *g, const struct nctx *h, const struct nctx *s, bool flags)
{
	int regs = g->mode == N_64 ? 16 : 8;
	uint64_t mask = g->mode == N_64 ? ~0ull : 0xffffffffull;

	if (h->vector >= 0 && s->vector < 0 &&
	    (g->wild || (h->vector == X_PF && (h->err & 0x10)))) {
		/* The target of a transfer cannot be fetched. */
		if (h->rip != s->rip)
			return (true);
	} else if (h->vector >= 0 && s->vector >= 0 && g->wild) {
		/* Stack or target first: either order is allowed. */
		if (h->rip != s->rip)
			return (true);
	} else if (h->vector != s->vector) {
		return (true);
	} else if (h->vector >= 0) {
		if (h->rip != s->rip)
			return (true);
		/* A page fault's P bit is the harness's own business. */
		if (h->vector == X_PF &&
		    (((h->err ^ s->err) & 0x12) || h->cr2 != s->cr2))
			return (true);
		/* Vendors differ in the flags of an interrupted comparison. */
		if (g->row->attr & A_REP)
			flags = false;
		/* This host leaves PUSHA and POPA half done; that is allowed,
		 * the engine does all or nothing. */
		if (g->row->map == M_1 && (g->row->opcode & 0xfe) == 0x60)
			return (false);
	} else if (h->path != s->path) {
		return (true);
	}
	for (int i = 0; i < regs; i++)
		if ((h->gpr[i] ^ s->gpr[i]) & mask)
			return (true);
	if (flags && ((h->flags ^ s->flags) & g->flmask))
		return (true);
	return (memcmp(mem_host, data, DATA_LEN) != 0);
}

static void
report(const struct gen *g, const char *how, const struct nctx *in,
    const struct nctx *h, const struct nctx *s)
{
	static const char *const modes[] = { "64", "32", "32seg", "16" };

	printf("FAIL %s %s mode %s %s:", g->row->name, g->row->operands,
	    modes[g->mode], how);
	for (unsigned i = 0; i < g->len; i++)
		printf(" %02x", g->code[i]);
	printf("\n  vector %d/%d err %x/%x rip %lx/%lx cr2 %lx/%lx "
	       "path %u/%u\n",
	    h->vector, s->vector, h->err, s->err, h->rip, s->rip, h->cr2,
	    s->cr2, h->path, s->path);
	printf("  flags in %03lx host %03lx soft %03lx mask %03x\n",
	    in->flags & 0xcd5, h->flags & 0xcd5, s->flags & 0xcd5, g->flmask);
	for (int i = 0; i < 16; i++)
		if (h->gpr[i] != s->gpr[i] || h->gpr[i] != in->gpr[i])
			printf("  %-3s in %016lx host %016lx soft %016lx%s\n",
			    reg_names[i], in->gpr[i], h->gpr[i], s->gpr[i],
			    h->gpr[i] != s->gpr[i] ? " <<" : "");
	for (unsigned i = 0; i < DATA_LEN; i++)
		if (mem_host[i] != data[i])
			printf("  mem %04x in %02x host %02x soft %02x\n", i,
			    mem_in[i], mem_host[i], data[i]);
}

/* ---- one case ---- */
static uint64_t n_cases, n_fault, n_fail, n_fused, n_code;
enum how { FAST, SLOW, SLOW_RMW, DEAD, BOUND, FUSED, CODE, CODE_SLOW, HOWS };

/* Decode and bind n instructions; false: not for this way of running. */
static bool
prepare(const struct gen *g, enum how how, struct insn *rec, unsigned n)
{
	struct soft_dec d[2];
	unsigned at = 0;
	soft_op op;

	memset(rec, 0, 3 * sizeof(*rec));
	for (unsigned i = 0; i < n; i++) {
		rec[i].off = (uint16_t)at;
		if (decode_insn(&d[i], &rec[i], g->code + at, g->len - at,
			cpu->mode) != DEC_OK)
			return (false);
		at += rec[i].len;
	}
	decode_bind(d, rec, (int)n);
	rec[n].off = (uint16_t)at;
	rec[n].op = op_stop;
	if (how == DEAD) {
		if (d[0].row == NULL)
			return (false);
		decode_insn(d, rec, g->code, g->len, cpu->mode);
		d[0].flags_dead = true;
		rec[0].op = d[0].row->bind(d, rec);
	} else if (how == FUSED) {
		op = soft_fuse(&d[0], &d[1], &rec[0], &rec[1]);
		if (op == NULL || d[0].lock)
			return (false);
		rec[0].op = op;
		n_fused++;
	}
	return (true);
}

static void
one_case(struct gen *g, bool fuse)
{
	static const char *const hows[] = { "fast", "slow", "slow rmw",
		"fast, flags dead", "as bound", "fused", "translated",
		"translated, slow" };
	struct nctx in, host, soft;
	struct insn rec[3], *first;
	const unsigned n = fuse ? 2 : 1;
	uint32_t flags = 0;
	bool code, bad;

	memset(&in, 0, sizeof(in));
	gen_case(g, &in);
	if (fuse)
		gen_add_jcc(g);
	memcpy(mem_in, data, DATA_LEN);
	native_code(g->mode, g->code, g->len);
	host = in;
	native_run(g->mode, &host);
	memcpy(mem_host, data, DATA_LEN);
	n_cases++;
	if (host.vector >= 0)
		n_fault++;
	else
		g->ran++;
	cpu_mode(g->mode);
	for (enum how how = fuse ? BOUND : FAST; how < HOWS; how++) {
		if ((how == DEAD && host.vector >= 0) ||
		    ((how == BOUND || how == FUSED) && !fuse) ||
		    (how >= CODE &&
			((g->mode != N_64 && g->mode != N_32) ||
			    cpu->core->jit == NULL)) ||
		    !prepare(g, how, rec, n))
			continue;
		code = how >= CODE;
		first = code ? jit_make(cpu, rec, n, g->code, g->len, 0) : rec;
		memcpy(data, mem_in, DATA_LEN);
		cpu->tlb = how == SLOW || how == SLOW_RMW || how == CODE_SLOW
		    ? tlb_miss
		    : tlb_hit;
		give_rmw = how == SLOW;
		soft = in;
		cpu_run(first, &soft);
		if (code) {
			n_code += jit_made(cpu);
			flags = g->flmask;
			g->flmask &= ~(uint32_t)g->row->fl_undef;
		}
		bad = differs(g, &host, &soft, how != DEAD);
		if (code)
			g->flmask = flags;
		if (bad) {
			if (n_fail++ < 20)
				report(g, hows[how], &in, &host, &soft);
			break;
		}
	}
}

static bool
can_fuse(const struct gen *g)
{
	static const char *const names[] = { "add", "sub", "and", "cmp", "test",
		"inc", "dec" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (g->mode != N_16 && strcmp(g->row->name, names[i]) == 0)
			return (true);
	return (false);
}

int
main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 200;
	const char *only = argc > 3 ? argv[3] : NULL;
	unsigned forms = 0, idle = 0;
	struct gen g;

	gen_seed(argc > 2 ? strtoul(argv[2], NULL, 0) : 1);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!native_init()) {
		printf("SKIP: this host has no 16-bit or low memory\n");
		return (77);
	}
	decode_init();
	cpu_init();
	if (!jit_setup(cpu))
		printf("no executable memory: handlers alone\n");
	if (argc > 1 && strcmp(argv[1], "rules") == 0) {
		cpu_mode(N_32);
		cpu->tlb = tlb_hit;
		return (int_rules(cpu));
	}
	if (argc > 1 && strcmp(argv[1], "blocks") == 0) {
		if (cpu->core->jit == NULL)
			return (77);
		for (int m = N_64; m <= N_32; m++) {
			cpu_mode((enum nmode)m);
			if (jit_sequences(cpu, (enum nmode)m,
				argc > 2 ? strtoul(argv[2], NULL, 0) : 20000,
				argc > 3 ? strtoul(argv[3], NULL, 0) : 1,
				cpu_run_at, tlb_hit, tlb_miss) != 0)
				return (1);
		}
		return (0);
	}
	for (size_t i = 0; i < optab_int_n; i++) {
		g.row = &optab_int[i];
		if (only != NULL && strcmp(only, g.row->name) != 0)
			continue;
		for (int m = 0; m < N_MODES; m++) {
			g.mode = (enum nmode)m;
			if (!gen_applies(&g))
				continue;
			g.ran = 0;
			for (unsigned long r = 0; r < rounds; r++)
				one_case(&g, false);
			for (unsigned long r = 0; r < rounds && can_fuse(&g);
			     r++)
				one_case(&g, true);
			forms++;
			if (g.ran == 0) {
				idle++;
				printf("IDLE %s %s mode %d\n", g.row->name,
				    g.row->operands, m);
			}
		}
	}
	printf("%u row/mode pairs, %lu cases, %lu faults, %lu fused, "
	       "%lu translated, %u never ran, %lu failures\n",
	    forms, n_cases, n_fault, n_fused, n_code, idle, n_fail);
	return (n_fail != 0 || idle != 0);
}
