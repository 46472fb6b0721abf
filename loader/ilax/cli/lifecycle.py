# SPDX-License-Identifier: Apache-2.0
"""`ilax up` and `ilax down`."""

from __future__ import annotations

import sys

import click

from ilax.address import Address, Prefix
from ilax.cli import offers
from ilax.cli.context import ADDRESS, PREFIX, PREFIX_64, Context, pass_context


@click.command()
@click.option(
    "--uplink", required=True, metavar="DEV", shell_complete=offers.DEVICES,
    help="Interface towards the fabric.",
)  # fmt: skip
@click.option(
    "--sir-prefix", "sir_prefixes", required=True, multiple=True, type=PREFIX_64,
    help="Prefix of all tasks' addresses, /64. May be repeated; the first is the locators' domain.",
)  # fmt: skip
@click.option(
    "--locator", "locators", required=True, multiple=True, type=PREFIX_64,
    help="Prefix that the fabric routes to this host, /64. May be repeated.",
)  # fmt: skip
@click.option(
    "--block", "blocks", multiple=True, type=PREFIX,
    help="Prefix of all locators; tasks may never address it. May be repeated.",
)  # fmt: skip
@click.option(
    "--cbit/--no-cbit", default=True, show_default=True,
    help="Mark adjusted identifiers on the wire (neutral-map; without: neutral-map-auto).",
)  # fmt: skip
@click.option(
    "--typed/--untyped", default=True, show_default=True,
    help="Identifiers begin with a type; type 0 is an ordinary address of a host.",
)  # fmt: skip
@click.option("--host-address", type=ADDRESS, help="SIR address of this host's own processes.")
@click.option(
    "--gateway", type=ADDRESS, help="Next hop of all wire addresses; default: ask the routes."
)
@click.option(
    "--xdp", type=click.Choice(["auto", "native", "off"]), default="auto",
    show_default=True, help="auto: native; none where that is impossible, or on a veth.",
)  # fmt: skip
@click.option(
    "--xdp-chain", metavar="PIN:INDEX",
    help="Slot of a foreign XDP program's pinned array, from which it calls ours. Default: none, "
    "or where ours is.",
)  # fmt: skip
@click.option(
    "--tc", type=click.Choice(["auto", "tcx", "clsact"]), default="auto", show_default=True,
    help="auto: tcx, or clsact on kernels before 6.6.",
)  # fmt: skip
@click.option(
    "--tc-order", metavar="ORDER",
    help="Place among tcx programs of others on the uplink: first, last, before:PROGRAM or "
    "after:PROGRAM (name or number). Default: last, or where ours are.",
)  # fmt: skip
@click.option("--max-endpoints", type=click.IntRange(1, 1 << 24), help="Rows; default 65536.")
@click.option("--max-mappings", type=click.IntRange(1, 1 << 26), help="Rows; default 1048576.")
@click.option(
    "--max-limits", type=click.IntRange(2, 1 << 22), help="Rows, one of them unused; default 16384."
)
@pass_context
def up(
    context: Context,
    uplink: str,
    sir_prefixes: tuple[Prefix, ...],
    locators: tuple[Prefix, ...],
    blocks: tuple[Prefix, ...],
    cbit: bool,
    typed: bool,
    host_address: Address | None,
    gateway: Address | None,
    xdp: str,
    xdp_chain: str | None,
    tc: str,
    tc_order: str | None,
    max_endpoints: int | None,
    max_mappings: int | None,
    max_limits: int | None,
) -> None:
    """Bring the datapath up on an uplink, or upgrade it in place.

    A second `up` swaps the programs without losing a packet; rows stay.

    \b
    Example:
      ilax up --uplink eth0 --sir-prefix 2001:db8:5a5a:1::/64 \\
              --locator 2001:db8:42:7::/64 --block 2001:db8:42::/48
    """
    from ilax.hooks import tc_order as order
    from ilax.hooks import xdp_slot
    from ilax.hooks.modes import TcMode, XdpMode
    from ilax.instances import bring_up
    from ilax.instances.up_options import UpOptions
    from ilax.translation.fabric import Fabric

    result = bring_up.up(
        context.instance,
        UpOptions(
            uplink=uplink,
            fabric=Fabric(sir_prefixes, locators, blocks, cbit=cbit, typed=typed),
            gateway=gateway,
            host_address=host_address,
            xdp=XdpMode(xdp),
            xdp_chain=xdp_slot.parse(xdp_chain) if xdp_chain else None,
            tc=TcMode(tc),
            tc_order=order.parse(tc_order) if tc_order else None,
            max_endpoints=max_endpoints or 0,
            max_mappings=max_mappings or 0,
            max_limits=max_limits or 0,
        ),
    )
    done = "up" if result.fresh else "upgraded in place"
    lines = [f"instance {context.instance} {done} on {uplink} (XDP {result.xdp}, {result.tc})"]
    lines += [f"note: {note}" for note in result.notes]
    context.show(result, "\n".join(lines))


@click.command()
@click.option(
    "--force",
    is_flag=True,
    help="From outside of its network namespace, too; routes and addresses in there stay.",
)
@pass_context
def down(context: Context, force: bool) -> None:
    """Take the datapath down and leave nothing of it.

    Containers that `endpoint add` connected lose their interface.

    \b
    Example:
      ilax down
    """
    from ilax.instances import take_down

    left = take_down.down(context.instance, force=force)
    lines = [f"instance {context.instance} is down", *(f"left: {what}" for what in left)]
    if left:
        lines[0] += "; its maps were not complete, so this may be of it and was left"
    context.show({"instance": context.instance, "left": left}, "\n".join(lines))
    if left:
        sys.exit(1)
