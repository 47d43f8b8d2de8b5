# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in memory alone (memfd_create(2)), which a child reads as its stdin or by their number."""

from __future__ import annotations

import os


def memfd_with(name: str, content: str | bytes) -> int:
    """A descriptor of an anonymous file that holds it, at offset 0: how secrets reach a child."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        os.write(fd, content.encode() if isinstance(content, str) else content)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd
