# SPDX-License-Identifier: Apache-2.0
"""Write loader/ilax/selftest/table.json anew from the packet table of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "loader" / "ilax" / "selftest" / "table.json"


def main() -> int:
    """Run as a program."""
    sys.path.insert(0, str(ROOT / "tests"))
    from datapath import selftest_rows

    TABLE.write_text(selftest_rows.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
