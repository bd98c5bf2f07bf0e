/*
 * Code that changes: the marks on physical pages with decoded code, and the
 * requests by which vCPUs tell each other of stores into them.
 *
 * Order of a store: store, fence, read cp_granules.  Order of a decoder:
 * join cp_users, make every writer drop its fast entries and wait for it,
 * read the bytes, set granules, fence, read the bytes again.  So the writer
 * sees the granule or the decoder sees the new bytes.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "soft_core_local.h"

#define CODE_HOOK_MAX (64u << 20) /* longer writes void everything */

/*
 * The record of the page at (gpa), made when (create) is true; NULL when it
 * has none, past the map's 4 TiB, or without memory.
 */
struct codepage *
cp_get(struct softvm *svm, uint64_t gpa, bool create)
{
	struct cp_dir *dir, *nd;
	struct cp_leaf *leaf, *nl;

	if (gpa >> 30 >= CP_DIRS)
		return (NULL);
	dir = atomic_load_explicit(&svm->dir[gpa >> 30], memory_order_acquire);
	if (dir == NULL) {
		if (!create || (nd = calloc(1, sizeof(*nd))) == NULL)
			return (NULL);
		if (atomic_compare_exchange_strong(
			&svm->dir[gpa >> 30], &dir, nd))
			dir = nd;
		else
			free(nd);
	}
	leaf = atomic_load_explicit(
	    &dir->leaf[(gpa >> 21) & 511], memory_order_acquire);
	if (leaf == NULL) {
		if (!create || (nl = calloc(1, sizeof(*nl))) == NULL)
			return (NULL);
		if (atomic_compare_exchange_strong(
			&dir->leaf[(gpa >> 21) & 511], &leaf, nl))
			leaf = nl;
		else
			free(nl);
	}
	return (&leaf->page[(gpa >> PAGE_SHIFT) & 511]);
}

void
cp_fini(struct softvm *svm)
{
	for (unsigned i = 0; i < CP_DIRS; i++) {
		struct cp_dir *dir = svm->dir[i];

		if (dir == NULL)
			continue;
		for (unsigned k = 0; k < 512; k++) {
			struct cp_leaf *leaf = dir->leaf[k];

			for (unsigned p = 0; leaf != NULL && p < 512; p++)
				free(leaf->page[p].cp_seen);
			free(leaf);
		}
		free(dir);
		svm->dir[i] = NULL;
	}
	free(svm->dma_pages);
}

/* ---- requests ---- */

/*
 * Queue a request for the vCPU (to); any thread.  Returns its number.  A
 * vCPU that runs no guest code finds it when it enters.
 */
uint64_t
req_post(struct softcpu *to, enum req_kind kind, uint64_t gpa, uint64_t len)
{
	struct soft_core *co = to->core;
	uint64_t seq;

	pthread_mutex_lock(&co->req_lock);
	if (co->req_n < REQ_MAX)
		co->req[co->req_n++] = (struct soft_req) { gpa, len, kind };
	else
		co->req_all = true;
	seq = ++co->req_seq;
	pthread_mutex_unlock(&co->req_lock);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&co->in_run))
		vcpu_post(to->vcpu, VCPU_EV_BACKEND);
	return (seq);
}

/* Do what others asked; only between instructions, own thread. */
void
req_serve(struct softcpu *cpu)
{
	struct soft_core *co = cpu->core;
	struct soft_req req[REQ_MAX];
	uint64_t seq;
	bool all;
	int n;

	atomic_fetch_and(cpu->pending, ~VCPU_EV_BACKEND);
	pthread_mutex_lock(&co->req_lock);
	n = co->req_n;
	memcpy(req, co->req, (size_t)n * sizeof(req[0]));
	all = co->req_all;
	co->req_n = 0;
	co->req_all = false;
	seq = co->req_seq;
	pthread_mutex_unlock(&co->req_lock);

	for (int i = 0; i < n && !all; i++)
		switch (req[i].kind) {
		case REQ_KILL:
			block_kill(cpu, req[i].gpa, req[i].len);
			break;
		case REQ_WDROP:
			tlb_drop_writes(cpu, req[i].gpa);
			break;
		case REQ_ALL:
			all = true;
			break;
		}
	if (all) {
		co->epoch++;
		block_flush(cpu);
		tlb_flush_all(cpu);
	}
	atomic_store(&co->req_ack, seq);
}

/*
 * Wait until (to) has done request (seq) or runs no guest code.  The waiting
 * vCPU serves its own requests, so that two of them cannot wait for each
 * other; (self) is NULL on a thread that is no vCPU's.
 */
void
req_wait(struct softcpu *self, struct softcpu *to, uint64_t seq)
{
	const struct timespec nap = { 0, 50000 };
	struct soft_core *co = to->core;

	for (unsigned turn = 0;; turn++) {
		if (atomic_load(&co->req_ack) >= seq)
			return;
		if (!atomic_load(&co->in_run))
			return;
		if (self != NULL &&
		    (atomic_load_explicit(self->pending, memory_order_relaxed) &
			VCPU_EV_BACKEND))
			req_serve(self);
		if (turn < 200)
			__builtin_ia32_pause();
		else if (turn < 2000)
			sched_yield();
		else
			nanosleep(&nap, NULL);
	}
}

/* The vCPU's thread begins, or ends, to run guest code. */
void
req_enter(struct softcpu *cpu)
{
	struct soft_core *co = cpu->core;

	atomic_store(&co->in_run, true);
	atomic_thread_fence(memory_order_seq_cst);
	req_serve(cpu);
}

void
req_leave(struct softcpu *cpu)
{
	atomic_store(&cpu->core->in_run, false);
}

/* ---- marks ---- */

static uint64_t
cpu_bit(const struct softcpu *cpu)
{
	return (1ull << cpu->vcpuid);
}

/*
 * This vCPU is about to decode code of the page: join its users, drop our
 * own fast write entries to it and make the other vCPUs drop theirs.
 */
void
code_use(struct softcpu *cpu, uint64_t gpa)
{
	struct softvm *svm = cpu->svm;
	struct codepage *cp = cp_get(svm, gpa, true);
	uint64_t seq[VM_MAXCPU] = { 0 }, w;
	struct softcpu *to;

	if (cp == NULL)
		return;
	pthread_mutex_lock(&svm->code_lock);
	atomic_fetch_or(&cp->cp_users, cpu_bit(cpu));
	pthread_mutex_unlock(&svm->code_lock);
	w = atomic_load(&cp->cp_writers);
	if (w == 0)
		return;
	if (w & cpu_bit(cpu))
		tlb_drop_writes(cpu, gpa);
	w &= ~cpu_bit(cpu);
	if (w == 0)
		return;
	cpu->core->st_wait++;
	for (int i = 0; i < VM_MAXCPU; i++)
		if ((w >> i & 1) && (to = atomic_load(&svm->cpus[i])) != NULL)
			seq[i] = req_post(to, REQ_WDROP, gpa, PAGE_SIZE);
	for (int i = 0; i < VM_MAXCPU; i++)
		if ((w >> i & 1) && (to = atomic_load(&svm->cpus[i])) != NULL)
			req_wait(cpu, to, seq[i]);
}

/* This vCPU has no block on the page any more. */
void
code_unuse(struct softcpu *cpu, uint64_t gpa)
{
	struct softvm *svm = cpu->svm;
	struct codepage *cp = cp_get(svm, gpa, false);

	if (cp == NULL)
		return;
	pthread_mutex_lock(&svm->code_lock);
	if ((atomic_fetch_and(&cp->cp_users, ~cpu_bit(cpu)) & ~cpu_bit(cpu)) ==
	    0)
		atomic_store(&cp->cp_granules, 0);
	pthread_mutex_unlock(&svm->code_lock);
}

static uint64_t
granules(uint64_t gpa, uint64_t len)
{
	unsigned first = (unsigned)PAGE_OFF(gpa) / 64;
	unsigned last = (unsigned)(PAGE_OFF(gpa) + len - 1) / 64;

	return ((~0ull << first) & (~0ull >> (63 - last)));
}

/* Code of [gpa, gpa+len), within one page, is about to be believed. */
void
code_cover(struct softvm *svm, uint64_t gpa, unsigned len)
{
	struct codepage *cp = cp_get(svm, gpa, false);
	uint64_t all = granules(gpa, len), old;

	if (cp != NULL) {
		old = atomic_fetch_or(&cp->cp_granules, all);
		if (atomic_load_explicit(&svm->dma, memory_order_relaxed))
			code_dma_cover(svm, cp, gpa, all & ~old);
	}
	atomic_thread_fence(memory_order_seq_cst);
}

static void
code_written_page(
    struct softvm *svm, struct softcpu *cpu, uint64_t gpa, uint64_t len)
{
	struct codepage *cp = cp_get(svm, gpa, false);
	struct softcpu *to;
	uint64_t users;

	if (cp == NULL || !(atomic_load(&cp->cp_granules) & granules(gpa, len)))
		return;
	users = atomic_load(&cp->cp_users);
	for (int i = 0; users != 0; i++, users >>= 1) {
		if (!(users & 1))
			continue;
		to = atomic_load(&svm->cpus[i]);
		if (to == NULL)
			continue;
		if (to == cpu)
			block_kill(cpu, gpa, len);
		else
			req_post(to, REQ_KILL, gpa, len);
	}
}

void
code_written(
    struct softvm *svm, struct softcpu *cpu, uint64_t gpa, uint64_t len)
{
	uint64_t n;

	atomic_thread_fence(memory_order_seq_cst);
	while (len != 0) {
		n = PAGE_SIZE - PAGE_OFF(gpa);
		if (n > len)
			n = len;
		code_written_page(svm, cpu, gpa, n);
		gpa += n;
		len -= n;
	}
}

/* Which vCPUs have code in the part of the page that was written? */
static uint64_t
code_users(struct softvm *svm, uint64_t gpa, uint64_t len)
{
	struct codepage *cp = cp_get(svm, gpa, false);

	if (cp == NULL || !(atomic_load(&cp->cp_granules) & granules(gpa, len)))
		return (0);
	return (atomic_load(&cp->cp_users));
}

/*
 * vmm_set_write_hook(): a device or a tool wrote guest memory.  One request
 * for the whole range to each vCPU that has code in it.
 */
void
code_hook(void *arg, vm_paddr_t gpa, size_t len)
{
	const uint64_t start = gpa, end = gpa + len;
	struct softvm *svm = arg;
	uint64_t users = 0, step;
	struct softcpu *to;

	if (len == 0 || end < gpa)
		return;
	atomic_thread_fence(memory_order_seq_cst);
	for (; gpa < end && gpa >> 30 < CP_DIRS; gpa += step) {
		if (atomic_load(&svm->dir[gpa >> 30]) == NULL) {
			step = (1ull << 30) - (gpa & ((1ull << 30) - 1));
			continue;
		}
		step = PAGE_SIZE - PAGE_OFF(gpa);
		if (step > end - gpa)
			step = end - gpa;
		users |= code_users(svm, gpa, step);
	}
	for (int i = 0; users != 0; i++, users >>= 1)
		if ((users & 1) && (to = atomic_load(&svm->cpus[i])) != NULL)
			req_post(to, len > CODE_HOOK_MAX ? REQ_ALL : REQ_KILL,
			    start, len);
}
