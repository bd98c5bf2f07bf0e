/*
 * Scatter-gather lists.
 */
#include <stdint.h>
#include <string.h>

#include "iov.h"

size_t
count_iov(const struct iovec *iov, size_t niov)
{
	size_t i, total;

	total = 0;
	for (i = 0; i < niov; i++)
		total += iov[i].iov_len;
	return (total);
}

size_t
truncate_iov(struct iovec *iov, size_t niov, size_t len)
{
	size_t i;

	for (i = 0; i < niov && len > 0; i++) {
		if (iov[i].iov_len > len)
			iov[i].iov_len = len;
		len -= iov[i].iov_len;
	}
	return (i);
}

size_t
seek_iov(const struct iovec *iov, size_t niov, struct iovec *out, size_t seek)
{
	size_t i, n;

	n = 0;
	for (i = 0; i < niov; i++) {
		if (seek >= iov[i].iov_len) {
			seek -= iov[i].iov_len;
			continue;
		}
		out[n].iov_base = (char *)iov[i].iov_base + seek;
		out[n].iov_len = iov[i].iov_len - seek;
		n++;
		seek = 0;
	}
	return (n);
}

/* Copy between buf and the list; to_buf is the direction. */
static size_t
iov_copy(const struct iovec *iov, size_t niov, size_t seek, char *buf,
    size_t len, int to_buf)
{
	size_t done, i, n;
	char *base;

	done = 0;
	for (i = 0; i < niov && done < len; i++) {
		if (seek >= iov[i].iov_len) {
			seek -= iov[i].iov_len;
			continue;
		}
		base = (char *)iov[i].iov_base + seek;
		n = iov[i].iov_len - seek;
		if (n > len - done)
			n = len - done;
		if (to_buf)
			memcpy(buf + done, base, n);
		else
			memcpy(base, buf + done, n);
		done += n;
		seek = 0;
	}
	return (done);
}

size_t
iov_to_buf(
    const struct iovec *iov, size_t niov, size_t seek, void *buf, size_t len)
{
	return (iov_copy(iov, niov, seek, buf, len, 1));
}

size_t
buf_to_iov(const void *buf, size_t len, const struct iovec *iov, size_t niov,
    size_t seek)
{
	return (iov_copy(iov, niov, seek, (char *)(uintptr_t)buf, len, 0));
}
