# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a private streamlink may be run: all of it is root's or the installer's, and nobody else may write to it.

    <place>/current -> versions/<time of its installation>    a virtual environment

The daemon and what it runs are other users, so nothing that was taken over can leave them a program.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from streamvaultd.errors import StreamlinkUnusable

INSTALLER: Final = "_streamvault-install"
"""The user of streamvault-install@.service."""


def owners() -> frozenset[int]:
    """Who may own what is run: root, and the installer."""
    try:
        return frozenset((0, pwd.getpwnam(INSTALLER).pw_uid))
    except KeyError:
        return frozenset((0,))


def is_there(place: Path) -> bool:
    """Whether a place has a private streamlink, in whatever state; StreamlinkUnusable if that cannot be seen."""
    try:
        (place / "current").lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StreamlinkUnusable(command=str(place / "current"), why=error.strerror or str(error)) from error
    return True


def require_trusted(place: Path, trusted: Collection[int]) -> Path:
    """The folder that `current` leads to; StreamlinkUnusable if it is elsewhere, or others could write to it."""
    try:
        folder = _target(place)
        for path in (place, place / "versions", folder):
            if not stat.S_ISDIR(path.lstat().st_mode):
                raise StreamlinkUnusable(command=str(path), why="it is no folder")
        for path in (place, place / "versions", place / "current", *_everything(folder)):
            _check(path, path.lstat(), trusted)
            if path.is_symlink() and path.parent != place:
                target = path.resolve(strict=True)
                if not target.is_relative_to(folder.resolve()):  # the system's Python
                    _check(target, target.stat(), trusted)
    except OSError as error:
        path = Path(error.filename or place)
        raise StreamlinkUnusable(command=str(path), why=error.strerror or str(error)) from error
    return folder


def _target(place: Path) -> Path:
    current = place / "current"
    leads_to = Path(os.readlink(current))  # noqa: PTH115 - as it is written
    if leads_to.parent != Path("versions") or leads_to.name == "..":
        why = f"it leads to {leads_to}, which is not below {place / 'versions'}"
        raise StreamlinkUnusable(command=str(current), why=why)
    return place / leads_to


def _everything(folder: Path) -> Iterator[Path]:
    """The folder and all below it; links are not followed."""
    yield folder
    for path, folders, files in os.walk(folder, onerror=_raise):
        yield from (Path(path, name) for name in (*folders, *files))


def _raise(error: OSError) -> None:
    raise error


def _check(path: Path, found: os.stat_result, trusted: Collection[int]) -> None:
    if found.st_uid not in trusted:
        why = f"it belongs to user {found.st_uid}, who may have changed it"
        raise StreamlinkUnusable(command=str(path), why=why)
    if not stat.S_ISLNK(found.st_mode) and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StreamlinkUnusable(command=str(path), why="others may have written to it")
