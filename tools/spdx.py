# SPDX-License-Identifier: Apache-2.0
"""Check that every file of the project names its licence, and the right one.

A file that cannot carry a comment has its line in a file beside it, named like
it with ".license" behind (the convention of the REUSE specification).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TAG = "SPDX-License-Identifier:"
LINES_READ = 5
C_SUFFIXES = {".c", ".h", ".cpp"}
C_LICENCE = "GPL-2.0-only OR BSD-2-Clause"
LICENCE = "Apache-2.0"
COMMENT_END = re.compile(r"(\*/|-->)\s*$")
# The texts themselves, and the file that explains both.
EXEMPT = ("LICENSE", "LICENSES/")


def project_files() -> list[Path]:
    """Files of the work tree, committed or not yet, relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in sorted(set(names.split("\0"))) if (ROOT / name).is_file()]


def licence_of(path: Path) -> str | None:
    """Return what the file, or the one beside it, says; None where both are silent."""
    for candidate in (path, path.with_name(path.name + ".license")):
        if not candidate.is_file():
            continue
        with candidate.open(encoding="utf-8", errors="replace") as lines:
            for line, _ in zip(lines, range(LINES_READ), strict=False):
                if TAG in line:
                    return COMMENT_END.sub("", line.partition(TAG)[2]).strip()
    return None


def problems(files: list[Path]) -> list[str]:
    """One line for each file without the licence that its kind has."""
    found = []
    for path in files:
        if str(path).startswith(EXEMPT):
            continue
        expected = C_LICENCE if path.suffix in C_SUFFIXES else LICENCE
        actual = licence_of(ROOT / path)
        if actual != expected:
            found.append(f"{path}: says {actual or 'nothing'}, should say '{TAG} {expected}'")
    return found


def main() -> int:
    """Run as a program; exit code 1 when a file has no licence or another one."""
    found = problems(project_files())
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
