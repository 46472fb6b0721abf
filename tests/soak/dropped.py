# SPDX-License-Identifier: Apache-2.0
"""Packets that the kernel has dropped, by its own names for the reasons."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import build_objects
from ilax.bpf import Link, Object
from lab.netns import run

# enum bpf_attach_type
_TRACE_RAW_TP = 23
# What the kernel calls drops by programs at tc: ours have counted them as well.
BY_TC = ("TC_INGRESS", "TC_EGRESS")
# What it says of drops by XDP on a veth, and of some others.
BY_XDP = "NOT_SPECIFIED"


class _Tracing(Link):
    @classmethod
    def open(cls, program: object) -> Self:
        return cls._create(program, 0, _TRACE_RAW_TP, 0, "kfree_skb")  # type: ignore[arg-type]


class KernelDrops:
    """Counts while the context lasts.

    Args:
        folder: where the object may be built.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._names = _names()

    def __enter__(self) -> Self:
        source = Path(__file__).with_name("dropped.bpf.c")
        build_objects.build([source], self._folder)
        with Object.open(self._folder / "dropped.bpf.o") as built:
            built.load()
            self._map = self._stack.enter_context(built.maps["soak_dropped"].open())
            program = self._stack.enter_context(built.programs["soak_on_drop"].open())
            self._stack.enter_context(_Tracing.open(program))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self) -> Counter[str]:
        """Packets so far, by reason."""
        _, values = self._map.lookup_batch()
        counts = values.view("<u8")[:, 0]
        seen = ((n, int(count)) for n, count in enumerate(counts) if count)
        return Counter({self._names.get(n, f"reason {n}"): count for n, count in seen})


def _names() -> dict[int, str]:
    """Numbers of the running kernel's reasons, from its type information."""
    text = run("bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux").stdout
    found = re.search(r"ENUM 'skb_drop_reason'.*\n((?:\t'.*\n)+)", text)
    assert found is not None, "this kernel does not say why it drops"
    pairs = re.findall(r"'SKB_(?:DROP_REASON_)?(\w+)' val=(\d+)", found[1])
    return {int(value): name for name, value in pairs}
