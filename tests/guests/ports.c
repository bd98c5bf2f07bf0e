/*
 * A guest that does what it is told over COM1, a line at a time, so that a test
 * is a table of accesses: KIND ADDRESS [VALUE], all in hexadecimal, KIND one of
 * b w l (ports of 1, 2, 4 bytes) and B W L (memory).  Without a value it reads
 * and prints what it got; a write answers with a dot.
 */
#include "vguest.h"

#define LSR (COM1 + 5)

static char line[80];

static void
put(char c)
{
	while ((inb(LSR) & 0x20) == 0)
		;
	outb(COM1, (uint8_t)c);
}

static void
get_line(void)
{
	uint32_t n = 0;
	char c;

	do {
		while ((inb(LSR) & 1) == 0)
			;
		c = (char)inb(COM1);
		if (n < sizeof(line) - 1)
			line[n++] = c;
	} while (c != '\n' && c != '\r');
	line[n] = '\0';
}

static int
take_hex(const char **p, uint32_t *val)
{
	int digits = 0;

	while (**p == ' ')
		(*p)++;
	for (*val = 0;; (*p)++, digits++) {
		if (**p >= '0' && **p <= '9')
			*val = *val << 4 | (uint32_t)(**p - '0');
		else if (**p >= 'a' && **p <= 'f')
			*val = *val << 4 | (uint32_t)(**p - 'a' + 10);
		else
			return (digits != 0);
	}
}

static void
put_hex(uint32_t val, int digits)
{
	while (digits-- > 0)
		put("0123456789abcdef"[val >> (digits * 4) & 15]);
}

static void
do_read(char kind, uint32_t at)
{
	switch (kind) {
	case 'b':
		put_hex(inb((uint16_t)at), 2);
		break;
	case 'w':
		put_hex(inw((uint16_t)at), 4);
		break;
	case 'l':
		put_hex(inl((uint16_t)at), 8);
		break;
	case 'B':
		put_hex(M8(at), 2);
		break;
	case 'W':
		put_hex(M16(at), 4);
		break;
	default:
		put_hex(M32(at), 8);
		break;
	}
}

static void
do_write(char kind, uint32_t at, uint32_t val)
{
	switch (kind) {
	case 'b':
		outb((uint16_t)at, (uint8_t)val);
		break;
	case 'w':
		outw((uint16_t)at, (uint16_t)val);
		break;
	case 'l':
		outl((uint16_t)at, val);
		break;
	case 'B':
		M8(at) = (uint8_t)val;
		break;
	case 'W':
		M16(at) = (uint16_t)val;
		break;
	default:
		M32(at) = val;
		break;
	}
}

void
guest_main(void)
{
	uint32_t at, val;
	const char *p;

	say("READY\n");
	for (;;) {
		get_line();
		p = line + 1;
		if (!take_hex(&p, &at))
			continue;
		if (take_hex(&p, &val)) {
			do_write(line[0], at, val);
			put('.');
		} else {
			do_read(line[0], at);
		}
		put('\n');
	}
}
