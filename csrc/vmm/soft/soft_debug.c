/*
 * Debug registers: which accesses hit a breakpoint.  Code breakpoints are
 * faults and looked for before the instruction; data and I/O breakpoints are
 * traps and only collect their DR6 bits in cpu->dr6_pending.
 */
#include <string.h>

#include "soft_core_local.h"
#include "sys_local.h"

enum { BP_EXEC, BP_WRITE, BP_IO, BP_RW };

static bool
bp_enabled(uint64_t dr7, int n)
{
	return (((dr7 >> (2 * n)) & 3) != 0);
}

static int
bp_kind(uint64_t dr7, int n)
{
	return ((int)(dr7 >> (16 + 4 * n)) & 3);
}

static bool
bp_overlaps(const uint64_t *dr, uint64_t dr7, int n, uint64_t addr, int size)
{
	static const uint8_t lens[] = { 1, 2, 8, 4 };
	uint64_t base, len;

	len = lens[(dr7 >> (18 + 4 * n)) & 3];
	base = dr[n] & ~(len - 1);
	return (addr < base + len && base < addr + (uint64_t)size);
}

static uint64_t
code_hits(const uint64_t *dr, uint64_t dr7, uint64_t lin)
{
	uint64_t hits = 0;
	int n;

	for (n = 0; n < 4; n++)
		if (bp_enabled(dr7, n) && bp_kind(dr7, n) == BP_EXEC &&
		    dr[n] == lin)
			hits |= 1u << n;
	return (hits);
}

static uint64_t
data_hits(const uint64_t *dr, uint64_t dr7, uint64_t lin, int size, bool write)
{
	uint64_t hits = 0;
	int kind, n;

	for (n = 0; n < 4; n++) {
		kind = bp_kind(dr7, n);
		if (bp_enabled(dr7, n) &&
		    (kind == BP_RW || (kind == BP_WRITE && write)) &&
		    bp_overlaps(dr, dr7, n, lin, size))
			hits |= 1u << n;
	}
	return (hits);
}

static void
debug_changed(struct softcpu *cpu)
{
	bool was = cpu->dr7_active;

	soft_debug_update(cpu);
	/* Pages with a watchpoint have no fast TLB entries. */
	if (was || cpu->dr7_active) {
		soft_tlb_flush(cpu, false);
		soft_mode_update(cpu);
	}
}

void
soft_debug_update(struct softcpu *cpu)
{
	cpu->dr7_active = ((cpu->dr[7] | cpu->core->debug_dr7) & 0xff) != 0;
}

int
soft_setdebug(void *vcpui, const uint64_t dr[4], uint64_t dr7)
{
	struct softcpu *cpu = vcpui;

	memcpy(cpu->core->debug_dr, dr, sizeof(cpu->core->debug_dr));
	cpu->core->debug_dr7 = dr7;
	debug_changed(cpu);
	return (0);
}

/* The debugger's hits, as an exit. */
bool
soft_exit_debug(struct softcpu *cpu)
{
	struct vm_exit *vme = cpu->vme;

	memset(vme, 0, sizeof(*vme));
	vme->exitcode = VM_EXITCODE_DB;
	vme->rip = cpu->rip;
	vme->u.dbg.drx_access = cpu->core->debug_hits;
	cpu->core->debug_hits = 0;
	return (true);
}

void
sys_write_dr(struct softcpu *cpu, int n, uint64_t val)
{
	if (n == 6) {
		cpu->dr[6] = (val & 0xe00f) | DR6_ONES;
		return;
	}
	cpu->dr[n] = (n == 7) ? (val & 0xffff23ff) | 0x400 : val;
	debug_changed(cpu);
}

/*
 * Before the instruction at linear address (lin): true when a breakpoint is
 * there, and #DB is recorded.  RF masks one execution; a guest's breakpoint
 * behind MOV SS or POP SS does not hit, as on Intel's processors.
 */
bool
soft_check_code_bp(struct softcpu *cpu, uint64_t lin)
{
	uint64_t hits;

	hits = code_hits(cpu->core->debug_dr, cpu->core->debug_dr7, lin);
	if (hits != 0) {
		cpu->core->debug_hits = hits;
		soft_exit_debug(cpu);
		cpu->stop = STOP_EXIT;
		return (true);
	}
	if ((cpu->rfl & FL_RF) || cpu->intr_shadow == 2)
		return (false);
	hits = code_hits(cpu->dr, cpu->dr[7], lin);
	if (hits == 0)
		return (false);
	cpu->dr[6] = (cpu->dr[6] & ~0xfull) | hits;
	soft_raise(cpu, X_DB);
	return (true);
}

void
soft_check_data_bp(struct softcpu *cpu, uint64_t lin, int size, bool write)
{
	cpu->dr6_pending |= data_hits(cpu->dr, cpu->dr[7], lin, size, write);
	cpu->core->debug_hits |= data_hits(
	    cpu->core->debug_dr, cpu->core->debug_dr7, lin, size, write);
}

void
sys_check_io_bp(struct softcpu *cpu, uint16_t port, int bytes)
{
	int n;

	if (!(cpu->cr4 & CR4_DE))
		return;
	for (n = 0; n < 4; n++)
		if (bp_enabled(cpu->dr[7], n) &&
		    bp_kind(cpu->dr[7], n) == BP_IO &&
		    bp_overlaps(cpu->dr, cpu->dr[7], n, port, bytes))
			cpu->dr6_pending |= 1u << n;
}
