/*
 * A disk's contents behind block_if.c: one file a format.
 *
 * block_raw.c holds a file or device and is what the others lie on.  Threads
 * call the operations at the same time; an image does its own locking and
 * holds no lock of its own across a transfer that need not wait for another.
 */
#ifndef _BLOCK_IMAGE_H_
#define _BLOCK_IMAGE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct blk_image;

/*
 * Ranges lie inside the image, which is writable where it is written; the
 * list is as long as len.  0 or an errno.
 */
struct blk_ops {
	int (*bo_read)(struct blk_image *bi, const struct iovec *iov, int niov,
	    int64_t offset, size_t len);
	int (*bo_write)(struct blk_image *bi, const struct iovec *iov, int niov,
	    int64_t offset, size_t len);
	/* A read that waits for no device; EAGAIN: it would.  May be NULL. */
	int (*bo_tryread)(struct blk_image *bi, const struct iovec *iov,
	    int niov, int64_t offset, size_t len);
	/*
	 * The descriptor of a file in which this transfer is one call of the
	 * system at the same offset; -1: it is more.  May be NULL.
	 */
	int (*bo_plain)(struct blk_image *bi, const struct iovec *iov, int niov,
	    int64_t offset, size_t len);
	/* All that was written before is on stable storage. */
	int (*bo_flush)(struct blk_image *bi);
	/* The range is not needed; it reads as zeroes if bi_zeroes. */
	int (*bo_delete)(struct blk_image *bi, int64_t offset, size_t len);
	/* The range reads as zeroes; unmap: its room may be given back. */
	int (*bo_zero)(
	    struct blk_image *bi, int64_t offset, size_t len, bool unmap);
	int64_t (*bo_size)(struct blk_image *bi); /* at this moment */
	/* Flushed if it is writable, then freed, whatever is returned. */
	int (*bo_close)(struct blk_image *bi);
};

/* The first member of every format's own structure. */
struct blk_image {
	const struct blk_ops *bi_ops;
	char *bi_path;
	bool bi_rdonly;
	bool bi_candelete;
	bool bi_zeroes; /* what was deleted reads as zeroes */
	bool bi_direct; /* transfers go past the page cache */
	bool bi_isblk;	/* a block device: bi_sectsz is its smallest one */
	int bi_sectsz, bi_psectsz, bi_psectoff;
	int bi_unit;	 /* what is deleted at once; 0: a physical sector */
	int64_t bi_size; /* when it was opened */
};

/* How to open an image; the functions print one line when they fail. */
struct blk_open {
	const char *path;
	bool ro;
	bool nocache;		      /* by O_DIRECT */
	bool sync;		      /* by O_SYNC */
	bool backing;		      /* backing files may be opened */
	int depth;		      /* of a backing chain */
	const struct blk_open *above; /* the image that this one backs */
	uint64_t dev, ino;	      /* of the open file, for those below */
};

struct blk_image *blk_raw_open(const struct blk_open *how);
struct blk_image *blk_qcow2_open(struct blk_open *how);
/*
 * What is written goes into a temporary file that has no name.  The base is
 * the overlay's from here on, even when this fails.
 */
struct blk_image *blk_overlay_open(struct blk_image *base);

/* ---- for the formats that lie on a raw one ---- */
int blk_raw_fd(struct blk_image *bi);
/* Bytes at an offset, through the page cache; short of the end: EIO. */
int blk_pread(int fd, void *buf, size_t len, int64_t offset);
int blk_pwrite(int fd, const void *buf, size_t len, int64_t offset);

/* ---- parts of lists ---- */
/* len bytes from skip on, into out (niov elements); returns how many. */
int blk_iov_part(const struct iovec *iov, int niov, size_t skip, size_t len,
    struct iovec *out);
void blk_iov_zero(const struct iovec *iov, int niov);

#endif
