# SPDX-License-Identifier: Apache-2.0
"""`ilax monitor`."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ilax.address import Address, parse
from ilax.cli import offers
from ilax.cli.context import (
    ADDRESS,
    Context,
    Parsed,
    ReadingCommand,
    SecondsType,
    binary_output,
    counted,
    pass_context,
    plain,
    table,
    taken_down,
    until_told_to_end,
)
from ilax.errors import AddressError, UsageError

if TYPE_CHECKING:
    from ilax.frames import Translator
    from ilax.instances.instance import Instance
    from ilax.watching.marks import Marked
    from ilax.watching.monitor import Drop, Net, Watch

_PROTOCOLS = {"tcp": 6, "udp": 17, "icmpv6": 58}
_POLL_MS = 200
_MARKS_S = 1.0


class _NetType(Parsed["Net"]):
    """An address, or the first bits of one."""

    name = "address[/bits]"

    def parse(self, text: str) -> Net:
        """Text to `Net`."""
        from ilax.watching.monitor import Net

        base, slash, bits = text.partition("/")
        if not slash:
            return Net(parse(base))
        if not (bits.isascii() and bits.isdigit() and int(bits) <= 128):
            raise AddressError(f"{text!r}: the prefix length is not in 0..128")
        return Net(parse(base), int(bits))


class _ProtocolType(Parsed[int]):
    """A protocol by name or number."""

    name = "protocol"

    def parse(self, text: str) -> int:
        """Text to a number."""
        if text.lower() in _PROTOCOLS:
            return _PROTOCOLS[text.lower()]
        if text.isascii() and text.isdigit() and int(text) < 256:
            return int(text)
        raise UsageError(f"{text!r} is no protocol: {', '.join(_PROTOCOLS)}, or a number to 255")


_NET, _PROTOCOL = _NetType(), _ProtocolType()


@click.command(cls=ReadingCommand)
@click.option(
    "--reason", "reasons", multiple=True, shell_complete=offers.REASONS,
    help="Such as drop_no_mapping; repeat it.",
)  # fmt: skip
@click.option(
    "--hook", "hooks", multiple=True, shell_complete=offers.HOOKS,
    help="Such as container; repeat it.",
)  # fmt: skip
@click.option(
    "--endpoint", type=ADDRESS, shell_complete=offers.ENDPOINTS,
    help="Of this endpoint, or to or from it: its SIR or wire address.",
)  # fmt: skip
@click.option("--src", type=_NET, help="From this address or prefix, wire or SIR.")
@click.option("--dst", type=_NET, help="To this address or prefix, wire or SIR.")
@click.option("--proto", "protocol", type=_PROTOCOL, help="tcp, udp, icmpv6 or a number.")
@click.option("--count", type=click.IntRange(1), help="Stop after so many samples.")
@click.option("--duration", type=SecondsType("1ms"), metavar="TIME", help="Stop after that.")
@click.option("--older", is_flag=True, help="Also samples that wait from before the start.")
@click.option("--details", is_flag=True, help="Several lines for each packet.")
@click.option("--marks/--no-marks", default=None, help="Default: unless packets are filtered.")
@click.option(
    "--pcap", "file", help='Write the samples to this file, too; "-": to a pipe, and no text.'
)
@click.option("--sir", is_flag=True, help="In that file wire addresses become SIR addresses.")
@pass_context
def monitor(
    context: Context,
    reasons: tuple[str, ...],
    hooks: tuple[str, ...],
    endpoint: Address | None,
    src: Net | None,
    dst: Net | None,
    protocol: int | None,
    count: int | None,
    duration: float | None,
    older: bool,
    details: bool,
    marks: bool | None,
    file: str | None,
    sir: bool,
) -> None:
    """Show dropped packets as they are dropped, until Ctrl-C.

    The datapath writes a sample of one packet for each reason, hook, CPU and tick
    of the kernel's clock, with its first 128 bytes. How many were dropped, sampled
    and lost for want of room is said at the end. Packets that limits mark or tag are
    sampled likewise, and counted by limit, once a second.

    With --json each line is one object: kind "start", "drop", "mark" (a packet),
    "marks" (of a second) and "summary".

    \b
    Example:
      ilax monitor
      ilax monitor --reason drop_no_mapping --proto tcp --count 10
      ilax monitor --endpoint 2001:db8:5a5a:1:2000::5 --pcap drops.pcap --sir
      ilax monitor --pcap - | tcpdump -n -r -
    """
    from ilax.instances.instance import Instance
    from ilax.translation import domain
    from ilax.watching.monitor import Filter, watching

    if sir and file is None:
        raise UsageError("--sir says how --pcap writes; nothing was read")
    if context.as_json and file == "-":
        raise UsageError("--json and --pcap - both want standard output; nothing was read")
    _check_names(reasons, hooks)
    with contextlib.ExitStack() as stack:
        instance = stack.enter_context(Instance.open(context.instance))
        if endpoint is not None:
            endpoint = domain.translator(instance).to_sir(endpoint) or endpoint
        wanted = Filter(frozenset(reasons), frozenset(hooks), endpoint, src, dst, protocol)
        follow_marks = wanted == Filter() if marks is None else marks
        watch = stack.enter_context(watching(instance, wanted, older=older))
        save = _saver(stack, file, watch.translator if sir else None)
        printer = _Printer(context.as_json, details, watch.translator, quiet=file == "-")
        if endpoint is not None:
            _tell_of_strangers(instance, endpoint)
        with until_told_to_end():
            printer.start(watch)
            _follow(watch, printer, save, count, duration, follow_marks, marks is not False)
        printer.summary(watch)
        if not instance.is_pinned():
            raise taken_down(instance)


def _tell_of_strangers(instance: Instance, endpoint: Address) -> None:
    """An endpoint of another host may be meant, or of later; a slip would show nothing."""
    from ilax.endpoint import endpoints

    if not endpoints.exists(instance, endpoint):
        click.echo(
            f"note: this host has no endpoint {endpoint}; drops to and from it are shown",
            err=True,
        )


def _check_names(reasons: tuple[str, ...], hooks: tuple[str, ...]) -> None:
    from ilax.watching import counters

    known_reasons = {counters.reason_name(number) for number in range(128)}
    for given, known, what in (
        (reasons, known_reasons, "reason"),
        (hooks, set(counters.hook_names().values()), "hook"),
    ):
        for name in given:
            if name not in known:
                named = ", ".join(sorted(n for n in known if not n[-1].isdigit()))
                raise UsageError(f"{name!r} is no {what}: {named}; nothing was read")


def _saver(
    stack: contextlib.ExitStack, file: str | None, translator: Translator | None
) -> Callable[[Drop], None]:
    """What writes a drop to the capture, if there is one."""
    if file is None:
        return lambda drop: None
    from ilax.frames import Link, pcap, rewrite

    stream = stack.enter_context(binary_output(file))
    writer = pcap.Writer(stream, Link.ETHERNET)
    stream.flush()
    change = rewrite.to_sir(translator) if translator else None

    def save(drop: Drop) -> None:
        writer.write(change(drop.record) if change else drop.record)
        stream.flush()

    return save


def _follow(
    watch: Watch,
    printer: _Printer,
    save: Callable[[Drop], None],
    count: int | None,
    duration: float | None,
    follow_marks: bool,
    show_marks: bool,
) -> None:
    from ilax.watching.marks import Marks

    instance = watch.instance
    marks = Marks(instance) if follow_marks else None
    now = time.monotonic()
    end = None if duration is None else now + duration
    look = now + _MARKS_S
    while end is None or now < end:
        wait = min(t for t in (look, end) if t is not None) - now
        for drop in watch.poll(max(1, min(_POLL_MS, int(wait * 1000)))):
            if not (drop.event.dropped or show_marks):
                continue
            save(drop)
            printer.drop(drop)
            if printer.shown == count:
                return
        now = time.monotonic()
        if now >= look or (end is not None and now >= end):
            look = now + _MARKS_S
            if marks is not None:
                printer.marks(marks.since_last())
            if not instance.is_pinned():
                return


class _Printer:
    """Prints what happens, one line or object each."""

    def __init__(
        self, as_json: bool, details: bool, translator: Translator, *, quiet: bool
    ) -> None:
        self.shown = 0
        self._quiet = quiet
        self._json = as_json
        self._details = details
        self._translator = translator

    def start(self, watch: Watch) -> None:
        """All that is dropped from now on is told."""
        if self._json:
            self._object("start", time=time.time(), instance=watch.instance.name)
        else:
            click.echo(f"watching instance {watch.instance.name}, Ctrl-C ends it", err=True)

    def drop(self, drop: Drop) -> None:
        """One packet that was dropped or marked."""
        from ilax.frames import as_dict, lines, one_line

        self.shown += 1
        if self._quiet:
            return
        event = drop.event
        if self._json:
            self._object(
                "drop" if event.dropped else "mark",
                time=drop.time / 1e9,
                hook=event.hook,
                reason=event.reason,
                ifindex=event.ifindex,
                device=drop.device,
                endpoint=drop.endpoint,
                packet=as_dict(drop.packet, self._translator),
                data=event.data.hex(),
            )
            return
        reason = event.reason if event.dropped else f"marked {event.reason}"
        style = click.style(f"{reason:23}", fg="red" if event.dropped else "yellow")
        head = f"{_clock(drop.time)} {style} {event.hook:14} {drop.device:10}"
        who = "-" if drop.endpoint is None else str(drop.endpoint)
        if not self._details:
            click.echo(f"{head} {who}  {one_line(drop.packet, self._translator)}")
            return
        click.echo(f"{head} endpoint {who}, {event.length} bytes")
        for line in lines(drop.packet, self._translator):
            click.echo(f"    {line}")

    def marks(self, found: list[Marked]) -> None:
        """What limits marked during the last second."""
        now = time.time_ns()
        for one in () if self._quiet else found:
            if self._json:
                self._object("marks", time=now / 1e9, **plain(one))
                continue
            counts = [
                f"{number} {what}"
                for number, what in ((one.marked, "marked"), (one.tagged, "tagged"))
                if number
            ]
            label = click.style(f"{'limit':23}", fg="yellow")
            click.echo(f"{_clock(now)} {label} {', '.join(counts)} by {one.cgroup}")

    def summary(self, watch: Watch) -> None:
        """What the samples leave out."""
        dropped = watch.tally()
        seconds = (time.monotonic_ns() - watch.started) / 1e9
        if self._json:
            self._object(
                "summary",
                seconds=round(seconds, 3),
                shown=self.shown,
                filtered=watch.unwanted,
                older=watch.older,
                dropped=dropped,
            )
            return
        packets, sampled, lost = (
            sum(getattr(one, name) for one in dropped) for name in ("packets", "sampled", "lost")
        )
        text = (
            f"{counted(self.shown, 'sample')} shown, {watch.unwanted} filtered out. Within "
            f"{seconds:.1f} s {counted(packets, 'packet')} dropped, {sampled} of them sampled "
            f"(one for each reason, hook, CPU and tick), and {counted(lost, 'sample')} lost (the "
            "ring was full)."
        )
        if watch.older:
            text += f" {counted(watch.older, 'sample')} from before the start."
        rows = [(one.hook, one.reason, one.packets, one.sampled, one.lost) for one in dropped]
        header = ("hook", "reason", "dropped", "sampled", "lost")
        click.echo("\n".join([text, *([table(header, rows)] if rows else [])]), err=True)

    @staticmethod
    def _object(kind: str, **fields: Any) -> None:
        click.echo(json.dumps(plain({"kind": kind, **fields})))


def _clock(ns: int) -> str:
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest // 1000:06}"
