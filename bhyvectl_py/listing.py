"""--list: all VMs, as a table on a terminal, else in plain columns, or as JSON."""

import sys

from libvmmapi.cli import console
from libvmmapi.inventory import VMInfo, vm_infos
from libvmmapi.memsize import humanize

_HEADS = ("NAME", "STATE", "PID", "VCPUS", "MEMORY", "UPTIME")
_NOTHING = "-"


def uptime(seconds: float | None) -> str:
    """Return a time as days and a clock, "-" for None.

    >>> uptime(59.9), uptime(3723), uptime(2 * 86400 + 60), uptime(None)
    ('0:00:59', '1:02:03', '2d 0:01:00', '-')
    """
    if seconds is None:
        return _NOTHING
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour}:{minute:02d}:{second:02d}"
    return f"{days}d {clock}" if days else clock


def row(info: VMInfo) -> tuple[str, ...]:
    """Return the cells of a VM."""
    return (
        info.name,
        info.state,
        _NOTHING if info.pid is None else str(info.pid),
        _NOTHING if info.vcpus is None else str(info.vcpus),
        _NOTHING if info.memory is None else humanize(info.memory),
        uptime(info.uptime),
    )


def columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Return lines whose cells stand below each other, two blanks apart.

    >>> columns([("NAME", "PID"), ("a", "100")])
    ['NAME  PID', 'a     100']
    """
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(cells, widths, strict=True)
        ).rstrip()
        for cells in rows
    ]


def _table(rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for head in _HEADS:
        table.add_column(head, justify="right" if head == "PID" else "left")
    colours = {"running": "green", "paused": "yellow", "dead": "red", "held": "red"}
    for cells in rows:
        texts = [Text(cell) for cell in cells]
        texts[1].stylize(colours.get(cells[1], ""))
        table.add_row(*texts)
    console.console().print(table)


def list_all(*, as_json: bool) -> None:
    """Print all VMs."""
    infos = vm_infos()
    if as_json:
        import json

        console.out(json.dumps([info._asdict() for info in infos], indent=2))
    elif sys.stdout.isatty():
        _table([row(info) for info in infos])
    else:
        for line in columns([_HEADS, *(row(info) for info in infos)]):
            console.out(line)
