/*
 * Virtual-8086 mode: entry by IRET, segments, what traps at IOPL 0 and 3,
 * the frame of an exception, I/O bitmap, CR4.VME's redirection and VIF.
 */
#include "mac.inc"
	NAME v86
	.set CODE, 0x20000		/* v86 code and stack */
	.set CODESEG, 0x2000
	.data
resume0: .long 0
frame:	.fill 16, 4, 0
	.text
	/* vector 50 and #GP come here: note the frame, go on at resume0 */
v86_out:
	pushl $0xeeee
v86_gp:	cld
	movw $DS32, %ax
	movw %ax, %ds
	movw %ax, %es
	movl %esp, %esi
	movl $frame, %edi
	movl $10, %ecx
	rep movsl
	movl $stack_top, %esp
	jmp *resume0
	.macro SETGATE vec, handler
	movl $\handler, %eax
	movw %ax, idt + \vec * 8
	shrl $16, %eax
	movw %ax, idt + \vec * 8 + 6
	.endm
	/* Run the 16-bit code between from and to at CODE; comes back behind
	 * with the frame of vector 50 or #GP. */
	.macro RUN flags, from, to
	movl $\from, %esi
	movl $CODE, %edi
	movl $\to - \from, %ecx
	rep movsb
	movl $9907f, resume0
	pushl $0x1111			/* GS FS DS ES */
	pushl $0x2222
	pushl $0x3333
	pushl $0x4444
	pushl $CODESEG
	pushl $0x8000
	pushl $0x20000 | \flags
	pushl $CODESEG
	pushl $0
	iretl
9907:
	.endm
	/* The frame: error code, IP offset of the event. */
	.macro FRAME err, ip
	EQ $\err, frame
	EQ $\ip, frame+4
	EQ $CODESEG, frame+8
	.endm
	.macro GP16 insn:vararg
	RUN 2, 9908f, 9909f
	jmp 9909f
	.code16
9908:	\insn
	.code32
9909:	FRAME 0, 0
	.endm
main:
	SETGATE 50, v86_out
	SETGATE 13, v86_gp
	movl $tss + 104, %edi
	movl $0xff, %eax
	movl $8193, %ecx
	rep stosb

	/* IOPL 3: INT goes through the IDT */
	RUN 0x3002, 1f, 2f
	jmp 2f
	.code16
1:	int $50
	.code32
2:	FRAME 0xeeee, 2
	EQ $0x23002, frame+12
	EQ $0x8000, frame+16
	EQ $CODESEG, frame+20
	EQ $0x4444, frame+24
	EQ $0x3333, frame+28
	EQ $0x2222, frame+32
	EQ $0x1111, frame+36
	movl %fs, %eax
	EQ $0, %eax

	/* segments are paragraphs; 32-bit offsets end at 64 KiB */
	movl $0x12345678, 0x33330
	RUN 0x3002, 1f, 2f
	jmp 2f
	.code16
1:	movl 0, %eax
	movl %eax, %ebp
	movw %ds, %bx
	int $50
	.code32
2:	EQ $0x12345678, %ebp
	EQ $0xeeee, frame

	/* IOPL 0: these are the monitor's */
	GP16 cli
	GP16 sti
	GP16 pushfw
	GP16 popfw
	GP16 int $50
	GP16 iretw
	GP16 inb $0x80, %al
	GP16 hlt
	GP16 movl %cr0, %eax
	/* INT3 is not sensitive to IOPL, but the gate's DPL counts */
	SETGATE 3, v86_out
	RUN 2, 1f, 2f
	jmp 2f
	.code16
1:	int3
	.code32
2:	FRAME 0xeeee, 1
	/* a software interrupt needs a gate of DPL 3, also at IOPL 3 */
	RUN 0x3002, 1f, 2f
	jmp 2f
	.code16
1:	int $13
	.code32
2:	FRAME 106, 0
	/* the bitmap rules ports even at IOPL 3 */
	RUN 0x3002, 1f, 2f
	jmp 2f
	.code16
1:	nop
	inb $0x80, %al
	.code32
2:	FRAME 0, 1
	movb $0xfe, tss + 104 + 16
	RUN 2, 1f, 2f
	jmp 2f
	.code16
1:	inb $0x80, %al
	inb $0x81, %al
	.code32
2:	FRAME 0, 2

	/* IRET within v86 at IOPL 3 keeps IOPL and VM */
	RUN 0x3002, 1f, 2f
	jmp 2f
	.code16
1:	pushw $0x0003
	pushw $CODESEG
	pushw $(3f - 1b)
	iretw
	nop
3:	int $50
	.code32
2:	EQ $0x23003, frame+12
	EQ $0x8000, frame+16

	/* LLDT and the like are invalid here */
	movl $3f, x_resume
	SETGATE 6, v86_out
	RUN 0x3002, 1f, 2f
	jmp 2f
	.code16
1:	lldt %ax
	.code32
3:
2:	FRAME 0xeeee, 0

	/* CR4.VME: bitmap below the I/O bitmap; it starts at 104 - 32, inside
	 * the TSS's own fields, so a new I/O map base is set */
	movl %cr4, %eax
	orl $1, %eax
	movl %eax, %cr4
	movw $136, tss + 102
	movl $tss + 104, %edi
	xorl %eax, %eax
	movl $8, %ecx
	rep stosl
	movb $0x04, tss + 104 + 6	/* vector 50 goes to the IDT */
	movl $0x20000100, 60 * 4	/* v86 vector 60 */
	movl $0x90cf9090, CODE + 0x100
	/* IOPL 0: INT 60 is served in v86; the image shows VIF as IF */
	RUN 2, 1f, 2f
	jmp 2f
	.code16
1:	sti
	pushfw
	popw %bp
	cli
	pushfw
	popw %cx
	int $60
	sti
	int $50
	.code32
2:	EQ $0, frame
	EQ $9, frame+4
	andl $0xffff, %ebp
	EQ $0x3202, %ebp
	movl frame+12, %eax
	andl $0x80000, %eax
	EQ $0x80000, %eax
	/* STI with VIP pending */
	RUN 0x100002, 1f, 2f
	jmp 2f
	.code16
1:	sti
	.code32
2:	FRAME 0, 0
	PASS
