/*
 * A throw-away layer: what the guest writes goes into a temporary file that
 * has no name, and the image below is only read.
 *
 * The file is as long as the image and sparse; a bit for each granule says
 * that the file has it.  A granule becomes the file's once, with o_mtx held;
 * from then on it is written without a lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block_image.h"
#include "block_if.h"
#include "debug.h"

#define GRANULE 4096

struct blk_overlay {
	struct blk_image o_image;
	struct blk_image *o_base;
	int o_fd;
	pthread_mutex_t o_mtx;
	_Atomic uint64_t *o_present; /* a bit a granule */
};

static struct blk_overlay *
to_overlay(struct blk_image *bi)
{
	return ((struct blk_overlay *)bi);
}

static bool
present(struct blk_overlay *o, int64_t granule)
{
	return ((atomic_load_explicit(
		     &o->o_present[granule / 64], memory_order_acquire) >>
			(granule % 64) &
		    1) != 0);
}

/* From first up to (not with) last. */
static void
set_present(struct blk_overlay *o, int64_t first, int64_t last)
{
	for (; first < last; first++)
		atomic_fetch_or_explicit(&o->o_present[first / 64],
		    1UL << (first % 64), memory_order_release);
}

/* How many of len bytes are in the same file as the first one. */
static size_t
run_length(struct blk_overlay *o, int64_t offset, size_t len, bool *mine)
{
	int64_t end, granule;

	granule = offset / GRANULE;
	*mine = present(o, granule);
	do
		end = ++granule * GRANULE;
	while (end < offset + (int64_t)len && present(o, granule) == *mine);
	return (end - offset < (int64_t)len ? (size_t)(end - offset) : len);
}

/* The whole list to or from the temporary file. */
static int
own_transfer(struct blk_overlay *o, bool write, const struct iovec *iov,
    int niov, int64_t offset)
{
	int error, i;

	for (error = i = 0; i < niov && error == 0; i++) {
		error = write ? blk_pwrite(o->o_fd, iov[i].iov_base,
				    iov[i].iov_len, offset)
			      : blk_pread(o->o_fd, iov[i].iov_base,
				    iov[i].iov_len, offset);
		offset += (int64_t)iov[i].iov_len;
	}
	return (error);
}

static int
overlay_read(struct blk_image *bi, const struct iovec *iov, int niov,
    int64_t offset, size_t len)
{
	struct blk_overlay *o = to_overlay(bi);
	struct iovec part[BLOCKIF_IOV_MAX];
	size_t done, n;
	int error, count;
	bool mine;

	error = 0;
	for (done = 0; done < len && error == 0; done += n) {
		n = run_length(o, offset + (int64_t)done, len - done, &mine);
		count = blk_iov_part(iov, niov, done, n, part);
		if (mine)
			error = own_transfer(
			    o, false, part, count, offset + (int64_t)done);
		else
			error = o->o_base->bi_ops->bo_read(
			    o->o_base, part, count, offset + (int64_t)done, n);
	}
	return (error);
}

static int
overlay_tryread(struct blk_image *bi, const struct iovec *iov, int niov,
    int64_t offset, size_t len)
{
	struct blk_overlay *o = to_overlay(bi);
	struct blk_image *base = o->o_base;
	bool mine;

	if (len == 0 || run_length(o, offset, len, &mine) != len)
		return (EAGAIN);
	if (!mine)
		return (base->bi_ops->bo_tryread == NULL
			? EAGAIN
			: base->bi_ops->bo_tryread(
			      base, iov, niov, offset, len));
	if (preadv2(o->o_fd, iov, niov, offset, RWF_NOWAIT) != (ssize_t)len)
		return (EAGAIN);
	return (0);
}

/* The part of a granule that the image has. */
static size_t
granule_size(struct blk_overlay *o, int64_t granule)
{
	int64_t left;

	left = o->o_image.bi_size - granule * GRANULE;
	return (left < GRANULE ? (size_t)left : GRANULE);
}

/* A granule that is about to be written in part; o_mtx is held. */
static int
fill_granule(struct blk_overlay *o, int64_t granule)
{
	char buf[GRANULE];
	struct iovec iov = { buf, granule_size(o, granule) };
	int error;

	if (present(o, granule))
		return (0);
	error = o->o_base->bi_ops->bo_read(
	    o->o_base, &iov, 1, granule * GRANULE, iov.iov_len);
	if (error == 0)
		error =
		    blk_pwrite(o->o_fd, buf, iov.iov_len, granule * GRANULE);
	if (error == 0)
		set_present(o, granule, granule + 1);
	return (error);
}

static int
overlay_write(struct blk_image *bi, const struct iovec *iov, int niov,
    int64_t offset, size_t len)
{
	struct blk_overlay *o = to_overlay(bi);
	int64_t end, first, last;
	int error;
	bool mine;

	if (len == 0)
		return (0);
	if (run_length(o, offset, len, &mine) == len && mine)
		return (own_transfer(o, true, iov, niov, offset));
	end = offset + (int64_t)len;
	first = offset / GRANULE;
	last = (end - 1) / GRANULE;
	error = 0;
	pthread_mutex_lock(&o->o_mtx);
	if (offset % GRANULE != 0)
		error = fill_granule(o, first);
	if (error == 0 && end % GRANULE != 0 && end != bi->bi_size)
		error = fill_granule(o, last);
	if (error == 0)
		error = own_transfer(o, true, iov, niov, offset);
	if (error == 0)
		set_present(o, first, last + 1);
	pthread_mutex_unlock(&o->o_mtx);
	return (error);
}

static int
overlay_flush(struct blk_image *bi)
{
	return (0); /* nothing of it outlives the process */
}

/* Whole granules; what is not in the file any more reads as zeroes. */
static int
zero_granules(struct blk_overlay *o, int64_t first, int64_t last)
{
	int error;

	pthread_mutex_lock(&o->o_mtx);
	error = fallocate(o->o_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		    first * GRANULE, (last - first) * GRANULE) == 0
	    ? 0
	    : errno;
	if (error == 0)
		set_present(o, first, last);
	pthread_mutex_unlock(&o->o_mtx);
	return (error);
}

static int
overlay_zero(struct blk_image *bi, int64_t offset, size_t len, bool unmap)
{
	static char zeroes[GRANULE];
	struct blk_overlay *o = to_overlay(bi);
	struct iovec iov = { .iov_base = zeroes };
	int64_t end, first, last;
	int error;

	end = offset + (int64_t)len;
	first = (offset + GRANULE - 1) / GRANULE;
	last =
	    end == bi->bi_size ? (end + GRANULE - 1) / GRANULE : end / GRANULE;
	if (first >= last) {
		/* Parts of two granules at most. */
		for (error = 0; offset < end && error == 0;
		     offset += (int64_t)iov.iov_len) {
			iov.iov_len = GRANULE - (size_t)(offset % GRANULE);
			if ((int64_t)iov.iov_len > end - offset)
				iov.iov_len = (size_t)(end - offset);
			error = overlay_write(bi, &iov, 1, offset, iov.iov_len);
		}
		return (error);
	}
	error = zero_granules(o, first, last);
	iov.iov_len = (size_t)(first * GRANULE - offset);
	if (error == 0)
		error = overlay_write(bi, &iov, 1, offset, iov.iov_len);
	if (error == 0 && last * GRANULE < end) {
		iov.iov_len = (size_t)(end - last * GRANULE);
		error = overlay_write(bi, &iov, 1, last * GRANULE, iov.iov_len);
	}
	return (error);
}

static int
overlay_delete(struct blk_image *bi, int64_t offset, size_t len)
{
	return (overlay_zero(bi, offset, len, true));
}

static int64_t
overlay_size(struct blk_image *bi)
{
	return (bi->bi_size);
}

static int
overlay_close(struct blk_image *bi)
{
	struct blk_overlay *o = to_overlay(bi);

	o->o_base->bi_ops->bo_close(o->o_base);
	if (o->o_fd >= 0)
		close(o->o_fd);
	pthread_mutex_destroy(&o->o_mtx);
	free(o->o_present);
	free(bi->bi_path);
	free(o);
	return (0);
}

static const struct blk_ops overlay_ops = {
	.bo_read = overlay_read,
	.bo_write = overlay_write,
	.bo_tryread = overlay_tryread,
	.bo_flush = overlay_flush,
	.bo_delete = overlay_delete,
	.bo_zero = overlay_zero,
	.bo_size = overlay_size,
	.bo_close = overlay_close,
};

/* A file without a name in TMPDIR or /var/tmp; -1 after a line. */
static int
temporary_file(int64_t size)
{
	char path[4096];
	const char *dir;
	int fd;

	dir = getenv("TMPDIR");
	if (dir == NULL || dir[0] == '\0')
		dir = "/var/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR) &&
	    snprintf(path, sizeof(path), "%s/bhyve-overlay.XXXXXX", dir) <
		(int)sizeof(path)) {
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			unlink(path);
	}
	if (fd < 0 || ftruncate(fd, size) != 0) {
		ewarnx("overlay: cannot make a temporary file in %s: %s", dir,
		    strerror(errno));
		if (fd >= 0)
			close(fd);
		return (-1);
	}
	return (fd);
}

struct blk_image *
blk_overlay_open(struct blk_image *base)
{
	struct blk_overlay *o;
	struct blk_image *bi;
	size_t words;

	o = calloc(1, sizeof(*o));
	if (o == NULL) {
		EPRINTLN("overlay: out of memory");
		base->bi_ops->bo_close(base);
		return (NULL);
	}
	bi = &o->o_image;
	*bi = *base;
	bi->bi_ops = &overlay_ops;
	bi->bi_rdonly = false;
	bi->bi_candelete = bi->bi_zeroes = true;
	o->o_base = base;
	pthread_mutex_init(&o->o_mtx, NULL);
	words = (size_t)base->bi_size / GRANULE / 64 + 1;
	bi->bi_path = strdup(base->bi_path);
	o->o_present = calloc(words, sizeof(*o->o_present));
	o->o_fd = -1;
	if (bi->bi_path == NULL || o->o_present == NULL)
		EPRINTLN("overlay: %s: out of memory for %jd bytes",
		    base->bi_path, (intmax_t)base->bi_size);
	else
		o->o_fd = temporary_file(base->bi_size);
	if (o->o_fd < 0) {
		overlay_close(bi);
		return (NULL);
	}
	return (bi);
}
