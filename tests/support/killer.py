"""Processes that do to VMs what tools do, until somebody kills them.

Run as a program: "NAMES SEED" with NAMES separated by commas.  All that it may
meet is one of the errors of a VM that others make, run and destroy meanwhile.
"""

import errno
import random
import sys

from tinyguest import flat32

from libvmmapi import VM, ExitCode, OpenFlags, Reg, SegId, VMError

#: EEXIST: another made it; ENOENT: another destroyed it; EBUSY: another holds
#: it; EOWNERDEAD: its owner was killed; EPIPE: its owner went while it answered.
#: EINVAL: it has memory of another size.
EXPECTED = {
    *(errno.EEXIST, errno.ENOENT, errno.EBUSY, errno.EOWNERDEAD, errno.EPIPE),
    *(errno.EINVAL, errno.ECONNRESET),
}


def create(name: str, rng: random.Random) -> None:
    """Make a VM, with memory or without."""
    with VM.create(name) as vm:
        if rng.random() < 0.7:
            vm.setup_memory(rng.choice([1, 2]) << 20)


def load(name: str, rng: random.Random) -> None:
    """Do as bhyveload does."""
    flags = OpenFlags.OWNER | rng.choice([OpenFlags.CREATE, OpenFlags.REINIT])
    with VM.open(name, flags) as vm:
        vm.setup_memory(1 << 20)
        flat32(vm, bytes.fromhex("e680"))
        vm.create_devmem(SegId.BOOTROM, "bootrom", 0x10000)


def run(name: str, rng: random.Random) -> None:
    """Do as bhyve does, for a few exits."""
    with VM.open(name, OpenFlags.OWNER | OpenFlags.REINIT) as vm:
        vm.setup_memory(1 << 20)
        cpu = flat32(vm, bytes.fromhex("e680 ebfc"))
        vm.serve()
        vme = cpu.run()
        for _ in range(rng.randrange(2000)):
            if vme.code != ExitCode.INOUT:
                break
            vme = cpu.run(vme.fulfill())


def look(name: str, rng: random.Random) -> None:
    """Do as bhyvectl does."""
    with VM.open(name) as vm:
        for _ in range(rng.randrange(20)):
            vm.vcpu(0).get_register(Reg.RIP)


def destroy(name: str, rng: random.Random) -> None:
    """Do as bhyvectl --destroy does."""
    VM.open(name).destroy()


def once(name: str, rng: random.Random) -> None:
    """Make a VM that ends with this process."""
    with VM.open(name, OpenFlags.CREATE_DESTROY_ON_CLOSE) as vm:
        vm.setup_memory(1 << 20)


ACTS = (create, load, run, run, look, destroy, once)


def main(names: list[str], seed: int) -> None:
    """Act at random for ever."""
    rng = random.Random(seed)
    print("up", flush=True)
    while True:
        act = rng.choice(ACTS)
        try:
            act(rng.choice(names), rng)
        except VMError as error:
            if error.errno not in EXPECTED:
                raise


if __name__ == "__main__":
    main(sys.argv[1].split(","), int(sys.argv[2]))
