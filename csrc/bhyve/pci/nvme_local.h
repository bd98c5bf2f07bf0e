/*
 * The NVM Express controller (NVMe 1.4) between its files: pci_nvme.c
 * (options, registers, queues, interrupts), nvme_admin.c, nvme_io.c.
 *
 * Locks: sc_reg_mtx is held across a register write; admin commands run only
 * under it, so that they may wait for the back end.  sc_mtx guards all state
 * and is what the back end's callbacks take.  Order: sc_reg_mtx -> sc_mtx ->
 * interrupts.
 */
#ifndef _NVME_LOCAL_H_
#define _NVME_LOCAL_H_

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "block_if.h"

#define NVME_PAGE 4096UL
#define NVME_MDTS 9
#define NVME_MAX_DATA (NVME_PAGE << NVME_MDTS)
#define NVME_MAX_PAGES ((1 << NVME_MDTS) + 1)
#define NVME_MAX_AERS 5
#define NVME_NFEATURES 12
#define NVME_NSID 1
#define NVME_NSID_ALL 0xffffffffu

/* Status codes (4.6.1): the type in bits 10:8. */
#define NVME_SC_SUCCESS 0x000
#define NVME_SC_INVALID_OPCODE 0x001
#define NVME_SC_INVALID_FIELD 0x002
#define NVME_SC_DATA_TRANSFER 0x004
#define NVME_SC_INTERNAL 0x006
#define NVME_SC_INVALID_NS 0x00b
#define NVME_SC_SEQUENCE 0x00c
#define NVME_SC_PRP_OFFSET 0x013
#define NVME_SC_LBA_RANGE 0x080
#define NVME_SC_CQ_INVALID 0x100
#define NVME_SC_QID_INVALID 0x101
#define NVME_SC_QUEUE_SIZE 0x102
#define NVME_SC_AER_LIMIT 0x105
#define NVME_SC_FW_SLOT 0x106
#define NVME_SC_FW_IMAGE 0x107
#define NVME_SC_VECTOR 0x108
#define NVME_SC_LOG_PAGE 0x109
#define NVME_SC_FORMAT 0x10a
#define NVME_SC_QUEUE_DELETE 0x10c
#define NVME_SC_NOT_SAVEABLE 0x10d
#define NVME_SC_READ_ONLY 0x182
#define NVME_SC_WRITE_FAULT 0x280
#define NVME_SC_READ_ERROR 0x281
/* No completion yet. */
#define NVME_SC_NONE 0xffff

/* Asynchronous events (5.2.1): log page, information and type, as dword 0. */
#define NVME_EV_DOORBELL_REG 0x010000u
#define NVME_EV_DOORBELL_VALUE 0x010100u
#define NVME_EV_NS_CHANGED 0x040002u
#define NVME_MAX_EVENTS 3

/* A command as it was in the queue. */
struct nvme_cmd {
	uint8_t opc;
	uint8_t fuse;
	uint16_t cid;
	uint32_t nsid;
	uint64_t rsvd, mptr, prp1, prp2;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
} __attribute__((__packed__));
_Static_assert(sizeof(struct nvme_cmd) == 64, "4.2");

struct nvme_cpl {
	uint32_t cdw0, rsvd;
	uint16_t sqhd, sqid, cid, status;
} __attribute__((__packed__));
_Static_assert(sizeof(struct nvme_cpl) == 16, "4.6");

struct nvme_dsm_range {
	uint32_t attr, len;
	uint64_t slba;
} __attribute__((__packed__));

struct nvme_sq {
	bool valid;
	uint64_t gpa;
	uint32_t size, head, tail;
	uint16_t cqid;
};

struct nvme_cq {
	bool valid, ien, phase;
	uint64_t gpa;
	uint32_t size, head, tail;
	uint32_t inflight; /* commands that will need an entry */
	uint16_t vector;
	int nsq; /* submission queues that use it */
};

enum nvme_op { NOP_READ, NOP_WRITE, NOP_ZERO, NOP_FLUSH, NOP_DELETE };

/* CSTS, shutdown status. */
#define CSTS_SHST 0x0000000cu
#define CSTS_SHST_OCCURRING 0x00000004u
#define CSTS_SHST_DONE 0x00000008u

struct nvme_softc;

/* A command that the back end works on. */
struct nvme_req {
	struct blockif_req breq;
	struct nvme_softc *sc;
	bool busy;
	bool dropped; /* its queue is gone: no completion */
	bool flush;   /* after the last byte is written */
	enum nvme_op op;
	uint16_t sqid, cid;
	uint64_t offset, done, left;
	/* Data pages of the command, fetched once; only the first has an
	 * offset in the page. */
	uint64_t page[NVME_MAX_PAGES];
	int npages;
	uint64_t gpa[BLOCKIF_IOV_MAX];
	struct nvme_dsm_range range[256];
	int nranges, range_next;
};

struct nvme_softc {
	struct pci_devinst *sc_pi;
	pthread_mutex_t sc_reg_mtx;
	pthread_mutex_t sc_mtx;
	/* Options. */
	uint32_t sc_maxq, sc_qsz, sc_ioslots;
	uint32_t sc_sectsz;
	bool sc_dsm, sc_zeroes;
	char sc_serial[21];
	uint64_t sc_eui64;
	char sc_subnqn[224];
	struct blockif_ctxt *sc_bctx; /* NULL: ram= */
	uint8_t *sc_ram;
	uint64_t sc_size;
	/* Registers. */
	uint32_t sc_cc, sc_csts, sc_aqa, sc_intms;
	uint64_t sc_asq, sc_acq;
	bool sc_stopping;
	struct blockif_req sc_shn; /* the flush of a shutdown */
	bool sc_shn_busy, sc_shn_again;
	/* Queues, of which 0 are the admin ones; sc_maxq + 1 of each. */
	struct nvme_sq *sc_sq;
	struct nvme_cq *sc_cq;
	uint32_t sc_nsq, sc_ncq; /* granted */
	/* sc_ioslots requests, and one for FORMAT NVM. */
	struct nvme_req *sc_req;
	uint32_t sc_features[NVME_NFEATURES];
	uint16_t sc_aer[NVME_MAX_AERS];
	int sc_naers;
	uint32_t sc_event[NVME_MAX_EVENTS];
	int sc_nevents;
	bool sc_ns_changed;
	/* For the health log. */
	uint64_t sc_read_bytes, sc_write_bytes, sc_reads, sc_writes;
};

/* ---- pci_nvme.c; sc_mtx is held ---- */
/* [gpa, gpa + len) of guest RAM for DMA, or NULL. */
void *nvme_dma(struct nvme_softc *sc, uint64_t gpa, uint64_t len);
void nvme_dirty(struct nvme_softc *sc, uint64_t gpa, uint64_t len);
/* Post what happened to a command taken from sqid. */
void nvme_complete(struct nvme_softc *sc, uint16_t sqid, uint16_t cid,
    uint32_t cdw0, uint16_t status);
/* Take I/O commands as long as there is room for them. */
void nvme_run_io(struct nvme_softc *sc);
/* Tell the driver of an event when it has asked for it. */
void nvme_event(struct nvme_softc *sc, uint32_t event);
void nvme_update_intr(struct nvme_softc *sc);
/* Take back or wait for the requests of a queue (all: sqid < 0).  Under
 * sc_reg_mtx; drops sc_mtx a while. */
void nvme_drop_requests(struct nvme_softc *sc, int sqid);

/* ---- nvme_admin.c; sc_reg_mtx and sc_mtx are held ---- */
/* The status; *cdw0 is 0 on entry. */
uint16_t nvme_admin_cmd(
    struct nvme_softc *sc, const struct nvme_cmd *cmd, uint32_t *cdw0);

/* ---- nvme_io.c; sc_mtx is held ---- */
uint16_t nvme_io_cmd(
    struct nvme_softc *sc, const struct nvme_cmd *cmd, struct nvme_req *req);
/* Copy by PRP1 and PRP2, at most a page. */
uint16_t nvme_copyout(struct nvme_softc *sc, const struct nvme_cmd *cmd,
    const void *buf, uint32_t len);
/* Erase everything; an operation of the back end's. */
uint16_t nvme_erase(struct nvme_softc *sc, struct nvme_req *req);
/* CC.SHN: everything goes to stable storage, then CSTS.SHST says so. */
void nvme_shutdown(struct nvme_softc *sc);
/* A free request for an I/O command, or NULL. */
struct nvme_req *nvme_get_req(struct nvme_softc *sc);

#endif
