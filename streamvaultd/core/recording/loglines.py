# SPDX-License-Identifier: GPL-3.0-or-later
"""What streamlink's log lines mean.

The texts are those of streamlink 7.3.0 and 8.6.3: streamlink_cli/main.py and streamrunner.py, and in streamlink/
session/http.py, stream/hls/hls.py, stream/segmented/segmented.py. They are English only, and stable in practice:
other programs parse them too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from streamvaultd.core.pace import Pace


class Line(StrEnum):
    """A log line that says something about the recording."""

    OPENING = "opening"  # the quality is chosen
    MUXING = "muxing"  # likewise, and it has streams of its own for pictures and sound
    PACE = "pace"  # how the source offers its media: guard/streamvault_patience.py has learned it
    DATED = "dated"  # when the first media were broadcast: guard/streamvault_dates.py has seen it in the playlist
    UNREAD = "unread"  # the playlist is gone before its end was read: so is what it offered meanwhile
    FETCH_FAILED = "fetch-failed"  # a media segment is missing in the file
    SEQUENCE_GAP = "sequence-gap"  # media segments left the window before they were fetched
    RELOAD_REFUSED = "reload-refused"  # the playlist is refused (a token that has expired, say) or gone
    RELOAD_FAILED = "reload-failed"  # the playlist could not be fetched this time
    SOURCE_SILENT = "source-silent"  # no new media segments for too long: streamlink ends with status 0
    READ_TIMEOUT = "read-timeout"  # no data for too long: streamlink ends with status 1
    ENOUGH = "enough"  # it has as many seconds of media as it was to record: it ends with status 0
    FILTERING = "filtering"  # advertisements: the output pauses
    RESUMING = "resuming"  # they are over
    NO_PLUGIN = "no-plugin"
    NO_STREAMS = "no-streams"
    NO_QUALITY = "no-quality"
    NOT_FOUND = "not-found"  # the site or playlist answered 404 or 410
    UNREACHABLE = "unreachable"  # no connection, no name, or an error of the server: nothing was told of the stream
    CANNOT_OPEN = "cannot-open"  # any other trouble at the start
    DISK_ERROR = "disk-error"  # ENOSPC, EDQUOT, EIO or EROFS while writing
    INTERRUPTED = "interrupted"  # it got INT or TERM
    ERROR = "error"  # anything else that made it give up


_NO_ANSWER: Final = (
    r"(?:Max retries|onnection (?:refused|reset|aborted)|timed out|unreachable|[Nn]ame (?:or service|resolution)"
    r"|No route to host|\b(?:429 Client|5\d\d Server) Error)"
)
_PACE: Final = re.compile(
    r"^info plugins\.streamvault_patience: The source offers the last (\d{1,6}\.\d) s, in media segments of up to"
    r" (\d{1,6}\.\d) s$",
    re.ASCII,
)
_DATED: Final = re.compile(r"^info plugins\.streamvault_dates: The first media are of (\d{1,11}\.\d{3})$", re.ASCII)
# In this order: what happens in the middle of a stream quotes the same errors as what happens at its start.
_PATTERNS: Final = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (Line.PACE, _PACE.pattern),
        (Line.DATED, _DATED.pattern),
        (Line.UNREAD, r"^warning plugins\.streamvault_patience: A playlist is gone that was not read for \d"),
        (Line.FETCH_FAILED, r"Failed to fetch (?:map for )?segment \d+|Download of segment \d+ failed"),
        (
            Line.RELOAD_REFUSED,
            r"(?:Reloading failed: |Failed to reload playlist: ).*\b(?:401|403|404|410) Client Error"
            r"|^warning plugins\.streamvault_patience: A playlist is refused",
        ),
        (Line.RELOAD_FAILED, r"Reloading failed: |Failed to reload playlist: "),
        (Line.SEQUENCE_GAP, r"Sequence gap of \d+ segment|Skipped segments? \d"),
        (Line.SOURCE_SILENT, r"No new segments (?:in playlist )?for more than "),
        (Line.READ_TIMEOUT, r"Error when reading from stream: Read timeout"),
        (Line.ENOUGH, r"Stopping stream early after \d"),
        (Line.FILTERING, r"Filtering out segments and pausing stream output"),
        (Line.RESUMING, r"Resuming stream output"),
        (Line.DISK_ERROR, r"\[Errno (?:5|28|30|122)\] "),
        (Line.INTERRUPTED, r"Interrupted! Exiting"),
        (Line.NO_PLUGIN, r"No plugin can handle URL"),
        (Line.NO_STREAMS, r"No playable streams found on this URL"),
        (Line.NO_QUALITY, r"The specified stream\(s\) .* could not be found"),
        (Line.NOT_FOUND, r"Unable to open URL: .*\b(?:404|410) Client Error"),
        (Line.UNREACHABLE, r"Unable to open URL: .*" + _NO_ANSWER),
        (Line.CANNOT_OPEN, r"Unable to open URL: |Could not open stream"),
        (Line.MUXING, r"Opening stream: \S+ \(hls-multi\)"),
        (Line.OPENING, r"Opening stream: \S+ \("),
        (Line.ERROR, r"^error(?: \S+)?: |^\[[^\]]*\]\[error\] "),
    )
)
_OPENING: Final = re.compile(r"Opening stream: (\S{1,64}) \(")
"""A name that is longer is no quality's: a playlist says what it likes."""


def classify(text: str) -> Line | None:
    """What a line says, None for one that says nothing of interest."""
    return next((kind for kind, pattern in _PATTERNS if pattern.search(text)), None)


def resolved_quality(text: str) -> str | None:
    """The quality that streamlink chose, if this is the line that tells it; "best" is a real name there."""
    match = _OPENING.search(text)
    return match[1] if match else None


def pace_in(text: str) -> Pace | None:
    """How the source offers its media, if this is a line that tells it."""
    match = _PACE.search(text)
    return Pace.told(target=float(match[2]), window=float(match[1])) if match else None


def date_in(text: str) -> int | None:
    """When the first media were broadcast (microseconds since 1970), if this is the line that tells it."""
    match = _DATED.search(text)
    return round(float(match[1]) * 1000) * 1000 if match else None


def quality_in(log: Iterable[str]) -> str | None:
    """The quality that the lines of one run tell; None if the line that does is not among them."""
    return next((quality for text in log if (quality := resolved_quality(text)) is not None), None)
