# SPDX-License-Identifier: Apache-2.0
"""`ilax explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ilax.cli import offers
from ilax.cli.context import ADDRESS, Context, ReadingCommand, pass_context

if TYPE_CHECKING:
    from ilax.address import Address

# Exit code of --expect, beside those of errors.
UNEXPECTED = 10

_PORT = click.IntRange(1, 65535)


@click.command(cls=ReadingCommand)
@click.option(
    "--in",
    "where",
    required=True,
    metavar="uplink|host|CONTAINER",
    shell_complete=offers.PLACES,
    help="Where it comes from. A container is its SIR address, its host-side device or its "
    "network namespace.",
)
@click.option(
    "--src", type=ADDRESS, help="Source; for a container and the host: their own, if not given."
)
@click.option("--dst", type=ADDRESS, help="Destination, as it is in the packet there.")
@click.option(
    "--proto",
    type=click.Choice(["tcp", "udp", "icmp6"]),
    help="A TCP SYN, a UDP packet or an echo request.  [default: udp]",
)
@click.option("--sport", type=_PORT, help="Source port.  [default: 40000]")
@click.option("--dport", type=_PORT, help="Destination port.  [default: 80]")
@click.option("--length", type=click.IntRange(40, 65575), help="Bytes of the IPv6 packet.")
@click.option("--hop-limit", type=click.IntRange(0, 255), help="As it arrives.  [default: 64]")
@click.option("--ecn", is_flag=True, help="ECN-capable, so that limits may mark it.")
@click.option(
    "--pcap",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the packet from a capture instead.",
)
@click.option("--packet", type=click.IntRange(1), help="Which one of it.  [default: the first]")
@click.option(
    "--expect",
    metavar="WHAT",
    help="delivered, forwarded, stack or dropped, or a reason of any step: exit code "
    f"{UNEXPECTED} if it comes otherwise.",
)
@pass_context
def explain(
    context: Context,
    where: str,
    src: Address | None,
    dst: Address | None,
    proto: str | None,
    sport: int | None,
    dport: int | None,
    length: int | None,
    hop_limit: int | None,
    ecn: bool,
    pcap: Path | None,
    packet: int | None,
    expect: str | None,
) -> None:
    """Tell what would become of a packet, step by step, and why.

    The loaded programs look at it, with the live maps. Nothing is sent, and no
    counter, sample or limit changes: programs run as copies that write elsewhere.
    From the network packets come with wire addresses (`ilax endpoint list`).

    Exit code 0 whatever becomes of the packet, unless --expect says otherwise.

    \b
    Example:
      ilax explain --in uplink --src 2001:db8:5a5a:1:2000::9 \\
                   --dst 2001:db8:42:7:3000::4a17 --proto tcp --dport 443
      ilax explain --in web1 --dst 2001:db8:5a5a:1:2000::9
      ilax explain --in uplink --pcap drops.pcap --packet 3
      ilax explain --in web1 --dst 2001:db8:5a5a:1:2000::9 --expect forwarded
    """
    from ilax.contract import reasons
    from ilax.errors import UsageError
    from ilax.explain import ask, text
    from ilax.instances.instance import Instance

    described = (src, dst, proto, sport, dport, length, hop_limit, ecn or None)
    if pcap is not None and any(item is not None for item in described):
        raise UsageError("a packet of a capture is as it is: leave its description out")
    if pcap is None and packet is not None:
        raise UsageError("--packet is the number of a frame of a capture: --pcap names it")
    known = {*reasons.MEANINGS, *text.OUTCOMES}
    if expect is not None and expect not in known:
        raise UsageError(
            f"--expect {expect} is neither a reason nor one of {', '.join(text.OUTCOMES)}"
        )
    question = ask.Question(
        where=where,
        src=src,
        dst=dst,
        protocol=proto or "udp",
        sport=sport,
        dport=dport,
        length=length or 0,
        hop_limit=64 if hop_limit is None else hop_limit,
        ecn=ecn,
        record=ask.record_of(pcap, packet or 1) if pcap else None,
    )
    with Instance.open(context.instance) as instance:
        journey = ask.ask(instance, question)
        translator = text.translator(instance)
    as_expected = expect is None or journey.is_as_expected(expect)
    facts = text.as_json(journey, translator)
    if expect is not None:
        facts |= {"expected": expect, "as_expected": as_expected}
    lines = text.lines(journey, translator)
    if not as_expected:
        lines.append(f"expected {expect}: not so")
    context.show(facts, "\n".join(lines))
    if not as_expected:
        raise SystemExit(UNEXPECTED)
