"""One run of bhyvectl: check the options, open the VM, do the steps."""

import os

from libvmmapi.cli import console
from libvmmapi.cli.failure import Failure, UsageError
from libvmmapi.errors import VMError
from libvmmapi.vcpu import VCPU
from libvmmapi.vm import VM

from .actions import EXCLUSIVE, HARDWARE, HARDWARE_SETTERS, missing
from .report import Report
from .steps import STEPS, Request, Target, check_values

_USAGE = 1
_OPEN_FAILED = 1
#: What a failed call returns: -1, as the shell sees it.
_CALL_FAILED = 255


def _refuse(request: Request) -> None:
    """End in words where an option is known and cannot be done here."""
    for name in request.given:
        if name in HARDWARE or name in HARDWARE_SETTERS:
            raise Failure(
                _USAGE,
                f"--{name}: KVM does not give out {missing(name)}, and the software "
                "processor has none",
            )
        if name in {"checkpoint", "suspend"}:
            raise Failure(_USAGE, f"--{name}: there are no checkpoints in this version")


def _failed(error: VMError, report: Report) -> int:
    """Report a failed call as bhyvectl does, and say more on stderr."""
    report.add("errno", error.errno, f"errno = {error.errno}")
    report.finish()
    console.message("bhyvectl", str(error))
    return _CALL_FAILED


def _open(name: str) -> VM:
    try:
        return VM.open(name)
    except VMError as error:
        reason = os.strerror(error.errno or 0)
        more = f" ({error.detail})" if error.detail else ""
        console.err(f"vm_open: {name} could not be opened: {reason}{more}")
        raise Failure(_OPEN_FAILED) from error


def _vcpu(vm: VM, vcpuid: int) -> VCPU:
    try:
        return vm.vcpu(vcpuid)
    except VMError as error:
        reason = os.strerror(error.errno or 0)
        console.err(f"vm_vcpu_open: {vcpuid} could not be opened: {reason}")
        raise Failure(_OPEN_FAILED) from error


def _list(request: Request) -> int:
    """Do --list, which goes with nothing but --json."""
    others = set(request.given) - {"list", "json"}
    if others:
        raise UsageError(f"--list: not with --{min(others)}")
    from .listing import list_all

    list_all(as_json="json" in request)
    return 0


def _check(request: Request, operands: list[str]) -> str:
    """Return the VM's name, or end where the options make no sense."""
    name = request.given.get("vm", "")
    if not name or operands:
        raise UsageError(
            f"'{operands[0]}' is no option" if operands else "--vm is missing"
        )
    if sum(option in request for option in EXCLUSIVE) > 1 or (
        "checkpoint" in request and "suspend" in request
    ):
        raise Failure(_USAGE, "mutually exclusive actions specified")
    check_values(request)
    _refuse(request)
    return name


def session(pairs: list[tuple[str, str]], operands: list[str]) -> int:
    """Do what the options say, in bhyvectl's order."""
    request = Request({option.removeprefix("--"): value for option, value in pairs})
    if "list" in request and not operands:
        return _list(request)
    name = _check(request, operands)
    vcpuid = request.decimal("cpu")
    report = Report(as_json="json" in request, vm=name, vcpu=vcpuid)
    if "create" in request:
        try:
            VM.create(name).close()
        except VMError as error:
            return _failed(error, report)
    vm = _open(name)
    try:
        target = Target(vm, _vcpu(vm, vcpuid), report)
        try:
            for step in STEPS:
                step(request, target)
        except VMError as error:
            return _failed(error, report)
        if "destroy" in request:
            vm.destroy()
    finally:
        vm.close()
    report.finish()
    return 0
