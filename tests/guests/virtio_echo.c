/*
 * A driver of virtio-net in slot 3, legacy interface: sends every frame back
 * with its addresses exchanged.  Received frames interrupt by MSI-X; sent
 * ones are looked for.
 */
#include "vguest.h"

#define HDR 10u
#define FRAME 1536u
#define QMAX 1024u
#define RINGS (2 * 32768u)

struct queue {
	uint8_t *ring;
	uint32_t size;
	uint16_t seen;
};

static uint8_t rings[RINGS] __attribute__((__aligned__(4096)));
static uint8_t in[HDR + FRAME], out[HDR + FRAME];
static struct queue rx, tx;
static uint16_t io;

static volatile uint16_t *
avail(struct queue *q)
{
	return ((volatile uint16_t *)(void *)(q->ring + q->size * 16));
}
static volatile uint16_t *
used(struct queue *q)
{
	uint32_t end = q->size * 16 + 4 + q->size * 2 + 2;

	return (
	    (volatile uint16_t *)(void *)(q->ring + ((end + 4095) & ~4095u)));
}

static void
queue_init(struct queue *q, uint16_t n, uint16_t vector)
{
	outw(io + 14, n);
	q->size = inw(io + 12);
	check(q->size != 0 && q->size <= QMAX, "queue size");
	q->ring = rings + n * (RINGS / 2);
	outl(io + 8, (uint32_t)(uintptr_t)q->ring >> 12);
	outw(io + 22, vector);
}

static void
post(struct queue *q, uint16_t n, void *buf, uint32_t len, uint16_t flags)
{
	struct desc *d = (struct desc *)(void *)q->ring;

	d[0] = (struct desc) { (uintptr_t)buf, len, flags, 0 };
	avail(q)[2 + avail(q)[1] % q->size] = 0;
	__sync_synchronize();
	avail(q)[1]++;
	__sync_synchronize();
	outw(io + 16, n);
}

/* The length of what has come. */
static uint32_t
receive(void)
{
	uint32_t len;

	for (;;) {
		__asm__ volatile("cli");
		if (used(&rx)[1] != rx.seen)
			break;
		__asm__ volatile("sti; hlt");
	}
	len = *(volatile uint32_t *)(void *)(used(&rx) + 2 +
	    (rx.seen % rx.size) * 4 + 2);
	rx.seen++;
	return (len);
}

static void
send_back(uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		out[i] = in[i];
	for (uint32_t i = 0; i < 6; i++) {
		out[HDR + i] = in[HDR + 6 + i];
		out[HDR + 6 + i] = in[HDR + i];
	}
	for (uint32_t i = 0; i < HDR; i++)
		out[i] = 0;
	/* The next frame may follow at once. */
	post(&rx, 0, in, sizeof(in), 2);
	post(&tx, 1, out, len, 0);
	while (used(&tx)[1] != avail(&tx)[1])
		__asm__ volatile("pause");
}

void
guest_main(void)
{
	uint32_t table, len;

	start(0x10001af4);
	io = (uint16_t)(cfg_read(0x10) & ~3u);
	table = cfg_read(0x14) & ~15u;
	msix_entry(table, 1, 0x41, 0);
	msix_on();
	outb(io + 18, 0);
	outb(io + 18, 3);
	outl(io + 4, 0);
	queue_init(&rx, 0, 1);
	queue_init(&tx, 1, 0xffff);
	outb(io + 18, 7);
	post(&rx, 0, in, sizeof(in), 2);
	say("READY\n");
	for (;;) {
		len = receive();
		check(len > HDR && len <= sizeof(in), "length");
		send_back(len);
	}
}
