# SPDX-License-Identifier: Apache-2.0
"""Programs that are not ours, for hooks that we share; one lets nothing pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ilax.bpf import Link, Object, Program
from lab.netns import Namespace, run

_SOURCE = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp.frags") int foreign_xdp(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp.frags") int foreign_aborts(struct xdp_md *ctx) { return XDP_ABORTED; }
SEC("tc") int foreign_tc(struct __sk_buff *ctx) { return -1; }
char LICENSE[] SEC("license") = "GPL";
"""


def build(folder: Path) -> Path:
    """Compile them; returns the object."""
    source, target = folder / "foreign.bpf.c", folder / "foreign.bpf.o"
    source.write_text(_SOURCE)
    machine = run("gcc", "-dumpmachine").stdout.strip()
    run(
        *("clang-19", "-target", "bpf", "-g", "-O2", f"-I/usr/include/{machine}"),
        *("-c", source, "-o", target),
    )
    return target


@contextlib.contextmanager
def tcx(
    ns: Namespace, device: str, program: Program, direction: int, flags: int = 0
) -> Iterator[None]:
    """A tcx program on a device as long as the context lasts."""
    with ns.entered():
        link = Link.tcx(program, ns.ifindex(device), direction, flags)
    with link:
        yield


@contextlib.contextmanager
def tc_program(built: Path) -> Iterator[Program]:
    """The program for tc, loaded."""
    with Object.open(built) as obj:
        obj.load()
        with obj.programs["foreign_tc"].open() as program:
            yield program
