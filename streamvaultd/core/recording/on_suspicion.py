# SPDX-License-Identifier: GPL-3.0-or-later
"""What streamlink says while it runs, and what is done about a run that may be losing media.

It is not waited for: the next segment starts beside it, as in a rotation, reaches back to the oldest entry that the
source offers, and takes over as in a rotation. The join takes what each of the two has. Only one runs beside another,
only a run that has recorded for a while is suspected, and the tries become rarer, so a source that is over, or that
does not have the media at all, costs little.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from streamvaultd.core.flows import describe, observed, standing
from streamvaultd.core.model import Container, Instant, Moment, Phase, Recorder, Segment, State
from streamvaultd.core.pace import refused_limit, still_limit, suspect_look
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.asking import PROBE_MAX, is_too_often
from streamvaultd.core.recording.effects import Effect, Notice
from streamvaultd.core.recording.loglines import Line
from streamvaultd.core.recording.on_source import on_looked_at as on_answer
from streamvaultd.core.recording.policy import (
    INCOMPLETE_LIMIT,
    fills_in_a_row,
    follows_advance,
    has_advanced,
    idle_since,
    is_rested,
    is_suspect,
    may_fill,
    next_measure,
    silence_due,
    suspect_until,
)
from streamvaultd.core.recording.steps import Step, ask_to_stop, go_on_without, launch, may_rotate, put, tell
from streamvaultd.core.recording.verdict import Ending, Verdict

_HOLES: Final = {
    Line.FETCH_FAILED: "a media segment could not be fetched",
    Line.UNREAD: "its playlist is gone, and its end was not read in time",
    Line.SEQUENCE_GAP: "media segments left the window before they were fetched",
}
_REFUSED: Final = "a playlist is refused or gone"
_SIGNS: Final = {
    Line.RELOAD_REFUSED: _REFUSED,
    Line.SOURCE_SILENT: "one of its streams has ended",
}
_CLOSED: Final = frozenset({Line.NOT_FOUND, Line.UNREACHABLE, Line.CANNOT_OPEN})


def on_spoke(recorder: Recorder, event: ev.SegmentSpoke) -> Step:
    """Advertisements that streamlink leaves out are no stall; it may take until after them to write again."""
    segment = recorder.segment(event.attempt)
    if segment is None or not segment.phase.is_live:
        return recorder, ()
    if event.pace is not None:
        return _at_pace(recorder, replace(segment, pace=event.pace), event.at.monotonic), ()
    if event.quality is not None:
        return put(recorder, segment, quality=event.quality, muxed=event.line is Line.MUXING), ()
    if segment.phase is Phase.WAITING and segment.muxed and event.line in _CLOSED:
        return _replace_incomplete(recorder, segment, event)
    if segment.phase is not Phase.WRITING:
        return recorder, ()
    if event.line is Line.FILTERING:
        return put(recorder, segment, filtering=True), ()
    if event.line is Line.RESUMING and segment.filtering:
        return put(recorder, segment, filtering=False, grown_at=event.at.monotonic), ()
    if event.line in _HOLES:
        return _fill_hole(recorder, segment, event)
    if event.line in _SIGNS:
        return _suspect(recorder, segment, event)
    return recorder, ()


def _at_pace(recorder: Recorder, segment: Segment, now: Instant) -> Recorder:
    """It may have to be looked at sooner."""
    if segment.phase is not Phase.WRITING or segment.measure_at is None:
        return put(recorder, segment)
    look = next_measure(segment, recorder.recording.policy, now)
    return put(recorder, segment, measure_at=min(segment.measure_at, look))


def _fill_hole(recorder: Recorder, segment: Segment, event: ev.SegmentSpoke) -> Step:
    """The next segment reaches back for what this one has missed, as far as it is still offered."""
    now = event.at.monotonic
    if not may_fill(recorder, now) or not may_rotate(recorder, segment, now):
        return recorder, ()
    fills = fills_in_a_row(recorder, now) + 1
    after, effects = launch(recorder, event.at, State.ROTATING, rotate_retry_at=None, filled_at=now, fills=fills)
    new = f"{after.segments[-1].number:03d}"
    return after, (*effects, tell(Notice.MEDIA_MISSED, segment, why=_HOLES[event.line], new=new))


def _replace_incomplete(recorder: Recorder, segment: Segment, event: ev.SegmentSpoke) -> Step:
    """One of its streams cannot be opened, and it would wait for that for long: another try finds it, perhaps.

    Unless nothing else records, and has not for long: then it may go on with what there is.
    """
    others = [each for each in recorder.live if each.phase is Phase.WRITING]
    now = event.at.monotonic
    is_hopeless = recorder.media_started is None or now - idle_since(recorder) >= INCOMPLETE_LIMIT
    if not others and is_hopeless:
        return recorder, ()
    after, effects = ask_to_stop(recorder, segment, event.at, cause="source-refused")
    verdict = Verdict("source-refused", Ending.BROKEN, "one of its streams could not be opened")
    after, more = go_on_without(after, segment, event.at, verdict)
    return after, (*effects, *more)


def _suspect(recorder: Recorder, segment: Segment, event: ev.SegmentSpoke) -> Step:
    """Of one stream, its end follows at once; of several, the others go on: whether it grows has to show that."""
    now = event.at.monotonic
    suspected = _suspected(segment, _SIGNS[event.line], now, event.line)
    look = now + suspect_look(segment.pace)
    look = look if segment.measure_at is None else min(segment.measure_at, look)  # signs that come fast defer none
    suspected = replace(suspected, measure_at=look)
    after = put(recorder, suspected)
    if event.line is Line.SOURCE_SILENT or not is_beside_wanted(after, suspected, now):
        return after, ()
    return start_beside(after, suspected, event.at)


def _suspected(segment: Segment, why: str, now: Instant, line: Line | None = None) -> Segment:
    """The run with one more sign, which a line of its log is, or something else."""
    since = segment.suspect_since if is_suspect(segment, now) else now
    until = suspect_until(segment, line, now)
    return replace(segment, suspect=why, suspect_since=since, suspect_until=until)


def on_looked_at(recorder: Recorder, segment: Segment, event: ev.SizeMeasured) -> tuple[Segment, tuple[Effect, ...]]:
    """What a look at the file shows of its streams; one that stands still while others go on is a sign."""
    limit = still_limit(segment.pace)
    now, before = event.at.monotonic, standing(segment.flows, limit)
    flows = observed(segment.flows, event.pulses, now)
    still = standing(flows, limit)
    told, seen = [], replace(segment, flows=flows)
    if {flow.stream for flow in still} - {flow.stream for flow in before}:
        told.append(tell(Notice.STREAM_STILL, segment, why=describe(still)))
    if before and not still:
        told.append(tell(Notice.STREAM_MOVES, segment))
    if still:
        seen = _suspected(seen, describe(still), now)
    if event.unfit is not None and recorder.recording.policy.container is Container.MP4:
        if not any(each.unfit == event.unfit for each in recorder.segments):
            told.append(tell(Notice.CONTAINER_UNFIT, segment, why=event.unfit))
        seen = replace(seen, unfit=event.unfit)
    return seen, tuple(told)


def ask_about_silence(recorder: Recorder, segment: Segment, at: Moment) -> Step:
    """Ask (again) if the source goes on, for nothing came for longer than its pace has it.

    A silence may be the source's own, and no run is started for that: two looks at its playlist tell.
    """
    due = silence_due(segment, recorder.recording.policy)
    if due is None or at.monotonic < due or not may_rotate(recorder, segment, at.monotonic):
        return recorder, ()
    number = recorder.probe + 1
    return replace(put(recorder, segment, asked_at=at.monotonic, answered_at=None), probe=number), (fx.Probe(number),)


def on_source_looked_at(recorder: Recorder, event: ev.SourceProbed) -> Step:
    """A playlist that advances while nothing comes has what the run does not get; one more look at the file tells."""
    after, _ = on_answer(recorder, event)
    current = after.current
    if event.probe != recorder.probe or current is None or current.asked_at is None:
        return after, ()
    now = event.at.monotonic
    rest = PROBE_MAX if event.outcome is ev.Outcome.TROUBLE and is_too_often(event.detail) else 0.0
    current = replace(current, answered_at=now, ask_rest=rest)
    look = next_measure(current, recorder.recording.policy, now)
    if event.outcome is ev.Outcome.LIVE and event.mark:
        has_moved = current.asked_mark not in ("", event.mark)
        look = now + suspect_look(current.pace) if has_moved else look
        current = replace(current, asked_mark=event.mark, left_behind=current.left_behind or has_moved)
    return put(after, current, measure_at=look), ()


def replace_left_behind(recorder: Recorder, segment: Segment, at: Moment) -> Step:
    """Nothing came, and the source went on: the next segment gets it."""
    now = at.monotonic
    silence = now - (segment.grown_at or now)
    suspected = _suspected(segment, f"nothing came for {silence:.0f} s, and its playlist went on", now)
    return start_beside(put(recorder, suspected), suspected, at)


def is_beside_wanted(recorder: Recorder, segment: Segment, now: Instant) -> bool:
    """Whether another segment is to start beside this one, which may be losing media."""
    if segment.suspect == _REFUSED:
        refused = _gets_nothing(segment, now)
        is_time = follows_advance(recorder, segment) and is_rested(recorder, segment, now, refused=refused)
    else:
        is_time = has_advanced(segment) and is_rested(recorder, segment, now)
    return is_suspect(segment, now) and is_time and may_rotate(recorder, segment, now)


def _gets_nothing(segment: Segment, now: Instant) -> bool:
    """Whether nothing came since a run was first refused its playlist; one of a site's caches may refuse it once."""
    if segment.suspect_since is None or segment.looked_at is None or segment.looked_at <= segment.suspect_since:
        return False
    return now - max(segment.suspect_since, segment.grown_at or 0.0) >= refused_limit(segment.pace)


def start_beside(recorder: Recorder, segment: Segment, at: Moment) -> Step:
    """Start the next segment beside this one; as in a rotation, it takes over when it has what is new."""
    after, effects = launch(recorder, at, State.ROTATING, rotate_retry_at=None)
    new = f"{after.segments[-1].number:03d}"
    return after, (*effects, tell(Notice.SUSPECTED, segment, why=segment.suspect, new=new))
