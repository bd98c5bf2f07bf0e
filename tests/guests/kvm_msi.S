/*
 * Message-signalled interrupts: the test process sends vector 0x35 three
 * times and 0x36 once through the VM's control socket, after READY.
 */
#include "mac.inc"
#include "kvm.inc"
	NAME kvm_msi
	.data
first:	.long 0
second:	.long 0
	.text
isr_first:
	incl first
	LAPIC_DONE
	iretl
isr_second:
	incl second
	LAPIC_DONE
	iretl
main:
	GATE32 0x35, isr_first
	GATE32 0x36, isr_second
	LAPIC_ON
	SAY "READY"
	HALT_UNTIL first, 1
	SAY "one"
	HALT_UNTIL first, 2
	SAY "two"
	HALT_UNTIL first, 3
	EQ $0, second
	SAY "three"
	HALT_UNTIL second, 1
	EQ $3, first
	PASS
