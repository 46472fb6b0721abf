# SPDX-License-Identifier: Apache-2.0
"""`ilax-perf generate`: send packets out of a device."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from ipaddress import AddressValueError, IPv6Address, IPv6Network, NetmaskValueError
from pathlib import Path

import numpy as np

from ilax.errors import IlaxError, UsageError
from ilax_perf.generate import choose
from ilax_perf.generate.generator import GeneratorError, Sent
from ilax_perf.generate.links import Device
from ilax_perf.generate.pktgen.presets import PRESETS
from ilax_perf.generate.traffic import (
    MOST_DESTINATIONS,
    Destinations,
    Listed,
    Range,
    Traffic,
    TrafficError,
    Uniform,
    Zipf,
)

_EPILOG = """\
A size is that of a frame from its Ethernet header to its end, without the FCS; a
wire takes 24 bytes more. Each packet has its number, modulo 65536, as the first two
bytes of its payload (pktgen: its own header).

Examples:
  ilax-perf generate eth1 --mac 02:00:00:00:00:02 --to 2001:db8:42:1::/112 --count 1000000
  ilax-perf generate eth1 --mac 02:00:00:00:00:02 --to-file addresses --distribution zipf:1.1 \\
      --rate 100000 --seconds 10 --json
  ilax-perf generate eth1 --mac 02:00:00:00:00:02 --to 2001:db8::1 --size 1514 \\
      --preset multiqueue --cpus 0,1 --seconds 10

Exit code: 0 sent, 1 it did not work, 2 wrong usage, 130 interrupted, others as those
of ilax."""


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ilax-perf generate",
        description="Send UDP packets over IPv6 out of a device (as root).",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("device", help="in the current network namespace")
    parser.add_argument("--mac", required=True, help="of the next hop")
    to = parser.add_mutually_exclusive_group(required=True)
    to.add_argument(
        "--to",
        metavar="ADDRESSES",
        help="ADDRESS, PREFIX/LENGTH, or FIRST-LAST; up to 1 Mi addresses",
    )
    to.add_argument("--to-file", type=Path, metavar="FILE", help="one address a line")
    parser.add_argument(
        "--distribution",
        default="uniform",
        metavar="NAME",
        help="`uniform` (default), or `zipf:EXPONENT`: the first address gets the most",
    )
    parser.add_argument("--from", dest="source", metavar="ADDRESS", help="default: the device's")
    parser.add_argument("--port", type=int, default=4242, help="of the destinations (default 4242)")
    parser.add_argument("--flows", type=int, default=1, help="source ports (default 1)")
    parser.add_argument("--size", type=int, default=64, metavar="BYTES", help="default 64")
    parser.add_argument(
        "--rate", type=float, metavar="PPS", help="packets a second; default: as many as possible"
    )
    end = parser.add_mutually_exclusive_group(required=True)
    end.add_argument("--count", type=int, help="packets")
    end.add_argument("--seconds", type=float)
    parser.add_argument(
        "--by", choices=(choose.AUTO, *choose.NAMES), default=choose.AUTO, help="default: auto"
    )
    parser.add_argument("--preset", choices=list(PRESETS), help="of pktgen (default simple)")
    parser.add_argument(
        "--cpus", default="", metavar="N,N", help="of pktgen's threads, or the one of this process"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Send; returns the exit code."""
    options = _arguments(words)
    try:
        cpus = _cpus(options.cpus)
        traffic = _traffic(options)
        chosen = choose.choose(
            options.device, traffic, options.by, preset=options.preset, cpus=cpus
        )
        if cpus:
            os.sched_setaffinity(0, set(cpus))
        sent = chosen.generator.run(options.device, traffic)
    except IlaxError as error:
        print(f"ilax-perf: {error}", file=sys.stderr)
        if error.hint:
            print(f"ilax-perf: hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("ilax-perf: interrupted", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(_as_json(chosen, traffic, sent), indent=1))
    else:
        _print(chosen, traffic, sent)
    return 0


def _traffic(options: argparse.Namespace) -> Traffic:
    device = Device.find(options.device)
    source = _address(options.source) if options.source else device.address()
    if source is None:
        raise GeneratorError(
            f"{device.name} has no IPv6 address to send from", hint="give one with --from"
        )
    return Traffic(
        macs=(device.mac, _mac(options.mac)),
        source=source,
        destinations=_listed(options.to_file) if options.to_file else _range(options.to),
        distribution=_distribution(options.distribution),
        size=options.size,
        flows=options.flows,
        port=options.port,
        rate=options.rate,
        count=options.count,
        seconds=options.seconds,
    )


def _address(text: str) -> IPv6Address:
    try:
        return IPv6Address(text.strip())
    except AddressValueError as error:
        raise TrafficError(f"{text.strip()} is no IPv6 address") from error


def _mac(text: str) -> str:
    parts = text.split(":")
    if len(parts) != 6 or not all(
        len(part) == 2 and set(part.lower()) <= set("0123456789abcdef") for part in parts
    ):
        raise TrafficError(f"{text} is no MAC address, such as 02:00:00:00:00:01")
    return text.lower()


def _range(text: str) -> Destinations:
    if "/" in text:
        try:
            network = IPv6Network(text)
        except (AddressValueError, NetmaskValueError, ValueError) as error:
            raise TrafficError(f"{text} is no IPv6 prefix: {error}") from error
        return Range(network.network_address, network.num_addresses)
    first, dash, last = text.partition("-")
    begin = _address(first)
    return Range(begin, int(_address(last)) - int(begin) + 1) if dash else Range(begin)


def _listed(path: Path) -> Destinations:
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise TrafficError(f"cannot read {path}: {error}") from error
    if not 1 <= len(lines) <= MOST_DESTINATIONS:
        raise TrafficError(f"{path}: {len(lines)} addresses, take 1 to {MOST_DESTINATIONS}")
    packed = b"".join(_address(line).packed for line in lines)
    return Listed(np.frombuffer(packed, np.uint8).reshape(-1, 16))


def _distribution(text: str) -> Uniform | Zipf:
    name, _, exponent = text.partition(":")
    if text == "uniform":
        return Uniform()
    if name == "zipf":
        try:
            return Zipf(float(exponent))
        except ValueError as error:
            if isinstance(error, IlaxError):
                raise
    raise TrafficError(f"{text} is no distribution: take `uniform`, or `zipf:1.1`")


def _cpus(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise UsageError(f"{text}: CPUs are numbers with commas, such as 0,1") from error
    allowed = os.sched_getaffinity(0)
    missing = [cpu for cpu in found if cpu not in allowed]
    if missing:
        raise UsageError(f"CPU {missing[0]} is none of those here: {sorted(allowed)}")
    return found


def _as_json(chosen: choose.Chosen, traffic: Traffic, sent: Sent) -> dict[str, object]:
    return {
        "schema": 1,
        "generator": chosen.generator.name,
        "passed_over": dict(chosen.passed_over),
        **asdict(sent),
        "rate": sent.rate,
        "size": traffic.size,
        "wire_size": traffic.wire_size,
        "destinations": len(traffic.destinations),
    }


def _print(chosen: choose.Chosen, traffic: Traffic, sent: Sent) -> None:
    for name, reason in chosen.passed_over.items():
        print(f"not by {name}: {reason}", file=sys.stderr)
    print(
        f"{sent.packets} packets of {traffic.size} bytes in {sent.seconds:.3f} s by "
        f"{chosen.generator.name}: {sent.rate:,.0f} packets/s, "
        f"{8 * sent.rate * traffic.wire_size / 1e6:,.1f} Mbit/s of a wire"
    )
