/*
 * XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B.  On RAM they are the host's
 * instructions on the host address, with LOCK when the guest has it (XCHG
 * with memory always has).
 */
#include "int_local.h"
#include "sys_local.h"

#define SFX8 "b"
#define SFX16 "w"
#define SFX32 "l"
#define SFX64 "q"
#define MOD8 "b"
#define MOD16 "w"
#define MOD32 "k"
#define MOD64 "q"

/* ---- XCHG ---- */
#define XCHG_SIZE(S)                                                  \
	DEF_REG(op_xchg_r##S)                                         \
	{                                                             \
		it##S a = RD##S(in->reg), b = RD##S(in->rm);          \
                                                                      \
		WR##S(in->reg, b);                                    \
		WR##S(in->rm, a);                                     \
		SOFT_NEXT(cpu, in);                                   \
	}                                                             \
	static bool sl_xchg##S(                                       \
	    struct softcpu *cpu, const struct insn *in, uint64_t lin) \
	{                                                             \
		uint64_t v;                                           \
		bool ok;                                              \
                                                                      \
		soft_lock_begin(cpu);                                 \
		ok = soft_probe_write(cpu, in, lin, S / 8) &&         \
		    int_ld(cpu, in, lin, S / 8, &v) &&                \
		    int_st(cpu, in, lin, S / 8, RD##S(in->reg));      \
		soft_lock_end(cpu);                                   \
		if (ok)                                               \
			WR##S(in->reg, v);                            \
		return (ok);                                          \
	}                                                             \
	DEF_OP(op_xchg_m##S)                                          \
	{                                                             \
		uint64_t lin = LIN(S / 8, true);                      \
		volatile pt##S *p = RMWP(S, lin);                     \
		it##S v;                                              \
                                                                      \
		if (slow == NULL && p == NULL) {                      \
			if (!sl_xchg##S(cpu, in, lin))                \
				return;                               \
			SOFT_NEXT(cpu, in);                           \
		}                                                     \
		v = RD##S(in->reg);                                   \
		__asm__ volatile("xchg" SFX##S " %0, %1"              \
				 : "+q"(v), "+m"(*p)                  \
				 :                                    \
				 : "memory");                         \
		WR##S(in->reg, v);                                    \
		SOFT_NEXT(cpu, in);                                   \
	}
XCHG_SIZE(8)
XCHG_SIZE(16)
XCHG_SIZE(32)
XCHG_SIZE(64)

#define T_SZ(n)                           \
	{                                 \
		n##8, n##16, n##32, n##64 \
	}

/* 90+r: A_OPREG puts r into rm; without REX.B register 0 means NOP. */
soft_op
ibind_xchg(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[2][4] = { T_SZ(op_xchg_r), T_SZ(op_xchg_m) };

	if ((d->opcode & 0xf8) == 0x90) {
		if (in->rm == 0)
			return (ibind_nop(d, in));
		in->reg = R_AX;
	}
	return (tab[d->mem][int_szi(d)]);
}

/* F3 90 is PAUSE; with another register F3 means nothing. */
soft_op
ibind_f390(const struct soft_dec *d, struct insn *in)
{
	if (in->rm == 0)
		return (bind_pause(d, in));
	return (ibind_xchg(d, in));
}

/* ---- XADD ---- */
#define XADD_SIZE(S)                                                       \
	INT_INLINE it##S x_xadd##S(it##S d, it##S s, uint16_t *cc)         \
	{                                                                  \
		uint32_t f;                                                \
		__asm__("add %2, %0" ASM_GETFLAGS                          \
			: "+q"(d), "=&a"(f)                                \
			: "q"(s)                                           \
			: "cc");                                           \
		*cc = (uint16_t)f;                                         \
		return (d);                                                \
	}                                                                  \
	DEF_REG(op_xadd_r##S)                                              \
	{                                                                  \
		it##S d = RD##S(in->rm), s = RD##S(in->reg);               \
                                                                           \
		WR##S(in->reg, d);                                         \
		WR##S(in->rm, x_xadd##S(d, s, &cpu->cc));                  \
		SOFT_NEXT(cpu, in);                                        \
	}                                                                  \
	static bool sl_xadd##S(struct softcpu *cpu, const struct insn *in, \
	    uint64_t lin, bool lock)                                       \
	{                                                                  \
		uint16_t cc;                                               \
		uint64_t v;                                                \
		bool ok;                                                   \
                                                                           \
		if (lock)                                                  \
			soft_lock_begin(cpu);                              \
		ok = soft_probe_write(cpu, in, lin, S / 8) &&              \
		    int_ld(cpu, in, lin, S / 8, &v) &&                     \
		    int_st(cpu, in, lin, S / 8,                            \
			x_xadd##S((it##S)v, RD##S(in->reg), &cc));         \
		if (lock)                                                  \
			soft_lock_end(cpu);                                \
		if (ok) {                                                  \
			WR##S(in->reg, v);                                 \
			cpu->cc = cc;                                      \
		}                                                          \
		return (ok);                                               \
	}                                                                  \
	XADD_MEM(m, "", false, S) XADD_MEM(l, "lock; ", true, S)
#define XADD_MEM(n, head, lock, S)                                         \
	DEF_OP(op_xadd_##n##S)                                             \
	{                                                                  \
		uint64_t lin = LIN(S / 8, true);                           \
		volatile pt##S *p = RMWP(S, lin);                          \
		uint32_t f;                                                \
		it##S v;                                                   \
                                                                           \
		if (slow == NULL && p == NULL) {                           \
			if (!sl_xadd##S(cpu, in, lin, lock))               \
				return;                                    \
			SOFT_NEXT(cpu, in);                                \
		}                                                          \
		v = RD##S(in->reg);                                        \
		__asm__ volatile(head "xadd" SFX##S " %0, %2" ASM_GETFLAGS \
				 : "+q"(v), "=&a"(f), "+m"(*p)             \
				 :                                         \
				 : "cc", "memory");                        \
		WR##S(in->reg, v);                                         \
		cpu->cc = (uint16_t)f;                                     \
		SOFT_NEXT(cpu, in);                                        \
	}
XADD_SIZE(8)
XADD_SIZE(16)
XADD_SIZE(32)
XADD_SIZE(64)

soft_op
ibind_xadd(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[3][4] = {
		T_SZ(op_xadd_r),
		T_SZ(op_xadd_m),
		T_SZ(op_xadd_l),
	};

	return (tab[d->mem ? 1 + d->lock : 0][int_szi(d)]);
}

/* ---- CMPXCHG: rAX with the destination ---- */
/* The register form works on whole host registers: what 32-bit operands do
 * to upper halves is the host's answer. */
#define CX_RD8(r) RD8(r)
#define CX_RD16(r) RD64(r)
#define CX_RD32(r) RD64(r)
#define CX_RD64(r) RD64(r)
#define CX_WR8(r, v) WR8(r, v)
#define CX_WR16(r, v) WR64(r, v)
#define CX_WR32(r, v) WR64(r, v)
#define CX_WR64(r, v) WR64(r, v)
#define CX_SIZE(S)                                                            \
	DEF_REG(op_cmpxchg_r##S)                                              \
	{                                                                     \
		uint64_t d = CX_RD##S(in->rm), a = RD64(R_AX), f;             \
		it##S s = RD##S(in->reg);                                     \
                                                                              \
		__asm__("cmpxchg" SFX##S " %3, %" MOD##S                      \
			"0\n\t"                                               \
			"movq %%rax, %1" ASM_GETFLAGS                         \
			: "+&r"(d), "=&r"(f), "+&a"(a)                        \
			: "q"(s)                                              \
			: "cc");                                              \
		cpu->cc = (uint16_t)a;                                        \
		WR64(R_AX, f);                                                \
		CX_WR##S(in->rm, d);                                          \
		SOFT_NEXT(cpu, in);                                           \
	}                                                                     \
	static bool sl_cmpxchg##S(struct softcpu *cpu, const struct insn *in, \
	    uint64_t lin, bool lock)                                          \
	{                                                                     \
		uint64_t v;                                                   \
		uint32_t f;                                                   \
		bool ok, eq;                                                  \
		it##S d;                                                      \
                                                                              \
		if (lock)                                                     \
			soft_lock_begin(cpu);                                 \
		eq = false;                                                   \
		ok = soft_probe_write(cpu, in, lin, S / 8) &&                 \
		    int_ld(cpu, in, lin, S / 8, &v);                          \
		if (ok) {                                                     \
			d = (it##S)v;                                         \
			eq = d == (it##S)RD64(R_AX);                          \
			ok = int_st(                                          \
			    cpu, in, lin, S / 8, eq ? RD##S(in->reg) : d);    \
		}                                                             \
		if (lock)                                                     \
			soft_lock_end(cpu);                                   \
		if (!ok)                                                      \
			return (false);                                       \
		__asm__("cmp %2, %1" ASM_GETFLAGS                             \
			: "=&a"(f)                                            \
			: "q"((it##S)RD64(R_AX)), "q"(d)                      \
			: "cc");                                              \
		cpu->cc = (uint16_t)f;                                        \
		if (!eq)                                                      \
			WR##S(R_AX, d);                                       \
		return (true);                                                \
	}                                                                     \
	CX_MEM(m, "", false, S) CX_MEM(l, "lock; ", true, S)
#define CX_MEM(n, head, lock, S)                                \
	DEF_OP(op_cmpxchg_##n##S)                               \
	{                                                       \
		uint64_t lin = LIN(S / 8, true);                \
		volatile pt##S *p = RMWP(S, lin);               \
		uint64_t a, f;                                  \
                                                                \
		if (slow == NULL && p == NULL) {                \
			if (!sl_cmpxchg##S(cpu, in, lin, lock)) \
				return;                         \
			SOFT_NEXT(cpu, in);                     \
		}                                               \
		a = RD64(R_AX);                                 \
		__asm__ volatile(head "cmpxchg" SFX##S          \
				 " %3, %2\n\t"                  \
				 "movq %%rax, %1" ASM_GETFLAGS  \
				 : "+&a"(a), "=&r"(f), "+m"(*p) \
				 : "q"(RD##S(in->reg))          \
				 : "cc", "memory");             \
		cpu->cc = (uint16_t)a;                          \
		WR64(R_AX, f);                                  \
		SOFT_NEXT(cpu, in);                             \
	}
CX_SIZE(8)
CX_SIZE(16)
CX_SIZE(32)
CX_SIZE(64)

soft_op
ibind_cmpxchg(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[3][4] = {
		T_SZ(op_cmpxchg_r),
		T_SZ(op_cmpxchg_m),
		T_SZ(op_cmpxchg_l),
	};

	return (tab[d->mem ? 1 + d->lock : 0][int_szi(d)]);
}

/* ---- CMPXCHG8B, CMPXCHG16B: ZF alone changes ---- */
static void
cx_done(struct softcpu *cpu, bool eq)
{
	cpu->cc = (uint16_t)((cpu->cc & ~CC_ZF) | (eq ? CC_ZF : 0));
}

static bool
sl_cmpxchg8b(struct softcpu *cpu, const struct insn *in, uint64_t lin)
{
	uint64_t v, old;
	bool ok, eq, lock = (in->flags & IN_LOCK) != 0;

	old = (uint64_t)RD32(R_DX) << 32 | RD32(R_AX);
	eq = false;
	if (lock)
		soft_lock_begin(cpu);
	ok = soft_probe_write(cpu, in, lin, 8) && int_ld(cpu, in, lin, 8, &v);
	if (ok) {
		eq = v == old;
		ok = int_st(cpu, in, lin, 8,
		    !eq ? v : (uint64_t)RD32(R_CX) << 32 | RD32(R_BX));
	}
	if (lock)
		soft_lock_end(cpu);
	if (!ok)
		return (false);
	if (!eq) {
		WR32(R_AX, v);
		WR32(R_DX, v >> 32);
	}
	cx_done(cpu, eq);
	return (true);
}

#define CX8(n, head)                                                       \
	DEF_OP(op_cmpxchg8b_##n)                                           \
	{                                                                  \
		uint64_t lin = LIN(8, true);                               \
		volatile pt64 *p = RMWP(64, lin);                          \
		uint32_t a, d;                                             \
		bool eq;                                                   \
                                                                           \
		if (slow == NULL && p == NULL) {                           \
			if (!sl_cmpxchg8b(cpu, in, lin))                   \
				return;                                    \
			SOFT_NEXT(cpu, in);                                \
		}                                                          \
		a = RD32(R_AX);                                            \
		d = RD32(R_DX);                                            \
		__asm__ volatile(head "cmpxchg8b %3"                       \
				 : "+a"(a), "+d"(d), "=@ccz"(eq), "+m"(*p) \
				 : "b"(RD32(R_BX)), "c"(RD32(R_CX))        \
				 : "memory");                              \
		if (!eq) {                                                 \
			WR32(R_AX, a);                                     \
			WR32(R_DX, d);                                     \
		}                                                          \
		cx_done(cpu, eq);                                          \
		SOFT_NEXT(cpu, in);                                        \
	}
CX8(m, "")
CX8(l, "lock; ")

static bool
sl_cmpxchg16b(struct softcpu *cpu, const struct insn *in, uint64_t lin)
{
	uint64_t v[2], w[2];
	bool ok, eq, lock = (in->flags & IN_LOCK) != 0;

	eq = false;
	if (lock)
		soft_lock_begin(cpu);
	ok = soft_probe_write(cpu, in, lin, 16) &&
	    soft_ld_bytes(cpu, in, lin, v, 16);
	if (ok) {
		eq = v[0] == RD64(R_AX) && v[1] == RD64(R_DX);
		w[0] = eq ? RD64(R_BX) : v[0];
		w[1] = eq ? RD64(R_CX) : v[1];
		ok = soft_st_bytes(cpu, in, lin, w, 16);
	}
	if (lock)
		soft_lock_end(cpu);
	if (!ok)
		return (false);
	if (!eq) {
		WR64(R_AX, v[0]);
		WR64(R_DX, v[1]);
	}
	cx_done(cpu, eq);
	return (true);
}

/* The operand must be aligned: it never crosses a page.  The host always
 * locks, which no guest can tell apart. */
static void
op_cmpxchg16b(struct softcpu *cpu, const struct insn *in)
{
	const soft_op slow = NULL;
	uint64_t lin = LIN(16, true);
	uint64_t a, d;
	void *p;
	bool eq;

	if (lin & 15) {
		soft_fault_err(cpu, in, X_GP, 0);
		return;
	}
	p = soft_rmw(cpu, lin, 16);
	if (p == NULL) {
		if (!sl_cmpxchg16b(cpu, in, lin))
			return;
		SOFT_NEXT(cpu, in);
	}
	a = RD64(R_AX);
	d = RD64(R_DX);
	__asm__ volatile("lock; cmpxchg16b (%3)"
			 : "+a"(a), "+d"(d), "=@ccz"(eq)
			 : "r"(p), "b"(RD64(R_BX)), "c"(RD64(R_CX))
			 : "memory");
	if (!eq) {
		WR64(R_AX, a);
		WR64(R_DX, d);
	}
	cx_done(cpu, eq);
	SOFT_NEXT(cpu, in);
}

/* One row for both: REX.W makes it 16 bytes. */
soft_op
ibind_cmpxchg8b(const struct soft_dec *d, struct insn *in)
{
	if (d->rex & 8)
		return (op_cmpxchg16b);
	return (d->lock ? op_cmpxchg8b_l : op_cmpxchg8b_m);
}
