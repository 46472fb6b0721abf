# SPDX-License-Identifier: Apache-2.0
"""What a generator has to know about a device of the network namespace it is in."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from ilax_perf.generate.generator import GeneratorError

# Of the namespace of this thread, unlike /sys/class/net and /proc/net.
_NET = Path("/proc/thread-self/net")


@dataclass(frozen=True, slots=True)
class Device:
    """A network device.

    Attributes:
        name: of it.
        index: its number in this namespace.
        mac: its address, as text.
        mtu: bytes of the largest packet.
        kind: such as "veth"; "" if it is no virtual device.
        up: whether it is.
    """

    name: str
    index: int
    mac: str
    mtu: int
    kind: str
    up: bool

    @classmethod
    def find(cls, name: str) -> Device:
        """Look it up.

        Raises:
            GeneratorError: there is none.
        """
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        with IPRoute() as netlink:
            try:
                rows = netlink.link("get", ifname=name)
            except NetlinkError:
                rows = ()
            for row in rows:
                info = row.get_attr("IFLA_LINKINFO")
                return cls(
                    name=name,
                    index=row["index"],
                    mac=row.get_attr("IFLA_ADDRESS") or "",
                    mtu=row.get_attr("IFLA_MTU"),
                    kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
                    up=bool(row["flags"] & 1),
                )
        raise GeneratorError(
            f"no device {name} in this network namespace",
            hint="`ip link` lists devices; `nsenter --net=/run/netns/NAME` enters a namespace",
        )

    def address(self) -> IPv6Address | None:
        """Its first address of the widest scope, or None."""
        found = []
        for line in (_NET / "if_inet6").read_text().splitlines():
            text, _, _, scope, _, name = line.split()
            if name == self.name:
                found.append((int(scope, 16), IPv6Address(bytes.fromhex(text))))
        return min(found)[1] if found else None

    def sent(self) -> int:
        """Packets that it says it has sent."""
        for line in (_NET / "dev").read_text().splitlines():
            name, _, numbers = line.partition(":")
            if name.strip() == self.name:
                return int(numbers.split()[9])
        return 0

    def why_not(self, packet_size: int) -> str | None:
        """Why it takes no packets of so many bytes, or None."""
        if not self.up:
            return f"{self.name} is down"
        if packet_size > self.mtu:
            return f"packets of {packet_size} bytes exceed the MTU of {self.name}, {self.mtu}"
        return None
