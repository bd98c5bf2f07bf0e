"""bhyvectl(8): read the options, open the VM, do the steps."""

import os
import sys

import click

from libvmmapi.cli import console
from libvmmapi.cli.command import Failure, GetoptCommand
from libvmmapi.cli.main import run
from libvmmapi.errors import VMError
from libvmmapi.vm import VM

from .actions import EXCLUSIVE, HARDWARE, HARDWARE_SETTERS, OPTIONS, usage
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
                f"--{name}: VMs of this suite have no such hardware state "
                "(their processor is KVM's or software)",
            )
        if name in {"checkpoint", "suspend"}:
            raise Failure(_USAGE, f"--{name}: there are no checkpoints in this version")


def _failed(error: VMError) -> int:
    """Report a failed call as bhyvectl does, and say more on stderr."""
    console.out(f"errno = {error.errno}")
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


def _target(vm: VM, vcpuid: int) -> Target:
    try:
        return Target(vm, vm.vcpu(vcpuid))
    except VMError as error:
        reason = os.strerror(error.errno or 0)
        console.err(f"vm_vcpu_open: {vcpuid} could not be opened: {reason}")
        raise Failure(_OPEN_FAILED) from error


def bhyvectl(pairs: list[tuple[str, str]], operands: list[str]) -> int:
    """Do what the options say, in bhyvectl's order."""
    request = Request({option.removeprefix("--"): value for option, value in pairs})
    name = request.given.get("vm", "")
    if not name or operands:
        raise click.UsageError(
            f"'{operands[0]}' is no option" if operands else "--vm is missing"
        )
    if sum(option in request for option in EXCLUSIVE) > 1 or (
        "checkpoint" in request and "suspend" in request
    ):
        raise Failure(_USAGE, "mutually exclusive actions specified")
    check_values(request)
    _refuse(request)
    if "create" in request:
        try:
            VM.create(name).close()
        except VMError as error:
            return _failed(error)
    vm = _open(name)
    try:
        target = _target(vm, request.decimal("cpu"))
        try:
            for step in STEPS:
                step(request, target)
        except VMError as error:
            return _failed(error)
        if "destroy" in request:
            vm.destroy()
    finally:
        vm.close()
    return 0


COMMAND = GetoptCommand(
    "bhyvectl", bhyvectl, usage, longopts=[option.spec for option in OPTIONS]
)


def main() -> int:
    """Run bhyvectl with the process's arguments and return the exit status."""
    return run(COMMAND, sys.argv, _USAGE, _CALL_FAILED)
