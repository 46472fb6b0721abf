# SPDX-License-Identifier: Apache-2.0
"""Compiled objects: open, edit, load."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from ilax.bpf import _libbpf
from ilax.bpf.btf import Btf
from ilax.bpf.handle import Closing
from ilax.bpf.map import Map
from ilax.bpf.program import Program
from ilax.errors import SystemCallError, VerifierError

_LOG_BYTES = 1 << 20


class ObjectMap:
    """A map of an object, before and after load."""

    def __init__(self, handle: int, name: str) -> None:
        self._handle = handle
        self.name = name

    @property
    def btf_key_type_id(self) -> int:
        """Type of the key in the object's BTF, 0 for none."""
        return int(_libbpf.lib.bpf_map__btf_key_type_id(self._handle))

    @property
    def btf_value_type_id(self) -> int:
        """Type of the value in the object's BTF, 0 for none."""
        return int(_libbpf.lib.bpf_map__btf_value_type_id(self._handle))

    @property
    def type(self) -> int:
        """Enum bpf_map_type."""
        return int(_libbpf.lib.bpf_map__type(self._handle))

    @property
    def key_size(self) -> int:
        """Bytes of a key."""
        return int(_libbpf.lib.bpf_map__key_size(self._handle))

    @property
    def value_size(self) -> int:
        """Bytes of a value (of one CPU)."""
        return int(_libbpf.lib.bpf_map__value_size(self._handle))

    @property
    def flags(self) -> int:
        """BPF_F_* of the map's creation."""
        return int(_libbpf.lib.bpf_map__map_flags(self._handle))

    @property
    def max_entries(self) -> int:
        """Rows the map will have, or has."""
        return int(_libbpf.lib.bpf_map__max_entries(self._handle))

    def set_max_entries(self, rows: int) -> None:
        """Choose the size; before load only."""
        self._check(_libbpf.lib.bpf_map__set_max_entries(self._handle, rows), "size")

    def set_flags(self, flags: int) -> None:
        """Choose BPF_F_* flags; before load only."""
        self._check(_libbpf.lib.bpf_map__set_map_flags(self._handle, flags), "set flags of")

    def reuse(self, existing: Map) -> None:
        """Use an existing map instead of a new one; before load only."""
        self._check(_libbpf.lib.bpf_map__reuse_fd(self._handle, existing.fd), "reuse")

    def open(self) -> Map:
        """An owning handle of the loaded map."""
        fd = _libbpf.lib.bpf_map__fd(self._handle)
        self._check(fd, "open")
        return Map(os.dup(fd))

    def _check(self, result: int, verb: str) -> None:
        if result < 0:
            raise SystemCallError(f"{verb} map {self.name}", -result)


class ObjectProgram:
    """A program of an object, before and after load."""

    def __init__(self, handle: int, name: str) -> None:
        self._handle = handle
        self.name = name
        self._log: Any = None

    def prepare_log(self, level: int) -> None:
        """Give the verifier a place to write to. Level 0: on failure only."""
        self._log = _libbpf.buffer(_LOG_BYTES)
        _libbpf.lib.bpf_program__set_log_buf(self._handle, _libbpf.pointer(self._log), _LOG_BYTES)
        _libbpf.lib.bpf_program__set_log_level(self._handle, level)

    @property
    def log(self) -> str:
        """What the verifier said; empty before a load."""
        return "" if self._log is None else bytes(self._log.value).decode(errors="replace")

    def open(self) -> Program:
        """An owning handle of the loaded program."""
        fd = _libbpf.lib.bpf_program__fd(self._handle)
        if fd < 0:
            raise SystemCallError(f"open program {self.name}", -fd)
        return Program(os.dup(fd))


class Object(Closing):
    """An open object file.

    Opening reads it; `load()` creates its maps and loads its programs. Between
    the two, maps can be sized or replaced by existing ones.
    """

    def __init__(self, handle: int, path: Path) -> None:
        self._handle: int | None = handle
        self.path = path
        self.maps = {
            item.name: item for item in map(self._map, self._walk(_libbpf.lib.bpf_object__next_map))
        }
        self.programs = {
            item.name: item
            for item in map(self._program, self._walk(_libbpf.lib.bpf_object__next_program))
        }

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read an object file.

        Raises:
            SystemCallError: it is missing or no BPF object.
        """
        handle = _libbpf.lib.bpf_object__open_file(os.fsencode(path), None)
        if not handle:
            raise SystemCallError(f"open object {path}", _libbpf.get_errno())
        return cls(handle, path)

    def btf(self) -> Btf:
        """The types of the object."""
        handle = _libbpf.lib.bpf_object__btf(self._handle)
        size = _libbpf.new_uint32()
        address = _libbpf.lib.btf__raw_data(handle, _libbpf.pointer(size))
        return Btf(_libbpf.read_memory(address, size.value))

    def reuse_maps(self, existing: dict[str, Map]) -> None:
        """Use each of `existing` for the object's map of the same name."""
        for name, own in self.maps.items():
            if name in existing:
                own.reuse(existing[name])

    def load(self, *, log_level: int = 0) -> None:
        """Create maps and load programs.

        Raises:
            VerifierError: the kernel refused a program; nothing stays loaded.
            SystemCallError: a map could not be created.
        """
        for program in self.programs.values():
            program.prepare_log(log_level)
        result = _libbpf.lib.bpf_object__load(self._handle)
        if result >= 0:
            return
        for program in self.programs.values():
            if program.log:
                raise VerifierError(f"load program {program.name}", -result, program.log)
        raise SystemCallError(f"load object {self.path.name}", -result)

    def close(self) -> None:
        """Free the object. Programs and maps live on in their own handles."""
        if self._handle is not None:
            _libbpf.lib.bpf_object__close(self._handle)
            self._handle = None
            self.maps, self.programs = {}, {}

    def _walk(self, following: Callable[[int | None, int | None], int | None]) -> Iterator[int]:
        item = following(self._handle, None)
        while item:
            yield item
            item = following(self._handle, item)

    @staticmethod
    def _map(handle: int) -> ObjectMap:
        return ObjectMap(handle, _libbpf.lib.bpf_map__name(handle).decode())

    @staticmethod
    def _program(handle: int) -> ObjectProgram:
        return ObjectProgram(handle, _libbpf.lib.bpf_program__name(handle).decode())
