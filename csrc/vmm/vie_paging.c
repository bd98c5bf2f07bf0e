/*
 * The walk from a linear to a guest-physical address through the guest's own
 * tables, for everybody but the software processor's TLB: debuggers, the
 * copying functions of libvmmapi, string I/O.
 */
#include <errno.h>
#include <string.h>

#include "vmm_local.h"

#define PG_P 0x001u
#define PG_RW 0x002u
#define PG_U 0x004u
#define PG_A 0x020u
#define PG_D 0x040u
#define PG_PS 0x080u
#define PG_NX (1UL << 63)
#define PG_FRAME 0x000ffffffffff000UL

#define PGEX_P 0x01u
#define PGEX_W 0x02u
#define PGEX_U 0x04u
#define PGEX_RSV 0x08u
#define PGEX_I 0x10u

#define IDT_GP 13
#define IDT_PF 14

#define CR0_PE 0x1u
#define CR0_WP 0x10000u
#define CR0_PG 0x80000000u
#define CR4_PSE 0x10u
#define CR4_PAE 0x20u
#define CR4_LA57 0x1000u
#define CR4_SMEP 0x100000u
#define CR4_SMAP 0x200000u
#define EFER_LMA 0x400u
#define EFER_NXE 0x800u
#define PSL_AC 0x40000u

struct walk {
	struct vcpu *vcpu;
	const struct vm_guest_paging *paging;
	uint64_t cr0, cr4, efer, rflags;
	uint64_t gla;
	int prot;
	bool user, wp, check_only;
	bool inject;
	/* What all levels together allow. */
	bool can_user, can_write, can_exec;
	uint64_t gpa;
};

/* Outcomes of a step. */
enum { WALK_OK = 0, WALK_FAULT = -1, WALK_AGAIN = -2 };

/* CR2 stays with an exception that waits already: EBUSY then. */
static int
fault(struct walk *w, int vector, uint32_t code)
{
	int error;

	if (!w->inject)
		return (WALK_FAULT);
	error = vmm_inject_exception(w->vcpu, vector, true, code, true);
	if (error == 0 && vector == IDT_PF)
		error = vmm_set_register(w->vcpu, VM_REG_GUEST_CR2, w->gla);
	return (error != 0 ? error : WALK_FAULT);
}

static int
page_fault(struct walk *w, uint32_t why)
{
	uint32_t code = why;

	if ((w->prot & VM_PROT_WRITE) != 0)
		code |= PGEX_W;
	if (w->user)
		code |= PGEX_U;
	/* Told apart only where fetches can be forbidden. */
	if ((w->prot & VM_PROT_EXEC) != 0 &&
	    ((w->efer & EFER_NXE) != 0 || (w->cr4 & CR4_SMEP) != 0))
		code |= PGEX_I;
	return (fault(w, IDT_PF, code));
}

static void
account(struct walk *w, uint64_t pte)
{
	if ((pte & PG_U) == 0)
		w->can_user = false;
	if ((pte & PG_RW) == 0)
		w->can_write = false;
	if ((pte & PG_NX) != 0 && (w->efer & EFER_NXE) != 0)
		w->can_exec = false;
}

static bool
permitted(const struct walk *w)
{
	if (w->user && !w->can_user)
		return (false);
	if ((w->prot & VM_PROT_WRITE) != 0 && !w->can_write &&
	    (w->user || w->wp))
		return (false);
	if ((w->prot & VM_PROT_EXEC) != 0)
		return (w->can_exec &&
		    (w->user || !w->can_user || (w->cr4 & CR4_SMEP) == 0));
	/* Explicit supervisor accesses to user pages want AC. */
	return (w->user || !w->can_user || (w->cr4 & CR4_SMAP) == 0 ||
	    (w->rflags & PSL_AC) != 0);
}

/* Sets accessed (and dirty) bits; AGAIN when the entry changed meanwhile. */
static int
mark(struct walk *w, void *ptep, int size, uint64_t pte, uint64_t bits)
{
	uint32_t old32 = (uint32_t)pte;

	if (w->check_only || (pte & bits) == bits)
		return (WALK_OK);
	if (size == 4)
		return (__atomic_compare_exchange_n((uint32_t *)ptep, &old32,
			    old32 | (uint32_t)bits, false, __ATOMIC_SEQ_CST,
			    __ATOMIC_SEQ_CST)
			? WALK_OK
			: WALK_AGAIN);
	return (__atomic_compare_exchange_n((uint64_t *)ptep, &pte, pte | bits,
		    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
		? WALK_OK
		: WALK_AGAIN);
}

/* The last entry was found: check, mark, and make the address. */
static int
leaf(struct walk *w, void *ptep, int size, uint64_t pte, uint64_t frame,
    int shift)
{
	uint64_t offmask = (1UL << shift) - 1;

	if (!permitted(w))
		return (page_fault(w, PGEX_P));
	w->gpa = (frame & ~offmask) | (w->gla & offmask);
	return (mark(w, ptep, size, pte,
	    PG_A | ((w->prot & VM_PROT_WRITE) != 0 ? PG_D : 0)));
}

static int
walk_32(struct walk *w)
{
	uint64_t table = w->paging->cr3 & 0xfffff000;
	uint32_t *ptep, pte;
	uint64_t frame;
	int rc;

	for (int shift = 22;; shift -= 10) {
		ptep = vmm_gpa2hva(w->vcpu->vm,
		    table + ((w->gla >> shift) & 0x3ff) * 4, 4, VM_PROT_READ);
		if (ptep == NULL)
			return (EFAULT);
		pte = __atomic_load_n(ptep, __ATOMIC_RELAXED);
		if ((pte & PG_P) == 0)
			return (page_fault(w, 0));
		account(w, pte);
		if (shift == 12)
			return (leaf(w, ptep, 4, pte, pte & 0xfffff000, 12));
		if ((pte & PG_PS) != 0 && (w->cr4 & CR4_PSE) != 0) {
			/* PSE-36: bits 20:13 are bits 39:32 of the frame. */
			frame = (pte & 0xffc00000) |
			    (uint64_t)(pte & 0x1fe000) << 19;
			if ((pte & 0x200000) != 0)
				return (page_fault(w, PGEX_P | PGEX_RSV));
			return (leaf(w, ptep, 4, pte, frame, 22));
		}
		if ((rc = mark(w, ptep, 4, pte, PG_A)) != WALK_OK)
			return (rc);
		table = pte & 0xfffff000;
	}
}

/* PAE, 4 and 5 levels: entries of 8 bytes, 9 bits of the address each. */
static int
walk_64(struct walk *w, int shift, uint64_t table)
{
	bool pae = w->paging->paging_mode == PAGING_MODE_PAE;
	uint64_t *ptep, pte, rsvd;
	int rc;

	for (;; shift -= 9) {
		ptep = vmm_gpa2hva(w->vcpu->vm,
		    table + ((w->gla >> shift) & 0x1ff) * 8, 8, VM_PROT_READ);
		if (ptep == NULL)
			return (EFAULT);
		pte = __atomic_load_n(ptep, __ATOMIC_RELAXED);
		if ((pte & PG_P) == 0)
			return (page_fault(w, 0));
		/* The four pointers of PAE carry no permissions. */
		if (pae && shift == 30) {
			table = pte & PG_FRAME;
			continue;
		}
		rsvd = (w->efer & EFER_NXE) == 0 ? PG_NX : 0;
		if (shift >= 39)
			rsvd |= PG_PS;
		else if (shift > 12 && (pte & PG_PS) != 0)
			rsvd |= ((1UL << shift) - 1) & PG_FRAME & ~0x1000UL;
		if ((pte & rsvd) != 0)
			return (page_fault(w, PGEX_P | PGEX_RSV));
		account(w, pte);
		if (shift == 12 || (pte & PG_PS) != 0)
			return (leaf(w, ptep, 8, pte, pte & PG_FRAME, shift));
		if ((rc = mark(w, ptep, 8, pte, PG_A)) != WALK_OK)
			return (rc);
		table = pte & PG_FRAME;
	}
}

static bool
canonical(uint64_t gla, int bits)
{
	int64_t top = (int64_t)gla >> (bits - 1);

	return (top == 0 || top == -1);
}

static int
walk(struct walk *w)
{
	const struct vm_guest_paging *paging = w->paging;
	int bits;

	w->can_user = w->can_write = w->can_exec = true;
	switch (paging->paging_mode) {
	case PAGING_MODE_FLAT:
		w->gpa = w->gla;
		return (WALK_OK);
	case PAGING_MODE_32:
		return (walk_32(w));
	case PAGING_MODE_PAE:
		w->gla &= UINT32_MAX;
		return (walk_64(w, 30, paging->cr3 & 0xffffffe0));
	case PAGING_MODE_64:
	case PAGING_MODE_64_LA57:
		bits = paging->paging_mode == PAGING_MODE_64 ? 48 : 57;
		if (!canonical(w->gla, bits))
			return (fault(w, IDT_GP, 0));
		return (walk_64(w, bits - 9, paging->cr3 & PG_FRAME));
	default:
		return (EINVAL);
	}
}

/* The caller holds the vCPU frozen, or runs it. */
int
vmm_gla2gpa(struct vcpu *vcpu, const struct vm_guest_paging *paging,
    uint64_t gla, int prot, uint64_t *gpa, int *is_fault, bool inject)
{
	struct walk w = { .vcpu = vcpu,
		.paging = paging,
		.gla = gla,
		.prot = prot,
		.user = paging->cpl == 3,
		.inject = inject,
		.check_only = !inject };
	int rc, tries = 0;

	*is_fault = 0;
	vmm_get_register(vcpu, VM_REG_GUEST_CR0, &w.cr0);
	vmm_get_register(vcpu, VM_REG_GUEST_CR4, &w.cr4);
	vmm_get_register(vcpu, VM_REG_GUEST_EFER, &w.efer);
	vmm_get_register(vcpu, VM_REG_GUEST_RFLAGS, &w.rflags);
	w.wp = (w.cr0 & CR0_WP) != 0;
	/* Another processor that keeps changing the entry cannot hold us. */
	do
		rc = walk(&w);
	while (rc == WALK_AGAIN && ++tries < 1000);
	if (rc == WALK_FAULT) {
		*is_fault = 1;
		return (0);
	}
	if (rc == WALK_AGAIN)
		return (EAGAIN);
	if (rc == WALK_OK)
		*gpa = w.gpa;
	return (rc);
}

/* How the vCPU translates now, from its registers. */
int
vmm_get_paging(struct vcpu *vcpu, struct vm_guest_paging *paging)
{
	uint64_t cr0 = 0, cr4 = 0, efer = 0;
	struct seg_desc cs, ss;
	bool lma;
	int error;

	memset(paging, 0, sizeof(*paging));
	if ((error = vmm_get_register(vcpu, VM_REG_GUEST_CR0, &cr0)) != 0 ||
	    (error = vmm_get_register(vcpu, VM_REG_GUEST_CR4, &cr4)) != 0 ||
	    (error = vmm_get_register(vcpu, VM_REG_GUEST_EFER, &efer)) != 0 ||
	    (error = vmm_get_register(vcpu, VM_REG_GUEST_CR3, &paging->cr3)) !=
		0 ||
	    (error = vmm_get_seg_desc(vcpu, VM_REG_GUEST_CS, &cs)) != 0 ||
	    (error = vmm_get_seg_desc(vcpu, VM_REG_GUEST_SS, &ss)) != 0)
		return (error);
	lma = (efer & EFER_LMA) != 0;
	paging->cpl = (cr0 & CR0_PE) != 0 ? SEG_DESC_DPL(ss.access) : 0;
	if ((cr0 & CR0_PE) == 0)
		paging->cpu_mode = CPU_MODE_REAL;
	else if (!lma)
		paging->cpu_mode = CPU_MODE_PROTECTED;
	else
		paging->cpu_mode = SEG_DESC_L(cs.access)
		    ? CPU_MODE_64BIT
		    : CPU_MODE_COMPATIBILITY;
	if ((cr0 & CR0_PG) == 0)
		paging->paging_mode = PAGING_MODE_FLAT;
	else if ((cr4 & CR4_PAE) == 0)
		paging->paging_mode = PAGING_MODE_32;
	else if (!lma)
		paging->paging_mode = PAGING_MODE_PAE;
	else
		paging->paging_mode = (cr4 & CR4_LA57) != 0
		    ? PAGING_MODE_64_LA57
		    : PAGING_MODE_64;
	return (0);
}
