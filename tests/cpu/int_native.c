/*
 * Runs one instruction on the host.  A trampoline loads the registers and
 * enters the code with a far jump; landing pads and the signal handler save
 * what it left.
 */
#include <sys/mman.h>
#include <sys/syscall.h>

#include <asm/ldt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "int_native.h"

#define SEL_CODE16 0x0fu
#define SEL_DATA16 0x17u
#define SEL_CODE32 0x1fu
#define SEL_DATA32 0x27u
#define SEL_BASE32 0x2fu /* to 4 GiB from a base, as thread-local data is */
#define PAD_OFF 0xe00u	 /* 64-bit landing pads, from CODE_OFF */

static const struct nseg segs[N_MODES][6] = {
	[N_64] = {
		{0, 0, ~0u, 0x1c093}, {0x33, 0, ~0u, 0xa0fb},
		{0x2b, 0, ~0u, 0xc0f3}, {0, 0, ~0u, 0x1c093},
		{0, 0, ~0u, 0x1c093}, {0, ARENA, ~0u, 0x1c093},
	},
	[N_32] = {
		{0x2b, 0, ~0u, 0xc0f3}, {0x23, 0, ~0u, 0xc0fb},
		{0x2b, 0, ~0u, 0xc0f3}, {0x2b, 0, ~0u, 0xc0f3},
		{0, 0, 0, 0x10000}, {SEL_BASE32, ARENA, ~0u, 0xc0f3},
	},
	[N_32SEG] = {
		{SEL_DATA32, ARENA, DATA_LEN - 1, 0x40f3},
		{SEL_CODE32, ARENA, 0xffff, 0x40fb},
		{SEL_DATA32, ARENA, DATA_LEN - 1, 0x40f3},
		{SEL_DATA32, ARENA, DATA_LEN - 1, 0x40f3},
		{0, 0, 0, 0x10000},
		{SEL_DATA32, ARENA, DATA_LEN - 1, 0x40f3},
	},
	[N_16] = {
		{SEL_DATA16, ARENA, DATA_LEN - 1, 0x00f3},
		{SEL_CODE16, ARENA, 0xffff, 0x00fb},
		{SEL_DATA16, ARENA, DATA_LEN - 1, 0x00f3},
		{SEL_DATA16, ARENA, DATA_LEN - 1, 0x00f3},
		{0, 0, 0, 0x10000},
		{SEL_DATA16, ARENA, DATA_LEN - 1, 0x00f3},
	},
};

/* Used by the trampoline; names are the assembler's. */
struct nctx nat_ctx;
struct {
	uint32_t off;
	uint16_t sel;
} __attribute__((__packed__)) nat_entry;
uint64_t nat_hostsp, nat_ss, nat_ds, nat_gs, nat_gsbase;
void nat_enter(void);
void nat_fall(void);
void nat_taken(void);
void nat_fault(void);

/*
 * gpr[4] is rSP.  Between loading SS and coming back no host stack exists;
 * signals use the alternate one.
 */
__asm__(
    ".text\n"
    "nat_enter:\n"
    "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "	mov %rsp, nat_hostsp(%rip)\n"
    "	mov nat_ds(%rip), %eax\n"
    "	mov %eax, %ds\n"
    "	mov %eax, %es\n"
    "	mov nat_gs(%rip), %eax\n"
    "	mov %eax, %gs\n"
    "	cmpl $0x33, nat_entry+4(%rip)\n"
    "	jne 1f\n"
    "	mov nat_gsbase(%rip), %rax\n"
    "	wrgsbase %rax\n"
    "1:	pushq nat_ctx+128(%rip)\n"
    "	popfq\n"
    "	mov nat_ss(%rip), %eax\n"
    "	mov %eax, %ss\n"
    "	mov nat_ctx+0(%rip), %rax\n"
    "	mov nat_ctx+8(%rip), %rcx\n"
    "	mov nat_ctx+16(%rip), %rdx\n"
    "	mov nat_ctx+24(%rip), %rbx\n"
    "	mov nat_ctx+32(%rip), %rsp\n"
    "	mov nat_ctx+40(%rip), %rbp\n"
    "	mov nat_ctx+48(%rip), %rsi\n"
    "	mov nat_ctx+56(%rip), %rdi\n"
    "	mov nat_ctx+64(%rip), %r8\n"
    "	mov nat_ctx+72(%rip), %r9\n"
    "	mov nat_ctx+80(%rip), %r10\n"
    "	mov nat_ctx+88(%rip), %r11\n"
    "	mov nat_ctx+96(%rip), %r12\n"
    "	mov nat_ctx+104(%rip), %r13\n"
    "	mov nat_ctx+112(%rip), %r14\n"
    "	mov nat_ctx+120(%rip), %r15\n"
    "	ljmp *nat_entry(%rip)\n"
    "nat_taken:\n"
    "	movl $1, nat_ctx+136(%rip)\n"
    "	jmp nat_save\n"
    "nat_fall:\n"
    "	movl $0, nat_ctx+136(%rip)\n"
    "nat_save:\n"
    "	mov %rax, nat_ctx+0(%rip)\n"
    "	mov %rcx, nat_ctx+8(%rip)\n"
    "	mov %rdx, nat_ctx+16(%rip)\n"
    "	mov %rbx, nat_ctx+24(%rip)\n"
    "	mov %rsp, nat_ctx+32(%rip)\n"
    "	mov %rbp, nat_ctx+40(%rip)\n"
    "	mov %rsi, nat_ctx+48(%rip)\n"
    "	mov %rdi, nat_ctx+56(%rip)\n"
    "	mov %r8, nat_ctx+64(%rip)\n"
    "	mov %r9, nat_ctx+72(%rip)\n"
    "	mov %r10, nat_ctx+80(%rip)\n"
    "	mov %r11, nat_ctx+88(%rip)\n"
    "	mov %r12, nat_ctx+96(%rip)\n"
    "	mov %r13, nat_ctx+104(%rip)\n"
    "	mov %r14, nat_ctx+112(%rip)\n"
    "	mov %r15, nat_ctx+120(%rip)\n"
    "	mov nat_hostsp(%rip), %rsp\n"
    "	pushfq\n"
    "	popq nat_ctx+128(%rip)\n"
    "nat_fault:\n"
    "	mov $0x2b, %eax\n"
    "	mov %eax, %ss\n"
    "	mov nat_hostsp(%rip), %rsp\n"
    "	xor %eax, %eax\n"
    "	mov %eax, %ds\n"
    "	mov %eax, %es\n"
    "	mov %eax, %gs\n"
    "	cld\n"
    "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "	ret\n");
_Static_assert(__builtin_offsetof(struct nctx, flags) == 128, "layout");
_Static_assert(__builtin_offsetof(struct nctx, path) == 136, "layout");

static enum nmode nat_mode;

/* A fault of the tested instruction: its state is the signal's. */
static void
on_signal(int sig, siginfo_t *si, void *arg)
{
	static const int order[16] = {
		REG_RAX,
		REG_RCX,
		REG_RDX,
		REG_RBX,
		REG_RSP,
		REG_RBP,
		REG_RSI,
		REG_RDI,
		REG_R8,
		REG_R9,
		REG_R10,
		REG_R11,
		REG_R12,
		REG_R13,
		REG_R14,
		REG_R15,
	};
	greg_t *g = ((ucontext_t *)arg)->uc_mcontext.gregs;
	uint64_t csgsfs;

	if (nat_ctx.vector != -2) {
		signal(sig, SIG_DFL);
		return;
	}
	for (int i = 0; i < 16; i++)
		nat_ctx.gpr[i] = (uint64_t)g[order[i]];
	nat_ctx.flags = (uint64_t)g[REG_EFL];
	nat_ctx.vector = (int)g[REG_TRAPNO];
	nat_ctx.err = (uint32_t)g[REG_ERR];
	nat_ctx.cr2 = (uint64_t)g[REG_CR2];
	nat_ctx.rip = (uint64_t)g[REG_RIP];
	g[REG_RIP] = (greg_t)(uintptr_t)nat_fault;
	g[REG_RSP] = (greg_t)nat_hostsp;
	g[REG_EFL] = 0x202;
	/* Back to 64-bit code: CS in the low word, SS in the high one. */
	csgsfs = (uint64_t)g[REG_CSGSFS];
	csgsfs = (csgsfs & 0x0000ffffffff0000ull) | 0x33 | 0x2bull << 48;
	g[REG_CSGSFS] = (greg_t)csgsfs;
	(void)si;
}

static bool
ldt_entry(unsigned sel, bool code, bool wide, unsigned limit)
{
	struct user_desc d;

	memset(&d, 0, sizeof(d));
	d.entry_number = sel >> 3;
	d.base_addr = (unsigned)ARENA;
	d.limit = limit;
	d.limit_in_pages = limit > 0xffff;
	d.seg_32bit = wide;
	d.contents = code ? 2 : 0;
	d.useable = 1;
	return (syscall(SYS_modify_ldt, 1, &d, sizeof(d)) == 0);
}

static void
put_jmp64(uint8_t *p, void (*to)(void))
{
	uint64_t a = (uint64_t)(uintptr_t)to;

	p[0] = 0xff; /* jmp *0(%rip) */
	p[1] = 0x25;
	memset(p + 2, 0, 4);
	memcpy(p + 6, &a, 8);
}

bool
native_init(void)
{
	static uint8_t altstack[65536];
	const stack_t ss = { .ss_sp = altstack, .ss_size = sizeof(altstack) };
	static const int sigs[] = { SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP };
	struct sigaction sa;
	uint8_t *p;

	p = mmap((void *)ARENA, 0x10000, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (p == MAP_FAILED ||
	    mprotect(p, DATA_LEN, PROT_READ | PROT_WRITE) != 0 ||
	    mprotect(p + CODE_OFF, CODE_LEN,
		PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
		return (false);
	put_jmp64(p + CODE_OFF + PAD_OFF, nat_fall);
	put_jmp64(p + CODE_OFF + PAD_OFF + 16, nat_taken);
	if (sigaltstack(&ss, NULL) != 0)
		return (false);
	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = on_signal;
	sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaction(sigs[i], &sa, NULL);
	return (ldt_entry(SEL_CODE16, true, false, 0xffff) &&
	    ldt_entry(SEL_DATA16, false, false, DATA_LEN - 1) &&
	    ldt_entry(SEL_CODE32, true, true, 0xffff) &&
	    ldt_entry(SEL_DATA32, false, true, DATA_LEN - 1) &&
	    ldt_entry(SEL_BASE32, false, true, 0xfffff));
}

const struct nseg *
native_segs(enum nmode mode)
{
	return (segs[mode]);
}

static void
put_exit(enum nmode mode, uint8_t *p, bool taken)
{
	uint32_t pad = (uint32_t)ARENA + CODE_OFF + PAD_OFF + (taken ? 16 : 0);

	if (mode == N_64) {
		put_jmp64(p, taken ? nat_taken : nat_fall);
		return;
	}
	if (mode == N_16)
		*p++ = 0x66;
	*p++ = 0xea; /* ljmp $0x33, pad */
	memcpy(p, &pad, 4);
	p[4] = 0x33;
	p[5] = 0;
}

void
native_code(enum nmode mode, const uint8_t *code, unsigned len)
{
	uint8_t *p = (uint8_t *)ARENA + CODE_OFF;

	memcpy(p, code, len);
	put_exit(mode, p + len, false);
	put_exit(mode, p + TAKEN_OFF, true);
}

void
native_run(enum nmode mode, struct nctx *ctx)
{
	const struct nseg *s = segs[mode];

	nat_mode = mode;
	nat_ctx = *ctx;
	nat_ctx.vector = -2;
	nat_entry.sel = s[1].sel;
	nat_entry.off = CODE_OFF + (s[1].base == 0 ? (uint32_t)ARENA : 0);
	nat_ss = s[2].sel;
	nat_ds = s[3].sel;
	nat_gs = s[5].sel;
	nat_gsbase = s[5].base;
	nat_enter();
	if (nat_ctx.vector == -2)
		nat_ctx.vector = -1;
	*ctx = nat_ctx;
}
