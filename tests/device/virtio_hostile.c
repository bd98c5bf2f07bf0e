/*
 * What a hostile driver tries against the virtio transport and its devices,
 * by the rows of hostile.md (V01 to V19, B08, P04).  After each attack the
 * device is reset and has to work.  "ID ok" is said of a row when both
 * register blocks have stood it.
 *
 * Arguments: a folder for scratch files, and seconds of random attacks.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "block_if.h"
#include "config.h"
#include "mevent.h"
#include "virtio_hostile.h"

static char image[256], sockpath[108];
static struct drv drv;
struct drv *const d = &drv;

/* ---- a disk and its good requests ---- */

static void
make_image(const char *dir)
{
	snprintf(image, sizeof(image), "%s/disk.img", dir);
	snprintf(sockpath, sizeof(sockpath), "%s/port", dir);
	drv_make_image(image, DISK_SECTORS);
}

static void
disk(bool modern, bool ro)
{
	set_config_value("dev.path", image);
	if (ro)
		set_config_value("dev.ro", "true");
	set_config_value("virtio.modern", modern ? "true" : "false");
	d->pi = fake_device("virtio-blk");
	d->modern = modern;
	drv_start(d, ~0UL, 1);
}

void
header(uint32_t type, uint64_t sector)
{
	*(struct hdr *)gpa(HDR) = (struct hdr) { type, 0, sector };
	*(uint8_t *)gpa(STATUS) = 0xee;
}

int
submit(void)
{
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	CHECK(drv_wait(d, 0) > 0);
	return (*(uint8_t *)gpa(STATUS));
}

int
request(uint32_t type, uint64_t sector, uint32_t len, uint16_t flags)
{
	header(type, sector);
	drv_set(d, 0, 0, HDR, 16, N, 1);
	drv_set(d, 0, 1, BUF, len, N | flags, 2);
	drv_set(d, 0, 2, STATUS, 1, W, 0);
	return (submit());
}

void
good_read(void)
{
	memset(gpa(BUF), 0xcc, 1024);
	CHECK(request(0, 7, 1024, W) == OK);
	CHECK(((uint8_t *)gpa(BUF))[0] == 7);
	CHECK(((uint8_t *)gpa(BUF))[1023] == 8);
}

void
refused(const char *what)
{
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	if ((drv_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET) == 0) {
		fprintf(stderr, "%s was taken\n", what);
		CHECK(!"refused");
	}
	drv_kick(d, 0);
	drv_start(d, ~0UL, 1);
	good_read();
}

/* A reset has to wait for requests: their memory is the driver's then. */
static void
reset_in_flight(void)
{
	uint8_t *p;
	int fd, i, j;

	fd = open(image, O_RDWR);
	CHECK(fd >= 0 && fsync(fd) == 0);
	for (i = 0; i < 40; i++) {
		/* What is in memory is read before the kick returns. */
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		header(0, 0);
		for (j = 0; j + 2 < d->qsize; j += 3) {
			drv_set(d, 0, j, HDR, 16, N, (uint16_t)(j + 1));
			drv_set(d, 0, j + 1, BUF + j / 3 * 0x4000UL, 0x4000,
			    N | W, (uint16_t)(j + 2));
			drv_set(d, 0, j + 2, STATUS, 1, W, 0);
			drv_push(d, 0, (uint16_t)j);
		}
		drv_kick(d, 0);
		drv_reset(d);
		p = gpa(BUF);
		memset(p, 0x5a, 0xa8000);
		usleep(500);
		for (j = 0; j < 0xa8000; j++)
			CHECK(p[j] == 0x5a);
		drv_start(d, ~0UL, 1);
	}
	close(fd);
	good_read();
}

static void
no_bus_master(void)
{
	pci_set_cfgdata16(d->pi, PCIR_COMMAND, 0);
	header(0, 7);
	drv_set(d, 0, 0, HDR, 16, N, 1);
	drv_set(d, 0, 1, BUF, 512, N | W, 2);
	drv_set(d, 0, 2, STATUS, 1, W, 0);
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	usleep(20000);
	CHECK(*(uint8_t *)gpa(STATUS) == 0xee);
	pci_set_cfgdata16(d->pi, PCIR_COMMAND, PCIM_CMD_BUSMASTEREN);
	drv_start(d, ~0UL, 1);
	good_read();
}

static void
interrupts(void)
{
	int before;

	/* INTx follows the ISR register. */
	good_read();
	usleep(2000);
	CHECK(fake_intx == 1);
	CHECK((d->modern ? bar_in(d->pi, 4, 0x1000, 1)
			 : bar_in(d->pi, 0, 19, 1)) == 1);
	CHECK(fake_intx == 0);
	/* A driver that wants none gets none, and one for what it asked. */
	drv_start(d, ~(VIRTIO_RING_F_EVENT_IDX), 1);
	drv_avail(d, 0)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	good_read();
	usleep(2000);
	CHECK(fake_intx == 0);
	drv_start(d, ~0UL, 1);
	drv_avail(d, 0)->ring[d->qsize] = 1; /* used_event */
	good_read();
	usleep(2000);
	CHECK(fake_intx == 0);
	good_read();
	usleep(2000);
	CHECK(fake_intx == 1);
	/* MSI-X: the queue's vector. */
	drv_start(d, ~0UL, 1);
	d->pi->pi_msix.enabled = true;
	d->pi->pi_msix.table[1].addr = 0xfee00000;
	d->pi->pi_msix.table[1].vector_control = 0;
	bar_out(d->pi, d->modern ? 4 : 0, d->modern ? 26 : 22, 2, 1);
	before = fake_msis;
	good_read();
	usleep(2000);
	CHECK(fake_msis == before + 1);
	d->pi->pi_msix.enabled = false;
}

/* ---- virtio-blk ---- */

static void
disk_requests(bool ro)
{
	uint64_t far[] = { DISK_SECTORS, DISK_SECTORS - 1, 1UL << 53, 1UL << 54,
		1UL << 55, 1UL << 63, ~0UL };
	size_t i;

	for (i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		CHECK(request(0, far[i], 1024, W) == IOERR);
		CHECK(request(1, far[i], 1024, 0) == IOERR);
	}
	CHECK(request(0, 0, 513, W) == IOERR);
	CHECK(request(1, 0, 1, 0) == IOERR);
	memset(gpa(BUF), 9, 512);
	CHECK(request(1, 9, 512, 0) == (ro ? IOERR : OK));
	CHECK(request(0x80000001u, 9, 512, 0) == (ro ? IOERR : OK));
	CHECK(request(2, 0, 512, 0) == UNSUPP);
	CHECK(request(99, 0, 512, W) == UNSUPP);
	CHECK(request(4, 0, 512, W) == OK);
	memset(gpa(BUF), 0xcc, 64);
	CHECK(request(8, 0, 20, W) == OK);
	CHECK(memcmp(gpa(BUF), "BHYVE-", 6) == 0);
	memset(gpa(BUF), 0xcc, 64);
	CHECK(request(8, 0, 3, W) == OK);
	CHECK(memcmp(gpa(BUF), "BHY\xcc", 4) == 0);
	/* The header in pieces, and the status behind the data. */
	header(0, 7);
	drv_set(d, 0, 0, HDR, 5, N, 1);
	drv_set(d, 0, 1, HDR + 5, 11, N, 2);
	drv_set(d, 0, 2, STATUS - 512, 513, W, 0);
	CHECK(submit() == OK);
	CHECK(*(uint8_t *)gpa(STATUS - 1) == 7);
	header(0, 7);
	drv_set(d, 0, 0, HDR, 15, N, 2);
	drv_set(d, 0, 2, STATUS, 1, W, 0);
	CHECK(submit() == IOERR);
}

/* As many pieces as a request may have, and one more. */
static void
disk_pieces(void)
{
	struct vring_desc *t = gpa(TABLE);
	int i, n;

	for (n = BLOCKIF_IOV_MAX; n <= BLOCKIF_IOV_MAX + 1; n++) {
		header(0, 7);
		t[0] = (struct vring_desc) { HDR, 16, N, 1 };
		for (i = 1; i < n; i++)
			t[i] = (struct vring_desc) { BUF + i * 1024UL, 512,
				N | W, (uint16_t)(i + 1) };
		/* The last one ends with the status. */
		t[n] = (struct vring_desc) { STATUS - 512, 513, W, 0 };
		drv_set(d, 0, 0, TABLE, (uint32_t)(n + 1) * 16, I, 0);
		CHECK(submit() == (n > BLOCKIF_IOV_MAX ? IOERR : OK));
	}
}

/* A chain that turns out bad halfway has no effect. */
static void
disk_half_a_chain(void)
{
	memset(gpa(BUF), 0xcc, 512);
	header(0, 7);
	drv_set(d, 0, 0, HDR, 16, N, 1);
	drv_set(d, 0, 1, BUF, 513, N | W, 2);
	drv_set(d, 0, 2, LOW_SIZE, 1, W, 0);
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	CHECK((drv_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
	drv_reset(d);
	CHECK(*(uint8_t *)gpa(BUF) == 0xcc);
	CHECK(*(uint8_t *)gpa(BUF + 512) != OK);
	drv_start(d, ~0UL, 1);
	good_read();
}

static int
range(
    uint32_t type, uint64_t sector, uint32_t num, uint32_t flags, uint32_t len)
{
	struct {
		uint64_t sector;
		uint32_t num, flags;
	} *r = gpa(BUF);

	r->sector = sector;
	r->num = num;
	r->flags = flags;
	return (request(type, 0, len, 0));
}

static int
discard(uint64_t sector, uint32_t num, uint32_t flags, uint32_t len)
{
	return (range(11, sector, num, flags, len));
}

static void
disk_zeroes(bool ro)
{
	int good = ro ? IOERR : OK;

	CHECK(range(13, 64, 8, 0, 16) == good);
	CHECK(range(13, 64, 8, 1, 16) == good);
	CHECK(range(13, 232, 32768, 0, 16) == good);
	CHECK(range(13, 231, 32769, 0, 16) == IOERR);
	CHECK(range(13, DISK_SECTORS, 1, 0, 16) == IOERR);
	CHECK(range(13, ~0UL, 8, 0, 16) == IOERR);
	CHECK(range(13, 1UL << 55, 8, 0, 16) == IOERR);
	CHECK(range(13, 64, 8, 0, 15) == IOERR);
	CHECK(range(13, 64, 8, 0, 17) == IOERR);
	CHECK(ro || range(13, 64, 8, 2, 16) == UNSUPP);
}

static void
disk_discards(void)
{
	if ((drv_features(d) & (1UL << 13)) == 0) {
		CHECK(discard(0, 8, 0, 16) == UNSUPP);
		return;
	}
	CHECK(discard(64, 8, 0, 16) == OK);
	CHECK(discard(64, 0, 0, 16) == OK);
	CHECK(discard(64, 8, 1, 16) == UNSUPP);
	CHECK(discard(64, 8, 0x80000000u, 16) == UNSUPP);
	CHECK(discard(64, 8, 0, 15) == IOERR);
	CHECK(discard(64, 8, 0, 32) == IOERR);
	CHECK(discard(DISK_SECTORS, 1, 0, 16) == IOERR);
	CHECK(discard(232, 32768, 0, 16) == OK);
	CHECK(discard(231, 32769, 0, 16) == IOERR);
	CHECK(discard(0, 0xffffffffu, 0, 16) == IOERR);
	CHECK(discard(~0UL, 8, 0, 16) == IOERR);
	CHECK(discard(1UL << 55, 8, 0, 16) == IOERR);
}

/* ---- virtio-rnd and virtio-console ---- */

/* Push the chain at 0 of a queue, which breaks the device, and start again. */
static void
breaks(int q, int nq)
{
	drv_push(d, q, 0);
	drv_kick(d, q);
	CHECK((drv_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
	drv_start(d, ~0UL, nq);
}

static void
rnd(bool modern)
{
	uint8_t *p = gpa(BUF);

	set_config_value("virtio.modern", modern ? "true" : "false");
	d->pi = fake_device("virtio-rnd");
	d->modern = modern;
	drv_start(d, ~0UL, 1);
	memset(p, 0, 0x100000);
	drv_set(d, 0, 0, BUF, 0x100000, W, 0);
	drv_push(d, 0, 0);
	drv_kick(d, 0);
	CHECK(drv_wait(d, 0) == 0x10000);
	/* That many, and no more. */
	CHECK(memcmp(p + 0x10000, p + 0x11000, 0x1000) == 0);
	CHECK(memcmp(p + 0xf000, p + 0x10000, 0x1000) != 0);
	drv_set(d, 0, 0, BUF, 16, 0, 0);
	breaks(0, 1);
	drv_set(d, 0, 0, LOW_SIZE, 16, W, 0);
	breaks(0, 1);
	/* Half of a chain gets nothing. */
	memset(p, 0xcc, 256);
	drv_set(d, 0, 0, BUF, 128, N | W, 1);
	drv_set(d, 0, 1, LOW_SIZE, 128, W, 0);
	breaks(0, 1);
	CHECK(memcmp(p, p + 128, 128) == 0);
	fake_destroy(d->pi);
}

#define CTL_RX 2
#define CTL_TX 3
#define CON_QUEUES 34
#define REPLIES (BUF + 0x1000)
#define REPLY_ROOM 128

static void
control(uint32_t id, uint16_t event, uint16_t value, uint32_t len)
{
	struct {
		uint32_t id;
		uint16_t event, value;
	} *msg = gpa(BUF);

	msg->id = id;
	msg->event = event;
	msg->value = value;
	drv_set(d, CTL_TX, 0, BUF, len, 0, 0);
	drv_push(d, CTL_TX, 0);
	drv_kick(d, CTL_TX);
	CHECK(drv_wait(d, CTL_TX) == 0);
}

/* How many answers have come since it was asked last. */
static int
replies(void)
{
	uint16_t idx;
	int n;

	idx = __atomic_load_n(&drv_used(d, CTL_RX)->idx, __ATOMIC_ACQUIRE);
	n = (uint16_t)(idx - d->used[CTL_RX]);
	d->used[CTL_RX] = idx;
	return (n);
}

static void
room_for_replies(int n)
{
	int i;

	for (i = 0; i < n; i++) {
		drv_set(d, CTL_RX, i, REPLIES + (uint64_t)i * REPLY_ROOM,
		    REPLY_ROOM, W, 0);
		drv_push(d, CTL_RX, (uint16_t)i);
	}
	drv_kick(d, CTL_RX);
}

static void
console_control(void)
{
	static const uint16_t events[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 0xffff };
	size_t i, j;
	int n;

	for (j = 0; j < 100; j++) { /* nobody reads the answers */
		for (i = 0; i < sizeof(events) / sizeof(events[0]); i++)
			control(0, events[i], 1, 8);
	}
	for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		control(1, events[i], 1, 8);
		control(16, events[i], 1, 8);
		control(0xffffffffu, events[i], 1, 8);
		control(0, events[i], 1, 7);
		control(0, events[i], 1, 0x1000);
	}
	drv_set(d, CTL_RX, 0, BUF, 3, W, 0); /* a short buffer */
	drv_push(d, CTL_RX, 0);
	drv_kick(d, CTL_RX);
	CHECK(drv_wait(d, CTL_RX) == 3);
	/* Of all the answers it has kept a fixed number. */
	room_for_replies(64);
	n = replies();
	CHECK(n > 0 && n < 64);
	/* A message that is cut short says nothing. */
	drv_start(d, ~0UL, CON_QUEUES);
	room_for_replies(60);
	control(0, 0, 1, 8);
	CHECK(replies() == 1);
	control(0, 3, 1, 8);
	CHECK(replies() == 1);
	for (n = 0; n < 8; n++)
		control(0, 3, 1, (uint32_t)(n == 0 ? 1 : n));
	CHECK(replies() == 0);
	/* An answer goes into a good chain or nowhere. */
	drv_start(d, ~0UL, CON_QUEUES);
	memset(gpa(REPLIES), 0xcc, 16);
	control(0, 0, 1, 8);
	drv_set(d, CTL_RX, 0, REPLIES, 8, N | W, 1);
	drv_set(d, CTL_RX, 1, LOW_SIZE, 8, W, 0);
	breaks(CTL_RX, CON_QUEUES);
	CHECK(*(uint8_t *)gpa(REPLIES) == 0xcc);
}

/* A client that has been let in: what goes out in an emergency reaches it. */
static int
client(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char text[512];
	ssize_t n = -1;
	int i, s;

	s = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(sun.sun_path, sockpath);
	CHECK(connect(s, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	for (i = 0; i < 1000 && n < 0; i++) {
		usleep(5000);
		bar_out(
		    d->pi, d->modern ? 4 : 0, d->modern ? 0x2008 : 28, 4, '!');
		n = recv(s, text, sizeof(text), MSG_DONTWAIT);
	}
	CHECK(n > 0);
	return (s);
}

/* Clients that come and go while the driver has not opened the port. */
static void
console_early(void)
{
	int i, s;

	drv_start(d, ~0UL, CON_QUEUES);
	for (i = 0; i < 3; i++) {
		s = client();
		CHECK(send(s, "hello", 5, MSG_NOSIGNAL) == 5);
		usleep(50000);
		close(s);
	}
}

/* Bad chains of a port, with somebody at its other end. */
static void
console_port(void)
{
	char text[16];
	int i, s;

	drv_start(d, ~0UL, CON_QUEUES);
	s = client();
	/* Half of a chain does not reach the client. */
	drv_set(d, 1, 0, BUF, 8, N, 1);
	drv_set(d, 1, 1, LOW_SIZE, 8, 0, 0);
	breaks(1, CON_QUEUES);
	CHECK(recv(s, text, sizeof(text), MSG_DONTWAIT) == -1);
	/* Nor half of one the other way, nor one that cannot be written. */
	for (i = 0; i < 2; i++) {
		control(0, 6, 1, 8); /* open */
		memset(gpa(DATA), 0xcc, 16);
		drv_set(d, 0, 0, DATA, 8, i == 0 ? N | W : 0, 1);
		drv_set(d, 0, 1, LOW_SIZE, 8, W, 0);
		drv_push(d, 0, 0);
		drv_kick(d, 0);
		CHECK(send(s, "hello", 5, MSG_NOSIGNAL) == 5);
		for (int j = 0; j < 2000 && (drv_status(d) & 0x40) == 0; j++)
			usleep(1000);
		CHECK((drv_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
		drv_start(d, ~0UL, CON_QUEUES);
		CHECK(*(uint8_t *)gpa(DATA) == 0xcc);
	}
	close(s);
	usleep(50000);
}

/* A client that does not read, and a reset with its chain held. */
static void
console_held(void)
{
	uint32_t pfn;
	int i, s;

	drv_start(d, ~0UL, CON_QUEUES);
	s = client();
	for (i = 0; i < 8; i++) {
		drv_set(d, 1, i, DATA, 0x100000, 0, 0);
		drv_push(d, 1, (uint16_t)i);
	}
	drv_kick(d, 1);
	usleep(20000);
	if (!d->modern) {
		/* The rings of a chain that is held stay where they are. */
		bar_out(d->pi, 0, 14, 2, 1);
		pfn = bar_in(d->pi, 0, 8, 4);
		CHECK(pfn == RING(1) >> 12);
		bar_out(d->pi, 0, 8, 4, 0);
		CHECK(bar_in(d->pi, 0, 8, 4) == pfn);
		bar_out(d->pi, 0, 8, 4, pfn - 1);
		CHECK(bar_in(d->pi, 0, 8, 4) == pfn);
	}
	drv_start(d, ~0UL, CON_QUEUES);
	close(s);
	usleep(50000);
	drv_set(d, 0, 0, BUF, 16, 0, 0);
	drv_push(d, 0, 0);
	drv_kick(d, 0);
}

static void
console(bool modern)
{
	set_config_value("virtio.modern", modern ? "true" : "false");
	set_config_value("dev.port.0.name", "zero");
	set_config_value("dev.port.0.path", sockpath);
	d->pi = fake_device("virtio-console");
	d->modern = modern;
	drv_start(d, ~0UL, CON_QUEUES);
	console_control();
	console_early();
	console_port();
	console_held();
	fake_destroy(d->pi);
}

#define ROW_SECONDS 90 /* a row that does not end has failed */

static void
stood(int modern, const char *rows)
{
	char copy[128], *id, *rest;

	snprintf(copy, sizeof(copy), "%s", rows);
	for (rest = copy; modern != 0 && (id = strsep(&rest, " ")) != NULL;)
		printf("%s ok\n", id);
	fflush(stdout);
	alarm(ROW_SECONDS);
}

int
main(int argc, char **argv)
{
	int modern, ms;

	CHECK(argc == 3);
	ms = atoi(argv[2]) * 1000 / 6;
	alarm(ROW_SECONDS);
	make_image(argv[1]);
	fake_init();
	CHECK(mevent_init() == 0 && mevent_start() == 0);
	for (modern = 0; modern <= 1; modern++) {
		disk(modern != 0, false);
		good_read();
		bad_buffers();
		stood(modern, "V05_huge_len V06_gpa_out");
		bad_chains();
		stood(modern, "V01_chain_loop V04_zero_len V11_direction");
		bad_indirects();
		stood(modern, "V03_indirect_nested");
		huge_total();
		stood(modern, "V02_chain_total");
		bad_indexes();
		stood(modern, "V07_avail_jump V08_dup_head");
		odd_registers();
		if (modern != 0)
			config_window();
		stood(modern, "V18_cfgspace");
		vectors();
		stood(modern, "V19_notify_idx");
		features_stay();
		if (modern != 0)
			modern_order();
		stood(modern, "V09_qsize_change V10_status_fsm");
		rings_move();
		interrupts();
		reset_in_flight();
		no_bus_master();
		disk_requests(false);
		disk_zeroes(false);
		disk_discards();
		stood(modern, "H04_blk_discard");
		disk_pieces();
		disk_half_a_chain();
		fake_destroy(d->pi);
		disk(modern != 0, true);
		CHECK((drv_features(d) & (1UL << 5)) != 0);
		disk_requests(true);
		disk_zeroes(true);
		stood(modern, "V16_blk_req");
		fake_destroy(d->pi);
		rnd(modern != 0);
		stood(modern, "H02_rnd_getchain");
		console(modern != 0);
		stood(
		    modern, "B08_vq_getchain_err V12_ring_move V15_dev_alloc");
		set_config_value("dev.queues", "2");
		attack("virtio-blk", modern != 0, 2, ms, image, sockpath);
		attack("virtio-rnd", modern != 0, 1, ms, image, sockpath);
		attack("virtio-console", modern != 0, 6, ms, image, sockpath);
		stood(modern, "B24_vq_toctou V13_toctou V14_torn");
	}
	mevent_stop();
	printf("done\n");
	return (0);
}
