/*
 * Shared by the two halves of the floating point comparison: fp_host.c runs
 * and compares, fp_gen.c makes instructions and operands.
 */
#ifndef _FP_HOST_H_
#define _FP_HOST_H_

#include "fp_local.h"

#define WIN 1024 /* bytes of guest memory compared */
#define OPND 128 /* the operand's place in it, before misalignment */
#define SEQ 6	 /* instructions in a sequence, at most */

struct state {
	struct fximg fx;
	uint64_t gpr[16];
	uint64_t rfl;
	uint64_t vec; /* 0: none; else vector + 1 */
	uint8_t mem[WIN];
} __attribute__((__aligned__(64)));

struct tcase {
	struct state in, nat;
	uint8_t code[16 * SEQ];
	int len;   /* of all */
	int count; /* instructions */
	int ilen[SEQ];
	const struct optab *rows[SEQ];
	bool x87_warm, mmx_warm, slow;
	bool wants_mem;
	bool os16;
	const struct optab *row; /* the last one that was begun */
} __attribute__((__aligned__(64)));

extern uint8_t *gmem; /* guest memory: same address in both processes */
extern uint64_t rng;  /* state of the random numbers */

bool has(const struct optab *r, char c);
bool has_form(const struct optab *r, bool mem);
bool is_xsave(const struct optab *r);
bool skipped(const struct optab *r);
void gen_case(const struct optab *r, bool mem, struct tcase *t);
void gen_seq(struct tcase *t);

#endif
