# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of streamlink that people may set, and those that they may not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from streamvaultd.config.kinds import HIDDEN, SettingKind, Unfit

_OWN: Final = "the daemon sets it itself"
_ELSEWHERE: Final = "media would go elsewhere than into the segment's file"
_TALK: Final = "the daemon reads streamlink's log, and what it says elsewhere is lost"
_ENDS: Final = "it does something else than recording"
_OLDEST: Final = "each segment begins at the oldest media that can be had, which is what makes up for a death"

RESERVED_OPTIONS: Final[Mapping[str, str]] = {
    "url": _OWN, "default-stream": _OWN, "stdout": _OWN, "config": _OWN, "no-config": _OWN,
    "loglevel": _TALK, "logfile": _TALK, "logformat": _TALK, "logdateformat": _TALK, "progress": _TALK,
    "quiet": _TALK, "json": _TALK, "ffmpeg-verbose-path": _TALK,
    "output": _ELSEWHERE, "record": _ELSEWHERE, "record-and-pipe": _ELSEWHERE, "player": _ELSEWHERE,
    "player-external-http": _ELSEWHERE, "force": _ELSEWHERE, "skip": _ELSEWHERE,
    "stream-url": _ENDS, "version": _ENDS, "version-check": _ENDS, "help": _ENDS, "plugins": _ENDS,
    "show-matchers": _ENDS, "can-handle-url": _ENDS, "can-handle-url-no-redirect": _ENDS,
    "retry-streams": "whether somebody is live is asked by the daemon; a process that waits costs 40 MB",
    "retry-max": "whether somebody is live is asked by the daemon; a process that waits costs 40 MB",
    "hls-live-edge": _OLDEST, "hls-start-offset": _OLDEST, "twitch-low-latency": _OLDEST,
    "hls-duration": "a segment that ends by itself looks like the end of the broadcast",
    "stream-segmented-duration": "a segment that ends by itself looks like the end of the broadcast",
    "hls-segment-stream-data": "half media segments would get into the file when a download breaks",
    "stream-passthrough-encrypted": "nobody could play what is recorded",
}  # fmt: skip
"""Options that the daemon sets itself, or that would break capturing, and why; see streamvaultd.toml(5)."""

_BEGINS_LIKE_ONE: Final = frozenset({"ffmpeg-verbose"})
"""Options with a name of their own, which are not short for one of those."""

OPTION_MAX: Final = 4096
"""Characters in the value of one option."""


def option(name: str, setting: Any) -> tuple[str, str]:
    """One further long option of streamlink."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,99}", name):
        raise Unfit(f"'{name[:100]}' is no long option of streamlink")
    if name in RESERVED_OPTIONS:
        raise Unfit(f"'{name}' may not be set: {RESERVED_OPTIONS[name]}")
    # streamlink takes the beginning of a name for the whole
    meant = next((full for full in RESERVED_OPTIONS if full.startswith(name)), None)
    if meant is not None and name not in _BEGINS_LIKE_ONE:
        raise Unfit(f"'{name}' is short for '{meant}', which may not be set: {RESERVED_OPTIONS[meant]}")
    value = str(setting).lower() if isinstance(setting, bool) else str(setting)
    if not isinstance(setting, str | int | bool) or not value.isprintable() or value != value.strip():
        raise Unfit(f"'{name}' must be one line of text, a number, true or false")
    if len(value) > OPTION_MAX:
        raise Unfit(f"'{name}' has more than {OPTION_MAX} characters")
    return name, value


def options(value: Any) -> tuple[tuple[str, str], ...]:
    """Further long options of streamlink, without the dashes."""
    if not isinstance(value, dict):
        raise Unfit('it must be a table such as { http-proxy = "…" }')
    return tuple(option(name, setting) for name, setting in value.items())


def _hidden(found: Iterable[tuple[str, str]]) -> str:
    """Their names: the values may be secrets."""
    return "{ " + ", ".join(f'{name} = "{HIDDEN}"' for name, _ in found) + " }" if found else "{}"


OPTIONS: Final = SettingKind(options, "table of options", _hidden)
