/*
 * A driver of virtio-net in slot 3, legacy interface: sends every frame back
 * with its addresses exchanged.  Received frames interrupt by MSI-X; sent
 * ones are looked for.
 */
#include "vring.h"

static uint8_t rings[2][RING] __attribute__((__aligned__(4096)));
static uint8_t in[HDR + FRAME], out[HDR + FRAME];
static struct queue rx = { .num = 0, .ring = rings[0] },
		    tx = { .num = 1, .ring = rings[1] };

/* The next frame may follow at once. */
static void
expect_frame(void)
{
	descs(&rx)[0] = (struct desc) { (uintptr_t)in, sizeof(in), F_WRITE, 0 };
	post(&rx);
}

static void
send_back(uint32_t len)
{
	turn_round(out, in, len);
	expect_frame();
	descs(&tx)[0] = (struct desc) { (uintptr_t)out, len, 0, 0 };
	post(&tx);
	while (used(&tx)[1] != avail(&tx)[1])
		__asm__ volatile("pause");
}

void
guest_main(void)
{
	uint16_t io, seen;
	uint32_t len;

	start(0x10001af4);
	io = (uint16_t)(cfg_read(0x10) & ~3u);
	msix_entry(cfg_read(0x14) & ~15u, 1, 0x41, 0);
	msix_on();
	outb(io + 18, 0);
	outb(io + 18, 3);
	outl(io + 4, 0);
	queue_init(&rx, io, 1);
	queue_init(&tx, io, 0xffff);
	outb(io + 18, 7);
	expect_frame();
	say("READY\n");
	for (seen = 0;; seen++) {
		__asm__ volatile("cli");
		while (used(&rx)[1] == seen)
			__asm__ volatile("sti; hlt; cli");
		len = used_len(&rx, seen);
		check(len > HDR && len <= sizeof(in), "length");
		send_back(len);
	}
}
