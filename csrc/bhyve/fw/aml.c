/*
 * The AML assembler (acpi_aml.h).  Containers are written without their
 * PkgLength, which is inserted when they are closed: it is as short as it
 * can be, as iasl writes it.
 */
#include <stdlib.h>
#include <string.h>

#include "acpi_aml.h"

#define AML_DEPTH 16

struct aml {
	uint8_t *buf;
	size_t room;
	size_t len;
	size_t open[AML_DEPTH]; /* where each open container's body begins */
	int depth;
	unsigned int
	    field_bits; /* cursor of the open field: they do not nest */
	bool failed;
};

struct aml *
aml_new(size_t room)
{
	struct aml *a;

	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return (NULL);
	a->buf = malloc(room);
	if (a->buf == NULL) {
		free(a);
		return (NULL);
	}
	a->room = room;
	return (a);
}

void
aml_free(struct aml *a)
{
	if (a == NULL)
		return;
	free(a->buf);
	free(a);
}

const uint8_t *
aml_finish(struct aml *a, size_t *len)
{
	if (a->failed || a->depth != 0)
		return (NULL);
	*len = a->len;
	return (a->buf);
}

static void
aml_bytes(struct aml *a, const void *p, size_t n)
{
	if (a->failed || n > a->room - a->len) {
		a->failed = true;
		return;
	}
	memcpy(a->buf + a->len, p, n);
	a->len += n;
}

void
aml_byte(struct aml *a, uint8_t op)
{
	aml_bytes(a, &op, 1);
}

static void
aml_le(struct aml *a, uint64_t val, int n)
{
	for (; n > 0; n--, val >>= 8)
		aml_byte(a, (uint8_t)val);
}

static void
aml_open(struct aml *a)
{
	if (a->depth == AML_DEPTH) {
		a->failed = true;
		return;
	}
	a->open[a->depth++] = a->len;
}

/* Encode `len` (which does not count the encoding itself). */
static int
pkg_length(uint8_t enc[4], size_t len)
{
	size_t total;
	int extra, i;

	for (extra = 0; extra < 4; extra++) {
		total = len + 1 + (size_t)extra;
		if (extra == 0 && total <= 0x3f) {
			enc[0] = (uint8_t)total;
			return (1);
		}
		if (extra > 0 && total < (1UL << (4 + 8 * extra))) {
			enc[0] = (uint8_t)(extra << 6 | (total & 0xf));
			for (i = 0; i < extra; i++)
				enc[1 + i] = (uint8_t)(total >> (4 + 8 * i));
			return (1 + extra);
		}
	}
	return (0);
}

static void
aml_insert(struct aml *a, size_t at, const void *p, size_t n)
{
	if (a->failed || n > a->room - a->len) {
		a->failed = true;
		return;
	}
	memmove(a->buf + at + n, a->buf + at, a->len - at);
	memcpy(a->buf + at, p, n);
	a->len += n;
}

static void
aml_close(struct aml *a)
{
	uint8_t enc[4];
	size_t start;
	int n;

	if (a->depth == 0) {
		a->failed = true;
		return;
	}
	if (a->failed)
		return;
	start = a->open[--a->depth];
	n = pkg_length(enc, a->len - start);
	if (n == 0)
		a->failed = true;
	else
		aml_insert(a, start, enc, (size_t)n);
}

static void
aml_nameseg(struct aml *a, const char *seg, size_t n)
{
	char out[4] = { '_', '_', '_', '_' };

	if (n == 0 || n > 4) {
		a->failed = true;
		return;
	}
	memcpy(out, seg, n);
	aml_bytes(a, out, 4);
}

/* A NameString: "\\A.B.C", "^X", "NAME". */
void
aml_ref(struct aml *a, const char *path)
{
	const char *p;
	size_t segs;

	for (; *path == '\\' || *path == '^'; path++)
		aml_byte(a, (uint8_t)*path);
	if (*path == '\0') {
		aml_byte(a, AML_NULLNAME);
		return;
	}
	segs = 1;
	for (p = path; *p != '\0'; p++)
		segs += *p == '.';
	if (segs == 2) {
		aml_byte(a, 0x2e);
	} else if (segs > 2) {
		aml_byte(a, 0x2f);
		aml_byte(a, (uint8_t)segs);
	}
	for (;;) {
		p = strchrnul(path, '.');
		aml_nameseg(a, path, (size_t)(p - path));
		if (*p == '\0')
			break;
		path = p + 1;
	}
}

void
aml_scope_begin(struct aml *a, const char *path)
{
	aml_byte(a, 0x10);
	aml_open(a);
	aml_ref(a, path);
}

void
aml_scope_end(struct aml *a)
{
	aml_close(a);
}

void
aml_device_begin(struct aml *a, const char *name)
{
	aml_byte(a, 0x5b);
	aml_byte(a, 0x82);
	aml_open(a);
	aml_ref(a, name);
}

void
aml_device_end(struct aml *a)
{
	aml_close(a);
}

void
aml_method_begin(struct aml *a, const char *name, int nargs, bool serialized)
{
	aml_byte(a, 0x14);
	aml_open(a);
	aml_ref(a, name);
	aml_byte(a, (uint8_t)((nargs & 7) | (serialized ? 8 : 0)));
}

void
aml_method_end(struct aml *a)
{
	aml_close(a);
}

void
aml_package_begin(struct aml *a, int nelems)
{
	if (nelems > 255)
		a->failed = true;
	aml_byte(a, 0x12);
	aml_open(a);
	aml_byte(a, (uint8_t)nelems);
}

void
aml_package_end(struct aml *a)
{
	aml_close(a);
}

void
aml_if_begin(struct aml *a)
{
	aml_byte(a, 0xa0);
	aml_open(a);
}

void
aml_if_end(struct aml *a)
{
	aml_close(a);
}

void
aml_else_begin(struct aml *a)
{
	aml_byte(a, 0xa1);
	aml_open(a);
}

void
aml_else_end(struct aml *a)
{
	aml_close(a);
}

void
aml_int(struct aml *a, uint64_t val)
{
	if (val <= 1) {
		aml_byte(a, (uint8_t)val); /* ZeroOp, OneOp */
	} else if (val <= 0xff) {
		aml_byte(a, 0x0a);
		aml_le(a, val, 1);
	} else if (val <= 0xffff) {
		aml_byte(a, 0x0b);
		aml_le(a, val, 2);
	} else if (val <= 0xffffffff) {
		aml_byte(a, 0x0c);
		aml_le(a, val, 4);
	} else {
		aml_byte(a, 0x0e);
		aml_le(a, val, 8);
	}
}

void
aml_str(struct aml *a, const char *str)
{
	aml_byte(a, 0x0d);
	aml_bytes(a, str, strlen(str) + 1);
}

void
aml_name(struct aml *a, const char *name)
{
	aml_byte(a, 0x08);
	aml_ref(a, name);
}

void
aml_name_int(struct aml *a, const char *name, uint64_t val)
{
	aml_name(a, name);
	aml_int(a, val);
}

void
aml_name_str(struct aml *a, const char *name, const char *str)
{
	aml_name(a, name);
	aml_str(a, str);
}

static unsigned int
hexdigit(char c)
{
	if (c >= '0' && c <= '9')
		return ((unsigned int)(c - '0'));
	return ((unsigned int)((c | 0x20) - 'a' + 10) & 0xf);
}

/* "PNP0501": three letters of five bits, four hex digits, big endian. */
void
aml_name_eisaid(struct aml *a, const char *name, const char *id)
{
	uint32_t v;

	if (strlen(id) != 7) {
		a->failed = true;
		return;
	}
	v = (uint32_t)(id[0] - 0x40) << 26 | (uint32_t)(id[1] - 0x40) << 21 |
	    (uint32_t)(id[2] - 0x40) << 16 | hexdigit(id[3]) << 12 |
	    hexdigit(id[4]) << 8 | hexdigit(id[5]) << 4 | hexdigit(id[6]);
	aml_name(a, name);
	aml_byte(a, 0x0c);
	aml_le(a, __builtin_bswap32(v), 4);
}

void
aml_opregion(
    struct aml *a, const char *name, int space, uint64_t base, uint64_t len)
{
	aml_byte(a, 0x5b);
	aml_byte(a, 0x80);
	aml_ref(a, name);
	aml_byte(a, (uint8_t)space);
	aml_int(a, base);
	aml_int(a, len);
}

static void
field_pkglen(struct aml *a, unsigned int bits)
{
	if (bits <= 0x3f) {
		aml_byte(a, (uint8_t)bits);
	} else {
		aml_byte(a, (uint8_t)(0x40 | (bits & 0xf)));
		aml_byte(a, (uint8_t)(bits >> 4));
	}
}

void
aml_field_begin(struct aml *a, const char *region, int access)
{
	aml_byte(a, 0x5b);
	aml_byte(a, 0x81);
	aml_open(a);
	aml_ref(a, region);
	aml_byte(a, (uint8_t)(access & 0xf));
	a->field_bits = 0;
}

void
aml_field_offset(struct aml *a, unsigned int byte)
{
	if (byte * 8 < a->field_bits || byte * 8 - a->field_bits > 0xfff) {
		a->failed = true;
		return;
	}
	if (byte * 8 > a->field_bits) {
		aml_byte(a, 0x00);
		field_pkglen(a, byte * 8 - a->field_bits);
	}
	a->field_bits = byte * 8;
}

void
aml_field_unit(struct aml *a, const char *name, unsigned int bits)
{
	aml_nameseg(a, name, strlen(name));
	field_pkglen(a, bits);
	a->field_bits += bits;
}

void
aml_field_end(struct aml *a)
{
	aml_close(a);
}

/*
 * A resource template is a Buffer whose size operand also counts; it is
 * known only at the end, so both lengths are inserted by aml_crs_end().
 */
void
aml_template_begin(struct aml *a, const char *name)
{
	aml_name(a, name);
	aml_byte(a, 0x11);
	aml_open(a);
}

void
aml_crs_begin(struct aml *a)
{
	aml_template_begin(a, "_CRS");
}

void
aml_crs_end(struct aml *a)
{
	uint8_t size[3];
	size_t start, n;

	aml_byte(a, 0x79); /* end tag, small item */
	aml_byte(a, 0x00); /* checksum 0: treated as good */
	if (a->failed || a->depth == 0) {
		a->failed = true;
		return;
	}
	start = a->open[a->depth - 1];
	n = a->len - start;
	if (n <= 0xff) {
		size[0] = 0x0a;
		size[1] = (uint8_t)n;
		aml_insert(a, start, size, 2);
	} else {
		size[0] = 0x0b;
		size[1] = (uint8_t)n;
		size[2] = (uint8_t)(n >> 8);
		aml_insert(a, start, size, 3);
	}
	aml_close(a);
}

void
aml_res_io(struct aml *a, uint16_t base, uint16_t len)
{
	aml_byte(a, 0x47);
	aml_byte(a, 0x01); /* decodes 16 bits */
	aml_le(a, base, 2);
	aml_le(a, base, 2);
	aml_byte(a, 0x01);
	aml_byte(a, (uint8_t)len);
}

void
aml_res_irq(struct aml *a, int irq)
{
	aml_byte(a, 0x22); /* two bytes: edge, high, exclusive */
	aml_le(a, 1u << irq, 2);
}

void
aml_res_irq_level(struct aml *a, uint16_t mask)
{
	aml_byte(a, 0x23);
	aml_le(a, mask, 2);
	aml_byte(a, 0x18); /* level, low, shared */
}

void
aml_res_mem32(struct aml *a, uint32_t base, uint32_t len)
{
	aml_byte(a, 0x86); /* Memory32Fixed */
	aml_le(a, 9, 2);
	aml_byte(a, 0x01); /* read/write */
	aml_le(a, base, 4);
	aml_le(a, len, 4);
}

/* Word address space: kind 1 I/O, 2 bus numbers. */
static void
res_word(struct aml *a, int kind, int type_flags, uint16_t min, uint16_t max)
{
	aml_byte(a, 0x88);
	aml_le(a, 13, 2);
	aml_byte(a, (uint8_t)kind);
	aml_byte(a, 0x0c); /* producer, positive decode, min and max fixed */
	aml_byte(a, (uint8_t)type_flags);
	aml_le(a, 0, 2);
	aml_le(a, min, 2);
	aml_le(a, max, 2);
	aml_le(a, 0, 2);
	aml_le(a, (uint64_t)max - min + 1, 2);
}

void
aml_res_busrange(struct aml *a, uint16_t min, uint16_t max)
{
	res_word(a, 2, 0, min, max);
}

void
aml_res_iorange(struct aml *a, uint16_t min, uint16_t max)
{
	res_word(a, 1, 3, min, max); /* entire range */
}

void
aml_res_memrange32(struct aml *a, uint32_t min, uint32_t max)
{
	aml_byte(a, 0x87);
	aml_le(a, 23, 2);
	aml_byte(a, 0x00); /* memory */
	aml_byte(a, 0x0c);
	aml_byte(a, 0x01); /* uncached, read/write */
	aml_le(a, 0, 4);
	aml_le(a, min, 4);
	aml_le(a, max, 4);
	aml_le(a, 0, 4);
	aml_le(a, (uint64_t)max - min + 1, 4);
}

void
aml_res_memrange64(struct aml *a, uint64_t min, uint64_t max)
{
	aml_byte(a, 0x8a);
	aml_le(a, 43, 2);
	aml_byte(a, 0x00);
	aml_byte(a, 0x0c);
	aml_byte(a, 0x01);
	aml_le(a, 0, 8);
	aml_le(a, min, 8);
	aml_le(a, max, 8);
	aml_le(a, 0, 8);
	aml_le(a, max - min + 1, 8);
}
