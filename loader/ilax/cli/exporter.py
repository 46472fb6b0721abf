# SPDX-License-Identifier: Apache-2.0
"""`ilax exporter`."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ilax.cli.context import Context, ReadingCommand, SecondsType, pass_context

if TYPE_CHECKING:
    from ilax.exporter.collector import Collector

_CHOICE = "all|top:N|none"


@click.command(cls=ReadingCommand)
@click.option(
    "--listen", default="[::1]:9119", show_default=True, metavar="ADDRESS:PORT",
    help="Where to listen. Port 0: a free one.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Print the metrics and end, for a textfile collector.")
@click.option(
    "--endpoints", default="top:200", show_default=True, metavar=_CHOICE,
    help="Endpoints with series of their own; top: with the most packets.",
)  # fmt: skip
@click.option(
    "--limits", default="top:200", show_default=True, metavar=_CHOICE,
    help="Limits with series of their own; top: with the most packets.",
)  # fmt: skip
@click.option(
    "--count-mappings", "period", type=SecondsType(), default="300s", show_default=True,
    metavar="TIME", help="How old their number may be; counting a million takes a moment.",
)  # fmt: skip
@click.option(
    "--check-report", type=click.Path(path_type=Path, readable=False), metavar="FILE",
    help="What `ilax check --report` has written. Default: /run/ilax/check-INSTANCE.json.",
)  # fmt: skip
@pass_context
def exporter(
    context: Context,
    listen: str,
    once: bool,
    endpoints: str,
    limits: str,
    period: float,
    check_report: Path | None,
) -> None:
    """Export the maps to Prometheus.

    Reads them at each scrape and writes nothing. The instance may be taken down, come
    up and be upgraded meanwhile. There is no authentication: whoever reaches the port
    reads the addresses, cgroups and traffic of the containers.

    \b
    Example:
      ilax exporter --endpoints top:50
      ilax exporter --once > /var/lib/node_exporter/ilax.prom
    """
    from ilax.exporter import choice
    from ilax.exporter.collector import Collector, Options
    from ilax.exporter.server import Server, parse_listen

    options = Options(choice.parse(endpoints), choice.parse(limits), period, check_report)
    collector = Collector(context.instance, options)
    if once:
        _print_once(context, collector)
        return
    where = parse_listen(listen)
    with Server(where, collector) as server, contextlib.suppress(KeyboardInterrupt):
        if not where.loopback:
            click.echo("ilax: other hosts may read these metrics, too", err=True)
        context.show({"url": server.url}, f"metrics are at {server.url}")
        sys.stdout.flush()
        server.serve_forever()


def _print_once(context: Context, collector: Collector) -> None:
    from ilax.exporter.families import as_json, render

    families = collector.families()
    if context.as_json:
        click.echo(json.dumps(as_json(families), indent=2))
    else:
        click.echo(render(families), nl=False)
    for error in collector.last_errors.values():
        raise error
