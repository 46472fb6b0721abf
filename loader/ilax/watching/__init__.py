# SPDX-License-Identifier: Apache-2.0
"""Counters, rates and samples: read, never written."""
