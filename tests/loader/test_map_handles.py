# SPDX-License-Identifier: Apache-2.0
"""Maps as bytes and as arrays, on maps of the kernel."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ilax.bpf import Link, Map, Object, Program
from ilax.bpf.handle import Handle
from ilax.bpf.map import EXIST, NO_EXIST
from ilax.contract import schema
from ilax.contract.tables import Table, index_key
from ilax.errors import ConflictError, MapFullError, NotFoundError
from ilax.instances.pins import PinFolder

from .conftest import Lab

ROWS = 1000


@pytest.fixture
def maps() -> Iterator[dict[str, Map]]:
    with Object.open(schema.object_path("abi")) as obj:
        obj.maps["ilax_mappings"].set_max_entries(ROWS)
        obj.load()
        opened = {name: item.open() for name, item in obj.maps.items()}
    yield opened
    for item in opened.values():
        item.close()


def _random_rows(table: Table, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    keys = np.zeros(count, table.key_dtype)
    keys["prefix"] = 0x20010DB85A5A0001
    keys["identifier"] = rng.choice(1 << 40, count, replace=False)
    values = table.new(count)
    values["generation"] = rng.integers(1 << 63, size=count)
    values["wire"]["identifier"] = keys["identifier"]
    return keys, values


def test_what_is_written_is_read(maps: dict[str, Map]) -> None:
    table = Table(maps["ilax_mappings"])
    keys, values = _random_rows(table, ROWS)
    assert table.put_rows(keys, values) == ROWS
    read_keys, read_values = table.rows()
    order, read_order = np.argsort(keys["identifier"]), np.argsort(read_keys["identifier"])
    assert (keys[order] == read_keys[read_order]).all()
    assert (values[order] == read_values[read_order]).all()


def test_numbers_are_in_network_order_in_the_kernel(maps: dict[str, Map]) -> None:
    table = Table(maps["ilax_mappings"])
    row = table.new()[0]
    row["wire"] = (0x20010DB800420007, 0x3000000000000001)
    table.put(bytes(range(16)), row)
    raw = maps["ilax_mappings"].lookup(bytes(range(16)))
    assert raw is not None
    assert raw[:16].hex() == "20010db8004200073000000000000001"


def test_a_batch_beyond_the_capacity_says_how_far_it_came(maps: dict[str, Map]) -> None:
    table = Table(maps["ilax_mappings"])
    keys, values = _random_rows(table, ROWS + 50)
    with pytest.raises(MapFullError) as caught:
        table.put_rows(keys, values)
    written = caught.value.written
    assert len(table.rows()[0]) == written >= ROWS


def test_rows_that_are_missing_do_not_stop_a_batch_delete(maps: dict[str, Map]) -> None:
    table = Table(maps["ilax_mappings"])
    keys, values = _random_rows(table, 100)
    table.put_rows(keys[::2], values[::2])
    assert table.delete_rows(keys) == 50
    assert len(table.rows()[0]) == 0


def test_an_empty_map_has_no_rows(maps: dict[str, Map]) -> None:
    keys, values = Table(maps["ilax_endpoints"]).rows()
    assert len(keys) == len(values) == 0


def test_flags_of_an_update_are_kept(maps: dict[str, Map]) -> None:
    table = Table(maps["ilax_mappings"])
    row = table.new()[0]
    with pytest.raises(ConflictError):
        table.put(bytes(16), row, EXIST)
    table.put(bytes(16), row, NO_EXIST)
    with pytest.raises(ConflictError):
        table.put(bytes(16), row, NO_EXIST)
    assert table.delete(bytes(16)) is True
    assert table.delete(bytes(16)) is False


def test_per_cpu_values_have_one_column_for_each_cpu(maps: dict[str, Map]) -> None:
    opened = maps["ilax_traffic"]
    table = Table(opened)
    stride = opened.value_bytes // len(table.per_cpu()[0])
    raw = b"".join(
        (cpu + 1).to_bytes(stride, "little") for cpu in range(opened.value_bytes // stride)
    )
    opened.update(index_key(3), raw)
    rows = table.per_cpu()["rx_packets"]
    assert rows[3].tolist() == list(range(1, rows.shape[1] + 1))
    assert rows[2].sum() == 0


@pytest.mark.parametrize(
    ("keys", "values"),
    [((10, 15), (10, 32)), ((10, 16), (10, 31)), ((10, 16), (9, 32))],
    ids=["key width", "value width", "counts differ"],
)
def test_arrays_of_a_wrong_shape_are_refused(
    maps: dict[str, Map], keys: tuple[int, int], values: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="ilax_mappings"):
        maps["ilax_mappings"].update_batch(np.zeros(keys, np.uint8), np.zeros(values, np.uint8))


def test_a_closed_handle_is_of_no_use(maps: dict[str, Map]) -> None:
    maps["ilax_mappings"].close()
    with pytest.raises(ValueError, match="closed"):
        maps["ilax_mappings"].lookup(bytes(16))


def test_a_pin_of_another_kind_is_a_clear_error(running: Lab) -> None:
    pins = PinFolder(running.instance)
    paths = {
        "map": pins.maps / "ilax_config",
        "program": pins.programs / "ilax_uplink_in",
        "link": pins.links / "uplink_ingress",
    }
    ways: dict[str, Callable[[Path], Handle]] = {
        "map": Map.open_pinned, "program": Program.open_pinned, "link": Link.open_pinned
    }  # fmt: skip
    for (wanted, way), (really, path) in itertools.product(ways.items(), paths.items()):
        if wanted == really:
            way(path).close()
        else:
            said = f"no {wanted} is pinned at {path}, but a {really}"
            with pytest.raises(NotFoundError, match=said):
                way(path)


def test_nothing_pinned_is_a_clear_error() -> None:
    with pytest.raises(NotFoundError, match="no map is pinned"):
        Map.open_pinned(Path("/sys/fs/bpf/ilx_no_such_pin"))
