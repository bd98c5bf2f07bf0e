/*
 * virtio-net (Virtual I/O Device specification 1.1, 5.1): one pair of queues
 * over a network back end, merged receive buffers, and the offloads that the
 * back end brings.
 *
 * Frames come in on the event thread under vsc_rx_mtx and go out on a thread
 * of the device's own.  Order: vsc_mtx (the transport's) -> vsc_rx_mtx or
 * vsc_tx_mtx.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bhyverun.h"
#include "debug.h"
#include "net_backends.h"
#include "net_utils.h"
#include "virtio.h"

#define VTNET_RINGSZ 1024
#define VTNET_MAXSEGS 256
#define VTNET_RXQ 0
#define VTNET_TXQ 1
#define VTNET_MAXQ 2
/* Frames of one callback, after which other devices have their turn. */
#define VTNET_RX_BUDGET 256
/* Sent frames after which the driver hears of them. */
#define VTNET_TX_BATCH 64

#define VTNET_S_HOSTCAPS                                                   \
	(VIRTIO_NET_F_MAC | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_MRG_RXBUF | \
	    VIRTIO_F_NOTIFY_ON_EMPTY | VIRTIO_RING_F_INDIRECT_DESC |       \
	    VIRTIO_RING_F_EVENT_IDX)

#define VIRTIO_NET_S_LINK_UP 1

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
	size_t len;
};

struct pci_vtnet_softc {
	struct virtio_softc vsc_vs;
	struct virtio_consts vsc_consts;
	struct vqueue_info vsc_queues[VTNET_MAXQ];
	pthread_mutex_t vsc_mtx;
	net_backend_t *vsc_be;
	struct virtio_net_config vsc_config;

	/* Receiving, under vsc_rx_mtx.  Chains stay taken until there are
	 * enough of them for the frame that waits. */
	pthread_mutex_t vsc_rx_mtx;
	bool vsc_rx_merge;
	bool vsc_rx_on; /* the back end calls us */
	struct iovec vsc_rx_iov[VTNET_MAXSEGS];
	int vsc_rx_niov;
	struct vtnet_chain vsc_rx_chains[VTNET_MAXSEGS];
	int vsc_rx_nchains;
	size_t vsc_rx_room;

	/* Sending; the flags under vsc_tx_mtx. */
	pthread_t vsc_tx_tid;
	pthread_mutex_t vsc_tx_mtx;
	pthread_cond_t vsc_tx_cond;
	bool vsc_tx_started;
	bool vsc_tx_kicked;
	bool vsc_tx_busy;
	_Atomic bool vsc_tx_pause; /* leave the queue */
	bool vsc_tx_quit;
};

/* ---- receiving ---- */

/*
 * Take one more chain's buffers.  1; 0: the driver has none to give; -1: the
 * queue is broken, or the chains are too small for any sensible frame.
 */
static int
rx_take(struct pci_vtnet_softc *sc, struct vqueue_info *vq)
{
	struct vtnet_chain *chain;
	struct iovec *iov;
	struct vi_req req;
	int i, n;

	if (sc->vsc_rx_niov == VTNET_MAXSEGS) {
		vq_broken(vq, "receive buffers are too small");
		return (-1);
	}
	iov = sc->vsc_rx_iov + sc->vsc_rx_niov;
	n = vq_getchain(vq, iov, VTNET_MAXSEGS - sc->vsc_rx_niov, &req);
	if (n <= 0)
		return (n);
	if (req.writable == 0) {
		vq_broken(vq, "receive buffer that is not writable");
		return (-1);
	}
	memmove(iov, iov + req.readable, sizeof(*iov) * (size_t)req.writable);
	chain = &sc->vsc_rx_chains[sc->vsc_rx_nchains++];
	chain->idx = (uint16_t)req.idx;
	chain->len = 0;
	for (i = 0; i < req.writable; i++)
		chain->len += iov[i].iov_len;
	sc->vsc_rx_niov += req.writable;
	sc->vsc_rx_room += chain->len;
	return (1);
}

/* Copy the frame into the chains that were taken, and give them back. */
static void
rx_deliver(struct pci_vtnet_softc *sc, struct vqueue_info *vq, uint8_t *frame,
    size_t len)
{
	struct vtnet_chain *chain;
	size_t part;
	int i;

	if (sc->vsc_rx_merge) {
		/* num_buffers */
		frame[10] = (uint8_t)sc->vsc_rx_nchains;
		frame[11] = (uint8_t)(sc->vsc_rx_nchains >> 8);
	}
	(void)netbe_recv(sc->vsc_be, sc->vsc_rx_iov, sc->vsc_rx_niov);
	for (i = 0; i < sc->vsc_rx_nchains; i++) {
		chain = &sc->vsc_rx_chains[i];
		part = len < chain->len ? len : chain->len;
		vq_relchain_prepare(vq, chain->idx, (uint32_t)part);
		len -= part;
	}
	vq_relchain_publish(vq);
	sc->vsc_rx_nchains = sc->vsc_rx_niov = 0;
	sc->vsc_rx_room = 0;
}

/* The driver has no buffers; its next ones turn reception on again. */
static bool
rx_starve(struct pci_vtnet_softc *sc, struct vqueue_info *vq)
{
	vq_kick_enable(vq);
	if (vq_has_descs(vq)) {
		vq_kick_disable(vq);
		return (false);
	}
	netbe_rx_disable(sc->vsc_be);
	sc->vsc_rx_on = false;
	return (true);
}

static void
rx_frames(struct pci_vtnet_softc *sc, struct vqueue_info *vq)
{
	uint8_t *frame;
	size_t len;
	int budget, n;

	for (budget = VTNET_RX_BUDGET; budget > 0; budget--) {
		len = netbe_rx_frame(sc->vsc_be, &frame);
		if (len == 0)
			break;
		n = 1;
		while (sc->vsc_rx_room < len &&
		    (sc->vsc_rx_merge || sc->vsc_rx_nchains == 0)) {
			n = rx_take(sc, vq);
			if (n < 0 || (n == 0 && rx_starve(sc, vq)))
				break;
			n = 1;
		}
		if (n < 0) {
			netbe_rx_disable(sc->vsc_be);
			sc->vsc_rx_on = false;
		}
		if (n <= 0)
			break;
		if (sc->vsc_rx_room < len)
			netbe_rx_discard(sc->vsc_be); /* larger than buffers */
		else
			rx_deliver(sc, vq, frame, len);
	}
	vq_endchains(vq, !sc->vsc_rx_on);
}

static void
link_down(struct pci_vtnet_softc *sc)
{
	pthread_mutex_lock(&sc->vsc_mtx);
	if (sc->vsc_config.status != 0) {
		sc->vsc_config.status = 0;
		vi_config_changed(&sc->vsc_vs);
	}
	pthread_mutex_unlock(&sc->vsc_mtx);
}

static void
pci_vtnet_rx_callback(int fd, enum ev_type type, void *param)
{
	struct pci_vtnet_softc *sc = param;
	struct vqueue_info *vq = &sc->vsc_queues[VTNET_RXQ];

	pthread_mutex_lock(&sc->vsc_rx_mtx);
	if (sc->vsc_rx_on) {
		if (vq_ring_ready(vq)) {
			rx_frames(sc, vq);
		} else {
			netbe_rx_disable(sc->vsc_be);
			sc->vsc_rx_on = false;
		}
	}
	pthread_mutex_unlock(&sc->vsc_rx_mtx);
	if (!netbe_link_up(sc->vsc_be))
		link_down(sc);
}

static void
pci_vtnet_ping_rxq(void *dev, struct vqueue_info *vq)
{
	struct pci_vtnet_softc *sc = dev;

	pthread_mutex_lock(&sc->vsc_rx_mtx);
	if (!sc->vsc_rx_on && vq_ring_ready(vq)) {
		sc->vsc_rx_on = true;
		vq_kick_disable(vq);
		netbe_rx_enable(sc->vsc_be);
	}
	pthread_mutex_unlock(&sc->vsc_rx_mtx);
}

/* ---- sending ---- */

/* One frame; false: the ring is empty or broken. */
static bool
tx_frame(struct pci_vtnet_softc *sc, struct vqueue_info *vq)
{
	struct iovec iov[VTNET_MAXSEGS];
	struct vi_req req;

	if (vq_getchain(vq, iov, VTNET_MAXSEGS, &req) <= 0)
		return (false);
	if (req.readable > 0)
		(void)netbe_send(sc->vsc_be, iov, req.readable);
	vq_relchain(vq, (uint16_t)req.idx, 0);
	return (true);
}

static void
tx_frames(struct pci_vtnet_softc *sc, struct vqueue_info *vq)
{
	int n;

	if (!vq_ring_ready(vq))
		return;
	do {
		vq_kick_disable(vq);
		for (n = 1; !sc->vsc_tx_pause && tx_frame(sc, vq); n++) {
			if (n % VTNET_TX_BATCH == 0)
				vq_endchains(vq, 0);
		}
		vq_endchains(vq, 1);
		vq_kick_enable(vq);
	} while (!sc->vsc_tx_pause && vq_has_descs(vq));
}

static void *
pci_vtnet_tx_thread(void *arg)
{
	struct pci_vtnet_softc *sc = arg;

	pthread_mutex_lock(&sc->vsc_tx_mtx);
	while (!sc->vsc_tx_quit) {
		if (sc->vsc_tx_pause || !sc->vsc_tx_kicked) {
			pthread_cond_wait(&sc->vsc_tx_cond, &sc->vsc_tx_mtx);
			continue;
		}
		sc->vsc_tx_kicked = false;
		sc->vsc_tx_busy = true;
		pthread_mutex_unlock(&sc->vsc_tx_mtx);
		tx_frames(sc, &sc->vsc_queues[VTNET_TXQ]);
		pthread_mutex_lock(&sc->vsc_tx_mtx);
		sc->vsc_tx_busy = false;
		pthread_cond_broadcast(&sc->vsc_tx_cond);
	}
	pthread_mutex_unlock(&sc->vsc_tx_mtx);
	return (NULL);
}

static void
pci_vtnet_ping_txq(void *dev, struct vqueue_info *vq)
{
	struct pci_vtnet_softc *sc = dev;

	pthread_mutex_lock(&sc->vsc_tx_mtx);
	if (!sc->vsc_tx_kicked) {
		sc->vsc_tx_kicked = true;
		pthread_cond_broadcast(&sc->vsc_tx_cond);
	}
	pthread_mutex_unlock(&sc->vsc_tx_mtx);
}

/* Returns when the thread has let go of its queue. */
static void
tx_stop(struct pci_vtnet_softc *sc)
{
	pthread_mutex_lock(&sc->vsc_tx_mtx);
	sc->vsc_tx_pause = true;
	while (sc->vsc_tx_busy)
		pthread_cond_wait(&sc->vsc_tx_cond, &sc->vsc_tx_mtx);
	pthread_mutex_unlock(&sc->vsc_tx_mtx);
}

static void
tx_resume(struct pci_vtnet_softc *sc, bool forget)
{
	pthread_mutex_lock(&sc->vsc_tx_mtx);
	sc->vsc_tx_pause = false;
	sc->vsc_tx_kicked = !forget;
	pthread_cond_broadcast(&sc->vsc_tx_cond);
	pthread_mutex_unlock(&sc->vsc_tx_mtx);
}

/* ---- the transport's calls ---- */

static void
pci_vtnet_reset(void *dev)
{
	struct pci_vtnet_softc *sc = dev;

	tx_stop(sc);
	pthread_mutex_lock(&sc->vsc_rx_mtx);
	netbe_rx_disable(sc->vsc_be);
	sc->vsc_rx_on = false;
	sc->vsc_rx_nchains = sc->vsc_rx_niov = 0;
	sc->vsc_rx_room = 0;
	sc->vsc_rx_merge = false;
	vi_reset_dev(&sc->vsc_vs);
	(void)netbe_set_cap(sc->vsc_be, 0, VNET_HDR_LEN_LEGACY);
	pthread_mutex_unlock(&sc->vsc_rx_mtx);
	tx_resume(sc, true);
}

static void
pci_vtnet_apply_features(void *dev, uint64_t features)
{
	struct pci_vtnet_softc *sc = dev;
	size_t hdrlen;
	int error;

	tx_stop(sc);
	pthread_mutex_lock(&sc->vsc_rx_mtx);
	sc->vsc_rx_merge = (features & VIRTIO_NET_F_MRG_RXBUF) != 0;
	hdrlen = VNET_HDR_LEN_LEGACY;
	if ((features & (VIRTIO_NET_F_MRG_RXBUF | VIRTIO_F_VERSION_1)) != 0)
		hdrlen = VNET_HDR_LEN;
	error = netbe_set_cap(sc->vsc_be, features, hdrlen);
	if (error != 0)
		EPRINTLN("virtio-net: offloads of the back end: %s",
		    strerror(error));
	pthread_mutex_unlock(&sc->vsc_rx_mtx);
	tx_resume(sc, false);
}

static void
pci_vtnet_driver_ok(void *dev)
{
	struct pci_vtnet_softc *sc = dev;

	pci_vtnet_ping_rxq(sc, &sc->vsc_queues[VTNET_RXQ]);
	pci_vtnet_ping_txq(sc, &sc->vsc_queues[VTNET_TXQ]);
}

static int
pci_vtnet_cfgread(void *dev, int offset, int size, uint32_t *retval)
{
	struct pci_vtnet_softc *sc = dev;

	*retval = 0;
	memcpy(retval, (uint8_t *)&sc->vsc_config + offset, (size_t)size);
	return (0);
}

static int
pci_vtnet_cfgwrite(void *dev, int offset, int size, uint32_t val)
{
	struct pci_vtnet_softc *sc = dev;

	/* A legacy driver may give the card another address. */
	if (offset + size > ETHER_ADDR_LEN)
		return (1);
	memcpy(sc->vsc_config.mac + offset, &val, (size_t)size);
	return (0);
}

static const struct virtio_consts vtnet_vi_consts = {
	.vc_name = "vtnet",
	.vc_nvq = VTNET_MAXQ,
	.vc_cfgsize = sizeof(struct virtio_net_config),
	.vc_reset = pci_vtnet_reset,
	.vc_cfgread = pci_vtnet_cfgread,
	.vc_cfgwrite = pci_vtnet_cfgwrite,
	.vc_apply_features = pci_vtnet_apply_features,
	.vc_hv_caps = VTNET_S_HOSTCAPS,
	.vc_driver_ok = pci_vtnet_driver_ok,
};

/* ---- life ---- */

static void
vtnet_free(struct pci_vtnet_softc *sc)
{
	if (sc->vsc_tx_started) {
		pthread_mutex_lock(&sc->vsc_tx_mtx);
		sc->vsc_tx_quit = true;
		sc->vsc_tx_pause = true;
		pthread_cond_broadcast(&sc->vsc_tx_cond);
		pthread_mutex_unlock(&sc->vsc_tx_mtx);
		pthread_join(sc->vsc_tx_tid, NULL);
	}
	netbe_cleanup(sc->vsc_be);
	vi_softc_cleanup(&sc->vsc_vs);
	pthread_cond_destroy(&sc->vsc_tx_cond);
	pthread_mutex_destroy(&sc->vsc_tx_mtx);
	pthread_mutex_destroy(&sc->vsc_rx_mtx);
	pthread_mutex_destroy(&sc->vsc_mtx);
	free(sc);
}

static void
pci_vtnet_cleanup(struct pci_devinst *pi)
{
	if (pi->pi_arg == NULL)
		return;
	vi_quiesce(pi->pi_arg);
	vtnet_free(pi->pi_arg);
	pi->pi_arg = NULL;
}

static int
vtnet_options(struct pci_vtnet_softc *sc, struct pci_devinst *pi, nvlist_t *nvl)
{
	const char *text;
	unsigned int mtu;

	if (net_getmac(pi, nvl, sc->vsc_config.mac) != 0)
		return (-1);
	text = get_config_value_node(nvl, "mtu");
	if (text != NULL) {
		if (net_parsemtu(text, &mtu) != 0)
			return (-1);
		sc->vsc_config.mtu = (uint16_t)mtu;
		sc->vsc_consts.vc_hv_caps |= VIRTIO_NET_F_MTU;
	}
	sc->vsc_config.max_virtqueue_pairs = 1;
	if (netbe_init(&sc->vsc_be, nvl, pci_vtnet_rx_callback, sc) != 0)
		return (-1);
	sc->vsc_consts.vc_hv_caps |= netbe_get_cap(sc->vsc_be);
	if (netbe_link_up(sc->vsc_be))
		sc->vsc_config.status = VIRTIO_NET_S_LINK_UP;
	return (0);
}

static int
pci_vtnet_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	struct pci_vtnet_softc *sc;
	char name[32];
	int i;

	sc = calloc(1, sizeof(*sc));
	if (sc == NULL) {
		EPRINTLN("virtio-net: out of memory");
		return (1);
	}
	pthread_mutex_init(&sc->vsc_mtx, NULL);
	pthread_mutex_init(&sc->vsc_rx_mtx, NULL);
	pthread_mutex_init(&sc->vsc_tx_mtx, NULL);
	pthread_cond_init(&sc->vsc_tx_cond, NULL);
	sc->vsc_consts = vtnet_vi_consts;
	vi_softc_linkup(&sc->vsc_vs, &sc->vsc_consts, sc, pi, sc->vsc_queues);
	sc->vsc_vs.vs_mtx = &sc->vsc_mtx;
	for (i = 0; i < VTNET_MAXQ; i++)
		sc->vsc_queues[i].vq_qsize = VTNET_RINGSZ;
	sc->vsc_queues[VTNET_RXQ].vq_notify = pci_vtnet_ping_rxq;
	sc->vsc_queues[VTNET_TXQ].vq_notify = pci_vtnet_ping_txq;
	if (vtnet_options(sc, pi, nvl) != 0)
		goto fail;
	(void)netbe_set_cap(sc->vsc_be, 0, VNET_HDR_LEN_LEGACY);
	vi_set_identity(pi, VIRTIO_DEV_NET, PCIC_NETWORK, VIRTIO_ID_NETWORK);
	if (vi_intr_init(&sc->vsc_vs, 1, fbsdrun_virtio_msix()) != 0 ||
	    vi_set_io_bar(&sc->vsc_vs, 0) != 0)
		goto fail;
	if (pthread_create(&sc->vsc_tx_tid, NULL, pci_vtnet_tx_thread, sc) !=
	    0) {
		EPRINTLN("virtio-net: no thread");
		goto fail;
	}
	sc->vsc_tx_started = true;
	snprintf(name, sizeof(name), "vtnet%d:%d tx", pi->pi_slot, pi->pi_func);
	pthread_setname_np(sc->vsc_tx_tid, name);
	pi->pi_arg = sc;
	return (0);
fail:
	vtnet_free(sc);
	return (1);
}

static const struct pci_devemu pci_de_vnet = {
	.pe_emu = "virtio-net",
	.pe_init = pci_vtnet_init,
	.pe_legacy_config = netbe_legacy_config,
	.pe_cfgread = vi_pci_cfgread,
	.pe_cfgwrite = vi_pci_cfgwrite,
	.pe_barread = vi_pci_read,
	.pe_barwrite = vi_pci_write,
	.pe_baraddr = vi_pci_baraddr,
	.pe_cleanup = pci_vtnet_cleanup,
};
PCI_EMUL_SET(pci_de_vnet);
