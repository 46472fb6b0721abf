# SPDX-License-Identifier: Apache-2.0
"""Maps with the types of the contract: structured numpy arrays in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ilax.bpf import Map, possible_cpus
from ilax.bpf.map import ANY
from ilax.contract import schema

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.void]

# struct of the key (None: a u32 index) and of the value, by map.
_STRUCTS: dict[str, tuple[str | None, str]] = {
    "ilax_endpoints": ("ilax_addr", "ilax_endpoint"),
    "ilax_mappings": ("ilax_addr", "ilax_mapping"),
    "ilax_ports": (None, "ilax_port"),
    "ilax_prefixes": (None, "ilax_prefix"),
    "ilax_config": (None, "ilax_config"),
    "ilax_counters": (None, "ilax_counter"),
    "ilax_traffic": (None, "ilax_traffic"),
    "ilax_limits": (None, "ilax_limit"),
    "ilax_backlogs": (None, "ilax_backlog"),
    "ilax_chunks": (None, "ilax_chunk"),
}

_PIECE_BYTES = 4 << 20


class Table:
    """One map of the contract.

    Keys of address tables are 16 bytes in network order (`Address.packed`),
    other keys are 4 bytes in host order.
    """

    def __init__(self, opened: Map) -> None:
        self.map = opened
        self.key_struct, self.value_struct = _STRUCTS[opened.name]

    @property
    def key_dtype(self) -> np.dtype[Any]:
        """dtype of one key."""
        import numpy as np

        return schema.dtype(self.key_struct) if self.key_struct else np.dtype("<u4")

    @property
    def value_dtype(self) -> np.dtype[np.void]:
        """dtype of one value (of one CPU)."""
        return schema.dtype(self.value_struct)

    def new(self, count: int = 1) -> Rows:
        """`count` zeroed values to fill in."""
        import numpy as np

        return np.zeros(count, self.value_dtype)

    def get(self, key: bytes) -> np.void | None:
        """One value, or None."""
        import numpy as np

        raw = self.map.lookup(key)
        if raw is None:
            return None
        row: np.void = np.frombuffer(raw, self.value_dtype)[0]
        return row

    def put(self, key: bytes, value: np.void, flags: int = ANY) -> None:
        """Write one row; see `Map.update` for flags and errors."""
        self.map.update(key, value.tobytes(), flags)

    def delete(self, key: bytes) -> bool:
        """Remove one row; False if there was none."""
        return self.map.delete(key)

    def rows(self) -> tuple[NDArray[Any], Rows]:
        """All keys and values, shapes (n,) and (n,); not a snapshot."""
        keys, values = self.map.lookup_batch()
        return keys.view(self.key_dtype)[:, 0], values.view(self.value_dtype)[:, 0]

    def put_rows(self, keys: NDArray[Any], values: Rows, flags: int = ANY) -> int:
        """Write many rows: keys (n,) of `key_dtype`, values (n,) of `value_dtype`.

        Returns:
            Rows written.

        Raises:
            MapFullError: its `written` tells how far it came.
        """
        return self.map.update_batch(_as_bytes(keys), _as_bytes(values), flags)

    def delete_rows(self, keys: NDArray[Any]) -> int:
        """Remove many rows; returns how many there were."""
        return self.map.delete_batch(_as_bytes(keys))

    def per_cpu(self) -> Rows:
        """Values of a per-CPU array, shape (max_entries, possible CPUs)."""
        _, values = self.map.lookup_batch()
        rows: Rows = values.reshape(len(values), possible_cpus(), -1).view(self._padded)[..., 0]
        return rows

    def sums(self, count: int) -> Rows:
        """The first rows of a per-CPU array summed over all CPUs, shape (count,).

        Read in pieces: on hosts with very many CPUs the whole map has gigabytes.
        """
        rows, at = self.new(count), 0
        for _, values in self.map.batches(max(1, _PIECE_BYTES // self.map.value_bytes)):
            part = values.reshape(len(values), possible_cpus(), -1).view(self._padded)[..., 0]
            part = part[: count - at]
            for name in rows.dtype.names or ():
                rows[name][at : at + len(part)] = part[name].sum(axis=1)
            at += len(part)
            if at == count:
                break
        return rows

    def cpus(self, key: bytes) -> Rows:
        """One row of a per-CPU array, shape (possible CPUs,)."""
        import numpy as np

        raw = self.map.lookup(key)
        assert raw is not None, f"{self.map.name} is an array, and has no row {key.hex()}"
        rows: Rows = np.frombuffer(raw, self._padded, possible_cpus())
        return rows

    @property
    def _padded(self) -> np.dtype[np.void]:
        """The value as it stands in per-CPU maps: rounded up to 8 bytes."""
        import numpy as np

        fields: dict[str, Any] = dict(self.value_dtype.fields or {})
        return np.dtype(
            {
                "names": list(fields),
                "formats": [field[0] for field in fields.values()],
                "offsets": [field[1] for field in fields.values()],
                "itemsize": self.map.value_bytes // possible_cpus(),
            }
        )


def _as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    import numpy as np

    flat = np.ascontiguousarray(array)
    return flat.view(np.uint8).reshape(len(flat), flat.dtype.itemsize)


def index_key(index: int) -> bytes:
    """Key of an array or of a table keyed by ifindex: u32, host order."""
    return index.to_bytes(4, "little")
