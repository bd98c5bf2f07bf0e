/*
 * Between block_if.c (what a disk is) and block_worker.c (its threads).
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

/* A thread, and the request that it does. */
struct blockif_worker {
	struct blockif_ctxt *bw_bc;
	pthread_t bw_thread;
	struct blockif_req *bw_req;
	uint64_t bw_serial; /* tells requests of one address apart */
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

	/* The rest is block_worker.c's, under bc_mtx (a leaf lock). */
	pthread_mutex_t bc_mtx;
	pthread_cond_t bc_cond; /* work, or closing */
	pthread_cond_t bc_done; /* someone waits in blockif_cancel() */
	bool bc_closing;
	bool bc_waking; /* a thread was woken and has not run yet */
	int bc_nthreads, bc_idle, bc_waiting;
	struct blockif_worker bc_workers[BLOCKIF_NUMTHR];
	struct blockif_reqs bc_pendq;
};

int blockif_start_workers(struct blockif_ctxt *bc); /* 0 or an errno */
/* Pending requests are done first. */
void blockif_stop_workers(struct blockif_ctxt *bc);

#endif
