/* A block of code for the translator, and what it asks the engine for. */
#include <stdlib.h>
#include <string.h>

#include "jit_make.h"

static struct block *blk;
static uint8_t code[4096] __attribute__((aligned(4096)));

/* ---- what the translator calls ---- */
void *
vmm_gpa2hva(struct vm *vm, uint64_t gpa, size_t len, int prot)
{
	(void)vm;
	(void)len;
	(void)prot;
	return (code + (gpa & 4095));
}

bool
vmm_translate(void)
{
	return (true);
}

struct block *
block_at(struct softcpu *cpu, uint64_t gpa, uint32_t mode)
{
	(void)cpu;
	(void)mode;
	return (gpa == blk->gpa ? blk : NULL);
}

bool
jit_setup(struct softcpu *cpu)
{
	cpu->core = calloc(1, sizeof(*cpu->core));
	blk = aligned_alloc(64, 8192);
	if (cpu->core == NULL || blk == NULL)
		exit(2);
	setenv("BHYVE_TRANSLATE", "all", 1);
	jit_init(cpu);
	return (cpu->core->jit != NULL);
}

/*
 * Make a block of n bound records (unfused, the end behind them) of len
 * bytes at p; returns its first record, of which the op enters host code
 * once it is called.
 */
struct insn *
jit_make(struct softcpu *cpu, const struct insn *rec, unsigned n,
    const uint8_t *p, unsigned len, unsigned boff)
{
	memset(blk, 0, 8192);
	memcpy(code + boff, p, len);
	blk->gpa = 0x5000 + boff;
	blk->mode = cpu->mode;
	blk->len = (uint16_t)len;
	blk->count = (uint8_t)n;
	memcpy(blk->insn, rec, (n + 1) * sizeof(*rec));
	decode_fuse(NULL, blk->insn, 0);
	jit_flush(cpu);
	jit_block(cpu, blk);
	return (blk->insn);
}

bool
jit_made(struct softcpu *cpu)
{
	(void)cpu;
	return (blk->tlink != 0);
}
