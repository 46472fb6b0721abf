# SPDX-License-Identifier: Apache-2.0
"""From a question to a journey: who sends, with which link-layer addresses, and go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ilax import address
from ilax.endpoint import endpoints
from ilax.errors import AddressError, NotFoundError, UsageError
from ilax.explain import kernel
from ilax.explain.journey import Traveller
from ilax.explain.packet import Description, of_record
from ilax.explain.sandbox import Sandbox
from ilax.explain.twin import one_cpu
from ilax.frames import pcap
from ilax.system.netlink import Network, inside, interface_names, namespace_path
from ilax.system.privileges import require_capabilities

if TYPE_CHECKING:
    from ilax.address import Address
    from ilax.endpoint.endpoints import Endpoint
    from ilax.explain.steps import Journey
    from ilax.frames.record import Record
    from ilax.instances.instance import Instance

UPLINK, HOST = "uplink", "host"

# Of whoever sends to the uplink: locally administered, and nobody's.
_STRANGER = bytes.fromhex("02000000fffe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an operator asks.

    Attributes:
        where: UPLINK, HOST, or a container: its SIR address, its host-side device
            or its network namespace.
        src: None: the container's own address, or the one that the host's routes say.
        record: of a capture, instead of all that follows.
    """

    where: str
    src: Address | None = None
    dst: Address | None = None
    protocol: str = "udp"
    sport: int | None = None
    dport: int | None = None
    length: int = 0
    hop_limit: int = 64
    ecn: bool = False
    record: Record | None = None


def ask(instance: Instance, question: Question) -> Journey:
    """Try a packet. Nothing is sent, counted, sampled or charged.

    Raises:
        UsageError: the description makes no packet.
        NotFoundError: no such container.
        ConflictError: a loaded program is of another version, or the instance is
            of another network namespace; nothing was run.
        PrivilegeError: a capability is missing.
    """
    require_capabilities("try a packet")
    instance.require_own_netns("try a packet")
    with Network() as network, one_cpu() as cpu, ExitStack() as held:
        sandbox = held.enter_context(Sandbox(instance))
        traveller = Traveller(instance, network, sandbox, cpu, held)
        uplink = traveller.uplink.mac
        if question.where == UPLINK:
            return traveller.from_network(_frame(question, None, _STRANGER, uplink))
        if question.where == HOST:
            own = _source(network, question.dst) if question.src is None else None
            return traveller.from_host(_frame(question, own, uplink, uplink))
        sender = find_container(instance, question.where)
        frame = _frame(question, sender.sir, sender.mac, sender.host_mac)
        return traveller.from_container(sender, frame)


def _source(network: Network, dst: Address | None) -> Address | None:
    """What the host's own processes send from, as the kernel's routes say."""
    found = kernel.route(network, dst).source if dst else ""
    return address.parse(found) if found else None


def _frame(question: Question, own: Address | None, src_mac: bytes, dst_mac: bytes) -> bytes:
    if question.record is not None:
        return of_record(question.record, src_mac, dst_mac)
    src = question.src or own
    if src is None or question.dst is None:
        missing = "--dst" if question.dst is None else "--src"
        raise UsageError(
            f"{missing} is missing: a packet needs a source and a destination",
            hint="or take one from a capture: --pcap FILE --packet N",
        )
    return Description(
        src=src,
        dst=question.dst,
        protocol=question.protocol,
        sport=question.sport,
        dport=question.dport,
        length=question.length,
        hop_limit=question.hop_limit,
        ecn=question.ecn,
    ).frame(src_mac, dst_mac)


def record_of(path: Path, number: int) -> Record:
    """A frame of a capture; the first one has number 1.

    Raises:
        UsageError: no capture, or it has fewer frames.
    """
    with path.open("rb") as stream:
        found = next(islice(pcap.read(stream), number - 1, None), None)
    if found is None:
        raise UsageError(f"{path} has fewer than {number} frames")
    return found


# --- containers --------------------------------------------------------------


def find_container(instance: Instance, name: str) -> Endpoint:
    """The endpoint that an operator names.

    Args:
        name: its SIR address, its host-side device, or its network namespace
            (name, path or process number).

    Raises:
        NotFoundError: there is none.
    """
    try:
        sir = address.parse(name)
    except AddressError:
        pass
    else:
        return _with_device(endpoints.find(instance, sir))
    known = [e for e in endpoints.read_all(instance) if e.ifindex]
    names = interface_names()
    for endpoint in known:
        if names.get(endpoint.ifindex) == name:
            return endpoint
    macs = set(_macs(name))
    for endpoint in known:
        if endpoint.mac in macs:
            return endpoint
    raise NotFoundError(
        f"{name} is no container of instance {instance.name}",
        hint="name its SIR address, its device or its network namespace (`ilax endpoint list`)",
    )


def _with_device(endpoint: Endpoint) -> Endpoint:
    if not endpoint.ifindex:
        raise UsageError(
            f"{endpoint.sir} is an address of the host's own processes",
            hint=f"use --in {HOST} --src {endpoint.sir}",
        )
    return endpoint


def _macs(namespace: str) -> Iterator[bytes]:
    with _entered(namespace), Network() as network:
        for interface in network.interfaces():
            yield interface.mac


@contextmanager
def _entered(namespace: str) -> Iterator[None]:
    with namespace_path(namespace).open() as opened, inside(opened.fileno()):
        yield
