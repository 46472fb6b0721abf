# SPDX-License-Identifier: Apache-2.0
"""`ilax endpoint`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ilax.address import Address
from ilax.cli import offers
from ilax.cli.context import ADDRESS, Context, ReadingCommand, pass_context, plain, table
from ilax.errors import IlaxError

if TYPE_CHECKING:
    from ilax.system.cgroups import Cgroup

# What `add` asks about a container's pair of devices, which the host's own address has not.
_OF_A_CONTAINER = ("device", "delivery", "link", "mtu", "any_source")


@click.group()
def endpoint() -> None:
    """Tasks that this host delivers to.

    \b
    Example:
      ilax endpoint add 2001:db8:5a5a:1:2000::5 --netns web1
      ilax endpoint list
    """


@endpoint.command("add")
@click.argument("sir", type=ADDRESS)
@click.option(
    "--netns", shell_complete=offers.NAMESPACES,
    help="Network namespace: a name, a process number or a path.",
)  # fmt: skip
@click.option("--host", is_flag=True, help="An address of the host's own processes.")
@click.option("--device", default="eth0", show_default=True, help="Its interface inside.")
@click.option(
    "--delivery",
    type=click.Choice(["stack", "xdp"]),
    default="stack",
    show_default=True,
    help="Into its stack with GRO, or by XDP redirect into its device.",
)
@click.option(
    "--link",
    type=click.Choice(["veth", "netkit"]),
    default="veth",
    show_default=True,
    help="Kind of the pair of devices; netkit needs Linux 6.7.",
)
@click.option("--mtu", type=click.IntRange(1280, 65535), help="Bytes; default: the uplink's.")
@click.option("--any-source", is_flag=True, help="Do not check its source addresses.")
@click.option(
    "--cgroup", shell_complete=offers.CGROUPS,
    help="Its limit counts for what the endpoint receives: path or number.",
)  # fmt: skip
@pass_context
def add(
    context: Context,
    sir: Address,
    netns: str | None,
    host: bool,
    device: str,
    delivery: str,
    link: str,
    mtu: int | None,
    any_source: bool,
    cgroup: str | None,
) -> None:
    """Connect a container: link, addresses, routes, neighbours and rows.

    If any step fails, all of them are undone.

    \b
    Example:
      ilax endpoint add 2001:db8:5a5a:1:2000::5 --netns web1
      ilax endpoint add 2001:db8:5a5a:1:2000::6 --netns 4711 --delivery xdp
      ilax endpoint add 2001:db8:5a5a:1:2000::1 --host
      ilax endpoint add 2001:db8:5a5a:1:2000::7 --netns web2 --cgroup system.slice/web2
    """
    from ilax.endpoint import containers
    from ilax.instances.instance import Instance

    if host == (netns is not None):
        raise click.UsageError("give either --netns or --host")
    if host:
        _refuse_options_of_containers()
    with Instance.open(context.instance) as instance:
        whose = _cgroup(cgroup)
        if netns is None:
            added = containers.add_host(instance, sir, whose)
        else:
            added = containers.add(
                instance,
                containers.AddOptions(
                    sir=sir,
                    netns=netns,
                    device=device,
                    delivery=delivery,
                    mtu=mtu or 0,
                    any_source=any_source,
                    cgroup=whose,
                    link=link,
                ),
            )
    context.show(added, f"endpoint {added.sir} added, wire address {added.wire}")


def _refuse_options_of_containers() -> None:
    source = click.get_current_context().get_parameter_source
    given = [name for name in _OF_A_CONTAINER if source(name) is ParameterSource.COMMANDLINE]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(
            f"{options}: no meaning for an address of the host (--host); nothing was changed"
        )


def _cgroup(text: str | None) -> Cgroup | None:
    if text is None:
        return None
    from ilax.system.cgroups import Tree

    return Tree.read().find(text)


@endpoint.command("set")
@click.argument("sir", type=ADDRESS, shell_complete=offers.ENDPOINTS)
@click.option(
    "--cgroup", shell_complete=offers.CGROUPS, help='Path or number of its cgroup, or "none".'
)
@click.option(
    "--delivery", type=click.Choice(["stack", "xdp"]),
    help="Into its stack with GRO, or by XDP redirect into its device.",
)  # fmt: skip
@click.option(
    "--any-source/--no-any-source", default=None,
    help="Do not check its source addresses, or do.",
)  # fmt: skip
@pass_context
def change(
    context: Context,
    sir: Address,
    cgroup: str | None,
    delivery: str | None,
    any_source: bool | None,
) -> None:
    """Change an endpoint while its traffic flows.

    What is not given stays as it is. Device, link and MTU are those that it was made
    with: `del` and `add` change them.

    \b
    Example:
      ilax endpoint set 2001:db8:5a5a:1:2000::5 --cgroup system.slice/web1
      ilax endpoint set 2001:db8:5a5a:1:2000::5 --cgroup none
      ilax endpoint set 2001:db8:5a5a:1:2000::6 --delivery xdp --no-any-source
    """
    from ilax.endpoint import containers
    from ilax.instances.instance import Instance
    from ilax.limiting import limits

    of_a_container = delivery is not None or any_source is not None
    if cgroup is None and not of_a_container:
        raise click.UsageError("give --cgroup, --delivery, --any-source or --no-any-source")
    told = []
    with Instance.open(context.instance) as instance:
        whose = _cgroup(None if cgroup == "none" else cgroup)
        if of_a_container:
            changed = containers.change(instance, sir, delivery=delivery, any_source=any_source)
            told += [f"has delivery {delivery}"] if delivery else []
        if any_source is not None:
            told.append(f"may send with {'any source' if any_source else 'no other source'}")
        if cgroup is not None:
            try:
                changed = limits.assign(instance, sir, whose)
            except IlaxError as error:
                if told:
                    error.add_note(f"endpoint {sir} {', '.join(told)}: this is done")
                raise
            told.append(f"names cgroup {whose.name}" if whose else "names no cgroup")
    context.show(changed, f"endpoint {changed.sir} {', '.join(told)}")


@endpoint.command("del")
@click.argument("sir", type=ADDRESS, shell_complete=offers.ENDPOINTS)
@pass_context
def delete(context: Context, sir: Address) -> None:
    """Disconnect a container and remove all that `add` made.

    \b
    Example:
      ilax endpoint del 2001:db8:5a5a:1:2000::5
    """
    from ilax.endpoint import containers
    from ilax.instances.instance import Instance

    with Instance.open(context.instance) as instance:
        removed = containers.delete(instance, sir)
    context.show(removed, f"endpoint {removed.sir} removed")


@endpoint.command("list", cls=ReadingCommand)
@pass_context
def list_all(context: Context) -> None:
    """List the endpoints.

    \b
    Example:
      ilax endpoint list
    """
    from ilax.endpoint import endpoints
    from ilax.instances.instance import Instance
    from ilax.translation.domain import Devices

    with Instance.open(context.instance) as instance:
        found = endpoints.read_all(instance)
        devices = Devices(instance)
    if context.as_json:
        context.show([{**plain(e), "device": devices.name(e.ifindex)} for e in found], "")
        return
    rows = [(e.sir, e.wire, e.delivery, devices.words(e.ifindex), e.mtu) for e in found]
    context.show(
        found, table(("SIR address", "wire address", "delivery", "interface", "MTU"), rows)
    )


@endpoint.command("show", cls=ReadingCommand)
@click.argument("sir", type=ADDRESS, shell_complete=offers.ENDPOINTS)
@pass_context
def show(context: Context, sir: Address) -> None:
    """Show one endpoint with its traffic.

    \b
    Example:
      ilax endpoint show 2001:db8:5a5a:1:2000::5
    """
    from ilax.endpoint import endpoints
    from ilax.instances.instance import Instance
    from ilax.limiting import limits
    from ilax.translation.domain import Devices
    from ilax.watching import counters

    with Instance.open(context.instance) as instance:
        found = endpoints.find(instance, sir)
        devices = Devices(instance)
        # A daemon may have written any slot.
        counted = 0 < found.slot < instance.traffic.map.max_entries
        traffic = counters.traffic(instance, found.slot) if counted else None
        cgroup = limits.cgroup_name(instance, found.limit) if found.limit else None
    device = devices.name(found.ifindex)
    facts = {**plain(found), "device": device, "cgroup": cgroup, "traffic": plain(traffic)}
    told = {**facts, "device": devices.words(found.ifindex)}
    lines = [f"{name:11} {value}" for name, value in told.items() if name != "traffic"]
    if traffic is not None:
        lines += [f"{name:11} {value}" for name, value in facts["traffic"].items()]
    context.show(facts, "\n".join(lines))
