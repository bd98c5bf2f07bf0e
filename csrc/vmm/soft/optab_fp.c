/*
 * The floating point rows of the opcode table as an array.
 */
#include "fp_local.h"

const struct optab optab_fp[] = {
#define OP(map_, opc, pfx, reg_, mod_, name_, opnds, imm_, attr_, feat, fr, \
    fw, fu, bind_, arg_)                                                    \
	{                                                                   \
		.map = (map_),                                              \
		.opcode = (opc),                                            \
		.prefix = (pfx),                                            \
		.reg = (reg_),                                              \
		.mod = (mod_),                                              \
		.imm = (imm_),                                              \
		.attr = (attr_),                                            \
		.name = (name_),                                            \
		.operands = (opnds),                                        \
		.feature = (feat),                                          \
		.fl_read = (fr),                                            \
		.fl_write = (fw),                                           \
		.fl_undef = (fu),                                           \
		.bind = (bind_),                                            \
		.arg = (arg_),                                              \
	},
#include "optab_fp.def"
#undef OP
};
const size_t optab_fp_n = sizeof(optab_fp) / sizeof(optab_fp[0]);
