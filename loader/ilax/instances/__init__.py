# SPDX-License-Identifier: Apache-2.0
"""An instance: its maps and pins, and bringing it up and down."""
