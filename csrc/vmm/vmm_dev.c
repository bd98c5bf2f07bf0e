/*
 * The ioctl table: every VM_* command, the size of its argument, what has to
 * stand still while it works, and its function.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "vchips.h"
#include "vmm_dev_local.h"
#include "vmm_local.h"

/* ---- event descriptors ---- */

static int
ioc_ioevent(struct vm *vm, void *arg)
{
	const struct vm_ioevent *a = arg;

	if (vm->ops->ioevent == NULL || !atomic_load(&vm->selected))
		return (EOPNOTSUPP);
	return (vm->ops->ioevent(vm->cookie, a));
}

static int
ioc_irqfd(struct vm *vm, void *arg)
{
	if (vm->ops->msi_irqfd == NULL || !atomic_load(&vm->selected))
		return (EOPNOTSUPP);
	return (vm->ops->msi_irqfd(vm->cookie, arg));
}

/* ---- the whole VM, all vCPUs frozen ---- */

static int
ioc_reinit(struct vm *vm, void *arg)
{
	(void)arg;
	return (vmm_reinit(vm));
}

static int
ioc_alloc_memseg(struct vm *vm, void *arg)
{
	struct vm_memseg *a = arg;

	if (memchr(a->name, '\0', sizeof(a->name)) == NULL)
		return (ENAMETOOLONG);
	return (vmm_alloc_memseg(vm, a->segid, a->len, a->name));
}

static int
ioc_mmap_memseg(struct vm *vm, void *arg)
{
	struct vm_memmap *a = arg;

	return (vmm_mmap_memseg(
	    vm, a->gpa, a->segid, a->segoff, a->len, a->prot, a->flags));
}

static int
ioc_munmap_memseg(struct vm *vm, void *arg)
{
	struct vm_memmap *a = arg;

	return (vmm_munmap_memseg(vm, a->gpa, a->len));
}

static int
ioc_pmtmr_locate(struct vm *vm, void *arg)
{
	struct vm_word *a = arg;

	if (a->value > UINT16_MAX)
		return (EINVAL);
	return (vpmtmr_set_ioport(vm, (uint16_t)a->value));
}

static int
ioc_pause(struct vm *vm, void *arg)
{
	(void)arg;
	return (vmm_pause(vm));
}

static int
ioc_resume(struct vm *vm, void *arg)
{
	(void)arg;
	return (vmm_resume(vm));
}

static int
ioc_is_paused(struct vm *vm, void *arg)
{
	((struct vm_word *)arg)->value = vmm_is_paused(vm);
	return (0);
}

static int
ioc_wrlock_cycle(struct vm *vm, void *arg)
{
	(void)vm;
	(void)arg;
	return (0);
}

static int
ioc_set_topology(struct vm *vm, void *arg)
{
	struct vm_cpu_topology *a = arg;

	return (
	    vmm_set_topology(vm, a->sockets, a->cores, a->threads, a->maxcpus));
}

/* ---- read hold ---- */

/* There are no nested tables to show: one entry, the place of the page in
 * its segment with the mapping's rights in the low bits. */
static int
ioc_get_gpa_pmap(struct vm *vm, void *arg)
{
	struct vm_gpa_pte *a = arg;
	vm_paddr_t gpa = 0;
	int segid, prot, flags;
	int64_t off;
	size_t len;

	a->ptenum = 0;
	memset(a->pte, 0, sizeof(a->pte));
	for (;
	     vmm_mmap_getnext(vm, &gpa, &segid, &off, &len, &prot, &flags) == 0;
	     gpa += len) {
		if (a->gpa - gpa >= len)
			continue;
		a->pte[0] = ((uint64_t)off + (a->gpa - gpa)) & ~PAGE_MASK_4K;
		a->pte[0] |= (uint64_t)prot;
		a->ptenum = 1;
	}
	return (0);
}

static int
ioc_get_memseg(struct vm *vm, void *arg)
{
	struct vm_memseg *a = arg;
	size_t len = 0;
	int error;

	memset(a->name, 0, sizeof(a->name));
	error =
	    vmm_get_memseg(vm, a->segid, &len, a->name, sizeof(a->name), NULL);
	a->len = len;
	return (error);
}

static int
ioc_mmap_getnext(struct vm *vm, void *arg)
{
	struct vm_memmap *a = arg;
	size_t len = 0;
	int error;

	error = vmm_mmap_getnext(
	    vm, &a->gpa, &a->segid, &a->segoff, &len, &a->prot, &a->flags);
	a->len = len;
	return (error);
}

static int
ioc_lapic_irq(struct vm *vm, void *arg)
{
	struct vm_lapic_irq *a = arg;
	struct vcpu *vcpu = vmm_alloc_vcpu_held(vm, a->vcpuid);

	return (vcpu == NULL ? errno : lapic_set_intr(vcpu, a->vector, false));
}

static int
ioc_lapic_local_irq(struct vm *vm, void *arg)
{
	struct vm_lapic_irq *a = arg;
	struct vcpu *vcpu = NULL;

	if (a->vcpuid != -1 &&
	    (vcpu = vmm_alloc_vcpu_held(vm, a->vcpuid)) == NULL)
		return (errno);
	return (lapic_set_local_intr(vm, vcpu, a->vector));
}

static int
ioc_lapic_msi(struct vm *vm, void *arg)
{
	struct vm_lapic_msi *a = arg;

	return (lapic_intr_msi(vm, a->addr, a->msg));
}

static int
ioc_inject_nmi(struct vm *vm, void *arg)
{
	struct vm_vcpuid *a = arg;
	struct vcpu *vcpu = vmm_alloc_vcpu_held(vm, a->vcpuid);

	return (vcpu == NULL ? errno : vmm_inject_nmi(vcpu));
}

static int
ioc_ioapic_assert(struct vm *vm, void *arg)
{
	return (vioapic_assert_irq(vm, ((struct vm_ioapic_irq *)arg)->irq));
}

static int
ioc_ioapic_deassert(struct vm *vm, void *arg)
{
	return (vioapic_deassert_irq(vm, ((struct vm_ioapic_irq *)arg)->irq));
}

static int
ioc_ioapic_pulse(struct vm *vm, void *arg)
{
	return (vioapic_pulse_irq(vm, ((struct vm_ioapic_irq *)arg)->irq));
}

static int
ioc_isa_assert(struct vm *vm, void *arg)
{
	struct vm_isa_irq *a = arg;
	int error;

	error = vatpic_assert_irq(vm, a->atpic_irq);
	if (error == 0 && a->ioapic_irq != -1)
		error = vioapic_assert_irq(vm, a->ioapic_irq);
	return (error);
}

static int
ioc_isa_deassert(struct vm *vm, void *arg)
{
	struct vm_isa_irq *a = arg;
	int error;

	error = vatpic_deassert_irq(vm, a->atpic_irq);
	if (error == 0 && a->ioapic_irq != -1)
		error = vioapic_deassert_irq(vm, a->ioapic_irq);
	return (error);
}

static int
ioc_isa_pulse(struct vm *vm, void *arg)
{
	struct vm_isa_irq *a = arg;
	int error;

	error = vatpic_pulse_irq(vm, a->atpic_irq);
	if (error == 0 && a->ioapic_irq != -1)
		error = vioapic_pulse_irq(vm, a->ioapic_irq);
	return (error);
}

static int
ioc_isa_trigger(struct vm *vm, void *arg)
{
	struct vm_isa_irq_trigger *a = arg;

	return (vatpic_set_irq_trigger(vm, a->atpic_irq, a->trigger));
}

static int
ioc_rtc_write(struct vm *vm, void *arg)
{
	struct vm_rtc_data *a = arg;

	return (vrtc_nvram_write(vm, a->offset, a->value));
}

static int
ioc_rtc_read(struct vm *vm, void *arg)
{
	struct vm_rtc_data *a = arg;

	return (vrtc_nvram_read(vm, a->offset, &a->value));
}

static int
ioc_rtc_settime(struct vm *vm, void *arg)
{
	return (vrtc_set_time(vm, (time_t)((struct vm_rtc_time *)arg)->secs));
}

static int
ioc_rtc_gettime(struct vm *vm, void *arg)
{
	((struct vm_rtc_time *)arg)->secs = vrtc_get_time(vm);
	return (0);
}

/* ---- no hold ---- */

static int
ioc_suspend(struct vm *vm, void *arg)
{
	struct vm_suspend *a = arg;

	return (vmm_suspend(vm, (enum vm_suspend_how)a->how, a->source));
}

static int
ioc_pincount(struct vm *vm, void *arg)
{
	((struct vm_word *)arg)->value = (uint64_t)vioapic_pincount(vm);
	return (0);
}

static int
ioc_hpet_caps(struct vm *vm, void *arg)
{
	struct vm_word *a = arg;
	uint32_t cap;
	int error;

	(void)vm;
	error = vhpet_getcap(&cap);
	a->value = error == 0 ? cap : 0;
	return (error);
}

static int
ioc_stats(struct vm *vm, void *arg)
{
	struct vm_stats *a = arg;
	struct vcpu *vcpu = vmm_alloc_vcpu_held(vm, a->vcpuid);
	struct timespec ts;

	if (vcpu == NULL || a->index < 0)
		return (EINVAL);
	clock_gettime(CLOCK_REALTIME, &ts);
	a->tv_sec = ts.tv_sec;
	a->tv_usec = ts.tv_nsec / 1000;
	if (vm->ops->stats != NULL)
		vm->ops->stats(vcpu->cookie);
	a->num_entries =
	    vmm_stat_copy(vcpu, a->index, VM_STATS_PER_CALL, a->statbuf);
	return (0);
}

static int
ioc_stat_desc(struct vm *vm, void *arg)
{
	struct vm_stat_desc *a = arg;
	int n = 0;

	if (a->index < 0 || a->index >= MAX_VMM_STAT_ELEMS)
		return (EINVAL);
	memset(a->desc, 0, sizeof(a->desc));
	while (n < VM_STAT_DESCS_PER_CALL &&
	    vmm_stat_desc(vm, a->index + n, a->desc[n], sizeof(a->desc[n])) ==
		0)
		n++;
	a->num_entries = n;
	return (n == 0 ? EINVAL : 0);
}

static int
ioc_get_topology(struct vm *vm, void *arg)
{
	struct vm_cpu_topology *a = arg;

	vmm_get_topology(vm, &a->sockets, &a->cores, &a->threads, &a->maxcpus);
	return (0);
}

static int
ioc_get_cpus(struct vm *vm, void *arg)
{
	struct vm_cpuset *a = arg;

	switch (a->which) {
	case VM_ACTIVE_CPUS:
		a->cpus = vmm_active_cpus(vm);
		return (0);
	case VM_SUSPENDED_CPUS:
		a->cpus = vmm_suspended_cpus(vm);
		return (0);
	case VM_DEBUG_CPUS:
		a->cpus = vmm_debug_cpus(vm);
		return (0);
	default:
		return (EINVAL);
	}
}

static int
suspend_resume_cpu(
    struct vm *vm, struct vm_vcpuid *a, int (*func)(struct vm *, struct vcpu *))
{
	struct vcpu *vcpu = vmm_vcpu(vm, a->vcpuid);

	if (vcpu == NULL && a->vcpuid != -1)
		return (EINVAL);
	return (func(vm, vcpu));
}

static int
ioc_suspend_cpu(struct vm *vm, void *arg)
{
	return (suspend_resume_cpu(vm, arg, vmm_suspend_cpu));
}

static int
ioc_resume_cpu(struct vm *vm, void *arg)
{
	return (suspend_resume_cpu(vm, arg, vmm_resume_cpu));
}

static int
ioc_data_read(struct vm *vm, void *arg)
{
	struct vm_data_xfer *a = arg;
	int n;

	if (a->len > VM_DATA_XFER_LIMIT)
		return (EINVAL);
	n = vmm_data_read(vm, a->vcpuid, a->cls, a->version, a->data, a->len);
	a->result_len = n < 0 ? 0 : (uint32_t)n;
	return (n < 0 ? -n : 0);
}

static int
ioc_data_write(struct vm *vm, void *arg)
{
	struct vm_data_xfer *a = arg;
	int n;

	if (a->len > VM_DATA_XFER_LIMIT)
		return (EINVAL);
	n = vmm_data_write(vm, a->vcpuid, a->cls, a->version, a->data, a->len);
	a->result_len = n < 0 ? 0 : (uint32_t)n;
	return (n < 0 ? -n : 0);
}

/* The name is free at once; the machine itself goes when its owner sees that
 * it was suspended. */
static int
ioc_destroy_self(struct vm *vm, void *arg)
{
	int error = 0;

	(void)arg;
	if (vm->dir != NULL)
		error = vmm_dir_remove(vm->dir);
	vmm_suspend(vm, VM_SUSPEND_DESTROY, -1);
	return (error);
}

static int
ioc_get_backend(struct vm *vm, void *arg)
{
	struct vm_backend *a = arg;

	memset(a, 0, sizeof(*a));
	strncpy(a->name, vm->ops->name, sizeof(a->name) - 1);
	x86_cpuid_vendor(vm, a->vendor);
	return (0);
}

static int
ioc_glance(struct vm *vm, void *arg)
{
	uint16_t sockets, cores, threads, maxcpus;
	struct vm_state *a = arg;
	char name[VM_MAX_SEGNAME];
	size_t len;

	memset(a, 0, sizeof(*a));
	a->active_cpus = vmm_active_cpus(vm);
	a->suspended_cpus = vmm_suspended_cpus(vm);
	a->debug_cpus = vmm_debug_cpus(vm);
	for (int i = 0; i < VM_MAX_MEMSEGS; i++)
		if (vmm_get_memseg(vm, i, &len, name, sizeof(name), NULL) ==
			0 &&
		    name[0] == '\0')
			a->memory += len;
	vmm_get_topology(vm, &sockets, &cores, &threads, &maxcpus);
	a->vcpus = (uint32_t)sockets * cores * threads;
	a->paused = vmm_is_paused(vm);
	strncpy(a->backend, vm->ops->name, sizeof(a->backend) - 1);
	return (0);
}

static int
ioc_memory_written(struct vm *vm, void *arg)
{
	struct vm_dirty_range *a = arg;

	vmm_memory_written(vm, a->gpa, a->len);
	return (0);
}

static int
ioc_set_memflags(struct vm *vm, void *arg)
{
	vmm_set_memflags(vm, (int)((struct vm_word *)arg)->value);
	return (0);
}

static int
ioc_get_memflags(struct vm *vm, void *arg)
{
	((struct vm_word *)arg)->value = (uint64_t)vm->memflags;
	return (0);
}

#define IOC(cmd, type, lock, flags, func)                  \
	{                                                  \
		cmd, #cmd, sizeof(type), lock, flags, func \
	}
#define GET (VMI_IN | VMI_OUT | VMI_RO)
#define SET VMI_IN
#define DO (VMI_IN | VMI_RO) /* chips and vCPUs that run: saved anyway */

static const struct vmm_ioctl table[] = {
	IOC(VM_RUN, struct vm_run, LOCK_NONE, VMI_IN | VMI_OUT | VMI_LOCAL,
	    ioc_run),
	IOC(VM_SET_REGISTER, struct vm_register, LOCK_VCPU, SET,
	    ioc_set_register),
	IOC(VM_GET_REGISTER, struct vm_register, LOCK_VCPU, GET,
	    ioc_get_register),
	IOC(VM_SET_SEGMENT_DESCRIPTOR, struct vm_seg_desc, LOCK_VCPU, SET,
	    ioc_set_desc),
	IOC(VM_GET_SEGMENT_DESCRIPTOR, struct vm_seg_desc, LOCK_VCPU, GET,
	    ioc_get_desc),
	IOC(VM_SET_REGISTER_SET, struct vm_register_set, LOCK_VCPU, SET,
	    ioc_set_register_set),
	IOC(VM_GET_REGISTER_SET, struct vm_register_set, LOCK_VCPU, GET,
	    ioc_get_register_set),
	IOC(VM_INJECT_EXCEPTION, struct vm_exception, LOCK_VCPU, SET,
	    ioc_inject_exception),
	IOC(VM_SET_CAPABILITY, struct vm_capability, LOCK_VCPU, SET,
	    ioc_set_capability),
	IOC(VM_GET_CAPABILITY, struct vm_capability, LOCK_VCPU, GET,
	    ioc_get_capability),
	IOC(VM_SET_X2APIC_STATE, struct vm_x2apic, LOCK_VCPU, SET,
	    ioc_set_x2apic),
	IOC(VM_GET_X2APIC_STATE, struct vm_x2apic, LOCK_VCPU, GET,
	    ioc_get_x2apic),
	IOC(VM_GLA2GPA, struct vm_gla2gpa, LOCK_VCPU, VMI_IN | VMI_OUT,
	    ioc_gla2gpa),
	IOC(VM_GLA2GPA_NOFAULT, struct vm_gla2gpa, LOCK_VCPU, GET,
	    ioc_gla2gpa_nofault),
	IOC(VM_GET_PAGING, struct vm_gla2gpa, LOCK_VCPU, GET, ioc_get_paging),
	IOC(VM_SET_DEBUGREGS, struct vm_debugregs, LOCK_VCPU, SET,
	    ioc_set_debugregs),
	IOC(VM_GET_TSC_OFFSET, struct vm_register, LOCK_VCPU, GET,
	    ioc_get_tsc_offset),
	IOC(VM_ACTIVATE_CPU, struct vm_vcpuid, LOCK_VCPU, SET,
	    ioc_activate_cpu),
	IOC(VM_SET_INTINFO, struct vm_intinfo, LOCK_VCPU, SET, ioc_set_intinfo),
	IOC(VM_GET_INTINFO, struct vm_intinfo, LOCK_VCPU, GET, ioc_get_intinfo),
	IOC(VM_RESTART_INSTRUCTION, struct vm_vcpuid, LOCK_VCPU, SET,
	    ioc_restart),
	/* What vCPUs send each other must not meet a write (kvm_lapic.c). */
	IOC(VM_SET_KERNEMU_DEV, struct vm_readwrite_kernemu_device,
	    LOCK_WRITE_HOLD, SET, ioc_set_kernemu),
	IOC(VM_GET_KERNEMU_DEV, struct vm_readwrite_kernemu_device, LOCK_VCPU,
	    VMI_IN | VMI_OUT, ioc_get_kernemu),
	IOC(VM_RESET_CPU, struct vm_vcpuid, LOCK_VCPU, SET, ioc_reset_cpu),
	IOC(VM_GET_RUN_STATE, struct vm_run_state, LOCK_VCPU, GET,
	    ioc_get_run_state),
	IOC(VM_SET_RUN_STATE, struct vm_run_state, LOCK_VCPU, SET,
	    ioc_set_run_state),
	IOC(VM_GET_MSR, struct vm_register, LOCK_VCPU, GET, ioc_get_msr),
	IOC(VM_SET_MSR, struct vm_register, LOCK_VCPU, SET, ioc_set_msr),

	IOC(VM_REINIT, struct vm_word, LOCK_WRITE_HOLD, SET, ioc_reinit),
	IOC(VM_BIND_PPTDEV, struct vm_pptdev, LOCK_WRITE_HOLD, DO,
	    ioc_bind_pptdev),
	IOC(VM_UNBIND_PPTDEV, struct vm_pptdev, LOCK_WRITE_HOLD, DO,
	    ioc_unbind_pptdev),
	IOC(VM_MAP_PPTDEV_MMIO, struct vm_pptdev_mmio, LOCK_WRITE_HOLD, DO,
	    ioc_map_pptdev_mmio),
	IOC(VM_UNMAP_PPTDEV_MMIO, struct vm_pptdev_mmio, LOCK_WRITE_HOLD, DO,
	    ioc_unmap_pptdev_mmio),
	IOC(VM_ALLOC_MEMSEG, struct vm_memseg, LOCK_WRITE_HOLD, SET,
	    ioc_alloc_memseg),
	IOC(VM_MMAP_MEMSEG, struct vm_memmap, LOCK_WRITE_HOLD, SET,
	    ioc_mmap_memseg),
	IOC(VM_MUNMAP_MEMSEG, struct vm_memmap, LOCK_WRITE_HOLD, SET,
	    ioc_munmap_memseg),
	IOC(VM_PMTMR_LOCATE, struct vm_word, LOCK_WRITE_HOLD, SET,
	    ioc_pmtmr_locate),
	/* Waits for what user space has in hand: holds come after. */
	IOC(VM_PAUSE, struct vm_word, LOCK_NONE, DO, ioc_pause),
	IOC(VM_RESUME, struct vm_word, LOCK_WRITE_HOLD, DO, ioc_resume),
	IOC(VM_WRLOCK_CYCLE, struct vm_word, LOCK_WRITE_HOLD, DO,
	    ioc_wrlock_cycle),
	IOC(VM_SET_TOPOLOGY, struct vm_cpu_topology, LOCK_WRITE_HOLD, SET,
	    ioc_set_topology),

	IOC(VM_GET_GPA_PMAP, struct vm_gpa_pte, LOCK_READ_HOLD, GET,
	    ioc_get_gpa_pmap),
	IOC(VM_GET_MEMSEG, struct vm_memseg, LOCK_READ_HOLD, GET,
	    ioc_get_memseg),
	IOC(VM_MMAP_GETNEXT, struct vm_memmap, LOCK_READ_HOLD, GET,
	    ioc_mmap_getnext),
	IOC(VM_LAPIC_IRQ, struct vm_lapic_irq, LOCK_READ_HOLD, SET,
	    ioc_lapic_irq),
	IOC(VM_LAPIC_LOCAL_IRQ, struct vm_lapic_irq, LOCK_READ_HOLD, SET,
	    ioc_lapic_local_irq),
	IOC(VM_LAPIC_MSI, struct vm_lapic_msi, LOCK_READ_HOLD, SET,
	    ioc_lapic_msi),
	IOC(VM_INJECT_NMI, struct vm_vcpuid, LOCK_READ_HOLD, SET,
	    ioc_inject_nmi),
	IOC(VM_IOAPIC_ASSERT_IRQ, struct vm_ioapic_irq, LOCK_READ_HOLD, SET,
	    ioc_ioapic_assert),
	IOC(VM_IOAPIC_DEASSERT_IRQ, struct vm_ioapic_irq, LOCK_READ_HOLD, SET,
	    ioc_ioapic_deassert),
	IOC(VM_IOAPIC_PULSE_IRQ, struct vm_ioapic_irq, LOCK_READ_HOLD, SET,
	    ioc_ioapic_pulse),
	IOC(VM_ISA_ASSERT_IRQ, struct vm_isa_irq, LOCK_READ_HOLD, SET,
	    ioc_isa_assert),
	IOC(VM_ISA_DEASSERT_IRQ, struct vm_isa_irq, LOCK_READ_HOLD, SET,
	    ioc_isa_deassert),
	IOC(VM_ISA_PULSE_IRQ, struct vm_isa_irq, LOCK_READ_HOLD, SET,
	    ioc_isa_pulse),
	IOC(VM_ISA_SET_IRQ_TRIGGER, struct vm_isa_irq_trigger, LOCK_READ_HOLD,
	    SET, ioc_isa_trigger),
	IOC(VM_RTC_WRITE, struct vm_rtc_data, LOCK_READ_HOLD, SET,
	    ioc_rtc_write),
	IOC(VM_RTC_READ, struct vm_rtc_data, LOCK_READ_HOLD, GET, ioc_rtc_read),
	IOC(VM_RTC_SETTIME, struct vm_rtc_time, LOCK_READ_HOLD, SET,
	    ioc_rtc_settime),
	IOC(VM_RTC_GETTIME, struct vm_rtc_time, LOCK_READ_HOLD, GET,
	    ioc_rtc_gettime),

	IOC(VM_SUSPEND, struct vm_suspend, LOCK_NONE, SET, ioc_suspend),
	IOC(VM_IOAPIC_PINCOUNT, struct vm_word, LOCK_NONE, GET, ioc_pincount),
	IOC(VM_GET_HPET_CAPABILITIES, struct vm_word, LOCK_NONE, GET,
	    ioc_hpet_caps),
	IOC(VM_STATS_IOC, struct vm_stats, LOCK_READ_HOLD, GET, ioc_stats),
	IOC(VM_STAT_DESC, struct vm_stat_desc, LOCK_NONE, GET, ioc_stat_desc),
	IOC(VM_GET_TOPOLOGY, struct vm_cpu_topology, LOCK_NONE, GET,
	    ioc_get_topology),
	IOC(VM_GET_CPUS, struct vm_cpuset, LOCK_NONE, GET, ioc_get_cpus),
	IOC(VM_SUSPEND_CPU, struct vm_vcpuid, LOCK_NONE, SET, ioc_suspend_cpu),
	IOC(VM_RESUME_CPU, struct vm_vcpuid, LOCK_NONE, SET, ioc_resume_cpu),
	/* vcpuid -1 (a class of the VM) makes these a write hold. */
	IOC(VM_DATA_READ, struct vm_data_xfer, LOCK_VCPU, GET, ioc_data_read),
	IOC(VM_DATA_WRITE, struct vm_data_xfer, LOCK_VCPU, VMI_IN | VMI_OUT,
	    ioc_data_write),
	IOC(VM_DESTROY_SELF, struct vm_word, LOCK_NONE, DO, ioc_destroy_self),
	IOC(VM_GET_BACKEND, struct vm_backend, LOCK_NONE, GET, ioc_get_backend),
	IOC(VM_GLANCE, struct vm_state, LOCK_READ_HOLD, GET, ioc_glance),
	IOC(VM_IS_PAUSED, struct vm_word, LOCK_NONE, GET, ioc_is_paused),
	IOC(VM_MEMORY_WRITTEN, struct vm_dirty_range, LOCK_READ_HOLD, DO,
	    ioc_memory_written),
	/* Descriptors are the owner's. */
	IOC(VM_IOEVENT, struct vm_ioevent, LOCK_NONE, VMI_IN | VMI_LOCAL,
	    ioc_ioevent),
	IOC(VM_IRQFD, struct vm_irqfd, LOCK_NONE, VMI_IN | VMI_OUT | VMI_LOCAL,
	    ioc_irqfd),
	IOC(VM_PPTDEV_MSI, struct vm_pptdev_msi, LOCK_READ_HOLD, DO,
	    ioc_pptdev_msi),
	IOC(VM_PPTDEV_MSIX, struct vm_pptdev_msix, LOCK_READ_HOLD, DO,
	    ioc_pptdev_msix),
	IOC(VM_PPTDEV_DISABLE_MSIX, struct vm_pptdev, LOCK_READ_HOLD, DO,
	    ioc_pptdev_disable_msix),
	IOC(VM_GET_PPTDEV_LIMITS, struct vm_pptdev_limits, LOCK_READ_HOLD, GET,
	    ioc_get_pptdev_limits),
	IOC(VM_PPTDEV_BAR, struct vm_pptdev_bar, LOCK_READ_HOLD, GET,
	    ioc_pptdev_bar),
	IOC(VM_PPTDEV_RW, struct vm_pptdev_rw, LOCK_READ_HOLD, GET,
	    ioc_pptdev_rw),
	IOC(VM_SET_MEMFLAGS, struct vm_word, LOCK_WRITE_HOLD, SET,
	    ioc_set_memflags),
	IOC(VM_GET_MEMFLAGS, struct vm_word, LOCK_NONE, GET, ioc_get_memflags),
};

#define TABLE_LEN (sizeof(table) / sizeof(table[0]))

/* Position in the table by group and number; 0xff: none. */
static uint8_t table_index[3][256];

static void
table_index_init(void)
{
	memset(table_index, 0xff, sizeof(table_index));
	for (size_t i = 0; i < TABLE_LEN; i++)
		table_index[(table[i].cmd - VMM_CPU_IOC_BASE) >> 8]
			   [table[i].cmd & 0xff] = (uint8_t)i;
}

const struct vmm_ioctl *
vmm_ioctl_find(uint32_t cmd)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	uint32_t group = (cmd - VMM_CPU_IOC_BASE) >> 8;
	uint8_t i;

	pthread_once(&once, table_index_init);
	if (group >= 3)
		return (NULL);
	i = table_index[group][cmd & 0xff];
	return (i == 0xff ? NULL : &table[i]);
}

const struct vmm_ioctl *
vmm_ioctl_table(size_t *count)
{
	*count = TABLE_LEN;
	return (table);
}

static int
with_vcpu(
    struct vm *vm, struct vcpu *vcpu, const struct vmm_ioctl *ioc, void *arg)
{
	int error;

	if ((error = vcpu_lock_one(vcpu)) != 0)
		return (error);
	error = ioc->func(vm, arg);
	vcpu_unlock_one(vcpu);
	return (error);
}

int
vmm_ioctl(struct vm *vm, uint32_t cmd, void *arg, size_t len)
{
	const struct vmm_ioctl *ioc = vmm_ioctl_find(cmd);
	struct vcpu *vcpu = NULL;
	uint8_t lock;
	int32_t vcpuid;
	int error;

	if (ioc == NULL)
		return (ENOTTY);
	if (len != ioc->size)
		return (EINVAL);
	lock = ioc->lock;
	if (cmd == VM_DATA_READ || cmd == VM_DATA_WRITE) {
		memcpy(&vcpuid, arg, sizeof(vcpuid));
		if (vcpuid == -1)
			lock = LOCK_WRITE_HOLD;
	}
	/* A vCPU is made before any lock: holds freeze those that there are. */
	if (lock == LOCK_VCPU ||
	    (lock == LOCK_WRITE_HOLD && (cmd & ~0xffu) == VMM_CPU_IOC_BASE)) {
		memcpy(&vcpuid, arg, sizeof(vcpuid));
		if ((vcpu = vmm_alloc_vcpu(vm, vcpuid)) == NULL)
			return (errno);
	}
	switch (lock) {
	case LOCK_VCPU:
		return (with_vcpu(vm, vcpu, ioc, arg));
	case LOCK_READ_HOLD:
		pthread_rwlock_rdlock(&vm->rwlock);
		error = ioc->func(vm, arg);
		pthread_rwlock_unlock(&vm->rwlock);
		return (error);
	case LOCK_WRITE_HOLD:
		pthread_rwlock_wrlock(&vm->rwlock);
		error = vcpu_lock_all(vm);
		if (error == 0) {
			error = ioc->func(vm, arg);
			vcpu_unlock_all(vm);
		}
		pthread_rwlock_unlock(&vm->rwlock);
		return (error);
	default:
		return (ioc->func(vm, arg));
	}
}
