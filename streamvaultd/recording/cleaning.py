# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes files of recordings when their recorders want that, and tells them when it is done."""

from __future__ import annotations

from streamvaultd.base.clock import Clock
from streamvaultd.core.model import Recorder
from streamvaultd.core.recording import events as ev
from streamvaultd.errors import VaultError
from streamvaultd.recording.inbox import Inbox
from streamvaultd.recording.removal import Removal
from streamvaultd.reporting.notices import FILES_TROUBLE, Journal


class Cleaning:
    """The journal names what cannot be removed."""

    def __init__(self, *, removal: Removal, inbox: Inbox, clock: Clock, journal: Journal) -> None:
        self._removal = removal
        self._inbox = inbox
        self._clock = clock
        self._journal = journal

    async def remove_segments(self, recorder: Recorder) -> None:
        """-> SegmentsRemoved; nothing goes unless all files of the result are there"""
        try:
            is_removed = await self._removal.remove_segments(recorder)
        except (OSError, VaultError) as error:
            self._journal.tell(FILES_TROUBLE, recorder, why=error)
            return
        if not is_removed:
            why = f"{recorder.path}, or what is kept beside it, is not there: the segments stay"
            self._journal.tell(FILES_TROUBLE, recorder, why=why)
            return
        self._inbox.post(recorder.recording.id, ev.SegmentsRemoved(at=self._clock.now()))

    async def discard_folder(self, recorder: Recorder) -> None:
        """Remove the empty folder of a recording that has no media."""
        try:
            await self._removal.discard_folder(recorder)
        except OSError as error:
            self._journal.tell(FILES_TROUBLE, recorder, why=error)

    async def discard(self, recorder: Recorder) -> None:
        """-> MediaDiscarded"""
        try:
            sizes = await self._removal.discard(recorder)
        except (OSError, VaultError) as error:
            # not stuck: DiscardOverdue asks again
            self._journal.tell(FILES_TROUBLE, recorder, why=error)
            return
        discarded = ev.MediaDiscarded(at=self._clock.now(), files=len(sizes), size=sum(sizes.values()))
        self._inbox.post(recorder.recording.id, discarded)
