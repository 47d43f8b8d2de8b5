# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of manifests, `<directory>/<streamer>/.stream_<stream>.json`. All calls block.

They stand beside the segments' folder and not in it: that goes when the segments are joined. They hold no secrets,
and have the mode of the media.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streamvaultd.capture.output import FILE_MODE
from streamvaultd.core.model import Recording

SIZE_MAX: Final = 32 << 20
"""A greater file is no manifest of ours."""

FOUND_MAX: Final = 100_000
"""Recordings that one look finds."""

_NAME: Final = re.compile(r"\.stream_([1-9]\d{0,17})\.json", re.ASCII)
_FOLDER: Final = re.compile(r"stream_([1-9]\d{0,17})_segments", re.ASCII)
_FILE: Final = re.compile(r"segment_(\d{3,6})\.ts", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What is on disk of one recording: its manifest's text, and its segments' files with their sizes.

    `trouble` says why the manifest cannot be read.
    """

    directory: str
    streamer: str
    stream: int
    path: str
    text: bytes | None = None
    trouble: str | None = None
    sizes: dict[int, int] = field(default_factory=dict)


class ManifestFiles:
    """Writes and finds them; raises OSError."""

    def path(self, recording: Recording) -> Path:
        """Where a recording's manifest is."""
        return Path(recording.directory) / recording.streamer / f".stream_{recording.stream}.json"

    def write(self, path: Path, text: bytes) -> None:
        """Put it there, durably, all or nothing; what is there already is left. Its folder must exist."""
        if path.is_file() and _read(str(path))[0] == text:
            return
        draft = path.with_name(f"{path.name}.new")
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
            with open(fd, "wb") as file:  # noqa: PTH123 - of a descriptor
                file.write(text)
                file.flush()
                os.fsync(fd)
            draft.rename(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def find(self, directory: str, *, must_be: bool) -> list[Traces]:
        """What is on disk below a directory, at most FOUND_MAX recordings, by streamer and stream.

        Nothing in a directory that is gone or closed to us, unless it `must_be`: then OSError.
        """
        if must_be:
            os.scandir(directory).close()
        found: list[Traces] = []
        for streamer in sorted(_entries(Path(directory)), key=lambda entry: entry.name):
            if streamer.is_dir(follow_symlinks=False):
                found += _of_streamer(directory, Path(streamer.path))
            if len(found) >= FOUND_MAX:
                break
        return found[:FOUND_MAX]

    def result_size(self, path: Path) -> int | None:
        """Bytes of a joined file, None if there is none."""
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None


def _of_streamer(directory: str, folder: Path) -> Iterable[Traces]:
    texts: dict[int, tuple[bytes | None, str | None]] = {}
    sizes: dict[int, dict[int, int]] = {}
    for entry in _entries(folder):
        if (match := _NAME.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
            texts[int(match[1])] = _read(entry.path)
        elif (match := _FOLDER.fullmatch(entry.name)) and entry.is_dir(follow_symlinks=False):
            sizes[int(match[1])] = _sizes(entry.path)
    for stream in sorted(texts.keys() | sizes.keys()):
        text, trouble = texts.get(stream, (None, None))
        name = f".stream_{stream}.json" if stream in texts else f"stream_{stream}_segments"
        yield Traces(
            directory=directory,
            streamer=folder.name,
            stream=stream,
            path=str(folder / name),
            text=text,
            trouble=trouble,
            sizes=sizes.get(stream, {}),
        )


def _read(path: str) -> tuple[bytes | None, str | None]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, "rb") as file:  # noqa: PTH123 - of a descriptor
            text = file.read(SIZE_MAX + 1)
    except OSError as error:
        return None, error.strerror or str(error)
    return (text, None) if len(text) <= SIZE_MAX else (None, "it is too large for a manifest")


def _sizes(folder: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for entry in _entries(Path(folder)):
        if (match := _FILE.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
            found[int(match[1])] = entry.stat(follow_symlinks=False).st_size
    return found


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder; nothing in one that is gone or closed to us."""
    try:
        with os.scandir(folder) as entries:
            yield from list(entries)
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return
