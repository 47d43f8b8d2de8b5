# SPDX-License-Identifier: GPL-3.0-or-later
"""What names, URLs and qualities may be, wherever they come from: a file, a caller, a log line."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from streamvaultd.errors import InvalidName, InvalidQuality, InvalidUrl

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
QUALITY: Final = re.compile(r"[A-Za-z0-9_+.:-]+(?:,[A-Za-z0-9_+.:-]+)*", re.ASCII)
QUALITY_MAX: Final = 256
"""Characters that streamlink is given as a quality, at most."""

URL_MAX: Final = 2048


def check_name(name: str) -> str:
    """The name, if it is one; else InvalidName."""
    if not NAME.fullmatch(name):
        why = "it is longer than 64 characters" if len(name) > 64 else "it holds a character that names may not have"
        raise InvalidName(value=name[:80], why=why if name else "it is empty")
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
        if NAME.fullmatch(name):
            return name
    raise InvalidName(value=f"{parts.hostname or ''}{parts.path}"[:80], why="no name can be made of it; give one")


def check_url(url: str) -> str:
    """The URL, if it can be given to streamlink as it is; else InvalidUrl."""
    if not url:
        raise InvalidUrl(value=url, why="it is empty")
    if len(url) > URL_MAX:
        raise InvalidUrl(value=url[:80] + "…", why=f"it has more than {URL_MAX} characters")
    if breaks_line(url):
        raise InvalidUrl(value=url, why="it begins or ends with a space or holds a character that cannot be printed")
    if re.search(r"(?:^|//|=)file:", url, re.IGNORECASE):
        raise InvalidUrl(value=url, why="it names a file of this machine")
    return url


def check_quality(quality: str) -> str:
    """The quality, if it is a comma-separated list of streamlink's names; else InvalidQuality."""
    if len(quality) > QUALITY_MAX:
        raise InvalidQuality(value=quality[:80] + "…", why=f"it has more than {QUALITY_MAX} characters")
    if not QUALITY.fullmatch(quality):
        raise InvalidQuality(value=quality, why="it is not a list of names separated by commas")
    return quality


def breaks_line(text: str) -> bool:
    """Whether a text is more than a line of streamlink's configuration can hold."""
    # Surrogates, line separators and every control character are "not printable"; a space is.
    return text != text.strip() or not text.isprintable()
