# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/run, report and compare are made of. README.md in the folder above says what is measured and how."""
