/*
 * The Intel 82545EM (PCI/PCI-X Family of Gigabit Ethernet Controllers
 * Software Developer's Manual): registers and what its files share.
 */
#ifndef _E82545_LOCAL_H_
#define _E82545_LOCAL_H_

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "net_backends.h"
#include "net_utils.h"
#include "pci_emul.h"

/* ---- registers (13.4) ---- */
#define E1000_CTRL 0x0000
#define E1000_CTRL_DUP 0x0004
#define E1000_CTRL_FD 0x00000001
#define E1000_CTRL_RST 0x04000000
#define E1000_CTRL_VME 0x40000000
#define E1000_CTRL_PHY_RST 0x80000000
#define E1000_STATUS 0x0008
#define E1000_STATUS_FD 0x00000001
#define E1000_STATUS_LU 0x00000002
#define E1000_STATUS_SPEED_1000 0x00000080
#define E1000_EECD 0x0010
#define E1000_EECD_SK 0x01
#define E1000_EECD_CS 0x02
#define E1000_EECD_DI 0x04
#define E1000_EECD_DO 0x08
#define E1000_EECD_FWE 0x30
#define E1000_EECD_REQ 0x40
#define E1000_EECD_GNT 0x80
#define E1000_EECD_PRES 0x100
#define E1000_CTRL_EXT 0x0018
#define E1000_CTRL_EXT_EE_RST 0x00002000
#define E1000_MDIC 0x0020
#define E1000_MDIC_OP_WRITE 0x04000000
#define E1000_MDIC_OP_READ 0x08000000
#define E1000_MDIC_OP_MASK 0x0c000000
#define E1000_MDIC_READY 0x10000000
#define E1000_MDIC_INT_EN 0x20000000
#define E1000_MDIC_ERROR 0x40000000
#define E1000_FCAL 0x0028
#define E1000_FCAH 0x002c
#define E1000_FCT 0x0030
#define E1000_VET 0x0038
#define E1000_ICR 0x00c0
#define E1000_ITR 0x00c4
#define E1000_ICS 0x00c8
#define E1000_IMS 0x00d0
#define E1000_IMC 0x00d8
#define E1000_ICR_TXDW 0x00000001
#define E1000_ICR_TXQE 0x00000002
#define E1000_ICR_LSC 0x00000004
#define E1000_ICR_RXDMT0 0x00000010
#define E1000_ICR_RXO 0x00000040
#define E1000_ICR_RXT0 0x00000080
#define E1000_ICR_MDAC 0x00000200
#define E1000_ICR_ALL 0x0001ffff
#define E1000_RCTL 0x0100
#define E1000_RCTL_EN 0x00000002
#define E1000_RCTL_UPE 0x00000008
#define E1000_RCTL_MPE 0x00000010
#define E1000_RCTL_LPE 0x00000020
#define E1000_RCTL_LBM 0x000000c0
#define E1000_RCTL_BAM 0x00008000
#define E1000_RCTL_VFE 0x00040000
#define E1000_RCTL_BSEX 0x02000000
#define E1000_RCTL_SECRC 0x04000000
#define E1000_FCTTV 0x0170
#define E1000_TXCW 0x0178
#define E1000_RXCW 0x0180
#define E1000_TCTL 0x0400
#define E1000_TCTL_EN 0x00000002
#define E1000_TCTL_PSP 0x00000008
#define E1000_TIPG 0x0410
#define E1000_AIT 0x0458
#define E1000_LEDCTL 0x0e00
#define E1000_PBA 0x1000
#define E1000_FCRTL 0x2160
#define E1000_FCRTH 0x2168
#define E1000_RDBAL 0x2800
#define E1000_RDBAH 0x2804
#define E1000_RDLEN 0x2808
#define E1000_RDH 0x2810
#define E1000_RDT 0x2818
#define E1000_RDTR 0x2820
#define E1000_RXDCTL 0x2828
#define E1000_RADV 0x282c
#define E1000_RSRPD 0x2c00
#define E1000_TDBAL 0x3800
#define E1000_TDBAH 0x3804
#define E1000_TDLEN 0x3808
#define E1000_TDH 0x3810
#define E1000_TDT 0x3818
#define E1000_TIDV 0x3820
#define E1000_TXDCTL 0x3828
#define E1000_TADV 0x382c
#define E1000_TSPMT 0x3830
/* Statistics: cleared by reading (13.7). */
#define E1000_STATS 0x4000
#define E1000_MPC 0x4010
#define E1000_PRC64 0x405c
#define E1000_GPRC 0x4074
#define E1000_BPRC 0x4078
#define E1000_MPRC 0x407c
#define E1000_GPTC 0x4080
#define E1000_GORCL 0x4088
#define E1000_GOTCL 0x4090
#define E1000_RNBC 0x40a0
#define E1000_RUC 0x40a4
#define E1000_ROC 0x40ac
#define E1000_TORL 0x40c0
#define E1000_TOTL 0x40c8
#define E1000_TPR 0x40d0
#define E1000_TPT 0x40d4
#define E1000_PTC64 0x40d8
#define E1000_MPTC 0x40f0
#define E1000_BPTC 0x40f4
#define E1000_TSCTC 0x40f8
#define E1000_TSCTFC 0x40fc
/* Later chips count interrupts behind that; drivers read them of any chip. */
#define E1000_STATS_END 0x4128
#define E1000_RXCSUM 0x5000
#define E1000_RXCSUM_IPOFL 0x100
#define E1000_RXCSUM_TUOFL 0x200
#define E1000_RFCTL 0x5008 /* of later chips, likewise */
#define E1000_MTA 0x5200
#define E1000_MTA_END 0x5400
#define E1000_RA 0x5400 /* pairs of RAL and RAH */
#define E1000_RA_END 0x5480
#define E1000_RAH_AV 0x80000000
#define E1000_VFTA 0x5600
#define E1000_VFTA_END 0x5800
#define E1000_WUC 0x5800 /* wake-up and management: stored only */
#define E1000_MANC 0x5820
#define E1000_REGS_END 0x5900

/* ---- descriptors (3.2, 3.3) ---- */
struct e1000_rx_desc {
	uint64_t buffer_addr;
	uint16_t length;
	uint16_t csum;
	uint8_t status;
	uint8_t errors;
	uint16_t special;
};
#define E1000_RXD_STAT_DD 0x01
#define E1000_RXD_STAT_EOP 0x02
#define E1000_RXD_STAT_IXSM 0x04
#define E1000_RXD_STAT_VP 0x08
#define E1000_RXD_STAT_TCPCS 0x20
#define E1000_RXD_STAT_IPCS 0x40
#define E1000_RXD_STAT_PIF 0x80
#define E1000_RXD_ERR_TCPE 0x20
#define E1000_RXD_ERR_IPE 0x40

struct e1000_tx_desc {
	uint64_t addr; /* or the context's first two words */
	uint32_t lower;
	uint32_t upper;
};
#define E1000_TXD_CMD_EOP 0x01000000
#define E1000_TXD_CMD_IC 0x04000000 /* legacy */
#define E1000_TXD_CMD_TSE 0x04000000
#define E1000_TXD_CMD_RS 0x08000000
#define E1000_TXD_CMD_RPS 0x10000000
#define E1000_TXD_CMD_DEXT 0x20000000
#define E1000_TXD_CMD_VLE 0x40000000
#define E1000_TXD_DTYP_MASK 0x00f00000
#define E1000_TXD_DTYP_C 0x00000000
#define E1000_TXD_DTYP_D 0x00100000
#define E1000_TXD_CTX_TCP 0x01000000
#define E1000_TXD_CTX_IP 0x02000000
#define E1000_TXD_STAT_DD 0x00000001
#define E1000_TXD_POPTS_IXSM 0x00000100
#define E1000_TXD_POPTS_TXSM 0x00000200
_Static_assert(sizeof(struct e1000_rx_desc) == 16, "3.2.3");
_Static_assert(sizeof(struct e1000_tx_desc) == 16, "3.3.3");

#define NVM_WORDS 64
#define PHY_REGS 32

/* The EEPROM's side of the microwire. */
struct e82545_nvm {
	uint16_t words[NVM_WORDS];
	bool write_enabled;
	int nbits; /* command bits so far */
	uint32_t shift;
	uint16_t out;
	int outbits; /* left of out; -1: a command is coming in */
	uint8_t addr;
	bool dout;
};

/* The context that a descriptor of that kind has set (3.3.6). */
struct e82545_txctx {
	uint8_t ipcss, ipcso, tucss, tucso, hdrlen;
	uint16_t ipcse, tucse, mss;
	uint32_t tucmd;
};

struct e82545_softc {
	struct pci_devinst *esc_pi;
	struct vmctx *esc_ctx;
	net_backend_t *esc_be;
	uint8_t esc_mac[ETHER_ADDR_LEN];

	/* Everything below, save for what is said to be the thread's. */
	pthread_mutex_t esc_mtx;
	uint32_t esc_regs[E1000_REGS_END / 4];
	uint32_t esc_icr;
	uint32_t esc_ims;
	bool esc_irq_asserted;
	bool esc_itr_wait; /* the throttle's time is not over */
	struct mevent *esc_itr_mevp;
	uint32_t esc_ioaddr;
	bool esc_link;
	struct e82545_nvm esc_nvm;
	uint16_t esc_phy[PHY_REGS];

	bool esc_rx_on; /* the back end calls us */

	pthread_t esc_tx_tid;
	pthread_cond_t esc_tx_cond;
	bool esc_tx_started;
	bool esc_tx_busy; /* the thread is at a batch */
	_Atomic bool esc_tx_stop;
	bool esc_tx_quit;

	/* The sending thread's, and the reset's while that is idle. */
	struct e82545_txctx esc_txctx;
	uint8_t *esc_frame; /* VLAN tag's room, then the frame so far */
	size_t esc_frame_len;
	bool esc_frame_bad;
	bool esc_frame_first; /* no data descriptor of the frame yet */
	uint32_t esc_frame_cmd;
	uint32_t esc_frame_opts;
	uint16_t esc_frame_vlan;
	uint8_t *esc_segbuf;
};

#define E82545_REG(sc, off) ((sc)->esc_regs[(off) / 4])

/* pci_e82545.c; esc_mtx held. */
void e82545_interrupt(struct e82545_softc *sc, uint32_t causes);
void e82545_stat(struct e82545_softc *sc, uint32_t off);
void e82545_stat64(struct e82545_softc *sc, uint32_t off, uint64_t n);
/* The size bin of a frame (64, 65-127, ... 1024-) after the first's register,
 * its kind and its bytes. */
void e82545_count(
    struct e82545_softc *sc, const uint8_t *frame, size_t len, bool tx);

/* e82545_nvm.c; esc_mtx held. */
void e82545_nvm_init(struct e82545_softc *sc);
void e82545_eecd_write(struct e82545_softc *sc, uint32_t val);
uint32_t e82545_eecd_read(struct e82545_softc *sc);
void e82545_phy_reset(struct e82545_softc *sc);
void e82545_mdic_write(struct e82545_softc *sc, uint32_t val);

/* e82545_rx.c */
void e82545_rx_callback(int fd, enum ev_type type, void *param);
/* The ring or the control register has changed; esc_mtx held. */
void e82545_rx_update(struct e82545_softc *sc);

/* e82545_tx.c */
int e82545_tx_init(struct e82545_softc *sc); /* 0 or an errno */
void e82545_tx_cleanup(struct e82545_softc *sc);
/* The tail moved or sending was enabled; esc_mtx held. */
void e82545_tx_kick(struct e82545_softc *sc);
/* Wait until the thread has let go of the ring; esc_mtx held, and dropped
 * meanwhile. */
void e82545_tx_quiesce(struct e82545_softc *sc);
/* Forget the frame and the context; quiesced. */
void e82545_tx_reset(struct e82545_softc *sc);

#endif
