/*
 * qcow2: reference counts anew, for an image that was left dirty (lazy
 * refcounts): everything that the tables refer to is counted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug.h"
#include "qcow2_local.h"

/* A count for each cluster of the file; more are not kept in memory. */
#define MAX_CLUSTERS (1UL << 28)

struct count {
	struct qcow2 *q;
	uint16_t *refs;
	uint64_t n, room;
};

struct snapshot_header {
	uint64_t l1_table_offset;
	uint32_t l1_size;
	uint16_t id_size, name_size;
	uint64_t rest[2];
	uint32_t vm_state_size;
	uint32_t extra_size;
};
_Static_assert(sizeof(struct snapshot_header) == 40, "snapshot header");

static int
wrong(struct qcow2 *q, const char *what)
{
	EPRINTLN("%s: qcow2: not closed properly, and %s: repair it with "
		 "qemu-img check -r all",
	    q->q_image.bi_path, what);
	return (-1);
}

static int
refer(struct count *c, uint64_t offset, uint64_t len)
{
	uint64_t first, last;

	if (len == 0)
		return (0);
	first = offset >> c->q->q_cluster_bits;
	last = (offset + len - 1) >> c->q->q_cluster_bits;
	if (last < first || last >= c->n)
		return (wrong(c->q, "a cluster is outside the file"));
	for (; first <= last; first++) {
		if (c->refs[first] == UINT16_MAX)
			return (wrong(c->q, "a cluster has too many users"));
		c->refs[first]++;
	}
	return (0);
}

static int
refer_entry(struct count *c, uint64_t entry)
{
	uint64_t first;
	unsigned int shift;

	if ((entry & QCOW2_COMPRESSED) != 0) {
		shift = 62 - (c->q->q_cluster_bits - 8);
		first = entry & ((1UL << shift) - 1) & ~511UL;
		return (refer(
		    c, first, (((entry & ~(3UL << 62)) >> shift) + 1) * 512));
	}
	if ((entry & QCOW2_OFFSET) == 0)
		return (0);
	if ((entry & QCOW2_OFFSET & (c->q->q_cluster_size - 1)) != 0)
		return (wrong(c->q, "a cluster is not aligned"));
	return (refer(c, entry & QCOW2_OFFSET, c->q->q_cluster_size));
}

static int
refer_l2(struct count *c, uint64_t offset)
{
	uint64_t i, *table;
	int error;

	if ((offset & (c->q->q_cluster_size - 1)) != 0)
		return (wrong(c->q, "a table is not aligned"));
	error = refer(c, offset, c->q->q_cluster_size);
	if (error != 0)
		return (error);
	table = malloc(c->q->q_cluster_size);
	if (table == NULL ||
	    blk_pread(c->q->q_fd, table, c->q->q_cluster_size,
		(int64_t)offset) != 0) {
		free(table);
		return (wrong(c->q, "a table cannot be read"));
	}
	for (i = 0; i < 1UL << c->q->q_l2_bits && error == 0; i++)
		error = refer_entry(c, be64toh(table[i]));
	free(table);
	return (error);
}

static int
refer_l1(struct count *c, uint64_t offset, uint32_t entries)
{
	uint64_t *l1;
	uint32_t i;
	int error;

	if (entries > QCOW2_MAX_L1 / sizeof(*l1))
		return (wrong(c->q, "an L1 table is too large"));
	error = refer(c, offset, entries * sizeof(*l1));
	if (error != 0 || entries == 0)
		return (error);
	l1 = malloc(entries * sizeof(*l1));
	if (l1 == NULL ||
	    blk_pread(c->q->q_fd, l1, entries * sizeof(*l1), (int64_t)offset) !=
		0) {
		free(l1);
		return (wrong(c->q, "a table cannot be read"));
	}
	for (i = 0; i < entries && error == 0; i++) {
		if ((be64toh(l1[i]) & QCOW2_OFFSET) != 0)
			error = refer_l2(c, be64toh(l1[i]) & QCOW2_OFFSET);
	}
	free(l1);
	return (error);
}

static int
refer_snapshots(struct count *c)
{
	struct snapshot_header h;
	uint64_t pos;
	uint32_t i;

	pos = c->q->q_snapshots;
	for (i = 0; i < c->q->q_nsnapshots; i++) {
		if (blk_pread(c->q->q_fd, &h, sizeof(h), (int64_t)pos) != 0)
			return (wrong(c->q, "a snapshot cannot be read"));
		if (refer_l1(
			c, be64toh(h.l1_table_offset), be32toh(h.l1_size)) != 0)
			return (-1);
		pos += sizeof(h) + be32toh(h.extra_size) + be16toh(h.id_size) +
		    be16toh(h.name_size);
		pos = (pos + 7) & ~7UL;
	}
	return (refer(c, c->q->q_snapshots, pos - c->q->q_snapshots));
}

/* One more cluster at the end, for a block of counts. */
static int
append_block(struct count *c, uint64_t range)
{
	struct qcow2 *q = c->q;
	uint16_t *refs;
	uint64_t entry, size;

	if (c->n == c->room) {
		refs = realloc(c->refs, (c->room + 1024) * sizeof(*refs));
		if (refs == NULL)
			return (wrong(q, "there is no memory"));
		memset(refs + c->room, 0, 1024 * sizeof(*refs));
		c->refs = refs;
		c->room += 1024;
	}
	q->q_rt[range] = c->n << q->q_cluster_bits;
	size = (c->n + 1) << q->q_cluster_bits;
	if (q->q_file->bi_isblk || ftruncate(q->q_fd, (off_t)size) != 0 ||
	    !qcow2_set_add(&q->q_meta, c->n))
		return (wrong(q, "there is no room for refcounts"));
	atomic_store(&q->q_fsize, size);
	c->refs[c->n++] = 1;
	entry = htobe64(q->q_rt[range]);
	return (blk_pwrite(q->q_fd, &entry, sizeof(entry),
		    (int64_t)(q->q_rt_offset + range * sizeof(entry))) == 0
		? 0
		: wrong(q, "it cannot be written"));
}

static bool
range_used(const struct count *c, uint64_t range)
{
	uint64_t end, i;

	end = (range + 1) << c->q->q_ref_bits;
	for (i = range << c->q->q_ref_bits; i < end && i < c->n; i++) {
		if (c->refs[i] != 0)
			return (true);
	}
	return (false);
}

static int
store_counts(struct count *c)
{
	struct qcow2 *q = c->q;
	uint64_t base, i, limit, range;
	uint8_t *block;
	int error;

	/* The blocks that are made lie in ranges that follow. */
	for (range = 0; range << q->q_ref_bits < c->n; range++) {
		if (!range_used(c, range))
			continue;
		if (range >= q->q_rt_size)
			return (wrong(q, "the refcount table is too small"));
		if (q->q_rt[range] == 0 && append_block(c, range) != 0)
			return (-1);
	}
	limit = q->q_ref_order == 6 ? UINT64_MAX
				    : (1UL << (1U << q->q_ref_order)) - 1;
	block = malloc(q->q_cluster_size);
	error = block == NULL ? wrong(q, "there is no memory") : 0;
	for (range = 0; range < q->q_rt_size && error == 0; range++) {
		if (q->q_rt[range] == 0)
			continue;
		memset(block, 0, q->q_cluster_size);
		base = range << q->q_ref_bits;
		for (i = 0; i < 1UL << q->q_ref_bits && base + i < c->n; i++) {
			if (c->refs[base + i] > limit)
				error =
				    wrong(q, "a cluster has too many users");
			qcow2_ref_store(q, block, i, c->refs[base + i]);
		}
		if (error == 0 &&
		    blk_pwrite(q->q_fd, block, q->q_cluster_size,
			(int64_t)q->q_rt[range]) != 0)
			error = wrong(q, "it cannot be written");
	}
	free(block);
	if (error == 0 && fdatasync(q->q_fd) != 0)
		error = wrong(q, "it cannot be written");
	return (error);
}

/* What may be written in place must have one user. */
static int
check_copied(struct count *c)
{
	uint64_t entry, i, l2, *table;
	struct qcow2 *q = c->q;
	int error;

	table = malloc(q->q_cluster_size);
	error = table == NULL ? wrong(q, "there is no memory") : 0;
	for (i = 0; i < q->q_l1_size && error == 0; i++) {
		l2 = q->q_l1[i] & QCOW2_OFFSET;
		if (l2 == 0)
			continue;
		if ((q->q_l1[i] & QCOW2_COPIED) != 0 &&
		    c->refs[l2 >> q->q_cluster_bits] != 1)
			error = wrong(q, "a table has two users");
		if (error == 0 &&
		    blk_pread(q->q_fd, table, q->q_cluster_size, (int64_t)l2) !=
			0)
			error = wrong(q, "a table cannot be read");
		for (uint64_t j = 0; j < 1UL << q->q_l2_bits && error == 0;
		     j++) {
			entry = be64toh(table[j]);
			if ((entry & QCOW2_COPIED) != 0 &&
			    (entry & QCOW2_COMPRESSED) == 0 &&
			    (entry & QCOW2_OFFSET) != 0 &&
			    c->refs[(entry & QCOW2_OFFSET) >>
				q->q_cluster_bits] != 1)
				error = wrong(q, "a cluster has two users");
		}
	}
	free(table);
	return (error);
}

int
qcow2_rebuild(struct qcow2 *q)
{
	struct count c = { .q = q };
	uint64_t i;
	int error;

	c.n = (atomic_load(&q->q_fsize) + q->q_cluster_size - 1) >>
	    q->q_cluster_bits;
	c.room = c.n;
	if (q->q_bitmaps)
		return (wrong(q, "it has bitmaps"));
	if (c.n > MAX_CLUSTERS ||
	    (c.refs = calloc(c.n, sizeof(*c.refs))) == NULL)
		return (wrong(q, "the file is too large"));
	error = refer(&c, 0, 1);
	if (error == 0)
		error = refer(&c, q->q_rt_offset, q->q_rt_size * 8);
	for (i = 0; i < q->q_rt_size && error == 0; i++) {
		if (q->q_rt[i] != 0)
			error = refer(&c, q->q_rt[i], q->q_cluster_size);
	}
	if (error == 0)
		error = refer_l1(&c, q->q_l1_offset, q->q_l1_size);
	if (error == 0)
		error = refer_snapshots(&c);
	if (error == 0)
		error = check_copied(&c);
	if (error == 0)
		error = store_counts(&c);
	free(c.refs);
	return (error);
}
