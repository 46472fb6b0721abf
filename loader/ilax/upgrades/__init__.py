# SPDX-License-Identifier: Apache-2.0
"""Other programs and other layouts under a live instance."""
