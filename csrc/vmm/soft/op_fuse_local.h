/* Fused pairs of records: see op_fuse.c. */
#ifndef _OP_FUSE_LOCAL_H_
#define _OP_FUSE_LOCAL_H_

#include "soft_core_local.h"

struct fuse {
	soft_op op; /* NULL: no pair */
	uint8_t rm, reg;
	int32_t imm, target;
};
bool fuse_look(const struct soft_dec *d, const struct insn *in,
    struct fuse *f);
void fuse_bind(const struct fuse *f, struct insn *in);

#endif
