# SPDX-License-Identifier: Apache-2.0
"""Mappings in files: CSV with a header, or JSON lines.

Columns: `sir`, and `wire` or `locator`; further columns are ignored, so an
export can be imported. Empty lines are skipped.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

from ilax import address_bulk, fabric, mappings
from ilax.address import parse_prefix
from ilax.errors import AddressError, ConflictError, MapFullError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ilax.fabric import Fabric
    from ilax.instance import Instance

EXPORT_COLUMNS = ("sir", "wire", "action", "generation")


def _csv_records(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(lines)
    try:
        if "sir" not in (reader.fieldnames or ["sir"]):
            raise UsageError("line 1: the header has no column 'sir'; nothing was written")
        for record in reader:
            yield reader.line_num, record
    except csv.Error as error:
        # The line that was being read; `reader.line_num` is that of the last good row.
        number = reader.reader.line_num
        raise UsageError(f"line {number}: no CSV ({error}); nothing was written") from error


def _json_records(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"line {number}: no JSON ({error}); nothing was written") from error
        if not isinstance(record, dict):
            raise UsageError(f"line {number}: no JSON object; nothing was written")
        yield number, record


_READERS = {"csv": _csv_records, "jsonl": _json_records}
FORMATS = tuple(_READERS)


def format_of(name: str) -> str:
    """The format that a file's name tells; CSV if it tells none."""
    return "jsonl" if name.endswith((".jsonl", ".ndjson", ".json")) else "csv"


def records(lines: Iterable[str], file_format: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and columns of each row, unchecked.

    Raises:
        UsageError: not of that format.
    """
    return _READERS[file_format](lines)


def _column(records: list[tuple[int, dict[str, Any]]], name: str) -> list[str]:
    texts = []
    for number, record in records:
        value = record.get(name)
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f"line {number}: no value for {name!r}; nothing was written")
        texts.append(value.strip())
    return texts


def _addresses(records: list[tuple[int, dict[str, Any]]], name: str) -> NDArray[np.uint64]:
    import numpy as np

    texts = _column(records, name)
    try:
        return address_bulk.parse_texts(texts).astype(np.uint64)
    except AddressError:
        for (number, _), text in zip(records, texts, strict=True):
            try:
                address_bulk.parse_texts([text])
            except AddressError as error:
                raise AddressError(
                    f"line {number}: {text!r} is not an IPv6 address; nothing was written"
                ) from error
        raise


def _locators(records: list[tuple[int, dict[str, Any]]]) -> NDArray[np.uint64]:
    import numpy as np

    known: dict[str, int] = {}
    halves = []
    for (number, _), text in zip(records, _column(records, "locator"), strict=True):
        if text not in known:
            try:
                known[text] = parse_prefix(text, length=64).upper
            except AddressError as error:
                raise AddressError(f"line {number}: {error}; nothing was written") from error
        halves.append(known[text])
    return np.array(halves, np.uint64)


def read(
    known: Fabric,
    lines: Iterable[str],
    file_format: str,
    progress: Callable[[int], None] = lambda rows: None,
) -> list[tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """Read a file and check all of it. Nothing is written.

    Args:
        known: what the addresses have to fit.
        progress: called with the number of rows since its last call.

    Returns:
        SIR and wire addresses, uint64 (n, 2) each, in parts of `CHUNK_ROWS`.

    Raises:
        UsageError, AddressError: names the line or the address.
    """
    rows = records(lines, file_format)
    checked: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []
    while chunk := list(islice(rows, mappings.CHUNK_ROWS)):
        sir = _addresses(chunk, "sir")
        if chunk[0][1].get("wire"):
            wire = _addresses(chunk, "wire")
            mappings.check_bulk(known, sir, wire)
        else:
            mappings.check_prefixes(known, sir)
            wire = address_bulk.to_wire(sir, _locators(chunk), cbit=known.cbit, typed=known.typed)
        checked.append((sir, wire))
        progress(len(chunk))
    return checked


def load(
    instance: Instance,
    lines: Iterable[str],
    file_format: str,
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Read a file and write its mappings, all or nothing as to its contents.

    The whole file is read and checked before the first row is written.

    Args:
        progress: called with the number of rows read since its last call.

    Returns:
        Rows written.

    Raises:
        UsageError, AddressError: names the line or the address; nothing was
            written.
        ConflictError: the instance got other prefixes while the file was read, or
            was taken down; nothing was written.
        MapFullError: its `written` tells how many rows were written.
    """
    known = fabric.read(instance)
    checked = read(known, lines, file_format, progress)
    if not checked:
        return 0
    # Reading takes longer than writing, and changes nothing: others need not wait for it.
    with instance.locked():
        if fabric.read(instance) != known:
            raise ConflictError(
                f"instance {instance.name} got other prefixes while the file was read; "
                "nothing was written",
                hint="try again",
            )
        return _write(instance, known, checked)


def _write(
    instance: Instance,
    known: Fabric,
    checked: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]],
) -> int:
    import numpy as np

    standing = mappings.Standing(instance, np.concatenate([sir for sir, _ in checked]))
    written, total = 0, sum(len(sir) for sir, _ in checked)
    for sir, wire in checked:
        generations = standing.generations(known, sir, wire)
        try:
            written += mappings.write_bulk(instance, known, sir, wire, generations)
        except MapFullError as error:
            written += error.written
            raise MapFullError(f"write {total} mappings", error.errno, written) from error
    return written


def dump(instance: Instance, stream: TextIO, file_format: str) -> int:
    """Write all mappings to a file, in the order of their addresses.

    Returns:
        Rows written.
    """
    sir, rows = mappings.read_all(instance)
    write_rows(stream, file_format, sir, rows)
    return len(rows)


def write_rows(
    stream: TextIO, file_format: str, sir: NDArray[np.uint64], rows: NDArray[np.void]
) -> None:
    """Write mappings as `mappings.read_all` gives them."""
    if file_format == "csv":
        stream.write(",".join(EXPORT_COLUMNS) + "\n")
    for values in columns(sir, rows):
        if file_format == "csv":
            stream.write(",".join(map(str, values)) + "\n")
        else:
            stream.write(json.dumps(dict(zip(EXPORT_COLUMNS, values, strict=True))) + "\n")


def columns(sir: NDArray[np.uint64], rows: NDArray[np.void]) -> Iterator[tuple[str, str, str, int]]:
    """`EXPORT_COLUMNS` of each row, formatted in parts as they are asked for."""
    import numpy as np

    names = mappings.action_names()
    for start in range(0, len(rows), mappings.CHUNK_ROWS):
        part = rows[start : start + mappings.CHUNK_ROWS]
        wire = np.stack([part["wire"]["prefix"], part["wire"]["identifier"]], axis=1)
        for sir_text, wire_text, action, generation in zip(
            address_bulk.format_texts(sir[start : start + len(part)]),
            address_bulk.format_texts(wire),
            part["action"].tolist(),
            part["generation"].tolist(),
            strict=True,
        ):
            yield sir_text, wire_text, names.get(action, str(action)), generation
