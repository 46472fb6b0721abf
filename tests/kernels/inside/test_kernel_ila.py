# SPDX-License-Identifier: Apache-2.0
"""ilax and the kernel's own ILA understand each other, and emit the same bytes."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from ilax import address
from ilax.address import Address
from ilax.endpoint import endpoints
from ilax.instances.instance import Instance
from ilax.translation import fabric as product
from kernels import exchanges, kernel_ila
from kernels.kernel_ila import MODES, SOURCE, Fabric
from lab.capture import Capture
from lab.cleanup import PREFIX
from lab.ilax import quick_commands
from lab.packets import UDP, Frame
from lab.topology import Host
from lab.wait import until

ADDRESSES = 10_000
HOP_BY_HOP = 0
# Below what the ring of a veth with NAPI holds (256): no burst may lose a packet.
_CHUNK = 100
_PORT = 4242
_numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def _commands() -> Iterator[None]:
    with quick_commands():
        yield


@pytest.fixture(scope="module", params=list(MODES))
def fabric(request: pytest.FixtureRequest) -> Iterator[Fabric]:
    tag = f"{PREFIX}{os.getpid():x}i{next(_numbers)}"
    with kernel_ila.fabric(tag, MODES[request.param]) as built:
        yield built


@pytest.mark.parametrize("extended", [False, True], ids=["plain", "extension headers"])
@pytest.mark.parametrize("kind", exchanges.KINDS)
@pytest.mark.parametrize("to_us", [True, False], ids=["kernel asks", "ilax asks"])
def test_exchange(fabric: Fabric, kind: str, to_us: bool, extended: bool) -> None:
    ours, theirs = fabric.ours.containers[0], fabric.receiver.containers[0]
    client, server = (theirs, ours) if to_us else (ours, theirs)
    before = fabric.ours.ilax.counters()
    with Capture(fabric.lab.router, fabric.ours.router_port) as wire:
        exchanges.KINDS[kind](client.ns, server.ns, server.address, extended)
    # It went by wire addresses, both ways.
    assert not [f for f in wire.frames if f.destination in fabric.lab.plan.sir_prefix]
    for host in (fabric.ours, fabric.receiver):
        headers = {f.next_header for f in wire.frames if f.destination in host.locator}
        # The kernel answers an echo without any.
        echo = kind == "icmp6" and host.containers[0].ns is client.ns
        assert (HOP_BY_HOP in headers) is (extended and not echo), headers
    drops = {
        key: count - before.get(key, 0)
        for key, count in fabric.ours.ilax.counters().items()
        if key[1].startswith("drop") and count != before.get(key, 0)
    }
    assert not drops


def test_both_emit_the_same_bytes(
    fabric: Fabric, record_property: Callable[[str, object], None]
) -> None:
    """What ilax sends is what the kernel sends, and the kernel turns it back."""
    addresses = kernel_ila.random_addresses(fabric.identifiers, ADDRESSES, seed=1)
    receiver = fabric.receiver
    kernel_ila.all_to(receiver, receiver.containers[0], fabric.identifiers)
    fabric.route(fabric.sender, fabric.identifiers, receiver.locator)
    rows = "\n".join(["sir,locator", *(f"{sir},{receiver.locator}" for sir in addresses)])
    fabric.ours.ilax("mapping", "import", "-", "--format", "csv", text_in=f"{rows}\n")

    by_ilax = send(fabric, fabric.ours, addresses)
    by_kernel = send(fabric, fabric.sender, addresses)
    assert by_ilax == by_kernel
    _all_well(by_ilax, addresses)
    record_property("addresses", len(by_ilax))
    wires = {int.from_bytes(wire[24:40], "big") for wire, _ in by_ilax.values()}
    assert len(wires) == ADDRESSES
    assert all(IPv6Address(wire) in receiver.locator for wire in wires)


def test_both_turn_back_to_the_same_bytes(
    fabric: Fabric, record_property: Callable[[str, object], None]
) -> None:
    """What the kernel sends to ilax arrives as what it sends to another kernel."""
    addresses = kernel_ila.random_addresses(fabric.identifiers, ADDRESSES, seed=2)
    ours, receiver = fabric.ours, fabric.receiver
    _deliver_all_to_one_task(ours, addresses)
    fabric.route(fabric.sender, fabric.identifiers, ours.locator)
    by_ilax = send(fabric, fabric.sender, addresses, receiver=ours)
    kernel_ila.all_to(receiver, receiver.containers[0], fabric.identifiers)
    fabric.route(fabric.sender, fabric.identifiers, receiver.locator)
    by_kernel = send(fabric, fabric.sender, addresses)
    assert {number: inner for number, (_, inner) in by_ilax.items()} == {
        number: inner for number, (_, inner) in by_kernel.items()
    }
    _all_well(by_ilax, addresses)
    record_property("addresses", len(by_ilax))


def test_a_zero_word_is_lost_by_the_kernel_and_refused_by_ilax(fabric: Fabric) -> None:
    """The one identifier of 65536 that neutral mapping cannot restore."""
    zero = fabric.identifiers.network_address + 0x5_0000
    receiver = fabric.receiver
    kernel_ila.all_to(receiver, receiver.containers[0], fabric.identifiers)
    fabric.route(fabric.sender, fabric.identifiers, receiver.locator)
    ((_, inner),) = send(fabric, fabric.sender, [zero]).values()
    assert IPv6Address(inner[24:40]) == zero + 0xFFFF
    done = fabric.ours.ilax.try_("mapping", "add", zero, "--locator", receiver.locator)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


# --- how ---------------------------------------------------------------------

# By number of the address: the packet on the wire, and as the task gets it.
_Packets = dict[int, tuple[bytes, bytes]]


def send(
    fabric: Fabric, source: Host, addresses: list[IPv6Address], *, receiver: Host | None = None
) -> _Packets:
    """Send one numbered packet to each SIR address, and see it twice.

    On its way into the router, because the kernel's ILA writes into packets that it
    shares with packet sockets: at the receiver they show what it made of them.
    """
    receiver = receiver or fabric.receiver
    task = receiver.containers[0]
    with (
        source.ns.entered(),
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender,
    ):
        sender.bind((str(SOURCE), _PORT))
        with (
            Capture(fabric.lab.router, source.router_port, _is_numbered) as outside,
            Capture(task.ns, "eth0", _is_numbered) as inside,
        ):
            for start in range(0, len(addresses), _CHUNK):
                for number, sir in enumerate(addresses[start : start + _CHUNK], start):
                    sender.sendto(number.to_bytes(4, "big"), (str(sir), _PORT))
                end = min(start + _CHUNK, len(addresses))
                until(lambda end=end: len(inside.frames) >= end, f"packet {end} at the task")  # type: ignore[misc]
    wires = {_number(frame): frame.packet for frame in outside.frames}
    inner = {_number(frame): frame.packet for frame in inside.frames}
    assert len(outside.frames) == len(inside.frames) == len(addresses)
    assert wires.keys() == inner.keys() == set(range(len(addresses)))
    assert all(frame.checksum_valid for frame in (*outside.frames, *inside.frames))
    return {number: (wires[number], inner[number]) for number in wires}


def _is_numbered(frame: Frame) -> bool:
    return frame.next_header == UDP and frame.ports == (_PORT, _PORT)


def _number(frame: Frame) -> int:
    return int.from_bytes(frame.payload[8:12], "big")


def _all_well(packets: _Packets, addresses: list[IPv6Address]) -> None:
    for number, sir in enumerate(addresses):
        assert packets[number][1][24:40] == sir.packed


def _deliver_all_to_one_task(host: Host, addresses: list[IPv6Address]) -> None:
    """Endpoint rows of one device for all addresses, as a daemon would write them."""
    with Instance.open(host.ilax.instance) as instance:
        known = product.read(instance)
        one = endpoints.find(instance, address.parse(host.containers[0].address))
        for sir in addresses:
            mine = Address.from_bytes(sir.packed)
            endpoints.put(instance, replace(one, sir=mine, wire=known.to_wire(mine)))
