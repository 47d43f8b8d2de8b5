# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorders as they are when somebody looks: with the sizes of now, and with how far their joins are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from streamvaultd.api.views import View, recording_view
from streamvaultd.base.clock import Clock
from streamvaultd.core.model import Recorder
from streamvaultd.jobs.progress import Progress
from streamvaultd.recording.glance import Sizes


class Presenter:
    """Makes Recordings of recorders; `progress` is that of a recording's join, if one runs."""

    def __init__(self, *, clock: Clock, sizes: Sizes, progress: Callable[[int], Progress | None]) -> None:
        self._clock = clock
        self._sizes = sizes
        self._progress = progress

    async def fresh(self, recorder: Recorder) -> Recorder:
        """The recorder with the sizes that its files have now."""
        return await self._sizes.fresh(recorder)

    async def recording(self, recorder: Recorder) -> View:
        """A Recording of what the files hold now."""
        return self.known(await self._sizes.fresh(recorder))

    async def recordings(self, recorders: Sequence[Recorder]) -> list[View]:
        """Recordings, all looked at side by side."""
        return await asyncio.gather(*map(self.recording, recorders))

    def known(self, recorder: Recorder) -> View:
        """A Recording of what is known without a look."""
        return recording_view(recorder, self._clock.now(), self._progress(recorder.recording.id))
