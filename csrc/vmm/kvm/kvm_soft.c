/*
 * Instructions that KVM cannot emulate, one at a time on the software
 * processor: the vCPU's whole state goes over and what changed comes back.
 * An access to a device leaves as an ordinary exit; the instruction is then
 * taken up again with the answer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_local.h"
#include "soft_step.h"

#define CR0_PG 0x80000000ULL
#define CR4_PAE 0x20ULL
#define EFER_LMA 0x400ULL
#define MSR_PAT 0x277
#define XSAVE_SIZE 4096	 /* struct kvm_xsave */
#define XSAVE_LEGACY 416 /* x87 and SSE registers of the image */
#define XSAVE_BV 512
#define OPCODE_INT3 0xcc
#define XSTATE_SOFT 3ULL /* what the software processor holds */

VMM_STAT_KVM(KVM_SOFT_INSNS, "instructions run by the software processor");

static const uint32_t soft_msrs[] = { 0xc0000081, 0xc0000082, 0xc0000083,
	0xc0000084, 0xc0000102, 0x174, 0x175, 0x176, 0xc0000103 };
#define NMSRS ((int)(sizeof(soft_msrs) / sizeof(soft_msrs[0])))

struct kvm_soft {
	struct soft_stepper *stepper;
	struct soft_arch_state state;  /* what the step works on */
	struct soft_arch_state before; /* as it was in KVM */
	struct kvm_vcpu_events events;
	struct kvm_xsave xsave;
	uint64_t pat; /* the core's, of which KVM has a copy */
};

/* The members of soft_arch_state that are in soft_msrs, in its order. */
static void
msr_members(struct soft_arch_state *a, uint64_t *m[NMSRS])
{
	uint64_t *list[NMSRS] = { &a->star, &a->lstar, &a->cstar, &a->sfmask,
		&a->kgsbase, &a->sysenter_cs, &a->sysenter_esp,
		&a->sysenter_eip, &a->tsc_aux };

	memcpy(m, list, sizeof(list));
}

static const int gpr_names[16] = { VM_REG_GUEST_RAX, VM_REG_GUEST_RCX,
	VM_REG_GUEST_RDX, VM_REG_GUEST_RBX, VM_REG_GUEST_RSP, VM_REG_GUEST_RBP,
	VM_REG_GUEST_RSI, VM_REG_GUEST_RDI, VM_REG_GUEST_R8, VM_REG_GUEST_R9,
	VM_REG_GUEST_R10, VM_REG_GUEST_R11, VM_REG_GUEST_R12, VM_REG_GUEST_R13,
	VM_REG_GUEST_R14, VM_REG_GUEST_R15 };
static const int dr_names[8] = { VM_REG_GUEST_DR0, VM_REG_GUEST_DR1,
	VM_REG_GUEST_DR2, VM_REG_GUEST_DR3, -1, -1, VM_REG_GUEST_DR6,
	VM_REG_GUEST_DR7 };
static const int seg_names[8] = { VM_REG_GUEST_ES, VM_REG_GUEST_CS,
	VM_REG_GUEST_SS, VM_REG_GUEST_DS, VM_REG_GUEST_FS, VM_REG_GUEST_GS,
	VM_REG_GUEST_LDTR, VM_REG_GUEST_TR };

static struct soft_arch_seg *
state_seg(struct soft_arch_state *a, int i)
{
	return (i < 6 ? &a->seg[i] : i == 6 ? &a->ldtr : &a->tr);
}

/* Plain registers: name and member.  clang-format does not come to rest. */
/* clang-format off */
#define EACH_REG(X) \
	X(VM_REG_GUEST_RIP, rip) \
	X(VM_REG_GUEST_RFLAGS, rflags) \
	X(VM_REG_GUEST_CR0, cr0) \
	X(VM_REG_GUEST_CR2, cr2) \
	X(VM_REG_GUEST_CR3, cr3) \
	X(VM_REG_GUEST_CR4, cr4) \
	X(VM_REG_GUEST_TPR, cr8) \
	X(VM_REG_GUEST_EFER, efer) \
	X(VM_REG_GUEST_XCR0, xcr0)
/* clang-format on */

static int
get_registers(struct kvm_vcpu *kc, struct soft_arch_state *a)
{
	struct seg_desc desc;
	uint64_t sel;
	int error = 0;

	for (int i = 0; error == 0 && i < 16; i++)
		error = kvm_getreg(kc, gpr_names[i], &a->gpr[i]);
#define GET(name, member) \
	if (error == 0)   \
		error = kvm_getreg(kc, name, &a->member);
	EACH_REG(GET)
#undef GET
	for (int i = 0; error == 0 && i < 8; i++)
		if (dr_names[i] >= 0)
			error = kvm_getreg(kc, dr_names[i], &a->dr[i]);
	for (int i = 0; error == 0 && i < 8; i++) {
		error = kvm_getdesc(kc, seg_names[i], &desc);
		if (error == 0)
			error = kvm_getreg(kc, seg_names[i], &sel);
		if (error != 0)
			break;
		*state_seg(a, i) = (struct soft_arch_seg) { desc.base,
			desc.limit, desc.access, (uint16_t)sel };
	}
	if (error == 0)
		error = kvm_getdesc(kc, VM_REG_GUEST_GDTR, &desc);
	if (error == 0) {
		a->gdtr.base = desc.base;
		a->gdtr.limit = desc.limit;
		error = kvm_getdesc(kc, VM_REG_GUEST_IDTR, &desc);
	}
	if (error == 0) {
		a->idtr.base = desc.base;
		a->idtr.limit = desc.limit;
	}
	if ((a->cr0 & CR0_PG) != 0 && (a->cr4 & CR4_PAE) != 0 &&
	    (a->efer & EFER_LMA) == 0)
		for (int i = 0; error == 0 && i < 4; i++)
			error = kvm_getreg(
			    kc, VM_REG_GUEST_PDPTE0 + i, &a->pdpte[i]);
	return (error);
}

static int
get_msrs(struct kvm_vcpu *kc, struct soft_arch_state *a)
{
	uint64_t vals[NMSRS], *m[NMSRS];
	int n;

	/* TSC_AUX, the last one, is there with RDTSCP only. */
	memset(vals, 0, sizeof(vals));
	n = kvm_msrs_get(kc, soft_msrs, vals, NMSRS);
	if (n < NMSRS - 1)
		return (EIO);
	msr_members(a, m);
	for (int i = 0; i < NMSRS; i++)
		*m[i] = vals[i];
	if (vmm_rdmsr(kc->vcpu, MSR_PAT, &kc->soft->pat) != 0)
		return (EIO);
	return (kvm_get_tsc_offset(kc, &a->tsc_offset));
}

/* A delivery that KVM began and cannot finish becomes the step's event. */
static void
get_events(struct kvm_soft *ks, struct soft_arch_state *a)
{
	const struct kvm_vcpu_events *ev = &ks->events;

	if ((ev->interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS) != 0)
		a->intr_shadow = 2;
	else if ((ev->interrupt.shadow & KVM_X86_SHADOW_INT_STI) != 0)
		a->intr_shadow = 1;
	a->nmi_blocked = ev->nmi.masked != 0;
	a->event = kvm_events_intinfo(ev);
}

static int
state_from_kvm(struct kvm_vcpu *kc)
{
	struct kvm_soft *ks = kc->soft;
	struct soft_arch_state *a = &ks->state;
	uint64_t bv;
	int error;

	memset(a, 0, sizeof(*a));
	error = get_registers(kc, a);
	if (error == 0)
		error = get_msrs(kc, a);
	if (error != 0)
		return (error);
	if (KVM_IOCTL(kc->fd, KVM_GET_VCPU_EVENTS, &ks->events) < 0 ||
	    KVM_IOCTL(kc->fd, KVM_GET_XSAVE, &ks->xsave) < 0)
		return (errno);
	get_events(ks, a);
	memcpy(a->xsave, &ks->xsave, XSAVE_SIZE);
	a->xsave_len = XSAVE_SIZE;
	/* Other components stay in KVM. */
	memcpy(&bv, a->xsave + XSAVE_BV, sizeof(bv));
	bv &= XSTATE_SOFT;
	memcpy(a->xsave + XSAVE_BV, &bv, sizeof(bv));
	memcpy(&ks->before, a, sizeof(*a));
	return (0);
}

static int
put_registers(
    struct kvm_vcpu *kc, struct soft_arch_state *a, struct soft_arch_state *b)
{
	struct seg_desc desc;
	int error = 0;

	for (int i = 0; error == 0 && i < 16; i++)
		if (a->gpr[i] != b->gpr[i])
			error = kvm_setreg(kc, gpr_names[i], a->gpr[i]);
#define PUT(name, member)                         \
	if (error == 0 && a->member != b->member) \
		error = kvm_setreg(kc, name, a->member);
	EACH_REG(PUT)
#undef PUT
	for (int i = 0; error == 0 && i < 8; i++)
		if (dr_names[i] >= 0 && a->dr[i] != b->dr[i])
			error = kvm_setreg(kc, dr_names[i], a->dr[i]);
	for (int i = 0; error == 0 && i < 8; i++) {
		struct soft_arch_seg *s = state_seg(a, i);
		struct soft_arch_seg *t = state_seg(b, i);

		if (s->base == t->base && s->limit == t->limit &&
		    s->access == t->access && s->sel == t->sel)
			continue;
		desc = (struct seg_desc) { s->base, s->limit, s->access };
		error = kvm_setdesc(kc, seg_names[i], &desc);
		if (error == 0)
			error = kvm_setreg(kc, seg_names[i], s->sel);
	}
	if (error == 0 &&
	    (a->gdtr.base != b->gdtr.base || a->gdtr.limit != b->gdtr.limit)) {
		desc = (struct seg_desc) { a->gdtr.base, a->gdtr.limit, 0 };
		error = kvm_setdesc(kc, VM_REG_GUEST_GDTR, &desc);
	}
	if (error == 0 &&
	    (a->idtr.base != b->idtr.base || a->idtr.limit != b->idtr.limit)) {
		desc = (struct seg_desc) { a->idtr.base, a->idtr.limit, 0 };
		error = kvm_setdesc(kc, VM_REG_GUEST_IDTR, &desc);
	}
	return (error);
}

static int
put_msrs(
    struct kvm_vcpu *kc, struct soft_arch_state *a, struct soft_arch_state *b)
{
	uint64_t *m[NMSRS], *o[NMSRS], pat;
	int error = 0;

	msr_members(a, m);
	msr_members(b, o);
	for (int i = 0; error == 0 && i < NMSRS; i++)
		if (*m[i] != *o[i])
			error = kvm_setmsr(kc, soft_msrs[i], *m[i]);
	if (error == 0)
		error = vmm_rdmsr(kc->vcpu, MSR_PAT, &pat);
	if (error == 0 && pat != kc->soft->pat)
		error = kvm_setmsr(kc, MSR_PAT, pat);
	if (error == 0 && a->tsc_offset != b->tsc_offset)
		error = kvm_set_tsc_offset(kc, a->tsc_offset);
	return (error);
}

static int
put_fpu(struct kvm_vcpu *kc, struct kvm_soft *ks)
{
	uint8_t *image = (uint8_t *)&ks->xsave;
	uint64_t bv, now;

	memcpy(&now, ks->state.xsave + XSAVE_BV, sizeof(now));
	memcpy(&bv, image + XSAVE_BV, sizeof(bv));
	if (memcmp(ks->state.xsave, ks->before.xsave, XSAVE_LEGACY) == 0 &&
	    (bv & XSTATE_SOFT) == (now & XSTATE_SOFT))
		return (0);
	bv = (bv & ~XSTATE_SOFT) | (now & XSTATE_SOFT);
	memcpy(image, ks->state.xsave, XSAVE_LEGACY);
	memcpy(image + XSAVE_BV, &bv, sizeof(bv));
	return (KVM_IOCTL(kc->fd, KVM_SET_XSAVE, image) < 0 ? errno : 0);
}

static int
put_events(struct kvm_vcpu *kc, struct kvm_soft *ks)
{
	struct soft_arch_state *a = &ks->state, *b = &ks->before;
	struct kvm_vcpu_events *ev = &ks->events;

	if (a->intr_shadow == b->intr_shadow &&
	    a->nmi_blocked == b->nmi_blocked && b->event == 0)
		return (0);
	ev->interrupt.shadow = a->intr_shadow == 1 ? KVM_X86_SHADOW_INT_STI
	    : a->intr_shadow == 2		   ? KVM_X86_SHADOW_INT_MOV_SS
						   : 0;
	ev->nmi.masked = a->nmi_blocked;
	if (b->event != 0) {
		ev->exception.injected = ev->exception.pending = 0;
		ev->interrupt.injected = ev->nmi.injected = 0;
	}
	ev->flags = KVM_VCPUEVENT_VALID_SHADOW;
	return (KVM_IOCTL(kc->fd, KVM_SET_VCPU_EVENTS, ev) < 0 ? errno : 0);
}

static int
state_to_kvm(struct kvm_vcpu *kc)
{
	struct kvm_soft *ks = kc->soft;
	int error;

	error = put_registers(kc, &ks->state, &ks->before);
	if (error == 0)
		error = put_msrs(kc, &ks->state, &ks->before);
	if (error == 0)
		error = put_fpu(kc, ks);
	if (error == 0)
		error = put_events(kc, ks);
	return (error);
}

/* Nobody can run this one: tell the caller its bytes. */
static bool
exit_inst_emul(struct kvm_vcpu *kc, struct vm_exit *vme)
{
	const struct kvm_run *run = kc->run;
	uint64_t rip = 0, base = 0;
	struct seg_desc cs;
	uint8_t n;

	memset(vme, 0, sizeof(*vme));
	vme->exitcode = VM_EXITCODE_INST_EMUL;
	(void)kvm_getreg(kc, VM_REG_GUEST_RIP, &rip);
	if (kvm_getdesc(kc, VM_REG_GUEST_CS, &cs) == 0)
		base = cs.base;
	vme->rip = rip;
	vme->u.inst_emul.gla = base + rip;
	if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
	    run->emulation_failure.ndata >= 3 &&
	    (run->emulation_failure.flags &
		KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0) {
		n = run->emulation_failure.insn_size;
		if (n > sizeof(vme->u.inst_emul.bytes))
			n = sizeof(vme->u.inst_emul.bytes);
		vme->u.inst_emul.num_bytes = n;
		memcpy(vme->u.inst_emul.bytes,
		    run->emulation_failure.insn_bytes, n);
	}
	return (true);
}

/* KVM could not deliver the #BP that somebody waits for. */
static bool
exit_breakpoint(struct kvm_vcpu *kc, struct vm_exit *vme)
{
	(void)exit_inst_emul(kc, vme);
	if (vme->u.inst_emul.num_bytes == 0 ||
	    vme->u.inst_emul.bytes[0] != OPCODE_INT3)
		return (false);
	memset(&vme->u, 0, sizeof(vme->u));
	vme->exitcode = VM_EXITCODE_BPT;
	vme->u.bpt.inst_length = 1;
	return (true);
}

bool
kvm_soft_resume(struct kvm_vcpu *kc, const struct vm_entry *entry,
    struct vm_exit *vme, int *error)
{
	struct kvm_soft *ks = kc->soft;
	int rc;

	kc->owed = OWED_NONE;
	memset(vme, 0, sizeof(*vme));
	rc = soft_step(ks->stepper, &ks->state, entry, vme);
	if (rc == 1 &&
	    (vme->exitcode == VM_EXITCODE_INOUT ||
		vme->exitcode == VM_EXITCODE_INOUT_STR ||
		vme->exitcode == VM_EXITCODE_MMIO)) {
		/* KVM's registers stay where the instruction begins. */
		kc->owed = OWED_SOFT;
		return (true);
	}
	if (rc > 1)
		return (exit_inst_emul(kc, vme));
	*error = state_to_kvm(kc);
	if (*error != 0)
		return (false);
	if (rc == 0) {
		/* A single-step that KVM has not seen. */
		if (!kc->cap_mtrap)
			return (false);
		memset(vme, 0, sizeof(*vme));
		vme->exitcode = VM_EXITCODE_MTRAP;
		vme->rip = ks->state.rip;
		return (true);
	}
	/* A suspended VM is told of by the run loop, as ever. */
	return (vme->exitcode != VM_EXITCODE_SUSPENDED &&
	    vme->exitcode != VM_EXITCODE_BOGUS);
}

bool
kvm_soft_run(struct kvm_vcpu *kc, struct vm_exit *vme, int *error)
{
	static const struct vm_entry none;
	struct kvm_soft *ks = kc->soft;

	if (ks == NULL) {
		ks = aligned_alloc(64, (sizeof(*ks) + 63) & ~(size_t)63);
		if (ks == NULL) {
			*error = ENOMEM;
			return (false);
		}
		memset(ks, 0, sizeof(*ks));
		ks->stepper = soft_step_create(kc->kv->vm, kc->vcpu);
		if (ks->stepper == NULL) {
			*error = errno;
			free(ks);
			return (false);
		}
		kc->soft = ks;
	}
	if (kc->cap_bpt && exit_breakpoint(kc, vme))
		return (true);
	*error = state_from_kvm(kc);
	if (*error != 0)
		return (false);
	vmm_stat_incr(kc->vcpu, KVM_SOFT_INSNS, 1);
	return (kvm_soft_resume(kc, &none, vme, error));
}

void
kvm_soft_cleanup(struct kvm_vcpu *kc)
{
	if (kc->soft == NULL)
		return;
	soft_step_destroy(kc->soft->stepper);
	free(kc->soft);
	kc->soft = NULL;
}
