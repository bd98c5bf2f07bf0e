/*
 * Plays the guest against the two firmware interfaces: what firmware does,
 * then what a hostile guest tries.  Built with sanitizers; the rest of the
 * machine is faked below.  Exit status 0: all as expected.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acpi_aml.h"
#include "bhyverun.h"
#include "bootrom.h"
#include "config.h"
#include "e820.h"
#include "fwctl.h"
#include "inout.h"
#include "pci_emul.h"
#include "pci_lpc.h"
#include "qemu_fwcfg.h"
#include "vmmapi.h"

#define RAM_SIZE 0x10000UL
#define HIGH_SIZE 0x1000UL

static uint8_t *ram, *high;
static uint64_t rng = 0x9e3779b97f4a7c15;

/* ---- the machine ---- */

int
guest_ncpus(void)
{
	return (3);
}
int
pci_bus_count(void)
{
	return (1);
}
bool
bootrom_is_bios(void)
{
	return (true);
}
const char *
lpc_fwcfg(void)
{
	return (get_config_value("lpc.fwcfg"));
}
size_t
vm_get_lowmem_size(struct vmctx *c)
{
	(void)c;
	return (RAM_SIZE);
}
size_t
vm_get_highmem_size(struct vmctx *c)
{
	(void)c;
	return (HIGH_SIZE);
}
void
vm_dirty_gpa(struct vmctx *c, vm_paddr_t gpa, size_t len)
{
	(void)c;
	(void)gpa;
	(void)len;
}

void *
paddr_guest2host(struct vmctx *c, uint64_t gpa, size_t len)
{
	(void)c;
	if (gpa < RAM_SIZE && len <= RAM_SIZE - gpa)
		return (ram + gpa);
	if (gpa >= VM_HIGHMEM_BASE && gpa - VM_HIGHMEM_BASE < HIGH_SIZE &&
	    len <= HIGH_SIZE - (gpa - VM_HIGHMEM_BASE))
		return (high + (gpa - VM_HIGHMEM_BASE));
	return (NULL);
}

size_t
e820_get(const struct e820_entry **entries)
{
	static const struct e820_entry map[] = { { 0, RAM_SIZE, 1 } };

	*entries = map;
	return (1);
}

/* ---- checks ---- */

#define CHECK(e)                                          \
	do {                                              \
		if (!(e)) {                               \
			printf("%d: %s\n", __LINE__, #e); \
			exit(1);                          \
		}                                         \
	} while (0)

static uint32_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return ((uint32_t)(rng >> 16));
}

static uint32_t
port(bool in, int number, int bytes, uint32_t val)
{
	struct vm_inout io = { .bytes = (uint8_t)bytes,
		.in = in,
		.port = (uint16_t)number,
		.eax = val };

	CHECK(emulate_inout(NULL, &io, 0) == 0);
	return (io.eax);
}
#define in(p, n) port(true, p, n, 0)
#define out(p, n, v) port(false, p, n, v)

static uint64_t
be(const uint8_t *p, int n)
{
	uint64_t val = 0;

	while (n-- > 0)
		val = val << 8 | *p++;
	return (val);
}

static void
put_be(uint8_t *p, int n, uint64_t val)
{
	while (n-- > 0) {
		p[n] = (uint8_t)val;
		val >>= 8;
	}
}

static void
item(uint16_t key, void *buf, size_t n)
{
	uint8_t *p = buf;

	out(0x510, 2, key);
	while (n-- > 0)
		*p++ = (uint8_t)in(0x511, 1);
}

/* Run a control block at gpa; returns its control word afterwards. */
static uint32_t
dma(uint64_t gpa, uint32_t control, uint32_t length, uint64_t address)
{
	uint8_t *block = paddr_guest2host(NULL, gpa, 16);

	if (block != NULL) {
		put_be(block, 4, control);
		put_be(block + 4, 4, length);
		put_be(block + 8, 8, address);
	}
	out(0x514, 4, __builtin_bswap32((uint32_t)(gpa >> 32)));
	out(0x518, 4, __builtin_bswap32((uint32_t)gpa));
	return (block != NULL ? (uint32_t)be(block, 4) : 0);
}

/* The key and size of a file; 0: no such file. */
static uint16_t
file(const char *name, uint32_t *size)
{
	uint8_t dir[4096] = { 0 }, *e;
	uint32_t count, i;
	uint16_t key = 0;

	item(0x19, dir, sizeof(dir));
	count = (uint32_t)be(dir, 4);
	for (i = 0; i < count; i++) {
		e = dir + 4 + 64 * i;
		if (i > 0)
			CHECK(strcmp((char *)e - 56, (char *)e + 8) < 0);
		if (strcmp((char *)e + 8, name) == 0) {
			key = (uint16_t)be(e + 4, 2);
			*size = (uint32_t)be(e, 4);
		}
	}
	return (key);
}

static void
start(const char *type)
{
	qemu_fwcfg_cleanup();
	CHECK(init_inout() == 0);
	set_config_value("lpc.fwcfg", type);
}

static void
test_fwcfg(void)
{
	struct pci_devinst dev = { .pi_slot = 0x1d },
			   dev2 = { .pi_slot = 3, .pi_func = 2 };
	char buf[256] = { 0 };
	uint32_t id, size = 0;
	uint16_t key;

	start("qemu");
	set_config_value("fwcfg.0.name", "opt/user");
	set_config_value("fwcfg.0.string", "hello");
	set_config_value("fwcfg.1.name", "etc/mine");
	set_config_value("fwcfg.1.string", "user");
	CHECK(qemu_fwcfg_init(NULL) == 0 && qemu_fwcfg_present());
	CHECK(qemu_fwcfg_add_file("etc/mine", "ours", 4) == 0);
	CHECK(qemu_fwcfg_add_file("a/b", "x", 1) == 0);
	CHECK(qemu_fwcfg_add_file("a/b", "x", 1) != 0);
	memset(buf, 'n', 56);
	CHECK(qemu_fwcfg_add_file(buf, "x", 1) != 0);
	CHECK(qemu_fwcfg_add_boot_device(&dev, 7, "/disk@0") == 0);
	CHECK(qemu_fwcfg_add_boot_device(&dev2, 2, "") == 0);
	CHECK(qemu_fwcfg_add_boot_device(&dev2, 2, "") != 0);
	CHECK(qemu_fwcfg_finalize(NULL) == 0);

	item(0, buf, 6);
	CHECK(memcmp(buf, "QEMU\0\0", 6) == 0);
	item(1, &id, 4);
	CHECK(id == 3 && in(0x514, 4) == 0x554d4551);
	key = file("opt/user", &size);
	CHECK(key >= 0x20 && size == 6);
	item(key, buf, 6);
	CHECK(strcmp(buf, "hello") == 0);
	key = file("etc/mine", &size);
	item(key, buf, size);
	CHECK(strcmp(buf, "user") == 0);
	key = file("bootorder", &size);
	item(key, buf, size);
	CHECK(size == strlen(buf) + 1);
	CHECK(strcmp(buf,
		  "/pci@i0cf8/pci@3,2\n/pci@i0cf8/pci@1d,0/disk@0\n"
		  "/pci@i0cf8/pci@1d/disk@0\n") == 0);
	CHECK(file("etc/e820", &size) != 0 && size == 20);
	CHECK(file("opt/bhyve/hw.ncpu", &size) != 0 && size == 4);

	key = file("opt/user", &size);
	CHECK(dma(0x100, (uint32_t)key << 16 | 8 | 2, 4, 0x200) == 0);
	CHECK(memcmp(ram + 0x200, "hell", 4) == 0);
	CHECK(dma(VM_HIGHMEM_BASE, 2, 8, VM_HIGHMEM_BASE + 0x800) == 0);
	CHECK(memcmp(high + 0x800, "o\0\0\0\0\0\0\0", 8) == 0);
	CHECK(dma(0x100, (uint32_t)key << 16 | 8 | 4, 1, 0) == 0);
	CHECK(in(0x511, 1) == 'e');
	CHECK(dma(0x100, 2, 8, RAM_SIZE - 7) == 1);
	CHECK(dma(0x100, 2, 0xffffffff, 0) == 1);
	CHECK(dma(0x100, 2, 8, ~0UL - 3) == 1);
	CHECK(dma(0x100, 2, 8, 0xffff0000) == 1);
	CHECK(dma(0x100, 0x10, 8, 0x200) == 1);
	CHECK(dma(0x100, 4, 0xffffffff, 0) == 0);
	dma(RAM_SIZE - 15, 2, 8, 0);
	dma(~0UL, 2, 8, 0);
}

static void
fuzz_fwcfg(void)
{
	static const int ports[] = { 0x510, 0x511, 0x514, 0x518, 0x516, 0x51b };
	static const int sizes[] = { 1, 2, 4 };
	int i;

	for (i = 0; i < 200000; i++) {
		if (i % 4 == 0)
			dma(rnd() % (RAM_SIZE + 32), rnd() & 0x2f001f,
			    rnd() % (2 * RAM_SIZE), rnd() % (2 * RAM_SIZE));
		else
			port(rnd() & 1, ports[rnd() % 6], sizes[rnd() % 3],
			    rnd() & 0x8fff);
	}
}

static void
request(uint32_t op, const void *data, uint32_t len)
{
	uint32_t i, word;

	out(0x510, 4, 12 + len);
	out(0x510, 4, op);
	out(0x510, 4, 0x1234);
	for (i = 0; i < len; i += 4) {
		word = 0;
		memcpy(
		    &word, (const char *)data + i, len - i < 4 ? len - i : 4);
		out(0x510, 4, word);
	}
}

static void
response(uint32_t op, uint32_t error, uint32_t len, uint32_t first)
{
	uint32_t i;

	CHECK(in(0x510, 4) == 16 + len);
	CHECK(in(0x510, 4) == op);
	CHECK(in(0x510, 4) == 0x1234);
	CHECK(in(0x510, 4) == error);
	for (i = 0; i < len; i += 4)
		CHECK(in(0x510, 4) == (i == 0 ? first : 0));
	CHECK(in(0x510, 4) == 0xffffffff);
}

static void
test_fwctl(void)
{
	char big[400] = { 0 };
	int i;

	start("bhyve");
	CHECK(fwctl_init() == 0);
	CHECK(in(0x511, 1) == 0xff);
	out(0x510, 2, 1);
	CHECK(in(0x511, 1) == 0xff);
	out(0x510, 2, 0);
	CHECK(in(0x511, 1) == 'B' && in(0x510, 1) == 'H' &&
	    in(0x511, 1) == 'Y' && in(0x511, 1) == 'V');
	CHECK(in(0x511, 1) == 0xff && in(0x510, 4) == 0xffffffff);
	request(3, "hw.ncpu", 8);
	response(3, 0, 4, 3);
	request(3, "hw.ncpu", 7);
	response(3, 0, 4, 3);
	request(4, "hw.ncpu", 8);
	response(4, 0, 8, 4);
	request(3, "hw.ncpus", 9);
	response(3, 2, 0, 0);
	request(1, "", 0);
	response(1, 0, 0, 0);
	request(2, "abcd", 4);
	response(2, 0, 4, 0x64636261);
	request(5, "hw.ncpu", 8);
	response(5, 2, 0, 0);
	request(77, "", 0);
	response(77, 2, 0, 0);
	request(2, big, sizeof(big));
	response(2, 7, 0, 0);
	out(0x510, 4, 11); /* too short: dropped */
	request(3, "hw.ncpu", 8);
	response(3, 0, 4, 3);
	for (i = 0; i < 300000; i++)
		port(rnd() & 1, 0x510 + (rnd() & 1), 1 << (rnd() % 3),
		    rnd() % 120);
}

int
main(void)
{
	ram = calloc(1, RAM_SIZE);
	high = calloc(1, HIGH_SIZE);
	init_config();
	test_fwcfg();
	fuzz_fwcfg();
	test_fwctl();
	qemu_fwcfg_cleanup();
	init_config();
	free(ram);
	free(high);
	return (0);
}
