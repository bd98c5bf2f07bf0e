/*
 * Placement of the SMBIOS tables: the 2.6 entry point at 0xF1000, the
 * structures behind it.  The structures themselves stand in smbios_types.c.
 */
#include <errno.h>
#include <string.h>

#include "bootrom.h"
#include "debug.h"
#include "qemu_fwcfg.h"
#include "smbios_local.h"
#include "smbiostbl.h"
#include "vmmapi.h"

struct smbios_entry {
	char anchor[4];
	uint8_t checksum, length, major, minor;
	uint16_t max_struct;
	uint8_t entry_rev, formatted[5];
	char ianchor[5];
	uint8_t ichecksum;
	uint16_t table_length;
	uint32_t table_address;
	uint16_t count;
	uint8_t bcd_revision;
} __attribute__((__packed__));
_Static_assert(sizeof(struct smbios_entry) == 31, "SMBIOS entry point");

#define TABLE_BASE (SMBIOS_BASE + 0x20)

/* One structure: the formatted part, then its strings. */
void
smbios_append(struct smbios_area *sa, const void *formatted, size_t flen,
    const char *const *strings, int nstrings)
{
	const uint8_t *hdr = formatted;
	size_t need, n;
	int i;

	need = flen + 2;
	for (i = 0; i < nstrings; i++)
		need += strlen(strings[i]) + 1;
	if (sa->error != 0 || hdr[1] != flen || need > sa->room - sa->len) {
		sa->error = sa->error != 0 ? sa->error : ENOSPC;
		return;
	}
	memcpy(sa->base + sa->len, formatted, flen);
	n = sa->len + flen;
	for (i = 0; i < nstrings; i++) {
		memcpy(sa->base + n, strings[i], strlen(strings[i]) + 1);
		n += strlen(strings[i]) + 1;
	}
	if (nstrings == 0)
		sa->base[n++] = 0;
	sa->base[n++] = 0;
	if (n - sa->len > sa->max_struct)
		sa->max_struct = (uint16_t)(n - sa->len);
	sa->len = n;
	sa->count++;
}

static uint8_t
checksum(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	while (n-- > 0)
		sum = (uint8_t)(sum + *b++);
	return ((uint8_t)-sum);
}

/* The entry point of a table at address (0: firmware places it). */
static void
fill_entry(struct smbios_entry *e, const struct smbios_area *sa, uint32_t at)
{
	memset(e, 0, sizeof(*e));
	memcpy(e->anchor, "_SM_", 4);
	e->length = sizeof(*e);
	e->major = 2;
	e->minor = 6;
	e->max_struct = sa->max_struct;
	memcpy(e->ianchor, "_DMI_", 5);
	e->table_length = (uint16_t)sa->len;
	e->table_address = at;
	e->count = sa->count;
	e->bcd_revision = 0x26;
	e->ichecksum = checksum(e->ianchor, 15);
	e->checksum = checksum(e, sizeof(*e));
}

/* As files of fw_cfg, and at bhyve's address unless a BIOS stands there. */
static int
place(struct vmctx *ctx, const struct smbios_area *sa)
{
	struct smbios_entry e;
	uint8_t *mem;
	int error;

	if (qemu_fwcfg_present()) {
		fill_entry(&e, sa, 0);
		error = qemu_fwcfg_add_file(
		    "etc/smbios/smbios-anchor", &e, sizeof(e));
		if (error == 0)
			error = qemu_fwcfg_add_file(
			    "etc/smbios/smbios-tables", sa->base, sa->len);
		if (error != 0) {
			EPRINTLN("SMBIOS: fw_cfg: %s", strerror(error));
			return (error);
		}
	}
	if (bootrom_is_bios())
		return (0);
	mem = vm_map_gpa(ctx, SMBIOS_BASE, SMBIOS_LIMIT - SMBIOS_BASE);
	if (mem == NULL) {
		EPRINTLN("SMBIOS: no guest memory at %#lx", SMBIOS_BASE);
		return (ENOMEM);
	}
	fill_entry(&e, sa, TABLE_BASE);
	memcpy(mem, &e, sizeof(e));
	memcpy(mem + (TABLE_BASE - SMBIOS_BASE), sa->base, sa->len);
	vm_dirty_gpa(ctx, SMBIOS_BASE, SMBIOS_LIMIT - SMBIOS_BASE);
	return (0);
}

int
smbios_build(struct vmctx *ctx)
{
	uint8_t buf[SMBIOS_LIMIT - TABLE_BASE];
	struct smbios_area sa;

	memset(&sa, 0, sizeof(sa));
	sa.base = buf;
	sa.room = sizeof(buf);
	smbios_write_types(&sa, ctx);
	if (sa.error == ENOSPC)
		EPRINTLN("SMBIOS: the tables need more than %zu bytes; "
			 "shorten the bios, system, board or chassis strings",
		    sa.room);
	if (sa.error != 0)
		return (sa.error);
	return (place(ctx, &sa));
}
