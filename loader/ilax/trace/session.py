# SPDX-License-Identifier: Apache-2.0
"""Probes while they are attached, and what they have counted."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ilax.bpf.handle import Closing
from ilax.errors import TracingError
from ilax.trace import report
from ilax.trace.histogram import SLOTS, Histogram
from ilax.trace.layout import has_kprobes
from ilax.trace.probes import LATENCY, PROBES, Gap, Kind, Part, Probe, gaps

if TYPE_CHECKING:
    from ilax.endpoint.endpoints import Endpoint
    from ilax.trace.layout import Kernel

Row = TypeVar("Row", report.XdpException, report.RedirectError, report.Drop)

_SOURCE = Path(__file__).with_name("probes.c")
_PATHS = ("stack", "xdp")  # enum delivery
_STEPS = ("redirect", "transmit")
_UPLINK = 1
# Packets between the uplink and a container at one moment, and different things
# that go wrong.
_FLYING, _ROWS = 65536, 4096
# BPF_MAP_TYPE_DEVMAP, _HASH: whose keys may be interfaces.
_MAPS = {0: "none", 14: "devmap", 16: "cpumap", 17: "xskmap", 25: "devmap"}


class Session(Closing):
    """Probes at work, from here until `close`.

    Args:
        bcc: the module.
        kernel: the running one.
        uplinks: numbers of the interfaces at which packets are timed.
        devices: names of all interfaces to look at, by number.
        endpoints: to which packets are timed.
        wanted: what to look for.
        own_map: number of the map `ilax_devices`, whose keys are interfaces.
        netns: inode number of the namespace that the interfaces are in.

    Raises:
        TracingError: bcc cannot compile it; nothing is attached.
    """

    def __init__(
        self,
        bcc: Any,
        kernel: Kernel,
        *,
        uplinks: Sequence[int],
        devices: Mapping[int, str],
        endpoints: Sequence[Endpoint],
        wanted: Collection[Part],
        own_map: int,
        netns: int,
    ) -> None:
        self._kernel, self._uplinks, self._devices = kernel, uplinks, devices
        self._endpoints, self._own_map = endpoints, own_map
        macros = {
            **kernel.offsets,
            "NETNS": netns,
            "SLOTS": SLOTS,
            "DEVICES": len(devices) + 1,
            "ENDPOINTS": 2 * len(endpoints) + 1,
            "LATENCIES": len(_PATHS) * (len(endpoints) + 1),
            "FLYING": _FLYING,
            "ROWS": _ROWS,
        }
        self._bpf = _compile(bcc, macros)
        try:
            self._fill()
            failed = self._attach(wanted)
        except BaseException:
            self.close()
            raise
        self.gaps: list[Gap] = gaps(wanted, failed)
        self._watched = set(wanted) - {gap.part for gap in self.gaps}
        self._began = time.monotonic()

    def close(self) -> None:
        """Detach all probes."""
        self._bpf.cleanup()

    def _fill(self) -> None:
        """Tell the programs what to look at."""
        flags = dict.fromkeys(self._devices, 0) | dict.fromkeys(self._uplinks, _UPLINK)
        table = self._bpf["devices"]
        for number, flag in flags.items():
            table[table.Key(number)] = table.Leaf(flag)
        table = self._bpf["endpoints"]
        for number, endpoint in enumerate(self._endpoints, start=1):
            for address in (endpoint.sir, endpoint.wire):
                key = table.Key.from_buffer_copy(address.packed)
                table[key] = table.Leaf(number)

    def _attach(self, wanted: Collection[Part]) -> dict[Probe, str]:
        """Attach what is wanted; returns what could not be attached, and why."""
        failed = {}
        for probe in PROBES:
            if not probe.parts & set(wanted):
                continue
            known = (
                self._kernel.tracepoints
                if probe.kind is Kind.TRACEPOINT
                else self._kernel.functions
            )
            if probe.name not in known:
                failed[probe] = "this kernel has none"
                continue
            attach = self._at_function if probe.kind is Kind.FUNCTION else self._at_tracepoint
            if problem := attach(probe.name):
                failed[probe] = problem
        return failed

    def _at_tracepoint(self, name: str) -> str:
        return _attempt(
            lambda: self._bpf.attach_raw_tracepoint(tp=name.encode(), fn_name=f"at_{name}".encode())
        )

    def _at_function(self, name: str) -> str:
        """By a trampoline, which is cheaper; arm64 has none before Linux 6.4."""
        first = _attempt(lambda: self._bpf.attach_kfunc(fn_name=name.encode()))
        if not first:
            return ""
        if not has_kprobes():
            return f"no BPF trampoline ({first}), and this kernel has no kprobes (CONFIG_KPROBES)"
        second = _attempt(
            lambda: self._bpf.attach_kprobe(event=name.encode(), fn_name=f"kprobe_{name}".encode())
        )
        return second and f"no BPF trampoline ({first}), no kprobe ({second})"

    @property
    def uplinks(self) -> list[str]:
        """Names of the interfaces at which packets are timed."""
        return [self._device(number) for number in self._uplinks]

    # --- reading ------------------------------------------------------------------

    def read(self, instance: str) -> report.Report:
        """All that was counted since the begin."""
        return report.Report(
            instance=instance,
            seconds=round(time.monotonic() - self._began, 3),
            uplinks=self.uplinks,
            endpoints=len(self._endpoints),
            watched=[part for part in Part if part in self._watched],
            ways=list(self._ways()),
            exceptions=_busiest(self._exceptions()),
            redirects=_busiest(self._redirects()),
            drops=_busiest(self._drops()),
            gaps=self.gaps,
            untold=int(self._bpf["lost"][0].value),
        )

    def _device(self, number: int) -> str:
        return self._devices.get(number, f"number {number}")

    def _ways(self) -> Iterator[report.Way]:
        for key, row in self._bpf["latencies"].items():
            if not row.count:
                continue
            who, path = divmod(key.value, len(_PATHS))
            endpoint = self._endpoints[who - 1]
            yield report.Way(
                endpoint=str(endpoint.sir),
                device=self._device(endpoint.ifindex),
                path=_PATHS[path],
                latency=Histogram(int(row.count), int(row.sum), tuple(row.slots)),
            )

    def _exceptions(self) -> Iterator[report.XdpException]:
        for key, packets in self._bpf["exceptions"].items():
            yield report.XdpException(
                device=self._device(key.ifindex),
                action=report.action_name(key.action),
                program=key.name.decode(errors="replace"),
                program_id=key.program,
                packets=packets.value,
            )

    def _redirects(self) -> Iterator[report.RedirectError]:
        for key, packets in self._bpf["failures"].items():
            if key.at or key.map == self._own_map or not key.map:
                target = self._device(key.to)
            else:
                target = f"{key.to} of {_MAPS.get(key.type, 'map')} {key.map}"
            yield report.RedirectError(
                source=self._device(getattr(key, "from")),
                target=target,
                step=_STEPS[key.at],
                error=report.error_name(key.err),
                packets=packets.value,
            )

    def _drops(self) -> Iterator[report.Drop]:
        for key, packets in self._bpf["drops"].items():
            reason = self._kernel.reasons.get(key.reason, f"number {key.reason}")
            symbol = self._bpf.ksym(key.location, show_offset=False)
            yield report.Drop(
                endpoint=str(self._endpoints[key.endpoint - 1].sir) if key.endpoint else None,
                device="" if key.elsewhere else self._device(key.ifindex),
                reason=reason,
                function=symbol.decode(errors="replace"),
                by_tc=reason in report.OF_TC,
                packets=packets.value,
            )


def wanted_parts(latency: bool) -> frozenset[Part]:
    """What to look for: all, or only what costs nothing while nothing is wrong."""
    return frozenset(Part) - (frozenset() if latency else LATENCY)


def _busiest(rows: Iterator[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row.packets, str(row)))


def _compile(bcc: Any, macros: Mapping[str, int]) -> Any:
    class Bpf(bcc.BPF):  # type: ignore[misc]
        """bcc, that attaches what it is told to attach and not what has a fitting name."""

        def _trace_autoload(self) -> None:
            pass

    flags = [f"-D{name}={value}" for name, value in macros.items()]
    with _output() as said:
        try:
            return Bpf(text=_SOURCE.read_text(), cflags=[*flags, "-w"])
        except Exception as error:
            problem = error
    lines = [line for line in said if line.strip()]
    raise TracingError(
        f"bcc cannot compile the programs: {problem}; nothing was attached",
        lines[:12],
    ) from problem


def _attempt(action: Any) -> str:
    """Try it; returns what bcc says if it fails, or ""."""
    problem: Exception | None = None
    with _output() as said:
        try:
            action()
        except Exception as error:
            problem = error
    if problem is None:
        return ""
    # bcc blames every EPERM on the user; what its library prints is what the kernel said.
    # The verifier ends with what it has spent.
    words = [
        line.strip()
        for line in said
        if re.search(r"[a-z]", line) and not line.startswith("processed ")
    ]
    return "; ".join(dict.fromkeys(words[-2:])) or str(problem)


@contextlib.contextmanager
def _output() -> Iterator[list[str]]:
    """Keep what bcc's library prints by itself; the lines are there when the context ends."""
    said: list[str] = []
    with tempfile.TemporaryFile() as file:
        with contextlib.ExitStack() as stack:
            for stream in (1, 2):
                kept = os.dup(stream)
                stack.callback(os.close, kept)
                stack.callback(os.dup2, kept, stream)
                os.dup2(file.fileno(), stream)
            yield said
        file.seek(0)
        said += file.read().decode(errors="replace").splitlines()
