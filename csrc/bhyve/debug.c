/*
 * Lines for the user on stdout and stderr, in one write(2) each.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "debug.h"

#define LINE_MAX_LEN 1024
#define LOG_WINDOW_SECS 5
#define LOG_WINDOW_LINES 10

static atomic_bool raw_stdio;

void
debug_set_raw_stdio(bool raw)
{
	atomic_store(&raw_stdio, raw);
}

static void
write_all(int fd, const char *buf, size_t len)
{
	ssize_t n;

	while (len > 0) {
		n = write(fd, buf, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		buf += n;
		len -= (size_t)n;
	}
}

static void __attribute__((__format__(printf, 3, 0)))
vline(int fd, const char *prefix, const char *fmt, va_list ap)
{
	char buf[LINE_MAX_LEN];
	size_t len, plen;
	int n;

	plen = strlen(prefix);
	memcpy(buf, prefix, plen);
	n = vsnprintf(buf + plen, sizeof(buf) - plen - 2, fmt, ap);
	if (n < 0)
		return;
	len = plen + (size_t)n;
	if (len > sizeof(buf) - 3)
		len = sizeof(buf) - 3;
	if (atomic_load(&raw_stdio))
		buf[len++] = '\r';
	buf[len++] = '\n';
	write_all(fd, buf, len);
}

void
println(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vline(STDOUT_FILENO, "", fmt, ap);
	va_end(ap);
}

void
eprintln(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vline(STDERR_FILENO, "", fmt, ap);
	va_end(ap);
}

void
ewarnx(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vline(STDERR_FILENO, "bhyve: ", fmt, ap);
	va_end(ap);
}

bool
log_allowed(struct log_bucket *bucket)
{
	struct timespec ts;
	uint64_t window;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	window = (uint64_t)ts.tv_sec / LOG_WINDOW_SECS + 1;
	if (atomic_exchange(&bucket->window, window) != window)
		atomic_store(&bucket->lines, 0);
	return (atomic_fetch_add(&bucket->lines, 1) < LOG_WINDOW_LINES);
}
