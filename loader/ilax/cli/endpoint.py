# SPDX-License-Identifier: Apache-2.0
"""`ilax endpoint`."""

from __future__ import annotations

import click

from ilax.address import Address
from ilax.cli.context import ADDRESS, Context, pass_context, plain, table


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
@click.option("--netns", help="Network namespace: a name, a process number or a path.")
@click.option("--host", is_flag=True, help="An address of the host's own processes.")
@click.option("--device", default="eth0", show_default=True, help="Its interface inside.")
@click.option(
    "--delivery",
    type=click.Choice(["stack", "xdp"]),
    default="stack",
    show_default=True,
    help="Into its stack with GRO, or by XDP redirect into its device.",
)
@click.option("--mtu", type=click.IntRange(1280, 65535), help="Bytes; default: the uplink's.")
@click.option("--any-source", is_flag=True, help="Do not check its source addresses.")
@pass_context
def add(
    context: Context,
    sir: Address,
    netns: str | None,
    host: bool,
    device: str,
    delivery: str,
    mtu: int | None,
    any_source: bool,
) -> None:
    """Connect a container: link, addresses, routes, neighbours and rows.

    If any step fails, all of them are undone.

    \b
    Example:
      ilax endpoint add 2001:db8:5a5a:1:2000::5 --netns web1
      ilax endpoint add 2001:db8:5a5a:1:2000::6 --netns 4711 --delivery xdp
      ilax endpoint add 2001:db8:5a5a:1:2000::1 --host
    """
    from ilax import containers, endpoints
    from ilax.instance import Instance
    from ilax.netlink import Network

    if host == (netns is not None):
        raise click.UsageError("give either --netns or --host")
    with Instance.open(context.instance) as instance:
        if netns is None:
            with Network() as network:
                added = endpoints.add_host(network, instance, sir)
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
                ),
            )
    context.show(added, f"endpoint {added.sir} added, wire address {added.wire}")


@endpoint.command("del")
@click.argument("sir", type=ADDRESS)
@pass_context
def delete(context: Context, sir: Address) -> None:
    """Disconnect a container and remove all that `add` made.

    \b
    Example:
      ilax endpoint del 2001:db8:5a5a:1:2000::5
    """
    from ilax import containers
    from ilax.instance import Instance

    with Instance.open(context.instance) as instance:
        removed = containers.delete(instance, sir)
    context.show(removed, f"endpoint {removed.sir} removed")


@endpoint.command("list")
@pass_context
def list_all(context: Context) -> None:
    """List the endpoints.

    \b
    Example:
      ilax endpoint list
    """
    from ilax import endpoints
    from ilax.instance import Instance

    with Instance.open(context.instance) as instance:
        found = endpoints.read_all(instance)
    rows = [(e.sir, e.wire, e.delivery, e.ifindex, e.mtu) for e in found]
    context.show(
        found, table(("SIR address", "wire address", "delivery", "interface", "MTU"), rows)
    )


@endpoint.command("show")
@click.argument("sir", type=ADDRESS)
@pass_context
def show(context: Context, sir: Address) -> None:
    """Show one endpoint with its traffic.

    \b
    Example:
      ilax endpoint show 2001:db8:5a5a:1:2000::5
    """
    from ilax import counters, endpoints
    from ilax.instance import Instance

    with Instance.open(context.instance) as instance:
        found = endpoints.find(instance, sir)
        traffic = counters.traffic(instance, found.slot) if found.slot else None
    facts = {**plain(found), "traffic": plain(traffic)}
    lines = [f"{name:11} {value}" for name, value in facts.items() if name != "traffic"]
    if traffic is not None:
        lines += [f"{name:11} {value}" for name, value in facts["traffic"].items()]
    context.show(facts, "\n".join(lines))
