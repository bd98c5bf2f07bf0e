/*
 * What the files of virtio-net share.
 *
 * Frames of a pair come in on the event thread under vp_rx_mtx and go out on
 * a thread of the pair's own.  Order: vsc_mtx (the transport's) -> vp_rx_mtx
 * or vp_tx_mtx -> vsc_filter_mtx.
 */
#ifndef _VIRTIO_NET_LOCAL_H_
#define _VIRTIO_NET_LOCAL_H_

#include <pthread.h>
#include <stdatomic.h>

#include "net_backends.h"
#include "net_utils.h"
#include "virtio.h"

#define VTNET_MAXSEGS 512
#define VTNET_MACS 64 /* of a table; more are as good as all */
#define VTNET_VLANS 4096

struct virtio_net_config {
	uint8_t mac[ETHER_ADDR_LEN];
	uint16_t status;
	uint16_t max_virtqueue_pairs;
	uint16_t mtu;
} __attribute__((__packed__));
_Static_assert(sizeof(struct virtio_net_config) == 12, "5.1.4");
_Static_assert(sizeof(struct virtio_net_hdr) == VNET_HDR_LEN, "5.1.6");

struct vtnet_chain {
	uint16_t idx;
	int niov;
	size_t len;
};

struct vtnet_mactable {
	uint32_t count;
	bool overflow;
	uint8_t mac[VTNET_MACS][ETHER_ADDR_LEN];
};

/* What the card lets in (5.1.6.5); vsc_filter_mtx. */
struct vtnet_filter {
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	bool vlans; /* only those of the table */
	uint8_t mac[ETHER_ADDR_LEN];
	struct vtnet_mactable uni, multi;
	uint32_t vlan[VTNET_VLANS / 32];
};

struct pci_vtnet_softc;

/* A receive and a transmit queue with a queue of the back end. */
struct vtnet_pair {
	struct pci_vtnet_softc *vp_sc;
	net_backend_t *vp_be;
	struct vqueue_info *vp_rxq, *vp_txq;

	/* Receiving, under vp_rx_mtx.  Chains that were taken stay so, for
	 * this frame or the next. */
	pthread_mutex_t vp_rx_mtx;
	bool vp_rx_on; /* the back end calls us */
	struct iovec vp_rx_segs[VTNET_MAXSEGS];
	struct iovec *vp_rx_iov; /* those in hand */
	int vp_rx_niov;
	struct vtnet_chain vp_rx_slots[VTNET_MAXSEGS];
	struct vtnet_chain *vp_rx_chains;
	int vp_rx_nchains;
	size_t vp_rx_room;

	/* Sending; the flags under vp_tx_mtx. */
	pthread_t vp_tx_tid;
	pthread_mutex_t vp_tx_mtx;
	pthread_cond_t vp_tx_cond;
	bool vp_tx_started;
	bool vp_tx_kicked;
	bool vp_tx_busy;
	_Atomic bool vp_tx_pause; /* leave the queue */
	bool vp_tx_quit;
};

struct pci_vtnet_softc {
	struct virtio_softc vsc_vs;
	struct virtio_consts vsc_consts;
	struct vqueue_info *vsc_queues;
	pthread_mutex_t vsc_mtx;
	struct virtio_net_config vsc_config;
	struct vtnet_pair *vsc_pairs;
	int vsc_npairs;
	int vsc_active; /* pairs that the driver uses; vsc_mtx */

	/* By the features, while no queue is at work. */
	bool vsc_rx_merge;
	size_t vsc_hdr_len;
	size_t vsc_rx_want; /* room that the longest usual frame takes */

	_Atomic bool vsc_filtering; /* the filter is not "everything" */
	pthread_mutex_t vsc_filter_mtx;
	struct vtnet_filter vsc_filter;
};

/* ---- virtio_net_rx.c ---- */
void vtnet_rx_callback(int fd, enum ev_type type, void *param);
void vtnet_rx_kick(struct vtnet_pair *vp);
/* Let go of the queue; vp_rx_mtx. */
void vtnet_rx_forget(struct vtnet_pair *vp);

/* ---- virtio_net_ctrl.c; vsc_mtx ---- */
void vtnet_ctrl_kick(struct pci_vtnet_softc *sc, struct vqueue_info *vq);
void vtnet_filter_reset(struct pci_vtnet_softc *sc);
/* The frame begins in these buffers at offset; is it for this card? */
bool vtnet_filter_accepts(struct pci_vtnet_softc *sc, const struct iovec *iov,
    int iovcnt, size_t offset);

/* ---- pci_virtio_net.c; vsc_mtx ---- */
/* Pairs [0, n) get frames.  0 or an errno. */
int vtnet_set_active(struct pci_vtnet_softc *sc, int n);

#endif
