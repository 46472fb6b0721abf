# SPDX-License-Identifier: Apache-2.0
"""BTF: the type information that travels with objects and loaded maps.

Only the part of the format that data layouts need is decoded; see
Documentation/bpf/btf.rst of the Linux kernel for the encoding.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from ilax.bpf import _libbpf
from ilax.errors import SystemCallError

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT = range(1, 12)
FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)

_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MAGIC = 0xEB9F

# Bytes behind the common header: fixed part, and part for each of vlen.
_TAIL = {
    INT: (4, 0), ARRAY: (12, 0), STRUCT: (0, 12), UNION: (0, 12), ENUM: (0, 8),
    FUNC_PROTO: (0, 8), VAR: (4, 0), DATASEC: (0, 12), DECL_TAG: (4, 0), ENUM64: (0, 12),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or union."""

    name: str
    type_id: int
    bit_offset: int
    bitfield_size: int


@dataclass(frozen=True, slots=True)
class Type:
    """One BTF type.

    Attributes:
        size: bytes, for kinds that have one.
        type_id: the type referred to, for kinds that refer to one.
        members: of a struct or union.
        values: of an enum, in order of declaration.
        elements: of an array.
    """

    id: int
    kind: int
    name: str
    size: int = 0
    type_id: int = 0
    members: tuple[Member, ...] = ()
    values: tuple[tuple[str, int], ...] = ()
    elements: int = 0
    signed: bool = False


class Btf:
    """Decoded type information.

    Args:
        raw: the contents of a .BTF section.
    """

    def __init__(self, raw: bytes) -> None:
        self.types: list[Type] = [Type(0, 0, "void")]
        self._decode(raw)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Of an ELF object.

        Raises:
            SystemCallError: the file is missing, or no object with BTF.
        """
        return cls._take(
            _libbpf.lib.btf__parse(os.fsencode(path), None), f"read the types of {path}"
        )

    @classmethod
    def from_kernel(cls, btf_id: int) -> Self:
        """Of something loaded: the types its creator had."""
        return cls._take(
            _libbpf.lib.btf__load_from_kernel_by_id(btf_id), f"read kernel BTF {btf_id}"
        )

    @classmethod
    def _take(cls, handle: int | None, action: str) -> Self:
        if not handle:
            raise SystemCallError(action, _libbpf.get_errno())
        try:
            size = _libbpf.new_uint32()
            address = _libbpf.lib.btf__raw_data(handle, _libbpf.pointer(size))
            return cls(_libbpf.read_memory(address, size.value))
        finally:
            _libbpf.lib.btf__free(handle)

    @cached_property
    def by_name(self) -> dict[str, Type]:
        """Named structs, unions and enums."""
        wanted = (STRUCT, UNION, ENUM, ENUM64)
        return {t.name: t for t in self.types if t.kind in wanted and t.name}

    def variable(self, name: str) -> Type:
        """The type of a global variable.

        Raises:
            KeyError: there is no such variable.
        """
        for t in self.types:
            if t.kind == VAR and t.name == name:
                return self.types[t.type_id]
        raise KeyError(name)

    def resolve(self, type_id: int) -> tuple[Type, str]:
        """Follow typedefs and qualifiers.

        Returns:
            The type behind them, and the name of the outermost typedef that
            tells a byte order (`__be*`), or "".
        """
        wire = ""
        t = self.types[type_id]
        while t.kind in (TYPEDEF, CONST, VOLATILE, RESTRICT, TYPE_TAG):
            if t.kind == TYPEDEF and t.name.startswith("__be"):
                wire = t.name
            t = self.types[t.type_id]
        return t, wire

    def size_of(self, type_id: int) -> int:
        """Bytes of a type."""
        t, _ = self.resolve(type_id)
        return self.size_of(t.type_id) * t.elements if t.kind == ARRAY else t.size

    def _decode(self, raw: bytes) -> None:
        magic, _, _, header_size, type_off, type_len, str_off, str_len = _HEADER.unpack_from(raw)
        if magic != _MAGIC:
            raise ValueError("no BTF")
        strings = raw[header_size + str_off : header_size + str_off + str_len]
        at = header_size + type_off
        end = at + type_len

        def name(offset: int) -> str:
            return strings[offset : strings.index(b"\0", offset)].decode()

        while at < end:
            name_off, info, extra = _TYPE.unpack_from(raw, at)
            kind, vlen, flag = info >> 24 & 0x1F, info & 0xFFFF, info >> 31
            fixed, each = _TAIL.get(kind, (0, 0))
            tail = raw[at + 12 : at + 12 + fixed + each * vlen]
            at += 12 + len(tail)
            self.types.append(
                self._type(len(self.types), kind, name(name_off), extra, flag, tail, name)
            )

    @staticmethod
    def _type(
        number: int, kind: int, label: str, extra: int, flag: int, tail: bytes, name: object
    ) -> Type:
        assert callable(name)
        if kind in (STRUCT, UNION):
            members = tuple(
                Member(name(n), t, off & 0xFFFFFF if flag else off, off >> 24 if flag else 0)
                for n, t, off in struct.iter_unpack("<III", tail)
            )
            return Type(number, kind, label, size=extra, members=members)
        if kind == ENUM:
            form = "<Ii" if flag else "<II"
            values = tuple((name(n), v) for n, v in struct.iter_unpack(form, tail))
            return Type(number, kind, label, size=extra, values=values, signed=bool(flag))
        if kind == ENUM64:
            values = tuple(
                (name(n), lo | hi << 32) for n, lo, hi in struct.iter_unpack("<III", tail)
            )
            return Type(number, kind, label, size=extra, values=values)
        if kind == ARRAY:
            element, _, count = struct.unpack("<III", tail)
            return Type(number, kind, label, type_id=element, elements=count)
        if kind == INT:
            (encoding,) = struct.unpack("<I", tail)
            return Type(number, kind, label, size=extra, signed=bool(encoding >> 24 & 1))
        if kind in (DATASEC, FLOAT):
            return Type(number, kind, label, size=extra)
        if kind == PTR:
            return Type(number, kind, label, size=8, type_id=extra)
        return Type(number, kind, label, type_id=extra)
