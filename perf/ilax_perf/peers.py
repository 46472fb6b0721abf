# SPDX-License-Identifier: Apache-2.0
"""What else Linux has to limit what a container receives: TBF, HTB, ifb and nftables.

Each one is a context: set up on a host, and gone without a trace.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from lab.netns import Namespace
from lab.topology import UPLINK

_IFB = "ifb-perf"
_TABLE = "ilax_perf"
# As many milliseconds as ilax's virtual queue has before it drops.
_QUEUE_MS = 4


@dataclass(frozen=True, slots=True)
class Limited:
    """What a peer limits.

    Attributes:
        ns: the host.
        device: host-side device of the container.
        address: of the container.
        rate: bits of frames in a second, without what a link adds.
        packets: in a second; for nftables, which counts these here.
    """

    ns: Namespace
    device: str
    address: str
    rate: int
    packets: int

    @property
    def burst(self) -> int:
        """Bytes: a millisecond of the rate, and two frames at least."""
        return max(self.rate // 8000, 3028)


def _tc(ns: Namespace, text: str) -> None:
    ns.run("tc", *text.split())


@contextlib.contextmanager
def tbf(limited: Limited) -> Iterator[None]:
    """A token bucket filter at the container's device, as CNI's bandwidth plugin has it."""
    ns, dev, burst = limited.ns, limited.device, limited.burst
    rate = f"rate {limited.rate} burst {burst} latency {_QUEUE_MS}ms"
    _tc(ns, f"qdisc add dev {dev} root tbf {rate}")
    try:
        yield
    finally:
        _tc(ns, f"qdisc del dev {dev} root")


@contextlib.contextmanager
def htb(limited: Limited) -> Iterator[None]:
    """One class of a hierarchical token bucket at the container's device."""
    ns, dev, burst = limited.ns, limited.device, limited.burst
    _tc(ns, f"qdisc add dev {dev} root handle 1: htb default 1")
    try:
        rate = f"rate {limited.rate} burst {burst} cburst {burst}"
        _tc(ns, f"class add dev {dev} parent 1: classid 1:1 htb {rate} quantum 3028")
        yield
    finally:
        _tc(ns, f"qdisc del dev {dev} root")


@contextlib.contextmanager
def ifb_htb(limited: Limited) -> Iterator[None]:
    """All that the uplink receives goes by an ifb device, where HTB limits the container."""
    ns, burst = limited.ns, limited.burst
    ns.ip("link", "add", _IFB, "txqueuelen", "1000", "type", "ifb")
    try:
        ns.ip("link", "set", _IFB, "up")
        _tc(ns, f"qdisc add dev {_IFB} root handle 1: htb default 1")
        _tc(ns, f"class add dev {_IFB} parent 1: classid 1:1 htb rate 40gbit quantum 60000")
        rate = f"rate {limited.rate} burst {burst} cburst {burst}"
        _tc(ns, f"class add dev {_IFB} parent 1: classid 1:2 htb {rate} quantum 3028")
        match = f"u32 match ip6 dst {limited.address}/128 flowid 1:2"
        _tc(ns, f"filter add dev {_IFB} parent 1: protocol ipv6 prio 1 {match}")
        _tc(ns, f"qdisc add dev {UPLINK} handle ffff: ingress")
        redirect = f"u32 match u32 0 0 action mirred egress redirect dev {_IFB}"
        _tc(ns, f"filter add dev {UPLINK} parent ffff: protocol ipv6 prio 1 {redirect}")
        yield
    finally:
        ns.run("tc", "qdisc", "del", "dev", UPLINK, "ingress", check=False)
        ns.ip("link", "del", _IFB)


@contextlib.contextmanager
def nft(limited: Limited) -> Iterator[None]:
    """A rule of nftables at its earliest hook: ingress of the uplink."""
    burst = max(5, limited.packets // 1000)
    limit = f"limit rate over {limited.packets}/second burst {burst} packets drop"
    ruleset = (
        f"table netdev {_TABLE} {{ chain in {{ "
        f"type filter hook ingress device {UPLINK} priority 0; "
        f"ip6 daddr {limited.address} {limit}; }}\n}}\n"
    )
    limited.ns.run("nft", "-f", "-", text_in=ruleset)
    try:
        yield
    finally:
        limited.ns.run("nft", "delete", "table", "netdev", _TABLE)


@contextlib.contextmanager
def nothing(_: Limited) -> Iterator[None]:
    """No limit."""
    yield


def has_nft() -> bool:
    """Whether nftables' program is here (Debian: `nftables`)."""
    return shutil.which("nft") is not None
