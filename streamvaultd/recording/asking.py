# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the source of a recording whether it is back, and tells the recorder what it said."""

from __future__ import annotations

from streamvaultd.base.clock import Clock
from streamvaultd.core.model import Recorder
from streamvaultd.core.recording.events import BroadcastOver, SourceProbed
from streamvaultd.recording.inbox import Inbox
from streamvaultd.recording.ports import Prober


class Asking:
    """Makes events of answers."""

    def __init__(self, *, prober: Prober, inbox: Inbox, clock: Clock) -> None:
        self._prober = prober
        self._inbox = inbox
        self._clock = clock

    async def ask(self, recorder: Recorder, probe: int) -> None:
        """-> SourceProbed; before it BroadcastOver, if the source has another broadcast now"""
        recording = recorder.recording.id
        answer = await self._prober.probe(recorder.recording)
        if answer.is_another:
            self._inbox.post(recording, BroadcastOver(at=self._clock.now(), why=answer.detail))
        probed = SourceProbed(
            at=self._clock.now(), probe=probe, outcome=answer.outcome, detail=answer.detail, mark=answer.mark
        )
        self._inbox.post(recording, probed)
