# SPDX-License-Identifier: Apache-2.0
"""Every command, its exit codes, and what it leaves unchanged."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ilax.cli import cli
from ilax.contract import schema
from ilax.contract.tables import index_key
from ilax.errors import ConflictError, NotFoundError, SystemCallError
from ilax.instances.instance import Instance
from lab.cgroups import Cgroups
from lab.completion import offered
from lab.netns import run

from .conftest import BLOCK, CONTAINER, LOCATOR, OTHER_LOCATOR, SIR_PREFIX, UPLINK, Lab, ip, sir

USAGE, NOT_FOUND, CONFLICT, FULL = 2, 3, 4, 8


def _commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
    return found


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...], lab: Lab) -> None:
    result = lab.ilax(*command, "--help")
    assert result.exit_code == 0
    assert "Example:\n" in result.output
    assert f"ilax {' '.join(command)}".split()[-1] in result.output.split("Example:")[1]


def test_json_comes_out_of_every_command_that_shows_something(running: Lab) -> None:
    running.ilax("mapping", "add", sir(9), "--locator", OTHER_LOCATOR)
    for command in (
        ["status"], ["counters"], ["version"], ["endpoint", "list"], ["mapping", "list"],
        ["address", "encode", sir(1), "--locator", LOCATOR],
    ):  # fmt: skip
        result = running.ilax("--json", *command)
        assert result.exit_code == 0, result.output
        json.loads(result.output)


def test_an_instance_that_is_not_up_is_not_found(lab: Lab) -> None:
    for command in (["status"], ["counters"], ["down"], ["mapping", "list"]):
        result = lab.ilax(*command)
        assert result.exit_code == NOT_FOUND
        assert "not up" in str(result.exception)


def test_who_forgets_the_name_of_an_instance_is_told_of_it(running: Lab) -> None:
    name, running.instance = running.instance, "nobody"
    error = running.ilax("status").exception
    assert isinstance(error, NotFoundError)
    assert "start it with" in (error.hint or "")
    assert name in (error.hint or "")
    running.instance = name


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 33, "-a", "a.b"])
def test_an_instance_needs_a_name_that_makes_a_path(lab: Lab, name: str) -> None:
    lab.instance = name
    assert lab.ilax("status").exit_code == USAGE


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--uplink", "nope"], "nope"),
        (["--locator", "2001:db8:42::/48"], "/64"),
        (["--locator", "2001:db8:5a5a:1::/64"], "overlap"),
        (["--block", "2001:db8::/32"], "overlap"),
        (["--sir-prefix", "fe80"], "fe80"),
        (["--host-address", "2001:db8:5a5a:1:2000::"], "zero"),
        (["--host-address", "2001:db8:ffff::1"], "outside"),
    ],
)
def test_a_wrong_up_leaves_nothing(lab: Lab, arguments: list[str], word: str) -> None:
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    options = {"--uplink": UPLINK, "--sir-prefix": SIR_PREFIX, "--locator": LOCATOR, **given}
    result = lab.ilax("up", *(part for pair in options.items() for part in pair))
    assert result.exit_code in (USAGE, NOT_FOUND)
    assert word in str(result.exception)
    assert not (Path("/sys/fs/bpf/ilax") / lab.instance).exists()


def test_a_second_up_keeps_rows_and_refuses_another_size(running: Lab) -> None:
    running.ilax("mapping", "add", sir(9), "--locator", OTHER_LOCATOR)
    result = running.up()
    assert result.exit_code == 0
    assert "upgraded in place" in result.output
    assert sir(9) in running.ilax("mapping", "list").output
    result = running.ilax(
        "up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX, "--locator", LOCATOR,
        "--block", BLOCK, "--max-mappings", "4",
    )  # fmt: skip
    assert result.exit_code == CONFLICT
    assert "1024 rows" in str(result.exception)


def test_new_prefixes_may_not_orphan_endpoints(running: Lab) -> None:
    assert running.ilax("endpoint", "add", sir(5), "--netns", running.container).exit_code == 0
    result = running.ilax(
        "up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX, "--locator", OTHER_LOCATOR
    )
    assert result.exit_code == USAGE
    assert "outside of the new prefixes" in str(result.exception)
    assert LOCATOR in running.ilax("status").output


def test_endpoints_come_and_go(running: Lab) -> None:
    assert running.ilax("endpoint", "add", sir(5), "--netns", running.container).exit_code == 0
    (shown,) = json.loads(running.ilax("--json", "endpoint", "list").output)
    assert shown["sir"] == sir(5)
    assert shown["delivery"] == "stack"
    facts = json.loads(running.ilax("--json", "endpoint", "show", sir(5)).output)
    assert facts["traffic"].keys() >= {"rx_packets", "tx_drops"}
    again = running.ilax("endpoint", "add", sir(5), "--netns", running.container)
    assert again.exit_code == CONFLICT
    assert running.ilax("endpoint", "del", sir(5)).exit_code == 0
    assert running.ilax("endpoint", "del", sir(5)).exit_code == NOT_FOUND
    assert json.loads(running.ilax("--json", "endpoint", "list").output) == []
    assert json.loads(running.ilax("--json", "status").output)["endpoints"] == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["zz", "--netns", CONTAINER], USAGE),
        (["2001:db8:5a5a:1:2000::1:0", "--netns", CONTAINER], USAGE),
        (["2001:db8:5a5a:1::5", "--netns", CONTAINER], USAGE),
        (["2001:db8:5a5a:1:3000::5", "--netns", CONTAINER], USAGE),
        (["2001:db8:9::5", "--netns", CONTAINER], USAGE),
        ([sir(5), "--netns", "ilx_no_such"], NOT_FOUND),
        ([sir(5)], USAGE),
        ([sir(5), "--netns", CONTAINER, "--host"], USAGE),
        ([sir(5), "--netns", CONTAINER, "--device", "a-name-that-is-too-long"], USAGE),
        ([sir(5), "--netns", CONTAINER, "--device", "far"], CONFLICT),
    ],
    ids=["malformed", "last 16 bits zero", "type 0", "C-bit set", "other prefix", "no namespace",
         "neither", "both", "bad device name", "device name taken"],
)  # fmt: skip
def test_a_wrong_endpoint_leaves_nothing(running: Lab, arguments: list[str], code: int) -> None:
    result = running.ilax("endpoint", "add", *arguments)
    assert result.exit_code == code, result.output
    with Instance.open(running.instance) as instance:
        assert len(instance.endpoints.rows()[0]) == 0
        assert len(instance.ports.rows()[0]) == 0
        assert len(instance.mappings.rows()[0]) == 0
    links = json.loads(running.ilax("--json", "status").output)["links"]
    assert not [link for link in links if link["link"].startswith("port_")]


def test_a_device_that_is_there_is_named_with_its_namespace(running: Lab) -> None:
    result = running.ilax("endpoint", "add", sir(5), "--netns", CONTAINER, "--device", "far")
    assert result.exit_code == CONFLICT
    text = str(result.exception)
    assert f"interface far exists already in network namespace {CONTAINER}" in text
    assert isinstance(result.exception, ConflictError)
    assert "--device" in (result.exception.hint or "")


def test_a_default_route_that_is_there_is_named_and_all_is_undone(running: Lab) -> None:
    route = ("-n", CONTAINER, "-6", "route")
    ip(*route, "add", "default", "via", "fe80::99", "dev", "far")
    result = running.ilax("endpoint", "add", sir(5), "--netns", CONTAINER)
    assert result.exit_code == CONFLICT
    text = str(result.exception)
    for word in (f"network namespace {CONTAINER}", "device far", f"{sir(5)} was not added"):
        assert word in text
    links = subprocess.run(
        ["ip", "-n", CONTAINER, "-brief", "link"], check=True, capture_output=True, text=True
    ).stdout
    assert "eth0" not in links
    ip(*route, "del", "default")
    assert running.ilax("endpoint", "add", sir(5), "--netns", CONTAINER).exit_code == 0


def test_a_kernel_without_netkit_is_told_apart(running: Lab) -> None:
    result = running.ilax("endpoint", "add", sir(5), "--netns", CONTAINER, "--link", "netkit")
    if result.exit_code == 0:
        pytest.skip("this kernel has netkit")
    assert isinstance(result.exception, SystemCallError)
    assert "leave --link netkit out" in (result.exception.hint or "")


def test_status_counts_mappings(running: Lab) -> None:
    for number in (7, 8, 9):
        running.ilax("mapping", "add", sir(number), "--locator", OTHER_LOCATOR)
    assert "mappings      3 of 1024\n" in running.ilax("status").output
    assert json.loads(running.ilax("status", "--json").output)["mappings"] == 3


def test_monitor_ends_with_its_summary_when_it_is_told_to_end(running: Lab) -> None:
    argv = [sys.executable, "-m", "ilax", "--instance", running.instance, "monitor"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "Ctrl-C ends it" in process.stderr.readline()
        process.terminate()
        rest = process.stderr.read()
    assert process.returncode == 0
    assert "0 samples shown" in rest


def test_monitor_says_that_an_endpoint_is_not_of_this_host(running: Lab) -> None:
    words = ("monitor", "--duration", "1ms", "--endpoint", sir(5))
    assert f"this host has no endpoint {sir(5)}" in running.ilax(*words).stderr
    assert running.ilax("endpoint", "add", sir(5), "--host").exit_code == 0
    assert "has no endpoint" not in running.ilax(*words).stderr


def test_bash_offers_endpoints_as_it_splits_words(running: Lab) -> None:
    """Bash holds for done what stands before the last colon, unless told otherwise."""
    for number in (5, 6):
        assert running.ilax("endpoint", "add", sir(number), "--host").exit_code == 0
    before, last = sir(5).rsplit(":", 1)
    line = f"ilax --instance {running.instance} endpoint show {before}:"
    assert offered(line) == [last, "6"]
    assert offered(line, breaks=" \t\n") == [sir(5), sir(6)]
    assert offered(f"ilax --instance {running.instance} monitor --endpoint={before}:6") == ["6"]


def test_full_tables_say_so_and_lose_nothing(lab: Lab) -> None:
    assert lab.ilax(
        "up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX, "--locator", LOCATOR,
        "--max-mappings", "2", "--max-endpoints", "1",
    ).exit_code == 0  # fmt: skip
    # The kernel lets a preallocated table take a few rows more (one for each
    # CPU), so the first refusal comes soon, not at once.
    codes = [
        lab.ilax("mapping", "add", sir(n), "--locator", OTHER_LOCATOR).exit_code
        for n in range(1, 50)
    ]
    first = codes.index(FULL)
    assert set(codes[:first]) == {0}
    rows = lab.ilax("mapping", "export", "-").output.splitlines()[1:]
    assert [row.split(",")[0] for row in rows][:first] == [sir(n) for n in range(1, first + 1)]


def test_mappings_come_and_go(running: Lab) -> None:
    assert running.ilax("mapping", "add", sir(9), "--locator", OTHER_LOCATOR).exit_code == 0
    assert running.ilax("mapping", "add", sir(9), "--locator", LOCATOR).exit_code == 0
    (row,) = running.ilax("mapping", "export", "-").output.splitlines()[1:]
    assert row.startswith(f"{sir(9)},2001:db8:42:7:") and row.endswith(",local,2")
    assert running.ilax("mapping", "del", sir(9)).exit_code == 0
    assert running.ilax("mapping", "del", sir(9)).exit_code == NOT_FOUND


@pytest.mark.parametrize(
    "arguments",
    [
        [sir(9)],
        [sir(9), "--wire", "2001:db8:42:8:3000::1"],
        [sir(9), "--wire", sir(8)],
        [sir(9), "--wire", "2001:db8:42:8:3000::4a1a", "--locator", OTHER_LOCATOR],
        ["2001:db8:9::9", "--locator", OTHER_LOCATOR],
        ["2001:db8:5a5a:1:2000::9:0", "--locator", OTHER_LOCATOR],
        [sir(9), "--locator", "2001:db8:42::/48"],
    ],
    ids=["neither", "not neutral", "a SIR address", "both", "other prefix", "zero", "a /48"],
)
def test_a_wrong_mapping_writes_nothing(running: Lab, arguments: list[str]) -> None:
    assert running.ilax("mapping", "add", *arguments).exit_code == USAGE
    assert running.ilax("mapping", "export", "-").output.splitlines()[1:] == []


@pytest.mark.parametrize(
    "options",
    [
        ["--device", "eth0"],
        ["--delivery", "xdp"],
        ["--link", "netkit"],
        ["--mtu", "1400"],
        ["--any-source"],
        ["--any-source", "--mtu", "1400"],
    ],
    ids=" ".join,
)
def test_an_address_of_the_host_has_no_device_to_ask_about(
    running: Lab, options: list[str]
) -> None:
    """As `apply` says it; what was asked for and left out would go unnoticed."""
    result = running.ilax("endpoint", "add", sir(5), "--host", *options)
    assert result.exit_code == USAGE
    for name in (word for word in options if word.startswith("--")):
        assert name in result.output
    assert json.loads(running.ilax("--json", "endpoint", "list").output) == []


def _port(lab: Lab) -> tuple[str, bool, bool]:
    """Delivery of the only endpoint, whether XDP has its device, and whether any source passes."""
    (found,) = json.loads(lab.ilax("--json", "endpoint", "list").output)
    with Instance.open(lab.instance) as opened:
        port = opened.ports.get(index_key(found["ifindex"]))
        assert port is not None
        has_device = opened.devices.lookup(index_key(found["ifindex"])) is not None
    return found["delivery"], has_device, bool(port["flags"])


def test_an_endpoint_is_changed_in_place(running: Lab) -> None:
    """What is not given stays, and so does all the rest of it."""
    add = running.ilax("endpoint", "add", sir(5), "--netns", CONTAINER, "--mtu", "1400")
    assert add.exit_code == 0
    (before,) = json.loads(running.ilax("--json", "endpoint", "list").output)
    findings = running.ilax("--json", "check").output
    for options, told, expected in (
        (["--delivery", "xdp"], "has delivery xdp", ("xdp", True, False)),
        (["--any-source"], "may send with any source", ("xdp", True, True)),
        (["--delivery", "stack"], "has delivery stack", ("stack", False, True)),
        (
            ["--delivery", "xdp", "--no-any-source", "--cgroup", "none"],
            "has delivery xdp, may send with no other source, names no cgroup",
            ("xdp", True, False),
        ),
        (["--cgroup", "none"], "names no cgroup", ("xdp", True, False)),
        (["--no-any-source", "--delivery", "stack"], "stack", ("stack", False, False)),
    ):
        done = running.ilax("endpoint", "set", sir(5), *options)
        assert done.exit_code == 0, done.exception
        assert told in done.output
        assert _port(running) == expected
    (after,) = json.loads(running.ilax("--json", "endpoint", "list").output)
    assert after == {**before, "generation": after["generation"]}
    assert running.ilax("--json", "check").output == findings


def test_what_an_endpoint_cannot_become_is_refused(running: Lab) -> None:
    assert running.ilax("endpoint", "add", sir(5), "--netns", CONTAINER).exit_code == 0
    assert running.ilax("endpoint", "add", sir(6), "--host").exit_code == 0
    before = running.ilax("--json", "endpoint", "list").output
    for options, code, words in (
        ([sir(5)], USAGE, "give --cgroup, --delivery"),
        ([sir(6), "--delivery", "xdp"], USAGE, "address of the host"),
        ([sir(6), "--any-source", "--cgroup", "none"], USAGE, "address of the host"),
        ([sir(7), "--any-source"], NOT_FOUND, sir(7)),
        # The cgroup is looked up before anything is changed.
        ([sir(5), "--delivery", "xdp", "--cgroup", "no/such"], NOT_FOUND, "no cgroup"),
    ):
        refused = running.ilax("endpoint", "set", *options)
        assert refused.exit_code == code
        assert words in refused.output + str(refused.exception)
        assert running.ilax("--json", "endpoint", "list").output == before
    ip("-n", CONTAINER, "link", "del", "eth0")
    gone = running.ilax("endpoint", "set", sir(5), "--delivery", "xdp")
    assert gone.exit_code == NOT_FOUND
    assert "is gone" in str(gone.exception)
    after, then = (
        json.loads(text) for text in (running.ilax("--json", "endpoint", "list").output, before)
    )
    assert after == [{**one, "device": None} for one in then]


def test_xdp_cannot_reach_into_a_netkit(running: Lab) -> None:
    made = running.ilax("endpoint", "add", sir(5), "--netns", CONTAINER, "--link", "netkit")
    if made.exit_code:
        pytest.skip("this kernel has no netkit")
    refused = running.ilax("endpoint", "set", sir(5), "--delivery", "xdp", "--any-source")
    assert refused.exit_code == USAGE
    assert _port(running) == ("stack", False, False)


def test_commands_outside_of_the_namespace_change_nothing(running: Lab) -> None:
    running.set_config(netns=1)
    for command in (["endpoint", "add", sir(5), "--netns", running.container], ["down"]):
        result = running.ilax(*command)
        assert result.exit_code == CONFLICT
        assert "net:[1]" in str(result.exception)
    assert running.ilax("down", "--force").exit_code == 0


@pytest.mark.parametrize("option", ["--sir-prefix", "--locator", "--block"])
def test_a_prefix_is_given_once(lab: Lab, option: str) -> None:
    value = {"--sir-prefix": SIR_PREFIX, "--locator": LOCATOR, "--block": BLOCK}[option]
    done = lab.up(option, value)
    assert done.exit_code == USAGE
    assert f"{value} is given twice; nothing was changed" in str(done.exception)
    assert lab.ilax("status").exit_code == NOT_FOUND


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(lab: Lab, shell: str) -> None:
    assert "_ILAX_COMPLETE" in lab.ilax("completion", shell).output


def test_counters_can_show_what_never_counted(running: Lab) -> None:
    everything = json.loads(running.ilax("--json", "counters", "--all").output)
    named = {row["reason"] for row in everything}
    reasons = {n.removeprefix("ILAX_").lower() for n in schema.enum("ilax_reason")}
    assert named == reasons - {"reason_count"}


def _ip(namespace: str, *arguments: str) -> str:
    return subprocess.run(
        ["ip", "-n", namespace, "-6", *arguments], check=True, capture_output=True, text=True
    ).stdout


def test_routes_of_others_are_left_alone(lab: Lab) -> None:
    _ip(lab.namespace, "route", "add", SIR_PREFIX, "dev", UPLINK)
    result = lab.up()
    assert result.exit_code == CONFLICT
    assert SIR_PREFIX in str(result.exception)
    assert "proto 105" not in _ip(lab.namespace, "route")
    assert SIR_PREFIX in _ip(lab.namespace, "route")
    assert not (Path("/sys/fs/bpf/ilax") / lab.instance).exists()


def test_a_container_keeps_its_own_default_route(running: Lab) -> None:
    _ip(running.container, "route", "add", "default", "dev", "far")
    result = running.ilax("endpoint", "add", sir(5), "--netns", running.container)
    assert result.exit_code == CONFLICT
    assert "default dev far" in _ip(running.container, "route")
    assert "iltask" not in _ip(running.namespace, "link")


def test_down_leaves_the_namespace_as_it_was(lab: Lab) -> None:
    def state() -> list[str]:
        what = ("route", "addr", "neigh", "link")
        text = "".join(_ip(lab.namespace, "-o", kind) for kind in what)
        # Not of interest: when an address was seen last, and ND of the kernel.
        return sorted(
            line.split(" metric")[0].split(" valid_lft")[0]
            for line in text.splitlines()
            if "fe80::" not in line or "11a" in line
        )

    before = state()
    assert lab.up("--host-address", sir(1)).exit_code == 0
    assert lab.ilax("endpoint", "add", sir(5), "--netns", lab.container).exit_code == 0
    assert state() != before
    assert lab.ilax("down").exit_code == 0
    assert state() == before
    assert not (Path("/sys/fs/bpf/ilax") / lab.instance).exists()


def test_devices_and_cgroups_are_told_by_name(running: Lab, folder: Cgroups) -> None:
    group = folder.make("web")
    assert running.ilax("endpoint", "add", sir(5), "--netns", CONTAINER).exit_code == 0
    assert running.ilax("endpoint", "add", sir(6), "--host").exit_code == 0
    assert running.ilax("limit", "set", group, "--rate", "1mbit").exit_code == 0
    (task, host) = json.loads(running.ilax("--json", "endpoint", "list").output)
    device = socket.if_indextoname(task["ifindex"])
    assert (task["device"], host["device"]) == (device, None)
    status = json.loads(running.ilax("--json", "status").output)
    assert (status["uplink"], status["here"]) == (UPLINK, True)
    assert {one["device"] or one["cgroup_name"] for one in status["links"]} == {
        UPLINK, device, group,
    }  # fmt: skip
    text = running.ilax("status").output
    assert re.search(rf"^uplink +{UPLINK}, MTU ", text, re.MULTILINE)
    assert re.search(rf"^port_\d+ .* {device}$", text, re.MULTILINE)
    assert re.search(rf"^cgroup_\d+ .* cgroup {group}$", text, re.MULTILINE)
    rows = running.ilax("endpoint", "list").output.splitlines()
    assert f" {device} " in rows[1]
    assert " none " in rows[2]
    assert re.search(rf"^device +{device}$", running.ilax("endpoint", "show", sir(5)).output, re.M)

    # From another namespace numbers are all that is known.
    elsewhere = [sys.executable, "-m", "ilax", "--instance", running.instance]
    status_text, list_text = (
        run("nsenter", f"--net=/run/netns/{CONTAINER}", *elsewhere, *words).stdout
        for words in (("status",), ("endpoint", "list"))
    )
    uplink = socket.if_nametoindex(UPLINK)
    assert f"interface {uplink} (elsewhere), MTU" in status_text
    assert "which is not ours" in status_text
    assert f"interface {task['ifindex']} (elsewhere)" in list_text

    ip("link", "del", device)
    for words in (("endpoint", "list"), ("endpoint", "show", sir(5))):
        assert f"interface {task['ifindex']} (gone)" in running.ilax(*words).output
