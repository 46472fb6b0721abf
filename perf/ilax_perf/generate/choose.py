# SPDX-License-Identifier: Apache-2.0
"""Which generator sends a traffic out of a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ilax.errors import UsageError
from ilax_perf.generate.generator import Generator, GeneratorError
from ilax_perf.generate.links import Device
from ilax_perf.generate.live_frames import LiveFrames
from ilax_perf.generate.packet_socket import PacketSocket
from ilax_perf.generate.pktgen.generator import PktgenGenerator
from ilax_perf.generate.traffic import Traffic

AUTO = "auto"
# In order of preference.
NAMES = (PktgenGenerator.name, LiveFrames.name, PacketSocket.name)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A generator that can.

    Attributes:
        generator: it.
        passed_over: name of each that came before it, and why it was not taken.
    """

    generator: Generator
    passed_over: Mapping[str, str]


def choose(
    device: str,
    traffic: Traffic,
    by: str = AUTO,
    *,
    preset: str | None = None,
    cpus: Sequence[int] = (),
) -> Chosen:
    """Find one.

    Args:
        device: in the network namespace of this thread.
        traffic: to be sent.
        by: one of `NAMES`, or `AUTO` for the first that can.
        preset: of pktgen; only pktgen has any.
        cpus: of pktgen's threads.

    Raises:
        UsageError: the one that was asked for cannot.
        GeneratorError: none can.
    """
    if preset is not None:
        if by not in (AUTO, PktgenGenerator.name):
            raise UsageError(f"presets are pktgen's, {by} has none")
        by = PktgenGenerator.name
    Device.find(device)
    generators = (PktgenGenerator(preset or "simple", cpus), LiveFrames(), PacketSocket())
    reasons: dict[str, str] = {}
    for generator in generators:
        if by not in (AUTO, generator.name):
            continue
        reason = generator.why_not(device, traffic) or (
            _rather_not(generator, device) if by == AUTO else None
        )
        if reason is None:
            return Chosen(generator, reasons)
        reasons[generator.name] = reason
    if by != AUTO:
        raise UsageError(f"{by} cannot send this out of {device}: {reasons[by]}")
    said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise GeneratorError(f"nothing can send this out of {device}: {said}")


def _rather_not(generator: Generator, device: str) -> str | None:
    """Why a generator that might is not chosen by itself."""
    kind = Device.find(device).kind
    if isinstance(generator, LiveFrames) and kind != "veth":
        return (
            f"{device} is no veth, and whether its driver takes live frames is seen by "
            f"trying only: --by {generator.name}"
        )
    return None
