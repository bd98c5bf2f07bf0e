/*
 * Counters of vCPUs.  Every counter of the linker set gets its slots once,
 * in the order that bhyvectl prints on FreeBSD; a VM shows those of all
 * processors and of its own kind.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
VMM_STAT(VCPU_TOTAL_RUNTIME, "vcpu total runtime");
VMM_STAT(VCPU_IDLE_TICKS, "number of ticks vcpu was idle");
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

VMM_STAT(VCPU_TIME_INIT, "time_init");
VMM_STAT(VCPU_TIME_EMU_KERN, "time_emu_kern");
VMM_STAT(VCPU_TIME_EMU_USER, "time_emu_user");

static uint64_t
counter(struct vcpu *vcpu, int index)
{
	return (
	    atomic_load_explicit(&vcpu->stats[index], memory_order_relaxed));
}

/* What the vCPU's thread has waited for a host processor, by the host. */
static uint64_t
stat_time_sched(struct vcpu *vcpu)
{
	unsigned long long ran, waited;
	char path[64], text[96];
	ssize_t n;
	int fd;

	if (atomic_load(&vcpu->tid) == 0)
		return (0);
	snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat",
	    atomic_load(&vcpu->tid));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return (0);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	if (sscanf(text, "%llu %llu", &ran, &waited) != 2)
		return (0);
	return (waited);
}

/*
 * HLT inside the processor (KVM) is idle time.  The thread waits for a host
 * processor wherever it is, in the guest or not: the guest's part by time.
 */
static uint64_t
stat_time_run(struct vcpu *vcpu)
{
	uint64_t in_run = counter(vcpu, VCPU_TOTAL_RUNTIME_index);
	uint64_t all = in_run + counter(vcpu, VCPU_TIME_EMU_KERN_index) +
	    counter(vcpu, VCPU_TIME_EMU_USER_index);
	uint64_t less = 0;

	if (all != 0)
		less = (uint64_t)((double)stat_time_sched(vcpu) *
		    ((double)in_run / (double)all));
	if (vcpu->vm->ops->stats != NULL)
		less += counter(vcpu, VCPU_IDLE_TICKS_index);
	return (in_run > less ? in_run - less : 0);
}

static uint64_t
stat_time_idle(struct vcpu *vcpu)
{
	return (counter(vcpu, VCPU_IDLE_TICKS_index) +
	    atomic_load(&vcpu->time_paused));
}

VMM_STAT_FUNC(VCPU_TIME_RUN, "time_run", stat_time_run);
VMM_STAT_FUNC(VCPU_TIME_IDLE, "time_idle", stat_time_idle);
VMM_STAT_FUNC(VCPU_TIME_SCHED, "time_sched", stat_time_sched);
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
