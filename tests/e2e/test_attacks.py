# SPDX-License-Identifier: Apache-2.0
"""What docs/security.md says of attackers, tried. Each test has a lawful packet, too."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest

from ilax.bpf import Map
from lab import operator, probes, scenarios
from lab.capture import mac_of, send_frames
from lab.cgroups import Cgroups, own_cgroups
from lab.cleanup import PREFIX
from lab.ilax import Ilax
from lab.limits import Meter
from lab.netns import run
from lab.operator import Options
from lab.packets import UDP, ethernet, icmp, ipv6, udp_frame
from lab.topology import UPLINK, Container, Host, Lab, Plan
from lab.wait import until

PORT = 4711
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
EVERY_NODE = IPv6Address("ff02::1")


@pytest.fixture(scope="module", params=["native", "off"], ids=["native", "tc-only"])
def attacked(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two hosts with two tasks each. Tests leave it as it was."""
    with Lab.make(f"{PREFIX}attack{request.param}", Plan(hosts=2)) as lab:
        operator.bring_up(lab, Options(xdp=request.param))
        yield lab


@pytest.fixture
def own(attacked: Lab) -> Iterator[Cgroups]:
    with own_cgroups(attacked.tag) as made:
        yield made


def macs_to(lab: Lab, host: Host) -> tuple[str, str]:
    return mac_of(lab.router, host.router_port), mac_of(host.ns, UPLINK)


def wire(task: Container) -> IPv6Address:
    return IPv6Address(task.host.ilax.wire(task.address))


def path_mtu(task: Container, target: Container) -> int:
    """What the task's kernel believes; 0 if it has learned nothing."""
    (route,) = task.ns.ip_json("-6", "route", "get", target.address)
    for metric in route.get("metrics", []):
        if "mtu" in metric:
            return int(metric["mtu"])
    return 0


# --- from the underlay ----------------------------------------------------------------


def test_a_forged_error_does_not_reach_the_path_mtu(attacked: Lab) -> None:
    """Who knows the flow, but not where its peer lives, changes nothing."""
    task, target = attacked.containers[0], attacked.containers[2]
    host = task.host
    # A connected socket: the kernel takes errors about it.
    with task.ns.entered():
        sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with sender:
        sender.bind((task.address, PORT))
        sender.connect((target.address, PORT))

        def too_big(quoted_to: IPv6Address, mtu: int) -> bytes:
            udp = struct.pack("!HHHH", PORT, PORT, 8, 0)
            body = struct.pack("!BBHI", 2, 0, 0, mtu) + ipv6(task.sir, quoted_to, UDP, udp)
            return ethernet(macs_to(attacked, host), icmp(attacked.plan.router, wire(task), body))

        right = wire(target)
        elsewhere = attacked.plan.locator(77)
        before = Counter(host.ilax.counters())
        forged = (
            IPv6Address(elsewhere.network_address.packed[:8] + right.packed[8:]),
            # Not that of a neighbour, whose address differs by less.
            IPv6Address(right.packed[:14] + bytes([right.packed[14] ^ 0x40, right.packed[15]])),
        )
        frames = [too_big(address, 1281) for address in forged]
        send_frames(attacked.router, host.router_port, *frames)
        send_frames(attacked.router, host.router_port, too_big(right, 1300))
        until(lambda: path_mtu(task, target), "path MTU from the lawful error")
        assert path_mtu(task, target) == 1300
        counted = Counter(host.ilax.counters()) - before
        dropped = sum(n for (_, reason), n in counted.items() if reason == "drop_icmp_inner")
        assert dropped == 2
    task.ns.run("ip", "-6", "route", "flush", "cache")


def test_headers_and_fragments_are_no_way_around_a_limit(attacked: Lab, own: Cgroups) -> None:
    """A limit asks for no header behind the fixed one, so nothing hides a packet from it."""
    task = attacked.containers[0]
    host, to = task.host, wire(task)
    macs = macs_to(attacked, host)
    source = attacked.plan.router
    udp = struct.pack("!HHHH", PORT, PORT, 8 + 64, 0) + bytes(64)
    options = bytes([UDP, 0, 1, 4, 0, 0, 0, 0])

    def fragment(offset: int, more: bool, number: int) -> bytes:
        return struct.pack("!BBHI", UDP, 0, offset << 3 | more, number) + udp[:64]

    ways = {
        "plain": (UDP, udp),
        "hop-by-hop": (HOP_BY_HOP, options + udp),
        "destination options": (DESTINATION, options + udp),
        "a dozen headers": (DESTINATION, (b"\x3c" + options[1:]) * 12 + options + udp),
        "routing": (ROUTING, bytes([UDP, 0, 4, 0, 0, 0, 0, 0]) + udp),
        "first fragment": (FRAGMENT, fragment(0, True, 1)),
        "later fragment": (FRAGMENT, fragment(100, True, 2)),
        "atomic fragment": (FRAGMENT, fragment(0, False, 3)),
        "fragment of eight bytes": (FRAGMENT, fragment(5, True, 4)[:16]),
        "no next header": (59, b""),
        "unknown protocol": (253, bytes(40)),
        "ESP": (50, bytes(40)),
    }
    meter = Meter(host, own)
    host.ilax("limit", "set", own.name, "--pps", "50", "--burst", "100ms")
    host.ilax("endpoint", "set", task.address, "--cgroup", own.name)
    try:
        for name, (kind, upper) in ways.items():
            frame = ethernet(macs, ipv6(source, to, kind, upper))
            before = meter("")
            send_frames(attacked.router, host.router_port, *[frame] * 40)
            judged = before.passed_packets + before.dropped_packets + 40
            until(lambda: meter.judged("") >= judged, f"{name}: all judged")  # noqa: B023
            after = meter("")
            assert meter.judged("") == judged, name
            assert after.dropped_packets - before.dropped_packets >= 20, name
    finally:
        host.ilax("endpoint", "set", task.address, "--cgroup", "none")
        host.ilax("limit", "del", own.name)
    probes.must_ping(attacked.containers[2].ns, task.address)


# --- from a container -----------------------------------------------------------------


def test_a_task_is_no_router_of_its_host(bare: Lab) -> None:
    """Not even where new devices of the host listen to advertisements by default."""
    host, task, neighbour = bare.hosts[0], *bare.containers[:2]
    host.ns.sysctl("net.ipv6.conf.default.accept_ra", 2)
    host.ns.sysctl("net.ipv6.conf.all.forwarding", 0)
    host.ilax(*operator.up_arguments(bare, host))
    for container in (task, neighbour):
        host.ilax(*operator.add_arguments(container))

    def learned() -> list[dict[str, object]]:
        routes = host.ns.ip_json("-6", "route", "show", "default")
        return [route for route in routes if route.get("gateway") == str(scenarios.FALSE_ROUTER)]

    scenarios.advertise_router(task)
    # Behind it on the same device, so it was seen before this is answered.
    probes.must_ping(task.ns, "fe80::1%eth0")
    assert learned() == []
    probes.must_ping(task.ns, neighbour.address)


@pytest.mark.parametrize(
    "kind", [HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION], ids=["hop", "routing", "frag", "dst"]
)
def test_headers_are_no_way_around_the_checks_of_a_task(attacked: Lab, kind: int) -> None:
    cheat, claimed, target = attacked.containers[:3]
    host = cheat.host
    macs = (mac_of(cheat.ns, "eth0"), scenarios.gateway_mac(cheat))
    extension = bytes([UDP, 0, 4 if kind == ROUTING else 0, 0, 0, 0, 0, 0])
    if kind in (HOP_BY_HOP, DESTINATION):
        extension = bytes([UDP, 0, 1, 4, 0, 0, 0, 0])

    def frame(source: IPv6Address, to: IPv6Address) -> bytes:
        return udp_frame(macs, (source, to), b"x", extensions=extension, extension_type=kind)

    before = Counter(host.ilax.counters())
    send_frames(
        cheat.ns, "eth0",
        frame(claimed.sir, target.sir),
        frame(cheat.sir, wire(target)),
        frame(cheat.sir, host.address),
        frame(cheat.sir, target.sir),
    )  # fmt: skip

    def sent() -> int:
        return (Counter(host.ilax.counters()) - before)["container", "send_forward"]

    until(sent, "the lawful packet")
    counted = Counter(host.ilax.counters()) - before
    assert counted["container", "drop_spoofed_source"] == 1
    assert counted["container", "drop_locator_refused"] == 2
    assert sent() == 1


# --- a local user, and a daemon -------------------------------------------------------

_NOBODY = """
import ctypes, errno, os, struct, sys
folder = sys.argv[1]
for path in (folder, os.path.dirname(folder)):
    try:
        os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        sys.exit(f"opened {path}, so its lock can be held")
    except PermissionError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
def bpf(command, attribute):
    data = ctypes.create_string_buffer(attribute.ljust(128, b"\\0"))
    ctypes.set_errno(0)
    result = libc.syscall(BPF, command, data, 128)
    return result, ctypes.get_errno()
BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
pin = ctypes.create_string_buffer(os.fsencode(folder) + b"/v1/maps/ilax_mappings")
address = struct.pack("=Q", ctypes.addressof(pin))
for name, command, attribute in (
    ("BPF_OBJ_GET", 7, address),
    ("BPF_MAP_GET_FD_BY_ID", 14, struct.pack("=I", 1)),
    ("BPF_MAP_GET_NEXT_ID", 12, b""),
):
    result, error = bpf(command, attribute)
    if result >= 0 or error not in (errno.EPERM, errno.EACCES):
        sys.exit(f"{name}: {result}, {errno.errorcode.get(error)}")
print("refused")
"""


def test_a_local_user_gets_no_map_and_no_lock(attacked: Lab) -> None:
    ilax = attacked.hosts[0].ilax
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    arguments = ("-c", _NOBODY, str(ilax.pins))
    # Of the system: the one of this environment need not be readable by others.
    interpreter = shutil.which("python3", path="/usr/bin") or sys.executable
    done = run(*nobody, interpreter, *arguments, check=False)
    assert (done.stdout, done.returncode) == ("refused\n", 0), done.stderr
    # The same program as root is not refused: it does try.
    done = run(interpreter, *arguments, check=False)
    assert done.returncode == 1 and "so its lock can be held" in done.stderr


@pytest.mark.parametrize("trap", ["mkdir -m 777 {}", "mkdir {}", "ln -s /tmp {}"])
def test_a_folder_of_somebody_else_is_not_used(bare: Lab, trap: str) -> None:
    """Where everybody may write into bpffs, who comes first could own the lock and pins."""
    host = bare.hosts[0]
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    # A bpffs as the kernel makes it by default, which no one else sees.
    script = f"mount -t bpf bpf /sys/fs/bpf && {nobody} {trap.format('/sys/fs/bpf/ilax')}"
    wrapper = ("unshare", "--mount", "--propagation", "private", "sh", "-c")
    trapped = Ilax(host.ns, host.ilax.instance, (*wrapper, f'{script} && exec "$@"', "sh"))
    done = trapped.try_(*operator.up_arguments(bare, host))
    assert done.returncode == 4, done
    assert "/sys/fs/bpf/ilax" in done.stderr and "mode=0700" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_contract_itself_cannot_be_rewritten(attacked: Lab) -> None:
    """Whoever writes maps cannot claim that they are of another version."""
    ilax = attacked.hosts[0].ilax
    with Map.open_pinned(ilax.pins / "v1" / "maps" / "ilax_abi") as abi:
        key = bytes(4)
        before = abi.lookup(key)
        with pytest.raises(Exception, match="EPERM"):
            abi.update(key, bytes(len(before or b"")))
        assert abi.lookup(key) == before


def test_who_may_lock_is_who_may_write(attacked: Lab) -> None:
    """The lock is on a folder that its owner alone can open."""
    root = attacked.hosts[0].ilax.pins.parent
    assert root.stat().st_mode & 0o777 == 0o700
    assert root.stat().st_uid == os.geteuid()
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)
