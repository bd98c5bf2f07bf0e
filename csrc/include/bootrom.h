/* Firmware below 4 GB (-l bootrom). */
#ifndef _BOOTROM_H_
#define _BOOTROM_H_

#include <stdbool.h>

struct vmctx;

#define BOOTROM_MAX_SIZE (16UL * 1024 * 1024)

/* Map the configured ROM so that it ends at 4 GB.  0, or non-zero after one
 * EPRINTLN. */
int bootrom_load(struct vmctx *ctx);
/*
 * True for a PC BIOS: it jumps from the reset vector into the 64 KB below
 * 1 MB, runs there from a copy that bootrom_load() has made, and brings
 * tables of its own to where bhyve's would stand.
 */
bool bootrom_is_bios(void);
void bootrom_cleanup(void);

#endif
