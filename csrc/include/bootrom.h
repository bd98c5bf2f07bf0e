/* Firmware below 4 GB (-l bootrom). */
#ifndef _BOOTROM_H_
#define _BOOTROM_H_

struct vmctx;

#define BOOTROM_MAX_SIZE (16UL * 1024 * 1024)

/* Map the configured ROM so that it ends at 4 GB.  0, or non-zero after one
 * EPRINTLN. */
int bootrom_load(struct vmctx *ctx);

#endif
