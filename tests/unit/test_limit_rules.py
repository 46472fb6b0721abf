# SPDX-License-Identifier: Apache-2.0
"""From rates and times to costs: exact arithmetic, defaults, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilax.contract import schema
from ilax.errors import UsageError
from ilax.limiting import limit_rules
from ilax.limiting.limit_rules import MS, NONE, Rules, Wish, decide

FRAME = 1500 + 14 + 24
RATES = st.integers(3_000, 10**12)
U32 = 0xFFFFFFFF


def exact_ns(frame: int, rate: int) -> Fraction:
    """Time of a frame at a rate, by definition."""
    return Fraction(8 * frame * 10**9, rate)


def test_the_example_of_the_contract() -> None:
    rules = decide(Wish(rate=200_000_000, packets=50_000), None, FRAME)
    assert (rules.byte_cost, rules.packet_cost, rules.burst) == (2_621_440, 1_280_000, MS)


@given(RATES, st.integers(1, 65_536))
def test_a_byte_costs_its_time_at_the_rate(rate: int, size: int) -> None:
    cost = limit_rules.byte_cost(rate)
    charged = Fraction(size * cost, 64 * 1024)
    assert abs(charged - exact_ns(size, rate)) <= Fraction(size, 2 * 64 * 1024)


@given(st.fractions(Fraction(1, 4), 10**8))
def test_a_packet_costs_its_time_at_the_rate(packets: Fraction) -> None:
    cost = limit_rules.packet_cost(packets)
    assert abs(cost - 64 * 10**9 / packets) <= Fraction(1, 2)


@given(st.integers(1, 999), st.integers(3, 7))
def test_a_round_rate_reads_back_as_itself(digits: int, zeros: int) -> None:
    rate = digits * 10**zeros
    assert Rules(byte_cost=limit_rules.byte_cost(rate)).rate == rate
    packets = digits * 10 ** (zeros - 3)
    assert Rules(packet_cost=limit_rules.packet_cost(packets)).packets == packets


@given(RATES)
def test_what_reads_back_has_the_same_cost(rate: int) -> None:
    cost = limit_rules.byte_cost(rate)
    back = Rules(byte_cost=cost).rate
    assert back is not None
    assert limit_rules.byte_cost(back) == cost


@given(st.integers(0, U32), st.integers(1, 8192))
def test_a_chunk_is_the_largest_power_of_two_that_keeps_the_bound(burst: int, cpus: int) -> None:
    most = min(Fraction(20_000), Fraction(burst, 4), Fraction(500_000, cpus))
    fitting = [e for e in range(31) if 1000 <= 2**e <= most]
    assert limit_rules.chunk(burst, cpus) == max(fitting, default=0)


@given(RATES, st.integers(60, 9100))
def test_the_default_burst_lets_two_frames_pass(rate: int, frame: int) -> None:
    try:
        rules = decide(Wish(rate=rate), None, frame)
    except UsageError:
        assert exact_ns(frame, rate) > U32 - 1
        return
    assert rules.burst >= min(2 * int(exact_ns(frame, rate)), U32)
    assert rules.burst >= MS


@pytest.mark.parametrize(
    ("action", "mark", "drop"),
    [
        ("drop", MS // 2, MS),
        ("count", MS // 2, MS),
        ("mark", MS // 2, 4 * MS),
        ("tag", 0, 4 * MS),
    ],
)
def test_defaults_of_each_action(action: str, mark: int, drop: int) -> None:
    tag = 1 if action == "tag" else None
    rules = decide(Wish(rate=10**9, action=action, tag_mark=tag), None, FRAME)
    assert (rules.mark, rules.drop, rules.small) == (mark, drop, 0)


def test_a_mark_threshold_follows_a_short_drop_threshold() -> None:
    assert decide(Wish(rate=10**9, action="mark", drop=MS // 5), None, FRAME).mark == MS // 10


# --- changes -------------------------------------------------------------------


def test_what_is_not_named_stays() -> None:
    old = decide(
        Wish(rate=10**9, packets=1000, burst=5 * MS, drop=3 * MS, small=7, mark=9), None, FRAME
    )
    new = decide(Wish(rate=2 * 10**9), old, FRAME)
    assert new == replace(old, byte_cost=limit_rules.byte_cost(2 * 10**9))


def test_what_was_never_named_follows() -> None:
    old = decide(Wish(rate=10**9), None, FRAME)
    slow = decide(Wish(rate=10**6), old, FRAME)
    assert slow.burst == 2 * slow.time_of(FRAME) > MS
    assert decide(Wish(rate=10**9), slow, FRAME) == old
    marking = decide(Wish(action="mark"), old, FRAME)
    assert (marking.drop, marking.small) == (4 * MS, 0)
    assert decide(Wish(drop=MS // 2, action="mark"), old, FRAME).mark == MS // 4


def test_an_option_can_be_taken_back() -> None:
    old = decide(Wish(rate=10**9, packets=1000), None, FRAME)
    assert decide(Wish(packets=NONE), old, FRAME).packets is None
    assert decide(Wish(rate=NONE), old, FRAME).rate is None
    with pytest.raises(UsageError, match="needs a rate"):
        decide(Wish(rate=NONE, packets=NONE), old, FRAME)


def test_tags_go_with_their_action() -> None:
    tagging = decide(Wish(rate=10**9, action="tag", tag_mark=16, tag_priority=6), None, FRAME)
    assert (tagging.tag_mark, tagging.tag_priority) == (16, 6)
    dropping = decide(Wish(action="drop"), tagging, FRAME)
    assert (dropping.tag_mark, dropping.tag_priority) == (0, 0)


def test_a_mark_threshold_that_nobody_saw_is_in_nobodys_way() -> None:
    marking = decide(Wish(rate=10**9, action="mark", mark=3 * MS), None, FRAME)
    dropping = decide(Wish(action="drop", drop=2 * MS), marking, FRAME)
    assert decide(Wish(action="mark"), dropping, FRAME).mark == MS // 2
    # One that fits is kept, and one that is shown is not changed behind one's back.
    dropping = decide(Wish(action="drop"), marking, FRAME)
    assert decide(Wish(action="mark"), dropping, FRAME).mark == 3 * MS
    with pytest.raises(UsageError, match="never be reached"):
        decide(Wish(drop=MS), marking, FRAME)


# --- refusals ------------------------------------------------------------------

REFUSED = {
    "neither rate nor packets": (Wish(), "needs a rate"),
    "zero rate": (Wish(rate=0), "not above zero"),
    "negative rate": (Wish(rate=-1), "not above zero"),
    "zero packets": (Wish(packets=0), "not above zero"),
    "a rate beyond what a cost tells": (Wish(rate=5 * 10**12), "too high"),
    "packets beyond what a cost tells": (Wish(packets=10**9), "too high"),
    "a rate below what a burst can hold": (Wish(rate=2000), "does not hold one"),
    "packets below what a burst can hold": (Wish(packets=Fraction(1, 5)), "does not hold one"),
    "a burst of less than a frame": (Wish(rate=10**6, burst=MS), "12.304ms"),
    "a burst of less than a packet": (Wish(packets=100, burst=9 * MS), "10ms"),
    "a burst beyond 32 bits": (Wish(rate=10**9, burst=U32 + 1), "burst"),
    "a mark threshold beyond 32 bits": (Wish(rate=10**9, mark=U32 + 1), "mark threshold"),
    "a drop threshold beyond 32 bits": (Wish(rate=10**9, drop=U32 + 1), "drop threshold"),
    "an extra beyond 32 bits": (Wish(rate=10**9, small=U32 + 1), "small packets"),
    "marks behind drops": (Wish(rate=10**9, action="mark", mark=5 * MS), "never be reached"),
    "an unknown action": (Wish(rate=10**9, action="shape"), "'shape' is no action"),
    "a tag without action tag": (Wish(rate=10**9, tag_mark=1), "--tag-mark"),
    "a priority without action tag": (Wish(rate=10**9, tag_priority=1), "--tag-priority"),
    "action tag without a tag": (Wish(rate=10**9, action="tag"), "without a tag"),
    "a tag beyond 32 bits": (Wish(rate=10**9, action="tag", tag_mark=1 << 32), "32 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused_with_the_reason(name: str) -> None:
    wish, words = REFUSED[name]
    with pytest.raises(UsageError, match=words) as refused:
        decide(wish, None, FRAME)
    assert "nothing was changed" in str(refused.value)


def test_the_shortest_burst_is_one_frame() -> None:
    needed = Rules(byte_cost=limit_rules.byte_cost(10**6)).time_of(FRAME)
    assert needed == 12_304_000
    assert decide(Wish(rate=10**6, burst=needed), None, FRAME).burst == needed
    with pytest.raises(UsageError):
        decide(Wish(rate=10**6, burst=needed - 1), None, FRAME)


@given(RATES, st.sampled_from(["drop", "mark", "count"]), st.integers(1, 64))
def test_a_row_holds_the_rules(rate: int, action: str, cpus: int) -> None:
    rules = decide(Wish(rate=rate, action=action), None, 100)
    row = np.zeros(1, schema.dtype("ilax_limit"))[0]
    limit_rules.fill(row, rules, cpus)
    assert limit_rules.from_row(row) == rules
    assert row["chunk"] == limit_rules.chunk(rules.burst, cpus)
