# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them: three digits and a unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping


def short(value: float) -> str:
    """Three digits, with a letter for thousands, millions, ..."""
    return _scaled(value, 1000, ("", " k", " M", " G", " T"))


def size(value: float) -> str:
    """Bytes for people."""
    return _scaled(value, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def rate(value: float) -> str:
    """Bits a second for people."""
    return _scaled(value, 1000, (" bit/s", " kbit/s", " Mbit/s", " Gbit/s", " Tbit/s"))


def percent(share: float) -> str:
    """A share of 1, in percent, with three digits."""
    return f"{_digits(100 * share)} %"


def duration(seconds: float) -> str:
    """Time for people."""
    for unit, least in ((" h", 3600.0), (" min", 60.0), (" s", 1.0), (" ms", 1e-3)):
        if seconds >= least:
            return f"{_digits(seconds / least)}{unit}"
    return f"{_digits(seconds * 1e6)} us"


def _scaled(value: float, step: int, units: Iterable[str]) -> str:
    *smaller, largest = units
    for unit in smaller:
        if abs(value) < step:
            return f"{_digits(value)}{unit}"
        value /= step
    return f"{_digits(value)}{largest}"


def _digits(value: float) -> str:
    """Three significant digits, never with an exponent."""
    if not value:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# By unit; "%" is for shares of 1.
IN_UNITS: Mapping[str, Callable[[float], str]] = {
    "": short,
    "s": duration,
    "B": size,
    "bit/s": rate,
    "%": percent,
}
