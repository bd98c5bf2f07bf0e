/*
 * The shared back end of disks: an image, and threads or a ring of the kernel
 * that do the requests of one device model.
 */
#ifndef _BLOCK_IF_H_
#define _BLOCK_IF_H_

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "config.h"

#define BLOCKIF_IOV_MAX 128
#define BLOCKIF_RING_MAX 128

struct blockif_ctxt;

/*
 * One request; the caller owns it until the callback runs.  br_resid is the
 * length on entry, and at the end 0 or, after an error, that length.  The
 * callback runs on a thread of the back end with none of its locks held; err is
 * 0 or an errno.
 */
struct blockif_req {
	int br_iovcnt;
	bool br_unmap; /* zero: the room may be given back */
	off_t br_offset;
	ssize_t br_resid;
	void (*br_callback)(struct blockif_req *req, int err);
	void *br_param;
	struct iovec br_iov[BLOCKIF_IOV_MAX];
	/* The back end's, from the start until the callback runs. */
	TAILQ_ENTRY(blockif_req) br_link;
	int br_op;
	int br_fd;
};

typedef void blockif_resize_cb(
    struct blockif_ctxt *bc, void *arg, size_t new_size);

/* "path[,option...]" of -s into the node; 0, or -1 after a line. */
int blockif_legacy_config(nvlist_t *nvl, const char *opts);
/* ident names threads and lines; NULL after a line. */
struct blockif_ctxt *blockif_open(nvlist_t *nvl, const char *ident);
/* All requests done, everything on stable storage, all freed. */
int blockif_close(struct blockif_ctxt *bc);
/* One callback; on the event thread, a moment after the size has changed. */
int blockif_register_resize_callback(
    struct blockif_ctxt *bc, blockif_resize_cb *cb, void *cb_arg);

const char *blockif_path(struct blockif_ctxt *bc);
off_t blockif_size(struct blockif_ctxt *bc);
void blockif_chs(struct blockif_ctxt *bc, uint16_t *c, uint8_t *h, uint8_t *s);
int blockif_sectsz(struct blockif_ctxt *bc);
void blockif_psectsz(struct blockif_ctxt *bc, int *size, int *off);
/* What a delete should be aligned to and be a multiple of. */
int blockif_unit(struct blockif_ctxt *bc);
/* How many requests at a time keep all threads busy. */
int blockif_queuesz(struct blockif_ctxt *bc);
bool blockif_is_ro(struct blockif_ctxt *bc);
bool blockif_candelete(struct blockif_ctxt *bc);
/* What was deleted reads as zeroes. */
bool blockif_delete_zeroes(struct blockif_ctxt *bc);
/* Who does transfers: "threads" or "io_uring". */
const char *blockif_engine(struct blockif_ctxt *bc);
int blockif_bootindex(struct blockif_ctxt *bc); /* -1: none given */

/*
 * Start a request: 0, and the callback will run, after which the request is
 * the caller's again and may be started from the callback.  delete and zero
 * take the range from br_offset and br_resid.
 */
int blockif_read(struct blockif_ctxt *bc, struct blockif_req *breq);
int blockif_write(struct blockif_ctxt *bc, struct blockif_req *breq);
int blockif_flush(struct blockif_ctxt *bc, struct blockif_req *breq);
int blockif_delete(struct blockif_ctxt *bc, struct blockif_req *breq);
int blockif_zero(struct blockif_ctxt *bc, struct blockif_req *breq);
/*
 * A read that is done on the caller's thread when it need not wait for a
 * device: 0, and no callback runs; EAGAIN: use blockif_read.
 */
int blockif_tryread(struct blockif_ctxt *bc, const struct iovec *iov, int niov,
    off_t offset, size_t len);
/*
 * 0: the request had not begun and its callback will not run.  EBUSY: it was
 * being done, its callback has returned.  EINVAL: there is no such request.
 * The caller holds no lock that the callback takes, and is no callback.  A
 * callback that would start the next part of the request knows already that
 * it must not.
 */
int blockif_cancel(struct blockif_ctxt *bc, struct blockif_req *breq);

#endif
