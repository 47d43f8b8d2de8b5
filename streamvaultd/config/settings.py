# SPDX-License-Identifier: GPL-3.0-or-later
"""Text -> Settings: TOML files parsed once, at the edge, into typed values.

Order, later wins key by key: built-in defaults, /usr/lib/streamvaultd/streamvaultd.toml,
/etc/streamvaultd/streamvaultd.toml, /etc/streamvaultd/conf.d/*.toml (by name). Sizes `100G`, time spans `23h58m48s`
as systemd writes them. All mistakes of all files are reported at once; nothing is guessed.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import tomli

from streamvaultd.base.units import exact_size, format_span
from streamvaultd.config import notifications as topics
from streamvaultd.config import proxies as pools
from streamvaultd.config.notifications import targets as _targets
from streamvaultd.config.notifications import topics as _topics
from streamvaultd.config.values import DAY, HIDDEN, INFINITY, Option, readable
from streamvaultd.config.values import Unfit as _Unfit
from streamvaultd.config.values import count as _count
from streamvaultd.config.values import limit as _limit
from streamvaultd.config.values import networks as _networks
from streamvaultd.config.values import options as _options
from streamvaultd.config.values import path as _path
from streamvaultd.config.values import quality as _quality
from streamvaultd.config.values import shown as _shown
from streamvaultd.config.values import size as _size
from streamvaultd.config.values import span as _span
from streamvaultd.config.values import text as _text
from streamvaultd.core.model import Container, Policy
from streamvaultd.core.topic import DEFAULT, Topic
from streamvaultd.core.upkeep.retention import Rules
from streamvaultd.core.watching.proxies import Pool
from streamvaultd.errors import ConfigInvalid, ConfigUnreadable, VaultError

TEMPLATE_FIELDS: Final = frozenset({"streamer", "start", "recording", "stream"})
ROOT: Final = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured; durations in seconds, sizes in bytes."""

    directory: Path = Path("/var/lib/streamvaultd/recordings")
    filename: str = "{streamer}_{start}_{recording}"
    quality: str = "best"
    policy: Policy = field(default_factory=Policy)
    streamlink_command: tuple[str, ...] = ("streamlink",)
    streamlink_options: tuple[tuple[str, str], ...] = ()
    streamlink_read: tuple[str, ...] = ()
    streamlink_install: str = "root"
    store_path: Path = Path("/var/lib/streamvaultd/streamvaultd.sqlite")
    catalogue: str = ""
    sync_interval: float = 5.0
    watch_interval: float = 30.0
    watch_spacing: float = 0.5
    network_allow: tuple[str, ...] = ()
    disk_reserve: float = 300.0
    disk_floor: int = 16 << 20
    metrics_listen: str = ""
    metrics_textfile: str = ""
    notify: tuple[str, ...] = ()
    events: tuple[Topic, ...] = DEFAULT
    notify_hourly: int = 5
    pools: Mapping[str, Pool] = field(default_factory=dict)
    retention: Rules = field(default_factory=Rules)


def check_container(value: Any) -> Container:
    """What a recording ends up as."""
    try:
        return Container(_text(value))
    except ValueError:
        raise _Unfit(f"it must be {' or '.join(Container)}") from None


def _installer(value: Any) -> str:
    if value not in ("root", "group"):
        raise _Unfit("it must be root or group")
    return str(value)


def check_template(value: Any) -> str:
    """A file name template: its text if it is usable, else ValueError with the reason."""
    template = _text(value)
    try:
        used = [(name, spec) for _, name, spec, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise _Unfit(str(error)) from None
    names = {name for name, _ in used}
    if unknown := sorted(names - TEMPLATE_FIELDS):
        raise _Unfit(f"'{unknown[0]}' is none of its fields ({', '.join(sorted(TEMPLATE_FIELDS))})")
    if "recording" not in names:
        raise _Unfit("it must contain {recording}, so that no two recordings have one name")
    if "/" in template or not template.isprintable() or template.startswith("."):
        raise _Unfit("it must be a file name, without '/' and control characters, and not beginning with '.'")
    if not all(re.fullmatch(r"[<>^]?\d{0,2}d?", spec or "", re.ASCII) for _, spec in used):
        raise _Unfit("what follows the ':' of a field may be a width such as 04d")
    _check_longest(template)
    return template


NAME_BYTES_MAX: Final = 200
"""Of a file's name without its suffix: file systems have 255 for both, and a job has a longer suffix."""


def _check_longest(template: str) -> None:
    try:
        name = template.format(streamer="x" * 64, start="x" * 20, recording=10**9, stream=10**9)
    except ValueError as error:
        raise _Unfit(str(error)) from None
    if len(name.encode()) > NAME_BYTES_MAX:
        raise _Unfit(f"names of files may become longer than {NAME_BYTES_MAX} bytes")


def _command(value: Any) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise _Unfit('it must be a command such as "streamlink" or a list of words')
    return tuple(words)


def _paths(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _Unfit("it must be a list of absolute paths")
    return tuple(str(_path(each)) for each in value)


def check_catalogue(value: Any) -> str:
    """The URL of a PostgreSQL database, without a password, or ""; else ValueError with the reason."""
    if value == "":
        return ""
    try:
        url = urlsplit(_text(value))
        is_known, has_password = url.scheme in ("postgresql", "postgres"), url.password is not None
        has_port = url.port is not None or not url.netloc.endswith(":")
    except ValueError as error:
        raise _Unfit(str(error)) from None
    if not (is_known and has_port and value[len(url.scheme) :].startswith("://") and url.path.strip("/")):
        raise _Unfit("it must be a URL such as postgresql://USER@HOST/DATABASE")
    if has_password or "password" in url.query:
        raise _Unfit("it must not hold the password: others can read it here. Use a pgpass credential")
    return "postgresql" + str(value)[len(url.scheme) :]


def _listen(value: Any) -> str:
    """An address that nobody else's machine can reach: a Unix socket, or a port on loopback."""
    if value == "":
        return ""
    text = _text(value)
    if text.startswith("unix:"):
        path = _path(text.removeprefix("unix:"))
        if len(str(path).encode()) > SOCKET_PATH_MAX:
            raise _Unfit(f"a socket's path has at most {SOCKET_PATH_MAX} bytes (unix(7))")
        return text
    host, _, port = text.rpartition(":")
    try:
        is_loopback = ip_address(host.strip("[]")).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback or not re.fullmatch(r"[1-9]\d{0,4}", port, re.ASCII) or int(port) > PORT_MAX:
        raise _Unfit('it must be "unix:/PATH", or a port of a loopback address such as 127.0.0.1:9464 or [::1]:9464')
    return text


def _textfile(value: Any) -> str:
    if value == "":
        return ""
    path = _path(value)
    if path.suffix != ".prom":
        raise _Unfit("the node exporter reads files whose names end in .prom")
    return str(path)


SOCKET_PATH_MAX: Final = 107
PORT_MAX: Final = 65535

HOUR: Final = 3600.0
TEN_YEARS: Final = 3650 * DAY

OPTIONS: Final = (
    Option("recording", "directory", _path, "directory", "/var/lib/streamvaultd/recordings",
           "Where recordings go: DIRECTORY/STREAMER/FILE. Must be in ReadWritePaths= of the service."),
    Option("recording", "filename", check_template, "filename", "{streamer}_{start}_{recording}",
           "Name of the joined file, without its suffix. Fields: {streamer} {start} {recording} {stream}."),
    Option("recording", "quality", _quality, "quality", "best", "Streamlink's names of qualities, best first."),
    Option("recording", "container", check_container, "policy.container", "received",
           "What the joined file is: received (as the source sends it), or mp4, which ffmpeg makes of a transport "
           "stream without a change to picture and sound."),
    Option("recording", "grace", _span(0, DAY), "policy.grace", "60s",
           "How long a source that ended or fell silent may take to come back into the same recording."),
    Option("recording", "outage", _span(0, 30 * DAY), "policy.outage", "30min",
           "How long a source is waited for when nobody can tell whether it is live; not less than grace."),
    Option("recording", "start_timeout", _span(5, 3600), "policy.start_timeout", "180s",
           "How long a segment may run before its first media arrive (advertisements come first on some sites)."),
    Option("recording", "stall_timeout", _span(5, 3600), "policy.stall_timeout", "90s",
           "How long a segment may write nothing before it is replaced."),
    Option("recording", "start_attempts", _count(1, 100), "policy.start_attempts", "3",
           "How many segments may fail before the first media until the recording has failed."),
    Option("recording", "sync_interval", _span(0.5, 300), "sync_interval", "5s",
           "So often, what was recorded is put on disk: it is what a power loss costs at most."),
    Option("rotation", "age", _span(10, 30 * DAY), "policy.rotate_age", "23h58m48s",
           "A segment that is so old is rotated; by a clock that knows no daylight saving."),
    Option("rotation", "size", _size(1 << 20, 1 << 50), "policy.rotate_size", "100G",
           "A segment that is so large is rotated."),
    Option("rotation", "overlap_limit", _span(1, 3600), "policy.overlap_limit", "180s",
           "How long the old segment is kept beside a new one that is not yet proven to overlap it."),
    Option("limits", "memory_max", _size(64 << 20, 64 << 30), "policy.memory_max", "256M",
           "MemoryMax= of each segment's scope."),
    Option("limits", "memory_ceiling", _size(64 << 20, 64 << 30), "policy.memory_ceiling", "1G",
           "How far the limit of a recording rises when its segments run out of memory; not less than memory_max."),
    Option("limits", "tasks_max", _count(8, 4096), "policy.tasks_max", "64", "TasksMax= of each segment's scope."),
    Option("limits", "job_memory_max", _size(64 << 20, 64 << 30), "policy.job_memory_max", "512M",
           "MemoryMax= of each job's scope."),
    Option("retention", "keep_for", _limit(_span(HOUR, TEN_YEARS)), "retention.keep_for", INFINITY,
           "Media of a recording that ended longer ago are removed. See WHAT IS KEPT."),
    Option("retention", "keep_recordings", _limit(_count(1, 1_000_000)), "retention.keep_recordings", INFINITY,
           "So many recordings of each streamer keep their media, the newest ones."),
    Option("retention", "keep_size", _limit(_size(1 << 20, 1 << 50)), "retention.keep_size", INFINITY,
           "So much of each streamer is kept: the newest recordings that fit, and the newest one in any case."),
    Option("disk", "reserve", _span(0, DAY), "disk_reserve", "5min",
           "Recordings pause when the disk will be full in less than this, at the rate at which it is written to."),
    Option("disk", "floor", _size(0, 1 << 50), "disk_floor", "16M",
           "What recordings leave free on their disk in any case."),
    Option("watch", "interval", _span(5, DAY), "watch_interval", "30s",
           "So often, it is asked whether a streamer is live; half of it around the usual times of the day."),
    Option("watch", "spacing", _span(0, 3600), "watch_spacing", "500ms",
           "So far apart are two questions to one site, however many streamers are watched there."),
    Option("network", "allow", _networks, "network_allow", "[]",
           "Networks that recordings may reach besides the internet: of loopback, link-local and multicast addresses, "
           "which are closed to a recording whose URL and proxy do not name them; and likewise questions whether "
           "somebody is live."),
    Option("streamlink", "command", _command, "streamlink_command", "streamlink",
           "The streamlink to run while none is installed by 'streamvaultctl streamlink install'."),
    Option("streamlink", "install", _installer, "streamlink_install", "root",
           "Who may have streamlink installed: root, or group, all who may use the daemon's socket."),
    Option("streamlink", "options", _options, "streamlink_options", "{}",
           "Further long options of streamlink, without the dashes."),
    Option("streamlink", "read", _paths, "streamlink_read", "[]",
           "Files and folders that segments may read besides the system's programs, certificates and resolver files "
           "and their own streamlink: what a command or plugins of your own need."),
    Option("notifications", "to", _targets, "notify", "[]",
           "Who is notified: names of credentials \"streamvault-notify.NAME\", each with a URL of apprise. A "
           "streamer's file may name others."),
    Option("notifications", "events", _topics, "events", "[completed, failed, disk]",
           "Of what, unless a streamer's file says otherwise: live, started, completed, stopped, failed, not-kept, "
           "death, gap, disk, trouble."),
    Option("notifications", "hourly", _count(1, 1000), "notify_hourly", "5",
           "So many messages about one event of one streamer in an hour; how many more there were, is told at its "
           "end."),
    Option("store", "catalogue", check_catalogue, "catalogue", "''",
           "A PostgreSQL database that gets a copy of all that is recorded: a URL without a password; empty: none."),
    Option("store", "path", _path, "store_path", "/var/lib/streamvaultd/streamvaultd.sqlite",
           "The SQLite file of the recorder's state."),
    Option("metrics", "listen", _listen, "metrics_listen", "''",
           "Where metrics are served: unix:PATH, or a loopback address and port; empty: nowhere."),
    Option("metrics", "textfile", _textfile, "metrics_textfile", "''",
           "A file that gets the metrics, for the node exporter's textfile collector; empty: none."),
)  # fmt: skip
_BY_KEY: Final = {(option.section, option.key): option for option in OPTIONS}


def files(root: Path = ROOT) -> tuple[Path, ...]:
    """The configuration files that exist, in the order in which they are read."""
    fixed = (root / "usr/lib/streamvaultd/streamvaultd.toml", root / "etc/streamvaultd/streamvaultd.toml")
    return (*(f for f in fixed if f.exists()), *sorted((root / "etc/streamvaultd/conf.d").glob("*.toml")))


def load(paths: tuple[Path, ...]) -> tuple[Settings, tuple[VaultError, ...]]:
    """Settings of these files on top of the defaults, and every mistake found; with mistakes, do not use them."""
    texts, unreadable = read(paths)
    settings, mistakes = parse(texts)
    return settings, (*unreadable, *mistakes)


def read(paths: tuple[Path, ...]) -> tuple[dict[str, str], tuple[VaultError, ...]]:
    """The files' texts by their names, in order; and those that cannot be read."""
    texts: dict[str, str] = {}
    mistakes: list[VaultError] = []
    for path in paths:
        try:
            texts[readable(path)] = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            mistakes.append(ConfigUnreadable(file=readable(path), why=why or str(error)))
    return texts, tuple(mistakes)


def parse(texts: Mapping[str, str]) -> tuple[Settings, tuple[VaultError, ...]]:
    """Settings of the texts of files on top of the defaults, and every mistake found."""
    settings = Settings()
    mistakes: list[VaultError] = []
    for file, text in texts.items():
        try:
            document = tomli.loads(text)
        except (ValueError, RecursionError) as error:
            mistakes.append(ConfigUnreadable(file=file, why=str(error)))
            continue
        settings, found = apply(settings, document, file)
        mistakes += found
    return settings, tuple(mistakes)


def apply(settings: Settings, document: Mapping[str, Any], file: str) -> tuple[Settings, list[VaultError]]:
    """The settings with one parsed document on top; `file` is named in the mistakes."""
    mistakes: list[VaultError] = []
    for section, key, value in _entries(document):
        option = _BY_KEY.get((section, key))
        why = f"no such setting; there are {_known(section)}"
        try:
            if option is not None:
                settings = _put(settings, option.target, option.parse(value))
                continue
            if section.startswith(f"{pools.SECTION}."):
                name = section.removeprefix(f"{pools.SECTION}.")
                settings = replace(settings, pools=pools.put(settings.pools, name, key, value))
                continue
        except ValueError as error:
            why = str(error)
        told = HIDDEN if option is None else _told(section, key, value)
        mistakes.append(ConfigInvalid(file=file, section=section, key=key, value=told, why=why))
    return settings, mistakes


def _told(section: str, key: str, value: object) -> str:
    """Values that may hold credentials are not shown."""
    is_secret = section in ("streamlink", topics.SECTION) or key == "catalogue"
    return HIDDEN if is_secret else _shown(value)


def _entries(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for section, content in document.items():
        if (
            section == pools.SECTION
            and isinstance(content, dict)
            and all(isinstance(c, dict) for c in content.values())
        ):
            yield from ((f"{section}.{name}", key, value) for name in content for key, value in content[name].items())
        elif isinstance(content, dict) and section in {option.section for option in OPTIONS}:
            yield from ((section, key, value) for key, value in content.items())
        else:
            yield section, "", content


def _known(section: str) -> str:
    keys = [option.key for option in OPTIONS if option.section == section]
    sections = dict.fromkeys([*(o.section for o in OPTIONS), pools.ANY])
    return ", ".join(keys) if keys else "[" + "], [".join(sections) + "]"


def _put(settings: Settings, target: str, value: Any) -> Settings:
    name, _, inner = target.partition(".")
    changes: dict[str, Any] = {name: replace(getattr(settings, name), **{inner: value}) if inner else value}
    return replace(settings, **changes)


def shown(option: Option, settings: Settings) -> str:
    """The value that an option has in these settings, as it is written in a file; streamlink's may be secrets."""
    value: Any = settings
    for name in option.target.split("."):
        value = getattr(value, name)
    if option.target == "streamlink_options":
        return "{ " + ", ".join(f'{name} = "{HIDDEN}"' for name, _ in value) + " }" if value else "{}"
    if isinstance(value, tuple):
        return " ".join(value) or "[]"
    if value is None:
        return INFINITY
    if isinstance(value, float):
        return format_span(round(value * 1e6)) if value else "0"
    if isinstance(value, int) and not isinstance(value, bool) and option.key in _SIZES:
        return exact_size(value)
    return str(value) if value != "" else "''"


_SIZES: Final = frozenset({"size", "memory_max", "memory_ceiling", "job_memory_max", "floor", "keep_size"})


def in_force(settings: Settings) -> Iterator[tuple[Option, str]]:
    """Every setting with the value that it has; secrets are not shown."""
    for option in OPTIONS:
        yield option, shown(option, settings)
    for name, pool in sorted(settings.pools.items()):
        for option in pools.OPTIONS:
            yield replace(option, section=f"{pools.SECTION}.{name}"), " ".join(getattr(pool, option.target)) or "[]"


assert {option.target.partition(".")[0] for option in OPTIONS} <= {f.name for f in fields(Settings)}  # noqa: S101
