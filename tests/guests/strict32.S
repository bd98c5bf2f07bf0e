/*
 * Segment limits, rights of accesses, the accessed bit of CS, RF in a fault's
 * image, INT1, the fixed bits of DR6 and DR7, reserved
 * bits of CR0 and CR4: what QEMU's TCG does not have.
 */
#include "mac.inc"
	NAME strict32

	.set D_SMALL, SPARE		/* data, limit 0xfff */
	.set D_DOWN, SPARE + 8		/* expand-down, limit 0xfff */
	.set D_RO, SPARE + 16
	.set C_SMALL, SPARE + 24	/* code, limit 0xfff */
	.set D_DOWN16, SPARE + 32	/* expand-down, 64 KiB at most */
	.set S_SMALL, SPARE + 40	/* 16 bytes */
	.set C_FRESH, SPARE + 48	/* accessed bit clear */
	.text
main:
	movl $descs, %esi
	movl $gdt_spare, %edi
	movl $(descs_end - descs) / 4, %ecx
	rep movsl

	FAULTS_NE 6, ud2
	TESTNO
	testl $0x10000, x_flags
	jz fail
	TRAPS 1, .byte 0xf1
	TESTNO
	testl $0x10000, x_flags
	jnz fail
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
	ljmp $C_FRESH, $1f
1:	ljmp $CS32, $1f
1:	movzbl gdt + C_FRESH + 5, %eax
	EQ $0x9b, %eax
	movl $-1, %eax
	movl %eax, %dr6
	movl %dr6, %eax
	EQ $0xffffefff, %eax
	movl $0xffffff00, %eax
	andl $~0x2000, %eax
	movl %eax, %dr7
	movl %dr7, %eax
	EQ $0xffff0700, %eax
	/* CR0, CR4 */
	movl $0x80000000, %eax
	FAULTS 13, 0, movl %eax, %cr0
	movl %cr0, %eax
	orl $0x20000000, %eax
	andl $~0x40000000, %eax
	FAULTS 13, 0, movl %eax, %cr0
	movl %cr4, %eax
	orl $0x80000000, %eax
	FAULTS 13, 0, movl %eax, %cr4
	movl $0x12345678, %ecx
	FAULTS 13, 0, rdmsr
	PASS

	.data
descs:	DESC 0, 0xfff, 0x0093
	DESC 0, 0xfff, 0x4097
	DESC 0, 0xfffff, 0xc091
	DESC 0, 0xfff, 0x409b
	DESC 0, 0xfff, 0x0097
	DESC 0, 0xf, 0x4093
	DESC 0, 0xfffff, 0xc09a
descs_end:
