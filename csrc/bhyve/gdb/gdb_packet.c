/*
 * Packets of GDB's remote protocol: $text#checksum, acknowledged by + or -.
 * A reply is on its way before the next packet is looked at, so that a client
 * cannot make more of them than it reads.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gdb_local.h"
#include "mevent.h"

#define CTRL_C 0x03
#define IN_ROOM (GDB_PACKET_SIZE + 8)
/* An acknowledgement, a packet and its frame, and a stop reply. */
#define OUT_ROOM (GDB_PACKET_SIZE + 512)

struct gdb_session {
	int fd;
	struct mevent *readable, *writable;
	bool stopped; /* commands may be served */
	bool leaving;
	size_t in_len;
	size_t out_len, out_at;
	size_t last_len; /* the last packet, to send it again */
	char in[IN_ROOM], out[OUT_ROOM], last[OUT_ROOM];
	char reply[GDB_PACKET_SIZE];
};

/* ---- text ---- */

void
gdb_put(struct gdb_reply *r, const char *text)
{
	size_t n = strlen(text);

	if (n > r->room - r->len)
		n = r->room - r->len;
	memcpy(r->buf + r->len, text, n);
	r->len += n;
}

void
gdb_putf(struct gdb_reply *r, const char *fmt, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	gdb_put(r, text);
}

void
gdb_put_hex(struct gdb_reply *r, const void *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = bytes;

	for (; n > 0 && r->room - r->len >= 2; n--, p++) {
		r->buf[r->len++] = digits[*p >> 4];
		r->buf[r->len++] = digits[*p & 15];
	}
}

void
gdb_put_error(struct gdb_reply *r, int error)
{
	r->len = 0;
	gdb_putf(r, "E%02x", error & 0xff);
}

bool
gdb_take(struct gdb_text *t, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0)
		return (false);
	t->p += n;
	return (true);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return (c - '0');
	if (c >= 'a' && c <= 'f')
		return (c - 'a' + 10);
	if (c >= 'A' && c <= 'F')
		return (c - 'A' + 10);
	return (-1);
}

bool
gdb_take_number(struct gdb_text *t, uint64_t *value)
{
	const char *start = t->p;

	for (*value = 0; t->p < t->end && hex_digit(*t->p) >= 0; t->p++) {
		if (*value >> 60 != 0)
			return (false);
		*value = *value << 4 | (unsigned int)hex_digit(*t->p);
	}
	return (t->p != start);
}

bool
gdb_take_bytes(struct gdb_text *t, void *bytes, size_t n)
{
	uint8_t *p = bytes;
	int high, low;

	if ((size_t)(t->end - t->p) / 2 < n)
		return (false);
	for (; n > 0; n--, t->p += 2) {
		high = hex_digit(t->p[0]);
		low = hex_digit(t->p[1]);
		if (high < 0 || low < 0)
			return (false);
		*p++ = (uint8_t)(high << 4 | low);
	}
	return (true);
}

/* ---- sending ---- */

/* False: the client is gone. */
static bool
flush(struct gdb_session *s)
{
	ssize_t n;

	while (s->out_at < s->out_len) {
		n = send(s->fd, s->out + s->out_at, s->out_len - s->out_at,
		    MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			mevent_enable(s->writable);
			return (true);
		}
		if (n <= 0)
			return (false);
		s->out_at += (size_t)n;
	}
	s->out_at = s->out_len = 0;
	mevent_disable(s->writable);
	return (true);
}

static void
queue(struct gdb_session *s, const char *text, size_t n)
{
	if (n > sizeof(s->out) - s->out_len)
		n = sizeof(s->out) - s->out_len;
	memcpy(s->out + s->out_len, text, n);
	s->out_len += n;
}

/* Frames a reply and sends it; it is kept for a client that asks again. */
static void
send_reply(struct gdb_session *s, const struct gdb_reply *r)
{
	uint8_t sum = 0;
	size_t i;

	for (i = 0; i < r->len; i++)
		sum = (uint8_t)(sum + (uint8_t)r->buf[i]);
	s->last[0] = '$';
	memcpy(s->last + 1, r->buf, r->len);
	snprintf(s->last + 1 + r->len, 4, "#%02x", sum);
	s->last_len = r->len + 4;
	queue(s, s->last, s->last_len);
}

/* ---- receiving ---- */

static void
drop_input(struct gdb_session *s, size_t n)
{
	memmove(s->in, s->in + n, s->in_len - n);
	s->in_len -= n;
}

/* "NN:" in front: a form from before gdb 5, which no stub takes up. */
static bool
has_sequence(const char *text, size_t len)
{
	return (len >= 3 && hex_digit(text[0]) >= 0 &&
	    hex_digit(text[1]) >= 0 && text[2] == ':');
}

static void
answer(struct gdb_session *s, const char *text, size_t len)
{
	struct gdb_reply r = { s->reply, 0, sizeof(s->reply) };
	struct gdb_text t = { text, text + len };

	if (has_sequence(text, len)) {
		send_reply(s, &r);
		return;
	}
	switch (gdb_command(&t, &r)) {
	case GDB_SILENT:
		s->stopped = false;
		break;
	case GDB_LEAVE:
		s->leaving = true;
		send_reply(s, &r);
		break;
	default:
		send_reply(s, &r);
		break;
	}
}

/* A packet at the start of the input; false: there is no whole one yet. */
static bool
take_packet(struct gdb_session *s)
{
	const char *hash = memchr(s->in, '#', s->in_len);
	struct gdb_text t;
	uint8_t sum, want;
	size_t i, len;

	if (hash == NULL || s->in_len - (size_t)(hash - s->in) < 3)
		return (false);
	len = (size_t)(hash - s->in);
	for (i = 1, sum = 0; i < len; i++)
		sum = (uint8_t)(sum + (uint8_t)s->in[i]);
	t = (struct gdb_text) { hash + 1, hash + 3 };
	if (!gdb_take_bytes(&t, &want, 1) || want != sum) {
		queue(s, "-", 1);
	} else {
		queue(s, "+", 1);
		answer(s, s->in + 1, len - 1);
	}
	drop_input(s, len + 3);
	return (true);
}

/* One step through the input; false: more must come, or a stop. */
static bool
take_input(struct gdb_session *s)
{
	if (s->in_len == 0 || s->out_len != 0 || s->leaving)
		return (false);
	switch (s->in[0]) {
	case '$':
		/* While the vCPUs run, only an interrupt is looked at. */
		return (s->stopped && take_packet(s));
	case CTRL_C:
		drop_input(s, 1);
		if (!s->stopped)
			gdb_interrupt();
		return (true);
	case '-':
		drop_input(s, 1);
		queue(s, s->last, s->last_len);
		return (true);
	default: /* '+', and noise */
		drop_input(s, 1);
		return (true);
	}
}

/* An interrupt goes before the packets that wait for a stop. */
static void
find_interrupt(struct gdb_session *s)
{
	char *p;

	if (s->stopped || s->in_len == 0 || s->in[0] != '$')
		return;
	p = memchr(s->in, CTRL_C, s->in_len);
	if (p == NULL)
		return;
	memmove(p, p + 1, s->in_len - (size_t)(p + 1 - s->in));
	s->in_len--;
	gdb_interrupt();
}

/* False: the session is over. */
static bool
serve(struct gdb_session *s)
{
	do {
		while (take_input(s))
			;
		find_interrupt(s);
		if (!flush(s))
			return (false);
		if (s->leaving && s->out_len == 0)
			return (false);
	} while (s->out_len == 0 && take_input(s));
	/* What fills the buffer and is no packet never will be one. */
	return (s->in_len < sizeof(s->in) || s->out_len != 0);
}

static void
session_end(struct gdb_session *s)
{
	gdb_session_free(s);
	gdb_detach();
}

bool
gdb_session_over(struct gdb_session *s)
{
	char c;

	if (recv(s->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) != 0)
		return (false);
	session_end(s);
	return (true);
}

static void
on_readable(int fd, enum ev_type type, void *param)
{
	struct gdb_session *s = param;
	ssize_t n;

	if (s->in_len == sizeof(s->in)) {
		/* Nothing fits until the client reads its reply. */
		mevent_disable(s->readable);
		return;
	}
	n = recv(
	    fd, s->in + s->in_len, sizeof(s->in) - s->in_len, MSG_DONTWAIT);
	if (n < 0 &&
	    (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n <= 0) {
		session_end(s);
		return;
	}
	s->in_len += (size_t)n;
	if (!serve(s))
		session_end(s);
}

static void
go_on(struct gdb_session *s)
{
	if (!serve(s)) {
		session_end(s);
		return;
	}
	if (s->in_len < sizeof(s->in))
		mevent_enable(s->readable);
}

static void
on_writable(int fd, enum ev_type type, void *param)
{
	struct gdb_session *s = param;

	if (!flush(s))
		session_end(s);
	else if (s->out_len == 0)
		go_on(s);
}

void
gdb_session_stopped(struct gdb_session *s, bool reply)
{
	struct gdb_reply r = { s->reply, 0, sizeof(s->reply) };

	s->stopped = true;
	if (reply) {
		gdb_stop_reply(&r);
		send_reply(s, &r);
	}
	go_on(s);
}

void
gdb_session_exited(struct gdb_session *s, int status)
{
	struct gdb_reply r = { s->reply, 0, sizeof(s->reply) };

	if (!s->stopped) { /* else nobody waits for a stop reply */
		gdb_putf(&r, "W%02x", status & 0xff);
		send_reply(s, &r);
		(void)!send(s->fd, s->out + s->out_at, s->out_len - s->out_at,
		    MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	close(s->fd);
	free(s);
}

struct gdb_session *
gdb_session_new(int fd)
{
	struct gdb_session *s;

	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return (NULL);
	s->fd = fd;
	s->readable = mevent_add(fd, EVF_READ, on_readable, s);
	s->writable = mevent_add_disabled(fd, EVF_WRITE, on_writable, s);
	if (s->readable == NULL || s->writable == NULL) {
		if (s->readable != NULL)
			mevent_delete(s->readable);
		free(s);
		return (NULL);
	}
	return (s);
}

void
gdb_session_free(struct gdb_session *s)
{
	mevent_delete(s->writable);
	mevent_delete_close(s->readable);
	free(s);
}
