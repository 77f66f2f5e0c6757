# SPDX-License-Identifier: Apache-2.0
"""Servers that are restarted in different ways, and the clients meanwhile."""
