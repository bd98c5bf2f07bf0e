/*
 * QEMU's qcow2 images, versions 2 and 3: what the header says, the backing
 * chain, and the tables that stay in memory.
 *
 * An image may come from anyone: what is not understood is refused by name,
 * and every offset is checked before it is used.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "debug.h"
#include "qcow2_local.h"

#define EXT_END 0
#define EXT_BACKING_FORMAT 0xe2792acaU
#define EXT_BITMAPS 0x23852875U
#define MAX_NAME 1023

/* What QEMU's own locks take: permissions in use, and not to be shared. */
#define LOCK_USED 100
#define LOCK_UNSHARED 200
#define LOCK_PERM_READ 0
#define LOCK_PERM_WRITE 1
#define LOCK_PERM_RESIZE 3

static int refuse(const char *path, const char *fmt, ...)
    __attribute__((__format__(printf, 2, 3)));

static int
refuse(const char *path, const char *fmt, ...)
{
	char text[1400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	EPRINTLN("%s: qcow2: %s", path, text);
	return (-1);
}

/* ---- the header, later ---- */

int
qcow2_header_write(struct qcow2 *q, size_t field, const void *data, size_t len)
{
	int error;

	error = blk_pwrite(q->q_fd, data, len, (int64_t)field);
	if (error == 0 && fdatasync(q->q_fd) != 0)
		error = errno;
	return (error);
}

int
qcow2_broken(struct qcow2 *q, const char *what)
{
	uint64_t bits;

	if (atomic_exchange(&q->q_broken, true))
		return (EIO);
	EPRINTLN("%s: qcow2: image is damaged: %s", q->q_image.bi_path, what);
	if (!q->q_image.bi_rdonly && q->q_version >= 3) {
		q->q_incompat |= QCOW2_CORRUPT;
		bits = htobe64(q->q_incompat);
		(void)qcow2_header_write(q,
		    offsetof(struct qcow2_header, incompatible_features), &bits,
		    sizeof(bits));
	}
	return (EIO);
}

/* ---- the header ---- */

struct opening {
	struct qcow2 *q;
	struct blk_open *how;
	struct qcow2_header h; /* host byte order */
	char backing[MAX_NAME + 1];
	char format[16];
};

static int
read_header(struct opening *o)
{
	const char *path = o->how->path;
	struct qcow2_header *h = &o->h;
	struct qcow2 *q = o->q;
	size_t len;

	len = q->q_file->bi_size < (int64_t)sizeof(*h)
	    ? (size_t)q->q_file->bi_size
	    : sizeof(*h);
	if (len < offsetof(struct qcow2_header, incompatible_features) ||
	    blk_pread(q->q_fd, h, len, 0) != 0)
		return (refuse(path, "too short for a header"));
	if (be32toh(h->magic) != QCOW2_MAGIC)
		return (refuse(path, "not an image of this format"));
	h->version = be32toh(h->version);
	h->backing_file_offset = be64toh(h->backing_file_offset);
	h->backing_file_size = be32toh(h->backing_file_size);
	h->cluster_bits = be32toh(h->cluster_bits);
	h->size = be64toh(h->size);
	h->crypt_method = be32toh(h->crypt_method);
	h->l1_size = be32toh(h->l1_size);
	h->l1_table_offset = be64toh(h->l1_table_offset);
	h->refcount_table_offset = be64toh(h->refcount_table_offset);
	h->refcount_table_clusters = be32toh(h->refcount_table_clusters);
	h->nb_snapshots = be32toh(h->nb_snapshots);
	h->snapshots_offset = be64toh(h->snapshots_offset);
	if (h->version == 2) {
		h->incompatible_features = h->autoclear_features = 0;
		h->refcount_order = 4;
		h->header_length =
		    offsetof(struct qcow2_header, incompatible_features);
		return (0);
	}
	if (h->version != 3)
		return (refuse(path, "version %u is not 2 or 3", h->version));
	if (len < offsetof(struct qcow2_header, compression_type))
		return (refuse(path, "too short for a header"));
	h->incompatible_features = be64toh(h->incompatible_features);
	h->autoclear_features = be64toh(h->autoclear_features);
	h->refcount_order = be32toh(h->refcount_order);
	h->header_length = be32toh(h->header_length);
	return (0);
}

static int
check_features(struct opening *o)
{
	const char *path = o->how->path;
	uint64_t bits = o->h.incompatible_features;

	if (o->h.crypt_method != 0)
		return (refuse(path, "encrypted images are not supported"));
	if ((bits & QCOW2_EXTERNAL) != 0)
		return (refuse(path, "external data files are not supported"));
	if ((bits & QCOW2_COMPRESSION) != 0)
		return (refuse(path,
		    "only zlib's compression is supported (type 0), not "
		    "type %u",
		    o->h.compression_type));
	if ((bits & QCOW2_EXTL2) != 0)
		return (refuse(path, "extended L2 entries are not supported"));
	bits &= ~(QCOW2_DIRTY | QCOW2_CORRUPT);
	if (bits != 0)
		return (refuse(path, "unknown incompatible features 0x%jx",
		    (uintmax_t)bits));
	if ((o->h.incompatible_features & QCOW2_CORRUPT) != 0 &&
	    !o->q->q_image.bi_rdonly)
		return (refuse(path,
		    "marked as damaged: open it with ro, or repair it with "
		    "qemu-img check -r all"));
	return (0);
}

static int
check_layout(struct opening *o)
{
	const char *path = o->how->path;
	const struct qcow2_header *h = &o->h;
	struct qcow2 *q = o->q;
	uint64_t need, span;

	if (h->cluster_bits < 9 || h->cluster_bits > 21)
		return (refuse(path, "cluster_bits %u is not from 9 to 21",
		    h->cluster_bits));
	if (h->refcount_order > 6)
		return (refuse(path, "refcount_order %u is more than 6",
		    h->refcount_order));
	q->q_cluster_bits = h->cluster_bits;
	q->q_cluster_size = 1UL << h->cluster_bits;
	q->q_l2_bits = h->cluster_bits - 3;
	q->q_ref_order = h->refcount_order;
	q->q_ref_bits = h->cluster_bits + 3 - h->refcount_order;
	if (h->header_length % 8 != 0 || h->header_length > q->q_cluster_size ||
	    h->header_length < (h->version == 2 ? 72 : 104))
		return (refuse(path, "header of %u bytes", h->header_length));
	span = q->q_cluster_size << q->q_l2_bits;
	if (h->size > (uint64_t)INT64_MAX - span)
		return (refuse(path, "disk of %ju bytes is too large",
		    (uintmax_t)h->size));
	need = (h->size + span - 1) / span;
	if (h->l1_size > QCOW2_MAX_L1 / 8)
		return (refuse(
		    path, "L1 table of %u entries is too large", h->l1_size));
	if (h->l1_size < need)
		return (refuse(path,
		    "L1 table of %u entries is too small for %ju bytes",
		    h->l1_size, (uintmax_t)h->size));
	if (h->refcount_table_clusters == 0 ||
	    (uint64_t)h->refcount_table_clusters << h->cluster_bits >
		QCOW2_MAX_REFTABLE)
		return (refuse(path, "refcount table of %u clusters",
		    h->refcount_table_clusters));
	if (h->nb_snapshots > 65536)
		return (
		    refuse(path, "%u snapshots are too many", h->nb_snapshots));
	return (0);
}

/* A part of the file that begins a cluster. */
static int
check_place(struct opening *o, const char *what, uint64_t offset, uint64_t len)
{
	struct qcow2 *q = o->q;
	uint64_t size = (uint64_t)q->q_file->bi_size;

	if ((offset & (q->q_cluster_size - 1)) != 0 || offset == 0)
		return (refuse(o->how->path, "%s at 0x%jx is not aligned", what,
		    (uintmax_t)offset));
	if (offset >= size || len > size - offset)
		return (refuse(o->how->path, "%s at 0x%jx is outside the file",
		    what, (uintmax_t)offset));
	return (0);
}

static int
read_extensions(struct opening *o)
{
	const char *path = o->how->path;
	uint32_t ext[2];
	uint64_t end, pos;
	size_t n;

	end = o->h.backing_file_offset != 0 ? o->h.backing_file_offset
					    : o->q->q_cluster_size;
	if (o->h.backing_file_size > MAX_NAME ||
	    end > o->q->q_cluster_size - o->h.backing_file_size ||
	    (o->h.backing_file_offset == 0 && o->h.backing_file_size != 0))
		return (refuse(path, "backing file name of %u bytes",
		    o->h.backing_file_size));
	if (o->h.backing_file_offset != 0 &&
	    blk_pread(o->q->q_fd, o->backing, o->h.backing_file_size,
		(int64_t)o->h.backing_file_offset) != 0)
		return (refuse(path, "backing file name is not there"));
	for (pos = o->h.header_length; pos + sizeof(ext) <= end;) {
		if (blk_pread(o->q->q_fd, ext, sizeof(ext), (int64_t)pos) != 0)
			break; /* the end of a file of version 2 */
		pos += sizeof(ext);
		n = be32toh(ext[1]);
		if (be32toh(ext[0]) == EXT_END)
			break;
		if (n > end - pos)
			return (
			    refuse(path, "header extension of %zu bytes", n));
		if (be32toh(ext[0]) == EXT_BACKING_FORMAT &&
		    (n >= sizeof(o->format) ||
			blk_pread(o->q->q_fd, o->format, n, (int64_t)pos) != 0))
			return (refuse(path, "backing format of %zu bytes", n));
		if (be32toh(ext[0]) == EXT_BITMAPS)
			o->q->q_bitmaps = true;
		pos += (n + 7) & ~7UL;
	}
	return (0);
}

/* ---- tables ---- */

static int
load_table(struct opening *o, const char *what, uint64_t offset,
    uint64_t entries, uint64_t **table)
{
	uint64_t i, *t;
	int error;

	if (entries == 0)
		return (0);
	if (check_place(o, what, offset, entries * sizeof(*t)) != 0)
		return (-1);
	*table = t = malloc(entries * sizeof(*t));
	error = t == NULL
	    ? ENOMEM
	    : blk_pread(o->q->q_fd, t, entries * sizeof(*t), (int64_t)offset);
	if (error != 0)
		return (refuse(o->how->path, "%s: %s", what, strerror(error)));
	for (i = 0; i < entries; i++)
		t[i] = be64toh(t[i]);
	return (0);
}

/* Clusters that hold tables; none may be two of them. */
static int
claim(struct opening *o, const char *what, uint64_t offset, uint64_t len)
{
	struct qcow2 *q = o->q;
	uint64_t i, n;

	if (check_place(o, what, offset, len) != 0)
		return (-1);
	n = (len + q->q_cluster_size - 1) >> q->q_cluster_bits;
	for (i = offset >> q->q_cluster_bits; n > 0; i++, n--) {
		if (qcow2_set_has(&q->q_meta, i))
			return (refuse(o->how->path,
			    "%s at 0x%jx overlaps another table", what,
			    (uintmax_t)offset));
		if (!qcow2_set_add(&q->q_meta, i))
			return (refuse(o->how->path, "out of memory"));
	}
	return (0);
}

static int
load_tables(struct opening *o)
{
	struct qcow2_header *h = &o->h;
	struct qcow2 *q = o->q;
	uint64_t i;

	q->q_l1_size = h->l1_size;
	q->q_l1_offset = h->l1_table_offset;
	q->q_rt_size = (uint64_t)h->refcount_table_clusters *
	    (q->q_cluster_size / sizeof(*q->q_rt));
	q->q_rt_offset = h->refcount_table_offset;
	if (load_table(o, "L1 table", q->q_l1_offset, q->q_l1_size, &q->q_l1) !=
		0 ||
	    load_table(o, "refcount table", q->q_rt_offset, q->q_rt_size,
		&q->q_rt) != 0)
		return (-1);
	if (!qcow2_set_add(&q->q_meta, 0))
		return (refuse(o->how->path, "out of memory"));
	if ((q->q_l1_size != 0 &&
		claim(o, "L1 table", q->q_l1_offset,
		    q->q_l1_size * sizeof(*q->q_l1)) != 0) ||
	    claim(o, "refcount table", q->q_rt_offset,
		q->q_rt_size * sizeof(*q->q_rt)) != 0)
		return (-1);
	for (i = 0; i < q->q_l1_size; i++) {
		if ((q->q_l1[i] & QCOW2_OFFSET) != 0 &&
		    claim(o, "L2 table", q->q_l1[i] & QCOW2_OFFSET,
			q->q_cluster_size) != 0)
			return (-1);
	}
	for (i = 0; i < q->q_rt_size; i++) {
		if (q->q_rt[i] != 0 &&
		    claim(o, "refcount block", q->q_rt[i], q->q_cluster_size) !=
			0)
			return (-1);
	}
	return (0);
}

/* ---- the file below ---- */

/* A name is relative to the image that has it. */
static char *
backing_path(const struct opening *o)
{
	const char *slash;
	char *path;
	int n;

	slash = strrchr(o->how->path, '/');
	n = o->backing[0] == '/' || slash == NULL
	    ? 0
	    : (int)(slash + 1 - o->how->path);
	if (asprintf(&path, "%.*s%s", n, o->how->path, o->backing) < 0)
		return (NULL);
	return (path);
}

static int
check_cycle(const struct opening *o, const char *path)
{
	const struct blk_open *up;
	struct stat sb;

	if (stat(path, &sb) != 0)
		return (0); /* opening it will say why */
	for (up = o->how; up != NULL; up = up->above) {
		if (up->dev == sb.st_dev && up->ino == sb.st_ino)
			return (refuse(o->how->path,
			    "backing chain comes back to %s", path));
	}
	return (0);
}

static int
open_backing(struct opening *o)
{
	struct blk_open below = {
		.ro = true,
		.nocache = o->how->nocache,
		.backing = o->how->backing,
		.depth = o->how->depth + 1,
		.above = o->how,
	};
	const char *name = o->how->path;
	char *path;
	int error;

	if (o->h.backing_file_size == 0)
		return (0);
	if (strlen(o->backing) != o->h.backing_file_size)
		return (refuse(name, "backing file name has a NUL"));
	if (!o->how->backing)
		return (refuse(name,
		    "has the backing file \"%s\": the option backing allows "
		    "it",
		    o->backing));
	if (strcmp(o->format, "raw") != 0 && strcmp(o->format, "qcow2") != 0)
		return (refuse(name,
		    "backing format \"%s\" is not raw or qcow2 (qemu-img "
		    "rebase -u -F sets it)",
		    o->format));
	if (below.depth > QCOW2_MAX_DEPTH)
		return (refuse(name, "more than %d images in a backing chain",
		    QCOW2_MAX_DEPTH));
	path = backing_path(o);
	if (path == NULL)
		return (refuse(name, "out of memory"));
	below.path = path;
	error = check_cycle(o, path);
	if (error == 0) {
		o->q->q_backing = o->format[0] == 'r' ? blk_raw_open(&below)
						      : blk_qcow2_open(&below);
		error = o->q->q_backing != NULL ? 0 : -1;
	}
	free(path);
	return (error);
}

/* Nobody else writes the image: this program's users nor QEMU. */
static int
lock_byte(int fd, short type, int byte, int len)
{
	struct flock fl = { .l_type = type,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = len };

	if (fcntl(fd, F_OFD_SETLK, &fl) == 0)
		return (0);
	return (errno == EAGAIN || errno == EACCES ? -1 : 0);
}

static int
lock_file(struct opening *o)
{
	struct qcow2 *q = o->q;
	int error;

	if (q->q_image.bi_rdonly) {
		error =
		    lock_byte(q->q_fd, F_RDLCK, LOCK_USED + LOCK_PERM_READ, 1);
		if (error == 0)
			error = lock_byte(q->q_fd, F_RDLCK,
			    LOCK_UNSHARED + LOCK_PERM_WRITE, 1);
		if (error == 0)
			error = lock_byte(q->q_fd, F_RDLCK,
			    LOCK_UNSHARED + LOCK_PERM_RESIZE, 1);
	} else {
		error = lock_byte(q->q_fd, F_WRLCK, LOCK_USED, 200);
	}
	return (
	    error == 0 ? 0 : refuse(o->how->path, "in use by another program"));
}

/* ---- opening and closing ---- */

int
qcow2_close(struct blk_image *bi)
{
	struct qcow2 *q = to_qcow2(bi);
	int error;

	error = bi->bi_rdonly || q->q_l1 == NULL ? 0 : qcow2_flush(q);
	/* Counts of clusters that this flush has freed, and nothing else. */
	if (q->q_backing != NULL)
		q->q_backing->bi_ops->bo_close(q->q_backing);
	if (q->q_file != NULL && q->q_file->bi_ops->bo_close(q->q_file) != 0 &&
	    error == 0)
		error = EIO;
	qcow2_cache_free(q);
	free(q->q_l1);
	free(q->q_rt);
	free(q->q_frees);
	free(q->q_zbuf);
	free(q->q_zin);
	pthread_mutex_destroy(&q->q_zmtx);
	pthread_cond_destroy(&q->q_done);
	pthread_mutex_destroy(&q->q_mtx);
	pthread_mutex_destroy(&q->q_flush_mtx);
	pthread_rwlock_destroy(&q->q_io);
	free(bi->bi_path);
	free(q);
	return (error);
}

static void
set_up(struct qcow2 *q)
{
	pthread_rwlockattr_t attr;

	q->q_image.bi_ops = &qcow2_ops;
	/* What waits to free clusters must not wait for ever. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(
	    &attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&q->q_io, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&q->q_flush_mtx, NULL);
	pthread_mutex_init(&q->q_mtx, NULL);
	pthread_cond_init(&q->q_done, NULL);
	pthread_mutex_init(&q->q_zmtx, NULL);
	LIST_INIT(&q->q_inflight);
	TAILQ_INIT(&q->q_lru);
}

/* Before the first write. */
static int
make_writable(struct opening *o)
{
	struct qcow2 *q = o->q;
	uint64_t bits;
	int error;

	error = 0;
	if ((q->q_incompat & QCOW2_DIRTY) != 0) {
		if (qcow2_rebuild(q) != 0)
			return (-1);
		q->q_incompat &= ~QCOW2_DIRTY;
		bits = htobe64(q->q_incompat);
		error = qcow2_header_write(q,
		    offsetof(struct qcow2_header, incompatible_features), &bits,
		    sizeof(bits));
	}
	/* What these promise (bitmaps) does not hold any more. */
	bits = 0;
	if (error == 0 && o->h.autoclear_features != 0)
		error = qcow2_header_write(q,
		    offsetof(struct qcow2_header, autoclear_features), &bits,
		    sizeof(bits));
	return (error == 0
		? 0
		: refuse(o->how->path, "header: %s", strerror(error)));
}

static int
qcow2_load(struct opening *o)
{
	struct qcow2 *q = o->q;
	struct blk_image *bi = &q->q_image;
	struct stat sb;

	q->q_file = blk_raw_open(o->how);
	if (q->q_file == NULL)
		return (-1);
	q->q_fd = blk_raw_fd(q->q_file);
	bi->bi_rdonly = q->q_file->bi_rdonly;
	if (fstat(q->q_fd, &sb) == 0) {
		o->how->dev = sb.st_dev;
		o->how->ino = sb.st_ino;
	}
	atomic_store(&q->q_fsize, (uint64_t)q->q_file->bi_size);
	if (lock_file(o) != 0 || read_header(o) != 0 ||
	    check_features(o) != 0 || check_layout(o) != 0 ||
	    read_extensions(o) != 0)
		return (-1);
	q->q_version = o->h.version;
	q->q_incompat = o->h.incompatible_features;
	q->q_nsnapshots = o->h.nb_snapshots;
	q->q_snapshots = o->h.snapshots_offset;
	qcow2_cache_init(q);
	if (load_tables(o) != 0)
		return (-1);
	bi->bi_size = (int64_t)o->h.size;
	bi->bi_sectsz = 512;
	bi->bi_psectsz = 4096;
	bi->bi_unit = (int)q->q_cluster_size;
	bi->bi_candelete = !bi->bi_rdonly;
	bi->bi_zeroes = q->q_version >= 3 || o->h.backing_file_size == 0;
	if (open_backing(o) != 0)
		return (-1);
	return (bi->bi_rdonly ? 0 : make_writable(o));
}

struct blk_image *
blk_qcow2_open(struct blk_open *how)
{
	struct opening *o;
	struct qcow2 *q;
	int error;

	o = calloc(1, sizeof(*o));
	q = calloc(1, sizeof(*q));
	if (o == NULL || q == NULL ||
	    (q->q_image.bi_path = strdup(how->path)) == NULL) {
		EPRINTLN("%s: qcow2: out of memory", how->path);
		free(o);
		free(q);
		return (NULL);
	}
	set_up(q);
	o->q = q;
	o->how = how;
	error = qcow2_load(o);
	free(o);
	if (error == 0)
		return (&q->q_image);
	q->q_image.bi_rdonly = true; /* nothing is to be written */
	qcow2_close(&q->q_image);
	return (NULL);
}
