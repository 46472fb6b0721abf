# SPDX-License-Identifier: Apache-2.0
"""`make soak`: run it for some minutes and print what happened."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from lab.cleanup import PREFIX, unwinding_signals
from lab.ilax import quick_commands
from soak.run import Load, soak


def main() -> int:
    """Exit code 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=int, default=Load.rate, help="packets in a second")
    parser.add_argument("--output", type=Path, help="file for the report")
    chosen = parser.parse_args()
    load = Load(seconds=chosen.minutes * 60, rate=chosen.rate)
    with unwinding_signals(), quick_commands(), tempfile.TemporaryDirectory() as folder:
        report = soak(f"{PREFIX}{os.getpid():x}soak", load, Path(folder), print)
    text = json.dumps(asdict(report), indent=2)
    print(text)
    if chosen.output:
        chosen.output.write_text(text + "\n")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
