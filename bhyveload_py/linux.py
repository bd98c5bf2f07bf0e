"""Linux: bzImage by the boot protocol (Documentation/arch/x86/boot.rst).

The kernel's own setup code is not run: the loader fills the zero page as a
boot loader does and enters at the protocol's 64-bit or 32-bit entry.
"""

import struct

from libvmmapi import VCPU, VM

from .errors import LoadError
from .handoff import CMDLINE_ROOM, Places, enter_long, enter_protected
from .request import MIB, PAGE, GuestRam, LoadRequest

# Offsets in the kernel image and in the zero page alike.
_SETUP_SECTS = 0x1F1
_HEADER_LEN = 0x201
_BOOT_FLAG = 0x1FE
_MAGIC = 0x202
_VERSION = 0x206
_TYPE_OF_LOADER = 0x210
_LOADFLAGS = 0x211
_CODE32_START = 0x214
_RAMDISK = 0x218
_CMD_LINE_PTR = 0x228
_INITRD_ADDR_MAX = 0x22C
_KERNEL_ALIGNMENT = 0x230
_RELOCATABLE = 0x234
_XLOADFLAGS = 0x236
_CMDLINE_SIZE = 0x238
_PREF_ADDRESS = 0x258
_INIT_SIZE = 0x260
_E820_COUNT = 0x1E8
_E820_TABLE = 0x2D0

_LOADED_HIGH = 1
_XLF_KERNEL_64 = 1
_OLDEST = 0x0205  # the first protocol with relocatable kernels and limits


def recognise(image: bytes) -> bool:
    """Return true for a kernel that carries the boot protocol's header."""
    return len(image) > _MAGIC + 4 and image[_MAGIC : _MAGIC + 4] == b"HdrS"


def _u16(image: bytes, at: int) -> int:
    return int.from_bytes(image[at : at + 2], "little")


def _u32(image: bytes, at: int) -> int:
    return int.from_bytes(image[at : at + 4], "little")


def _u64(image: bytes, at: int) -> int:
    return int.from_bytes(image[at : at + 8], "little")


def _place(req: LoadRequest, ram: GuestRam, payload: int, version: int) -> int:
    """Return where the protected-mode kernel goes."""
    if not req.kernel[_LOADFLAGS] & _LOADED_HIGH:
        raise LoadError(f"{req.name}: a zImage (loaded low); only bzImage is supported")
    if version < 0x020A:
        return MIB
    pref, need = _u64(req.kernel, _PREF_ADDRESS), _u32(req.kernel, _INIT_SIZE)
    need = max(need, payload)
    if pref >= MIB and pref + need <= ram.low:
        return pref
    align = _u32(req.kernel, _KERNEL_ALIGNMENT)
    if req.kernel[_RELOCATABLE] and align and align & (align - 1) == 0:
        where = max(MIB, align)
        if where + need <= ram.low:
            return where
    raise LoadError(
        f"{req.name}: the kernel needs {(pref + need + MIB - 1) // MIB} MiB of memory "
        f"to unpack itself, the VM has {ram.low // MIB} MiB below 4 GiB"
    )


def _put_initrd(
    req: LoadRequest, ram: GuestRam, kernel_end: int, zero: bytearray
) -> None:
    """Load the initrd as high as the kernel allows."""
    if not req.modules:
        return
    path, data = req.modules[0]
    top = min(ram.low, (_u32(req.kernel, _INITRD_ADDR_MAX) or 0x37FFFFFF) + 1)
    where = (top - len(data)) & ~(PAGE - 1)
    if where < kernel_end:
        raise LoadError(
            f"{path}: an initrd of {len(data)} bytes does not fit between the "
            f"kernel's end at {kernel_end:#x} and {top:#x}"
        )
    ram.write(where, data, path)
    struct.pack_into("<II", zero, _RAMDISK, where, len(data))


def load(vm: VM, vcpu: VCPU, req: LoadRequest) -> None:
    """Load a bzImage with its initrd and set vCPU 0 at its entry."""
    image, ram = req.kernel, GuestRam(vm)
    version = _u16(image, _VERSION)
    if _u16(image, _BOOT_FLAG) != 0xAA55 or version < _OLDEST:
        raise LoadError(
            f"{req.name}: boot protocol {version >> 8}.{version & 255:02}, "
            f"2.05 or later is needed"
        )
    start = ((image[_SETUP_SECTS] or 4) + 1) * 512
    size = _u32(image, 0x1F4) * 16
    if start >= len(image) or start + size > len(image) + 15:
        raise LoadError(
            f"{req.name}: truncated: the header tells of {start + size} bytes, "
            f"the file has {len(image)}"
        )
    payload = memoryview(image)[start:]
    where = _place(req, ram, len(payload), version)
    need = max(len(payload), _u32(image, _INIT_SIZE) if version >= 0x020A else 0)
    ram.check(where, need, req.name)
    ram.write(where, payload, req.name)

    cmdline = req.cmdline.encode()
    limit = min(_u32(image, _CMDLINE_SIZE) or 255, CMDLINE_ROOM - 1)
    if len(cmdline) > limit:
        raise LoadError(
            f"--cmdline: {len(cmdline)} bytes; this kernel takes at most {limit}"
        )
    at = Places()
    ram.write(at.cmdline, cmdline + b"\0", "the command line")

    zero = bytearray(PAGE)
    end = min(0x202 + image[_HEADER_LEN], _E820_TABLE)
    zero[_SETUP_SECTS:end] = image[_SETUP_SECTS:end]
    zero[_TYPE_OF_LOADER] = 0xFF
    struct.pack_into("<H", zero, 0x1FA, 0xFFFF)  # the normal video mode
    struct.pack_into("<I", zero, _CMD_LINE_PTR, at.cmdline)
    struct.pack_into("<I", zero, _CODE32_START, where)
    _put_initrd(req, ram, where + need, zero)
    rows = ram.e820()
    zero[_E820_COUNT] = len(rows)
    for i, row in enumerate(rows):
        struct.pack_into("<QQI", zero, _E820_TABLE + 20 * i, *row)
    ram.write(at.zero_page, zero, "the zero page")

    long_entry = version >= 0x020C and _u16(image, _XLOADFLAGS) & _XLF_KERNEL_64
    if long_entry:
        enter_long(vcpu, ram, at, where + 0x200, rsi=at.zero_page)
    else:
        enter_protected(vcpu, ram, at, where, esi=at.zero_page, ebp=0, edi=0, ebx=0)
