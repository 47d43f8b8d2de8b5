# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: Record. A call is checked before anything of it exists; a refused one leaves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from streamvaultd.api.present import Presenter
from streamvaultd.api.streamers import Plugins
from streamvaultd.api.views import optional
from streamvaultd.base.redaction import redact_url
from streamvaultd.config.inputs import check_directory, check_duration, check_quality, check_url, name_for
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.cause import Cause
from streamvaultd.core.model import Recorder, State
from streamvaultd.core.recording.machine import RUNNING
from streamvaultd.core.recording.quality import is_sized, with_fallback
from streamvaultd.core.watching.model import Sighting
from streamvaultd.errors import (
    AlreadyRecording,
    ScopeFailed,
    SourceUnavailable,
    UnsupportedUrl,
    VaultError,
)
from streamvaultd.recording.admission import Beginner, Wish
from streamvaultd.reporting.hub import Hub, News, Subscription
from streamvaultd.varlink.server import Call, Handler, Stream
from streamvaultd.varlink.server import Final as Last
from streamvaultd.watching.twitch import LOGIN


class Sources(Plugins, Protocol):
    """What streamlink knows of sources."""

    async def probe(self, url: str, quality: str) -> Sighting:
        """What a source offers now; trouble is an answer."""


class RecordApi:
    """The handler; `recorders` are those of the manager."""

    def __init__(
        self,
        *,
        recorders: Mapping[int, Recorder],
        beginner: Beginner,
        plugins: Sources,
        hub: Hub,
        presenter: Presenter,
        settings: LiveSettings,
    ) -> None:
        self._recorders = recorders
        self._beginner = beginner
        self._plugins = plugins
        self._hub = hub
        self._presenter = presenter
        self._settings = settings

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {"Record": self.record}

    async def record(self, call: Call) -> Stream:
        until = call.parameters.get("until", "accepted")
        warning = optional(warning=self._plugins.trouble if LOGIN.fullmatch(call.parameters["url"]) else None)
        with self._hub.subscribe() as subscription:
            recorder = await asyncio.shield(self._begin(call.parameters))
            while not _is_reached(recorder, until):
                if call.more:
                    yield {"recording": await self._presenter.recording(recorder)} | warning
                recorder = await _next_of(subscription, recorder)
        if recorder.state is State.FAILED and recorder.media_started is None:
            raise _failure(recorder)
        yield Last({"recording": await self._presenter.recording(recorder)} | warning)

    async def _begin(self, given: dict[str, Any]) -> Recorder:
        settings = self._settings.now
        url = check_url(given["url"])
        quality = check_quality(given.get("quality", settings.quality))
        streamer = name_for(url, given.get("name"))
        duration = check_duration(given["durationUSec"]) if "durationUSec" in given else None
        directory = check_directory(given["directory"]) if "directory" in given else settings.directory
        for running in self._recorders.values():
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
        return ScopeFailed(unit=recorder.run(recorder.segments[-1].number).unit, why=why)
    return SourceUnavailable(url=redact_url(recorder.recording.url), why=why)
