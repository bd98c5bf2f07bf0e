/*
 * Tests of the interrupt controllers of csrc/vmm/io against the faked
 * core of chips_fake.h.  Built and run by test_chips.py; prints one line a
 * failed check.
 */
#include "chips_fake.h"

/* ---- local APIC ---- */
static void
test_lapic_priority(void)
{
	struct vlapic *v;

	setup();
	v = vm0.vcpu[0].vlapic;
	CHECK(lapic_r(0, 0x30) == 0x60010);
	CHECK(lapic_r(0, 0xf0) == 0xff);
	CHECK(!vlapic_set_intr_ready(v, 0x50, false)); /* disabled */
	lapic_on();
	CHECK(take(0) == -1);
	CHECK(vlapic_set_intr_ready(v, 0x50, false));
	CHECK(!vlapic_set_intr_ready(v, 0x50, false));
	CHECK(vlapic_set_intr_ready(v, 0x61, false));
	CHECK(vlapic_set_intr_ready(v, 0x5f, true));
	CHECK(lapic_r(0, 0x200 + 0x20) == ((1u << 16) | (1u << 31)));
	CHECK(take(0) == 0x61);
	CHECK(take(0) == -1); /* 0x5f does not interrupt 0x61 */
	CHECK(lapic_r(0, 0xa0) == 0x60);
	lapic_w(0, 0xb0, 0);
	CHECK(vm0.vcpu[0].pending & VCPU_EV_EVENT);
	vlapic_set_cr8(v, 6);
	CHECK(take(0) == -1);
	vlapic_set_cr8(v, 5);
	CHECK(take(0) == -1); /* the same class does not pass */
	vlapic_set_cr8(v, 4);
	CHECK(take(0) == 0x5f);
	CHECK(lapic_r(0, 0x180 + 0x20) == 1u << 31);
	CHECK(take(0) == -1);
	lapic_w(0, 0xb0, 0);
	CHECK(take(0) == 0x50);
	lapic_w(0, 0xb0, 0);
	CHECK(take(0) == -1);
	teardown();
}

static void
test_lapic_errors(void)
{
	setup();
	lapic_on();
	lapic_w(0, 0x370, 0xfe);
	lapic_w(0, 0x300, 0x05); /* fixed with vector 5 */
	CHECK(take(0) == 0xfe);
	lapic_w(0, 0xb0, 0);
	CHECK(lapic_r(0, 0x280) == 0);
	lapic_w(0, 0x280, 0);
	CHECK(lapic_r(0, 0x280) == 0x20);
	lapic_r(0, 0x40);
	lapic_w(0, 0x280, 0);
	CHECK(lapic_r(0, 0x280) == 0x80);
	lapic_w(0, 0x280, 0);
	CHECK(lapic_r(0, 0x280) == 0);
	teardown();
}

static void
test_lapic_ipi(void)
{
	int i;

	setup();
	lapic_on();
	/* physical */
	lapic_w(0, 0x310, 2u << 24);
	lapic_w(0, 0x300, 0x4040);
	CHECK(take(2) == 0x40 && take(1) == -1 && take(0) == -1);
	lapic_w(2, 0xb0, 0);
	/* all but self */
	lapic_w(1, 0x300, 0xc4041);
	CHECK(take(0) == 0x41 && take(1) == -1 && take(2) == 0x41 &&
	    take(3) == 0x41);
	for (i = 0; i < NCPU; i++)
		lapic_w(i, 0xb0, 0);
	/* self */
	lapic_w(1, 0x300, 0x44042);
	CHECK(take(1) == 0x42 && take(0) == -1);
	lapic_w(1, 0xb0, 0);
	/* flat logical */
	for (i = 0; i < NCPU; i++)
		lapic_w(i, 0xd0, 1u << (24 + i));
	lapic_w(0, 0x310, 0x0a000000);
	lapic_w(0, 0x300, 0x4843);
	CHECK(take(0) == -1 && take(1) == 0x43 && take(2) == -1 &&
	    take(3) == 0x43);
	lapic_w(1, 0xb0, 0);
	lapic_w(3, 0xb0, 0);
	/* lowest priority: CPU 1 is busier than 3 */
	lapic_w(1, 0x80, 0x30);
	lapic_w(0, 0x300, 0x4944);
	CHECK(take(1) == -1 && take(3) == 0x44);
	lapic_w(3, 0xb0, 0);
	lapic_w(1, 0x80, 0);
	/* cluster model: clusters 1 and 2 of two each */
	for (i = 0; i < NCPU; i++) {
		lapic_w(i, 0xe0, 0x0fffffff);
		lapic_w(
		    i, 0xd0, (uint32_t)((i / 2 + 1) << 4 | 1 << (i % 2)) << 24);
	}
	lapic_w(0, 0x310, 0x23000000);
	lapic_w(0, 0x300, 0x4845);
	CHECK(take(0) == -1 && take(1) == -1 && take(2) == 0x45 &&
	    take(3) == 0x45);
	/* NMI, INIT, SIPI */
	lapic_w(0, 0x310, 1u << 24);
	lapic_w(0, 0x300, 0x4400);
	CHECK(vm0.vcpu[1].nmi == 1);
	lapic_w(0, 0x300, 0xc500);
	CHECK(vm0.vcpu[1].init == 1);
	lapic_w(0, 0x300, 0x8500); /* de-assert */
	CHECK(vm0.vcpu[1].init == 1);
	lapic_w(0, 0x300, 0x4699);
	CHECK(vm0.vcpu[1].sipi == 0x99);
	teardown();
}

static void
test_lapic_x2apic(void)
{
	struct vlapic *v;
	uint64_t val;
	int i;

	setup();
	v = vm0.vcpu[1].vlapic;
	CHECK(vlapic_get_apicbase(v) == 0xfee00800);
	CHECK(vlapic_get_apicbase(vm0.vcpu[0].vlapic) == 0xfee00900);
	CHECK(vlapic_set_apicbase(v, 0xfee00400) == EINVAL);
	CHECK(vlapic_set_apicbase(v, 0xfed00800) == EINVAL);
	CHECK(vlapic_set_apicbase(v, 0xfee00801) == EINVAL);
	CHECK(vlapic_msr_read(v, 0x802, &val) == EINVAL);
	for (i = 0; i < NCPU; i++) {
		CHECK(vlapic_set_apicbase(vm0.vcpu[i].vlapic, 0xfee00c00) == 0);
		CHECK(vlapic_msr_write(vm0.vcpu[i].vlapic, 0x80f, 0x1ff) == 0);
	}
	CHECK(vlapic_set_apicbase(v, 0xfee00800) == EINVAL);
	CHECK(vlapic_msr_read(v, 0x802, &val) == 0 && val == 1);
	CHECK(vlapic_msr_read(v, 0x80d, &val) == 0 && val == 2);
	CHECK(vlapic_msr_read(v, 0x80e, &val) == EINVAL);
	CHECK(vlapic_msr_write(v, 0x802, 1) == EINVAL);
	CHECK(vlapic_msr_write(v, 0x80b, 1) == EINVAL);
	CHECK(vlapic_msr_write(v, 0x808, 0x100) == EINVAL);
	CHECK(vlapic_msr_write(v, 0x831, 1) == EINVAL);
	CHECK(vlapic_msr_write(v, 0x830, 0x0000000000002000ull) == EINVAL);
	/* logical: cluster 0, CPUs 0 and 2 */
	CHECK(vlapic_msr_write(v, 0x830, 0x500000850ull) == 0);
	CHECK(take(0) == 0x50 && take(1) == -1 && take(2) == 0x50);
	CHECK(vlapic_msr_write(v, 0x83f, 0x51) == 0);
	CHECK(take(1) == 0x51);
	CHECK(vlapic_msr_write(v, 0x80b, 0) == 0);
	CHECK(vlapic_msr_write(v, 0x830, 0xffffffff00000052ull) == 0);
	CHECK(take(0) == 0x52 || take(0) == -1);
	CHECK(take(3) == 0x52);
	/* off, then back to xAPIC mode */
	CHECK(vlapic_set_apicbase(v, 0xfee00000) == 0);
	CHECK(vlapic_set_apicbase(v, 0xfee00c00) == EINVAL);
	CHECK(vlapic_set_apicbase(v, 0xfee00800) == 0);
	CHECK(lapic_r(1, 0x20) == 1u << 24);
	CHECK(lapic_r(1, 0xf0) == 0xff);
	teardown();
}

static void
test_lapic_timer(void)
{
	struct vlapic *v;
	uint64_t val;
	int n, fired;

	setup();
	lapic_on();
	v = vm0.vcpu[0].vlapic;
	lapic_w(0, 0x3e0, 0xb); /* divide by one */
	lapic_w(0, 0x320, 0x30);
	lapic_w(0, 0x380, 134217728 / 10); /* 100 ms */
	advance(40 * MS);
	CHECK(take(0) == -1);
	CHECK(abs((int)lapic_r(0, 0x390) - 134217728 / 10 * 6 / 10) < 3);
	advance(61 * MS);
	CHECK(take(0) == 0x30);
	CHECK(lapic_r(0, 0x390) == 0);
	lapic_w(0, 0xb0, 0);
	advance(SEC);
	CHECK(take(0) == -1);
	/* periodic at 1000 Hz, divide by 16 */
	lapic_w(0, 0x3e0, 0x3);
	lapic_w(0, 0x320, 0x20031);
	lapic_w(0, 0x380, 134217728 / 16 / 1000);
	for (fired = n = 0; n < 10000; n++) {
		advance(MS / 10);
		if (take(0) == 0x31) {
			fired++;
			lapic_w(0, 0xb0, 0);
		}
	}
	CHECK(fired == 1000);
	/* An hour of sleep does not come back as a flood. */
	now_ns += 3600 * SEC;
	CHECK(advance(MS) < 40);
	take(0);
	lapic_w(0, 0xb0, 0);
	CHECK(advance(100 * MS) < 200);
	take(0);
	lapic_w(0, 0xb0, 0);
	/* The shortest period cannot occupy the timer thread. */
	lapic_w(0, 0x3e0, 0xb);
	lapic_w(0, 0x380, 1);
	CHECK(advance(100 * MS) <= 2001);
	lapic_w(0, 0x380, 0);
	CHECK(advance(SEC) == 0);
	take(0);
	lapic_w(0, 0xb0, 0);
	/* TSC deadline */
	lapic_w(0, 0x320, 0x40032);
	lapic_w(0, 0x380, 100);
	CHECK(advance(SEC) == 0);
	CHECK(vlapic_msr_write(v, 0x6e0, (uint64_t)now_ns * 2 + 2000000) == 0);
	CHECK(vlapic_msr_read(v, 0x6e0, &val) == 0 && val != 0);
	advance(999 * 1000);
	CHECK(take(0) == -1);
	advance(2 * 1000);
	CHECK(take(0) == 0x32);
	CHECK(vlapic_msr_read(v, 0x6e0, &val) == 0 && val == 0);
	lapic_w(0, 0xb0, 0);
	CHECK(vlapic_msr_write(v, 0x6e0, 1) == 0); /* in the past */
	advance(0);
	CHECK(take(0) == 0x32);
	teardown();
}

static void
test_lapic_state(void)
{
	struct vdi_lapic_v1 data;
	struct vlapic *v;

	setup();
	lapic_on();
	v = vm0.vcpu[0].vlapic;
	lapic_w(0, 0x3e0, 0xb);
	lapic_w(0, 0x320, 0x20031);
	lapic_w(0, 0x380, 134217728 / 100);
	advance(4 * MS);
	vlapic_set_intr_ready(v, 0x71, true);
	CHECK(vlapic_data_read(v, &data, sizeof(data)) == sizeof(data));
	vlapic_reset(v, false);
	CHECK(take(0) == -1);
	CHECK(vlapic_data_write(v, &data, sizeof(data)) == sizeof(data));
	CHECK(take(0) == 0x71);
	lapic_w(0, 0xb0, 0);
	advance(5 * MS);
	CHECK(take(0) == -1);
	advance(2 * MS);
	CHECK(take(0) == 0x31);
	lapic_w(0, 0xb0, 0);
	advance(8 * MS);
	CHECK(take(0) == -1);
	advance(2 * MS);
	CHECK(take(0) == 0x31);
	data.apic_base = 1;
	CHECK(vlapic_data_write(v, &data, sizeof(data)) < 0);
	CHECK(vlapic_data_read(v, &data, 100) < 0);
	teardown();
}

/* ---- I/O APIC ---- */
static void
test_ioapic(void)
{
	struct vdi_ioapic_v1 data;

	setup();
	lapic_on();
	CHECK(ioapic_r(1) == 0x1f0011);
	CHECK(ioapic_r(0x10) == 0x10000);
	rte(5, 0x0100000000000055ull);
	vioapic_assert_irq(&vm0, 5);
	CHECK(take(1) == 0x55 && take(0) == -1);
	lapic_w(1, 0xb0, 0);
	CHECK(take(1) == -1);
	vioapic_deassert_irq(&vm0, 5);
	vioapic_pulse_irq(&vm0, 5);
	CHECK(take(1) == 0x55);
	lapic_w(1, 0xb0, 0);
	/* level with two sources */
	rte(20, 0x000000000000a060ull);
	vioapic_assert_irq(&vm0, 20);
	vioapic_assert_irq(&vm0, 20);
	CHECK(take(0) == 0x60);
	CHECK(ioapic_r(0x10 + 40) & 0x4000);
	vioapic_deassert_irq(&vm0, 20);
	CHECK(take(0) == -1);
	lapic_w(0, 0xb0, 0);
	CHECK(take(0) == 0x60); /* the other still asserts */
	vioapic_deassert_irq(&vm0, 20);
	lapic_w(0, 0xb0, 0);
	CHECK(take(0) == -1);
	CHECK((ioapic_r(0x10 + 40) & 0x4000) == 0);
	/* masked level is delivered when unmasked */
	rte(20, 0x0000000000018060ull);
	vioapic_assert_irq(&vm0, 20);
	CHECK(take(0) == -1);
	rte(20, 0x0000000000008060ull);
	CHECK(take(0) == 0x60);
	/* edge and back clears remote IRR */
	ioapic_w(0x10 + 40, 0x10060);
	CHECK((ioapic_r(0x10 + 40) & 0x4000) == 0);
	/* state */
	CHECK(vioapic_data_read(vm0.vioapic, &data, sizeof(data)) ==
	    sizeof(data));
	CHECK(data.pin_level[20] == 1);
	CHECK(vioapic_data_write(vm0.vioapic, &data, sizeof(data)) ==
	    sizeof(data));
	data.pin_reg[3] = 1ull << 40;
	CHECK(vioapic_data_write(vm0.vioapic, &data, sizeof(data)) < 0);
	CHECK(vioapic_assert_irq(&vm0, 32) == EINVAL);
	CHECK(vioapic_assert_irq(&vm0, -1) == EINVAL);
	teardown();
}

static int
fake_msi(void *vmi, uint64_t addr, uint64_t data)
{
	return (0);
}

static void
test_ioapic_kvm(void)
{
	setup();
	fake_ops.lapic_msi = fake_msi;
	rte(7, 0x0300000000008977ull);
	vioapic_assert_irq(&vm0, 7);
	CHECK(msi_addr == 0xfee0300c);
	CHECK(msi_data == 0xc177);
	vioapic_deassert_irq(&vm0, 7);
	vioapic_process_eoi(&vm0, 0x77);
	CHECK(msi_count == 1);
	vioapic_assert_irq(&vm0, 7);
	CHECK(msi_count == 2);
	teardown();
	msi_count = 0;
}

/* ---- 8259 ---- */
static void
test_pic(void)
{
	struct vdi_atpic_v1 data;

	setup();
	CHECK(vlapic_extint_enabled(vm0.vcpu[0].vlapic));
	CHECK(!vlapic_extint_enabled(vm0.vcpu[1].vlapic));
	pic_setup();
	vatpic_pulse_irq(&vm0, 4);
	CHECK(vm0.vcpu[0].extint == 1);
	vatpic_assert_irq(&vm0, 1);
	CHECK(pic_take() == 0x21);
	CHECK(pic_take() == -1); /* 4 waits for 1's end */
	outb(vatpic_master_handler, 0x20, 0x0b);
	CHECK(inb(vatpic_master_handler, 0x20) == 0x02);
	outb(vatpic_master_handler, 0x20, 0x0a);
	CHECK(inb(vatpic_master_handler, 0x20) == 0x10);
	outb(vatpic_master_handler, 0x20, 0x20);
	CHECK(pic_take() == 0x24);
	vatpic_deassert_irq(&vm0, 1);
	outb(vatpic_master_handler, 0x20, 0x64); /* specific */
	CHECK(pic_take() == -1);
	/* the slave */
	vatpic_pulse_irq(&vm0, 12);
	vatpic_pulse_irq(&vm0, 8);
	CHECK(pic_take() == 0x28);
	CHECK(pic_take() == -1);
	outb(vatpic_slave_handler, 0xa0, 0x20);
	outb(vatpic_master_handler, 0x20, 0x20);
	CHECK(pic_take() == 0x2c);
	outb(vatpic_slave_handler, 0xa0, 0x20);
	outb(vatpic_master_handler, 0x20, 0x20);
	CHECK(pic_take() == -1);
	/* level: repeats until the line falls */
	CHECK(vatpic_set_irq_trigger(&vm0, 10, 1) == 0);
	CHECK(vatpic_set_irq_trigger(&vm0, 8, 1) == EINVAL);
	CHECK(inb(vatpic_elc_handler, 0x4d1) == 0x04);
	vatpic_assert_irq(&vm0, 10);
	CHECK(pic_take() == 0x2a);
	outb(vatpic_slave_handler, 0xa0, 0x20);
	outb(vatpic_master_handler, 0x20, 0x20);
	CHECK(pic_take() == 0x2a);
	vatpic_deassert_irq(&vm0, 10);
	outb(vatpic_slave_handler, 0xa0, 0x20);
	outb(vatpic_master_handler, 0x20, 0x20);
	CHECK(pic_take() == -1);
	/* masks */
	outb(vatpic_master_handler, 0x21, 0x08);
	vatpic_pulse_irq(&vm0, 3);
	CHECK(pic_take() == -1);
	outb(vatpic_master_handler, 0x21, 0x00);
	CHECK(pic_take() == 0x23);
	/* special mask mode lets lower ones through */
	outb(vatpic_master_handler, 0x21, 0x08);
	outb(vatpic_master_handler, 0x20, 0x68);
	vatpic_pulse_irq(&vm0, 6);
	CHECK(pic_take() == 0x26);
	outb(vatpic_master_handler, 0x20, 0x48);
	outb(vatpic_master_handler, 0x20, 0x66);
	outb(vatpic_master_handler, 0x20, 0x63);
	outb(vatpic_master_handler, 0x21, 0x00);
	/* rotation: after 3 with rotate, 4 is the highest */
	vatpic_pulse_irq(&vm0, 3);
	CHECK(pic_take() == 0x23);
	outb(vatpic_master_handler, 0x20, 0xa0);
	vatpic_pulse_irq(&vm0, 1);
	vatpic_pulse_irq(&vm0, 5);
	CHECK(pic_take() == 0x25);
	outb(vatpic_master_handler, 0x20, 0x20);
	CHECK(pic_take() == 0x21);
	outb(vatpic_master_handler, 0x20, 0x20);
	outb(vatpic_master_handler, 0x20, 0xc7);
	/* poll */
	vatpic_pulse_irq(&vm0, 6);
	outb(vatpic_master_handler, 0x20, 0x0c);
	CHECK(inb(vatpic_master_handler, 0x20) == 0x86);
	outb(vatpic_master_handler, 0x20, 0x20);
	outb(vatpic_master_handler, 0x20, 0x0c);
	CHECK(inb(vatpic_master_handler, 0x20) == 0x00);
	/* a request that went away is spurious: 15 without its slave's bit */
	vatpic_assert_irq(&vm0, 10);
	vatpic_deassert_irq(&vm0, 10);
	CHECK(pic_take() == -1);
	/* state */
	vatpic_pulse_irq(&vm0, 9);
	CHECK(
	    vatpic_data_read(vm0.vatpic, &data, sizeof(data)) == sizeof(data));
	vatpic_reset(vm0.vatpic);
	CHECK(pic_take() == -1);
	CHECK(
	    vatpic_data_write(vm0.vatpic, &data, sizeof(data)) == sizeof(data));
	CHECK(pic_take() == 0x29);
	data.chip[0].lowprio = 8;
	CHECK(vatpic_data_write(vm0.vatpic, &data, sizeof(data)) < 0);
	teardown();
}

static void
test_pic_aeoi(void)
{
	setup();
	pic_setup();
	outb(vatpic_master_handler, 0x20, 0x11);
	outb(vatpic_master_handler, 0x21, 0x40);
	outb(vatpic_master_handler, 0x21, 0x04);
	outb(vatpic_master_handler, 0x21, 0x03);
	vatpic_pulse_irq(&vm0, 7);
	vatpic_pulse_irq(&vm0, 0);
	CHECK(pic_take() == 0x40);
	CHECK(pic_take() == 0x47);
	CHECK(pic_take() == -1);
	teardown();
}

static void *
racer(void *arg)
{
	int i, vec;

	for (i = 0; i < 200000; i++) {
		vec = 32 + (i * 7 + (int)(long)arg * 31) % 200;
		vlapic_set_intr_ready(vm0.vcpu[0].vlapic, vec, false);
	}
	return (NULL);
}

/* No vector is lost when threads post while the owner accepts. */
static void
test_lapic_race(void)
{
	pthread_t t[2];
	long i;
	int n;

	setup();
	lapic_on();
	for (i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, racer, (void *)i);
	for (n = 0; n < 300000; n++)
		if (take(0) >= 0)
			lapic_w(0, 0xb0, 0);
	for (i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	while (take(0) >= 0)
		lapic_w(0, 0xb0, 0);
	for (n = 0; n < 8; n++)
		CHECK(lapic_r(0, 0x200 + (unsigned)n * 0x10) == 0);
	teardown();
}

int
main(void)
{
	test_lapic_priority();
	test_lapic_errors();
	test_lapic_ipi();
	test_lapic_x2apic();
	test_lapic_timer();
	test_lapic_state();
	test_lapic_race();
	test_ioapic();
	test_ioapic_kvm();
	test_pic();
	test_pic_aeoi();
	printf("%d checks, %d failures\n", checks, failures);
	return (failures != 0);
}
