# SPDX-License-Identifier: GPL-3.0-or-later
"""Who stands beside: other programs that record the same broadcast at the same time, again and again until its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.odd.show import Show
from tests.testbed.setup import VENV

BIN: Final = VENV / "bin"
AGAIN: Final = 0.3
"""Seconds until an end is answered by another start."""
PATIENCE: Final = 60.0
"""A program that is still there so long after the end of the broadcast is killed."""


class BesideError(Exception):
    """A program that is to stand beside is not there."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A program; `argv` by the URL and the file to write."""

    name: str
    argv: Callable[[str, Path], list[str]]
    suffix: str

    def start(self, url: str, show: Show) -> Run:
        """Record from now on."""
        return Run(self, url, show)


class Run:
    """What one program makes of one broadcast."""

    def __init__(self, program: Beside, url: str, show: Show) -> None:
        self.name = program.name
        self._program = program
        self._url = url
        self._show = show
        self._folder = Path(tempfile.mkdtemp(prefix=f"odd-{program.name}-"))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._record, daemon=True)
        self._thread.start()

    def _record(self) -> None:
        number = 0
        # starts that find nothing would only take the processor from those that still have media
        while not self._over.is_set() and self._show.now() < self._show.over:
            number += 1
            file = self._folder / f"{number:03d}{self._program.suffix}"
            process = subprocess.Popen(
                self._program.argv(self._url, file),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            while process.poll() is None and not self._over.wait(AGAIN):
                pass
            if process.poll() is None:
                # those that it started as well
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
            self._over.wait(AGAIN)

    def finish(self) -> list[Path]:
        """Its files, in order, once the broadcast is over."""
        self._over.set()
        self._thread.join(PATIENCE)
        return sorted(file for file in self._folder.iterdir() if file.stat().st_size)

    def remove(self) -> None:
        shutil.rmtree(self._folder)


def _streamlink(url: str, file: Path) -> list[str]:
    return [str(BIN / "streamlink"), "--loglevel", "error", "--hls-live-edge", "99", "-o", str(file), url, "best"]


def _yt_dlp(url: str, file: Path) -> list[str]:
    begin = ("--downloader-args", "ffmpeg_i:-live_start_index 0")
    return [str(BIN / "yt-dlp"), "--quiet", "--no-part", "--hls-use-mpegts", *begin, "-o", str(file), url]


def _ffmpeg(url: str, file: Path) -> list[str]:
    return ["ffmpeg", "-nostdin", "-v", "error", "-live_start_index", "0", "-i", url, "-c", "copy", "-y", str(file)]


PROGRAMS: Final = {
    program.name: program
    for program in (
        Beside("streamlink", _streamlink, ".ts"),
        Beside("yt-dlp", _yt_dlp, ".ts"),
        Beside("ffmpeg", _ffmpeg, ".mkv"),
    )
}


def find(names: list[str]) -> tuple[Beside, ...]:
    """These programs; one that is not there is an error."""
    found = tuple(PROGRAMS[name] for name in names)
    for program in found:
        command = program.argv("", Path())[0]
        if shutil.which(command) is None:
            raise BesideError(f"cannot compare with {program.name}: {command} is not there; make odd installs it")
    return found
