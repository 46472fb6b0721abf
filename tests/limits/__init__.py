# SPDX-License-Identifier: Apache-2.0
"""Limits under a clock of our own: exact rates, bursts, levels, CPUs."""
