# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of chats, in their streamer's folder: one for each run, and in the end one that is packed.

chat_<recording>_<run>.jsonl         what one run has captured
.chat_<recording>_<run>.gz           what one run packs, until it is durable
chat_<recording>.jsonl.gz            the whole

All calls block; links are not followed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from streamvaultd.base import beneath
from streamvaultd.base.beneath import STREAMER_DEPTH as DEPTH
from streamvaultd.base.durable import sync_folder

FOLDER_MODE: Final = 0o750
FILE_MODE: Final = 0o640
CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
_PART: Final = re.compile(r"chat_([1-9]\d{0,9})_([1-9]\d{0,5})\.jsonl", re.ASCII)
_DRAFT: Final = re.compile(r"\.chat_([1-9]\d{0,9})_([1-9]\d{0,5})\.gz", re.ASCII)


def part_name(recording: int, run: int) -> str:
    """The file of a run."""
    return f"chat_{recording}_{run}.jsonl"


def draft_name(recording: int, run: int) -> str:
    """What a run packs into."""
    return f".chat_{recording}_{run}.gz"


def packed_name(recording: int) -> str:
    """The whole chat of a recording."""
    return f"chat_{recording}.jsonl.gz"


class ChatFiles:
    """Makes, finishes and removes them; never touches another file."""

    def create(self, folder: Path, name: str) -> int:
        """Make a file durably, and open it for adding to it. FileExistsError: the run was made before."""
        with beneath.opened_folder(folder, DEPTH, mode=FOLDER_MODE) as here:
            fd = os.open(here / name, os.O_RDWR | CREATE, FILE_MODE)
            try:
                sync_folder(here)
            except BaseException:
                os.close(fd)
                raise
        return fd

    def parts(self, folder: Path, recording: int) -> list[int]:
        """What the runs of a recording have captured, oldest first: open files, the caller's to close."""
        numbers = self._numbered(folder, _PART, recording)
        return [beneath.open_file(folder / part_name(recording, run), os.O_RDONLY, DEPTH) for run in numbers]

    def drop(self, folder: Path, name: str) -> None:
        """Remove a file that nothing was written to; one that has something stays."""
        try:
            if beneath.status(folder / name, DEPTH).st_size == 0:
                with beneath.opened_folder(folder, DEPTH) as here:
                    (here / name).unlink(missing_ok=True)
        except FileNotFoundError:
            return

    def finish(self, folder: Path, recording: int, run: int) -> tuple[Path, int] | None:
        """Give what a run has packed its name, durably: (path, bytes); None, and it goes, if nothing is in it."""
        draft = folder / draft_name(recording, run)
        with beneath.opened_file(draft, os.O_RDONLY, DEPTH) as fd:
            os.fsync(fd)
            size = os.fstat(fd).st_size
        with beneath.opened_folder(folder, DEPTH) as here:
            if size == 0:
                (here / draft.name).unlink()
            else:
                (here / draft.name).rename(here / packed_name(recording))
            sync_folder(here)
        return (folder / packed_name(recording), size) if size else None

    def clear(self, folder: Path, recording: int) -> None:
        """Remove what runs have left, durably. May be repeated."""
        try:
            self._remove(folder, recording, [])
        except FileNotFoundError:
            return

    def remove(self, folder: Path, recording: int) -> None:
        """Remove all of a recording's chat, durably. May be repeated."""
        try:
            self._remove(folder, recording, [packed_name(recording)])
        except FileNotFoundError:
            return

    def _remove(self, folder: Path, recording: int, names: list[str]) -> None:
        parts = [part_name(recording, run) for run in self._numbered(folder, _PART, recording)]
        drafts = [draft_name(recording, run) for run in self._numbered(folder, _DRAFT, recording)]
        with beneath.opened_folder(folder, DEPTH) as here:
            for name in (*parts, *drafts, *names):
                (here / name).unlink(missing_ok=True)
            sync_folder(here)

    def _numbered(self, folder: Path, pattern: re.Pattern[str], recording: int) -> list[int]:
        with beneath.opened_folder(folder, DEPTH) as here:
            found = [pattern.fullmatch(path.name) for path in here.iterdir()]
        return sorted(int(each[2]) for each in found if each is not None and int(each[1]) == recording)
