# SPDX-License-Identifier: GPL-2.0
"""Builds patched kernels, boots them in QEMU and tests them: the other side of the Makefile."""
