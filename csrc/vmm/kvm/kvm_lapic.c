/*
 * The register page of KVM's local APIC as an instruction would find it, for
 * those who are no guest: vm_readwrite_kernemu_device(3), and instructions
 * that run on the software processor.  KVM gives and takes the whole page, so
 * on a write nothing may arrive between the two: messages wait at the gate,
 * and vm_readwrite_kernemu_device() holds all vCPUs, whose IPIs KVM delivers.
 * XXX An instruction that runs on the software processor cannot hold the
 * others; guests write by instructions that KVM knows.
 */
#include <errno.h>
#include <string.h>

#include "kvm_local.h"
#include "vlapic.h"

#define APIC_PAGE 4096u
#define APIC_TPR 0x80u
#define APIC_EOI 0xb0u
#define APIC_LDR 0xd0u
#define APIC_DFR 0xe0u
#define APIC_SVR 0xf0u
#define APIC_ISR 0x100u
#define APIC_TMR 0x180u
#define APIC_ESR 0x280u
#define APIC_ICR_LOW 0x300u
#define APIC_ICR_HI 0x310u
#define APIC_LVT_FIRST 0x320u
#define APIC_LVT_LAST 0x370u
#define APIC_TIMER_ICR 0x380u
#define APIC_TIMER_CCR 0x390u
#define APIC_TIMER_DCR 0x3e0u

#define MSR_APICBASE 0x1bu
#define APICBASE_ENABLED 0x800u
#define APICBASE_X2APIC 0x400u

#define SVR_ENABLE 0x100u
#define LVT_MASKED 0x10000u
#define LVT_VECTOR 0xffu
#define LVT_MODE 0x700u
#define LVT_MODE_FIXED 0x000u
#define LVT_MODE_NMI 0x400u
#define LVT_MODE_INIT 0x500u
#define LVT_MODE_EXTINT 0x700u
#define LVT_WRITABLE 0x7a7ffu /* all but the status bits */

#define ICR_LOGICAL 0x800u
#define ICR_ASSERT 0x4000u
#define ICR_MODE 0x700u
#define ICR_MODE_INIT 0x500u
#define ICR_SHORTHAND(icr) ((icr) >> 18 & 3)
#define MSI_ADDR 0xfee00000UL
#define MSI_ADDR_LOGICAL 4u

static uint32_t
page_get(const uint8_t *page, unsigned int off)
{
	uint32_t val;

	memcpy(&val, page + off, sizeof(val));
	return (val);
}

static void
page_put(uint8_t *page, unsigned int off, uint32_t val)
{
	memcpy(page + off, &val, sizeof(val));
}

/* A message from this local APIC, as its ICR says. */
static int
icr_send(struct kvm_vcpu *kc, uint32_t icr, uint32_t dest)
{
	uint64_t data = icr & (ICR_MODE | 0xffu);
	uint64_t addr = MSI_ADDR, set = vmm_active_cpus(kc->kv->vm);
	int error = 0;

	/* The end of an INIT, which only old processors knew. */
	if ((icr & ICR_MODE) == ICR_MODE_INIT && (icr & ICR_ASSERT) == 0)
		return (0);
	switch (ICR_SHORTHAND(icr)) {
	case 0:
		addr |= (uint64_t)dest << 12;
		if ((icr & ICR_LOGICAL) != 0)
			addr |= MSI_ADDR_LOGICAL;
		return (kvm_lapic_msi(kc->kv, addr, data));
	case 1:
		set = 1UL << kc->id;
		break;
	case 2:
		set |= 1UL << kc->id;
		break;
	default:
		set &= ~(1UL << kc->id);
		break;
	}
	for (int i = 0; error == 0 && i < VM_MAXCPU; i++)
		if ((set & (1UL << i)) != 0)
			error = kvm_lapic_msi(
			    kc->kv, addr | (uint64_t)i << 12, data);
	return (error);
}

/* The highest interrupt in service ends; the vector of a level, or -1. */
static int
eoi(uint8_t *page)
{
	uint32_t word;
	int bit;

	for (unsigned int i = 8; i-- > 0;) {
		word = page_get(page, APIC_ISR + i * 0x10);
		if (word == 0)
			continue;
		bit = 31 - __builtin_clz(word);
		page_put(page, APIC_ISR + i * 0x10, word & ~(1u << bit));
		return ((page_get(page, APIC_TMR + i * 0x10) >> bit & 1) != 0
			? (int)i * 32 + bit
			: -1);
	}
	return (-1);
}

static void
write_svr(uint8_t *page, uint32_t val)
{
	page_put(page, APIC_SVR, val & 0x3ff);
	if ((val & SVR_ENABLE) != 0)
		return;
	for (unsigned int off = APIC_LVT_FIRST; off <= APIC_LVT_LAST;
	     off += 0x10)
		page_put(page, off, page_get(page, off) | LVT_MASKED);
}

/* Changes the page; false: nothing is to be set.  *level: see eoi(). */
static bool
page_write(uint8_t *page, unsigned int off, uint32_t val, int *level)
{
	switch (off) {
	case APIC_TPR:
		page_put(page, off, val & 0xff);
		break;
	case APIC_EOI:
		*level = eoi(page);
		break;
	case APIC_LDR:
	case APIC_ICR_HI:
		page_put(page, off, val & 0xff000000u);
		break;
	case APIC_DFR:
		page_put(page, off, val | 0x0fffffffu);
		break;
	case APIC_SVR:
		write_svr(page, val);
		break;
	case APIC_ESR:
		page_put(page, off, 0);
		break;
	case APIC_ICR_LOW:
		page_put(page, off, val & ~0x1000u);
		break;
	case APIC_TIMER_ICR:
		page_put(page, off, val);
		page_put(page, APIC_TIMER_CCR, val);
		break;
	case APIC_TIMER_DCR:
		page_put(page, off, val & 0xb);
		break;
	default:
		if (off < APIC_LVT_FIRST || off > APIC_LVT_LAST)
			return (false);
		val &= LVT_WRITABLE;
		if ((page_get(page, APIC_SVR) & SVR_ENABLE) == 0)
			val |= LVT_MASKED;
		page_put(page, off, val);
		break;
	}
	return (true);
}

/* Get, change and set the page; then the message that it was about. */
static int
page_rewrite(struct kvm_vcpu *kc, uint8_t *page, unsigned int off, uint32_t val)
{
	int error, held, level = -1;

	pthread_rwlock_wrlock(&kc->kv->lapic_gate);
	error = kvm_irqfds_hold(kc->kv, true);
	if (error == 0)
		error = kvm_lapic_get(kc, page);
	if (error == 0 && page_write(page, off, val, &level))
		error = kvm_lapic_set(kc, page);
	held = kvm_irqfds_hold(kc->kv, false);
	pthread_rwlock_unlock(&kc->kv->lapic_gate);
	if (error == 0)
		error = held;
	/* Both send, by the gate and under locks that come before it. */
	if (error == 0 && level >= 0)
		vioapic_process_eoi(kc->kv->vm, level);
	if (error == 0 && off == APIC_ICR_LOW)
		error = icr_send(kc, val, page_get(page, APIC_ICR_HI) >> 24);
	return (error);
}

/* ENOENT: the page is not there. */
int
kvm_lapic_mmio(void *vcpui, uint64_t off, bool write, uint64_t *val, int bytes)
{
	struct kvm_vcpu *kc = vcpui;
	uint8_t page[APIC_PAGE];
	unsigned int reg = (unsigned int)off & 0xff0, low = off & 0xf;
	uint64_t base;
	uint32_t word;
	int error;

	if (kvm_getmsr(kc, MSR_APICBASE, &base) != 0 ||
	    (base & (APICBASE_ENABLED | APICBASE_X2APIC)) != APICBASE_ENABLED)
		return (ENOENT);
	if (!write)
		*val = 0;
	/* Dwords at 16-byte distance; parts of one are read only. */
	if (off >= APIC_PAGE || low + (unsigned int)bytes > 4 ||
	    (write && bytes != 4))
		return (0);
	if (off >= 0x400)
		return (0);
	if (write)
		return (page_rewrite(kc, page, reg, (uint32_t)*val));
	error = kvm_lapic_get(kc, page);
	if (error != 0)
		return (error);
	word = page_get(page, reg) >> (low * 8);
	*val = bytes == 4 ? word : word & ((1u << (bytes * 8)) - 1);
	return (0);
}

static const uint16_t lvt_offset[] = {
	[APIC_LVT_LINT0] = 0x350,
	[APIC_LVT_LINT1] = 0x360,
	[APIC_LVT_TIMER] = 0x320,
	[APIC_LVT_ERROR] = 0x370,
	[APIC_LVT_PMC] = 0x340,
	[APIC_LVT_THERMAL] = 0x330,
	[APIC_LVT_CMCI] = 0x2f0,
};

/* What an entry stands for.  The 8259 is wired to the boot processor only. */
static int
lvt_fire(struct kvm_vcpu *kc, int lvt, uint32_t entry)
{
	uint64_t addr = MSI_ADDR | (uint64_t)kc->id << 12;
	uint32_t mode = entry & LVT_MODE;

	/* These two have no delivery mode field. */
	if (lvt == APIC_LVT_TIMER || lvt == APIC_LVT_ERROR)
		mode = LVT_MODE_FIXED;
	switch (mode) {
	case LVT_MODE_FIXED:
		/* Vectors below 16 are not for interrupts. */
		if ((entry & LVT_VECTOR) < 16)
			return (0);
		return (kvm_lapic_msi(kc->kv, addr, entry & LVT_VECTOR));
	case LVT_MODE_NMI:
		return (vmm_inject_nmi(kc->vcpu));
	case LVT_MODE_INIT:
		return (kvm_lapic_msi(kc->kv, addr, LVT_MODE_INIT));
	case LVT_MODE_EXTINT:
		if (lvt == APIC_LVT_LINT0 && kc->id == 0)
			return (vmm_inject_extint(kc->vcpu));
		return (0);
	default:
		return (0);
	}
}

int
kvm_lapic_lvt(void *vcpui, int lvt)
{
	struct kvm_vcpu *kc = vcpui;
	uint8_t page[APIC_PAGE];
	uint32_t entry;
	uint64_t base;
	int error;

	if (lvt < 0 || lvt > APIC_LVT_MAX)
		return (EINVAL);
	if ((error = kvm_getmsr(kc, MSR_APICBASE, &base)) != 0 ||
	    (error = kvm_lapic_get(kc, page)) != 0)
		return (error);
	entry = page_get(page, lvt_offset[lvt]);
	/* Switched off, the pins are INTR and NMI, and nothing else is. */
	if ((base & APICBASE_ENABLED) == 0) {
		if (lvt != APIC_LVT_LINT0 && lvt != APIC_LVT_LINT1)
			return (0);
		entry = lvt == APIC_LVT_LINT0 ? LVT_MODE_EXTINT : LVT_MODE_NMI;
	}
	return ((entry & LVT_MASKED) != 0 ? 0 : lvt_fire(kc, lvt, entry));
}
