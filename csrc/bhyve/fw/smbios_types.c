/*
 * The SMBIOS structures that bhyve offers (DSP0134, chapter 7), filled from
 * the configuration: BIOS, system, board, chassis, processors, memory.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "debug.h"
#include "smbios_local.h"
#include "vmmapi.h"

/* Handles: one number space, a hundred a type. */
#define HANDLE(type, n) ((uint16_t)((type)*0x100 + (n)))

#define MB (1024UL * 1024)
#define GB (1024UL * MB)

/* A configured string, or bhyve's default. */
static const char *
cfg(const char *name, const char *dflt)
{
	const char *v;

	v = get_config_value(name);
	return (v != NULL && *v != '\0' ? v : dflt);
}

/* Text to the 16 bytes of a 2.6 UUID (first three fields little endian). */
static int
parse_uuid(const char *text, uint8_t out[16])
{
	static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11,
		12, 13, 14, 15 };
	static const uint8_t pos[16] = { 0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24,
		26, 28, 30, 32, 34 };
	unsigned int byte;
	size_t i;

	if (strlen(text) != 36)
		return (EINVAL);
	for (i = 0; i < 36; i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (text[i] != '-')
				return (EINVAL);
		} else if (strchr("0123456789abcdefABCDEF", text[i]) == NULL) {
			return (EINVAL);
		}
	}
	for (i = 0; i < 16; i++) {
		if (sscanf(text + pos[i], "%2x", &byte) != 1)
			return (EINVAL);
		out[order[i]] = (uint8_t)byte;
	}
	return (0);
}

static void
type0_bios(struct smbios_area *sa)
{
	struct {
		uint8_t type, length;
		uint16_t handle;
		uint8_t vendor, version;
		uint16_t segment;
		uint8_t date, romsize;
		uint64_t characteristics;
		uint8_t ext[2], major, minor, ecmajor, ecminor;
	} __attribute__((__packed__)) t = { 0, sizeof(t), HANDLE(0, 0), 1, 2,
		0xf000, 3, 0, 1 << 7 | 1 << 11 | 1 << 16,
		/* ACPI; a virtual machine, targeted content distribution */
		{ 0x01, 0x14 }, 14, 0, 0xff, 0xff };
	const char *strings[] = { cfg("bios.vendor", "BHYVE"),
		cfg("bios.version", "14.0"),
		cfg("bios.release_date", "10/17/2021") };

	smbios_append(sa, &t, sizeof(t), strings, 3);
}

static void
type1_system(struct smbios_area *sa)
{
	struct {
		uint8_t type, length;
		uint16_t handle;
		uint8_t manufacturer, product, version, serial, uuid[16];
		uint8_t wakeup, sku, family;
	} __attribute__((__packed__)) t = { 1, sizeof(t), HANDLE(1, 0), 1, 2, 3,
		4, { 0 }, 6 /* power switch */, 5, 6 };
	const char *strings[] = { cfg("system.manufacturer", "FreeBSD"),
		cfg("system.product_name", "BHYVE"),
		cfg("system.version", "1.0"),
		cfg("system.serial_number", "None"), cfg("system.sku", "None"),
		cfg("system.family_name", "Virtual Machine") };
	const char *uuid;

	uuid = get_config_value("uuid");
	if (uuid == NULL) {
		memset(t.uuid, 0xff, sizeof(t.uuid)); /* not present */
	} else if (parse_uuid(uuid, t.uuid) != 0) {
		EPRINTLN("SMBIOS: uuid \"%s\" is not of the form "
			 "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
		    uuid);
		sa->error = EINVAL;
		return;
	}
	smbios_append(sa, &t, sizeof(t), strings, 6);
}

static void
type2_board(struct smbios_area *sa)
{
	struct {
		uint8_t type, length;
		uint16_t handle;
		uint8_t manufacturer, product, version, serial, asset;
		uint8_t feature, location;
		uint16_t chassis;
		uint8_t board_type, contained;
	} __attribute__((__packed__)) t = { 2, sizeof(t), HANDLE(2, 0), 1, 2, 3,
		4, 5, 0x09 /* hosting, replaceable */, 6, HANDLE(3, 0),
		0x0a /* motherboard */, 0 };
	const char *strings[] = { cfg("board.manufacturer", "FreeBSD"),
		cfg("board.product_name", "BHYVE"), cfg("board.version", "1.0"),
		cfg("board.serial_number", "None"),
		cfg("board.asset_tag", "None"), cfg("board.location", "None") };

	smbios_append(sa, &t, sizeof(t), strings, 6);
}

static void
type3_chassis(struct smbios_area *sa)
{
	struct {
		uint8_t type, length;
		uint16_t handle;
		uint8_t manufacturer, chassis, version, serial, asset;
		uint8_t bootup, power, thermal, security;
		uint32_t oem;
		uint8_t height, cords, elements, element_len, sku;
	} __attribute__((__packed__))
	t = { 3, sizeof(t), HANDLE(3, 0), 1, 2 /* unknown */, 2, 3, 4, 3, 3, 3,
		2 /* all safe; unknown */, 0, 0, 0, 0, 0, 5 };
	const char *strings[] = { cfg("chassis.manufacturer", "FreeBSD"),
		cfg("chassis.version", "1.0"),
		cfg("chassis.serial_number", "None"),
		cfg("chassis.asset_tag", "None"), cfg("chassis.sku", "None") };

	smbios_append(sa, &t, sizeof(t), strings, 5);
}

static void
type4_processors(struct smbios_area *sa, struct vmctx *ctx)
{
	struct {
		uint8_t type, length;
		uint16_t handle;
		uint8_t socket, ptype, family, manufacturer;
		uint64_t cpuid;
		uint8_t version, voltage;
		uint16_t clock, max_speed, speed;
		uint8_t status, upgrade;
		uint16_t l1, l2, l3;
		uint8_t serial, asset, part, cores, enabled, threads;
		uint16_t characteristics, family2;
	} __attribute__((__packed__))
	t = { 4, sizeof(t), 0, 1, 3 /* central processor */, 2 /* unknown */, 2,
		0, 3, 0, 0, 0, 0, 0x41 /* populated, enabled */, 2, 0xffff,
		0xffff, 0xffff, 4, 5, 6, 0, 0, 0, 4 /* 64-bit */, 0 };
	uint16_t sockets, cores, threads, maxcpus;
	char socket[32];
	const char *strings[] = { socket, " ", " ", "None", "None", "None" };
	int i;

	if (vm_get_topology(ctx, &sockets, &cores, &threads, &maxcpus) != 0) {
		sa->error = errno;
		return;
	}
	t.cores = t.enabled = cores > 255 ? 255 : (uint8_t)cores;
	t.threads = cores * threads > 255 ? 255 : (uint8_t)(cores * threads);
	if (cores > 1)
		t.characteristics |= 8; /* multi-core */
	if (threads > 1)
		t.characteristics |= 16; /* hardware threads */
	for (i = 0; i < sockets; i++) {
		t.handle = HANDLE(4, i);
		snprintf(socket, sizeof(socket), "CPU #%d", i);
		smbios_append(sa, &t, sizeof(t), strings, 6);
	}
}

static void
types_memory(struct smbios_area *sa, struct vmctx *ctx)
{
	struct {
		uint8_t type, length;
		uint16_t handle;
		uint8_t location, use, ecc;
		uint32_t capacity;
		uint16_t error, devices;
		uint64_t ext_capacity;
	} __attribute__((__packed__))
	array = { 16, sizeof(array), HANDLE(16, 0), 1, 3 /* system memory */,
		2 /* unknown */, 0, 0xfffe, 1, 0 };
	struct {
		uint8_t type, length;
		uint16_t handle, array, error, total_width, data_width, size;
		uint8_t form, set, locator, bank, mtype;
		uint16_t detail, speed;
		uint8_t manufacturer, serial, asset, part, attributes;
		uint32_t ext_size;
	} __attribute__((__packed__))
	device = { 17, sizeof(device), HANDLE(17, 0), HANDLE(16, 0), 0xfffe, 64,
		64, 0, 2 /* unknown */, 0, 1, 2, 2, 4 /* unknown */, 0, 0, 0, 0,
		0, 0, 0 };
	struct {
		uint8_t type, length;
		uint16_t handle;
		uint32_t start, end;
		uint16_t array;
		uint8_t width;
		uint64_t ext_start, ext_end;
	} __attribute__((__packed__))
	map = { 19, sizeof(map), HANDLE(19, 0), 0, 0, HANDLE(16, 0), 1, 0, 0 };
	const char *strings[] = { "DIMM 0", "BANK 0" };
	uint64_t low, high, size, base;

	low = vm_get_lowmem_size(ctx);
	high = vm_get_highmem_size(ctx);
	base = vm_get_highmem_base(ctx);
	size = low + high;

	if (size / 1024 < 0x80000000) {
		array.capacity = (uint32_t)(size / 1024);
	} else {
		array.capacity = 0x80000000;
		array.ext_capacity = size;
	}
	smbios_append(sa, &array, sizeof(array), NULL, 0);
	if (size / MB < 0x7fff) {
		device.size = (uint16_t)(size / MB);
	} else {
		device.size = 0x7fff;
		device.ext_size = (uint32_t)(size / MB);
	}
	smbios_append(sa, &device, sizeof(device), strings, 2);

	map.end = (uint32_t)(low / 1024 - 1);
	smbios_append(sa, &map, sizeof(map), NULL, 0);
	if (high > 0) {
		map.handle = HANDLE(19, 1);
		if ((base + high) / 1024 <= 0xffffffff) {
			map.start = (uint32_t)(base / 1024);
			map.end = (uint32_t)((base + high) / 1024 - 1);
		} else {
			map.start = map.end = 0xffffffff;
			map.ext_start = base;
			map.ext_end = base + high - 1;
		}
		smbios_append(sa, &map, sizeof(map), NULL, 0);
	}
}

void
smbios_write_types(struct smbios_area *sa, struct vmctx *ctx)
{
	struct {
		uint8_t type, length;
		uint16_t handle;
		uint8_t reserved[6], status;
	} __attribute__((__packed__))
	boot = { 32, sizeof(boot), HANDLE(32, 0), { 0 }, 0 };
	struct {
		uint8_t type, length;
		uint16_t handle;
	} __attribute__((__packed__))
	end = { 127, sizeof(end), HANDLE(127, 0) };

	type0_bios(sa);
	type1_system(sa);
	type2_board(sa);
	type3_chassis(sa);
	type4_processors(sa, ctx);
	types_memory(sa, ctx);
	smbios_append(sa, &boot, sizeof(boot), NULL, 0);
	smbios_append(sa, &end, sizeof(end), NULL, 0);
}
