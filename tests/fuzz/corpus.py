"""Keep a target's inputs in one file: each is its length (16 bits) and its bytes.

corpus.py unpack FILE FOLDER    one file an input, named by its hash
corpus.py pack FOLDER FILE      the inputs of at most LONGEST bytes, MOST of them
"""

import hashlib
import struct
import sys
from pathlib import Path

LONGEST = 1024
MOST = 80


def read(file: Path) -> list[bytes]:
    """Return the inputs of a packed file."""
    data = file.read_bytes()
    at, inputs = 0, []
    while at < len(data):
        (size,) = struct.unpack_from("<H", data, at)
        inputs.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return inputs


def unpack(file: Path, folder: Path) -> None:
    """Write each input to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in read(file):
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def pack(folder: Path, file: Path) -> None:
    """Write the folder's inputs to one file; longer ones see more code."""
    inputs = sorted(
        (
            data
            for path in folder.iterdir()
            if len(data := path.read_bytes()) <= LONGEST
        ),
        key=lambda data: (-len(data), data),
    )
    step = max(1, len(inputs) // MOST)
    file.write_bytes(
        b"".join(struct.pack("<H", len(d)) + d for d in inputs[::step][:MOST])
    )


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
