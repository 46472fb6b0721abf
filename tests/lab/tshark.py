# SPDX-License-Identifier: Apache-2.0
"""What Wireshark's decoders say of a capture, checksums included."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.netns import Namespace, run
from lab.wait import until

# Of the expert system: what no sender should have made.
_ERROR = 0x00800000
_OPTIONS = (
    *("-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"),
    # Tests send text to its port, and so does traceroute.
    *("--disable-protocol", "dns"),
)
_FIELDS = (
    "_ws.malformed", "_ws.expert.severity", "_ws.expert.message", "tcp.checksum.status",
    "udp.checksum.status", "icmpv6.checksum.status",
)  # fmt: skip
_GOOD, _BAD = "1", "0"


@dataclass(frozen=True)
class Opinion:
    """Of one frame.

    Attributes:
        faults: malformed parts, errors, and checksums that are wrong.
        good: transports whose checksum was verified.
    """

    faults: tuple[str, ...]
    good: tuple[str, ...]


def read(file: Path) -> list[Opinion]:
    """One opinion for each frame of a capture."""
    command = ["tshark", "-n", "-r", str(file), *_OPTIONS, "-T", "fields", "-E", "separator=|"]
    command += [word for field in _FIELDS for word in ("-e", field)]
    return [_opinion(line.split("|")) for line in run(*command).stdout.splitlines()]


def _opinion(fields: list[str]) -> Opinion:
    malformed, severities, messages, *statuses = fields
    faults = ["malformed"] if malformed else []
    for severity in filter(None, severities.split(",")):
        if int(severity, 0) >= _ERROR:
            faults.append(messages)
    named = dict(zip(("tcp", "udp", "icmpv6"), statuses, strict=True))
    faults += [f"{name} checksum" for name, status in named.items() if _BAD in status.split(",")]
    good = [name for name, status in named.items() if _GOOD in status.split(",")]
    return Opinion(tuple(faults), tuple(good))


def faultless(file: Path) -> Counter[str]:
    """How many checksums of each transport are right; nothing may be wrong.

    Raises:
        AssertionError: with what is wrong, frame by frame.
    """
    opinions = read(file)
    wrong = {number: item.faults for number, item in enumerate(opinions, 1) if item.faults}
    assert not wrong, wrong
    return Counter(name for item in opinions for name in item.good)


@contextlib.contextmanager
def dumping(ns: Namespace, device: str, file: Path) -> Iterator[None]:
    """What passes a device, in a file that is complete when the context ends."""
    options = ("-Z", "root", "-U", "--immediate-mode", "-s", "0")
    argv = ("tcpdump", *options, "-i", device, "-w", str(file), "ip6")
    with ns.running(*argv) as process:
        until(lambda: file.exists() and file.stat().st_size >= 24, "a capture")
        yield
        process.terminate()
        process.wait(20)
