/* Debug registers and single-step. */
#include "mac.inc"
	NAME debug32
	.data
	.balign 8
var:	.long 0, 0, 0, 0
steps:	.long 0
last:	.long 0
	.text
	/* Count #DB traps here instead of x_common. */
db_count:
	incl steps
	pushl %eax
	movl 4(%esp), %eax
	movl %eax, last
	popl %eax
	orl $0x10000, 8(%esp)	/* RF */
	iretl
	.macro GATE1 handler
	movl $\handler, %eax
	movw %ax, idt + 8
	shrl $16, %eax
	movw %ax, idt + 8 + 6
	.endm
	.macro DR6 val
	movl %dr6, %eax
	andl $0xe00f, %eax
	EQ $\val, %eax
	xorl %eax, %eax
	movl %eax, %dr6
	.endm
	.macro SETDR n, val
	movl $\val, %eax
	movl %eax, %dr\n
	.endm
main:
	movl %dr6, %eax
	EQ $0xffff0ff0, %eax
	movl %dr7, %eax
	EQ $0x400, %eax
	/* DR4 and DR5 are DR6 and DR7 without CR4.DE */
	.byte 0x0f, 0x21, 0xe0		/* movl %dr4, %eax */
	EQ $0xffff0ff0, %eax
	movl %cr4, %eax
	orl $8, %eax
	movl %eax, %cr4
	FAULTS_NE 6, .byte 0x0f, 0x21, 0xe0
	xorl %eax, %eax
	movl %eax, %dr6

	/* single-step: the instruction that sets TF is not trapped */
	GATE1 db_count
	pushfl
	orl $0x100, (%esp)
	popfl
	nop
	nop
	nop
	pushfl
	andl $~0x100, (%esp)
	popfl
	nop
	EQ $6, steps
	DR6 0x4000

	/* a REP instruction traps each iteration */
	movl $0, steps
	movl $5, %ecx
	movl $var, %edi
	pushfl
	orl $0x100, (%esp)
	popfl
	rep stosb
	pushfl
	andl $~0x100, (%esp)
	popfl
	EQ $8, steps

	/* INT n with TF set: no trap in front of the handler */
	movl $0, steps
	pushfl
	orl $0x100, (%esp)
	popfl
	int $50
	pushfl
	andl $~0x100, (%esp)
	popfl
	EQ $3, steps
	xorl %eax, %eax
	movl %eax, %dr6

	/* code breakpoint: a fault, and IRET's RF gets past it */
	movl $0, steps
	SETDR 0, 1f
	SETDR 7, 0x402
	movl $7, %ebx
1:	incl %ebx
	EQ $8, %ebx
	EQ $1, steps
	EQ $1b, last
	DR6 1
	GATE1 stubs+16
	SETDR 0, 2f
	movl $3f, x_resume
2:	incl %ebx
	jmp fail
3:	EQ $8, %ebx
	EQ $2b, x_eip
	DR6 1
	SETDR 7, 0x400

	/* data breakpoints: traps behind the instruction */
	GATE1 db_count
	movl $0, steps
	SETDR 1, var
	SETDR 2, var+8
	/* DR1: write, 4 bytes; DR2: read or write, 1 byte */
	SETDR 7, (0x400|0x8|0x20|0xd<<20|3<<24)
	movl var, %eax
	EQ $0, steps
	movl %eax, var
1:	EQ $1, steps
	EQ $1b, last
	DR6 2
	movb %al, var + 3
	EQ $2, steps
	movb %al, var + 4
	EQ $2, steps
	xorl %eax, %eax
	movl %eax, %dr6
	movw %ax, var + 7
	EQ $3, steps
	movl %dr6, %eax
	andl $4, %eax
	EQ $4, %eax
	movb var + 8, %al
	EQ $4, steps
	xorl %eax, %eax
	movl %eax, %dr6
	/* both at once: MOVS reads one and writes the other */
	movl $var + 8, %esi
	movl $var, %edi
	movsl
	EQ $5, steps
	DR6 6
	SETDR 7, 0x400

	/* I/O breakpoint (CR4.DE is set) */
	movl $0, steps
	SETDR 3, 0x80
	SETDR 7, (0x400|0x80|2<<28)
	outb %al, $0x81
	EQ $0, steps
	outb %al, $0x80
	EQ $1, steps
	DR6 8
	SETDR 7, 0x400

	/* general detect */
	GATE1 stubs+16
	SETDR 7, 0x2400
	FAULTS_NE 1, movl %dr0, %eax
	movl %dr7, %eax
	EQ $0x400, %eax
	DR6 0x2000
	PASS
