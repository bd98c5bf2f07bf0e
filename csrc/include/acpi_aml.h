/*
 * A small assembler for ACPI machine language: the DSDT is built by calls,
 * so no host needs iasl.  Objects that contain others are opened and closed
 * (aml_device_begin/aml_device_end); terms of an expression are emitted in
 * AML's own prefix order (ACPI 6.4, chapter 20).
 *
 * Errors stick: after running out of room every call is a no-op, and
 * aml_finish() reports it.
 */
#ifndef _ACPI_AML_H_
#define _ACPI_AML_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml;

struct aml *aml_new(size_t room);
void aml_free(struct aml *a);
/* The bytes so far, or NULL when something did not fit or nest. */
const uint8_t *aml_finish(struct aml *a, size_t *len);

/* ---- containers ---- */
void aml_scope_begin(struct aml *a, const char *path);
void aml_scope_end(struct aml *a);
void aml_device_begin(struct aml *a, const char *name);
void aml_device_end(struct aml *a);
void aml_method_begin(
    struct aml *a, const char *name, int nargs, bool serialized);
void aml_method_end(struct aml *a);
void aml_package_begin(struct aml *a, int nelems);
void aml_package_end(struct aml *a);
void aml_if_begin(struct aml *a); /* then the predicate, then the body */
void aml_if_end(struct aml *a);
void aml_else_begin(struct aml *a);
void aml_else_end(struct aml *a);

/* ---- names and data ---- */
void aml_name(struct aml *a, const char *name); /* the object follows */
void aml_name_int(struct aml *a, const char *name, uint64_t val);
void aml_name_str(struct aml *a, const char *name, const char *str);
void aml_name_eisaid(struct aml *a, const char *name, const char *id);
void aml_int(struct aml *a, uint64_t val);
void aml_str(struct aml *a, const char *str);
void aml_ref(struct aml *a, const char *path);
void aml_byte(struct aml *a, uint8_t op); /* a bare opcode */

/* Opcodes used bare, in prefix order. */
#define AML_STORE 0x70
#define AML_ADD 0x72
#define AML_SUBTRACT 0x74
#define AML_DECREMENT 0x76
#define AML_SHIFTLEFT 0x79
#define AML_AND 0x7b
#define AML_OR 0x7d
#define AML_FINDSETRIGHTBIT 0x82
#define AML_CREATEWORDFIELD 0x8b
#define AML_LAND 0x90
#define AML_LOR 0x91
#define AML_LNOT 0x92
#define AML_LEQUAL 0x93
#define AML_RETURN 0xa4
#define AML_LOCAL0 0x60
#define AML_ARG0 0x68
#define AML_NULLNAME 0x00

/* ---- operation regions and fields ---- */
#define AML_SYSTEM_MEMORY 0
#define AML_SYSTEM_IO 1
#define AML_PCI_CONFIG 2
void aml_opregion(
    struct aml *a, const char *name, int space, uint64_t base, uint64_t len);
/* access: 0 any, 1 byte, 2 word, 3 dword; no lock, preserve. */
void aml_field_begin(struct aml *a, const char *region, int access);
void aml_field_offset(struct aml *a, unsigned int byte);
void aml_field_unit(struct aml *a, const char *name, unsigned int bits);
void aml_field_end(struct aml *a);

/* ---- resources: Name (_CRS, ResourceTemplate () {...}) ---- */
void aml_crs_begin(struct aml *a); /* = aml_template_begin(a, "_CRS") */
void aml_template_begin(struct aml *a, const char *name);
void aml_res_io(struct aml *a, uint16_t base, uint16_t len);
void aml_res_irq(struct aml *a, int irq); /* edge, active high, exclusive */
/* Level, active low, shared; bit n of mask: IRQ n. */
void aml_res_irq_level(struct aml *a, uint16_t mask);
void aml_res_mem32(struct aml *a, uint32_t base, uint32_t len);
void aml_res_busrange(struct aml *a, uint16_t min, uint16_t max);
void aml_res_iorange(struct aml *a, uint16_t min, uint16_t max);
void aml_res_memrange32(struct aml *a, uint32_t min, uint32_t max);
void aml_res_memrange64(struct aml *a, uint64_t min, uint64_t max);
void aml_crs_end(struct aml *a);

#endif
