# SPDX-License-Identifier: Apache-2.0
"""Clients, networks and other processes that do to a server what the real ones do at their worst."""
