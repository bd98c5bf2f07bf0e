/*
 * vcpu_reset(): the power-on state, as bhyve sets it before a vCPU first
 * runs.
 */
#include <errno.h>

#include "vmmapi_local.h"

#define CR0_NE 0x20

static const int reset_regs[] = {
	VM_REG_GUEST_CR0,
	VM_REG_GUEST_CR4,
	VM_REG_GUEST_EFER,
	VM_REG_GUEST_CR3,
	VM_REG_GUEST_CR2,
	VM_REG_GUEST_RFLAGS,
	VM_REG_GUEST_RIP,
	VM_REG_GUEST_RDX,
	VM_REG_GUEST_RAX,
	VM_REG_GUEST_RBX,
	VM_REG_GUEST_RCX,
	VM_REG_GUEST_RSI,
	VM_REG_GUEST_RDI,
	VM_REG_GUEST_RBP,
	VM_REG_GUEST_RSP,
	VM_REG_GUEST_R8,
	VM_REG_GUEST_R9,
	VM_REG_GUEST_R10,
	VM_REG_GUEST_R11,
	VM_REG_GUEST_R12,
	VM_REG_GUEST_R13,
	VM_REG_GUEST_R14,
	VM_REG_GUEST_R15,
	VM_REG_GUEST_CS,
	VM_REG_GUEST_DS,
	VM_REG_GUEST_ES,
	VM_REG_GUEST_FS,
	VM_REG_GUEST_GS,
	VM_REG_GUEST_SS,
	VM_REG_GUEST_TR,
	VM_REG_GUEST_LDTR,
	VM_REG_GUEST_DR0,
	VM_REG_GUEST_DR1,
	VM_REG_GUEST_DR2,
	VM_REG_GUEST_DR3,
	VM_REG_GUEST_DR6,
	VM_REG_GUEST_DR7,
	VM_REG_GUEST_INTR_SHADOW,
};

#define NREGS (sizeof(reset_regs) / sizeof(reset_regs[0]))
_Static_assert(NREGS <= VM_REGSET_MAX, "one call sets them all");

static uint64_t
reset_value(int reg)
{
	switch (reg) {
	case VM_REG_GUEST_CR0:
		return (CR0_NE);
	case VM_REG_GUEST_RFLAGS:
		return (0x2);
	case VM_REG_GUEST_RIP:
		return (0xfff0);
	case VM_REG_GUEST_RDX:
		return (0xf00);
	case VM_REG_GUEST_CS:
		return (0xf000);
	case VM_REG_GUEST_DR6:
		return (0xffff0ff0);
	case VM_REG_GUEST_DR7:
		return (0x400);
	default:
		return (0);
	}
}

static const struct {
	int reg;
	struct seg_desc desc;
} reset_descs[] = {
	{ VM_REG_GUEST_CS, { 0xffff0000, 0xffff, 0x93 } },
	{ VM_REG_GUEST_DS, { 0, 0xffff, 0x93 } },
	{ VM_REG_GUEST_ES, { 0, 0xffff, 0x93 } },
	{ VM_REG_GUEST_FS, { 0, 0xffff, 0x93 } },
	{ VM_REG_GUEST_GS, { 0, 0xffff, 0x93 } },
	{ VM_REG_GUEST_SS, { 0, 0xffff, 0x93 } },
	{ VM_REG_GUEST_GDTR, { 0, 0xffff, 0 } },
	{ VM_REG_GUEST_IDTR, { 0, 0xffff, 0 } },
	{ VM_REG_GUEST_LDTR, { 0, 0xffff, 0x82 } },
	{ VM_REG_GUEST_TR, { 0, 0xffff, 0x8b } },
};

int
vcpu_reset(struct vcpu *vcpu)
{
	struct vm_vcpuid a = { vcpu->vcpuid, 0 };
	uint64_t vals[NREGS];
	const struct seg_desc *d;

	/* What registers do not show: MSRs, FPU, local APIC, events. */
	if (VMIOC(vcpu->ctx, VM_RESET_CPU, &a) != 0)
		return (-1);
	for (size_t i = 0; i < NREGS; i++)
		vals[i] = reset_value(reset_regs[i]);
	if (vm_set_register_set(vcpu, NREGS, reset_regs, vals) != 0)
		return (-1);
	for (size_t i = 0; i < sizeof(reset_descs) / sizeof(reset_descs[0]);
	     i++) {
		d = &reset_descs[i].desc;
		if (vm_set_desc(vcpu, reset_descs[i].reg, d->base, d->limit,
			d->access) != 0)
			return (-1);
	}
	return (0);
}
