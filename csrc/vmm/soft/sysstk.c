/*
 * Stacks as far transfers and event delivery use them: a stack that may not
 * be the current one, written at a given privilege level, all or nothing.
 */
#include "sys_local.h"

void
sys_stk_cur(struct softcpu *cpu, struct sysstk *k)
{
	k->ss = cpu->seg[S_SS];
	k->sp = cpu->gpr[R_SP];
	k->cpl = cpu->cpl;
	k->is64 = (cpu->mode & MODE_64) != 0;
}

static uint64_t
stk_mask(const struct sysstk *k)
{
	if (k->is64)
		return (~0ull);
	return ((k->ss.attr & AT_DB) ? 0xffffffffull : 0xffffull);
}

/* Linear address of [off, off + size) in the stack; false: out of limit. */
static bool
stk_lin(const struct sysstk *k, uint64_t off, int size, uint64_t *lin)
{
	uint64_t last, top;

	if (k->is64) {
		*lin = off;
		return (sys_canonical(off) &&
		    sys_canonical(off + (uint64_t)size - 1));
	}
	last = off + (uint64_t)size - 1;
	top = (k->ss.attr & AT_DB) ? 0xffffffffull : 0xffffull;
	if (k->ss.attr & AT_UNUSABLE)
		return (false);
	if ((k->ss.attr & (AT_CODE | AT_EC)) == AT_EC) {
		if (off <= k->ss.limit || last > top)
			return (false);
	} else if (last > k->ss.limit)
		return (false);
	*lin = (uint32_t)(k->ss.base + off);
	return (true);
}

bool
sys_stk_read(struct softcpu *cpu, const struct sysstk *k, uint64_t delta,
    int size, uint64_t *val)
{
	uint64_t lin;

	if (!stk_lin(k, (k->sp + delta) & stk_mask(k), size, &lin))
		return (sys_fail(cpu, X_SS, 0));
	*val = 0;
	return (soft_cpl_ld(cpu, k->cpl, lin, size, val));
}

bool
sys_stk_push(struct softcpu *cpu, struct sysstk *k, int size,
    const uint64_t *vals, int n, uint32_t err)
{
	uint64_t lin, mask, sp;
	int i;

	mask = stk_mask(k);
	/* 64-bit stacks do not wrap: one probe stands for all pushes. */
	if (k->is64) {
		sp = k->sp - (uint64_t)(size * n);
		if (!stk_lin(k, sp, size * n, &lin))
			return (sys_fail(cpu, X_SS, err));
		if (!soft_cpl_probe_write(cpu, k->cpl, lin, size * n))
			return (false);
	} else {
		for (i = 0, sp = k->sp; i < n; i++) {
			sp = (sp - (uint64_t)size) & mask;
			if (!stk_lin(k, sp, size, &lin))
				return (sys_fail(cpu, X_SS, err));
			if (!soft_cpl_probe_write(cpu, k->cpl, lin, size))
				return (false);
		}
	}
	for (i = 0, sp = k->sp; i < n; i++) {
		sp = (sp - (uint64_t)size) & mask;
		if (!stk_lin(k, sp, size, &lin) ||
		    !soft_cpl_st(cpu, k->cpl, lin, size, &vals[i]))
			return (false);
	}
	k->sp = sp;
	return (true);
}

void
sys_set_sp(struct softcpu *cpu, const struct sysstk *k, uint64_t sp)
{
	uint64_t mask = stk_mask(k);

	if (mask == 0xffff)
		sp = (cpu->gpr[R_SP] & ~mask) | (sp & mask);
	cpu->gpr[R_SP] = (mask == 0xffffffffull) ? (uint32_t)sp : sp;
}

bool
sys_tss_stack(
    struct softcpu *cpu, unsigned dpl, uint32_t ext, uint16_t *ss, uint64_t *sp)
{
	uint64_t base, off;
	uint32_t esp;
	uint16_t sp16;
	int last;

	base = cpu->tr.base;
	if (sys_lma(cpu)) {
		off = 4 + 8 * dpl;
		last = 7;
	} else if (cpu->tr.attr & 8) {
		off = 4 + 8 * dpl;
		last = 5;
	} else {
		off = 2 + 4 * dpl;
		last = 3;
	}
	if (off + (uint64_t)last > cpu->tr.limit)
		return (sys_fail(cpu, X_TS, SEL_ERR(cpu->tr.sel, ext)));
	if (sys_lma(cpu))
		return (soft_sys_ld(cpu, base + off, 8, sp));
	base = (uint32_t)(base + off);
	if (cpu->tr.attr & 8) {
		if (!soft_sys_ld(cpu, base, 4, &esp) ||
		    !soft_sys_ld(cpu, (uint32_t)(base + 4), 2, ss))
			return (false);
		*sp = esp;
	} else {
		if (!soft_sys_ld(cpu, base, 2, &sp16) ||
		    !soft_sys_ld(cpu, (uint32_t)(base + 2), 2, ss))
			return (false);
		*sp = sp16;
	}
	return (true);
}
