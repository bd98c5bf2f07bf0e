/*
 * Real mode: segments, the stack, an interrupt through the vector table and
 * its IRET, far calls, string instructions, ports.  It runs at 0x10000.
 */
#include "mac.inc"
	NAME kvm_real16
	.set BASE, 0x10000
	.set SEG, 0x1000
	.macro CHK16 a, b		/* bad: leave with bp = number */
	incw %bp
	cmpw \a, \b
	jne out16
	.endm
	.text
main:
	movl $code16, %esi
	movl $BASE, %edi
	movl $code16_end - code16, %ecx
	cld
	rep movsb
	movw $BASE & 0xffff, gdt + CS16 + 2
	movb $BASE >> 16, gdt + CS16 + 4
	movw $(isr - code16), 0x60 * 4
	movw $SEG, 0x60 * 4 + 2
	movl %esp, saved_esp
	ljmp $CS16, $0
	.data
saved_esp: .long 0
	.text
	.code16
code16:
	movw $DS16, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl %cr0, %eax
	andb $~1, %al
	movl %eax, %cr0
	ljmp $SEG, $(1f - code16)
1:	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x7000, %sp
	xorw %bp, %bp
	lidt %cs:idt16 - code16
	movw %cs, %ax
	CHK16 $SEG, %ax
	/* INT clears IF, IRET brings it back. */
	sti
	int $0x60
2:	CHK16 $(2b - code16), %dx
	CHK16 $SEG, %bx
	CHK16 $0, %di
	CHK16 $0x7000, %sp
	pushfw
	popw %ax
	cli
	andw $0x200, %ax
	CHK16 $0x200, %ax
	/* far calls, near calls */
	pushw $0x55
	lcall $SEG, $(callee - code16)
	CHK16 $0x7000, %sp
	CHK16 $0x55, %ax
	call near
	CHK16 $0x77, %ax
	/* a segment moves an address by 16 bytes a step */
	movw $0x3001, %ax
	movw %ax, %es
	movw $0xabcd, %es:0x10
	movw $0x3000, %ax
	movw %ax, %ds
	CHK16 $0xabcd, 0x20
	/* strings: text of this segment to 0x3000:0x100, then compare */
	movw $SEG, %ax
	movw %ax, %ds
	movw $0x3000, %ax
	movw %ax, %es
	cld
	movw $(text - code16), %si
	movw $0x100, %di
	movw $text_end - text, %cx
	rep movsb
	CHK16 $0, %cx
	movw $(text - code16), %si
	movw $0x100, %di
	movw $text_end - text, %cx
	repe cmpsb
	CHK16 $0, %cx
	/* and out through the serial port */
	movw $(text - code16), %si
	movw $text_end - text, %cx
	movw $COM1, %dx
	rep outsb
	CHK16 $0, %cx
	/* 32-bit operands, multiply and divide */
	movl $0x12345678, %eax
	movl $0x1000, %ecx
	mull %ecx
	CHK16 $0x123, %dx
	divl %ecx
	shrl $16, %eax
	CHK16 $0x1234, %ax
	xorw %bp, %bp
out16:	cli
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $CS32, $back32
isr:	popw %dx
	popw %bx
	pushw %bx
	pushw %dx
	pushfw
	popw %di
	andw $0x200, %di
	iretw
callee:	pushw %bp
	movw %sp, %bp
	movw 6(%bp), %ax
	popw %bp
	lret $2
near:	movw $0x77, %ax
	ret
idt16:	.word 0x3ff
	.long 0
text:	.ascii "sixteen bits\n"
text_end:
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
