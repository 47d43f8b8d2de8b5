# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of settings: what a TOML value means, or what is wrong with it. Shared by all configuration files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streamvaultd.base.networks import parse_network
from streamvaultd.base.units import parse_size, parse_span
from streamvaultd.config.names import QUALITY, QUALITY_MAX

DAY: Final = 86400.0
NETWORKS_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class Option:
    """One key of a section: how its value is read, and where it goes (a dotted path)."""

    section: str
    key: str
    parse: Callable[[Any], Any]
    target: str
    default: str
    about: str


class Unfit(ValueError):
    """What is wrong with a value."""


HIDDEN: Final = "***"
"""What is shown in the place of values that may hold credentials."""


def shown(value: object) -> str:
    """A value as a mistake quotes it."""
    try:
        return repr(value)[:200]
    except ValueError:
        return "a number that is too long"


def readable(file: Path) -> str:
    """The name of a file as a mistake has it: names are bytes, and may be no text."""
    return str(file).encode(errors="backslashreplace").decode()


def text(value: Any) -> str:
    """A text that says something."""
    if not isinstance(value, str) or not value.strip():
        raise Unfit("it must be a text that is not empty")
    return value


def texts(value: Any) -> list[str] | None:
    """A list of texts, which one text stands for if it is the only one; None for anything else."""
    found = [value] if isinstance(value, str) else value
    return found if isinstance(found, list) and all(isinstance(item, str) for item in found) else None


def networks(value: Any) -> tuple[str, ...]:
    """Networks and addresses, 32 at most."""
    found = texts(value)
    if found is None or len(found) > NETWORKS_MAX:
        raise Unfit(f'it must be a list of at most {NETWORKS_MAX} networks, such as ["127.0.0.1", "169.254.0.0/16"]')
    try:
        return tuple(str(parse_network(text)) for text in found)
    except ValueError as error:
        raise Unfit(f"{error}; write a network as 127.0.0.0/8") from None


def flag(value: Any) -> bool:
    """True or false, and nothing that only looks like it."""
    if not isinstance(value, bool):
        raise Unfit("it must be true or false")
    return value


def path(value: Any) -> Path:
    """An absolute path that cannot lead elsewhere than it says."""
    found = Path(text(value))
    if not found.is_absolute() or ".." in found.parts or not value.isprintable():
        raise Unfit("it must be an absolute path without '..' and without control characters")
    return found


def quality(value: Any) -> str:
    """Names of qualities, best first."""
    if not QUALITY.fullmatch(text(value)):
        raise Unfit("it must be names such as 1080p60,720p,best, separated by commas")
    if len(value) > QUALITY_MAX:
        raise Unfit(f"it has more than {QUALITY_MAX} characters")
    return str(value)


def span(low: float, high: float) -> Callable[[Any], float]:
    """A time span between these, in seconds."""

    def parse(value: Any) -> float:
        try:
            seconds = parse_span(str(value)) / 1e6 if isinstance(value, str | int) else None
        except ValueError as error:
            raise Unfit(str(error)) from None
        if isinstance(value, bool) or seconds is None or not low <= seconds <= high:
            raise Unfit(f"it must be a time span from {low:g} s to {high:g} s, such as 23h58m48s")
        return seconds

    return parse


def size(low: int, high: int) -> Callable[[Any], int]:
    """A size between these, in bytes."""

    def parse(value: Any) -> int:
        try:
            found = parse_size(str(value)) if isinstance(value, str | int) else None
        except ValueError as error:
            raise Unfit(str(error)) from None
        if isinstance(value, bool) or found is None or not low <= found <= high:
            raise Unfit(f"it must be a size from {low} to {high} bytes, such as 100G")
        return found

    return parse


INFINITY: Final = "infinity"


def limit(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What `parse` accepts, or "infinity", which is None."""

    def parse_limit(value: Any) -> Any:
        if value == INFINITY:
            return None
        try:
            return parse(value)
        except Unfit as error:
            raise Unfit(f"{error}; or 'infinity'") from None

    return parse_limit


def count(low: int, high: int) -> Callable[[Any], int]:
    """A whole number between these."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Unfit(f"it must be a number from {low} to {high}")
        return value

    return parse


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
