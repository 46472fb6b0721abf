# SPDX-License-Identifier: Apache-2.0
"""`plan`, `apply` and `export` on real maps, devices and cgroups."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from ilax.address import parse
from ilax.endpoint import endpoints
from ilax.instances.instance import Instance
from ilax.instances.pins import PinFolder
from ilax.system.netlink import interface_names
from lab.cgroups import Cgroups
from lab.contract_1_0 import turn_back
from lab.wait import until

from .conftest import LOCATOR, OTHER_LOCATOR, SIR_PREFIX, TAG, UPLINK, Lab, ip, sir
from .declared_host import UP, Host, limited, row, task
from .limit_state import assert_tidy, read

USAGE, NOT_FOUND, CONFLICT, LAYOUT = 2, 3, 4, 6


@pytest.fixture
def host(lab: Lab, tmp_path: Path) -> Host:
    return Host.with_tasks(lab, tmp_path, 1, 2, 3)


def test_a_host_from_nothing_to_nothing(host: Host, folder: Cgroups) -> None:
    low, other = folder.make("web"), folder.make("web/low")
    host.write(
        task(1, f'cgroup = "{low}"'), task(2, 'delivery = "xdp"', "mtu = 1400"),
        f'[[endpoint]]\nsir = "{sir(3)}"\nhost = true',
        row(7), row(8),
        limited(low, 'rate = "200mbit"', 'action = "mark"'), limited(other, "pps = 5000"),
        up=f'{UP}host-address = "{sir(9)}"\n',
    )  # fmt: skip
    planned = host.plan()
    assert planned["fresh"]
    assert [one["sir"] for one in planned["endpoints"]] == [sir(n) for n in (9, 1, 2, 3)]
    assert planned["mappings"]["added"] == 2
    assert host.lab.ilax("status").exit_code == NOT_FOUND  # a plan does nothing

    host.apply()
    state = read(host.lab.instance)
    assert_tidy(state)
    assert host.endpoint(1).limit == state.slots[folder.id("web")]
    assert state.chains[state.slots[folder.id("web/low")]] == (state.slots[folder.id("web")],)
    assert (host.endpoint(2).delivery, host.endpoint(2).mtu) == ("xdp", 1400)
    assert host.wire(7) is not None
    assert host.apply() == "nothing to do\n"
    rows = {n: host.endpoint(n) for n in (1, 2, 3, 9)}

    # What is exported declares the same, for this host and as a state.
    host.file.write_text(host.export())
    told = host.plan("--prune")
    assert not told["changes"], told
    host.apply("--prune")
    assert {n: host.endpoint(n) for n in rows} == rows

    text = host.file.read_text()
    assert host.lab.ilax("plan", "--exit-code", "-", text=text).exit_code == 0

    # All of it goes but the instance, only if asked to.
    host.write()
    told = host.plan()
    assert not told["changes"]
    assert len(told["surplus"]["endpoints"]) == 4
    assert (told["mappings"]["surplus"], len(told["surplus"]["limits"])) == (2, 2)
    assert "8 not declared" in host.apply()
    host.apply("--prune")
    assert json.loads(host.lab.ilax("--json", "endpoint", "list").output) == []
    assert host.lab.ilax("mapping", "export", "-").output.count("\n") == 1
    assert not read(host.lab.instance).slots


def test_a_change_touches_nothing_else(host: Host, folder: Cgroups) -> None:
    one, two = folder.make("one"), folder.make("two")
    host.write(
        task(1), task(2, f'cgroup = "{one}"'), task(3), row(7), row(8),
        limited(one, 'rate = "1gbit"'),
    )  # fmt: skip
    host.apply()
    before = {n: host.endpoint(n) for n in (1, 2, 3)}
    mapping, state = host.wire(7), read(host.lab.instance)
    host.write(
        task(1),
        task(2, f'cgroup = "{two}"', "any-source = true", 'delivery = "xdp"'),
        task(3, "mtu = 1300"),
        row(7), row(8, "2001:db8:42:9::/64"), row(5),
        limited(one, 'rate = "1gbit"'), limited(two, 'rate = "5mbit"', 'parent = "none"'),
    )  # fmt: skip
    told = host.plan()
    assert not told["up"]
    assert {one["sir"]: (sorted(one["fields"]), one["anew"]) for one in told["endpoints"]} == {
        sir(2): (["any-source", "cgroup", "delivery"], False),
        sir(3): (["mtu"], True),
    }
    assert (told["mappings"]["added"], told["mappings"]["changed"]) == (1, 1)
    assert [one["cgroup"] for one in told["limits"]] == [two]
    host.apply()
    assert host.endpoint(1) == before[1]
    assert host.wire(7) == mapping
    assert (host.endpoint(2).ifindex, host.endpoint(2).mac) == (before[2].ifindex, before[2].mac)
    assert host.endpoint(3).ifindex != before[3].ifindex
    slot = state.slots[folder.id("one")]
    assert read(host.lab.instance).generations[slot] == state.generations[slot]
    assert_tidy(read(host.lab.instance))


def test_settings_of_up(host: Host) -> None:
    host.write(task(1), row(7))
    host.apply()
    other = "2001:db8:5a5a:2::/64"
    more = UP.replace(f'"{SIR_PREFIX}"', f'["{SIR_PREFIX}", "{other}"]')
    host.write(task(1), row(7), up=f'{more}gateway = "fe80::9"\nxdp = "native"\n')
    told = host.plan()["up"]
    assert told == {
        "sir-prefix": {"old": [SIR_PREFIX], "new": [SIR_PREFIX, other]},
        "gateway": {"old": None, "new": "fe80::9"},
        "xdp": {"old": "off", "new": "native"},
    }
    before = host.endpoint(1)
    host.apply()
    assert host.endpoint(1) == before
    # Auto is content with what is there.
    host.write(task(1), row(7), up=f'{more}gateway = "fe80::9"\n')
    assert not host.plan()["up"]


def test_prefixes_that_orphan_endpoints(host: Host) -> None:
    host.write(task(1))
    host.apply()
    moved = UP.replace(LOCATOR, "2001:db8:42:77::/64")
    host.write(up=moved)
    # It is declared no more, but stays without --prune, and there `up` refuses.
    assert host.plan(code=USAGE)["blocked"]
    refused = host.lab.ilax("apply", str(host.file))
    assert refused.exit_code == USAGE
    host.apply("--prune")


def test_what_cannot_change_is_refused(host: Host) -> None:
    host.write(row(7))
    host.apply()
    for text in (UP.replace("1024", "2048"), f"{UP}cbit = false\n"):
        host.write(row(7), up=text)
        assert host.plan(code=CONFLICT)["blocked"]
        assert host.lab.ilax("apply", str(host.file)).exit_code == CONFLICT
        assert host.wire(7) is not None


def test_an_address_of_the_host_that_a_container_has(host: Host) -> None:
    """`up` refuses it, so `plan` says so, and not that the endpoint would be made anew."""
    host.write(task(1))
    host.apply()
    host.write(up=f'{UP}host-address = "{sir(1)}"\n')
    (told,) = host.plan(code=CONFLICT)["blocked"]
    assert told == f"{sir(1)} is a container's endpoint"
    refused = host.lab.ilax("apply", str(host.file))
    assert refused.exit_code == CONFLICT
    assert str(refused.exception).startswith(told)
    assert host.endpoint(1).delivery == "stack"


def _of_the_host(numbers: Iterable[int]) -> list[str]:
    return [f'[[endpoint]]\nsir = "{sir(number)}"\nhost = true' for number in numbers]


def _how_many(host: Host) -> int:
    return len(json.loads(host.lab.ilax("--json", "endpoint", "list").output))


def test_an_interrupt_tells_how_far_it_came(host: Host) -> None:
    host.write()
    host.apply()
    host.write(*_of_the_host(range(1, 61)))
    ilax = (sys.executable, "-m", "ilax", "--instance", host.lab.instance)
    with subprocess.Popen(
        [*ilax, "apply", str(host.file)], stderr=subprocess.PIPE, text=True
    ) as job:
        until(lambda: _how_many(host) > 0, "the first endpoint")
        # Each endpoint needs the lock; so it waits for us, wherever it is by now.
        with PinFolder(host.lab.instance).lock():
            job.send_signal(signal.SIGINT)
            try:
                _, told = job.communicate(timeout=60)
            finally:
                job.kill()
    found = re.search(r"interrupted; (\d+) of 60 endpoints were done", told)
    assert found, told
    # One may have been made that was not counted yet.
    assert _how_many(host) - int(found[1]) in (0, 1)
    host.apply()
    assert _how_many(host) == 60


def test_an_error_tells_how_far_it_came(host: Host) -> None:
    """The third one's interface is there already, and somebody else's."""
    host.write()
    host.apply()
    ip("-n", f"{TAG}-n3", "link", "add", "eth3", "type", "veth", "peer", "name", "far3")
    host.write(*(task(number) for number in (1, 2, 3)))
    failed = host.lab.ilax("apply", str(host.file))
    assert failed.exit_code == CONFLICT
    assert failed.exception is not None
    assert "2 of 3 endpoints were done" in "".join(failed.exception.__notes__)
    assert _how_many(host) == 2


def test_a_bad_container_keeps_no_other_one_off(host: Host) -> None:
    host.write(row(7))
    host.apply()
    ip("-n", f"{TAG}-n1", "link", "add", "eth1", "type", "veth", "peer", "name", "far1")
    ip("-n", f"{TAG}-n2", "link", "set", "lo", "up")
    ip("-n", f"{TAG}-n2", "-6", "route", "add", "default", "dev", "lo", "metric", "1024")
    host.write(*(task(number) for number in (1, 2, 3)))
    failed = host.lab.ilax("apply", "--prune", str(host.file))
    assert failed.exit_code == CONFLICT  # of the first
    told = str(failed.exception)
    assert told.startswith("2 endpoints are not as declared\n")
    for number, words in ((1, "eth1 exists already"), (2, "is undone")):
        assert re.search(f"endpoint {sir(number)}: .*{words}", told)
    assert "nothing was changed" not in told
    assert failed.exception is not None
    assert "1 of 3 endpoints were done" in "".join(failed.exception.__notes__)
    assert _how_many(host) == 1
    assert host.wire(7) is None
    ip("-n", f"{TAG}-n1", "link", "del", "eth1")
    ip("-n", f"{TAG}-n2", "-6", "route", "del", "default")
    host.apply("--prune")


def test_an_up_that_did_not_finish_is_noticed(host: Host) -> None:
    host.write(up=f'{UP}host-address = "{sir(9)}"\n')
    host.apply()
    pins = Path("/sys/fs/bpf/ilax") / host.lab.instance / "v1"
    (pins / "programs" / "ilax_from_task").unlink()
    assert "state" in host.plan()["up"]
    host.apply()
    assert (pins / "programs" / "ilax_from_task").exists()


def test_an_instance_of_an_older_minor(host: Host) -> None:
    host.write(task(1), row(7))
    host.apply()
    rows = host.endpoint(1), host.wire(7)
    turn_back(host.lab.instance)
    host.plan(code=LAYOUT)
    assert "contract of an older minor -> current" in host.apply()
    assert (host.endpoint(1), host.wire(7)) == rows


def test_names_that_this_host_does_not_know(host: Host) -> None:
    host.write(
        task(1, 'cgroup = "no/such"').replace(f"{TAG}-n1", "nowhere"),
        limited("no/other", "pps = 5"),
        up=UP.replace(UPLINK, "nodev"),
    )
    for command in ("plan", "apply"):
        done = host.lab.ilax(command, str(host.file))
        assert done.exit_code == USAGE
        told = str(done.exception)
        for words in ("3: up.uplink", "13: endpoint.netns", "15: endpoint.cgroup", "limit.cgroup"):
            assert words in told
    assert host.lab.ilax("status").exit_code == NOT_FOUND


def test_netkit_where_the_kernel_has_it(host: Host, lab: Lab) -> None:
    """Else the file is refused before anything is done."""
    host.write(task(1), task(2, 'link = "netkit"'))
    try:
        ip("link", "add", "type", "netkit")
    except subprocess.CalledProcessError:
        pass
    else:
        host.apply()
        assert 'link = "netkit"' in host.export()
        return
    for command in ("plan", "apply"):
        done = lab.ilax(command, str(host.file))
        assert done.exit_code == USAGE
        assert ":19: endpoint.link: this kernel has no netkit" in str(done.exception)
    assert lab.ilax("status").exit_code == NOT_FOUND


def test_a_container_that_was_made_again(host: Host, lab: Lab) -> None:
    host.write(task(1), task(2))
    host.apply()
    kept = host.endpoint(2)
    with Instance.open(lab.instance) as opened:
        gone = endpoints.find(opened, parse(sir(1))).ifindex
    ip("link", "del", interface_names()[gone])
    assert host.plan()["endpoints"][0]["fields"] == {"device": {"old": "gone", "new": "eth1"}}
    host.apply()
    assert host.endpoint(1).ifindex != gone
    assert host.endpoint(2) == kept


def test_a_mapping_that_leads_away_from_an_endpoint(host: Host, lab: Lab) -> None:
    host.write(task(1))
    host.apply()
    assert lab.ilax("mapping", "add", sir(1), "--locator", OTHER_LOCATOR).exit_code == 0
    assert list(host.plan()["endpoints"][0]["fields"]) == ["mapping"]
    host.apply()
    found = host.wire(1)
    assert found is not None
    assert found.action == "local"


def test_a_task_moves_in_and_out(host: Host) -> None:
    host.write(row(1), task(2))
    host.apply()
    host.write(row(2), task(1))
    host.apply("--prune")
    first, second = host.wire(1), host.wire(2)
    assert first is not None
    assert second is not None
    assert (first.action, second.action) == ("local", "forward")


def test_mappings_beside_the_file(host: Host, lab: Lab, tmp_path: Path) -> None:
    rows = [f"{sir(n)},{OTHER_LOCATOR}" for n in range(10, 1012)]
    (tmp_path / "many.csv").write_text("\n".join(["sir,locator", *rows]))
    host.write('[[mapping]]\nfile = "many.csv"', task(1))
    host.apply()
    refused = lab.ilax("export")
    assert refused.exit_code == USAGE
    for name in ("beside.csv", "beside.jsonl"):
        done = lab.ilax("export", "--mappings", str(tmp_path / name))
        assert done.exit_code == 0
        host.file.write_text(done.output)
        assert not host.plan("--prune")["changes"]
    # No room for others beside them: what goes makes room first.
    rows = [f"{sir(n)},{OTHER_LOCATOR}" for n in range(2000, 3000)]
    (tmp_path / "many.csv").write_text("\n".join(["sir,locator", *rows]))
    host.write('[[mapping]]\nfile = "many.csv"', task(1))
    host.apply("--prune")


def test_limits_are_turned_round(host: Host, folder: Cgroups) -> None:
    """Parents that go the other way, in one step."""
    a, b, c = folder.make("a"), folder.make("b"), folder.make("c")
    rate = 'rate = "1gbit"'
    host.write(
        limited(a, rate), limited(b, rate, f'parent = "{a}"'), limited(c, rate, f'parent = "{b}"')
    )
    host.apply()
    host.write(
        limited(a, rate, f'parent = "{b}"'), limited(b, rate, f'parent = "{c}"'), limited(c, rate)
    )
    host.apply()
    state = read(host.lab.instance)
    assert_tidy(state)
    assert state.chains[state.slots[folder.id("a")]] == (
        state.slots[folder.id("b")],
        state.slots[folder.id("c")],
    )
    deep = [folder.make(f"d{n}") for n in range(6)]
    host.write(
        limited(deep[0], rate),
        *(limited(d, rate, f'parent = "{deep[n]}"') for n, d in enumerate(deep[1:])),
    )
    refused = host.lab.ilax("apply", "--prune", str(host.file))
    assert refused.exit_code == USAGE
    assert "levels of parents" in str(refused.exception)
    assert read(host.lab.instance) == state


def test_cgroups_that_are_gone(host: Host, folder: Cgroups) -> None:
    one, two = folder.make("one"), folder.make("two")
    rate = 'rate = "1gbit"'
    host.write(task(1, f'cgroup = "{one}"'), limited(one, rate), limited(two, rate))
    host.apply()
    folder.remove("one")
    folder.remove("two")
    assert host.lab.ilax("plan", str(host.file)).exit_code == USAGE
    text = host.export()
    assert text.count("# Left out: ") == 3
    host.file.write_text(text)
    told = host.plan()
    assert [list(one["fields"]) for one in told["endpoints"]] == [["cgroup"]]
    assert len(told["surplus"]["limits"]) == 2
    host.apply()
    assert len(read(host.lab.instance).slots) == 2
    host.apply("--prune")
    assert not read(host.lab.instance).slots
    assert_tidy(read(host.lab.instance))


def test_what_the_command_line_made_is_exported(host: Host, lab: Lab, folder: Cgroups) -> None:
    """Each command's state is a file, and that file is what is there."""
    assert lab.up("--no-cbit", "--gateway", "fe80::7", "--host-address", sir(40)).exit_code == 0
    upper, lower = folder.make("4711"), folder.make("4711/x")
    commands = [
        ["endpoint", "add", sir(1), "--netns", f"{TAG}-n1", "--device", "a", "--any-source"],
        ["endpoint", "add", sir(2), "--netns", f"{TAG}-n2", "--device", "b", "--cgroup", lower],
        ["endpoint", "add", sir(3), "--host", "--cgroup", lower],
        ["endpoint", "add", sir(40), "--host", "--cgroup", upper],
        ["mapping", "add", sir(11), "--locator", LOCATOR],
        ["mapping", "add", sir(12), "--locator", OTHER_LOCATOR],
        ["limit", "set", upper, "--rate", "123456789", "--burst", "3ms", "--parent", "none"],
        ["limit", "set", lower, "--pps", "0.7", "--burst", "3s", "--action", "tag",
         "--tag-priority", "7", "--mark-at", "77ns"],
        ["limit", "set", folder.make("z"), "--rate", "7gbit", "--parent", lower],
    ]  # fmt: skip
    for command in commands:
        done = lab.ilax(*command)
        assert done.exit_code == 0, (command, done.output, done.exception)
        host.file.write_text(host.export())
        told = host.plan("--prune")
        assert not told["changes"], (command, told, host.file.read_text())
    # And it is enough to make all of it again.
    text = host.export()
    assert lab.ilax("down").exit_code == 0
    host.file.write_text(text)
    host.apply("--prune")
    assert host.export() == text
    assert_tidy(read(lab.instance))
