/*
 * A hostile driver against the real AHCI and NVMe models over real back ends:
 * random registers, command structures and PRD/PRP lists in a small RAM.
 * Run under AddressSanitizer; it prints how many operations were survived.
 * Arguments: model options operations seed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/shared.h"
#include "bhyverun.h"
#include "mevent.h"
#include "pci_emul.h"
#include "vmmapi.h"

#define RAM_SIZE 0x100000UL

SET_DECLARE(pci_devemu_set, const struct pci_devemu);

static uint8_t ram[RAM_SIZE];
static struct pci_devinst inst;
static _Atomic bool msix; /* as pi_msix.enabled is */
static uint64_t seed;

/* ---- what the devices need of the machine ---- */

void *
paddr_guest2host(struct vmctx *ctx, uint64_t gpa, size_t len)
{
	if (gpa >= RAM_SIZE || len > RAM_SIZE - gpa)
		return (NULL);
	return (ram + gpa);
}

void
vm_dirty_gpa(struct vmctx *ctx, vm_paddr_t gpa, size_t len)
{
	if (gpa >= RAM_SIZE || len > RAM_SIZE - gpa)
		abort();
}

const char *
vm_get_name(struct vmctx *ctx)
{
	return ("hostile");
}

int
pci_emul_alloc_bar(
    struct pci_devinst *pi, int idx, enum pcibar_type type, uint64_t size)
{
	pi->pi_bar[idx].size = 1;
	while (pi->pi_bar[idx].size < size)
		pi->pi_bar[idx].size *= 2;
	return (0);
}

int
pci_emul_add_msicap(struct pci_devinst *pi, int msgnum)
{
	return (0);
}

int
pci_emul_add_msixcap(struct pci_devinst *pi, int msgnum, int barnum)
{
	return (0);
}

int
pci_emul_add_pciecap(struct pci_devinst *pi, int type)
{
	return (0);
}

int
pci_msi_maxmsgnum(struct pci_devinst *pi)
{
	return (msix ? 1 : 0);
}

int
pci_msix_enabled(struct pci_devinst *pi)
{
	return (msix);
}

void
pci_generate_msi(struct pci_devinst *pi, int index)
{
}

void
pci_generate_msix(struct pci_devinst *pi, int index)
{
}

int
pci_emul_msix_twrite(
    struct pci_devinst *pi, uint64_t offset, int size, uint64_t value)
{
	return (0);
}

uint64_t
pci_emul_msix_tread(struct pci_devinst *pi, uint64_t offset, int size)
{
	return (0);
}

void
pci_lintr_request(struct pci_devinst *pi)
{
}

void
pci_lintr_assert(struct pci_devinst *pi)
{
}

void
pci_lintr_deassert(struct pci_devinst *pi)
{
}

int
pci_parse_legacy_config(nvlist_t *nvl, const char *opt)
{
	char copy[256], *value;

	snprintf(copy, sizeof(copy), "%s", opt);
	value = strchr(copy, '=');
	*value++ = '\0';
	return (set_config_value_node(nvl, copy, value));
}

int
qemu_fwcfg_add_boot_device(
    struct pci_devinst *pi, int bootindex, const char *path)
{
	return (0);
}

struct mevent *
mevent_add(int fd, enum ev_type type, mevent_func_t func, void *param)
{
	return ((struct mevent *)&inst);
}

int
mevent_delete(struct mevent *evp)
{
	return (0);
}

/* ---- the driver ---- */

static uint32_t
rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return ((uint32_t)(seed >> 16) % below);
}

static void
put(uint64_t gpa, uint64_t val, size_t len)
{
	if (gpa < RAM_SIZE && len <= RAM_SIZE - gpa)
		memcpy(ram + gpa, &val, len);
}

static void
wr(uint64_t offset, uint32_t val)
{
	if (offset + 4 <= inst.pi_bar[5].size + inst.pi_bar[0].size)
		inst.pi_d->pe_barwrite(
		    &inst, inst.pi_bar[5].size != 0 ? 5 : 0, offset, 4, val);
}

/* An address: mostly in RAM, seldom aligned badly or far away. */
static uint64_t
address(void)
{
	switch (rnd(40)) {
	case 0:
		return (0xffffffffffffffffUL - rnd(8192));
	case 1:
		return (RAM_SIZE - rnd(64));
	case 2:
		return (0);
	default:
		return (0x40000 + (uint64_t)rnd(0xb0) * 4096 +
		    (rnd(3) == 0 ? rnd(4096) : 0));
	}
}

static void
ahci_command(uint64_t port, uint32_t slot)
{
	static const uint8_t cmds[] = { 0x60, 0x61, 0x64, 0x25, 0x35, 0xc8,
		0xca, 0x06, 0xa0, 0xa1, 0xec, 0xef, 0x2f, 0x47, 0xe7, 0xea,
		0x20, 0x30, 0x3d, 0x42, 0xc6, 0xe5 };
	static const uint8_t packets[] = { 0x00, 0x03, 0x12, 0x1b, 0x25, 0x28,
		0x43, 0x4a, 0x5a, 0xa0, 0xa8 };
	uint64_t hdr = 0x1000 + port * 0x400 + slot * 32;
	uint64_t table = 0x10000 + (port * 32 + slot) * 0x1000;
	uint32_t i, nprd = rnd(200);
	uint8_t cmd = cmds[rnd(sizeof(cmds))];

	for (i = 0; i < 0x50; i++)
		put(table + i, rnd(4) == 0 ? rnd(256) : 0, 1);
	put(table, rnd(50) == 0 ? rnd(256) : 0x27, 1);
	put(table + 1, rnd(30) == 0 ? 0 : 0x80, 1);
	put(table + 2, rnd(20) == 0 ? rnd(256) : cmd, 1);
	put(table + 6, rnd(20) == 0 ? rnd(256) : 0, 1);
	put(table + 8, rnd(20) == 0 ? rnd(256) : 0, 4);
	put(table + 12, rnd(3) == 0 ? rnd(256) : slot << 3, 1);
	put(table + 0x40,
	    rnd(20) == 0 ? rnd(256) : packets[rnd(sizeof(packets))], 1);
	for (i = 0; i < nprd && i < 240; i++) {
		put(table + 0x80 + i * 16, address(), 8);
		put(table + 0x8c + i * 16,
		    rnd(30) == 0 ? rnd(0xffffffff) : rnd(8192), 4);
	}
	/* Ranges to trim, most of which are on the disk. */
	if (cmd == 0x06 || cmd == 0x64) {
		put(table + 3, 1, 1);
		put(table + 11, 0, 1);
		put(table + 13, 0, 1);
		put(table + 16, 1, 1);
		if (cmd == 0x06)
			put(table + 12, 1, 1);
		for (i = 0; i < 64; i++)
			put(0xf0000 + i * 8,
			    rnd(rnd(2000) == 0 ? ~0u : 8000) |
				(uint64_t)rnd(100) << 48,
			    8);
		put(table + 0x80, 0xf0000, 8);
		put(table + 0x8c, 511, 4);
	}
	put(hdr,
	    (rnd(40) == 0 ? rnd(32) : 5) | (rnd(60) == 0 ? 65535u : nprd) << 16,
	    4);
	put(hdr + 8, rnd(60) == 0 ? address() : table, 8);
}

static void
ahci_step(void)
{
	uint64_t port = rnd(2), base = 0x100 + port * 0x80;
	uint32_t slot = rnd(32);

	switch (rnd(24)) {
	case 0:
		wr(rnd(0x400) & ~3u, rnd(0xffffffff));
		break;
	case 1:
		wr(base + 0x18, rnd(4) == 0 ? 0x10 : 0x0);
		break;
	case 2:
		wr(base + 0x2c, rnd(5));
		wr(base + 0x2c, 0);
		break;
	case 3:
		if (rnd(30) == 0)
			wr(0x04, 1);
		break;
	default:
		wr(base + 0x00, (uint32_t)(0x1000 + port * 0x400));
		wr(base + 0x04, rnd(200) == 0);
		wr(base + 0x08, rnd(100) == 0 ? 0xfffff00 : 0x3000);
		wr(base + 0x0c, 0);
		if (rnd(3) == 0)
			wr(base + 0x18, 0x10);
		wr(base + 0x18, 0x11);
		ahci_command(port, slot);
		wr(base + 0x34, 1u << slot);
		wr(base + 0x38, rnd(10) == 0 ? rnd(0xffffffff) : 1u << slot);
		wr(base + 0x10, 0xffffffff);
		wr(0x08, 0xffffffff);
		break;
	}
}

static void
nvme_command(uint64_t gpa, bool admin)
{
	static const uint8_t adm[] = { 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 16,
		0x80 };
	static const uint8_t io[] = { 0, 1, 2, 8, 9 };
	uint32_t i;
	uint8_t opc;

	for (i = 0; i < 64; i++)
		put(gpa + i, rnd(6) == 0 ? rnd(256) : 0, 1);
	opc = admin ? adm[rnd(sizeof(adm))] : io[rnd(sizeof(io))];
	put(gpa, opc, 1);
	put(gpa + 1, rnd(30) == 0 ? rnd(256) : 0, 1);
	put(gpa + 4, rnd(20) == 0 ? rnd(8) : 1, 4);
	put(gpa + 24, address(), 8);
	put(gpa + 32, address(), 8);
	put(gpa + 40, admin ? 1 + rnd(4) + (rnd(40) << 16) : rnd(300), 4);
	put(gpa + 44, admin ? 1 + (rnd(5) << 16) : 0, 4);
	put(gpa + 48, rnd(20) == 0 ? rnd(0xffffffff) : rnd(600), 4);
	if (admin && (opc == 1 || opc == 5) && rnd(20) != 0) {
		i = 1 + rnd(4);
		put(gpa + 24, (opc == 1 ? 0x20000 : 0x30000) + i * 0x1000, 8);
		put(gpa + 40, i + (63 << 16), 4);
		put(gpa + 44, opc == 1 ? 1 + (i << 16) : 3, 4);
	}
	if (!admin && opc == 9) {
		put(gpa + 40, rnd(256), 4);
		put(gpa + 44, 4, 4);
		put(gpa + 24, 0xf0000, 8);
		for (i = 0; i < 256; i++) {
			put(0xf0000 + i * 16, (uint64_t)rnd(50) << 32, 8);
			put(0xf0008 + i * 16, rnd(5000) == 0 ? ~0UL : rnd(8000),
			    8);
		}
	}
}

static void
nvme_step(void)
{
	static uint32_t tail[8];
	uint32_t i, q = rnd(6);

	/* Lists of pages where the addresses point. */
	if (rnd(4) == 0) {
		uint64_t list = address() & ~7UL;
		for (i = 0; i < 520; i++)
			put(list + i * 8,
			    address() & ~(rnd(20) == 0 ? 0UL : 4095UL), 8);
	}
	switch (rnd(30)) {
	case 0:
		wr((rnd(0x1100)) & ~3u, rnd(0xffffffff));
		break;
	case 1:
		wr(0x14, 0);
		wr(0x24, rnd(20) == 0 ? 0 : 0x001f001f);
		wr(0x28, rnd(20) == 0 ? 0xfffff000 : 0x1000);
		wr(0x2c, 0);
		wr(0x30, 0x2000);
		wr(0x34, 0);
		wr(0x14, 0x00460001);
		memset(tail, 0, sizeof(tail));
		break;
	case 2:
		wr(0x1000 + rnd(40) * 4, rnd(rnd(3) == 0 ? 0xffffffff : 64));
		break;
	case 3:
		msix = !msix;
		break;
	default:
		for (i = 0; i < 4; i++) {
			nvme_command(q == 0 ? 0x1000 + ((tail[0] + i) % 32) * 64
					    : 0x20000 + q * 0x1000 +
				    ((tail[q] + i) % 64) * 64,
			    q == 0);
		}
		tail[q] = (tail[q] + 1 + rnd(3)) % (q == 0 ? 32 : 64);
		wr(0x1000 + q * 8, tail[q]);
		wr(0x1004 + q * 8, rnd(q == 0 ? 32 : 64));
		break;
	}
}

int
main(int argc, char **argv)
{
	const struct pci_devemu *const *pp;
	const struct pci_devemu *pe;
	nvlist_t *nvl;
	long i, n;

	if (argc != 5)
		return (2);
	GUEST_MEMORY(ram, sizeof(ram));
	init_config();
	nvl = create_config_node("pci.0.3.0");
	pe = NULL;
	SET_FOREACH(pp, pci_devemu_set)
	{
		if (strcmp((*pp)->pe_emu, argv[1]) == 0)
			pe = *pp;
	}
	inst.pi_d = pe;
	pthread_mutex_init(&inst.pi_intr_mtx, NULL);
	pci_set_cfgdata16(&inst, PCIR_COMMAND, PCIM_CMD_BUSMASTEREN);
	if (pe == NULL || pe->pe_legacy_config(nvl, argv[2]) != 0 ||
	    pe->pe_init(&inst, nvl) != 0)
		return (1);
	n = atol(argv[3]);
	seed = (uint64_t)atol(argv[4]) * 2654435761u + 88172645463325252UL;
	for (i = 0; i < n; i++) {
		if (*argv[1] == 'a')
			ahci_step();
		else
			nvme_step();
		(void)pe->pe_barread(
		    &inst, *argv[1] == 'a' ? 5 : 0, rnd(0x100) * 4, 4);
		if (rnd(500) == 0)
			msix = !msix;
	}
	pe->pe_cleanup(&inst);
	printf("survived %ld\n", n);
	return (0);
}
