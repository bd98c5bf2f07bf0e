/*
 * The devices of one VM, and the kernel's VFIO below them.  Only this folder
 * knows <linux/vfio.h>.
 *
 * What a VM has of devices, groups and mappings changes under its write hold.
 * ppt_mtx guards messages; it comes after the VM's holds and before the local
 * APICs, and nothing of VFIO's is waited for in the thread that sends them.
 */
#ifndef _PPT_LOCAL_H_
#define _PPT_LOCAL_H_

#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>

#include "vmm_local.h"
#include "vmm_ppt.h"

#define PPT_MAX 32	/* devices of a VM */
#define PPT_MAX_MAPS 16 /* mapped pieces of a device's BARs */
#define PPT_BARS 6

struct ppt_region {
	uint64_t hpa; /* where the host has it; 0: nowhere */
	uint64_t size;
	uint64_t offset; /* in the device's descriptor */
	bool io, prefetch, mmap;
};

struct ppt_map {
	uint64_t gpa;
	uint64_t len; /* 0: free */
	uint64_t off; /* in the region */
	int region;
	void *hva; /* a slot of the processor's; NULL: ppt_mmio() serves it */
};

enum ppt_intr { PPT_NO_INTR, PPT_MSI, PPT_MSIX };

/* One message: its eventfd is the kernel's to write. */
struct ppt_vec {
	int fd;	   /* -1: not set up */
	int route; /* the processor sends it; -1: our thread does */
	uint64_t addr;
	uint32_t msg;
};

struct ppt_dev {
	int bus, slot, func;
	int group;
	int fd;
	bool can_reset;
	struct ppt_region regions[VFIO_PCI_NUM_REGIONS];
	struct ppt_map maps[PPT_MAX_MAPS];
	int msi_limit, msix_limit;
	/* Under ppt_mtx. */
	enum ppt_intr intr;
	int nvecs;
	struct ppt_vec *vecs; /* as many as the larger limit */
};

struct ppt_group {
	int id;
	int fd;
	int refs; /* devices; 0: free */
};

struct ppt_vm {
	struct vm *vm;
	int container; /* -1: no device */
	struct ppt_group groups[PPT_MAX];
	struct ppt_dev *devs[PPT_MAX];

	pthread_mutex_t ppt_mtx;
	pthread_t thread;
	bool thread_up;
	int epfd, stopfd;
};

/* Sets the error's text, "host device B/S/F: ...", and returns error. */
int ppt_refuse(int error, const struct ppt_dev *dev, const char *fmt, ...)
    __attribute__((__format__(printf, 3, 4)));

/* By now a device may have written any RAM that it wanted. */
void ppt_dma_written(struct vm *vm);

/* ---- vfio_host.c: what the host says of a device ---- */
/* 0 and *group, or why it cannot be had. */
int vfio_host_check(const struct ppt_dev *dev, int *group);
/* A member of the group that stands in the way, for people. */
void vfio_host_blocker(int group, char *buf, size_t size);
void vfio_host_bars(struct ppt_dev *dev);
void vfio_host_name(const struct ppt_dev *dev, char *buf, size_t size);

/* ---- vfio.c: groups, devices, memory ---- */
int vfio_open(struct ppt_vm *pv, struct ppt_dev *dev);
void vfio_close(struct ppt_vm *pv, struct ppt_dev *dev);
void vfio_reset(struct ppt_dev *dev);
int vfio_dma_map(
    struct ppt_vm *pv, uint64_t iova, size_t len, void *hva, bool write);
void vfio_dma_unmap(struct ppt_vm *pv, uint64_t iova, size_t len);
/* Messages first to first+n-1 write to these (-1: none); n 0: all stop. */
int vfio_set_irqs(
    struct ppt_dev *dev, enum ppt_intr kind, int first, int n, const int *fds);

/* ---- ppt_intr.c ---- */
int ppt_intr_start(struct ppt_vm *pv);
void ppt_intr_stop(struct ppt_vm *pv);
/* All messages of the device stop; ppt_mtx is held. */
void ppt_intr_teardown(struct ppt_vm *pv, struct ppt_dev *dev);
int ppt_intr_msi(struct ppt_vm *pv, struct ppt_dev *dev, int slot,
    uint64_t addr, uint32_t msg, int numvec);
int ppt_intr_msix(struct ppt_vm *pv, struct ppt_dev *dev, int slot, int idx,
    uint64_t addr, uint32_t msg, bool masked);

#endif
