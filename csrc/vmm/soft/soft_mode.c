/*
 * What the engine derives from the registers: the mode bits that key blocks,
 * segment bases for the address arithmetic, the TLB of the privilege level.
 */
#include <string.h>

#include "soft_core_local.h"

/*
 * Segmented code: a number for each (base, limit) of CS, part of the jump
 * cache's tags, so that a block entered there fits the segment.  Linear
 * addresses use at most 33 bits then, which leaves bits 47:33.
 */
static uint64_t
mode_csid(struct softcpu *cpu)
{
	const struct softseg *cs = &cpu->seg[S_CS];
	struct soft_core *co = cpu->core;
	uint32_t i;

	for (i = 0; i < co->csid_n; i++)
		if (co->csid[i].base == cs->base &&
		    co->csid[i].limit == cs->limit)
			return ((uint64_t)(co->csid_gen + i + 1) << 33);
	if (co->csid_n == CSID_MAX) {
		co->csid_n = 0;
		co->csid_gen += CSID_MAX;
		if (co->csid_gen + CSID_MAX >= 0x7fff) {
			co->csid_gen = 0;
			jc_flush(cpu, false);
		}
	}
	i = co->csid_n++;
	co->csid[i].base = cs->base;
	co->csid[i].limit = cs->limit;
	return ((uint64_t)(co->csid_gen + i + 1) << 33);
}

static bool
seg_flat(const struct softseg *s)
{
	return (s->base == 0 && s->limit == ~0u && !(s->attr & SEG_UNUSABLE));
}

/* Flat, present, writable and not expand-down. */
static bool
seg_flat_data(const struct softseg *s)
{
	return (seg_flat(s) && (s->attr & 0x1e) == 0x12);
}

static uint32_t
mode_bits(const struct softcpu *cpu)
{
	const struct softseg *seg = cpu->seg;
	uint32_t m = 0;

	if (cpu->cpl == 0)
		m |= MODE_CPL0;
	else if (cpu->cpl == 3)
		m |= MODE_CPL3;
	if (cpu->efer & EFER_LMA_) {
		m |= MODE_LONG;
		if (seg[S_CS].attr & SEG_L)
			return (m | MODE_64 | MODE_PROT | MODE_CSFLAT);
	}
	if (seg[S_CS].attr & SEG_DB)
		m |= MODE_CS32;
	if (seg[S_SS].attr & SEG_DB)
		m |= MODE_SS32;
	if (cpu->cr0 & CR0_PE_)
		m |= (cpu->rfl & FL_VM) ? MODE_V86 : MODE_PROT;
	if (seg_flat(&seg[S_CS])) {
		m |= MODE_CSFLAT;
		if (seg_flat_data(&seg[S_DS]) && seg_flat_data(&seg[S_ES]) &&
		    seg_flat_data(&seg[S_SS]))
			m |= MODE_FLAT;
	}
	return (m);
}

void
soft_mode_update(struct softcpu *cpu)
{
	uint32_t m = mode_bits(cpu);
	bool slow;

	if (cpu->step_one || (cpu->rfl & FL_TF) || cpu->dr7_active)
		m |= MODE_TF;
	for (int i = 0; i < 6; i++)
		cpu->segbase[i] = cpu->seg[i].base;
	if (m & MODE_64)
		cpu->segbase[S_ES] = cpu->segbase[S_CS] = cpu->segbase[S_SS] =
		    cpu->segbase[S_DS] = 0;
	cpu->csbase = cpu->segbase[S_CS];
	cpu->mode = m;
	cpu->modekey = (uint64_t)m << 48;
	if (!(m & MODE_CSFLAT))
		cpu->modekey |= mode_csid(cpu);
	/* Alignment checks and watchpoints: every access the slow way. */
	slow = cpu->dr7_active ||
	    (cpu->cpl == 3 && (cpu->rfl & FL_AC) && (cpu->cr0 & CR0_AM_));
	cpu->tlb = slow ? tlb_empty : cpu->tlbs[tlb_kind(cpu, cpu->cpl)];
}

/* One record a block, or whole blocks again as far as TF allows. */
void
soft_set_step(struct softcpu *cpu, bool on)
{
	bool tf;

	cpu->step_one = on;
	tf = on || (cpu->rfl & FL_TF) || cpu->dr7_active;
	if (tf == ((cpu->mode & MODE_TF) != 0))
		return;
	cpu->mode ^= MODE_TF;
	cpu->modekey ^= (uint64_t)MODE_TF << 48;
}
