/*
 * Rows of the NVMe controller.
 */
#include <string.h>
#include <unistd.h>

#include "rows.h"

#define ASQ 0x100000UL
#define ACQ 0x101000UL
#define SQ 0x102000UL
#define CQ 0x103000UL
#define DATA 0x110000UL
#define LIST 0x180000UL
#define ENTRIES 32u
#define NO_ANSWER 0xffffu

#define RANGE 0x080u
#define PRP_OFFSET 0x013u
#define TRANSFER 0x004u
#define FIELD 0x002u

static uint32_t tail[2], head[2], phase[2];
static uint32_t answer; /* dword 0 of the last completion */

struct command {
	uint32_t opcode, nsid;
	uint64_t prp1, prp2;
	uint32_t dw[6];
};

static void
controller_on(void)
{
	reg_write(0, 0x14, 0);
	memset(ram(ASQ, 0x4000), 0, 0x4000);
	memset(tail, 0, sizeof(tail));
	memset(head, 0, sizeof(head));
	phase[0] = phase[1] = 1;
	reg_write(0, 0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	reg_write(0, 0x28, ASQ);
	reg_write(0, 0x2c, 0);
	reg_write(0, 0x30, ACQ);
	reg_write(0, 0x34, 0);
	reg_write(0, 0x14, 0x00460001);
	CHECK((reg_read(0, 0x1c) & 3) == 1);
}

static void
put_command(int q, const struct command *c)
{
	uint64_t gpa = (q ? SQ : ASQ) + tail[q] * 64UL;
	int i;

	memset(ram(gpa, 64), 0, 64);
	ram_put(gpa, c->opcode | (tail[q] + 1) << 16, 4);
	ram_put(gpa + 4, c->nsid, 4);
	ram_put(gpa + 24, c->prp1, 8);
	ram_put(gpa + 32, c->prp2, 8);
	for (i = 0; i < 6; i++)
		ram_put(gpa + 40 + (uint64_t)i * 4, c->dw[i], 4);
	tail[q] = (tail[q] + 1) % ENTRIES;
}

/* The status of the next completion. */
static uint32_t
wait_for(int q)
{
	uint64_t gpa = (q ? CQ : ACQ) + head[q] * 16UL;
	uint32_t last;
	int i;

	for (i = 0; i < 20000; i++) {
		last = __atomic_load_n(
		    (uint32_t *)ram(gpa + 12, 4), __ATOMIC_ACQUIRE);
		if ((last >> 16 & 1) == phase[q]) {
			answer = (uint32_t)ram_get(gpa, 4);
			head[q] = (head[q] + 1) % ENTRIES;
			phase[q] ^= head[q] == 0;
			reg_write(0, 0x1004 + (uint64_t)q * 8, head[q]);
			return (last >> 17 & 0x7ff);
		}
		usleep(100);
	}
	return (NO_ANSWER);
}

static uint32_t
submit(int q, struct command c)
{
	put_command(q, &c);
	reg_write(0, 0x1000 + (uint64_t)q * 8, tail[q]);
	return (wait_for(q));
}
#define ADMIN(...) submit(0, (struct command) { __VA_ARGS__ })
#define IO(...) submit(1, (struct command) { __VA_ARGS__ })

static void
queues_on(void)
{
	controller_on();
	CHECK(ADMIN(5, 0, CQ, 0, { 1 | (ENTRIES - 1) << 16, 3 }) == 0);
	CHECK(
	    ADMIN(1, 0, SQ, 0, { 1 | (ENTRIES - 1) << 16, 1 | 1 << 16 }) == 0);
}

static void
good_read(void)
{
	memset(ram(DATA, 4096), 0xcc, 4096);
	CHECK(IO(2, 1, DATA, 0, { 7, 0, 1 }) == 0);
	CHECK(ram_get(DATA, 1) == 7 && ram_get(DATA + 1023, 1) == 8);
	CHECK(ram_get(DATA + 1024, 1) == 0xcc);
}

static void
disk_on(void)
{
	one_device("nvme,disk,maxq=4,sectsz=512");
	queues_on();
	good_read();
}

ROW(B23_nvme_logpage)
{
	static const uint32_t logs[] = { 1, 2, 3, 4 };
	uint32_t off, n;
	size_t i;

	disk_on();
	for (i = 0; i < 4; i++) {
		for (off = 0; off < 9000; off += 508) {
			for (n = 0; n < 4; n++) {
				memset(ram(DATA, 16384), 0xcc, 16384);
				/* NUMD is 32 bits in two registers. */
				(void)ADMIN(2, 0xffffffff, DATA, DATA + 4096,
				    { logs[i] | (n & 1 ? 0xffff0000u : n << 16),
					n > 2 ? 0xffff : 0, off });
				CHECK(ram_get(DATA + 4096, 8) ==
				    0xccccccccccccccccUL);
			}
		}
		CHECK(ADMIN(2, 0, DATA, 0,
			  { logs[i], 0, 0xfffffffc, 0xffffffff }) == FIELD);
		CHECK(ADMIN(2, 0, DATA, 0, { logs[i], 0, 4096 }) == FIELD);
		CHECK(ADMIN(2, 0, DATA, 0, { logs[i], 0, 2 }) == FIELD);
	}
	CHECK(ADMIN(2, 0, DATA, 0, { 0x80 }) == 0x109);
	good_read();
	machine_down();
}

/* A doorbell that is none is told to whoever asked, and nothing else is. */
static void
bad_doorbell(uint64_t reg, uint32_t val, uint32_t event)
{
	put_command(0, &(struct command) { .opcode = 0x0c });
	reg_write(0, 0x1000, tail[0]);
	reg_write(0, reg, val);
	CHECK(wait_for(0) == 0 && answer == event);
	good_read();
}

#define NO_DOORBELL 0x010000u /* what an event says of it */
#define NO_VALUE 0x010100u

ROW(B27_nvme_queue_loop)
{
	uint32_t q;
	int64_t start = now_us();

	disk_on();
	for (q = 0; q < 2; q++) {
		bad_doorbell(0x1000 + q * 8UL, ENTRIES, NO_VALUE);
		bad_doorbell(0x1000 + q * 8UL, 0xffff, NO_VALUE);
		bad_doorbell(0x1000 + q * 8UL, 0xffffffff, NO_VALUE);
		bad_doorbell(0x1004 + q * 8UL, ENTRIES, NO_VALUE);
		/* Ahead of what there is; behind what was taken already. */
		bad_doorbell(
		    0x1004 + q * 8UL, (head[q] + 3) % ENTRIES, NO_VALUE);
		bad_doorbell(0x1004 + q * 8UL,
		    (head[q] + ENTRIES - 1) % ENTRIES, NO_VALUE);
	}
	bad_doorbell(0x1000 + 3 * 8UL, 1, NO_DOORBELL);
	bad_doorbell(0x1004 + 3 * 8UL, 1, NO_DOORBELL);
	bad_doorbell(0x1000 + 9 * 8UL, 1, NO_DOORBELL);
	bad_doorbell(0x3ffc, 0, NO_DOORBELL);
	/* Nothing that lies in the ring is done, either. */
	ram_put(DATA, 0xcccccccc, 4);
	for (q = 0; q < ENTRIES; q++)
		put_command(1,
		    &(struct command) { .opcode = 2, .nsid = 1, .prp1 = DATA });
	reg_write(0, 0x1008, ENTRIES);
	usleep(20000);
	CHECK(ram_get(DATA, 4) == 0xcccccccc);
	CHECK(now_us() - start < 10000000);
	queues_on();
	good_read();
	machine_down();
}

ROW(B41_nvme_prp1_zero)
{
	disk_on();
	ram_put(0, 0x1234, 4);
	CHECK(IO(1, 1, 0, 0, { 100, 0, 7 }) == 0);
	CHECK(IO(2, 1, DATA, 0, { 100, 0, 0 }) == 0);
	CHECK((ram_get(DATA, 4) & 0xffff) == 0x1234);
	CHECK(IO(2, 1, 0, 0, { 101, 0, 15 }) == 0);
	CHECK(IO(2, 1, DATA, 0, { 0, 0, 15 }) == 0);
	good_read();
	machine_down();
}

/* A list of n pages at gpa, a page apart from DATA on. */
static void
fill_list(uint64_t gpa, int n)
{
	int i;

	for (i = 0; i < n; i++)
		ram_put(
		    gpa + (uint64_t)i * 8, DATA + (uint64_t)(i % 16) * 4096, 8);
}

ROW(B42_nvme_prplist_512)
{
	disk_on();
	/* 513 pages: PRP1 and a full list, whose last entry is data. */
	fill_list(LIST, 512);
	ram_put(LIST + 511 * 8, 0x200000, 8);
	memset(ram(0x200000, 4096), 0xcc, 4096);
	CHECK(IO(2, 1, DATA + 0x800, LIST, { 0, 0, 4095 }) == 0);
	CHECK(ram_get(0x200000, 1) == (2 * 1024 * 1024 - 2048) / 512 % 256);
	CHECK(ram_get(0x200000 + 2048, 1) == 0xcc);
	/* A list that starts at its page's end: the entry there is a link. */
	ram_put(LIST + 4088, LIST + 0x1000, 8);
	fill_list(LIST + 0x1000, 3);
	ram_put(LIST + 0x1000, 0x200000, 8);
	CHECK(IO(2, 1, DATA + 0x8000, LIST + 4088, { 0, 0, 31 }) == 0);
	CHECK(ram_get(DATA + 0x8000, 1) == 0 && ram_get(0x200000, 1) == 8);
	CHECK(ram_get(DATA + 4096, 1) == 16 && ram_get(DATA + 8192, 1) == 24);
	CHECK(ram_get(LIST + 0x1000, 8) == 0x200000);
	good_read();
	machine_down();
}

ROW(B43_nvme_prp_cross)
{
	disk_on();
	memset(ram(DATA, 0x20000), 0xcc, 0x20000);
	CHECK(IO(2, 1, DATA + 0xf00, DATA + 0x8000, { 9, 0, 0 }) == 0);
	CHECK(ram_get(DATA + 0xf00, 1) == 9 && ram_get(DATA + 0xfff, 1) == 9);
	CHECK(ram_get(DATA + 0x1000, 1) == 0xcc);
	CHECK(ram_get(DATA + 0x8000, 1) == 9 && ram_get(DATA + 0x80ff, 1) == 9);
	CHECK(ram_get(DATA + 0x8100, 1) == 0xcc);
	/* IDENTIFY over two pages, too. */
	CHECK(ADMIN(6, 0, DATA + 0xff0, DATA + 0x9000, { 1 }) == 0);
	CHECK(ram_get(DATA + 0x9000 + 512 - 16, 1) == 0x66);
	machine_down();
}

ROW(B44_nvme_init)
{
	static const uint32_t both = (ENTRIES - 1) << 16 | (ENTRIES - 1);
	static const struct {
		uint32_t aqa, cc;
		uint64_t asq, acq;
	} bad[] = { { 0, 0x00460001, ASQ, ACQ }, /* queues of one entry */
		{ ENTRIES - 1, 0x00460001, ASQ, ACQ },
		{ (ENTRIES - 1) << 16, 0x00460001, ASQ, ACQ },
		{ both, 0x00460011, ASQ, ACQ }, /* command set */
		{ both, 0x00460081, ASQ, ACQ }, /* page size */
		{ both, 0x00460801, ASQ, ACQ }, /* arbitration */
		{ both, 0x00461fff, ASQ, ACQ },
		{ both, 0x00460001, RAM_SIZE, ACQ },
		{ (ENTRIES - 1) << 16 | 0xfff, 0x00460001, RAM_SIZE - 0x1000,
		    ACQ },
		{ both, 0x00460001, 0xfffffffffffff000UL, ACQ },
		{ both, 0x00460001, 0xfee00000, ACQ },
		{ both, 0x00460001, ASQ, RAM_SIZE },
		{ 0x0fff0000 | (ENTRIES - 1), 0x00460001, ASQ,
		    RAM_SIZE - 0x1000 },
		{ both, 0x00460001, ASQ, 0xfffffffffffff000UL },
		{ both, 0x00460001, ASQ, 0xfee00000 } };
	size_t i;

	one_device("nvme,disk,maxq=4");
	/* Doorbells, commands and resets before it is ready. */
	for (i = 0; i < 40; i++)
		reg_write(0, 0x1000 + i * 4, 1);
	controller_on();
	put_command(0, &(struct command) { .opcode = 0x0c });
	CHECK(ADMIN(6, 0, DATA, 0, { 1 }) == 0);
	CHECK(answer == 0 && (ram_get(ACQ + 12, 2) & 0xffff) == 2);
	reg_write(0, 0x14, 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		reg_write(0, 0x24, bad[i].aqa);
		reg_write(0, 0x28, (uint32_t)bad[i].asq);
		reg_write(0, 0x2c, (uint32_t)(bad[i].asq >> 32));
		reg_write(0, 0x30, (uint32_t)bad[i].acq);
		reg_write(0, 0x34, (uint32_t)(bad[i].acq >> 32));
		reg_write(0, 0x14, bad[i].cc);
		CHECK((reg_read(0, 0x1c) & 3) == 2); /* CFS, not ready */
		reg_write(0, 0x1000, 1);
		reg_write(0, 0x1004, 1);
		reg_write(0, 0x14, 0);
		CHECK((reg_read(0, 0x1c) & 3) == 0);
	}
	queues_on();
	for (i = 0x1010; i < 0x4000; i += 4)
		reg_write(0, i, 1); /* of queues that are not there */
	queues_on();
	machine_down();
}

ROW(N01_queue_commands)
{
	uint32_t n;

	disk_on();
	CHECK(ADMIN(5, 0, CQ, 0, { 0 | 31 << 16, 3 }) == 0x101);
	CHECK(ADMIN(5, 0, CQ, 0, { 5 | 31 << 16, 3 }) == 0x101);
	CHECK(ADMIN(5, 0, CQ, 0, { 0xffff | 31 << 16, 3 }) == 0x101);
	CHECK(ADMIN(5, 0, CQ, 0, { 1 | 31 << 16, 3 }) == 0x101);
	CHECK(ADMIN(5, 0, CQ, 0, { 2, 3 }) == 0x102);
	CHECK(ADMIN(5, 0, CQ, 0, { 2 | 0xffff0000u, 3 }) == 0x102);
	CHECK(ADMIN(5, 0, CQ, 0, { 2 | 31 << 16, 3 | 5 << 16 }) == 0x108);
	CHECK(ADMIN(5, 0, CQ, 0, { 2 | 31 << 16, 2 }) == FIELD);
	CHECK(ADMIN(5, 0, CQ + 8, 0, { 2 | 31 << 16, 3 }) == PRP_OFFSET);
	CHECK(ADMIN(5, 0, RAM_SIZE, 0, { 2 | 31 << 16, 3 }) == FIELD);
	CHECK(ADMIN(1, 0, SQ, 0, { 0 | 31 << 16, 1 | 1 << 16 }) == 0x101);
	CHECK(ADMIN(1, 0, SQ, 0, { 1 | 31 << 16, 1 | 1 << 16 }) == 0x101);
	CHECK(ADMIN(1, 0, SQ, 0, { 0xffff | 31 << 16, 1 | 1 << 16 }) == 0x101);
	CHECK(ADMIN(1, 0, SQ, 0, { 2, 1 | 1 << 16 }) == 0x102);
	CHECK(ADMIN(1, 0, SQ, 0, { 2 | 0xffff0000u, 1 | 1 << 16 }) == 0x102);
	CHECK(ADMIN(1, 0, SQ, 0, { 2 | 31 << 16, 1 << 16 }) == FIELD);
	CHECK(ADMIN(1, 0, SQ + 8, 0, { 2 | 31 << 16, 1 | 1 << 16 }) ==
	    PRP_OFFSET);
	CHECK(ADMIN(1, 0, RAM_SIZE - 0x1000, 0,
		  { 2 | 127 << 16, 1 | 1 << 16 }) == FIELD);
	CHECK(ADMIN(1, 0, SQ, 0, { 2 | 31 << 16, 1 | 2 << 16 }) == 0x100);
	CHECK(ADMIN(1, 0, SQ, 0, { 2 | 31 << 16, 1 }) == 0x101);
	CHECK(ADMIN(1, 0, SQ, 0, { 2 | 31 << 16, 1 | 99u << 16 }) == 0x101);
	CHECK(ADMIN(1, 0, SQ, 0, { 9 | 31 << 16, 1 | 1 << 16 }) == 0x101);
	CHECK(ADMIN(4, 0, 0, 0, { 1 }) == 0x10c); /* it has a queue */
	CHECK(ADMIN(4, 0, 0, 0, { 0 }) == 0x101);
	CHECK(ADMIN(0, 0, 0, 0, { 0 }) == 0x101);
	CHECK(ADMIN(0, 0, 0, 0, { 3 }) == 0x101);
	CHECK(ADMIN(0, 0, 0, 0, { 1 }) == 0);
	CHECK(ADMIN(0, 0, 0, 0, { 1 }) == 0x101);
	CHECK(ADMIN(4, 0, 0, 0, { 1 }) == 0);
	CHECK(ADMIN(4, 0, 0, 0, { 1 }) == 0x101);
	CHECK(ADMIN(4, 0, 0, 0, { 5 }) == 0x101);
	CHECK(ADMIN(4, 0, 0, 0, { 0xffff }) == 0x101);
	CHECK(ADMIN(0, 0, 0, 0, { 5 }) == 0x101);
	CHECK(ADMIN(0, 0, 0, 0, { 0xffff }) == 0x101);
	reg_write(0, 0x1008, 5); /* doorbells of what is gone */
	reg_write(0, 0x100c, 5);
	queues_on();
	/* Five may wait for an event; the sixth is told so. */
	for (n = 0; n < 5; n++)
		put_command(0, &(struct command) { .opcode = 0x0c });
	CHECK(ADMIN(0x0c, 0, 0, 0, { 0 }) == 0x105);
	queues_on();
	for (n = 0; n < 256; n++)
		(void)ADMIN(n, 0, 0, 0, { n });
	queues_on();
	good_read();
	machine_down();
}

ROW(N02_prp)
{
	uint64_t i;

	disk_on();
	CHECK(IO(2, 1, DATA + 2, 0, { 0, 0, 0 }) == PRP_OFFSET);
	CHECK(IO(2, 1, DATA, DATA + 8, { 0, 0, 15 }) == PRP_OFFSET);
	CHECK(IO(2, 1, DATA, LIST + 4, { 0, 0, 31 }) == PRP_OFFSET);
	CHECK(IO(2, 1, DATA, RAM_SIZE, { 0, 0, 31 }) == TRANSFER);
	CHECK(IO(2, 1, DATA, ~7UL, { 0, 0, 31 }) == TRANSFER);
	ram_put(RAM_SIZE - 8, RAM_SIZE, 8); /* the link out of memory */
	CHECK(IO(2, 1, DATA, RAM_SIZE - 8, { 0, 0, 31 }) == TRANSFER);
	CHECK(IO(2, 1, RAM_SIZE, 0, { 0, 0, 0 }) == TRANSFER);
	CHECK(IO(2, 1, ~3UL, 0, { 0, 0, 7 }) != 0);
	CHECK(IO(2, 1, 0xfee00000, 0, { 0, 0, 0 }) == TRANSFER);
	ram_put(LIST, DATA, 8);
	ram_put(LIST + 8, DATA + 4, 8);
	CHECK(IO(2, 1, DATA, LIST, { 0, 0, 31 }) == PRP_OFFSET);
	ram_put(LIST + 8, RAM_SIZE, 8);
	CHECK(IO(2, 1, DATA, LIST, { 0, 0, 31 }) == TRANSFER);
	/* A list that leads to itself ends with the transfer's length. */
	fill_list(LIST, 511);
	ram_put(LIST + 4088, LIST, 8);
	CHECK(IO(2, 1, DATA, LIST, { 0, 0, 4095 }) <= TRANSFER);
	CHECK(IO(2, 1, DATA, LIST, { 0, 0, 4096 }) == FIELD); /* MDTS */
	CHECK(IO(2, 1, DATA, LIST, { 0, 0, 0xffff }) != 0);
	ram_put(LIST + 4088, LIST + 8, 8); /* a link into a page */
	CHECK(IO(2, 1, DATA + 0x800, LIST + 4080, { 0, 0, 63 }) == PRP_OFFSET);
	/* IDENTIFY has no list: two pages. */
	CHECK(ADMIN(6, 0, DATA + 2, DATA + 4096, { 1 }) == PRP_OFFSET);
	CHECK(ADMIN(6, 0, DATA + 8, DATA + 4104, { 1 }) == PRP_OFFSET);
	CHECK(ADMIN(6, 0, DATA + 8, RAM_SIZE, { 1 }) == TRANSFER);
	CHECK(ADMIN(6, 0, RAM_SIZE, 0, { 1 }) == TRANSFER);
	/* Pages none of which follows the one before: many pieces. */
	for (i = 0; i < 511; i++)
		ram_put(LIST + i * 8, 0x600000 - (i + 1) * 8192, 8);
	CHECK(IO(2, 1, DATA, LIST, { 0, 0, 4095 }) == 0);
	for (i = 0; i < 511; i++)
		CHECK(ram_get(0x600000 - (i + 1) * 8192, 1) ==
		    ((i + 1) * 8 & 0xff));
	good_read();
	machine_down();
}

ROW(N03_lba)
{
	uint32_t last = DISK_BYTES / 512 - 1;
	int i;

	disk_on();
	CHECK(IO(2, 1, DATA, 0, { last, 0, 1 }) == RANGE);
	CHECK(IO(2, 1, DATA, 0, { last + 1, 0, 0 }) == RANGE);
	CHECK(IO(2, 1, DATA, 0, { ~0U, ~0U, 0 }) == RANGE);
	CHECK(IO(2, 1, DATA, 0, { ~0U, ~0U, 0xffff }) == RANGE);
	CHECK(IO(1, 1, DATA, 0, { 0, 0x00800000, 0 }) == RANGE);
	CHECK(IO(8, 1, 0, 0, { 0, 0, 0xffff }) == RANGE);
	CHECK(IO(2, 1, DATA, 0, { last, 0, 0 }) == 0);
	CHECK(IO(2, 0, DATA, 0, { 0 }) == 0x00b);
	CHECK(IO(2, 0xffffffff, DATA, 0, { 0 }) == 0x00b);
	CHECK(IO(2, 77, DATA, 0, { 0 }) == 0x00b);
	/* 256 ranges, of which the last is nowhere; then all fine. */
	for (i = 0; i < 256; i++) {
		ram_put(LIST + (uint64_t)i * 16, 8UL << 32, 8);
		ram_put(LIST + (uint64_t)i * 16 + 8, (uint64_t)i * 8, 8);
	}
	ram_put(LIST + 255 * 16 + 8, ~0UL, 8);
	CHECK(IO(9, 1, LIST, 0, { 255, 4 }) == RANGE);
	CHECK(IO(2, 1, DATA, 0, { 8, 0, 0 }) == 0 && ram_get(DATA, 1) == 8);
	ram_put(LIST + 255 * 16 + 8, 255 * 8, 8);
	CHECK(IO(9, 1, LIST + 4000, RAM_SIZE, { 255, 4 }) == TRANSFER);
	CHECK(IO(9, 1, LIST, 0, { 255, 4 }) == 0);
	machine_down();
}

ROW(N04_log_features)
{
	uint32_t fid, sel, i;

	disk_on();
	for (fid = 0; fid < 256; fid++) {
		for (sel = 0; sel < 8; sel++)
			(void)ADMIN(10, 1, DATA, 0, { fid | sel << 8, ~0U });
		if (fid != 7)
			(void)ADMIN(9, 1, DATA, 0, { fid, ~0U });
		(void)ADMIN(9, 1, DATA, 0, { fid | 0x80000000u, 1 });
	}
	/* Bytes that nobody set are zero, never the host's. */
	for (i = 0; i < 5; i++) {
		memset(ram(DATA, 4096), 0xcc, 4096);
		if (ADMIN(6, 1, DATA, 0, { i }) == 0)
			CHECK(ram_get(DATA + 4088, 8) == 0);
		if (ADMIN(2, ~0U, DATA, 0, { i | 127 << 16 }) == 0)
			CHECK(ram_get(DATA + 504, 8) == 0);
	}
	CHECK(ADMIN(0x10, 0, 0, 0, { 7 }) == 0x106);
	queues_on();
	/* Numbers of features, vectors and queues that there are not. */
	CHECK(ADMIN(10, 1, 0, 0, { 0 }) == FIELD);
	CHECK(ADMIN(10, 1, 0, 0, { 3 }) == FIELD);
	CHECK(ADMIN(10, 1, 0, 0, { 0xff }) == FIELD);
	CHECK(ADMIN(9, 1, 0, 0, { 0xff, 0 }) == FIELD);
	CHECK(ADMIN(9, 1, 0, 0, { 9, 5 }) == FIELD);
	CHECK(ADMIN(10, 1, 0, 0, { 9, 5 }) == FIELD);
	CHECK(ADMIN(10, 1, 0, 0, { 9, 4 }) == 0);
	CHECK(ADMIN(9, 1, 0, 0, { 7, 0 }) == 0x00c); /* they are in use */
	controller_on();
	CHECK(ADMIN(9, 1, 0, 0, { 7, 0xffff }) == FIELD);
	CHECK(ADMIN(9, 1, 0, 0, { 7, 0xffff0000u }) == FIELD);
	CHECK(
	    ADMIN(9, 1, 0, 0, { 7, 0x00fe00fe }) == 0 && answer == 0x00030003);
	queues_on();
	good_read();
	machine_down();
}

/* A queue that was deleted under load leaves its completion queue whole. */
static void
delete_and_make(void)
{
	uint64_t gpa;
	int i, j;

	for (i = 0; i < 40; i++) {
		for (j = 0; j < 8; j++)
			put_command(1,
			    &(struct command) {
				2, 1, DATA, LIST, { 0, 0, 127 } });
		reg_write(0, 0x1008, tail[1]);
		CHECK(ADMIN(0, 0, 0, 0, { 1 }) == 0);
		/* What was over before is there, and no more comes. */
		for (;;) {
			gpa = CQ + head[1] * 16UL;
			if ((ram_get(gpa + 14, 2) & 1) != phase[1])
				break;
			CHECK(wait_for(1) == 0);
		}
		tail[1] = 0;
		CHECK(ADMIN(1, 0, SQ, 0,
			  { 1 | (ENTRIES - 1) << 16, 1 | 1 << 16 }) == 0);
		good_read();
	}
}

ROW(N05_reset_inflight)
{
	uint8_t *p;
	int i, j;

	disk_on();
	fill_list(LIST, 511);
	for (i = 0; i < 60; i++) {
		for (j = 0; j < 8; j++)
			put_command(1,
			    &(struct command) {
				2, 1, DATA, LIST, { 0, 0, 127 } });
		reg_write(0, 0x1008, tail[1]);
		if ((i & 1) != 0)
			reg_write(0, 0x14, 0);
		else
			(void)ADMIN(0, 0, 0, 0, { 1 });
		/* The memory is the driver's now. */
		p = ram(DATA, 0x10000);
		memset(p, 0x5a, 0x10000);
		usleep(300);
		for (j = 0; j < 0x10000; j++)
			CHECK(p[j] == 0x5a);
		queues_on();
	}
	good_read();
	fill_list(LIST, 511);
	delete_and_make();
	machine_down();
}

/* The serial number is 20 bytes without an end, and only 20. */
ROW(H07_ident_string)
{
	one_device("nvme,disk,ser=ABCDEFGHIJKLMNOPQRSTUVWXYZ");
	controller_on();
	CHECK(ADMIN(6, 0, DATA, 0, { 1 }) == 0);
	CHECK(memcmp(ram(DATA + 4, 20), "ABCDEFGHIJKLMNOPQRST", 20) == 0);
	CHECK(memcmp(ram(DATA + 24, 10), "bhyve-NVMe", 10) == 0);
	machine_down();
}

/* What the guest writes to its disk is not taken for a format. */
ROW(D01_image_formats)
{
	static const char *const magic[] = { "QFI\xfb", "KDMV", "conectix",
		"vhdxfile", "<<< Oracle VM VirtualBox", "QED" };
	uint8_t sector[512];
	size_t i, len;

	for (i = 0; i < sizeof(magic) / sizeof(magic[0]); i++) {
		one_device("nvme,disk,sectsz=512");
		queues_on();
		len = strlen(magic[i]);
		memset(ram(DATA, 512), 0, 512);
		memcpy(ram(DATA, len), magic[i], len);
		ram_put(DATA + 4, 0x03000000, 4); /* qcow2's version */
		memcpy(sector, ram(DATA, 512), 512);
		CHECK(IO(1, 1, DATA, 0, { 0, 0, 0 }) == 0);
		CHECK(IO(0, 1, 0, 0, { 0 }) == 0);
		machine_down();
		machine_up((const char *[]) {
		    "-s 0,hostbridge", "-s 3,nvme,disk,sectsz=512", NULL });
		queues_on();
		CHECK(IO(2, 1, DATA, 0, { 0, 0, 0 }) == 0);
		CHECK(memcmp(sector, ram(DATA, 512), 512) == 0);
		CHECK(ADMIN(6, 1, DATA, 0, { 0 }) == 0);
		CHECK(ram_get(DATA, 8) == DISK_BYTES / 512);
		machine_down();
	}
}
