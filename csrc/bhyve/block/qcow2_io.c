/*
 * qcow2: reading, writing, and giving clusters back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "block_if.h"
#include "iov.h"
#include "qcow2_local.h"

/* Clusters that wait for a flush before one is made for their sake. */
#define FREES_BYTES (16UL << 20)

/* ---- reading ---- */

/* From the backing file, which may be shorter. */
static int
read_backing(struct qcow2 *q, const struct iovec *iov, int niov,
    uint64_t offset, size_t len)
{
	struct blk_image *b = q->q_backing;
	struct iovec part[BLOCKIF_IOV_MAX];
	size_t n;

	n = 0;
	if (b != NULL && offset < (uint64_t)b->bi_size)
		n = (uint64_t)b->bi_size - offset < len
		    ? (size_t)((uint64_t)b->bi_size - offset)
		    : len;
	if (n < len)
		blk_iov_zero(part, blk_iov_part(iov, niov, n, len - n, part));
	if (n == 0)
		return (0);
	return (b->bi_ops->bo_read(
	    b, part, blk_iov_part(iov, niov, 0, n, part), (int64_t)offset, n));
}

static int
read_data(struct qcow2 *q, const struct iovec *iov, int niov, uint64_t host,
    size_t len)
{
	struct iovec part[BLOCKIF_IOV_MAX];
	uint64_t size;
	size_t n;

	/* The last cluster of a file may be cut off. */
	size = atomic_load(&q->q_fsize);
	n = host >= size ? 0 : size - host < len ? size - host : len;
	if (n < len)
		blk_iov_zero(part, blk_iov_part(iov, niov, n, len - n, part));
	if (n == 0)
		return (0);
	return (q->q_file->bi_ops->bo_read(q->q_file, part,
	    blk_iov_part(iov, niov, 0, n, part), (int64_t)host, n));
}

/* q_zin's first len bytes, a deflate stream without a frame, into q_zbuf. */
static bool
inflate_cluster(struct qcow2 *q, size_t len)
{
	z_stream zs = {
		.next_in = q->q_zin,
		.avail_in = (uInt)len,
		.next_out = q->q_zbuf,
		.avail_out = (uInt)q->q_cluster_size,
	};

	if (inflateInit2(&zs, -MAX_WBITS) != Z_OK)
		return (false);
	(void)inflate(&zs, Z_FINISH);
	(void)inflateEnd(&zs);
	return (zs.avail_out == 0);
}

static int
read_compressed(struct qcow2 *q, const struct iovec *iov, int niov,
    const struct qcow2_extent *e, size_t skip)
{
	uint64_t host, size;
	unsigned int shift;
	size_t len;
	int error;

	shift = 62 - (q->q_cluster_bits - 8);
	host = e->e_entry & ((1UL << shift) - 1);
	len = (((e->e_entry & ~(3UL << 62)) >> shift) + 1) * 512 - (host & 511);
	size = atomic_load(&q->q_fsize);
	if (host >= size)
		return (qcow2_broken(q, "a cluster is outside the file"));
	if (len > size - host)
		len = size - host;
	error = 0;
	pthread_mutex_lock(&q->q_zmtx);
	/* What a stream may be at most, and the sector it ends in. */
	if (q->q_zbuf == NULL) {
		q->q_zbuf = malloc(q->q_cluster_size);
		q->q_zin = malloc(q->q_cluster_size * 2 + 1024);
	}
	if (q->q_zbuf == NULL || q->q_zin == NULL)
		error = ENOMEM;
	else if (len > q->q_cluster_size * 2 + 1024)
		error = EIO;
	if (error == 0 && q->q_zentry != e->e_entry) {
		q->q_zentry = 0;
		error = blk_pread(q->q_fd, q->q_zin, len, (int64_t)host);
		if (error == 0 && !inflate_cluster(q, len))
			error = EIO;
		if (error == 0)
			q->q_zentry = e->e_entry;
	}
	if (error == 0)
		buf_to_iov(
		    (char *)q->q_zbuf + skip, e->e_len, iov, (size_t)niov, 0);
	pthread_mutex_unlock(&q->q_zmtx);
	return (error);
}

/* q_io is held. */
static int
read_locked(struct qcow2 *q, const struct iovec *iov, int niov, uint64_t offset,
    size_t len)
{
	struct iovec part[BLOCKIF_IOV_MAX];
	struct qcow2_extent e;
	size_t done;
	int error, n;

	error = 0;
	for (done = 0; done < len && error == 0; done += e.e_len) {
		pthread_mutex_lock(&q->q_mtx);
		error = qcow2_map(q, offset + done, len - done, &e);
		pthread_mutex_unlock(&q->q_mtx);
		if (error != 0)
			break;
		n = blk_iov_part(iov, niov, done, e.e_len, part);
		switch (e.e_kind) {
		case Q_HOLE:
			error =
			    read_backing(q, part, n, offset + done, e.e_len);
			break;
		case Q_ZERO:
			blk_iov_zero(part, n);
			break;
		case Q_DATA:
			error = read_data(q, part, n, e.e_host, e.e_len);
			break;
		case Q_COMPRESSED:
			error = read_compressed(q, part, n, &e,
			    (offset + done) & (q->q_cluster_size - 1));
			break;
		}
	}
	return (error);
}

static int
qcow2_read(struct blk_image *bi, const struct iovec *iov, int niov,
    int64_t offset, size_t len)
{
	struct qcow2 *q = to_qcow2(bi);
	int error;

	pthread_rwlock_rdlock(&q->q_io);
	error = read_locked(q, iov, niov, (uint64_t)offset, len);
	pthread_rwlock_unlock(&q->q_io);
	return (error);
}

static int
qcow2_tryread(struct blk_image *bi, const struct iovec *iov, int niov,
    int64_t offset, size_t len)
{
	struct qcow2 *q = to_qcow2(bi);
	struct qcow2_extent e;
	int error;

	if (pthread_rwlock_tryrdlock(&q->q_io) != 0)
		return (EAGAIN);
	error = EAGAIN;
	if (pthread_mutex_trylock(&q->q_mtx) == 0) {
		error = qcow2_map_peek(q, (uint64_t)offset, len, &e);
		pthread_mutex_unlock(&q->q_mtx);
	}
	if (error == 0 && e.e_len == len && e.e_kind == Q_DATA)
		error = q->q_file->bi_ops->bo_tryread(
		    q->q_file, iov, niov, (int64_t)e.e_host, len);
	else if (error == 0 && e.e_len == len &&
	    (e.e_kind == Q_ZERO ||
		(e.e_kind == Q_HOLE && q->q_backing == NULL)))
		blk_iov_zero(iov, niov);
	else
		error = EAGAIN;
	pthread_rwlock_unlock(&q->q_io);
	return (error);
}

/* ---- writing ---- */

/* One write into clusters that are not in the tables yet. */
struct alloc {
	struct qcow2_inflight a_fly;
	uint64_t a_offset; /* of the data, on the disk */
	size_t a_len;
	uint64_t a_host; /* the first new cluster's place in the file */
	bool a_reused;	 /* the clusters were the range's already */
	bool a_zeroes;	 /* they are beyond what the file had */
};

static bool
in_flight(struct qcow2 *q, uint64_t first, uint64_t count)
{
	struct qcow2_inflight *f;

	LIST_FOREACH(f, &q->q_inflight, f_link)
	{
		if (first < f->f_first + f->f_count &&
		    f->f_first < first + count)
			return (true);
	}
	return (false);
}

/*
 * Take clusters for the start of a range that has none of its own; q_mtx is
 * held.  EAGAIN: another write is doing so.
 */
static int
take_clusters(struct qcow2 *q, uint64_t offset, size_t len, struct alloc *a)
{
	struct qcow2_table *t;
	uint64_t count, end, entry, first, i, size;
	int error;

	first = offset >> q->q_cluster_bits;
	if (in_flight(q, first, 1))
		return (EAGAIN);
	error = qcow2_l2_writable(q, offset, &t);
	if (error != 0)
		return (error);
	end = (offset + len - 1) >> q->q_cluster_bits;
	i = qcow2_l2_index(q, offset);
	entry = qcow2_l2_load(t, i);
	a->a_reused = qcow2_entry_kind(q, entry) == Q_ZERO &&
	    (entry & QCOW2_COPIED) != 0 && (entry & QCOW2_OFFSET) != 0 &&
	    (entry & QCOW2_OFFSET & (q->q_cluster_size - 1)) == 0 &&
	    (entry & QCOW2_OFFSET) < atomic_load(&q->q_fsize) &&
	    !qcow2_set_has(
		&q->q_meta, (entry & QCOW2_OFFSET) >> q->q_cluster_bits);
	for (count = 1; !a->a_reused && first + count <= end &&
	     i + count < 1UL << q->q_l2_bits;
	     count++) {
		entry = qcow2_l2_load(t, i + count);
		if ((qcow2_entry_kind(q, entry) == Q_DATA ||
			qcow2_entry_kind(q, entry) == Q_ZERO) &&
		    (entry & QCOW2_COPIED) != 0)
			break;
		if (in_flight(q, first + count, 1))
			break;
	}
	if (a->a_reused) {
		a->a_host = entry & QCOW2_OFFSET;
		a->a_zeroes = false;
	} else {
		size = atomic_load(&q->q_fsize);
		error = qcow2_alloc(q, &count, &a->a_host);
		if (error != 0)
			return (error);
		a->a_host <<= q->q_cluster_bits;
		a->a_zeroes = a->a_host >= size && !q->q_file->bi_isblk;
	}
	a->a_fly.f_first = first;
	a->a_fly.f_count = count;
	a->a_offset = offset;
	a->a_len = ((first + count) << q->q_cluster_bits) - offset;
	if (a->a_len > len)
		a->a_len = len;
	LIST_INSERT_HEAD(&q->q_inflight, &a->a_fly, f_link);
	return (0);
}

/* Bytes of a new cluster that are not written keep what the disk had. */
static int
fill(struct qcow2 *q, const struct alloc *a, uint64_t from, uint64_t to)
{
	struct qcow2_extent e;
	struct iovec iov;
	uint64_t host;
	size_t len;
	int error;

	len = to - from;
	if (len == 0)
		return (0);
	pthread_mutex_lock(&q->q_mtx);
	error = qcow2_map(q, from, len, &e);
	pthread_mutex_unlock(&q->q_mtx);
	if (error != 0)
		return (error);
	if (a->a_zeroes &&
	    (e.e_kind == Q_ZERO ||
		(e.e_kind == Q_HOLE && q->q_backing == NULL)))
		return (0);
	iov.iov_base = malloc(len);
	iov.iov_len = len;
	if (iov.iov_base == NULL)
		return (ENOMEM);
	host = a->a_host + from - (a->a_fly.f_first << q->q_cluster_bits);
	error = read_locked(q, &iov, 1, from, len);
	if (error == 0)
		error = q->q_file->bi_ops->bo_write(
		    q->q_file, &iov, 1, (int64_t)host, len);
	free(iov.iov_base);
	return (error);
}

/* Put the clusters into the table, or give them back; q_mtx is held. */
static int
enter_clusters(struct qcow2 *q, struct alloc *a, int error)
{
	uint64_t host, i, index, old;
	struct qcow2_table *t;

	if (error == 0)
		error = qcow2_l2_writable(q, a->a_offset, &t);
	index = qcow2_l2_index(q, a->a_offset);
	for (i = 0; i < a->a_fly.f_count; i++) {
		host = a->a_host + (i << q->q_cluster_bits);
		if (error == 0) {
			old = qcow2_l2_load(t, index + i);
			qcow2_l2_store(t, index + i, host | QCOW2_COPIED);
			if (!a->a_reused)
				qcow2_free_entry(q, old);
		} else if (!a->a_reused) {
			(void)qcow2_ref_drop(q, host >> q->q_cluster_bits);
		}
	}
	LIST_REMOVE(&a->a_fly, f_link);
	pthread_cond_broadcast(&q->q_done);
	return (error);
}

/* The start of a range that has no clusters of its own: *done of it. */
static int
write_new(struct qcow2 *q, const struct iovec *iov, int niov, size_t skip,
    struct alloc *a)
{
	struct iovec part[BLOCKIF_IOV_MAX];
	uint64_t first, last;
	int error;

	first = a->a_fly.f_first << q->q_cluster_bits;
	last = first + (a->a_fly.f_count << q->q_cluster_bits);
	error = fill(q, a, first, a->a_offset);
	if (error == 0)
		error = fill(q, a, a->a_offset + a->a_len, last);
	if (error == 0)
		error = q->q_file->bi_ops->bo_write(q->q_file, part,
		    blk_iov_part(iov, niov, skip, a->a_len, part),
		    (int64_t)(a->a_host + a->a_offset - first), a->a_len);
	pthread_mutex_lock(&q->q_mtx);
	error = enter_clusters(q, a, error);
	pthread_mutex_unlock(&q->q_mtx);
	return (error);
}

/* q_io is held. */
static int
write_locked(struct qcow2 *q, const struct iovec *iov, int niov,
    uint64_t offset, size_t len)
{
	struct iovec part[BLOCKIF_IOV_MAX];
	struct qcow2_extent e;
	struct alloc a;
	size_t done, n;
	int error;

	error = 0;
	for (done = 0; done < len && error == 0; done += n) {
		pthread_mutex_lock(&q->q_mtx);
		for (;;) {
			error = atomic_load(&q->q_broken)
			    ? EIO
			    : qcow2_map(q, offset + done, len - done, &e);
			if (error != 0 || (e.e_kind == Q_DATA && e.e_copied))
				break;
			error = take_clusters(q, offset + done, e.e_len, &a);
			if (error != EAGAIN)
				break;
			pthread_cond_wait(&q->q_done, &q->q_mtx);
		}
		pthread_mutex_unlock(&q->q_mtx);
		if (error != 0)
			break;
		if (e.e_kind == Q_DATA && e.e_copied) {
			n = e.e_len;
			error = q->q_file->bi_ops->bo_write(q->q_file, part,
			    blk_iov_part(iov, niov, done, n, part),
			    (int64_t)e.e_host, n);
		} else {
			n = a.a_len;
			error = write_new(q, iov, niov, done, &a);
		}
	}
	return (error);
}

/* Too much waits for a flush. */
static int
relieve(struct qcow2 *q)
{
	bool full;

	pthread_mutex_lock(&q->q_mtx);
	full = q->q_nfrees << q->q_cluster_bits >= FREES_BYTES ||
	    q->q_ntables > q->q_maxtables;
	pthread_mutex_unlock(&q->q_mtx);
	return (full ? qcow2_flush(q) : 0);
}

static int
qcow2_write(struct blk_image *bi, const struct iovec *iov, int niov,
    int64_t offset, size_t len)
{
	struct qcow2 *q = to_qcow2(bi);
	int error;

	pthread_rwlock_rdlock(&q->q_io);
	error = write_locked(q, iov, niov, (uint64_t)offset, len);
	pthread_rwlock_unlock(&q->q_io);
	return (error != 0 ? error : relieve(q));
}

static int
qcow2_flush_op(struct blk_image *bi)
{
	return (qcow2_flush(to_qcow2(bi)));
}

/* ---- giving back ---- */

/* Zeroes into a part of a cluster, unless it reads as zeroes by itself. */
static int
zero_part(struct qcow2 *q, uint64_t offset, size_t len)
{
	struct qcow2_extent e;
	struct iovec iov;
	int error;

	if (len == 0)
		return (0);
	pthread_rwlock_rdlock(&q->q_io);
	pthread_mutex_lock(&q->q_mtx);
	error = qcow2_map(q, offset, len, &e);
	pthread_mutex_unlock(&q->q_mtx);
	if (error == 0 && e.e_kind != Q_ZERO &&
	    (e.e_kind != Q_HOLE || q->q_backing != NULL)) {
		iov.iov_base = calloc(1, len);
		iov.iov_len = len;
		error = iov.iov_base == NULL
		    ? ENOMEM
		    : write_locked(q, &iov, 1, offset, len);
		free(iov.iov_base);
	}
	pthread_rwlock_unlock(&q->q_io);
	return (error);
}

/* One whole cluster; q_io is held for writing, q_mtx too. */
static int
zero_cluster(struct qcow2 *q, uint64_t offset, bool unmap)
{
	struct qcow2_extent e;
	struct qcow2_table *t;
	uint64_t entry;
	int error;

	error = qcow2_map(q, offset, q->q_cluster_size, &e);
	if (error != 0)
		return (error);
	if (e.e_kind == Q_ZERO && (!unmap || (e.e_entry & QCOW2_OFFSET) == 0))
		return (0);
	if (e.e_kind == Q_HOLE && q->q_backing == NULL)
		return (0);
	/* Something must hide what the backing file has. */
	entry = q->q_backing != NULL ? QCOW2_ZERO : 0;
	if (!unmap && q->q_version >= 3 && e.e_kind == Q_DATA && e.e_copied)
		entry = e.e_entry | QCOW2_ZERO;
	error = qcow2_l2_writable(q, offset, &t);
	if (error != 0)
		return (error);
	qcow2_l2_store(t, qcow2_l2_index(q, offset), entry);
	if ((entry & QCOW2_OFFSET) == 0)
		qcow2_free_entry(q, e.e_entry);
	return (0);
}

static int
zero_clusters(struct qcow2 *q, uint64_t first, uint64_t last, bool unmap)
{
	int error;

	/* Reads and writes that know the clusters are over. */
	pthread_rwlock_wrlock(&q->q_io);
	pthread_mutex_lock(&q->q_mtx);
	for (error = 0; first < last && error == 0; first += q->q_cluster_size)
		error = atomic_load(&q->q_broken)
		    ? EIO
		    : zero_cluster(q, first, unmap);
	pthread_mutex_unlock(&q->q_mtx);
	pthread_rwlock_unlock(&q->q_io);
	return (error);
}

static int
qcow2_zero(struct blk_image *bi, int64_t offset, size_t len, bool unmap)
{
	struct qcow2 *q = to_qcow2(bi);
	uint64_t end, first, from, last, n;
	int error;

	from = (uint64_t)offset;
	end = from + len;
	first = (from + q->q_cluster_size - 1) & ~(q->q_cluster_size - 1);
	last = end == (uint64_t)bi->bi_size
	    ? (end + q->q_cluster_size - 1) & ~(q->q_cluster_size - 1)
	    : end & ~(q->q_cluster_size - 1);
	error = 0;
	if (first >= last ||
	    (q->q_version < 3 && (q->q_backing != NULL || !unmap))) {
		for (; from < end && error == 0; from += n) {
			n = q->q_cluster_size -
			    (from & (q->q_cluster_size - 1));
			if (n > end - from)
				n = end - from;
			error = zero_part(q, from, n);
		}
		return (error != 0 ? error : relieve(q));
	}
	error = zero_part(q, from, first - from);
	if (error == 0)
		error = zero_clusters(q, first, last, unmap);
	if (error == 0 && last < end)
		error = zero_part(q, last, end - last);
	return (error != 0 ? error : relieve(q));
}

static int
qcow2_delete(struct blk_image *bi, int64_t offset, size_t len)
{
	struct qcow2 *q = to_qcow2(bi);

	/* Version 2 cannot hide what is below: nothing is won. */
	if (q->q_version < 3 && q->q_backing != NULL)
		return (0);
	return (qcow2_zero(bi, offset, len, true));
}

static int64_t
qcow2_size(struct blk_image *bi)
{
	return (bi->bi_size);
}

const struct blk_ops qcow2_ops = {
	.bo_read = qcow2_read,
	.bo_write = qcow2_write,
	.bo_tryread = qcow2_tryread,
	.bo_flush = qcow2_flush_op,
	.bo_delete = qcow2_delete,
	.bo_zero = qcow2_zero,
	.bo_size = qcow2_size,
	.bo_close = qcow2_close,
};
