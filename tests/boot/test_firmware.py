"""Booting from Debian's firmware: SeaBIOS and OVMF, on the serial line."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import firmware, guestfiles
from support.machine import Machine

CACHE = Path(__file__).parents[2] / "build" / "guest"
BIOS_SLOTS = ("-s", "0,hostbridge,model=i440fx", "-s", "31,lpc")
#: OVMF has the place of the PIIX4's power management function built in.
UEFI_SLOTS = (
    *("-s", "0,hostbridge,model=i440fx"),
    *("-s", "1,lpc", "-s", "1:3,piix4pm"),
)
BAD = re.compile(
    r"BUG|WARNING|Oops|Firmware Bug|ACPI Error|ACPI BIOS|Call Trace|can't claim"
)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def bios() -> str:
    try:
        return str(firmware.seabios(CACHE))
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no SeaBIOS: {error}")


@pytest.fixture
def uefi(tmp_path: Path) -> tuple[str, Path]:
    """Return -l's argument and the variable store, a copy of our own."""
    try:
        code, empty = firmware.ovmf(CACHE)
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no OVMF: {error}")
    store = tmp_path / "vars.fd"
    shutil.copy(empty, store)
    store.chmod(0o600)
    return f"bootrom,{code},{store},fwcfg=qemu", store


@pytest.fixture(scope="session")
def linux() -> tuple[str, str]:
    try:
        kernel = guestfiles.debian_kernel(CACHE)
        initrd = guestfiles.initrd(CACHE, CACHE / "firmware-initrd.cpio")
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(f"no Debian guest: {error}")
    return str(kernel), str(initrd)


def start_bios(
    machine: Machine, bios: str, *args: str, slots: tuple[str, ...] = BIOS_SLOTS
) -> None:
    machine.start("-l", f"bootrom,{bios},fwcfg=qemu", *args, slots=slots)
    machine.expect(r"SeaBIOS \(version ")


def sector(folder: Path, size: int) -> str:
    try:
        return str(firmware.sector_image(folder, size))
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("bridge", ["hostbridge,model=i440fx", "hostbridge"])
def test_seabios_finds_nothing_to_boot(
    machine: Machine, bios: str, tmp_path: Path, bridge: str
) -> None:
    log = tmp_path / "debugcon"
    start_bios(
        machine,
        bios,
        *("-m", "64M", "-c", "2", "-U", "12345678-9abc-def0-1122-334455667788"),
        *("-o", f"lpc.debugcon.path={log}"),
        slots=("-s", f"0,{bridge}", "-s", "31,lpc"),
    )
    machine.expect("Machine UUID 12345678-9abc-def0-1122-334455667788")
    machine.expect("No bootable device")
    text = log.read_text()
    assert "QEMU fw_cfg DMA interface supported" in text
    assert "Found 2 cpu(s) max supported 2 cpu(s)" in text
    assert "via xsdt" in text
    assert "ACPI: parse DSDT" in text
    assert "parse error" not in text


def test_the_boot_menu_of_seabios(machine: Machine, bios: str) -> None:
    start_bios(machine, bios, "-f", "etc/show-boot-menu,string=1")
    machine.expect("Press ESC for boot menu")
    machine.send("\x1b")
    machine.expect("Select boot device:")


@pytest.mark.parametrize("kind", ["floppyimg", "virtio-blk"])
def test_seabios_boots_a_sector(
    machine: Machine, bios: str, tmp_path: Path, kind: str
) -> None:
    image = sector(tmp_path, 1474560)
    if kind == "floppyimg":
        args = ("-f", f"floppyimg/disk,file={image}")
    else:
        args = ("-s", f"4,virtio-blk,{image}")
    start_bios(machine, bios, *args)
    machine.expect("SECTOR-RUNS")
    machine.expect(">")
    machine.send("keysq")
    machine.expect("keys")
    assert machine.wait() == 0


@pytest.mark.parametrize(
    "kind",
    [
        "virtio-blk,{empty} virtio-blk,{boot}",
        "ahci-hd,{empty} ahci-hd,{boot}",
        "ahci,hd:{empty},hd:{empty} ahci,hd:{empty},hd:{empty},hd:{boot}",
        "ahci-hd,{empty} nvme,{boot}",
        "nvme,{empty} virtio-blk,{boot}",
    ],
)
def test_bootindex_beats_the_slots_order(
    machine: Machine, bios: str, tmp_path: Path, kind: str
) -> None:
    empty = tmp_path / "empty.img"
    empty.write_bytes(bytes(1 << 20))
    names = kind.format(empty=empty, boot=sector(tmp_path, 1 << 20)).split()
    disks = (f"3,{names[0]}", f"4,{names[1]}")
    start_bios(machine, bios, "-s", disks[0], "-s", f"{disks[1]},bootindex=0")
    machine.expect("SECTOR-RUNS")


@pytest.mark.slow
def test_linux_by_seabios_and_grub(
    machine: Machine, bios: str, linux: tuple[str, str], tmp_path: Path
) -> None:
    try:
        disk = firmware.grub_disk(tmp_path, CACHE, *linux)
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(str(error))
    start_bios(machine, bios, "-c", "2", "-m", "512M", "-s", f"4,virtio-blk,{disk}")
    machine.expect("GRUB-MENU-OK")
    machine.expect("GUEST-READY", 120)
    machine.expect("guest# ")
    assert machine.shell("nproc").strip() == "2"
    assert "System ROM" in machine.shell("cat /proc/iomem")
    log = machine.shell("dmesg")
    assert "DMI: FreeBSD BHYVE" in log
    assert not BAD.search(log), BAD.search(log)
    machine.send("poweroff\n")
    assert machine.wait() == 1


#: GRUB drives the UART itself, or it uses the BIOS, which has sercon.
TERMINALS = {
    "serial": firmware.GRUB_EARLY,
    "bios": firmware.GRUB_EARLY[firmware.GRUB_EARLY.index("set root") :],
}


def see(m: Machine, text: str) -> None:
    """Wait for text on a screen: the cursor may be moved within a word."""
    m.expect(r"(?:\x1b\[[0-9;]*[A-Za-z])*".join(map(re.escape, text)))


@pytest.mark.slow
@pytest.mark.parametrize("terminal", TERMINALS)
def test_grub_is_used_over_com1(
    machine: Machine, bios: str, tmp_path: Path, terminal: str
) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"-")
    try:
        disk = firmware.grub_disk(
            *(tmp_path, CACHE, str(small), str(small)),
            early=TERMINALS[terminal],
            menu=firmware.GRUB_WAITS,
        )
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(str(error))
    start_bios(machine, bios, "-m", "128M", "-s", f"4,virtio-blk,{disk}")
    see(machine, "*First")
    see(machine, "Second")
    machine.send("\x1b[B")
    see(machine, "*Second")
    machine.send("\r")
    see(machine, "SECOND-WAS-CHOSEN")
    machine.send("\r")
    see(machine, "*First")
    see(machine, "Second")
    machine.send("c")
    see(machine, "grub> ")
    machine.send("echo A''BC\r")
    see(machine, "ABC")


@pytest.mark.slow
def test_ovmf_reaches_its_shell_and_keeps_variables(
    machine: Machine, uefi: tuple[str, Path]
) -> None:
    option, store = uefi
    before = store.read_bytes()
    machine.start("-m", "256M", "-l", option, slots=UEFI_SLOTS)
    machine.expect("UEFI Interactive Shell", 60)
    machine.expect("Shell> ", 30)
    guid = "12345678-9abc-def0-1122-334455667788"
    machine.send(f"setvar Kept -guid {guid} -bs -nv =0x77\r")
    machine.expect("Shell> ")
    machine.send("reset -s\r")
    assert machine.wait() == 1
    assert store.read_bytes() != before
    assert "Kept".encode("utf-16-le") in store.read_bytes()


@pytest.mark.slow
def test_linux_by_ovmf(
    machine: Machine, uefi: tuple[str, Path], linux: tuple[str, str], tmp_path: Path
) -> None:
    try:
        disk = firmware.efi_disk(tmp_path, *linux)
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(str(error))
    more = ("-l", uefi[0], "-s", f"4,virtio-blk,{disk}")
    machine.start("-c", "2", "-m", "512M", *more, slots=UEFI_SLOTS)
    machine.expect("EFI stub", 120)
    machine.expect("GUEST-READY", 120)
    machine.expect("guest# ")
    log = machine.shell("dmesg")
    assert "efi: EFI v2.70 by EDK II" in log
    assert not BAD.search(log), BAD.search(log)
    machine.send("poweroff\n")
    assert machine.wait() == 1


@pytest.mark.slow
def test_linux_sees_the_numa_domains(
    machine: Machine, bios: str, linux: tuple[str, str], tmp_path: Path
) -> None:
    try:
        disk = firmware.grub_disk(tmp_path, CACHE, *linux)
    except guestfiles.GuestUnavailableError as error:
        pytest.skip(str(error))
    numa = ("-n", "id=0,size=256M,cpus=0,2", "-n", "id=1,size=192M,cpus=1")
    start_bios(machine, bios, "-c", "4", *numa, "-s", f"4,virtio-blk,{disk}")
    machine.expect("GUEST-READY", 180)
    machine.expect("guest# ")
    nodes = "/sys/devices/system/node"
    machine.shell(f"cd {nodes}")
    said = machine.shell("cat online node?/cpulist")
    # A vCPU that no domain names is the first one's.
    assert said.split() == ["0-1", "0,2-3", "1"]
    assert machine.shell("cat node?/distance").split() == ["10", "20", "20", "10"]
    total = machine.shell("grep -h MemTotal node?/meminfo").split()
    sizes = [int(total[3]) >> 10, int(total[8]) >> 10]
    assert 128 < sizes[0] <= 256
    assert 128 < sizes[1] <= 192
    log = machine.shell("dmesg")
    assert "SRAT: PXM 1 -> APIC 0x01 -> Node 1" in log
    assert not BAD.search(log), BAD.search(log)
