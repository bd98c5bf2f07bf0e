/*
 * What sysfs says of a device of the host: whether it is there, behind an
 * IOMMU, and left to VFIO; and where its BARs lie.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ppt_local.h"

#define SYS_DEVICES "/sys/bus/pci/devices"
#define SYS_GROUPS "/sys/kernel/iommu_groups"
#define DRIVER "vfio-pci"
/* IORESOURCE_IO and _PREFETCH of the kernel. */
#define RESOURCE_IO 0x100UL
#define RESOURCE_PREFETCH 0x2000UL

void
vfio_host_name(const struct ppt_dev *dev, char *buf, size_t size)
{
	snprintf(buf, size, "0000:%02x:%02x.%d", (unsigned int)dev->bus,
	    (unsigned int)dev->slot, dev->func);
}

/* The last name of what a link leads to; "" when there is none. */
static void
link_name(const char *path, char *buf, size_t size)
{
	char link[PATH_MAX];
	const char *base;
	ssize_t n;

	n = readlink(path, link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = '\0';
	base = strrchr(link, '/');
	snprintf(
	    buf, size, "%.*s", (int)size - 1, base != NULL ? base + 1 : link);
}

int
vfio_host_check(const struct ppt_dev *dev, int *group)
{
	char device[64], name[32], path[96];
	char *end;
	long id;

	vfio_host_name(dev, name, sizeof(name));
	snprintf(device, sizeof(device), "%s/%s", SYS_DEVICES, name);
	if (access(device, F_OK) != 0)
		return (ppt_refuse(ENOENT, dev, "the host has no such device"));
	snprintf(path, sizeof(path), "%s/iommu_group", device);
	link_name(path, name, sizeof(name));
	if (name[0] == '\0')
		return (ppt_refuse(
		    ENXIO, dev, "the host has no IOMMU, or has it turned off"));
	id = strtol(name, &end, 10);
	if (*end != '\0' || id < 0 || id > INT_MAX)
		return (ppt_refuse(ENXIO, dev, "IOMMU group \"%s\"", name));
	snprintf(path, sizeof(path), "%s/driver", device);
	link_name(path, name, sizeof(name));
	if (strcmp(name, DRIVER) != 0)
		return (ppt_refuse(EBUSY, dev,
		    "not bound to the host's driver vfio-pci (but to %s)",
		    name[0] != '\0' ? name : "none"));
	*group = (int)id;
	return (0);
}

void
vfio_host_blocker(int group, char *buf, size_t size)
{
	char dir[64], driver[32], path[PATH_MAX];
	struct dirent *de;
	DIR *d;

	buf[0] = '\0';
	snprintf(dir, sizeof(dir), "%s/%d/devices", SYS_GROUPS, group);
	if ((d = opendir(dir)) == NULL)
		return;
	while (buf[0] == '\0' && (de = readdir(d)) != NULL) {
		if (de->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s/driver", dir, de->d_name);
		link_name(path, driver, sizeof(driver));
		/* Ports of the bus may keep their own driver, or none. */
		if (driver[0] != '\0' && strcmp(driver, DRIVER) != 0 &&
		    strcmp(driver, "pcieport") != 0)
			snprintf(buf, size, "%s has the driver %s", de->d_name,
			    driver);
	}
	closedir(d);
}

/* Its lines are first and last address and flags of BARs 0 to 5 and more. */
void
vfio_host_bars(struct ppt_dev *dev)
{
	unsigned long first, last, flags;
	char name[32], path[96];
	FILE *file;

	vfio_host_name(dev, name, sizeof(name));
	snprintf(path, sizeof(path), "%s/%s/resource", SYS_DEVICES, name);
	if ((file = fopen(path, "re")) == NULL)
		return;
	for (int i = 0; i < PPT_BARS; i++) {
		if (fscanf(file, "%lx %lx %lx", &first, &last, &flags) != 3)
			break;
		if (dev->regions[i].size == 0 || first == 0)
			continue;
		dev->regions[i].hpa = first;
		dev->regions[i].io = (flags & RESOURCE_IO) != 0;
		dev->regions[i].prefetch = (flags & RESOURCE_PREFETCH) != 0;
	}
	fclose(file);
}
