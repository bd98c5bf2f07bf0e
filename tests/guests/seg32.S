/* Segment loads, LAR, LSL, VERR, VERW, ARPL, accessed bits. */
#include "mac.inc"
	NAME seg32

	.set D_SMALL, SPARE		/* data, limit 0xfff */
	.set D_RO, SPARE + 16
	.set D_NP, SPARE + 24		/* data not present */
	.set C_XO, SPARE + 32		/* execute-only */
	.set C_CONF, SPARE + 40		/* conforming, readable */
	.set D_DPL3, SPARE + 48
	.set D_LDT, SPARE + 56
	.set C_NP, SPARE + 64
	.set D_FRESH, SPARE + 72	/* accessed bit clear */

	.data
ldt:	DESC 0, 0xfffff, 0xc093
ldt_end:
far48:	.long 0
	.word 0
	.text
main:
	movl $descs, %esi
	movl $gdt_spare, %edi
	movl $(descs_end - descs) / 4, %ecx
	rep movsl

	/* selector errors */
	movw $0x2000, %ax
	FAULTS 13, 0x2000, movw %ax, %ds
	movw $CS32 + 0x100 + 3, %ax
	FAULTS 13, CS32 + 0x100, movw %ax, %ds
	xorl %eax, %eax
	FAULTS 13, 0, movw %ax, %ss
	movw $D_NP, %ax
	FAULTS 11, D_NP, movw %ax, %es
	FAULTS 12, D_NP, movw %ax, %ss
	movw $D_RO, %ax
	FAULTS 13, D_RO, movw %ax, %ss
	movw $C_XO, %ax
	FAULTS 13, C_XO, movw %ax, %ds
	movw $DS32 | 3, %ax
	FAULTS 13, DS32, movw %ax, %ds
	movw $UDS & ~3, %ax
	FAULTS 13, UDS & ~3, movw %ax, %ss
	movw $TSS, %ax
	FAULTS 13, TSS, movw %ax, %fs
	movw $C_CONF | 3, %ax
	movw %ax, %fs
	movw $4, %ax
	FAULTS 13, 4, movw %ax, %fs
	/* null selector */
	xorl %eax, %eax
	movw %ax, %fs

	/* code segments */
	FAULTS 13, 0, ljmp $0, $main
	FAULTS 13, DS32, ljmp $DS32, $main
	FAULTS 11, C_NP, ljmp $C_NP, $main
	FAULTS 13, UCS32 & ~3, lcall $UCS32, $main
	ljmp $C_CONF, $1f
1:	movw %cs, %ax
	movzwl %ax, %eax
	EQ $C_CONF, %eax
	ljmp $CS32, $1f
1:
	/* accessed bits */
	movw $D_FRESH, %ax
	movw %ax, %es
	movzbl gdt + D_FRESH + 5, %eax
	EQ $0x93, %eax
	movzbl gdt + TSS + 5, %eax
	EQ $0x8b, %eax

	/* LDT */
	movl $ldt, %eax
	movw %ax, gdt + D_LDT + 2
	shrl $16, %eax
	movb %al, gdt + D_LDT + 4
	movw $D_LDT, %ax
	lldt %ax
	movw $4, %ax
	movw %ax, %fs
	movw $12, %ax
	FAULTS 13, 12, movw %ax, %fs
	movw $4, %ax
	FAULTS 13, 4, lldt %ax
	movw $DS32, %ax
	FAULTS 13, DS32, lldt %ax
	FAULTS 13, DS32, ltr %ax
	movw $TSS, %ax
	FAULTS 13, TSS, ltr %ax
	sldt %eax
	EQ $D_LDT, %eax
	str %eax
	EQ $TSS, %eax
	xorl %eax, %eax
	lldt %ax
	movw $4, %ax
	FAULTS 13, 4, movw %ax, %fs

	/* LAR, LSL, VERR, VERW */
	movl $CS32, %ecx
	lar %ecx, %eax
	IS z
	EQ $0xc09b00, %eax
	lsl %ecx, %eax
	IS z
	EQ $0xffffffff, %eax
	movl $D_SMALL, %ecx
	lsl %ecx, %eax
	EQ $0xfff, %eax
	movl $TSS, %ecx
	lar %ecx, %eax
	IS z
	EQ $0x008b00, %eax
	movl $0x2000, %ecx
	lar %ecx, %eax
	IS nz
	EQ $0x008b00, %eax
	xorl %ecx, %ecx
	lsl %ecx, %eax
	IS nz
	movl $DS32 | 3, %ecx
	lar %ecx, %eax
	IS nz
	movw $DS32, %ax
	verr %ax
	IS z
	verw %ax
	IS z
	movw $CS32, %ax
	verr %ax
	IS z
	verw %ax
	IS nz
	movw $C_XO, %ax
	verr %ax
	IS nz
	movw $TSS, %ax
	verr %ax
	IS nz
	movw $0x10, %ax
	movw $3, %cx
	arpl %cx, %ax
	IS z
	movzwl %ax, %eax
	EQ $0x13, %eax
	arpl %cx, %ax
	IS nz

	/* SGDT */
	sgdt far48
	movl far48 + 2, %eax
	EQ $gdt, %eax
	PASS

	.data
descs:	DESC 0, 0xfff, 0x0093
	.quad 0
	DESC 0, 0xfffff, 0xc091
	DESC 0, 0xfffff, 0xc013
	DESC 0, 0xfffff, 0xc099
	DESC 0, 0xfffff, 0xc09f
	DESC 0, 0xfffff, 0xc0f3
	DESC 0, 0x7, 0x0082
	DESC 0, 0xfffff, 0xc01b
	DESC 0, 0xfffff, 0xc092
descs_end:
