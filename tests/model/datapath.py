# SPDX-License-Identifier: Apache-2.0
"""Which way a frame goes at each hook, and what it looks like then."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from model import address, icmp6
from model.packet import ETH_P_IPV6, ETHERNET, ICMPV6, IPV6, TAG, TCP, UDP, Frame, Parsed, parse
from model.tables import (
    ACTION_FORWARD,
    ACTION_LOCAL,
    PREFIX_LOCATOR,
    PREFIX_SIR,
    Delivery,
    Endpoint,
    Police,
    Tables,
)

HANDOVER_MAGIC = 0x696C6178
HANDOVER_BYTES = 8
TAGGED_MAGIC = 0x696C6174
TAGGED_BYTES = 16

# What the stack might still make sense of, though nobody has checked it.
UNCHECKED = ("PASS_MALFORMED", "PASS_NOT_LINEAR", "PASS_MANY_TAGS")


class Hook(enum.IntEnum):
    """Numbers are those of enum ilax_hook."""

    XDP = 0
    UPLINK_IN = 1
    UPLINK_OUT = 2
    CONTAINER = 3


@dataclass(frozen=True)
class Outcome:
    """What becomes of a frame.

    Attributes:
        reason: name of enum ilax_reason without its prefix ILAX_.
        data: the frame afterwards; of no interest after a drop.
        length: bytes that the counter of the reason rises by.
        handover: metadata that XDP put in front, or nothing.
        tag: skb->mark and skb->priority.
        received_by: slot of the endpoint that received it, 0 = none.
        sent_by: slot of the port that sent it, 0 = none.
        noted: a limit marked or tagged it, so it is sampled like a drop.
    """

    reason: str
    data: bytes
    length: int
    handover: bytes = b""
    received_by: int = 0
    sent_by: int = 0
    tag: tuple[int, int] = (0, 0)
    noted: bool = False

    @property
    def verdict(self) -> str:
        """`pass`, `send` or `drop`."""
        return self.reason.partition("_")[0].lower()

    @property
    def traffic(self) -> dict[int, set[str]]:
        """Fields of struct ilax_traffic that rise, by slot.

        "rx" is what the task receives, so a packet that the host's stack
        answers is none of it. What XDP hands over to tc counts at XDP.
        """
        if self.verdict == "drop":
            slot, field = self.received_by, "rx_drops"
            if self.sent_by:
                slot, field = self.sent_by, "tx_drops"
            return {slot: {field}} if slot else {}
        fields: dict[int, set[str]] = {}
        if self.sent_by:
            fields.setdefault(self.sent_by, set()).update(("tx_packets", "tx_bytes"))
        if self.received_by and (self.verdict == "send" or self.reason == "PASS_HOST"):
            fields.setdefault(self.received_by, set()).update(("rx_packets", "rx_bytes"))
        return fields


def process(hook: Hook, tables: Tables, frame: Frame) -> Outcome:
    """Decide on one frame."""
    parsed = parse(frame, can_pull=hook is not Hook.XDP)
    if isinstance(parsed, str):
        # Nobody checks a task's broken packets behind us, so they end here; nor what
        # the stack finds behind more tags than tc looks at.
        if (hook is Hook.CONTAINER and parsed in UNCHECKED) or (
            hook is Hook.UPLINK_IN and parsed == "PASS_MANY_TAGS" and frame.for_us
        ):
            parsed = "DROP_MALFORMED"
        return Outcome(parsed, frame.data, len(frame.data))
    run = _Run(hook, tables, frame, parsed)
    if hook is Hook.CONTAINER:
        return run.from_task()
    if hook is Hook.UPLINK_OUT:
        return run.leave_uplink()
    return run.from_underlay()


class _Run:
    def __init__(self, hook: Hook, tables: Tables, frame: Frame, parsed: Parsed) -> None:
        self.hook = hook
        self.tables = tables
        self.frame = frame
        self.parsed = parsed
        self.sent_by = 0

    def end(self, reason: str, data: bytes | None = None, *, slot: int = 0) -> Outcome:
        if data is None:
            data = self.frame.data
        length = self.parsed.length - (len(self.frame.data) - len(data))
        return Outcome(reason, data, length, received_by=slot, sent_by=self.sent_by)

    # --- from the underlay ---

    def from_underlay(self) -> Outcome:
        dst = self.parsed.dst
        endpoint = self.tables.endpoints.get(dst)
        if endpoint is None:
            return self.not_here()
        data = self.translated()
        if data is None:
            return self.end("DROP_ICMP_INNER", slot=endpoint.slot)
        return self.deliver(dst, endpoint, data)

    def not_here(self) -> Outcome:
        dst = self.parsed.dst
        row = self.tables.classify(dst)
        if row is None and address.is_link_scope(dst):
            return self.end("PASS_LINK_SCOPE")
        if row is not None and row.kind == PREFIX_LOCATOR and not row.is_host_address(dst):
            return self.end("DROP_UNKNOWN_IDENTIFIER")
        mapping = self.tables.mappings.get(dst)
        if (
            row is not None
            and row.kind == PREFIX_SIR
            and mapping
            and mapping.action == ACTION_LOCAL
        ):
            # For a task of this host, by an address that the underlay should
            # not know: its limit counts all the same.
            endpoint = self.tables.endpoints.get(mapping.wire)
            if endpoint is None or endpoint.sir != dst:
                return self.end("PASS_NOT_OURS")
            data = self.translated()
            if data is None:
                return self.end("DROP_ICMP_INNER", slot=endpoint.slot)
            return self.deliver(mapping.wire, endpoint, data)
        # For the host itself, or for somebody beyond, such as a router's error that
        # came by its default route. The stack goes on; a quote is put right where it
        # enters the fabric, if that is known here.
        return self.end("PASS_NOT_OURS", self.translated() or self.frame.data)

    def translated(self) -> bytes | None:
        """The frame with an ICMPv6 error's quote put right; None = to be dropped."""
        if self.parsed.next_header in (TCP, UDP):
            return self.frame.data
        return icmp6.translate(self.frame.data, self.parsed.l3, self.tables)

    # --- from a container ---

    def from_task(self) -> Outcome:
        port = self.tables.ports.get(self.frame.ifindex)
        if port is None:
            return self.end("DROP_UNKNOWN_PORT")
        self.sent_by = port.slot
        src, dst = self.parsed.src, self.parsed.dst
        for_discovery = address.stays_on_link(dst) and (
            address.is_link_local(src) or address.is_unspecified(src)
        )
        if src != port.sir and not for_discovery and not port.any_source:
            return self.end("DROP_SPOOFED_SOURCE")
        row = self.tables.classify(dst)
        if row is None:
            scope = address.is_link_scope(dst)
            return self.end("PASS_LINK_SCOPE" if scope else "PASS_NOT_OURS")
        if row.kind != PREFIX_SIR:
            return self.end("DROP_LOCATOR_REFUSED")
        return self.send(routed=False)

    # --- out of the uplink ---

    def leave_uplink(self) -> Outcome:
        row = self.tables.classify(self.parsed.dst)
        if row is not None and row.kind == PREFIX_SIR:
            return self.send(routed=True)
        if self.misleads():
            return self.end("DROP_REDIRECT")
        return self.end("PASS_NOT_OURS" if row is None else "PASS_WIRE")

    def misleads(self) -> bool:
        """A router's advice (RFC 4861, 4.5) to go by the next hop that is nobody."""
        message = self.frame.data[self.parsed.l3 + IPV6 :]
        return (
            self.parsed.next_header == ICMPV6
            and address.is_link_local(self.parsed.src)
            and message[:1] == bytes([icmp6.REDIRECT])
            and message[8:24] == icmp6.SIR_GATEWAY
        )

    # --- common parts ---

    def send(self, *, routed: bool) -> Outcome:
        """Towards a SIR address; `routed` says that the stack was a router already."""
        mapping = self.tables.mappings.get(self.parsed.dst)
        if mapping is None:
            return self.end("DROP_NO_MAPPING")
        if mapping.action == ACTION_FORWARD:
            return self.forward(mapping.wire, routed=routed)
        if mapping.action != ACTION_LOCAL:
            return self.end("DROP_BAD_ACTION")
        if routed:
            return self.end("DROP_NO_LOCAL_ROUTE")
        endpoint = self.tables.endpoints.get(mapping.wire)
        if endpoint is None:
            return self.end("DROP_UNKNOWN_IDENTIFIER")
        outcome = self.deliver(mapping.wire, endpoint, self.frame.data)
        if outcome.reason == "SEND_PEER":
            outcome = replace(outcome, reason="SEND_LOCAL")
        return outcome

    def forward(self, wire: bytes, *, routed: bool) -> Outcome:
        data = self.frame.data
        if routed:
            return self.end("SEND_FORWARD", self.rewrite(data, wire, hop=False))
        if self.parsed.hop_limit <= 1:
            return self.end("PASS_HOP_LIMIT")
        if not self.fits(self.tables.config.uplink_mtu):
            return self.end("PASS_TOO_BIG")
        return self.end("SEND_FORWARD", self.untag(self.rewrite(data, wire, hop=True)))

    def deliver(self, wire: bytes, endpoint: Endpoint, data: bytes) -> Outcome:
        """To a task of this host, if its row is still the one of `wire` afterwards."""
        outcome = self.deliver_by_row(endpoint, data)
        if endpoint.wire is not None and endpoint.wire != wire:
            return replace(outcome, reason="DROP_ROW_CHANGED")
        return outcome

    def deliver_by_row(self, endpoint: Endpoint, data: bytes) -> Outcome:
        """The host's stack acts where we do not."""
        for_stack = ""
        if endpoint.delivery == Delivery.HOST:
            for_stack = "PASS_HOST"
        elif self.parsed.hop_limit <= 1:
            for_stack = "PASS_HOP_LIMIT"
        elif not self.fits(endpoint.mtu):
            for_stack = "PASS_TOO_BIG"

        slot = endpoint.slot
        handover = b""
        if self.hook is Hook.XDP and (for_stack or endpoint.delivery == Delivery.STACK):
            if self.frame.metadata_room < HANDOVER_BYTES:
                return self.end("PASS_NO_METADATA", data, slot=slot)
            handover = _words(HANDOVER_MAGIC, 0 if for_stack else endpoint.ifindex)

        tag = (0, 0)
        chain = self.tables.chain(endpoint.limit)
        if any(limit.says is Police.DROP for limit in chain):
            return self.end("DROP_LIMIT", data, slot=slot)
        unmarked = data
        if any(limit.says is Police.MARK for limit in chain):
            data = self.congestion_experienced(data)
        tags = [(limit.mark, limit.prio) for limit in chain if limit.says is Police.TAG]
        if tags and self.hook is not Hook.XDP:
            tag = tags[0]
        elif tags and handover and self.frame.metadata_room >= TAGGED_BYTES:
            handover = _words(TAGGED_MAGIC) + handover[4:] + _words(*tags[0])

        outcome = self.arrange(endpoint, data, for_stack)
        noted = bool(tags) or data != unmarked
        return replace(outcome, handover=handover, tag=tag, noted=noted)

    def arrange(self, endpoint: Endpoint, data: bytes, for_stack: str) -> Outcome:
        """The frame as it goes on, by whom."""
        slot = endpoint.slot
        if for_stack:
            rewritten = self.rewrite(data, endpoint.sir, hop=False)
            return self.end(for_stack, rewritten, slot=slot)
        data = self.untag(self.rewrite(data, endpoint.sir, hop=True))
        if self.hook is not Hook.XDP:
            return self.end("SEND_PEER", data, slot=slot)
        if endpoint.delivery == Delivery.STACK:
            return self.end("SEND_META", data, slot=slot)
        data = endpoint.mac + endpoint.host_mac + data[12:]
        known = endpoint.ifindex in self.tables.devices
        return self.end("SEND_XDP" if known else "DROP_NO_DEVICE", data, slot=slot)

    def congestion_experienced(self, data: bytes) -> bytes:
        """RFC 3168: both bits, if the sender has set one of them."""
        at = self.parsed.l3 + 1
        capable = data[at] & 0x30
        return data[:at] + bytes([data[at] | 0x30]) + data[at + 1 :] if capable else data

    def fits(self, mtu: int) -> bool:
        """Whether the IPv6 packet, or each segment of it, fits; 0 = not checked."""
        if not mtu or self.parsed.length - self.parsed.l3 <= mtu:
            return True
        return bool(self.frame.fits_in_segments)

    def rewrite(self, data: bytes, dst: bytes, *, hop: bool) -> bytes:
        l3 = self.parsed.l3
        hop_limit = self.parsed.hop_limit - hop
        return data[: l3 + 7] + bytes([hop_limit]) + data[l3 + 8 : l3 + 24] + dst + data[l3 + 40 :]

    def untag(self, data: bytes) -> bytes:
        if not self.parsed.tags:
            return data
        return data[:12] + ETH_P_IPV6.to_bytes(2, "big") + data[ETHERNET + TAG * self.parsed.tags :]


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)
