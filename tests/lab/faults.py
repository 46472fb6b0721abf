# SPDX-License-Identifier: Apache-2.0
"""Kill a command at a chosen step: at one of the calls by which it changes something."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lab.ilax import Ilax

_CALLS = (
    "bpf", "sendto", "rename", "renameat2", "mkdir", "unlink", "rmdir", "setsockopt", "ioctl"
)  # fmt: skip

# Of `bpf` and of netlink messages, only those that change something.
_BPF = re.compile(
    r"BPF_(MAP_CREATE|MAP_UPDATE|MAP_DELETE|MAP_FREEZE|PROG_LOAD|OBJ_PIN|LINK_CREATE|LINK_UPDATE)"
)
_NETLINK = re.compile(r"nlmsg_flags=NLM_F_REQUEST\|NLM_F_ACK")
_LOOKS_ONLY = re.compile(r"RTM_GET|nlmsg_type=0x1[26] ")


@dataclass(frozen=True)
class Step:
    """One call that changes something.

    Attributes:
        call: name of the system call.
        number: it is the n-th one of that name in its process.
        text: how strace shows it.
    """

    call: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.call}-{self.number}"


def some(found: list[Step], count: int) -> list[Step]:
    """`count` of many steps, evenly spread, with the first and the last one."""
    if len(found) <= count:
        return found
    return [found[round(i * (len(found) - 1) / (count - 1))] for i in range(count)]


def steps(ilax: Ilax, log: Path, *args: object) -> list[Step]:
    """Run a command to its end and list the steps it took.

    Args:
        log: where strace may write.
    """
    traced = _under_strace(ilax, "-o", str(log), "-s", "64", "-e", f"trace={','.join(_CALLS)}")
    traced(*args)
    seen: Counter[str] = Counter()
    found = []
    for line in log.read_text().splitlines():
        call, _, rest = line.partition("(")
        if call not in _CALLS:
            continue
        seen[call] += 1
        if _changes(call, rest):
            found.append(Step(call, seen[call], line))
    return found


def _changes(call: str, rest: str) -> bool:
    if call == "bpf":
        return bool(_BPF.match(rest))
    if call == "sendto":
        return bool(_NETLINK.search(rest)) and not _LOOKS_ONLY.search(rest)
    return call in ("rename", "renameat2", "mkdir", "unlink", "rmdir")


def kill_at(ilax: Ilax, step: Step, *args: object) -> None:
    """Run a command that is killed when it enters a step.

    Raises:
        AssertionError: it was not killed, so it does not repeat its steps.
    """
    killed = _under_strace(
        ilax,
        *("-o", "/dev/null", "-e", f"trace={step.call}"),
        *("-e", f"inject={step.call}:signal=KILL:when={step.number}"),
    )
    done = killed.try_(*args)
    assert done.returncode in (-9, 137), (step, done)


def _under_strace(ilax: Ilax, *options: str) -> Ilax:
    return Ilax(ilax.ns, ilax.instance, ("strace", *options))
