/*
 * qcow2: tables in memory, and the set of clusters that hold tables.
 *
 * The oldest clean table goes when there are too many; dirty ones stay until
 * a flush, which the number of dirty tables brings about (qcow2_io.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qcow2_local.h"

#define CACHE_BYTES (16UL << 20)
#define CACHE_MIN 16

void
qcow2_cache_init(struct qcow2 *q)
{
	int i;

	TAILQ_INIT(&q->q_lru);
	for (i = 0; i < QCOW2_BUCKETS; i++)
		LIST_INIT(&q->q_hash[i]);
	q->q_maxtables = CACHE_BYTES >> q->q_cluster_bits;
	if (q->q_maxtables < CACHE_MIN)
		q->q_maxtables = CACHE_MIN;
}

static struct qcow2_bucket *
bucket(struct qcow2 *q, uint64_t offset)
{
	return (&q->q_hash[(offset >> q->q_cluster_bits) % QCOW2_BUCKETS]);
}

static void
table_free(struct qcow2 *q, struct qcow2_table *t)
{
	TAILQ_REMOVE(&q->q_lru, t, t_lru);
	LIST_REMOVE(t, t_hash);
	q->q_ntables--;
	free(t);
}

void
qcow2_cache_free(struct qcow2 *q)
{
	struct qcow2_table *t;

	while ((t = TAILQ_FIRST(&q->q_lru)) != NULL)
		table_free(q, t);
	free(q->q_meta.s_slot);
}

struct qcow2_table *
qcow2_table_peek(struct qcow2 *q, uint64_t offset)
{
	struct qcow2_table *t;

	LIST_FOREACH(t, bucket(q, offset), t_hash)
	{
		if (t->t_offset == offset)
			break;
	}
	if (t != NULL && t != TAILQ_FIRST(&q->q_lru)) {
		TAILQ_REMOVE(&q->q_lru, t, t_lru);
		TAILQ_INSERT_HEAD(&q->q_lru, t, t_lru);
	}
	return (t);
}

void
qcow2_cache_trim(struct qcow2 *q)
{
	struct qcow2_table *prev, *t;

	for (t = TAILQ_LAST(&q->q_lru, qcow2_lru);
	     t != NULL && q->q_ntables >= q->q_maxtables; t = prev) {
		prev = TAILQ_PREV(t, qcow2_lru, t_lru);
		if (!t->t_dirty && !t->t_writing)
			table_free(q, t);
	}
}

static struct qcow2_table *
table_insert(struct qcow2 *q, uint64_t offset, bool l2)
{
	struct qcow2_table *t;

	qcow2_cache_trim(q);
	t = calloc(1, sizeof(*t) + q->q_cluster_size);
	if (t == NULL)
		return (NULL);
	t->t_offset = offset;
	t->t_l2 = l2;
	TAILQ_INSERT_HEAD(&q->q_lru, t, t_lru);
	LIST_INSERT_HEAD(bucket(q, offset), t, t_hash);
	q->q_ntables++;
	return (t);
}

struct qcow2_table *
qcow2_table_get(struct qcow2 *q, uint64_t offset, bool l2, int *error)
{
	struct qcow2_table *t;

	t = qcow2_table_peek(q, offset);
	if (t != NULL) {
		*error = t->t_l2 == l2 ? 0 : EIO;
		return (t->t_l2 == l2 ? t : NULL);
	}
	t = table_insert(q, offset, l2);
	if (t == NULL) {
		*error = ENOMEM;
		return (NULL);
	}
	*error =
	    blk_pread(q->q_fd, t->t_data, q->q_cluster_size, (int64_t)offset);
	if (*error != 0) {
		table_free(q, t);
		return (NULL);
	}
	return (t);
}

struct qcow2_table *
qcow2_table_new(struct qcow2 *q, uint64_t offset, bool l2)
{
	struct qcow2_table *t;

	/* What was there before has been freed. */
	t = qcow2_table_peek(q, offset);
	if (t != NULL)
		table_free(q, t);
	t = table_insert(q, offset, l2);
	if (t != NULL)
		t->t_dirty = true;
	return (t);
}

/* ---- the set ---- */

static size_t
set_find(const struct qcow2_set *s, uint64_t val)
{
	size_t i;

	i = (size_t)((val * 0x9e3779b97f4a7c15UL) >> 20) & (s->s_size - 1);
	while (s->s_slot[i] != 0 && s->s_slot[i] != val + 2)
		i = (i + 1) & (s->s_size - 1);
	return (i);
}

static bool
set_grow(struct qcow2_set *s)
{
	struct qcow2_set new = { .s_size = 64 };
	size_t i;

	while (new.s_size < s->s_used * 4)
		new.s_size *= 2;
	new.s_slot = calloc(new.s_size, sizeof(*new.s_slot));
	if (new.s_slot == NULL)
		return (false);
	for (i = 0; i < s->s_size; i++) {
		if (s->s_slot[i] > 1) {
			new.s_slot[set_find(&new, s->s_slot[i] - 2)] =
			    s->s_slot[i];
			new.s_used++;
		}
	}
	free(s->s_slot);
	*s = new;
	return (true);
}

bool
qcow2_set_add(struct qcow2_set *s, uint64_t val)
{
	size_t i;

	if ((s->s_used + 1) * 2 > s->s_size && !set_grow(s))
		return (false);
	i = set_find(s, val);
	if (s->s_slot[i] == 0) {
		s->s_slot[i] = val + 2;
		s->s_used++;
	}
	return (true);
}

bool
qcow2_set_has(const struct qcow2_set *s, uint64_t val)
{
	return (s->s_size != 0 && s->s_slot[set_find(s, val)] != 0);
}

void
qcow2_set_remove(struct qcow2_set *s, uint64_t val)
{
	size_t i;

	if (s->s_size == 0)
		return;
	i = set_find(s, val);
	if (s->s_slot[i] != 0)
		s->s_slot[i] = 1;
}
