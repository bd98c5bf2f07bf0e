/*
 * Exits: ports of all sizes, strings of them, memory that nobody has, PCI's
 * configuration space through ports and through memory.
 */
#include "mac.inc"
#include "long.inc"
#include "kvm.inc"
	NAME kvm_io
	.set NOWHERE, 0xd0000000
	.set ECAM, 0xe0000000
	.set HOSTBRIDGE, 0x12751275
	.data
text:	.ascii "a string of bytes\n"
text_end:
buf:	.skip 64
	.text
	.code32
main:
	/* ports that nobody has */
	movw $0x5000, %dx
	xorl %eax, %eax
	inb %dx, %al
	EQ $0xff, %eax
	xorl %eax, %eax
	inw %dx, %ax
	EQ $0xffff, %eax
	xorl %eax, %eax
	inl %dx, %eax
	EQ $0xffffffff, %eax
	outl %eax, %dx
	/* strings of ports, forwards and into memory */
	cld
	movl $text, %esi
	movl $text_end - text, %ecx
	movw $COM1, %dx
	rep outsb
	EQ $0, %ecx
	EQ $text_end, %esi
	movl $0, buf + 4
	movl $buf, %edi
	movl $4, %ecx
	movw $COM1 + 7, %dx		/* the scratch register */
	movb $0x5a, %al
	outb %al, %dx
	rep insb
	EQ $buf + 4, %edi
	EQ $0x5a5a5a5a, buf
	EQ $0, buf + 4
	/* the clock's index and data */
	movb $0x0d, %al
	outb %al, $0x70
	inb $0x71, %al
	testb $0x80, %al		/* the battery is good */
	IS nz
	/* memory that nobody has: all ones, and writes are lost */
	movl $0x12345678, NOWHERE
	movl NOWHERE, %eax
	EQ $0xffffffff, %eax
	movzwl NOWHERE + 2, %eax
	EQ $0xffff, %eax
	movsbl NOWHERE + 5, %eax
	EQ $0xffffffff, %eax
	movl $0x0f0f0f0f, %eax
	andl NOWHERE, %eax
	EQ $0x0f0f0f0f, %eax
	movl $1, %eax
	addl NOWHERE, %eax
	EQ $0, %eax
	testl $0x80000000, NOWHERE
	IS s
	cmpb $0xff, NOWHERE
	IS z
	movl $NOWHERE, %esi
	movl $buf, %edi
	movl $4, %ecx
	rep movsl
	EQ $NOWHERE + 16, %esi
	EQ $0xffffffff, buf + 12
	movl $NOWHERE, %edi
	movl $4, %ecx
	rep stosl
	EQ $NOWHERE + 16, %edi
	pushl NOWHERE
	popl %eax
	EQ $0xffffffff, %eax
	/* configuration space: mechanism 1 and the memory window */
	movl $0x80000000, %eax
	movw $0xcf8, %dx
	outl %eax, %dx
	inl %dx, %eax
	EQ $0x80000000, %eax
	movw $0xcfc, %dx
	inl %dx, %eax
	EQ $HOSTBRIDGE, %eax
	movw $0xcfe, %dx
	xorl %eax, %eax
	inw %dx, %ax
	EQ $(HOSTBRIDGE>>16), %eax
	movl ECAM, %eax
	EQ $HOSTBRIDGE, %eax
	movzwl ECAM + 2, %eax
	EQ $(HOSTBRIDGE>>16), %eax
	movb ECAM + 0xb, %al		/* a bridge */
	movzbl %al, %eax
	EQ $6, %eax
	movl ECAM + (5 << 15), %eax	/* no such device */
	EQ $0xffffffff, %eax
	/* 64 bits at once: the fourth gigabyte in pages of 2 MiB */
	movl $0xc0000083, %eax
	movl $pt, %edi
	movl $512, %ecx
1:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	loop 1b
	movl $pt + 3, pdp + 24
	LONG_MODE
	movl $NOWHERE, %ebx
	movq (%rbx), %rax
	EQQ $-1, %rax
	movq %rax, (%rbx)
	movl $ECAM, %ebx
	movl (%rbx), %eax
	movl $HOSTBRIDGE, %ecx
	EQQ %rcx, %rax
	jmp pass64
