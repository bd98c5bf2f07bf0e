/*
 * virtio-net (Virtual I/O Device specification 1.1, 5.1): pairs of queues
 * over a network back end, merged receive buffers, a control queue, and the
 * offloads that the back end brings.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bhyverun.h"
#include "debug.h"
#include "virtio_net_local.h"

#define VTNET_RINGSZ 1024
#define VTNET_RINGSZ_MIN 16
#define VTNET_RINGSZ_MAX 32768
#define VTNET_MAXPAIRS 16
#define VTNET_TX_MAXSEGS 256
/* Sent frames after which the driver hears of them. */
#define VTNET_TX_BATCH 64
/* A frame with a VLAN tag and the usual payload. */
#define VTNET_FRAME 1518

#define VTNET_S_HOSTCAPS                                                   \
	(VIRTIO_NET_F_MAC | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_MRG_RXBUF | \
	    VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX |                  \
	    VIRTIO_NET_F_CTRL_VLAN | VIRTIO_NET_F_CTRL_RX_EXTRA |          \
	    VIRTIO_NET_F_CTRL_MAC_ADDR | VIRTIO_F_NOTIFY_ON_EMPTY |        \
	    VIRTIO_RING_F_INDIRECT_DESC | VIRTIO_RING_F_EVENT_IDX)

#define VIRTIO_NET_S_LINK_UP 1

/* ---- sending ---- */

/* One frame; false: the ring is empty or broken. */
static bool
tx_frame(struct vtnet_pair *vp)
{
	struct iovec iov[VTNET_TX_MAXSEGS];
	struct vi_req req;

	if (vq_getchain(vp->vp_txq, iov, VTNET_TX_MAXSEGS, &req) <= 0)
		return (false);
	if (req.readable > 0)
		(void)netbe_send(vp->vp_be, iov, req.readable);
	vq_relchain(vp->vp_txq, (uint16_t)req.idx, 0);
	return (true);
}

static void
tx_frames(struct vtnet_pair *vp)
{
	struct vqueue_info *vq = vp->vp_txq;
	int n;

	if (!vq_ring_ready(vq))
		return;
	do {
		vq_kick_disable(vq);
		for (n = 1; !vp->vp_tx_pause && tx_frame(vp); n++) {
			if (n % VTNET_TX_BATCH == 0)
				vq_endchains(vq, 0);
		}
		vq_endchains(vq, 1);
		vq_kick_enable(vq);
	} while (!vp->vp_tx_pause && vq_has_descs(vq));
}

static void *
tx_thread(void *arg)
{
	struct vtnet_pair *vp = arg;

	pthread_mutex_lock(&vp->vp_tx_mtx);
	while (!vp->vp_tx_quit) {
		if (vp->vp_tx_pause || !vp->vp_tx_kicked) {
			pthread_cond_wait(&vp->vp_tx_cond, &vp->vp_tx_mtx);
			continue;
		}
		vp->vp_tx_kicked = false;
		vp->vp_tx_busy = true;
		pthread_mutex_unlock(&vp->vp_tx_mtx);
		tx_frames(vp);
		pthread_mutex_lock(&vp->vp_tx_mtx);
		vp->vp_tx_busy = false;
		pthread_cond_broadcast(&vp->vp_tx_cond);
	}
	pthread_mutex_unlock(&vp->vp_tx_mtx);
	return (NULL);
}

static void
tx_kick(struct vtnet_pair *vp)
{
	pthread_mutex_lock(&vp->vp_tx_mtx);
	if (!vp->vp_tx_kicked) {
		vp->vp_tx_kicked = true;
		pthread_cond_broadcast(&vp->vp_tx_cond);
	}
	pthread_mutex_unlock(&vp->vp_tx_mtx);
}

/* Returns when the thread has let go of its queue. */
static void
tx_stop(struct vtnet_pair *vp)
{
	pthread_mutex_lock(&vp->vp_tx_mtx);
	vp->vp_tx_pause = true;
	while (vp->vp_tx_busy)
		pthread_cond_wait(&vp->vp_tx_cond, &vp->vp_tx_mtx);
	pthread_mutex_unlock(&vp->vp_tx_mtx);
}

static void
tx_resume(struct vtnet_pair *vp, bool forget)
{
	pthread_mutex_lock(&vp->vp_tx_mtx);
	vp->vp_tx_pause = false;
	vp->vp_tx_kicked = !forget;
	pthread_cond_broadcast(&vp->vp_tx_cond);
	pthread_mutex_unlock(&vp->vp_tx_mtx);
}

/* ---- all pairs ---- */

/* No thread of ours is at any queue, until vtnet_thaw(). */
static void
vtnet_freeze(struct pci_vtnet_softc *sc)
{
	int i;

	for (i = 0; i < sc->vsc_npairs; i++) {
		tx_stop(&sc->vsc_pairs[i]);
		pthread_mutex_lock(&sc->vsc_pairs[i].vp_rx_mtx);
	}
}

static void
vtnet_thaw(struct pci_vtnet_softc *sc, bool forget)
{
	int i;

	for (i = sc->vsc_npairs - 1; i >= 0; i--) {
		pthread_mutex_unlock(&sc->vsc_pairs[i].vp_rx_mtx);
		tx_resume(&sc->vsc_pairs[i], forget);
	}
}

static void
set_features(struct pci_vtnet_softc *sc, uint64_t features)
{
	int error, i;

	sc->vsc_rx_merge = (features & VIRTIO_NET_F_MRG_RXBUF) != 0;
	sc->vsc_hdr_len = VNET_HDR_LEN_LEGACY;
	if ((features & (VIRTIO_NET_F_MRG_RXBUF | VIRTIO_F_VERSION_1)) != 0)
		sc->vsc_hdr_len = VNET_HDR_LEN;
	sc->vsc_rx_want = sc->vsc_hdr_len + VTNET_FRAME;
	if ((features & (VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6)) !=
	    0)
		sc->vsc_rx_want = sc->vsc_hdr_len + NET_FRAME_MAX;
	for (i = 0; i < sc->vsc_npairs; i++) {
		error = netbe_set_cap(
		    sc->vsc_pairs[i].vp_be, features, sc->vsc_hdr_len);
		if (error != 0)
			EPRINTLN("virtio-net: offloads of the back end: %s",
			    strerror(error));
	}
	vtnet_filter_reset(sc);
}

/* Detached first: the interface has the frames' new readers at any time. */
static int
set_active(struct pci_vtnet_softc *sc, int n)
{
	int error, i;

	error = 0;
	for (i = 0; i < n && error == 0; i++)
		error = netbe_set_active(sc->vsc_pairs[i].vp_be, true);
	for (; i < sc->vsc_npairs && error == 0; i++) {
		error = netbe_set_active(sc->vsc_pairs[i].vp_be, false);
		sc->vsc_pairs[i].vp_rx_on = false;
	}
	if (error != 0)
		EPRINTLN(
		    "virtio-net: queues of the back end: %s", strerror(error));
	else
		sc->vsc_active = n;
	return (error);
}

int
vtnet_set_active(struct pci_vtnet_softc *sc, int n)
{
	int error, i;

	vtnet_freeze(sc);
	error = set_active(sc, n);
	vtnet_thaw(sc, false);
	for (i = 0; i < sc->vsc_active; i++)
		vtnet_rx_kick(&sc->vsc_pairs[i]);
	return (error);
}

/* ---- the transport's calls ---- */

/* The control queue follows the pairs that were agreed on. */
static void
pci_vtnet_qnotify(void *dev, struct vqueue_info *vq)
{
	struct pci_vtnet_softc *sc = dev;
	uint64_t features = sc->vsc_vs.vs_negotiated_caps;
	int pairs;

	pairs = (features & VIRTIO_NET_F_MQ) != 0 ? sc->vsc_npairs : 1;
	if (vq->vq_num == pairs * 2) {
		if ((features & VIRTIO_NET_F_CTRL_VQ) != 0)
			vtnet_ctrl_kick(sc, vq);
	} else if (vq->vq_num < pairs * 2 && vq->vq_num % 2 == 0) {
		if (vq->vq_num / 2 < sc->vsc_active)
			vtnet_rx_kick(&sc->vsc_pairs[vq->vq_num / 2]);
	} else if (vq->vq_num < pairs * 2) {
		tx_kick(&sc->vsc_pairs[vq->vq_num / 2]);
	}
}

static void
pci_vtnet_reset(void *dev)
{
	struct pci_vtnet_softc *sc = dev;
	int i;

	vtnet_freeze(sc);
	for (i = 0; i < sc->vsc_npairs; i++)
		vtnet_rx_forget(&sc->vsc_pairs[i]);
	vi_reset_dev(&sc->vsc_vs);
	set_features(sc, 0);
	(void)set_active(sc, 1);
	vtnet_thaw(sc, true);
}

static void
pci_vtnet_apply_features(void *dev, uint64_t features)
{
	struct pci_vtnet_softc *sc = dev;

	vtnet_freeze(sc);
	set_features(sc, features);
	vtnet_thaw(sc, false);
}

static void
pci_vtnet_driver_ok(void *dev)
{
	struct pci_vtnet_softc *sc = dev;
	int i;

	for (i = 0; i < sc->vsc_active; i++) {
		vtnet_rx_kick(&sc->vsc_pairs[i]);
		tx_kick(&sc->vsc_pairs[i]);
	}
}

static void
pci_vtnet_hold(void *dev, bool hold)
{
	if (hold)
		vtnet_freeze(dev);
	else
		vtnet_thaw(dev, false);
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
	pthread_mutex_lock(&sc->vsc_filter_mtx);
	memcpy(sc->vsc_filter.mac, sc->vsc_config.mac, ETHER_ADDR_LEN);
	pthread_mutex_unlock(&sc->vsc_filter_mtx);
	return (0);
}

static const struct virtio_consts vtnet_vi_consts = {
	.vc_name = "vtnet",
	.vc_cfgsize = sizeof(struct virtio_net_config),
	.vc_reset = pci_vtnet_reset,
	.vc_qnotify = pci_vtnet_qnotify,
	.vc_cfgread = pci_vtnet_cfgread,
	.vc_cfgwrite = pci_vtnet_cfgwrite,
	.vc_apply_features = pci_vtnet_apply_features,
	.vc_hold = pci_vtnet_hold,
	.vc_hv_caps = VTNET_S_HOSTCAPS,
	.vc_driver_ok = pci_vtnet_driver_ok,
};

/* ---- life ---- */

static void
pair_free(struct vtnet_pair *vp)
{
	if (vp->vp_tx_started) {
		pthread_mutex_lock(&vp->vp_tx_mtx);
		vp->vp_tx_quit = true;
		vp->vp_tx_pause = true;
		pthread_cond_broadcast(&vp->vp_tx_cond);
		pthread_mutex_unlock(&vp->vp_tx_mtx);
		pthread_join(vp->vp_tx_tid, NULL);
	}
	netbe_cleanup(vp->vp_be);
	pthread_cond_destroy(&vp->vp_tx_cond);
	pthread_mutex_destroy(&vp->vp_tx_mtx);
	pthread_mutex_destroy(&vp->vp_rx_mtx);
}

static void
vtnet_free(struct pci_vtnet_softc *sc)
{
	int i;

	/* The first back end is the one that the others belong to. */
	for (i = sc->vsc_npairs - 1; i >= 0; i--)
		pair_free(&sc->vsc_pairs[i]);
	if (sc->vsc_vs.vs_vc != NULL)
		vi_softc_cleanup(&sc->vsc_vs);
	pthread_mutex_destroy(&sc->vsc_filter_mtx);
	pthread_mutex_destroy(&sc->vsc_mtx);
	free(sc->vsc_pairs);
	free(sc->vsc_queues);
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

/* A number of the node in a range; 0, or -1 after a line. */
static int
get_number(nvlist_t *nvl, const char *name, long def, long min, long max,
    bool power, long *val)
{
	const char *text;
	char *end;

	*val = def;
	text = get_config_value_node(nvl, name);
	if (text == NULL)
		return (0);
	errno = 0;
	*val = strtol(text, &end, 10);
	if (end != text && *end == '\0' && errno == 0 && *val >= min &&
	    *val <= max && (!power || (*val & (*val - 1)) == 0))
		return (0);
	EPRINTLN("virtio-net: invalid %s \"%s\": %s%ld to %ld", name, text,
	    power ? "a power of two, " : "", min, max);
	return (-1);
}

/* Queues as the options want them, linked to the transport. */
static int
make_queues(struct pci_vtnet_softc *sc, struct pci_devinst *pi, nvlist_t *nvl)
{
	struct vtnet_pair *vp;
	long i, nvq, pairs, size;

	if (get_number(nvl, "queues", 1, 1, VTNET_MAXPAIRS, false, &pairs) !=
		0 ||
	    get_number(nvl, "queue_size", VTNET_RINGSZ, VTNET_RINGSZ_MIN,
		VTNET_RINGSZ_MAX, true, &size) != 0)
		return (-1);
	nvq = pairs * 2 + 1;
	sc->vsc_queues = calloc((size_t)nvq, sizeof(*sc->vsc_queues));
	sc->vsc_pairs = calloc((size_t)pairs, sizeof(*sc->vsc_pairs));
	if (sc->vsc_queues == NULL || sc->vsc_pairs == NULL) {
		EPRINTLN("virtio-net: out of memory");
		return (-1);
	}
	sc->vsc_consts.vc_nvq = (int)nvq;
	if (pairs > 1)
		sc->vsc_consts.vc_hv_caps |= VIRTIO_NET_F_MQ;
	sc->vsc_config.max_virtqueue_pairs = (uint16_t)pairs;
	vi_softc_linkup(&sc->vsc_vs, &sc->vsc_consts, sc, pi, sc->vsc_queues);
	sc->vsc_vs.vs_mtx = &sc->vsc_mtx;
	for (i = 0; i < nvq; i++)
		sc->vsc_queues[i].vq_qsize = (uint16_t)size;
	for (i = 0; i < pairs; i++) {
		vp = &sc->vsc_pairs[i];
		vp->vp_sc = sc;
		vp->vp_rx_iov = vp->vp_rx_segs;
		vp->vp_rx_chains = vp->vp_rx_slots;
		vp->vp_rxq = &sc->vsc_queues[i * 2];
		vp->vp_txq = &sc->vsc_queues[i * 2 + 1];
		pthread_mutex_init(&vp->vp_rx_mtx, NULL);
		pthread_mutex_init(&vp->vp_tx_mtx, NULL);
		pthread_cond_init(&vp->vp_tx_cond, NULL);
	}
	sc->vsc_npairs = (int)pairs;
	return (0);
}

static int
open_backends(struct pci_vtnet_softc *sc, nvlist_t *nvl)
{
	struct vtnet_pair *vp;
	int error, i;

	error = 0;
	for (i = 0; i < sc->vsc_npairs && error == 0; i++) {
		vp = &sc->vsc_pairs[i];
		if (i == 0)
			error =
			    netbe_init(&vp->vp_be, nvl, vtnet_rx_callback, vp);
		else
			error = netbe_init_queue(&vp->vp_be,
			    sc->vsc_pairs[0].vp_be, vtnet_rx_callback, vp);
	}
	if (error != 0)
		return (-1);
	sc->vsc_consts.vc_hv_caps |= netbe_get_cap(sc->vsc_pairs[0].vp_be);
	if (netbe_link_up(sc->vsc_pairs[0].vp_be))
		sc->vsc_config.status = VIRTIO_NET_S_LINK_UP;
	return (0);
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
	if (make_queues(sc, pi, nvl) != 0 || open_backends(sc, nvl) != 0)
		return (-1);
	set_features(sc, 0);
	return (set_active(sc, 1) == 0 ? 0 : -1);
}

static int
start_threads(struct pci_vtnet_softc *sc, struct pci_devinst *pi)
{
	struct vtnet_pair *vp;
	char name[32];
	int i;

	for (i = 0; i < sc->vsc_npairs; i++) {
		vp = &sc->vsc_pairs[i];
		if (pthread_create(&vp->vp_tx_tid, NULL, tx_thread, vp) != 0) {
			EPRINTLN("virtio-net: no thread");
			return (-1);
		}
		vp->vp_tx_started = true;
		snprintf(name, sizeof(name), "vtnet%d:%d tx", pi->pi_slot,
		    pi->pi_func);
		pthread_setname_np(vp->vp_tx_tid, name);
	}
	return (0);
}

static int
pci_vtnet_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	struct pci_vtnet_softc *sc;

	sc = calloc(1, sizeof(*sc));
	if (sc == NULL) {
		EPRINTLN("virtio-net: out of memory");
		return (1);
	}
	pthread_mutex_init(&sc->vsc_mtx, NULL);
	pthread_mutex_init(&sc->vsc_filter_mtx, NULL);
	sc->vsc_consts = vtnet_vi_consts;
	if (vtnet_options(sc, pi, nvl) != 0)
		goto fail;
	vi_set_identity(pi, VIRTIO_DEV_NET, PCIC_NETWORK, VIRTIO_ID_NETWORK);
	if (vi_intr_init(&sc->vsc_vs, 1, fbsdrun_virtio_msix()) != 0 ||
	    vi_set_io_bar(&sc->vsc_vs, 0) != 0 || start_threads(sc, pi) != 0)
		goto fail;
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
