/* The rows of optab_sys.def as an array. */
#include "sys_local.h"

#define OP(map, opcode, prefix, reg, mod, name, operands, imm, attr, feature, \
    fl_read, fl_write, fl_undef, bind, arg)                                   \
	{ map, opcode, prefix, reg, mod, imm, attr, name, operands, feature,  \
		fl_read, fl_write, fl_undef, bind, arg },

const struct optab optab_sys[] = {
#include "optab_sys.def"
};
const size_t optab_sys_n = sizeof(optab_sys) / sizeof(optab_sys[0]);
