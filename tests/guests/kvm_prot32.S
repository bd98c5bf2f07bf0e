/*
 * 32-bit paging: 4 MiB and 4 KiB pages, an alias, page faults with their
 * error codes and IRET behind them, accessed and dirty bits, level 3.
 */
#include "mac.inc"
#include "kvm.inc"
	NAME kvm_prot32
	.bss
	.balign 4096
dir:	.skip 4096
table:	.skip 4096
page:	.skip 4096
	.data
resume0: .long 0
	.text
	.set WINDOW, 0x40000000
	.macro REMAP slot, flags
	movl $page + \flags, table + \slot * 4
	invlpg WINDOW + \slot * 4096
	.endm
	.macro TO_USER
	pushl $UDS
	pushl $stack3_top
	pushl $2
	pushl $UCS32
	pushl $9905f
	iretl
9905:	movw $UDS, %ax
	movw %ax, %ds
	.endm
	.macro TO_KERNEL
	movl $9906f, resume0
	hlt
9906:
	.endm
	/* #GP: the way back from level 3, or else recorded as ever. */
gp:	cmpl $0, %ss:resume0
	je stubs + 13 * 16
back:	movw $DS32, %ax
	movw %ax, %ds
	movl $stack_top, %esp
	movl resume0, %eax
	movl $0, resume0
	jmp *%eax
main:
	GATE32 13, gp
	/* 16 MiB as they are, for level 3, too; the window is the table's */
	movl $0x87, %eax
	movl $dir, %edi
	movl $4, %ecx
1:	movl %eax, (%edi)
	addl $0x400000, %eax
	addl $4, %edi
	loop 1b
	movl $table + 7, dir + (WINDOW >> 22) * 4
	movl $page + 3, table
	movl $page + 1, table + 4
	movl $dir, %eax
	movl %eax, %cr3
	movl %cr4, %eax
	orl $0x10, %eax
	movl %eax, %cr4
	movl %cr0, %eax
	orl $0x80010000, %eax
	movl $1f, x_resume
	movl %eax, %cr0
	jmp 2f
1:	/* the processor takes no 32-bit paging: the test process judges */
	EQ $13, x_vec
	SAY "NO 32-BIT PAGING"
	PASS
2:	movl $0, x_resume
	/* two windows onto one page */
	movl $0x12345678, WINDOW + 0x10
	EQ $0x12345678, page + 0x10
	EQ $0x12345678, WINDOW + 0x1010
	/* accessed and dirty: slot 0 was written, slot 1 read */
	movl table, %eax
	andl $0x60, %eax
	EQ $0x60, %eax
	movl table + 4, %eax
	andl $0x60, %eax
	EQ $0x20, %eax
	/* not there, read and write; read-only, written */
	FAULTS 14, 0, movl WINDOW + 0x2123, %eax
	EQ $WINDOW + 0x2123, x_cr2
	FAULTS 14, 2, movl %eax, WINDOW + 0x3ffc
	EQ $WINDOW + 0x3ffc, x_cr2
	FAULTS 14, 3, movb %al, WINDOW + 0x1000
	/* an access over the end of a page that is there */
	FAULTS 14, 2, movl %eax, WINDOW - 2
	/* a handler's IRET runs the instruction again when the page is there */
	REMAP 2, 3
	movl WINDOW + 0x2010, %eax
	EQ $0x12345678, %eax
	/* level 3 */
	TO_USER
	FAULTS 14, 5, movl WINDOW, %eax
	FAULTS 14, 7, movl %eax, WINDOW
	FAULTS 14, 6, movl %eax, WINDOW + 0x4000
	EQ $UCS32, x_cs
	EQ $UDS, x_ss
	TO_KERNEL
	REMAP 0, 7
	TO_USER
	movl $0x55aa55aa, WINDOW + 0x20
	EQ $0x55aa55aa, page + 0x20
	TO_KERNEL
	movl %cs, %eax
	EQ $CS32, %eax
	/* a function in the window */
	movb $0xb8, page		/* mov $7, %eax; ret */
	movl $7, page + 1
	movb $0xc3, page + 5
	movl $WINDOW, %ecx
	call *%ecx
	EQ $7, %eax
	PASS
