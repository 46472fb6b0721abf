# SPDX-License-Identifier: Apache-2.0
"""What was found, without numbers that only the kernel understands."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ilax.trace.histogram import Histogram
    from ilax.trace.probes import Gap, Part

# Values of XDP programs, enum xdp_action.
ACTIONS = ("ABORTED", "DROP", "PASS", "TX", "REDIRECT")
# Verdicts of tc programs, which their owners count: ours as well.
OF_TC = ("TC_INGRESS", "TC_EGRESS")


@dataclass(frozen=True, slots=True)
class Way:
    """Times from the uplink into the stack of one endpoint.

    Attributes:
        endpoint: SIR address.
        device: host-side interface.
        path: "stack", delivered by tc, or "xdp", redirected by XDP.
    """

    endpoint: str
    device: str
    path: str
    latency: Histogram


@dataclass(frozen=True, slots=True)
class XdpException:
    """Packets that XDP lost: by the program's own wish, or what it wished was impossible.

    Attributes:
        action: such as "ABORTED"; "unknown 77" for a number that is no action.
        program: name of the program, as far as the kernel keeps it (15 letters).
        program_id: its number.
    """

    device: str
    action: str
    program: str
    program_id: int
    packets: int


@dataclass(frozen=True, slots=True)
class RedirectError:
    """Frames that XDP redirected in vain.

    Attributes:
        source: interface that they came from.
        target: interface, or key of a map and the number of that map.
        step: "redirect", refused at once, or "transmit", refused by the device.
        error: name of the errno; "FULL" where the device took a part of what it was
            offered and named no error: its ring has no more room.
    """

    source: str
    target: str
    step: str
    error: str
    packets: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Packets that the kernel dropped.

    Attributes:
        endpoint: SIR address that they were for; None where it was none of ours.
        device: interface that they were at; "" inside of another namespace.
        reason: the kernel's word for it; NOT_SPECIFIED says nothing.
        function: of the kernel, that dropped them.
        by_tc: a program of tc wanted it. `ilax counters` has those of ours by reason.
    """

    endpoint: str | None
    device: str
    reason: str
    function: str
    by_tc: bool
    packets: int


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found.

    Attributes:
        seconds: how long probes were attached.
        uplinks: interfaces at which packets were timed.
        endpoints: how many were watched.
        watched: what was looked for; where nothing is told of it, there was nothing.
        gaps: what was asked for and cannot be told.
        untold: counts that found no room in a table.
    """

    instance: str
    seconds: float
    uplinks: list[str]
    endpoints: int
    watched: list[Part]
    ways: list[Way]
    exceptions: list[XdpException]
    redirects: list[RedirectError]
    drops: list[Drop]
    gaps: list[Gap]
    untold: int


def action_name(number: int) -> str:
    """Of what an XDP program has returned."""
    return ACTIONS[number] if number < len(ACTIONS) else f"unknown {number}"


def error_name(number: int) -> str:
    """Of a negative errno, or of 0."""
    if -number == errno.EOPNOTSUPP:
        return "EOPNOTSUPP"  # the kernel's word; Python prefers ENOTSUP, of the same number
    return errno.errorcode.get(-number, str(number)) if number else "FULL"
