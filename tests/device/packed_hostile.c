/*
 * Packed virtqueues: a driver that keeps the rules over many laps of the
 * ring, then one that breaks each of them.
 *
 * Arguments: a folder for scratch files, and milliseconds of random attacks.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "mevent.h"
#include "virtio_driver.h"

#define N VRING_DESC_F_NEXT
#define W VRING_DESC_F_WRITE
#define I VRING_DESC_F_INDIRECT
#define DISK_SECTORS 2048
#define TABLE (DATA + 0x180000UL)
/* Memory of request i: header, status, data. */
#define HDR(i) (DATA + (i)*0x4000UL)
#define STATUS(i) (HDR(i) + 0x100)
#define BUF(i) (HDR(i) + 0x1000)

struct packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

static struct drv drv, *const d = &drv;
static uint16_t pos, used;
static bool wrap, used_wrap;
static uint64_t seed = 1;

static uint32_t
rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return ((uint32_t)(seed >> 16) % below);
}

static struct packed_desc *
ring(int i)
{
	return ((struct packed_desc *)gpa(RING(0)) + i);
}

static void
start(void)
{
	d->packed = true;
	drv_start(d, ~0UL, 1);
	pos = used = 0;
	wrap = used_wrap = true;
}

/* Entries of one chain; the first one's flags make it available. */
static void
push(const struct packed_desc *chain, int n)
{
	uint16_t first, flags, first_flags;
	int i;

	first = pos;
	first_flags = 0;
	for (i = 0; i < n; i++) {
		flags = chain[i].flags | (wrap ? 0x80 : 0x8000);
		*ring(pos) = chain[i];
		if (i == 0) {
			first_flags = flags;
			ring(pos)->flags = wrap ? 0x8000 : 0x80;
		} else {
			ring(pos)->flags = flags;
		}
		if (++pos == d->qsize) {
			pos = 0;
			wrap = !wrap;
		}
	}
	__atomic_store_n(&ring(first)->flags, first_flags, __ATOMIC_RELEASE);
}

/* The id of the next chain that is done, which took n(id) entries. */
static int
next_done(const int *count)
{
	uint16_t flags;
	int i, id;

	for (i = 0; i < 4000; i++) {
		flags = __atomic_load_n(&ring(used)->flags, __ATOMIC_ACQUIRE);
		if (((flags & 0x80) != 0) == used_wrap &&
		    ((flags & 0x8000) != 0) == used_wrap)
			break;
		usleep(500);
	}
	CHECK(i < 4000);
	id = ring(used)->id;
	used = (uint16_t)(used + count[id]);
	if (used >= d->qsize) {
		used = (uint16_t)(used - d->qsize);
		used_wrap = !used_wrap;
	}
	return (id);
}

/* Request i of `sectors` sectors in pieces; how many entries it takes. */
static int
request(int i, uint32_t type, uint64_t sector, uint32_t sectors, int pieces,
    bool indirect)
{
	struct packed_desc chain[16] = { 0 };
	uint32_t each;
	int n;

	*(uint32_t *)gpa(HDR(i)) = type;
	*((uint64_t *)gpa(HDR(i)) + 1) = sector;
	*(uint8_t *)gpa(STATUS(i)) = 0xee;
	chain[0] = (struct packed_desc) { HDR(i), 16, 0, N };
	each = sectors * 512 / (uint32_t)pieces;
	for (n = 1; n <= pieces; n++)
		chain[n] = (struct packed_desc) { BUF(i) +
			    each * (uint32_t)(n - 1),
			n == pieces ? sectors * 512 - each * (uint32_t)(n - 1)
				    : each,
			0, N | (type == 0 ? W : 0) };
	chain[n++] = (struct packed_desc) { STATUS(i), 1, (uint16_t)i, W };
	if (indirect) {
		memcpy(gpa(TABLE + (uint64_t)i * 256), chain,
		    (size_t)n * sizeof(chain[0]));
		chain[0] = (struct packed_desc) { TABLE + (uint64_t)i * 256,
			(uint32_t)n * 16, (uint16_t)i, I };
		n = 1;
	}
	push(chain, n);
	return (n);
}

/* Many laps: reads and writes of all shapes, done in any order. */
static void
laps(void)
{
	int busy, count[16], i, n, total;
	bool write[16];

	start();
	for (total = 0; total < 3000; total += busy) {
		busy = 1 + (int)rnd(8);
		for (i = 0; i < busy; i++) {
			write[i] = rnd(3) == 0;
			memset(gpa(BUF(i)), write[i] ? i * 16 : 0xcc, 2048);
			count[i] = request(i, write[i], (uint64_t)i * 16,
			    1 + rnd(4), 1 + (int)rnd(4), rnd(2) != 0);
			if (rnd(2) == 0)
				drv_kick(d, 0);
		}
		drv_kick(d, 0);
		for (n = 0; n < busy; n++) {
			i = next_done(count);
			CHECK(i < busy && *(uint8_t *)gpa(STATUS(i)) == 0);
			CHECK(write[i] || *(uint8_t *)gpa(BUF(i)) == i * 16);
		}
	}
	CHECK(drv_status(d) == 15);
}

/* A write of zeroes over `num` sectors; its status. */
static int
zeroes(uint64_t sector, uint32_t num, uint32_t flags, uint32_t len)
{
	uint32_t range[4] = { (uint32_t)sector, (uint32_t)(sector >> 32), num,
		flags };
	struct packed_desc chain[3] = { { HDR(1), 16, 0, N },
		{ BUF(1), len, 0, N }, { STATUS(1), 1, 1, W } };
	int count[2] = { 0, 3 };

	memcpy(gpa(BUF(1)), range, sizeof(range));
	*(uint32_t *)gpa(HDR(1)) = 13;
	push(chain, 3);
	drv_kick(d, 0);
	CHECK(next_done(count) == 1);
	return (*(uint8_t *)gpa(STATUS(1)));
}

static void
write_zeroes(void)
{
	int count[2];
	uint8_t *p = gpa(BUF(1));

	start();
	CHECK(zeroes(70, 1, 0, 16) == 0);
	count[1] = request(1, 0, 70, 1, 1, false);
	drv_kick(d, 0);
	CHECK(next_done(count) == 1 && p[0] == 0 && p[511] == 0);
	CHECK(zeroes(64, 8, 1, 16) == 0);
	CHECK(zeroes(64, 0, 1, 16) == 0);
	CHECK(zeroes(64, 8, 2, 16) == 2);
	CHECK(zeroes(64, 8, 0, 17) == 1);
	CHECK(zeroes(64, 8, 0, 15) == 1);
	CHECK(zeroes(DISK_SECTORS, 1, 0, 16) == 1);
	CHECK(zeroes(0, 0xffffffffu, 0, 16) == 1);
	CHECK(zeroes(~0UL, 8, 0, 16) == 1);
	CHECK(zeroes(1UL << 55, 8, 1, 16) == 1);
}

static void
refused(const char *what)
{
	int count[2];

	drv_kick(d, 0);
	if ((drv_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET) == 0) {
		fprintf(stderr, "%s was taken\n", what);
		CHECK(!"refused");
	}
	start();
	count[1] = request(1, 0, 16, 1, 1, false);
	drv_kick(d, 0);
	CHECK(next_done(count) == 1 && *(uint8_t *)gpa(STATUS(1)) == 0);
}

static void
one(uint64_t addr, uint32_t len, uint16_t flags, const char *what)
{
	struct packed_desc chain = { addr, len, 1, flags };

	push(&chain, 1);
	refused(what);
}

/* A good read, as a chain or as a table. */
static void
three(struct packed_desc *t)
{
	*(uint32_t *)gpa(HDR(1)) = 0;
	*((uint64_t *)gpa(HDR(1)) + 1) = 16;
	t[0] = (struct packed_desc) { HDR(1), 16, 1, N };
	t[1] = (struct packed_desc) { BUF(1), 512, 1, N | W };
	t[2] = (struct packed_desc) { STATUS(1), 1, 1, W };
}

/* But for what is wrong with it, each would be done. */
static void
bad_tables(void)
{
	struct packed_desc chain[2], *table = gpa(TABLE);
	int count[2] = { 0, 1 }, i;

	three(table);
	one(TABLE, 49, I, "an odd indirect");
	three(table);
	one(TABLE, 47, I, "an odd indirect");
	three(table);
	one(TABLE, 48, I | N, "an indirect with a next");
	one(TABLE, 0, I, "an empty indirect");
	one(TABLE, 0x7ffffff0, I, "a huge indirect");
	one(~15UL, 16, I, "an indirect at the end of the world");
	three(table);
	table[1].flags |= I;
	one(TABLE, 48, I, "an indirect inside an indirect");
	table[0] = (struct packed_desc) { TABLE + 16, 16, 0, I };
	one(TABLE, 16, I, "an indirect inside an indirect");
	for (i = 512; i <= 513; i++) {
		memset(table, 0, 513 * sizeof(*table));
		three(table);
		if (i == 513) {
			one(TABLE, 513 * 16, I, "an indirect of 513");
			break;
		}
		chain[0] = (struct packed_desc) { TABLE, 512 * 16, 1, I };
		push(chain, 1);
		drv_kick(d, 0);
		CHECK(next_done(count) == 1);
	}
	memset(table, 0, 160);
	one(TABLE, 10 * 16, I, "ten buffers of nothing");
	three(table);
	chain[0] = table[0];
	chain[1] = (struct packed_desc) { TABLE + 16, 32, 1, I };
	push(chain, 2);
	refused("an indirect in a chain");
}

static void
bad_chains(void)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} nowhere[] = { { ~0UL, 512 }, { LOW_SIZE - 8, 512 },
		{ BUF(0), 0xffffffff }, { HIGH_BASE + HIGH_SIZE, 512 } };
	struct packed_desc chain[200];
	size_t k;
	int i;

	start();
	for (i = 0; i < 200; i++)
		chain[i] = (struct packed_desc) { BUF(0), 512, 1, N };
	push(chain, d->qsize);
	refused("a chain around the ring");
	/* Of nothing: it fills no vector, and would not end. */
	for (i = 0; i < 200; i++)
		chain[i].len = 0;
	push(chain, d->qsize);
	refused("a chain of nothing around the ring");
	bad_tables();
	one(BUF(0), 0, 0, "a buffer of nothing");
	one(HDR(0), 16, 0, "a request without a status");
	for (k = 0; k < sizeof(nowhere) / sizeof(nowhere[0]); k++) {
		three(chain);
		chain[1].addr = nowhere[k].addr;
		chain[1].len = nowhere[k].len;
		push(chain, 3);
		refused("a buffer nowhere");
	}
	/* Out of order, with all that a request needs. */
	three(chain);
	chain[0].len = 8;
	chain[1] = (struct packed_desc) { STATUS(1), 1, 1, N | W };
	chain[2] = (struct packed_desc) { HDR(1) + 8, 8, 1, 0 };
	push(chain, 3);
	refused("readable after writable");
}

/* Rings that are not aligned, or nowhere. */
static void
bad_rings(void)
{
	const uint64_t home[3] = { RING(0), RING(0) + 2048, RING(0) + 0x1000 };
	static const uint64_t far[] = { LOW_SIZE, ~15UL,
		HIGH_BASE + HIGH_SIZE };
	uint64_t a;
	int i, j, k;

	for (i = 0; i < 3; i++) {
		for (j = 0; j < 4; j++) {
			drv_enter(d, ~0UL);
			bar_out(d->pi, 4, 22, 2, 0);
			for (k = 0; k < 3; k++) {
				a = home[k];
				if (k == i)
					a = j == 3 ? a + 2 : far[j];
				bar_out(d->pi, 4, 32 + (uint64_t)k * 8, 4,
				    (uint32_t)a);
				bar_out(d->pi, 4, 36 + (uint64_t)k * 8, 4,
				    (uint32_t)(a >> 32));
			}
			bar_out(d->pi, 4, 28, 2, 1);
			CHECK(
			    (drv_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
			drv_kick(d, 0);
		}
	}
}

/*
 * The ring made available once more while the device has all of it.  How
 * many are over by then is chance; none may be done twice.
 */
static void
more_than_the_ring(const char *image)
{
	struct packed_desc *t;
	uint64_t at;
	int fd, i, j;

	fd = open(image, O_RDWR);
	CHECK(fd >= 0);
	for (i = 0; i < 20; i++) {
		start();
		CHECK(fsync(fd) == 0);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		for (j = 0; j < 2 * d->qsize; j++) {
			at = TABLE + (uint64_t)(j % 128) * 48;
			t = gpa(at);
			three(t);
			t[1].len = 0x4000;
			push(&(struct packed_desc) { at, 48, 1, I }, 1);
			if (j % d->qsize == d->qsize - 1)
				drv_kick(d, 0);
		}
	}
	close(fd);
	start();
}

/* Flags of another lap are no chains; wild wishes only cost interrupts. */
static void
wrong_laps(void)
{
	uint16_t *event;
	int count[8], i, id;

	for (i = 0; i < 4; i++) {
		start();
		for (id = 0; id < d->qsize; id++)
			*ring(id) = (struct packed_desc) { ~0UL, 16, 0,
				(uint16_t)((i & 1) != 0 ? 0x8080 : 0) };
		drv_kick(d, 0);
		CHECK(drv_status(d) == 15);
	}
	for (i = 0; i < 200; i++) {
		if (i % 20 == 0)
			start();
		event = gpa(RING(0) + 2048);
		event[0] = (uint16_t)rnd(65536);
		event[1] = (uint16_t)rnd(65536);
		event = gpa(RING(0) + 0x1000);
		event[0] = (uint16_t)rnd(65536);
		event[1] = (uint16_t)rnd(65536);
		count[2] = request(2, 0, 32, 2, 2, false);
		drv_kick(d, 0);
		CHECK(next_done(count) == 2);
	}
}

/* A driver that wants an interrupt for an entry gets one, and no other. */
static void
interrupts(void)
{
	uint16_t *event = gpa(RING(0) + 2048);
	int before, count[8], i;

	start();
	CHECK(d->qsize == 128);
	d->pi->pi_msix.enabled = true;
	d->pi->pi_msix.table[1].addr = 0xfee00000;
	d->pi->pi_msix.table[1].vector_control = 0;
	bar_out(d->pi, 4, 22, 2, 0);
	bar_out(d->pi, 4, 26, 2, 1);
	for (i = 0; i < 300; i++) {
		event[0] = (uint16_t)(pos | wrap << 15);
		event[1] = i % 3; /* enable, disable, this entry */
		if (i % 6 == 5)	  /* one that comes later */
			event[0] = (uint16_t)((pos + 20) % 128 |
			    (pos + 20 < 128 ? wrap : !wrap) << 15);
		before = fake_msis;
		count[2] = request(2, 0, 32, 1, 1, false);
		drv_kick(d, 0);
		CHECK(next_done(count) == 2);
		usleep(300);
		CHECK(fake_msis - before == (i % 3 != 1 && i % 6 != 5));
	}
	d->pi->pi_msix.enabled = false;
}

static _Atomic bool flipping;

static void *
flipper(void *arg)
{
	struct packed_desc *desc;
	uint64_t x = 1;

	while (flipping) {
		x = x * 6364136223846793005UL + 1442695040888963407UL;
		desc = ring((int)(x >> 57));
		__atomic_store_n(
		    &desc->flags, (uint16_t)(x >> 20), __ATOMIC_RELAXED);
		if ((x >> 50 & 3) == 0)
			__atomic_store_n(&desc->addr,
			    (x >> 49 & 1) != 0 ? BUF(x >> 60) : x,
			    __ATOMIC_RELAXED);
		if ((x >> 52 & 3) == 0)
			__atomic_store_n(&desc->len,
			    (x >> 55 & 1) != 0 ? 512 : (uint32_t)x,
			    __ATOMIC_RELAXED);
	}
	return (NULL);
}

/* Another processor turns the length of the status between 1 and 4 GB. */
static void *
length_flipper(void *arg)
{
	uint32_t len = 1;
	int i;

	while (flipping) {
		for (i = 2; i < 128; i += 3)
			__atomic_store_n(&ring(i)->len, len, __ATOMIC_RELAXED);
		len = len == 1 ? 0xfffffff0u : 1;
	}
	return (NULL);
}

/* What was checked is what is used. */
static void
lengths_that_change(void)
{
	struct packed_desc chain[3];
	pthread_t thread;
	int i;

	start();
	flipping = true;
	CHECK(pthread_create(&thread, NULL, length_flipper, NULL) == 0);
	for (i = 0; i < 4000; i++) {
		three(chain);
		push(chain, 3);
		drv_kick(d, 0);
		/* A lap has no 128 in threes: begin anew. */
		if (pos > 122 || (drv_status(d) & 0x40) != 0)
			start();
	}
	flipping = false;
	pthread_join(thread, NULL);
}

static void
attack(int milliseconds)
{
	struct timespec began, now;
	pthread_t thread;
	int i;

	start();
	flipping = true;
	CHECK(pthread_create(&thread, NULL, flipper, NULL) == 0);
	clock_gettime(CLOCK_MONOTONIC, &began);
	do {
		for (i = 0; i < 4; i++)
			request((int)rnd(8), rnd(14), rnd(DISK_SECTORS + 9),
			    rnd(6), 1 + (int)rnd(4), rnd(2) != 0);
		ring((int)rnd(128))->flags = (uint16_t)rnd(65536);
		*((uint16_t *)gpa(RING(0) + 2048) + rnd(2)) =
		    (uint16_t)rnd(65536);
		drv_kick(d, 0);
		if ((drv_status(d) & 0x40) != 0 || rnd(64) == 0)
			start();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - began.tv_sec) * 1000 +
		(now.tv_nsec - began.tv_nsec) / 1000000 <
	    milliseconds);
	flipping = false;
	pthread_join(thread, NULL);
}

int
main(int argc, char **argv)
{
	static uint8_t sector[512];
	char image[256];
	int fd, i;

	CHECK(argc == 3);
	alarm(120); /* what does not end has failed */
	snprintf(image, sizeof(image), "%s/disk.img", argv[1]);
	fd = open(image, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (i = 0; i < DISK_SECTORS; i++) {
		memset(sector, i, sizeof(sector));
		CHECK(write(fd, sector, sizeof(sector)) == sizeof(sector));
	}
	close(fd);
	fake_init();
	CHECK(mevent_init() == 0 && mevent_start() == 0);
	set_config_value("dev.path", image);
	set_config_value("virtio.modern", "true");
	set_config_value("virtio.packed", "true");
	d->pi = fake_device("virtio-blk");
	d->modern = true;
	/* Each sector has its number: so have the first ones after writes. */
	laps();
	write_zeroes();
	bad_chains();
	bad_rings();
	wrong_laps();
	more_than_the_ring(image);
	lengths_that_change();
	interrupts();
	attack(atoi(argv[2]));
	fake_destroy(d->pi);
	mevent_stop();
	printf("done\n");
	return (0);
}
