/*
 * The records of etc/table-loader (QEMU's BIOS linker and loader): 128 bytes
 * each, little endian.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acpi_loader.h"
#include "qemu_fwcfg.h"

#define MAX_RECORDS 48 /* of each list */

enum { LOADER_ALLOCATE = 1, LOADER_ADD_POINTER, LOADER_ADD_CHECKSUM };
enum { ZONE_HIGH = 1, ZONE_FSEG };

struct record {
	uint32_t command;
	union {
		struct {
			char file[QEMU_FWCFG_MAX_NAME];
			uint32_t align;
			uint8_t zone;
		} __attribute__((__packed__)) allocate;
		struct {
			char dest[QEMU_FWCFG_MAX_NAME];
			char src[QEMU_FWCFG_MAX_NAME];
			uint32_t offset;
			uint8_t size;
		} __attribute__((__packed__)) pointer;
		struct {
			char file[QEMU_FWCFG_MAX_NAME];
			uint32_t offset, start, length;
		} __attribute__((__packed__)) checksum;
		uint8_t pad[124];
	} u;
} __attribute__((__packed__));
_Static_assert(sizeof(struct record) == 128, "table-loader record");

/* The order counts: a sum is right once all pointers are. */
enum { LIST_PLACE, LIST_SUM, NLISTS };

struct acpi_loader {
	struct record records[NLISTS][MAX_RECORDS];
	size_t n[NLISTS];
	int error;
};

struct acpi_loader *
acpi_loader_new(void)
{
	return (calloc(1, sizeof(struct acpi_loader)));
}

void
acpi_loader_free(struct acpi_loader *al)
{
	free(al);
}

static struct record *
next_record(struct acpi_loader *al, uint32_t command)
{
	int list = command == LOADER_ADD_CHECKSUM ? LIST_SUM : LIST_PLACE;
	struct record *r;

	if (al->n[list] == MAX_RECORDS) {
		al->error = ENOSPC;
		al->n[list]--;
	}
	r = &al->records[list][al->n[list]++];
	memset(r, 0, sizeof(*r));
	r->command = command;
	return (r);
}

void
acpi_loader_allocate(
    struct acpi_loader *al, const char *file, uint32_t align, int near)
{
	struct record *r = next_record(al, LOADER_ALLOCATE);

	strcpy(r->u.allocate.file, file);
	r->u.allocate.align = align;
	r->u.allocate.zone = near ? ZONE_FSEG : ZONE_HIGH;
}

void
acpi_loader_pointer(
    struct acpi_loader *al, const char *file, size_t offset, size_t size)
{
	struct record *r = next_record(al, LOADER_ADD_POINTER);

	strcpy(r->u.pointer.dest, file);
	strcpy(r->u.pointer.src, ACPI_TABLES_FILE);
	r->u.pointer.offset = (uint32_t)offset;
	r->u.pointer.size = (uint8_t)size;
}

void
acpi_loader_checksum(struct acpi_loader *al, const char *file, size_t offset,
    size_t start, size_t length)
{
	struct record *r = next_record(al, LOADER_ADD_CHECKSUM);

	strcpy(r->u.checksum.file, file);
	r->u.checksum.offset = (uint32_t)offset;
	r->u.checksum.start = (uint32_t)start;
	r->u.checksum.length = (uint32_t)length;
}

int
acpi_loader_publish(const struct acpi_loader *al)
{
	struct record all[NLISTS * MAX_RECORDS];
	size_t n;

	if (al->error != 0)
		return (al->error);
	n = al->n[LIST_PLACE];
	memcpy(all, al->records[LIST_PLACE], n * sizeof(all[0]));
	memcpy(
	    all + n, al->records[LIST_SUM], al->n[LIST_SUM] * sizeof(all[0]));
	n += al->n[LIST_SUM];
	return (
	    qemu_fwcfg_add_file("etc/table-loader", all, n * sizeof(all[0])));
}
