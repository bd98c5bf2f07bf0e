/*
 * Counters of vCPUs.  Every counter of the linker set gets its slots once,
 * in the order that bhyvectl prints on FreeBSD; a VM shows those of all
 * processors and of its own kind.
 */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "vmm_dev.h"
#include "vmm_local.h"

VMM_STAT(VCPU_MIGRATIONS, "vcpu migration across host cpus");
VMM_STAT(VMEXIT_COUNT, "total number of vm exits");
VMM_STAT(VMEXIT_EXTINT, "vm exits due to external interrupt");
VMM_STAT(VMEXIT_HLT, "number of times hlt was intercepted");
VMM_STAT(VMEXIT_CR_ACCESS, "number of times %cr access was intercepted");
VMM_STAT(VMEXIT_RDMSR, "number of times rdmsr was intercepted");
VMM_STAT(VMEXIT_WRMSR, "number of times wrmsr was intercepted");
VMM_STAT(VMEXIT_MTRAP, "number of monitor trap exits");
VMM_STAT(VMEXIT_PAUSE, "number of times pause was intercepted");
VMM_STAT(VMEXIT_INTR_WINDOW, "vm exits due to interrupt window opening");
VMM_STAT(VMEXIT_NMI_WINDOW, "vm exits due to nmi window opening");
VMM_STAT(VMEXIT_INOUT, "number of times in/out was intercepted");
VMM_STAT(VMEXIT_CPUID, "number of times cpuid was intercepted");
VMM_STAT(VMEXIT_NESTED_FAULT, "vm exits due to nested page fault");
VMM_STAT(VMEXIT_INST_EMUL, "vm exits for instruction emulation");
VMM_STAT(VMEXIT_UNKNOWN, "number of vm exits for unknown reason");
VMM_STAT(VMEXIT_ASTPENDING, "number of times astpending at exit");
VMM_STAT(VMEXIT_REQIDLE, "number of times idle requested at exit");
VMM_STAT(VMEXIT_USERSPACE, "number of vm exits handled in userspace");
VMM_STAT(VMEXIT_RENDEZVOUS, "number of times rendezvous pending at exit");
VMM_STAT(VMEXIT_EXCEPTION, "number of vm exits due to exceptions");
VMM_STAT(VMEXIT_RUN_STATE, "number of vm exits due to run_state change");
VMM_STAT(VCPU_NMI_COUNT, "number of NMIs delivered to vcpu");
VMM_STAT(VCPU_EXTINT_COUNT, "number of ExtINTs delivered to vcpu");

/* Memory belongs to the VM: vCPU 0 shows it. */
static uint64_t
stat_resident(struct vcpu *vcpu)
{
	return (vcpu->vcpuid == 0 ? vmm_mem_resident(vcpu->vm) : 0);
}

static uint64_t
stat_wired(struct vcpu *vcpu)
{
	return (vcpu->vcpuid == 0 ? vmm_mem_wired(vcpu->vm) : 0);
}

static uint64_t
counter(struct vcpu *vcpu, int index)
{
	return (
	    atomic_load_explicit(&vcpu->stats[index], memory_order_relaxed));
}

static uint64_t
stat_runtime(struct vcpu *vcpu)
{
	uint64_t spent[VT_COUNT];

	vcpu_time_read(vcpu, spent);
	return (spent[VT_RUN]);
}

VMM_STAT_FUNC(VCPU_TOTAL_RUNTIME, "vcpu total runtime", stat_runtime);

/* HLT inside the processor is in the counter's own place: kvm_stats.c. */
static uint64_t stat_idle(struct vcpu *vcpu);
VMM_STAT_FUNC(VCPU_IDLE_TICKS, "number of ticks vcpu was idle", stat_idle);

static uint64_t
stat_idle(struct vcpu *vcpu)
{
	uint64_t spent[VT_COUNT];

	vcpu_time_read(vcpu, spent);
	return (spent[VT_IDLE] + counter(vcpu, VCPU_IDLE_TICKS_index));
}

/*
 * illumos' times.  The thread waits for a host processor in any state: each
 * gives a part of that by its length, so that all of them are the time since
 * the vCPU's first run.  HLT inside the processor is no running.
 */
static void
times(struct vcpu *vcpu, uint64_t t[VT_COUNT], uint64_t *waited)
{
	uint64_t halted, sum;

	sum = vcpu_time_read(vcpu, t);
	*waited = vcpu_time_waited(vcpu);
	if (*waited > sum)
		*waited = sum;
	for (int i = 0; i < VT_COUNT && sum != 0; i++)
		t[i] -=
		    (uint64_t)((double)*waited * ((double)t[i] / (double)sum));
	halted = counter(vcpu, VCPU_IDLE_TICKS_index);
	if (halted > t[VT_RUN])
		halted = t[VT_RUN];
	t[VT_RUN] -= halted;
	t[VT_IDLE] += halted + t[VT_PAUSED];
}

#define TIME(name, value)                              \
	static uint64_t stat_##name(struct vcpu *vcpu) \
	{                                              \
		uint64_t t[VT_COUNT], waited;          \
                                                       \
		times(vcpu, t, &waited);               \
		return (value);                        \
	}                                              \
	VMM_STAT_FUNC(VCPU_##name, #name, stat_##name)
TIME(time_init, t[VT_INIT]);
TIME(time_run, t[VT_RUN]);
TIME(time_idle, t[VT_IDLE]);
TIME(time_emu_kern, t[VT_KERN]);
TIME(time_emu_user, t[VT_USER]);
TIME(time_sched, waited);

VMM_STAT_FUNC(VMM_MEM_RESIDENT, "Resident memory", stat_resident);
VMM_STAT_FUNC(VMM_MEM_WIRED, "Wired memory", stat_wired);

SET_DECLARE(vmm_stat_set, const struct vmm_stat_type);

/* First those that are defined above, then the local APIC's, then the rest
 * as they are linked. */
static const char *const stat_order[] = {
	"vcpu migration across host cpus",
	"total number of vm exits",
	"vm exits due to external interrupt",
	"number of times hlt was intercepted",
	"number of times %cr access was intercepted",
	"number of times rdmsr was intercepted",
	"number of times wrmsr was intercepted",
	"number of monitor trap exits",
	"number of times pause was intercepted",
	"vm exits due to interrupt window opening",
	"vm exits due to nmi window opening",
	"number of times in/out was intercepted",
	"number of times cpuid was intercepted",
	"vm exits due to nested page fault",
	"vm exits for instruction emulation",
	"number of vm exits for unknown reason",
	"number of times astpending at exit",
	"number of times idle requested at exit",
	"number of vm exits handled in userspace",
	"number of times rendezvous pending at exit",
	"number of vm exits due to exceptions",
	"vcpu total runtime",
	"number of ticks vcpu was idle",
	"number of NMIs delivered to vcpu",
	"number of ExtINTs delivered to vcpu",
	"Resident memory",
	"Wired memory",
	"EOI without any in-service interrupt",
	"error interrupts generated by vlapic",
	"timer interrupts generated by vlapic",
	"corrected machine check interrupts generated by vlapic",
	"lvts triggered",
	"ipis sent to vcpu",
	"ipis sent from vcpu",
	"ipis received by vcpu",
	"number of vm exits due to run_state change",
	"time_init",
	"time_run",
	"time_idle",
	"time_emu_kern",
	"time_emu_user",
	"time_sched",
};

static const struct vmm_stat_type *stat_slots[MAX_VMM_STAT_ELEMS];
static int stat_total;

static void
stat_place(const struct vmm_stat_type *type)
{
	if (*type->index >= 0)
		return;
	if (stat_total + type->nelems > MAX_VMM_STAT_ELEMS) {
		/* Counts into the last slot rather than past the array. */
		*type->index = MAX_VMM_STAT_ELEMS - type->nelems;
		vmm_log("no room for the counter \"%s\"", type->desc);
		return;
	}
	*type->index = stat_total;
	for (int i = 0; i < type->nelems; i++)
		stat_slots[stat_total++] = type;
}

static void
stat_init_once(void)
{
	const struct vmm_stat_type *const *typep;

	for (size_t i = 0; i < sizeof(stat_order) / sizeof(stat_order[0]); i++)
		SET_FOREACH(typep, vmm_stat_set)
	if (strcmp((*typep)->desc, stat_order[i]) == 0)
		stat_place(*typep);
	SET_FOREACH(typep, vmm_stat_set)
	stat_place(*typep);
}

void
vmm_stat_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, stat_init_once);
}

_Atomic uint64_t *
vcpu_stats(struct vcpu *vcpu)
{
	return (vcpu->stats);
}

static bool
stat_shown(struct vm *vm, const struct vmm_stat_type *type)
{
	switch (type->scope) {
	case VMM_STAT_SCOPE_KVM:
		return (vm->ops == &vmm_ops_kvm);
	case VMM_STAT_SCOPE_SOFT:
		return (vm->ops == &vmm_ops_soft);
	default:
		return (true);
	}
}

/* The slot of a VM's counter number `index`; -1: there is none. */
static int
stat_slot(struct vm *vm, int index)
{
	for (int slot = 0; slot < stat_total; slot++)
		if (stat_shown(vm, stat_slots[slot]) && index-- == 0)
			return (slot);
	return (-1);
}

int
vmm_stat_count(struct vm *vm)
{
	int count = 0;

	for (int slot = 0; slot < stat_total; slot++)
		count += stat_shown(vm, stat_slots[slot]);
	return (count);
}

int
vmm_stat_desc(struct vm *vm, int index, char *buf, size_t size)
{
	const struct vmm_stat_type *type;
	int slot;

	slot = index < 0 ? -1 : stat_slot(vm, index);
	if (slot < 0)
		return (EINVAL);
	type = stat_slots[slot];
	if (type->nelems > 1)
		snprintf(buf, size, "%s[%d]", type->desc, slot - *type->index);
	else
		snprintf(buf, size, "%s", type->desc);
	return (0);
}

/* Up to n counters from number `index` on; returns how many there were. */
int
vmm_stat_copy(struct vcpu *vcpu, int index, int n, uint64_t *vals)
{
	int slot, count = 0;

	if (index < 0)
		return (0);
	slot = stat_slot(vcpu->vm, index);
	for (; slot >= 0 && slot < stat_total && count < n; slot++) {
		if (!stat_shown(vcpu->vm, stat_slots[slot]))
			continue;
		vals[count++] = stat_slots[slot]->func != NULL
		    ? stat_slots[slot]->func(vcpu)
		    : atomic_load_explicit(
			  &vcpu->stats[slot], memory_order_relaxed);
	}
	return (count);
}
