# SPDX-License-Identifier: Apache-2.0
"""The shipped programs against a table of packets, and against the model."""
