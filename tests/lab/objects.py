# SPDX-License-Identifier: Apache-2.0
"""Object sets that differ from the shipped one in a line."""

from __future__ import annotations

from pathlib import Path

import build_objects

_ROOT = Path(__file__).resolve().parents[2]
_STAGE = "reason = ilax_container(ctx, &pkt, &action);"

# Lines behind the stage that decides about a container's packet. The self test has no
# UDP packet as long as those that these are about.
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
    text = (_ROOT / "tc" / "container.bpf.c").read_text()
    assert text.count(_STAGE) == 1
    folder.mkdir()
    source = folder / "container.bpf.c"
    source.write_text(text.replace(_STAGE, f"{{ {_STAGE} {line} }}"))
    build_objects.build([source], folder)
    return folder
