/*
 * The receiving side of virtio-net: frames go from the host right into the
 * driver's buffers.
 */
#include <string.h>

#include "virtio_net_local.h"

/* Frames of one callback, after which other devices have their turn. */
#define VTNET_RX_BUDGET 256

/* What is in hand moves to the front of its arrays, to make room. */
static void
rx_compact(struct vtnet_pair *vp)
{
	memmove(vp->vp_rx_segs, vp->vp_rx_iov,
	    sizeof(vp->vp_rx_segs[0]) * (size_t)vp->vp_rx_niov);
	memmove(vp->vp_rx_slots, vp->vp_rx_chains,
	    sizeof(vp->vp_rx_slots[0]) * (size_t)vp->vp_rx_nchains);
	vp->vp_rx_iov = vp->vp_rx_segs;
	vp->vp_rx_chains = vp->vp_rx_slots;
}

/*
 * Take one more chain's buffers.  1; 0: the driver has none to give, or no
 * more fit; -1: the queue is broken.
 */
static int
rx_take(struct vtnet_pair *vp)
{
	struct vtnet_chain *chain;
	struct iovec *iov;
	struct vi_req req;
	int i, n;

	/* With chains in hand, one that does not fit can wait. */
	if (vp->vp_rx_niov > VTNET_MAXSEGS / 2)
		return (0);
	if (vp->vp_rx_nchains == 0 ||
	    vp->vp_rx_iov + vp->vp_rx_niov > vp->vp_rx_segs + VTNET_MAXSEGS / 2)
		rx_compact(vp);
	iov = vp->vp_rx_iov + vp->vp_rx_niov;
	n = vq_getchain(
	    vp->vp_rxq, iov, (int)(vp->vp_rx_segs + VTNET_MAXSEGS - iov), &req);
	if (n <= 0)
		return (n);
	if (req.writable == 0) {
		vq_broken(vp->vp_rxq, "receive buffer that is not writable");
		return (-1);
	}
	memmove(iov, iov + req.readable, sizeof(*iov) * (size_t)req.writable);
	chain = &vp->vp_rx_chains[vp->vp_rx_nchains++];
	chain->idx = (uint16_t)req.idx;
	chain->niov = req.writable;
	chain->len = 0;
	for (i = 0; i < req.writable; i++)
		chain->len += iov[i].iov_len;
	vp->vp_rx_niov += req.writable;
	vp->vp_rx_room += chain->len;
	return (1);
}

/* The driver has no buffers; its next ones turn reception on again. */
static bool
rx_starve(struct vtnet_pair *vp)
{
	vq_kick_enable(vp->vp_rxq);
	if (vq_has_descs(vp->vp_rxq)) {
		vq_kick_disable(vp->vp_rxq);
		return (false);
	}
	netbe_rx_disable(vp->vp_be);
	vp->vp_rx_on = false;
	return (true);
}

static void
rx_stop(struct vtnet_pair *vp)
{
	netbe_rx_disable(vp->vp_be);
	vp->vp_rx_on = false;
}

/* The header's num_buffers, which may lie across two elements. */
static void
put_num_buffers(struct vtnet_pair *vp, uint16_t num)
{
	uint8_t bytes[2] = { (uint8_t)num, (uint8_t)(num >> 8) };
	size_t off;
	int done, i;

	off = offsetof(struct virtio_net_hdr, num_buffers);
	done = 0;
	for (i = 0; i < vp->vp_rx_niov && done < 2; i++) {
		for (; done < 2 && off < vp->vp_rx_iov[i].iov_len; off++)
			((uint8_t *)vp->vp_rx_iov[i].iov_base)[off] =
			    bytes[done++];
		off -= vp->vp_rx_iov[i].iov_len;
	}
}

/* A frame of len bytes is in the first chains: give those back. */
static void
rx_publish(struct vtnet_pair *vp, size_t len)
{
	struct vtnet_chain *chain;
	size_t part, sum;
	int n, niov;

	niov = 0;
	sum = 0;
	for (n = 0; n < vp->vp_rx_nchains && sum < len; n++) {
		niov += vp->vp_rx_chains[n].niov;
		sum += vp->vp_rx_chains[n].len;
	}
	if (vp->vp_sc->vsc_hdr_len == VNET_HDR_LEN)
		put_num_buffers(vp, (uint16_t)n);
	vp->vp_rx_room -= sum;
	for (chain = vp->vp_rx_chains; chain < vp->vp_rx_chains + n; chain++) {
		part = len < chain->len ? len : chain->len;
		vq_relchain_prepare(vp->vp_rxq, chain->idx, (uint32_t)part);
		len -= part;
	}
	vq_relchain_publish(vp->vp_rxq);
	vp->vp_rx_nchains -= n;
	vp->vp_rx_niov -= niov;
	vp->vp_rx_chains += n;
	vp->vp_rx_iov += niov;
}

/* Have chains with room for want bytes: 1; 0: not so many; -1: broken. */
static int
rx_need(struct vtnet_pair *vp, size_t want)
{
	int n;

	/* Without merged buffers, a frame has one chain. */
	while (vp->vp_rx_room < want &&
	    (vp->vp_sc->vsc_rx_merge || vp->vp_rx_nchains == 0)) {
		n = rx_take(vp);
		if (n <= 0)
			return (n);
	}
	return (1);
}

static bool
rx_accepts(struct vtnet_pair *vp, const struct iovec *iov, int iovcnt)
{
	struct pci_vtnet_softc *sc = vp->vp_sc;

	return (!sc->vsc_filtering ||
	    vtnet_filter_accepts(sc, iov, iovcnt, sc->vsc_hdr_len));
}

/* A frame that waits in the back end.  False: no more now. */
static bool
rx_waiting(struct vtnet_pair *vp)
{
	struct iovec iov;
	uint8_t *frame;
	int n;

	iov.iov_len = netbe_rx_frame(vp->vp_be, &frame);
	iov.iov_base = frame;
	if (!rx_accepts(vp, &iov, 1)) {
		netbe_rx_discard(vp->vp_be);
		return (true);
	}
	while ((n = rx_need(vp, iov.iov_len)) == 0) {
		if (vp->vp_rx_niov > VTNET_MAXSEGS / 2) {
			vq_broken(vp->vp_rxq, "receive buffers are too small");
			n = -1;
			break;
		}
		if (rx_starve(vp))
			return (false);
	}
	if (n < 0) {
		rx_stop(vp);
		return (false);
	}
	if (vp->vp_rx_room < iov.iov_len) {
		netbe_rx_discard(vp->vp_be); /* larger than buffers */
		return (true);
	}
	(void)netbe_recv(vp->vp_be, vp->vp_rx_iov, vp->vp_rx_niov);
	rx_publish(vp, iov.iov_len);
	return (true);
}

/* The next frame from the host.  False: no more now. */
static bool
rx_direct(struct vtnet_pair *vp)
{
	size_t len, room;
	int n, niov;

	while ((n = rx_need(vp, vp->vp_sc->vsc_rx_want)) == 0 &&
	    vp->vp_rx_nchains == 0) {
		if (rx_starve(vp))
			return (false);
	}
	if (n < 0) {
		rx_stop(vp);
		return (false);
	}
	niov = vp->vp_rx_niov;
	room = vp->vp_rx_room;
	if (!vp->vp_sc->vsc_rx_merge) {
		niov = vp->vp_rx_chains[0].niov;
		room = vp->vp_rx_chains[0].len;
	}
	len = netbe_recv_direct(vp->vp_be, vp->vp_rx_iov, niov, room);
	if (len == 0)
		return (false);
	if (!netbe_rx_waits(vp->vp_be) && rx_accepts(vp, vp->vp_rx_iov, niov))
		rx_publish(vp, len);
	return (true);
}

static void
rx_frames(struct vtnet_pair *vp)
{
	bool more;
	int budget;

	more = true;
	for (budget = VTNET_RX_BUDGET; more && budget > 0; budget--)
		more =
		    netbe_rx_waits(vp->vp_be) ? rx_waiting(vp) : rx_direct(vp);
	vq_endchains(vp->vp_rxq, !vp->vp_rx_on);
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

void
vtnet_rx_callback(int fd, enum ev_type type, void *param)
{
	struct vtnet_pair *vp = param;

	pthread_mutex_lock(&vp->vp_rx_mtx);
	if (vp->vp_rx_on) {
		if (vq_ring_ready(vp->vp_rxq))
			rx_frames(vp);
		else
			rx_stop(vp);
	}
	pthread_mutex_unlock(&vp->vp_rx_mtx);
	if (!netbe_link_up(vp->vp_be))
		link_down(vp->vp_sc);
}

void
vtnet_rx_kick(struct vtnet_pair *vp)
{
	pthread_mutex_lock(&vp->vp_rx_mtx);
	if (!vp->vp_rx_on && vq_ring_ready(vp->vp_rxq)) {
		vp->vp_rx_on = true;
		vq_kick_disable(vp->vp_rxq);
		netbe_rx_enable(vp->vp_be);
	}
	pthread_mutex_unlock(&vp->vp_rx_mtx);
}

void
vtnet_rx_forget(struct vtnet_pair *vp)
{
	rx_stop(vp);
	netbe_rx_discard(vp->vp_be);
	vp->vp_rx_nchains = vp->vp_rx_niov = 0;
	vp->vp_rx_room = 0;
	rx_compact(vp);
}
