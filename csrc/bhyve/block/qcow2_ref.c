/*
 * qcow2: reference counts, and clusters that they say are free.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qcow2_local.h"

/* ---- one count, of 1 to 64 bits ---- */

uint64_t
qcow2_ref_load(struct qcow2 *q, const void *block, uint64_t i)
{
	const uint8_t *p = block;
	unsigned int per;

	switch (q->q_ref_order) {
	case 3:
		return (p[i]);
	case 4:
		return (be16toh(((const uint16_t *)block)[i]));
	case 5:
		return (be32toh(((const uint32_t *)block)[i]));
	case 6:
		return (be64toh(((const uint64_t *)block)[i]));
	default:
		per = 8U >> q->q_ref_order;
		return (p[i / per] >> (i % per << q->q_ref_order) &
		    ((1U << (1U << q->q_ref_order)) - 1));
	}
}

void
qcow2_ref_store(struct qcow2 *q, void *block, uint64_t i, uint64_t val)
{
	uint8_t *p = block;
	unsigned int mask, per, shift;

	switch (q->q_ref_order) {
	case 3:
		p[i] = (uint8_t)val;
		break;
	case 4:
		((uint16_t *)block)[i] = htobe16((uint16_t)val);
		break;
	case 5:
		((uint32_t *)block)[i] = htobe32((uint32_t)val);
		break;
	case 6:
		((uint64_t *)block)[i] = htobe64(val);
		break;
	default:
		per = 8U >> q->q_ref_order;
		shift = (unsigned int)(i % per) << q->q_ref_order;
		mask = ((1U << (1U << q->q_ref_order)) - 1) << shift;
		p[i / per] = (uint8_t)((p[i / per] & ~mask) |
		    ((unsigned int)val << shift & mask));
		break;
	}
}

static uint64_t
block_mask(const struct qcow2 *q)
{
	return ((1UL << q->q_ref_bits) - 1);
}

/* ---- room for more counts ---- */

/* The file is as long as its clusters, so that they can be read. */
static int
extend(struct qcow2 *q, uint64_t clusters)
{
	uint64_t size;

	size = clusters << q->q_cluster_bits;
	if (size <= atomic_load(&q->q_fsize))
		return (0);
	if (q->q_file->bi_isblk)
		return (ENOSPC);
	if (ftruncate(q->q_fd, (off_t)size) != 0)
		return (errno == EINVAL ? ENOSPC : errno);
	atomic_store(&q->q_fsize, size);
	return (0);
}

/*
 * The block of counts for the range that cluster is in: its first cluster,
 * which nothing else can be in, as nothing in the range is counted.
 */
static int
new_block(struct qcow2 *q, uint64_t range)
{
	struct qcow2_table *t;
	uint64_t cluster, entry, offset;
	int error;

	cluster = range << q->q_ref_bits;
	offset = cluster << q->q_cluster_bits;
	if (qcow2_set_has(&q->q_meta, cluster))
		return (qcow2_broken(q, "a table is not counted"));
	error = extend(q, cluster + 1);
	if (error != 0)
		return (error);
	if (!qcow2_set_add(&q->q_meta, cluster) ||
	    (t = qcow2_table_new(q, offset, false)) == NULL)
		return (ENOMEM);
	qcow2_ref_store(q, t->t_data, 0, 1);
	entry = htobe64(offset);
	error =
	    blk_pwrite(q->q_fd, t->t_data, q->q_cluster_size, (int64_t)offset);
	if (error == 0 && fdatasync(q->q_fd) != 0)
		error = errno;
	if (error == 0)
		error = blk_pwrite(q->q_fd, &entry, sizeof(entry),
		    (int64_t)(q->q_rt_offset + range * sizeof(entry)));
	t->t_dirty = false;
	if (error == 0)
		q->q_rt[range] = offset;
	else
		qcow2_set_remove(&q->q_meta, cluster);
	return (error);
}

/* Write the longer table where its first new ranges begin, then use it. */
static int
use_table(struct qcow2 *q, uint64_t *rt, uint64_t size, uint64_t offset)
{
	struct {
		uint64_t offset;
		uint32_t clusters;
	} __attribute__((__packed__)) field;
	uint64_t i, old;
	int error;

	for (i = 0; i < size; i++)
		rt[i] = htobe64(rt[i]);
	error = blk_pwrite(q->q_fd, rt, size * sizeof(*rt), (int64_t)offset);
	for (i = 0; i < size; i++)
		rt[i] = be64toh(rt[i]);
	if (error == 0 && fdatasync(q->q_fd) != 0)
		error = errno;
	field.offset = htobe64(offset);
	field.clusters =
	    htobe32((uint32_t)(size * sizeof(*rt) >> q->q_cluster_bits));
	if (error == 0)
		error = qcow2_header_write(q,
		    offsetof(struct qcow2_header, refcount_table_offset),
		    &field, sizeof(field));
	if (error != 0)
		return (error);
	old = q->q_rt_offset >> q->q_cluster_bits;
	i = q->q_rt_size * sizeof(*rt) >> q->q_cluster_bits;
	free(q->q_rt);
	q->q_rt = rt;
	q->q_rt_size = size;
	q->q_rt_offset = offset;
	for (; i > 0; i--, old++) {
		qcow2_set_remove(&q->q_meta, old);
		qcow2_free_later(q, old);
	}
	return (0);
}

/*
 * A longer refcount table: at the first cluster that the old one does not
 * cover, blocks for themselves and the table, then the table.
 */
static int
grow_table(struct qcow2 *q)
{
	uint64_t base, i, nblocks, ntable, range, *rt, size;
	struct qcow2_table *t;
	int error;

	range = 1UL << q->q_ref_bits;
	base = q->q_rt_size << q->q_ref_bits;
	ntable = (q->q_rt_size * 2 * sizeof(*rt) + q->q_cluster_size - 1) >>
	    q->q_cluster_bits;
	for (nblocks = 1; nblocks * range < nblocks + ntable; nblocks++) {
		size = (q->q_rt_size + nblocks + 1) * sizeof(*rt);
		if (size > ntable << q->q_cluster_bits)
			ntable++;
	}
	size = (ntable << q->q_cluster_bits) / sizeof(*rt);
	if (size * sizeof(*rt) > QCOW2_MAX_REFTABLE)
		return (ENOSPC);
	error = extend(q, base + nblocks + ntable);
	if (error != 0)
		return (error);
	rt = calloc(size, sizeof(*rt));
	if (rt == NULL)
		return (ENOMEM);
	memcpy(rt, q->q_rt, q->q_rt_size * sizeof(*rt));
	for (i = 0; i < nblocks + ntable && error == 0; i++) {
		if (qcow2_set_has(&q->q_meta, base + i))
			error = qcow2_broken(q, "a table is not counted");
		else if (!qcow2_set_add(&q->q_meta, base + i))
			error = ENOMEM;
	}
	for (i = 0; i < nblocks && error == 0; i++) {
		rt[q->q_rt_size + i] = (base + i) << q->q_cluster_bits;
		t = qcow2_table_new(q, rt[q->q_rt_size + i], false);
		if (t == NULL) {
			error = ENOMEM;
			break;
		}
		t->t_dirty = false;
		for (size_t j = 0; j < range; j++) {
			if (i * range + j < nblocks + ntable)
				qcow2_ref_store(q, t->t_data, j, 1);
		}
		error = blk_pwrite(q->q_fd, t->t_data, q->q_cluster_size,
		    (int64_t)t->t_offset);
	}
	if (error == 0)
		error = use_table(
		    q, rt, size, (base + nblocks) << q->q_cluster_bits);
	if (error != 0)
		free(rt);
	return (error);
}

/* The block that has a cluster's count; with make, one is made. */
static int
ref_block(
    struct qcow2 *q, uint64_t cluster, bool make, struct qcow2_table **table)
{
	uint64_t range;
	int error;

	range = cluster >> q->q_ref_bits;
	while (range >= q->q_rt_size) {
		error = make ? grow_table(q) : ERANGE;
		if (error != 0)
			return (error);
	}
	if (q->q_rt[range] == 0) {
		error = make ? new_block(q, range) : ERANGE;
		if (error != 0)
			return (error);
	}
	*table = qcow2_table_get(q, q->q_rt[range], false, &error);
	return (error);
}

/* ---- taking and giving back ---- */

int
qcow2_alloc(struct qcow2 *q, uint64_t *count, uint64_t *first)
{
	struct qcow2_table *t;
	uint64_t i, n;
	int error;

	n = 0;
	t = NULL;
	for (i = q->q_hint; n < *count; i++) {
		if (t == NULL || (i & block_mask(q)) == 0) {
			if (n > 0)
				break; /* a run stays within a block */
			error = ref_block(q, i, true, &t);
			if (error != 0)
				return (error);
		}
		if (qcow2_ref_load(q, t->t_data, i & block_mask(q)) != 0) {
			if (n > 0)
				break;
			continue;
		}
		if (qcow2_set_has(&q->q_meta, i))
			return (qcow2_broken(q, "a table is not counted"));
		if (n++ == 0)
			*first = i;
	}
	error = extend(q, *first + n);
	if (error != 0)
		return (error);
	for (i = *first; i < *first + n; i++)
		qcow2_ref_store(q, t->t_data, i & block_mask(q), 1);
	t->t_dirty = true;
	q->q_hint = *first + n;
	*count = n;
	return (0);
}

int
qcow2_ref_drop(struct qcow2 *q, uint64_t cluster)
{
	struct qcow2_table *t;
	uint64_t refs;
	int error;

	error = ref_block(q, cluster, false, &t);
	if (error != 0)
		return (error);
	refs = qcow2_ref_load(q, t->t_data, cluster & block_mask(q));
	if (refs == 0 || qcow2_set_has(&q->q_meta, cluster))
		return (qcow2_broken(q, "a cluster in use is not counted"));
	if (refs == 1) {
		/* Before anyone can take it again. */
		if (q->q_file->bi_candelete)
			(void)fallocate(q->q_fd,
			    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    (off_t)(cluster << q->q_cluster_bits),
			    (off_t)q->q_cluster_size);
		if (cluster < q->q_hint)
			q->q_hint = cluster;
	}
	qcow2_ref_store(q, t->t_data, cluster & block_mask(q), refs - 1);
	t->t_dirty = true;
	return (0);
}

void
qcow2_free_later(struct qcow2 *q, uint64_t cluster)
{
	uint64_t *list;
	size_t max;

	if (q->q_nfrees == q->q_maxfrees) {
		max = q->q_maxfrees == 0 ? 256 : q->q_maxfrees * 2;
		list = realloc(q->q_frees, max * sizeof(*list));
		if (list == NULL)
			return; /* it stays counted, and unused */
		q->q_frees = list;
		q->q_maxfrees = max;
	}
	q->q_frees[q->q_nfrees++] = cluster;
}

void
qcow2_free_entry(struct qcow2 *q, uint64_t entry)
{
	uint64_t first, last;
	unsigned int shift;

	if ((entry & QCOW2_COMPRESSED) != 0) {
		/* Sectors, which may lie in two or more clusters. */
		shift = 62 - (q->q_cluster_bits - 8);
		first = entry & ((1UL << shift) - 1);
		last = (first & ~511UL) +
		    (((entry & ~(3UL << 62)) >> shift) + 1) * 512 - 1;
		first >>= q->q_cluster_bits;
		last >>= q->q_cluster_bits;
		for (; first <= last; first++)
			qcow2_free_later(q, first);
	} else if ((entry & QCOW2_OFFSET) != 0) {
		qcow2_free_later(
		    q, (entry & QCOW2_OFFSET) >> q->q_cluster_bits);
	}
}

void
qcow2_apply_frees(struct qcow2 *q, const uint64_t *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		(void)qcow2_ref_drop(q, list[i]);
}
