/* Segment limits and rights of accesses (QEMU's TCG does not check them). */
#include "mac.inc"
	NAME limit32

	.set D_SMALL, SPARE		/* data, limit 0xfff */
	.set D_DOWN, SPARE + 8		/* expand-down, limit 0xfff */
	.set D_RO, SPARE + 16
	.set C_SMALL, SPARE + 24	/* code, limit 0xfff */
	.set D_DOWN16, SPARE + 32	/* expand-down, 64 KiB at most */
	.set S_SMALL, SPARE + 40	/* 16 bytes */
	.text
main:
	movl $descs, %esi
	movl $gdt_spare, %edi
	movl $(descs_end - descs) / 4, %ecx
	rep movsl
	/* null selector: loads, but no access */
	xorl %eax, %eax
	movw %ax, %fs
	FAULTS 13, 0, movb %fs:0, %al

	/* limits */
	movw $D_SMALL, %ax
	movw %ax, %es
	movl %es:0xffc, %eax
	FAULTS 13, 0, movl %es:0xffd, %eax
	FAULTS 13, 0, movb %es:0x1000, %al
	movw $D_DOWN, %ax
	movw %ax, %es
	FAULTS 13, 0, movb %es:0xfff, %al
	FAULTS 13, 0, movl %es:0xffe, %eax
	movb %es:0x1000, %al
	movw $D_RO, %ax
	movw %ax, %es
	movb %es:0, %al
	FAULTS 13, 0, movb %al, %es:0
	FAULTS 13, 0, movb %al, %cs:0
	movb %cs:_start, %al


	/* far transfers look at the new segment's limit */
	FAULTS 13, 0, ljmp $C_SMALL, $0x1000
	/* a 16-bit expand-down segment ends at 64 KiB */
	movw $D_DOWN16, %ax
	movw %ax, %es
	movb %es:0xffff, %al
	FAULTS 13, 0, movw %es:0xffff, %ax
	FAULTS 13, 0, movb %es:0x10000, %al
	movw $S_SMALL, %ax
	movw %ax, %gs
	FAULTS 13, 0, movl %gs:0xe, %eax
	FAULTS 13, 0, movl %gs:0xfffffffe, %eax
	/* IRET to an offset above the limit */
	pushfl
	pushl $C_SMALL
	pushl $0x2000
	FAULTS 13, 0, iretl
	addl $12, %esp
	pushl $C_SMALL
	pushl $0x2000
	FAULTS 13, 0, lret
	addl $8, %esp
	PASS

	.data
descs:	DESC 0, 0xfff, 0x0093
	DESC 0, 0xfff, 0x4097
	DESC 0, 0xfffff, 0xc091
	DESC 0, 0xfff, 0x409b
	DESC 0, 0xfff, 0x0097
	DESC 0, 0xf, 0x4093
descs_end:
