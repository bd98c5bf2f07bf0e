/* What the hostile virtio drivers share: places, requests, chance. */
#ifndef _VIRTIO_ATTACK_H_
#define _VIRTIO_ATTACK_H_

#include "virtio_driver.h"

/* Of what the hostile driver puts there. */
#define DISK_SECTORS 33000 /* more than one discard may have */
#define HDR DATA
#define BUF (DATA + 0x1000)
#define STATUS (DATA + 0x100000)
#define TABLE (DATA + 0x110000)

#define N VRING_DESC_F_NEXT
#define W VRING_DESC_F_WRITE
#define I VRING_DESC_F_INDIRECT

/* A request of virtio-blk. */
struct hdr {
	uint32_t type, prio;
	uint64_t sector;
};

/* Chance for some milliseconds, against a processor that changes rings. */
void attack(const char *name, bool modern, int nq, int milliseconds,
    const char *image, const char *sockpath);

#endif
