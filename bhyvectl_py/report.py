"""What bhyvectl has found out: as bhyvectl's lines at once, or as JSON at the end."""

from libvmmapi.cli import console

#: What JSON can hold.
Fact = None | bool | int | float | str | list["Fact"] | dict[str, "Fact"]


class Report:
    """Prints facts when they come, or keeps them for one JSON object."""

    def __init__(self, *, as_json: bool, **head: Fact) -> None:
        self.as_json = as_json
        self.facts: dict[str, Fact] = dict(head)

    def add(self, key: str, fact: Fact, *lines: str) -> None:
        """Print the lines, or keep the fact."""
        if self.as_json:
            self.facts[key] = fact
            return
        for line in lines:
            console.out(line)

    def finish(self) -> None:
        """Print the JSON object, if that is wanted."""
        if self.as_json:
            import json

            console.out(json.dumps(self.facts, indent=2))
