/*
 * The packet commands of AHCI's CD drive (SFF-8020i, MMC): a disc of one
 * data track, whose image the back end has.
 */
#include <string.h>

#include "ahci_local.h"
#include "pci_emul.h"

#define SECTOR 2048
#define FRAMES_BEFORE 150 /* the pause before the first sector, in frames */
#define LEADOUT 0xaa

#define TEST_UNIT_READY 0x00
#define REQUEST_SENSE 0x03
#define INQUIRY 0x12
#define START_STOP_UNIT 0x1b
#define PREVENT_ALLOW 0x1e
#define READ_CAPACITY 0x25
#define READ_10 0x28
#define READ_TOC 0x43
#define GET_EVENT_STATUS_NOTIFICATION 0x4a
#define MODE_SENSE_10 0x5a
#define REPORT_LUNS 0xa0
#define READ_12 0xa8

#define PAGE_RW_ERROR_RECOVERY 0x01
#define PAGE_CD_CAPABILITIES 0x2a

#define KEY_NOT_READY 0x02
#define KEY_ILLEGAL_REQUEST 0x05
#define ASC_INVALID_COMMAND 0x20
#define ASC_LBA_OUT_OF_RANGE 0x21
#define ASC_INVALID_FIELD 0x24
#define ASC_SAVING_NOT_SUPPORTED 0x39
#define ASC_NO_MEDIUM 0x3a

/* Interrupt reason: no more data, here is the status. */
#define REASON_STATUS 0x03

static uint16_t
be16(const uint8_t *p)
{
	return ((uint16_t)(p[0] << 8 | p[1]));
}

static uint32_t
be32(const uint8_t *p)
{
	return ((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	    (uint32_t)p[2] << 8 | p[3]);
}

static void
put_be16(uint8_t *p, uint32_t val)
{
	p[0] = (uint8_t)(val >> 8);
	p[1] = (uint8_t)val;
}

static void
put_be32(uint8_t *p, uint32_t val)
{
	put_be16(p, val >> 16);
	put_be16(p + 2, val);
}

void
ahci_packet_ok(struct ahci_req *req)
{
	req->cfis[12] = REASON_STATUS;
	ahci_ok(req);
}

void
ahci_packet_error(struct ahci_req *req, uint8_t key, uint8_t asc)
{
	struct ahci_port *p = req->port;

	p->sense_key = key;
	p->asc = asc;
	req->cfis[12] = REASON_STATUS;
	ahci_abort(req, (uint8_t)(key << 4 | ATA_E_ABORT));
}

static void
illegal(struct ahci_req *req, uint8_t asc)
{
	ahci_packet_error(req, KEY_ILLEGAL_REQUEST, asc);
}

/* len bytes, or as many as the initiator has room for. */
static void
packet_reply(
    struct ahci_req *req, const uint8_t *buf, uint32_t len, uint32_t room)
{
	uint32_t error;

	error = ahci_copyout(req, buf, len < room ? len : room);
	if (error != 0) {
		req->port->is |= error;
		illegal(req, ASC_INVALID_FIELD);
		return;
	}
	req->pio = (req->cfis[3] & 1) == 0; /* DMA is asked for by a bit */
	ahci_packet_ok(req);
}

static uint32_t
disc_sectors(struct ahci_port *p)
{
	uint64_t sectors;

	sectors = (uint64_t)blockif_size(p->bctx) / SECTOR;
	return (sectors > 0xffffffff ? 0xffffffff : (uint32_t)sectors);
}

/* False, after the answer, when there is no disc. */
static bool
disc_ready(struct ahci_req *req)
{
	if (!req->port->ejected)
		return (true);
	ahci_packet_error(req, KEY_NOT_READY, ASC_NO_MEDIUM);
	return (false);
}

/* ---- the commands ---- */

static void
atapi_inquiry(struct ahci_req *req)
{
	const uint8_t *cmd = req->acmd;
	uint8_t buf[36];

	memset(buf, 0, sizeof(buf));
	buf[0] = 0x05; /* CD/DVD */
	if ((cmd[1] & 1) != 0) {
		if (cmd[2] != 0) {
			illegal(req, ASC_INVALID_FIELD);
			return;
		}
		buf[3] = 1; /* the only page is the list of pages */
		packet_reply(req, buf, 5, be16(cmd + 3));
		return;
	}
	buf[1] = 0x80; /* removable */
	buf[3] = 0x21; /* ATAPI 2, response format of SFF-8020i */
	buf[4] = 31;
	memcpy(buf + 8, "BHYVE   BHYVE DVD-ROM   001 ", 28);
	packet_reply(req, buf, sizeof(buf), be16(cmd + 3));
}

static void
atapi_request_sense(struct ahci_req *req)
{
	struct ahci_port *p = req->port;
	uint8_t buf[18];

	memset(buf, 0, sizeof(buf));
	buf[0] = 0xf0; /* current error, valid */
	buf[2] = p->sense_key;
	buf[7] = 10;
	buf[12] = p->asc;
	p->sense_key = p->asc = 0;
	packet_reply(req, buf, sizeof(buf), req->acmd[4]);
}

static void
atapi_read_capacity(struct ahci_req *req)
{
	uint8_t buf[8];
	uint32_t sectors;

	if (!disc_ready(req))
		return;
	sectors = disc_sectors(req->port);
	put_be32(buf, sectors == 0 ? 0 : sectors - 1);
	put_be32(buf + 4, SECTOR);
	packet_reply(req, buf, sizeof(buf), sizeof(buf));
}

static void
atapi_read(struct ahci_req *req)
{
	const uint8_t *cmd = req->acmd;
	uint32_t count, lba, sectors;

	if (!disc_ready(req))
		return;
	lba = be32(cmd + 2);
	count = cmd[0] == READ_10 ? be16(cmd + 7) : be32(cmd + 6);
	sectors = disc_sectors(req->port);
	if (lba > sectors || count > sectors - lba) {
		illegal(req, ASC_LBA_OUT_OF_RANGE);
		return;
	}
	req->op = AOP_READ;
	req->offset = (uint64_t)lba * SECTOR;
	req->left = (uint64_t)count * SECTOR;
	req->pio = (req->cfis[3] & 1) == 0;
	ahci_start_io(req);
}

static void
atapi_start_stop(struct ahci_req *req)
{
	/* With "load or eject" the tray moves, else only the spindle. */
	if ((req->acmd[4] & 2) != 0)
		req->port->ejected = (req->acmd[4] & 1) == 0;
	ahci_packet_ok(req);
}

/* An address as minutes, seconds and frames, or as a sector. */
static void
put_address(uint8_t *p, bool msf, uint32_t lba)
{
	if (!msf) {
		put_be32(p, lba);
		return;
	}
	lba += FRAMES_BEFORE;
	p[0] = 0;
	p[1] = (uint8_t)(lba / 75 / 60);
	p[2] = (uint8_t)(lba / 75 % 60);
	p[3] = (uint8_t)(lba % 75);
}

/* A descriptor of formats 0 and 1: a data track. */
static uint32_t
put_track(uint8_t *p, uint8_t track, bool msf, uint32_t lba)
{
	p[0] = p[3] = 0;
	p[1] = 0x14;
	p[2] = track;
	put_address(p + 4, msf, lba);
	return (8);
}

/* A descriptor of the raw table (format 2). */
static uint32_t
put_raw(uint8_t *p, uint8_t point, const uint8_t pmsf[4])
{
	memset(p, 0, 11);
	p[0] = 1; /* session */
	p[1] = 0x14;
	p[3] = point;
	memcpy(p + 7, pmsf, 4);
	return (11);
}

static void
atapi_read_toc(struct ahci_req *req)
{
	const uint8_t *cmd = req->acmd;
	uint8_t addr[4], buf[64], format, start;
	const uint8_t one[4] = { 0, 1, 0, 0 };
	uint32_t len, sectors;
	bool msf;

	if (!disc_ready(req))
		return;
	msf = (cmd[1] & 2) != 0;
	format = cmd[2] & 0xf;
	if (format == 0)
		format = cmd[9] >> 6; /* where SFF-8020i has it */
	start = cmd[6];
	sectors = disc_sectors(req->port);
	buf[2] = buf[3] = 1; /* first and last track or session */
	len = 4;
	if (format > 2 || (format == 0 && start > 1 && start != LEADOUT)) {
		illegal(req, ASC_INVALID_FIELD);
		return;
	}
	if (format == 2) {
		len += put_raw(buf + len, 0xa0, one);
		len += put_raw(buf + len, 0xa1, one);
		put_address(addr, true, sectors);
		len += put_raw(buf + len, 0xa2, addr);
		put_address(addr, true, 0);
		len += put_raw(buf + len, 1, addr);
	} else {
		if (start <= 1 || format == 1)
			len += put_track(buf + len, 1, msf, 0);
		if (format == 0)
			len += put_track(buf + len, LEADOUT, msf, sectors);
	}
	put_be16(buf, len - 2);
	packet_reply(req, buf, len, be16(cmd + 7));
}

static void
atapi_mode_sense(struct ahci_req *req)
{
	const uint8_t *cmd = req->acmd;
	uint8_t buf[28];
	uint32_t len;

	if (cmd[2] >> 6 == 3) {
		illegal(req, ASC_SAVING_NOT_SUPPORTED);
		return;
	}
	memset(buf, 0, sizeof(buf));
	buf[8] = cmd[2] & 0x3f;
	switch (buf[8]) {
	case PAGE_RW_ERROR_RECOVERY:
		len = 16;
		buf[9] = 6;
		buf[11] = 5; /* retries */
		break;
	case PAGE_CD_CAPABILITIES:
		len = 28;
		buf[9] = 18;
		buf[10] = 0x0b;		 /* reads CD-R, CD-RW, DVD-ROM */
		buf[12] = 0x70;		 /* sessions, mode 2 forms 1 and 2 */
		buf[14] = 0x29;		 /* a tray that locks and ejects */
		put_be16(buf + 16, 704); /* KB/s at most */
		put_be16(buf + 20, 512); /* KB of buffer */
		put_be16(buf + 22, 704); /* KB/s now */
		break;
	default:
		illegal(req, ASC_INVALID_FIELD);
		return;
	}
	put_be16(buf, len - 2);
	packet_reply(req, buf, len, be16(cmd + 7));
}

static void
atapi_event_status(struct ahci_req *req)
{
	const uint8_t *cmd = req->acmd;
	uint8_t buf[8];

	/* Only polled operation; of the classes only media. */
	if ((cmd[1] & 1) == 0) {
		illegal(req, ASC_INVALID_FIELD);
		return;
	}
	memset(buf, 0, sizeof(buf));
	buf[3] = 0x10;
	if ((cmd[4] & 0x10) == 0) {
		buf[1] = 2;
		buf[2] = 0x80; /* no event available */
		packet_reply(req, buf, 4, be16(cmd + 7));
		return;
	}
	buf[1] = 6;
	buf[2] = 0x04;
	buf[5] = req->port->ejected ? 0x01 : 0x02;
	packet_reply(req, buf, sizeof(buf), be16(cmd + 7));
}

static void
atapi_report_luns(struct ahci_req *req)
{
	uint8_t buf[16];

	memset(buf, 0, sizeof(buf));
	buf[3] = 8;
	packet_reply(req, buf, sizeof(buf), be32(req->acmd + 6));
}

void
ahci_handle_packet(struct ahci_req *req)
{
	struct ahci_port *p = req->port;

	if (req->acmd[0] != REQUEST_SENSE)
		p->sense_key = p->asc = 0;
	switch (req->acmd[0]) {
	case TEST_UNIT_READY:
		if (disc_ready(req))
			ahci_packet_ok(req);
		break;
	case INQUIRY:
		atapi_inquiry(req);
		break;
	case REQUEST_SENSE:
		atapi_request_sense(req);
		break;
	case READ_CAPACITY:
		atapi_read_capacity(req);
		break;
	case PREVENT_ALLOW:
		ahci_packet_ok(req);
		break;
	case START_STOP_UNIT:
		atapi_start_stop(req);
		break;
	case READ_10:
	case READ_12:
		atapi_read(req);
		break;
	case READ_TOC:
		atapi_read_toc(req);
		break;
	case MODE_SENSE_10:
		atapi_mode_sense(req);
		break;
	case GET_EVENT_STATUS_NOTIFICATION:
		atapi_event_status(req);
		break;
	case REPORT_LUNS:
		atapi_report_luns(req);
		break;
	default:
		illegal(req, ASC_INVALID_COMMAND);
		break;
	}
}
