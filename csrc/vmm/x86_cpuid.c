/*
 * What a guest learns from CPUID.  Two models: the host's own leaves, cut to
 * what a guest may use (KVM), or a processor of ours (soft).  Either way the
 * backend has the last word on features, by ops->cpuid_mask.
 */
#include <cpuid.h>
#include <string.h>

#include "vlapic.h"
#include "vmm_local.h"

/* Leaf 1 ecx. */
#define C1_SSE3 (1u << 0)
#define C1_PCLMUL (1u << 1)
#define C1_SSSE3 (1u << 9)
#define C1_FMA (1u << 12)
#define C1_CX16 (1u << 13)
#define C1_PCID (1u << 17)
#define C1_SSE41 (1u << 19)
#define C1_SSE42 (1u << 20)
#define C1_X2APIC (1u << 21)
#define C1_MOVBE (1u << 22)
#define C1_POPCNT (1u << 23)
#define C1_AES (1u << 25)
#define C1_XSAVE (1u << 26)
#define C1_OSXSAVE (1u << 27)
#define C1_AVX (1u << 28)
#define C1_F16C (1u << 29)
#define C1_RDRAND (1u << 30)
#define C1_HV (1u << 31)
#define C1_ALLOWED                                                           \
	(C1_SSE3 | C1_PCLMUL | C1_SSSE3 | C1_FMA | C1_CX16 | C1_PCID |       \
	    C1_SSE41 | C1_SSE42 | C1_MOVBE | C1_POPCNT | C1_AES | C1_XSAVE | \
	    C1_AVX | C1_F16C | C1_RDRAND)

/* Leaf 1 edx: all but PSN, DS, ACPI, HTT, TM, IA64, PBE. */
#define D1_MCE (1u << 7)
#define D1_APIC (1u << 9)
#define D1_MTRR (1u << 12)
#define D1_MCA (1u << 14)
#define D1_ALLOWED 0x0f8bfbffu

/* Leaf 7: FSGSBASE BMI1 HLE AVX2 SMEP BMI2 ERMS INVPCID RTM AVX512F/DQ RDSEED
 * ADX SMAP AVX512IFMA CLFLUSHOPT CLWB AVX512PF/ER/CD SHA AVX512BW/VL. */
#define B7_ALLOWED 0xfdbf0fb9u
#define B7_INVPCID (1u << 10)
/* AVX512VBMI UMIP VBMI2 GFNI VAES VPCLMULQDQ VNNI BITALG VPOPCNTDQ RDPID. */
#define C7_ALLOWED 0x00405f46u
/* FSRM VP2INTERSECT MD_CLEAR. */
#define D7_ALLOWED 0x00000510u
#define D7_IBRS (1u << 26)
#define D7_STIBP (1u << 27)
#define D7_ARCH_CAP (1u << 29)
#define D7_SSBD (1u << 31)

/* 0x80000001 ecx: LAHF ABM SSE4A MISALIGN PREFETCHW XOP FMA4 TCE TBM TOPOEXT
 * CMP_LEGACY CR8. */
#define CE_ALLOWED 0x002309f3u
#define CE_TOPOEXT (1u << 22)
#define CE_OWN 0x00000121u
/* edx: SYSCALL NX MMXEXT FFXSR 1GB RDTSCP LM 3DNOW, and AMD's copies of
 * leaf 1. */
#define DE_ALLOWED 0xefd3fbffu
#define DE_OWN 0x2c100800u

#define HV_LEAF 0x40000000u /* the only one of its range */
#define EXT_LEAF 0x80000000u
#define OWN_MAX_LEAF 0xdu
#define OWN_MAX_EXT 0x80000008u
#define OWN_SIGNATURE 0x000106a5u /* family 6 model 26 stepping 5 */
#define OWN_ADDR_BITS 0x3028u	  /* 48 linear, 40 physical */

#define CR4_OSXSAVE (1u << 18)
#define XCR0_KNOWN 0xe7u /* x87 SSE AVX and the three of AVX-512 */

static const char own_brand[48] = "bhyve software processor";

struct cpuid_ctx {
	struct vcpu *vcpu;
	const struct vmm_ops *ops;
	bool host; /* show the host's processor */
};

static void
host_leaf(uint32_t leaf, uint32_t subleaf, uint32_t r4[4])
{
	__cpuid_count(leaf, subleaf, r4[0], r4[1], r4[2], r4[3]);
}

/* The vendor's name is in EBX, EDX, ECX. */
static void
host_vendor(char vendor[13])
{
	uint32_t r4[4];

	host_leaf(0, 0, r4);
	memcpy(vendor, &r4[1], 4);
	memcpy(vendor + 4, &r4[3], 4);
	memcpy(vendor + 8, &r4[2], 4);
	vendor[12] = '\0';
}

bool
x86_host_is_amd(void)
{
	char vendor[13];

	host_vendor(vendor);
	return (strcmp(vendor, "AuthenticAMD") == 0 ||
	    strcmp(vendor, "HygonGenuine") == 0);
}

void
x86_cpuid_vendor(struct vm *vm, char vendor[13])
{
	if ((vm->ops->flags & VMM_OPS_HOST_CPUID) != 0)
		host_vendor(vendor);
	else
		memcpy(vendor, "GenuineIntel", 13);
}

static uint32_t
max_leaf(const struct cpuid_ctx *cc)
{
	uint32_t r4[4];

	if (!cc->host)
		return (OWN_MAX_LEAF);
	host_leaf(0, 0, r4);
	return (r4[0] < 0x15 ? r4[0] : 0x15);
}

static uint32_t
max_ext_leaf(const struct cpuid_ctx *cc)
{
	uint32_t r4[4], limit;

	if (!cc->host)
		return (OWN_MAX_EXT);
	host_leaf(0x80000000, 0, r4);
	limit = x86_host_is_amd() ? 0x8000001e : 0x80000008;
	return (r4[0] < limit ? r4[0] : limit);
}

static void
mask(const struct cpuid_ctx *cc, uint32_t leaf, uint32_t sub, uint32_t r4[4])
{
	if (cc->ops->cpuid_mask != NULL)
		cc->ops->cpuid_mask(cc->vcpu->vm->cookie, leaf, sub, r4);
}

static void
leaf_vendor(const struct cpuid_ctx *cc, uint32_t r4[4])
{
	char vendor[13];

	x86_cpuid_vendor(cc->vcpu->vm, vendor);
	r4[0] = max_leaf(cc);
	memcpy(&r4[1], vendor, 4);
	memcpy(&r4[3], vendor + 4, 4);
	memcpy(&r4[2], vendor + 8, 4);
}

static void
leaf_features(const struct cpuid_ctx *cc, uint32_t r4[4])
{
	struct vcpu *vcpu = cc->vcpu;
	uint64_t cr4 = 0;

	if (cc->host) {
		host_leaf(1, 0, r4);
		r4[2] &= C1_ALLOWED;
		r4[3] &= D1_ALLOWED;
	} else {
		r4[0] = OWN_SIGNATURE;
		r4[1] = 8u << 8; /* CLFLUSH: 64 bytes */
		r4[2] = C1_ALLOWED;
		r4[3] = D1_ALLOWED;
	}
	mask(cc, 1, 0, r4);
	x86_topo_leaf1(vcpu, &r4[1], &r4[3]);
	r4[2] |= C1_HV;
	r4[3] |= D1_MCE | D1_MCA | D1_MTRR | D1_APIC;
	if (vcpu->x2apic_state == X2APIC_ENABLED)
		r4[2] |= C1_X2APIC;
	if (vcpu->vlapic != NULL &&
	    (vlapic_get_apicbase(vcpu->vlapic) & 0x800) == 0)
		r4[3] &= ~D1_APIC;
	if ((r4[2] & C1_XSAVE) != 0 &&
	    cc->ops->getreg(vcpu->cookie, VM_REG_GUEST_CR4, &cr4) == 0 &&
	    (cr4 & CR4_OSXSAVE) != 0)
		r4[2] |= C1_OSXSAVE;
}

/* INVPCID is offered beside PCID only: a host's kernel may do without. */
static void
invpcid_needs_pcid(const struct cpuid_ctx *cc, uint32_t r4[4])
{
	uint32_t f1[4] = { 0 };

	leaf_features(cc, f1);
	if ((f1[2] & C1_PCID) == 0)
		r4[1] &= ~B7_INVPCID;
}

static void
leaf_extfeatures(const struct cpuid_ctx *cc, uint32_t sub, uint32_t r4[4])
{
	if (sub != 0)
		return;
	if (cc->host) {
		host_leaf(7, 0, r4);
		r4[0] = 0;
		r4[1] &= B7_ALLOWED;
		r4[2] &= C7_ALLOWED;
		r4[3] &= D7_ALLOWED;
		mask(cc, 7, 0, r4);
		invpcid_needs_pcid(cc, r4);
		return;
	}
	r4[1] = B7_ALLOWED;
	r4[2] = C7_ALLOWED;
	r4[3] = D7_ALLOWED;
	mask(cc, 7, 0, r4);
	/* MSRs that the core keeps (vmm_msr.c): nothing leaks from a
	 * processor without speculation, and guests need not work around. */
	r4[3] |= D7_ARCH_CAP | D7_IBRS | D7_STIBP | D7_SSBD;
}

/* Standard format: where a component stands and how long it is. */
static void
xsave_component(const struct cpuid_ctx *cc, uint32_t sub, uint32_t r4[4])
{
	static const struct {
		uint32_t size, offset;
	} own[8] = { { 0, 0 }, { 0, 0 }, { 256, 576 }, { 0, 0 }, { 0, 0 },
		{ 64, 1088 }, { 512, 1152 }, { 1024, 1664 } };

	memset(r4, 0, 16);
	if (sub >= 8 || ((1u << sub) & XCR0_KNOWN) == 0)
		return;
	if (cc->host) {
		host_leaf(0xd, sub, r4);
	} else {
		r4[0] = own[sub].size;
		r4[1] = own[sub].offset;
	}
	mask(cc, 0xd, sub, r4);
}

static uint32_t
xsave_size(const struct cpuid_ctx *cc, uint64_t xcr0)
{
	uint32_t r4[4], size = 576;

	for (uint32_t sub = 2; sub < 8; sub++) {
		if ((xcr0 & (1u << sub)) == 0)
			continue;
		xsave_component(cc, sub, r4);
		if (r4[0] != 0 && r4[0] + r4[1] > size)
			size = r4[0] + r4[1];
	}
	return (size);
}

static void
leaf_xsave(const struct cpuid_ctx *cc, uint32_t sub, uint32_t r4[4])
{
	uint32_t f1[4] = { 0 }, top[4] = { 0 };
	uint64_t xcr0 = 1;

	leaf_features(cc, f1);
	if ((f1[2] & C1_XSAVE) == 0)
		return;
	if (cc->host)
		host_leaf(0xd, 0, top);
	else
		top[0] = XCR0_KNOWN;
	top[0] &= XCR0_KNOWN;
	top[1] = top[2] = top[3] = 0;
	mask(cc, 0xd, 0, top);
	if (sub == 0) {
		cc->ops->getreg(cc->vcpu->cookie, VM_REG_GUEST_XCR0, &xcr0);
		r4[0] = top[0];
		r4[1] = xsave_size(cc, xcr0 & top[0]);
		r4[2] = xsave_size(cc, top[0]);
		r4[3] = 0;
	} else if (sub == 1) {
		r4[0] = 1; /* XSAVEOPT */
		if (cc->host) {
			host_leaf(0xd, 1, r4);
			r4[0] &= 1;
		}
		r4[1] = r4[2] = r4[3] = 0;
		mask(cc, 0xd, 1, r4);
	} else if (sub < 8 && (top[0] & (1u << sub)) != 0) {
		xsave_component(cc, sub, r4);
	}
}

static void
basic_leaf(
    const struct cpuid_ctx *cc, uint32_t leaf, uint32_t sub, uint32_t r4[4])
{
	switch (leaf) {
	case 0:
		leaf_vendor(cc, r4);
		break;
	case 1:
		leaf_features(cc, r4);
		break;
	case 2:
		if (cc->host)
			host_leaf(2, 0, r4);
		else
			r4[0] = 0x00ff0001; /* see leaf 4 */
		break;
	case 4:
		if (!cc->host || !x86_host_is_amd())
			x86_topo_leaf4(cc->vcpu, sub, r4);
		break;
	case 6:
		r4[0] = 1u << 2; /* the APIC timer never stops */
		break;
	case 7:
		leaf_extfeatures(cc, sub, r4);
		break;
	case 0xb:
		/* AMD's have leaves of their own, as on bhyve. */
		if (!cc->host || !x86_host_is_amd())
			x86_topo_leafb(cc->vcpu, sub, r4);
		break;
	case 0xd:
		leaf_xsave(cc, sub, r4);
		break;
	default:
		/* Monitor, performance counters, frequencies: none. */
		break;
	}
}

static uint32_t
tsc_invariant(void)
{
	uint32_t r4[4];

	host_leaf(0x80000000, 0, r4);
	if (r4[0] < 0x80000007)
		return (0);
	host_leaf(0x80000007, 0, r4);
	return (r4[3] & 0x100);
}

static void
ext_features(const struct cpuid_ctx *cc, uint32_t r4[4])
{
	if (cc->host) {
		host_leaf(0x80000001, 0, r4);
		r4[2] &= CE_ALLOWED | (x86_host_is_amd() ? CE_TOPOEXT : 0);
		r4[3] &= DE_ALLOWED;
	} else {
		r4[2] = CE_OWN;
		r4[3] = DE_OWN;
	}
	mask(cc, 0x80000001, 0, r4);
}

static void
ext_leaf(
    const struct cpuid_ctx *cc, uint32_t leaf, uint32_t sub, uint32_t r4[4])
{
	switch (leaf) {
	case 0x80000000:
		if (cc->host)
			host_leaf(leaf, 0, r4);
		r4[0] = max_ext_leaf(cc);
		break;
	case 0x80000001:
		ext_features(cc, r4);
		break;
	case 0x80000002:
	case 0x80000003:
	case 0x80000004:
		if (cc->host)
			host_leaf(leaf, 0, r4);
		else
			memcpy(r4, own_brand + 16 * (leaf - 0x80000002), 16);
		break;
	case 0x80000005:
	case 0x80000006:
		if (cc->host)
			host_leaf(leaf, 0, r4);
		else if (leaf == 0x80000006)
			r4[2] = 0x01006040; /* L2: 256 KiB, 8 ways */
		break;
	case 0x80000007:
		r4[3] = tsc_invariant();
		mask(cc, leaf, 0, r4);
		break;
	case 0x80000008:
		r4[0] = OWN_ADDR_BITS;
		if (cc->host) {
			host_leaf(leaf, 0, r4);
			r4[0] &= 0xffff;
			r4[1] = r4[2] = r4[3] = 0;
			if (x86_host_is_amd())
				x86_topo_amd8(cc->vcpu, r4);
		}
		mask(cc, leaf, 0, r4);
		break;
	case 0x8000001d:
		x86_topo_amd1d(cc->vcpu, sub, r4);
		break;
	case 0x8000001e:
		x86_topo_amd1e(cc->vcpu, r4);
		break;
	default:
		break;
	}
}

void
x86_emulate_cpuid(struct vcpu *vcpu, uint32_t *eax, uint32_t *ebx,
    uint32_t *ecx, uint32_t *edx)
{
	struct cpuid_ctx cc = { vcpu, vcpu->vm->ops, false };
	uint32_t leaf = *eax, sub = *ecx, last, r4[4] = { 0 };

	cc.host = (cc.ops->flags & VMM_OPS_HOST_CPUID) != 0;
	/* Past the end of a range is as its highest leaf. */
	if (leaf >= EXT_LEAF) {
		last = max_ext_leaf(&cc);
		ext_leaf(&cc, leaf < last ? leaf : last, sub, r4);
	} else if (leaf >= HV_LEAF) {
		r4[0] = HV_LEAF;
		memcpy(&r4[1], "bhyve bhyve ", 12);
	} else {
		last = max_leaf(&cc);
		basic_leaf(&cc, leaf < last ? leaf : last, sub, r4);
	}
	*eax = r4[0];
	*ebx = r4[1];
	*ecx = r4[2];
	*edx = r4[3];
}

unsigned int
x86_phys_bits(struct vcpu *vcpu)
{
	uint32_t eax = EXT_LEAF, ebx = 0, ecx = 0, edx = 0;

	x86_emulate_cpuid(vcpu, &eax, &ebx, &ecx, &edx);
	if (eax < 0x80000008)
		return (36);
	eax = 0x80000008;
	ecx = 0;
	x86_emulate_cpuid(vcpu, &eax, &ebx, &ecx, &edx);
	return (eax & 0xff);
}
