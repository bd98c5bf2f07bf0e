/*
 * The memory bus: device ranges of guest physical memory in a sorted table,
 * and a one-entry cache for each vCPU.
 */
#ifndef _MEM_H_
#define _MEM_H_

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/*
 * size is 1, 2, 4 or 8 and the access lies within the range.  A read's *val
 * is all ones on entry.  Non-zero: the device does not answer.  Called with
 * no bus lock held, on any vCPU's thread; a range that moves at this moment
 * may see one late access, so handlers check their bounds.
 */
typedef int (*mem_func_t)(struct vcpu *vcpu, int dir, uint64_t addr, int size,
    uint64_t *val, void *arg1, long arg2);

struct mem_range {
	const char *name;
	int flags;
	mem_func_t handler;
	void *arg1;
	long arg2;
	uint64_t base;
	uint64_t size;
};
#define MEM_F_READ 0x1
#define MEM_F_WRITE 0x2
#define MEM_F_RW 0x3

int init_mem(int ncpu);
int register_mem(const struct mem_range *memp); /* EEXIST: overlap */
/* Asked when no range above claims the address; also without overlaps. */
int register_mem_fallback(const struct mem_range *memp);
int unregister_mem(const struct mem_range *memp); /* by base and size */
/*
 * One access of 1 to 8 bytes.  0; ESRCH when a part was claimed by nobody
 * (a read then has ones there).
 */
int emulate_mem(
    struct vcpu *vcpu, uint64_t gpa, bool read, int bytes, uint64_t *data);

#endif
