/*
 * The guest's memory map as sorted, disjoint ranges.  RAM comes from the
 * VM's memory layout; everything else is carved out of it or added.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "debug.h"
#include "e820.h"
#include "vmmapi.h"

#define E820_MAX 128
#define PCI_ECAM_BASE 0xe0000000UL
#define PCI_ECAM_SIZE 0x10000000UL

static struct e820_entry table[E820_MAX];
static size_t count;
static bool final;

static int
insert_at(size_t i, uint64_t base, uint64_t length, uint32_t type)
{
	if (length == 0)
		return (0);
	if (count == E820_MAX)
		return (ENOSPC);
	memmove(&table[i + 1], &table[i], (count - i) * sizeof(table[0]));
	table[i] = (struct e820_entry) { base, length, type };
	count++;
	return (0);
}

static void
remove_at(size_t i)
{
	count--;
	memmove(&table[i], &table[i + 1], (count - i) * sizeof(table[0]));
}

int
e820_add_entry(uint64_t base, uint64_t length, enum e820_memory_type type)
{
	uint64_t end, eend;
	size_t i;
	int error;

	if (final)
		return (EBUSY);
	if (length == 0 || base + length < base)
		return (EINVAL);
	end = base + length;

	/* Only RAM gives way; anything else that overlaps is a conflict. */
	for (i = 0; i < count; i++) {
		eend = table[i].base + table[i].length;
		if (base < eend && table[i].base < end &&
		    table[i].type != E820_TYPE_MEMORY)
			return (EEXIST);
	}
	for (i = 0; i < count;) {
		struct e820_entry e = table[i];

		eend = e.base + e.length;
		if (base >= eend || e.base >= end) {
			i++;
			continue;
		}
		remove_at(i);
		if (e.base < base) {
			error = insert_at(i, e.base, base - e.base, e.type);
			if (error != 0)
				return (error);
			i++;
		}
		if (eend > end) {
			error = insert_at(i, end, eend - end, e.type);
			if (error != 0)
				return (error);
		}
	}
	for (i = 0; i < count && table[i].base < base; i++)
		;
	return (insert_at(i, base, length, (uint32_t)type));
}

int
e820_init(struct vmctx *ctx)
{
	int error;

	count = 0;
	final = false;
	error = e820_add_entry(0, vm_get_lowmem_size(ctx), E820_TYPE_MEMORY);
	/* The VGA window and the option ROMs' place, as on any PC; firmware
	 * tables stand in the reserved part. */
	if (error == 0 && vm_get_lowmem_size(ctx) >= 0x100000) {
		error = e820_add_entry(0xa0000, 0x20000, E820_TYPE_RESERVED);
		if (error == 0)
			error = e820_add_entry(
			    0xc0000, 0x40000, E820_TYPE_RESERVED);
	}
	if (error == 0)
		error = e820_add_entry(
		    PCI_ECAM_BASE, PCI_ECAM_SIZE, E820_TYPE_RESERVED);
	if (error == 0 && vm_get_highmem_size(ctx) > 0)
		error = e820_add_entry(vm_get_highmem_base(ctx),
		    vm_get_highmem_size(ctx), E820_TYPE_MEMORY);
	if (error != 0)
		EPRINTLN("e820: the memory map cannot be built: %s",
		    strerror(error));
	return (error);
}

size_t
e820_get(const struct e820_entry **entries)
{
	*entries = table;
	return (count);
}

int
e820_finalize(void)
{
	static const char *const names[] = { "?", "RAM", "reserved", "ACPI",
		"NVS" };
	size_t i;

	final = true;
	if (!get_config_bool_default("e820.debug", false))
		return (0);
	for (i = 0; i < count; i++)
		EPRINTLN("e820: [%016" PRIx64 ", %016" PRIx64 ") %s",
		    table[i].base, table[i].base + table[i].length,
		    names[table[i].type <= 4 ? table[i].type : 0]);
	return (0);
}

void
e820_cleanup(void)
{
	count = 0;
	final = false;
}
