/*
 * How long the processor is away: the TSC read in a loop, and of each window
 * of WINDOW ticks the largest difference of two readings, in hexadecimal on
 * COM1, a line each, between S and E.  Multiboot, 32-bit, no paging.
 */
#define COM1 0x3f8
#define WINDOWS 400
#define WINDOW (1 << 24)

	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 0, -0x1badb002

	.text
	.code32
	.globl _start
_start:
	mov $stack_top, %esp
	mov $'S', %al
	call putc
	mov $WINDOWS, %ebp
window:	rdtsc
	mov %eax, %esi		/* the window's begin */
	mov %eax, %edi		/* the reading before */
	xor %ebx, %ebx		/* the largest difference */
1:	rdtsc
	mov %eax, %ecx
	sub %edi, %ecx
	mov %eax, %edi
	cmp %ebx, %ecx
	cmova %ecx, %ebx
	sub %esi, %eax
	cmp $WINDOW, %eax
	jb 1b
	mov $8, %ecx
2:	rol $4, %ebx
	mov %bl, %al
	and $15, %al
	add $'0', %al
	cmp $'9', %al
	jbe 3f
	add $'a' - '9' - 1, %al
3:	call putc
	loop 2b
	mov $'\n', %al
	call putc
	dec %ebp
	jnz window
	mov $'E', %al
	call putc
	mov $0x06, %al
	mov $0xcf9, %dx
	out %al, %dx
4:	hlt
	jmp 4b
putc:	mov $COM1, %dx
	out %al, %dx
	ret

	.bss
	.balign 16
	.skip 4096
stack_top:
