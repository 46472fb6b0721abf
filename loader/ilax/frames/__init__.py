# SPDX-License-Identifier: Apache-2.0
"""Frames of captures and events: decoding, text, addresses, files.

Written here and not taken from a library because what ilax needs is what those
at hand leave out. dpkt 1.9 loses the length that a cut frame had, turns times into
floating point, and leaves bytes where a header is not whole; python-pcapng 2.1
reads pcapng only, at less than a tenth of the speed; Scapy takes half a second to
start. Files are in `ilax.frames.pcap`. Nothing beyond the standard library is needed.
"""

from ilax.frames.headers import Link, guess_link
from ilax.frames.packet import Packet, decode
from ilax.frames.record import Record
from ilax.frames.text import as_dict, lines, one_line, protocol_name
from ilax.frames.translator import Meaning, Translator

__all__ = [
    "Link",
    "Meaning",
    "Packet",
    "Record",
    "Translator",
    "as_dict",
    "decode",
    "guess_link",
    "lines",
    "one_line",
    "protocol_name",
]
