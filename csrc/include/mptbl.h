/* The MP table at 0xF0000 (MultiProcessor Specification 1.4). */
#ifndef _MPTBL_H_
#define _MPTBL_H_

struct vmctx;

#define MPTABLE_BASE 0xf0000UL
#define MPTABLE_MAX_LENGTH 4096

/* 0, or an errno after one message that names -Y. */
int mptable_build(struct vmctx *ctx, int ncpu);

#endif
