/*
 * Control registers: what a write to CR0, CR3, CR4 and EFER must check and
 * what it changes, and the instructions that reach them.  Debug register
 * moves are here, too.
 */
#include "soft_core_local.h"
#include "sys_local.h"
#include "vlapic.h"
#include "vmm_stat.h"

#define CR0_KNOWN                                                       \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | \
	    CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR4_KNOWN                                                             \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | \
	    CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP |      \
	    CR4_FSGSBASE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP)
/* Changing one of these voids translations, or reloads the PDPTEs. */
#define CR4_PAGING (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP)

/* Paging goes on or off: what becomes of LMA.  False: #GP. */
static bool
cr0_paging(const struct softcpu *cpu, uint64_t val, uint64_t *efer)
{
	*efer = cpu->efer;
	if (((val ^ cpu->cr0) & CR0_PG) == 0)
		return (true);
	if (!(val & CR0_PG)) {
		if (cpu->mode & MODE_64)
			return (false);
		*efer &= ~(uint64_t)EFER_LMA;
		return (true);
	}
	if (!(cpu->efer & EFER_LME))
		return (true);
	/* A 16-bit TSS must not be loaded, and CS.L must be clear. */
	if (!(cpu->cr4 & CR4_PAE) || (cpu->seg[S_CS].attr & AT_L) ||
	    (!(cpu->tr.attr & AT_UNUSABLE) && !(cpu->tr.attr & 8)))
		return (false);
	*efer |= EFER_LMA;
	return (true);
}

bool
soft_write_cr0(struct softcpu *cpu, uint64_t val)
{
	uint64_t changed, efer;

	if (val >> 32)
		return (sys_fail(cpu, X_GP, 0));
	val = (val & CR0_KNOWN) | CR0_ET;
	if (((val & CR0_PG) && !(val & CR0_PE)) ||
	    ((val & CR0_NW) && !(val & CR0_CD)) || !cr0_paging(cpu, val, &efer))
		return (sys_fail(cpu, X_GP, 0));
	changed = cpu->cr0 ^ val;
	if ((val & CR0_PG) && (cpu->cr4 & CR4_PAE) && !(efer & EFER_LMA) &&
	    (changed & (CR0_PG | CR0_CD | CR0_NW)) &&
	    !soft_load_pdptes(cpu, cpu->cr3))
		return (sys_fail(cpu, X_GP, 0));
	cpu->cr0 = val;
	cpu->efer = efer;
	if (changed & (CR0_PG | CR0_WP | CR0_PE))
		soft_tlb_flush(cpu, false);
	soft_fpu_mode_update(cpu);
	soft_mode_update(cpu);
	return (true);
}

/* Bits of CR3 above the guest's physical addresses are reserved. */
static int
cr3_bits(const struct softcpu *cpu)
{
	return (cpu->core->physbits != 0 ? cpu->core->physbits : 52);
}

bool
soft_write_cr3(struct softcpu *cpu, uint64_t val)
{
	if (!sys_lma(cpu))
		val = (uint32_t)val;
	else if (val >> cr3_bits(cpu))
		return (sys_fail(cpu, X_GP, 0));
	if ((cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && !sys_lma(cpu) &&
	    !soft_load_pdptes(cpu, val))
		return (sys_fail(cpu, X_GP, 0));
	cpu->cr3 = val;
	soft_tlb_flush(cpu, true);
	return (true);
}

bool
soft_write_cr4(struct softcpu *cpu, uint64_t val)
{
	uint64_t changed;

	changed = cpu->cr4 ^ val;
	if (val & ~(uint64_t)CR4_KNOWN)
		return (sys_fail(cpu, X_GP, 0));
	if (sys_lma(cpu) && !(val & CR4_PAE))
		return (sys_fail(cpu, X_GP, 0));
	if ((cpu->cr0 & CR0_PG) && (val & CR4_PAE) && !sys_lma(cpu) &&
	    (changed & CR4_PAGING) && !soft_load_pdptes(cpu, cpu->cr3))
		return (sys_fail(cpu, X_GP, 0));
	cpu->cr4 = val;
	if (changed & CR4_PAGING)
		soft_tlb_flush(cpu, false);
	soft_fpu_mode_update(cpu);
	soft_mode_update(cpu);
	return (true);
}

/* ---- MOV to and from CRn ---- */

static uint64_t
cr8_read(struct softcpu *cpu)
{
	struct vlapic *vlapic = vm_lapic(cpu->vcpu);

	return (vlapic != NULL ? vlapic_get_cr8(vlapic) : cpu->cr8);
}

static bool
cr8_write(struct softcpu *cpu, uint64_t val)
{
	struct vlapic *vlapic = vm_lapic(cpu->vcpu);

	if (val > 0xf)
		return (sys_fail(cpu, X_GP, 0));
	if (vlapic != NULL)
		vlapic_set_cr8(vlapic, val);
	else
		cpu->cr8 = val;
	return (true);
}

/* Those that a hardware processor with nested tables hands to its vmm. */
static void
count_access(struct softcpu *cpu)
{
	vmm_stat_inside(cpu->vcpu, VMEXIT_CR_ACCESS);
}

static void
op_mov_from_cr(struct softcpu *cpu, const struct insn *in)
{
	uint64_t val;

	switch (in->reg) {
	case 0:
		val = cpu->cr0;
		break;
	case 2:
		val = cpu->cr2;
		break;
	case 3:
		val = cpu->cr3;
		break;
	case 4:
		val = cpu->cr4;
		break;
	default:
		val = cr8_read(cpu);
		count_access(cpu);
		break;
	}
	cpu->gpr[in->rm] = (cpu->mode & MODE_64) ? val : (uint32_t)val;
	SOFT_NEXT(cpu, in);
}

static void
op_mov_to_cr(struct softcpu *cpu, const struct insn *in)
{
	uint64_t val;
	bool ok;

	cpu->rip = soft_rip(cpu, in);
	val = cpu->gpr[in->rm];
	if (!(cpu->mode & MODE_64))
		val = (uint32_t)val;
	ok = true;
	switch (in->reg) {
	case 0:
		count_access(cpu);
		ok = soft_write_cr0(cpu, val);
		break;
	case 2:
		cpu->cr2 = val;
		break;
	case 3:
		ok = soft_write_cr3(cpu, val);
		break;
	case 4:
		count_access(cpu);
		ok = soft_write_cr4(cpu, val);
		break;
	default:
		count_access(cpu);
		ok = cr8_write(cpu, val);
		cpu->recheck = true;
		break;
	}
	if (ok)
		sys_done(cpu, cpu->rip + in->len);
}

static bool
cr_exists(const struct soft_dec *d)
{
	return (d->reg == 0 || (d->reg >= 2 && d->reg <= 4) || d->reg == 8);
}

soft_op
bind_mov_from_cr(const struct soft_dec *d, struct insn *in)
{
	return (cr_exists(d) ? op_mov_from_cr : NULL);
}

soft_op
bind_mov_to_cr(const struct soft_dec *d, struct insn *in)
{
	return (cr_exists(d) ? op_mov_to_cr : NULL);
}

/* ---- MOV to and from DRn ---- */

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE; DR7.GD traps every access. */
static bool
dr_number(struct softcpu *cpu, const struct insn *in, int *n)
{
	*n = in->reg;
	if (*n == 4 || *n == 5) {
		if (cpu->cr4 & CR4_DE) {
			soft_fault(cpu, in, X_UD);
			return (false);
		}
		*n += 2;
	}
	if (cpu->dr[7] & DR7_GD) {
		cpu->dr[6] |= DR6_BD;
		soft_fault(cpu, in, X_DB);
		return (false);
	}
	return (true);
}

static void
op_mov_from_dr(struct softcpu *cpu, const struct insn *in)
{
	uint64_t val;
	int n;

	if (!dr_number(cpu, in, &n))
		return;
	val = cpu->dr[n];
	cpu->gpr[in->rm] = (cpu->mode & MODE_64) ? val : (uint32_t)val;
	soft_end(cpu, in);
}

static void
op_mov_to_dr(struct softcpu *cpu, const struct insn *in)
{
	uint64_t val;
	int n;

	if (!dr_number(cpu, in, &n))
		return;
	val = cpu->gpr[in->rm];
	if (!(cpu->mode & MODE_64))
		val = (uint32_t)val;
	if (n >= 6 && (val >> 32)) {
		soft_fault_err(cpu, in, X_GP, 0);
		return;
	}
	sys_write_dr(cpu, n, val);
	soft_end(cpu, in);
}

static soft_op
bind_dr(const struct soft_dec *d, soft_op op)
{
	return (d->reg < 8 ? op : NULL);
}

soft_op
bind_mov_from_dr(const struct soft_dec *d, struct insn *in)
{
	return (bind_dr(d, op_mov_from_dr));
}

soft_op
bind_mov_to_dr(const struct soft_dec *d, struct insn *in)
{
	return (bind_dr(d, op_mov_to_dr));
}

/* ---- CLTS, LMSW, SMSW ---- */

static void
op_clts(struct softcpu *cpu, const struct insn *in)
{
	cpu->cr0 &= ~(uint64_t)CR0_TS;
	soft_fpu_mode_update(cpu);
	soft_end(cpu, in);
}

static void
op_lmsw(struct softcpu *cpu, const struct insn *in)
{
	uint16_t msw;

	if (!sys_ld_rm16(cpu, in, &msw))
		return;
	cpu->rip = soft_rip(cpu, in);
	/* PE can be set, not cleared. */
	if (soft_write_cr0(cpu, (cpu->cr0 & ~0xeull) | (msw & 0xf)))
		sys_done(cpu, cpu->rip + in->len);
}

static void
op_smsw(struct softcpu *cpu, const struct insn *in)
{
	if (!sys_umip_ok(cpu, in) || !sys_st_rm(cpu, in, cpu->cr0))
		return;
	SOFT_NEXT(cpu, in);
}

BIND(clts, op_clts)
BIND(lmsw, op_lmsw)
BIND(smsw, op_smsw)
