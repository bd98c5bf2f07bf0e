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

#endif
