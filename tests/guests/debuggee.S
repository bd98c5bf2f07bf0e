/*
 * A program to debug: counts for ever, calls a function, stores, and takes
 * its own breakpoint trap now and then.
 */
	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 0, -0x1badb002

	.set CS32, 0x08
	.text
	.code32
	.globl _start
_start:
	mov $stack_top, %esp
	lgdt gdt_ptr
	ljmp $CS32, $1f
1:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $int3_handler, %eax
	mov %ax, idt + 3 * 8
	shr $16, %eax
	mov %ax, idt + 3 * 8 + 6
	lidt idt_ptr
	/* Something for the registers of the FPU and of SSE. */
	mov %cr4, %eax
	or $0x200, %eax
	mov %eax, %cr4
	fninit
	fldpi
	movups vector, %xmm3
loop:
	incl counter
	call work
	testl $0xff, counter
	jnz loop
own_trap:
	int3
after_trap:
	jmp loop

	.globl work
work:
	mov counter, %ebx
	mov %ebx, cell
work_end:
	ret

int3_handler:
	incl traps
	iret

	.data
	.balign 16
vector:	.long 0x11111111, 0x22222222, 0x33333333, 0x44444444
gdt:	.quad 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
gdt_ptr: .word gdt_ptr - gdt - 1
	.long gdt
idt:	.fill 3, 8, 0
	.word 0, CS32, 0x8e00, 0
idt_ptr: .word idt_ptr - idt - 1
	.long idt
	.balign 4
	.globl counter, cell, traps
counter: .long 0
cell:	.long 0
traps:	.long 0
	.bss
	.balign 16
	.skip 4096
stack_top:
