/* The translator under test; int_jit.c. */
#ifndef _INT_JIT_H_
#define _INT_JIT_H_

#include "int_native.h"
#include "jit_make.h"

typedef void (*jit_runner)(struct insn *rec, struct nctx *c, unsigned boff);

int jit_sequences(struct softcpu *cpu, enum nmode mode, unsigned long rounds,
    uint64_t seed, jit_runner run, struct tlbe *hit, struct tlbe *miss);
/* int_host.c: the record behind a block. */
void jit_end_record(struct insn *rec, unsigned off);

#endif
