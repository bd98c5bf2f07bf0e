/*
 * 200,000 byte writes to a port that user space serves, between an S and an
 * E on COM1: `make bench` times them.  Multiboot, 32-bit, no paging.
 */
#define COM1 0x3f8
#define EXITS 200000

	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 0, -0x1badb002

	.text
	.code32
	.globl _start
_start:
	mov $'S', %al
	mov $COM1, %dx
	out %al, %dx
	mov $EXITS, %ecx
	mov $0x3ff, %dx		/* COM1's scratch register */
1:	out %al, %dx
	dec %ecx
	jnz 1b
	mov $'E', %al
	mov $COM1, %dx
	out %al, %dx
	mov $0x06, %al
	mov $0xcf9, %dx
	out %al, %dx
2:	hlt
	jmp 2b
