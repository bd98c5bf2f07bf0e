/*
 * What a hostile driver tries against the virtio transport and its devices,
 * by the rows of hostile.md (V01 to V19, B08, P04).  After each attack the
 * device is reset and has to work.  "ID ok" is said of a row when both
 * register blocks have stood it.
 *
 * Arguments: a folder for scratch files, and seconds of random attacks.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "mevent.h"
#include "virtio_attack.h"

#define OK 0
#define IOERR 1
#define UNSUPP 2

static char image[256], sockpath[108];
static struct drv drv, *const d = &drv;

/* ---- a disk and its good requests ---- */

static void
make_image(const char *dir)
{
	snprintf(image, sizeof(image), "%s/disk.img", dir);
	snprintf(sockpath, sizeof(sockpath), "%s/port", dir);
	drv_make_image(image, DISK_SECTORS);
}

static void
disk(bool modern, bool ro)
{
	set_config_value("dev.path", image);
	if (ro)
		set_config_value("dev.ro", "true");
	set_config_value("virtio.modern", modern ? "true" : "false");
	d->pi = fake_device("virtio-blk");
	d->modern = modern;
	drv_start(d, ~0UL, 1);
}

static void
header(uint32_t type, uint64_t sector)
{
	*(struct hdr *)gpa(HDR) = (struct hdr) { type, 0, sector };
	*(uint8_t *)gpa(STATUS) = 0xee;
}

/* Push chain 0, kick, and return the request's status byte. */
static int
submit(void)
{
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	CHECK(drv_wait(d, 0) > 0);
	return (*(uint8_t *)gpa(STATUS));
}

static int
request(uint32_t type, uint64_t sector, uint32_t len, uint16_t flags)
{
	header(type, sector);
	drv_set(d, 0, 0, HDR, 16, N, 1);
	drv_set(d, 0, 1, BUF, len, N | flags, 2);
	drv_set(d, 0, 2, STATUS, 1, W, 0);
	return (submit());
}

static void
good_read(void)
{
	memset(gpa(BUF), 0xcc, 1024);
	CHECK(request(0, 7, 1024, W) == OK);
	CHECK(((uint8_t *)gpa(BUF))[0] == 7);
	CHECK(((uint8_t *)gpa(BUF))[1023] == 8);
}

/* The chain at 0 has to stop the device; a reset has to revive it. */
static void
refused(const char *what)
{
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	if ((drv_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET) == 0) {
		fprintf(stderr, "%s was taken\n", what);
		CHECK(!"refused");
	}
	drv_kick(d, 0);
	drv_start(d, ~0UL, 1);
	good_read();
}

/* ---- the transport ---- */

static void
bad_buffers(void)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = { { LOW_SIZE, 512 }, { LOW_SIZE - 256, 512 },
		{ 0xfee00000, 512 }, { HIGH_BASE - 256, 512 },
		{ HIGH_BASE + HIGH_SIZE - 256, 512 },
		{ HIGH_BASE + HIGH_SIZE, 1 }, { 0xfffffffffffff000UL, 0x2000 },
		{ 0xffffffffffffffffUL, 1 }, { BUF, 0xffffffffu },
		{ 0, 0xffffffffu }, { HIGH_BASE, HIGH_SIZE + 1 } };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		header(0, 0);
		drv_set(d, 0, 0, HDR, 16, N, 1);
		drv_set(d, 0, 1, bad[i].addr, bad[i].len, N | W, 2);
		drv_set(d, 0, 2, STATUS, 1, W, 0);
		refused("a buffer outside memory");
	}
	/* The last bytes of either part are fine. */
	header(0, 0);
	drv_set(d, 0, 0, HDR, 16, N, 1);
	drv_set(d, 0, 1, LOW_SIZE - 512, 512, N | W, 3);
	drv_set(d, 0, 3, HIGH_BASE + HIGH_SIZE - 512, 512, N | W, 2);
	drv_set(d, 0, 2, STATUS, 1, W, 0);
	CHECK(submit() == OK);
}

static void
bad_chains(void)
{
	int i;

	header(0, 0);
	drv_set(d, 0, 0, HDR, 16, N, 0);
	refused("a loop of one");
	drv_set(d, 0, 0, HDR, 16, N, 1);
	drv_set(d, 0, 1, BUF, 0, N | W, 0);
	refused("a loop with an empty buffer");
	for (i = 0; i < d->qsize; i++)
		drv_set(d, 0, i, BUF, 1, N, (uint16_t)((i + 1) % d->qsize));
	refused("a loop of the whole ring");
	drv_set(d, 0, 0, HDR, 16, N, d->qsize);
	refused("a next outside the ring");
	drv_set(d, 0, 0, HDR, 16, N, 0xffff);
	refused("a next outside the ring");
	drv_set(d, 0, 0, HDR, 0, 0, 0);
	refused("an empty chain");
	drv_set(d, 0, 0, STATUS, 1, W | N, 1);
	drv_set(d, 0, 1, HDR, 16, 0, 0);
	refused("readable after writable");
	drv_set(d, 0, 0, HDR, 16, 0, 0);
	refused("a request without a status");
	/* Zero-length elements are nothing. */
	header(0, 7);
	drv_set(d, 0, 0, HDR, 16, N, 3);
	drv_set(d, 0, 3, 0xdead000, 0, N, 1);
	drv_set(d, 0, 1, BUF, 512, N | W, 4);
	drv_set(d, 0, 4, ~0UL, 0, N | W, 2);
	drv_set(d, 0, 2, STATUS, 1, W, 0);
	CHECK(submit() == OK);
}

static void
bad_indirects(void)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
	} bad[] = { { TABLE, 0, I }, { TABLE, 15, I }, { TABLE, 17, I },
		{ TABLE, 48, I | N }, { LOW_SIZE - 16, 48, I },
		{ 0xffffffffffffffe0UL, 48, I }, { TABLE, 0xfffffff0u, I },
		{ TABLE, 0x200000, I } };
	struct vring_desc *t;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		drv_set(d, 0, 0, bad[i].addr, bad[i].len, bad[i].flags, 1);
		refused("an indirect table");
	}
	t = gpa(TABLE + 8); /* no alignment is asked for */
	header(0, 7);
	t[0] = (struct vring_desc) { HDR, 16, N, 1 };
	t[1] = (struct vring_desc) { BUF, 512, N | W, 2 };
	t[2] = (struct vring_desc) { STATUS, 1, W, 0 };
	drv_set(d, 0, 0, TABLE + 8, 48, I, 0);
	CHECK(submit() == OK);
	t[1].next = 3;
	drv_set(d, 0, 0, TABLE + 8, 48, I, 0);
	refused("an indirect next outside the table");
	t[1].next = 0;
	drv_set(d, 0, 0, TABLE + 8, 48, I, 0);
	refused("an indirect loop");
	t[1] = (struct vring_desc) { TABLE + 8, 48, I, 0 };
	drv_set(d, 0, 0, TABLE + 8, 48, I, 0);
	refused("an indirect in an indirect");
	drv_start(d, ~VIRTIO_RING_F_INDIRECT_DESC, 1);
	drv_set(d, 0, 0, TABLE + 8, 48, I, 0);
	refused("an indirect that was not negotiated");
}

static void
bad_indexes(void)
{
	d->avail[0] += (uint16_t)(d->qsize + 1);
	refused("an avail index ahead of the ring");
	drv_push(d, 0, d->qsize);
	refused("a head outside the ring");
	/* A write, which is not over at once; what it writes is there. */
	good_read();
	header(1, 7);
	drv_set(d, 0, 0, HDR, 16, N, 1);
	drv_set(d, 0, 1, BUF, 512, N, 2);
	drv_set(d, 0, 2, STATUS, 1, W, 0);
	drv_push(d, 0, 0);
	refused("a head twice");
	drv_push(d, 0, 0xffff);
	refused("a head outside the ring");
}

static void
odd_registers(void)
{
	static const int sizes[] = { 1, 2, 4 };
	uint64_t off;
	int bar, i;

	for (bar = 0; bar < 6; bar++) {
		if (d->pi->pi_bar[bar].type == PCIBAR_NONE)
			continue;
		for (off = 0; off < d->pi->pi_bar[bar].size; off++) {
			for (i = 0; i < 3; i++)
				bar_in(d->pi, bar, off, sizes[i]);
		}
	}
	drv_start(d, ~0UL, 1);
	for (bar = 0; bar < 6; bar++) {
		if (d->pi->pi_bar[bar].type == PCIBAR_NONE)
			continue;
		for (off = 0; off < d->pi->pi_bar[bar].size; off++) {
			for (i = 0; i < 3; i++)
				bar_out(d->pi, bar, off, sizes[i], 0xffffffffu);
		}
	}
	drv_start(d, ~0UL, 1);
	good_read();
	if (!d->modern) {
		bar_out(d->pi, 0, 16, 2, 0xffff); /* notify */
		bar_out(d->pi, 0, 14, 2, 0xffff); /* select */
		CHECK(bar_in(d->pi, 0, 12, 2) == 0);
		bar_out(d->pi, 0, 8, 4, 0x10);
		CHECK(bar_in(d->pi, 0, 8, 4) == 0);
		CHECK(bar_in(d->pi, 0, 20 + 60, 4) == ~0U);
		CHECK(bar_in(d->pi, 0, 0, 2) == ~0U);
	} else {
		bar_out(d->pi, 4, 0x3ffc, 2, 0xffff);
		bar_out(d->pi, 4, 22, 2, 0xffff);
		CHECK(bar_in(d->pi, 4, 24, 2) == 0);
		CHECK(bar_in(d->pi, 4, 0x2000 + 60, 1) == 0xff ||
		    bar_in(d->pi, 4, 0x2000 + 60, 1) == ~0U);
	}
	good_read();
}

static void
vectors(void)
{
	int bar = d->modern ? 4 : 0, reg = d->modern ? 16 : 20;

	d->pi->pi_msix.enabled = true;
	bar_out(d->pi, bar, (uint64_t)reg, 2, 1);
	CHECK(bar_in(d->pi, bar, (uint64_t)reg, 2) == 1);
	bar_out(d->pi, bar, (uint64_t)reg, 2, 2);
	CHECK(bar_in(d->pi, bar, (uint64_t)reg, 2) == 0xffff);
	bar_out(d->pi, bar, (uint64_t)reg, 2, 0xfffe);
	CHECK(bar_in(d->pi, bar, (uint64_t)reg, 2) == 0xffff);
	d->pi->pi_msix.enabled = false;
}

static void
modern_order(void)
{
	uint32_t size;

	drv_reset(d);
	bar_out(d->pi, 4, 20, 1, 3);
	bar_out(d->pi, 4, 28, 2, 1); /* enabled before FEATURES_OK */
	CHECK(bar_in(d->pi, 4, 28, 2) == 0);
	bar_out(d->pi, 4, 8, 4, 1);
	bar_out(d->pi, 4, 12, 4, ~0U); /* features that nobody offers */
	bar_out(d->pi, 4, 20, 1, 11);
	CHECK(drv_status(d) == 3);
	drv_start(d, ~0UL, 1);
	bar_out(d->pi, 4, 20, 1, 1); /* bits do not go away */
	CHECK(drv_status(d) == 15);
	bar_out(d->pi, 4, 22, 2, 0);
	size = bar_in(d->pi, 4, 24, 2);
	bar_out(d->pi, 4, 24, 2, 4); /* size and rings of a live queue */
	bar_out(d->pi, 4, 32, 4, 0x1000);
	bar_out(d->pi, 4, 52, 4, 0x1000);
	CHECK(bar_in(d->pi, 4, 24, 2) == size);
	CHECK(bar_in(d->pi, 4, 32, 4) == RING(0));
	good_read();
	drv_reset(d);
	bar_out(d->pi, 4, 22, 2, 0);
	bar_out(d->pi, 4, 24, 2, 3);
	bar_out(d->pi, 4, 24, 2, 0);
	bar_out(d->pi, 4, 24, 2, 2 * size);
	CHECK(bar_in(d->pi, 4, 24, 2) == size);
	drv_start(d, ~0UL, 1);
	good_read();
}

/* The window in configuration space reaches the registers and no more. */
static void
config_window(void)
{
	int cap = d->pi->pi_prevcap;
	uint32_t val;
	size_t i;
	static const uint32_t bad[][3] = { { 4, 0x4000, 4 }, { 4, 0x3ffe, 4 },
		{ 4, 2, 4 }, { 4, 0, 3 }, { 4, 0, 0 }, { 4, 0, 8 },
		{ 4, 0xfffffffcu, 4 }, { 0, 0, 4 }, { 1, 0, 4 }, { 5, 0, 4 },
		{ 255, 0, 4 } };

	CHECK(d->pi->pi_d->pe_cfgwrite(d->pi, cap + 4, 1, 4) == 0);
	CHECK(d->pi->pi_d->pe_cfgwrite(d->pi, cap + 8, 4, 20) == 0);
	CHECK(d->pi->pi_d->pe_cfgwrite(d->pi, cap + 12, 4, 1) == 0);
	d->pi->pi_d->pe_cfgread(d->pi, cap + 16, 1, &val);
	CHECK(pci_get_cfgdata8(d->pi, cap + 16) == 15);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		d->pi->pi_d->pe_cfgwrite(d->pi, cap + 4, 1, bad[i][0]);
		d->pi->pi_d->pe_cfgwrite(d->pi, cap + 8, 4, bad[i][1]);
		d->pi->pi_d->pe_cfgwrite(d->pi, cap + 12, 4, bad[i][2]);
		d->pi->pi_d->pe_cfgread(d->pi, cap + 16, 4, &val);
		d->pi->pi_d->pe_cfgwrite(d->pi, cap + 16, 4, 0);
	}
	CHECK(drv_status(d) == 15);
	good_read();
}

static void
rings_move(void)
{
	/* Rings nowhere: the queue stays off, and the device lives on. */
	static const uint32_t pfns[] = { LOW_SIZE >> 12, (LOW_SIZE >> 12) - 1,
		0xfffff, 0xffffffffu };
	size_t i;

	for (i = 0; i < sizeof(pfns) / sizeof(pfns[0]); i++) {
		drv_reset(d);
		bar_out(d->pi, 0, 14, 2, 0);
		bar_out(d->pi, 0, 8, 4, pfns[i]);
		drv_kick(d, 0);
		drv_start(d, ~0UL, 1);
	}
	good_read();
}

/* A reset has to wait for requests: their memory is the driver's then. */
static void
reset_in_flight(void)
{
	uint8_t *p;
	int fd, i, j;

	fd = open(image, O_RDWR);
	CHECK(fd >= 0 && fsync(fd) == 0);
	for (i = 0; i < 40; i++) {
		/* What is in memory is read before the kick returns. */
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		header(0, 0);
		for (j = 0; j + 2 < d->qsize; j += 3) {
			drv_set(d, 0, j, HDR, 16, N, (uint16_t)(j + 1));
			drv_set(d, 0, j + 1, BUF + j / 3 * 0x4000UL, 0x4000,
			    N | W, (uint16_t)(j + 2));
			drv_set(d, 0, j + 2, STATUS, 1, W, 0);
			drv_push(d, 0, (uint16_t)j);
		}
		drv_kick(d, 0);
		drv_reset(d);
		p = gpa(BUF);
		memset(p, 0x5a, 0xa8000);
		usleep(500);
		for (j = 0; j < 0xa8000; j++)
			CHECK(p[j] == 0x5a);
		drv_start(d, ~0UL, 1);
	}
	close(fd);
	good_read();
}

static void
no_bus_master(void)
{
	pci_set_cfgdata16(d->pi, PCIR_COMMAND, 0);
	header(0, 7);
	drv_set(d, 0, 0, HDR, 16, N, 1);
	drv_set(d, 0, 1, BUF, 512, N | W, 2);
	drv_set(d, 0, 2, STATUS, 1, W, 0);
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	usleep(20000);
	CHECK(*(uint8_t *)gpa(STATUS) == 0xee);
	pci_set_cfgdata16(d->pi, PCIR_COMMAND, PCIM_CMD_BUSMASTEREN);
	drv_start(d, ~0UL, 1);
	good_read();
}

static void
interrupts(void)
{
	int before;

	/* INTx follows the ISR register. */
	good_read();
	usleep(2000);
	CHECK(fake_intx == 1);
	CHECK((d->modern ? bar_in(d->pi, 4, 0x1000, 1)
			 : bar_in(d->pi, 0, 19, 1)) == 1);
	CHECK(fake_intx == 0);
	/* A driver that wants none gets none, and one for what it asked. */
	drv_start(d, ~(VIRTIO_RING_F_EVENT_IDX), 1);
	drv_avail(d, 0)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	good_read();
	usleep(2000);
	CHECK(fake_intx == 0);
	drv_start(d, ~0UL, 1);
	drv_avail(d, 0)->ring[d->qsize] = 1; /* used_event */
	good_read();
	usleep(2000);
	CHECK(fake_intx == 0);
	good_read();
	usleep(2000);
	CHECK(fake_intx == 1);
	/* MSI-X: the queue's vector. */
	drv_start(d, ~0UL, 1);
	d->pi->pi_msix.enabled = true;
	d->pi->pi_msix.table[1].addr = 0xfee00000;
	d->pi->pi_msix.table[1].vector_control = 0;
	bar_out(d->pi, d->modern ? 4 : 0, d->modern ? 26 : 22, 2, 1);
	before = fake_msis;
	good_read();
	usleep(2000);
	CHECK(fake_msis == before + 1);
	d->pi->pi_msix.enabled = false;
}

/* ---- virtio-blk ---- */

static void
disk_requests(bool ro)
{
	uint64_t far[] = { DISK_SECTORS, DISK_SECTORS - 1, 1UL << 53, 1UL << 54,
		1UL << 55, 1UL << 63, ~0UL };
	size_t i;

	for (i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		CHECK(request(0, far[i], 1024, W) == IOERR);
		CHECK(request(1, far[i], 1024, 0) == IOERR);
	}
	CHECK(request(0, 0, 513, W) == IOERR);
	CHECK(request(1, 0, 1, 0) == IOERR);
	memset(gpa(BUF), 9, 512);
	CHECK(request(1, 9, 512, 0) == (ro ? IOERR : OK));
	CHECK(request(0x80000001u, 9, 512, 0) == (ro ? IOERR : OK));
	CHECK(request(2, 0, 512, 0) == UNSUPP);
	CHECK(request(99, 0, 512, W) == UNSUPP);
	CHECK(request(4, 0, 512, W) == OK);
	memset(gpa(BUF), 0xcc, 64);
	CHECK(request(8, 0, 20, W) == OK);
	CHECK(memcmp(gpa(BUF), "BHYVE-", 6) == 0);
	memset(gpa(BUF), 0xcc, 64);
	CHECK(request(8, 0, 3, W) == OK);
	CHECK(memcmp(gpa(BUF), "BHY\xcc", 4) == 0);
	/* The header in pieces, and the status behind the data. */
	header(0, 7);
	drv_set(d, 0, 0, HDR, 5, N, 1);
	drv_set(d, 0, 1, HDR + 5, 11, N, 2);
	drv_set(d, 0, 2, STATUS - 512, 513, W, 0);
	CHECK(submit() == OK);
	CHECK(*(uint8_t *)gpa(STATUS - 1) == 7);
	header(0, 7);
	drv_set(d, 0, 0, HDR, 15, N, 2);
	drv_set(d, 0, 2, STATUS, 1, W, 0);
	CHECK(submit() == IOERR);
}

static int
discard(uint64_t sector, uint32_t num, uint32_t flags, uint32_t len)
{
	struct {
		uint64_t sector;
		uint32_t num, flags;
	} *range = gpa(BUF);

	range->sector = sector;
	range->num = num;
	range->flags = flags;
	return (request(11, 0, len, 0));
}

static void
disk_discards(void)
{
	if ((drv_features(d) & (1UL << 13)) == 0) {
		CHECK(discard(0, 8, 0, 16) == UNSUPP);
		return;
	}
	CHECK(discard(64, 8, 0, 16) == OK);
	CHECK(discard(64, 0, 0, 16) == OK);
	CHECK(discard(64, 8, 1, 16) == UNSUPP);
	CHECK(discard(64, 8, 0x80000000u, 16) == UNSUPP);
	CHECK(discard(64, 8, 0, 15) == IOERR);
	CHECK(discard(64, 8, 0, 32) == IOERR);
	CHECK(discard(DISK_SECTORS, 1, 0, 16) == IOERR);
	CHECK(discard(0, 0xffffffffu, 0, 16) == IOERR);
	CHECK(discard(~0UL, 8, 0, 16) == IOERR);
	CHECK(discard(1UL << 55, 8, 0, 16) == IOERR);
}

/* As much as a table holds, each of it all of memory: more than 32 bits. */
static void
huge_total(void)
{
	struct vring_desc *t = gpa(TABLE);
	int i, n = 1025;

	for (i = 0; i < n; i++)
		t[i] = (struct vring_desc) { 0, LOW_SIZE,
			(uint16_t)(W | (i + 1 < n ? N : 0)),
			(uint16_t)(i + 1) };
	t[0] = (struct vring_desc) { HDR, 16, N, 1 };
	drv_set(d, 0, 0, TABLE, (uint32_t)n * 16, I, 0);
	refused("a chain of 4 GiB");
	/* What the ring itself can hold is 512 MiB: an answer, at once. */
	header(0, 7);
	drv_set(d, 0, 0, HDR, 16, N, 1);
	for (i = 1; i < d->qsize; i++)
		drv_set(d, 0, i, 0, LOW_SIZE,
		    (uint16_t)(W | (i + 1 < d->qsize ? N : 0)),
		    (uint16_t)(i + 1));
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	(void)drv_wait(d, 0);
	drv_start(d, ~0UL, 1);
	memset(gpa(0), 0, 0x10000);
	good_read();
}

/* ---- virtio-rnd and virtio-console ---- */

static void
rnd(bool modern)
{
	set_config_value("virtio.modern", modern ? "true" : "false");
	d->pi = fake_device("virtio-rnd");
	d->modern = modern;
	drv_start(d, ~0UL, 1);
	drv_set(d, 0, 0, BUF, 0x100000, W, 0);
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	CHECK(drv_wait(d, 0) == 0x10000);
	drv_set(d, 0, 0, BUF, 16, 0, 0);
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	CHECK((drv_status(d) & 0x40) != 0);
	drv_start(d, ~0UL, 1);
	drv_set(d, 0, 0, LOW_SIZE, 16, W, 0);
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	CHECK((drv_status(d) & 0x40) != 0);
	drv_start(d, ~0UL, 1);
	fake_destroy(d->pi);
}

static void
control(uint32_t id, uint16_t event, uint16_t value, uint32_t len)
{
	struct {
		uint32_t id;
		uint16_t event, value;
	} *msg = gpa(BUF);

	msg->id = id;
	msg->event = event;
	msg->value = value;
	drv_set(d, 3, 0, BUF, len, 0, 0);
	drv_push(d, 3, 0);
	drv_kick(d, 3);
	CHECK(drv_wait(d, 3) == 0);
}

static void
console(bool modern)
{
	static const uint16_t events[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 0xffff };
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	size_t i, j;
	int s;

	set_config_value("virtio.modern", modern ? "true" : "false");
	set_config_value("dev.port.0.name", "zero");
	set_config_value("dev.port.0.path", sockpath);
	d->pi = fake_device("virtio-console");
	d->modern = modern;
	drv_start(d, ~0UL, 34);
	for (j = 0; j < 100; j++) { /* nobody reads the answers */
		for (i = 0; i < sizeof(events) / sizeof(events[0]); i++)
			control(0, events[i], 1, 8);
	}
	for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		control(1, events[i], 1, 8);
		control(16, events[i], 1, 8);
		control(0xffffffffu, events[i], 1, 8);
		control(0, events[i], 1, 7);
		control(0, events[i], 1, 0x1000);
	}
	drv_set(d, 2, 0, BUF, 3, W, 0); /* a short buffer for an answer */
	drv_push(d, 2, 0);
	drv_kick(d, 2);
	CHECK(drv_wait(d, 2) == 3);
	/* A client that does not read, and a reset with its chain held. */
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(sun.sun_path, sockpath);
	CHECK(connect(s, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	usleep(50000);
	for (i = 0; i < 8; i++) {
		drv_set(d, 1, (int)i, DATA, 0x100000, 0, 0);
		drv_push(d, 1, (uint16_t)i);
	}
	drv_kick(d, 1);
	usleep(20000);
	drv_start(d, ~0UL, 34);
	close(s);
	usleep(50000);
	drv_set(d, 0, 0, BUF, 16, 0, 0);
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	fake_destroy(d->pi);
}

static void
stood(int modern, const char *rows)
{
	char copy[128], *id, *rest;

	snprintf(copy, sizeof(copy), "%s", rows);
	for (rest = copy; modern != 0 && (id = strsep(&rest, " ")) != NULL;)
		printf("%s ok\n", id);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	int modern, ms;

	CHECK(argc == 3);
	ms = atoi(argv[2]) * 1000 / 6;
	make_image(argv[1]);
	fake_init();
	CHECK(mevent_init() == 0 && mevent_start() == 0);
	for (modern = 0; modern <= 1; modern++) {
		disk(modern != 0, false);
		good_read();
		bad_buffers();
		stood(modern, "V05_huge_len V06_gpa_out");
		bad_chains();
		stood(modern, "V01_chain_loop V04_zero_len V11_direction");
		bad_indirects();
		stood(modern, "V03_indirect_nested");
		huge_total();
		stood(modern, "V02_chain_total");
		bad_indexes();
		stood(modern, "V07_avail_jump V08_dup_head");
		odd_registers();
		stood(modern, "V18_cfgspace");
		vectors();
		stood(modern, "V19_notify_idx");
		if (modern != 0) {
			modern_order();
			config_window();
			stood(modern, "V09_qsize_change V10_status_fsm");
		} else {
			rings_move();
		}
		interrupts();
		reset_in_flight();
		stood(modern, "V12_ring_move");
		no_bus_master();
		disk_requests(false);
		disk_discards();
		stood(modern, "H04_blk_discard");
		fake_destroy(d->pi);
		disk(modern != 0, true);
		CHECK((drv_features(d) & (1UL << 5)) != 0);
		disk_requests(true);
		stood(modern, "V16_blk_req");
		fake_destroy(d->pi);
		rnd(modern != 0);
		stood(modern, "H02_rnd_getchain");
		console(modern != 0);
		stood(modern, "B08_vq_getchain_err V15_dev_alloc");
		set_config_value("dev.queues", "2");
		attack("virtio-blk", modern != 0, 2, ms, image, sockpath);
		attack("virtio-rnd", modern != 0, 1, ms, image, sockpath);
		attack("virtio-console", modern != 0, 6, ms, image, sockpath);
		stood(modern, "B24_vq_toctou V13_toctou V14_torn");
	}
	mevent_stop();
	printf("done\n");
	return (0);
}
