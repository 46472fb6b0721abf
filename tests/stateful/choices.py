# SPDX-License-Identifier: Apache-2.0
"""What walks choose from when they run a command."""

from __future__ import annotations

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
