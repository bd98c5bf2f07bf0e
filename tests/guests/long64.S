/*
 * Long mode: exceptions and their frames, IST, canonical checks, level 3 by
 * IRETQ, SYSCALL and SYSRET, SWAPGS, compatibility mode, call gates, page
 * protection (NX, SMEP, SMAP where CPUID has them).
 */
#include "mac.inc"
#include "long.inc"
	NAME long64
	.set GATE, SPARE		/* two slots */
	.data
	.balign 8
resume0: .quad 0
w:	.quad 0, 0, 0, 0
farp:	.long 0
	.word 0
	.text
	.code64
	.macro TO_USER flags
	pushq $UDS
	PUSHS stack3_top
	pushq $\flags
	pushq $UCS64
	PUSHS 9905f
	iretq
9905:
	.endm
	.macro TO_KERNEL
	movl $9906f, resume0(%rip)
	int $50
9906:
	.endm
back:	movl $stack_top, %esp
	jmp *resume0(%rip)
	.macro GATEQ vec, handler
	movl $\handler, %eax
	movw %ax, (idt+\vec*16)(%rip)
	shrl $16, %eax
	movw %ax, (idt+\vec*16+6)(%rip)
	.endm
	.macro SETMSR msr, lo, hi=0
	movl $\msr, %ecx
	movl $\lo, %eax
	movl $\hi, %edx
	wrmsr
	.endm
syscall_entry:
	movq %rcx, w(%rip)
	movq %r11, (w+8)(%rip)
	movq %rsp, (w+16)(%rip)
	pushfq
	popq (w+24)(%rip)
	movl %cs, %r8d
	movl %ss, %r9d
	sysretq
syscall32_entry:
	movl %cs, %r8d
	sysretl
gate_entry:
	movq %rsp, w(%rip)
	movl %cs, %eax
	movq %rax, (w+8)(%rip)
	movl %ss, %eax
	movq %rax, (w+16)(%rip)
	lretq

	.code32
main:	LONG_MODE
	movl %cs, %eax
	EQQ $CS64, %rax

	/* frames: five words always, aligned to 16 */
	movl $stack_top - 24, %esp
	FAULTQ 6, 0xeeee, ud2
	EQS stack_top-24, q_rsp(%rip)
	EQS stack_top-80, q_sp(%rip)
	EQQ $CS64, q_cs(%rip)
	EQQ $0, q_ss(%rip)
	movl $stack_top, %esp
	/* canonical addresses */
	movabsq $0x800000000000, %rbx
	FAULTQ 13, 0, movq (%rbx), %rax
	/* invalid in 64-bit mode */
	FAULTQ 6, 0xeeee, .byte 0x06
	FAULTQ 6, 0xeeee, .byte 0xce
	FAULTQ 6, 0xeeee, .byte 0xea, 0, 0, 0, 0, 0, 0
	FAULTQ 6, 0xeeee, .byte 0x62, 0
	/* gates */
	movw $CS32, (idt+40*16+2)(%rip)
	FAULTQ 13, CS32, int $40
	/* CR8 */
	movl $5, %eax
	movq %rax, %cr8
	movq %cr8, %rbx
	EQQ $5, %rbx
	xorl %eax, %eax
	movq %rax, %cr8
	/* NT and IRET */
	pushfq
	orl $0x4000, (%rsp)
	popfq
	FAULTQ 13, 0, iretq
	pushfq
	andl $~0x4000, (%rsp)
	popfq
	/* task switches do not exist */
	movl $0, farp(%rip)
	movw $TSS, (farp+4)(%rip)
	FAULTQ 13, TSS, ljmpl *farp(%rip)

	/* FS, GS and SWAPGS */
	SETMSR 0xc0000101, 0x1000
	SETMSR 0xc0000102, 0x2000, 0xffff8000
	swapgs
	movl $0xc0000101, %ecx
	rdmsr
	EQQ $0x2000, %rax
	movl %edx, %eax
	movl $0xffff8000, %ebx
	EQQ %rax, %rbx
	swapgs
	movl $w, %eax
	xorl %edx, %edx
	movl $0xc0000100, %ecx
	wrmsr
	movq $0x77, (w+8)(%rip)
	movq %fs:8, %rax
	EQQ $0x77, %rax
	xorl %eax, %eax
	movw %ax, %fs

	/* level 3 */
	GATEQ 50, back
	TO_USER 0x202
	movl %cs, %eax
	EQQ $UCS64, %rax
	movl %ss, %eax
	EQQ $UDS, %rax
	FAULTQ 13, 0, hlt
	EQS stack0_top-48, q_sp(%rip)
	EQQ $UDS, q_ss(%rip)
	EQS stack3_top, q_rsp(%rip)
	FAULTQ 13, 0, cli
	FAULTQ 13, 0, swapgs
	FAULTQ 13, 0, movq %cr8, %rax
	FAULTQ 13, 0, sysretq
	TO_KERNEL
	cli
	/* SYSCALL, SYSRET */
	SETMSR 0xc0000081, 0, (CS64 | UCS32 << 16)
	SETMSR 0xc0000082, syscall_entry
	SETMSR 0xc0000083, syscall32_entry
	SETMSR 0xc0000084, 0x600
	TO_USER 0x202
	std
	syscall
1:	movq w(%rip), %rax
	cld
	EQS 1b, %rax
	movl (w+8)(%rip), %eax
	andl $0x600, %eax
	EQQ $0x600, %rax
	EQS stack3_top, (w+16)(%rip)
	movl (w+24)(%rip), %eax
	andl $0x600, %eax
	EQQ $0, %rax
	EQQ $CS64, %r8
	EQQ $(CS64+8), %r9
	movl %cs, %eax
	EQQ $UCS64, %rax
	movl %ss, %eax
	EQQ $UDS, %rax
	TO_KERNEL
	cli
	movl $0xc0000080, %ecx
	rdmsr
	andl $~1, %eax
	wrmsr
	FAULTQ 6, 0xeeee, syscall
	FAULTQ 6, 0xeeee, sysretq
	orl $1, %eax
	wrmsr

	/* compatibility mode */
	pushq $UDS
	PUSHS stack3_top
	pushq $2
	pushq $UCS32
	PUSHS 1f
	iretq
	.code32
1:	movl $UDS, %eax
	movw %ax, %ds
	movw %ax, %es
	.byte 0x40			/* incl %eax, not a prefix */
	cmpl $UDS + 1, %eax
	movl %cs, %ebx
	/* a 64-bit far jump by far CALL */
	ljmp $UCS64, $1f
	.code64
1:	sete %al
	movzbl %al, %eax
	EQQ $1, %rax
	EQQ $UCS32, %rbx
	TO_KERNEL

	/* call gate to level 0 */
	movl $gate_entry, %eax
	movw %ax, (gdt+GATE)(%rip)
	movw $CS64, (gdt+GATE+2)(%rip)
	movw $0xec00, (gdt+GATE+4)(%rip)
	shrl $16, %eax
	movw %ax, (gdt+GATE+6)(%rip)
	movq $0, (gdt+GATE+8)(%rip)
	TO_USER 2
	movl $0, farp(%rip)
	movw $GATE, (farp+4)(%rip)
	lcalll *farp(%rip)
	EQS stack0_top-32, w(%rip)
	EQQ $CS64, (w+8)(%rip)
	EQQ $0, (w+16)(%rip)
	EQS stack3_top, %rsp
	movl $1 << 8, (gdt+GATE+12)(%rip)	/* upper type field not 0 */
	FAULTQ 13, GATE, lcalll *farp(%rip)
	movl $0, (gdt+GATE+12)(%rip)
	TO_KERNEL

	/* page protection: 0x200000 by 4 KiB pages */
	movl $pt, %edi
	movl $0x200007, %eax
	movl $512, %ecx
1:	movl %eax, (%rdi)
	addl $4096, %eax
	addl $8, %edi
	decl %ecx
	jnz 1b
	movl $pt + 7, (pd+8)(%rip)
	movl $0x80000000, (pt+8+4)(%rip)	/* 0x201000: NX */
	movl $0x202003, (pt+16)(%rip)		/* 0x202000: supervisor */
	movl $0, (pt+24)(%rip)		/* 0x203000: absent */
	movq %cr3, %rax
	movq %rax, %cr3
	movb $0xc3, 0x201000
	movl $0x201000, %ebx
	TESTNO64
	movl $1f, q_resume(%rip)
	movq $-1, q_vec(%rip)
	jmp *%rbx
1:	EQQ $14, q_vec(%rip)
	EQQ $0x11, q_err(%rip)
	EQQ $0x201000, q_rip(%rip)
	EQQ $0x201000, q_cr2(%rip)
	TO_USER 2
	FAULTQ 14, 5, movb 0x202000, %al
	FAULTQ 14, 7, movb %al, 0x202fff
	FAULTQ 14, 4, movb 0x203000, %al
	EQQ $0x203000, q_cr2(%rip)
	TO_KERNEL
	/* SMEP and SMAP: our own pages become the supervisor's, 0x200000 stays
	 * the user's */
	movl $7, %eax
	xorl %ecx, %ecx
	cpuid
	movl %ebx, %r15d
	andl $~4, pd(%rip)
	movl $0x206003, (pt+48)(%rip)		/* 0x206000: supervisor, data */
	movq %cr3, %rax
	movq %rax, %cr3
	btl $7, %r15d
	jnc 2f
	movb $0xc3, 0x200000
	movl $0x200000, %ebx
	call *%rbx
	movq %cr4, %rax
	btsl $20, %eax
	movq %rax, %cr4
	movl $1f, q_resume(%rip)
	movq $-1, q_vec(%rip)
	jmp *%rbx
1:	EQQ $14, q_vec(%rip)
	EQQ $0x11, q_err(%rip)
	EQQ $0x200000, q_rip(%rip)
2:	btl $20, %r15d
	jnc 3f
	movb 0x200000, %al
	movq %cr4, %rax
	btsl $21, %eax
	movq %rax, %cr4
	FAULTQ 14, 1, movb 0x200000, %al
	FAULTQ 14, 3, movb %al, 0x200000
	movb 0x206000, %al
	stac
	movb 0x200000, %al
	clac
	FAULTQ 14, 1, movb 0x200000, %al
3:	jmp pass64
