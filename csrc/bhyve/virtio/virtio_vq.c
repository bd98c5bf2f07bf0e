/*
 * Split virtqueues (Virtual I/O Device specification 1.1, 2.6) as a device
 * sees them.
 *
 * The rings are guest memory that other processors change at any time: each
 * field is read once, checked, and used from the copy.  What the device
 * holds is remembered on this side (vq_chains), never read back.
 */
#include <stdlib.h>
#include <string.h>

#include "bhyverun.h"
#include "debug.h"
#include "virtio.h"
#include "vmmapi.h"

/* Descriptors that one chain may have, its indirect table included. */
#define VQ_MAX_DESCRIPTORS 512
#define VQ_ADDR_ALIGNED(a, n) (((a) & ((uint64_t)(n)-1)) == 0)

/* Guest memory that the device may write, for vm_dirty_gpa(). */
struct vq_seg {
	uint64_t gpa;
	uint32_t len;
};

struct vq_chain {
	bool held;
	uint32_t nseg, capacity;
	struct vq_seg *seg;
};

/* ---- guest memory ---- */

static bool
in_ram(struct virtio_softc *vs, uint64_t gpa, size_t len)
{
	if (gpa >= VM_HIGHMEM_BASE) {
		gpa -= VM_HIGHMEM_BASE;
		return (gpa < vs->vs_highmem && len <= vs->vs_highmem - gpa);
	}
	return (gpa < vs->vs_lowmem && len <= vs->vs_lowmem - gpa);
}

void *
vi_gpa2host(struct virtio_softc *vs, uint64_t gpa, size_t len)
{
	/* Ranges of devices and ROMs are no place for DMA. */
	if (!in_ram(vs, gpa, len))
		return (NULL);
	return (paddr_guest2host(vs->vs_pi->pi_vmctx, gpa, len));
}

static bool
has_feature(const struct vqueue_info *vq, uint64_t feature)
{
	return ((vq->vq_vs->vs_negotiated_caps & feature) != 0);
}

static uint16_t
ring_load(const uint16_t *field)
{
	return (__atomic_load_n(field, __ATOMIC_ACQUIRE));
}

static void
ring_store(uint16_t *field, uint16_t val)
{
	__atomic_store_n(field, val, __ATOMIC_RELEASE);
}

static uint16_t *
used_event(struct vqueue_info *vq)
{
	return (&vq->vq_avail->ring[vq->vq_qsize]);
}

static uint16_t *
avail_event(struct vqueue_info *vq)
{
	return ((uint16_t *)&vq->vq_used->ring[vq->vq_qsize]);
}

static size_t
used_size(const struct vqueue_info *vq)
{
	return (sizeof(struct vring_used) +
	    (size_t)vq->vq_qsize * sizeof(struct vring_used_elem) +
	    sizeof(uint16_t));
}

static void
used_dirty(struct vqueue_info *vq)
{
	vm_dirty_gpa(
	    vq->vq_vs->vs_pi->pi_vmctx, vq->vq_used_gpa, used_size(vq));
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
	vq->vq_nheld = 0;
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
		vq->vq_chains =
		    calloc(vq->vq_maxsize, sizeof(*vq->vq_chains));
	if (vq->vq_heads == NULL)
		vq->vq_heads = calloc(vq->vq_maxsize, sizeof(*vq->vq_heads));
	return (vq->vq_chains != NULL && vq->vq_heads != NULL);
}

static void
vq_enable(
    struct vqueue_info *vq, uint64_t desc, uint64_t avail, uint64_t used)
{
	struct virtio_softc *vs = vq->vq_vs;
	size_t n = vq->vq_qsize;

	if (!VQ_ADDR_ALIGNED(desc, 16) || !VQ_ADDR_ALIGNED(avail, 2) ||
	    !VQ_ADDR_ALIGNED(used, 4)) {
		vq_broken(vq, "rings are not aligned");
		return;
	}
	vq->vq_desc = vi_gpa2host(vs, desc, n * sizeof(struct vring_desc));
	vq->vq_avail = vi_gpa2host(vs, avail,
	    sizeof(struct vring_avail) + (n + 1) * sizeof(uint16_t));
	vq->vq_used = vi_gpa2host(vs, used, used_size(vq));
	if (vq->vq_desc == NULL || vq->vq_avail == NULL ||
	    vq->vq_used == NULL) {
		vq_broken(vq, "rings are not in memory");
		return;
	}
	if (!vq_alloc(vq)) {
		vq_broken(vq, "out of memory");
		return;
	}
	vq->vq_used_gpa = used;
	vq->vq_last_avail = vq->vq_next_used = vq->vq_save_used = 0;
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
	vq_enable(vq, desc, avail, used);
}

void
vq_enable_modern(struct vqueue_info *vq)
{
	vq_enable(vq, vq->vq_gpa_desc, vq->vq_gpa_avail, vq->vq_gpa_used);
}

bool
vq_ring_ready(struct vqueue_info *vq)
{
	struct virtio_softc *vs = vq->vq_vs;

	return ((atomic_load(&vq->vq_flags) & (VQ_ALLOC | VQ_BROKED)) ==
		VQ_ALLOC &&
	    (atomic_load(&vs->vs_status) & VIRTIO_CONFIG_S_NEEDS_RESET) == 0 &&
	    (pci_get_cfgdata8(vs->vs_pi, PCIR_COMMAND) &
		PCIM_CMD_BUSMASTEREN) != 0);
}

/* ---- taking chains ---- */

/*
 * How many chains wait.  Before "none", a driver that goes by the event
 * index is told to notify for the next one.
 */
static uint16_t
vq_pending(struct vqueue_info *vq)
{
	uint16_t n;

	n = (uint16_t)(ring_load(&vq->vq_avail->idx) - vq->vq_last_avail);
	if (n == 0 && has_feature(vq, VIRTIO_RING_F_EVENT_IDX) &&
	    (atomic_load(&vq->vq_flags) & VQ_NOKICK) == 0) {
		ring_store(avail_event(vq), vq->vq_last_avail);
		atomic_thread_fence(memory_order_seq_cst);
		n = (uint16_t)(ring_load(&vq->vq_avail->idx) -
		    vq->vq_last_avail);
	}
	return (n);
}

bool
vq_has_descs(struct vqueue_info *vq)
{
	return (vq_ring_ready(vq) && vq_pending(vq) != 0);
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

static struct vring_desc
desc_read(const struct vring_desc *table, uint32_t i)
{
	struct vring_desc desc;

	memcpy(&desc, &table[i], sizeof(desc));
	/* The copy is the only read: the compiler must not do another. */
	__asm__ __volatile__("" ::: "memory");
	return (desc);
}

/* A walk over a chain. */
struct vq_walk {
	struct vqueue_info *vq;
	struct vq_chain *chain;
	struct iovec *iov;
	int niov, n;
	struct vi_req *req;
	uint64_t total;
};

/* One buffer; NULL, or what is wrong with it. */
static const char *
walk_buffer(struct vq_walk *w, const struct vring_desc *desc)
{
	void *hva;

	if (desc->len == 0)
		return (NULL);
	w->total += desc->len;
	if (w->total > UINT32_MAX)
		return ("chain of more than 4 GB");
	if (w->n == w->niov)
		return ("too many descriptors");
	hva = vi_gpa2host(w->vq->vq_vs, desc->addr, desc->len);
	if (hva == NULL)
		return ("descriptor is not in memory");
	if ((desc->flags & VRING_DESC_F_WRITE) != 0) {
		if (!chain_add_seg(w->chain, desc->addr, desc->len))
			return ("out of memory");
		w->req->writable++;
	} else {
		if (w->req->writable != 0)
			return ("readable descriptor after a writable one");
		w->req->readable++;
	}
	w->iov[w->n].iov_base = hva;
	w->iov[w->n].iov_len = desc->len;
	w->n++;
	return (NULL);
}

static const char *
walk_indirect(struct vq_walk *w, const struct vring_desc *ind)
{
	const struct vring_desc *table;
	struct vring_desc desc;
	uint32_t count, i, seen;
	const char *why;

	if (!has_feature(w->vq, VIRTIO_RING_F_INDIRECT_DESC))
		return ("indirect descriptor was not negotiated");
	if ((ind->flags & VRING_DESC_F_NEXT) != 0)
		return ("indirect descriptor has a next one");
	if (ind->len == 0 || ind->len % sizeof(desc) != 0)
		return ("invalid indirect length");
	count = ind->len / sizeof(desc);
	if (count > UINT16_MAX + 1)
		return ("invalid indirect length");
	table = vi_gpa2host(w->vq->vq_vs, ind->addr, ind->len);
	if (table == NULL)
		return ("indirect table is not in memory");
	i = 0;
	for (seen = 1;; seen++) {
		if (seen > count || seen > VQ_MAX_DESCRIPTORS)
			return ("too many descriptors / loop in indirect");
		desc = desc_read(table, i);
		if ((desc.flags & VRING_DESC_F_INDIRECT) != 0)
			return ("indirect descriptor in an indirect table");
		why = walk_buffer(w, &desc);
		if (why != NULL || (desc.flags & VRING_DESC_F_NEXT) == 0)
			return (why);
		i = desc.next;
		if (i >= count)
			return ("invalid next in indirect");
	}
}

static const char *
walk_chain(struct vq_walk *w, uint32_t head)
{
	struct vring_desc desc;
	const char *why;
	uint32_t i, seen;

	i = head;
	for (seen = 1;; seen++) {
		if (seen > w->vq->vq_qsize || seen > VQ_MAX_DESCRIPTORS)
			return ("too many descriptors / loop");
		desc = desc_read(w->vq->vq_desc, i);
		if ((desc.flags & VRING_DESC_F_INDIRECT) != 0)
			return (walk_indirect(w, &desc));
		why = walk_buffer(w, &desc);
		if (why != NULL || (desc.flags & VRING_DESC_F_NEXT) == 0)
			return (why);
		i = desc.next;
		if (i >= w->vq->vq_qsize)
			return ("invalid next");
	}
}

int
vq_getchain(
    struct vqueue_info *vq, struct iovec *iov, int niov, struct vi_req *reqp)
{
	struct vq_walk w = { .vq = vq, .iov = iov, .niov = niov, .req = reqp };
	const char *why;
	uint16_t head, n, slot;

	memset(reqp, 0, sizeof(*reqp));
	if (!vq_ring_ready(vq))
		return (0);
	n = vq_pending(vq);
	if (n == 0)
		return (0);
	if (n > vq->vq_qsize) {
		vq_broken(vq, "avail index is ahead of the ring");
		return (-1);
	}
	slot = vq->vq_last_avail & (vq->vq_qsize - 1);
	head = __atomic_load_n(&vq->vq_avail->ring[slot], __ATOMIC_RELAXED);
	if (head >= vq->vq_qsize || vq->vq_chains[head].held) {
		vq_broken(vq, head >= vq->vq_qsize ? "invalid head" :
						     "head is in use");
		return (-1);
	}
	w.chain = &vq->vq_chains[head];
	w.chain->nseg = 0;
	why = walk_chain(&w, head);
	if (why == NULL && w.n == 0)
		why = "chain is empty";
	if (why != NULL) {
		vq_broken(vq, why);
		return (-1);
	}
	reqp->idx = head;
	w.chain->held = true;
	vq->vq_heads[slot] = head;
	vq->vq_nheld++;
	vq->vq_last_avail++;
	return (w.n);
}

void
vq_retchains(struct vqueue_info *vq, uint16_t n_chains)
{
	struct vq_chain *chain;

	while (n_chains-- > 0 && vq->vq_nheld > 0) {
		vq->vq_last_avail--;
		chain = &vq->vq_chains[vq->vq_heads[vq->vq_last_avail &
		    (vq->vq_qsize - 1)]];
		if (chain->held) {
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
		vm_dirty_gpa(
		    vq->vq_vs->vs_pi->pi_vmctx, chain->seg[i].gpa, n);
		len -= n;
	}
}

void
vq_relchain_prepare(struct vqueue_info *vq, uint16_t idx, uint32_t iolen)
{
	struct vring_used_elem *elem;
	struct vq_chain *chain;

	/* A chain from before a reset is nobody's any more. */
	if (vq->vq_used == NULL || idx >= vq->vq_qsize ||
	    !vq->vq_chains[idx].held)
		return;
	chain = &vq->vq_chains[idx];
	chain_dirty(vq, chain, iolen);
	chain->held = false;
	vq->vq_nheld--;
	elem = &vq->vq_used->ring[vq->vq_next_used & (vq->vq_qsize - 1)];
	__atomic_store_n(&elem->id, idx, __ATOMIC_RELAXED);
	__atomic_store_n(&elem->len, iolen, __ATOMIC_RELAXED);
	vq->vq_next_used++;
}

void
vq_relchain_publish(struct vqueue_info *vq)
{
	/* The driver reads an entry only after it has seen the index. */
	if (vq->vq_used != NULL)
		ring_store(&vq->vq_used->idx, vq->vq_next_used);
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
	uint16_t event, new, old;
	bool intr;

	if (vq->vq_used == NULL)
		return;
	old = vq->vq_save_used;
	new = vq->vq_next_used;
	vq->vq_save_used = new;
	if (new != old)
		used_dirty(vq);
	/* The index is out before the driver's wish is read. */
	atomic_thread_fence(memory_order_seq_cst);
	if (used_all_avail && has_feature(vq, VIRTIO_F_NOTIFY_ON_EMPTY) &&
	    ring_load(&vq->vq_avail->idx) == vq->vq_last_avail) {
		intr = true;
	} else if (has_feature(vq, VIRTIO_RING_F_EVENT_IDX)) {
		event = ring_load(used_event(vq));
		intr = (uint16_t)(new - event - 1) < (uint16_t)(new - old);
	} else {
		intr = new != old &&
		    (ring_load(&vq->vq_avail->flags) &
			VRING_AVAIL_F_NO_INTERRUPT) == 0;
	}
	if (intr)
		vq_interrupt(vq);
}

/* ---- notifications ---- */

void
vq_kick_enable(struct vqueue_info *vq)
{
	atomic_fetch_and(&vq->vq_flags, (uint16_t)~VQ_NOKICK);
	if (!vq_ring_ready(vq))
		return;
	if (has_feature(vq, VIRTIO_RING_F_EVENT_IDX))
		ring_store(avail_event(vq), vq->vq_last_avail);
	else
		ring_store(&vq->vq_used->flags, 0);
	used_dirty(vq);
	/* The wish is out before the caller looks for chains again. */
	atomic_thread_fence(memory_order_seq_cst);
}

void
vq_kick_disable(struct vqueue_info *vq)
{
	atomic_fetch_or(&vq->vq_flags, VQ_NOKICK);
	/* By the event index, not asking is enough. */
	if (!vq_ring_ready(vq) || has_feature(vq, VIRTIO_RING_F_EVENT_IDX))
		return;
	ring_store(&vq->vq_used->flags, VRING_USED_F_NO_NOTIFY);
	used_dirty(vq);
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
