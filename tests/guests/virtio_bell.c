/*
 * A driver of virtio-blk in slot 3, without an operating system: reads
 * sectors by the legacy and by the modern interface, interrupts by MSI-X.
 * Between batches it masks the vector, programs it anew, and moves the BARs.
 * Says PASS, then waits; each sector begins with its number.
 */
#include "vring.h"

#define BATCH 200u

static uint8_t ring[RING] __attribute__((__aligned__(4096)));
static struct queue q = { .num = 0, .ring = ring };
static volatile uint8_t status;
static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header;
static volatile uint32_t data[128];
static uint32_t io, common, notify, table, total;
static int modern;

static void
submit(uint32_t sector)
{
	struct desc *d = descs(&q);

	header.type = 0;
	header.sector = sector;
	status = 0xff;
	data[0] = ~sector;
	d[0] = (struct desc) { (uintptr_t)&header, 16, F_NEXT, 1 };
	d[1] = (struct desc) { (uintptr_t)data, 512, F_NEXT | F_WRITE, 2 };
	d[2] = (struct desc) { (uintptr_t)&status, 1, F_WRITE, 0 };
	offer(&q);
	if (modern)
		M16(notify) = 0;
	else
		outw((uint16_t)(io + 16), 0);
	total++;
}

static void
wait_tick(int which, uint32_t n)
{
	for (;;) {
		__asm__ volatile("cli");
		if (ticks[which] == n)
			break;
		__asm__ volatile("sti; hlt");
	}
}

static void
done(uint32_t sector)
{
	check(used(&q)[1] == avail(&q)[1], "used index");
	check(status == 0, "status");
	check(data[0] == sector, "data");
}

static void
batch(int which)
{
	for (uint32_t i = 0; i < BATCH; i++) {
		uint32_t n = ticks[which];

		submit(i);
		wait_tick(which, n + 1);
		done(i);
	}
}

/* The vector is masked: its message waits, and comes when it is open. */
static void
masked(void)
{
	uint32_t n = ticks[0];

	msix_entry(table, 1, 0x41, 1);
	submit(7);
	__asm__ volatile("sti");
	while (used(&q)[1] != avail(&q)[1])
		__asm__ volatile("pause");
	check(ticks[0] == n, "masked");
	msix_entry(table, 1, 0x41, 0);
	wait_tick(0, n + 1);
	done(7);
}

static void
both_vectors(void)
{
	batch(0);
	masked();
	msix_entry(table, 1, 0x42, 0);
	batch(1);
	msix_entry(table, 1, 0x41, 0);
}

static void
legacy(void)
{
	outb((uint16_t)(io + 18), 0);
	outb((uint16_t)(io + 18), 3);
	outl((uint16_t)(io + 4), 0);
	queue_init(&q, (uint16_t)io, 1);
	outb((uint16_t)(io + 18), 7);
	both_vectors();
	/* The port moves. */
	cfg_write(0x10, 0xd000);
	io = 0xd000;
	batch(0);
	outb((uint16_t)(io + 18), 0);
}

static void
zero_ring(void)
{
	for (uint32_t i = 0; i < sizeof(ring); i++)
		((volatile uint8_t *)ring)[i] = 0;
}

static void
modern_start(void)
{
	M8(common + 20) = 0;
	M8(common + 20) = 3;
	M32(common + 8) = 0;
	M32(common + 12) = 0;
	M32(common + 8) = 1;
	M32(common + 12) = 1;
	M8(common + 20) = 0xb;
	check((M8(common + 20) & 8) != 0, "FEATURES_OK");
	M16(common + 22) = 0;
	q.size = M16(common + 24);
	check(q.size != 0 && q.size <= QMAX, "queue size");
	M16(common + 26) = 1;
	M32(common + 32) = (uint32_t)(uintptr_t)descs(&q);
	M32(common + 36) = 0;
	M32(common + 40) = (uint32_t)(uintptr_t)avail(&q);
	M32(common + 44) = 0;
	M32(common + 48) = (uint32_t)(uintptr_t)used(&q);
	M32(common + 52) = 0;
	M16(common + 28) = 1;
	M8(common + 20) = 0xf;
}

static void
modern_bar(uint32_t bar)
{
	common = bar;
	notify = bar + 0x3000;
}

void
guest_main(void)
{
	start(0x10011af4);
	io = cfg_read(0x10) & ~3u;
	table = cfg_read(0x14) & ~15u;
	msix_entry(table, 1, 0x41, 0);
	msix_on();
	legacy();
	zero_ring();
	modern = 1;
	modern_bar(cfg_read(0x20) & ~15u);
	modern_start();
	both_vectors();
	/* The window moves, and the old place is nobody's. */
	cfg_write(0x20, 0xd8000000u);
	modern_bar(0xd8000000u);
	batch(0);
	/* After a reset a notification is none. */
	M8(common + 20) = 0;
	M16(notify) = 0;
	zero_ring();
	modern_start();
	batch(0);
	say(total == 7 * BATCH + 2 ? "PASS\n" : "FAIL count\n");
}
