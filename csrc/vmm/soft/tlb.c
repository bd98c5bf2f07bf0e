/*
 * The software TLBs of a vCPU.  cpu->tlbs[] holds what the inline probe
 * needs; core->x[] holds the whole translation, also of pages that never
 * hit inline (devices, ROM, pages with code).  A flush touches only entries
 * in use: a bitmap per table tells which, global ones apart.
 */
#include <string.h>

#include "soft_core_local.h"

struct tlbe tlb_empty[TLB_SIZE];
static pthread_once_t tlb_once = PTHREAD_ONCE_INIT;

static void
tlb_init_table(struct tlbe *t)
{
	for (unsigned i = 0; i < TLB_SIZE; i++)
		t[i].rtag = t[i].wtag = TLB_BAD(i);
}

static void
tlb_init_empty(void)
{
	tlb_init_table(tlb_empty);
}

int
tlb_init(struct softcpu *cpu)
{
	struct soft_core *co = cpu->core;

	pthread_once(&tlb_once, tlb_init_empty);
	for (int k = 0; k < TLB_KINDS; k++) {
		tlb_init_table(cpu->tlbs[k]);
		for (unsigned i = 0; i < TLB_SIZE; i++)
			co->x[k][i].lin = ~0ull;
	}
	for (int u = 0; u < 2; u++)
		for (unsigned i = 0; i < ETLB_SIZE; i++)
			co->e[u][i].lin = ~0ull;
	cpu->tlb = cpu->tlbs[TLB_SUPER];
	return (0);
}

/* The table whose rights a privilege level has. */
int
tlb_kind(const struct softcpu *cpu, int cpl)
{
	if (cpl == 3)
		return (TLB_USER);
	if ((cpu->cr4 & CR4_SMAP_) && !(cpu->rfl & FL_AC))
		return (TLB_SMAP);
	return (TLB_SUPER);
}

static void
tlb_drop(struct softcpu *cpu, int kind, unsigned i)
{
	struct tlbe *t = &cpu->tlbs[kind][i];

	t->rtag = t->wtag = TLB_BAD(i);
	cpu->core->x[kind][i].lin = ~0ull;
	cpu->core->x[kind][i].fast = false;
}

static void
tlb_flush_half(struct softcpu *cpu, unsigned global)
{
	struct soft_core *co = cpu->core;
	uint64_t w, *f;

	for (int k = 0; k < TLB_KINDS; k++) {
		f = co->fill[k][global];
		for (unsigned i = 0; i < TLB_SIZE / 64; i++) {
			for (w = f[i]; w != 0; w &= w - 1)
				tlb_drop(cpu, k,
				    i * 64 + (unsigned)__builtin_ctzll(w));
			f[i] = 0;
		}
	}
	for (int u = 0; u < 2; u++) {
		f = co->efill[u][global];
		for (unsigned i = 0; i < ETLB_SIZE / 64; i++) {
			for (w = f[i]; w != 0; w &= w - 1)
				co->e[u][i * 64 + (unsigned)__builtin_ctzll(w)]
				    .lin = ~0ull;
			f[i] = 0;
		}
	}
}

void
tlb_flush_all(struct softcpu *cpu)
{
	struct soft_core *co = cpu->core;

	tlb_flush_half(cpu, 0);
	tlb_flush_half(cpu, 1);
	memset(co->big, 0, sizeof(co->big));
	co->huge = 0;
	co->st_tlbflush++;
}

void
soft_tlb_flush(struct softcpu *cpu, bool keep_global)
{
	if (keep_global) {
		tlb_flush_half(cpu, 0);
		cpu->core->st_tlbflush++;
	} else
		tlb_flush_all(cpu);
	jc_flush(cpu, keep_global);
}

/* Entries carry no PCID: leaving one drops all that is not global. */
void
soft_tlb_flush_pcid(struct softcpu *cpu, uint16_t pcid, bool all)
{
	(void)pcid;
	soft_tlb_flush(cpu, !all);
}

static unsigned
big_bit(uint64_t lin)
{
	return ((unsigned)(((lin >> 21) * 0x9e3779b97f4a7c15ull) >> 52));
}

static unsigned
huge_bit(uint64_t lin)
{
	return ((unsigned)(((lin >> 30) * 0x9e3779b97f4a7c15ull) >> 58));
}

/* Note that a large page stands behind 4 KiB entries of its region. */
static void
tlb_note_large(struct softcpu *cpu, uint64_t lin, uint64_t flags)
{
	struct soft_core *co = cpu->core;
	unsigned b;

	if (flags & WF_HUGE) {
		co->huge |= 1ull << huge_bit(lin);
		return;
	}
	b = big_bit(lin);
	co->big[b / 64] |= 1ull << (b % 64);
	if (!(cpu->cr4 & CR4_PAE_)) {
		b = big_bit(lin ^ (1u << 21));
		co->big[b / 64] |= 1ull << (b % 64);
	}
}

/* INVLPG: a page within a large one takes all of them along. */
void
soft_tlb_flush_page(struct softcpu *cpu, uint64_t lin)
{
	struct soft_core *co = cpu->core;
	uint64_t page = PAGE_BASE(lin);
	unsigned i = (unsigned)(lin >> PAGE_SHIFT) & (TLB_SIZE - 1);
	unsigned b = big_bit(lin);

	if ((co->big[b / 64] >> (b % 64) & 1) ||
	    (co->huge >> huge_bit(lin) & 1)) {
		soft_tlb_flush(cpu, false);
		return;
	}
	for (int k = 0; k < TLB_KINDS; k++)
		if (co->x[k][i].lin == page)
			tlb_drop(cpu, k, i);
	i = (unsigned)(lin >> PAGE_SHIFT) & (ETLB_SIZE - 1);
	for (int u = 0; u < 2; u++)
		if (co->e[u][i].lin == page)
			co->e[u][i].lin = ~0ull;
	jc_flush_page(cpu, lin);
}

/* No store to the physical page goes the fast way any more. */
void
tlb_drop_writes(struct softcpu *cpu, uint64_t gpa)
{
	struct soft_core *co = cpu->core;
	struct codepage *cp;
	uint64_t w;
	unsigned n;

	gpa = PAGE_BASE(gpa);
	for (int k = 0; k < TLB_KINDS; k++)
		for (unsigned i = 0; i < TLB_SIZE / 64; i++)
			for (w = co->fill[k][0][i] | co->fill[k][1][i]; w != 0;
			     w &= w - 1) {
				n = i * 64 + (unsigned)__builtin_ctzll(w);
				if (co->x[k][n].gpa != gpa || !co->x[k][n].fast)
					continue;
				co->x[k][n].fast = false;
				cpu->tlbs[k][n].wtag = TLB_BAD(n);
			}
	cp = cp_get(cpu->svm, gpa, false);
	if (cp != NULL)
		atomic_fetch_and(&cp->cp_writers, ~(1ull << cpu->vcpuid));
}

/* Set the write tag unless somebody decodes code of the page. */
static void
tlb_arm(struct softcpu *cpu, struct tlbe *t, struct tlbx *x)
{
	const uint64_t me = 1ull << cpu->vcpuid;
	struct codepage *cp;

	if (!cpu->svm->stepper) {
		cp = cp_get(cpu->svm, x->gpa, true);
		if (cp == NULL)
			return;
		if (!(atomic_load_explicit(
			  &cp->cp_writers, memory_order_relaxed) &
			me))
			atomic_fetch_or(&cp->cp_writers, me);
		if (atomic_load(&cp->cp_users) != 0)
			return;
	}
	x->fast = true;
	t->wtag = x->lin;
}

static void
tlb_fill(struct softcpu *cpu, int kind, uint64_t lin, bool write, uint64_t gpa,
    uint64_t flags)
{
	struct soft_core *co = cpu->core;
	unsigned i = (unsigned)(lin >> PAGE_SHIFT) & (TLB_SIZE - 1);
	struct tlbe *t = &cpu->tlbs[kind][i];
	struct tlbx *x = &co->x[kind][i];
	bool g = (flags & WF_GLOBAL) != 0;

	if (flags & (WF_BIG | WF_HUGE))
		tlb_note_large(cpu, lin, flags);
	t->rtag = t->wtag = TLB_BAD(i);
	x->lin = PAGE_BASE(lin);
	x->gpa = PAGE_BASE(gpa);
	x->read = true;
	x->write =
	    write || (flags & (WF_WRITE | WF_DIRTY)) == (WF_WRITE | WF_DIRTY);
	x->global = g;
	x->fast = false;
	x->hva = vmm_gpa2hva(cpu->vm, x->gpa, PAGE_SIZE, VM_PROT_WRITE);
	x->ram = x->hva != NULL;
	if (!x->ram)
		x->hva = vmm_gpa2hva(cpu->vm, x->gpa, PAGE_SIZE, VM_PROT_READ);
	co->fill[kind][g][i / 64] |= 1ull << (i % 64);
	co->fill[kind][!g][i / 64] &= ~(1ull << (i % 64));
	t->gpa = x->gpa;
	if (x->hva == NULL)
		return;
	t->addend = (uint64_t)(uintptr_t)x->hva - x->lin;
	t->rtag = x->lin;
	if (x->write && x->ram)
		tlb_arm(cpu, t, x);
}

uint32_t
tlb_data(struct softcpu *cpu, int kind, uint64_t lin, bool write,
    const struct tlbx **xp)
{
	unsigned i = (unsigned)(lin >> PAGE_SHIFT) & (TLB_SIZE - 1);
	struct tlbx *x = &cpu->core->x[kind][i];
	uint64_t gpa, flags;
	uint32_t err;

	*xp = x;
	if (x->lin == PAGE_BASE(lin) && (write ? x->write : x->read)) {
		if (write && x->ram && !x->fast)
			tlb_arm(cpu, &cpu->tlbs[kind][i], x);
		return (0);
	}
	err = mmu_walk(
	    cpu, lin, write ? MMU_WRITE : MMU_READ, kind, true, &gpa, &flags);
	if (err != 0) {
		/* A fault drops what the TLB holds for the address. */
		if (x->lin == PAGE_BASE(lin))
			tlb_drop(cpu, kind, i);
		return (err);
	}
	tlb_fill(cpu, kind, lin, write, gpa, flags);
	return (0);
}

uint32_t
tlb_exec(struct softcpu *cpu, uint64_t lin, const struct etlbe **ep)
{
	struct soft_core *co = cpu->core;
	unsigned i = (unsigned)(lin >> PAGE_SHIFT) & (ETLB_SIZE - 1);
	unsigned user = cpu->cpl == 3, g;
	struct etlbe *e = &co->e[user][i];
	uint64_t gpa, flags;
	uint32_t err;

	*ep = e;
	if (likely(e->lin == PAGE_BASE(lin)))
		return (0);
	err = mmu_walk(cpu, lin, MMU_EXEC, user ? TLB_USER : TLB_SUPER, true,
	    &gpa, &flags);
	if (err != 0)
		return (err);
	if (flags & (WF_BIG | WF_HUGE))
		tlb_note_large(cpu, lin, flags);
	g = (flags & WF_GLOBAL) != 0;
	e->lin = PAGE_BASE(lin);
	e->gpa = PAGE_BASE(gpa);
	e->global = g;
	e->hva = vmm_gpa2hva(cpu->vm, e->gpa, PAGE_SIZE, VM_PROT_READ);
	co->efill[user][g][i / 64] |= 1ull << (i % 64);
	co->efill[user][!g][i / 64] &= ~(1ull << (i % 64));
	return (0);
}
