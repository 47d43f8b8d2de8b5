# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemon itself tells people: one entry a notice, with its MESSAGE_ID, level and text; and the journal.

The catalogue (systemd/streamvaultd.catalog) has an entry for each MESSAGE_ID; a test compares the two. What recordings
tell is in announced.py, what the broker tells in brokerd/notices.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from streamvaultd.core.cause import Cause
from streamvaultd.core.model import Recorder, Told
from streamvaultd.core.notifying import Worth
from streamvaultd.core.recording.effects import Announce, Notice
from streamvaultd.core.watching.model import Remark
from streamvaultd.reporting.announced import ENTRIES
from streamvaultd.reporting.entry import ERROR, INFO, NOTICE, WARNING, Entry
from systemd import journal

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
STEP_FAILED: Final = Entry(
    "6f0c8b7d1e6b4a55a7c3d2f94be1078a",
    WARNING,
    "Step {step} of recording {recording} of '{streamer}' failed and is tried again: {why}",
)
STEP_GIVEN_UP: Final = Entry(
    "b1d49e20c7f84d1f9a35e0c86d72f419",
    WARNING,
    "Step {step} of recording {recording} of '{streamer}' failed and is given up: {why}",
)
STEP_HELD_UP: Final = Entry(
    "3ce7a5f0482b4d6c8e19b60fd7a2c583",
    WARNING,
    "Cannot go on with step {step} of recording {recording} of '{streamer}': {why}, trying again",
)
HOOK_FAILED: Final = Entry(
    "9c3f51d8a0e84b7f8d26e71b54c0a39e",
    WARNING,
    "Hook {hook} for {event} of recording {recording} of '{streamer}' failed: {why}, see the journal of {unit}",
)
CHAT_DIED: Final = Entry(
    "4e5652179998458f9132f8b69a8e7fa4",
    WARNING,
    "What captures the chat of recording {recording} of '{streamer}' ended, trying again: {why}",
)
CHAT_LOST: Final = Entry(
    "467a09d8c7c848e4bed169754202fe98",
    WARNING,
    "The chat of recording {recording} of '{streamer}' has not been heard for {seconds} s",
)
CHAT_GAP: Final = Entry(
    "efbe495416ec4558957e33760767695c",
    NOTICE,
    "The chat of recording {recording} of '{streamer}' was not heard for {seconds} s, and is again",
)
CHAT_UNKNOWN: Final = Entry(
    "d061290ebf304baa8a23c603642ff40b",
    WARNING,
    "Cannot capture the chat of recording {recording} of '{streamer}': its URL names no channel of Twitch, "
    "set [chat] channel",
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
    "The site of '{streamer}' refuses the secrets of its file, going on without them",
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
"""Causes of deaths that nobody is surprised at: the journal has them as notices."""


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
    """What the journal was told. `streamer` is "" if it was about none; `title` is a site's words in the message."""

    message_id: str
    priority: int
    streamer: str
    message: str
    recording: int | None = None
    title: str = ""


class Listener(Protocol):
    """Hears what goes to the journal."""

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
        said = Said(entry.message_id, priority, recorder.recording.streamer, message, recorder.recording.id)
        self._say(said, extra)
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
        title = str(values["why"]) if entry is REMARKS[Remark.LIVE] else ""
        streamer = str(values.get("streamer", ""))
        self._say(Said(entry.message_id, entry.priority, streamer, message, title=title), extra)

    def _say(self, said: Said, extra: Mapping[str, str]) -> None:
        journal.send(
            said.message, MESSAGE_ID=said.message_id, PRIORITY=said.priority, SYSLOG_IDENTIFIER="streamvaultd", **extra
        )
        if self._listener is not None:
            self._listener.hear(said)
