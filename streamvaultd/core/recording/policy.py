# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure decisions with a number in them: when to try again, when to look, what counts as lasting."""

from __future__ import annotations

import re
from typing import Final

from streamvaultd.core.cause import Cause
from streamvaultd.core.flows import are_watched, is_open
from streamvaultd.core.model import Instant, Moment, Policy, Recorder, Segment
from streamvaultd.core.pace import flow_look, sign_hold, silence_limit, suspect_look
from streamvaultd.core.recording.loglines import Line

RETRY_DELAYS: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds; the longest leaves what a usual window (30 s) holds within reach."""
LASTING: Final = 60.0
"""A run that recorded for so long (s) proves that the last failure is over."""

MEASURE_MIN: Final = 0.5
"""The shortest time (s) between two looks at a file's size."""

FILL_PAUSE: Final = 60.0
FILL_PAUSE_MAX: Final = 3600.0
"""Seconds between two segments that are started because the one before has missed media: at first, and at most.

What the source itself does not have no segment can fetch, and each would say so again: the pause doubles every time.
"""

SUSPECT_HOLD_MAX: Final = 600.0
"""So long (s) a run stays suspected after a sign that its streamlink gives only once."""

ASK_MIN: Final = 2.0
ASK_REST: Final = 4.0
"""Seconds between two questions whether the source of a silent run goes on, and the share of the silence that is."""

BESIDE_PAUSE: Final = 3.0
BESIDE_PAUSE_MAX: Final = 60.0
"""Seconds between two tries to have a segment beside a suspected one: an eighth of how long it has been one."""

SIZE_REST: Final = 30.0
"""So long (s) a segment has recorded before it is rotated for its size: it begins with its source's window, and where
that alone is larger than the limit, each would be rotated at once."""

BESIDES_FREE: Final = 3
BESIDE_NEW: Final = 240.0
"""After so many replacements of runs that each lasted less than this (s), the next ones are made to wait, half of it
at most."""

INCOMPLETE_LIMIT: Final = 60.0
"""So long (s) after the last media a run is replaced of which one stream cannot be opened; later, one will do."""

QUALITY_LATE: Final = 1.0
"""So long (s) after its first media a segment's quality may not have been heard of yet."""

OVERLAP_RECHECK: Final = 0.5
"""The old segment needs one reload of the playlist to reach the new one's head; looked at again after so long (s)."""

PROBE_LIMIT: Final = 45.0
"""An answer that takes longer (s) is given up and asked for again."""

GRACE_ANEW: Final = 30.0
"""A daemon that was away gives a silent source so long (s) at least: nobody has asked it meanwhile."""

SEAL_LIMIT: Final = 60.0
"""An fsync that takes longer (s) is asked for again."""

SAVE_RATE: Final = 20e6
"""Bytes per second: what has no name any more is copied faster than this before it is sealed."""

JOIN_CHECK: Final = 600.0
"""How often (s) to make sure that a join which says nothing still runs."""

JOIN_DELAYS: Final = (10.0, 60.0, 300.0, 1800.0, 3600.0)
"""Seconds until a join that failed is tried again, after each failure in a row; the last one holds for ever."""

JOINS_TOLD: Final = 3
"""So many joins that failed in a row are more than bad luck: people are notified."""

DISCARD_CHECK: Final = 600.0
"""How often (s) to try to remove media that are not kept, if that fails."""

DISK_CHECK: Final = 10.0
DISK_CHECK_MAX: Final = 60.0
"""How often (s) to look whether a full disk has room again: at first, and when it has been full for long."""

HOST_HOLD: Final = 300.0
"""A machine that is going down and has not gone after so long (s) stays: recordings go on."""

HOST_WINDOW: Final = 10.0
"""An end so shortly (s) before it is known that the machine goes down was its doing."""

PAUSE_MAX: Final = 86400.0
"""A recording that found no room for so long (s) is over: its broadcast is, by then, another one."""

IN_VAIN: Final = 120.0
"""A run that fails when nothing was recorded for so long (s) is no reason for the next one: the source is asked."""

DISK_DELAYS: Final = (0.0, 0.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds; for a disk that has room when it is looked at, and none when it is written to."""

MEMORY_STEP: Final = 1.5
MEMORY_NEAR: Final = 0.8
"""A segment whose anonymous memory reaches this share of its limit is rotated before the kernel kills it."""

MEMORY_CLOSE: Final = 0.55
MEMORY_LOOK: Final = 5.0
"""A segment that holds so much of its limit, and less than is near it, is looked at every so many seconds."""

MEMORY_PATIENCE: Final = 600.0
"""Where no more may be given, only a segment older than this (s) is rotated for it: the next may need as much."""

QUIET: Final = 86400.0
"""After so long (s) without trouble a raised memory limit comes down one step."""

STEP_MIN: Final = 30.0
"""A clock on the wall that has moved by so much (s) against the monotonic one was set; by less, it was adjusted."""

STOPS_MAX: Final = 4
SEALS_MAX: Final = 3
STEADY: Final = 10.0
"""A run that still grows so long (s) after its first media has more than what the source's window held: it is back."""


def retry_delay(failures: int, salt: int = 0) -> float:
    """Seconds to wait before the next run after so many failures in a row; the first replacement starts at once.

    Up to a quarter more or less, by `salt`, so that recordings that lost the same source do not come back as one.
    """
    return RETRY_DELAYS[min(failures, len(RETRY_DELAYS) - 1)] * _jitter(failures, salt)


def join_delay(failures: int, salt: int) -> float:
    """Seconds to wait before the next join after so many failures in a row, with the same play as above."""
    return JOIN_DELAYS[min(failures, len(JOIN_DELAYS)) - 1] * _jitter(failures, salt)


def _jitter(failures: int, salt: int) -> float:
    return 0.75 + (salt * 0x9E3779B1 + failures * 0x85EBCA6B) % 1024 / 2048


def next_disk_check(at: Instant, *, since: Instant) -> Instant:
    """When to look again at a disk that has been full since then."""
    return at + min(max((at - since) / 10, DISK_CHECK), DISK_CHECK_MAX)


def disk_delay(recorder: Recorder) -> float:
    """Seconds to wait before the next run once the disk is said to have room; so far that was wrong so often."""
    wrong = 0
    for segment in reversed(recorder.segments):
        if segment.ended is None or has_lasted(segment, segment.ended.monotonic) or not _had_no_room(segment):
            break
        wrong += 1
    return DISK_DELAYS[min(wrong, len(DISK_DELAYS) - 1)]


def _had_no_room(segment: Segment) -> bool:
    return segment.cause == Cause.DISK_FULL or (segment.evidence is not None and segment.evidence.disk is not None)


def idle_since(recorder: Recorder) -> Instant:
    """Since when nothing was recorded, whatever was tried."""
    ends = [segment.ended or segment.since for segment in recorder.segments if segment.media_at is not None]
    return max((end.monotonic for end in ends), default=recorder.recording.created.monotonic)


def is_in_vain(recorder: Recorder, at: Instant) -> bool:
    """Whether nothing was recorded for so long that it has to be asked whether there still is anything."""
    return at - idle_since(recorder) >= IN_VAIN


def wall_offset(at: Moment) -> float:
    """How far (s) the clock on the wall is ahead of the monotonic one, which changes when it is set."""
    return at.realtime / 1e6 - at.monotonic


def is_host_stopping(recorder: Recorder, at: Instant) -> bool:
    """Whether nothing is to be started any more. That ends by itself: a machine may stay though nobody says so."""
    return recorder.host_stopping is not None and at < recorder.host_stopping


def memory_limit(recorder: Recorder, at: Instant) -> int:
    """MemoryMax= of the next segment, bytes: as the deaths have raised it, a step less for each quiet day since."""
    base = recorder.recording.policy.memory_max
    if recorder.memory_max is None or recorder.memory_since is None:
        return base
    steps = min(int(max(at - recorder.memory_since, 0.0) // QUIET), 100)
    return max(base, round(recorder.memory_max / MEMORY_STEP**steps))


def raised_limit(limit: int, policy: Policy) -> int:
    """The limit after one that was too low."""
    return max(limit, min(round(limit * MEMORY_STEP), policy.memory_ceiling))


def is_memory_near(segment: Segment, at: Instant, room: int) -> bool:
    """Whether a segment is about to reach its memory limit, and another with a limit of `room` would be better off."""
    if segment.anon is None or segment.memory_max is None or segment.media_at is None:
        return False
    patience = LASTING if room > segment.memory_max else MEMORY_PATIENCE
    return at - segment.media_at.monotonic >= patience and segment.anon >= segment.memory_max * MEMORY_NEAR


def fills_in_a_row(recorder: Recorder, at: Instant) -> int:
    """How many segments were started lately because one had missed media; an hour without one forgets them."""
    is_recent = recorder.filled_at is not None and at - recorder.filled_at <= FILL_PAUSE_MAX
    return recorder.fills if is_recent else 0


def may_fill(recorder: Recorder, at: Instant) -> bool:
    """Whether to start a segment for what the one before has missed, or not again so soon."""
    fills = fills_in_a_row(recorder, at)
    if recorder.filled_at is None or fills == 0:
        return True
    return at >= recorder.filled_at + min(FILL_PAUSE * 2.0 ** min(fills - 1, 10), FILL_PAUSE_MAX)


def seal_limit(segment: Segment) -> float:
    """Seconds until a seal without an answer is asked for again; a file that has lost its name is copied first."""
    is_taken = segment.evidence is not None and segment.evidence.file is not None
    return SEAL_LIMIT + (segment.size / SAVE_RATE if is_taken else 0.0)


def is_suspect(segment: Segment, at: Instant) -> bool:
    """Whether a run may be losing media now."""
    return segment.suspect_until is not None and at < segment.suspect_until


def suspect_until(segment: Segment, line: Line | None, at: Instant) -> Instant:
    """Until when a run is suspected after such a line, or another sign."""
    hold = SUSPECT_HOLD_MAX if line is Line.SOURCE_SILENT else sign_hold(segment.pace)
    return max(segment.suspect_until or 0.0, at + hold)


def beside_pause(segment: Segment, at: Instant) -> float:
    """Seconds until the next try, after one in vain to have a segment beside a suspected one."""
    lasted = 0.0 if segment.suspect_since is None else at - segment.suspect_since
    return min(max(lasted / 8, BESIDE_PAUSE), BESIDE_PAUSE_MAX)


def besides_in_a_row(recorder: Recorder) -> int:
    """How many runs lately were replaced within minutes: what is suspected so often may be the source's own way."""
    ends = [(each.media_at, each.ended or each.since) for each in recorder.segments[:-1] if each.rotated]
    lasted = [until.monotonic - since.monotonic for since, until in ends[-10:] if since is not None]
    return next((count for count, each in enumerate(reversed(lasted)) if each >= BESIDE_NEW), len(lasted))


def beside_rest(recorder: Recorder) -> float:
    """So long (s) a run has to have recorded before another one starts beside it."""
    count = besides_in_a_row(recorder)
    return 0.0 if count < BESIDES_FREE else min(STEADY * 2.0 ** (count - BESIDES_FREE + 1), BESIDE_NEW / 2)


def is_rested(recorder: Recorder, segment: Segment, at: Instant, *, refused: bool = False) -> bool:
    """Whether a run has recorded for long enough to be replaced; one that is `refused` its playlist, soon."""
    rest = beside_rest(recorder)
    if refused:  # links may be good for seconds only; each run fetches the whole window, so a wide one less often
        window = 0.0 if segment.pace is None else segment.pace.window
        rest = min(rest, max(STEADY, window / 6), window / 2 or STEADY)
    return segment.media_at is not None and at - segment.media_at.monotonic >= rest


def preferred_quality(recorder: Recorder) -> str | None:
    """The quality that the next segment is to take if it is there: that of the segment before, whose bytes it meets.

    None if nothing is known; and for every other try after one that was refused it, or got nothing: a source may go on
    listing what it does not serve any more, and then what was asked for has its turn.
    """
    refused = 0
    for segment in reversed(recorder.segments):
        if segment.media_at is None:
            refused += segment.cause in _NOT_SERVED
        elif segment.quality is not None:
            return segment.quality if refused % 2 == 0 else None
    return None


def quality_to_come(recorder: Recorder, at: Instant) -> int | None:
    """The segment whose quality will be known in a moment, None if there is none: journald tells with a delay."""
    for segment in reversed(recorder.segments):
        if segment.media_at is not None:
            is_fresh = at - segment.media_at.monotonic < QUALITY_LATE
            return segment.number if segment.quality is None and segment.phase.is_live and is_fresh else None
    return None


_NOT_SERVED: Final = frozenset({Cause.SOURCE_REFUSED, Cause.START_TIMEOUT})


def has_lasted(segment: Segment, at: Instant) -> bool:
    """Whether the run recorded long enough to forget earlier failures."""
    return segment.media_at is not None and at - segment.media_at.monotonic >= LASTING


def media_limit(recorder: Recorder) -> float | None:
    """After how many seconds of media the next run is to end by itself; None: it is ended when its time has come.

    The first run counts what the source's window held as well. A later one repeats media of the one before it, and one
    that leaves out advertisements would count them: neither can tell.
    """
    wanted = recorder.recording
    is_first = recorder.media_started is None
    return wanted.duration if is_first and not _LEAVES_OUT.match(wanted.url) else None


_LEAVES_OUT: Final = re.compile(r"https?://(?:[a-z0-9-]{1,63}\.)*twitch\.tv(?:[:/?#]|$)", re.IGNORECASE)
"""Sites of whose media streamlink leaves out the advertisements."""


def rotation_due(segment: Segment, policy: Policy, retry_at: Instant | None) -> Instant | None:
    """When a writing segment is to be rotated; None while it does not write."""
    if segment.started is None or segment.media_at is None:
        return None
    by_age = segment.started.monotonic + policy.rotate_age
    due = by_age
    if segment.size >= policy.rotate_size and segment.grown_at is not None:
        due = min(by_age, max(segment.grown_at, segment.media_at.monotonic + SIZE_REST))
    return due if retry_at is None else max(due, retry_at)


def next_measure(segment: Segment, policy: Policy, at: Instant) -> Instant:
    """When to look at the size again: halfway to the size limit at the observed rate, and when it may have stalled."""
    wait = policy.stall_timeout / 3
    if not has_advanced(segment):
        wait = min(wait, STEADY / 2)
    if segment.media_at is not None and segment.size > 0:
        rate = segment.size / max(at - segment.media_at.monotonic, 1.0)
        left = (policy.rotate_size - segment.size) / rate / 2
        wait = min(wait, left) if left > 0 else wait  # else it is due, or soon
    if are_watched(segment.flows):
        wait = min(wait, flow_look(segment.pace))
    if is_suspect(segment, at) or is_open(segment.flows):
        wait = min(wait, suspect_look(segment.pace))
    due = silence_due(segment, policy)
    if due is not None:
        wait = min(wait, due - at if due > at else suspect_look(segment.pace))
    if segment.grown_at is not None:
        wait = min(wait, segment.grown_at + stall_limit(segment, policy) - at)
    return at + max(min(wait, _memory_wait(segment, at)), MEASURE_MIN)


def _memory_wait(segment: Segment, at: Instant) -> float:
    """Halfway (s) to where the memory is near its limit, at the rate at which it grew between the last two looks.

    A rate may change: on the last third of the way it is looked at often. One that is near its limit before it is old
    enough to be replaced for it is looked at when it is.
    """
    if segment.anon is None or segment.memory_max is None or segment.media_at is None:
        return float("inf")
    left = segment.memory_max * MEMORY_NEAR - segment.anon
    if left <= 0:
        age = at - segment.media_at.monotonic
        return LASTING - age if age < LASTING else float("inf")
    soon = MEMORY_LOOK if segment.anon >= segment.memory_max * MEMORY_CLOSE else float("inf")
    return min(soon, left / segment.anon_rate / 2) if segment.anon_rate > 0 else soon


def silence_due(segment: Segment, policy: Policy) -> Instant | None:
    """When to ask whether the source of a run goes on that nothing came for; None if its silence says nothing."""
    if segment.pace is None or segment.grown_at is None or segment.filtering or not has_advanced(segment):
        return None
    due = segment.grown_at + silence_limit(segment.pace, policy.stall_timeout, segment.pause)
    if segment.asked_at is None:
        return due
    if segment.answered_at is None:  # one question at a time: a later one would make its answer void
        return max(due, segment.asked_at + PROBE_LIMIT)
    took = segment.answered_at - segment.asked_at
    rest = max(segment.pace.target, ASK_MIN, took, (segment.asked_at - segment.grown_at) / ASK_REST, segment.ask_rest)
    return max(due, segment.asked_at + rest)


def last_growth(segment: Segment, size: int, written: Instant | None, at: Instant) -> Instant | None:
    """When a run's file last grew, now that it has `size` bytes: since the last look, or not. Clocks may be set."""
    if size <= segment.size or written is None:
        return at if size > segment.size else segment.grown_at
    return min(max(written, segment.looked_at or segment.grown_at or at), at)


def has_advanced(segment: Segment) -> bool:
    """Whether a run is seen to record what is new, and not just what the window of a source that froze still holds."""
    if segment.media_at is None or segment.grown_at is None:
        return False
    return segment.grown_at - segment.media_at.monotonic >= STEADY


def follows_advance(recorder: Recorder, segment: Segment) -> bool:
    """Whether it has advanced, or the one with media before it: of two that have not, the source has nothing new."""
    before = [each for each in recorder.segments if each.number < segment.number and each.media_at is not None]
    return has_advanced(segment) or (bool(before) and has_advanced(before[-1]))


def stall_limit(segment: Segment, policy: Policy) -> float:
    """After how long (s) without growth a writing segment has stalled; advertisements take their time."""
    return policy.stall_timeout + (policy.start_timeout if segment.filtering else 0.0)


def has_stalled(segment: Segment, policy: Policy, at: Instant) -> bool:
    """Whether a writing segment has not grown for too long."""
    return segment.grown_at is not None and at - segment.grown_at >= stall_limit(segment, policy)
