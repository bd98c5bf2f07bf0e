/*
 * A kernel as FreeBSD's loader wants it: prints on COM1 what it was given
 * (registers, metadata, memory map, environment), checks what can be checked
 * from inside, and powers off.  The last line is PASS or FAIL and a number.
 */
#define COM1 0x3f8
#define LSR 0x3fd
#define PM1A_CNT 0x404
#define KERNBASE 0xffffffff80000000

#define MODINFO_END 0
#define MODINFO_NAME 1
#define MODINFO_TYPE 2
#define MODINFO_ADDR 3
#define MODINFO_SIZE 4
#define MODINFO_ARGS 6
#define MD_ENVP 0x8006
#define MD_KERNEND 0x8008
#define MD_SMAP 0x9001

	.text
	.globl _start
_start:
	movq %rsp, %r15
	leaq stack_top(%rip), %rsp
	leaq banner(%rip), %rsi
	call puts

	movl $1, %ebp			/* the number of a failed check */
	cmpq $0x1000, %r15
	jne fail
	incl %ebp
	movl (%r15), %eax		/* no return address */
	testl %eax, %eax
	jnz fail
	movl 4(%r15), %r14d		/* modulep */
	movl 8(%r15), %r13d		/* kernend */

	leaq t_cr0(%rip), %rsi
	movq %cr0, %rax
	call field
	leaq t_cr3(%rip), %rsi
	movq %cr3, %rax
	call field
	leaq t_cr4(%rip), %rsi
	movq %cr4, %rax
	call field
	leaq t_efer(%rip), %rsi
	movl $0xc0000080, %ecx
	rdmsr
	call field
	leaq t_cs(%rip), %rsi
	movl %cs, %eax
	call field

	incl %ebp			/* every GiB is the first one */
	movabsq $0x123456789abcdef0, %rax
	movq %rax, 0x8000
	movabsq $KERNBASE + 0x8000, %rbx
	cmpq %rax, (%rbx)
	jne fail
	movabsq $0xffff800000008000, %rbx
	cmpq %rax, (%rbx)
	jne fail
	movabsq $0x40008000, %rbx
	cmpq %rax, (%rbx)
	jne fail
	incl %ebp			/* the tables' first and last rows */
	movq 0x2000, %rax
	cmpq %rax, 0x2ff8
	jne fail
	andq $~0xfff, %rax
	cmpq $0x3000, %rax
	jne fail
	movq 0x3ff8, %rax
	andq $~0xfff, %rax
	cmpq $0x4000, %rax
	jne fail
	movq 0x4ff8, %rax
	andq $~0x1fffff, %rax
	cmpq $511 << 21, %rax
	jne fail
	incl %ebp			/* .bss was cleared */
	cmpq $0, cleared(%rip)
	jne fail
	incl %ebp			/* a selector can be loaded again */
	movl $0x10, %eax
	movl %eax, %ds

	/* The metadata. */
	movl %r14d, %ebx
next:	movl (%rbx), %r12d
	movl 4(%rbx), %r11d
	leaq 8(%rbx), %r10
	testl %r12d, %r12d
	jz done
	cmpl $MODINFO_NAME, %r12d
	leaq t_name(%rip), %rsi
	je text
	cmpl $MODINFO_TYPE, %r12d
	leaq t_type(%rip), %rsi
	je text
	cmpl $MODINFO_ARGS, %r12d
	leaq t_args(%rip), %rsi
	je text
	cmpl $MODINFO_SIZE, %r12d
	leaq t_size(%rip), %rsi
	je number
	cmpl $MODINFO_ADDR, %r12d
	je address
	cmpl $MD_SMAP, %r12d
	je smap

	leaq t_md(%rip), %rsi
	call puts
	movl %r12d, %eax
	call hex
	leaq t_eq(%rip), %rsi
	call puts
	movq (%r10), %rax
	cmpl $4, %r11d
	jne 1f
	movl %eax, %eax
1:	call hexnl
	cmpl $MD_ENVP, %r12d
	jne 1f
	movq (%r10), %rax
	movq %rax, envp(%rip)
1:	cmpl $MD_KERNEND, %r12d
	jne step
	movl $20, %ebp			/* the stack says the same */
	cmpq %r13, (%r10)
	jne fail
	jmp step

address:
	leaq t_addr(%rip), %rsi
	movq (%r10), %rax
	call field
	leaq t_data(%rip), %rsi
	movq (%r10), %rax
	movq (%rax), %rax
	call field
	jmp step
text:	call puts
	movq %r10, %rsi
	call puts
	call newline
	jmp step
number:	movq (%r10), %rax
	call field
	jmp step
smap:	movl %r11d, %r9d
1:	cmpl $20, %r9d
	jb step
	leaq t_smap(%rip), %rsi
	call puts
	movq (%r10), %rax
	call hex
	leaq t_space(%rip), %rsi
	call puts
	movq 8(%r10), %rax
	call hex
	leaq t_space(%rip), %rsi
	call puts
	movl 16(%r10), %eax
	call hexnl
	addq $20, %r10
	subl $20, %r9d
	jmp 1b
step:	addl $7, %r11d
	andl $~7, %r11d
	leaq 8(%rbx,%r11), %rbx
	jmp next

	/* The environment. */
done:	movl $30, %ebp
	movq envp(%rip), %rbx
	testq %rbx, %rbx
	jz fail
1:	cmpb $0, (%rbx)
	je pass
	leaq t_env(%rip), %rsi
	call puts
	movq %rbx, %rsi
	call puts
	movq %rsi, %rbx
	call newline
	jmp 1b

pass:	leaq t_pass(%rip), %rsi
	call puts
	jmp off
fail:	leaq t_fail(%rip), %rsi
	movl %ebp, %eax
	call field
off:	movl $(5 << 10 | 1 << 13), %eax
	movl $PM1A_CNT, %edx
	outw %ax, %dx
	cli
1:	hlt
	jmp 1b

/* The label at RSI, RAX in hexadecimal, the end of the line. */
field:	pushq %rax
	call puts
	popq %rax
hexnl:	call hex
newline:
	leaq t_nl(%rip), %rsi
	jmp puts

hex:	movl $60, %ecx
	movq %rax, %rdi
1:	movq %rdi, %rax
	shrq %cl, %rax
	testq %rax, %rax
	jnz 2f
	subl $4, %ecx
	jg 1b
	xorl %ecx, %ecx
2:	movq %rdi, %rax
	shrq %cl, %rax
	andl $15, %eax
	leaq digits(%rip), %rsi
	movb (%rsi,%rax), %al
	call putc
	subl $4, %ecx
	jns 2b
	ret

/* The string at RSI; RSI ends behind it. */
puts:	lodsb
	testb %al, %al
	jz 1f
	call putc
	jmp puts
1:	ret

putc:	pushq %rax
	movl $LSR, %edx
1:	inb %dx, %al
	testb $0x20, %al
	jz 1b
	popq %rax
	movl $COM1, %edx
	outb %al, %dx
	ret

	.section .rodata
banner:	.asciz "\nfbsd kernel\n"
digits:	.ascii "0123456789abcdef"
t_cr0:	.asciz "cr0 "
t_cr3:	.asciz "cr3 "
t_cr4:	.asciz "cr4 "
t_efer:	.asciz "efer "
t_cs:	.asciz "cs "
t_name:	.asciz "name "
t_type:	.asciz "type "
t_args:	.asciz "args "
t_addr:	.asciz "addr "
t_size:	.asciz "size "
t_data:	.asciz "data "
t_md:	.asciz "md "
t_eq:	.asciz " = "
t_smap:	.asciz "smap "
t_env:	.asciz "env "
t_space: .asciz " "
t_nl:	.asciz "\n"
t_pass:	.asciz "PASS\n"
t_fail:	.asciz "FAIL "

	/* What the kernel provides: struct mod_metadata of module "inside". */
	.data
	.quad 0x4141414141414141
inside:	.long 1, 3
	.quad 0, inside_name
inside_name: .asciz "inside"
	.section set_modmetadata_set, "a"
	.quad inside
	.bss
envp:	.skip 8
cleared: .skip 65536
	.skip 4096
stack_top:
