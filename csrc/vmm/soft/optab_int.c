/* The rows of optab_int.def as an array. */
#include "int_local.h"

#define OP(map, opcode, prefix, reg, mod, name, operands, imm, attr, feature, \
    fl_read, fl_write, fl_undef, bind, arg)                                   \
	{ map, opcode, prefix, reg, mod, imm, attr, name, operands, feature,  \
		fl_read, fl_write, fl_undef, bind, arg },

const struct optab optab_int[] = {
#include "optab_int.def"
};
const size_t optab_int_n = sizeof(optab_int) / sizeof(optab_int[0]);
