# SPDX-License-Identifier: Apache-2.0
"""`ilax counters`."""

from __future__ import annotations

import click

from ilax.cli.context import Context, ReadingCommand, pass_context, table


@click.command(cls=ReadingCommand)
@click.option("--all", "zeros", is_flag=True, help="Also reasons that never counted.")
@pass_context
def counters(context: Context, zeros: bool) -> None:
    """Show packets by hook and reason, over all CPUs.

    pass: left to the host's stack. send: on its way by ilax. drop: ended.

    \b
    Example:
      ilax counters
    """
    from ilax.instances.instance import Instance
    from ilax.watching import counters as reader

    with Instance.open(context.instance) as instance:
        found = reader.read(instance, zeros=zeros)
    rows = [(c.hook, c.reason, c.packets, c.bytes, c.sampled, c.lost) for c in found]
    header = ("hook", "reason", "packets", "bytes", "sampled", "lost")
    context.show(found, table(header, rows))
