# SPDX-License-Identifier: Apache-2.0
"""Limits: what `ilax limit gc` would mend."""

from __future__ import annotations

from collections.abc import Iterator

from ilax.check.model import Finding, Kind, Needs, Remedy, Severity, check, kind
from ilax.check.view import View
from ilax.hooks import cgroup_attach
from ilax.instances.instance import Instance
from ilax.limiting import limit_rules, limits_gc
from ilax.limiting.limit_book import slots_by_cgroup

# "a CPU borrows 2^chunk ns of the rate at a time, 0..30"
_CHUNK_MAX = 30

BAD_ROW = kind(
    "limit.bad-row", Severity.WARNING,
    "a row of ilax_cgroups that names no slot, or the one of another cgroup; whoever wrote it does "
    "not keep the contract", Remedy.LIMITS,
)  # fmt: skip
BAD_RULES = kind(
    "limit.bad-rules", Severity.ERROR,
    "a limit with an action or a chunk that the contract does not know; whoever wrote it does not "
    "keep it",
)  # fmt: skip
DEAD = kind(
    "limit.dead-cgroup", Severity.WARNING, "the row of a cgroup that is gone", Remedy.LIMITS
)
UNUSED = kind(
    "limit.unused", Severity.WARNING, "a row without limits that no endpoint names", Remedy.LIMITS
)
LOST = kind(
    "limit.lost-endpoint", Severity.ERROR,
    "an endpoint names a slot that is nobody's: another's limit may soon count for it",
    Remedy.LIMITS,
)  # fmt: skip
NEEDLESS = kind(
    "limit.needless-program", Severity.WARNING,
    "a program at a cgroup without a limit: it costs, or charges twice", Remedy.LIMITS,
)  # fmt: skip
NO_PROGRAM = kind(
    "limit.no-program", Severity.ERROR,
    "a limit is not kept: its program is not attached, or charges another limit", Remedy.LIMITS,
)  # fmt: skip
PARENTS = kind(
    "limit.parents", Severity.ERROR, "a limit charges other parents than it should", Remedy.LIMITS
)


@check(Needs.HOME, unlocked=True)
def limits(view: View) -> Iterator[Finding]:
    """Everything that serves nobody, or is half done."""
    if not (
        view.instance.cgroups.count()
        or cgroup_attach.pinned(view.pins)
        or any(endpoint.limit for endpoint in view.endpoints)
    ):
        return  # The host may have no hierarchy of cgroups of version 2.
    would = limits_gc.collect(view.instance, dry_run=True)

    def found(of: Kind, subject: object, seen: str, expected: str) -> Finding:
        return of.found(subject, seen=seen, expected=expected, command=view.command("limit gc"))

    for number in would.strays:
        yield found(BAD_ROW, f"cgroup {number}", "a slot that is not its own", "a slot of its own")
    for row in would.removed:
        users = f", named by {', '.join(map(str, row.endpoints))}" if row.endpoints else ""
        yield found(
            DEAD, f"cgroup {row.cgroup}", f"slot {row.slot}{users}", "no row: there is no cgroup"
        )
    for name in would.unused:
        yield found(UNUSED, f"cgroup {name}", "a row without costs or users", "no row")
    for sir in would.endpoints:
        yield found(LOST, sir, "a slot without a cgroup", "no limit")
    for number in would.detached:
        yield found(NEEDLESS, f"cgroup {number}", "a link", "none")
    for name in would.attached:
        yield found(NO_PROGRAM, f"cgroup {name}", "no program that charges it", "the program")
    for name in would.rewritten:
        yield found(PARENTS, f"cgroup {name}", "another chain of parents, or flags", "the tree's")


@check(Needs.HOME)
def rules(view: View) -> Iterator[Finding]:
    """Each limit says what the contract knows."""
    rows = view.instance.limits.rows()[1]
    known = limit_rules.actions().values()
    for cgroup, slot in slots_by_cgroup(view.instance).items():
        action, chunk = (int(rows[slot][name]) for name in ("action", "chunk"))
        if chunk <= _CHUNK_MAX and (action in known or view.instance.newer):
            continue
        yield BAD_RULES.found(
            f"cgroup {cgroup}",
            seen=f"action {action}, chunk {chunk}",
            expected=f"an action up to {max(known)}, a chunk up to {_CHUNK_MAX}",
            command=view.command(f"limit set {cgroup} --action drop"),
        )


def collect(name: str) -> None:
    """Mend all of it, as it is by now.

    Raises:
        IlaxError: the instance was taken down meanwhile, or as `limits_gc.collect`.
    """
    with Instance.open(name) as instance:
        limits_gc.collect(instance)
