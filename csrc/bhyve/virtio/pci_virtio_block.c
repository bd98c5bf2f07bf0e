/*
 * virtio-blk: a disk (Virtual I/O Device specification 1.1, 5.2).
 *
 * Requests are taken from a queue on the notifying thread.  What the host has
 * in memory is read there at once: that costs less than waking a thread.  The
 * others are finished on the threads of block_if.  Both run under the queue's
 * lock, and no lock is held across what waits for a disk.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bhyverun.h"
#include "block_if.h"
#include "debug.h"
#include "iov.h"
#include "net_utils.h"
#include "qemu_fwcfg.h"
#include "virtio.h"

#define VTBLK_RINGSZ 128
#define VTBLK_MAXQ 64
/* Reads that are tried on the notifying thread. */
#define VTBLK_INLINE_MAX (64U << 10)
#define VTBLK_MAXSEGS (BLOCKIF_IOV_MAX + 2)
#define VTBLK_BLK_ID_BYTES 20
#define VTBLK_BSIZE 512

#define VTBLK_S_OK 0
#define VTBLK_S_IOERR 1
#define VTBLK_S_UNSUPP 2

#define VTBLK_F_SEG_MAX (1UL << 2)
#define VTBLK_F_RO (1UL << 5)
#define VTBLK_F_BLK_SIZE (1UL << 6)
#define VTBLK_F_FLUSH (1UL << 9)
#define VTBLK_F_TOPOLOGY (1UL << 10)
#define VTBLK_F_MQ (1UL << 12)
#define VTBLK_F_DISCARD (1UL << 13)
#define VTBLK_F_WRITE_ZEROES (1UL << 14)
#define VTBLK_S_HOSTCAPS                                      \
	(VTBLK_F_SEG_MAX | VTBLK_F_BLK_SIZE | VTBLK_F_FLUSH | \
	    VTBLK_F_TOPOLOGY | VIRTIO_RING_F_INDIRECT_DESC |  \
	    VIRTIO_RING_F_EVENT_IDX | VIRTIO_F_RING_PACKED)

/* The most that one discard covers, and one write of zeroes. */
#define VTBLK_MAX_DISCARD_SECT ((16U << 20) / VTBLK_BSIZE)
#define VTBLK_MAX_DISCARD_SEG 1

struct vtblk_config {
	uint64_t vbc_capacity;
	uint32_t vbc_size_max;
	uint32_t vbc_seg_max;
	struct {
		uint16_t cylinders;
		uint8_t heads;
		uint8_t sectors;
	} vbc_geometry;
	uint32_t vbc_blk_size;
	struct {
		uint8_t physical_block_exp;
		uint8_t alignment_offset;
		uint16_t min_io_size;
		uint32_t opt_io_size;
	} vbc_topology;
	uint8_t vbc_writeback;
	uint8_t unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors;
	uint32_t max_discard_seg;
	uint32_t discard_sector_alignment;
	uint32_t max_write_zeroes_sectors;
	uint32_t max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
} __attribute__((__packed__));
_Static_assert(sizeof(struct vtblk_config) == 60, "virtio-blk configuration");

/* The readable start of a request. */
struct virtio_blk_hdr {
#define VBH_OP_READ 0
#define VBH_OP_WRITE 1
#define VBH_OP_FLUSH 4
#define VBH_OP_FLUSH_OUT 5
#define VBH_OP_IDENT 8
#define VBH_OP_DISCARD 11
#define VBH_OP_WRITE_ZEROES 13
#define VBH_FLAG_BARRIER 0x80000000U
	uint32_t vbh_type;
	uint32_t vbh_ioprio;
	uint64_t vbh_sector;
};
_Static_assert(sizeof(struct virtio_blk_hdr) == 16, "virtio-blk header");

struct virtio_blk_discard {
	uint64_t sector;
	uint32_t num_sectors;
#define VBD_UNMAP 0x1U /* of write zeroes only */
	uint32_t flags;
};
_Static_assert(sizeof(struct virtio_blk_discard) == 16, "virtio-blk range");

struct pci_vtblk_queue;

struct pci_vtblk_ioreq {
	struct blockif_req io_req;
	struct pci_vtblk_queue *io_q;
	uint8_t *io_status; /* in guest memory */
	uint32_t io_len;    /* the writable part, status included */
	uint16_t io_idx;
	bool io_through; /* a write that is to be flushed before its end */
};

struct pci_vtblk_queue {
	struct pci_vtblk_softc *q_sc;
	struct vqueue_info *q_vq;
	pthread_mutex_t q_mtx; /* after vsc_mtx */
	pthread_cond_t q_drained;
	int q_inflight;	 /* requests that block_if has */
	int q_resetting; /* resets that wait for them */
	struct pci_vtblk_ioreq q_ios[VTBLK_RINGSZ]; /* by head */
};

struct pci_vtblk_softc {
	struct virtio_softc vbsc_vs;
	pthread_mutex_t vsc_mtx;
	struct vqueue_info vbsc_vqs[VTBLK_MAXQ];
	struct pci_vtblk_queue *vbsc_queues[VTBLK_MAXQ];
	int vbsc_nqueues;
	struct vtblk_config vbsc_cfg;
	struct virtio_consts vbsc_consts;
	struct blockif_ctxt *vbsc_bc;
	char vbsc_ident[VTBLK_BLK_ID_BYTES + 1];
	_Atomic bool vbsc_through; /* the driver knows of no flush */
};

/* ---- finishing ---- */

/* The status, then the chain; q_mtx is held. */
static void
pci_vtblk_finish(struct pci_vtblk_ioreq *io, uint8_t status)
{
	__atomic_store_n(io->io_status, status, __ATOMIC_RELAXED);
	vq_relchain_prepare(io->io_q->q_vq, io->io_idx, io->io_len);
}

static uint8_t
pci_vtblk_status(struct pci_vtblk_softc *sc, int error)
{
	if (error == 0)
		return (VTBLK_S_OK);
	GUEST_LOG("%s: %s: %s", sc->vbsc_vs.vs_pi->pi_name,
	    blockif_path(sc->vbsc_bc), strerror(error));
	return (error == EOPNOTSUPP || error == ENOSYS ? VTBLK_S_UNSUPP
						       : VTBLK_S_IOERR);
}

static void
pci_vtblk_done(struct blockif_req *br, int err)
{
	struct pci_vtblk_ioreq *io = br->br_param;
	struct pci_vtblk_queue *q = io->io_q;
	struct pci_vtblk_softc *sc = q->q_sc;

	if (err == 0 && io->io_through) {
		io->io_through = false;
		if (blockif_flush(sc->vbsc_bc, br) == 0)
			return;
		err = EIO;
	}
	pthread_mutex_lock(&q->q_mtx);
	pci_vtblk_finish(io, pci_vtblk_status(sc, err));
	vq_relchain_publish(q->q_vq);
	vq_endchains(q->q_vq, 0);
	if (--q->q_inflight == 0 && q->q_resetting != 0)
		pthread_cond_broadcast(&q->q_drained);
	pthread_mutex_unlock(&q->q_mtx);
}

/* ---- requests ---- */

/*
 * Start a transfer of the data in iov; a status when it is over already, -1
 * when block_if has it now.
 */
static int
pci_vtblk_rw(struct pci_vtblk_ioreq *io, bool write, uint64_t sector,
    const struct iovec *iov, int niov)
{
	struct pci_vtblk_softc *sc = io->io_q->q_sc;
	struct blockif_req *br = &io->io_req;
	size_t len;
	int error;

	len = count_iov(iov, (size_t)niov);
	if (niov > BLOCKIF_IOV_MAX || len % VTBLK_BSIZE != 0 ||
	    sector > (uint64_t)INT64_MAX / VTBLK_BSIZE)
		return (VTBLK_S_IOERR);
	if (write && blockif_is_ro(sc->vbsc_bc))
		return (VTBLK_S_IOERR);
	if (!write && len <= VTBLK_INLINE_MAX &&
	    blockif_tryread(sc->vbsc_bc, iov, niov,
		(off_t)(sector * VTBLK_BSIZE), len) == 0)
		return (VTBLK_S_OK);
	memcpy(br->br_iov, iov, (size_t)niov * sizeof(*iov));
	br->br_iovcnt = niov;
	br->br_offset = (off_t)(sector * VTBLK_BSIZE);
	br->br_resid = (ssize_t)len;
	io->io_through = write && atomic_load(&sc->vbsc_through);
	error = write ? blockif_write(sc->vbsc_bc, br)
		      : blockif_read(sc->vbsc_bc, br);
	return (error == 0 ? -1 : VTBLK_S_IOERR);
}

/* One range, to be discarded or to be zeroes. */
static int
pci_vtblk_range(
    struct pci_vtblk_ioreq *io, bool zero, const struct iovec *iov, int niov)
{
	struct pci_vtblk_softc *sc = io->io_q->q_sc;
	struct blockif_req *br = &io->io_req;
	struct virtio_blk_discard range;
	int error;

	if (!zero && !blockif_candelete(sc->vbsc_bc))
		return (VTBLK_S_UNSUPP);
	if (blockif_is_ro(sc->vbsc_bc) ||
	    count_iov(iov, (size_t)niov) != sizeof(range))
		return (VTBLK_S_IOERR);
	iov_to_buf(iov, (size_t)niov, 0, &range, sizeof(range));
	if ((range.flags & ~(zero ? VBD_UNMAP : 0)) != 0)
		return (VTBLK_S_UNSUPP);
	if (range.num_sectors > VTBLK_MAX_DISCARD_SECT ||
	    range.sector > (uint64_t)INT64_MAX / VTBLK_BSIZE)
		return (VTBLK_S_IOERR);
	br->br_iovcnt = 0;
	br->br_offset = (off_t)(range.sector * VTBLK_BSIZE);
	br->br_resid = (ssize_t)range.num_sectors * VTBLK_BSIZE;
	br->br_unmap = (range.flags & VBD_UNMAP) != 0;
	io->io_through = atomic_load(&sc->vbsc_through);
	error = zero ? blockif_zero(sc->vbsc_bc, br)
		     : blockif_delete(sc->vbsc_bc, br);
	return (error == 0 ? -1 : VTBLK_S_IOERR);
}

static int
pci_vtblk_ident(struct pci_vtblk_softc *sc, const struct iovec *iov, int niov)
{
	/* Padded with zeroes, not terminated when all 20 are used. */
	buf_to_iov(sc->vbsc_ident, VTBLK_BLK_ID_BYTES, iov, (size_t)niov, 0);
	return (VTBLK_S_OK);
}

/*
 * Where header, data and status end is for the driver to choose: the header
 * is the first 16 readable bytes, the status the last writable one.
 */
static int
pci_vtblk_start(struct pci_vtblk_ioreq *io, const struct virtio_blk_hdr *hdr,
    const struct iovec *out, int nout, const struct iovec *in, int nin)
{
	struct pci_vtblk_softc *sc = io->io_q->q_sc;

	switch (hdr->vbh_type & ~VBH_FLAG_BARRIER) {
	case VBH_OP_READ:
		return (pci_vtblk_rw(io, false, hdr->vbh_sector, in, nin));
	case VBH_OP_WRITE:
		return (pci_vtblk_rw(io, true, hdr->vbh_sector, out, nout));
	case VBH_OP_DISCARD:
	case VBH_OP_WRITE_ZEROES:
		return (pci_vtblk_range(io,
		    (hdr->vbh_type & ~VBH_FLAG_BARRIER) == VBH_OP_WRITE_ZEROES,
		    out, nout));
	case VBH_OP_FLUSH:
	case VBH_OP_FLUSH_OUT:
		io->io_through = false;
		return (blockif_flush(sc->vbsc_bc, &io->io_req) == 0
			? -1
			: VTBLK_S_IOERR);
	case VBH_OP_IDENT:
		return (pci_vtblk_ident(sc, in, nin));
	default:
		return (VTBLK_S_UNSUPP);
	}
}

/*
 * One chain; false when there is none to be had.  Sets *over when it is done
 * already.
 */
static bool
pci_vtblk_proc(struct pci_vtblk_queue *q, bool *over)
{
	struct iovec iov[VTBLK_MAXSEGS], out[VTBLK_MAXSEGS], *in, *last;
	struct vqueue_info *vq = q->q_vq;
	struct pci_vtblk_ioreq *io;
	struct virtio_blk_hdr hdr;
	struct vi_req req;
	int n, nin, nout, status;
	size_t len;

	n = vq_getchain(vq, iov, VTBLK_MAXSEGS, &req);
	if (n <= 0)
		return (false);
	if (req.writable == 0) {
		vq_broken(vq, "request has no place for the status");
		return (false);
	}
	io = &q->q_ios[req.idx];
	in = iov + req.readable;
	nin = req.writable;
	last = &in[nin - 1];
	len = count_iov(in, (size_t)nin);
	io->io_idx = (uint16_t)req.idx;
	io->io_len = (uint32_t)len;
	io->io_status = (uint8_t *)last->iov_base + last->iov_len - 1;
	if (--last->iov_len == 0)
		nin--;
	status = VTBLK_S_IOERR;
	if (iov_to_buf(iov, (size_t)req.readable, 0, &hdr, sizeof(hdr)) ==
	    sizeof(hdr)) {
		nout =
		    (int)seek_iov(iov, (size_t)req.readable, out, sizeof(hdr));
		q->q_inflight++;
		status = pci_vtblk_start(io, &hdr, out, nout, in, nin);
		if (status >= 0)
			q->q_inflight--;
	}
	if (status >= 0) {
		pci_vtblk_finish(io, (uint8_t)status);
		*over = true;
	}
	return (true);
}

/* q_mtx is held. */
static void
pci_vtblk_notify(void *vsc, struct vqueue_info *vq)
{
	struct pci_vtblk_softc *sc = vsc;
	struct pci_vtblk_queue *q = sc->vbsc_queues[vq->vq_num];
	bool over;

	if (q->q_resetting != 0)
		return;
	do {
		over = false;
		vq_kick_disable(vq);
		while (pci_vtblk_proc(q, &over))
			;
		if (over) {
			vq_relchain_publish(vq);
			vq_endchains(vq, 0);
		}
		vq_kick_enable(vq);
	} while (vq_has_descs(vq));
}

/* ---- the device ---- */

static void
pci_vtblk_reset(void *vsc)
{
	struct pci_vtblk_softc *sc = vsc;
	struct pci_vtblk_queue *q;
	int i;

	/* After a reset the driver uses the requests' memory for others. */
	for (i = 0; i < sc->vbsc_nqueues; i++) {
		q = sc->vbsc_queues[i];
		pthread_mutex_lock(&q->q_mtx);
		q->q_resetting++;
		while (q->q_inflight > 0)
			pthread_cond_wait(&q->q_drained, &q->q_mtx);
		pthread_mutex_unlock(&q->q_mtx);
	}
	vi_reset_dev(&sc->vbsc_vs);
	atomic_store(&sc->vbsc_through, false);
	for (i = 0; i < sc->vbsc_nqueues; i++) {
		q = sc->vbsc_queues[i];
		pthread_mutex_lock(&q->q_mtx);
		q->q_resetting--;
		pthread_mutex_unlock(&q->q_mtx);
	}
}

/* Without flushes, what was written is expected to stay. */
static void
pci_vtblk_driver_ok(void *vsc)
{
	struct pci_vtblk_softc *sc = vsc;

	atomic_store(&sc->vbsc_through,
	    (sc->vbsc_vs.vs_negotiated_caps & VTBLK_F_FLUSH) == 0);
}

static int
pci_vtblk_cfgread(void *vsc, int offset, int size, uint32_t *retval)
{
	struct pci_vtblk_softc *sc = vsc;

	memcpy(retval, (uint8_t *)&sc->vbsc_cfg + offset, (size_t)size);
	return (0);
}

static void
pci_vtblk_resized(struct blockif_ctxt *bc, void *arg, size_t new_size)
{
	struct pci_vtblk_softc *sc = arg;

	pthread_mutex_lock(&sc->vsc_mtx);
	sc->vbsc_cfg.vbc_capacity = new_size / VTBLK_BSIZE;
	vi_config_changed(&sc->vbsc_vs);
	pthread_mutex_unlock(&sc->vsc_mtx);
}

static void
pci_vtblk_set_ident(struct pci_vtblk_softc *sc, nvlist_t *nvl)
{
	uint8_t digest[16];
	const char *path, *ser;

	ser = get_config_value_node(nvl, "ser");
	if (ser != NULL) {
		snprintf(sc->vbsc_ident, sizeof(sc->vbsc_ident), "%s", ser);
		return;
	}
	path = blockif_path(sc->vbsc_bc);
	net_md5(path, strlen(path), digest);
	snprintf(sc->vbsc_ident, sizeof(sc->vbsc_ident),
	    "BHYVE-%02X%02X-%02X%02X-%02X%02X", digest[0], digest[1], digest[2],
	    digest[3], digest[4], digest[5]);
}

static void
pci_vtblk_set_config(struct pci_vtblk_softc *sc)
{
	struct vtblk_config *cfg = &sc->vbsc_cfg;
	int sectsz, sto, sts, unit;

	sectsz = blockif_sectsz(sc->vbsc_bc);
	blockif_psectsz(sc->vbsc_bc, &sts, &sto);
	cfg->vbc_capacity = (uint64_t)blockif_size(sc->vbsc_bc) / VTBLK_BSIZE;
	/* Header and status take a descriptor each. */
	cfg->vbc_seg_max = VTBLK_RINGSZ - 2;
	cfg->vbc_blk_size = (uint32_t)sectsz;
	if (sts > sectsz)
		cfg->vbc_topology.physical_block_exp =
		    (uint8_t)__builtin_ctz((unsigned int)(sts / sectsz));
	if (sto != 0)
		cfg->vbc_topology.alignment_offset =
		    (uint8_t)((sts - sto) / sectsz);
	cfg->max_discard_sectors = VTBLK_MAX_DISCARD_SECT;
	cfg->max_discard_seg = VTBLK_MAX_DISCARD_SEG;
	unit = blockif_unit(sc->vbsc_bc);
	cfg->discard_sector_alignment =
	    (uint32_t)((unit > sectsz ? unit : sectsz) / VTBLK_BSIZE);
	cfg->num_queues = (uint16_t)sc->vbsc_nqueues;
	cfg->max_write_zeroes_sectors = VTBLK_MAX_DISCARD_SECT;
	cfg->max_write_zeroes_seg = VTBLK_MAX_DISCARD_SEG;
	cfg->write_zeroes_may_unmap = blockif_candelete(sc->vbsc_bc);
}

static const struct virtio_consts vtblk_vi_consts = {
	.vc_name = "vtblk",
	.vc_cfgsize = sizeof(struct vtblk_config),
	.vc_reset = pci_vtblk_reset,
	.vc_qnotify = pci_vtblk_notify,
	.vc_cfgread = pci_vtblk_cfgread,
	.vc_driver_ok = pci_vtblk_driver_ok,
	.vc_hv_caps = VTBLK_S_HOSTCAPS,
};

static void
pci_vtblk_free(struct pci_vtblk_softc *sc)
{
	struct pci_vtblk_queue *q;
	int i;

	/* Finishes what is in flight, so the queues go after it. */
	blockif_close(sc->vbsc_bc);
	if (sc->vbsc_vs.vs_vc != NULL)
		vi_softc_cleanup(&sc->vbsc_vs);
	for (i = 0; i < sc->vbsc_nqueues; i++) {
		q = sc->vbsc_queues[i];
		if (q == NULL)
			continue;
		pthread_cond_destroy(&q->q_drained);
		pthread_mutex_destroy(&q->q_mtx);
		free(q);
	}
	pthread_mutex_destroy(&sc->vsc_mtx);
	free(sc);
}

static int
pci_vtblk_add_queue(struct pci_vtblk_softc *sc, int n)
{
	struct pci_vtblk_queue *q;
	int i;

	q = calloc(1, sizeof(*q));
	if (q == NULL) {
		EPRINTLN("virtio-blk: out of memory");
		return (1);
	}
	pthread_mutex_init(&q->q_mtx, NULL);
	pthread_cond_init(&q->q_drained, NULL);
	q->q_sc = sc;
	q->q_vq = &sc->vbsc_vqs[n];
	for (i = 0; i < VTBLK_RINGSZ; i++) {
		q->q_ios[i].io_q = q;
		q->q_ios[i].io_req.br_callback = pci_vtblk_done;
		q->q_ios[i].io_req.br_param = &q->q_ios[i];
	}
	sc->vbsc_queues[n] = q;
	return (0);
}

static void
pci_vtblk_linkup(struct pci_vtblk_softc *sc, struct pci_devinst *pi)
{
	int i;

	sc->vbsc_consts = vtblk_vi_consts;
	sc->vbsc_consts.vc_nvq = sc->vbsc_nqueues;
	if (sc->vbsc_nqueues > 1)
		sc->vbsc_consts.vc_hv_caps |= VTBLK_F_MQ;
	if (blockif_candelete(sc->vbsc_bc))
		sc->vbsc_consts.vc_hv_caps |= VTBLK_F_DISCARD;
	sc->vbsc_consts.vc_hv_caps |=
	    blockif_is_ro(sc->vbsc_bc) ? VTBLK_F_RO : VTBLK_F_WRITE_ZEROES;
	vi_softc_linkup(&sc->vbsc_vs, &sc->vbsc_consts, sc, pi, sc->vbsc_vqs);
	sc->vbsc_vs.vs_mtx = &sc->vsc_mtx;
	for (i = 0; i < sc->vbsc_nqueues; i++) {
		sc->vbsc_vqs[i].vq_qsize = VTBLK_RINGSZ;
		sc->vbsc_vqs[i].vq_mtx = &sc->vbsc_queues[i]->q_mtx;
	}
}

static int
pci_vtblk_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	struct pci_vtblk_softc *sc;
	struct blockif_ctxt *bc;
	char ident[16];
	int i;

	snprintf(ident, sizeof(ident), "%u:%u", pi->pi_slot, pi->pi_func);
	bc = blockif_open(nvl, ident);
	if (bc == NULL)
		return (1);
	sc = calloc(1, sizeof(*sc));
	if (sc == NULL) {
		EPRINTLN("virtio-blk: out of memory");
		blockif_close(bc);
		return (1);
	}
	sc->vbsc_bc = bc;
	pthread_mutex_init(&sc->vsc_mtx, NULL);
	sc->vbsc_nqueues =
	    (int)get_config_int_node_default(nvl, "queues", 1, 1, VTBLK_MAXQ);
	for (i = 0; i < sc->vbsc_nqueues; i++) {
		if (config_failed() || pci_vtblk_add_queue(sc, i) != 0) {
			pci_vtblk_free(sc);
			return (1);
		}
	}
	pci_vtblk_set_ident(sc, nvl);
	pci_vtblk_set_config(sc);
	pci_vtblk_linkup(sc, pi);
	vi_set_identity(pi, VIRTIO_DEV_BLOCK, PCIC_STORAGE, VIRTIO_ID_BLOCK);
	if (vi_intr_init(&sc->vbsc_vs, 1, fbsdrun_virtio_msix()) != 0 ||
	    vi_set_io_bar(&sc->vbsc_vs, 0) != 0 ||
	    qemu_fwcfg_add_boot_device(pi, blockif_bootindex(bc), "") != 0) {
		pci_vtblk_free(sc);
		return (1);
	}
	blockif_register_resize_callback(bc, pci_vtblk_resized, sc);
	return (0);
}

static void
pci_vtblk_cleanup(struct pci_devinst *pi)
{
	vi_quiesce(pi->pi_arg);
	pci_vtblk_free(pi->pi_arg);
}

static const struct pci_devemu pci_de_vblk = {
	.pe_emu = "virtio-blk",
	.pe_init = pci_vtblk_init,
	.pe_legacy_config = blockif_legacy_config,
	.pe_cfgread = vi_pci_cfgread,
	.pe_cfgwrite = vi_pci_cfgwrite,
	.pe_barread = vi_pci_read,
	.pe_barwrite = vi_pci_write,
	.pe_baraddr = vi_pci_baraddr,
	.pe_cleanup = pci_vtblk_cleanup,
};
PCI_EMUL_SET(pci_de_vblk);
