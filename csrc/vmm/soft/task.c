/*
 * Hardware task switches between 16- and 32-bit TSSs (SDM 3A 8.3).  Faults
 * up to the commit belong to the old task; those that the new task's own
 * segments raise are recorded with the new task's rip.
 */
#include <string.h>

#include "sys_local.h"

/* The state that both TSS formats share. */
struct tss {
	uint32_t cr3, eip, eflags;
	uint32_t gpr[8];
	uint16_t sel[6]; /* ES CS SS DS FS GS */
	uint16_t ldt;
	bool trap;
};
#define TSS32_LEN 0x68
#define TSS16_LEN 0x2c

static bool
tss_ld(
    struct softcpu *cpu, uint64_t base, uint32_t off, int size, uint32_t *val)
{
	*val = 0;
	return (soft_sys_ld(cpu, (uint32_t)(base + off), size, val));
}

static bool
tss_st(struct softcpu *cpu, uint64_t base, uint32_t off, int size, uint32_t val)
{
	return (soft_sys_st(cpu, (uint32_t)(base + off), size, &val));
}

static bool
tss_read(struct softcpu *cpu, uint64_t base, bool is32, struct tss *t)
{
	uint32_t v;
	int i, w;

	memset(t, 0, sizeof(*t));
	w = is32 ? 4 : 2;
	if (is32 && !tss_ld(cpu, base, 0x1c, 4, &t->cr3))
		return (false);
	if (!tss_ld(cpu, base, is32 ? 0x20 : 0x0e, w, &t->eip) ||
	    !tss_ld(cpu, base, is32 ? 0x24 : 0x10, w, &t->eflags))
		return (false);
	for (i = 0; i < 8; i++) {
		if (!tss_ld(
			cpu, base, (is32 ? 0x28 : 0x12) + i * w, w, &t->gpr[i]))
			return (false);
		if (!is32)
			t->gpr[i] |= 0xffff0000u;
	}
	for (i = 0; i < (is32 ? 6 : 4); i++) {
		if (!tss_ld(cpu, base, (is32 ? 0x48 : 0x22) + i * w, 2, &v))
			return (false);
		t->sel[i] = (uint16_t)v;
	}
	if (!tss_ld(cpu, base, is32 ? 0x60 : 0x2a, 2, &v))
		return (false);
	t->ldt = (uint16_t)v;
	if (is32) {
		if (!tss_ld(cpu, base, 0x64, 1, &v))
			return (false);
		t->trap = v & 1;
	}
	return (true);
}

static bool
tss_save(struct softcpu *cpu, uint32_t eip, uint32_t eflags)
{
	uint64_t base = cpu->tr.base;
	bool is32;
	int i, w;

	is32 = (cpu->tr.attr & 8) != 0;
	w = is32 ? 4 : 2;
	if (!tss_st(cpu, base, is32 ? 0x20 : 0x0e, w, eip) ||
	    !tss_st(cpu, base, is32 ? 0x24 : 0x10, w, eflags))
		return (false);
	for (i = 0; i < 8; i++)
		if (!tss_st(cpu, base, (is32 ? 0x28 : 0x12) + i * w, w,
			(uint32_t)cpu->gpr[i]))
			return (false);
	for (i = 0; i < (is32 ? 6 : 4); i++)
		if (!tss_st(cpu, base, (is32 ? 0x48 : 0x22) + i * w, 2,
			cpu->seg[i].sel))
			return (false);
	return (true);
}

/* Set or clear the busy bit of a TSS descriptor in memory. */
static bool
tss_busy(struct softcpu *cpu, uint64_t addr, bool busy)
{
	uint8_t byte;

	if (!soft_sys_ld(cpu, (uint32_t)(addr + 5), 1, &byte))
		return (false);
	byte = busy ? byte | 2 : byte & ~2;
	return (soft_sys_st(cpu, (uint32_t)(addr + 5), 1, &byte));
}

/* Fetch and judge the new task's TSS descriptor. */
static bool
tss_check(
    struct softcpu *cpu, uint16_t sel, int why, uint32_t ext, struct sysdesc *d)
{
	uint32_t want;
	int vec;

	vec = (why == TASK_IRET) ? X_TS : X_GP;
	if ((sel & 4) || (sel & 0xfffc) == 0)
		return (sys_fail(cpu, vec, SEL_ERR(sel, ext)));
	if (!sys_fetch(cpu, sel, d, vec, ext))
		return (false);
	want = (why == TASK_IRET) ? ST_TSS16_BUSY : ST_TSS16;
	if (AT_TYPE(d->attr & ~8u) != want)
		return (sys_fail(cpu, vec, SEL_ERR(sel, ext)));
	if (!(d->attr & AT_P))
		return (sys_fail(cpu, X_NP, SEL_ERR(sel, ext)));
	if (d->limit < ((d->attr & 8) ? TSS32_LEN - 1u : TSS16_LEN - 1u))
		return (sys_fail(cpu, X_TS, SEL_ERR(sel, ext)));
	return (true);
}

static bool
task_ldt(struct softcpu *cpu, uint16_t sel, uint32_t ext)
{
	struct sysdesc d;

	sys_null_seg(&cpu->ldtr, sel);
	if ((sel & 0xfffc) == 0)
		return (true);
	if (sel & 4)
		return (sys_fail(cpu, X_TS, SEL_ERR(sel, ext)));
	if (!sys_fetch(cpu, sel, &d, X_TS, ext))
		return (false);
	if (AT_TYPE(d.attr) != ST_LDT || !(d.attr & AT_P))
		return (sys_fail(cpu, X_TS, SEL_ERR(sel, ext)));
	sys_set_seg(&cpu->ldtr, sel, &d);
	return (true);
}

static bool
task_cs(struct softcpu *cpu, uint16_t sel, uint32_t ext)
{
	struct sysdesc d;
	unsigned dpl, rpl;

	if ((sel & 0xfffc) == 0)
		return (sys_fail(cpu, X_TS, ext));
	if (!sys_fetch(cpu, sel, &d, X_TS, ext))
		return (false);
	rpl = sel & 3;
	dpl = AT_DPL(d.attr);
	if (!at_is_code(d.attr) ||
	    (at_is_conforming(d.attr) ? dpl > rpl : dpl != rpl))
		return (sys_fail(cpu, X_TS, SEL_ERR(sel, ext)));
	if (!(d.attr & AT_P))
		return (sys_fail(cpu, X_NP, SEL_ERR(sel, ext)));
	if (!sys_set_accessed(cpu, &d))
		return (false);
	sys_set_cs(cpu, sel, &d, (int)rpl);
	return (true);
}

static bool
task_data(struct softcpu *cpu, int seg, uint16_t sel, uint32_t ext)
{
	struct sysdesc d;
	unsigned dpl;

	if ((sel & 0xfffc) == 0)
		return (true);
	if (!sys_fetch(cpu, sel, &d, X_TS, ext))
		return (false);
	dpl = AT_DPL(d.attr);
	if (!(d.attr & AT_S) || (d.attr & (AT_CODE | AT_RW)) == AT_CODE ||
	    (!at_is_conforming(d.attr) && ((sel & 3u) > dpl || cpu->cpl > dpl)))
		return (sys_fail(cpu, X_TS, SEL_ERR(sel, ext)));
	if (!(d.attr & AT_P))
		return (sys_fail(cpu, X_NP, SEL_ERR(sel, ext)));
	if (!sys_set_accessed(cpu, &d))
		return (false);
	sys_set_seg(&cpu->seg[seg], sel, &d);
	return (true);
}

/* Load the new task's segments; faults belong to the new task. */
static bool
task_segments(struct softcpu *cpu, const struct tss *t, uint32_t ext)
{
	static const uint8_t order[] = { S_DS, S_ES, S_FS, S_GS };
	struct sysdesc d;
	unsigned i;

	for (i = 0; i < 6; i++)
		sys_null_seg(&cpu->seg[i], t->sel[i]);
	cpu->cpl = t->sel[S_CS] & 3;
	sys_null_ss(cpu, t->sel[S_SS]);
	if (!task_ldt(cpu, t->ldt, ext))
		return (false);
	if (t->eflags & FL_VM) {
		for (i = 0; i < 6; i++)
			sys_v86_seg(&cpu->seg[i], t->sel[i]);
		cpu->cpl = 3;
		return (true);
	}
	if (!task_cs(cpu, t->sel[S_CS], ext) ||
	    !sys_fetch_ss(cpu, t->sel[S_SS], cpu->cpl, X_TS, ext, &d))
		return (false);
	sys_set_seg(&cpu->seg[S_SS], t->sel[S_SS], &d);
	for (i = 0; i < sizeof(order); i++)
		if (!task_data(cpu, order[i], t->sel[order[i]], ext))
			return (false);
	return (true);
}

/* Memory side of the switch, all in the old task's name. */
static bool
task_memory(struct softcpu *cpu, const struct sysdesc *d, uint16_t sel, int why,
    uint32_t eip, struct tss *t)
{
	uint32_t eflags;
	bool is32, old32, nest;

	is32 = (d->attr & 8) != 0;
	old32 = (cpu->tr.attr & 8) != 0;
	nest = why != TASK_JMP && why != TASK_IRET;
	if (cpu->tr.limit < (old32 ? TSS32_LEN - 1u : TSS16_LEN - 1u))
		return (sys_fail(cpu, X_TS, SEL_ERR(cpu->tr.sel, 0)));
	if (!soft_cpl_probe_write(cpu, 0, (uint32_t)cpu->tr.base,
		old32 ? TSS32_LEN : TSS16_LEN) ||
	    !soft_cpl_probe_write(
		cpu, 0, (uint32_t)d->base, is32 ? TSS32_LEN : TSS16_LEN) ||
	    !tss_read(cpu, d->base, is32, t))
		return (false);
	eflags = (uint32_t)soft_get_rflags(cpu);
	if (why == TASK_IRET)
		eflags &= ~FL_NT;
	if (!nest &&
	    !tss_busy(cpu, cpu->gdtr.base + (cpu->tr.sel & ~7u), false))
		return (false);
	if (!tss_save(cpu, eip, eflags))
		return (false);
	if (nest) {
		if (!tss_st(cpu, d->base, 0, 2, cpu->tr.sel))
			return (false);
		t->eflags |= FL_NT;
	}
	if (why != TASK_IRET && !tss_busy(cpu, d->addr, true))
		return (false);
	cpu->tr.sel = sel;
	cpu->tr.base = d->base;
	cpu->tr.limit = d->limit;
	cpu->tr.attr = d->attr | 2;
	return (true);
}

/* Registers that are loaded before the segments are judged. */
static bool
task_registers(struct softcpu *cpu, const struct tss *t, bool is32)
{
	int i;

	cpu->cr0 |= CR0_TS;
	soft_fpu_mode_update(cpu);
	if (is32 && (cpu->cr0 & CR0_PG)) {
		if ((cpu->cr4 & CR4_PAE) && !soft_load_pdptes(cpu, t->cr3))
			return (sys_fail(cpu, X_GP, 0));
		cpu->cr3 = t->cr3;
		soft_tlb_flush(cpu, true);
	}
	for (i = 0; i < 8; i++)
		cpu->gpr[i] = t->gpr[i];
	cpu->rip = t->eip;
	sys_write_dr(cpu, 7, cpu->dr[7] & ~(uint64_t)DR7_LOCAL);
	return (true);
}

static bool
task_push_err(struct softcpu *cpu, bool is32, uint32_t err)
{
	struct sysstk k;
	uint64_t val = err;

	sys_stk_cur(cpu, &k);
	if (!sys_stk_push(cpu, &k, is32 ? 4 : 2, &val, 1, 0))
		return (false);
	sys_set_sp(cpu, &k, k.sp);
	return (true);
}

bool
soft_task_switch(
    struct softcpu *cpu, uint16_t sel, int reason, bool has_err, uint32_t err)
{
	struct sysdesc d;
	struct tss t;
	uint32_t ext;
	bool is32, ok;
	int why;

	why = reason & 0xff;
	ext = (why == TASK_EXT) ? 1 : 0;
	if (!tss_check(cpu, sel, why, ext, &d))
		return (false);
	is32 = (d.attr & 8) != 0;
	if (!task_memory(cpu, &d, sel, why,
		(uint32_t)cpu->rip + (uint32_t)(reason >> 8), &t))
		return (false);
	/* From here on the new task runs, whatever it is worth. */
	ok = task_registers(cpu, &t, is32);
	sys_put_rflags(
	    cpu, is32 ? (t.eflags & 0x3f7fd5) | 2 : (t.eflags & 0x7fd5) | 2);
	ok = ok && task_segments(cpu, &t, ext);
	soft_mode_update(cpu);
	if (!ok)
		return (false);
	if (has_err && !task_push_err(cpu, is32, err))
		return (false);
	if (cpu->rip > cpu->seg[S_CS].limit)
		return (sys_fail(cpu, X_GP, 0));
	if (t.trap)
		cpu->dr6_pending |= DR6_BT;
	return (true);
}
