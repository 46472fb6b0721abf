# SPDX-License-Identifier: Apache-2.0
"""conn_rate.*: TCP connections a second between containers on two hosts.

Each is opened, accepted and closed by both ends; the client has some at a time.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from ilax_perf import pairs, programs
from ilax_perf.rows import EACH_SECOND, Rows
from ilax_perf.sampling import Settings, medians

_TAG = "ilxperfq"
_PORT = 7001
_SECONDS = 0.3


def measure(rows: Rows, settings: Settings) -> None:
    """Measure the ways that are asked for."""
    ways = pairs.wanted(lambda way: [f"conn_rate.{way}"], settings)
    if not ways:
        return
    settings.progress("conn_rate.*: hosts are built")
    with ExitStack() as stack:
        built = stack.enter_context(pairs.built(_TAG, ways, settings.cpu))
        for pair in built.values():
            stack.enter_context(programs.acceptor(pair.server, _PORT))
        settings.progress(f"conn_rate.*: {len(ways)} ways take turns")
        result = medians(
            {way: partial(_rate, pair) for way, pair in built.items()},
            settings.runs,
            1 if settings.quick else 2,
            max,
        )
    for way, value in result.items():
        of = None if way == pairs.KERNEL else f"conn_rate.{pairs.KERNEL}"
        rows.add(f"conn_rate.{way}", value, EACH_SECOND, of)


def _rate(pair: pairs.Pair) -> float:
    return programs.connect(pair.client, pair.address, _PORT, _SECONDS)
