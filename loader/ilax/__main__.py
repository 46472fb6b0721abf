# SPDX-License-Identifier: Apache-2.0
"""`python -m ilax` is the same as `ilax`."""

from ilax.cli import main

if __name__ == "__main__":
    main()
