# SPDX-License-Identifier: GPL-3.0-or-later
"""What the journal says about our segments: systemd, the kernel, and streamlink's own lines; sd-journal(3).

How far the journal was read is kept in a file, so that a new daemon also hears what was said while there was none. An
entry is handed on first and counts as read SAVE_SECONDS later, when what came of it is in the store; nothing is saved
at the end for the same reason. So an entry may be handed on by two daemons, and none is ever left out. Twice does no
harm: evidence that is known already changes nothing, and lines come in their order, so the last one holds.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from streamvaultd.base.fds import persist, readable
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.names import Run
from streamvaultd.core.recording.loglines import Line
from streamvaultd.scopes.witnesses import entries
from streamvaultd.scopes.witnesses.entries import Item, Spoke, evidence_of, parse_entry
from systemd import journal

BATCH: Final = 64
"""Entries that are read before the event loop has its turn again."""
SAVE_SECONDS: Final = 5.0
REPLAY_MAX: Final = 2_000
"""Entries that are read before the takeover; what follows them is heard a little later, as late witnesses are."""
REPLAY_AGE_MAX: Final = 7 * 86400.0
"""What was said longer ago (s) is not worth the reading."""
UNKNOWN_SPAN: Final = 3600.0
"""Where nothing tells how far the journal was read: from so long ago on (s)."""


class Position(msgspec.Struct, frozen=True, rename="camel"):
    """An entry of the journal, and when it was written (realtime, s)."""

    cursor: str
    written: float


@dataclass(frozen=True, slots=True)
class Replay:
    """What was said since the journal was last read, in order; with a gap, it no longer reaches back that far."""

    items: tuple[Item, ...]
    has_gap: bool

    def evidence(self) -> dict[Run, Evidence]:
        """All that was said about the end of each run."""
        found: dict[Run, Evidence] = {}
        for item in self.items:
            if not isinstance(item, Spoke):
                found[item.run] = found.get(item.run, Evidence()).merged(evidence_of(item))
        return found


class JournalWatch:
    """Follows the journal, from where an earlier daemon left it.

    `replay()` first, then `run()`, never both at once. `on_evidence(run, evidence)` and `on_line(run, line, text)`
    are called from the event loop. `on_trouble(why)` is called once if the journal cannot be read; that is tried
    again, and it goes on where it was left. `uid` is the user of the shims; the journal is the system's, unless
    `folder` names another.
    """

    def __init__(
        self,
        saved: Path,
        *,
        on_evidence: Callable[[Run, Evidence], None],
        on_line: Callable[[Run, Line, str], None],
        on_trouble: Callable[[str], None],
        uid: int | None = None,
        folder: Path | None = None,
        save_seconds: float = SAVE_SECONDS,
    ) -> None:
        self._saved = saved
        self._save_seconds = save_seconds
        self._on_evidence = on_evidence
        self._on_line = on_line
        self._on_trouble = on_trouble
        self._uid = os.getuid() if uid is None else uid
        self._folder = folder
        self._position = _load(saved)
        self._moved = asyncio.Event()

    def replay(self) -> Replay:
        """Read on from where it was left. Blocks, so call it in a thread. It hands nothing on, see `tell()`."""
        items: list[Item] = []
        has_gap = False
        with suppress(OSError), _open_reader(self._folder) as reader:  # run() meets the same, and tells of it
            has_gap = not _reaches_back(reader, self._position)
            _select(reader, self._uid, were_alone=True)
            has_gap |= not _seek(reader, self._position, time.time())
            for _ in range(REPLAY_MAX // BATCH):
                batch, may_be_more = self._read(reader)
                items += batch
                if not may_be_more:
                    break
        return Replay(tuple(items), has_gap)

    def tell(self, item: Item) -> None:
        """Hand on what was said."""
        if isinstance(item, Spoke):
            self._on_line(item.run, item.line, item.text)
        else:
            self._on_evidence(item.run, evidence_of(item))

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._save_now_and_then())
            group.create_task(persist(self._follow, self._on_trouble))

    async def _follow(self) -> NoReturn:
        # All of it in this thread: a reader may not change it (sd-journal(3)).
        with _open_reader(self._folder) as reader:
            fd = reader.fileno()  # first, so that it tells of everything after the first look
            _select(reader, self._uid)
            _seek(reader, self._position, time.time())
            while True:
                items, may_be_more = self._read(reader)
                for item in items:
                    self.tell(item)
                if may_be_more:
                    await asyncio.sleep(0)
                else:
                    await readable(fd)
                    reader.process()

    def _read(self, reader: journal.Reader) -> tuple[list[Item], bool]:
        """What the next entries say, and whether there may be more of them now."""
        found = list(islice(reader, BATCH))
        items = []
        for entry in found:
            is_known = self._position is not None and self._position.cursor == entry["__CURSOR"]
            if not is_known and (item := parse_entry(entry, self._uid)) is not None:
                items.append(item)
        if found:
            self._position = Position(found[-1]["__CURSOR"], found[-1]["__REALTIME_TIMESTAMP"].timestamp())
            self._moved.set()
        return items, len(found) == BATCH

    async def _save_now_and_then(self) -> NoReturn:
        while True:
            await self._moved.wait()
            self._moved.clear()
            position = self._position
            await asyncio.sleep(self._save_seconds)
            if position is not None:
                await asyncio.to_thread(_save, self._saved, position)


def _open_reader(folder: Path | None) -> journal.Reader:
    """A reader of the system's journal. OSError when there is none that we may read."""
    reader = journal.Reader(flags=journal.SYSTEM_ONLY, path=folder and str(folder))
    if not (reader.has_runtime_files() or reader.has_persistent_files() or folder):
        reader.close()
        raise PermissionError("there is none, or this user is not in the group systemd-journal")
    return reader


def _reaches_back(reader: journal.Reader, position: Position | None) -> bool:
    """Whether the journal has all that came after an entry; of a reader that does not select yet."""
    reader.seek_head()
    first = reader.get_next()
    return position is None or bool(first and first["__REALTIME_TIMESTAMP"].timestamp() <= position.written)


def _select(reader: journal.Reader, uid: int, *, were_alone: bool = False) -> None:
    """Leave out what says nothing about segments. Different fields must all match, of the same field one must.

    That scopes are stopped says something only of those that `were_alone`: else we asked for it, or the shim tells.
    """
    reader.add_match(_PID="1")
    reader.add_match(MESSAGE_ID=entries.UNIT_OUT_OF_MEMORY.hex)
    reader.add_match(MESSAGE_ID=entries.UNIT_OOMD_KILL.hex)
    if were_alone:
        reader.add_match(MESSAGE_ID=entries.UNIT_STOPPING.hex)
    reader.add_disjunction()
    reader.add_match(_TRANSPORT=entries.KERNEL)
    reader.add_match(SYSLOG_FACILITY=entries.KERNEL_FACILITY)
    reader.add_match(PRIORITY=entries.KERNEL_PRIORITY)
    reader.add_disjunction()
    reader.add_match(SYSLOG_IDENTIFIER=entries.STREAMLINK)
    reader.add_match(_UID=uid)


def _seek(reader: journal.Reader, position: Position | None, now: float) -> bool:
    """Go to an entry, or the next one after it; False if that is too long ago, or no entry at all."""
    if position is None:
        reader.seek_realtime(now - UNKNOWN_SPAN)
        return True
    if position.written < now - REPLAY_AGE_MAX:
        reader.seek_realtime(now - REPLAY_AGE_MAX)
        return False
    try:
        reader.seek_cursor(position.cursor)
    except ValueError:  # somebody has written to the file
        reader.seek_realtime(now - UNKNOWN_SPAN)
        return False
    return True


def _load(path: Path) -> Position | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Position)
    except (OSError, msgspec.DecodeError):
        return None


def _save(path: Path, position: Position) -> None:
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.write_bytes(msgspec.json.encode(position))
        fresh.replace(path)
    except OSError:
        return  # a full disk: the older position stays, and a new daemon reads a little more
