# SPDX-License-Identifier: Apache-2.0
"""What `ilax trace` says where something is missing, and how it tells what it found."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ilax.bpf.btf import Btf
from ilax.cli import cli
from ilax.cli.context import table
from ilax.errors import IlaxError, TracingError
from ilax.trace import layout, needs, text
from ilax.trace.histogram import SLOTS, Histogram
from ilax.trace.layout import Kernel
from ilax.trace.probes import LATENCY, PROBES, Gap, Part, gaps
from ilax.trace.report import (
    Drop,
    RedirectError,
    Report,
    Way,
    XdpException,
    action_name,
    error_name,
)

LOADER = Path(needs.__file__).resolve().parents[1]
VMLINUX = Path("/sys/kernel/btf/vmlinux")


# --- what is missing --------------------------------------------------------------


def ilax(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="ilax")


def a_tree(folder: Path) -> Path:
    (folder / "include/linux").mkdir(parents=True)
    (folder / "include/generated").mkdir()
    return folder


def test_without_headers_it_names_them_and_attaches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path / "nowhere"))
    result = ilax("trace")
    assert isinstance(result.exception, TracingError)
    assert result.exception.exit_code == 10
    said = str(result.exception)
    assert "kernel headers" in said
    assert f"BCC_KERNEL_SOURCE is {tmp_path}/nowhere" in said
    assert "linux-headers-" in said
    result = ilax("--json", "trace")
    assert isinstance(result.exception, TracingError)
    told = {need["name"]: need for need in json.loads(result.stdout)["needs"]}
    assert told["kernel headers"]["found"] == ""
    assert told["kernel headers"]["remedy"]


def test_check_says_what_is_there_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(a_tree(tmp_path)))
    result = ilax("trace", "--check")
    assert f"ok       kernel headers: {tmp_path}" in result.stdout
    assert "XDP exceptions" in result.stdout
    told = json.loads(ilax("--json", "trace", "--check").stdout)["needs"]
    assert [need["name"] for need in told[:2]] == ["the Python module bcc", "kernel headers"]
    lacking = [need for need in told if need["essential"] and not need["found"]]
    assert isinstance(result.exception, IlaxError) == bool(lacking)


def test_bcc_that_is_nowhere_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "bcc", raising=False)
    need = needs.bcc_module([str(tmp_path)])
    assert need.found == ""
    assert str(tmp_path) in need.why
    assert "python3-bpfcc" in need.remedy


def test_bcc_is_taken_from_the_system_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "bcc", raising=False)
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc/__init__.py").write_text("from .part import BPF\n__version__ = '9.9'\n")
    (tmp_path / "bcc/part.py").write_text("class BPF: pass\n")
    try:
        assert needs.bcc_module([str(tmp_path)]).found == f"{tmp_path}/bcc (bcc 9.9)"
        assert str(tmp_path) not in sys.path
    finally:
        sys.modules.pop("bcc.part", None)


def test_another_package_of_that_name_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "bcc", raising=False)
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc/__init__.py").write_text("lattice = 1\n")
    need = needs.bcc_module([str(tmp_path)])
    assert "another package of that name" in need.why


def test_headers_are_looked_for_where_bcc_does(tmp_path: Path) -> None:
    archive = tmp_path / "kheaders.tar.xz"

    def found(**environment: str) -> needs.Need:
        return needs.kernel_headers(environment, tmp_path / "modules", archive, "1.2.3-test")

    assert "linux-headers-1.2.3-test" in found().remedy
    assert f"{tmp_path}/modules/1.2.3-test/build" in found().why
    archive.touch()
    assert found().found == str(archive)
    build = tmp_path / "modules/1.2.3-test/build"
    (build / "include").mkdir(parents=True)
    assert found().found == str(build)
    # What an operator names is what bcc takes, also where it is wrong.
    half = tmp_path / "half"
    (half / "include/linux").mkdir(parents=True)
    assert "in one folder" in found(BCC_KERNEL_SOURCE=str(half)).remedy
    whole = a_tree(tmp_path / "whole")
    assert found(BCC_KERNEL_SOURCE=str(whole)).found == f"{whole} (BCC_KERNEL_SOURCE)"


def test_a_missing_probe_costs_only_what_it_is_for() -> None:
    by_name = {probe.name: probe for probe in PROBES}
    assert gaps(Part, {}) == []
    assert gaps(Part, {by_name["netif_rx_entry"]: "none"}) == []
    assert gaps(Part, {by_name["xdp_redirect_map_err"]: "none"}) == []
    both = {by_name[f"xdp_redirect{which}_err"]: "none" for which in ("", "_map")}
    assert [gap.part for gap in gaps(Part, both)] == [Part.REDIRECTS]
    arrival = {by_name["ip6_input"]: "no kprobes"}
    assert {gap.part for gap in gaps(Part, arrival)} == LATENCY
    assert gaps(Part, arrival)[0].because == ["function ip6_input: no kprobes"]
    # What nobody asked for is not missing.
    assert gaps([Part.DROPS], arrival) == []


def test_nothing_else_imports_bcc() -> None:
    """Neither the loader nor another command: forwarding never needs it."""
    importers = set()
    for file in LOADER.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and node.value == "bcc":
                importers.add(file.name)
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name and name.split(".")[0] == "bcc"]
    assert importers == {"needs.py"}
    code = "import ilax.cli, ilax.cli.status, ilax.cli.monitor, sys; print('bcc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- the kernel's types -----------------------------------------------------------


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
def test_the_running_kernel_has_all_fields_that_programs_read() -> None:
    kernel = Kernel.read()
    source = (LOADER / "trace/probes.c").read_text()
    for macro in kernel.offsets:
        assert macro in source
    assert source.count("OFF_") >= len(kernel.offsets)
    # Two that no kernel since 6.1 has elsewhere: right behind next and prev.
    assert kernel.offsets["OFF_sk_buff_dev"] == 16
    assert kernel.offsets["OFF_sk_buff_head"] % 8 == 0
    assert "kfree_skb" in kernel.tracepoints
    assert "NO_SOCKET" in kernel.reasons.values()
    with pytest.raises(IlaxError, match="struct sk_buff has no member nonsense"):
        layout.offset(Btf(VMLINUX.read_bytes()), "sk_buff", "nonsense")


def test_each_probe_has_its_programs() -> None:
    source = (LOADER / "trace/probes.c").read_text()
    for probe in PROBES:
        if probe.kind.value == "tracepoint":
            assert f"int at_{probe.name}(" in source
        else:
            assert f"int kfunc__{probe.name}(" in source
            assert f"int kprobe_{probe.name}(" in source


def test_a_kernel_without_types_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IlaxError, match="without BTF"):
        Kernel.read(tmp_path / "vmlinux")


# --- what is told -----------------------------------------------------------------


def times(**slots: int) -> Histogram:
    counts = [0] * SLOTS
    for name, packets in slots.items():
        counts[int(name[1:])] = packets
    return Histogram(sum(counts), 3000 * sum(counts), tuple(counts))


def test_slots_hold_the_times_that_programs_put_there() -> None:
    # As bpf_log2l counts: 1 is in slot 1, 2 and 3 in slot 2, 1024 to 2047 in slot 11.
    latency = times(s11=30, s13=10)
    assert [(slot.low, slot.high, slot.packets) for slot in latency.slots()] == [
        (1024, 2047, 30),
        (2048, 4095, 0),
        (4096, 8191, 10),
    ]
    assert (latency.mean, latency.below(0.5), latency.below(0.99)) == (3000, 2048, 8192)
    assert Histogram.sum([latency, times(s11=2)]).slots()[0].packets == 32
    assert Histogram.sum([]).slots() == []
    assert times().lines() == []
    assert times().mean == times().below(0.5) == 0


def test_a_histogram_is_drawn_as_by_the_tools_of_bcc() -> None:
    assert times(s11=40, s12=1).lines() == [
        "                   nsecs : packets    distribution",
        f"      1024 -> 2047       : 40         |{'*' * 40}|",
        f"      2048 -> 4095       : 1          |*{' ' * 39}|",
    ]


def example() -> Report:
    return Report(
        instance="host1",
        seconds=10.0,
        uplinks=["bond0", "eth0"],
        endpoints=2,
        watched=[Part.STACK, Part.EXCEPTIONS, Part.REDIRECTS, Part.TRANSMITS, Part.DROPS],
        ways=[
            Way("2001:db8::5", "iltask0", "stack", times(s13=100)),
            Way("2001:db8::6", "iltask1", "stack", times(s14=7)),
        ],
        exceptions=[XdpException("eth0", "ABORTED", "other", 77, 3)],
        redirects=[RedirectError("eth0", "iltask1", "transmit", "ENXIO", 12)],
        drops=[
            Drop("2001:db8::5", "", "NO_SOCKET", "__udp6_lib_rcv", False, 4),
            Drop(None, "eth0", "TC_INGRESS", "sch_handle_ingress", True, 5),
        ],
        gaps=[Gap(Part.XDP, ["function xdp_do_redirect: this kernel has none"])],
        untold=0,
    )


def test_a_report_can_be_read() -> None:
    lines = text.report(example(), table, each=False, rows=1).splitlines()
    assert lines[0].startswith("bond0, eth0 -> containers' stacks (delivered by tc")
    assert "107 packets" in lines[0]
    words = [" ".join(line.split()) for line in lines]
    for line in (
        "2001:db8::5 iltask0 stack 100 3us 8.19us 8.19us",
        "1 more, with fewer packets (--rows 0 shows all)",
        "eth0 ABORTED other 77 3",
        "eth0 iltask1 transmit ENXIO 12",
        "2001:db8::5 other namespace NO_SOCKET __udp6_lib_rcv 4",
        "- eth0 TC_INGRESS* sch_handle_ingress 5",
        "none seen: errors of XDP redirect",
        "not measured: latency of packets that XDP delivers",
        "function xdp_do_redirect: this kernel has none",
        "10.0 s, instance host1, 2 endpoints, uplink bond0, eth0",
    ):
        assert line in words
    drawn = text.report(example(), table, each=True, rows=0)
    assert drawn.count("distribution") == 3
    assert "2001:db8::6" in drawn


def test_numbers_get_their_names() -> None:
    assert [action_name(number) for number in (0, 3, 77)] == ["ABORTED", "TX", "unknown 77"]
    assert [error_name(number) for number in (-6, -90, -95, 0, -9999)] == [
        "ENXIO",
        "EMSGSIZE",
        "EOPNOTSUPP",
        "FULL",
        "-9999",
    ]
