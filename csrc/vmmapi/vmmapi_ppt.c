/*
 * Devices of the host for guests, by the vmm's ioctls; vm_open_error() says
 * why one was refused.
 */
#include "vmm.h"
#include "vmmapi_local.h"

static int
ppt_ioctl(struct vmctx *ctx, uint32_t cmd, void *arg, size_t len)
{
	vmm_set_error("%s", "");
	return (vmctx_ioctl(ctx, cmd, arg, len));
}
#define PPTIOC(ctx, cmd, arg) ppt_ioctl(ctx, cmd, arg, sizeof(*(arg)))

int
vm_assign_pptdev(struct vmctx *ctx, int bus, int slot, int func)
{
	struct vm_pptdev a = { bus, slot, func, 0 };

	return (PPTIOC(ctx, VM_BIND_PPTDEV, &a));
}

int
vm_unassign_pptdev(struct vmctx *ctx, int bus, int slot, int func)
{
	struct vm_pptdev a = { bus, slot, func, 0 };

	return (PPTIOC(ctx, VM_UNBIND_PPTDEV, &a));
}

int
vm_map_pptdev_mmio(struct vmctx *ctx, int bus, int slot, int func,
    vm_paddr_t gpa, size_t len, vm_paddr_t hpa)
{
	struct vm_pptdev_mmio a = { bus, slot, func, 0, gpa, hpa, len };

	return (PPTIOC(ctx, VM_MAP_PPTDEV_MMIO, &a));
}

int
vm_unmap_pptdev_mmio(
    struct vmctx *ctx, int bus, int slot, int func, vm_paddr_t gpa, size_t len)
{
	struct vm_pptdev_mmio a = { bus, slot, func, 0, gpa, 0, len };

	return (PPTIOC(ctx, VM_UNMAP_PPTDEV_MMIO, &a));
}

int
vm_setup_pptdev_msi(struct vmctx *ctx, int bus, int slot, int func,
    uint64_t addr, uint64_t msg, int numvec)
{
	struct vm_pptdev_msi a = { bus, slot, func, numvec, addr, msg };

	return (PPTIOC(ctx, VM_PPTDEV_MSI, &a));
}

int
vm_setup_pptdev_msix(struct vmctx *ctx, int bus, int slot, int func, int idx,
    uint64_t addr, uint64_t msg, uint32_t vector_control)
{
	struct vm_pptdev_msix a = { bus, slot, func, idx, addr, msg,
		vector_control, 0 };

	return (PPTIOC(ctx, VM_PPTDEV_MSIX, &a));
}

int
vm_disable_pptdev_msix(struct vmctx *ctx, int bus, int slot, int func)
{
	struct vm_pptdev a = { bus, slot, func, 0 };

	return (PPTIOC(ctx, VM_PPTDEV_DISABLE_MSIX, &a));
}

int
vm_get_pptdev_limits(struct vmctx *ctx, int bus, int slot, int func,
    int *msi_limit, int *msix_limit)
{
	struct vm_pptdev_limits a = { .bus = bus, .slot = slot, .func = func };

	if (PPTIOC(ctx, VM_GET_PPTDEV_LIMITS, &a) != 0)
		return (-1);
	*msi_limit = a.msi_limit;
	*msix_limit = a.msix_limit;
	return (0);
}

int
vm_get_pptdev_bar(struct vmctx *ctx, int bus, int slot, int func, int bar,
    vm_paddr_t *hpa, size_t *len, bool *io)
{
	struct vm_pptdev_bar a = {
		.bus = bus, .slot = slot, .func = func, .bar = bar
	};

	if (PPTIOC(ctx, VM_PPTDEV_BAR, &a) != 0)
		return (-1);
	*hpa = a.hpa;
	*len = a.len;
	*io = (a.flags & VM_PPTBAR_IO) != 0;
	return (0);
}

int
vm_read_pptdev(struct vmctx *ctx, int bus, int slot, int func, int region,
    uint64_t offset, int size, uint64_t *val)
{
	struct vm_pptdev_rw a = { bus, slot, func, region, offset, 0, size, 0 };

	if (PPTIOC(ctx, VM_PPTDEV_RW, &a) != 0)
		return (-1);
	*val = a.value;
	return (0);
}

int
vm_write_pptdev(struct vmctx *ctx, int bus, int slot, int func, int region,
    uint64_t offset, int size, uint64_t val)
{
	struct vm_pptdev_rw a = { bus, slot, func, region, offset, val, size,
		1 };

	return (PPTIOC(ctx, VM_PPTDEV_RW, &a));
}
