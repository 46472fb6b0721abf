# SPDX-License-Identifier: Apache-2.0
"""An uplink that is not ready, that was down meanwhile, and what an `up` takes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from ilax.instances.pins import PinFolder

from .conftest import BLOCK, FILE_HEAD, LOCATOR, OTHER_LOCATOR, SIR_PREFIX, UPLINK, Lab, ip, sir
from .test_changes import _network as network
from .test_check import check, ids

USAGE, CONFLICT = 2, 4
HOOK = Path(__file__).resolve().parents[2] / "packaging/hooks/ilax-link-up"
GATEWAY = "fe80::99"

# The hook sees this instance only, and not what else runs on this machine. Files of
# instances are those of a folder.
_ALONE = """
mount -t overlay -o "lowerdir=$3:/etc" overlay /etc
mount -t tmpfs -o mode=0700 tmpfs "$1"
mkdir "$1/$2"
mount --bind "/sys/fs/bpf/ilax/$2" "$1/$2"
mount --rbind "$1" /sys/fs/bpf/ilax
shift 3
exec "$@"
"""


def _ip(lab: Lab, *arguments: str) -> None:
    ip("-n", lab.namespace, *arguments)


def _disable_ipv6(value: int) -> None:
    Path("/proc/sys/net/ipv6/conf", UPLINK, "disable_ipv6").write_text(f"{value}\n")


def _notes(lab: Lab, *arguments: str) -> list[str]:
    done = lab.ilax(
        "--json", "up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX,
        "--max-endpoints", "64", "--max-mappings", "1024", *arguments,
    )  # fmt: skip
    assert done.exit_code == 0, done.exception
    notes: list[str] = json.loads(done.output)["notes"]
    return [note for note in notes if "forwarding" not in note]


@pytest.mark.parametrize("state", ["down", "MTU", "IPv6"])
def test_up_names_what_the_uplink_lacks_and_changes_nothing(lab: Lab, state: str) -> None:
    def spoil() -> None:
        if state == "down":
            _ip(lab, "link", "set", UPLINK, "down")
        elif state == "MTU":
            _ip(lab, "link", "set", UPLINK, "mtu", "1200")
        else:
            _disable_ipv6(1)

    spoil()
    before = network(lab)
    refused = lab.up("--host-address", sir(1))
    assert refused.exit_code == CONFLICT
    assert UPLINK in str(refused.exception)
    assert state in str(refused.exception)
    assert "nothing was changed" in str(refused.exception)
    # The remedy can be pasted.
    assert not PinFolder(lab.instance).base.exists()
    hint = vars(refused.exception)["hint"]
    subprocess.run(hint.split("`")[1], shell=True, check=True, capture_output=True)
    assert lab.up("--host-address", sir(1)).exit_code == 0
    # The same of an instance that runs, and once only.
    spoil()
    again = lab.up("--host-address", sir(1))
    assert again.exit_code == CONFLICT
    assert "__notes__" not in vars(again.exception)
    assert before["routes"] == []


def _hook(lab: Lab, folder: Path, *arguments: str, device: str = "", declared: str = "") -> None:
    """Run the hook where it sees this instance only, and the file that it was declared by."""
    pins, etc = folder / "pins", folder / "etc"
    for made in (pins, etc / "ilax"):
        made.mkdir(parents=True, exist_ok=True)
    if declared:
        (etc / "ilax" / f"{lab.instance}.toml").write_text(declared)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
        **({"IFACE": device} if device else {}),
    }
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private",
         "sh", "-euc", _ALONE, "sh", pins, lab.instance, etc, HOOK, *arguments],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not done.stderr


def _tuntap(lab: Lab, name: str) -> str:
    """A device called after its mode; both hand up IPv6."""
    _ip(lab, "tuntap", "add", "dev", name, "mode", name)
    _ip(lab, "link", "set", name, "up")
    return name


def test_a_device_without_ethernet_is_no_uplink(running: Lab, tmp_path: Path) -> None:
    """What a program redirects to one is dropped by the kernel, and counted as sent."""
    before = network(running)
    refused = running.up("--uplink", _tuntap(running, "tun"))
    assert refused.exit_code == USAGE
    assert "tun cannot be an uplink: it is not Ethernet" in str(refused.exception)
    assert "nothing was changed" in str(refused.exception)
    assert network(running) == before
    assert check(running) == []
    file = tmp_path / "host.toml"
    file.write_text(FILE_HEAD.replace(UPLINK, "tun"))
    for command in ("plan", "apply"):
        refused = running.ilax(command, str(file))
        assert refused.exit_code == USAGE
        assert "3: up.uplink" in str(refused.exception)
        assert "it is not Ethernet" in str(refused.exception)
    assert network(running) == before
    assert running.up("--uplink", _tuntap(running, "tap")).exit_code == 0
    assert check(running) == []


def test_an_uplink_that_was_down_is_mended_by_the_hook(running: Lab, tmp_path: Path) -> None:
    before = network(running)
    # A carrier that goes and comes harms nothing.
    for state in ("down", "up"):
        ip("-n", running.container, "link", "set", "far", state)
        assert ids(running) == set()
    for state in ("down", "up"):
        _ip(running, "link", "set", UPLINK, state)
    assert ids(running) == {"route.sir-missing", "route.sir-neighbour"}
    hook = partial(_hook, running, tmp_path)
    for arguments, device in (((UPLINK, "down"), ""), ((), "iltask0"), (("lo", "up"), "")):
        hook(*arguments, device=device)
        assert ids(running) == {"route.sir-missing", "route.sir-neighbour"}
    hook(device=UPLINK)
    assert check(running) == []
    assert network(running) == before
    for state in ("down", "up"):
        _ip(running, "link", "set", UPLINK, state)
    hook(UPLINK, "up")
    assert check(running) == []


def test_the_hook_leaves_interfaces_alone_that_the_file_does_not_name(
    running: Lab, tmp_path: Path
) -> None:
    """Each of hundreds of containers' devices would else cost a check."""
    hook = partial(_hook, running, tmp_path)
    for state in ("down", "up"):
        _ip(running, "link", "set", UPLINK, state)
    broken = ids(running)
    assert broken
    hook(device="docker0", declared=FILE_HEAD)
    assert ids(running) == broken
    hook(device=UPLINK)
    assert check(running) == []


def test_an_uplink_that_was_made_anew_is_taken_by_the_hook(running: Lab, tmp_path: Path) -> None:
    before = network(running)
    _ip(running, "link", "del", UPLINK)
    _ip(running, "link", "add", UPLINK, "type", "veth", "peer", "name", "far0")
    _ip(running, "link", "set", UPLINK, "up")
    assert "uplink.gone" in ids(running)
    _hook(running, tmp_path, device=UPLINK, declared=FILE_HEAD)
    assert check(running) == []
    assert network(running) == before


def test_the_timer_mends_and_reports(running: Lab, tmp_path: Path) -> None:
    """ILAX_CHECK_OPTIONS=--fix behind the command of the unit."""
    for state in ("down", "up"):
        _ip(running, "link", "set", UPLINK, state)
    report = tmp_path / "report.json"
    done = running.ilax("check", "--fail-on", "never", "--report", str(report), "--fix")
    assert done.exit_code == 0
    assert "mended   route.sir-missing" in done.output
    assert report.exists()
    assert check(running) == []


def test_up_says_what_it_takes_back(lab: Lab) -> None:
    first = ("--locator", LOCATOR, "--locator", OTHER_LOCATOR, "--block", BLOCK)
    given = (*first, "--gateway", GATEWAY, "--xdp", "native", "--host-address", sir(1))
    assert _notes(lab, *given) == []
    assert _notes(lab, *given) == []
    notes = _notes(lab, "--locator", LOCATOR)
    assert notes[:3] == [
        f"locator {OTHER_LOCATOR} is removed: this `up` did not name it",
        f"block {BLOCK} is removed: this `up` did not name it",
        f"gateway {GATEWAY} is removed: this `up` did not name it, so the kernel's routes decide",
    ]
    # What operations.md says to stay.
    status = json.loads(lab.ilax("--json", "status").output)
    assert status["xdp"]
    assert network(lab)["addresses"].count(sir(1)) == 1
    assert network(lab)["routes"] == [(SIR_PREFIX, UPLINK, sir(1))]
    assert not any("removed" in note for note in _notes(lab, "--locator", LOCATOR))


def test_a_locator_outside_of_every_block_is_told(lab: Lab) -> None:
    outside = "2001:db8:99:7::/64"
    notes = _notes(lab, "--locator", LOCATOR, "--locator", outside, "--block", BLOCK)
    assert [note.split()[0] for note in notes if "outside of every block" in note] == [outside]
    for locator, told in ((OTHER_LOCATOR, False), ("2001:db8:99:8::/64", True)):
        done = lab.ilax("--json", "mapping", "add", sir(9), "--locator", locator)
        assert done.exit_code == 0
        assert (f"note: {locator} is outside of every block" in done.stderr) == told
        assert json.loads(done.stdout)["sir"] == sir(9)
    assert _notes(lab, "--locator", LOCATOR)[-1].startswith("no --block")
    assert not lab.ilax("mapping", "add", sir(9), "--locator", outside).stderr
