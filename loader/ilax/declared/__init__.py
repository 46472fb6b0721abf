# SPDX-License-Identifier: Apache-2.0
"""One file says what a host should be; the maps are made to say the same.

    document.py        what a file says, as plain data
    reader.py          TOML to a document; all that is wrong with it, with lines
    cross_checks.py    what no key can tell by itself
    placement.py       mappings of a document, inline and from other files
    positions.py       the line of each key
    live.py            what the maps and the kernel say
    difference.py      what has to change, as plain data
    execution.py       changing it
    export.py          the live state as such a file
"""
