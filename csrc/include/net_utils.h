/*
 * Ethernet addresses and options of network devices, and what a card's
 * offload engine does: checksums and cutting TCP into segments.
 */
#ifndef _NET_UTILS_H_
#define _NET_UTILS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

struct pci_devinst;

#define ETHER_ADDR_LEN 6
#define ETHER_HDR_LEN 14
#define ETHER_VLAN_LEN 4
#define ETHER_MIN_LEN 60 /* without the frame check sequence */
#define ETHER_MTU_MIN 46
#define ETHER_MTU_MAX 65535
#define ETHERTYPE_IP 0x0800
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8
#define ETHERTYPE_IPV6 0x86dd

/* The longest frame anywhere: 64 KiB of IP behind an Ethernet header. */
#define NET_FRAME_MAX (65536 + 64)

/* "58:9c:fc:01:02:03"; 0, or EINVAL after one line. */
int net_parsemac(const char *text, uint8_t mac[ETHER_ADDR_LEN]);
/* The address of a device without "mac=": from its slot and the VM's name. */
void net_genmac(const struct pci_devinst *pi, uint8_t mac[ETHER_ADDR_LEN]);
/* The "mac" option of a device's node, or the generated address. */
int net_getmac(
    const struct pci_devinst *pi, nvlist_t *nvl, uint8_t mac[ETHER_ADDR_LEN]);
/* 46 to 65535; 0, or EINVAL after one line. */
int net_parsemtu(const char *text, unsigned int *mtu);
void net_md5(const void *data, size_t len, uint8_t digest[16]);

/* Sum of 16-bit words in network order, not yet folded. */
uint64_t net_sum(const void *data, size_t len, uint64_t sum);
uint16_t net_fold(uint64_t sum);
/*
 * Finish the checksum of [start, len): the field at start + offset holds the
 * pseudo header's sum.  False: the field is not inside the frame.
 */
bool net_finish_csum(uint8_t *frame, size_t len, size_t start, size_t offset);

/* What the segmentation needs to know about the frame. */
struct net_tso {
	size_t ip_off;	/* the IP header */
	size_t l4_off;	/* the TCP or UDP header */
	size_t hdr_len; /* headers altogether, copied to each segment */
	size_t mss;	/* payload of a segment */
	bool ipv6;
	bool tcp;
};
/*
 * Look at the headers of a TCP frame.  False: it is none, or its headers
 * are not whole.  mss is left alone.
 */
bool net_parse_tcp(const uint8_t *frame, size_t len, struct net_tso *tso);

typedef int (*net_emit_t)(void *arg, uint8_t *frame, size_t len);
/*
 * Cut a frame into segments of at most mss bytes of payload; each is built
 * in segbuf (hdr_len + mss bytes or more) and handed to emit, whose non-zero
 * return ends the work.  Lengths, sequence numbers, flags and checksums are
 * each segment's own.  Returns the number of segments; -1: *tso does not fit
 * the frame.
 */
int net_segment(const uint8_t *frame, size_t len, const struct net_tso *tso,
    uint8_t *segbuf, size_t segcap, net_emit_t emit, void *arg);

#endif
