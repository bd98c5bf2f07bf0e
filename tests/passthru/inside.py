"""What happens on the host with an IOMMU: /inside.py of support/iommuhost.py.

Its arguments are the steps, functions of that name.  Each says on the console
that it is ok, or leaves a traceback.
Devices there: edu at 0/5/0, nvme at 0/6/0, and at 0/7 edu and nvme in one
IOMMU group.
"""

import errno
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from libvmmapi import VM, ExitCode, MemFlags, Reg, VMError

DEVICES = Path("/sys/bus/pci/devices")
MB = 1 << 20
BAR_GPA = 0xC0000000
EDU_ID = 0x010000ED
EDU, NVME, SHARED = (0, 5, 0), (0, 6, 0), (0, 7, 0)
#: The VM's slot 3 is where the guests look.
SLOTS = ("-s", "0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio")


def give_to_vfio(place: tuple[int, int, int]) -> None:
    """Bind a device to vfio-pci, as driverctl(8) does."""
    name = f"0000:{place[0]:02x}:{place[1]:02x}.{place[2]}"
    device = DEVICES / name
    if (device / "driver").resolve().name == "vfio-pci":
        return
    if (device / "driver").exists():
        (device / "driver/unbind").write_text(name)
    (device / "driver_override").write_text("vfio-pci")
    Path("/sys/bus/pci/drivers_probe").write_text(name)


def tool(name: str, *args: str) -> list[str]:
    """Return the argv of one of the three tools."""
    code = f"from {name}_py.__main__ import main; import sys; sys.exit(main())"
    start = f"import sys; sys.argv[0] = {name!r}; {code}"
    return [sys.executable, "-c", start, *args]


@contextmanager
def machine(wired: bool = True) -> Iterator[VM]:
    """Make a VM of 16 MB."""
    vm = VM.create("t")
    try:
        if wired:
            vm.memflags = MemFlags.WIRED
        vm.setup_memory(16 * MB)
        yield vm
    finally:
        vm.destroy()


def refused(call: Callable[[], object], number: int, words: str) -> None:
    """Check that a call fails with an error and words."""
    try:
        call()
    except VMError as error:
        caught = error
    else:
        raise AssertionError(f"not refused: {words}")
    assert caught.errno == number, caught
    assert re.search(words, str(caught)), caught


def step_refusals() -> None:
    with machine() as vm:
        refused(
            lambda: vm.assign_pptdev(*NVME),
            errno.EBUSY,
            r"host device 0/6/0: not bound to the host's driver vfio-pci "
            r"\(but to nvme\)",
        )
        refused(lambda: vm.assign_pptdev(*EDU), errno.EBUSY, r"\(but to none\)")
        refused(lambda: vm.assign_pptdev(9, 9, 7), errno.ENOENT, "no such device")
        give_to_vfio(SHARED)
        refused(
            lambda: vm.assign_pptdev(*SHARED),
            errno.EBUSY,
            r"all of its IOMMU group \d+ must be bound to vfio-pci: "
            r"0000:00:07\.1 has the driver nvme",
        )
    give_to_vfio(EDU)
    give_to_vfio(NVME)
    with machine(wired=False) as vm:
        refused(lambda: vm.assign_pptdev(*EDU), errno.EINVAL, "must be wired")


def iommu_flags(vm: VM) -> list[int]:
    """Return of each mapping whether devices reach it (2)."""
    return [mapping.flags & 2 for mapping in vm.memmap()]


def step_calls() -> None:
    with machine() as vm:
        vm.assign_pptdev(*EDU)
        refused(lambda: vm.assign_pptdev(*EDU), errno.EBUSY, "has it already")
        assert iommu_flags(vm) == [2]
        assert vm.pptdev_limits(*EDU) == (1, 0)
        assert vm.read_pptdev(*EDU, region=7, offset=0, size=4) == 0x11E81234
        hpa, size, io = vm.pptdev_bar(*EDU, bar=0)
        assert (size, io) == (MB, False)
        assert vm.pptdev_bar(*EDU, bar=1)[1] == 0
        assert vm.read_pptdev(*EDU, region=0, offset=0, size=4) == EDU_ID
        for bad in (
            {"gpa": BAR_GPA, "size": MB, "hpa": hpa + 4096},
            {"gpa": BAR_GPA, "size": 4096, "hpa": 0},
            {"gpa": BAR_GPA + 1, "size": 4096, "hpa": hpa},
            {"gpa": BAR_GPA, "size": 0, "hpa": hpa},
            {"gpa": 1 << 63, "size": 4096, "hpa": hpa},
        ):
            refused(lambda bad=bad: vm.map_pptdev_mmio(*EDU, **bad), errno.EINVAL, "")
        for taken in (0, 0xFEE00000, 0xFEC00000 - MB + 4096):
            refused(
                lambda at=taken: vm.map_pptdev_mmio(*EDU, gpa=at, size=MB, hpa=hpa),
                errno.EEXIST,
                "something else stands",
            )
        vm.map_pptdev_mmio(*EDU, gpa=BAR_GPA, size=MB, hpa=hpa)
        run_code(vm)
        refused(
            lambda: vm.unmap_pptdev_mmio(*EDU, gpa=BAR_GPA, size=4096),
            errno.ENOENT,
            "not mapped",
        )
        vm.unmap_pptdev_mmio(*EDU, gpa=BAR_GPA, size=MB)
        for count in (-1, 2):
            refused(
                lambda n=count: vm.setup_pptdev_msi(*EDU, addr=0, msg=0, count=n),
                errno.EINVAL,
                "MSI messages",
            )
        refused(
            lambda: vm.setup_pptdev_msix(
                *EDU, index=0, addr=0, msg=0, vector_control=0
            ),
            errno.EINVAL,
            "a table of 0",
        )
        with_memory_added(vm)
        vm.unassign_pptdev(*EDU)
        assert iommu_flags(vm) == [0, 0]
        refused(lambda: vm.unassign_pptdev(*EDU), errno.ENOENT, "not assigned")
        vm.assign_pptdev(*EDU)
        vm.reinit()
        refused(lambda: vm.unassign_pptdev(*EDU), errno.ENOENT, "not assigned")


def run_code(vm: VM) -> None:
    """Let code read and write the device without an exit."""
    code = bytes.fromhex(
        "a1000000c0"  # mov eax, [0xc0000000]
        "a300200000"  # mov [0x2000], eax
        "c705040000c078563412"  # mov dword [0xc0000004], 0x12345678
        "a1040000c0"  # mov eax, [0xc0000004]
        "a304200000"  # mov [0x2004], eax
        "e6ee"  # out 0xee, al
    )
    vm.map_gpa(0x1000, len(code))[:] = code
    cpu = vm.vcpu(0)
    cpu.reset()
    cpu.set_register(Reg.CR0, 0x31)
    for reg in (Reg.ES, Reg.CS, Reg.SS, Reg.DS, Reg.FS, Reg.GS):
        cpu.set_desc(reg, 0, 0xFFFFFFFF, 0xC09B if reg == Reg.CS else 0xC093)
        cpu.set_register(reg, 8 if reg == Reg.CS else 16)
    cpu.set_register(Reg.RIP, 0x1000)
    cpu.set_run_state(2)
    cpu.activate()
    vme = cpu.run()
    assert vme.code == ExitCode.INOUT, vme
    said = bytes(vm.map_gpa(0x2000, 8))
    assert said == EDU_ID.to_bytes(4, "little") + (~0x12345678 & 2**32 - 1).to_bytes(
        4, "little"
    ), said.hex()


def with_memory_added(vm: VM) -> None:
    """Memory that comes while a device is there is the device's, too."""
    free = 32 * MB
    vm.mmap_memseg(free, 0, offset=0, size=MB)
    vm.map_gpa(0x3000, 8)[:] = b"by-DMA!!"
    vm.write_pptdev(*EDU, region=7, offset=4, size=2, value=6)  # bus mastering
    for offset, value in ((0x80, free + 0x3000), (0x88, 0x40000), (0x90, 8)):
        vm.write_pptdev(*EDU, region=0, offset=offset, size=8, value=value)
    vm.write_pptdev(*EDU, region=0, offset=0x98, size=8, value=1)
    dma_done(vm)
    for offset, value in ((0x80, 0x40000), (0x88, 0x4000), (0x90, 8)):
        vm.write_pptdev(*EDU, region=0, offset=offset, size=8, value=value)
    vm.write_pptdev(*EDU, region=0, offset=0x98, size=8, value=3)
    dma_done(vm)
    assert bytes(vm.map_gpa(0x4000, 8)) == b"by-DMA!!"


def dma_done(vm: VM) -> None:
    end = time.monotonic() + 20
    while vm.read_pptdev(*EDU, region=0, offset=0x98, size=8) & 1:
        assert time.monotonic() < end, "DMA does not end"
        time.sleep(0.02)


class Guest:
    """One of our guests under bhyve, with a device in slot 3."""

    def __init__(self, image: str, device: str, backend: str = "soft") -> None:
        env = dict(os.environ, BHYVE_BACKEND=backend)
        load = tool("bhyveload", "-S", "-m", "64M", "--kernel", image, "g")
        subprocess.run(load, check=True, env=env)
        argv = tool("bhyve", "-S", "-m", "64M", *SLOTS, "-s", f"3,{device}", "g")
        self.process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def expect(self, word: str) -> str:
        """Read lines to the one that is `word`; return all."""
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if line.strip() == word:
                return said
            if line.startswith("FAIL"):
                break
        raise AssertionError(f"no {word}: {said}")

    def end(self) -> None:
        """Kill bhyve, which takes nothing down, and destroy the VM."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        subprocess.run(tool("bhyvectl", "--vm=g", "--destroy"), check=True)


def step_edu() -> None:
    guest = Guest("/host_edu.elf", "passthru,0/5/0")
    try:
        said = guest.expect("PASS")
        assert "MSI\nDMA\ncode\n" in said, said
        guest.expect(f"{EDU_ID:08x}")
        taken = subprocess.run(
            tool("bhyvectl", "--vm=g", "--unassign-pptdev=0/5/0"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (taken.returncode, taken.stdout) == (0, ""), taken
        guest.expect("ffffffff")
        assert guest.process.poll() is None
    finally:
        guest.end()


def step_nvme() -> None:
    for device in ("passthru,pci0:6:0", "passthru,pci0:0:6:0"):
        guest = Guest("/host_nvme.elf", device)
        try:
            said = guest.expect("PASS")
            assert "MSI-X ppt-test\n" in said, said
        finally:
            guest.end()


def step_kvm() -> None:
    """BARs are memory slots there, and messages go by irqfd."""
    for image, place in (("host_edu", EDU), ("host_nvme", NVME)):
        give_to_vfio(place)
        where = "/".join(map(str, place))
        guest = Guest(f"/{image}.elf", f"passthru,{where}", "kvm")
        try:
            guest.expect("PASS")
        finally:
            guest.end()


def step_two_owners() -> None:
    with machine() as vm:
        vm.assign_pptdev(*EDU)
        code = (
            "from libvmmapi import VM, MemFlags\n"
            "vm = VM.create('u')\nvm.memflags = MemFlags.WIRED\n"
            "vm.setup_memory(1 << 20)\n"
            "try: vm.assign_pptdev(0, 5, 0)\n"
            "finally: vm.destroy()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert "another process has it" in done.stderr, done.stderr
    assert not os.listdir(os.environ["VMM_DIR"])


def main(names: list[str]) -> int:
    """Take the steps; return how many failed."""
    failed = 0
    for name in names:
        start = time.monotonic()
        try:
            globals()[f"step_{name}"]()
            print(f"step {name} ok after {time.monotonic() - start:.1f} s", flush=True)
        except Exception:
            failed += 1
            print(f"step {name} FAILED\n{traceback.format_exc()}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
