/*
 * Real mode: the way there and back, interrupt vectors, far transfers, IRET,
 * "unreal" limits, LMSW.  The 16-bit part runs at 0x10000.
 */
#include "mac.inc"
	NAME real16
	.set BASE, 0x10000
	.set SEG, 0x1000
	.macro CHK16 a, b		/* bad: go on at out16 with bp = number */
	incw %bp
	cmpw \a, \b
	jne out16
	.endm
	.text
main:
	movl $code16, %esi
	movl $BASE, %edi
	movl $code16_end - code16, %ecx
	rep movsb
	/* 16-bit code segment at BASE */
	movw $BASE & 0xffff, gdt + CS16 + 2
	movb $BASE >> 16, gdt + CS16 + 4
	movw $(isr - code16), 0x60 * 4
	movw $SEG, 0x60 * 4 + 2
	movw $(isr6 - code16), 6 * 4
	movw $SEG, 6 * 4 + 2
	movw $(isr6 - code16), 13 * 4
	movw $SEG, 13 * 4 + 2
	movw $(isr6 - code16), 0
	movw $SEG, 2
	movl $0x600dbeef, 0x200000
	movl %esp, saved_esp
	ljmp $CS16, $0
	.data
saved_esp: .long 0
	.text
	.code16
code16:
	/* 64 KiB segments, but ES stays 4 GiB */
	movw $DS16, %ax
	movw %ax, %ds
	movw %ax, %ss
	movw %ax, %fs
	movl %cr0, %eax
	andb $~1, %al
	movl %eax, %cr0
	.byte 0xea
	.word 1f - code16, SEG
1:	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x7000, %sp
	xorw %bp, %bp
	lidt %cs:idt16 - code16
	movw %cs, %ax
	CHK16 $SEG, %ax
	/* unreal: a limit above 64 KiB survives */
	movl $0x200000, %ebx
	movl %es:(%ebx), %eax
	incw %bp
	cmpl $0x600dbeef, %eax
	jne out16
	/* far pointers: 16 and 32 bits of offset, SS by a 32-bit address */
	lesw %cs:farptr16 - code16, %di
	CHK16 $0x1234, %di
	movw %es, %ax
	CHK16 $0x2000, %ax
	movl $-1, %ebx
	lgsl %cs:farptr32 - code16, %ebx
	shrl $16, %ebx
	CHK16 $0x89ab, %bx
	movw %gs, %ax
	CHK16 $0x3000, %ax
	pushl $0
	pushl $0x00006f00
	movzwl %sp, %esp
	addr32 lssl (%esp), %esp
	CHK16 $0x6f00, %sp
	movw $0x7000, %sp
	xorw %ax, %ax
	movw %ax, %es
	/* the register form is no instruction */
	movw $14f - code16, %di
13:	.byte 0x0f, 0xb4, 0xc0
14:	CHK16 $(13b - code16), %dx
	/* INT pushes FLAGS, CS, IP; IF and TF are clear in the handler */
	sti
	int $0x60
2:	CHK16 $0x1234, %cx
	CHK16 $(2b - code16), %dx
	CHK16 $SEG, %bx
	CHK16 $0x6ffa, %si
	andw $0x200, %di
	CHK16 $0, %di
	pushfw
	popw %ax
	andw $0x200, %ax
	CHK16 $0x200, %ax
	cli
	/* far CALL and RET n */
	pushw $0x55
	lcall $SEG, $(callee - code16)
	CHK16 $0x7000, %sp
	CHK16 $0x55, %ax
	movw $SEG, %ax
	movw %ax, %ds
	pushw $0x66
	lcall *callee_ptr - code16
	CHK16 $0x7000, %sp
	CHK16 $0x66, %ax
	/* faults push no error code and return to the instruction */
	xorw %ax, %ax
	movw %ax, %ds
	xorw %dx, %dx
	xorw %cx, %cx
	movw $4f - code16, %di
3:	ud2
4:	CHK16 $(3b - code16), %dx
	movw $6f - code16, %di
	movw $0xffff, %si
5:	movw (%si), %ax
6:	CHK16 $(5b - code16), %dx
	movw $8f - code16, %di
	xorw %cx, %cx
7:	divw %cx
8:	CHK16 $(7b - code16), %dx
	movw $10f - code16, %di
9:	lldt %ax
10:	CHK16 $(9b - code16), %dx
	/* 32-bit operand size */
	pushfl
	pushl $SEG
	pushl $11f - code16
	iretl
11:	CHK16 $0x7000, %sp
	/* IRET may not set an IF that FLAGS has not: all bits are the image's */
	pushw $0x7202
	pushw $SEG
	pushw $12f - code16
	iretw
12:	pushfw
	popw %ax
	cli
	andw $0x7200, %ax
	CHK16 $0x7200, %ax
	pushw $2
	popfw
	/* LMSW sets PE, then a far jump */
	xorw %bp, %bp
out16:	cli
	smsw %ax
	orb $1, %al
	lmsw %ax
	.byte 0x66, 0xea
	.long back32
	.word CS32
isr:	movw $0x1234, %cx
	movw %sp, %si
	popw %dx
	popw %bx
	pushw %bx
	pushw %dx
	pushfw
	popw %di
	iretw
isr6:	popw %dx
	pushw %di
	iretw
callee:	pushw %bp
	movw %sp, %bp
	movw 6(%bp), %ax
	popw %bp
	lret $2
farptr16: .word 0x1234, 0x2000
farptr32: .long 0x89abcdef
	.word 0x3000
callee_ptr: .word callee - code16, SEG
idt16:	.word 0x3ff
	.long 0
code16_end:
	.code32
back32:
	movw $DS32, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %fs
	movw %ax, %ss
	movl saved_esp, %esp
	lidt idt_ptr
	movzwl %bp, %ebp
	movl %ebp, test_no
	testl %ebp, %ebp
	jnz fail
	PASS
