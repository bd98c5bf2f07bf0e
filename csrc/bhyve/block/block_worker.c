/*
 * The threads of a block device, and what they do for one request.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "block_local.h"
#include "iov.h"

#define BOUNCE_SIZE (1UL << 20)

/* What a thread keeps between requests. */
struct worker {
	struct blockif_ctxt *bc;
	void *bounce; /* BOUNCE_SIZE bytes, aligned; NULL until needed */
};

/* ---- one request ---- */

/*
 * Transfer the whole list: the system may do less at a time.  0 or an errno;
 * *resid is what is left.
 */
static int
transfer(int fd, bool write, const struct iovec *iov, int niov, off_t offset,
    ssize_t *resid)
{
	struct iovec rest[BLOCKIF_IOV_MAX];
	ssize_t n;

	memcpy(rest, iov, (size_t)niov * sizeof(*iov));
	while (*resid > 0) {
		n = write ? pwritev(fd, rest, niov, offset) :
			    preadv(fd, rest, niov, offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return (errno);
		if (n == 0)
			return (EIO); /* the file was made shorter */
		*resid -= n;
		offset += n;
		niov = (int)seek_iov(rest, (size_t)niov, rest, (size_t)n);
	}
	return (0);
}

/* O_DIRECT with buffers that are not aligned: by way of one that is. */
static int
transfer_bounce(struct worker *w, bool write, struct blockif_req *br)
{
	struct iovec one;
	ssize_t left;
	size_t done, n, total;
	int error;

	if (w->bounce == NULL &&
	    posix_memalign(&w->bounce, 4096, BOUNCE_SIZE) != 0) {
		w->bounce = NULL;
		return (ENOMEM);
	}
	total = (size_t)br->br_resid;
	for (done = 0; done < total; done += n) {
		n = total - done < BOUNCE_SIZE ? total - done : BOUNCE_SIZE;
		if (write)
			iov_to_buf(br->br_iov, (size_t)br->br_iovcnt, done,
			    w->bounce, n);
		one.iov_base = w->bounce;
		one.iov_len = n;
		left = (ssize_t)n;
		error = transfer(w->bc->bc_direct_fd, write, &one, 1,
		    br->br_offset + (off_t)done, &left);
		if (error != 0)
			return (error);
		if (!write)
			buf_to_iov(w->bounce, n, br->br_iov,
			    (size_t)br->br_iovcnt, done);
		br->br_resid -= (ssize_t)n;
	}
	return (0);
}

static bool
buffers_aligned(const struct blockif_req *br, int align)
{
	uintptr_t bits;
	int i;

	bits = 0;
	for (i = 0; i < br->br_iovcnt; i++)
		bits |= (uintptr_t)br->br_iov[i].iov_base |
		    br->br_iov[i].iov_len;
	return ((bits & (uintptr_t)(align - 1)) == 0);
}

static int
do_transfer(struct worker *w, bool write, struct blockif_req *br)
{
	struct blockif_ctxt *bc = w->bc;
	int64_t size;
	int fd;

	size = atomic_load(&bc->bc_size);
	if (br->br_iovcnt < 0 || br->br_iovcnt > BLOCKIF_IOV_MAX ||
	    br->br_offset < 0 || br->br_resid < 0 || br->br_offset > size ||
	    br->br_resid > size - br->br_offset)
		return (EINVAL);
	if (count_iov(br->br_iov, (size_t)br->br_iovcnt) !=
	    (size_t)br->br_resid)
		return (EINVAL);
	if (write && bc->bc_rdonly)
		return (EROFS);
	fd = bc->bc_fd;
	/* Parts of the alignment unit go through the page cache. */
	if (bc->bc_direct_fd >= 0 &&
	    ((br->br_offset | br->br_resid) & (bc->bc_direct_align - 1)) ==
		0) {
		if (!buffers_aligned(br, bc->bc_direct_align))
			return (transfer_bounce(w, write, br));
		fd = bc->bc_direct_fd;
	}
	return (transfer(fd, write, br->br_iov, br->br_iovcnt, br->br_offset,
	    &br->br_resid));
}

static int
do_flush(struct blockif_ctxt *bc)
{
	if (bc->bc_rdonly)
		return (0);
	return (fdatasync(bc->bc_fd) == 0 ? 0 : errno);
}

static int
do_delete(struct blockif_ctxt *bc, struct blockif_req *br)
{
	uint64_t range[2];
	int64_t size;

	size = atomic_load(&bc->bc_size);
	if (!bc->bc_candelete)
		return (EOPNOTSUPP);
	if (bc->bc_rdonly)
		return (EROFS);
	if (br->br_offset < 0 || br->br_resid < 0 || br->br_offset > size ||
	    br->br_resid > size - br->br_offset)
		return (EINVAL);
	if (br->br_resid == 0)
		return (0);
	range[0] = (uint64_t)br->br_offset;
	range[1] = (uint64_t)br->br_resid;
	if (bc->bc_isblk) {
		if (ioctl(bc->bc_fd, BLKDISCARD, range) != 0)
			return (errno);
	} else if (fallocate(bc->bc_fd,
		       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		       br->br_offset, br->br_resid) != 0) {
		return (errno);
	}
	br->br_resid = 0;
	return (0);
}

static void
blockif_proc(struct worker *w, struct blockif_elem *be)
{
	struct blockif_req *br = be->be_req;
	int error;

	switch (be->be_op) {
	case BOP_READ:
	case BOP_WRITE:
		error = do_transfer(w, be->be_op == BOP_WRITE, br);
		break;
	case BOP_FLUSH:
		error = do_flush(w->bc);
		break;
	default:
		error = do_delete(w->bc, br);
		break;
	}
	br->br_callback(br, error);
}

/* ---- the queue ---- */

static void *
blockif_thr(void *arg)
{
	struct worker w = { .bc = arg };
	struct blockif_ctxt *bc = w.bc;
	struct blockif_elem *be;

	pthread_setname_np(pthread_self(), bc->bc_ident);
	pthread_mutex_lock(&bc->bc_mtx);
	for (;;) {
		be = TAILQ_FIRST(&bc->bc_pendq);
		if (be == NULL) {
			if (bc->bc_closing)
				break;
			bc->bc_idle++;
			pthread_cond_wait(&bc->bc_cond, &bc->bc_mtx);
			bc->bc_idle--;
			continue;
		}
		TAILQ_REMOVE(&bc->bc_pendq, be, be_link);
		TAILQ_INSERT_TAIL(&bc->bc_busyq, be, be_link);
		pthread_mutex_unlock(&bc->bc_mtx);
		blockif_proc(&w, be);
		pthread_mutex_lock(&bc->bc_mtx);
		TAILQ_REMOVE(&bc->bc_busyq, be, be_link);
		be->be_req = NULL;
		be->be_serial = 0;
		TAILQ_INSERT_HEAD(&bc->bc_freeq, be, be_link);
		pthread_cond_broadcast(&bc->bc_done);
	}
	pthread_mutex_unlock(&bc->bc_mtx);
	free(w.bounce);
	return (NULL);
}

int
blockif_start_workers(struct blockif_ctxt *bc)
{
	sigset_t all, old;
	int error, i;

	pthread_mutex_init(&bc->bc_mtx, NULL);
	pthread_cond_init(&bc->bc_cond, NULL);
	pthread_cond_init(&bc->bc_done, NULL);
	TAILQ_INIT(&bc->bc_freeq);
	TAILQ_INIT(&bc->bc_pendq);
	TAILQ_INIT(&bc->bc_busyq);
	for (i = 0; i < BLOCKIF_MAXREQ; i++)
		TAILQ_INSERT_TAIL(&bc->bc_freeq, &bc->bc_elems[i], be_link);
	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = 0;
	for (i = 0; i < BLOCKIF_NUMTHR && error == 0; i++) {
		error = pthread_create(
		    &bc->bc_threads[i], NULL, blockif_thr, bc);
		if (error == 0)
			bc->bc_nthreads++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error != 0)
		blockif_stop_workers(bc);
	return (error);
}

void
blockif_stop_workers(struct blockif_ctxt *bc)
{
	int i;

	pthread_mutex_lock(&bc->bc_mtx);
	bc->bc_closing = true;
	pthread_cond_broadcast(&bc->bc_cond);
	pthread_mutex_unlock(&bc->bc_mtx);
	for (i = 0; i < bc->bc_nthreads; i++)
		pthread_join(bc->bc_threads[i], NULL);
	bc->bc_nthreads = 0;
	pthread_cond_destroy(&bc->bc_cond);
	pthread_cond_destroy(&bc->bc_done);
	pthread_mutex_destroy(&bc->bc_mtx);
}

static int
blockif_request(
    struct blockif_ctxt *bc, struct blockif_req *breq, enum blockop op)
{
	struct blockif_elem *be;

	pthread_mutex_lock(&bc->bc_mtx);
	be = TAILQ_FIRST(&bc->bc_freeq);
	if (be != NULL) {
		TAILQ_REMOVE(&bc->bc_freeq, be, be_link);
		be->be_req = breq;
		be->be_op = op;
		be->be_serial = ++bc->bc_serial;
		TAILQ_INSERT_TAIL(&bc->bc_pendq, be, be_link);
		/* A busy thread looks at the queue by itself. */
		if (bc->bc_idle > 0)
			pthread_cond_signal(&bc->bc_cond);
	}
	pthread_mutex_unlock(&bc->bc_mtx);
	return (be != NULL ? 0 : E2BIG);
}

int
blockif_read(struct blockif_ctxt *bc, struct blockif_req *breq)
{
	return (blockif_request(bc, breq, BOP_READ));
}

int
blockif_write(struct blockif_ctxt *bc, struct blockif_req *breq)
{
	return (blockif_request(bc, breq, BOP_WRITE));
}

int
blockif_flush(struct blockif_ctxt *bc, struct blockif_req *breq)
{
	return (blockif_request(bc, breq, BOP_FLUSH));
}

int
blockif_delete(struct blockif_ctxt *bc, struct blockif_req *breq)
{
	return (blockif_request(bc, breq, BOP_DELETE));
}

int
blockif_cancel(struct blockif_ctxt *bc, struct blockif_req *breq)
{
	struct blockif_elem *be;
	uint64_t serial;
	int error;

	pthread_mutex_lock(&bc->bc_mtx);
	TAILQ_FOREACH (be, &bc->bc_pendq, be_link) {
		if (be->be_req == breq)
			break;
	}
	if (be != NULL) {
		TAILQ_REMOVE(&bc->bc_pendq, be, be_link);
		be->be_req = NULL;
		be->be_serial = 0;
		TAILQ_INSERT_HEAD(&bc->bc_freeq, be, be_link);
		pthread_cond_broadcast(&bc->bc_done);
		pthread_mutex_unlock(&bc->bc_mtx);
		return (0);
	}
	TAILQ_FOREACH (be, &bc->bc_busyq, be_link) {
		if (be->be_req == breq)
			break;
	}
	error = be != NULL ? EBUSY : EINVAL;
	serial = be != NULL ? be->be_serial : 0;
	while (be != NULL && be->be_serial == serial)
		pthread_cond_wait(&bc->bc_done, &bc->bc_mtx);
	pthread_mutex_unlock(&bc->bc_mtx);
	return (error);
}
