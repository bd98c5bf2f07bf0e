/*
 * Split rings of virtio devices, set up by the legacy interface; and what
 * drivers of network cards that send frames back have in common.
 */
#ifndef _VRING_H_
#define _VRING_H_

#include "vguest.h"

#define F_NEXT 1
#define F_WRITE 2

#define QMAX 1024u
#define RING 32768u /* room for a ring of QMAX */
#define HDR 10u	    /* of a frame, by the legacy interface */
#define FRAME 1536u

struct queue {
	uint16_t io, num;
	uint8_t *ring;
	uint32_t size;
};

static inline struct desc *
descs(const struct queue *q)
{
	return ((struct desc *)(void *)q->ring);
}
static inline volatile uint16_t *
avail(const struct queue *q)
{
	return ((volatile uint16_t *)(void *)(q->ring + q->size * 16));
}
static inline volatile uint16_t *
used(const struct queue *q)
{
	uint32_t end = q->size * 16 + 4 + q->size * 2 + 2;

	return (
	    (volatile uint16_t *)(void *)(q->ring + ((end + 4095) & ~4095u)));
}
/* Of what came n-th, counted from 0. */
static inline uint32_t
used_len(const struct queue *q, uint32_t n)
{
	return (*(
	    volatile uint32_t *)(void *)(used(q) + 2 + (n % q->size) * 4 + 2));
}

/* An empty ring for queue `num` of the device at ports `io`; vector -1: no
 * MSI-X. */
static inline void
queue_init(struct queue *q, uint16_t io, int vector)
{
	for (uint32_t i = 0; i < RING; i++)
		q->ring[i] = 0;
	q->io = io;
	outw(io + 14, q->num);
	q->size = inw(io + 12);
	check(q->size != 0 && q->size <= QMAX, "queue size");
	outl(io + 8, (uint32_t)(uintptr_t)q->ring >> 12);
	if (vector >= 0)
		outw(io + 22, (uint16_t)vector);
}

/* Descriptor 0 is there for the device. */
static inline void
offer(const struct queue *q)
{
	avail(q)[2 + avail(q)[1] % q->size] = 0;
	__sync_synchronize();
	avail(q)[1]++;
	__sync_synchronize();
}
static inline void
post(const struct queue *q)
{
	offer(q);
	outw(q->io + 16, q->num);
}

/* `out` is the frame `in` back to who sent it. */
static inline void
turn_round(uint8_t *out, const uint8_t *in, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		out[i] = in[i];
	for (uint32_t i = 0; i < 6; i++) {
		out[HDR + i] = in[HDR + 6 + i];
		out[HDR + 6 + i] = in[HDR + i];
	}
	for (uint32_t i = 0; i < HDR; i++)
		out[i] = 0;
}

#endif
