# SPDX-License-Identifier: Apache-2.0
"""`ilax plan`, `ilax apply` and `ilax export`: one file says what the host should be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ilax.cli.context import Context, ReadingCommand, bar, pass_context
from ilax.errors import IlaxError, UsageError

if TYPE_CHECKING:
    from ilax.declared.export import Exported

# What `plan --exit-code` ends with where something is to be done.
CHANGES = 10

# Fewer endpoints are made before a bar could be read.
_BAR_FROM_ENDPOINTS = 20

# More mappings than that belong into a file of their own.
_INLINE_MAX = 1000

_prune = click.option(
    "--prune", is_flag=True, help="Also remove what the file does not declare."
)  # fmt: skip
_skip_missing = click.option(
    "--skip-missing", is_flag=True,
    help="Leave out, each with a note, what needs a network namespace or cgroup that is not there.",
)  # fmt: skip
_show = click.option(
    "--show", type=click.IntRange(0), default=20, show_default=True,
    help="Print so many mappings of each kind; all are counted.",
)  # fmt: skip


@click.command(cls=ReadingCommand)
@click.argument("file")
@_prune
@_skip_missing
@_show
@click.option("--exit-code", is_flag=True, help="End with 10 if there is something to do.")
@pass_context
def plan(
    context: Context, file: str, prune: bool, skip_missing: bool, show: int, exit_code: bool
) -> None:
    """Show what `apply` would do with a FILE ("-": standard input).

    Nothing is changed. Without --exit-code the command ends with 0 whether there
    is something to do or not. Where `apply` would be refused, it ends with the code
    that `apply` would end with; like all commands with 2 if the file is wrong.

    \b
    Example:
      ilax plan /etc/ilax/host.toml
      ilax plan --prune --exit-code /etc/ilax/host.toml || echo "drifted, or wrong"
    """
    from ilax.declared import execution, report

    planned = execution.plan(context.instance, file, prune=prune, skip_missing=skip_missing)
    lines = report.lines(planned.difference, show)
    if planned.blocked:
        planned.blocked.leave_effect_out()
    blocked = [str(planned.blocked)] if planned.blocked else []
    lines += [f"note: {note}" for note in planned.notes]
    told = report.as_json(planned.difference, show)
    told |= {"blocked": blocked, "notes": planned.notes}
    context.show(told, "\n".join(lines))
    if planned.blocked:
        click.echo(f"ilax: would be refused: {planned.blocked}", err=True)
        sys.exit(planned.blocked.exit_code)
    if exit_code and not planned.difference.empty:
        sys.exit(CHANGES)


@click.command()
@click.argument("file")
@_prune
@_skip_missing
@_show
@pass_context
def apply(context: Context, file: str, prune: bool, skip_missing: bool, show: int) -> None:
    """Make this host be what a FILE says ("-": standard input).

    The instance is brought up if it is not, and upgraded in place if settings of
    `up` differ. What stays the same is not touched. What the file does not declare
    stays, unless --prune is given. A run that was killed is completed by the next.

    With --skip-missing an endpoint waits for its network namespace and its cgroup, and
    a limit for its cgroup: what is there of them stays as it is, also with --prune, the
    rest is done, and the command ends with 0. `apply` again goes on when they are there.

    \b
    Example:
      ilax apply /etc/ilax/host.toml
      ilax apply --skip-missing /etc/ilax/host.toml
      ilax plan --prune /etc/ilax/host.toml && ilax apply --prune /etc/ilax/host.toml
    """
    from ilax.declared import execution, report

    with _progress() as progress:
        done = execution.apply(
            context.instance, file, prune=prune, skip_missing=skip_missing, progress=progress
        )
    lines = report.lines(done.difference, show)
    lines += [f"note: {note}" for note in done.notes]
    told = report.as_json(done.difference, show) | {"notes": done.notes}
    context.show(told, "\n".join(lines))


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar for many endpoints; what ends them early tells how far they came."""
    reached, steps = 0, 0
    with ExitStack() as shown:
        advance: Callable[[int], None] | None = None

        def report(done: int, of: int) -> None:
            nonlocal reached, steps, advance
            if advance is None:
                advance = shown.enter_context(bar(of, "endpoints", _BAR_FROM_ENDPOINTS))
            advance(done - reached)
            reached, steps = done, of

        try:
            yield report
        except (IlaxError, KeyboardInterrupt) as error:
            how_far = f"{reached} of {steps} endpoints were done; `apply` again goes on from there"
            if isinstance(error, KeyboardInterrupt):
                raise IlaxError(f"interrupted; {how_far}") from None
            if steps:
                error.add_note(how_far)
            raise


@click.command(cls=ReadingCommand)
@click.option(
    "--mappings", metavar="FILE",
    help="Write the mappings there (CSV, or JSON lines by its name) and name the file.",
)  # fmt: skip
@pass_context
def export(context: Context, mappings: str | None) -> None:
    """Print the live state as a file for `apply`, which would change nothing.

    FILE is named in the output as it is given here; `apply` takes a relative name
    relative to the file it reads. Without --mappings up to 1000 mappings are
    printed with the rest.

    \b
    Example:
      ilax export > host.toml
      ilax export --mappings mappings.csv > host.toml
    """
    from ilax.declared import export as exporting

    if mappings is not None and not mappings.isprintable():
        raise UsageError(f"{mappings!r} is no name for TOML; nothing was exported")
    found = exporting.export(context.instance)
    lines = list(found.lines)
    if mappings is not None:
        _write_mappings(Path(mappings), found)
        lines += found.beside(mappings)
    elif len(found.sir) > _INLINE_MAX:
        raise UsageError(
            f"{len(found.sir)} mappings are too many for one file; nothing was exported",
            hint="name another file for them: --mappings mappings.csv",
        )
    else:
        lines += found.inline()
    text = "\n".join(lines)
    context.show({"toml": f"{text}\n", "mappings": len(found.sir)}, text)


def _write_mappings(file: Path, found: Exported) -> None:
    from ilax.cli.mapping import writing
    from ilax.translation import mapping_files

    try:
        with writing(file) as stream:
            mapping_files.write_rows(
                stream, mapping_files.format_of(file.name), found.sir, found.rows
            )
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
