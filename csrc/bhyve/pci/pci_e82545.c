/*
 * Intel 82545EM, "e1000": registers, interrupts with their throttle, and the
 * PCI function.  EEPROM and PHY are in e82545_nvm.c, the two directions in
 * e82545_tx.c and e82545_rx.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "e82545_local.h"

#define E82545_VENDOR_ID_INTEL 0x8086
#define E82545_DEV_ID_82545EM_COPPER 0x100f
#define E82545_SUBDEV_ID 0x1008

#define E82545_BAR_REGISTER 0
#define E82545_BAR_REGISTER_LEN (128 * 1024)
#define E82545_BAR_FLASH 1
#define E82545_BAR_FLASH_LEN (64 * 1024)
#define E82545_BAR_IO 2
#define E82545_BAR_IO_LEN 8
#define E82545_IOADDR 0x0
#define E82545_IODATA 0x4

#define ITR_UNIT_NS 256

/* ---- interrupts ---- */

static void
irq_update(struct e82545_softc *sc)
{
	uint32_t itr;
	int usecs;

	if ((sc->esc_icr & sc->esc_ims) == 0) {
		if (sc->esc_irq_asserted)
			pci_lintr_deassert(sc->esc_pi);
		sc->esc_irq_asserted = false;
		return;
	}
	if (sc->esc_irq_asserted || sc->esc_itr_wait)
		return;
	sc->esc_irq_asserted = true;
	pci_lintr_assert(sc->esc_pi);
	itr = E82545_REG(sc, E1000_ITR) & 0xffff;
	if (itr != 0) {
		usecs = (int)(itr * ITR_UNIT_NS / 1000) + 1;
		sc->esc_itr_wait =
		    mevent_timer_oneshot(sc->esc_itr_mevp, usecs) == 0;
	}
}

static void
itr_callback(int fd, enum ev_type type, void *param)
{
	struct e82545_softc *sc = param;

	pthread_mutex_lock(&sc->esc_mtx);
	sc->esc_itr_wait = false;
	irq_update(sc);
	pthread_mutex_unlock(&sc->esc_mtx);
}

void
e82545_interrupt(struct e82545_softc *sc, uint32_t causes)
{
	sc->esc_icr |= causes;
	irq_update(sc);
}

/* ---- statistics ---- */

void
e82545_stat(struct e82545_softc *sc, uint32_t off)
{
	/* They stick at their maximum. */
	if (E82545_REG(sc, off) != UINT32_MAX)
		E82545_REG(sc, off)++;
}

void
e82545_stat64(struct e82545_softc *sc, uint32_t off, uint64_t n)
{
	n += (uint64_t)E82545_REG(sc, off + 4) << 32 | E82545_REG(sc, off);
	E82545_REG(sc, off) = (uint32_t)n;
	E82545_REG(sc, off + 4) = (uint32_t)(n >> 32);
}

void
e82545_count(struct e82545_softc *sc, const uint8_t *frame, size_t len, bool tx)
{
	static const uint8_t broadcast[ETHER_ADDR_LEN] = { 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff };
	static const size_t sizes[] = { 64, 127, 255, 511, 1023 };
	uint32_t bin;

	len += 4; /* the frame check sequence counts */
	for (bin = 0; bin < 5 && len > sizes[bin]; bin++)
		;
	e82545_stat(sc, (tx ? E1000_PTC64 : E1000_PRC64) + bin * 4);
	e82545_stat(sc, tx ? E1000_GPTC : E1000_GPRC);
	e82545_stat(sc, tx ? E1000_TPT : E1000_TPR);
	e82545_stat64(sc, tx ? E1000_GOTCL : E1000_GORCL, len);
	e82545_stat64(sc, tx ? E1000_TOTL : E1000_TORL, len);
	if (memcmp(frame, broadcast, sizeof(broadcast)) == 0)
		e82545_stat(sc, tx ? E1000_BPTC : E1000_BPRC);
	else if ((frame[0] & 1) != 0)
		e82545_stat(sc, tx ? E1000_MPTC : E1000_MPRC);
}

/* ---- reset ---- */

/* Software's reset, or power-on: esc_mtx held, sending quiesced. */
static void
e82545_reset(struct e82545_softc *sc)
{
	uint32_t eecd;

	eecd = E82545_REG(sc, E1000_EECD);
	memset(sc->esc_regs, 0, sizeof(sc->esc_regs));
	E82545_REG(sc, E1000_EECD) = eecd;
	E82545_REG(sc, E1000_CTRL) = E1000_CTRL_FD | 0x240; /* link, 1000 */
	E82545_REG(sc, E1000_VET) = ETHERTYPE_VLAN;
	E82545_REG(sc, E1000_FCAL) = 0x00c28001;
	E82545_REG(sc, E1000_FCAH) = 0x00000100;
	E82545_REG(sc, E1000_FCT) = 0x00008808;
	E82545_REG(sc, E1000_LEDCTL) = 0x07061302;
	E82545_REG(sc, E1000_PBA) = 0x00100030;
	E82545_REG(sc, E1000_TIPG) = 0x00602008;
	/* The receive address comes from the EEPROM. */
	E82545_REG(sc, E1000_RA) = (uint32_t)sc->esc_nvm.words[0] |
	    (uint32_t)sc->esc_nvm.words[1] << 16;
	E82545_REG(sc, E1000_RA + 4) = sc->esc_nvm.words[2] | E1000_RAH_AV;
	e82545_tx_reset(sc);
	sc->esc_icr = 0;
	sc->esc_ims = 0;
	irq_update(sc);
	e82545_rx_update(sc);
}

/* ---- registers ---- */

/* Registers that only hold what software writes. */
static bool
is_plain(uint32_t off)
{
	static const uint16_t plain[] = { E1000_CTRL_EXT, E1000_FCAL,
		E1000_FCAH, E1000_FCT, E1000_VET, E1000_FCTTV, E1000_TXCW,
		E1000_TIPG, E1000_AIT, E1000_LEDCTL, E1000_PBA, E1000_FCRTL,
		E1000_FCRTH, E1000_RDTR, E1000_RXDCTL, E1000_RADV, E1000_RSRPD,
		E1000_TIDV, E1000_TXDCTL, E1000_TADV, E1000_TSPMT, E1000_RXCSUM,
		E1000_ITR, E1000_RDBAL, E1000_RDBAH, E1000_RDLEN, E1000_RDH,
		E1000_RDT, E1000_TDBAL, E1000_TDBAH, E1000_TDLEN, E1000_TDH,
		E1000_TDT, E1000_CTRL, E1000_RCTL, E1000_TCTL, E1000_MDIC,
		E1000_RXCW, E1000_RFCTL };
	size_t i;

	if (off >= E1000_MTA && off < E1000_RA_END)
		return (true);
	if (off >= E1000_VFTA && off < E1000_REGS_END)
		return (true);
	for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (plain[i] == off)
			return (true);
	}
	return (false);
}

static void
write_ctrl(struct e82545_softc *sc, uint32_t val)
{
	if ((val & E1000_CTRL_PHY_RST) != 0)
		e82545_phy_reset(sc);
	if ((val & E1000_CTRL_RST) != 0) {
		e82545_tx_quiesce(sc);
		e82545_reset(sc);
		return;
	}
	E82545_REG(sc, E1000_CTRL) =
	    val & ~(uint32_t)(E1000_CTRL_RST | E1000_CTRL_PHY_RST);
}

/* Registers of the rings and of the two directions. */
static bool
write_ring(struct e82545_softc *sc, uint32_t off, uint32_t val)
{
	switch (off) {
	case E1000_TDBAL:
	case E1000_RDBAL:
		val &= ~15U;
		break;
	case E1000_TDLEN:
	case E1000_RDLEN:
		val &= 0xfff80; /* of 128 bytes, up to a megabyte */
		break;
	case E1000_TDH:
	case E1000_TDT:
	case E1000_RDH:
	case E1000_RDT:
		val &= 0xffff;
		break;
	case E1000_TDBAH:
	case E1000_RDBAH:
	case E1000_TCTL:
	case E1000_RCTL:
		break;
	default:
		return (false);
	}
	/* The sender works on a copy of what is about to change. */
	if (off == E1000_TDBAL || off == E1000_TDBAH || off == E1000_TDLEN ||
	    off == E1000_TDH ||
	    (off == E1000_TCTL && (val & E1000_TCTL_EN) == 0))
		e82545_tx_quiesce(sc);
	E82545_REG(sc, off) = val;
	if (off == E1000_TDT || off == E1000_TCTL)
		e82545_tx_kick(sc);
	else if (off == E1000_RDT || off == E1000_RCTL)
		e82545_rx_update(sc);
	return (true);
}

static void
write_register(struct e82545_softc *sc, uint32_t off, uint32_t val)
{
	if (write_ring(sc, off, val))
		return;
	switch (off) {
	case E1000_CTRL:
	case E1000_CTRL_DUP:
		write_ctrl(sc, val);
		break;
	case E1000_CTRL_EXT:
		E82545_REG(sc, off) = val & ~(uint32_t)E1000_CTRL_EXT_EE_RST;
		break;
	case E1000_EECD:
		e82545_eecd_write(sc, val);
		break;
	case E1000_MDIC:
		e82545_mdic_write(sc, val);
		break;
	case E1000_ICR:
		sc->esc_icr &= ~val;
		irq_update(sc);
		break;
	case E1000_ICS:
		e82545_interrupt(sc, val & E1000_ICR_ALL);
		break;
	case E1000_IMS:
		sc->esc_ims |= val & E1000_ICR_ALL;
		irq_update(sc);
		break;
	case E1000_IMC:
		sc->esc_ims &= ~val;
		irq_update(sc);
		break;
	case E1000_STATUS:
	case E1000_RXCW:
		break; /* read only */
	default:
		if (is_plain(off))
			E82545_REG(sc, off) = val;
		else if (off < E1000_STATS || off >= E1000_STATS_END)
			GUEST_LOG("e1000: write of unknown register 0x%x", off);
		break;
	}
}

static uint32_t
read_register(struct e82545_softc *sc, uint32_t off)
{
	uint32_t val;

	switch (off) {
	case E1000_CTRL_DUP:
		return (E82545_REG(sc, E1000_CTRL));
	case E1000_STATUS:
		return (E1000_STATUS_FD | E1000_STATUS_SPEED_1000 |
		    (sc->esc_link ? E1000_STATUS_LU : 0));
	case E1000_EECD:
		return (e82545_eecd_read(sc));
	case E1000_ICR:
		val = sc->esc_icr;
		sc->esc_icr = 0;
		irq_update(sc);
		return (val);
	case E1000_ICS:
		return (sc->esc_icr);
	case E1000_IMS:
		return (sc->esc_ims);
	case E1000_IMC:
		return (0);
	default:
		break;
	}
	if (off >= E1000_STATS && off < E1000_STATS_END) {
		val = E82545_REG(sc, off);
		E82545_REG(sc, off) = 0;
		return (val);
	}
	if (is_plain(off))
		return (E82545_REG(sc, off));
	GUEST_LOG("e1000: read of unknown register 0x%x", off);
	return (0);
}

/* ---- BARs ---- */

static void
register_write(
    struct e82545_softc *sc, uint64_t offset, int size, uint64_t value)
{
	if (size != 4 || offset % 4 != 0)
		GUEST_LOG("e1000: write of %d bytes at 0x%lx", size,
		    (unsigned long)offset);
	else
		write_register(sc, (uint32_t)offset, (uint32_t)value);
}

static uint32_t
register_read(struct e82545_softc *sc, uint64_t offset, int size)
{
	if (size == 4 && offset % 4 == 0)
		return (read_register(sc, (uint32_t)offset));
	GUEST_LOG(
	    "e1000: read of %d bytes at 0x%lx", size, (unsigned long)offset);
	return (0);
}

static void
e82545_barwrite(struct pci_devinst *pi, int baridx, uint64_t offset, int size,
    uint64_t value)
{
	struct e82545_softc *sc = pi->pi_arg;

	pthread_mutex_lock(&sc->esc_mtx);
	if (baridx == E82545_BAR_REGISTER)
		register_write(sc, offset, size, value);
	else if (baridx == E82545_BAR_IO && offset == E82545_IOADDR &&
	    size == 4)
		sc->esc_ioaddr = (uint32_t)value;
	else if (baridx == E82545_BAR_IO && offset == E82545_IODATA &&
	    sc->esc_ioaddr < E82545_BAR_REGISTER_LEN)
		register_write(sc, sc->esc_ioaddr, size, value);
	pthread_mutex_unlock(&sc->esc_mtx);
}

static uint64_t
e82545_barread(struct pci_devinst *pi, int baridx, uint64_t offset, int size)
{
	struct e82545_softc *sc = pi->pi_arg;
	uint64_t val;

	val = ~0ULL >> (64 - 8 * size);
	pthread_mutex_lock(&sc->esc_mtx);
	if (baridx == E82545_BAR_REGISTER)
		val = register_read(sc, offset, size);
	else if (baridx == E82545_BAR_IO && offset == E82545_IOADDR &&
	    size == 4)
		val = sc->esc_ioaddr;
	else if (baridx == E82545_BAR_IO && offset == E82545_IODATA &&
	    sc->esc_ioaddr < E82545_BAR_REGISTER_LEN)
		val = register_read(sc, sc->esc_ioaddr, size);
	pthread_mutex_unlock(&sc->esc_mtx);
	return (val);
}

/* ---- life ---- */

static void
e82545_free(struct e82545_softc *sc)
{
	e82545_tx_cleanup(sc);
	netbe_cleanup(sc->esc_be);
	if (sc->esc_itr_mevp != NULL)
		mevent_delete(sc->esc_itr_mevp);
	pthread_cond_destroy(&sc->esc_tx_cond);
	pthread_mutex_destroy(&sc->esc_mtx);
	free(sc);
}

static void
e82545_cleanup(struct pci_devinst *pi)
{
	if (pi->pi_arg != NULL)
		e82545_free(pi->pi_arg);
	pi->pi_arg = NULL;
}

static void
e82545_identity(struct pci_devinst *pi)
{
	pci_set_cfgdata16(pi, PCIR_DEVICE, E82545_DEV_ID_82545EM_COPPER);
	pci_set_cfgdata16(pi, PCIR_VENDOR, E82545_VENDOR_ID_INTEL);
	pci_set_cfgdata8(pi, PCIR_CLASS, PCIC_NETWORK);
	pci_set_cfgdata16(pi, PCIR_SUBDEV_0, E82545_SUBDEV_ID);
	pci_set_cfgdata16(pi, PCIR_SUBVEND_0, E82545_VENDOR_ID_INTEL);
	pci_set_cfgdata8(pi, PCIR_HDRTYPE, PCIM_HDRTYPE_NORMAL);
}

static int
e82545_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	struct e82545_softc *sc;
	int error;

	sc = calloc(1, sizeof(*sc));
	if (sc == NULL) {
		EPRINTLN("e1000: out of memory");
		return (1);
	}
	sc->esc_pi = pi;
	sc->esc_ctx = pi->pi_vmctx;
	pthread_mutex_init(&sc->esc_mtx, NULL);
	pthread_cond_init(&sc->esc_tx_cond, NULL);
	if (net_getmac(pi, nvl, sc->esc_mac) != 0 ||
	    netbe_init(&sc->esc_be, nvl, e82545_rx_callback, sc) != 0)
		goto fail;
	error = netbe_set_cap(sc->esc_be, 0, 0);
	if (error == 0) {
		sc->esc_itr_mevp =
		    mevent_add_disabled(1000, EVF_TIMER, itr_callback, sc);
		error = sc->esc_itr_mevp == NULL ? errno : 0;
	}
	if (error == 0)
		error = pci_emul_alloc_bar(pi, E82545_BAR_REGISTER,
		    PCIBAR_MEM32, E82545_BAR_REGISTER_LEN);
	if (error == 0)
		error = pci_emul_alloc_bar(
		    pi, E82545_BAR_FLASH, PCIBAR_MEM32, E82545_BAR_FLASH_LEN);
	if (error == 0)
		error = pci_emul_alloc_bar(
		    pi, E82545_BAR_IO, PCIBAR_IO, E82545_BAR_IO_LEN);
	if (error == 0)
		error = e82545_tx_init(sc);
	if (error != 0) {
		EPRINTLN("e1000: %s", strerror(error));
		goto fail;
	}
	e82545_identity(pi);
	pci_lintr_request(pi);
	pi->pi_arg = sc;
	pthread_mutex_lock(&sc->esc_mtx);
	sc->esc_link = netbe_link_up(sc->esc_be);
	e82545_nvm_init(sc);
	e82545_phy_reset(sc);
	e82545_reset(sc);
	pthread_mutex_unlock(&sc->esc_mtx);
	return (0);
fail:
	e82545_free(sc);
	return (1);
}

static const struct pci_devemu pci_de_e82545 = {
	.pe_emu = "e1000",
	.pe_init = e82545_init,
	.pe_legacy_config = netbe_legacy_config,
	.pe_barwrite = e82545_barwrite,
	.pe_barread = e82545_barread,
	.pe_cleanup = e82545_cleanup,
};
PCI_EMUL_SET(pci_de_e82545);
