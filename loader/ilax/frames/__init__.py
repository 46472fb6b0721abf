# SPDX-License-Identifier: Apache-2.0
"""Frames of captures and events: decoding, text, addresses, files.

Written here and not taken from a library because what ilax needs is what those
at hand leave out: dpkt (1.9) loses the length that a cut frame had and turns
times into floating point, and stops at the first header that is not whole;
Scapy takes a second to start. Nothing here needs more than the standard library.
"""

from ilax.frames.headers import Link, guess_link
from ilax.frames.packet import Packet, decode
from ilax.frames.text import as_dict, lines, one_line, protocol_name
from ilax.frames.translator import Meaning, Translator

__all__ = [
    "Link",
    "Meaning",
    "Packet",
    "Translator",
    "as_dict",
    "decode",
    "guess_link",
    "lines",
    "one_line",
    "protocol_name",
]
