/*
 * Guest memory as libvmmapi shows it.  In the owner the vmm's own mapping is
 * used; another process maps the segments' files.
 */
#include <ctype.h>
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm.h"
#include "vmmapi_local.h"

#define MIB (1UL << 20)

/* A number below one MiB is a count of MiB; K, M, G, T, P and E scale. */
int
vm_parse_memsize(const char *opt, size_t *memsize)
{
	static const char units[] = "bkmgtpe";
	unsigned long long val;
	const char *unit;
	char *end;
	int shift;

	if (!isdigit((unsigned char)opt[0]))
		return (vmapi_error(EINVAL));
	errno = 0;
	val = strtoull(opt, &end, 0);
	if (errno != 0)
		return (-1);
	if (*end == '\0') {
		*memsize = val < MIB ? val * MIB : val;
		return (0);
	}
	unit = strchr(units, tolower((unsigned char)*end));
	if (unit == NULL)
		return (vmapi_error(EINVAL));
	end++;
	if (unit != units && tolower((unsigned char)*end) == 'b')
		end++;
	if (*end != '\0')
		return (vmapi_error(EINVAL));
	shift = (int)(unit - units) * 10;
	if (val > (UINT64_MAX >> shift))
		return (vmapi_error(ERANGE));
	*memsize = val << shift;
	return (0);
}

/* ---- segments and the map ---- */

int
vm_get_memseg(
    struct vmctx *ctx, int segid, size_t *len, char *name, size_t namesz)
{
	struct vm_memseg a = { .segid = segid };

	if (VMIOC(ctx, VM_GET_MEMSEG, &a) != 0)
		return (-1);
	if (len != NULL)
		*len = a.len;
	if (name != NULL) {
		if (strnlen(a.name, sizeof(a.name)) >= namesz)
			return (vmapi_error(ENAMETOOLONG));
		strcpy(name, a.name);
	}
	return (0);
}

int
vm_mmap_getnext(struct vmctx *ctx, vm_paddr_t *gpa, int *segid, int64_t *off,
    size_t *len, int *prot, int *flags)
{
	struct vm_memmap a = { .gpa = *gpa };

	if (VMIOC(ctx, VM_MMAP_GETNEXT, &a) != 0)
		return (-1);
	*gpa = a.gpa;
	*segid = a.segid;
	*off = a.segoff;
	*len = a.len;
	*prot = a.prot;
	*flags = a.flags;
	return (0);
}

int
vm_mmap_memseg(struct vmctx *ctx, vm_paddr_t gpa, int segid, int64_t off,
    size_t len, int prot)
{
	struct vm_memmap a = { .gpa = gpa,
		.segid = segid,
		.segoff = off,
		.len = len,
		.prot = prot };

	if ((vm_get_memflags(ctx) & VM_MEM_F_WIRED) != 0)
		a.flags = VM_MEMMAP_F_WIRED;
	return (VMIOC(ctx, VM_MMAP_MEMSEG, &a));
}

int
vm_munmap_memseg(struct vmctx *ctx, vm_paddr_t gpa, size_t len)
{
	struct vm_memmap a = { .gpa = gpa, .len = len };

	return (VMIOC(ctx, VM_MUNMAP_MEMSEG, &a));
}

/* Makes the segment, or finds it made with the same size. */
static int
alloc_memseg(struct vmctx *ctx, int segid, size_t len, const char *name)
{
	struct vm_memseg a = { .segid = segid };

	if (VMIOC(ctx, VM_GET_MEMSEG, &a) != 0)
		return (-1);
	if (a.len != 0)
		return (a.len == len && strcmp(a.name, name) == 0
			? 0
			: vmapi_error(EINVAL));
	if (strlen(name) >= sizeof(a.name))
		return (vmapi_error(ENAMETOOLONG));
	strcpy(a.name, name);
	a.len = len;
	return (VMIOC(ctx, VM_ALLOC_MEMSEG, &a));
}

int
vm_setup_memory(struct vmctx *ctx, size_t len, enum vm_mmap_style style)
{
	size_t low = len < VM_LOWMEM_LIMIT ? len : VM_LOWMEM_LIMIT;

	vmm_set_error("%s", "");
	if (style != VM_MMAP_NONE && style != VM_MMAP_ALL)
		return (vmapi_error(ENOTSUP));
	if (len == 0 || (len & 0xfff) != 0) {
		vmm_set_error("guest memory comes in whole pages");
		return (vmapi_error(EINVAL));
	}
	if (alloc_memseg(ctx, VM_SYSMEM, len, "") != 0)
		return (-1);
	if (vm_mmap_memseg(ctx, 0, VM_SYSMEM, 0, low, VM_PROT_ALL) != 0)
		return (-1);
	if (len > low &&
	    vm_mmap_memseg(ctx, VM_HIGHMEM_BASE, VM_SYSMEM, (int64_t)low,
		len - low, VM_PROT_ALL) != 0)
		return (-1);
	return (0);
}

static int
bind_range(
    struct vmctx *ctx, const struct vm_mem_domain *d, uint64_t gpa, size_t len)
{
	static const int modes[] = {
		[VM_MEM_FIRST_TOUCH] = MPOL_BIND,
		[VM_MEM_ROUND_ROBIN] = MPOL_INTERLEAVE,
		[VM_MEM_PREFER] = MPOL_PREFERRED,
	};
	unsigned long nodes = d->nodes != 0 ? d->nodes : ~0UL;
	void *hva;

	/* The host's own way is the first touch, on any node. */
	if (len == 0 || (d->policy == VM_MEM_FIRST_TOUCH && d->nodes == 0))
		return (0);
	hva = vm_map_gpa(ctx, gpa, len);
	if (hva == NULL)
		return (vmapi_error(EFAULT));
	/* The kernel looks at one bit less than it is told of. */
	if (syscall(SYS_mbind, hva, len, modes[d->policy], &nodes, 65, 0) == 0)
		return (0);
	vmm_set_error("memory of the host's nodes %#llx: %s",
	    (unsigned long long)nodes, strerror(errno));
	return (-1);
}

/* Domains fill low memory first, then what stands above 4 GiB. */
int
vm_setup_memory_domains(struct vmctx *ctx, enum vm_mmap_style style,
    const struct vm_mem_domain *domains, int ndomains)
{
	size_t at, low, total = 0;
	int i;

	for (i = 0; i < ndomains; i++)
		if (domains[i].size == 0 || domains[i].policy < 0 ||
		    domains[i].policy > VM_MEM_PREFER ||
		    __builtin_add_overflow(total, domains[i].size, &total))
			return (vmapi_error(EINVAL));
	if (vm_setup_memory(ctx, total, style) != 0)
		return (-1);
	for (i = 0, at = 0; i < ndomains; at += domains[i++].size) {
		low = at < VM_LOWMEM_LIMIT ? VM_LOWMEM_LIMIT - at : 0;
		if (low > domains[i].size)
			low = domains[i].size;
		if (bind_range(ctx, &domains[i], at, low) != 0 ||
		    bind_range(ctx, &domains[i],
			VM_HIGHMEM_BASE + at + low - VM_LOWMEM_LIMIT,
			domains[i].size - low) != 0)
			return (-1);
	}
	return (0);
}

/* ---- another process' memory ---- */

void
vmctx_unmap_remote(struct vmctx *ctx)
{
	for (int i = 0; i < REMOTE_MAPS; i++)
		if (ctx->segs[i].base != NULL)
			munmap(ctx->segs[i].base, ctx->segs[i].len);
	memset(ctx->segs, 0, sizeof(ctx->segs));
	ctx->nmaps = 0;
}

static uint8_t *
remote_segment(struct vmctx *ctx, int segid)
{
	struct vm_memseg a = { .segid = segid };
	struct remote_seg *seg;
	void *base;
	int fd;

	if (segid < 0 || segid >= REMOTE_MAPS)
		return (NULL);
	seg = &ctx->segs[segid];
	if (seg->base != NULL)
		return (seg->base);
	if (vmm_ctl_call(ctx->peer, VM_GET_MEMSEG, &a, sizeof(a)) != 0 ||
	    a.len == 0)
		return (NULL);
	a.name[sizeof(a.name) - 1] = '\0';
	fd = vmm_dir_segment_open(
	    ctx->dir, a.name[0] != '\0' ? a.name : "sysmem", a.len);
	if (fd < 0)
		return (NULL);
	base = mmap(NULL, a.len, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_NORESERVE, fd, 0);
	close(fd);
	if (base == MAP_FAILED)
		return (NULL);
	seg->base = base;
	seg->len = a.len;
	seg->devmem = a.name[0] != '\0';
	return (seg->base);
}

static void
remote_refresh(struct vmctx *ctx)
{
	struct vm_memmap a = { 0 };
	int n = 0;

	while (n < REMOTE_MAPS &&
	    vmm_ctl_call(ctx->peer, VM_MMAP_GETNEXT, &a, sizeof(a)) == 0) {
		ctx->maps[n++] = a;
		a.gpa += a.len;
	}
	ctx->nmaps = n;
}

static void *
remote_find(struct vmctx *ctx, vm_paddr_t gpa, size_t len, bool devmem)
{
	struct vm_memmap *map;
	uint8_t *base;

	for (int i = 0; i < ctx->nmaps; i++) {
		map = &ctx->maps[i];
		if (gpa - map->gpa >= map->len ||
		    len > map->len - (gpa - map->gpa))
			continue;
		base = remote_segment(ctx, map->segid);
		if (base == NULL ||
		    (uint64_t)map->segoff + map->len >
			ctx->segs[map->segid].len ||
		    (ctx->segs[map->segid].devmem && !devmem))
			return (NULL);
		return (base + map->segoff + (gpa - map->gpa));
	}
	return (NULL);
}

/* ---- from gpa to pointer and back ---- */

static void *
remote_map(struct vmctx *ctx, vm_paddr_t gpa, size_t len, bool devmem)
{
	void *hva;

	pthread_mutex_lock(&ctx->mtx);
	hva = remote_find(ctx, gpa, len, devmem);
	if (hva == NULL) {
		remote_refresh(ctx);
		hva = remote_find(ctx, gpa, len, devmem);
	}
	pthread_mutex_unlock(&ctx->mtx);
	return (hva);
}

void *
vm_map_gpa(struct vmctx *ctx, vm_paddr_t gpa, size_t len)
{
	if (ctx->trouble[0] != '\0')
		return (NULL);
	if (ctx->vm != NULL)
		return (vmm_gpa2sysmem(ctx->vm, gpa, len));
	return (remote_map(ctx, gpa, len, false));
}

void *
vm_map_devmem(struct vmctx *ctx, vm_paddr_t gpa, size_t len)
{
	if (ctx->trouble[0] != '\0')
		return (NULL);
	if (ctx->vm != NULL)
		return (vmm_gpa2hva(ctx->vm, gpa, len, VM_PROT_READ));
	return (remote_map(ctx, gpa, len, true));
}

void
vm_dirty_gpa(struct vmctx *ctx, vm_paddr_t gpa, size_t len)
{
	struct vm_dirty_range a = { gpa, len };

	if (ctx->vm != NULL)
		vmm_memory_written(ctx->vm, gpa, len);
	else
		(void)VMIOC(ctx, VM_MEMORY_WRITTEN, &a);
}

vm_paddr_t
vm_rev_map_gpa(struct vmctx *ctx, void *addr)
{
	uintptr_t want = (uintptr_t)addr, start;
	int flags, prot, segid;
	vm_paddr_t gpa = 0;
	int64_t off;
	size_t len;

	for (;
	     vm_mmap_getnext(ctx, &gpa, &segid, &off, &len, &prot, &flags) == 0;
	     gpa += len) {
		start = (uintptr_t)vm_map_gpa(ctx, gpa, len);
		if (start != 0 && want - start < len)
			return (gpa + (want - start));
	}
	return ((vm_paddr_t)-1);
}

static size_t
sysmem_size(struct vmctx *ctx, vm_paddr_t want)
{
	int flags, prot, segid;
	vm_paddr_t gpa = want;
	int64_t off;
	size_t len;

	if (vm_mmap_getnext(ctx, &gpa, &segid, &off, &len, &prot, &flags) ==
		0 &&
	    gpa == want && segid == VM_SYSMEM)
		return (len);
	return (0);
}

size_t
vm_get_lowmem_size(struct vmctx *ctx)
{
	return (sysmem_size(ctx, 0));
}

size_t
vm_get_highmem_size(struct vmctx *ctx)
{
	return (sysmem_size(ctx, VM_HIGHMEM_BASE));
}

vm_paddr_t
vm_get_lowmem_limit(struct vmctx *ctx)
{
	(void)ctx;
	return (VM_LOWMEM_LIMIT);
}

vm_paddr_t
vm_get_highmem_base(struct vmctx *ctx)
{
	(void)ctx;
	return (VM_HIGHMEM_BASE);
}

/* They count for segments that are made or opened later. */
void
vm_set_memflags(struct vmctx *ctx, int flags)
{
	struct vm_word a = { (uint64_t)flags };

	(void)VMIOC(ctx, VM_SET_MEMFLAGS, &a);
}

int
vm_get_memflags(struct vmctx *ctx)
{
	struct vm_word a = { 0 };

	(void)VMIOC(ctx, VM_GET_MEMFLAGS, &a);
	return ((int)a.value);
}

void *
vm_create_devmem(struct vmctx *ctx, int segid, const char *name, size_t len)
{
	void *base;

	/* Segment 0 is the guest's own memory, which has no name. */
	if (segid == VM_SYSMEM || name == NULL || name[0] == '\0') {
		errno = EINVAL;
		return (MAP_FAILED);
	}
	if (alloc_memseg(ctx, segid, len, name) != 0)
		return (MAP_FAILED);
	if (ctx->vm == NULL) {
		pthread_mutex_lock(&ctx->mtx);
		base = remote_segment(ctx, segid);
		pthread_mutex_unlock(&ctx->mtx);
	} else {
		base = vmm_memseg_hva(ctx->vm, segid);
	}
	if (base == NULL) {
		errno = ENOMEM;
		return (MAP_FAILED);
	}
	return (base);
}

/* One entry: where in its segment the page lies, and its rights. */
int
vm_get_gpa_pmap(struct vmctx *ctx, vm_paddr_t gpa, uint64_t pte[4], int *num)
{
	struct vm_gpa_pte a = { .gpa = gpa };

	if (VMIOC(ctx, VM_GET_GPA_PMAP, &a) != 0)
		return (-1);
	memcpy(pte, a.pte, sizeof(a.pte));
	*num = a.ptenum;
	return (0);
}
