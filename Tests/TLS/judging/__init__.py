# SPDX-License-Identifier: Apache-2.0
"""Other people's TLS against ours."""
