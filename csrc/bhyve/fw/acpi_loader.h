/*
 * QEMU's table loader: records by which firmware places the ACPI tables of
 * fw_cfg where it likes.  Errors stick and show in acpi_loader_publish().
 */
#ifndef _ACPI_LOADER_H_
#define _ACPI_LOADER_H_

#include <stddef.h>
#include <stdint.h>

#define ACPI_TABLES_FILE "etc/acpi/tables"
#define ACPI_RSDP_FILE "etc/acpi/rsdp"

struct acpi_loader;

struct acpi_loader *acpi_loader_new(void);
void acpi_loader_free(struct acpi_loader *al);
/* Have a file loaded; near: into the 64 KB below 1 MB. */
void acpi_loader_allocate(
    struct acpi_loader *al, const char *file, uint32_t align, int near);
/* The size bytes at offset of file hold an offset into ACPI_TABLES_FILE. */
void acpi_loader_pointer(
    struct acpi_loader *al, const char *file, size_t offset, size_t size);
/* The byte at offset makes [start, start+length) sum to zero. */
void acpi_loader_checksum(struct acpi_loader *al, const char *file,
    size_t offset, size_t start, size_t length);
/* Add the records to fw_cfg.  0 or an errno. */
int acpi_loader_publish(const struct acpi_loader *al);

#endif
