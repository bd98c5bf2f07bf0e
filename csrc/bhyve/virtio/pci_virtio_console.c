/*
 * virtio-console with several ports (Virtual I/O Device specification 1.1,
 * 5.3), each a UNIX stream socket that serves one client at a time.
 *
 * Everything runs under vsc_mtx: queues on vCPU threads, sockets on the event
 * thread.  Neither side outruns the other: a socket is read only while the
 * driver has a buffer and holds the port open; a chain stays with us until
 * the client has taken all of it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bhyverun.h"
#include "debug.h"
#include "iov.h"
#include "mevent.h"
#include "virtio.h"

#define PCIS_SIMPLECOMM_OTHER 0x80
#define VTCON_RINGSZ 64
#define VTCON_MAXPORTS 16
#define VTCON_MAXQ ((VTCON_MAXPORTS + 1) * 2)
#define VTCON_MAXSEGS 64
#define VTCON_CTL_RXQ 2
#define VTCON_CTL_TXQ 3
/* Messages that wait for a buffer of the driver's. */
#define VTCON_MAXMSGS (VTCON_MAXPORTS * 4)
#define VTCON_MAXNAME 64

#define VTCON_F_SIZE (1UL << 0)
#define VTCON_F_MULTIPORT (1UL << 1)
#define VTCON_F_EMERG_WRITE (1UL << 2)
#define VTCON_S_HOSTCAPS \
	(VTCON_F_SIZE | VTCON_F_MULTIPORT | VTCON_F_EMERG_WRITE)

enum vtcon_event {
	VTCON_DEVICE_READY = 0,
	VTCON_DEVICE_ADD = 1,
	VTCON_DEVICE_REMOVE = 2,
	VTCON_PORT_READY = 3,
	VTCON_CONSOLE_PORT = 4,
	VTCON_CONSOLE_RESIZE = 5,
	VTCON_PORT_OPEN = 6,
	VTCON_PORT_NAME = 7
};

struct pci_vtcon_config {
	uint16_t cols;
	uint16_t rows;
	uint32_t max_nr_ports;
	uint32_t emerg_wr;
} __attribute__((__packed__));
_Static_assert(
    sizeof(struct pci_vtcon_config) == 12, "virtio-console configuration");
#define VTCON_CFG_EMERG_WR 8

struct pci_vtcon_control {
	uint32_t id;
	uint16_t event;
	uint16_t value;
} __attribute__((__packed__));

struct pci_vtcon_softc;

struct pci_vtcon_port {
	struct pci_vtcon_softc *vsp_sc;
	int vsp_id;
	bool vsp_enabled;
	bool vsp_guest_open; /* the driver said so */
	char vsp_name[VTCON_MAXNAME];
	char *vsp_path; /* of the socket; ours to remove */
	int vsp_listen_fd;
	int vsp_conn_fd; /* the client, or -1 */
	struct mevent *vsp_listen_event;
	struct mevent *vsp_read_event, *vsp_write_event;
	struct vqueue_info *vsp_rxq, *vsp_txq; /* the driver's view */

	/* A chain of which the client has taken the first vsp_off bytes. */
	bool vsp_held;
	uint16_t vsp_idx;
	int vsp_niov;
	size_t vsp_off;
	struct iovec vsp_iov[VTCON_MAXSEGS];
};

struct pci_vtcon_softc {
	struct virtio_softc vsc_vs;
	struct vqueue_info vsc_queues[VTCON_MAXQ];
	pthread_mutex_t vsc_mtx;
	struct pci_vtcon_config vsc_config;
	bool vsc_ready; /* the driver talks over the control queues */
	struct pci_vtcon_port vsc_ports[VTCON_MAXPORTS];
	struct pci_vtcon_control vsc_msgs[VTCON_MAXMSGS];
	unsigned int vsc_msg_head, vsc_msg_count;
};

/* ---- control messages to the driver ---- */

/* Hand out what waits, as far as there are buffers. */
static void
pci_vtcon_control_flush(struct pci_vtcon_softc *sc)
{
	struct vqueue_info *vq = &sc->vsc_queues[VTCON_CTL_RXQ];
	struct pci_vtcon_control *msg;
	struct iovec iov[VTCON_MAXSEGS];
	const char *name;
	struct vi_req req;
	size_t len;

	while (sc->vsc_msg_count > 0 &&
	    vq_getchain(vq, iov, VTCON_MAXSEGS, &req) > 0) {
		if (req.readable != 0) {
			vq_broken(vq, "receive buffer is not writable");
			break;
		}
		msg = &sc->vsc_msgs[sc->vsc_msg_head];
		len =
		    buf_to_iov(msg, sizeof(*msg), iov, (size_t)req.writable, 0);
		if (msg->event == VTCON_PORT_NAME) {
			name = sc->vsc_ports[msg->id].vsp_name;
			len += buf_to_iov(
			    name, strlen(name), iov, (size_t)req.writable, len);
		}
		vq_relchain(vq, (uint16_t)req.idx, (uint32_t)len);
		sc->vsc_msg_head = (sc->vsc_msg_head + 1) % VTCON_MAXMSGS;
		sc->vsc_msg_count--;
	}
	vq_endchains(vq, 1);
}

static void
pci_vtcon_control_send(
    struct pci_vtcon_softc *sc, int id, enum vtcon_event event, int value)
{
	unsigned int i;

	if (!sc->vsc_ready)
		return;
	if (sc->vsc_msg_count == VTCON_MAXMSGS) {
		GUEST_LOG("%s: driver takes no control messages",
		    sc->vsc_vs.vs_pi->pi_name);
		return;
	}
	i = (sc->vsc_msg_head + sc->vsc_msg_count++) % VTCON_MAXMSGS;
	sc->vsc_msgs[i] = (struct pci_vtcon_control) {
		.id = (uint32_t)id,
		.event = (uint16_t)event,
		.value = (uint16_t)value,
	};
	pci_vtcon_control_flush(sc);
}

/* ---- from the driver to the client ---- */

static void
release_held(struct pci_vtcon_port *port)
{
	if (!port->vsp_held)
		return;
	port->vsp_held = false;
	vq_relchain(port->vsp_txq, port->vsp_idx, 0);
}

/* Write the held chain; false while the client takes no more. */
static bool
write_held(struct pci_vtcon_port *port)
{
	struct iovec rest[VTCON_MAXSEGS];
	struct msghdr msg;
	ssize_t n;

	while (port->vsp_held) {
		memset(&msg, 0, sizeof(msg));
		msg.msg_iov = rest;
		msg.msg_iovlen = seek_iov(
		    port->vsp_iov, (size_t)port->vsp_niov, rest, port->vsp_off);
		if (msg.msg_iovlen == 0 || port->vsp_conn_fd < 0) {
			release_held(port);
			break;
		}
		n = sendmsg(
		    port->vsp_conn_fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			port->vsp_off += (size_t)n;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			mevent_enable(port->vsp_write_event);
			return (false);
		} else if (errno != EINTR) {
			/* The reading side sees that the client is gone. */
			shutdown(port->vsp_conn_fd, SHUT_RDWR);
			mevent_enable(port->vsp_read_event);
			release_held(port);
		}
	}
	return (true);
}

static void
pci_vtcon_port_tx(struct pci_vtcon_port *port)
{
	struct vqueue_info *vq = port->vsp_txq;
	struct vi_req req;

	while (write_held(port)) {
		if (vq_getchain(vq, port->vsp_iov, VTCON_MAXSEGS, &req) <= 0)
			break;
		/* A writable part gets nothing from us. */
		port->vsp_idx = (uint16_t)req.idx;
		port->vsp_niov = req.readable;
		port->vsp_off = 0;
		port->vsp_held = true;
	}
	vq_endchains(vq, 1);
}

/* ---- from the client to the driver ---- */

static void
pci_vtcon_port_close(struct pci_vtcon_port *port)
{
	if (port->vsp_conn_fd < 0)
		return;
	/* On the event thread (or at the end), so nothing is waited for. */
	mevent_delete(port->vsp_write_event);
	mevent_delete(port->vsp_read_event);
	close(port->vsp_conn_fd);
	port->vsp_conn_fd = -1;
	port->vsp_read_event = port->vsp_write_event = NULL;
	release_held(port);
	vq_endchains(port->vsp_txq, 1);
	pci_vtcon_control_send(port->vsp_sc, port->vsp_id, VTCON_PORT_OPEN, 0);
}

/* What the client sent into one buffer; false when there is no more. */
static bool
receive_one(struct pci_vtcon_port *port)
{
	struct iovec iov[VTCON_MAXSEGS];
	struct vi_req req;
	ssize_t n;

	if (vq_getchain(port->vsp_rxq, iov, VTCON_MAXSEGS, &req) <= 0)
		return (false);
	if (req.readable != 0) {
		vq_broken(port->vsp_rxq, "receive buffer is not writable");
		return (false);
	}
	do {
		n = readv(port->vsp_conn_fd, iov, req.writable);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		vq_relchain(port->vsp_rxq, (uint16_t)req.idx, (uint32_t)n);
		return (true);
	}
	vq_retchains(port->vsp_rxq, 1);
	if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
		pci_vtcon_port_close(port);
	return (false);
}

static bool
client_gone(int fd)
{
	ssize_t n;
	char byte;

	n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR));
}

static void
pci_vtcon_sock_rx(int fd, enum ev_type type, void *arg)
{
	struct pci_vtcon_port *port = arg;
	struct pci_vtcon_softc *sc = port->vsp_sc;
	int i;

	pthread_mutex_lock(&sc->vsc_mtx);
	if (port->vsp_conn_fd == fd) {
		if (client_gone(fd)) {
			pci_vtcon_port_close(port);
		} else if (!port->vsp_guest_open ||
		    !vq_has_descs(port->vsp_rxq)) {
			mevent_disable(port->vsp_read_event);
		} else {
			for (i = 0; i < VTCON_RINGSZ && receive_one(port); i++)
				;
			vq_endchains(port->vsp_rxq, 1);
		}
	}
	pthread_mutex_unlock(&sc->vsc_mtx);
}

static void
pci_vtcon_sock_tx(int fd, enum ev_type type, void *arg)
{
	struct pci_vtcon_port *port = arg;
	struct pci_vtcon_softc *sc = port->vsp_sc;

	pthread_mutex_lock(&sc->vsc_mtx);
	if (port->vsp_conn_fd == fd) {
		mevent_disable(port->vsp_write_event);
		pci_vtcon_port_tx(port);
	}
	pthread_mutex_unlock(&sc->vsc_mtx);
}

static void
pci_vtcon_port_open(struct pci_vtcon_port *port, int s)
{
	port->vsp_write_event =
	    mevent_add_disabled(s, EVF_WRITE, pci_vtcon_sock_tx, port);
	port->vsp_read_event = mevent_add(s, EVF_READ, pci_vtcon_sock_rx, port);
	if (port->vsp_write_event == NULL || port->vsp_read_event == NULL) {
		EPRINTLN(
		    "virtio-console: %s: %s", port->vsp_path, strerror(errno));
		if (port->vsp_write_event != NULL)
			mevent_delete(port->vsp_write_event);
		port->vsp_write_event = port->vsp_read_event = NULL;
		close(s);
		return;
	}
	port->vsp_conn_fd = s;
	pci_vtcon_control_send(port->vsp_sc, port->vsp_id, VTCON_PORT_OPEN, 1);
}

/*
 * A client left while nobody looked: the driver has not opened the port, so
 * that what may have come from it is for nobody.
 */
static bool
client_left_early(const struct pci_vtcon_port *port)
{
	struct pollfd pfd = { .fd = port->vsp_conn_fd };

	return (!port->vsp_guest_open && poll(&pfd, 1, 0) == 1 &&
	    (pfd.revents & POLLHUP) != 0);
}

static void
pci_vtcon_sock_accept(int fd, enum ev_type type, void *arg)
{
	struct pci_vtcon_port *port = arg;
	struct pci_vtcon_softc *sc = port->vsp_sc;
	int s;

	s = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (s < 0)
		return;
	pthread_mutex_lock(&sc->vsc_mtx);
	if (port->vsp_conn_fd >= 0 && client_left_early(port))
		pci_vtcon_port_close(port);
	if (port->vsp_conn_fd >= 0) {
		close(s); /* one client at a time */
	} else {
		pci_vtcon_port_open(port, s);
	}
	pthread_mutex_unlock(&sc->vsc_mtx);
}

/* ---- queues ---- */

static struct pci_vtcon_port *
pci_vtcon_vq_to_port(struct pci_vtcon_softc *sc, struct vqueue_info *vq)
{
	int pair;

	/* The pairs are port 0, control, port 1, port 2... */
	pair = vq->vq_num / 2;
	return (&sc->vsc_ports[pair == 0 ? 0 : pair - 1]);
}

static void
pci_vtcon_notify_rx(void *vsc, struct vqueue_info *vq)
{
	struct pci_vtcon_softc *sc = vsc;
	struct pci_vtcon_port *port;

	if (vq->vq_num == VTCON_CTL_RXQ) {
		pci_vtcon_control_flush(sc);
		return;
	}
	port = pci_vtcon_vq_to_port(sc, vq);
	if (port->vsp_enabled && port->vsp_read_event != NULL)
		mevent_enable(port->vsp_read_event);
}

static void
port_ready(struct pci_vtcon_port *port)
{
	struct pci_vtcon_softc *sc = port->vsp_sc;

	pci_vtcon_control_send(sc, port->vsp_id, VTCON_PORT_NAME, 1);
	if (port->vsp_conn_fd >= 0)
		pci_vtcon_control_send(sc, port->vsp_id, VTCON_PORT_OPEN, 1);
}

static void
pci_vtcon_control(
    struct pci_vtcon_softc *sc, const struct pci_vtcon_control *ctrl)
{
	struct pci_vtcon_port *port;
	int i;

	if (ctrl->event == VTCON_DEVICE_READY) {
		sc->vsc_ready = ctrl->value == 1;
		for (i = 0; i < VTCON_MAXPORTS; i++) {
			if (sc->vsc_ports[i].vsp_enabled)
				pci_vtcon_control_send(
				    sc, i, VTCON_DEVICE_ADD, 0);
		}
		return;
	}
	if (ctrl->id >= VTCON_MAXPORTS ||
	    !sc->vsc_ports[ctrl->id].vsp_enabled) {
		GUEST_LOG("%s: control message %u for port %u ignored",
		    sc->vsc_vs.vs_pi->pi_name, ctrl->event, ctrl->id);
		return;
	}
	port = &sc->vsc_ports[ctrl->id];
	switch (ctrl->event) {
	case VTCON_PORT_READY:
		if (ctrl->value == 1)
			port_ready(port);
		break;
	case VTCON_PORT_OPEN:
		port->vsp_guest_open = ctrl->value != 0;
		if (port->vsp_guest_open && port->vsp_read_event != NULL)
			mevent_enable(port->vsp_read_event);
		break;
	default:
		break;
	}
}

static void
pci_vtcon_notify_tx(void *vsc, struct vqueue_info *vq)
{
	struct pci_vtcon_softc *sc = vsc;
	struct pci_vtcon_control ctrl;
	struct iovec iov[VTCON_MAXSEGS];
	struct vi_req req;

	if (vq->vq_num != VTCON_CTL_TXQ) {
		pci_vtcon_port_tx(pci_vtcon_vq_to_port(sc, vq));
		return;
	}
	while (vq_getchain(vq, iov, VTCON_MAXSEGS, &req) > 0) {
		if (iov_to_buf(iov, (size_t)req.readable, 0, &ctrl,
			sizeof(ctrl)) == sizeof(ctrl))
			pci_vtcon_control(sc, &ctrl);
		vq_relchain(vq, (uint16_t)req.idx, 0);
	}
	vq_endchains(vq, 1);
}

/* ---- the device ---- */

static void
pci_vtcon_reset(void *vsc)
{
	struct pci_vtcon_softc *sc = vsc;
	int i;

	sc->vsc_ready = false;
	sc->vsc_msg_head = sc->vsc_msg_count = 0;
	for (i = 0; i < VTCON_MAXPORTS; i++) {
		sc->vsc_ports[i].vsp_guest_open = false;
		sc->vsc_ports[i].vsp_held = false;
	}
	vi_reset_dev(&sc->vsc_vs);
}

static int
pci_vtcon_cfgread(void *vsc, int offset, int size, uint32_t *retval)
{
	struct pci_vtcon_softc *sc = vsc;

	memcpy(retval, (uint8_t *)&sc->vsc_config + offset, (size_t)size);
	return (0);
}

/* A byte at a time for a driver that is in trouble. */
static int
pci_vtcon_cfgwrite(void *vsc, int offset, int size, uint32_t val)
{
	struct pci_vtcon_softc *sc = vsc;
	struct pci_vtcon_port *port = &sc->vsc_ports[0];
	uint8_t byte;

	if (offset != VTCON_CFG_EMERG_WR)
		return (-1);
	byte = (uint8_t)val;
	if (port->vsp_conn_fd >= 0)
		(void)send(
		    port->vsp_conn_fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	return (0);
}

static void
pci_vtcon_driver_ok(void *vsc)
{
	struct pci_vtcon_softc *sc = vsc;

	/* Without control messages there is one port, and it is open. */
	if ((sc->vsc_vs.vs_negotiated_caps & VTCON_F_MULTIPORT) == 0) {
		sc->vsc_ports[0].vsp_guest_open = true;
		if (sc->vsc_ports[0].vsp_read_event != NULL)
			mevent_enable(sc->vsc_ports[0].vsp_read_event);
	}
}

static const struct virtio_consts vtcon_vi_consts = {
	.vc_name = "vtcon",
	.vc_nvq = VTCON_MAXQ,
	.vc_cfgsize = sizeof(struct pci_vtcon_config),
	.vc_reset = pci_vtcon_reset,
	.vc_cfgread = pci_vtcon_cfgread,
	.vc_cfgwrite = pci_vtcon_cfgwrite,
	.vc_driver_ok = pci_vtcon_driver_ok,
	.vc_hv_caps = VTCON_S_HOSTCAPS,
};

/* ---- ports from the configuration ---- */

static int
port_failed(const char *path, const char *why)
{
	EPRINTLN("virtio-console: %s: %s", path, why);
	return (-1);
}

static int
port_listen(struct pci_vtcon_port *port, const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct stat sb;
	mode_t mask;
	int error, s;

	if (strlen(path) >= sizeof(sun.sun_path))
		return (port_failed(path, strerror(ENAMETOOLONG)));
	strcpy(sun.sun_path, path);
	/* A socket that an earlier run left behind is in the way. */
	if (lstat(path, &sb) == 0 && S_ISSOCK(sb.st_mode))
		unlink(path);
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return (port_failed(path, strerror(errno)));
	mask = umask(0077);
	error = bind(s, (struct sockaddr *)&sun, sizeof(sun)) != 0 ||
		listen(s, 4) != 0
	    ? errno
	    : 0;
	umask(mask);
	if (error != 0) {
		close(s);
		return (port_failed(path, strerror(error)));
	}
	port->vsp_path = strdup(path);
	port->vsp_listen_fd = s;
	port->vsp_listen_event =
	    mevent_add(s, EVF_READ, pci_vtcon_sock_accept, port);
	if (port->vsp_path == NULL || port->vsp_listen_event == NULL)
		return (port_failed(path, strerror(errno)));
	return (0);
}

static int
add_port(void *arg, const char *id, nvlist_t *node, const char *value)
{
	struct pci_vtcon_softc *sc = arg;
	struct pci_vtcon_port *port;
	const char *name, *path;
	char *end;
	long num;

	num = strtol(id, &end, 10);
	if (*id == '\0' || *end != '\0' || num < 0 || num >= VTCON_MAXPORTS ||
	    node == NULL)
		return (port_failed(id, "invalid port number"));
	name = get_config_value_node(node, "name");
	path = get_config_value_node(node, "path");
	if (name == NULL || path == NULL)
		return (port_failed(id, "port needs a name and a path"));
	if (strlen(name) >= VTCON_MAXNAME)
		return (port_failed(name, "port name is too long"));
	port = &sc->vsc_ports[num];
	strcpy(port->vsp_name, name);
	port->vsp_enabled = true;
	return (port_listen(port, path));
}

static int
pci_vtcon_legacy_config(nvlist_t *nvl, const char *opts)
{
	char *copy, *eq, *tofree, *word, path[32];
	nvlist_t *node;
	int error, i;

	if (opts == NULL)
		return (0);
	copy = tofree = strdup(opts);
	if (copy == NULL)
		return (-1);
	error = 0;
	for (i = 0; error == 0 && (word = strsep(&copy, ",")) != NULL; i++) {
		eq = strchr(word, '=');
		if (eq == NULL) {
			error = port_failed(word, "expected name=path");
			break;
		}
		*eq++ = '\0';
		snprintf(path, sizeof(path), "port.%d", i);
		node = create_relative_config_node(nvl, path);
		if (node == NULL || set_config_value_node(node, "name", word) ||
		    set_config_value_node(node, "path", eq))
			error = -1;
	}
	free(tofree);
	return (error);
}

/*
 * No callback runs after this.  They take vsc_mtx, so it is not held while
 * one is waited for; one that closes the port at this moment has taken the
 * events away, and is done with the port when the lock is free.
 */
static void
pci_vtcon_port_quiet(struct pci_vtcon_port *port)
{
	struct mevent *rd, *wr;
	int fd;

	if (port->vsp_listen_event != NULL)
		mevent_delete(port->vsp_listen_event);
	pthread_mutex_lock(&port->vsp_sc->vsc_mtx);
	rd = port->vsp_read_event;
	wr = port->vsp_write_event;
	fd = port->vsp_conn_fd;
	port->vsp_read_event = port->vsp_write_event = NULL;
	port->vsp_conn_fd = -1;
	pthread_mutex_unlock(&port->vsp_sc->vsc_mtx);
	if (wr != NULL)
		mevent_delete(wr);
	if (rd != NULL)
		mevent_delete(rd);
	if (fd >= 0)
		close(fd);
}

static void
pci_vtcon_free(struct pci_vtcon_softc *sc)
{
	struct pci_vtcon_port *port;
	int i;

	for (i = 0; i < VTCON_MAXPORTS; i++) {
		port = &sc->vsc_ports[i];
		if (port->vsp_sc != NULL)
			pci_vtcon_port_quiet(port);
		if (port->vsp_listen_fd >= 0)
			close(port->vsp_listen_fd);
		if (port->vsp_path != NULL)
			unlink(port->vsp_path);
		free(port->vsp_path);
	}
	vi_softc_cleanup(&sc->vsc_vs);
	pthread_mutex_destroy(&sc->vsc_mtx);
	free(sc);
}

static void
init_ports(struct pci_vtcon_softc *sc)
{
	struct pci_vtcon_port *port;
	int i, q;

	for (i = 0; i < VTCON_MAXPORTS; i++) {
		port = &sc->vsc_ports[i];
		q = i == 0 ? 0 : (i + 1) * 2;
		port->vsp_sc = sc;
		port->vsp_id = i;
		port->vsp_listen_fd = port->vsp_conn_fd = -1;
		port->vsp_rxq = &sc->vsc_queues[q];
		port->vsp_txq = &sc->vsc_queues[q + 1];
	}
	for (i = 0; i < VTCON_MAXQ; i++) {
		sc->vsc_queues[i].vq_qsize = VTCON_RINGSZ;
		sc->vsc_queues[i].vq_notify =
		    i % 2 == 0 ? pci_vtcon_notify_rx : pci_vtcon_notify_tx;
	}
}

static int
pci_vtcon_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	struct pci_vtcon_softc *sc;
	nvlist_t *ports;

	sc = calloc(1, sizeof(*sc));
	if (sc == NULL) {
		EPRINTLN("virtio-console: out of memory");
		return (1);
	}
	pthread_mutex_init(&sc->vsc_mtx, NULL);
	sc->vsc_config.max_nr_ports = VTCON_MAXPORTS;
	sc->vsc_config.cols = 80;
	sc->vsc_config.rows = 25;
	vi_softc_linkup(&sc->vsc_vs, &vtcon_vi_consts, sc, pi, sc->vsc_queues);
	sc->vsc_vs.vs_mtx = &sc->vsc_mtx;
	init_ports(sc);
	vi_set_identity(
	    pi, VIRTIO_DEV_CONSOLE, PCIC_SIMPLECOMM, VIRTIO_ID_CONSOLE);
	/* Subclass 0 is a UART: Linux's serial driver would take it. */
	pci_set_cfgdata8(pi, PCIR_SUBCLASS, PCIS_SIMPLECOMM_OTHER);
	ports = find_relative_config_node(nvl, "port");
	if (vi_intr_init(&sc->vsc_vs, 1, fbsdrun_virtio_msix()) != 0 ||
	    vi_set_io_bar(&sc->vsc_vs, 0) != 0 ||
	    (ports != NULL && walk_config_nodes(ports, add_port, sc) != 0)) {
		pci_vtcon_free(sc);
		return (1);
	}
	return (0);
}

static void
pci_vtcon_cleanup(struct pci_devinst *pi)
{
	vi_quiesce(pi->pi_arg);
	pci_vtcon_free(pi->pi_arg);
}

static const struct pci_devemu pci_de_vcon = {
	.pe_emu = "virtio-console",
	.pe_init = pci_vtcon_init,
	.pe_legacy_config = pci_vtcon_legacy_config,
	.pe_cfgread = vi_pci_cfgread,
	.pe_cfgwrite = vi_pci_cfgwrite,
	.pe_barread = vi_pci_read,
	.pe_barwrite = vi_pci_write,
	.pe_baraddr = vi_pci_baraddr,
	.pe_cleanup = pci_vtcon_cleanup,
};
PCI_EMUL_SET(pci_de_vcon);
