# SPDX-License-Identifier: GPL-3.0-or-later
"""Every setting, one row each. Limits, defaults, what a streamer's file may say, and the man pages follow from it.

After a change `python -m tests.unit.tables` writes the man pages' part anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from streamvaultd.config.addresses import CATALOGUE, CHAT_AUTHORITY, CHAT_CHANNEL, CHAT_SERVER, LISTEN, TEXTFILE
from streamvaultd.config.filename import FILENAME, USUAL
from streamvaultd.config.filters import HOURS, PATTERN, TIMEZONE, WEEKDAYS
from streamvaultd.config.inputs import DURATION_MIN
from streamvaultd.config.kinds import (
    COMMAND,
    DAY,
    FLAG,
    HOOKS,
    INFINITY,
    NETWORKS,
    PATH,
    PATH_TEXT,
    PATHS,
    QUALITY_LIST,
    QUALITY_NAMES,
    URL,
    SettingKind,
    choice,
    count,
    limit,
    size,
    some_of,
    span,
)
from streamvaultd.config.notifications import TARGETS, TOPICS
from streamvaultd.config.proxies import CHOICE, NAMES, URLS
from streamvaultd.config.streamlink_options import OPTIONS
from streamvaultd.config.uploads import REMOTES
from streamvaultd.core.after.graph import SIDECARS
from streamvaultd.core.model import Container, Library
from streamvaultd.core.topic import DEFAULT, Topic

POOL: Final = "proxies.NAME"
"""The section of a pool of proxies, whatever its name."""

HOUR: Final = 3600.0
TEN_YEARS: Final = 3650 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What is different about a setting in a streamer's file; "" and None: nothing. `default` is for people."""

    default: str = "that of streamvaultd.toml"
    about: str = ""
    section: str = ""
    target: str = ""
    kind: SettingKind | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of a section. `target` is the field it goes to, a dotted path.

    `default` is what a file could say, None if streamvaultd.toml has no such key; `own` is what a streamer's file has
    of it, None if nothing. Values that are `hidden` may hold credentials, and are not quoted.
    """

    section: str
    key: str
    kind: SettingKind
    target: str
    default: Any = None
    about: str = field(kw_only=True)
    own: Own | None = field(default=None, kw_only=True)
    hidden: bool = field(default=False, kw_only=True)

    @property
    def default_text(self) -> str:
        """The default as people read it, "" if there is none."""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, list):
            return f"[{', '.join(self.default)}]"
        if isinstance(self.default, bool):
            return str(self.default).lower()
        return "''" if self.default == "" else str(self.default if self.default is not None else "")

    @property
    def default_value(self) -> Any:
        """The default as the program goes by it."""
        return self.kind.parse(self.default)


SAME: Final = Own()
_MEMORY: Final = size(64 << 20, 64 << 30)
_WAIT: Final = span(5, HOUR)

SETTINGS: Final = (
    Setting("streamer", "url", URL, "url", own=Own(default=""), hidden=True,
            about="What to record: the channel's page, or a playlist, as streamlink takes it. Required."),
    Setting("streamer", "enabled", FLAG, "enabled", own=Own(default="true"),
            about="Whether the streamer is watched."),
    Setting("recording", "directory", PATH, "directory",
            "/var/lib/streamvaultd/recordings", own=Own(kind=PATH_TEXT),
            about="Where recordings go: DIRECTORY/STREAMER/FILE. Must be in ReadWritePaths= of the service."),
    Setting("recording", "filename", FILENAME, "filename",
            USUAL, own=SAME,
            about="Name of the joined file, without its suffix. Fields: {streamer} {start} {recording} {stream} {id} "
                  "{title} {category} {quality}. See FILE NAMES."),
    Setting("recording", "timezone", TIMEZONE, "policy.timezone", "UTC", own=SAME,
            about="Time zone of {start} in filename."),
    Setting("recording", "max_duration", span(DURATION_MIN, 30 * DAY), "max_duration",
            own=Own(default="none"),
            about="A recording ends after this much media; the rest of the broadcast is not recorded."),
    Setting("recording", "min_duration", span(0, DAY), "policy.min_duration",
            own=Own(default="0"),
            about="A broadcast that turns out to be shorter than this is not kept: its media are removed when it is "
                  "over. See WHAT IS NOT RECORDED."),
    Setting("recording", "quality", QUALITY_NAMES, "quality", "best",
            about="Qualities to record, best first, by streamlink's names.",
            own=Own(section="streamer", kind=QUALITY_LIST,
                    about="Qualities to record, best first, by streamlink's names. If none of them is offered, the "
                          "nearest below the last one is recorded, or else the nearest above.")),
    Setting("recording", "container", choice(Container), "policy.container",
            "received", own=SAME,
            about="What the joined file is: received (as the source sends it), or mp4, which ffmpeg makes of a "
                  "transport stream without changing picture or sound."),
    Setting("recording", "chapters", FLAG, "policy.chapters", default=True, own=SAME,
            about="Whether an MP4 that is made of a transport stream has chapters: one for each title and category of "
                  "the broadcast."),
    Setting("recording", "grace", span(0, DAY), "policy.grace", "60s", own=SAME,
            about="How long a source that has ended or fallen silent has to come back into the same recording."),
    Setting("recording", "outage", span(0, 30 * DAY), "policy.outage", "30min",
            own=SAME,
            about="How long to wait for a source while nobody can tell whether it is live; never less than grace."),
    Setting("recording", "start_timeout", _WAIT, "policy.start_timeout", "180s",
            own=SAME,
            about="How long a segment may run before its first media arrive; some sites show advertisements first."),
    Setting("recording", "stall_timeout", _WAIT, "policy.stall_timeout", "90s",
            own=SAME, about="How long a segment may write nothing before it is replaced."),
    Setting("recording", "start_attempts", count(1, 100), "policy.start_attempts", 3,
            own=SAME, about="How many segments may fail before any media arrive; then the recording has failed."),
    Setting("recording", "sync_interval", span(0.5, 300), "sync_interval", "5s",
            about="How often what was recorded is put on disk; a power loss costs this much at most."),
    Setting("rotation", "age", span(10, 30 * DAY), "policy.rotate_age", "23h58m48s",
            own=SAME,
            about="Maximum age of a segment before it is rotated. Daylight saving time does not change it."),
    Setting("rotation", "size", size(1 << 20, 1 << 50), "policy.rotate_size", "100G",
            own=SAME, about="Size at which a segment is rotated, 30 s after its first media at the earliest."),
    Setting("rotation", "overlap_limit", span(1, HOUR), "policy.overlap_limit",
            "180s", own=SAME,
            about="How long the old segment is kept beside a new one that is not yet proven to overlap it."),
    Setting("limits", "memory_max", _MEMORY, "policy.memory_max", "256M", own=SAME,
            about="MemoryMax= of each segment's scope."),
    Setting("limits", "memory_ceiling", _MEMORY, "policy.memory_ceiling", "1G",
            own=SAME,
            about="How far a recording's memory limit rises when its segments run out of memory; a value below "
                  "memory_max raises nothing."),
    Setting("limits", "tasks_max", count(8, 4096), "policy.tasks_max", 64, own=SAME,
            about="TasksMax= of each segment's scope."),
    Setting("limits", "job_memory_max", _MEMORY, "policy.job_memory_max", "512M",
            own=SAME, about="MemoryMax= of each job's scope."),
    Setting("after", "thumbnail", FLAG, "policy.thumbnail", default=False, own=SAME,
            about="Whether a picture of the joined file is made beside it, NAME-thumb.jpg. Needs ffmpeg."),
    Setting("after", "sheets", FLAG, "policy.sheets", default=False, own=SAME,
            about="Whether contact sheets are made, a picture every 10 s, as Jellyfin's pictures to scrub by: "
                  "NAME.trickplay/320 - 10x10/0.jpg. Needs ffmpeg."),
    Setting("after", "nfo", FLAG, "policy.nfo", default=False, own=SAME,
            about="Whether title, date and categories are written beside the joined file for media servers: NAME.nfo, "
                  "and tvshow.nfo of the streamer."),
    Setting("after", "library", choice(Library), "policy.library", "none", own=SAME,
            about="jellyfin: thumbnail, sheets and nfo are made, and names are those of episodes unless filename is "
                  "set. See MEDIA SERVERS."),
    Setting("upload", "remotes", REMOTES, "policy.upload", [], own=SAME,
            about="Remotes of rclone that get the joined file and what belongs to it, as NAME:PATH. How each is "
                  "reached is in the credential rclone.conf. See UPLOADS."),
    Setting("upload", "bandwidth", limit(size(8 << 10, 1 << 40)), "policy.upload_bandwidth", INFINITY, own=SAME,
            about="How many bytes a second are sent to a remote, or read back from it, at most."),
    Setting("hooks", "recording_started", HOOKS, "policy.hooks_started", [], own=SAME,
            about="Hooks that are called when the first media of a recording have arrived: "
                  "streamvault-hook-NAME@.service. See HOOKS in streamvaultd(8)."),
    Setting("hooks", "segment_complete", HOOKS, "policy.hooks_segment", [], own=SAME,
            about="Hooks that are called for each segment that is over, once its file is on disk."),
    Setting("hooks", "recording_complete", HOOKS, "policy.hooks_complete", [], own=SAME,
            about="Hooks that are called when a recording is joined, and what [after] makes of it is made or given "
                  "up."),
    Setting("hooks", "recording_failed", HOOKS, "policy.hooks_failed", [], own=SAME,
            about="Hooks that are called when a recording has failed."),
    Setting("hooks", "before_prune", HOOKS, "policy.hooks_prune", [], own=SAME,
            about="Hooks that are called before the media of a recording are removed. They stay if one fails."),
    Setting("retention", "keep_for", limit(span(HOUR, TEN_YEARS)), "retention.keep_for",
            INFINITY, own=SAME,
            about="How long media are kept after the recording has ended. See WHAT IS KEPT."),
    Setting("retention", "keep_recordings", limit(count(1, 1_000_000)),
            "retention.keep_recordings", INFINITY, own=SAME,
            about="How many recordings of each streamer keep their media; the newest ones do."),
    Setting("retention", "keep_size", limit(size(1 << 20, 1 << 50)), "retention.keep_size",
            INFINITY, own=SAME,
            about="How much is kept of each streamer: the newest recordings that fit, and always the newest one."),
    Setting("retention", "require_upload", FLAG, "retention.require_upload", default=True, own=SAME,
            about="Whether media that are to be uploaded stay until all their remotes have them. See UPLOADS."),
    Setting("disk", "reserve", span(0, DAY), "disk_reserve", "5min",
            about="Recordings pause when the disk would be full in less than this, at the rate at which it fills."),
    Setting("disk", "floor", size(0, 1 << 50), "disk_floor", "16M",
            about="Space that recordings always leave free on their disk."),
    Setting("watch", "interval", span(5, DAY), "watch_interval", "30s",
            about="How often each streamer is checked; twice as often around the times at which it usually goes live.",
            own=Own(section="streamer", target="interval", default="[watch] interval",
                    about="How often this streamer is checked.")),
    Setting("watch", "spacing", span(0, HOUR), "watch_spacing", "500ms",
            about="Minimum time between two requests to the same site, for all streamers together."),
    Setting("filters", "title_include", PATTERN, "filters.title_include",
            own=Own(default="all"),
            about="Record only broadcasts whose title contains a match of this regular expression, ignoring case."),
    Setting("filters", "title_exclude", PATTERN, "filters.title_exclude",
            own=Own(default="none"), about="Do not record broadcasts whose title contains a match of this."),
    Setting("filters", "category_include", PATTERN, "filters.category_include",
            own=Own(default="all"), about="Record only broadcasts whose category contains a match of this."),
    Setting("filters", "category_exclude", PATTERN, "filters.category_exclude",
            own=Own(default="none"), about="Do not record broadcasts whose category contains a match of this."),
    Setting("filters", "tags_include", PATTERN, "filters.tags_include",
            own=Own(default="all"),
            about="Record only broadcasts that have a tag that contains a match of this. See TAGS."),
    Setting("filters", "tags_exclude", PATTERN, "filters.tags_exclude",
            own=Own(default="none"),
            about="Do not record broadcasts that have a tag that contains a match of this: \"^rerun$\" leaves out "
                  "reruns. See TAGS."),
    Setting("filters", "days", WEEKDAYS, "filters.days", own=Own(default="all"),
            about="Weekdays on which a recording may begin."),
    Setting("filters", "hours", HOURS, "filters.hours", own=Own(default="all"),
            about="Times of the day between which a recording may begin; what is after midnight belongs to the day "
                  "before."),
    Setting("filters", "timezone", TIMEZONE, "filters.timezone", own=Own(default="UTC"),
            about="Time zone of days and hours."),
    Setting("filters", "stop_on_change", FLAG, "filters.stop_on_change",
            own=Own(default="false"),
            about="End a recording when the broadcast no longer passes these filters."),
    Setting("network", "allow", NETWORKS, "network_allow", [],
            about="Loopback, link-local and multicast networks that recordings, and the checks whether a streamer is "
                  "live, may reach. Without it they reach only those that their URL or proxy names. "
                  "[\"127.0.0.1\", \"::1\"] opens services of this machine."),
    Setting("streamlink", "command", COMMAND, "streamlink_command", "streamlink",
            hidden=True,
            about="The streamlink to run while none is installed by 'streamvaultctl streamlink install'."),
    Setting("streamlink", "install", choice(("root", "group")), "streamlink_install",
            "root",
            about="Who may install streamlink: root, or group (everyone who may use the daemon's socket)."),
    Setting("streamlink", "options", OPTIONS, "streamlink_options", {}, hidden=True,
            about="Further long options of streamlink, without the dashes.",
            own=Own(target="options", default="{}",
                    about="Further long options of streamlink, without the dashes; they come after those of "
                          "streamvaultd.toml.")),
    Setting("streamlink", "read", PATHS, "streamlink_read", [], hidden=True,
            about="Files and folders that segments may read besides the system's programs, certificates and resolver "
                  "files and their own streamlink: what a command or plugins of your own need."),
    Setting("streamlink", "browser", FLAG, "policy.browser", own=Own(default="false"),
            about="Whether a plugin of streamlink may start a browser. Its segments are then confined less: they can "
                  "use Unix sockets and shared memory, and see the names of the service's processes. For files of its "
                  "own the browser may need ``[streamlink] read``."),
    Setting("streamlink", "proxy", CHOICE, "proxies", own=Own(default="[]"), hidden=True,
            about="Proxies, best first; a name stands for a pool in streamvaultd.toml, and \"direct\" for no proxy. "
                  "See PROXIES."),
    Setting("streamlink", "secrets", NAMES, "secrets", own=Own(default="[]"), hidden=True,
            about="Credentials with further options, such as tokens and cookies. See SECRETS."),
    Setting("chat", "capture", FLAG, "policy.chat", default=False, own=SAME,
            about="Whether the chat of a broadcast is captured beside its video. For channels of Twitch."),
    Setting("chat", "channel", CHAT_CHANNEL, "policy.chat_channel", own=Own(default="none"),
            about="The channel on Twitch whose chat is captured, if that is not the one of the URL."),
    Setting("chat", "sidecars", some_of(SIDECARS), "policy.sidecars", [], own=SAME,
            about="In which formats a captured chat is written beside the joined file: ass and vtt are subtitles that "
                  "players show, NAME.ass and NAME.vtt; json is for TwitchDownloader, NAME-chat.json; text is "
                  "NAME-chat.txt. With library = \"jellyfin\" it is ass if none is named."),
    Setting("chat", "server", CHAT_SERVER, "chat_server", "irc.chat.twitch.tv:6697",
            about="The chat server, as HOST:PORT. It is reached by TLS alone; its certificate is always verified."),
    Setting("chat", "authority", CHAT_AUTHORITY, "chat_authority", "",
            about="A file of certificates with which the chat server's is verified; empty: the system's."),
    Setting("notifications", "to", TARGETS, "notify", [], hidden=True,
            about="Who is notified: names of credentials \"streamvault-notify.NAME\", each with a URL of apprise. A "
                  "streamer's file may name others.",
            own=Own(about="Who is notified of what happens to this streamer: names of credentials "
                          "\"streamvault-notify.NAME\"; [] is nobody.")),
    Setting("notifications", "events", TOPICS, "events", [*DEFAULT],
            about=f"Which events people are notified of, unless a streamer's file says otherwise: {', '.join(Topic)}.",
            own=Own(about=f"Which events of this streamer people are notified of: {', '.join(Topic)}.")),
    Setting("notifications", "hourly", count(1, 1000), "notify_hourly", 5,
            about="At most this many messages per hour for each event of each streamer; one summary counts the rest."),
    Setting("store", "catalogue", CATALOGUE, "catalogue", "", hidden=True,
            about="A PostgreSQL database that gets a copy of everything that is recorded; empty: none."),
    Setting("store", "path", PATH, "store_path",
            "/var/lib/streamvaultd/streamvaultd.sqlite", about="The SQLite file of the recorder's state."),
    Setting("metrics", "listen", LISTEN, "metrics_listen", "",
            about="Where metrics are served; empty: nowhere."),
    Setting("metrics", "textfile", TEXTFILE, "metrics_textfile", "",
            about="A file that gets the metrics, for the node exporter's textfile collector; empty: none."),
    Setting(POOL, "urls", URLS, "urls", [], hidden=True,
            about="Proxies of the pool NAME, best first; \"direct\" stands for no proxy."),
    Setting(POOL, "secrets", NAMES, "secrets", [], hidden=True,
            about="Credentials with further proxies of the pool, those with a password: their lines http-proxy=..."),
)  # fmt: skip


def _owned(setting: Setting, own: Own) -> Setting:
    """The setting as a streamer's file has it."""
    return replace(
        setting,
        section=own.section or setting.section,
        target=own.target or setting.target,
        kind=own.kind or setting.kind,
        about=own.about or setting.about,
        default=own.default or None,
    )


GENERAL: Final = tuple(each for each in SETTINGS if each.default is not None and each.section != POOL)
"""Those of streamvaultd.toml, but pools."""

POOLS: Final = {each.key: each for each in SETTINGS if each.section == POOL}
OWN: Final = tuple(_owned(each, each.own) for each in SETTINGS if each.own is not None)
"""Those of a streamer's file; their defaults are for people."""
