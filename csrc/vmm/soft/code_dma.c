/*
 * Code that devices of the host replace: they write memory, and nobody tells.
 * From a VM's first such device on, the bytes of each granule of code are kept
 * as they were when it was decoded, and compared with memory whenever a device
 * may have come to an end with something: at its messages, and where a vCPU
 * looks at its registers.
 *
 * A decoder sets the granule, keeps its bytes and then reads them again: what
 * comes before the last reading it sees itself, what comes later differs from
 * what was kept.
 */
#include <stdlib.h>
#include <string.h>

#include "soft_core_local.h"

#define GRANULE 64u

static uint8_t *
page_hva(struct softvm *svm, uint64_t gpa)
{
	return (vmm_gpa2hva(svm->vm, PAGE_BASE(gpa), PAGE_SIZE, VM_PROT_READ));
}

/* A place for the page's bytes; code_lock is held. */
static void
watch_page(struct softvm *svm, struct codepage *cp, uint64_t gpa)
{
	size_t room;
	uint64_t *p;

	if (svm->dma_npages == svm->dma_room) {
		room = svm->dma_room != 0 ? 2 * svm->dma_room : 256;
		p = realloc(svm->dma_pages, room * sizeof(*p));
		if (p == NULL)
			return;
		svm->dma_pages = p;
		svm->dma_room = room;
	}
	cp->cp_seen = malloc(PAGE_SIZE);
	if (cp->cp_seen != NULL)
		svm->dma_pages[svm->dma_npages++] = PAGE_BASE(gpa);
}

/* Granules (fresh) of the page are about to be believed. */
void
code_dma_cover(
    struct softvm *svm, struct codepage *cp, uint64_t gpa, uint64_t fresh)
{
	const uint8_t *hva = page_hva(svm, gpa);
	unsigned at;

	if (hva == NULL)
		return;
	pthread_mutex_lock(&svm->code_lock);
	if (cp->cp_seen == NULL) {
		watch_page(svm, cp, gpa);
		fresh = atomic_load(&cp->cp_granules);
	}
	for (; cp->cp_seen != NULL && fresh != 0; fresh &= fresh - 1) {
		at = (unsigned)__builtin_ctzll(fresh) * GRANULE;
		memcpy(cp->cp_seen + at, hva + at, GRANULE);
	}
	pthread_mutex_unlock(&svm->code_lock);
}

static void
ask_all(struct softvm *svm, uint64_t users, enum req_kind kind, uint64_t gpa)
{
	struct softcpu *to;

	for (int i = 0; users != 0; i++, users >>= 1)
		if ((users & 1) && (to = atomic_load(&svm->cpus[i])) != NULL)
			req_post(to, kind, gpa, GRANULE);
}

/* Code was decoded before anybody kept its bytes; no vCPU runs. */
void
soft_dma_begin(void *vmi)
{
	struct softvm *svm = vmi;

	if (!atomic_exchange(&svm->dma, true))
		ask_all(svm, ~0ull, REQ_ALL, 0);
}

static void
compare_page(struct softvm *svm, uint64_t gpa)
{
	struct codepage *cp = cp_get(svm, gpa, false);
	const uint8_t *hva = page_hva(svm, gpa);
	uint64_t left;
	unsigned at;

	if (cp == NULL || hva == NULL)
		return;
	left = atomic_load(&cp->cp_granules);
	for (; left != 0; left &= left - 1) {
		at = (unsigned)__builtin_ctzll(left) * GRANULE;
		if (memcmp(cp->cp_seen + at, hva + at, GRANULE) == 0)
			continue;
		memcpy(cp->cp_seen + at, hva + at, GRANULE);
		ask_all(svm, atomic_load(&cp->cp_users), REQ_KILL, gpa + at);
	}
}

/* Any thread. */
void
soft_dma_written(void *vmi)
{
	struct softvm *svm = vmi;

	atomic_thread_fence(memory_order_seq_cst);
	pthread_mutex_lock(&svm->code_lock);
	for (size_t i = 0; i < svm->dma_npages; i++)
		compare_page(svm, svm->dma_pages[i]);
	pthread_mutex_unlock(&svm->code_lock);
}
