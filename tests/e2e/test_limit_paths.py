# SPDX-License-Identifier: Apache-2.0
"""Each way of a packet to a limited container: charged once, marked, tagged."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest

from lab import operator
from lab.capture import Capture
from lab.cgroups import Cgroups, own_cgroups, tcp_listener, udp_socket
from lab.cleanup import PREFIX
from lab.limits import Meter, received, send
from lab.netns import Namespace
from lab.topology import UPLINK, Container, Lab, Plan
from lab.wait import until

PORT = 4712
COUNT = 200
STREAM = 8 << 20
ASIDE = "fd09::2"
# The program runs for the cgroup above as well, and steps back there.
PARENT = ("pass_not_ours",)
# Linux 6.0; the socket module has no name for it.
_SO_RCVMARK = 75
_SO_MARK = 36


@pytest.fixture(
    scope="module",
    params=[
        ("native", "stack", "auto"),
        ("native", "stack", "clsact"),
        ("native", "xdp", "auto"),
        ("off", "stack", "auto"),
    ],
    ids=["xdp then tc", "xdp then clsact", "xdp alone", "tc alone"],
)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    xdp, delivery, tc = request.param
    tag = f"{PREFIX}way{xdp[:2]}{delivery[:2]}{tc[:2]}"
    with Lab.make(tag, Plan(hosts=2, containers=2)) as made:
        operator.bring_up(made, operator.Options(xdp=xdp, delivery=delivery, tc=tc))
        for host in made.hosts:
            # XDP redirect loses the note that a checksum is still to be filled in.
            made.router.run("ethtool", "-K", host.router_port, "tx", "off")
        yield made


@pytest.fixture
def own(lab: Lab) -> Iterator[Cgroups]:
    ilax = lab.hosts[0].ilax
    with own_cgroups(lab.tag) as made:
        made.make("task")
        ilax("limit", "set", made.name, "--rate", "100gbit")
        ilax("limit", "set", f"{made.name}/task", "--rate", "100gbit")
        ilax("endpoint", "set", limited(lab).address, "--cgroup", f"{made.name}/task")
        try:
            yield made
        finally:
            ilax("endpoint", "set", limited(lab).address, "--cgroup", "none")
            for path in (f"{made.name}/task", made.name):
                ilax("limit", "del", path)


@pytest.fixture(params=[False, True], ids=["", "watched"])
def watched(request: pytest.FixtureRequest, lab: Lab) -> Iterator[None]:
    """Also with a packet socket on the uplink, so that its packets have two owners."""
    with Capture(lab.hosts[0].ns, UPLINK) if request.param else nullcontext():
        yield


def limited(lab: Lab) -> Container:
    return lab.hosts[0].containers[0]


def senders(lab: Lab) -> dict[str, Namespace]:
    return {
        "another host": lab.hosts[1].containers[0].ns,
        "the same host": lab.hosts[0].containers[1].ns,
    }


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("origin", ["another host", "the same host"])
def test_charged_once_at_each_level(lab: Lab, own: Cgroups, origin: str) -> None:
    meter, container = Meter(lab.hosts[0], own), limited(lab)
    with udp_socket(own.top / "task", container.ns.path, (container.address, PORT)) as bound:
        send(senders(lab)[origin], (container.address, PORT), COUNT, lambda: meter.judged("task"))
        received(bound, COUNT)
    for level in ("task", ""):
        found = meter(level)
        assert (found.passed_packets, found.dropped_packets) == (COUNT, 0)
        # 14 + 40 + 8 + 200 bytes, and 24 around each frame.
        assert found.passed_bytes == COUNT * (262 + 24)


@pytest.mark.parametrize("origin", ["another host", "the same host"])
def test_streams_are_left_out_at_their_sockets(lab: Lab, own: Cgroups, origin: str) -> None:
    """Super-packets, acknowledgements and connections themselves, by the counters."""
    container, ilax = limited(lab), lab.hosts[0].ilax
    before = Counter(ilax.counters())
    address = (container.address, PORT)
    with (
        tcp_listener(own.top / "task", container.ns.path, address) as listener,
        ThreadPoolExecutor(1) as pool,
    ):
        sending = pool.submit(_stream, senders(lab)[origin], address)
        with listener.accept()[0] as stream:
            assert sum(iter(lambda: len(stream.recv(1 << 20)), 0)) == STREAM
        sending.result()
    counted = Counter(ilax.counters()) - before
    assert counted["cgroup", "pass_handover"] > 0
    assert {reason for hook, reason in counted if hook == "cgroup"} == {"pass_handover", *PARENT}


def _stream(source: Namespace, address: tuple[str, int]) -> None:
    with source.entered(), socket.create_connection(address, timeout=15) as stream:
        stream.sendall(bytes(STREAM))


@pytest.fixture
def aside(lab: Lab) -> Iterator[Namespace]:
    """At the other end of a second interface of the limited container."""
    ns, container = Namespace(f"{lab.tag}-aside"), limited(lab).ns
    ns.create()
    try:
        ns.ip(
            *("link", "add", "aside0", "type", "veth"),
            *("peer", "name", "eth9", "netns", container.name),
        )
        for end, device, address in ((ns, "aside0", "fd09::1"), (container, "eth9", ASIDE)):
            end.ip("address", "add", f"{address}/64", "dev", device, "nodad")
            end.ip("link", "set", device, "up")
        yield ns
    finally:
        ns.remove()


def test_another_interface_is_limited_as_well(lab: Lab, own: Cgroups, aside: Namespace) -> None:
    """No endpoint sees what comes there: it is charged at the socket, at each level."""
    meter, container = Meter(lab.hosts[0], own), limited(lab)
    with udp_socket(own.top / "task", container.ns.path, (ASIDE, PORT)) as bound:
        send(aside, (ASIDE, PORT), COUNT, lambda: meter.judged("task"))
        received(bound, COUNT)
        assert meter("task").passed_packets == meter("").passed_packets == COUNT
        lab.hosts[0].ilax("limit", "set", f"{own.name}/task", "--pps", "50", "--burst", "100ms")
        send(aside, (ASIDE, PORT), COUNT, lambda: meter.judged("task"))
        leaf = meter("task")
        assert leaf.dropped_packets > 0
        received(bound, leaf.passed_packets - COUNT)


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("origin", ["another host", "the same host"])
def test_what_the_stack_answers_is_charged_once(lab: Lab, own: Cgroups, origin: str) -> None:
    """Packets whose hops are used up; the answers are the sender's."""
    meter, container = Meter(lab.hosts[0], own), limited(lab)
    source = senders(lab)[origin]
    # Each ilax host and the router between them count as one.
    hops = {"another host": 3, "the same host": 1}[origin]
    with source.entered():
        sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with sender:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        for number in range(20):
            sender.sendto(bytes(200), (container.address, PORT))
            until(lambda: meter.judged("task") == number + 1, "one more packet")  # noqa: B023
    assert meter("").passed_packets == 20


@pytest.mark.parametrize("origin", ["another host", "the same host"])
def test_tags_reach_the_socket(lab: Lab, own: Cgroups, origin: str) -> None:
    container = limited(lab)
    redirected = delivery_of(lab) == "xdp" and origin == "another host"
    lab.hosts[0].ilax(
        *("limit", "set", f"{own.name}/task", "--rate", "8kbit", "--burst", "4s"),
        *("--action", "tag", "--mark-at", "0ms", "--tag-mark", "0xa5"),
    )
    with udp_socket(own.top / "task", container.ns.path, (container.address, PORT)) as bound:
        bound.setsockopt(socket.SOL_SOCKET, _SO_RCVMARK, 1)
        meter = Meter(lab.hosts[0], own)
        send(senders(lab)[origin], (container.address, PORT), COUNT, lambda: meter.judged("task"))
        marks = [marks_of(bound.recvmsg(2048, 256)[1]) for _ in range(COUNT)]
    tagged = meter("task").tagged_packets
    assert 0 < tagged < COUNT
    # XDP redirects frames; there is no skb that could carry a mark.
    assert marks.count(0xA5) == (0 if redirected else tagged)
    lab.hosts[0].ilax("limit", "set", f"{own.name}/task", "--rate", "100gbit", "--action", "drop")


def marks_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    return next(
        int.from_bytes(data, "little")
        for level, kind, data in ancillary
        if (level, kind) == (socket.SOL_SOCKET, _SO_MARK)
    )


def delivery_of(lab: Lab) -> str:
    (row,) = [
        row
        for row in lab.hosts[0].ilax.json("endpoint", "list")
        if row["sir"] == limited(lab).address
    ]
    return str(row["delivery"])


@pytest.mark.parametrize("origin", ["another host", "the same host"])
def test_tcp_with_ecn_hears_of_it(lab: Lab, own: Cgroups, origin: str) -> None:
    """Marks instead of losses: the receiver sees each of them."""
    container, source = limited(lab), senders(lab)[origin]
    for ns in (container.ns, source):
        ns.run("sysctl", "-qw", "net.ipv4.tcp_ecn=1")
    lab.hosts[0].ilax(
        *("limit", "set", f"{own.name}/task", "--rate", "200mbit", "--action", "mark"),
        *("--mark-at", "1ms", "--drop-at", "1s"),
    )
    before = ce_packets(container.ns)
    iperf = ("iperf3", "--port", str(PORT))
    with container.ns.running(*iperf, "--server", "--one-off") as server:
        container.ns.wait_listening(PORT)
        # The default may be one that does not heed marks.
        how = ("--bytes", "8M", "--congestion", "cubic")
        source.run(*iperf, "--client", container.address, *how, timeout=60)
        server.wait(timeout=15)
    found = Meter(lab.hosts[0], own)("task")
    assert found.dropped_packets == 0
    assert 0 < found.marked_packets < found.passed_packets
    assert ce_packets(container.ns) - before == found.marked_packets


def ce_packets(ns: Namespace) -> int:
    """IPv6 packets that a namespace has received with congestion experienced."""
    lines = dict(line.split() for line in ns.run("cat", "/proc/net/snmp6").stdout.splitlines())
    return int(lines["Ip6InCEPkts"])
