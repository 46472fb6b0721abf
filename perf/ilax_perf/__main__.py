# SPDX-License-Identifier: Apache-2.0
"""`make bench`, as root: measure, write JSON, print a table."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
# The network labs are shared with the tests.
sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT / "loader")]

from ilax_perf.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
