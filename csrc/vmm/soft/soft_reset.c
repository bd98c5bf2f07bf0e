/*
 * Register values after RESET and INIT (SDM 3A table 10-1; bhyve's own where
 * the two differ, and those are what vcpu_reset() of libvmmapi sets).
 */
#include <string.h>

#include "sys_local.h"

static void
reset_seg(struct softseg *s, uint16_t sel, uint64_t base, uint32_t attr)
{
	s->sel = sel;
	s->base = base;
	s->limit = 0xffff;
	s->attr = attr;
}

static void
reset_segments(struct softcpu *cpu)
{
	int i;

	for (i = 0; i < 6; i++)
		reset_seg(&cpu->seg[i], 0, 0, 0x93);
	reset_seg(&cpu->seg[S_CS], 0xf000, 0xffff0000u, 0x93);
	reset_seg(&cpu->ldtr, 0, 0, 0x82);
	reset_seg(&cpu->tr, 0, 0, 0x8b);
	cpu->gdtr.base = cpu->idtr.base = 0;
	cpu->gdtr.limit = cpu->idtr.limit = 0xffff;
}

/* MSRs and the FPU survive INIT; RESET clears them. */
static void
reset_msrs(struct softcpu *cpu)
{
	cpu->star = cpu->lstar = cpu->cstar = cpu->sfmask = 0;
	cpu->kgsbase = 0;
	cpu->sysenter_cs = cpu->sysenter_esp = cpu->sysenter_eip = 0;
	cpu->tsc_aux = 0;
	cpu->tsc_offset = 0;
	cpu->tsc_offset = -soft_rdtsc(cpu);
}

void
soft_reset(struct softcpu *cpu, bool init)
{
	uint64_t cache;

	cache = init ? cpu->cr0 & (CR0_CD | CR0_NW) : 0;
	memset(cpu->gpr, 0, 16 * sizeof(cpu->gpr[0]));
	cpu->gpr[R_DX] = 0xf00;
	cpu->rip = 0xfff0;
	cpu->cr0 = CR0_NE | CR0_ET | cache;
	cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->efer = 0;
	cpu->cr8 = 0;
	memset(cpu->pdpte, 0, sizeof(cpu->pdpte));
	memset(cpu->dr, 0, sizeof(cpu->dr));
	cpu->dr[6] = DR6_ONES;
	cpu->dr[7] = 0x400;
	soft_debug_update(cpu);
	cpu->dr6_pending = 0;
	cpu->cpl = 0;
	cpu->intr_shadow = 0;
	cpu->nmi_blocked = 0;
	cpu->halted = 0;
	cpu->entry_inst_len = 0;
	cpu->event_now = 0;
	cpu->stop = STOP_NONE;
	reset_segments(cpu);
	if (!init)
		reset_msrs(cpu);
	soft_io_commit(cpu);
	soft_set_rflags(cpu, 2);
	soft_fpu_reset(cpu, init);
	soft_fpu_mode_update(cpu);
	soft_tlb_flush(cpu, false);
	soft_mode_update(cpu);
}
