/*
 * VFIO: a container for the VM (its IOMMU domain), the IOMMU groups of its
 * devices, and the devices' descriptors (Linux, Documentation/driver-api/
 * vfio).  What a process leaves open the kernel resets and takes back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ppt_local.h"

#define CONTAINER "/dev/vfio/vfio"

static int
container_open(struct ppt_vm *pv, const struct ppt_dev *dev)
{
	int fd;

	if (pv->container >= 0)
		return (0);
	fd = open(CONTAINER, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return (ppt_refuse(errno, dev, "%s: %s", CONTAINER,
		    errno == ENOENT || errno == ENODEV
			? "the host's kernel has no VFIO loaded"
			: strerror(errno)));
	if (ioctl(fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0) {
		close(fd);
		return (ppt_refuse(
		    EOPNOTSUPP, dev, "the host's VFIO has no type 1 IOMMU"));
	}
	pv->container = fd;
	return (0);
}

static void
container_close(struct ppt_vm *pv)
{
	for (int i = 0; i < PPT_MAX; i++)
		if (pv->groups[i].refs != 0)
			return;
	if (pv->container >= 0)
		close(pv->container);
	pv->container = -1;
}

/* ---- groups ---- */

static struct ppt_group *
group_find(struct ppt_vm *pv, int id)
{
	for (int i = 0; i < PPT_MAX; i++)
		if (pv->groups[i].refs != 0 && pv->groups[i].id == id)
			return (&pv->groups[i]);
	return (NULL);
}

static bool
first_group(const struct ppt_vm *pv)
{
	for (int i = 0; i < PPT_MAX; i++)
		if (pv->groups[i].refs != 0)
			return (false);
	return (true);
}

static int
group_attach(struct ppt_vm *pv, const struct ppt_dev *dev, int fd)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char blocker[96];
	int error;

	if (ioctl(fd, VFIO_GROUP_GET_STATUS, &status) != 0)
		return (ppt_refuse(errno, dev, "IOMMU group %d: %s", dev->group,
		    strerror(errno)));
	if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0) {
		vfio_host_blocker(dev->group, blocker, sizeof(blocker));
		return (ppt_refuse(EBUSY, dev,
		    "all of its IOMMU group %d must be bound to vfio-pci%s%s",
		    dev->group, blocker[0] != '\0' ? ": " : "", blocker));
	}
	if (ioctl(fd, VFIO_GROUP_SET_CONTAINER, &pv->container) != 0)
		return (ppt_refuse(errno, dev, "IOMMU group %d: %s", dev->group,
		    errno == EBUSY ? "another process has it"
				   : strerror(errno)));
	if (first_group(pv) &&
	    ioctl(pv->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0) {
		error = errno;
		return (ppt_refuse(error, dev, "the IOMMU refuses: %s%s",
		    strerror(error),
		    error == EPERM ? " (no interrupt remapping?)" : ""));
	}
	return (0);
}

/* The device's group joins the VM's container, with a device more in it. */
static int
group_get(struct ppt_vm *pv, const struct ppt_dev *dev, struct ppt_group **retg)
{
	struct ppt_group *g = group_find(pv, dev->group);
	char path[32];
	int error, fd;

	if (g == NULL) {
		for (g = pv->groups; g->refs != 0; g++)
			; /* as many groups as devices */
		snprintf(path, sizeof(path), "/dev/vfio/%d", dev->group);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return (ppt_refuse(errno, dev, "%s: %s", path,
			    errno == EBUSY ? "another process has it"
					   : strerror(errno)));
		if ((error = group_attach(pv, dev, fd)) != 0) {
			close(fd);
			return (error);
		}
		*g = (struct ppt_group) { .id = dev->group, .fd = fd };
	}
	g->refs++;
	*retg = g;
	return (0);
}

static void
group_put(struct ppt_group *g)
{
	if (--g->refs != 0)
		return;
	close(g->fd);
	memset(g, 0, sizeof(*g));
}

/* ---- devices ---- */

static void
read_regions(struct ppt_dev *dev)
{
	struct vfio_region_info info;

	for (unsigned int i = 0; i <= VFIO_PCI_CONFIG_REGION_INDEX; i++) {
		memset(&info, 0, sizeof(info));
		info.argsz = sizeof(info);
		info.index = i;
		if (ioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, &info) != 0)
			continue;
		dev->regions[i].size = info.size;
		dev->regions[i].offset = info.offset;
		dev->regions[i].mmap =
		    (info.flags & VFIO_REGION_INFO_FLAG_MMAP) != 0;
	}
	vfio_host_bars(dev);
}

static int
irq_count(struct ppt_dev *dev, unsigned int index)
{
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = index };

	if (ioctl(dev->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) != 0 ||
	    (info.flags & VFIO_IRQ_INFO_EVENTFD) == 0 || info.count > 2048)
		return (0);
	return ((int)info.count);
}

static int
device_open(struct ppt_dev *dev, const struct ppt_group *g)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	char name[32];

	vfio_host_name(dev, name, sizeof(name));
	dev->fd = ioctl(g->fd, VFIO_GROUP_GET_DEVICE_FD, name);
	if (dev->fd < 0)
		return (ppt_refuse(errno, dev, "%s",
		    errno == EBUSY ? "another process has it"
				   : strerror(errno)));
	if (ioctl(dev->fd, VFIO_DEVICE_GET_INFO, &info) != 0 ||
	    (info.flags & VFIO_DEVICE_FLAGS_PCI) == 0) {
		close(dev->fd);
		dev->fd = -1;
		return (ppt_refuse(ENXIO, dev, "VFIO has no PCI device there"));
	}
	dev->can_reset = (info.flags & VFIO_DEVICE_FLAGS_RESET) != 0;
	read_regions(dev);
	dev->msi_limit = irq_count(dev, VFIO_PCI_MSI_IRQ_INDEX);
	dev->msix_limit = irq_count(dev, VFIO_PCI_MSIX_IRQ_INDEX);
	return (0);
}

int
vfio_open(struct ppt_vm *pv, struct ppt_dev *dev)
{
	struct ppt_group *g = NULL;
	int error;

	error = container_open(pv, dev);
	if (error == 0 && (error = group_get(pv, dev, &g)) == 0) {
		error = device_open(dev, g);
		if (error != 0)
			group_put(g);
	}
	if (error != 0)
		container_close(pv);
	return (error);
}

void
vfio_close(struct ppt_vm *pv, struct ppt_dev *dev)
{
	close(dev->fd);
	dev->fd = -1;
	group_put(group_find(pv, dev->group));
	container_close(pv);
}

/* Its failure is the next owner's to see: the kernel tries again at close. */
void
vfio_reset(struct ppt_dev *dev)
{
	if (dev->can_reset)
		(void)ioctl(dev->fd, VFIO_DEVICE_RESET);
}

/* ---- memory ---- */

int
vfio_dma_map(
    struct ppt_vm *pv, uint64_t iova, size_t len, void *hva, bool write)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ |
		    (write ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uintptr_t)hva,
		.iova = iova,
		.size = len,
	};

	return (
	    ioctl(pv->container, VFIO_IOMMU_MAP_DMA, &map) != 0 ? errno : 0);
}

void
vfio_dma_unmap(struct ppt_vm *pv, uint64_t iova, size_t len)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = len,
	};

	(void)ioctl(pv->container, VFIO_IOMMU_UNMAP_DMA, &unmap);
}

/* ---- interrupts ---- */

int
vfio_set_irqs(
    struct ppt_dev *dev, enum ppt_intr kind, int first, int n, const int *fds)
{
	struct vfio_irq_set *set;
	size_t size = sizeof(*set) + (size_t)n * sizeof(*fds);
	int error, rc;

	set = calloc(1, size);
	if (set == NULL)
		return (ENOMEM);
	set->argsz = (uint32_t)size;
	set->index =
	    kind == PPT_MSI ? VFIO_PCI_MSI_IRQ_INDEX : VFIO_PCI_MSIX_IRQ_INDEX;
	set->start = (uint32_t)first;
	set->count = (uint32_t)n;
	set->flags = VFIO_IRQ_SET_ACTION_TRIGGER |
	    (n > 0 ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
	if (n > 0)
		memcpy(set->data, fds, (size_t)n * sizeof(*fds));
	rc = ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, set);
	error = errno;
	free(set);
	if (rc < 0)
		return (
		    ppt_refuse(error, dev, "interrupts: %s", strerror(error)));
	/* So many, and no more, would the host give. */
	if (rc > 0)
		return (ppt_refuse(ENOSPC, dev,
		    "the host gives %d interrupts instead of %d", rc, n));
	return (0);
}
