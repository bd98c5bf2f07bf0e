/*
 * MSRs.  A guest sees those of KVM that bhyve's have, too.  All others are
 * filtered out and come back as exits; what the core (vmm_msr.c) does not know
 * goes to user space.  So a guest finds the same on every KVM, whatever else
 * this one answers for.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#include "kvm_local.h"
#include "vlapic.h"

#define MSR_TSC 0x10
#define MSR_APICBASE 0x1b
#define MSR_TSC_ADJUST 0x3b
#define MSR_SYSENTER_CS 0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define MSR_DEBUGCTL 0x1d9
#define MSR_PAT 0x277
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_SF_MASK 0xc0000084
#define MSR_FSBASE 0xc0000100
#define MSR_GSBASE 0xc0000101
#define MSR_KGSBASE 0xc0000102
#define MSR_TSC_AUX 0xc0000103
#define PAT_RESET 0x0007040600070406ULL

#define MSR_BATCH 16

/*
 * What a guest has of KVM, subject to what CPUID offers.  TSC_ADJUST: a KVM
 * that interprets its guests shows them the host's bit of it (kvm_cpuid.c).
 * x2APIC registers no filter can keep from KVM.
 */
static const struct {
	uint32_t base;
	uint32_t count;
	bool interpreted; /* only there */
} kvm_msrs[] = {
	{ MSR_TSC, 1, false }, { MSR_TSC_ADJUST, 1, true },
	{ MSR_SYSENTER_CS, 3, false }, { MSR_TSC_DEADLINE, 1, false },
	{ MSR_EFER, 5, false },	  /* and STAR, LSTAR, CSTAR, SF_MASK */
	{ MSR_FSBASE, 4, false }, /* and GS, KGSBASE, TSC_AUX */
};
#define NKVM (sizeof(kvm_msrs) / sizeof(kvm_msrs[0]))
_Static_assert(NKVM < KVM_MSR_FILTER_MAX_RANGES, "with APICBASE KVM's own");

/* All others are refused there, and come back as exits. */
int
kvm_msr_init(struct kvm_vm *kv)
{
	static uint64_t allow = 0xff; /* eight MSRs at most; KVM reads longs */
	struct kvm_msr_filter filter;
	struct kvm_msr_filter_range *r = filter.ranges;

	memset(&filter, 0, sizeof(filter));
	filter.flags = KVM_MSR_FILTER_DEFAULT_DENY;
	/* Writes are checked as bhyve's APIC does: it does not move. */
	*r++ = (struct kvm_msr_filter_range) { .flags = KVM_MSR_FILTER_READ,
		.base = MSR_APICBASE,
		.nmsrs = 1,
		.bitmap = (uint8_t *)&allow };
	for (size_t i = 0; i < NKVM; i++)
		if (!kvm_msrs[i].interpreted || kv->interpreted)
			*r++ = (struct kvm_msr_filter_range) {
				.flags =
				    KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
				.base = kvm_msrs[i].base,
				.nmsrs = kvm_msrs[i].count,
				.bitmap = (uint8_t *)&allow
			};
	return (KVM_IOCTL(kv->fd, KVM_X86_SET_MSR_FILTER, &filter));
}

struct msr_list {
	struct kvm_msrs head;
	struct kvm_msr_entry entry[MSR_BATCH];
};

/*
 * Some MSRs show among the system registers, too.  A dirty cache of those is
 * written later and must not bring the old value back.
 */
static void
msr_to_sregs(struct kvm_vcpu *kc, uint32_t msr, uint64_t val)
{
	if (!kc->sregs_dirty) {
		kc->sregs_valid = false;
		return;
	}
	switch (msr) {
	case MSR_APICBASE:
		kc->sregs.apic_base = val;
		break;
	case MSR_EFER:
		kc->sregs.efer = val;
		break;
	case MSR_FSBASE:
		kc->sregs.fs.base = val;
		break;
	case MSR_GSBASE:
		kc->sregs.gs.base = val;
		break;
	default:
		break;
	}
}

/* Both ioctls stop at the first MSR that KVM does not take. */
int
kvm_msrs_get(struct kvm_vcpu *kc, const uint32_t *msrs, uint64_t *vals, int n)
{
	struct msr_list list;
	int done;

	memset(&list, 0, sizeof(list));
	list.head.nmsrs = (uint32_t)n;
	for (int i = 0; i < n; i++)
		list.entry[i].index = msrs[i];
	done = ioctl(kc->fd, KVM_GET_MSRS, &list);
	for (int i = 0; i < done; i++)
		vals[i] = list.entry[i].data;
	return (done);
}

int
kvm_msrs_set(
    struct kvm_vcpu *kc, const uint32_t *msrs, const uint64_t *vals, int n)
{
	struct msr_list list;
	int done;

	memset(&list, 0, sizeof(list));
	list.head.nmsrs = (uint32_t)n;
	for (int i = 0; i < n; i++) {
		list.entry[i].index = msrs[i];
		list.entry[i].data = vals[i];
	}
	done = ioctl(kc->fd, KVM_SET_MSRS, &list);
	for (int i = 0; i < done; i++)
		msr_to_sregs(kc, msrs[i], vals[i]);
	return (done);
}

int
kvm_getmsr(void *vcpui, uint32_t msr, uint64_t *val)
{
	return (kvm_msrs_get(vcpui, &msr, val, 1) == 1 ? 0 : ENOENT);
}

int
kvm_setmsr(void *vcpui, uint32_t msr, uint64_t val)
{
	struct kvm_vcpu *kc = vcpui;

	/* What CPUID offers decides on what is accepted. */
	if (!kc->cpuid_set && kvm_cpuid_set(kc) != 0)
		return (errno);
	return (kvm_msrs_set(kc, &msr, &val, 1) == 1 ? 0 : EINVAL);
}

/* MSRs that RESET clears; INIT keeps them (Intel SDM 3A table 9-1). */
int
kvm_msr_reset(struct kvm_vcpu *kc, bool init)
{
	static const uint32_t zero[] = { MSR_SYSENTER_CS, MSR_SYSENTER_ESP,
		MSR_SYSENTER_EIP, MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SF_MASK,
		MSR_KGSBASE, MSR_TSC_AUX, MSR_DEBUGCTL, MSR_TSC_ADJUST };
	uint64_t old;

	if (init)
		return (0);
	for (size_t i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
		if (kvm_getmsr(kc, zero[i], &old) == 0 && old != 0 &&
		    kvm_setmsr(kc, zero[i], 0) != 0)
			return (EIO);
	return (kvm_setmsr(kc, MSR_PAT, PAT_RESET));
}

static int
tsc_attr(struct kvm_vcpu *kc, unsigned long cmd, uint64_t *offset)
{
	struct kvm_device_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.group = KVM_VCPU_TSC_CTRL;
	attr.attr = KVM_VCPU_TSC_OFFSET;
	attr.addr = (uintptr_t)offset;
	return (ioctl(kc->fd, cmd, &attr) < 0 ? errno : 0);
}

int
kvm_get_tsc_offset(void *vcpui, uint64_t *offset)
{
	struct kvm_vcpu *kc = vcpui;
	uint64_t tsc;
	int error;

	if (tsc_attr(kc, KVM_GET_DEVICE_ATTR, offset) == 0)
		return (0);
	error = kvm_getmsr(kc, MSR_TSC, &tsc);
	if (error == 0)
		*offset = tsc - __rdtsc();
	return (error);
}

int
kvm_set_tsc_offset(void *vcpui, uint64_t offset)
{
	struct kvm_vcpu *kc = vcpui;

	if (tsc_attr(kc, KVM_SET_DEVICE_ATTR, &offset) == 0)
		return (0);
	/* An older KVM takes writes close to each other for one clock. */
	return (kvm_setmsr(kc, MSR_TSC, __rdtsc() + offset));
}

/*
 * For user space the instruction is done: RIP stands behind it, and a #GP is
 * an exception injected with the instruction restarted.
 */
static int
msr_to_user(struct kvm_vcpu *kc, struct vm_exit *vme, bool read)
{
	struct kvm_regs *regs, before;
	int error;

	regs = kvm_regs(kc);
	if (regs == NULL)
		return (errno);
	before = *regs;
	memset(vme, 0, sizeof(*vme));
	vme->exitcode = read ? VM_EXITCODE_RDMSR : VM_EXITCODE_WRMSR;
	vme->rip = before.rip;
	vme->u.msr.code = kc->run->msr.index;
	vme->u.msr.wval = read ? 0 : kc->run->msr.data;
	kc->run->msr.data = 0;
	kc->run->msr.error = 0;
	kc->unfinished = true;
	error = kvm_vcpu_settle(kc);
	if (error != 0)
		return (error);
	regs = kvm_regs(kc);
	if (regs == NULL)
		return (errno);
	vme->inst_length = (int32_t)((regs->rip - before.rip) & 0xf);
	/* Only the handler's answer changes these. */
	regs->rax = before.rax;
	regs->rdx = before.rdx;
	kc->regs_dirty = true;
	return (0);
}

/* Through the core's checks, and into KVM's local APIC. */
static int
write_apicbase(struct kvm_vcpu *kc, uint64_t val)
{
	uint64_t old;
	int error;

	error = kvm_getmsr(kc, MSR_APICBASE, &old);
	if (error == 0)
		error = vlapic_check_apicbase(kc->vcpu, old, &val);
	return (error != 0 ? error : kvm_setmsr(kc, MSR_APICBASE, val));
}

static int
write_msr(struct kvm_vcpu *kc, uint32_t msr, uint64_t val)
{
	int error;

	if (msr == MSR_APICBASE)
		return (write_apicbase(kc, val) != 0 ? EINVAL : 0);
	error = vmm_wrmsr(kc->vcpu, msr, val);
	if (error == 0 && msr == MSR_PAT)
		(void)kvm_setmsr(kc, MSR_PAT, val);
	return (error);
}

bool
kvm_exit_msr(struct kvm_vcpu *kc, struct vm_exit *vme, int *error)
{
	struct kvm_run *run = kc->run;
	uint64_t val = 0;
	uint32_t msr = run->msr.index;
	bool read = run->exit_reason == KVM_EXIT_X86_RDMSR;
	int rc;

	if (read)
		vmm_stat_incr(kc->vcpu, VMEXIT_RDMSR, 1);
	else
		vmm_stat_incr(kc->vcpu, VMEXIT_WRMSR, 1);
	if (read)
		rc = vmm_rdmsr(kc->vcpu, msr, &val);
	else
		rc = write_msr(kc, msr, run->msr.data);
	if (rc == ENOENT && run->msr.reason != KVM_MSR_EXIT_REASON_INVAL) {
		*error = msr_to_user(kc, vme, read);
		return (*error == 0);
	}
	/* A value that KVM refuses for an MSR of its own is #GP. */
	run->msr.error = rc != 0;
	if (read)
		run->msr.data = val;
	kc->unfinished = true;
	return (false);
}
