# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the composition root that keeps the books: manifests, rows rebuilt from them, and metrics."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Recorder
from streamvaultd.daemon.base import Base
from streamvaultd.daemon.startup import Startup
from streamvaultd.errors import StoreInUse, StoreUnavailable, VaultError
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.manager import Manager
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.reporting.hub import Hub
from streamvaultd.reporting.metrics.figures import Restarts
from streamvaultd.reporting.metrics.meter import TEXTFILE_INTERVAL, Disks, Meter, Watches, provide
from streamvaultd.reporting.metrics.serve import MetricsServer, write_textfile
from streamvaultd.reporting.notices import METRICS_FAILED
from streamvaultd.store.catalogue import Catalogue
from streamvaultd.store.queries import QueryableStore
from streamvaultd.upkeep.audit.salvage import Salvage
from streamvaultd.upkeep.manifests.keeper import Manifests
from streamvaultd.upkeep.manifests.manifest_files import ManifestFiles
from streamvaultd.upkeep.manifests.rescan import Rescan

if TYPE_CHECKING:
    from streamvaultd.reporting.metrics.page import MetricsPage

CATCH_UP_MAX: Final = 100
"""Recordings whose manifests are compared with their rows at the start."""


async def open_store(settings: Settings, files: SegmentFiles, hub: Hub, startup: Startup) -> QueryableStore:
    """The store, once no import has it any more; raises StoreUnavailable and StoreTooNew. The hub hears of jobs.

    Waiting is not limited here: systemd does so with every start.
    """
    where, paths = settings.store_path, files.row_path
    try:
        opening = QueryableStore.open(where, paths=paths, listener=hub)
        return await startup.wait(f"the store {where}", opening)
    except StoreInUse as error:
        opening = QueryableStore.open(where, paths=paths, listener=hub, wait=True)
        return await startup.wait(f"the end of what holds the store: {error}", opening)


class Ledger:
    """What is written down of recordings besides their rows, and what is counted; `start()` once they are there."""

    def __init__(
        self,
        base: Base,
        *,
        disks: Disks,
        catalogue: Catalogue | None,
        streamlinks: Streamlinks,
        watches: Watches,
    ) -> None:
        self._settings, self._store, self._recorders = base.settings, base.store, base.recorders
        self._lanes, self._clock, self._journal, self._tasks = base.lanes, base.clock, base.journal, base.tasks
        self._disks, self._catalogue, self._streamlinks = disks, catalogue, streamlinks
        self._watches = watches
        self._restarts = Restarts()
        self._page: MetricsPage | None = None
        self._files = ManifestFiles()
        self._manifests = Manifests(
            tasks=base.tasks, store=base.store, lanes=base.lanes, files=self._files, journal=base.journal
        )

    def start(self, recorders: Iterable[Recorder]) -> None:
        """Write down what the daemon has found at its start, and begin to tell of it."""
        for recorder in recorders:
            self._manifests.note(recorder)
            self._restarts.skip(recorder)
        self._tasks.create_task(self._catch_up())
        self._start_metrics()

    async def _catch_up(self) -> None:
        """The latest that are over: an earlier daemon may have ended before it wrote their last manifests."""
        with suppress(StoreUnavailable):
            for recorder in await self._store.list(all=True, limit=CATCH_UP_MAX):
                if recorder.state.is_final and recorder.recording.id not in self._recorders:
                    self._manifests.note(recorder)

    def on_change(self, recorder: Recorder) -> None:
        """This is how a recording is now; never waits."""
        self._manifests.note(recorder)
        for seconds in self._restarts.of(recorder):
            if self._page is not None:
                self._page.observe_restart(seconds)

    def on_step(self, recording: int) -> None:
        """A step of a recording has ended; never waits."""
        self._tasks.create_task(self._renew(recording))

    async def _renew(self, recording: int) -> None:
        with suppress(VaultError):  # the next start catches up
            recorder = self._recorders.known(recording) or await self._store.get(recording)
            if recorder is not None:
                self._manifests.renew(recorder)

    def build_rescan(self, manager: Manager) -> Rescan:
        """What makes rows of manifests again."""
        return Rescan(
            manager=manager,
            store=self._store,
            files=self._files,
            salvage=Salvage(),
            lanes=self._lanes,
            clock=self._clock,
            journal=self._journal,
            settings=self._settings,
        )

    def _start_metrics(self) -> None:
        """What [metrics] asked for when the daemon started; the library is loaded only then."""
        where, textfile = self._settings.now.metrics_listen, self._settings.now.metrics_textfile
        if not where and not textfile:
            return
        try:
            from streamvaultd.reporting.metrics import page as pages
        except ImportError as error:
            self._journal.tell(METRICS_FAILED, what=where or textfile, why=error)
            return
        page, meter = pages.MetricsPage(), self._build_meter()
        self._page = page

        async def text() -> bytes:
            return page.text(await meter.snapshot())

        async def write() -> None:
            await self._lanes.run(f"metrics {textfile}", write_textfile, Path(textfile), await text())

        if where:
            server = MetricsServer(text, pages.CONTENT_TYPE)
            self._tasks.create_task(provide(where, partial(server.serve, where), 0, self._journal))
        if textfile:
            self._tasks.create_task(provide(textfile, write, TEXTFILE_INTERVAL, self._journal))

    def _build_meter(self) -> Meter:
        return Meter(
            store=self._store, recorders=self._recorders, disks=self._disks, catalogue=self._catalogue,
            streamlinks=self._streamlinks, watches=self._watches, clock=self._clock,
        )  # fmt: skip
