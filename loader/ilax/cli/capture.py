# SPDX-License-Identifier: Apache-2.0
"""`ilax capture`: translates captures; needs an instance only where it is asked to."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from click.core import ParameterSource

from ilax.address import Address, Prefix, parse, parse_prefix
from ilax.address import to_wire as to_wire_address
from ilax.cli.context import (
    PREFIX,
    PREFIX_64,
    Context,
    ReadingCommand,
    binary_output,
    counted,
    pass_context,
    plain,
)
from ilax.errors import AddressError, UsageError

if TYPE_CHECKING:
    from ilax.frames import Translator
    from ilax.frames.rewrite import Rewriter


@click.group()
def capture() -> None:
    """Translate the addresses inside of captures, checksums stay valid.

    Without --sir-prefix the prefixes are those of the instance that is up. With
    it no instance is needed.

    \b
    Example:
      tcpdump -i eth0 -U -w - ip6 | ilax capture to-sir - - | tcpdump -n -r -
    """


def _domain_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--typed/--untyped", default=True, show_default=True, help="Type 0: a host."),
        click.option("--cbit/--no-cbit", default=True, show_default=True, help="Wire is marked."),
        click.option("--sir-prefix", type=PREFIX_64, help="Prefix of the domain, /64."),
    ):
        command = option(command)
    return command


@capture.command("to-sir", cls=ReadingCommand)
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@_domain_options
@click.option("--locator", "locators", type=PREFIX_64, multiple=True, help="Of a host; repeat it.")
@click.option("--block", "blocks", type=PREFIX, multiple=True, help="Of all locators; repeat it.")
@pass_context
def to_sir(
    context: Context,
    source: str,
    target: str,
    sir_prefix: Prefix | None,
    cbit: bool,
    typed: bool,
    locators: tuple[Prefix, ...],
    blocks: tuple[Prefix, ...],
) -> None:
    """Wire addresses become SIR addresses, also those in packets that errors quote.

    IN is a pcap or pcapng file, OUT becomes a pcap file; "-" is a pipe. Addresses
    of hosts and all others stay as they are.

    \b
    Example:
      ilax capture to-sir uplink.pcap tasks.pcap
      ilax capture to-sir --sir-prefix 2001:db8:5a5a:1::/64 \\
              --block 2001:db8:42::/48 uplink.pcapng tasks.pcap
    """
    from ilax.frames import Translator, rewrite

    if sir_prefix is None:
        _refuse_without_prefix(bool(locators or blocks))
        with _live(context) as translator:
            _run(context, source, target, rewrite.to_sir(translator))
        return
    if not locators and not blocks:
        raise UsageError("--sir-prefix needs --block or --locator; nothing was written")
    translator = Translator((sir_prefix,), (*locators, *blocks), cbit=cbit, typed=typed)
    _run(context, source, target, rewrite.to_sir(translator))


@capture.command("to-wire", cls=ReadingCommand)
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@_domain_options
@click.option("--locator", type=PREFIX_64, help="All tasks are at this one.")
@click.option(
    "--mappings", "file", help="Where tasks are: a file as `ilax mapping import` reads it."
)
@click.option("--sources", is_flag=True, help="Source addresses, too.")
@pass_context
def to_wire(
    context: Context,
    source: str,
    target: str,
    sir_prefix: Prefix | None,
    cbit: bool,
    typed: bool,
    locator: Prefix | None,
    file: str | None,
    sources: bool,
) -> None:
    """SIR addresses become wire addresses: destinations, as the datapath does it.

    Where a task lives is said by the mappings of the instance, by --locator or by
    --mappings. Addresses without a mapping stay as they are. In a packet that an
    ICMPv6 error quotes the destination is translated, as routers see it.

    \b
    Example:
      ilax capture to-wire tasks.pcap uplink.pcap
      ilax capture to-wire --sir-prefix 2001:db8:5a5a:1::/64 \\
              --locator 2001:db8:42:7::/64 tasks.pcap uplink.pcap
    """
    from ilax.frames import Translator, rewrite

    if locator is not None and file is not None:
        raise UsageError("give either --locator or --mappings; nothing was written")
    places = None if file is None else _places(file, cbit=cbit, typed=typed)
    if sir_prefix is None:
        _refuse_without_prefix(file is not None)
        with _live(context) as translator:
            _run(context, source, target, rewrite.to_wire(translator, locator, sources=sources))
        return
    if locator is None and places is None:
        raise UsageError("--sir-prefix needs --locator or --mappings; nothing was written")
    known = {} if places is None else places
    translator = Translator((sir_prefix,), (), cbit=cbit, typed=typed, place_of=known.get)
    _run(context, source, target, rewrite.to_wire(translator, locator, sources=sources))


def _refuse_without_prefix(given: bool) -> None:
    """The live instance's rows say all of it, so what is given beside them would be lost."""
    source = click.get_current_context().get_parameter_source
    if given or any(source(name) is ParameterSource.COMMANDLINE for name in ("cbit", "typed")):
        raise UsageError(
            "prefixes, files and kinds of addresses need --sir-prefix; nothing was written",
            hint="without it all of that is the instance's",
        )


@contextlib.contextmanager
def _live(context: Context) -> Iterator[Translator]:
    from ilax.instances.instance import Instance
    from ilax.translation import domain

    with Instance.open(context.instance) as instance:
        yield domain.translator(instance)


def _places(name: str, *, cbit: bool, typed: bool) -> dict[Address, Address]:
    from ilax.translation import mapping_files

    def wire_of(sir: Address, record: dict[str, Any]) -> Address:
        if record.get("wire") or not record.get("locator"):
            return parse(str(record.get("wire", "")))
        locator = parse_prefix(str(record["locator"]), length=64)
        return to_wire_address(sir, locator.upper, cbit=cbit, typed=typed)

    found = {}
    with Path(name).open(encoding="utf-8", newline="") as stream:
        for number, record in mapping_files.records(stream, mapping_files.format_of(name)):
            try:
                sir = parse(str(record.get("sir")))
                found[sir] = wire_of(sir, record)
            except AddressError as error:
                raise AddressError(
                    f"{name}, line {number}: {error}; nothing was written"
                ) from error
    return found


def _run(context: Context, source: str, target: str, rewriter: Rewriter) -> None:
    """Translate one capture; what was read before a fault is written."""
    from ilax.frames import pcap

    if "-" not in (source, target) and _same(Path(source), Path(target)):
        raise UsageError(f"{target} is the input itself; nothing was written")
    with _input(source) as reading:
        capture = pcap.read(reading)
        with binary_output(target) as writing:
            # A reader behind a pipe wants each frame at once.
            at_once = not stat.S_ISREG(os.fstat(writing.fileno()).st_mode)
            try:
                pcap.copy(capture, writing, rewriter, flush=at_once)
            except UsageError as error:
                error.add_note(f"frames before it that were written: {rewriter.tally.frames}")
                raise
            except KeyboardInterrupt:
                pass  # ends a capture that has no end of its own
    tally = rewriter.tally
    text = (
        f"{counted(tally.frames, 'frame')}, {tally.changed} of them with "
        f"{counted(tally.addresses, 'translated address', 'translated addresses')}"
    )
    if target == "-":
        click.echo(text, err=True)
    else:
        context.show({"file": target, **plain(tally)}, text)


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


@contextlib.contextmanager
def _input(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as stream:
        yield stream
