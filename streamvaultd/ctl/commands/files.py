# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of streamvaultctl that change a streamer's file: edit, set."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli

from streamvaultd.config import streamers
from streamvaultd.config.toml_edit import with_key
from streamvaultd.ctl import records
from streamvaultd.ctl.commands.streamers import STREAMER
from streamvaultd.ctl.options import Command, argument, command
from streamvaultd.ctl.outcome import ExitCode, Failed, Usage
from streamvaultd.ctl.records import Fields
from streamvaultd.ctl.show import render
from streamvaultd.ctl.show.text import Style
from streamvaultd.errors import NoSuchStreamer, VaultError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamvaultd.ctl.session import Session

EDITORS = ("editor", "nano", "vi")
"""What is tried where neither $VISUAL nor $EDITOR names one."""

UNCHANGED = "Nothing is changed."
FROM_NOW_ON = "It applies to what starts from now on."


class File:
    """A streamer's file, of the administrator or of the daemon. Raises Failed where it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.is_symlink():
                raise Failed(
                    f"cannot change {path}: it is a symbolic link", hint="change what it leads to, and reload"
                )
            self.before = streamers.content(path)
        except (OSError, ValueError) as error:
            raise self._failure("read", error) from error
        self.is_written = False
        """Since it was read, or it may be."""

    @property
    def is_as_before(self) -> bool:
        """What is on disk now is what was read."""
        try:
            return streamers.content(self.path) == self.before
        except (OSError, ValueError):
            return False

    def write(self, text: str) -> None:
        """Put this text in its place, whole or not at all; owner and mode stay."""
        draft = self.path.with_name(f".{self.path.stem}.new")
        self.is_written = True
        try:
            was = self.path.stat()
            draft.unlink(missing_ok=True)
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - of a descriptor
                os.fchown(fd, was.st_uid, was.st_gid)
                os.fchmod(fd, was.st_mode & 0o7777)
                file.write(text)
                file.flush()
                os.fsync(fd)
            draft.rename(self.path)
        except OSError as error:
            raise self._failure("write", error) from error
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def _failure(self, verb: str, error: OSError | ValueError) -> Failed:
        is_denied = isinstance(error, PermissionError)
        why = str(error.strerror).lower() if isinstance(error, OSError) else str(error)
        return Failed(f"cannot {verb} {self.path}: {why}", hint="use sudo" if is_denied else "")


def file_of(session: Session, name: str) -> File:
    """The file of a streamer, also of one who is not watched because it has mistakes; raises NoSuchStreamer."""
    try:
        found = records.object_of(session.call("GetStreamer", streamer=name), "streamer")
        return File(Path(Fields(found, "streamer").child("context").need("file", str)))
    except NoSuchStreamer:
        for item in records.objects(session.call("GetStatus"), "mistakes"):
            path = Path(records.parse_mistake(item).file)
            if path.stem == name and path.parent.name == streamers.FOLDER:
                return File(path)
        raise


def put(session: Session, file: File, text: str) -> list[str]:
    """Write a text and have the daemon read everything again; what is wrong with this file."""
    file.write(text)
    answer = session.call("Reload")
    found = map(records.parse_mistake, records.objects(answer, "mistakes"))
    return [render.mistake(each) for each in found if each.file == str(file.path)]


def _put_back(session: Session, file: File) -> ExitCode:
    """What was there before holds again."""
    put(session, file, file.before)
    session.note(UNCHANGED)
    return ExitCode.FAILED


def _whole(session: Session, file: File, change: Callable[[], ExitCode]) -> ExitCode:
    """Change a file and have the daemon read it; where that comes to no end, the file is as it was."""
    try:
        return change()
    except KeyboardInterrupt:
        return _interrupted(session, file)
    except (Failed, VaultError):
        if file.is_written and not file.is_as_before:
            file.write(file.before)
            session.note(f"{file.path} is as it was.")
        raise


def _interrupted(session: Session, file: File) -> ExitCode:
    """Nothing is changed; if that is interrupted, too, or the daemon does not answer, the file says what holds."""
    try:
        if file.is_written:
            put(session, file, file.before)
        told = "nothing is changed"
    except (KeyboardInterrupt, VaultError):
        how = "is as it was" if file.is_as_before else "is changed"
        told = f"{file.path} {how}; 'streamvaultctl reload' has the daemon read it"
    session.note(f"interrupted: {told}.")
    return ExitCode.INTERRUPTED


@command("set")
@STREAMER
@argument("changes", "KEY=VALUE...")
def set_(session: Session, *, streamer: str, changes: tuple[str, ...]) -> ExitCode:
    """Change settings in a streamer's file.

    Its comments stay. KEY is as in streamvaultd.streamer(5), with its section in front where several sections have it:
    recording.directory. Without a VALUE the default holds again. A mistake changes nothing.
    """
    file = file_of(session, streamer)
    text = file.before
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise Usage(f"'{change}' is no KEY=VALUE", ["'streamvaultctl set NAME max_duration=2h'"])
        try:
            text = with_key(text, *_place(key), _value(value) if value else None)
        except ValueError as error:
            hint = f"'streamvaultctl edit {streamer}' opens it"
            raise Failed(f"cannot change {key} in {file.path}: {error}", hint=hint) from error

    def apply() -> ExitCode:
        if wrong := put(session, file, text):
            _tell(session, wrong)
            return _put_back(session, file)
        session.note(f"'{streamer}' is changed: {', '.join(changes)}. {FROM_NOW_ON}")
        return ExitCode.DONE

    return _whole(session, file, apply)


def _place(key: str) -> tuple[str, str]:
    """Section and key; raises Usage if there is none, or several."""
    section, _, name = key.rpartition(".")
    found = [place for place in streamers.places() if place[1] == name and section in ("", place[0])]
    if len(found) == 1:
        return found[0]
    if found:
        several = [f"'{'.'.join(place)}'" for place in found]
        raise Usage(f"'{key}' is in several sections", [f"write {' or '.join(several)}"])
    raise Usage(f"there is no setting '{key}' of a streamer", ["streamvaultd.streamer(5) has all of them"])


def _value(text: str) -> Any:
    """What TOML takes for a value as it is, or a list of words, or else the text itself."""
    try:
        return tomli.loads(f"value = {text}")["value"]
    except tomli.TOMLDecodeError:
        return text


@command("edit")
@STREAMER
def edit(session: Session, *, streamer: str) -> ExitCode:
    """Edit a streamer's file.

    Opens it in $VISUAL or $EDITOR, and has the daemon read it. Where it has mistakes, they are printed, and it is
    opened again if you like; else it stays as it was.
    """
    file = file_of(session, streamer)
    return _whole(session, file, partial(_edit, session, streamer, file))


def _edit(session: Session, streamer: str, file: File) -> ExitCode:
    text = file.before
    with tempfile.TemporaryDirectory(prefix="streamvaultctl.") as folder:
        while True:
            text = _edited(Path(folder, f"{streamer}.toml"), text)
            wrong = put(session, file, text) if text != file.before or file.is_written else []
            if text == file.before or not wrong:
                told = UNCHANGED if text == file.before else f"'{streamer}' is changed. {FROM_NOW_ON}"
                session.note(told)
                return ExitCode.DONE
            _tell(session, wrong)
            if not session.confirm("Edit it again?", default=True):
                return _put_back(session, file)


def _edited(copy: Path, text: str) -> str:
    """What an editor makes of a text."""
    copy.write_text(text, encoding="utf-8")
    wanted = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    for words in [shlex.split(wanted)] if wanted else [[name] for name in EDITORS]:
        try:
            status = _run([*words, str(copy)])
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Failed(f"cannot run {words[0]}: {error.strerror}") from error
        if status == -signal.SIGINT:
            raise KeyboardInterrupt
        if status:
            raise Failed(f"cannot take what was edited: {words[0]} ended with status {status}")
        try:
            return copy.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            why = "it is not valid UTF-8" if isinstance(error, ValueError) else str(error.strerror).lower()
            raise Failed(f"cannot take what was edited: {why}") from error
    raise Failed("cannot find an editor", hint="set $EDITOR to one, such as EDITOR=nano")


def _run(argv: list[str]) -> int:
    """The status of a program that has the terminal: Ctrl-C is typed for it, and what it does then is its own."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # a handler: what is ignored would be for the program, too
    try:
        return subprocess.run(argv, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(session: Session, mistakes: list[str]) -> None:
    for mistake in mistakes:
        session.screen.note(mistake, Style.BAD)


COMMANDS: dict[str, Command] = {"set": set_, "edit": edit}
