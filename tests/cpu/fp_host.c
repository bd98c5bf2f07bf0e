/*
 * Compares the software processor's floating point rows with the host CPU.
 * For each row of optab_fp.def it makes encodings (register and memory form,
 * random registers, prefixes, immediates), random operands with the special
 * values of each format, and random control words; then random sequences of
 * them.  The bytes run natively in a forked child under seccomp's strict mode
 * and in the engine through its decoder, and everything visible is compared.
 *
 * Usage: fp_host [-n cases] [-q sequences] [-s seed] [-v] [name ...]
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

#include "fp_host.h"
#include "jit_make.h"
#include "soft_core_local.h"

#define BATCH 64

static struct tcase *cases;
uint8_t *gmem; /* guest memory: same address in both processes */
/* ---- the native side ---- */

struct state nat_in __attribute__((__used__));
struct state nat_out __attribute__((__used__));
uint64_t nat_rsp __attribute__((__used__));
uint64_t nat_code __attribute__((__used__));
const uint32_t mxcsr_default __attribute__((__used__)) = 0x1f80;
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

/* No integer rows, so no pair of a comparison and its jump. */
soft_op
soft_fuse(const struct soft_dec *a, const struct soft_dec *b, struct insn *ia,
    const struct insn *ib)
{
	return (NULL);
}

static int fault_off;

void
soft_fault(struct softcpu *cpu, const struct insn *in, int vector)
{
	fault_off = in->off;
	cpu->exc_vector = (uint8_t)vector;
	cpu->stop = STOP_FAULT;
}
void
soft_fault_err(
    struct softcpu *cpu, const struct insn *in, int vector, uint32_t err)
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
soft_ea_slow(struct softcpu *cpu, const struct insn *in, int size, bool write,
    uint64_t *lin)
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
soft_ld_slow(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    void *val)
{
	return (soft_ld_bytes(cpu, in, lin, val, size));
}
bool
soft_st_slow(struct softcpu *cpu, const struct insn *in, uint64_t lin, int size,
    const void *val)
{
	return (soft_st_bytes(cpu, in, lin, val, size));
}
bool
soft_probe_write(
    struct softcpu *cpu, const struct insn *in, uint64_t lin, int len)
{
	(void)cpu;
	(void)in;
	(void)lin;
	(void)len;
	return (true);
}

static unsigned long n_code; /* cases run as host code */
static bool ran_on, ends;    /* the instruction ends its block */

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
	cpu->mode = MODE_64 | MODE_PROT | MODE_LONG | MODE_FLAT | MODE_CSFLAT |
	    MODE_CPL0;
	cpu->tlb = cpu->tlbs[TLB_SUPER];
	cpu->modekey = (uint64_t)cpu->mode << 48;
	soft_fpu_reset(cpu, false);
	cpu->fpu.xcr0 = XCR0_VALID;
	if (!jit_setup(cpu))
		printf("no executable memory: handlers alone\n");
}

static void
engine_tlb(bool hit)
{
	for (unsigned i = 0; i < TLB_SIZE; i++)
		cpu->tlb[i].rtag = cpu->tlb[i].wtag = TLB_BAD(i);
	if (hit)
		for (int i = 0; i < 2; i++) {
			uint64_t a =
			    (uint64_t)(uintptr_t)gmem + (unsigned)i * 4096;
			struct tlbe *e = soft_tlbe(cpu, a);

			e->rtag = e->wtag = a;
			e->addend = 0;
		}
}

/* The same records as a block for the translator. */
static struct insn *
engine_code(const struct tcase *t, const struct insn *in)
{
	return (jit_make(
	    cpu, in, (unsigned)t->count, t->code, (unsigned)t->len, 0));
}

static bool
engine_run(struct tcase *t, struct state *out, bool code)
{
	static struct soft_dec dec[SEQ];
	static struct insn in[SEQ + 1];
	static uint8_t image[576] __attribute__((__aligned__(64)));
	struct insn *first = in;
	uint64_t bv = 3;
	int i, off;

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
	cpu->cc = (uint16_t)((t->in.rfl & 0xd5) << 8 | ((t->in.rfl >> 11) & 1));
	cpu->stop = STOP_NONE;
	engine_tlb(!t->slow);
	memset(in, 0, sizeof(in));
	for (i = 0, off = 0; i < t->count; off += t->ilen[i], i++) {
		in[i].off = (uint16_t)off;
		if (decode_insn(&dec[i], &in[i], t->code + off,
			(unsigned)(t->len - off), cpu->mode) != DEC_OK ||
		    dec[i].row != t->rows[i] || in[i].len != t->ilen[i]) {
			printf("%s: decoded as %s, %d bytes of %d\n",
			    t->rows[i]->name,
			    dec[i].row == NULL ? "nothing" : dec[i].row->name,
			    in[i].len, t->ilen[i]);
			return (false);
		}
	}
	decode_bind(dec, in, t->count);
	in[t->count].op = op_stop;
	ran_on = false;
	if (code)
		first = engine_code(t, in);
	soft_fpu_enter(cpu);
	if (t->x87_warm && !(cpu->fpu.fsw & FSW_ES))
		x87_load(cpu);
	else if (t->mmx_warm)
		(void)soft_mmx_check(cpu, in);
	cpu->stop = STOP_NONE;
	cpu->rip = 0;
	first->op(cpu, first);
	soft_fpu_leave(cpu);
	if (cpu->stop == STOP_NONE && cpu->rip == 0x10000 + (uint64_t)t->len)
		ran_on = true;
	n_code += code && jit_made(cpu);
	out->vec = cpu->stop == STOP_FAULT ? cpu->exc_vector + 1u : 0;
	t->row = t->rows[t->count - 1];
	for (i = 0, off = 0; i < t->count; off += t->ilen[i], i++)
		if (cpu->stop == STOP_FAULT && off == fault_off)
			t->row = t->rows[i];
	if (!ends && (cpu->stop == STOP_NONE) != ran_on) {
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

/* ---- comparison ---- */

/* The instruction and data pointers are not compared: the host keeps them
 * only while an exception is pending. */
static void
blank_pointers(const struct tcase *t, uint8_t *mem)
{
	const char *n = t->rows[t->count - 1]->name;
	uint8_t *p = mem + (t->in.gpr[R_SI] - (uint64_t)(uintptr_t)gmem);
	bool os16 = t->os16;

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

/*
 * Where an SSE exception is unmasked, some of what the host shows is out of
 * reach of an engine that runs with all masked, and undocumented or of no use
 * to a handler: an inexact flag beside unmasked overflow or underflow, and
 * the switch to MMX mode by a conversion that then faults.
 */
static void
forgive(const struct tcase *t, struct state *n, const struct state *e)
{
	uint32_t um = ~(e->fx.mxcsr >> 7) & 0x3f;

	if (n->vec != X_XM + 1)
		return;
	if (e->fx.mxcsr & um & 0x18)
		n->fx.mxcsr |= e->fx.mxcsr & 0x20;
	if (has(t->row, 'P') || has(t->row, 'Q')) {
		n->fx.fsw = e->fx.fsw;
		n->fx.ftw = e->fx.ftw;
		memcpy(n->fx.st, e->fx.st, sizeof(n->fx.st));
	}
}

static const char *
differs(const struct tcase *t, struct state *e)
{
	static char buf[80];
	struct state n = t->nat;
	uint64_t und = t->row->fl_undef;
	int i;

	forgive(t, &n, e);
	if (n.vec != e->vec) {
		snprintf(buf, sizeof(buf), "vector: host %d engine %d",
		    (int)n.vec - 1, (int)e->vec - 1);
		return (buf);
	}
	if (n.fx.fcw != e->fx.fcw)
		return ("FCW");
	if (n.fx.fsw != e->fx.fsw) {
		snprintf(buf, sizeof(buf),
		    "FSW: in %04x host %04x engine "
		    "%04x",
		    t->in.fx.fsw, n.fx.fsw, e->fx.fsw);
		return (buf);
	}
	if (n.fx.ftw != e->fx.ftw) {
		snprintf(buf, sizeof(buf),
		    "FTW: in %02x host %02x engine "
		    "%02x",
		    t->in.fx.ftw, n.fx.ftw, e->fx.ftw);
		return (buf);
	}
	for (i = 0; i < 8; i++)
		if (n.fx.st[i].mant != e->fx.st[i].mant ||
		    n.fx.st[i].se != e->fx.st[i].se) {
			snprintf(buf, sizeof(buf),
			    "ST%d: host %04x:%016lx "
			    "engine %04x:%016lx",
			    i, n.fx.st[i].se, n.fx.st[i].mant, e->fx.st[i].se,
			    e->fx.st[i].mant);
			return (buf);
		}
	for (i = 0; i < 16; i++)
		if (memcmp(n.fx.xmm[i], e->fx.xmm[i], 16) != 0) {
			snprintf(buf, sizeof(buf), "XMM%d", i);
			return (buf);
		}
	if (n.fx.mxcsr != e->fx.mxcsr) {
		snprintf(buf, sizeof(buf),
		    "MXCSR: in %05x host %05x engine "
		    "%05x",
		    t->in.fx.mxcsr, n.fx.mxcsr, e->fx.mxcsr);
		return (buf);
	}
	for (i = 0; i < 16; i++)
		if (n.gpr[i] != e->gpr[i]) {
			snprintf(buf, sizeof(buf),
			    "GPR%d: host %lx engine "
			    "%lx",
			    i, n.gpr[i], e->gpr[i]);
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
			snprintf(buf, sizeof(buf),
			    "memory at %d: in %02x "
			    "host %02x engine %02x",
			    i -
				(int)(t->in.gpr[R_SI] -
				    (uint64_t)(uintptr_t)gmem),
			    t->in.mem[i], n.mem[i], e->mem[i]);
			return (buf);
		}
	return (NULL);
}

static int
judge(struct tcase *t, bool verbose)
{
	static struct state e;
	const char *why;
	bool translated = false;
	int i;

	why = !engine_run(t, &e, false) ? "cannot run" : differs(t, &e);
	if (why == NULL && cpu->core->jit != NULL) {
		translated = true;
		why = !engine_run(t, &e, true) ? "cannot run" : differs(t, &e);
	}
	if (why == NULL)
		return (0);
	if (translated)
		printf("translated: ");
	for (i = 0; i < t->count - 1; i++)
		printf("%s; ", t->rows[i]->name);
	printf("%s %s %s:", t->rows[i]->name, t->rows[i]->operands,
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

/* ---- gates: CR0.EM, CR0.TS, CR4.OSFXSR, CR4.OSXSAVE ---- */

/* The manuals' exception tables, by kind of instruction. */
static int
gate_expected(
    const struct optab *r, bool em, bool ts, bool osfxsr, bool osxsave)
{
	const char *n = r->name;
	bool mmx =
	    has(r, 'P') || has(r, 'Q') || has(r, 'N') || !strcmp(n, "emms");
	bool xmm = strpbrk(r->operands, "VWU") != NULL ||
	    !strcmp(n, "ldmxcsr") || !strcmp(n, "stmxcsr");

	if (!strcmp(n, "movnti") || !strcmp(n, "crc32"))
		return (-1);
	if (is_xsave(r) || !strcmp(n, "xgetbv") || !strcmp(n, "xsetbv")) {
		if (!osxsave)
			return (X_UD);
		return (ts && is_xsave(r) ? X_NM : -1);
	}
	if (!strcmp(n, "fxsave") || !strcmp(n, "fxrstor"))
		return (em || ts ? X_NM : -1);
	if (!strcmp(n, "fwait"))
		return (ts ? X_NM : -1); /* CR0.MP is set */
	if (!mmx && !xmm)
		return (em || ts ? X_NM : -1);
	if (em || (xmm && !osfxsr))
		return (X_UD);
	return (ts ? X_NM : -1);
}

static unsigned long
gates(void)
{
	static struct tcase t;
	static struct state e;
	unsigned long bad = 0;
	int want, got;

	for (size_t i = 0; i < optab_fp_n; i++)
		for (int k = 0; k < 32; k++) {
			const struct optab *r = &optab_fp[i];
			bool mem = k & 16;

			if ((r->feature & ~soft_features()) ||
			    !has_form(r, mem))
				continue;
			do
				gen_case(r, mem, &t);
			while (t.in.gpr[R_SI] & 63);
			/* Nothing pending, all masked, valid operands. */
			t.in.fx.fcw |= 0x3f;
			t.in.fx.fsw &= 0x7f00;
			t.in.fx.mxcsr |= 0x1f80;
			memset(t.in.mem + OPND, 0, 576);
			t.in.gpr[R_CX] = 0;
			t.in.gpr[R_AX] = 3;
			t.in.gpr[R_DX] = 0;
			cpu->cr0 = 0x80000033 | (k & 1 ? FP_CR0_EM : 0) |
			    (k & 2 ? FP_CR0_TS : 0);
			cpu->cr4 = 0x40620 &
			    ~((k & 4 ? FP_CR4_OSFXSR : 0u) |
				(k & 8 ? FP_CR4_OSXSAVE : 0u));
			t.x87_warm = t.mmx_warm = false;
			ends = !strcmp(r->name, "xsetbv");
			want =
			    gate_expected(r, k & 1, k & 2, !(k & 4), !(k & 8));
			got = engine_run(&t, &e, false) ? (int)e.vec - 1 : -2;
			if (got != want) {
				printf("%s %s: gate %d: vector %d, want %d\n",
				    r->name, r->operands, k, got, want);
				bad++;
			}
		}
	ends = false;
	cpu->cr0 = 0x80000033;
	cpu->cr4 = 0x40620;
	return (bad);
}

/* Runs what stands in cases[]; returns the number of failures. */
static unsigned long
run_batch(int wr, int rd, bool verbose)
{
	unsigned long bad = 0;
	uint8_t n = BATCH;

	if (write(wr, &n, 1) != 1 || read(rd, &n, 1) != 1) {
		printf("%s: the native child died\n", cases[0].rows[0]->name);
		exit(1);
	}
	for (int j = 0; j < n; j++)
		if (bad < 3 || !verbose)
			bad += (unsigned)judge(&cases[j], verbose);
	return (bad);
}

int
main(int argc, char **argv)
{
	int ch, cases_per_form = 300, sequences = 20000, down[2], up[2], st;
	unsigned long total = 0, failed = 0, forms = 0;
	bool verbose = false;
	pid_t pid;

	while ((ch = getopt(argc, argv, "n:q:s:v")) != -1)
		switch (ch) {
		case 'n':
			cases_per_form = atoi(optarg);
			break;
		case 'q':
			sequences = atoi(optarg);
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
		if (!named || skipped(r))
			continue;
		for (int mem = 0; mem < 2; mem++) {
			if (!has_form(r, mem))
				continue;
			forms++;
			for (int k = 0; k < cases_per_form; k += BATCH) {
				for (int j = 0; j < BATCH; j++)
					gen_case(r, mem, &cases[j]);
				failed += run_batch(down[1], up[0], verbose);
				total += BATCH;
			}
		}
	}
	if (optind == argc)
		failed += gates();
	for (int k = 0; k < sequences && optind == argc; k += BATCH) {
		for (int j = 0; j < BATCH; j++)
			gen_seq(&cases[j]);
		failed += run_batch(down[1], up[0], verbose);
		total += BATCH;
	}
	close(down[1]);
	waitpid(pid, &st, 0);
	printf("%lu forms, %lu cases, %lu translated, %lu failed\n", forms,
	    total, n_code, failed);
	return (failed != 0);
}
