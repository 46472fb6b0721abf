# SPDX-License-Identifier: Apache-2.0
"""These tests are run by `make test-kernels`, on the running kernel as well."""

from __future__ import annotations

import os

collect_ignore_glob = [] if "ILAX_KERNEL_JOB" in os.environ else ["test_*.py"]
