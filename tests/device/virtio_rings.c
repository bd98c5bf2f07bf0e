/*
 * Rows that concern descriptors and rings (V01 to V08, V11, V12).
 */
#include <stdio.h>
#include <string.h>

#include "virtio_hostile.h"

/* A read of sector 7 as a table of three at t. */
static void
table_of_three(struct vring_desc *t)
{
	header(0, 7);
	t[0] = (struct vring_desc) { HDR, 16, N, 1 };
	t[1] = (struct vring_desc) { BUF, 512, N | W, 2 };
	t[2] = (struct vring_desc) { STATUS, 1, W, 0 };
}

/* The same in the queue's own descriptors. */
static void
chain_of_three(void)
{
	table_of_three(drv_desc(d, 0));
}

void
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
		chain_of_three();
		drv_desc(d, 0)[1].addr = bad[i].addr;
		drv_desc(d, 0)[1].len = bad[i].len;
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
bad_loops(void)
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
	/* Empty ones fill no vector: only the count of steps ends these. */
	drv_set(d, 0, 0, HDR, 0, N, 0);
	refused("a loop of one that is empty");
	for (i = 0; i < d->qsize; i++)
		drv_set(d, 0, i, BUF, 0, N, (uint16_t)((i + 1) % d->qsize));
	refused("a loop of empty buffers");
	drv_set(d, 0, 0, HDR, 0, 0, 0);
	refused("an empty chain");
}

void
bad_chains(void)
{
	struct vring_avail *avail;

	bad_loops();
	/* What lies behind the table is the ring: one byte, writable. */
	chain_of_three();
	avail = drv_avail(d, 0);
	avail->ring[2] = 1;
	avail->ring[4] = W;
	drv_desc(d, 0)[1].next = d->qsize;
	refused("a next outside the ring");
	chain_of_three();
	drv_desc(d, 0)[1].next = 0xffff;
	refused("a next outside the ring");
	/* Out of order, but with all that a request needs. */
	header(0, 7);
	drv_set(d, 0, 0, HDR, 8, N, 1);
	drv_set(d, 0, 1, STATUS, 1, N | W, 2);
	drv_set(d, 0, 2, HDR + 8, 8, 0, 0);
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

/* Where a table has room for more entries than there may be. */
#define LONG_TABLE 0x1000UL

static void
bad_tables(void)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
	} bad[] = { { TABLE, 0, I }, { TABLE, 15, I }, { TABLE, 47, I },
		{ TABLE, 49, I }, { TABLE, 48, I | N },
		{ LOW_SIZE - 16, 48, I }, { 0xffffffffffffffe0UL, 48, I },
		{ TABLE, 0xfffffff0u, I },
		{ LONG_TABLE, (UINT16_MAX + 2) * 16, I } };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		table_of_three(gpa(TABLE));
		table_of_three(gpa(LONG_TABLE));
		drv_set(d, 0, 0, bad[i].addr, bad[i].len, bad[i].flags, 1);
		refused("an indirect table");
	}
	table_of_three(gpa(LONG_TABLE));
	drv_set(d, 0, 0, LONG_TABLE, (UINT16_MAX + 1) * 16, I, 0);
	CHECK(submit() == OK);
}

void
bad_indirects(void)
{
	struct vring_desc *t = gpa(TABLE + 8); /* no alignment is asked for */

	bad_tables();
	table_of_three(t);
	drv_set(d, 0, 0, TABLE + 8, 48, I, 0);
	CHECK(submit() == OK);
	t[1].next = 3;
	t[3] = t[2];
	drv_set(d, 0, 0, TABLE + 8, 48, I, 0);
	refused("an indirect next outside the table");
	t[1].next = 0;
	drv_set(d, 0, 0, TABLE + 8, 48, I, 0);
	refused("an indirect loop");
	t[0] = (struct vring_desc) { 0, 0, N, 0 };
	drv_set(d, 0, 0, TABLE + 8, 48, I, 0);
	refused("an indirect loop of nothing");
	table_of_three(t);
	t[1].flags |= I; /* as a buffer it would do */
	drv_set(d, 0, 0, TABLE + 8, 48, I, 0);
	refused("an indirect in an indirect");
	table_of_three(t);
	t[1] = (struct vring_desc) { TABLE + 8, 48, I, 0 };
	drv_set(d, 0, 0, TABLE + 8, 48, I, 0);
	refused("an indirect in an indirect");
	drv_start(d, ~VIRTIO_RING_F_INDIRECT_DESC, 1);
	table_of_three(t);
	drv_set(d, 0, 0, TABLE + 8, 48, I, 0);
	refused("an indirect that was not negotiated");
}

/* A chain of few elements whose sum has 33 bits; and a very long one. */
void
huge_total(void)
{
	struct vring_desc *t = gpa(TABLE);
	int i, n = (int)((1UL << 32) / HIGH_SIZE) + 1;

	CHECK(n < 128);
	t[0] = (struct vring_desc) { HDR, 16, N, 1 };
	for (i = 1; i <= n; i++)
		t[i] = (struct vring_desc) { HIGH_BASE, HIGH_SIZE, N | W,
			(uint16_t)(i + 1) };
	t[i] = (struct vring_desc) { STATUS, 1, W, 0 };
	drv_set(d, 0, 0, TABLE, (uint32_t)(i + 1) * 16, I, 0);
	refused("a chain of 4 GiB");
	for (i = 1; i < 1025; i++)
		t[i] = (struct vring_desc) { BUF, 1, N | W, (uint16_t)(i + 1) };
	t[i] = (struct vring_desc) { STATUS, 1, W, 0 };
	drv_set(d, 0, 0, TABLE, (uint32_t)(i + 1) * 16, I, 0);
	refused("a chain of a thousand");
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

void
bad_indexes(void)
{
	d->avail[0] += (uint16_t)(d->qsize + 1);
	chain_of_three();
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

/* Rings nowhere: the queue stays off, and the device lives on. */
static void
legacy_rings(void)
{
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
}

static void
modern_rings(void)
{
	static const uint64_t far[] = { LOW_SIZE, LOW_SIZE - 16, ~15UL,
		HIGH_BASE + HIGH_SIZE };
	static const int odd[] = { 8, 1, 2 };
	uint64_t home[3] = { RING(0), RING(0) + d->qsize * 16UL,
		RING(0) + 0x1000 };
	uint64_t addr;
	size_t i, j;

	for (i = 0; i < 3; i++) {
		for (j = 0; j <= sizeof(far) / sizeof(far[0]); j++) {
			drv_reset(d);
			drv_enter(d, ~0UL);
			bar_out(d->pi, 4, 22, 2, 0);
			for (size_t k = 0; k < 3; k++) {
				addr = home[k];
				if (k == i)
					addr = j == 0 ? addr + (uint64_t)odd[k]
						      : far[j - 1];
				bar_out(
				    d->pi, 4, 32 + k * 8, 4, (uint32_t)addr);
				bar_out(d->pi, 4, 36 + k * 8, 4,
				    (uint32_t)(addr >> 32));
			}
			bar_out(d->pi, 4, 28, 2, 1);
			CHECK(
			    (drv_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
			drv_kick(d, 0);
		}
	}
	drv_start(d, ~0UL, 1);
}

void
rings_move(void)
{
	if (d->modern)
		modern_rings();
	else
		legacy_rings();
	good_read();
}
