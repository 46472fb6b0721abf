# SPDX-License-Identifier: Apache-2.0
"""`ilax status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ilax.cli.context import Context, ReadingCommand, counted, pass_context, table

if TYPE_CHECKING:
    from ilax.instances.status import LinkStatus, Status


@click.command(cls=ReadingCommand)
@pass_context
def status(context: Context) -> None:
    """Show programs, links, prefixes and sizes of an instance.

    Links of many containers or cgroups are one line for each program; --json has all.
    Exit code 3 if it is not up.

    \b
    Example:
      ilax status --json
    """
    from ilax.instances import status as reader
    from ilax.instances.instance import Instance
    from ilax.translation.domain import device_words

    with Instance.open(context.instance) as instance:
        found = reader.read(instance)
    uplink = device_words(found.uplink_ifindex, found.uplink, here=found.here)
    facts = [
        ("instance", found.instance),
        ("namespace", f"net:[{found.netns}]{'' if found.here else ', which is not ours'}"),
        ("uplink", f"{uplink}, MTU {found.uplink_mtu}"),
        ("SIR prefixes", ", ".join(found.sir_prefixes)),
        ("locators", ", ".join(found.locators)),
        ("blocks", ", ".join(found.blocks) or "none"),
        *(("no sense", bad) for bad in found.bad_prefixes),
        ("mode", f"{'C-bit' if found.cbit else 'auto'}, {'typed' if found.typed else 'untyped'}"),
        ("XDP", _xdp(found)),
        ("tc", found.tc),
        ("endpoints", f"{found.endpoints} of {found.capacities['ilax_endpoints']}"),
        ("limits", f"{found.limits} of {found.capacities['ilax_limits'] - 1}"),
        ("mappings", f"{found.mappings} of {found.capacities['ilax_mappings']}"),
    ]
    lines = [f"{name:13} {value}" for name, value in facts]
    lines += ["", table(("link", "program", "tag", "at"), _links(found.links, here=found.here))]
    context.show(found, "\n".join(lines))


def _xdp(found: Status) -> str:
    if found.xdp_slots:
        return f"called from {', '.join(found.xdp_slots)}"
    return "attached" if found.xdp else "not attached: tc does the whole job"


# A line for each link of containers and cgroups says more, as long as they are few.
_FEW = 8


def _links(links: list[LinkStatus], *, here: bool) -> list[tuple[str, str, str, str]]:
    """A line for each link, or for all of a kind that run the same program."""
    from ilax.hooks.places import CGROUP, of_link

    same: dict[tuple[str, str, str], list[LinkStatus]] = {}
    for link in links:
        kind = of_link(link.link)
        name = f"{kind.link}*" if kind is not None and kind.many else link.link
        same.setdefault((name, link.program, link.tag), []).append(link)
    lines = []
    for (name, program, tag), found in same.items():
        if len(found) <= _FEW:
            lines += [(one.link, program, tag, _target(one, here)) for one in found]
            continue
        gone = sum(not (link.ifindex or link.cgroup) for link in found)
        where = counted(len(found), "cgroup" if name == f"{CGROUP.link}*" else "interface")
        lines.append((name, program, tag, f"{where}, {gone} gone" if gone else where))
    return lines


def _target(link: LinkStatus, here: bool) -> str:
    from ilax.translation.domain import device_words

    if link.cgroup:
        return f"cgroup {link.cgroup_name or link.cgroup}"
    return device_words(link.ifindex, link.device, here=here) if link.ifindex else "gone"
