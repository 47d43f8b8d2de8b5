# SPDX-License-Identifier: GPL-3.0-or-later
"""What names, URLs, qualities, directories and durations may be, from whatever source: a file, a caller, a log line.

Nothing else decides that: the kinds of settings and the methods of the socket ask here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from streamvaultd.base.units import SPAN_MAX_USEC
from streamvaultd.errors import DirectoryUnusable, InvalidDuration, InvalidName, InvalidQuality, InvalidUrl

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
_QUALITY: Final = re.compile(r"[A-Za-z0-9_+.:-]+(?:,[A-Za-z0-9_+.:-]+)*", re.ASCII)
QUALITY_MAX: Final = 256
"""Characters that streamlink is given as a quality, at most."""

URL_MAX: Final = 2048
SHOWN_MAX: Final = 80
"""Characters of a refused value that are shown of it."""

DURATION_MIN: Final = 1.0
"""Seconds that a recording with an end is to have, at least."""


def is_name(name: str) -> bool:
    """Whether it may be the name of a streamer, a credential or a pool."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """The name, if it is one; else InvalidName."""
    if not is_name(name):
        why = "it is longer than 64 characters" if len(name) > 64 else "it holds a character that names may not have"
        raise InvalidName(value=_short(name), why=why if name else "it is empty")
    return name


_SAYS_NOTHING: Final = frozenset({
    "m3u8", "mpd", "html", "htm", "php", "ts", "mp4", "live", "index", "master", "playlist", "manifest", "chunklist",
    "stream", "streams", "hls", "dash", "video", "videos", "watch", "play", "player", "embed", "channel", "channels",
    "main", "c", "u", "user", "users", "tv", "www",
})  # fmt: skip
"""Words of addresses that are the same for everybody there."""


_SIZE: Final = re.compile(r"\d{3,4}[pP]\d{0,3}", re.ASCII)


def name_of(url: str) -> str:
    """A streamer's name for a URL that came without one: the last part of its path that tells, else its host."""
    parts = urlsplit(url if "//" in url else f"//{url}")
    words = [word for word in re.split(r"[/.]", parts.path) if word]
    telling = [word for word in words if word.lower() not in _SAYS_NOTHING and not _SIZE.fullmatch(word)]
    host = (parts.hostname or "").removeprefix("www.")
    for candidate in (*reversed(telling), host, *reversed(words)):
        name = re.sub(r"[^A-Za-z0-9._-]", "_", candidate.removeprefix("@"))[:64]
        if is_name(name):
            return name
    raise InvalidName(value=f"{parts.hostname or ''}{parts.path}"[:80], why="no name can be made of it; give one")


def name_for(url: str, given: str | None) -> str:
    """The streamer's name that somebody gives with a URL, or else has it made of that."""
    return name_of(url) if given is None else check_name(given)


def check_url(url: str) -> str:
    """The URL, if it can be given to streamlink as it is; else InvalidUrl."""
    if not url:
        raise InvalidUrl(value=url, why="it is empty")
    if len(url) > URL_MAX:
        raise InvalidUrl(value=_short(url), why=f"it has more than {URL_MAX} characters")
    if breaks_line(url):
        raise InvalidUrl(value=url, why="it begins or ends with a space or holds a character that cannot be printed")
    if re.search(r"(?:^|//|=)file:", url, re.IGNORECASE):
        raise InvalidUrl(value=url, why="it names a file of this machine")
    return url


def check_quality(quality: str) -> str:
    """The quality, if it is a comma-separated list of streamlink's names; else InvalidQuality."""
    if not _QUALITY.fullmatch(quality):
        why = "it must be names such as 1080p60,720p,best, separated by commas"
        raise InvalidQuality(value=_short(quality), why=why)
    if len(quality) > QUALITY_MAX:
        raise InvalidQuality(value=_short(quality), why=f"it has more than {QUALITY_MAX} characters")
    return quality


def is_quality(name: str) -> bool:
    """Whether it is a single one of streamlink's names."""
    return "," not in name and _QUALITY.fullmatch(name) is not None


def check_directory(directory: str) -> Path:
    """The path, if it is absolute and cannot lead elsewhere than it says; else DirectoryUnusable."""
    path = Path(directory)
    if not path.is_absolute() or ".." in path.parts or not directory.isprintable():
        why = "it must be an absolute path without '..' and without control characters"
        raise DirectoryUnusable(directory=directory[:200], why=why)
    return path


def check_duration(usec: int) -> float:
    """Seconds after which a recording is to end, of microseconds; else InvalidDuration."""
    if not DURATION_MIN * 1e6 <= usec <= SPAN_MAX_USEC:
        raise InvalidDuration(value=f"{usec}us", why="it must be a second at least and ten years at most")
    return usec / 1e6


def _short(value: str) -> str:
    return value if len(value) <= SHOWN_MAX else value[:SHOWN_MAX] + "…"


def breaks_line(text: str) -> bool:
    """Whether a text is more than a line of streamlink's configuration can hold."""
    # Surrogates, line separators and every control character are "not printable"; a space is.
    return text != text.strip() or not text.isprintable()
