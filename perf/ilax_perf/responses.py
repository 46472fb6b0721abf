# SPDX-License-Identifier: Apache-2.0
"""rr_*: microseconds from a request to its answer, between containers on two idle hosts.

One request of 64 bytes after the other. All ways take turns, many short ones.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from ilax_perf import pairs, programs
from ilax_perf.programs import Answers
from ilax_perf.rows import MICROSECONDS, Rows
from ilax_perf.sampling import Settings

_TAG = "ilxperfr"
_PORT = 7000
# Kind of socket, and what it adds to the names of groups.
_KINDS = {"udp": "", "tcp": "_tcp"}
_SHARES = ("p50", "p99", "p999")
# Turns for each of the run's repetitions, and the length of one.
_TURNS, _SECONDS = 2, 0.2


def measure(rows: Rows, settings: Settings) -> None:
    """Measure the ways that are asked for, with all of their rows."""
    ways = pairs.wanted(_rows_of, settings)
    if not ways:
        return
    settings.progress("rr_*: hosts are built")
    with ExitStack() as stack:
        built = stack.enter_context(pairs.built(_TAG, ways, settings.cpu))
        for pair in built.values():
            for kind in _KINDS:
                stack.enter_context(programs.server(pair.server, kind, _PORT))
        # Waking a core that sleeps takes longer than the way of a packet.
        stack.enter_context(programs.awake(built[pairs.KERNEL].server))
        turns = settings.runs * (1 if settings.quick else _TURNS)
        settings.progress(f"rr_*: {len(ways)} ways take turns, {turns} times")
        seen: dict[tuple[str, str], list[Answers]] = {
            (kind, way): [] for kind in _KINDS for way in ways
        }
        for _ in range(turns):
            for (kind, way), answers in seen.items():
                answers.append(_ask(kind, way, built[way]))
    for (kind, way), answers in seen.items():
        for share in _SHARES:
            group = f"rr_{share}{_KINDS[kind]}"
            value = statistics.median(getattr(a, share) for a in answers)
            of = None if way == pairs.KERNEL else f"{group}.{pairs.KERNEL}"
            rows.add(f"{group}.{way}", value, MICROSECONDS, of)


def _rows_of(way: str) -> list[str]:
    return [f"rr_{share}{suffix}.{way}" for suffix in _KINDS.values() for share in _SHARES]


def _ask(kind: str, way: str, pair: pairs.Pair) -> Answers:
    """Ask for a turn.

    Raises:
        RuntimeError: a request was lost, which would count as a very slow one.
    """
    questions = programs.Questions(kind, pair.address, _PORT, _SECONDS)
    with programs.client(pair.client, questions) as ask:
        answers = ask()
    if answers.answered != answers.sent:
        raise RuntimeError(f"rr_*: {way}: {answers.sent - answers.answered} requests were lost")
    return answers
