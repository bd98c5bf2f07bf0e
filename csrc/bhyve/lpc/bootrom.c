/*
 * Firmware: the ROM ends at 4 GB, and its variable store stands right below
 * it as a flash part that understands the CFI command set.  A PC BIOS also
 * finds its last 256 KB in RAM below 1 MB, as chipsets shadow it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bootrom.h"
#include "config.h"
#include "debug.h"
#include "mem.h"
#include "pci_lpc.h"
#include "vmmapi.h"

#define PAGE_SIZE 4096UL
#define TOP_OF_4GB (4UL << 30)
#define TOP_OF_1MB (1UL << 20)
#define SHADOW_SIZE (256UL * 1024)
#define RESET_VECTOR 16 /* bytes below the ROM's end */
#define FAR_JUMP 0xea
#define BIOS_SEGMENT 0xf000

/* CFI commands (Intel 28F). */
#define CFI_PROGRAM_ALT 0x10
#define CFI_ERASE 0x20
#define CFI_PROGRAM 0x40
#define CFI_CLEAR_STATUS 0x50
#define CFI_READ_STATUS 0x70
#define CFI_ERASE_CONFIRM 0xd0
#define CFI_READ_ARRAY 0xff
#define CFI_STATUS_READY 0x80
#define CFI_BLOCK 4096UL

static struct {
	pthread_mutex_t mtx;
	uint8_t *mem;
	uint64_t gpa, size;
	uint8_t cmd, status;
} var = { .mtx = PTHREAD_MUTEX_INITIALIZER };

static bool is_bios;

static int
open_image(const char *path, int flags, size_t *size)
{
	struct stat st;
	int fd;

	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0) {
		EPRINTLN(
		    "Error opening bootrom \"%s\": %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return (-1);
	}
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 ||
	    (size_t)st.st_size > BOOTROM_MAX_SIZE ||
	    (size_t)st.st_size % PAGE_SIZE != 0) {
		EPRINTLN("Bootrom \"%s\": its size must be a multiple of "
			 "%lu bytes and at most %lu MB",
		    path, PAGE_SIZE, BOOTROM_MAX_SIZE >> 20);
		close(fd);
		return (-1);
	}
	*size = (size_t)st.st_size;
	return (fd);
}

/*
 * One write cycle.  The status is zero once cleared: that is how firmware
 * tells flash from RAM and ROM.
 */
static void
var_write(uint64_t offset, int size, uint64_t val)
{
	switch (var.cmd) {
	case CFI_PROGRAM:
	case CFI_PROGRAM_ALT:
		memcpy(var.mem + offset, &val, (size_t)size);
		var.status = CFI_STATUS_READY;
		var.cmd = CFI_READ_STATUS;
		return;
	case CFI_ERASE:
		if ((uint8_t)val == CFI_ERASE_CONFIRM)
			memset(var.mem + (offset & ~(CFI_BLOCK - 1)), 0xff,
			    CFI_BLOCK);
		var.status = CFI_STATUS_READY;
		var.cmd = CFI_READ_STATUS;
		return;
	default:
		break;
	}
	switch ((uint8_t)val) {
	case CFI_PROGRAM:
	case CFI_PROGRAM_ALT:
	case CFI_ERASE:
	case CFI_READ_STATUS:
		var.cmd = (uint8_t)val;
		break;
	case CFI_CLEAR_STATUS:
		var.status = 0;
		/* FALLTHROUGH */
	default:
		var.cmd = CFI_READ_ARRAY;
		break;
	}
}

static int
var_handler(struct vcpu *vcpu, int dir, uint64_t addr, int size, uint64_t *val,
    void *arg1, long arg2)
{
	uint64_t offset = addr - var.gpa;

	if (offset >= var.size || var.size - offset < (uint64_t)size)
		return (-1);
	pthread_mutex_lock(&var.mtx);
	if (dir == MEM_F_WRITE) {
		var_write(offset, size, *val);
	} else if (var.cmd == CFI_READ_ARRAY) {
		*val = 0;
		memcpy(val, var.mem + offset, (size_t)size);
	} else {
		*val = var.status;
	}
	pthread_mutex_unlock(&var.mtx);
	return (0);
}

/* The store's file is its memory, so the guest's writes persist. */
static int
load_vars(const char *path, uint64_t top)
{
	struct mem_range mr = {
		.name = "bootvars",
		.flags = MEM_F_RW,
		.handler = var_handler,
	};
	size_t size;
	void *mem;
	int error, fd;

	fd = open_image(path, O_RDWR, &size);
	if (fd < 0)
		return (-1);
	if (size > top - (TOP_OF_4GB - BOOTROM_MAX_SIZE)) {
		EPRINTLN("bootrom and variables exceed %lu MB",
		    BOOTROM_MAX_SIZE >> 20);
		close(fd);
		return (-1);
	}
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (mem == MAP_FAILED) {
		EPRINTLN("Error mapping \"%s\": %s", path, strerror(errno));
		return (-1);
	}
	var.mem = mem;
	var.size = size;
	var.gpa = top - size;
	var.cmd = CFI_READ_ARRAY;
	var.status = 0;
	mr.base = var.gpa;
	mr.size = var.size;
	error = register_mem(&mr);
	if (error != 0)
		EPRINTLN("bootvars: %s", strerror(error));
	return (error);
}

static int
read_image(int fd, char *buf, size_t size)
{
	size_t done;
	ssize_t n;

	for (done = 0; done < size; done += (size_t)n) {
		n = pread(fd, buf + done, size - done, (off_t)done);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return (-1);
	}
	return (0);
}

/* "jmp far F000:xxxx" at the reset vector: the code runs below 1 MB. */
static bool
jumps_low(const uint8_t *rom, size_t size)
{
	const uint8_t *vector = rom + size - RESET_VECTOR;

	return (vector[0] == FAR_JUMP &&
	    (vector[3] | vector[4] << 8) >= BIOS_SEGMENT);
}

static int
shadow_bios(struct vmctx *ctx, const uint8_t *rom, size_t size)
{
	size_t len;
	void *ram;

	len = size < SHADOW_SIZE ? size : SHADOW_SIZE;
	ram = vm_map_gpa(ctx, TOP_OF_1MB - len, len);
	if (ram == NULL) {
		EPRINTLN("bootrom: no guest memory below %#lx for its shadow",
		    TOP_OF_1MB);
		return (-1);
	}
	memcpy(ram, rom + size - len, len);
	vm_dirty_gpa(ctx, TOP_OF_1MB - len, len);
	return (0);
}

bool
bootrom_is_bios(void)
{
	return (is_bios);
}

void
bootrom_cleanup(void)
{
	if (var.mem != NULL)
		munmap(var.mem, var.size);
	var.mem = NULL;
	var.size = 0;
	is_bios = false;
}

int
bootrom_load(struct vmctx *ctx)
{
	const char *path, *vars;
	uint64_t gpa;
	size_t size;
	char *rom, *seg;
	int fd;

	bootrom_cleanup();
	path = lpc_bootrom();
	fd = open_image(path, O_RDONLY, &size);
	if (fd < 0)
		return (-1);
	seg = vm_create_devmem(ctx, VM_BOOTROM, "bootrom", BOOTROM_MAX_SIZE);
	if (seg == MAP_FAILED) {
		EPRINTLN("bootrom: %s", strerror(errno));
		close(fd);
		return (-1);
	}
	rom = seg + (BOOTROM_MAX_SIZE - size);
	if (read_image(fd, rom, size) != 0) {
		EPRINTLN("Incomplete read of bootrom \"%s\"", path);
		close(fd);
		return (-1);
	}
	close(fd);
	gpa = TOP_OF_4GB - size;
	if (vm_mmap_memseg(ctx, gpa, VM_BOOTROM,
		(int64_t)(BOOTROM_MAX_SIZE - size), size,
		VM_PROT_READ | VM_PROT_EXEC) != 0) {
		EPRINTLN("bootrom: cannot map: %s", strerror(errno));
		return (-1);
	}
	is_bios = jumps_low((const uint8_t *)rom, size);
	if (is_bios && shadow_bios(ctx, (const uint8_t *)rom, size) != 0)
		return (-1);
	vars = get_config_value("bootvars");
	return (vars != NULL ? load_vars(vars, gpa) : 0);
}
