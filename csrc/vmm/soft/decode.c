/*
 * The decoder: prefixes, opcode rows, immediates, and the backward pass that
 * finds arithmetic flags nobody reads.  The rows of optab_*.def are indexed
 * once by [map][opcode].
 */
#include <cpuid.h>
#include <stdlib.h>
#include <string.h>

#include "soft_core_local.h"

struct opslot {
	uint16_t first, count;
};
static struct opslot dec_slot[4][256];
static const struct optab **dec_rows;
static bool dec_modrm[4][256];
static uint32_t dec_features;
static soft_op _Atomic dec_unblock[2]; /* handlers of WRMSR and MOV to CRn */
#define FL_IMM0 0x2u		       /* in fl_read; see flags_read() */
static pthread_once_t dec_once = PTHREAD_ONCE_INIT;

static void
op_ud(struct softcpu *cpu, const struct insn *in)
{
	soft_fault(cpu, in, X_UD);
}

static void
op_gp0(struct softcpu *cpu, const struct insn *in)
{
	soft_fault_err(cpu, in, X_GP, 0);
}

static const struct {
	const struct optab *const tab;
	const size_t *const n;
} dec_tabs[] = {
	{ optab_int, &optab_int_n },
	{ optab_sys, &optab_sys_n },
	{ optab_fp, &optab_fp_n },
};

/* Feature bits whose handlers use the same instruction of the host. */
static uint32_t
host_features(void)
{
	uint32_t a, b, c, d, f;

	f = SF_CX8 | SF_CX16 | SF_MMX | SF_SSE | SF_SSE2 | SF_XSAVE | SF_FXSR |
	    SF_RDTSCP | SF_FSGSBASE | SF_MOVBE | SF_RDPID | SF_CLFLUSH |
	    SF_CMOV | SF_LZCNT | SF_BMI1 | SF_BMI2 | SF_ADX;
	__builtin_cpu_init();
	if (__builtin_cpu_supports("sse3"))
		f |= SF_SSE3;
	if (__builtin_cpu_supports("ssse3"))
		f |= SF_SSSE3;
	if (__builtin_cpu_supports("sse4.1"))
		f |= SF_SSE41;
	if (__builtin_cpu_supports("sse4.2"))
		f |= SF_SSE42;
	if (__builtin_cpu_supports("popcnt"))
		f |= SF_POPCNT;
	if (__builtin_cpu_supports("pclmul"))
		f |= SF_PCLMUL;
	if (__builtin_cpu_supports("aes"))
		f |= SF_AES;
	/* Not every compiler knows a name for this one. */
	if (__get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_RDRND) != 0)
		f |= SF_RDRAND;
	return (f);
}

/* Build the index: rows of one opcode stay in table order. */
static void
dec_build(void)
{
	const struct optab *r;
	uint32_t have = 0;
	size_t total = 0, at = 0;
	unsigned lo, hi;

	for (size_t t = 0; t < 3; t++)
		for (size_t i = 0; i < *dec_tabs[t].n; i++) {
			r = &dec_tabs[t].tab[i];
			lo = r->opcode;
			hi = (r->attr & A_OPREG) ? lo + 7 : lo;
			for (unsigned o = lo; o <= hi && o < 256; o++) {
				dec_slot[r->map][o].count++;
				if (r->attr & A_MODRM)
					dec_modrm[r->map][o] = true;
				total++;
			}
			have |= r->feature;
		}
	dec_rows = calloc(total + 1, sizeof(*dec_rows));
	if (dec_rows == NULL)
		abort();
	for (unsigned m = 0; m < 4; m++)
		for (unsigned o = 0; o < 256; o++) {
			dec_slot[m][o].first = (uint16_t)at;
			at += dec_slot[m][o].count;
			dec_slot[m][o].count = 0;
		}
	for (size_t t = 0; t < 3; t++)
		for (size_t i = 0; i < *dec_tabs[t].n; i++) {
			r = &dec_tabs[t].tab[i];
			lo = r->opcode;
			hi = (r->attr & A_OPREG) ? lo + 7 : lo;
			for (unsigned o = lo; o <= hi && o < 256; o++) {
				struct opslot *s = &dec_slot[r->map][o];

				dec_rows[s->first + s->count++] = r;
			}
		}
	dec_features = host_features() & have;
}

void
decode_init(void)
{
	pthread_once(&dec_once, dec_build);
}

uint32_t
soft_features(void)
{
	decode_init();
	return (dec_features);
}

struct prefixes {
	int segov;
	bool p67;
};

/* Consume the prefixes; the opcode byte is next. */
static void
dec_prefixes(struct dec_cur *c, struct soft_dec *d, struct prefixes *px)
{
	static const int8_t segs[8] = { S_ES, S_CS, S_SS, S_DS, S_FS, S_GS };
	uint8_t b;

	px->segov = -1;
	px->p67 = false;
	for (; c->at < c->n; c->at++) {
		b = c->p[c->at];
		switch (b) {
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
			if (!(d->mode & MODE_64))
				px->segov = segs[(b >> 3) & 3];
			break;
		case 0x64:
		case 0x65:
			px->segov = segs[b & 7];
			break;
		case 0x66:
			d->p66 = true;
			break;
		case 0x67:
			px->p67 = true;
			break;
		case 0xf0:
			d->lock = true;
			break;
		case 0xf2:
		case 0xf3:
			d->rep = b;
			break;
		default:
			if ((b & 0xf0) == 0x40 && (d->mode & MODE_64)) {
				d->rex = b;
				continue;
			}
			return;
		}
		d->rex = 0; /* REX counts right before the opcode only */
	}
	c->more = true;
}

static unsigned
dec_map(struct dec_cur *c, struct soft_dec *d)
{
	unsigned map = M_1;
	uint8_t b;

	b = (uint8_t)cur_le(c, 1);
	if (b == 0x0f) {
		map = M_0F;
		b = (uint8_t)cur_le(c, 1);
		if (!c->more && (b == 0x38 || b == 0x3a)) {
			map = b == 0x38 ? M_0F38 : M_0F3A;
			b = (uint8_t)cur_le(c, 1);
		}
	}
	d->opcode = b;
	return (map);
}

static bool
row_matches(const struct optab *r, const struct soft_dec *d)
{
	static const uint8_t rep_of[] = { 0, 0, 0, 0xf3, 0xf2 };

	if (r->prefix != P_ANY) {
		if (d->rep != rep_of[r->prefix])
			return (false);
		if (r->prefix == P_NONE && d->p66)
			return (false);
		if (r->prefix == P_66 && !d->p66)
			return (false);
	}
	if ((r->attr & ((d->mode & MODE_64) ? A_I64 : A_O64)) != 0)
		return (false);
	if (r->attr & A_MODRM) {
		if (r->reg >= 0xc0 && r->reg != R_ANY && r->reg != d->modrm)
			return (false);
		if (r->reg < 8 && r->reg != ((d->modrm >> 3) & 7))
			return (false);
		if (r->mod == MOD_MEM && d->modrm >= 0xc0)
			return (false);
		if (r->mod == MOD_REG && d->modrm < 0xc0)
			return (false);
	}
	return ((r->feature & ~dec_features) == 0);
}

static const struct optab *
dec_find(unsigned map, const struct soft_dec *d)
{
	const struct opslot *s = &dec_slot[map][d->opcode];

	for (unsigned i = 0; i < s->count; i++)
		if (row_matches(dec_rows[s->first + i], d))
			return (dec_rows[s->first + i]);
	return (NULL);
}

/* Operand size: 16 or 32 by mode and prefix 66, 64 by REX.W or the row. */
static void
dec_opsize(struct soft_dec *d, struct insn *in)
{
	const uint16_t attr = d->row->attr;
	bool p66 = d->p66 && d->row->prefix != P_66;
	bool w = (d->rex & 8) != 0;

	if (d->mode & MODE_64) {
		if (attr & A_F64)
			d->opsize = 8;
		else if (w)
			d->opsize = 8;
		else if (p66)
			d->opsize = 2;
		else
			d->opsize = (attr & A_D64) ? 8 : 4;
	} else
		d->opsize = (((d->mode & MODE_CS32) != 0) != p66) ? 4 : 2;
	if (d->opsize == 2)
		in->flags |= IN_OS16;
}

static void
dec_imm(struct dec_cur *c, const struct soft_dec *d, struct insn *in)
{
	unsigned osz = d->opsize == 2 ? 2 : 4;
	uint64_t off;

	switch (d->row->imm) {
	case I_B:
		in->imm = (int8_t)cur_le(c, 1);
		break;
	case I_BU:
		in->imm = (int32_t)cur_le(c, 1);
		break;
	case I_W:
		in->imm = (int32_t)cur_le(c, 2);
		break;
	case I_Z:
		in->imm =
		    osz == 2 ? (int16_t)cur_le(c, 2) : (int32_t)cur_le(c, 4);
		break;
	case I_V:
		in->imm64 = cur_le(c, d->opsize);
		break;
	case I_MOFFS:
		in->imm64 = cur_le(c, d->asize);
		break;
	case I_FAR:
		off = cur_le(c, osz);
		in->imm64 = (cur_le(c, 2) << 32) | off;
		break;
	case I_WB:
		in->imm = (int32_t)cur_le(c, 2);
		in->aux = (uint8_t)cur_le(c, 1);
		break;
	default:
		break;
	}
}

/* Register numbers as the row wants them: numbers, or byte offsets. */
static void
dec_regs(struct soft_dec *d, struct insn *in)
{
	const uint16_t attr = d->row->attr;

	if (attr & A_OPREG)
		d->rm = (uint8_t)((d->opcode & 7) | ((d->rex & 1) << 3));
	in->reg = (attr & A_B) ? dec_breg(d, d->reg) : d->reg;
	in->rm = (attr & (A_B | A_RMB)) ? dec_breg(d, d->rm) : d->rm;
}

/* RIP-relative displacements count from the block's first byte. */
static void
dec_riprel(struct insn *in)
{
	int64_t disp = (int64_t)in->disp + in->off + in->len;

	in->base = R_BLOCK;
	if (disp > INT32_MAX) {
		disp -= 1 << 30;
		in->index = R_BIG;
	}
	in->disp = (int32_t)disp;
}

enum dec_result
decode_insn(struct soft_dec *d, struct insn *in, const uint8_t *p, unsigned n,
    uint32_t mode)
{
	struct dec_cur c = { .p = p, .n = n < 15 ? n : 15 };
	struct prefixes px;
	uint16_t off = in->off;
	bool riprel = false;
	unsigned map;

	memset(d, 0, sizeof(*d));
	memset(in, 0, sizeof(*in));
	in->off = off;
	in->base = R_ZERO;
	in->index = R_ZERO;
	d->mode = mode;
	dec_prefixes(&c, d, &px);
	map = dec_map(&c, d);
	if (!c.more && dec_modrm[map][d->opcode])
		d->modrm = (uint8_t)cur_le(&c, 1);
	if (c.more)
		return (c.n == 15 ? DEC_TOOLONG : DEC_MORE);
	in->len = (uint8_t)c.at;
	d->row = dec_find(map, d);
	if (d->row == NULL)
		return (DEC_OK);
	if (mode & MODE_64)
		d->asize = px.p67 ? 4 : 8;
	else
		d->asize = (((mode & MODE_CS32) != 0) != px.p67) ? 4 : 2;
	dec_opsize(d, in);
	if (d->rep != 0)
		in->flags |= d->rep == 0xf3 ? IN_REP : IN_REPNE;
	if (d->row->attr & A_MODRM) {
		d->reg = (uint8_t)(((d->modrm >> 3) & 7) | ((d->rex & 4) << 1));
		d->rm = (uint8_t)((d->modrm & 7) | ((d->rex & 1) << 3));
		/* MOV to and from CRn and DRn ignores mod. */
		d->mem = d->modrm < 0xc0 &&
		    !(map == M_0F && (d->opcode & 0xfc) == 0x20);
		if (d->mem)
			riprel = decode_modrm(&c, d, in, px.segov);
		else /* MASKMOV has an implicit memory operand */
			decode_amode(d, in, px.segov, S_DS);
	} else {
		decode_amode(d, in, px.segov, S_DS);
		if (d->row->imm == I_MOFFS) {
			d->mem = true;
			in->flags |= IN_MEM;
		}
	}
	dec_imm(&c, d, in);
	if (c.more)
		return (c.n == 15 ? DEC_TOOLONG : DEC_MORE);
	in->len = (uint8_t)c.at;
	if (d->row->attr & A_B)
		d->opsize = 1;
	dec_regs(d, in);
	if (riprel)
		dec_riprel(in);
	in->arg = d->row->arg;
	if (d->lock)
		in->flags |= IN_LOCK;
	return (DEC_OK);
}

bool
decode_ends_block(const struct soft_dec *d)
{
	return (d->row == NULL || (d->row->attr & A_END) != 0);
}

static soft_op
bind_one(const struct soft_dec *d, struct insn *in)
{
	const struct optab *r = d->row;
	soft_op op;

	if (r == NULL)
		return (op_ud);
	if (d->lock && (!(r->attr & A_LOCK) || !d->mem))
		return (op_ud);
	if ((r->attr & A_PROT) && !(d->mode & MODE_PROT))
		return (op_ud);
	if ((r->attr & A_PRIV) && !(d->mode & MODE_CPL0))
		return (op_gp0);
	op = r->bind(d, in);
	if (op == NULL)
		return (op_ud);
	if (r->map == M_0F && (d->opcode == 0x30 || d->opcode == 0x22))
		atomic_store_explicit(
		    &dec_unblock[d->opcode == 0x22], op, memory_order_relaxed);
	return (op);
}

bool
decode_unblocks(soft_op op)
{
	return (
	    op == atomic_load_explicit(&dec_unblock[0], memory_order_relaxed) ||
	    op == atomic_load_explicit(&dec_unblock[1], memory_order_relaxed));
}

/*
 * Flags that a record reads.  Rows with FL_IMM0 list those that pass through
 * when an immediate shift count is 0.
 */
static uint32_t
flags_read(const struct soft_dec *d, const struct insn *in)
{
	uint32_t read = d->row->fl_read;

	if (!(read & FL_IMM0))
		return (read);
	if ((in->imm & (d->opsize == 8 ? 63 : 31)) != 0)
		return (0);
	return (read & FL_ARITH);
}

/*
 * Flags are live in front of every record that may stop the block before it
 * has written its own.
 */
uint32_t
decode_live(const struct soft_dec *d, const struct insn *in, uint32_t live)
{
	const struct optab *r = d->row;

	if (r == NULL || (r->attr & (A_FAULT | A_END | A_REP)) ||
	    (d->mem && !(r->attr & A_EA)) || in->op == op_ud ||
	    in->op == op_gp0)
		return (FL_ARITH);
	return ((live & ~(uint32_t)r->fl_write) | flags_read(d, in));
}

/* Backwards over the block: flags are live behind it. */
void
decode_bind(struct soft_dec *d, struct insn *in, int n)
{
	uint32_t live = FL_ARITH;

	for (int i = n - 1; i >= 0; i--) {
		const struct optab *r = d[i].row;

		if (r != NULL)
			d[i].flags_dead =
			    (live & (r->fl_write | r->fl_undef)) == 0;
		in[i].op = bind_one(&d[i], &in[i]);
		live = decode_live(&d[i], &in[i], live);
	}
}

void
decode_fuse(const struct soft_dec *d, struct insn *in, int n)
{
	soft_op op;

	if (n < 2)
		return;
	op = soft_fuse(&d[n - 2], &d[n - 1], &in[n - 2], &in[n - 1]);
	if (op != NULL)
		in[n - 2].op = op;
}
