# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: the methods of one recording: to look at it, and to end it, rotate it, or join it again."""

from __future__ import annotations

import asyncio

from streamvaultd.api.present import Presenter, Segments
from streamvaultd.api.views import View, optional, paging
from streamvaultd.api.why import EVENTS_MAX, end_views
from streamvaultd.base.clock import Clock
from streamvaultd.core.model import Recorder, State
from streamvaultd.core.recording.events import RetryRequested, RotateRequested, StopRequested
from streamvaultd.core.recording.machine import RUNNING
from streamvaultd.core.recording.on_request import why_not_retried
from streamvaultd.errors import NoSuchSegment, NothingToRetry, NotRecording
from streamvaultd.recording.manager import Manager
from streamvaultd.recording.ports import RecordingStore
from streamvaultd.varlink.server import Call, Handler


class RecordingsApi:
    """Handlers of these methods; `handlers()` is what the server is given."""

    def __init__(
        self, *, manager: Manager, store: RecordingStore, clock: Clock, presenter: Presenter, segments: Segments
    ) -> None:
        self._manager = manager
        self._store = store
        self._clock = clock
        self._presenter = presenter
        self._segments = segments

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {
            "Get": self.get,
            "ListSegments": self.list_segments,
            "GetSegment": self.get_segment,
            "Why": self.why,
            "Stop": self.stop,
            "Rotate": self.rotate,
            "Retry": self.retry,
        }

    # --- looking ---------------------------------------------------------------------------------------------------

    async def get(self, call: Call) -> View:
        return {"recording": await self._view(await self._find(call.parameters["recording"]))}

    async def list_segments(self, call: Call) -> View:
        recorder = await self._fresh(call)
        page, phase = paging(call.parameters, "after"), call.parameters.get("phase")
        found = [
            index for index, segment in enumerate(recorder.segments)
            if segment.number > (page["after"] or 0) and phase in (None, segment.phase.value)
        ]  # fmt: skip
        shown = found[: page["limit"]]
        further = recorder.segments[shown[-1]].number if len(shown) < len(found) else None
        return {"segments": [self._segments.view(recorder, index) for index in shown]} | optional(next=further)

    async def get_segment(self, call: Call) -> View:
        recorder, wanted = await self._fresh(call), call.parameters["segment"]
        for index, segment in enumerate(recorder.segments):
            if segment.number == wanted:
                return {"segment": self._segments.view(recorder, index)}
        raise NoSuchSegment(recording=recorder.recording.id, segment=wanted)

    async def why(self, call: Call) -> View:
        recorder = await self._find(call.parameters["recording"])
        recording, wanted = recorder.recording.id, call.parameters.get("segment")
        if wanted is not None and recorder.segment(wanted) is None:
            raise NoSuchSegment(recording=recording, segment=wanted)
        events = await self._store.events(recording, limit=EVENTS_MAX)
        return {"ends": end_views(recorder, events, wanted)}

    # --- acting ----------------------------------------------------------------------------------------------------

    async def stop(self, call: Call) -> View:
        recorder = await self._find(call.parameters["recording"])
        if recorder.state in (State.STOPPING, State.FINALIZING, State.DISCARDING):
            return {"recording": await self._view(recorder)}
        if recorder.state not in RUNNING | {State.UNJOINED}:
            raise _not_recording("stop", recorder)
        after = await self._manager.submit(recorder.recording.id, StopRequested(at=self._clock.now()))
        return {"recording": await self._view(after or recorder)}

    async def rotate(self, call: Call) -> View:
        recorder = await self._find(call.parameters["recording"])
        if recorder.state is not State.RECORDING:
            raise _not_recording("rotate", recorder)
        after = await self._manager.submit(recorder.recording.id, RotateRequested(at=self._clock.now()))
        return {"recording": await self._view(after or recorder)}

    async def retry(self, call: Call) -> View:
        recorder = await self._find(call.parameters["recording"])
        recording = recorder.recording.id
        recorder = self._manager.known(recording) or recorder
        why = why_not_retried(recorder)
        if why is not None:
            raise NothingToRetry(recording=recording, why=why)
        if self._manager.known(recording) is None:
            self._manager.take(recorder)
        after = await asyncio.shield(self._manager.submit(recording, RetryRequested(at=self._clock.now())))
        return {"recording": await self._view(after or recorder)}

    # --- shared ----------------------------------------------------------------------------------------------------

    async def _find(self, name_or_id: str) -> Recorder:
        """A recorder by number or streamer; the one in memory if it runs, for it may be ahead of its row."""
        return self._present(await self._store.find(name_or_id))

    def _present(self, stored: Recorder) -> Recorder:
        return self._manager.recorders.get(stored.recording.id, stored)

    async def _fresh(self, call: Call) -> Recorder:
        return await self._presenter.fresh(await self._find(call.parameters["recording"]))

    async def _view(self, recorder: Recorder) -> View:
        return await self._presenter.recording(recorder)


def _not_recording(verb: str, recorder: Recorder) -> NotRecording:
    return NotRecording(verb=verb, recording=recorder.recording.id, state=recorder.state.value)
