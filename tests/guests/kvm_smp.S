/*
 * Two processors: INIT and SIPI, a counter under LOCK, one under a lock by
 * XCHG, and an IPI each way.
 */
#include "mac.inc"
#include "kvm.inc"
	NAME kvm_smp
	.set TRAMPOLINE, 0x8000
	.set ROUNDS, 10000
	.data
	.balign 64
up:	.long 0
go:	.long 0
done:	.long 0
to_ap:	.long 0
to_bsp:	.long 0
	.balign 64
counter: .long 0
	.balign 64
lock:	.long 0
plain:	.long 0
	.bss
	.balign 16
	.skip 4096
ap_stack:
	.skip 16
	.text
isr_ap:	lock incl to_ap
	LAPIC_DONE
	iretl
isr_bsp:
	lock incl to_bsp
	LAPIC_DONE
	iretl
	/* What both do at once. */
count:	movl $ROUNDS, %ecx
1:	lock incl counter
	movl $1, %eax
	lock xaddl %eax, counter + 8
	decl %ecx
	jnz 1b
	movl $ROUNDS / 10, %ecx
2:	movl $1, %eax
3:	xchgl %eax, lock
	testl %eax, %eax
	jz 4f
	pause
	jmp 3b
4:	movl plain, %eax
	incl %eax
	movl %eax, plain
	movl $0, lock
	decl %ecx
	jnz 2b
	lock incl done
	ret
	.code16
ap16:	cli
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl TRAMPOLINE + ap_gdt - ap16
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $CS32, $ap32
ap_gdt:	.word gdt_end - gdt - 1
	.long gdt
ap16_end:
	.code32
ap32:	movw $DS32, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $ap_stack, %esp
	lidt idt_ptr
	LAPIC_ON
	movl $1, up
1:	pause
	cmpl $1, go
	jne 1b
	call count
2:	cli
	cmpl $1, to_ap
	jae 3f
	sti
	hlt
	jmp 2b
3:	movl $0, LAPIC_ICR_HI		/* the answer goes to processor 0 */
	movl $0x4038, LAPIC_ICR
4:	cli
	hlt
	jmp 4b
main:
	GATE32 0x37, isr_ap
	GATE32 0x38, isr_bsp
	LAPIC_ON
	movl $ap16, %esi
	movl $TRAMPOLINE, %edi
	movl $ap16_end - ap16, %ecx
	cld
	rep movsb
	TESTNO
	movl $0xc4500, LAPIC_ICR	/* INIT to all others, then SIPI */
	movl $0xc4600 + (TRAMPOLINE >> 12), LAPIC_ICR
1:	pause
	cmpl $1, up
	jne 1b
	TESTNO
	movl $1, go
	call count
2:	pause
	cmpl $2, done
	jne 2b
	EQ $(2*ROUNDS), counter
	EQ $(2*ROUNDS), counter + 8
	EQ $(2*ROUNDS/10), plain
	movl $1 << 24, LAPIC_ICR_HI
	movl $0x4037, LAPIC_ICR
	HALT_UNTIL to_bsp, 1
	EQ $1, to_ap
	PASS
