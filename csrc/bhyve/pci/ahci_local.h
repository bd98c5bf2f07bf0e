/*
 * The AHCI host bus adapter (Serial ATA AHCI 1.3.1) between its files:
 * pci_ahci.c (options, HBA registers, interrupts), ahci_port.c (ports, FISes,
 * command lists), ahci_cmd.c (ATA commands), ahci_atapi.c (packets).
 *
 * Locks: sc_reg_mtx is held across a register write, so that a port can be
 * stopped without its state moving; sc_mtx guards all state and is what the
 * back end's callbacks take.  Order: sc_reg_mtx -> sc_mtx -> interrupts.
 */
#ifndef _AHCI_LOCAL_H_
#define _AHCI_LOCAL_H_

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "block_if.h"

#define AHCI_MIN_PORTS 6
#define AHCI_MAX_PORTS 32
#define AHCI_SLOTS 32
#define AHCI_OFFSET 0x100 /* of the first port's registers */
#define AHCI_STEP 0x80

/* Port registers (3.3). */
#define AHCI_P_CLB 0x00
#define AHCI_P_CLBU 0x04
#define AHCI_P_FB 0x08
#define AHCI_P_FBU 0x0c
#define AHCI_P_IS 0x10
#define AHCI_P_IE 0x14
#define AHCI_P_CMD 0x18
#define AHCI_P_TFD 0x20
#define AHCI_P_SIG 0x24
#define AHCI_P_SSTS 0x28
#define AHCI_P_SCTL 0x2c
#define AHCI_P_SERR 0x30
#define AHCI_P_SACT 0x34
#define AHCI_P_CI 0x38
#define AHCI_P_SNTF 0x3c

#define P_IX_DHR 0x00000001u
#define P_IX_PS 0x00000002u
#define P_IX_SDB 0x00000008u
#define P_IX_PC 0x00000040u
#define P_IX_PRC 0x00400000u
#define P_IX_OF 0x01000000u
#define P_IX_IF 0x08000000u
#define P_IX_HBF 0x20000000u
#define P_IX_TFE 0x40000000u
#define P_IX_ALL 0xfdc000ffu

#define P_CMD_ST 0x00000001u
#define P_CMD_SUD 0x00000002u
#define P_CMD_POD 0x00000004u
#define P_CMD_CLO 0x00000008u
#define P_CMD_FRE 0x00000010u
#define P_CMD_CCS_MASK 0x00001f00u
#define P_CMD_CCS_SHIFT 8
#define P_CMD_FR 0x00004000u
#define P_CMD_CR 0x00008000u
#define P_CMD_ATAPI 0x01000000u
/* ST, SUD, POD, FRE, APSTE, ATAPI, DLAE, ALPE, ASP. */
#define P_CMD_RW 0x0f800017u

#define P_SERR_N 0x00010000u
#define P_SERR_X 0x04000000u

/* ATA status and error registers. */
#define ATA_S_ERROR 0x01
#define ATA_S_DRQ 0x08
#define ATA_S_DSC 0x10
#define ATA_S_READY 0x40
#define ATA_S_BUSY 0x80
#define ATA_E_ABORT 0x04
#define ATA_E_IDNF 0x10
#define ATA_E_UNC 0x40

enum ahci_type { AHCI_NONE, AHCI_HD, AHCI_CD };
enum ahci_op { AOP_READ, AOP_WRITE, AOP_FLUSH, AOP_TRIM };

struct ahci_port;

/* A command of one slot: a copy of all that the guest said. */
struct ahci_req {
	struct blockif_req breq;
	struct ahci_port *port;
	int slot;
	enum ahci_op op;
	bool ncq;
	bool pio;   /* a PIO Setup FIS goes before the end */
	bool flush; /* after the last byte is written */
	uint8_t cfis[64];
	uint8_t acmd[16];
	uint64_t hdr;  /* gpa of the command header */
	uint64_t ctba; /* gpa of the command table */
	uint32_t prdtl;
	/* The PRD at work; each is fetched once. */
	uint32_t prd_next;
	uint64_t prd_gpa;
	uint32_t prd_len;
	uint64_t offset, done, left;
	uint64_t gpa[BLOCKIF_IOV_MAX]; /* of each element of breq.br_iov */
	uint64_t trim[64];
	int ntrim, trim_next;
};

struct ahci_softc;

struct ahci_port {
	struct ahci_softc *sc;
	int num;
	enum ahci_type type;
	struct blockif_ctxt *bctx;
	struct ahci_req *req; /* AHCI_SLOTS of them */

	uint64_t clb, fb;
	uint32_t is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci, sntf;
	uint32_t pending; /* slots whose request the back end has */
	int ccs;
	bool stopping; /* completions are dropped */
	bool errored;  /* no command starts until ST goes to 0 */
	bool srst;     /* between the two FISes of a software reset */

	/* What the drive says of itself. */
	char serial[21], model[41], rev[9];
	unsigned int nmrr;
	bool rzat; /* trimmed sectors read as zero */
	/* The drive's state. */
	uint8_t xfermode, mult;
	bool wcache, rcache, async_notify;
	uint8_t ncq_error[16]; /* of log page 0x10 */
	bool ejected;
	uint8_t sense_key, asc;
};

struct ahci_softc {
	struct pci_devinst *sc_pi;
	pthread_mutex_t sc_reg_mtx;
	pthread_mutex_t sc_mtx;
	int sc_ports;
	uint32_t sc_cap, sc_ghc, sc_is, sc_pi_mask;
	struct ahci_port sc_port[AHCI_MAX_PORTS];
};

/* ---- pci_ahci.c: interrupts; sc_mtx is held ---- */
/* The ports of mask may have something new to tell. */
void ahci_update_intr(struct ahci_softc *sc, uint32_t mask);

/* ---- ahci_port.c ---- */
void ahci_port_init(struct ahci_port *p);
uint32_t ahci_port_read(struct ahci_port *p, uint32_t offset); /* sc_mtx */
/* Under sc_reg_mtx and sc_mtx, the latter of which it may drop a while. */
void ahci_port_write(struct ahci_port *p, uint32_t offset, uint32_t val);
void ahci_port_stop(struct ahci_port *p);  /* the same */
void ahci_port_reset(struct ahci_port *p); /* sc_mtx */
void ahci_port_run(struct ahci_port *p);   /* sc_mtx */
/* [gpa, gpa + len) of guest RAM for DMA, or NULL. */
void *ahci_dma(struct ahci_port *p, uint64_t gpa, uint64_t len);
/* The next piece of the PRD table, at most want bytes; 0, or a P_IX_ bit. */
uint32_t ahci_prd_piece(struct ahci_req *req, uint64_t want, uint64_t *gpa,
    void **hva, uint32_t *n);
/* Copy a reply or parameter list by the PRD table; 0, or a P_IX_ bit. */
uint32_t ahci_copyout(struct ahci_req *req, const void *buf, uint32_t len);
uint32_t ahci_copyin(struct ahci_req *req, void *buf, uint32_t len);
/* Ends of a command; status and error are the device's registers. */
void ahci_finish(struct ahci_req *req, uint8_t status, uint8_t error);
void ahci_ok(struct ahci_req *req);
void ahci_abort(struct ahci_req *req, uint8_t error);
/* The HBA cannot go on: a P_IX_ bit. */
void ahci_fatal(struct ahci_port *p, uint32_t bit);
/* An NCQ command was taken in: its slot is free for the driver. */
void ahci_accept_ncq(struct ahci_req *req);

/* ---- ahci_cmd.c; sc_mtx is held ---- */
void ahci_handle_cmd(struct ahci_req *req);
/* Start the transfer of left bytes at offset that req describes. */
void ahci_start_io(struct ahci_req *req);
void ahci_power_on(struct ahci_port *p);
void ahci_drive_reset(struct ahci_port *p);
/* Words of IDENTIFY, low byte first. */
void ahci_put16(uint8_t *buf, int word, uint16_t val);
void ahci_put_string(uint8_t *buf, int word, const char *text, int len);
void ahci_put_checksum(uint8_t *buf, bool signature);

/* ---- ahci_atapi.c; sc_mtx is held ---- */
void ahci_atapi_identify(struct ahci_req *req);
void ahci_handle_packet(struct ahci_req *req);
/* The end of a packet command whose data the back end moved. */
void ahci_packet_ok(struct ahci_req *req);
void ahci_packet_error(struct ahci_req *req, uint8_t key, uint8_t asc);

#endif
