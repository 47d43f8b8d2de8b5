# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of chats, in their streamer's folder: one for each run, and in the end one that is packed.

chat_<recording>_<run>.jsonl         what one run has captured
.chat_<recording>_<run>.gz           what one run packs, until it is durable
chat_<recording>.jsonl.gz            the whole; with _<run> after the number if that name is taken

Numbers of recordings come again where a store was lost: what is there already is never packed, replaced or removed. A
part in whose place a run would write gets another name, chat_<recording>_<run>.jsonl.<n>.

All calls block; links are not followed. A folder that is missing is an error: its disk may not be mounted.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from streamvaultd.base import beneath
from streamvaultd.base.beneath import STREAMER_DEPTH as DEPTH
from streamvaultd.base.durable import sync_folder
from streamvaultd.jobs.join.output import link, rename_without_replacing

ASIDE_MAX: Final = 100
CHUNK: Final = 1 << 20
FILE_MODE: Final = 0o640
CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PART: Final = re.compile(r"chat_([1-9]\d{0,9})_([1-9]\d{0,5})\.jsonl", re.ASCII)
_DRAFT: Final = re.compile(r"\.chat_([1-9]\d{0,9})_([1-9]\d{0,5})\.gz", re.ASCII)


def part_name(recording: int, run: int) -> str:
    """The file of a run."""
    return f"chat_{recording}_{run}.jsonl"


def draft_name(recording: int, run: int) -> str:
    """What a run packs into."""
    return f".chat_{recording}_{run}.gz"


def packed_names(recording: int, run: int) -> tuple[str, str]:
    """The whole chat of a recording; and if that name is taken."""
    return f"chat_{recording}.jsonl.gz", f"chat_{recording}_{run}.jsonl.gz"


class ChatFiles:
    """Makes, finishes and removes them; never touches another file."""

    def create(self, folder: Path, recording: int, run: int) -> int:
        """Make the file of a run durably, and open it for adding to it."""
        return self._create(folder, recording, run, part_name(recording, run), stale=False)

    def create_draft(self, folder: Path, recording: int, run: int) -> int:
        """Make the file that a run packs into; those of earlier runs go."""
        return self._create(folder, recording, run, draft_name(recording, run), stale=True)

    def _create(self, folder: Path, recording: int, run: int, name: str, *, stale: bool) -> int:
        drafts = self._numbered(folder, _DRAFT, recording, run) if stale else []
        with beneath.opened_folder(folder, DEPTH) as here:
            for each in drafts:
                (here / draft_name(recording, each)).unlink(missing_ok=True)
            _set_aside(here, part_name(recording, run))
            fd = os.open(here / name, CREATE, FILE_MODE)
            try:
                sync_folder(here)
            except BaseException:
                os.close(fd)
                raise
        return fd

    def parts(self, folder: Path, recording: int, run: int) -> list[int]:
        """What the runs up to this one have captured, oldest first: open files, the caller's to close."""
        fds: list[int] = []
        try:
            for each in self._numbered(folder, _PART, recording, run):
                fds.append(beneath.open_file(folder / part_name(recording, each), os.O_RDONLY, DEPTH))
        except BaseException:
            close_all(fds)
            raise
        return fds

    def drop(self, folder: Path, name: str) -> None:
        """Remove a file that nothing was written to; one that has something stays."""
        try:
            if beneath.status(folder / name, DEPTH).st_size == 0:
                with beneath.opened_folder(folder, DEPTH) as here:
                    (here / name).unlink(missing_ok=True)
        except FileNotFoundError:
            return

    def drop_draft(self, folder: Path, recording: int, run: int) -> None:
        """Remove what a run that failed has packed."""
        with beneath.opened_folder(folder, DEPTH) as here:
            (here / draft_name(recording, run)).unlink(missing_ok=True)

    def finish(self, folder: Path, recording: int, run: int) -> tuple[Path, int] | None:
        """Give what a run has packed its name, durably: (path, bytes); None, and it goes, if nothing is in it."""
        draft = draft_name(recording, run)
        with beneath.opened_file(folder / draft, os.O_RDONLY, DEPTH) as fd:
            os.fsync(fd)
            size = os.fstat(fd).st_size
        with beneath.opened_folder(folder, DEPTH) as here:
            name = _named(here, draft, packed_names(recording, run)) if size else None
            (here / draft).unlink(missing_ok=True)
            sync_folder(here)
        return None if name is None else (folder / name, size)

    def clear(self, folder: Path, recording: int, run: int, *packed: str) -> None:
        """Remove what the runs up to this one have left, and these files, durably. May be repeated."""
        parts = [part_name(recording, each) for each in self._numbered(folder, _PART, recording, run)]
        drafts = [draft_name(recording, each) for each in self._numbered(folder, _DRAFT, recording, run)]
        with beneath.opened_folder(folder, DEPTH) as here:
            for name in (*parts, *drafts, *packed):
                (here / name).unlink(missing_ok=True)
            sync_folder(here)

    def _numbered(self, folder: Path, pattern: re.Pattern[str], recording: int, last: int) -> list[int]:
        with beneath.opened_folder(folder, DEPTH) as here:
            found = [pattern.fullmatch(path.name) for path in here.iterdir()]
        runs = sorted(int(each[2]) for each in found if each is not None and int(each[1]) == recording)
        return [run for run in runs if run <= last]


def close_all(fds: Iterable[int]) -> None:
    """Close these descriptors."""
    for fd in fds:
        os.close(fd)


def _set_aside(here: Path, name: str) -> None:
    """Give what is there another name: no run of this recording has made it, for each number is used once."""
    if not os.path.lexists(here / name):
        return
    for number in range(1, ASIDE_MAX):
        try:
            return _rename(here / name, here / f"{name}.{number}")
        except FileExistsError:
            continue
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)


def _named(here: Path, draft: str, names: Iterable[str]) -> str:
    """The first name that was free, or has the same already: of a try that was not told of."""
    for name in names:
        try:
            _rename(here / draft, here / name)
        except FileExistsError:
            if not _is_same(here / draft, here / name):
                continue
        return name
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), draft)


def _rename(old: Path, new: Path) -> None:
    """FileExistsError: there is something of that name."""
    if link(old, new):
        old.unlink()
    else:
        rename_without_replacing(old, new)


def _is_same(one: Path, other: Path) -> bool:
    first = os.open(one, READ)
    try:
        second = os.open(other, READ)
    except OSError:  # a link, or a socket
        os.close(first)
        return False
    with open(first, "rb") as ours, open(second, "rb") as there:  # noqa: PTH123 - of descriptors
        while data := ours.read(CHUNK):
            if data != there.read(CHUNK):
                return False
        return not there.read(1)
