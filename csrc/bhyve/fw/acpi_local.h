/* Between acpi.c (layout) and acpi_tables.c (contents). */
#ifndef _ACPI_LOCAL_H_
#define _ACPI_LOCAL_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vmctx;

#define ACPI_MAX_TABLES 10

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((__packed__));
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI table header");

struct acpi_facs {
	char signature[4];
	uint32_t length, hw_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version, reserved[31];
} __attribute__((__packed__));
_Static_assert(sizeof(struct acpi_facs) == 64, "FACS");

/* Where the FADT has its pointers. */
#define ACPI_FADT_FACS 36
#define ACPI_FADT_DSDT 40
#define ACPI_FADT_X_DSDT 140

/* Room for the largest table but the DSDT (a MADT of VM_MAXCPU entries). */
union acpi_scratch {
	struct acpi_header header;
	uint8_t bytes[4096];
};

/* Fill *t; false: this machine has no such table. */
typedef bool (*acpi_table_fn)(union acpi_scratch *t, struct vmctx *ctx,
    int ncpu, uint64_t facs, uint64_t dsdt);
extern const acpi_table_fn acpi_tables[];
extern const int acpi_ntables;

/* acpi_numa.c */
bool acpi_build_srat(union acpi_scratch *t, struct vmctx *ctx, int ncpu,
    uint64_t facs, uint64_t dsdt);
bool acpi_build_slit(union acpi_scratch *t, struct vmctx *ctx, int ncpu,
    uint64_t facs, uint64_t dsdt);

/* End of RAM below 4 GB. */
uint64_t acpi_lowmem_size(void);
void acpi_build_facs(union acpi_scratch *t);
void acpi_header(struct acpi_header *h, const char *signature, size_t length,
    uint8_t revision);
uint8_t acpi_checksum(const void *p, size_t n);

#endif
