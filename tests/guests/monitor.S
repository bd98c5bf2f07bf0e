/*
 * A small guest with a prompt on COM1, for machines where no distribution's
 * kernel can be fetched: h help, c processor, p power-off, r reboot.
 * Multiboot, 32-bit, no paging, polled serial port.
 */
#define COM1 0x3f8
#define LSR 0x3fd
#define PM1A_CNT 0x404
#define RESET 0xcf9

	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 0, -0x1badb002

	.text
	.code32
	.globl _start
_start:
	mov $stack_top, %esp
	mov $banner, %esi
	call puts
prompt:
	mov $prompt_text, %esi
	call puts
	call getc
	call putc
	mov %al, %bl
	mov $newline, %esi
	call puts
	cmp $'h', %bl
	je help
	cmp $'c', %bl
	je processor
	cmp $'p', %bl
	je poweroff
	cmp $'r', %bl
	je reboot
	cmp $'\r', %bl
	je prompt
help:
	mov $help_text, %esi
	call puts
	jmp prompt

/* CPUID's brand string, leaves 0x80000002 to 0x80000004. */
processor:
	mov $0x80000002, %edi
1:	mov %edi, %eax
	cpuid
	mov $brand, %ebp
	mov %eax, (%ebp)
	mov %ebx, 4(%ebp)
	mov %ecx, 8(%ebp)
	mov %edx, 12(%ebp)
	mov $brand, %esi
	call puts
	inc %edi
	cmp $0x80000005, %edi
	jne 1b
	mov $newline, %esi
	call puts
	jmp prompt

/* S5: SLP_TYP 5, SLP_EN. */
poweroff:
	mov $(5 << 10 | 1 << 13), %ax
	mov $PM1A_CNT, %dx
	out %ax, %dx
	jmp stop

reboot:
	mov $0x06, %al
	mov $RESET, %dx
	out %al, %dx
stop:
	hlt
	jmp stop

/* The string at %esi. */
puts:
	lodsb
	test %al, %al
	jz 1f
	call putc
	jmp puts
1:	ret

putc:
	push %eax
	mov $LSR, %dx
1:	in %dx, %al
	test $0x20, %al
	jz 1b
	pop %eax
	mov $COM1, %dx
	out %al, %dx
	ret

getc:
	mov $LSR, %dx
1:	in %dx, %al
	test $1, %al
	jz 1b
	mov $COM1, %dx
	in %dx, %al
	ret

	.section .rodata
banner:	.asciz "\r\nbhyve's own small guest\r\n"
prompt_text: .asciz "monitor> "
newline: .asciz "\r\n"
help_text: .asciz "h help, c processor, p power-off, r reboot\r\n"

	.bss
brand:	.skip 17
	.balign 16
	.skip 4096
stack_top:
