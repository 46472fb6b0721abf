# SPDX-License-Identifier: Apache-2.0
"""Small maps are made quickly: for those who load programs and need no room."""

from __future__ import annotations

from collections.abc import Container

from ilax.bpf import Object

_CGROUP_STORAGE = 19  # the kernel sizes it
_RINGBUF = 27
_PAGE = 4096  # a ring's size is a power of two of these


def shrink(opened: Object, rows: int, *, keep: Container[str] = ()) -> None:
    """Give every map of an object few rows; before it is loaded.

    Args:
        keep: names of maps that keep their size.
    """
    for name, item in opened.maps.items():
        if name not in keep and item.type != _CGROUP_STORAGE:
            item.set_max_entries(_PAGE if item.type == _RINGBUF else rows)
