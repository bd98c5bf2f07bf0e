/*
 * Rows of the list of known holes, played by a guest (machine.h) against the
 * real devices.  A row is a function of its own process; ROW(id) enters it.
 */
#ifndef _ROWS_H_
#define _ROWS_H_

#include "linker_set.h"
#include "machine.h"

struct row {
	const char *id;
	void (*play)(void);
};
#define ROW(name)                                                    \
	static void play_##name(void);                               \
	static const struct row row_##name = { #name, play_##name }; \
	DATA_SET(row_set, row_##name);                               \
	static void play_##name(void)

#define DISK_BYTES (4UL << 20)
#define ROM_BYTES 65536UL
#define ROM ((4UL << 30) - ROM_BYTES)

/* A machine with one device in slot 3; disk is made when it names one. */
void one_device(const char *slot3);
/* A machine with a ROM_BYTES firmware at ROM and an interface to it. */
void firmware_up(const char *kind);
/* Read or write a register of slot 3's BAR, wherever that is. */
uint32_t reg_read(int bar, uint64_t off);
void reg_write(int bar, uint64_t off, uint32_t val);

#endif
