/*
 * Does what a table in memory says, one row after the other, and writes there
 * what came of it: CPUID, RDMSR, WRMSR and what they depend on.  The table
 * stands at 2 MiB when the machine starts:
 *
 *	0	1: the rows are executed in flat 32-bit mode, else in long mode
 *	4	how many other processors are started first
 *	64	rows of 48 bytes: operation and up to three operands; EAX,
 *		EBX, ECX and EDX behind it; vector (-1: none), error code,
 *		and whether the exception was the instruction's own
 *
 * Each other processor goes through the leaves listed at 0x8800 (leaf and
 * subleaf, -1 ends the list) in real mode, and writes 16 bytes for each at
 * 0x10000 + 256 times its APIC ID.
 */
#include "mac.inc"
#include "long.inc"
#include "kvm.inc"
	NAME cpuid_msrs
	.set TABLE, 0x200000
	.set ROW, 48
	.set TRAMPOLINE, 0x8000
	.set LEAVES, 0x8800
	.set RESULTS, 0x1000		/* a segment */

	.set CPUID, 1
	.set RDMSR, 2
	.set WRMSR, 3
	.set CR4, 4			/* set the bits of one operand, clear others */
	.set XSETBV, 5
	.set RDTSC, 6
	.set RDTSCP, 7
	.set INVPCID, 8			/* all contexts */

	.text
	.code16
ap16:	cli
	xorw %ax, %ax
	movw %ax, %ds
	movw $RESULTS, %ax
	movw %ax, %es
	movl $1, %eax
	cpuid
	shrl $24, %ebx
	shll $8, %ebx
	movw %bx, %di
	movw $LEAVES, %si
1:	movl (%si), %eax
	cmpl $-1, %eax
	je 2f
	movl 4(%si), %ecx
	cpuid
	movl %eax, %es:(%di)
	movl %ebx, %es:4(%di)
	movl %ecx, %es:8(%di)
	movl %edx, %es:12(%di)
	addw $8, %si
	addw $16, %di
	jmp 1b
2:	lock incl TRAMPOLINE + ap_count - ap16
3:	cli
	hlt
	jmp 3b
	.balign 4
ap_count: .long 0
ap16_end:
	.code32

	/* The instruction of a row, and what came of it. */
	.macro GUARDED w, at, insn:vararg
	movl $-1, \w\()_vec\at
	movl $9921f, \w\()_resume\at
9920:	\insn
9921:	movl %eax, 16(%edi)
	movl %ebx, 20(%edi)
	movl %ecx, 24(%edi)
	movl %edx, 28(%edi)
	movl \w\()_vec\at, %eax
	movl %eax, 32(%edi)
	movl \w\()_err\at, %eax
	movl %eax, 36(%edi)
	xorl %eax, %eax
	cmpl $9920b, \w\()_rip\at
	sete %al
	movl %eax, 40(%edi)
	movl $0, \w\()_resume\at
	jmp 9949f
	.endm
	.macro OPERATION number, w, at, insn:vararg
	cmpl $\number, (%edi)
	jne 9930f
	GUARDED \w, \at, \insn
9930:
	.endm
	.macro ROWS w, at, reg
	movl $TABLE + 64, %edi
	xorl %ebx, %ebx
9940:	movl 4(%edi), %ecx
	movl 8(%edi), %eax
	movl 12(%edi), %edx
	OPERATION RDMSR, \w, \at, rdmsr
	OPERATION WRMSR, \w, \at, wrmsr
	OPERATION XSETBV, \w, \at, xsetbv
	OPERATION RDTSC, \w, \at, rdtsc
	OPERATION RDTSCP, \w, \at, rdtscp
	xchgl %eax, %ecx
	OPERATION CPUID, \w, \at, cpuid
	OPERATION INVPCID, \w, \at, invpcid 16(%edi), %\reg
	mov %cr4, %\reg
	orl 4(%edi), %eax
	notl %ecx
	andl %ecx, %eax
	OPERATION CR4, \w, \at, mov %\reg, %cr4
	ret
9949:	addl $ROW, %edi
	jmp 9940b
	.endm
	.set x_rip, x_eip
	.code64
rows64:	ROWS q, (%rip), rax
	.code32
rows32:	ROWS x, , eax

start_others:
	movl $ap16, %esi
	movl $TRAMPOLINE, %edi
	movl $ap16_end - ap16, %ecx
	cld
	rep movsb
	LAPIC_ON
	movl $0xc4500, LAPIC_ICR	/* INIT to all others, then SIPI */
	movl $0xc4600 + (TRAMPOLINE >> 12), LAPIC_ICR
1:	pause
	movl TRAMPOLINE + ap_count - ap16, %eax
	cmpl TABLE + 4, %eax
	jb 1b
	ret

main:	cmpl $0, TABLE + 4
	je 1f
	call start_others
1:	cmpl $1, TABLE
	je 2f
	LONG_MODE
	call rows64
	pushq $CS32
	PUSHS 3f
	lretq
	.code32
2:	call rows32
3:	movl $0x404, %edx		/* off */
	movl $0x3400, %eax
	outw %ax, %dx
1:	hlt
	jmp 1b
