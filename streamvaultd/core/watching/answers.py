# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher's answers: what follows for one streamer from what was seen, and from what becomes of its recordings.

Pure, as watching.py is, which asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from streamvaultd.core.model import Instant, Moment
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import (
    Begin,
    EndBroadcast,
    Ended,
    Hinted,
    Hold,
    Mood,
    NoteChange,
    ProbeAnswered,
    ProbeWanted,
    RecordingBegan,
    RecordingOver,
    RecordingRefused,
    Remark,
    Sighted,
    Sighting,
    Tags,
    Tell,
    Watched,
    WatchRules,
    Wish,
)
from streamvaultd.core.watching.usual_hours import USUAL_KEPT, is_usual, minute_of_day

One: TypeAlias = tuple[Watched, tuple[Wish, ...]]

BACKOFF_MAX: Final = 300.0
"""The longest wait (s) while nobody can tell."""

UNSUPPORTED_WAIT: Final = 3600.0
"""A new streamlink may know the URL; it is asked again at this interval (s)."""

RECORDED_WAIT: Final = 60.0
"""The least time (s) between two questions for the title of a source that is recorded."""

QUIET: Final = 5.0
"""A site may say "live" for so long (s) after the end of a broadcast; longer if its playlist stands still."""

LOOK_AGAIN: Final = 4.0
"""Whether a playlist advances is seen by looking again after so long (s)."""

PUSHED_WAIT: Final = 1.5
"""Of what is learnt each interval without asking, one that is late is not asked for before this many intervals."""

HASTE: Final = 3600.0
"""A streamer with a hint is checked as if it had waited this long (s)."""

TOLD_FAILURES: Final = 3
"""Trouble is told when it has happened this often in a row."""

StreamerEvent: TypeAlias = (
    ProbeWanted | ProbeAnswered | Sighted | Hinted | RecordingBegan | RecordingRefused | RecordingOver
)


def on_streamer(rules: WatchRules, watched: Watched, event: StreamerEvent) -> One:
    """The streamer after the event, and what is now to be done."""
    match event:
        case ProbeAnswered():
            return _on_answer(rules, watched, event)
        case RecordingBegan():
            return _on_began(watched, event), ()
        case RecordingRefused():
            return _on_refused(rules, watched, event)
        case RecordingOver():
            return _on_over(rules, watched, event)
        case Sighted():
            return _on_sighted(rules, watched, event)
        case Hinted():
            return _on_hint(watched, event), ()
        case ProbeWanted():
            return watched, ()


def _on_sighted(rules: WatchRules, watched: Watched, event: Sighted) -> One:
    """As an answer; while more of that is to be expected, the source need not be asked."""
    if watched.asked_at is not None or watched.foreign or watched.mood in (Mood.DISABLED, Mood.STARTING):
        return watched, ()
    answer = ProbeAnswered(
        at=event.at, chance=event.chance, name=event.name, probe=watched.probe, sighting=event.sighting,
        offset=event.offset,
    )  # fmt: skip
    after, wishes = _on_answer(rules, replace(watched, asked_at=event.at.monotonic), answer)
    if any(isinstance(wish, Begin) for wish in wishes):
        known = _tagged(watched, event.sighting)  # the source does not tell tags
        if watched.unrecorded and not is_another(watched.site_id, event.sighting):
            return known, ()  # it is tried again in its time
        if _is_old_news(watched, event.sighting):
            return _on_hint(known, event), ()
    if after.probe_at is None or after.mood not in (Mood.OFFLINE, Mood.LIVE, Mood.RECORDING):
        return after, wishes
    patient = event.at.monotonic + PUSHED_WAIT * rules.interval * (0.9 + 0.2 * event.chance)
    return replace(after, probe_at=max(after.probe_at, patient)), wishes


def _is_old_news(watched: Watched, sighting: Sighting) -> bool:
    """Whether what was recorded is listed, as it is for minutes after its end. The source knows, if it answers."""
    return bool(sighting.site_id) and watched.site_id == sighting.site_id and watched.mood is not Mood.TROUBLE


def _on_hint(watched: Watched, event: Hinted | Sighted) -> Watched:
    """It is the next to be checked; sites are spaced all the same."""
    if watched.asked_at is not None or watched.foreign or watched.mood in (Mood.DISABLED, Mood.STARTING):
        return watched
    return replace(watched, probe_at=event.at.monotonic - HASTE)


def _on_answer(rules: WatchRules, watched: Watched, event: ProbeAnswered) -> One:
    if event.probe != watched.probe or watched.asked_at is None:
        return watched, ()
    watched = replace(watched, asked_at=None)
    if watched.mood is Mood.DISABLED:  # a person wanted to know
        return replace(watched, detail=event.sighting.detail or event.sighting.outcome.value), ()
    if watched.foreign or watched.mood is Mood.STARTING:  # likewise
        return watched, ()
    if watched.recording is not None:
        return _while_recording(rules, watched, event)
    after, wishes = _OUTCOMES[event.sighting.outcome](rules, watched, event)
    is_well = watched.failures >= TOLD_FAILURES and after.failures == 0
    told = (Tell(watched.streamer.name, Remark.WELL),) if is_well else ()
    return after, (*told, *wishes)


def _on_off_air(rules: WatchRules, watched: Watched, event: ProbeAnswered) -> One:
    """It was seen to be off air: whatever comes next is another broadcast."""
    after = enter(
        watched, Mood.OFFLINE, event.at, event.sighting.detail, failures=0, trouble=None, seen_at=event.at, hold=None,
        ended_at=None, mark="", unrecorded=0, tags=None,
    )  # fmt: skip
    return replace(after, probe_at=_wait(rules, after, event)), ()


def _on_unsupported(rules: WatchRules, watched: Watched, event: ProbeAnswered) -> One:
    again = event.at.monotonic + UNSUPPORTED_WAIT
    after = enter(watched, Mood.UNSUPPORTED, event.at, event.sighting.detail, failures=0, probe_at=again)
    is_news = watched.mood is not Mood.UNSUPPORTED
    return after, (Tell(watched.streamer.name, Remark.TROUBLE, event.sighting.detail),) if is_news else ()


def _on_trouble(rules: WatchRules, watched: Watched, event: ProbeAnswered) -> One:
    """Says nothing about the stream: it is neither live nor offline."""
    failures, why, trouble = watched.failures + 1, event.sighting.detail, event.sighting.trouble
    after = enter(watched, Mood.TROUBLE, event.at, why, failures=failures, trouble=trouble)
    told = (Tell(watched.streamer.name, Remark.TROUBLE, why),) if failures == TOLD_FAILURES else ()
    return replace(after, probe_at=_wait(rules, after, event)), told


def _on_live(rules: WatchRules, watched: Watched, event: ProbeAnswered) -> One:
    sighting = event.sighting
    seen = {"failures": 0, "trouble": None, "seen_at": event.at}
    known = replace(_tagged(watched, sighting), **seen, title=sighting.title, category=sighting.category)  # type: ignore[arg-type]
    if is_another(known.hold.site_id if known.hold else "", sighting):
        known = replace(known, hold=None)
    if is_another(known.site_id, sighting):
        known = replace(known, unrecorded=0)
    why = known.hold.why if known.hold else _refusal(known, event)
    if why is not None:
        return _leave_out(rules, watched, known, event, why)
    if known.ended_at is not None and not is_another(known.site_id, sighting):
        return _after_an_end(rules, known, known.ended_at, event)
    return _begin(known, event)


def _tagged(watched: Watched, sighting: Sighting) -> Watched:
    """With the broadcast's tags: those that are told now, or else that were told of it before."""
    if sighting.tags is not None:
        return replace(watched, tags=Tags(site_id=sighting.site_id, words=sighting.tags))
    is_stale = watched.tags is not None and is_another(watched.tags.site_id, sighting)
    return replace(watched, tags=None) if is_stale else watched


def _words(watched: Watched) -> tuple[str, ...] | None:
    return None if watched.tags is None else watched.tags.words


def _refusal(known: Watched, event: ProbeAnswered) -> str | None:
    """Why the filters do not want the broadcast, None if they do."""
    filters, sighting = known.streamer.filters, event.sighting
    why = filters.refusal(sighting.title, sighting.category, event.at.realtime, event.offset)
    return why or filters.refusal_by_tags(_words(known))


def is_another(site_id: str, sighting: Sighting) -> bool:
    """Whether the site itself says that this is not the broadcast of that identity."""
    return bool(site_id and sighting.site_id and site_id != sighting.site_id)


def _leave_out(rules: WatchRules, before: Watched, known: Watched, event: ProbeAnswered, why: str) -> One:
    after = enter(known, Mood.LIVE, event.at, why)
    is_news = before.mood is not Mood.LIVE or before.detail != why
    told = (Tell(known.streamer.name, Remark.LEFT_OUT, why),) if is_news else ()
    return replace(after, probe_at=_wait(rules, after, event)), told


def _after_an_end(rules: WatchRules, known: Watched, ended_at: Instant, event: ProbeAnswered) -> One:
    """It may be what is left of the broadcast that has just ended: sites are late, and playlists stay."""
    now, mark = event.at.monotonic, event.sighting.mark
    if now < ended_at + QUIET:
        after = enter(known, Mood.LIVE, event.at, "its last broadcast has just ended", mark=mark)
        return replace(after, probe_at=ended_at + QUIET), ()
    if not mark or (known.mark and known.mark != mark):
        return _begin(known, event)
    detail = "its playlist does not advance" if known.mark else "it is looked at whether its playlist advances"
    after = enter(known, Mood.OFFLINE if known.mark else Mood.LIVE, event.at, detail, mark=mark)
    is_fresh = now < ended_at + 10 * LOOK_AGAIN
    return replace(after, probe_at=now + LOOK_AGAIN if is_fresh else _wait(rules, after, event)), ()


def _begin(known: Watched, event: ProbeAnswered) -> One:
    usual = (*known.usual, minute_of_day(event.at.realtime))[-USUAL_KEPT:]
    untagged = known.streamer.filters.has_tags and known.tags is None
    after = enter(
        known, Mood.STARTING, event.at, site_id=event.sighting.site_id, usual=usual, probe_at=None, untagged=untagged
    )
    name, title = known.streamer.name, event.sighting.title or "a recording begins"
    told = () if known.unrecorded else (Tell(name, Remark.LIVE, title),)
    return after, (*told, Begin(name, event.sighting))


_OUTCOMES: Final[Mapping[Outcome, Callable[[WatchRules, Watched, ProbeAnswered], One]]] = {
    Outcome.LIVE: _on_live,
    Outcome.ENDED: _on_off_air,
    Outcome.OFFLINE: _on_off_air,
    Outcome.UNSUPPORTED: _on_unsupported,
    Outcome.TROUBLE: _on_trouble,
}


# --- while it is recorded ------------------------------------------------------------------------------------------


def _while_recording(rules: WatchRules, watched: Watched, event: ProbeAnswered) -> One:
    """Only the site's own words matter: whether media flow, the recording knows better."""
    sighting, recording = event.sighting, watched.recording
    name = watched.streamer.name
    watched = replace(watched, probe_at=_recorded_wait(rules, watched, event))
    if sighting.outcome is not Outcome.LIVE or recording is None:
        return watched, ()
    watched = replace(watched, seen_at=event.at)
    if not sighting.has_details:  # it is not told this time, which is no change
        sighting = replace(sighting, site_id=watched.site_id, title=watched.title, category=watched.category)
    if is_another(watched.site_id, sighting):
        return watched, (EndBroadcast(name, recording, "another broadcast has begun"),)
    wishes: tuple[Wish, ...] = ()
    if (sighting.title, sighting.category) != (watched.title, watched.category):
        wishes = (NoteChange(name, recording, sighting.title, sighting.category),)
    watched = _tagged(watched, sighting)
    why = _unwanted_now(watched, replace(event, sighting=sighting))
    if why is not None:
        wishes += (EndBroadcast(name, recording, why, unwanted=True),)
    if not sighting.has_details and not watched.streamer.filters.stop_on_change:
        watched = replace(watched, probe_at=None)  # there is nothing that might change
    watched = replace(watched, untagged=watched.untagged and watched.tags is None)
    site_id = watched.site_id or sighting.site_id
    return replace(watched, title=sighting.title, category=sighting.category, site_id=site_id), wishes


def _unwanted_now(watched: Watched, event: ProbeAnswered) -> str | None:
    """Why what is recorded is to end, None if it is not. Tags may be known only now."""
    filters = watched.streamer.filters
    if filters.stop_on_change:
        return _refusal(watched, event)
    return filters.refusal_by_tags(_words(watched)) if watched.untagged else None


def _recorded_wait(rules: WatchRules, watched: Watched, event: ProbeAnswered) -> Instant:
    return max(_wait(rules, watched, event), event.at.monotonic + RECORDED_WAIT)


def _on_began(watched: Watched, event: RecordingBegan) -> Watched:
    if watched.recording == event.recording:
        return watched
    is_asked_for = watched.mood is Mood.STARTING
    known = watched if is_asked_for else replace(watched, site_id="", untagged=False)
    again = event.at.monotonic + (RECORDED_WAIT if is_asked_for else 0.0)
    mood = Mood.RECORDING if watched.streamer.enabled else Mood.DISABLED
    probe_at = again if watched.streamer.enabled and not event.foreign else None
    return enter(
        known, mood, event.at, recording=event.recording, foreign=event.foreign, probe_at=probe_at, hold=None,
        ended_at=None,
    )  # fmt: skip


def _on_refused(rules: WatchRules, watched: Watched, event: RecordingRefused) -> One:
    if watched.mood is not Mood.STARTING:
        return watched, ()
    told = () if watched.unrecorded else (Tell(watched.streamer.name, Remark.UNRECORDED, event.why),)
    return _unrecorded(rules, watched, event, event.why), told


def _unrecorded(rules: WatchRules, watched: Watched, event: RecordingRefused | RecordingOver, why: str) -> Watched:
    """It is live and not recorded. A refusal may soon be over; what has no media is tried less often."""
    times = watched.unrecorded + 1 if isinstance(event, RecordingOver) else max(1, watched.unrecorded)
    after = enter(watched, Mood.TROUBLE, event.at, why, trouble=None, unrecorded=times)
    return replace(after, probe_at=_wait(rules, after, event))


def _on_over(rules: WatchRules, watched: Watched, event: RecordingOver) -> One:
    if watched.recording != event.recording:
        return watched, ()
    over = replace(
        watched, recording=None, foreign=False, untagged=False, ended_at=event.at.monotonic, mark="", asked_at=None
    )
    if not watched.streamer.enabled:
        return enter(over, Mood.DISABLED, event.at, probe_at=None), ()
    if event.ended is Ended.FAILED:
        return _unrecorded(rules, over, event, "it is live, and nothing of it could be recorded"), ()
    over = replace(over, unrecorded=0)
    if event.ended in HELD:
        over = replace(over, hold=Hold(site_id=over.site_id, why=HELD[event.ended]))
    wait = 0.0 if event.ended is Ended.CHANGED else QUIET
    return enter(over, Mood.WAITING, event.at, probe_at=event.at.monotonic + wait), ()


# --- shared ------------------------------------------------------------------------------------------------------


def enter(watched: Watched, mood: Mood, at: Moment, detail: str = "", **changes: Any) -> Watched:
    """The streamer in this mood, since now unless it was in it before."""
    since = watched.since if mood is watched.mood else at
    return replace(watched, mood=mood, since=since, detail=detail, **changes)


def _wait(rules: WatchRules, watched: Watched, event: ProbeAnswered | RecordingRefused | RecordingOver) -> Instant:
    """When to ask next: jitter keeps those apart that began together."""
    interval = rules.interval if watched.streamer.interval is None else watched.streamer.interval
    if failures := max(watched.failures, watched.unrecorded):
        interval = max(interval, min(interval * 2.0 ** min(failures - 1, 16), BACKOFF_MAX))
    elif is_usual(watched.usual, event.at.realtime):
        interval /= 2
    return event.at.monotonic + interval * (0.9 + 0.2 * event.chance)


HELD: Final[Mapping[Ended | None, str]] = {
    Ended.REQUESTED: "its recording was stopped",
    Ended.DURATION: "its recording reached its duration",
}
"""Ends after which the rest of the broadcast is not recorded, and what is said of it."""
