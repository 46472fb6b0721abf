# SPDX-License-Identifier: Apache-2.0
"""A running instance as the tests of the datapath see a World: packets in, results out.

Programs are those that the instance's hooks run at that moment, opened by the number
that the links tell, and maps are the pinned ones.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from datapath.world import Packet, Result, World
from ilax.bpf import Link, Program
from ilax.hooks.places import CONTAINER, UPLINK_EGRESS, UPLINK_INGRESS, XDP_INGRESS
from ilax.instances.instance import Instance
from ilax.system import netlink
from ilax.system.netlink import Network
from model import Hook
from model.address import address
from model.control import Device

INNER = "eth0"
# What hooks may see at any time without anybody sending it: neighbour discovery.
NOISE = {
    *((hook, "PASS_LINK_SCOPE") for hook in (Hook.XDP, Hook.UPLINK_IN, Hook.CONTAINER)),
    (Hook.UPLINK_OUT, "PASS_NOT_OURS"),
}
_KINDS = {
    Hook.XDP: XDP_INGRESS,
    Hook.UPLINK_IN: UPLINK_INGRESS,
    Hook.UPLINK_OUT: UPLINK_EGRESS,
    Hook.CONTAINER: CONTAINER,
}


class Bench(World):
    """Opens anew what a command may have changed; a context manager.

    Args:
        uplink: name of the device.
        namespaces: of containers, by SIR address.

    Attributes:
        devices: of containers, by SIR address, as the kernel tells them.
    """

    def __init__(self, instance: str, uplink: str, namespaces: dict[bytes, str]) -> None:
        super().__init__(Path())
        self._name, self._device, self._namespaces = instance, uplink, namespaces
        self._macs: dict[int, bytes] = {}
        self._stack = ExitStack()
        self.instance: Instance | None = None
        self.devices: dict[bytes, Device] = {}
        self.uplink = 0
        self.uplink_mac = b""

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def look(self) -> None:
        """Open the maps and find the devices, as they are now."""
        self._stack.close()
        self.instance = self._stack.enter_context(Instance.open(self._name))
        self.maps = self.instance.maps
        self._numbers = None
        self.devices = {}
        with Network() as network:
            found = network.interfaces()
        for link in found:
            if link.name == self._device:
                self.uplink, self.uplink_mac = link.index, link.mac
            prefix = f"ilax:{self._name}:"
            if link.alias.startswith(prefix):
                sir = address(link.alias.removeprefix(prefix))
                if link.index not in self._macs:
                    self._macs[link.index] = _inner_mac(self._namespaces[sir], INNER)
                self.devices[sir] = Device(link.index, self._macs[link.index], link.mac)

    def fire(self, hook: Hook, data: bytes, ifindex: int) -> Result:
        """One packet through the program that the hook runs now."""
        assert self.instance is not None
        links, pins = self.instance.pins.links, self.instance.pins.programs
        pin = links / _KINDS[hook].link_of(ifindex)
        with ExitStack() as stack:
            if pin.exists():
                with Link.open_pinned(pin) as link:
                    program = stack.enter_context(Program.by_id(link.info().program_id))
            else:
                program = stack.enter_context(Program.open_pinned(pins / _KINDS[hook].program))
            self.programs[hook] = program
            return self.run(hook, Packet(data, ifindex))


def _inner_mac(namespace: str, device: str) -> bytes:
    with (
        Path("/run/netns", namespace).open() as there,
        netlink.inside(there.fileno()),
        Network() as network,
    ):
        return network.interface(device).mac


def strays(instance: Instance) -> dict[str, str]:
    """Links whose program is not of the pinned current set, with its tag.

    The same code, loaded twice, is the same: `check` does not mind that either.
    """
    at_work, pinned = {}, set()
    for pin in instance.pins.links.iterdir():
        with (
            Link.open_pinned(pin) as link,
            Program.by_id(link.info().program_id) as program,
        ):
            at_work[pin.name] = program.tag
    for pin in instance.pins.programs.iterdir():
        with Program.open_pinned(pin) as program:
            pinned.add(program.tag)
    return {name: tag for name, tag in at_work.items() if tag not in pinned}
