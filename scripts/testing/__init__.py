# SPDX-License-Identifier: Apache-2.0
"""What scripts/test runs, and how it reads what the runs print."""
