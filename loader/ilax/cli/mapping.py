# SPDX-License-Identifier: Apache-2.0
"""`ilax mapping`."""

from __future__ import annotations

import errno
import io
import itertools
import os
import stat
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TextIO

import click

from ilax.address import Address, Prefix
from ilax.cli.context import ADDRESS, PREFIX_64, Context, ReadingCommand, bar, counted, pass_context
from ilax.errors import NotFoundError, UsageError
from ilax.system import files

# Fewer rows are written before a bar could be read.
_BAR_FROM_ROWS = 100_000


@click.group()
def mapping() -> None:
    """Where every SIR address lives now.

    \b
    Example:
      ilax mapping add 2001:db8:5a5a:1:2000::9 --locator 2001:db8:42:8::/64
      ilax mapping export - | head
    """


@mapping.command("add")
@click.argument("sir", type=ADDRESS)
@click.option("--wire", type=ADDRESS, help="Its wire address.")
@click.option("--locator", type=PREFIX_64, help="Or: the locator of the host it lives on.")
@pass_context
def add(context: Context, sir: Address, wire: Address | None, locator: Prefix | None) -> None:
    """Write one mapping, or move it.

    \b
    Example:
      ilax mapping add 2001:db8:5a5a:1:2000::9 --locator 2001:db8:42:8::/64
    """
    from ilax.instances.instance import Instance
    from ilax.translation import fabric, mappings

    with Instance.open(context.instance) as instance:
        added = mappings.add(instance, sir, wire=wire, locator=locator)
        doubt = fabric.read(instance).doubt(Prefix(added.wire.prefix))
    context.show(added, f"mapping {added.sir} -> {added.wire} ({added.action})")
    if doubt:
        click.echo(f"note: {doubt}", err=True)


@mapping.command("del")
@click.argument("sir", type=ADDRESS)
@pass_context
def delete(context: Context, sir: Address) -> None:
    """Remove one mapping: packets to it are dropped from then on.

    \b
    Example:
      ilax mapping del 2001:db8:5a5a:1:2000::9
    """
    from ilax.instances.instance import Instance
    from ilax.translation import mappings

    with Instance.open(context.instance) as instance:
        if not mappings.delete(instance, sir):
            raise NotFoundError(f"no mapping of {sir}; nothing was changed")
    context.show({"sir": str(sir)}, f"mapping of {sir} removed")


@mapping.command("list", cls=ReadingCommand)
@click.option("--limit", type=click.IntRange(1), help="Show this many rows only.")
@pass_context
def list_all(context: Context, limit: int | None) -> None:
    """List the mappings, in the order of their addresses.

    With --json every row is one line; `export` writes files.

    \b
    Example:
      ilax mapping list --limit 20
    """
    from ilax.instances.instance import Instance
    from ilax.translation import mapping_files, mappings

    with Instance.open(context.instance) as instance:
        all_sir, all_rows = mappings.read_all(instance)
    chosen = all_sir[:limit], all_rows[:limit]
    if context.as_json:
        mapping_files.write_rows(sys.stdout, "jsonl", *chosen)
    else:
        for sir, wire, action, generation in itertools.chain(
            [mapping_files.EXPORT_COLUMNS], mapping_files.columns(*chosen)
        ):
            sys.stdout.write(f"{sir:40} {wire:40} {action:8} {generation:>10}\n")
    # Here and not at the end of the process, where a full disk would be no error.
    sys.stdout.flush()


@mapping.command("import")
@click.argument("file")
@click.option(
    "--format", "file_format", type=click.Choice(["csv", "jsonl"]), help="Default: by name."
)
@pass_context
def import_file(context: Context, file: str, file_format: str | None) -> None:
    """Write the mappings of a FILE ("-": standard input).

    CSV with the header `sir,wire` or `sir,locator`, or one JSON object a line
    with those names. The whole file is checked before the first row is written; an
    address may stand there twice if both say the same.

    \b
    Example:
      ilax mapping import mappings.csv
    """
    from ilax.instances.instance import Instance
    from ilax.translation import mapping_files

    chosen = file_format or mapping_files.format_of(file)
    with (
        Instance.open(context.instance) as instance,
        bar(_count_lines(file), "importing", _BAR_FROM_ROWS) as advance,
        closing(_lines(file)) as lines,
    ):
        try:
            rows = mapping_files.load(instance, lines, chosen, advance)
        except UsageError as error:
            name = _name(file)
            if name not in str(error):
                error.args = (f"{name}: {error}",)
            raise
    context.show({"rows": rows}, f"{counted(rows, 'mapping')} written")


@mapping.command("export", cls=ReadingCommand)
@click.argument("file")
@click.option(
    "--format", "file_format", type=click.Choice(["csv", "jsonl"]), help="Default: by name."
)
@pass_context
def export_file(context: Context, file: str, file_format: str | None) -> None:
    """Write all mappings to a FILE ("-": standard output; JSON lines with --json).

    \b
    Example:
      ilax mapping export mappings.jsonl
    """
    from ilax.instances.instance import Instance
    from ilax.translation import mapping_files

    to_output = file == "-"
    chosen = file_format or ("jsonl" if to_output and context.as_json else None)
    chosen = chosen or mapping_files.format_of(file)
    with Instance.open(context.instance) as instance:
        if to_output:
            mapping_files.dump(instance, sys.stdout, chosen)
            sys.stdout.flush()
            return
        try:
            with writing(Path(file)) as stream:
                rows = mapping_files.dump(instance, stream, chosen)
        except OSError as error:
            raise UsageError(f"cannot write {file}: {error.strerror}") from error
    context.show({"rows": rows}, f"{counted(rows, 'mapping')} exported to {file}")


def _lines(file: str) -> Generator[str, None, None]:
    """The lines of a file. Only reading them is its matter, not what becomes of them.

    Raises:
        UsageError: names the file.
    """
    try:
        with _text(file) as stream:
            for line in stream:  # noqa: UP028 - `yield from` closes standard input as well
                yield line
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; nothing was written") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{_name(file)} is no UTF-8 text; nothing was written") from error


def _name(file: str) -> str:
    return "standard input" if file == "-" else file


@contextmanager
def _text(file: str) -> Iterator[TextIO]:
    # Whatever the locale says: the format is UTF-8.
    if file != "-":
        with Path(file).open(encoding="utf-8-sig", newline="") as stream:
            yield stream
        return
    stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
    try:
        yield stream
    finally:
        stream.detach()


@contextmanager
def writing(file: Path) -> Iterator[TextIO]:
    """A file that appears when it is complete: a full disk must not cost the old one."""
    if file.exists() and not file.is_file():
        # A device or a pipe cannot be replaced, only written to.
        with file.open("w", encoding="utf-8") as stream:
            yield stream
        return
    with files.replacing(_behind_link(file)) as stream:
        yield stream


def _behind_link(file: Path) -> Path:
    """The file that is meant, if a link leads to it; not if anybody may have put the link there.

    As the kernel judges where `fs.protected_symlinks` is set, but this opens nothing.
    """
    if not file.is_symlink():
        return file
    owner, folder = file.lstat().st_uid, file.parent.stat()
    shared = stat.S_ISVTX | stat.S_IWOTH
    if folder.st_mode & shared == shared and owner not in (os.geteuid(), folder.st_uid):
        raise PermissionError(errno.EACCES, f"it is a link of user {owner}, in a folder of all")
    return file.resolve()


def _count_lines(file: str) -> int:
    if file == "-" or not Path(file).is_file():
        return 0
    # Whoever reads the rows says why that cannot be done.
    with suppress(OSError), Path(file).open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    return 0
