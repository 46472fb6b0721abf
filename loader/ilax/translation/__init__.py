# SPDX-License-Identifier: Apache-2.0
"""Which address is where: prefixes, locators, mappings."""
