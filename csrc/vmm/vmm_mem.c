/*
 * Guest memory: segments (RAM-backed files, mapped once a process), the map
 * from guest-physical addresses to them, and the way from a gpa to a host
 * pointer.
 *
 * The map changes with all vCPUs frozen, but devices' threads may look at it
 * at any time: writers bump map_seq around a change, readers try again when
 * they saw one.  A segment stays mapped until the VM goes.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm_dev.h"
#include "vmm_local.h"
#include "vmm_ppt.h"

#define SEG_GUARD (4UL << 20)
#define GPA_LIMIT (1UL << 46)

int
vmm_mem_init(struct vm *vm)
{
	for (int i = 0; i < VM_MAX_MEMSEGS; i++)
		vm->segs[i].fd = -1;
	return (pthread_mutex_init(&vm->mem_mtx, NULL));
}

/* ---- segments ---- */

/* Is the segment a part of this process' core dumps? */
static void
seg_dumps(struct vm *vm, const struct mem_seg *seg)
{
	(void)madvise(seg->hva, seg->len,
	    (vm->memflags & VM_MEM_F_INCORE) != 0 ? MADV_DODUMP
						  : MADV_DONTDUMP);
}

static int
seg_map(struct vm *vm, struct mem_seg *seg)
{
	uint8_t *base;
	int error;

	seg->reserve_len = seg->len + 2 * SEG_GUARD;
	base = mmap(NULL, seg->reserve_len, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return (errno);
	seg->reserve = base;
	seg->hva = mmap(base + SEG_GUARD, seg->len, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_NORESERVE | MAP_FIXED, seg->fd, 0);
	if (seg->hva == MAP_FAILED) {
		error = errno;
		munmap(base, seg->reserve_len);
		return (error);
	}
	/* Hints: their failure changes nothing. */
	(void)madvise(seg->hva, seg->len, MADV_HUGEPAGE);
	seg_dumps(vm, seg);
	return (0);
}

/* The caller has the VM's write hold.  Mappings are wired as they are made. */
void
vmm_set_memflags(struct vm *vm, int flags)
{
	vm->memflags = flags;
	for (int i = 0; i < VM_MAX_MEMSEGS; i++)
		if (vm->segs[i].len != 0)
			seg_dumps(vm, &vm->segs[i]);
}

static int
wire(uint8_t *hva, size_t len)
{
	if (mlock(hva, len) == 0)
		return (0);
	vmm_set_error("guest memory cannot be wired: %s", strerror(errno));
	return (ENOMEM);
}

static int
seg_file(struct vm *vm, const char *fname, size_t len, bool create)
{
	int fd;

	if (vm->dir != NULL)
		return (create ? vmm_dir_segment_create(vm->dir, fname, len)
			       : vmm_dir_segment_open(vm->dir, fname, len));
	fd = memfd_create(fname, MFD_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, (off_t)len) != 0) {
		close(fd);
		fd = -1;
	}
	return (fd);
}

static const char *
seg_file_name(const char *name)
{
	return (name[0] != '\0' ? name : "sysmem");
}

static bool
seg_name_ok(const char *name)
{
	size_t i;

	for (i = 0; name[i] != '\0'; i++) {
		if ((name[i] < 'a' || name[i] > 'z') &&
		    (name[i] < 'A' || name[i] > 'Z') &&
		    (name[i] < '0' || name[i] > '9') && name[i] != '_' &&
		    name[i] != '-')
			return (false);
	}
	return (i < VM_MAX_SEGNAME && strcmp(name, "sysmem") != 0);
}

static int
seg_setup(struct vm *vm, int segid, size_t len, const char *name, bool create)
{
	struct mem_seg *seg;
	int error;

	if (name == NULL)
		name = "";
	if (segid < 0 || segid >= VM_MAX_MEMSEGS || len == 0 ||
	    (len & PAGE_MASK_4K) != 0 || len > (size_t)LONG_MAX / 2 ||
	    !seg_name_ok(name))
		return (EINVAL);
	seg = &vm->segs[segid];
	if (seg->len != 0)
		return (seg->len == len ? EEXIST : EINVAL);
	for (int i = 0; i < VM_MAX_MEMSEGS; i++)
		if (vm->segs[i].len != 0 && strcmp(vm->segs[i].name, name) == 0)
			return (EEXIST);
	seg->fd = seg_file(vm, seg_file_name(name), len, create);
	if (seg->fd < 0)
		return (errno);
	strcpy(seg->name, name);
	seg->len = len;
	error = seg_map(vm, seg);
	if (error != 0) {
		close(seg->fd);
		seg->fd = -1;
		seg->len = 0;
		if (create && vm->dir != NULL)
			vmm_dir_segment_remove(vm->dir, seg_file_name(name));
	}
	return (error);
}

/* name "" (or NULL): system memory. */
int
vmm_alloc_memseg(struct vm *vm, int segid, size_t len, const char *name)
{
	return (seg_setup(vm, segid, len, name, true));
}

int
vmm_attach_memseg(struct vm *vm, int segid, size_t len, const char *name)
{
	return (seg_setup(vm, segid, len, name, false));
}

static void
seg_release(struct mem_seg *seg)
{
	munmap(seg->reserve, seg->reserve_len);
	close(seg->fd);
	seg->fd = -1;
	seg->hva = NULL;
	seg->len = 0;
}

int
vmm_get_memseg(
    struct vm *vm, int segid, size_t *len, char *name, size_t namesz, int *fd)
{
	struct mem_seg *seg;

	if (segid < 0 || segid >= VM_MAX_MEMSEGS)
		return (EINVAL);
	seg = &vm->segs[segid];
	if (len != NULL)
		*len = seg->len;
	if (fd != NULL)
		*fd = seg->fd;
	if (name != NULL && namesz > 0) {
		if (strlen(seg->name) >= namesz)
			return (ENAMETOOLONG);
		strcpy(name, seg->len != 0 ? seg->name : "");
	}
	return (0);
}

void *
vmm_memseg_hva(struct vm *vm, int segid)
{
	if (segid < 0 || segid >= VM_MAX_MEMSEGS || vm->segs[segid].len == 0)
		return (NULL);
	return (vm->segs[segid].hva);
}

void
vmm_mem_cleanup(struct vm *vm)
{
	for (int i = 0; i < VM_MAX_MEMSEGS; i++)
		if (vm->segs[i].len != 0)
			seg_release(&vm->segs[i]);
	pthread_mutex_destroy(&vm->mem_mtx);
}

/* RAM stays where it is.  So do segments of devices, to which their users have
 * pointers; but where the guest had put them is forgotten. */
void
vmm_mem_reinit(struct vm *vm)
{
	for (int i = 0; i < VM_MAX_MEMMAPS; i++)
		if (vm->maps[i].len != 0 &&
		    vm->segs[vm->maps[i].segid].name[0] != '\0')
			vmm_munmap_memseg(vm, vm->maps[i].gpa, vm->maps[i].len);
}

size_t
vmm_mem_resident(struct vm *vm)
{
	struct stat st;
	size_t total = 0;

	for (int i = 0; i < VM_MAX_MEMSEGS; i++)
		if (vm->segs[i].len != 0 && fstat(vm->segs[i].fd, &st) == 0)
			total += (size_t)st.st_blocks * 512;
	return (total);
}

size_t
vmm_mem_wired(struct vm *vm)
{
	size_t total = 0;

	pthread_mutex_lock(&vm->mem_mtx);
	for (int i = 0; i < VM_MAX_MEMMAPS; i++)
		if (vm->maps[i].len != 0 &&
		    (vm->maps[i].flags & VM_MEMMAP_F_WIRED) != 0)
			total += vm->maps[i].len;
	pthread_mutex_unlock(&vm->mem_mtx);
	return (total);
}

/* ---- the map ---- */

#define FIELD_GET(f) __atomic_load_n(&(f), __ATOMIC_RELAXED)
#define FIELD_SET(f, v) __atomic_store_n(&(f), (v), __ATOMIC_RELAXED)

static void
map_write(struct vm *vm, struct mem_map *slot, const struct mem_map *val)
{
	atomic_fetch_add(&vm->map_seq, 1);
	FIELD_SET(slot->gpa, val->gpa);
	FIELD_SET(slot->len, val->len);
	FIELD_SET(slot->hva, val->hva);
	FIELD_SET(slot->prot, val->prot);
	FIELD_SET(slot->off, val->off);
	FIELD_SET(slot->segid, val->segid);
	FIELD_SET(slot->flags, val->flags);
	atomic_fetch_add(&vm->map_seq, 1);
}

/* ---- for devices of the host ---- */

static bool
is_sysmem(struct vm *vm, const struct mem_map *map)
{
	return (map->len != 0 && vm->segs[map->segid].name[0] == '\0');
}

/* They reach RAM at the guest's addresses, as long as the VM has any. */
static int
map_dma(struct vm *vm, struct mem_map *map)
{
	int error;

	if (!ppt_has_dma(vm) || !is_sysmem(vm, map))
		return (0);
	error = ppt_dma_map(
	    vm, map->gpa, map->len, map->hva, (map->prot & VM_PROT_WRITE) != 0);
	if (error == 0)
		FIELD_SET(map->flags, map->flags | VM_MEMMAP_F_IOMMU);
	return (error);
}

int
vmm_mem_iommu(struct vm *vm, bool on)
{
	struct mem_map *map;
	int error = 0;

	pthread_mutex_lock(&vm->mem_mtx);
	for (int i = 0; error == 0 && i < VM_MAX_MEMMAPS; i++) {
		map = &vm->maps[i];
		if (on)
			error = map_dma(vm, map);
		else
			FIELD_SET(map->flags, map->flags & ~VM_MEMMAP_F_IOMMU);
	}
	pthread_mutex_unlock(&vm->mem_mtx);
	if (error != 0)
		(void)vmm_mem_iommu(vm, false);
	return (error);
}

bool
vmm_mem_overlaps(struct vm *vm, vm_paddr_t gpa, size_t len)
{
	struct mem_map *map;
	bool found = false;

	pthread_mutex_lock(&vm->mem_mtx);
	for (int i = 0; i < VM_MAX_MEMMAPS; i++) {
		map = &vm->maps[i];
		if (map->len != 0 && gpa < map->gpa + map->len &&
		    map->gpa < gpa + len)
			found = true;
	}
	pthread_mutex_unlock(&vm->mem_mtx);
	return (found);
}

/* ---- changes of the map ---- */

int
vmm_mmap_memseg(struct vm *vm, vm_paddr_t gpa, int segid, int64_t off,
    size_t len, int prot, int flags)
{
	struct mem_map *map, *slot = NULL;
	struct mem_map val;
	struct mem_seg *seg;
	int error = 0;

	if (segid < 0 || segid >= VM_MAX_MEMSEGS || prot == 0 ||
	    (prot & ~VM_PROT_ALL) != 0 || (flags & ~VM_MEMMAP_F_WIRED) != 0)
		return (EINVAL);
	if (len == 0 || ((gpa | len | (uint64_t)off) & PAGE_MASK_4K) != 0 ||
	    off < 0 || gpa >= GPA_LIMIT || len > GPA_LIMIT - gpa)
		return (EINVAL);
	seg = &vm->segs[segid];
	if ((uint64_t)off >= seg->len || len > seg->len - (uint64_t)off)
		return (EINVAL);
	pthread_mutex_lock(&vm->mem_mtx);
	for (int i = 0; i < VM_MAX_MEMMAPS; i++) {
		map = &vm->maps[i];
		if (map->len == 0) {
			if (slot == NULL)
				slot = map;
			continue;
		}
		if (gpa + len <= map->gpa || map->gpa + map->len <= gpa)
			continue;
		/* What is there already may be asked for again, or wired. */
		if (map->gpa != gpa || map->len != len || map->segid != segid ||
		    map->off != off || map->prot != prot)
			error = EEXIST;
		else if ((flags & ~map->flags) == 0 ||
		    (error = wire(map->hva, len)) == 0) {
			FIELD_SET(map->flags, map->flags | flags);
			error = -1;
		}
		break;
	}
	if (error == 0 && ppt_overlaps(vm, gpa, len))
		error = EEXIST;
	if (error == 0 && slot == NULL)
		error = ENOSPC;
	if (error == 0) {
		val = (struct mem_map) { gpa, len, seg->hva + off, off, segid,
			prot, flags };
		if ((flags & VM_MEMMAP_F_WIRED) != 0)
			error = wire(val.hva, len);
	}
	if (error == 0) {
		error = vm->ops != NULL
		    ? vm->ops->memmap(vm->cookie, gpa, len, val.hva, prot)
		    : 0;
		if (error == 0 && (error = map_dma(vm, &val)) != 0)
			(void)vm->ops->memmap(vm->cookie, gpa, len, NULL, 0);
		if (error == 0)
			map_write(vm, slot, &val);
		else if ((flags & VM_MEMMAP_F_WIRED) != 0)
			(void)munlock(val.hva, len);
	}
	pthread_mutex_unlock(&vm->mem_mtx);
	return (error == -1 ? 0 : error);
}

int
vmm_munmap_memseg(struct vm *vm, vm_paddr_t gpa, size_t len)
{
	static const struct mem_map none;
	struct mem_map *map;
	int error = EINVAL;

	pthread_mutex_lock(&vm->mem_mtx);
	for (int i = 0; i < VM_MAX_MEMMAPS; i++) {
		map = &vm->maps[i];
		if (map->len == 0 || map->gpa != gpa || map->len != len)
			continue;
		if ((map->flags & VM_MEMMAP_F_IOMMU) != 0)
			ppt_dma_unmap(vm, gpa, len);
		if ((map->flags & VM_MEMMAP_F_WIRED) != 0)
			(void)munlock(map->hva, len);
		map_write(vm, map, &none);
		error = vm->ops->memmap(vm->cookie, gpa, len, NULL, 0);
		break;
	}
	pthread_mutex_unlock(&vm->mem_mtx);
	return (error);
}

int
vmm_mem_remap(struct vm *vm)
{
	struct mem_map *map;
	int error = 0;

	for (int i = 0; error == 0 && i < VM_MAX_MEMMAPS; i++) {
		map = &vm->maps[i];
		if (map->len != 0)
			error = vm->ops->memmap(vm->cookie, map->gpa, map->len,
			    map->hva, map->prot);
	}
	return (error);
}

int
vmm_mmap_getnext(struct vm *vm, vm_paddr_t *gpa, int *segid, int64_t *off,
    size_t *len, int *prot, int *flags)
{
	struct mem_map *map, *next = NULL;

	pthread_mutex_lock(&vm->mem_mtx);
	for (int i = 0; i < VM_MAX_MEMMAPS; i++) {
		map = &vm->maps[i];
		if (map->len != 0 && map->gpa >= *gpa &&
		    (next == NULL || map->gpa < next->gpa))
			next = map;
	}
	if (next != NULL) {
		*gpa = next->gpa;
		*segid = next->segid;
		*off = next->off;
		*len = next->len;
		*prot = next->prot;
		*flags = next->flags;
	}
	pthread_mutex_unlock(&vm->mem_mtx);
	return (next != NULL ? 0 : ENOENT);
}

void *
vmm_gpa2hva(struct vm *vm, vm_paddr_t gpa, size_t len, int prot)
{
	struct mem_map *map;
	uint64_t off, maplen;
	uint8_t *hva;
	uint32_t seq;

	do {
		while (((seq = atomic_load(&vm->map_seq)) & 1) != 0)
			__builtin_ia32_pause();
		hva = NULL;
		for (int i = 0; i < VM_MAX_MEMMAPS; i++) {
			map = &vm->maps[i];
			maplen = FIELD_GET(map->len);
			off = gpa - FIELD_GET(map->gpa);
			if (off >= maplen)
				continue;
			if (len <= maplen - off &&
			    (FIELD_GET(map->prot) & prot) == prot)
				hva = FIELD_GET(map->hva) + off;
			break;
		}
		atomic_thread_fence(memory_order_acquire);
	} while (
	    atomic_load_explicit(&vm->map_seq, memory_order_relaxed) != seq);
	return (hva);
}

/* As vmm_gpa2hva(), for what is system memory only. */
void *
vmm_gpa2sysmem(struct vm *vm, vm_paddr_t gpa, size_t len)
{
	uint8_t *hva = vmm_gpa2hva(vm, gpa, len, VM_PROT_READ);
	const struct mem_seg *seg;

	/* Segments stay where they are; the name says what this one is. */
	for (int i = 0; hva != NULL && i < VM_MAX_MEMSEGS; i++) {
		seg = &vm->segs[i];
		if (seg->len != 0 && seg->name[0] == '\0' &&
		    (uintptr_t)hva - (uintptr_t)seg->hva < seg->len)
			return (hva);
	}
	return (NULL);
}

/* The end of RAM. */
vm_paddr_t
vmm_sysmem_maxaddr(struct vm *vm)
{
	vm_paddr_t max = 0, end;
	struct mem_map *map;

	pthread_mutex_lock(&vm->mem_mtx);
	for (int i = 0; i < VM_MAX_MEMMAPS; i++) {
		map = &vm->maps[i];
		end = map->gpa + map->len;
		if (map->len != 0 && vm->segs[map->segid].name[0] == '\0' &&
		    end > max)
			max = end;
	}
	pthread_mutex_unlock(&vm->mem_mtx);
	return (max);
}

int
vmm_gpa_read(struct vm *vm, vm_paddr_t gpa, void *buf, size_t len)
{
	uint8_t *dst = buf;
	void *src;
	size_t n;

	for (; len > 0; gpa += n, dst += n, len -= n) {
		n = PAGE_SIZE_4K - (gpa & PAGE_MASK_4K);
		if (n > len)
			n = len;
		src = vmm_gpa2hva(vm, gpa, n, VM_PROT_READ);
		if (src == NULL)
			return (EFAULT);
		memcpy(dst, src, n);
	}
	return (0);
}

int
vmm_gpa_write(struct vm *vm, vm_paddr_t gpa, const void *buf, size_t len)
{
	const uint8_t *src = buf;
	vm_paddr_t start = gpa;
	int error = 0;
	void *dst;
	size_t n;

	for (; len > 0; gpa += n, src += n, len -= n) {
		n = PAGE_SIZE_4K - (gpa & PAGE_MASK_4K);
		if (n > len)
			n = len;
		dst = vmm_gpa2hva(vm, gpa, n, VM_PROT_WRITE);
		if (dst == NULL) {
			error = EFAULT;
			break;
		}
		memcpy(dst, src, n);
	}
	if (gpa != start)
		vmm_memory_written(vm, start, gpa - start);
	return (error);
}

/* ---- who wants to know of writes ---- */

void
vmm_memory_written(struct vm *vm, vm_paddr_t gpa, size_t len)
{
	void (*hook)(void *, vm_paddr_t, size_t);

	hook = atomic_load_explicit(&vm->write_hook, memory_order_acquire);
	if (hook != NULL)
		hook(atomic_load_explicit(
			 &vm->write_hook_arg, memory_order_relaxed),
		    gpa, len);
}

void
vmm_set_write_hook(struct vm *vm,
    void (*hook)(void *arg, vm_paddr_t gpa, size_t len), void *arg)
{
	if (hook != NULL)
		atomic_store(&vm->write_hook_arg, arg);
	atomic_store_explicit(&vm->write_hook, hook, memory_order_release);
}
