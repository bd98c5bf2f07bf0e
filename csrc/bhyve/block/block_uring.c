/*
 * Transfers by io_uring: of images that are a plain file or device, where a
 * request is one call of the system.  Everything else (flushes, deletes, what
 * needs a bounce buffer) is the workers', as are transfers without a ring.
 *
 * One thread submits and reaps.  Requests come to it by u_pendq; while it waits
 * in the kernel, where one of its entries reads u_wake, a write there makes it
 * look.  A batch that a device starts thus costs one wake-up, and the thread
 * one call of the system for all of the batch.
 *
 * Order is as with threads: none between requests that are under way at the
 * same time, and a flush covers the writes whose callbacks have run.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block_local.h"
#include "block_ring.h"

#define WAKE_TAG UINT64_MAX

/* ---- the ring's thread ---- */

/* Queue what is pending, as far as there is room; bc_mtx is held. */
static void
take_pending(struct blk_uring *u)
{
	struct blockif_req *br;
	int slot;

	while (u->u_nfree > 0 && (br = TAILQ_FIRST(&u->u_pendq)) != NULL) {
		TAILQ_REMOVE(&u->u_pendq, br, br_link);
		slot = u->u_free[--u->u_nfree];
		u->u_busy[slot].bb_req = br;
		blk_ring_queue(u->u_ring, (uint64_t)slot,
		    br->br_op == BOP_WRITE, br->br_fd, br->br_iov,
		    br->br_iovcnt, br->br_offset);
	}
}

static void
transfer_ended(struct blockif_ctxt *bc, int slot, int res)
{
	struct blk_uring *u = bc->bc_uring;
	struct blockif_req *br = u->u_busy[slot].bb_req;
	int error;

	if (res == br->br_resid)
		error = 0;
	else if (res >= 0 || res == -EINTR || res == -EAGAIN)
		/* Less than all: once more, by the call that goes on. */
		error = blockif_transfer(bc, br);
	else
		error = -res;
	blockif_end(br, error);
	pthread_mutex_lock(&bc->bc_mtx);
	blockif_leave(bc, &u->u_busy[slot]);
	u->u_free[u->u_nfree++] = (uint16_t)slot;
	pthread_mutex_unlock(&bc->bc_mtx);
}

static void
ring_loop(struct blockif_ctxt *bc)
{
	struct blk_ring_result results[BLOCKIF_RING_MAX];
	struct blk_uring *u = bc->bc_uring;
	struct iovec wake = { &u->u_count, sizeof(u->u_count) };
	bool reading;
	int i, n;

	reading = false;
	pthread_mutex_lock(&bc->bc_mtx);
	while (!bc->bc_closing) {
		if (!reading)
			blk_ring_queue(
			    u->u_ring, WAKE_TAG, false, u->u_wake, &wake, 1, 0);
		reading = true;
		take_pending(u);
		/* Without room, an end is what it waits for. */
		u->u_asleep = u->u_nfree > 0;
		pthread_mutex_unlock(&bc->bc_mtx);
		n = blk_ring_wait(u->u_ring, results, BLOCKIF_RING_MAX);
		pthread_mutex_lock(&bc->bc_mtx);
		u->u_asleep = false;
		pthread_mutex_unlock(&bc->bc_mtx);
		for (i = 0; i < n; i++) {
			if (results[i].tag == WAKE_TAG)
				reading = false;
			else
				transfer_ended(
				    bc, (int)results[i].tag, results[i].res);
		}
		pthread_mutex_lock(&bc->bc_mtx);
	}
	pthread_mutex_unlock(&bc->bc_mtx);
}

static void *
uring_thr(void *arg)
{
	struct blockif_ctxt *bc = arg;
	struct blk_uring *u = bc->bc_uring;

	pthread_setname_np(pthread_self(), bc->bc_ident);
	/* The ring is this thread's alone; one entry is for u_wake. */
	pthread_mutex_lock(&bc->bc_mtx);
	u->u_error = blk_ring_create(BLOCKIF_RING_MAX + 1, &u->u_ring);
	u->u_up = true;
	pthread_cond_broadcast(&bc->bc_done);
	pthread_mutex_unlock(&bc->bc_mtx);
	if (u->u_error == 0) {
		ring_loop(bc);
		blk_ring_destroy(u->u_ring);
	}
	return (NULL);
}

/* ---- for block_if.c and block_worker.c ---- */

static void
uring_free(struct blockif_ctxt *bc)
{
	if (bc->bc_uring->u_wake >= 0)
		close(bc->bc_uring->u_wake);
	free(bc->bc_uring);
	bc->bc_uring = NULL;
}

int
blk_uring_start(struct blockif_ctxt *bc)
{
	struct blk_uring *u;
	int error, i;

	u = calloc(1, sizeof(*u));
	if (u == NULL)
		return (ENOMEM);
	TAILQ_INIT(&u->u_pendq);
	for (i = 0; i < BLOCKIF_RING_MAX; i++)
		u->u_free[u->u_nfree++] = (uint16_t)i;
	bc->bc_uring = u;
	u->u_wake = eventfd(0, EFD_CLOEXEC);
	error =
	    u->u_wake < 0 ? errno : blockif_thread(&u->u_thread, uring_thr, bc);
	if (error == 0) {
		pthread_mutex_lock(&bc->bc_mtx);
		while (!u->u_up)
			pthread_cond_wait(&bc->bc_done, &bc->bc_mtx);
		error = u->u_error;
		pthread_mutex_unlock(&bc->bc_mtx);
		if (error != 0)
			pthread_join(u->u_thread, NULL);
	}
	if (error != 0)
		uring_free(bc);
	return (error);
}

void
blk_uring_stop(struct blockif_ctxt *bc)
{
	eventfd_write(bc->bc_uring->u_wake, 1);
	pthread_join(bc->bc_uring->u_thread, NULL);
	uring_free(bc);
}

bool
blk_uring_request(struct blockif_ctxt *bc, struct blockif_req *br)
{
	struct blk_uring *u = bc->bc_uring;
	bool wake;

	/* What is wrong with a request is for a worker to say. */
	if ((br->br_op != BOP_READ && br->br_op != BOP_WRITE) ||
	    br->br_resid == 0 || br->br_resid > INT32_MAX ||
	    blockif_check(bc, br) != 0)
		return (false);
	br->br_fd = bc->bc_image->bi_ops->bo_plain(bc->bc_image, br->br_iov,
	    br->br_iovcnt, br->br_offset, (size_t)br->br_resid);
	if (br->br_fd < 0)
		return (false);
	pthread_mutex_lock(&bc->bc_mtx);
	TAILQ_INSERT_TAIL(&u->u_pendq, br, br_link);
	wake = u->u_asleep;
	u->u_asleep = false;
	pthread_mutex_unlock(&bc->bc_mtx);
	if (wake)
		eventfd_write(u->u_wake, 1);
	return (true);
}
