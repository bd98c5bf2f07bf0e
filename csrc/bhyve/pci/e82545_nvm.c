/*
 * The 82545EM's EEPROM, a 93C46 on a microwire that software clocks bit by
 * bit, and its PHY, an M88E1011 behind the MDIC register.
 */
#include <string.h>

#include "debug.h"
#include "e82545_local.h"

/* ---- EEPROM (5.6) ---- */
#define NVM_SUM 0xbaba
#define NVM_OPCODE_BITS 3 /* start bit, two bits of opcode */
#define NVM_ADDR_BITS 6
#define NVM_OP_EXT 4 /* the address's upper bits tell which */
#define NVM_OP_WRITE 5
#define NVM_OP_READ 6
#define NVM_OP_ERASE 7

void
e82545_nvm_init(struct e82545_softc *sc)
{
	uint16_t *w = sc->esc_nvm.words;
	uint16_t sum;
	int i;

	memset(&sc->esc_nvm, 0, sizeof(sc->esc_nvm));
	sc->esc_nvm.outbits = -1;
	sc->esc_nvm.dout = true;
	for (i = 0; i < ETHER_ADDR_LEN / 2; i++)
		w[i] = (uint16_t)(sc->esc_mac[2 * i] |
		    sc->esc_mac[2 * i + 1] << 8);
	w[0x04] = 0xffff; /* LEDs by default */
	w[0x0a] = 0x6408; /* initialization control 1: ids from here */
	w[0x0b] = 0x1008; /* subsystem id */
	w[0x0c] = 0x8086; /* subvendor */
	w[0x0d] = 0x100f; /* device */
	w[0x0e] = 0x8086; /* vendor */
	w[0x0f] = 0x0090; /* initialization control 2 */
	sum = 0;
	for (i = 0; i < NVM_WORDS - 1; i++)
		sum = (uint16_t)(sum + w[i]);
	w[NVM_WORDS - 1] = (uint16_t)(NVM_SUM - sum);
}

static void
nvm_command(struct e82545_nvm *nvm)
{
	uint32_t op;

	op = nvm->shift >> NVM_ADDR_BITS;
	nvm->addr = nvm->shift & (NVM_WORDS - 1);
	switch (op) {
	case NVM_OP_READ:
		nvm->out = nvm->words[nvm->addr];
		nvm->outbits = 16;
		break;
	case NVM_OP_ERASE:
		if (nvm->write_enabled)
			nvm->words[nvm->addr] = 0xffff;
		break;
	case NVM_OP_EXT:
		if (nvm->addr >> 4 == 3)
			nvm->write_enabled = true;
		else if (nvm->addr >> 4 == 0)
			nvm->write_enabled = false;
		break;
	default: /* a write's data follow */
		break;
	}
}

/* The clock rises while the chip is selected. */
static void
nvm_clock(struct e82545_nvm *nvm, bool din)
{
	const int cmd_bits = NVM_OPCODE_BITS + NVM_ADDR_BITS;

	if (nvm->outbits >= 0) {
		if (nvm->outbits == 0) {
			nvm->addr = (nvm->addr + 1) & (NVM_WORDS - 1);
			nvm->out = nvm->words[nvm->addr];
			nvm->outbits = 16;
		}
		nvm->dout = (nvm->out >> --nvm->outbits & 1) != 0;
		return;
	}
	if (nvm->nbits == 0 && !din)
		return; /* waits for the start bit */
	if (nvm->nbits >= cmd_bits + 16)
		return;
	nvm->shift = nvm->shift << 1 | din;
	nvm->nbits++;
	if (nvm->nbits == cmd_bits)
		nvm_command(nvm);
	if (nvm->nbits == cmd_bits + 16 &&
	    nvm->shift >> (16 + NVM_ADDR_BITS) == NVM_OP_WRITE &&
	    nvm->write_enabled)
		nvm->words[nvm->addr] = (uint16_t)nvm->shift;
}

void
e82545_eecd_write(struct e82545_softc *sc, uint32_t val)
{
	struct e82545_nvm *nvm = &sc->esc_nvm;
	uint32_t old;

	old = E82545_REG(sc, E1000_EECD);
	E82545_REG(sc, E1000_EECD) = val &
	    (E1000_EECD_SK | E1000_EECD_CS | E1000_EECD_DI | E1000_EECD_FWE |
		E1000_EECD_REQ);
	if ((val & E1000_EECD_CS) == 0) {
		nvm->nbits = 0;
		nvm->shift = 0;
		nvm->outbits = -1;
		nvm->dout = true; /* ready */
	} else if ((val & ~old & E1000_EECD_SK) != 0) {
		nvm_clock(nvm, (val & E1000_EECD_DI) != 0);
	}
}

uint32_t
e82545_eecd_read(struct e82545_softc *sc)
{
	uint32_t val;

	val = E82545_REG(sc, E1000_EECD) | E1000_EECD_PRES;
	if ((val & E1000_EECD_REQ) != 0)
		val |= E1000_EECD_GNT;
	if (sc->esc_nvm.dout)
		val |= E1000_EECD_DO;
	return (val);
}

/* ---- PHY (11) ---- */
#define PHY_ADDR 1
#define PHY_CONTROL 0
#define MII_CR_RESET 0x8000
#define MII_CR_AUTO_NEG_EN 0x1000
#define MII_CR_RESTART_AUTO_NEG 0x0200
#define PHY_STATUS 1
#define MII_SR_LINK_STATUS 0x0004
#define PHY_ID1 2
#define PHY_ID2 3
#define PHY_AUTONEG_ADV 4
#define PHY_LP_ABILITY 5
#define PHY_AUTONEG_EXP 6
#define PHY_1000T_CTRL 9
#define PHY_1000T_STATUS 10
#define PHY_EXT_STATUS 15
#define M88_PHY_SPEC_CTRL 16
#define M88_PHY_SPEC_STATUS 17
#define M88_PSSR_LINK 0x0400
#define M88E1011_ID1 0x0141
#define M88E1011_ID2 0x0c24

void
e82545_phy_reset(struct e82545_softc *sc)
{
	uint16_t *phy = sc->esc_phy;

	memset(phy, 0, sizeof(sc->esc_phy));
	phy[PHY_CONTROL] = MII_CR_AUTO_NEG_EN | 0x0140; /* 1000, full */
	phy[PHY_STATUS] = 0x7969; /* all speeds, negotiation complete */
	phy[PHY_ID1] = M88E1011_ID1;
	phy[PHY_ID2] = M88E1011_ID2;
	phy[PHY_AUTONEG_ADV] = 0x01e1;
	phy[PHY_LP_ABILITY] = 0x41e1;
	phy[PHY_AUTONEG_EXP] = 0x0003;
	phy[PHY_1000T_CTRL] = 0x0e00;
	phy[PHY_1000T_STATUS] = 0x3c00; /* the partner does 1000 */
	phy[PHY_EXT_STATUS] = 0x3000;
	phy[M88_PHY_SPEC_CTRL] = 0x0068;
	phy[M88_PHY_SPEC_STATUS] = 0xa800; /* 1000, full, resolved */
}

static uint16_t
phy_read(struct e82545_softc *sc, int reg)
{
	uint16_t val;

	val = sc->esc_phy[reg];
	if (reg == PHY_STATUS && sc->esc_link)
		val |= MII_SR_LINK_STATUS;
	if (reg == M88_PHY_SPEC_STATUS && sc->esc_link)
		val |= M88_PSSR_LINK;
	return (val);
}

static void
phy_write(struct e82545_softc *sc, int reg, uint16_t val)
{
	switch (reg) {
	case PHY_CONTROL:
		if ((val & MII_CR_RESET) != 0) {
			e82545_phy_reset(sc);
			val = sc->esc_phy[PHY_CONTROL];
		}
		if ((val & MII_CR_RESTART_AUTO_NEG) != 0 && sc->esc_link)
			e82545_interrupt(sc, E1000_ICR_LSC);
		sc->esc_phy[reg] =
		    val & (uint16_t) ~(MII_CR_RESET | MII_CR_RESTART_AUTO_NEG);
		break;
	case PHY_STATUS:
	case PHY_ID1:
	case PHY_ID2:
	case PHY_LP_ABILITY:
	case PHY_AUTONEG_EXP:
	case PHY_1000T_STATUS:
	case PHY_EXT_STATUS:
	case M88_PHY_SPEC_STATUS:
		break;
	default:
		sc->esc_phy[reg] = val;
		break;
	}
}

void
e82545_mdic_write(struct e82545_softc *sc, uint32_t val)
{
	int addr, reg;

	reg = val >> 16 & 31;
	addr = val >> 21 & 31;
	val &= ~(uint32_t)(E1000_MDIC_READY | E1000_MDIC_ERROR);
	if (addr != PHY_ADDR) {
		val |= E1000_MDIC_ERROR;
	} else if ((val & E1000_MDIC_OP_MASK) == E1000_MDIC_OP_READ) {
		val = (val & 0xffff0000) | phy_read(sc, reg);
	} else if ((val & E1000_MDIC_OP_MASK) == E1000_MDIC_OP_WRITE) {
		phy_write(sc, reg, (uint16_t)val);
	} else {
		GUEST_LOG("e1000: MDIC with operation 0x%x", val);
		val |= E1000_MDIC_ERROR;
	}
	E82545_REG(sc, E1000_MDIC) = val | E1000_MDIC_READY;
	if ((val & E1000_MDIC_INT_EN) != 0)
		e82545_interrupt(sc, E1000_ICR_MDAC);
}
