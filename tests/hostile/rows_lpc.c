/*
 * Rows of the LPC devices, the chips that keep time and interrupt, and the
 * firmware's interfaces.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "rows.h"
#include "vmmapi.h"

#define NO_VARIABLE 2u /* fwctl's errors are errno's */
#define TOO_LONG 7u

/* ---- fwctl ---- */

static void
fwctl_start(void)
{
	static const char name[] = "BHYV";
	int i;

	pio_out(0x510, 2, 0);
	for (i = 0; i < 4; i++)
		CHECK(pio_in(0x511, 1) == (uint8_t)name[i]);
}

/* OP_NULL's answer: the conversation is in step. */
static void
fwctl_good(void)
{
	pio_out(0x510, 4, 12);
	pio_out(0x510, 4, 1);
	pio_out(0x510, 4, 0x77);
	CHECK(pio_in(0x510, 4) == 16);
	CHECK(pio_in(0x510, 4) == 1);
	CHECK(pio_in(0x510, 4) == 0x77);
	CHECK(pio_in(0x510, 4) == 0);
	CHECK(pio_in(0x510, 4) == ~0U);
}

ROW(B03_fwctl_short_req)
{
	uint32_t size;

	firmware_up("lpc.fwcfg=bhyve");
	fwctl_start();
	for (size = 0; size < 12; size++) {
		pio_out(0x510, 4, size);
		fwctl_good();
	}
	/* Longer than any room: the words go nowhere, then an error. */
	pio_out(0x510, 4, 12 + 4000);
	pio_out(0x510, 4, 2);
	pio_out(0x510, 4, 0);
	for (size = 0; size < 4000; size += 4)
		pio_out(0x510, 4, 0x41414141);
	CHECK(pio_in(0x510, 4) == 16 && pio_in(0x510, 4) == 2);
	CHECK(pio_in(0x510, 4) == 0 && pio_in(0x510, 4) != 0);
	fwctl_good();
	/* 4 GiB to come: the guest sends what it likes. */
	pio_out(0x510, 4, 0xffffffff);
	for (size = 0; size < 100000; size++)
		pio_out(0x510, 4, 0x42424242);
	machine_down();
}

/* A request of n bytes, each word the same; the error of its answer. */
static uint32_t
fwctl_ask(uint32_t op, uint32_t n, uint32_t word, uint32_t *size)
{
	uint32_t error, i;

	pio_out(0x510, 4, 12 + n);
	(void)pio_in(0x510, 4); /* nothing to be had yet */
	pio_out(0x510, 4, op);
	pio_out(0x510, 1, 0xff); /* no word */
	pio_out(0x510, 4, n);
	for (i = 0; i < n; i += 4) {
		pio_out(0x511, 4, 0);
		pio_out(0x510, 4, word);
	}
	*size = pio_in(0x510, 4) - 16;
	(void)pio_in(0x511, 1);
	CHECK(pio_in(0x510, 4) == op);
	CHECK(pio_in(0x510, 4) == n);
	error = pio_in(0x510, 4);
	pio_out(0x510, 2, 0);
	return (error);
}

ROW(B11_fwctl_string)
{
	/* As text, and as numbers that would set a cursor back. */
	static const uint32_t words[] = { 0x6e2e7768, 0, 0x01010101, ~0U };
	static const char name[12] = "hw.ncpu\0hw.";
	uint32_t i, n, size, word;

	firmware_up("lpc.fwcfg=bhyve");
	/* Words before the signature was read, reads while writing. */
	for (i = 0; i < 100; i++) {
		pio_out(0x510, 4, 12);
		(void)pio_in(0x510, 4);
	}
	fwctl_start();
	/* Names without an end, of all lengths around the room for them. */
	for (n = 1; n < 200; n++) {
		for (i = 0; i < 4; i++) {
			CHECK(fwctl_ask(3 + (n & 1), n, words[i], &size) ==
			    (n > 80 ? TOO_LONG : NO_VARIABLE));
			CHECK(size == 0);
		}
	}
	/* All of what was sent comes back, or nothing. */
	for (n = 1; n < 200; n++) {
		CHECK(fwctl_ask(2, n, 0xa5a5a5a5, &size) ==
		    (n > 80 ? TOO_LONG : 0));
		CHECK(size == (n > 80 ? 0 : (n + 3) / 4 * 4));
		for (i = 0; i < size; i += 4) {
			word = n - i < 4 ? 0xa5a5a5a5 >> (32 - (n - i) * 8)
					 : 0xa5a5a5a5;
			CHECK(pio_in(0x510, 4) == word);
		}
	}
	/* The name that there is: with its end, without, and longer ones. */
	for (n = 1; n <= sizeof(name); n++) {
		pio_out(0x510, 4, 12 + n);
		pio_out(0x510, 4, 3);
		pio_out(0x510, 4, 0);
		for (i = 0; i < n; i += 4) {
			memcpy(&word, name + i, 4);
			pio_out(0x510, 4, word);
		}
		CHECK(pio_in(0x510, 4) == 16 + (n >= 7 ? 4 : 0));
		(void)pio_in(0x510, 4);
		(void)pio_in(0x510, 4);
		CHECK(pio_in(0x510, 4) == (n >= 7 ? 0 : NO_VARIABLE));
		if (n >= 7)
			CHECK(pio_in(0x510, 4) == 1);
	}
	/* What an earlier request left behind is no part of a name. */
	CHECK(fwctl_ask(2, 80, 0x6e2e7768, &size) == 0);
	for (i = 0; i < 80; i += 4)
		(void)pio_in(0x510, 4);
	pio_out(0x510, 4, 12 + 4);
	pio_out(0x510, 4, 3);
	pio_out(0x510, 4, 0);
	pio_out(0x510, 4, 0x6e2e7768);
	for (i = 0; i < 3; i++)
		(void)pio_in(0x510, 4);
	CHECK(pio_in(0x510, 4) == NO_VARIABLE);
	fwctl_good();
	machine_down();
}

/* ---- fw_cfg ---- */

/* A DMA control block at gpa; its control word afterwards. */
static uint32_t
fwcfg_dma(uint64_t gpa, uint32_t control, uint32_t len, uint64_t addr)
{
	if (gpa < RAM_SIZE - 15) {
		ram_put(gpa, __builtin_bswap32(control), 4);
		ram_put(gpa + 4, __builtin_bswap32(len), 4);
		ram_put(gpa + 8, __builtin_bswap64(addr), 8);
	}
	pio_out(0x514, 4, __builtin_bswap32((uint32_t)(gpa >> 32)));
	pio_out(0x518, 4, __builtin_bswap32((uint32_t)gpa));
	return (gpa < RAM_SIZE - 15
		? __builtin_bswap32((uint32_t)ram_get(gpa, 4))
		: 1);
}

static uint32_t
mem_read_rom(size_t off)
{
	uint32_t *rom = vm_map_devmem(machine_ctx(), ROM, ROM_BYTES);

	CHECK(rom != NULL);
	return (rom[off / 4]);
}

ROW(F04_fw_cfg)
{
	uint32_t key;
	int64_t start = now_us();

	firmware_up("lpc.fwcfg=qemu");
	CHECK(fwcfg_dma(0x1000, 0 << 16 | 8 | 2, 4, 0x2000) == 0);
	CHECK(ram_get(0x2000, 4) == 0x554d4551); /* "QEMU" */
	/* Unknown keys, and far past an item's end: zeroes. */
	for (key = 0; key < 0x10000; key += 13) {
		ram_put(0x2000, ~0UL, 8);
		CHECK(fwcfg_dma(0x1000, key << 16 | 8 | 4, 0xffffffff, 0) == 0);
		CHECK(fwcfg_dma(0x1000, 2, 8, 0x2000) == 0);
		CHECK(ram_get(0x2000, 8) == 0);
		pio_out(0x510, 2, key);
		(void)pio_in(0x511, 1);
		(void)pio_in(0x511, 4);
		pio_out(0x511, 1, 0x55);
	}
	/* Control blocks at the end of memory, wrapping, of nowhere. */
	(void)fwcfg_dma(RAM_SIZE - 16, 2, 4, 0x2000);
	(void)fwcfg_dma(RAM_SIZE - 15, 2, 4, 0x2000);
	(void)fwcfg_dma(~0UL, 2, 4, 0x2000);
	(void)fwcfg_dma(~0UL - 15, 2, 4, 0x2000);
	(void)fwcfg_dma(0xfee00000, 2, 4, 0x2000);
	/* 4 GiB, into itself, over the end, into registers. */
	CHECK(fwcfg_dma(0x1000, 2, 0xffffffff, 0x2000) == 1);
	CHECK(fwcfg_dma(0x1000, 2, 64, RAM_SIZE - 63) == 1);
	CHECK(fwcfg_dma(0x1000, 2, 16, ~0UL - 7) == 1);
	CHECK(fwcfg_dma(0x1000, 2, 4, 0xfee00030) == 1);
	/* The firmware's own image is no memory of the guest's to write. */
	CHECK(fwcfg_dma(0x1000, 0 << 16 | 8 | 2, 4, ROM) == 1);
	CHECK(fwcfg_dma(0x1000, 0 << 16 | 8 | 2, 4, ROM - 2) == 1);
	(void)fwcfg_dma(ROM, 2, 4, 0x2000);
	CHECK(mem_read_rom(0) == 0xf4f4f4f4);
	(void)fwcfg_dma(0x1000, 0 << 16 | 8 | 2, 32, 0x1000);
	/* Writes to what is read-only. */
	CHECK(fwcfg_dma(0x1000, 0 << 16 | 8 | 0x10, 4, 0x2000) == 1);
	CHECK(now_us() - start < 20000000);
	CHECK(fwcfg_dma(0x1000, 0 << 16 | 8 | 2, 4, 0x2000) == 0);
	CHECK(ram_get(0x2000, 4) == 0x554d4551);
	machine_down();
}

/* ---- keyboard and mouse ---- */

static const char *const plain[] = { "-s 0,hostbridge", "-s 31,lpc", NULL };

/* Bytes that wait in the controller and its devices; they are gone then. */
static int
fetched(void)
{
	int n;

	for (n = 0; n < 1000 && (pio_in(0x64, 1) & 1) != 0; n++)
		(void)pio_in(0x60, 1);
	return (n);
}

ROW(F02_ps2)
{
	int i, j;

	machine_up(plain);
	for (i = 0; i < 256; i++) {
		pio_out(0x64, 1, (uint32_t)i);
		for (j = 0; j < 20; j++) /* more than any queue holds */
			pio_out(0x60, 1, (uint32_t)(i * j));
		pio_out(0x64, 1, 0xd4);
		for (j = 0; j < 20; j++)
			pio_out(0x60, 1, 0xff);
		(void)pio_in(0x64, 4);
		(void)pio_in(0x60, 2);
	}
	for (i = 0; i < 2000; i++) {
		pio_out(0x64, 1, 0xd2);
		pio_out(0x60, 1, 0x5a);
		pio_out(0x64, 1, 0xd3);
		pio_out(0x60, 1, 0xeb);
	}
	for (i = 0; i < 4000; i++)
		(void)pio_in(0x60, 1);
	/* Answers that nobody fetches: as many as a queue holds, then none. */
	for (i = 0; i < 100; i++)
		pio_out(0x60, 1, 0xee);
	CHECK((j = fetched()) > 0 && j <= 20);
	for (i = 0; i < 100; i++) {
		pio_out(0x64, 1, 0xd4);
		pio_out(0x60, 1, 0xeb);
	}
	CHECK((j = fetched()) > 0 && j <= 20);
	CHECK(fetched() == 0);
	/* The self-test still answers. */
	pio_out(0x64, 1, 0xaa);
	for (i = 0; i < 100 && (pio_in(0x64, 1) & 1) == 0; i++)
		continue;
	CHECK(pio_in(0x60, 1) == 0x55);
	machine_down();
}

/* ---- clocks ---- */

static void
clocks(void)
{
	int i;

	for (i = 0; i < 256; i++) {
		pio_out(0x70, 1, (uint32_t)i);
		(void)pio_in(0x71, 1);
		(void)pio_in(0x71, 4);
		pio_out(0x71, 2, 0xffff);
		pio_out(0x71, 1, (uint32_t)i);
		pio_out(0x43, 1, (uint32_t)i);
		pio_out(0x40 + (i & 3), 1, 0); /* divisor 0 and 1 */
		pio_out(0x40 + (i & 3), 1, (uint32_t)i & 1);
		(void)pio_in(0x40 + (i & 3), 4);
		pio_out(0x61, 1, (uint32_t)i);
		(void)pio_in(0x408, 4);
		pio_out(0x408, 4, ~0U);
		(void)pio_in(0x409, 2);
	}
}

static void
hpet(void)
{
	static const uint64_t periods[] = { 0, 1, 0xffffffff, ~0UL };
	uint64_t off;
	int64_t start;
	size_t i;

	for (off = 0; off < 0x400; off++) {
		for (int bytes = 1; bytes <= 8; bytes *= 2) {
			(void)mem_read(HPET + off, bytes);
			mem_write(HPET + off, bytes, ~0UL);
		}
	}
	(void)mem_read(HPET + 0x3ff, 8);
	mem_write(HPET + 0x3fc, 8, ~0UL);
	/* A period of nothing must not keep the host busy. */
	for (i = 0; i < 4; i++) {
		mem_write(HPET + 0x10, 8, 1);
		mem_write(HPET + 0x100, 8, 1 << 2 | 1 << 3 | 1 << 6 | 20 << 9);
		mem_write(HPET + 0x108, 8, periods[i]);
		start = now_us();
		usleep(20000);
		(void)mem_read(HPET + 0xf0, 8);
		CHECK(now_us() - start < 2000000);
	}
	mem_write(HPET + 0x10, 8, 0);
}

static void
apics(void)
{
	uint64_t off;
	uint32_t i;

	for (off = 0; off < 0x1000; off += 4) {
		for (int bytes = 1; bytes <= 8; bytes *= 2) {
			(void)mem_read(LAPIC + off + (off & 1), bytes);
			mem_write(LAPIC + off, bytes, 0);
		}
	}
	(void)mem_read(LAPIC + 0xffd, 4);
	lapic_on();
	for (i = 0; i < 256; i++) {
		mem_write(IOAPIC, 4, i);
		(void)mem_read(IOAPIC + 0x10, 4);
		mem_write(IOAPIC + 0x10, 4, 0xffffffff);
		mem_write(IOAPIC + 0x10, 8, ~0UL);
		(void)mem_read(IOAPIC + i, 1);
		mem_write(IOAPIC + 0x40, 4, i);
		mem_write(LAPIC + 0x300, 4, 0x40000 | i); /* to itself */
		mem_write(LAPIC + 0x320, 4, i | 0x20000); /* periodic */
		mem_write(LAPIC + 0x3e0, 4, 0xb);
		mem_write(LAPIC + 0x380, 4, i == 0 ? 0 : 1);
		(void)irq_taken((int)i);
	}
	mem_write(LAPIC + 0x380, 4, 0);
	for (i = 0; i < 256; i++) { /* both 8259, every word in any order */
		pio_out(0x20, 1, i);
		pio_out(0xa0, 1, 255 - i);
		pio_out(0x21, 1, i);
		pio_out(0xa1, 1, i);
		pio_out(0x4d0, 1, i);
		pio_out(0x4d1, 2, i);
		(void)pio_in(0x20, 1);
		(void)pio_in(0xa1, 2);
		(void)pio_in(0x4d0, 4);
	}
}

static void
uart(void)
{
	int i;

	/* Divisor 0, more than the FIFO holds, every register and size. */
	pio_out(0x3fb, 1, 0x83);
	pio_out(0x3f8, 1, 0);
	pio_out(0x3f9, 1, 0);
	pio_out(0x3fb, 1, 0x13);
	pio_out(0x3fc, 1, 0x10); /* looped back */
	for (i = 0; i < 3000; i++) {
		pio_out(0x3f8, 1, (uint32_t)i);
		pio_out(0x3f8 + i % 8, 1 << i % 3, (uint32_t)i * 7);
		(void)pio_in(0x3f8 + i % 7, 1 << i % 3);
	}
	pio_out(0x3fb, 1, 3);
	pio_out(0x3fc, 1, 0x10);
	pio_out(0x3fa, 1, 7);
	for (i = 0; i < 100; i++)
		pio_out(0x3f8, 1, (uint32_t)i);
	for (i = 0; (pio_in(0x3fd, 1) & 1) != 0; i++)
		(void)pio_in(0x3f8, 1);
	CHECK(i > 0 && i <= 16);
	/* More than there is cannot be taken. */
	for (i = 0; i < 100; i++)
		(void)pio_in(0x3f8, 1);
	CHECK((pio_in(0x3fd, 1) & 1) == 0);
	pio_out(0x3f8, 1, 0x77);
	CHECK((pio_in(0x3fd, 1) & 1) != 0 && pio_in(0x3f8, 1) == 0x77);
	CHECK((pio_in(0x3fd, 1) & 1) == 0);
}

ROW(F03_clocks_and_uart)
{
	static const char *const settings[] = { "-s 0,hostbridge", "-s 31,lpc",
		"lpc.com1.path=socket,com1", NULL };
	int64_t start = now_us();

	CHECK(chdir(machine_file(".")) == 0);
	machine_up(settings);
	clocks();
	hpet();
	apics();
	uart();
	/* Power management: no sleep state that it does not have. */
	pio_out(0x404, 2, 0x2000);
	pio_out(0x402, 4, ~0U);
	(void)pio_in(0x405, 4);
	pio_out(0xb2, 1, 0x77);
	CHECK(now_us() - start < 30000000);
	machine_down();
}
