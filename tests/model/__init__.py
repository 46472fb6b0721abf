# SPDX-License-Identifier: Apache-2.0
"""What the datapath should do, in plain Python: the oracle of its tests.

Written from draft-herbert-intarea-ila and the comments of maps_schema/ilax_abi.h.
It imports nothing of ilax and shares no code with it. It works on bytes, and
clarity goes before speed.
"""

from model.datapath import Hook, Outcome, process
from model.packet import Frame
from model.tables import Config, Delivery, Endpoint, Mapping, Port, Prefix, Tables

__all__ = [
    "Config",
    "Delivery",
    "Endpoint",
    "Frame",
    "Hook",
    "Mapping",
    "Outcome",
    "Port",
    "Prefix",
    "Tables",
    "process",
]
