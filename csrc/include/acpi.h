/*
 * ACPI tables (csrc/bhyve/fw): RSDP, RSDT, XSDT, FADT, MADT, HPET, MCFG,
 * SPCR, FACS and the DSDT, placed from 0xF2400 on as bhyve places them.
 */
#ifndef _ACPI_H_
#define _ACPI_H_

#include <stddef.h>
#include <stdint.h>

struct vmctx;
struct aml;

#define ACPI_BASE 0xf2400UL
#define ACPI_LIMIT 0x100000UL

/* Build all tables into guest memory.  0, or an errno after one message. */
int acpi_build(struct vmctx *ctx, int ncpu);
/* The DSDT's body (without the table header). */
void acpi_dsdt_write(struct aml *a);

#endif
