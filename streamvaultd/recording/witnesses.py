# SPDX-License-Identifier: GPL-3.0-or-later
"""What witnesses tell of a segment's run: its exit record, systemd, and streamlink's own lines."""

from __future__ import annotations

import asyncio
from typing import Final

from streamvaultd.base.clock import Clock
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Recorder
from streamvaultd.core.names import Run
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.loglines import Line, date_in, pace_in, resolved_quality
from streamvaultd.core.recording.policy import preferred_quality, quality_to_come
from streamvaultd.recording.inbox import Inbox
from streamvaultd.recording.ports import Disk, Link
from streamvaultd.scopes.runs import OnExit, Runs

QUALITY_WAIT: Final = 1.0
"""A launch waits no longer (s) to hear which quality the segment before has."""


class Witnesses:
    """Makes events of what the witnesses tell."""

    def __init__(self, *, inbox: Inbox, clock: Clock, runs: Runs, disk: Disk, link: Link) -> None:
        self._inbox = inbox
        self._clock = clock
        self._runs = runs
        self._disk = disk
        self._link = link
        self._qualities: dict[Run, asyncio.Future[str]] = {}

    def of_run(self, run: Run) -> OnExit:
        """What is to be called when a run is over -> SegmentExited"""

        def on_exit(told: Evidence, at: Moment) -> None:
            around = Evidence(link_down=self._link.is_down or None, disk=self._disk.state_of(run.recording))
            exited = ev.SegmentExited(at=at, attempt=run.number, evidence=told.merged(around))
            self._inbox.post(run.recording, exited)

        return on_exit

    def on_unit_result(self, unit: str, result: str, active_state: str) -> None:
        """What systemd says about a scope; "success" is no evidence, for units that are unknown have it too."""
        run, is_known = Run.of(unit), result not in ("", "success")
        if active_state not in ("failed", "inactive", "deactivating"):
            return
        # Once the run is over it is the stop of what it left behind that took too long
        if run is not None and is_known and (result != "timeout" or self._runs.is_busy(unit)):
            self.on_evidence(run, Evidence(unit_result=result))
        if is_known or active_state != "deactivating":
            self._runs.on_result(unit)

    def on_unit_memory(self, unit: str, peak: int | None, limit: int | None) -> None:
        """How much memory a scope that failed had used at most, and its limit."""
        if (run := Run.of(unit)) is not None:
            self.on_evidence(run, Evidence(memory_peak=peak, memory_max=limit))

    def on_evidence(self, run: Run, evidence: Evidence) -> None:
        """What a witness says about a run, before or after its end."""
        arrived = ev.EvidenceArrived(at=self._clock.now(), attempt=run.number, evidence=evidence)
        self._inbox.post(run.recording, arrived)

    def on_line(self, run: Run, line: Line, text: str) -> None:
        """What streamlink says while it runs."""
        if line is Line.DATED:
            return self.on_evidence(run, Evidence(dated=date_in(text)))
        quality = resolved_quality(text) if line in (Line.OPENING, Line.MUXING) else None
        if quality is not None and self._runs.is_busy(run.unit):
            heard = self._quality(run)
            if not heard.done():
                heard.set_result(quality)
        pace = pace_in(text) if line is Line.PACE else None
        spoke = ev.SegmentSpoke(at=self._clock.now(), attempt=run.number, line=line, quality=quality, pace=pace)
        self._inbox.post(run.recording, spoke)

    async def preferred(self, recorder: Recorder) -> str | None:
        """The quality to ask for; one that comes in a moment is waited for, since another would not join exactly."""
        attempt = quality_to_come(recorder, self._clock.now().monotonic)
        if attempt is None:
            return preferred_quality(recorder)
        try:
            return await asyncio.wait_for(asyncio.shield(self._quality(recorder.run(attempt))), QUALITY_WAIT)
        except TimeoutError:
            return preferred_quality(recorder)

    def _quality(self, run: Run) -> asyncio.Future[str]:
        if run not in self._qualities:
            self._qualities[run] = asyncio.get_running_loop().create_future()
        return self._qualities[run]

    def forget(self, run: Run) -> None:
        """The segment is over: nobody asks for its quality any more."""
        self._qualities.pop(run, None)
