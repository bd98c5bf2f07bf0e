/*
 * The local APIC's timer in its three modes: once, periodic, and at a value
 * of the TSC.  The last mode is tried whether CPUID offers it or not; where
 * its register does not keep a value, the test process is told.
 */
#include "mac.inc"
#include "kvm.inc"
	NAME lapic_timer
	.set LAPIC_CCR, LAPIC + 0x390
	.set DEADLINE, 0x6e0
	.set ONCE, 0x32
	.set PERIODIC, 0x20032
	.set AT_TSC, 0x40032
	.set MASKED, 0x10000
	.data
ticks:	.long 0
then:	.long 0, 0
	.text
isr:	incl ticks
	LAPIC_DONE
	iretl

	/* then = TSC + n */
	.macro THEN n
	rdtsc
	addl $\n, %eax
	adcl $0, %edx
	movl %eax, then
	movl %edx, then + 4
	.endm
	.macro BEHIND_THEN
	TESTNO
	rdtsc
	subl then, %eax
	sbbl then + 4, %edx
	js fail
	.endm
	/* Interrupts stay open until the TSC has come to n more. */
	.macro SPIN n
	THEN \n
	sti
9940:	rdtsc
	subl then, %eax
	sbbl then + 4, %edx
	js 9940b
	cli
	.endm
	.macro SET_DEADLINE
	movl $DEADLINE, %ecx
	movl then, %eax
	movl then + 4, %edx
	wrmsr
	.endm
	.macro DEADLINE_IS_0
	movl $DEADLINE, %ecx
	rdmsr
	orl %edx, %eax
	EQ $0, %eax
	.endm
main:
	GATE32 0x32, isr
	LAPIC_ON
	movl $0xb, LAPIC_DIVIDE
	/* once: the count ends at 0 and no second interrupt comes */
	movl $ONCE, LAPIC_TIMER
	movl $0x80000, LAPIC_COUNT
	TESTNO
	cmpl $0x80000, LAPIC_CCR
	ja fail
	HALT_UNTIL ticks, 1
	EQ $0, LAPIC_CCR
	SPIN 20000000
	EQ $1, ticks
	/* masked, the count runs and says nothing */
	movl $ONCE | MASKED, LAPIC_TIMER
	movl $0x10000, LAPIC_COUNT
	SPIN 10000000
	EQ $0, LAPIC_CCR
	EQ $1, ticks
	/* periodic: it goes on by itself until the count is 0 */
	movl $PERIODIC, LAPIC_TIMER
	movl $0x40000, LAPIC_COUNT
	HALT_UNTIL ticks, 6
	TESTNO
	cmpl $0x40000, LAPIC_CCR
	ja fail
	movl $0, LAPIC_COUNT
	movl ticks, %ebx
	SPIN 10000000
	/* one more may have been on its way */
	movl ticks, %eax
	subl %ebx, %eax
	TESTNO
	cmpl $1, %eax
	ja fail
	/* at a TSC value; writes in another mode are ignored */
	movl $0, ticks
	movl $ONCE, LAPIC_TIMER
	THEN 1000
	SET_DEADLINE
	DEADLINE_IS_0
	movl $AT_TSC, LAPIC_TIMER
	movl $0xffffffff, then
	movl $0x0fffffff, then + 4
	SET_DEADLINE
	rdmsr
	cmpl $0x0fffffff, %edx
	je 1f
	SAY "NO DEADLINE MODE"
	PASS
1:	EQ $0xffffffff, %eax
	/* the initial count is nobody's */
	movl $1000, LAPIC_COUNT
	EQ $0, LAPIC_CCR
	SPIN 10000000
	EQ $0, ticks
	/* it comes once, not before its time, and the register is 0 then */
	THEN 20000000
	SET_DEADLINE
	HALT_UNTIL ticks, 1
	BEHIND_THEN
	DEADLINE_IS_0
	SPIN 10000000
	EQ $1, ticks
	/* the past is now */
	THEN 0
	SET_DEADLINE
	HALT_UNTIL ticks, 2
	/* 0 takes it back */
	THEN 10000000
	SET_DEADLINE
	movl $0, then
	movl $0, then + 4
	SET_DEADLINE
	DEADLINE_IS_0
	SPIN 30000000
	EQ $2, ticks
	/* the clock is moved to the deadline: KVM, which offers the mode in
	 * CPUID, goes by the time at which it was set */
	movl $1, %eax
	cpuid
	btl $24, %ecx
	jc 2f
	movl $0, then
	movl $0x40000000, then + 4
	SET_DEADLINE
	movl $0x10, %ecx
	wrmsr
	HALT_UNTIL ticks, 3
	DEADLINE_IS_0
2:	movl $0, ticks
	/* leaving the mode disarms */
	THEN 10000000
	SET_DEADLINE
	movl $ONCE, LAPIC_TIMER
	SPIN 30000000
	EQ $0, ticks
	DEADLINE_IS_0
	PASS
