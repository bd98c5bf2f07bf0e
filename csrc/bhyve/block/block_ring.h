/*
 * The kernel's rings of io_uring(7), for one thread that both submits and
 * reaps: it alone calls these functions.
 */
#ifndef _BLOCK_RING_H_
#define _BLOCK_RING_H_

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct blk_ring;

/* What became of one transfer. */
struct blk_ring_result {
	uint64_t tag;
	int res; /* as of the system call, or -errno */
};

/*
 * Room for `entries` transfers at a time; *ring, or the errno with which the
 * host refuses.
 */
int blk_ring_create(unsigned int entries, struct blk_ring **ring);
void blk_ring_destroy(struct blk_ring *ring);
/*
 * Queue a transfer; list and buffers stay until its result is there.  At most
 * `entries` of them may be queued or without a result.
 */
void blk_ring_queue(struct blk_ring *ring, uint64_t tag, bool write, int fd,
    const struct iovec *iov, int niov, int64_t offset);
/*
 * Hand what is queued to the kernel and wait for a result; returns how many
 * it has put into out (up to max), which may be none.
 */
int blk_ring_wait(struct blk_ring *ring, struct blk_ring_result *out, int max);

#endif
