/*
 * Debug registers: which accesses hit a breakpoint.  Code breakpoints are
 * faults and looked for before the instruction; data and I/O breakpoints are
 * traps and only collect their DR6 bits in cpu->dr6_pending.
 */
#include "sys_local.h"

enum { BP_EXEC, BP_WRITE, BP_IO, BP_RW };

static bool
bp_enabled(const struct softcpu *cpu, int n)
{
	return (((cpu->dr[7] >> (2 * n)) & 3) != 0);
}

static int
bp_kind(const struct softcpu *cpu, int n)
{
	return ((int)(cpu->dr[7] >> (16 + 4 * n)) & 3);
}

static bool
bp_overlaps(const struct softcpu *cpu, int n, uint64_t addr, int size)
{
	static const uint8_t lens[] = { 1, 2, 8, 4 };
	uint64_t base, len;

	len = lens[(cpu->dr[7] >> (18 + 4 * n)) & 3];
	base = cpu->dr[n] & ~(len - 1);
	return (addr < base + len && base < addr + (uint64_t)size);
}

void
sys_write_dr(struct softcpu *cpu, int n, uint64_t val)
{
	bool was;

	if (n == 6) {
		cpu->dr[6] = (val & 0xe00f) | DR6_ONES;
		return;
	}
	was = cpu->dr7_active;
	cpu->dr[n] = (n == 7) ? (val & 0xffff23ff) | 0x400 : val;
	cpu->dr7_active = (cpu->dr[7] & 0xff) != 0;
	/* Pages with a watchpoint have no fast TLB entries. */
	if (was || cpu->dr7_active) {
		soft_tlb_flush(cpu, false);
		soft_mode_update(cpu);
	}
}

/*
 * Before the instruction at linear address (lin): true when a breakpoint is
 * there, and #DB is recorded.  RF masks one execution.
 */
bool
soft_check_code_bp(struct softcpu *cpu, uint64_t lin)
{
	uint64_t hits;
	int n;

	if (cpu->rfl & FL_RF)
		return (false);
	for (n = 0, hits = 0; n < 4; n++)
		if (bp_enabled(cpu, n) && bp_kind(cpu, n) == BP_EXEC &&
		    cpu->dr[n] == lin)
			hits |= 1u << n;
	if (hits == 0)
		return (false);
	cpu->dr[6] = (cpu->dr[6] & ~0xfull) | hits;
	soft_raise(cpu, X_DB);
	return (true);
}

void
soft_check_data_bp(struct softcpu *cpu, uint64_t lin, int size, bool write)
{
	int kind, n;

	for (n = 0; n < 4; n++) {
		kind = bp_kind(cpu, n);
		if (bp_enabled(cpu, n) &&
		    (kind == BP_RW || (kind == BP_WRITE && write)) &&
		    bp_overlaps(cpu, n, lin, size))
			cpu->dr6_pending |= 1u << n;
	}
}

void
sys_check_io_bp(struct softcpu *cpu, uint16_t port, int bytes)
{
	int n;

	if (!(cpu->cr4 & CR4_DE))
		return;
	for (n = 0; n < 4; n++)
		if (bp_enabled(cpu, n) && bp_kind(cpu, n) == BP_IO &&
		    bp_overlaps(cpu, n, port, bytes))
			cpu->dr6_pending |= 1u << n;
}
