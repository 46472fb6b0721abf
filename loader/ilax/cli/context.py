# SPDX-License-Identifier: Apache-2.0
"""What every command is given: which instance, and how to print."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from ilax.address import Address, Prefix, parse, parse_prefix
from ilax.errors import IlaxError, UsageError

if TYPE_CHECKING:
    from types import FrameType

    from ilax.instances.instance import Instance

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Context:
    """The global options."""

    instance: str
    as_json: bool

    def show(self, value: Any, text: str) -> None:
        """Print `value` as JSON if asked for, else `text`."""
        click.echo(json.dumps(plain(value), indent=2) if self.as_json else legible(text))


def legible(text: str) -> str:
    """Text for a terminal, which names that containers have chosen cannot command."""
    return "\n".join(
        line
        if line.isprintable()
        else "".join(c if c.isprintable() or c == "\t" else "?" for c in line)
        for line in text.split("\n")
    )


@contextlib.contextmanager
def only_reading() -> Iterator[None]:
    """What changes nothing, so that its errors need not say that they have not."""
    try:
        yield
    except IlaxError as error:
        error.leave_effect_out()
        raise


class ReadingCommand(click.Command):
    """A command that changes nothing, whatever it is told."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        with only_reading():
            return super().invoke(ctx)


def taken_down(instance: Instance) -> IlaxError:
    """What is said when there is nothing more to look at."""
    return IlaxError(f"instance {instance.name} was taken down")


pass_context = click.make_pass_decorator(Context)

JSON_HELP = "Print JSON for programs to read."


def accept_json(command: click.Command) -> click.Command:
    """Let a command, and all below it, take `--json` where its own options stand."""
    if all(parameter.name != "as_json" for parameter in command.params):
        command.params.append(
            click.Option(
                ["--json", "as_json"],
                is_flag=True,
                expose_value=False,
                callback=_turn_json_on,
                help=JSON_HELP,
            )
        )
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            accept_json(inner)
    return command


def _turn_json_on(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and isinstance(ctx.obj, Context):
        ctx.obj = replace(ctx.obj, as_json=True)


@contextlib.contextmanager
def until_told_to_end() -> Iterator[None]:
    """What goes on until Ctrl-C or SIGTERM ends it; what follows is done in any case."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


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


@contextlib.contextmanager
def bar(steps: int, label: str, at_least: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error for long work; nothing for short work."""
    if steps < at_least:
        yield lambda count: None
        return
    with click.progressbar(length=steps, label=label, file=sys.stderr) as shown:
        yield shown.update


@contextlib.contextmanager
def binary_output(name: str) -> Iterator[BinaryIO]:
    """Where a capture goes: a file that is made anew, or for "-" standard output."""
    if name != "-":
        with Path(name).open("wb") as stream:
            yield stream
        return
    if sys.stdout.isatty():
        raise UsageError("a capture is no text for a terminal: name a file, or write to a pipe")
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def counted(number: int, noun: str, several: str = "") -> str:
    """Such as `1 mapping` and `2 mappings`."""
    return f"{number} {noun if number == 1 else several or f'{noun}s'}"


class Parsed(click.ParamType[T]):
    """A value that is made of text. What is wrong with it is told with the option's name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Text to a value; what is one already stays as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except UsageError as error:
            if param is not None:
                error.args = (f"{_name_of(param)}: {error}",)
            raise

    def parse(self, text: str) -> T:
        """Text to a value.

        Raises:
            UsageError: it makes no sense.
        """
        raise NotImplementedError


def _name_of(param: click.Parameter) -> str:
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return param.human_readable_name


class AddressType(Parsed[Address]):
    """An IPv6 address."""

    name = "address"

    def parse(self, text: str) -> Address:
        """Text to `Address`."""
        return parse(text)


class PrefixType(Parsed[Prefix]):
    """An IPv6 prefix, of a fixed length if one is given."""

    name = "prefix"

    def __init__(self, length: int | None = None) -> None:
        self.length = length

    def parse(self, text: str) -> Prefix:
        """Text to `Prefix`."""
        return parse_prefix(text, length=self.length)


class SecondsType(Parsed[float]):
    """A time such as `30s`, `500ms` or `1.5`, in seconds."""

    name = "time"

    def __init__(self, least: str = "0") -> None:
        self._least = least

    def parse(self, text: str) -> float:
        """Text to seconds."""
        from ilax.units import parse_seconds

        seconds = parse_seconds(text)
        if seconds < parse_seconds(self._least):
            raise UsageError(f"{text} is too short: {self._least} at least")
        return seconds


ADDRESS = AddressType()
PREFIX = PrefixType()
PREFIX_64 = PrefixType(64)
