# SPDX-License-Identifier: Apache-2.0
"""Pictures: valid, the same for the same numbers, and those of the documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ilax_perf import plot_rates, plot_tables, plots, report
from ilax_perf.plots import Bench
from ilax_perf.rows import Rows
from perf.results import result

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "perf"
SVG = "{http://www.w3.org/2000/svg}"

RATES = {"kernel_route": 1.1, "stack_delivery": 1.9, "bare_redirect_peer": 2.1, "vxlan": 0.6}
COSTS = {"xdp_hit_1": 40, "xdp_hit_1k": 45, "xdp_hit_64k": 400, "limit_hot": 14, "limit_1k": 16}


def measured(values: Mapping[str, float], group: str, unit: str) -> dict[str, Any]:
    rows = Rows()
    for name, value in values.items():
        rows.add(f"{group}.{name}", value, unit)
    return result(rows)


def test_pictures_are_valid_svg_and_always_the_same(tmp_path: Path) -> None:
    content = measured(RATES, "rate", "Mpps")
    content["rows"] += measured(COSTS, "cost", "ns")["rows"]
    drawn = plots.draw(content, tmp_path / "first")
    assert [path.name for path in drawn] == ["rates.svg", "tables.svg"]
    plots.draw(content, tmp_path / "second")
    for svg in drawn:
        root = ElementTree.parse(svg).getroot()
        assert root.tag == f"{SVG}svg"
        assert len(list(root.iter(f"{SVG}path"))) > 20
        again = tmp_path / "second" / svg.name
        assert svg.read_bytes() == again.read_bytes()


def test_bars_are_nanoseconds_and_the_limit_is_a_line() -> None:
    figure = plot_rates.figure(Bench.of(measured(RATES, "rate", "Mpps")))
    assert figure is not None
    (axes,) = figure.axes
    widths = sorted(bar.get_width() for bar in axes.patches)  # type: ignore[attr-defined]
    assert widths == pytest.approx([1000 / 1.9, 1000 / 1.1, 1000 / 0.6])
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["VXLAN", "plain IPv6 route", "ilax, by default"]
    (line,) = axes.lines
    assert list(line.get_xdata()) == pytest.approx([1000 / 2.1] * 2)  # type: ignore[arg-type]


def test_lines_go_through_what_was_measured() -> None:
    figure = plot_tables.figure(Bench.of(measured(COSTS, "cost", "ns")))
    assert figure is not None
    lines = {tuple(line.get_xdata()): list(line.get_ydata()) for line in figure.axes[0].lines}  # type: ignore[arg-type]
    assert lines == {(1, 1000, 65536): [40, 45, 400], (1, 1000): [14, 16]}


def test_without_rows_there_is_no_picture(tmp_path: Path) -> None:
    assert plots.draw(result(Rows()), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_command_draws_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "bench.json"
    report.write_json(source, measured(RATES, "rate", "Mpps"))
    assert plots.main([str(source), str(tmp_path)]) == 0
    assert (tmp_path / "rates.svg").exists()
    source.write_text(json.dumps({"rows": []}))
    assert plots.main([str(source), str(tmp_path)]) == 2
    assert "schema" in capsys.readouterr().err


def test_the_documentation_shows_the_pictures_of_its_result(tmp_path: Path) -> None:
    # Text becomes outlines, and those may differ by the version of the library.
    import matplotlib

    content = report.read_json(DOCS / "bench.json")
    if content["packages"].get("matplotlib") != matplotlib.__version__:
        pytest.skip(f"drawn with matplotlib {content['packages'].get('matplotlib')}")
    drawn = plots.draw(content, tmp_path)
    assert {"rates.svg", "tables.svg"} <= {svg.name for svg in drawn}
    for svg in drawn:
        same = svg.read_bytes() == (DOCS / svg.name).read_bytes()
        assert same, f"{svg.name} is not of docs/perf/bench.json: `ilax-perf plots`"
