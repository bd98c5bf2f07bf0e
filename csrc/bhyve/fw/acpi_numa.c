/*
 * Tables of NUMA domains: SRAT says who belongs where, SLIT how far domains
 * are from each other (ACPI 5.1, 5.2.16 and 5.2.17).
 */
#include <string.h>

#include "acpi_local.h"
#include "numa.h"
#include "vmmapi.h"

#define AFFINITY_ENABLED 1u
#define LOCAL_DISTANCE 10
#define REMOTE_DISTANCE 20

struct srat_head {
	struct acpi_header h;
	uint32_t reserved1; /* 1, by the specification */
	uint64_t reserved2;
} __attribute__((__packed__));

struct srat_lapic {
	uint8_t type, length, domain_low, apic_id;
	uint32_t flags;
	uint8_t sapic_eid, domain_high[3];
	uint32_t clock_domain;
} __attribute__((__packed__));
_Static_assert(sizeof(struct srat_lapic) == 16, "SRAT, local APIC");

struct srat_memory {
	uint8_t type, length;
	uint32_t domain;
	uint16_t reserved1;
	uint64_t base, size;
	uint32_t reserved2, flags;
	uint64_t reserved3;
} __attribute__((__packed__));
_Static_assert(sizeof(struct srat_memory) == 40, "SRAT, memory");

_Static_assert(sizeof(struct srat_head) +
	    VM_MAXCPU * sizeof(struct srat_lapic) +
	    2 * NUMA_MAX_DOMAINS * sizeof(struct srat_memory) <=
	sizeof(union acpi_scratch),
    "an SRAT fits the scratch table");

static uint8_t *
add_memory(uint8_t *p, uint32_t domain, uint64_t base, uint64_t size)
{
	struct srat_memory e = { .type = 1,
		.length = sizeof(e),
		.domain = domain,
		.base = base,
		.size = size,
		.flags = AFFINITY_ENABLED };

	if (size == 0)
		return (p);
	memcpy(p, &e, sizeof(e));
	return (p + sizeof(e));
}

bool
acpi_build_srat(union acpi_scratch *t, struct vmctx *ctx, int ncpu,
    uint64_t facs, uint64_t dsdt)
{
	struct srat_lapic cpu = { .length = sizeof(cpu),
		.flags = AFFINITY_ENABLED };
	struct srat_head head = { .reserved1 = 1 };
	uint8_t *p = t->bytes + sizeof(head);
	const struct numa_domain *d;
	uint64_t at, low;
	int i, n;

	if (numa_count() == 0)
		return (false);
	for (n = 0; n < numa_count(); n++) {
		d = numa_domain(n);
		for (i = 0; i < ncpu && i < VM_MAXCPU; i++) {
			if ((d->cpus & 1UL << i) == 0)
				continue;
			cpu.domain_low = (uint8_t)d->id;
			cpu.apic_id = (uint8_t)i;
			memcpy(p, &cpu, sizeof(cpu));
			p += sizeof(cpu);
		}
	}
	for (n = 0, at = 0; n < numa_count(); n++, at += d->size) {
		d = numa_domain(n);
		low = at < VM_LOWMEM_LIMIT ? VM_LOWMEM_LIMIT - at : 0;
		if (low > d->size)
			low = d->size;
		p = add_memory(p, d->id, at, low);
		p = add_memory(p, d->id,
		    VM_HIGHMEM_BASE + at + low - VM_LOWMEM_LIMIT,
		    d->size - low);
	}
	acpi_header(&head.h, "SRAT", (size_t)(p - t->bytes), 3);
	memcpy(t, &head, sizeof(head));
	return (true);
}

/*
 * The matrix goes by proximity domain number, so it has rows for numbers
 * that nobody has; what does not fit the table has the default distances.
 */
bool
acpi_build_slit(union acpi_scratch *t, struct vmctx *ctx, int ncpu,
    uint64_t facs, uint64_t dsdt)
{
	struct {
		struct acpi_header h;
		uint64_t localities;
	} __attribute__((__packed__)) head;
	size_t n, row, column;
	uint8_t *p;

	if (numa_count() == 0)
		return (false);
	n = numa_domain(numa_count() - 1)->id + 1u;
	if (sizeof(head) + n * n > sizeof(*t))
		return (false);
	p = t->bytes + sizeof(head);
	for (row = 0; row < n; row++)
		for (column = 0; column < n; column++)
			*p++ = row == column ? LOCAL_DISTANCE : REMOTE_DISTANCE;
	acpi_header(&head.h, "SLIT", (size_t)(p - t->bytes), 1);
	head.localities = n;
	memcpy(t, &head, sizeof(head));
	return (true);
}
