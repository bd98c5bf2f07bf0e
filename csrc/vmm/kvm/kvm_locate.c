/*
 * Where the instruction of a port or memory access stands.  KVM stops in the
 * middle: for a read RIP is still at the instruction; a write of its emulator
 * has moved RIP behind it, one of the hardware's own path has not.  KVM says
 * nothing of this nor of the length, so that the bytes around RIP are looked
 * at.  It costs system calls and is done only for who asks.
 */
#include <string.h>

#include "kvm_local.h"
#include "soft_step.h"

#define CR0_PE 0x1u
#define EFER_LMA 0x400u
#define RFL_VM 0x20000u
#define INSN_MAX 15

struct locate {
	struct kvm_vcpu *kc;
	struct soft_insn_ctx c;
	struct vm_guest_paging paging;
	uint64_t rip, csbase;
};

static int
locate_init(struct locate *l, struct kvm_vcpu *kc)
{
	const struct kvm_regs *r = kvm_regs(kc);
	const struct kvm_sregs *s = kvm_sregs(kc);

	if (r == NULL || s == NULL || vmm_get_paging(kc->vcpu, &l->paging) != 0)
		return (-1);
	l->kc = kc;
	l->rip = r->rip;
	l->csbase = s->cs.base;
	/* System accesses fetch code; user pages are as good to look at. */
	l->paging.cpl = 0;
	l->c = (struct soft_insn_ctx) {
		.gpr = { r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi,
		    r->rdi, r->r8, r->r9, r->r10, r->r11, r->r12, r->r13,
		    r->r14, r->r15 },
		.segbase = { s->es.base, s->cs.base, s->ss.base, s->ds.base,
		    s->fs.base, s->gs.base },
		.bits = s->cs.db ? 32 : 16,
	};
	if ((s->cr0 & CR0_PE) == 0 || (r->rflags & RFL_VM) != 0)
		l->c.bits = 16;
	else if ((s->efer & EFER_LMA) != 0 && s->cs.l)
		l->c.bits = 64;
	if (l->c.bits == 64) {
		l->csbase = 0;
		memset(l->c.segbase, 0, 4 * sizeof(l->c.segbase[0]));
	}
	return (0);
}

static bool
locate_gpa(struct locate *l, uint64_t lin, uint64_t *gpa)
{
	int fault;

	return (vmm_gla2gpa(l->kc->vcpu, &l->paging, lin, VM_PROT_READ, gpa,
		    &fault, false) == 0 &&
	    fault == 0);
}

/* Guest bytes at a linear address; returns how many are there. */
static unsigned
locate_bytes(struct locate *l, uint64_t lin, uint8_t *buf, unsigned n)
{
	uint64_t gpa;
	unsigned at, part;

	for (at = 0; at < n; at += part) {
		part = 4096 - (unsigned)((lin + at) & 4095);
		if (part > n - at)
			part = n - at;
		if (!locate_gpa(l, lin + at, &gpa) ||
		    vmm_gpa_read(l->kc->kv->vm, gpa, buf + at, part) != 0)
			break;
	}
	return (at);
}

/* The instruction (back) bytes before RIP: it ends there unless back is 0. */
static bool
locate_insn(struct locate *l, unsigned back, struct soft_insn_info *info)
{
	uint8_t bytes[INSN_MAX];
	uint64_t lin = l->csbase + l->rip - back;
	unsigned n = back != 0 ? back : INSN_MAX;

	if (l->c.bits != 64)
		lin = (uint32_t)lin;
	n = locate_bytes(l, lin, bytes, n);
	return (soft_insn_info(&l->c, lin, bytes, n, info) &&
	    (back == 0 || info->len == back));
}

static uint64_t
rep_count(const struct locate *l, const struct soft_insn_info *info)
{
	uint64_t rcx = l->c.gpr[1];

	return (info->asize == 2   ? (uint16_t)rcx
		: info->asize == 4 ? (uint32_t)rcx
				   : rcx);
}

static bool
is_the_io(const struct locate *l, const struct vm_inout *io,
    const struct soft_insn_info *info)
{
	enum soft_insn_kind plain = io->in ? SOFT_INSN_IN : SOFT_INSN_OUT;
	enum soft_insn_kind str = io->in ? SOFT_INSN_INS : SOFT_INSN_OUTS;
	uint16_t port;

	port = info->port < 0 ? (uint16_t)l->c.gpr[2] : (uint16_t)info->port;
	return ((info->kind == plain || info->kind == str) &&
	    info->size == io->bytes && port == io->port);
}

/* The instruction of an OUT that KVM has taken RIP past: the shortest. */
static bool
locate_io_behind(
    struct locate *l, const struct vm_inout *io, struct soft_insn_info *info)
{
	for (unsigned back = 1; back <= 4; back++)
		if (locate_insn(l, back, info) && is_the_io(l, io, info))
			return (true);
	return (false);
}

static bool
locate_io(
    struct locate *l, const struct vm_inout *io, struct soft_insn_info *info)
{
	struct soft_insn_info here;
	bool at;

	at = locate_insn(l, 0, &here) && is_the_io(l, io, &here);
	*info = here;
	if (io->in)
		return (at);
	/* An OUTS that goes on, or an OUT on the hardware's own path. */
	if (at &&
	    (here.rep ? rep_count(l, &here) != 0 : !l->kc->kv->interpreted))
		return (true);
	if (locate_io_behind(l, io, info)) {
		l->rip -= info->len;
		return (true);
	}
	*info = here;
	return (at);
}

static bool
locate_write(
    struct locate *l, const struct vm_mmio *m, struct soft_insn_info *info)
{
	struct soft_insn_info first;
	uint64_t gpa;
	unsigned found = 0;

	for (unsigned back = 1; back <= INSN_MAX; back++) {
		if (!locate_insn(l, back, info) || !info->mem ||
		    !locate_gpa(l, info->lin, &gpa) || gpa > m->gpa ||
		    m->gpa - gpa >= 64)
			continue;
		if (gpa == m->gpa && info->size == m->bytes) {
			first = *info;
			found = back;
			break;
		}
		if (found == 0) {
			first = *info;
			found = back;
		}
	}
	if (found == 0)
		return (false);
	*info = first;
	l->rip -= found;
	return (true);
}

static bool
locate_mmio(
    struct locate *l, const struct vm_mmio *m, struct soft_insn_info *info)
{
	if (!locate_insn(l, 0, info))
		return (false);
	if (m->read || (info->rep && rep_count(l, info) != 0))
		return (true);
	return (locate_write(l, m, info));
}

/* Where the access stands that owed_exit tells of; done once for each. */
void
kvm_locate_owed(struct kvm_vcpu *kc)
{
	struct vm_exit *vme = &kc->owed_exit;
	struct soft_insn_info info;
	struct locate l;
	bool found;

	if (kc->located || (kc->owed != OWED_INOUT && kc->owed != OWED_MMIO))
		return;
	kc->located = true;
	if (locate_init(&l, kc) != 0)
		return;
	found = kc->owed == OWED_INOUT ? locate_io(&l, &vme->u.inout, &info)
				       : locate_mmio(&l, &vme->u.mmio, &info);
	if (!found)
		return;
	vme->rip = l.c.bits == 64 ? l.rip : (uint32_t)l.rip;
	vme->inst_length = info.len;
	if (kc->owed == OWED_INOUT && info.string) {
		vme->exitcode = VM_EXITCODE_INOUT_STR;
		vme->u.inout.string = true;
		vme->u.inout.rep = info.rep;
	}
}

void
kvm_locate(void *vcpui, struct vm_exit *vme)
{
	struct kvm_vcpu *kc = vcpui;

	if (kc->owed != OWED_INOUT && kc->owed != OWED_MMIO)
		return;
	kvm_locate_owed(kc);
	*vme = kc->owed_exit;
}
