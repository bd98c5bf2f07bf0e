/*
 * The core that the tests of csrc/vmm/io run against: time stands still
 * until a test moves it, and what a chip asks of a vCPU is recorded.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vchips.h"
#include "vlapic.h"
#include "vmm.h"
#include "vmm_data.h"
#include "vmm_stat.h"

#define NCPU 4
#define MS 1000000LL
#define SEC 1000000000LL

struct vcpu {
	int id;
	struct vlapic *vlapic;
	_Atomic uint32_t pending;
	_Atomic uint64_t stats[MAX_VMM_STAT_ELEMS];
	int nmi, extint, init, sipi, notified;
};

struct vm {
	struct vcpu vcpu[NCPU];
	struct vioapic *vioapic;
	struct vatpic *vatpic;
	struct vatpit *vatpit;
	struct vhpet *vhpet;
	struct vrtc *vrtc;
	struct vpmtmr *vpmtmr;
};

static struct vm vm0;
static int64_t now_ns;
static int failures, checks;
static struct vmm_ops fake_ops;
static struct vmm_callout *armed[64];
static uint64_t msi_addr, msi_data;
static int msi_count;

#define CHECK(cond)                                                       \
	do {                                                              \
		checks++;                                                 \
		if (!(cond)) {                                            \
			failures++;                                       \
			printf("%s:%d: %s\n", __func__, __LINE__, #cond); \
		}                                                         \
	} while (0)

/* ---- the fake core ---- */
int64_t
vmm_now(struct vm *vm)
{
	return (now_ns);
}

void
vmm_callout_init(
    struct vmm_callout *c, struct vm *vm, vmm_callout_fn fn, void *arg)
{
	memset(c, 0, sizeof(*c));
	c->vm = vm;
	c->fn = fn;
	c->arg = arg;
	c->heap_index = -1;
}

void
vmm_callout_reset(struct vmm_callout *c, int64_t when)
{
	int i;

	c->when = when;
	if (c->heap_index >= 0)
		return;
	for (i = 0; armed[i] != NULL; i++)
		;
	armed[i] = c;
	c->heap_index = i;
}

void
vmm_callout_stop(struct vmm_callout *c)
{
	if (c->heap_index >= 0)
		armed[c->heap_index] = NULL;
	c->heap_index = -1;
}

void
vmm_callout_drain(struct vmm_callout *c)
{
	vmm_callout_stop(c);
}

/* Let time pass, firing what is due in order; the count of firings. */
static __attribute__((__unused__)) int
advance(int64_t ns)
{
	struct vmm_callout *best;
	int64_t end;
	int i, n;

	end = now_ns + ns;
	for (n = 0; n < 10000000; n++) {
		best = NULL;
		for (i = 0; i < 64; i++)
			if (armed[i] != NULL && armed[i]->when <= end &&
			    (best == NULL || armed[i]->when < best->when))
				best = armed[i];
		if (best == NULL)
			break;
		if (best->when > now_ns)
			now_ns = best->when;
		vmm_callout_stop(best);
		best->fn(best->arg);
	}
	now_ns = end;
	return (n);
}

const struct vmm_ops *
vmm_vm_ops(struct vm *vm)
{
	return (&fake_ops);
}

void *
vmm_vm_cookie(struct vm *vm)
{
	return (vm);
}

struct vcpu *
vmm_vcpu(struct vm *vm, int vcpuid)
{
	return (vcpuid < NCPU ? &vm->vcpu[vcpuid] : NULL);
}

vm_cpuset_t
vmm_active_cpus(struct vm *vm)
{
	return ((1 << NCPU) - 1);
}

int
vcpu_vcpuid(struct vcpu *vcpu)
{
	return (vcpu->id);
}

struct vm *
vcpu_vm(struct vcpu *vcpu)
{
	return (&vm0);
}

void *
vcpu_cookie(struct vcpu *vcpu)
{
	return (vcpu);
}

struct vlapic *
vm_lapic(struct vcpu *vcpu)
{
	return (vcpu->vlapic);
}

struct vioapic *
vm_ioapic(struct vm *vm)
{
	return (vm->vioapic);
}

struct vhpet *
vm_hpet(struct vm *vm)
{
	return (vm->vhpet);
}

struct vatpic *
vm_atpic(struct vm *vm)
{
	return (vm->vatpic);
}

struct vatpit *
vm_atpit(struct vm *vm)
{
	return (vm->vatpit);
}

struct vpmtmr *
vm_pmtmr(struct vm *vm)
{
	return (vm->vpmtmr);
}

struct vrtc *
vm_rtc(struct vm *vm)
{
	return (vm->vrtc);
}

_Atomic uint32_t *
vcpu_pending(struct vcpu *vcpu)
{
	return (&vcpu->pending);
}

void
vcpu_notify_event(struct vcpu *vcpu, bool lapic_intr)
{
	vcpu->notified++;
}

_Atomic uint64_t *
vcpu_stats(struct vcpu *vcpu)
{
	return (vcpu->stats);
}

void
vcpu_post_init(struct vcpu *vcpu)
{
	vcpu->init++;
}

void
vcpu_post_sipi(struct vcpu *vcpu, uint8_t vector)
{
	vcpu->sipi = vector;
}

int
vmm_inject_nmi(struct vcpu *vcpu)
{
	vcpu->nmi++;
	return (0);
}

int
vmm_inject_extint(struct vcpu *vcpu)
{
	vcpu->extint++;
	return (0);
}

int
vmm_get_x2apic_state(struct vcpu *vcpu, enum x2apic_state *state)
{
	*state = X2APIC_ENABLED;
	return (0);
}

int
lapic_intr_msi(struct vm *vm, uint64_t addr, uint64_t msg)
{
	msi_addr = addr;
	msi_data = msg;
	msi_count++;
	return (0);
}

uint64_t
vmm_tsc_hz(void)
{
	return (2000000000);
}

static __attribute__((__unused__)) int
fake_getmsr(void *vcpui, uint32_t msr, uint64_t *val)
{
	*val = (uint64_t)now_ns * 2;
	return (0);
}

/* ---- helpers ---- */
static __attribute__((__unused__)) void
setup(void)
{
	static int next_index;
	const struct vmm_stat_type *const *t;
	SET_DECLARE(vmm_stat_set, const struct vmm_stat_type);
	int i;

	if (next_index == 0)
		SET_FOREACH(t, vmm_stat_set)
		{
			*(*t)->index = next_index;
			next_index += (*t)->nelems;
		}
	memset(&vm0, 0, sizeof(vm0));
	memset(armed, 0, sizeof(armed));
	memset(&fake_ops, 0, sizeof(fake_ops));
	fake_ops.getmsr = fake_getmsr;
	now_ns = 5 * SEC;
	for (i = 0; i < NCPU; i++)
		vm0.vcpu[i].id = i;
	for (i = 0; i < NCPU; i++)
		vm0.vcpu[i].vlapic = vlapic_init(&vm0.vcpu[i]);
	vm0.vioapic = vioapic_init(&vm0);
	vm0.vatpic = vatpic_init(&vm0);
	vm0.vatpit = vatpit_init(&vm0);
	vm0.vhpet = vhpet_init(&vm0);
	vm0.vrtc = vrtc_init(&vm0);
	vm0.vpmtmr = vpmtmr_init(&vm0);
}

static __attribute__((__unused__)) void
teardown(void)
{
	int i;

	vpmtmr_cleanup(vm0.vpmtmr);
	vrtc_cleanup(vm0.vrtc);
	vhpet_cleanup(vm0.vhpet);
	vatpit_cleanup(vm0.vatpit);
	vatpic_cleanup(vm0.vatpic);
	vioapic_cleanup(vm0.vioapic);
	for (i = 0; i < NCPU; i++)
		vlapic_cleanup(vm0.vcpu[i].vlapic);
}

static __attribute__((__unused__)) void
lapic_w(int cpu, unsigned int off, uint32_t val)
{
	vlapic_mmio_write(vm0.vcpu[cpu].vlapic, off, val, 4);
}

static __attribute__((__unused__)) uint32_t
lapic_r(int cpu, unsigned int off)
{
	uint64_t val;

	vlapic_mmio_read(vm0.vcpu[cpu].vlapic, off, &val, 4);
	return ((uint32_t)val);
}

static __attribute__((__unused__)) void
lapic_on(void)
{
	int i;

	for (i = 0; i < NCPU; i++)
		lapic_w(i, 0xf0, 0x1ff);
}

/* The vector to take, accepted; -1: none. */
static __attribute__((__unused__)) int
take(int cpu)
{
	int vec;

	if (!vlapic_pending_intr(vm0.vcpu[cpu].vlapic, &vec))
		return (-1);
	vlapic_intr_accepted(vm0.vcpu[cpu].vlapic, vec);
	return (vec);
}

static __attribute__((__unused__)) void
ioapic_w(uint32_t reg, uint32_t val)
{
	vioapic_mmio_write(&vm0.vcpu[0], VIOAPIC_BASE, reg, 4);
	vioapic_mmio_write(&vm0.vcpu[0], VIOAPIC_BASE + 0x10, val, 4);
}

static __attribute__((__unused__)) uint32_t
ioapic_r(uint32_t reg)
{
	uint64_t val;

	vioapic_mmio_write(&vm0.vcpu[0], VIOAPIC_BASE, reg, 4);
	vioapic_mmio_read(&vm0.vcpu[0], VIOAPIC_BASE + 0x10, &val, 4);
	return ((uint32_t)val);
}

static __attribute__((__unused__)) void
rte(int pin, uint64_t val)
{
	ioapic_w(0x11 + 2 * (uint32_t)pin, (uint32_t)(val >> 32));
	ioapic_w(0x10 + 2 * (uint32_t)pin, (uint32_t)val);
}

static __attribute__((__unused__)) uint32_t
inb(inout_func_t fn, int port)
{
	uint32_t val;

	val = 0xff;
	fn(&vm0, true, port, 1, &val);
	return (val);
}

static __attribute__((__unused__)) void
outb(inout_func_t fn, int port, uint32_t val)
{
	fn(&vm0, false, port, 1, &val);
}

static __attribute__((__unused__)) void
pic_setup(void)
{
	outb(vatpic_master_handler, 0x20, 0x11);
	outb(vatpic_master_handler, 0x21, 0x20);
	outb(vatpic_master_handler, 0x21, 0x04);
	outb(vatpic_master_handler, 0x21, 0x01);
	outb(vatpic_slave_handler, 0xa0, 0x11);
	outb(vatpic_slave_handler, 0xa1, 0x28);
	outb(vatpic_slave_handler, 0xa1, 0x02);
	outb(vatpic_slave_handler, 0xa1, 0x01);
}

static __attribute__((__unused__)) int
pic_take(void)
{
	int vec;

	if (!vatpic_pending_intr(&vm0, &vec))
		return (-1);
	vatpic_intr_accepted(&vm0, vec);
	return (vec);
}
