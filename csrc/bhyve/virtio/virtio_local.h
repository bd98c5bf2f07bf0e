/*
 * Between the files of the virtio transport.
 */
#ifndef _VIRTIO_LOCAL_H_
#define _VIRTIO_LOCAL_H_

#include "virtio.h"

/* BAR of the modern interface, and where its structures are. */
#define VI_MODERN_BAR 4
#define VI_MODERN_BARSIZE 0x4000

/* ---- virtio.c; *vs_mtx held ---- */
void vi_lock(struct virtio_softc *vs);
void vi_unlock(struct virtio_softc *vs);
/* Around what is done to a queue, after vi_lock(). */
void vi_queue_lock(struct vqueue_info *vq);
void vi_queue_unlock(struct vqueue_info *vq);
uint32_t vi_cfgread(struct virtio_softc *vs, uint64_t offset, int size);
void vi_cfgwrite(
    struct virtio_softc *vs, uint64_t offset, int size, uint32_t val);
uint8_t vi_isr_read(struct virtio_softc *vs);
void vi_status_write(struct virtio_softc *vs, uint8_t val);
void vi_notify(struct virtio_softc *vs, uint32_t qnum);
uint16_t vi_vector(struct virtio_softc *vs, uint32_t val);
uint64_t vi_hv_caps(struct virtio_softc *vs);
/* The selected queue, or NULL. */
struct vqueue_info *vi_curq(struct virtio_softc *vs);

/* ---- virtio_doorbell.c ---- */
void vi_doorbells_init(struct virtio_softc *vs);
/* The driver works with the device; it has reset it.  *vs_mtx held. */
void vi_doorbells_start(struct virtio_softc *vs);
void vi_doorbells_stop(struct virtio_softc *vs);

/* ---- virtio_modern.c ---- */
/* Where in the BAR a queue is notified. */
uint64_t vi_modern_notify_offset(int qnum);
int vi_modern_init(struct virtio_softc *vs);
uint32_t vi_modern_read(struct virtio_softc *vs, uint64_t offset, int size);
void vi_modern_write(
    struct virtio_softc *vs, uint64_t offset, int size, uint32_t val);

/* ---- virtio_vq.c, virtio_split.c, virtio_packed.c ---- */

/* Descriptors that one chain may have, its indirect table included. */
#define VQ_MAX_DESCRIPTORS 512

/* Guest memory that the device may write, for vm_dirty_gpa(). */
struct vq_seg {
	uint64_t gpa;
	uint32_t len;
};

/* What the device holds of a chain. */
struct vq_chain {
	bool held;
	uint16_t id, count; /* packed: the buffer's id, its descriptors */
	uint32_t nseg, capacity;
	struct vq_seg *seg;
};

/* A walk over a chain. */
struct vq_walk {
	struct vqueue_info *vq;
	struct vq_chain *chain;
	struct iovec *iov;
	int niov, n;
	struct vi_req *req;
	uint64_t total;
};

/* How rings lie in memory; the vq_ functions of virtio.h call these. */
struct vq_layout {
	/* Map the three areas; NULL, or what is wrong. */
	const char *(*vl_map)(struct vqueue_info *vq, uint64_t desc,
	    uint64_t driver, uint64_t device);
	/*
	 * Chains that wait.  Before "none" and unless VQ_NOKICK, a driver
	 * that goes by the event index is told to notify for the next one.
	 */
	uint16_t (*vl_pending)(struct vqueue_info *vq);
	/* The next chain into w (w->chain is set here); NULL, or what is
	 * wrong.  The index that the device knows it by. */
	const char *(*vl_take)(struct vq_walk *w, uint16_t *idx);
	void (*vl_untake)(struct vqueue_info *vq, uint16_t idx);
	void (*vl_fill)(struct vqueue_info *vq, uint16_t idx, uint32_t len);
	void (*vl_publish)(struct vqueue_info *vq);
	/* After vl_publish: does the driver want an interrupt? */
	bool (*vl_want_intr)(struct vqueue_info *vq, bool used_all_avail);
	void (*vl_kick)(struct vqueue_info *vq, bool enable);
};
extern const struct vq_layout vq_split_layout;
extern const struct vq_layout vq_packed_layout;

bool vq_has_feature(const struct vqueue_info *vq, uint64_t feature);
/* One descriptor of either kind, read once. */
void vq_desc_copy(void *to, const void *from);
/* One buffer (flags: VRING_DESC_F_WRITE); NULL, or what is wrong. */
const char *vq_walk_buffer(
    struct vq_walk *w, uint64_t addr, uint32_t len, uint16_t flags);
/* An indirect table that is fit to be read; NULL, or what is wrong. */
const char *vq_indirect_table(struct vq_walk *w, uint64_t addr, uint32_t len,
    uint16_t flags, const void **table);

static inline uint16_t
vq_load(const uint16_t *field)
{
	return (__atomic_load_n(field, __ATOMIC_ACQUIRE));
}

static inline void
vq_store(uint16_t *field, uint16_t val)
{
	__atomic_store_n(field, val, __ATOMIC_RELEASE);
}

#endif
