# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of streamers: what they may be, and one for a URL that came without."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from streamvaultd.errors import InvalidName

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)


def check_name(name: str) -> str:
    """The name, if it is one; else InvalidName."""
    if not NAME.fullmatch(name):
        why = "it is longer than 64 characters" if len(name) > 64 else "it holds a character that names may not have"
        raise InvalidName(value=name[:80], why=why if name else "it is empty")
    return name


def name_of(url: str) -> str:
    """A streamer's name for a URL that came without one: the last part of its path, else its host."""
    parts = urlsplit(url if "//" in url else f"//{url}")
    words = [word for word in re.split(r"[/.]", parts.path) if word and word not in ("m3u8", "mpd", "html")]
    for candidate in (*reversed(words), parts.hostname or ""):
        name = re.sub(r"[^A-Za-z0-9._-]", "_", candidate)[:64]
        if NAME.fullmatch(name):
            return name
    raise InvalidName(value=f"{parts.hostname or ''}{parts.path}"[:80], why="no name can be made of it; give one")
