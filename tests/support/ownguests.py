"""The project's own guests: tests/guests/*.S, built once into build/obj."""

import struct
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "obj" / "guests"


@cache
def build() -> Path:
    """Build all guests; return their folder."""
    subprocess.run(
        ["make", "-s", "guests"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return OUT


def own_guest(name: str) -> Path:
    """Return the ELF file of tests/guests/NAME.S."""
    return build() / f"{name}.elf"


#: To protected mode with flat segments, then a copy of the guest out of the ROM.
ROM_BASE = 0xFFFF0000
CODE = 0xFF00
GDT = bytes(8) + bytes.fromhex("ffff0000009bcf00 ffff00000093cf00")


def as_firmware(name: str, out: Path) -> Path:
    """Write a boot ROM of 64 KiB that starts one of our guests; return it."""
    elf = own_guest(name)
    flat = out.with_suffix(".bin")
    subprocess.run(["objcopy", "-O", "binary", elf, flat], check=True)
    blob = flat.read_bytes()
    (entry,) = struct.unpack_from("<I", elf.read_bytes(), 24)
    rom = bytearray(b"\xf4" * 65536)
    rom[: len(blob)] = blob
    pointer = CODE + 0x80
    real = bytes.fromhex("662e0f0116") + struct.pack("<H", pointer)  # lgdtl %cs:
    real += bytes.fromhex("0f20c00c010f22c0")  # CR0.PE
    flat32 = ROM_BASE + CODE + len(real) + 8
    real += b"\x66\xea" + struct.pack("<IH", flat32, 8)
    code = bytes.fromhex("66b810008ed88ec08ed0")
    code += struct.pack("<BIBIBI", 0xBE, ROM_BASE, 0xBF, 0x100000, 0xB9, len(blob))
    code += b"\xfc\xf3\xa4\xb8" + struct.pack("<I", entry) + b"\xff\xe0"
    rom[CODE : CODE + len(real + code)] = real + code
    table = pointer + 6
    rom[pointer:table] = struct.pack("<HI", len(GDT) - 1, ROM_BASE + table)
    rom[table : table + len(GDT)] = GDT
    rom[-16:-13] = b"\xe9" + struct.pack("<H", (CODE - 0xFFF3) & 0xFFFF)
    assert len(blob) < CODE
    out.write_bytes(rom)
    return out
