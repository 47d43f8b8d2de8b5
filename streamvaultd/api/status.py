# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: GetStatus, how the daemon is as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from streamvaultd import __version__
from streamvaultd.api.admin import mistake_view
from streamvaultd.api.views import View, optional, timestamp
from streamvaultd.base.clock import Clock
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.model import Recorder, State
from streamvaultd.core.recording.machine import RUNNING
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.varlink.server import Call, Handler


class CatalogueState(Protocol):
    """`backlog` changes are not in the catalogue yet; `trouble` says why not."""

    @property
    def backlog(self) -> int: ...
    @property
    def trouble(self) -> str | None: ...


class Catalogue(Protocol):
    """What is fed with a copy of all that the store holds."""

    async def state(self) -> CatalogueState: ...


class Targets(Protocol):
    """Who is notified."""

    @property
    def unreachable(self) -> Sequence[str]:
        """Those that cannot be."""


class Unconfined(Protocol):
    """What segments are not kept from."""

    @property
    def now(self) -> Sequence[str]:
        """What this machine lacks, and what it has too little of."""


class StatusApi:
    """The handler."""

    def __init__(
        self,
        *,
        recorders: Mapping[int, Recorder],
        streamlinks: Streamlinks,
        catalogue: Catalogue | None,
        targets: Targets,
        settings: LiveSettings,
        unconfined: Unconfined,
        clock: Clock,
    ) -> None:
        self._recorders = recorders
        self._streamlinks = streamlinks
        self._catalogue = catalogue
        self._targets = targets
        self._settings = settings
        self._unconfined = unconfined
        self._started = clock.now()

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {"GetStatus": self.get_status}

    async def get_status(self, call: Call) -> View:
        installation = await self._streamlinks.settled()
        recorders = self._recorders.values()
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
            "unreachableTargets": [*self._targets.unreachable],
            "unconfined": [*self._unconfined.now],
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
