/*
 * NUMA domains of the guest.  Their memory is one segment in the order of
 * their numbers; the SRAT tells the guest who has which part.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "debug.h"
#include "numa.h"
#include "pci_lpc.h"
#include "vmmapi.h"

#define MAX_ID 255
#define PAGE 4096UL

static struct {
	struct numa_domain domains[NUMA_MAX_DOMAINS];
	struct vm_mem_domain memory[NUMA_MAX_DOMAINS];
	int count;
	bool failed;
} numa;

/* "0-2,5" into a word.  Returns false for anything else. */
static bool
parse_set(const char *text, uint64_t *set)
{
	unsigned long a, b;
	const char *cp;
	char *end;

	*set = 0;
	for (cp = text;; cp = end + 1) {
		if (*cp < '0' || *cp > '9')
			return (false);
		a = b = strtoul(cp, &end, 10);
		if (*end == '-') {
			cp = end + 1;
			if (*cp < '0' || *cp > '9')
				return (false);
			b = strtoul(cp, &end, 10);
		}
		if (a > b || b > 63)
			return (false);
		for (; a <= b; a++)
			*set |= 1UL << a;
		if (*end == '\0')
			return (true);
		if (*end != ',')
			return (false);
	}
}

/* POLICY:NODES, in cpuset(1)'s names; POLICY or NODES alone is fine too. */
static bool
parse_policy(const char *text, struct vm_mem_domain *memory)
{
	static const struct {
		const char *name;
		int policy;
	} names[] = {
		{ "first-touch", VM_MEM_FIRST_TOUCH },
		{ "ft", VM_MEM_FIRST_TOUCH },
		{ "round-robin", VM_MEM_ROUND_ROBIN },
		{ "rr", VM_MEM_ROUND_ROBIN },
		{ "prefer", VM_MEM_PREFER },
	};
	const char *nodes;
	size_t i, len;

	memory->policy = VM_MEM_FIRST_TOUCH;
	memory->nodes = 0;
	if (*text >= '0' && *text <= '9')
		return (parse_set(text, &memory->nodes));
	len = strcspn(text, ":");
	nodes = text[len] == ':' ? text + len + 1 : "all";
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i].name) == len &&
		    strncmp(names[i].name, text, len) == 0)
			break;
	if (i == sizeof(names) / sizeof(names[0]))
		return (false);
	memory->policy = names[i].policy;
	if (strcmp(nodes, "all") == 0)
		return (memory->policy != VM_MEM_PREFER);
	return (parse_set(nodes, &memory->nodes));
}

static int
bad_value(uint32_t id, const char *name, const char *value, const char *want)
{
	ewarnx("domains.%u.%s: '%s' is no %s", id, name, value, want);
	numa.failed = true;
	return (-1);
}

static int
read_domain(void *arg, const char *name, nvlist_t *node, const char *value)
{
	struct vm_mem_domain *memory;
	struct numa_domain *d;
	const char *text;
	unsigned long id;
	char *end;

	id = strtoul(name, &end, 10);
	if (node == NULL || *name < '0' || *name > '9' || *end != '\0' ||
	    id > MAX_ID) {
		ewarnx("domains.%s: domains have numbers from 0 to %d", name,
		    MAX_ID);
		numa.failed = true;
		return (-1);
	}
	if (numa.count == NUMA_MAX_DOMAINS) {
		ewarnx(
		    "domains.%s: more than %d domains", name, NUMA_MAX_DOMAINS);
		numa.failed = true;
		return (-1);
	}
	d = &numa.domains[numa.count];
	memory = &numa.memory[numa.count++];
	d->id = (uint32_t)id;
	text = get_config_value_node(node, "size");
	if (text != NULL &&
	    (vm_parse_memsize(text, &d->size) != 0 || d->size == 0 ||
		d->size % PAGE != 0))
		return (bad_value(d->id, "size", text, "size in whole pages"));
	text = get_config_value_node(node, "cpus");
	if (text != NULL && !parse_set(text, &d->cpus))
		return (bad_value(d->id, "cpus", text, "list of vCPUs"));
	text = get_config_value_node(node, "domain_policy");
	if (text != NULL && !parse_policy(text, memory))
		return (bad_value(d->id, "domain_policy", text,
		    "first-touch, round-robin or prefer with host nodes"));
	return (0);
}

/* By number, with few of them: whatever order they were given in. */
static void
sort_domains(void)
{
	struct vm_mem_domain memory;
	struct numa_domain d;
	int i, j;

	for (i = 1; i < numa.count; i++) {
		d = numa.domains[i];
		memory = numa.memory[i];
		for (j = i; j > 0 && numa.domains[j - 1].id > d.id; j--) {
			numa.domains[j] = numa.domains[j - 1];
			numa.memory[j] = numa.memory[j - 1];
		}
		numa.domains[j] = d;
		numa.memory[j] = memory;
	}
}

/* Every vCPU belongs to one domain: the first, if none claims it. */
static int
share_cpus(int ncpus)
{
	const uint64_t all = ncpus >= 64 ? ~0UL : (1UL << ncpus) - 1;
	uint64_t seen;
	int i;

	for (i = 0, seen = 0; i < numa.count; i++) {
		if ((numa.domains[i].cpus & ~all) != 0) {
			ewarnx("domains.%u.cpus: the machine has vCPUs 0 to %d",
			    numa.domains[i].id, ncpus - 1);
			return (-1);
		}
		if ((numa.domains[i].cpus & seen) != 0) {
			ewarnx("domains.%u.cpus: another domain has vCPU %d",
			    numa.domains[i].id,
			    __builtin_ctzll(numa.domains[i].cpus & seen));
			return (-1);
		}
		seen |= numa.domains[i].cpus;
	}
	numa.domains[0].cpus |= all & ~seen;
	return (0);
}

/* Without a size for each, memory.size is divided evenly. */
static int
share_memory(size_t *memsize)
{
	size_t part, total;
	bool even;
	int i;

	for (i = 0, even = false; i < numa.count; i++)
		even |= numa.domains[i].size == 0;
	part = *memsize / (size_t)numa.count & ~(PAGE - 1);
	if (even) {
		EPRINTLN("Warning: a NUMA domain has no size: each of the %d "
			 "gets %zu MB",
		    numa.count, part >> 20);
		for (i = 0; i < numa.count; i++)
			numa.domains[i].size = part;
		numa.domains[0].size += *memsize - part * (size_t)numa.count;
	}
	for (i = 0, total = 0; i < numa.count; i++) {
		if (numa.domains[i].size == 0 ||
		    __builtin_add_overflow(
			total, numa.domains[i].size, &total)) {
			ewarnx("domains.%u.size: no memory of that size",
			    numa.domains[i].id);
			return (-1);
		}
		numa.memory[i].size = numa.domains[i].size;
	}
	*memsize = total;
	return (0);
}

int
numa_init(int ncpus, size_t *memsize)
{
	nvlist_t *node;

	memset(&numa, 0, sizeof(numa));
	node = find_config_node("domains");
	if (node == NULL)
		return (0);
	(void)walk_config_nodes(node, read_domain, NULL);
	if (numa.failed)
		return (-1);
	if (numa.count == 0)
		return (0);
	if (lpc_bootrom() == NULL) {
		ewarnx("NUMA domains (-n) need a boot ROM (-l bootrom)");
		return (-1);
	}
	if (!get_config_bool_default("acpi_tables", true)) {
		ewarnx("NUMA domains (-n) need ACPI tables (acpi_tables)");
		return (-1);
	}
	sort_domains();
	if (share_cpus(ncpus) != 0)
		return (-1);
	return (share_memory(memsize));
}

int
numa_count(void)
{
	return (numa.count);
}

const struct numa_domain *
numa_domain(int n)
{
	return (&numa.domains[n]);
}

int
numa_setup_memory(struct vmctx *ctx)
{
	return (
	    vm_setup_memory_domains(ctx, VM_MMAP_ALL, numa.memory, numa.count));
}
