/*
 * Messages between local APICs: the interrupt command register, and the
 * choice of destinations for it, the I/O APIC and MSI (Intel SDM 3A 11.6).
 */
#include <errno.h>

#include "vlapic_local.h"
#include "vmm_stat.h"

#define ICR_DELMODE(v) (((v) >> 8) & 7)
#define ICR_LOGICAL 0x800u
#define ICR_LEVEL_ASSERT 0x4000u
#define ICR_TRIGGER_LEVEL 0x8000u
#define ICR_SHORTHAND(v) (((v) >> 18) & 3)
#define ICR_DEFINED 0xccfffu /* without the delivery status, below */
#define ICR_DELIVS 0x1000u

enum { DEST_FIELD, DEST_SELF, DEST_ALL, DEST_OTHERS };

#define BROADCAST_XAPIC 0xffu
#define BROADCAST_X2APIC 0xffffffffu

VMM_STAT_ARRAY(IPIS_SENT, VM_MAXCPU, "ipis sent to vcpu");
VMM_STAT(VLAPIC_IPI_SEND, "ipis sent from vcpu");
VMM_STAT(VLAPIC_IPI_RECV, "ipis received by vcpu");

static struct vlapic *
vlapic_of(struct vm *vm, int vcpuid)
{
	struct vcpu *vcpu;

	vcpu = vmm_vcpu(vm, vcpuid);
	return (vcpu == NULL ? NULL : vm_lapic(vcpu));
}

static bool
match_physical(struct vlapic *vlapic, uint32_t dest, bool x2apic_dest)
{
	if (x2apic_dest)
		return (dest == BROADCAST_X2APIC || dest == vlapic->id);
	return (dest == BROADCAST_XAPIC || dest == vlapic->id);
}

static bool
match_logical(struct vlapic *vlapic, uint32_t dest, bool x2apic_dest)
{
	uint32_t ldr;

	ldr = vlapic_reg(vlapic, APIC_LDR);
	/* In x2APIC mode an 8-bit destination addresses cluster 0. */
	if (vlapic_x2apic(vlapic)) {
		if (dest == (x2apic_dest ? BROADCAST_X2APIC : BROADCAST_XAPIC))
			return (true);
		return (ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff) != 0);
	}
	if (dest > BROADCAST_XAPIC)
		return (dest == BROADCAST_X2APIC);
	ldr >>= 24;
	/* The flat model: one bit each. */
	if (vlapic_reg(vlapic, APIC_DFR) >> 28 == 0xf)
		return ((ldr & dest) != 0);
	if (vlapic_reg(vlapic, APIC_DFR) >> 28 != 0)
		return (false);
	/* The cluster model: cluster 15 is all of them. */
	return ((dest >> 4 == 0xf || dest >> 4 == ldr >> 4) &&
	    (ldr & dest & 0xf) != 0);
}

/* Of the set, the processor that does the least urgent work. */
static uint64_t
lowest_priority(struct vm *vm, uint64_t set)
{
	struct vlapic *vlapic, *best;
	uint32_t ppr, bestppr;
	int i;

	best = NULL;
	bestppr = 0;
	for (i = 0; i < VM_MAXCPU; i++) {
		if ((set & (1ULL << i)) == 0)
			continue;
		vlapic = vlapic_of(vm, i);
		if (vlapic == NULL || !vlapic_enabled(vlapic))
			continue;
		ppr = vlapic_reg(vlapic, APIC_TPR) >> 4;
		if (best == NULL || ppr < bestppr) {
			best = vlapic;
			bestppr = ppr;
		}
	}
	return (best == NULL ? 0 : 1ULL << best->id);
}

void
vlapic_calcdest(struct vm *vm, uint64_t *dmask, uint32_t dest, bool phys,
    bool lowprio, bool x2apic_dest)
{
	struct vlapic *vlapic;
	vm_cpuset_t active;
	uint64_t set;
	int i;

	active = vmm_active_cpus(vm);
	set = 0;
	for (i = 0; i < VM_MAXCPU; i++) {
		if ((active & (1ULL << i)) == 0)
			continue;
		vlapic = vlapic_of(vm, i);
		if (vlapic == NULL || !vlapic_hw_enabled(vlapic))
			continue;
		if (phys ? match_physical(vlapic, dest, x2apic_dest)
			 : match_logical(vlapic, dest, x2apic_dest))
			set |= 1ULL << i;
	}
	*dmask = lowprio ? lowest_priority(vm, set) : set;
}

static void
deliver_one(struct vlapic *vlapic, int delmode, int vec, bool level)
{
	switch (delmode) {
	case DELMODE_FIXED:
	case DELMODE_LOWPRIO:
		vlapic_post(vlapic, vec, level);
		break;
	case DELMODE_NMI:
		vmm_inject_nmi(vlapic->vcpu);
		break;
	case DELMODE_INIT:
		vcpu_post_init(vlapic->vcpu);
		break;
	case DELMODE_STARTUP:
		vcpu_post_sipi(vlapic->vcpu, (uint8_t)vec);
		break;
	case DELMODE_EXTINT:
		vmm_inject_extint(vlapic->vcpu);
		vcpu_notify_event(vlapic->vcpu, false);
		break;
	default: /* SMI: the platform has no SMM; 3 is reserved */
		break;
	}
}

static void
deliver_set(struct vm *vm, uint64_t set, int delmode, int vec, bool level)
{
	struct vlapic *vlapic;
	int i;

	for (; set != 0; set &= set - 1) {
		i = __builtin_ctzll(set);
		vlapic = vlapic_of(vm, i);
		if (vlapic != NULL)
			deliver_one(vlapic, delmode, vec, level);
	}
}

void
vlapic_deliver_intr(
    struct vm *vm, bool level, uint32_t dest, bool phys, int delmode, int vec)
{
	uint64_t set;

	delmode = (int)ICR_DELMODE((unsigned int)delmode);
	/* A start-up message cannot come from a device. */
	if (delmode == DELMODE_STARTUP)
		return;
	vlapic_calcdest(
	    vm, &set, dest, phys, delmode == DELMODE_LOWPRIO, false);
	deliver_set(vm, set, delmode, vec, level);
}

bool
vlapic_intr_waits(struct vm *vm, uint32_t dest, bool phys, int delmode, int vec)
{
	struct vlapic *vlapic;
	uint64_t set;

	delmode = (int)ICR_DELMODE((unsigned int)delmode);
	if (delmode != DELMODE_FIXED && delmode != DELMODE_LOWPRIO)
		return (false);
	vlapic_calcdest(
	    vm, &set, dest, phys, delmode == DELMODE_LOWPRIO, false);
	for (; set != 0; set &= set - 1) {
		vlapic = vlapic_of(vm, __builtin_ctzll(set));
		if (vlapic != NULL && vlapic_enabled(vlapic) &&
		    (vlapic_reg(
			 vlapic, APIC_IRR0 + ((uint32_t)vec >> 5) * 0x10) &
			1u << (vec & 31)) != 0)
			return (true);
	}
	return (false);
}

static void
count_ipi(struct vlapic *from, int to)
{
	struct vlapic *other = vlapic_of(from->vm, to);

	vmm_stat_array_incr(from->vcpu, IPIS_SENT, to, 1);
	vmm_stat_incr(from->vcpu, VLAPIC_IPI_SEND, 1);
	if (other != NULL)
		vmm_stat_incr(other->vcpu, VLAPIC_IPI_RECV, 1);
}

int
vlapic_icr_write(struct vlapic *vlapic, uint32_t low, uint32_t dest)
{
	struct vm *vm;
	uint64_t set, self;
	int delmode, vec, i;
	bool x2;

	vm = vlapic->vm;
	x2 = vlapic_x2apic(vlapic);
	if (x2 && (low & ~ICR_DEFINED) != 0)
		return (EINVAL);
	low &= ICR_DEFINED & ~ICR_DELIVS;
	vlapic_set_reg(vlapic, APIC_ICR_LOW, low);
	vlapic_set_reg(vlapic, APIC_ICR_HI, x2 ? dest : dest << 24);

	delmode = (int)ICR_DELMODE(low);
	vec = (int)(low & 0xff);
	if ((delmode == DELMODE_FIXED || delmode == DELMODE_LOWPRIO) &&
	    vec < 16) {
		vlapic_set_error(vlapic, ESR_SEND_ILLEGAL);
		return (0);
	}
	/* The INIT level de-assert message of old does nothing. */
	if (delmode == DELMODE_INIT && (low & ICR_TRIGGER_LEVEL) != 0 &&
	    (low & ICR_LEVEL_ASSERT) == 0)
		return (0);
	self = 1ULL << vlapic->id;
	switch (ICR_SHORTHAND(low)) {
	case DEST_SELF:
		/* Only fixed interrupts are valid for this. */
		if (delmode != DELMODE_FIXED)
			return (0);
		set = self;
		break;
	case DEST_ALL:
		set = vmm_active_cpus(vm);
		break;
	case DEST_OTHERS:
		set = vmm_active_cpus(vm) & ~self;
		break;
	default:
		vlapic_calcdest(vm, &set, dest, (low & ICR_LOGICAL) == 0,
		    delmode == DELMODE_LOWPRIO, x2);
		break;
	}
	if (delmode == DELMODE_LOWPRIO && ICR_SHORTHAND(low) != DEST_FIELD)
		set = lowest_priority(vm, set);
	/* A processor does not reset or start itself this way. */
	if (delmode == DELMODE_STARTUP)
		set &= ~self;
	for (i = 0; i < VM_MAXCPU; i++)
		if (set & (1ULL << i))
			count_ipi(vlapic, i);
	deliver_set(vm, set, delmode, vec, false);
	return (0);
}

void
vlapic_self_ipi(struct vlapic *vlapic, uint32_t vector)
{
	count_ipi(vlapic, vlapic->id);
	if (vector < 16)
		vlapic_set_error(vlapic, ESR_SEND_ILLEGAL);
	else
		vlapic_post(vlapic, (int)vector, false);
}
