# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemon tells people: one entry a notice, with its MESSAGE_ID, level and text, sent to the journal.

The catalogue (systemd/streamvaultd.catalog) has an entry for each MESSAGE_ID; a test compares the two. Levels:
an expected end is INFO or NOTICE, a recoverable surprise WARNING, ERROR only where media may be lost, or where what an
administrator ordered is not done (syslog(3)). The broker's own are in brokerd/notices.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from streamvaultd.core.cause import Cause
from streamvaultd.core.model import Recorder, Told
from streamvaultd.core.notifying import Worth
from streamvaultd.core.recording.effects import Announce, Notice
from streamvaultd.core.watching.model import Remark
from systemd import journal

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6


@dataclass(frozen=True, slots=True)
class Entry:
    """`text` may name {streamer}, {recording}, {segment}, {cause} and the notice's own fields."""

    message_id: str
    priority: int
    text: str


ENTRIES: Final[Mapping[str, Entry]] = {
    Notice.RECORDING_STARTED: Entry(
        "3f33f6d7f6d9471983167765bcca19de", NOTICE, "Recording {recording} of '{streamer}' begins"
    ),
    Notice.SEGMENT_STARTED: Entry("ff6a35097f044c65b2f312c4b83c549b", INFO, "Segment {segment} of '{streamer}' runs"),
    Notice.MEDIA_ARRIVED: Entry(
        "ddbfce3bd42f488f99608ba9bb3e438b", NOTICE, "Segment {segment} of '{streamer}' records"
    ),
    Notice.SEGMENT_ENDED: Entry(
        "4e07acd7e5d140faaefba2966ded9772", INFO, "Segment {segment} of '{streamer}' ended ({cause}): {why}"
    ),
    Notice.SEGMENT_DIED: Entry(
        "78cd894fe2d649a4af1d944606ba06d5", WARNING, "Segment {segment} of '{streamer}' died ({cause}): {why}"
    ),
    Notice.MEDIA_GONE: Entry(
        "a5eab72e343e498bafe9cbb6edc75118",
        ERROR,
        "Segment {segment} of '{streamer}' had {known} bytes, its file has {size}: somebody removed or cut it",
    ),
    Notice.FILE_TAKEN: Entry(
        "eee501f43dbd4991baa4b87a9fea37f3",
        WARNING,
        "Somebody has {how} the file of segment {segment} of '{streamer}' while it is written: {then}",
    ),
    Notice.CAUSE_CORRECTED: Entry(
        "b0d9b9a94bd6424793c47f56cf7ebf03",
        NOTICE,
        "Segment {segment} of '{streamer}' died of {cause}, not of {before}",
    ),
    Notice.LAUNCH_FAILED: Entry(
        "73537b035ad340a497066ed7d64afe9e", WARNING, "Cannot start segment {segment} of '{streamer}': {why}"
    ),
    Notice.ROTATION_STARTED: Entry(
        "5f83a6815ff54364aa6af2ca577fc817", INFO, "Rotating segment {segment} of '{streamer}' to segment {new}"
    ),
    Notice.ROTATION_DONE: Entry(
        "c401fcc431164b9a836ac829a6817f90", NOTICE, "Successfully rotated to segment {new} of '{streamer}'"
    ),
    Notice.ROTATION_GONE_ON: Entry(
        "edbc5b9e44c54a41b51c2f40ff4aa989",
        NOTICE,
        "Segment {old} of '{streamer}' already terminated externally, continuing with rotation to segment {segment}",
    ),
    Notice.ROTATION_FAILED: Entry(
        "6255c60790bc40c288fc009c05542c2e",
        WARNING,
        "Rotation of '{streamer}' to segment {segment} failed ({cause}): {why}; segment {old} records on",
    ),
    Notice.OVERLAP_UNPROVEN: Entry(
        "d1452170e7ac45e6bd70a8937ff57ae6",
        WARNING,
        "Rotation of '{streamer}' from segment {old} to {segment} went on without proof that they overlap",
    ),
    Notice.MEDIA_MISSED: Entry(
        "cba0a5c352664f9ab08f523f78d60150",
        WARNING,
        "Segment {segment} of '{streamer}' has missed media ({why}), segment {new} fetches what is still offered",
    ),
    Notice.SUSPECTED: Entry(
        "a29a050307a14239bdad58e80953ec17",
        NOTICE,
        "Segment {segment} of '{streamer}' may be losing media ({why}), segment {new} starts beside it",
    ),
    Notice.STREAM_STILL: Entry(
        "31c2897b1a854cd49b54dfa285d98e3f", WARNING, "In segment {segment} of '{streamer}' {why}"
    ),
    Notice.STREAM_MOVES: Entry(
        "5c7e550746524fbc9ce0f2b46a59c5b4", NOTICE, "In segment {segment} of '{streamer}' all streams go on again"
    ),
    Notice.CONTAINER_UNFIT: Entry(
        "bc55d039ba214ea090825a89372ee223",
        WARNING,
        "Recording {recording} of '{streamer}' will not become an MP4: {why}; it stays as it comes",
    ),
    Notice.BESIDE_FAILED: Entry(
        "d0b0b558b864485c8d746657a32a5973",
        INFO,
        "Segment {segment} of '{streamer}' could not start beside segment {old} ({cause}): {why}",
    ),
    Notice.SOURCE_SILENT: Entry(
        "d8c5d9749ec74915b0db884e855b9e82",
        NOTICE,
        "The source of '{streamer}' is over or silent ({why}), waiting for it for {grace} at least",
    ),
    Notice.SOURCE_BACK: Entry("a3bbbac53261431e942e839842ba634c", NOTICE, "The source of '{streamer}' is live again"),
    Notice.STALLED: Entry(
        "defc4f87b0fb46e9a5b2db039485228e",
        WARNING,
        "Segment {segment} of '{streamer}' hangs ({cause}): {why}, replacing it",
    ),
    Notice.MEMORY_RAISED: Entry(
        "69aa5efcd33d4006888b4bd6901a0a9d",
        NOTICE,
        "Segments of '{streamer}' get {limit} of memory from now on; segment {segment} had {before}",
    ),
    Notice.MEMORY_NEAR: Entry(
        "c22a1b11365a4c3b88cfd4adac86d60d",
        WARNING,
        "Segment {segment} of '{streamer}' holds {anon} of its {limit} of memory, rotating it to segment {new}",
    ),
    Notice.DISK_LOW: Entry(
        "51f0da78d06a4b9da145c8bd1a7a61c1", ERROR, "Recording {recording} of '{streamer}' pauses, no room: {why}"
    ),
    Notice.DISK_FREED: Entry(
        "b5536a3928ce4dd4919b1c773029fe94",
        NOTICE,
        "There is room again, recording {recording} of '{streamer}' goes on",
    ),
    Notice.STOP_OVERDUE: Entry(
        "7c0dd8e6b2c84ec08c69fc6c1f50ac10",
        WARNING,
        "Segment {segment} of '{streamer}' does not stop after {tries} tries",
    ),
    Notice.STOPPING: Entry(
        "0112dc29735d42339a8d115733830989", NOTICE, "Stopping recording {recording} of '{streamer}': {why}"
    ),
    Notice.ADOPTED: Entry(
        "b88d634b46744486b4e3eed6117b05ca", NOTICE, "Adopted running segment {segment} of '{streamer}'"
    ),
    Notice.JOIN_STARTED: Entry(
        "3ac89a2f464643009f0b0b639ddcfa41", INFO, "Joining the segments of '{streamer}' ({segments})"
    ),
    Notice.JOIN_FAILED: Entry(
        "f0dc428c32ff4f52a050c57d1df92a1e",
        WARNING,
        "Cannot join recording {recording} of '{streamer}' (try {tries}), trying again in {pause}: {why}",
    ),
    Notice.UNJOINED: Entry(
        "8e5f1d0b6a7c4f3ea2d94b7c10fe6358",
        ERROR,
        "Recording {recording} of '{streamer}' has no file yet, {tries} joins in a row have failed: {why}",
    ),
    Notice.RECORDING_COMPLETED: Entry(
        "89092b30eb82409885b054be6ad161d9", NOTICE, "Recording {recording} of '{streamer}' is complete: {path}"
    ),
    Notice.RECORDING_STOPPED: Entry(
        "cb1680cf65024d61be1247e8e8f54c52", NOTICE, "Recording {recording} of '{streamer}' was stopped: {path}"
    ),
    Notice.RECORDING_FAILED: Entry(
        "564dc4c7ea4a42cda0bab8564a0c2e0a", ERROR, "Recording {recording} of '{streamer}' failed: {why}"
    ),
    Notice.RETRYING: Entry(
        "98893ebdf5a84f299d047328c9939fe2",
        NOTICE,
        "Recording {recording} of '{streamer}' is tried again, it was {state}",
    ),
    Notice.MEDIA_PRUNED: Entry(
        "84ded028e11f4c689e49e692f9e4699d",
        NOTICE,
        "The media of recording {recording} of '{streamer}' were removed by request: {files} files, {size} bytes",
    ),
    Notice.MEDIA_EXPIRED: Entry(
        "6a1d4c8e92f74b0fb35e7d2a90c6f814",
        NOTICE,
        "The media of recording {recording} of '{streamer}' are not kept any longer ({rule}), they were removed: "
        "{files} files, {size} bytes",
    ),
    Notice.NOT_KEPT: Entry(
        "3b5e7f0a9c4d4e1f8a6b2c0d7e9f1a34", NOTICE, "Recording {recording} of '{streamer}' is not kept: {why}"
    ),
    Notice.MEDIA_DISCARDED: Entry(
        "c1f4a8d2e6b049739d5e0f7a3b8c2d61",
        NOTICE,
        "The media of recording {recording} of '{streamer}' are discarded: {files} files, {size} bytes",
    ),
}

DAEMON_STARTED: Final = Entry(
    "dc3ef987671d40e6875964d24cf02371", NOTICE, "streamvaultd {version} is ready: {adopted} segments adopted"
)
DAEMON_STOPPED: Final = Entry(
    "589b8266cbfc4d81b59e8c04b712f0a5", NOTICE, "streamvaultd stops; {live} segments record on without it"
)
DAEMON_FAILED: Final = Entry("53d9593ac8c64becb5bdfa90e12f8eca", ERROR, "streamvaultd ends, it cannot go on: {why}")
SETTINGS_APPLIED: Final = Entry(
    "88a046b7dfde49e39a6575b23d5b53b8", NOTICE, "Settings reloaded; they apply to what starts next"
)
SETTINGS_REFUSED: Final = Entry(
    "a9d537b4a36e405ab434054741318e1b", ERROR, "Settings not reloaded, the old ones stay: {why}"
)
SETTINGS_MISTAKEN: Final = Entry(
    "af11a2de4b7245bb9304323c1d5b34c2", ERROR, "Settings with mistakes, the last ones without apply: {why}"
)
STORE_FAILED: Final = Entry(
    "94e6c71e346c4827beded8c582a6646a", ERROR, "Cannot save the state of '{streamer}', trying again: {why}"
)
STREAMLINK_OLD: Final = Entry("c91b8286b6144edb861ecd58745df434", WARNING, "{why}")
ORPHAN_STOPPED: Final = Entry(
    "133169599fac4ff78a921354a2251a8b", WARNING, "Scope {unit} runs though no recording knows it, stopping it"
)
START_WAITS: Final = Entry("f9612f14d5d94f89bbc4f2ae3de0889c", NOTICE, "Starting, and waiting for {what}")
BUS_LOST: Final = Entry("d05b9c65ee0d496eb3bdf8bfcea3a18c", WARNING, "Lost the system bus, connecting again: {why}")
WITNESS_MISSING: Final = Entry(
    "178f9a9ed00441d299612118386cebff", WARNING, "Cannot listen to {witness}, going on without: {why}"
)
CONFINEMENT_LACKS: Final = Entry(
    "5c8e0b2f6f1d4f0c8f6c1a8d8a5b7f34", WARNING, "Segments are not confined as they should be: {why}"
)
JOURNAL_GAP: Final = Entry(
    "7c0e47f7f7f441eda282e9326d323f2c",
    INFO,
    "The journal does not reach back to where it was last read: how segments ended since may be unclear",
)
SYNC_FAILED: Final = Entry(
    "04e01b2aa02d493aa77592614c7a3776",
    ERROR,
    "Segment {segment} of '{streamer}' cannot be put on disk, some of it may be lost: {why}",
)
JOIN_WAITS: Final = Entry(
    "f2d601952fa14bdbb5e2e482442e721d",
    WARNING,
    "The join of recording {recording} of '{streamer}' waits for room: {why}",
)
JOIN_HELD_UP: Final = Entry(
    "4f5f8aac1e5f44dfa33790abce2c9022",
    WARNING,
    "Cannot go on with the join of recording {recording} of '{streamer}': {why}, trying again",
)
LEAD_LEFT_OUT: Final = Entry(
    "8d2f6b1e4a7c4c0fb93d5e7a1c0b8f42",
    NOTICE,
    "The first {seconds} s of recording {recording} of '{streamer}' are left out, the recording before ends with them: "
    "{size} bytes",
)
SCOPE_TROUBLE: Final = Entry(
    "e3bad67998604fc2a28156c10cd90187", WARNING, "Cannot stop scope {unit}: {why}, trying again"
)
DISK_HANGS: Final = Entry(
    "361e229b93564e2cbacb148563109a0e",
    WARNING,
    "A call for {lane} hangs, others go on in its place: does the disk answer?",
)
LOOK_FAILED: Final = Entry("e216adecb9cf4f49b62590b2cc27c0f1", WARNING, "Cannot answer {method}: {why}")
ROW_UNREADABLE: Final = Entry(
    "48ebd72d850846609c971ae8faec4836",
    ERROR,
    "Cannot read recording {recording} in the store, it is left as it is: {why}",
)
ROW_MENDED: Final = Entry(
    "8423bb6583de4906af1739e2eba4476b",
    WARNING,
    "Recording {recording} of '{streamer}' was {before} by its row, and its segments were not: it is {after} now",
)
AUDIT_FOUND: Final = Entry("06fec43e2fc4479eb9a5bb4a2aadf22d", WARNING, "The audit found {what}")
AUDIT_REPAIRED: Final = Entry("68ce1f62ccd4404a9ed8bd714230d2a2", NOTICE, "Cleaned up {subject}: {done}")
AUDIT_UNPROVEN: Final = Entry(
    "01869fa11a644167997897b1172f6b09",
    WARNING,
    "Recording {recording} of '{streamer}' keeps its segments, {path} cannot be proven to be what they make: {why}",
)
AUDIT_FAILED: Final = Entry("a6e527caf5964c09ad8619273f245d8a", WARNING, "The audit was not finished: {why}")
MANIFEST_FAILED: Final = Entry(
    "d0b2a6e3f5c94f6c8a7e5a0b1c9d4e72",
    WARNING,
    "Cannot write {path}, the manifest of recording {recording} of '{streamer}': {why}",
)
RESCAN_DONE: Final = Entry(
    "5e8f0c1d7b3a4c2f9d6e4b8a2f1c7d30", NOTICE, "Rebuilt {rebuilt} recordings from {found} found on disk"
)
METRICS_FAILED: Final = Entry("b7e0d6a41f0d4a3c9a6c1b5f5b0e2d87", WARNING, "Cannot provide metrics in {what}: {why}")
FILES_TROUBLE: Final = Entry("41cb4b9221184f75837fde1378776211", WARNING, "Cannot tidy up after '{streamer}': {why}")
RETENTION_FAILED: Final = Entry(
    "e84b07f35c1a4d6c92d8a1f6b7305e2d",
    WARNING,
    "Cannot remove the media of recording {recording} of '{streamer}', which are not to be kept ({rule}): {why}",
)
CLOCK_STEPPED: Final = Entry(
    "2c95e0b7d84f4a13b6f2903dce7a518b",
    NOTICE,
    "The clock was set, or the machine slept: for {wait} no media are removed for their age",
)

CATALOGUE_AWAY: Final = Entry(
    "13853f4e24714bbaa7ad279ce51d10d8", WARNING, "The catalogue cannot be fed, what happens is kept for it: {why}"
)
CATALOGUE_BACK: Final = Entry(
    "0086eb1f43b94326b813272d807e8b64", NOTICE, "The catalogue is fed again, {backlog} changes are left"
)

STREAMERS_REFUSED: Final = Entry(
    "e1bb32cce63e4d8c8fdb43e9d9bd20f1", ERROR, "Streamers with mistakes in their files stay as they were: {why}"
)
PROBE_LOST: Final = Entry(
    "6de9e2d2a3c34b6d90a0e59b7c0f1a52",
    WARNING,
    "The process that asks who is live was lost, another one takes over: {why}",
)
SECRETS_REFUSED: Final = Entry(
    "0b7a7be1fd4b4bd4a4f5c5e92e0d8c37",
    WARNING,
    "The site of '{streamer}' refuses the secrets of his file, going on without them",
)
TWITCH_AWAY: Final = Entry(
    "d2c8f3ab6e5b4a0f8f1c7f0a3f6b92ce",
    WARNING,
    "Twitch's interface cannot be used, its channels are asked one by one: {why}",
)
TWITCH_SILENT: Final = Entry(
    "5b1f0c4a9d0e4b7cb8f5e2a6d3c1970e",
    WARNING,
    "Twitch's events cannot be had, its channels are asked as often as ever: {why}",
)
REMARKS: Final[Mapping[str, Entry]] = {
    Remark.LIVE: Entry("7c0a2b1f4bb24c8c9dc1f3b5a3be4f60", NOTICE, "'{streamer}' is live: {why}"),
    Remark.LEFT_OUT: Entry("a4dc92c44d7e4a58b6a0c9f45b1c2de7", INFO, "'{streamer}' is live and not recorded: {why}"),
    Remark.UNRECORDED: Entry(
        "3d1e5c8a7b9f4e02a6c4d8f0b2e7915c", WARNING, "'{streamer}' is live and cannot be recorded: {why}"
    ),
    Remark.TROUBLE: Entry(
        "c95be3b0a0a3459f8a7b7ffb21a0f3d9", WARNING, "Cannot tell whether '{streamer}' is live: {why}"
    ),
    Remark.WELL: Entry(
        "5f3b9f3de0d349c5b3c8a4b0f9b7d116", NOTICE, "It can be told again whether '{streamer}' is live"
    ),
}
"""Of the watcher."""

TARGETS: Final[Mapping[str, Entry]] = {
    Worth.FAILED: Entry("92b51d3bb1f44a1dbd5f4b8df8a6d0e3", WARNING, "Cannot notify '{target}': {why}"),
    Worth.WELL: Entry(
        "c7a92c1ee8c545c7a3c6f0cf1d1b7e58", NOTICE, "'{target}' is notified again, {lost} messages were not sent"
    ),
    Worth.OVERFULL: Entry(
        "1e6c3a0b5d0f4f7d9a5e7f4a86c2b9d1", WARNING, "More waits for '{target}' than is kept, the oldest is not sent"
    ),
}
"""Of those who are notified."""


EXPECTED_DEATHS: Final = frozenset({Cause.HOST_SHUTDOWN})
"""Causes of deaths that nobody is surprised at: they are told as a notice."""


def priority_of(notice: Notice, cause: str | None) -> int:
    """The level of a notice of the core."""
    if notice is Notice.SEGMENT_DIED and cause in EXPECTED_DEATHS:
        return NOTICE
    return ENTRIES[notice].priority


def fields_of(recorder: Recorder, attempt: int | None = None) -> dict[str, str]:
    """The journal fields that every line about a recording carries, streamlink's own lines included."""
    recording = recorder.recording
    found = {
        "STREAMVAULT_STREAMER": recording.streamer,
        "STREAMVAULT_STREAM": str(recording.stream),
        "STREAMVAULT_RECORDING": str(recording.id),
    }
    if attempt is not None:
        found["STREAMVAULT_SEGMENT"] = str(attempt)
    return found


@dataclass(frozen=True, slots=True)
class Said:
    """What the journal was told. `streamer` is "" if it was about none."""

    message_id: str
    priority: int
    streamer: str
    message: str


class Listener(Protocol):
    """Hears what the journal is told."""

    def hear(self, said: Said) -> None:
        """Must not wait."""


class Journal:
    """Sends notices to the journal (systemd.journal-fields(7)); `listener` hears of each."""

    def __init__(self, listener: Listener | None = None) -> None:
        self._listener = listener

    def announce(self, recorder: Recorder, announce: Announce) -> Told:
        """Tell one notice of the core; returns it as told, for subscribers and the store."""
        entry = ENTRIES[announce.notice]
        values = dict(announce.fields) | {
            "streamer": recorder.recording.streamer,
            "recording": str(recorder.recording.id),
            "segment": "-" if announce.attempt is None else f"{announce.attempt:03d}",
            "cause": announce.cause or "-",
        }
        message = entry.text.format_map(values)
        extra = fields_of(recorder, announce.attempt)
        if announce.cause is not None:
            extra["STREAMVAULT_CAUSE"] = announce.cause
        extra |= {f"STREAMVAULT_{name.upper()}": value for name, value in announce.fields}
        priority = priority_of(announce.notice, announce.cause)
        self._say(replace(entry, priority=priority), recorder.recording.streamer, message, extra)
        return Told(announce.notice.value, priority, message, announce.cause, announce.attempt)

    def tell(self, entry: Entry, recorder: Recorder | None = None, **values: object) -> None:
        """Tell one notice of the daemon itself."""
        extra = fields_of(recorder) if recorder else {}
        if recorder:
            values.setdefault("streamer", recorder.recording.streamer)
        elif "recording" in values:
            extra["STREAMVAULT_RECORDING"] = str(values["recording"])
        elif "streamer" in values:
            extra["STREAMVAULT_STREAMER"] = str(values["streamer"])
        message = entry.text.format_map({k: str(v) for k, v in values.items()})
        self._say(entry, str(values.get("streamer", "")), message, extra)

    def _say(self, entry: Entry, streamer: str, message: str, extra: Mapping[str, str]) -> None:
        journal.send(
            message, MESSAGE_ID=entry.message_id, PRIORITY=entry.priority, SYSLOG_IDENTIFIER="streamvaultd", **extra
        )
        if self._listener is not None:
            self._listener.hear(Said(entry.message_id, entry.priority, streamer, message))
