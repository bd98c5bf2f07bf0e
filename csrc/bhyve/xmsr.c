/*
 * MSRs that the vmm does not know itself: those that firmware and kernels of
 * each vendor touch and that mean nothing in a VM (Intel SDM volume 4, AMD
 * BKDG).  A guest has those of the vendor that CPUID names.
 */
#include <stddef.h>

#include "vmexit.h"
#include "vmmapi.h"

enum msr_flag { MSR_RD = 1, MSR_WR = 2, MSR_RW = 3 };

struct msr_rule {
	uint32_t first, last;
	enum msr_flag flags;
	uint64_t val; /* what a read gives; writes are ignored */
};

#define HWCR_RESERVED_ONES 0x01000010UL
#define HWCR_MONMWAITDIS (1UL << 9)

static const struct msr_rule intel[] = {
	{ 0x017, 0x017, MSR_RD, 0 },	      /* PLATFORM_ID */
	{ 0x034, 0x034, MSR_RD, 0 },	      /* SMI_COUNT: none ever comes */
	{ 0x03a, 0x03a, MSR_RD, 1 },	      /* FEATURE_CONTROL: locked */
	{ 0x079, 0x079, MSR_WR, 0 },	      /* BIOS_UPDT_TRIG */
	{ 0x08b, 0x08b, MSR_RW, 0 },	      /* BIOS_SIGN_ID */
	{ 0x140, 0x140, MSR_RW, 0 },	      /* MISC_FEATURES_ENABLES */
	{ 0x606, 0x606, MSR_RD, 0x000a1003 }, /* RAPL_POWER_UNIT */
	{ 0x611, 0x611, MSR_RD, 0 },	      /* PKG_ENERGY_STATUS */
	{ 0x619, 0x619, MSR_RD, 0 },	      /* DRAM_ENERGY_STATUS */
	{ 0x639, 0x639, MSR_RD, 0 },	      /* PP0_ENERGY_STATUS */
	{ 0x641, 0x641, MSR_RD, 0 },	      /* PP1_ENERGY_STATUS */
	{ 0xc24, 0xc24, MSR_WR, 0 },	      /* uncore counters */
	{ 0xd04, 0xd04, MSR_WR, 0 },
	{ 0, 0, 0, 0 },
};

static const struct msr_rule amd[] = {
	{ 0x0000008b, 0x0000008b, MSR_RW, 0 }, /* PATCH_LEVEL */
	{ 0xc0010000, 0xc0010007, MSR_RW, 0 }, /* PERFEVSEL, PERFCTR 0-3 */
	{ 0xc0010010, 0xc0010010, MSR_RW, 0 }, /* SYSCFG */
	{ 0xc0010015, 0xc0010015, MSR_RW,
	    HWCR_RESERVED_ONES | HWCR_MONMWAITDIS },
	{ 0xc001001f, 0xc001001f, MSR_RW, 0 }, /* NB_CFG1 */
	{ 0xc0010020, 0xc0010020, MSR_WR, 0 }, /* PATCH_LOADER */
	{ 0xc0010055, 0xc0010055, MSR_RW, 0 }, /* INT_PENDING */
	{ 0xc0010061, 0xc0010064, MSR_RW, 0 }, /* P-state: limit to P0 */
	{ 0xc0010112, 0xc0010113, MSR_RW, 0 }, /* SMM_ADDR, SMM_MASK */
	{ 0xc0010200, 0xc001020b, MSR_RW, 0 }, /* PERFEVSEL, PERFCTR F15H */
	{ 0xc0011005, 0xc0011005, MSR_RW, 0 }, /* CPUID_EXT_FEATURES */
	{ 0xc0011020, 0xc0011022, MSR_RW, 0 }, /* LS, IC, DC_CFG */
	{ 0xc0011029, 0xc0011029, MSR_RW, 1 }, /* DE_CFG */
	{ 0, 0, 0, 0 },
};

static const struct msr_rule *
find(struct vmctx *ctx, uint32_t num, enum msr_flag flag)
{
	const struct msr_rule *rule;

	for (rule = vm_amd_guests(ctx) ? amd : intel; rule->flags != 0; rule++)
		if (num >= rule->first && num <= rule->last &&
		    (rule->flags & flag) != 0)
			return (rule);
	return (NULL);
}

int
emulate_rdmsr(struct vmctx *ctx, uint32_t num, uint64_t *val)
{
	const struct msr_rule *rule;

	rule = find(ctx, num, MSR_RD);
	if (rule == NULL)
		return (-1);
	*val = rule->val;
	return (0);
}

int
emulate_wrmsr(struct vmctx *ctx, uint32_t num)
{
	return (find(ctx, num, MSR_WR) != NULL ? 0 : -1);
}
