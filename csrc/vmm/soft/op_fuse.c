/*
 * CMP or TEST of registers and the conditional jump behind it, as one
 * record.  The host compares once: LAHF and SETO keep the flags for the
 * guest without changing them, and the host's own jump decides.  64-bit mode
 * only; the binder puts the jump's target, counted from the block's first
 * byte, into its record's disp.
 */
#include "op_fuse_local.h"
#include "soft_goto.h"

#define NOINLINE __attribute__((__noinline__))

/* Target not in the jump cache, or something is pending. */
static NOINLINE void
fuse_leave(struct softcpu *cpu, const struct insn *jcc, uint64_t rip)
{
	if (!soft_canonical(rip)) {
		soft_fault_err(cpu, jcc, X_GP, 0);
		return;
	}
	cpu->rip = rip;
}

static inline __attribute__((__always_inline__)) void
fuse_goto(struct softcpu *cpu, const struct insn *jcc, uint64_t rip,
    int way)
{
#if SOFT_CHAIN
	const struct jcent *j = soft_jc(cpu, rip);

	if (likely(j->tag == (rip ^ cpu->modekey)) &&
	    likely(atomic_load_explicit(cpu->pending,
	    memory_order_relaxed) == 0)) {
		cpu->gpr[R_BLOCK] = rip;
		/* Two jumps, not one for both ways: each has a history. */
		__asm__ volatile("" : : "i"(way));
		j->blk->insn[0].op(cpu, &j->blk->insn[0]);
		return;
	}
#endif
	fuse_leave(cpu, jcc, rip);
}

#define FUSE(name, mnem, cond, S, suf, ea, eb)                              \
	static void name(struct softcpu *cpu, const struct insn *in)        \
	{                                                                   \
		const struct insn *jcc = in + 1;                            \
		uint##S##_t va = (uint##S##_t)(ea), vb = (uint##S##_t)(eb); \
									    \
		__asm__ goto(mnem #suf " %[y], %[x]\n\t"                    \
		    "lahf\n\t"                                              \
		    "seto %%al\n\t"                                         \
		    "movw %%ax, %[cc]\n\t"                                  \
		    "j" #cond " %l[taken]"                                  \
		    :                                                       \
		    : [x] "q"(va), [y] "q"(vb), [cc] "m"(cpu->cc)           \
		    : "rax", "cc", "memory"                                 \
		    : taken);                                               \
		fuse_goto(cpu, jcc, cpu->gpr[R_BLOCK] + jcc->off +          \
		    jcc->len, 0);                                           \
		return;                                                     \
	taken:                                                              \
		fuse_goto(cpu, jcc, cpu->gpr[R_BLOCK] +                     \
		    (uint64_t)(int64_t)jcc->disp, 1);                       \
	}

#define FUSE_SIZES(c)                                                       \
	FUSE(op_cmp_rr8_j##c, "cmp", c, 8, b, BREG(cpu, in->rm),            \
	    BREG(cpu, in->reg))                                             \
	FUSE(op_cmp_ri8_j##c, "cmp", c, 8, b, BREG(cpu, in->rm), in->imm)   \
	FUSE(op_cmp_rr32_j##c, "cmp", c, 32, l, cpu->gpr[in->rm],           \
	    cpu->gpr[in->reg])                                              \
	FUSE(op_cmp_ri32_j##c, "cmp", c, 32, l, cpu->gpr[in->rm], in->imm)  \
	FUSE(op_cmp_rr64_j##c, "cmp", c, 64, q, cpu->gpr[in->rm],           \
	    cpu->gpr[in->reg])                                              \
	FUSE(op_cmp_ri64_j##c, "cmp", c, 64, q, cpu->gpr[in->rm],           \
	    (int64_t)in->imm)                                               \
	FUSE(op_test_rr8_j##c, "test", c, 8, b, BREG(cpu, in->rm),          \
	    BREG(cpu, in->reg))                                             \
	FUSE(op_test_ri8_j##c, "test", c, 8, b, BREG(cpu, in->rm), in->imm) \
	FUSE(op_test_rr32_j##c, "test", c, 32, l, cpu->gpr[in->rm],         \
	    cpu->gpr[in->reg])                                              \
	FUSE(op_test_ri32_j##c, "test", c, 32, l, cpu->gpr[in->rm], in->imm) \
	FUSE(op_test_rr64_j##c, "test", c, 64, q, cpu->gpr[in->rm],         \
	    cpu->gpr[in->reg])                                              \
	FUSE(op_test_ri64_j##c, "test", c, 64, q, cpu->gpr[in->rm],         \
	    (int64_t)in->imm)

#define EACH_COND(X)                                                   \
	X(o) X(no) X(b) X(nb) X(z) X(nz) X(be) X(nbe) X(s) X(ns) X(p)  \
	X(np) X(l) X(nl) X(le) X(nle)

EACH_COND(FUSE_SIZES)

#define ROW(c)                                                         \
	{                                                              \
		op_cmp_rr8_j##c, op_cmp_rr32_j##c, op_cmp_rr64_j##c,   \
		op_cmp_ri8_j##c, op_cmp_ri32_j##c, op_cmp_ri64_j##c,   \
		op_test_rr8_j##c, op_test_rr32_j##c, op_test_rr64_j##c, \
		op_test_ri8_j##c, op_test_ri32_j##c, op_test_ri64_j##c, \
	},
static const soft_op fuse_tab[16][12] = { EACH_COND(ROW) };

enum { K_CMP_RR, K_CMP_RI, K_TEST_RR, K_TEST_RI, K_NONE };

/* Which pair is it, and which operands?  (in) is as decoded, not bound. */
static int
fuse_kind(const struct soft_dec *d, const struct insn *in, struct fuse *f)
{
	unsigned group = (d->modrm >> 3) & 7;

	if (d->row == NULL || d->row->map != M_1 || d->lock || d->mem)
		return (K_NONE);
	f->rm = in->rm;
	f->reg = in->reg;
	switch (d->opcode) {
	case 0x38:
	case 0x39:
		return (K_CMP_RR);
	case 0x3a:
	case 0x3b:
		f->rm = in->reg;
		f->reg = in->rm;
		return (K_CMP_RR);
	case 0x3c:
	case 0x3d:
		f->rm = 0;
		return (K_CMP_RI);
	case 0x80:
	case 0x81:
	case 0x83:
		return (group == 7 ? K_CMP_RI : K_NONE);
	case 0x84:
	case 0x85:
		return (K_TEST_RR);
	case 0xa8:
	case 0xa9:
		f->rm = 0;
		return (K_TEST_RI);
	case 0xf6:
	case 0xf7:
		return (group < 2 ? K_TEST_RI : K_NONE);
	default:
		return (K_NONE);
	}
}

/*
 * Look at two neighbours before they are bound; *f is for fuse_bind().
 * False: they stay two.
 */
bool
fuse_look(const struct soft_dec *d, const struct insn *in, struct fuse *f)
{
	const struct soft_dec *j = d + 1;
	int64_t target;
	int kind, size;

	f->op = NULL;
	if (!(d->mode & MODE_64) || j->row == NULL || j->lock ||
	    j->opsize != 8)
		return (false);
	if (!((j->row->map == M_1 && (j->opcode & 0xf0) == 0x70) ||
	    (j->row->map == M_0F && (j->opcode & 0xf0) == 0x80)))
		return (false);
	kind = fuse_kind(d, in, f);
	if (kind == K_NONE || d->opsize == 2)
		return (false);
	target = (int64_t)in[1].imm + in[1].off + in[1].len;
	if (target != (int32_t)target)
		return (false);
	size = d->opsize == 1 ? 0 : d->opsize == 4 ? 1 : 2;
	f->imm = in->imm;
	f->target = (int32_t)target;
	f->op = fuse_tab[j->opcode & 15][kind * 3 + size];
	return (true);
}

/* Both records are bound: make the first one do the work of both. */
void
fuse_bind(const struct fuse *f, struct insn *in)
{
	in->op = f->op;
	in->rm = f->rm;
	in->reg = f->reg;
	in->imm = f->imm;
	in[1].disp = f->target;
}
