# SPDX-License-Identifier: Apache-2.0
"""cost.*: nanoseconds of each shipped program over an empty one.

Nothing is sent: the kernel runs a harness (bpf/harness.bpf.c) that gives the
program another destination each time, drawn at random without repetition.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv6Address

import numpy as np

from ilax.bpf import Program
from ilax.contract.tables import index_key
from ilax_perf import objects
from ilax_perf.population import FOREIGN, LOCATOR, SIR_PREFIX, TASK, Addresses, Population
from ilax_perf.rows import NS, Rows
from ilax_perf.sampling import Settings, medians, one_core
from lab.packets import udp_frame

# Runs of one sample: 2 to 100 ms.
_REPEAT = 200_000

# That of the loopback, or tc would see frames of another station.
_NO_MAC = "00:00:00:00:00:00"

# Return values of XDP and of tc programs.
_PASS, _DROP, _REDIRECT = 2, 1, 4
_TC_NEXT, _TC_DROP, _TC_REDIRECT = 0xFFFFFFFF, 2, 7

_XDP, _TC_IN = "ilax_uplink_xdp", "ilax_uplink_in"
_TC_TASK, _TC_OUT = "ilax_from_task", "ilax_uplink_out"


@dataclass(frozen=True, slots=True)
class Stage:
    """What is in the tables.

    Attributes:
        mapped: the rows that count are those of mappings, else of endpoints.
        count: how many of them.
        delivery: of the endpoints.
    """

    mapped: bool
    count: int
    delivery: str = "stack"


@dataclass(frozen=True, slots=True)
class Case:
    """One row to be.

    Attributes:
        name: of the row.
        program: name of the shipped program.
        to: "known" (all keys of the stage), "unknown" (own locator) or "foreign".
        verdict: what the program must return.
    """

    name: str
    stage: Stage
    program: str
    verdict: int
    to: str = "known"

    @property
    def kind(self) -> str:
        """The type of the program: "xdp" or "tc"."""
        return "xdp" if self.program == _XDP else "tc"

    @property
    def base(self) -> str:
        """Name of the row with the empty program."""
        return f"cost.empty_{self.kind}"


_ONE, _1K, _64K = Stage(False, 1), Stage(False, 1000), Stage(False, 65536)
_1K_XDP = Stage(False, 1000, "xdp")
_1K_MAPPED, _64K_MAPPED, _1M_MAPPED = (Stage(True, n) for n in (1000, 65536, 1 << 20))

# In order of filling.
CASES = (
    Case("cost.xdp_hit_1", _ONE, _XDP, _PASS),
    Case("cost.tc_ingress_hit_1", _ONE, _TC_IN, _TC_REDIRECT),
    Case("cost.xdp_hit_1k", _1K, _XDP, _PASS),
    Case("cost.tc_ingress_hit_1k", _1K, _TC_IN, _TC_REDIRECT),
    Case("cost.xdp_miss", _1K, _XDP, _DROP, "unknown"),
    Case("cost.tc_ingress_miss", _1K, _TC_IN, _TC_DROP, "unknown"),
    Case("cost.xdp_foreign", _1K, _XDP, _PASS, "foreign"),
    Case("cost.tc_ingress_foreign", _1K, _TC_IN, _TC_NEXT, "foreign"),
    Case("cost.xdp_redirect_1k", _1K_XDP, _XDP, _REDIRECT),
    Case("cost.xdp_hit_64k", _64K, _XDP, _PASS),
    Case("cost.tc_ingress_hit_64k", _64K, _TC_IN, _TC_REDIRECT),
    Case("cost.tc_egress_1k", _1K_MAPPED, _TC_TASK, _TC_REDIRECT),
    Case("cost.tc_egress_foreign", _1K_MAPPED, _TC_TASK, _TC_NEXT, "foreign"),
    Case("cost.tc_uplink_egress_1k", _1K_MAPPED, _TC_OUT, _TC_REDIRECT),
    Case("cost.tc_uplink_egress_foreign", _1K_MAPPED, _TC_OUT, _TC_NEXT, "foreign"),
    Case("cost.tc_egress_64k", _64K_MAPPED, _TC_TASK, _TC_REDIRECT),
    Case("cost.tc_egress_1m", _1M_MAPPED, _TC_TASK, _TC_REDIRECT),
)


# Rows that explain another one.
_STEPS = {
    "cost.xdp_hit_1k": {
        "cost.xdp_foreign": "parsing, a lookup that finds nothing, all prefixes, counting",
        "cost.xdp_hit_1": "all of it, with everything in the nearest cache",
        "cost.xdp_redirect_1k": "without the room for metadata, with a redirect",
    }
}


def measure(rows: Rows, settings: Settings) -> None:
    """Measure all cost rows that are asked for."""
    wanted = [case for case in CASES if settings.wanted(case.name)]
    if not wanted:
        return
    with objects.shipped() as ilax, one_core(settings.cpu):
        people = Population(dict(ilax.maps))
        for stage, group in itertools.groupby(wanted, lambda case: case.stage):
            cases = list(group)
            settings.progress(", ".join(case.name for case in cases))
            _measure_stage(rows, settings, ilax.programs, cases, _keys(people, stage))
    for name in filter(rows.missed, _STEPS):
        rows.reasons[name] = [
            f"{row.value:6.1f} ns  {step}: {what}"
            for step, what in _STEPS[name].items()
            if (row := rows.get(step))
        ]


def _keys(people: Population, stage: Stage) -> dict[str, Addresses]:
    """Fill the tables; returns destinations for each `Case.to`."""
    known = (
        people.mappings(stage.count)
        if stage.mapped
        else people.endpoints(stage.count, stage.delivery)
    )
    return {
        "known": people.shuffled(known),
        "unknown": people.strangers(LOCATOR),
        "foreign": people.strangers(FOREIGN),
    }


def _measure_stage(
    rows: Rows,
    settings: Settings,
    programs: Mapping[str, Program],
    cases: list[Case],
    keys: Mapping[str, Addresses],
) -> None:
    """All cases of one stage take turns, and the empty programs with them."""
    with ExitStack() as stack:
        candidates: dict[str, Callable[[], float]] = {}
        for case in cases:
            if case.base not in candidates:
                candidates[case.base] = stack.enter_context(runner(case, None, keys[case.to]))
            candidates[case.name] = stack.enter_context(
                runner(case, programs[case.program], keys[case.to])
            )
        result = medians(candidates, settings.runs, settings.turns)
    for base in dict.fromkeys(case.base for case in cases):
        if rows.get(base) is None:
            rows.add(base, result[base], NS)
    for case in cases:
        rows.add(case.name, result[case.name] - result[case.base], NS, case.base)


@contextlib.contextmanager
def runner(case: Case, program: Program | None, keys: Addresses) -> Iterator[Callable[[], float]]:
    """A call that returns nanoseconds of one run; None stands for the empty program."""
    frame = udp_frame(
        (_NO_MAC, _NO_MAC),
        (IPv6Address(TASK.packed), IPv6Address((SIR_PREFIX.upper << 64) + 1)),
        b"\0\0",
    )
    with objects.own("harness", sizes={"perf_keys": len(keys)}) as harness:
        target = program or harness.programs[f"perf_empty_{case.kind}"]
        harness.maps[f"perf_target_{case.kind}"].update(index_key(0), index_key(target.fd))
        harness.maps["perf_keys"].update_batch(
            np.arange(len(keys), dtype="<u4").view(np.uint8).reshape(-1, 4),
            np.ascontiguousarray(keys.astype(">u8")).view(np.uint8),
        )
        harness.maps["perf_cursor"].update(index_key(0), index_key(0) + index_key(len(keys)))
        each = harness.programs[f"perf_each_{case.kind}"]
        got = each.test_run(frame).retval
        if program and got != case.verdict:
            raise RuntimeError(f"{case.name}: {case.program} returned {got}, not {case.verdict}")
        yield lambda: each.test_run(frame, repeat=_REPEAT).duration_ns
