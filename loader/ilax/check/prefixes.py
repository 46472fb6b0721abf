# SPDX-License-Identifier: Apache-2.0
"""The table of prefixes: whether it is one table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ilax import fabric, others
from ilax.check import restore
from ilax.check.model import Finding, Needs, Remedy, Severity, check, kind
from ilax.check.view import View

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
