/*
 * Options that all network devices have: the Ethernet address, given or
 * made from the VM's name, and the MTU.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "net_utils.h"
#include "pci_emul.h"
#include "vmmapi.h"

/* ---- MD5 (RFC 1321), for names only ---- */

static uint32_t
rotate(uint32_t x, int n)
{
	return (x << n | x >> (32 - n));
}

static void
md5_block(uint32_t state[4], const uint8_t *p)
{
	/* floor(2^32 * |sin(i + 1)|) */
	static const uint32_t k[64] = {
		0xd76aa478,
		0xe8c7b756,
		0x242070db,
		0xc1bdceee,
		0xf57c0faf,
		0x4787c62a,
		0xa8304613,
		0xfd469501,
		0x698098d8,
		0x8b44f7af,
		0xffff5bb1,
		0x895cd7be,
		0x6b901122,
		0xfd987193,
		0xa679438e,
		0x49b40821,
		0xf61e2562,
		0xc040b340,
		0x265e5a51,
		0xe9b6c7aa,
		0xd62f105d,
		0x02441453,
		0xd8a1e681,
		0xe7d3fbc8,
		0x21e1cde6,
		0xc33707d6,
		0xf4d50d87,
		0x455a14ed,
		0xa9e3e905,
		0xfcefa3f8,
		0x676f02d9,
		0x8d2a4c8a,
		0xfffa3942,
		0x8771f681,
		0x6d9d6122,
		0xfde5380c,
		0xa4beea44,
		0x4bdecfa9,
		0xf6bb4b60,
		0xbebfbc70,
		0x289b7ec6,
		0xeaa127fa,
		0xd4ef3085,
		0x04881d05,
		0xd9d4d039,
		0xe6db99e5,
		0x1fa27cf8,
		0xc4ac5665,
		0xf4292244,
		0x432aff97,
		0xab9423a7,
		0xfc93a039,
		0x655b59c3,
		0x8f0ccc92,
		0xffeff47d,
		0x85845dd1,
		0x6fa87e4f,
		0xfe2ce6e0,
		0xa3014314,
		0x4e0811a1,
		0xf7537e82,
		0xbd3af235,
		0x2ad7d2bb,
		0xeb86d391,
	};
	static const uint8_t shifts[4][4] = {
		{ 7, 12, 17, 22 },
		{ 5, 9, 14, 20 },
		{ 4, 11, 16, 23 },
		{ 6, 10, 15, 21 },
	};
	uint32_t a, b, c, d, f, w[16];
	int g, i;

	for (i = 0; i < 16; i++)
		w[i] = (uint32_t)p[4 * i] | (uint32_t)p[4 * i + 1] << 8 |
		    (uint32_t)p[4 * i + 2] << 16 | (uint32_t)p[4 * i + 3] << 24;
	a = state[0];
	b = state[1];
	c = state[2];
	d = state[3];
	for (i = 0; i < 64; i++) {
		switch (i / 16) {
		case 0:
			f = (b & c) | (~b & d);
			g = i;
			break;
		case 1:
			f = (d & b) | (~d & c);
			g = (5 * i + 1) % 16;
			break;
		case 2:
			f = b ^ c ^ d;
			g = (3 * i + 5) % 16;
			break;
		default:
			f = c ^ (b | ~d);
			g = 7 * i % 16;
			break;
		}
		f += a + k[i] + w[g];
		a = d;
		d = c;
		c = b;
		b += rotate(f, shifts[i / 16][i % 4]);
	}
	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
}

void
net_md5(const void *data, size_t len, uint8_t digest[16])
{
	uint32_t state[4] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476 };
	const uint8_t *p = data;
	uint8_t last[128] = { 0 };
	uint64_t bits;
	size_t i, rest, tail;

	bits = (uint64_t)len * 8;
	for (rest = len; rest >= 64; rest -= 64, p += 64)
		md5_block(state, p);
	if (rest != 0)
		memcpy(last, p, rest);
	last[rest] = 0x80;
	tail = rest < 56 ? 64 : 128;
	for (i = 0; i < 8; i++)
		last[tail - 8 + i] = (uint8_t)(bits >> 8 * i);
	for (i = 0; i < tail; i += 64)
		md5_block(state, last + i);
	for (i = 0; i < 16; i++)
		digest[i] = (uint8_t)(state[i / 4] >> i % 4 * 8);
}

/* ---- addresses ---- */

int
net_parsemac(const char *text, uint8_t mac[ETHER_ADDR_LEN])
{
	unsigned int b[ETHER_ADDR_LEN];
	int end, i;

	end = 0;
	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2],
		&b[3], &b[4], &b[5], &end) != ETHER_ADDR_LEN ||
	    text[end] != '\0' ||
	    strspn(text, "0123456789abcdefABCDEF:") != strlen(text) ||
	    (b[0] & 1) != 0 || (b[0] | b[1] | b[2] | b[3] | b[4] | b[5]) == 0) {
		EPRINTLN("Invalid MAC address \"%s\"", text);
		return (EINVAL);
	}
	for (i = 0; i < ETHER_ADDR_LEN; i++)
		mac[i] = (uint8_t)b[i];
	return (0);
}

void
net_genmac(const struct pci_devinst *pi, uint8_t mac[ETHER_ADDR_LEN])
{
	uint8_t digest[16];
	char *name;
	int len;

	mac[0] = 0x58;
	mac[1] = 0x9c;
	mac[2] = 0xfc;
	len = asprintf(&name, "%d-%d-%s", pi->pi_slot, pi->pi_func,
	    vm_get_name(pi->pi_vmctx));
	if (len < 0) {
		/* The slot alone still tells the VM's cards apart. */
		mac[3] = mac[4] = pi->pi_slot;
		mac[5] = pi->pi_func;
		return;
	}
	net_md5(name, (size_t)len, digest);
	free(name);
	memcpy(mac + 3, digest, 3);
}

int
net_getmac(
    const struct pci_devinst *pi, nvlist_t *nvl, uint8_t mac[ETHER_ADDR_LEN])
{
	const char *text;

	text = get_config_value_node(nvl, "mac");
	if (text != NULL)
		return (net_parsemac(text, mac));
	net_genmac(pi, mac);
	return (0);
}

int
net_parsemtu(const char *text, unsigned int *mtu)
{
	unsigned long val;
	char *end;

	errno = 0;
	val = strtoul(text, &end, 0);
	if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' ||
	    val < ETHER_MTU_MIN || val > ETHER_MTU_MAX) {
		EPRINTLN("Invalid MTU \"%s\": %d to %d", text, ETHER_MTU_MIN,
		    ETHER_MTU_MAX);
		return (EINVAL);
	}
	*mtu = (unsigned int)val;
	return (0);
}
