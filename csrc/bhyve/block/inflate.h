/* Decompression of RFC 1951 streams ("deflate", without zlib's frame). */
#ifndef _INFLATE_H_
#define _INFLATE_H_

#include <stdbool.h>
#include <stddef.h>

/*
 * Decompress until out is full; false: the stream is damaged or ends before.
 * Nothing outside the two buffers is touched whatever the stream says.
 */
bool block_inflate(
    const void *in, size_t inlen, void *out, size_t outlen);

#endif
