/*
 * CPUID: the policy of x86_cpuid.c, cut to what KVM carries, handed to KVM as
 * a table before the first KVM_RUN.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_local.h"

#define CPUID_MAX 256
#define HV_LEAF 0x40000000u
#define EXT_LEAF 0x80000000u
#define XSAVE_LEAF 0xdu
#define C1_TSC_DEADLINE (1u << 24)
#define C1_XSAVE (1u << 26)

static struct kvm_cpuid2 *
cpuid_alloc(void)
{
	struct kvm_cpuid2 *c;

	c = calloc(1, sizeof(*c) + CPUID_MAX * sizeof(c->entries[0]));
	if (c != NULL)
		c->nent = CPUID_MAX;
	return (c);
}

int
kvm_cpuid_init(struct kvm_vm *kv)
{
	kv->supported = cpuid_alloc();
	if (kv->supported == NULL ||
	    KVM_IOCTL(kv->dev_fd, KVM_GET_SUPPORTED_CPUID, kv->supported) < 0)
		return (-1);
	kv->tsc_deadline =
	    ioctl(kv->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	return (0);
}

static const struct kvm_cpuid_entry2 *
supported_leaf(struct kvm_vm *kv, uint32_t leaf, uint32_t sub)
{
	const struct kvm_cpuid_entry2 *e;

	for (uint32_t i = 0; i < kv->supported->nent; i++) {
		e = &kv->supported->entries[i];
		if (e->function == leaf &&
		    ((e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0 ||
			e->index == sub))
			return (e);
	}
	return (NULL);
}

static uint32_t
smaller_byte(uint32_t a, uint32_t b, int shift)
{
	uint32_t x = a >> shift & 0xff, y = b >> shift & 0xff;

	return ((x < y ? x : y) << shift);
}

void
kvm_cpuid_mask(void *vmi, uint32_t leaf, uint32_t sub, uint32_t *r4)
{
	const struct kvm_cpuid_entry2 *e;
	struct kvm_vm *kv = vmi;

	/*
	 * Where many instructions fall back to the software processor the
	 * guest gets those only that this one knows, and its XSAVE area.
	 */
	if (kv->interpreted && vmm_ops_soft.cpuid_mask != NULL)
		vmm_ops_soft.cpuid_mask(NULL, leaf, sub, r4);
	e = supported_leaf(kv, leaf, sub);
	switch (leaf) {
	case 1:
	case 0x80000001:
		r4[2] &= e != NULL ? e->ecx : 0;
		r4[3] &= e != NULL ? e->edx : 0;
		/*
		 * KVM's local APIC has this mode, which it does not list.
		 * A slow guest gets its ticks without the 8254's exits and
		 * need not calibrate.
		 */
		if (leaf == 1 && kv->interpreted && kv->tsc_deadline)
			r4[2] |= C1_TSC_DEADLINE;
		break;
	case 7:
		r4[1] &= e != NULL ? e->ebx : 0;
		r4[2] &= e != NULL ? e->ecx : 0;
		r4[3] &= e != NULL ? e->edx : 0;
		break;
	case 0xd:
		if (e == NULL)
			memset(r4, 0, 4 * sizeof(r4[0]));
		else if (sub < 2)
			r4[0] &= e->eax;
		break;
	case 0x80000007:
		r4[3] &= e != NULL ? e->edx : 0;
		break;
	case 0x80000008:
		if (e == NULL)
			break;
		/* Physical and linear address bits. */
		r4[0] = smaller_byte(r4[0], e->eax, 0) |
		    smaller_byte(r4[0], e->eax, 8);
		r4[1] &= e->ebx;
		break;
	default:
		break;
	}
}

/* How many subleaves a leaf may have; 0: ECX does not matter. */
static uint32_t
subleaves(uint32_t leaf)
{
	switch (leaf) {
	case 4:
	case 0x8000001d:
		return (6);
	case 7:
		return (1);
	case 0xb:
		return (3);
	case 0xd:
		return (64);
	default:
		return (0);
	}
}

/* One leaf; false when a subleaf is empty. */
static bool
cpuid_add(
    struct kvm_vcpu *kc, struct kvm_cpuid2 *c, uint32_t leaf, uint32_t sub)
{
	struct kvm_cpuid_entry2 *e;
	uint32_t eax = leaf, ebx = 0, ecx = sub, edx = 0;

	x86_emulate_cpuid(kc->vcpu, &eax, &ebx, &ecx, &edx);
	if (c->nent == CPUID_MAX || (sub > 1 && (eax | ebx | ecx | edx) == 0))
		return (false);
	e = &c->entries[c->nent++];
	e->function = leaf;
	e->index = sub;
	if (subleaves(leaf) != 0)
		e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	e->eax = eax;
	e->ebx = ebx;
	e->ecx = ecx;
	e->edx = edx;
	return (true);
}

static void
cpuid_add_range(struct kvm_vcpu *kc, struct kvm_cpuid2 *c, uint32_t first)
{
	uint32_t eax = first, ebx = 0, ecx = 0, edx = 0, last, sub;

	x86_emulate_cpuid(kc->vcpu, &eax, &ebx, &ecx, &edx);
	last = eax;
	if (last < first || last - first > 0x40)
		last = first;
	for (uint32_t leaf = first; leaf <= last; leaf++) {
		cpuid_add(kc, c, leaf, 0);
		for (sub = 1; sub < subleaves(leaf); sub++)
			cpuid_add(kc, c, leaf, sub);
	}
}

static struct kvm_cpuid_entry2 *
cpuid_entry(struct kvm_cpuid2 *c, uint32_t leaf)
{
	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == leaf)
			return (&c->entries[i]);
	return (NULL);
}

/*
 * A KVM that lets guest code run as it is cannot hide instructions and shows
 * them in what it was told.  XSAVE without its leaf would be a riddle for the
 * guest: systems do without it where leaf 0xd is past the last one.
 */
static int
cpuid_imposed_xsave(struct kvm_vcpu *kc, struct kvm_cpuid2 *told, bool *imposed)
{
	struct kvm_cpuid_entry2 *e;
	struct kvm_cpuid2 *now;

	*imposed = false;
	e = cpuid_entry(told, 1);
	if (!kc->kv->interpreted || e == NULL || (e->ecx & C1_XSAVE) != 0)
		return (0);
	now = cpuid_alloc();
	if (now == NULL)
		return (-1);
	if (KVM_IOCTL(kc->fd, KVM_GET_CPUID2, now) < 0) {
		free(now);
		return (-1);
	}
	e = cpuid_entry(now, 1);
	*imposed = e != NULL && (e->ecx & C1_XSAVE) != 0;
	free(now);
	return (0);
}

static void
cpuid_cut_xsave(struct kvm_cpuid2 *c)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->nent; i++) {
		if (c->entries[i].function >= XSAVE_LEAF &&
		    c->entries[i].function < HV_LEAF)
			continue;
		c->entries[n++] = c->entries[i];
	}
	c->nent = n;
	if (c->entries[0].eax >= XSAVE_LEAF)
		c->entries[0].eax = XSAVE_LEAF - 1;
}

/* Returns 0, or -1 with errno. */
int
kvm_cpuid_set(struct kvm_vcpu *kc)
{
	struct kvm_cpuid2 *c;
	bool imposed;
	int rc;

	c = cpuid_alloc();
	if (c == NULL)
		return (-1);
	c->nent = 0;
	cpuid_add_range(kc, c, 0);
	cpuid_add_range(kc, c, HV_LEAF);
	cpuid_add_range(kc, c, EXT_LEAF);
	rc = KVM_IOCTL(kc->fd, KVM_SET_CPUID2, c);
	if (rc == 0)
		rc = cpuid_imposed_xsave(kc, c, &imposed);
	if (rc == 0 && imposed) {
		cpuid_cut_xsave(c);
		rc = KVM_IOCTL(kc->fd, KVM_SET_CPUID2, c);
	}
	free(c);
	if (rc < 0)
		return (-1);
	kc->cpuid_set = true;
	return (0);
}

/* KVM since Linux 5.16 takes no change once the vCPU has run. */
int
kvm_cpuid_changed(void *vcpui)
{
	struct kvm_vcpu *kc = vcpui;

	if (!kc->cpuid_set || kc->ran)
		return (0);
	return (kvm_cpuid_set(kc) != 0 ? errno : 0);
}
