# SPDX-License-Identifier: Apache-2.0
"""Three hosts, one router, six tasks: `make demo`, as root.

Writes build/demo.json, a list of {name, ok, value}. Exit code 0 if everything
held, 1 if not.
"""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
# The network labs are shared with the tests.
sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT / "loader")]

from ilax_demo.story import tell  # noqa: E402

if __name__ == "__main__":
    sys.exit(tell(_ROOT / "build" / "demo.json"))
