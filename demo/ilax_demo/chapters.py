# SPDX-License-Identifier: Apache-2.0
"""The chapters in which nothing moves."""

from __future__ import annotations

from collections import Counter

from ilax.address import encode
from ilax_demo.report import Report
from lab import operator, probes, scenarios, tcp, udp
from lab.packets import decode
from lab.topology import Container, Lab

_NARROW_MTU = 1400


def address_plan(report: Report, lab: Lab) -> None:
    """Who is who, as a table; and what the underlay knows."""
    plan = lab.plan
    rows: list[tuple[object, ...]] = []
    for host in lab.hosts:
        rows.append((host.name, "host", host.ns.name, host.address, f"locator {host.locator}"))
        for task in host.containers:
            wire = encode(task.address, str(host.locator)).wire
            rows.append((f"  {task.name}", "task", task.ns.name, task.sir, f"on the wire {wire}"))
    rows.append(("r1", "router", lab.router.name, plan.router, f"locators are in {plan.block}"))
    report.table(("name", "what", "namespace", "address", ""), rows)
    foreign = scenarios.foreign_routes(lab)
    report.check(
        "underlay.locators_only",
        not foreign,
        foreign,
        f"the router has routes for {len(lab.hosts)} locators and a default to "
        f"{lab.hosts[-1].name}, none for {plan.sir_prefix}",
    )


def bring_up(report: Report, lab: Lab) -> None:
    """`ilax up`, `ilax endpoint add`, `ilax mapping import`."""
    with report.commands(lab):
        operator.bring_up(lab)
    states = [host.ilax.json("status") for host in lab.hosts]
    counts = [state["endpoints"] for state in states]
    report.check(
        "up.endpoints",
        counts == [len(host.containers) for host in lab.hosts],
        counts,
        f"{len(lab.hosts)} instances are up, with {sum(counts)} endpoints",
    )


def reach(report: Report, lab: Lab) -> None:
    """Everybody talks to everybody."""
    tasks = lab.containers
    pairs = {
        "different_hosts": [(a, b) for a in tasks for b in tasks if a.host is not b.host],
        "same_host": [(a, b) for a in tasks for b in tasks if a.host is b.host and a is not b],
    }
    for name, group in pairs.items():
        answered = probes.ping_pairs([(a.ns, b.address) for a, b in group])
        report.check(
            f"ping.{name}",
            all(answered),
            f"{sum(answered)} of {len(answered)}",
            f"ping, {_words(name)}: {sum(answered)} of {len(answered)} pairs",
        )
    for name, group in pairs.items():
        source, target = group[0]
        label = f"{source.name} to {target.name}, {_words(name)}"
        _traceroute(report, lab, name, source, target, label)
        rate = tcp.iperf3(source.ns, target.ns, target.address)
        report.check(f"tcp.{name}", rate > 0, round(rate, 2), f"TCP {label}: {rate:.1f} Gbit/s")
        stream = udp.exchange(source.ns, target.ns, target.address, 1000)
        report.check(
            f"udp.{name}",
            stream.received == stream.sent and not stream.corrupt,
            f"{stream.received} of {stream.sent}",
            f"UDP {label}: {stream.received} of {stream.sent} numbered packets",
        )


def _traceroute(
    report: Report, lab: Lab, name: str, source: Container, target: Container, label: str
) -> None:
    names = {str(host.address): host.name for host in lab.hosts}
    names |= {str(lab.plan.router): "r1"} | {task.address: task.name for task in lab.containers}
    hops = [names.get(hop, hop) for hop in probes.traceroute(source.ns, target.address)]
    if source.host is target.host:
        expected = [source.host.name, target.name]
    else:
        expected = [source.host.name, "r1", target.host.name, target.name]
    report.check(
        f"traceroute.{name}", hops == expected, hops, f"traceroute {label}: {', '.join(hops)}"
    )


def on_the_wire(report: Report, lab: Lab) -> None:
    """One packet, decoded at three places."""
    source, target = lab.containers[0], lab.containers[2]
    proof = scenarios.follow_one_packet(lab, source, target)
    for where, frame in (
        (f"as {source.name} sent it", proof.sent),
        ("on the underlay", proof.wire),
        (f"as {target.name} got it", proof.received),
    ):
        report.say(f"{where}:", *(f"    {line}" for line in frame.describe()))
    wire, sent = proof.wire, proof.sent
    report.check(
        "wire.destination_is_wire_address",
        scenarios.is_wire_address_of(wire, target, lab.plan.block),
        str(wire.destination),
        f"destination is {target.name}'s identifier under {target.host.name}'s locator",
    )
    report.check(
        "wire.source_is_sir_address",
        wire.source == source.sir,
        str(wire.source),
        f"source is {source.name}'s SIR address",
    )
    report.check(
        "wire.no_added_bytes",
        len(wire.raw) == len(sent.raw) == len(proof.received.raw),
        [len(f.raw) for f in (sent, wire, proof.received)],
        f"{len(wire.raw)} bytes at the sender, on the wire and at the receiver: no header added",
    )
    report.check(
        "wire.transport_follows_directly",
        wire.next_header == sent.next_header and wire.payload == sent.payload,
        wire.next_header,
        "the UDP header follows the one IPv6 header, and its bytes are untouched",
    )
    report.check(
        "wire.checksum_valid",
        sent.checksum_valid and wire.checksum_valid,
        f"{int.from_bytes(wire.payload[6:8], 'big'):#06x}",
        "its checksum, computed by the sender, is valid for the wire address as well",
    )
    report.check(
        "wire.restored",
        proof.received.destination == target.sir and proof.received.payload == sent.payload,
        str(proof.received.destination),
        f"{target.name} sees its SIR address again",
    )


def refusals(report: Report, lab: Lab) -> None:
    """What a task may not do."""
    cheat, claimed, target = lab.containers[0], lab.containers[1], lab.containers[2]
    ilax = cheat.host.ilax
    before = Counter(ilax.counters())
    with ilax.events() as events:
        arrived = scenarios.spoof(lab, cheat, claimed, target)
    counted = (Counter(ilax.counters()) - before)["container", "drop_spoofed_source"]
    report.check(
        "spoof.refused",
        not arrived,
        f"{int(arrived)} of 1 arrived",
        f"{cheat.name} sends as {claimed.name} to {target.name}: nothing arrives",
    )
    report.check(
        "spoof.counted", counted == 1, counted, f"counter container/drop_spoofed_source: {counted}"
    )
    spoofed = [e for e in events if e.reason == "drop_spoofed_source"]
    frame = decode(spoofed[0].data) if spoofed else None
    report.check(
        "spoof.event",
        frame is not None and frame.source == claimed.sir,
        [f"{e.hook}/{e.reason}, {e.length} bytes" for e in spoofed],
        f"sampled event: {spoofed[0].reason} at {spoofed[0].hook}, source {frame.source}"
        if spoofed and frame
        else "no event was sampled",
    )
    with ilax.events() as events:
        wire = target.host.ilax.wire(target.address)
        answered = probes.ping(cheat.ns, wire, wait=0.3)
    reasons = [e.reason for e in events]
    report.check(
        "locator.refused",
        not answered and reasons == ["drop_locator_refused"],
        reasons,
        f"{cheat.name} addresses a locator, {wire}: {', '.join(reasons)}",
    )


def path_mtu(report: Report, lab: Lab) -> None:
    """A narrow link on the underlay."""
    source, target = lab.containers[0], lab.containers[2]
    found = scenarios.narrow_link(lab, source, target, _NARROW_MTU)
    report.say(f"the router's link to {target.host.name} now takes {_NARROW_MTU} bytes:")
    report.check(
        "pmtu.learned",
        found.learned == _NARROW_MTU and not found.too_long and found.fits,
        found.learned,
        f"{source.name} is told, about {target.name}'s SIR address: {found.learned} bytes",
    )
    tcp_report = found.report
    report.check(
        "pmtu.tcp",
        tcp_report.same_content and tcp_report.pmtu == _NARROW_MTU and tcp_report.received > 0,
        tcp_report.received,
        f"TCP finds its way: {tcp_report.received >> 20} MiB with a path MTU of "
        f"{tcp_report.pmtu} bytes",
    )


def counters(report: Report, lab: Lab) -> None:
    """What the programs have counted."""
    total: Counter[tuple[str, str]] = Counter()
    for host in lab.hosts:
        total.update(host.ilax.counters())
    report.table(
        ("hook", "reason", "packets, all hosts"),
        [(hook, reason, packets) for (hook, reason), packets in total.items()],
    )
    forwarded = total["container", "send_forward"]
    delivered = sum(
        total[where]
        for where in (
            ("uplink_ingress", "send_handover"),
            ("uplink_ingress", "send_peer"),
            ("xdp_ingress", "send_xdp"),
        )
    )
    report.check("counters.forwarded", forwarded > 0, forwarded, f"{forwarded} packets sent out")
    report.check("counters.delivered", delivered > 0, delivered, f"{delivered} packets delivered")


def take_down(report: Report, lab: Lab) -> None:
    """`ilax down` on every host."""
    with report.commands(lab):
        operator.take_down(lab)
    pins = [str(host.ilax.pins) for host in lab.hosts if host.ilax.pins.exists()]
    report.check("down.no_pins", not pins, pins, "all instances are down, their pins are gone")


def _words(name: str) -> str:
    return name.replace("_", " ")
