# SPDX-License-Identifier: Apache-2.0
"""`apply` under traffic, and killed on its way: the next one ends where it should."""

from __future__ import annotations

from pathlib import Path

from lab import operator
from lab.cgroups import own_cgroups
from lab.faults import kill_at, some, steps
from lab.ilax import Ilax
from lab.topology import UPLINK, Container, Host, Lab
from lab.udp import NumberedStream, assert_unharmed, still_flowing
from lab.wait import until

KILLS = 5
SECOND_PREFIX = "2001:db8:5a5a:99::/64"


def _write(
    file: Path, lab: Lab, host: Host, *tables: str, prefixes: str = "", up: str = ""
) -> None:
    lines = [
        "version = 1",
        "[up]",
        f'uplink = "{UPLINK}"',
        f'sir-prefix = ["{lab.plan.sir_prefix}"{prefixes}]',
        f'locator = "{host.locator}"',
        f'block = "{lab.plan.block}"',
        'xdp = "native"',
        "max-endpoints = 64",
        "max-mappings = 1024",
        up,
        *tables,
    ]
    file.write_text("\n".join(lines))


def _endpoint(task: Container, *more: str) -> str:
    lines = ["[[endpoint]]", f'sir = "{task.address}"', f'netns = "{task.ns.name}"']
    return "\n".join([*lines, *more])


def _limit(cgroup: str, *more: str) -> str:
    return "\n".join(["[[limit]]", f'cgroup = "{cgroup}"', *more])


def _settled(ilax: Ilax, file: Path) -> str:
    """Apply; then nothing is left to do, and what is there can be declared."""
    ilax("apply", "--prune", file)
    assert ilax("plan", "--prune", "--exit-code", file).startswith("nothing to do")
    text = ilax("export")
    assert "Left out" not in text
    return text


def test_an_apply_is_killed_under_load(bare: Lab, tmp_path: Path) -> None:
    """Whatever is killed, what stays the same loses no packet, and the rest is completed."""
    host, other = bare.hosts
    task, second = host.containers
    peer = other.containers[0]
    ilax = host.ilax
    # One file of mappings for both hosts.
    (tmp_path / "mappings.csv").write_text(operator.placement(bare.containers))
    everywhere = '[[mapping]]\nfile = "mappings.csv"'
    before, after, far = (tmp_path / name for name in ("before.toml", "after.toml", "far.toml"))
    with own_cgroups(bare.tag) as cgroups:
        one, two = cgroups.make("one"), cgroups.make("two")
        _write(
            before, bare, host, _endpoint(task), _endpoint(second, f'cgroup = "{two}"'),
            everywhere, _limit(two, "pps = 9000"), _limit(one, 'rate = "1gbit"'),
        )  # fmt: skip
        extra = str(bare.plan.sir(77))
        _write(
            after, bare, host, _endpoint(task),
            f'[[endpoint]]\nsir = "{bare.plan.sir(78)}"\nhost = true\ncgroup = "{one}"',
            everywhere,
            f'[[mapping]]\nsir = "{bare.plan.sir(79)}"\nlocator = "{other.locator}"',
            _limit(one, 'rate = "2gbit"', 'action = "count"'),
            prefixes=f', "{SECOND_PREFIX}"', up=f'host-address = "{extra}"',
        )  # fmt: skip
        _write(far, bare, other, *map(_endpoint, other.containers), everywhere)
        other.ilax("apply", far)
        first = _settled(ilax, before)
        last = _settled(ilax, after)
        assert _settled(ilax, before) == first
        # Not of the first change: that leaves programs behind, which the next ones remove.
        found = steps(ilax, "apply", "--prune", after)
        assert _settled(ilax, after) == last
        assert _settled(ilax, before) == first
        assert len(found) > 40
        with (
            NumberedStream(task.ns, peer.ns, peer.address, rate=500, port=7001) as to,
            NumberedStream(peer.ns, task.ns, task.address, rate=500, port=7002) as back,
        ):
            until(lambda: to.received > 20 and back.received > 20, "traffic")
            for step in some(found, KILLS):
                kill_at(ilax, step, "apply", "--prune", after)
                assert _settled(ilax, after) == last, step
                assert _settled(ilax, before) == first, step
            still_flowing(to, back)
        assert_unharmed(to, back)
        ilax("down")


def test_the_first_apply_is_killed(bare: Lab, tmp_path: Path) -> None:
    """Where nothing was up before, too."""
    host = bare.hosts[0]
    ilax, file = host.ilax, tmp_path / "host.toml"
    _write(file, bare, host, *map(_endpoint, host.containers))
    found = steps(ilax, "apply", "--prune", file)
    whole = _settled(ilax, file)
    ilax("down")
    for step in some(found, 3):
        kill_at(ilax, step, "apply", "--prune", file)
        assert _settled(ilax, file) == whole, step
        ilax("down")
        assert not ilax.pins.exists(), step
