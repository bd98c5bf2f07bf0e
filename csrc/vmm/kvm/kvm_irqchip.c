/*
 * Interrupts with the local APICs in the kernel and all else ours: messages
 * by KVM_SIGNAL_MSI, and routes that tell KVM of which vectors the I/O APIC
 * must see the EOI.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_local.h"
#include "vlapic.h"

#define RTE_MASKED 0x10000ULL
#define RTE_LEVEL 0x8000ULL
#define RTE_STATUS 0x5000ULL /* remote IRR, delivery status */

#define APIC_PAGE 4096
#define APIC_ID 0x20
#define APIC_TPR 0x80
#define APIC_LDR 0xd0
#define APIC_DFR 0xe0
#define APIC_SVR 0xf0
#define APIC_LINT0 0x350
#define LVT_MASKED 0x10000u
#define LVT_EXTINT 0x700u

#define MSR_APICBASE 0x1b
#define APICBASE_BSP 0x100u
#define APICBASE_X2APIC 0x400u
#define APICBASE_ENABLED 0x800u

int
kvm_lapic_msi(void *vmi, uint64_t addr, uint64_t data)
{
	struct kvm_vm *kv = vmi;
	struct kvm_msi msi;
	int rc;

	memset(&msi, 0, sizeof(msi));
	msi.address_lo = (uint32_t)addr;
	/* Destination bits 31:8, where the guest's chip set has them. */
	msi.address_hi = (uint32_t)(addr >> 32) & 0xffffff00u;
	msi.data = (uint32_t)data;
	pthread_rwlock_rdlock(&kv->lapic_gate);
	rc = ioctl(kv->fd, KVM_SIGNAL_MSI, &msi) < 0 ? errno : 0;
	pthread_rwlock_unlock(&kv->lapic_gate);
	/* Nobody listening is the guest's affair. */
	return (rc == EINVAL ? 0 : rc);
}

/*
 * The table holds the messages of kvm_eventfd.c and the unmasked level pins;
 * edge pins need no EOI.  A pin that is masked keeps its route: its interrupt
 * may be in service.
 */
int
kvm_routes_write(struct kvm_vm *kv)
{
	struct kvm_irq_routing_entry *e;
	struct kvm_irq_routing *table;
	uint64_t addr, data;
	size_t size;
	int rc;

	size = offsetof(struct kvm_irq_routing, entries) +
	    (VIOAPIC_PINS + KVM_MSI_ROUTES) * sizeof(table->entries[0]);
	table = calloc(1, size);
	if (table == NULL)
		return (-1);
	for (int pin = 0; pin < VIOAPIC_PINS; pin++) {
		if (kv->route[pin] == 0)
			continue;
		vioapic_rte_to_msi(kv->route[pin], &addr, &data);
		e = &table->entries[table->nr++];
		e->gsi = (uint32_t)pin;
		e->type = KVM_IRQ_ROUTING_MSI;
		e->u.msi.address_lo = (uint32_t)addr;
		e->u.msi.data = (uint32_t)data;
	}
	for (int i = 0; i < KVM_MSI_ROUTES; i++) {
		if (!kv->msi[i].used)
			continue;
		e = &table->entries[table->nr++];
		e->gsi = (uint32_t)(VIOAPIC_PINS + i);
		e->type = KVM_IRQ_ROUTING_MSI;
		e->u.msi.address_lo = (uint32_t)kv->msi[i].addr;
		e->u.msi.address_hi =
		    (uint32_t)(kv->msi[i].addr >> 32) & 0xffffff00u;
		e->u.msi.data = kv->msi[i].data;
	}
	rc = KVM_IOCTL(kv->fd, KVM_SET_GSI_ROUTING, table);
	free(table);
	return (rc);
}

void
kvm_ioapic_changed(void *vmi)
{
	struct kvm_vm *kv = vmi;
	bool changed = false;
	uint64_t rte;

	pthread_mutex_lock(&kv->mtx);
	for (int pin = 0; pin < VIOAPIC_PINS; pin++) {
		rte = vioapic_get_rte(kv->vm, pin) & ~RTE_STATUS;
		if ((rte & RTE_MASKED) != 0)
			continue;
		if ((rte & RTE_LEVEL) == 0 || (rte & 0xff) < 16)
			rte = 0;
		if (kv->route[pin] != rte) {
			kv->route[pin] = rte;
			changed = true;
		}
	}
	if (changed)
		(void)kvm_routes_write(kv);
	pthread_mutex_unlock(&kv->mtx);
}

/* The I/O APIC may be in use already: it came over from another processor. */
int
kvm_irqchip_init(struct kvm_vm *kv)
{
	if (kvm_routes_write(kv) < 0)
		return (-1);
	if (vm_ioapic(kv->vm) != NULL)
		kvm_ioapic_changed(kv);
	return (0);
}

int
kvm_lapic_get(void *vcpui, void *regs4096)
{
	struct kvm_vcpu *kc = vcpui;
	struct kvm_lapic_state state;

	if (KVM_IOCTL(kc->fd, KVM_GET_LAPIC, &state) < 0)
		return (errno);
	memset(regs4096, 0, APIC_PAGE);
	memcpy(regs4096, state.regs, sizeof(state.regs));
	return (0);
}

int
kvm_lapic_set(void *vcpui, const void *regs4096)
{
	struct kvm_vcpu *kc = vcpui;
	struct kvm_lapic_state state;

	/* CPUID says whether there may be an x2APIC. */
	if (!kc->cpuid_set && kvm_cpuid_set(kc) != 0)
		return (errno);
	memcpy(state.regs, regs4096, sizeof(state.regs));
	if (KVM_IOCTL(kc->fd, KVM_SET_LAPIC, &state) < 0)
		return (errno);
	/* The task priority is CR8 among the system registers. */
	if (kc->sregs_dirty)
		kc->sregs.cr8 = (uint8_t)state.regs[APIC_TPR] >> 4;
	else
		kc->sregs_valid = false;
	return (0);
}

static void
lapic_put(uint8_t *page, unsigned int offset, uint32_t val)
{
	memcpy(page + offset, &val, sizeof(val));
}

/* As vlapic_reset(): the virtual wire on the boot processor. */
int
kvm_lapic_reset(struct kvm_vcpu *kc, bool init)
{
	static const uint16_t lvts[] = { 0x2f0, 0x320, 0x330, 0x340, 0x350,
		0x360, 0x370 };
	uint8_t page[APIC_PAGE];
	uint64_t base;
	uint32_t id = (uint32_t)kc->id;
	int error;

	if (!init) {
		base = DEFAULT_APIC_BASE | APICBASE_ENABLED |
		    (kc->id == 0 ? APICBASE_BSP : 0);
		error = kvm_setmsr(kc, MSR_APICBASE, base);
	} else
		error = kvm_getmsr(kc, MSR_APICBASE, &base);
	if (error == 0)
		error = kvm_lapic_get(kc, page);
	if (error != 0)
		return (error);
	/* The version stays what KVM's is. */
	for (unsigned int off = 0x80; off < 0x400; off += 0x10)
		lapic_put(page, off, 0);
	if (base & APICBASE_X2APIC) {
		lapic_put(page, APIC_ID, id);
		lapic_put(page, APIC_LDR, (id >> 4) << 16 | 1u << (id & 0xf));
	} else {
		lapic_put(page, APIC_ID, id << 24);
		lapic_put(page, APIC_DFR, 0xffffffffu);
	}
	lapic_put(page, APIC_SVR, 0xff);
	for (size_t i = 0; i < sizeof(lvts) / sizeof(lvts[0]); i++)
		lapic_put(page, lvts[i], LVT_MASKED);
	if (!init && kc->id == 0)
		lapic_put(page, APIC_LINT0, LVT_EXTINT);
	return (kvm_lapic_set(kc, page));
}
