# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a job has left behind; its program may have been taken over, and left anything."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

OUT_OF_MEMORY: Final = "it ran out of memory, see job_memory_max"

REPORT_MAX: Final = 32 << 20
"""Bytes; that of a join with the most segments is smaller."""


def read_report(path: Path) -> bytes:
    """All of it. Blocks for no FIFO; raises OSError for what is no regular file, or too large."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    with open(fd, "rb") as file:  # noqa: PTH123 - of a descriptor
        found = file.read(REPORT_MAX + 1)
    if len(found) > REPORT_MAX:
        raise OSError(errno.EFBIG, "it is too large for a report", str(path))
    return found
