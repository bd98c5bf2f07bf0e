/*
 * An AHCI port (AHCI 1.3.1, 3.3 and chapter 5): its registers, the command
 * list, PRD tables, and the FISes that come back.
 */
#include <errno.h>
#include <string.h>

#include "ahci_local.h"
#include "bhyverun.h"
#include "pci_emul.h"
#include "vmmapi.h"

#define HDR_SIZE 32
#define HDR_CFL 0x1fu
#define HDR_PRDBC 4 /* bytes transferred */
#define TABLE_ACMD 0x40
#define TABLE_PRD 0x80
#define PRD_SIZE 16
#define PRD_DBC 0x3fffffu

#define FIS_REGH2D 0x27
#define FIS_REGD2H 0x34
#define FIS_SETDEVBITS 0xa1
#define FIS_PIOSETUP 0x5f
#define FIS_I 0x40 /* asks for an interrupt */
#define FIS_D 0x20 /* to the host */
#define FIS_C 0x80 /* the command register was written */
#define CONTROL_SRST 0x04

/* The received FIS structure (4.2.1). */
#define RFIS_PIOSETUP 0x20
#define RFIS_D2H 0x40
#define RFIS_SDB 0x58
#define RFIS_SIZE 0x100

#define SIG_ATA 0x00000101u
#define SIG_ATAPI 0xeb140101u

#define SSTS_UP 0x00000103u /* interface active, device and phy there */
#define SSTS_GEN(n) ((uint32_t)(n) << 4)

/* ---- guest memory ---- */

void *
ahci_dma(struct ahci_port *p, uint64_t gpa, uint64_t len)
{
	struct pci_devinst *pi = p->sc->sc_pi;

	if ((pci_get_cfgdata16(pi, PCIR_COMMAND) & PCIM_CMD_BUSMASTEREN) == 0)
		return (NULL);
	return (paddr_guest2host(pi->pi_vmctx, gpa, len));
}

static void
ahci_dirty(struct ahci_port *p, uint64_t gpa, uint64_t len)
{
	vm_dirty_gpa(p->sc->sc_pi->pi_vmctx, gpa, len);
}

static uint32_t
get32(const uint8_t *p)
{
	uint32_t val;

	memcpy(&val, p, sizeof(val));
	return (val);
}

uint32_t
ahci_prd_piece(
    struct ahci_req *req, uint64_t want, uint64_t *gpa, void **hva, uint32_t *n)
{
	uint8_t prd[PRD_SIZE];
	const void *src;

	if (req->prd_len == 0) {
		if (req->prd_next >= req->prdtl)
			return (P_IX_OF);
		src = ahci_dma(req->port,
		    req->ctba + TABLE_PRD + (uint64_t)req->prd_next * PRD_SIZE,
		    PRD_SIZE);
		if (src == NULL)
			return (P_IX_HBF);
		memcpy(prd, src, sizeof(prd));
		req->prd_next++;
		req->prd_gpa =
		    (get32(prd) & ~1u) | (uint64_t)get32(prd + 4) << 32;
		req->prd_len = (get32(prd + 12) & PRD_DBC) + 1;
	}
	*n = want < req->prd_len ? (uint32_t)want : req->prd_len;
	*gpa = req->prd_gpa;
	*hva = ahci_dma(req->port, *gpa, *n);
	req->prd_gpa += *n;
	req->prd_len -= *n;
	return (*hva != NULL ? 0 : P_IX_HBF);
}

uint32_t
ahci_copyout(struct ahci_req *req, const void *buf, uint32_t len)
{
	const uint8_t *src = buf;
	uint32_t error, n;
	uint64_t gpa;
	void *hva;

	while (len > 0) {
		error = ahci_prd_piece(req, len, &gpa, &hva, &n);
		if (error != 0)
			return (error);
		memcpy(hva, src, n);
		ahci_dirty(req->port, gpa, n);
		src += n;
		len -= n;
		req->done += n;
	}
	return (0);
}

uint32_t
ahci_copyin(struct ahci_req *req, void *buf, uint32_t len)
{
	uint8_t *dst = buf;
	uint32_t error, n;
	uint64_t gpa;
	void *hva;

	while (len > 0) {
		error = ahci_prd_piece(req, len, &gpa, &hva, &n);
		if (error != 0)
			return (error);
		memcpy(dst, hva, n);
		dst += n;
		len -= n;
		req->done += n;
	}
	return (0);
}

/* ---- FISes to the host ---- */

static void
ahci_write_fis(struct ahci_port *p, uint32_t where, const uint8_t *fis,
    uint32_t len, uint32_t is)
{
	uint8_t *rfis;

	if ((p->cmd & P_CMD_FRE) == 0)
		return;
	rfis = ahci_dma(p, p->fb, RFIS_SIZE);
	if (rfis == NULL) {
		ahci_fatal(p, P_IX_HBF);
		return;
	}
	memcpy(rfis + where, fis, len);
	ahci_dirty(p, p->fb + where, len);
	if ((fis[1] & FIS_I) != 0)
		p->is |= is;
}

/* Register FIS of a command's end; cfis gives back its registers. */
static void
ahci_write_d2h(struct ahci_port *p, const uint8_t *cfis, uint8_t intr,
    uint8_t status, uint8_t error)
{
	uint8_t fis[20];

	memset(fis, 0, sizeof(fis));
	fis[0] = FIS_REGD2H;
	fis[1] = intr;
	fis[2] = status;
	fis[3] = error;
	memcpy(fis + 4, cfis + 4, 4);
	memcpy(fis + 8, cfis + 8, 3);
	fis[12] = cfis[12];
	fis[13] = cfis[13];
	p->tfd = status | (uint32_t)error << 8;
	ahci_write_fis(p, RFIS_D2H, fis, sizeof(fis), P_IX_DHR);
}

static void
ahci_write_pio_setup(struct ahci_req *req)
{
	uint8_t fis[20];

	memset(fis, 0, sizeof(fis));
	fis[0] = FIS_PIOSETUP;
	fis[1] = FIS_I | FIS_D;
	fis[2] = ATA_S_READY | ATA_S_DSC | ATA_S_DRQ;
	memcpy(fis + 4, req->cfis + 4, 4);
	memcpy(fis + 8, req->cfis + 8, 3);
	fis[12] = req->cfis[12];
	fis[13] = req->cfis[13];
	fis[15] = ATA_S_READY | ATA_S_DSC;
	fis[16] = (uint8_t)req->done;
	fis[17] = (uint8_t)(req->done >> 8);
	ahci_write_fis(req->port, RFIS_PIOSETUP, fis, sizeof(fis), P_IX_PS);
}

static void
ahci_write_sdb(struct ahci_port *p, int slot, uint8_t status, uint8_t error)
{
	uint8_t fis[8];
	uint32_t done;

	/* A failed command stays active: the log tells which it is. */
	done = (status & ATA_S_ERROR) != 0 ? 0 : 1u << slot;
	memset(fis, 0, sizeof(fis));
	fis[0] = FIS_SETDEVBITS;
	fis[1] = FIS_I;
	fis[2] = status & 0x77;
	fis[3] = error;
	memcpy(fis + 4, &done, sizeof(done));
	p->sact &= ~done;
	p->tfd = (p->tfd & ~0xff77u) | fis[2] | (uint32_t)error << 8;
	ahci_write_fis(p, RFIS_SDB, fis, sizeof(fis), P_IX_SDB);
}

/* ---- a command's end ---- */

void
ahci_fatal(struct ahci_port *p, uint32_t bit)
{
	p->is |= bit;
	p->errored = true;
	ahci_update_intr(p->sc, 1u << p->num);
}

static void
ahci_write_prdbc(struct ahci_req *req)
{
	uint32_t count;
	uint8_t *dst;

	dst = ahci_dma(req->port, req->hdr + HDR_PRDBC, sizeof(count));
	if (dst == NULL)
		return;
	count = (uint32_t)req->done;
	memcpy(dst, &count, sizeof(count));
	ahci_dirty(req->port, req->hdr + HDR_PRDBC, sizeof(count));
}

void
ahci_finish(struct ahci_req *req, uint8_t status, uint8_t error)
{
	struct ahci_port *p = req->port;
	uint32_t bit;

	bit = 1u << req->slot;
	p->pending &= ~bit;
	if (req->ncq) {
		if ((status & ATA_S_ERROR) != 0) {
			memset(p->ncq_error, 0, sizeof(p->ncq_error));
			p->ncq_error[0] = (uint8_t)req->slot;
			p->ncq_error[2] = status;
			p->ncq_error[3] = error;
			memcpy(p->ncq_error + 4, req->cfis + 4, 4);
			memcpy(p->ncq_error + 8, req->cfis + 8, 3);
		}
		ahci_write_sdb(p, req->slot, status, error);
	} else {
		ahci_write_prdbc(req);
		if ((status & ATA_S_ERROR) == 0) {
			p->ci &= ~bit;
			if (req->pio && req->done > 0)
				ahci_write_pio_setup(req);
		}
		ahci_write_d2h(p, req->cfis, FIS_I, status, error);
	}
	if ((status & ATA_S_ERROR) != 0) {
		p->is |= P_IX_TFE;
		p->errored = true;
	}
	ahci_update_intr(p->sc, 1u << p->num);
}

void
ahci_ok(struct ahci_req *req)
{
	ahci_finish(req, ATA_S_READY | ATA_S_DSC, 0);
}

void
ahci_abort(struct ahci_req *req, uint8_t error)
{
	ahci_finish(req, ATA_S_READY | ATA_S_DSC | ATA_S_ERROR, error);
}

void
ahci_accept_ncq(struct ahci_req *req)
{
	struct ahci_port *p = req->port;

	req->ncq = true;
	p->ci &= ~(1u << req->slot);
	ahci_write_d2h(p, req->cfis, 0, ATA_S_READY | ATA_S_DSC, 0);
}

/* ---- resets ---- */

/* The device's signature, as it comes after each reset. */
static void
ahci_write_signature(struct ahci_port *p)
{
	uint8_t cfis[20];

	memset(cfis, 0, sizeof(cfis));
	p->sig = p->type == AHCI_CD ? SIG_ATAPI : SIG_ATA;
	cfis[4] = (uint8_t)(p->sig >> 8);
	cfis[5] = (uint8_t)(p->sig >> 16);
	cfis[6] = (uint8_t)(p->sig >> 24);
	cfis[12] = (uint8_t)p->sig;
	ahci_write_d2h(p, cfis, FIS_I,
	    p->type == AHCI_CD ? 0 : ATA_S_READY | ATA_S_DSC, 1);
}

void
ahci_port_reset(struct ahci_port *p)
{
	uint32_t gen;

	p->srst = false;
	p->sact = 0;
	if (p->type == AHCI_NONE) {
		p->ssts = 0;
		p->sig = 0xffffffff;
		p->tfd = 0x7f;
		return;
	}
	/* The slowest that the driver allows. */
	gen = (p->sctl >> 4) & 0xf;
	if (gen == 0 || gen > 3)
		gen = 3;
	p->ssts = SSTS_UP | SSTS_GEN(gen);
	ahci_drive_reset(p);
	ahci_write_signature(p);
}

void
ahci_port_init(struct ahci_port *p)
{
	p->clb = p->fb = 0;
	p->is = p->ie = p->sctl = p->serr = p->ci = p->sntf = 0;
	p->cmd = P_CMD_SUD | P_CMD_POD;
	p->ccs = 0;
	p->errored = false;
	ahci_port_reset(p);
}

/*
 * ST goes to 0: commands that the back end has not begun are taken back, the
 * others are waited for.  Their ends are not told any more.
 */
void
ahci_port_stop(struct ahci_port *p)
{
	uint32_t slots;
	int slot;

	p->stopping = true;
	slots = p->pending;
	pthread_mutex_unlock(&p->sc->sc_mtx);
	for (slot = 0; slot < AHCI_SLOTS; slot++) {
		if ((slots & (1u << slot)) != 0)
			(void)blockif_cancel(p->bctx, &p->req[slot].breq);
	}
	pthread_mutex_lock(&p->sc->sc_mtx);
	p->stopping = false;
	p->pending = 0;
	p->ci = p->sact = 0;
	p->errored = false;
	p->ccs = 0;
	p->cmd &= ~(P_CMD_CR | P_CMD_CCS_MASK);
	if (p->type != AHCI_NONE)
		p->tfd &= ~(uint32_t)(ATA_S_BUSY | ATA_S_DRQ);
}

/* ---- commands ---- */

static void
ahci_control_fis(struct ahci_req *req)
{
	struct ahci_port *p = req->port;

	p->ci &= ~(1u << req->slot);
	if ((req->cfis[15] & CONTROL_SRST) != 0) {
		p->srst = true;
	} else if (p->srst) {
		p->srst = false;
		ahci_drive_reset(p);
		ahci_write_signature(p);
		ahci_update_intr(p->sc, 1u << p->num);
	}
}

/* Copy header and command table; false after telling the error. */
static bool
ahci_fetch(struct ahci_port *p, struct ahci_req *req)
{
	uint8_t hdr[HDR_SIZE];
	const void *src;
	uint32_t flags;

	req->hdr = p->clb + (uint64_t)req->slot * HDR_SIZE;
	src = ahci_dma(p, req->hdr, sizeof(hdr));
	if (src == NULL) {
		ahci_fatal(p, P_IX_HBF);
		return (false);
	}
	memcpy(hdr, src, sizeof(hdr));
	flags = get32(hdr);
	req->prdtl = flags >> 16;
	req->ctba = (get32(hdr + 8) & ~0x7fu) | (uint64_t)get32(hdr + 12) << 32;
	src = ahci_dma(p, req->ctba, TABLE_PRD);
	if (src == NULL) {
		ahci_fatal(p, P_IX_HBF);
		return (false);
	}
	memcpy(req->cfis, src, sizeof(req->cfis));
	memcpy(req->acmd, (const uint8_t *)src + TABLE_ACMD, 16);
	/* A register FIS has five words, and a FIS at most sixteen. */
	if ((flags & HDR_CFL) < 5 || (flags & HDR_CFL) > 16 ||
	    req->cfis[0] != FIS_REGH2D) {
		ahci_fatal(p, P_IX_IF);
		return (false);
	}
	req->prd_next = req->prd_len = 0;
	req->done = req->left = 0;
	req->ncq = req->pio = req->flush = false;
	return (true);
}

static void
ahci_start_slot(struct ahci_port *p, int slot)
{
	struct ahci_req *req = &p->req[slot];

	req->port = p;
	req->slot = slot;
	if (!ahci_fetch(p, req))
		return;
	if ((req->cfis[1] & FIS_C) == 0)
		ahci_control_fis(req);
	else if (p->srst)
		ahci_fatal(p, P_IX_IF);
	else
		ahci_handle_cmd(req);
}

/*
 * Start what can be started.  A slot that the back end still works on waits,
 * whatever the driver has written into CI; each pass takes one slot away.
 */
void
ahci_port_run(struct ahci_port *p)
{
	uint32_t ready;
	int i;

	if (p->type == AHCI_NONE)
		return;
	for (i = 0; i < AHCI_SLOTS; i++) {
		ready = p->ci & ~p->pending;
		if ((p->cmd & P_CMD_ST) == 0 || p->errored || p->stopping ||
		    (p->tfd & (ATA_S_BUSY | ATA_S_DRQ)) != 0 || ready == 0)
			break;
		while ((ready & (1u << p->ccs)) == 0)
			p->ccs = (p->ccs + 1) % AHCI_SLOTS;
		p->cmd &= ~P_CMD_CCS_MASK;
		p->cmd |= (uint32_t)p->ccs << P_CMD_CCS_SHIFT;
		ahci_start_slot(p, p->ccs);
		/* A failed command is what CCS names. */
		if (!p->errored)
			p->ccs = (p->ccs + 1) % AHCI_SLOTS;
	}
}

/* ---- registers ---- */

uint32_t
ahci_port_read(struct ahci_port *p, uint32_t offset)
{
	switch (offset) {
	case AHCI_P_CLB:
		return ((uint32_t)p->clb);
	case AHCI_P_CLBU:
		return ((uint32_t)(p->clb >> 32));
	case AHCI_P_FB:
		return ((uint32_t)p->fb);
	case AHCI_P_FBU:
		return ((uint32_t)(p->fb >> 32));
	case AHCI_P_IS:
		return (p->is);
	case AHCI_P_IE:
		return (p->ie);
	case AHCI_P_CMD:
		return (p->cmd);
	case AHCI_P_TFD:
		return (p->tfd);
	case AHCI_P_SIG:
		return (p->sig);
	case AHCI_P_SSTS:
		return (p->ssts);
	case AHCI_P_SCTL:
		return (p->sctl);
	case AHCI_P_SERR:
		return (p->serr);
	case AHCI_P_SACT:
		return (p->sact);
	case AHCI_P_CI:
		return (p->ci);
	case AHCI_P_SNTF:
		return (p->sntf);
	default:
		return (0);
	}
}

static void
ahci_write_cmd(struct ahci_port *p, uint32_t val)
{
	uint32_t old;

	old = p->cmd;
	if ((old & P_CMD_ST) != 0 && (val & P_CMD_ST) == 0)
		ahci_port_stop(p);
	p->cmd = (p->cmd & ~P_CMD_RW) | (val & P_CMD_RW);
	if ((val & P_CMD_ST) != 0)
		p->cmd |= P_CMD_CR;
	if ((val & P_CMD_FRE) != 0)
		p->cmd |= P_CMD_FR;
	else
		p->cmd &= ~P_CMD_FR;
	if ((val & P_CMD_CLO) != 0 && (val & P_CMD_ST) == 0)
		p->tfd &= ~(uint32_t)(ATA_S_BUSY | ATA_S_DRQ);
	/* FISes of a reset wait in the port until they may be written. */
	if ((old & P_CMD_FRE) == 0 && (val & P_CMD_FRE) != 0 &&
	    p->type != AHCI_NONE && (p->tfd >> 8) == 1) {
		ahci_write_signature(p);
		ahci_update_intr(p->sc, 1u << p->num);
	}
	ahci_port_run(p);
}

static void
ahci_write_sctl(struct ahci_port *p, uint32_t val)
{
	uint32_t det;

	det = val & 0xf;
	if (det != 0 && det == (p->sctl & 0xf)) {
		p->sctl = val & 0xfff;
		return;
	}
	if (det == 1 || det == 4) {
		ahci_port_stop(p);
		p->ssts = det == 4 ? 4 : 0;
		if (p->type != AHCI_NONE)
			p->tfd = 0x80 | 0x7f;
	} else if ((p->sctl & 0xf) != 0) {
		p->sctl = val & 0xfff;
		ahci_port_reset(p);
		if (p->type != AHCI_NONE) {
			p->serr |= P_SERR_X;
			p->is |= P_IX_PC;
		}
		ahci_update_intr(p->sc, 1u << p->num);
	}
	p->sctl = val & 0xfff;
}

void
ahci_port_write(struct ahci_port *p, uint32_t offset, uint32_t val)
{
	uint32_t hi = (uint32_t)(p->clb >> 32), fhi = (uint32_t)(p->fb >> 32);

	switch (offset) {
	case AHCI_P_CLB:
		p->clb = (val & ~0x3ffu) | (uint64_t)hi << 32;
		break;
	case AHCI_P_CLBU:
		p->clb = (uint32_t)p->clb | (uint64_t)val << 32;
		break;
	case AHCI_P_FB:
		p->fb = (val & ~0xffu) | (uint64_t)fhi << 32;
		break;
	case AHCI_P_FBU:
		p->fb = (uint32_t)p->fb | (uint64_t)val << 32;
		break;
	case AHCI_P_IS:
		/* PCS and PRCS mirror SERR. */
		p->is &= ~(val & ~(P_IX_PC | P_IX_PRC));
		ahci_update_intr(
		    p->sc, (p->is & p->ie) != 0 ? 1u << p->num : 0);
		break;
	case AHCI_P_IE:
		p->ie = val & P_IX_ALL;
		ahci_update_intr(p->sc, 1u << p->num);
		break;
	case AHCI_P_CMD:
		ahci_write_cmd(p, val);
		break;
	case AHCI_P_SCTL:
		ahci_write_sctl(p, val);
		break;
	case AHCI_P_SERR:
		p->serr &= ~val;
		if ((p->serr & P_SERR_X) == 0)
			p->is &= ~P_IX_PC;
		if ((p->serr & P_SERR_N) == 0)
			p->is &= ~P_IX_PRC;
		break;
	case AHCI_P_SACT:
		if ((p->cmd & P_CMD_ST) != 0)
			p->sact |= val;
		break;
	case AHCI_P_CI:
		if ((p->cmd & P_CMD_ST) != 0)
			p->ci |= val;
		ahci_port_run(p);
		break;
	case AHCI_P_SNTF:
		p->sntf &= ~(val & 0xffff);
		break;
	default:
		break;
	}
}
