/*
 * The ATA commands of AHCI's drives (ATA8-ACS, SATA 3.0 for NCQ), and the
 * transfers between PRD tables and the back end.
 */
#include <errno.h>
#include <string.h>

#include "ahci_local.h"
#include "pci_emul.h"
#include "vmmapi.h"

#define ATA_DATA_SET_MANAGEMENT 0x06
#define ATA_READ 0x20
#define ATA_READ_NR 0x21
#define ATA_READ48 0x24
#define ATA_READ_DMA48 0x25
#define ATA_READ_MUL48 0x29
#define ATA_READ_LOG_EXT 0x2f
#define ATA_WRITE 0x30
#define ATA_WRITE_NR 0x31
#define ATA_WRITE48 0x34
#define ATA_WRITE_DMA48 0x35
#define ATA_WRITE_MUL48 0x39
#define ATA_WRITE_DMA_FUA48 0x3d
#define ATA_READ_VERIFY 0x40
#define ATA_READ_VERIFY48 0x42
#define ATA_READ_LOG_DMA_EXT 0x47
#define ATA_READ_FPDMA_QUEUED 0x60
#define ATA_WRITE_FPDMA_QUEUED 0x61
#define ATA_SEND_FPDMA_QUEUED 0x64
#define ATA_PACKET_CMD 0xa0
#define ATA_ATAPI_IDENTIFY 0xa1
#define ATA_READ_MUL 0xc4
#define ATA_WRITE_MUL 0xc5
#define ATA_SET_MULTI 0xc6
#define ATA_READ_DMA 0xc8
#define ATA_WRITE_DMA 0xca
#define ATA_WRITE_MUL_FUA48 0xce
#define ATA_STANDBY_IMMEDIATE 0xe0
#define ATA_IDLE_IMMEDIATE 0xe1
#define ATA_STANDBY_CMD 0xe2
#define ATA_IDLE_CMD 0xe3
#define ATA_CHECK_POWER_MODE 0xe5
#define ATA_SLEEP 0xe6
#define ATA_FLUSHCACHE 0xe7
#define ATA_FLUSHCACHE48 0xea
#define ATA_ATA_IDENTIFY 0xec
#define ATA_SETFEATURES 0xef

#define SF_ENAB_WCACHE 0x02
#define SF_SETXFER 0x03
#define SF_ENAB_SATA 0x10
#define SF_DIS_RCACHE 0x55
#define SF_DIS_WCACHE 0x82
#define SF_DIS_SATA 0x90
#define SF_ENAB_RCACHE 0xaa
#define SF_SATA_AN 0x05

#define DSM_TRIM 0x01
#define LOG_DIRECTORY 0x00
#define LOG_NCQ_ERROR 0x10
#define LOG_SEND_RECEIVE 0x13
#define MAX_MULTIPLE 128
#define UDMA6 0x46
#define NCQ_FUA 0x80

/* ---- words of a reply ---- */

void
ahci_put16(uint8_t *buf, int word, uint16_t val)
{
	buf[word * 2] = (uint8_t)val;
	buf[word * 2 + 1] = (uint8_t)(val >> 8);
}

/* Blank padded, two characters a word, the first in the high byte. */
void
ahci_put_string(uint8_t *buf, int word, const char *text, int len)
{
	int i;

	for (i = 0; i < len; i++)
		buf[word * 2 + (i ^ 1)] =
		    (uint8_t)(*text != '\0' ? *text++ : ' ');
}

/* The last byte makes the sum of all 512 zero. */
void
ahci_put_checksum(uint8_t *buf, bool signature)
{
	uint8_t sum;
	int i;

	if (signature)
		buf[510] = 0xa5;
	for (sum = 0, i = 0; i < 511; i++)
		sum = (uint8_t)(sum + buf[i]);
	buf[511] = (uint8_t)-sum;
}

/* ---- transfers ---- */

static void ahci_io_done(struct blockif_req *br, int err);

static void
ahci_io_error(struct ahci_req *req, int err)
{
	if (req->port->type == AHCI_CD)
		ahci_packet_error(req, 0x03, 0x11); /* unrecovered read */
	else if (err == EROFS || err == EOPNOTSUPP || err == EINVAL)
		ahci_abort(req, ATA_E_ABORT);
	else
		ahci_abort(req, req->op == AOP_READ ? ATA_E_UNC : ATA_E_ABORT);
}

/* As much of the transfer as one request of the back end takes. */
static uint32_t
ahci_build_chunk(struct ahci_req *req)
{
	struct blockif_req *br = &req->breq;
	uint32_t error, n;
	uint64_t want;
	void *hva;

	br->br_iovcnt = 0;
	br->br_resid = 0;
	br->br_offset = (off_t)(req->offset + req->done);
	want = req->left;
	while (want > 0 && br->br_iovcnt < BLOCKIF_IOV_MAX) {
		error = ahci_prd_piece(
		    req, want, &req->gpa[br->br_iovcnt], &hva, &n);
		if (error != 0)
			return (error);
		br->br_iov[br->br_iovcnt].iov_base = hva;
		br->br_iov[br->br_iovcnt].iov_len = n;
		br->br_iovcnt++;
		br->br_resid += n;
		want -= n;
	}
	return (0);
}

/* The next range that is not empty; false: there is none. */
static bool
ahci_build_trim(struct ahci_req *req)
{
	uint64_t count, lba;

	while (req->trim_next < req->ntrim) {
		lba = req->trim[req->trim_next] & 0xffffffffffffUL;
		count = req->trim[req->trim_next] >> 48;
		req->trim_next++;
		if (count == 0)
			continue;
		req->breq.br_iovcnt = 0;
		req->breq.br_offset =
		    (off_t)(lba * (uint64_t)blockif_sectsz(req->port->bctx));
		req->breq.br_resid = (ssize_t)(count *
		    (uint64_t)blockif_sectsz(req->port->bctx));
		return (true);
	}
	return (false);
}

static int
ahci_submit(struct ahci_req *req)
{
	struct blockif_ctxt *bctx = req->port->bctx;

	switch (req->op) {
	case AOP_READ:
		return (blockif_read(bctx, &req->breq));
	case AOP_WRITE:
		return (blockif_write(bctx, &req->breq));
	case AOP_TRIM:
		return (blockif_delete(bctx, &req->breq));
	default:
		return (blockif_flush(bctx, &req->breq));
	}
}

/*
 * Hand the next part of the command to the back end, or end the command when
 * there is none.
 */
static void
ahci_continue(struct ahci_req *req)
{
	struct ahci_port *p = req->port;
	uint32_t error;
	bool more;

	more = true;
	if (req->op == AOP_READ || req->op == AOP_WRITE) {
		more = req->left > 0;
		error = more ? ahci_build_chunk(req) : 0;
		if (error != 0) {
			p->is |= error;
			ahci_io_error(req, EFAULT);
			return;
		}
		if (!more && req->op == AOP_WRITE && req->flush) {
			req->op = AOP_FLUSH;
			req->flush = false;
			more = true;
		}
	} else if (req->op == AOP_TRIM) {
		more = ahci_build_trim(req);
	} else {
		more = req->flush;
		req->flush = false;
	}
	if (!more) {
		if (p->type == AHCI_CD)
			ahci_packet_ok(req);
		else
			ahci_ok(req);
		return;
	}
	p->pending |= 1u << req->slot;
	if (!req->ncq)
		p->tfd |= ATA_S_BUSY;
	req->breq.br_callback = ahci_io_done;
	req->breq.br_param = req;
	if (ahci_submit(req) != 0)
		ahci_io_error(req, EIO);
}

/* On a thread of the back end. */
static void
ahci_io_done(struct blockif_req *br, int err)
{
	struct ahci_req *req = br->br_param;
	struct ahci_port *p = req->port;
	uint64_t n;
	int i;

	n = 0;
	for (i = 0; i < br->br_iovcnt; i++) {
		n += br->br_iov[i].iov_len;
		if (req->op == AOP_READ)
			vm_dirty_gpa(p->sc->sc_pi->pi_vmctx, req->gpa[i],
			    br->br_iov[i].iov_len);
	}
	br->br_iovcnt = 0;
	pthread_mutex_lock(&p->sc->sc_mtx);
	if (p->stopping || p->errored) {
		p->pending &= ~(1u << req->slot);
	} else if (err != 0) {
		ahci_io_error(req, err);
	} else {
		req->done += n;
		req->left -= n;
		ahci_continue(req);
	}
	ahci_port_run(p);
	pthread_mutex_unlock(&p->sc->sc_mtx);
}

void
ahci_start_io(struct ahci_req *req)
{
	req->breq.br_iovcnt = 0;
	ahci_continue(req);
}

/* ---- reads and writes ---- */

static uint64_t
ahci_lba48(const uint8_t *cfis)
{
	return (cfis[4] | (uint64_t)cfis[5] << 8 | (uint64_t)cfis[6] << 16 |
	    (uint64_t)cfis[8] << 24 | (uint64_t)cfis[9] << 32 |
	    (uint64_t)cfis[10] << 40);
}

static uint64_t
ahci_lba28(const uint8_t *cfis)
{
	return (cfis[4] | (uint64_t)cfis[5] << 8 | (uint64_t)cfis[6] << 16 |
	    (uint64_t)(cfis[7] & 0xf) << 24);
}

static uint64_t
ahci_sectors(struct ahci_port *p)
{
	return ((uint64_t)blockif_size(p->bctx) /
	    (uint64_t)blockif_sectsz(p->bctx));
}

static bool
ahci_range_ok(struct ahci_port *p, uint64_t lba, uint64_t count)
{
	uint64_t sectors;

	sectors = ahci_sectors(p);
	return (lba < sectors && count <= sectors - lba);
}

static void
ahci_handle_rw(struct ahci_req *req, enum ahci_op op, bool ext)
{
	struct ahci_port *p = req->port;
	const uint8_t *cfis = req->cfis;
	uint64_t count, lba;

	if (req->ncq) {
		lba = ahci_lba48(cfis);
		count = cfis[3] | (uint64_t)cfis[11] << 8;
		req->flush = (cfis[7] & NCQ_FUA) != 0;
	} else if (ext) {
		lba = ahci_lba48(cfis);
		count = cfis[12] | (uint64_t)cfis[13] << 8;
	} else {
		lba = ahci_lba28(cfis);
		count = cfis[12];
	}
	if (count == 0)
		count = req->ncq || ext ? 65536 : 256;
	if (!ahci_range_ok(p, lba, count)) {
		ahci_abort(req, ATA_E_IDNF);
		return;
	}
	req->op = op;
	req->offset = lba * (uint64_t)blockif_sectsz(p->bctx);
	req->left = count * (uint64_t)blockif_sectsz(p->bctx);
	/* Without a write cache every write is on the medium at its end. */
	if (!p->wcache)
		req->flush = true;
	ahci_start_io(req);
}

static void
ahci_handle_verify(struct ahci_req *req, bool ext)
{
	const uint8_t *cfis = req->cfis;
	uint64_t count, lba;

	lba = ext ? ahci_lba48(cfis) : ahci_lba28(cfis);
	count = cfis[12] | (ext ? (uint64_t)cfis[13] << 8 : 0);
	if (count == 0)
		count = ext ? 65536 : 256;
	if (ahci_range_ok(req->port, lba, count))
		ahci_ok(req);
	else
		ahci_abort(req, ATA_E_IDNF);
}

static void
ahci_handle_flush(struct ahci_req *req)
{
	req->op = AOP_FLUSH;
	req->flush = true;
	ahci_start_io(req);
}

/* IDENTIFY grants one block of ranges; all are checked before any is cut. */
static void
ahci_handle_trim(struct ahci_req *req, uint64_t blocks)
{
	struct ahci_port *p = req->port;
	uint64_t count, lba;
	uint32_t error;
	int i;

	if (!blockif_candelete(p->bctx) || blocks != 1) {
		ahci_abort(req, ATA_E_ABORT);
		return;
	}
	error = ahci_copyin(req, req->trim, sizeof(req->trim));
	if (error != 0) {
		p->is |= error;
		ahci_abort(req, ATA_E_ABORT);
		return;
	}
	req->ntrim = sizeof(req->trim) / sizeof(req->trim[0]);
	req->trim_next = 0;
	for (i = 0; i < req->ntrim; i++) {
		lba = req->trim[i] & 0xffffffffffffUL;
		count = req->trim[i] >> 48;
		if (count != 0 && !ahci_range_ok(p, lba, count)) {
			ahci_abort(req, ATA_E_IDNF);
			return;
		}
	}
	req->op = AOP_TRIM;
	ahci_start_io(req);
}

static void
ahci_handle_ncq(struct ahci_req *req)
{
	const uint8_t *cfis = req->cfis;

	/* The tag must be the slot's number: SACT has one bit for both. */
	if (cfis[12] >> 3 != req->slot) {
		ahci_abort(req, ATA_E_ABORT);
		return;
	}
	ahci_accept_ncq(req);
	if (cfis[2] == ATA_READ_FPDMA_QUEUED)
		ahci_handle_rw(req, AOP_READ, true);
	else if (cfis[2] == ATA_WRITE_FPDMA_QUEUED)
		ahci_handle_rw(req, AOP_WRITE, true);
	else if ((cfis[13] & 0x1f) == 0 && (cfis[16] & DSM_TRIM) != 0)
		ahci_handle_trim(req, cfis[3] | (uint64_t)cfis[11] << 8);
	else
		ahci_abort(req, ATA_E_ABORT);
}

/* ---- IDENTIFY and logs ---- */

/* Serial number, names and what disks and CD drives share. */
static void
ahci_identify_common(struct ahci_port *p, uint8_t *buf)
{
	unsigned int mode = p->xfermode & 7;

	ahci_put_string(buf, 10, p->serial, 20);
	ahci_put_string(buf, 23, p->rev, 8);
	ahci_put_string(buf, 27, p->model, 40);
	ahci_put16(buf, 53, 6); /* words 64 to 70 and 88 are valid */
	ahci_put16(buf, 63,
	    (uint16_t)(7 | ((p->xfermode & 0xf8) == 0x20 ? 0x100 << mode : 0)));
	ahci_put16(buf, 64, 3); /* PIO modes 3 and 4 */
	ahci_put16(buf, 65, 120);
	ahci_put16(buf, 66, 120);
	ahci_put16(buf, 67, 120);
	ahci_put16(buf, 68, 120);
	ahci_put16(buf, 77, (uint16_t)((p->ssts & 0xf0) >> 3));
	ahci_put16(buf, 80, 0x3f0);
	ahci_put16(buf, 81, 0x28);
	ahci_put16(buf, 88,
	    (uint16_t)(0x7f |
		((p->xfermode & 0xf8) == 0x40 ? 0x100 << mode : 0)));
	ahci_put16(buf, 222, 0x1020); /* serial, SATA 2.6 */
}

static void
ahci_identify_size(struct ahci_port *p, uint8_t *buf)
{
	int off, psectsz, ratio, sectsz;
	uint64_t sectors;
	uint16_t cyl;
	uint8_t heads, spt;

	blockif_chs(p->bctx, &cyl, &heads, &spt);
	blockif_psectsz(p->bctx, &psectsz, &off);
	sectsz = blockif_sectsz(p->bctx);
	sectors = ahci_sectors(p);
	ahci_put16(buf, 1, cyl);
	ahci_put16(buf, 3, heads);
	ahci_put16(buf, 6, spt);
	ahci_put16(
	    buf, 60, (uint16_t)(sectors > 0x0fffffff ? 0xffff : sectors));
	ahci_put16(
	    buf, 61, (uint16_t)(sectors > 0x0fffffff ? 0x0fff : sectors >> 16));
	ahci_put16(buf, 100, (uint16_t)sectors);
	ahci_put16(buf, 101, (uint16_t)(sectors >> 16));
	ahci_put16(buf, 102, (uint16_t)(sectors >> 32));
	ahci_put16(buf, 103, (uint16_t)(sectors >> 48));
	ratio = psectsz / sectsz;
	ahci_put16(buf, 106,
	    (uint16_t)(0x4000 | (sectsz > 512 ? 0x1000 : 0) |
		(ratio > 1 ? 0x2000 | __builtin_ctz((unsigned)ratio) : 0)));
	if (sectsz > 512) {
		ahci_put16(buf, 117, (uint16_t)(sectsz / 2));
		ahci_put16(buf, 118, (uint16_t)(sectsz / 2 >> 16));
	}
	if (ratio > 1)
		ahci_put16(
		    buf, 209, (uint16_t)(0x4000 | (off / sectsz & 0x3fff)));
}

static void
ahci_reply(struct ahci_req *req, const uint8_t *buf)
{
	uint32_t error;

	error = ahci_copyout(req, buf, 512);
	if (error != 0) {
		req->port->is |= error;
		ahci_abort(req, ATA_E_ABORT);
	} else {
		ahci_ok(req);
	}
}

static void
ahci_identify(struct ahci_req *req)
{
	struct ahci_port *p = req->port;
	uint8_t buf[512];

	memset(buf, 0, sizeof(buf));
	ahci_identify_common(p, buf);
	ahci_identify_size(p, buf);
	ahci_put16(buf, 0, 0x0040);
	ahci_put16(buf, 47, 0x8000 | MAX_MULTIPLE);
	ahci_put16(buf, 49, 0x0f00); /* DMA, LBA, IORDY and its switch */
	ahci_put16(buf, 50, 0x4000);
	ahci_put16(buf, 53, 7);
	if (p->mult != 0)
		ahci_put16(buf, 59, 0x100 | p->mult);
	ahci_put16(buf, 75, AHCI_SLOTS - 1);
	/* Generations 1 to 3, NCQ. */
	ahci_put16(buf, 76, 0x010e);
	/* Power management, caches, NOP; 48 bits, flushes; logs, FUA. */
	ahci_put16(buf, 82, 0x4068);
	ahci_put16(buf, 83, 0x7400);
	ahci_put16(buf, 84, 0x4060);
	ahci_put16(buf, 85,
	    (uint16_t)(0x4008 | (p->wcache ? 0x20 : 0) |
		(p->rcache ? 0x40 : 0)));
	ahci_put16(buf, 86, 0x3400);
	ahci_put16(buf, 87, 0x4060);
	if (blockif_candelete(p->bctx)) {
		if (p->rzat)
			ahci_put16(buf, 69, 0x4020);
		ahci_put16(buf, 77, (uint16_t)(0x40 | ((p->ssts & 0xf0) >> 3)));
		ahci_put16(buf, 105, 1);
		ahci_put16(buf, 169, 1);
	}
	ahci_put16(buf, 217, (uint16_t)p->nmrr);
	ahci_put_checksum(buf, true);
	req->pio = true;
	ahci_reply(req, buf);
}

void
ahci_atapi_identify(struct ahci_req *req)
{
	struct ahci_port *p = req->port;
	uint8_t buf[512];

	memset(buf, 0, sizeof(buf));
	ahci_identify_common(p, buf);
	/* CD-ROM, removable, 12-byte packets, DRQ within 50 us. */
	ahci_put16(buf, 0, 0x85c0);
	ahci_put16(buf, 49, 0x0300);
	ahci_put16(buf, 50, 0x4000);
	ahci_put16(buf, 76, 0x000e);
	ahci_put16(buf, 78, 0x0020);
	ahci_put16(buf, 79, p->async_notify ? 0x0020 : 0);
	/* Power management, PACKET, NOP. */
	ahci_put16(buf, 82, 0x4018);
	ahci_put16(buf, 83, 0x4000);
	ahci_put16(buf, 84, 0x4000);
	ahci_put16(buf, 85, 0x4018);
	ahci_put16(buf, 87, 0x4000);
	ahci_put_checksum(buf, true);
	req->pio = true;
	ahci_reply(req, buf);
}

static void
ahci_read_log(struct ahci_req *req)
{
	struct ahci_port *p = req->port;
	const uint8_t *cfis = req->cfis;
	uint8_t buf[512];
	bool trim;

	trim = blockif_candelete(p->bctx);
	memset(buf, 0, sizeof(buf));
	/* One page each: page 0, one block. */
	if (cfis[5] != 0 || cfis[9] != 0 || cfis[12] != 1 || cfis[13] != 0 ||
	    p->type == AHCI_CD) {
		ahci_abort(req, ATA_E_ABORT);
		return;
	}
	switch (cfis[4]) {
	case LOG_DIRECTORY:
		ahci_put16(buf, 0, 1);
		ahci_put16(buf, LOG_NCQ_ERROR, 1);
		ahci_put16(buf, LOG_SEND_RECEIVE, trim);
		break;
	case LOG_NCQ_ERROR:
		memcpy(buf, p->ncq_error, sizeof(p->ncq_error));
		ahci_put_checksum(buf, false);
		break;
	case LOG_SEND_RECEIVE:
		if (!trim) {
			ahci_abort(req, ATA_E_ABORT);
			return;
		}
		buf[0] = 1; /* DATA SET MANAGEMENT is there, with TRIM */
		buf[4] = 1;
		break;
	default:
		ahci_abort(req, ATA_E_ABORT);
		return;
	}
	req->pio = cfis[2] == ATA_READ_LOG_EXT;
	ahci_reply(req, buf);
}

/* ---- settings ---- */

static void
ahci_set_features(struct ahci_req *req)
{
	struct ahci_port *p = req->port;
	const uint8_t *cfis = req->cfis;
	bool ok;

	ok = true;
	switch (cfis[3]) {
	case SF_ENAB_SATA:
	case SF_DIS_SATA:
		ok = cfis[12] == SF_SATA_AN && p->type == AHCI_CD;
		if (ok)
			p->async_notify = cfis[3] == SF_ENAB_SATA;
		break;
	case SF_ENAB_WCACHE:
	case SF_DIS_WCACHE:
		p->wcache = cfis[3] == SF_ENAB_WCACHE;
		break;
	case SF_ENAB_RCACHE:
	case SF_DIS_RCACHE:
		p->rcache = cfis[3] == SF_ENAB_RCACHE;
		break;
	case SF_SETXFER:
		switch (cfis[12] & 0xf8) {
		case 0x00: /* PIO */
		case 0x08:
			break;
		case 0x20: /* multiword and Ultra DMA */
		case 0x40:
			p->xfermode = cfis[12];
			break;
		default:
			ok = false;
			break;
		}
		break;
	default:
		ok = false;
		break;
	}
	if (ok)
		ahci_ok(req);
	else
		ahci_abort(req, ATA_E_ABORT);
}

static void
ahci_set_multiple(struct ahci_req *req)
{
	uint8_t n = req->cfis[12];

	if (n > MAX_MULTIPLE || (n & (n - 1)) != 0) {
		ahci_abort(req, ATA_E_ABORT);
		return;
	}
	req->port->mult = n;
	ahci_ok(req);
}

void
ahci_drive_reset(struct ahci_port *p)
{
	p->mult = 0;
	p->async_notify = false;
	memset(p->ncq_error, 0, sizeof(p->ncq_error));
}

void
ahci_power_on(struct ahci_port *p)
{
	p->xfermode = UDMA6;
	p->wcache = p->rcache = true;
}

/* ---- dispatch ---- */

/* Commands of disks only; false: there is no such command. */
static bool
ahci_handle_disk(struct ahci_req *req)
{
	const uint8_t *cfis = req->cfis;

	switch (cfis[2]) {
	case ATA_ATA_IDENTIFY:
		ahci_identify(req);
		break;
	case ATA_READ_FPDMA_QUEUED:
	case ATA_WRITE_FPDMA_QUEUED:
	case ATA_SEND_FPDMA_QUEUED:
		ahci_handle_ncq(req);
		break;
	case ATA_READ:
	case ATA_READ_NR:
	case ATA_READ_MUL:
	case ATA_READ_DMA:
		req->pio = cfis[2] != ATA_READ_DMA;
		ahci_handle_rw(req, AOP_READ, false);
		break;
	case ATA_READ48:
	case ATA_READ_MUL48:
	case ATA_READ_DMA48:
		req->pio = cfis[2] != ATA_READ_DMA48;
		ahci_handle_rw(req, AOP_READ, true);
		break;
	case ATA_WRITE:
	case ATA_WRITE_NR:
	case ATA_WRITE_MUL:
	case ATA_WRITE_DMA:
		ahci_handle_rw(req, AOP_WRITE, false);
		break;
	case ATA_WRITE_DMA_FUA48:
	case ATA_WRITE_MUL_FUA48:
		req->flush = true;
		ahci_handle_rw(req, AOP_WRITE, true);
		break;
	case ATA_WRITE48:
	case ATA_WRITE_MUL48:
	case ATA_WRITE_DMA48:
		ahci_handle_rw(req, AOP_WRITE, true);
		break;
	case ATA_READ_VERIFY:
	case ATA_READ_VERIFY48:
		ahci_handle_verify(req, cfis[2] == ATA_READ_VERIFY48);
		break;
	case ATA_FLUSHCACHE:
	case ATA_FLUSHCACHE48:
		ahci_handle_flush(req);
		break;
	case ATA_DATA_SET_MANAGEMENT:
		if (cfis[3] == DSM_TRIM)
			ahci_handle_trim(
			    req, cfis[12] | (uint64_t)cfis[13] << 8);
		else
			ahci_abort(req, ATA_E_ABORT);
		break;
	case ATA_SET_MULTI:
		ahci_set_multiple(req);
		break;
	default:
		return (false);
	}
	return (true);
}

void
ahci_handle_cmd(struct ahci_req *req)
{
	struct ahci_port *p = req->port;

	if (p->type == AHCI_HD && ahci_handle_disk(req))
		return;
	switch (req->cfis[2]) {
	case ATA_SETFEATURES:
		ahci_set_features(req);
		break;
	case ATA_READ_LOG_EXT:
	case ATA_READ_LOG_DMA_EXT:
		ahci_read_log(req);
		break;
	case ATA_CHECK_POWER_MODE:
		req->cfis[12] = 0xff; /* active */
		ahci_ok(req);
		break;
	case ATA_STANDBY_IMMEDIATE:
	case ATA_IDLE_IMMEDIATE:
	case ATA_STANDBY_CMD:
	case ATA_IDLE_CMD:
	case ATA_SLEEP:
		ahci_ok(req);
		break;
	case ATA_ATAPI_IDENTIFY:
		if (p->type == AHCI_CD)
			ahci_atapi_identify(req);
		else
			ahci_abort(req, ATA_E_ABORT);
		break;
	case ATA_PACKET_CMD:
		if (p->type == AHCI_CD)
			ahci_handle_packet(req);
		else
			ahci_abort(req, ATA_E_ABORT);
		break;
	default:
		/* NOP, SMART and SECURITY FREEZE LOCK among them. */
		ahci_abort(req, ATA_E_ABORT);
		break;
	}
}
