# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: ListSeams, GetSeam and ListParts, what the join of a recording found and made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from streamvaultd.api.views import View, optional, paging, progress_view
from streamvaultd.core import ranges
from streamvaultd.core.after.hook_calls import HookCall
from streamvaultd.core.after.machine import StepRow, StepStatus
from streamvaultd.core.listing import DoneJob
from streamvaultd.core.model import JOIN, Recorder, SeamRecord
from streamvaultd.errors import NoSuchSeam, RecordingUnreadable
from streamvaultd.jobs.after.facts import files_of, uploads_of
from streamvaultd.jobs.after.step_program import MadeFile, Uploaded
from streamvaultd.jobs.made import ResultPart, parse_made
from streamvaultd.jobs.progress import Headway
from streamvaultd.varlink.server import Call, Handler


class ResultStore(Protocol):
    """Raises StoreUnavailable and RecordingUnreadable; NoSuchRecording where there is none."""

    async def find(self, name_or_id: str) -> Recorder: ...
    async def seams(self, recording: int) -> Sequence[SeamRecord]: ...
    async def last_done_job(self, recording: int, kind: str) -> DoneJob | None: ...
    async def steps(self, recording: int) -> Sequence[StepRow]: ...
    async def hook_calls(self, recording: int) -> Sequence[HookCall]: ...
    async def steps_made(self, recording: int) -> Sequence[tuple[str, Mapping[str, Any]]]: ...


class Headways(Protocol):
    """How far jobs are."""

    def of(self, job: int) -> Headway | None: ...


class ResultApi:
    """Handlers of these methods; `handlers()` is what the server is given."""

    def __init__(self, store: ResultStore, progress: Headways) -> None:
        self._store = store
        self._progress = progress

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {"ListSeams": self.list_seams, "GetSeam": self.get_seam, "ListParts": self.list_parts}

    async def list_seams(self, call: Call) -> View:
        recording = await self._find(call)
        page = paging(call.parameters, "after")
        found = [seam for seam in await self._store.seams(recording) if seam.older > (page["after"] or 0)]
        shown = found[: page["limit"]]
        further = shown[-1].older if len(shown) < len(found) else None
        return {"seams": [seam_view(seam) for seam in shown]} | optional(next=further)

    async def get_seam(self, call: Call) -> View:
        recording, older = await self._find(call), call.parameters["older"]
        for seam in await self._store.seams(recording):
            if seam.older == older:
                return {"seam": seam_view(seam)}
        raise NoSuchSeam(recording=recording, older=older)

    async def list_parts(self, call: Call) -> View:
        recorder = await self._store.find(call.parameters["recording"])
        recording = recorder.recording.id
        job = await self._store.last_done_job(recording, JOIN)
        try:
            made = parse_made(None if job is None else job.result)
        except msgspec.ValidationError as error:
            raise RecordingUnreadable(recording=recording, why=f"the result of its join: {error}") from error
        found = {"parts": [_part_view(part) for part in made.parts], "notes": list(made.notes)}
        return found | optional(steps=await self._steps(recorder) or None)

    async def _steps(self, recorder: Recorder) -> list[View]:
        recording = recorder.recording.id
        told = await self._store.steps_made(recording)
        files = files_of(told, recorder.path)
        return [
            _step_view(
                row,
                [file for file in files if file.step == row.step],
                uploads_of(each for each in told if each[0] == row.step),
                self._progress.of(row.job) if row.job is not None and row.status is StepStatus.RUNNING else None,
            )
            for row in await self._store.steps(recording)
        ] + [_call_view(call) for call in await self._store.hook_calls(recording)]

    async def _find(self, call: Call) -> int:
        return (await self._store.find(call.parameters["recording"])).recording.id


def seam_view(seam: SeamRecord) -> View:
    """A Seam."""
    return {
        "older": seam.older,
        "newer": seam.newer,
        "kind": seam.kind,
        "method": seam.method,
        "certainty": seam.certainty,
    } | optional(
        overlapBytes=None if seam.overlap_bytes is None else ranges.INT.nearest(seam.overlap_bytes),
        overlapUSec=_usec(seam.overlap_ms),
        gapUSec=_usec(seam.gap_ms),
        note=seam.note or None,
    )


def _part_view(part: ResultPart) -> View:
    return {"path": part.path, "bytes": ranges.INT.nearest(part.bytes)} | optional(
        durationUSec=_usec(part.duration_ms),
        onAir=[_on_air_view(*each) for each in part.on_air] or None,
        isKept=part.is_kept or None,
        segment=None if part.segment is None else ranges.INT.nearest(part.segment),
        sha256=part.sha256,
    )


def _on_air_view(at: float, began: float, length: float) -> View:
    return {"atUSec": _usec(at), "began": round(ranges.USEC.nearest(began * 1000)), "lengthUSec": _usec(length)}


def _step_view(row: StepRow, files: Sequence[MadeFile], uploads: Sequence[Uploaded], headway: Headway | None) -> View:
    made = [{"path": str(file.path), "bytes": ranges.INT.nearest(file.bytes), "sha256": file.sha256} for file in files]
    return {"name": row.step, "status": row.status.value, "tries": row.tries, "files": made} | optional(
        required=row.is_required or None,
        retryAt=None if row.retry_at is None else {"realtime": row.retry_at},
        why=row.why,
        job=row.job,
        progress=None if headway is None else progress_view(headway),
        uploads=[_upload_view(upload) for upload in uploads] or None,
    )


def _upload_view(upload: Uploaded) -> View:
    return {
        "remote": upload.remote,
        "path": upload.path,
        "bytes": upload.bytes,
        "sha256": upload.sha256,
        "at": {"realtime": upload.at},
    }


def _call_view(call: HookCall) -> View:
    """A call of a hook, shown as the steps are: it has no job of ours."""
    name = f"{call.event.value}:{call.hook}"
    return {"name": name, "status": call.status.value, "tries": call.tries, "files": []} | optional(
        retryAt=None if call.retry_at is None else {"realtime": call.retry_at}, why=call.why
    )


def _usec(ms: float | None) -> int | None:
    return None if ms is None else round(ranges.MILLISECONDS.nearest(ms) * 1000)
