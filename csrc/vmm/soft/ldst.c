/*
 * Memory accesses that the inline TLB probe does not answer: page crossing,
 * first touch, devices, ROM, pages with code, alignment checks, watchpoints,
 * and system accesses (descriptor tables, TSS, interrupt frames).
 *
 * Locked operations on plain memory are host atomics.  Where no host atomic
 * fits (a page boundary that is not contiguous in the host, a page with
 * code, a device) the VM-wide lock of soft_lock_begin() stands in: it orders
 * such operations among each other and with stores to pages with code; it
 * does not order them with plain or locked accesses that hit the TLB.
 */
#include <string.h>

#include "soft_core_local.h"
#include "vmm_stat.h"

/* A memory access in the making. */
struct acc {
	struct softcpu *cpu;
	const struct insn *in; /* NULL: a system access */
	uint64_t lin;
	int kind; /* TLB_* */
	unsigned size;
	bool write;
	bool wide;	     /* 64-bit linear addresses */
	struct tlbx part[2]; /* copies */
	unsigned len[2];     /* bytes in each page; len[1] may be 0 */
};

static bool
acc_fault(const struct acc *a, int vec, uint32_t err)
{
	if (a->in != NULL)
		soft_fault_err(a->cpu, a->in, vec, err);
	else
		soft_raise_err(a->cpu, vec, err);
	return (false);
}

static bool
acc_page_fault(const struct acc *a, uint64_t lin, uint32_t err)
{
	a->cpu->cr2 = lin;
	return (acc_fault(a, X_PF, err & ~WALK_FAULT));
}

static bool
acc_alignment_bad(const struct acc *a)
{
	const struct softcpu *cpu = a->cpu;

	return (a->kind == TLB_USER && a->in != NULL && cpu->cpl == 3 &&
	    (cpu->rfl & FL_AC) && (cpu->cr0 & CR0_AM_) && a->size <= 8 &&
	    (a->size & (a->size - 1)) == 0 && (a->lin & (a->size - 1)) != 0);
}

/* Check and translate; false: a fault is recorded. */
static bool
acc_translate(struct acc *a)
{
	struct softcpu *cpu = a->cpu;
	const struct tlbx *x;
	uint64_t lin2;
	uint32_t err;

	if (!a->wide)
		a->lin = (uint32_t)a->lin;
	else if (unlikely(!soft_canonical(a->lin) ||
		     !soft_canonical(a->lin + a->size - 1)))
		return (acc_fault(a,
		    a->in != NULL && (a->in->flags & IN_SS) ? X_SS : X_GP, 0));
	if (unlikely(acc_alignment_bad(a)))
		return (acc_fault(a, X_AC, 0));
	a->len[0] = (unsigned)(PAGE_SIZE - PAGE_OFF(a->lin));
	if (a->len[0] > a->size)
		a->len[0] = a->size;
	a->len[1] = a->size - a->len[0];
	err = tlb_data(cpu, a->kind, a->lin, a->write, &x);
	if (unlikely(err != 0))
		return (acc_page_fault(a, a->lin, err));
	a->part[0] = *x;
	if (unlikely(a->len[1] != 0)) {
		lin2 = PAGE_BASE(a->lin) + PAGE_SIZE;
		if (!a->wide)
			lin2 = (uint32_t)lin2;
		err = tlb_data(cpu, a->kind, lin2, a->write, &x);
		if (err != 0)
			return (acc_page_fault(a, lin2, err));
		a->part[1] = *x;
	}
	if (unlikely(cpu->dr7_active) && a->in != NULL)
		soft_check_data_bp(cpu, a->lin, (int)a->size, a->write);
	return (true);
}

/* One host move where there is one of that width. */
static void
ram_copy(void *dst, const void *src, unsigned n)
{
	switch (n) {
	case 1:
		*(volatile uint8_t *)dst = *(const volatile uint8_t *)src;
		break;
	case 2:
		*(volatile u16a *)dst = *(const volatile u16a *)src;
		break;
	case 4:
		*(volatile u32a *)dst = *(const volatile u32a *)src;
		break;
	case 8:
		*(volatile u64a *)dst = *(const volatile u64a *)src;
		break;
	default:
		memcpy(dst, src, n);
		break;
	}
}

/*
 * The next device access of the running instruction: an entry of the replay
 * list, done or new.  NULL: too many, the exit is filled.
 */
struct soft_io *
soft_io_get(struct softcpu *cpu, const struct insn *in, bool port, bool write,
    uint64_t addr, int bytes)
{
	struct soft_io *io;

	if (cpu->io_next >= SOFT_IO_MAX) {
		cpu->rip = soft_rip(cpu, in);
		cpu->stop = STOP_EXIT;
		memset(cpu->vme, 0, sizeof(*cpu->vme));
		cpu->vme->exitcode = VM_EXITCODE_INST_EMUL;
		cpu->vme->rip = cpu->rip;
		cpu->vme->u.inst_emul.gpa = addr;
		cpu->io_count = cpu->io_next = 0;
		return (NULL);
	}
	io = &cpu->io[cpu->io_next];
	if (cpu->io_next < cpu->io_count && io->port == port &&
	    io->write == write && io->addr == addr && io->bytes == bytes)
		return (io);
	/* New, or the instruction takes another way than last time. */
	cpu->io_count = (uint16_t)(cpu->io_next + 1);
	io->done = false;
	io->port = port;
	io->write = write;
	io->addr = addr;
	io->bytes = (uint8_t)bytes;
	io->data = 0;
	return (io);
}

static void
mmio_exit(struct softcpu *cpu, const struct insn *in, uint64_t gpa, bool write,
    uint64_t data, int bytes)
{
	struct vm_exit *vme = cpu->vme;

	cpu->rip = soft_rip(cpu, in);
	cpu->stop = STOP_EXIT;
	cpu->core->exit_len = in->len;
	cpu->core->io_rip = cpu->rip;
	memset(vme, 0, sizeof(*vme));
	vme->exitcode = VM_EXITCODE_MMIO;
	vme->inst_length = in->len;
	vme->rip = cpu->rip;
	vme->u.mmio.bytes = (uint8_t)bytes;
	vme->u.mmio.read = !write;
	vme->u.mmio.gpa = gpa;
	vme->u.mmio.data = write ? data : 0;
}

/*
 * An access of at most 8 bytes that is not memory.  The instruction runs
 * alone then (MODE_TF), so that what it did to devices is known when it has
 * to be run again.  False: it stops.
 */
bool
soft_mmio(struct softcpu *cpu, const struct insn *in, uint64_t gpa, bool write,
    uint64_t *data, int bytes)
{
	struct soft_io *io;

	if (in == NULL) {
		/* Tables in device space: chips answer, others float. */
		if (!vmm_handle_mmio(cpu->vcpu, gpa, write, data, bytes) &&
		    !write)
			*data = ~0ull;
		return (true);
	}
	if (!(cpu->mode & MODE_TF)) {
		cpu->rip = soft_rip(cpu, in);
		cpu->stop = STOP_RETRY;
		cpu->core->want_step = true;
		return (false);
	}
	io = soft_io_get(cpu, in, false, write, gpa, bytes);
	if (io == NULL)
		return (false);
	if (!io->done) {
		if (write)
			io->data = *data;
		vmm_stat_incr(cpu->vcpu, VMEXIT_INST_EMUL, 1);
		if (!vmm_handle_mmio(cpu->vcpu, gpa, write, &io->data, bytes)) {
			mmio_exit(cpu, in, gpa, write, io->data, bytes);
			return (false);
		}
		vmm_stat_incr(cpu->vcpu, VMEXIT_COUNT, 1);
		io->done = true;
		cpu->core->ev_pending = true;
	}
	cpu->io_next++;
	if (!write)
		*data = io->data;
	return (true);
}

static bool
part_mmio(const struct acc *a, unsigned i, uint8_t *buf)
{
	uint64_t gpa, data;
	unsigned n;

	gpa = a->part[i].gpa | (i == 0 ? PAGE_OFF(a->lin) : 0);
	for (unsigned at = 0; at < a->len[i]; at += n) {
		n = a->len[i] - at;
		if (n > 8)
			n = 8;
		data = 0;
		if (a->write)
			memcpy(&data, buf + at, n);
		if (!soft_mmio(
			a->cpu, a->in, gpa + at, a->write, &data, (int)n))
			return (false);
		if (!a->write)
			memcpy(buf + at, &data, n);
	}
	return (true);
}

static void
part_store(const struct acc *a, unsigned i, const uint8_t *buf)
{
	const struct tlbx *x = &a->part[i];
	uint64_t off = i == 0 ? PAGE_OFF(a->lin) : 0;

	if (x->fast) {
		ram_copy(x->hva + off, buf, a->len[i]);
		return;
	}
	soft_lock_begin(a->cpu);
	ram_copy(x->hva + off, buf, a->len[i]);
	soft_lock_end(a->cpu);
	code_written(a->cpu->svm, a->cpu, x->gpa + off, a->len[i]);
}

static bool
acc_load(struct acc *a, void *val)
{
	uint8_t *buf = val;

	if (!acc_translate(a))
		return (false);
	for (unsigned i = 0; i < 2; i++) {
		if (a->len[i] == 0)
			break;
		if (a->part[i].hva != NULL)
			ram_copy(buf,
			    a->part[i].hva + (i == 0 ? PAGE_OFF(a->lin) : 0),
			    a->len[i]);
		else if (!part_mmio(a, i, buf))
			return (false);
		buf += a->len[0];
	}
	return (true);
}

/* Devices first: they may stop the instruction, memory does not. */
static bool
acc_store(struct acc *a, const void *val)
{
	uint8_t buf[512];

	if (!acc_translate(a))
		return (false);
	memcpy(buf, val, a->size);
	for (unsigned i = 0; i < 2; i++)
		if (a->len[i] != 0 && !a->part[i].ram &&
		    !part_mmio(a, i, buf + (i == 0 ? 0 : a->len[0])))
			return (false);
	for (unsigned i = 0; i < 2; i++)
		if (a->len[i] != 0 && a->part[i].ram)
			part_store(a, i, buf + (i == 0 ? 0 : a->len[0]));
	return (true);
}

static void
acc_insn(struct acc *a, struct softcpu *cpu, const struct insn *in,
    uint64_t lin, int size, bool write)
{
	a->cpu = cpu;
	a->in = in;
	a->lin = lin;
	a->kind = tlb_kind(cpu, cpu->cpl);
	a->size = (unsigned)size;
	a->write = write;
	a->wide = (cpu->mode & MODE_64) != 0;
}

bool
soft_ld_slow(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    void *val)
{
	struct acc a;

	acc_insn(&a, cpu, in, lin, size, false);
	return (acc_load(&a, val));
}

bool
soft_st_slow(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    const void *val)
{
	struct acc a;

	acc_insn(&a, cpu, in, lin, size, true);
	return (acc_store(&a, val));
}

bool
soft_ld_bytes(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    void *buf, int size)
{
	const void *p = soft_rdptr(cpu, lin, size);

	if (likely(p != NULL)) {
		memcpy(buf, p, (size_t)size);
		return (true);
	}
	return (soft_ld_slow(cpu, in, lin, size, buf));
}

bool
soft_st_bytes(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    const void *buf, int size)
{
	void *p = soft_wrptr(cpu, lin, size);

	if (likely(p != NULL)) {
		memcpy(p, buf, (size_t)size);
		return (true);
	}
	if (size > 512) {
		/* Larger than one store's buffer: nobody asks for that. */
		soft_fault(cpu, in, X_UD);
		return (false);
	}
	return (soft_st_slow(cpu, in, lin, size, buf));
}

bool
soft_probe_write(
    struct softcpu *cpu, const struct insn *in, uint64_t lin, int len)
{
	struct acc a;

	acc_insn(&a, cpu, in, lin, len, true);
	return (acc_translate(&a));
}

void *
soft_rmw_slow(struct softcpu *cpu, uint64_t lin, int size)
{
	struct acc a;
	const struct tlbx *x;
	uint8_t *p;

	if (cpu->dr7_active)
		return (NULL);
	acc_insn(&a, cpu, NULL, lin, size, true);
	if (!a.wide)
		lin = a.lin = (uint32_t)lin;
	else if (!soft_canonical(lin) || !soft_canonical(lin + a.size - 1))
		return (NULL);
	if (cpu->tlb == tlb_empty && (lin & (a.size - 1)) != 0)
		return (NULL);
	if (tlb_data(cpu, a.kind, lin, true, &x) != 0 || !x->fast)
		return (NULL);
	p = x->hva + PAGE_OFF(lin);
	if (PAGE_OFF(lin) + a.size <= PAGE_SIZE)
		return (p);
	/* Across a page boundary: only where the host's memory goes on. */
	if (!a.wide && lin + a.size > 0xffffffffull)
		return (NULL);
	if (tlb_data(cpu, a.kind, PAGE_BASE(lin) + PAGE_SIZE, true, &x) != 0 ||
	    !x->fast || x->hva != p - PAGE_OFF(lin) + PAGE_SIZE)
		return (NULL);
	return (p);
}

void
soft_lock_begin(struct softcpu *cpu)
{
	if (cpu->core->lock_depth++ == 0)
		pthread_mutex_lock(&cpu->svm->lock);
}

void
soft_lock_end(struct softcpu *cpu)
{
	if (cpu->core->lock_depth > 0 && --cpu->core->lock_depth == 0)
		pthread_mutex_unlock(&cpu->svm->lock);
}

/* ---- system accesses ---- */

static void
acc_system(struct acc *a, struct softcpu *cpu, int kind, uint64_t lin, int size,
    bool write)
{
	a->cpu = cpu;
	a->in = NULL;
	a->lin = lin;
	a->kind = kind;
	a->size = (unsigned)size;
	a->write = write;
	a->wide = (cpu->efer & EFER_LMA_) != 0;
}

/* Descriptor tables and TSS: supervisor rights, never past SMAP. */
static int
system_kind(const struct softcpu *cpu)
{
	return ((cpu->cr4 & CR4_SMAP_) ? TLB_SMAP : TLB_SUPER);
}

static bool
load_kind(struct softcpu *cpu, int kind, uint64_t lin, int size, void *val)
{
	const struct tlbe *t;
	struct acc a;

	t = &cpu->tlbs[kind][(lin >> PAGE_SHIFT) & (TLB_SIZE - 1)];
	if (likely(lin - t->rtag <= PAGE_SIZE - (unsigned)size)) {
		ram_copy(
		    val, (void *)(uintptr_t)(lin + t->addend), (unsigned)size);
		return (true);
	}
	acc_system(&a, cpu, kind, lin, size, false);
	return (acc_load(&a, val));
}

static bool
store_kind(
    struct softcpu *cpu, int kind, uint64_t lin, int size, const void *val)
{
	const struct tlbe *t;
	struct acc a;

	t = &cpu->tlbs[kind][(lin >> PAGE_SHIFT) & (TLB_SIZE - 1)];
	if (likely(lin - t->wtag <= PAGE_SIZE - (unsigned)size)) {
		ram_copy(
		    (void *)(uintptr_t)(lin + t->addend), val, (unsigned)size);
		return (true);
	}
	acc_system(&a, cpu, kind, lin, size, true);
	return (acc_store(&a, val));
}

bool
soft_sys_ld(struct softcpu *cpu, uint64_t lin, int size, void *val)
{
	return (load_kind(cpu, system_kind(cpu), lin, size, val));
}

bool
soft_sys_st(struct softcpu *cpu, uint64_t lin, int size, const void *val)
{
	return (store_kind(cpu, system_kind(cpu), lin, size, val));
}

bool
soft_cpl_ld(struct softcpu *cpu, int cpl, uint64_t lin, int size, void *val)
{
	return (load_kind(cpu, tlb_kind(cpu, cpl), lin, size, val));
}

bool
soft_cpl_st(
    struct softcpu *cpu, int cpl, uint64_t lin, int size, const void *val)
{
	return (store_kind(cpu, tlb_kind(cpu, cpl), lin, size, val));
}

bool
soft_cpl_probe_write(struct softcpu *cpu, int cpl, uint64_t lin, int len)
{
	struct acc a;

	acc_system(&a, cpu, tlb_kind(cpu, cpl), lin, len, true);
	return (acc_translate(&a));
}

/* ---- segmentation ---- */

static bool
ea_fault(struct softcpu *cpu, const struct insn *in)
{
	soft_fault_err(cpu, in, (in->flags & IN_SS) ? X_SS : X_GP, 0);
	return (false);
}

/* May the segment be used for the access, and up to where? */
static bool
ea_limit_ok(const struct softcpu *cpu, const struct softseg *s, uint32_t off,
    unsigned size, bool write)
{
	uint64_t last = (uint64_t)off + size - 1, top;

	if (cpu->mode & MODE_PROT) {
		if (s->attr & SEG_UNUSABLE)
			return (false);
		if (s->attr & 0x8) { /* code: never written, maybe read */
			if (write || !(s->attr & 0x2))
				return (false);
		} else if (write && !(s->attr & 0x2))
			return (false);
	}
	if ((s->attr & 0xc) == 0x4) { /* expand-down data */
		top = (s->attr & SEG_DB) ? 0xffffffffull : 0xffffull;
		return (off > s->limit && last <= top);
	}
	/* A 4 GiB segment has no end to run over: addresses wrap. */
	return (last <= s->limit || s->limit == ~0u);
}

/*
 * The memory operand's linear address where soft_ea() has no short way:
 * segmented, 16-bit, or FS/GS with 32-bit addresses.
 */
bool
soft_ea_slow(struct softcpu *cpu, const struct insn *in, int size, bool write,
    uint64_t *lin)
{
	const struct softseg *s;
	uint64_t off = soft_offset(cpu, in);

	if (cpu->mode & MODE_64) {
		*lin = off + cpu->segbase[in->seg];
		return (true);
	}
	s = &cpu->seg[in->seg];
	if (!ea_limit_ok(cpu, s, (uint32_t)off, (unsigned)size, write))
		return (ea_fault(cpu, in));
	*lin = (uint32_t)(s->base + off);
	return (true);
}
