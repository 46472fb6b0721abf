# SPDX-License-Identifier: Apache-2.0
"""Maps: single rows as bytes, many rows as numpy arrays."""

from __future__ import annotations

import errno
import functools
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ilax.bpf import _libbpf
from ilax.bpf.handle import Handle, fill_info, get_pinned
from ilax.errors import ConflictError, MapFullError, SystemCallError, check_system_call

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes2D = NDArray[np.uint8]

# enum bpf_map_type, the ones that ilax uses.
HASH = 1
ARRAY = 2
PROG_ARRAY = 3
PERCPU_ARRAY = 6
DEVMAP_HASH = 25
RINGBUF = 27

_PER_CPU = {5, PERCPU_ARRAY, 10, 21}

# Flags of an update.
ANY = 0
NO_EXIST = 1
EXIST = 2

_READ_BATCH = 65536
_ADDRESS_BYTES = 16


@functools.cache
def possible_cpus() -> int:
    """CPUs that per-CPU values have room for (possible, not online)."""
    return check_system_call(_libbpf.lib.libbpf_num_possible_cpus(), "count CPUs")


class Map(Handle):
    """An open BPF map.

    Attributes:
        type: enum bpf_map_type.
        key_size: bytes.
        value_size: bytes of one value (of one CPU, for per-CPU maps).
        max_entries: rows (bytes, for a ring buffer).
        id: the kernel's number of this map.
        btf_id, btf_key_type_id, btf_value_type_id: 0 where the kernel has none.
    """

    kind = "map"

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        info = _libbpf.MapInfo()
        fill_info(fd, info, f"query map of descriptor {fd}")
        self.name = info.name.decode()
        self.type: int = info.type
        self.id: int = info.id
        self.key_size: int = info.key_size
        self.value_size: int = info.value_size
        self.max_entries: int = info.max_entries
        self.flags: int = info.map_flags
        self.btf_id: int = info.btf_id
        self.btf_key_type_id: int = info.btf_key_type_id
        self.btf_value_type_id: int = info.btf_value_type_id
        self._key = _libbpf.buffer(self.key_size)
        self._value = _libbpf.buffer(self.value_bytes)

    @classmethod
    def open_pinned(cls, path: Path | str, *, read_only: bool = False) -> Self:
        """Open the map pinned at `path`.

        Args:
            read_only: the kernel refuses all writes by this handle.

        Raises:
            NotFoundError: nothing is pinned there.
        """
        return cls(get_pinned(Path(path), cls.kind, read_only=read_only))

    @classmethod
    def by_id(cls, number: int) -> Self:
        """Open a map by the kernel's number; needs CAP_SYS_ADMIN."""
        return cls(
            check_system_call(
                _libbpf.lib.bpf_map_get_fd_by_id(number), f"open map number {number}", admin=True
            )
        )

    @property
    def per_cpu(self) -> bool:
        """Whether a lookup returns one value for each possible CPU."""
        return self.type in _PER_CPU

    @property
    def value_bytes(self) -> int:
        """Bytes that one lookup returns: per-CPU values are padded to 8."""
        if self.per_cpu:
            return (self.value_size + 7) // 8 * 8 * possible_cpus()
        return self.value_size

    def lookup(self, key: bytes) -> bytes | None:
        """The value of `key`, or None."""
        self._set_key(key)
        result = _libbpf.lib.bpf_map_lookup_elem(
            self.fd, _libbpf.pointer(self._key), _libbpf.pointer(self._value)
        )
        if result == -errno.ENOENT:
            return None
        check_system_call(result, f"read {self._row(key)}")
        return bytes(self._value.raw)

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Write one row.

        Raises:
            ConflictError: the row exists (NO_EXIST) or is missing (EXIST).
            MapFullError: no room.
        """
        self._set_key(key)
        if len(value) != self.value_bytes:
            raise ValueError(f"{self.name}: value of {len(value)} bytes, not {self.value_bytes}")
        self._value.raw = value
        result = _libbpf.lib.bpf_map_update_elem(
            self.fd, _libbpf.pointer(self._key), _libbpf.pointer(self._value), flags
        )
        if result == -errno.E2BIG:
            raise MapFullError(f"write {self._row(key)}", errno.E2BIG, 0)
        if result == -errno.EEXIST and flags == NO_EXIST:
            raise ConflictError(f"{self._row(key)} exists already; it was left unchanged")
        if result == -errno.ENOENT and flags == EXIST:
            raise ConflictError(f"{self._row(key)} does not exist; nothing was written")
        check_system_call(result, f"write {self._row(key)}")

    def delete(self, key: bytes) -> bool:
        """Remove one row; False if there was none."""
        self._set_key(key)
        result = _libbpf.lib.bpf_map_delete_elem(self.fd, _libbpf.pointer(self._key))
        if result == -errno.ENOENT:
            return False
        check_system_call(result, f"delete {self._row(key)}")
        return True

    def keys(self) -> Iterator[bytes]:
        """All keys, one call each; for small maps and those without batches."""
        previous: int | None = None
        current, following = _libbpf.buffer(self.key_size), _libbpf.buffer(self.key_size)
        while True:
            result = _libbpf.lib.bpf_map_get_next_key(self.fd, previous, _libbpf.pointer(following))
            if result == -errno.ENOENT:
                return
            check_system_call(result, f"walk map {self.name}")
            current.raw = following.raw
            previous = _libbpf.pointer(current)
            yield bytes(following.raw[: self.key_size])

    def update_batch(self, keys: Bytes2D, values: Bytes2D, flags: int = ANY) -> int:
        """Write many rows in one call.

        Args:
            keys: uint8, shape (n, key_size), C-contiguous.
            values: uint8, shape (n, value_bytes), C-contiguous.

        Returns:
            Rows written (n).

        Raises:
            MapFullError: its `written` says how many rows made it.
        """
        if len(keys) != len(values):
            raise ValueError(f"{self.name}: {len(keys)} keys for {len(values)} values")
        self._check_array(keys, self.key_size)
        self._check_array(values, self.value_bytes)
        if not len(keys):
            return 0
        count = _libbpf.new_uint32(len(keys))
        options = _libbpf.opts(_libbpf.BatchOpts(elem_flags=flags))
        result = _libbpf.lib.bpf_map_update_batch(
            self.fd,
            keys.ctypes.data,
            values.ctypes.data,
            _libbpf.pointer(count),
            _libbpf.pointer(options),
        )
        if result == -errno.E2BIG:
            raise MapFullError(f"write {len(keys)} rows of {self.name}", errno.E2BIG, count.value)
        check_system_call(result, f"write {len(keys)} rows of {self.name}")
        return int(count.value)

    def delete_batch(self, keys: Bytes2D) -> int:
        """Remove many rows; rows that are missing already are skipped.

        Returns:
            Rows that were removed.
        """
        self._check_array(keys, self.key_size)
        removed = 0
        start = 0
        while start < len(keys):
            rest = keys[start:]
            count = _libbpf.new_uint32(len(rest))
            options = _libbpf.opts(_libbpf.BatchOpts())
            result = _libbpf.lib.bpf_map_delete_batch(
                self.fd, rest.ctypes.data, _libbpf.pointer(count), _libbpf.pointer(options)
            )
            removed += count.value
            start += count.value
            if result == -errno.ENOENT:
                start += 1  # the kernel stops at the first missing row
                continue
            check_system_call(result, f"delete {len(keys)} rows of {self.name}")
        return removed

    def lookup_batch(self) -> tuple[Bytes2D, Bytes2D]:
        """All rows.

        Not a snapshot: a row that changes meanwhile may be seen old or new.

        Returns:
            keys (n, key_size) and values (n, value_bytes), uint8.
        """
        import numpy as np

        batches = list(self.batches())
        return np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])

    def count(self) -> int:
        """How many rows there are, by a walk over all of them.

        The kernel keeps that number and tells nobody (before 6.6, and since then BPF
        programs only).
        """
        return sum(len(keys) for keys, _ in self.batches())

    def batches(self, rows: int = _READ_BATCH) -> Iterator[tuple[Bytes2D, Bytes2D]]:
        """All rows in pieces, as `lookup_batch` returns them; of arrays in order.

        Args:
            rows: of one piece, about.
        """
        import numpy as np

        size = min(rows, max(self.max_entries, 1))
        cursor_in: int | None = None
        cursors = [_libbpf.buffer(max(self.key_size, 4)) for _ in range(2)]
        while True:
            keys = np.zeros((size, self.key_size), np.uint8)
            values = np.zeros((size, self.value_bytes), np.uint8)
            count = _libbpf.new_uint32(size)
            options = _libbpf.opts(_libbpf.BatchOpts())
            result = _libbpf.lib.bpf_map_lookup_batch(
                self.fd,
                cursor_in,
                _libbpf.pointer(cursors[0]),
                keys.ctypes.data,
                values.ctypes.data,
                _libbpf.pointer(count),
                _libbpf.pointer(options),
            )
            if result == -errno.ENOSPC:
                size *= 2  # a hash bucket did not fit; nothing was returned
                continue
            if result not in (0, -errno.ENOENT):
                raise SystemCallError(f"read the rows of {self.name}", -result)
            yield keys[: count.value], values[: count.value]
            if result == -errno.ENOENT:
                return
            cursors.reverse()
            cursor_in = _libbpf.pointer(cursors[1])

    def freeze(self) -> None:
        """Refuse all further writes from user space."""
        check_system_call(_libbpf.lib.bpf_map_freeze(self.fd), f"freeze map {self.name}")

    def _set_key(self, key: bytes) -> None:
        if len(key) != self.key_size:
            raise ValueError(f"{self.name}: key of {len(key)} bytes, not {self.key_size}")
        self._key.raw = key

    def _row(self, key: bytes) -> str:
        # Keys of this size are addresses in all maps of ours.
        words = str(IPv6Address(key)) if len(key) == _ADDRESS_BYTES else key.hex()
        return f"row {words} of map {self.name}"

    def _check_array(self, array: Bytes2D, width: int) -> None:
        if array.shape[1:] != (width,) or array.itemsize != 1:
            raise ValueError(f"{self.name}: array of shape {array.shape}, not (n, {width}) bytes")
        if not array.flags.c_contiguous:
            raise ValueError(f"{self.name}: array is not contiguous")
