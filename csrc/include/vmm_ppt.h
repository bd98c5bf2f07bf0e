/*
 * Devices of the host for guests (FreeBSD's ppt(4); VFIO here): arguments of
 * the ioctls, and what the vmm asks of the devices.  A device is named by its
 * place on the host, in PCI domain 0.
 */
#ifndef _VMM_PPT_H_
#define _VMM_PPT_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm;

struct vm_pptdev {
	int32_t bus, slot, func;
	int32_t pad;
};

struct vm_pptdev_mmio {
	int32_t bus, slot, func;
	int32_t pad;
	uint64_t gpa;
	uint64_t hpa; /* in one of the device's memory BARs on the host */
	uint64_t len;
};

struct vm_pptdev_msi {
	int32_t bus, slot, func;
	int32_t numvec; /* 0: no more messages */
	uint64_t addr;
	uint64_t msg;
};

struct vm_pptdev_msix {
	int32_t bus, slot, func;
	int32_t idx;
	uint64_t addr;
	uint64_t msg;
	uint32_t vector_control; /* bit 0: masked */
	uint32_t pad;
};

struct vm_pptdev_limits {
	int32_t bus, slot, func;
	int32_t msi_limit;  /* messages that the device can send; 0: none */
	int32_t msix_limit; /* entries of its MSI-X table; 0: none */
	int32_t pad;
};

/* A BAR as the host has it.  len 0: there is none. */
#define VM_PPTBAR_IO 0x1u
struct vm_pptdev_bar {
	int32_t bus, slot, func;
	int32_t bar;
	uint64_t hpa;
	uint64_t len;
	uint32_t flags;
	uint32_t pad;
};

/* An access to a BAR (0 to 5) or to the configuration space. */
#define VM_PPT_CONFIG 7
struct vm_pptdev_rw {
	int32_t bus, slot, func;
	int32_t region;
	uint64_t offset;
	uint64_t value;
	int32_t size; /* 1, 2, 4 or 8 bytes */
	int32_t write;
};

/* ---- vmm/vfio: the ioctls' functions ---- */
int ioc_bind_pptdev(struct vm *vm, void *arg);
int ioc_unbind_pptdev(struct vm *vm, void *arg);
int ioc_map_pptdev_mmio(struct vm *vm, void *arg);
int ioc_unmap_pptdev_mmio(struct vm *vm, void *arg);
int ioc_pptdev_msi(struct vm *vm, void *arg);
int ioc_pptdev_msix(struct vm *vm, void *arg);
int ioc_pptdev_disable_msix(struct vm *vm, void *arg);
int ioc_get_pptdev_limits(struct vm *vm, void *arg);
int ioc_pptdev_bar(struct vm *vm, void *arg);
int ioc_pptdev_rw(struct vm *vm, void *arg);

/* ---- vmm/vfio: for the rest of the vmm ---- */
/* All devices go back to the host; the caller has the VM's write hold. */
void ppt_unassign_all(struct vm *vm);
/* The VM goes, and nobody else knows it any more. */
void ppt_cleanup(struct vm *vm);
/* Are there devices that want to reach RAM? */
bool ppt_has_dma(struct vm *vm);
/* RAM came to stand at gpa, or went; devices reach it by that address. */
int ppt_dma_map(struct vm *vm, uint64_t gpa, size_t len, void *hva, bool write);
void ppt_dma_unmap(struct vm *vm, uint64_t gpa, size_t len);
/* Does [gpa, gpa+len) touch memory of a device? */
bool ppt_overlaps(struct vm *vm, uint64_t gpa, uint64_t len);
/* An access of a vCPU that runs; false: it is not to a device of the host. */
bool ppt_mmio(struct vm *vm, uint64_t gpa, bool write, uint64_t *val, int size);
/* Tell a new backend of what is mapped. */
int ppt_remap(struct vm *vm);

#endif
