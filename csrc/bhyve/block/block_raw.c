/*
 * A file or block device as a disk's contents, byte for byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "block_image.h"
#include "block_if.h"
#include "debug.h"
#include "iov.h"

#define DEV_BSIZE 512
#define BOUNCE_SIZE (1UL << 20)

struct blk_raw {
	struct blk_image r_image;
	int r_fd;
	int r_direct_fd;    /* with O_DIRECT, or -1 */
	int r_direct_align; /* of offsets and lengths */
	int r_direct_mem;   /* of buffers */
};

static struct blk_raw *
to_raw(struct blk_image *bi)
{
	return ((struct blk_raw *)bi);
}

/* ---- helpers of all formats ---- */

int
blk_raw_fd(struct blk_image *bi)
{
	return (to_raw(bi)->r_fd);
}

int
blk_pread(int fd, void *buf, size_t len, int64_t offset)
{
	ssize_t n;

	while (len > 0) {
		n = pread(fd, buf, len, offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (n < 0 ? errno : EIO);
		buf = (char *)buf + n;
		len -= (size_t)n;
		offset += n;
	}
	return (0);
}

int
blk_pwrite(int fd, const void *buf, size_t len, int64_t offset)
{
	ssize_t n;

	while (len > 0) {
		n = pwrite(fd, buf, len, offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (n < 0 ? errno : EIO);
		buf = (const char *)buf + n;
		len -= (size_t)n;
		offset += n;
	}
	return (0);
}

int
blk_iov_part(const struct iovec *iov, int niov, size_t skip, size_t len,
    struct iovec *out)
{
	size_t n;

	n = seek_iov(iov, (size_t)niov, out, skip);
	return ((int)truncate_iov(out, n, len));
}

void
blk_iov_zero(const struct iovec *iov, int niov)
{
	int i;

	for (i = 0; i < niov; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
}

/* ---- transfers ---- */

/* Transfer the whole list: the system may do less at a time. */
static int
transfer(int fd, bool write, const struct iovec *iov, int niov, int64_t offset,
    size_t len)
{
	struct iovec rest[BLOCKIF_IOV_MAX];
	ssize_t n;

	n = write ? pwritev(fd, iov, niov, offset)
		  : preadv(fd, iov, niov, offset);
	if (n == (ssize_t)len)
		return (0);
	memcpy(rest, iov, (size_t)niov * sizeof(*iov));
	for (;;) {
		if (n < 0 && errno != EINTR)
			return (errno);
		if (n == 0)
			return (EIO); /* the file was made shorter */
		if (n > 0) {
			len -= (size_t)n;
			offset += n;
			niov =
			    (int)seek_iov(rest, (size_t)niov, rest, (size_t)n);
		}
		if (len == 0)
			return (0);
		n = write ? pwritev(fd, rest, niov, offset)
			  : preadv(fd, rest, niov, offset);
	}
}

/* O_DIRECT with buffers that are not aligned: by way of one that is. */
static int
transfer_bounce(struct blk_raw *r, bool write, const struct iovec *iov,
    int niov, int64_t offset, size_t len)
{
	void *bounce;
	size_t done, n;
	int error;

	n = len < BOUNCE_SIZE ? len : BOUNCE_SIZE;
	if (posix_memalign(&bounce, 4096, n) != 0)
		return (ENOMEM);
	error = 0;
	for (done = 0; done < len && error == 0; done += n) {
		if (n > len - done)
			n = len - done;
		if (write) {
			iov_to_buf(iov, (size_t)niov, done, bounce, n);
			error = blk_pwrite(
			    r->r_direct_fd, bounce, n, offset + (int64_t)done);
		} else {
			error = blk_pread(
			    r->r_direct_fd, bounce, n, offset + (int64_t)done);
			if (error == 0)
				buf_to_iov(bounce, n, iov, (size_t)niov, done);
		}
	}
	free(bounce);
	return (error);
}

static bool
buffers_aligned(const struct iovec *iov, int niov, int align)
{
	uintptr_t bits;
	int i;

	bits = 0;
	for (i = 0; i < niov; i++)
		bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return ((bits & (uintptr_t)(align - 1)) == 0);
}

/* Parts of the alignment unit go through the page cache. */
static bool
goes_direct(const struct blk_raw *r, int64_t offset, size_t len)
{
	return (r->r_direct_fd >= 0 &&
	    ((offset | (int64_t)len) & (r->r_direct_align - 1)) == 0);
}

static int
raw_plain(struct blk_image *bi, const struct iovec *iov, int niov,
    int64_t offset, size_t len)
{
	struct blk_raw *r = to_raw(bi);

	if (!goes_direct(r, offset, len))
		return (r->r_fd);
	return (
	    buffers_aligned(iov, niov, r->r_direct_mem) ? r->r_direct_fd : -1);
}

static int
raw_transfer(struct blk_image *bi, bool write, const struct iovec *iov,
    int niov, int64_t offset, size_t len)
{
	int fd;

	fd = raw_plain(bi, iov, niov, offset, len);
	if (fd < 0)
		return (
		    transfer_bounce(to_raw(bi), write, iov, niov, offset, len));
	return (transfer(fd, write, iov, niov, offset, len));
}

static int
raw_read(struct blk_image *bi, const struct iovec *iov, int niov,
    int64_t offset, size_t len)
{
	return (raw_transfer(bi, false, iov, niov, offset, len));
}

static int
raw_write(struct blk_image *bi, const struct iovec *iov, int niov,
    int64_t offset, size_t len)
{
	return (raw_transfer(bi, true, iov, niov, offset, len));
}

/* What the page cache has. */
static int
raw_tryread(struct blk_image *bi, const struct iovec *iov, int niov,
    int64_t offset, size_t len)
{
	struct blk_raw *r = to_raw(bi);

	if (r->r_direct_fd >= 0 ||
	    preadv2(r->r_fd, iov, niov, offset, RWF_NOWAIT) != (ssize_t)len)
		return (EAGAIN);
	return (0);
}

static int
raw_flush(struct blk_image *bi)
{
	return (fdatasync(to_raw(bi)->r_fd) == 0 ? 0 : errno);
}

static int
raw_delete(struct blk_image *bi, int64_t offset, size_t len)
{
	uint64_t range[2] = { (uint64_t)offset, len };
	int fd = to_raw(bi)->r_fd;

	if (bi->bi_isblk)
		return (ioctl(fd, BLKDISCARD, range) == 0 ? 0 : errno);
	return (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		    offset, (off_t)len) == 0
		? 0
		: errno);
}

/* For file systems that know no better way. */
static int
write_zeroes(struct blk_raw *r, int64_t offset, size_t len)
{
	static const char zeroes[65536];
	size_t n;
	int error;

	for (error = 0; len > 0 && error == 0; len -= n) {
		n = len < sizeof(zeroes) ? len : sizeof(zeroes);
		error = blk_pwrite(r->r_fd, zeroes, n, offset);
		offset += (int64_t)n;
	}
	return (error);
}

static int
raw_zero(struct blk_image *bi, int64_t offset, size_t len, bool unmap)
{
	uint64_t range[2] = { (uint64_t)offset, len };
	struct blk_raw *r = to_raw(bi);

	if (bi->bi_isblk) {
		if (ioctl(r->r_fd, BLKZEROOUT, range) == 0)
			return (0);
	} else if (fallocate(r->r_fd,
		       FALLOC_FL_KEEP_SIZE |
			   (unmap && bi->bi_candelete ? FALLOC_FL_PUNCH_HOLE
						      : FALLOC_FL_ZERO_RANGE),
		       offset, (off_t)len) == 0) {
		return (0);
	}
	if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
		return (errno);
	return (write_zeroes(r, offset, len));
}

static int64_t
raw_size(struct blk_image *bi)
{
	struct stat sb;
	uint64_t size;

	if (bi->bi_isblk)
		return (ioctl(to_raw(bi)->r_fd, BLKGETSIZE64, &size) == 0
			? (int64_t)size
			: bi->bi_size);
	return (fstat(to_raw(bi)->r_fd, &sb) == 0 ? sb.st_size : bi->bi_size);
}

static int
raw_close(struct blk_image *bi)
{
	struct blk_raw *r = to_raw(bi);
	int error;

	error = r->r_fd >= 0 && !bi->bi_rdonly ? raw_flush(bi) : 0;
	if (r->r_fd >= 0)
		close(r->r_fd);
	if (r->r_direct_fd >= 0)
		close(r->r_direct_fd);
	free(bi->bi_path);
	free(r);
	return (error);
}

static const struct blk_ops raw_ops = {
	.bo_read = raw_read,
	.bo_write = raw_write,
	.bo_tryread = raw_tryread,
	.bo_plain = raw_plain,
	.bo_flush = raw_flush,
	.bo_delete = raw_delete,
	.bo_zero = raw_zero,
	.bo_size = raw_size,
	.bo_close = raw_close,
};

/* ---- opening ---- */

static bool
device_can_discard(const struct stat *sb)
{
	char path[96];
	unsigned long long max;
	bool found;
	FILE *fp;
	int i;

	/* A partition's queue is that of the disk above it. */
	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path),
		    "/sys/dev/block/%u:%u/%squeue/discard_max_bytes",
		    major(sb->st_rdev), minor(sb->st_rdev),
		    i == 0 ? "" : "../");
		fp = fopen(path, "re");
		if (fp == NULL)
			continue;
		found = fscanf(fp, "%llu", &max) == 1 && max > 0;
		fclose(fp);
		return (found);
	}
	return (false);
}

static int
probe_device(struct blk_raw *r, const struct stat *sb)
{
	struct blk_image *bi = &r->r_image;
	unsigned int psectsz;
	uint64_t size;
	int alignoff, sectsz;

	if (ioctl(r->r_fd, BLKGETSIZE64, &size) != 0 ||
	    ioctl(r->r_fd, BLKSSZGET, &sectsz) != 0)
		return (errno);
	if (ioctl(r->r_fd, BLKPBSZGET, &psectsz) != 0)
		psectsz = (unsigned int)sectsz;
	if (ioctl(r->r_fd, BLKALIGNOFF, &alignoff) != 0 || alignoff < 0)
		alignoff = 0;
	bi->bi_isblk = true;
	bi->bi_size = (int64_t)size;
	bi->bi_sectsz = sectsz;
	bi->bi_psectsz = (int)psectsz;
	bi->bi_psectoff = alignoff;
	bi->bi_candelete = !bi->bi_rdonly && device_can_discard(sb);
	return (0);
}

static void
probe_file(struct blk_raw *r, const struct stat *sb)
{
	struct blk_image *bi = &r->r_image;

	bi->bi_size = sb->st_size;
	bi->bi_sectsz = DEV_BSIZE;
	bi->bi_psectsz = (int)sb->st_blksize;
	if (bi->bi_psectsz < DEV_BSIZE ||
	    (bi->bi_psectsz & (bi->bi_psectsz - 1)) != 0)
		bi->bi_psectsz = DEV_BSIZE;
	bi->bi_zeroes = true;
	/* Behind the end there is nothing to lose: only an inquiry. */
	bi->bi_candelete = !bi->bi_rdonly &&
	    fallocate(r->r_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		sb->st_size, DEV_BSIZE) == 0;
}

/* What O_DIRECT asks for; older systems do not tell. */
static void
probe_direct(struct blk_raw *r)
{
	r->r_direct_align =
	    r->r_image.bi_isblk ? r->r_image.bi_sectsz : r->r_image.bi_psectsz;
	r->r_direct_mem = r->r_direct_align;
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (statx(r->r_direct_fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) ==
		0 &&
	    (sx.stx_mask & STATX_DIOALIGN) != 0 &&
	    sx.stx_dio_offset_align != 0) {
		r->r_direct_align = (int)sx.stx_dio_offset_align;
		r->r_direct_mem = (int)sx.stx_dio_mem_align;
	}
#endif
}

static int
open_files(struct blk_raw *r, const struct blk_open *how)
{
	struct blk_image *bi = &r->r_image;
	struct stat sb;
	int error, extra;

	extra = O_CLOEXEC | (how->sync ? O_SYNC : 0);
	bi->bi_rdonly = how->ro;
	r->r_fd = open(how->path, (how->ro ? O_RDONLY : O_RDWR) | extra);
	if (r->r_fd < 0 && !how->ro) {
		r->r_fd = open(how->path, O_RDONLY | extra);
		bi->bi_rdonly = true;
	}
	if (r->r_fd < 0)
		return (errno);
	if (fstat(r->r_fd, &sb) != 0) {
		error = errno;
		ewarnx("Could not stat backing file: %s: %s", how->path,
		    strerror(error));
		return (-1);
	}
	if (S_ISBLK(sb.st_mode)) {
		error = probe_device(r, &sb);
		if (error != 0)
			return (error);
	} else if (S_ISREG(sb.st_mode)) {
		probe_file(r, &sb);
	} else {
		return (S_ISDIR(sb.st_mode) ? EISDIR : ENOTBLK);
	}
	if (how->nocache) {
		r->r_direct_fd = open(how->path,
		    (bi->bi_rdonly ? O_RDONLY : O_RDWR) | extra | O_DIRECT);
		if (r->r_direct_fd < 0)
			return (errno);
		probe_direct(r);
		bi->bi_direct = true;
	}
	return (0);
}

struct blk_image *
blk_raw_open(const struct blk_open *how)
{
	struct blk_raw *r;
	int error;

	r = calloc(1, sizeof(*r));
	if (r == NULL || (r->r_image.bi_path = strdup(how->path)) == NULL) {
		EPRINTLN("block_if: out of memory");
		free(r);
		return (NULL);
	}
	r->r_image.bi_ops = &raw_ops;
	r->r_fd = r->r_direct_fd = -1;
	error = open_files(r, how);
	if (error == 0)
		return (&r->r_image);
	if (error > 0)
		ewarnx("Could not open backing file: %s: %s", how->path,
		    strerror(error));
	r->r_image.bi_rdonly = true; /* nothing was written */
	raw_close(&r->r_image);
	return (NULL);
}
