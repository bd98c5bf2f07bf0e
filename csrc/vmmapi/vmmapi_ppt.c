/*
 * Devices of the host for guests.  VFIO would give them; until the PCI model
 * that uses it is built, a device is looked at and refused for the first
 * reason that stands in its way.  No VM has one, so all else finds none.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm.h"
#include "vmmapi_local.h"

static int
refuse(int error, int bus, int slot, int func, const char *why)
{
	vmm_set_error("host device %d/%d/%d: %s", bus, slot, func, why);
	return (vmapi_error(error));
}

static int
not_assigned(int bus, int slot, int func)
{
	return (refuse(ENOENT, bus, slot, func, "not assigned to this VM"));
}

static bool
has_driver(const char *device, const char *want)
{
	char path[128], link[256];
	const char *base;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/driver", device);
	n = readlink(path, link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = '\0';
	base = strrchr(link, '/');
	return (base != NULL && strcmp(base + 1, want) == 0);
}

int
vm_assign_pptdev(struct vmctx *ctx, int bus, int slot, int func)
{
	char device[96], path[128];

	(void)ctx;
	if (bus < 0 || bus > 255 || slot < 0 || slot > 31 || func < 0 ||
	    func > 7)
		return (refuse(EINVAL, bus, slot, func,
		    "buses go to 255, slots to 31, functions to 7"));
	snprintf(device, sizeof(device),
	    "/sys/bus/pci/devices/0000:%02x:%02x.%d", (unsigned int)bus,
	    (unsigned int)slot, func);
	if (access(device, F_OK) != 0)
		return (refuse(
		    ENOENT, bus, slot, func, "the host has no such device"));
	snprintf(path, sizeof(path), "%s/iommu_group", device);
	if (access(path, F_OK) != 0)
		return (refuse(ENXIO, bus, slot, func,
		    "the host has no IOMMU, or has it turned off"));
	if (!has_driver(device, "vfio-pci"))
		return (refuse(EBUSY, bus, slot, func,
		    "not bound to the host's driver vfio-pci"));
	return (refuse(EOPNOTSUPP, bus, slot, func,
	    "this version passes no device through"));
}

int
vm_unassign_pptdev(struct vmctx *ctx, int bus, int slot, int func)
{
	(void)ctx;
	return (not_assigned(bus, slot, func));
}

int
vm_map_pptdev_mmio(struct vmctx *ctx, int bus, int slot, int func,
    vm_paddr_t gpa, size_t len, vm_paddr_t hpa)
{
	(void)ctx;
	(void)gpa;
	(void)len;
	(void)hpa;
	return (not_assigned(bus, slot, func));
}

int
vm_unmap_pptdev_mmio(
    struct vmctx *ctx, int bus, int slot, int func, vm_paddr_t gpa, size_t len)
{
	(void)ctx;
	(void)gpa;
	(void)len;
	return (not_assigned(bus, slot, func));
}

int
vm_setup_pptdev_msi(struct vmctx *ctx, int bus, int slot, int func,
    uint64_t addr, uint64_t msg, int numvec)
{
	(void)ctx;
	(void)addr;
	(void)msg;
	(void)numvec;
	return (not_assigned(bus, slot, func));
}

int
vm_setup_pptdev_msix(struct vmctx *ctx, int bus, int slot, int func, int idx,
    uint64_t addr, uint64_t msg, uint32_t vector_control)
{
	(void)ctx;
	(void)idx;
	(void)addr;
	(void)msg;
	(void)vector_control;
	return (not_assigned(bus, slot, func));
}

int
vm_disable_pptdev_msix(struct vmctx *ctx, int bus, int slot, int func)
{
	(void)ctx;
	return (not_assigned(bus, slot, func));
}
