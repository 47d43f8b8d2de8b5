# SPDX-License-Identifier: GPL-3.0-or-later
"""The testbed: a Debian with systemd as PID 1, for demo and tests: in namespaces of this machine, or in QEMU.

Standard library only: it runs with the machine's own python3 before anything of the project is installed.
"""
