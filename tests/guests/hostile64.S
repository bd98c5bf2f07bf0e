/*
 * What a hostile kernel tries against the processor: instructions of other
 * hypervisors (B07), paging off and on again around long mode (B50), lengths
 * and bit offsets that wrap (K01).
 */
#include "mac.inc"
#include "long.inc"
	NAME hostile64
	.macro UD insn:vararg
	FAULTQ 6, 0xeeee, \insn
	.endm
	.code32
main:	LONG_MODE
	/* B07: neither SVM nor VMX is there, nor said to be */
	movl $1, %eax
	cpuid
	andl $0x60, %ecx		/* VMX, SMX */
	EQQ $0, %rcx
	movl $0x80000000, %eax
	cpuid
	cmpl $0x80000001, %eax
	jb 1f
	movl $0x80000001, %eax
	cpuid
	andl $0x1004, %ecx		/* SVM, SKINIT */
	EQQ $0, %rcx
1:	movl $0x1000, %eax
	UD .byte 0x0f, 0x01, 0xd8	/* VMRUN */
	UD .byte 0x0f, 0x01, 0xd9	/* VMMCALL */
	UD .byte 0x0f, 0x01, 0xda	/* VMLOAD */
	UD .byte 0x0f, 0x01, 0xdb	/* VMSAVE */
	UD .byte 0x0f, 0x01, 0xdc	/* STGI */
	UD .byte 0x0f, 0x01, 0xdd	/* CLGI */
	UD .byte 0x0f, 0x01, 0xde	/* SKINIT */
	UD .byte 0x0f, 0x01, 0xdf	/* INVLPGA */
	UD .byte 0x0f, 0x01, 0xc1	/* VMCALL */
	UD .byte 0x0f, 0x01, 0xc2	/* VMLAUNCH */
	UD .byte 0x0f, 0x01, 0xc3	/* VMRESUME */
	UD .byte 0x0f, 0x01, 0xc4	/* VMXOFF */
	UD .byte 0x0f, 0x01, 0xd4	/* VMFUNC */
	movl $save, %ebx
	UD .byte 0xf3, 0x0f, 0xc7, 0x33	/* VMXON */
	UD .byte 0x0f, 0xc7, 0x33	/* VMPTRLD */
	UD .byte 0x66, 0x0f, 0xc7, 0x33	/* VMCLEAR */
	UD .byte 0x0f, 0xc7, 0x3b	/* VMPTRST */
	UD .byte 0x0f, 0x78, 0xc0	/* VMREAD */
	UD .byte 0x0f, 0x79, 0xc0	/* VMWRITE */
	UD .byte 0x66, 0x0f, 0x38, 0x80, 0x03	/* INVEPT */
	UD .byte 0x66, 0x0f, 0x38, 0x81, 0x03	/* INVVPID */
	movq %cr4, %rax
	orl $0x2000, %eax		/* VMXE */
	FAULTQ 13, 0, movq %rax, %cr4
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x1000, %eax		/* SVME */
	FAULTQ 13, 0, wrmsr
	movl $0xc0010117, %ecx		/* VM_HSAVE_PA */
	FAULTQ 13, 0, rdmsr
	movl $0x480, %ecx		/* IA32_VMX_BASIC */
	FAULTQ 13, 0, rdmsr

	/* K01: fifteen bytes and no more */
	TESTNO64
	.byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66
	.byte 0x66, 0x66, 0x66, 0x66, 0x90
	FAULTQ 13, 0, .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, \
	    0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
	UD .byte 0xf0, 0x0f, 0xba, 0xe0, 0x01	/* LOCK BT */
	/* XSA-195: all bits of a bit's number count */
	movl $save, %ebx
	movl $1, %eax
	shlq $45, %rax			/* 2^42 bytes further */
	FAULTQ 14, 2, btsq %rax, (%rbx)
	movl $1, %ecx
	shlq $42, %rcx
	addq %rbx, %rcx
	EQQ q_cr2(%rip), %rcx
	movabsq $0x7fffffffffffffc0, %rax	/* wraps beyond the space */
	FAULTQ 13, 0, btsq %rax, (%rbx)
	movq $-64, %rax
	movq $0, save(%rip)
	lock btsq %rax, 8(%rbx)
	EQQ $1, save(%rip)
	/* FXSAVE not on 16 bytes */
	leaq 8(%rbx), %rax
	FAULTQ 13, 0, fxsave (%rax)

	/* B50: paging goes off in compatibility mode, LMA with it */
	movq %cr0, %rax
	btcl $31, %eax
	FAULTQ 13, 0, movq %rax, %cr0
	pushq $CS32
	PUSHS 2f
	lretq
	.code32
2:	movw $DS32, %ax
	movw %ax, %ss
	movw %ax, %ds
	movl $0xc0000080, %ecx
	rdmsr
	andl $0x500, %eax
	EQ $0x500, %eax
	movl %cr0, %eax
	andl $0x7fffffff, %eax
	movl %eax, %cr0
	rdmsr
	andl $0x500, %eax
	EQ $0x100, %eax			/* LME stays, LMA goes */
	movl %cr0, %eax
	orl $0x80000000, %eax
	movl %eax, %cr0
	rdmsr
	andl $0x500, %eax
	EQ $0x500, %eax
	ljmp $CS64, $3f
	.code64
3:	jmp pass64
	.bss
	.balign 64
save:	.skip 64
