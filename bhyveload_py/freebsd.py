"""Handing a VM over to a FreeBSD kernel: memory, metadata, registers.

What a kernel for amd64 finds: its stack at 0x1000 with the addresses of the
metadata and of the first free page, page tables in which every GiB of
addresses is the first GiB of memory, and a flat GDT.  A kernel for i386 is
entered without paging; its stack has the old boot blocks' words, one of which
leads to a struct bootinfo.
"""

import struct

from libvmmapi import VCPU, VM

from . import kernelelf
from .errors import LoadError
from .preload import ModInfoMd, Preloaded, encode, environment
from .request import LOW_TOP, MIB, PAGE, GuestRam, LoadRequest

_STACK, _PML4, _PDPT, _PD, _GDT = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
_BOOTINFO, _GDT32 = 0x2000, 0x3000
_BEEFFACE = 0xBEEFFACE
_RB_BOOTINFO = 0x80000000
_MAX_NAME = 1024
#: Version and name; what is not used; sizes; symbols, environment, metadata.
_BOOTINFO_FORM = struct.Struct("<II40xIB3xIIIIIII52x")
_MAPPED = 1 << 30
_VALID, _WRITE, _USER, _LARGE = 1, 2, 4, 0x80
_GDT_ROWS = (0, 0x0020980000000000, 0x0000900000000000)
_MAX_ENV = 1 << 20

#: Boot flags (sys/reboot.h): by letter, and by the variable that sets them.
_LETTERS = {
    "a": 0x1, "C": 0x2000, "d": 0x40, "D": 0x20000000, "g": 0x8000, "h": 0x1000,
    "m": 0x10000, "p": 0x100000, "P": 0x10000000, "r": 0x20, "s": 0x2, "v": 0x800,
}  # fmt: skip
_VARIABLES = {
    "boot_askname": 0x1, "boot_cdrom": 0x2000, "boot_ddb": 0x40,
    "boot_dfltroot": 0x20, "boot_gdb": 0x8000, "boot_multicons": 0x20000000,
    "boot_mute": 0x10000, "boot_pause": 0x100000, "boot_serial": 0x1000,
    "boot_single": 0x2, "boot_verbose": 0x800,
}  # fmt: skip


def low_limit(memory: int, low_top: int = 3 << 30) -> int:
    """Return the address below which a kernel and its files must fit."""
    return min(memory, low_top, _MAPPED)


def howto(args: str, env: dict[str, str]) -> int:
    """Return the boot flags of arguments such as "-sv" and of variables.

    >>> hex(howto("-s -v", {"boot_serial": "1"}))
    '0x1802'
    """
    flags = 0
    for word in args.split():
        if word.startswith("-"):
            for letter in word[1:]:
                flags |= _LETTERS.get(letter, 0)
    for name, flag in _VARIABLES.items():
        if name in env and env[name].lower() != "no":
            flags |= flag
    return flags


def _page(addr: int) -> int:
    return addr + PAGE - 1 & ~(PAGE - 1)


def next_place(files: list[Preloaded]) -> int:
    """Return the page behind all files, where the next one goes."""
    return _page(max(file.end for file in files))


def _smap(ram: GuestRam) -> bytes:
    """Return the rows of memory: what lies below 1 MiB, below 4 GiB, above."""
    rows = [(0, LOW_TOP), (MIB, ram.low - MIB)]
    if ram.high:
        rows.append((ram.vm.highmem_base, ram.high))
    return b"".join(struct.pack("<QQI", base, size, 1) for base, size in rows)


def boot(
    vm: VM, vcpu: VCPU, files: list[Preloaded], env: dict[str, str], args: str = ""
) -> None:
    """Write the kernel, files[0], and the others; set the vCPU at its entry."""
    ram = GuestRam(vm)
    kernel = files[0]
    word = kernel.word
    limit = low_limit(ram.low)
    envp = next_place(files)
    blob = environment(env)
    if len(blob) > _MAX_ENV:
        raise LoadError(f"the environment has {len(blob)} bytes; {_MAX_ENV} is most")
    modulep = _page(envp + len(blob))
    kernel.args = args
    kernel.metadata |= {
        ModInfoMd.HOWTO: struct.pack("<I", howto(args, env)),
        ModInfoMd.ENVP: envp.to_bytes(word, "little"),
        ModInfoMd.KERNEND: bytes(word),
        ModInfoMd.SMAP: _smap(ram),
    }
    kernend = _page(modulep + len(encode(files, word)))
    kernel.metadata[ModInfoMd.KERNEND] = kernend.to_bytes(word, "little")
    if kernend > limit:
        raise LoadError(
            f"the kernel and its files end at {kernend:#x}; they must end below "
            f"{limit:#x}"
        )
    for file in files:
        for addr, data, memsz in file.pieces:
            ram.write(addr, data, file.name)
            ram.zero(addr + len(data), memsz - len(data), file.name)
    ram.write(envp, blob, "the environment")
    ram.write(modulep, encode(files, word), "the metadata")
    if word == 8:
        _enter(vcpu, ram, kernel.entry, modulep, kernend)
    else:
        _enter32(vcpu, ram, kernel, modulep, kernend)
    vm.dirty_gpa(0, ram.low)


def _number(kernel: Preloaded, kind: ModInfoMd) -> int:
    return int.from_bytes(kernel.metadata.get(kind, b""), "little")


def _enter32(
    vcpu: VCPU, ram: GuestRam, kernel: Preloaded, modulep: int, kernend: int
) -> None:
    """Write stack and bootinfo for i386, and set the registers."""
    info = _BOOTINFO_FORM.pack(
        1,
        _BOOTINFO + _BOOTINFO_FORM.size,
        _BOOTINFO_FORM.size,
        1,
        LOW_TOP >> 10,
        (ram.low - MIB) >> 10,
        _number(kernel, ModInfoMd.SSYM),
        _number(kernel, ModInfoMd.ESYM),
        kernend,
        _number(kernel, ModInfoMd.ENVP),
        modulep,
    )
    name = kernel.name.encode()[:_MAX_NAME]
    ram.write(_BOOTINFO, info + name + b"\0", "the boot information")
    flags = _number(kernel, ModInfoMd.HOWTO) | _RB_BOOTINFO
    words = (_BEEFFACE, flags, 0, 0, 0, 0, _BOOTINFO, modulep, kernend)
    stack = struct.pack("<9I", *words)
    ram.write(_STACK, stack.rjust(PAGE, b"\0"), "the stack")
    vcpu.reset()
    vcpu.setup_freebsd_registers_i386(kernel.entry, _GDT32, _STACK + PAGE - len(stack))


def _enter(vcpu: VCPU, ram: GuestRam, entry: int, modulep: int, kernend: int) -> None:
    """Write stack, page tables and GDT, and set the registers."""
    flags = _VALID | _WRITE | _USER
    stack = struct.pack("<III", 0, modulep, kernend)
    pages = b"".join(struct.pack("<Q", i << 21 | flags | _LARGE) for i in range(512))
    ram.write(_STACK, stack.ljust(PAGE, b"\0"), "the stack")
    ram.write(_PML4, struct.pack("<Q", _PDPT | flags) * 512, "the page tables")
    ram.write(_PDPT, struct.pack("<Q", _PD | flags) * 512, "the page tables")
    ram.write(_PD, pages, "the page tables")
    gdt = b"".join(row.to_bytes(8, "little") for row in _GDT_ROWS)
    ram.write(_GDT, gdt, "the GDT")
    vcpu.reset()
    vcpu.setup_freebsd_registers(entry, _PML4, _GDT, _STACK)


def load(vm: VM, vcpu: VCPU, req: LoadRequest) -> None:
    """Load a kernel by itself, for --kernel.

    Words name=value of the command line are its environment, words that
    begin with a dash its boot flags; --initrd files are memory disks.
    """
    limit = low_limit(vm.lowmem_size)
    words = req.cmdline.split()
    env = {"boot_serial": "1", "smbios.bios.vendor": "BHYVE", "kernelname": req.name}
    env |= dict(word.split("=", 1) for word in words if "=" in word)
    args = " ".join(word for word in words if word.startswith("-"))
    files = [kernelelf.load_kernel(req.kernel, req.name, limit)]
    for path, data in req.modules:
        files.append(
            kernelelf.load_raw(data, path, "md_image", next_place(files), limit)
        )
    boot(vm, vcpu, files, env, args)
