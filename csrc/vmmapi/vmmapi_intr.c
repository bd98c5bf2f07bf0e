/*
 * Interrupts and events by libvmmapi, and the clock chip.
 */
#include <errno.h>

#include "vmmapi_local.h"

int
vm_inject_exception(struct vcpu *vcpu, int vector, int errcode_valid,
    uint32_t errcode, int restart_instruction)
{
	struct vm_exception a = { vcpu->vcpuid, vector, errcode, errcode_valid,
		restart_instruction, 0 };

	return (VMIOC(vcpu->ctx, VM_INJECT_EXCEPTION, &a));
}

int
vm_inject_nmi(struct vcpu *vcpu)
{
	struct vm_vcpuid a = { vcpu->vcpuid, 0 };

	return (VMIOC(vcpu->ctx, VM_INJECT_NMI, &a));
}

int
vm_lapic_irq(struct vcpu *vcpu, int vector)
{
	struct vm_lapic_irq a = { vcpu->vcpuid, vector };

	return (VMIOC(vcpu->ctx, VM_LAPIC_IRQ, &a));
}

int
vm_lapic_local_irq(struct vcpu *vcpu, int lvt)
{
	struct vm_lapic_irq a = { vcpu->vcpuid, lvt };

	return (VMIOC(vcpu->ctx, VM_LAPIC_LOCAL_IRQ, &a));
}

int
vm_lapic_local_irq_all(struct vmctx *ctx, int lvt)
{
	struct vm_lapic_irq a = { -1, lvt };

	return (VMIOC(ctx, VM_LAPIC_LOCAL_IRQ, &a));
}

int
vm_lapic_msi(struct vmctx *ctx, uint64_t addr, uint64_t msg)
{
	struct vm_lapic_msi a = { addr, msg };

	return (VMIOC(ctx, VM_LAPIC_MSI, &a));
}

int
vm_ioevent(struct vmctx *ctx, const struct vm_ioevent *ioe)
{
	struct vm_ioevent a = *ioe;

	return (VMIOC(ctx, VM_IOEVENT, &a));
}

int
vm_irqfd(struct vmctx *ctx, struct vm_irqfd *ifd)
{
	return (VMIOC(ctx, VM_IRQFD, ifd));
}

/* Who sends it matters to interrupt remapping, which nobody has here. */
int
vm_raise_msi(
    struct vmctx *ctx, uint64_t addr, uint64_t msg, int bus, int slot, int func)
{
	(void)bus;
	(void)slot;
	(void)func;
	return (vm_lapic_msi(ctx, addr, msg));
}

static int
ioapic_command(struct vmctx *ctx, uint32_t cmd, int irq)
{
	struct vm_ioapic_irq a = { irq, 0 };

	return (VMIOC(ctx, cmd, &a));
}

int
vm_ioapic_assert_irq(struct vmctx *ctx, int irq)
{
	return (ioapic_command(ctx, VM_IOAPIC_ASSERT_IRQ, irq));
}

int
vm_ioapic_deassert_irq(struct vmctx *ctx, int irq)
{
	return (ioapic_command(ctx, VM_IOAPIC_DEASSERT_IRQ, irq));
}

int
vm_ioapic_pulse_irq(struct vmctx *ctx, int irq)
{
	return (ioapic_command(ctx, VM_IOAPIC_PULSE_IRQ, irq));
}

int
vm_ioapic_pincount(struct vmctx *ctx, int *pincount)
{
	struct vm_word a = { 0 };

	if (VMIOC(ctx, VM_IOAPIC_PINCOUNT, &a) != 0)
		return (-1);
	*pincount = (int)a.value;
	return (0);
}

static int
isa_command(struct vmctx *ctx, uint32_t cmd, int atpic_irq, int ioapic_irq)
{
	struct vm_isa_irq a = { atpic_irq, ioapic_irq };

	return (VMIOC(ctx, cmd, &a));
}

int
vm_isa_assert_irq(struct vmctx *ctx, int atpic_irq, int ioapic_irq)
{
	return (isa_command(ctx, VM_ISA_ASSERT_IRQ, atpic_irq, ioapic_irq));
}

int
vm_isa_deassert_irq(struct vmctx *ctx, int atpic_irq, int ioapic_irq)
{
	return (isa_command(ctx, VM_ISA_DEASSERT_IRQ, atpic_irq, ioapic_irq));
}

int
vm_isa_pulse_irq(struct vmctx *ctx, int atpic_irq, int ioapic_irq)
{
	return (isa_command(ctx, VM_ISA_PULSE_IRQ, atpic_irq, ioapic_irq));
}

int
vm_isa_set_irq_trigger(
    struct vmctx *ctx, int atpic_irq, enum vm_intr_trigger trigger)
{
	struct vm_isa_irq_trigger a = { atpic_irq, (int32_t)trigger };

	return (VMIOC(ctx, VM_ISA_SET_IRQ_TRIGGER, &a));
}

int
vm_get_intinfo(struct vcpu *vcpu, uint64_t *i1, uint64_t *i2)
{
	struct vm_intinfo a = { .vcpuid = vcpu->vcpuid };

	if (VMIOC(vcpu->ctx, VM_GET_INTINFO, &a) != 0)
		return (-1);
	*i1 = a.info1;
	*i2 = a.info2;
	return (0);
}

int
vm_set_intinfo(struct vcpu *vcpu, uint64_t info)
{
	struct vm_intinfo a = { .vcpuid = vcpu->vcpuid, .info1 = info };

	return (VMIOC(vcpu->ctx, VM_SET_INTINFO, &a));
}

int
vm_readwrite_kernemu_device(
    struct vcpu *vcpu, vm_paddr_t gpa, bool write, int size, uint64_t *value)
{
	struct vm_readwrite_kernemu_device a = { vcpu->vcpuid, size, gpa,
		*value };

	if (VMIOC(vcpu->ctx, write ? VM_SET_KERNEMU_DEV : VM_GET_KERNEMU_DEV,
		&a) != 0)
		return (-1);
	*value = a.value;
	return (0);
}

int
vm_get_x2apic_state(struct vcpu *vcpu, enum x2apic_state *state)
{
	struct vm_x2apic a = { vcpu->vcpuid, 0 };

	if (VMIOC(vcpu->ctx, VM_GET_X2APIC_STATE, &a) != 0)
		return (-1);
	*state = (enum x2apic_state)a.state;
	return (0);
}

int
vm_set_x2apic_state(struct vcpu *vcpu, enum x2apic_state state)
{
	struct vm_x2apic a = { vcpu->vcpuid, (int32_t)state };

	return (VMIOC(vcpu->ctx, VM_SET_X2APIC_STATE, &a));
}

int
vm_get_hpet_capabilities(struct vmctx *ctx, uint32_t *cap)
{
	struct vm_word a = { 0 };

	if (VMIOC(ctx, VM_GET_HPET_CAPABILITIES, &a) != 0)
		return (-1);
	*cap = (uint32_t)a.value;
	return (0);
}

/* ---- clock chips ---- */

int
vm_rtc_write(struct vmctx *ctx, int offset, uint8_t value)
{
	struct vm_rtc_data a = { .offset = offset, .value = value };

	return (VMIOC(ctx, VM_RTC_WRITE, &a));
}

int
vm_rtc_read(struct vmctx *ctx, int offset, uint8_t *value)
{
	struct vm_rtc_data a = { .offset = offset };

	if (VMIOC(ctx, VM_RTC_READ, &a) != 0)
		return (-1);
	*value = a.value;
	return (0);
}

int
vm_rtc_settime(struct vmctx *ctx, int64_t secs)
{
	struct vm_rtc_time a = { secs };

	return (VMIOC(ctx, VM_RTC_SETTIME, &a));
}

int
vm_rtc_gettime(struct vmctx *ctx, int64_t *secs)
{
	struct vm_rtc_time a = { 0 };

	if (VMIOC(ctx, VM_RTC_GETTIME, &a) != 0)
		return (-1);
	*secs = a.secs;
	return (0);
}

int
vm_pmtmr_set_location(struct vmctx *ctx, uint16_t ioport)
{
	struct vm_word a = { ioport };

	return (VMIOC(ctx, VM_PMTMR_LOCATE, &a));
}
