/*
 * Capabilities of a vCPU, and the debugging that two of them stand for.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_local.h"

static bool
guest_has(struct kvm_vcpu *kc, uint32_t leaf, int word, uint32_t bit)
{
	uint32_t r4[4] = { leaf, 0, 0, 0 };

	x86_emulate_cpuid(kc->vcpu, &r4[0], &r4[1], &r4[2], &r4[3]);
	return ((r4[word] & bit) != 0);
}

/* Since Linux 5.14, and as a part of single-stepping only. */
static bool
can_mask(struct kvm_vcpu *kc)
{
	int flags =
	    ioctl(kc->kv->fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG2);

	return (flags > 0 && (flags & (int)KVM_GUESTDBG_BLOCKIRQ) != 0);
}

/* HLT and PAUSE are caught by KVM either way; it never burns a processor. */
int
kvm_getcap(void *vcpui, int type, int *val)
{
	struct kvm_vcpu *kc = vcpui;

	switch (type) {
	case VM_CAP_HALT_EXIT:
		*val = kc->cap_halt;
		return (0);
	case VM_CAP_PAUSE_EXIT:
		*val = kc->cap_pause;
		return (0);
	case VM_CAP_MTRAP_EXIT:
		*val = kc->cap_mtrap;
		return (0);
	case VM_CAP_BPT_EXIT:
		*val = kc->cap_bpt;
		return (0);
	case VM_CAP_MASK_HWINTR:
		if (!can_mask(kc))
			return (ENOENT);
		*val = kc->cap_maskintr;
		return (0);
	case VM_CAP_UNRESTRICTED_GUEST:
		*val = 1;
		return (0);
	case VM_CAP_ENABLE_INVPCID:
		*val = guest_has(kc, 7, 1, 1u << 10);
		return (0);
	case VM_CAP_RDPID:
		*val = guest_has(kc, 7, 2, 1u << 22);
		return (0);
	case VM_CAP_RDTSCP:
		*val = guest_has(kc, 0x80000001, 3, 1u << 27);
		return (0);
	default:
		return (ENOENT);
	}
}

int
kvm_setcap(void *vcpui, int type, int val)
{
	struct kvm_vcpu *kc = vcpui;
	int now, error;

	switch (type) {
	case VM_CAP_HALT_EXIT:
		kc->cap_halt = val != 0;
		return (0);
	case VM_CAP_PAUSE_EXIT:
		kc->cap_pause = val != 0;
		return (0);
	case VM_CAP_MTRAP_EXIT:
		kc->debug_dirty |= kc->cap_mtrap != (val != 0);
		kc->cap_mtrap = val != 0;
		return (0);
	case VM_CAP_BPT_EXIT:
		kc->debug_dirty |= kc->cap_bpt != (val != 0);
		kc->cap_bpt = val != 0;
		return (0);
	case VM_CAP_MASK_HWINTR:
		if (!can_mask(kc))
			return (ENOENT);
		kc->debug_dirty |= kc->cap_maskintr != (val != 0);
		kc->cap_maskintr = val != 0;
		return (0);
	default:
		/* The rest can be asked for, not changed. */
		error = kvm_getcap(vcpui, type, &now);
		if (error != 0)
			return (error);
		return ((val != 0) == (now != 0) ? 0 : EOPNOTSUPP);
	}
}

/* Kinds of breakpoints other than code's, in DR7. */
#define DR7_DATA 0x33330000u

int
kvm_setdebug(void *vcpui, const uint64_t dr[4], uint64_t dr7)
{
	struct kvm_vcpu *kc = vcpui;

	/* A KVM that interprets looks at code only. */
	if (kc->kv->interpreted && (dr7 & DR7_DATA) != 0)
		return (EOPNOTSUPP);
	memcpy(kc->debug_dr, dr, sizeof(kc->debug_dr));
	kc->debug_dr7 = dr7;
	kc->debug_dirty = true;
	return (0);
}

int
kvm_debug_flush(struct kvm_vcpu *kc)
{
	struct kvm_guest_debug dbg;

	if (!kc->debug_dirty)
		return (0);
	memset(&dbg, 0, sizeof(dbg));
	if (kc->cap_mtrap)
		dbg.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
	if (kc->cap_mtrap && kc->cap_maskintr)
		dbg.control |= KVM_GUESTDBG_BLOCKIRQ;
	if (kc->cap_bpt)
		dbg.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
	if ((kc->debug_dr7 & 0xff) != 0) {
		dbg.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
		for (int i = 0; i < 4; i++)
			dbg.arch.debugreg[i] = kc->debug_dr[i];
		dbg.arch.debugreg[7] = kc->debug_dr7;
	}
	if (KVM_IOCTL(kc->fd, KVM_SET_GUEST_DEBUG, &dbg) < 0)
		return (errno);
	kc->debug_dirty = false;
	return (0);
}
