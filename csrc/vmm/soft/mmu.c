/*
 * The guest's page tables: 32-bit, PAE and 4-level walks with their
 * permissions, reserved bits, error codes, and accessed and dirty bits set by
 * compare-and-swap on the guest's own tables.
 */
#include "soft_core_local.h"

#define PTE_P 0x1ull
#define PTE_W 0x2ull
#define PTE_U 0x4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_G 0x100ull
#define PTE_NX (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

/* One entry that the walk used. */
struct step {
	void *hva; /* NULL: not memory */
	uint64_t gpa;
	uint64_t val;
};

struct walk {
	struct softcpu *cpu;
	uint64_t lin;
	int access, kind;
	bool pae, nxe;
	struct step step[4];
	int n;
	uint64_t rw, user, nx; /* accumulated over the levels */
	unsigned shift;	       /* of the leaf */
	uint64_t leaf;
};

static void
mmu_ask_widths(struct softcpu *cpu)
{
	uint32_t eax, ebx, ecx, edx;
	int bits;

	eax = 0x80000008;
	ebx = ecx = edx = 0;
	x86_emulate_cpuid(cpu->vcpu, &eax, &ebx, &ecx, &edx);
	bits = (int)(eax & 0xff);
	cpu->core->physbits = bits < 36 ? 36 : bits > 52 ? 52 : bits;
	eax = 0x80000001;
	ebx = ecx = edx = 0;
	x86_emulate_cpuid(cpu->vcpu, &eax, &ebx, &ecx, &edx);
	cpu->core->gbpages = (edx >> 26 & 1) != 0;
}

/* Address bits above the guest's MAXPHYADDR are reserved in entries. */
static uint64_t
mmu_rsvd_addr(struct softcpu *cpu)
{
	if (cpu->core->physbits == 0)
		mmu_ask_widths(cpu);
	if (cpu->core->physbits >= 52)
		return (0);
	return (PTE_ADDR & ~((1ull << cpu->core->physbits) - 1));
}

/* Read an entry; outside of memory nothing is present. */
static uint64_t
mmu_entry(struct walk *w, uint64_t gpa)
{
	struct step *s = &w->step[w->n++];

	s->gpa = gpa;
	s->hva = vmm_gpa2hva(w->cpu->vm, gpa, w->pae ? 8 : 4, VM_PROT_READ);
	if (s->hva == NULL)
		s->val = 0;
	else if (w->pae)
		s->val = *(volatile uint64_t *)s->hva;
	else
		s->val = *(volatile uint32_t *)s->hva;
	return (s->val);
}

static void
mmu_accumulate(struct walk *w, uint64_t e)
{
	w->rw &= e;
	w->user &= e;
	w->nx |= e;
}

static uint32_t
mmu_err(const struct walk *w, uint32_t err)
{
	if (w->access == MMU_WRITE)
		err |= PF_W;
	if (w->kind == TLB_USER)
		err |= PF_U;
	if (w->access == MMU_EXEC &&
	    ((w->nxe && w->pae) || (w->cpu->cr4 & CR4_SMEP_)))
		err |= PF_I;
	return (err | WALK_FAULT);
}

/* Levels of PAE and 4-level tables from the one at (table) down. */
static uint32_t
mmu_walk_pae(struct walk *w, uint64_t table, int level)
{
	uint64_t e, rsvd, idx;
	unsigned shift;

	rsvd = mmu_rsvd_addr(w->cpu);
	if (!w->nxe)
		rsvd |= PTE_NX;
	if (!(w->cpu->efer & EFER_LMA_))
		rsvd |= 0x7ff0000000000000ull;
	for (;; level--) {
		shift = 12 + 9 * (unsigned)(level - 1);
		idx = (w->lin >> shift) & 511;
		e = mmu_entry(w, table + idx * 8);
		if (!(e & PTE_P))
			return (mmu_err(w, 0));
		if (e & rsvd)
			return (mmu_err(w, PF_P | PF_RSVD));
		mmu_accumulate(w, e);
		if (level == 1)
			break;
		if (e & PTE_PS) {
			if (level == 4 ||
			    (level == 3 && !w->cpu->core->gbpages))
				return (mmu_err(w, PF_P | PF_RSVD));
			if (e & ((1ull << shift) - 1) & ~0x1fffull)
				return (mmu_err(w, PF_P | PF_RSVD));
			break;
		}
		table = e & PTE_ADDR;
	}
	w->shift = shift;
	w->leaf = e & PTE_ADDR & ~((1ull << shift) - 1);
	return (0);
}

/* 32-bit tables, with 4 MiB pages and PSE-36 under CR4.PSE. */
static uint32_t
mmu_walk_32(struct walk *w)
{
	uint64_t e, hi;
	int extra;

	e = mmu_entry(
	    w, (w->cpu->cr3 & 0xfffff000) + ((w->lin >> 22) & 1023) * 4);
	if (!(e & PTE_P))
		return (mmu_err(w, 0));
	mmu_accumulate(w, e);
	if ((e & PTE_PS) && (w->cpu->cr4 & CR4_PSE_)) {
		mmu_rsvd_addr(w->cpu);
		extra = w->cpu->core->physbits - 32;
		if (extra > 8)
			extra = 8;
		hi = (e >> 13) & 0xff;
		if ((e & (1u << 21)) || (hi >> extra) != 0)
			return (mmu_err(w, PF_P | PF_RSVD));
		w->shift = 22;
		w->leaf = (e & 0xffc00000) | (hi << 32);
		return (0);
	}
	e = mmu_entry(w, (e & 0xfffff000) + ((w->lin >> 12) & 1023) * 4);
	if (!(e & PTE_P))
		return (mmu_err(w, 0));
	mmu_accumulate(w, e);
	w->shift = 12;
	w->leaf = e & 0xfffff000;
	return (0);
}

static uint32_t
mmu_rights(const struct walk *w)
{
	const struct softcpu *cpu = w->cpu;
	bool user = (w->user & PTE_U) != 0;
	bool bad = false;

	if (w->kind == TLB_USER) {
		bad = !user || (w->access == MMU_WRITE && !(w->rw & PTE_W));
	} else {
		if (w->access == MMU_EXEC)
			bad = user && (cpu->cr4 & CR4_SMEP_) != 0;
		else if (user && w->kind == TLB_SMAP)
			bad = true;
		if (w->access == MMU_WRITE && !(w->rw & PTE_W) &&
		    (cpu->cr0 & CR0_WP_))
			bad = true;
	}
	if (w->access == MMU_EXEC && w->pae && w->nxe && (w->nx & PTE_NX))
		bad = true;
	return (bad ? mmu_err(w, PF_P) : 0);
}

/*
 * Set A on every entry used, and D on the leaf of a write.  False: an entry
 * changed meanwhile, walk again.
 */
static bool
mmu_set_ad(struct walk *w)
{
	struct step *s;
	uint64_t want;
	uint32_t v32;
	bool ok;

	for (int i = 0; i < w->n; i++) {
		s = &w->step[i];
		want = PTE_A;
		if (i == w->n - 1 && w->access == MMU_WRITE)
			want |= PTE_D;
		if ((s->val & want) == want || s->hva == NULL)
			continue;
		if (vmm_gpa2hva(w->cpu->vm, s->gpa, w->pae ? 8 : 4,
			VM_PROT_WRITE) == NULL)
			continue;
		if (w->pae)
			ok = __atomic_compare_exchange_n((uint64_t *)s->hva,
			    &s->val, s->val | want, false, __ATOMIC_SEQ_CST,
			    __ATOMIC_SEQ_CST);
		else {
			v32 = (uint32_t)s->val;
			ok = __atomic_compare_exchange_n((uint32_t *)s->hva,
			    &v32, v32 | (uint32_t)want, false, __ATOMIC_SEQ_CST,
			    __ATOMIC_SEQ_CST);
		}
		if (!ok)
			return (false);
		code_written(w->cpu->svm, w->cpu, s->gpa, w->pae ? 8 : 4);
		s->val |= want;
	}
	return (true);
}

/*
 * Translate (lin) for an access (MMU_*) with the rights of a TLB kind.
 * Returns 0, *gpa and *flags (WF_*), or the #PF error code | WALK_FAULT.
 */
uint32_t
mmu_walk(struct softcpu *cpu, uint64_t lin, int access, int kind,
    bool update_ad, uint64_t *gpa, uint64_t *flags)
{
	struct walk w;
	uint64_t pdpte;
	uint32_t err;

	cpu->core->st_walk++;
	if (!(cpu->cr0 & CR0_PG_)) {
		*gpa = (uint32_t)lin;
		*flags = WF_WRITE | WF_USER | WF_DIRTY;
		return (0);
	}
	for (int try = 0;; try++) {
		w = (struct walk) { .cpu = cpu,
			.lin = lin,
			.access = access,
			.kind = kind,
			.rw = ~0ull,
			.user = ~0ull };
		w.pae = (cpu->cr4 & CR4_PAE_) != 0;
		w.nxe = (cpu->efer & EFER_NXE_) != 0;
		if (cpu->efer & EFER_LMA_)
			err = mmu_walk_pae(&w, cpu->cr3 & PTE_ADDR, 4);
		else if (w.pae) {
			pdpte = cpu->pdpte[(lin >> 30) & 3];
			err = (pdpte & PTE_P)
			    ? mmu_walk_pae(&w, pdpte & PTE_ADDR, 2)
			    : mmu_err(&w, 0);
		} else
			err = mmu_walk_32(&w);
		if (err == 0)
			err = mmu_rights(&w);
		if (err != 0)
			return (err);
		/* A guest that never stops writing its tables gets what the
		 * last walk saw. */
		if (!update_ad || mmu_set_ad(&w) || try == 64)
			break;
	}
	*gpa = w.leaf | (lin & ((1ull << w.shift) - 1));
	*flags = 0;
	if ((w.rw & PTE_W) || (kind != TLB_USER && !(cpu->cr0 & CR0_WP_)))
		*flags |= WF_WRITE;
	if (w.user & PTE_U)
		*flags |= WF_USER;
	if (w.step[w.n - 1].val & PTE_D)
		*flags |= WF_DIRTY;
	if ((w.step[w.n - 1].val & PTE_G) && (cpu->cr4 & CR4_PGE_))
		*flags |= WF_GLOBAL;
	if (w.shift == 30)
		*flags |= WF_HUGE;
	else if (w.shift > 12)
		*flags |= WF_BIG;
	return (0);
}

uint32_t
soft_walk(struct softcpu *cpu, uint64_t lin, int access, bool user,
    bool update_ad, uint64_t *gpa, uint64_t *page_flags)
{
	uint64_t flags;

	return (mmu_walk(cpu, lin, access, user ? TLB_USER : TLB_SUPER,
	    update_ad, gpa, page_flags != NULL ? page_flags : &flags));
}

/* Read the four PDPTEs of PAE paging; reserved bits are #GP. */
bool
soft_load_pdptes(struct softcpu *cpu, uint64_t cr3)
{
	uint64_t pd[4], rsvd;

	rsvd = mmu_rsvd_addr(cpu) | 0xfff00000000001e6ull;
	for (unsigned i = 0; i < 4; i++) {
		void *p = vmm_gpa2hva(
		    cpu->vm, (cr3 & 0xffffffe0) + i * 8, 8, VM_PROT_READ);

		pd[i] = p == NULL ? 0 : *(volatile uint64_t *)p;
		if ((pd[i] & PTE_P) && (pd[i] & rsvd))
			return (false);
	}
	for (unsigned i = 0; i < 4; i++)
		cpu->pdpte[i] = pd[i];
	return (true);
}
