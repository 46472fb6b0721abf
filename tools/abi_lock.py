# SPDX-License-Identifier: Apache-2.0
"""Write or check maps_schema/abi.lock, the canonical text of the contract's layouts.

The file holds the text and nothing else, so that its SHA-256 is the layout hash
that `ilax_abi` carries: `sha256sum maps_schema/abi.lock` tells it.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from ilax.contract import schema

LOCK = Path(__file__).resolve().parent.parent / "maps_schema" / "abi.lock"


def difference(committed: str, current: str) -> str:
    """Return a unified diff from the committed text to the current one, empty if equal."""
    lines = difflib.unified_diff(
        committed.splitlines(keepends=True),
        current.splitlines(keepends=True),
        fromfile="maps_schema/abi.lock",
        tofile="the headers, compiled",
    )
    return "".join(lines)


def main() -> int:
    """Run as a program; with --check the exit code is 1 when the file is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    args = parser.parse_args()
    current = schema.canonical_text()
    committed = LOCK.read_text() if LOCK.exists() else ""
    if not args.check:
        LOCK.write_text(current)
        return 0
    diff = difference(committed, current)
    if diff:
        print(
            f"{diff}\nThe layout differs from abi.lock. Appended only: raise ILAX_ABI_MINOR; "
            "anything else: ILAX_ABI_MAJOR. Then run `make abi`.",
            file=sys.stderr,
        )
    return 1 if diff else 0


if __name__ == "__main__":
    sys.exit(main())
