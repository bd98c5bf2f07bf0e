/*
 * Layout and order of the ACPI tables: each table is built in a scratch
 * buffer, gets its header and checksum here, and is copied into guest memory
 * at the next free address from 0xF2400 on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acpi.h"
#include "acpi_aml.h"
#include "acpi_local.h"
#include "config.h"
#include "debug.h"
#include "vmmapi.h"

#define DSDT_ROOM (32 * 1024)

struct acpi_rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t ext_checksum, reserved[3];
} __attribute__((__packed__));
_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");

struct layout {
	uint8_t *mem; /* at ACPI_BASE */
	uint64_t next;
};

uint8_t
acpi_checksum(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	while (n-- > 0)
		sum = (uint8_t)(sum + *b++);
	return ((uint8_t)-sum);
}

void
acpi_header(struct acpi_header *h, const char *signature, size_t length,
    uint8_t revision)
{
	memset(h, 0, sizeof(*h));
	memcpy(h->signature, signature, 4);
	h->length = (uint32_t)length;
	h->revision = revision;
	memcpy(h->oem_id, "BHYVE ", 6);
	memcpy(h->oem_table_id, "BV", 2);
	memcpy(h->oem_table_id + 2, signature, 4);
	memcpy(h->oem_table_id + 6, "  ", 2);
	h->oem_revision = 1;
	memcpy(h->creator_id, "BASL", 4);
	h->creator_revision = 0x20220504;
}

/* Place n bytes; returns their guest address, 0 when there is no room. */
static uint64_t
place(struct layout *l, const void *p, size_t n, uint64_t align)
{
	uint64_t gpa;

	gpa = (l->next + align - 1) & ~(align - 1);
	if (n > ACPI_LIMIT - gpa)
		return (0);
	memcpy(l->mem + (gpa - ACPI_BASE), p, n);
	l->next = gpa + n;
	return (gpa);
}

/* Checksum a table and place it. */
static uint64_t
place_table(struct layout *l, void *table)
{
	struct acpi_header *h = table;

	h->checksum = 0;
	h->checksum = acpi_checksum(table, h->length);
	return (place(l, table, h->length, 16));
}

static uint64_t
place_dsdt(struct layout *l)
{
	const uint8_t *body;
	struct aml *a;
	uint64_t gpa;
	uint8_t *table;
	size_t len;

	gpa = 0;
	a = aml_new(DSDT_ROOM);
	table = malloc(sizeof(struct acpi_header) + DSDT_ROOM);
	if (a != NULL && table != NULL) {
		acpi_dsdt_write(a);
		body = aml_finish(a, &len);
		if (body != NULL) {
			acpi_header((struct acpi_header *)(void *)table,
			    "DSDT", sizeof(struct acpi_header) + len, 2);
			memcpy(table + sizeof(struct acpi_header), body, len);
			gpa = place_table(l, table);
		}
	}
	free(table);
	aml_free(a);
	return (gpa);
}

/* RSDT (entry size 4) or XSDT (8). */
static uint64_t
place_sdt(struct layout *l, const char *signature, const uint64_t *tables,
    size_t n, size_t entry)
{
	uint8_t buf[sizeof(struct acpi_header) + 8 * ACPI_MAX_TABLES];
	size_t i;

	acpi_header((struct acpi_header *)(void *)buf, signature,
	    sizeof(struct acpi_header) + n * entry, 1);
	for (i = 0; i < n; i++) /* little endian, as the host is */
		memcpy(buf + sizeof(struct acpi_header) + i * entry,
		    &tables[i], entry);
	return (place_table(l, buf));
}

int
acpi_build(struct vmctx *ctx, int ncpu)
{
	struct acpi_rsdp rsdp;
	uint64_t tables[ACPI_MAX_TABLES], dsdt, facs, rsdt, xsdt;
	union acpi_scratch t;
	struct layout l;
	bool full;
	size_t n;
	int i;

	if (!get_config_bool_default("acpi_tables", true) ||
	    !get_config_bool_default("acpi_tables_in_memory", true))
		return (0);
	l.mem = vm_map_gpa(ctx, ACPI_BASE, ACPI_LIMIT - ACPI_BASE);
	if (l.mem == NULL) {
		EPRINTLN("ACPI: no guest memory at %#lx", ACPI_BASE);
		return (ENOMEM);
	}
	l.next = ACPI_BASE + 0x40; /* behind the RSDP */

	dsdt = place_dsdt(&l);
	acpi_build_facs(&t);
	facs = place(&l, &t, ((struct acpi_facs *)&t)->length, 64);
	full = dsdt == 0 || facs == 0;

	n = 0;
	for (i = 0; i < acpi_ntables && !full; i++) {
		if (!acpi_tables[i](&t, ctx, ncpu, facs, dsdt))
			continue;
		tables[n] = place_table(&l, &t);
		full = tables[n++] == 0;
	}
	rsdt = full ? 0 : place_sdt(&l, "RSDT", tables, n, 4);
	xsdt = full ? 0 : place_sdt(&l, "XSDT", tables, n, 8);
	if (rsdt == 0 || xsdt == 0) {
		EPRINTLN("ACPI: the tables do not fit below %#lx", ACPI_LIMIT);
		return (ENOSPC);
	}

	memset(&rsdp, 0, sizeof(rsdp));
	memcpy(rsdp.signature, "RSD PTR ", 8);
	memcpy(rsdp.oem_id, "BHYVE ", 6);
	rsdp.revision = 2;
	rsdp.rsdt = (uint32_t)rsdt;
	rsdp.length = sizeof(rsdp);
	rsdp.xsdt = xsdt;
	rsdp.checksum = acpi_checksum(&rsdp, 20);
	rsdp.ext_checksum = acpi_checksum(&rsdp, sizeof(rsdp));
	memcpy(l.mem, &rsdp, sizeof(rsdp));
	vm_dirty_gpa(ctx, ACPI_BASE, ACPI_LIMIT - ACPI_BASE);
	return (0);
}
