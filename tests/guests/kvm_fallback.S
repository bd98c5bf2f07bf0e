/*
 * Instructions that a KVM without hardware cannot emulate: the x87, SSE and
 * their state, CMPXCHG16B, INT3 through the IDT.  After COUNT the guest waits
 * for a key, so that the test process can read the counters.
 */
#include "mac.inc"
#include "long.inc"
#include "kvm.inc"
	NAME kvm_fallback
	.data
	.balign 64
area:	.skip 1024
back:	.skip 1024
pair:	.quad 5, 6
num:	.long 0
word:	.word 0
features: .long 0, 0
	.text
	.code32
main:
	movl $1, %eax
	cpuid
	movl %ecx, features
	movl %edx, features + 4
	LONG_MODE
	/* x87 */
	fninit
	fnstsw word(%rip)
	movzwl word(%rip), %eax
	EQQ $0, %rax
	fnstcw word(%rip)
	movzwl word(%rip), %eax
	EQQ $0x37f, %rax
	fwait
	fld1
	fld1
	faddp
	fwait
	fistpl num(%rip)
	fwait
	movl num(%rip), %eax
	EQQ $2, %rax
	/* SSE registers and integers */
	movl $7, %eax
	movd %eax, %xmm1
	paddd %xmm1, %xmm1
	movd %xmm1, %ebx
	EQQ $14, %rbx
	/* FXSAVE and FXRSTOR keep both */
	fninit
	fldpi
	movq $0x1122334455667788, %rax
	movq %rax, %xmm15
	fxsaveq area(%rip)
	fninit
	pxor %xmm15, %xmm15
	fxrstorq area(%rip)
	movq %xmm15, %rcx
	EQQ %rax, %rcx
	fxsaveq back(%rip)
	cld
	movl $area, %esi
	movl $back, %edi
	movl $416, %ecx
	repe cmpsb
	EQQ $0, %rcx
	TESTNO64
	fldpi
	fcomip %st(1), %st
	jne fail64
	/* XSAVE and XRSTOR where CPUID has them */
	testl $1 << 26, features(%rip)
	jz 1f
	movq %cr4, %rax
	orl $1 << 18, %eax
	movq %rax, %cr4
	xorl %ecx, %ecx
	xgetbv
	orl $3, %eax
	xsetbv
	movl $area, %edi
	xorl %eax, %eax
	movl $1024 / 8, %ecx
	rep stosq
	movl $3, %eax
	xorl %edx, %edx
	xsave64 area(%rip)
	pxor %xmm15, %xmm15
	movl $3, %eax
	xorl %edx, %edx
	xrstor64 area(%rip)
	movq %xmm15, %rcx
	movq $0x1122334455667788, %rax
	EQQ %rax, %rcx
1:	/* CMPXCHG16B, equal and not */
	testl $1 << 13, features(%rip)
	jz 2f
	movl $pair, %edi
	movl $5, %eax
	movl $6, %edx
	movl $7, %ebx
	movl $8, %ecx
	TESTNO64
	lock cmpxchg16b (%rdi)
	jnz fail64
	EQQ $7, pair(%rip)
	EQQ $8, (pair+8)(%rip)
	TESTNO64
	lock cmpxchg16b (%rdi)
	jz fail64
	EQQ $7, %rax
	EQQ $8, %rdx
2:	/* INT3: a trap, its frame points behind it */
	movq $-1, q_vec(%rip)
	int3
3:	EQQ $3, q_vec(%rip)
	EQS 3b, q_rip(%rip)
	EQQ $CS64, q_cs(%rip)
	pushq $CS32
	PUSHS 4f
	lretq
	.code32
4:	movw $DS32, %ax
	movw %ax, %ds
	movw %ax, %ss
	movl $stack_top, %esp
	SAY "COUNT"
	WAIT_KEY
	PASS
