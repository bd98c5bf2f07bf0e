/*
 * Scatter-gather lists: what block devices, NICs and virtio devices do with
 * struct iovec.  No function reads or writes beyond the list.
 */
#ifndef _IOV_H_
#define _IOV_H_

#include <stddef.h>
#include <sys/uio.h>

/* The sum of all lengths. */
size_t count_iov(const struct iovec *iov, size_t niov);
/* Shorten the list to len bytes; returns the number of elements left. */
size_t truncate_iov(struct iovec *iov, size_t niov, size_t len);
/*
 * The part of iov after its first seek bytes, into out, which has room for
 * niov elements; returns the number of elements.
 */
size_t seek_iov(
    const struct iovec *iov, size_t niov, struct iovec *out, size_t seek);
/* Copy up to len bytes, from seek on; returns the number of bytes copied. */
size_t iov_to_buf(
    const struct iovec *iov, size_t niov, size_t seek, void *buf, size_t len);
size_t buf_to_iov(const void *buf, size_t len, const struct iovec *iov,
    size_t niov, size_t seek);

#endif
