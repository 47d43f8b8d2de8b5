# SPDX-License-Identifier: GPL-3.0-or-later
"""The testbed: a Debian with systemd as PID 1, in namespaces of this machine, for demo and tests.

Standard library only: it runs with the machine's own python3 before anything of the project is installed.
"""

from tests.testbed.box import Box, BoxError
from tests.testbed.machine import Host, Machine

__all__ = ["Box", "BoxError", "Host", "Machine"]
