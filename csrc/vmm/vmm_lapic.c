/*
 * Interrupts for local APICs from outside of the processor: MSI messages,
 * single vectors, local pins; and the x2APIC's MSRs.
 */
#include <errno.h>

#include "vchips.h"
#include "vlapic.h"
#include "vmm_local.h"

/* Intel SDM 3A 11.11: address and data of a message. */
#define MSI_ADDR_BASE 0xfee00000UL
#define MSI_ADDR_MASK 0xfff00000UL
#define MSI_ADDR_LOG 0x4u
#define MSI_DATA_LEVEL 0x8000u
#define MSI_DATA_DELMODE 0x700u

int
lapic_intr_msi(struct vm *vm, uint64_t addr, uint64_t msg)
{
	uint32_t dest;
	bool phys;

	if ((addr & MSI_ADDR_MASK) != MSI_ADDR_BASE)
		return (EINVAL);
	if (vm->ops->lapic_msi != NULL)
		return (vm->ops->lapic_msi(vm->cookie, addr, msg));
	/* Bit 2 decides alone, as on hardware and with KVM's local APICs. */
	dest = (uint32_t)(addr >> 12) & 0xff;
	phys = (addr & MSI_ADDR_LOG) == 0;
	vlapic_deliver_intr(vm, (msg & MSI_DATA_LEVEL) != 0, dest, phys,
	    (int)(msg & MSI_DATA_DELMODE), (int)(msg & 0xff));
	return (0);
}

int
lapic_set_intr(struct vcpu *vcpu, int vector, bool level)
{
	/* Vectors below 16 are not for interrupts. */
	if (vector < 16 || vector > 255)
		return (EINVAL);
	if (vcpu->vlapic == NULL)
		return (lapic_intr_msi(vcpu->vm,
		    MSI_ADDR_BASE | (uint64_t)vcpu->vcpuid << 12,
		    (uint64_t)vector | (level ? MSI_DATA_LEVEL : 0)));
	if (vlapic_set_intr_ready(vcpu->vlapic, vector, level))
		vcpu_notify_event(vcpu, true);
	return (0);
}

static int
trigger_lvt(struct vcpu *vcpu, int lvt)
{
	int error;

	if (vcpu->vlapic != NULL)
		return (vlapic_trigger_lvt(vcpu->vlapic, lvt));
	/* The processor tells of its own only while it stands. */
	if ((error = vcpu_lock_one(vcpu)) != 0)
		return (error);
	error = vcpu->vm->ops->lapic_lvt(vcpu->cookie, lvt);
	vcpu_unlock_one(vcpu);
	return (error);
}

/* vcpu NULL: all that are active. */
int
lapic_set_local_intr(struct vm *vm, struct vcpu *vcpu, int lvt)
{
	uint64_t active = vmm_active_cpus(vm);
	int error = 0, rc;

	if (vcpu != NULL)
		return (trigger_lvt(vcpu, lvt));
	for (int i = 0; i < VM_MAXCPU; i++) {
		if ((active & (1UL << i)) == 0 ||
		    (vcpu = vmm_vcpu(vm, i)) == NULL)
			continue;
		if ((rc = trigger_lvt(vcpu, lvt)) != 0)
			error = rc;
	}
	return (error);
}

int
vmm_get_x2apic_state(struct vcpu *vcpu, enum x2apic_state *state)
{
	*state = vcpu->x2apic_state;
	return (0);
}

/* A processor whose CPUID is fixed by its first run (KVM) shows a later change
 * when the VM is opened again. */
int
vmm_set_x2apic_state(struct vcpu *vcpu, enum x2apic_state state)
{
	const struct vmm_ops *ops = vcpu->vm->ops;

	if (state != X2APIC_DISABLED && state != X2APIC_ENABLED)
		return (EINVAL);
	vcpu->x2apic_state = state;
	return (
	    ops->cpuid_changed != NULL ? ops->cpuid_changed(vcpu->cookie) : 0);
}
