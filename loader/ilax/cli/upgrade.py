# SPDX-License-Identifier: Apache-2.0
"""`ilax upgrade`, `ilax rollback` and `ilax selftest`."""

from __future__ import annotations

from pathlib import Path

import click

from ilax.cli.context import Context, Parsed, ReadingCommand, SecondsType, pass_context
from ilax.errors import UsageError

_OBJECTS = click.option(
    "--objects", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER",
    help="Take objects from here; the shipped ones for names that it lacks.",
)  # fmt: skip


class ShareType(Parsed[float]):
    """A share such as `1%`, as a number from 0 to 1."""

    name = "share"

    def parse(self, text: str) -> float:
        """Text to a share."""
        try:
            share = float(text.removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not text.endswith("%") or not 0 <= share <= 1:
            raise UsageError(f"{text} is no share from 0% to 100%; nothing was changed")
        return share


@click.command()
@_OBJECTS
@click.option(
    "--soak", type=SecondsType(), default="30s", show_default=True, metavar="TIME",
    help="Watch the new programs so long; 0: not at all.",
)  # fmt: skip
@click.option(
    "--before", type=SecondsType(), default="5s", show_default=True, metavar="TIME",
    help="Watch the old programs so long, to compare; not with --soak 0.",
)  # fmt: skip
@click.option(
    "--max-drop-rise", type=ShareType(), default="1%", show_default=True, metavar="SHARE",
    help="Guard: how much the share of a hook's packets that one reason drops may rise.",
)  # fmt: skip
@click.option(
    "--min-packets", type=click.IntRange(1), default=100, show_default=True,
    help="Guard: no share of fewer packets is judged.",
)  # fmt: skip
@click.option(
    "--max-errors", type=click.IntRange(0), default=10, show_default=True,
    help="Guard: packets that may meet an error of a program.",
)  # fmt: skip
@click.option(
    "--max-misses", type=click.IntRange(0), default=0, show_default=True,
    help="Guard: runs of a program that the kernel may skip.",
)  # fmt: skip
@pass_context
def upgrade(
    context: Context,
    objects: Path | None,
    soak: float,
    before: float,
    max_drop_rise: float,
    min_packets: int,
    max_errors: int,
    max_misses: int,
) -> None:
    """Put new programs to work, and go back if they do worse.

    The instance keeps its settings and rows. The new programs pass a self test before
    anything is switched, then every hook is swapped in place, and for a while guards
    compare them with the old ones. A tripped guard brings the old programs back; the
    exit code is 10 then. No container waits for any of it.

    \b
    Guards:
      drops       a reason drops a larger share of a hook's packets than before
      errors      rewrites refused, rows not understood or changed in use
      misses      the kernel skips runs of a program
      deliveries  packets arrive and none is delivered any more

    \b
    Example:
      ilax upgrade --soak 60s
      ilax rollback
    """
    from ilax.errors import GuardError
    from ilax.upgrades import upgrade as work
    from ilax.upgrades.guards import Limits

    options = work.UpgradeOptions(
        objects=objects,
        before=before,
        soak=soak,
        limits=Limits(max_drop_rise, min_packets, max_errors, max_misses),
    )
    result = work.upgrade(context.instance, options, lambda line: click.echo(line, err=True))
    if result.trip is None:
        watched = f", watched for {result.soaked:.0f} s" if soak else ""
        done = f"instance {context.instance} upgraded: {result.hooks} hooks{watched}"
    else:
        done = f"instance {context.instance} rolled back"
    context.show(result, done)
    if result.trip is not None:
        raise GuardError(
            f"{result.trip}; the programs of before are at work again",
            hint="look at `ilax counters`, then try again; options of `ilax upgrade` set what "
            "a guard allows",
        )


@click.command()
@pass_context
def rollback(context: Context) -> None:
    """Return to the programs before the last upgrade.

    What is at work now becomes the previous set, so another rollback undoes this one.
    Exit code 3 if there is no previous set, 4 if it works on other maps.

    \b
    Example:
      ilax rollback
    """
    from ilax.upgrades import upgrade as work

    result = work.rollback(context.instance)
    context.show(result, f"instance {context.instance} rolled back: {result.hooks} hooks")


@click.command(cls=ReadingCommand)
@_OBJECTS
@pass_context
def selftest(context: Context, objects: Path | None) -> None:
    """Load the programs apart from everything and try them on a table of packets.

    Needs no instance and touches none: this tells whether ilax works on this kernel.
    Exit code 9 if the kernel refuses a program, 11 if one does not what it should.

    \b
    Example:
      ilax selftest
      ilax selftest --objects build/
    """
    from ilax.errors import SelfTestError
    from ilax.selftest import runner
    from ilax.system.kernel import require_kernel
    from ilax.system.privileges import require_capabilities

    require_kernel()
    require_capabilities("load programs")
    found = runner.results(objects)
    failed = [row for row in found if row.problem]
    lines = [f"FAILED  {row.name}: {row.problem}" for row in failed]
    lines.append(f"{len(found) - len(failed)} of {len(found)} rows passed")
    context.show(found, "\n".join(lines))
    if failed:
        raise SelfTestError(f"{len(failed)} of {len(found)} rows of the self test failed")
