/*
 * The guest's NUMA domains: domains.N.{size,cpus,domain_policy}.
 */
#ifndef _NUMA_H_
#define _NUMA_H_

#include <stddef.h>
#include <stdint.h>

struct vmctx;

#define NUMA_MAX_DOMAINS 8

struct numa_domain {
	uint32_t id; /* the domain's number in the tables */
	size_t size;
	uint64_t cpus; /* bit N: vCPU N */
};

/*
 * Read the domains for a machine of ncpus.  *memsize is memory.size, and the
 * sum of the domains' sizes afterwards.  0, or -1 after one line.
 */
int numa_init(int ncpus, size_t *memsize);
int numa_count(void); /* 0: the machine has no domains */
const struct numa_domain *numa_domain(int n);
/* Give the VM its memory, placed as the domains' policies say. */
int numa_setup_memory(struct vmctx *ctx);

#endif
