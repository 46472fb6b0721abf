# SPDX-License-Identifier: Apache-2.0
"""Importing and exporting mappings."""

from __future__ import annotations

import errno
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ilax import address_bulk, mapping_files, mappings
from ilax.errors import IlaxError, UsageError

from .conftest import LOCATOR, OTHER_LOCATOR, Lab, sir

USAGE, FULL = 2, 8


def _export(lab: Lab) -> list[str]:
    return lab.ilax("mapping", "export", "-").output.splitlines()[1:]


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_an_export_can_be_imported(running: Lab, tmp_path: Path, name: str) -> None:
    source = tmp_path / "source.csv"
    rows = [f"{sir(n)},{OTHER_LOCATOR}" for n in range(1, 301)]
    source.write_text("\n".join(["sir,locator", *rows]) + "\n")
    assert running.ilax("mapping", "import", str(source)).exit_code == 0
    before = _export(running)
    assert len(before) == 300
    target = tmp_path / name
    assert running.ilax("mapping", "export", str(target)).exit_code == 0
    for n in range(1, 301):
        running.ilax("mapping", "del", sir(n))
    assert _export(running) == []
    assert running.ilax("mapping", "import", str(target)).exit_code == 0
    assert _export(running) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({name, "source.csv"})


def test_standard_input_is_a_file_as_well(running: Lab) -> None:
    text = f'{{"sir": "{sir(1)}", "locator": "{OTHER_LOCATOR}"}}\n\n'
    result = running.ilax("mapping", "import", "-", "--format", "jsonl", text=text)
    assert result.exit_code == 0
    assert len(_export(running)) == 1


@pytest.mark.parametrize(
    ("file_format", "text", "word"),
    [
        ("csv", f"sir,locator\n{sir(1)},{OTHER_LOCATOR}\nnonsense,{OTHER_LOCATOR}\n", "line 3"),
        ("csv", f"sir,locator\n{sir(1)},2001:db8:42::/48\n", "line 2"),
        ("csv", f"sir,locator\n{sir(1)}\n", "line 2"),
        ("csv", f"address,locator\n{sir(1)},{OTHER_LOCATOR}\n", "'sir'"),
        ("csv", "sir,locator\n2001:db8:5a5a:1:2000::1:0,2001:db8:42:8::/64\n", "neutral"),
        ("csv", "sir,locator\n2001:db8:9::1,2001:db8:42:8::/64\n", "outside"),
        ("csv", f"sir,wire\n{sir(1)},2001:db8:42:8:3000::1\n", "not neutral"),
        ("jsonl", f'{{"sir": "{sir(1)}", "locator": "{OTHER_LOCATOR}"}}\n{{"sir"\n', "line 2"),
        ("jsonl", "[1]\n", "line 1"),
        ("jsonl", '{"sir": 5, "locator": "x"}\n', "line 1"),
    ],
)
def test_a_wrong_file_names_the_line_and_writes_nothing(
    running: Lab, tmp_path: Path, file_format: str, text: str, word: str
) -> None:
    source = tmp_path / f"m.{file_format}"
    source.write_text(text)
    result = running.ilax("mapping", "import", str(source))
    assert result.exit_code == USAGE
    assert word in str(result.exception)
    assert _export(running) == []


def test_bytes_that_are_no_text_are_refused(running: Lab, tmp_path: Path) -> None:
    source = tmp_path / "m.csv"
    source.write_bytes(b"sir,locator\n\xff\xfe\n")
    result = running.ilax("mapping", "import", str(source))
    assert result.exit_code == USAGE
    assert "UTF-8" in str(result.exception)


def test_a_missing_file_and_a_missing_folder_are_clear(running: Lab, tmp_path: Path) -> None:
    missing = tmp_path / "none" / "m.csv"
    for verb in ("import", "export"):
        result = running.ilax("mapping", verb, str(missing))
        assert result.exit_code == USAGE
        assert "No such file" in str(result.exception)


def test_a_folder_is_no_file_to_read(running: Lab, tmp_path: Path) -> None:
    result = running.ilax("mapping", "import", str(tmp_path))
    assert result.exit_code == USAGE
    assert f"cannot read {tmp_path}: Is a directory" in str(result.exception)


def test_what_fails_beside_a_file_is_no_fault_of_the_file(
    running: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads "cannot read FILE" looks in the wrong place."""
    source = tmp_path / "m.csv"
    source.write_text(f"sir,locator\n{sir(1)},{OTHER_LOCATOR}\n")

    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "no more descriptors")

    monkeypatch.setattr(mappings, "write_bulk", fail)
    with pytest.raises(OSError, match="no more descriptors"):
        running.ilax("mapping", "import", str(source))


def test_a_file_beyond_the_capacity_says_how_far_it_came(running: Lab, tmp_path: Path) -> None:
    source = tmp_path / "m.csv"
    rows = [f"{sir(n)},{OTHER_LOCATOR}" for n in range(1, 3001)]
    source.write_text("\n".join(["sir,locator", *rows]) + "\n")
    result = running.ilax("mapping", "import", str(source))
    assert result.exit_code == FULL
    assert len(_export(running)) == result.exception.written  # type: ignore[union-attr]


def test_long_work_shows_progress(running: Lab, tmp_path: Path) -> None:
    source = tmp_path / "m.csv"
    lines = ["sir,locator", *([f"{sir(1)},{OTHER_LOCATOR}"] * 100_000)]
    source.write_text("\n".join(lines) + "\n")
    result = running.ilax("mapping", "import", str(source))
    assert result.exit_code == 0
    assert "importing" in result.stderr


def _generations(lab: Lab) -> dict[str, int]:
    rows = (line.split(",") for line in _export(lab))
    return {sir: int(generation) for sir, _, _, generation in rows}


@pytest.mark.parametrize("few", [0, 4096], ids=["whole table", "looked up"])
def test_an_import_numbers_what_it_changes(
    running: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """The old generation and one where the row changes; the same where it does not."""
    monkeypatch.setattr(mappings, "_FEW_ROWS", few)
    source = tmp_path / "m.csv"

    def load(*rows: tuple[int, str]) -> None:
        lines = [f"{sir(n)},{locator}" for n, locator in rows]
        source.write_text("\n".join(["sir,locator", *lines]) + "\n")
        assert running.ilax("mapping", "import", str(source)).exit_code == 0

    for locator in (OTHER_LOCATOR, LOCATOR, OTHER_LOCATOR):
        running.ilax("mapping", "add", sir(1), "--locator", locator)
    load((1, OTHER_LOCATOR), (2, OTHER_LOCATOR), (3, OTHER_LOCATOR))
    assert _generations(running) == {sir(1): 3, sir(2): 1, sir(3): 1}
    load((3, LOCATOR), (2, OTHER_LOCATOR), (1, LOCATOR), (4, LOCATOR))
    assert _generations(running) == {sir(1): 4, sir(2): 1, sir(3): 2, sir(4): 1}
    # The last line of an address decides, and it is one change.
    load((4, OTHER_LOCATOR), (4, "2001:db8:42:9::/64"))
    assert _generations(running)[sir(4)] == 2


def test_generations_of_several_sir_prefixes(lab: Lab, tmp_path: Path) -> None:
    """One identifier below two prefixes is two tasks."""
    second = "2001:db8:5a5a:2::/64"
    assert lab.up("--sir-prefix", second).exit_code == 0
    twin = sir(7).replace(":5a5a:1:", ":5a5a:2:")
    lab.ilax("mapping", "add", twin, "--locator", LOCATOR)
    source = tmp_path / "m.csv"
    source.write_text(f"sir,locator\n{twin},{OTHER_LOCATOR}\n{sir(7)},{OTHER_LOCATOR}\n")
    assert lab.ilax("mapping", "import", str(source)).exit_code == 0
    assert _generations(lab) == {twin: 2, sir(7): 1}


def test_a_full_map_counts_the_rows_of_all_chunks(
    running: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mappings, "CHUNK_ROWS", 100)
    source = tmp_path / "m.csv"
    rows = [f"{sir(n)},{OTHER_LOCATOR}" for n in range(1, 3001)]
    source.write_text("\n".join(["sir,locator", *rows]) + "\n")
    result = running.ilax("mapping", "import", str(source))
    assert result.exit_code == FULL
    written = len(_export(running))
    assert written >= 1024
    assert f"{written} rows were written" in str(result.exception)


def _fill(lab: Lab, count: int) -> None:
    rows = [f"{sir(n)},{OTHER_LOCATOR}" for n in range(1, count + 1)]
    text = "\n".join(["sir,locator", *rows]) + "\n"
    assert lab.ilax("mapping", "import", "-", text=text).exit_code == 0


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
def test_a_short_list_formats_no_more_rows_than_it_shows(
    running: Lab, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    _fill(running, 1000)
    formatted, real = [], address_bulk.format_texts

    def counting(addresses: NDArray[np.uint64]) -> list[str]:
        formatted.append(len(addresses))
        return real(addresses)

    monkeypatch.setattr(address_bulk, "format_texts", counting)
    lines = running.ilax(*options, "mapping", "list", "--limit", "5").output.splitlines()
    assert len(lines) == 5 + (not options)
    assert all(sir(n) in line for n, line in enumerate(lines[-5:], 1))
    assert sum(formatted) == 2 * 5


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
def test_a_list_is_printed_in_parts(
    running: Lab, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """The first rows are out before the last ones are text: memory holds a part of it."""
    _fill(running, 1000)
    calls, real = itertools.count(), address_bulk.format_texts

    def failing(addresses: NDArray[np.uint64]) -> list[str]:
        if next(calls) == 2 * 3:
            raise IlaxError("enough")
        return real(addresses)

    monkeypatch.setattr(mappings, "CHUNK_ROWS", 100)
    monkeypatch.setattr(address_bulk, "format_texts", failing)
    result = running.ilax(*options, "mapping", "list")
    assert str(result.exception) == "enough"
    assert len(result.output.splitlines()) == 300 + (not options)


def test_what_is_no_csv_names_its_line() -> None:
    text = f"sir,locator\n{sir(1)},{OTHER_LOCATOR}\n{'x' * 200_000},\n"
    rows = mapping_files.records(io.StringIO(text), "csv")
    assert next(rows) == (2, {"sir": sir(1), "locator": OTHER_LOCATOR})
    with pytest.raises(UsageError, match=r"line 3: no CSV \(.*\); nothing was written"):
        next(rows)


def test_a_header_is_needed(running: Lab) -> None:
    """Without one the first row would be taken for it, and be lost."""
    text = f"{sir(1)},{OTHER_LOCATOR}\n"
    result = running.ilax("mapping", "import", "-", text=text)
    assert result.exit_code == USAGE
    assert "line 1" in str(result.exception)
