/*
 * Random encodings of one row of optab_int.def, and registers and memory
 * that make its operands fall into the arena (mostly).
 */
#ifndef _INT_GEN_H_
#define _INT_GEN_H_

#include "int_native.h"
#include "optab.h"

struct gen {
	const struct optab *row;
	enum nmode mode;
	uint8_t code[16];
	unsigned len;
	uint32_t flmask; /* flags to compare */
	unsigned ran;	 /* cases without a fault */
	bool wild;	 /* a branch to nowhere */
};

void gen_seed(uint64_t seed);
/* Can this row be compared with the host in this mode? */
bool gen_applies(const struct gen *g);
/* Fill g->code, g->flmask, *in and the arena's data. */
void gen_case(struct gen *g, struct nctx *in);
void gen_add_jcc(struct gen *g);
/* Segment checks written independently of the engine's. */
bool gen_seg_lin(struct softcpu *cpu, const struct insn *in, int seg,
    uint64_t off, int size, bool write, uint64_t *lin);

/* int_rules.c: what the host cannot show.  0: all hold. */
int int_rules(struct softcpu *cpu);

#endif
