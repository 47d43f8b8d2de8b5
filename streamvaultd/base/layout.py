# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of recordings are called, below the directory of a streamer.

stream_<stream>_segments/segment_001.ts    one segment
.stream_<stream>.json                      the manifest of a recording
<file name template>.<suffix>              the result
"""

from __future__ import annotations

import re
from typing import Final

_FOLDER: Final = re.compile(r"stream_([1-9]\d{0,17})_segments", re.ASCII)
_FILE: Final = re.compile(r"segment_(\d{3,6})\.ts", re.ASCII)
_MANIFEST: Final = re.compile(r"\.stream_([1-9]\d{0,17})\.json", re.ASCII)


def segments_folder(stream: int) -> str:
    """The folder of a recording's segments."""
    return f"stream_{stream}_segments"


def segment_file(number: int) -> str:
    """A segment's file, in that folder."""
    return f"segment_{number:03d}.ts"


def manifest_file(stream: int) -> str:
    """The manifest's file."""
    return f".stream_{stream}.json"


def stream_of_folder(name: str) -> int | None:
    """The stream whose segments a folder of this name has; None: it is none of ours."""
    return _number(_FOLDER, name)


def number_of_file(name: str) -> int | None:
    """The segment that a file of this name is; None: it is none of ours."""
    return _number(_FILE, name)


def stream_of_manifest(name: str) -> int | None:
    """The stream that a file of this name is about; None: it is no manifest."""
    return _number(_MANIFEST, name)


def _number(pattern: re.Pattern[str], name: str) -> int | None:
    match = pattern.fullmatch(name)
    return int(match[1]) if match else None
