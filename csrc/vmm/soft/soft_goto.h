/*
 * Going from block to block without unwinding.  The chain is left when
 * anything is pending, when the target is not in the jump cache, or always
 * in builds without sibling calls (sanitizers, -O0): the loop in soft_run.c
 * then does the same work.
 */
#ifndef _SOFT_GOTO_H_
#define _SOFT_GOTO_H_

#include "soft_local.h"

/* clang's way to say what gcc's macros say. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SOFT_NO_CHAIN
#endif
#endif

#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) && !defined(SOFT_NO_CHAIN)
#define SOFT_CHAIN 1
#else
#define SOFT_CHAIN 0
#endif

static inline struct jcent *
soft_jc(struct softcpu *cpu, uint64_t lin)
{
	return (&cpu->jc[(lin ^ (lin >> JC_BITS)) & ((1u << JC_BITS) - 1)]);
}

/*
 * End a block at the offset `rip` in CS.  The mode is part of an entry's tag
 * (canonical addresses leave bits 63:48 free for it); whoever changes the
 * mapping empties the cache (tlb.c on a flush, block.c on a kill).
 */
static inline __attribute__((__always_inline__)) void
soft_goto(struct softcpu *cpu, uint64_t rip)
{
	struct jcent *j;
	uint64_t lin;

#if SOFT_CHAIN
	lin = cpu->csbase + rip;
	j = soft_jc(cpu, lin);
	if (likely(j->tag == (lin ^ cpu->modekey)) &&
	    likely(atomic_load_explicit(cpu->pending, memory_order_relaxed) ==
		0)) {
		cpu->gpr[R_BLOCK] = lin;
		j->blk->insn[0].op(cpu, &j->blk->insn[0]);
		return;
	}
#else
	(void)j;
	(void)lin;
#endif
	cpu->rip = rip;
}

#endif
