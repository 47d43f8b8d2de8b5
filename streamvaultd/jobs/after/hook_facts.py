# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hook gets to know: one JSON object. streamvaultd(8), HOOKS, describes it.

Titles and names come from outside, and a hook has to take them for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamvaultd.base.zones import rfc3339
from streamvaultd.core.after.hook_calls import HookCall, HookEvent
from streamvaultd.core.model import JOIN, Broadcast, Moment, Recorder, Segment
from streamvaultd.jobs.after.facts import FactStore, files_of, made_file, parts_of
from streamvaultd.jobs.after.step_program import MadeFile
from streamvaultd.jobs.made import ResultPart

VERSION: Final = 1
SEGMENTS_MAX: Final = 50
FILES_MAX: Final = 20
TEXT_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFacts:
    """What is known of a recording when one of its hooks is called."""

    recorder: Recorder
    broadcast: Broadcast
    parts: tuple[ResultPart, ...] = ()
    made: tuple[MadeFile, ...] = ()


async def gather_hook_facts(store: FactStore, recording: int) -> HookFacts | None:
    """The facts, None if the rows are gone; raises what the store does."""
    recorder = await store.get(recording)
    if recorder is None:
        return None
    job = await store.last_done_job(recording, JOIN)
    return HookFacts(
        recorder=recorder,
        broadcast=await store.broadcast(recording),
        parts=parts_of(None if job is None or recorder.path is None else job.result),
        made=files_of(await store.steps_made(recording), recorder.path),
    )


def write_facts(call: HookCall, facts: HookFacts) -> str:
    """The text of the file; what there is too much of is left out, the oldest first."""
    recorder, wanted = facts.recorder, facts.recorder.recording
    segment = recorder.segment(call.number) if call.event is HookEvent.SEGMENT_COMPLETE else None
    found = {
        "version": VERSION,
        "event": call.event.value,
        "hook": call.hook,
        "call": call.id,
        "recording": wanted.id,
        "stream": wanted.stream,
        "streamer": wanted.streamer,
        "directory": wanted.directory,
        "quality": wanted.quality,
        "title": facts.broadcast.title[:TEXT_MAX],
        "category": facts.broadcast.category[:TEXT_MAX],
        "state": recorder.state.value,
        "detail": (recorder.detail or "")[:TEXT_MAX] or None,
        "started": _date(recorder.media_started or wanted.created),
        "ended": _date(recorder.ended),
        "path": recorder.path,
        "bytes": recorder.result_bytes,
        "parts": [{"path": part.path, "bytes": part.bytes} for part in facts.parts[:FILES_MAX]],
        "files": [made_file(file) | {"step": file.step} for file in facts.made[:FILES_MAX]],
        "segment": None if segment is None else _segment(segment),
        "segments": [_segment(each) for each in recorder.segments[-SEGMENTS_MAX:]],
    }
    return json.dumps(_without_none(found))


def _segment(segment: Segment) -> dict[str, Any]:
    return _without_none(
        {
            "number": segment.number,
            "bytes": segment.size,
            "cause": (segment.cause or "")[:TEXT_MAX] or None,
            "started": _date(segment.started),
            "ended": _date(segment.ended),
        }
    )


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _date(moment: Moment | None) -> str | None:
    return None if moment is None else rfc3339(moment.realtime)
