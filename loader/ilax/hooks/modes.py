# SPDX-License-Identifier: Apache-2.0
"""How programs are attached: what can be asked for, and what is in force."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from ilax.hooks.places import UPLINK_INGRESS

if TYPE_CHECKING:
    from pathlib import Path


class XdpMode(enum.StrEnum):
    """How XDP is attached to the uplink.

    Generic XDP is not offered: it runs on finished skbs, where tc does the same
    job for less.
    """

    AUTO = "auto"  # native where it pays, or not at all
    NATIVE = "native"
    OFF = "off"
    CHAIN = "chain"  # in force only: behind the foreign program that holds the hook


class TcMode(enum.StrEnum):
    """How tc programs are attached."""

    AUTO = "auto"  # tcx, or clsact on kernels before 6.6
    TCX = "tcx"
    CLSACT = "clsact"


def tc_in_force(links: Path) -> TcMode:
    """TCX or CLSACT: how an instance is attached to its uplink, and so everywhere.

    Args:
        links: its folder of pinned links.
    """
    return TcMode.TCX if (links / UPLINK_INGRESS.link).exists() else TcMode.CLSACT
