# SPDX-License-Identifier: GPL-3.0-or-later
"""streamlink's command line: which options a version knows, and how URL and quality reach it.

Pure. The command line names one configuration file, which is a memfd: so neither the URL nor a token is ever in argv,
in the environment or on a disk. The format of that file is one option per line, `name=value`, without a way to quote
(streamlink_cli/argparser.py, convert_arg_line_to_args()); what comes later wins, so ours come first, then the
administrator's, then URL and quality.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus, unquote

from streamvaultd.config.inputs import QUALITY_MAX, breaks_line, check_quality, check_url, is_quality

_VERSION: Final = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", re.ASCII)
GUARD: Final = Path(__file__).with_name("guard")
"""The folder with what streamlink loads to be kept to http and https; see streamvault_guard.py."""

SECRET_MIN: Final = 6
"""Shorter values of options are no secrets, and striking them out would spoil the log."""


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A release of streamlink; what follows the third number (development builds) is left out."""

    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


OLDEST: Final = Version(6, 10)
"""The first with --logformat, without which its log lines cannot be told apart."""

RECOMMENDED: Final = Version(8, 6)
"""A playlist has older ones read files of this machine: its entries before 8.4.0, its redirects before 8.6.0."""

FOR_TWITCH: Final = Version(8, 1, 1)
"""Older ones cannot record from Twitch as it is today, and end when a source is silent for a few seconds."""


SEGMENTED: Final = Version(8, 0)
"""The first that can end a stream of any segmented kind after a number of seconds; older ones can for HLS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A streamlink that answers. `python` is the interpreter that can import it, `warning` is for people."""

    command: tuple[str, ...]
    version: Version
    python: str
    managed: bool
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class _Option:
    name: str
    value: str | None = None
    since: Version = OLDEST
    until: Version | None = None  # the first version without it


_ALWAYS: Final = (
    _Option("stdout"),
    _Option("loglevel", "info"),
    _Option("logformat", "{levelname} {name}: {message}"),
    _Option("plugin-dir", str(GUARD)),
    _Option("no-plugin-sideloading", since=Version(7, 5)),
    _Option("no-plugin-cache", since=Version(7, 5)),
)
"""In argv, for nobody may change them: the log is parsed, stdout is the file."""

_DEFAULTS: Final = (
    _Option("hls-live-edge", "99"),  # begin at the oldest media segment of the window: reaches back after a death
    # 9 s of tries, a third of a usual window; by default a media segment is dropped after 2 s. Nothing is written
    # meanwhile, and what comes after it has to be fetched before it leaves the window: for what one run gives up, a
    # second one starts beside it and tries again.
    _Option("stream-segment-attempts", "5"),
    _Option("stream-segment-threads", "4"),  # others load while one is tried again; the order stays
    _Option("stream-segment-timeout", "10"),
    _Option("http-timeout", "10"),
    _Option("stream-timeout", "60"),
    # In target durations; by default a source that is silent for three of them ends the run. 0 would hang for ever.
    _Option("stream-segmented-queue-deadline", "10", since=Version(8, 1, 1)),
    _Option("hls-segment-queue-threshold", "10", until=Version(8, 1)),
    _Option("retry-open", "3"),
    _Option("ffmpeg-validation-timeout", "20", since=Version(8, 6, 3)),
    _Option("ffmpeg-copyts"),  # muxed streams keep the source's clock, which is what joins them
)
"""In the configuration file, where the administrator's options may change them."""


MUXER: Final = Path(__file__).with_name("muxer")
"""mux.py looks at what comes, and becomes ffmpeg. If it may not be executed, all is muxed to a transport stream."""

_MUXING: Final = ("ffmpeg-ffmpeg", "ffmpeg-fout")
"""An administrator who chooses a format, or another ffmpeg, has chosen both."""


def parse_version(output: str) -> Version | None:
    """The version in what ``streamlink --version`` prints."""
    match = _VERSION.search(output)
    return Version(int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def build_command(installation: Installation, config_fd: int) -> tuple[str, ...]:
    """argv of a run that reads its configuration from this descriptor and writes media alone to stdout."""
    options = [
        f"--{option.name}" if option.value is None else f"--{option.name}={option.value}"
        for option in _known(_ALWAYS, installation.version)
    ]
    return (*installation.command, f"--config=/proc/self/fd/{config_fd}", *options)


def config_text(
    version: Version,
    url: str,
    quality: str,
    options: Iterable[tuple[str, str]] = (),
    *,
    muxer: str | None = None,
    limit: float | None = None,
) -> str:
    """The configuration of one run. `options` are the administrator's, by long name; "true" stands for a bare one.

    `muxer` is what streamlink takes for ffmpeg, which has to be there; after `limit` seconds of media it ends.

    Raises InvalidUrl, InvalidQuality, and ValueError for an option that is more than a line.
    """
    options = list(options)
    lines = [(option.name, option.value) for option in _known(_DEFAULTS, version)]
    if not any(name in _MUXING for name, _ in options):
        lines += [(name, value) for name, value in zip(_MUXING, (muxer, "mpegts"), strict=True) if value is not None]
        # ffmpeg is there; where it takes longer than four seconds to say so, an older streamlink leaves out the sound
        lines += [("ffmpeg-no-validation", None)] if muxer is not None else []
    for name, value in options:
        if breaks_line(name) or breaks_line(value):
            raise ValueError(f"option '{name}' is not one line")
        if value != "false":
            lines.append((name, None if value == "true" else value))
    if limit is not None:
        lines.append(("stream-segmented-duration" if version >= SEGMENTED else "hls-duration", f"{limit:.3f}"))
    lines += [("url", check_url(url)), ("default-stream", check_quality(quality))]
    return "".join(f"{name}\n" if value is None else f"{name}={value}\n" for name, value in lines)


def preferring(first: str | None, quality: str) -> str:
    """The list of qualities with this one in front, if it is a name: it comes from a log line."""
    names = [name for name in quality.split(",") if name != first]
    if first is None or not is_quality(first):
        return quality
    preferred = ",".join([first, *names])
    return preferred if len(preferred) <= QUALITY_MAX else quality


def secrets_in(options: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Texts that must not show in the journal: the values of options that carry credentials, whole and in parts,
    as they are and as URLs have them.
    """
    found = []
    for name, value in options:
        if re.search(r"pass|token|cookie|header|key|auth|proxy|user|email", name):
            found += [value, *re.split(r"[=;:@/?#&\s]+", value)]
    found += [changed(text) for text in found for changed in (unquote, quote_plus)]
    shown = {text for text in found if len(text) >= SECRET_MIN and text.isprintable()}
    return tuple(sorted(shown, key=len, reverse=True))


def warning_about(version: Version, *, managed: bool) -> str | None:
    """What the administrator should know about this version."""
    if version >= RECOMMENDED:
        return None
    twitch = "" if version >= FOR_TWITCH else "Twitch cannot be recorded with it, and "
    advice = (
        "'streamvaultctl streamlink update' gets one without"
        if managed
        else "'apt install -t trixie-backports streamlink' or 'streamvaultctl streamlink install' gets one without"
    )
    return (
        f"streamlink {version} is older than {RECOMMENDED}: {twitch}it has holes by which a stream can read files of"
        f" this machine (CVE-2026-44353, CVE-2026-92164); {advice}"
    )


def _known(options: tuple[_Option, ...], version: Version) -> list[_Option]:
    return [o for o in options if o.since <= version and (o.until is None or version < o.until)]
