/*
 * Long mode: four levels of paging with a page in the upper half, page
 * faults, NX, FS and GS bases, level 3 by IRETQ and back.
 */
#include "mac.inc"
#include "long.inc"
	NAME kvm_long64
	.bss
	.balign 4096
hpdp:	.skip 4096
hpd:	.skip 4096
hpt:	.skip 4096
page:	.skip 4096
upage:	.skip 4096
	.data
	.balign 8
resume0: .quad 0
	.text
	.code64
	.macro SETMSR msr, lo, hi=0
	movl $\msr, %ecx
	movl $\lo, %eax
	movl $\hi, %edx
	wrmsr
	.endm
	/* #GP: the way back from level 3, or else recorded as ever. */
gp:	cmpq $0, resume0(%rip)
	je qstubs + 13 * 16
	movl $stack_top, %esp
	movq resume0(%rip), %rax
	movq $0, resume0(%rip)
	jmp *%rax
	.code32
main:
	movl $hpdp + 7, pml4 + 256 * 8
	movl $hpd + 7, hpdp
	movl $hpd + 7, pdp + 8		/* the same tables from 1 GiB on */
	movl $hpt + 7, hpd
	movl $page + 3, hpt
	movl $page + 1, hpt + 8
	movl $page + 3, hpt + 16
	movl $0x80000000, hpt + 20	/* NX */
	movl $upage + 7, hpt + 32
	LONG_MODE
	movl $gp, %eax
	movw %ax, (idt+13*16)(%rip)
	shrl $16, %eax
	movw %ax, (idt+13*16+6)(%rip)
	/* A failed check at level 3, where INT may not get through. */
	movl $fail64_0, %eax
	movw %ax, (idt+6*16)(%rip)
	shrl $16, %eax
	movw %ax, (idt+6*16+6)(%rip)
	movq $0xffff800000000000, %rbx
	movq $0x1122334455667788, %rax
	movq %rax, 8(%rbx)
	EQQ %rax, (page+8)(%rip)
	EQQ %rax, 0x1008(%rbx)
	movq hpt(%rip), %rcx
	andl $0x60, %ecx
	EQQ $0x60, %rcx
	/* faults: not there, read-only, no execution, not canonical */
	FAULTQ 14, 0, movq 0x3000(%rbx), %rax
	leaq 0x3000(%rbx), %rcx
	EQQ %rcx, q_cr2(%rip)
	FAULTQ 14, 2, movq %rax, 0x3ff8(%rbx)
	FAULTQ 14, 3, movq %rax, 0x1000(%rbx)
	TESTNO64
	movb $0xc3, page(%rip)
	leaq 0x2000(%rbx), %rcx
	movl $1f, q_resume(%rip)
	call *%rcx
	jmp fail64
1:	movl $stack_top, %esp
	EQQ $14, q_vec(%rip)
	EQQ $0x11, q_err(%rip)
	EQQ %rcx, q_rip(%rip)
	TESTNO64
	call *%rbx			/* the same page where it may run */
	movq $0x0000900000000000, %rdx
	FAULTQ 13, 0, movq (%rdx), %rax
	/* bases */
	SETMSR 0xc0000101, 0x10, 0xffff8000
	movq $0x55, page+0x18(%rip)
	movq %gs:8, %rax
	EQQ $0x55, %rax
	SETMSR 0xc0000100, page
	movq %fs:0x18, %rax
	EQQ $0x55, %rax
	/*
	 * Level 3 in a page of its own, the rest is not for it: a fault, and
	 * out by #GP.  kvm_pvm runs level 3 as it is: in the fault's error
	 * code are the P and RSVD bits of its own tables, INT n is #UD,
	 * SYSCALL stays in level 3 with selectors that are not Linux's.
	 */
	movl $pd, %edi
	movl $512, %ecx
2:	andb $~4, (%rdi)
	addl $8, %edi
	decl %ecx
	jnz 2b
	movq %cr3, %rax
	movq %rax, %cr3
	movl $user, %esi
	movl $upage, %edi
	movl $user_end - user, %ecx
	rep movsb
	movl $0x40004000, %edi
	movl $page, %esi
	leaq user1 - user(%rdi), %rax
	movq %rax, q_resume(%rip)
	xorl %r12d, %r12d
	movq $0x0123456789abcdef, %r15
	movl $3f, resume0(%rip)
	pushq $UDS
	leaq 0x1000(%rdi), %rax
	pushq %rax
	pushq $0x202
	pushq $UCS64
	pushq %rdi
	iretq
3:	EQQ $14, q_vec(%rip)
	movl q_err(%rip), %eax
	andl $6, %eax
	EQQ $4, %rax
	EQQ %rsi, q_cr2(%rip)
	EQQ %rdi, q_rip(%rip)
	EQQ $UCS64, q_cs(%rip)
	EQQ $UDS, q_ss(%rip)
	leaq 0x1000(%rdi), %rax
	EQQ %rax, q_rsp(%rip)
	EQQ $7, %r12
	movq $0x0123456789abcdef, %rax
	EQQ %rax, %r15
	jmp pass64
	/* What level 3 runs. */
user:	movq (%rsi), %rax
user1:	pushq $7
	popq %r12
	hlt
user_end:
