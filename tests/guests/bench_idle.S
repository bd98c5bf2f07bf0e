/*
 * An idle server: HLT, and a handful of timer interrupts a second.  It ends
 * when somebody ends it.
 */
#include "mac.inc"
#include "kvm.inc"
	NAME bench_idle
	.set PERIODIC, 0x20032
	.set COUNT, 32000000	/* 4 Hz on the software processor's APIC */
	.text
isr:	LAPIC_DONE
	iretl
main:
	GATE32 0x32, isr
	LAPIC_ON
	movl $0xb, LAPIC_DIVIDE
	movl $PERIODIC, LAPIC_TIMER
	movl $COUNT, LAPIC_COUNT
1:	sti
	hlt
	jmp 1b
