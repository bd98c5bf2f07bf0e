/*
 * The requests of a block device: the threads that do them, and what they do
 * for one of them.
 */
#include <errno.h>
#include <signal.h>

#include "block_local.h"
#include "iov.h"

/* ---- one request ---- */

static int
check_range(struct blockif_ctxt *bc, off_t offset, ssize_t len)
{
	int64_t size;

	size = atomic_load(&bc->bc_size);
	return (offset < 0 || len < 0 || offset > size || len > size - offset
		? EINVAL
		: 0);
}

int
blockif_check(struct blockif_ctxt *bc, const struct blockif_req *br)
{
	if (br->br_iovcnt < 0 || br->br_iovcnt > BLOCKIF_IOV_MAX ||
	    check_range(bc, br->br_offset, br->br_resid) != 0 ||
	    count_iov(br->br_iov, (size_t)br->br_iovcnt) !=
		(size_t)br->br_resid)
		return (EINVAL);
	return (br->br_op == BOP_WRITE && br->br_resid != 0 && bc->bc_rdonly
		? EROFS
		: 0);
}

int
blockif_transfer(struct blockif_ctxt *bc, struct blockif_req *br)
{
	const struct blk_ops *ops = bc->bc_image->bi_ops;
	int error;

	error = blockif_check(bc, br);
	if (error != 0 || br->br_resid == 0)
		return (error);
	if (br->br_op == BOP_READ)
		return (ops->bo_read(bc->bc_image, br->br_iov, br->br_iovcnt,
		    br->br_offset, (size_t)br->br_resid));
	error = ops->bo_write(bc->bc_image, br->br_iov, br->br_iovcnt,
	    br->br_offset, (size_t)br->br_resid);
	if (error == 0 && bc->bc_sync && bc->bc_fixed)
		error = ops->bo_flush(bc->bc_image);
	return (error);
}

static int
do_range(struct blockif_ctxt *bc, bool zero, struct blockif_req *br)
{
	const struct blk_ops *ops = bc->bc_image->bi_ops;
	int error;

	if (!zero && !bc->bc_candelete)
		return (EOPNOTSUPP);
	if (bc->bc_rdonly)
		return (EROFS);
	error = check_range(bc, br->br_offset, br->br_resid);
	if (error != 0 || br->br_resid == 0)
		return (error);
	if (zero)
		error = ops->bo_zero(bc->bc_image, br->br_offset,
		    (size_t)br->br_resid, br->br_unmap && bc->bc_candelete);
	else
		error = ops->bo_delete(
		    bc->bc_image, br->br_offset, (size_t)br->br_resid);
	if (error == 0 && bc->bc_sync)
		error = ops->bo_flush(bc->bc_image);
	return (error);
}

static void
blockif_proc(struct blockif_ctxt *bc, struct blockif_req *br)
{
	int error, op;

	op = br->br_op;
	switch (op) {
	case BOP_READ:
	case BOP_WRITE:
		error = blockif_transfer(bc, br);
		break;
	case BOP_FLUSH:
		error = bc->bc_rdonly
		    ? 0
		    : bc->bc_image->bi_ops->bo_flush(bc->bc_image);
		break;
	default:
		error = do_range(bc, op == BOP_ZERO, br);
		break;
	}
	blockif_end(br, error);
}

void
blockif_end(struct blockif_req *br, int error)
{
	if (error == 0)
		br->br_resid = 0;
	br->br_callback(br, error);
}

int
blockif_tryread(struct blockif_ctxt *bc, const struct iovec *iov, int niov,
    off_t offset, size_t len)
{
	const struct blk_ops *ops = bc->bc_image->bi_ops;

	if (ops->bo_tryread == NULL || niov > BLOCKIF_IOV_MAX ||
	    check_range(bc, offset, (ssize_t)len) != 0)
		return (EAGAIN);
	return (ops->bo_tryread(bc->bc_image, iov, niov, offset, len));
}

/* ---- the queue ---- */

/*
 * One thread is woken at a time, and wakes the next one when there is more:
 * a batch costs its sender one call of the system.  True: the caller signals
 * bc_cond when it has released bc_mtx, for which the thread else would wait.
 */
static bool
shall_wake(struct blockif_ctxt *bc)
{
	if (bc->bc_idle == 0 || bc->bc_waking)
		return (false);
	bc->bc_waking = true;
	return (true);
}

void
blockif_leave(struct blockif_ctxt *bc, struct blockif_busy *bb)
{
	bb->bb_req = NULL;
	bb->bb_serial++;
	if (bc->bc_waiting > 0)
		pthread_cond_broadcast(&bc->bc_done);
}

static void *
blockif_thr(void *arg)
{
	struct blockif_worker *bw = arg;
	struct blockif_ctxt *bc = bw->bw_bc;
	struct blockif_req *br;
	bool wake;

	pthread_setname_np(pthread_self(), bc->bc_ident);
	pthread_mutex_lock(&bc->bc_mtx);
	for (;;) {
		br = TAILQ_FIRST(&bc->bc_pendq);
		if (br == NULL) {
			if (bc->bc_closing)
				break;
			bc->bc_idle++;
			pthread_cond_wait(&bc->bc_cond, &bc->bc_mtx);
			bc->bc_idle--;
			bc->bc_waking = false;
			continue;
		}
		TAILQ_REMOVE(&bc->bc_pendq, br, br_link);
		wake = !TAILQ_EMPTY(&bc->bc_pendq) && shall_wake(bc);
		bw->bw_busy.bb_req = br;
		pthread_mutex_unlock(&bc->bc_mtx);
		if (wake)
			pthread_cond_signal(&bc->bc_cond);
		blockif_proc(bc, br);
		pthread_mutex_lock(&bc->bc_mtx);
		blockif_leave(bc, &bw->bw_busy);
	}
	pthread_mutex_unlock(&bc->bc_mtx);
	return (NULL);
}

int
blockif_thread(pthread_t *thread, void *(*func)(void *), void *arg)
{
	sigset_t all, old;
	int error;

	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(thread, NULL, func, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return (error);
}

int
blockif_start_workers(struct blockif_ctxt *bc)
{
	int error, i;

	pthread_mutex_init(&bc->bc_mtx, NULL);
	pthread_cond_init(&bc->bc_cond, NULL);
	pthread_cond_init(&bc->bc_done, NULL);
	TAILQ_INIT(&bc->bc_pendq);
	error = 0;
	for (i = 0; i < BLOCKIF_NUMTHR && error == 0; i++) {
		bc->bc_workers[i].bw_bc = bc;
		error = blockif_thread(&bc->bc_workers[i].bw_thread,
		    blockif_thr, &bc->bc_workers[i]);
		if (error == 0)
			bc->bc_nthreads++;
	}
	if (error != 0)
		blockif_stop_workers(bc);
	return (error);
}

/* ---- all requests, wherever they are ---- */

/* The place of a request that is being done; NULL: it is not. */
static struct blockif_busy *
find_busy(struct blockif_ctxt *bc, const struct blockif_req *br)
{
	int i;

	for (i = 0; i < bc->bc_nthreads; i++)
		if (bc->bc_workers[i].bw_busy.bb_req == br)
			return (&bc->bc_workers[i].bw_busy);
	for (i = 0; bc->bc_uring != NULL && i < BLOCKIF_RING_MAX; i++)
		if (bc->bc_uring->u_busy[i].bb_req == br)
			return (&bc->bc_uring->u_busy[i]);
	return (NULL);
}

static bool
take_out(struct blockif_reqs *queue, struct blockif_req *breq)
{
	struct blockif_req *br;

	TAILQ_FOREACH(br, queue, br_link)
	{
		if (br == breq) {
			TAILQ_REMOVE(queue, br, br_link);
			return (true);
		}
	}
	return (false);
}

static bool
all_done(struct blockif_ctxt *bc)
{
	int i;

	for (i = 0; i < bc->bc_nthreads; i++)
		if (bc->bc_workers[i].bw_busy.bb_req != NULL)
			return (false);
	return (TAILQ_EMPTY(&bc->bc_pendq) &&
	    (bc->bc_uring == NULL ||
		(TAILQ_EMPTY(&bc->bc_uring->u_pendq) &&
		    bc->bc_uring->u_nfree == BLOCKIF_RING_MAX)));
}

void
blockif_stop_workers(struct blockif_ctxt *bc)
{
	int i;

	pthread_mutex_lock(&bc->bc_mtx);
	/* A callback may start the next request, here or there. */
	bc->bc_waiting++;
	while (bc->bc_nthreads > 0 && !all_done(bc))
		pthread_cond_wait(&bc->bc_done, &bc->bc_mtx);
	bc->bc_closing = true;
	pthread_cond_broadcast(&bc->bc_cond);
	pthread_mutex_unlock(&bc->bc_mtx);
	if (bc->bc_uring != NULL)
		blk_uring_stop(bc);
	for (i = 0; i < bc->bc_nthreads; i++)
		pthread_join(bc->bc_workers[i].bw_thread, NULL);
	bc->bc_nthreads = 0;
	pthread_cond_destroy(&bc->bc_cond);
	pthread_cond_destroy(&bc->bc_done);
	pthread_mutex_destroy(&bc->bc_mtx);
}

static int
blockif_request(
    struct blockif_ctxt *bc, struct blockif_req *breq, enum blockop op)
{
	bool wake;

	breq->br_op = op;
	if (bc->bc_uring != NULL && blk_uring_request(bc, breq))
		return (0);
	pthread_mutex_lock(&bc->bc_mtx);
	TAILQ_INSERT_TAIL(&bc->bc_pendq, breq, br_link);
	wake = shall_wake(bc);
	pthread_mutex_unlock(&bc->bc_mtx);
	if (wake)
		pthread_cond_signal(&bc->bc_cond);
	return (0);
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
blockif_zero(struct blockif_ctxt *bc, struct blockif_req *breq)
{
	return (blockif_request(bc, breq, BOP_ZERO));
}

/*
 * A callback may have started the next part of the request, which then waits
 * or is at work with one thread while another one has not left that callback
 * yet: all of them are waited for.
 */
int
blockif_cancel(struct blockif_ctxt *bc, struct blockif_req *breq)
{
	struct blockif_busy *bb;
	uint64_t serial;
	int error;

	pthread_mutex_lock(&bc->bc_mtx);
	error = EINVAL;
	bc->bc_waiting++;
	for (;;) {
		if (take_out(&bc->bc_pendq, breq) ||
		    (bc->bc_uring != NULL &&
			take_out(&bc->bc_uring->u_pendq, breq)))
			error = 0;
		bb = find_busy(bc, breq);
		if (bb == NULL)
			break;
		if (error == EINVAL)
			error = EBUSY;
		serial = bb->bb_serial;
		while (bb->bb_serial == serial)
			pthread_cond_wait(&bc->bc_done, &bc->bc_mtx);
	}
	bc->bc_waiting--;
	pthread_mutex_unlock(&bc->bc_mtx);
	return (error);
}
