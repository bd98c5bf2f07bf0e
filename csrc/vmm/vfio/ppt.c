/*
 * Devices of the host in a VM: which it has, the guest's memory for their
 * DMA, and their memory in the guest's physical space.
 *
 * A device's BAR stands in the guest either as a slot of the processor's
 * (KVM), or accesses of vCPUs to it are made here, through the device's
 * descriptor: the kernel answers those to a device that does not decode
 * them, where a mapping of ours would get a SIGBUS.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ppt_local.h"

/* I/O APICs, HPET and local APICs stand here, in front of all else. */
#define CHIPS_BASE 0xfec00000UL
#define CHIPS_END 0xfef00000UL
#define GPA_LIMIT (1UL << 46)

int
ppt_refuse(int error, const struct ppt_dev *dev, const char *fmt, ...)
{
	char why[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	vmm_set_error(
	    "host device %d/%d/%d: %s", dev->bus, dev->slot, dev->func, why);
	return (error);
}

static struct ppt_dev *
find(struct vm *vm, int bus, int slot, int func, int *index)
{
	struct ppt_dev *dev;

	for (int i = 0; vm->ppt != NULL && i < PPT_MAX; i++) {
		dev = vm->ppt->devs[i];
		if (dev == NULL || dev->bus != bus || dev->slot != slot ||
		    dev->func != func)
			continue;
		if (index != NULL)
			*index = i;
		return (dev);
	}
	return (NULL);
}

/* The device of an ioctl, whose argument begins with its place. */
static int
find_assigned(struct vm *vm, const void *arg, struct ppt_dev **dev, int *index)
{
	const struct vm_pptdev *a = arg;
	const struct ppt_dev none = {
		.bus = a->bus, .slot = a->slot, .func = a->func
	};

	*dev = find(vm, a->bus, a->slot, a->func, index);
	if (*dev == NULL)
		return (ppt_refuse(ENOENT, &none, "not assigned to this VM"));
	return (0);
}

/* ---- the guest's memory, for devices ---- */

bool
ppt_has_dma(struct vm *vm)
{
	return (vm->ppt != NULL && vm->ppt->container >= 0);
}

int
ppt_dma_map(struct vm *vm, uint64_t gpa, size_t len, void *hva, bool write)
{
	return (vfio_dma_map(vm->ppt, gpa, len, hva, write));
}

void
ppt_dma_unmap(struct vm *vm, uint64_t gpa, size_t len)
{
	if (ppt_has_dma(vm))
		vfio_dma_unmap(vm->ppt, gpa, len);
}

void
ppt_dma_written(struct vm *vm)
{
	if (vm->ops->dma_written != NULL)
		vm->ops->dma_written(vm->cookie);
}

/* ---- the devices' memory, for the guest ---- */

static int
slot_map(struct vm *vm, const struct ppt_dev *dev, struct ppt_map *map)
{
	const struct ppt_region *r = &dev->regions[map->region];
	void *hva;
	int error;

	if ((vm->ops->flags & VMM_OPS_DEVICE_SLOTS) == 0 || !r->mmap)
		return (0);
	hva = mmap(NULL, map->len, PROT_READ | PROT_WRITE, MAP_SHARED, dev->fd,
	    (off_t)(r->offset + map->off));
	/* Parts of a region may be the kernel's own. */
	if (hva == MAP_FAILED)
		return (0);
	error = vm->ops->memmap(
	    vm->cookie, map->gpa, map->len, hva, VM_PROT_READ | VM_PROT_WRITE);
	if (error != 0) {
		munmap(hva, map->len);
		return (error);
	}
	map->hva = hva;
	return (0);
}

static void
map_remove(struct vm *vm, struct ppt_map *map)
{
	if (map->hva != NULL) {
		(void)vm->ops->memmap(vm->cookie, map->gpa, map->len, NULL, 0);
		munmap(map->hva, map->len);
	}
	memset(map, 0, sizeof(*map));
}

int
ppt_remap(struct vm *vm)
{
	struct ppt_dev *dev;
	struct ppt_map *map;
	int error = 0;

	if (ppt_has_dma(vm) && vm->ops->dma_begin != NULL)
		vm->ops->dma_begin(vm->cookie);
	for (int i = 0; vm->ppt != NULL && i < PPT_MAX; i++) {
		if ((dev = vm->ppt->devs[i]) == NULL)
			continue;
		for (int k = 0; error == 0 && k < PPT_MAX_MAPS; k++) {
			map = &dev->maps[k];
			if (map->hva != NULL)
				munmap(map->hva, map->len);
			map->hva = NULL;
			if (map->len != 0)
				error = slot_map(vm, dev, map);
		}
	}
	return (error);
}

/* The device and the mapping that holds gpa. */
static struct ppt_dev *
find_map(struct vm *vm, uint64_t gpa, struct ppt_map **map)
{
	struct ppt_dev *dev;

	for (int i = 0; i < PPT_MAX; i++) {
		if ((dev = vm->ppt->devs[i]) == NULL)
			continue;
		for (int k = 0; k < PPT_MAX_MAPS; k++) {
			*map = &dev->maps[k];
			if (gpa - (*map)->gpa < (*map)->len)
				return (dev);
		}
	}
	return (NULL);
}

bool
ppt_overlaps(struct vm *vm, uint64_t gpa, uint64_t len)
{
	struct ppt_dev *dev;
	struct ppt_map *map;

	for (int i = 0; vm->ppt != NULL && i < PPT_MAX; i++) {
		if ((dev = vm->ppt->devs[i]) == NULL)
			continue;
		for (int k = 0; k < PPT_MAX_MAPS; k++) {
			map = &dev->maps[k];
			if (map->len != 0 && gpa < map->gpa + map->len &&
			    map->gpa < gpa + len)
				return (true);
		}
	}
	return (false);
}

/*
 * One access of the device's; what it does not answer reads as ones.  A
 * register may say that DMA has come to its end; memory says nothing.
 */
static bool
region_rw(struct vm *vm, const struct ppt_dev *dev, int region, uint64_t off,
    int size, bool write, uint64_t *val)
{
	const struct ppt_region *r = &dev->regions[region];
	off_t at = (off_t)(r->offset + off);
	uint64_t data = 0;

	if (off >= r->size || (uint64_t)size > r->size - off)
		return (false);
	if (write) {
		(void)!pwrite(dev->fd, val, (size_t)size, at);
	} else {
		if (pread(dev->fd, &data, (size_t)size, at) != size)
			data = UINT64_MAX >> (64 - 8 * size);
		*val = data;
	}
	if (region < PPT_BARS && !r->prefetch)
		ppt_dma_written(vm);
	return (true);
}

bool
ppt_mmio(struct vm *vm, uint64_t gpa, bool write, uint64_t *val, int size)
{
	struct ppt_map *map;
	struct ppt_dev *dev;
	uint64_t off;

	if (vm->ppt == NULL || (dev = find_map(vm, gpa, &map)) == NULL)
		return (false);
	off = gpa - map->gpa;
	/* Pieces end at pages, and so do accesses. */
	if ((uint64_t)size > map->len - off)
		return (false);
	(void)region_rw(vm, dev, map->region, map->off + off, size, write, val);
	return (true);
}

/* ---- coming and going ---- */

static void
release(struct ppt_vm *pv, int index)
{
	struct ppt_dev *dev = pv->devs[index];

	pthread_mutex_lock(&pv->ppt_mtx);
	ppt_intr_teardown(pv, dev);
	pv->devs[index] = NULL;
	pthread_mutex_unlock(&pv->ppt_mtx);
	for (int k = 0; k < PPT_MAX_MAPS; k++)
		if (dev->maps[k].len != 0)
			map_remove(pv->vm, &dev->maps[k]);
	vfio_reset(dev);
	vfio_close(pv, dev);
	if (pv->container < 0)
		vmm_mem_iommu(pv->vm, false);
	free(dev->vecs);
	free(dev);
}

void
ppt_unassign_all(struct vm *vm)
{
	for (int i = 0; vm->ppt != NULL && i < PPT_MAX; i++)
		if (vm->ppt->devs[i] != NULL)
			release(vm->ppt, i);
}

void
ppt_cleanup(struct vm *vm)
{
	if (vm->ppt == NULL)
		return;
	ppt_unassign_all(vm);
	ppt_intr_stop(vm->ppt);
	pthread_mutex_destroy(&vm->ppt->ppt_mtx);
	free(vm->ppt);
	vm->ppt = NULL;
}

static int
make_ppt_vm(struct vm *vm)
{
	struct ppt_vm *pv;
	int error;

	if (vm->ppt != NULL)
		return (0);
	if ((pv = calloc(1, sizeof(*pv))) == NULL)
		return (ENOMEM);
	pv->vm = vm;
	pv->container = -1;
	pthread_mutex_init(&pv->ppt_mtx, NULL);
	if ((error = ppt_intr_start(pv)) != 0) {
		pthread_mutex_destroy(&pv->ppt_mtx);
		free(pv);
		return (error);
	}
	vm->ppt = pv;
	return (0);
}

/* The first device makes the VM's memory known to the IOMMU. */
static int
dma_begin(struct ppt_vm *pv, const struct ppt_dev *dev)
{
	int error;

	if (pv->vm->ops->dma_begin != NULL)
		pv->vm->ops->dma_begin(pv->vm->cookie);
	error = vmm_mem_iommu(pv->vm, true);
	if (error == 0)
		return (0);
	return (ppt_refuse(error, dev, "guest memory for its DMA: %s",
	    error == ENOMEM ? "more than may be locked (ulimit -l)"
			    : strerror(error)));
}

static int
assign(struct ppt_vm *pv, const struct ppt_dev *want, int slot)
{
	struct ppt_dev *dev;
	int error, max;
	bool first;

	dev = malloc(sizeof(*dev));
	if (dev == NULL)
		return (ENOMEM);
	*dev = *want;
	first = pv->container < 0;
	if ((error = vfio_open(pv, dev)) != 0) {
		free(dev);
		return (error);
	}
	max =
	    dev->msi_limit > dev->msix_limit ? dev->msi_limit : dev->msix_limit;
	dev->vecs = calloc((size_t)max + 1, sizeof(*dev->vecs));
	if (dev->vecs == NULL)
		error = ENOMEM;
	else if (first)
		error = dma_begin(pv, dev);
	if (error != 0) {
		vfio_close(pv, dev);
		free(dev->vecs);
		free(dev);
		return (error);
	}
	for (int i = 0; i <= max; i++)
		dev->vecs[i].fd = dev->vecs[i].route = -1;
	vfio_reset(dev);
	pthread_mutex_lock(&pv->ppt_mtx);
	pv->devs[slot] = dev;
	pthread_mutex_unlock(&pv->ppt_mtx);
	return (0);
}

/* ---- the ioctls ---- */

int
ioc_bind_pptdev(struct vm *vm, void *arg)
{
	const struct vm_pptdev *a = arg;
	struct ppt_dev dev = {
		.bus = a->bus, .slot = a->slot, .func = a->func
	};
	int error, slot;

	if (dev.bus < 0 || dev.bus > 255 || dev.slot < 0 || dev.slot > 31 ||
	    dev.func < 0 || dev.func > 7)
		return (ppt_refuse(EINVAL, &dev,
		    "buses go to 255, slots to 31, functions to 7"));
	if (find(vm, dev.bus, dev.slot, dev.func, NULL) != NULL)
		return (ppt_refuse(EBUSY, &dev, "this VM has it already"));
	if ((error = vfio_host_check(&dev, &dev.group)) != 0)
		return (error);
	if ((vm->memflags & VM_MEM_F_WIRED) == 0)
		return (ppt_refuse(
		    EINVAL, &dev, "guest memory must be wired for its DMA"));
	if ((error = make_ppt_vm(vm)) != 0)
		return (error);
	for (slot = 0; slot < PPT_MAX && vm->ppt->devs[slot] != NULL; slot++)
		;
	if (slot == PPT_MAX)
		return (ppt_refuse(
		    ENOSPC, &dev, "a VM has %d of them at most", PPT_MAX));
	return (assign(vm->ppt, &dev, slot));
}

int
ioc_unbind_pptdev(struct vm *vm, void *arg)
{
	struct ppt_dev *dev;
	int error, index;

	error = find_assigned(vm, arg, &dev, &index);
	if (error == 0)
		release(vm->ppt, index);
	return (error);
}

/* The memory BAR that holds [hpa, hpa+len) on the host, or -1. */
static int
find_bar(const struct ppt_dev *dev, uint64_t hpa, uint64_t len)
{
	const struct ppt_region *r;

	for (int i = 0; i < PPT_BARS; i++) {
		r = &dev->regions[i];
		if (r->hpa != 0 && !r->io && hpa >= r->hpa &&
		    hpa - r->hpa < r->size && len <= r->size - (hpa - r->hpa))
			return (i);
	}
	return (-1);
}

int
ioc_map_pptdev_mmio(struct vm *vm, void *arg)
{
	const struct vm_pptdev_mmio *a = arg;
	struct ppt_map *map = NULL;
	struct ppt_dev *dev;
	int bar, error;

	if ((error = find_assigned(vm, arg, &dev, NULL)) != 0)
		return (error);
	if (a->len == 0 || ((a->gpa | a->hpa | a->len) & PAGE_MASK_4K) != 0 ||
	    a->gpa >= GPA_LIMIT || a->len > GPA_LIMIT - a->gpa)
		return (ppt_refuse(EINVAL, dev, "whole pages can be mapped"));
	bar = find_bar(dev, a->hpa, a->len);
	if (bar < 0)
		return (ppt_refuse(EINVAL, dev,
		    "%#lx bytes at %#lx are not in a BAR of it", (long)a->len,
		    (long)a->hpa));
	if ((a->gpa < CHIPS_END && a->gpa + a->len > CHIPS_BASE) ||
	    vmm_mem_overlaps(vm, a->gpa, a->len) ||
	    ppt_overlaps(vm, a->gpa, a->len))
		return (ppt_refuse(EEXIST, dev,
		    "something else stands in %#lx bytes at %#lx", (long)a->len,
		    (long)a->gpa));
	for (int k = 0; map == NULL && k < PPT_MAX_MAPS; k++)
		if (dev->maps[k].len == 0)
			map = &dev->maps[k];
	if (map == NULL)
		return (ppt_refuse(
		    ENOSPC, dev, "in more than %d pieces", PPT_MAX_MAPS));
	*map = (struct ppt_map) { .gpa = a->gpa,
		.len = a->len,
		.off = a->hpa - dev->regions[bar].hpa,
		.region = bar };
	if ((error = slot_map(vm, dev, map)) != 0)
		memset(map, 0, sizeof(*map));
	return (error);
}

int
ioc_unmap_pptdev_mmio(struct vm *vm, void *arg)
{
	const struct vm_pptdev_mmio *a = arg;
	struct ppt_dev *dev;
	int error;

	if ((error = find_assigned(vm, arg, &dev, NULL)) != 0)
		return (error);
	for (int k = 0; k < PPT_MAX_MAPS; k++) {
		if (dev->maps[k].len == 0 || dev->maps[k].gpa != a->gpa ||
		    dev->maps[k].len != a->len)
			continue;
		map_remove(vm, &dev->maps[k]);
		return (0);
	}
	return (ppt_refuse(ENOENT, dev, "%#lx bytes at %#lx are not mapped",
	    (long)a->len, (long)a->gpa));
}

int
ioc_pptdev_msi(struct vm *vm, void *arg)
{
	const struct vm_pptdev_msi *a = arg;
	struct ppt_dev *dev;
	int error, slot;

	if ((error = find_assigned(vm, arg, &dev, &slot)) != 0)
		return (error);
	if (a->numvec < 0 || a->numvec > dev->msi_limit)
		return (
		    ppt_refuse(EINVAL, dev, "it has %d MSI messages, not %d",
			dev->msi_limit, a->numvec));
	return (ppt_intr_msi(
	    vm->ppt, dev, slot, a->addr, (uint32_t)a->msg, a->numvec));
}

int
ioc_pptdev_msix(struct vm *vm, void *arg)
{
	const struct vm_pptdev_msix *a = arg;
	struct ppt_dev *dev;
	int error, slot;

	if ((error = find_assigned(vm, arg, &dev, &slot)) != 0)
		return (error);
	if (a->idx < 0 || a->idx >= dev->msix_limit)
		return (
		    ppt_refuse(EINVAL, dev, "MSI-X entry %d of a table of %d",
			a->idx, dev->msix_limit));
	return (ppt_intr_msix(vm->ppt, dev, slot, a->idx, a->addr,
	    (uint32_t)a->msg, (a->vector_control & 1) != 0));
}

int
ioc_pptdev_disable_msix(struct vm *vm, void *arg)
{
	struct ppt_dev *dev;
	int error;

	if ((error = find_assigned(vm, arg, &dev, NULL)) != 0)
		return (error);
	pthread_mutex_lock(&vm->ppt->ppt_mtx);
	if (dev->intr == PPT_MSIX)
		ppt_intr_teardown(vm->ppt, dev);
	pthread_mutex_unlock(&vm->ppt->ppt_mtx);
	return (0);
}

int
ioc_get_pptdev_limits(struct vm *vm, void *arg)
{
	struct vm_pptdev_limits *a = arg;
	struct ppt_dev *dev;
	int error;

	if ((error = find_assigned(vm, arg, &dev, NULL)) != 0)
		return (error);
	a->msi_limit = dev->msi_limit;
	a->msix_limit = dev->msix_limit;
	return (0);
}

int
ioc_pptdev_bar(struct vm *vm, void *arg)
{
	struct vm_pptdev_bar *a = arg;
	const struct ppt_region *r;
	struct ppt_dev *dev;
	int error;

	if ((error = find_assigned(vm, arg, &dev, NULL)) != 0)
		return (error);
	if (a->bar < 0 || a->bar >= PPT_BARS)
		return (ppt_refuse(EINVAL, dev, "BARs go to %d", PPT_BARS - 1));
	r = &dev->regions[a->bar];
	a->hpa = r->hpa;
	a->len = r->size;
	a->flags = r->io ? VM_PPTBAR_IO : 0;
	return (0);
}

int
ioc_pptdev_rw(struct vm *vm, void *arg)
{
	struct vm_pptdev_rw *a = arg;
	struct ppt_dev *dev;
	int error;

	if ((error = find_assigned(vm, arg, &dev, NULL)) != 0)
		return (error);
	if ((a->region < 0 || a->region >= PPT_BARS) &&
	    a->region != VM_PPT_CONFIG)
		return (ppt_refuse(EINVAL, dev, "region %d", a->region));
	if (a->size != 1 && a->size != 2 && a->size != 4 && a->size != 8)
		return (ppt_refuse(EINVAL, dev, "access of %d bytes", a->size));
	if (!region_rw(vm, dev, a->region, a->offset, a->size, a->write != 0,
		&a->value))
		return (ppt_refuse(EINVAL, dev, "%d bytes at %#lx of region %d",
		    a->size, (long)a->offset, a->region));
	return (0);
}
