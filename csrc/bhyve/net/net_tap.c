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

/* Attach to the interface; ifr has its name, or a pattern, then its name. */
static int
tun_attach(int fd, struct ifreq *ifr)
{
	ifr->ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	if (ioctl(fd, TUNSETIFF, ifr) == 0)
		return (0);
	if (errno != EINVAL)
		return (errno);
	/* One that was made with several queues wants to hear so. */
	ifr->ifr_flags |= IFF_MULTI_QUEUE;
	return (ioctl(fd, TUNSETIFF, ifr) != 0 ? errno : 0);
}

static int
tap_open(net_backend_t *be, const char *name, bool create, char *ifname)
{
	struct ifreq ifr = { 0 };
	int error, hdrlen;

	if (strlen(name) >= IFNAMSIZ) {
		EPRINTLN("tap %s: the name is too long", name);
		return (EINVAL);
	}
	if (!create && if_nametoindex(name) == 0) {
		EPRINTLN(
		    "tap %s: no such interface (\"create\" makes it)", name);
		return (ENODEV);
	}
	be->be_fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (be->be_fd < 0) {
		error = errno;
		EPRINTLN("tap %s: %s: %s", name, TUN_PATH, strerror(error));
		return (error);
	}
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	error = tun_attach(be->be_fd, &ifr);
	hdrlen = VNET_HDR_LEN;
	if (error == 0 && ioctl(be->be_fd, TUNSETVNETHDRSZ, &hdrlen) != 0)
		error = errno;
	if (error != 0) {
		EPRINTLN("tap %s: %s", name,
		    error == EBUSY ? "in use" : strerror(error));
		return (error);
	}
	memcpy(ifname, ifr.ifr_name, IFNAMSIZ);
	ifname[IFNAMSIZ - 1] = '\0';
	be->be_hdr_len = VNET_HDR_LEN;
	be->be_cap = TAP_CAPS;
	if (ioctl(be->be_fd, TUNSETOFFLOAD, TUN_OFFLOADS) != 0)
		be->be_cap = VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4 |
		    VIRTIO_NET_F_HOST_TSO6;
	/* Until the guest has asked for them. */
	(void)ioctl(be->be_fd, TUNSETOFFLOAD, 0);
	return (0);
}

static int
tap_init(net_backend_t *be, const char *name, nvlist_t *nvl)
{
	char ifname[IFNAMSIZ];
	const char *bridge;
	bool create;
	int error;

	create = get_config_bool_node_default(nvl, "create", false);
	bridge = get_config_value_node(nvl, "bridge");
	error = tap_open(be, name, create, ifname);
	if (error == 0 && bridge != NULL)
		error = bridge_add(bridge, ifname);
	if (error != 0)
		return (error);
	error = if_up(ifname);
	if (error != 0)
		EPRINTLN("tap %s: link up: %s", ifname, strerror(error));
	return (error);
}

static int
bridge_init(net_backend_t *be, const char *name, nvlist_t *nvl)
{
	char ifname[IFNAMSIZ];
	const char *bridge;
	int error;

	bridge = get_config_value_node(nvl, "bridge");
	if (bridge == NULL)
		bridge = name;
	if (!is_bridge(bridge)) {
		EPRINTLN("network backend \"%s\": neither a kind of back end "
			 "nor a bridge",
		    bridge);
		return (EINVAL);
	}
	error = tap_open(be, "tap%d", true, ifname);
	if (error == 0)
		error = bridge_add(bridge, ifname);
	if (error != 0)
		return (error);
	error = if_up(ifname);
	if (error != 0)
		EPRINTLN("tap %s: link up: %s", ifname, strerror(error));
	return (error);
}

static ssize_t
tap_send(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	return (writev(be->be_fd, iov, iovcnt));
}

static ssize_t
tap_recv(net_backend_t *be, void *buf, size_t size)
{
	ssize_t n;

	n = read(be->be_fd, buf, size);
	if (n >= 0)
		return (n);
	/* EIO: the interface is down, which may pass. */
	if (errno == EAGAIN || errno == EINTR || errno == EIO)
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
	if (ioctl(be->be_fd, TUNSETVNETHDRSZ, &hdrlen) != 0)
		return (errno);
	be->be_hdr_len = (size_t)hdrlen;
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

static const struct net_backend_ops tap_backend = {
	.nb_prefix = "tap",
	.nb_help = "tapN[,create][,bridge=NAME]",
	.nb_init = tap_init,
	.nb_send = tap_send,
	.nb_recv = tap_recv,
	.nb_set_cap = tap_set_cap,
};
NET_BACKEND_SET(tap_backend);

static const struct net_backend_ops vmnet_backend = {
	.nb_prefix = "vmnet",
	.nb_help = "vmnetN[,create][,bridge=NAME]",
	.nb_init = tap_init,
	.nb_send = tap_send,
	.nb_recv = tap_recv,
	.nb_set_cap = tap_set_cap,
};
NET_BACKEND_SET(vmnet_backend);

static const struct net_backend_ops bridge_backend = {
	.nb_prefix = "bridge",
	.nb_help = "BRIDGE (a new tap, made its port)",
	.nb_init = bridge_init,
	.nb_send = tap_send,
	.nb_recv = tap_recv,
	.nb_set_cap = tap_set_cap,
};
NET_BACKEND_SET(bridge_backend);
