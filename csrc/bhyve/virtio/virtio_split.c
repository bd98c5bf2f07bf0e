/*
 * Split virtqueues (Virtual I/O Device specification 1.1, 2.6): a table of
 * descriptors, a ring of chains that wait and one of those that are done.
 */
#include "virtio_local.h"
#include "vmmapi.h"

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

static const char *
split_map(struct vqueue_info *vq, uint64_t desc, uint64_t avail, uint64_t used)
{
	struct virtio_softc *vs = vq->vq_vs;
	size_t n = vq->vq_qsize;

	if (desc % 16 != 0 || avail % 2 != 0 || used % 4 != 0)
		return ("rings are not aligned");
	vq->vq_desc = vi_gpa2host(vs, desc, n * sizeof(struct vring_desc));
	vq->vq_avail = vi_gpa2host(
	    vs, avail, sizeof(struct vring_avail) + (n + 1) * sizeof(uint16_t));
	vq->vq_used = vi_gpa2host(vs, used, used_size(vq));
	if (vq->vq_desc == NULL || vq->vq_avail == NULL || vq->vq_used == NULL)
		return ("rings are not in memory");
	vq->vq_used_gpa = used;
	return (NULL);
}

static uint16_t
split_pending(struct vqueue_info *vq)
{
	uint16_t n;

	n = (uint16_t)(vq_load(&vq->vq_avail->idx) - vq->vq_last_avail);
	if (n == 0 && vq_has_feature(vq, VIRTIO_RING_F_EVENT_IDX) &&
	    (atomic_load(&vq->vq_flags) & VQ_NOKICK) == 0) {
		vq_store(avail_event(vq), vq->vq_last_avail);
		atomic_thread_fence(memory_order_seq_cst);
		n = (uint16_t)(vq_load(&vq->vq_avail->idx) - vq->vq_last_avail);
	}
	return (n);
}

static const char *
split_indirect(struct vq_walk *w, const struct vring_desc *ind)
{
	const struct vring_desc *table;
	struct vring_desc desc;
	uint32_t count, i, seen;
	const void *base;
	const char *why;

	why = vq_indirect_table(w, ind->addr, ind->len, ind->flags, &base);
	if (why != NULL)
		return (why);
	table = base;
	count = ind->len / sizeof(desc);
	i = 0;
	for (seen = 1;; seen++) {
		if (seen > count || seen > VQ_MAX_DESCRIPTORS)
			return ("too many descriptors / loop in indirect");
		vq_desc_copy(&desc, &table[i]);
		if ((desc.flags & VRING_DESC_F_INDIRECT) != 0)
			return ("indirect descriptor in an indirect table");
		why = vq_walk_buffer(w, desc.addr, desc.len, desc.flags);
		if (why != NULL || (desc.flags & VRING_DESC_F_NEXT) == 0)
			return (why);
		i = desc.next;
		if (i >= count)
			return ("invalid next in indirect");
	}
}

static const char *
split_chain(struct vq_walk *w, uint32_t head)
{
	struct vring_desc desc;
	const char *why;
	uint32_t i, seen;

	i = head;
	for (seen = 1;; seen++) {
		if (seen > w->vq->vq_qsize || seen > VQ_MAX_DESCRIPTORS)
			return ("too many descriptors / loop");
		vq_desc_copy(&desc, &w->vq->vq_desc[i]);
		if ((desc.flags & VRING_DESC_F_INDIRECT) != 0)
			return (split_indirect(w, &desc));
		why = vq_walk_buffer(w, desc.addr, desc.len, desc.flags);
		if (why != NULL || (desc.flags & VRING_DESC_F_NEXT) == 0)
			return (why);
		i = desc.next;
		if (i >= w->vq->vq_qsize)
			return ("invalid next");
	}
}

static const char *
split_take(struct vq_walk *w, uint16_t *idx)
{
	struct vqueue_info *vq = w->vq;
	const char *why;
	uint16_t head;

	if (split_pending(vq) > vq->vq_qsize)
		return ("avail index is ahead of the ring");
	head = __atomic_load_n(
	    &vq->vq_avail->ring[vq->vq_last_avail & (vq->vq_qsize - 1)],
	    __ATOMIC_RELAXED);
	if (head >= vq->vq_qsize)
		return ("invalid head");
	if (vq->vq_chains[head].held)
		return ("head is in use");
	w->chain = &vq->vq_chains[head];
	w->chain->nseg = 0;
	why = split_chain(w, head);
	if (why == NULL)
		vq->vq_last_avail++;
	*idx = head;
	return (why);
}

static void
split_untake(struct vqueue_info *vq, uint16_t idx)
{
	vq->vq_last_avail--;
}

static void
split_fill(struct vqueue_info *vq, uint16_t idx, uint32_t len)
{
	struct vring_used_elem *elem;

	elem = &vq->vq_used->ring[vq->vq_next_used & (vq->vq_qsize - 1)];
	__atomic_store_n(&elem->id, idx, __ATOMIC_RELAXED);
	__atomic_store_n(&elem->len, len, __ATOMIC_RELAXED);
	vq->vq_next_used++;
}

static void
split_publish(struct vqueue_info *vq)
{
	/* The driver reads an entry only after it has seen the index. */
	vq_store(&vq->vq_used->idx, vq->vq_next_used);
}

static bool
split_want_intr(struct vqueue_info *vq, bool used_all_avail)
{
	uint16_t event, new, old;

	old = vq->vq_save_used;
	new = vq->vq_next_used;
	vq->vq_save_used = new;
	if (new != old)
		used_dirty(vq);
	/* The index is out before the driver's wish is read. */
	atomic_thread_fence(memory_order_seq_cst);
	if (used_all_avail && vq_has_feature(vq, VIRTIO_F_NOTIFY_ON_EMPTY) &&
	    vq_load(&vq->vq_avail->idx) == vq->vq_last_avail)
		return (true);
	if (vq_has_feature(vq, VIRTIO_RING_F_EVENT_IDX)) {
		event = vq_load(used_event(vq));
		return ((uint16_t)(new - event - 1) < (uint16_t)(new - old));
	}
	return (new != old &&
	    (vq_load(&vq->vq_avail->flags) & VRING_AVAIL_F_NO_INTERRUPT) == 0);
}

static void
split_kick(struct vqueue_info *vq, bool enable)
{
	if (!vq_has_feature(vq, VIRTIO_RING_F_EVENT_IDX))
		vq_store(
		    &vq->vq_used->flags, enable ? 0 : VRING_USED_F_NO_NOTIFY);
	else if (enable)
		vq_store(avail_event(vq), vq->vq_last_avail);
	else
		return; /* by the event index, not asking is enough */
	used_dirty(vq);
}

const struct vq_layout vq_split_layout = {
	.vl_map = split_map,
	.vl_pending = split_pending,
	.vl_take = split_take,
	.vl_untake = split_untake,
	.vl_fill = split_fill,
	.vl_publish = split_publish,
	.vl_want_intr = split_want_intr,
	.vl_kick = split_kick,
};
