/*
 * A small virtio driver for the fake machine.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "virtio_driver.h"

#define MODERN_BAR 4
#define NOTIFY 0x3000

uint64_t
drv_features(struct drv *d)
{
	uint64_t lo;

	if (!d->modern)
		return (bar_in(d->pi, 0, 0, 4));
	bar_out(d->pi, MODERN_BAR, 0, 4, 0);
	lo = bar_in(d->pi, MODERN_BAR, 4, 4);
	bar_out(d->pi, MODERN_BAR, 0, 4, 1);
	return (lo | (uint64_t)bar_in(d->pi, MODERN_BAR, 4, 4) << 32);
}

uint8_t
drv_status(struct drv *d)
{
	return ((uint8_t)(d->modern ? bar_in(d->pi, MODERN_BAR, 20, 1)
				    : bar_in(d->pi, 0, 18, 1)));
}

static void
set_status(struct drv *d, uint8_t val)
{
	if (d->modern)
		bar_out(d->pi, MODERN_BAR, 20, 1, val);
	else
		bar_out(d->pi, 0, 18, 1, val);
}

void
drv_reset(struct drv *d)
{
	set_status(d, 0);
	memset(d->avail, 0, sizeof(d->avail));
	memset(d->used, 0, sizeof(d->used));
}

struct vring_desc *
drv_desc(struct drv *d, int q)
{
	return (gpa(RING(q)));
}

struct vring_avail *
drv_avail(struct drv *d, int q)
{
	return (gpa(RING(q) + d->qsize * 16UL));
}

static uint64_t
used_gpa(struct drv *d, int q)
{
	return (RING(q) +
	    ((d->qsize * 16UL + 6 + d->qsize * 2UL + 4095) & ~4095UL));
}

struct vring_used *
drv_used(struct drv *d, int q)
{
	return (gpa(used_gpa(d, q)));
}

static void
enable_queue(struct drv *d, int q)
{
	uint64_t a[3] = { RING(q), RING(q) + d->qsize * 16UL, used_gpa(d, q) };
	int i;

	memset(gpa(RING(q)), 0, 0x4000);
	if (!d->modern) {
		bar_out(d->pi, 0, 14, 2, (uint32_t)q);
		bar_out(d->pi, 0, 8, 4, (uint32_t)(RING(q) >> 12));
		return;
	}
	bar_out(d->pi, MODERN_BAR, 22, 2, (uint32_t)q);
	for (i = 0; i < 3; i++) {
		bar_out(d->pi, MODERN_BAR, 32 + i * 8UL, 4, (uint32_t)a[i]);
		bar_out(d->pi, MODERN_BAR, 36 + i * 8UL, 4, 0);
	}
	bar_out(d->pi, MODERN_BAR, 28, 2, 1);
}

void
drv_enter(struct drv *d, uint64_t features)
{
	drv_reset(d);
	set_status(d, 3);
	features &= drv_features(d);
	if (!d->packed)
		features &= ~VIRTIO_F_RING_PACKED;
	if (!d->modern) {
		bar_out(d->pi, 0, 4, 4, (uint32_t)features);
		return;
	}
	bar_out(d->pi, MODERN_BAR, 8, 4, 0);
	bar_out(d->pi, MODERN_BAR, 12, 4, (uint32_t)features);
	bar_out(d->pi, MODERN_BAR, 8, 4, 1);
	bar_out(d->pi, MODERN_BAR, 12, 4,
	    (uint32_t)((features | VIRTIO_F_VERSION_1) >> 32));
	set_status(d, 11);
	CHECK(drv_status(d) == 11);
}

void
drv_start(struct drv *d, uint64_t features, int nq)
{
	int q;

	drv_enter(d, features);
	bar_out(d->pi, d->modern ? MODERN_BAR : 0, d->modern ? 22 : 14, 2, 0);
	d->qsize = (uint16_t)bar_in(
	    d->pi, d->modern ? MODERN_BAR : 0, d->modern ? 24 : 12, 2);
	for (q = 0; q < nq; q++)
		enable_queue(d, q);
	set_status(d, d->modern ? 15 : 7);
	CHECK((drv_status(d) & 0xc4) == 4);
}

void
drv_set(struct drv *d, int q, int i, uint64_t addr, uint32_t len,
    uint16_t flags, uint16_t next)
{
	drv_desc(d, q)[i] = (struct vring_desc) { addr, len, flags, next };
}

void
drv_push(struct drv *d, int q, uint16_t head)
{
	struct vring_avail *avail = drv_avail(d, q);

	avail->ring[d->avail[q] % d->qsize] = head;
	__atomic_store_n(&avail->idx, ++d->avail[q], __ATOMIC_RELEASE);
}

void
drv_kick(struct drv *d, int q)
{
	if (d->modern)
		bar_out(d->pi, MODERN_BAR, NOTIFY + q * 4UL, 2, (uint32_t)q);
	else
		bar_out(d->pi, 0, 16, 2, (uint32_t)q);
}

int64_t
drv_wait(struct drv *d, int q)
{
	struct vring_used *used = drv_used(d, q);
	int i;

	for (i = 0; i < 4000; i++) {
		if (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) != d->used[q])
			return (used->ring[d->used[q]++ % d->qsize].len);
		usleep(500);
	}
	return (-1);
}

void
drv_make_image(const char *path, int sectors)
{
	static uint8_t sector[512];
	int fd, i;

	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0);
	for (i = 0; i < sectors; i++) {
		memset(sector, i, sizeof(sector));
		CHECK(write(fd, sector, sizeof(sector)) == sizeof(sector));
	}
	close(fd);
}
