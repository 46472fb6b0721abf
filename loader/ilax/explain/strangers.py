# SPDX-License-Identifier: Apache-2.0
"""Programs at a tc hook that are not this instance's: named in order, and not run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.bpf.link import tcx_programs_on
from ilax.bpf.program import in_words
from ilax.hooks import clsact

if TYPE_CHECKING:
    from ilax.hooks.places import Hook
    from ilax.system.netlink import Network


@dataclass(frozen=True, slots=True)
class Strangers:
    """Sentences about what runs around our program.

    Attributes:
        before: each of them decides about a packet before ours sees it.
        behind: each of them sees what ours and those in between pass on.
    """

    before: tuple[str, ...]
    behind: tuple[str, ...]


def around(network: Network, hook: Hook, number: int) -> Strangers:
    """What runs before and behind our program at a hook.

    Args:
        number: of our program there.
    """
    order = tcx_programs_on(hook.ifindex, hook.direction)
    filters = clsact.filters(network, hook)
    programs = [f"program {in_words(n)} by tcx" for n in order]
    names = [f"filter {f.name} with preference {f.preference}" for f in filters]
    # All filters of clsact run behind all of tcx.
    if number in order:
        at = order.index(number)
        before, behind = programs[:at], programs[at + 1 :] + names
    else:
        ours = min((f.preference for f in filters if f.ours), default=0)
        pairs = [pair for pair in zip(names, filters, strict=True) if not pair[1].ours]
        before = programs + [name for name, f in pairs if f.preference < ours]
        behind = [name for name, f in pairs if f.preference >= ours]
    return Strangers(
        tuple(f"{one} comes first and is not run here" for one in before),
        tuple(f"{one} comes next and is not run here" for one in behind),
    )
