/*
 * qcow2: from an offset of the disk to an offset of the file.
 */
#include <errno.h>
#include <string.h>

#include "qcow2_local.h"

uint64_t
qcow2_l2_index(const struct qcow2 *q, uint64_t offset)
{
	return (offset >> q->q_cluster_bits & ((1UL << q->q_l2_bits) - 1));
}

static uint64_t
l1_index(const struct qcow2 *q, uint64_t offset)
{
	return (offset >> (q->q_cluster_bits + q->q_l2_bits));
}

uint64_t
qcow2_l2_load(const struct qcow2_table *t, uint64_t i)
{
	return (be64toh(((const uint64_t *)(const void *)t->t_data)[i]));
}

void
qcow2_l2_store(struct qcow2_table *t, uint64_t i, uint64_t entry)
{
	((uint64_t *)(void *)t->t_data)[i] = htobe64(entry);
	t->t_dirty = true;
}

enum qcow2_kind
qcow2_entry_kind(const struct qcow2 *q, uint64_t entry)
{
	if ((entry & QCOW2_COMPRESSED) != 0)
		return (Q_COMPRESSED);
	if (q->q_version >= 3 && (entry & QCOW2_ZERO) != 0)
		return (Q_ZERO);
	return ((entry & QCOW2_OFFSET) != 0 ? Q_DATA : Q_HOLE);
}

/*
 * A cluster of data must be one, inside the file, and hold no table: a guest
 * that can write tables can make the next user of the image read any file.
 */
static int
check_data(struct qcow2 *q, uint64_t entry)
{
	uint64_t offset;

	offset = entry & QCOW2_OFFSET;
	if ((offset & (q->q_cluster_size - 1)) != 0)
		return (qcow2_broken(q, "a cluster is not aligned"));
	if (offset >= atomic_load(&q->q_fsize))
		return (qcow2_broken(q, "a cluster is outside the file"));
	if (qcow2_set_has(&q->q_meta, offset >> q->q_cluster_bits))
		return (qcow2_broken(q, "a cluster of data is a table"));
	return (0);
}

/* The run of like entries that begins at offset. */
static int
map_table(struct qcow2 *q, const struct qcow2_table *t, uint64_t offset,
    size_t len, struct qcow2_extent *e)
{
	uint64_t entry, i, in, next;
	int error;

	i = qcow2_l2_index(q, offset);
	in = offset & (q->q_cluster_size - 1);
	entry = qcow2_l2_load(t, i);
	e->e_kind = qcow2_entry_kind(q, entry);
	e->e_entry = entry;
	e->e_copied = (entry & QCOW2_COPIED) != 0;
	e->e_host = (entry & QCOW2_OFFSET) + in;
	e->e_len = q->q_cluster_size - in;
	if (e->e_kind == Q_DATA) {
		error = check_data(q, entry);
		if (error != 0)
			return (error);
	}
	while (e->e_len < len && ++i < 1UL << q->q_l2_bits &&
	    e->e_kind != Q_COMPRESSED) {
		next = qcow2_l2_load(t, i);
		if (qcow2_entry_kind(q, next) != e->e_kind ||
		    ((next & QCOW2_COPIED) != 0) != e->e_copied)
			break;
		if (e->e_kind == Q_DATA &&
		    ((next & QCOW2_OFFSET) != e->e_host + e->e_len ||
			check_data(q, next) != 0))
			break;
		e->e_len += q->q_cluster_size;
	}
	if (e->e_len > len)
		e->e_len = len;
	return (0);
}

/* A range without a table. */
static void
map_hole(struct qcow2 *q, uint64_t offset, size_t len, struct qcow2_extent *e)
{
	uint64_t span;

	span = q->q_cluster_size << q->q_l2_bits;
	memset(e, 0, sizeof(*e));
	e->e_kind = Q_HOLE;
	e->e_len = span - (offset & (span - 1));
	if (e->e_len > len)
		e->e_len = len;
}

int
qcow2_map(struct qcow2 *q, uint64_t offset, size_t len, struct qcow2_extent *e)
{
	struct qcow2_table *t;
	uint64_t entry;
	int error;

	entry = q->q_l1[l1_index(q, offset)];
	if ((entry & QCOW2_OFFSET) == 0) {
		map_hole(q, offset, len, e);
		return (0);
	}
	t = qcow2_table_get(q, entry & QCOW2_OFFSET, true, &error);
	return (t == NULL ? error : map_table(q, t, offset, len, e));
}

int
qcow2_map_peek(
    struct qcow2 *q, uint64_t offset, size_t len, struct qcow2_extent *e)
{
	struct qcow2_table *t;
	uint64_t entry;

	entry = q->q_l1[l1_index(q, offset)];
	if ((entry & QCOW2_OFFSET) == 0) {
		map_hole(q, offset, len, e);
		return (0);
	}
	t = qcow2_table_peek(q, entry & QCOW2_OFFSET);
	return (
	    t == NULL || !t->t_l2 ? EAGAIN : map_table(q, t, offset, len, e));
}

static void
l1_store(struct qcow2 *q, uint32_t i, uint64_t entry)
{
	q->q_l1[i] = entry;
	if (q->q_l1_lo >= q->q_l1_hi) {
		q->q_l1_lo = i;
		q->q_l1_hi = i + 1;
		return;
	}
	if (i < q->q_l1_lo)
		q->q_l1_lo = i;
	if (i >= q->q_l1_hi)
		q->q_l1_hi = i + 1;
}

int
qcow2_l2_writable(struct qcow2 *q, uint64_t offset, struct qcow2_table **table)
{
	struct qcow2_table *new, *old;
	uint64_t cluster, entry, n;
	uint32_t i;
	int error;

	i = (uint32_t)l1_index(q, offset);
	entry = q->q_l1[i];
	old = NULL;
	if ((entry & QCOW2_OFFSET) != 0) {
		old = qcow2_table_get(q, entry & QCOW2_OFFSET, true, &error);
		if (old == NULL)
			return (error);
		if ((entry & QCOW2_COPIED) != 0) {
			*table = old;
			return (0);
		}
	}
	n = 1;
	error = qcow2_alloc(q, &n, &cluster);
	if (error != 0)
		return (error);
	new = qcow2_table_new(q, cluster << q->q_cluster_bits, true);
	/* Making room may have made the old one go. */
	if (new != NULL && old != NULL)
		old = qcow2_table_get(q, entry & QCOW2_OFFSET, true, &error);
	if (new == NULL || error != 0 || !qcow2_set_add(&q->q_meta, cluster)) {
		if (new != NULL)
			new->t_dirty = false;
		(void)qcow2_ref_drop(q, cluster);
		return (error != 0 ? error : ENOMEM);
	}
	if (old != NULL) {
		/* A snapshot's, too: its own copy from here on. */
		memcpy(new->t_data, old->t_data, q->q_cluster_size);
		qcow2_set_remove(
		    &q->q_meta, (entry & QCOW2_OFFSET) >> q->q_cluster_bits);
		qcow2_free_entry(q, entry & QCOW2_OFFSET);
	}
	l1_store(q, i, cluster << q->q_cluster_bits | QCOW2_COPIED);
	*table = new;
	return (0);
}
