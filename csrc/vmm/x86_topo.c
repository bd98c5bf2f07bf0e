/*
 * CPUID leaves that tell sockets, cores, threads and caches.  A vCPU's APIC
 * id is its number, so packages and cores are runs of numbers.
 */
#include <cpuid.h>

#include "vmm_local.h"

#define CPUID_HTT (1u << 28)

/* Caches of the software processor: type, level, ways, sets. */
static const struct {
	uint8_t type, level;
	uint16_t ways, sets;
} own_caches[] = {
	{ 1, 1, 8, 64 },    /* data, 32 KiB */
	{ 2, 1, 4, 128 },   /* code, 32 KiB */
	{ 3, 2, 8, 512 },   /* 256 KiB */
	{ 3, 3, 16, 8192 }, /* 8 MiB, shared by the package */
};

static bool
host_cpuid(struct vcpu *vcpu)
{
	return ((vcpu->vm->ops->flags & VMM_OPS_HOST_CPUID) != 0);
}

/* Bits that hold n different values. */
static uint32_t
width(uint32_t n)
{
	return (n <= 1 ? 0 : 32 - (uint32_t)__builtin_clz(n - 1));
}

static uint32_t
logical_cpus(struct vm *vm)
{
	return ((uint32_t)vm->cores * vm->threads);
}

void
x86_topo_leaf1(struct vcpu *vcpu, uint32_t *ebx, uint32_t *edx)
{
	uint32_t logical = logical_cpus(vcpu->vm);

	*ebx = (*ebx & 0xffff) | (logical & 0xff) << 16 |
	    (uint32_t)vcpu->vcpuid << 24;
	*edx &= ~CPUID_HTT;
	if (logical > 1)
		*edx |= CPUID_HTT;
}

/* Who shares a cache of a level, and the cores of a package. */
static uint32_t
leaf4_sharing(struct vm *vm, uint32_t level)
{
	uint32_t sharing;

	sharing = level >= 3 ? logical_cpus(vm) : vm->threads;
	return (((1u << width(sharing)) - 1) << 14 |
	    ((1u << width(vm->cores)) - 1) << 26);
}

void
x86_topo_leaf4(struct vcpu *vcpu, uint32_t subleaf, uint32_t r4[4])
{
	const size_t count = sizeof(own_caches) / sizeof(own_caches[0]);

	r4[0] = r4[1] = r4[2] = r4[3] = 0;
	if (host_cpuid(vcpu)) {
		__cpuid_count(4, subleaf, r4[0], r4[1], r4[2], r4[3]);
		if ((r4[0] & 0x1f) != 0)
			r4[0] = (r4[0] & 0x3fff) |
			    leaf4_sharing(vcpu->vm, (r4[0] >> 5) & 7);
		return;
	}
	if (subleaf >= count)
		return;
	r4[0] = own_caches[subleaf].type |
	    (uint32_t)own_caches[subleaf].level << 5 | 0x100 |
	    leaf4_sharing(vcpu->vm, own_caches[subleaf].level);
	r4[1] = 63 | (own_caches[subleaf].ways - 1u) << 22;
	r4[2] = own_caches[subleaf].sets - 1u;
	r4[3] = 0;
}

void
x86_topo_leafb(struct vcpu *vcpu, uint32_t subleaf, uint32_t r4[4])
{
	struct vm *vm = vcpu->vm;

	r4[0] = r4[1] = 0;
	r4[2] = subleaf & 0xff;
	r4[3] = (uint32_t)vcpu->vcpuid;
	if (subleaf == 0) {
		r4[0] = width(vm->threads);
		r4[1] = vm->threads;
		r4[2] |= 1u << 8; /* threads */
	} else if (subleaf == 1) {
		r4[0] = width(logical_cpus(vm));
		r4[1] = logical_cpus(vm);
		r4[2] |= 2u << 8; /* cores */
	}
}

/* AMD 0x80000008 ecx: logical processors of the package. */
void
x86_topo_amd8(struct vcpu *vcpu, uint32_t r4[4])
{
	uint32_t logical = logical_cpus(vcpu->vm);

	r4[2] = logical > 1 ? (width(logical) << 12 | (logical - 1)) : 0;
}

void
x86_topo_amd1d(struct vcpu *vcpu, uint32_t subleaf, uint32_t r4[4])
{
	uint32_t level, sharing;

	__cpuid_count(0x8000001d, subleaf, r4[0], r4[1], r4[2], r4[3]);
	if ((r4[0] & 0x1f) == 0)
		return;
	level = (r4[0] >> 5) & 7;
	sharing = level >= 3 ? logical_cpus(vcpu->vm) : vcpu->vm->threads;
	r4[0] = (r4[0] & 0x3fff) | (sharing - 1) << 14;
}

void
x86_topo_amd1e(struct vcpu *vcpu, uint32_t r4[4])
{
	uint32_t threads = vcpu->vm->threads;

	r4[0] = (uint32_t)vcpu->vcpuid;
	r4[1] = (threads - 1) << 8 | ((uint32_t)vcpu->vcpuid / threads & 0xff);
	r4[2] = 0;
	r4[3] = 0;
}
