/*
 * NVMe's admin commands (NVMe 1.4, chapter 5): queues, IDENTIFY, log pages,
 * features, FORMAT NVM.
 */
#include <string.h>

#include "nvme_local.h"
#include "pci_emul.h"

#define ADM_DELETE_SQ 0x00
#define ADM_CREATE_SQ 0x01
#define ADM_GET_LOG_PAGE 0x02
#define ADM_DELETE_CQ 0x04
#define ADM_CREATE_CQ 0x05
#define ADM_IDENTIFY 0x06
#define ADM_ABORT 0x08
#define ADM_SET_FEATURES 0x09
#define ADM_GET_FEATURES 0x0a
#define ADM_ASYNC_EVENT 0x0c
#define ADM_FW_COMMIT 0x10
#define ADM_FORMAT_NVM 0x80

#define QUEUE_PC 0x1u /* physically contiguous */
#define QUEUE_IEN 0x2u

#define FEAT_POWER 0x02
#define FEAT_VWC 0x06
#define FEAT_NQUEUES 0x07
#define FEAT_VECTOR 0x09
#define FEAT_SAVE 0x80000000u

#define LOG_ERROR 1
#define LOG_HEALTH 2
#define LOG_FIRMWARE 3
#define LOG_CHANGED_NS 4

#define KELVIN_20C 293

static void
put16(uint8_t *p, uint32_t val)
{
	p[0] = (uint8_t)val;
	p[1] = (uint8_t)(val >> 8);
}

static void
put64(uint8_t *p, uint64_t val)
{
	memcpy(p, &val, sizeof(val));
}

/* Strings of IDENTIFY are padded with blanks. */
static void
put_text(uint8_t *p, const char *text, int len)
{
	while (len-- > 0)
		*p++ = (uint8_t)(*text != '\0' ? *text++ : ' ');
}

/* ---- queues ---- */

static uint16_t
nvme_create_cq(struct nvme_softc *sc, const struct nvme_cmd *cmd)
{
	uint32_t qid = cmd->cdw10 & 0xffff, size = (cmd->cdw10 >> 16) + 1;
	uint32_t vector = cmd->cdw11 >> 16;
	struct nvme_cq *cq;

	if (qid == 0 || qid > sc->sc_ncq || sc->sc_cq[qid].valid)
		return (NVME_SC_QID_INVALID);
	if (size < 2 || size > sc->sc_qsz)
		return (NVME_SC_QUEUE_SIZE);
	if (vector > sc->sc_maxq)
		return (NVME_SC_VECTOR);
	if ((cmd->cdw11 & QUEUE_PC) == 0)
		return (NVME_SC_INVALID_FIELD);
	if ((cmd->prp1 & (NVME_PAGE - 1)) != 0)
		return (NVME_SC_PRP_OFFSET);
	if (nvme_dma(sc, cmd->prp1, (uint64_t)size * 16) == NULL)
		return (NVME_SC_INVALID_FIELD);
	cq = &sc->sc_cq[qid];
	memset(cq, 0, sizeof(*cq));
	cq->valid = cq->phase = true;
	cq->ien = (cmd->cdw11 & QUEUE_IEN) != 0;
	cq->gpa = cmd->prp1;
	cq->size = size;
	cq->vector = (uint16_t)vector;
	return (NVME_SC_SUCCESS);
}

static uint16_t
nvme_create_sq(struct nvme_softc *sc, const struct nvme_cmd *cmd)
{
	uint32_t qid = cmd->cdw10 & 0xffff, size = (cmd->cdw10 >> 16) + 1;
	uint32_t cqid = cmd->cdw11 >> 16;
	struct nvme_sq *sq;

	if (qid == 0 || qid > sc->sc_nsq || sc->sc_sq[qid].valid)
		return (NVME_SC_QID_INVALID);
	if (size < 2 || size > sc->sc_qsz)
		return (NVME_SC_QUEUE_SIZE);
	if (cqid == 0 || cqid > sc->sc_maxq)
		return (NVME_SC_QID_INVALID);
	if (!sc->sc_cq[cqid].valid)
		return (NVME_SC_CQ_INVALID);
	if ((cmd->cdw11 & QUEUE_PC) == 0)
		return (NVME_SC_INVALID_FIELD);
	if ((cmd->prp1 & (NVME_PAGE - 1)) != 0)
		return (NVME_SC_PRP_OFFSET);
	if (nvme_dma(sc, cmd->prp1, (uint64_t)size * 64) == NULL)
		return (NVME_SC_INVALID_FIELD);
	sq = &sc->sc_sq[qid];
	memset(sq, 0, sizeof(*sq));
	sq->valid = true;
	sq->gpa = cmd->prp1;
	sq->size = size;
	sq->cqid = (uint16_t)cqid;
	sc->sc_cq[cqid].nsq++;
	return (NVME_SC_SUCCESS);
}

static uint16_t
nvme_delete_sq(struct nvme_softc *sc, const struct nvme_cmd *cmd)
{
	uint32_t qid = cmd->cdw10 & 0xffff;
	uint16_t cqid;

	if (qid == 0 || qid > sc->sc_maxq || !sc->sc_sq[qid].valid)
		return (NVME_SC_QID_INVALID);
	cqid = sc->sc_sq[qid].cqid;
	sc->sc_sq[qid].valid = false;
	/* No transfer of the queue's goes on when this command has ended. */
	nvme_drop_requests(sc, (int)qid);
	sc->sc_cq[cqid].nsq--;
	return (NVME_SC_SUCCESS);
}

static uint16_t
nvme_delete_cq(struct nvme_softc *sc, const struct nvme_cmd *cmd)
{
	uint32_t qid = cmd->cdw10 & 0xffff;

	if (qid == 0 || qid > sc->sc_maxq || !sc->sc_cq[qid].valid)
		return (NVME_SC_QID_INVALID);
	if (sc->sc_cq[qid].nsq != 0)
		return (NVME_SC_QUEUE_DELETE);
	sc->sc_cq[qid].valid = false;
	nvme_update_intr(sc);
	return (NVME_SC_SUCCESS);
}

/* ---- IDENTIFY ---- */

static void
nvme_identify_controller(struct nvme_softc *sc, uint8_t *buf)
{
	put16(buf, pci_get_cfgdata16(sc->sc_pi, PCIR_VENDOR));
	put_text(buf + 4, sc->sc_serial, 20);
	put_text(buf + 24, "bhyve-NVMe", 40);
	put_text(buf + 64, "1.0", 8);
	buf[72] = 4;	/* RAB */
	buf[73] = 0xfc; /* IEEE, low byte first */
	buf[74] = 0x9c;
	buf[75] = 0x58;
	buf[77] = NVME_MDTS;
	buf[81] = 0x04; /* version 1.4 */
	buf[82] = 0x01;
	buf[93] = 0x01;		  /* OAES: namespace attributes */
	buf[111] = 1;		  /* an I/O controller */
	put16(buf + 256, 0x0002); /* OACS: FORMAT NVM */
	buf[258] = 2;		  /* ACL */
	buf[259] = NVME_MAX_AERS - 1;
	buf[260] = 0x03;	 /* one firmware slot, read-only */
	put16(buf + 266, 0x157); /* WCTEMP */
	put16(buf + 268, 0x157); /* CCTEMP */
	buf[512] = 0x66;	 /* SQES */
	buf[513] = 0x44;	 /* CQES */
	buf[516] = 1;		 /* NN */
	put16(buf + 520, sc->sc_dsm ? 0x0004 : 0);
	buf[524] = 0x03; /* FNA: formats and erasures are of all */
	buf[525] = sc->sc_bctx != NULL ? 1 : 0;
	memcpy(buf + 768, sc->sc_subnqn, sizeof(sc->sc_subnqn));
	put16(buf + 2048, 10); /* power state 0: 0.1 W */
}

static void
nvme_identify_ns(struct nvme_softc *sc, uint8_t *buf)
{
	uint64_t blocks;
	int i;

	blocks = sc->sc_size / sc->sc_sectsz;
	put64(buf, blocks);
	put64(buf + 8, blocks);
	put64(buf + 16, blocks);
	if (sc->sc_dsm)
		buf[33] = sc->sc_zeroes ? 1 : 0; /* after deallocation */
	for (i = 0; i < 8; i++)
		buf[120 + i] = (uint8_t)(sc->sc_eui64 >> (56 - i * 8));
	buf[130] = (uint8_t)__builtin_ctz(sc->sc_sectsz);
}

static uint16_t
nvme_identify(struct nvme_softc *sc, const struct nvme_cmd *cmd)
{
	uint8_t buf[NVME_PAGE];
	int i;

	memset(buf, 0, sizeof(buf));
	switch (cmd->cdw10 & 0xff) {
	case 0:
		if (cmd->nsid != NVME_NSID && cmd->nsid != NVME_NSID_ALL)
			return (NVME_SC_INVALID_NS);
		nvme_identify_ns(sc, buf);
		break;
	case 1:
		nvme_identify_controller(sc, buf);
		break;
	case 2:
		if (cmd->nsid >= 0xfffffffe)
			return (NVME_SC_INVALID_NS);
		buf[0] = cmd->nsid < NVME_NSID ? NVME_NSID : 0;
		break;
	case 3:
		if (cmd->nsid != NVME_NSID)
			return (NVME_SC_INVALID_NS);
		buf[0] = 1; /* EUI64 */
		buf[1] = 8;
		for (i = 0; i < 8; i++)
			buf[4 + i] = (uint8_t)(sc->sc_eui64 >> (56 - i * 8));
		break;
	default:
		return (NVME_SC_INVALID_FIELD);
	}
	return (nvme_copyout(sc, cmd, buf, sizeof(buf)));
}

/* ---- log pages ---- */

/* Thousands of 512-byte units, rounded up. */
static uint64_t
data_units(uint64_t bytes)
{
	return ((bytes / 512 + 999) / 1000);
}

static void
nvme_health_log(struct nvme_softc *sc, uint8_t *buf)
{
	put16(buf + 1, KELVIN_20C);
	buf[3] = 100; /* per cent of spare blocks */
	put64(buf + 32, data_units(sc->sc_read_bytes));
	put64(buf + 48, data_units(sc->sc_write_bytes));
	put64(buf + 64, sc->sc_reads);
	put64(buf + 80, sc->sc_writes);
}

static uint16_t
nvme_get_log_page(struct nvme_softc *sc, const struct nvme_cmd *cmd)
{
	uint8_t buf[NVME_PAGE];
	uint64_t offset, want;
	uint32_t size;

	memset(buf, 0, sizeof(buf));
	switch (cmd->cdw10 & 0xff) {
	case LOG_ERROR:
		size = 64; /* one entry, never used */
		break;
	case LOG_HEALTH:
		size = 512;
		nvme_health_log(sc, buf);
		break;
	case LOG_FIRMWARE:
		size = 512;
		buf[0] = 1; /* slot 1 runs */
		put_text(buf + 8, "1.0", 8);
		break;
	case LOG_CHANGED_NS:
		size = sizeof(buf);
		buf[0] = sc->sc_ns_changed ? NVME_NSID : 0;
		break;
	default:
		return (NVME_SC_LOG_PAGE);
	}
	want = cmd->cdw10 >> 16 | (uint64_t)(cmd->cdw11 & 0xffff) << 16;
	want = (want + 1) * 4;
	offset = cmd->cdw12 | (uint64_t)cmd->cdw13 << 32;
	if (offset >= size || (offset & 3) != 0)
		return (NVME_SC_INVALID_FIELD);
	if (want > size - offset)
		want = size - offset;
	if ((cmd->cdw10 & 0xff) == LOG_CHANGED_NS && (cmd->cdw10 & 0x8000) == 0)
		sc->sc_ns_changed = false;
	return (nvme_copyout(sc, cmd, buf + offset, (uint32_t)want));
}

/* ---- features ---- */

/* Arbitration to asynchronous events, without the LBA range type. */
static bool
nvme_feature_known(uint32_t fid)
{
	return (fid >= 1 && fid < NVME_NFEATURES && fid != 3);
}

static uint32_t
nvme_feature_default(struct nvme_softc *sc, uint32_t fid)
{
	switch (fid) {
	case 0x04:
		return (0x157);
	case FEAT_VWC:
		return (sc->sc_bctx != NULL);
	case FEAT_NQUEUES:
		return ((sc->sc_maxq - 1) | (sc->sc_maxq - 1) << 16);
	default:
		return (0);
	}
}

static uint16_t
nvme_set_nqueues(struct nvme_softc *sc, uint32_t val, uint32_t *cdw0)
{
	uint32_t i, ncq, nsq;

	for (i = 1; i <= sc->sc_maxq; i++) {
		if (sc->sc_sq[i].valid || sc->sc_cq[i].valid)
			return (NVME_SC_SEQUENCE);
	}
	nsq = val & 0xffff;
	ncq = val >> 16;
	if (nsq == 0xffff || ncq == 0xffff)
		return (NVME_SC_INVALID_FIELD);
	sc->sc_nsq = nsq + 1 < sc->sc_maxq ? nsq + 1 : sc->sc_maxq;
	sc->sc_ncq = ncq + 1 < sc->sc_maxq ? ncq + 1 : sc->sc_maxq;
	*cdw0 = (sc->sc_nsq - 1) | (sc->sc_ncq - 1) << 16;
	sc->sc_features[FEAT_NQUEUES] = *cdw0;
	return (NVME_SC_SUCCESS);
}

static uint16_t
nvme_set_features(
    struct nvme_softc *sc, const struct nvme_cmd *cmd, uint32_t *cdw0)
{
	uint32_t fid = cmd->cdw10 & 0xff, val = cmd->cdw11;

	if (!nvme_feature_known(fid))
		return (NVME_SC_INVALID_FIELD);
	if ((cmd->cdw10 & FEAT_SAVE) != 0)
		return (NVME_SC_NOT_SAVEABLE);
	switch (fid) {
	case FEAT_NQUEUES:
		return (nvme_set_nqueues(sc, val, cdw0));
	case FEAT_POWER:
		if ((val & 0x1f) != 0) /* there is one state */
			return (NVME_SC_INVALID_FIELD);
		break;
	case FEAT_VWC:
		if (sc->sc_bctx == NULL)
			return (NVME_SC_INVALID_FIELD);
		break;
	case FEAT_VECTOR:
		if ((val & 0xffff) > sc->sc_maxq)
			return (NVME_SC_INVALID_FIELD);
		break;
	default:
		break;
	}
	sc->sc_features[fid] = val;
	return (NVME_SC_SUCCESS);
}

static uint16_t
nvme_get_features(
    struct nvme_softc *sc, const struct nvme_cmd *cmd, uint32_t *cdw0)
{
	uint32_t fid = cmd->cdw10 & 0xff;

	if (!nvme_feature_known(fid) ||
	    (fid == FEAT_VECTOR && (cmd->cdw11 & 0xffff) > sc->sc_maxq))
		return (NVME_SC_INVALID_FIELD);
	switch ((cmd->cdw10 >> 8) & 7) {
	case 0:
		*cdw0 = sc->sc_features[fid];
		if (fid == FEAT_VECTOR)
			*cdw0 = cmd->cdw11 & 0xffff;
		return (NVME_SC_SUCCESS);
	case 1: /* default and saved */
	case 2:
		*cdw0 = nvme_feature_default(sc, fid);
		return (NVME_SC_SUCCESS);
	case 3: /* can be changed, not saved */
		*cdw0 = 4;
		return (NVME_SC_SUCCESS);
	default:
		return (NVME_SC_INVALID_FIELD);
	}
}

/* ---- the rest ---- */

static uint16_t
nvme_async_event(struct nvme_softc *sc, const struct nvme_cmd *cmd)
{
	if (sc->sc_naers == NVME_MAX_AERS)
		return (NVME_SC_AER_LIMIT);
	sc->sc_aer[sc->sc_naers++] = cmd->cid;
	/* It holds no room in the queue while nothing happens. */
	sc->sc_cq[0].inflight--;
	return (NVME_SC_NONE);
}

static uint16_t
nvme_format(struct nvme_softc *sc, const struct nvme_cmd *cmd)
{
	struct nvme_req *req = &sc->sc_req[sc->sc_ioslots];
	uint32_t ses = (cmd->cdw10 >> 9) & 7;
	uint16_t status;

	if (cmd->nsid != NVME_NSID && cmd->nsid != NVME_NSID_ALL)
		return (NVME_SC_INVALID_NS);
	if ((cmd->cdw10 & 0xf) != 0 || ((cmd->cdw10 >> 5) & 7) != 0)
		return (NVME_SC_FORMAT);
	if (ses > 1 || (ses == 1 && !sc->sc_dsm))
		return (NVME_SC_INVALID_FIELD);
	if (ses == 0)
		return (NVME_SC_SUCCESS);
	if (req->busy)
		return (NVME_SC_SEQUENCE);
	req->sqid = 0;
	req->cid = cmd->cid;
	req->dropped = req->flush = false;
	req->done = req->left = 0;
	status = nvme_erase(sc, req);
	req->busy = status == NVME_SC_NONE;
	return (status);
}

uint16_t
nvme_admin_cmd(
    struct nvme_softc *sc, const struct nvme_cmd *cmd, uint32_t *cdw0)
{
	if (cmd->fuse != 0)
		return (NVME_SC_INVALID_FIELD);
	switch (cmd->opc) {
	case ADM_DELETE_SQ:
		return (nvme_delete_sq(sc, cmd));
	case ADM_CREATE_SQ:
		return (nvme_create_sq(sc, cmd));
	case ADM_GET_LOG_PAGE:
		return (nvme_get_log_page(sc, cmd));
	case ADM_DELETE_CQ:
		return (nvme_delete_cq(sc, cmd));
	case ADM_CREATE_CQ:
		return (nvme_create_cq(sc, cmd));
	case ADM_IDENTIFY:
		return (nvme_identify(sc, cmd));
	case ADM_ABORT:
		*cdw0 = 1; /* not aborted: it goes on to its end */
		return (NVME_SC_SUCCESS);
	case ADM_SET_FEATURES:
		return (nvme_set_features(sc, cmd, cdw0));
	case ADM_GET_FEATURES:
		return (nvme_get_features(sc, cmd, cdw0));
	case ADM_ASYNC_EVENT:
		return (nvme_async_event(sc, cmd));
	case ADM_FW_COMMIT:
		/* Slot 1 may be activated, which it is. */
		if ((cmd->cdw10 & 7) > 1)
			return (NVME_SC_FW_SLOT);
		if (((cmd->cdw10 >> 3) & 7) != 2)
			return (NVME_SC_FW_IMAGE);
		return (NVME_SC_SUCCESS);
	case ADM_FORMAT_NVM:
		return (nvme_format(sc, cmd));
	default:
		return (NVME_SC_INVALID_OPCODE);
	}
}
