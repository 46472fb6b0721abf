# SPDX-License-Identifier: Apache-2.0
"""When a guard trips, and when it must not."""

from __future__ import annotations

import numpy as np
import pytest

from ilax.contract import schema
from ilax.upgrades.guards import Limits, Reading, Window, judge
from ilax.watching import counters

LIMITS = Limits()
HOOKS = {name: number for number, name in counters.hook_names().items()}
REASONS = {name: number for number, name in counters.reason_names().items()}
SHAPE = (
    schema.enum("ilax_hook")["ILAX_HOOK_COUNT"],
    schema.enum("ilax_reason")["ILAX_REASON_COUNT"],
)


def window(
    seconds: float = 5.0,
    arrived: dict[str, int] | None = None,
    misses: int = 0,
    **counted: dict[str, int],
) -> Window:
    """`counted`: packets by hook and reason."""
    packets = np.zeros(SHAPE, np.int64)
    for hook, reasons in counted.items():
        for reason, count in reasons.items():
            packets[HOOKS[hook], REASONS[reason]] = count
    return Window(seconds, packets, arrived or {}, {"ilax_uplink_in": misses})


GOOD = window(
    arrived={"in": 1100, "out": 1000},
    uplink_ingress={"send_peer": 1000, "pass_not_ours": 100},
    container={"send_forward": 990, "drop_no_mapping": 10},
)


def test_nothing_and_the_same_are_fine() -> None:
    for before in (window(), GOOD):
        for after in (window(), GOOD):
            assert judge(before, after, LIMITS) is None


@pytest.mark.parametrize(("dropped", "trips"), [(10, False), (19, False), (21, True), (1000, True)])
def test_drops_against_the_share_before(dropped: int, trips: bool) -> None:
    after = window(container={"send_forward": 1000 - dropped, "drop_no_mapping": dropped})
    found = judge(GOOD, after, LIMITS)
    assert (found is not None) == trips
    if found is not None:
        assert (found.guard, found.subject) == ("drops", "container drop_no_mapping")
        assert found.before == "1 % of packets"
        assert found.after == f"{dropped / 10:.3g} %"
        assert "guard drops: container drop_no_mapping: before 1 %" in str(found)


def test_few_packets_say_nothing() -> None:
    after = window(container={"send_forward": 40, "drop_no_mapping": 59})
    assert judge(GOOD, after, LIMITS) is None
    assert judge(GOOD, after, Limits(packets=99)) is not None
    few = window(container={"send_forward": 200, "drop_no_mapping": 9})
    assert judge(window(), few, LIMITS) is None


def test_another_reason_or_hook_has_a_share_of_its_own() -> None:
    after = window(container={"send_forward": 970, "drop_no_mapping": 10, "drop_limit": 20})
    found = judge(GOOD, after, LIMITS)
    assert found is not None
    assert found.subject == "container drop_limit"
    assert judge(GOOD, after, Limits(drop_rise=0.03)) is None


def test_errors_of_a_program() -> None:
    after = window(container={"send_forward": 100_000, "drop_bad_action": 11})
    found = judge(GOOD, after, LIMITS)
    assert found is not None
    assert (found.guard, found.subject, found.after) == (
        "errors", "container drop_bad_action", "11 packets",
    )  # fmt: skip
    assert judge(GOOD, after, Limits(errors=11)) is None
    # The old programs met as many of them.
    assert judge(after, after, LIMITS) is None


def test_runs_that_the_kernel_skipped() -> None:
    found = judge(GOOD, window(misses=1), LIMITS)
    assert found is not None
    assert (found.guard, found.after) == ("misses", "1 runs skipped")
    assert judge(GOOD, window(misses=1), Limits(misses=1)) is None


def test_no_delivery_any_more() -> None:
    """Dropped, taken for somebody else's, or swallowed without being counted."""
    for after in (
        window(1.0, {"in": 220}, uplink_ingress={"pass_not_ours": 220}),
        window(1.0, {"in": 220}),
        window(1.0, {"in": 30}),
    ):
        found = judge(GOOD, after, LIMITS)
        assert found is not None
        assert (found.guard, found.subject) == ("deliveries", "packets from the uplink")
        assert found.before == "1000 of 1100 delivered"
        assert found.after == f"0 of {after.arrived['in']}"
    found = judge(GOOD, window(1.0, {"out": 200}, container={"pass_not_ours": 200}), LIMITS)
    assert found is not None
    assert found.subject == "packets from containers"


def test_senders_that_stopped_are_no_finding() -> None:
    for after in (
        window(5.0, {"in": 100}, uplink_ingress={"pass_not_ours": 100}),
        window(5.0, {"in": 10}),
        window(5.0, {"in": 1100}, uplink_ingress={"send_peer": 1, "pass_not_ours": 1099}),
    ):
        assert judge(GOOD, after, LIMITS) is None


def test_xdp_hands_over_and_tc_delivers() -> None:
    """Packets that pass two hooks have arrived once."""
    before = window(
        arrived={"in": 100},
        xdp_ingress={"send_meta": 100},
        uplink_ingress={"send_handover": 100},
    )
    after = window(arrived={"in": 100}, xdp_ingress={"send_meta": 100})
    found = judge(before, after, LIMITS)
    assert found is not None
    assert found.before == "100 of 100 delivered"


def test_a_counter_that_was_zeroed_is_nothing_negative() -> None:
    first = np.full(SHAPE, 7, np.uint64)
    last = np.zeros(SHAPE, np.uint64)
    between = Window.between(Reading(1.0, first, {}, {}), Reading(3.0, last, {"in": 5}, {}))
    assert between.seconds == 2
    assert not between.packets.any()
    assert between.arrived == {"in": 5}
