# SPDX-License-Identifier: Apache-2.0
"""Rates, packet rates and times as people write them: tc's units, exactly.

Numbers are fractions until they are whole bits, so that `1.5gbit` means what it
says. What is formatted here can be parsed again and gives the same value.
"""

from __future__ import annotations

import re
from fractions import Fraction

from ilax.errors import UsageError

_PREFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}

# bps is bytes per second, as everywhere in tc.
_RATES = {
    f"{prefix}{unit}": factor * bits
    for prefix, factor in (_PREFIXES | _BINARY).items()
    for unit, bits in (("bit", 1), ("bps", 8))
}
_PACKETS = {f"{prefix}{unit}": _PREFIXES[prefix] for prefix in "kmg" for unit in ("", "pps")} | {
    "": 1,
    "pps": 1,
}
_TIMES = {
    name: factor
    for names, factor in (
        (("s", "sec", "secs"), 10**9),
        (("ms", "msec", "msecs"), 10**6),
        (("us", "usec", "usecs"), 10**3),
        (("ns", "nsec", "nsecs"), 1),
    )
    for name in names
}

_NUMBER = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d{1,2})?)\s*([a-z]*)", re.ASCII)


def _parse(text: str, units: dict[str, int], what: str, examples: str) -> Fraction:
    found = _NUMBER.fullmatch(text.strip().lower())
    if not found or found[2] not in units:
        raise UsageError(f"{text!r} is no {what}; write it like {examples}")
    return Fraction(found[1]) * units[found[2]]


def parse_rate(text: str) -> int:
    """Bits per second. A number without a unit is bits per second.

    Raises:
        UsageError: no rate, or not above zero.
    """
    exact = _parse(text, _RATES | {"": 1}, "rate", "200mbit, 1.5gbit or 25mbps (bytes)")
    rate = round(exact)
    if rate <= 0:
        raise UsageError(f"rate {text} is not above zero")
    return rate


def parse_packets(text: str) -> Fraction:
    """Packets per second.

    Raises:
        UsageError: no packet rate, or not above zero.
    """
    packets = _parse(text, _PACKETS, "packet rate", "50k, 1.2m or 800")
    if packets <= 0:
        raise UsageError(f"packet rate {text} is not above zero")
    return packets


def parse_time(text: str) -> int:
    """Nanoseconds. Only 0 needs no unit.

    Raises:
        UsageError: no time, or a negative one.
    """
    exact = _parse(text, _TIMES | {"": 0}, "time", "500us, 1ms or 0.5ms")
    number = _NUMBER.fullmatch(text.strip().lower())
    if number and not number[2] and Fraction(number[1]):
        raise UsageError(f"time {text} has no unit; write ns, us, ms or s behind it")
    if exact < 0:
        raise UsageError(f"time {text} is negative")
    return round(exact)


def parse_seconds(text: str) -> float:
    """Seconds. A number without a unit is seconds.

    Raises:
        UsageError: no time, or a negative one.
    """
    exact = _parse(text, _TIMES | {"": 10**9}, "time", "10s, 500ms or 0.5")
    if exact < 0:
        raise UsageError(f"time {text} is negative")
    return float(exact / 10**9)


def _shortest(value: Fraction, units: list[tuple[str, int]]) -> str:
    """The number in the largest unit that is not above it, with all its digits."""
    unit, factor = next(((u, f) for u, f in units if abs(value) >= f), units[-1])
    scaled = value / factor
    digits = 0
    while digits < 12 and (scaled * 10**digits).denominator != 1:
        digits += 1
    return f"{float(scaled) if digits else int(scaled):.{digits}f}{unit}"


def format_rate(bits: int) -> str:
    """Bits per second, such as `200Mbit`."""
    units = [("Tbit", 10**12), ("Gbit", 10**9), ("Mbit", 10**6), ("kbit", 10**3), ("bit", 1)]
    return _shortest(Fraction(bits), units)


def format_packets(packets: Fraction | int) -> str:
    """Packets per second, such as `50k`."""
    return _shortest(Fraction(packets), [("g", 10**9), ("m", 10**6), ("k", 10**3), ("", 1)])


def format_time(ns: int) -> str:
    """A time, such as `1ms`."""
    if not ns:
        return "0"
    units = [("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)]
    return _shortest(Fraction(ns), units)


def about(value: float, unit: str = "") -> str:
    """A measured value with three digits, such as `12.3M`: short, and not exact."""
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g}{prefix}{unit}"
    return f"{value:.3g}{unit}"
