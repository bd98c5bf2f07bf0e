/*
 * MOVS STOS LODS CMPS SCAS, alone and with REP.
 *
 * A repeated instruction works on as many elements as lie within one page of
 * each operand when both are RAM (MOVS both ways, the others with DF clear),
 * else on one element at a time.  Registers are committed after each such
 * step, so that a fault or a pending event leaves the instruction between two
 * elements.
 */
#include <string.h>

#include "int_local.h"

#define STEP(n) ((cpu->rfl & FL_DF) ? -(uint64_t)(n) : (uint64_t)(n))

/* ---- one element, no REP; in->aux: address size ---- */
#define STR_LIN(r, sbase, sg, n, w)                                     \
	({                                                              \
		uint64_t l_ = RD64(r);                                  \
		if (likely(in->amode == AM_64)) {                       \
			l_ += (sbase);                                  \
		} else if (likely(in->amode == AM_FLAT32)) {            \
			l_ = (uint32_t)l_;                              \
		} else if (slow != NULL) {                              \
			slow(cpu, in);                                  \
			return;                                         \
		} else {                                                \
			uint64_t t_;                                    \
			if (!int_seg_lin(cpu, in, (sg),                 \
				l_ & int_mask(in->aux), (n), (w), &t_)) \
				return;                                 \
			l_ = t_;                                        \
		}                                                       \
		l_;                                                     \
	})
#define SRC(n) STR_LIN(R_SI, cpu->segbase[in->seg], in->seg, n, false)
#define DST(n, w) STR_LIN(R_DI, 0, S_ES, n, w)
#define ADV(r, n) int_setreg(cpu, in->aux, (r), cpu->gpr[r] + STEP(n))

#define ACC8 SOFT_BREG(R_AX)
#define ACC16 R_AX
#define ACC32 R_AX
#define ACC64 R_AX
#define CMP(S, a, b)                                       \
	({                                                 \
		uint32_t f_;                               \
		__asm__("cmp %2, %1" ASM_GETFLAGS          \
			: "=&a"(f_)                        \
			: "q"((it##S)(a)), "q"((it##S)(b)) \
			: "cc");                           \
		(uint16_t) f_;                             \
	})

#define STR_SIZE(S)                                                 \
	DEF_OP(op_movs##S)                                          \
	{                                                           \
		uint64_t from = SRC(S / 8), to = DST(S / 8, true);  \
		it##S v = LD(S, from);                              \
                                                                    \
		ST(S, to, v);                                       \
		ADV(R_SI, S / 8);                                   \
		ADV(R_DI, S / 8);                                   \
		SOFT_NEXT(cpu, in);                                 \
	}                                                           \
	DEF_OP(op_stos##S)                                          \
	{                                                           \
		uint64_t to = DST(S / 8, true);                     \
                                                                    \
		ST(S, to, RD##S(ACC##S));                           \
		ADV(R_DI, S / 8);                                   \
		SOFT_NEXT(cpu, in);                                 \
	}                                                           \
	DEF_OP(op_lods##S)                                          \
	{                                                           \
		uint64_t from = SRC(S / 8);                         \
		it##S v = LD(S, from);                              \
                                                                    \
		WR##S(ACC##S, v);                                   \
		ADV(R_SI, S / 8);                                   \
		SOFT_NEXT(cpu, in);                                 \
	}                                                           \
	DEF_OP(op_scas##S)                                          \
	{                                                           \
		uint64_t to = DST(S / 8, false);                    \
		it##S v = LD(S, to);                                \
                                                                    \
		cpu->cc = CMP(S, RD##S(ACC##S), v);                 \
		ADV(R_DI, S / 8);                                   \
		SOFT_NEXT(cpu, in);                                 \
	}                                                           \
	DEF_OP(op_cmps##S)                                          \
	{                                                           \
		uint64_t from = SRC(S / 8), to = DST(S / 8, false); \
		it##S a = LD(S, from), b = LD(S, to);               \
                                                                    \
		cpu->cc = CMP(S, a, b);                             \
		ADV(R_SI, S / 8);                                   \
		ADV(R_DI, S / 8);                                   \
		SOFT_NEXT(cpu, in);                                 \
	}
STR_SIZE(8)
STR_SIZE(16)
STR_SIZE(32)
STR_SIZE(64)

/* ---- REP ---- */

/*
 * Must the instruction stop here with elements left?  Also forgets the
 * device accesses that the finished step has used up.
 */
static bool
rep_break(struct softcpu *cpu, const struct insn *in)
{
	cpu->io_count = 0;
	cpu->io_next = 0;
	if (likely(
		atomic_load_explicit(cpu->pending, memory_order_relaxed) == 0 &&
		!(cpu->mode & MODE_TF) && cpu->dr6_pending == 0))
		return (false);
	cpu->rip = soft_rip(cpu, in);
	cpu->stop = STOP_NONE;
	return (true);
}

/* Is the operand's address the offset plus a base, with no checks? */
static bool
rep_lin(const struct softcpu *cpu, const struct insn *in, int seg, uint64_t off,
    uint64_t size, bool write, uint64_t *lin)
{
	if (in->amode == AM_64) {
		*lin = off + (seg == S_ES ? 0 : cpu->segbase[seg]);
		return (true);
	}
	if (in->amode == AM_FLAT32) {
		*lin = off;
		return (true);
	}
	return (int_seg_ok(cpu, seg, off, size, write, lin));
}

/*
 * How many of k elements of n bytes at register r can be reached by one
 * pointer, and that pointer; 0: take the slow step.
 */
static uint64_t
rep_span(struct softcpu *cpu, const struct insn *in, int r, int seg, unsigned n,
    bool write, uint64_t k, uint64_t *lin)
{
	uint64_t mask = int_mask(in->aux), off = cpu->gpr[r] & mask, room;

	room = (mask - off) / n;
	if (k > room)
		k = room;
	if (k == 0 || !rep_lin(cpu, in, seg, off, n, write, lin))
		return (0);
	room = (4096 - (*lin & 4095)) / n;
	if (k > room)
		k = room;
	if (k != 0 && in->amode == AM_SLOW &&
	    !int_seg_ok(cpu, seg, off, k * n, write, lin))
		return (0);
	return (k);
}

/* Ascending copy, element by element where the operands overlap so. */
static void
rep_copy(uint8_t *to, const uint8_t *from, uint64_t k, unsigned n)
{
	if ((uintptr_t)to - (uintptr_t)from >= k * n) {
		memmove(to, from, k * n);
		return;
	}
	for (uint64_t i = 0; i < k; i++, to += n, from += n)
		switch (n) {
		case 1:
			*(volatile uint8_t *)to = *from;
			break;
		case 2:
			*(volatile u16a *)to = *(const u16a *)from;
			break;
		case 4:
			*(volatile u32a *)to = *(const u32a *)from;
			break;
		default:
			*(volatile u64a *)to = *(const u64a *)from;
			break;
		}
}

static void
rep_fill(uint8_t *to, uint64_t v, uint64_t k, unsigned n)
{
	switch (n) {
	case 1:
		memset(to, (int)v, k);
		break;
	case 2:
		__asm__ volatile("rep stosw"
				 : "+D"(to), "+c"(k)
				 : "a"(v)
				 : "memory");
		break;
	case 4:
		__asm__ volatile("rep stosl"
				 : "+D"(to), "+c"(k)
				 : "a"(v)
				 : "memory");
		break;
	default:
		__asm__ volatile("rep stosq"
				 : "+D"(to), "+c"(k)
				 : "a"(v)
				 : "memory");
		break;
	}
}

/* Does the fast way apply at all? */
static inline bool
rep_quiet(const struct softcpu *cpu)
{
	return (!(cpu->mode & MODE_TF) && !cpu->dr7_active);
}

static inline bool
rep_bulk(const struct softcpu *cpu)
{
	return (!(cpu->rfl & FL_DF) && rep_quiet(cpu));
}

/*
 * The same downwards, for addresses without segment checks: elements from
 * the one at register r to the page's begin; *lin is the lowest one's.
 */
static uint64_t
rep_span_down(struct softcpu *cpu, const struct insn *in, int r, int seg,
    unsigned n, uint64_t k, uint64_t *lin)
{
	uint64_t off = cpu->gpr[r] & int_mask(in->aux), room;

	if (in->amode == AM_SLOW ||
	    !rep_lin(cpu, in, seg, off, n, false, lin) ||
	    (*lin & 4095) + n > 4096)
		return (0);
	room = (*lin & 4095) / n + 1;
	if (k > room)
		k = room;
	room = off / n + 1;
	if (k > room)
		k = room;
	*lin -= (k - 1) * n;
	return (k);
}

/* Backwards, as memmove() of a distribution's kernel does on overlap. */
static uint64_t
movs_bulk_down(
    struct softcpu *cpu, const struct insn *in, unsigned n, uint64_t k)
{
	const uint8_t *sp;
	uint64_t from, to, most;
	uint8_t *dp;

	k = rep_span_down(cpu, in, R_SI, in->seg, n, k, &from);
	if (k == 0)
		return (0);
	most = rep_span_down(cpu, in, R_DI, S_ES, n, k, &to);
	if (most == 0)
		return (0);
	from += (k - most) * n;
	k = most;
	/* Bytes that the copy itself has written are read only when the
	 * destination lies below and overlaps. */
	if (from - to < k * n && from != to)
		return (0);
	sp = soft_rdptr(cpu, from, (int)(k * n));
	dp = soft_wrptr(cpu, to, (int)(k * n));
	if (sp == NULL || dp == NULL)
		return (0);
	/* Two linear addresses may be one page. */
	if ((uintptr_t)sp - (uintptr_t)dp < k * n && sp != dp)
		return (0);
	memmove(dp, sp, k * n);
	return (k);
}

static uint64_t
movs_bulk(struct softcpu *cpu, const struct insn *in, unsigned n, uint64_t k)
{
	const uint8_t *sp;
	uint64_t from, to;
	uint8_t *dp;

	k = rep_span(cpu, in, R_SI, in->seg, n, false, k, &from);
	if (k != 0)
		k = rep_span(cpu, in, R_DI, S_ES, n, true, k, &to);
	if (k == 0)
		return (0);
	sp = soft_rdptr(cpu, from, (int)(k * n));
	dp = soft_wrptr(cpu, to, (int)(k * n));
	if (sp == NULL || dp == NULL)
		return (0);
	rep_copy(dp, sp, k, n);
	return (k);
}

static uint64_t
stos_bulk(struct softcpu *cpu, const struct insn *in, unsigned n, uint64_t k)
{
	uint64_t to;
	uint8_t *dp;

	k = rep_span(cpu, in, R_DI, S_ES, n, true, k, &to);
	if (k == 0)
		return (0);
	dp = soft_wrptr(cpu, to, (int)(k * n));
	if (dp == NULL)
		return (0);
	rep_fill(dp, cpu->gpr[R_AX], k, n);
	return (k);
}

/* One element's operand address; false: fault recorded. */
static bool
rep_addr(struct softcpu *cpu, const struct insn *in, int r, int seg, unsigned n,
    bool write, uint64_t *lin)
{
	uint64_t off = cpu->gpr[r] & int_mask(in->aux);

	if (in->amode != AM_SLOW)
		return (rep_lin(cpu, in, seg, off, n, write, lin));
	return (int_seg_lin(cpu, in, seg, off, (int)n, write, lin));
}

/* Load through the TLB, the slow way on a miss. */
static inline bool
rep_ld(struct softcpu *cpu, const struct insn *in, uint64_t lin, unsigned n,
    uint64_t *v)
{
	const void *p = soft_rdptr(cpu, lin, (int)n);

	if (p == NULL)
		return (int_ld(cpu, in, lin, (int)n, v));
	switch (n) {
	case 1:
		*v = *(const volatile uint8_t *)p;
		break;
	case 2:
		*v = *(const volatile u16a *)p;
		break;
	case 4:
		*v = *(const volatile u32a *)p;
		break;
	default:
		*v = *(const volatile u64a *)p;
		break;
	}
	return (true);
}

static inline bool
rep_st(struct softcpu *cpu, const struct insn *in, uint64_t lin, unsigned n,
    uint64_t v)
{
	void *p = soft_wrptr(cpu, lin, (int)n);

	if (p == NULL)
		return (int_st(cpu, in, lin, (int)n, v));
	switch (n) {
	case 1:
		*(volatile uint8_t *)p = (uint8_t)v;
		break;
	case 2:
		*(volatile u16a *)p = (uint16_t)v;
		break;
	case 4:
		*(volatile u32a *)p = (uint32_t)v;
		break;
	default:
		*(volatile u64a *)p = v;
		break;
	}
	return (true);
}

/* MOVS, STOS, LODS: true when the count has run out. */
enum { K_MOVS, K_STOS, K_LODS };
static inline __attribute__((__always_inline__)) bool
rep_move(struct softcpu *cpu, const struct insn *in, int kind, unsigned n)
{
	uint64_t count = cpu->gpr[R_CX] & int_mask(in->aux), k, lin, v;

	while (count != 0) {
		k = 0;
		if (kind != K_LODS && rep_bulk(cpu))
			k = kind == K_MOVS ? movs_bulk(cpu, in, n, count)
					   : stos_bulk(cpu, in, n, count);
		else if (kind == K_MOVS && rep_quiet(cpu))
			k = movs_bulk_down(cpu, in, n, count);
		if (k == 0) {
			k = 1;
			v = cpu->gpr[R_AX];
			if (kind != K_STOS &&
			    (!rep_addr(
				 cpu, in, R_SI, in->seg, n, false, &lin) ||
				!rep_ld(cpu, in, lin, n, &v)))
				return (false);
			if (kind == K_LODS) {
				if (n == 1)
					WR8(ACC8, v);
				else
					int_setreg(cpu, n, R_AX, v);
			} else if (!rep_addr(
				       cpu, in, R_DI, S_ES, n, true, &lin) ||
			    !rep_st(cpu, in, lin, n, v))
				return (false);
		}
		if (kind != K_STOS)
			ADV(R_SI, k * n);
		if (kind != K_LODS)
			ADV(R_DI, k * n);
		count -= k;
		int_setreg(cpu, in->aux, R_CX, count);
		if (count != 0 && rep_break(cpu, in))
			return (false);
	}
	return (true);
}

/* Length of the run of elements in which the comparison goes on. */
#define SCAN(S, a, b)                                             \
	case S / 8:                                               \
		for (i = 0; i < k; i++) {                         \
			*va = (a);                                \
			*vb = (b);                                \
			if (((it##S) * va == (it##S) * vb) != eq) \
				return (i + 1);                   \
		}                                                 \
		return (k)
static uint64_t
cmps_scan(const uint8_t *pa, const uint8_t *pb, unsigned n, uint64_t k, bool eq,
    uint64_t *va, uint64_t *vb)
{
	uint64_t i;

	switch (n) {
		SCAN(8, pa[i], pb[i]);
		SCAN(16, ((const u16a *)pa)[i], ((const u16a *)pb)[i]);
		SCAN(32, ((const u32a *)pa)[i], ((const u32a *)pb)[i]);
		SCAN(64, ((const u64a *)pa)[i], ((const u64a *)pb)[i]);
	}
	return (0);
}
static uint64_t
scas_scan(const uint8_t *pb, unsigned n, uint64_t k, bool eq, uint64_t *va,
    uint64_t *vb)
{
	const uint64_t a = *va;
	uint64_t i;

	switch (n) {
		SCAN(8, a, pb[i]);
		SCAN(16, a, ((const u16a *)pb)[i]);
		SCAN(32, a, ((const u32a *)pb)[i]);
		SCAN(64, a, ((const u64a *)pb)[i]);
	}
	return (0);
}

/*
 * Up to k elements compared; *va and *vb are the last pair.  0: the
 * instruction must stop.
 */
static uint64_t
rep_pairs(struct softcpu *cpu, const struct insn *in, bool cmps, unsigned n,
    uint64_t k, bool eq, uint64_t *va, uint64_t *vb)
{
	const uint8_t *pa = NULL, *pb = NULL;
	uint64_t la = 0, lb;

	if (rep_bulk(cpu)) {
		if (cmps)
			k = rep_span(cpu, in, R_SI, in->seg, n, false, k, &la);
		if (k != 0)
			k = rep_span(cpu, in, R_DI, S_ES, n, false, k, &lb);
		if (k != 0) {
			pa = cmps ? soft_rdptr(cpu, la, (int)(k * n)) : NULL;
			pb = soft_rdptr(cpu, lb, (int)(k * n));
		}
		if (pb != NULL && !cmps)
			return (scas_scan(pb, n, k, eq, va, vb));
		if (pb != NULL && pa != NULL)
			return (cmps_scan(pa, pb, n, k, eq, va, vb));
	}
	if (cmps &&
	    (!rep_addr(cpu, in, R_SI, in->seg, n, false, &la) ||
		!rep_ld(cpu, in, la, n, va)))
		return (0);
	if (!rep_addr(cpu, in, R_DI, S_ES, n, false, &lb) ||
	    !rep_ld(cpu, in, lb, n, vb))
		return (0);
	return (1);
}

static uint16_t
rep_cc(unsigned n, uint64_t a, uint64_t b)
{
	switch (n) {
	case 1:
		return (CMP(8, a, b));
	case 2:
		return (CMP(16, a, b));
	case 4:
		return (CMP(32, a, b));
	default:
		return (CMP(64, a, b));
	}
}

/* CMPS, SCAS: true when the instruction is done.  A fault leaves the flags
 * as they were. */
static inline __attribute__((__always_inline__)) bool
rep_compare(struct softcpu *cpu, const struct insn *in, bool cmps, unsigned n)
{
	uint64_t count = cpu->gpr[R_CX] & int_mask(in->aux), k, va, vb;
	bool eq = (in->flags & IN_REP) != 0;

	va = cpu->gpr[R_AX];
	vb = 0;
	while (count != 0) {
		k = rep_pairs(cpu, in, cmps, n, count, eq, &va, &vb);
		if (k == 0)
			return (false);
		if (cmps)
			ADV(R_SI, k * n);
		ADV(R_DI, k * n);
		count -= k;
		int_setreg(cpu, in->aux, R_CX, count);
		if (((va ^ vb) & int_mask(n)) == 0 ? !eq : eq)
			break;
		if (count != 0 && rep_break(cpu, in)) {
			cpu->cc = rep_cc(n, va, vb);
			return (false);
		}
		if (count == 0)
			break;
	}
	cpu->cc = rep_cc(n, va, vb);
	return (true);
}

#define REP_OP(name, n, call)                                 \
	static __attribute__((__noinline__)) bool run_##name( \
	    struct softcpu *cpu, const struct insn *in)       \
	{                                                     \
		return (call);                                \
	}                                                     \
	DEF_REG(op_rep_##name)                                \
	{                                                     \
		if (!run_##name(cpu, in))                     \
			return;                               \
		SOFT_NEXT(cpu, in);                           \
	}
/* With a count of zero nothing is compared and no flag changes. */
#define REP_CMP(name, n, cmps)                           \
	REP_OP(name, n,                                  \
	    (cpu->gpr[R_CX] & int_mask(in->aux)) == 0 || \
		rep_compare(cpu, in, cmps, n))
#define REP_SIZE(S)                                              \
	REP_OP(movs##S, S / 8, rep_move(cpu, in, K_MOVS, S / 8)) \
	REP_OP(stos##S, S / 8, rep_move(cpu, in, K_STOS, S / 8)) \
	REP_OP(lods##S, S / 8, rep_move(cpu, in, K_LODS, S / 8)) \
	REP_CMP(cmps##S, S / 8, true)                            \
	REP_CMP(scas##S, S / 8, false)
REP_SIZE(8)
REP_SIZE(16)
REP_SIZE(32)
REP_SIZE(64)

#define T_SZ(n)                           \
	{                                 \
		n##8, n##16, n##32, n##64 \
	}
#define T_STR(n)                               \
	{                                      \
		T_SZ(op_##n), T_SZ(op_rep_##n) \
	}
static const soft_op str_tab[5][2][4] = {
	T_STR(movs),
	T_STR(cmps),
	T_STR(stos),
	T_STR(lods),
	T_STR(scas),
};

/* arg: index of str_tab. */
soft_op
ibind_string(const struct soft_dec *d, struct insn *in)
{
	in->aux = d->asize;
	return (str_tab[d->row->arg][d->rep != 0][int_szi(d)]);
}
