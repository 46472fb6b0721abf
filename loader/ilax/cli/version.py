# SPDX-License-Identifier: Apache-2.0
"""`ilax version`."""

from __future__ import annotations

import platform

import click

from ilax import __version__
from ilax.cli.context import Context, ReadingCommand, pass_context
from ilax.contract import schema


@click.command(cls=ReadingCommand)
@pass_context
def version(context: Context) -> None:
    """Show the versions of ilax, its map contract, libbpf and the kernel.

    \b
    Example:
      ilax version
    """
    from ilax.bpf import _libbpf

    numbers = schema.enum("ilax_version")
    facts = {
        "ilax": __version__,
        "contract": f"{numbers['ILAX_ABI_MAJOR']}.{numbers['ILAX_ABI_MINOR']}",
        "layout": schema.layout_hash().hex(),
        "libbpf": f"{_libbpf.lib.libbpf_major_version()}.{_libbpf.lib.libbpf_minor_version()}",
        "kernel": platform.release(),
    }
    context.show(facts, "\n".join(f"{name:9} {value}" for name, value in facts.items()))
