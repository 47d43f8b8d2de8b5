# SPDX-License-Identifier: GPL-3.0-or-later
"""How a recording begins: refused before anything of it exists, or stored, and then begun."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from streamvaultd.base.clock import Clock
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Broadcast, Moment, Policy, Recorder
from streamvaultd.core.recording.events import RecordRequested
from streamvaultd.core.recording.quality import with_fallback
from streamvaultd.core.watching.model import Sighting
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.recording.headroom import Headroom
from streamvaultd.recording.inbox import Inbox, Recorders
from streamvaultd.recording.ports import RecordingStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be recorded, and how."""

    streamer: str
    url: str
    quality: str
    directory: Path
    duration: float | None
    policy: Policy
    broadcast: Broadcast | None = None


class Beginner:
    """Begins recordings for which there is room."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        recorders: Recorders,
        store: RecordingStore,
        clock: Clock,
        headroom: Headroom,
    ) -> None:
        self._inbox = inbox
        self._recorders = recorders
        self._store = store
        self._clock = clock
        self._headroom = headroom

    async def begin(self, wish: Wish) -> Recorder:
        """The recording that begins; raises VaultError, and then there is none."""
        await self._headroom.admit(wish.streamer, wish.directory, wish.policy)
        recorder = await self._store.create_recording(
            streamer=wish.streamer,
            url=wish.url,
            quality=wish.quality,
            directory=str(wish.directory),
            duration=wish.duration,
            policy=wish.policy,
            now=self._clock.now(),
            broadcast=wish.broadcast,
        )
        self._recorders.take(recorder)
        begun = await self._inbox.submit(recorder.recording.id, RecordRequested(at=self._clock.now()))
        return begun or recorder


class Admission:
    """What the watcher has begun, and noted, of broadcasts."""

    def __init__(self, beginner: Beginner, store: RecordingStore, settings: LiveSettings) -> None:
        self._beginner = beginner
        self._store = store
        self._settings = settings

    async def begin(self, streamer: Streamer, sighting: Sighting) -> Recorder:
        """Record a broadcast that was seen; raises VaultError."""
        return await self._beginner.begin(wish_for(streamer, sighting, self._settings.now))

    async def note_broadcast(self, recording: int, broadcast: Broadcast, now: Moment) -> None:
        """What it is called now; raises StoreUnavailable."""
        await self._store.note_broadcast(recording, broadcast, now)


def wish_for(streamer: Streamer, sighting: Sighting, settings: Settings) -> Wish:
    """A broadcast that the watcher has seen is recorded as its streamer's file has it, or else the settings."""
    return Wish(
        streamer=streamer.name,
        url=streamer.url,
        quality=with_fallback(streamer.quality or settings.quality, sighting.streams),
        directory=Path(streamer.directory) if streamer.directory else settings.directory,
        duration=streamer.max_duration,
        policy=replace(streamer.policy_on(settings.policy), filename=streamer.filename or settings.filename),
        broadcast=Broadcast(site_id=sighting.site_id, title=sighting.title, category=sighting.category),
    )
