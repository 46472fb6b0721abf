# SPDX-License-Identifier: Apache-2.0
"""The machine itself: kernel, capabilities, the file system of the pins."""

from __future__ import annotations

from collections.abc import Iterator

from ilax.check.model import Finding, Needs, Severity, check, kind
from ilax.check.view import View
from ilax.errors import IlaxError
from ilax.instances.pins import BPFFS, bpffs_is_mounted
from ilax.system import kernel

KERNEL = kind(
    "host.kernel", Severity.ERROR, "the kernel is too old for ilax, or was built without BTF"
)
CAPABILITY = kind(
    "host.capability", Severity.WARNING,
    "this process may not see everything, so some checks say less or nothing",
)  # fmt: skip
NO_BPFFS = kind(
    "host.no-bpffs", Severity.ERROR, "no file system for pins is mounted: no instance can be seen"
)


@check(Needs.NOTHING)
def machine(view: View) -> Iterator[Finding]:
    """Whether ilax can run here at all, and this check, too."""
    try:
        kernel.require_kernel()
    except IlaxError as error:
        yield KERNEL.found(
            "kernel",
            seen=str(error).partition(";")[0],
            expected=f"Linux {kernel.OLDEST[0]}.{kernel.OLDEST[1]} or later, with BTF",
            command="boot another kernel",
        )
    if view.missing:
        yield CAPABILITY.found(
            "this process",
            seen=f"missing: {', '.join(view.missing)}",
            expected="all that `up` and `endpoint add` need",
            command=view.command("check") + "  # as root",
        )
    if not bpffs_is_mounted():
        yield NO_BPFFS.found(
            BPFFS,
            seen="another file system, or none",
            expected="bpffs; `ip netns exec` hides the host's, `nsenter --net=...` does not",
            command=f"mount -t bpf bpf {BPFFS} -o mode=0700",
        )
