/*
 * NVMe's I/O commands (NVMe 1.4, chapter 6), PRP lists (4.3), and the
 * transfers between them and the back end.
 */
#include <sys/mman.h>

#include <errno.h>
#include <string.h>

#include "nvme_local.h"
#include "pci_emul.h"
#include "vmmapi.h"

#define NVM_FLUSH 0x00
#define NVM_WRITE 0x01
#define NVM_READ 0x02
#define NVM_WRITE_ZEROES 0x08
#define NVM_DSM 0x09

#define RW_FUA 0x40000000u
#define DSM_AD 0x4u
#define PAGE_OFFSET (NVME_PAGE - 1)

#define ZEROES_SIZE 65536
static const uint8_t zeroes[ZEROES_SIZE];

/* ---- PRPs ---- */

/*
 * The rest of the pages, from the list at gpa.  The last entry of a list page
 * is a link when more data is left than the page has entries for.  Links lead
 * to page starts, so each step brings pages.
 */
static uint16_t
nvme_walk_list(
    struct nvme_softc *sc, struct nvme_req *req, uint64_t gpa, int want)
{
	const void *src;
	uint64_t link;
	int n, room;

	if ((gpa & 7) != 0)
		return (NVME_SC_PRP_OFFSET);
	while (want > 0) {
		room = (int)((NVME_PAGE - (gpa & PAGE_OFFSET)) / 8);
		n = want <= room ? want : room - 1;
		src =
		    nvme_dma(sc, gpa, (uint64_t)(want <= room ? n : room) * 8);
		if (src == NULL)
			return (NVME_SC_DATA_TRANSFER);
		memcpy(&req->page[req->npages], src, (size_t)n * 8);
		req->npages += n;
		want -= n;
		if (want == 0)
			break;
		memcpy(&link, (const uint8_t *)src + n * 8, sizeof(link));
		if ((link & PAGE_OFFSET) != 0)
			return (NVME_SC_PRP_OFFSET);
		gpa = link;
	}
	return (NVME_SC_SUCCESS);
}

/* Fetch the addresses of all data pages; len is 1 to NVME_MAX_DATA. */
static uint16_t
nvme_fetch_prps(struct nvme_softc *sc, struct nvme_req *req,
    const struct nvme_cmd *cmd, uint64_t len)
{
	uint64_t first;
	uint16_t status;
	int i, n;

	if ((cmd->prp1 & 3) != 0)
		return (NVME_SC_PRP_OFFSET);
	first = NVME_PAGE - (cmd->prp1 & PAGE_OFFSET);
	n = len <= first ? 0 : (int)((len - first + NVME_PAGE - 1) / NVME_PAGE);
	req->page[0] = cmd->prp1;
	req->npages = 1;
	if (n == 1) {
		req->page[req->npages++] = cmd->prp2;
	} else if (n > 1) {
		status = nvme_walk_list(sc, req, cmd->prp2, n);
		if (status != NVME_SC_SUCCESS)
			return (status);
	}
	for (i = 1; i < req->npages; i++) {
		if ((req->page[i] & PAGE_OFFSET) != 0)
			return (NVME_SC_PRP_OFFSET);
	}
	return (NVME_SC_SUCCESS);
}

uint16_t
nvme_copyout(struct nvme_softc *sc, const struct nvme_cmd *cmd, const void *buf,
    uint32_t len)
{
	const uint8_t *src = buf;
	uint64_t gpa;
	uint32_t n;
	void *dst;
	int i;

	if ((cmd->prp1 & 3) != 0)
		return (NVME_SC_PRP_OFFSET);
	gpa = cmd->prp1;
	for (i = 0; i < 2 && len > 0; i++) {
		n = (uint32_t)(NVME_PAGE - (gpa & PAGE_OFFSET));
		if (n > len)
			n = len;
		dst = nvme_dma(sc, gpa, n);
		if (dst == NULL)
			return (NVME_SC_DATA_TRANSFER);
		memcpy(dst, src, n);
		nvme_dirty(sc, gpa, n);
		src += n;
		len -= n;
		gpa = cmd->prp2;
		if (len > 0 && (gpa & PAGE_OFFSET) != 0)
			return (NVME_SC_PRP_OFFSET);
	}
	return (NVME_SC_SUCCESS);
}

/* ---- transfers ---- */

static void nvme_io_done(struct blockif_req *br, int err);

/* The gpa of the byte that comes after done ones, and what its page has. */
static uint64_t
nvme_position(const struct nvme_req *req, uint64_t done, uint64_t *n)
{
	uint64_t first;

	first = NVME_PAGE - (req->page[0] & PAGE_OFFSET);
	if (done < first) {
		*n = first - done;
		return (req->page[0] + done);
	}
	done -= first;
	*n = NVME_PAGE - done % NVME_PAGE;
	return (req->page[1 + done / NVME_PAGE] + done % NVME_PAGE);
}

/* As much of the transfer as one request of the back end takes. */
static uint16_t
nvme_build_chunk(struct nvme_softc *sc, struct nvme_req *req)
{
	struct blockif_req *br = &req->breq;
	struct iovec *iov;
	uint64_t gpa, n, pos;
	void *hva;

	br->br_iovcnt = 0;
	br->br_resid = 0;
	br->br_offset = (off_t)(req->offset + req->done);
	for (pos = 0; pos < req->left; pos += n) {
		if (req->op == NOP_ZERO) {
			n = ZEROES_SIZE;
			gpa = 0;
			hva = (void *)(uintptr_t)zeroes;
		} else {
			gpa = nvme_position(req, req->done + pos, &n);
			hva = NULL;
		}
		if (n > req->left - pos)
			n = req->left - pos;
		if (hva == NULL)
			hva = nvme_dma(sc, gpa, n);
		if (hva == NULL)
			return (NVME_SC_DATA_TRANSFER);
		iov = br->br_iov + br->br_iovcnt;
		if (br->br_iovcnt > 0 && req->op != NOP_ZERO &&
		    req->gpa[br->br_iovcnt - 1] + iov[-1].iov_len == gpa &&
		    (uint8_t *)iov[-1].iov_base + iov[-1].iov_len == hva) {
			iov[-1].iov_len += n;
		} else {
			if (br->br_iovcnt == BLOCKIF_IOV_MAX)
				break;
			iov->iov_base = hva;
			iov->iov_len = n;
			req->gpa[br->br_iovcnt++] = gpa;
		}
		br->br_resid += (ssize_t)n;
	}
	return (NVME_SC_SUCCESS);
}

/* The next range that is not empty; false: there is none. */
static bool
nvme_build_range(struct nvme_softc *sc, struct nvme_req *req)
{
	const struct nvme_dsm_range *range;

	while (req->range_next < req->nranges) {
		range = &req->range[req->range_next++];
		if (range->len == 0)
			continue;
		req->breq.br_iovcnt = 0;
		req->breq.br_offset = (off_t)(range->slba * sc->sc_sectsz);
		req->breq.br_resid =
		    (ssize_t)((uint64_t)range->len * sc->sc_sectsz);
		return (true);
	}
	return (false);
}

/* Whole pages are given back to the host, whatever their number. */
static void
nvme_zero_ram(uint8_t *p, size_t len)
{
	size_t head, pages;

	head = (size_t)(-(uintptr_t)p & PAGE_OFFSET);
	if (head > len)
		head = len;
	pages = (len - head) & ~PAGE_OFFSET;
	memset(p, 0, head);
	if (pages != 0 && madvise(p + head, pages, MADV_DONTNEED) != 0)
		memset(p + head, 0, pages);
	memset(p + head + pages, 0, len - head - pages);
}

/* ram=: the same operation on memory of ours. */
static void
nvme_do_ram(struct nvme_softc *sc, struct nvme_req *req)
{
	struct blockif_req *br = &req->breq;
	uint8_t *p = sc->sc_ram + br->br_offset;
	size_t n;
	int i;

	if (req->op == NOP_DELETE)
		nvme_zero_ram(p, (size_t)br->br_resid);
	for (i = 0; i < br->br_iovcnt; i++) {
		n = br->br_iov[i].iov_len;
		if (req->op == NOP_READ) {
			memcpy(br->br_iov[i].iov_base, p, n);
			nvme_dirty(sc, req->gpa[i], n);
		} else {
			memcpy(p, br->br_iov[i].iov_base, n);
		}
		p += n;
		req->done += n;
		req->left -= n;
	}
}

static int
nvme_submit(struct nvme_softc *sc, struct nvme_req *req)
{
	switch (req->op) {
	case NOP_READ:
		return (blockif_read(sc->sc_bctx, &req->breq));
	case NOP_WRITE:
	case NOP_ZERO:
		return (blockif_write(sc->sc_bctx, &req->breq));
	case NOP_DELETE:
		return (blockif_delete(sc->sc_bctx, &req->breq));
	default:
		return (blockif_flush(sc->sc_bctx, &req->breq));
	}
}

/* Prepare the next part: its status, *more false at the command's end. */
static uint16_t
nvme_next_part(struct nvme_softc *sc, struct nvme_req *req, bool *more)
{
	*more = true;
	if (req->op == NOP_DELETE) {
		if (nvme_build_range(sc, req))
			return (NVME_SC_SUCCESS);
	} else if (req->op != NOP_FLUSH && req->left > 0) {
		return (nvme_build_chunk(sc, req));
	}
	*more = req->flush && req->op != NOP_READ;
	req->flush = false;
	req->op = NOP_FLUSH;
	req->breq.br_iovcnt = 0;
	return (NVME_SC_SUCCESS);
}

/*
 * Go on with a command: NVME_SC_NONE when the back end has it.  Memory
 * answers at once, so the loop ends with the command's last byte.
 */
static uint16_t
nvme_continue(struct nvme_softc *sc, struct nvme_req *req)
{
	uint16_t status;
	bool more;

	for (;;) {
		status = nvme_next_part(sc, req, &more);
		if (status != NVME_SC_SUCCESS || !more)
			return (status);
		if (sc->sc_bctx == NULL) {
			nvme_do_ram(sc, req);
			continue;
		}
		req->breq.br_callback = nvme_io_done;
		req->breq.br_param = req;
		return (nvme_submit(sc, req) == 0 ? NVME_SC_NONE
						  : NVME_SC_INTERNAL);
	}
}

static uint16_t
nvme_errno(const struct nvme_req *req, int err)
{
	if (err == EROFS)
		return (NVME_SC_READ_ONLY);
	if (err == EINVAL)
		return (NVME_SC_LBA_RANGE);
	return (req->op == NOP_READ ? NVME_SC_READ_ERROR : NVME_SC_WRITE_FAULT);
}

/* On a thread of the back end. */
static void
nvme_io_done(struct blockif_req *br, int err)
{
	struct nvme_req *req = br->br_param;
	struct nvme_softc *sc = req->sc;
	uint16_t status;
	uint64_t n;
	int i;

	n = 0;
	for (i = 0; i < br->br_iovcnt; i++) {
		n += br->br_iov[i].iov_len;
		if (req->op == NOP_READ)
			nvme_dirty(sc, req->gpa[i], br->br_iov[i].iov_len);
	}
	br->br_iovcnt = 0;
	pthread_mutex_lock(&sc->sc_mtx);
	req->done += n;
	req->left -= n;
	/* A dropped one belongs to nvme_drop_requests(). */
	if (req->dropped)
		status = NVME_SC_NONE;
	else if (err != 0)
		status = nvme_errno(req, err);
	else
		status = nvme_continue(sc, req);
	if (status != NVME_SC_NONE) {
		req->busy = false;
		nvme_complete(sc, req->sqid, req->cid, 0, status);
		nvme_run_io(sc);
	}
	pthread_mutex_unlock(&sc->sc_mtx);
}

struct nvme_req *
nvme_get_req(struct nvme_softc *sc)
{
	uint32_t i;

	for (i = 0; i < sc->sc_ioslots; i++) {
		if (!sc->sc_req[i].busy)
			return (&sc->sc_req[i]);
	}
	return (NULL);
}

/* ---- commands ---- */

static bool
nvme_range_ok(const struct nvme_softc *sc, uint64_t slba, uint64_t count)
{
	uint64_t blocks;

	blocks = sc->sc_size / sc->sc_sectsz;
	return (slba < blocks && count <= blocks - slba);
}

static uint16_t
nvme_rw(struct nvme_softc *sc, const struct nvme_cmd *cmd, struct nvme_req *req)
{
	uint64_t count, slba;
	uint16_t status;

	slba = cmd->cdw10 | (uint64_t)cmd->cdw11 << 32;
	count = (cmd->cdw12 & 0xffff) + 1;
	if (!nvme_range_ok(sc, slba, count))
		return (NVME_SC_LBA_RANGE);
	req->offset = slba * sc->sc_sectsz;
	req->left = count * sc->sc_sectsz;
	if (req->op != NOP_ZERO) {
		if (req->left > NVME_MAX_DATA)
			return (NVME_SC_INVALID_FIELD);
		status = nvme_fetch_prps(sc, req, cmd, req->left);
		if (status != NVME_SC_SUCCESS)
			return (status);
	}
	if (req->op == NOP_READ) {
		sc->sc_reads++;
		sc->sc_read_bytes += req->left;
	} else {
		sc->sc_writes++;
		sc->sc_write_bytes += req->left;
		/* With the write cache off, every write goes through. */
		req->flush =
		    (cmd->cdw12 & RW_FUA) != 0 || (sc->sc_features[6] & 1) == 0;
	}
	/* Holes read as zeroes and cost nothing. */
	if (req->op == NOP_ZERO && sc->sc_zeroes &&
	    (sc->sc_bctx == NULL || blockif_candelete(sc->sc_bctx))) {
		req->op = NOP_DELETE;
		req->left = 0;
		req->range[0].slba = slba;
		req->range[0].len = (uint32_t)count;
		req->nranges = 1;
		req->range_next = 0;
	}
	return (nvme_continue(sc, req));
}

static uint16_t
nvme_dsm(
    struct nvme_softc *sc, const struct nvme_cmd *cmd, struct nvme_req *req)
{
	uint64_t gpa, len, n, pos;
	uint16_t status;
	const void *src;
	int i;

	if (!sc->sc_dsm)
		return (NVME_SC_INVALID_OPCODE);
	req->nranges = (int)(cmd->cdw10 & 0xff) + 1;
	req->range_next = 0;
	len = (uint64_t)req->nranges * sizeof(req->range[0]);
	status = nvme_fetch_prps(sc, req, cmd, len);
	if (status != NVME_SC_SUCCESS)
		return (status);
	for (pos = 0; pos < len; pos += n) {
		gpa = nvme_position(req, pos, &n);
		if (n > len - pos)
			n = len - pos;
		src = nvme_dma(sc, gpa, n);
		if (src == NULL)
			return (NVME_SC_DATA_TRANSFER);
		memcpy((uint8_t *)req->range + pos, src, n);
	}
	/* The other attributes are hints. */
	if ((cmd->cdw11 & DSM_AD) == 0)
		return (NVME_SC_SUCCESS);
	for (i = 0; i < req->nranges; i++) {
		if (req->range[i].len != 0 &&
		    !nvme_range_ok(sc, req->range[i].slba, req->range[i].len))
			return (NVME_SC_LBA_RANGE);
	}
	req->op = NOP_DELETE;
	return (nvme_continue(sc, req));
}

uint16_t
nvme_erase(struct nvme_softc *sc, struct nvme_req *req)
{
	uint64_t blocks, n;

	/* A range has 32 bits of blocks. */
	blocks = sc->sc_size / sc->sc_sectsz;
	req->nranges = req->range_next = 0;
	while (blocks > 0 && req->nranges < 256) {
		n = blocks < 0x80000000UL ? blocks : 0x80000000UL;
		req->range[req->nranges].len = (uint32_t)n;
		req->range[req->nranges].slba =
		    (uint64_t)req->nranges * 0x80000000UL;
		req->nranges++;
		blocks -= n;
	}
	req->op = NOP_DELETE;
	return (nvme_continue(sc, req));
}

uint16_t
nvme_io_cmd(
    struct nvme_softc *sc, const struct nvme_cmd *cmd, struct nvme_req *req)
{
	req->done = req->left = 0;
	req->flush = false;
	/* No fused commands, no scatter-gather lists. */
	if (cmd->fuse != 0)
		return (NVME_SC_INVALID_FIELD);
	if (cmd->nsid != NVME_NSID &&
	    (cmd->opc != NVM_FLUSH || cmd->nsid != NVME_NSID_ALL))
		return (NVME_SC_INVALID_NS);
	switch (cmd->opc) {
	case NVM_FLUSH:
		req->op = NOP_FLUSH;
		req->flush = true;
		return (nvme_continue(sc, req));
	case NVM_WRITE:
		req->op = NOP_WRITE;
		return (nvme_rw(sc, cmd, req));
	case NVM_READ:
		req->op = NOP_READ;
		return (nvme_rw(sc, cmd, req));
	case NVM_WRITE_ZEROES:
		req->op = NOP_ZERO;
		return (nvme_rw(sc, cmd, req));
	case NVM_DSM:
		return (nvme_dsm(sc, cmd, req));
	default:
		return (NVME_SC_INVALID_OPCODE);
	}
}

/* ---- the end ---- */

static void
nvme_shutdown_done(struct blockif_req *br, int err)
{
	struct nvme_softc *sc = br->br_param;

	pthread_mutex_lock(&sc->sc_mtx);
	sc->sc_shn_busy = sc->sc_shn_again;
	sc->sc_shn_again = false;
	if (sc->sc_shn_busy)
		(void)blockif_flush(sc->sc_bctx, br);
	else if ((sc->sc_csts & CSTS_SHST) == CSTS_SHST_OCCURRING)
		sc->sc_csts ^= CSTS_SHST_OCCURRING | CSTS_SHST_DONE;
	pthread_mutex_unlock(&sc->sc_mtx);
}

void
nvme_shutdown(struct nvme_softc *sc)
{
	sc->sc_csts &= ~CSTS_SHST;
	if (sc->sc_bctx == NULL) {
		sc->sc_csts |= CSTS_SHST_DONE;
		return;
	}
	sc->sc_csts |= CSTS_SHST_OCCURRING;
	/* One from before a reset may have begun before the last write. */
	if (sc->sc_shn_busy) {
		sc->sc_shn_again = true;
		return;
	}
	sc->sc_shn_busy = true;
	sc->sc_shn.br_callback = nvme_shutdown_done;
	sc->sc_shn.br_param = sc;
	(void)blockif_flush(sc->sc_bctx, &sc->sc_shn);
}
