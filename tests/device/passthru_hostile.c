/*
 * A guest that plays with the configuration space and the MSI-X table of a
 * device of the host, whose kernel side is played here: every call that
 * reaches the host is checked for what must never get there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "fake_machine.h"
#include "pci_local.h"
#include "vmmapi.h"

#define PM 0x40
#define MSI 0x50
#define MSIX 0x70
#define EXPRESS 0x80
#define BAR0_SIZE 0x4000UL
#define TABLE 0x2000UL
#define ENTRIES 8
#define BAR2_SIZE 32UL
#define HPA 0xf0000000UL
#define GPA 0xc0000000UL
#define MAPS 4
#define ROUNDS 300000

SET_DECLARE(pci_devemu_set, const struct pci_devemu);

static uint8_t config[256];
static bool assigned, gone; /* gone: the host answers nothing */
static int messages, msi_now, msix_on[ENTRIES];
static struct {
	uint64_t gpa, len;
} maps[MAPS];

/* ---- the host ---- */

int
vm_get_memflags(struct vmctx *ctx)
{
	return (VM_MEM_F_WIRED);
}

const char *
vm_open_error(void)
{
	return ("");
}

int
vm_assign_pptdev(struct vmctx *ctx, int bus, int slot, int func)
{
	CHECK(!assigned && bus == 1 && slot == 2 && func == 3);
	assigned = true;
	return (0);
}

int
vm_unassign_pptdev(struct vmctx *ctx, int bus, int slot, int func)
{
	CHECK(assigned);
	assigned = false;
	memset(maps, 0, sizeof(maps));
	memset(msix_on, 0, sizeof(msix_on));
	return (0);
}

int
vm_get_pptdev_bar(struct vmctx *ctx, int bus, int slot, int func, int bar,
    vm_paddr_t *hpa, size_t *len, bool *io)
{
	*hpa = bar == 0 ? HPA : bar == 2 ? 0x1000 : 0;
	*len = bar == 0 ? BAR0_SIZE : bar == 2 ? BAR2_SIZE : 0;
	*io = bar == 2;
	return (0);
}

static void
check_place(int region, uint64_t offset, int size)
{
	uint64_t end = region == VM_PPT_CONFIG ? sizeof(config)
	    : region == 0		       ? BAR0_SIZE
	    : region == 2		       ? BAR2_SIZE
					       : 0;

	CHECK(assigned);
	CHECK(size == 1 || size == 2 || size == 4);
	CHECK(offset < end && (uint64_t)size <= end - offset);
}

int
vm_read_pptdev(struct vmctx *ctx, int bus, int slot, int func, int region,
    uint64_t offset, int size, uint64_t *val)
{
	check_place(region, offset, size);
	if (gone)
		return (-1);
	*val = 0x5a5a5a5a >> (32 - 8 * size);
	if (region == VM_PPT_CONFIG) {
		*val = 0;
		memcpy(val, config + offset, (size_t)size);
	}
	return (0);
}

int
vm_write_pptdev(struct vmctx *ctx, int bus, int slot, int func, int region,
    uint64_t offset, int size, uint64_t val)
{
	check_place(region, offset, size);
	if (region == 0)
		CHECK(offset + (uint64_t)size <= TABLE ||
		    offset >= TABLE + ENTRIES * 16);
	if (region != VM_PPT_CONFIG)
		return (0);
	/* Of the header COMMAND and STATUS alone, with the decoding on. */
	if (offset < 0x40)
		CHECK(size == 2 &&
		    (offset == PCIR_STATUS ||
			(offset == PCIR_COMMAND && (val & 0x403) == 0x403)));
	CHECK(offset < PM + 4 || offset >= PM + 8);
	CHECK(offset < MSI || offset >= MSI + 24);
	CHECK(offset < MSIX || offset >= MSIX + 12);
	return (0);
}

int
vm_map_pptdev_mmio(struct vmctx *ctx, int bus, int slot, int func,
    vm_paddr_t gpa_, size_t len, vm_paddr_t hpa)
{
	int i;

	CHECK(assigned && ((gpa_ | len | hpa) & 0xfff) == 0 && len != 0);
	CHECK(hpa >= HPA && hpa - HPA + len <= BAR0_SIZE);
	/* Never the page of the table. */
	CHECK(hpa - HPA + len <= TABLE || hpa - HPA >= TABLE + 0x1000);
	for (i = 0; i < MAPS && maps[i].len != 0; i++)
		;
	CHECK(i < MAPS);
	maps[i].gpa = gpa_;
	maps[i].len = len;
	return (0);
}

int
vm_unmap_pptdev_mmio(
    struct vmctx *ctx, int bus, int slot, int func, vm_paddr_t gpa_, size_t len)
{
	for (int i = 0; i < MAPS; i++)
		if (maps[i].len == len && maps[i].gpa == gpa_) {
			maps[i].len = 0;
			return (0);
		}
	CHECK(!"what is unmapped was mapped");
}

int
vm_setup_pptdev_msi(struct vmctx *ctx, int bus, int slot, int func,
    uint64_t addr, uint64_t msg, int numvec)
{
	CHECK(assigned && numvec >= 0 && numvec <= 4);
	CHECK((addr & 3) == 0 && msg <= 0xffff);
	msi_now = numvec;
	messages++;
	return (0);
}

int
vm_setup_pptdev_msix(struct vmctx *ctx, int bus, int slot, int func, int idx,
    uint64_t addr, uint64_t msg, uint32_t vector_control)
{
	CHECK(assigned && idx >= 0 && idx < ENTRIES);
	msix_on[idx] = (vector_control & 1) == 0;
	messages++;
	return (0);
}

int
vm_disable_pptdev_msix(struct vmctx *ctx, int bus, int slot, int func)
{
	CHECK(assigned);
	memset(msix_on, 0, sizeof(msix_on));
	return (0);
}

int
pci_emul_add_rom(struct pci_devinst *pi, const char *path)
{
	return (strcmp(path, "good") == 0 ? 0 : ENOENT);
}

/* ---- the guest ---- */

static void
put(int offset, int bytes, uint32_t val)
{
	memcpy(config + offset, &val, (size_t)bytes);
}

/* 64-bit MSI with four messages and masks, MSI-X, power management. */
static void
reset_host(void)
{
	memset(config, 0, sizeof(config));
	memset(maps, 0, sizeof(maps));
	gone = false;
	put(PCIR_VENDOR, 4, 0x12348086);
	put(PCIR_STATUS, 2, PCIM_STATUS_CAPPRESENT);
	put(PCIR_HDRTYPE, 1, PCIM_MFDEV);
	put(PCIR_BAR(0), 4, HPA | 0xc);
	put(PCIR_BAR(2), 4, 0x1001);
	put(PCIR_INTPIN, 1, 1);
	put(PCIR_CAP_PTR, 1, PM);
	put(PM, 4, 0x00030001 | MSI << 8);
	put(PM + 4, 4, 0x00000103);
	put(MSI, 4, 0x01840005 | MSIX << 8);
	put(MSI + 16, 4, 0xffffffff);
	put(MSIX, 4, (ENTRIES - 1) << 16 | PCIY_MSIX | EXPRESS << 8);
	put(MSIX + 4, 4, TABLE);
	put(MSIX + 8, 4, 0x3000);
	put(EXPRESS, 4, 0x00020010);
}

static struct pci_devinst *
try_device(void)
{
	const struct pci_devemu *const *pe;
	struct pci_devinst *pi;

	for (int i = 0; i < 3; i++) {
		static const char *const names[] = { "dev.bus", "dev.slot",
			"dev.func" };
		static const char *const places[] = { "1", "2", "3" };

		CHECK(set_config_value(names[i], places[i]) == 0);
	}
	pi = calloc(1, sizeof(*pi));
	CHECK(pi != NULL);
	SET_FOREACH(pe, pci_devemu_set)
	{
		pi->pi_d = *pe; /* the only one */
	}
	snprintf(pi->pi_name, sizeof(pi->pi_name), "passthru");
	pthread_mutex_init(&pi->pi_intr_mtx, NULL);
	pi->pi_msix.table_bar = pi->pi_msix.pba_bar = -1;
	if (pi->pi_d->pe_init(pi, find_config_node("dev")) == 0)
		return (pi);
	CHECK(!assigned);
	pci_msix_cleanup(pi);
	free(pi);
	init_config();
	return (NULL);
}

static void
destroy(struct pci_devinst *pi)
{
	pi->pi_d->pe_cleanup(pi);
	CHECK(!assigned);
	/* The core unmaps the BARs afterwards. */
	pi->pi_d->pe_baraddr(pi, 0, 0, GPA);
	pci_msix_cleanup(pi);
	free(pi);
	init_config();
}

/* As the core: what a device leaves to it, and COMMAND in particular. */
static void
cfg_out(struct pci_devinst *pi, int offset, int bytes, uint32_t val)
{
	if (pi->pi_d->pe_cfgwrite(pi, offset, bytes, val) == 0)
		return;
	CHECK(offset < 0x40);
	if (offset == PCIR_COMMAND)
		pci_set_cfgdata16(pi, PCIR_COMMAND, val & 0x547);
}

static uint32_t
cfg_in(struct pci_devinst *pi, int offset, int bytes)
{
	uint32_t val;

	CHECK(pi->pi_d->pe_cfgread(pi, offset, bytes, &val) == 0);
	CHECK(bytes == 4 || val >> (8 * bytes) == 0);
	return (val);
}

static void
test_identity(void)
{
	struct pci_devinst *pi;

	reset_host();
	pi = try_device();
	CHECK(pi != NULL);
	CHECK(cfg_in(pi, PCIR_VENDOR, 4) == 0x12348086);
	CHECK(cfg_in(pi, PCIR_HDRTYPE, 1) == 0);
	CHECK(cfg_in(pi, PCIR_INTPIN, 1) == 0);
	CHECK(cfg_in(pi, PCIR_CAP_PTR, 1) == PM);
	CHECK(pi->pi_bar[0].type == PCIBAR_MEM64 &&
	    pi->pi_bar[0].size == BAR0_SIZE);
	CHECK(pi->pi_bar[2].type == PCIBAR_IO);
	/* The chain is whole; masks of single messages are not offered. */
	CHECK(cfg_in(pi, MSI, 4) == (0x00840005 | MSIX << 8));
	CHECK(cfg_in(pi, MSI + 16, 4) == 0);
	CHECK(cfg_in(pi, EXPRESS, 4) == 0x00020010);
	/* Live registers are the device's, and ones when it is gone. */
	put(0x88, 4, 0xcafe0001);
	CHECK(cfg_in(pi, 0x88, 4) == 0xcafe0001);
	gone = true;
	CHECK(cfg_in(pi, 0x88, 2) == 0xffff);
	CHECK(cfg_in(pi, PCIR_VENDOR, 4) == 0x12348086);
	CHECK(bar_in(pi, 0, 0, 4) == 0xffffffff);
	CHECK(bar_in(pi, 0, 0, 1) == 0xff);
	destroy(pi);
}

static void
test_power_and_command(void)
{
	struct pci_devinst *pi;

	reset_host();
	pi = try_device();
	CHECK(cfg_in(pi, PM + 4, 2) == 0);
	cfg_out(pi, PM + 4, 2, 0xffff);
	CHECK(cfg_in(pi, PM + 4, 2) == 3);
	cfg_out(pi, PM + 5, 1, 0xff);
	CHECK(cfg_in(pi, PM + 4, 2) == 3);
	cfg_out(pi, PCIR_COMMAND, 4, 0);
	cfg_out(pi, PCIR_COMMAND, 1, 0);
	cfg_out(pi, PCIR_COMMAND + 1, 1, 0xff);
	cfg_out(pi, PCIR_STATUS + 1, 1, 0xf9);
	destroy(pi);
}

static void
test_messages(void)
{
	struct pci_devinst *pi;

	reset_host();
	pi = try_device();
	cfg_out(pi, MSI, 4, 0xffffffff);
	CHECK(msi_now == 4); /* more than it has are not granted */
	CHECK(cfg_in(pi, MSI, 4) == (0x00a50005 | MSIX << 8));
	cfg_out(pi, MSI + 2, 1, 0);
	CHECK(msi_now == 0);
	messages = 0;
	cfg_out(pi, MSI + 4, 4, 0xfee00003);
	cfg_out(pi, MSI + 12, 4, 0xffff0041);
	CHECK(messages == 0 && cfg_in(pi, MSI + 4, 4) == 0xfee00000);

	bar_out(pi, 0, TABLE + 16, 4, 0xfee00000);
	bar_out(pi, 0, TABLE + 24, 4, 0x41);
	bar_out(pi, 0, TABLE + 28, 4, 0xfffffffe);
	CHECK(bar_in(pi, 0, TABLE + 28, 4) == 0);
	CHECK(msix_on[1] == 0);
	cfg_out(pi, MSIX + 2, 2, 0xffff);
	CHECK(cfg_in(pi, MSIX + 2, 2) == (0xc000 | (ENTRIES - 1)));
	CHECK(msix_on[1] == 0); /* all are masked */
	cfg_out(pi, MSIX, 4, 0x80000000);
	CHECK(msix_on[1] == 1 && msix_on[0] == 0);
	bar_out(pi, 0, TABLE + 28, 4, 1);
	CHECK(msix_on[1] == 0);
	/* Neither bytes nor what straddles the table's end count. */
	bar_out(pi, 0, TABLE + 28, 1, 0);
	bar_out(pi, 0, TABLE + 29, 4, 0);
	bar_out(pi, 0, TABLE + ENTRIES * 16 - 2, 4, 0);
	CHECK(bar_in(pi, 0, TABLE + 28, 4) == 1);
	CHECK(bar_in(pi, 0, TABLE + ENTRIES * 16, 4) == 0x5a5a5a5a);
	CHECK(cfg_in(pi, MSIX + 4, 4) == TABLE);
	cfg_out(pi, MSIX + 4, 4, 0);
	CHECK(cfg_in(pi, MSIX + 4, 4) == TABLE);
	destroy(pi);
}

static void
test_bars(void)
{
	struct pci_devinst *pi;

	reset_host();
	pi = try_device();
	pi->pi_d->pe_baraddr(pi, 0, 1, GPA);
	CHECK(maps[0].gpa == GPA && maps[0].len == TABLE);
	CHECK(maps[1].gpa == GPA + 0x3000 && maps[1].len == 0x1000);
	CHECK(maps[2].len == 0);
	pi->pi_d->pe_baraddr(pi, 0, 0, GPA);
	CHECK(maps[0].len == 0 && maps[1].len == 0);
	pi->pi_d->pe_baraddr(pi, 2, 1, 0x2000);
	CHECK(maps[0].len == 0);
	destroy(pi);
}

static void
test_strange_devices(void)
{
	struct pci_devinst *pi;

	/* Chains that come back to themselves. */
	reset_host();
	put(EXPRESS + 1, 1, PM);
	CHECK((pi = try_device()) != NULL);
	destroy(pi);
	put(PM + 1, 1, PM);
	CHECK(try_device() == NULL); /* neither MSI nor MSI-X to be found */
	reset_host();
	put(PCIR_CAP_PTR, 1, 0xfc);
	put(0xfc, 4, PCIY_MSIX);
	CHECK(try_device() == NULL);
	put(0xfc, 4, PCIY_MSI | 0x00800000);
	CHECK(try_device() == NULL);
	put(0xfc, 4, 0x01 | PM << 8);
	CHECK((pi = try_device()) != NULL);
	destroy(pi);
	/* A table outside of its BAR, or in none. */
	reset_host();
	put(MSIX + 4, 4, BAR0_SIZE - 64);
	CHECK(try_device() == NULL);
	put(MSIX + 4, 4, 0xfffffff8);
	CHECK(try_device() == NULL);
	put(MSIX + 4, 4, TABLE | 7);
	CHECK(try_device() == NULL);
	put(MSIX + 4, 4, TABLE | 3);
	CHECK(try_device() == NULL);
	/* A bridge, and nothing at all. */
	reset_host();
	put(PCIR_HDRTYPE, 1, 0x81);
	CHECK(try_device() == NULL);
	reset_host();
	put(PCIR_STATUS, 2, 0);
	CHECK(try_device() == NULL);
	reset_host();
	gone = true;
	CHECK(try_device() == NULL);
	/* An option ROM that cannot be had. */
	reset_host();
	CHECK(set_config_value("dev.rom", "bad") == 0);
	CHECK(try_device() == NULL);
	CHECK(set_config_value("dev.rom", "good") == 0);
	CHECK((pi = try_device()) != NULL);
	destroy(pi);
	CHECK(set_config_value("dev.rom", "good") == 0);
	CHECK(set_config_value("dev.romfile", "good") == 0);
	CHECK(try_device() == NULL);
}

static void
test_anything(void)
{
	static const uint8_t places[] = { PCIR_COMMAND, PM, MSI, MSIX,
		EXPRESS };
	struct pci_devinst *pi;
	uint32_t off, size, val;
	bool up;

	reset_host();
	pi = try_device();
	srandom(1);
	up = false;
	for (int i = 0; i < ROUNDS; i++) {
		size = 1U << (random() % 3);
		off = (uint32_t)random() % 256;
		if (random() % 2 == 0)
			off = places[random() % 5] + (uint32_t)random() % 24;
		val = (uint32_t)random() ^ (uint32_t)random() << 16;
		switch (random() % 6) {
		case 0:
			(void)cfg_in(pi, (int)(off & ~(size - 1)), (int)size);
			break;
		case 1:
		case 2:
			cfg_out(pi, (int)(off & ~(size - 1)), (int)size, val);
			break;
		case 3:
			bar_out(pi, random() % 2 * 2,
			    TABLE - 16 + (uint32_t)random() % 200, (int)size,
			    val);
			break;
		case 4:
			(void)bar_in(pi, random() % 2 * 2,
			    (uint32_t)random() % 0x4010, (int)size);
			break;
		default:
			if (random() % 64 != 0)
				break;
			up = !up;
			pi->pi_d->pe_baraddr(pi, 0, up, GPA);
			break;
		}
	}
	CHECK(messages > 1000);
	destroy(pi);
}

int
main(void)
{
	fake_init();
	test_identity();
	test_power_and_command();
	test_messages();
	test_bars();
	test_strange_devices();
	test_anything();
	printf("done\n");
	return (0);
}
