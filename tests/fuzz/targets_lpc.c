/*
 * Fuzz targets: what hangs on the LPC bus, the chips that interrupt and keep
 * time, and the firmware's interfaces.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"

/* ---- COM ports ---- */

static int com1 = -1;

static void
uart_init(void)
{
	CHECK(chdir(machine_file(".")) == 0);
}

static void
uart_event(struct input *in)
{
	uint8_t buf[300];
	size_t len = in8(in) + 1UL;

	if (com1 < 0)
		com1 = scratch_connect("com1");
	in_bytes(in, buf, len);
	(void)!send(com1, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if ((buf[0] & 7) == 0) {
		close(com1);
		com1 = -1;
	} else {
		(void)!recv(com1, buf, sizeof(buf), MSG_DONTWAIT);
	}
}

static const struct fuzz_target uart = {
	.name = "uart",
	.settings = { "-s 0,hostbridge", "-s 31,lpc",
	    "lpc.com1.path=socket,com1", NULL },
	.ports = { { 0x3f8, 8 }, { 0x3f8, 8 }, { 0x2f8, 8 }, { 0x3f8, 8 },
	    { 0x3f8, 8 }, { 0x3f6, 12 }, { 0x3f8, 3 }, { 0x3f8, 2 } },
	.init = uart_init,
	.event = uart_event,
};
FUZZ_TARGET(uart);

/* The same chip as a PCI card. */
static const struct fuzz_target pci_uart = {
	.name = "pci-uart",
	.settings = { "-s 0,hostbridge", "-s 3,uart,socket,com1", NULL },
	.init = uart_init,
	.event = uart_event,
};
FUZZ_TARGET(pci_uart);

/* ---- keyboard, mouse, power management, test device, debug console ---- */

static const struct fuzz_target lpc = {
	.name = "lpc",
	.settings = { "-s 0,hostbridge", "-s 3,piix4pm", "-s 31,lpc",
	    "lpc.pc-testdev=true", "lpc.debugcon.path=/dev/null", NULL },
	.ports = { { 0x60, 5 }, { 0x60, 1 }, { 0x64, 1 }, { 0x400, 16 },
	    { 0xb2, 2 }, { 0xcf9, 1 }, { 0x402, 1 }, { 0x2000, 0x20 } },
};
FUZZ_TARGET(lpc);

/* ---- PIC, PIT, RTC, IOAPIC, LAPIC, HPET ---- */

static void
chips_op(struct input *in)
{
	static const uint16_t ports[16] = { 0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41,
		0x42, 0x43, 0x61, 0x70, 0x71, 0x4d0, 0x4d1, 0x408, 0x43, 0x20 };
	static const uint16_t lapic[16] = { 0x80, 0xb0, 0xd0, 0xe0, 0xf0, 0x280,
		0x300, 0x310, 0x320, 0x350, 0x360, 0x370, 0x380, 0x3e0, 0x300,
		0xb0 };
	uint8_t sel = in8(in);

	switch (sel >> 4 & 3) {
	case 0:
		pio_out(ports[sel & 15], 1, in8(in));
		break;
	case 1:
		mem_write(LAPIC + lapic[sel & 15], 4, in_value(in));
		break;
	case 2:
		mem_write(IOAPIC, 4, in8(in) & 0x3f);
		mem_write(IOAPIC + 0x10, 4, in_value(in));
		break;
	default:
		mem_write(HPET + (in8(in) & 0x1ff) * 8UL, sel & 1 ? 8 : 4,
		    sel & 2 ? in64(in) : in_value(in));
		break;
	}
	(void)irq_taken(in8(in));
}

static const struct fuzz_target chips = {
	.name = "chips",
	.settings = { "-s 0,hostbridge", "-s 31,lpc", NULL },
	.ports = { { 0x20, 2 }, { 0xa0, 2 }, { 0x40, 4 }, { 0x70, 2 },
	    { 0x61, 1 }, { 0x4d0, 2 }, { 0x408, 4 }, { 0, 0xff } },
	.mmio = { { LAPIC, 0x1000 }, { IOAPIC, 0x100 }, { HPET, 0x400 },
	    { HPET, 0x1000 } },
	.op = chips_op,
};
FUZZ_TARGET(chips);

/* ---- what firmware asks ---- */

static void
make_rom(void)
{
	static const uint8_t page[4096] = { 0xf4 };
	int fd, i;

	CHECK(chdir(machine_file(".")) == 0);
	for (i = 0; i < 2; i++) {
		fd = open(
		    i == 0 ? "rom" : "vars", O_RDWR | O_CREAT | O_TRUNC, 0600);
		CHECK(fd >= 0);
		for (int j = 0; j < 16; j++)
			CHECK(write(fd, page, sizeof(page)) == sizeof(page));
		close(fd);
	}
}

static void
fwcfg_op(struct input *in)
{
	uint64_t gpa = in_addr(in);
	uint32_t control;

	control = (in8(in) & 0x1f) | (uint32_t)(in8(in) & 0x3f) << 16;
	if ((control & 1) != 0 && gpa >= HOT && gpa < RAM_SIZE - 16)
		control |= in32(in);
	if (gpa >= HOT && gpa < RAM_SIZE - 16) {
		ram_put(gpa, __builtin_bswap32(control), 4);
		ram_put(gpa + 4, __builtin_bswap32(in_value(in)), 4);
		ram_put(gpa + 8, __builtin_bswap64(in_addr(in)), 8);
	}
	pio_out(0x514, 4, __builtin_bswap32((uint32_t)(gpa >> 32)));
	pio_out(0x518, 4, __builtin_bswap32((uint32_t)gpa));
}

static const struct fuzz_target fwcfg = {
	.name = "fwcfg",
	.settings = { "-s 0,hostbridge", "-s 31,lpc", "bootrom=rom",
	    "lpc.fwcfg=qemu", NULL },
	.ports = { { 0x510, 2 }, { 0x514, 8 }, { 0x510, 12 }, { 0x402, 1 },
	    { 0x510, 1 }, { 0x511, 1 }, { 0x80, 1 }, { 0x510, 2 } },
	.init = make_rom,
	.op = fwcfg_op,
};
FUZZ_TARGET(fwcfg);

static void
fwctl_op(struct input *in)
{
	uint32_t n = in8(in) % 120;

	pio_out(0x510, 2, 0);
	for (int i = 0; i < 4; i++)
		(void)pio_in(0x511, 1);
	pio_out(0x510, 4, n);
	pio_out(0x510, 4, in8(in) % 7);
	pio_out(0x510, 4, in32(in));
	for (uint32_t i = 12; i < n; i += 4)
		pio_out(0x510, 4, in32(in));
	for (n = in8(in) % 40; n > 0; n--)
		(void)pio_in(0x510, 4);
}

static void
flash_event(struct input *in)
{
	uint64_t gpa = 0x100000000UL - 0x20000 + in32(in) % 0x20000;
	int bytes = 1 << (in8(in) & 3);

	mem_write(gpa, bytes, in64(in));
	(void)mem_read(gpa, bytes);
}

static const struct fuzz_target fwctl = {
	.name = "fwctl",
	.settings = { "-s 0,hostbridge", "-s 31,lpc", "bootrom=rom",
	    "bootvars=vars", "lpc.fwcfg=bhyve", NULL },
	.ports = { { 0x510, 2 }, { 0x510, 2 }, { 0x511, 1 }, { 0x510, 1 },
	    { 0x80, 1 }, { 0x402, 1 }, { 0x510, 4 }, { 0x50f, 4 } },
	.init = make_rom,
	.op = fwctl_op,
	.event = flash_event,
};
FUZZ_TARGET(fwctl);
