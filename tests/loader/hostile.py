# SPDX-License-Identifier: Apache-2.0
"""Rows that no loader would write, in every map that control writes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ilax.address import Address, parse, parse_prefix, to_wire
from ilax.bpf import Map
from ilax.bpf.map import DEVMAP_HASH
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.errors import MapFullError
from ilax.instances.instance import Instance, own_netns

from .conftest import LOCATOR, OTHER_LOCATOR, SIR_PREFIX, sir

# What only control writes. The kernel refuses devices that there are not.
MAPS = ("endpoints", "mappings", "ports", "prefixes", "config", "cgroups", "limits", "devices")
TASKS = (5, 6, 7)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a map, in the bytes of the contract."""

    table: str
    key: bytes
    value: bytes


def wire(number: int, locator: str = LOCATOR) -> Address:
    """Wire address of a task."""
    return to_wire(parse(sir(number)), parse_prefix(locator).upper)


def _edges(bits: int) -> tuple[int, ...]:
    top = (1 << bits) - 1
    return 0, 1, top >> 1, (top >> 1) + 1, top


def _halves(address: Address) -> tuple[int, int]:
    return address.prefix, address.identifier


_ADDRESSES = st.one_of(
    st.sampled_from(
        [
            *(parse(sir(number)) for number in TASKS),
            *(wire(number) for number in TASKS),
            *(wire(number, OTHER_LOCATOR) for number in TASKS),
            *map(parse, ("::", "::1", "fe80::1", "ff02::1", f"{SIR_PREFIX[:-3]}", LOCATOR[:-3])),
            parse("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ]
    ).map(_halves),
    st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
)


def _numbers(bits: int) -> st.SearchStrategy[int]:
    return st.one_of(st.sampled_from(_edges(bits)), st.integers(0, min(300, (1 << bits) - 1)))


def _spoilt(draw: st.DrawFn, row: Any, wanted: int) -> None:
    """Replace some fields of a structured row."""
    names = draw(st.lists(st.sampled_from(row.dtype.names), max_size=wanted, unique=True))
    for name in names:
        kind = row.dtype[name]
        if kind.names:
            row[name] = draw(_ADDRESSES)
        elif kind.subdtype is not None:
            numbers = _numbers(8 * kind.subdtype[0].itemsize)
            row[name] = [draw(numbers) for _ in range(kind.shape[0])]
        else:
            row[name] = draw(_numbers(8 * kind.itemsize))


def _new(struct: str, **fields: object) -> Any:
    row = np.zeros(1, schema.dtype(struct))[0]
    for name, value in fields.items():
        row[name] = value
    return row


def _packed(halves: tuple[int, int]) -> bytes:
    return Address(*halves).packed


@st.composite
def _endpoints(draw: st.DrawFn) -> Row:
    number = draw(st.sampled_from(TASKS))
    row = _new(
        "ilax_endpoint", wire=_halves(wire(number)), sir=_halves(parse(sir(number))), ifindex=1,
        slot=1, generation=1, mtu=1500,
    )  # fmt: skip
    _spoilt(draw, row, 4)
    own = draw(st.booleans())
    return Row("endpoints", wire(number).packed if own else _packed(draw(_ADDRESSES)), bytes(row))


@st.composite
def _mappings(draw: st.DrawFn) -> Row:
    number = draw(st.sampled_from(TASKS))
    row = _new("ilax_mapping", wire=_halves(wire(number)), action=1, generation=1)
    _spoilt(draw, row, 3)
    own = draw(st.booleans())
    return Row(
        "mappings", parse(sir(number)).packed if own else _packed(draw(_ADDRESSES)), bytes(row)
    )


@st.composite
def _ports(draw: st.DrawFn) -> Row:
    row = _new("ilax_port", sir=_halves(parse(sir(5))), slot=1)
    _spoilt(draw, row, 3)
    return Row("ports", index_key(draw(_numbers(32))), bytes(row))


@st.composite
def _prefixes(draw: st.DrawFn) -> Row:
    domain = parse_prefix(SIR_PREFIX)
    row = _new(
        "ilax_prefix", prefix=domain.upper, mask=domain.mask, sir_prefix=domain.upper, flags=3,
        kind=draw(st.sampled_from((1, 2, 3))),
    )  # fmt: skip
    _spoilt(draw, row, 3)
    return Row("prefixes", index_key(draw(st.integers(0, 15))), bytes(row))


@st.composite
def _config(draw: st.DrawFn) -> Row:
    row = _new("ilax_config", netns=own_netns(), uplink_ifindex=2, uplink_mtu=1500)
    _spoilt(draw, row, 2)
    return Row("config", index_key(0), bytes(row))


@st.composite
def _cgroups(draw: st.DrawFn) -> Row:
    return Row("cgroups", draw(_numbers(64)).to_bytes(8, "little"), index_key(draw(_numbers(32))))


@st.composite
def _limits(draw: st.DrawFn) -> Row:
    row = _new("ilax_limit", byte_cost=2621440, burst=10**6, drop=10**6)
    _spoilt(draw, row, 5)
    return Row("limits", index_key(draw(st.integers(0, 5))), bytes(row))


rows = st.one_of(
    _endpoints(), _mappings(), _ports(), _prefixes(), _config(), _cgroups(), _limits(),
    st.just(Row("devices", index_key(1), index_key(1))),
)  # fmt: skip


def write(maps: Mapping[str, Map], wanted: Iterable[Row]) -> None:
    """Write rows as any daemon may; what there is no room for is left out."""
    for row in wanted:
        with contextlib.suppress(MapFullError):
            maps[f"ilax_{row.table}"].update(row.key, row.value)


@contextlib.contextmanager
def written(name: str, wanted: Iterable[Row]) -> Iterator[None]:
    """Write rows, and put all maps of an instance back as they were."""
    with Instance.open(name) as instance:
        before = {table: state(instance.maps[f"ilax_{table}"]) for table in MAPS}
        try:
            write(instance.maps, wanted)
            yield
        finally:
            for table, rows_before in before.items():
                _put_back(instance.maps[f"ilax_{table}"], rows_before)


def state(opened: Map) -> dict[bytes, bytes | None]:
    """All rows of a map."""
    if opened.type == DEVMAP_HASH:  # no batches for this type
        return {key: opened.lookup(key) for key in opened.keys()}  # noqa: SIM118
    keys, values = opened.lookup_batch()
    return {key.tobytes(): value.tobytes() for key, value in zip(keys, values, strict=True)}


def _put_back(opened: Map, before: dict[bytes, bytes | None]) -> None:
    for key, value in state(opened).items():
        if key not in before:
            opened.delete(key)
        elif value == before[key]:
            del before[key]
    for key, value in before.items():
        if value is not None:
            opened.update(key, value)
