/*
 * The memory bus.  Ranges stand in a sorted array under a read-write lock;
 * each vCPU keeps a copy of the range that it used last, good for as long as
 * the generation counter stands still.  Handlers run with no lock held.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "vmmapi.h"

struct range_table {
	struct mem_range *ranges;
	int count, room;
};

/* Written and read by the vCPU's own thread only. */
struct mem_cache {
	uint64_t generation;
	struct mem_range range;
} __attribute__((__aligned__(64)));

static pthread_rwlock_t mem_rwlock = PTHREAD_RWLOCK_INITIALIZER;
static struct range_table mmio_ranges, fallback_ranges;
static _Atomic uint64_t mem_generation;
static struct mem_cache *mem_caches;
static int mem_ncaches;

int
init_mem(int ncpu)
{
	pthread_rwlock_wrlock(&mem_rwlock);
	free(mmio_ranges.ranges);
	free(fallback_ranges.ranges);
	memset(&mmio_ranges, 0, sizeof(mmio_ranges));
	memset(&fallback_ranges, 0, sizeof(fallback_ranges));
	free(mem_caches);
	mem_caches = aligned_alloc(64, (size_t)ncpu * sizeof(*mem_caches));
	mem_ncaches = mem_caches != NULL ? ncpu : 0;
	if (mem_caches != NULL)
		memset(mem_caches, 0, (size_t)ncpu * sizeof(*mem_caches));
	/* Generation 0 marks an empty cache. */
	atomic_store(&mem_generation, 1);
	pthread_rwlock_unlock(&mem_rwlock);
	return (mem_caches != NULL ? 0 : ENOMEM);
}

/* Index of the first range that ends above addr. */
static int
lower_bound(const struct range_table *t, uint64_t addr)
{
	int hi, lo, mid;

	lo = 0;
	hi = t->count;
	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (addr - t->ranges[mid].base < t->ranges[mid].size ||
		    t->ranges[mid].base > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return (lo);
}

static const struct mem_range *
lookup(const struct range_table *t, uint64_t addr)
{
	int i;

	i = lower_bound(t, addr);
	if (i < t->count && addr >= t->ranges[i].base)
		return (&t->ranges[i]);
	return (NULL);
}

static int
insert(struct range_table *t, const struct mem_range *mr)
{
	struct mem_range *p;
	int i, room;

	if (mr->size == 0 || mr->base + (mr->size - 1) < mr->base)
		return (EINVAL);
	pthread_rwlock_wrlock(&mem_rwlock);
	i = lower_bound(t, mr->base);
	if (i < t->count && t->ranges[i].base <= mr->base + (mr->size - 1)) {
		pthread_rwlock_unlock(&mem_rwlock);
		return (EEXIST);
	}
	if (t->count == t->room) {
		room = t->room != 0 ? t->room * 2 : 16;
		p = realloc(t->ranges, (size_t)room * sizeof(*p));
		if (p == NULL) {
			pthread_rwlock_unlock(&mem_rwlock);
			return (ENOMEM);
		}
		t->ranges = p;
		t->room = room;
	}
	memmove(&t->ranges[i + 1], &t->ranges[i],
	    (size_t)(t->count - i) * sizeof(*mr));
	t->ranges[i] = *mr;
	t->count++;
	atomic_fetch_add(&mem_generation, 1);
	pthread_rwlock_unlock(&mem_rwlock);
	return (0);
}

int
register_mem(const struct mem_range *memp)
{
	return (insert(&mmio_ranges, memp));
}

int
register_mem_fallback(const struct mem_range *memp)
{
	return (insert(&fallback_ranges, memp));
}

int
unregister_mem(const struct mem_range *memp)
{
	struct range_table *t = &mmio_ranges;
	int error, i;

	error = ENOENT;
	pthread_rwlock_wrlock(&mem_rwlock);
	i = lower_bound(t, memp->base);
	if (i < t->count && t->ranges[i].base == memp->base &&
	    t->ranges[i].size == memp->size) {
		t->count--;
		memmove(&t->ranges[i], &t->ranges[i + 1],
		    (size_t)(t->count - i) * sizeof(t->ranges[0]));
		atomic_fetch_add(&mem_generation, 1);
		error = 0;
	}
	pthread_rwlock_unlock(&mem_rwlock);
	return (error);
}

/* Copy the range that claims addr; false: nobody does. */
static bool
find_range(int vcpuid, uint64_t addr, struct mem_range *mr)
{
	const struct mem_range *found;
	struct mem_cache *cache;
	uint64_t gen;

	cache =
	    vcpuid >= 0 && vcpuid < mem_ncaches ? &mem_caches[vcpuid] : NULL;
	gen = atomic_load_explicit(&mem_generation, memory_order_acquire);
	if (cache != NULL && cache->generation == gen &&
	    addr - cache->range.base < cache->range.size) {
		*mr = cache->range;
		return (true);
	}
	pthread_rwlock_rdlock(&mem_rwlock);
	gen = atomic_load(&mem_generation);
	found = lookup(&mmio_ranges, addr);
	if (found == NULL) {
		found = lookup(&fallback_ranges, addr);
		cache = NULL; /* a cached copy would hide a nearer range */
	}
	if (found != NULL)
		*mr = *found;
	pthread_rwlock_unlock(&mem_rwlock);
	if (found == NULL)
		return (false);
	if (cache != NULL) {
		cache->range = *mr;
		cache->generation = gen;
	}
	return (true);
}

/* An access of 1, 2, 4 or 8 bytes; ESRCH: nobody answers. */
static int
access_memory(
    struct vcpu *vcpu, uint64_t addr, bool read, int size, uint64_t *val)
{
	struct mem_range mr;
	int dir;

	if (!find_range(vcpu_id(vcpu), addr, &mr))
		return (ESRCH);
	dir = read ? MEM_F_READ : MEM_F_WRITE;
	if ((mr.flags & dir) == 0)
		return (ESRCH);
	if (mr.size - (addr - mr.base) < (uint64_t)size)
		return (ESRCH); /* hangs over the end */
	if (mr.handler(vcpu, dir, addr, size, val, mr.arg1, mr.arg2) != 0)
		return (ESRCH);
	return (0);
}

static inline uint64_t
ones(int bytes)
{
	return (bytes >= 8 ? ~0UL : (1UL << (bytes * 8)) - 1);
}

int
emulate_mem(
    struct vcpu *vcpu, uint64_t gpa, bool read, int bytes, uint64_t *data)
{
	uint64_t part, sum;
	int done, error, size;

	if (bytes < 1 || bytes > 8)
		return (EINVAL);
	error = 0;
	sum = 0;
	/* Sizes that no bus has arrive as the powers of two in them. */
	for (done = 0; done < bytes; done += size) {
		size = bytes - done;
		if (size != 8)
			size = size >= 4 ? 4 : size >= 2 ? 2 : 1;
		part = read ? ones(size) : (*data >> (done * 8)) & ones(size);
		if (access_memory(
			vcpu, gpa + (uint64_t)done, read, size, &part) != 0) {
			error = ESRCH;
			part = ones(size);
		}
		sum |= (part & ones(size)) << (done * 8);
	}
	if (read)
		*data = sum;
	return (error);
}
