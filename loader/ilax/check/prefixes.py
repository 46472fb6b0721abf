# SPDX-License-Identifier: Apache-2.0
"""The table of prefixes: whether it is one table, and makes sense."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ilax import fabric, others, prefix_rows
from ilax.check import restore
from ilax.check.model import Finding, Needs, Remedy, Severity, check, kind
from ilax.check.view import View
from ilax.errors import ConflictError

UNFINISHED = kind(
    "prefixes.unfinished", Severity.WARNING,
    "an `up` was killed while it wrote prefixes: each address is what the old ones say or what "
    "the new ones say", Remedy.STEP,
)  # fmt: skip
SHARED = kind(
    "prefixes.shared", Severity.ERROR,
    "another instance of this network namespace serves the same prefix: one of them loses its "
    "packets",
)  # fmt: skip
BAD = kind(
    "prefixes.bad", Severity.ERROR,
    "a row of prefixes that contradicts others, or says nothing; whoever wrote it does not keep "
    "the contract",
)  # fmt: skip


@check(Needs.HOME)
def table(view: View) -> Iterator[Finding]:
    """No rows of another table lie behind, or between, those that count."""
    if fabric.is_whole(view.instance):
        return
    known = view.fabric
    wanted = [*known.locators, *known.sir_prefixes, *known.blocks]
    yield UNFINISHED.found(
        "ilax_prefixes",
        seen="rows of more than one table",
        expected=", ".join(map(str, wanted)),
        command=view.command("check --fix"),
        step=partial(fabric.complete, view.instance),
    )


@check(Needs.HOME)
def alone(view: View) -> Iterator[Finding]:
    """No other instance here serves what this one does."""
    flags = {"SIR prefix": "--sir-prefix", "locator": "--locator"}
    for other in others.at_work(view.name):
        for what, prefix in others.shared_prefixes(other, view.fabric):
            option = f"{flags[what]} {prefix}"
            yield SHARED.found(
                prefix,
                seen=f"a {what} of instance {other.name}, too",
                expected="one instance for each",
                command=restore.command(view).replace(option, f"{flags[what]} PREFIX"),
            )


@check(Needs.MAPS)
def rows(view: View) -> Iterator[Finding]:
    """Each row makes sense beside the others, and is asked."""
    found = list(view.prefixes.bad)
    strange = {bad.index for bad in found}
    if fabric.is_whole(view.instance):
        found += [bad for bad in _never_asked(view) if bad.index not in strange]
    for bad in found:
        yield BAD.found(
            f"row {bad.index} of ilax_prefixes",
            seen=f"{bad.text}: {bad.problem}",
            expected="the prefixes of one fabric, longer ones first",
            command=_write_anew(view),
        )


def _never_asked(view: View) -> Iterator[fabric.BadRow]:
    """Rows whose addresses one of another kind takes, since it stands before them."""
    table = prefix_rows.until_end(fabric.read_rows(view.instance))
    for index, row in enumerate(table):
        for earlier in table[:index]:
            within = row.mask & earlier.mask == earlier.mask
            if within and row.prefix & earlier.mask == earlier.prefix and row.kind != earlier.kind:
                words = fabric.row_words(earlier)
                yield fabric.BadRow(index, fabric.row_words(row), f"{words} stands before it")
                break


def _write_anew(view: View) -> str:
    """The command that leaves only what makes sense."""
    up = restore.command(view)
    try:
        if view.known is not None:
            fabric.check_fits(view.instance, view.known)
    except ConflictError:
        return f"{view.command('down')} && {up}"
    return up
