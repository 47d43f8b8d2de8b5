# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files may be what a step made of a result. Pure: a look at the file itself is its user's.

A report is written by a confined program, a manifest may come from anywhere, and a row from another hand. What they
name goes with the media, so each asks here.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Final

DEPTH_MAX: Final = 8
"""Of a file in a folder that a step made."""

SHOW_FILES: Final = frozenset({"tvshow.nfo", "season.nfo"})
"""They are of all recordings of a streamer, and go with none of them."""

_MEDIA: Final = frozenset({"ts", "mp4", "mkv"})
_PART: Final = r"(?:\.(?:part|kept)\d+(?:-\d+)?)?"
_FILE: Final = re.compile(_PART + r"(?:-[a-z0-9]{1,20})?\.([a-z0-9]{1,10})", re.ASCII)
_FOLDER: Final = re.compile(_PART + r"\.[a-z0-9]{1,20}", re.ASCII)


def belongs(path: PurePath, result: PurePath) -> bool:
    """Whether a path is one that a step may make of a result: NAME-thumb.jpg, NAME.part2.nfo, NAME.trickplay/….

    `result` is the first of its files; no media are such a file, no matter whose.
    """
    folder, stem = result.parent, result.stem
    if not is_name(path) or not path.is_absolute() or ".." in path.parts or not path.is_relative_to(folder):
        return False
    first, *rest = path.relative_to(folder).parts or ("",)
    if not first.startswith(stem) or first.startswith(".") or len(rest) > DEPTH_MAX:
        return False
    behind = first[len(stem) :]
    if rest:
        return _FOLDER.fullmatch(behind) is not None
    found = _FILE.fullmatch(behind)
    return found is not None and found[1] not in _MEDIA and first.casefold() not in SHOW_FILES


def is_name(path: PurePath) -> bool:
    """Whether the system has such names at all."""
    try:
        return b"\0" not in str(path).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
