# SPDX-License-Identifier: Apache-2.0
"""What every command is given: which instance, and how to print."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ilax.address import Address, Prefix, parse, parse_prefix
from ilax.errors import IlaxError

if TYPE_CHECKING:
    from ilax.instance import Instance


@dataclass(frozen=True, slots=True)
class Context:
    """The global options."""

    instance: str
    as_json: bool

    def show(self, value: Any, text: str) -> None:
        """Print `value` as JSON if asked for, else `text`."""
        click.echo(json.dumps(plain(value), indent=2) if self.as_json else text)


def taken_down(instance: Instance) -> IlaxError:
    """What is said when there is nothing more to look at."""
    return IlaxError(f"instance {instance.name} was taken down")


pass_context = click.make_pass_decorator(Context)


def plain(value: Any) -> Any:
    """A value made of what JSON knows: addresses become text, MACs as usual."""
    if isinstance(value, Address | Prefix):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex(":")
    if isinstance(value, enum.Enum):
        return value.value
    return value


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of text; numbers stand to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    right = [
        bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(header))
    ]

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ).rstrip()

    return "\n".join([line(list(header)), *(line(row) for row in cells)])


class AddressType(click.ParamType[Address]):
    """An IPv6 address."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Text to `Address`."""
        return value if isinstance(value, Address) else parse(value)


class PrefixType(click.ParamType[Prefix]):
    """An IPv6 prefix, of a fixed length if one is given."""

    name = "prefix"

    def __init__(self, length: int | None = None) -> None:
        self.length = length

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Text to `Prefix`."""
        return value if isinstance(value, Prefix) else parse_prefix(value, length=self.length)


ADDRESS = AddressType()
PREFIX = PrefixType()
PREFIX_64 = PrefixType(64)
