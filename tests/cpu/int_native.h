/*
 * One instruction executed by the host CPU in 64-bit, 32-bit flat, 32-bit
 * segmented or 16-bit protected mode, and what it left behind.
 */
#ifndef _INT_NATIVE_H_
#define _INT_NATIVE_H_

#include <stdbool.h>
#include <stdint.h>

/* The arena: data (also the stack), a hole, code.  Segmented modes have it
 * at offset 0 of their segments. */
#define ARENA 0x10000000ull
#define DATA_LEN 0x4000u /* limit of data segments + 1; a hole follows */
#define CODE_OFF 0xf000u
#define CODE_LEN 0x1000u
#define TAKEN_OFF 0x80u /* landing place of taken branches, from CODE_OFF */

enum nmode { N_64, N_32, N_32SEG, N_16, N_MODES };

struct nctx {
	uint64_t gpr[16];
	uint64_t flags;
	uint32_t path; /* 0: fell through, 1: TAKEN_OFF */
	int vector;    /* -1: no fault */
	uint32_t err;
	uint64_t cr2, rip; /* of a fault; rip is an offset in CS */
};

struct nseg {
	uint16_t sel;
	uint64_t base;
	uint32_t limit, attr;
};

bool native_init(void);
/* Selectors and descriptors of a mode: ES CS SS DS FS GS. */
const struct nseg *native_segs(enum nmode mode);
/* Put code at CODE_OFF. */
void native_code(enum nmode mode, const uint8_t *code, unsigned len);
void native_run(enum nmode mode, struct nctx *ctx);

#endif
