# SPDX-License-Identifier: Apache-2.0
"""What a check found, as a small file for the exporter, which may not check by itself."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from ilax.check.model import CHECKS, KINDS
from ilax.errors import SystemCallError
from ilax.files import replacing
from ilax.moments import Moment

if TYPE_CHECKING:
    from pathlib import Path

    from ilax.check import Finding, Report

# Of a check that was not made, or not to its end.
_FAILED = "check.failed"


def write(
    path: Path, report: Report, findings: list[Finding], seconds: float, ignored: tuple[str, ...]
) -> None:
    """Write the file in one step: it is read at any time.

    Args:
        findings: those of the report that are not ignored.
        seconds: that the check took.
        ignored: kinds that were left out; the file does not speak of them.

    Raises:
        SystemCallError: it cannot be written; an earlier file is left as it was.
    """
    counts = Counter(found.id for found in findings)
    failed = len({found.object for found in report.findings if found.id == _FAILED})
    text = json.dumps(
        {
            "instance": report.instance,
            **asdict(Moment.now()),
            "seconds": seconds,
            "checks": {
                "made": report.checks - failed,
                "failed": failed,
                "left_out": len(CHECKS) - report.checks,
            },
            "findings": [
                {"id": name, "severity": kind.severity, "count": counts[name]}
                for name, kind in sorted(KINDS.items())
                if name not in ignored
            ],
        }
    )
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
        # Readable by its owner only: it stands beside pins, which are so as well.
        with replacing(path, 0o600) as file:
            file.write(text + "\n")
    except OSError as error:
        raise SystemCallError(f"write report {path}", error.errno or 0) from error
