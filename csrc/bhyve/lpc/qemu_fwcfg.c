/*
 * QEMU's fw_cfg device on ports: a 16-bit selector, a data port that gives
 * the selected item byte by byte, and a DMA interface that copies it into
 * RAM (QEMU's docs/specs/fw_cfg).  Items cannot be written.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "acpi_aml.h"
#include "bhyverun.h"
#include "bootrom.h"
#include "config.h"
#include "debug.h"
#include "e820.h"
#include "inout.h"
#include "pci_emul.h"
#include "pci_lpc.h"
#include "qemu_fwcfg.h"
#include "qemu_fwcfg_local.h"
#include "vmmapi.h"

#define FWCFG_BASE 0x510
#define FWCFG_SELECTOR 0x510
#define FWCFG_DATA 0x511
#define FWCFG_DMA 0x514 /* the address, big endian: high half, low half */
#define FWCFG_LEN 0x0c
#define COM1_PORT 0x3f8

#define FWCFG_VERSION 0x1
#define FWCFG_VERSION_DMA 0x2

#define DMA_ERROR 0x1
#define DMA_READ 0x2
#define DMA_SKIP 0x4
#define DMA_SELECT 0x8
#define DMA_WRITE 0x10

/* The guest's control block, big endian. */
struct fwcfg_dma {
	uint32_t control, length;
	uint64_t address;
} __attribute__((__packed__));

/* What the guest moves; fwcfg_mtx. */
static struct {
	uint16_t key;
	uint32_t offset;
	uint32_t dma_high;
} reg;
static pthread_mutex_t fwcfg_mtx = PTHREAD_MUTEX_INITIALIZER;
static bool present;

bool
qemu_fwcfg_present(void)
{
	return (present);
}

/* ---- reading ---- */

static void
select_item(uint16_t key)
{
	reg.key = key;
	reg.offset = 0;
}

/* Copy the next n bytes to dst, or skip them; the rest is zeros.  Locked. */
static void
next_bytes(uint8_t *dst, uint32_t n)
{
	const struct fwcfg_item *item;
	uint32_t avail;

	avail = 0;
	if (reg.key < FWCFG_MAX_ITEMS) {
		item = &fwcfg_items[reg.key];
		avail = item->size - reg.offset; /* never behind the end */
		if (avail > n)
			avail = n;
		if (dst != NULL && avail != 0)
			memcpy(dst, item->data + reg.offset, avail);
		reg.offset += avail;
	}
	if (dst != NULL)
		memset(dst + avail, 0, n - avail);
}

static int
selector_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	if (in || bytes != 2)
		return (-1);
	pthread_mutex_lock(&fwcfg_mtx);
	select_item((uint16_t)*eax);
	pthread_mutex_unlock(&fwcfg_mtx);
	return (0);
}

static int
data_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	uint8_t byte;

	if (bytes != 1)
		return (-1);
	if (!in)
		return (0); /* items are read-only */
	pthread_mutex_lock(&fwcfg_mtx);
	next_bytes(&byte, 1);
	pthread_mutex_unlock(&fwcfg_mtx);
	*eax = byte;
	return (0);
}

/* ---- DMA ---- */

/* Do what a control block asks; returns its new control word.  Locked. */
static uint32_t
dma_run(struct vmctx *ctx, const struct fwcfg_dma *dma)
{
	uint32_t control, length;
	uint64_t address;
	uint8_t *dst;

	control = __builtin_bswap32(dma->control);
	length = __builtin_bswap32(dma->length);
	address = __builtin_bswap64(dma->address);
	if ((control & DMA_SELECT) != 0)
		select_item((uint16_t)(control >> 16));
	if ((control & DMA_READ) != 0) {
		if (length == 0)
			return (0);
		dst = paddr_guest2host(ctx, address, length);
		if (dst == NULL)
			return (DMA_ERROR);
		next_bytes(dst, length);
		vm_dirty_gpa(ctx, address, length);
	} else if ((control & DMA_WRITE) != 0) {
		return (DMA_ERROR);
	} else if ((control & DMA_SKIP) != 0) {
		next_bytes(NULL, length);
	}
	return (0);
}

static void
dma_start(struct vmctx *ctx, uint64_t gpa)
{
	struct fwcfg_dma dma;
	uint32_t control;
	uint8_t *block;

	block = paddr_guest2host(ctx, gpa, sizeof(dma));
	if (block == NULL) {
		GUEST_LOG("fw_cfg: DMA control block outside RAM");
		return;
	}
	memcpy(&dma, block, sizeof(dma));
	control = __builtin_bswap32(dma_run(ctx, &dma));
	memcpy(block, &control, sizeof(control));
	vm_dirty_gpa(ctx, gpa, sizeof(control));
}

static int
dma_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	static const uint8_t signature[8] = "QEMU CFG";

	if (bytes != 4 || (port != FWCFG_DMA && port != FWCFG_DMA + 4))
		return (-1);
	if (in) {
		memcpy(eax, signature + (port - FWCFG_DMA), 4);
		return (0);
	}
	pthread_mutex_lock(&fwcfg_mtx);
	if (port == FWCFG_DMA) {
		reg.dma_high = __builtin_bswap32(*eax);
	} else {
		dma_start(ctx,
		    (uint64_t)reg.dma_high << 32 | __builtin_bswap32(*eax));
		reg.dma_high = 0;
	}
	pthread_mutex_unlock(&fwcfg_mtx);
	return (0);
}

/* ---- start and end ---- */

static int
register_ports(void)
{
	struct inout_port iop = { .name = "fw_cfg", .flags = IOPORT_F_INOUT };
	int error;

	iop.port = FWCFG_SELECTOR;
	iop.size = 1;
	iop.handler = selector_handler;
	error = register_inout(&iop);
	iop.port = FWCFG_DATA;
	iop.handler = data_handler;
	if (error == 0)
		error = register_inout(&iop);
	iop.port = FWCFG_DMA;
	iop.size = FWCFG_BASE + FWCFG_LEN - FWCFG_DMA;
	iop.handler = dma_handler;
	if (error == 0)
		error = register_inout(&iop);
	return (error);
}

static int
add_items(struct vmctx *ctx)
{
	uint32_t id = FWCFG_VERSION | FWCFG_VERSION_DMA;
	uint16_t cpus = (uint16_t)guest_ncpus();
	uint64_t ram;
	int error;

	ram = vm_get_lowmem_size(ctx) + vm_get_highmem_size(ctx);
	error = fwcfg_set_item(FWCFG_SIGNATURE, "QEMU", 4);
	if (error == 0)
		error = fwcfg_set_item(FWCFG_ID, &id, sizeof(id));
	if (error == 0)
		error = fwcfg_set_item(FWCFG_RAM_SIZE, &ram, sizeof(ram));
	if (error == 0)
		error = fwcfg_set_item(FWCFG_NB_CPUS, &cpus, sizeof(cpus));
	if (error == 0)
		error = fwcfg_set_item(FWCFG_MAX_CPUS, &cpus, sizeof(cpus));
	return (error);
}

int
qemu_fwcfg_init(struct vmctx *ctx)
{
	uint32_t ncpu = (uint32_t)guest_ncpus();
	const char *type;
	int error;

	fwcfg_free_files();
	memset(&reg, 0, sizeof(reg));
	type = lpc_fwcfg();
	present = type != NULL && strcmp(type, "qemu") == 0;
	error = fwcfg_add_user_files();
	if (error != 0)
		return (error);
	if (!present) {
		if (type != NULL && strcmp(type, "bhyve") != 0) {
			EPRINTLN("lpc.fwcfg: \"%s\" is neither \"bhyve\" nor "
				 "\"qemu\"",
			    type);
			return (EINVAL);
		}
		if (fwcfg_count_files() != 0)
			EPRINTLN("fw_cfg: the guest does not see the files of "
				 "-f: lpc.fwcfg is not \"qemu\"");
		if (bootrom_is_bios())
			EPRINTLN("bootrom: a PC BIOS gets no tables and no "
				 "serial console without fwcfg=qemu");
		return (0);
	}
	error = add_items(ctx);
	if (error == 0)
		error = qemu_fwcfg_add_file(
		    "opt/bhyve/hw.ncpu", &ncpu, sizeof(ncpu));
	if (error == 0)
		error = register_ports();
	if (error != 0)
		EPRINTLN("fw_cfg: %s", strerror(error));
	return (error);
}

/* What a PC BIOS asks for beyond bhyve's own files. */
static int
add_bios_files(void)
{
	uint64_t port = COM1_PORT, roots;
	int error;

	error = 0;
	/* Without a screen the BIOS uses the serial line. */
	if (get_config_value("lpc.com1.path") != NULL)
		error =
		    qemu_fwcfg_add_file("etc/sercon-port", &port, sizeof(port));
	roots = (uint64_t)pci_bus_count() - 1;
	if (error == 0 && pci_bus_count() > 1)
		error = qemu_fwcfg_add_file(
		    "etc/extra-pci-roots", &roots, sizeof(roots));
	return (error);
}

int
qemu_fwcfg_finalize(struct vmctx *ctx)
{
	const struct e820_entry *map;
	size_t n;
	int error;

	if (!present)
		return (0);
	n = e820_get(&map);
	error = qemu_fwcfg_add_file("etc/e820", map, n * sizeof(*map));
	if (error == 0)
		error = fwcfg_add_bootorder();
	if (error == 0 && bootrom_is_bios())
		error = add_bios_files();
	if (error == 0)
		error = fwcfg_build_directory();
	if (error != 0)
		EPRINTLN("fw_cfg: %s", strerror(error));
	return (error);
}

void
qemu_fwcfg_cleanup(void)
{
	present = false;
	fwcfg_free_files();
}

static void
qemu_fwcfg_dsdt(struct aml *a)
{
	if (!present)
		return;
	aml_device_begin(a, "FWCF");
	aml_name_str(a, "_HID", "QEMU0002");
	aml_name_int(a, "_STA", 0x0b); /* there, but nothing for a user */
	aml_crs_begin(a);
	aml_res_io(a, FWCFG_BASE, FWCFG_LEN);
	aml_crs_end(a);
	aml_device_end(a);
}
LPC_DSDT(qemu_fwcfg_dsdt);
