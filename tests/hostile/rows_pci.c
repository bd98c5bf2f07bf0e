/*
 * Rows of the PCI core: configuration space, BARs, MSI-X, interrupts, and the
 * way of all DMA.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pci_emul.h"
#include "pci_local.h"
#include "rows.h"
#include "vmmapi.h"
#include "wire.h"

#define RND_IO 0x1af4u /* vendor of virtio devices */

static const char *const four[] = { "-s 0,hostbridge", "-s 3,nvme,ram=1",
	"-s 4,virtio-rnd", "-s 5,e1000", "-s 6,nvme,ram=1", "-s 31,lpc", NULL };

static void
four_devices(void)
{
	machine_up(four);
	lapic_on();
}

/* The NVMe controller's version register, which never changes. */
static bool
nvme_at(uint64_t addr)
{
	return (mem_read(addr + 8, 4) == 0x00010400);
}

ROW(B02_map_gpa_wrap)
{
	static const uint64_t bad[][2] = { { RAM_SIZE, 1 }, { RAM_SIZE - 1, 2 },
		{ 0, RAM_SIZE + 1 }, { ~0UL, 1 }, { ~0UL, 2 },
		{ ~0UL - 4095, 4096 }, { 1, ~0UL }, { RAM_SIZE - 1, ~0UL },
		{ 0x1000, ~0UL - 0xfff }, { ~0UL - 15, 17 },
		{ 1UL << 63, 1UL << 63 }, { 0xfee00000, 4 }, { ECAM, 4 },
		{ 4UL << 30, 1 } };
	size_t i;

	one_device("virtio-rnd");
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(vm_map_gpa(machine_ctx(), bad[i][0], bad[i][1]) == NULL);
	CHECK(vm_map_gpa(machine_ctx(), 0, RAM_SIZE) != NULL);
	CHECK(vm_map_gpa(machine_ctx(), RAM_SIZE - 1, 1) != NULL);
	machine_down();
	/* What is mapped, but no RAM: only debuggers look there. */
	firmware_up("lpc.fwcfg=qemu");
	CHECK(vm_map_devmem(machine_ctx(), ROM, ROM_BYTES) != NULL);
	CHECK(vm_map_gpa(machine_ctx(), ROM, 16) == NULL);
	CHECK(vm_map_gpa(machine_ctx(), ROM + ROM_BYTES - 1, 1) == NULL);
	machine_down();
}

ROW(P01_cfg_access)
{
	static const int ro[] = { 0, 2, 6, 8, 9, 0xa, 0xb, 0xe, 0x2c, 0x2e,
		0x34, 0x3d };
	uint32_t before, val;
	size_t i;
	int slot;

	four_devices();
	/* Absent functions, a clear enable bit, accesses that hang over. */
	pio_out(0xcf8, 4, 0x80000000u | 9 << 11);
	CHECK(pio_in(0xcfc, 4) == ~0U && pio_in(0xcfe, 2) == 0xffff);
	pio_out(0xcfc, 4, 0);
	pio_out(0xcf8, 4, 3 << 11);
	CHECK(pio_in(0xcfc, 4) == ~0U);
	pio_out(0xcf8, 4, 0x80ff0000u | 3 << 11 | 0x700);
	CHECK(pio_in(0xcfc, 4) == ~0U);
	pio_out(0xcf8, 4, 0x80000000u | 3 << 11 | 0xfc);
	CHECK(pio_in(0xcfd, 4) == ~0U && pio_in(0xcff, 2) == 0xffff);
	pio_out(0xcff, 4, 0x12345678);
	pio_out(0xcf8, 4, ~0U); /* reserved bits stay clear */
	CHECK(pio_in(0xcf8, 4) == 0x80fffffc);
	pio_out(0xcf8, 4, 0x80000000u | 3 << 11);
	pio_out(0xcf8, 1, 0x55); /* not the register */
	pio_out(0xcf8, 2, 0);
	pio_out(0xcf9, 2, 0);
	CHECK(pio_in(0xcf8, 2) == 0xffff && pio_in(0xcfc, 2) == 0xfb5d);
	for (slot = 3; slot <= 6; slot++) {
		for (i = 0; i < sizeof(ro) / sizeof(ro[0]); i++) {
			before = cfg_read(slot, ro[i], 1);
			cfg_write(slot, ro[i], 1, ~before);
			cfg_write(slot, ro[i] & ~1, 2, 0);
			CHECK(cfg_read(slot, ro[i], 1) == before);
		}
	}
	/* ECAM: wide, misaligned, of nobody, past the 256 bytes. */
	val = (uint32_t)mem_read(ECAM + 3 * 0x8000, 4);
	CHECK(val == 0x0a0afb5d);
	CHECK(mem_read(ECAM + 3 * 0x8000, 8) == ~0UL);
	mem_write(ECAM + 3 * 0x8000 + 4, 8, 0);
	CHECK(mem_read(ECAM + 3 * 0x8000 + 1, 4) == ~0U);
	CHECK(mem_read(ECAM + 9 * 0x8000, 4) == ~0U);
	CHECK(mem_read(ECAM + 0x0fffffff, 1) == 0xff);
	(void)mem_read(ECAM + 0x0ffffffe, 4);
	mem_write(ECAM + 0x0ffffffe, 4, 0);
	CHECK(mem_read(ECAM + 3 * 0x8000 + 0x100, 4) == 0);
	CHECK(mem_read(ECAM + 3 * 0x8000 + 0xffc, 4) == ~0U);
	CHECK(nvme_at(bar_addr(3, 0)));
	machine_down();
}

ROW(B49_cfg_unaligned)
{
	uint32_t cmd;

	four_devices();
	/* Command and status in one access: each byte goes to its own. */
	cmd = cfg_read(3, 4, 2);
	cfg_write(3, 4, 4, 0xffff0000u | cmd);
	CHECK(cfg_read(3, 4, 2) == cmd);
	cfg_write(3, 5, 1, 4); /* INTx disable alone */
	CHECK(cfg_read(3, 4, 2) == ((cmd & 0xff) | 0x400));
	cfg_write(3, 4, 2, cmd);
	/* An error that a device has told of goes by its own byte alone. */
	pci_set_cfgdata16(pci_devinst_at(0, 3, 0), PCIR_STATUS,
	    (uint16_t)(cfg_read(3, 6, 2) | 0x8100));
	cfg_write(3, 4, 1, cmd & 0xff);
	cfg_write(3, 6, 1, 0xff);
	CHECK((cfg_read(3, 6, 2) & 0x8100) == 0x8100);
	cfg_write(3, 7, 1, 0x80);
	CHECK((cfg_read(3, 6, 2) & 0x8100) == 0x0100);
	cfg_write(3, 4, 4, 0x01000000u | cmd);
	CHECK((cfg_read(3, 6, 2) & 0x8100) == 0);
	cfg_write(3, 0x3c, 4, 0xaabbcc7f);
	CHECK(cfg_read(3, 0x3c, 1) == 0x7f);
	CHECK(cfg_read(3, 0x3d, 1) == 1);
	/* Parts of a BAR cannot be written: no address between two. */
	cfg_write(3, 0x11, 1, 0x12);
	cfg_write(3, 0x12, 2, 0x1234);
	CHECK(nvme_at(bar_addr(3, 0)));
	machine_down();
}

static void
move(int slot, uint64_t to)
{
	cfg_write(slot, 0x10, 4, (uint32_t)to);
	cfg_write(slot, 0x14, 4, (uint32_t)(to >> 32));
}

ROW(P02_bar_over_everything)
{
	static const uint64_t bad[] = { 0, RAM_SIZE - 0x4000, LAPIC & ~0x3fffUL,
		IOAPIC, HPET & ~0x3fffUL, ECAM, 0xfffffffffffff000UL,
		0xffffffffffffc000UL, 0x8000000000000000UL };
	uint64_t home, other;
	uint32_t lapic;
	size_t i;

	four_devices();
	home = bar_addr(3, 0);
	other = bar_addr(6, 0);
	lapic = (uint32_t)mem_read(LAPIC + 0x30, 4);
	ram_put(0x1008, 0x1122, 4);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		move(3, bad[i]);
		/* Memory and the platform's own devices win. */
		CHECK(ram_get(0x1008, 4) == 0x1122);
		CHECK(mem_read(LAPIC + 0x30, 4) == lapic);
		CHECK(mem_read(ECAM + 6 * 0x8000, 4) == 0x0a0afb5d);
		if (i < 2) /* it is not even on the bus */
			CHECK(!nvme_at(bad[i]));
		mem_write(bad[i] + 0x14, 4, 0x00460001);
		move(3, home);
		CHECK(nvme_at(home));
	}
	/* Onto another one: the first keeps the place, the second comes back.
	 */
	move(3, other);
	CHECK(nvme_at(other) && !nvme_at(home));
	move(6, home);
	CHECK(nvme_at(home) && nvme_at(other));
	move(6, other);
	CHECK(nvme_at(other) && !nvme_at(home));
	cfg_write(3, 4, 2, 0);
	CHECK(nvme_at(other));
	cfg_write(6, 4, 2, 0);
	CHECK(!nvme_at(other));
	cfg_write(3, 4, 2, 6);
	CHECK(nvme_at(other));
	machine_down();
}

ROW(B46_bar64_sizing)
{
	uint64_t home;

	four_devices();
	home = bar_addr(3, 0);
	cfg_write(3, 0x10, 4, ~0U);
	CHECK(cfg_read(3, 0x10, 4) == 0xffffc004);
	cfg_write(3, 0x14, 4, ~0U);
	CHECK(cfg_read(3, 0x14, 4) == ~0U);
	CHECK(!nvme_at(home) && nvme_at(0xffffffffffffc000UL));
	cfg_write(3, 0x10, 4, (uint32_t)home);
	CHECK(!nvme_at(home));
	cfg_write(3, 0x14, 4, (uint32_t)(home >> 32));
	CHECK(nvme_at(home));
	/* An I/O BAR sized with 32 bits, over ports of chips, at the end. */
	cfg_write(4, 0x10, 4, ~0U);
	CHECK(pio_in(0xffe0, 4) == ~0U && pio_in(0xfff0, 4) == ~0U);
	cfg_write(4, 0x10, 4, 0x20);
	pio_out(0x21, 1, 0xff);
	CHECK(pio_in(0x21, 1) == 0xff);
	cfg_write(4, 0x10, 4, 0xcf8);
	CHECK(cfg_read(4, 0, 2) == RND_IO);
	cfg_write(4, 0x10, 4, 0xffe0);
	CHECK(pio_in(0xffe0, 4) != ~0U);
	(void)pio_in(0xffff, 4);
	machine_down();
}

ROW(B47_bar_overlap_assert)
{
	uint64_t home;
	int i, j;

	four_devices();
	home = bar_addr(3, 0);
	/* All BARs of all devices at one address, then back. */
	for (i = 3; i <= 6; i++) {
		for (j = 0; j < 6; j++)
			cfg_write(i, 0x10 + j * 4, 4, 0xc0000000);
	}
	(void)mem_read(0xc0000000, 4);
	for (i = 6; i >= 3; i--) {
		cfg_write(i, 4, 2, 0);
		cfg_write(i, 4, 2, 7);
	}
	move(6, 0xd0000000);
	CHECK(nvme_at(0xd0000000));
	cfg_write(5, 4, 2, 0);
	cfg_write(4, 4, 2, 0);
	cfg_write(3, 0x20, 4, 0xd8000000);
	move(3, home);
	CHECK(nvme_at(home));
	/* The one that had no place takes nobody's with it when it goes. */
	move(3, 0xd0000000);
	move(3, home);
	CHECK(nvme_at(home) && nvme_at(0xd0000000));
	machine_down();
}

#define LOW_PLACE 0xc4000000UL
#define HIGH_PLACE 0xc8000000UL
#define LOW_PORT 0x5000u
#define HIGH_PORT 0x6000u
static _Atomic bool moving;

/* Another processor that moves the BARs of e1000 and virtio-rnd. */
static void *
mover(void *arg)
{
	int i;

	for (i = 0; moving; i++) {
		cfg_write(5, 0x10, 4, i & 1 ? LOW_PLACE : HIGH_PLACE);
		cfg_write(4, 0x10, 4, i & 1 ? LOW_PORT : HIGH_PORT);
	}
	return (NULL);
}

/* Accesses that were under way when a BAR moved do not reach past it. */
static void
race_of_moves(void)
{
	int64_t end = now_us() + 400000;
	pthread_t thread;
	int i;

	moving = true;
	CHECK(pthread_create(&thread, NULL, mover, NULL) == 0);
	for (i = 0; now_us() < end; i++) {
		uint64_t off = (uint64_t)i * 4 & 0x1fffc;

		(void)mem_read(LOW_PLACE + off, 4);
		(void)mem_read(HIGH_PLACE + off, 4);
		mem_write(LOW_PLACE + 0x3810, 4, 0);
		mem_write(HIGH_PLACE + 0x3810, 4, 0);
		(void)pio_in((int)LOW_PORT + (int)(off & 31), 1);
		(void)pio_in((int)HIGH_PORT + (int)(off & 31), 4);
	}
	moving = false;
	pthread_join(thread, NULL);
}

ROW(P03_bar_move_live)
{
	uint64_t a = 0xd4000000, b = 0xd8000000;
	int i;

	four_devices();
	race_of_moves();
	move(3, a);
	for (i = 0; i < 2000; i++) {
		move(3, i & 1 ? a : b);
		CHECK(nvme_at(i & 1 ? a : b));
		CHECK(!nvme_at(i & 1 ? b : a));
		mem_write((i & 1 ? b : a) + 0x14, 4, 1); /* the old place */
	}
	/* Enabled and unmapped: the queue's doorbells are elsewhere. */
	mem_write(a + 0x24, 4, 0x001f001f);
	cfg_write(3, 4, 2, 4);
	CHECK(mem_read(a + 8, 4) == ~0U);
	cfg_write(3, 4, 2, 6);
	CHECK(mem_read(a + 0x24, 4) == 0x001f001f);
	machine_down();
}

ROW(P04_decode_off_inflight)
{
	uint64_t bar;

	one_device("nvme,disk");
	bar = bar_addr(3, 0);
	mem_write(bar + 0x24, 4, 0x001f001f);
	mem_write(bar + 0x28, 4, 0x100000);
	mem_write(bar + 0x30, 4, 0x101000);
	/* Without bus mastering there is no memory for it. */
	cfg_write(3, 4, 2, 2);
	mem_write(bar + 0x14, 4, 0x00460001);
	CHECK((mem_read(bar + 0x1c, 4) & 3) == 2);
	mem_write(bar + 0x14, 4, 0);
	cfg_write(3, 4, 2, 6);
	mem_write(bar + 0x14, 4, 0x00460001);
	CHECK((mem_read(bar + 0x1c, 4) & 3) == 1);
	ram_put(0x100000, 6, 4); /* IDENTIFY */
	ram_put(0x100018, 0x102000, 8);
	ram_put(0x100028, 1, 4);
	cfg_write(3, 4, 2, 2);
	mem_write(bar + 0x1000, 4, 1);
	CHECK(ram_get(0x102000, 8) == 0 && ram_get(0x10100c, 4) == 0);
	CHECK((mem_read(bar + 0x1c, 4) & 2) != 0);
	machine_down();
}

#define E1000_RX 0x100000UL
#define E1000_TX 0x101000UL

/* A card that may not reach memory neither sends nor receives. */
ROW(own_e1000_without_bus_master)
{
	uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uint64_t i;

	one_device("e1000,wire");
	for (i = 0; i < 8; i++) {
		ram_put(E1000_RX + i * 16, 0x110000 + i * 2048, 8);
		ram_put(E1000_TX + i * 16, 0x120000, 8);
		ram_put(E1000_TX + i * 16 + 8, 0x09000000u | 60, 4);
	}
	reg_write(0, 0x2800, E1000_RX);
	reg_write(0, 0x2808, 128);
	reg_write(0, 0x2818, 7);
	reg_write(0, 0x3800, E1000_TX);
	reg_write(0, 0x3808, 128);
	cfg_write(3, 4, 2, 2);
	reg_write(0, 0x400, 2);		     /* send */
	reg_write(0, 0x100, 2 | 8 | 0x8000); /* receive all */
	reg_write(0, 0x3818, 1);
	CHECK(send(wire_fd, frame, sizeof(frame), MSG_NOSIGNAL) == 60);
	usleep(50000);
	CHECK(ram_get(E1000_RX + 12, 1) == 0 && ram_get(0x110000, 8) == 0);
	CHECK((ram_get(E1000_TX + 12, 1) & 1) == 0);
	CHECK(reg_read(0, 0x3810) == 0 && reg_read(0, 0x2810) == 0);
	/* With it, both go on. */
	cfg_write(3, 4, 2, 6);
	reg_write(0, 0x3818, 2);
	for (i = 0; i < 3000 && reg_read(0, 0x3810) != 2; i++)
		usleep(1000);
	CHECK((ram_get(E1000_TX + 12, 1) & 1) != 0);
	CHECK(send(wire_fd, frame, sizeof(frame), MSG_NOSIGNAL) == 60);
	for (i = 0; i < 3000 && reg_read(0, 0x2810) != 1; i++)
		usleep(1000);
	CHECK((ram_get(E1000_RX + 12, 1) & 1) != 0);
	machine_down();
}

ROW(P05_dma_to_mmio)
{
	static const uint64_t targets[] = { LAPIC, IOAPIC, HPET, ECAM,
		0xc0000000 };
	uint64_t bar;
	size_t i;

	one_device("nvme,ram=1");
	bar = bar_addr(3, 0);
	for (i = 0; i < 6; i++) {
		mem_write(bar + 0x14, 4, 0);
		mem_write(bar + 0x24, 4, 0x001f001f);
		/* Queues and data where registers are, its own included. */
		mem_write(bar + 0x28, 8, i < 5 ? targets[i] : bar & ~0xfffUL);
		mem_write(bar + 0x30, 8, 0x101000);
		mem_write(bar + 0x14, 4, 0x00460001);
		CHECK((mem_read(bar + 0x1c, 4) & 3) == 2);
	}
	machine_down();
}

ROW(P06_msix_table)
{
	uint64_t table, end;
	int i, size;

	four_devices();
	table = bar_addr(3, 4);
	end = table + 17 * 16;
	for (size = 1; size <= 2; size++) {
		mem_write(table, size, 0);
		CHECK(mem_read(table, size) == (size == 1 ? 0xff : 0xffffU));
	}
	mem_write(table + 2, 4, 0x1234);
	CHECK(mem_read(table, 4) == 0);
	CHECK(mem_read(table + 2, 4) == ~0U);
	CHECK(mem_read(table + 0x1002, 4) == ~0U);
	mem_write(table, 8, 0x1122334455667788UL);
	CHECK(mem_read(table + 4, 4) == 0x11223344);
	mem_write(table + 12, 4, ~0U); /* reserved bits of vector control */
	CHECK(mem_read(table + 12, 4) == 1);
	CHECK(mem_read(end, 4) == ~0U);
	mem_write(end - 4, 8, ~0UL);
	mem_write(end, 4, 0);
	for (i = 0; i < 0x2000; i += 4) {
		mem_write(table + (uint64_t)i, 4, 0xa5a5a5a5);
		(void)mem_read(table + (uint64_t)i, 8);
		(void)mem_read(table + (uint64_t)i + 1, 1);
	}
	/* Pending bits are the device's, not the driver's. */
	CHECK(mem_read(table + 0x1000, 8) == 0);
	machine_down();
}

static int
cap_of(int slot, uint32_t id)
{
	int off;

	for (off = (int)cfg_read(slot, 0x34, 1); off != 0;
	     off = (int)cfg_read(slot, off + 1, 1)) {
		if (cfg_read(slot, off, 1) == id)
			return (off);
	}
	CHECK(!"capability");
}

/* IDENTIFY, whose end raises the admin queue's interrupt. */
static void
nvme_identify(uint64_t bar, int n)
{
	uint64_t cmd = 0x100000 + (uint64_t)n * 64;

	ram_put(cmd, 6, 4);
	ram_put(cmd + 24, 0x102000, 8);
	ram_put(cmd + 40, 1, 4);
	mem_write(bar + 0x1000, 4, (uint64_t)n + 1);
}

static void
nvme_enable(uint64_t bar)
{
	mem_write(bar + 0x24, 4, 0x001f001f);
	mem_write(bar + 0x28, 8, 0x100000);
	mem_write(bar + 0x30, 8, 0x101000);
	mem_write(bar + 0x14, 4, 0x00460001);
	CHECK((mem_read(bar + 0x1c, 4) & 3) == 1);
}

/* Pending bits are where the capability says, and only there. */
ROW(B48_msix_pba_bar)
{
	uint64_t bar, table;

	one_device("nvme,ram=1");
	bar = bar_addr(3, 0);
	table = bar_addr(3, 4);
	CHECK(mem_read(bar + 0x1000, 4) != ~0U);
	CHECK(mem_read(table + 0x1000, 8) == 0);
	cfg_write(3, cap_of(3, 0x11) + 2, 2, 0x8000);
	nvme_enable(bar);
	nvme_identify(bar, 0); /* its vector is masked: it waits */
	CHECK(mem_read(table + 0x1000, 8) == 1);
	CHECK(mem_read(bar + 0x1000, 8) == 0);
	CHECK(mem_read(table, 4) == 0);
	mem_write(table + 0x1000, 8, ~1UL);
	mem_write(table + 0x1000, 4, 0);
	CHECK(mem_read(table + 0x1000, 8) == 1);
	mem_write(bar + 0x1000, 4, 1); /* the tail's doorbell */
	CHECK(mem_read(table + 0x1000, 8) == 1);
	CHECK((mem_read(bar + 0x1c, 4) & 3) == 1);
	machine_down();
}

ROW(P07_msix_addr)
{
	static const uint64_t bad[] = { 0, 0x1000, 0xfed00000, 0xfef00000,
		0xfee00000UL + (1UL << 32), ~0UL << 2, ECAM, 0xfec00000 };
	uint64_t bar, table;
	int cap, i;

	one_device("nvme,ram=1");
	bar = bar_addr(3, 0);
	table = bar_addr(3, 4);
	cap = cap_of(3, 0x11);
	cfg_write(3, cap + 2, 2, 0x8000);
	nvme_enable(bar);
	mem_write(table + 8, 4, 0x51);
	mem_write(table + 12, 4, 0);
	for (i = 0; i < 8; i++) {
		mem_write(table, 8, bad[i]);
		ram_put(0x1000, 0x77, 4);
		nvme_identify(bar, i);
		CHECK(!irq_taken(0x51) && ram_get(0x1000, 4) == 0x77);
	}
	/* Into its own doorbell: not a write, nothing. */
	mem_write(table, 8, bar + 0x1000);
	nvme_identify(bar, 8);
	CHECK(!irq_taken(0x51));
	mem_write(table, 8, 0xfee00000);
	nvme_identify(bar, 9);
	CHECK(irq_taken(0x51));
	machine_down();
}

/* What drivers may write of a capability: which bits of its byte off. */
static uint8_t
cap_writable(uint8_t id, int off)
{
	/* MSI's control, address and data; MSI-X's control. */
	static const uint8_t msi[16] = { 0, 0, 0x71, 0, 0xfc, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (id == 0x05 && off < 16)
		return (msi[off]);
	if (id == 0x11)
		return (off == 3 ? 0xc0 : 0);
	/* virtio's window says which structure it is in byte 3. */
	return (id == 0x09 ? 0xff : 0);
}

ROW(P08_cap_chain)
{
	uint8_t before[256], id, now;
	int at, end, off, slot;

	four_devices();
	for (slot = 3; slot <= 6; slot++) {
		for (off = 0; off < 256; off++)
			before[off] = (uint8_t)cfg_read(slot, off, 1);
		for (off = 0x34; off < 256; off++) {
			cfg_write(slot, off, 1, 0x34);
			if ((off & 1) == 0)
				cfg_write(slot, off, 2, 0x4040);
			if ((off & 3) == 0)
				cfg_write(slot, off, 4, 0x44444444);
			if ((off & 3) == 0)
				cfg_write(slot, off, 4, ~0U);
		}
		/* The list is what it was, and what it says of the device. */
		for (at = before[0x34]; at != 0; at = before[at + 1]) {
			id = before[at];
			end = before[at + 1] == 0 ? 256 : before[at + 1];
			for (off = at; off < end; off++) {
				now = (uint8_t)cfg_read(slot, off, 1);
				if (off < at + 2)
					CHECK(now == before[off]);
				CHECK(((now ^ before[off]) &
					  (uint8_t)~cap_writable(
					      id, off - at)) == 0);
			}
			/* More messages than there are, nobody grants. */
			now = (uint8_t)cfg_read(slot, at + 2, 1);
			if (id == 0x05)
				CHECK((now >> 4 & 7) <= (now >> 1 & 7));
		}
		CHECK(cfg_read(slot, 0x34, 1) == before[0x34]);
	}
	machine_down();
}

ROW(P09_intx_storm)
{
	uint64_t bar;
	int64_t start;
	int i;

	four_devices();
	bar = bar_addr(3, 0);
	/* All pins level-triggered and open; the line is never taken back. */
	for (i = 0; i < 24; i++) {
		mem_write(IOAPIC, 4, 0x10 + (uint64_t)i * 2);
		mem_write(IOAPIC + 0x10, 4, 0x8000u | (0x60u + (uint32_t)i));
	}
	nvme_enable(bar);
	nvme_identify(bar, 0);
	start = now_us();
	for (i = 0; i < 1000; i++) {
		for (int vector = 0x60; vector < 0x78; vector++)
			(void)irq_taken(vector);
	}
	CHECK(now_us() - start < 20000000);
	mem_write(bar + 0x1004, 4, 1);
	for (int vector = 0x60; vector < 0x78; vector++)
		(void)irq_taken(vector);
	for (int vector = 0x60; vector < 0x78; vector++)
		CHECK(!irq_taken(vector));
	machine_down();
}

/* virtio-rnd has no configuration: the transport answers for it. */
ROW(H01_no_config_handlers)
{
	uint64_t io, modern;
	int i;

	one_device("virtio-rnd");
	io = bar_addr(3, 0);
	modern = bar_addr(3, 4);
	for (i = 16; i < 32; i++) {
		(void)pio_in((int)io + i, 1);
		(void)pio_in((int)io + i, 4);
		pio_out((int)io + i, 2, 0);
	}
	for (i = 0; i < 64; i++) {
		CHECK((mem_read(modern + 0x2000 + (uint64_t)i, 1) & 0xff) ==
		    0xff);
		mem_write(modern + 0x2000 + (uint64_t)i, 4, 0);
	}
	machine_down();
}

ROW(F05_log_flood)
{
	static char text[1 << 16];
	uint64_t bar, home;
	ssize_t n;
	int fd, i, lines, old;

	one_device("nvme,ram=1");
	fd = open("stderr", O_RDWR | O_CREAT | O_TRUNC, 0600);
	old = dup(2);
	dup2(fd, 2);
	home = bar_addr(3, 0);
	bar = home;
	for (i = 0; i < 100000; i++) {
		cfg_write(3, 0x10, 4, 0); /* onto memory */
		cfg_write(3, 0x14, 4, 0);
		cfg_write(3, 0x10, 4, (uint32_t)home);
		cfg_write(3, 0x14, 4, (uint32_t)(home >> 32));
		mem_write(bar + 0x14, 4, (uint64_t)i & 1);
	}
	dup2(old, 2);
	n = pread(fd, text, sizeof(text), 0);
	for (i = 0, lines = 0; i < n; i++)
		lines += text[i] == '\n';
	/* Ten in five seconds from one place. */
	CHECK(lines >= 1 && lines <= 100);
	machine_down();
}
