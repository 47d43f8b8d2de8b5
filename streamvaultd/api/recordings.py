# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: the methods of the socket, on top of manager, store and hub.

A call is checked before anything of it exists: a refused one leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from streamvaultd import __version__
from streamvaultd.api.admin import Catalogue, mistake_view
from streamvaultd.api.present import Presenter
from streamvaultd.api.streamers import Plugins
from streamvaultd.api.views import View, optional, paging, segment_view, timestamp
from streamvaultd.api.why import EVENTS_MAX, end_views
from streamvaultd.base.clock import Clock
from streamvaultd.base.redaction import redact_url
from streamvaultd.base.units import SPAN_MAX_USEC, segment_unit
from streamvaultd.config.live import LiveSettings
from streamvaultd.config.names import check_name, check_quality, check_url, name_of
from streamvaultd.core.cause import Cause
from streamvaultd.core.model import Recorder, State
from streamvaultd.core.recording.events import RetryRequested, RotateRequested, StopRequested
from streamvaultd.core.recording.machine import RUNNING
from streamvaultd.core.recording.on_request import why_not_retried
from streamvaultd.core.recording.quality import is_sized, with_fallback
from streamvaultd.core.watching.model import Sighting
from streamvaultd.errors import (
    AlreadyRecording,
    DirectoryUnusable,
    InvalidDuration,
    NoSuchSegment,
    NothingToRetry,
    NotRecording,
    ScopeFailed,
    SourceUnavailable,
    StreamlinkInstallRefused,
    UnsupportedUrl,
    VaultError,
)
from streamvaultd.recording.admission import Beginner, Wish
from streamvaultd.recording.manager import Manager
from streamvaultd.recording.ports import Files, Store
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.reporting.hub import Hub, News, Subscription
from streamvaultd.varlink.server import Call, Handler, Stream
from streamvaultd.varlink.server import Final as Last
from streamvaultd.watching.twitch import LOGIN


class Sources(Plugins, Protocol):
    """What streamlink knows of sources."""

    async def probe(self, url: str, quality: str) -> Sighting:
        """What a source offers now; trouble is an answer."""


class Processes(Protocol):
    """Who runs in which unit."""

    def pidfd(self, key: str) -> int | None: ...


class Api:
    """Handlers of the interface; `handlers()` is what the server is given."""

    def __init__(
        self,
        *,
        manager: Manager,
        store: Store,
        files: Files,
        hub: Hub,
        clock: Clock,
        streamlinks: Streamlinks,
        plugins: Sources,
        watcher: Processes,
        beginner: Beginner,
        settings: LiveSettings,
        pid_of: Callable[[int], int | None],
        presenter: Presenter,
        memory_of: Callable[[str], tuple[int | None, int | None]] = lambda _unit: (None, None),
        catalogue: Catalogue | None = None,
        unreachable: Callable[[], Sequence[str]] = tuple,
        unconfined: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._manager = manager
        self._store = store
        self._files = files
        self._hub = hub
        self._clock = clock
        self._streamlinks = streamlinks
        self._plugins = plugins
        self._watcher = watcher
        self._beginner = beginner
        self._settings = settings
        self._pid_of = pid_of
        self.presenter = presenter
        self._memory_of = memory_of
        self._catalogue = catalogue
        self._unreachable = unreachable
        self._unconfined = unconfined
        self._started = clock.now()

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {
            "Get": self.get,
            "ListSegments": self.list_segments,
            "GetSegment": self.get_segment,
            "Why": self.why,
            "Record": self.record,
            "Stop": self.stop,
            "Rotate": self.rotate,
            "Retry": self.retry,
            "GetStatus": self.get_status,
            "ManageStreamlink": self.manage_streamlink,
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
        return {"segments": [self.segment_view(recorder, index) for index in shown]} | optional(next=further)

    async def get_segment(self, call: Call) -> View:
        recorder, wanted = await self._fresh(call), call.parameters["segment"]
        for index, segment in enumerate(recorder.segments):
            if segment.number == wanted:
                return {"segment": self.segment_view(recorder, index)}
        raise NoSuchSegment(recording=recorder.recording.id, segment=wanted)

    async def why(self, call: Call) -> View:
        recorder = await self._find(call.parameters["recording"])
        recording, wanted = recorder.recording.id, call.parameters.get("segment")
        if wanted is not None and recorder.segment(wanted) is None:
            raise NoSuchSegment(recording=recording, segment=wanted)
        events = await self._store.events(recording, limit=EVENTS_MAX)
        return {"ends": end_views(recorder, events, wanted)}

    async def get_status(self, call: Call) -> View:
        installation = await self._streamlinks.settled()
        recorders = self._manager.recorders.values()
        running = [recorder for recorder in recorders if recorder.state in RUNNING]
        found = {
            "version": __version__,
            "state": "running",
            "startedAt": timestamp(self._started),
            "recordings": len(running),
            "segments": sum(len(recorder.live) for recorder in recorders),
            "jobs": sum(recorder.state is State.FINALIZING for recorder in recorders),
            "streamlinkCommand": " ".join(installation.command if installation else ()),
            "store": str(self._settings.now.store_path),
            "unreachableTargets": [*self._unreachable()],
            "unconfined": [*self._unconfined()],
            "mistakes": [mistake_view(mistake) for mistake in self._settings.mistakes],
        }
        if self._catalogue is not None:
            catalogue = await self._catalogue.state()
            found["catalogue"] = {"backlog": catalogue.backlog} | (
                {} if catalogue.trouble is None else {"trouble": catalogue.trouble}
            )
        return found | optional(
            streamlinkVersion=str(installation.version) if installation else None,
            streamlinkTrouble=self._streamlinks.trouble,
        )

    # --- acting ----------------------------------------------------------------------------------------------------

    async def record(self, call: Call) -> Stream:
        until = call.parameters.get("until", "accepted")
        warning = optional(warning=self._streamlinks.trouble if LOGIN.fullmatch(call.parameters["url"]) else None)
        with self._hub.subscribe() as subscription:
            recorder = await asyncio.shield(self._begin(call.parameters))
            while not _is_reached(recorder, until):
                if call.more:
                    yield {"recording": await self._view(recorder)} | warning
                recorder = await _next_of(subscription, recorder)
        if recorder.state is State.FAILED and recorder.media_started is None:
            raise _failure(recorder)
        yield Last({"recording": await self._view(recorder)} | warning)

    async def _begin(self, given: dict[str, Any]) -> Recorder:
        settings = self._settings.now
        url = check_url(given["url"])
        quality = check_quality(given.get("quality", settings.quality))
        streamer = check_name(given["name"]) if "name" in given else name_of(url)
        duration = _check_duration(given.get("durationUSec"))
        directory = _check_directory(given.get("directory"), settings.directory)
        for running in self._manager.recorders.values():
            if running.recording.streamer == streamer and running.state in RUNNING:
                raise AlreadyRecording(streamer=streamer, recording=running.recording.id)
        if not await self._plugins.can_handle(url):
            raise UnsupportedUrl(url=redact_url(url))
        if is_sized(quality):
            quality = with_fallback(quality, (await self._plugins.probe(url, quality)).streams)
        return await self._beginner.begin(
            Wish(
                streamer=streamer,
                url=url,
                quality=quality,
                directory=directory,
                duration=duration,
                policy=replace(settings.policy, filename=settings.filename),
            )
        )

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

    async def manage_streamlink(self, call: Call) -> View:
        verb = call.parameters["verb"]
        if verb == "status":
            await self._streamlinks.refresh()
            installation = await self._streamlinks.usable()
        else:
            if call.peer.uid != 0 and self._settings.now.streamlink_install != "group":
                raise StreamlinkInstallRefused(uid=call.peer.uid)
            hashes = not call.parameters.get("noHashes", False)
            installation = await self._streamlinks.install(call.parameters.get("version"), hashes=hashes)
        found = {
            "command": " ".join(installation.command),
            "version": str(installation.version),
            "managed": installation.managed,
        }
        return found | ({"warning": installation.warning} if installation.warning else {})

    # --- shared ----------------------------------------------------------------------------------------------------

    async def _find(self, name_or_id: str) -> Recorder:
        """A recorder by number or streamer; the one in memory if it runs, for it may be ahead of its row."""
        return self._present(await self._store.find(name_or_id))

    def _present(self, stored: Recorder) -> Recorder:
        return self._manager.recorders.get(stored.recording.id, stored)

    async def _fresh(self, call: Call) -> Recorder:
        return await self.presenter.fresh(await self._find(call.parameters["recording"]))

    async def _view(self, recorder: Recorder) -> View:
        return await self.presenter.recording(recorder)

    def segment_view(self, recorder: Recorder, index: int) -> View:
        """A Segment of a recorder."""
        segment = recorder.segments[index]
        path = str(self._files.segment_path(recorder.recording, segment.number))
        unit = segment_unit(recorder.recording.id, segment.number)
        pidfd = self._watcher.pidfd(unit)
        pid = None if pidfd is None else self._pid_of(pidfd)
        memory = self._memory_of(unit) if segment.phase.is_live else (None, None)
        return segment_view(recorder, segment, path, pid, memory)


async def _next_of(subscription: Subscription, recorder: Recorder) -> Recorder:
    while True:
        news = await subscription.get()
        if isinstance(news, News) and news.recorder.recording.id == recorder.recording.id and news.told is None:
            return news.recorder


def _is_reached(recorder: Recorder, until: str) -> bool:
    if until == "accepted" or recorder.state.is_final:
        return True
    return until == "recording" and recorder.media_started is not None


def _failure(recorder: Recorder) -> VaultError:
    """Why a recording has failed before its first media."""
    why = recorder.detail or "no media arrived"
    if recorder.segments and recorder.segments[-1].cause == Cause.LAUNCH_FAILED:
        return ScopeFailed(unit=segment_unit(recorder.recording.id, recorder.segments[-1].number), why=why)
    return SourceUnavailable(url=redact_url(recorder.recording.url), why=why)


def _not_recording(verb: str, recorder: Recorder) -> NotRecording:
    return NotRecording(verb=verb, recording=recorder.recording.id, state=recorder.state.value)


def _check_duration(usec: int | None) -> float | None:
    if usec is None:
        return None
    if not 1_000_000 <= usec <= SPAN_MAX_USEC:
        raise InvalidDuration(value=f"{usec}us", why="it must be a second at least and ten years at most")
    return usec / 1e6


def _check_directory(given: str | None, default: Path) -> Path:
    if given is None:
        return default
    path = Path(given)
    if not path.is_absolute() or ".." in path.parts or "\0" in given:
        raise DirectoryUnusable(directory=given[:200], why="it is no absolute path without '..'")
    return path
