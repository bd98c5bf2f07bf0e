/*
 * The 82545EM's receiving side: filters, VLAN tags, checksums and the ring.
 * It runs on the event thread under the device's lock.
 */
#include <string.h>

#include "debug.h"
#include "e82545_local.h"
#include "vmmapi.h"

#define RX_BUDGET 64
#define RX_MAX_STD 1518 /* without LPE; four more with a VLAN tag */
#define RX_MAX_LONG 16380
#define FCS_LEN 4

/* ---- filters (10.5) ---- */

static bool
multicast_hit(struct e82545_softc *sc, const uint8_t *mac)
{
	static const int shifts[4] = { 4, 3, 2, 0 };
	uint32_t hash;
	int shift;

	shift = shifts[E82545_REG(sc, E1000_RCTL) >> 12 & 3];
	hash = ((uint32_t)mac[5] << 8 | mac[4]) >> shift & 0xfff;
	return ((E82545_REG(sc, E1000_MTA + (hash >> 5) * 4) >> (hash & 31) &
		    1) != 0);
}

static bool
address_wanted(struct e82545_softc *sc, const uint8_t *mac, bool *exact)
{
	static const uint8_t broadcast[ETHER_ADDR_LEN] = { 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff };
	uint32_t hi, lo, rctl;
	int off;

	rctl = E82545_REG(sc, E1000_RCTL);
	*exact = true;
	for (off = E1000_RA; off < E1000_RA_END; off += 8) {
		lo = E82545_REG(sc, off);
		hi = E82545_REG(sc, off + 4);
		if ((hi & E1000_RAH_AV) == 0)
			continue;
		if (lo ==
			((uint32_t)mac[0] | (uint32_t)mac[1] << 8 |
			    (uint32_t)mac[2] << 16 | (uint32_t)mac[3] << 24) &&
		    (hi & 0xffff) == ((uint32_t)mac[4] | (uint32_t)mac[5] << 8))
			return (true);
	}
	*exact = false;
	if (memcmp(mac, broadcast, sizeof(broadcast)) == 0)
		return ((rctl & (E1000_RCTL_BAM | E1000_RCTL_MPE)) != 0);
	if ((mac[0] & 1) != 0)
		return ((rctl & E1000_RCTL_MPE) != 0 || multicast_hit(sc, mac));
	return ((rctl & E1000_RCTL_UPE) != 0);
}

static bool
is_tagged(struct e82545_softc *sc, const uint8_t *frame, size_t len)
{
	return (len >= ETHER_HDR_LEN + ETHER_VLAN_LEN &&
	    (frame[12] << 8 | frame[13]) ==
		(int)(E82545_REG(sc, E1000_VET) & 0xffff));
}

static bool
frame_wanted(
    struct e82545_softc *sc, const uint8_t *frame, size_t len, bool *exact)
{
	uint32_t rctl;
	size_t max;
	int vid;
	bool tagged;

	rctl = E82545_REG(sc, E1000_RCTL);
	tagged = is_tagged(sc, frame, len);
	max = RX_MAX_STD - FCS_LEN + (tagged ? ETHER_VLAN_LEN : 0);
	if ((rctl & E1000_RCTL_LPE) != 0)
		max = RX_MAX_LONG;
	if (len > max) {
		e82545_stat(sc, E1000_ROC);
		return (false);
	}
	if (tagged && (rctl & E1000_RCTL_VFE) != 0) {
		vid = (frame[14] << 8 | frame[15]) & 0xfff;
		if ((E82545_REG(sc, E1000_VFTA + (vid >> 5) * 4) >> (vid & 31) &
			1) == 0)
			return (false);
	}
	return (address_wanted(sc, frame, exact));
}

/* ---- what the descriptor says of a frame ---- */

/*
 * Status and errors of the checksums (3.2.9): IPv4 headers, and TCP and UDP
 * of IPv4 that is not fragmented.
 */
static uint16_t
check_sums(struct e82545_softc *sc, const uint8_t *frame, size_t len)
{
	const uint8_t *ip, *l4;
	uint64_t sum;
	uint32_t rxcsum;
	uint16_t flags;
	size_t hlen, iplen, l4len;
	int proto;

	rxcsum = E82545_REG(sc, E1000_RXCSUM);
	ip = frame + ETHER_HDR_LEN;
	if ((rxcsum & (E1000_RXCSUM_IPOFL | E1000_RXCSUM_TUOFL)) == 0 ||
	    len < ETHER_HDR_LEN + 20 ||
	    (frame[12] << 8 | frame[13]) != ETHERTYPE_IP || ip[0] >> 4 != 4)
		return (E1000_RXD_STAT_IXSM);
	hlen = (ip[0] & 0xfU) * 4;
	iplen = (size_t)(ip[2] << 8 | ip[3]);
	if (hlen < 20 || iplen < hlen || iplen > len - ETHER_HDR_LEN)
		return (E1000_RXD_STAT_IXSM);
	flags = 0;
	if ((rxcsum & E1000_RXCSUM_IPOFL) != 0) {
		flags = E1000_RXD_STAT_IPCS;
		if (net_fold(net_sum(ip, hlen, 0)) != 0xffff)
			flags |= E1000_RXD_ERR_IPE << 8;
	}
	proto = ip[9];
	l4 = ip + hlen;
	l4len = iplen - hlen;
	if ((rxcsum & E1000_RXCSUM_TUOFL) == 0 ||
	    ((ip[6] << 8 | ip[7]) & 0x3fff) != 0 ||
	    (proto != 6 && proto != 17) || l4len < (proto == 6 ? 20U : 8U) ||
	    (proto == 17 && l4[6] == 0 && l4[7] == 0))
		return (flags != 0 ? flags : E1000_RXD_STAT_IXSM);
	sum = net_sum(ip + 12, 8, (uint64_t)proto + l4len);
	flags |= E1000_RXD_STAT_TCPCS;
	if (net_fold(net_sum(l4, l4len, sum)) != 0xffff)
		flags |= E1000_RXD_ERR_TCPE << 8;
	return (flags);
}

static uint32_t
crc32_frame(const uint8_t *p, size_t len)
{
	uint32_t crc;
	int bit;

	crc = 0xffffffff;
	while (len-- != 0) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return (~crc);
}

/* ---- the ring ---- */

static size_t
buffer_size(struct e82545_softc *sc)
{
	uint32_t rctl;
	size_t size;

	rctl = E82545_REG(sc, E1000_RCTL);
	size = 2048U >> (rctl >> 16 & 3);
	return (
	    (rctl & E1000_RCTL_BSEX) != 0 && size != 2048 ? size * 16 : size);
}

/* Descriptors that software has given; 0 if the ring is nonsense. */
static uint32_t
ring_avail(struct e82545_softc *sc)
{
	uint32_t count, head, tail;

	count = E82545_REG(sc, E1000_RDLEN) / 16;
	head = E82545_REG(sc, E1000_RDH);
	tail = E82545_REG(sc, E1000_RDT);
	if (head >= count || tail >= count)
		return (0);
	return (tail >= head ? tail - head : tail + count - head);
}

/*
 * One descriptor: a part of the frame into its buffer, and its write-back.
 * The part of the checksum's four bytes that does not fit is the next's.
 */
static void
put_part(struct e82545_softc *sc, const uint8_t *data, size_t len,
    uint16_t flags, uint16_t special)
{
	struct e1000_rx_desc desc, *ring;
	uint64_t gpa;
	uint32_t head;
	void *buf;

	head = E82545_REG(sc, E1000_RDH);
	gpa = ((uint64_t)E82545_REG(sc, E1000_RDBAH) << 32 |
		  E82545_REG(sc, E1000_RDBAL)) +
	    head * 16ULL;
	E82545_REG(sc, E1000_RDH) =
	    head + 1 == E82545_REG(sc, E1000_RDLEN) / 16 ? 0 : head + 1;
	ring = vm_map_gpa(sc->esc_ctx, gpa, sizeof(*ring));
	if (ring == NULL)
		return;
	memcpy(&desc, ring, sizeof(desc));
	/* A buffer at zero stands for none: the data are lost (3.2.4). */
	buf = desc.buffer_addr != 0
	    ? vm_map_gpa(sc->esc_ctx, desc.buffer_addr, len)
	    : NULL;
	if (buf != NULL) {
		memcpy(buf, data, len);
		vm_dirty_gpa(sc->esc_ctx, desc.buffer_addr, len);
	}
	ring->length = (uint16_t)len;
	ring->csum = 0;
	ring->errors = (uint8_t)(flags >> 8);
	ring->special = special;
	__atomic_store_n(&ring->status,
	    (uint8_t)(E1000_RXD_STAT_DD | (flags & 0xff)), __ATOMIC_RELEASE);
	vm_dirty_gpa(sc->esc_ctx, gpa, sizeof(*ring));
}

/* False: there are not enough descriptors; the frame stays. */
static bool
put_frame(struct e82545_softc *sc, uint8_t *frame, size_t len, bool exact)
{
	uint8_t fcs[RX_MAX_LONG + 2 * FCS_LEN];
	size_t bufsize, done, need, part;
	uint32_t crc;
	uint16_t flags, special;

	bufsize = buffer_size(sc);
	special = 0;
	flags = exact ? 0 : E1000_RXD_STAT_PIF;
	memcpy(fcs, frame, len);
	if (len < ETHER_MIN_LEN) {
		memset(fcs + len, 0, ETHER_MIN_LEN - len);
		len = ETHER_MIN_LEN;
	}
	if ((E82545_REG(sc, E1000_RCTL) & E1000_RCTL_SECRC) == 0) {
		crc = crc32_frame(fcs, len);
		memcpy(fcs + len, &crc, FCS_LEN);
		len += FCS_LEN;
	}
	frame = fcs;
	if ((E82545_REG(sc, E1000_CTRL) & E1000_CTRL_VME) != 0 &&
	    is_tagged(sc, frame, len)) {
		special = (uint16_t)(frame[14] << 8 | frame[15]);
		flags |= E1000_RXD_STAT_VP;
		memmove(frame + ETHER_VLAN_LEN, frame, 2 * ETHER_ADDR_LEN);
		frame += ETHER_VLAN_LEN;
		len -= ETHER_VLAN_LEN;
	}
	need = (len + bufsize - 1) / bufsize;
	if (need >= E82545_REG(sc, E1000_RDLEN) / 16 &&
	    E82545_REG(sc, E1000_RDLEN) != 0)
		return (true); /* more than the ring ever holds: lost */
	if (ring_avail(sc) < need)
		return (false);
	flags |= check_sums(sc, frame, len);
	for (done = 0; done < len; done += part) {
		part = len - done < bufsize ? len - done : bufsize;
		if (done + part == len)
			put_part(sc, frame + done, part,
			    flags | E1000_RXD_STAT_EOP, special);
		else
			put_part(sc, frame + done, part, 0, 0);
	}
	return (true);
}

/* Fewer descriptors left than RDMTS says: software is asked for more. */
static bool
below_threshold(struct e82545_softc *sc)
{
	int shift;

	shift = (int)(E82545_REG(sc, E1000_RCTL) >> 8 & 3) + 1;
	return (shift < 4 &&
	    ring_avail(sc) <= (E82545_REG(sc, E1000_RDLEN) / 16) >> shift);
}

/* esc_mtx held.  The causes of interrupt. */
static uint32_t
rx_frames(struct e82545_softc *sc)
{
	uint8_t *frame;
	uint32_t causes;
	size_t len;
	int n;
	bool enabled, exact;

	causes = 0;
	enabled = (E82545_REG(sc, E1000_RCTL) &
		      (E1000_RCTL_EN | E1000_RCTL_LBM)) == E1000_RCTL_EN &&
	    (pci_get_cfgdata16(sc->esc_pi, PCIR_COMMAND) &
		PCIM_CMD_BUSMASTEREN) != 0;
	for (n = 0; n < RX_BUDGET; n++) {
		len = netbe_rx_frame(sc->esc_be, &frame);
		if (len == 0)
			break;
		if (!enabled || !frame_wanted(sc, frame, len, &exact)) {
			netbe_rx_discard(sc->esc_be);
			continue;
		}
		if (!put_frame(sc, frame, len, exact)) {
			e82545_stat(sc, E1000_RNBC);
			netbe_rx_disable(sc->esc_be);
			sc->esc_rx_on = false;
			causes |= E1000_ICR_RXO;
			break;
		}
		e82545_count(sc, frame, len, false);
		netbe_rx_discard(sc->esc_be);
		causes |= E1000_ICR_RXT0;
		if (below_threshold(sc))
			causes |= E1000_ICR_RXDMT0;
	}
	return (causes);
}

void
e82545_rx_callback(int fd, enum ev_type type, void *param)
{
	struct e82545_softc *sc = param;
	uint32_t causes;

	pthread_mutex_lock(&sc->esc_mtx);
	causes = sc->esc_rx_on ? rx_frames(sc) : 0;
	if (sc->esc_link && !netbe_link_up(sc->esc_be)) {
		sc->esc_link = false;
		causes |= E1000_ICR_LSC;
	}
	if (causes != 0)
		e82545_interrupt(sc, causes);
	pthread_mutex_unlock(&sc->esc_mtx);
}

void
e82545_rx_update(struct e82545_softc *sc)
{
	/* A card that is off still hears, and drops. */
	if (!sc->esc_rx_on &&
	    ((E82545_REG(sc, E1000_RCTL) & E1000_RCTL_EN) == 0 ||
		ring_avail(sc) != 0)) {
		sc->esc_rx_on = true;
		netbe_rx_enable(sc->esc_be);
	}
}
