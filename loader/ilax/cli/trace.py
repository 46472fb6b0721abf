# SPDX-License-Identifier: Apache-2.0
"""`ilax trace`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ilax.cli import offers
from ilax.cli.context import (
    ADDRESS,
    Context,
    ReadingCommand,
    SecondsType,
    pass_context,
    plain,
    table,
    taken_down,
    until_told_to_end,
)
from ilax.errors import NotFoundError, PrivilegeError, TracingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilax.address import Address
    from ilax.endpoint.endpoints import Endpoint
    from ilax.instances.instance import Instance
    from ilax.trace.needs import Need
    from ilax.trace.report import Report
    from ilax.trace.session import Session

_LOOK_S = 0.5


@click.command(cls=ReadingCommand)
@click.option("--duration", type=SecondsType("1ms"), metavar="TIME", help="Stop after that.")
@click.option(
    "--endpoint", "sirs", type=ADDRESS, multiple=True, shell_complete=offers.ENDPOINTS,
    help="To this SIR address only; repeat it.",
)  # fmt: skip
@click.option(
    "--device", "devices", multiple=True, shell_complete=offers.TASK_DEVICES,
    help="To the endpoint behind this device; repeat it.",
)  # fmt: skip
@click.option(
    "--latency/--no-latency", default=True, show_default=True,
    help="Time each packet. What is left runs on losses and on flushes of XDP.",
)  # fmt: skip
@click.option("--each", is_flag=True, help="A histogram for each endpoint, too.")
@click.option(
    "--rows", type=click.IntRange(0), default=20, show_default=True,
    help="Endpoints to show, those with the most packets; 0: all. JSON has all.",
)  # fmt: skip
@click.option("--check", is_flag=True, help="Say what tracing takes and what is missing, and end.")
@pass_context
def trace(
    context: Context,
    duration: float | None,
    sirs: tuple[Address, ...],
    devices: tuple[str, ...],
    latency: bool,
    each: bool,
    rows: int,
    check: bool,
) -> None:
    """Look into the kernel: latency, XDP errors, drops; until Ctrl-C.

    Shows, when it ends, what ilax cannot count by itself: the time from the uplink
    to the stack of a container as a histogram, XDP exceptions, XDP redirects that
    failed, and packets that the kernel dropped, by its reasons.

    It takes bcc for Python (Debian: python3-bpfcc) and kernel headers, which
    forwarding packets never does. Timing runs three more programs for each packet.

    \b
    Exit codes, beside those of all commands:
      10  something that tracing takes is missing; it says what, and what to do

    \b
    Example:
      ilax trace --check
      ilax trace --duration 10s
      ilax trace --endpoint 2001:db8:5a5a:1:2000::5 --each
      ilax trace --device iltask3 --duration 10s --json
    """
    from ilax.trace import needs, text

    wanted = needs.look()
    if check:
        everything = [*wanted, *needs.look_at_probes()]
        context.show({"needs": everything}, text.needs(everything))
    _require(context, wanted, told=check)
    if check:
        return
    from ilax.instances.instance import Instance

    with Instance.open(context.instance) as instance:
        found = _trace(context, instance, _Choice(sirs, devices), duration, latency)
        context.show(_as_json(found), text.report(found, table, each=each, rows=rows))
        if not instance.is_pinned():
            raise taken_down(instance)


def _require(context: Context, wanted: Sequence[Need], *, told: bool) -> None:
    missing = [need for need in wanted if not need.found]
    if not missing:
        return
    if context.as_json and not told:
        context.show({"needs": wanted}, "")
    names = ", ".join(need.name for need in missing)
    details = [] if told else [f"{n.name}: {n.why}\n      {n.remedy}" for n in missing]
    if all(need.name.startswith("CAP_") for need in missing):
        raise PrivilegeError(
            f"cannot trace: {missing[0].why}; nothing was attached", hint=missing[0].remedy
        )
    raise TracingError(f"cannot trace, as {names} {_is(missing)} missing", details)


def _is(missing: Sequence[Need]) -> str:
    return "are" if len(missing) > 1 or missing[0].name.endswith("s") else "is"


class _Choice:
    """Which endpoints are looked at."""

    def __init__(self, sirs: tuple[Address, ...], devices: tuple[str, ...]) -> None:
        self._sirs, self._devices = sirs, devices

    def of(self, endpoints: Sequence[Endpoint], names: dict[int, str]) -> list[Endpoint]:
        """Those that were named; all but the host's own if none was."""
        if not self._sirs and not self._devices:
            return [one for one in endpoints if one.ifindex]
        by_sir = {one.sir: one for one in endpoints}
        by_device = {names.get(one.ifindex, ""): one for one in endpoints if one.ifindex}
        for what, given, known in (
            ("endpoint", self._sirs, by_sir),
            ("endpoint behind a device", self._devices, by_device),
        ):
            for one in given:
                if one not in known:
                    raise NotFoundError(
                        f"there is no {what} {one}; nothing was attached",
                        hint="`ilax endpoint list` shows all",
                    )
        chosen = [by_sir[sir] for sir in self._sirs] + [by_device[name] for name in self._devices]
        return list(dict.fromkeys(chosen))


def _trace(
    context: Context, instance: Instance, choice: _Choice, duration: float | None, latency: bool
) -> Report:
    with _started(instance, choice, latency) as session:
        names = ", ".join(session.uplinks)
        click.echo(f"tracing instance {instance.name} at {names}, Ctrl-C ends it", err=True)
        with until_told_to_end():
            end = None if duration is None else time.monotonic() + duration
            while (left := _LOOK_S if end is None else end - time.monotonic()) > 0:
                time.sleep(min(left, _LOOK_S))
                if not instance.is_pinned():
                    break
        return session.read(context.instance)


def _started(instance: Instance, choice: _Choice, latency: bool) -> Session:
    from ilax.contract.tables import index_key
    from ilax.endpoint import endpoints
    from ilax.instances.instance import own_netns
    from ilax.system.netlink import Network, interface_names
    from ilax.trace import devices, needs
    from ilax.trace.layout import Kernel
    from ilax.trace.session import Session, wanted_parts

    instance.require_own_netns("trace")
    row = instance.config.get(index_key(0))
    uplink = int(row["uplink_ifindex"]) if row is not None else 0
    names = interface_names()
    chosen = choice.of(endpoints.read_all(instance), names)
    with Network() as network:
        uplinks = devices.below(network, uplink)
    looked_at = {*uplinks, *(one.ifindex for one in chosen if one.ifindex)}
    return Session(
        needs.import_bcc(),
        Kernel.read(),
        uplinks=uplinks,
        devices={number: names.get(number, f"number {number}") for number in looked_at},
        endpoints=chosen,
        wanted=wanted_parts(latency),
        own_map=instance.devices.id,
        netns=own_netns(),
    )


def _as_json(found: Report) -> dict[str, Any]:
    """Slots with their bounds, and what follows from them."""
    facts: dict[str, Any] = plain(found)
    for way, one in zip(facts["ways"], found.ways, strict=True):
        latency = one.latency
        way["latency"] = {
            "packets": latency.packets,
            "mean_ns": latency.mean,
            "half_below_ns": latency.below(0.5),
            "most_below_ns": latency.below(0.99),
            "slots": plain(latency.slots()),
        }
    return facts
