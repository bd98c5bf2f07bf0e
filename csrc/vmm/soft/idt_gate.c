/*
 * Interrupt, trap and task gates of protected and long mode.  All checks
 * are made and all pushes written before the first register changes.
 */
#include "sys_local.h"

/* What the gate and its code segment say. */
struct gate {
	uint64_t off;
	uint32_t type;
	uint16_t sel;
	uint8_t ist;
	uint8_t dpl; /* new CPL */
	bool inner;
	struct sysdesc code;
};

static bool
gate_fetch(struct softcpu *cpu, const struct idt_event *ev, struct gate *g)
{
	uint64_t addr, lo, hi;
	uint32_t attr, err, size;

	size = sys_lma(cpu) ? 16 : 8;
	err = ev->vector * 8u + 2u + ev->ext;
	if (ev->vector * size + size - 1 > cpu->idtr.limit)
		return (sys_fail(cpu, X_GP, err));
	addr = sys_lin(cpu, cpu->idtr.base + ev->vector * size);
	hi = 0;
	if (!soft_sys_ld(cpu, addr, 8, &lo) ||
	    (size == 16 && !soft_sys_ld(cpu, addr + 8, 8, &hi)))
		return (false);
	attr = (uint32_t)(lo >> 40);
	g->type = attr & 0x1f;
	g->sel = (uint16_t)(lo >> 16);
	g->off = (lo & 0xffff) | ((lo >> 32) & 0xffff0000u);
	g->ist = 0;
	switch (g->type) {
	case ST_INT32:
	case ST_TRAP32:
		break;
	case ST_INT16:
	case ST_TRAP16:
		g->off &= 0xffff;
		/* FALLTHROUGH */
	case ST_TASKGATE:
		if (!sys_lma(cpu))
			break;
		/* FALLTHROUGH */
	default:
		return (sys_fail(cpu, X_GP, err));
	}
	if (sys_lma(cpu)) {
		g->off |= hi << 32;
		g->ist = (lo >> 32) & 7;
	}
	if ((ev->kind == IDT_INTN || ev->kind == IDT_SWEXC) &&
	    AT_DPL(attr) < cpu->cpl)
		return (sys_fail(cpu, X_GP, err));
	if (!(attr & AT_P))
		return (sys_fail(cpu, X_NP, err));
	return (true);
}

static bool
gate_code(struct softcpu *cpu, const struct idt_event *ev, struct gate *g)
{
	uint32_t a, err;

	err = SEL_ERR(g->sel, ev->ext);
	if ((g->sel & 0xfffc) == 0)
		return (sys_fail(cpu, X_GP, ev->ext));
	if (!sys_fetch(cpu, g->sel, &g->code, X_GP, ev->ext))
		return (false);
	a = g->code.attr;
	if (!at_is_code(a) || AT_DPL(a) > cpu->cpl)
		return (sys_fail(cpu, X_GP, err));
	if (!(a & AT_P))
		return (sys_fail(cpu, X_NP, err));
	if (sys_lma(cpu) && (a & (AT_L | AT_DB)) != AT_L)
		return (sys_fail(cpu, X_GP, err));
	g->inner = !at_is_conforming(a) && AT_DPL(a) < cpu->cpl;
	g->dpl = g->inner ? AT_DPL(a) : cpu->cpl;
	/* Virtual-8086 mode is left to level 0 only. */
	if ((cpu->rfl & FL_VM) && (!g->inner || g->dpl != 0))
		return (sys_fail(cpu, X_GP, err));
	return (sys_check_rip(cpu, &g->code, g->off, ev->ext));
}

/* Long mode: which RSP, aligned to 16. */
static bool
gate_stack64(struct softcpu *cpu, const struct idt_event *ev,
    const struct gate *g, struct sysstk *k)
{
	uint64_t off;
	uint16_t unused;

	sys_stk_cur(cpu, k);
	k->is64 = true;
	k->cpl = g->dpl;
	if (g->ist != 0) {
		off = 0x24 + 8u * (g->ist - 1u);
		if (off + 7 > cpu->tr.limit)
			return (
			    sys_fail(cpu, X_TS, SEL_ERR(cpu->tr.sel, ev->ext)));
		if (!soft_sys_ld(cpu, cpu->tr.base + off, 8, &k->sp))
			return (false);
	} else if (g->inner &&
	    !sys_tss_stack(cpu, g->dpl, ev->ext, &unused, &k->sp))
		return (false);
	k->sp &= ~15ull;
	return (true);
}

static bool
gate_enter64(struct softcpu *cpu, const struct idt_event *ev, struct gate *g)
{
	struct sysstk k;
	uint64_t frame[6];
	int n;

	if (!gate_stack64(cpu, ev, g, &k))
		return (false);
	n = 0;
	frame[n++] = cpu->seg[S_SS].sel;
	frame[n++] = cpu->gpr[R_SP];
	frame[n++] = ev->flags;
	frame[n++] = cpu->seg[S_CS].sel;
	frame[n++] = cpu->rip + ev->len;
	if (ev->has_err)
		frame[n++] = ev->err;
	if (!sys_set_accessed(cpu, &g->code) ||
	    !sys_stk_push(cpu, &k, 8, frame, n, ev->ext))
		return (false);
	if (g->inner)
		sys_null_ss(cpu, g->dpl);
	cpu->gpr[R_SP] = k.sp;
	return (true);
}

static bool
gate_stack32(struct softcpu *cpu, const struct idt_event *ev,
    const struct gate *g, struct sysstk *k, uint16_t *sel)
{
	struct sysdesc ss;

	if (!g->inner) {
		sys_stk_cur(cpu, k);
		return (true);
	}
	if (!sys_tss_stack(cpu, g->dpl, ev->ext, sel, &k->sp) ||
	    !sys_fetch_ss(cpu, *sel, g->dpl, X_TS, ev->ext, &ss))
		return (false);
	sys_set_seg(&k->ss, *sel, &ss);
	k->cpl = g->dpl;
	k->is64 = false;
	return (true);
}

static bool
gate_enter32(struct softcpu *cpu, const struct idt_event *ev, struct gate *g)
{
	static const uint8_t v86[] = { S_GS, S_FS, S_DS, S_ES };
	struct sysstk k;
	uint64_t frame[10];
	uint16_t sel;
	int i, n, size;

	sel = 0;
	if (!gate_stack32(cpu, ev, g, &k, &sel))
		return (false);
	size = (g->type & 8) ? 4 : 2;
	n = 0;
	if (cpu->rfl & FL_VM)
		for (i = 0; i < 4; i++)
			frame[n++] = cpu->seg[v86[i]].sel;
	if (g->inner) {
		frame[n++] = cpu->seg[S_SS].sel;
		frame[n++] = cpu->gpr[R_SP];
	}
	frame[n++] = ev->flags;
	frame[n++] = cpu->seg[S_CS].sel;
	frame[n++] = cpu->rip + ev->len;
	if (ev->has_err)
		frame[n++] = ev->err;
	if (!sys_set_accessed(cpu, &g->code) ||
	    !sys_stk_push(cpu, &k, size, frame, n,
		g->inner ? SEL_ERR(sel, ev->ext) : ev->ext))
		return (false);
	if (cpu->rfl & FL_VM)
		for (i = 0; i < 4; i++)
			sys_null_seg(&cpu->seg[v86[i]], 0);
	if (g->inner)
		cpu->seg[S_SS] = k.ss;
	sys_set_sp(cpu, &k, k.sp);
	return (true);
}

static bool
gate_task(struct softcpu *cpu, const struct idt_event *ev, uint16_t sel)
{
	return (soft_task_switch(cpu, sel,
	    (ev->ext ? TASK_EXT : TASK_INT) | ev->len << 8, ev->has_err,
	    ev->err));
}

bool
idt_protected(struct softcpu *cpu, const struct idt_event *ev)
{
	struct gate g;
	bool ok;

	if (!gate_fetch(cpu, ev, &g))
		return (false);
	if (g.type == ST_TASKGATE)
		return (gate_task(cpu, ev, g.sel));
	if (!gate_code(cpu, ev, &g))
		return (false);
	ok = sys_lma(cpu) ? gate_enter64(cpu, ev, &g)
			  : gate_enter32(cpu, ev, &g);
	if (!ok)
		return (false);
	cpu->rfl &= ~(FL_TF | FL_NT | FL_RF | FL_VM);
	if (!(g.type & 1)) /* interrupt gates are the even types */
		cpu->rfl &= ~FL_IF;
	sys_set_cs(cpu, g.sel, &g.code, g.dpl);
	cpu->rip = g.off;
	return (true);
}
