# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and whole files that survive a power loss. All calls block, and raise OSError."""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """After this returns, what was made, renamed or removed in a folder is so for good."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace(path: Path, content: bytes, *, draft: Path, mode: int) -> None:
    """Put a file there, or another in its place: after a power loss it is the old one or this, whole.

    `draft` is its name beside it until it is complete; a file of that name, left by an earlier try, goes.
    """
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123 - of a descriptor
            file.write(content)
            file.flush()
            os.fsync(fd)
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
