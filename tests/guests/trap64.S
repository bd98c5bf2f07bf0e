/*
 * Debug traps where an instruction switches levels or loads SS: SYSCALL and
 * SYSRET trap by the TF that they leave, SYSENTER by the one it found; behind
 * MOV SS a breakpoint on code does not hit (Intel's rule), and what a
 * watchpoint saw there is told by the next #DB.
 */
#include "mac.inc"
#include "long.inc"
	NAME trap64
	.set KCS, SPARE			/* 64-bit code, data behind it */
	.data
sel:	.long 0
	.text
	.code64
	.macro SETMSR msr, lo, hi=0
	movl $\msr, %ecx
	movl $\lo, %eax
	movl $\hi, %edx
	wrmsr
	.endm
	/* The next #DB is to come at label, and goes on at then. */
	.macro AWAIT then
	movq $-1, q_vec(%rip)
	movl $\then, q_resume(%rip)
	.endm
	.macro CAME_AT label, cs
	EQQ $1, q_vec(%rip)
	EQS \label, q_rip(%rip)
	EQQ $\cs, q_cs(%rip)
	.endm
	.macro DR6 val
	movq %dr6, %rax
	andl $0xe00f, %eax
	EQQ $\val, %rax
	xorl %eax, %eax
	movq %rax, %dr6
	.endm
	.macro SETDR n, val
	movl $\val, %eax
	movq %rax, %dr\n
	.endm

	.code32
main:	movl gdt + CS64 + 4, %eax
	movl %eax, gdt + KCS + 4
	movl gdt + DS32 + 4, %eax
	movl %eax, gdt + KCS + 8 + 4
	movl $0xffff, gdt + KCS
	movl $0xffff, gdt + KCS + 8
	LONG_MODE
	SETMSR 0xc0000081, 0, (KCS | UCS32 << 16)
	SETMSR 0xc0000082, entry
	SETMSR 0xc0000084, 0
	xorl %eax, %eax
	movq %rax, %dr6

	/* SYSRET with TF in R11: the trap stands in front of the first one */
	AWAIT 2f
	movl $1f, %ecx
	movl $0x102, %r11d
	sysretq
1:	jmp fail64
2:	CAME_AT 1b, UCS64

	/* SYSCALL that keeps TF: in front of the entry's first */
	AWAIT 2f
	pushq $0x102
	popfq
	syscall
	jmp fail64
entry:	jmp fail64
2:	CAME_AT entry, KCS
	DR6 0x4000

	/* SYSCALL that masks TF: none */
	SETMSR 0xc0000084, 0x100
	SETMSR 0xc0000082, masked
	movl $1f, %ecx
	movl $2, %r11d
	sysretq
1:	AWAIT 2f
	pushq $0x102
	popfq
	syscall
2:	jmp fail64
masked:	nop
	nop
	EQQ $-1, q_vec(%rip)
	DR6 0
	movl $stack_top, %esp

	/* SYSENTER leaves TF: in front of the entry's first */
	SETMSR 0x174, KCS
	SETMSR 0x175, stack_top
	SETMSR 0x176, fast
	movl $1f, %ecx
	movl $2, %r11d
	sysretq
1:	AWAIT 2f
	pushq $0x102
	popfq
	sysenter
	jmp fail64
fast:	jmp fail64
2:	CAME_AT fast, KCS
	DR6 0x4000
	movl $stack_top, %esp

	/* a breakpoint on code, with and without MOV SS before it */
	SETDR 0, 1f
	SETDR 7, 0x402
	AWAIT 2f
	xorl %eax, %eax
	movw %ax, %ss
1:	incl %eax
	EQQ $1, %rax
	EQQ $-1, q_vec(%rip)
	DR6 0
	jmp 1b
2:	CAME_AT 1b, KCS
	DR6 1

	/* MOV SS from a watched place, then INT1: one #DB tells both */
	SETDR 0, sel
	SETDR 7, (0x402|0xf<<16)
	AWAIT 2f
	movw sel(%rip), %ss
	.byte 0xf1
1:	jmp fail64
2:	CAME_AT 1b, KCS
	DR6 1
	/* and alone, once SS is in force */
	AWAIT 2f
	movw sel(%rip), %ss
	nop
1:	jmp fail64
2:	CAME_AT 1b, KCS
	DR6 1
	jmp pass64
