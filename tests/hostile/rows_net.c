/*
 * Rows of the network cards, and of ends: other sides that leave while the
 * machine goes down.
 */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "rows.h"
#include "wire.h"

#define RX_RING 0x100000UL
#define TX_RING 0x101000UL
#define BUFS 0x110000UL
#define RCTL 0x0100
#define TCTL 0x0400
#define RDBAL 0x2800
#define TDBAL 0x3800
#define RCTL_EN 0x2u
#define RCTL_UPE 0x8u
#define RCTL_LPE 0x20u
#define RCTL_LBM 0xc0u

static void
e1000_on(uint32_t rctl)
{
	uint64_t i;

	reg_write(0, RCTL, 0);
	reg_write(0, TCTL, 0);
	for (i = 0; i < 64; i++) {
		ram_put(RX_RING + i * 16, BUFS + i * 2048, 8);
		ram_put(RX_RING + i * 16 + 8, 0, 8);
	}
	reg_write(0, RDBAL, RX_RING);
	reg_write(0, RDBAL + 8, 1024);
	reg_write(0, RDBAL + 0x10, 0);
	reg_write(0, RDBAL + 0x18, 63);
	reg_write(0, TDBAL, TX_RING);
	reg_write(0, TDBAL + 8, 1024);
	reg_write(0, TDBAL + 0x10, 0);
	reg_write(0, TDBAL + 0x18, 0);
	reg_write(0, TCTL, 2);
	reg_write(0, RCTL, rctl | RCTL_EN | RCTL_UPE);
}

static void
inject(size_t len)
{
	uint8_t frame[20000] = { 2, 0, 0, 0, 0, 9 };

	CHECK(send(wire_fd, frame, len, MSG_NOSIGNAL) == (ssize_t)len);
}

/* The ring's head once it has got somewhere. */
static uint32_t
head_after(uint32_t want)
{
	int i;

	for (i = 0; i < 3000 && reg_read(0, RDBAL + 0x10) != want; i++)
		usleep(1000);
	return (reg_read(0, RDBAL + 0x10));
}

ROW(E03_rx_big)
{
	static const size_t lens[] = { 1519, 2048, 4096, 16000 };
	size_t i;
	uint64_t off;

	one_device("e1000,wire");
	e1000_on(0);
	for (i = 0; i < 4; i++)
		inject(lens[i]);
	inject(60);
	CHECK(head_after(1) == 1); /* only the last one */
	usleep(20000);
	CHECK(reg_read(0, RDBAL + 0x10) == 1);
	CHECK(ram_get(RX_RING + 16 + 12, 1) == 0);
	/* Long ones allowed: over several buffers, and no further. */
	e1000_on(RCTL_LPE);
	memset(ram(BUFS, 64 * 2048), 0xcc, 64 * 2048);
	inject(16000);
	CHECK(head_after(8) == 8);
	for (off = 8 * 2048; off < 64 * 2048; off += 2048)
		CHECK(ram_get(BUFS + off, 8) == 0xccccccccccccccccUL);
	/* Not into descriptors that the driver has not given: it waits. */
	e1000_on(RCTL_LPE);
	reg_write(0, RDBAL + 0x18, 3);
	memset(ram(BUFS, 64 * 2048), 0xcc, 64 * 2048);
	inject(16000);
	usleep(50000);
	CHECK(reg_read(0, RDBAL + 0x10) == 0);
	CHECK(ram_get(BUFS, 8) == 0xccccccccccccccccUL);
	reg_write(0, RDBAL + 0x18, 63);
	CHECK(head_after(8) == 8);
	machine_down();
}

ROW(E04_loopback)
{
	int i;

	one_device("e1000,wire");
	e1000_on(RCTL_LBM);
	for (i = 0; i < 40; i++) {
		ram_put(TX_RING + (uint64_t)i * 16, BUFS, 8);
		ram_put(TX_RING + (uint64_t)i * 16 + 8, 0x09000000u | 60, 4);
	}
	reg_write(0, TDBAL + 0x18, 40);
	for (i = 0; i < 3000 && reg_read(0, TDBAL + 0x10) != 40; i++)
		usleep(1000);
	CHECK(reg_read(0, TDBAL + 0x10) == 40);
	inject(60); /* nor does one come from the wire */
	usleep(20000);
	CHECK(reg_read(0, RDBAL + 0x10) == 0); /* none came back */
	/* Its own registers as ring and as buffer. */
	e1000_on(0);
	ram_put(TX_RING, bar_addr(3, 0), 8);
	ram_put(TX_RING + 8, 0x09000000u | 60, 4);
	reg_write(0, TDBAL + 0x18, 1);
	reg_write(0, TDBAL, (uint32_t)bar_addr(3, 0));
	reg_write(0, TDBAL + 0x18, 8);
	usleep(20000);
	e1000_on(0);
	inject(60);
	CHECK(head_after(1) == 1);
	machine_down();
}

/* ---- rings that move while frames come ---- */

#define VQ 0x200000UL
#define VQ_SIZE 64UL

static void
vnet_reg(uint64_t off, int bytes, uint32_t val)
{
	pio_out((int)(bar_addr(3, 0) + off), bytes, val);
}

/* A legacy driver's receive ring, all of its buffers with the device. */
static void
vnet_ring(uint64_t gpa)
{
	uint64_t avail = gpa + VQ_SIZE * 16;

	memset(ram(gpa, 0x4000), 0, 0x4000);
	for (uint64_t i = 0; i < VQ_SIZE; i++) {
		ram_put(gpa + i * 16, BUFS + i * 2048, 8);
		ram_put(gpa + i * 16 + 8, 2048 | 2UL << 32, 8);
		ram_put(avail + 4 + i * 2, i, 2);
	}
	ram_put(avail + 2, VQ_SIZE, 2);
	vnet_reg(14, 2, 0);
	vnet_reg(8, 4, (uint32_t)(gpa >> 12));
	vnet_reg(16, 2, 0);
}

/* For all, if there is room on its way. */
static void
a_frame(void)
{
	uint8_t frame[60];

	memset(frame, 0xff, sizeof(frame));
	(void)!send(wire_fd, frame, sizeof(frame), MSG_DONTWAIT | MSG_NOSIGNAL);
}

ROW(own_net_rings_move_live)
{
	int i, came = 0;

	one_device("virtio-net,wire,queue_size=64");
	vnet_reg(18, 1, 3);
	vnet_ring(VQ);
	vnet_reg(18, 1, 7);
	for (i = 0; i < 3000; i++) {
		for (int j = 0; j < 4; j++)
			a_frame();
		if (i % 4 == 0)
			usleep((useconds_t)i % 60);
		came += ram_get(VQ + 0x1002, 2) != 0;
		/* Away, or elsewhere; and back. */
		vnet_reg(14, 2, (uint32_t)i % 3);
		vnet_reg(8, 4, i % 2 == 0 ? 0 : (uint32_t)(VQ >> 12) + 8);
		vnet_ring(VQ);
		for (uint32_t q = 1; q < 3; q++)
			vnet_reg(16, 2, q);
	}
	CHECK(came > 0);
	vnet_reg(18, 1, 0);
	vnet_reg(18, 1, 3);
	vnet_ring(VQ);
	vnet_reg(18, 1, 7);
	for (i = 0; i < 3000 && ram_get(VQ + 0x1002, 2) == 0; i++) {
		a_frame();
		usleep(1000);
	}
	CHECK(ram_get(VQ + 0x1002, 2) != 0);
	machine_down();
}

/* ---- ends ---- */

static int
client_of(const char *name)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int s;

	strcpy(sun.sun_path, name);
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(connect(s, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	return (s);
}

/* A client that leaves while its port is closed. */
static void
leave(const char *const *settings, const char *name)
{
	int i, s;

	CHECK(chdir(machine_file(".")) == 0);
	for (i = 0; i < 60; i++) {
		machine_up(settings);
		s = client_of(name);
		(void)!write(s, "hello", 5);
		if (i % 2 == 0)
			usleep((useconds_t)i * 20);
		close(s);
		machine_down();
	}
}

ROW(own_uart_client_leaves)
{
	static const char *const settings[] = { "-s 0,hostbridge", "-s 31,lpc",
		"lpc.com1.path=socket,com1", NULL };

	leave(settings, "com1");
}

ROW(own_console_client_leaves)
{
	static const char *const settings[] = { "-s 0,hostbridge",
		"-s 3,virtio-console,p=port", NULL };

	leave(settings, "port");
}

ROW(own_net_frame_at_the_end)
{
	static const char *const cards[] = { "-s 3,e1000,wire",
		"-s 3,virtio-net,wire" };
	int i;

	for (i = 0; i < 60; i++) {
		machine_up(
		    (const char *[]) { "-s 0,hostbridge", cards[i % 2], NULL });
		if (i % 2 == 0)
			e1000_on(0);
		inject(60);
		inject(60);
		usleep((useconds_t)i * 10);
		machine_down();
	}
}
