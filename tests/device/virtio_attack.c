/*
 * Random attacks on a virtio device, while another processor changes the
 * rings under its hands.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "virtio_attack.h"

static struct drv drv, *const d = &drv;

static uint64_t seed = 88172645463325252UL;

static uint32_t
rnd32(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return ((uint32_t)(seed >> 16));
}

static _Atomic bool flipping;

/* Another processor that changes rings and buffers all the time. */
static void *
flipper(void *arg)
{
	uint64_t x = 1;
	struct vring_desc *desc;

	while (flipping) {
		x = x * 6364136223846793005UL + 1442695040888963407UL;
		desc = gpa(RING(x >> 60 & 3) + (x >> 40 & 15) * 16);
		__atomic_store_n(&desc->len,
		    (x >> 33 & 1) != 0 ? 512 : 0xfffffff0u, __ATOMIC_RELAXED);
		if ((x >> 34 & 3) == 0)
			__atomic_store_n(
			    &desc->next, (uint16_t)(x >> 48), __ATOMIC_RELAXED);
		if ((x >> 36 & 3) == 0)
			__atomic_store_n(&desc->addr,
			    (x >> 38 & 1) != 0 ? BUF : x, __ATOMIC_RELAXED);
	}
	return (NULL);
}

static uint64_t
some_address(void)
{
	static const uint64_t base[] = { BUF, HDR, TABLE, DATA, STATUS,
		LOW_SIZE - 64, HIGH_BASE, HIGH_BASE + HIGH_SIZE - 64, 0,
		RING(0) };

	return (base[rnd32() % 10] + (rnd32() % 3 == 0 ? rnd32() % 4096 : 0));
}

void
attack(const char *name, bool modern, int nq, int milliseconds,
    const char *image, const char *sockpath)
{
	struct timespec now, start;
	pthread_t thread;
	int i, q;

	set_config_value("virtio.modern", modern ? "true" : "false");
	set_config_value("dev.path", image);
	set_config_value("dev.port.0.name", "zero");
	set_config_value("dev.port.0.path", sockpath);
	d->pi = fake_device(name);
	d->modern = modern;
	drv_start(d, ~0UL, nq);
	flipping = true;
	CHECK(pthread_create(&thread, NULL, flipper, NULL) == 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		q = (int)(rnd32() % (unsigned int)nq);
		for (i = 0; i < 8; i++) {
			drv_set(d, q, i, some_address(),
			    rnd32() % 4 == 0 ? rnd32() : 16 << rnd32() % 8,
			    rnd32() % 3 == 0 ? rnd32() & 7 : N | (rnd32() & W),
			    rnd32() % 8 == 0 ? (uint16_t)rnd32()
					     : (uint16_t)(i + 1));
			*(struct vring_desc *)gpa(TABLE + i * 16UL) =
			    drv_desc(d, q)[i];
		}
		*(struct hdr *)gpa(HDR) = (struct hdr) { rnd32() % 12, 0,
			rnd32() % (DISK_SECTORS + 8) };
		*(uint8_t *)gpa(STATUS) = 0xee;
		for (i = (int)(rnd32() % 4); i >= 0; i--)
			drv_push(
			    d, q, rnd32() % 16 == 0 ? rnd32() : rnd32() % 8);
		drv_kick(d, q);
		if (rnd32() % 4 == 0)
			bar_out(d->pi, modern ? 4 : 0, rnd32() % 64,
			    1 << rnd32() % 3, rnd32());
		if ((drv_status(d) & 0x40) != 0 || rnd32() % 64 == 0)
			drv_start(d, ~0UL, nq);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000 +
		(now.tv_nsec - start.tv_nsec) / 1000000 <
	    milliseconds);
	flipping = false;
	pthread_join(thread, NULL);
	fake_destroy(d->pi);
}
