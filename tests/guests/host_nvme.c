/*
 * A driver of an NVM Express controller, passed through in slot 3: identifies
 * it by its admin queue, with MSI-X, and with the vector masked meanwhile.
 * Says the controller's serial number and PASS.
 */
#include "vguest.h"

#define NVME 0x00101b36u /* QEMU's */
#define CC 0x14
#define CSTS 0x1c
#define AQA 0x24
#define ASQ 0x28
#define ACQ 0x30
#define DOORBELL 0x1000
#define ENTRIES 8

static uint32_t bar, table, tail;
static uint32_t sq[ENTRIES][16] __attribute__((__aligned__(4096)));
static volatile uint32_t cq[ENTRIES][4] __attribute__((__aligned__(4096)));
static uint8_t data[4096] __attribute__((__aligned__(4096)));

/* Identify Controller, into data. */
static void
submit(void)
{
	uint32_t *cmd = sq[tail];

	for (int i = 0; i < 16; i++)
		cmd[i] = 0;
	cmd[0] = 6 | tail << 16;
	cmd[6] = (uint32_t)(uintptr_t)data;
	cmd[10] = 1;
	__sync_synchronize();
	tail++;
	M32(bar + DOORBELL) = tail;
}

static void
completed(uint32_t n)
{
	/* Phase 1, status 0: the first time round the queue. */
	while ((cq[n][3] & 0x10000u) == 0)
		__asm__ volatile("pause");
	check(cq[n][3] >> 17 == 0 && (cq[n][3] & 0xffff) == n, "completion");
	M32(bar + DOORBELL + 4) = n + 1;
}

static void
find_table(void)
{
	uint32_t cap = cfg_read(0x34) & 0xff;

	while (cap != 0 && (cfg_read(cap) & 0xff) != 0x11)
		cap = cfg_read(cap) >> 8 & 0xff;
	check(cap != 0, "MSI-X");
	check((cfg_read(cap + 4) & 7) == 0, "the table is in BAR0");
	table = bar + (cfg_read(cap + 4) & ~7u);
}

void
guest_main(void)
{
	__asm__ volatile("cli");
	start(NVME);
	bar = cfg_read(0x10) & ~15u;
	check(bar != 0 && cfg_read(0x14) == 0, "BAR0");
	find_table();
	check(M32(table + 12) == 1, "vectors begin masked");
	msix_entry(table, 0, 0x41, 0);
	msix_on();
	check(M32(table) == LAPIC && M32(table + 8) == 0x41, "the table");

	M32(bar + CC) = 0;
	while ((M32(bar + CSTS) & 1) != 0)
		;
	M32(bar + AQA) = (ENTRIES - 1) << 16 | (ENTRIES - 1);
	M32(bar + ASQ) = (uint32_t)(uintptr_t)sq;
	M32(bar + ASQ + 4) = 0;
	M32(bar + ACQ) = (uint32_t)(uintptr_t)cq;
	M32(bar + ACQ + 4) = 0;
	M32(bar + CC) = 4u << 20 | 6u << 16 | 1;
	while ((M32(bar + CSTS) & 1) == 0)
		;
	say("enabled\n");

	submit();
	while (ticks[0] < 1)
		__asm__ volatile("sti; hlt; cli");
	completed(0);
	check(data[24] == 'Q' && data[25] == 'E', "the model's name");
	say("MSI-X ");
	for (int i = 4; i < 24 && data[i] != ' '; i++)
		outb(COM1, data[i]);
	say("\n");

	/* What comes while the vector is masked waits. */
	M32(table + 12) = 1;
	submit();
	completed(1);
	__asm__ volatile("sti; nop; cli");
	check(ticks[0] == 1, "a masked vector is silent");
	submit();
	completed(2);
	M32(table + 12) = 0;
	submit();
	while (ticks[0] < 2)
		__asm__ volatile("sti; hlt; cli");
	completed(3);
	say("PASS\n");
}
