# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl play: a recording while it goes on, or its result.

A player gets a playlist of the files that are written just now, as they grow. Files are open here, and named to the
player as such, so that it reads on when they have been joined and removed meanwhile.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from select import select
from typing import TYPE_CHECKING, Final

from streamvaultd.ctl.commands.verify import results_of
from streamvaultd.ctl.options import RECORDING, Command, command, option
from streamvaultd.ctl.outcome import Failed
from streamvaultd.ctl.show.text import Span
from streamvaultd.errors import ConnectionLost, DaemonNotRunning
from streamvaultd.media.event_playlist import EventPlaylist, Unplayable

if TYPE_CHECKING:
    from streamvaultd.ctl.records import Recording, Segment
    from streamvaultd.ctl.session import Session

PLAYERS: Final = ("mpv", "vlc", "ffplay")
FROM_START: Final = {"mpv": "--demuxer-lavf-o=live_start_index=0", "ffplay": "-live_start_index 0"}
"""They begin at the end of what there is, if nobody says otherwise."""

INTERVAL: Final = 1.0
"""Seconds between two looks at the files; a media segment of a source lasts longer."""

WRITTEN: Final = frozenset({"launching", "waiting", "writing", "stopping"})
"""The phases of a segment to which something may be written."""

RECORDS: Final = frozenset({"starting", "recording", "rotating", "backoff", "grace", "paused", "stopping"})
"""The states in which there may be further segments."""

REWIND: Final = 256 << 20
"""Bytes before the latest media that can be played, too; more with --from-start."""

NAME: Final = "live.m3u8"


@command("play")
@RECORDING
@option("--print", name="prints", is_flag=True, help="Print the playlist as it is now, or the path of the result.")
@option("--player", metavar="COMMAND", help="What plays it. [default: the first of mpv, vlc and ffplay that is there]")
@option("--from-start", is_flag=True, help="Begin with the first media, and not with the latest.")
def play(session: Session, *, recording: str, prints: bool, player: str | None, from_start: bool) -> None:
    """Play a recording, also while it goes on.

    The player gets a playlist of the growing files, which goes on through rotations and deaths; or the files of the
    result, if they are joined.
    """
    found = session.get(recording)
    if found.path is not None:
        paths = [part.path for part in results_of(session, recording) if not part.is_kept]
        if prints and not session.show_json({"files": paths}):
            session.show([(Span(path),) for path in paths])
        elif not prints:
            session.execute([*_player(player, is_from_start=False), *paths])
        return
    with _Following(session, found) as following:
        following.wait_for_media(is_whole=prints or from_start)
        text = following.text([segment.path for segment in following.segments])
        if prints and not session.show_json({"playlist": text}):
            session.show([(Span(each),) for each in text.splitlines()])
        elif not prints:
            following.play(_player(player, is_from_start=from_start))


def _player(asked: str | None, *, is_from_start: bool) -> list[str]:
    """The command to which a file is added."""
    if asked is not None:
        words = shlex.split(asked)
        if not words:
            raise Failed("cannot play it: no player is named")
        return words
    name = next((name for name in PLAYERS if shutil.which(name)), None)
    if name is None:
        hint = "apt install mpv; or name one with --player, or print what to play with --print"
        raise Failed(f"cannot play it: none of {', '.join(PLAYERS)} is installed", hint=hint)
    return [name, *(FROM_START.get(name, "").split() if is_from_start else [])]


class _Following:
    """The files of a recording that goes on, in a folder of ours, and a playlist of them there."""

    def __init__(self, session: Session, found: Recording) -> None:
        self._session = session
        self._number = found.id
        self._is_complete = False
        self._playlist = EventPlaylist()
        self._open: dict[int, int] = {}
        self._all = ExitStack()
        self.segments: list[Segment] = []

    def __enter__(self) -> _Following:
        self._folder = Path(self._all.enter_context(tempfile.TemporaryDirectory(prefix="streamvault-play-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._all.close()

    def text(self, names: list[str]) -> str:
        """The playlist, with these addresses of the files."""
        return self._playlist.text(names)

    def wait_for_media(self, *, is_whole: bool) -> None:
        """Until there is something to play; raises Failed if there will be nothing.

        Unless it `is_whole`, what is long ago is not listed.
        """
        self._ask()
        written = [place for place, segment in enumerate(self.segments) if segment.phase in WRITTEN]
        if written and not is_whole:
            self._playlist.begin_with(written[0], REWIND)
        while self._look():
            pass  # it reads so much at a time, and has not come to the end
        while not self._playlist.entries:
            if self._playlist.is_ended:
                raise self._failed("it has no media")
            select([], [], [], INTERVAL)
            self._look()

    def play(self, player: list[str]) -> None:
        """Run the player, and tell it what comes, until it ends."""
        self._write()
        try:
            process = subprocess.Popen([*player, str(self._folder / NAME)], stdin=None)
        except OSError as error:
            raise Failed(f"cannot run {player[0]}: {error.strerror}") from error
        with process:
            while not self._playlist.is_ended and process.poll() is None:
                try:
                    process.wait(INTERVAL)
                except subprocess.TimeoutExpired:
                    self._go_on(process)
        if process.returncode:
            raise self._failed(f"{player[0]} ended with status {process.returncode}")

    def _go_on(self, process: subprocess.Popen[bytes]) -> None:
        try:
            if self._look():
                self._write()
        except Failed:
            process.terminate()
            raise

    def _look(self) -> bool:
        """Whether there is more to play than before."""
        self._ask()
        try:
            files = [self._file(segment) for segment in self.segments]
            over = [segment.phase not in WRITTEN for segment in self.segments]
            return self._playlist.look(files, over, is_complete=self._is_complete)
        except Unplayable as error:
            raise self._failed(f"{error}, so it can be played once it is joined") from error
        except PermissionError as error:
            raise self._failed("permission denied", hint="members of the group _streamvault may read it") from error
        except OSError as error:
            raise self._failed(f"{error.filename or 'a file'}: {error.strerror}") from error

    def _ask(self) -> None:
        """What files there are; a daemon that is away says nothing new."""
        try:
            self._is_complete = self._session.get(str(self._number)).state not in RECORDS
            self.segments = self._session.segments(self._number)
        except (DaemonNotRunning, ConnectionLost):
            if not self.segments:
                raise

    def _file(self, segment: Segment) -> int | None:
        """Its file; None for one that is not there, which was empty when it went."""
        if segment.number not in self._open:
            try:
                fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                return None
            self._open[segment.number] = fd
            self._all.callback(os.close, fd)
            (self._folder / _name(segment)).symlink_to(f"/proc/{os.getpid()}/fd/{fd}")
        return self._open[segment.number]

    def _write(self) -> None:
        draft = self._folder / f".{NAME}"
        draft.write_text(self.text([_name(segment) for segment in self.segments]))
        draft.rename(self._folder / NAME)

    def _failed(self, why: str, hint: str = "") -> Failed:
        return Failed(f"cannot play recording {self._number}: {why}", hint=hint)


def _name(segment: Segment) -> str:
    return f"segment_{segment.number:03d}.ts"


COMMANDS: dict[str, Command] = {"play": play}
