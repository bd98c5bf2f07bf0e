/*
 * Interrupts: the 8254 through the 8259s and through the I/O APIC, the local
 * APIC's timer, an IPI to oneself, a level-triggered line of the HPET; and
 * IRET to code that is in the middle of its work, at level 0 and 3.
 */
#include "mac.inc"
#include "kvm.inc"
	NAME kvm_irq
	.set HPET, 0xfed00000
	.data
pic_ticks: .long 0
apic_ticks: .long 0
timer_ticks: .long 0
ipis:	.long 0
levels:	.long 0
resume0: .long 0
	.text
isr_pic:
	incl %ss:pic_ticks
	pushl %eax
	TO_PORT 0x20, 0x20
	popl %eax
	iretl
	.macro ISR name, counter
\name:	incl %ss:\counter
	movl $0, %ss:LAPIC_EOI
	iretl
	.endm
	ISR isr_apic, apic_ticks
	ISR isr_timer, timer_ticks
	ISR isr_ipi, ipis
isr_level:
	incl levels
	movl $1, HPET + 0x20		/* the line goes down */
	LAPIC_DONE
	iretl
back:	movw $DS32, %ax			/* from level 3, by #GP */
	movw %ax, %ds
	movl $stack_top, %esp
	jmp *resume0
	/* Work whose registers and flags every interrupt must keep. */
	.macro WORK_UNTIL counter, n
	movl $0x01234567, %esi
	movl $0x89abcdef, %edi
	movl $0x55555555, %ebp
9950:	TESTNO
	stc
	nop
	nop
	jnc fail
	cmpl $0x01234567, %esi
	jne fail
	cmpl $0x89abcdef, %edi
	jne fail
	cmpl $0x55555555, %ebp
	jne fail
	decl test_no
	cmpl $\n, \counter
	jb 9950b
	incl test_no
	.endm
main:
	GATE32 0x20, isr_pic
	GATE32 0x31, isr_apic
	GATE32 0x32, isr_timer
	GATE32 0x33, isr_ipi
	GATE32 0x34, isr_level
	GATE32 13, back
	LAPIC_ON
	/* 8259s: LINT0 takes their interrupts */
	PIC_INIT
	movl $0x700, LAPIC_LINT0
	PIT_100HZ
	TO_PORT 0x21, 0xfe
	HALT_UNTIL pic_ticks, 3
	sti
	WORK_UNTIL pic_ticks, 8
	cli
	/* the same at level 3 */
	pushl $UDS
	pushl $stack3_top
	pushl $0x202
	pushl $UCS32
	pushl $1f
	iretl
1:	movw $UDS, %ax
	movw %ax, %ds
	WORK_UNTIL pic_ticks, 12
	movl $2f, resume0
	hlt
2:	TO_PORT 0x21, 0xff
	movl $0x10700, LAPIC_LINT0
	/* I/O APIC: the 8254 is on pin 2 */
	IOAPIC_PIN 2, 0x31
	HALT_UNTIL apic_ticks, 3
	sti
	WORK_UNTIL apic_ticks, 6
	cli
	IOAPIC_PIN 2, 0x10031
	/* local APIC: an IPI to itself, then the timer, once and repeated */
	TESTNO
	sti
	movl $0x44033, LAPIC_ICR
3:	cmpl $1, ipis
	jb 3b
	cli
	movl $0xb, LAPIC_DIVIDE
	movl $0x32, LAPIC_TIMER
	movl $0x100000, LAPIC_COUNT
	HALT_UNTIL timer_ticks, 1
	movl $0x20032, LAPIC_TIMER
	movl $0x400000, LAPIC_COUNT
	HALT_UNTIL timer_ticks, 4
	movl $0x10032, LAPIC_TIMER
	movl $0, LAPIC_COUNT
	/* HPET timer 0, level-triggered on pin 24, twice: EOI opens it */
	IOAPIC_PIN 24, 0x8034
	movl $1, HPET + 0x10
	movl $24 << 9 | 6, HPET + 0x100
	movl HPET + 0xf0, %eax
	addl $40000, %eax
	movl %eax, HPET + 0x108
	HALT_UNTIL levels, 1
	movl HPET + 0xf0, %eax
	addl $40000, %eax
	movl %eax, HPET + 0x108
	HALT_UNTIL levels, 2
	PASS
