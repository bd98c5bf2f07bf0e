/*
 * Compares the software processor's floating point rows with the host CPU.
 * For each row of optab_fp.def it makes encodings (register and memory form,
 * random registers, prefixes, immediates), random operands with the special
 * values of each format, and random control words; the bytes run natively in
 * a forked child under seccomp's strict mode and in the engine through its
 * decoder, and everything visible is compared.
 *
 * Usage: fp_host [-n cases] [-s seed] [-v] [name ...]
 */
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "fp_local.h"
#include "soft_core_local.h"

#define WIN 1024 /* bytes of guest memory compared */
#define OPND 128 /* the operand's place in it, before misalignment */
#define BATCH 64

struct state {
	struct fximg fx;
	uint64_t gpr[16];
	uint64_t rfl;
	uint64_t vec; /* 0: none; else vector + 1 */
	uint8_t mem[WIN];
} __attribute__((__aligned__(64)));

struct tcase {
	struct state in, nat;
	uint8_t code[16];
	int len;
	bool x87_warm, mmx_warm, slow;
	bool wants_mem;
	const struct optab *row;
} __attribute__((__aligned__(64)));

static struct tcase *cases;
static uint8_t *gmem; /* guest memory: same address in both processes */
static uint64_t rng = 88172645463325252ull;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng * 0x2545f4914f6cdd1dull);
}
#define R(n) ((unsigned)(rnd() >> 33) % (unsigned)(n))

/* ---- the native side ---- */

struct state nat_in __attribute__((__used__));
struct state nat_out __attribute__((__used__));
uint64_t nat_rsp __attribute__((__used__));
uint64_t nat_code __attribute__((__used__));
static const uint32_t mxcsr_default = 0x1f80;
void native_run(void);
extern char native_back[];
/* struct state: fx at 0, gpr at 512, rfl at 640. */
__asm__(".text\n"
	"native_run:\n"
	"push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
	"mov %rsp,nat_rsp(%rip)\n"
	"fxrstor64 nat_in(%rip)\n"
	"pushq nat_in+640(%rip)\npopfq\n"
	"mov nat_in+512(%rip),%rax\nmov nat_in+520(%rip),%rcx\n"
	"mov nat_in+528(%rip),%rdx\nmov nat_in+536(%rip),%rbx\n"
	"mov nat_in+552(%rip),%rbp\nmov nat_in+560(%rip),%rsi\n"
	"mov nat_in+568(%rip),%rdi\nmov nat_in+576(%rip),%r8\n"
	"mov nat_in+584(%rip),%r9\nmov nat_in+592(%rip),%r10\n"
	"mov nat_in+600(%rip),%r11\nmov nat_in+608(%rip),%r12\n"
	"mov nat_in+616(%rip),%r13\nmov nat_in+624(%rip),%r14\n"
	"mov nat_in+632(%rip),%r15\n"
	"jmp *nat_code(%rip)\n"
	".globl native_back\n"
	"native_back:\n"
	"mov %rax,nat_out+512(%rip)\nmov %rcx,nat_out+520(%rip)\n"
	"mov %rdx,nat_out+528(%rip)\nmov %rbx,nat_out+536(%rip)\n"
	"mov %rbp,nat_out+552(%rip)\nmov %rsi,nat_out+560(%rip)\n"
	"mov %rdi,nat_out+568(%rip)\nmov %r8,nat_out+576(%rip)\n"
	"mov %r9,nat_out+584(%rip)\nmov %r10,nat_out+592(%rip)\n"
	"mov %r11,nat_out+600(%rip)\nmov %r12,nat_out+608(%rip)\n"
	"mov %r13,nat_out+616(%rip)\nmov %r14,nat_out+624(%rip)\n"
	"mov %r15,nat_out+632(%rip)\n"
	"pushfq\npopq nat_out+640(%rip)\n"
	"fxsave64 nat_out(%rip)\n"
	"fninit\n"
	"ldmxcsr mxcsr_default(%rip)\n"
	"cld\n"
	"mov nat_rsp(%rip),%rsp\n"
	"pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\n"
	"ret\n");

static void
on_fault(int sig, siginfo_t *si, void *arg)
{
	ucontext_t *uc = arg;

	(void)sig;
	(void)si;
	nat_out.vec = (uint64_t)uc->uc_mcontext.gregs[REG_TRAPNO] + 1;
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)native_back;
}

static void
child(int rd, int wr)
{
	static uint8_t altstack[65536];
	stack_t ss = { .ss_sp = altstack, .ss_size = sizeof(altstack) };
	struct sigaction sa = { .sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	uint8_t *code, n;

	code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED)
		_exit(3);
	nat_code = (uint64_t)(uintptr_t)code;
	sigaltstack(&ss, NULL);
	sigaction(SIGFPE, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
		_exit(4);
	while (read(rd, &n, 1) == 1) {
		for (int i = 0; i < n; i++) {
			struct tcase *t = &cases[i];

			memcpy(code, t->code, (size_t)t->len);
			memcpy(code + t->len, "\xff\x25\0\0\0\0", 6);
			*(u64a *)(void *)(code + t->len + 6) =
			    (uint64_t)(uintptr_t)native_back;
			memcpy(gmem, t->in.mem, WIN);
			nat_in = t->in;
			memset(&nat_out, 0, sizeof(nat_out));
			nat_out.vec = 0;
			native_run();
			nat_out.gpr[R_SP] = t->in.gpr[R_SP];
			memcpy(nat_out.mem, gmem, WIN);
			t->nat = nat_out;
		}
		if (write(wr, &n, 1) != 1)
			break;
	}
	syscall(SYS_exit, 0);
}

/* ---- the engine's surroundings ---- */

const struct optab optab_int[1], optab_sys[1];
const size_t optab_int_n, optab_sys_n;

void
soft_fault(struct softcpu *cpu, const struct insn *in, int vector)
{
	(void)in;
	cpu->exc_vector = (uint8_t)vector;
	cpu->stop = STOP_FAULT;
}
void
soft_fault_err(struct softcpu *cpu, const struct insn *in, int vector,
    uint32_t err)
{
	(void)err;
	soft_fault(cpu, in, vector);
}
void
soft_end(struct softcpu *cpu, const struct insn *in)
{
	(void)cpu;
	(void)in;
}
bool
soft_ea_slow(struct softcpu *cpu, const struct insn *in, int size,
    bool write, uint64_t *lin)
{
	(void)size;
	(void)write;
	*lin = soft_offset(cpu, in);
	return (true);
}
bool
soft_ld_bytes(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    void *buf, int size)
{
	(void)cpu;
	(void)in;
	memcpy(buf, (void *)(uintptr_t)lin, (size_t)size);
	return (true);
}
bool
soft_st_bytes(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    const void *buf, int size)
{
	(void)cpu;
	(void)in;
	memcpy((void *)(uintptr_t)lin, buf, (size_t)size);
	return (true);
}
bool
soft_ld_slow(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    int size, void *val)
{
	return (soft_ld_bytes(cpu, in, lin, val, size));
}
bool
soft_st_slow(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    int size, const void *val)
{
	return (soft_st_bytes(cpu, in, lin, val, size));
}
bool
soft_probe_write(struct softcpu *cpu, const struct insn *in, uint64_t lin,
    int len)
{
	(void)cpu;
	(void)in;
	(void)lin;
	(void)len;
	return (true);
}

static bool ran_on;

static void
op_stop(struct softcpu *cpu, const struct insn *in)
{
	(void)cpu;
	(void)in;
	ran_on = true;
}

static struct softcpu *cpu;

static void
engine_init(void)
{
	static _Atomic uint32_t none;

	cpu = aligned_alloc(64, (sizeof(*cpu) + 63) & ~63ul);
	if (cpu == NULL)
		abort();
	memset(cpu, 0, sizeof(*cpu));
	cpu->pending = &none;
	cpu->cr0 = 0x80000033;
	cpu->cr4 = 0x40620;
	cpu->efer = 0xd01;
	cpu->mode = MODE_64 | MODE_PROT | MODE_LONG | MODE_FLAT |
	    MODE_CSFLAT | MODE_CPL0;
	cpu->tlb = cpu->tlbs[TLB_SUPER];
	soft_fpu_reset(cpu, false);
	cpu->fpu.xcr0 = XCR0_VALID;
}

static void
engine_tlb(bool hit)
{
	for (unsigned i = 0; i < TLB_SIZE; i++)
		cpu->tlb[i].rtag = cpu->tlb[i].wtag = TLB_BAD(i);
	if (hit)
		for (int i = 0; i < 2; i++) {
			uint64_t a = (uint64_t)(uintptr_t)gmem +
			    (unsigned)i * 4096;
			struct tlbe *e = soft_tlbe(cpu, a);

			e->rtag = e->wtag = a;
			e->addend = 0;
		}
}

static bool
engine_run(const struct tcase *t, struct state *out)
{
	static struct soft_dec dec;
	static struct insn in[2];
	static uint8_t image[576] __attribute__((__aligned__(64)));
	uint64_t bv = 3;

	memset(out, 0, sizeof(*out));
	memcpy(gmem, t->in.mem, WIN);
	memcpy(image, &t->in.fx, 512);
	memset(image + 512, 0, 64);
	memcpy(image + 512, &bv, 8);
	if (!soft_fpu_set(cpu, image, sizeof(image)))
		return (false);
	memcpy(cpu->gpr, t->in.gpr, sizeof(t->in.gpr));
	cpu->gpr[R_ZERO] = 0;
	cpu->gpr[R_BLOCK] = 0x10000;
	cpu->cc = (uint16_t)((t->in.rfl & 0xd5) << 8 |
	    ((t->in.rfl >> 11) & 1));
	cpu->stop = STOP_NONE;
	engine_tlb(!t->slow);
	memset(in, 0, sizeof(in));
	if (decode_insn(&dec, &in[0], t->code, (unsigned)t->len,
	    cpu->mode) != DEC_OK || dec.row != t->row ||
	    in[0].len != t->len) {
		printf("%s: decoded as %s, %d bytes of %d\n", t->row->name,
		    dec.row == NULL ? "nothing" : dec.row->name, in[0].len,
		    t->len);
		return (false);
	}
	decode_bind(&dec, in, 1);
	in[1].op = op_stop;
	ran_on = false;
	soft_fpu_enter(cpu);
	if (t->x87_warm && !(cpu->fpu.fsw & FSW_ES))
		x87_load(cpu);
	else if (t->mmx_warm)
		(void)soft_mmx_check(cpu, in);
	cpu->stop = STOP_NONE;
	in[0].op(cpu, in);
	soft_fpu_leave(cpu);
	out->vec = cpu->stop == STOP_FAULT ? cpu->exc_vector + 1u : 0;
	if ((cpu->stop == STOP_NONE) != ran_on) {
		printf("%s: stop %d, went on %d\n", t->row->name, cpu->stop,
		    ran_on);
		return (false);
	}
	if (soft_fpu_get(cpu, image, sizeof(image)) != sizeof(image))
		return (false);
	memcpy(&out->fx, image, 512);
	memcpy(out->gpr, cpu->gpr, sizeof(out->gpr));
	out->rfl = (cpu->cc >> 8 & 0xd5) | (cpu->cc & 1u) << 11;
	memcpy(out->mem, gmem, WIN);
	return (true);
}

/* ---- operands ---- */

static uint32_t
gen_f32(void)
{
	static const uint32_t sp[] = { 0, 0x80000000, 0x3f800000, 0xbf800000,
		0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345,
		0xff812345, 1, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff,
		0x3f000000, 0x3fc00000, 0x4f000000, 0xcf000000, 0x5f000000,
		0x4effffff, 0x40200000, 0x80ffffff, 0x00ffffff };

	switch (R(4)) {
	case 0:
		return (sp[R(sizeof(sp) / sizeof(sp[0]))]);
	case 1:
		return ((uint32_t)rnd());
	default:
		return (((uint32_t)rnd() & 0x80ffffffu) |
		    (0x78u + R(40)) << 23);
	}
}

static uint64_t
gen_f64(void)
{
	static const uint64_t sp[] = { 0, 1ull << 63, 0x3ff0000000000000,
		0xbff0000000000000, 0x7ff0000000000000, 0xfff0000000000000,
		0x7ff8000000000000, 0x7ff0000000000001, 0xfff8000000012345,
		0xfff0000000012345, 1, 0x8000000000000001, 0x000fffffffffffff,
		0x0010000000000000, 0x7fefffffffffffff, 0x3fe0000000000000,
		0x41e0000000000000, 0xc1e0000000000000, 0x43e0000000000000,
		0xc3e0000000000000, 0x3810000000000000, 0x380fffffffffffff,
		0x47efffffe0000000, 0x47f0000000000000, 0x36a0000000000000,
		0x001fffffffffffff, 0x3ca0000000000000 };

	switch (R(4)) {
	case 0:
		return (sp[R(sizeof(sp) / sizeof(sp[0]))]);
	case 1:
		return (rnd());
	default:
		return ((rnd() & 0x800fffffffffffffull) |
		    (uint64_t)(0x3e0u + R(0x60)) << 52);
	}
}

static void
gen_f80(uint64_t *mant, uint16_t *se)
{
	static const struct {
		uint64_t m;
		uint16_t se;
	} sp[] = { { 0, 0 }, { 0, 0x8000 }, { 1ull << 63, 0x3fff },
		{ 1ull << 63, 0xbfff }, { 1ull << 63, 0x7fff },
		{ 1ull << 63, 0xffff }, { 3ull << 62, 0x7fff },
		{ 0x8000000000000001, 0x7fff }, { 0xc000000000012345, 0xffff },
		{ 1, 0 }, { 1, 0x8000 }, { 0x7fffffffffffffff, 0 },
		{ 1ull << 63, 0 }, { 1ull << 63, 1 }, { ~0ull, 0x7ffe },
		{ 0, 0x7fff }, { 0x1234, 0x4000 }, { 0x1234, 0x7fff },
		{ 0xffffffffffffffff, 0x403e }, { 1ull << 63, 0x403e },
		{ 1ull << 63, 0x401e }, { 1ull << 63, 0x3ffe },
		{ 0xc90fdaa22168c235, 0x4000 }, { 1ull << 63, 0x3c01 },
		{ ~0ull, 0x407e }, { 1ull << 63, 0x3f6a } };
	unsigned i;

	switch (R(5)) {
	case 0:
		i = R(sizeof(sp) / sizeof(sp[0]));
		*mant = sp[i].m;
		*se = sp[i].se;
		break;
	case 1:
		*mant = rnd() | 1ull << 63;
		*se = (uint16_t)rnd();
		break;
	default:
		*mant = rnd() | 1ull << 63;
		*se = (uint16_t)((0x3fd0 + R(0x70)) | (rnd() & 0x8000));
		break;
	}
}

static void
gen_16(uint8_t *p)
{
	uint32_t f[4];
	uint64_t d[2];
	int i;

	switch (R(4)) {
	case 0:
		for (i = 0; i < 4; i++)
			f[i] = gen_f32();
		memcpy(p, f, 16);
		break;
	case 1:
		for (i = 0; i < 2; i++)
			d[i] = gen_f64();
		memcpy(p, d, 16);
		break;
	case 2: /* small numbers and repeated bytes, zeros among them */
		for (i = 0; i < 16; i++)
			p[i] = (uint8_t)(R(3) ? R(4) : rnd());
		break;
	default:
		d[0] = rnd();
		d[1] = rnd();
		memcpy(p, d, 16);
		break;
	}
}

static void
gen_fx(struct fximg *fx)
{
	unsigned i;

	memset(fx, 0, sizeof(*fx));
	fx->fcw = (uint16_t)(0x40 | (R(3) ? 0x3f : R(64)) | R(4) << 10 |
	    (uint16_t[]) { 0, 0x200, 0x300, 0x300 }[R(4)]);
	fx->fsw = (uint16_t)((rnd() & 0x7f00) | (R(2) ? 0 : R(0x80)));
	if (R(10))
		fx->fsw &= (uint16_t)~(~fx->fcw & 0x3f);
	if (fx->fsw & ~fx->fcw & 0x3f)
		fx->fsw |= 0x8080;
	fx->ftw = R(4) ? 0xff : (uint8_t)rnd();
	fx->mxcsr = (R(3) ? 0x1f80 : R(64) << 7) | R(4) << 13 |
	    (R(2) ? 0 : R(64));
	if (R(4) == 0)
		fx->mxcsr |= (R(2) ? 0x40u : 0) | (R(2) ? 0x8000u : 0);
	fx->mxcsr_mask = 0xffff;
	for (i = 0; i < 8; i++)
		gen_f80(&fx->st[i].mant, &fx->st[i].se);
	for (i = 0; i < 16; i++)
		gen_16(fx->xmm[i]);
}

static void
put_le(uint8_t *p, uint64_t v, int n)
{
	memcpy(p, &v, (size_t)n);
}

/* What the row's memory operand should hold. */
static void
gen_operand(const struct optab *r, uint8_t *p, bool os16)
{
	struct fximg fx;
	uint64_t mant;
	uint16_t se;
	int i;

	if (!strcmp(r->name, "fxrstor") || !strcmp(r->name, "xrstor")) {
		gen_fx(&fx);
		if (R(10) == 0)
			fx.mxcsr |= 1u << 20;
		memcpy(p, &fx, 512);
		memset(p + 512, 0, 64);
		p[512] = (uint8_t)R(4);
		if (R(10) == 0)
			p[512 + 8 + R(16)] = 1;
	} else if (!strcmp(r->name, "fldenv") || !strcmp(r->name, "frstor")) {
		gen_fx(&fx);
		put_le(p, fx.fcw, 2);
		put_le(p + (os16 ? 2 : 4), fx.fsw, 2);
		put_le(p + (os16 ? 4 : 8), rnd() & rnd(), 2);
		for (i = 0; i < 8; i++)
			memcpy(p + (os16 ? 14 : 28) + i * 10, &fx.st[i], 10);
	} else if (!strcmp(r->name, "xsave") || !strcmp(r->name, "xsaveopt") ||
	    !strcmp(r->name, "xsavec")) {
		memset(p + 512, 0, 64);
		p[512] = (uint8_t)R(4);
	} else if (!strcmp(r->name, "fldcw"))
		put_le(p, rnd() | (R(2) ? 0x3f : 0), 2);
	else if (!strcmp(r->name, "ldmxcsr"))
		put_le(p, rnd() & (R(8) ? 0xffff : 0x1fffff) & ~0x20000ull, 4);
	else if (!strcmp(r->operands, "Mt")) {
		gen_f80(&mant, &se);
		put_le(p, mant, 8);
		put_le(p + 8, se, 2);
		if (!strcmp(r->name, "fbld"))
			for (i = 0; i < 10; i++)
				p[i] = (uint8_t)(R(10) | R(10) << 4);
	} else if (!strcmp(r->operands, "Md"))
		put_le(p, R(2) ? gen_f32() : R(200), 4);
	else if (!strcmp(r->operands, "Mq"))
		put_le(p, R(3) ? gen_f64() : R(200), 8);
	else
		gen_16(p);
}

/* ---- encodings ---- */

static bool
has(const struct optab *r, char c)
{
	return (strchr(r->operands, c) != NULL);
}

static void
gen_case(const struct optab *r, bool mem, struct tcase *t)
{
	static const uint8_t pfx[] = { 0, 0, 0x66, 0xf3, 0xf2 };
	unsigned reg, rm, modrm, rex, mis;
	uint8_t *c;
	bool os16, env;
	int i;

	memset(t, 0, sizeof(*t));
	t->row = r;
	t->x87_warm = R(2);
	t->mmx_warm = !t->x87_warm && R(2);
	t->slow = R(4) == 0;
	t->wants_mem = mem;
	gen_fx(&t->in.fx);
	for (i = 0; i < 16; i++)
		t->in.gpr[i] = R(3) ? rnd() : R(20) - 2ull;
	t->in.rfl = 2 | (rnd() & 0x8d5);
	for (i = 0; i < WIN; i += 16)
		gen_16(t->in.mem + i);
	env = !strcmp(r->name, "fnstenv") || !strcmp(r->name, "fldenv") ||
	    !strcmp(r->name, "fnsave") || !strcmp(r->name, "frstor");
	os16 = env && R(2);
	mis = R(6) ? 0 : R(16);
	if (!strncmp(r->name, "xsave", 5) || !strcmp(r->name, "xrstor")) {
		t->in.gpr[R_AX] = R(4);
		t->in.gpr[R_DX] = 0;
	}
	gen_operand(r, t->in.mem + OPND + mis, os16);
	t->in.gpr[R_SI] = t->in.gpr[R_DI] =
	    (uint64_t)(uintptr_t)gmem + OPND + mis;

	c = t->code;
	if (os16 || (!strcmp(r->name, "crc32") && r->opcode == 0xf1 && R(3) == 0))
		*c++ = 0x66;
	if (pfx[r->prefix])
		*c++ = pfx[r->prefix];
	reg = R(16);
	rm = R(16);
	if (has(r, 'G') || has(r, 'E')) {
		/* not the stack pointer */
		if (reg == R_SP)
			reg = R_AX;
		if (rm == R_SP)
			rm = R_BX;
	}
	if (r->reg < 8)
		reg = r->reg | (reg & 8);
	if (mem)
		rm = R_SI;
	rex = 0x40 | (reg >> 3) << 2 | rm >> 3 | (R(4) ? 0 : 8);
	if (os16)
		rex &= ~8u;
	if (rex != 0x40 || R(4) == 0)
		*c++ = (uint8_t)rex;
	if (r->map != M_1)
		*c++ = 0x0f;
	if (r->map == M_0F38)
		*c++ = 0x38;
	if (r->map == M_0F3A)
		*c++ = 0x3a;
	*c++ = r->opcode;
	if (r->attr & A_MODRM) {
		modrm = (mem ? 0 : 0xc0) | (reg & 7) << 3 | (rm & 7);
		if (r->reg >= 0xc0 && r->reg != R_ANY)
			modrm = r->reg;
		*c++ = (uint8_t)modrm;
	}
	if (r->imm != I_NONE)
		*c++ = (uint8_t)rnd();
	t->len = (int)(c - t->code);
}

/* ---- comparison ---- */

/* The instruction and data pointers are not compared: the host keeps them
 * only while an exception is pending. */
static void
blank_pointers(const struct tcase *t, uint8_t *mem)
{
	const char *n = t->row->name;
	uint8_t *p = mem + (t->in.gpr[R_SI] - (uint64_t)(uintptr_t)gmem);
	bool os16 = t->code[0] == 0x66;

	if (!strcmp(n, "fnstenv") || !strcmp(n, "fnsave"))
		memset(p + (os16 ? 6 : 12), 0, os16 ? 8 : 16);
	else if (!strcmp(n, "fxsave") || !strncmp(n, "xsave", 5)) {
		memset(p + 6, 0, 18);
		memset(p + 28, 0, 4);
		if (n[0] == 'x') {
			/* Which state counts as initial is the host's own
			 * business; nothing else of the header. */
			p[512] = 0;
		}
	}
}

static const char *
differs(const struct tcase *t, struct state *e)
{
	static char buf[80];
	struct state n = t->nat;
	uint64_t und = t->row->fl_undef;
	int i;

	if (n.vec != e->vec) {
		snprintf(buf, sizeof(buf), "vector: host %d engine %d",
		    (int)n.vec - 1, (int)e->vec - 1);
		return (buf);
	}
	if (n.fx.fcw != e->fx.fcw)
		return ("FCW");
	if (n.fx.fsw != e->fx.fsw) {
		snprintf(buf, sizeof(buf), "FSW: in %04x host %04x engine "
		    "%04x", t->in.fx.fsw, n.fx.fsw, e->fx.fsw);
		return (buf);
	}
	if (n.fx.ftw != e->fx.ftw) {
		snprintf(buf, sizeof(buf), "FTW: in %02x host %02x engine "
		    "%02x", t->in.fx.ftw, n.fx.ftw, e->fx.ftw);
		return (buf);
	}
	for (i = 0; i < 8; i++)
		if (n.fx.st[i].mant != e->fx.st[i].mant ||
		    n.fx.st[i].se != e->fx.st[i].se) {
			snprintf(buf, sizeof(buf), "ST%d: host %04x:%016lx "
			    "engine %04x:%016lx", i, n.fx.st[i].se,
			    n.fx.st[i].mant, e->fx.st[i].se,
			    e->fx.st[i].mant);
			return (buf);
		}
	for (i = 0; i < 16; i++)
		if (memcmp(n.fx.xmm[i], e->fx.xmm[i], 16) != 0) {
			snprintf(buf, sizeof(buf), "XMM%d", i);
			return (buf);
		}
	if (n.fx.mxcsr != e->fx.mxcsr) {
		snprintf(buf, sizeof(buf), "MXCSR: in %05x host %05x engine "
		    "%05x", t->in.fx.mxcsr, n.fx.mxcsr, e->fx.mxcsr);
		return (buf);
	}
	for (i = 0; i < 16; i++)
		if (n.gpr[i] != e->gpr[i]) {
			snprintf(buf, sizeof(buf), "GPR%d: host %lx engine "
			    "%lx", i, n.gpr[i], e->gpr[i]);
			return (buf);
		}
	if ((n.rfl ^ e->rfl) & 0x8d5 & ~und) {
		snprintf(buf, sizeof(buf), "flags: host %lx engine %lx",
		    n.rfl & 0x8d5, e->rfl);
		return (buf);
	}
	blank_pointers(t, n.mem);
	blank_pointers(t, e->mem);
	for (i = 0; i < WIN; i++)
		if (n.mem[i] != e->mem[i]) {
			snprintf(buf, sizeof(buf), "memory at %d: in %02x "
			    "host %02x engine %02x",
			    i - (int)(t->in.gpr[R_SI] -
				(uint64_t)(uintptr_t)gmem), t->in.mem[i],
			    n.mem[i], e->mem[i]);
			return (buf);
		}
	return (NULL);
}

static int
judge(const struct tcase *t, bool verbose)
{
	static struct state e;
	const char *why;
	int i;

	if (!engine_run(t, &e))
		why = "cannot run";
	else
		why = differs(t, &e);
	if (why == NULL)
		return (0);
	printf("%s %s %s:", t->row->name, t->row->operands,
	    t->wants_mem ? "mem" : "reg");
	for (i = 0; i < t->len; i++)
		printf(" %02x", t->code[i]);
	printf(" fcw %04x fsw %04x ftw %02x mxcsr %04x warm %d%d slow %d: %s\n",
	    t->in.fx.fcw, t->in.fx.fsw, t->in.fx.ftw, t->in.fx.mxcsr,
	    t->x87_warm, t->mmx_warm, t->slow, why);
	if (verbose)
		for (i = 0; i < 8; i++)
			printf("  st%d %04x:%016lx\n", i, t->in.fx.st[i].se,
			    t->in.fx.st[i].mant);
	return (1);
}

/* Rows that the host cannot run for us: privileged, or the host's own. */
static bool
skipped(const struct optab *r)
{
	return (!strcmp(r->name, "xsetbv") || !strcmp(r->name, "xgetbv"));
}

int
main(int argc, char **argv)
{
	int ch, cases_per_form = 300, down[2], up[2], st;
	unsigned long total = 0, failed = 0, forms = 0;
	bool verbose = false;
	uint8_t n;
	pid_t pid;

	while ((ch = getopt(argc, argv, "n:s:v")) != -1)
		switch (ch) {
		case 'n':
			cases_per_form = atoi(optarg);
			break;
		case 's':
			rng ^= strtoull(optarg, NULL, 0) * 0x9e3779b97f4a7c15;
			break;
		case 'v':
			verbose = true;
			break;
		default:
			return (2);
		}
	cases = mmap(NULL, sizeof(*cases) * BATCH, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	gmem = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cases == MAP_FAILED || gmem == MAP_FAILED || pipe(down) != 0 ||
	    pipe(up) != 0)
		return (2);
	pid = fork();
	if (pid == 0) {
		close(down[1]);
		close(up[0]);
		child(down[0], up[1]);
	}
	close(down[0]);
	close(up[1]);
	decode_init();
	engine_init();
	for (size_t i = 0; i < optab_fp_n; i++) {
		const struct optab *r = &optab_fp[i];
		bool named = optind == argc;

		for (int a = optind; a < argc; a++)
			named = named || !strcmp(argv[a], r->name);
		if (!named || skipped(r) ||
		    (r->feature & ~soft_fpu_features() & ~(uint32_t)SF_CMOV))
			continue;
		for (int mem = 0; mem < 2; mem++) {
			unsigned long bad = 0;

			if (mem ? r->mod == MOD_REG || !(r->attr & A_MODRM) :
				  r->mod == MOD_MEM)
				continue;
			forms++;
			for (int k = 0; k < cases_per_form; k += BATCH) {
				n = BATCH;
				for (int j = 0; j < n; j++)
					gen_case(r, mem, &cases[j]);
				if (write(down[1], &n, 1) != 1 ||
				    read(up[0], &n, 1) != 1) {
					printf("%s: the native child died\n",
					    r->name);
					return (1);
				}
				for (int j = 0; j < n; j++, total++)
					if (bad < 3 || !verbose)
						bad += (unsigned)judge(
						    &cases[j], verbose);
			}
			failed += bad;
		}
	}
	close(down[1]);
	waitpid(pid, &st, 0);
	printf("%lu forms, %lu cases, %lu failed\n", forms, total, failed);
	return (failed != 0);
}
