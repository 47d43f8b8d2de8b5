# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorders, segments and news as io.streamvault.Recorder shows them: context apart from runtime, both clocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from streamvaultd.base.redaction import redact_url
from streamvaultd.core import ranges
from streamvaultd.core.cause import is_death
from streamvaultd.core.flows import describe, standing
from streamvaultd.core.listing import PAGE_MAX, Summary
from streamvaultd.core.model import Instant, Moment, Recorder, Segment, State
from streamvaultd.core.pace import still_limit
from streamvaultd.core.recording.policy import rotation_due
from streamvaultd.core.watching.model import Watched
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.errors import InvalidParameter
from streamvaultd.jobs.progress import Headway
from streamvaultd.recording.chat.chat_looks import ChatView
from streamvaultd.reporting.hub import News

View = dict[str, Any]

NUMBER_MAX: Final = 10**18
"""Greater numbers do not fit into a column and are nobody's."""


def timestamp(moment: Moment) -> View:
    """A Timestamp of a moment in this boot."""
    return {"realtime": moment.realtime, "monotonic": usec(max(0.0, moment.monotonic))}


def usec(seconds: float) -> int:
    """Microseconds, as far as an int of Varlink can tell them."""
    return round(ranges.INSTANT.nearest(seconds) * 1e6)


def optional(**values: Any) -> View:
    """Fields of a view; those that are None are left out."""
    return {name: value for name, value in values.items() if value is not None}


def paging(given: Mapping[str, Any], onward: str = "before") -> dict[str, Any]:
    """`limit` and where to go on; raises InvalidParameter for what is no number of items."""
    where = given.get(onward)
    if where is not None and not 0 <= where <= NUMBER_MAX:
        raise InvalidParameter(parameter=onward)
    return {"limit": page_limit(given), onward: where}


def page_limit(given: Mapping[str, Any]) -> int:
    """How many items a page has at most; raises InvalidParameter."""
    limit: int = given.get("limit", PAGE_MAX)
    if limit < 1:
        raise InvalidParameter(parameter="limit")
    return min(limit, PAGE_MAX)


def recording_view(recorder: Recorder, now: Moment, progress: Headway | None = None) -> View:
    """A Recording; `progress` is that of its join."""
    recording = recorder.recording
    return {
        "id": recording.id,
        "stream": recording.stream,
        "context": _context(recorder),
        "runtime": _runtime(recorder, now) | optional(progress=None if progress is None else progress_view(progress)),
    }


def chat_view(found: ChatView, *, is_gone: bool = False) -> View:
    """A Chat; `is_gone`: its file went with the media."""
    chat = found.chat
    return {
        "state": chat.state.value,
        "site": chat.site,
        "channel": chat.channel,
        "messages": found.messages,
        "gaps": found.gaps,
        "awayUSec": usec(found.away),
    } | optional(
        heard=found.is_heard if found.rate is not None else None,
        perMinute=None if found.rate is None else round(found.rate),
        path=None if is_gone else chat.path,
        bytes=None if is_gone else chat.size,
        detail=chat.detail,
    )


def summary_view(summary: Summary, now: Moment) -> View:
    """A Recording of which only the sums over its segments are known."""
    view = recording_view(summary.recorder, now)
    view["runtime"] |= {"segments": summary.segments, "deaths": summary.deaths}
    if summary.recorder.result_bytes is None:
        view["runtime"]["bytes"] = ranges.INT.nearest(summary.bytes)
    return view


def _context(recorder: Recorder) -> View:
    recording, policy = recorder.recording, recorder.recording.policy
    return {
        "streamer": recording.streamer,
        "url": redact_url(recording.url),
        "quality": recording.quality,
        "directory": recording.directory,
        "rotateAgeUSec": usec(policy.rotate_age),
        "rotateSize": policy.rotate_size,
        "graceUSec": usec(policy.grace),
        "memoryMax": policy.memory_max,
    } | optional(durationUSec=None if recording.duration is None else usec(recording.duration))


def _runtime(recorder: Recorder, now: Moment) -> View:
    due = _rotation_due(recorder)
    return {
        "state": recorder.state.value,
        "since": timestamp(recorder.since),
        "startedAt": timestamp(recorder.recording.created),
        "bytes": ranges.INT.nearest(recorder.size if recorder.result_bytes is None else recorder.result_bytes),
        "segments": len(recorder.segments),
        "deaths": recorder.deaths,
    } | optional(
        endedAt=timestamp(recorder.ended) if recorder.ended else None,
        rotationDueAt=None if due is None else timestamp(now.at(due)),
        retryAt=_instant(_retry_at(recorder), now),
        givenUpAt=_instant(recorder.grace_until if recorder.state is State.GRACE else None, now),
        path=recorder.path,
        detail=recorder.detail,
        kept=recorder.kept or None,
    )


def progress_view(progress: Headway) -> View:
    """A JoinProgress."""
    left = progress.left
    return {"doneBytes": progress.done, "totalBytes": progress.total} | optional(
        etaUSec=None if left is None else usec(left)
    )


def _rotation_due(recorder: Recorder) -> Instant | None:
    current = recorder.current
    if recorder.state is not State.RECORDING or current is None:
        return None
    return rotation_due(current, recorder.recording.policy, recorder.rotate_retry_at)


def _retry_at(recorder: Recorder) -> Instant | None:
    return recorder.retry_at if recorder.state in (State.BACKOFF, State.UNJOINED) else None


def segment_view(
    recorder: Recorder, segment: Segment, path: str, pid: int | None, memory: tuple[int | None, int | None]
) -> View:
    """A Segment."""
    return {
        "number": segment.number,
        "unit": recorder.run(segment.number).unit,
        "path": path,
        "phase": segment.phase.value,
        "bytes": segment.size,
    } | optional(
        startedAt=timestamp(segment.started) if segment.started else None,
        endedAt=timestamp(segment.ended) if segment.ended else None,
        pid=pid,
        quality=segment.quality,
        trouble=_trouble(segment),
        cause=segment.cause,
        death=is_death(segment.cause) if segment.cause is not None and segment.ended else None,
        memoryMax=segment.memory_max,
        memoryPeak=segment.memory_peak if memory[1] is None else memory[1],
        memoryCurrent=memory[0],
    )


def _trouble(segment: Segment) -> str | None:
    """What is seen of it while it runs."""
    still = standing(segment.flows, still_limit(segment.pace)) if segment.phase.is_live else ()
    return "; ".join(filter(None, (describe(still) if still else None, segment.unfit))) or None


def event_view(news: News) -> Mapping[str, Any] | None:
    """An Event, None for news that only tell of a changed state."""
    if news.told is None:
        return None
    return {
        "at": timestamp(news.at),
        "kind": news.told.kind,
        "priority": news.told.priority,
        "message": news.told.message,
        "recording": news.recorder.recording.id,
    } | optional(segment=news.told.attempt, cause=news.told.cause)


def streamer_view(watched: Watched, now: Moment, state: str | None = None) -> View:
    """A Streamer; `state` is another one than that in which it was seen last."""
    seen = {"state": state or watched.mood.value, "since": timestamp(watched.since), "failures": watched.failures}
    return {
        "name": watched.streamer.name,
        "context": _streamer_context(watched.streamer),
        "runtime": seen
        | optional(
            detail=watched.detail or None,
            trouble=watched.trouble.value if watched.trouble else None,
            recording=watched.recording,
            siteId=watched.site_id or None,
            title=watched.title or None,
            category=watched.category or None,
            seenAt=timestamp(watched.seen_at) if watched.seen_at else None,
            nextProbeAt=_instant(watched.probe_at, now),
        ),
    }


def _streamer_context(streamer: Streamer) -> View:
    return {
        "url": redact_url(streamer.url),
        "file": streamer.file,
        "own": streamer.is_ours,
        "enabled": streamer.enabled,
    } | optional(quality=streamer.quality or None, directory=streamer.directory or None)


def _instant(instant: Instant | None, now: Moment) -> View | None:
    if instant is None:
        return None
    return timestamp(now.at(instant))
