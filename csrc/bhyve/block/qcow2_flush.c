/*
 * qcow2: what is only in memory goes to the disk, in an order that leaves a
 * whole image wherever it ends (qcow2_local.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qcow2_local.h"

/* Copies of what one flush writes, taken with q_mtx held. */
struct batch {
	struct {
		uint64_t offset;
		void *data;
	} * l2;
	size_t nl2;
	uint64_t *l1;
	uint32_t l1_lo, l1_hi;
	uint64_t *frees;
	size_t nfrees;
};

static int
stable(struct qcow2 *q)
{
	return (fdatasync(q->q_fd) == 0 ? 0 : errno);
}

/* Step 1: the counts. */
static int
write_blocks(struct qcow2 *q)
{
	struct qcow2_table *t;
	int error;

	TAILQ_FOREACH(t, &q->q_lru, t_lru)
	{
		if (!t->t_dirty || t->t_l2)
			continue;
		error = blk_pwrite(q->q_fd, t->t_data, q->q_cluster_size,
		    (int64_t)t->t_offset);
		if (error != 0)
			return (error);
		t->t_dirty = false;
	}
	return (0);
}

static int
collect(struct qcow2 *q, struct batch *b)
{
	struct qcow2_table *t;
	size_t n;
	uint32_t i;

	n = 0;
	TAILQ_FOREACH(t, &q->q_lru, t_lru)
	n += t->t_dirty && t->t_l2;
	if (n != 0 && (b->l2 = calloc(n, sizeof(*b->l2))) == NULL)
		return (ENOMEM);
	TAILQ_FOREACH(t, &q->q_lru, t_lru)
	{
		if (!t->t_dirty || !t->t_l2)
			continue;
		b->l2[b->nl2].data = malloc(q->q_cluster_size);
		if (b->l2[b->nl2].data == NULL)
			return (ENOMEM);
		b->l2[b->nl2].offset = t->t_offset;
		memcpy(b->l2[b->nl2].data, t->t_data, q->q_cluster_size);
		b->nl2++;
		t->t_dirty = false;
		t->t_writing = true;
	}
	if (q->q_l1_lo < q->q_l1_hi) {
		b->l1 = calloc(q->q_l1_hi - q->q_l1_lo, sizeof(*b->l1));
		if (b->l1 == NULL)
			return (ENOMEM);
		b->l1_lo = q->q_l1_lo;
		b->l1_hi = q->q_l1_hi;
		for (i = b->l1_lo; i < b->l1_hi; i++)
			b->l1[i - b->l1_lo] = htobe64(q->q_l1[i]);
		q->q_l1_lo = q->q_l1_hi = 0;
	}
	b->frees = q->q_frees;
	b->nfrees = q->q_nfrees;
	q->q_frees = NULL;
	q->q_nfrees = q->q_maxfrees = 0;
	return (0);
}

/* Steps 2 to 4; q_mtx is not held. */
static int
write_batch(struct qcow2 *q, const struct batch *b)
{
	size_t i;
	int error;

	error = stable(q);
	for (i = 0; i < b->nl2 && error == 0; i++)
		error = blk_pwrite(q->q_fd, b->l2[i].data, q->q_cluster_size,
		    (int64_t)b->l2[i].offset);
	if (error == 0 && b->nl2 != 0)
		error = stable(q);
	if (error == 0 && b->l1 != NULL) {
		error = blk_pwrite(q->q_fd, b->l1,
		    (b->l1_hi - b->l1_lo) * sizeof(*b->l1),
		    (int64_t)(q->q_l1_offset + b->l1_lo * sizeof(*b->l1)));
		if (error == 0)
			error = stable(q);
	}
	return (error);
}

/* With q_mtx held: clusters are free now, or all is to be done again. */
static void
settle(struct qcow2 *q, struct batch *b, int error)
{
	struct qcow2_table *t;
	size_t i;

	for (i = 0; i < b->nl2; i++) {
		t = qcow2_table_peek(q, b->l2[i].offset);
		if (t == NULL)
			continue;
		t->t_writing = false;
		if (error != 0)
			t->t_dirty = true;
	}
	if (error != 0 && b->l1 != NULL) {
		if (q->q_l1_lo >= q->q_l1_hi) {
			q->q_l1_lo = b->l1_lo;
			q->q_l1_hi = b->l1_hi;
		}
		if (b->l1_lo < q->q_l1_lo)
			q->q_l1_lo = b->l1_lo;
		if (b->l1_hi > q->q_l1_hi)
			q->q_l1_hi = b->l1_hi;
	}
	if (error == 0)
		qcow2_apply_frees(q, b->frees, b->nfrees);
	for (i = 0; error != 0 && i < b->nfrees; i++)
		qcow2_free_later(q, b->frees[i]);
	qcow2_cache_trim(q);
}

int
qcow2_flush(struct qcow2 *q)
{
	struct batch b = { 0 };
	size_t i;
	int error;

	pthread_mutex_lock(&q->q_flush_mtx);
	pthread_mutex_lock(&q->q_mtx);
	error = collect(q, &b);
	/* Counts are written after the tables are copied: never behind. */
	if (error == 0)
		error = write_blocks(q);
	pthread_mutex_unlock(&q->q_mtx);
	if (error == 0)
		error = write_batch(q, &b);
	pthread_mutex_lock(&q->q_mtx);
	settle(q, &b, error);
	/* The counts of what was freed are no news that anyone waits for. */
	if (error == 0 && b.nfrees != 0)
		error = write_blocks(q);
	pthread_mutex_unlock(&q->q_mtx);
	pthread_mutex_unlock(&q->q_flush_mtx);
	for (i = 0; i < b.nl2; i++)
		free(b.l2[i].data);
	free(b.l2);
	free(b.l1);
	free(b.frees);
	return (error);
}
