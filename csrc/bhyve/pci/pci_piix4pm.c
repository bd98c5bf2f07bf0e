/*
 * The power management function of Intel's PIIX4 (82371AB, function 3): what
 * firmware for QEMU's i440fx machine looks for at 0:1.3.  It places the PM
 * registers, which are also at bhyve's fixed ports, a second time where the
 * firmware wants them, with a timer of its own.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "debug.h"
#include "inout.h"
#include "pci_emul.h"
#include "pm.h"

#define PIIX4PM_VENDOR 0x8086
#define PIIX4PM_DEVICE 0x7113
#define PIIX4PM_REVID 3

/* Configuration registers (82371AB datasheet, 7.1). */
#define PMBA 0x40
#define PMBA_MASK 0xffc0u
#define PMBA_IO 0x1u
#define DEVACTB 0x58
#define DEVACTB_APMC_EN (1u << 25)
#define PMREGMISC 0x80
#define PMREGMISC_PMIOSE 0x1u

/* The PM registers (7.2). */
#define PM_IO_SIZE 0x40
#define PM_CNT 4
#define PM_CNT_SUS_EN 0x2000u
#define PM_CNT_SUS_TYP 0x1c00u
#define PM_CNT_S5 0x1400u /* bhyve's type of soft off; the PIIX4's is 0 */
#define PM_TMR 8
#define PM_TMR_MASK 0xffffffu
#define PM_TMR_HZ 3579545UL
#define NSEC_PER_SEC 1000000000UL

struct piix4pm_softc {
	struct inout_port iop;
	bool mapped;
};

static uint32_t
timer_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((uint32_t)((uint64_t)ts.tv_sec * PM_TMR_HZ +
		    (uint64_t)ts.tv_nsec * PM_TMR_HZ / NSEC_PER_SEC) &
	    PM_TMR_MASK);
}

static int
pm_io_handler(
    struct vmctx *ctx, int in, int port, int bytes, uint32_t *eax, void *arg)
{
	int offset;

	/* The block is aligned to its size, and may just have moved. */
	offset = port & (PM_IO_SIZE - 1);
	if (offset == PM_TMR && bytes == 4) {
		if (in)
			*eax = timer_now();
		return (0);
	}
	if (offset == PM_CNT && !in && (*eax & PM_CNT_SUS_EN) != 0 &&
	    (*eax & PM_CNT_SUS_TYP) == 0)
		*eax |= PM_CNT_S5;
	return (pm1_access(ctx, in, offset, bytes, eax));
}

/* Follow PMBA and PMIOSE.  Under the configuration lock. */
static void
update_mapping(struct pci_devinst *pi)
{
	struct piix4pm_softc *sc = pi->pi_arg;
	int base;
	bool on;

	base = (int)(pci_get_cfgdata32(pi, PMBA) & PMBA_MASK);
	on = base != 0 &&
	    (pci_get_cfgdata8(pi, PMREGMISC) & PMREGMISC_PMIOSE) != 0;
	if (sc->mapped && (!on || base != sc->iop.port)) {
		unregister_inout(&sc->iop);
		sc->mapped = false;
	}
	if (!on || sc->mapped)
		return;
	sc->iop.port = base;
	sc->mapped = register_inout(&sc->iop) == 0;
	if (!sc->mapped)
		GUEST_LOG("%s: PM registers at 0x%04x conflict, not mapped",
		    pi->pi_name, (unsigned int)base);
}

static int
piix4pm_cfgwrite(struct pci_devinst *pi, int offset, int bytes, uint32_t val)
{
	uint32_t pmba;
	int i;

	if ((offset < PMBA || offset >= PMBA + 4) && offset != PMREGMISC)
		return (-1);
	for (i = 0; i < bytes; i++, offset++, val >>= 8) {
		if (offset == PMREGMISC)
			pci_set_cfgdata8(
			    pi, PMREGMISC, (uint8_t)(val & PMREGMISC_PMIOSE));
		else if (offset < PMBA + 4)
			pci_set_cfgdata8(pi, offset, (uint8_t)val);
	}
	pmba = pci_get_cfgdata32(pi, PMBA);
	pci_set_cfgdata32(pi, PMBA, (pmba & PMBA_MASK) | PMBA_IO);
	update_mapping(pi);
	return (0);
}

static int
piix4pm_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	struct piix4pm_softc *sc;

	sc = calloc(1, sizeof(*sc));
	if (sc == NULL) {
		EPRINTLN("%s: out of memory", pi->pi_name);
		return (-1);
	}
	sc->iop.name = "piix4pm";
	sc->iop.size = PM_IO_SIZE;
	sc->iop.flags = IOPORT_F_INOUT;
	sc->iop.handler = pm_io_handler;
	sc->iop.arg = sc;
	pi->pi_arg = sc;
	pci_set_cfgdata16(pi, PCIR_VENDOR, PIIX4PM_VENDOR);
	pci_set_cfgdata16(pi, PCIR_DEVICE, PIIX4PM_DEVICE);
	pci_set_cfgdata8(pi, PCIR_REVID, PIIX4PM_REVID);
	pci_set_cfgdata8(pi, PCIR_CLASS, PCIC_BRIDGE);
	pci_set_cfgdata8(pi, PCIR_SUBCLASS, PCIS_BRIDGE_OTHER);
	pci_set_cfgdata32(pi, PMBA, PMBA_IO);
	/* SMIs are spoken for: firmware must not wait for one to come. */
	pci_set_cfgdata32(pi, DEVACTB, DEVACTB_APMC_EN);
	return (0);
}

static void
piix4pm_cleanup(struct pci_devinst *pi)
{
	struct piix4pm_softc *sc = pi->pi_arg;

	if (sc->mapped)
		unregister_inout(&sc->iop);
	free(sc);
}

static const struct pci_devemu pci_de_piix4pm = {
	.pe_emu = "piix4pm",
	.pe_init = piix4pm_init,
	.pe_cfgwrite = piix4pm_cfgwrite,
	.pe_cleanup = piix4pm_cleanup,
};
PCI_EMUL_SET(pci_de_piix4pm);
