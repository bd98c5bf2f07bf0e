/*
 * Rows that concern the transport's registers (V09, V10, V18, V19).
 */
#include <stdio.h>

#include "virtio_hostile.h"

#define BLK_CONFIG 60 /* bytes of virtio-blk's configuration */

void
odd_registers(void)
{
	static const int sizes[] = { 1, 2, 4 };
	uint64_t off;
	int bar, i;

	for (bar = 0; bar < 6; bar++) {
		if (d->pi->pi_bar[bar].type == PCIBAR_NONE)
			continue;
		for (off = 0; off < d->pi->pi_bar[bar].size; off++) {
			for (i = 0; i < 3; i++)
				bar_in(d->pi, bar, off, sizes[i]);
		}
	}
	drv_start(d, ~0UL, 1);
	for (bar = 0; bar < 6; bar++) {
		if (d->pi->pi_bar[bar].type == PCIBAR_NONE)
			continue;
		for (off = 0; off < d->pi->pi_bar[bar].size; off++) {
			for (i = 0; i < 3; i++)
				bar_out(d->pi, bar, off, sizes[i], 0xffffffffu);
		}
	}
	drv_start(d, ~0UL, 1);
	good_read();
	if (!d->modern) {
		bar_out(d->pi, 0, 16, 2, 0xffff); /* notify */
		bar_out(d->pi, 0, 14, 2, 0xffff); /* select */
		CHECK(bar_in(d->pi, 0, 12, 2) == 0);
		bar_out(d->pi, 0, 8, 4, 0x10);
		CHECK(bar_in(d->pi, 0, 8, 4) == 0);
		CHECK(bar_in(d->pi, 0, 0, 2) == ~0U);
		/* The configuration's end: over it, and behind it. */
		CHECK(bar_in(d->pi, 0, 20 + BLK_CONFIG - 4, 4) != ~0U);
		CHECK(bar_in(d->pi, 0, 20 + BLK_CONFIG - 2, 4) == ~0U);
		CHECK(bar_in(d->pi, 0, 20 + BLK_CONFIG - 1, 2) == ~0U);
		CHECK(bar_in(d->pi, 0, 20 + BLK_CONFIG, 4) == ~0U);
	} else {
		bar_out(d->pi, 4, 0x3ffc, 2, 0xffff);
		bar_out(d->pi, 4, 22, 2, 0xffff);
		CHECK(bar_in(d->pi, 4, 24, 2) == 0);
		CHECK(bar_in(d->pi, 4, 56, 1) == ~0U); /* behind the last */
		CHECK(bar_in(d->pi, 4, 0x2000 + BLK_CONFIG - 4, 4) != ~0U);
		CHECK(bar_in(d->pi, 4, 0x2000 + BLK_CONFIG - 2, 4) == ~0U);
		CHECK(bar_in(d->pi, 4, 0x2000 + BLK_CONFIG - 1, 2) == ~0U);
		CHECK(bar_in(d->pi, 4, 0x2000 + BLK_CONFIG, 1) == ~0U);
		/* Parts of a register cannot be written. */
		bar_out(d->pi, 4, 0, 4, 1);
		bar_out(d->pi, 4, 0, 2, 0);
		bar_out(d->pi, 4, 0, 1, 0);
		CHECK(bar_in(d->pi, 4, 0, 4) == 1);
	}
	good_read();
}

void
vectors(void)
{
	int bar = d->modern ? 4 : 0, reg = d->modern ? 16 : 20;

	d->pi->pi_msix.enabled = true;
	bar_out(d->pi, bar, (uint64_t)reg, 2, 1);
	CHECK(bar_in(d->pi, bar, (uint64_t)reg, 2) == 1);
	bar_out(d->pi, bar, (uint64_t)reg, 2, 2);
	CHECK(bar_in(d->pi, bar, (uint64_t)reg, 2) == 0xffff);
	bar_out(d->pi, bar, (uint64_t)reg, 2, 0xfffe);
	CHECK(bar_in(d->pi, bar, (uint64_t)reg, 2) == 0xffff);
	drv_start(d, ~0UL, 1);
	good_read(); /* its queue has no vector: nobody is told */
	d->pi->pi_msix.enabled = false;
}

/* What was agreed on does not change while the driver works. */
void
features_stay(void)
{
	uint32_t before;

	drv_start(d, ~0UL, 1);
	if (!d->modern) {
		before = bar_in(d->pi, 0, 4, 4);
		CHECK(before != 0);
		bar_out(d->pi, 0, 4, 4, 0);
		CHECK(bar_in(d->pi, 0, 4, 4) == before);
	} else {
		bar_out(d->pi, 4, 8, 4, 0);
		before = bar_in(d->pi, 4, 12, 4);
		CHECK(before != 0);
		bar_out(d->pi, 4, 12, 4, 0);
		CHECK(bar_in(d->pi, 4, 12, 4) == before);
		/* There are two words of them. */
		bar_out(d->pi, 4, 8, 4, 2);
		bar_out(d->pi, 4, 0, 4, 2);
		CHECK(bar_in(d->pi, 4, 12, 4) == 0);
		CHECK(bar_in(d->pi, 4, 4, 4) == 0);
	}
	good_read();
}

void
modern_order(void)
{
	uint32_t size;

	drv_reset(d);
	bar_out(d->pi, 4, 20, 1, 3);
	bar_out(d->pi, 4, 28, 2, 1); /* enabled before FEATURES_OK */
	CHECK(bar_in(d->pi, 4, 28, 2) == 0);
	bar_out(d->pi, 4, 8, 4, 0);
	bar_out(d->pi, 4, 12, 4, 4);
	bar_out(d->pi, 4, 8, 4, 2); /* there is no third word */
	bar_out(d->pi, 4, 12, 4, 1);
	bar_out(d->pi, 4, 8, 4, 0);
	CHECK(bar_in(d->pi, 4, 12, 4) == 4);
	bar_out(d->pi, 4, 8, 4, 1);
	bar_out(d->pi, 4, 12, 4, ~0U); /* features that nobody offers */
	bar_out(d->pi, 4, 20, 1, 11);
	CHECK(drv_status(d) == 3);
	drv_start(d, ~0UL, 1);
	bar_out(d->pi, 4, 20, 1, 1); /* bits do not go away */
	CHECK(drv_status(d) == 15);
	bar_out(d->pi, 4, 22, 2, 0);
	size = bar_in(d->pi, 4, 24, 2);
	bar_out(d->pi, 4, 24, 2, 4); /* size and rings of a live queue */
	bar_out(d->pi, 4, 32, 4, 0x1000);
	bar_out(d->pi, 4, 52, 4, 0x1000);
	CHECK(bar_in(d->pi, 4, 24, 2) == size);
	CHECK(bar_in(d->pi, 4, 32, 4) == RING(0));
	good_read();
	drv_reset(d);
	bar_out(d->pi, 4, 22, 2, 0);
	bar_out(d->pi, 4, 24, 2, 3);
	bar_out(d->pi, 4, 24, 2, 0);
	bar_out(d->pi, 4, 24, 2, 2 * size);
	CHECK(bar_in(d->pi, 4, 24, 2) == size);
	drv_start(d, ~0UL, 1);
	good_read();
}

/* The window in configuration space reaches the registers and no more. */
void
config_window(void)
{
	int cap = d->pi->pi_prevcap;
	uint32_t val;
	size_t i;
	static const uint32_t bad[][3] = { { 4, 0x4000, 4 }, { 4, 0x3ffe, 4 },
		{ 4, 2, 4 }, { 4, 1, 2 }, { 4, 0, 3 }, { 4, 0, 0 }, { 4, 0, 8 },
		{ 4, 0xfffffffcu, 4 }, { 0, 0, 4 }, { 1, 0, 4 }, { 5, 0, 4 },
		{ 255, 0, 4 } };

	CHECK(d->pi->pi_d->pe_cfgwrite(d->pi, cap + 4, 1, 4) == 0);
	CHECK(d->pi->pi_d->pe_cfgwrite(d->pi, cap + 8, 4, 20) == 0);
	CHECK(d->pi->pi_d->pe_cfgwrite(d->pi, cap + 12, 4, 1) == 0);
	d->pi->pi_d->pe_cfgread(d->pi, cap + 16, 1, &val);
	CHECK(pci_get_cfgdata8(d->pi, cap + 16) == 15);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		d->pi->pi_d->pe_cfgwrite(d->pi, cap + 4, 1, bad[i][0]);
		d->pi->pi_d->pe_cfgwrite(d->pi, cap + 8, 4, bad[i][1]);
		d->pi->pi_d->pe_cfgwrite(d->pi, cap + 12, 4, bad[i][2]);
		d->pi->pi_d->pe_cfgwrite(d->pi, cap + 16, 4, 0xa5a5a5a5);
		/* Nothing is there to be read: the word stays. */
		d->pi->pi_d->pe_cfgread(d->pi, cap + 16, 4, &val);
		CHECK(pci_get_cfgdata32(d->pi, cap + 16) == 0xa5a5a5a5);
		d->pi->pi_d->pe_cfgwrite(d->pi, cap + 16, 4, 0);
	}
	CHECK(bar_in(d->pi, 4, 0, 4) == 1); /* drv_features() chose that */
	CHECK(drv_status(d) == 15);
	good_read();
}
