/*
 * NVM Express controller (NVMe 1.4): options, registers, queues, interrupts.
 * One namespace, over a back end or in memory (ram=).
 */
#include <sys/mman.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bhyverun.h"
#include "debug.h"
#include "net_utils.h"
#include "nvme_local.h"
#include "pci_emul.h"
#include "qemu_fwcfg.h"
#include "vmmapi.h"

/* Controller registers (3.1). */
#define NVME_CAP_LO 0x00
#define CAP_LO_CQR 0x00010000u
#define CAP_LO_TO 0x0a000000u /* 5 s until it is ready */
#define NVME_CAP_HI 0x04
#define CAP_HI_CSS_NVM 0x00000020u
#define NVME_VS 0x08
#define VS_1_4 0x00010400u
#define NVME_INTMS 0x0c
#define NVME_INTMC 0x10
#define NVME_CC 0x14
#define CC_EN 0x00000001u
#define CC_CSS_MPS_AMS 0x00003ff0u
#define CC_SHN 0x0000c000u
#define CC_RW 0x00fffff1u
#define NVME_CSTS 0x1c
#define CSTS_RDY 0x00000001u
#define CSTS_CFS 0x00000002u
#define NVME_AQA 0x24
#define NVME_ASQ_LO 0x28
#define NVME_ASQ_HI 0x2c
#define NVME_ACQ_LO 0x30
#define NVME_ACQ_HI 0x34
#define NVME_DOORBELLS 0x1000

#define NVME_BAR 0
#define NVME_MSIX_BAR 4
#define NVME_MIN_BAR 0x4000
#define NVME_MAXQ_LIMIT 255

void *
nvme_dma(struct nvme_softc *sc, uint64_t gpa, uint64_t len)
{
	struct pci_devinst *pi = sc->sc_pi;

	if ((pci_get_cfgdata16(pi, PCIR_COMMAND) & PCIM_CMD_BUSMASTEREN) == 0)
		return (NULL);
	return (paddr_guest2host(pi->pi_vmctx, gpa, len));
}

void
nvme_dirty(struct nvme_softc *sc, uint64_t gpa, uint64_t len)
{
	vm_dirty_gpa(sc->sc_pi->pi_vmctx, gpa, len);
}

/* ---- interrupts and completions ---- */

/* The pin is level triggered: entries that the driver has not consumed. */
void
nvme_update_intr(struct nvme_softc *sc)
{
	struct pci_devinst *pi = sc->sc_pi;
	const struct nvme_cq *cq;
	bool level;
	uint32_t i;

	level = false;
	for (i = 0; i <= sc->sc_maxq && !pci_msix_enabled(pi); i++) {
		cq = &sc->sc_cq[i];
		if (cq->valid && cq->ien && cq->head != cq->tail &&
		    (cq->vector >= 32 ||
			(sc->sc_intms & (1u << cq->vector)) == 0))
			level = true;
	}
	if (level)
		pci_lintr_assert(pi);
	else
		pci_lintr_deassert(pi);
}

static bool
nvme_cq_full(const struct nvme_cq *cq, uint32_t more)
{
	uint32_t used;

	used = (cq->tail + cq->size - cq->head) % cq->size;
	return (used + more >= cq->size - 1);
}

static void
nvme_post(struct nvme_softc *sc, uint16_t sqid, uint16_t cid, uint32_t cdw0,
    uint16_t status)
{
	struct nvme_sq *sq = &sc->sc_sq[sqid];
	struct nvme_cq *cq = &sc->sc_cq[sq->cqid];
	struct nvme_cpl cpl;
	uint64_t gpa;
	uint8_t *dst;

	memset(&cpl, 0, sizeof(cpl));
	cpl.cdw0 = cdw0;
	cpl.sqhd = (uint16_t)sq->head;
	cpl.sqid = sqid;
	cpl.cid = cid;
	cpl.status = (uint16_t)(status << 1 | cq->phase);
	gpa = cq->gpa + (uint64_t)cq->tail * sizeof(cpl);
	dst = nvme_dma(sc, gpa, sizeof(cpl));
	if (dst == NULL) {
		sc->sc_csts |= CSTS_CFS;
		return;
	}
	/* The driver looks at the phase: it comes after the rest. */
	memcpy(dst, &cpl, offsetof(struct nvme_cpl, cid));
	__atomic_store_n(
	    (uint32_t *)(void *)(dst + offsetof(struct nvme_cpl, cid)),
	    cpl.cid | (uint32_t)cpl.status << 16, __ATOMIC_RELEASE);
	nvme_dirty(sc, gpa, sizeof(cpl));
	if (++cq->tail == cq->size) {
		cq->tail = 0;
		cq->phase = !cq->phase;
	}
	if (cq->ien && pci_msix_enabled(sc->sc_pi))
		pci_generate_msix(sc->sc_pi, cq->vector);
	nvme_update_intr(sc);
}

void
nvme_complete(struct nvme_softc *sc, uint16_t sqid, uint16_t cid, uint32_t cdw0,
    uint16_t status)
{
	sc->sc_cq[sc->sc_sq[sqid].cqid].inflight--;
	nvme_post(sc, sqid, cid, cdw0, status);
}

/* Events wait until there is a request and room for its end. */
static void
nvme_send_events(struct nvme_softc *sc)
{
	uint32_t event;

	while (sc->sc_nevents > 0 && sc->sc_naers > 0 &&
	    (sc->sc_csts & CSTS_RDY) != 0 &&
	    !nvme_cq_full(&sc->sc_cq[0], sc->sc_cq[0].inflight)) {
		event = sc->sc_event[0];
		sc->sc_nevents--;
		memmove(sc->sc_event, sc->sc_event + 1,
		    (size_t)sc->sc_nevents * sizeof(sc->sc_event[0]));
		sc->sc_naers--;
		nvme_post(
		    sc, 0, sc->sc_aer[sc->sc_naers], event, NVME_SC_SUCCESS);
	}
}

void
nvme_event(struct nvme_softc *sc, uint32_t event)
{
	int i;

	for (i = 0; i < sc->sc_nevents; i++) {
		if (sc->sc_event[i] == event)
			return;
	}
	if (sc->sc_nevents < NVME_MAX_EVENTS)
		sc->sc_event[sc->sc_nevents++] = event;
	nvme_send_events(sc);
}

/* ---- submission queues ---- */

/* The next command, if there is one and its completion will have room. */
static bool
nvme_fetch(struct nvme_softc *sc, uint32_t sqid, struct nvme_cmd *cmd)
{
	struct nvme_sq *sq = &sc->sc_sq[sqid];
	struct nvme_cq *cq;
	const void *src;

	if ((sc->sc_csts & (CSTS_RDY | CSTS_CFS)) != CSTS_RDY ||
	    sc->sc_stopping || !sq->valid || sq->head == sq->tail)
		return (false);
	cq = &sc->sc_cq[sq->cqid];
	if (nvme_cq_full(cq, cq->inflight))
		return (false);
	src = nvme_dma(
	    sc, sq->gpa + (uint64_t)sq->head * sizeof(*cmd), sizeof(*cmd));
	if (src == NULL) {
		sc->sc_csts |= CSTS_CFS;
		return (false);
	}
	memcpy(cmd, src, sizeof(*cmd));
	sq->head = (sq->head + 1) % sq->size;
	cq->inflight++;
	return (true);
}

static void
nvme_run_admin(struct nvme_softc *sc)
{
	struct nvme_cmd cmd;
	uint32_t budget, cdw0;
	uint16_t status;

	for (budget = sc->sc_sq[0].size; budget > 0 && nvme_fetch(sc, 0, &cmd);
	     budget--) {
		cdw0 = 0;
		status = nvme_admin_cmd(sc, &cmd, &cdw0);
		if (status != NVME_SC_NONE)
			nvme_complete(sc, 0, cmd.cid, cdw0, status);
		nvme_send_events(sc);
	}
}

static bool
nvme_run_one(struct nvme_softc *sc, uint32_t sqid)
{
	struct nvme_req *req;
	struct nvme_cmd cmd;
	uint16_t status;

	req = nvme_get_req(sc);
	if (req == NULL || !nvme_fetch(sc, sqid, &cmd))
		return (false);
	req->busy = true;
	req->dropped = false;
	req->sqid = (uint16_t)sqid;
	req->cid = cmd.cid;
	status = nvme_io_cmd(sc, &cmd, req);
	if (status != NVME_SC_NONE) {
		req->busy = false;
		nvme_complete(sc, (uint16_t)sqid, cmd.cid, 0, status);
	}
	return (true);
}

/* Round robin over the queues; each entry of a completion queue limits it. */
void
nvme_run_io(struct nvme_softc *sc)
{
	uint32_t i;
	bool again;

	do {
		again = false;
		for (i = 1; i <= sc->sc_maxq; i++) {
			if (sc->sc_sq[i].valid && nvme_run_one(sc, i))
				again = true;
		}
	} while (again);
}

void
nvme_drop_requests(struct nvme_softc *sc, int sqid)
{
	struct nvme_req *req;
	struct nvme_cq *cq;
	uint32_t i;

	for (i = 0; i <= sc->sc_ioslots && sc->sc_bctx != NULL; i++) {
		req = &sc->sc_req[i];
		if (!req->busy || (sqid >= 0 && req->sqid != sqid))
			continue;
		req->dropped = true;
		cq = &sc->sc_cq[sc->sc_sq[req->sqid].cqid];
		cq->inflight--;
		pthread_mutex_unlock(&sc->sc_mtx);
		(void)blockif_cancel(sc->sc_bctx, &req->breq);
		pthread_mutex_lock(&sc->sc_mtx);
		req->busy = false;
	}
}

/* ---- registers ---- */

static void
nvme_reset(struct nvme_softc *sc)
{
	uint32_t i;

	sc->sc_stopping = true;
	nvme_drop_requests(sc, -1);
	sc->sc_stopping = false;
	memset(sc->sc_sq, 0, (sc->sc_maxq + 1) * sizeof(*sc->sc_sq));
	memset(sc->sc_cq, 0, (sc->sc_maxq + 1) * sizeof(*sc->sc_cq));
	sc->sc_nsq = sc->sc_ncq = sc->sc_maxq;
	sc->sc_csts = 0;
	sc->sc_intms = 0;
	sc->sc_naers = sc->sc_nevents = 0;
	for (i = 0; i < NVME_NFEATURES; i++)
		sc->sc_features[i] = 0;
	sc->sc_features[0x04] = 0x157;
	sc->sc_features[0x06] = sc->sc_bctx != NULL;
	sc->sc_features[0x07] = (sc->sc_maxq - 1) | (sc->sc_maxq - 1) << 16;
	nvme_update_intr(sc);
}

/* CC.EN goes to 1.  Bad settings are a fatal status, not ready. */
static void
nvme_enable(struct nvme_softc *sc)
{
	struct nvme_sq *sq = &sc->sc_sq[0];
	struct nvme_cq *cq = &sc->sc_cq[0];

	sq->size = (sc->sc_aqa & 0xfff) + 1;
	cq->size = ((sc->sc_aqa >> 16) & 0xfff) + 1;
	sq->gpa = sc->sc_asq;
	cq->gpa = sc->sc_acq;
	if (sq->size < 2 || cq->size < 2 || (sc->sc_cc & CC_CSS_MPS_AMS) != 0 ||
	    nvme_dma(sc, sq->gpa, (uint64_t)sq->size * 64) == NULL ||
	    nvme_dma(sc, cq->gpa, (uint64_t)cq->size * 16) == NULL) {
		sc->sc_csts |= CSTS_CFS;
		return;
	}
	sq->valid = cq->valid = cq->ien = cq->phase = true;
	cq->nsq = 1;
	sc->sc_csts = CSTS_RDY;
}

static void
nvme_write_cc(struct nvme_softc *sc, uint32_t val)
{
	uint32_t old;

	old = sc->sc_cc;
	sc->sc_cc = val & CC_RW;
	if ((old & CC_EN) != 0 && (val & CC_EN) == 0)
		nvme_reset(sc);
	else if ((old & CC_EN) == 0 && (val & CC_EN) != 0)
		nvme_enable(sc);
	if ((val & CC_SHN) != 0 && (old & CC_SHN) == 0)
		nvme_shutdown(sc);
}

/*
 * A doorbell: even ones are tails of submission queues, odd ones heads of
 * completion queues.  A bad one is an event; its value is not taken.
 */
static void
nvme_doorbell(struct nvme_softc *sc, uint64_t index, uint32_t val)
{
	uint64_t qid = index / 2;
	bool iscq = (index & 1) != 0;
	struct nvme_cq *cq;

	if ((sc->sc_csts & (CSTS_RDY | CSTS_CFS)) != CSTS_RDY)
		return;
	if (qid > sc->sc_maxq ||
	    !(iscq ? sc->sc_cq[qid].valid : sc->sc_sq[qid].valid)) {
		nvme_event(sc, NVME_EV_DOORBELL_REG);
		return;
	}
	val &= 0xffff;
	if (val >= (iscq ? sc->sc_cq[qid].size : sc->sc_sq[qid].size)) {
		nvme_event(sc, NVME_EV_DOORBELL_VALUE);
		return;
	}
	if (!iscq) {
		sc->sc_sq[qid].tail = val;
	} else {
		/* The head moves over entries that are there, only. */
		cq = &sc->sc_cq[qid];
		if ((val + cq->size - cq->head) % cq->size >
		    (cq->tail + cq->size - cq->head) % cq->size) {
			nvme_event(sc, NVME_EV_DOORBELL_VALUE);
			return;
		}
		cq->head = val;
		nvme_update_intr(sc);
		nvme_send_events(sc);
	}
	if (qid == 0)
		nvme_run_admin(sc);
	nvme_run_io(sc);
}

static uint32_t
nvme_reg_read(struct nvme_softc *sc, uint64_t offset)
{
	switch (offset) {
	case NVME_CAP_LO:
		return ((sc->sc_qsz - 1) | CAP_LO_CQR | CAP_LO_TO);
	case NVME_CAP_HI:
		return (CAP_HI_CSS_NVM);
	case NVME_VS:
		return (VS_1_4);
	case NVME_INTMS:
	case NVME_INTMC:
		return (sc->sc_intms);
	case NVME_CC:
		return (sc->sc_cc);
	case NVME_CSTS:
		return (sc->sc_csts);
	case NVME_AQA:
		return (sc->sc_aqa);
	case NVME_ASQ_LO:
		return ((uint32_t)sc->sc_asq);
	case NVME_ASQ_HI:
		return ((uint32_t)(sc->sc_asq >> 32));
	case NVME_ACQ_LO:
		return ((uint32_t)sc->sc_acq);
	case NVME_ACQ_HI:
		return ((uint32_t)(sc->sc_acq >> 32));
	default:
		return (0);
	}
}

static void
nvme_reg_write(struct nvme_softc *sc, uint64_t offset, uint32_t val)
{
	const uint64_t low = 0xffffffffUL;

	switch (offset) {
	case NVME_INTMS:
	case NVME_INTMC:
		if (pci_msix_enabled(sc->sc_pi))
			break;
		if (offset == NVME_INTMS)
			sc->sc_intms |= val;
		else
			sc->sc_intms &= ~val;
		nvme_update_intr(sc);
		break;
	case NVME_CC:
		nvme_write_cc(sc, val);
		break;
	case NVME_AQA:
		sc->sc_aqa = val & 0x0fff0fff;
		break;
	case NVME_ASQ_LO:
		sc->sc_asq = (sc->sc_asq & ~low) | (val & ~0xfffu);
		break;
	case NVME_ASQ_HI:
		sc->sc_asq = (sc->sc_asq & low) | (uint64_t)val << 32;
		break;
	case NVME_ACQ_LO:
		sc->sc_acq = (sc->sc_acq & ~low) | (val & ~0xfffu);
		break;
	case NVME_ACQ_HI:
		sc->sc_acq = (sc->sc_acq & low) | (uint64_t)val << 32;
		break;
	default:
		break;
	}
}

static uint64_t
pci_nvme_read(struct pci_devinst *pi, int baridx, uint64_t offset, int size)
{
	struct nvme_softc *sc = pi->pi_arg;
	uint64_t base, val;

	if (baridx == NVME_MSIX_BAR)
		return (pci_emul_msix_tread(pi, offset, size));
	if (baridx != NVME_BAR)
		return (~0UL);
	base = offset & ~3UL;
	pthread_mutex_lock(&sc->sc_mtx);
	val = nvme_reg_read(sc, base);
	if ((offset & 3) + (uint64_t)size > 4)
		val |= (uint64_t)nvme_reg_read(sc, base + 4) << 32;
	pthread_mutex_unlock(&sc->sc_mtx);
	return (val >> (offset & 3) * 8);
}

/* Parts of a register cannot be written; 8 bytes are two registers. */
static void
pci_nvme_write(struct pci_devinst *pi, int baridx, uint64_t offset, int size,
    uint64_t value)
{
	struct nvme_softc *sc = pi->pi_arg;
	int i;

	if (baridx == NVME_MSIX_BAR) {
		(void)pci_emul_msix_twrite(pi, offset, size, value);
		return;
	}
	if (baridx != NVME_BAR || (offset & 3) != 0 || size < 4)
		return;
	pthread_mutex_lock(&sc->sc_reg_mtx);
	pthread_mutex_lock(&sc->sc_mtx);
	for (i = 0; i < size; i += 4, offset += 4, value >>= 32) {
		if (offset >= NVME_DOORBELLS)
			nvme_doorbell(
			    sc, (offset - NVME_DOORBELLS) / 4, (uint32_t)value);
		else
			nvme_reg_write(sc, offset, (uint32_t)value);
	}
	pthread_mutex_unlock(&sc->sc_mtx);
	pthread_mutex_unlock(&sc->sc_reg_mtx);
}

/* ---- options ---- */

static int
pci_nvme_legacy_config(nvlist_t *nvl, const char *opts)
{
	if (opts == NULL)
		return (0);
	if (strncmp(opts, "ram=", 4) == 0)
		return (pci_parse_legacy_config(nvl, opts));
	return (blockif_legacy_config(nvl, opts));
}

static int
nvme_open_ram(struct nvme_softc *sc, nvlist_t *nvl)
{
	long mib;

	mib = get_config_int_node_default(nvl, "ram", 0, 1, 1L << 20);
	if (mib <= 0)
		return (1);
	sc->sc_size = (uint64_t)mib << 20;
	sc->sc_ram = mmap(NULL, sc->sc_size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (sc->sc_ram == MAP_FAILED) {
		sc->sc_ram = NULL;
		EPRINTLN("nvme: cannot get %ld MiB of memory: %s", mib,
		    strerror(errno));
		return (1);
	}
	sc->sc_dsm = sc->sc_zeroes = true;
	sc->sc_sectsz = 4096;
	return (0);
}

static int
nvme_open_file(struct nvme_softc *sc, nvlist_t *nvl)
{
	struct pci_devinst *pi = sc->sc_pi;
	char ident[16];

	snprintf(ident, sizeof(ident), "%d:%d", pi->pi_slot, pi->pi_func);
	sc->sc_bctx = blockif_open(nvl, ident);
	if (sc->sc_bctx == NULL)
		return (1);
	sc->sc_size = (uint64_t)blockif_size(sc->sc_bctx);
	sc->sc_sectsz = (uint32_t)blockif_sectsz(sc->sc_bctx);
	sc->sc_dsm = blockif_candelete(sc->sc_bctx);
	sc->sc_zeroes = blockif_delete_zeroes(sc->sc_bctx);
	return (0);
}

static int
nvme_parse_dsm(struct nvme_softc *sc, nvlist_t *nvl)
{
	const char *dsm;

	dsm = get_config_value_node(nvl, "dsm");
	if (dsm == NULL || strcmp(dsm, "auto") == 0)
		return (0);
	if (strcmp(dsm, "enable") == 0) {
		sc->sc_dsm = true;
	} else if (strcmp(dsm, "disable") == 0) {
		sc->sc_dsm = false;
	} else {
		EPRINTLN("nvme: dsm: %s: not auto, enable or disable", dsm);
		return (1);
	}
	return (0);
}

/* Without one given, the organisation's number and a hash of the place. */
static int
nvme_parse_eui64(struct nvme_softc *sc, nvlist_t *nvl)
{
	struct pci_devinst *pi = sc->sc_pi;
	const char *name, *text;
	uint8_t digest[16];
	char *end, place[160];
	int i, len;

	text = get_config_value_node(nvl, "eui64");
	if (text != NULL) {
		errno = 0;
		sc->sc_eui64 = strtoull(text, &end, 0);
		if (end == text || *end != '\0' || errno != 0) {
			EPRINTLN("nvme: eui64: %s: no number", text);
			return (1);
		}
		return (0);
	}
	name = get_config_value("name");
	len = snprintf(place, sizeof(place), "%.128s%d:%d:%d",
	    name != NULL ? name : "", pi->pi_bus, pi->pi_slot, pi->pi_func);
	net_md5(place, (size_t)len, digest);
	sc->sc_eui64 = 0x589cfc;
	for (i = 0; i < 5; i++)
		sc->sc_eui64 = sc->sc_eui64 << 8 | digest[i];
	return (0);
}

static int
nvme_parse_opts(struct nvme_softc *sc, nvlist_t *nvl)
{
	struct pci_devinst *pi = sc->sc_pi;
	const char *ser;
	long sectsz;

	sc->sc_maxq = (uint32_t)get_config_int_node_default(
	    nvl, "maxq", 16, 1, NVME_MAXQ_LIMIT);
	sc->sc_qsz =
	    (uint32_t)get_config_int_node_default(nvl, "qsz", 2048, 2, 65536);
	sc->sc_ioslots = (uint32_t)get_config_int_node_default(
	    nvl, "ioslots", 8, 1, BLOCKIF_RING_MAX / 2);
	sectsz = get_config_int_node_default(nvl, "sectsz", 0, 0, 8192);
	ser = get_config_value_node(nvl, "ser");
	if (ser != NULL)
		snprintf(sc->sc_serial, sizeof(sc->sc_serial), "%s", ser);
	else
		snprintf(sc->sc_serial, sizeof(sc->sc_serial), "NVME-%d-%d",
		    pi->pi_slot, pi->pi_func);
	if (config_failed() || nvme_parse_eui64(sc, nvl) != 0)
		return (1);
	if (get_config_value_node(nvl, "ram") != NULL) {
		if (nvme_open_ram(sc, nvl) != 0)
			return (1);
	} else if (nvme_open_file(sc, nvl) != 0) {
		return (1);
	}
	if (sectsz != 0)
		sc->sc_sectsz = (uint32_t)sectsz;
	if (sc->sc_sectsz != 512 && sc->sc_sectsz != 4096 &&
	    sc->sc_sectsz != 8192) {
		EPRINTLN("nvme: sector size %u is not 512, 4096 or 8192",
		    sc->sc_sectsz);
		return (1);
	}
	return (nvme_parse_dsm(sc, nvl));
}

/* ---- the device ---- */

static void
nvme_resized(struct blockif_ctxt *bc, void *arg, size_t size)
{
	struct nvme_softc *sc = arg;

	pthread_mutex_lock(&sc->sc_mtx);
	sc->sc_size = size;
	sc->sc_ns_changed = true;
	if ((sc->sc_features[0x0b] & 0x100) != 0)
		nvme_event(sc, NVME_EV_NS_CHANGED);
	pthread_mutex_unlock(&sc->sc_mtx);
}

static void
pci_nvme_cleanup(struct pci_devinst *pi)
{
	struct nvme_softc *sc = pi->pi_arg;

	if (sc == NULL)
		return;
	if (sc->sc_bctx != NULL)
		(void)blockif_close(sc->sc_bctx);
	if (sc->sc_ram != NULL)
		munmap(sc->sc_ram, sc->sc_size);
	free(sc->sc_sq);
	free(sc->sc_cq);
	free(sc->sc_req);
	pthread_mutex_destroy(&sc->sc_reg_mtx);
	pthread_mutex_destroy(&sc->sc_mtx);
	free(sc);
	pi->pi_arg = NULL;
}

static int
nvme_alloc(struct nvme_softc *sc)
{
	uint32_t i;

	sc->sc_sq = calloc(sc->sc_maxq + 1, sizeof(*sc->sc_sq));
	sc->sc_cq = calloc(sc->sc_maxq + 1, sizeof(*sc->sc_cq));
	sc->sc_req = calloc(sc->sc_ioslots + 1, sizeof(*sc->sc_req));
	if (sc->sc_sq == NULL || sc->sc_cq == NULL || sc->sc_req == NULL) {
		EPRINTLN("nvme: out of memory");
		return (1);
	}
	for (i = 0; i <= sc->sc_ioslots; i++)
		sc->sc_req[i].sc = sc;
	return (0);
}

static int
nvme_set_identity(struct nvme_softc *sc)
{
	struct pci_devinst *pi = sc->sc_pi;
	uint64_t size;

	pci_set_cfgdata16(pi, PCIR_VENDOR, 0xfb5d);
	pci_set_cfgdata16(pi, PCIR_DEVICE, 0x0a0a);
	pci_set_cfgdata8(pi, PCIR_CLASS, PCIC_STORAGE);
	pci_set_cfgdata8(pi, PCIR_SUBCLASS, 0x08); /* non-volatile memory */
	pci_set_cfgdata8(pi, PCIR_PROGIF, 0x02);   /* NVMe */
	size = NVME_DOORBELLS + 8UL * (sc->sc_maxq + 1);
	if (size < NVME_MIN_BAR)
		size = NVME_MIN_BAR;
	if (pci_emul_alloc_bar(pi, NVME_BAR, PCIBAR_MEM64, size) != 0 ||
	    pci_emul_add_msixcap(pi, (int)sc->sc_maxq + 1, NVME_MSIX_BAR) !=
		0 ||
	    pci_emul_add_pciecap(pi, PCIEM_TYPE_ROOT_INT_EP) != 0) {
		EPRINTLN("nvme: no room for the registers");
		return (1);
	}
	pci_lintr_request(pi);
	return (0);
}

static int
pci_nvme_init(struct pci_devinst *pi, nvlist_t *nvl)
{
	struct nvme_softc *sc;
	const char *name;

	sc = calloc(1, sizeof(*sc));
	if (sc == NULL) {
		EPRINTLN("nvme: out of memory");
		return (1);
	}
	pi->pi_arg = sc;
	sc->sc_pi = pi;
	pthread_mutex_init(&sc->sc_reg_mtx, NULL);
	pthread_mutex_init(&sc->sc_mtx, NULL);
	if (nvme_parse_opts(sc, nvl) != 0 || nvme_alloc(sc) != 0 ||
	    nvme_set_identity(sc) != 0)
		goto fail;
	name = get_config_value("name");
	snprintf(sc->sc_subnqn, sizeof(sc->sc_subnqn),
	    "nqn.2013-12.org.freebsd:bhyve-%.128s-%d-%d-%d",
	    name != NULL ? name : "vm", pi->pi_bus, pi->pi_slot, pi->pi_func);
	nvme_reset(sc);
	if (sc->sc_bctx != NULL &&
	    qemu_fwcfg_add_boot_device(
		pi, blockif_bootindex(sc->sc_bctx), "/namespace@1,0") != 0)
		goto fail;
	if (sc->sc_bctx != NULL &&
	    blockif_register_resize_callback(sc->sc_bctx, nvme_resized, sc) !=
		0) {
		EPRINTLN("nvme: no timer: %s", strerror(errno));
		goto fail;
	}
	return (0);
fail:
	pci_nvme_cleanup(pi);
	return (1);
}

static const struct pci_devemu pci_de_nvme = {
	.pe_emu = "nvme",
	.pe_init = pci_nvme_init,
	.pe_legacy_config = pci_nvme_legacy_config,
	.pe_barwrite = pci_nvme_write,
	.pe_barread = pci_nvme_read,
	.pe_cleanup = pci_nvme_cleanup,
};
PCI_EMUL_SET(pci_de_nvme);
