/*
 * The guest's memory map, by which loaders, fw_cfg and PCI agree on who
 * owns what.
 */
#ifndef _E820_H_
#define _E820_H_

#include <stddef.h>
#include <stdint.h>

struct vmctx;

enum e820_memory_type {
	E820_TYPE_MEMORY = 1,
	E820_TYPE_RESERVED = 2,
	E820_TYPE_ACPI = 3,
	E820_TYPE_NVS = 4,
};

/* As fw_cfg's etc/e820 hands it over. */
struct e820_entry {
	uint64_t base;
	uint64_t length;
	uint32_t type;
} __attribute__((__packed__));

/* Start with RAM and bhyve's fixed holes. */
int e820_init(struct vmctx *ctx);
/* Carve [base, base+length) out of RAM (or add it above).  0 or errno. */
int e820_add_entry(uint64_t base, uint64_t length, enum e820_memory_type type);
/* Sorted, disjoint entries; returns how many, *entries stays owned here. */
size_t e820_get(const struct e820_entry **entries);
/* No changes any more; prints the map when e820.debug is set. */
int e820_finalize(void);
void e820_cleanup(void);

#endif
