# SPDX-License-Identifier: Apache-2.0
"""What the maps hold, as Python sees it: layouts, typed tables, reasons."""
