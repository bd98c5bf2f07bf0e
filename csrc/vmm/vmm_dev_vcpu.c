/*
 * The ioctls of one vCPU: registers, events, run state.  The vCPU that the
 * argument names exists and is frozen, but for VM_RUN.
 */
#include <errno.h>

#include "vmm_dev_local.h"
#include "vmm_local.h"

int
ioc_run(struct vm *vm, void *arg)
{
	struct vm_run *a = arg;

	return (vmm_run_vcpuid(vm, a->vcpuid, &a->entry, &a->exit));
}

int
ioc_set_register(struct vm *vm, void *arg)
{
	struct vm_register *a = arg;

	return (
	    vmm_set_register(vmm_vcpu(vm, a->vcpuid), a->regnum, a->regval));
}

int
ioc_get_register(struct vm *vm, void *arg)
{
	struct vm_register *a = arg;

	return (
	    vmm_get_register(vmm_vcpu(vm, a->vcpuid), a->regnum, &a->regval));
}

int
ioc_set_desc(struct vm *vm, void *arg)
{
	struct vm_seg_desc *a = arg;

	return (vmm_set_seg_desc(vmm_vcpu(vm, a->vcpuid), a->regnum, &a->desc));
}

int
ioc_get_desc(struct vm *vm, void *arg)
{
	struct vm_seg_desc *a = arg;

	return (vmm_get_seg_desc(vmm_vcpu(vm, a->vcpuid), a->regnum, &a->desc));
}

int
ioc_set_register_set(struct vm *vm, void *arg)
{
	struct vm_register_set *a = arg;
	int error = 0;

	if (a->count > VM_REGSET_MAX)
		return (EINVAL);
	for (uint32_t i = 0; error == 0 && i < a->count; i++)
		error = vmm_set_register(
		    vmm_vcpu(vm, a->vcpuid), a->regnums[i], a->regvals[i]);
	return (error);
}

int
ioc_get_register_set(struct vm *vm, void *arg)
{
	struct vm_register_set *a = arg;
	int error = 0;

	if (a->count > VM_REGSET_MAX)
		return (EINVAL);
	for (uint32_t i = 0; error == 0 && i < a->count; i++)
		error = vmm_get_register(
		    vmm_vcpu(vm, a->vcpuid), a->regnums[i], &a->regvals[i]);
	return (error);
}

int
ioc_get_msr(struct vm *vm, void *arg)
{
	struct vm_register *a = arg;

	return (vmm_get_msr(
	    vmm_vcpu(vm, a->vcpuid), (uint32_t)a->regnum, &a->regval));
}

int
ioc_set_msr(struct vm *vm, void *arg)
{
	struct vm_register *a = arg;

	return (vmm_set_msr(
	    vmm_vcpu(vm, a->vcpuid), (uint32_t)a->regnum, a->regval));
}

int
ioc_inject_exception(struct vm *vm, void *arg)
{
	struct vm_exception *a = arg;

	return (vmm_inject_exception(vmm_vcpu(vm, a->vcpuid), a->vector,
	    a->error_code_valid != 0, a->error_code,
	    a->restart_instruction != 0));
}

int
ioc_set_debugregs(struct vm *vm, void *arg)
{
	struct vm_debugregs *a = arg;

	if (vm->ops->setdebug == NULL)
		return (EOPNOTSUPP);
	/* Its low byte turns the breakpoints on; 31:16 are their kinds. */
	if ((a->dr7 & ~0xffff03ffUL) != 0)
		return (EINVAL);
	return (
	    vm->ops->setdebug(vmm_vcpu(vm, a->vcpuid)->cookie, a->dr, a->dr7));
}

int
ioc_get_tsc_offset(struct vm *vm, void *arg)
{
	struct vm_register *a = arg;

	if (vm->ops->get_tsc_offset == NULL)
		return (EOPNOTSUPP);
	return (vm->ops->get_tsc_offset(
	    vmm_vcpu(vm, a->vcpuid)->cookie, &a->regval));
}

int
ioc_set_capability(struct vm *vm, void *arg)
{
	struct vm_capability *a = arg;

	return (
	    vmm_set_capability(vmm_vcpu(vm, a->vcpuid), a->captype, a->capval));
}

int
ioc_get_capability(struct vm *vm, void *arg)
{
	struct vm_capability *a = arg;
	int val, error;

	error = vmm_get_capability(vmm_vcpu(vm, a->vcpuid), a->captype, &val);
	if (error == 0)
		a->capval = val;
	return (error);
}

int
ioc_set_x2apic(struct vm *vm, void *arg)
{
	struct vm_x2apic *a = arg;

	return (vmm_set_x2apic_state(
	    vmm_vcpu(vm, a->vcpuid), (enum x2apic_state)a->state));
}

int
ioc_get_x2apic(struct vm *vm, void *arg)
{
	struct vm_x2apic *a = arg;
	enum x2apic_state state;
	int error;

	error = vmm_get_x2apic_state(vmm_vcpu(vm, a->vcpuid), &state);
	if (error == 0)
		a->state = state;
	return (error);
}

static int
gla2gpa(struct vm *vm, struct vm_gla2gpa *a, bool inject)
{
	struct vm_guest_paging paging = { a->cr3, a->cpl, a->cpu_mode,
		a->paging_mode, 0 };

	return (vmm_gla2gpa(vmm_vcpu(vm, a->vcpuid), &paging, a->gla, a->prot,
	    &a->gpa, &a->fault, inject));
}

int
ioc_gla2gpa(struct vm *vm, void *arg)
{
	return (gla2gpa(vm, arg, true));
}

int
ioc_gla2gpa_nofault(struct vm *vm, void *arg)
{
	return (gla2gpa(vm, arg, false));
}

int
ioc_get_paging(struct vm *vm, void *arg)
{
	struct vm_gla2gpa *a = arg;
	struct vm_guest_paging paging;
	int error;

	error = vmm_get_paging(vmm_vcpu(vm, a->vcpuid), &paging);
	a->cr3 = paging.cr3;
	a->cpl = paging.cpl;
	a->cpu_mode = paging.cpu_mode;
	a->paging_mode = paging.paging_mode;
	return (error);
}

int
ioc_activate_cpu(struct vm *vm, void *arg)
{
	struct vm_vcpuid *a = arg;

	return (vmm_activate_cpu(vmm_vcpu(vm, a->vcpuid)));
}

int
ioc_set_intinfo(struct vm *vm, void *arg)
{
	struct vm_intinfo *a = arg;

	return (vmm_exit_intinfo(vmm_vcpu(vm, a->vcpuid), a->info1));
}

int
ioc_get_intinfo(struct vm *vm, void *arg)
{
	struct vm_intinfo *a = arg;

	return (vmm_get_intinfo(vmm_vcpu(vm, a->vcpuid), &a->info1, &a->info2));
}

int
ioc_restart(struct vm *vm, void *arg)
{
	struct vm_vcpuid *a = arg;

	return (vmm_restart_instruction(vmm_vcpu(vm, a->vcpuid)));
}

static int
kernemu(struct vm *vm, struct vm_readwrite_kernemu_device *a, bool write)
{
	if (a->access_width < 1 || a->access_width > 8 ||
	    (a->access_width & (a->access_width - 1)) != 0)
		return (EINVAL);
	if (!vmm_handle_mmio(vmm_vcpu(vm, a->vcpuid), a->gpa, write, &a->value,
		a->access_width))
		return (EINVAL);
	return (0);
}

int
ioc_set_kernemu(struct vm *vm, void *arg)
{
	return (kernemu(vm, arg, true));
}

int
ioc_get_kernemu(struct vm *vm, void *arg)
{
	return (kernemu(vm, arg, false));
}

int
ioc_reset_cpu(struct vm *vm, void *arg)
{
	struct vm_vcpuid *a = arg;

	if (a->arg != 0 && a->arg != 1)
		return (EINVAL);
	return (vmm_vcpu_reset(vmm_vcpu(vm, a->vcpuid), a->arg == 1));
}

int
ioc_get_run_state(struct vm *vm, void *arg)
{
	struct vm_run_state *a = arg;

	a->state = vcpu_run_state(vmm_vcpu(vm, a->vcpuid), &a->sipi_vector);
	return (0);
}

int
ioc_set_run_state(struct vm *vm, void *arg)
{
	struct vm_run_state *a = arg;

	return (vcpu_set_run_state(
	    vmm_vcpu(vm, a->vcpuid), a->state, a->sipi_vector));
}
