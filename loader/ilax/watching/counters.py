# SPDX-License-Identifier: Apache-2.0
"""Counters by hook and reason, and traffic by endpoint. Read, never written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilax.contract import schema

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ilax.instances.instance import Instance


@dataclass(frozen=True, slots=True)
class Counter:
    """One hook's count of one reason, over all CPUs.

    Attributes:
        verdict: "pass", "send" or "drop".
        bytes: of frames.
        sampled: drops that were written to the ring of events.
        lost: drops that found the ring full.
    """

    hook: str
    reason: str
    verdict: str
    packets: int
    bytes: int
    sampled: int
    lost: int


def reason_names() -> dict[int, str]:
    """Metric label of each reason: `ILAX_DROP_NO_MAPPING` is `drop_no_mapping`."""
    return {
        value: name.removeprefix("ILAX_").lower()
        for name, value in schema.enum("ilax_reason").items()
        if name != "ILAX_REASON_COUNT"
    }


def reason_name(reason: int) -> str:
    """Name of any reason, also of a third party's or a newer minor's."""
    names = reason_names()
    user = schema.enum("ilax_reason")["ILAX_DROP_USER"]
    if reason > user:
        return f"{names[user]}_{reason - user}"
    return names.get(reason) or f"reason_{reason}"


def hook_names() -> dict[int, str]:
    """Name of each hook, such as `xdp_ingress`."""
    return {
        value: name.removeprefix("ILAX_HOOK_").lower()
        for name, value in schema.enum("ilax_hook").items()
        if name != "ILAX_HOOK_COUNT"
    }


def verdict_of(reason: int) -> str:
    """The verdict that a reason stands for, by its block."""
    blocks = schema.enum("ilax_reason_block")
    if reason >= blocks["ILAX_DROP_FIRST"]:
        return "drop"
    return "send" if reason >= blocks["ILAX_SEND_FIRST"] else "pass"


def totals(instance: Instance) -> NDArray[np.uint64]:
    """Packets by hook and reason, summed over CPUs, shape (hooks, reasons)."""
    packets = instance.counters.per_cpu()["packets"].sum(axis=1)
    table: NDArray[np.uint64] = packets.reshape(
        schema.enum("ilax_hook")["ILAX_HOOK_COUNT"], schema.enum("ilax_reason")["ILAX_REASON_COUNT"]
    )
    return table


def read(instance: Instance, *, zeros: bool = False) -> list[Counter]:
    """All counters, by hook and reason.

    Args:
        zeros: also those that never counted.
    """
    rows = instance.counters.per_cpu()
    sums = {name: rows[name].sum(axis=1) for name in ("packets", "bytes", "sampled", "lost")}
    reasons, per_hook = reason_names(), schema.enum("ilax_reason")["ILAX_REASON_COUNT"]
    found = []
    for hook, hook_name in hook_names().items():
        for reason in range(per_hook):
            index = hook * per_hook + reason
            if not sums["packets"][index] and not (zeros and reason in reasons):
                continue
            found.append(
                Counter(
                    hook_name,
                    reason_name(reason),
                    verdict_of(reason),
                    *(int(sums[key][index]) for key in ("packets", "bytes", "sampled", "lost")),
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one endpoint received and sent: packets, bytes of frames, drops."""

    rx_packets: int
    rx_bytes: int
    rx_drops: int
    tx_packets: int
    tx_bytes: int
    tx_drops: int


def traffic(instance: Instance, slot: int) -> Traffic:
    """Traffic of one slot of `ilax_traffic`, over all CPUs."""
    import numpy as np

    from ilax.bpf import possible_cpus
    from ilax.contract.tables import index_key

    raw = instance.traffic.map.lookup(index_key(slot))
    dtype = instance.traffic.value_dtype
    assert raw is not None
    rows = np.frombuffer(raw, dtype, possible_cpus())
    return Traffic(*(int(rows[name].sum()) for name in dtype.names or ()))
