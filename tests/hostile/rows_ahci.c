/*
 * Rows of the AHCI controller: a disk at port 0, a CD at port 1.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "rows.h"

#define CLB 0x100000UL
#define FB 0x101000UL
#define TABLE 0x102000UL
#define DATA 0x110000UL
#define SECTORS (DISK_BYTES / 512)

#define P_IS 0x10
#define P_CMD 0x18
#define P_TFD 0x20
#define P_SCTL 0x2c
#define P_SACT 0x34
#define P_CI 0x38
#define IS_TFE (1u << 30)
#define IS_HBF (1u << 29)
#define IS_IF (1u << 27)
#define IS_OF (1u << 24)

static uint32_t
port_read(int port, uint64_t off)
{
	return (reg_read(5, 0x100 + (uint64_t)port * 0x80 + off));
}

static void
port_write(int port, uint64_t off, uint32_t val)
{
	reg_write(5, 0x100 + (uint64_t)port * 0x80 + off, val);
}

static void
port_on(int port)
{
	port_write(port, P_CMD, 0x16);
	port_write(port, 0, CLB);
	port_write(port, 4, 0);
	port_write(port, 8, FB);
	port_write(port, 0xc, 0);
	port_write(port, P_IS, ~0U);
	port_write(port, P_CMD, 0x17);
}

/* A command in slot 0 with one buffer. */
static void
put_command(const uint8_t *fis, uint64_t buf, uint32_t len, uint32_t flags)
{
	memset(ram(TABLE, 0x80), 0, 0x80);
	memcpy(ram(TABLE, 20), fis, 20);
	ram_put(TABLE + 0x80, buf, 8);
	ram_put(TABLE + 0x88, 0, 4);
	ram_put(TABLE + 0x8c, len - 1, 4);
	ram_put(CLB, flags | (len != 0) << 16, 4);
	ram_put(CLB + 4, 0, 4);
	ram_put(CLB + 8, TABLE, 8);
}

static void
fis_of(uint8_t *fis, uint8_t command, uint64_t lba, uint32_t count)
{
	memset(fis, 0, 20);
	fis[0] = 0x27;
	fis[1] = 0x80;
	fis[2] = command;
	fis[7] = 0x40;
	memcpy(fis + 4, &lba, 3);
	fis[8] = (uint8_t)(lba >> 24);
	fis[9] = (uint8_t)(lba >> 32);
	fis[10] = (uint8_t)(lba >> 40);
	fis[12] = (uint8_t)count;
	fis[13] = (uint8_t)(count >> 8);
}

/* Issue slot 0 and wait: the error bits, 0 when it went well. */
static uint32_t
issue(int port)
{
	uint32_t is;
	int i;

	port_write(port, P_IS, ~0U);
	port_write(port, P_CI, 1);
	for (i = 0; i < 20000; i++) {
		is = port_read(port, P_IS) & (IS_TFE | IS_HBF | IS_IF | IS_OF);
		if (is != 0 || (port_read(port, P_CI) & 1) == 0) {
			if (is != 0)
				port_on(port);
			return (is);
		}
		usleep(100);
	}
	CHECK(!"an end");
}

static uint32_t
read_dma(uint64_t lba, uint32_t count, uint64_t buf, uint32_t len)
{
	uint8_t fis[20];

	fis_of(fis, 0x25, lba, count);
	put_command(fis, buf, len, 5);
	return (issue(0));
}

static void
good_read(void)
{
	memset(ram(DATA, 1024), 0xcc, 1024);
	CHECK(read_dma(7, 2, DATA, 1024) == 0);
	CHECK(ram_get(DATA, 1) == 7 && ram_get(DATA + 1023, 1) == 8);
	CHECK(ram_get(CLB + 4, 4) == 1024);
}

static void
ahci_on(void)
{
	machine_disk("cd", DISK_BYTES);
	one_device("ahci,hd:disk,cd:cd");
	reg_write(5, 4, 0x80000002u);
	port_on(0);
	port_on(1);
	good_read();
}

/* A packet command of the CD with len bytes of room. */
static uint32_t
packet(const uint8_t *acmd, uint32_t len)
{
	uint8_t fis[20];

	fis_of(fis, 0xa0, 0, 0);
	fis[3] = 1;
	put_command(fis, DATA, len == 0 ? 0 : len, 5 | 1 << 5);
	memcpy(ram(TABLE + 0x40, 12), acmd, 12);
	memset(ram(DATA, 0x10000), 0xcc, 0x10000);
	return (issue(1));
}

ROW(A01_prdt_zero)
{
	uint8_t fis[20];
	int64_t start = now_us();

	ahci_on();
	CHECK(read_dma(7, 2, DATA, 0) != 0); /* no buffer at all */
	good_read();
	CHECK(read_dma(7, 2, DATA, 100) != 0); /* less than a sector */
	good_read();
	CHECK(read_dma(7, 2, DATA, 1) != 0);
	good_read();
	fis_of(fis, 0x25, 0, 0); /* 65536 sectors for 512 bytes */
	put_command(fis, DATA, 512, 5);
	CHECK(issue(0) != 0);
	good_read();
	CHECK(now_us() - start < 10000000);
	machine_down();
}

ROW(A02_prdt_limits)
{
	static const uint64_t bad[] = { RAM_SIZE, RAM_SIZE - 2, 0xfee00000,
		0xfffffffffffffffeUL, 1UL << 46, 4UL << 30 };
	uint8_t fis[20];
	uint32_t cfl;
	size_t i;

	ahci_on();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(read_dma(7, 2, bad[i], 1024) != 0);
		good_read();
		/* What it answers itself goes there no more. */
		fis_of(fis, 0xec, 0, 0);
		put_command(fis, bad[i], 512, 5);
		CHECK(issue(0) != 0);
		good_read();
		fis_of(fis, 0x06, 0, 1); /* ranges to be trimmed */
		fis[3] = 1;
		put_command(fis, bad[i], 512, 5);
		CHECK(issue(0) != 0);
		good_read();
	}
	/* More pieces than one request of the back end takes. */
	fis_of(fis, 0x25, 0, 300);
	put_command(fis, DATA, 512, 5);
	for (i = 0; i < 300; i++) {
		ram_put(TABLE + 0x80 + i * 16, DATA + (299 - i) * 1024, 8);
		ram_put(TABLE + 0x8c + i * 16, 511, 4);
	}
	ram_put(CLB, 5 | 300 << 16, 4);
	CHECK(issue(0) == 0);
	for (i = 0; i < 300; i++)
		CHECK(ram_get(DATA + (299 - i) * 1024, 1) == (i & 0xff));
	/* 65535 entries of 4 MiB; the table reaches out of memory. */
	fis_of(fis, 0x25, 0, 8);
	put_command(fis, DATA, 2, 5);
	for (i = 0; i < 3000; i++) {
		ram_put(TABLE + 0x80 + i * 16, DATA, 8);
		ram_put(TABLE + 0x8c + i * 16, i & 1 ? 0x3fffff : 0, 4);
	}
	ram_put(CLB, 5 | 0xffff0000u, 4);
	(void)issue(0);
	ram_put(CLB + 8, RAM_SIZE - 0x80, 8);
	memcpy(ram(RAM_SIZE - 0x80, 20), fis, 20);
	CHECK(issue(0) != 0);
	ram_put(CLB + 8, ~0x7fUL, 8);
	CHECK(issue(0) == IS_HBF);
	/* A FIS of no or too many words. */
	for (cfl = 0; cfl < 32; cfl++) {
		put_command(fis, DATA, 4096, cfl);
		CHECK((issue(0) == 0) == (cfl >= 5 && cfl <= 16));
	}
	/* One that comes from a device. */
	fis[0] = 0x34;
	put_command(fis, DATA, 4096, 5);
	CHECK(issue(0) == IS_IF);
	/* An odd number of bytes. */
	CHECK(read_dma(7, 1, DATA + 1, 513) == 0 ||
	    read_dma(7, 1, DATA, 512) == 0);
	good_read();
	machine_down();
}

ROW(A03_ncq_uaf)
{
	uint8_t fis[20];
	int i, j;

	ahci_on();
	for (i = 0; i < 100; i++) {
		fis_of(fis, i & 1 ? 0x60 : 0x61, SECTORS - 1 - (uint64_t)i, 0);
		fis[3] = (uint8_t)(i % 3); /* the count of NCQ */
		fis[12] = (uint8_t)(i % 5 == 0 ? 0xf8 : 0); /* not its tag */
		put_command(fis, DATA, 1024, 5);
		port_write(0, P_SACT, 1);
		port_write(0, P_CI, 1);
		/* The slot again while it is at work, and all others. */
		port_write(0, P_CI, 1);
		port_write(0, P_SACT, ~0U);
		for (j = 1; j < 32; j++) {
			ram_put(CLB + (uint64_t)j * 32, 5 | 1 << 16, 4);
			ram_put(CLB + (uint64_t)j * 32 + 8, TABLE, 8);
		}
		port_write(0, P_CI, ~0U);
		if (i % 3 == 0)
			port_write(0, P_SCTL, 1);
		port_write(0, P_SCTL, 0);
		port_on(0);
	}
	good_read();
	/* One by one: a tag that is another slot's, then its own. */
	for (i = 1; i >= 0; i--) {
		fis_of(fis, 0x60, 7, 0);
		fis[3] = 2;
		fis[12] = (uint8_t)(i << 3);
		memset(ram(DATA, 1024), 0xcc, 1024);
		put_command(fis, DATA, 1024, 5);
		port_write(0, P_SACT, 1);
		CHECK(issue(0) == (i == 0 ? 0 : IS_TFE));
		for (j = 0; j < 20000 && (port_read(0, P_SACT) & 1) != 0; j++)
			usleep(100);
		CHECK(ram_get(DATA, 1) == (i == 0 ? 7 : 0xcc));
	}
	/* Past the end, by sum and by product. */
	fis_of(fis, 0x60, SECTORS - 1, 0);
	fis[3] = 2;
	put_command(fis, DATA, 1024, 5);
	port_write(0, P_SACT, 1);
	CHECK(issue(0) == IS_TFE);
	CHECK(read_dma(SECTORS, 1, DATA, 512) == IS_TFE);
	CHECK(read_dma(SECTORS - 1, 2, DATA, 1024) == IS_TFE);
	CHECK(read_dma(0xffffffffffff, 0, DATA, 1024) == IS_TFE);
	good_read();
	machine_down();
}

ROW(A04_fis_unmap)
{
	uint8_t fis[20];

	ahci_on();
	port_write(0, P_CMD, 0x16);
	port_write(0, 8, 0);
	port_write(0, 0xc, 0xffffffff); /* received FISes nowhere */
	port_write(0, P_CMD, 0x17);
	fis_of(fis, 0xec, 0, 0);
	put_command(fis, DATA, 512, 5);
	(void)issue(0);
	port_write(0, P_CMD, 0x16);
	port_write(0, 0, RAM_SIZE - 0x400);
	port_write(0, 4, 0);
	port_write(0, P_CMD, 0x17);
	port_write(0, 0, RAM_SIZE); /* while it runs */
	port_write(0, P_CI, ~0U);
	port_write(0, 4, 0xffffffff);
	port_write(0, P_CI, ~0U);
	port_write(0, P_CMD, 0x07); /* no received FISes at all */
	port_on(0);
	good_read();
	machine_down();
}

#define LONG_DATA 0x200000UL
#define LONG_PIECES 512u

/* A read of 2 MiB in so many pieces that the back end gets several parts. */
static void
put_long_read(void)
{
	uint8_t fis[20];
	uint64_t i;

	fis_of(fis, 0x25, 0, LONG_PIECES * 8);
	put_command(fis, LONG_DATA, 4096, 5);
	for (i = 0; i < LONG_PIECES; i++) {
		ram_put(TABLE + 0x80 + i * 16, LONG_DATA + i * 4096, 8);
		ram_put(TABLE + 0x8c + i * 16, 4095, 4);
	}
	ram_put(CLB, 5 | LONG_PIECES << 16, 4);
}

/* Every way of stopping waits for what is at work, and ends it. */
static void
stops(void)
{
	uint8_t *p = ram(LONG_DATA, LONG_PIECES * 4096);
	int i;

	for (i = 0; i < 60; i++) {
		put_long_read();
		port_write(0, P_CI, 1);
		if (i % 2 == 0)
			usleep((useconds_t)i * 5);
		if (i % 3 == 0)
			port_write(0, P_SCTL, 1);
		else if (i % 3 == 1)
			port_write(0, P_CMD, 0x16);
		else
			reg_write(5, 4, 0x80000003u);
		/* The memory is the driver's now. */
		memset(p, 0x5a, LONG_PIECES * 4096);
		memset(ram(FB, 256), 0x5a, 256);
		usleep(500);
		CHECK(memcmp(p, p + 1, LONG_PIECES * 4096 - 1) == 0);
		CHECK(p[0] == 0x5a && ram_get(FB + 0x40, 1) == 0x5a);
		CHECK((port_read(0, P_CI) & 1) == 0);
		port_write(0, P_SCTL, 0);
		reg_write(5, 4, 0x80000002u);
		port_on(0);
	}
	good_read();
}

ROW(A05_reset_deadlock)
{
	uint8_t fis[20] = { 0x27 };
	int i;

	ahci_on();
	stops();
	/* Between the two FISes of a reset there are no commands. */
	fis[15] = 4;
	put_command(fis, DATA, 0, 5);
	(void)issue(0);
	CHECK(read_dma(7, 2, DATA, 1024) == IS_IF);
	fis[15] = 0;
	put_command(fis, DATA, 0, 5);
	(void)issue(0);
	good_read();
	for (i = 0; i < 50; i++) {
		/* Software reset by FIS, with transfers at work. */
		port_write(0, P_CI, 1);
		fis[15] = i & 1 ? 0 : 4;
		put_command(fis, DATA, 0, 5);
		port_write(0, P_CI, 1);
		if (i % 7 == 0)
			reg_write(5, 4, 0x80000003u); /* of the adapter */
		if (i % 5 == 0) {
			port_write(0, P_SCTL, 1);
			port_write(0, P_CI, ~0U);
			port_write(0, P_SCTL, 0);
		}
		reg_write(5, 4, 0x80000002u);
		port_on(0);
	}
	memset(fis, 0, sizeof(fis));
	fis[0] = 0x27;
	put_command(fis, DATA, 0, 5);
	(void)issue(0);
	port_on(0);
	good_read();
	machine_down();
}

ROW(A06_atapi)
{
	uint8_t acmd[12];
	uint32_t room, op;

	ahci_on();
	for (op = 0; op < 256; op++) {
		memset(acmd, 0xff, sizeof(acmd));
		acmd[0] = (uint8_t)op;
		(void)packet(acmd, 64);
		memset(acmd, 0, sizeof(acmd));
		acmd[0] = (uint8_t)op;
		(void)packet(acmd, 0);
	}
	/* Never more than was allowed, by count and by buffer. */
	for (room = 0; room < 64; room++) {
		memset(acmd, 0, sizeof(acmd));
		acmd[0] = 0x12; /* INQUIRY */
		acmd[4] = (uint8_t)room;
		(void)packet(acmd, 4096);
		CHECK(ram_get(DATA + room, 1) == 0xcc);
		acmd[0] = 0x4a; /* GET EVENT STATUS NOTIFICATION */
		acmd[1] = 1;
		acmd[4] = 0x10;
		acmd[7] = (uint8_t)(room >> 8);
		acmd[8] = (uint8_t)room;
		(void)packet(acmd, 4096);
		CHECK(ram_get(DATA + room, 1) == 0xcc);
		acmd[0] = 0x43; /* READ TOC */
		(void)packet(acmd, room == 0 ? 2 : room + room % 2);
		CHECK(ram_get(DATA + room + 2, 1) == 0xcc);
	}
	/* Beyond the medium: illegal request, address out of range. */
	memset(acmd, 0, sizeof(acmd));
	acmd[0] = 0x28;
	acmd[2] = 0xff;
	acmd[8] = 1;
	CHECK(packet(acmd, 2048) == IS_TFE);
	acmd[0] = 0x03;
	acmd[2] = acmd[8] = 0;
	acmd[4] = 18;
	CHECK(packet(acmd, 18) == 0);
	CHECK(
	    (ram_get(DATA + 2, 1) & 15) == 5 && ram_get(DATA + 12, 1) == 0x21);
	memset(acmd, 0xff, sizeof(acmd));
	acmd[0] = 0xa8;
	CHECK(packet(acmd, 2048) == IS_TFE);
	memset(acmd, 0, sizeof(acmd));
	acmd[0] = 0x28;
	acmd[8] = 1;
	CHECK(packet(acmd, 2048) == 0 && ram_get(DATA + 512, 1) == 1);
	machine_down();
}

/* Without bus mastering there is no memory for it, as P04 has it. */
ROW(own_ahci_without_bus_master)
{
	uint8_t fis[20];

	ahci_on();
	memset(ram(DATA, 1024), 0xcc, 1024);
	fis_of(fis, 0x25, 7, 2);
	put_command(fis, DATA, 1024, 5);
	cfg_write(3, 4, 2, 2);
	port_write(0, P_IS, ~0U);
	port_write(0, P_CI, 1);
	usleep(20000);
	CHECK((port_read(0, P_IS) & IS_HBF) != 0);
	CHECK(ram_get(DATA, 8) == 0xccccccccccccccccUL);
	cfg_write(3, 4, 2, 6);
	port_on(0);
	good_read();
	machine_down();
}
