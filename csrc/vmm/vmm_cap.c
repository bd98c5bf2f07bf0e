/*
 * Capabilities of a vCPU: their names, and the way to the processor that has
 * them.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm_local.h"

static const char *const cap_names[VM_CAP_MAX] = {
	[VM_CAP_HALT_EXIT] = "hlt_exit",
	[VM_CAP_MTRAP_EXIT] = "mtrap_exit",
	[VM_CAP_PAUSE_EXIT] = "pause_exit",
	[VM_CAP_UNRESTRICTED_GUEST] = "unrestricted_guest",
	[VM_CAP_ENABLE_INVPCID] = "enable_invpcid",
	[VM_CAP_BPT_EXIT] = "bpt_exit",
	[VM_CAP_RDPID] = "rdpid",
	[VM_CAP_RDTSCP] = "rdtscp",
	[VM_CAP_IPI_EXIT] = "ipi_exit",
	[VM_CAP_MASK_HWINTR] = "mask_hwintr",
	[VM_CAP_RFLAGS_TF] = "rflags_tf",
};

int
vm_capability_name2type(const char *name)
{
	for (int i = 0; i < VM_CAP_MAX; i++)
		if (strcmp(cap_names[i], name) == 0)
			return (i);
	return (-1);
}

const char *
vm_capability_type2name(int type)
{
	if (type < 0 || type >= VM_CAP_MAX)
		return (NULL);
	return (cap_names[type]);
}

int
vmm_get_capability(struct vcpu *vcpu, int type, int *val)
{
	if (type < 0 || type >= VM_CAP_MAX)
		return (EINVAL);
	return (vcpu->vm->ops->getcap(vcpu->cookie, type, val));
}

int
vmm_set_capability(struct vcpu *vcpu, int type, int val)
{
	if (type < 0 || type >= VM_CAP_MAX)
		return (EINVAL);
	return (vcpu->vm->ops->setcap(vcpu->cookie, type, val));
}
