/* The translator without the rest of the engine; jit_make.c. */
#ifndef _JIT_MAKE_H_
#define _JIT_MAKE_H_

#include "soft_core_local.h"

/* False: no executable memory here. */
bool jit_setup(struct softcpu *cpu);
struct insn *jit_make(struct softcpu *cpu, const struct insn *rec, unsigned n,
    const uint8_t *p, unsigned len, unsigned boff);
bool jit_made(struct softcpu *cpu); /* did the last one become code? */

#endif
