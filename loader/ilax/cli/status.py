# SPDX-License-Identifier: Apache-2.0
"""`ilax status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ilax.cli.context import Context, pass_context, table

if TYPE_CHECKING:
    from ilax.status import LinkStatus, Status


@click.command()
@pass_context
def status(context: Context) -> None:
    """Show programs, links, prefixes and sizes of an instance.

    Exit code 3 if it is not up.

    \b
    Example:
      ilax --json status
    """
    from ilax import status as reader
    from ilax.instance import Instance

    with Instance.open(context.instance) as instance:
        found = reader.read(instance)
    facts = [
        ("instance", found.instance),
        ("namespace", f"net:[{found.netns}]"),
        ("uplink", f"interface {found.uplink_ifindex}, MTU {found.uplink_mtu}"),
        ("SIR prefixes", ", ".join(found.sir_prefixes)),
        ("locators", ", ".join(found.locators)),
        ("blocks", ", ".join(found.blocks) or "none"),
        *(("no sense", bad) for bad in found.bad_prefixes),
        ("mode", f"{'C-bit' if found.cbit else 'auto'}, {'typed' if found.typed else 'untyped'}"),
        ("XDP", _xdp(found)),
        ("tc", found.tc),
        ("endpoints", f"{found.endpoints} of {found.capacities['ilax_endpoints']}"),
        ("limits", f"{found.limits} of {found.capacities['ilax_limits'] - 1}"),
        ("mappings", f"room for {found.capacities['ilax_mappings']}"),
    ]
    lines = [f"{name:13} {value}" for name, value in facts]
    rows = [(link.link, link.program, link.tag, _target(link)) for link in found.links]
    lines += ["", table(("link", "program", "tag", "at"), rows)]
    context.show(found, "\n".join(lines))


def _xdp(found: Status) -> str:
    if found.xdp_slots:
        return f"called from {', '.join(found.xdp_slots)}"
    return "attached" if found.xdp else "not attached: tc does the whole job"


def _target(link: LinkStatus) -> str:
    if link.cgroup:
        return f"cgroup {link.cgroup}"
    return f"interface {link.ifindex}" if link.ifindex else "gone"
