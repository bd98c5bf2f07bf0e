/*
 * A tap interface of the host, existing or made for the VM's life, alone or
 * as a port of a bridge.  Frames carry the virtio-net header, so the host's
 * network stack does the offloads that the guest negotiates.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_bridge.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "debug.h"
#include "net_local.h"

#define BRIDGE_PORTS 1024
#define TUN_PATH "/dev/net/tun"
#define TUN_OFFLOADS (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)
#define TAP_CAPS                                              \
	(VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM |        \
	    VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 | \
	    VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_GUEST_TSO4 | \
	    VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN)

/* One ioctl on an interface by its name; 0 or an errno. */
static int
if_ioctl(unsigned long cmd, struct ifreq *ifr)
{
	int error, s;

	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return (errno);
	error = ioctl(s, cmd, ifr) != 0 ? errno : 0;
	close(s);
	return (error);
}

static int
if_up(const char *name)
{
	struct ifreq ifr = { 0 };
	int error;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	error = if_ioctl(SIOCGIFFLAGS, &ifr);
	if (error != 0 || (ifr.ifr_flags & IFF_UP) != 0)
		return (error);
	ifr.ifr_flags |= IFF_UP;
	return (if_ioctl(SIOCSIFFLAGS, &ifr));
}

/* sysfs may show another network name space; the driver's name does not. */
static bool
is_bridge(const char *name)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq ifr = { 0 };

	if (strlen(name) >= IFNAMSIZ)
		return (false);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	ifr.ifr_data = (char *)&info;
	return (if_ioctl(SIOCETHTOOL, &ifr) == 0 &&
	    strcmp(info.driver, "bridge") == 0);
}

static bool
is_port(const char *bridge, int ifindex)
{
	int ports[BRIDGE_PORTS] = { 0 };
	unsigned long args[4] = { BRCTL_GET_PORT_LIST,
		(unsigned long)(uintptr_t)ports, BRIDGE_PORTS, 0 };
	struct ifreq ifr = { 0 };
	int i;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", bridge);
	ifr.ifr_data = (char *)args;
	if (if_ioctl(SIOCDEVPRIVATE, &ifr) != 0)
		return (false);
	for (i = 0; i < BRIDGE_PORTS; i++) {
		if (ports[i] == ifindex)
			return (true);
	}
	return (false);
}

/* Make the interface a port of the bridge; 0, or an errno after a line. */
static int
bridge_add(const char *bridge, const char *name)
{
	struct ifreq ifr = { 0 };
	int error, index;

	if (!is_bridge(bridge)) {
		EPRINTLN("bridge %s: no such bridge", bridge);
		return (ENODEV);
	}
	/* A port of this bridge already: that needs no privilege. */
	index = (int)if_nametoindex(name);
	if (is_port(bridge, index))
		return (0);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", bridge);
	ifr.ifr_ifindex = index;
	error = if_ioctl(SIOCBRADDIF, &ifr);
	if (error != 0)
		EPRINTLN(
		    "bridge %s: adding %s: %s", bridge, name, strerror(error));
	return (error);
}

/*
 * Attach to the interface; ifr has its name, or a pattern, then its name.
 * An interface that was made with several queues wants to hear so of each.
 */
static int
tun_attach(int fd, struct ifreq *ifr, bool multi)
{
	ifr->ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	if (!multi) {
		if (ioctl(fd, TUNSETIFF, ifr) == 0)
			return (0);
		if (errno != EINVAL)
			return (errno);
	}
	ifr->ifr_flags |= IFF_MULTI_QUEUE;
	return (ioctl(fd, TUNSETIFF, ifr) != 0 ? errno : 0);
}

/* One queue of an interface, with the virtio-net header. */
static int
tap_open_queue(net_backend_t *be, struct ifreq *ifr, bool multi)
{
	int error, hdrlen;

	be->be_fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (be->be_fd < 0) {
		error = errno;
		EPRINTLN(
		    "tap %s: %s: %s", ifr->ifr_name, TUN_PATH, strerror(error));
		return (error);
	}
	error = tun_attach(be->be_fd, ifr, multi);
	hdrlen = VNET_HDR_LEN;
	if (error == 0 && ioctl(be->be_fd, TUNSETVNETHDRSZ, &hdrlen) != 0)
		error = errno;
	be->be_hdr_len = VNET_HDR_LEN;
	if (error == EBUSY)
		EPRINTLN("tap %s: in use", ifr->ifr_name);
	else if (error == EINVAL && multi)
		EPRINTLN("tap %s: it was made for one queue", ifr->ifr_name);
	else if (error != 0)
		EPRINTLN("tap %s: %s", ifr->ifr_name, strerror(error));
	return (error);
}

/* Open the interface, and make it a port of the bridge unless that is NULL;
 * name is a pattern for one that is made for us. */
static int
tap_open(net_backend_t *be, const char *name, bool create, const char *bridge,
    nvlist_t *nvl)
{
	struct ifreq ifr = { 0 };
	const char *queues;
	char *ifname;
	int error;

	if (strlen(name) >= IFNAMSIZ) {
		EPRINTLN("tap %s: the name is too long", name);
		return (EINVAL);
	}
	if (!create && if_nametoindex(name) == 0) {
		EPRINTLN(
		    "tap %s: no such interface (\"create\" makes it)", name);
		return (ENODEV);
	}
	queues = get_config_value_node(nvl, "queues");
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	error = tap_open_queue(
	    be, &ifr, queues != NULL && strcmp(queues, "1") != 0);
	if (error != 0)
		return (error);
	be->be_cap = TAP_CAPS;
	if (ioctl(be->be_fd, TUNSETOFFLOAD, TUN_OFFLOADS) != 0)
		be->be_cap = VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4 |
		    VIRTIO_NET_F_HOST_TSO6;
	/* Until the guest has asked for them. */
	(void)ioctl(be->be_fd, TUNSETOFFLOAD, 0);
	ifname = be->be_priv = strndup(ifr.ifr_name, IFNAMSIZ - 1);
	if (ifname == NULL) {
		EPRINTLN("tap %s: out of memory", name);
		return (ENOMEM);
	}
	error = bridge != NULL ? bridge_add(bridge, ifname) : 0;
	if (error != 0)
		return (error);
	error = if_up(ifname);
	if (error != 0)
		EPRINTLN("tap %s: link up: %s", ifname, strerror(error));
	return (error);
}

static int
tap_init(net_backend_t *be, const char *name, nvlist_t *nvl)
{
	return (tap_open(be, name,
	    get_config_bool_node_default(nvl, "create", false),
	    get_config_value_node(nvl, "bridge"), nvl));
}

static int
bridge_init(net_backend_t *be, const char *name, nvlist_t *nvl)
{
	const char *bridge;

	bridge = get_config_value_node(nvl, "bridge");
	if (bridge == NULL)
		bridge = name;
	if (!is_bridge(bridge)) {
		EPRINTLN("network backend \"%s\": neither a kind of back end "
			 "nor a bridge",
		    bridge);
		return (EINVAL);
	}
	return (tap_open(be, "tap%d", true, bridge, nvl));
}

static int
tap_init_queue(net_backend_t *be)
{
	struct ifreq ifr = { 0 };
	const char *ifname = be->be_first->be_priv;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	be->be_cap = be->be_first->be_cap;
	return (tap_open_queue(be, &ifr, true));
}

/* Frames are spread over the attached queues only. */
static int
tap_set_active(net_backend_t *be, bool active)
{
	struct ifreq ifr = { .ifr_flags =
				 active ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

	/* EINVAL: so it is already. */
	if (ioctl(be->be_fd, TUNSETQUEUE, &ifr) != 0 && errno != EINVAL)
		return (errno);
	return (0);
}

static void
tap_cleanup(net_backend_t *be)
{
	free(be->be_priv);
}

static ssize_t
tap_send(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	return (writev(be->be_fd, iov, iovcnt));
}

static ssize_t
tap_recv(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	ssize_t n;

	n = readv(be->be_fd, iov, iovcnt);
	if (n >= 0)
		return (n);
	/* EIO: the interface is down, EBADFD: the queue is detached; both may
	 * pass. */
	if (errno == EAGAIN || errno == EINTR || errno == EIO ||
	    errno == EBADFD)
		return (0);
	EPRINTLN(
	    "tap: read: %s; nothing is received any more", strerror(errno));
	return (-1);
}

static int
tap_set_cap(net_backend_t *be, uint64_t features, size_t vnet_hdr_len)
{
	unsigned int offloads;
	int hdrlen;

	hdrlen = vnet_hdr_len != 0 ? (int)vnet_hdr_len : VNET_HDR_LEN;
	be->be_hdr_len = (size_t)hdrlen;
	/* Both are the interface's, and its first queue has set them. */
	if (be->be_first != NULL)
		return (0);
	if (ioctl(be->be_fd, TUNSETVNETHDRSZ, &hdrlen) != 0)
		return (errno);
	offloads = 0;
	if ((features & VIRTIO_NET_F_GUEST_CSUM) != 0) {
		offloads = TUN_F_CSUM;
		if ((features & VIRTIO_NET_F_GUEST_TSO4) != 0)
			offloads |= TUN_F_TSO4;
		if ((features & VIRTIO_NET_F_GUEST_TSO6) != 0)
			offloads |= TUN_F_TSO6;
		if ((features & VIRTIO_NET_F_GUEST_ECN) != 0 &&
		    (offloads & (TUN_F_TSO4 | TUN_F_TSO6)) != 0)
			offloads |= TUN_F_TSO_ECN;
	}
	return (ioctl(be->be_fd, TUNSETOFFLOAD, offloads) != 0 ? errno : 0);
}

#define TAP_BACKEND(name, prefix, help, init)                  \
	static const struct net_backend_ops name##_backend = { \
		.nb_prefix = prefix,                           \
		.nb_help = help,                               \
		.nb_init = init,                               \
		.nb_init_queue = tap_init_queue,               \
		.nb_set_active = tap_set_active,               \
		.nb_cleanup = tap_cleanup,                     \
		.nb_send = tap_send,                           \
		.nb_recv = tap_recv,                           \
		.nb_set_cap = tap_set_cap,                     \
	};                                                     \
	NET_BACKEND_SET(name##_backend)

TAP_BACKEND(tap, "tap", "tapN[,create][,bridge=NAME]", tap_init);
TAP_BACKEND(vmnet, "vmnet", "vmnetN[,create][,bridge=NAME]", tap_init);
TAP_BACKEND(bridge, "bridge", "BRIDGE (a new tap, made its port)", bridge_init);
