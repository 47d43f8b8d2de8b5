# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of manifests, `<directory>/<streamer>/.stream_<stream>.json`. All calls block.

They stand beside the segments' folder and not in it: that goes when the segments are joined. They hold no secrets,
and have the mode of the media.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

from streamvaultd.base import beneath, durable
from streamvaultd.base.layout import (
    manifest_file,
    number_of_file,
    segments_folder,
    stream_of_folder,
    stream_of_manifest,
)
from streamvaultd.core.model import Recording
from streamvaultd.recording.files.output import FILE_MODE

SIZE_MAX: Final = 32 << 20
"""A greater file is no manifest of ours."""

FOUND_MAX: Final = 100_000
"""Recordings that one look finds."""


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
        return Path(recording.directory) / recording.streamer / manifest_file(recording.stream)

    def write(self, path: Path, text: bytes) -> None:
        """Put it there, durably, all or nothing; what is there already is left. Its folder must exist."""
        with beneath.opened_folder(path.parent, beneath.STREAMER_DEPTH) as folder:
            there = folder / path.name
            if _read(str(there))[0] == text:
                return
            durable.replace(there, text, draft=folder / f"{path.name}.new", mode=FILE_MODE)

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

    def digest(self, folder: Path, name: str) -> str | None:
        """The SHA-256 of a regular file below a streamer's folder, None if it is none that can be read."""
        depth = beneath.STREAMER_DEPTH + len(PurePath(name).parts) - 1
        try:
            with open(beneath.open_file(folder / name, os.O_RDONLY, depth), "rb") as file:  # noqa: PTH123 - of a descriptor
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None


def _of_streamer(directory: str, folder: Path) -> Iterable[Traces]:
    texts: dict[int, tuple[bytes | None, str | None]] = {}
    sizes: dict[int, dict[int, int]] = {}
    for entry in _entries(folder):
        if (stream := stream_of_manifest(entry.name)) is not None and entry.is_file(follow_symlinks=False):
            texts[stream] = _read(entry.path)
        elif (stream := stream_of_folder(entry.name)) is not None and entry.is_dir(follow_symlinks=False):
            sizes[stream] = _sizes(entry.path)
    for stream in sorted(texts.keys() | sizes.keys()):
        text, trouble = texts.get(stream, (None, None))
        name = manifest_file(stream) if stream in texts else segments_folder(stream)
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
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(fd).st_mode):  # open() takes no folder, and would leave its descriptor
            os.close(fd)
            return None, "it is no regular file"
        with open(fd, "rb") as file:  # noqa: PTH123 - of a descriptor
            text = file.read(SIZE_MAX + 1)
    except OSError as error:
        return None, error.strerror or str(error)
    return (text, None) if len(text) <= SIZE_MAX else (None, "it is too large for a manifest")


def _sizes(folder: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for entry in _entries(Path(folder)):
        if (number := number_of_file(entry.name)) is not None and entry.is_file(follow_symlinks=False):
            found[number] = entry.stat(follow_symlinks=False).st_size
    return found


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder; nothing in one that is gone or closed to us."""
    try:
        with os.scandir(folder) as entries:
            yield from list(entries)
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return
