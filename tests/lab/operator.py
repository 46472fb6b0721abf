# SPDX-License-Identifier: Apache-2.0
"""What an operator does on the hosts of a lab, by the `ilax` command only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lab.topology import UPLINK, Container, Host, Lab


@dataclass(frozen=True)
class Options:
    """How the hosts of a lab are set up.

    Attributes:
        xdp: `--xdp`; "auto" would leave XDP out on the veth uplinks of a lab.
        tc: `--tc`.
        delivery: of all endpoints.
        extra: further arguments of `up`.
        endpoint_extra: further arguments of `endpoint add`.
    """

    xdp: str = "native"
    tc: str = "auto"
    delivery: str = "stack"
    extra: tuple[str, ...] = ()
    endpoint_extra: tuple[str, ...] = ()


def up_arguments(lab: Lab, host: Host, options: Options | None = None) -> list[object]:
    """Arguments of `ilax up` on a host."""
    options = options or Options()
    return [
        "up",
        *("--uplink", UPLINK),
        *("--locator", host.locator),
        *("--sir-prefix", lab.plan.sir_prefix),
        *("--block", lab.plan.block),
        *("--xdp", options.xdp),
        *("--tc", options.tc),
        *options.extra,
    ]


def add_arguments(container: Container, options: Options | None = None) -> list[object]:
    """Arguments of `ilax endpoint add` for a container."""
    options = options or Options()
    return [
        *("endpoint", "add", container.address),
        *("--netns", container.ns.name),
        *("--delivery", options.delivery),
        *options.endpoint_extra,
    ]


def bring_up(lab: Lab, options: Options | None = None) -> None:
    """Bring all hosts up, connect all containers, and publish where they live."""

    def one_host(host: Host) -> None:
        host.ilax(*up_arguments(lab, host, options))
        for container in host.containers:
            host.ilax(*add_arguments(container, options))

    if options is not None and options.delivery == "xdp":
        lab.complete_checksums()
    _on_each(one_host, lab.hosts)
    publish(lab)


def placement(containers: Iterable[Container]) -> str:
    """CSV for `mapping import`: where each container lives."""
    rows = [f"{c.address},{c.host.locator}" for c in containers]
    return "\n".join(["sir,locator", *rows]) + "\n"


def publish(lab: Lab) -> None:
    """Tell every host where the containers of the others live."""

    def one_host(host: Host) -> None:
        elsewhere = [c for c in lab.containers if c.host is not host]
        host.ilax("mapping", "import", "-", "--format", "csv", text_in=placement(elsewhere))

    _on_each(one_host, lab.hosts)


def rehome(lab: Lab, container: Container, target: Host, options: Options | None = None) -> None:
    """Move a container to another host: its namespace there, one row elsewhere."""
    source = container.host
    source.ilax("endpoint", "del", container.address)
    others = [host for host in lab.hosts if host is not target]

    def one_host(host: Host) -> None:
        if host is target:
            host.ilax(*add_arguments(container, options))
        else:
            host.ilax(
                *("mapping", "add", container.address),
                *("--locator", target.locator),
            )

    _on_each(one_host, [target, *others])
    source.containers.remove(container)
    target.containers.append(container)
    container.host = target


def take_down(lab: Lab) -> None:
    """Take all hosts down; what `ilax down` says about a failure is raised."""
    _on_each(lambda host: host.ilax("down"), lab.hosts)


def _on_each(action: Callable[[Host], object], hosts: Iterable[Host]) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(action, hosts))
