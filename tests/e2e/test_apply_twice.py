# SPDX-License-Identifier: Apache-2.0
"""A file applied by two at once, and where tc has filters instead of links."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import operator, probes
from lab.findings import check
from lab.operator import Options
from lab.topology import UPLINK, Host, Lab

NOT_FOUND, CONFLICT = 3, 4


def write(lab: Lab, host: Host, file: Path, tc: str, *, tasks: bool = True) -> None:
    lines = [
        "version = 1",
        "[up]",
        f'uplink = "{UPLINK}"',
        f'sir-prefix = "{lab.plan.sir_prefix}"',
        f'locator = "{host.locator}"',
        f'block = "{lab.plan.block}"',
        'xdp = "off"',
        f'tc = "{tc}"',
    ]
    for task in lab.containers:
        if task.host is not host:
            lines += ["[[mapping]]", f'sir = "{task.address}"', f'locator = "{task.host.locator}"']
        elif tasks:
            lines += ["[[endpoint]]", f'sir = "{task.address}"', f'netns = "{task.ns.name}"']
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("tc", ["tcx", "clsact"])
def test_two_at_once_end_where_one_does(bare: Lab, tmp_path: Path, tc: str) -> None:
    """One may be told that the other was quicker; neither leaves anything half done."""
    host, other = bare.hosts
    file = tmp_path / "host.toml"
    write(bare, host, file, tc)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: host.ilax.try_("apply", "--prune", file), range(2)))
    assert {one.returncode for one in done} <= {0, NOT_FOUND, CONFLICT}, done
    assert 0 in {one.returncode for one in done}, done
    assert not any("Traceback" in one.stderr for one in done)
    host.ilax("apply", "--prune", file)
    assert host.ilax.try_("plan", "--prune", "--exit-code", file).returncode == 0
    # On its own what stands there is found healthy, and packets pass.
    other.ilax(*operator.up_arguments(bare, other, Options(xdp="off", tc=tc)))
    for task in other.containers:
        other.ilax(*operator.add_arguments(task))
    for task in host.containers:
        other.ilax("mapping", "add", task.address, "--locator", host.locator)
    a, near, far, _ = bare.containers
    probes.must_ping(a.ns, near.address)
    probes.must_ping(a.ns, far.address)
    assert check(host.ilax).findings == []
    # A file that came out of it goes in again without a change.
    exported = tmp_path / "exported.toml"
    exported.write_text(host.ilax("export"))
    assert f'tc = "{tc}"' in exported.read_text()
    assert host.ilax.try_("plan", "--prune", "--exit-code", exported).returncode == 0
    # Two that take the same away.
    write(bare, host, file, tc, tasks=False)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: host.ilax.try_("apply", "--prune", file), range(2)))
    assert {one.returncode for one in done} <= {0, NOT_FOUND}, done
    assert not any("Traceback" in one.stderr for one in done)
    host.ilax("apply", "--prune", file)
    assert host.ilax.json("endpoint", "list") == []
    assert not [name for name in host.ns.devices() if name.startswith("iltask")]
