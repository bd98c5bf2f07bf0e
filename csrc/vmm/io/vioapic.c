/*
 * The I/O APIC: an 82093AA with 32 redirection entries.  Pins count their
 * sources, so that shared level lines work; polarity is not modelled, a pin
 * is asserted or not.  Lock: `mtx`, below the chips that raise lines and
 * above the local APICs.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "vchips.h"
#include "vlapic.h"
#include "vmm.h"
#include "vmm_data.h"

#define IOREGSEL 0x00
#define IOWIN 0x10

#define IOAPIC_ID 0x00
#define IOAPIC_VER 0x01
#define IOAPIC_ARB 0x02
#define IOAPIC_REDTBL 0x10

#define IOAPIC_VERSION 0x11
#define IOAPIC_ID_MASK 0x0f000000u

#define RTE_VECTOR 0xffULL
#define RTE_DELMOD 0x700ULL
#define RTE_LOWPRIO 0x100ULL
#define RTE_EXTINT 0x700ULL
#define RTE_LOGICAL 0x800ULL
#define RTE_DELIVS 0x1000ULL
#define RTE_REM_IRR 0x4000ULL
#define RTE_LEVEL 0x8000ULL
#define RTE_MASKED 0x10000ULL
#define RTE_DEST_SHIFT 56
#define RTE_READONLY (RTE_REM_IRR | RTE_DELIVS)
#define RTE_DEFINED (0xff0000000001ffffULL)

#define MSI_ADDR_LOGICAL 0x4u
#define MSI_ADDR_HINT 0x8u
#define MSI_DATA_LEVEL 0x8000u
#define MSI_DATA_ASSERT 0x4000u

struct ioapic_pin {
	uint64_t reg;
	uint32_t acnt; /* sources that assert the pin */
};

struct vioapic {
	struct vm *vm;
	pthread_mutex_t mtx;
	uint32_t id;
	uint32_t ioregsel;
	struct ioapic_pin pin[VIOAPIC_PINS];
};

void
vioapic_rte_to_msi(uint64_t rte, uint64_t *addr, uint64_t *data)
{
	*addr = DEFAULT_APIC_BASE | (rte >> RTE_DEST_SHIFT) << 12;
	if (rte & RTE_LOGICAL)
		*addr |= MSI_ADDR_LOGICAL;
	/* The hint says the same as the delivery mode does. */
	if ((rte & RTE_DELMOD) == RTE_LOWPRIO)
		*addr |= MSI_ADDR_HINT;
	*data = (rte & (RTE_VECTOR | RTE_DELMOD)) | MSI_DATA_ASSERT;
	if (rte & RTE_LEVEL)
		*data |= MSI_DATA_LEVEL;
}

/* A message to the local APICs, ours or those of the backend. */
static void
vioapic_deliver(struct vioapic *vioapic, uint64_t rte)
{
	struct vm *vm;
	struct vcpu *bsp;
	uint64_t addr, data;

	vm = vioapic->vm;
	if (vmm_vm_ops(vm)->lapic_msi == NULL) {
		vlapic_deliver_intr(vm, (rte & RTE_LEVEL) != 0,
		    (uint32_t)(rte >> RTE_DEST_SHIFT), (rte & RTE_LOGICAL) == 0,
		    (int)(rte & RTE_DELMOD), (int)(rte & RTE_VECTOR));
		return;
	}
	if ((rte & RTE_DELMOD) == RTE_EXTINT) {
		bsp = vmm_vcpu(vm, 0);
		if (bsp != NULL) {
			vmm_inject_extint(bsp);
			vcpu_notify_event(bsp, false);
		}
		return;
	}
	vioapic_rte_to_msi(rte, &addr, &data);
	lapic_intr_msi(vm, addr, data);
}

static void
vioapic_send(struct vioapic *vioapic, int pin)
{
	uint64_t *reg;

	reg = &vioapic->pin[pin].reg;
	if (*reg & RTE_MASKED)
		return;
	if (*reg & RTE_LEVEL) {
		if (*reg & RTE_REM_IRR)
			return;
		*reg |= RTE_REM_IRR;
	}
	vioapic_deliver(vioapic, *reg);
}

static void
vioapic_pin_up(struct vioapic *vioapic, int pin)
{
	if (vioapic->pin[pin].acnt == UINT32_MAX)
		return;
	if (vioapic->pin[pin].acnt++ == 0)
		vioapic_send(vioapic, pin);
}

static void
vioapic_pin_down(struct vioapic *vioapic, int pin)
{
	if (vioapic->pin[pin].acnt != 0)
		vioapic->pin[pin].acnt--;
}

/* The line of a pin goes up, down, or both. */
static int
vioapic_set_irq(struct vm *vm, int irq, bool up, bool down)
{
	struct vioapic *vioapic;

	if (irq < 0 || irq >= VIOAPIC_PINS)
		return (EINVAL);
	vioapic = vm_ioapic(vm);
	pthread_mutex_lock(&vioapic->mtx);
	if (up)
		vioapic_pin_up(vioapic, irq);
	if (down)
		vioapic_pin_down(vioapic, irq);
	pthread_mutex_unlock(&vioapic->mtx);
	return (0);
}

int
vioapic_assert_irq(struct vm *vm, int irq)
{
	return (vioapic_set_irq(vm, irq, true, false));
}

int
vioapic_deassert_irq(struct vm *vm, int irq)
{
	return (vioapic_set_irq(vm, irq, false, true));
}

int
vioapic_pulse_irq(struct vm *vm, int irq)
{
	return (vioapic_set_irq(vm, irq, true, true));
}

/* A backend that has the local APICs does not say what waits in them. */
enum edge_fate
vioapic_edge_fate(struct vm *vm, int irq)
{
	uint64_t rte;

	rte = vioapic_get_rte(vm, irq);
	if (rte & RTE_MASKED)
		return (EDGE_MASKED);
	if (vmm_vm_ops(vm)->lapic_msi == NULL &&
	    vlapic_intr_waits(vm, (uint32_t)(rte >> RTE_DEST_SHIFT),
		(rte & RTE_LOGICAL) == 0, (int)(rte & RTE_DELMOD),
		(int)(rte & RTE_VECTOR)))
		return (EDGE_LOST);
	return (EDGE_TAKEN);
}

int
vioapic_pincount(struct vm *vm)
{
	return (VIOAPIC_PINS);
}

void
vioapic_process_eoi(struct vm *vm, int vector)
{
	struct vioapic *vioapic;
	struct ioapic_pin *p;
	int pin;

	vioapic = vm_ioapic(vm);
	pthread_mutex_lock(&vioapic->mtx);
	for (pin = 0; pin < VIOAPIC_PINS; pin++) {
		p = &vioapic->pin[pin];
		if ((p->reg & RTE_REM_IRR) == 0 ||
		    (p->reg & RTE_VECTOR) != (uint64_t)vector)
			continue;
		p->reg &= ~RTE_REM_IRR;
		if (p->acnt > 0)
			vioapic_send(vioapic, pin);
	}
	pthread_mutex_unlock(&vioapic->mtx);
}

uint64_t
vioapic_get_rte(struct vm *vm, int pin)
{
	struct vioapic *vioapic;
	uint64_t rte;

	if (pin < 0 || pin >= VIOAPIC_PINS)
		return (RTE_MASKED);
	vioapic = vm_ioapic(vm);
	pthread_mutex_lock(&vioapic->mtx);
	rte = vioapic->pin[pin].reg;
	pthread_mutex_unlock(&vioapic->mtx);
	return (rte);
}

static uint32_t
vioapic_reg_read(struct vioapic *vioapic, uint32_t sel)
{
	uint64_t reg;

	switch (sel) {
	case IOAPIC_ID:
	case IOAPIC_ARB:
		return (vioapic->id);
	case IOAPIC_VER:
		return (((VIOAPIC_PINS - 1) << 16) | IOAPIC_VERSION);
	default:
		if (sel < IOAPIC_REDTBL ||
		    sel >= IOAPIC_REDTBL + 2 * VIOAPIC_PINS)
			return (0);
		reg = vioapic->pin[(sel - IOAPIC_REDTBL) / 2].reg;
		return ((uint32_t)(sel & 1 ? reg >> 32 : reg));
	}
}

/* Returns true when a redirection entry has changed. */
static bool
vioapic_reg_write(struct vioapic *vioapic, uint32_t sel, uint32_t val)
{
	struct ioapic_pin *p;
	uint64_t old, new;
	int pin;

	if (sel == IOAPIC_ID) {
		vioapic->id = val & IOAPIC_ID_MASK;
		return (false);
	}
	if (sel < IOAPIC_REDTBL || sel >= IOAPIC_REDTBL + 2 * VIOAPIC_PINS)
		return (false);
	pin = (int)(sel - IOAPIC_REDTBL) / 2;
	p = &vioapic->pin[pin];
	old = p->reg;
	if (sel & 1)
		new = (old & 0xffffffffULL) | ((uint64_t)val << 32);
	else
		new = (old & ~0xffffffffULL) | val;
	new &= RTE_DEFINED & ~RTE_READONLY;
	/*
	 * Remote IRR belongs to level interrupts: a pin made an edge pin
	 * loses it.  Guests use this to end an interrupt on chips without
	 * an EOI register, as this one.
	 */
	if (new &RTE_LEVEL)
		new |= old &RTE_REM_IRR;
	p->reg = new;
	/* A line that is already high counts as soon as it may. */
	if (p->acnt > 0 && (new &RTE_LEVEL) != 0 && (sel & 1) == 0)
		vioapic_send(vioapic, pin);
	return (old != p->reg);
}

int
vioapic_mmio_read(struct vcpu *vcpu, uint64_t gpa, uint64_t *rval, int size)
{
	struct vioapic *vioapic;
	uint64_t offset;

	vioapic = vm_ioapic(vcpu_vm(vcpu));
	offset = gpa & (VIOAPIC_SIZE - 1);
	*rval = 0;
	/* The registers are dwords at 16-byte distance. */
	if (size != 4 || (offset & 0xf) != 0)
		return (0);
	pthread_mutex_lock(&vioapic->mtx);
	if (offset == IOREGSEL)
		*rval = vioapic->ioregsel;
	else if (offset == IOWIN)
		*rval = vioapic_reg_read(vioapic, vioapic->ioregsel);
	pthread_mutex_unlock(&vioapic->mtx);
	return (0);
}

int
vioapic_mmio_write(struct vcpu *vcpu, uint64_t gpa, uint64_t val, int size)
{
	const struct vmm_ops *ops;
	struct vioapic *vioapic;
	struct vm *vm;
	uint64_t offset;
	bool changed;

	vm = vcpu_vm(vcpu);
	vioapic = vm_ioapic(vm);
	offset = gpa & (VIOAPIC_SIZE - 1);
	changed = false;
	if (offset == IOREGSEL) {
		/* Some guests write the select register as a byte. */
		pthread_mutex_lock(&vioapic->mtx);
		vioapic->ioregsel = (uint32_t)(val & 0xff);
		pthread_mutex_unlock(&vioapic->mtx);
		return (0);
	}
	if (offset != IOWIN || size != 4)
		return (0);
	pthread_mutex_lock(&vioapic->mtx);
	changed = vioapic_reg_write(vioapic, vioapic->ioregsel, (uint32_t)val);
	pthread_mutex_unlock(&vioapic->mtx);
	ops = vmm_vm_ops(vm);
	if (changed && ops->ioapic_changed != NULL)
		ops->ioapic_changed(vmm_vm_cookie(vm));
	return (0);
}

/* The devices that pulled the pins are gone, too: the VM begins anew. */
void
vioapic_reset(struct vioapic *vioapic)
{
	const struct vmm_ops *ops;
	int pin;

	pthread_mutex_lock(&vioapic->mtx);
	vioapic->id = 0;
	vioapic->ioregsel = 0;
	for (pin = 0; pin < VIOAPIC_PINS; pin++) {
		vioapic->pin[pin].reg = RTE_MASKED;
		vioapic->pin[pin].acnt = 0;
	}
	pthread_mutex_unlock(&vioapic->mtx);
	ops = vmm_vm_ops(vioapic->vm);
	if (ops->ioapic_changed != NULL)
		ops->ioapic_changed(vmm_vm_cookie(vioapic->vm));
}

struct vioapic *
vioapic_init(struct vm *vm)
{
	struct vioapic *vioapic;
	int pin;

	vioapic = calloc(1, sizeof(*vioapic));
	if (vioapic == NULL)
		return (NULL);
	vioapic->vm = vm;
	pthread_mutex_init(&vioapic->mtx, NULL);
	/* vm_ioapic() does not know this chip yet: no ioapic_changed(). */
	for (pin = 0; pin < VIOAPIC_PINS; pin++)
		vioapic->pin[pin].reg = RTE_MASKED;
	return (vioapic);
}

void
vioapic_cleanup(struct vioapic *vioapic)
{
	if (vioapic == NULL)
		return;
	pthread_mutex_destroy(&vioapic->mtx);
	free(vioapic);
}

int
vioapic_data_read(struct vioapic *vioapic, void *buf, size_t len)
{
	struct vdi_ioapic_v1 out;
	int pin;

	if (len < sizeof(out))
		return (-ENOSPC);
	memset(&out, 0, sizeof(out));
	pthread_mutex_lock(&vioapic->mtx);
	for (pin = 0; pin < VIOAPIC_PINS; pin++) {
		out.pin_reg[pin] = vioapic->pin[pin].reg;
		out.pin_level[pin] = vioapic->pin[pin].acnt;
	}
	out.id = vioapic->id;
	out.reg_sel = vioapic->ioregsel;
	pthread_mutex_unlock(&vioapic->mtx);
	memcpy(buf, &out, sizeof(out));
	return ((int)sizeof(out));
}

int
vioapic_data_write(struct vioapic *vioapic, const void *buf, size_t len)
{
	const struct vmm_ops *ops;
	struct vdi_ioapic_v1 in;
	int pin;

	if (len != sizeof(in))
		return (-EINVAL);
	memcpy(&in, buf, sizeof(in));
	if ((in.id & ~IOAPIC_ID_MASK) != 0 || in.reg_sel > 0xff)
		return (-EINVAL);
	for (pin = 0; pin < VIOAPIC_PINS; pin++)
		if ((in.pin_reg[pin] & ~RTE_DEFINED) != 0 ||
		    (in.pin_reg[pin] & (RTE_LEVEL | RTE_REM_IRR)) ==
			RTE_REM_IRR)
			return (-EINVAL);
	pthread_mutex_lock(&vioapic->mtx);
	for (pin = 0; pin < VIOAPIC_PINS; pin++) {
		vioapic->pin[pin].reg = in.pin_reg[pin];
		vioapic->pin[pin].acnt = in.pin_level[pin];
	}
	vioapic->id = in.id;
	vioapic->ioregsel = in.reg_sel;
	pthread_mutex_unlock(&vioapic->mtx);
	ops = vmm_vm_ops(vioapic->vm);
	if (ops->ioapic_changed != NULL)
		ops->ioapic_changed(vmm_vm_cookie(vioapic->vm));
	return ((int)sizeof(in));
}
