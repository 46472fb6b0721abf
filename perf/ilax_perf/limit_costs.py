# SPDX-License-Identifier: Apache-2.0
"""cost.limit_*: what a limit adds to a packet that has one.

Two sets of tables stand side by side, the same but for the limits, and the same
packets go through both in turns. Every endpoint has a limit of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from ilax.bpf import Program
from ilax_perf import objects
from ilax_perf.costs import Case, Stage, runner
from ilax_perf.population import Addresses, Population
from ilax_perf.rows import NS, Rows
from ilax_perf.sampling import Settings, medians, one_core

_XDP = "ilax_uplink_xdp"
_PASS = 2
# Of one limit: above what one core can offer, or far below it.
_GENEROUS, _MEAN = 40e9, 1e6
# As the loader chooses for a burst of 1 ms on a machine with few CPUs: 16 us.
_CHUNK = 14


@dataclass(frozen=True, slots=True)
class LimitCase:
    """One row to be, and one for the same without limits.

    Attributes:
        name: last part of both names.
        limits: how many, each with its endpoint.
        rate: of each, bits/s.
        chunk: of each; 0 = every packet is judged by itself.
        cpus: at once.
    """

    name: str
    limits: int
    rate: float = _GENEROUS
    chunk: int = _CHUNK
    cpus: int = 1

    @property
    def row(self) -> str:
        """Name of the row."""
        return f"cost.limit_{self.name}"

    @property
    def base(self) -> str:
        """Name of the row without limits."""
        return f"cost.no_limit_{self.name}"


CASES = (
    LimitCase("hot", 1),
    LimitCase("hot_no_chunk", 1, chunk=0),
    LimitCase("drop", 1, rate=_MEAN),
    LimitCase("hot_2_cpus", 1, cpus=2),
    LimitCase("no_chunk_2_cpus", 1, chunk=0, cpus=2),
    LimitCase("1k", 1000),
    LimitCase("64k", 65536),
    LimitCase("1m", 1 << 20),
)


def runnable() -> list[LimitCase]:
    """Those for which there are CPUs."""
    return [case for case in CASES if case.cpus <= len(_ALL_CPUS)]


def measure(rows: Rows, settings: Settings) -> None:
    """Measure all limit rows that are asked for."""
    for case in set(CASES).difference(runnable()):
        settings.progress(f"{case.row}: left out, too few CPUs")
    for case in runnable():
        if not settings.wanted(case.row):
            continue
        settings.progress(case.row)
        with ExitStack() as stack:
            candidates = {
                case.base: _candidate(stack, case, limited=False),
                case.row: _candidate(stack, case, limited=True),
            }
            with one_core(settings.cpu):
                result = medians(candidates, settings.runs, settings.turns)
        rows.add(case.base, result[case.base], NS)
        rows.add(case.row, result[case.row] - result[case.base], NS, case.base)


def _candidate(stack: ExitStack, case: LimitCase, *, limited: bool) -> Callable[[], float]:
    most = case.limits + 2
    # A bucket for each row, as by default; what is not used is small.
    sizes = dict.fromkeys(("ilax_limits", "ilax_backlogs", "ilax_traffic"), most)
    sizes |= {"ilax_endpoints": max(most, 65536), "ilax_mappings": 16}
    ilax = stack.enter_context(objects.shipped(sizes=sizes))
    people = Population(dict(ilax.maps), most_endpoints=case.limits, most_mappings=1)
    if limited:
        people.limits(case.limits, case.rate, case.chunk)
    keys = people.shuffled(people.endpoints(case.limits, "stack", limited=limited))
    program = ilax.programs[_XDP]
    runs = [_run(stack, case, program, keys) for _ in range(case.cpus)]
    return runs[0] if case.cpus == 1 else lambda: _at_once(runs)


def _run(
    stack: ExitStack, case: LimitCase, program: Program, keys: Addresses
) -> Callable[[], float]:
    # The first packet passes whatever the limit: it finds a saved-up burst.
    stage = Case(case.row, Stage(False, case.limits), _XDP, _PASS)
    return stack.enter_context(runner(stage, program, keys))


def _at_once(runs: list[Callable[[], float]]) -> float:
    """The slower one of several CPUs, each with its own packets."""
    cpus = sorted(_ALL_CPUS, reverse=True)[: len(runs)]
    ready = threading.Barrier(len(runs))
    times: list[float] = []

    def one(cpu: int, run: Callable[[], float]) -> None:
        os.sched_setaffinity(0, {cpu})
        ready.wait()
        times.append(run())

    threads = [threading.Thread(target=one, args=pair) for pair in zip(cpus, runs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(times)


# Before anything is bound to one core.
_ALL_CPUS = frozenset(os.sched_getaffinity(0))
