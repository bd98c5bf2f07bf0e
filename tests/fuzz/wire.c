/*
 * The back end of wire.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "machine.h"
#include "net_local.h"
#include "wire.h"

int wire_fd = -1;
_Atomic unsigned int wire_frames;
uint8_t wire_last[WIRE_FRAME];
size_t wire_last_len;

_Static_assert(WIRE_FRAME == NET_FRAME_MAX + VNET_HDR_LEN, "a frame");

static int
wire_init(net_backend_t *be, const char *name, nvlist_t *nvl)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv) != 0)
		return (errno);
	be->be_fd = sv[0];
	if (wire_fd >= 0)
		close(wire_fd);
	wire_fd = sv[1];
	wire_frames = 0;
	return (0);
}

/* As a tap: the header goes along with every frame, both ways. */
static int
headers_init(net_backend_t *be, const char *name, nvlist_t *nvl)
{
	be->be_cap = VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4 |
	    VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_GUEST_CSUM |
	    VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 |
	    VIRTIO_NET_F_GUEST_ECN;
	be->be_hdr_len = VNET_HDR_LEN;
	return (wire_init(be, name, nvl));
}

static int
headers_init_queue(net_backend_t *be)
{
	be->be_cap = be->be_first->be_cap;
	be->be_hdr_len = VNET_HDR_LEN;
	be->be_fd = fcntl(be->be_first->be_fd, F_DUPFD_CLOEXEC, 0);
	return (be->be_fd < 0 ? errno : 0);
}

static int
headers_set_cap(net_backend_t *be, uint64_t features, size_t hdr_len)
{
	be->be_hdr_len = hdr_len != 0 ? hdr_len : VNET_HDR_LEN;
	return (0);
}

static void
wire_cleanup(net_backend_t *be)
{
	if (be->be_fd >= 0)
		close(be->be_fd);
	be->be_fd = -1;
}

/* Every byte is read; what is sent must fit in a frame. */
static ssize_t
wire_send(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	size_t len = 0;
	int i;

	for (i = 0; i < iovcnt; i++) {
		CHECK(iov[i].iov_len <= NET_FRAME_MAX + VNET_HDR_LEN - len);
		memcpy(wire_last + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	wire_last_len = len;
	wire_frames++;
	return ((ssize_t)len);
}

static ssize_t
wire_recv(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	ssize_t n = net_sock_recv(be, iov, iovcnt);

	return (n < 0 ? 0 : n);
}

static const struct net_backend_ops wire_backend = {
	.nb_prefix = "wire",
	.nb_init = wire_init,
	.nb_cleanup = wire_cleanup,
	.nb_send = wire_send,
	.nb_recv = wire_recv,
};
NET_BACKEND_SET(wire_backend);

static const struct net_backend_ops headers_backend = {
	.nb_prefix = "headers",
	.nb_init = headers_init,
	.nb_init_queue = headers_init_queue,
	.nb_set_cap = headers_set_cap,
	.nb_cleanup = wire_cleanup,
	.nb_send = wire_send,
	.nb_recv = wire_recv,
};
NET_BACKEND_SET(headers_backend);
