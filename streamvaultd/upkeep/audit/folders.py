# SPDX-License-Identifier: GPL-3.0-or-later
"""What is below the recording directories: folders and files that have the names of ours, and nothing else.

Blocking, for a thread of its own: a network file system may take its time. Symbolic links are not followed, other
names are not looked at, and what is looked at is limited in number and time.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamvaultd.base.layout import number_of_file, stream_of_folder
from streamvaultd.core.upkeep.world import Disk, Folder, ResultState, SegmentFile

FOLDERS_MAX: Final = 20_000
FILES_MAX: Final = 100_000
SECONDS_MAX: Final = 20.0


@dataclass(frozen=True, slots=True)
class LookLimits:
    """How much is looked at in one go."""

    folders: int = FOLDERS_MAX
    files: int = FILES_MAX
    seconds: float = SECONDS_MAX


class _Enough(Exception):
    """A limit is reached."""


class _Walk:
    def __init__(self, bounds: LookLimits) -> None:
        self._bounds = bounds
        self._until = time.monotonic() + bounds.seconds
        self._folders = 0
        self.is_whole = True
        self.there: set[str] = set()
        self.gone: dict[str, str] = {}
        self.files: list[SegmentFile] = []
        self.empty: list[tuple[Folder, str]] = []

    def directory(self, directory: str) -> None:
        try:
            streamers = list(_folders(Path(directory)))
        except OSError as error:
            self.gone[directory] = error.strerror or str(error)
            return
        self.there.add(directory)
        for streamer in streamers:
            self._streamer(directory, streamer)

    def _streamer(self, directory: str, streamer: Path) -> None:
        try:
            folders = list(_folders(streamer))
        except FileNotFoundError:
            return  # it went meanwhile
        except PermissionError as error:
            self.gone[str(streamer)] = error.strerror or str(error)  # it may be nothing of ours
            return
        for folder in folders:
            if (stream := stream_of_folder(folder.name)) is not None:
                try:
                    self._recording((directory, streamer.name, stream), folder)
                except FileNotFoundError:
                    continue
                except PermissionError:
                    self.is_whole = False

    def _recording(self, key: Folder, folder: Path) -> None:
        self._folders += 1
        if self._folders > self._bounds.folders or time.monotonic() > self._until:
            raise _Enough
        is_empty = True
        with os.scandir(folder) as entries:
            for entry in entries:
                is_empty = False
                if (number := number_of_file(entry.name)) is not None:
                    self._file(key, number, entry)
        if is_empty:
            self.empty.append((key, str(folder)))

    def _file(self, key: Folder, number: int, entry: os.DirEntry[str]) -> None:
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(found.st_mode):
            return
        if len(self.files) >= self._bounds.files:
            raise _Enough
        self.files.append(
            SegmentFile(
                folder=key,
                number=number,
                path=entry.path,
                size=found.st_size,
                modified=found.st_mtime_ns // 1000,
            )
        )


def look_at_folders(directories: Iterable[str], bounds: LookLimits | None = None) -> Disk:
    """Everything of ours below these directories, as far as the limits allow."""
    walk = _Walk(bounds or LookLimits())
    try:
        for directory in sorted(set(directories)):
            walk.directory(directory)
    except _Enough:
        walk.is_whole = False
    return Disk(
        there=frozenset(walk.there),
        gone=walk.gone,
        files=tuple(walk.files),
        empty=tuple(walk.empty),
        is_whole=walk.is_whole,
    )


def look_at_results(paths: Iterable[str], bounds: LookLimits | None = None) -> dict[str, ResultState]:
    """Whether the files at these paths are there; those beyond the limits are left out."""
    limits = bounds or LookLimits()
    until, found = time.monotonic() + limits.seconds, dict[str, ResultState]()
    for path in paths:
        if len(found) >= limits.files or time.monotonic() > until:
            break
        found[path] = _result(Path(path))
    return found


def _result(path: Path) -> ResultState:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return ResultState.GONE if path.parent.is_dir() else ResultState.FOLDER_GONE
    except OSError:
        return ResultState.UNKNOWN
    return ResultState.THERE if found.st_size else ResultState.GONE


def _folders(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    yield from (folder / name for name in sorted(names))
