/*
 * Fuzz targets: the software processor under code of the input, and the
 * decoder that reads instructions for KVM.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bhyverun.h"
#include "fuzz.h"
#include "soft_step.h"
#include "vmexit.h"
#include "vmm.h"
#include "vmm_local.h"
#include "vmmapi.h"

/* Where things stand; all of it below 1 MiB, for the 16-bit modes. */
#define GDT 0x2000UL
#define IDT 0x3000UL
#define HANDLERS 0x4000UL
#define TSS 0x5000UL
#define TABLES 0x8000UL /* a page a level */
#define CODE 0x20000UL
#define STACK 0x38000UL
#define DATA 0x40000UL
#define CODE_MAX 2048
#define PLACED 0x50000UL /* what is made anew for an input */
#define RUN_US 1000
#define MOST_EXITS 2000

enum mode {
	REAL16,
	PROT16,
	PROT32,
	PAGED32,
	PAE32,
	LONG64,
	USER64,
	COMPAT32,
	V86,
	NMODES
};

static struct vcpu *
processor(void)
{
	return (vmm_vcpu(machine_vm(), 0));
}

/* ---- the memory that a mode needs ---- */

static uint8_t *low; /* guest memory up to PLACED */

static void
put(uint64_t at, uint64_t val, size_t len)
{
	memcpy(low + at, &val, len);
}

static void
put_descriptor(uint64_t at, uint32_t base, uint32_t limit, uint32_t access)
{
	uint64_t d;

	d = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
	    (uint64_t)(access & 0xff) << 40 |
	    (uint64_t)(limit >> 16 & 0xf) << 48 |
	    (uint64_t)(access >> 12 & 0xf) << 52 | (uint64_t)(base >> 24) << 56;
	put(at, d, 8);
}

/* Selectors: 08 code, 10 data, 18 and 20 those of users, 28 TSS, 38, 40 and 48
 * of 64-bit code, 50 that of handlers. */
static void
put_gdt(enum mode mode)
{
	uint32_t bits = mode != PROT16 ? 0xc000 : 0;

	put_descriptor(
	    GDT + 0x08, bits ? 0 : (uint32_t)CODE, 0xfffff, bits | 0x9b);
	put_descriptor(
	    GDT + 0x10, bits ? 0 : (uint32_t)DATA, 0xfffff, bits | 0x93);
	put_descriptor(GDT + 0x18, 0, 0xfffff, bits | 0xfb);
	put_descriptor(GDT + 0x20, 0, 0xfffff, bits | 0xf3);
	put_descriptor(GDT + 0x50, 0, 0xfffff, 0xc09b);
	put_descriptor(GDT + 0x28, TSS, 0x67, 0x8b);
	put_descriptor(GDT + 0x38, 0, 0xfffff, 0xa09b);
	put_descriptor(GDT + 0x40, 0, 0xfffff, 0xa0fb);
	put_descriptor(GDT + 0x48, 0, 0xfffff, 0xc0f3);
}

/* A handler steps over one byte of what it interrupted: code goes on. */
static void
put_handlers(enum mode mode)
{
	static const uint8_t in16_[] = { 0x55, 0x8b, 0xec, 0xff, 0x46, 2, 0x5d,
		0xcf };
	static const uint8_t in32_[] = { 0x83, 0xc4, 4, 0xff, 0x04, 0x24,
		0xcf };
	static const uint8_t in64_[] = { 0x48, 0x83, 0xc4, 8, 0x48, 0xff, 0x04,
		0x24, 0x48, 0xcf };
	bool code, lng = mode == LONG64 || mode == USER64 || mode == COMPAT32;
	uint64_t skip;

	memcpy(low + HANDLERS, in16_, sizeof(in16_));
	memcpy(low + HANDLERS + 0x10, in32_, sizeof(in32_));
	memcpy(low + HANDLERS + 0x20, in64_, sizeof(in64_));
	for (uint64_t v = 0; v < 256; v++) {
		if (mode == REAL16) {
			put(v * 4, HANDLERS, 4);
			continue;
		}
		/* Those without an error code begin behind its removal. */
		code = v < 32 && (0x00227d00u >> v & 1) != 0;
		if (lng) {
			skip = HANDLERS + 0x20 + (code ? 0 : 4);
			put(IDT + v * 16, 0x8e0000380000UL | skip, 8);
			put(IDT + v * 16 + 8, 0, 8);
		} else {
			skip = HANDLERS + 0x10 + (code ? 0 : 3);
			put(IDT + v * 8, 0xee0000500000UL | skip, 8);
		}
	}
	put(TSS + 4, STACK - 0x1000, 8); /* ESP0, RSP0 */
	put(TSS + 8, lng ? 0 : 0x10, 4);
	put(TSS + 0x66, 0x68, 2);
}

/* All memory where it is, for users too; some pages away or read-only. */
static uint64_t
put_tables(enum mode mode, uint8_t holes)
{
	uint64_t at = TABLES, flags = 7;

	if (mode == PAGED32) {
		for (uint64_t i = 0; i < 1024; i++)
			put(at + i * 4, i << 22 | 0x87, 4);
		return (at);
	}
	if (mode != PAE32) {
		put(at, (at + 0x1000) | 7, 8);
		at += 0x1000;
	} else {
		flags = 1;
	}
	for (uint64_t i = 0; i < 4; i++) {
		put(at + i * 8, (at + 0x1000 + i * 0x1000) | flags, 8);
		for (uint64_t j = 0; j < 512; j++)
			put(at + 0x1000 + i * 0x1000 + j * 8,
			    (i << 30 | j << 21) | 0x87, 8);
	}
	/* Some 2 MiB pages behind the first. */
	for (int i = 0; i < 3; i++)
		put(at + 0x1000 + (uint64_t)(i + 1) * 8,
		    (uint64_t)(i + 1) << 21 |
			((holes >> i * 2 & 3) == 3 ? 0x87
						   : holes >> i * 2 & 3) |
			0x80,
		    8);
	return (TABLES);
}

/* ---- the processor's state ---- */

static void
set_reg(int reg, uint64_t val)
{
	(void)vmm_set_register(processor(), reg, val);
}

static void
set_seg(int reg, uint16_t sel, uint64_t base, uint32_t limit, uint32_t access)
{
	struct seg_desc desc = { base, limit, access };

	CHECK(vmm_set_seg_desc(processor(), reg, &desc) == 0);
	set_reg(reg, sel);
}

static void
set_segments(enum mode mode)
{
	static const struct {
		uint16_t cs, ds;
		uint32_t code, data, limit;
	} kinds[NMODES] = {
		[REAL16] = { CODE >> 4, DATA >> 4, 0x9b, 0x93, 0xffff },
		[PROT16] = { 8, 0x10, 0x9b, 0x93, 0xfffff },
		[PROT32] = { 8, 0x10, 0xc09b, 0xc093, ~0u },
		[PAGED32] = { 8, 0x10, 0xc09b, 0xc093, ~0u },
		[PAE32] = { 8, 0x10, 0xc09b, 0xc093, ~0u },
		[LONG64] = { 0x38, 0x10, 0xa09b, 0xc093, ~0u },
		[USER64] = { 0x43, 0x4b, 0xa0fb, 0xc0f3, ~0u },
		[COMPAT32] = { 0x1b, 0x23, 0xc0fb, 0xc0f3, ~0u },
		[V86] = { CODE >> 4, DATA >> 4, 0xf3, 0xf3, 0xffff },
	};
	bool paras = mode == REAL16 || mode == V86;
	uint64_t base;

	for (int reg = VM_REG_GUEST_ES; reg <= VM_REG_GUEST_GS; reg++) {
		bool cs = reg == VM_REG_GUEST_CS;
		uint16_t sel = cs ? kinds[mode].cs : kinds[mode].ds;

		if (paras && reg == VM_REG_GUEST_SS)
			sel = 0x3000;
		base = paras	     ? (uint64_t)sel << 4
		    : mode != PROT16 ? 0
		    : cs	     ? CODE
				     : DATA;
		set_seg(reg, sel, base, kinds[mode].limit,
		    cs ? kinds[mode].code : kinds[mode].data);
	}
	set_seg(VM_REG_GUEST_TR, 0x28, TSS, 0x67, 0x8b);
}

static void
set_mode(enum mode mode, struct input *in)
{
	uint64_t cr0 = 0x31, cr4 = 0x600, efer = 0, rflags = 2;
	struct seg_desc gdt = { GDT, 0x57, 0 }, idt = { IDT, 0xfff, 0 };
	uint8_t sel = in8(in);

	put_gdt(mode);
	put_handlers(mode);
	if (mode == REAL16) {
		cr0 = 0x30;
		idt = (struct seg_desc) { 0, 0x3ff, 0 };
	}
	if (mode >= PAGED32 && mode != V86) {
		set_reg(VM_REG_GUEST_CR3, put_tables(mode, sel));
		cr0 |= 0x80000000u | (sel & 0x40 ? 0x10000 : 0);
		cr4 |= mode == PAGED32 ? 0x10 : 0x20;
	}
	if (mode >= LONG64 && mode <= COMPAT32)
		efer = 0x501 | (sel & 0x80 ? 0x800 : 0);
	if (mode == V86)
		rflags |= 0x20000 | (sel & 1 ? 0x3000 : 0);
	if ((sel & 0x30) == 0x30)
		cr4 |= in16(in) & 0x1f; /* VME, PVI, TSD, DE, PSE */
	set_reg(VM_REG_GUEST_EFER, efer);
	set_reg(VM_REG_GUEST_CR4, cr4);
	set_reg(VM_REG_GUEST_CR0, cr0);
	CHECK(vmm_set_seg_desc(processor(), VM_REG_GUEST_GDTR, &gdt) == 0);
	CHECK(vmm_set_seg_desc(processor(), VM_REG_GUEST_IDTR, &idt) == 0);
	set_segments(mode);
	rflags |= in16(in) & 0xfd5; /* arithmetic, TF, IF, DF */
	set_reg(VM_REG_GUEST_RFLAGS, rflags);
}

/* Pointers, small numbers, edges, anything. */
static uint64_t
a_value(struct input *in)
{
	static const uint64_t edges[16] = { 0, ~0UL, 0x7fffffffffffUL,
		0x800000000000UL, 0xffff800000000000UL, RAM_SIZE - 4,
		0x100000000UL, 0xffffffff, 0x80000000, LAPIC + 0xb0, IOAPIC,
		HPET, 0xc0000000, ECAM, TABLES, CODE };
	uint8_t sel = in8(in);

	if (sel < 0x60)
		return (DATA + sel * 16UL);
	if (sel < 0x90)
		return (sel - 0x60UL);
	if (sel < 0xd0)
		return (edges[sel & 15] + (sel >= 0xb0 ? in8(in) : 0UL));
	return (in64(in));
}

static void
set_registers(struct input *in, enum mode mode)
{
	static const int names[16] = { VM_REG_GUEST_RAX, VM_REG_GUEST_RCX,
		VM_REG_GUEST_RDX, VM_REG_GUEST_RBX, VM_REG_GUEST_RSP,
		VM_REG_GUEST_RBP, VM_REG_GUEST_RSI, VM_REG_GUEST_RDI,
		VM_REG_GUEST_R8, VM_REG_GUEST_R9, VM_REG_GUEST_R10,
		VM_REG_GUEST_R11, VM_REG_GUEST_R12, VM_REG_GUEST_R13,
		VM_REG_GUEST_R14, VM_REG_GUEST_R15 };
	bool narrow = mode == REAL16 || mode == V86 || mode == PROT16;
	uint64_t val;

	for (int i = 0; i < 16; i++) {
		val = i == 4 ? (narrow ? 0x8000 : STACK) : a_value(in);
		set_reg(names[i], val);
	}
	set_reg(VM_REG_GUEST_RIP, narrow ? 0 : CODE);
}

/* ---- a run that ends ---- */

static pthread_mutex_t watch_mtx = PTHREAD_MUTEX_INITIALIZER;
static struct vm *watched;
static int64_t watched_since;

/* The guest's code may go on for ever; a power-off ends it. */
static void *
watch(void *arg)
{
	(void)arg;
	for (;;) {
		usleep(300);
		pthread_mutex_lock(&watch_mtx);
		if (watched != NULL && now_us() - watched_since > RUN_US)
			(void)vmm_suspend(watched, VM_SUSPEND_POWEROFF, -1);
		pthread_mutex_unlock(&watch_mtx);
	}
	return (NULL);
}

static void
watch_for(struct vm *vm)
{
	pthread_mutex_lock(&watch_mtx);
	watched = vm;
	watched_since = now_us();
	pthread_mutex_unlock(&watch_mtx);
}

static void
run(void)
{
	struct vcpu *vcpu = fbsdrun_vcpu(0);
	struct vm_entry entry = { 0 };
	struct vm_exit vme = { 0 };

	entry.flags = VEF_BRIEF;
	watch_for(machine_vm());
	for (int i = 0; i < MOST_EXITS; i++) {
		CHECK(vm_run(vcpu, &entry, &vme) == 0);
		entry.cmd = VEC_DEFAULT;
		if (vme.exitcode == VM_EXITCODE_SUSPENDED ||
		    vme.exitcode == VM_EXITCODE_HLT ||
		    vmexit_dispatch(machine_ctx(), vcpu, &vme, &entry) !=
			VMEXIT_CONTINUE)
			break;
	}
	watch_for(NULL);
}

/* As after a reset, whatever ended the last run. */
static void
fresh(void)
{
	struct vm *vm = machine_vm();
	struct vcpu *vcpu = processor();

	atomic_store(&vm->suspend, VM_SUSPEND_NONE);
	atomic_store(&vm->suspended_cpus, 0);
	atomic_store(&vm->halted_cpus, 0);
	atomic_fetch_and(vcpu_pending(vcpu), ~VCPU_EV_LEAVE);
	CHECK(vmm_vcpu_reset(vcpu, false) == 0);
	vcpu_set_run_state(vcpu, VRS_RUN, 0);
	low = ram(0, PLACED);
	memset(low, 0, PLACED);
	vmm_memory_written(vm, 0, PLACED);
}

static void
engine_op(struct input *in)
{
	enum mode mode = in8(in) % NMODES;
	size_t n;

	fresh();
	set_mode(mode, in);
	set_registers(in, mode);
	n = (size_t)(in->end - in->at);
	if (n > CODE_MAX)
		n = CODE_MAX;
	in_bytes(in, low + CODE, n);
	low[CODE + n] = 0xf4;
	/* Data that is code: what it stores there, it may jump to. */
	memcpy(low + DATA, low + CODE, CODE_MAX);
	run();
}

static void
engine_init(void)
{
	pthread_t tid;

	CHECK(setenv("BHYVE_TRANSLATE", "0", 1) == 0);
	CHECK(pthread_create(&tid, NULL, watch, NULL) == 0);
}

static void
translator_init(void)
{
	engine_init();
	CHECK(setenv("BHYVE_TRANSLATE", "all", 1) == 0);
}

#define MACHINE                                                               \
	"-s 0,hostbridge", "-s 31,lpc", "-s 3,virtio-rnd", "-s 4,nvme,ram=1", \
	    "x86.vmexit_on_hlt=true"

static const struct fuzz_target engine = {
	.name = "engine",
	.settings = { MACHINE, NULL },
	.init = engine_init,
	.only = engine_op,
};
FUZZ_TARGET(engine);

static const struct fuzz_target translator = {
	.name = "translator",
	.settings = { MACHINE, NULL },
	.init = translator_init,
	.only = engine_op,
};
FUZZ_TARGET(translator);

/* ---- what an instruction is, from its bytes ---- */

static void
insn_whole(const uint8_t *data, size_t len)
{
	static const int widths[4] = { 16, 32, 64, 64 };
	struct input in = { data, data + len };
	struct soft_insn_info info;
	struct soft_insn_ctx c;
	uint8_t sel = in8(&in), *bytes;
	uint64_t at = in64(&in);
	unsigned int n;

	c.bits = widths[sel & 3];
	for (int i = 0; i < 16; i++)
		c.gpr[i] = a_value(&in);
	for (int i = 0; i < 6; i++)
		c.segbase[i] = (sel & 4) != 0 ? a_value(&in) : 0;
	n = (unsigned int)(in.end - in.at);
	/* Of their own, so that a byte too many is seen. */
	bytes = malloc(n + (n == 0));
	in_bytes(&in, bytes, n);
	for (; n > 0; n--) {
		if (!soft_insn_info(&c, at, bytes, n < 15 ? n : 15, &info))
			continue;
		CHECK(info.len > 0 && info.len <= 15 && info.len <= n);
		CHECK(info.size <= 64);
		CHECK(info.asize == 2 || info.asize == 4 || info.asize == 8);
	}
	free(bytes);
}

static const struct fuzz_target insn = {
	.name = "insn",
	.whole = insn_whole,
};
FUZZ_TARGET(insn);
