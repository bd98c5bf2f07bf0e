/*
 * The fixed-format ACPI tables (ACPI 5.1, chapter 5): FADT, MADT, HPET,
 * MCFG, SPCR, and the FACS.
 */
#include <stddef.h>
#include <string.h>

#include "acpi.h"
#include "acpi_local.h"
#include "config.h"
#include "pci_emul.h"
#include "pm.h"
#include "vmmapi.h"

#define LAPIC_PADDR 0xfee00000u
#define IOAPIC_PADDR 0xfec00000u
#define HPET_PADDR 0xfed00000u
#define COM1_PORT 0x3f8

struct acpi_gas {
	uint8_t space, width, offset, access;
	uint64_t address;
} __attribute__((__packed__));
#define GAS_IO(bits, acc, addr)             \
	{                                   \
		1, (bits), 0, (acc), (addr) \
	}
#define GAS_MEM(bits, addr)             \
	{                               \
		0, (bits), 0, 0, (addr) \
	}

struct acpi_fadt {
	struct acpi_header h;
	uint32_t facs, dsdt;
	uint8_t model, profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr;
	uint32_t gpe0, gpe1;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len;
	uint8_t gpe0_len, gpe1_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved;
	uint32_t flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor;
	uint64_t x_facs, x_dsdt;
	struct acpi_gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt;
	struct acpi_gas x_pm2_cnt, x_pm_tmr, x_gpe0, x_gpe1;
	struct acpi_gas sleep_ctl, sleep_sts;
} __attribute__((__packed__));
_Static_assert(sizeof(struct acpi_fadt) == 268, "FADT 5.1");
_Static_assert(offsetof(struct acpi_fadt, facs) == ACPI_FADT_FACS &&
	offsetof(struct acpi_fadt, dsdt) == ACPI_FADT_DSDT &&
	offsetof(struct acpi_fadt, x_dsdt) == ACPI_FADT_X_DSDT,
    "FADT pointers");

/* FADT flags and boot architecture bits. */
#define FADT_WBINVD (1u << 0)
#define FADT_C1 (1u << 2)
#define FADT_SLP_BUTTON (1u << 5)
#define FADT_TMR_VAL_EXT (1u << 8)
#define FADT_RESET_REG_SUP (1u << 10)
#define FADT_HEADLESS (1u << 12)
#define FADT_APIC_PHYSICAL (1u << 19)
#define BOOT_LEGACY_DEVICES 0x01
#define BOOT_8042 0x02
#define BOOT_NO_VGA 0x04
#define BOOT_NO_ASPM 0x10

static bool
build_fadt(union acpi_scratch *t, struct vmctx *ctx, int ncpu, uint64_t facs,
    uint64_t dsdt)
{
	struct acpi_fadt f = {
		.facs = (uint32_t)facs,
		.dsdt = (uint32_t)dsdt,
		.sci_int = SCI_INT,
		.smi_cmd = SMI_CMD,
		.acpi_enable = BHYVE_ACPI_ENABLE,
		.acpi_disable = BHYVE_ACPI_DISABLE,
		.pm1a_evt = PM1A_EVT_ADDR,
		.pm1a_cnt = PM1A_CNT_ADDR,
		.pm_tmr = IO_PMTMR,
		.gpe0 = IO_GPE0_BLK,
		.pm1_evt_len = PM1A_EVT_LEN,
		.pm1_cnt_len = PM1A_CNT_LEN,
		.pm_tmr_len = 4,
		.gpe0_len = IO_GPE0_LEN,
		/* Latencies that say: no C2, no C3. */
		.p_lvl2_lat = 101,
		.p_lvl3_lat = 1001,
		.century = 0x32,
		.iapc_boot_arch = BOOT_LEGACY_DEVICES | BOOT_8042 |
		    BOOT_NO_VGA | BOOT_NO_ASPM,
		.flags = FADT_WBINVD | FADT_C1 | FADT_SLP_BUTTON |
		    FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP | FADT_HEADLESS |
		    FADT_APIC_PHYSICAL,
		.reset_reg = GAS_IO(8, 1, RESET_CTL_PORT),
		.reset_value = RESET_CTL_VALUE,
		.minor = 1,
		.x_facs = 0, /* below 4 GiB: the 32-bit field says it */
		.x_dsdt = dsdt,
		.x_pm1a_evt = GAS_IO(8 * PM1A_EVT_LEN, 2, PM1A_EVT_ADDR),
		.x_pm1b_evt = GAS_IO(0, 0, 0),
		.x_pm1a_cnt = GAS_IO(8 * PM1A_CNT_LEN, 2, PM1A_CNT_ADDR),
		.x_pm1b_cnt = GAS_IO(0, 0, 0),
		.x_pm2_cnt = GAS_IO(0, 0, 0),
		.x_pm_tmr = GAS_IO(32, 3, IO_PMTMR),
		.x_gpe0 = GAS_IO(8 * IO_GPE0_LEN, 1, IO_GPE0_BLK),
		.x_gpe1 = GAS_IO(0, 0, 0),
	};

	acpi_header(&f.h, "FACP", sizeof(f), 5);
	memcpy(t, &f, sizeof(f));
	return (true);
}

struct madt_buf {
	uint8_t *p;
	size_t len;
};

static void
madt_add(struct madt_buf *b, const void *entry, size_t n)
{
	memcpy(b->p + b->len, entry, n);
	b->len += n;
}

static void
madt_override(struct madt_buf *b, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	struct {
		uint8_t type, length, bus, source;
		uint32_t gsi;
		uint16_t flags;
	} __attribute__((__packed__)) e = { 2, sizeof(e), 0, irq, gsi, flags };

	madt_add(b, &e, sizeof(e));
}

static bool
build_madt(union acpi_scratch *t, struct vmctx *ctx, int ncpu, uint64_t facs,
    uint64_t dsdt)
{
	struct {
		struct acpi_header h;
		uint32_t lapic, flags;
	} __attribute__((__packed__)) head;
	struct {
		uint8_t type, length, cpu, apic;
		uint32_t flags;
	} __attribute__((__packed__)) lapic = { 0, sizeof(lapic), 0, 0, 1 };
	struct {
		uint8_t type, length, id, reserved;
		uint32_t address, gsi;
	} __attribute__((__packed__))
	ioapic = { 1, sizeof(ioapic), 0, 0, IOAPIC_PADDR, 0 };
	struct {
		uint8_t type, length, cpu;
		uint16_t flags;
		uint8_t lint;
	} __attribute__((__packed__))
	nmi = { 4, sizeof(nmi), 0xff, 0x5 /* high, edge */, 1 };
	struct madt_buf b = { t->bytes, sizeof(head) };
	int i;

	_Static_assert(sizeof(head) + VM_MAXCPU * sizeof(lapic) + 64 <=
		sizeof(union acpi_scratch),
	    "a MADT fits the scratch table");
	for (i = 0; i < ncpu && i < VM_MAXCPU; i++) {
		lapic.cpu = lapic.apic = (uint8_t)i;
		madt_add(&b, &lapic, sizeof(lapic));
	}
	madt_add(&b, &ioapic, sizeof(ioapic));
	madt_override(&b, 0, 2, 0x5);		  /* high, edge */
	madt_override(&b, SCI_INT, SCI_INT, 0xf); /* low, level */
	madt_add(&b, &nmi, sizeof(nmi));

	acpi_header(&head.h, "APIC", b.len, 3);
	head.lapic = LAPIC_PADDR;
	head.flags = 1; /* PC-AT compatible */
	memcpy(t, &head, sizeof(head));
	return (true);
}

static bool
build_hpet(union acpi_scratch *t, struct vmctx *ctx, int ncpu, uint64_t facs,
    uint64_t dsdt)
{
	struct {
		struct acpi_header h;
		uint32_t id;
		struct acpi_gas address;
		uint8_t number;
		uint16_t min_tick;
		uint8_t flags;
	} __attribute__((__packed__))
	f = { .address = GAS_MEM(0, HPET_PADDR), .flags = 0 };
	uint32_t cap;

	if (vm_get_hpet_capabilities(ctx, &cap) != 0)
		return (false);
	acpi_header(&f.h, "HPET", sizeof(f), 1);
	f.id = cap;
	memcpy(t, &f, sizeof(f));
	return (true);
}

static bool
build_mcfg(union acpi_scratch *t, struct vmctx *ctx, int ncpu, uint64_t facs,
    uint64_t dsdt)
{
	struct {
		struct acpi_header h;
		uint64_t reserved, base;
		uint16_t segment;
		uint8_t start, end;
		uint32_t reserved2;
	} __attribute__((__packed__))
	f = { .base = PCI_EMUL_ECFG_BASE, .end = 255 };

	acpi_header(&f.h, "MCFG", sizeof(f), 1);
	memcpy(t, &f, sizeof(f));
	return (true);
}

static bool
build_spcr(union acpi_scratch *t, struct vmctx *ctx, int ncpu, uint64_t facs,
    uint64_t dsdt)
{
	struct {
		struct acpi_header h;
		uint8_t interface, reserved[3];
		struct acpi_gas address;
		uint8_t intr_type, irq;
		uint32_t gsi;
		uint8_t baud, parity, stop, flow, terminal, language;
		uint16_t pci_device, pci_vendor;
		uint8_t bus, dev, func;
		uint32_t pci_flags;
		uint8_t segment;
		uint32_t reserved2;
	} __attribute__((__packed__)) f = {
		.interface = 0, /* 16550 */
		.address = GAS_IO(8, 1, COM1_PORT),
		.intr_type = 3, /* 8259 and IOAPIC */
		.irq = 4,
		.gsi = 4,
		.baud = 7, /* 115200 */
		.stop = 1,
		.terminal = 3, /* ANSI */
		.pci_device = 0xffff,
		.pci_vendor = 0xffff,
	};

	if (get_config_value("lpc.com1.path") == NULL)
		return (false);
	acpi_header(&f.h, "SPCR", sizeof(f), 1);
	memcpy(t, &f, sizeof(f));
	return (true);
}

void
acpi_build_facs(union acpi_scratch *t)
{
	struct acpi_facs f = { .length = sizeof(f), .version = 2 };

	memcpy(f.signature, "FACS", 4);
	memcpy(t, &f, sizeof(f));
}

const acpi_table_fn acpi_tables[] = { build_fadt, build_madt, build_hpet,
	build_mcfg, build_spcr, acpi_build_srat, acpi_build_slit };
const int acpi_ntables = sizeof(acpi_tables) / sizeof(acpi_tables[0]);
