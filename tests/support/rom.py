"""Boot ROMs of a few instructions: flat 32-bit code that a test writes."""

import subprocess
from pathlib import Path

PAGE = 4096
SIZE = 16 * PAGE

#: The last page below 4 GB.  Macros: `say` a character on COM1, `ending` by
#: power-off or reset, `trap` an exception, and `pci` to choose a register.
SOURCE = r"""
	.macro say c
	mov $0x3f8, %dx
	mov $\c, %al
	out %al, %dx
	.endm
	.macro poweroff
	mov $0x404, %dx
	mov $0x3400, %ax
	out %ax, %dx
	.endm
	.macro reset
	mov $0xcf9, %dx
	mov $6, %al
	out %al, %dx
	.endm
	.macro trap vector, handler
	movl $(\handler - _start + 0xf000 + 0x80000), 0x1000 + 8 * \vector
	movl $0xffff8e00, 0x1004 + 8 * \vector
	lidt idtr
	.endm
	.macro pci slot, reg
	mov $(0x80000000 | \slot << 11 | \reg), %eax
	mov $0xcf8, %dx
	out %eax, %dx
	mov $0xcfc, %dx
	in %dx, %eax
	.endm
	.code16
	.globl _start
_start:
	cli
	lgdtl %cs:(gdtr - _start + 0xf000)
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $8, $flat
	.code32
flat:
	mov $16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $0x8000, %esp
	CODE
1:	hlt
	jmp 1b
	.balign 8
gdt:	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:	.word 23
	.long gdt
idtr:	.word 0xff
	.long 0x1000
	.org 0xff0
	.code16
	jmp _start
	.org 0x1000
"""


def write_rom(folder: Path, code: str) -> str:
    """Assemble `code` into a boot ROM; return -l's argument."""
    source, obj, out, rom = (folder / f"rom.{end}" for end in ("S", "o", "bin", "fd"))
    source.write_text(SOURCE.replace("CODE", code))
    where = ("-Ttext", "0xfffff000", "--oformat", "binary")
    for argv in (
        ["as", "--32", "-o", str(obj), str(source)],
        ["ld", "-m", "elf_i386", *where, "-o", str(out), str(obj)],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    page = out.read_bytes()
    assert len(page) == PAGE
    rom.write_bytes(b"\xf4" * (SIZE - PAGE) + page)
    return f"bootrom,{rom}"
