/*
 * io_uring by its two system calls: one sets up, one submits and waits.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "block_ring.h"

/* Flags of newer kernels than the headers that one may compile with. */
#ifndef IORING_SETUP_COOP_TASKRUN
#define IORING_SETUP_COOP_TASKRUN (1U << 8)
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif
/* Linux 5.7: without them results could be lost and lists had to stay. */
#define NEEDED                                          \
	(IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | \
	    IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL)

struct blk_ring {
	int fd;
	void *rings; /* both queues' indices, and the results */
	size_t rings_len;
	struct io_uring_sqe *sqe;
	size_t sqe_len;
	unsigned int mask; /* of the submission queue */
	_Atomic unsigned int *sq_tail;
	unsigned int tail, given; /* queued, and taken by the kernel */
	_Atomic unsigned int *cq_head, *cq_tail;
	unsigned int cq_mask;
	const struct io_uring_cqe *cqe;
};

static void *
at(struct blk_ring *ring, uint32_t offset)
{
	return ((char *)ring->rings + offset);
}

static int
map_rings(struct blk_ring *ring, const struct io_uring_params *p)
{
	uint32_t *array, i;
	size_t cq;

	ring->rings_len = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
	cq = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	if (cq > ring->rings_len)
		ring->rings_len = cq;
	ring->rings = mmap(NULL, ring->rings_len, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
	if (ring->rings == MAP_FAILED)
		return (errno);
	ring->sqe_len = p->sq_entries * sizeof(struct io_uring_sqe);
	ring->sqe = mmap(NULL, ring->sqe_len, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
	if (ring->sqe == MAP_FAILED)
		return (errno);
	ring->mask = p->sq_entries - 1;
	ring->sq_tail = at(ring, p->sq_off.tail);
	ring->cq_head = at(ring, p->cq_off.head);
	ring->cq_tail = at(ring, p->cq_off.tail);
	ring->cq_mask = p->cq_entries - 1;
	ring->cqe = at(ring, p->cq_off.cqes);
	/* Slot i of the queue is entry i of the array, for good. */
	array = at(ring, p->sq_off.array);
	for (i = 0; i < p->sq_entries; i++)
		array[i] = i;
	return (0);
}

int
blk_ring_create(unsigned int entries, struct blk_ring **out)
{
	/* The best that the kernel knows: results wait for their thread. */
	static const uint32_t flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN,
		0,
	};
	struct io_uring_params p;
	struct blk_ring *ring;
	size_t i;
	int error;

	ring = calloc(1, sizeof(*ring));
	if (ring == NULL)
		return (ENOMEM);
	ring->rings = ring->sqe = MAP_FAILED;
	ring->fd = -1;
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]) && ring->fd < 0; i++) {
		memset(&p, 0, sizeof(p));
		p.flags = flags[i];
		ring->fd = (int)syscall(__NR_io_uring_setup, entries, &p);
		if (ring->fd < 0 && errno != EINVAL)
			break;
	}
	if (ring->fd < 0)
		error = errno;
	else if ((p.features & NEEDED) != NEEDED)
		error = EOPNOTSUPP;
	else
		error = map_rings(ring, &p);
	if (error != 0) {
		blk_ring_destroy(ring);
		return (error);
	}
	*out = ring;
	return (0);
}

void
blk_ring_destroy(struct blk_ring *ring)
{
	if (ring->sqe != MAP_FAILED)
		munmap(ring->sqe, ring->sqe_len);
	if (ring->rings != MAP_FAILED)
		munmap(ring->rings, ring->rings_len);
	if (ring->fd >= 0)
		close(ring->fd);
	free(ring);
}

void
blk_ring_queue(struct blk_ring *ring, uint64_t tag, bool write, int fd,
    const struct iovec *iov, int niov, int64_t offset)
{
	struct io_uring_sqe *sqe;

	sqe = &ring->sqe[ring->tail++ & ring->mask];
	memset(sqe, 0, sizeof(*sqe));
	sqe->fd = fd;
	sqe->user_data = tag;
	sqe->off = (uint64_t)offset;
	if (niov == 1 && iov->iov_len <= INT32_MAX) {
		/* The kernel keeps no list for one piece. */
		sqe->opcode = write ? IORING_OP_WRITE : IORING_OP_READ;
		sqe->addr = (uint64_t)(uintptr_t)iov->iov_base;
		sqe->len = (uint32_t)iov->iov_len;
	} else {
		sqe->opcode = write ? IORING_OP_WRITEV : IORING_OP_READV;
		sqe->addr = (uint64_t)(uintptr_t)iov;
		sqe->len = (uint32_t)niov;
	}
}

int
blk_ring_wait(struct blk_ring *ring, struct blk_ring_result *out, int max)
{
	const struct io_uring_cqe *cqe;
	unsigned int head, tail;
	long taken;
	int n;

	atomic_store_explicit(ring->sq_tail, ring->tail, memory_order_release);
	/*
	 * What the kernel does not take now (no memory, a signal) stays queued
	 * for the next call.
	 */
	taken = syscall(__NR_io_uring_enter, ring->fd, ring->tail - ring->given,
	    1, IORING_ENTER_GETEVENTS, NULL, 0);
	if (taken > 0)
		ring->given += (unsigned int)taken;
	else if (taken < 0 && errno != EINTR)
		usleep(1000); /* the host is short of memory */
	head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);
	tail = atomic_load_explicit(ring->cq_tail, memory_order_acquire);
	for (n = 0; head != tail && n < max; n++, head++) {
		cqe = &ring->cqe[head & ring->cq_mask];
		out[n].tag = cqe->user_data;
		out[n].res = cqe->res;
	}
	atomic_store_explicit(ring->cq_head, head, memory_order_release);
	return (n);
}
