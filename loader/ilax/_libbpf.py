# SPDX-License-Identifier: Apache-2.0
"""Raw libbpf through ctypes: one table of signatures, nothing else.

This is the only module of ilax that knows ctypes types of libbpf. It owns
nothing and checks nothing but versions; `ilax.bpf` turns it into handles.
Integers come back as libbpf returns them (negative errno on failure), pointers
as integers or None with `get_errno()` set.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

from ilax.errors import IlaxError

LIBRARY = "libbpf.so.1"
MINIMUM_VERSION = (1, 0)


class TestRunOpts(ctypes.Structure):
    """struct bpf_test_run_opts."""

    _fields_ = [
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    ]


class BatchOpts(ctypes.Structure):
    """struct bpf_map_batch_opts."""

    _fields_ = [("sz", c_size_t), ("elem_flags", c_uint64), ("flags", c_uint64)]


class ObjGetOpts(ctypes.Structure):
    """struct bpf_obj_get_opts, as libbpf 1.0 has it."""

    _fields_ = [("sz", c_size_t), ("file_flags", c_uint32)]


class MapCreateOpts(ctypes.Structure):
    """struct bpf_map_create_opts, as libbpf 1.0 has it."""

    _fields_ = [
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    ]


class LinkCreateOpts(ctypes.Structure):
    """struct bpf_link_create_opts, up to what every kind of link has."""

    _fields_ = [
        ("sz", c_size_t),
        ("flags", c_uint32),
        ("iter_info", c_void_p),
        ("iter_info_len", c_uint32),
        ("target_btf_id", c_uint32),
    ]


class ProgQueryOpts(ctypes.Structure):
    """struct bpf_prog_query_opts, as libbpf 1.0 knows it."""

    _fields_ = [
        ("sz", c_size_t),
        ("query_flags", c_uint32),
        ("attach_flags", c_uint32),
        ("prog_ids", c_void_p),
        ("prog_cnt", c_uint32),
        ("prog_attach_flags", c_void_p),
    ]


class MapInfo(ctypes.Structure):
    """struct bpf_map_info, the prefix that Linux 6.1 fills."""

    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", ctypes.c_char * 16),
        ("ifindex", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("btf_id", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
    ]


class ProgInfo(ctypes.Structure):
    """struct bpf_prog_info, what Linux 6.1 fills."""

    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("jited_prog_insns", c_uint64),
        ("xlated_prog_insns", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", ctypes.c_char * 16),
        ("ifindex", c_uint32),
        ("gpl_compatible", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("nr_jited_ksyms", c_uint32),
        ("nr_jited_func_lens", c_uint32),
        ("jited_ksyms", c_uint64),
        ("jited_func_lens", c_uint64),
        ("btf_id", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("func_info", c_uint64),
        ("nr_func_info", c_uint32),
        ("nr_line_info", c_uint32),
        ("line_info", c_uint64),
        ("jited_line_info", c_uint64),
        ("nr_jited_line_info", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("jited_line_info_rec_size", c_uint32),
        ("nr_prog_tags", c_uint32),
        ("prog_tags", c_uint64),
        ("run_time_ns", c_uint64),
        ("run_cnt", c_uint64),
        ("recursion_misses", c_uint64),
    ]


class _LinkTarget(ctypes.Union):
    """The union in struct bpf_link_info: where XDP and tcx, or cgroups, say where they are."""

    _fields_ = [("ifindex", c_uint32), ("cgroup_id", c_uint64), ("rest", c_uint64 * 9)]


class LinkInfo(ctypes.Structure):
    """struct bpf_link_info."""

    _anonymous_ = ("target",)
    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("prog_id", c_uint32),
        ("target", _LinkTarget),
    ]


RING_CALLBACK = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)

_INT = c_int
_PTR = c_void_p

# name: (result, arguments). A plain c_int result of a pointer function would be
# cut to 32 bits, so every entry states both.
SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "libbpf_major_version": (c_uint32, ()),
    "libbpf_minor_version": (c_uint32, ()),
    "libbpf_set_print": (_PTR, (_PTR,)),
    "bpf_object__open_file": (_PTR, (c_char_p, _PTR)),
    "bpf_object__load": (_INT, (_PTR,)),
    "bpf_object__close": (None, (_PTR,)),
    "bpf_object__next_map": (_PTR, (_PTR, _PTR)),
    "bpf_object__next_program": (_PTR, (_PTR, _PTR)),
    "bpf_object__btf": (_PTR, (_PTR,)),
    "bpf_map__name": (c_char_p, (_PTR,)),
    "bpf_map__fd": (_INT, (_PTR,)),
    "bpf_map__set_max_entries": (_INT, (_PTR, c_uint32)),
    "bpf_map__set_map_flags": (_INT, (_PTR, c_uint32)),
    "bpf_map__map_flags": (c_uint32, (_PTR,)),
    "bpf_map__max_entries": (c_uint32, (_PTR,)),
    "bpf_map__reuse_fd": (_INT, (_PTR, _INT)),
    "bpf_map__btf_key_type_id": (c_uint32, (_PTR,)),
    "bpf_map__btf_value_type_id": (c_uint32, (_PTR,)),
    "bpf_map__type": (_INT, (_PTR,)),
    "bpf_map__key_size": (c_uint32, (_PTR,)),
    "bpf_map__value_size": (c_uint32, (_PTR,)),
    "bpf_program__name": (c_char_p, (_PTR,)),
    "bpf_program__fd": (_INT, (_PTR,)),
    "bpf_program__set_log_buf": (_INT, (_PTR, _PTR, c_size_t)),
    "bpf_program__set_log_level": (_INT, (_PTR, c_uint32)),
    "bpf_obj_pin": (_INT, (_INT, c_char_p)),
    "bpf_obj_get_opts": (_INT, (c_char_p, _PTR)),
    "bpf_obj_get_info_by_fd": (_INT, (_INT, _PTR, _PTR)),
    "bpf_map_create": (_INT, (_INT, c_char_p, c_uint32, c_uint32, c_uint32, _PTR)),
    "bpf_map_lookup_elem": (_INT, (_INT, _PTR, _PTR)),
    "bpf_map_update_elem": (_INT, (_INT, _PTR, _PTR, c_uint64)),
    "bpf_map_delete_elem": (_INT, (_INT, _PTR)),
    "bpf_map_get_next_key": (_INT, (_INT, _PTR, _PTR)),
    "bpf_map_freeze": (_INT, (_INT,)),
    "bpf_map_lookup_batch": (_INT, (_INT, _PTR, _PTR, _PTR, _PTR, _PTR, _PTR)),
    "bpf_map_update_batch": (_INT, (_INT, _PTR, _PTR, _PTR, _PTR)),
    "bpf_map_delete_batch": (_INT, (_INT, _PTR, _PTR, _PTR)),
    "bpf_prog_test_run_opts": (_INT, (_INT, _PTR)),
    "bpf_prog_get_fd_by_id": (_INT, (c_uint32,)),
    "bpf_map_get_fd_by_id": (_INT, (c_uint32,)),
    "bpf_prog_query_opts": (_INT, (_INT, _INT, _PTR)),
    "bpf_link_create": (_INT, (_INT, _INT, _INT, _PTR)),
    "bpf_link_update": (_INT, (_INT, _INT, _PTR)),
    "bpf_link_detach": (_INT, (_INT,)),
    "bpf_xdp_query_id": (_INT, (_INT, _INT, _PTR)),
    "btf__load_from_kernel_by_id": (_PTR, (c_uint32,)),
    "btf__parse": (_PTR, (c_char_p, _PTR)),
    "btf__raw_data": (_PTR, (_PTR, _PTR)),
    "btf__free": (None, (_PTR,)),
    "libbpf_num_possible_cpus": (_INT, ()),
    "ring_buffer__new": (_PTR, (_INT, _PTR, _PTR, _PTR)),
    "ring_buffer__poll": (_INT, (_PTR, _INT)),
    "ring_buffer__free": (None, (_PTR,)),
}


def _load() -> Any:
    try:
        library = ctypes.CDLL(LIBRARY, use_errno=True)
    except OSError as error:
        raise IlaxError(
            f"cannot load {LIBRARY}: {error}", hint="install libbpf 1.0 or later (Debian: libbpf1)"
        ) from error
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    version = (library.libbpf_major_version(), library.libbpf_minor_version())
    if version < MINIMUM_VERSION:
        raise IlaxError(f"libbpf {version[0]}.{version[1]} is too old: 1.0 or later is needed")
    # libbpf prints failures to stderr by default; ours are exceptions.
    library.libbpf_set_print(None)
    return library


lib = _load()

get_errno = ctypes.get_errno


def opts(structure: ctypes.Structure) -> ctypes.Structure:
    """Fill in the size field that every libbpf options struct begins with."""
    structure.sz = ctypes.sizeof(structure)
    return structure


def pointer(structure: Any) -> int:
    """Address of a ctypes object. Keep the object alive during the call."""
    return ctypes.addressof(structure)


def size_of(structure: Any) -> int:
    """Bytes of a ctypes object or type."""
    return ctypes.sizeof(structure)


def buffer(size: int) -> Any:
    """A zeroed buffer of `size` bytes."""
    return ctypes.create_string_buffer(max(size, 1))


def buffer_from(data: bytes) -> Any:
    """A buffer with a copy of `data`, without a terminator."""
    return ctypes.create_string_buffer(data, max(len(data), 1))


def read_memory(address: int, size: int) -> bytes:
    """Copy `size` bytes that a library handed out."""
    return ctypes.string_at(address, size)


def new_uint32(value: int = 0) -> Any:
    """A uint32 that a call may write to."""
    return c_uint32(value)


def uint32_array(count: int) -> Any:
    """`count` zeroed uint32 that a call may write to."""
    return (c_uint32 * count)()


def function_address(callback: Any) -> int:
    """Address of a CFUNCTYPE object. Keep the object alive while it is used."""
    address = ctypes.cast(callback, c_void_p).value
    assert address is not None
    return address
