/*
 * Virtqueues as a device sees them, whatever the layout of their rings
 * (virtio_split.c, virtio_packed.c).
 *
 * The rings are guest memory that other processors change at any time: each
 * field is read once, checked, and used from the copy.  What the device
 * holds is remembered on this side (vq_chains), never read back.
 */
#include <stdlib.h>
#include <string.h>

#include "bhyverun.h"
#include "debug.h"
#include "virtio_local.h"
#include "vmmapi.h"

/* ---- guest memory ---- */

void *
vi_gpa2host(struct virtio_softc *vs, uint64_t gpa, size_t len)
{
	return (paddr_guest2host(vs->vs_pi->pi_vmctx, gpa, len));
}

bool
vq_has_feature(const struct vqueue_info *vq, uint64_t feature)
{
	return ((vq->vq_vs->vs_negotiated_caps & feature) != 0);
}

/* ---- a queue's life ---- */

void
vq_broken(struct vqueue_info *vq, const char *why)
{
	GUEST_LOG("%s: queue %u: %s, stopped until reset",
	    vq->vq_vs->vs_pi->pi_name, vq->vq_num, why);
	atomic_fetch_or(&vq->vq_flags, VQ_BROKED);
	vi_device_broken(vq->vq_vs);
}

void
vq_reset(struct vqueue_info *vq)
{
	uint16_t i;

	atomic_store(&vq->vq_flags, 0);
	vq->vq_last_avail = 0;
	vq->vq_next_used = 0;
	vq->vq_save_used = 0;
	vq->vq_nheld = vq->vq_ntaken = vq->vq_next_record = 0;
	vq->vq_pfn = 0;
	vq->vq_gpa_desc = vq->vq_gpa_avail = vq->vq_gpa_used = 0;
	vq->vq_msix_idx = VIRTIO_MSI_NO_VECTOR;
	vq->vq_desc = NULL;
	vq->vq_avail = NULL;
	vq->vq_used = NULL;
	if (vq->vq_maxsize != 0)
		vq->vq_qsize = vq->vq_maxsize;
	for (i = 0; vq->vq_chains != NULL && i < vq->vq_maxsize; i++)
		vq->vq_chains[i].held = false;
}

static bool
vq_alloc(struct vqueue_info *vq)
{
	if (vq->vq_chains == NULL)
		vq->vq_chains = calloc(vq->vq_maxsize, sizeof(*vq->vq_chains));
	if (vq->vq_heads == NULL)
		vq->vq_heads = calloc(vq->vq_maxsize, sizeof(*vq->vq_heads));
	return (vq->vq_chains != NULL && vq->vq_heads != NULL);
}

static void
vq_enable(struct vqueue_info *vq, const struct vq_layout *layout, uint64_t desc,
    uint64_t avail, uint64_t used)
{
	const char *why;

	vq->vq_layout = layout;
	vq->vq_last_avail = vq->vq_next_used = vq->vq_save_used = 0;
	why = layout->vl_map(vq, desc, avail, used);
	if (why == NULL && !vq_alloc(vq))
		why = "out of memory";
	if (why != NULL) {
		vq_broken(vq, why);
		return;
	}
	atomic_fetch_or(&vq->vq_flags, VQ_ALLOC);
}

void
vq_enable_legacy(struct vqueue_info *vq)
{
	uint64_t avail, desc, used;

	desc = (uint64_t)vq->vq_pfn * VRING_ALIGN;
	avail = desc + vq->vq_qsize * sizeof(struct vring_desc);
	used = avail + sizeof(struct vring_avail) +
	    (vq->vq_qsize + 1UL) * sizeof(uint16_t);
	used = (used + VRING_ALIGN - 1) & ~(uint64_t)(VRING_ALIGN - 1);
	vq_enable(vq, &vq_split_layout, desc, avail, used);
}

void
vq_enable_modern(struct vqueue_info *vq)
{
	vq_enable(vq,
	    vq_has_feature(vq, VIRTIO_F_RING_PACKED) ? &vq_packed_layout
						     : &vq_split_layout,
	    vq->vq_gpa_desc, vq->vq_gpa_avail, vq->vq_gpa_used);
}

bool
vq_ring_ready(struct vqueue_info *vq)
{
	struct virtio_softc *vs = vq->vq_vs;

	return (
	    (atomic_load(&vq->vq_flags) & (VQ_ALLOC | VQ_BROKED)) == VQ_ALLOC &&
	    (atomic_load(&vs->vs_status) & VIRTIO_CONFIG_S_NEEDS_RESET) == 0 &&
	    (pci_get_cfgdata8(vs->vs_pi, PCIR_COMMAND) &
		PCIM_CMD_BUSMASTEREN) != 0);
}

/* ---- taking chains ---- */

bool
vq_has_descs(struct vqueue_info *vq)
{
	return (vq_ring_ready(vq) && vq->vq_layout->vl_pending(vq) != 0);
}

static bool
chain_add_seg(struct vq_chain *chain, uint64_t gpa, uint32_t len)
{
	struct vq_seg *last, *seg;
	uint32_t capacity;

	if (chain->nseg > 0) {
		last = &chain->seg[chain->nseg - 1];
		if (last->gpa + last->len == gpa &&
		    len <= UINT32_MAX - last->len) {
			last->len += len;
			return (true);
		}
	}
	if (chain->nseg == chain->capacity) {
		capacity = chain->capacity == 0 ? 4 : chain->capacity * 2;
		seg = realloc(chain->seg, capacity * sizeof(*seg));
		if (seg == NULL)
			return (false);
		chain->seg = seg;
		chain->capacity = capacity;
	}
	chain->seg[chain->nseg++] = (struct vq_seg) { gpa, len };
	return (true);
}

void
vq_desc_copy(void *to, const void *from)
{
	memcpy(to, from, sizeof(struct vring_desc));
	/* The copy is the only read: the compiler must not do another. */
	__asm__ __volatile__("" ::: "memory");
}

const char *
vq_walk_buffer(struct vq_walk *w, uint64_t addr, uint32_t len, uint16_t flags)
{
	void *hva;

	if (len == 0)
		return (NULL);
	w->total += len;
	if (w->total > UINT32_MAX)
		return ("chain of more than 4 GB");
	if (w->n == w->niov)
		return ("too many descriptors");
	hva = vi_gpa2host(w->vq->vq_vs, addr, len);
	if (hva == NULL)
		return ("descriptor is not in memory");
	if ((flags & VRING_DESC_F_WRITE) != 0) {
		if (!chain_add_seg(w->chain, addr, len))
			return ("out of memory");
		w->req->writable++;
	} else {
		if (w->req->writable != 0)
			return ("readable descriptor after a writable one");
		w->req->readable++;
	}
	w->iov[w->n].iov_base = hva;
	w->iov[w->n].iov_len = len;
	w->n++;
	return (NULL);
}

const char *
vq_indirect_table(struct vq_walk *w, uint64_t addr, uint32_t len,
    uint16_t flags, const void **table)
{
	if (!vq_has_feature(w->vq, VIRTIO_RING_F_INDIRECT_DESC))
		return ("indirect descriptor was not negotiated");
	if ((flags & VRING_DESC_F_NEXT) != 0)
		return ("indirect descriptor has a next one");
	if (len == 0 || len % sizeof(struct vring_desc) != 0 ||
	    len / sizeof(struct vring_desc) > UINT16_MAX + 1)
		return ("invalid indirect length");
	*table = vi_gpa2host(w->vq->vq_vs, addr, len);
	return (*table != NULL ? NULL : "indirect table is not in memory");
}

int
vq_getchain(
    struct vqueue_info *vq, struct iovec *iov, int niov, struct vi_req *reqp)
{
	struct vq_walk w = { .vq = vq, .iov = iov, .niov = niov, .req = reqp };
	const char *why;
	uint16_t idx;

	reqp->readable = reqp->writable = 0;
	reqp->idx = 0;
	if (!vq_ring_ready(vq) || vq->vq_layout->vl_pending(vq) == 0)
		return (0);
	why = vq->vq_layout->vl_take(&w, &idx);
	if (why == NULL && w.n == 0)
		why = "chain is empty";
	if (why != NULL) {
		vq_broken(vq, why);
		return (-1);
	}
	reqp->idx = idx;
	w.chain->held = true;
	vq->vq_heads[vq->vq_ntaken++ & (vq->vq_qsize - 1)] = idx;
	vq->vq_nheld++;
	return (w.n);
}

void
vq_retchains(struct vqueue_info *vq, uint16_t n_chains)
{
	struct vq_chain *chain;
	uint16_t idx;

	while (n_chains-- > 0 && vq->vq_nheld > 0) {
		idx = vq->vq_heads[--vq->vq_ntaken & (vq->vq_qsize - 1)];
		chain = &vq->vq_chains[idx];
		if (chain->held) {
			vq->vq_layout->vl_untake(vq, idx);
			chain->held = false;
			vq->vq_nheld--;
		}
	}
}

/* ---- giving them back ---- */

/* The first len bytes of the chain's writable part were written. */
static void
chain_dirty(struct vqueue_info *vq, struct vq_chain *chain, uint32_t len)
{
	uint32_t i, n;

	for (i = 0; i < chain->nseg && len > 0; i++) {
		n = chain->seg[i].len < len ? chain->seg[i].len : len;
		vm_dirty_gpa(vq->vq_vs->vs_pi->pi_vmctx, chain->seg[i].gpa, n);
		len -= n;
	}
}

void
vq_relchain_prepare(struct vqueue_info *vq, uint16_t idx, uint32_t iolen)
{
	struct vq_chain *chain;

	/* A chain from before a reset is nobody's any more. */
	if (vq->vq_used == NULL || idx >= vq->vq_qsize ||
	    !vq->vq_chains[idx].held)
		return;
	chain = &vq->vq_chains[idx];
	chain_dirty(vq, chain, iolen);
	chain->held = false;
	vq->vq_nheld--;
	vq->vq_layout->vl_fill(vq, idx, iolen);
}

void
vq_relchain_publish(struct vqueue_info *vq)
{
	if (vq->vq_used != NULL)
		vq->vq_layout->vl_publish(vq);
}

void
vq_relchain(struct vqueue_info *vq, uint16_t idx, uint32_t iolen)
{
	vq_relchain_prepare(vq, idx, iolen);
	vq_relchain_publish(vq);
}

void
vq_endchains(struct vqueue_info *vq, int used_all_avail)
{
	if (vq->vq_used != NULL &&
	    vq->vq_layout->vl_want_intr(vq, used_all_avail != 0))
		vq_interrupt(vq);
}

/* ---- notifications ---- */

void
vq_kick_enable(struct vqueue_info *vq)
{
	atomic_fetch_and(&vq->vq_flags, (uint16_t)~VQ_NOKICK);
	if (!vq_ring_ready(vq))
		return;
	vq->vq_layout->vl_kick(vq, true);
	/* The wish is out before the caller looks for chains again. */
	atomic_thread_fence(memory_order_seq_cst);
}

void
vq_kick_disable(struct vqueue_info *vq)
{
	atomic_fetch_or(&vq->vq_flags, VQ_NOKICK);
	if (vq_ring_ready(vq))
		vq->vq_layout->vl_kick(vq, false);
}

void
vq_cleanup(struct vqueue_info *vq)
{
	uint16_t i;

	atomic_store(&vq->vq_flags, 0);
	vq->vq_used = NULL;
	for (i = 0; vq->vq_chains != NULL && i < vq->vq_maxsize; i++)
		free(vq->vq_chains[i].seg);
	free(vq->vq_chains);
	free(vq->vq_heads);
	vq->vq_chains = NULL;
	vq->vq_heads = NULL;
}
