# SPDX-License-Identifier: Apache-2.0
"""The screen of `ilax top` at the widths that terminals have."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from ilax.address import parse
from ilax.cli.top_tables import screen
from ilax.watching.rate_rows import EndpointRates, LimitRates, ReasonRates, View

ENDPOINTS = [f"2001:db8:5a5a:1:2000:0:1:{number:x}" for number in range(0xB0, 0xC0)]
CGROUPS = [f"machine.slice/container-of-a-long-name-{number:02}.scope" for number in range(4)]
REASONS = ["drop_unknown_identifier", "drop_no_mapping", "send_peer"]
CURVE = "▁▂▃▄▅▆▇█"


def shown(width: int) -> list[str]:
    """Lines of a screen with busy endpoints, limits and reasons."""
    history = [float(number) for number in range(1, 41)]
    view = View(
        instance="default", time=0, seconds=1, order="rate",
        endpoint_count=len(ENDPOINTS), limit_count=len(CGROUPS),
        rx_bps=1.23e9, rx_pps=1.23e6, tx_bps=1.23e9, tx_pps=1.23e6, drops_pps=123,
        rx_history=history, drops_history=history,
        endpoints=[
            EndpointRates(
                parse(sir), "iltask12", 123.4e6, 123.4e3, 123.4e6, 123.4e3, 12.3, None, history
            )
            for sir in ENDPOINTS
        ],
        limits=[
            LimitRates(
                name, 200_000_000, 50_000, 0.93, 123.4e6, 12.3e3, 1.23, 123.4, 1_230_000, history
            )
            for name in CGROUPS
        ],
        reasons=[
            ReasonRates("uplink_ingress", name, "drop", 123.4, 123.4e3, 123_456_789, history)
            for name in REASONS
        ],
    )  # fmt: skip
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    console = Console(file=stream, width=width, height=50, force_terminal=False)
    console.print(screen(view, console))
    stream.seek(0)
    return stream.read().splitlines()


def rows(lines: list[str], title: str) -> list[str]:
    """The rows of the table below a title."""
    start = next(i for i, line in enumerate(lines) if line.lstrip().startswith(title))
    end = next(i for i in range(start, len(lines)) if not lines[i].strip())
    return lines[start + 1 : end]


def whose_rows(width: int) -> Iterator[list[tuple[str, list[str]]]]:
    """The rows of each table, as what they are about and their numbers."""
    lines = shown(width)
    assert max(map(len, lines)) <= width
    for title, names in (("ENDPOINT", ENDPOINTS), ("LIMIT", CGROUPS), ("REASON", REASONS)):
        found = [(first, rest) for first, *rest in map(str.split, rows(lines, title))]
        for (first, _), name in zip(found, names, strict=True):
            assert first == name or (first[0] == "…" and name.endswith(first[1:]))
            assert len(first) >= min(len(name), 8)
        yield found


@pytest.mark.parametrize("width", [60, 70, 80, 90, 100, 120, 160, 200])
def test_every_row_says_whose_it_is(width: int) -> None:
    for found in whose_rows(width):
        assert len({first for first, _ in found}) == len(found)


@pytest.mark.parametrize("width", [24, 30, 40, 50])
def test_a_very_narrow_screen_leaves_numbers_out_and_names_in(width: int) -> None:
    for found in whose_rows(width):
        for _, numbers in found:
            assert numbers
            assert not any("…" in number for number in numbers)


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_an_address_is_whole_from_80_columns_on(width: int) -> None:
    assert [line.split()[0] for line in rows(shown(width), "ENDPOINT")] == ENDPOINTS


@pytest.mark.parametrize(("width", "seen"), [(60, False), (80, False), (120, True), (200, True)])
def test_a_curve_takes_what_the_rest_leaves(width: int, seen: bool) -> None:
    for line in rows(shown(width), "ENDPOINT"):
        assert bool(set(CURVE) & set(line)) == seen


@pytest.mark.parametrize("width", [60, 80, 120])
def test_numbers_are_never_cut(width: int) -> None:
    for line in rows(shown(width), "ENDPOINT"):
        numbers = [word for word in line.split() if set(word) <= set("0123456789.kMG")]
        assert numbers == ["123M", "123k", "123M", "123k", "12.3"]
