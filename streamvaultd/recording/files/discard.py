# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes media files that are not wanted any more. All calls block; links are not followed."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from streamvaultd.base.durable import sync_folder


class MediaRemover:
    """Raises OSError."""

    def sizes(self, paths: Sequence[Path]) -> dict[Path, int]:
        """The bytes of those that are there; whatever is no regular file is refused."""
        found: dict[Path, int] = {}
        for path in paths:
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if not stat.S_ISREG(status.st_mode):
                raise OSError(0, "it is no regular file", str(path))
            found[path] = status.st_size
        return found

    def remove_empty(self, folders: Sequence[Path]) -> None:
        """Remove those of these folders, inner ones first, that have nothing in them."""
        for folder in folders:
            with suppress(OSError):
                folder.rmdir()
                sync_folder(folder.parent)

    def remove(self, paths: Sequence[Path]) -> None:
        """After this returns they are gone for good, even across power loss."""
        for path in paths:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in paths}:
            sync_folder(folder)
