/*
 * Between block_if.c (what a disk is) and block_worker.c (its threads).
 */
#ifndef _BLOCK_LOCAL_H_
#define _BLOCK_LOCAL_H_

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "block_if.h"
#include "block_image.h"

#define BLOCKIF_NUMTHR 8
#define BLOCKIF_MAXREQ (BLOCKIF_RING_MAX + BLOCKIF_NUMTHR)

struct mevent;

enum blockop { BOP_READ, BOP_WRITE, BOP_FLUSH, BOP_DELETE, BOP_ZERO };

struct blockif_elem {
	TAILQ_ENTRY(blockif_elem) be_link;
	struct blockif_req *be_req;
	enum blockop be_op;
	uint64_t be_serial; /* tells uses of an element apart */
};
TAILQ_HEAD(blockif_elems, blockif_elem);

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
	pthread_cond_t bc_done; /* an element became free */
	bool bc_closing;
	int bc_nthreads, bc_idle;
	uint64_t bc_serial;
	pthread_t bc_threads[BLOCKIF_NUMTHR];
	struct blockif_elem bc_elems[BLOCKIF_MAXREQ];
	struct blockif_elems bc_freeq, bc_pendq, bc_busyq;
};

int blockif_start_workers(struct blockif_ctxt *bc); /* 0 or an errno */
/* Pending requests are done first. */
void blockif_stop_workers(struct blockif_ctxt *bc);

#endif
