/*
 * What a network card's offload engine does, in software: the Internet
 * checksum and TCP segmentation.  Everything in a frame is the guest's word,
 * so each header is used only where it lies within the frame.
 */
#include <string.h>

#include "net_utils.h"

#define IPPROTO_TCP_ 6
#define IPPROTO_UDP_ 17
#define IPV4_LEN 20
#define IPV6_LEN 40
#define TCP_LEN 20
#define UDP_LEN 8
#define TCP_CSUM 16
#define UDP_CSUM 6
#define TH_FIN 0x01
#define TH_PSH 0x08
#define TH_CWR 0x80

static uint16_t
get16(const uint8_t *p)
{
	return ((uint16_t)(p[0] << 8 | p[1]));
}

static void
put16(uint8_t *p, uint16_t val)
{
	p[0] = (uint8_t)(val >> 8);
	p[1] = (uint8_t)val;
}

static uint32_t
get32(const uint8_t *p)
{
	return ((uint32_t)get16(p) << 16 | get16(p + 2));
}

static void
put32(uint8_t *p, uint32_t val)
{
	put16(p, (uint16_t)(val >> 16));
	put16(p + 2, (uint16_t)val);
}

/*
 * Ones' complement addition does not care for the byte order as long as the
 * result is swapped at the end, so words are added as the host reads them.
 */
uint64_t
net_sum(const void *data, size_t len, uint64_t sum)
{
	const uint8_t *p = data;
	uint64_t native;
	uint32_t word;
	uint16_t half;

	native = 0;
	for (; len >= 4; len -= 4, p += 4) {
		memcpy(&word, p, 4);
		native += word;
	}
	if (len >= 2) {
		memcpy(&half, p, 2);
		native += half;
		len -= 2;
		p += 2;
	}
	if (len != 0)
		native += *p;
	native = (native >> 32) + (native & 0xffffffff);
	native = (native >> 16) + (native & 0xffff);
	native = (native >> 16) + (native & 0xffff);
	native = (native >> 16) + (native & 0xffff);
	return (sum + ((native & 0xff) << 8 | native >> 8));
}

uint16_t
net_fold(uint64_t sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	while (sum >> 16 != 0)
		sum = (sum >> 16) + (sum & 0xffff);
	return ((uint16_t)sum);
}

bool
net_finish_csum(uint8_t *frame, size_t len, size_t start, size_t offset)
{
	uint16_t csum;

	if (start > len || offset > len - start || len - start - offset < 2)
		return (false);
	csum = (uint16_t)~net_fold(net_sum(frame + start, len - start, 0));
	/* Zero means "no checksum" in UDP; both zeros are equal. */
	put16(frame + start + offset, csum == 0 ? 0xffff : csum);
	return (true);
}

bool
net_parse_tcp(const uint8_t *frame, size_t len, struct net_tso *tso)
{
	size_t off;
	uint16_t type;
	int tags;

	off = 12;
	for (tags = 0; tags < 3; tags++, off += ETHER_VLAN_LEN) {
		if (off + 2 > len)
			return (false);
		type = get16(frame + off);
		if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ)
			break;
	}
	off += 2;
	tso->ip_off = off;
	tso->tcp = true;
	if (type == ETHERTYPE_IP) {
		if (off + IPV4_LEN > len || frame[off] >> 4 != 4 ||
		    frame[off + 9] != IPPROTO_TCP_)
			return (false);
		tso->ipv6 = false;
		tso->l4_off = off + (frame[off] & 0xfU) * 4;
	} else if (type == ETHERTYPE_IPV6) {
		if (off + IPV6_LEN > len || frame[off + 6] != IPPROTO_TCP_)
			return (false);
		tso->ipv6 = true;
		tso->l4_off = off + IPV6_LEN;
	} else {
		return (false);
	}
	if (tso->l4_off + TCP_LEN > len)
		return (false);
	tso->hdr_len = tso->l4_off + (frame[tso->l4_off + 12] >> 4) * 4U;
	return (tso->hdr_len <= len);
}

static bool
tso_fits(const struct net_tso *tso, size_t len, size_t segcap)
{
	size_t iplen, l4len;

	iplen = tso->ipv6 ? IPV6_LEN : IPV4_LEN;
	l4len = tso->tcp ? TCP_LEN : UDP_LEN;
	return (tso->mss != 0 && tso->hdr_len <= len && tso->l4_off <= len &&
	    tso->ip_off <= tso->l4_off && tso->l4_off - tso->ip_off >= iplen &&
	    tso->l4_off <= tso->hdr_len &&
	    tso->hdr_len - tso->l4_off >= l4len && tso->hdr_len <= segcap &&
	    tso->mss <= segcap - tso->hdr_len);
}

/* Lengths, identification and the IPv4 header's checksum. */
static void
fix_ip(uint8_t *seg, size_t len, const struct net_tso *tso, int index)
{
	uint8_t *ip;
	size_t iplen;

	ip = seg + tso->ip_off;
	iplen = tso->l4_off - tso->ip_off;
	if (tso->ipv6) {
		put16(ip + 4, (uint16_t)(len - tso->ip_off - IPV6_LEN));
		return;
	}
	put16(ip + 2, (uint16_t)(len - tso->ip_off));
	put16(ip + 4, (uint16_t)(get16(ip + 4) + index));
	put16(ip + 10, 0);
	put16(ip + 10, (uint16_t)~net_fold(net_sum(ip, iplen, 0)));
}

static void
fix_l4(uint8_t *seg, size_t len, const struct net_tso *tso, size_t done,
    bool first, bool last)
{
	uint8_t *field, *l4;
	uint64_t sum;
	size_t l4len;
	uint16_t csum;

	l4 = seg + tso->l4_off;
	l4len = len - tso->l4_off;
	if (tso->tcp) {
		put32(l4 + 4, get32(l4 + 4) + (uint32_t)done);
		if (!first)
			l4[13] &= (uint8_t)~TH_CWR;
		if (!last)
			l4[13] &= (uint8_t) ~(TH_FIN | TH_PSH);
	} else {
		put16(l4 + 4, (uint16_t)l4len);
	}
	field = l4 + (tso->tcp ? TCP_CSUM : UDP_CSUM);
	put16(field, 0);
	sum = (tso->tcp ? IPPROTO_TCP_ : IPPROTO_UDP_) + (uint64_t)l4len;
	if (tso->ipv6)
		sum = net_sum(seg + tso->ip_off + 8, 32, sum);
	else
		sum = net_sum(seg + tso->ip_off + 12, 8, sum);
	csum = (uint16_t)~net_fold(net_sum(l4, l4len, sum));
	put16(field, csum == 0 && !tso->tcp ? 0xffff : csum);
}

int
net_segment(const uint8_t *frame, size_t len, const struct net_tso *tso,
    uint8_t *segbuf, size_t segcap, net_emit_t emit, void *arg)
{
	size_t chunk, done, payload;
	int count;

	if (!tso_fits(tso, len, segcap))
		return (-1);
	payload = len - tso->hdr_len;
	done = 0;
	count = 0;
	do {
		chunk = payload - done < tso->mss ? payload - done : tso->mss;
		memcpy(segbuf, frame, tso->hdr_len);
		memcpy(
		    segbuf + tso->hdr_len, frame + tso->hdr_len + done, chunk);
		fix_ip(segbuf, tso->hdr_len + chunk, tso, count);
		fix_l4(segbuf, tso->hdr_len + chunk, tso, done, done == 0,
		    done + chunk == payload);
		if (emit(arg, segbuf, tso->hdr_len + chunk) != 0)
			break;
		count++;
		done += chunk;
	} while (done < payload);
	return (count);
}
