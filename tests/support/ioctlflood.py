"""Random ioctls for a VM's control socket, and the owner that bears them.

Run as a program: "own NAME", "hold NAME", "flood SOCKET SEED COUNT TABLE" with
TABLE a JSON object of command number -> size of its argument.
"""

import errno
import json
import random
import socket
import struct
import sys
from contextlib import suppress

from runner import COUNT

#: What an owner may answer: what the calls' documentation has.
ERRORS = {
    0,
    *(errno.EINVAL, errno.EFAULT, errno.ENOENT, errno.ENOMEM, errno.EEXIST),
    *(errno.EBUSY, errno.ENXIO, errno.ENOTTY, errno.ENOSPC, errno.EALREADY),
    *(errno.ENOTSUP, errno.ENAMETOOLONG, errno.EPERM, errno.E2BIG, errno.ERANGE),
    *(errno.ESRCH, errno.EOPNOTSUPP, errno.EOVERFLOW, errno.EAGAIN, errno.EIO),
    *(errno.ENODEV, errno.EDOM, errno.EBADF),
}


def argument(rng: random.Random, size: int) -> bytes:
    """Return `size` bytes: noise, zeros, ones, or small and page-like numbers."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(size)
    if kind == 1:
        return b"\0" * size
    if kind == 2:
        return b"\xff" * size
    words = b""
    while len(words) < size:
        value = rng.choice(
            [0, 0, 1, 2, 3, 63, 64, 0x1000, 0xFEE00000, 1 << 31, rng.getrandbits(64)]
        )
        words += struct.pack(rng.choice(["<I", "<Q"]), value & (1 << 32) - 1)
    return words[:size]


def flood(path: str, seed: int, count: int, table: dict[int, int]) -> None:
    """Send `count` requests; end with AssertionError at a wrong answer."""
    rng = random.Random(seed)
    commands = list(table)
    peer: socket.socket | None = None
    for _ in range(count):
        if peer is None:
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            peer.settimeout(20)
            peer.connect(path)
        command = rng.choice(commands)
        size = table[command]
        if rng.random() < 0.02:
            command, size = rng.getrandbits(32), rng.randrange(600)
        elif rng.random() < 0.02:
            size = rng.randrange(600)
        peer.send(struct.pack("<II", command, size) + argument(rng, size))
        answer = peer.recv(1 << 16)
        if not answer:  # it may throw out a peer, not die of it
            peer.close()
            peer = None
            continue
        error, length = struct.unpack_from("<iI", answer)
        assert error in ERRORS, (hex(command), size, error)
        assert len(answer) == 8 + length, (hex(command), size)
    if peer is not None:
        peer.close()


def own(name: str) -> None:
    """Run a guest that anything may happen to, until it is powered off."""
    from libvmmapi import VM, ExitCode, OpenFlags, Reg, SuspendHow, VMError
    from libvmmapi.exits import Inout, Mmio

    vm = VM.open(name, OpenFlags.OWNER)
    code = bytes.fromhex(COUNT)
    vm.map_gpa(0x1000, len(code))[:] = code
    cpu = vm.vcpu(0)

    def start() -> None:
        cpu.reset()
        cpu.set_desc(Reg.CS, base=0, limit=0xFFFF, access=0x93)
        cpu.set_register_set({Reg.CS: 0, Reg.RIP: 0x1000})
        cpu.set_run_state(2)
        with suppress(VMError):  # EBUSY when it is active
            cpu.activate()

    start()
    vm.serve()
    print("up", flush=True)
    entry = None
    while True:
        try:
            # Wherever it was sent, what it asks is answered: a pause waits for it.
            vme = cpu.run(entry)
            answered = isinstance(vme.detail, Inout | Mmio)
            entry = vme.fulfill() if answered else None
        except VMError:
            entry = None
            vm.reinit()
            start()
            continue
        if vme.code != ExitCode.SUSPENDED:
            continue
        if vme.detail.how == SuspendHow.POWEROFF:
            break
        vm.reinit()
        start()
    vm.close()


def hold(name: str) -> None:
    """Own a machine that no processor of runs, until the input's end."""
    from libvmmapi import VM, OpenFlags

    with VM.open(name, OpenFlags.OWNER) as vm:
        vm.serve()
        print("up", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1] == "own":
        own(sys.argv[2])
    elif sys.argv[1] == "hold":
        hold(sys.argv[2])
    else:
        where, seed_text, count_text, sizes = sys.argv[2:]
        known = {int(k): v for k, v in json.loads(sizes).items()}
        flood(where, int(seed_text), int(count_text), known)
