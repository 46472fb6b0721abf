# SPDX-License-Identifier: Apache-2.0
"""What walks choose from when they run a command."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from model.control import Setup
from model.limit import Action, Rules
from stateful.shots import BLOCKS, OTHER_OWN, OWN, SIR_PREFIXES, TASKS

ROOM = (5, 7)  # rows for endpoints and for mappings: not for all
PATHS = ("a", "a/b")

# A frame of an MTU takes nearly all of a burst, so that time hardly matters.
SLOW, BURST = 3000, 4_200_000_000
RULES = {
    "open": (10**10, Rules(0, burst=BURST, drop=BURST)),
    "tight": (SLOW, Rules(0, burst=BURST)),
    "marking": (SLOW, Rules(0, burst=BURST, drop=BURST, action=Action.MARK)),
    "counting": (SLOW, Rules(0, burst=BURST, action=Action.COUNT)),
}


@dataclass(frozen=True)
class Kill:
    """How a command is killed, and what follows.

    Attributes:
        permille: before which of its steps, in thousandths; None: not at all, to learn how
            many there are.
        spare: rows for endpoints and for mappings that are free; None: as many as there are.
        fix: `check --fix` is to mend it; else the command is run again.
    """

    permille: int | None
    spare: int | None = None
    fix: bool = False


kills = st.builds(
    Kill,
    permille=st.sampled_from(range(0, 1000, 25)),
    spare=st.sampled_from((None, None, 0, 1)),
    fix=st.booleans(),
)
setups = st.builds(
    Setup,
    sir_prefixes=st.sampled_from((SIR_PREFIXES, SIR_PREFIXES[::-1], SIR_PREFIXES[:1])),
    locators=st.sampled_from(((OWN,), (OWN, OTHER_OWN), (OTHER_OWN, OWN), (OTHER_OWN,))),
    blocks=st.sampled_from((BLOCKS[:1], BLOCKS, ())),
    c_bit=st.sampled_from((True, True, True, False)),
    uplink_mtu=st.sampled_from((1500, 1400)),
)
tasks = st.integers(0, TASKS - 1)
paths = st.sampled_from(PATHS)
