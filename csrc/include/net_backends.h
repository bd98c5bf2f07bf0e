/*
 * The host's side of a network device: a tap, user-mode networking, a pair
 * of sockets between two VMs.  A back end is one struct net_backend_ops in
 * the linker set net_backend_set; frames start with the virtio-net header
 * when the device asked for one.
 *
 * The receiving functions are for one thread at a time: the event thread,
 * under the device's lock.  netbe_send() is for one thread at a time, too,
 * which may be another one.  netbe_rx_enable() and -disable() are for any.
 */
#ifndef _NET_BACKENDS_H_
#define _NET_BACKENDS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "config.h"
#include "mevent.h"

typedef struct net_backend net_backend_t;
typedef void (*net_be_rxeof_t)(int fd, enum ev_type type, void *param);

/* Features of virtio-net that a back end may bring. */
#define VIRTIO_NET_F_CSUM (1ULL << 0)	    /* host takes partial sums */
#define VIRTIO_NET_F_GUEST_CSUM (1ULL << 1) /* guest takes them */
#define VIRTIO_NET_F_MTU (1ULL << 3)
#define VIRTIO_NET_F_MAC (1ULL << 5)
#define VIRTIO_NET_F_GUEST_TSO4 (1ULL << 7)
#define VIRTIO_NET_F_GUEST_TSO6 (1ULL << 8)
#define VIRTIO_NET_F_GUEST_ECN (1ULL << 9)
#define VIRTIO_NET_F_HOST_TSO4 (1ULL << 11)
#define VIRTIO_NET_F_HOST_TSO6 (1ULL << 12)
#define VIRTIO_NET_F_HOST_ECN (1ULL << 13)
#define VIRTIO_NET_F_MRG_RXBUF (1ULL << 15)
#define VIRTIO_NET_F_STATUS (1ULL << 16)
#define VIRTIO_NET_F_CTRL_VQ (1ULL << 17)
#define VIRTIO_NET_F_CTRL_RX (1ULL << 18)
#define VIRTIO_NET_F_CTRL_VLAN (1ULL << 19)
#define VIRTIO_NET_F_CTRL_RX_EXTRA (1ULL << 20)
#define VIRTIO_NET_F_MQ (1ULL << 22)
#define VIRTIO_NET_F_CTRL_MAC_ADDR (1ULL << 23)

struct virtio_net_hdr {
	uint8_t flags;
#define VIRTIO_NET_HDR_F_NEEDS_CSUM 1
#define VIRTIO_NET_HDR_F_DATA_VALID 2
	uint8_t gso_type;
#define VIRTIO_NET_HDR_GSO_NONE 0
#define VIRTIO_NET_HDR_GSO_TCPV4 1
#define VIRTIO_NET_HDR_GSO_TCPV6 4
#define VIRTIO_NET_HDR_GSO_ECN 0x80
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
	uint16_t num_buffers; /* merged buffers or VERSION_1 only */
} __attribute__((__packed__));
#define VNET_HDR_LEN_LEGACY 10
#define VNET_HDR_LEN 12

/* The first word as "backend", the rest as name=value.  0 or -1. */
int netbe_legacy_config(nvlist_t *nvl, const char *opts);
/*
 * Open what the node's "backend" and "type" name.  cb is called on the event
 * thread when there may be frames; reception starts disabled.  0, or an
 * errno after one line.
 */
int netbe_init(
    net_backend_t **be, nvlist_t *nvl, net_be_rxeof_t cb, void *param);
/*
 * Whether the device wants several queues ("queues" of its node, 1 without)
 * decides how an interface is opened; each further one is a back end of its
 * own with first's features, closed before it.
 */
int netbe_init_queue(
    net_backend_t **be, net_backend_t *first, net_be_rxeof_t cb, void *param);
/* False: the host sends its frames by other queues, and this one is still. */
int netbe_set_active(net_backend_t *be, bool active);
/* No callback runs any more when it returns.  NULL is allowed; the caller
 * holds no lock that its callback takes. */
void netbe_cleanup(net_backend_t *be);
uint64_t netbe_get_cap(const net_backend_t *be);
/*
 * What the guest took of them, and the length of the header that each frame
 * has on the device's side (0, 10 or 12).  0 or an errno.
 */
int netbe_set_cap(net_backend_t *be, uint64_t features, size_t vnet_hdr_len);
/*
 * One frame.  Frames that are malformed, too long or that the host does not
 * take are dropped, as on a wire.  Returns the bytes sent; -1: dropped.
 */
ssize_t netbe_send(net_backend_t *be, const struct iovec *iov, int iovcnt);
/* Length of the next frame with its header, 0: none is waiting. */
ssize_t netbe_peek_recvlen(net_backend_t *be);
/* The next frame into buffers; what does not fit is lost.  Its length. */
ssize_t netbe_recv(net_backend_t *be, const struct iovec *iov, int iovcnt);
/* The next frame where it is: *frame points to its *len bytes (header
 * included) until netbe_rx_discard().  0: none is waiting. */
size_t netbe_rx_frame(net_backend_t *be, uint8_t **frame);
void netbe_rx_discard(net_backend_t *be);
/* netbe_rx_frame() has one without asking the host. */
bool netbe_rx_waits(const net_backend_t *be);
/*
 * The next frame from the host right into buffers of room bytes in sum, no
 * more than 512.  Its length with its header, 0: none is waiting.  It may
 * wait for netbe_rx_frame() instead, as one that is longer than room does:
 * netbe_rx_waits() tells.
 */
size_t netbe_recv_direct(
    net_backend_t *be, const struct iovec *iov, int iovcnt, size_t room);
/* False once the other side is gone for good. */
bool netbe_link_up(const net_backend_t *be);
void netbe_rx_enable(net_backend_t *be);
void netbe_rx_disable(net_backend_t *be);

#endif
