/*
 * MSRs that the core keeps for every processor: APIC base and x2APIC, MTRRs
 * and PAT, machine checks (none), and the clock ratios that systems probe for.
 * Others are the processor's own, or go to user space: whoever answers ENOENT
 * leaves it to x86.strictmsr what becomes of the instruction, EINVAL is #GP.
 */
#include <errno.h>
#include <string.h>

#include "vlapic.h"
#include "vmm_local.h"

#define MSR_APICBASE 0x1b
#define MSR_SPEC_CTRL 0x48
#define MSR_PRED_CMD 0x49
#define MSR_PLATFORM_INFO 0xce
#define MSR_MTRRCAP 0xfe
#define MSR_ARCH_CAPABILITIES 0x10a
#define MSR_MCG_CAP 0x179
#define MSR_MCG_STATUS 0x17a
#define MSR_MISC_ENABLE 0x1a0
#define MSR_TURBO_RATIO_LIMIT 0x1ad
#define MSR_TURBO_RATIO_LIMIT1 0x1ae
#define MSR_MTRR_VAR 0x200
#define MSR_MTRR_64K 0x250
#define MSR_MTRR_16K 0x258
#define MSR_MTRR_4K 0x268
#define MSR_PAT 0x277
#define MSR_MTRR_DEFTYPE 0x2ff
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_FIRST 0x800
#define MSR_X2APIC_LAST 0x8ff

#define MTRRCAP_FIXED 0x100u
#define MTRRCAP_WC 0x400u
#define MTRR_DEF_MASK 0xcffu
#define PAT_RESET 0x0007040600070406UL

#define MISC_FAST_STRING 0x1u
#define MISC_NO_BTS 0x800u
#define MISC_NO_PEBS 0x1000u
/*
 * What processors of family 6 let a system switch: fast strings, thermal
 * control, SpeedStep, MONITOR, few CPUID leaves, xTPR messages, no NX.  Kept,
 * and without an effect: most of it is not there, and no system takes leaves
 * or NX from itself.
 */
#define MISC_WRITABLE                                                  \
	(MISC_FAST_STRING | 1u << 3 | 1u << 16 | 1u << 18 | 1u << 22 | \
	    1u << 23 | 1UL << 34)

/*
 * The software processor does not speculate: RDCL_NO, IBRS_ALL,
 * SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, IF_PSCHANGE_MC_NO, TAA_NO,
 * SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
 */
#define ARCH_CAP_SOFT                                                \
	(0x17bUL | 0x7UL << 13 | 1UL << 20 | 1UL << 24 | 1UL << 26 | \
	    1UL << 27 | 1UL << 62)
#define SPEC_CTRL_MASK 0x7u /* IBRS, STIBP, SSBD */

static bool
memory_type_ok(uint64_t type, bool pat)
{
	switch (type) {
	case 0: /* UC */
	case 1: /* WC */
	case 4: /* WT */
	case 5: /* WP */
	case 6: /* WB */
		return (true);
	case 7: /* UC- */
		return (pat);
	default:
		return (false);
	}
}

static bool
memory_types_ok(uint64_t val, bool pat)
{
	for (int i = 0; i < 64; i += 8)
		if (!memory_type_ok((val >> i) & 0xff, pat))
			return (false);
	return (true);
}

static uint64_t *
mtrr_fixed(struct vmm_mtrr *mtrr, uint32_t msr)
{
	if (msr == MSR_MTRR_64K)
		return (&mtrr->fixed64k);
	if (msr == MSR_MTRR_16K || msr == MSR_MTRR_16K + 1)
		return (&mtrr->fixed16k[msr - MSR_MTRR_16K]);
	if (msr >= MSR_MTRR_4K && msr < MSR_MTRR_4K + 8)
		return (&mtrr->fixed4k[msr - MSR_MTRR_4K]);
	return (NULL);
}

static int
mtrr_read(struct vmm_mtrr *mtrr, uint32_t msr, uint64_t *val)
{
	uint64_t *fixed;

	if (msr == MSR_MTRRCAP)
		*val = MTRRCAP_WC | MTRRCAP_FIXED | VM_MTRR_VARS;
	else if (msr == MSR_MTRR_DEFTYPE)
		*val = mtrr->def_type;
	else if ((fixed = mtrr_fixed(mtrr, msr)) != NULL)
		*val = *fixed;
	else if (msr - MSR_MTRR_VAR < 2 * VM_MTRR_VARS)
		*val = mtrr->var[msr - MSR_MTRR_VAR];
	else
		return (ENOENT);
	return (0);
}

static int
mtrr_write(struct vcpu *vcpu, uint32_t msr, uint64_t val)
{
	struct vmm_mtrr *mtrr = &vcpu->mtrr;
	uint64_t *fixed, allowed;

	if (msr == MSR_MTRRCAP)
		return (EINVAL);
	if (msr == MSR_MTRR_DEFTYPE) {
		if ((val & ~(uint64_t)MTRR_DEF_MASK) != 0 ||
		    !memory_type_ok(val & 0xff, false))
			return (EINVAL);
		mtrr->def_type = val;
	} else if ((fixed = mtrr_fixed(mtrr, msr)) != NULL) {
		if (!memory_types_ok(val, false))
			return (EINVAL);
		*fixed = val;
	} else if (msr - MSR_MTRR_VAR < 2 * VM_MTRR_VARS) {
		allowed = (1UL << x86_phys_bits(vcpu)) - PAGE_SIZE_4K;
		allowed |= (msr & 1) != 0 ? 0x800 : 0xff;
		if ((val & ~allowed) != 0 ||
		    ((msr & 1) == 0 && !memory_type_ok(val & 0xff, false)))
			return (EINVAL);
		mtrr->var[msr - MSR_MTRR_VAR] = val;
	} else {
		return (ENOENT);
	}
	return (0);
}

void
vmm_msr_reset(struct vcpu *vcpu, bool init)
{
	/* INIT keeps all of these (Intel SDM 3A table 9-1). */
	if (init)
		return;
	memset(&vcpu->mtrr, 0, sizeof(vcpu->mtrr));
	vcpu->pat = PAT_RESET;
	vcpu->misc_enable = MISC_FAST_STRING | MISC_NO_BTS | MISC_NO_PEBS;
	vcpu->spec_ctrl = 0;
}

static bool
is_mtrr(uint32_t msr)
{
	return (msr == MSR_MTRRCAP || msr == MSR_MTRR_DEFTYPE ||
	    (msr >= MSR_MTRR_VAR && msr < MSR_PAT));
}

/* Every core MSR that holds state, for VDC_MSR. */
int
vmm_core_msr_list(int idx, uint32_t *msr)
{
	static const uint32_t single[] = { MSR_MTRR_DEFTYPE, MSR_MTRR_64K,
		MSR_MTRR_16K, MSR_MTRR_16K + 1, MSR_PAT, MSR_MISC_ENABLE,
		MSR_SPEC_CTRL };
	const int nsingle = (int)(sizeof(single) / sizeof(single[0]));

	if (idx < nsingle)
		*msr = single[idx];
	else if (idx < nsingle + 8)
		*msr = MSR_MTRR_4K + (uint32_t)(idx - nsingle);
	else if (idx < nsingle + 8 + 2 * VM_MTRR_VARS)
		*msr = MSR_MTRR_VAR + (uint32_t)(idx - nsingle - 8);
	else
		return (ENOENT);
	return (0);
}

static uint64_t
platform_info(void)
{
	uint64_t ratio = vmm_tsc_hz() / 100000000;

	return ((ratio & 0xff) << 8 | (ratio & 0xff) << 40);
}

static bool
own_cpuid(struct vcpu *vcpu)
{
	return ((vcpu->vm->ops->flags & VMM_OPS_HOST_CPUID) == 0);
}

static bool
is_lapic(uint32_t msr)
{
	return (msr == MSR_TSC_DEADLINE ||
	    (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST));
}

int
vmm_rdmsr(struct vcpu *vcpu, uint32_t msr, uint64_t *val)
{
	uint64_t ratio;

	if (is_lapic(msr))
		return (vcpu->vlapic == NULL
			? ENOENT
			: vlapic_msr_read(vcpu->vlapic, msr, val));
	if (is_mtrr(msr))
		return (mtrr_read(&vcpu->mtrr, msr, val));
	switch (msr) {
	case MSR_APICBASE:
		if (vcpu->vlapic == NULL)
			return (ENOENT);
		*val = vlapic_get_apicbase(vcpu->vlapic);
		return (0);
	case MSR_PAT:
		*val = vcpu->pat;
		return (0);
	case MSR_MISC_ENABLE:
		*val = vcpu->misc_enable;
		return (0);
	case MSR_PLATFORM_INFO:
		*val = platform_info();
		return (0);
	case MSR_TURBO_RATIO_LIMIT:
	case MSR_TURBO_RATIO_LIMIT1:
		ratio = (vmm_tsc_hz() / 100000000) & 0xff;
		*val = ratio * 0x0101010101010101UL;
		return (0);
	case MSR_MCG_CAP:
	case MSR_MCG_STATUS:
		*val = 0;
		return (0);
	case MSR_SPEC_CTRL:
		if (!own_cpuid(vcpu))
			return (ENOENT);
		*val = vcpu->spec_ctrl;
		return (0);
	case MSR_ARCH_CAPABILITIES:
		if (!own_cpuid(vcpu))
			return (ENOENT);
		*val = ARCH_CAP_SOFT;
		return (0);
	default:
		return (ENOENT);
	}
}

static int
wrmsr_state(struct vcpu *vcpu, uint32_t msr, uint64_t val)
{
	switch (msr) {
	case MSR_APICBASE:
		if (vcpu->vlapic == NULL)
			return (ENOENT);
		return (vlapic_set_apicbase(vcpu->vlapic, val));
	case MSR_PAT:
		if (!memory_types_ok(val, true))
			return (EINVAL);
		vcpu->pat = val;
		return (0);
	case MSR_MISC_ENABLE:
		/* As on bhyve, what cannot be switched is x86.strictmsr's. */
		if (((val ^ vcpu->misc_enable) & ~(uint64_t)MISC_WRITABLE) != 0)
			return (ENOENT);
		vcpu->misc_enable = val;
		return (0);
	case MSR_SPEC_CTRL:
		if (!own_cpuid(vcpu))
			return (ENOENT);
		if ((val & ~(uint64_t)SPEC_CTRL_MASK) != 0)
			return (EINVAL);
		vcpu->spec_ctrl = val;
		return (0);
	default:
		return (ENOENT);
	}
}

int
vmm_wrmsr(struct vcpu *vcpu, uint32_t msr, uint64_t val)
{
	int error;

	if (is_lapic(msr)) {
		if (vcpu->vlapic == NULL)
			return (ENOENT);
		error = vlapic_msr_write(vcpu->vlapic, msr, val);
		atomic_fetch_or(&vcpu->pending, VCPU_EV_EVENT);
		return (error);
	}
	if (is_mtrr(msr))
		return (mtrr_write(vcpu, msr, val));
	switch (msr) {
	case MSR_MCG_CAP:
		return (EINVAL); /* read-only */
	case MSR_MCG_STATUS:
		return (0);
	case MSR_PRED_CMD:
		/* A command to predictors that are not there. */
		return (own_cpuid(vcpu) ? (val & ~1UL ? EINVAL : 0) : ENOENT);
	default:
		return (wrmsr_state(vcpu, msr, val));
	}
}

/* A processor may have its own of the core's, which no guest reaches. */
int
vmm_get_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *val)
{
	int error;

	error = vmm_rdmsr(vcpu, msr, val);
	return (error != ENOENT
		? error
		: vcpu->vm->ops->getmsr(vcpu->cookie, msr, val));
}

int
vmm_set_msr(struct vcpu *vcpu, uint32_t msr, uint64_t val)
{
	const struct vmm_ops *ops = vcpu->vm->ops;
	uint64_t old;
	int error;

	if (vmm_rdmsr(vcpu, msr, &old) == ENOENT) {
		error = ops->setmsr(vcpu->cookie, msr, val);
		return (error == 0 ? 0 : vmm_wrmsr(vcpu, msr, val));
	}
	error = vmm_wrmsr(vcpu, msr, val);
	/* The PAT counts where a processor walks page tables, too. */
	if (error == 0 && msr == MSR_PAT)
		(void)ops->setmsr(vcpu->cookie, msr, val);
	return (error == ENOENT ? EINVAL : error);
}
