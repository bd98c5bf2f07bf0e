/*
 * Tests of the timers and the clock of csrc/vmm/io against the faked
 * core of chips_fake.h.  Built and run by test_chips.py; prints one line a
 * failed check.
 */
#include "chips_fake.h"

/* ---- PIT ---- */
static void
test_pit(void)
{
	struct vdi_atpit_v1 data;
	uint32_t lo, hi;
	int n, count;

	setup();
	pic_setup();
	/* 100 Hz on channel 0 */
	outb(vatpit_handler, 0x43, 0x34);
	outb(vatpit_handler, 0x40, 11932 & 0xff);
	outb(vatpit_handler, 0x40, 11932 >> 8);
	for (count = n = 0; n < 100000; n++) {
		advance(MS / 10);
		if (pic_take() == 0x20) {
			count++;
			outb(vatpic_master_handler, 0x20, 0x20);
		}
	}
	CHECK(count == 999 || count == 1000); /* 10 s */
	CHECK(
	    vatpit_data_read(vm0.vatpit, &data, sizeof(data)) == sizeof(data));
	CHECK(
	    vatpit_data_write(vm0.vatpit, &data, sizeof(data)) == sizeof(data));
	data.channel[1].mode = 6;
	CHECK(vatpit_data_write(vm0.vatpit, &data, sizeof(data)) < 0);
	/* latch and read-back */
	outb(vatpit_handler, 0x43, 0x00);
	lo = inb(vatpit_handler, 0x40);
	hi = inb(vatpit_handler, 0x40);
	CHECK((hi << 8 | lo) <= 11932 && (hi << 8 | lo) > 0);
	outb(vatpit_handler, 0x43, 0xe2);
	CHECK((inb(vatpit_handler, 0x40) & 0x7f) == 0x34);
	/* one-shot: a single edge */
	outb(vatpit_handler, 0x43, 0x30);
	outb(vatpit_handler, 0x40, 0x00);
	outb(vatpit_handler, 0x40, 0x10);
	for (count = n = 0; n < 1000; n++) {
		advance(MS / 10);
		if (pic_take() == 0x20) {
			count++;
			outb(vatpic_master_handler, 0x20, 0x20);
		}
	}
	CHECK(count == 1);
	/* a new count in mode 2 waits for the period's end */
	outb(vatpit_handler, 0x43, 0x34);
	outb(vatpit_handler, 0x40, 0xff);
	outb(vatpit_handler, 0x40, 0xff);
	advance(10 * MS);
	outb(vatpit_handler, 0x40, 1193 & 0xff);
	outb(vatpit_handler, 0x40, 1193 >> 8);
	advance(40 * MS);
	CHECK(pic_take() == -1);
	advance(10 * MS);
	CHECK(pic_take() == 0x20);
	outb(vatpic_master_handler, 0x20, 0x20);
	for (count = n = 0; n < 1000; n++) {
		advance(MS / 10);
		if (pic_take() == 0x20) {
			count++;
			outb(vatpic_master_handler, 0x20, 0x20);
		}
	}
	/* 100 ms, and what waited behind the first */
	CHECK(count >= 103 && count <= 106);
	teardown();
}

/* The ways in which Linux measures its TSC: gate, count, wait for OUT. */
static void
test_pit_calibration(void)
{
	int64_t start;
	uint32_t prev, cur;

	setup();
	outb(vatpit_nmisc_handler, 0x61, 0x01);
	outb(vatpit_handler, 0x43, 0xb0);
	outb(vatpit_handler, 0x42, 59659 & 0xff);
	outb(vatpit_handler, 0x42, 59659 >> 8);
	start = now_ns;
	CHECK((inb(vatpit_nmisc_handler, 0x61) & 0x20) == 0);
	while ((inb(vatpit_nmisc_handler, 0x61) & 0x20) == 0)
		advance(100);
	CHECK(llabs((now_ns - start) - 50000000) < 50000);
	/* The high byte counts down without gaps. */
	outb(vatpit_handler, 0x43, 0xb0);
	outb(vatpit_handler, 0x42, 0xff);
	outb(vatpit_handler, 0x42, 0xff);
	prev = 0xff;
	start = now_ns;
	while (now_ns - start < 20 * MS) {
		inb(vatpit_handler, 0x42);
		cur = inb(vatpit_handler, 0x42);
		CHECK(cur == prev || cur == prev - 1);
		prev = cur;
		advance(2000);
	}
	CHECK(llabs((int64_t)(0xff - prev) * 256 * 1000000 / 1193 - 20 * MS) <
	    MS / 2);
	/* The gate stops mode 0. */
	outb(vatpit_nmisc_handler, 0x61, 0x00);
	inb(vatpit_handler, 0x42);
	cur = inb(vatpit_handler, 0x42);
	advance(10 * MS);
	inb(vatpit_handler, 0x42);
	CHECK(inb(vatpit_handler, 0x42) == cur);
	/* The refresh bit toggles every 15 us. */
	prev = inb(vatpit_nmisc_handler, 0x61) & 0x10;
	advance(15090);
	CHECK((inb(vatpit_nmisc_handler, 0x61) & 0x10) != prev);
	/* BCD */
	outb(vatpit_nmisc_handler, 0x61, 0x01);
	outb(vatpit_handler, 0x43, 0xb1);
	outb(vatpit_handler, 0x42, 0x00);
	outb(vatpit_handler, 0x42, 0x10);
	advance(100 * 1000000 / 1193); /* 100 clocks */
	cur = inb(vatpit_handler, 0x42);
	cur |= inb(vatpit_handler, 0x42) << 8;
	CHECK(cur >= 0x898 && cur <= 0x903 && (cur & 0xf) <= 9);
	teardown();
}

static void
test_pit_sleep(void)
{
	int n;

	setup();
	outb(vatpit_handler, 0x43, 0x34);
	outb(vatpit_handler, 0x40, 1193 & 0xff);
	outb(vatpit_handler, 0x40, 1193 >> 8);
	advance(10 * MS);
	now_ns += 3600 * SEC;
	CHECK(advance(100 * MS) < 150);
	/* A short stall is made up for. */
	now_ns += 10 * MS;
	n = advance(90 * MS);
	CHECK(n >= 99 && n <= 101);
	teardown();
}

static int
ticks_of_pic(int ms)
{
	int i, n;

	for (i = n = 0; i < ms * 20; i++) {
		advance(MS / 20);
		if (pic_take() == 0x20) {
			n++;
			outb(vatpic_master_handler, 0x20, 0x20);
		}
	}
	return (n);
}

static int
ticks_of_lapic(int ms)
{
	int i, n;

	for (i = n = 0; i < ms * 20; i++) {
		advance(MS / 20);
		if (take(0) == 0x30) {
			n++;
			lapic_w(0, 0xb0, 0);
		}
	}
	return (n);
}

/* A vCPU that is away finds the ticks of that time, whichever chip has them. */
static void
test_pit_starved(void)
{
	int n;

	setup();
	lapic_on();
	pic_setup();
	outb(vatpit_handler, 0x43, 0x34);
	outb(vatpit_handler, 0x40, 1193 & 0xff);
	outb(vatpit_handler, 0x40, 1193 >> 8);
	n = ticks_of_pic(20);
	CHECK(n >= 19 && n <= 20);
	advance(20 * MS);
	n = ticks_of_pic(20);
	CHECK(n >= 39 && n <= 41);
	/* No more than so many: the others are dropped, the pace is kept. */
	advance(2 * SEC);
	n = ticks_of_pic(20);
	CHECK(n >= 20 && n <= 54);
	n = ticks_of_pic(20);
	CHECK(n >= 19 && n <= 21);
	/* The 8259 is left with its request; the I/O APIC has the guest's ear.
	 */
	advance(5 * MS);
	rte(2, 0x0000000000000030ull);
	n = ticks_of_lapic(20);
	CHECK(n >= 19 && n <= 26);
	/* Masked, it says nothing, and the I/O APIC holds a tick by itself. */
	outb(vatpic_master_handler, 0x21, 0xff);
	n = ticks_of_lapic(20);
	CHECK(n >= 19 && n <= 21);
	advance(20 * MS);
	n = ticks_of_lapic(20);
	CHECK(n >= 39 && n <= 41);
	/* Nobody listens: time goes on without a debt. */
	rte(2, 0x0000000000010030ull);
	advance(50 * MS);
	rte(2, 0x0000000000000030ull);
	n = ticks_of_lapic(20);
	CHECK(n >= 19 && n <= 21);
	/* A new count takes over at its period's end, request or not. */
	advance(5 * MS);
	outb(vatpit_handler, 0x40, 11932 & 0xff);
	outb(vatpit_handler, 0x40, 11932 >> 8);
	advance(2 * MS);
	CHECK(take(0) == 0x30);
	lapic_w(0, 0xb0, 0);
	n = ticks_of_lapic(100);
	CHECK(n >= 9 && n <= 11);
	teardown();
}

/* ---- HPET ---- */
static uint64_t
hpet_r(unsigned int off)
{
	uint64_t val;

	vhpet_mmio_read(&vm0.vcpu[0], VHPET_BASE + off, &val, 8);
	return (val);
}

static void
hpet_w(unsigned int off, uint64_t val)
{
	vhpet_mmio_write(&vm0.vcpu[0], VHPET_BASE + off, val, 8);
}

static void
test_hpet(void)
{
	struct vdi_hpet_v1 data;
	uint64_t val;
	int i;

	setup();
	lapic_on();
	CHECK(hpet_r(0) == (59604644ull << 32 | 0x80860701));
	CHECK(hpet_r(0x100) == 0xff00000000008030ull - 0x20);
	CHECK(hpet_r(0xf0) == 0);
	advance(SEC);
	CHECK(hpet_r(0xf0) == 0);
	hpet_w(0x10, 1);
	advance(SEC);
	CHECK(hpet_r(0xf0) == 16777216);
	vhpet_mmio_read(&vm0.vcpu[0], VHPET_BASE + 0xf4, &val, 4);
	CHECK(val == 0);
	/* one-shot, edge, pin 25 */
	rte(25, 0x0000000000000070ull);
	hpet_w(0x100, 25 << 9 | 0x4);
	hpet_w(0x108, hpet_r(0xf0) + 16777216 / 100);
	advance(9 * MS);
	CHECK(take(0) == -1);
	advance(2 * MS);
	CHECK(take(0) == 0x70);
	lapic_w(0, 0xb0, 0);
	advance(10 * SEC);
	CHECK(take(0) == -1);
	hpet_w(0x100, 0);
	/* periodic by message, the way Linux sets it up */
	hpet_w(0x130, 0xfee00000ull << 32 | 0x71);
	hpet_w(0x120, 0x4000 | 0x40 | 0x8 | 0x4);
	hpet_w(0x128, (uint32_t)(hpet_r(0xf0) + 16777));
	hpet_w(0x128, 16777);
	msi_count = 0;
	advance(SEC);
	CHECK(msi_count == 1000);
	CHECK(msi_addr == 0xfee00000 && msi_data == 0x71);
	/* a sleep */
	now_ns += 3600 * SEC;
	msi_count = 0;
	advance(100 * MS);
	CHECK(msi_count < 150);
	hpet_w(0x120, 0);
	msi_count = 0;
	advance(SEC);
	CHECK(msi_count == 0);
	/* level, pin 26 */
	rte(26, 0x0000000000008072ull);
	hpet_w(0x140, 26 << 9 | 0x4 | 0x2);
	hpet_w(0x148, hpet_r(0xf0) + 1000);
	advance(MS);
	CHECK(hpet_r(0x20) == 4);
	CHECK(take(0) == 0x72);
	hpet_w(0x20, 4);
	CHECK(hpet_r(0x20) == 0);
	lapic_w(0, 0xb0, 0);
	CHECK(take(0) == -1);
	/* state */
	CHECK(vhpet_data_read(vm0.vhpet, &data, sizeof(data)) == sizeof(data));
	CHECK(vhpet_data_write(vm0.vhpet, &data, sizeof(data)) == sizeof(data));
	data.timers[0].config = ~0ull;
	CHECK(vhpet_data_write(vm0.vhpet, &data, sizeof(data)) < 0);
	/* every register and size, for the sanitizers */
	for (i = 0; i < 1024; i++) {
		vhpet_mmio_read(
		    &vm0.vcpu[0], VHPET_BASE + (unsigned)i, &val, 1 << (i % 4));
		vhpet_mmio_write(&vm0.vcpu[0], VHPET_BASE + (unsigned)i, ~0ull,
		    1 << (i % 4));
	}
	advance(MS);
	teardown();
}

/* ---- RTC ---- */
static uint32_t
rtc_r(uint32_t reg)
{
	outb(vrtc_addr_handler, 0x70, reg);
	return (inb(vrtc_data_handler, 0x71));
}

static void
rtc_w(uint32_t reg, uint32_t val)
{
	outb(vrtc_addr_handler, 0x70, reg);
	outb(vrtc_data_handler, 0x71, val);
}

static void
test_rtc(void)
{
	struct vdi_rtc_v1 data;
	struct timespec ts = { 0, 0 };
	uint8_t byte;
	uint32_t reg;
	int n, count;

	setup();
	pic_setup();
	CHECK(llabs(vrtc_get_time(&vm0) - time(NULL)) <= 1);
	/* 2024-02-29 23:59:58, a Thursday */
	CHECK(vrtc_set_time(&vm0, 1709251198) == 0);
	CHECK(rtc_r(9) == 0x24 && rtc_r(8) == 0x02 && rtc_r(7) == 0x29);
	CHECK(rtc_r(0x32) == 0x20 && rtc_r(6) == 0x05 && rtc_r(4) == 0x23);
	CHECK(rtc_r(2) == 0x59 && (rtc_r(0) == 0x58 || rtc_r(0) == 0x59));
	/* binary, 12 hours */
	rtc_w(0xb, 0x04);
	CHECK(rtc_r(9) == 24 && rtc_r(4) == (0x80 | 11) && rtc_r(2) == 59);
	rtc_w(0xb, 0x02);
	/* set with SET held: year 9999 */
	rtc_w(0xb, 0x82);
	rtc_w(0x32, 0x99);
	rtc_w(9, 0x99);
	rtc_w(8, 0x12);
	rtc_w(7, 0x31);
	rtc_w(4, 0x10);
	rtc_w(2, 0x30);
	rtc_w(0, 0x15);
	rtc_w(0xb, 0x02);
	CHECK(rtc_r(0x32) == 0x99 && rtc_r(7) == 0x31 && rtc_r(0) == 0x15);
	CHECK(vrtc_get_time(&vm0) == 253402252215);
	/* nonsense stands still and harms nobody */
	rtc_w(8, 0x55);
	CHECK(rtc_r(8) == 0x55);
	rtc_w(8, 0x12);
	CHECK(rtc_r(8) == 0x12 && rtc_r(9) == 0x99);
	/* periodic 1024 Hz */
	rtc_w(0xb, 0x42);
	for (count = n = 0; n < 20000; n++) {
		advance(50000);
		if (pic_take() == 0x28) {
			count++;
			CHECK((rtc_r(0xc) & 0xc0) == 0xc0);
			outb(vatpic_slave_handler, 0xa0, 0x20);
			outb(vatpic_master_handler, 0x20, 0x20);
		}
	}
	CHECK(count == 1023 || count == 1024);
	rtc_w(0xb, 0x02);
	rtc_r(0xc);
	/* periodic flag by polling */
	advance(MS);
	CHECK(rtc_r(0xc) & 0x40);
	CHECK((rtc_r(0xc) & 0x40) == 0);
	/* update and alarm, in real time */
	vrtc_set_time(&vm0, 1709251198);
	rtc_w(1, 0xff);
	rtc_w(3, 0xff);
	rtc_w(5, 0xff);
	rtc_r(0xc);
	rtc_w(0xb, 0x32);
	for (n = 0; n < 130 && pic_take() != 0x28; n++) {
		ts.tv_nsec = 10 * MS;
		nanosleep(&ts, NULL);
		advance(10 * MS);
	}
	CHECK(n >= 90 && n <= 115);
	CHECK((rtc_r(0xc) & 0xb0) == 0xb0);
	rtc_w(0xb, 0x02);
	/* NVRAM */
	CHECK(vrtc_nvram_write(&vm0, 0x34, 0x12) == 0 && rtc_r(0x34) == 0x12);
	CHECK(vrtc_nvram_write(&vm0, 0x0a, 1) == EINVAL);
	CHECK(vrtc_nvram_write(&vm0, 0x32, 1) == EINVAL);
	CHECK(vrtc_nvram_write(&vm0, 128, 1) == EINVAL);
	CHECK(vrtc_nvram_read(&vm0, 0x34, &byte) == 0 && byte == 0x12);
	CHECK(rtc_r(0xd) == 0x80);
	CHECK(vrtc_data_read(vm0.vrtc, &data, sizeof(data)) == sizeof(data));
	CHECK(vrtc_data_write(vm0.vrtc, &data, sizeof(data)) == sizeof(data));
	data.offset_nsec = 1000000000;
	CHECK(vrtc_data_write(vm0.vrtc, &data, sizeof(data)) < 0);
	/* every date round trips */
	for (reg = 0; reg < 4000; reg++) {
		time_t t = -62167219200LL + (time_t)reg * 78892315;

		vrtc_set_time(&vm0, t);
		CHECK(llabs(vrtc_get_time(&vm0) - t) <= 1);
		rtc_w(0xb, 0x82);
		rtc_w(0xb, 0x02);
		CHECK(llabs(vrtc_get_time(&vm0) - t) <= 1);
	}
	teardown();
}

static void
test_pmtmr(void)
{
	uint32_t a, b;

	setup();
	CHECK(vpmtmr_ioport(&vm0) == 0x408);
	CHECK(vpmtmr_handler(&vm0, true, 0x408, 4, &a) == 0);
	advance(SEC);
	CHECK(vpmtmr_handler(&vm0, true, 0x408, 4, &b) == 0);
	CHECK(b - a == 3579545);
	CHECK(vpmtmr_handler(&vm0, true, 0x408, 1, &b) != 0);
	CHECK(vpmtmr_handler(&vm0, false, 0x408, 4, &b) != 0);
	CHECK(vpmtmr_set_ioport(&vm0, 0) == EINVAL);
	teardown();
}

/* Random accesses to all chips: nothing may break (run with sanitizers). */
static void
test_noise(void)
{
	static const int ports[] = { 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1 };
	unsigned int seed = 12345, r, p;
	uint64_t val;
	uint32_t eax;
	int i;

	setup();
	lapic_on();
	for (i = 0; i < 300000; i++) {
		seed = seed * 1103515245 + 12345;
		r = seed >> 8;
		eax = seed * 2654435761u;
		switch (r % 8) {
		case 0:
			p = r / 8 % 6;
			(p < 2		? vatpic_master_handler
				: p < 4 ? vatpic_slave_handler
					: vatpic_elc_handler)(
			    &vm0, r & 64, ports[p], 1, &eax);
			break;
		case 1:
			vatpit_handler(&vm0, r & 64, 0x40 + r / 8 % 4, 1, &eax);
			vatpit_nmisc_handler(&vm0, r & 128, 0x61, 1, &eax);
			break;
		case 2:
			rtc_w(r / 8 % 14, eax & 0xff);
			rtc_r(eax & 0x7f);
			break;
		case 3:
			vhpet_mmio_write(&vm0.vcpu[0],
			    VHPET_BASE + (r / 8 % 1024 & ~3u), eax, 4);
			break;
		case 4:
			ioapic_w(r / 8 & 0xff, eax);
			break;
		case 5:
			/* Keep the APICs on most of the time. */
			lapic_w(r / 8 % NCPU, (eax >> 8) & 0xff0, seed);
			lapic_w(r / 8 % NCPU, 0xf0, 0x1ff);
			vlapic_msr_write(
			    vm0.vcpu[0].vlapic, 0x800 + (eax & 0x3f), seed);
			vlapic_mmio_read(
			    vm0.vcpu[1].vlapic, eax & 0xfff, &val, 4);
			break;
		case 6:
			if (r & 64)
				vioapic_pulse_irq(&vm0, (int)(r / 128 % 33));
			else
				vatpic_pulse_irq(&vm0, (int)(r / 128 % 17));
			break;
		default:
			advance(r % 100000);
			take((int)(r / 8 % NCPU));
			pic_take();
			break;
		}
	}
	CHECK(i == 300000);
	teardown();
}

int
main(void)
{
	test_pit();
	test_pit_calibration();
	test_pit_sleep();
	test_pit_starved();
	test_hpet();
	test_rtc();
	test_pmtmr();
	test_noise();
	printf("%d checks, %d failures\n", checks, failures);
	return (failures != 0);
}
