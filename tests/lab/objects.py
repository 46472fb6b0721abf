# SPDX-License-Identifier: Apache-2.0
"""Object sets that differ from the shipped one in a line."""

from __future__ import annotations

from pathlib import Path

import build_objects

_ROOT = Path(__file__).resolve().parents[2]

# Lines behind the stage that decides about a packet, of a container or of the uplink.
# The self test has no UDP packet as long as those that these are about.
DROPS = "if (pkt.nexthdr == IPPROTO_UDP && pkt.len > 250) reason = ILAX_DROP_USER;"
SWALLOWS = "if (pkt.nexthdr == IPPROTO_UDP && pkt.len > 250) return HOOK_DROP;"
DOES_NOTHING = "reason = ILAX_PASS_NOT_OURS;"
# Behind a line that decides, so it changes nothing but the code.
DOES_NOTHING_MORE = "if (pkt.len == 0) reason = ILAX_DROP_USER;"


def build_container(folder: Path, line: str) -> Path:
    """A set whose container program has one more line; all else is the shipped one's.

    Returns:
        The folder, for `--objects`.
    """
    source = _ROOT / "tc/container.bpf.c"
    return _build(folder, [source], source, "reason = ilax_container(ctx, &pkt, &action);", line)


def build_xdp(
    folder: Path, line: str, objects: tuple[str, ...] = ("ingress", "ingress_linear")
) -> Path:
    """The same with the uplink's XDP program.

    Args:
        objects: "ingress", "ingress_linear" or both.
    """
    sources = [_ROOT / f"xdp/{name}.bpf.c" for name in objects]
    stage = "reason = ilax_ingress(ctx, &pkt, &action);"
    return _build(folder, sources, _ROOT / "xdp/uplink_xdp.h", stage, line)


def _build(folder: Path, sources: list[Path], staged: Path, stage: str, line: str) -> Path:
    text = staged.read_text()
    assert text.count(stage) == 1
    folder.mkdir(exist_ok=True)
    for source in sources:
        (folder / source.name).write_text(source.read_text())
    (folder / staged.name).write_text(text.replace(stage, f"{{ {stage} {line} }}"))
    build_objects.build([folder / source.name for source in sources], folder)
    return folder
