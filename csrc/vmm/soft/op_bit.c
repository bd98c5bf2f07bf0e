/*
 * BT BTS BTR BTC with register, memory and bit-string operands, BSF BSR
 * TZCNT LZCNT POPCNT, ADCX ADOX.
 */
#include "int_local.h"

#define N_bt(d, b) (d)
#define N_bts(d, b) ((d) | (b))
#define N_btr(d, b) ((d) & ~(b))
#define N_btc(d, b) ((d) ^ (b))
#define LG16 4
#define LG32 5
#define LG64 6
#define SFX16 "w"
#define SFX32 "l"
#define SFX64 "q"

/* CF = bit n of d; the other flags stay. */
#define BIT_CC(d, n) ((uint16_t)((*cc & ~CC_CF) | ((((d) >> (n)) & 1) << 8)))

/* The operand of a bit string: the register's upper bits choose a word. */
#define BLIN(S, w)                                                        \
	({                                                                \
		uint64_t l_ = INT_EA() +                                  \
		    (uint64_t)((int64_t)(st##S)RD##S(in->reg) >> LG##S) * \
			(S / 8);                                          \
		if (likely(in->amode == AM_64)) {                         \
			l_ += cpu->segbase[in->seg];                      \
		} else if (in->amode == AM_FLAT32) {                      \
			l_ = (uint32_t)l_;                                \
		} else if (slow != NULL) {                                \
			slow(cpu, in);                                    \
			return;                                           \
		} else {                                                  \
			uint64_t t_;                                      \
			if (in->flags & IN_AS16)                          \
				l_ = (uint16_t)l_;                        \
			else if (in->flags & IN_AS32)                     \
				l_ = (uint32_t)l_;                        \
			if (!int_seg_lin(                                 \
				cpu, in, in->seg, l_, S / 8, (w), &t_))   \
				return;                                   \
			l_ = t_;                                          \
		}                                                         \
		l_;                                                       \
	})
#define ILIN(S, w) LIN(S / 8, w)
#define BIT_r(S) ((unsigned)RD##S(in->reg) & (S - 1))
#define BIT_i(S) ((unsigned)in->imm & (S - 1))

#define BIT_REG(op, c, S)                                \
	DEF_REG(op_##op##_r##c##S)                       \
	{                                                \
		unsigned n = BIT_##c(S);                 \
		it##S d = RD##S(in->rm);                 \
                                                         \
		cpu->cc = ({                             \
			uint16_t *cc = &cpu->cc;         \
			BIT_CC(d, n);                    \
		});                                      \
		BIT_W_##op(S, N_##op(d, (it##S)1 << n)); \
		SOFT_NEXT(cpu, in);                      \
	}
#define BIT_W_bt(S, v) ((void)0)
#define BIT_W_bts(S, v) WR##S(in->rm, v)
#define BIT_W_btr(S, v) WR##S(in->rm, v)
#define BIT_W_btc(S, v) WR##S(in->rm, v)

#define BIT_LD(c, L, S)                     \
	DEF_OP(op_bt_m##c##S)               \
	{                                   \
		uint64_t lin = L(S, false); \
		it##S d = LD(S, lin);       \
		unsigned n = BIT_##c(S);    \
		uint16_t *cc = &cpu->cc;    \
                                            \
		*cc = BIT_CC(d, n);         \
		SOFT_NEXT(cpu, in);         \
	}
#define BIT_MEM(op, c, L, S)                                           \
	DEF_OP(op_##op##_m##c##S)                                      \
	{                                                              \
		uint64_t lin = L(S, true);                             \
		volatile pt##S *p = RMWP(S, lin);                      \
		unsigned n = BIT_##c(S);                               \
		uint16_t *cc = &cpu->cc;                               \
		it##S d;                                               \
                                                                       \
		if (slow == NULL && p == NULL)                         \
			RMW_SLOW(S, lin, f_##op##S, n, false);         \
		d = *p;                                                \
		*p = (it##S)N_##op(d, (it##S)1 << n);                  \
		*cc = BIT_CC(d, n);                                    \
		SOFT_NEXT(cpu, in);                                    \
	}                                                              \
	DEF_OP(op_##op##_l##c##S)                                      \
	{                                                              \
		uint64_t lin = L(S, true);                             \
		volatile pt##S *p = RMWP(S, lin);                      \
		unsigned n = BIT_##c(S);                               \
		uint8_t old;                                           \
                                                                       \
		if (slow == NULL && p == NULL)                         \
			RMW_SLOW(S, lin, f_##op##S, n, true);          \
		__asm__ volatile("lock; " #op SFX##S " %2, %1\n\t"     \
						     "setc %0"         \
				 : "=q"(old), "+m"(*p)                 \
				 : "r"((it##S)n)                       \
				 : "cc", "memory");                    \
		cpu->cc = (uint16_t)((cpu->cc & ~CC_CF) | (old << 8)); \
		SOFT_NEXT(cpu, in);                                    \
	}
#define BIT_F(op, S)                                                    \
	static uint64_t f_##op##S(uint64_t d, uint64_t n, uint16_t *cc) \
	{                                                               \
		*cc = BIT_CC(d, n);                                     \
		return (N_##op(d, 1ull << n));                          \
	}
#define BIT_OP(op, S)     \
	BIT_F(op, S)      \
	BIT_REG(op, r, S) \
	BIT_REG(op, i, S) BIT_MEM(op, r, BLIN, S) BIT_MEM(op, i, ILIN, S)
#define BIT_SIZE(S)        \
	BIT_REG(bt, r, S)  \
	BIT_REG(bt, i, S)  \
	BIT_LD(r, BLIN, S) \
	BIT_LD(i, ILIN, S) BIT_OP(bts, S) BIT_OP(btr, S) BIT_OP(btc, S)
BIT_SIZE(16)
BIT_SIZE(32)
BIT_SIZE(64)

#define T_BT(op, f)                                                     \
	{                                                               \
		op_##op##_##f##16, op_##op##_##f##32, op_##op##_##f##64 \
	}
#define T_BTO(op, l)                                                    \
	{                                                               \
		T_BT(op, rr), T_BT(op, ri), T_BT(op, mr), T_BT(op, mi), \
		    T_BT(op, l##r), T_BT(op, l##i)                      \
	}
static const soft_op bt_tab[4][6][3] = {
	T_BTO(bt, m),
	T_BTO(bts, l),
	T_BTO(btr, l),
	T_BTO(btc, l),
};

/* arg: 0 BT to 3 BTC; 4: immediate form. */
soft_op
ibind_bt(const struct soft_dec *d, struct insn *in)
{
	unsigned form;

	form = (d->row->arg >> 2) & 1;
	if (d->mem)
		form += d->lock ? 4 : 2;
	return (bt_tab[d->row->arg & 3][form][int_szi(d) - 1]);
}

/* ---- counts and scans ---- */
#define MOD16 "w"
#define MOD32 "k"
#define MOD64 "q"
/* The host works on the whole register: what a 32-bit scan of zero leaves in
 * the upper half is the host's answer. */
#define SCAN(op, S)                                                       \
	INT_INLINE void s_##op##S(struct softcpu *cpu, int r, it##S s)    \
	{                                                                 \
		uint64_t q = RD64(r);                                     \
		uint32_t f = cpu->cc;                                     \
		__asm__(ASM_SETFLAGS #op SFX##S " %" MOD##S "2, %" MOD##S \
			"0" ASM_GETFLAGS                                  \
			: "+r"(q), "+a"(f)                                \
			: "r"(s)                                          \
			: "cc");                                          \
		cpu->cc = (uint16_t)f;                                    \
		WR64(r, q);                                               \
	}                                                                 \
	SCAN_FORMS(op, S)
#define SCAN_FORMS(op, S)                               \
	DEF_REG(op_##op##_r##S)                         \
	{                                               \
		s_##op##S(cpu, in->reg, RD##S(in->rm)); \
		SOFT_NEXT(cpu, in);                     \
	}                                               \
	DEF_OP(op_##op##_m##S)                          \
	{                                               \
		uint64_t lin = LIN(S / 8, false);       \
		it##S v = LD(S, lin);                   \
                                                        \
		s_##op##S(cpu, in->reg, v);             \
		SOFT_NEXT(cpu, in);                     \
	}
#define SCAN_OP(op) SCAN(op, 16) SCAN(op, 32) SCAN(op, 64)
SCAN_OP(bsf)
SCAN_OP(bsr)

/* TZCNT and LZCNT in C: a host without them would run BSF and BSR. */
#define COUNT(op, S, expr)                                             \
	INT_INLINE void s_##op##S(struct softcpu *cpu, int r, it##S s) \
	{                                                              \
		unsigned n = s == 0 ? S : (unsigned)(expr);            \
                                                                       \
		cpu->cc = (uint16_t)((cpu->cc & ~(CC_CF | CC_ZF)) |    \
		    (s == 0 ? CC_CF : 0) | (n == 0 ? CC_ZF : 0));      \
		WR##S(r, n);                                           \
	}                                                              \
	SCAN_FORMS(op, S)
#define COUNT_OP(op, e) \
	COUNT(op, 16, e##16) COUNT(op, 32, e##32) COUNT(op, 64, e##64)
#define CTZ16 __builtin_ctz(s)
#define CTZ32 __builtin_ctz(s)
#define CTZ64 __builtin_ctzll(s)
#define CLZ16 (__builtin_clz(s) - 16)
#define CLZ32 __builtin_clz(s)
#define CLZ64 __builtin_clzll(s)
COUNT_OP(tzcnt, CTZ)
COUNT_OP(lzcnt, CLZ)
SCAN_OP(popcnt)

#define T_SC(op)                         \
	{                                \
		T_BT(op, r), T_BT(op, m) \
	}
static const soft_op scan_tab[5][2][3] = {
	T_SC(bsf),
	T_SC(bsr),
	T_SC(tzcnt),
	T_SC(lzcnt),
	T_SC(popcnt),
};

/* arg: index of scan_tab. */
soft_op
ibind_bits(const struct soft_dec *d, struct insn *in)
{
	return (scan_tab[d->row->arg][d->mem][int_szi(d) - 1]);
}

/* ---- ADCX, ADOX: CF or OF alone is the carry ---- */
#define ADX(op, S, bit)                                                 \
	INT_INLINE void s_##op##S(struct softcpu *cpu, int r, it##S s)  \
	{                                                               \
		it##S d = RD##S(r), a, b;                               \
		bool c = (cpu->cc & bit) != 0;                          \
                                                                        \
		c = __builtin_add_overflow(d, (it##S)c, &a);            \
		c |= __builtin_add_overflow(a, s, &b);                  \
		cpu->cc = (uint16_t)((cpu->cc & ~bit) | (c ? bit : 0)); \
		WR##S(r, b);                                            \
	}                                                               \
	DEF_REG(op_##op##_r##S)                                         \
	{                                                               \
		s_##op##S(cpu, in->reg, RD##S(in->rm));                 \
		SOFT_NEXT(cpu, in);                                     \
	}                                                               \
	DEF_OP(op_##op##_m##S)                                          \
	{                                                               \
		uint64_t lin = LIN(S / 8, false);                       \
		it##S v = LD(S, lin);                                   \
                                                                        \
		s_##op##S(cpu, in->reg, v);                             \
		SOFT_NEXT(cpu, in);                                     \
	}
ADX(adcx, 32, CC_CF)
ADX(adcx, 64, CC_CF)
ADX(adox, 32, CC_OF)
ADX(adox, 64, CC_OF)

/* arg 0: ADCX (66 is part of the opcode), 1: ADOX. */
soft_op
ibind_adx(const struct soft_dec *d, struct insn *in)
{
	static const soft_op tab[2][2][2] = {
		{ { op_adcx_r32, op_adcx_m32 }, { op_adcx_r64, op_adcx_m64 } },
		{ { op_adox_r32, op_adox_m32 }, { op_adox_r64, op_adox_m64 } },
	};

	return (tab[d->row->arg][(d->rex & 8) != 0][d->mem]);
}
