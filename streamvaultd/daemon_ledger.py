# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the composition root that keeps the books beside the store: manifests, and rows rebuilt from them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from streamvaultd.api_rescan import RescanApi
from streamvaultd.capture.manifests import ManifestFiles
from streamvaultd.capture.salvage import Salvage
from streamvaultd.clock import Clock
from streamvaultd.config import Settings
from streamvaultd.core.model import Recorder
from streamvaultd.disks import Lanes
from streamvaultd.manager import Manager
from streamvaultd.manifests import Manifests
from streamvaultd.notices import Journal
from streamvaultd.rescan import Rescan
from streamvaultd.store.recovery import RecoverableStore
from streamvaultd.varlink.server import Handler


class Ledger:
    """What is written down of recordings besides their rows; `start()` once they are taken over."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        store: RecoverableStore,
        manager: Callable[[], Manager],
        lanes: Lanes,
        clock: Clock,
        journal: Journal,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._settings, self._store, self._manager = settings, store, manager
        self._lanes, self._clock, self._journal = lanes, clock, journal
        self._files = ManifestFiles()
        self._manifests = Manifests(spawn=spawn, lanes=lanes, files=self._files, journal=journal)

    def start(self, recorders: Iterable[Recorder]) -> None:
        """Write down what the daemon has found at its start."""
        for recorder in recorders:
            self._manifests.note(recorder)

    def on_change(self, recorder: Recorder) -> None:
        """This is how a recording is now; never waits."""
        self._manifests.note(recorder)

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        rescan = Rescan(
            manager=self._manager(),
            store=self._store,
            files=self._files,
            salvage=Salvage(),
            lanes=self._lanes,
            clock=self._clock,
            journal=self._journal,
            settings=self._settings,
        )
        return RescanApi(rescan).handlers()
