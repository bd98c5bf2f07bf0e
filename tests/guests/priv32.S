/*
 * Levels 0 and 3: IRET and far RET outwards, call gates with parameters,
 * IOPL, the I/O bitmap, SYSENTER, privileged instructions.
 */
#include "mac.inc"
	NAME priv32
	.set GATE, SPARE		/* call gate, DPL 3, 2 parameters */
	.set GATE0, SPARE + 8		/* call gate, DPL 0 */
	.set GATE_NP, SPARE + 16
	.set SYS0, SPARE + 24		/* CS SS of SYSENTER, then of SYSEXIT */

	.data
resume0: .long 0
got:	.long 0, 0, 0, 0
	.text
	/* Go on at level 3 (flags image in eax). */
	.macro TO_USER flags
	pushl $UDS
	pushl $stack3_top
	pushl $\flags
	pushl $UCS32
	pushl $9905f
	iretl
9905:	movw $UDS, %ax
	movw %ax, %ds
	movw %ax, %es
	.endm
	/* Back to level 0 through vector 50. */
	.macro TO_KERNEL
	movl $9906f, resume0
	int $50
9906:
	.endm
back:	movw $DS32, %ax
	movw %ax, %ds
	movw %ax, %es
	movl $stack_top, %esp
	jmp *resume0

	.macro SETGATE vec, handler
	movl $\handler, %eax
	movw %ax, idt + \vec * 8
	shrl $16, %eax
	movw %ax, idt + \vec * 8 + 6
	.endm
	.macro CALLGATE slot, handler, attr
	movl $\handler, %eax
	movw %ax, gdt + \slot
	movw $CS32, gdt + \slot + 2
	movw $\attr, gdt + \slot + 4
	shrl $16, %eax
	movw %ax, gdt + \slot + 6
	.endm

gate_entry:
	movl %cs, %eax
	movl %eax, %ss:got
	movl 8(%esp), %eax
	movl %eax, %ss:got + 4
	movl 12(%esp), %eax
	movl %eax, %ss:got + 8
	movl %esp, %ss:got + 12
	lret $8
sysenter_entry:
	movl $0x1234, %eax
	sysexit

main:
	SETGATE 50, back
	CALLGATE GATE, gate_entry, 0xec02
	CALLGATE GATE0, gate_entry, 0x8c00
	CALLGATE GATE_NP, gate_entry, 0x6c00
	/* SYSENTER's four segments */
	movl $gdt + CS32, %esi
	movl $gdt + SYS0, %edi
	movl $4, %ecx
	rep movsl
	movl $gdt + UCS32 - 3, %esi
	movl $4, %ecx
	rep movsl

	/* all ports closed */
	movl $tss + 104, %edi
	movl $0xff, %eax
	movl $8193, %ecx
	rep stosb
	TO_USER 2
	/* what level 3 may not do */
	movl %cs, %eax
	EQ $UCS32, %eax
	FAULTS 13, 0, hlt
	FAULTS 13, 0, cli
	FAULTS 13, 0, sti
	FAULTS 13, 0, movl %cr0, %eax
	FAULTS 13, 0, movl %eax, %dr7
	FAULTS 13, 0, clts
	FAULTS 13, 0, lgdt gdt_ptr
	FAULTS 13, 0, ltr %ax
	FAULTS 13, 0, invlpg (%eax)
	FAULTS 13, 0, wbinvd
	FAULTS 13, 0, rdmsr
	movw $DS32, %ax
	FAULTS 13, DS32, movw %ax, %ds
	FAULTS 13, DS32, movw %ax, %ss
	FAULTS 13, CS32, ljmp $CS32, $main
	FAULTS 13, (13*8+2), int $13
	int3
	EQ $3, x_vec
	EQ $UCS32, x_cs
	EQ $UDS, x_ss
	/* all ports are closed but those that the bitmap opens */
	FAULTS 13, 0, inb $0x80, %al
	movw $0x80, %dx
	FAULTS 13, 0, outb %al, %dx
	TO_KERNEL
	movb $0xfe, tss + 104 + 0x10	/* port 0x80 */
	movb $0x7f, tss + 104 + 0x11	/* port 0x8f */
	TO_USER 2
	inb $0x80, %al
	outb %al, $0x80
	FAULTS 13, 0, inw $0x80, %ax
	FAULTS 13, 0, inb $0x81, %al
	FAULTS 13, 0, inw $0x8f, %ax
	inb $0x8f, %al
	/* POPF leaves IF and IOPL alone */
	pushl $0x3202
	popfl
	pushfl
	popl %eax
	andl $0x3200, %eax
	EQ $0, %eax
	TO_KERNEL
	/* IOPL 3: ports and IF are free */
	TO_USER 0x3002
	inb $0x81, %al
	sti
	pushfl
	popl %eax
	cli
	andl $0x3200, %eax
	EQ $0x3200, %eax
	TO_KERNEL
	/* call gates */
	TO_USER 2
	pushl $0x1111
	pushl $0x2222
	movl %esp, %ebx
	lcall $GATE, $0
	subl %esp, %ebx
	EQ $-8, %ebx
	EQ $CS32, got
	EQ $0x2222, got+4
	EQ $0x1111, got+8
	EQ $(stack0_top-24), got+12
	movl %cs, %eax
	EQ $UCS32, %eax
	FAULTS 13, GATE0, lcall $GATE0, $0
	FAULTS 11, GATE_NP, lcall $GATE_NP, $0
	FAULTS 13, CS32, ljmp $GATE, $0
	/* RET to an inner level */
	pushl $CS32
	pushl $main
	FAULTS 13, CS32, lret
	TO_KERNEL
	/* far RET outwards clears segments that level 3 may not use */
	movw $DS32, %ax
	movw %ax, %fs
	movw $UDS, %ax
	movw %ax, %gs
	pushl $UDS
	pushl $stack3_top
	pushl $UCS32
	pushl $1f
	lret
1:	movl %ds, %ecx
	movw $UDS, %ax
	movw %ax, %ds
	movw %ax, %es
	EQ $0, %ecx
	movl %fs, %eax
	EQ $0, %eax
	movl %gs, %eax
	EQ $UDS, %eax
	/* SYSENTER with no target */
	FAULTS 13, 0, sysenter
	TO_KERNEL
	movl $0x174, %ecx
	movl $SYS0, %eax
	xorl %edx, %edx
	wrmsr
	incl %ecx
	movl $stack0_top, %eax
	wrmsr
	incl %ecx
	movl $sysenter_entry, %eax
	wrmsr
	TO_USER 2
	movl %esp, %ecx
	movl %esp, %ebx
	movl $1f, %edx
	sysenter
1:	EQ $0x1234, %eax
	EQ %esp, %ebx
	movl %cs, %eax
	EQ $(SYS0+16+3), %eax
	movl %ss, %eax
	EQ $(SYS0+24+3), %eax
	FAULTS 13, 0, sysexit
	TO_KERNEL
	PASS
