/*
 * Guest memory: one KVM slot for each mapping of the VM, read-only ones for
 * ROM (a write there leaves KVM as a memory access).
 */
#include <errno.h>
#include <string.h>

#include "kvm_local.h"

static int
slot_set(struct kvm_vm *kv, int i, uint64_t gpa, uint64_t len, void *hva,
    bool readonly)
{
	struct kvm_userspace_memory_region region;

	memset(&region, 0, sizeof(region));
	region.slot = (uint32_t)i;
	region.flags = readonly ? KVM_MEM_READONLY : 0;
	region.guest_phys_addr = gpa;
	region.memory_size = len;
	region.userspace_addr = (uintptr_t)hva;
	if (KVM_IOCTL(kv->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return (errno);
	kv->slot[i].gpa = gpa;
	kv->slot[i].len = len;
	return (0);
}

/* The slot that holds exactly this mapping, or a free one for len 0. */
static int
slot_find(struct kvm_vm *kv, uint64_t gpa, uint64_t len)
{
	for (int i = 0; i < KVM_SLOTS; i++)
		if (kv->slot[i].len == len &&
		    (len == 0 || kv->slot[i].gpa == gpa))
			return (i);
	return (-1);
}

int
kvm_memmap(void *vmi, vm_paddr_t gpa, size_t len, void *hva, int prot)
{
	struct kvm_vm *kv = vmi;
	int error, i;

	pthread_mutex_lock(&kv->mtx);
	if (prot == 0) {
		i = slot_find(kv, gpa, len);
		error = i < 0 ? ENOENT : slot_set(kv, i, gpa, 0, NULL, false);
	} else {
		i = slot_find(kv, 0, 0);
		error = i < 0 ? ENOSPC
			      : slot_set(kv, i, gpa, len, hva,
				    (prot & VM_PROT_WRITE) == 0);
	}
	pthread_mutex_unlock(&kv->mtx);
	return (error);
}
