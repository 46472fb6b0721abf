# SPDX-License-Identifier: Apache-2.0
"""Mappings: where every SIR address lives now.

A row is numbered by the one that it replaces, and a row in maps that a `down` took
away leads nowhere. So whoever reads and writes holds the instance's lock: `add`,
`delete`, `put_bulk` and `delete_bulk` take it, the other writers here are called by
those who hold it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ilax.address import Address, Prefix
from ilax.contract import schema
from ilax.errors import UsageError
from ilax.translation import fabric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ilax.instances.instance import Instance
    from ilax.translation.fabric import Fabric

# Rows of one call of a bulk load: enough to hide the call, few enough for a
# smooth progress bar.
CHUNK_ROWS = 65536

# A daemon may have written it; there is none above.
_GENERATION_MAX = (1 << 64) - 1

# Looking up so many rows takes less time than reading a large table.
_FEW_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Mapping:
    """One row of `ilax_mappings`.

    Attributes:
        action: "local" or "forward".
        generation: orders the moves of a task.
    """

    sir: Address
    wire: Address
    action: str
    generation: int


def _actions() -> dict[str, int]:
    return {
        name.removeprefix("ILAX_ACTION_").lower(): value
        for name, value in schema.enum("ilax_action").items()
    }


def _from_row(sir: Address, row: np.void | Any) -> Mapping:
    names = {value: name for name, value in _actions().items()}
    wire = Address(int(row["wire"]["prefix"]), int(row["wire"]["identifier"]))
    action = names.get(int(row["action"]), str(row["action"]))
    return Mapping(sir, wire, action, int(row["generation"]))


def check_wire(known: Fabric, sir: Address, wire: Address) -> None:
    """Raise unless a wire address leads to a receiver that restores exactly `sir`.

    Raises:
        UsageError, AddressError: it does not.
    """
    if any(wire in prefix for prefix in known.sir_prefixes):
        raise UsageError(f"{wire} is a SIR address, no wire address; nothing was changed")
    expected = known.to_wire(sir, Prefix(wire.prefix))
    if wire != expected:
        raise UsageError(
            f"{wire} is not the neutral wire address of {sir} at that locator "
            f"(which is {expected}); nothing was changed"
        )


def add(
    instance: Instance,
    sir: Address,
    *,
    wire: Address | None = None,
    locator: Prefix | None = None,
    generation: int | None = None,
) -> Mapping:
    """Write or move one mapping: by its wire address or by the new locator.

    A wire address of this host makes the action "local", any other "forward".

    Args:
        generation: default: one more than the row that is replaced.

    Raises:
        UsageError, AddressError: not a task's address, or not its wire address.
        ConflictError: the instance was taken down meanwhile; nothing was changed.
        MapFullError: no room for another mapping.
    """
    if (wire is None) == (locator is None):
        raise UsageError("give either a wire address or a locator; nothing was changed")
    with instance.locked():
        known = fabric.read(instance)
        known.check_sir(sir)
        if wire is None:
            wire = known.to_wire(sir, locator)
        check_wire(known, sir, wire)
        if generation is None:
            generation = _next_generation(instance, sir)
        mapping = Mapping(sir, wire, "local" if known.is_local(wire) else "forward", generation)
        _put(instance, mapping)
    return mapping


def _next_generation(instance: Instance, sir: Address) -> int:
    old = instance.mappings.get(sir.packed)
    return min(int(old["generation"]) + 1, _GENERATION_MAX) if old is not None else 1


def _put(instance: Instance, mapping: Mapping) -> None:
    row = instance.mappings.new()[0]
    row["wire"] = (mapping.wire.prefix, mapping.wire.identifier)
    row["action"] = _actions()[mapping.action]
    row["generation"] = mapping.generation
    instance.mappings.put(mapping.sir.packed, row)


def put_local(instance: Instance, sir: Address, wire: Address) -> bytes | None:
    """Point a SIR address at this host's own endpoint.

    Returns:
        The row that stood there, for `restore`.
    """
    previous = instance.mappings.map.lookup(sir.packed)
    _put(instance, Mapping(sir, wire, "local", _next_generation(instance, sir)))
    return previous


def restore(instance: Instance, sir: Address, previous: bytes | None) -> None:
    """Put back what `put_local` replaced."""
    if previous is None:
        instance.mappings.delete(sir.packed)
    else:
        instance.mappings.map.update(sir.packed, previous)


def delete_local(instance: Instance, sir: Address, wire: Address) -> None:
    """Remove the mapping of a local endpoint, unless it points elsewhere by now."""
    row = instance.mappings.get(sir.packed)
    if row is not None and _from_row(sir, row).wire == wire:
        instance.mappings.delete(sir.packed)


def get(instance: Instance, sir: Address) -> Mapping | None:
    """One mapping, or None."""
    row = instance.mappings.get(sir.packed)
    return None if row is None else _from_row(sir, row)


def delete(instance: Instance, sir: Address) -> bool:
    """Remove one mapping; False if there was none.

    Raises:
        ConflictError: the instance was taken down meanwhile; nothing was changed.
    """
    with instance.locked():
        return instance.mappings.delete(sir.packed)


def put_bulk(
    instance: Instance,
    sir: NDArray[np.uint64],
    *,
    wire: NDArray[np.uint64] | None = None,
    locator: NDArray[np.uint64] | int | None = None,
    generation: int | None = None,
) -> int:
    """Write many mappings at once.

    Args:
        sir: uint64, shape (n, 2): SIR prefix and identifier.
        wire: same shape; or
        locator: upper half of a locator, one for all or shape (n,), from which
            the neutral wire addresses are computed.
        generation: of all rows; default: one more than the row that is replaced,
            and the same if nothing changes.

    Returns:
        Rows written.

    Raises:
        AddressError: names the first row that cannot be mapped; nothing was
            written.
        UsageError: a row is outside of the SIR prefixes; nothing was written.
        ConflictError: the instance was taken down meanwhile; nothing was written.
        MapFullError: its `written` tells how many rows were written.
    """
    from ilax import address_bulk

    with instance.locked():
        known = fabric.read(instance)
        if wire is not None:
            check_bulk(known, sir, wire)
        elif locator is not None:
            check_prefixes(known, sir)
            wire = address_bulk.to_wire(sir, locator, cbit=known.cbit, typed=known.typed)
            check_reach(known, wire)
        else:
            raise UsageError("give either wire addresses or a locator; nothing was written")
        if generation is None:
            numbers = Standing(instance, sir).generations(known, sir, wire)
            return write_bulk(instance, known, sir, wire, numbers)
        return write_bulk(instance, known, sir, wire, generation)


def check_prefixes(known: Fabric, sir: NDArray[np.uint64]) -> None:
    """Raise unless every address lies inside a SIR prefix.

    Raises:
        UsageError: names the first address that does not.
    """
    import numpy as np

    from ilax import address_bulk

    outside = ~np.isin(sir[:, 0], np.array([p.upper for p in known.sir_prefixes], np.uint64))
    if outside.any():
        first = address_bulk.format_texts(sir[outside][:1])[0]
        raise UsageError(
            f"{int(outside.sum())} addresses are outside of the SIR prefixes, the first is "
            f"{first}; nothing was written"
        )


def check_reach(known: Fabric, wire: NDArray[np.uint64]) -> None:
    """Raise unless every address lies outside of the SIR prefixes, as a wire address does.

    Raises:
        UsageError: names the first address that does not.
    """
    import numpy as np

    from ilax import address_bulk

    inside = np.isin(wire[:, 0], np.array([p.upper for p in known.sir_prefixes], np.uint64))
    if inside.any():
        first = address_bulk.format_texts(wire[inside][:1])[0]
        raise UsageError(
            f"{int(inside.sum())} wire addresses are SIR addresses, the first is {first}; "
            "nothing was written"
        )


def check_bulk(known: Fabric, sir: NDArray[np.uint64], wire: NDArray[np.uint64]) -> None:
    """Raise unless every `wire` is the neutral wire address of its `sir`.

    Raises:
        AddressError, UsageError: names the first row that is not.
    """
    import numpy as np

    from ilax import address_bulk

    check_prefixes(known, sir)
    check_reach(known, wire)
    expected = address_bulk.to_wire(sir, wire[:, 0], cbit=known.cbit, typed=known.typed)
    wrong = (expected != wire).any(axis=1)
    if wrong.any():
        first, given = address_bulk.format_texts(np.stack([sir[wrong][0], wire[wrong][0]]))
        raise UsageError(
            f"{int(wrong.sum())} wire addresses are not neutral, the first is {given} for "
            f"{first}; nothing was written"
        )


def write_bulk(
    instance: Instance,
    known: Fabric,
    sir: NDArray[np.uint64],
    wire: NDArray[np.uint64],
    generation: NDArray[np.uint64] | int = 1,
) -> int:
    """Write checked rows; see `put_bulk`."""
    import numpy as np

    rows = instance.mappings.new(len(sir))
    rows["wire"]["prefix"] = wire[:, 0]
    rows["wire"]["identifier"] = wire[:, 1]
    rows["action"] = actions_of(known, wire)
    rows["generation"] = generation
    keys = np.ascontiguousarray(sir.astype(">u8")).view(instance.mappings.key_dtype)[:, 0]
    return instance.mappings.put_rows(keys, rows)


def actions_of(known: Fabric, wire: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Actions that lead to wire addresses (n, 2): local ones are this host's."""
    import numpy as np

    local = np.isin(wire[:, 0], np.array([p.upper for p in known.locators], np.uint64))
    actions = _actions()
    return np.where(local, actions["local"], actions["forward"]).astype(np.uint8)


class Standing:
    """The rows that stand before a bulk load, to number their successors.

    Args:
        asked: SIR addresses of the load. For a few the rows are looked up, for
            many the whole table is read in batches.
    """

    def __init__(self, instance: Instance, asked: NDArray[np.uint64]) -> None:
        few = len(asked) <= _FEW_ROWS
        self._sir, self._rows = _look_up(instance, asked) if few else read_all(instance)

    def generations(
        self, known: Fabric, sir: NDArray[np.uint64], wire: NDArray[np.uint64]
    ) -> NDArray[np.uint64]:
        """Generation of each row to be written.

        Returns:
            1 for a new row, that of the row it replaces if they are the same,
            and one more if they differ.
        """
        import numpy as np

        found = np.ones(len(sir), np.uint64)
        place = self._places(sir)
        asked = np.flatnonzero(place >= 0)
        old, wire = self._rows[place[asked]], wire[asked]
        changed = (
            (old["wire"]["prefix"] != wire[:, 0])
            | (old["wire"]["identifier"] != wire[:, 1])
            | (old["action"] != actions_of(known, wire))
        )
        changed &= old["generation"] < _GENERATION_MAX
        found[asked] = old["generation"] + changed.astype(np.uint64)
        return found

    def hold(self, sir: NDArray[np.uint64], rows: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of some rows that were read before still are what they were."""
        place = self._places(sir)
        same = place >= 0
        same[same] = (_bytes(self._rows[place[same]]) == _bytes(rows[same])).all(axis=1)
        return same

    def _places(self, sir: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Where each address stands among the rows, -1 for nowhere."""
        import numpy as np

        found = np.full(len(sir), -1, np.intp)
        for prefix in np.unique(sir[:, 0]):
            # Both halves are in order, so the rows of a prefix stand together.
            first, end = (
                int(np.searchsorted(self._sir[:, 0], prefix, side)) for side in ("left", "right")
            )
            asked = np.flatnonzero(sir[:, 0] == prefix)
            places = first + np.searchsorted(self._sir[first:end, 1], sir[asked, 1])
            hit = places < end
            hit[hit] = self._sir[places[hit], 1] == sir[asked[hit], 1]
            found[asked[hit]] = places[hit]
        return found


def _bytes(rows: NDArray[np.void]) -> NDArray[np.uint8]:
    """The bytes of rows, shape (n, bytes of a row)."""
    import numpy as np

    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), rows.dtype.itemsize)


def _look_up(
    instance: Instance, asked: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.void]]:
    """The rows of some addresses that have one, as `read_all` returns them."""
    import numpy as np

    found = []
    for prefix, identifier in np.unique(asked, axis=0).tolist():
        raw = instance.mappings.map.lookup(Address(prefix, identifier).packed)
        if raw is not None:
            found.append((prefix, identifier, raw))
    sir = np.array([half[:2] for half in found], np.uint64).reshape(-1, 2)
    raws = b"".join(raw for *_, raw in found)
    return sir, np.frombuffer(raws, instance.mappings.value_dtype)


def read_all(instance: Instance) -> tuple[NDArray[np.uint64], NDArray[np.void]]:
    """All mappings.

    Returns:
        SIR addresses, native uint64 (n, 2), and rows of `ilax_mapping`, (n,);
        both in the order of the addresses.
    """
    import numpy as np

    keys, rows = instance.mappings.rows()
    sir = np.stack([keys["prefix"], keys["identifier"]], axis=1).astype(np.uint64)
    order = np.lexsort((sir[:, 1], sir[:, 0]))
    return sir[order], rows[order]


def delete_bulk(
    instance: Instance, sir: NDArray[np.uint64], *, known: NDArray[np.void] | None = None
) -> int:
    """Remove many mappings: uint64 (n, 2). Returns how many there were.

    Args:
        known: their rows as they were read before. What has been written anew since
            stays: somebody wants it.

    Raises:
        ConflictError: the instance was taken down meanwhile; nothing was changed.
    """
    import numpy as np

    with instance.locked():
        if known is not None:
            sir = sir[Standing(instance, sir).hold(sir, known)]
        keys = np.ascontiguousarray(sir.astype(">u8")).view(instance.mappings.key_dtype)[:, 0]
        return instance.mappings.delete_rows(keys)


def action_names() -> dict[int, str]:
    """Names of the actions by number."""
    return {value: name for name, value in _actions().items()}
