# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces with a wire in between, for those who look at every packet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from typing import Any

from ilax_perf.generate.generator import Generator, Sent
from ilax_perf.generate.traffic import Destinations, Traffic
from lab.capture import Capture, mac_of
from lab.cleanup import owned
from lab.netns import Namespace
from lab.packets import Frame
from lab.wait import until

SOURCE = IPv6Address("2001:db8:5a5a:1::99")


@dataclass(frozen=True)
class Wire:
    """v0 in one namespace, v1 at its other end in another. Use `Wire.make()`.

    Attributes:
        usual: what packets are sent, unless a test says otherwise.
    """

    near: Namespace
    far: Namespace
    usual: Traffic

    @classmethod
    @contextlib.contextmanager
    def make(cls, tag: str, destinations: Destinations, **usual: Any) -> Iterator[Wire]:
        """Build a wire; everything is gone when the context ends."""
        near, far = (Namespace(f"{tag}-{name}") for name in ("near", "far"))
        with owned(tag):
            near.create()
            far.create()
            near.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", far.name)
            for ns, device in ((near, "v0"), (far, "v1")):
                ns.ip("link", "set", device, "mtu", "9000", "up")
            macs = mac_of(near, "v0"), mac_of(far, "v1")
            yield cls(near, far, Traffic(macs, SOURCE, destinations, **usual))

    @property
    def macs(self) -> tuple[str, str]:
        """Of v0 and of v1."""
        return self.usual.macs

    def traffic(self, **changes: Any) -> Traffic:
        """The usual packets, but for some changes."""
        return replace(self.usual, **changes)

    def capture(self, *, own_end: bool = False) -> Capture:
        """What arrives from SOURCE; at v0 for what seems to have been received there."""
        ends = (self.near, "v0") if own_end else (self.far, "v1")
        return Capture(*ends, keep=lambda frame: frame.source == SOURCE)

    def exchange(
        self, generator: Generator, traffic: Traffic, *, own_end: bool = False
    ) -> tuple[Sent, list[Frame]]:
        """What was sent out of v0, and what has arrived."""
        with self.capture(own_end=own_end) as capture, self.near.entered():
            assert generator.why_not("v0", traffic) is None
            sent = generator.run("v0", traffic)
            until(lambda: len(capture.frames) >= sent.packets, f"{sent.packets} frames")
        return sent, capture.frames
