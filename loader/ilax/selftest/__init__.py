# SPDX-License-Identifier: Apache-2.0
"""The self test of the programs: a small table of packets over maps of its own.

`table.json` is made from the packet table of the tests by `tools/selftest_table.py`;
a test compares the two. All devices of its world are the loopback interface, which
every network namespace has, so nothing but the capabilities to load programs is needed.
"""

from ilax.selftest.runner import run
from ilax.selftest.table import Row, Table, read

__all__ = ["Row", "Table", "read", "run"]
