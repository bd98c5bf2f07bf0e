/*
 * Code that changes while it is hot: stores into the running block, into a
 * block that a loop is linked to, into another page; the same address mapped
 * to other code; a fault in the middle of a block that ran often.
 */
#include "mac.inc"
#include "long.inc"
	NAME smc64
	.set WIN, 0x40000000	/* behind the identity map: pt's pages */
	.set TURNS, 300
	.code32
main:	LONG_MODE
	/* A function that is written anew before each call. */
	movl $TURNS, %ecx
1:	movl %ecx, func+1(%rip)
	call func
	EQQ %rcx, %rax
	decl %ecx
	jnz 1b
	/* The instruction behind the store, in the same block. */
	movl $TURNS, %ecx
1:	xorl %edx, %edx
	movb %cl, 2f+1(%rip)
2:	movb $0, %dl
	movzbl %cl, %eax
	EQQ %rax, %rdx
	decl %ecx
	jnz 1b
	/* A store by an unaligned write that reaches into the next block. */
	movl $TURNS, %ecx
1:	movw %cx, 2f+2(%rip)
	jmp 2f
	.byte 0
2:	movw $0, %bx
	cmpw %cx, %bx
	jne fail64
	decl %ecx
	jnz 1b
	/* A loop of three blocks linked to each other; the third changes now
	 * and then, which the first does. */
	movl $TURNS, %ecx
	xorl %esi, %esi
	xorl %edi, %edi
1:	movl %ecx, %eax
	andl $31, %eax
	jnz 2f
	addb $1, 3f+2(%rip)
	incl %edi
2:	testl %ecx, %ecx
	jz 4f
3:	addl $0, %esi		/* 83 /0 ib */
	decl %ecx
	jmp 1b
4:	movzbl 3b+2(%rip), %eax
	EQQ %rax, %rdi
	/* 12 turns with 0, then 32 turns with 1 to 9 */
	EQQ $(32*45), %rsi
	/* One address, two pages of code: INVLPG, then CR3, tells. */
	movl $(pt+7), %eax
	movl %eax, pdp+8(%rip)
	movl $(pt2+7), %eax
	movl %eax, pt(%rip)
	movl $TURNS, %ebp
1:	movl $page_a, %eax
	testl $1, %ebp
	jz 2f
	movl $page_b, %eax
2:	orl $7, %eax
	movl %eax, pt2(%rip)
	movl $WIN, %ebx
	testl $2, %ebp
	jz 3f
	invlpg (%rbx)
	jmp 4f
3:	movq %cr3, %rax
	movq %rax, %cr3
4:	xorl %eax, %eax
	call *%rbx
	movl %ebp, %edx
	andl $1, %edx
	incl %edx
	EQQ %rdx, %rax
	decl %ebp
	jnz 1b
	/* A store through another mapping of a page with code. */
	movl $(page_a+7), pt2(%rip)
	invlpg (%rbx)
	movl $TURNS, %ebp
1:	movl %ebp, WIN+1
	movl $page_a, %edx
	call *%rdx
	EQQ %rbp, %rax
	movl %ebp, %edx
	notl %edx
	movl %edx, page_a+1(%rip)
	call *%rbx
	EQQ %rdx, %rax
	decl %ebp
	jnz 1b
	/* A fault in a hot block: registers and flags of that instruction. */
	movl $TURNS, %ebp
1:	movl $50, %ecx
	movl $(WIN+0x1000-51*8), %esi
	movq $-1, q_vec(%rip)
	movl $3f, q_resume(%rip)
2:	addq $8, %rsi
	subl $1, %ecx
	movq (%rsi), %rax
	leaq 1(%rcx), %rdx
	jmp 2b
3:	EQQ $14, q_vec(%rip)
	EQS (2b+7), q_rip(%rip)
	EQS (WIN+0x1000), q_cr2(%rip)
	EQS (WIN+0x1000), %rsi
	incl %ecx
	EQQ $0, %rcx
	movq q_flags(%rip), %rax
	andl $0x8d5, %eax
	EQQ $0x95, %rax		/* CF PF AF SF */
	EQQ $1, %rdx
	decl %ebp
	jnz 1b
	/* The same where a store faults and the flags are dead behind it. */
	movl $TURNS, %ebp
1:	movl $50, %ecx
	movl $(WIN+0x1000-50*8), %esi
	movq $-1, q_vec(%rip)
	movl $3f, q_resume(%rip)
2:	subl $1, %ecx
	movq %rcx, (%rsi)
	cmpl $100, %ecx
	leaq 8(%rsi), %rsi
	jne 2b
3:	EQQ $14, q_vec(%rip)
	EQS (WIN+0x1000), q_cr2(%rip)
	EQS (2b+3), q_rip(%rip)
	movq q_flags(%rip), %rax
	andl $0x8d5, %eax
	EQQ $0x95, %rax
	decl %ebp
	jnz 1b
	jmp pass64

	.balign 64
func:	movl $0, %eax
	ret
	.bss
	.balign 4096
pt2:	.skip 4096
	.data
	.balign 4096
page_a:	.byte 0xb8
	.long 1
	ret
	.balign 4096
page_b:	.byte 0xb8
	.long 2
	ret
	.balign 4096
	.text
