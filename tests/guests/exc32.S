/* Exceptions of 32-bit protected mode: vector, error code, saved EIP. */
#include "mac.inc"
	NAME exc32
	.set D_DF, SPARE		/* TSS of the double fault task */

	.bss
	.balign 4096
pgdir:	.skip 4096
pgtab:	.skip 4096
	.data
	.balign 4096
page:	.skip 4096
bounds:	.long 10, 20
save:	.long 0
	.text
main:
	/* faults without an error code */
	xorl %ecx, %ecx
	movl $1, %eax
	xorl %edx, %edx
	FAULTS_NE 0, divl %ecx
	movl $1, %edx
	movl $1, %ecx
	FAULTS_NE 0, divl %ecx
	movl $0x80000000, %eax
	movl $-1, %ecx
	cltd
	FAULTS_NE 0, idivl %ecx
	FAULTS_NE 6, ud2
	FAULTS_NE 6, .byte 0x0f, 0xff, 0xc0
	FAULTS_NE 6, .byte 0xf0, 0x90
	FAULTS_NE 6, .byte 0xf0, 0x01, 0xc0
	FAULTS_NE 6, .byte 0x8e, 0xc8
	FAULTS_NE 6, .byte 0x0f, 0x20, 0xc8
	FAULTS_NE 6, .byte 0x8d, 0xc0
	FAULTS_NE 6, .byte 0x0f, 0x01, 0xc1
	movl $30, %eax
	FAULTS_NE 5, bound %eax, bounds
	movl $15, %eax
	bound %eax, bounds
	TRAPS 3, int3
	TRAPS 3, int $3
	TRAPS 33, int $33
	TESTNO
	testl $0x10000, x_flags
	jnz fail
	TESTNO
	movb $0x7f, %al
	addb $1, %al
	into
1:	EQ $4, x_vec
	EQ $1b, x_eip
	xorl %eax, %eax
	TESTNO
	movl $0xffffffff, x_vec
	into
	EQ $-1, x_vec

	/* a software interrupt sees the gate: beyond the limit, not there */
	FAULTS 13, (200*8+2), int $200
	andb $0x7f, idt + 40 * 8 + 5
	FAULTS 11, (40*8+2), int $40
	movw $0, idt + 41 * 8 + 2
	FAULTS 13, 0, int $41
	movw $DS32, idt + 42 * 8 + 2
	FAULTS 13, DS32, int $42
	movb $0x80, idt + 43 * 8 + 5
	FAULTS 13, (43*8+2), int $43
	/* interrupt gates clear IF, trap gates leave it */
	movb $0xef, idt + 44 * 8 + 5
	movl $2f, %eax
	movw %ax, idt + 44 * 8
	shrl $16, %eax
	movw %ax, idt + 44 * 8 + 6
	jmp 3f
2:	pushfl
	popl save
	iretl
3:	pushl $0x202
	popfl
	int $44
	movl save, %eax
	cli
	andl $0x200, %eax
	EQ $0x200, %eax
	pushl $0x202
	popfl
	movb $0xee, idt + 44 * 8 + 5
	int $44
	movl save, %eax
	pushfl
	popl %ecx
	cli
	andl $0x200, %eax
	EQ $0, %eax
	andl $0x200, %ecx
	EQ $0x200, %ecx

	/* #NM */
	movl %cr0, %eax
	orl $8, %eax
	movl %eax, %cr0
	FAULTS_NE 7, fnop
	clts
	fnop

	/* #PF */
	movl $pgtab, %edi
	movl $3, %eax
	movl $1024, %ecx
1:	stosl
	addl $4096, %eax
	loop 1b
	movl $pgtab + 3, pgdir
	movl $pgdir, %eax
	movl %eax, %cr3
	movl %cr0, %eax
	orl $0x80010000, %eax
	movl %eax, %cr0
	FAULTS 14, 0, movl 0x400000, %eax
	EQ $0x400000, x_cr2
	FAULTS 14, 2, movl %eax, 0x400ffd
	EQ $0x400ffd, x_cr2
	movl $page, %ebx
	shrl $12, %ebx
	andl $~2, pgtab(,%ebx,4)
	invlpg page
	movl page, %eax
	FAULTS 14, 3, movl %eax, page
	/* accessed and dirty */
	movl pgtab(,%ebx,4), %eax
	andl $0x60, %eax
	EQ $0x20, %eax
	orl $2, pgtab(,%ebx,4)
	invlpg page
	movl %eax, page
	movl pgtab(,%ebx,4), %eax
	andl $0x60, %eax
	EQ $0x60, %eax
	/* CR0.WP clear lets the supervisor write */
	andl $~2, pgtab(,%ebx,4)
	invlpg page
	movl %cr0, %eax
	andl $~0x10000, %eax
	movl %eax, %cr0
	movl %eax, page
	orl $0x10000, %eax
	movl %eax, %cr0
	FAULTS 14, 3, movl %eax, page
	PASS
