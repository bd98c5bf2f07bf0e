/* Capabilities of a virtual CPU, in FreeBSD's order. */
#ifndef _VMM_CAP_H_
#define _VMM_CAP_H_

enum vm_cap_type {
	VM_CAP_HALT_EXIT = 0,
	VM_CAP_MTRAP_EXIT,
	VM_CAP_PAUSE_EXIT,
	VM_CAP_UNRESTRICTED_GUEST,
	VM_CAP_ENABLE_INVPCID,
	VM_CAP_BPT_EXIT,
	VM_CAP_RDPID,
	VM_CAP_RDTSCP,
	VM_CAP_IPI_EXIT,
	VM_CAP_MASK_HWINTR,
	VM_CAP_RFLAGS_TF,
	VM_CAP_MAX
};

int vm_capability_name2type(const char *name); /* -1: no such name */
const char *vm_capability_type2name(int type); /* NULL: no such type */

#endif
