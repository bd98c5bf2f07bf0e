/*
 * A virtio driver of a few lines for the fake machine, over either register
 * block.  Ring memory: queue q has 16 KB at RING(q), the first one's at the
 * end of low memory: what reads past them meets a guard; buffers start at DATA.
 */
#ifndef _VIRTIO_DRIVER_H_
#define _VIRTIO_DRIVER_H_

#include "fake_machine.h"
#include "virtio.h"

#define RING(q) (LOW_SIZE - ((q) + 1) * 0x4000UL)
#define DATA 0x200000UL

struct drv {
	struct pci_devinst *pi;
	bool modern;
	bool packed;	    /* take packed rings when they are offered */
	uint16_t qsize;	    /* of every queue */
	uint16_t avail[40]; /* next index */
	uint16_t used[40];
};

void drv_reset(struct drv *d);
/* Reset and negotiate; features are masked by the offer. */
void drv_enter(struct drv *d, uint64_t features);
/* Negotiate and enable queues [0, nq); features are masked by the offer. */
void drv_start(struct drv *d, uint64_t features, int nq);
uint8_t drv_status(struct drv *d);
struct vring_desc *drv_desc(struct drv *d, int q);
struct vring_avail *drv_avail(struct drv *d, int q);
struct vring_used *drv_used(struct drv *d, int q);
void drv_set(struct drv *d, int q, int i, uint64_t addr, uint32_t len,
    uint16_t flags, uint16_t next);
void drv_push(struct drv *d, int q, uint16_t head);
void drv_kick(struct drv *d, int q);
/* Wait for one used entry; its length, or -1 after two seconds. */
int64_t drv_wait(struct drv *d, int q);
uint64_t drv_features(struct drv *d);

/* A file of 512-byte sectors, each filled with its number's low byte. */
void drv_make_image(const char *path, int sectors);
#endif
