# SPDX-License-Identifier: Apache-2.0
"""The demo: one module for each chapter, and a report that keeps the facts."""
