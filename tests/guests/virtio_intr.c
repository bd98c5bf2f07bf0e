/*
 * Drivers of virtio-net in slot 3 and virtio-blk in slot 4, by each way in
 * which they interrupt: the 8259s, the I/O APIC, plain MSI, and MSI-X where
 * it is offered.  For each, says "WAY name", reads sectors that begin with
 * their number, and sends FRAMES frames back with their addresses exchanged.
 * One interrupt a request and a frame, no more.  Says PASS.
 */
#include "vring.h"

#define SECTORS 100u
#define FRAMES 50u

#define NET 0
#define BLK 1
#define INTX_VECTOR 0x43
#define MSI_VECTOR 0x41 /* + device */

enum way { PIC, APIC, MSI, MSIX, WAYS };
static const char *const names[WAYS] = { "8259", "IOAPIC", "MSI", "MSI-X" };

struct frame;
static uint8_t rings[3][RING] __attribute__((__aligned__(4096)));
static struct queue rx = { .num = 0, .ring = rings[0] },
		    tx = { .num = 1, .ring = rings[1] },
		    blk = { .num = 0, .ring = rings[2] };
static uint8_t in[HDR + FRAME], out[HDR + FRAME];
static volatile uint8_t status;
static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header;
static volatile uint32_t data[128];
static uint16_t io[2];

/* ---- interrupts ---- */

/* Reading a device's ISR register takes its line back. */
static void
claim(void)
{
	for (int i = 0; i < 2; i++)
		if ((inb(io[i] + 19) & 1) != 0)
			ticks[i]++;
}

__attribute__((__interrupt__)) static void
from_pic(struct frame *frame)
{
	(void)frame;
	claim();
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
}

__attribute__((__interrupt__)) static void
from_ioapic(struct frame *frame)
{
	(void)frame;
	claim();
	LAPIC_EOI();
}

static void
gates(void)
{
	for (int i = 0; i < 16; i++)
		gate(PIC_VECTOR + i, (void (*)(void))from_pic);
	gate(INTX_VECTOR, (void (*)(void))from_ioapic);
}

/* Both devices interrupt by this way; false: they cannot. */
static int
choose(enum way way)
{
	uint16_t lines = 0;

	for (slot = 3; slot <= 4; slot++) {
		uint32_t vector = MSI_VECTOR + slot - 3;

		if (cap_find(0x11) == 0 && way == MSIX)
			return (0);
		if (cap_find(0x11) != 0)
			msix_set(way == MSIX);
		msi_set(way == MSI, vector, 0);
		if (way == MSIX)
			msix_entry(cfg_read(0x14) & ~15u, 1, vector, 0);
		lines |= (uint16_t)(1u << (cfg_read(0x3c) & 15));
	}
	pic_set(way == PIC ? lines : 0);
	ioapic_set(way == APIC ? INTX_VECTOR : 0);
	return (1);
}

static void
wait_tick(int which, uint32_t n)
{
	for (;;) {
		__asm__ volatile("cli");
		if (ticks[which] == n)
			break;
		check(ticks[which] < n, "more interrupts than work");
		__asm__ volatile("sti; hlt");
	}
}

static void
bring_up(enum way way)
{
	for (int i = 0; i < 2; i++) {
		outb(io[i] + 18, 0);
		outb(io[i] + 18, 3);
		outl(io[i] + 4, 0);
	}
	queue_init(&rx, io[NET], way == MSIX ? 1 : -1);
	queue_init(&tx, io[NET], -1);
	avail(&tx)[0] = 1; /* nobody waits for what is sent */
	queue_init(&blk, io[BLK], way == MSIX ? 1 : -1);
	for (int i = 0; i < 2; i++)
		outb(io[i] + 18, 7);
	/* The device's own configuration stands behind the registers. */
	check(inb(io[NET] + (way == MSIX ? 24 : 20)) == 2, "MAC");
}

/* ---- the work ---- */

static void
read_sectors(void)
{
	struct desc *d = descs(&blk);

	d[0] = (struct desc) { (uintptr_t)&header, 16, F_NEXT, 1 };
	d[1] = (struct desc) { (uintptr_t)data, 512, F_NEXT | F_WRITE, 2 };
	d[2] = (struct desc) { (uintptr_t)&status, 1, F_WRITE, 0 };
	for (uint32_t i = 0; i < SECTORS; i++) {
		header.sector = i;
		status = 0xff;
		data[0] = ~i;
		ticks[BLK] = 0;
		post(&blk);
		wait_tick(BLK, 1);
		check(used(&blk)[1] == avail(&blk)[1], "used index");
		check(status == 0 && data[0] == i, "sector");
	}
	__asm__ volatile("sti; nop; cli");
	check(ticks[BLK] == 1, "one interrupt a request");
}

static void
send_frames_back(const char *name)
{
	struct desc *r = descs(&rx), *t = descs(&tx);
	uint32_t len;

	r[0] = (struct desc) { (uintptr_t)in, sizeof(in), F_WRITE, 0 };
	ticks[NET] = 0;
	post(&rx);
	say("WAY ");
	say(name);
	say("\n");
	for (uint32_t i = 0; i < FRAMES; i++) {
		wait_tick(NET, i + 1);
		len = used_len(&rx, i);
		check(used(&rx)[1] == i + 1, "one frame at a time");
		check(len > HDR && len <= sizeof(in), "length");
		turn_round(out, in, len);
		post(&rx);
		t[0] = (struct desc) { (uintptr_t)out, len, 0, 0 };
		post(&tx);
		while (used(&tx)[1] != avail(&tx)[1])
			__asm__ volatile("pause");
	}
	__asm__ volatile("sti; nop; cli");
	check(ticks[NET] == FRAMES, "one interrupt a frame");
}

void
guest_main(void)
{
	start(0x10001af4);
	gates();
	io[NET] = (uint16_t)(cfg_read(0x10) & ~3u);
	slot = 4;
	device(0x10011af4);
	io[BLK] = (uint16_t)(cfg_read(0x10) & ~3u);
	for (enum way way = PIC; way < WAYS; way++) {
		if (!choose(way))
			continue;
		bring_up(way);
		read_sectors();
		send_frames_back(names[way]);
	}
	say("PASS\n");
}
