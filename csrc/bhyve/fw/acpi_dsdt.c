/*
 * The DSDT: host bridges with their windows and interrupt routing, the PCI
 * link devices, the HPET, the sleep state; devices add their own part
 * through LPC_DSDT and pe_write_dsdt.
 */
#include <stdio.h>
#include <string.h>

#include "acpi.h"
#include "acpi_aml.h"
#include "acpi_local.h"
#include "pci_emul.h"
#include "pci_irq.h"
#include "pci_lpc.h"
#include "qemu_fwcfg.h"

#define PCI_HOLE_MIN 0x80000000UL
#define PCI_HOLE_LIMIT 0xfec00000UL

/*
 * PIRQ registers in the bridge's configuration space: A-D at 0x60, E-H at
 * 0x68.  The names PIRA to PIRH stand in the bridge's scope.
 */
static void
pirq_regs_dsdt(struct aml *a)
{
	char name[5];
	int i;

	aml_opregion(a, "LPCR", AML_PCI_CONFIG, 0, 0x100);
	aml_field_begin(a, "LPCR", 0);
	for (i = 0; i < PIRQ_PINS; i++) {
		if (i % 4 == 0)
			aml_field_offset(a, i == 0 ? 0x60 : 0x68);
		snprintf(name, sizeof(name), "PIR%c", 'A' + i);
		aml_field_unit(a, name, 8);
	}
	aml_field_end(a);
}
LPC_DSDT(pirq_regs_dsdt);

/* The interrupt pool as a named template, IRQ descriptor at byte 0. */
static void
irq_template(struct aml *a, const char *name, uint16_t mask)
{
	aml_template_begin(a, name);
	aml_res_irq_level(a, mask);
	aml_crs_end(a);
}

/* Store (value, target): the operands follow. */
static void
link_device(struct aml *a, int pin)
{
	char dev[5], reg[8], buf[16], fld[5], pirq[32];
	char letter;

	letter = (char)('A' + pin);
	snprintf(dev, sizeof(dev), "LNK%c", letter);
	snprintf(reg, sizeof(reg), "PIR%c", letter);
	snprintf(buf, sizeof(buf), "CB%02d", pin + 1);
	snprintf(fld, sizeof(fld), "CIR%c", letter);
	snprintf(pirq, sizeof(pirq), "\\_SB.PC00.ISA.%s", reg);

	aml_device_begin(a, dev);
	aml_name_eisaid(a, "_HID", "PNP0C0F");
	aml_name_int(a, "_UID", (uint64_t)pin + 1);

	/* _STA: present; enabled while bit 7 of the register is clear. */
	aml_method_begin(a, "_STA", 0, false);
	aml_if_begin(a);
	aml_byte(a, AML_AND);
	aml_ref(a, pirq);
	aml_int(a, PIRQ_DIS);
	aml_byte(a, AML_NULLNAME);
	aml_byte(a, AML_RETURN);
	aml_int(a, 0x09);
	aml_if_end(a);
	aml_else_begin(a);
	aml_byte(a, AML_RETURN);
	aml_int(a, 0x0b);
	aml_else_end(a);
	aml_method_end(a);

	irq_template(a, "_PRS", pirq_permitted());

	/*
	 * The current setting, its mask patched by _CRS.  The field is made
	 * there: SeaBIOS stops reading a device at one outside of methods.
	 */
	irq_template(a, buf, 0);
	aml_method_begin(a, "_CRS", 0, true);
	aml_byte(a, AML_CREATEWORDFIELD);
	aml_ref(a, buf);
	aml_int(a, 1);
	aml_ref(a, fld);
	aml_byte(a, AML_AND);
	aml_ref(a, pirq);
	aml_int(a, PIRQ_DIS | PIRQ_IRQ);
	aml_byte(a, AML_LOCAL0);
	aml_if_begin(a);
	aml_byte(a, AML_AND);
	aml_byte(a, AML_LOCAL0);
	aml_int(a, PIRQ_DIS);
	aml_byte(a, AML_NULLNAME);
	aml_byte(a, AML_STORE);
	aml_int(a, 0);
	aml_ref(a, fld);
	aml_if_end(a);
	aml_else_begin(a);
	aml_byte(a, AML_SHIFTLEFT);
	aml_int(a, 1);
	aml_byte(a, AML_LOCAL0);
	aml_ref(a, fld);
	aml_else_end(a);
	aml_byte(a, AML_RETURN);
	aml_ref(a, buf);
	aml_method_end(a);

	aml_method_begin(a, "_DIS", 0, false);
	aml_byte(a, AML_STORE);
	aml_int(a, PIRQ_DIS);
	aml_ref(a, pirq);
	aml_method_end(a);

	/* _SRS: the lowest bit of the mask, as an IRQ number. */
	aml_method_begin(a, "_SRS", 1, true);
	aml_byte(a, AML_CREATEWORDFIELD);
	aml_byte(a, AML_ARG0);
	aml_int(a, 1);
	aml_ref(a, "SIRQ");
	aml_byte(a, AML_FINDSETRIGHTBIT);
	aml_ref(a, "SIRQ");
	aml_byte(a, AML_LOCAL0);
	aml_byte(a, AML_DECREMENT);
	aml_byte(a, AML_LOCAL0);
	aml_byte(a, AML_STORE);
	aml_byte(a, AML_LOCAL0);
	aml_ref(a, pirq);
	aml_method_end(a);

	aml_device_end(a);
}

static void
prt_apic_entry(int slot, int pin, int pirq_pin, int ioapic_irq, void *arg)
{
	struct aml *a = arg;

	aml_package_begin(a, 4);
	aml_int(a, (uint64_t)slot << 16 | 0xffff);
	aml_int(a, (uint64_t)pin - 1);
	aml_int(a, 0);
	aml_int(a, (uint64_t)ioapic_irq);
	aml_package_end(a);
}

static void
prt_pic_entry(int slot, int pin, int pirq_pin, int ioapic_irq, void *arg)
{
	char link[16];
	struct aml *a = arg;

	snprintf(link, sizeof(link), "\\_SB.LNK%c", 'A' + pirq_pin - 1);
	aml_package_begin(a, 4);
	aml_int(a, (uint64_t)slot << 16 | 0xffff);
	aml_int(a, (uint64_t)pin - 1);
	aml_ref(a, link);
	aml_int(a, 0);
	aml_package_end(a);
}

/* Interrupt routing of a bus: by links under the 8259, else by GSI. */
static void
write_prt(struct aml *a, int bus)
{
	int n;

	n = pci_count_lintr(bus);
	if (n == 0)
		return;
	if (lpc_bridge() != NULL) {
		aml_name(a, "PPRT");
		aml_package_begin(a, n);
		pci_walk_lintr(bus, prt_pic_entry, a);
		aml_package_end(a);
	}
	aml_name(a, "APRT");
	aml_package_begin(a, n);
	pci_walk_lintr(bus, prt_apic_entry, a);
	aml_package_end(a);

	aml_method_begin(a, "_PRT", 0, false);
	if (lpc_bridge() != NULL) {
		aml_if_begin(a);
		aml_ref(a, "PICM");
		aml_byte(a, AML_RETURN);
		aml_ref(a, "APRT");
		aml_if_end(a);
		aml_else_begin(a);
		aml_byte(a, AML_RETURN);
		aml_ref(a, "PPRT");
		aml_else_end(a);
	} else {
		aml_byte(a, AML_RETURN);
		aml_ref(a, "APRT");
	}
	aml_method_end(a);
}

/* The windows that bhyve gave the bus. */
static void
own_windows(struct aml *a, int bus)
{
	uint64_t base, limit;

	if (bus == 0) /* ISA devices live below the BAR window. */
		aml_res_iorange(a, 0x0d00, 0x1fff);
	pci_bus_io(bus, &base, &limit);
	if (base < limit)
		aml_res_iorange(a, (uint16_t)base, (uint16_t)(limit - 1));
	pci_bus_mem32(bus, &base, &limit);
	if (base < limit)
		aml_res_memrange32(a, (uint32_t)base, (uint32_t)(limit - 1));
}

/*
 * Firmware for QEMU's machines places BARs anew: anywhere between RAM and
 * the interrupt controllers, and it knows nothing of what lies there.
 */
static void
whole_windows(struct aml *a)
{
	uint64_t base;

	aml_res_iorange(a, 0x0d00, 0xffff);
	base = acpi_lowmem_size();
	if (base < PCI_HOLE_MIN)
		base = PCI_HOLE_MIN;
	aml_res_memrange32(a, (uint32_t)base, PCI_EMUL_ECFG_BASE - 1);
	aml_res_memrange32(
	    a, PCI_EMUL_ECFG_BASE + PCI_EMUL_ECFG_SIZE, PCI_HOLE_LIMIT - 1);
}

static void
write_bus(struct aml *a, int bus)
{
	uint64_t base, limit;
	char name[5];

	snprintf(name, sizeof(name), "PC%02X", bus);
	aml_device_begin(a, name);
	aml_name_eisaid(a, "_HID", "PNP0A03");
	aml_name_int(a, "_UID", (uint64_t)bus);
	aml_name_int(a, "_BBN", (uint64_t)bus);
	aml_crs_begin(a);
	aml_res_busrange(a, (uint16_t)bus, (uint16_t)bus);
	if (bus == 0) {
		aml_res_io(a, 0xcf8, 8); /* configuration mechanism 1 */
		aml_res_iorange(a, 0x0000, 0x0cf7);
	}
	if (lpc_bootrom() != NULL && qemu_fwcfg_present() &&
	    pci_bus_count() == 1)
		whole_windows(a);
	else
		own_windows(a, bus);
	pci_bus_mem64(bus, &base, &limit);
	if (base < limit)
		aml_res_memrange64(a, base, limit - 1);
	aml_crs_end(a);
	write_prt(a, bus);
	pci_bus_write_dsdt(bus, a);
	aml_device_end(a);
}

void
acpi_dsdt_write(struct aml *a)
{
	int bus, pin;

	/* S5 by SLP_TYP 5. */
	aml_name(a, "_S5");
	aml_package_begin(a, 2);
	aml_int(a, 5);
	aml_int(a, 0);
	aml_package_end(a);

	/* 0: the guest uses the 8259 pair; 1: the IOAPIC. */
	aml_name_int(a, "PICM", 0);
	aml_method_begin(a, "_PIC", 1, false);
	aml_byte(a, AML_STORE);
	aml_byte(a, AML_ARG0);
	aml_ref(a, "PICM");
	aml_method_end(a);

	aml_scope_begin(a, "_SB");
	for (bus = 0; bus < MAXBUSES; bus++)
		if (pci_bus_configured(bus))
			write_bus(a, bus);
	if (lpc_bridge() != NULL)
		for (pin = 0; pin < PIRQ_PINS; pin++)
			link_device(a, pin);
	aml_device_begin(a, "HPET");
	aml_name_eisaid(a, "_HID", "PNP0103");
	aml_name_int(a, "_UID", 0);
	aml_crs_begin(a);
	aml_res_mem32(a, 0xfed00000, 0x400);
	aml_crs_end(a);
	aml_device_end(a);
	aml_scope_end(a);
}
