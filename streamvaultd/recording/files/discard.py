# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes media files that are not wanted any more. All calls block.

Each gets the directory of the recordings, which may be a link; no folder below it that is one is gone through.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from streamvaultd.base import beneath
from streamvaultd.base.durable import sync_folder


class MediaRemover:
    """Raises OSError."""

    def sizes(self, directory: Path, paths: Sequence[Path]) -> dict[Path, int]:
        """The bytes of those that are there; raises NotOurs for what is no regular file, or behind a link."""
        found: dict[Path, int] = {}
        for path in paths:
            with suppress(FileNotFoundError):
                found[path] = beneath.status(path, _depth(directory, path.parent)).st_size
        return found

    def sizes_beside(self, directory: Path, paths: Sequence[Path]) -> dict[Path, int]:
        """As sizes(), of what lies beside the media; what is no file of ours is somebody's own, and left out."""
        found: dict[Path, int] = {}
        for path in paths:
            with suppress(beneath.NotOurs):
                found |= self.sizes(directory, [path])
        return found

    def remove_empty(self, directory: Path, folders: Sequence[Path]) -> None:
        """Remove those of these folders, inner ones first, that have nothing in them."""
        for folder in folders:
            with suppress(OSError), beneath.opened_folder(folder.parent, _depth(directory, folder.parent)) as parent:
                (parent / folder.name).rmdir()
                sync_folder(parent)

    def remove(self, directory: Path, paths: Sequence[Path]) -> None:
        """After this returns they are gone for good, even across power loss; in this order."""
        for folder, each in groupby(paths, lambda path: path.parent):
            with suppress(FileNotFoundError), beneath.opened_folder(folder, _depth(directory, folder)) as here:
                for path in each:
                    (here / path.name).unlink(missing_ok=True)
                sync_folder(here)


def _depth(directory: Path, folder: Path) -> int:
    """How many folders below the directory; raises ValueError if it is not below it."""
    return len(folder.relative_to(directory).parts)
