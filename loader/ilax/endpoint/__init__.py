# SPDX-License-Identifier: Apache-2.0
"""Tasks that this host delivers to, and how they are connected."""
