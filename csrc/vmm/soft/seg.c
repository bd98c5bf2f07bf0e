/*
 * Segmentation: descriptor fetch and segment register loads with their
 * checks.  What mode follows from the segments is soft_mode.c's business.
 */
#include "sys_local.h"

static void
desc_unpack(struct sysdesc *d)
{
	d->base = (d->lo >> 16) | ((uint64_t)(d->hi & 0xff) << 16) |
	    (d->hi & 0xff000000u);
	d->limit = (d->lo & 0xffff) | (d->hi & 0xf0000);
	d->attr = (d->hi >> 8) & 0xf0ff;
	if (d->attr & AT_G)
		d->limit = (d->limit << 12) | 0xfff;
}

/* Is the descriptor of `len` bytes inside its table?  d->addr is set. */
static bool
desc_addr(struct softcpu *cpu, uint16_t sel, uint32_t len, struct sysdesc *d)
{
	uint64_t base;
	uint32_t limit;

	if (sel & 4) {
		if (cpu->ldtr.attr & AT_UNUSABLE)
			return (false);
		base = cpu->ldtr.base;
		limit = cpu->ldtr.limit;
	} else {
		base = cpu->gdtr.base;
		limit = cpu->gdtr.limit;
	}
	if ((uint64_t)(sel & 0xfff8) + len - 1 > limit)
		return (false);
	d->addr = sys_lin(cpu, base + (sel & 0xfff8));
	return (true);
}

int
sys_peek(struct softcpu *cpu, uint16_t sel, struct sysdesc *d)
{
	uint64_t raw;

	if (!desc_addr(cpu, sel, 8, d))
		return (0);
	if (!soft_sys_ld(cpu, d->addr, 8, &raw))
		return (-1);
	d->lo = (uint32_t)raw;
	d->hi = (uint32_t)(raw >> 32);
	desc_unpack(d);
	return (1);
}

bool
sys_fetch(
    struct softcpu *cpu, uint16_t sel, struct sysdesc *d, int vec, uint32_t ext)
{
	int r;

	r = sys_peek(cpu, sel, d);
	if (r == 0)
		soft_raise_err(cpu, vec, SEL_ERR(sel, ext));
	return (r > 0);
}

bool
sys_fetch_sys(
    struct softcpu *cpu, uint16_t sel, struct sysdesc *d, int vec, uint32_t ext)
{
	uint64_t raw;

	if (!sys_lma(cpu))
		return (sys_fetch(cpu, sel, d, vec, ext));
	if (!desc_addr(cpu, sel, 16, d))
		return (sys_fail(cpu, vec, SEL_ERR(sel, ext)));
	if (!sys_fetch(cpu, sel, d, vec, ext) ||
	    !soft_sys_ld(cpu, d->addr + 8, 8, &raw))
		return (false);
	/* The type field of the upper half must read 0. */
	if ((raw >> 40) & 0x1f)
		return (sys_fail(cpu, vec, SEL_ERR(sel, ext)));
	d->base |= raw << 32;
	return (true);
}

bool
sys_set_accessed(struct softcpu *cpu, struct sysdesc *d)
{
	uint8_t byte;

	if (d->attr & AT_A)
		return (true);
	byte = (uint8_t)(d->hi >> 8) | AT_A;
	if (!soft_sys_st(cpu, sys_lin(cpu, d->addr + 5), 1, &byte))
		return (false);
	d->attr |= AT_A;
	d->hi |= AT_A << 8;
	return (true);
}

void
sys_set_seg(struct softseg *s, uint16_t sel, const struct sysdesc *d)
{
	s->sel = sel;
	s->base = d->base;
	s->limit = d->limit;
	s->attr = d->attr;
}

void
sys_null_seg(struct softseg *s, uint16_t sel)
{
	s->sel = sel;
	s->base = 0;
	s->limit = 0;
	s->attr = AT_UNUSABLE;
}

void
sys_v86_seg(struct softseg *s, uint16_t sel)
{
	s->sel = sel;
	s->base = (uint32_t)sel << 4;
	s->limit = 0xffff;
	s->attr = 0xf3;
}

/*
 * Real mode replaces selector and base; limit and attributes stay, so that
 * "unreal" mode works.  A segment that protected mode left unusable or
 * read-only becomes plain data again.
 */
void
sys_real_seg(struct softcpu *cpu, int seg, uint16_t sel)
{
	struct softseg *s = &cpu->seg[seg];

	if (cpu->rfl & FL_VM) {
		sys_v86_seg(s, sel);
		return;
	}
	s->sel = sel;
	s->base = (uint32_t)sel << 4;
	if (s->attr & AT_UNUSABLE)
		s->limit = 0xffff;
	s->attr = (s->attr & (AT_DB | AT_G)) | 0x93;
}

void
sys_set_cs(struct softcpu *cpu, uint16_t sel, const struct sysdesc *d, int cpl)
{
	sys_set_seg(&cpu->seg[S_CS], (sel & ~3) | (uint16_t)cpl, d);
	cpu->cpl = (uint8_t)cpl;
}

void
sys_null_ss(struct softcpu *cpu, uint16_t sel)
{
	sys_null_seg(&cpu->seg[S_SS], sel);
	cpu->seg[S_SS].attr |= (uint32_t)(sel & 3) << 5;
}

bool
sys_fetch_ss(struct softcpu *cpu, uint16_t sel, unsigned cpl, int vec,
    uint32_t ext, struct sysdesc *d)
{
	if ((sel & 0xfffc) == 0)
		return (sys_fail(cpu, vec, ext));
	if (!sys_fetch(cpu, sel, d, vec, ext))
		return (false);
	if ((sel & 3u) != cpl || AT_DPL(d->attr) != cpl ||
	    !at_is_wdata(d->attr))
		return (sys_fail(cpu, vec, SEL_ERR(sel, ext)));
	if (!(d->attr & AT_P))
		return (sys_fail(cpu, X_SS, SEL_ERR(sel, ext)));
	return (sys_set_accessed(cpu, d));
}

bool
sys_check_rip(
    struct softcpu *cpu, const struct sysdesc *d, uint64_t rip, uint32_t ext)
{
	if (sys_lma(cpu) && (d->attr & AT_L)) {
		if (sys_canonical(rip))
			return (true);
	} else if (rip <= d->limit)
		return (true);
	return (sys_fail(cpu, X_GP, ext));
}

void
sys_drop_segs(struct softcpu *cpu)
{
	static const uint8_t data[] = { S_ES, S_FS, S_GS, S_DS };
	struct softseg *s;
	size_t i;

	for (i = 0; i < sizeof(data); i++) {
		s = &cpu->seg[data[i]];
		if ((s->attr & AT_UNUSABLE) || at_is_conforming(s->attr) ||
		    AT_DPL(s->attr) >= cpu->cpl)
			continue;
		/* The base stays: FS and GS bases are MSRs of their own. */
		s->sel = 0;
		s->attr = AT_UNUSABLE;
	}
}

static bool
load_ss(struct softcpu *cpu, uint16_t sel)
{
	struct sysdesc d;

	if ((sel & 0xfffc) == 0) {
		if (!(cpu->mode & MODE_64) || cpu->cpl == 3 ||
		    (sel & 3) != cpu->cpl)
			return (sys_fail(cpu, X_GP, 0));
		sys_null_ss(cpu, sel);
		return (true);
	}
	if (!sys_fetch_ss(cpu, sel, cpu->cpl, X_GP, 0, &d))
		return (false);
	sys_set_seg(&cpu->seg[S_SS], sel, &d);
	return (true);
}

static bool
load_data(struct softcpu *cpu, int seg, uint16_t sel)
{
	struct sysdesc d;
	unsigned dpl;

	if ((sel & 0xfffc) == 0) {
		sys_null_seg(&cpu->seg[seg], sel);
		return (true);
	}
	if (!sys_fetch(cpu, sel, &d, X_GP, 0))
		return (false);
	dpl = AT_DPL(d.attr);
	if (!(d.attr & AT_S) ||
	    (d.attr & (AT_CODE | AT_RW)) == AT_CODE || /* execute-only */
	    (!at_is_conforming(d.attr) && ((sel & 3u) > dpl || cpu->cpl > dpl)))
		return (sys_fail(cpu, X_GP, SEL_ERR(sel, 0)));
	if (!(d.attr & AT_P))
		return (sys_fail(cpu, X_NP, SEL_ERR(sel, 0)));
	if (!sys_set_accessed(cpu, &d))
		return (false);
	sys_set_seg(&cpu->seg[seg], sel, &d);
	return (true);
}

/* MOV, POP, LxS to ES, SS, DS, FS, GS. */
bool
soft_load_seg(struct softcpu *cpu, int seg, uint16_t sel)
{
	if (!(cpu->mode & MODE_PROT))
		sys_real_seg(cpu, seg, sel);
	else if (seg == S_SS ? !load_ss(cpu, sel) : !load_data(cpu, seg, sel))
		return (false);
	soft_mode_update(cpu);
	return (true);
}
