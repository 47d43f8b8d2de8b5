# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watcher thinks in: watched streamers, what can happen to them, what it may ask for. All frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from streamvaultd.core.model import Instant, Moment
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.streamer import Streamer


class Mood(StrEnum):
    """Of a watched streamer."""

    DISABLED = "disabled"
    WAITING = "waiting"  # not asked yet
    OFFLINE = "offline"
    LIVE = "live"  # on air and not recorded: `detail` says why
    STARTING = "starting"  # a recording was asked for
    RECORDING = "recording"
    TROUBLE = "trouble"  # nobody could tell
    UNSUPPORTED = "unsupported"


class Trouble(StrEnum):
    """Whose trouble it is that nobody could tell."""

    NETWORK = "network"  # no name, no route, no answer: nothing was told of the site
    SITE = "site"  # the site, or its plugin, answered something else than yes or no
    PROBE = "probe"  # the process that asks


class Ended(StrEnum):
    """How a recording came to its end."""

    BROADCAST = "broadcast"  # the source is over
    REQUESTED = "requested"  # somebody stopped it
    DURATION = "duration"
    CHANGED = "changed"  # another broadcast began, or this one is not wanted any more
    FAILED = "failed"  # there never were media


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What was seen when a source was asked. `site_id` is the site's own name for the broadcast, "" if unknown.

    `mark` tells one state of a playlist from another; a playlist that advances never has the same again. `tags` are
    None if they were not told, which is another thing than that there are none.
    """

    outcome: Outcome
    detail: str = ""
    site_id: str = ""
    title: str = ""
    category: str = ""
    tags: tuple[str, ...] | None = None
    mark: str = ""
    streams: tuple[str, ...] = ()
    trouble: Trouble | None = None

    @property
    def has_details(self) -> bool:
        """Whether the site tells anything that may change during a broadcast."""
        return bool(self.site_id or self.title or self.category)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What a broadcast was tagged with when that was told last. `site_id` is the broadcast's, "" if unknown."""

    site_id: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A broadcast that is not to be recorded again: somebody stopped it, or it was long enough."""

    site_id: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The whole state of one watched streamer.

    `site_id`, `title` and `category` are of the broadcast that is recorded, or was last. `ended_at` is the end of the
    last recording until the source is seen to be off air or on air anew. `usual` are minutes of the day (UTC) at which
    broadcasts began. `untagged`: what is recorded was begun before its tags were known, and they are filtered.
    """

    streamer: Streamer
    site: str  # of the streamer, kept because it is looked at all the time
    mood: Mood
    since: Moment
    detail: str = ""
    probe: int = 0  # identity of the latest question; an answer to another one is stale
    asked_at: Instant | None = None
    probe_at: Instant | None = None
    failures: int = 0
    unrecorded: int = 0  # recordings of this broadcast that were refused or had no media, in a row
    recording: int | None = None
    foreign: bool = False  # that recording is of another source than the streamer's file names
    site_id: str = ""
    title: str = ""
    category: str = ""
    tags: Tags | None = None
    untagged: bool = False
    ended_at: Instant | None = None
    mark: str = ""
    hold: Hold | None = None
    trouble: Trouble | None = None
    seen_at: Moment | None = None  # when it was last told whether it is live
    usual: tuple[int, ...] = ()

    @property
    def shown(self) -> tuple[object, ...]:
        """What a subscriber is told the change of: all that people see but for when it was and will be asked."""
        broadcast = self.site_id, self.title, self.category
        return self.streamer, self.mood, self.detail, self.trouble, self.recording, broadcast


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRules:
    """How often to ask, in seconds: one streamer, one site, and anybody."""

    interval: float = 30.0
    spacing: float = 0.5
    pace: float = 0.02
    asked_max: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchState:
    """All of them, by name. `free` is when a site may be asked again; "" is any site."""

    rules: WatchRules = field(default_factory=WatchRules)
    streamers: Mapping[str, Watched] = field(default_factory=dict)
    free: Mapping[str, Instant] = field(default_factory=dict)


# --- what can happen -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    at: Moment
    chance: float = 0.5
    """Between 0 and 1, drawn anew for each event: the core has no dice of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _StreamerEvent(_Event):
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the store knows of a streamer when the daemon starts."""

    site_id: str = ""
    ended: Ended | None = None
    ago: float | None = None
    """Seconds since the last recording ended."""

    recording: int | None = None
    usual: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured(_Event):
    """These are the streamers now. `past` is only of interest for those that were not known."""

    streamers: Mapping[str, Streamer]
    rules: WatchRules
    past: Mapping[str, Past] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeWanted(_StreamerEvent):
    """A person wants to know now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswered(_StreamerEvent):
    probe: int
    sighting: Sighting
    offset: int = 0
    """Seconds that the time zone of the streamer's filters is ahead of UTC now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighted(_StreamerEvent):
    """What was learnt of a streamer without having asked for that one."""

    sighting: Sighting
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hinted(_StreamerEvent):
    """Somebody says that there is something to be seen: no answer, but a reason to ask before all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingBegan(_StreamerEvent):
    """A recording of this streamer runs, whatever began it. `foreign`: it is of another source than its file's."""

    recording: int
    foreign: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRefused(_StreamerEvent):
    """The recording that was asked for could not be begun."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingOver(_StreamerEvent):
    """The source of this recording is not listened to any more."""

    recording: int
    ended: Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReturned(_Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Due(_Event):
    """The deadline has passed."""


Happening = (
    Configured | ProbeWanted | ProbeAnswered | Sighted | Hinted | RecordingBegan | RecordingRefused | RecordingOver
    | NetworkReturned | Due
)  # fmt: skip

# --- what may be asked for -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the source. -> ProbeAnswered"""

    name: str
    probe: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Record the broadcast that was seen. -> RecordingBegan | RecordingRefused"""

    name: str
    sighting: Sighting


@dataclass(frozen=True, slots=True)
class EndBroadcast:
    """The broadcast of this recording is over, or goes on and is `unwanted`. -> RecordingOver"""

    name: str
    recording: int
    why: str
    unwanted: bool = False


@dataclass(frozen=True, slots=True)
class NoteChange:
    """Title or category of the broadcast that is recorded have changed."""

    name: str
    recording: int
    title: str
    category: str


class Remark(StrEnum):
    """What is worth telling people about watching; each has an entry in reporting/notices.py."""

    LIVE = "streamer-live"
    LEFT_OUT = "streamer-left-out"
    UNRECORDED = "streamer-unrecorded"
    TROUBLE = "streamer-trouble"
    WELL = "streamer-well"


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell people."""

    name: str
    remark: Remark
    why: str = ""


Wish = Ask | Begin | EndBroadcast | NoteChange | Tell
