"""What --run shows; kept apart, for few calls need to know of exits."""

from dataclasses import fields, is_dataclass

from libvmmapi.exits import ExitCode, Inout, VMExit, Vmx

from .report import Fact
from .show import alternate


def detail(vme: VMExit) -> Fact:
    """Return what an exit says besides its kind, for JSON."""
    if not is_dataclass(vme.detail):
        return None
    facts: dict[str, Fact] = {}
    for field in fields(vme.detail):
        value = getattr(vme.detail, field.name)
        facts[field.name] = value.hex() if isinstance(value, bytes) else value
    return facts


def vm_exit(vcpuid: int, vme: VMExit) -> list[str]:
    """Return the lines of --run."""
    lines = [
        f"vm exit[{vcpuid}]",
        f"\trip\t\t0x{vme.rip:016x}",
        f"\tinst_length\t{vme.inst_length}",
    ]
    if isinstance(vme.detail, Inout):
        io = vme.detail
        flags = ("STRING " if io.string else "") + ("REP " if io.rep else "")
        lines += [
            "\treason\t\tINOUT",
            f"\tdirection\t{'IN' if io.is_in else 'OUT'}",
            f"\tbytes\t\t{io.size}",
            f"\tflags\t\t{flags}",
            f"\tport\t\t0x{io.port:04x}",
            f"\teax\t\t0x{io.eax:08x}",
        ]
    elif isinstance(vme.detail, Vmx) and vme.code == ExitCode.SVM:
        svm = vme.detail
        lines += [
            "\treason\t\tSVM",
            f"\texit_reason\t\t{alternate(svm.exit_reason)}",
            f"\texitinfo1\t\t{alternate(svm.qualification)}",
            f"\texitinfo2\t\t{alternate(svm.status)}",
        ]
    elif isinstance(vme.detail, Vmx):
        vmx = vme.detail
        lines += [
            "\treason\t\tVMX",
            f"\tstatus\t\t{vmx.status}",
            f"\texit_reason\t0x{vmx.exit_reason:08x} ({vmx.exit_reason})",
            f"\tqualification\t0x{vmx.qualification:016x}",
            f"\tinst_type\t\t{vmx.inst_type}",
            f"\tinst_error\t\t{vmx.inst_error}",
        ]
    else:
        lines.append(f"*** unknown vm run exitcode {int(ExitCode(vme.code))}")
    return lines
