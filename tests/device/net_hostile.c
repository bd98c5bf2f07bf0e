/*
 * The hostile guest's side of the network devices, against the real code:
 * the rows of hostile.md that concern the e1000 and what a back end is
 * handed, then random registers, descriptors and frames for argv[2] seconds
 * from seed argv[1].  Built with the sanitizers; ends with "ok".
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../support/shared.h"
#include "debug.h"
#include "e82545_local.h"
#include "net_local.h"
#include "vmmapi.h"

#define RAM_SIZE (256 * 1024)
#define TX_RING 0x1000
#define RX_RING 0x2000
#define DATA 0x8000

SET_DECLARE(pci_devemu_set, const struct pci_devemu);

static uint8_t *ram;
static int wire = -1; /* our end of the back end's socket */
static struct pci_devinst pi;
static const struct pci_devemu *de;
static uint64_t rng;
static _Atomic unsigned long sent_frames, sent_bytes;
static _Atomic uint32_t last_frame; /* a sum of it */

/* ---- what the devices call ---- */

void *
vm_map_gpa(struct vmctx *ctx, vm_paddr_t gpa, size_t len)
{
	if (len > RAM_SIZE || gpa > RAM_SIZE - len)
		return (NULL);
	return (ram + gpa);
}

void
vm_dirty_gpa(struct vmctx *ctx, vm_paddr_t gpa, size_t len)
{
	if (vm_map_gpa(ctx, gpa, len) == NULL)
		abort();
}

const char *
vm_get_name(struct vmctx *ctx)
{
	return ("hostile");
}

void
eprintln(const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
}

bool
log_allowed(struct log_bucket *bucket)
{
	return (true);
}

void
pci_lintr_request(struct pci_devinst *p)
{
}

void
pci_lintr_assert(struct pci_devinst *p)
{
}

void
pci_lintr_deassert(struct pci_devinst *p)
{
}

int
pci_emul_alloc_bar(
    struct pci_devinst *p, int idx, enum pcibar_type type, uint64_t size)
{
	return (0);
}

int
pci_parse_legacy_config(nvlist_t *nvl, const char *opt)
{
	return (0);
}

const char *
get_config_value_node(const nvlist_t *parent, const char *name)
{
	return (strcmp(name, "backend") == 0 ? "fake" : NULL);
}

int
set_config_value_node(nvlist_t *parent, const char *name, const char *value)
{
	return (0);
}

/* ---- a back end that reads all it is given ---- */

static int
fake_init(net_backend_t *be, const char *name, nvlist_t *nvl)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv) != 0)
		return (errno);
	be->be_fd = sv[0];
	wire = sv[1];
	return (0);
}

static ssize_t
fake_send(net_backend_t *be, const struct iovec *iov, int iovcnt)
{
	static _Thread_local uint8_t copy[NET_FRAME_MAX + VNET_HDR_LEN];
	size_t len, total;
	uint32_t sum;
	int i;

	len = 0;
	for (i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len > sizeof(copy) - len)
			abort();
		memcpy(copy + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	total = len;
	sent_frames++;
	sent_bytes += len;
	/* A sum that knows of places. */
	for (sum = 0; len-- != 0;)
		sum = sum * 31 + copy[len];
	last_frame = sum;
	return ((ssize_t)total);
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
	.nb_init = fake_init,
	.nb_send = fake_send,
	.nb_recv = fake_recv,
};
NET_BACKEND_SET(fake_backend);

/* ---- the guest's hands ---- */

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng);
}

static void
reg(uint32_t off, uint32_t val)
{
	de->pe_barwrite(&pi, 0, off, 4, val);
}

static uint32_t
get(uint32_t off)
{
	return ((uint32_t)de->pe_barread(&pi, 0, off, 4));
}

static void
desc(int i, uint64_t addr, uint32_t lower, uint32_t upper)
{
	uint8_t *p = ram + TX_RING + i * 16;

	memcpy(p, &addr, 8);
	memcpy(p + 8, &lower, 4);
	memcpy(p + 12, &upper, 4);
}

static void
tx_ring(void)
{
	reg(E1000_TCTL, 0);
	reg(E1000_TDBAL, TX_RING);
	reg(E1000_TDBAH, 0);
	reg(E1000_TDLEN, 128);
	reg(E1000_TDH, 0);
	reg(E1000_TDT, 0);
	reg(E1000_TCTL, E1000_TCTL_EN);
}

/* Send the first n descriptors and wait until they are taken. */
static unsigned long
send_descs(int n)
{
	unsigned long before;
	int i;

	before = sent_frames;
	reg(E1000_TDT, (uint32_t)n);
	for (i = 0; get(E1000_TDH) != (uint32_t)n; i++) {
		if (i == 5000) {
			fprintf(stderr, "the ring stands still\n");
			exit(1);
		}
		usleep(1000);
	}
	return (sent_frames - before);
}

static void
check(const char *row, unsigned long got, unsigned long want)
{
	if (got != want) {
		fprintf(stderr, "%s: %lu frames, not %lu\n", row, got, want);
		exit(1);
	}
}

#define CHECK_SENT(e) check("a frame on the wire", (e) == 60, 1)
#define DATA_CMD (E1000_TXD_CMD_DEXT | E1000_TXD_DTYP_D | E1000_TXD_CMD_RS)

/* A context of TSO (or only checksums) and 1000 bytes of data. */
static unsigned long
tso(uint64_t offsets, uint32_t tucmd, int hdrlen, int mss, uint32_t cmd,
    uint32_t popts, uint32_t len)
{
	tx_ring();
	desc(0, offsets, E1000_TXD_CMD_DEXT | E1000_TXD_DTYP_C | tucmd,
	    (uint32_t)hdrlen << 8 | (uint32_t)mss << 16);
	desc(1, DATA, DATA_CMD | cmd | E1000_TXD_CMD_EOP | len, popts << 8);
	return (send_descs(2));
}

#define OFFSETS(ipcss, ipcso, tucss, tucso)           \
	((uint64_t)(ipcss) | (uint64_t)(ipcso) << 8 | \
	    (uint64_t)(tucss) << 32 | (uint64_t)(tucso) << 40)
#define TCP4 (E1000_TXD_CTX_IP | E1000_TXD_CTX_TCP)

/* What em(4) reads each second of any chip passes without a word. */
static void
quiet_registers(void)
{
	static char text[512];
	FILE *out = stderr;
	uint32_t off;

	stderr = fmemopen(text, sizeof(text), "w");
	for (off = 0x4000; off < 0x4128; off += 4)
		(void)get(off);
	reg(0x5008, 0x10);
	off = get(0x5008);
	fclose(stderr);
	stderr = out;
	check("a quiet register", text[0] != '\0' || off != 0x10, 0);
}

static void
rows(void)
{
	uint64_t good = OFFSETS(14, 24, 34, 50);
	uint32_t sum;
	int i;

	quiet_registers();
	check("tso", tso(good, TCP4, 54, 100, E1000_TXD_CMD_TSE, 3, 1054), 10);
	/* B05 e1000_tso_hdrlen */
	check(
	    "hdrlen 0", tso(good, TCP4, 0, 100, E1000_TXD_CMD_TSE, 3, 1054), 0);
	check("hdrlen 255 of 200",
	    tso(good, TCP4, 255, 100, E1000_TXD_CMD_TSE, 3, 200), 0);
	check("hdrlen before TCP",
	    tso(good, TCP4, 40, 100, E1000_TXD_CMD_TSE, 3, 1054), 0);
	check("tucss before ipcss",
	    tso(OFFSETS(34, 44, 14, 30), TCP4, 54, 100, E1000_TXD_CMD_TSE, 3,
		1054),
	    0);
	/* E02 tx_chain: mss 0; B09 e1000_cksum_off */
	check("mss 0", tso(good, TCP4, 54, 0, E1000_TXD_CMD_TSE, 3, 1054), 0);
	check("cso at the end",
	    tso(OFFSETS(14, 59, 34, 59), TCP4, 0, 0, 0, 3, 60), 0);
	check("css past the end",
	    tso(OFFSETS(61, 24, 255, 50), TCP4, 0, 0, 0, 3, 60), 0);
	check("css at the end",
	    tso(OFFSETS(60, 24, 34, 50), TCP4, 0, 0, 0, 3, 60), 0);
	check("tucss at the end",
	    tso(OFFSETS(14, 24, 60, 50), TCP4, 0, 0, 0, 3, 60), 0);
	check(
	    "cso fits", tso(OFFSETS(14, 58, 34, 58), TCP4, 0, 0, 0, 3, 60), 1);
	/* A sum to an end that is none goes to the frame's. */
	memset(ram + DATA, 0x11, 1200);
	(void)tso(OFFSETS(14, 24, 34, 50), TCP4, 0, 0, 0, 3, 60);
	sum = last_frame;
	memset(ram + DATA, 0x22, 1200);
	(void)tso(OFFSETS(14, 24, 34, 50), TCP4, 0, 0, 0, 3, 1000);
	memset(ram + DATA, 0x11, 1200);
	check("an end past the end",
	    tso(OFFSETS(14, 24, 34, 50) | 900UL << 16 | 900UL << 48, TCP4, 0, 0,
		0, 3, 60),
	    1);
	check("what was summed", last_frame, sum);
	check("an end before the start",
	    tso(OFFSETS(14, 24, 34, 50) | 12UL << 16 | 12UL << 48, TCP4, 0, 0,
		0, 3, 60),
	    0);
	/* More than 64 KiB, data outside of RAM, and no end at all. */
	tx_ring();
	for (i = 0; i < 7; i++)
		desc(i, 0, DATA_CMD | 0x20000, 0);
	check("no EOP", send_descs(7), 0);
	tx_ring();
	desc(0, RAM_SIZE - 10, DATA_CMD | E1000_TXD_CMD_EOP | 60, 0);
	desc(1, ~0ULL - 10, DATA_CMD | E1000_TXD_CMD_EOP | 60, 0);
	desc(2, 0, DATA_CMD | E1000_TXD_CMD_VLE | E1000_TXD_CMD_EOP | 3, 0);
	check("outside", send_descs(3), 0);
	/* Half of a frame is none, whichever half is missing. */
	tx_ring();
	desc(0, DATA, DATA_CMD | 60, 0);
	desc(1, RAM_SIZE, DATA_CMD | E1000_TXD_CMD_EOP | 60, 0);
	desc(2, RAM_SIZE, DATA_CMD | 60, 0);
	desc(3, DATA, DATA_CMD | E1000_TXD_CMD_EOP | 60, 0);
	check("half outside", send_descs(4), 0);
}

/* Eight good frames, at a place of choice. */
static void
good_descs(uint32_t at)
{
	uint64_t addr = DATA;
	uint32_t lower = DATA_CMD | E1000_TXD_CMD_EOP | 60;
	int i;

	for (i = 0; i < 8; i++) {
		memcpy(ram + at + i * 16, &addr, 8);
		memcpy(ram + at + i * 16 + 8, &lower, 4);
		memset(ram + at + i * 16 + 12, 0, 4);
	}
}

/* A card that is off drops what comes; wait until it has. */
static void
wire_is_empty(void)
{
	int i, left = 1;

	for (i = 0; i < 5000 && left != 0; i++) {
		if (ioctl(wire, SIOCOUTQ, &left) != 0)
			exit(1);
		usleep(1000);
	}
	check("frames on the wire", (unsigned long)left, 0);
	(void)get(E1000_RDH); /* and the last one is forgotten */
}

/* E01 head_tail: outside of the ring nothing moves, on either side. */
static void
heads_and_tails(void)
{
	static const uint32_t bad[][2] = { { 0, 8 }, { 0, 0xffff }, { 8, 0 },
		{ 0xffff, 0 }, { 0xffff, 1 }, { 8, 7 }, { 9, 8 } };
	unsigned long before;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		tx_ring();
		good_descs(TX_RING);
		before = sent_frames;
		reg(E1000_TDH, bad[i][0]);
		reg(E1000_TDT, bad[i][1]);
		reg(E1000_RDBAL, RX_RING);
		reg(E1000_RDBAH, 0);
		reg(E1000_RDLEN, 128);
		memset(ram + RX_RING, 0x5a, 0x1000);
		reg(E1000_RDH, bad[i][0]);
		reg(E1000_RDT, bad[i][1]);
		reg(E1000_RCTL, 2 | 8 | 0x8000);
		CHECK_SENT(send(wire, ram, 60, MSG_DONTWAIT));
		usleep(20000);
		check("frames from nowhere", sent_frames - before, 0);
		check("a head that moves", get(E1000_TDH), bad[i][0]);
		check("a head that moves", get(E1000_RDH), bad[i][0]);
		check("a frame to nowhere", ram[RX_RING + 12], 0x5a);
		check("a buffer behind the ring", ram[RX_RING + 128], 0x5a);
		reg(E1000_RCTL, 0);
		wire_is_empty();
	}
	/* A frame that the ring can never hold is lost; the next one is not. */
	reg(E1000_RDH, 0);
	reg(E1000_RDT, 7);
	memset(ram + RX_RING, 0, 0x1000);
	for (i = 0; i < 8; i++)
		memcpy(ram + RX_RING + i * 16, (uint32_t[]) { DATA }, 4);
	reg(E1000_RCTL, 2 | 8 | 0x8000 | 0x20 | 3 << 16); /* 256 bytes each */
	CHECK_SENT(send(wire, ram, 4000, MSG_DONTWAIT) == 4000 ? 60 : 0);
	CHECK_SENT(send(wire, ram, 60, MSG_DONTWAIT));
	for (i = 0; i < 3000 && get(E1000_RDH) != 1; i++)
		usleep(1000);
	check("the frame after it", get(E1000_RDH), 1);
	reg(E1000_RCTL, 0);
	/* A ring of nothing, one of a megabyte, one at the end of it all. */
	tx_ring();
	reg(E1000_TDT, 0xffff);
	reg(E1000_TDH, 0xffff);
	reg(E1000_TDLEN, 0);
	reg(E1000_TDBAH, 0xffffffff);
	reg(E1000_TDLEN, 0xffffffff);
	usleep(20000);
	reg(E1000_CTRL, E1000_CTRL_RST);
}

/* B45 e1000_tdba: it sends already, and its ring goes from place to place. */
static void
rings_that_move(void)
{
	static const uint32_t places[] = { TX_RING, 0x3000, 0x3400, TX_RING };
	unsigned long before;
	uint8_t *old;
	size_t i;
	int j, n;

	tx_ring();
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		good_descs(places[i]);
		before = sent_frames;
		reg(E1000_TDBAL, places[i]);
		reg(E1000_TDBAH, 0);
		reg(E1000_TDH, 0);
		reg(E1000_TDT, 7);
		for (n = 0; n < 3000 && get(E1000_TDH) != 7; n++)
			usleep(1000);
		check("the ring's new place", sent_frames - before, 7);
		reg(E1000_TDH, 0);
		reg(E1000_TDT, 0);
	}
	/* When the register is written, the old place is the driver's. */
	for (i = 0; i < 60; i++) {
		tx_ring();
		desc(0, OFFSETS(14, 24, 34, 50),
		    E1000_TXD_CMD_DEXT | E1000_TXD_DTYP_C | TCP4,
		    54 << 8 | 50 << 16);
		for (j = 1; j < 8; j++)
			desc(j, 0,
			    DATA_CMD | E1000_TXD_CMD_EOP | E1000_TXD_CMD_TSE |
				60000,
			    0);
		reg(E1000_TDT, 7);
		usleep((useconds_t)i * 20);
		reg(E1000_TDBAL, 0x20000);
		old = ram + TX_RING;
		memset(old, 0x5a, 128);
		usleep(2000);
		for (j = 0; j < 128; j++)
			check("a ring that was left", old[j], 0x5a);
	}
	reg(E1000_CTRL, E1000_CTRL_RST);
}

/* V20 net_hdr: headers that ask for what the frame does not have. */
static void
headers(net_backend_t *be)
{
	static const struct {
		const char *what;
		uint8_t flags, gso_type;
		uint16_t hdr_len, gso_size, csum_start, csum_offset;
		size_t len;
		uint8_t off, byte; /* one byte of the frame */
		bool sent;
	} cases[] = {
		{ "plain", 0, 0, 0, 0, 0, 0, 1000, 0, 2, true },
		{ "sum", 1, 0, 0, 0, 34, 16, 1000, 0, 2, true },
		{ "sum to the end", 1, 0, 0, 0, 998, 0, 1000, 0, 2, true },
		{ "sum of nothing", 1, 0, 0, 0, 1000, 0, 1000, 0, 2, false },
		{ "sum past the end", 1, 0, 0, 0, 998, 1, 1000, 0, 2, false },
		{ "sum behind", 1, 0, 0, 0, 1001, 0, 1000, 0, 2, false },
		{ "sum wraps", 1, 0, 0, 0, 0xffff, 0xffff, 1000, 0, 2, false },
		{ "sum offset", 1, 0, 0, 0, 34, 0xffff, 1000, 0, 2, false },
		{ "tso", 1, 1, 54, 100, 34, 16, 1054, 0, 2, true },
		{ "tso of size 0", 1, 1, 54, 0, 34, 16, 1054, 0, 2, false },
		{ "tso of what", 1, 2, 54, 100, 34, 16, 1054, 0, 2, false },
		{ "udp", 1, 3, 54, 100, 34, 16, 1054, 0, 2, false },
		{ "no IP in it", 0, 1, 54, 100, 0, 0, 1054, 12, 0x77, false },
		{ "IP of 5", 0, 1, 54, 100, 0, 0, 1054, 14, 0x55, false },
		{ "no TCP", 0, 1, 54, 100, 0, 0, 1054, 23, 17, false },
		{ "half an IP", 0, 1, 54, 100, 0, 0, 30, 0, 2, false },
		{ "half a TCP", 0, 1, 54, 100, 0, 0, 50, 0, 2, false },
		{ "TCP's options", 0, 1, 54, 100, 0, 0, 56, 46, 0xf0, false },
		{ "IP's options", 0, 1, 54, 100, 0, 0, 60, 14, 0x4f, false },
		{ "no Ethernet", 1, 0, 0, 0, 0, 0, 13, 0, 2, false },
		{ "only tags", 0, 1, 54, 100, 0, 0, 15, 12, 0x81, false },
	};
	static uint8_t buf[12 + NET_FRAME_MAX + 1];
	struct iovec iov[600];
	unsigned long before;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(buf, 0, sizeof(buf));
		buf[0] = cases[i].flags;
		buf[1] = cases[i].gso_type;
		memcpy(buf + 2, &cases[i].hdr_len, 8);
		buf[12 + 12] = 8;
		buf[12 + 14] = 0x45;
		buf[12 + 23] = 6;
		buf[12 + 46] = 0x50;
		buf[12 + cases[i].off] = cases[i].byte;
		iov[0].iov_base = buf;
		iov[0].iov_len = 12 + cases[i].len;
		before = sent_frames;
		(void)netbe_send(be, iov, 1);
		check(cases[i].what, sent_frames != before, cases[i].sent);
	}
	/* As long as a frame may be, and one byte more; in too many pieces. */
	memset(buf, 0, 12);
	for (i = 0; i < 2; i++) {
		iov[0].iov_len = 12 + NET_FRAME_MAX + i;
		before = sent_frames;
		(void)netbe_send(be, iov, 1);
		check("length", sent_frames - before, i == 0);
		buf[0] = 1;
		before = sent_frames;
		(void)netbe_send(be, iov, 1);
		check("length with a sum", sent_frames - before, i == 0);
		buf[0] = 0;
	}
	for (i = 0; i < 600; i++)
		iov[i] = (struct iovec) { buf, 12 };
	before = sent_frames;
	check("pieces", netbe_send(be, iov, 600) < 0, 1);
	check("pieces", sent_frames - before, 0);
}

static void
inject(size_t len)
{
	uint8_t frame[20000];
	size_t i;

	for (i = 0; i < len; i += 8) {
		uint64_t r = rnd();

		memcpy(frame + i, &r, 8);
	}
	memset(frame, 0xff, rnd() & 1 ? 6 : 0);
	if ((rnd() & 3) == 0) {
		frame[12] = 0x81;
		frame[13] = 0;
	} else if ((rnd() & 1) != 0) {
		frame[12] = 8;
		frame[13] = 0;
		frame[14] = (uint8_t)(0x40 | (rnd() & 0xf));
	}
	(void)!send(wire, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void
fuzz_registers(void)
{
	static const uint32_t hot[] = { E1000_TDT, E1000_TDH, E1000_TDLEN,
		E1000_TDBAL, E1000_TDBAH, E1000_RDT, E1000_RDH, E1000_RDLEN,
		E1000_RDBAL, E1000_RDBAH, E1000_RCTL, E1000_TCTL, E1000_CTRL,
		E1000_EECD, E1000_MDIC, E1000_ITR, E1000_IMS, E1000_IMC,
		E1000_ICS, E1000_RXCSUM, E1000_VET };
	uint32_t off, val;

	off = hot[rnd() % (sizeof(hot) / sizeof(hot[0]))];
	if (rnd() % 4 == 0)
		off = (uint32_t)(rnd() % 0x20000) & ~3U;
	val = (uint32_t)rnd();
	if (rnd() % 2 == 0)
		val &= 0xff;
	else if (rnd() % 2 == 0)
		val &= 0xfff0;
	if (off == E1000_TDBAH || off == E1000_RDBAH)
		val &= rnd() % 8 == 0 ? ~0U : 0;
	if (off == E1000_RCTL || off == E1000_TCTL)
		val |= rnd() % 8 == 0 ? 0 : 2;
	if (off == E1000_CTRL && rnd() % 16 != 0)
		val &= ~(uint32_t)E1000_CTRL_RST;
	if (rnd() % 3 == 0)
		(void)get(off);
	else if (rnd() % 16 == 0)
		de->pe_barwrite(&pi, (int)(rnd() % 3), (rnd() % 2) * 4,
		    1 << rnd() % 3, val);
	else
		reg(off, val);
}

static void
fuzz_memory(void)
{
	uint64_t word;
	size_t at;
	int i;

	at = rnd() % (RAM_SIZE / 16) * 16;
	if (rnd() % 2 == 0)
		at = rnd() % 4096 * 16;
	for (i = 0; i < 16 && at < RAM_SIZE; i++, at += 16) {
		word = rnd() % 8 == 0 ? rnd() : rnd() % (RAM_SIZE + 64);
		if (rnd() % 4 == 0)
			word = rnd() & 0x00ff3fff00ff3fffULL; /* a context */
		memcpy(ram + at, &word, 8);
		word = rnd();
		if (rnd() % 2 == 0)
			word &= ~0xfe000ULL;
		memcpy(ram + at + 8, &word, 8);
	}
}

/* V20 net_hdr: what virtio-net hands to a back end without offloads. */
static void
fuzz_headers(net_backend_t *be)
{
	struct iovec iov[4];
	uint8_t *bufs[4], tcp[54] = { 0 };
	int i, n;

	n = 1 + (int)(rnd() % 4);
	for (i = 0; i < n; i++) {
		iov[i].iov_len = rnd() % (rnd() % 4 == 0 ? 70000 : 200);
		bufs[i] = malloc(iov[i].iov_len + 1);
		iov[i].iov_base = bufs[i];
		memset(bufs[i], (int)rnd(), iov[i].iov_len);
	}
	tcp[12] = 8;
	tcp[14] = (uint8_t)(0x45 + rnd() % 4);
	tcp[23] = 6;
	tcp[46] = (uint8_t)rnd();
	if (iov[0].iov_len >= 12 + sizeof(tcp)) {
		memcpy(bufs[0] + 12, tcp, sizeof(tcp));
		bufs[0][0] = rnd() & 1;
		bufs[0][1] = rnd() & 1 ? 1 : 4;
		bufs[0][4] = (uint8_t)rnd();
		bufs[0][5] = (uint8_t)(rnd() & 7);
		bufs[0][6] = (uint8_t)rnd();
		bufs[0][8] = (uint8_t)rnd();
		bufs[0][7] = bufs[0][9] = rnd() % 8 == 0 ? 0xff : 0;
	}
	(void)netbe_send(be, iov, n);
	for (i = 0; i < n; i++)
		free(bufs[i]);
}

static void
none_cb(int fd, enum ev_type type, void *param)
{
}

int
main(int argc, char **argv)
{
	const struct pci_devemu *const *p;
	net_backend_t *be;
	time_t end;
	int e1000_wire, i;

	rng = argc > 1 ? strtoull(argv[1], NULL, 0) * 2 + 1 : 1;
	end = time(NULL) + (argc > 2 ? atoi(argv[2]) : 2);
	ram = calloc(1, RAM_SIZE);
	if (mevent_init() != 0 || mevent_start() != 0 || ram == NULL)
		return (2);
	GUEST_MEMORY(ram, RAM_SIZE);
	SET_FOREACH(p, pci_devemu_set)
	de = *p;
	pci_set_cfgdata16(&pi, PCIR_COMMAND, PCIM_CMD_BUSMASTEREN);
	if (de->pe_init(&pi, NULL) != 0)
		return (2);
	e1000_wire = wire;
	if (netbe_init(&be, NULL, none_cb, NULL) != 0 ||
	    netbe_set_cap(be, ~0ULL, VNET_HDR_LEN) != 0)
		return (2);
	wire = e1000_wire;
	rows();
	heads_and_tails();
	rings_that_move();
	headers(be);
	while (time(NULL) < end) {
		for (i = 0; i < 64; i++) {
			fuzz_registers();
			if (i % 4 == 0)
				fuzz_memory();
			if (i % 8 == 0)
				inject(rnd() % 8 == 0 ? rnd() % 17000
						      : rnd() % 1600);
			fuzz_headers(be);
		}
	}
	de->pe_cleanup(&pi);
	netbe_cleanup(be);
	mevent_stop();
	printf("B05_e1000_tso_hdrlen ok\nB09_e1000_cksum_off ok\n"
	       "B45_e1000_tdba ok\nE01_head_tail ok\nE02_tx_chain ok\n"
	       "V20_net_hdr ok\n");
	printf("ok: %lu frames, %lu bytes\n", sent_frames, sent_bytes);
	free(ram);
	return (0);
}
