# SPDX-License-Identifier: Apache-2.0
"""Waiting until no program can still hold what it looked up."""

from __future__ import annotations

import os
from contextlib import ExitStack

from ilax import _libbpf
from ilax.errors import check_system_call

# enum bpf_map_type
_ARRAY = 2
_ARRAY_OF_MAPS = 12

_NUMBER = 4


def wait_for_programs() -> None:
    """Return when every program that runs now on any CPU has ended: some 20 ms.

    The kernel promises this to whoever changes a map of maps (`maybe_wait_bpf_programs`
    in kernel/bpf/syscall.c). membarrier(2) would wait as long, but refuses to on hosts
    with `nohz_full`.

    Raises:
        SystemCallError: the kernel makes no such map.
    """
    with ExitStack() as stack:
        inner = _new_array(stack, _ARRAY, 0)
        outer = _new_array(stack, _ARRAY_OF_MAPS, inner)
        key, value = _libbpf.new_uint32(0), _libbpf.new_uint32(inner)
        check_system_call(
            _libbpf.lib.bpf_map_update_elem(outer, _libbpf.pointer(key), _libbpf.pointer(value), 0),
            "wait for running programs",
        )


def _new_array(stack: ExitStack, kind: int, inner: int) -> int:
    options = _libbpf.opts(_libbpf.MapCreateOpts(inner_map_fd=inner))
    fd = int(
        _libbpf.lib.bpf_map_create(
            kind, b"ilax_wait", _NUMBER, _NUMBER, 1, _libbpf.pointer(options)
        )
    )
    check_system_call(fd, "make a map to wait for running programs with")
    stack.callback(os.close, fd)
    return fd
