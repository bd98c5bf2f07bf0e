/*
 * Hardware task switches: JMP, CALL, IRET, task gates (software interrupt
 * and a double fault), 16-bit TSS, busy bits, NT, back link, TS, the T bit.
 */
#include "mac.inc"
	NAME task32
	.set T1, SPARE
	.set T2, SPARE + 8		/* task gate to T1's TSS */
	.set T16, SPARE + 16
	.set TDF, SPARE + 24
	.set T3, SPARE + 32		/* DPL 3 */

	.bss
	.balign 16
tss1:	.skip 104
	.balign 16
tss16:	.skip 44
	.balign 16
tssdf:	.skip 104
	.skip 1024
stack1:	.skip 1024
stackdf: .skip 16
	.data
turn:	.long 0
w:	.long 0
	.text
	/* TSS descriptor in GDT slot sel. */
	.macro TSSDESC sel, where, limit, attr
	movl $\where, %eax
	movw $\limit, gdt + \sel
	movw %ax, gdt + \sel + 2
	shrl $16, %eax
	movb %al, gdt + \sel + 4
	movb $\attr, gdt + \sel + 5
	movb $0, gdt + \sel + 6
	movb %ah, gdt + \sel + 7
	.endm
	.macro TSS32 where, eip, esp
	movl $\eip, \where + 0x20
	movl $2, \where + 0x24
	movl $\esp, \where + 0x38
	movl $DS32, \where + 0x48
	movl $CS32, \where + 0x4c
	movl $DS32, \where + 0x50
	movl $DS32, \where + 0x54
	movl $0, \where + 0x58
	movl $0, \where + 0x5c
	movl $0, \where + 0x60
	movw $104, \where + 0x66
	.endm
	.macro BUSY sel, val
	movzbl gdt + \sel + 5, %eax
	andl $0xf, %eax
	EQ $\val, %eax
	.endm
	.macro CLTS_SET
	movl %cr0, %eax
	andl $8, %eax
	EQ $8, %eax
	clts
	.endm
main:
	TSSDESC T1, tss1, 103, 0x89
	TSSDESC T16, tss16, 43, 0x81
	TSSDESC TDF, tssdf, 103, 0x89
	movw $T1, gdt + T2 + 2
	movb $0x85, gdt + T2 + 5

	/* CALL and IRET */
	TSS32 tss1, 1f, stack1
	movl $0x11223344, tss1 + 0x28
	clts
	movl $0x55667788, %ebx
	movl $0xcafe, %eax
	lcall $T1, $0
	/* back here */
	EQ $0x55667788, %ebx
	BUSY TSS, 0xb
	BUSY T1, 9
	pushfl
	popl %eax
	andl $0x4000, %eax
	EQ $0, %eax
	CLTS_SET
	jmp 3f
1:	movl %eax, w
	EQ $0x11223344, w
	movl %esp, %eax
	EQ $stack1, %eax
	str %eax
	EQ $T1, %eax
	BUSY TSS, 0xb
	BUSY T1, 0xb
	movzwl tss1, %eax
	EQ $TSS, %eax
	movl tss + 0x28, %eax
	EQ $0xcafe, %eax
	pushfl
	popl %eax
	andl $0x4000, %eax
	EQ $0x4000, %eax
	CLTS_SET
	movl %fs, %eax
	EQ $0, %eax
	iretl
	/* the task goes on behind its IRET when it is called again */
	incl turn
	iretl
	incl turn
	incl turn
	iretl
	/* entered by JMP later */
	BUSY TSS, 9
	BUSY T1, 0xb
	pushfl
	popl %eax
	andl $0x4000, %eax
	EQ $0, %eax
	FAULTS 13, T1, ljmp $T1, $0
	ljmp $TSS, $0
3:	lcall $T1, $0
	EQ $1, turn
	/* through a task gate */
	lcall $T2, $0
	EQ $3, turn
	BUSY T1, 9
	ljmp $T1, $0
	BUSY TSS, 0xb
	BUSY T1, 9

	/* errors */
	andb $0x7f, gdt + T1 + 5
	FAULTS 11, T1, ljmp $T1, $0
	orb $0x80, gdt + T1 + 5
	movw $102, gdt + T1
	FAULTS 10, T1, lcall $T1, $0
	movw $103, gdt + T1
	FAULTS 13, TSS, lcall $TSS, $0
	movw $DS32, gdt + T2 + 2
	FAULTS 13, DS32, lcall $T2, $0
	movw $T1, gdt + T2 + 2
	/* IRET with NT set to a task that is not busy */
	movw $T1, tss
	pushfl
	orl $0x4000, (%esp)
	popfl
	FAULTS 10, T1, iretl
	pushfl
	andl $~0x4000, (%esp)
	popfl
	movw $0, tss

	/* a task gate in the IDT, by INT n: no error code */
	TSS32 tss1, 4f, stack1
	movw $T1, idt + 45 * 8 + 2
	movw $0x8500, idt + 45 * 8 + 4
	int $45
	EQ $4, turn
	jmp 5f
4:	incl turn
	movl %esp, %eax
	EQ $stack1, %eax
	iretl
5:
	/* a segment that the new task cannot load: #TS in the new task */
	TSS32 tss1, 6f, stack1
	movl $0x2000, tss1 + 0x58	/* FS */
	movl $6f, x_resume
	lcall $T1, $0
	jmp 2f
6:	EQ $10, x_vec
	EQ $0x2000, x_err
	str %eax
	EQ $T1, %eax
	iretl
2:
	/* 16-bit TSS */
	movw $2, tss16 + 16
	movw $0x1234, tss16 + 18
	movw $0, tss16 + 26
	movw $DS32, tss16 + 34
	movw $CS32, tss16 + 36
	movw $DS32, tss16 + 38
	movw $DS32, tss16 + 40
	/* IP has 16 bits: the code is copied to the first 64 KiB */
	movl $7f, %esi
	movl $0x7000, %edi
	movl $8f - 7f, %ecx
	rep movsb
	movw $0x7000, tss16 + 14
	lcall $T16, $0
	EQ $0xffff1234, w
	BUSY T16, 1
	jmp 9f
7:	movl %eax, w
	iretl
8:
9:
	/* T bit: #DB before the task's first instruction */
	TSS32 tss1, 1f, stack1
	movw $1, tss1 + 0x64
	xorl %eax, %eax
	movl %eax, %dr6
	movl $0xffffffff, x_vec
	lcall $T1, $0
	jmp 2f
1:	iretl
2:	EQ $1, x_vec
	EQ $1b, x_eip
	movl %dr6, %eax
	andl $0xe00f, %eax
	EQ $0x8000, %eax
	movw $0, tss1 + 0x64

	/* double fault on a dead stack, served by a task */
	TSS32 tssdf, 1f, stackdf
	movw $TDF, idt + 8 * 8 + 2
	movw $0x8500, idt + 8 * 8 + 4
	movw $0, idt + 13 * 8 + 4	/* #GP has no handler */
	movl $0xbad, %ebx
	movl $0x2000, %eax
3:	movw %ax, %fs
	jmp fail
1:	movl (%esp), %eax
	EQ $0, %eax
	movl tss + 0x20, %eax
	EQ $3b, %eax
	movl tss + 0x34, %eax
	EQ $0xbad, %eax
	movzwl tssdf, %eax
	EQ $TSS, %eax
	PASS
