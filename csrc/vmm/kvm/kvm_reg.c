/*
 * Registers: the caches of kvm_local.h, and vm_reg_name against KVM's
 * structures.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_local.h"

#define MSR_KGSBASE 0xc0000102
#define EFER_LME 0x100ULL
#define EFER_LMA 0x400ULL
#define CR0_PG 0x80000000ULL
#define XSAVE_HDR 512
#define XSAVE_MIN 576

struct kvm_regs *
kvm_regs(struct kvm_vcpu *kc)
{
	struct kvm_regs *regs = &kc->run->s.regs.regs;

	if (!kc->regs_valid) {
		if (KVM_IOCTL(kc->fd, KVM_GET_REGS, regs) < 0)
			return (NULL);
		kc->regs_valid = true;
	}
	return (regs);
}

struct kvm_sregs *
kvm_sregs(struct kvm_vcpu *kc)
{
	if (!kc->sregs_valid) {
		if (KVM_IOCTL(kc->fd, KVM_GET_SREGS, &kc->sregs) < 0)
			return (NULL);
		kc->sregs_valid = true;
	}
	return (&kc->sregs);
}

static struct kvm_debugregs *
kvm_dregs(struct kvm_vcpu *kc)
{
	if (!kc->dregs_valid) {
		if (KVM_IOCTL(kc->fd, KVM_GET_DEBUGREGS, &kc->dregs) < 0)
			return (NULL);
		kc->dregs_valid = true;
	}
	return (&kc->dregs);
}

static int
xcr0_get(struct kvm_vcpu *kc, uint64_t *val)
{
	struct kvm_xcrs xcrs;

	if (!kc->xcr0_valid) {
		if (KVM_IOCTL(kc->fd, KVM_GET_XCRS, &xcrs) < 0)
			return (errno);
		kc->xcr0 = 1;
		for (uint32_t i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++)
			if (xcrs.xcrs[i].xcr == 0)
				kc->xcr0 = xcrs.xcrs[i].value;
		kc->xcr0_valid = true;
	}
	*val = kc->xcr0;
	return (0);
}

void
kvm_regs_forget(struct kvm_vcpu *kc)
{
	/* With KVM_CAP_SYNC_REGS the run page has them already. */
	kc->regs_valid = kc->kv->sync_regs;
	kc->sregs_valid = kc->dregs_valid = kc->xcr0_valid = false;
}

/* Setting registers one by one passes through states that KVM refuses. */
static void
sregs_repair(struct kvm_sregs *s)
{
	if ((s->efer & EFER_LME) != 0 && (s->cr0 & CR0_PG) != 0)
		s->efer |= EFER_LMA;
	else {
		s->efer &= ~EFER_LMA;
		s->cs.l = 0;
	}
}

int
kvm_regs_flush(struct kvm_vcpu *kc)
{
	struct kvm_xcrs xcrs;

	if (!kc->cpuid_set && kvm_cpuid_set(kc) != 0)
		return (errno);
	if (kc->sregs_dirty) {
		sregs_repair(&kc->sregs);
		if (KVM_IOCTL(kc->fd, KVM_SET_SREGS, &kc->sregs) < 0)
			return (errno);
		kc->sregs_dirty = false;
	}
	if (kc->regs_dirty) {
		if (kc->kv->sync_regs)
			kc->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
		else if (KVM_IOCTL(
			     kc->fd, KVM_SET_REGS, &kc->run->s.regs.regs) < 0)
			return (errno);
		kc->regs_dirty = false;
	}
	if (kc->dregs_dirty) {
		kc->dregs.flags = 0;
		if (KVM_IOCTL(kc->fd, KVM_SET_DEBUGREGS, &kc->dregs) < 0)
			return (errno);
		kc->dregs_dirty = false;
	}
	if (kc->xcr0_dirty) {
		memset(&xcrs, 0, sizeof(xcrs));
		xcrs.nr_xcrs = 1;
		xcrs.xcrs[0].value = kc->xcr0;
		if (KVM_IOCTL(kc->fd, KVM_SET_XCRS, &xcrs) < 0)
			return (errno);
		kc->xcr0_dirty = false;
	}
	return (kvm_debug_flush(kc));
}

/* Where the general registers are in struct kvm_regs. */
static const uint16_t reg_offset[] = {
	[VM_REG_GUEST_RAX] = offsetof(struct kvm_regs, rax),
	[VM_REG_GUEST_RBX] = offsetof(struct kvm_regs, rbx),
	[VM_REG_GUEST_RCX] = offsetof(struct kvm_regs, rcx),
	[VM_REG_GUEST_RDX] = offsetof(struct kvm_regs, rdx),
	[VM_REG_GUEST_RSI] = offsetof(struct kvm_regs, rsi),
	[VM_REG_GUEST_RDI] = offsetof(struct kvm_regs, rdi),
	[VM_REG_GUEST_RBP] = offsetof(struct kvm_regs, rbp),
	[VM_REG_GUEST_R8] = offsetof(struct kvm_regs, r8),
	[VM_REG_GUEST_R9] = offsetof(struct kvm_regs, r9),
	[VM_REG_GUEST_R10] = offsetof(struct kvm_regs, r10),
	[VM_REG_GUEST_R11] = offsetof(struct kvm_regs, r11),
	[VM_REG_GUEST_R12] = offsetof(struct kvm_regs, r12),
	[VM_REG_GUEST_R13] = offsetof(struct kvm_regs, r13),
	[VM_REG_GUEST_R14] = offsetof(struct kvm_regs, r14),
	[VM_REG_GUEST_R15] = offsetof(struct kvm_regs, r15),
	[VM_REG_GUEST_RSP] = offsetof(struct kvm_regs, rsp),
	[VM_REG_GUEST_RIP] = offsetof(struct kvm_regs, rip),
	[VM_REG_GUEST_RFLAGS] = offsetof(struct kvm_regs, rflags),
};

static bool
is_general(int reg)
{
	return ((reg >= VM_REG_GUEST_RAX && reg <= VM_REG_GUEST_R15) ||
	    (reg >= VM_REG_GUEST_RSP && reg <= VM_REG_GUEST_RFLAGS));
}

static uint64_t *
general_reg(struct kvm_regs *regs, int reg)
{
	return ((uint64_t *)(void *)((char *)regs + reg_offset[reg]));
}

static struct kvm_segment *
segment_reg(struct kvm_sregs *s, int reg)
{
	switch (reg) {
	case VM_REG_GUEST_ES:
		return (&s->es);
	case VM_REG_GUEST_CS:
		return (&s->cs);
	case VM_REG_GUEST_SS:
		return (&s->ss);
	case VM_REG_GUEST_DS:
		return (&s->ds);
	case VM_REG_GUEST_FS:
		return (&s->fs);
	case VM_REG_GUEST_GS:
		return (&s->gs);
	case VM_REG_GUEST_LDTR:
		return (&s->ldt);
	case VM_REG_GUEST_TR:
		return (&s->tr);
	default:
		return (NULL);
	}
}

/* The 64-bit members of the system registers, by name. */
static __u64 *
system_reg(struct kvm_sregs *s, int reg)
{
	switch (reg) {
	case VM_REG_GUEST_CR0:
		return (&s->cr0);
	case VM_REG_GUEST_CR2:
		return (&s->cr2);
	case VM_REG_GUEST_CR3:
		return (&s->cr3);
	case VM_REG_GUEST_CR4:
		return (&s->cr4);
	case VM_REG_GUEST_TPR:
		return (&s->cr8);
	case VM_REG_GUEST_EFER:
		return (&s->efer);
	case VM_REG_GUEST_FS_BASE:
		return (&s->fs.base);
	case VM_REG_GUEST_GS_BASE:
		return (&s->gs.base);
	default:
		return (NULL);
	}
}

static __u64 *
debug_reg(struct kvm_debugregs *d, int reg)
{
	switch (reg) {
	case VM_REG_GUEST_DR0:
	case VM_REG_GUEST_DR1:
	case VM_REG_GUEST_DR2:
	case VM_REG_GUEST_DR3:
		return (&d->db[reg - VM_REG_GUEST_DR0]);
	case VM_REG_GUEST_DR6:
		return (&d->dr6);
	case VM_REG_GUEST_DR7:
		return (&d->dr7);
	default:
		return (NULL);
	}
}

/* KVM's copies are read from the table in memory, as CR3 loads them. */
static int
pdpte_get(struct kvm_vcpu *kc, int n, uint64_t *val)
{
	struct kvm_sregs *s = kvm_sregs(kc);

	if (s == NULL)
		return (errno);
	*val = 0;
	return (vmm_gpa_read(kc->kv->vm,
	    (s->cr3 & 0xffffffe0) + (uint64_t)n * 8, val, sizeof(*val)));
}

static int
system_get(struct kvm_vcpu *kc, int reg, uint64_t *val)
{
	struct kvm_sregs *s;
	struct kvm_debugregs *d;

	switch (reg) {
	case VM_REG_GUEST_DR0:
	case VM_REG_GUEST_DR1:
	case VM_REG_GUEST_DR2:
	case VM_REG_GUEST_DR3:
	case VM_REG_GUEST_DR6:
	case VM_REG_GUEST_DR7:
		if ((d = kvm_dregs(kc)) == NULL)
			return (errno);
		*val = *debug_reg(d, reg);
		return (0);
	case VM_REG_GUEST_PDPTE0:
	case VM_REG_GUEST_PDPTE1:
	case VM_REG_GUEST_PDPTE2:
	case VM_REG_GUEST_PDPTE3:
		return (pdpte_get(kc, reg - VM_REG_GUEST_PDPTE0, val));
	case VM_REG_GUEST_XCR0:
		return (xcr0_get(kc, val));
	case VM_REG_GUEST_KGS_BASE:
		return (kvm_getmsr(kc, MSR_KGSBASE, val));
	case VM_REG_GUEST_INTR_SHADOW:
		return (kvm_get_shadow(kc, val));
	case VM_REG_GUEST_ENTRY_INST_LENGTH:
		*val = 0;
		return (0);
	default:
		if ((s = kvm_sregs(kc)) == NULL)
			return (errno);
		if (segment_reg(s, reg) != NULL)
			*val = segment_reg(s, reg)->selector;
		else if (system_reg(s, reg) != NULL)
			*val = *system_reg(s, reg);
		else
			return (EINVAL);
		return (0);
	}
}

int
kvm_getreg(void *vcpui, int reg, uint64_t *val)
{
	struct kvm_vcpu *kc = vcpui;
	struct kvm_regs *regs;

	if (!is_general(reg))
		return (system_get(kc, reg, val));
	/* Whoever looks between exit and entry sees the instruction. */
	if (reg == VM_REG_GUEST_RIP &&
	    (kc->owed == OWED_INOUT || kc->owed == OWED_MMIO)) {
		kvm_locate_owed(kc);
		*val = kc->owed_exit.rip;
		return (0);
	}
	if ((regs = kvm_regs(kc)) == NULL)
		return (errno);
	*val = *general_reg(regs, reg);
	return (0);
}

static int
system_set(struct kvm_vcpu *kc, int reg, uint64_t val)
{
	struct kvm_sregs *s;
	struct kvm_debugregs *d;

	switch (reg) {
	case VM_REG_GUEST_DR0:
	case VM_REG_GUEST_DR1:
	case VM_REG_GUEST_DR2:
	case VM_REG_GUEST_DR3:
	case VM_REG_GUEST_DR6:
	case VM_REG_GUEST_DR7:
		if ((d = kvm_dregs(kc)) == NULL)
			return (errno);
		*debug_reg(d, reg) = val;
		kc->dregs_dirty = true;
		return (0);
	case VM_REG_GUEST_PDPTE0:
	case VM_REG_GUEST_PDPTE1:
	case VM_REG_GUEST_PDPTE2:
	case VM_REG_GUEST_PDPTE3:
	case VM_REG_GUEST_ENTRY_INST_LENGTH:
		return (0); /* loaded with CR3; meaningless here */
	case VM_REG_GUEST_XCR0:
		kc->xcr0 = val;
		kc->xcr0_valid = kc->xcr0_dirty = true;
		return (0);
	case VM_REG_GUEST_KGS_BASE:
		return (kvm_setmsr(kc, MSR_KGSBASE, val));
	case VM_REG_GUEST_INTR_SHADOW:
		return (kvm_set_shadow(kc, val));
	default:
		if ((s = kvm_sregs(kc)) == NULL)
			return (errno);
		if (segment_reg(s, reg) != NULL)
			segment_reg(s, reg)->selector = (uint16_t)val;
		else if (system_reg(s, reg) != NULL)
			*system_reg(s, reg) = val;
		else
			return (EINVAL);
		kc->sregs_dirty = true;
		return (0);
	}
}

int
kvm_setreg(void *vcpui, int reg, uint64_t val)
{
	struct kvm_vcpu *kc = vcpui;
	struct kvm_regs *regs;
	int error;

	if (!is_general(reg))
		return (system_set(kc, reg, val));
	/* Moving RIP abandons an access that nobody has answered. */
	if (reg == VM_REG_GUEST_RIP && (kc->unfinished || kc->owed)) {
		error = kvm_vcpu_settle(kc);
		if (error != 0)
			return (error);
	}
	if ((regs = kvm_regs(kc)) == NULL)
		return (errno);
	*general_reg(regs, reg) = val;
	kc->regs_dirty = true;
	return (0);
}

/* seg_desc's access bits against the members of struct kvm_segment. */
static uint32_t
segment_access(const struct kvm_segment *g)
{
	return ((uint32_t)g->type | (uint32_t)g->s << 4 |
	    (uint32_t)g->dpl << 5 | (uint32_t)g->present << 7 |
	    (uint32_t)g->avl << 12 | (uint32_t)g->l << 13 |
	    (uint32_t)g->db << 14 | (uint32_t)g->g << 15 |
	    (g->unusable ? 0x10000u : 0));
}

int
kvm_getdesc(void *vcpui, int reg, struct seg_desc *desc)
{
	struct kvm_vcpu *kc = vcpui;
	struct kvm_segment *g;
	struct kvm_dtable *dt;
	struct kvm_sregs *s;

	if ((s = kvm_sregs(kc)) == NULL)
		return (errno);
	if (reg == VM_REG_GUEST_GDTR || reg == VM_REG_GUEST_IDTR) {
		dt = reg == VM_REG_GUEST_GDTR ? &s->gdt : &s->idt;
		desc->base = dt->base;
		desc->limit = dt->limit;
		desc->access = 0;
		return (0);
	}
	g = segment_reg(s, reg);
	if (g == NULL)
		return (EINVAL);
	desc->base = g->base;
	desc->limit = g->limit;
	desc->access = segment_access(g);
	return (0);
}

int
kvm_setdesc(void *vcpui, int reg, const struct seg_desc *desc)
{
	struct kvm_vcpu *kc = vcpui;
	struct kvm_segment *g;
	struct kvm_dtable *dt;
	struct kvm_sregs *s;
	uint32_t a = desc->access;

	if ((s = kvm_sregs(kc)) == NULL)
		return (errno);
	if (reg == VM_REG_GUEST_GDTR || reg == VM_REG_GUEST_IDTR) {
		dt = reg == VM_REG_GUEST_GDTR ? &s->gdt : &s->idt;
		dt->base = desc->base;
		dt->limit = (uint16_t)desc->limit;
		kc->sregs_dirty = true;
		return (0);
	}
	g = segment_reg(s, reg);
	if (g == NULL)
		return (EINVAL);
	g->base = desc->base;
	g->limit = desc->limit;
	g->type = a & 0xf;
	g->s = a >> 4 & 1;
	g->dpl = a >> 5 & 3;
	g->present = a >> 7 & 1;
	g->avl = a >> 12 & 1;
	g->l = a >> 13 & 1;
	g->db = a >> 14 & 1;
	g->g = a >> 15 & 1;
	g->unusable = (a & 0x10000) != 0;
	kc->sregs_dirty = true;
	return (0);
}

int
kvm_getfpu(void *vcpui, void *buf, size_t *len)
{
	struct kvm_vcpu *kc = vcpui;
	size_t size = (size_t)kc->kv->xsave_size;
	unsigned long cmd = size > 4096 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
	void *area;
	int error = 0;

	area = calloc(1, KVM_XSAVE_MAX);
	if (area == NULL)
		return (ENOMEM);
	if (kvm_ioctl(kc->fd, "KVM_GET_XSAVE", cmd, area) < 0)
		error = errno;
	else if (*len < XSAVE_MIN)
		error = ENOSPC;
	else {
		/* What does not fit is not in use: it would be in XCR0. */
		if (*len > size)
			*len = size;
		memcpy(buf, area, *len);
	}
	free(area);
	return (error);
}

int
kvm_setfpu(void *vcpui, const void *buf, size_t len)
{
	struct kvm_vcpu *kc = vcpui;
	uint64_t legacy = 3; /* x87 and SSE */
	uint8_t *area;
	int error = 0;

	if (len < XSAVE_HDR)
		return (EINVAL);
	if (!kc->cpuid_set && kvm_cpuid_set(kc) != 0)
		return (errno);
	area = calloc(1, KVM_XSAVE_MAX);
	if (area == NULL)
		return (ENOMEM);
	memcpy(area, buf, len > KVM_XSAVE_MAX ? KVM_XSAVE_MAX : len);
	/* An FXSAVE image has no header. */
	if (len < XSAVE_MIN) {
		memset(area + XSAVE_HDR, 0, XSAVE_MIN - XSAVE_HDR);
		memcpy(area + XSAVE_HDR, &legacy, sizeof(legacy));
	}
	if (KVM_IOCTL(kc->fd, KVM_SET_XSAVE, area) < 0)
		error = errno;
	free(area);
	return (error);
}
