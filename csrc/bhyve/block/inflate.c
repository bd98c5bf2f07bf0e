/*
 * Decompression of compressed clusters (RFC 1951).
 *
 * Codes are decoded canonically, bit by bit, from the number of codes of each
 * length: small tables, and no stream can index outside of them.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "inflate.h"

#define MAX_BITS 15
#define NLITERAL 288
#define NDISTANCE 30
#define FAST_BITS 9

struct stream {
	const uint8_t *in;
	size_t inlen, inpos;
	uint8_t *out;
	size_t outlen, outpos;
	uint64_t bits; /* the next nbits bits of the stream, lowest first */
	unsigned int nbits;
	bool bad;
};

struct huffman {
	uint16_t count[MAX_BITS + 1]; /* codes of each length */
	uint16_t symbol[NLITERAL];    /* in the order of their codes */
	/* Short codes at once: symbol << 4 | length, 0 for the others. */
	uint16_t fast[1 << FAST_BITS];
};

/* At least n bits in s->bits; zeroes follow the stream's end. */
static void
need(struct stream *s, unsigned int n)
{
	while (s->nbits < n) {
		if (s->inpos < s->inlen)
			s->bits |= (uint64_t)s->in[s->inpos] << s->nbits;
		else if (s->inpos > s->inlen + 8)
			s->bad = true;
		s->inpos++;
		s->nbits += 8;
	}
}

static unsigned int
take(struct stream *s, unsigned int n)
{
	unsigned int val;

	need(s, n);
	val = (unsigned int)(s->bits & ((1UL << n) - 1));
	s->bits >>= n;
	s->nbits -= n;
	return (val);
}

/* The codes' bits arrive highest first. */
static unsigned int
reverse(unsigned int code, unsigned int len)
{
	unsigned int out;

	for (out = 0; len > 0; len--, code >>= 1)
		out = out << 1 | (code & 1);
	return (out);
}

/* False: more codes than the lengths have room for. */
static bool
build(struct huffman *h, const uint8_t *length, unsigned int n)
{
	unsigned int bits, code, i, j, len, next[MAX_BITS + 2];
	uint16_t offset[MAX_BITS + 2];
	int left;

	memset(h, 0, sizeof(*h));
	for (i = 0; i < n; i++)
		h->count[length[i]]++;
	h->count[0] = 0;
	left = 1;
	offset[1] = 0;
	code = next[0] = 0;
	for (len = 1; len <= MAX_BITS; len++) {
		left = left * 2 - h->count[len];
		if (left < 0)
			return (false);
		offset[len + 1] = (uint16_t)(offset[len] + h->count[len]);
		code = (code + h->count[len - 1]) << 1;
		next[len] = code;
	}
	for (i = 0; i < n; i++) {
		len = length[i];
		if (len == 0)
			continue;
		h->symbol[offset[len]++] = (uint16_t)i;
		bits = reverse(next[len]++, len);
		for (j = bits; len <= FAST_BITS && j < 1 << FAST_BITS;
		    j += 1U << len)
			h->fast[j] = (uint16_t)(i << 4 | len);
	}
	return (true);
}

/* A symbol, or -1. */
static int
decode(struct stream *s, const struct huffman *h)
{
	int code, count, first, index;
	unsigned int len;
	uint16_t fast;

	need(s, MAX_BITS);
	fast = h->fast[s->bits & ((1 << FAST_BITS) - 1)];
	if (fast != 0) {
		s->bits >>= fast & 15;
		s->nbits -= fast & 15;
		return (fast >> 4);
	}
	code = first = index = 0;
	for (len = 1; len <= MAX_BITS; len++) {
		code |= (int)(s->bits >> (len - 1) & 1);
		count = h->count[len];
		if (code - count < first) {
			s->bits >>= len;
			s->nbits -= len;
			return (h->symbol[index + (code - first)]);
		}
		index += count;
		first = (first + count) << 1;
		code <<= 1;
	}
	return (-1);
}

static bool
stored(struct stream *s)
{
	unsigned int len, n;

	(void)take(s, s->nbits % 8);
	len = take(s, 16);
	n = take(s, 16);
	if (len != (~n & 0xffff) || s->bad)
		return (false);
	for (; len > 0 && s->outpos < s->outlen; len--) {
		s->out[s->outpos++] = (uint8_t)take(s, 8);
		if (s->bad)
			return (false);
	}
	return (true);
}

static bool
codes(struct stream *s, const struct huffman *lit, const struct huffman *dist)
{
	static const uint16_t lbase[29] = { 3, 4, 5, 6, 7, 8, 9, 10, 11, 13,
		15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
		163, 195, 227, 258 };
	static const uint8_t lextra[29] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1,
		2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0 };
	static const uint16_t dbase[NDISTANCE] = { 1, 2, 3, 4, 5, 7, 9, 13, 17,
		25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
		2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577 };
	size_t distance, len;
	int symbol;

	while (s->outpos < s->outlen) {
		symbol = decode(s, lit);
		if (symbol < 0 || s->bad)
			return (false);
		if (symbol < 256) {
			s->out[s->outpos++] = (uint8_t)symbol;
			continue;
		}
		if (symbol == 256)
			return (true);
		symbol -= 257;
		if (symbol >= 29)
			return (false);
		len = lbase[symbol] + take(s, lextra[symbol]);
		symbol = decode(s, dist);
		if (symbol < 0 || symbol >= NDISTANCE)
			return (false);
		distance = dbase[symbol] +
		    take(s, symbol < 2 ? 0 : (unsigned int)symbol / 2 - 1);
		if (distance > s->outpos || s->bad)
			return (false);
		for (; len > 0 && s->outpos < s->outlen; len--, s->outpos++)
			s->out[s->outpos] = s->out[s->outpos - distance];
	}
	return (true);
}

static bool
fixed(struct stream *s)
{
	struct huffman dist, lit;
	uint8_t length[NLITERAL];

	memset(length, 8, 144);
	memset(length + 144, 9, 112);
	memset(length + 256, 7, 24);
	memset(length + 280, 8, 8);
	build(&lit, length, NLITERAL);
	memset(length, 5, NDISTANCE);
	build(&dist, length, NDISTANCE);
	return (codes(s, &lit, &dist));
}

static bool
dynamic(struct stream *s)
{
	static const uint8_t order[19] = { 16, 17, 18, 0, 8, 7, 9, 6, 10, 5,
		11, 4, 12, 3, 13, 2, 14, 1, 15 };
	uint8_t length[NLITERAL + 32], prev;
	struct huffman dist, lit;
	unsigned int i, n, ncode, ndist, nlen;
	int symbol;

	nlen = take(s, 5) + 257;
	ndist = take(s, 5) + 1;
	ncode = take(s, 4) + 4;
	if (nlen > 286 || ndist > NDISTANCE)
		return (false);
	memset(length, 0, sizeof(length));
	for (i = 0; i < ncode; i++)
		length[order[i]] = (uint8_t)take(s, 3);
	if (!build(&lit, length, 19))
		return (false);
	memset(length, 0, sizeof(length));
	for (i = 0; i < nlen + ndist;) {
		symbol = decode(s, &lit);
		if (symbol < 0 || s->bad)
			return (false);
		if (symbol < 16) {
			length[i++] = (uint8_t)symbol;
			continue;
		}
		if (symbol == 16 && i == 0)
			return (false);
		prev = symbol == 16 ? length[i - 1] : 0;
		n = symbol == 16 ? 3 + take(s, 2) :
		    symbol == 17 ? 3 + take(s, 3) :
				   11 + take(s, 7);
		if (n > nlen + ndist - i)
			return (false);
		memset(length + i, prev, n);
		i += n;
	}
	return (build(&lit, length, nlen) &&
	    build(&dist, length + nlen, ndist) && codes(s, &lit, &dist));
}

bool
block_inflate(const void *in, size_t inlen, void *out, size_t outlen)
{
	struct stream s = {
		.in = in, .inlen = inlen, .out = out, .outlen = outlen
	};
	unsigned int type;
	bool last, ok;

	do {
		last = take(&s, 1) != 0;
		type = take(&s, 2);
		ok = type == 0 ? stored(&s) :
		    type == 1  ? fixed(&s) :
		    type == 2  ? dynamic(&s) :
				 false;
	} while (ok && !last && s.outpos < outlen);
	return (ok && s.outpos == outlen);
}
