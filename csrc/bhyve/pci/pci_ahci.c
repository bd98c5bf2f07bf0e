/*
 * AHCI host bus adapter (Serial ATA AHCI 1.3.1): options, the HBA's
 * registers, interrupts.  Disks and CD drives sit on up to 32 ports.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ahci_local.h"
#include "debug.h"
#include "net_utils.h"
#include "pci_emul.h"
#include "qemu_fwcfg.h"

/* Generic host control (3.1). */
#define AHCI_CAP 0x00
#define CAP_SXS 0x00000020u
#define CAP_NCS(n) ((uint32_t)((n)-1) << 8)
#define CAP_PSC 0x00002000u
#define CAP_SSC 0x00004000u
#define CAP_PMD 0x00008000u
#define CAP_ISS_GEN3 0x00300000u
#define CAP_SCLO 0x01000000u
#define CAP_SAL 0x02000000u
#define CAP_SALP 0x04000000u
#define CAP_SSS 0x08000000u
#define CAP_SMPS 0x10000000u
#define CAP_SSNTF 0x20000000u
#define CAP_SNCQ 0x40000000u
#define CAP_S64A 0x80000000u
#define AHCI_GHC 0x04
#define GHC_HR 0x00000001u
#define GHC_IE 0x00000002u
#define GHC_MRSM 0x00000004u
#define GHC_AE 0x80000000u
#define AHCI_IS 0x08
#define AHCI_PI 0x0c
#define AHCI_VS 0x10
#define VS_1_3 0x00010300u
#define AHCI_CAP2 0x24
#define CAP2_APST 0x00000004u

#define AHCI_MAX_MSI 16
#define AHCI_BAR 5

/* ---- interrupts ---- */

static int
ahci_msgs_wanted(const struct ahci_softc *sc)
{
	int n;

	n = sc->sc_ports < AHCI_MAX_MSI ? sc->sc_ports : AHCI_MAX_MSI;
	return (
	    (n & (n - 1)) != 0 ? 1 << (32 - __builtin_clz((unsigned)n)) : n);
}

/* Messages in use: with fewer than wanted, one for all ports (10.6.2.1). */
static int
ahci_msgs(const struct ahci_softc *sc)
{
	int n;

	n = pci_msi_maxmsgnum(sc->sc_pi);
	return (n > 1 && n < ahci_msgs_wanted(sc) ? 1 : n);
}

static void
ahci_send_msi(struct ahci_softc *sc, uint32_t mask, int nmsg)
{
	uint32_t group;
	int i;

	for (i = 0; i < nmsg && i < sc->sc_ports; i++) {
		/* The last message is shared by the ports that are left. */
		group = i == nmsg - 1 ? ~0u << i : 1u << i;
		if ((sc->sc_is & mask & group) != 0)
			pci_generate_msi(sc->sc_pi, i);
	}
}

void
ahci_update_intr(struct ahci_softc *sc, uint32_t mask)
{
	bool level;
	int i, nmsg;

	for (i = 0; i < sc->sc_ports; i++) {
		if ((sc->sc_port[i].is & sc->sc_port[i].ie) != 0)
			sc->sc_is |= 1u << i;
	}
	nmsg = ahci_msgs(sc);
	level = sc->sc_is != 0 && (sc->sc_ghc & GHC_IE) != 0;
	if (nmsg > 0 && level)
		ahci_send_msi(sc, mask, nmsg);
	if (nmsg == 0 && level)
		pci_lintr_assert(sc->sc_pi);
	else
		pci_lintr_deassert(sc->sc_pi);
}

/* ---- registers ---- */

static void
ahci_reset(struct ahci_softc *sc)
{
	int i;

	for (i = 0; i < sc->sc_ports; i++) {
		ahci_port_stop(&sc->sc_port[i]);
		ahci_port_init(&sc->sc_port[i]);
	}
	sc->sc_ghc = GHC_AE;
	sc->sc_is = 0;
	ahci_update_intr(sc, 0);
}

static uint32_t
ahci_host_read(struct ahci_softc *sc, uint32_t offset)
{
	switch (offset) {
	case AHCI_CAP:
		return (sc->sc_cap);
	case AHCI_GHC:
		return (sc->sc_ghc |
		    (pci_msi_maxmsgnum(sc->sc_pi) > 1 && ahci_msgs(sc) == 1
			    ? GHC_MRSM
			    : 0));
	case AHCI_IS:
		return (sc->sc_is);
	case AHCI_PI:
		return (sc->sc_pi_mask);
	case AHCI_VS:
		return (VS_1_3);
	case AHCI_CAP2:
		return (CAP2_APST);
	default:
		return (0);
	}
}

static void
ahci_host_write(struct ahci_softc *sc, uint32_t offset, uint32_t val)
{
	switch (offset) {
	case AHCI_GHC:
		if ((val & GHC_HR) != 0) {
			ahci_reset(sc);
			break;
		}
		sc->sc_ghc = GHC_AE | (val & GHC_IE);
		ahci_update_intr(sc, ~0u);
		break;
	case AHCI_IS:
		sc->sc_is &= ~val;
		ahci_update_intr(sc, val);
		break;
	default:
		break;
	}
}

static uint32_t
ahci_reg_read(struct ahci_softc *sc, uint64_t offset)
{
	uint64_t port;

	if (offset < AHCI_OFFSET)
		return (ahci_host_read(sc, (uint32_t)offset));
	port = (offset - AHCI_OFFSET) / AHCI_STEP;
	if (port >= (uint64_t)sc->sc_ports)
		return (0);
	return (ahci_port_read(
	    &sc->sc_port[port], (offset - AHCI_OFFSET) % AHCI_STEP));
}

static void
ahci_reg_write(struct ahci_softc *sc, uint64_t offset, uint32_t val)
{
	uint64_t port;

	if (offset < AHCI_OFFSET) {
		ahci_host_write(sc, (uint32_t)offset, val);
		return;
	}
	port = (offset - AHCI_OFFSET) / AHCI_STEP;
	if (port < (uint64_t)sc->sc_ports)
		ahci_port_write(&sc->sc_port[port],
		    (offset - AHCI_OFFSET) % AHCI_STEP, val);
}

static uint64_t
pci_ahci_read(struct pci_devinst *pi, int baridx, uint64_t offset, int size)
{
	struct ahci_softc *sc = pi->pi_arg;
	uint64_t val;
	unsigned int shift;

	if (baridx != AHCI_BAR)
		return (~0UL);
	shift = (offset & 3) * 8;
	pthread_mutex_lock(&sc->sc_mtx);
	val = ahci_reg_read(sc, offset & ~3UL);
	if ((offset & 3) + (uint64_t)size > 4)
		val |= (uint64_t)ahci_reg_read(sc, (offset & ~3UL) + 4) << 32;
	pthread_mutex_unlock(&sc->sc_mtx);
	return (val >> shift);
}

/* Parts of a register cannot be written; 8 bytes are two registers. */
static void
pci_ahci_write(struct pci_devinst *pi, int baridx, uint64_t offset, int size,
    uint64_t value)
{
	struct ahci_softc *sc = pi->pi_arg;

	if (baridx != AHCI_BAR || (offset & 3) != 0 || size < 4)
		return;
	pthread_mutex_lock(&sc->sc_reg_mtx);
	pthread_mutex_lock(&sc->sc_mtx);
	ahci_reg_write(sc, offset, (uint32_t)value);
	if (size == 8)
		ahci_reg_write(sc, offset + 4, (uint32_t)(value >> 32));
	pthread_mutex_unlock(&sc->sc_mtx);
	pthread_mutex_unlock(&sc->sc_reg_mtx);
}

/* ---- options ---- */

static int
ahci_legacy_port(nvlist_t *nvl, int port, const char *type, const char *opts)
{
	char name[16];
	nvlist_t *node;

	snprintf(name, sizeof(name), "port.%d", port);
	node = create_relative_config_node(nvl, name);
	if (node == NULL || set_config_value_node(node, "type", type) != 0)
		return (-1);
	return (blockif_legacy_config(node, opts));
}

/* The start of the next port's ",hd:" or ",cd:", or NULL. */
static char *
ahci_next_port(char *opts)
{
	char *cd, *hd;

	hd = strstr(opts, ",hd:");
	cd = strstr(opts, ",cd:");
	if (hd == NULL || (cd != NULL && cd < hd))
		return (cd);
	return (hd);
}

static int
pci_ahci_legacy_config(nvlist_t *nvl, const char *opts)
{
	char *copy, *next, *this;
	const char *type;
	int error, port;

	if (opts == NULL || *opts == '\0')
		return (0);
	copy = strdup(opts);
	if (copy == NULL) {
		EPRINTLN("ahci: out of memory");
		return (-1);
	}
	error = 0;
	port = 0;
	for (this = copy; this != NULL && error == 0; this = next) {
		next = ahci_next_port(this);
		if (next != NULL)
			*next++ = '\0';
		if (*this == '\0')
			continue;
		type = strncmp(this, "cd:", 3) == 0 ? "cd" : "hd";
		if (strncmp(this, "hd:", 3) == 0 || *type == 'c') {
			this += 3;
		} else {
			EPRINTLN("ahci: no hd: or cd: before \"%s\"", this);
			error = -1;
			break;
		}
		if (port == AHCI_MAX_PORTS) {
			EPRINTLN("ahci: more than %d ports", AHCI_MAX_PORTS);
			error = -1;
			break;
		}
		error = ahci_legacy_port(nvl, port++, type, this);
	}
	free(copy);
	return (error);
}

static int
pci_ahci_hd_legacy_config(nvlist_t *nvl, const char *opts)
{
	return (opts == NULL ? 0 : ahci_legacy_port(nvl, 0, "hd", opts));
}

static int
pci_ahci_cd_legacy_config(nvlist_t *nvl, const char *opts)
{
	return (opts == NULL ? 0 : ahci_legacy_port(nvl, 0, "cd", opts));
}

static void
ahci_port_ident(struct ahci_port *p, nvlist_t *node)
{
	uint8_t digest[16];
	const char *path, *text;

	path = blockif_path(p->bctx);
	text = get_config_value_node(node, "ser");
	if (text != NULL) {
		snprintf(p->serial, sizeof(p->serial), "%s", text);
	} else {
		net_md5(path, strlen(path), digest);
		snprintf(p->serial, sizeof(p->serial),
		    "BHYVE-%02X%02X-%02X%02X-%02X%02X", digest[0], digest[1],
		    digest[2], digest[3], digest[4], digest[5]);
	}
	text = get_config_value_node(node, "model");
	if (text == NULL)
		text = p->type == AHCI_CD ? "BHYVE SATA DVD ROM"
					  : "BHYVE SATA DISK";
	snprintf(p->model, sizeof(p->model), "%s", text);
	text = get_config_value_node(node, "rev");
	snprintf(p->rev, sizeof(p->rev), "%s", text != NULL ? text : "001");
	p->nmrr = (unsigned int)get_config_int_node_default(
	    node, "nmrr", 0, 0, 0xfffe);
	p->rzat = blockif_delete_zeroes(p->bctx);
}

/* One child of the node "port". */
static int
ahci_open_port(void *arg, const char *name, nvlist_t *node, const char *value)
{
	struct ahci_softc *sc = arg;
	struct pci_devinst *pi = sc->sc_pi;
	struct ahci_port *p;
	const char *type;
	char *end, ident[32];
	unsigned long num;

	num = strtoul(name, &end, 10);
	if (node == NULL || *name < '0' || *name > '9' || *end != '\0' ||
	    num >= AHCI_MAX_PORTS) {
		EPRINTLN("ahci: invalid port: %s", name);
		return (1);
	}
	p = &sc->sc_port[num];
	type = get_config_value_node(node, "type");
	if (type == NULL ||
	    (strcmp(type, "hd") != 0 && strcmp(type, "cd") != 0)) {
		EPRINTLN("ahci: port %lu: invalid type: %s", num,
		    type != NULL ? type : "none");
		return (1);
	}
	snprintf(
	    ident, sizeof(ident), "%d:%d:%lu", pi->pi_slot, pi->pi_func, num);
	p->bctx = blockif_open(node, ident);
	if (p->bctx == NULL)
		return (1);
	p->req = calloc(AHCI_SLOTS, sizeof(*p->req));
	if (p->req == NULL) {
		EPRINTLN("ahci: out of memory");
		return (1);
	}
	snprintf(ident, sizeof(ident), "/drive@%lx/disk@0", num);
	if (qemu_fwcfg_add_boot_device(pi, blockif_bootindex(p->bctx), ident) !=
	    0)
		return (1);
	p->type = *type == 'c' ? AHCI_CD : AHCI_HD;
	ahci_port_ident(p, node);
	sc->sc_pi_mask |= 1u << num;
	if (sc->sc_ports < (int)num + 1)
		sc->sc_ports = (int)num + 1;
	return (0);
}

/* ---- the device ---- */

static void
pci_ahci_cleanup(struct pci_devinst *pi)
{
	struct ahci_softc *sc = pi->pi_arg;
	int i;

	if (sc == NULL)
		return;
	for (i = 0; i < AHCI_MAX_PORTS; i++) {
		if (sc->sc_port[i].bctx != NULL)
			(void)blockif_close(sc->sc_port[i].bctx);
		free(sc->sc_port[i].req);
	}
	pthread_mutex_destroy(&sc->sc_reg_mtx);
	pthread_mutex_destroy(&sc->sc_mtx);
	free(sc);
	pi->pi_arg = NULL;
}

static int
ahci_set_identity(struct ahci_softc *sc)
{
	struct pci_devinst *pi = sc->sc_pi;

	sc->sc_cap = CAP_S64A | CAP_SNCQ | CAP_SSNTF | CAP_SMPS | CAP_SSS |
	    CAP_SALP | CAP_SAL | CAP_SCLO | CAP_ISS_GEN3 | CAP_PMD | CAP_SSC |
	    CAP_PSC | CAP_NCS(AHCI_SLOTS) | CAP_SXS |
	    (uint32_t)(sc->sc_ports - 1);
	pci_set_cfgdata16(pi, PCIR_VENDOR, 0x8086);
	pci_set_cfgdata16(pi, PCIR_DEVICE, 0x2821);
	pci_set_cfgdata8(pi, PCIR_CLASS, PCIC_STORAGE);
	pci_set_cfgdata8(pi, PCIR_SUBCLASS, 0x06); /* SATA */
	pci_set_cfgdata8(pi, PCIR_PROGIF, 0x01);   /* AHCI 1.0 */
	if (pci_emul_add_msicap(pi, ahci_msgs_wanted(sc)) != 0 ||
	    pci_emul_alloc_bar(pi, AHCI_BAR, PCIBAR_MEM32,
		AHCI_OFFSET + (uint64_t)sc->sc_ports * AHCI_STEP) != 0) {
		EPRINTLN("ahci: no room for the registers");
		return (1);
	}
	pci_lintr_request(pi);
	return (0);
}

static int
pci_ahci_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	struct ahci_softc *sc;
	nvlist_t *ports;
	int i;

	sc = calloc(1, sizeof(*sc));
	if (sc == NULL) {
		EPRINTLN("ahci: out of memory");
		return (1);
	}
	pi->pi_arg = sc;
	sc->sc_pi = pi;
	sc->sc_ports = AHCI_MIN_PORTS;
	sc->sc_ghc = GHC_AE;
	pthread_mutex_init(&sc->sc_reg_mtx, NULL);
	pthread_mutex_init(&sc->sc_mtx, NULL);
	for (i = 0; i < AHCI_MAX_PORTS; i++) {
		sc->sc_port[i].sc = sc;
		sc->sc_port[i].num = i;
	}
	ports = find_relative_config_node(nvl, "port");
	if (ports != NULL && walk_config_nodes(ports, ahci_open_port, sc) != 0)
		goto fail;
	for (i = 0; i < sc->sc_ports; i++) {
		ahci_power_on(&sc->sc_port[i]);
		ahci_port_init(&sc->sc_port[i]);
	}
	if (ahci_set_identity(sc) != 0)
		goto fail;
	return (0);
fail:
	pci_ahci_cleanup(pi);
	return (1);
}

static const struct pci_devemu pci_de_ahci = {
	.pe_emu = "ahci",
	.pe_init = pci_ahci_init,
	.pe_legacy_config = pci_ahci_legacy_config,
	.pe_barwrite = pci_ahci_write,
	.pe_barread = pci_ahci_read,
	.pe_cleanup = pci_ahci_cleanup,
};
PCI_EMUL_SET(pci_de_ahci);

static const struct pci_devemu pci_de_ahci_hd = {
	.pe_emu = "ahci-hd",
	.pe_legacy_config = pci_ahci_hd_legacy_config,
	.pe_alias = "ahci",
};
PCI_EMUL_SET(pci_de_ahci_hd);

static const struct pci_devemu pci_de_ahci_cd = {
	.pe_emu = "ahci-cd",
	.pe_legacy_config = pci_ahci_cd_legacy_config,
	.pe_alias = "ahci",
};
PCI_EMUL_SET(pci_de_ahci_cd);
