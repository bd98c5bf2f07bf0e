/*
 * The MP table: what a kernel without ACPI learns of processors, buses, the
 * IOAPIC and interrupt lines (MultiProcessor Specification 1.4, chapter 4).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "mptbl.h"
#include "pci_emul.h"
#include "pm.h"
#include "vmmapi.h"

#define LAPIC_PADDR 0xfee00000u
#define LAPIC_VERSION 0x10 /* as the chip says, vlapic.c */
#define IOAPIC_PADDR 0xfec00000u
#define IOAPIC_VERSION 0x11
#define IOAPIC_ID_MAX 14 /* four bits; 15 is everybody */
#define MP_BUS_PCI 0
#define MP_BUS_ISA 1

/* Entry types and interrupt kinds. */
enum { MPE_CPU, MPE_BUS, MPE_IOAPIC, MPE_IOINT, MPE_LOCALINT };
enum { MPI_INT, MPI_NMI, MPI_SMI, MPI_EXTINT };
#define MPF_ACTIVE_HI 0x1
#define MPF_ACTIVE_LO 0x3
#define MPF_EDGE 0x4
#define MPF_LEVEL 0xc

struct mpfp {
	char signature[4];
	uint32_t pap;
	uint8_t length, revision, checksum, feature[5];
} __attribute__((__packed__));

struct mpct {
	char signature[4];
	uint16_t base_length;
	uint8_t revision, checksum;
	char oem_id[8], product_id[12];
	uint32_t oem_table;
	uint16_t oem_length, entries;
	uint32_t apic_address;
	uint16_t ext_length;
	uint8_t ext_checksum, reserved;
} __attribute__((__packed__));

struct mpe_cpu {
	uint8_t type, apic_id, apic_version, flags;
	uint32_t signature, features, reserved[2];
} __attribute__((__packed__));

struct mpe_bus {
	uint8_t type, id;
	char name[6];
} __attribute__((__packed__));

struct mpe_ioapic {
	uint8_t type, id, version, flags;
	uint32_t address;
} __attribute__((__packed__));

struct mpe_int {
	uint8_t type, kind;
	uint16_t flags;
	uint8_t src_bus, src_irq, dst_apic, dst_int;
} __attribute__((__packed__));

_Static_assert(sizeof(struct mpfp) == 16, "MP floating pointer");
_Static_assert(sizeof(struct mpct) == 44, "MP configuration header");
_Static_assert(sizeof(struct mpe_cpu) == 20, "MP processor entry");

struct mptable {
	uint8_t buf[MPTABLE_MAX_LENGTH];
	size_t len;
	uint16_t entries;
	uint8_t ioapic_id;
	bool full;
};

static void
add(struct mptable *t, const void *entry, size_t n)
{
	if (n > sizeof(t->buf) - t->len) {
		t->full = true;
		return;
	}
	memcpy(t->buf + t->len, entry, n);
	t->len += n;
	t->entries++;
}

static void
add_int(struct mptable *t, int type, int kind, int flags, int bus, int irq,
    int apic, int pin)
{
	struct mpe_int e = { (uint8_t)type, (uint8_t)kind, (uint16_t)flags,
		(uint8_t)bus, (uint8_t)irq, (uint8_t)apic, (uint8_t)pin };

	add(t, &e, sizeof(e));
}

/* A PCI interrupt line: the source is slot << 2 | pin. */
static void
add_pci_int(int slot, int pin, int pirq_pin, int ioapic_irq, void *arg)
{
	struct mptable *t = arg;

	add_int(t, MPE_IOINT, MPI_INT, MPF_ACTIVE_LO | MPF_LEVEL, MP_BUS_PCI,
	    slot << 2 | (pin - 1), t->ioapic_id, ioapic_irq);
}

static void
add_isa_ints(struct mptable *t)
{
	int pin;

	add_int(t, MPE_IOINT, MPI_EXTINT, 0, MP_BUS_ISA, 0, t->ioapic_id, 0);
	for (pin = 1; pin < 16; pin++) {
		if (pin == 2) /* the 8254, behind the cascade's pin */
			add_int(t, MPE_IOINT, MPI_INT, 0, MP_BUS_ISA, 0,
			    t->ioapic_id, 2);
		else if (pin == SCI_INT)
			add_int(t, MPE_IOINT, MPI_INT,
			    MPF_ACTIVE_LO | MPF_LEVEL, MP_BUS_ISA, pin,
			    t->ioapic_id, pin);
		else
			add_int(t, MPE_IOINT, MPI_INT, 0, MP_BUS_ISA, pin,
			    t->ioapic_id, pin);
	}
}

static uint8_t
checksum(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	while (n-- > 0)
		sum = (uint8_t)(sum + *b++);
	return ((uint8_t)-sum);
}

int
mptable_build(struct vmctx *ctx, int ncpu)
{
	struct mpe_ioapic ioapic = { MPE_IOAPIC, 0, IOAPIC_VERSION, 1,
		IOAPIC_PADDR };
	struct mpe_bus bus0 = { MPE_BUS, MP_BUS_PCI, "PCI   " };
	struct mpe_bus bus1 = { MPE_BUS, MP_BUS_ISA, "ISA   " };
	struct mpe_cpu cpu;
	struct mptable *t;
	struct mpfp fp;
	struct mpct ct;
	char *mem;
	int i;

	if (pci_bus_count() > (pci_bus_configured(0) ? 1 : 0)) {
		EPRINTLN("MP table: it cannot describe more than one PCI bus; "
			 "use -Y to do without an MP table");
		return (EINVAL);
	}
	mem = vm_map_gpa(ctx, MPTABLE_BASE, MPTABLE_MAX_LENGTH);
	if (mem == NULL) {
		EPRINTLN("MP table: no guest memory at %#lx", MPTABLE_BASE);
		return (ENOMEM);
	}
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return (ENOMEM);

	/*
	 * A kernel with one space for the IDs of all APICs (Linux on i386)
	 * renames an IOAPIC that has a processor's, and finds its pins no more.
	 */
	t->ioapic_id = ncpu <= IOAPIC_ID_MAX ? (uint8_t)ncpu : 0;
	ioapic.id = t->ioapic_id;

	/* The floating pointer stands first, the table right behind it. */
	memset(&fp, 0, sizeof(fp));
	memcpy(fp.signature, "_MP_", 4);
	fp.pap = MPTABLE_BASE + sizeof(fp);
	fp.length = 1;
	fp.revision = 4;
	fp.checksum = checksum(&fp, sizeof(fp));
	t->len = sizeof(fp) + sizeof(ct);

	for (i = 0; i < ncpu; i++) {
		memset(&cpu, 0, sizeof(cpu));
		cpu.type = MPE_CPU;
		cpu.apic_id = (uint8_t)i;
		cpu.apic_version = LAPIC_VERSION;
		cpu.flags = i == 0 ? 3 : 1; /* enabled, boot processor */
		cpu.signature = 6 << 8 | 10 << 4 | 1 << 16 | 5;
		cpu.features = 0xbfebfbff;
		add(t, &cpu, sizeof(cpu));
	}
	add(t, &bus0, sizeof(bus0));
	add(t, &bus1, sizeof(bus1));
	add(t, &ioapic, sizeof(ioapic));
	add_isa_ints(t);
	pci_walk_lintr(0, add_pci_int, t);
	add_int(t, MPE_LOCALINT, MPI_EXTINT, MPF_ACTIVE_HI | MPF_EDGE,
	    MP_BUS_ISA, 0, 0xff, 0);
	add_int(t, MPE_LOCALINT, MPI_NMI, MPF_ACTIVE_HI | MPF_EDGE, MP_BUS_ISA,
	    0, 0xff, 1);
	if (t->full) {
		EPRINTLN("MP table: too large; use -Y to do without it");
		free(t);
		return (ENOSPC);
	}

	memset(&ct, 0, sizeof(ct));
	memcpy(ct.signature, "PCMP", 4);
	ct.base_length = (uint16_t)(t->len - sizeof(fp));
	ct.revision = 4;
	memcpy(ct.oem_id, "BHyVe   ", 8);
	memcpy(ct.product_id, "Hypervisor  ", 12);
	ct.entries = t->entries;
	ct.apic_address = LAPIC_PADDR;
	memcpy(t->buf + sizeof(fp), &ct, sizeof(ct));
	ct.checksum = checksum(t->buf + sizeof(fp), ct.base_length);
	memcpy(t->buf + sizeof(fp), &ct, sizeof(ct));
	memcpy(t->buf, &fp, sizeof(fp));
	memcpy(mem, t->buf, t->len);
	vm_dirty_gpa(ctx, MPTABLE_BASE, t->len);
	free(t);
	return (0);
}
