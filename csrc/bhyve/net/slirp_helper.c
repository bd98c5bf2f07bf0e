/*
 * The process beside the VM that runs libslirp, a user-mode TCP/IP: the
 * guest's network is 10.0.2.0/24, the host 10.0.2.2, the name server
 * 10.0.2.3, and DHCP leases start at 10.0.2.15.
 *
 * libslirp is loaded by name, so that only those who use it need it.  The
 * declarations below are its binary interface (configuration version 1,
 * libslirp 4.1 and later).
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net_local.h"

#define LIBSLIRP "libslirp.so.0"
#define MAX_POLLFDS 2048
#define MAX_TIMERS 8

#define SLIRP_POLL_IN 0x01
#define SLIRP_POLL_OUT 0x02
#define SLIRP_POLL_PRI 0x04
#define SLIRP_POLL_ERR 0x08
#define SLIRP_POLL_HUP 0x10

typedef struct Slirp Slirp;
typedef void (*SlirpTimerCb)(void *opaque);
typedef int (*SlirpAddPollCb)(int fd, int events, void *opaque);
typedef int (*SlirpGetREventsCb)(int idx, void *opaque);

typedef struct SlirpCb {
	ssize_t (*send_packet)(const void *buf, size_t len, void *opaque);
	void (*guest_error)(const char *msg, void *opaque);
	int64_t (*clock_get_ns)(void *opaque);
	void *(*timer_new)(SlirpTimerCb cb, void *cb_opaque, void *opaque);
	void (*timer_free)(void *timer, void *opaque);
	void (*timer_mod)(void *timer, int64_t expire_ms, void *opaque);
	void (*register_poll_fd)(int fd, void *opaque);
	void (*unregister_poll_fd)(int fd, void *opaque);
	void (*notify)(void *opaque);
	void *reserved[8];
} SlirpCb;

typedef struct SlirpConfig {
	uint32_t version;
	int restricted;
	bool in_enabled;
	struct in_addr vnetwork;
	struct in_addr vnetmask;
	struct in_addr vhost;
	bool in6_enabled;
	struct in6_addr vprefix_addr6;
	uint8_t vprefix_len;
	struct in6_addr vhost6;
	const char *vhostname;
	const char *tftp_server_name;
	const char *tftp_path;
	const char *bootfile;
	struct in_addr vdhcp_start;
	struct in_addr vnameserver;
	struct in6_addr vnameserver6;
	const char **vdnssearch;
	const char *vdomainname;
	size_t if_mtu;
	size_t if_mru;
	bool disable_host_loopback;
	bool enable_emu;
	uint64_t reserved[16];
} SlirpConfig;

struct slirp_timer {
	SlirpTimerCb cb;
	void *cb_opaque;
	int64_t expire_ms; /* -1: not running */
	bool used;
};

struct helper {
	int fd;
	bool stalled;
	struct pollfd fds[MAX_POLLFDS];
	int nfds;
	struct slirp_timer timers[MAX_TIMERS];

	Slirp *(*slirp_new)(
	    const SlirpConfig *cfg, const SlirpCb *cb, void *opaque);
	void (*fill)(
	    Slirp *slirp, uint32_t *timeout, SlirpAddPollCb add, void *opaque);
	void (*poll)(Slirp *slirp, int select_error, SlirpGetREventsCb get,
	    void *opaque);
	void (*input)(Slirp *slirp, const uint8_t *pkt, int len);
	int (*add_hostfwd)(Slirp *slirp, int is_udp, struct in_addr haddr,
	    int hport, struct in_addr gaddr, int gport);
};

static void answer(int fd, const char *fmt, ...)
    __attribute__((__format__(printf, 2, 3)));

static void
answer(int fd, const char *fmt, ...)
{
	char text[250];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(text) - 1)
		n = (int)sizeof(text) - 1;
	(void)!send(fd, text, (size_t)n, MSG_NOSIGNAL);
}

/* ---- what libslirp calls ---- */

static ssize_t
cb_send_packet(const void *buf, size_t len, void *opaque)
{
	struct helper *h = opaque;
	struct pollfd pfd = { .fd = h->fd, .events = POLLOUT };
	ssize_t n;

	n = send(h->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno == EAGAIN && !h->stalled) {
		if (poll(&pfd, 1, NET_STALL_MS) == 1)
			n = send(h->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		h->stalled = n < 0;
	} else if (n >= 0) {
		h->stalled = false;
	}
	/* A lost frame is the network's way; an error would end it. */
	return ((ssize_t)len);
}

static void
cb_guest_error(const char *msg, void *opaque)
{
}

static int64_t
cb_clock_get_ns(void *opaque)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec);
}

static void *
cb_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
	struct helper *h = opaque;
	int i;

	for (i = 0; i < MAX_TIMERS; i++) {
		if (!h->timers[i].used) {
			h->timers[i].used = true;
			h->timers[i].cb = cb;
			h->timers[i].cb_opaque = cb_opaque;
			h->timers[i].expire_ms = -1;
			return (&h->timers[i]);
		}
	}
	return (NULL);
}

static void
cb_timer_free(void *timer, void *opaque)
{
	if (timer != NULL)
		((struct slirp_timer *)timer)->used = false;
}

static void
cb_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	if (timer != NULL)
		((struct slirp_timer *)timer)->expire_ms = expire_ms;
}

static void
cb_poll_fd(int fd, void *opaque)
{
}

static void
cb_notify(void *opaque)
{
}

static int
cb_add_poll(int fd, int events, void *opaque)
{
	struct helper *h = opaque;
	short ev;

	if (h->nfds == MAX_POLLFDS)
		return (-1);
	ev = 0;
	if ((events & SLIRP_POLL_IN) != 0)
		ev |= POLLIN;
	if ((events & SLIRP_POLL_OUT) != 0)
		ev |= POLLOUT;
	if ((events & SLIRP_POLL_PRI) != 0)
		ev |= POLLPRI;
	h->fds[h->nfds].fd = fd;
	h->fds[h->nfds].events = ev;
	h->fds[h->nfds].revents = 0;
	return (h->nfds++);
}

static int
cb_get_revents(int idx, void *opaque)
{
	struct helper *h = opaque;
	int revents;
	short ev;

	if (idx < 0 || idx >= h->nfds)
		return (0);
	ev = h->fds[idx].revents;
	revents = 0;
	if ((ev & POLLIN) != 0)
		revents |= SLIRP_POLL_IN;
	if ((ev & POLLOUT) != 0)
		revents |= SLIRP_POLL_OUT;
	if ((ev & POLLPRI) != 0)
		revents |= SLIRP_POLL_PRI;
	if ((ev & POLLERR) != 0)
		revents |= SLIRP_POLL_ERR;
	if ((ev & POLLHUP) != 0)
		revents |= SLIRP_POLL_HUP;
	return (revents);
}

static const SlirpCb callbacks = {
	.send_packet = cb_send_packet,
	.guest_error = cb_guest_error,
	.clock_get_ns = cb_clock_get_ns,
	.timer_new = cb_timer_new,
	.timer_free = cb_timer_free,
	.timer_mod = cb_timer_mod,
	.register_poll_fd = cb_poll_fd,
	.unregister_poll_fd = cb_poll_fd,
	.notify = cb_notify,
};

/* ---- set-up ---- */

static bool
load(struct helper *h)
{
	static const char *const names[] = { "slirp_new", "slirp_pollfds_fill",
		"slirp_pollfds_poll", "slirp_input", "slirp_add_hostfwd" };
	void *lib, *syms[5];
	int i;

	lib = dlopen(LIBSLIRP, RTLD_NOW);
	if (lib == NULL) {
		answer(h->fd,
		    "%s cannot be loaded (Debian: apt install "
		    "libslirp0)",
		    LIBSLIRP);
		return (false);
	}
	for (i = 0; i < 5; i++) {
		syms[i] = dlsym(lib, names[i]);
		if (syms[i] == NULL) {
			answer(h->fd, "%s: no function %s", LIBSLIRP, names[i]);
			return (false);
		}
	}
	memcpy(&h->slirp_new, &syms[0], sizeof(void *));
	memcpy(&h->fill, &syms[1], sizeof(void *));
	memcpy(&h->poll, &syms[2], sizeof(void *));
	memcpy(&h->input, &syms[3], sizeof(void *));
	memcpy(&h->add_hostfwd, &syms[4], sizeof(void *));
	return (true);
}

static struct in_addr
addr(const char *text)
{
	struct in_addr in;

	(void)inet_pton(AF_INET, text, &in);
	return (in);
}

/* "[address]:port" up to the end of the text. */
static bool
parse_end(const char *text, size_t len, struct in_addr *in, int *port)
{
	char buf[64], *colon, *end;
	long num;

	if (len >= sizeof(buf))
		return (false);
	memcpy(buf, text, len);
	buf[len] = '\0';
	colon = strchr(buf, ':');
	if (colon == NULL)
		return (false);
	*colon = '\0';
	if (buf[0] != '\0' && inet_pton(AF_INET, buf, in) != 1)
		return (false);
	num = strtol(colon + 1, &end, 10);
	if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || num < 1 ||
	    num > 65535)
		return (false);
	*port = (int)num;
	return (true);
}

/* One rule, "proto:haddr:hport-gaddr:gport". */
static bool
forward(struct helper *h, Slirp *slirp, const char *rule)
{
	struct in_addr gaddr, haddr;
	const char *dash;
	int gport, hport, udp;

	haddr.s_addr = htonl(INADDR_ANY);
	gaddr = addr("10.0.2.15");
	udp = strncmp(rule, "udp:", 4) == 0;
	dash = strchr(rule, '-');
	if ((!udp && strncmp(rule, "tcp:", 4) != 0) || dash == NULL ||
	    !parse_end(rule + 4, (size_t)(dash - rule - 4), &haddr, &hport) ||
	    !parse_end(dash + 1, strlen(dash + 1), &gaddr, &gport)) {
		answer(h->fd, "invalid hostfwd \"%.160s\"", rule);
		return (false);
	}
	if (h->add_hostfwd(slirp, udp, haddr, hport, gaddr, gport) != 0) {
		answer(h->fd, "hostfwd \"%.160s\": %s", rule, strerror(errno));
		return (false);
	}
	return (true);
}

static Slirp *
set_up(struct helper *h, int open_net, int mtu, const char *hostfwd)
{
	SlirpConfig cfg = { .version = 1 };
	char *rule, *rules, *walk;
	Slirp *slirp;

	cfg.restricted = !open_net;
	cfg.in_enabled = true;
	cfg.vnetwork = addr("10.0.2.0");
	cfg.vnetmask = addr("255.255.255.0");
	cfg.vhost = addr("10.0.2.2");
	cfg.vdhcp_start = addr("10.0.2.15");
	cfg.vnameserver = addr("10.0.2.3");
	/* libslirp may overlook the MSS that the guest's SYN offers, so its
	 * segments must fit the guest's MTU by themselves. */
	cfg.if_mtu = (size_t)mtu;
	cfg.if_mru = (size_t)mtu;
	slirp = h->slirp_new(&cfg, &callbacks, h);
	if (slirp == NULL) {
		answer(h->fd, "slirp_new failed");
		return (NULL);
	}
	rules = walk = strdup(hostfwd);
	while (walk != NULL && (rule = strsep(&walk, ";")) != NULL) {
		if (*rule != '\0' && !forward(h, slirp, rule)) {
			free(rules);
			return (NULL);
		}
	}
	free(rules);
	return (slirp);
}

/* ---- the loop ---- */

/* Frames of the guest; false: the VM has ended. */
static bool
from_guest(struct helper *h, Slirp *slirp, uint8_t *buf)
{
	ssize_t n;
	int i;

	/* So many, then the sockets have their turn again. */
	for (i = 0; i < 64; i++) {
		n = recv(h->fd, buf, NET_FRAME_MAX, MSG_DONTWAIT);
		if (n == 0)
			return (false);
		if (n < 0)
			return (errno == EAGAIN || errno == EINTR);
		if (n >= ETHER_HDR_LEN)
			h->input(slirp, buf, (int)n);
	}
	return (true);
}

static void
run_timers(struct helper *h, uint32_t *timeout)
{
	int64_t left, now;
	int i;

	now = cb_clock_get_ns(NULL) / 1000000;
	for (i = 0; i < MAX_TIMERS; i++) {
		if (!h->timers[i].used || h->timers[i].expire_ms < 0)
			continue;
		left = h->timers[i].expire_ms - now;
		if (left <= 0) {
			h->timers[i].expire_ms = -1;
			h->timers[i].cb(h->timers[i].cb_opaque);
			left = 0;
		}
		if (left < *timeout)
			*timeout = (uint32_t)left;
	}
}

static void
loop(struct helper *h, Slirp *slirp, uint8_t *buf)
{
	uint32_t timeout;
	int n;

	for (;;) {
		h->nfds = 0;
		(void)cb_add_poll(h->fd, SLIRP_POLL_IN, h);
		timeout = 60000;
		h->fill(slirp, &timeout, cb_add_poll, h);
		run_timers(h, &timeout);
		if (timeout > 60000)
			timeout = 60000;
		n = poll(h->fds, (nfds_t)h->nfds, (int)timeout);
		if (n < 0 && errno != EINTR)
			return;
		if (n > 0 && h->fds[0].revents != 0 &&
		    !from_guest(h, slirp, buf))
			return;
		h->poll(slirp, n < 0, cb_get_revents, h);
	}
}

int
bhyve_slirp_helper(int fd, int open_net, int mtu, const char *hostfwd)
{
	struct rlimit no_core = { 0, 0 };
	struct helper *h;
	uint8_t *buf;
	Slirp *slirp;

	prctl(PR_SET_NAME, "bhyve-slirp");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	setrlimit(RLIMIT_CORE, &no_core);
	(void)close_range((unsigned int)fd + 1, ~0U, 0);
	h = calloc(1, sizeof(*h));
	buf = malloc(NET_FRAME_MAX);
	if (h == NULL || buf == NULL) {
		answer(fd, "out of memory");
		free(h);
		free(buf);
		return (1);
	}
	h->fd = fd;
	slirp = load(h) ? set_up(h, open_net, mtu, hostfwd) : NULL;
	if (slirp != NULL) {
		answer(fd, "ok");
		loop(h, slirp, buf);
	}
	free(h);
	free(buf);
	return (slirp == NULL);
}
