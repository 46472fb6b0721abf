# SPDX-License-Identifier: Apache-2.0
"""Pins are seen in one mount namespace: `ip netns exec` makes another one for a command."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from .conftest import BLOCK, LOCATOR, SIR_PREFIX, UPLINK, Lab, sir

NOT_FOUND, CONFLICT = 3, 4


def _shell(lab: Lab, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script by `ip netns exec`; `$ILAX` is the command, `$UP` brings it up."""
    ilax = shlex.join([sys.executable, "-m", "ilax", "--instance", lab.instance])
    up = shlex.join(
        ["up", "--uplink", UPLINK, "--sir-prefix", SIR_PREFIX, "--locator", LOCATOR,
         "--block", BLOCK, "--max-endpoints", "64", "--max-mappings", "1024"]
    )  # fmt: skip
    return subprocess.run(
        ["ip", "netns", "exec", lab.namespace, "sh", "-c", f"ILAX='{ilax}' UP='{up}'; {script}"],
        capture_output=True,
        text=True,
        check=False,
    )


def _state(lab: Lab) -> str:
    return "".join(
        subprocess.run(
            ["ip", "-n", lab.namespace, "-6", "-o", kind, "show"],
            check=True, capture_output=True, text=True,
        ).stdout
        for kind in ("route", "neigh")
    )  # fmt: skip


def test_an_up_that_would_go_with_its_command_is_refused(lab: Lab) -> None:
    before = _state(lab)
    done = _shell(lab, "$ILAX $UP; code=$?; grep -c ' - bpf ' /proc/self/mountinfo; exit $code")
    assert done.returncode == CONFLICT, done
    assert done.stdout == "0\n"
    assert "nothing was changed" in done.stderr and "nsenter --net" in done.stderr
    assert _state(lab) == before
    # The way out that is named; this process is in the namespace as nsenter would be.
    assert lab.up().exit_code == 0


def test_a_mount_that_somebody_made_is_used(lab: Lab) -> None:
    """Who mounts it there knows how long that namespace lasts."""
    done = _shell(lab, "mount -t bpf bpf /sys/fs/bpf && $ILAX $UP && $ILAX status && $ILAX down")
    assert done.returncode == 0, done


def test_an_instance_that_is_hidden_is_not_said_to_be_started(running: Lab) -> None:
    for command in ("status", "down", "mapping list", "upgrade", "rollback"):
        done = _shell(running, f"$ILAX {command}")
        assert done.returncode == NOT_FOUND, done
        assert "no bpffs is mounted" in done.stderr and "nsenter --net" in done.stderr
        assert "ilax up" not in done.stderr
    assert running.ilax("status").exit_code == 0


@pytest.mark.parametrize(
    "command",
    [
        ("limit", "list"),
        ("limit", "watch", "--interval", "0.1", "--count", "1"),
        ("top", "--once"),
        ("explain", "--in", sir(5), "--dst", sir(6)),
        ("endpoint", "show", sir(5)),
        ("check", "--ignore", "sysctl.forwarding"),
        ("export",),
        ("status",),
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_what_has_no_limits_is_shown_without_cgroups(
    running: Lab, command: tuple[str, ...]
) -> None:
    assert running.ilax("endpoint", "add", sir(5), "--netns", running.container).exit_code == 0
    done = _without_cgroups(running, *command)
    assert done.returncode == 0, (done.stdout, done.stderr)


def test_a_limit_without_cgroups_is_refused(running: Lab) -> None:
    done = _without_cgroups(running, "limit", "set", "some.slice", "--rate", "1mbit")
    assert done.returncode == NOT_FOUND
    assert "no cgroup v2 hierarchy is mounted; nothing was changed" in done.stderr


def _without_cgroups(lab: Lab, *command: str) -> subprocess.CompletedProcess[str]:
    ilax = shlex.join([sys.executable, "-m", "ilax", "--instance", lab.instance, *command])
    unmounted = "for at in $(findmnt -nlo TARGET -t cgroup2 | tac); do umount -l $at || exit; done"
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{unmounted}; exec {ilax}"],
        capture_output=True,
        text=True,
        check=False,
    )
