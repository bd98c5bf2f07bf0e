/*
 * Network back ends: choosing one, frames on their way in through one
 * buffer, and the offloads that a back end itself cannot do.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "debug.h"
#include "net_local.h"
#include "pci_emul.h"

SET_DECLARE(net_backend_set, const struct net_backend_ops);

/* What net_offload.c does for a back end without offloads of its own. */
#define SOFT_CAPS \
	(VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6)
#define RX_SIZE (VNET_HDR_LEN + NET_FRAME_MAX)

/* ---- configuration ---- */

int
netbe_legacy_config(nvlist_t *nvl, const char *opts)
{
	const char *comma;
	char *backend;
	size_t len;
	int error;

	if (opts == NULL || *opts == '\0')
		return (0);
	comma = strchr(opts, ',');
	len = comma != NULL ? (size_t)(comma - opts) : strlen(opts);
	if (memchr(opts, '=', len) != NULL)
		return (pci_parse_legacy_config(nvl, opts) != 0 ? -1 : 0);
	backend = strndup(opts, len);
	if (backend == NULL)
		return (-1);
	error = set_config_value_node(nvl, "backend", backend);
	free(backend);
	if (error == 0 && comma != NULL)
		error = pci_parse_legacy_config(nvl, comma + 1);
	return (error != 0 ? -1 : 0);
}

static const struct net_backend_ops *
find_ops(const char *type)
{
	const struct net_backend_ops *const *opsp;

	SET_FOREACH(opsp, net_backend_set)
	{
		if (strncmp((*opsp)->nb_prefix, type,
			strlen((*opsp)->nb_prefix)) == 0)
			return (*opsp);
	}
	return (NULL);
}

/* ---- events ---- */

static void
kick_event(int fd, enum ev_type type, void *param)
{
	net_backend_t *be = param;
	uint64_t count;

	if (read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
		be->be_cb(be->be_fd, EVF_READ, be->be_param);
}

static int
add_events(net_backend_t *be)
{
	if (be->be_fd < 0)
		return (0);
	be->be_kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (be->be_kick_fd < 0)
		return (errno);
	be->be_mevp =
	    mevent_add_disabled(be->be_fd, EVF_READ, be->be_cb, be->be_param);
	if (be->be_mevp == NULL)
		return (errno);
	be->be_kickp = mevent_add(be->be_kick_fd, EVF_READ, kick_event, be);
	return (be->be_kickp == NULL ? errno : 0);
}

void
netbe_rx_enable(net_backend_t *be)
{
	uint64_t one = 1;
	ssize_t n;

	if (be == NULL || be->be_mevp == NULL || be->be_dead)
		return;
	mevent_enable(be->be_mevp);
	/* The descriptor says nothing of a frame that is already here. */
	n = write(be->be_kick_fd, &one, sizeof(one));
	(void)n;
}

void
netbe_rx_disable(net_backend_t *be)
{
	if (be != NULL && be->be_mevp != NULL)
		mevent_disable(be->be_mevp);
}

/* ---- life ---- */

static int
open_fd(net_backend_t *be, const char *name, nvlist_t *nvl)
{
	int error;

	if (be->be_first == NULL)
		error = be->be_ops->nb_init(be, name, nvl);
	else
		error = be->be_ops->nb_init_queue(be);
	if (error != 0)
		return (error);
	error = add_events(be);
	if (error != 0)
		EPRINTLN("network backend %s: %s", name, strerror(error));
	return (error);
}

static int
open_backend(net_backend_t **bep, const struct net_backend_ops *ops,
    net_backend_t *first, const char *name, nvlist_t *nvl, net_be_rxeof_t cb,
    void *param)
{
	net_backend_t *be;
	int error;

	if (first != NULL && ops->nb_init_queue == NULL) {
		EPRINTLN("network backend %s: it has one queue only",
		    ops->nb_prefix);
		return (ENOTSUP);
	}
	be = calloc(1, sizeof(*be));
	if (be == NULL) {
		EPRINTLN("network backend %s: out of memory", name);
		return (ENOMEM);
	}
	be->be_ops = ops;
	be->be_first = first;
	be->be_fd = be->be_kick_fd = -1;
	be->be_cb = cb;
	be->be_param = param;
	be->be_rxbuf = calloc(1, RX_SIZE);
	be->be_txbuf = calloc(1, RX_SIZE);
	be->be_segbuf = calloc(1, RX_SIZE);
	if (be->be_rxbuf == NULL || be->be_txbuf == NULL ||
	    be->be_segbuf == NULL) {
		EPRINTLN("network backend %s: out of memory", name);
		error = ENOMEM;
	} else {
		error = open_fd(be, name, nvl);
	}
	if (error != 0) {
		netbe_cleanup(be);
		return (error);
	}
	*bep = be;
	return (0);
}

int
netbe_init(net_backend_t **bep, nvlist_t *nvl, net_be_rxeof_t cb, void *param)
{
	const struct net_backend_ops *ops;
	const char *name, *type;

	*bep = NULL;
	name = get_config_value_node(nvl, "backend");
	type = get_config_value_node(nvl, "type");
	if (name == NULL)
		name = type;
	if (name == NULL)
		return (0);
	ops = find_ops(type != NULL ? type : name);
	/* Any other name may be a bridge's; net_tap.c says if it is not. */
	if (ops == NULL)
		ops = find_ops("bridge");
	return (open_backend(bep, ops, NULL, name, nvl, cb, param));
}

int
netbe_init_queue(
    net_backend_t **bep, net_backend_t *first, net_be_rxeof_t cb, void *param)
{
	*bep = NULL;
	if (first == NULL)
		return (0);
	return (
	    open_backend(bep, first->be_ops, first, "queue", NULL, cb, param));
}

int
netbe_set_active(net_backend_t *be, bool active)
{
	if (be == NULL || be->be_ops->nb_set_active == NULL)
		return (0);
	if (!active)
		netbe_rx_disable(be);
	return (be->be_ops->nb_set_active(be, active));
}

void
netbe_cleanup(net_backend_t *be)
{
	if (be == NULL)
		return;
	/* In this order: the kick's callback uses the other event. */
	if (be->be_kickp != NULL)
		mevent_delete(be->be_kickp);
	if (be->be_mevp != NULL)
		mevent_delete(be->be_mevp);
	if (be->be_kick_fd >= 0)
		close(be->be_kick_fd);
	if (be->be_ops->nb_cleanup != NULL)
		be->be_ops->nb_cleanup(be);
	if (be->be_fd >= 0)
		close(be->be_fd);
	free(be->be_rxbuf);
	free(be->be_txbuf);
	free(be->be_segbuf);
	free(be);
}

uint64_t
netbe_get_cap(const net_backend_t *be)
{
	if (be == NULL)
		return (0);
	if (be->be_hdr_len != 0)
		return (be->be_cap);
	return (SOFT_CAPS | (be->be_trusted_sum ? VIRTIO_NET_F_GUEST_CSUM : 0));
}

int
netbe_set_cap(net_backend_t *be, uint64_t features, size_t vnet_hdr_len)
{
	int error;

	if (be == NULL)
		return (0);
	features &= netbe_get_cap(be);
	error = 0;
	if (be->be_ops->nb_set_cap != NULL)
		error = be->be_ops->nb_set_cap(be, features, vnet_hdr_len);
	if (error != 0)
		return (error);
	be->be_features = features;
	be->be_fe_hdr_len = vnet_hdr_len;
	be->be_rx_len = 0;
	return (0);
}

/* ---- out ---- */

ssize_t
net_sock_send(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	struct msghdr msg = {
		.msg_iov = (struct iovec *)(uintptr_t)iov,
		.msg_iovlen = (size_t)iovcnt,
	};
	struct pollfd pfd = { .fd = be->be_fd, .events = POLLOUT };
	ssize_t n;

	n = sendmsg(be->be_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno == EAGAIN && !be->be_stalled) {
		/* Losing the frame costs a TCP of the guest far more. */
		if (poll(&pfd, 1, NET_STALL_MS) == 1)
			n = sendmsg(
			    be->be_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		be->be_stalled = n < 0;
	} else if (n >= 0) {
		be->be_stalled = false;
	}
	return (n);
}

ssize_t
net_sock_recv(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	struct msghdr msg = {
		.msg_iov = (struct iovec *)(uintptr_t)iov,
		.msg_iovlen = (size_t)iovcnt,
	};

	return (recvmsg(be->be_fd, &msg, MSG_DONTWAIT));
}

/* Up to max bytes from the vector into buf; -1: there are more. */
static ssize_t
gather(const struct iovec *iov, int iovcnt, void *buf, size_t max)
{
	size_t len;
	int i;

	len = 0;
	for (i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len > max - len)
			return (-1);
		memcpy((uint8_t *)buf + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	return ((ssize_t)len);
}

static int
emit_segment(void *arg, uint8_t *frame, size_t len)
{
	net_backend_t *be = arg;
	struct iovec iov = { .iov_base = frame, .iov_len = len };

	return (be->be_ops->nb_send(be, &iov, 1) < 0 && be->be_stalled);
}

/* Do what the header asks for, then send; frame has no header any more. */
static ssize_t
send_offloaded(net_backend_t *be, const struct virtio_net_hdr *hdr,
    uint8_t *frame, size_t len)
{
	struct net_tso tso;
	struct iovec iov;
	int gso;

	if ((hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0 &&
	    !net_finish_csum(frame, len, hdr->csum_start, hdr->csum_offset))
		return (-1);
	gso = hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
	if (gso != VIRTIO_NET_HDR_GSO_NONE && !be->be_big_tcp) {
		if ((gso != VIRTIO_NET_HDR_GSO_TCPV4 &&
			gso != VIRTIO_NET_HDR_GSO_TCPV6) ||
		    !net_parse_tcp(frame, len, &tso))
			return (-1);
		tso.mss = hdr->gso_size;
		if (net_segment(frame, len, &tso, be->be_segbuf, NET_FRAME_MAX,
			emit_segment, be) < 0)
			return (-1);
		return ((ssize_t)len);
	}
	iov.iov_base = frame;
	iov.iov_len = len;
	return (be->be_ops->nb_send(be, &iov, 1));
}

/*
 * The vector without its first skip bytes, at most max entries; the number
 * of entries, 0 if nothing is left, -1 if there is more than the limit.
 */
static int
skip_iov(const struct iovec *iov, int iovcnt, size_t skip, struct iovec *out,
    int max, size_t limit)
{
	size_t total;
	int i, n;

	total = 0;
	n = 0;
	for (i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len <= skip) {
			skip -= iov[i].iov_len;
			continue;
		}
		if (n == max)
			return (-1);
		out[n].iov_base = (uint8_t *)iov[i].iov_base + skip;
		out[n].iov_len = iov[i].iov_len - skip;
		skip = 0;
		if (out[n].iov_len > limit - total)
			return (-1);
		total += out[n++].iov_len;
	}
	return (n);
}

#define SEND_IOV 512

ssize_t
netbe_send(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	struct virtio_net_hdr hdr = { 0 };
	struct iovec out[SEND_IOV];
	uint8_t raw[VNET_HDR_LEN] = { 0 };
	size_t got, part;
	ssize_t len;
	int i, n;

	if (be == NULL)
		return (-1);
	got = 0;
	for (i = 0; i < iovcnt && got < be->be_fe_hdr_len; i++) {
		part = be->be_fe_hdr_len - got;
		if (part > iov[i].iov_len)
			part = iov[i].iov_len;
		memcpy(raw + got, iov[i].iov_base, part);
		got += part;
	}
	n = skip_iov(iov, iovcnt, be->be_fe_hdr_len, out + 1, SEND_IOV - 1,
	    NET_FRAME_MAX);
	if (n <= 0)
		return (-1);
	memcpy(&hdr, raw, sizeof(hdr));
	if (be->be_hdr_len != 0) {
		/* The host reads the copy, which the guest cannot change. */
		out[0].iov_base = raw;
		out[0].iov_len = be->be_hdr_len;
		return (be->be_ops->nb_send(be, out, n + 1));
	}
	if ((hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0 &&
	    hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return (be->be_ops->nb_send(be, out + 1, n));
	len = gather(out + 1, n, be->be_txbuf, NET_FRAME_MAX);
	if (len < ETHER_HDR_LEN)
		return (-1);
	return (send_offloaded(be, &hdr, be->be_txbuf, (size_t)len));
}

/* ---- in ---- */

/* A frame's length, -1 for a runt; 0: none, now or ever. */
static ssize_t
recv_frame(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	ssize_t n;

	if (be->be_fd < 0 || be->be_dead)
		return (0);
	n = be->be_ops->nb_recv(be, iov, iovcnt);
	if (n < 0) {
		be->be_dead = true;
		mevent_disable(be->be_mevp);
		return (0);
	}
	return (n != 0 && (size_t)n < be->be_hdr_len + ETHER_HDR_LEN ? -1 : n);
}

/* The header of a frame that came without one. */
static void
new_hdr(const net_backend_t *be, struct virtio_net_hdr *hdr)
{
	memset(hdr, 0, sizeof(*hdr));
	if ((be->be_features & VIRTIO_NET_F_GUEST_CSUM) != 0)
		hdr->flags = VIRTIO_NET_HDR_F_DATA_VALID;
}

/* Have a frame in be_rxbuf, behind the device's header. */
static void
fill_rx(net_backend_t *be)
{
	struct virtio_net_hdr hdr;
	struct iovec iov;
	size_t room;
	ssize_t n;

	if (be->be_rx_len != 0)
		return;
	/* Both headers end where the frame starts. */
	room = VNET_HDR_LEN - be->be_hdr_len;
	iov.iov_base = be->be_rxbuf + room;
	iov.iov_len = be->be_hdr_len + NET_FRAME_MAX;
	do {
		n = recv_frame(be, &iov, 1);
		if (n == 0)
			return;
	} while (n < 0);
	if (be->be_hdr_len == 0) {
		new_hdr(be, &hdr);
		memcpy(be->be_rxbuf + VNET_HDR_LEN - be->be_fe_hdr_len, &hdr,
		    be->be_fe_hdr_len);
	}
	be->be_rx_len = (size_t)n - be->be_hdr_len + be->be_fe_hdr_len;
}

bool
netbe_rx_waits(const net_backend_t *be)
{
	return (be != NULL && be->be_rx_len != 0);
}

/* Spread len bytes over the vector's beginning, or collect them from it. */
static void
iov_copy(
    const struct iovec *iov, int iovcnt, uint8_t *buf, size_t len, bool to_iov)
{
	size_t part;
	int i;

	for (i = 0; i < iovcnt && len != 0; i++) {
		part = len < iov[i].iov_len ? len : iov[i].iov_len;
		if (to_iov)
			memcpy(iov[i].iov_base, buf, part);
		else
			memcpy(buf, iov[i].iov_base, part);
		buf += part;
		len -= part;
	}
}

/*
 * Behind the buffers stands the place in be_rxbuf where the rest of a longer
 * frame belongs; its head follows from the buffers then.
 */
size_t
netbe_recv_direct(
    net_backend_t *be, const struct iovec *iov, int iovcnt, size_t room)
{
	struct virtio_net_hdr hdr;
	struct iovec in[SEND_IOV + 1];
	size_t len, max, skip;
	ssize_t n;
	uint8_t *frame;
	int cnt;

	if (be == NULL)
		return (0);
	frame = be->be_rxbuf + VNET_HDR_LEN - be->be_fe_hdr_len;
	max = be->be_fe_hdr_len + NET_FRAME_MAX;
	skip = be->be_fe_hdr_len - be->be_hdr_len;
	cnt = -1;
	if (be->be_hdr_len <= be->be_fe_hdr_len && be->be_rx_len == 0)
		cnt = skip_iov(iov, iovcnt, skip, in, SEND_IOV, SIZE_MAX);
	if (cnt <= 0)
		return (netbe_rx_frame(be, &frame));
	if (room < max) {
		in[cnt].iov_base = frame + room;
		in[cnt++].iov_len = max - room;
	}
	do {
		n = recv_frame(be, in, cnt);
		if (n == 0)
			return (0);
	} while (n < 0);
	if (skip != 0) {
		new_hdr(be, &hdr);
		iov_copy(iov, iovcnt, (uint8_t *)&hdr, skip, true);
	}
	len = (size_t)n + skip;
	if (len > room) {
		iov_copy(iov, iovcnt, frame, room, false);
		be->be_rx_len = len;
	}
	return (len);
}

size_t
netbe_rx_frame(net_backend_t *be, uint8_t **frame)
{
	if (be == NULL)
		return (0);
	fill_rx(be);
	*frame = be->be_rxbuf + VNET_HDR_LEN - be->be_fe_hdr_len;
	return (be->be_rx_len);
}

ssize_t
netbe_peek_recvlen(net_backend_t *be)
{
	uint8_t *frame;

	return ((ssize_t)netbe_rx_frame(be, &frame));
}

ssize_t
netbe_recv(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	uint8_t *frame;
	size_t len;

	len = netbe_rx_frame(be, &frame);
	if (len != 0)
		iov_copy(iov, iovcnt, frame, len, true);
	netbe_rx_discard(be);
	return ((ssize_t)len);
}

void
netbe_rx_discard(net_backend_t *be)
{
	if (be != NULL)
		be->be_rx_len = 0;
}

bool
netbe_link_up(const net_backend_t *be)
{
	return (be != NULL && !be->be_dead);
}

/* ---- none: a card without a cable's other end ---- */

static int
none_init(net_backend_t *be, const char *name, nvlist_t *nvl)
{
	return (0);
}

static ssize_t
none_send(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	return (0);
}

static ssize_t
none_recv(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	return (0);
}

static const struct net_backend_ops none_backend = {
	.nb_prefix = "none",
	.nb_help = "none",
	.nb_init = none_init,
	.nb_send = none_send,
	.nb_recv = none_recv,
};
NET_BACKEND_SET(none_backend);
