/*
 * A guest's view of the PCI core, by its ports and pages: configuration
 * space, BARs that are sized and moved, decode bits, expansion ROMs, shared
 * interrupt lines and the PIRQ router, MSI and MSI-X.
 *
 * Argument: a folder for scratch files.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "debug.h"
#include "inout.h"
#include "ioapic.h"
#include "mem.h"
#include "pci_emul.h"
#include "pci_irq.h"
#include "pci_local.h"
#include "pci_lpc.h"
#include "vmm_exit.h"
#include "vmmapi.h"

#define CHECK(cond)                                                            \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(                                               \
			    stderr, "%s:%d: %s\n", __func__, __LINE__, #cond); \
			abort();                                               \
		}                                                              \
	} while (0)

#define LOWMEM (256UL << 20)
#define ONES 0xffffffffu

static bool bootrom;
static int isa_level[16], ioapic_level[32];
static int messages;
static uint64_t msi_addr, msi_data;
static int bar_hits[4][7]; /* by slot - 3 and BAR */

/* ---- the machine around it ---- */

size_t
vm_get_lowmem_size(struct vmctx *ctx)
{
	return (LOWMEM);
}

size_t
vm_get_highmem_size(struct vmctx *ctx)
{
	return (1UL << 30);
}

int
vm_ioapic_pincount(struct vmctx *ctx, int *pins)
{
	*pins = 32;
	return (0);
}

int
vm_ioapic_assert_irq(struct vmctx *ctx, int irq)
{
	ioapic_level[irq]++;
	return (0);
}

int
vm_ioapic_deassert_irq(struct vmctx *ctx, int irq)
{
	ioapic_level[irq]--;
	return (0);
}

int
vm_isa_assert_irq(struct vmctx *ctx, int irq, int ioapic_irq)
{
	isa_level[irq]++;
	return (0);
}

int
vm_isa_deassert_irq(struct vmctx *ctx, int irq, int ioapic_irq)
{
	isa_level[irq]--;
	return (0);
}

int
vm_isa_set_irq_trigger(struct vmctx *ctx, int irq, enum vm_intr_trigger trigger)
{
	return (0);
}

int
vm_raise_msi(
    struct vmctx *ctx, uint64_t addr, uint64_t msg, int bus, int slot, int func)
{
	messages++;
	msi_addr = addr;
	msi_data = msg;
	return (0);
}

int
vm_irqfd(struct vmctx *ctx, struct vm_irqfd *ifd)
{
	errno = EOPNOTSUPP;
	return (-1);
}

int
vcpu_id(struct vcpu *vcpu)
{
	return (0);
}

const char *
lpc_bootrom(void)
{
	return (bootrom ? "rom" : NULL);
}

/* ---- a device with a BAR of each kind ---- */

static uint64_t
dev_read(struct pci_devinst *pi, int idx, uint64_t offset, int size)
{
	if (pi->pi_msix.table != NULL && idx == pci_msix_table_bar(pi))
		return (pci_emul_msix_tread(pi, offset, size));
	bar_hits[pi->pi_slot - 3][idx]++;
	return (0x11 * (uint64_t)(idx + 1));
}

static void
dev_write(
    struct pci_devinst *pi, int idx, uint64_t offset, int size, uint64_t val)
{
	if (pi->pi_msix.table != NULL && idx == pci_msix_table_bar(pi))
		(void)pci_emul_msix_twrite(pi, offset, size, val);
	else
		bar_hits[pi->pi_slot - 3][idx] += 100;
}

static int
dev_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	const char *rom;

	pci_set_cfgdata16(pi, PCIR_VENDOR, 0x10dd);
	pci_set_cfgdata16(pi, PCIR_DEVICE, 1);
	rom = get_config_value_node(nvl, "bars");
	CHECK(pci_emul_alloc_bar(pi, 0, PCIBAR_IO, 8) == 0);
	CHECK(pci_emul_alloc_bar(pi, 1, PCIBAR_MEM32, 0x1001) == 0);
	CHECK(pci_emul_alloc_bar(
		  pi, 2, PCIBAR_MEM64, rom != NULL ? 1UL << 32 : 0x4000) == 0);
	CHECK(pci_emul_alloc_bar(pi, 3, PCIBAR_IO, 4) != 0);
	CHECK(pci_emul_add_msicap(pi, 4) == 0);
	CHECK(pci_emul_add_msixcap(pi, 3, 4) == 0);
	CHECK(pci_emul_add_pciecap(pi, PCIEM_TYPE_ROOT_INT_EP) == 0);
	pci_lintr_request(pi);
	return (0);
}

static const struct pci_devemu dev = {
	.pe_emu = "thing",
	.pe_init = dev_init,
	.pe_barread = dev_read,
	.pe_barwrite = dev_write,
};
PCI_EMUL_SET(dev);

/* ---- the guest's instructions ---- */

static uint32_t
port(bool in, int number, int bytes, uint32_t val)
{
	struct vm_inout io = { .bytes = (uint8_t)bytes,
		.in = in,
		.port = (uint16_t)number,
		.eax = val };

	CHECK(emulate_inout(NULL, &io, 0) == 0);
	return (io.eax);
}

static uint32_t
cfg(bool in, int slot, int off, int bytes, uint32_t val)
{
	port(false, 0xcf8, 4,
	    0x80000000u | (uint32_t)slot << 11 | (uint32_t)(off & 0xfc));
	return (port(in, 0xcfc + (off & 3), bytes, val));
}

static uint32_t
rd(int slot, int off)
{
	return (cfg(true, slot, off, 4, 0));
}

static void
wr(int slot, int off, uint32_t val)
{
	cfg(false, slot, off, 4, val);
}

static uint64_t
mem(bool read, uint64_t gpa, int bytes, uint64_t val)
{
	(void)emulate_mem(NULL, gpa, read, bytes, &val);
	return (val);
}

static int
cap(int slot, uint8_t id)
{
	int off;

	for (off = rd(slot, 0x34) & 0xff; off != 0;
	     off = rd(slot, off) >> 8 & 0xff) {
		CHECK(off >= 0x40 && (off & 3) == 0);
		if ((rd(slot, off) & 0xff) == id)
			return (off);
	}
	return (0);
}

static void
machine(bool rom, const char *romfile)
{
	init_config();
	memset(isa_level, 0, sizeof(isa_level));
	memset(ioapic_level, 0, sizeof(ioapic_level));
	bootrom = rom;
	set_config_value("pci.0.3.0.device", "thing");
	set_config_value("pci.0.4.0.device", "thing");
	set_config_value("pci.0.5.0.device", "thing");
	set_config_value("pci.0.5.0.bars", "big");
	set_config_value("pci.0.6.0.device", "thing");
	set_config_value("pci.0.6.3.device", "thing");
	set_config_value("pci.0.4.0.pcireg.vendor", "0x8086");
	set_config_value("pci.0.4.0.pcireg.device", "4660");
	set_config_value("pci.0.4.0.pcireg.revid", "0x77");
	set_config_value("pci.0.4.0.pcireg.subvendor", "0xaaaa");
	set_config_value("pci.0.4.0.pcireg.subdevice", "0xbbbb");
	if (romfile != NULL)
		set_config_value("pci.0.3.0.romfile", romfile);
	CHECK(init_inout() == 0 && init_mem(1) == 0);
	pci_irq_init(NULL);
	CHECK(ioapic_init(NULL) == 0);
	CHECK(init_pci(NULL) == 0);
}

static void
end(void)
{
	pci_cleanup();
}

/* ---- the checks ---- */

static void
identity(void)
{
	static const char *const bad[][2] = { { "vendor", "0x10000" },
		{ "device", "-1" }, { "revid", "256" }, { "subvendor", "x" },
		{ "subdevice", "" } };
	nvlist_t *nvl;
	uint32_t val;
	size_t i;

	machine(false, NULL);
	CHECK(rd(3, 0) == 0x000110dd);
	CHECK(rd(4, 0) == 0x12348086);
	CHECK((rd(4, 8) & 0xff) == 0x77);
	CHECK(rd(4, 0x2c) == 0xbbbbaaaa);
	/* Nobody there; accesses that are not aligned; read-only. */
	CHECK(rd(7, 0) == ONES && rd(31, 0x40) == ONES);
	CHECK(cfg(true, 4, 1, 2, 0) == 0xffff);
	CHECK(cfg(true, 4, 2, 1, 0) == 0x34);
	wr(4, 0, 0);
	CHECK(rd(4, 0) == 0x12348086);
	/* Only a slot of several functions says so, in each of them. */
	CHECK((rd(4, 0xc) >> 16 & 0x80) == 0 && (rd(6, 0xc) >> 16 & 0x80) != 0);
	CHECK(mem(true, 0xe0000000 + (6 << 15) + (3 << 12), 4, ONES) ==
	    0x000110dd);
	CHECK(mem(true, 0xe0000000 + (6 << 15) + (1 << 12), 4, 0) == ONES);
	/* The address port takes double words only. */
	port(false, 0xcf8, 4, 0x80002000u);
	port(false, 0xcf8, 1, 0);
	CHECK(port(true, 0xcf8, 4, 0) == 0x80002000u);
	port(false, 0xcf8, 4, 0x2000);
	CHECK(port(true, 0xcfc, 4, 0) == ONES);
	/* ECAM sees the same, and an empty extended space. */
	CHECK(mem(true, 0xe0000000 + (4 << 15), 4, ONES) == 0x12348086);
	CHECK(mem(true, 0xe0000000 + (4 << 15) + 2, 2, 0xffff) == 0x1234);
	CHECK(mem(true, 0xe0000000 + (4 << 15) + 0x100, 4, ONES) == 0);
	CHECK(mem(true, 0xe0000000 + (4 << 15) + 0x104, 4, ONES) == ONES);
	CHECK(mem(true, 0xe0100000, 4, ONES) == ONES);
	end();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		init_config();
		nvl = create_config_node("n.pcireg");
		CHECK(set_config_value_node(nvl, bad[i][0], bad[i][1]) == 0);
		CHECK(pci_config_read_reg(find_config_node("n"), bad[i][0],
			  i == 2 ? 0xff : 0xffff, 5, &val) != 0);
	}
}

/* Size a BAR as firmware does; its size mask. */
static uint32_t
size_bar(int slot, int off)
{
	uint32_t mask, old;

	old = rd(slot, off);
	wr(slot, off, ONES);
	mask = rd(slot, off);
	wr(slot, off, old);
	CHECK(rd(slot, off) == old);
	return (mask);
}

static void
bars(void)
{
	uint32_t io, m32;
	uint64_t m64;

	machine(false, NULL);
	CHECK(size_bar(3, 0x10) == 0xfffffff9);
	CHECK(size_bar(3, 0x14) == 0xffffe000);
	CHECK(size_bar(3, 0x18) == 0xffffc004 && size_bar(3, 0x1c) == ONES);
	CHECK(size_bar(3, 0x24) == 0 && size_bar(3, 0x30) == 0);
	CHECK(size_bar(5, 0x18) == 0x0000000c);
	CHECK(size_bar(5, 0x1c) == 0xffffffff);
	io = rd(3, 0x10) & ~3u;
	m32 = rd(3, 0x14);
	CHECK(io >= 0x2000 && io < 0x10000 && io % 8 == 0);
	CHECK(m32 >= 0xc0000000u && m32 < 0xe0000000u && m32 % 0x2000 == 0);
	m64 = (rd(5, 0x18) & ~15u) | (uint64_t)rd(5, 0x1c) << 32;
	CHECK(m64 == 32UL << 30);
	/* All decode from the start without firmware. */
	CHECK((rd(3, 4) & 7) == 7);
	CHECK(port(true, (int)io, 1, 0) == 0x11);
	CHECK(mem(true, m32 + 0x1ffc, 4, ONES) == 0x22);
	CHECK(mem(true, m64 + (1UL << 32) - 4, 4, ONES) == 0x33);
	/* An access of eight bytes is two; one across the end is none. */
	memset(bar_hits, 0, sizeof(bar_hits));
	CHECK(mem(true, m32, 8, ~0UL) == 0x2200000022UL);
	CHECK(bar_hits[0][1] == 2);
	(void)port(true, (int)io + 7, 2, 0);
	CHECK(port(true, (int)io + 6, 4, 0) == ONES);
	/* Decode bits. */
	wr(3, 4, 6);
	CHECK(port(true, (int)io, 1, 0) == 0xff);
	CHECK(mem(true, m32, 4, ONES) == 0x22);
	wr(3, 4, 5);
	CHECK(port(true, (int)io, 1, 0) == 0x11);
	CHECK(mem(true, m32, 4, ONES) == ONES);
	wr(3, 4, 7);
	/* Moved while it decodes, and back. */
	wr(3, 0x10, 0xe001);
	CHECK(rd(3, 0x10) == 0xe001 && port(true, 0xe000, 1, 0) == 0x11);
	CHECK(port(true, (int)io, 1, 0) == 0xff);
	wr(3, 0x14, 0xd0001234);
	CHECK(rd(3, 0x14) == 0xd0000000 &&
	    mem(true, 0xd0000000, 1, 0xff) == 0x22);
	CHECK(mem(true, m32, 4, ONES) == ONES);
	/* Over another device's: the first one keeps it, then gives way. */
	wr(4, 0x14, 0xd0000000);
	memset(bar_hits, 0, sizeof(bar_hits));
	(void)mem(true, 0xd0000000, 4, ONES);
	CHECK(bar_hits[0][1] == 1 && bar_hits[1][1] == 0);
	wr(3, 0x14, m32);
	(void)mem(true, 0xd0000000, 4, ONES);
	CHECK(bar_hits[0][1] == 1 && bar_hits[1][1] == 1);
	/* Over RAM and over ports of the machine: not on the bus. */
	wr(3, 0x14, 0x00100000);
	CHECK(rd(3, 0x14) == 0x00100000);
	memset(bar_hits, 0, sizeof(bar_hits));
	(void)mem(true, 0x00100000, 4, ONES);
	CHECK(bar_hits[0][1] == 0);
	wr(3, 0x10, 0xcf8);
	CHECK(rd(3, 0) == 0x000110dd);
	wr(3, 0x10, 0xfffffff8); /* above 64 KB */
	(void)port(true, 0xfff8, 1, 0);
	CHECK(bar_hits[0][0] == 0);
	/* A 64-bit BAR moves by halves, each where ECAM writes it too. */
	wr(5, 0x1c, 0x10);
	CHECK(mem(true, 64UL << 30, 4, ONES) == 0x33);
	CHECK(mem(true, m64, 4, ONES) == ONES);
	mem(false, 0xe0000000 + (5 << 15) + 0x1c, 4, 0xc);
	CHECK(rd(5, 0x1c) == 0xc);
	CHECK(mem(true, 48UL << 30, 4, ONES) == 0x33);
	mem(false, 0xe0000000 + (5 << 15) + 0x3c, 1, 0x5a);
	CHECK((rd(5, 0x3c) & 0xff) == 0x5a);
	/* Over RAM above 4 GB, and below it: not on the bus. */
	wr(5, 0x1c, 1);
	memset(bar_hits, 0, sizeof(bar_hits));
	(void)mem(true, 4UL << 30, 4, ONES);
	wr(5, 0x1c, 0);
	(void)mem(true, 0x1000, 4, ONES);
	CHECK(bar_hits[2][2] == 0);
	wr(5, 0x1c, 0x10);
	CHECK(mem(true, 64UL << 30, 4, ONES) == 0x33);
	/* Bytes and words do not move a BAR. */
	cfg(false, 4, 0x14, 1, 0);
	cfg(false, 4, 0x16, 2, 0);
	CHECK(rd(4, 0x14) == 0xd0000000);
	end();
	/* With firmware, nothing decodes before it says so. */
	machine(true, NULL);
	CHECK((rd(3, 4) & 3) == 0);
	CHECK(port(true, (int)(rd(3, 0x10) & ~3u), 1, 0) == 0xff);
	end();
}

static void
roms(const char *path)
{
	static const uint8_t image[3000] = { 0x55, 0xaa, 5, 0xeb };
	FILE *fp;

	fp = fopen(path, "w");
	CHECK(fp != NULL && fwrite(image, sizeof(image), 1, fp) == 1);
	fclose(fp);
	machine(true, path);
	CHECK(rd(3, 0x30) == 0);
	wr(3, 0x30, 0xfffffffe);
	CHECK(rd(3, 0x30) == 0xfffff000);
	wr(3, 0x30, 0xd8000000);
	CHECK(mem(true, 0xd8000000, 2, 0xffff) == 0xffff);
	wr(3, 0x30, 0xd8000001);
	CHECK(mem(true, 0xd8000000, 2, 0xffff) == 0xffff);
	wr(3, 4, 2);
	CHECK(mem(true, 0xd8000000, 4, 0) == 0xeb05aa55);
	CHECK(mem(true, 0xd8000ffc, 4, 0) == ONES); /* behind the image */
	(void)mem(false, 0xd8000000, 4, 0);
	CHECK(mem(true, 0xd8000000, 4, 0) == 0xeb05aa55);
	wr(3, 0x30, 0xd9000001);
	CHECK(mem(true, 0xd8000000, 2, 0xffff) == 0xffff);
	CHECK(mem(true, 0xd9000000, 2, 0xffff) == 0xaa55);
	wr(3, 0x30, 0xd9000000);
	CHECK(mem(true, 0xd9000000, 2, 0xffff) == 0xffff);
	wr(3, 0x30, 0x00000001); /* over RAM */
	CHECK(rd(3, 0x30) == 1);
	end();
}

static void
intx(bool firmware)
{
	struct pci_devinst *a, *b, *c;
	int i, irq, pin;

	machine(firmware, NULL);
	a = pci_devinst_at(0, 3, 0);
	b = pci_devinst_at(0, 4, 0);
	c = pci_devinst_at(0, 5, 0);
	CHECK((rd(3, 0x3c) >> 8 & 0xff) == 1);
	for (i = 3; i <= 5 && firmware; i++) {
		CHECK(pci_devinst_at(0, i, 0)->pi_lintr.ioapic_irq ==
		    16 + (4 + i + 1) % 8);
		CHECK(pci_devinst_at(0, i, 0)->pi_lintr.pirq_pin ==
		    (4 + i + 1) % 8 + 1);
	}
	CHECK(a->pi_lintr.ioapic_irq != b->pi_lintr.ioapic_irq);
	/* Put all three on one PIRQ pin, as a bigger machine would. */
	pin = a->pi_lintr.pirq_pin;
	b->pi_lintr.pirq_pin = c->pi_lintr.pirq_pin = pin;
	b->pi_lintr.ioapic_irq = a->pi_lintr.ioapic_irq;
	pirq_write(NULL, pin, 10);
	irq = pirq_irq(pin);
	CHECK(irq == 10);
	pci_lintr_assert(a);
	pci_lintr_assert(a);
	CHECK(isa_level[irq] == 1 && ioapic_level[a->pi_lintr.ioapic_irq] == 1);
	CHECK((rd(3, 4) >> 16 & 8) != 0 && (rd(4, 4) >> 16 & 8) == 0);
	pci_lintr_assert(b);
	CHECK(isa_level[irq] == 1 && ioapic_level[a->pi_lintr.ioapic_irq] == 2);
	pci_lintr_deassert(a);
	pci_lintr_deassert(a);
	CHECK(isa_level[irq] == 1 && ioapic_level[a->pi_lintr.ioapic_irq] == 1);
	/* The router takes the level along; the disable bit hides it. */
	pirq_write(NULL, pin, 11);
	CHECK(isa_level[10] == 0 && isa_level[11] == 1);
	pirq_write(NULL, pin, 0x80 | 11);
	CHECK(isa_level[11] == 0 && pirq_irq(pin) == 0);
	pirq_write(NULL, pin, 13); /* not permitted */
	CHECK(isa_level[13] == 0 && pirq_read(pin) == 13);
	pirq_write(NULL, pin, 5);
	CHECK(isa_level[5] == 1);
	/* INTxDIS holds an interrupt back, and only that of its function. */
	wr(4, 4, 0x400);
	CHECK(isa_level[5] == 0 && (rd(4, 4) >> 16 & 8) != 0);
	pci_lintr_assert(c);
	CHECK(isa_level[5] == 1);
	wr(4, 4, 0);
	pci_lintr_deassert(c);
	CHECK(isa_level[5] == 1);
	pci_lintr_deassert(b);
	CHECK(isa_level[5] == 0);
	for (i = 0; i < 32; i++)
		CHECK(ioapic_level[i] == 0);
	end();
}

static void
message_interrupts(void)
{
	struct pci_devinst *pi;
	uint64_t table;
	int msi, msix;

	machine(false, NULL);
	pi = pci_devinst_at(0, 3, 0);
	msi = cap(3, PCIY_MSI);
	msix = cap(3, PCIY_MSIX);
	CHECK(msi != 0 && msix != 0 && cap(3, PCIY_EXPRESS) != 0);
	CHECK((rd(3, msi) >> 16) == (0x80 | 2 << 1)); /* 64 bits, 4 of them */
	pci_generate_msi(pi, 0);
	CHECK(messages == 0);
	wr(3, msi + 4, 0xfee01000);
	wr(3, msi + 12, 0x40);
	cfg(false, 3, msi + 2, 2, 1 | 2 << 4); /* four messages */
	pci_generate_msi(pi, 3);
	CHECK(messages == 1 && msi_addr == 0xfee01000 && msi_data == 0x43);
	pci_generate_msi(pi, 4);
	CHECK(messages == 1);
	/* A pin has no say meanwhile. */
	pci_lintr_assert(pi);
	CHECK(ioapic_level[pi->pi_lintr.ioapic_irq] == 0);
	cfg(false, 3, msi + 2, 2, 0);
	CHECK(ioapic_level[pi->pi_lintr.ioapic_irq] == 1);
	pci_lintr_deassert(pi);
	/* MSI-X: masked messages wait. */
	CHECK((rd(3, msix) >> 16 & 0x7ff) == 2);
	CHECK((rd(3, msix + 4) & 7) == 4);
	table = rd(3, 0x20) & ~15u;
	mem(false, table + 16, 4, 0xfee02000);
	mem(false, table + 24, 4, 0x55);
	mem(false, table + 28, 4, 1);
	cfg(false, 3, msix + 2, 2, 0x8000);
	messages = 0;
	pci_generate_msix(pi, 1);
	CHECK(messages == 0);
	mem(false, table + 28, 4, 0);
	CHECK(messages == 1 && msi_addr == 0xfee02000 && msi_data == 0x55);
	cfg(false, 3, msix + 2, 2, 0xc000);
	pci_generate_msix(pi, 1);
	CHECK(messages == 1);
	CHECK((mem(true, table + (rd(3, msix + 8) & ~7u), 4, 0) & 2) != 0);
	cfg(false, 3, msix + 2, 2, 0x8000);
	CHECK(messages == 2);
	pci_generate_msix(pi, 3);
	pci_generate_msix(pi, 0xffff);
	CHECK(messages == 2);
	/* Id and chain are read-only. */
	wr(3, msix, 0);
	CHECK(cap(3, PCIY_MSIX) == msix && cap(3, PCIY_EXPRESS) != 0);
	end();
}

int
main(int argc, char **argv)
{
	char path[256];

	CHECK(argc == 2);
	snprintf(path, sizeof(path), "%s/rom", argv[1]);
	identity();
	bars();
	roms(path);
	intx(false);
	intx(true);
	message_interrupts();
	printf("done\n");
	return (0);
}
