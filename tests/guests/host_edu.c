/*
 * A driver of QEMU's `edu` device, passed through in slot 3: its registers,
 * a factorial, DMA both ways, MSI, and code that DMA replaces after it ran.
 * Says PASS, then shows what the identification register reads at each tick
 * of a second (for whoever takes the device away).
 */
#include "vguest.h"

#define EDU 0x11e81234u
#define ID 0x010000edu
#define BUFFER 0x40000u /* in the device's own address space */
#define DMA_START 1u
#define DMA_TO_RAM 2u
#define DMA_IRQ 4u
#define IRQ_FACT 0x1u
#define IRQ_DMA 0x100u

static uint32_t bar;
static volatile uint32_t from[64], to[64];
/* mov $1, %eax; ret, and the same with 2. */
static uint8_t code[64]
    __attribute__((__aligned__(4096))) = { 0xb8, 1, 0, 0, 0, 0xc3 };
static const uint8_t other[64] = { 0xb8, 2, 0, 0, 0, 0xc3 };

static void
msi_on(uint32_t vec)
{
	uint32_t cap = cfg_read(0x34) & 0xff, ctrl;

	while (cap != 0 && (cfg_read(cap) & 0xff) != 5)
		cap = cfg_read(cap) >> 8 & 0xff;
	check(cap != 0, "MSI");
	ctrl = cfg_read(cap);
	cfg_write(cap + 4, LAPIC);
	cfg_write(cap + 8, (ctrl & 0x800000u) != 0 ? 0 : vec);
	if ((ctrl & 0x800000u) != 0)
		cfg_write(cap + 12, vec);
	cfg_write(cap, ctrl | 0x10000u);
	check((cfg_read(cap) & 0x10000u) != 0, "MSI stays on");
}

static void
wait_irq(uint32_t count, uint32_t cause)
{
	while (ticks[0] < count)
		__asm__ volatile("sti; hlt; cli");
	check((M32(bar + 0x24) & cause) != 0, "the interrupt's cause");
	M32(bar + 0x64) = cause;
	check(M32(bar + 0x24) == 0, "the interrupt is acknowledged");
}

static void
dma(uint32_t src, uint32_t dst, uint32_t count, uint32_t cmd)
{
	M32(bar + 0x80) = src;
	M32(bar + 0x88) = dst;
	M32(bar + 0x90) = count;
	M32(bar + 0x98) = cmd | DMA_START;
}

static uint32_t
call_code(void)
{
	return (((uint32_t(*)(void))(uintptr_t)code)());
}

static void
hex(uint32_t v)
{
	for (int i = 28; i >= 0; i -= 4)
		outb(COM1, (uint8_t) "0123456789abcdef"[v >> i & 15]);
	say("\n");
}

void
guest_main(void)
{
	uint32_t i;

	__asm__ volatile("cli");
	start(EDU);
	bar = cfg_read(0x10) & ~15u;
	check(bar != 0, "BAR0");
	check(M32(bar) == ID, "identification");
	M32(bar + 4) = 0x12345678;
	check(M32(bar + 4) == ~0x12345678u, "liveness");
	say("registers\n");

	msi_on(0x41);
	M32(bar + 0x20) = 0x80;
	M32(bar + 8) = 10;
	wait_irq(1, IRQ_FACT);
	check(M32(bar + 8) == 3628800, "factorial");
	say("MSI\n");

	for (i = 0; i < 64; i++)
		from[i] = i * 0x01010101u + 7;
	dma((uintptr_t)from, BUFFER, sizeof(from), DMA_IRQ);
	wait_irq(2, IRQ_DMA);
	dma(BUFFER, (uintptr_t)to, sizeof(to), DMA_IRQ | DMA_TO_RAM);
	wait_irq(3, IRQ_DMA);
	for (i = 0; i < 64; i++)
		check(to[i] == from[i], "what DMA brought");
	say("DMA\n");

	check(call_code() == 1 && call_code() == 1, "the code as it was");
	dma((uintptr_t)other, BUFFER, sizeof(other), DMA_IRQ);
	wait_irq(4, IRQ_DMA);
	dma(BUFFER, (uintptr_t)code, sizeof(code), DMA_IRQ | DMA_TO_RAM);
	wait_irq(5, IRQ_DMA);
	check(call_code() == 2, "code that DMA brought");
	say("code\n");

	/* With the bus mastering off, nothing comes. */
	cfg_write(4, cfg_read(4) & ~4u);
	check((cfg_read(4) & 7) == 3, "the command register");
	M32(bar + 8) = 3;
	for (i = 0; i < 1000 && (M32(bar + 0x20) & 1) != 0; i++)
		;
	check(ticks[0] == 5, "no message without bus mastering");
	cfg_write(4, cfg_read(4) | 4u);

	/* Another place for the BAR. */
	cfg_write(4, cfg_read(4) & ~2u);
	cfg_write(0x10, 0xd0000000u);
	cfg_write(4, cfg_read(4) | 2u);
	check(M32(0xd0000000u) == ID, "the BAR at its new place");
	check(M32(bar) == 0xffffffffu, "nothing at its old place");
	bar = 0xd0000000u;
	say("PASS\n");
	for (;;) {
		hex(M32(bar));
		for (i = 0; i < 200000; i++)
			__asm__ volatile("pause");
	}
}
