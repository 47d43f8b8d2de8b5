# SPDX-License-Identifier: GPL-3.0-or-later
"""P10: watches the file systems that are recorded to, and tells the recordings when there is no room, or room again.

core/recording/disk.py decides; here is measured, at every sync, for all recordings of a file system together. Each
measurement has a limit, for a disk that does not answer is no better than a full one.
"""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.base.lanes import is_no_room
from streamvaultd.base.tasks import Tasks
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.model import Recorder, State
from streamvaultd.core.names import Run
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.disk import (
    Margin,
    Room,
    WritePace,
    amount,
    mean_rate,
    pace_of_recording,
    room_to_resume,
    shortage,
    still_short,
)
from streamvaultd.errors import DirectoryUnusable, DiskFull
from streamvaultd.recording.disks import Disks
from streamvaultd.recording.inbox import Inbox
from streamvaultd.reporting.notices import SYNC_FAILED, Journal

AHEAD: Final = 2.0
"""Intervals that may pass until what is found is acted upon: this one, and the stop of what runs."""

BRAKED: Final = frozenset({State.STARTING, State.RECORDING, State.ROTATING, State.BACKOFF})
WAITING: Final = BRAKED | {State.PAUSED}


class Paces(Protocol):
    """How fast files grow, by their units."""

    def paces(self) -> Mapping[Run, WritePace]: ...


class DiskGuard:
    """Posts DiskLow and DiskFreed, and refuses what there is no room for."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        tasks: Tasks,
        clock: Clock,
        disks: Disks,
        journal: Journal,
        recorders: Mapping[int, Recorder],
        writeback: Paces,
        settings: LiveSettings,
    ) -> None:
        self._inbox = inbox
        self._tasks = tasks
        self._clock = clock
        self._disks = disks
        self._journal = journal
        self._recorders = recorders
        self._writeback = writeback
        self._settings = settings
        self._asked: set[str] = set()
        self._devices: dict[int, int] = {}
        self._rooms: dict[int, Room] = {}
        self._rates: dict[int, float] = {}
        self._states: dict[int, str | None] = {}

    @property
    def _margin(self) -> Margin:
        settings = self._settings.now
        return Margin(reserve=settings.disk_reserve, floor=settings.disk_floor)

    async def run(self) -> None:
        """Look at the disks until cancelled."""
        while True:
            await asyncio.sleep(self._settings.now.sync_interval)
            self._forget()
            for directory in {recorder.recording.directory for recorder in self._in(BRAKED)} - self._asked:
                self._tasks.create_task(self._look(directory))

    async def check(self, recorder: Recorder) -> None:
        """-> DiskFreed | DiskLow"""
        number = recorder.recording.id
        try:
            why = await self._still_short(recorder)
        except OSError as error:
            why = _text(error, recorder.recording.directory)
            self._states[number] = _state_of(error)
        at = self._clock.now()
        self._inbox.post(number, ev.DiskFreed(at=at) if why is None else ev.DiskLow(at=at, why=why))

    async def trouble(self, recorder: Recorder) -> str | None:
        """Why no further segment can be started; None if it can."""
        try:
            [room] = await self._measure([recorder])
        except OSError as error:
            return _text(error, recorder.recording.directory)
        return self._shortage(room)

    async def admit(self, directory: Path, streamer: str) -> None:
        """Make the folder of another recording. Raises DiskFull when there is no room, DirectoryUnusable."""
        try:
            [room] = await self._disks.measure(str(directory), [directory])
            why = still_short(room, self._pace_on(room.device, WAITING).steady, self._margin)
            if why is not None:
                raise DiskFull(directory=str(directory), why=why)
            await self._disks.prepare(directory, streamer)
        except OSError as error:
            raise DirectoryUnusable(directory=str(directory), why=error.strerror or str(error)) from error

    async def missing(self, folder: Path, needed: int) -> str | None:
        """Why `needed` bytes cannot be written there beside what the recordings need; None if they can."""
        try:
            [room] = await self._disks.measure(str(folder), [folder])
            kept = self._kept_on(room.device)
            if room.free is not None and room.free < needed + kept:
                return f"{room.place}: {amount(room.free)} free, {amount(needed + kept)} are needed"
            await self._disks.try_writing(str(folder), folder, needed)
        except OSError as error:
            return _text(error, str(folder))
        return None

    async def kept(self, folder: Path) -> int:
        """Bytes that others than recordings have to leave free there, as far as that can be told."""
        try:
            [room] = await self._disks.measure(str(folder), [folder])
        except OSError:
            return self._margin.floor
        return self._kept_on(room.device)

    def state_of(self, recording: int) -> str | None:
        """What was wrong with a recording's disk when it was last looked at: "full", "read-only"; None: nothing."""
        return self._states.get(recording)

    def outlook(self) -> list[tuple[str, int, float]]:
        """The file systems that are recorded to, as last measured: place, free bytes, and seconds until the floor."""
        floor = self._margin.floor
        found = []
        for device in sorted({on for number, on in self._devices.items() if number in self._recorders}):
            room = self._rooms.get(device)
            if room is not None and room.free is not None:
                rate = self._pace_on(device, BRAKED).steady
                left = max(room.free - floor, 0) / rate if rate > 0 else math.inf
                found.append((room.place, room.free, left))
        return found

    def on_sync_failed(self, run: Run, error: OSError) -> None:
        """A segment's media could not be put on disk: tell it, and find out whether more can be."""
        recorder = self._recorders.get(run.recording)
        if recorder is None:
            return
        self._journal.tell(SYNC_FAILED, recorder, segment=f"{run.number:03d}", why=error.strerror or error)
        self._tasks.create_task(self._look_closely(recorder))

    # --- at every interval -----------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """What is known of recordings that are no more, and the rates of those that are not paused any more."""
        recorders = self._recorders
        for known in (self._devices, self._states):
            for number in known.keys() - recorders.keys():
                del known[number]
        for device in self._rooms.keys() - set(self._devices.values()):
            del self._rooms[device]
        for number in self._rates.keys() - {recorder.recording.id for recorder in self._in({State.PAUSED})}:
            del self._rates[number]

    async def _look(self, directory: str) -> None:
        """Look at the disks of all recordings of one directory; a streamer's folder may be on one of its own."""
        self._asked.add(directory)
        try:
            await self._look_at([each for each in self._in(BRAKED) if each.recording.directory == directory])
        finally:
            self._asked.discard(directory)

    async def _look_at(self, recorders: Sequence[Recorder]) -> None:
        try:
            rooms = set(await self._measure(recorders))
        except OSError as error:
            if len(recorders) > 1 and error.errno != errno.ETIMEDOUT:
                # of a folder of one of them, say, and no reason to pause the others
                await asyncio.gather(*(self._look_at([recorder]) for recorder in recorders))
                return
            for recorder in recorders:
                self._brake([recorder.recording.id], _text(error, recorder.recording.directory), _state_of(error))
        else:
            for room in rooms:
                if (why := self._shortage(room)) is not None:
                    self._brake(self._on(room.device), why, "full")

    async def _look_closely(self, recorder: Recorder) -> None:
        number = recorder.recording.id
        try:
            await self._try_writing(recorder, 0)
        except OSError as error:
            device = self._devices.get(number)
            why = _text(error, recorder.recording.directory)
            self._brake([number] if device is None else self._on(device), why, _state_of(error))

    def _brake(self, numbers: Sequence[int], why: str, state: str | None) -> None:
        at, files = self._clock.now(), self._files_written()
        for number in numbers:
            recorder = self._recorders.get(number)
            if recorder is not None and recorder.state in BRAKED:
                self._rates[number] = self._pace_of(recorder, files).steady
                self._states[number] = state
                self._inbox.post(number, ev.DiskLow(at=at, why=why))

    # --- measuring -------------------------------------------------------------------------------------------------

    def _kept_on(self, device: int) -> int:
        margin = self._margin
        return margin.floor + room_to_resume(self._pace_on(device, WAITING).steady, margin)

    def _shortage(self, room: Room) -> str | None:
        return shortage(
            room, self._pace_on(room.device, BRAKED), self._margin, look_again=AHEAD * self._settings.now.sync_interval
        )

    async def _still_short(self, recorder: Recorder) -> str | None:
        [room] = await self._measure([recorder])
        margin, rate = self._margin, self._pace_on(room.device, WAITING).steady
        why = still_short(room, rate, margin)
        if why is None:
            # half of it: what the others on this disk are measured by in the meantime stays free
            await self._try_writing(recorder, room_to_resume(rate, margin) // 2)
            self._states.pop(recorder.recording.id, None)
        return why

    async def _measure(self, recorders: Sequence[Recorder]) -> list[Room]:
        """The file system of each recorder; all are in one directory."""
        if not recorders:
            return []
        folders = [self._disks.folder(recorder) for recorder in recorders]
        rooms = await self._disks.measure(recorders[0].recording.directory, folders)
        for recorder, room in zip(recorders, rooms, strict=True):
            self._devices[recorder.recording.id] = room.device
            self._rooms[room.device] = room
        return rooms

    async def _try_writing(self, recorder: Recorder, size: int) -> None:
        await self._disks.try_writing(recorder.recording.directory, self._disks.folder(recorder), size)

    # --- who writes what -------------------------------------------------------------------------------------------

    def _in(self, states: Set[State]) -> list[Recorder]:
        return [recorder for recorder in self._recorders.values() if recorder.state in states]

    def _on(self, device: int) -> list[int]:
        return [number for number, on in self._devices.items() if on == device]

    def _pace_on(self, device: int, states: Set[State]) -> WritePace:
        """What recordings in these states write to a file system, or will when they go on."""
        here, files = set(self._on(device)), self._files_written()
        paces = [self._pace_of(recorder, files) for recorder in self._in(states) if recorder.recording.id in here]
        return WritePace(steady=sum(pace.steady for pace in paces), latest=sum(pace.latest for pace in paces))

    def _pace_of(self, recorder: Recorder, files: Mapping[int, Sequence[WritePace]]) -> WritePace:
        number = recorder.recording.id
        mean = mean_rate(recorder, self._clock.now().monotonic)
        known = self._rates.get(number, 0.0) if recorder.state is State.PAUSED else 0.0
        return pace_of_recording(files.get(number, ()), max(mean, known))

    def _files_written(self) -> dict[int, list[WritePace]]:
        """The paces of the files that each recording writes."""
        found: dict[int, list[WritePace]] = {}
        for run, pace in self._writeback.paces().items():
            found.setdefault(run.recording, []).append(pace)
        return found


def _text(error: OSError, directory: str) -> str:
    return f"{directory}: {error.strerror or error}"


def _state_of(error: OSError) -> str | None:
    return "read-only" if error.errno == errno.EROFS else "full" if is_no_room(error) else None
