# SPDX-License-Identifier: Apache-2.0
"""Where fields of the running kernel's structs lie, and what can be attached to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ilax.bpf import btf
from ilax.errors import IlaxError

if TYPE_CHECKING:
    from collections.abc import Iterator

_VMLINUX = Path("/sys/kernel/btf/vmlinux")
_SYMBOLS = Path("/proc/kallsyms")

# Struct and member, of an inner struct after a dot. Macros of probes.c are named
# likewise: OFF_sk_buff_dev.
_FIELDS = (
    ("sk_buff", "dev"),
    ("sk_buff", "head"),
    ("sk_buff", "protocol"),
    ("sk_buff", "network_header"),
    ("net_device", "ifindex"),
    ("net_device", "nd_net"),
    ("net", "ns.inum"),
    ("xdp_buff", "data_hard_start"),
    ("bpf_prog", "aux"),
    ("bpf_prog_aux", "id"),
    ("bpf_prog_aux", "name"),
)
_TRACEPOINT = "btf_trace_"
_REASON = "SKB_DROP_REASON_"


@dataclass(frozen=True, slots=True)
class Kernel:
    """What probes have to know about the running kernel.

    Attributes:
        offsets: bytes from the begin of a struct, by name of the macro in probes.c.
        tracepoints, functions: names; functions of modules are not among them.
        reasons: of `kfree_skb`, by number, without their prefix.
    """

    offsets: dict[str, int]
    tracepoints: frozenset[str]
    functions: frozenset[str]
    reasons: dict[int, str]

    @classmethod
    def read(cls, path: Path = _VMLINUX) -> Kernel:
        """Of the running kernel.

        Raises:
            IlaxError: it has no types, or other structs than probes know.
        """
        try:
            types = btf.Btf(path.read_bytes())
        except FileNotFoundError:
            raise IlaxError(
                f"cannot trace: this kernel was built without BTF ({path} is missing)",
                hint="use a kernel with CONFIG_DEBUG_INFO_BTF, as distributions build it",
            ) from None
        reasons = types.by_name.get("skb_drop_reason")
        return cls(
            offsets={
                f"OFF_{struct}_{field.replace('.', '_')}": offset(types, struct, field)
                for struct, field in _FIELDS
            },
            tracepoints=frozenset(
                t.name.removeprefix(_TRACEPOINT)
                for t in types.types
                if t.kind == btf.TYPEDEF and t.name.startswith(_TRACEPOINT)
            ),
            functions=frozenset(t.name for t in types.types if t.kind == btf.FUNC),
            reasons={
                number: name.removeprefix(_REASON)
                for name, number in (reasons.values if reasons else ())
            },
        )


def has_kprobes() -> bool:
    """Whether the running kernel was built with them; the names need no capability."""
    return " register_kprobe\n" in _SYMBOLS.read_text()


def offset(types: btf.Btf, struct: str, field: str) -> int:
    """Bytes from the begin of a struct to a member, also of inner structs without a name.

    Args:
        field: such as `dev`, or `ns.inum` for a member of a member.

    Raises:
        IlaxError: this kernel has no such member.
    """
    at, found = 0, types.by_name.get(struct)
    for name in field.split("."):
        place = next(_places(types, found, name), None) if found else None
        if place is None:
            raise IlaxError(
                f"cannot trace: this kernel's struct {struct} has no member {field}",
                hint="report it, with the version of the kernel",
            )
        at, found = at + place[0], types.resolve(place[1])[0]
    return at


def _places(types: btf.Btf, struct: btf.Type, name: str) -> Iterator[tuple[int, int]]:
    """Where a member lies in bytes, and the number of its type."""
    for member in struct.members:
        if member.name == name:
            yield member.bit_offset // 8, member.type_id
        elif not member.name:
            inner, _ = types.resolve(member.type_id)
            for at, type_id in _places(types, inner, name):
                yield member.bit_offset // 8 + at, type_id
