# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells in the log when the first media that go to the output were broadcast, if the playlist says it.

A playlist has a date for a media segment (EXT-X-PROGRAM-DATE-TIME, RFC 8216 4.3.2.6). With it, what happened in the
broadcast at a moment has its place in the file, however late the media came.

streamlink loads this file as it loads plugins, beside streamvault_guard.py, so it imports what streamlink itself has.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from streamlink.stream.hls import HLSStreamWriter  # type: ignore[attr-defined]  # where every version has it

log = logging.getLogger("streamlink.plugins.streamvault_dates")
_write = HLSStreamWriter.write


def write(writer: Any, segment: Any, result: Any, *data: Any) -> None:
    """In place of HLSStreamWriter's own. Whatever a version lacks costs a date, and no media."""
    _write(writer, segment, result, *data)
    is_filtered = getattr(writer, "should_filter_segment", bool)(segment)  # a version without it has no date either
    is_media = not (data and data[0])  # or else the initialisation of fragmented MP4
    if is_media and not is_filtered and not vars(writer).get("_streamvault_wrote"):
        vars(writer)["_streamvault_wrote"] = True
        date = getattr(segment, "date", None)
        if isinstance(date, datetime) and date.tzinfo is not None:
            log.info("The first media are of %.3f", date.timestamp())


HLSStreamWriter.write = write  # type: ignore[method-assign, assignment]
