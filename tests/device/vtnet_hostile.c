/*
 * A driver, good and hostile, against virtio-net's receiving side and its
 * control queue (hostile.md V01 to V20 where they concern it).
 *
 * Argument: seconds of random attacks.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "net_local.h"
#include "virtio_driver.h"

#define N VRING_DESC_F_NEXT
#define W VRING_DESC_F_WRITE
#define BUF (DATA + 0x1000)
#define CMD (DATA + 0x180000)
#define PAIRS 3
#define MQ (1UL << 22)

static struct drv drv, *const d = &drv;
static int ends[PAIRS], wires[PAIRS], nwires;
static bool active[PAIRS];
static uint8_t mac[6];
static _Atomic unsigned long sent;

/* ---- a back end of several queues, each a socket pair ---- */

static int
fake_open(net_backend_t *be)
{
	int sv[2];

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv) == 0);
	be->be_fd = sv[0];
	be->be_priv = (void *)(intptr_t)nwires;
	active[nwires] = true;
	ends[nwires] = sv[0];
	wires[nwires++] = sv[1];
	return (0);
}

static int
fake_init_be(net_backend_t *be, const char *name, nvlist_t *nvl)
{
	nwires = 0;
	return (fake_open(be));
}

static int
fake_active(net_backend_t *be, bool on)
{
	active[(intptr_t)be->be_priv] = on;
	return (0);
}

static ssize_t
fake_send(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	static uint8_t copy[PAIRS][NET_FRAME_MAX + VNET_HDR_LEN];
	size_t len;
	int i;

	len = 0;
	for (i = 0; i < iovcnt; i++) {
		CHECK(iov[i].iov_len <= sizeof(copy[0]) - len);
		memcpy(copy[(intptr_t)be->be_priv] + len, iov[i].iov_base,
		    iov[i].iov_len);
		len += iov[i].iov_len;
	}
	sent++;
	return ((ssize_t)len);
}

static ssize_t
fake_recv(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	ssize_t n;

	n = net_sock_recv(be, iov, iovcnt);
	return (n < 0 ? 0 : n);
}

static const struct net_backend_ops fake_backend = {
	.nb_prefix = "fake",
	.nb_init = fake_init_be,
	.nb_init_queue = fake_open,
	.nb_set_active = fake_active,
	.nb_send = fake_send,
	.nb_recv = fake_recv,
};
NET_BACKEND_SET(fake_backend);

/* ---- the driver's ordinary work ---- */

static void
card(bool modern)
{
	set_config_value("virtio.modern", modern ? "true" : "false");
	set_config_value("dev.backend", "fake");
	set_config_value("dev.queues", "3");
	set_config_value("dev.queue_size", "64");
	set_config_value("dev.mac", "02:00:00:00:00:01");
	d->pi = fake_device("virtio-net");
	d->modern = modern;
	memcpy(mac, "\x02\0\0\0\0\1", 6);
}

static void
uncard(void)
{
	int i;

	fake_destroy(d->pi);
	for (i = 0; i < nwires; i++)
		close(wires[i]);
}

static void
frame(int wire, const uint8_t *dst, int vlan, size_t len)
{
	uint8_t buf[NET_FRAME_MAX];
	size_t i;

	for (i = 0; i < len; i++)
		buf[i] = (uint8_t)(i * 7 + i / 256);
	memcpy(buf, dst, 6);
	buf[12] = buf[13] = 0;
	if (vlan >= 0) {
		buf[12] = 0x81;
		buf[14] = (uint8_t)(vlan >> 8);
		buf[15] = (uint8_t)vlan;
	}
	CHECK(send(wires[wire], buf, len, 0) == (ssize_t)len);
}

/* Wait until the device has taken what was sent. */
static void
settle(void)
{
	uint8_t c;
	int i;

	for (i = 0; i < 4000; i++) {
		if (recv(ends[0], &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
			return;
		usleep(500);
	}
	CHECK(!"taken");
}

/* n chains of one element of len bytes each, one behind the other. */
static void
buffers(int q, int n, uint32_t len)
{
	int i;

	for (i = 0; i < n; i++) {
		drv_set(d, q, i, BUF + (uint64_t)i * len, len, W, 0);
		drv_push(d, q, (uint16_t)i);
	}
	drv_kick(d, q);
}

/* A frame of len bytes has come into chains of size bytes. */
static void
received(int q, size_t len, uint32_t size, size_t hdrlen)
{
	uint8_t *p = gpa(BUF);
	size_t i, left, total;
	int n;

	total = len + hdrlen;
	n = 0;
	for (left = total; left != 0; n++) {
		size_t part = left < size ? left : size;

		CHECK(drv_wait(d, q) == (int64_t)part);
		left -= part;
	}
	if (hdrlen == 12)
		CHECK(p[10] + p[11] * 256 == n);
	for (i = 16; i < len; i++)
		CHECK(p[hdrlen + i] == (uint8_t)(i * 7 + i / 256));
}

/* Class, command, data; the device's answer. */
static int
ctrl(int q, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	uint8_t *p = gpa(CMD);

	p[0] = class;
	p[1] = cmd;
	memcpy(p + 2, data, len);
	p[0x8000] = 0xee;
	drv_set(d, q, 0, CMD, 2, N, 1);
	drv_set(d, q, 1, CMD + 2, len, N, 2);
	drv_set(d, q, 2, CMD + 0x8000, 1, W, 0);
	drv_push(d, q, 0);
	drv_kick(d, q);
	CHECK(drv_wait(d, q) == 1);
	return (p[0x8000]);
}

/* ---- receiving ---- */

/* Buffers of a byte, more than there is room to remember: the queue stops. */
static void
tiny_buffers(void)
{
	struct vring_desc *t = gpa(CMD);
	uint8_t junk[8];
	int i;

	drv_start(d, ~MQ, 3);
	frame(0, mac, -1, 60000);
	for (i = 0; i < 200; i++)
		t[i] = (struct vring_desc) { BUF + (uint64_t)i, 1,
			(uint16_t)(W | (i < 199 ? N : 0)), (uint16_t)(i + 1) };
	for (i = 0; i < 20; i++) {
		drv_set(d, 0, i, CMD, 200 * 16, VRING_DESC_F_INDIRECT, 0);
		drv_push(d, 0, (uint16_t)i);
	}
	drv_kick(d, 0);
	for (i = 0; i < 4000 && (drv_status(d) & 0x40) == 0; i++)
		usleep(1000);
	CHECK((drv_status(d) & 0x40) != 0);
	drv_reset(d);
	(void)!recv(ends[0], junk, sizeof(junk), MSG_DONTWAIT);
}

static void
sizes_of_buffers(void)
{
	uint8_t junk[100];
	static const uint32_t sizes[] = { 1, 7, 11, 12, 13, 100, 1536, 4096 };
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		drv_start(d, ~MQ, 3);
		/* Some before, the others once the frame waits. */
		buffers(0, 10, sizes[i]);
		frame(0, mac, -1, 20 + sizes[i] * 40 % 60000);
		settle();
		drv_start(d, ~MQ, 3);
		buffers(0, 60, sizes[i]);
		frame(0, mac, -1, sizes[i] < 2 ? 40 : sizes[i] * 15);
		received(0, sizes[i] < 2 ? 40 : sizes[i] * 15, sizes[i], 12);
		if (sizes[i] < 100)
			continue;
		/* The rest of the chains takes the next one. */
		drv_start(d, ~MQ, 3);
		buffers(0, 10, sizes[i]);
		frame(0, mac, -1, 60000 % (sizes[i] * 30));
		settle();
		drv_start(d, ~MQ, 3);
		buffers(0, 60, sizes[i]);
		frame(0, mac, -1, 80);
		received(0, 80, sizes[i], 12);
	}
	/* Buffers that come one by one. */
	drv_start(d, ~MQ, 3);
	frame(0, mac, -1, 5000);
	for (i = 0; i < 6; i++) {
		drv_set(d, 0, (int)i, BUF + i * 1000, 1000, W, 0);
		drv_push(d, 0, (uint16_t)i);
		drv_kick(d, 0);
		usleep(1000);
	}
	received(0, 5000, 1000, 12);
	/* Without merged buffers: what does not fit is lost. */
	drv_start(d, ~(MQ | VIRTIO_NET_F_MRG_RXBUF), 3);
	buffers(0, 4, 200);
	frame(0, mac, -1, 300);
	frame(0, mac, -1, 100);
	CHECK(drv_wait(d, 0) == (d->modern ? 112 : 110));
	tiny_buffers();
	/* A buffer of which half is nowhere gets nothing. */
	drv_start(d, ~MQ, 3);
	memset(gpa(BUF), 0xcc, 200);
	drv_set(d, 0, 0, BUF, 100, N | W, 1);
	drv_set(d, 0, 1, LOW_SIZE, 2000, W, 0);
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	frame(0, mac, -1, 80);
	for (i = 0; i < 2000 && (drv_status(d) & 0x40) == 0; i++)
		usleep(1000);
	drv_reset(d);
	CHECK(((uint8_t *)gpa(BUF))[0] == 0xcc);
	CHECK(((uint8_t *)gpa(BUF))[99] == 0xcc);
	(void)!recv(ends[0], junk, sizeof(junk), MSG_DONTWAIT);
	/* Not writable: the queue is broken until a reset. */
	drv_start(d, ~MQ, 3);
	drv_set(d, 0, 0, BUF, 2000, 0, 0);
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	frame(0, mac, -1, 100);
	for (i = 0; i < 2000 && (drv_status(d) & 0x40) == 0; i++)
		usleep(1000);
	CHECK((drv_status(d) & 0x40) != 0);
	drv_reset(d);
	(void)!recv(ends[0], junk, sizeof(junk), MSG_DONTWAIT);
}

/* A frame each way raises one message, plain MSI (-W) or MSI-X. */
static void
messages(bool msix)
{
	int before;

	drv_start(
	    d, ~(MQ | VIRTIO_RING_F_EVENT_IDX | VIRTIO_F_NOTIFY_ON_EMPTY), 3);
	d->pi->pi_msi.enabled = !msix;
	d->pi->pi_msi.addr = 0xfee00000;
	d->pi->pi_msi.maxmsgnum = 1;
	d->pi->pi_msix.enabled = msix;
	d->pi->pi_msix.table[1].addr = 0xfee00000;
	d->pi->pi_msix.table[1].vector_control = 0;
	if (msix) {
		bar_out(d->pi, d->modern ? 4 : 0, d->modern ? 22 : 14, 2, 0);
		bar_out(d->pi, d->modern ? 4 : 0, d->modern ? 26 : 22, 2, 1);
	}
	before = fake_msis;
	buffers(0, 1, 2000);
	frame(0, mac, -1, 100);
	CHECK(drv_wait(d, 0) == 112);
	drv_set(d, 1, 0, BUF, 200, 0, 0);
	drv_push(d, 1, 0);
	drv_kick(d, 1);
	CHECK(drv_wait(d, 1) == 0);
	drv_reset(d); /* no thread is at work any more */
	CHECK(fake_msis == before + (msix ? 1 : 2));
	d->pi->pi_msi.enabled = d->pi->pi_msix.enabled = false;
}

/* ---- the control queue ---- */

static void
passes(int q, const uint8_t *dst, int vlan, bool want)
{
	static const uint8_t mark[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	drv_set(d, q, 0, BUF, 2000, W, 0);
	drv_set(d, q, 1, BUF, 2000, W, 0);
	drv_push(d, q, 0);
	drv_kick(d, q);
	frame(0, dst, vlan, 100);
	frame(0, mark, -1, 77); /* always passes */
	CHECK(drv_wait(d, q) == (want ? 112 : 89));
	if (want) {
		drv_push(d, q, 1);
		drv_kick(d, q);
		CHECK(drv_wait(d, q) == 89);
	}
}

static void
filters(void)
{
	static const uint8_t other[6] = { 2, 9, 9, 9, 9, 9 },
			     third[6] = { 2, 9, 9, 9, 9, 8 },
			     group[6] = { 1, 0, 0x5e, 0, 0, 5 };
	struct {
		uint32_t nuni;
		uint8_t uni[6];
		uint32_t nmulti;
		uint8_t multi[6];
	} __attribute__((__packed__))
	table = { 1, { 2, 9, 9, 9, 9, 9 }, 1, { 1, 0, 0x5e, 0, 0, 5 } };
	static uint8_t big[4 + 300 * 6 + 4];
	uint32_t count;
	uint16_t id;
	int c = 2;

	drv_start(d, ~MQ, 3);
	passes(0, other, -1, true); /* promiscuous at first */
	CHECK(ctrl(c, 0, 0, "\0", 1) == 0);
	passes(0, other, -1, false);
	passes(0, group, -1, false);
	passes(0, mac, -1, true);
	CHECK(ctrl(c, 0, 1, "\1", 1) == 0);
	passes(0, group, -1, true);
	CHECK(ctrl(c, 0, 1, "\0", 1) == 0);
	CHECK(ctrl(c, 1, 0, &table, sizeof(table)) == 0);
	passes(0, other, -1, true);
	passes(0, third, -1, false);
	passes(0, group, -1, true);
	CHECK(ctrl(c, 0, 3, "\1", 1) == 0);
	passes(0, group, -1, false);
	CHECK(ctrl(c, 0, 2, "\1", 1) == 0);
	passes(0, third, -1, true);
	/* A table that is too long is as good as all. */
	CHECK(ctrl(c, 0, 2, "\0", 1) == 0);
	count = 300;
	memcpy(big, &count, 4);
	CHECK(ctrl(c, 1, 0, big, sizeof(big)) == 0);
	passes(0, third, -1, true);
	/* A count that lies. */
	count = 0xffffffffu;
	memcpy(big, &count, 4);
	CHECK(ctrl(c, 1, 0, big, sizeof(big)) == 1);
	CHECK(ctrl(c, 1, 0, &table, 5) == 1);
	/* The address. */
	CHECK(ctrl(c, 1, 1, third, 6) == 0);
	CHECK(ctrl(c, 1, 1, third, 5) == 1);
	/* VLANs: only those that were asked for. */
	passes(0, third, 7, false);
	id = 7;
	CHECK(ctrl(c, 2, 0, &id, 2) == 0);
	passes(0, third, 7, true);
	passes(0, third, 8, false);
	CHECK(ctrl(c, 2, 1, &id, 2) == 0);
	passes(0, third, 7, false);
	id = 4096;
	CHECK(ctrl(c, 2, 0, &id, 2) == 1);
	/* Nonsense. */
	CHECK(ctrl(c, 0, 99, "\1", 1) == 1);
	CHECK(ctrl(c, 99, 0, "\1", 1) == 1);
	CHECK(ctrl(c, 4, 0, "\2\0", 2) == 1); /* MQ was not agreed on */
	drv_set(d, c, 0, CMD, 2, 0, 0);
	drv_push(d, c, 0);
	drv_kick(d, c);
	CHECK((drv_status(d) & 0x40) != 0);
	drv_start(d, ~MQ, 3);
	passes(0, other, -1, true);
}

static void
several_pairs(void)
{
	static const uint16_t bad[] = { 0, PAIRS + 1, 0x8000, 0xffff };
	uint16_t n;
	size_t i;
	int q;

	drv_start(d, ~0UL, PAIRS * 2 + 1);
	CHECK(active[0] && !active[1] && !active[2]);
	for (n = PAIRS; n >= 1; n--) {
		CHECK(ctrl(PAIRS * 2, 4, 0, &n, 2) == 0);
		for (q = 0; q < PAIRS; q++)
			CHECK(active[q] == (q < n));
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(ctrl(PAIRS * 2, 4, 0, &bad[i], 2) == 1);
	CHECK(ctrl(PAIRS * 2, 4, 1, "\1\0", 2) == 1);
	CHECK(ctrl(PAIRS * 2, 4, 0, "\1", 1) == 1);
	n = PAIRS;
	CHECK(ctrl(PAIRS * 2, 4, 0, &n, 2) == 0);
	for (q = 0; q < PAIRS; q++) {
		drv_set(d, q * 2, 0, BUF, 2000, W, 0);
		drv_push(d, q * 2, 0);
		drv_kick(d, q * 2);
		frame(q, mac, -1, 333);
		CHECK(drv_wait(d, q * 2) == 333 + 12);
		drv_set(d, q * 2 + 1, 0, BUF, 200, 0, 0);
		drv_push(d, q * 2 + 1, 0);
		drv_kick(d, q * 2 + 1);
		CHECK(drv_wait(d, q * 2 + 1) == 0);
	}
	drv_reset(d);
	CHECK(active[0] && !active[1] && !active[2]);
}

/* ---- random attacks ---- */

static uint64_t seed = 88172645463325252UL;

static uint32_t
rnd32(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return ((uint32_t)(seed >> 16));
}

static _Atomic bool feeding;

static void *
feeder(void *arg)
{
	static uint8_t junk[NET_FRAME_MAX];
	uint64_t x = 1;
	int w;

	while (feeding) {
		x = x * 6364136223846793005UL + 1442695040888963407UL;
		w = (int)(x >> 60) % PAIRS;
		(void)!send(wires[w], junk,
		    (x >> 33 & 7) == 0 ? (x >> 40) % sizeof(junk) + 1
				       : (x >> 40) % 1600 + 1,
		    MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	return (NULL);
}

static uint64_t
some_address(void)
{
	static const uint64_t base[] = { BUF, CMD, DATA, LOW_SIZE - 64,
		HIGH_BASE, HIGH_BASE + HIGH_SIZE - 64, 0, RING(0), RING(6) };

	return (base[rnd32() % 9] + (rnd32() % 3 == 0 ? rnd32() % 4096 : 0));
}

static void
attack(bool modern, int seconds)
{
	const int nq = PAIRS * 2 + 1;
	struct timespec now, start;
	pthread_t thread;
	uint8_t *cmd;
	int i, q;

	card(modern);
	drv_start(d, ~0UL, nq);
	feeding = true;
	CHECK(pthread_create(&thread, NULL, feeder, NULL) == 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		q = (int)(rnd32() % nq);
		cmd = gpa(CMD);
		for (i = 0; i < 16; i++)
			cmd[i] = (uint8_t)(rnd32() % (i < 2 ? 6 : 256));
		for (i = 0; i < 8; i++)
			drv_set(d, q, i, some_address(),
			    rnd32() % 8 == 0 ? rnd32() : 1 << rnd32() % 12,
			    (uint16_t)(rnd32() % 8 == 0 ? rnd32() & 7
				    : q % 2 == 0	? W
							: rnd32() & N),
			    (uint16_t)(i + 1));
		if (q == nq - 1) {
			drv_set(d, q, 0, CMD, 2 + rnd32() % 14, N, 1);
			drv_set(d, q, 1, CMD + 64, 1, W, 0);
		}
		for (i = (int)(rnd32() % 6); i >= 0; i--)
			drv_push(d, q, (uint16_t)(q == nq - 1 ? 0 : i));
		drv_kick(d, q);
		if (rnd32() % 8 == 0)
			bar_out(d->pi, modern ? 4 : 0, rnd32() % 64,
			    1 << rnd32() % 3, rnd32());
		if ((drv_status(d) & 0x40) != 0 || rnd32() % 32 == 0)
			drv_start(d,
			    rnd32() % 2 == 0 ? ~0UL : ~(uint64_t)rnd32(), nq);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - start.tv_sec < seconds);
	feeding = false;
	pthread_join(thread, NULL);
	drv_reset(d);
	uncard();
}

int
main(int argc, char **argv)
{
	int modern;

	CHECK(argc == 2);
	alarm(60 + 4 * (unsigned int)atoi(argv[1])); /* it ends, or failed */
	fake_init();
	CHECK(mevent_init() == 0 && mevent_start() == 0);
	for (modern = 0; modern <= 1; modern++) {
		card(modern != 0);
		sizes_of_buffers();
		messages(true);
		messages(false);
		filters();
		several_pairs();
		uncard();
		attack(modern != 0, atoi(argv[1]));
	}
	mevent_stop();
	printf("done, %lu frames sent\n", sent);
	return (0);
}
