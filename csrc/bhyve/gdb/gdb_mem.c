/*
 * Memory as a debugger sees it: linear addresses of a vCPU, whatever its
 * privilege; and breakpoint instructions in it.
 */
#include <errno.h>
#include <string.h>

#include "gdb_local.h"
#include "mem.h"
#include "vmmapi.h"

#define PAGE 4096UL
#define OPCODE_INT3 0xcc

struct breakpoint {
	uint64_t gla, gpa; /* as they belonged together when it was set */
	uint8_t saved;	   /* the byte that belongs there */
};

struct watch {
	enum gdb_watch_kind kind;
	uint64_t gla, len; /* len 0: a free register */
};

static struct watch watches[4]; /* DR0 to DR3 */
static struct breakpoint breakpoints[GDB_BREAKPOINTS];
static int nbreakpoints;

static bool
translate(struct vcpu *vcpu, uint64_t gla, uint64_t *gpa)
{
	struct vm_guest_paging_api paging;
	int fault;

	if (vm_get_paging(vcpu, &paging) != 0)
		return (false);
	paging.cpl = 0; /* a debugger may look everywhere */
	return (vm_gla2gpa_nofault(
		    vcpu, &paging, gla, VM_PROT_READ, gpa, &fault) == 0 &&
	    fault == 0);
}

/* ---- what is no memory ---- */

/* One access to a chip of the vmm, else to a device. */
static bool
device_access(
    struct vcpu *vcpu, uint64_t gpa, bool read, int size, uint64_t *val)
{
	if (vm_readwrite_kernemu_device(vcpu, gpa, !read, size, val) == 0)
		return (true);
	return (emulate_mem(vcpu, gpa, read, size, val) == 0);
}

/* In the largest naturally aligned pieces up to four bytes. */
static size_t
device_bytes(
    struct vcpu *vcpu, uint64_t gpa, bool read, uint8_t *buf, size_t len)
{
	size_t done, size;
	uint64_t val;

	for (done = 0; done < len; done += size) {
		size = 4;
		while (size > len - done || ((gpa + done) & (size - 1)) != 0)
			size /= 2;
		val = 0;
		if (!read)
			memcpy(&val, buf + done, size);
		if (!device_access(vcpu, gpa + done, read, (int)size, &val))
			break;
		if (read)
			memcpy(buf + done, &val, size);
	}
	return (done);
}

/* ---- linear ranges ---- */

static long
access_memory(
    struct vcpu *vcpu, uint64_t gla, bool read, uint8_t *buf, size_t len)
{
	size_t done, got, n;
	uint64_t gpa;
	void *hva;

	for (done = 0; done < len; done += n) {
		n = PAGE - ((gla + done) & (PAGE - 1));
		if (n > len - done)
			n = len - done;
		if (!translate(vcpu, gla + done, &gpa))
			break;
		hva = vm_map_devmem(gdb_ctx(), gpa, n);
		if (hva == NULL) {
			got = device_bytes(vcpu, gpa, read, buf + done, n);
			if (got < n) {
				done += got;
				break;
			}
		} else if (read) {
			memcpy(buf + done, hva, n);
		} else {
			memcpy(hva, buf + done, n);
			vm_dirty_gpa(gdb_ctx(), gpa, n);
		}
	}
	return (done == 0 && len != 0 ? -1 : (long)done);
}

long
gdb_read_memory(struct vcpu *vcpu, uint64_t gla, void *buf, size_t len)
{
	return (access_memory(vcpu, gla, true, buf, len));
}

long
gdb_write_memory(struct vcpu *vcpu, uint64_t gla, const void *buf, size_t len)
{
	return (
	    access_memory(vcpu, gla, false, (uint8_t *)(uintptr_t)buf, len));
}

/* ---- debug registers ---- */

static int
load_watches(void)
{
	uint64_t dr[4] = { 0 }, dr7 = 0, kind;
	int error, i, n;

	for (n = 0; n < 4; n++) {
		if (watches[n].len == 0)
			continue;
		dr[n] = watches[n].gla;
		kind = watches[n].kind == GDB_WATCH_EXEC ? 0
		    : watches[n].kind == GDB_WATCH_WRITE ? 1
							 : 3;
		/* Lengths 1, 2, 4 and 8 are 0, 1, 3 and 2 there. */
		if (watches[n].kind != GDB_WATCH_EXEC)
			kind |= (watches[n].len == 8 ? 2u : watches[n].len - 1)
			    << 2;
		dr7 |= 2UL << (2 * n) | kind << (16 + 4 * n);
	}
	for (i = 0, error = 0; i < gdb_ncpus(); i++)
		if (vm_set_debugregs(gdb_vcpu(i), dr, dr7) != 0)
			error = errno;
	return (error);
}

static int
find_watch(enum gdb_watch_kind kind, uint64_t gla, uint64_t len)
{
	int n;

	for (n = 0; n < 4; n++)
		if (watches[n].kind == kind && watches[n].gla == gla &&
		    watches[n].len == len)
			return (n);
	return (-1);
}

int
gdb_set_watch(enum gdb_watch_kind kind, uint64_t gla, uint64_t len)
{
	int error, n;

	if ((len != 1 && len != 2 && len != 4 && len != 8) ||
	    (gla & (len - 1)) != 0)
		return (EINVAL);
	if (find_watch(kind, gla, len) >= 0)
		return (0);
	for (n = 0; n < 4 && watches[n].len != 0; n++)
		continue;
	if (n == 4)
		return (ENOSPC);
	watches[n] = (struct watch) { kind, gla, len };
	error = load_watches();
	if (error != 0) {
		watches[n].len = 0;
		(void)load_watches();
	}
	return (error);
}

int
gdb_clear_watch(enum gdb_watch_kind kind, uint64_t gla, uint64_t len)
{
	int n = find_watch(kind, gla, len);

	if (n < 0 || len == 0)
		return (ENOENT);
	watches[n].len = 0;
	return (load_watches());
}

static void
clear_watches(void)
{
	bool any = false;
	int n;

	for (n = 0; n < 4; n++)
		any |= watches[n].len != 0;
	memset(watches, 0, sizeof(watches));
	if (any)
		(void)load_watches();
}

void
gdb_find_watch(uint64_t hits, struct gdb_stop *stop)
{
	int n;

	for (n = 0; n < 4; n++) {
		if ((hits >> n & 1) == 0 || watches[n].len == 0)
			continue;
		stop->address = watches[n].gla;
		stop->reason = watches[n].kind == GDB_WATCH_EXEC
		    ? GDB_STOP_HWBREAK
		    : watches[n].kind == GDB_WATCH_WRITE ? GDB_STOP_WATCH
							 : GDB_STOP_AWATCH;
		return;
	}
}

/* ---- breakpoint instructions ---- */

/* The vCPUs leave the guest at INT3 as long as there is one of ours. */
static void
catch_int3(bool on)
{
	int i;

	for (i = 0; i < gdb_ncpus(); i++)
		(void)vm_set_capability(gdb_vcpu(i), VM_CAP_BPT_EXIT, on);
}

static struct breakpoint *
find(uint64_t gpa)
{
	int i;

	for (i = 0; i < nbreakpoints; i++)
		if (breakpoints[i].gpa == gpa)
			return (&breakpoints[i]);
	return (NULL);
}

static void
put_byte(uint64_t gpa, uint8_t *hva, uint8_t byte)
{
	__atomic_store_n(hva, byte, __ATOMIC_SEQ_CST);
	vm_dirty_gpa(gdb_ctx(), gpa, 1);
}

int
gdb_set_breakpoint(struct vcpu *vcpu, uint64_t gla)
{
	uint64_t gpa;
	uint8_t *hva;
	int val;

	if (!translate(vcpu, gla, &gpa))
		return (EFAULT);
	if (find(gpa) != NULL)
		return (0);
	hva = vm_map_devmem(gdb_ctx(), gpa, 1);
	if (hva == NULL)
		return (EFAULT);
	if (nbreakpoints == GDB_BREAKPOINTS)
		return (ENOSPC);
	if (vm_get_capability(vcpu, VM_CAP_BPT_EXIT, &val) != 0)
		return (EOPNOTSUPP);
	if (nbreakpoints == 0)
		catch_int3(true);
	breakpoints[nbreakpoints].gla = gla;
	breakpoints[nbreakpoints].gpa = gpa;
	breakpoints[nbreakpoints++].saved = *hva;
	put_byte(gpa, hva, OPCODE_INT3);
	return (0);
}

/* The guest may have written something else there meanwhile: that stays. */
static void
restore(const struct breakpoint *bp)
{
	uint8_t *hva = vm_map_devmem(gdb_ctx(), bp->gpa, 1);

	if (hva != NULL && *hva == OPCODE_INT3)
		put_byte(bp->gpa, hva, bp->saved);
}

int
gdb_clear_breakpoint(struct vcpu *vcpu, uint64_t gla)
{
	struct breakpoint *bp = NULL;
	uint64_t gpa;
	int i;

	if (translate(vcpu, gla, &gpa))
		bp = find(gpa);
	/* Another address space may be current by now. */
	for (i = 0; bp == NULL && i < nbreakpoints; i++)
		if (breakpoints[i].gla == gla)
			bp = &breakpoints[i];
	if (bp == NULL)
		return (ENOENT);
	restore(bp);
	*bp = breakpoints[--nbreakpoints];
	if (nbreakpoints == 0)
		catch_int3(false);
	return (0);
}

void
gdb_clear_breakpoints(void)
{
	clear_watches();
	if (nbreakpoints == 0)
		return;
	while (nbreakpoints > 0)
		restore(&breakpoints[--nbreakpoints]);
	catch_int3(false);
}

enum gdb_found
gdb_find_breakpoint(struct vcpu *vcpu, uint64_t rip)
{
	struct vm_guest_paging_api paging;
	uint64_t base, gpa;
	uint32_t access, limit;
	uint8_t *hva;

	if (vm_get_paging(vcpu, &paging) != 0)
		return (GDB_FOUND_GUESTS);
	if (paging.cpu_mode != CPU_MODE_64BIT &&
	    vm_get_desc(vcpu, VM_REG_GUEST_CS, &base, &limit, &access) == 0)
		rip = (uint32_t)(base + rip);
	if (!translate(vcpu, rip, &gpa))
		return (GDB_FOUND_GUESTS);
	if (find(gpa) != NULL)
		return (GDB_FOUND_OURS);
	hva = vm_map_devmem(gdb_ctx(), gpa, 1);
	return (hva != NULL && *hva != OPCODE_INT3 ? GDB_FOUND_GONE
						   : GDB_FOUND_GUESTS);
}
