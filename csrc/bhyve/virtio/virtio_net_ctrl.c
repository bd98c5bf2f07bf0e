/*
 * The control queue of virtio-net (Virtual I/O Device specification 1.1,
 * 5.1.6.5): which frames the card lets in, and how many pairs of queues the
 * driver uses.  A back end delivers all frames of its wire.
 */
#include <string.h>

#include "virtio_net_local.h"

#define VIRTIO_NET_CTRL_RX 0
#define VIRTIO_NET_CTRL_RX_PROMISC 0
#define VIRTIO_NET_CTRL_RX_ALLMULTI 1
#define VIRTIO_NET_CTRL_RX_ALLUNI 2
#define VIRTIO_NET_CTRL_RX_NOMULTI 3
#define VIRTIO_NET_CTRL_RX_NOUNI 4
#define VIRTIO_NET_CTRL_RX_NOBCAST 5
#define VIRTIO_NET_CTRL_MAC 1
#define VIRTIO_NET_CTRL_MAC_TABLE_SET 0
#define VIRTIO_NET_CTRL_MAC_ADDR_SET 1
#define VIRTIO_NET_CTRL_VLAN 2
#define VIRTIO_NET_CTRL_VLAN_ADD 0
#define VIRTIO_NET_CTRL_VLAN_DEL 1
#define VIRTIO_NET_CTRL_MQ 4
#define VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET 0

#define VIRTIO_NET_OK 0
#define VIRTIO_NET_ERR 1

#define CTRL_MAXSEGS 64
#define CTRL_HDR_LEN 2 /* class, command */
/* Commands of one kick, whatever a driver keeps adding. */
#define CTRL_BUDGET 1024

/* Readable bytes of a chain, taken from its front. */
struct reader {
	const struct iovec *iov;
	int niov;
	size_t off; /* in the first element */
};

static bool
take(struct reader *r, void *buf, size_t len)
{
	uint8_t *p = buf;
	size_t part;

	while (len != 0) {
		if (r->niov == 0)
			return (false);
		part = r->iov->iov_len - r->off;
		if (part > len)
			part = len;
		memcpy(p, (uint8_t *)r->iov->iov_base + r->off, part);
		p += part;
		len -= part;
		r->off += part;
		if (r->off == r->iov->iov_len) {
			r->iov++;
			r->niov--;
			r->off = 0;
		}
	}
	return (true);
}

static bool
skip(struct reader *r, uint64_t len)
{
	uint8_t scrap[ETHER_ADDR_LEN * 64];
	size_t part;

	for (; len != 0; len -= part) {
		part = len < sizeof(scrap) ? len : sizeof(scrap);
		if (!take(r, scrap, part))
			return (false);
	}
	return (true);
}

/* ---- the commands; false: refused ---- */

static bool
ctrl_rx(struct vtnet_filter *f, uint8_t cmd, struct reader *r)
{
	uint8_t on;

	if (!take(r, &on, 1))
		return (false);
	switch (cmd) {
	case VIRTIO_NET_CTRL_RX_PROMISC:
		f->promisc = on != 0;
		break;
	case VIRTIO_NET_CTRL_RX_ALLMULTI:
		f->allmulti = on != 0;
		break;
	case VIRTIO_NET_CTRL_RX_ALLUNI:
		f->alluni = on != 0;
		break;
	case VIRTIO_NET_CTRL_RX_NOMULTI:
		f->nomulti = on != 0;
		break;
	case VIRTIO_NET_CTRL_RX_NOUNI:
		f->nouni = on != 0;
		break;
	case VIRTIO_NET_CTRL_RX_NOBCAST:
		f->nobcast = on != 0;
		break;
	default:
		return (false);
	}
	return (true);
}

static bool
read_table(struct reader *r, struct vtnet_mactable *table)
{
	uint32_t count;

	memset(table, 0, sizeof(*table));
	if (!take(r, &count, sizeof(count)))
		return (false);
	if (count > VTNET_MACS) {
		table->overflow = true;
		return (skip(r, (uint64_t)count * ETHER_ADDR_LEN));
	}
	table->count = count;
	return (take(r, table->mac, (size_t)count * ETHER_ADDR_LEN));
}

static bool
ctrl_mac(struct pci_vtnet_softc *sc, struct vtnet_filter *f, uint8_t cmd,
    struct reader *r)
{
	switch (cmd) {
	case VIRTIO_NET_CTRL_MAC_TABLE_SET:
		return (read_table(r, &f->uni) && read_table(r, &f->multi));
	case VIRTIO_NET_CTRL_MAC_ADDR_SET:
		if (!take(r, f->mac, sizeof(f->mac)))
			return (false);
		memcpy(sc->vsc_config.mac, f->mac, sizeof(f->mac));
		return (true);
	default:
		return (false);
	}
}

static bool
ctrl_vlan(struct vtnet_filter *f, uint8_t cmd, struct reader *r)
{
	uint16_t id;

	if (!take(r, &id, sizeof(id)) || id >= VTNET_VLANS)
		return (false);
	if (cmd == VIRTIO_NET_CTRL_VLAN_ADD)
		f->vlan[id / 32] |= 1U << id % 32;
	else if (cmd == VIRTIO_NET_CTRL_VLAN_DEL)
		f->vlan[id / 32] &= ~(1U << id % 32);
	else
		return (false);
	return (true);
}

static bool
ctrl_mq(struct pci_vtnet_softc *sc, uint8_t cmd, struct reader *r)
{
	uint16_t pairs;

	return (cmd == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET &&
	    (sc->vsc_vs.vs_negotiated_caps & VIRTIO_NET_F_MQ) != 0 &&
	    take(r, &pairs, sizeof(pairs)) && pairs >= 1 &&
	    pairs <= sc->vsc_npairs && vtnet_set_active(sc, pairs) == 0);
}

static bool
command(struct pci_vtnet_softc *sc, struct reader *r)
{
	struct vtnet_filter f;
	uint8_t hdr[CTRL_HDR_LEN];
	bool ok;

	if (!take(r, hdr, sizeof(hdr)))
		return (false);
	if (hdr[0] == VIRTIO_NET_CTRL_MQ)
		return (ctrl_mq(sc, hdr[1], r));
	/* It is written under vsc_mtx only. */
	f = sc->vsc_filter;
	switch (hdr[0]) {
	case VIRTIO_NET_CTRL_RX:
		ok = ctrl_rx(&f, hdr[1], r);
		break;
	case VIRTIO_NET_CTRL_MAC:
		ok = ctrl_mac(sc, &f, hdr[1], r);
		break;
	case VIRTIO_NET_CTRL_VLAN:
		ok = ctrl_vlan(&f, hdr[1], r);
		break;
	default:
		ok = false;
		break;
	}
	if (ok) {
		pthread_mutex_lock(&sc->vsc_filter_mtx);
		sc->vsc_filter = f;
		pthread_mutex_unlock(&sc->vsc_filter_mtx);
		sc->vsc_filtering = !f.promisc || f.vlans;
	}
	return (ok);
}

void
vtnet_ctrl_kick(struct pci_vtnet_softc *sc, struct vqueue_info *vq)
{
	struct iovec iov[CTRL_MAXSEGS];
	struct reader r;
	struct vi_req req;
	int budget;
	uint8_t ack;

	for (budget = CTRL_BUDGET; budget > 0; budget--) {
		if (vq_getchain(vq, iov, CTRL_MAXSEGS, &req) <= 0)
			break;
		if (req.writable == 0) {
			vq_broken(vq, "command without room for its answer");
			break;
		}
		r = (struct reader) { iov, req.readable, 0 };
		ack = command(sc, &r) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
		*(uint8_t *)iov[req.readable].iov_base = ack;
		vq_relchain(vq, (uint16_t)req.idx, 1);
	}
	vq_endchains(vq, 1);
}

/* ---- the filter ---- */

void
vtnet_filter_reset(struct pci_vtnet_softc *sc)
{
	uint64_t features = sc->vsc_vs.vs_negotiated_caps;
	struct vtnet_filter *f = &sc->vsc_filter;

	pthread_mutex_lock(&sc->vsc_filter_mtx);
	memset(f, 0, sizeof(*f));
	/* Until the driver says otherwise; one without commands cannot. */
	f->promisc = true;
	f->vlans = (features & VIRTIO_NET_F_CTRL_VLAN) != 0;
	memcpy(f->mac, sc->vsc_config.mac, sizeof(f->mac));
	pthread_mutex_unlock(&sc->vsc_filter_mtx);
	sc->vsc_filtering = f->vlans;
}

static bool
table_has(const struct vtnet_mactable *table, const uint8_t *mac)
{
	uint32_t i;

	for (i = 0; i < table->count; i++) {
		if (memcmp(table->mac[i], mac, ETHER_ADDR_LEN) == 0)
			return (true);
	}
	return (table->overflow);
}

static bool
mac_accepted(const struct vtnet_filter *f, const uint8_t *mac)
{
	static const uint8_t all[ETHER_ADDR_LEN] = { 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff };

	if (f->promisc)
		return (true);
	if (memcmp(mac, all, sizeof(all)) == 0)
		return (!f->nobcast);
	if ((mac[0] & 1) != 0)
		return (
		    !f->nomulti && (f->allmulti || table_has(&f->multi, mac)));
	return (!f->nouni &&
	    (f->alluni || memcmp(mac, f->mac, ETHER_ADDR_LEN) == 0 ||
		table_has(&f->uni, mac)));
}

bool
vtnet_filter_accepts(struct pci_vtnet_softc *sc, const struct iovec *iov,
    int iovcnt, size_t offset)
{
	struct reader r = { iov, iovcnt, 0 };
	uint8_t hdr[ETHER_HDR_LEN + 2];
	const struct vtnet_filter *f = &sc->vsc_filter;
	uint32_t id;
	bool accepted;

	/* A frame is never shorter than its header and a tag. */
	memset(hdr, 0, sizeof(hdr));
	if (!skip(&r, offset) || !take(&r, hdr, sizeof(hdr)))
		return (true);
	pthread_mutex_lock(&sc->vsc_filter_mtx);
	accepted = mac_accepted(f, hdr);
	if (f->vlans && (hdr[12] << 8 | hdr[13]) == ETHERTYPE_VLAN) {
		id = (uint32_t)(hdr[14] << 8 | hdr[15]) % VTNET_VLANS;
		accepted = accepted && (f->vlan[id / 32] >> id % 32 & 1) != 0;
	}
	pthread_mutex_unlock(&sc->vsc_filter_mtx);
	return (accepted);
}
