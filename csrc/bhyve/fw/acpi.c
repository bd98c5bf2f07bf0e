/*
 * Layout and order of the ACPI tables: each table is built in a scratch
 * buffer, gets its header and checksum here, and is copied into guest memory
 * at the next free address from 0xF2400 on, or into a file of fw_cfg.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "acpi.h"
#include "acpi_aml.h"
#include "acpi_loader.h"
#include "acpi_local.h"
#include "bootrom.h"
#include "config.h"
#include "debug.h"
#include "qemu_fwcfg.h"
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

/*
 * Where tables go: guest memory, or the file that fw_cfg's table loader
 * relocates (its base is 0, and each pointer and checksum gets a record).
 */
struct layout {
	uint8_t *mem;
	uint64_t base, next, limit;
	struct acpi_loader *loader; /* NULL: addresses are final */
};

static uint64_t lowmem_size;

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
	if (gpa > l->limit || n > l->limit - gpa)
		return (0);
	memcpy(l->mem + (gpa - l->base), p, n);
	l->next = gpa + n;
	return (gpa);
}

/* Checksum a table and place it.  The loader's sums start from zero. */
static uint64_t
place_table(struct layout *l, void *table)
{
	struct acpi_header *h = table;
	uint64_t gpa;

	h->checksum = 0;
	if (l->loader == NULL)
		h->checksum = acpi_checksum(table, h->length);
	gpa = place(l, table, h->length, 16);
	if (gpa != 0 && l->loader != NULL)
		acpi_loader_checksum(l->loader, ACPI_TABLES_FILE,
		    gpa + offsetof(struct acpi_header, checksum), gpa,
		    h->length);
	return (gpa);
}

static void
table_pointer(struct layout *l, uint64_t at, size_t size)
{
	if (l->loader != NULL)
		acpi_loader_pointer(l->loader, ACPI_TABLES_FILE, at, size);
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
			acpi_header((struct acpi_header *)(void *)table, "DSDT",
			    sizeof(struct acpi_header) + len, 2);
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
	uint64_t gpa;
	size_t at, i;

	acpi_header((struct acpi_header *)(void *)buf, signature,
	    sizeof(struct acpi_header) + n * entry, 1);
	at = sizeof(struct acpi_header);
	for (i = 0; i < n; i++) /* little endian, as the host is */
		memcpy(buf + at + i * entry, &tables[i], entry);
	gpa = place_table(l, buf);
	for (i = 0; gpa != 0 && i < n; i++)
		table_pointer(l, gpa + at + i * entry, entry);
	return (gpa);
}

/* All tables, and the RSDP that names them.  False: they do not fit. */
static bool
place_all(struct layout *l, struct vmctx *ctx, int ncpu, struct acpi_rsdp *rsdp)
{
	uint64_t tables[ACPI_MAX_TABLES], dsdt, facs, xsdt;
	union acpi_scratch t;
	size_t n;
	int i;

	dsdt = place_dsdt(l);
	acpi_build_facs(&t);
	facs = place(l, &t, ((struct acpi_facs *)&t)->length, 64);
	if (dsdt == 0 || facs == 0)
		return (false);
	n = 0;
	for (i = 0; i < acpi_ntables; i++) {
		if (!acpi_tables[i](&t, ctx, ncpu, facs, dsdt))
			continue;
		tables[n] = place_table(l, &t);
		if (tables[n] == 0)
			return (false);
		if (memcmp(t.header.signature, "FACP", 4) == 0) {
			table_pointer(l, tables[n] + ACPI_FADT_FACS, 4);
			table_pointer(l, tables[n] + ACPI_FADT_DSDT, 4);
			table_pointer(l, tables[n] + ACPI_FADT_X_DSDT, 8);
		}
		n++;
	}
	memset(rsdp, 0, sizeof(*rsdp));
	memcpy(rsdp->signature, "RSD PTR ", 8);
	memcpy(rsdp->oem_id, "BHYVE ", 6);
	rsdp->revision = 2;
	rsdp->rsdt = (uint32_t)place_sdt(l, "RSDT", tables, n, 4);
	rsdp->length = sizeof(*rsdp);
	xsdt = place_sdt(l, "XSDT", tables, n, 8);
	rsdp->xsdt = xsdt;
	return (rsdp->rsdt != 0 && xsdt != 0);
}

/* At bhyve's address, for firmware and kernels that look there. */
static int
build_in_memory(struct vmctx *ctx, int ncpu)
{
	struct acpi_rsdp rsdp;
	struct layout l = { .base = ACPI_BASE, .limit = ACPI_LIMIT };

	l.mem = vm_map_gpa(ctx, ACPI_BASE, ACPI_LIMIT - ACPI_BASE);
	if (l.mem == NULL) {
		EPRINTLN("ACPI: no guest memory at %#lx", ACPI_BASE);
		return (ENOMEM);
	}
	l.next = ACPI_BASE + 0x40; /* behind the RSDP */
	if (!place_all(&l, ctx, ncpu, &rsdp)) {
		EPRINTLN("ACPI: the tables do not fit below %#lx", ACPI_LIMIT);
		return (ENOSPC);
	}
	rsdp.checksum = acpi_checksum(&rsdp, 20);
	rsdp.ext_checksum = acpi_checksum(&rsdp, sizeof(rsdp));
	memcpy(l.mem, &rsdp, sizeof(rsdp));
	vm_dirty_gpa(ctx, ACPI_BASE, ACPI_LIMIT - ACPI_BASE);
	return (0);
}

static int
publish(struct layout *l, const struct acpi_rsdp *rsdp)
{
	int error;

	acpi_loader_pointer(l->loader, ACPI_RSDP_FILE,
	    offsetof(struct acpi_rsdp, rsdt), sizeof(rsdp->rsdt));
	acpi_loader_pointer(l->loader, ACPI_RSDP_FILE,
	    offsetof(struct acpi_rsdp, xsdt), sizeof(rsdp->xsdt));
	acpi_loader_checksum(l->loader, ACPI_RSDP_FILE,
	    offsetof(struct acpi_rsdp, checksum), 0, 20);
	acpi_loader_checksum(l->loader, ACPI_RSDP_FILE,
	    offsetof(struct acpi_rsdp, ext_checksum), 0, sizeof(*rsdp));
	error = qemu_fwcfg_add_file(ACPI_TABLES_FILE, l->mem, l->next);
	if (error == 0)
		error =
		    qemu_fwcfg_add_file(ACPI_RSDP_FILE, rsdp, sizeof(*rsdp));
	if (error == 0)
		error = acpi_loader_publish(l->loader);
	return (error);
}

/* As files of fw_cfg, for firmware that places them itself. */
static int
build_for_loader(struct vmctx *ctx, int ncpu)
{
	struct acpi_rsdp rsdp;
	struct layout l = { .base = 0, .limit = ACPI_LIMIT - ACPI_BASE };
	int error;

	l.mem = calloc(1, l.limit);
	l.loader = acpi_loader_new();
	/* Address 0 says that there is no room, so it stays free. */
	l.next = 0x40;
	error = l.mem == NULL || l.loader == NULL ? ENOMEM : 0;
	if (error == 0) {
		acpi_loader_allocate(l.loader, ACPI_RSDP_FILE, 16, 1);
		acpi_loader_allocate(l.loader, ACPI_TABLES_FILE, 64, 0);
		error = place_all(&l, ctx, ncpu, &rsdp) ? publish(&l, &rsdp)
							: ENOSPC;
	}
	if (error != 0)
		EPRINTLN("ACPI: the table loader: %s", strerror(error));
	acpi_loader_free(l.loader);
	free(l.mem);
	return (error);
}

uint64_t
acpi_lowmem_size(void)
{
	return (lowmem_size);
}

int
acpi_build(struct vmctx *ctx, int ncpu)
{
	int error;

	lowmem_size = vm_get_lowmem_size(ctx);
	if (!get_config_bool_default("acpi_tables", true))
		return (0);
	error = 0;
	if (get_config_bool_default("acpi_tables_in_memory", true) &&
	    !bootrom_is_bios())
		error = build_in_memory(ctx, ncpu);
	if (error == 0 && qemu_fwcfg_present())
		error = build_for_loader(ctx, ncpu);
	return (error);
}
