# SPDX-License-Identifier: Apache-2.0
"""Our programs among those of others on the uplink: before, behind, and never instead."""

from __future__ import annotations

import re
from pathlib import Path

from ilax.bpf import Link
from ilax.bpf.link import BEFORE, TCX_EGRESS, TCX_INGRESS, tcx_programs_on
from lab import foreign, operator, probes
from lab.findings import check, shell
from lab.topology import UPLINK, Host, Lab
from lab.udp import NumberedStream, assert_unharmed, still_flowing
from lab.wait import until

USAGE, NOT_FOUND = 2, 3


def order(host: Host, direction: int) -> list[str]:
    """Who runs on the uplink, one after the other: "ours" or "foreign"."""
    name = "uplink_ingress" if direction == TCX_INGRESS else "uplink_egress"
    with Link.open_pinned(host.ilax.pins / "v1/links" / name) as link:
        own = link.info().program_id
    with host.ns.entered():
        numbers = tcx_programs_on(host.ns.ifindex(UPLINK), direction)
    return ["ours" if number == own else "foreign" for number in numbers]


def test_order_among_tcx_programs(bare: Lab, tmp_path: Path) -> None:
    """At the first `up` and later, under load, and never by removing a foreign one."""
    host = bare.hosts[0]
    up = operator.up_arguments(bare, host)
    with foreign.tc_program(foreign.build(tmp_path)) as program:
        number = str(program.id)
        unknown = host.ilax.try_(*up, "--tc-order", "before:foreign_tc")
        assert unknown.returncode == NOT_FOUND, unknown
        assert "foreign_tc" in unknown.stderr
        assert host.ilax.try_(*up, "--tc-order", "between").returncode == USAGE
        assert host.ilax.try_(*up, "--tc", "clsact", "--tc-order", "first").returncode == USAGE
        assert not host.ilax.pins.exists()
        with (
            foreign.tcx(host.ns, UPLINK, program, TCX_INGRESS),
            foreign.tcx(host.ns, UPLINK, program, TCX_EGRESS),
        ):
            host.ilax(*up, "--tc-order", "before:foreign_tc")
            assert order(host, TCX_INGRESS) == order(host, TCX_EGRESS) == ["ours", "foreign"]
            operator.bring_up(bare)
            assert order(host, TCX_INGRESS) == ["ours", "foreign"]  # where it was
            a, _, b, _ = bare.containers
            with (
                NumberedStream(a.ns, b.ns, b.address, rate=500, port=7001) as to,
                NumberedStream(b.ns, a.ns, a.address, rate=500, port=7002) as back,
            ):
                until(lambda: to.received > 20 and back.received > 20, "traffic")
                for place, wanted in (
                    (f"after:{number}", ["foreign", "ours"]),
                    ("first", ["ours", "foreign"]),
                    ("last", ["foreign", "ours"]),
                ):
                    host.ilax(*up, "--tc-order", place)
                    assert order(host, TCX_INGRESS) == order(host, TCX_EGRESS) == wanted
                still_flowing(to, back)
            assert_unharmed(to, back)
            found = check(host.ilax)
            assert found.ids == {"hook.foreign-before"}
            shell(host.ns, found.findings[0]["command"])
            assert check(host.ilax).ids == {"hook.foreign-after"}
            # What others do with a packet is not known, and is said to be so.
            ask = ("explain", "--in", a.address, "--dst", str(bare.plan.router))
            steps = host.ilax.json(*ask, "--hop-limit", "9")["steps"]
            assert [
                s["where"] for s in steps if s["notes"] and "not run here" in s["notes"][0]
            ] == [f"tc egress at {UPLINK}"]
            assert "foreign_tc" in str(steps)
            host.ilax("down")
            with host.ns.entered():
                left = tcx_programs_on(host.ns.ifindex(UPLINK), TCX_INGRESS)
            assert left == [program.id]


def test_the_order_that_a_file_declares(bare: Lab, tmp_path: Path) -> None:
    host = bare.hosts[0]
    file = tmp_path / "host.toml"

    def write(order: str) -> None:
        file.write_text(
            f"""version = 1
[up]
uplink = "{UPLINK}"
locator = "{host.locator}"
sir-prefix = "{bare.plan.sir_prefix}"
block = "{bare.plan.block}"
tc-order = "{order}"
"""
        )

    def plan() -> dict[str, object]:
        told: dict[str, object] = host.ilax.json("plan", file)["up"]
        return told

    def link_ids() -> list[int]:
        pins = [host.ilax.pins / "v1/links" / f"uplink_{way}" for way in ("ingress", "egress")]
        with Link.open_pinned(pins[0]) as one, Link.open_pinned(pins[1]) as other:
            return [one.info().id, other.info().id]

    write("before:foreign_tc")
    refused = host.ilax.try_("apply", file)
    assert refused.returncode == USAGE
    assert f"{file}:7: up.tc-order: no tcx program foreign_tc is on {UPLINK}" in refused.stderr
    told = host.ilax.json("apply", "--skip-missing", file)
    assert [(s["kind"], s["name"], s["line"]) for s in told["skipped"]] == [
        ("tc-order", "before:foreign_tc", 7)
    ]
    assert "tc-order" not in host.ilax("export")
    with foreign.tc_program(foreign.build(tmp_path)) as program:
        with (
            foreign.tcx(host.ns, UPLINK, program, TCX_INGRESS, BEFORE),
            foreign.tcx(host.ns, UPLINK, program, TCX_EGRESS),
        ):
            # Where it stands wrong only; the other link is not made anew.
            assert plan() == {
                "tc-order": {
                    "old": "ingress foreign_tc ilax_uplink_in", "new": "before:foreign_tc"
                }
            }  # fmt: skip
            into, out = link_ids()
            host.ilax("apply", file)
            assert order(host, TCX_INGRESS) == order(host, TCX_EGRESS) == ["ours", "foreign"]
            now = link_ids()
            assert now[0] != into and now[1] == out
            for text in ("before:foreign_tc", "first", f"before:{program.id}"):
                write(text)
                assert host.ilax("apply", file) == "nothing to do\n"
            assert link_ids() == now
            file.write_text(host.ilax("export"))
            assert 'tc-order = "first"' in file.read_text()
            assert host.ilax.try_("plan", "--prune", "--exit-code", file).returncode == 0
            write("last")
            host.ilax("apply", file)
            assert order(host, TCX_INGRESS) == order(host, TCX_EGRESS) == ["foreign", "ours"]
            assert "tc-order" not in host.ilax("export")
        # Gone again; the order is still as declared.
        assert plan() == {}
        with (
            foreign.tcx(host.ns, UPLINK, program, TCX_INGRESS),
            foreign.tcx(host.ns, UPLINK, program, TCX_EGRESS, BEFORE),
        ):
            exported = host.ilax("export")
            assert 'tc-order = "before:foreign_tc"' not in exported
            assert "# Left out: the place among the tcx programs of others (tc-order)" in exported


def test_strict_reverse_path_filters_do_no_harm(bare: Lab) -> None:
    """What ilax gives to the host's stack comes from where its source is routed to."""
    operator.bring_up(bare)
    near, far = bare.containers[0], bare.containers[2]
    host, sir = near.host, str(bare.plan.sir(77))
    for ns in (host.ns, far.host.ns):
        ns.run("nft", "-f", "-", text_in=_STRICT)
    host.ilax("endpoint", "add", sir, "--host")
    far.host.ilax("mapping", "add", sir, "--locator", host.locator)
    probes.must_ping(near.ns, far.address)
    probes.must_ping(far.ns, sir)
    probes.must_ping(host.ns, far.address, options=("-I", sir))
    # Two answers of host stacks, one at each end.
    for limit in ("1", "2"):
        done = near.ns.run("ping", "-n", "-c1", "-W2", "-t", limit, far.address, check=False)
        assert "Time exceeded" in done.stdout, done
    rules = host.ns.run("nft", "list", "table", "ip6", "strict").stdout
    seen, dropped = (int(number) for number in re.findall(r"packets (\d+)", rules))
    assert seen > 0
    assert dropped == 0, rules


_STRICT = """
table ip6 strict {
    chain arriving {
        type filter hook prerouting priority raw
        ip6 saddr 2001:db8::/32 counter
        ip6 saddr 2001:db8::/32 fib saddr . iif oif missing counter drop
    }
}
"""
