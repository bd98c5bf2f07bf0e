"""How fast the software processor runs real programs, beside QEMU's TCG.

One boot of Debian's kernel a side; a script in the initrd then runs each
workload between two marks on the console, and the clock is the host's.

    python tests/bench/engine.py [-n RUNS] [--ours-only] [NAME ...]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import bench

from support import guestfiles

#: name -> shell commands of the guest
WORKLOADS = {
    "md5sum": "dd if=/dev/zero bs=1M count=64 2>/dev/null | md5sum >/dev/null",
    "sha256sum": "dd if=/dev/zero bs=1M count=24 2>/dev/null | sha256sum >/dev/null",
    "gzip": "gzip -c /bin/busybox >/dev/null",
    "awk": "awk 'BEGIN{for(i=0;i<400000;i++)s+=i*3;print s}' >/dev/null",
    "shell": "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done",
    "seq": "seq 100000 >/dev/null",
    "syscall": "dd if=/dev/zero of=/dev/null bs=1 count=400000 2>/dev/null",
    "fork": "i=0; while [ $i -lt 400 ]; do /bin/busybox true; i=$((i+1)); done",
    "pipe": "yes | dd bs=64 count=30000 2>/dev/null | cat >/dev/null",
    "sort": "seq 20000 | sort -r | md5sum >/dev/null",
}


def script(names: list[str]) -> str:
    """Return the guest's script: each workload between marks."""
    lines = ["#!/bin/sh", "sleep 1"]
    for name in names:
        lines += [f"echo @S-{name}@", WORKLOADS[name], f"echo @E-{name}@"]
    return "\n".join([*lines, "echo @DONE@", ""])


def marks(process: subprocess.Popen[bytes], limit: float) -> dict[str, float]:
    """Read the console until all is done; return mark -> time of arrival."""
    assert process.stdout is not None
    seen: dict[str, float] = {}
    rest = b""
    end = time.monotonic() + limit
    while "DONE" not in seen:
        data = os.read(process.stdout.fileno(), 65536)
        now = time.monotonic()
        if not data or now > end:
            raise RuntimeError(f"stopped: {rest[-300:].decode(errors='replace')}")
        rest += data
        *words, rest = rest.split(b"@")
        for word in words:
            seen.setdefault(word.decode(errors="replace"), now)
    return seen


def run(ours: bool, names: list[str], limit: float) -> dict[str, float]:
    """Boot once; return workload -> seconds, and "boot"."""
    image = guestfiles.initrd(
        bench.CACHE, bench.CACHE / "engine-initrd.cpio", {"bench": script(names)}
    )
    kernel = str(guestfiles.debian_kernel(bench.CACHE))
    line = "console=ttyS0 quiet run=/bench"
    vm = None
    if ours:
        load = ["--kernel", kernel, "--initrd", str(image), "--cmdline", line]
        vm = bench.Bhyve("soft", "512M", load)
    began = time.monotonic()
    if vm is not None:
        process = vm.start()
    else:
        load = ["-kernel", kernel, "-initrd", str(image), "-append", line]
        process = bench.qemu("tcg", "512M", load)
    try:
        seen = marks(process, limit)
    finally:
        process.kill()
        process.wait()
        if vm is not None:
            vm.close()
    took = {name: seen[f"E-{name}"] - seen[f"S-{name}"] for name in names}
    if names:
        took["boot"] = seen[f"S-{names[0]}"] - began - 1.0
    return took


def main() -> int:
    """Measure, print a line a workload, perhaps write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=1, help="runs of each")
    parser.add_argument("-o", help="result file")
    parser.add_argument("-t", type=float, default=300, help="limit of a run, seconds")
    parser.add_argument("--ours-only", action="store_true", help="leave QEMU out")
    parser.add_argument("names", nargs="*", help="workloads (all)")
    args = parser.parse_args()
    names = [n for n in WORKLOADS if not args.names or n in args.names]
    mine: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    for _ in range(args.n):
        for name, took in run(True, names, args.t).items():
            mine.setdefault(name, []).append(took)
        if not args.ours_only:
            for name, took in run(False, names, args.t).items():
                theirs.setdefault(name, []).append(took)
    results = {}
    for name in ["boot", *names]:
        row = results[name] = {"ours": statistics.median(mine[name])}
        if theirs:
            row["tcg"] = statistics.median(theirs[name])
            row["ratio"] = row["ours"] / row["tcg"]
        print(f"{name:10}", *(f"{k} {v:6.2f}" for k, v in row.items()), flush=True)
    if args.o:
        Path(args.o).write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
