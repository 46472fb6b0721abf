# SPDX-License-Identifier: Apache-2.0
"""Random input: no traceback, a documented exit code, and nothing changed if refused."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from unittest import mock

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datapath import packets, plan
from datapath.plan import CBIT
from ilax.bpf import Map
from ilax.cli import main
from ilax.instances.instance import Instance
from ilax.instances.pins import PinFolder
from ilax.instances.sir_routes import SIR_GATEWAY
from ilax.system.netlink import Network
from lab.cgroups import own_cgroups

from . import garbage as g
from . import hostile
from .conftest import (
    BLOCK,
    CONTAINER,
    FILE_HEAD,
    LOCATOR,
    OTHER_LOCATOR,
    SIR_PREFIX,
    TAG,
    UPLINK,
    Lab,
    sir,
)

CASES = int(os.environ.get("ILAX_CASES", "1000")) // 40
DOCUMENTED = range(10)
OF_ITS_OWN = {"plan": {10}, "explain": {10}, "check": {10, 11}}
# What only control writes; the datapath is asleep.
MAPS = ("endpoints", "mappings", "ports", "prefixes", "config", "devices", "cgroups", "limits")

# An instance serves all cases: whatever is refused must leave it as it is.
cases = settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _state(lab: Lab) -> dict[str, object]:
    """Rows of all maps of control."""
    rows: dict[str, object] = {}
    folder = PinFolder(lab.instance).maps
    for name in MAPS:
        with Map.open_pinned(folder / f"ilax_{name}") as opened:
            if name == "devices":  # no batches for this type
                rows[name] = {key: opened.lookup(key) for key in opened.keys()}  # noqa: SIM118
            else:
                rows[name] = [part.tobytes() for batch in opened.batches() for part in batch]
    return rows


def _run(lab: Lab, *arguments: str, stdin: bytes = b"") -> int:
    """The command as it is typed, in this process; what is no error of ours gets out."""
    command = ["ilax", "--instance", lab.instance, *arguments]
    with CliRunner().isolation(input=stdin) as streams, mock.patch.object(sys, "argv", command):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        told = streams[1].getvalue()
    assert b"Traceback" not in told
    assert code in DOCUMENTED or code in OF_ITS_OWN.get(_noun(arguments), ()), told
    assert not 0 < code < 10 or told, "refused without a word"
    return code


def _noun(arguments: tuple[str, ...]) -> str:
    """Which command it is."""
    return next(word for word in arguments if word != "--json")


def _refuses_whole(lab: Lab, *arguments: str, stdin: bytes = b"") -> None:
    before = _state(lab)
    if _run(lab, *arguments, stdin=stdin):
        assert _state(lab) == before


@cases
@given(document=g.documents(), options=st.sampled_from(((), ("--skip-missing",))))
def test_files_of_a_host(running: Lab, document: bytes, options: tuple[str, ...]) -> None:
    before = _state(running)
    planned = _run(running, "plan", *options, "-", stdin=document)
    assert _state(running) == before
    done = _run(running, "apply", *options, "-", stdin=document)
    if done:
        assert _state(running) == before
    else:
        assert not planned


@cases
@given(file=g.mapping_files())
def test_files_of_mappings(running: Lab, file: tuple[str, bytes]) -> None:
    kind, content = file
    _refuses_whole(running, "mapping", "import", "-", "--format", kind, stdin=content)


FRAMES = [
    packets.ether(packets.tcp()(CBIT.here(plan.STACK_TASK), 64)),
    packets.ether(packets.udp()(CBIT.there(plan.FAR_TASK), 64), tags=(0x81000005,)),
    packets.ether(packets.error(packets.quoted(CBIT.there(plan.FAR_TASK)))(CBIT.here("1"), 64)),
    packets.ether(packets.fragment(0, more=True)(CBIT.here(plan.STACK_TASK), 64)),
    packets.arp(),
]


@cases
@given(raw=g.captures(FRAMES), way=st.sampled_from(["to-sir", "to-wire"]))
def test_captures(
    running: Lab, tmp_path_factory: pytest.TempPathFactory, raw: bytes, way: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    source, target = folder / "in.pcap", folder / "out.pcap"
    source.write_bytes(raw)
    _refuses_whole(running, "capture", way, str(source), str(target))
    _run(running, "explain", "--in", "uplink", "--pcap", str(source))


TYPED = [
    ("endpoint", "show", g.addresses),
    ("endpoint", "del", g.addresses),
    ("endpoint", "set", g.addresses, "--delivery", g.names, "--cgroup", g.cgroups),
    ("endpoint", "add", g.addresses, "--netns", g.netns, "--device", g.names),
    ("mapping", "add", g.addresses, "--locator", g.prefixes),
    ("mapping", "add", g.addresses, "--wire", g.addresses),
    ("mapping", "del", g.addresses),
    ("mapping", "list", "--limit", g.quantities),
    ("limit", "set", g.cgroups, "--rate", g.quantities, "--pps", g.quantities),
    (
        "limit",
        "set",
        g.cgroups,
        "--rate",
        "10mbit",
        "--burst",
        g.quantities,
        "--mark",
        g.quantities,
    ),
    ("limit", "show", g.cgroups),
    ("limit", "del", g.cgroups),
    ("address", "encode", g.addresses, "--locator", g.prefixes),
    ("address", "decode", g.addresses, "--sir-prefix", g.prefixes),
    ("explain", "--in", g.names, "--dst", g.addresses, "--length", g.quantities),
    ("explain", "--in", "uplink", "--src", g.addresses, "--dst", g.addresses),
    ("explain", "--in", "uplink", "--dst", g.addresses, "--expect", g.names),
    ("export", "--mappings", st.sampled_from(["", ".", "\0", "\n"])),
    ("status", g.anything),
    (g.anything, g.anything),
]


@st.composite
def commands(draw: st.DrawFn) -> list[str]:
    parts = draw(st.sampled_from(TYPED))
    return [part if isinstance(part, str) else draw(part) for part in parts]


@settings(cases, max_examples=3 * CASES)
@given(command=commands())
@example(command=["endpoint", "show", sir(5)])
def test_arguments(running: Lab, command: list[str]) -> None:
    _refuses_whole(running, *command)


@cases
@given(
    options=st.fixed_dictionaries(
        {
            "--uplink": g.names,
            "--sir-prefix": st.one_of(st.just(SIR_PREFIX), g.prefixes),
            "--locator": st.one_of(st.just(LOCATOR), g.prefixes),
            "--block": st.one_of(st.just(BLOCK), g.prefixes),
            "--gateway": g.addresses,
            "--max-endpoints": g.quantities,
        }
    )
)
def test_up(running: Lab, options: dict[str, str]) -> None:
    """An instance that is up stays as it is when another wish for it is refused."""
    _refuses_whole(running, "up", *(word for pair in options.items() for word in pair))


# Every command that looks at rows, besides those of TYPED; with them, all of them.
AGAIN = ("--uplink", UPLINK, "--sir-prefix", SIR_PREFIX, "--locator", LOCATOR, "--block", BLOCK)
LOOKS: list[tuple[str, ...]] = [
    ("status",),
    ("endpoint", "list"),
    ("endpoint", "show", sir(5)),
    ("mapping", "list"),
    ("mapping", "export", "-"),
    ("limit", "list"),
    ("limit", "show", "1"),
    ("limit", "watch", "--count", "1", "--interval", "10ms"),
    ("limit", "gc", "--dry-run"),
    ("counters",),
    ("top", "--once", "--interval", "100ms"),
    ("monitor", "--duration", "0.01"),
    ("exporter", "--once"),
    ("check",),
    ("export",),
    ("plan", "-"),
    ("explain", "--in", "uplink", "--dst", str(hostile.wire(5))),
    ("explain", "--in", "uplink", "--dst", sir(5)),
    ("explain", "--in", "host", "--dst", sir(6)),
    ("explain", "--in", sir(5), "--dst", sir(6)),
]
CHANGES: list[tuple[str, ...]] = [
    ("endpoint", "add", sir(5), "--netns", CONTAINER),
    ("endpoint", "add", sir(6), "--host"),
    ("endpoint", "set", sir(5), "--cgroup", "none"),
    ("endpoint", "set", sir(5), "--delivery", "xdp", "--any-source"),
    ("endpoint", "set", sir(5), "--cgroup", "CGROUP"),
    ("endpoint", "del", sir(5)),
    ("mapping", "add", sir(5), "--locator", OTHER_LOCATOR),
    ("mapping", "import", "-"),
    ("mapping", "del", sir(5)),
    ("limit", "set", "CGROUP", "--rate", "10mbit"),
    ("limit", "del", "CGROUP"),
    ("limit", "del", "1"),
    ("limit", "gc"),
    ("check", "--fix"),
    ("apply", "-"),
    ("up", *AGAIN),
    ("upgrade", "--before", "0", "--soak", "0"),
    ("rollback",),
]
STDIN = {
    "import": f"sir,locator\n{sir(5)},{OTHER_LOCATOR}\n".encode(),
    "plan": FILE_HEAD.encode(),
    "apply": FILE_HEAD.encode(),
}


@st.composite
def all_commands(draw: st.DrawFn) -> list[str]:
    if draw(st.booleans()):
        return draw(commands())
    command = draw(st.sampled_from([*LOOKS, *CHANGES]))
    return [*(["--json"] if draw(st.booleans()) else []), *command]


@pytest.fixture
def limited(running: Lab) -> Iterator[tuple[Lab, str]]:
    """With a limit, and the name of a cgroup that has none."""
    with own_cgroups(f"{TAG}hostile") as own:
        own.make("none")
        assert running.ilax("limit", "set", own.name, "--rate", "100mbit").exit_code == 0
        yield running, f"{own.name}/none"


@settings(cases, max_examples=6 * CASES)
@given(rows=st.lists(hostile.rows, min_size=1, max_size=4), command=all_commands())
def test_rows_of_a_daemon(
    limited: tuple[Lab, str], rows: list[hostile.Row], command: list[str]
) -> None:
    """Whatever stands in the maps: no traceback, and no check that ends in the middle."""
    lab, cgroup = limited
    words = [cgroup if word == "CGROUP" else word for word in command]
    stdin = next((text for word, text in STDIN.items() if word in words), b"")
    with hostile.written(lab.instance, rows):
        _run(lab, *words, stdin=stdin)
        if _noun(tuple(words)) == "check":
            findings = json.loads(lab.ilax("--json", "check").output)["findings"]
            assert [one for one in findings if one["id"] == "check.failed"] == []


@settings(cases, max_examples=max(2, CASES // 8))
@given(rows=st.lists(hostile.rows, min_size=20, max_size=40))
def test_down_over_rows_of_a_daemon(lab: Lab, rows: list[hostile.Row]) -> None:
    """It takes all of it; whose namespace and uplink it is, is what it goes by."""
    assert lab.up().exit_code == 0
    with Instance.open(lab.instance) as instance:
        hostile.write(instance.maps, [row for row in rows if row.table != "config"])
    assert _run(lab, "down") == 0
    assert not PinFolder(lab.instance).base.exists()
    with Network() as network:
        assert network.routes_via(SIR_GATEWAY) == {}
