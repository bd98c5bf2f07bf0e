/*
 * Between block_if.c (what a disk is) and what does its requests: the threads
 * of block_worker.c, and for plain transfers the ring of block_uring.c.
 */
#ifndef _BLOCK_LOCAL_H_
#define _BLOCK_LOCAL_H_

#include <pthread.h>
#include <stdatomic.h>

#include "block_if.h"
#include "block_image.h"

#define BLOCKIF_NUMTHR 8

struct mevent;

enum blockop { BOP_READ, BOP_WRITE, BOP_FLUSH, BOP_DELETE, BOP_ZERO };

TAILQ_HEAD(blockif_reqs, blockif_req);

/* A place for a request that is being done, until its callback returns. */
struct blockif_busy {
	struct blockif_req *bb_req;
	uint64_t bb_serial; /* tells requests of one address apart */
};

struct blockif_worker {
	struct blockif_ctxt *bw_bc;
	pthread_t bw_thread;
	struct blockif_busy bw_busy;
};

/* The transfers that the kernel has, and the thread that speaks with it. */
struct blk_uring {
	struct blk_ring *u_ring;
	pthread_t u_thread;
	int u_wake; /* an eventfd that the thread reads by the ring */
	/* What it reads, perhaps until the ring is closed. */
	uint64_t u_count;
	bool u_up;     /* u_error is the ring's */
	bool u_asleep; /* and needs u_wake for what is pending */
	int u_error;
	int u_nfree;
	uint16_t u_free[BLOCKIF_RING_MAX];
	struct blockif_busy u_busy[BLOCKIF_RING_MAX];
	struct blockif_reqs u_pendq;
};

struct blockif_ctxt {
	char bc_ident[16];
	char *bc_path;
	struct blk_image *bc_image;
	bool bc_rdonly;
	bool bc_candelete;
	bool bc_sync;  /* every write is on stable storage at once */
	bool bc_fixed; /* the format has its own map: O_SYNC is not enough */
	int bc_sectsz, bc_psectsz, bc_psectoff;
	int bc_bootindex;
	_Atomic int64_t bc_size;
	blockif_resize_cb *bc_resize_cb;
	void *bc_resize_arg;
	struct mevent *bc_resize_event;

	/* The rest is of who does the requests, under bc_mtx (a leaf lock). */
	pthread_mutex_t bc_mtx;
	pthread_cond_t bc_cond; /* work, or closing */
	pthread_cond_t bc_done; /* bc_waiting: someone waits for ends */
	bool bc_closing;
	bool bc_waking; /* a thread was woken and has not run yet */
	int bc_nthreads, bc_idle, bc_waiting;
	struct blockif_worker bc_workers[BLOCKIF_NUMTHR];
	struct blockif_reqs bc_pendq;
	struct blk_uring *bc_uring; /* NULL: threads do all */
};

int blockif_start_workers(struct blockif_ctxt *bc); /* 0 or an errno */
/* Pending requests are done first. */
void blockif_stop_workers(struct blockif_ctxt *bc);

/* A thread with all signals blocked; 0 or an errno. */
int blockif_thread(pthread_t *thread, void *(*func)(void *), void *arg);
/* 0 if the transfer is one that the image allows, or the errno of its end. */
int blockif_check(struct blockif_ctxt *bc, const struct blockif_req *br);
/* Do such a transfer here and now; 0 or an errno. */
int blockif_transfer(struct blockif_ctxt *bc, struct blockif_req *br);
void blockif_end(struct blockif_req *br, int error);
/* bc_mtx is held; the request's callback has returned. */
void blockif_leave(struct blockif_ctxt *bc, struct blockif_busy *bb);

/* After the workers; 0, or the errno with which the host refuses a ring. */
int blk_uring_start(struct blockif_ctxt *bc);
/* Nothing is pending or being done any more. */
void blk_uring_stop(struct blockif_ctxt *bc);
/* Take a request; false: it is nothing for the ring. */
bool blk_uring_request(struct blockif_ctxt *bc, struct blockif_req *br);

#endif
