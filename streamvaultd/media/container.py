# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file is, told by its bytes."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from streamvaultd.media import fmp4, packed, timeline

if TYPE_CHECKING:
    from streamvaultd.media.source import Source


class FileFormat(Enum):
    """The format of a file, by its first bytes; the value is the suffix that says so."""

    TS = ".ts"
    FMP4 = ".mp4"
    MATROSKA = ".mkv"
    AAC = ".aac"
    MP3 = ".mp3"
    OTHER = ".bin"


def sniff(source: Source) -> FileFormat:
    """The container of a source; the suffix in its name plays no part."""
    if timeline.is_ts(source):
        return FileFormat.TS
    if fmp4.is_fmp4(source):
        return FileFormat.FMP4
    # EBML (RFC 8794), the header of Matroska and WebM
    if source.read(0, 4) == b"\x1a\x45\xdf\xa3":
        return FileFormat.MATROSKA
    audio = packed.kind_of(source)
    return FileFormat.OTHER if audio is None else FileFormat[audio.name]
