# SPDX-License-Identifier: Apache-2.0
"""`ilax address`: arithmetic only, no map is touched."""

from __future__ import annotations

import click

from ilax import address as arithmetic
from ilax.address import Address, Prefix
from ilax.cli.context import ADDRESS, PREFIX_64, Context, ReadingCommand, pass_context, plain


@click.group()
def address() -> None:
    """Translate and explain addresses.

    \b
    Example:
      ilax address encode 2001:db8:5a5a:1:2000:7:a1b2:c3d4 --locator 2001:db8:42:7::/64
    """


@address.command(cls=ReadingCommand)
@click.argument("sir", type=ADDRESS)
@click.option("--locator", required=True, type=PREFIX_64, help="Prefix of the host, /64.")
@click.option("--cbit/--no-cbit", default=True, show_default=True, help="Mark it on the wire.")
@click.option("--typed/--untyped", default=True, show_default=True, help="Refuse type 0.")
@pass_context
def encode(context: Context, sir: Address, locator: Prefix, cbit: bool, typed: bool) -> None:
    """Show the wire address of a SIR address at a locator.

    \b
    Example:
      ilax address encode 2001:db8:5a5a:1:2000:7:a1b2:c3d4 --locator 2001:db8:42:7::/64
    """
    _show(context, arithmetic.encode(str(sir), str(locator), cbit=cbit, typed=typed))


@address.command(cls=ReadingCommand)
@click.argument("text", metavar="ADDRESS", type=ADDRESS)
@click.option("--sir-prefix", required=True, type=PREFIX_64, help="Prefix of the domain, /64.")
@click.option("--cbit/--no-cbit", default=True, show_default=True, help="It is marked.")
@pass_context
def decode(context: Context, text: Address, sir_prefix: Prefix, cbit: bool) -> None:
    """Explain a wire address (or a SIR address) of a domain.

    \b
    Example:
      ilax address decode 2001:db8:42:7:3000:7:a1b2:de7 --sir-prefix 2001:db8:5a5a:1::/64
    """
    _show(context, arithmetic.decode(str(text), str(sir_prefix), cbit=cbit))


def _show(context: Context, found: arithmetic.Translation) -> None:
    facts = plain(found)
    lines = [
        ("SIR address", found.sir),
        ("wire address", found.wire or "-"),
        ("SIR prefix", found.sir_prefix),
        ("locator", found.locator or "-"),
        ("identifier", found.identifier),
        ("type", f"{found.type} ({found.type_name})"),
        ("C-bit", "set on the wire" if found.cbit else "not used"),
        ("adjustment", f"{found.adjustment:#06x} in the last 16 bits"),
    ]
    if found.difference is not None:
        lines.append(("difference", f"{found.difference:#06x} added to the SIR address's"))
    context.show(facts, "\n".join(f"{name:13} {value}" for name, value in lines))
