/*
 * Lines for the user.  A line ends in CRLF while the console holds the
 * terminal in raw mode; each line is one write(2), so threads do not mix.
 */
#ifndef _DEBUG_H_
#define _DEBUG_H_

#include <stdbool.h>
#include <stdint.h>
#include <stdatomic.h>

void debug_set_raw_stdio(bool raw);
void println(const char *fmt, ...) __attribute__((__format__(printf, 1, 2)));
void eprintln(const char *fmt, ...) __attribute__((__format__(printf, 1, 2)));
/* "bhyve: " before the text, as errx(3) has it. */
void ewarnx(const char *fmt, ...) __attribute__((__format__(printf, 1, 2)));

#define PRINTLN(...) println(__VA_ARGS__)
#define EPRINTLN(...) eprintln(__VA_ARGS__)

/* A token bucket for one call site: ten lines in five seconds. */
struct log_bucket {
	_Atomic uint64_t window; /* number of the 5 s window */
	_Atomic uint32_t lines;
};
bool log_allowed(struct log_bucket *bucket);

/* For lines that a guest can cause: limited for each call site. */
#define GUEST_LOG(...)                                \
	do {                                          \
		static struct log_bucket log_bucket_; \
		if (log_allowed(&log_bucket_))        \
			eprintln(__VA_ARGS__);        \
	} while (0)

#endif
