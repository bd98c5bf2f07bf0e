/*
 * The translator: hot blocks of 64-bit and of flat 32-bit code become host
 * code.  csrc/README.md has the picture; jit_cache.c owns memory and stubs,
 * jit_block.c turns a block's records into code, jit_int.c and jit_flow.c
 * know the instructions, jit_asm.h writes the bytes.
 *
 * Registers inside translated code: r15 is the softcpu, rax r13 r14 are
 * scratch, eleven guest registers have a host register (jit_host[]), the
 * others stay in gpr[].
 */
#ifndef _JIT_LOCAL_H_
#define _JIT_LOCAL_H_

#include "soft_core_local.h"

/* Host registers by encoding. */
enum {
	H_AX,
	H_CX,
	H_DX,
	H_BX,
	H_SP,
	H_BP,
	H_SI,
	H_DI,
	H_8,
	H_9,
	H_10,
	H_11,
	H_12,
	H_13,
	H_14,
	H_15
};
#define H_CPU H_15
#define H_ADDR H_14 /* linear, then host address of a memory operand */
#define H_TMP H_13
#define H_NONE 0xff

/* Where each guest register lives; H_NONE: in cpu->gpr[]. */
extern const uint8_t jit_host[16];

/*
 * A copy of a record whose handler in the block does the next one, too: for
 * translated code to run it alone.
 */
struct jrec {
	struct insn in;
	soft_op done; /* what SOFT_NEXT calls: the handler came through */
	struct block *blk;
};
_Static_assert(
    offsetof(struct jrec, done) == sizeof(struct insn), "SOFT_NEXT finds done");

/* A jump to a block of the same page: patched when that is translated. */
struct jlink {
	uint64_t gpa;  /* with the mode in bits 63:48 */
	uint32_t next; /* offset in the data + 1; 0: none */
	uint32_t site; /* offset of the rel32 */
};

#define JIT_CODE (8u << 20)
#define JIT_DATA (2u << 20)
#define JLINK_BITS 12
#define JIT_ROOM 16384 /* what one block may need, code and data each */

struct jit;
/* Flags while a block is translated: where the guest's are. */
enum jflags {
	JF_MEM,	 /* in cpu->cc */
	JF_HOST, /* in the host's flags alone */
	JF_BOTH,
};

/* A slow way out of line. */
struct jcold {
	uint32_t site;	  /* offset of the rel32 that jumps there */
	uint32_t back;	  /* where to go on */
	struct jrec *rec; /* JC_COPY */
	enum { JC_RECORD, JC_COPY, JC_LEAVE, JC_LINK } kind;
	int k;	      /* the record */
	bool flags;   /* the host's flags are wanted behind it */
	uint32_t off; /* JC_LINK: the target's page offset */
};
#define JCOLD_MAX 160

/* One block being translated. */
struct jb {
	struct jit *j;
	struct softcpu *cpu;
	struct block *b;
	uint8_t *p, *end; /* into j->rw */
	bool full, failed;
	int k, n; /* record in hand, records */
	struct soft_dec d[BLOCK_MAX];
	struct insn in[BLOCK_MAX];
	uint32_t live[BLOCK_MAX + 1]; /* flags live in front of each */
	enum jflags flags;
	uint32_t boff;	      /* block's offset in its page */
	uint32_t thunk;	      /* runs record r14 of the block */
	uint32_t entry, link; /* offsets of the code */
	uint32_t links;	      /* made so far */
	int ncold;
	struct jcold cold[JCOLD_MAX]; /* from here on not zeroed */
	uint8_t bytes[BLOCK_MAX * 15 + 16];
};

struct jit {
	uint8_t *rw;	   /* the code, writable */
	const uint8_t *rx; /* the same, executable */
	uint8_t *data;
	uint32_t used, data_used, first; /* first: behind the stubs */
	uint32_t hot; /* entries before a block is translated */
	uint32_t links[1u << JLINK_BITS];
	/* stubs: offsets */
	uint32_t enter, interp, copy, lookup, unwind, leave, outside, plain;
	uint32_t stale_len; /* of the code in front of a block's link entry */
	struct jb jb;	    /* the block being translated */
};

#define OFF_GPR(g) ((int32_t)offsetof(struct softcpu, gpr) + 8 * (int32_t)(g))
#define OFF_CPU(f) ((int32_t)offsetof(struct softcpu, f))

/* ---- jit_cache.c ---- */
void *jit_data(struct jit *j, size_t n);
soft_op jit_done_op(void);
/* What the block's first record does, whoever stands in its place. */
static inline soft_op *
jit_first_op(struct block *b)
{
	return ((soft_op *)(void *)&b->insn[b->count].imm64);
}
void jit_serialize(void);

/* ---- jit_block.c ---- */
/* False: the block stays with the interpreter. */
bool jit_translate(struct softcpu *cpu, struct block *b);
void jb_flags_save(struct jb *t);  /* cpu->cc becomes valid, if live */
void jb_flags_load(struct jb *t);  /* the host's flags become valid */
void jb_flags_carry(struct jb *t); /* CF at least */
void jb_clobber(struct jb *t);	   /* the host's flags are about to go */
/* Before an instruction that leaves some flags alone. */
void jb_flags_merge(struct jb *t);
unsigned jb_src(struct jb *t, unsigned g, unsigned scratch);
unsigned jb_dst(const struct jb *t, unsigned g, unsigned scratch);
void jb_put(struct jb *t, unsigned g, unsigned h);
/* H_ADDR = host address of the operand, or the slow way.  jb_mem_ok() says
 * beforehand whether that can be had. */
bool jb_mem_ok(const struct jb *t);
void jb_mem(struct jb *t, unsigned size, bool write);
void jb_lin(struct jb *t, unsigned scratch);
void jb_segment(struct jb *t, unsigned size); /* offset to linear */
void jb_addr(struct jb *t, unsigned size);
/* H_ADDR is a linear address.  leave: a miss ends the block. */
void jb_probe(struct jb *t, unsigned size, bool write, bool leave);
void jb_slow_if(struct jb *t, unsigned cc);
void jb_leave_if(struct jb *t, unsigned cc); /* jcc to the interpreter */
void jb_leave(struct jb *t);
void jb_link(struct jb *t, uint32_t off); /* go to page offset off */

/* Bytes of a stack slot, and of an address of code: 8 or 4. */
static inline unsigned
jb_word(const struct jb *t)
{
	return ((t->b->mode & MODE_64) ? 8 : 4);
}

/* ---- jit_int.c, jit_sse.c, jit_flow.c: false: not translated ---- */
bool jit_sse(struct jb *t);
bool jit_int(struct jb *t);
bool jit_flow(struct jb *t);

#endif
