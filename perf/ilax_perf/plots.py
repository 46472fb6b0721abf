# SPDX-License-Identifier: Apache-2.0
"""Pictures of the results, for people who have read nothing else.

    ilax-perf plots build/bench.json docs/perf

draws what bench.json holds; `make bench` does the same. The same numbers give the
same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilax_perf import report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID = "#22303c", "#6b7885", "#e3e7ea"
OURS, OPEN, PEERS = "#0072b2", "#d55e00", "#8a9299"
# Distinct for the colour-blind, too (Okabe and Ito).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")

Values = Mapping[str, float]


@dataclass(frozen=True)
class Bench:
    """Numbers by row, and a line about where they come from."""

    values: Values
    machine: str

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Bench:
        """From the content of bench.json."""
        where = f"{content['machine']}, {content['cpus']} CPUs, Linux {content['kernel']}"
        return cls({row["name"]: row["value"] for row in content["rows"]}, where)


def draw(content: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw all pictures whose rows are there, as SVG.

    Returns:
        The files.
    """
    from ilax_perf import plot_conformance, plot_isolation, plot_rates, plot_tables, plot_tcp

    set_style()
    bench = Bench.of(content)
    pictures: dict[str, Callable[[Bench], Figure | None]] = {
        "rates": plot_rates.figure,
        "tables": plot_tables.figure,
        "isolation": plot_isolation.figure,
        "conformance": plot_conformance.figure,
        "tcp_under_limit": plot_tcp.figure,
    }
    drawn = []
    for name, make in pictures.items():
        figure = make(bench)
        if figure is None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}.svg"
        figure.savefig(file, metadata={"Date": None, "Creator": None})
        drawn.append(file)
    return drawn


def set_style() -> None:
    """Make all figures of this process look alike."""
    import matplotlib

    matplotlib.use("agg")
    for key, value in _STYLE.items():
        matplotlib.rcParams[key] = value  # type: ignore[index]


_STYLE: dict[str, Any] = {
    "svg.hashsalt": "ilax",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "figure.facecolor": "white",
}


def page(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def words(figure: Figure, title: str, text: str, footer: str) -> None:
    """Title, what it shows, and where it was measured."""
    inches = figure.get_figheight()
    figure.text(0.02, 1 - 0.32 / inches, title, size=15, weight="bold", va="center")
    figure.text(0.02, 1 - 0.62 / inches, text, size=9.5, color=FAINT, va="top", linespacing=1.45)
    figure.text(0.02, 0.14 / inches, footer, size=7.5, color=FAINT, va="bottom")


def plain_log(axes: Axes, ticks: list[float]) -> None:
    """A logarithmic axis with numbers as people write them."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{tick:,.0f}" for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())


def main(words: Sequence[str]) -> int:
    """`ilax-perf plots`."""
    parser = argparse.ArgumentParser(
        prog="ilax-perf plots",
        description="Draw the pictures whose rows a result has, as SVG and PNG.",
        epilog="Example: ilax-perf plots build/bench.json docs/perf",
    )
    parser.add_argument("result", type=Path, metavar="FILE", help="bench.json")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to draw")
    options = parser.parse_args(words)
    try:
        content = report.read_json(options.result)
    except report.ResultError as error:
        print(f"ilax-perf: {error}", file=sys.stderr)
        return 2
    for path in draw(content, options.folder):
        print(path)
    return 0
