"""illumos' -B: strings of the SMBIOS tables, by the table's type."""

from collections.abc import Iterator

#: Type -> key -> variable.
_VARIABLES: dict[str, dict[str, str]] = {
    "0": {
        "vendor": "bios.vendor",
        "version": "bios.version",
        "date": "bios.release_date",
        "release_date": "bios.release_date",
    },
    "1": {
        "manufacturer": "system.manufacturer",
        "product": "system.product_name",
        "version": "system.version",
        "serial": "system.serial_number",
        "sku": "system.sku",
        "family": "system.family_name",
        "uuid": "uuid",
    },
    "2": {
        "manufacturer": "board.manufacturer",
        "product": "board.product_name",
        "version": "board.version",
        "serial": "board.serial_number",
        "asset": "board.asset_tag",
        "location": "board.location",
    },
    "3": {
        "manufacturer": "chassis.manufacturer",
        "version": "chassis.version",
        "serial": "chassis.serial_number",
        "asset": "chassis.asset_tag",
        "sku": "chassis.sku",
    },
}


def variables(text: str) -> Iterator[tuple[str, str]]:
    """Yield (variable, value) of "TYPE,key=value[,key=value...]".

    Raises ValueError for what is no SMBIOS string.

    >>> list(variables("1,product=OmniOS HVM,serial=ds=x;s=http://h/"))
    [('system.product_name', 'OmniOS HVM'), ('system.serial_number', 'ds=x;s=http://h/')]
    """
    kind, _, rest = text.partition(",")
    if kind not in _VARIABLES:
        raise ValueError(f"SMBIOS type '{kind}' is none of {', '.join(_VARIABLES)}")
    if not rest:
        raise ValueError("want TYPE,key=value")
    for word in rest.split(","):
        key, equals, value = word.partition("=")
        if not equals or key not in _VARIABLES[kind]:
            raise ValueError(
                f"'{word}' is none of "
                + ", ".join(f"{name}=" for name in _VARIABLES[kind])
            )
        yield _VARIABLES[kind][key], value
