# SPDX-License-Identifier: Apache-2.0
"""Where nothing can be done: said before half of it is done, with a way out that works."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ilax.bpf import Map
from ilax.instances.pins import PinFolder
from ilax.system import netlink

from .conftest import BLOCK, FILE_HEAD, LOCATOR, OTHER_LOCATOR, SIR_PREFIX, UPLINK, Lab, ip, sir
from .test_changes import _network as network
from .test_check import check, ids

CONFLICT, LAYOUT, FULL = 4, 6, 8
ILAX = Path(sys.executable).with_name("ilax")
OPERATIONS = Path(__file__).resolve().parents[2] / "docs/operations.md"


# --- a bpffs that cannot be written ---------------------------------------------


def _on_read_only(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a mount namespace of its own, where bpffs is read-only."""
    remount = 'mount -o remount,bind,ro /sys/fs/bpf && exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", remount, "sh",
         ILAX, "--instance", lab.instance, *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        ("endpoint", "del", sir(5)),
        ("endpoint", "add", sir(6), "--host"),
        ("down",),
        ("upgrade", "--before", "0", "--soak", "0"),
        ("up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX, "--locator", LOCATOR),
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_nothing_is_begun_where_pins_cannot_be_changed(
    running: Lab, command: tuple[str, ...]
) -> None:
    assert running.ilax("endpoint", "add", sir(5), "--netns", running.container).exit_code == 0
    before = network(running)
    done = _on_read_only(running, *command)
    assert done.returncode == CONFLICT, done.stderr
    assert "/sys/fs/bpf is mounted read-only; nothing was changed" in done.stderr
    assert "remount,rw" in done.stderr
    # Reading goes on.
    assert _on_read_only(running, "status").returncode == 0
    looked = _on_read_only(running, "check", "--ignore", "sysctl.forwarding")
    assert looked.returncode == 0, looked.stdout
    assert network(running) == before
    assert check(running) == []


# --- commands that change nothing anyway ------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("endpoint", "show", sir(7)),
        ("explain", "--in", "nobody", "--dst", sir(7)),
        ("plan", "no-such-file"),
        ("plan", "-"),
        ("check", "--ignore", "no.such.finding"),
        ("limit", "show", "no-such-cgroup"),
        ("limit", "watch", "no-such-cgroup"),
        ("monitor", "--interface", "no-such-device"),
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_who_only_reads_does_not_say_that_nothing_was_changed(
    running: Lab, command: tuple[str, ...]
) -> None:
    refused = running.ilax(*command, text="[up]\nuplink = 1\n")
    assert refused.exit_code not in (0, 1)
    assert "nothing was changed" not in str(refused.exception) + refused.output


def test_a_plan_that_would_be_refused_says_only_why(running: Lab) -> None:
    text = f"{FILE_HEAD}max-limits = 7\n"
    planned = running.ilax("plan", "-", text=text)
    assert planned.exit_code == CONFLICT
    assert "would be refused" in planned.stderr
    assert "nothing was changed" not in planned.output + planned.stderr
    assert "nothing was changed" in str(running.ilax("apply", "-", text=text).exception)


def test_reading_elsewhere_changes_nothing_and_does_not_say_so(running: Lab) -> None:
    with (
        Path(f"/run/netns/{running.container}").open() as other,
        netlink.inside(other.fileno()),
    ):
        for command in (("export",), ("plan", "-"), ("endpoint", "list")):
            refused = running.ilax(*command, text=FILE_HEAD)
            assert "nothing was changed" not in str(refused.exception), command


# --- an instance of another namespace --------------------------------------------


def test_the_way_to_an_instance_elsewhere_can_be_pasted(running: Lab) -> None:
    with (
        Path(f"/run/netns/{running.container}").open() as other,
        netlink.inside(other.fileno()),
    ):
        refused = running.ilax("down")
        hint = vars(refused.exception)["hint"]
    assert refused.exit_code == CONFLICT
    assert f"nsenter --net=/run/netns/{running.namespace} ilax" in hint
    running.set_config(netns=1)
    refused = running.ilax("down")
    hint = vars(refused.exception)["hint"]
    assert refused.exit_code == CONFLICT
    assert "nsenter" not in hint
    assert f"ilax --instance {running.instance} down --force" in hint
    assert running.ilax("down", "--force").exit_code == 0


# --- an instance that lacks maps -----------------------------------------------------


def _hooks(lab: Lab) -> list[object]:
    """What an instance leaves in the namespace: hooks, devices, network."""
    links = ("ip", "-n", lab.namespace, "-br", "link")
    hooks = subprocess.run(["bpftool", "net"], check=True, capture_output=True, text=True)
    names = subprocess.run(links, check=True, capture_output=True, text=True)
    return [network(lab), hooks.stdout, [line.split()[0] for line in names.stdout.splitlines()]]


@pytest.mark.parametrize("tc", ["tcx", "clsact"])
@pytest.mark.parametrize(
    "missing",
    [
        ("ilax_mappings",),
        ("ilax_chunks",),
        ("ilax_config",),
        ("ilax_prefixes",),
        ("ilax_endpoints",),
        ("ilax_abi", "ilax_config", "ilax_endpoints", "ilax_prefixes"),
    ],
    ids=lambda names: "-".join(name.removeprefix("ilax_") for name in names),
)
def test_down_goes_by_what_is_left(lab: Lab, missing: tuple[str, ...], tc: str) -> None:
    before = _hooks(lab)
    other = replace(lab, instance=f"{lab.instance}-b")
    assert lab.up("--tc", tc, "--host-address", sir(1)).exit_code == 0
    if tc == "tcx":
        domain = ("--sir-prefix", "2001:db8:5a5a:2::/64", "--locator", OTHER_LOCATOR)
        assert other.ilax("up", "--uplink", UPLINK, *domain).exit_code == 0
    assert lab.ilax("endpoint", "add", sir(5), "--netns", lab.container).exit_code == 0
    for name in missing:
        (PinFolder(lab.instance).maps / name).unlink()
    done = lab.ilax("down")
    assert done.exit_code == 0, done.output
    if tc == "tcx":
        # The other instance did not notice.
        assert check(other) == []
        assert other.ilax("down").exit_code == 0
    assert _hooks(lab) == before
    assert ids(lab) == {"instance.not-up"}


@pytest.mark.parametrize("elsewhere", [True, False])
def test_down_without_its_prefixes_heeds_who_cannot_be_asked(running: Lab, elsewhere: bool) -> None:
    """A route may be theirs, unless they serve another namespace."""
    other = replace(running, instance=f"{running.instance}-b")
    domain = ("--sir-prefix", "2001:db8:5a5a:2::/64", "--locator", OTHER_LOCATOR)
    assert other.ilax("up", "--uplink", UPLINK, *domain).exit_code == 0
    if elsewhere:
        other.set_config(netns=1)
    (PinFolder(other.instance).maps / "ilax_prefixes").unlink()
    assert ids(running) == {"route.leftover"}
    ids(running, "--fix")
    assert len(network(running)["routes"]) == (1 if elsewhere else 2)
    (PinFolder(running.instance).maps / "ilax_prefixes").unlink()
    assert running.ilax("down").exit_code == 0
    assert len(network(running)["routes"]) == (0 if elsewhere else 2)
    assert other.ilax("down", "--force").exit_code == 0
    assert network(running)["routes"] == []


def test_down_lists_what_no_mark_tells(running: Lab) -> None:
    for number in (1, 2):
        assert running.ilax("endpoint", "add", sir(number), "--host").exit_code == 0
    (PinFolder(running.instance).maps / "ilax_endpoints").unlink()
    done = running.ilax("down")
    assert done.exit_code == 1
    # The routes name the first one, as the source of what the host sends.
    left = [line for line in done.output.splitlines() if line.startswith("left:")]
    assert left == [f"left: address {sir(2)} on lo"]
    addresses = network(running)["addresses"]
    assert sir(2) in addresses
    assert sir(1) not in addresses
    assert network(running)["routes"] == []


def test_down_of_an_incomplete_instance_elsewhere_is_refused(running: Lab) -> None:
    (PinFolder(running.instance).maps / "ilax_mappings").unlink()
    with (
        Path(f"/run/netns/{running.container}").open() as other,
        netlink.inside(other.fileno()),
    ):
        assert running.ilax("down").exit_code == CONFLICT
    assert len(network(running)["routes"]) == 1
    assert running.ilax("down").exit_code == 0
    assert network(running)["routes"] == []


# --- a contract that this ilax does not know ----------------------------------------


def _by_hand(lab: Lab) -> str:
    """The commands of operations.md, for this lab."""
    text = OPERATIONS.read_text().partition("### By hand")[2]
    block = re.search(r"\n\n((?:    .*\n)+)", text)
    assert block is not None
    # The namespace of the test has one name for its uplink and its instance.
    return block[1].replace("default", lab.instance).replace("eth0", UPLINK)


@pytest.mark.parametrize("tc", ["tcx", "clsact"])
def test_the_last_resort_leaves_nothing(lab: Lab, tc: str) -> None:
    before = _hooks(lab)
    assert lab.up("--tc", tc, "--host-address", sir(1), "--xdp", "native").exit_code == 0
    assert lab.ilax("endpoint", "add", sir(5), "--netns", lab.container).exit_code == 0
    maps = PinFolder(lab.instance).maps
    (maps / "ilax_abi").unlink()
    with Map.open_pinned(maps / "ilax_config") as other:
        other.pin(maps / "ilax_abi")
    refused = lab.ilax("down")
    assert refused.exit_code == LAYOUT
    assert "by hand" in vars(refused.exception)["hint"]
    commands = _by_hand(lab)
    done = subprocess.run(["sh", "-c", commands], capture_output=True, text=True, check=False)
    assert not done.stderr
    assert sir(1) in done.stdout
    ip("-n", lab.namespace, "-6", "address", "del", f"{sir(1)}/128", "dev", "lo")
    assert _hooks(lab) == before
    assert ids(lab) == {"instance.not-up"}


# --- a map that is full ---------------------------------------------------------------


def test_a_full_map_names_the_address_and_the_way_that_keeps_rows(lab: Lab, tmp_path: Path) -> None:
    small = ("--max-endpoints", "8", "--max-mappings", "64")
    up = ("up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX, "--locator", LOCATOR)
    assert lab.ilax(*up, "--block", BLOCK, *small).exit_code == 0
    number, done = 0, None
    while done is None or done.exit_code == 0:
        number += 1
        done = lab.ilax("endpoint", "add", sir(number), "--host")
    assert done.exit_code == FULL
    assert f"cannot add endpoint {sir(number)} to map ilax_endpoints" in str(done.exception)
    (found,) = check(lab)
    assert (found["id"], found["object"]) == ("map.nearly-full", "ilax_endpoints")
    assert found["seen"] == "8 of 8 rows are in use"
    hint = vars(done.exception)["hint"]
    assert [word for word in ("export", "down", "apply") if f"`ilax {word}" in hint] == [
        "export", "down", "apply"
    ]  # fmt: skip
    # What it says keeps the rows.
    text = lab.ilax("export").stdout
    file = tmp_path / "host.toml"
    file.write_text(text.replace("max-endpoints = 8", "max-endpoints = 16"))
    assert lab.ilax("down").exit_code == 0
    assert lab.ilax("apply", str(file)).exit_code == 0
    assert lab.ilax("endpoint", "add", sir(number), "--host").exit_code == 0
    assert check(lab) == []


def test_a_full_map_of_mappings_names_the_address(lab: Lab) -> None:
    up = ("up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX, "--locator", LOCATOR)
    assert lab.ilax(*up, "--max-mappings", "1").exit_code == 0
    number, done = 0, None
    while done is None or done.exit_code == 0:
        number += 1
        done = lab.ilax("mapping", "add", sir(number), "--locator", OTHER_LOCATOR)
    assert done.exit_code == FULL
    assert f"row {sir(number)} of map ilax_mappings" in str(done.exception)
