# SPDX-License-Identifier: Apache-2.0
"""Real devices around a World: frames go in at one end and are caught at another.

For what a test run cannot show: programs that hand over to each other, tags
that the kernel takes off, super-packets, and bytes out of reach. Frames pass
through packet sockets in namespaces beyond the devices of `plan`:

    fabric p11 --- d11 (uplink) | d21 --- p21 task1
                                | d22 --- p22 task2
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute, netns

from datapath import plan
from datapath.world import World
from ilax.bpf import Link
from ilax.bpf.link import TCX_EGRESS, TCX_INGRESS, XDP_GENERIC, XDP_NATIVE
from model import Hook
from model.address import address

# <linux/if_packet.h>, <linux/virtio_net.h>, <linux/sockios.h>, <linux/ethtool.h>
SOL_PACKET, PACKET_AUXDATA, PACKET_VNET_HDR = 263, 8, 15
TP_STATUS_VLAN_VALID = 1 << 4
NEEDS_CSUM, GSO_TCPV6 = 1, 4
SIOCETHTOOL, ETHTOOL_SGRO = 0x8946, 0x2C
SO_RCVBUFFORCE = 33
ETH_P_ALL = 0x0003

LONGEST = 1 << 18
PATIENCE = 5.0  # seconds until a frame that should come counts as lost

GATEWAY = address("fe80::11")
FABRIC, TASK1, TASK2 = plan.UPLINK, plan.TASK1, plan.TASK2


@dataclass(frozen=True)
class Caught:
    """A frame as it came out, and what the kernel kept beside it.

    Attributes:
        tag: VLAN tag beside the frame, None without.
        gso_size: payload bytes of each segment, 0 = no super-packet.
    """

    data: bytes
    tag: int | None
    gso_size: int


class Wire:
    """The far end of one of the World's devices."""

    def __init__(self, name: str, ifindex: int) -> None:
        self.namespace = name
        self.device = f"p{ifindex}"
        with _inside(name):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind((self.device, ETH_P_ALL))
        self._socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 * LONGEST)
        self._socket.settimeout(PATIENCE)

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes, *, gso_size: int = 0, transport: int = 0, linear: int = 0) -> None:
        """Put a frame onto the wire.

        Args:
            gso_size: makes it a super-packet of TCP with its header at
                `transport`; its checksum is then the device's to fill in.
            linear: bytes that stay together; the rest may be kept in pages.
        """
        header = struct.pack("=BBHHHH", 0, 0, linear, 0, 0, 0)
        if gso_size:
            header = struct.pack(
                "=BBHHHH", NEEDS_CSUM, GSO_TCPV6, transport + 20, gso_size, transport, 16
            )
        self._socket.send(header + data)

    def receive(self, marker: bytes) -> Caught:
        """The next frame that came in and contains `marker`.

        Raises:
            TimeoutError: there is none.
        """
        while True:
            raw, ancillary, _, origin = self._socket.recvmsg(LONGEST, 256)
            data = raw[10:]
            if origin[2] == socket.PACKET_OUTGOING or marker not in data:
                continue
            gso_size = struct.unpack_from("=H", raw, 4)[0] if raw[1] else 0
            return Caught(data, _tag(ancillary), gso_size)

    def __repr__(self) -> str:
        return f"{self.namespace}/{self.device}"


def _tag(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, raw in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, tci = struct.unpack_from("=I", raw)[0], struct.unpack_from("=H", raw, 16)[0]
            return int(tci) if status & TP_STATUS_VLAN_VALID else None
    return None


@contextmanager
def _inside(name: str) -> Iterator[None]:
    netns.pushns(name)
    try:
        yield
    finally:
        netns.popns()


class Live:
    """Wires to a World, with programs attached as a test asks for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._stack = ExitStack()
        self.wires: dict[int, Wire] = {}

    def __enter__(self) -> Live:
        with self._stack as stack:
            for index in (FABRIC, TASK1, TASK2):
                self._connect(index, stack)
            for wire in self.wires.values():
                stack.callback(wire.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _connect(self, index: int, stack: ExitStack) -> None:
        name = f"{self.world.namespace}p{index}"
        netns.create(name)
        stack.callback(netns.remove, name)
        with IPRoute(netns=self.world.namespace) as route, netns_fd(name) as target:
            (peer,) = route.link_lookup(ifname=f"p{index}")
            route.link("set", index=peer, net_ns_fd=target)
            route.link("set", index=index, state="up")
            if index == FABRIC:
                route.neigh(
                    "replace", dst="fe80::11", lladdr=_text(plan.mac(index, 1)), ifindex=index,
                    state=128, family=socket.AF_INET6,
                )  # fmt: skip
        with _inside(name):
            # Nothing of its own may come out of a far end.
            Path(f"/proc/sys/net/ipv6/conf/p{index}/disable_ipv6").write_text("1")
        with IPRoute(netns=name) as route:
            (peer,) = route.link_lookup(ifname=f"p{index}")
            route.link("set", index=peer, state="up")
        with _inside(name):
            # After "up": veth tells its peer that it takes redirects only then.
            _receive_offload(f"p{index}")
        self.wires[index] = Wire(name, index)

    def wait_for(self, hook: Hook, reason: str) -> None:
        """Until a frame that nobody will receive has been looked at.

        Raises:
            TimeoutError: it went another way.
        """
        deadline = time.monotonic() + PATIENCE
        while (hook, reason) not in self.world.counted():
            if time.monotonic() > deadline:
                raise TimeoutError(f"no packet was counted for {reason} at {hook.name}")
            time.sleep(0.001)

    @contextmanager
    def attached(self, xdp: str = "off") -> Iterator[None]:
        """All programs where `up` puts them.

        Args:
            xdp: `native` or `off`; or `foreign`, `foreign generic`: somebody
                else's program that passes all holds the hook.
        """
        programs = self.world.programs
        with ExitStack() as links:
            if xdp != "off":
                program = programs[Hook.XDP] if xdp == "native" else self.world.foreign
                flags = XDP_GENERIC if xdp.endswith("generic") else XDP_NATIVE
                links.enter_context(Link.xdp(program, FABRIC, flags))
            for hook, index, where in (
                (Hook.UPLINK_IN, FABRIC, TCX_INGRESS),
                (Hook.UPLINK_OUT, FABRIC, TCX_EGRESS),
                (Hook.CONTAINER, TASK1, TCX_INGRESS),
                (Hook.CONTAINER, TASK2, TCX_INGRESS),
            ):
                links.enter_context(Link.tcx(programs[hook], index, where))
            yield

    @contextmanager
    def tagging(self) -> Iterator[None]:
        """The fabric sends all frames with a VLAN tag beside them."""
        wire = self.wires[FABRIC]
        with _inside(wire.namespace):
            link = Link.tcx(self.world.push, socket.if_nametoindex(wire.device), TCX_EGRESS)
        with link:
            yield

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody looks at the uplink, so that each frame there has two owners."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as watcher:
            watcher.bind((f"d{FABRIC}", ETH_P_ALL))
            yield

    @contextmanager
    def sized(self, mtu: int, gso_max_size: int = 0) -> Iterator[None]:
        """Another MTU, and longer super-packets, on all devices for a while."""
        try:
            self._resize(mtu, gso_max_size)
            yield
        finally:
            self._resize(plan.MTU, 65536)

    def _resize(self, mtu: int, gso_max_size: int) -> None:
        options = {"mtu": mtu} | ({"gso_max_size": gso_max_size} if gso_max_size else {})
        with IPRoute(netns=self.world.namespace) as route:
            for index in self.wires:
                route.link("set", index=index, **options)
        for index, wire in self.wires.items():
            with IPRoute(netns=wire.namespace) as route:
                (peer,) = route.link_lookup(ifname=f"p{index}")
                route.link("set", index=peer, **options)


@contextmanager
def netns_fd(name: str) -> Iterator[int]:
    with Path(f"/run/netns/{name}").open("rb") as file:
        yield file.fileno()


def _receive_offload(device: str) -> None:
    """GRO on: without it a veth drops what XDP redirects to it."""
    value = array.array("I", [ETHTOOL_SGRO, 1])
    request = struct.pack("16sP", device.encode(), value.buffer_info()[0]).ljust(40, b"\0")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCETHTOOL, request)


def _text(raw: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in raw)
