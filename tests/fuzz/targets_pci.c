/*
 * Fuzz targets: the PCI devices, and the drivers that bring them to where
 * their code is.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "e82545_local.h"
#include "fuzz.h"
#include "virtio.h"
#include "wire.h"

#define DISK_SIZE (1UL << 20)

static int client = -1; /* at the device's socket */

static void
make_disk(void)
{
	machine_disk("disk", DISK_SIZE);
	machine_disk("cd", DISK_SIZE);
	/* Settings name files of the working folder. */
	CHECK(chdir(machine_file(".")) == 0);
}

static void
net_event(struct input *in)
{
	uint8_t frame[17000];
	size_t len = in16(in) % sizeof(frame);
	size_t own = len < 80 ? len : 80;

	memset(frame, 0xff, sizeof(frame));
	in_bytes(in, frame, own);
	(void)!send(wire_fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- virtio ---- */

#define NQUEUES 5
#define QUEUE(q) (HOT + (uint64_t)(q)*0x4000)
#define MODERN 4
#define PACKED_BIT 4u /* VIRTIO_F_RING_PACKED in the upper half */
static uint16_t vq_size[NQUEUES], vq_avail[NQUEUES];
static bool vq_packed, vq_wrap[NQUEUES];

static void
virtio_start(struct input *in, bool modern)
{
	uint32_t high, features = in32(in);
	int i, nq = in8(in) % NQUEUES + 1;
	uint64_t a[3], base;

	for (i = 0; i < NQUEUES; i++) {
		vq_avail[i] = 0;
		vq_wrap[i] = true;
	}
	vq_packed = false;
	if (!modern) {
		bar_write(0, 18, 1, 0);
		bar_write(0, 18, 1, 3);
		bar_write(0, 4, 4, features);
	} else {
		bar_write(MODERN, 20, 1, 0);
		bar_write(MODERN, 20, 1, 3);
		bar_write(MODERN, 8, 4, 0);
		bar_write(MODERN, 12, 4,
		    bar_read(MODERN, 4, 4) & (features | 0x80000000u));
		bar_write(MODERN, 0, 4, 1);
		bar_write(MODERN, 8, 4, 1);
		high = (uint32_t)bar_read(MODERN, 4, 4);
		bar_write(MODERN, 0, 4, 0);
		/* One bit of chance, for a feature that few drivers take. */
		if ((features >> 28 & 1) == 0)
			high &= ~PACKED_BIT;
		vq_packed = (high & PACKED_BIT) != 0;
		bar_write(MODERN, 12, 4, high);
		bar_write(MODERN, 20, 1, 11);
	}
	for (i = 0; i < nq; i++) {
		base = QUEUE(i);
		if (modern) {
			bar_write(MODERN, 22, 2, (uint64_t)i);
			vq_size[i] = (uint16_t)bar_read(MODERN, 24, 2);
		} else {
			bar_write(0, 14, 2, (uint64_t)i);
			vq_size[i] = (uint16_t)bar_read(0, 12, 2);
		}
		a[0] = base;
		a[1] = base + vq_size[i] * 16UL;
		a[2] = (a[1] + 6 + vq_size[i] * 2UL + 4095) & ~4095UL;
		if (!modern) {
			bar_write(0, 8, 4, base >> 12);
			continue;
		}
		for (int j = 0; j < 3; j++)
			bar_write(MODERN, 32 + (uint64_t)j * 8, 8, a[j]);
		bar_write(MODERN, 28, 2, 1);
	}
	if (modern)
		bar_write(MODERN, 20, 1, 15);
	else
		bar_write(0, 18, 1, 7);
}

static uint32_t
buffer_len(struct input *in, uint8_t sel)
{
	return ((sel & 0x80) != 0   ? in32(in)
		: (sel & 0x40) != 0 ? 1u << (sel & 15)
				    : (sel & 0x3fu));
}

/* The control queue of several pairs is the last one. */
static int
queue_of(uint8_t sel)
{
	return (sel >= 0xe0 ? 4 : sel & 3);
}

static void
virtio_notify(int q)
{
	bar_write(0, 16, 2, (uint64_t)q);
	bar_write(MODERN, 0x3000 + (uint64_t)q * 4, 2, (uint64_t)q);
}

/* The same in a packed ring; the first entry's flags go last. */
static void
packed_push(struct input *in)
{
	uint8_t sel = in8(in);
	int n, q = queue_of(sel);
	uint16_t size = vq_size[q], flags, first = 0, pos;
	uint64_t at, first_at = 0;

	if (size == 0 || size > 256)
		return;
	n = (sel >> 2 & 7) + 1;
	for (int i = 0; i < n; i++) {
		pos = vq_avail[q];
		at = QUEUE(q) + pos * 16UL;
		ram_put(at, in_addr(in), 8);
		sel = in8(in);
		ram_put(at + 8, buffer_len(in, sel), 4);
		ram_put(at + 12,
		    (sel & 0x30) == 0x30 ? in16(in) : (uint16_t)(pos % size),
		    2);
		flags = (uint16_t)((in8(in) & 6) | (i + 1 < n));
		flags |= vq_wrap[q] ? 0x80 : 0x8000;
		if (i == 0) {
			first = flags;
			first_at = at;
		} else {
			ram_put(at + 14, flags, 2);
		}
		if (++vq_avail[q] >= size) {
			vq_avail[q] = 0;
			vq_wrap[q] = !vq_wrap[q];
		}
	}
	ram_put(first_at + 14, first, 2);
	virtio_notify(q);
}

/* A chain of descriptors, its head in the ring, and a notification. */
static void
virtio_push(struct input *in)
{
	uint8_t sel = in8(in);
	int i, n, q = queue_of(sel);
	uint16_t head, size = vq_size[q];
	struct vring_desc d;

	if (size == 0 || size > 256)
		return;
	head = in8(in) % size;
	n = (sel >> 2 & 7) + 1;
	for (i = 0; i < n; i++) {
		d.addr = in_addr(in);
		sel = in8(in);
		d.len = buffer_len(in, sel);
		d.flags = (uint16_t)((in8(in) & 6) | (i + 1 < n));
		d.next = (sel & 0x30) == 0x30
		    ? in16(in)
		    : (uint16_t)((head + i + 1) % size);
		memcpy(ram(QUEUE(q) + (uint64_t)((head + i) % size) * 16,
			   sizeof(d)),
		    &d, sizeof(d));
	}
	ram_put(
	    QUEUE(q) + size * 16UL + 4 + (vq_avail[q] % size) * 2UL, head, 2);
	ram_put(QUEUE(q) + size * 16UL + 2, ++vq_avail[q], 2);
	virtio_notify(q);
}

static void
virtio_op(struct input *in)
{
	uint8_t sel = in8(in);

	if (sel < 0x10)
		virtio_start(in, (sel & 1) != 0);
	else if (vq_packed)
		packed_push(in);
	else
		virtio_push(in);
}

static void
virtio_up(void)
{
	static const uint8_t none[8] = { 0xff, 0xff, 0xff, 0xff, 4 };
	struct input in = { none, none + sizeof(none) };

	virtio_start(&in, false);
}

static void
packed_up(void)
{
	static const uint8_t all[8] = { 0xff, 0xff, 0xff, 0xff, 4 };
	struct input in = { all, all + sizeof(all) };

	virtio_start(&in, true);
}

static void
console_event(struct input *in)
{
	uint8_t buf[300];
	size_t len = in8(in) + 1UL;

	if (client < 0)
		client = scratch_connect("port");
	in_bytes(in, buf, len);
	(void)!send(client, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if ((buf[0] & 3) == 0) {
		close(client);
		client = -1;
	} else {
		(void)!recv(client, buf, sizeof(buf), MSG_DONTWAIT);
	}
}

static const struct fuzz_target virtio_blk = {
	.name = "virtio-blk",
	.settings = { "-s 0,hostbridge", "-s 3,virtio-blk,disk", NULL },
	.init = make_disk,
	.up = virtio_up,
	.op = virtio_op,
};
FUZZ_TARGET(virtio_blk);

static const struct fuzz_target virtio_net = {
	.name = "virtio-net",
	.settings = { "-s 0,hostbridge", "-s 3,virtio-net,wire,queue_size=64",
	    NULL },
	.up = virtio_up,
	.op = virtio_op,
	.event = net_event,
};
FUZZ_TARGET(virtio_net);

static const struct fuzz_target virtio_rnd = {
	.name = "virtio-rnd",
	.settings = { "-s 0,hostbridge", "-s 3,virtio-rnd", NULL },
	.up = virtio_up,
	.op = virtio_op,
};
FUZZ_TARGET(virtio_rnd);

static const struct fuzz_target virtio_console = {
	.name = "virtio-console",
	.settings = { "-s 0,hostbridge", "-s 3,virtio-console,p=port", NULL },
	.init = make_disk,
	.up = virtio_up,
	.op = virtio_op,
	.event = console_event,
};
FUZZ_TARGET(virtio_console);

static const struct fuzz_target virtio_packed = {
	.name = "virtio-packed",
	.settings = { "-s 0,hostbridge", "-s 3,virtio-blk,disk",
	    "virtio.packed=true", NULL },
	.init = make_disk,
	.up = packed_up,
	.op = virtio_op,
};
FUZZ_TARGET(virtio_packed);

/* Several queues, and a host that takes and gives headers (a tap). */
static const struct fuzz_target virtio_net_tap = {
	.name = "virtio-net-tap",
	.settings = { "-s 0,hostbridge",
	    "-s 3,virtio-net,headers,queues=2,queue_size=64,mtu=9000",
	    "virtio.packed=true", NULL },
	.up = packed_up,
	.op = virtio_op,
	.event = net_event,
};
FUZZ_TARGET(virtio_net_tap);

/* Frames are datagrams that anybody of the host may send. */
static int peer = -1;

static void
cable_init(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	CHECK(chdir(machine_file(".")) == 0);
	peer = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "there");
	CHECK(bind(peer, (struct sockaddr *)&sun, sizeof(sun)) == 0);
}

static void
cable_event(struct input *in)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX, .sun_path = "here" };
	static uint8_t frame[70000];
	uint8_t sel = in8(in);
	size_t len = in16(in) + ((sel & 7) == 0 ? 4096UL : 0);

	in_bytes(in, frame, len < 80 ? len : 80);
	(void)!sendto(peer, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL,
	    (struct sockaddr *)&sun, sizeof(sun));
	while (recv(peer, frame, sizeof(frame), MSG_DONTWAIT) > 0)
		;
}

static const struct fuzz_target net_unix = {
	.name = "net-unix",
	.settings = { "-s 0,hostbridge",
	    "-s 3,virtio-net,unix,path=here,peer=there,queue_size=64", NULL },
	.init = cable_init,
	.up = virtio_up,
	.op = virtio_op,
	.event = cable_event,
};
FUZZ_TARGET(net_unix);

/* ---- nvme ---- */

#define NVME_ASQ HOT
#define NVME_ACQ (HOT + 0x1000)
#define NVME_SQ (HOT + 0x2000)
#define NVME_CQ (HOT + 0x3000)
static uint32_t nvme_tail[2];

static void
nvme_command(const uint8_t *cmd, int q)
{
	memcpy(
	    ram((q ? NVME_SQ : NVME_ASQ) + nvme_tail[q] * 64UL, 64), cmd, 64);
	nvme_tail[q] = (nvme_tail[q] + 1) % 32;
	bar_write(0, 0x1000 + (uint64_t)q * 8, 4, nvme_tail[q]);
	/* What has come is seen. */
	bar_write(0, 0x1004 + (uint64_t)q * 8, 4, nvme_tail[q]);
}

static void
nvme_create(uint8_t opcode, uint64_t prp, uint32_t dw11)
{
	uint8_t cmd[64] = { opcode };
	uint32_t dw10 = 1 | 31 << 16;

	memcpy(cmd + 24, &prp, 8);
	memcpy(cmd + 40, &dw10, 4);
	memcpy(cmd + 44, &dw11, 4);
	nvme_command(cmd, 0);
}

static void
nvme_up(void)
{
	bar_write(0, 0x14, 4, 0);
	nvme_tail[0] = nvme_tail[1] = 0;
	bar_write(0, 0x24, 4, 0x001f001f);
	bar_write(0, 0x28, 8, NVME_ASQ);
	bar_write(0, 0x30, 8, NVME_ACQ);
	bar_write(0, 0x14, 4, 0x00460001);
	nvme_create(5, NVME_CQ, 3);
	nvme_create(1, NVME_SQ, 1 | 1 << 16);
}

static void
nvme_op(struct input *in)
{
	static const uint8_t opcodes[2][16] = {
		{ 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 16, 128, 2, 6, 9, 10 },
		{ 0, 1, 2, 8, 9, 1, 2, 8, 9, 0, 1, 2, 9, 9, 1, 2 },
	};
	uint8_t cmd[64] = { 0 }, sel = in8(in);
	int q = sel & 1;
	uint64_t addr;
	uint32_t val;

	if (sel >= 0xf8) {
		nvme_up();
		return;
	}
	if ((sel & 0x40) != 0) { /* a list of pages */
		addr = in_addr(in) & ~7UL;
		for (int i = 0; i < 8 && addr < RAM_SIZE - 8; i++, addr += 8)
			if (addr >= HOT)
				ram_put(addr, in_addr(in), 8);
		return;
	}
	cmd[0] = (sel & 2) != 0 ? in8(in) : opcodes[q][sel >> 2 & 15];
	cmd[2] = in8(in);
	val = (sel & 0x20) != 0 ? in32(in) : 1;
	memcpy(cmd + 4, &val, 4);
	addr = in_addr(in);
	memcpy(cmd + 24, &addr, 8);
	addr = in_addr(in);
	memcpy(cmd + 32, &addr, 8);
	for (int i = 40; i < 64; i += 4) {
		val = in_value(in);
		memcpy(cmd + i, &val, 4);
	}
	nvme_command(cmd, q);
}

static const struct fuzz_target nvme = {
	.name = "nvme",
	.settings = { "-s 0,hostbridge", "-s 3,nvme,disk,maxq=4", NULL },
	.init = make_disk,
	.up = nvme_up,
	.op = nvme_op,
};
FUZZ_TARGET(nvme);

static const struct fuzz_target nvme_ram = {
	.name = "nvme-ram",
	.settings = { "-s 0,hostbridge", "-s 3,nvme,ram=1", NULL },
	.up = nvme_up,
	.op = nvme_op,
};
FUZZ_TARGET(nvme_ram);

/* ---- ahci ---- */

#define AHCI_CLB HOT
#define AHCI_FB (HOT + 0x1000)
#define AHCI_TABLE (HOT + 0x2000)

static void
ahci_up(void)
{
	bar_write(5, 4, 4, 0x80000002u);
	for (uint64_t p = 0x100; p < 0x200; p += 0x80) {
		bar_write(5, p, 8, AHCI_CLB);
		bar_write(5, p + 8, 8, AHCI_FB);
		bar_write(5, p + 0x14, 4, ~0U);
		bar_write(5, p + 0x18, 4, 0x17);
	}
}

static void
ahci_op(struct input *in)
{
	static const uint8_t commands[32] = { 0x60, 0x61, 0x64, 0x25, 0x35,
		0xc8, 0xca, 0x06, 0xa0, 0xa1, 0xec, 0xef, 0x2f, 0x47, 0xe7,
		0xea, 0x20, 0x30, 0x3d, 0x42, 0xc6, 0xe5, 0xa0, 0xa0, 0xa0,
		0xa0, 0x60, 0x61, 0x06, 0x06, 0x64, 0x2f };
	static const uint8_t packets[16] = { 0x00, 0x03, 0x12, 0x1b, 0x25, 0x28,
		0x43, 0x4a, 0x5a, 0xa0, 0xa8, 0x46, 0x55, 0x51, 0xbe, 0x1e };
	uint8_t sel = in8(in), fis[0x50] = { 0x27, 0x80 };
	uint64_t port = 0x100 + (sel & 1) * 0x80UL;
	uint32_t slot = in8(in) & 31, nprd = in8(in) & 15, val;
	uint64_t hdr = AHCI_CLB + slot * 32;

	if (sel >= 0xfc) {
		ahci_up();
		return;
	}
	in_bytes(in, fis + 2, 14);
	if (fis[2] < 0xe0)
		fis[2] = commands[fis[2] & 31];
	in_bytes(in, fis + 0x40, 12);
	if (fis[0x40] < 0xe0)
		fis[0x40] = packets[fis[0x40] & 15];
	if ((sel & 0x60) == 0x60)
		fis[0] = in8(in);
	if ((sel & 0x18) == 0x18)
		fis[1] = in8(in);
	memcpy(ram(AHCI_TABLE, sizeof(fis)), fis, sizeof(fis));
	for (uint64_t i = 0; i < nprd; i++) {
		ram_put(AHCI_TABLE + 0x80 + i * 16, in_addr(in), 8);
		val = in_value(in);
		ram_put(AHCI_TABLE + 0x8c + i * 16, val, 4);
	}
	ram_put(hdr, ((sel & 4) != 0 ? in8(in) : 5u) | nprd << 16, 4);
	ram_put(hdr + 8, (sel & 0x82) == 0x82 ? in_addr(in) : AHCI_TABLE, 8);
	if (fis[2] == 0x60 || fis[2] == 0x61 || fis[2] == 0x64)
		bar_write(5, port + 0x34, 4, 1u << slot);
	bar_write(5, port + 0x38, 4, 1u << slot);
}

static const struct fuzz_target ahci = {
	.name = "ahci",
	.settings = { "-s 0,hostbridge", "-s 3,ahci,hd:disk,cd:cd", NULL },
	.init = make_disk,
	.up = ahci_up,
	.op = ahci_op,
};
FUZZ_TARGET(ahci);

/* ---- e1000 ---- */

#define TX_RING HOT
#define RX_RING (HOT + 0x1000)
static uint32_t tx_tail;

static void
e1000_up(void)
{
	tx_tail = 0;
	bar_write(0, E1000_CTRL, 4, 0x04000000); /* reset */
	bar_write(0, E1000_TDBAL, 4, TX_RING);
	bar_write(0, E1000_TDLEN, 4, 0x400);
	bar_write(0, E1000_RDBAL, 4, RX_RING);
	bar_write(0, E1000_RDLEN, 4, 0x400);
	for (uint64_t i = 0; i < 64; i++)
		ram_put(RX_RING + i * 16, HOT + 0x8000 + i * 0x800, 8);
	bar_write(0, E1000_RDT, 4, 60);
	bar_write(0, 0xd0, 4, ~0U); /* all interrupts */
	bar_write(0, E1000_TCTL, 4, 2);
	bar_write(0, E1000_RCTL, 4, 0x8002);
}

static void
e1000_op(struct input *in)
{
	uint8_t sel = in8(in);
	uint32_t lower;
	int n;

	if (sel >= 0xf8) {
		e1000_up();
		return;
	}
	for (n = (sel & 3) + 1; n > 0; n--) {
		ram_put(TX_RING + tx_tail * 16,
		    (sel & 4) != 0 ? in64(in) : in_addr(in), 8);
		lower = in16(in);
		lower |= (uint32_t)in8(in) << 24;
		if ((sel & 8) != 0)
			lower |= 0x20000000u | (in8(in) & 1u) << 20;
		ram_put(TX_RING + tx_tail * 16 + 8, lower, 4);
		ram_put(TX_RING + tx_tail * 16 + 12, in32(in), 4);
		tx_tail = (tx_tail + 1) % 64;
	}
	bar_write(0, E1000_TDT, 4, tx_tail);
	bar_write(0, E1000_RDT, 4, in8(in) & 63);
}

static const struct fuzz_target e1000 = {
	.name = "e1000",
	.settings = { "-s 0,hostbridge", "-s 3,e1000,wire", NULL },
	.up = e1000_up,
	.op = e1000_op,
	.event = net_event,
};
FUZZ_TARGET(e1000);

/* ---- the PCI core: many BARs, nothing but configuration ---- */

static void
pci_op(struct input *in)
{
	static const int regs[] = { 4, 6, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24,
		0x30, 0x34, 0x3c, 0x40, 0x44, 0x50, 0x60, 0xfc };
	uint8_t sel = in8(in);
	int slot = 3 + (sel & 3), off = regs[sel >> 4] + (in8(in) & 3);

	switch (sel >> 2 & 3) {
	case 0:
		cfg_write(slot, off, 1 << (in8(in) % 3), in_value(in));
		break;
	case 1: /* onto another one, or a place where something is */
		cfg_write(slot, off & ~3, 4,
		    (uint32_t)bar_addr(3 + (in8(in) & 3), in8(in) % 6));
		break;
	case 2:
		mem_write(ECAM + (uint64_t)slot * 0x8000 + (uint64_t)off +
			((sel & 0x40) != 0 ? in16(in) : 0UL),
		    1 << (in8(in) & 3), in_value(in));
		break;
	default:
		(void)mem_read(
		    ECAM + (in32(in) & 0xfffffff), 1 << (in8(in) & 3));
		break;
	}
}

static const struct fuzz_target pci = {
	.name = "pci",
	.settings = { "-s 0,hostbridge", "-s 3,nvme,ram=1", "-s 4,virtio-rnd",
	    "-s 5,e1000,wire", "-s 6,virtio-blk,disk", "-s 31,lpc", NULL },
	.ports = { { 0xcf8, 8 }, { 0x2000, 255 }, { 0, 255 } },
	.mmio = { { 0xc0000000, 0xffff }, { ECAM, 0xffff }, { LAPIC, 0x1000 },
	    { 0xf2000000, 0xffff } },
	.init = make_disk,
	.op = pci_op,
};
FUZZ_TARGET(pci);
