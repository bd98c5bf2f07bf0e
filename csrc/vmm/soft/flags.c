/*
 * RFLAGS between the architectural word and its two halves in struct
 * softcpu, and the slow ways of memory operands that all integer
 * instructions share.
 */
#include "int_local.h"

#define FL_KEEP                                                            \
	(FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_VM | FL_AC | \
	    FL_VIF | FL_VIP | FL_ID)

uint64_t
soft_get_rflags(const struct softcpu *cpu)
{
	uint32_t cc = cpu->cc;

	return ((cpu->rfl & FL_KEEP) | 2u | ((cc & (CC_ALL & ~CC_OF)) >> 8) |
	    ((cc & CC_OF) << 11));
}

void
soft_set_rflags(struct softcpu *cpu, uint64_t rflags)
{
	uint32_t changed, fl = (uint32_t)rflags;

	cpu->cc = (uint16_t)(((fl << 8) & (CC_ALL & ~CC_OF)) |
	    ((fl & FL_OF) ? CC_OF : 0));
	changed = (cpu->rfl ^ fl) & (FL_TF | FL_VM | FL_AC);
	cpu->rfl = (fl & FL_KEEP) | 2u;
	if (changed != 0)
		soft_mode_update(cpu);
}

bool
int_ld(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    uint64_t *val)
{
	uint64_t v = 0;

	if (!soft_ld_slow(cpu, in, lin, size, &v))
		return (false);
	*val = v;
	return (true);
}

bool
int_st(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    uint64_t val)
{
	return (soft_st_slow(cpu, in, lin, size, &val));
}

bool
int_rmw(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    int_rmw_fn fn, uint64_t s, bool lock)
{
	uint64_t d;
	uint16_t cc = cpu->cc;
	bool ok;

	if (lock)
		soft_lock_begin(cpu);
	ok = soft_probe_write(cpu, in, lin, size) &&
	    int_ld(cpu, in, lin, size, &d);
	if (ok) {
		d = fn(d, s, &cc);
		ok = int_st(cpu, in, lin, size, d);
	}
	if (lock)
		soft_lock_end(cpu);
	if (ok)
		cpu->cc = cc;
	return (ok);
}

/*
 * Segment checks of the legacy modes: presence, type, limit.  Real and
 * virtual-8086 mode check limits only.
 */
bool
int_seg_ok(const struct softcpu *cpu, int seg, uint64_t off, uint64_t size,
    bool write, uint64_t *lin)
{
	const struct softseg *s;
	uint64_t end, top;

	if (cpu->mode & MODE_64) {
		*lin = off;
		if (seg == S_FS || seg == S_GS)
			*lin += cpu->seg[seg].base;
		return (int_canonical(*lin) && int_canonical(*lin + size - 1));
	}
	if (seg >= 6) {
		*lin = (uint32_t)off;
		return (true);
	}
	s = &cpu->seg[seg];
	end = off + size - 1;
	if (cpu->mode & MODE_PROT) {
		if (s->attr & 0x10000u)
			return (false);
		if (write ? (s->attr & 0xau) != 0x2u : (s->attr & 0xau) == 0x8u)
			return (false);
	}
	if ((s->attr & 0xcu) == 0x4u) {
		top = (s->attr & 0x4000u) ? 0xffffffffu : 0xffffu;
		if (off <= s->limit || end > top)
			return (false);
	} else if (end > s->limit) {
		return (false);
	}
	*lin = (uint32_t)(s->base + off);
	return (true);
}

bool
int_seg_lin(struct softcpu *cpu, const struct insn *in, int seg, uint64_t off,
    int size, bool write, uint64_t *lin)
{
	if (int_seg_ok(cpu, seg, off, (uint64_t)size, write, lin))
		return (true);
	soft_fault_err(cpu, in, seg == S_SS ? X_SS : X_GP, 0);
	return (false);
}

bool
int_code_ok(struct softcpu *cpu, const struct insn *in, uint64_t off)
{
	bool ok;

	if (cpu->mode & MODE_64)
		ok = int_canonical(off);
	else
		ok = off <= cpu->seg[S_CS].limit;
	if (!ok)
		soft_fault_err(cpu, in, X_GP, 0);
	return (ok);
}
