/*
 * The virtio transport over PCI (Virtual I/O Device specification 1.1, 2.6
 * split virtqueues and 4.1 PCI): the legacy I/O BAR and, beside it, the
 * modern capabilities; the guest's driver chooses (transitional devices).
 *
 * A device's pe_init does, in this order:
 *	vi_softc_linkup(), vs_mtx and every vq_qsize set,
 *	identity registers (vi_set_identity),
 *	vi_intr_init(vs, 1, fbsdrun_virtio_msix()), vi_set_io_bar(vs, 0);
 * its struct pci_devemu names vi_pci_read, vi_pci_write, vi_pci_cfgread,
 * vi_pci_cfgwrite and vi_pci_baraddr; its pe_cleanup begins with vi_quiesce()
 *and ends with vi_softc_cleanup().
 *
 * Guests are not trusted: vq_getchain() hands out host memory of guest RAM
 * only, from descriptors that were read once.  What it refuses makes the
 * queue broken until the driver resets the device: no chain is taken any
 * more; those that the device holds may still be given back.
 *
 * Locks: everything that the transport calls (vc_*, vq_notify) runs with
 * *vs_mtx held (if set), save the notification of a queue that has a lock of
 * its own: then only *vq_mtx is held, which comes after *vs_mtx otherwise and
 * which the transport takes for what it does to the queue.  The vq_ functions
 * take no lock: calls on one queue are serialised by the device, against its
 * own vc_reset too, which must wait until other threads have let go of the
 * queues before vi_reset_dev() (called with no vq_mtx held), and by vc_hold
 * against a driver that moves rings.  vi_interrupt() takes only a leaf lock.
 */
#ifndef _VIRTIO_H_
#define _VIRTIO_H_

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "pci_emul.h"

/* ---- rings in guest memory (2.6) ---- */
#define VRING_DESC_F_NEXT 0x1
#define VRING_DESC_F_WRITE 0x2
#define VRING_DESC_F_INDIRECT 0x4
#define VRING_AVAIL_F_NO_INTERRUPT 0x1
#define VRING_USED_F_NO_NOTIFY 0x1
#define VRING_ALIGN 4096

struct vring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct vring_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[];
	/* uint16_t used_event; */
};

struct vring_used_elem {
	uint32_t id;
	uint32_t len;
};

struct vring_used {
	uint16_t flags;
	uint16_t idx;
	struct vring_used_elem ring[];
	/* uint16_t avail_event; */
};

/* ---- feature bits of every device (6) ---- */
#define VIRTIO_F_NOTIFY_ON_EMPTY (1UL << 24)
#define VIRTIO_F_ANY_LAYOUT (1UL << 27)
#define VIRTIO_RING_F_INDIRECT_DESC (1UL << 28)
#define VIRTIO_RING_F_EVENT_IDX (1UL << 29)
#define VIRTIO_F_VERSION_1 (1UL << 32)
#define VIRTIO_F_RING_PACKED (1UL << 34)

/* ---- PCI identities (4.1.2) ---- */
#define VIRTIO_VENDOR 0x1af4
#define VIRTIO_DEV_NET 0x1000
#define VIRTIO_DEV_BLOCK 0x1001
#define VIRTIO_DEV_CONSOLE 0x1003
#define VIRTIO_DEV_SCSI 0x1004
#define VIRTIO_DEV_RANDOM 0x1005
#define VIRTIO_DEV_9P 0x1009
#define VIRTIO_DEV_INPUT 0x1052
/* Device types, which are also the subsystem ids (5). */
#define VIRTIO_ID_NETWORK 1
#define VIRTIO_ID_BLOCK 2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_ENTROPY 4
#define VIRTIO_ID_SCSI 8
#define VIRTIO_ID_9P 9
#define VIRTIO_ID_INPUT 18

/* ---- device status (2.1) ---- */
#define VIRTIO_CONFIG_STATUS_RESET 0x00
#define VIRTIO_CONFIG_STATUS_ACK 0x01
#define VIRTIO_CONFIG_STATUS_DRIVER 0x02
#define VIRTIO_CONFIG_STATUS_DRIVER_OK 0x04
#define VIRTIO_CONFIG_S_FEATURES_OK 0x08
#define VIRTIO_CONFIG_S_NEEDS_RESET 0x40
#define VIRTIO_CONFIG_STATUS_FAILED 0x80

#define VIRTIO_PCI_ISR_INTR 0x01   /* a queue */
#define VIRTIO_PCI_ISR_CONFIG 0x02 /* the device's configuration */
#define VIRTIO_MSI_NO_VECTOR 0xffff

struct virtio_softc;
struct vqueue_info;

/* What is the same for all devices of a type. */
struct virtio_consts {
	const char *vc_name;
	int vc_nvq;	   /* number of queues */
	size_t vc_cfgsize; /* of the device's configuration space */
	/* The driver resets the device: stop work, then vi_reset_dev(). */
	void (*vc_reset)(void *dev);
	/* A queue without a vq_notify of its own was kicked. */
	void (*vc_qnotify)(void *dev, struct vqueue_info *vq);
	/*
	 * Device configuration, offset + size <= vc_cfgsize, size 1, 2 or 4.
	 * Non-zero: refused (a read has ones, a write is dropped).  NULL:
	 * reads as zero, or writes are ignored.
	 */
	int (*vc_cfgread)(void *dev, int offset, int size, uint32_t *retval);
	int (*vc_cfgwrite)(void *dev, int offset, int size, uint32_t val);
	/* The driver's features; may be NULL. */
	void (*vc_apply_features)(void *dev, uint64_t features);
	/* What the device can do; the transport adds VIRTIO_F_VERSION_1, and
	 * offers VIRTIO_F_RING_PACKED only with virtio.packed=true. */
	uint64_t vc_hv_caps;
	/* DRIVER_OK was set; may be NULL. */
	void (*vc_driver_ok)(void *dev);
	/* For a device whose threads are at queues without a vq_mtx: let go
	 * of them all, and (!hold) go on.  A legacy driver may move rings at
	 * any time. */
	void (*vc_hold)(void *dev, bool hold);
};

#define VQ_ALLOC 0x01  /* the rings below are valid */
#define VQ_BROKED 0x02 /* the guest did something that stops the queue */
#define VQ_NOKICK 0x04 /* vq_kick_disable() */

struct vq_chain;  /* what the device holds of a chain */
struct vq_layout; /* how rings lie in memory */

struct vqueue_info {
	/* Set by the device: the largest (and legacy) ring size, a power of
	 * two.  The transport lowers it when a modern driver does. */
	uint16_t vq_qsize;
	void (*vq_notify)(void *dev, struct vqueue_info *vq); /* or NULL */

	/* After vi_softc_linkup(), by devices whose queues run in parallel. */
	pthread_mutex_t *vq_mtx;

	/* Set by vi_softc_linkup(). */
	struct virtio_softc *vq_vs;
	uint16_t vq_num; /* this queue's number */

	/* The rest is the transport's. */
	uint16_t vq_maxsize;
	/* Read by whichever thread interrupts. */
	_Atomic uint16_t vq_msix_idx;
	_Atomic uint16_t vq_flags;
	uint32_t vq_pfn;      /* legacy: page of the rings */
	uint64_t vq_gpa_desc; /* modern: as the driver wrote them */
	uint64_t vq_gpa_avail;
	uint64_t vq_gpa_used;

	const struct vq_layout *vq_layout;
	uint16_t vq_last_avail; /* next entry of the avail ring to take */
	uint16_t vq_next_used;	/* next entry of the used ring to fill */
	/* Packed rings: the laps of these two, */
	bool vq_avail_wrap, vq_used_wrap;
	/* entries filled and not published, the first one and its flags, */
	uint16_t vq_nfilled, vq_first_filled, vq_first_flags;
	uint16_t vq_nended;	    /* entries used since the last endchains, */
	uint16_t vq_next_record;    /* and where a free record is sought. */
	uint16_t vq_save_used;	    /* vq_next_used at the last endchains */
	uint16_t vq_nheld;	    /* chains that the device holds */
	uint16_t vq_ntaken;	    /* chains ever taken: place in vq_heads */
	struct vring_desc *vq_desc; /* host addresses */
	struct vring_avail *vq_avail;
	struct vring_used *vq_used;
	uint64_t vq_desc_gpa; /* packed */
	uint64_t vq_used_gpa;
	struct vq_chain *vq_chains; /* [vq_maxsize], by head */
	uint16_t *vq_heads;	    /* [vq_maxsize], in the order taken */
};

/* The transport's part of a device: first member of the device's softc or
 * anywhere in it. */
struct virtio_softc {
	const struct virtio_consts *vs_vc;
	void *vs_dev; /* the device's softc, the first argument of vc_* */
	struct pci_devinst *vs_pi;
	pthread_mutex_t *vs_mtx; /* the device's lock, or NULL */
	struct vqueue_info *vs_queues;
	uint64_t vs_negotiated_caps;

	/* The rest is the transport's. */
	pthread_mutex_t vs_isr_mtx; /* leaf: vs_isr with INTx */
	uint8_t vs_isr;
	_Atomic uint8_t vs_status;
	bool vs_modern;		   /* the BAR of the modern interface exists */
	bool vs_packed;		   /* packed rings may be offered */
	_Atomic uint8_t vs_cfggen; /* config_generation */
	uint16_t vs_curq;
	_Atomic uint16_t vs_msix_cfg_idx;
	uint32_t vs_dfselect;
	uint32_t vs_gfselect;
	uint64_t vs_gfeatures; /* modern: as written, before FEATURES_OK */
	int vs_pcicfg_cap;     /* offset of the PCI_CFG capability */
	struct vi_doorbells *vs_doorbells; /* virtio_doorbell.c */
};

/* One chain: readable elements come first in the iovec. */
struct vi_req {
	int readable;
	int writable;
	unsigned int idx; /* what the chain is known by, below vq_qsize */
};

/* ---- set-up (virtio.c) ---- */
void vi_softc_linkup(struct virtio_softc *vs, const struct virtio_consts *vc,
    void *dev_softc, struct pci_devinst *pi, struct vqueue_info *queues);
/* No notification comes any more: first in pe_cleanup, without *vs_mtx. */
void vi_quiesce(struct virtio_softc *vs);
void vi_softc_cleanup(struct virtio_softc *vs);
/* Vendor, device, class, subvendor and subsystem id. */
void vi_set_identity(
    struct pci_devinst *pi, uint16_t device, uint8_t class, uint16_t virtio_id);
/* MSI-X in this BAR if use_msix, MSI, INTx; 0, or non-zero after a line. */
int vi_intr_init(struct virtio_softc *vs, int barnum, bool use_msix);
/* The legacy BAR, and the modern one with its capabilities unless
 * virtio.modern=false; 0, or non-zero after a line. */
int vi_set_io_bar(struct virtio_softc *vs, int barnum);

/* All queues and the negotiation back to power-on; from vc_reset. */
void vi_reset_dev(struct virtio_softc *vs);
/* Stop the device until the driver resets it: NEEDS_RESET. */
void vi_device_broken(struct virtio_softc *vs);

uint64_t vi_pci_read(
    struct pci_devinst *pi, int baridx, uint64_t offset, int size);
void vi_pci_write(struct pci_devinst *pi, int baridx, uint64_t offset, int size,
    uint64_t value);
void vi_pci_baraddr(
    struct pci_devinst *pi, int baridx, int enabled, uint64_t address);
int vi_pci_cfgread(
    struct pci_devinst *pi, int offset, int bytes, uint32_t *retval);
int vi_pci_cfgwrite(
    struct pci_devinst *pi, int offset, int bytes, uint32_t val);

/* ---- interrupts (virtio.c) ---- */
void vi_interrupt(struct virtio_softc *vs, uint8_t isr, uint16_t msix_idx);
/* The device's configuration space has changed. */
void vi_config_changed(struct virtio_softc *vs);
void vq_interrupt(struct vqueue_info *vq);

/* ---- guest memory (virtio_vq.c) ---- */
/* Host address of guest RAM (nothing else), or NULL. */
void *vi_gpa2host(struct virtio_softc *vs, uint64_t gpa, size_t len);

/* ---- queues (virtio_vq.c) ---- */
/* The rings are set and neither the queue nor the device is stopped. */
bool vq_ring_ready(struct vqueue_info *vq);
/* The driver has made a chain available. */
bool vq_has_descs(struct vqueue_info *vq);
/*
 * Take the next chain: its elements into iov (at most niov, zero-length ones
 * skipped), readable ones first.  Returns their number (> 0), 0 when there is
 * no chain, or -1: the chain is bad and the queue is broken now; iov and reqp
 * are then undefined.  With an empty ring and kicks enabled, the driver is
 * asked to notify before 0 is returned, without a race.
 */
int vq_getchain(
    struct vqueue_info *vq, struct iovec *iov, int niov, struct vi_req *reqp);
/* Give the n chains taken last back to the avail ring, unused. */
void vq_retchains(struct vqueue_info *vq, uint16_t n_chains);
/*
 * A chain is done; the device has written iolen bytes to its writable part,
 * from its start (they are marked as written: vm_dirty_gpa).  prepare fills
 * the used entry, publish shows all prepared ones to the driver.
 */
void vq_relchain_prepare(struct vqueue_info *vq, uint16_t idx, uint32_t iolen);
void vq_relchain_publish(struct vqueue_info *vq);
void vq_relchain(struct vqueue_info *vq, uint16_t idx, uint32_t iolen);
/* After a batch of relchains: interrupt the driver if it wants to know. */
void vq_endchains(struct vqueue_info *vq, int used_all_avail);
/* Hint the driver (not) to notify; check vq_has_descs() after enable. */
void vq_kick_enable(struct vqueue_info *vq);
void vq_kick_disable(struct vqueue_info *vq);
/* Stop the queue for a guest's mistake: one limited line, NEEDS_RESET. */
void vq_broken(struct vqueue_info *vq, const char *why);

/* ---- between virtio.c and virtio_vq.c ---- */
/* Legacy: map the rings of vq_pfn; modern: those of vq_gpa_*. */
void vq_enable_legacy(struct vqueue_info *vq);
void vq_enable_modern(struct vqueue_info *vq);
void vq_reset(struct vqueue_info *vq);
void vq_cleanup(struct vqueue_info *vq);

#endif
