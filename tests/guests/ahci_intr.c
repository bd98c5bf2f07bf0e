/*
 * A driver of AHCI in slot 3 with disks at ports 0 and 1, by each way in
 * which it interrupts: the 8259s, the I/O APIC, one message, fewer messages
 * than the eight that are offered (the HBA then uses one), and all eight: one
 * a port.  Both disks are read at once, sectors that begin with their number
 * and, from port 1, those bits inverted.  Says PASS.
 */
#include "vguest.h"

#define ROUNDS 100u
#define PORTS 2
#define INTX_VECTOR 0x43
#define MSI_VECTOR 0x48 /* + port, with eight messages */

#define GHC 0x04
#define GHC_IE 0x2u
#define GHC_MRSM 0x4u
#define GHC_AE 0x80000000u
#define IS 0x08
#define PX(p) (0x100u + 0x80u * (p))
#define PXCLB 0x00
#define PXFB 0x08
#define PXIS 0x10
#define PXIE 0x14
#define PXCMD 0x18
#define PXCMD_START 0x17u /* spun up, powered, receives FISes, runs */
#define PXTFD 0x20
#define PXSERR 0x30
#define PXCI 0x38

static const struct {
	const char *name;
	int messages; /* log2; -1: the pin */
	uint16_t lines;
	uint32_t vector;
} ways[] = {
	{ "8259", -1, 1, 0 },
	{ "IOAPIC", -1, 0, INTX_VECTOR },
	{ "one message", 0, 0, 0 },
	{ "two messages", 1, 0, 0 },
	{ "eight messages", 3, 0, 0 },
};

static struct {
	uint32_t list[256];
	uint32_t fis[64];
	uint32_t table[64];
	volatile uint32_t data[128];
} port[PORTS] __attribute__((__aligned__(4096)));
static uint32_t bar;
static int both; /* one vector is for both ports */
static volatile uint32_t strange;

struct frame;

static void
claim(uint32_t p)
{
	uint32_t is = M32(bar + PX(p) + PXIS);

	if (is == 0)
		return;
	M32(bar + PX(p) + PXIS) = is;
	M32(bar + IS) = 1u << p;
	ticks[p]++;
}

static void
claim_all(void)
{
	for (uint32_t p = 0; p < PORTS; p++)
		claim(p);
}

__attribute__((__interrupt__)) static void
from_pic(struct frame *frame)
{
	(void)frame;
	claim_all();
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
}

__attribute__((__interrupt__)) static void
from_apic(struct frame *frame)
{
	(void)frame;
	claim_all();
	LAPIC_EOI();
}

__attribute__((__interrupt__)) static void
from_port0(struct frame *frame)
{
	(void)frame;
	if (both)
		claim_all();
	else
		claim(0);
	LAPIC_EOI();
}

__attribute__((__interrupt__)) static void
from_port1(struct frame *frame)
{
	(void)frame;
	if (both)
		strange++;
	claim(1);
	LAPIC_EOI();
}

static void
choose(unsigned int way)
{
	int messages = ways[way].messages;
	uint16_t ctrl;

	both = messages < 3;
	ctrl = msi_set(messages >= 0, MSI_VECTOR, messages < 0 ? 0 : messages);
	check((ctrl & 0x8e) == 0x86, "64 bits, eight messages");
	check((ctrl >> 4 & 7) == (messages < 0 ? 0 : messages), "granted");
	check(((M32(bar + GHC) & GHC_MRSM) != 0) == (messages == 1), "MRSM");
	pic_set(
	    ways[way].lines == 0 ? 0 : (uint16_t)(1u << (cfg_read(0x3c) & 15)));
	ioapic_set(ways[way].vector);
}

static void
bring_up(void)
{
	M32(bar + GHC) = GHC_AE | 1; /* reset */
	while ((M32(bar + GHC) & 1) != 0)
		;
	for (uint32_t p = 0; p < PORTS; p++) {
		M32(bar + PX(p) + PXCLB) = (uint32_t)(uintptr_t)port[p].list;
		M32(bar + PX(p) + PXCLB + 4) = 0;
		M32(bar + PX(p) + PXFB) = (uint32_t)(uintptr_t)port[p].fis;
		M32(bar + PX(p) + PXFB + 4) = 0;
		M32(bar + PX(p) + PXSERR) = ~0u;
		M32(bar + PX(p) + PXCMD) = PXCMD_START & ~1u;
		while ((M32(bar + PX(p) + PXTFD) & 0x88) != 0)
			;
		M32(bar + PX(p) + PXCMD) = PXCMD_START;
		M32(bar + PX(p) + PXIS) = ~0u;
		M32(bar + PX(p) + PXIE) = 1; /* a register FIS came */
	}
	M32(bar + IS) = ~0u;
	M32(bar + GHC) = GHC_AE | GHC_IE;
}

static void
submit(uint32_t p, uint32_t sector)
{
	uint32_t *table = port[p].table;

	port[p].data[0] = 0x5a5a5a5a;
	table[0] = 0x00258027; /* READ DMA EXT */
	table[1] = 0x40000000u | sector;
	table[2] = 0;
	table[3] = 1;
	table[32] = (uint32_t)(uintptr_t)port[p].data;
	table[33] = table[34] = 0;
	table[35] = 511;
	port[p].list[0] = 5 | 1u << 16;
	port[p].list[1] = 0;
	port[p].list[2] = (uint32_t)(uintptr_t)table;
	port[p].list[3] = 0;
	__sync_synchronize();
	M32(bar + PX(p) + PXCI) = 1;
}

static void
read_both(void)
{
	for (uint32_t i = 0; i < ROUNDS; i++) {
		__asm__ volatile("cli");
		ticks[0] = ticks[1] = 0;
		submit(0, i);
		submit(1, ROUNDS - i);
		while (ticks[0] == 0 || ticks[1] == 0)
			__asm__ volatile("sti; hlt; cli");
		check(ticks[0] == 1 && ticks[1] == 1, "one each");
		for (uint32_t p = 0; p < PORTS; p++) {
			check((M32(bar + PX(p) + PXCI) & 1) == 0, "done");
			check((M32(bar + PX(p) + PXTFD) & 0x89) == 0, "status");
			check(port[p].list[1] == 512, "bytes");
		}
		check(port[0].data[0] == i, "port 0");
		check(port[1].data[0] == ~(ROUNDS - i), "port 1");
	}
	check(strange == 0, "the message of a port that has none");
}

void
guest_main(void)
{
	start(0x28218086);
	bar = cfg_read(0x24) & ~15u;
	for (int i = 0; i < 16; i++)
		gate(PIC_VECTOR + i, (void (*)(void))from_pic);
	gate(INTX_VECTOR, (void (*)(void))from_apic);
	gate(MSI_VECTOR, (void (*)(void))from_port0);
	gate(MSI_VECTOR + 1, (void (*)(void))from_port1);
	for (unsigned int w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
		choose(w);
		bring_up();
		read_both();
		say("WAY ");
		say(ways[w].name);
		say("\n");
	}
	say("PASS\n");
}
