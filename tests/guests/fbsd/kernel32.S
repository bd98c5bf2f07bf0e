/*
 * kernel.S' twin for i386: flat 32-bit protected mode, the old boot blocks'
 * words on the stack, a struct bootinfo, metadata with words of four bytes.
 */
#define COM1 0x3f8
#define LSR 0x3fd
#define PM1A_CNT 0x404
#define KERNBASE 0xc0000000

#define MODINFO_NAME 1
#define MODINFO_TYPE 2
#define MODINFO_ADDR 3
#define MODINFO_SIZE 4
#define MD_ENVP 0x8006
#define MD_HOWTO 0x8007
#define MD_KERNEND 0x8008
#define MD_SMAP 0x9001

/* Addresses are linked at KERNBASE, and there is no paging. */
#define P(x) (x - KERNBASE)

	.code32
	.text
	.globl _start
_start:
	movl %esp, %edi
	movl $P(stack_top), %esp
	movl $P(banner), %esi
	call puts

	movl $1, %ebp			/* the number of a failed check */
	cmpl $0x1fdc, %edi
	jne fail
	incl %ebp
	cmpl $0xbeefface, (%edi)
	jne fail
	incl %ebp
	cmpl $0x2000, 24(%edi)		/* bootinfo */
	jne fail
	movl 28(%edi), %eax
	movl %eax, P(modulep)
	movl 32(%edi), %eax
	movl %eax, P(kernend)
	movl $P(t_howto), %esi
	movl 4(%edi), %eax
	call field

	incl %ebp			/* the bootinfo says the same */
	movl 0x2000 + 80, %eax
	cmpl %eax, P(modulep)
	jne fail
	movl 0x2000 + 72, %eax
	cmpl %eax, P(kernend)
	jne fail
	movl $P(t_kname), %esi
	call puts
	movl 0x2000 + 4, %esi
	call puts
	call newline
	movl $P(t_ext), %esi
	movl 0x2000 + 60, %eax
	call field

	movl $P(t_cr0), %esi
	movl %cr0, %eax
	call field
	movl $P(t_cr4), %esi
	movl %cr4, %eax
	call field
	movl $P(t_cs), %esi
	movl %cs, %eax
	call field
	movl $P(t_tr), %esi
	str %eax
	movzwl %ax, %eax
	call field
	incl %ebp			/* .bss was cleared */
	cmpl $0, P(cleared)
	jne fail
	incl %ebp			/* selectors can be loaded again */
	movl $0x10, %eax
	movl %eax, %ds
	ljmp $8, $P(1f)
1:
	movl P(modulep), %ebx
next:	movl (%ebx), %eax
	leal 8(%ebx), %edx
	testl %eax, %eax
	jz done
	movl $P(t_name), %esi
	cmpl $MODINFO_NAME, %eax
	je text
	movl $P(t_type), %esi
	cmpl $MODINFO_TYPE, %eax
	je text
	movl $P(t_size), %esi
	cmpl $MODINFO_SIZE, %eax
	je number
	movl $P(t_addr), %esi
	cmpl $MODINFO_ADDR, %eax
	je number
	cmpl $MD_SMAP, %eax
	je smap
	movl $P(t_md), %esi
	pushl %edx
	call puts
	call hex
	movl $P(t_eq), %esi
	call puts
	popl %edx
	movl (%edx), %eax
	call hexnl
	movl (%ebx), %eax
	movl 8(%ebx), %ecx
	cmpl $MD_ENVP, %eax
	jne 1f
	movl %ecx, P(envp)
1:	cmpl $MD_KERNEND, %eax
	jne step
	movl $20, %ebp
	cmpl %ecx, P(kernend)
	jne fail
	jmp step
text:	call puts
	movl %edx, %esi
	call puts
	call newline
	jmp step
number:	movl (%edx), %eax
	call field
	jmp step
smap:	movl 4(%ebx), %edi
1:	cmpl $20, %edi
	jb step
	movl $P(t_smap), %esi
	call puts
	movl (%edx), %eax
	call hex
	movl $P(t_space), %esi
	call puts
	movl 8(%edx), %eax
	call hexnl
	addl $20, %edx
	subl $20, %edi
	jmp 1b
step:	movl 4(%ebx), %eax
	addl $3, %eax
	andl $~3, %eax
	leal 8(%ebx,%eax), %ebx
	jmp next

done:	movl $30, %ebp
	movl P(envp), %ebx
	testl %ebx, %ebx
	jz fail
1:	cmpb $0, (%ebx)
	je pass
	movl $P(t_env), %esi
	call puts
	movl %ebx, %esi
	call puts
	movl %esi, %ebx
	call newline
	jmp 1b

pass:	movl $P(t_pass), %esi
	call puts
	jmp off
fail:	movl $P(t_fail), %esi
	movl %ebp, %eax
	call field
off:	movl $(5 << 10 | 1 << 13), %eax
	movl $PM1A_CNT, %edx
	outw %ax, %dx
	cli
1:	hlt
	jmp 1b

/* The label at ESI, EAX in hexadecimal, the end of the line. */
field:	pushl %eax
	call puts
	popl %eax
hexnl:	call hex
newline:
	movl $P(t_nl), %esi
	jmp puts

hex:	pushl %edx
	pushl %edi
	movl $28, %ecx
	movl %eax, %edi
1:	movl %edi, %eax
	shrl %cl, %eax
	jnz 2f
	subl $4, %ecx
	jg 1b
	xorl %ecx, %ecx
2:	movl %edi, %eax
	shrl %cl, %eax
	andl $15, %eax
	movb P(digits)(%eax), %al
	call putc
	subl $4, %ecx
	jns 2b
	popl %edi
	popl %edx
	ret

/* The string at ESI; ESI ends behind it.  EAX and EDX stay. */
puts:	pushl %eax
1:	lodsb
	testb %al, %al
	jz 2f
	call putc
	jmp 1b
2:	popl %eax
	ret

putc:	pushl %edx
	pushl %eax
	movl $LSR, %edx
1:	inb %dx, %al
	testb $0x20, %al
	jz 1b
	popl %eax
	movl $COM1, %edx
	outb %al, %dx
	popl %edx
	ret

	.section .rodata
banner:	.asciz "\nfbsd i386 kernel\n"
digits:	.ascii "0123456789abcdef"
t_howto: .asciz "howto "
t_kname: .asciz "kernelname "
t_ext:	.asciz "extmem "
t_cr0:	.asciz "cr0 "
t_cr4:	.asciz "cr4 "
t_cs:	.asciz "cs "
t_tr:	.asciz "tr "
t_name:	.asciz "name "
t_type:	.asciz "type "
t_addr:	.asciz "addr "
t_size:	.asciz "size "
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
inside:	.long 1, 3, version, inside_name
version: .long 7
inside_name: .asciz "inside"
	.section set_modmetadata_set, "a"
	.long inside
	.bss
envp:	.skip 4
modulep: .skip 4
kernend: .skip 4
cleared: .skip 65536
	.skip 4096
stack_top:
