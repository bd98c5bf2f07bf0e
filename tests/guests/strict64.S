/*
 * Long mode where QEMU's TCG differs: stack faults, the end of the
 * canonical range, error codes that name a gate, checks of MSRs and CRs,
 * SYSRET's RCX (where vendors differ: this is Intel's rule).
 */
#include "mac.inc"
#include "long.inc"
	NAME strict64
	.code32
main:	LONG_MODE
	movabsq $0x800000000000, %rbx
	movq %rsp, %rbp
	leaq 8(%rbx), %rsp
	movb $1, (idt+12*16+4)(%rip)	/* #SS on IST1 */
	FAULTQ 12, 0, movq (%rsp), %rax
	FAULTQ 12, 0, pushq %rax
	EQS ist1_top-48, q_sp(%rip)
	movq %rbp, %rsp
	movabsq $0x7ffffffffff9, %rbx
	FAULTQ 13, 0, movq (%rbx), %rax
	FAULTQ 13, (100*8+2), int $100
	movb $0xe7, (idt+41*16+5)(%rip)
	FAULTQ 13, (41*8+2), int $41
	/* MSRs */
	movl $0xc0000100, %ecx
	xorl %eax, %eax
	movl $0x8000, %edx
	FAULTQ 13, 0, wrmsr
	movl $0xc0000082, %ecx
	FAULTQ 13, 0, wrmsr
	movl $0xc0000080, %ecx
	rdmsr
	movl %eax, %ebx
	andl $0x500, %eax
	EQQ $0x500, %rax
	movl %ebx, %eax
	xorl $0x100, %eax
	FAULTQ 13, 0, wrmsr
	/* PAE cannot go */
	movq %cr4, %rax
	andl $~0x20, %eax
	FAULTQ 13, 0, movq %rax, %cr4
	movq %cr0, %rax
	btcl $31, %eax
	FAULTQ 13, 0, movq %rax, %cr0
	movl $0x10, %eax
	FAULTQ 13, 0, movq %rax, %cr8
	movabsq $0x800000000000, %rcx
	FAULTQ 13, 0, sysretq
	jmp pass64
