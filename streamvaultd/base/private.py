# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a process's memory to itself: nobody of the same user can read, trace or dump it."""

from __future__ import annotations

import ctypes
from typing import Final

PR_SET_DUMPABLE: Final = 4


def hide_memory() -> None:
    """PR_SET_DUMPABLE(2const): from now on /proc/PID/mem, environ and fd of this process are root's."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
