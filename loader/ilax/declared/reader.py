# SPDX-License-Identifier: Apache-2.0
"""Reading a file: TOML, then keys and values, then what belongs together.

Each stage goes on as far as it can, so that all problems are told at once.
"""

from __future__ import annotations

import difflib
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

from ilax.declared import cross_checks, keys, placement
from ilax.declared.document import (
    VERSION,
    Document,
    EndpointWish,
    LimitWish,
    MappingWish,
    Raw,
    Table,
    Up,
)
from ilax.declared.keys import Key
from ilax.declared.positions import Path
from ilax.declared.problems import DeclarationError, Problems
from ilax.errors import UsageError

# A million inline rows take about 100 MB; that many belong into a file of their own.
_BYTES_MAX = 256 << 20

# What tomllib puts behind its reason.
_PLACE = re.compile(r"^(.*?)\s*\(at (?:line (\d+), column \d+|end of document)\)$")

_TOP = ("version", "up", "endpoint", "mapping", "limit")


def read(name: str) -> tuple[Document, Problems]:
    """Read and check a file. Nothing of the host is looked at.

    Args:
        name: of the file; "-" is standard input.

    Returns:
        What it declares, and where problems with the host can be collected.

    Raises:
        DeclarationError: names all problems with their lines.
        UsageError: it cannot be read.
    """
    raw = _bytes_of(name)
    folder = FilePath.cwd() if name == "-" else FilePath(name).parent
    return parse(raw, "standard input" if name == "-" else name, folder)


def parse(raw: bytes, name: str, folder: FilePath) -> tuple[Document, Problems]:
    """`read`, from the bytes of a file.

    Args:
        name: how messages call the file.
        folder: what the paths of other files begin at.
    """
    text, tables = _toml(raw, name)
    problems = Problems(name, text)
    _check_version(tables, problems)
    _unknown((), tables, _TOP, problems)
    found = Raw(
        up=_up(tables.get("up"), problems),
        endpoints=list(_endpoints(tables.get("endpoint", []), problems)),
        mappings=list(_mappings(tables.get("mapping", []), problems)),
        limits=list(_limits(tables.get("limit", []), problems)),
    )
    fabric = cross_checks.check(found, problems)
    rows = placement.read(found, fabric, folder, problems) if fabric is not None else None
    problems.raise_if_any()
    assert found.up is not None
    assert fabric is not None
    assert rows is not None
    document = Document(
        found.up,
        fabric,
        rows,
        tuple(found.endpoints),
        tuple(found.mappings),
        tuple(found.limits),
        tuple(problems.notes),
    )
    return document, problems


def _bytes_of(name: str) -> bytes:
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(_BYTES_MAX + 1)
        else:
            with FilePath(name).open("rb") as stream:
                raw = stream.read(_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {name}: {reason}; nothing was changed") from error
    if len(raw) > _BYTES_MAX:
        raise UsageError(f"{name} has more than {_BYTES_MAX >> 20} MiB; nothing was changed")
    return raw


def _toml(raw: bytes, name: str) -> tuple[str, Table]:
    try:
        text = raw.decode("utf-8-sig")  # an editor may mark it as UTF-8
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DeclarationError([f"{name}:{line}: no UTF-8 text"]) from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _PLACE.search(str(error))
        reason = found[1] if found else str(error)
        line = int(found[2]) if found and found[2] else text.rstrip("\n").count("\n") + 1
        raise DeclarationError([f"{name}:{line}: no TOML: {reason}"]) from error
    except RecursionError as error:
        raise DeclarationError([f"{name}:1: tables or arrays are nested too deeply"]) from error
    except ValueError as error:
        # Such as an integer of thousands of digits.
        raise DeclarationError([f"{name}:1: no TOML: {error}"]) from error


def _check_version(tables: Table, problems: Problems) -> None:
    if "version" not in tables:
        problems.add((), f"the file must say `version = {VERSION}`")
        return
    version = tables["version"]
    if type(version) is not int or version != VERSION:
        problems.add(("version",), f"this ilax reads version {VERSION} only")


def _unknown(path: Path, table: Table, known: Iterable[str], problems: Problems) -> None:
    names = list(known)
    for key in table:
        if key in names:
            continue
        # `sir_prefix`, `sir-prefixes` and `endpoints` are near enough.
        close = difflib.get_close_matches(key.lower().replace("_", "-"), names, 1)
        advice = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(names)}"
        problems.add((*path, key), f"unknown key; {advice}")


def _fields(path: Path, table: Table, known: Mapping[str, Key], problems: Problems) -> Table:
    """Values of a table by the names of their fields; without those that are wrong."""
    _unknown(path, table, known, problems)
    found: Table = {}
    for name, key in known.items():
        if name not in table:
            if key.required:
                problems.add(path, f"lacks the key {name!r}")
            continue
        value, where = table[name], (*path, name)
        if key.many:
            found[key.field] = tuple(_many(where, value, key, problems))
            continue
        got = problems.attempt(where, key.read, value)
        if got is not None:
            found[key.field] = got
    return found


def _many(path: Path, value: Any, key: Key, problems: Problems) -> Iterable[Any]:
    if not isinstance(value, list):
        value, paths = [value], [path]
    else:
        paths = [(*path, number) for number in range(len(value))]
        if not value and key.required:
            problems.add(path, "must not be empty")
    for where, one in zip(paths, value, strict=True):
        got = problems.attempt(where, key.read, one)
        if got is not None:
            yield got


def _up(table: Any, problems: Problems) -> Up | None:
    if not isinstance(table, dict):
        problems.add(() if table is None else ("up",), "the file must have a table [up]")
        return None
    fields = _fields(("up",), table, keys.UP, problems)
    if not all(fields.get(name) for name in ("uplink", "sir_prefixes", "locators")):
        return None
    return Up(**fields)


def _tables(kind: str, value: Any, problems: Problems) -> Iterable[tuple[Path, Table]]:
    if isinstance(value, dict):
        problems.add((kind,), f"write [[{kind}]] with two brackets, once for each {kind}")
        return
    if not isinstance(value, list):
        problems.add((kind,), f"must be tables [[{kind}]]")
        return
    for number, table in enumerate(value):
        if isinstance(table, dict):
            yield (kind, number), table
        else:
            problems.add((kind, number), f"must be a table [[{kind}]]")


def _endpoints(value: Any, problems: Problems) -> Iterable[EndpointWish]:
    for path, table in _tables("endpoint", value, problems):
        fields = _fields(path, table, keys.ENDPOINT, problems)
        on_host = fields.pop("host", False)
        if on_host == ("netns" in table):
            problems.add(path, "give either netns or `host = true`")
        if on_host:
            for key in ("device", "delivery", "link", "mtu", "any-source"):
                if key in table:
                    problems.add((*path, key), "has no meaning for an address of the host")
        if "sir" in fields:
            yield EndpointWish(path=path, **fields)


def _mappings(value: Any, problems: Problems) -> Iterable[MappingWish]:
    for path, table in _tables("mapping", value, problems):
        before = len(problems.found)
        fields = _fields(path, table, keys.MAPPING, problems)
        if ("sir" in table) == ("file" in table):
            problems.add(path, "give either sir (one row) or file (many)")
        elif "file" in table:
            for key in ("wire", "locator"):
                if key in table:
                    problems.add((*path, key), "has no meaning beside a file")
        else:
            if ("wire" in table) == ("locator" in table):
                problems.add(path, "give either a wire address or a locator")
            if "format" in table:
                problems.add((*path, "format"), "has no meaning without a file")
        if len(problems.found) == before:
            yield MappingWish(path=path, **fields)


def _limits(value: Any, problems: Problems) -> Iterable[LimitWish]:
    for path, table in _tables("limit", value, problems):
        fields = _fields(path, table, keys.limit(), problems)
        if "cgroup" in fields:
            yield LimitWish(path=path, **fields)
