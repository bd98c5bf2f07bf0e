/*
 * Rows of state that somebody has written: its framing, and what chips and
 * processors are told to be.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"
#include "vlapic.h"
#include "vmm.h"
#include "vmm_class.h"
#include "vmm_data.h"
#include "vmm_dev.h"
#include "vmm_local.h"
#include "vmmapi.h"

static const char *const plain[] = { "-s 0,hostbridge", "-s 31,lpc", NULL };

static struct vmm_sbuf
saved_state(void)
{
	struct vmm_sbuf sb = { 0 };
	struct vm *vm;

	CHECK(vmm_create("state", "soft", &vm) == 0);
	CHECK(vmm_alloc_vcpu(vm, 0) != NULL);
	CHECK(vmm_state_save(vm, &sb) == 0);
	vmm_destroy(vm);
	return (sb);
}

static int
load(const uint8_t *buf, size_t len)
{
	uint8_t *copy = malloc(len + (len == 0));
	struct vm *vm;
	int error;

	/* Exactly as long, so that a sanitizer sees its end. */
	memcpy(copy, buf, len);
	CHECK(vmm_create("state", "soft", &vm) == 0);
	error = vmm_state_load(vm, copy, len);
	vmm_destroy(vm);
	free(copy);
	return (error);
}

/* The sections of a whole state that are no class. */
#define SEC_VM 0x100
#define SEC_MEMSEG 0x101
#define SEC_MEMMAP 0x102
#define SEC_VCPU 0x103

struct section {
	uint16_t cls, version;
	int32_t vcpuid;
	uint32_t len, pad;
};

/* One section alone, and what it says. */
static int
load_section(struct section sec, const void *data, size_t len)
{
	uint8_t buf[256] = { 0 };

	memcpy(buf, &sec, sizeof(sec));
	memcpy(buf + sizeof(sec), data, len);
	return (load(buf, sizeof(sec) + len));
}

static const void *
zero_ended(const void *data, size_t len)
{
	static uint8_t room[256];

	memset(room, 0, sizeof(room));
	memcpy(room, data, len);
	return (room);
}

/* A segment, and len bytes of what maps it. */
static int
load_mapping(const void *seg, size_t seglen, const void *map, size_t len)
{
	struct section sec = { SEC_MEMSEG, 1, -1, (uint32_t)seglen, 0 };
	uint8_t buf[512] = { 0 };
	size_t at = sizeof(sec) + seglen;

	memcpy(buf, &sec, sizeof(sec));
	memcpy(buf + sizeof(sec), seg, seglen);
	sec = (struct section) { SEC_MEMMAP, 1, -1, (uint32_t)len, 0 };
	memcpy(buf + at, &sec, sizeof(sec));
	memcpy(buf + at + sizeof(sec),
	    zero_ended(map, sizeof(struct vm_memmap)), len);
	return (load(buf, at + sizeof(sec) + len));
}

/* Topologies, segments and mappings that there cannot be. */
static void
sections(void)
{
	static const uint16_t topologies[][4] = { { 0, 1, 1, 0 },
		{ 1, 0, 1, 0 }, { 1, 1, 0, 0 }, { 1, 1, 65, 0 },
		{ 0xffff, 0xffff, 0xffff, 0 }, { 256, 256, 256, 0 },
		{ 1, 1, 1, 65 }, { 1, 1, 1, 0xffff } };
	struct {
		uint16_t topology[4];
		uint64_t cpus[3];
		int32_t suspend, source;
		uint64_t when;
		int32_t flags, pad;
	} vm = { { 1, 1, 1, 0 }, { 1, 0, 0 }, 0, -1, 0, 0, 0 };
	struct {
		int32_t segid, pad;
		uint64_t len;
		char name[VM_MAX_SEGNAME];
	} seg = { 3, 0, 4096, "x" };
	struct vm_memmap map = { .prot = 7, .len = 4096, .segid = 3 };
	size_t i;

	CHECK(load_section((struct section) { SEC_VM, 1, -1, sizeof(vm), 0 },
		  &vm, sizeof(vm)) == 0);
	for (i = 0; i < sizeof(topologies) / sizeof(topologies[0]); i++) {
		memcpy(vm.topology, topologies[i], sizeof(vm.topology));
		CHECK(load_section(
			  (struct section) { SEC_VM, 1, -1, sizeof(vm), 0 },
			  &vm, sizeof(vm)) != 0);
	}
	memcpy(vm.topology, (uint16_t[4]) { 1, 1, 1, 0 }, 8);
	for (vm.suspend = -1; vm.suspend <= 99; vm.suspend += 100)
		CHECK(load_section(
			  (struct section) { SEC_VM, 1, -1, sizeof(vm), 0 },
			  &vm, sizeof(vm)) != 0);
	vm.suspend = 0;
	/* Shorter and longer than they are; of another version. */
	for (i = 0; i < sizeof(vm) + 8; i += 4)
		CHECK(load_section(
			  (struct section) { SEC_VM, 1, -1, (uint32_t)i, 0 },
			  zero_ended(&vm, sizeof(vm)),
			  i) == (i == sizeof(vm) ? 0 : EINVAL));
	for (i = 0; i < sizeof(seg) + 8; i += 4)
		CHECK(load_section((struct section) { SEC_MEMSEG, 1, -1,
				       (uint32_t)i, 0 },
			  zero_ended(&seg, sizeof(seg)),
			  i) == (i == sizeof(seg) ? 0 : EINVAL));
	for (i = 0; i < sizeof(map) + 8; i += 4)
		CHECK(load_mapping(&seg, sizeof(seg), &map, i) ==
		    (i == sizeof(map) ? 0 : EINVAL));
	CHECK(load_section((struct section) { SEC_VM, 2, -1, sizeof(vm), 0 },
		  &vm, sizeof(vm)) == EINVAL);
	for (int n = -1; n < 100; n += 65 + (n > 0))
		CHECK(load_section((struct section) { SEC_VCPU, 1, n, 0, 0 },
			  "", 0) != 0);
	CHECK(
	    load_section((struct section) { SEC_MEMSEG, 1, -1, sizeof(seg), 0 },
		&seg, sizeof(seg)) == 0);
	/* A name without an end; a mapping of a segment that is not there. */
	memset(seg.name, 'x', sizeof(seg.name));
	CHECK(
	    load_section((struct section) { SEC_MEMSEG, 1, -1, sizeof(seg), 0 },
		&seg, sizeof(seg)) == EINVAL);
	CHECK(
	    load_section((struct section) { SEC_MEMMAP, 1, -1, sizeof(map), 0 },
		&map, sizeof(map)) == EINVAL);
}

ROW(S02_state_framing)
{
	struct vmm_sbuf sb = saved_state();
	uint8_t *buf = sb.buf;
	size_t i;

	CHECK(load(buf, sb.len) == 0);
	for (i = 1; i < sb.len; i += i < 200 ? 1 : 7)
		(void)load(buf, i);
	CHECK(load(buf, 15) != 0 || load(buf, sb.len - 1) != 0);
	for (i = 0; i + 4 <= sb.len; i += 4) {
		uint32_t old, bad = 0xffffffff;

		memcpy(&old, buf + i, 4);
		memcpy(buf + i, &bad, 4);
		(void)load(buf, sb.len);
		bad = 0x7fffffff;
		memcpy(buf + i, &bad, 4);
		(void)load(buf, sb.len);
		memcpy(buf + i, &old, 4);
	}
	CHECK(load(buf, sb.len) == 0);
	vmm_sbuf_free(&sb);
	sections();
}

/* ---- what a chip's registers can never hold ---- */

#define CHIP(n, f) offsetof(struct vdi_atpic_v1, chip[n].f)
#define PIT(n, f) offsetof(struct vdi_atpit_v1, channel[n].f)
#define TIMER(n, f) offsetof(struct vdi_hpet_v1, timers[n].f)
#define OF(chip, f) offsetof(struct vdi_##chip##_v1, f)
#define PAGE(reg) offsetof(struct vdi_lapic_v1, page[(reg) / 4])

static const struct {
	uint16_t cls;
	uint16_t at, bytes;
	uint64_t val;
} never[] = {
	{ VDC_ATPIC, CHIP(0, icw_state), 1, 1 },
	{ VDC_ATPIC, CHIP(0, icw_state), 1, 5 },
	{ VDC_ATPIC, CHIP(1, icw_state), 1, 0xff },
	{ VDC_ATPIC, CHIP(0, icw_expect), 1, 4 },
	{ VDC_ATPIC, CHIP(1, status), 1, 0x80 },
	{ VDC_ATPIC, CHIP(0, vec_base), 1, 0x21 },
	{ VDC_ATPIC, CHIP(1, vec_base), 1, 0x77 },
	{ VDC_ATPIC, CHIP(0, lowprio), 1, 8 },
	{ VDC_ATPIC, CHIP(1, lowprio), 1, 0xff },
	{ VDC_ATPIC, CHIP(0, reg_elc), 1, 4 },
	{ VDC_ATPIC, CHIP(1, reg_elc), 1, 0x21 },
	{ VDC_ATPIT, PIT(0, mode), 1, 6 },
	{ VDC_ATPIT, PIT(2, mode), 1, 0xff },
	{ VDC_ATPIT, PIT(0, access), 1, 0 },
	{ VDC_ATPIT, PIT(1, access), 1, 4 },
	{ VDC_ATPIT, PIT(2, bcd), 1, 2 },
	{ VDC_ATPIT, PIT(0, tick), 8, ~0UL },
	{ VDC_ATPIT, PIT(0, frozen), 8, ~0UL },
	{ VDC_ATPIT, PIT(0, base), 8, INT64_MAX },
	{ VDC_ATPIT, PIT(0, base), 8, 1UL << 63 },
	{ VDC_ATPIT, OF(atpit, port61), 1, 0x10 },
	{ VDC_HPET, OF(hpet, config), 8, 2 },
	{ VDC_HPET, OF(hpet, isr), 8, 1UL << 40 },
	{ VDC_HPET, OF(hpet, count_base), 8, ~0UL },
	{ VDC_HPET, OF(hpet, time_base), 8, INT64_MAX },
	{ VDC_HPET, OF(hpet, time_base), 8, 1UL << 63 },
	{ VDC_HPET, TIMER(0, config), 8, 1UL << 63 },
	{ VDC_HPET, TIMER(7, config), 8, 1 },
	{ VDC_HPET, TIMER(0, due), 8, ~0UL },
	{ VDC_HPET, TIMER(0, armed), 4, 2 },
	{ VDC_IOAPIC, OF(ioapic, id), 4, 1 },
	{ VDC_IOAPIC, OF(ioapic, reg_sel), 4, 0x100 },
	{ VDC_IOAPIC, OF(ioapic, pin_reg[0]), 8, 1UL << 20 },
	{ VDC_IOAPIC, OF(ioapic, pin_reg[31]), 8, 1UL << 14 }, /* IRR, edge */
	{ VDC_PM_TIMER, OF(pm_timer, ioport), 2, 0 },
	{ VDC_PM_TIMER, OF(pm_timer, ioport), 2, 0x409 },
	{ VDC_RTC, OF(rtc, addr), 1, 128 },
	{ VDC_RTC, OF(rtc, running), 1, 2 },
	{ VDC_RTC, OF(rtc, irq), 1, 2 },
	{ VDC_RTC, OF(rtc, offset_nsec), 4, 1000000000 },
	{ VDC_RTC, OF(rtc, offset_sec), 8, INT64_MAX },
	{ VDC_RTC, OF(rtc, offset_sec), 8, 1UL << 63 },
	{ VDC_RTC, OF(rtc, last_second), 8, INT64_MAX },
	{ VDC_RTC, OF(rtc, last_second), 8, 1UL << 63 },
	{ VDC_RTC, OF(rtc, pi_base), 8, INT64_MAX },
	{ VDC_RTC, OF(rtc, pi_base), 8, 1UL << 63 },
	{ VDC_RTC, OF(rtc, pi_tick), 8, ~0UL },
	{ VDC_LAPIC, OF(lapic, apic_base), 8, 0xfee01900 },
	{ VDC_LAPIC, OF(lapic, apic_base), 8, 0xfee00b00 },
	{ VDC_LAPIC, OF(lapic, apic_base), 8, 0xfee00500 }, /* x2APIC, off */
	{ VDC_LAPIC, OF(lapic, timer_target), 8, 1UL << 63 },
	{ VDC_LAPIC, OF(lapic, timer_target), 8, INT64_MAX },
	{ VDC_LAPIC, OF(lapic, esr_pending), 4, 0x100 },
	{ VDC_LAPIC, PAGE(0x100), 4, 1 }, /* vectors 0 to 15 */
	{ VDC_LAPIC, PAGE(0x200), 4, 0x8000 },
	{ VDC_VMM_TIME, 16, 8, 1UL << 63 }, /* hrtime */
	{ VDC_VMM_TIME, 16, 8, INT64_MAX },
};

/* Numbered fields: number, and what it cannot be. */
static const struct {
	uint16_t cls;
	uint32_t ident;
	uint64_t val;
} never_fields[] = {
	{ VDC_REGISTER, 0x0fff, 0 },	  /* no register */
	{ VDC_REGISTER, 0x4000, 0 },	  /* no part of a descriptor */
	{ VDC_REGISTER, 0x1000, 0 },	  /* RAX has no base */
	{ VDC_VMM_ARCH, 12, 32 },	  /* exception 32 */
	{ VDC_VMM_ARCH, 13, 0x80000320 }, /* hardware exception 32 */
	{ VDC_VMM_ARCH, 13, 0x80000203 }, /* NMI with vector 3 */
	{ VDC_VMM_ARCH, 13, 0x80001020 }, /* reserved bits */
	{ VDC_VMM_ARCH, 0x100, 4 },	  /* run states there are not */
	{ VDC_VMM_ARCH, 0x100, 1UL << 31 },
	{ VDC_VMM_ARCH, 0x102, 77 }, /* x2APIC's */
	{ VDC_VMM_ARCH, 0x1ff, 0 },
	{ VDC_VMM_ARCH, 0x2ff, 0 }, /* no capability */
	{ VDC_VMM_ARCH, ~0U, 0 },
};

static int
class_vcpu(uint16_t cls)
{
	return (cls < VDC_IOAPIC ? 0 : -1);
}

static int
class_read(uint16_t cls, void *buf, size_t room)
{
	return (
	    vm_data_read(machine_ctx(), class_vcpu(cls), cls, 1, buf, room));
}

/* Refused, and with nothing of it taken. */
static void
class_refuses(uint16_t cls, const void *buf, size_t len)
{
	CHECK(vm_data_write(machine_ctx(), class_vcpu(cls), cls, 1, buf, len) <
	    0);
	CHECK(errno == EINVAL);
}

static void
states_that_never_are(void)
{
	uint8_t after[8192], bad[8192], good[8192];
	uint32_t field[4] = { 0 };
	size_t i;
	int len;

	for (i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		len = class_read(never[i].cls, good, sizeof(good));
		CHECK(len > 0);
		memcpy(bad, good, (size_t)len);
		memcpy(bad + never[i].at, &never[i].val, never[i].bytes);
		class_refuses(never[i].cls, bad, (size_t)len);
		CHECK(class_read(never[i].cls, after, sizeof(after)) == len);
		if (never[i].cls != VDC_VMM_TIME && never[i].cls != VDC_RTC)
			CHECK(memcmp(after, good, (size_t)len) == 0);
	}
	for (i = 0; i < sizeof(never_fields) / sizeof(never_fields[0]); i++) {
		field[0] = never_fields[i].ident;
		memcpy(field + 2, &never_fields[i].val, 8);
		class_refuses(never_fields[i].cls, field, sizeof(field));
		class_refuses(never_fields[i].cls, field, sizeof(field) - 1);
	}
	/* A byte too few, one too many. */
	for (i = VDC_LAPIC; i <= VDC_VMM_TIME; i++) {
		len = class_read((uint16_t)i, good, sizeof(good));
		CHECK(len > 0);
		class_refuses((uint16_t)i, good, (size_t)len - 1);
		class_refuses((uint16_t)i, good, (size_t)len + 1);
	}
}

/* Every index of every chip out of range; then the chips are used. */
ROW(S01_state_indexes)
{
	static const uint8_t fills[] = { 0xff, 0x80, 0x7f, 0x01 };
	uint8_t buf[8192], good[8192];
	int cls, len, took = 0;
	size_t i, at;

	machine_up(plain);
	lapic_on();
	states_that_never_are();
	for (cls = 0; cls < 64; cls++) {
		len = -1;
		for (int vcpuid = -1; vcpuid < 1 && len < 0; vcpuid++)
			len = vm_data_read(machine_ctx(), vcpuid, (uint16_t)cls,
			    1, good, sizeof(good));
		if (len <= 0)
			continue;
		took++;
		for (at = 0; at < (size_t)len; at++) {
			for (i = 0; i < sizeof(fills); i++) {
				memcpy(buf, good, (size_t)len);
				memset(buf + at, fills[i],
				    (size_t)len - at < 8 ? (size_t)len - at
							 : 8);
				for (int vcpuid = -1; vcpuid < 1; vcpuid++)
					(void)vm_data_write(machine_ctx(),
					    vcpuid, (uint16_t)cls, 1, buf,
					    (size_t)len);
				for (int p = 0; p < 8; p++) {
					static const int ports[] = { 0x20, 0x21,
						0xa0, 0x40, 0x42, 0x61, 0x71,
						0x408 };

					(void)pio_in(ports[p], 1);
				}
				(void)mem_read(IOAPIC + 0x10, 4);
				(void)mem_read(HPET + 0xf0, 8);
				(void)mem_read(LAPIC + 0x390, 4);
				mem_write(LAPIC + 0xb0, 4, 0);
				(void)irq_taken(0x30);
			}
		}
		for (int vcpuid = -1; vcpuid < 1; vcpuid++)
			(void)vm_data_write(machine_ctx(), vcpuid,
			    (uint16_t)cls, 1, good, (size_t)len);
	}
	CHECK(took >= 5);
	CHECK(vm_data_write(machine_ctx(), 0, 99, 1, good, 8) != 0);
	CHECK(vm_data_write(machine_ctx(), 77, 1, 1, good, 8) != 0);
	machine_down();
}
