/*
 * What a fuzz target is, and how it reads its input.  Operations eat the
 * input from the front; what devices fetch by DMA is filled from the back.
 */
#ifndef _FUZZ_H_
#define _FUZZ_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "linker_set.h"
#include "machine.h"

/* Guest pages that addresses of the input mostly lie in. */
#define HOT 0x100000UL
#define HOT_PAGES 64
#define SLOT 3

struct input {
	const uint8_t *at, *end;
};

struct fuzz_range {
	uint64_t base;
	uint32_t size;
};

struct fuzz_target {
	const char *name;
	const char *settings[12]; /* of machine_up(); none: no machine */
	struct fuzz_range ports[8];
	struct fuzz_range mmio[4];
	void (*init)(void);		 /* once a process */
	void (*up)(void);		 /* after each machine_up() */
	bool (*alive)(void);		 /* no: the machine is made anew */
	void (*op)(struct input *in);	 /* what its driver does */
	void (*only)(struct input *in);	 /* the one operation of an input */
	void (*event)(struct input *in); /* what the host does */
	void (*whole)(const uint8_t *data, size_t len); /* no operations */
};
#define FUZZ_TARGET(x) DATA_SET(fuzz_target_set, x)

uint8_t in8(struct input *in);
uint16_t in16(struct input *in);
uint32_t in32(struct input *in);
uint64_t in64(struct input *in);
void in_bytes(struct input *in, void *buf, size_t len);
/* A guest address, mostly of a hot page; a register's value. */
uint64_t in_addr(struct input *in);
uint32_t in_value(struct input *in);

/* A register of the device in SLOT, over the bus. */
void bar_write(int bar, uint64_t off, int bytes, uint64_t val);
uint64_t bar_read(int bar, uint64_t off, int bytes);
/* Connect to a UNIX socket in the scratch folder; -1. */
int scratch_connect(const char *name);

#endif
