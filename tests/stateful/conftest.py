# SPDX-License-Identifier: Apache-2.0
"""The walks use the loader's namespace and instance."""

from __future__ import annotations

from loader.conftest import _session, lab

__all__ = ["_session", "lab"]
