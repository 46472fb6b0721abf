# SPDX-License-Identifier: Apache-2.0
"""Units are tc's, exact, and come back as they went."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilax import units
from ilax.errors import UsageError

# As `tc class add ... rate X` understands them, in bit/s.
RATES = {
    "1": 1,
    "1bit": 1,
    "56kbit": 56_000,
    "200mbit": 200_000_000,
    "200Mbit": 200_000_000,
    "1.5gbit": 1_500_000_000,
    "0.001tbit": 1_000_000_000,
    "1kibit": 1024,
    "1mibit": 1 << 20,
    "1Gibit": 1 << 30,
    "1tibit": 1 << 40,
    "1bps": 8,
    "25mbps": 200_000_000,
    "1kibps": 8192,
    ".5kbit": 500,
    " 3 mbit ": 3_000_000,
    "1e3kbit": 1_000_000,
}
PACKETS = {"800": 800, "50k": 50_000, "1.2M": 1_200_000, "1g": 10**9, "50kpps": 50_000, "7pps": 7}
TIMES = {
    "0": 0,
    "1ns": 1,
    "1us": 1000,
    "0.5ms": 500_000,
    "1ms": 1_000_000,
    "2s": 2 * 10**9,
    "1msec": 1_000_000,
    "3secs": 3 * 10**9,
    "0.4ns": 0,
}


@pytest.mark.parametrize(("text", "bits"), RATES.items())
def test_rates(text: str, bits: int) -> None:
    assert units.parse_rate(text) == bits


@pytest.mark.parametrize(("text", "packets"), PACKETS.items())
def test_packets(text: str, packets: int) -> None:
    assert units.parse_packets(text) == packets


@pytest.mark.parametrize(("text", "ns"), TIMES.items())
def test_times(text: str, ns: int) -> None:
    assert units.parse_time(text) == ns


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (units.parse_rate, "0", "not above zero"),
        (units.parse_rate, "0mbit", "not above zero"),
        (units.parse_rate, "-5mbit", "not above zero"),
        (units.parse_rate, "0.1bit", "not above zero"),
        (units.parse_rate, "fast", "no rate"),
        (units.parse_rate, "", "no rate"),
        (units.parse_rate, "5mb", "no rate"),
        (units.parse_rate, "5m", "no rate"),
        (units.parse_rate, "1,5gbit", "no rate"),
        (units.parse_rate, "nan", "no rate"),
        (units.parse_rate, "1e999gbit", "no rate"),
        (units.parse_rate, "\u0665mbit", "no rate"),
        (units.parse_packets, "0", "not above zero"),
        (units.parse_packets, "-1k", "not above zero"),
        (units.parse_packets, "5kbit", "no packet rate"),
        (units.parse_packets, "inf", "no packet rate"),
        (units.parse_time, "5", "no unit"),
        (units.parse_time, "-1ms", "negative"),
        (units.parse_time, "1m", "no time"),
        (units.parse_time, "1 ms 2", "no time"),
    ],
)
def test_nonsense_is_refused_with_the_reason(parse: object, text: str, words: str) -> None:
    assert callable(parse)
    with pytest.raises(UsageError, match=words):
        parse(text)


@given(st.integers(1, 10**14))
def test_a_rate_that_is_shown_can_be_typed_in(bits: int) -> None:
    assert units.parse_rate(units.format_rate(bits)) == bits


@given(st.integers(1, 10**10))
def test_packets_that_are_shown_can_be_typed_in(packets: int) -> None:
    assert units.parse_packets(units.format_packets(packets)) == packets


@given(st.integers(0, 1 << 33))
def test_a_time_that_is_shown_can_be_typed_in(ns: int) -> None:
    assert units.parse_time(units.format_time(ns)) == ns


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (units.format_rate(200_000_000), "200Mbit"),
        (units.format_rate(1_234_567), "1.234567Mbit"),
        (units.format_rate(999), "999bit"),
        (units.format_packets(50_000), "50k"),
        (units.format_packets(Fraction(1, 2)), "0.5"),
        (units.format_time(12_304_000), "12.304ms"),
        (units.format_time(0), "0"),
        (units.about(0), "0"),
        (units.about(12_345_678, "bit"), "12.3Mbit"),
        (units.about(999.96), "1k"),
        (units.about(0.25), "0.25"),
    ],
)
def test_short_forms(shown: str, text: str) -> None:
    assert shown == text
