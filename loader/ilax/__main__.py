# SPDX-License-Identifier: Apache-2.0
"""`python -m ilax` is the same as `ilax`."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point. Nothing is imported before Ctrl-C has an answer."""
    try:
        from ilax import cli

        cli.main()
    except KeyboardInterrupt:
        # As click says it, once it is there.
        sys.exit("Aborted!")


if __name__ == "__main__":
    main()
