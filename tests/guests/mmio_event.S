/*
 * Events whose stack or IDT lies where no memory is: what is pushed is lost,
 * what is read is ones, and neither is taken for a fault of its own.  The
 * handlers do not return by their frames.
 */
#include "mac.inc"
#include "kvm.inc"
	NAME mmio_event
	.set HOLE, 0xb0000000
	.set HPET_END, 0xfed00400	/* the last register of a chip's page */
	.data
seen:	.long 0
resume:	.long 0
hole_idt: .word 64 * 8 - 1
	.long HOLE, 0
	.text
	.macro HANDLER vec
h_\vec:	movl $\vec, %ss:seen
	jmp h_out
	.endm
	HANDLER 6
	HANDLER 13
	HANDLER 0x30
	HANDLER 0x31
h_out:	movw $DS32, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $stack_top, %esp
	movl resume, %eax
	jmp *%eax
	/* The event (insn) makes, with ESP at (stack), ends in handler vec. */
	.macro ON_STACK stack, vec, insn:vararg
	movl $0, seen
	movl $9950f, resume
	movl $\stack, %esp
	\insn
	nop
	nop
	movl $stack_top, %esp
	TESTNO
	jmp fail
9950:	EQ $\vec, seen
	.endm
main:
	GATE32 6, h_6
	GATE32 13, h_13
	GATE32 0x30, h_0x30
	GATE32 0x31, h_0x31
	movb $0xee, idt + 0x30 * 8 + 5
	LAPIC_ON
	ON_STACK HOLE + 0x1000, 0x30, int $0x30
	ON_STACK HOLE + 0x1000, 6, ud2
	ON_STACK HPET_END, 0x30, int $0x30
	ON_STACK HPET_END, 6, ud2
	/* half of the frame in memory: 16 MiB end where the hole begins */
	ON_STACK HOLE + 8, 0x30, int $0x30
	/* an interrupt from outside */
	movl $0x44031, LAPIC_ICR
	ON_STACK HOLE + 0x1000, 0x31, sti
	cli
	LAPIC_DONE
	/* IRET pops ones: the selector is beyond the GDT, the #GP's frame lost */
	ON_STACK HOLE, 13, iretl
	/* from level 3, with the TSS's stack in the hole */
	movl $HOLE + 0x1000, tss + 4
	movl $0, seen
	movl $2f, resume
	pushl $UDS
	pushl $stack3_top
	pushl $2
	pushl $UCS32
	pushl $1f
	iretl
1:	int $0x30
	ud2
2:	EQ $0x30, seen
	movl $stack0_top, tss + 4
	/* an IDT of ones: #GP, double fault, the machine shuts down */
	movl $msg_pass, %esi
	call puts
	lidt hole_idt
	int3
	movl $msg_fail, %esi
	call puts
3:	hlt
	jmp 3b
