/*
 * Packed virtqueues (Virtual I/O Device specification 1.1, 2.7): one ring of
 * descriptors, which the driver makes available and the device overwrites
 * with what is done.  Whose an entry is, is said by two flags against a
 * counter that turns at each lap.
 *
 * Entries are overwritten in the order in which chains are done, so that a
 * chain's place says nothing about it: the device knows it by the number of
 * a record of ours (vq_chains), which keeps its id and how many entries it
 * took.
 */
#include "virtio_local.h"
#include "vmmapi.h"

#define F_AVAIL (1U << 7)
#define F_USED (1U << 15)

struct packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};
_Static_assert(sizeof(struct packed_desc) == 16, "packed descriptor");

/* Which events the other side wants. */
struct event {
	uint16_t off_wrap; /* with EV_DESC: entry, and the lap in bit 15 */
	uint16_t flags;
};
#define EV_ENABLE 0
#define EV_DISABLE 1
#define EV_DESC 2

static struct packed_desc *
ring(struct vqueue_info *vq)
{
	return ((struct packed_desc *)vq->vq_desc);
}

static struct event *
driver_event(struct vqueue_info *vq)
{
	return ((struct event *)vq->vq_avail);
}

static struct event *
device_event(struct vqueue_info *vq)
{
	return ((struct event *)vq->vq_used);
}

static void
ring_dirty(struct vqueue_info *vq)
{
	struct vmctx *ctx = vq->vq_vs->vs_pi->pi_vmctx;

	vm_dirty_gpa(ctx, vq->vq_desc_gpa,
	    (size_t)vq->vq_qsize * sizeof(struct packed_desc));
	vm_dirty_gpa(ctx, vq->vq_used_gpa, sizeof(struct event));
}

static const char *
packed_map(
    struct vqueue_info *vq, uint64_t desc, uint64_t driver, uint64_t device)
{
	struct virtio_softc *vs = vq->vq_vs;

	if (desc % 16 != 0 || driver % 4 != 0 || device % 4 != 0)
		return ("rings are not aligned");
	vq->vq_desc = vi_gpa2host(
	    vs, desc, (size_t)vq->vq_qsize * sizeof(struct packed_desc));
	vq->vq_avail = vi_gpa2host(vs, driver, sizeof(struct event));
	vq->vq_used = vi_gpa2host(vs, device, sizeof(struct event));
	if (vq->vq_desc == NULL || vq->vq_avail == NULL || vq->vq_used == NULL)
		return ("rings are not in memory");
	vq->vq_desc_gpa = desc;
	vq->vq_used_gpa = device;
	vq->vq_avail_wrap = vq->vq_used_wrap = true;
	vq->vq_nfilled = vq->vq_nended = 0;
	return (NULL);
}

/* Go on by n entries, into the next lap if need be. */
static void
advance(const struct vqueue_info *vq, uint16_t *pos, bool *wrap, uint16_t n)
{
	*pos = (uint16_t)(*pos + n);
	if (*pos >= vq->vq_qsize) {
		*pos = (uint16_t)(*pos - vq->vq_qsize);
		*wrap = !*wrap;
	}
}

static bool
available(struct vqueue_info *vq)
{
	uint16_t flags;

	flags = vq_load(&ring(vq)[vq->vq_last_avail].flags);
	return (((flags & F_AVAIL) != 0) == vq->vq_avail_wrap &&
	    ((flags & F_USED) != 0) != vq->vq_avail_wrap);
}

static void
ask_for_next(struct vqueue_info *vq)
{
	struct event *ev = device_event(vq);

	if (!vq_has_feature(vq, VIRTIO_RING_F_EVENT_IDX)) {
		vq_store(&ev->flags, EV_ENABLE);
		return;
	}
	vq_store(&ev->off_wrap,
	    (uint16_t)(vq->vq_last_avail | vq->vq_avail_wrap << 15));
	vq_store(&ev->flags, EV_DESC);
}

static uint16_t
packed_pending(struct vqueue_info *vq)
{
	if (available(vq))
		return (1);
	if (!vq_has_feature(vq, VIRTIO_RING_F_EVENT_IDX) ||
	    (atomic_load(&vq->vq_flags) & VQ_NOKICK) != 0)
		return (0);
	ask_for_next(vq);
	atomic_thread_fence(memory_order_seq_cst);
	return (available(vq));
}

/* All of the table, in its order: it has no links. */
static const char *
packed_indirect(struct vq_walk *w, const struct packed_desc *ind)
{
	const struct packed_desc *table;
	struct packed_desc desc;
	const void *base;
	const char *why;
	uint32_t i;

	why = vq_indirect_table(w, ind->addr, ind->len, ind->flags, &base);
	if (why != NULL)
		return (why);
	table = base;
	if (ind->len / sizeof(desc) > VQ_MAX_DESCRIPTORS)
		return ("too many descriptors / loop in indirect");
	for (i = 0; i < ind->len / sizeof(desc); i++) {
		vq_desc_copy(&desc, &table[i]);
		if ((desc.flags & VRING_DESC_F_INDIRECT) != 0)
			return ("indirect descriptor in an indirect table");
		why = vq_walk_buffer(w, desc.addr, desc.len, desc.flags);
		if (why != NULL)
			return (why);
	}
	return (NULL);
}

static const char *
packed_chain(struct vq_walk *w, struct vq_chain *chain)
{
	struct packed_desc desc;
	const char *why;
	uint16_t pos;
	bool wrap;

	pos = w->vq->vq_last_avail;
	wrap = false;
	for (chain->count = 1;; chain->count++) {
		if (chain->count > w->vq->vq_qsize ||
		    chain->count > VQ_MAX_DESCRIPTORS)
			return ("too many descriptors / loop");
		vq_desc_copy(&desc, &ring(w->vq)[pos]);
		chain->id = desc.id; /* the last one's counts */
		if ((desc.flags & VRING_DESC_F_INDIRECT) != 0)
			return (chain->count == 1
				? packed_indirect(w, &desc)
				: "indirect descriptor in a chain");
		why = vq_walk_buffer(w, desc.addr, desc.len, desc.flags);
		if (why != NULL || (desc.flags & VRING_DESC_F_NEXT) == 0)
			return (why);
		advance(w->vq, &pos, &wrap, 1);
	}
}

static const char *
packed_take(struct vq_walk *w, uint16_t *idx)
{
	struct vqueue_info *vq = w->vq;
	const char *why;
	uint16_t i, n;

	/* A driver has no more chains than entries, so one is free. */
	if (vq->vq_nheld >= vq->vq_qsize)
		return ("more chains than entries");
	i = vq->vq_next_record;
	for (n = 0; vq->vq_chains[i].held && n < vq->vq_qsize; n++)
		i = (uint16_t)((i + 1) % vq->vq_qsize);
	vq->vq_next_record = (uint16_t)((i + 1) % vq->vq_qsize);
	w->chain = &vq->vq_chains[i];
	w->chain->nseg = 0;
	why = packed_chain(w, w->chain);
	if (why == NULL)
		advance(vq, &vq->vq_last_avail, &vq->vq_avail_wrap,
		    w->chain->count);
	*idx = i;
	return (why);
}

static void
packed_untake(struct vqueue_info *vq, uint16_t idx)
{
	int pos;

	pos = vq->vq_last_avail - vq->vq_chains[idx].count;
	if (pos < 0) {
		pos += vq->vq_qsize;
		vq->vq_avail_wrap = !vq->vq_avail_wrap;
	}
	vq->vq_last_avail = (uint16_t)pos;
}

/*
 * The flags of the first entry that is filled wait for the publication: a
 * driver that sees it may take the others at once.
 */
static void
packed_fill(struct vqueue_info *vq, uint16_t idx, uint32_t len)
{
	struct vq_chain *chain = &vq->vq_chains[idx];
	struct packed_desc *desc = &ring(vq)[vq->vq_next_used];
	uint16_t flags;

	flags = vq->vq_used_wrap ? F_AVAIL | F_USED : 0;
	if (len != 0)
		flags |= VRING_DESC_F_WRITE;
	__atomic_store_n(&desc->id, chain->id, __ATOMIC_RELAXED);
	__atomic_store_n(&desc->len, len, __ATOMIC_RELAXED);
	if (vq->vq_nfilled == 0) {
		vq->vq_first_filled = vq->vq_next_used;
		vq->vq_first_flags = flags;
	} else {
		vq_store(&desc->flags, flags);
	}
	vq->vq_nfilled++;
	vq->vq_nended = (uint16_t)(vq->vq_nended + chain->count);
	advance(vq, &vq->vq_next_used, &vq->vq_used_wrap, chain->count);
}

static void
packed_publish(struct vqueue_info *vq)
{
	if (vq->vq_nfilled == 0)
		return;
	vq_store(&ring(vq)[vq->vq_first_filled].flags, vq->vq_first_flags);
	vq->vq_nfilled = 0;
}

static bool
packed_want_intr(struct vqueue_info *vq, bool used_all_avail)
{
	uint16_t count, event, flags, new;

	count = vq->vq_nended;
	vq->vq_nended = 0;
	if (count == 0)
		return (false);
	ring_dirty(vq);
	/* What is done is out before the driver's wish is read. */
	atomic_thread_fence(memory_order_seq_cst);
	flags = vq_load(&driver_event(vq)->flags) & 3;
	if (flags != EV_DESC || !vq_has_feature(vq, VIRTIO_RING_F_EVENT_IDX))
		return (flags != EV_DISABLE);
	event = vq_load(&driver_event(vq)->off_wrap);
	new = vq->vq_next_used;
	/* An entry of the lap before lies that much behind. */
	if ((event >> 15 != 0) != vq->vq_used_wrap)
		event = (uint16_t)((event & 0x7fff) - vq->vq_qsize);
	else
		event &= 0x7fff;
	return ((uint16_t)(new - event - 1) < count);
}

static void
packed_kick(struct vqueue_info *vq, bool enable)
{
	if (enable)
		ask_for_next(vq);
	else
		vq_store(&device_event(vq)->flags, EV_DISABLE);
}

const struct vq_layout vq_packed_layout = {
	.vl_map = packed_map,
	.vl_pending = packed_pending,
	.vl_take = packed_take,
	.vl_untake = packed_untake,
	.vl_fill = packed_fill,
	.vl_publish = packed_publish,
	.vl_want_intr = packed_want_intr,
	.vl_kick = packed_kick,
};
