# SPDX-License-Identifier: GPL-3.0-or-later
"""Streamers as files: one TOML file each, parsed once into typed values.

/etc/streamvaultd/streamers.d/NAME.toml is the administrator's and wins over NAME.toml in /var/lib/streamvaultd, which
the daemon writes itself. A file with a mistake changes nothing: the streamer stays as he was, and every mistake
is told with file, section, key, value and reason.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import tomli

from streamvaultd.config.names import NAME, check_quality, check_url
from streamvaultd.config.notifications import targets, topics
from streamvaultd.config.proxies import choice, expand, names
from streamvaultd.config.settings import OPTIONS as SETTINGS
from streamvaultd.config.settings import check_container, check_template
from streamvaultd.config.values import (
    DAY,
    HIDDEN,
    Option,
    Unfit,
    count,
    flag,
    options,
    path,
    quality,
    readable,
    shown,
    size,
    span,
    text,
)
from streamvaultd.core.watching.proxies import Pool
from streamvaultd.core.watching.streamer import Filters, Streamer
from streamvaultd.errors import ConfigInvalid, ConfigUnreadable, InvalidUrl, VaultError

FOLDER: Final = "streamers.d"
STREAMERS_MAX: Final = 2000
"""Files in both folders together."""

FILE_MAX: Final = 64 << 10
PATTERN_MAX: Final = 200
"""Characters of a pattern; titles that it is searched for in are shorter than 500."""

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def check_wish(url: str, quality: str | None) -> None:
    """What somebody wants a file to say; raises InvalidUrl, InvalidQuality."""
    check_url(url)
    if quality is not None:
        check_quality(quality)


def _url(value: Any) -> str:
    try:
        return check_url(text(value))
    except InvalidUrl as error:
        raise Unfit(str(error.fields["why"])) from None


def _quality(value: Any) -> str:
    return quality(",".join(map(text, value)) if isinstance(value, list) else value)


def _directory(value: Any) -> str:
    return str(path(value))


def _pattern(value: Any) -> str:
    if len(text(value)) > PATTERN_MAX:
        raise Unfit(f"it has more than {PATTERN_MAX} characters")
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise Unfit(f"it is no regular expression: {error}") from None
    return str(value)


def _days(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or not all(day in DAYS for day in value):
        raise Unfit(f"it must be a list of {', '.join(DAYS)}")
    return tuple(sorted({DAYS.index(day) for day in value}))


def _hours(value: Any) -> tuple[int, int]:
    match = re.fullmatch(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", text(value))
    if match is None:
        raise Unfit("it must be two times such as 18:00-02:30")
    begin, end = (int(match[at]) * 60 + int(match[at + 1]) for at in (1, 3))
    if max(begin, end) > 24 * 60 or begin == end:
        raise Unfit("it must be two different times of a day")
    return begin, end


def _timezone(value: Any) -> str:
    try:
        ZoneInfo(text(value))
    except (LookupError, ValueError, OSError):
        raise Unfit("it must be a time zone such as Europe/Berlin") from None
    return str(value)


KEYS: Final = (
    Option("streamer", "url", _url, "url", "",
        "What streamlink is given: the channel's page, or a playlist. There is no default."),
    Option("streamer", "enabled", flag, "enabled", "true", "Whether it is watched."),
    Option("streamer", "quality", _quality, "quality", "that of streamvaultd.toml",
        "Streamlink's names of qualities, best first, as a list or separated by commas. If none of them is offered, "
        "the nearest below the last one is recorded, or else the nearest above."),
    Option("streamer", "interval", span(5, DAY), "interval", "[watch] interval",
        "So often, it is asked whether this streamer is live."),
    Option("recording", "directory", _directory, "directory", "that of streamvaultd.toml",
        "Where recordings go: DIRECTORY/STREAMER/FILE. Must be in ReadWritePaths= of the service."),
    Option("recording", "filename", check_template, "filename", "that of streamvaultd.toml",
        "Name of the joined file, without its suffix. Fields: {streamer} {start} {recording} {stream}."),
    Option("recording", "max_duration", span(1, 30 * DAY), "max_duration", "none",
        "After so much media a recording ends; the rest of the broadcast is not recorded."),
    Option("recording", "min_duration", span(0, DAY), "policy.min_duration", "0",
        "A broadcast of which there is less, once it is over, is not kept: its media are removed. See WHAT IS NOT "
        "RECORDED."),
    *(
        Option(section, key, parse, f"policy.{field}", "that of streamvaultd.toml", "As in streamvaultd.toml(5).")
        for section, key, field, parse in (
            ("recording", "container", "container", check_container),
            ("recording", "grace", "grace", span(0, DAY)),
            ("recording", "outage", "outage", span(0, 30 * DAY)),
            ("recording", "start_timeout", "start_timeout", span(5, 3600)),
            ("recording", "stall_timeout", "stall_timeout", span(5, 3600)),
            ("recording", "start_attempts", "start_attempts", count(1, 100)),
            ("rotation", "age", "rotate_age", span(10, 30 * DAY)),
            ("rotation", "size", "rotate_size", size(1 << 20, 1 << 50)),
            ("rotation", "overlap_limit", "overlap_limit", span(1, 3600)),
            ("limits", "memory_max", "memory_max", size(64 << 20, 64 << 30)),
            ("limits", "memory_ceiling", "memory_ceiling", size(64 << 20, 64 << 30)),
            ("limits", "tasks_max", "tasks_max", count(8, 4096)),
            ("limits", "job_memory_max", "job_memory_max", size(64 << 20, 64 << 30)),
        )
    ),
    *(
        replace(setting, default="that of streamvaultd.toml", about="As in streamvaultd.toml(5).")
        for setting in SETTINGS
        if setting.section == "retention"
    ),
    Option("filters", "title_include", _pattern, "filters.title_include", "all",
        "Only broadcasts are recorded whose title holds a match of this regular expression, whatever the case."),
    Option("filters", "title_exclude", _pattern, "filters.title_exclude", "none", "Broadcasts are not recorded then."),
    Option("filters", "category_include", _pattern, "filters.category_include", "all", "The same for the category."),
    Option("filters", "category_exclude", _pattern, "filters.category_exclude", "none", "The same for the category."),
    Option("filters", "days", _days, "filters.days", "all",
        "Weekdays on which a recording may begin: mon, tue, wed, thu, fri, sat, sun."),
    Option("filters", "hours", _hours, "filters.hours", "all",
        "Times between which a recording may begin, such as 18:00-02:30; what is after midnight belongs to the day "
        "before."),
    Option("filters", "timezone", _timezone, "filters.timezone", "UTC", "Of days and hours, such as Europe/Berlin."),
    Option("filters", "stop_on_change", flag, "filters.stop_on_change", "false",
        "A recording ends when title, category, day and hour do not match any more."),
    Option("streamlink", "options", options, "options", "{}",
        "Further long options of streamlink, without the dashes; they come after those of streamvaultd.toml."),
    Option("streamlink", "browser", flag, "policy.browser", "false",
        "Whether a plugin of streamlink may start a browser for it. Its segments are confined less then: they can "
        "use Unix sockets and shared memory, and see the names of the service's processes. For files of its own the "
        "browser may need ``[streamlink] read``."),
    Option("streamlink", "proxy", choice, "proxies", "[]",
        "Proxies, best first, as a URL or a list; a name stands for those of a pool in streamvaultd.toml, and "
        "\"direct\" for none. See PROXIES."),
    Option("streamlink", "secrets", names, "secrets", "[]",
        "Credentials with further options, such as tokens and cookies; see SECRETS."),
    Option("notifications", "to", targets, "notify", "that of streamvaultd.toml",
        "Who is notified of what happens to this streamer, as in streamvaultd.toml(5); [] is nobody."),
    Option("notifications", "events", topics, "events", "that of streamvaultd.toml",
        "Of what, as in streamvaultd.toml(5)."),
)  # fmt: skip
NOT_BY_STREAMER: Final[Mapping[str, str]] = {
    "post-processing": '"container" in [recording] says what a joined file is made. For what else is to be done, '
    "'streamvaultctl monitor', events on the socket and the journal say when a recording is complete",
}
"""What people look for in a streamer's file and do not find, and what to do instead; see streamvaultd.streamer(5)."""

_BY_KEY: Final = {(known.section, known.key): known for known in KEYS}


def parse(
    document: Mapping[str, Any], file: str, name: str, pools: Mapping[str, Pool] | None = None
) -> tuple[Streamer | None, list[VaultError]]:
    """The streamer that a parsed file describes, None if it has mistakes; and those, all of them.

    The pools of proxies that it names are put in their place.
    """
    found: dict[str, dict[str, Any]] = {"": {}, "policy": {}, "filters": {}, "retention": {}}
    wrong = partial(ConfigInvalid, file=file)
    mistakes: list[VaultError] = []
    if not NAME.fullmatch(name):
        mistakes.append(wrong(section="", key="", value=shown(name), why="the file's name is no name of a streamer"))
    for section, content in document.items():
        entries = content.items() if isinstance(content, dict) else [("", content)]
        for key, value in entries:
            try:
                known = _key(section, key)
                where, _, field = known.target.rpartition(".")
                found[where][field] = known.parse(value)
            except ValueError as error:
                mistakes.append(wrong(section=section, key=key, value=_shown(section, key, value), why=str(error)))
    if not mistakes and "url" not in found[""]:
        mistakes.append(wrong(section="streamer", key="url", value="''", why="it must be there"))
    longest, least = found[""].get("max_duration"), found["policy"].get("min_duration", 0)
    if not mistakes and longest is not None and longest < least:
        why = "it must not be more than max_duration: nothing would ever be kept"
        mistakes.append(wrong(section="recording", key="min_duration", value=f"{least:g}", why=why))
    try:
        found[""]["proxies"] = expand(found[""].get("proxies", ()), pools or {})
    except Unfit as error:
        mistakes.append(wrong(section="streamlink", key="proxy", value=HIDDEN, why=str(error)))
    if mistakes:
        return None, mistakes
    policy, retention = (tuple(sorted(found[part].items())) for part in ("policy", "retention"))
    filters = Filters(**found["filters"])
    return Streamer(name=name, file=file, policy=policy, retention=retention, filters=filters, **found[""]), []


def _key(section: str, key: str) -> Option:
    known = _BY_KEY.get((section, key))
    for word in (section, key) if known is None else ():
        if word.replace("_", "-") in NOT_BY_STREAMER:
            raise Unfit(NOT_BY_STREAMER[word.replace("_", "-")])
    if known is None:
        raise Unfit(f"no such setting; there are {_known(section)}")
    return known


def _known(section: str) -> str:
    keys = [known.key for known in KEYS if known.section == section]
    return ", ".join(keys) if keys else "[" + "], [".join(dict.fromkeys(known.section for known in KEYS)) + "]"


def _shown(section: str, key: str, value: object) -> str:
    """Values that may hold credentials are not shown; those of settings that there are not may be anything."""
    is_open = (section, key) in _BY_KEY and key not in ("url", "options", "proxy", "secrets", "to")
    return shown(value) if is_open else HIDDEN


def load(
    folders: tuple[Path, Path], before: Mapping[str, Streamer], pools: Mapping[str, Pool] | None = None
) -> tuple[dict[str, Streamer], tuple[VaultError, ...]]:
    """All streamers of these folders, the administrator's first, and every mistake.

    One whose file has mistakes, or cannot be read, is as he was `before`, or is left out.
    """
    found: dict[str, Streamer] = {}
    mistakes: list[VaultError] = []
    for folder, is_ours in zip(folders, (False, True), strict=True):
        try:
            files = sorted(file for file in folder.iterdir() if file.suffix == ".toml")
        except FileNotFoundError:
            continue
        except OSError as error:  # must not pass for a folder without files
            mistakes.append(ConfigUnreadable(file=str(folder), why=error.strerror or str(error)))
            continue
        for file in files:
            name = file.stem
            if name in found:
                continue
            if len(found) >= STREAMERS_MAX:
                why = f"there are more than {STREAMERS_MAX} streamers, {readable(file)} and what follows are left out"
                mistakes.append(ConfigUnreadable(file=str(folder), why=why))
                return found, tuple(mistakes)
            streamer, wrong = read(file, pools)
            mistakes += wrong
            kept = before.get(name) if streamer is None else replace(streamer, is_ours=is_ours)
            if kept is not None:
                found[name] = kept
    return found, tuple(mistakes)


def doubtful(mistakes: Iterable[VaultError]) -> frozenset[str] | None:
    """The names of those whose own files have these mistakes; None if it may be anybody's."""
    files = [Path(str(mistake.fields["file"])) for mistake in mistakes]
    return frozenset(file.stem for file in files) if all(file.suffix == ".toml" for file in files) else None


def read(file: Path, pools: Mapping[str, Pool] | None = None) -> tuple[Streamer | None, list[VaultError]]:
    """The streamer in a file, or its mistakes."""
    try:
        document = tomli.loads(content(file))
    except (OSError, ValueError, RecursionError) as error:
        return None, [ConfigUnreadable(file=readable(file), why=_why(error))]
    return parse(document, readable(file), file.stem, pools)


def _why(error: Exception) -> str:
    """Of what is wrong with a file that is named already."""
    return error.strerror or "it cannot be opened" if isinstance(error, OSError) else str(error)


def content(file: Path) -> str:
    """The text of a streamer's file; raises OSError, and ValueError for what is none."""
    with open(file, "rb", opener=_open_now) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise ValueError("it is no regular file")
        found = opened.read(FILE_MAX + 1)
    if len(found) > FILE_MAX:
        raise ValueError(f"it has more than {FILE_MAX} bytes")
    return found.decode()


def _open_now(path: str, flags: int) -> int:
    """Without waiting for somebody at the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)
