# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends the files of one recording to one remote: what is there already is not sent again, and what is there of
another's is never replaced.

A plan on disk says what has been begun: it is written before the first byte of a file goes, so a later try knows a
part of it for its own. What was found to be equal is not asked for again, unless the file here has changed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec

from streamvaultd.base.clock import Clock
from streamvaultd.jobs.after.step_program import StepFailed, Uploaded
from streamvaultd.jobs.join import output

PLAN: Final = "plan.json"


class FileSum(msgspec.Struct, frozen=True):
    """A file as it was when its SHA-256 was made."""

    size: int
    changed: int
    inode: int
    sha256: str


class RemotePlan(msgspec.Struct):
    """What has been done at a remote: the folder that was chosen, names that were begun, and what was equal."""

    folder: str | None = None
    begun: set[str] = msgspec.field(default_factory=set)
    equal: dict[str, Uploaded] = msgspec.field(default_factory=dict)


class UploadPlan(msgspec.Struct):
    """Of a recording: by remotes, and the sums of its files."""

    remotes: dict[str, RemotePlan] = msgspec.field(default_factory=dict)
    sums: dict[str, FileSum] = msgspec.field(default_factory=dict)


class PlanFile:
    """The plan in a folder; one that cannot be read is one of which nothing is known."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PLAN
        try:
            self.plan = msgspec.json.decode(self._path.read_bytes(), type=UploadPlan)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            self.plan = UploadPlan()

    def of(self, remote: str) -> RemotePlan:
        """What has been done there."""
        return self.plan.remotes.setdefault(remote, RemotePlan())

    def save(self) -> None:
        """Put it on disk; raises OSError."""
        output.write_atomically(self._path, msgspec.json.encode(self.plan))

    def known(self, source: Path) -> FileSum:
        """Size and SHA-256 of a file as it is now; raises OSError."""
        found, before = source.stat(), self.plan.sums.get(str(source))
        if before is not None and (before.size, before.changed, before.inode) == _state(found):
            return before
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            state = _state(os.fstat(file.fileno()))
        if state != _state(found):
            raise StepFailed(f"{source} changes while it is read")
        self.plan.sums[str(source)] = known = FileSum(*state, digest)
        return known


def _state(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


class Sender(Protocol):
    """See Rclone; raises RcloneFailed."""

    def size(self, place: str) -> int | None: ...
    def sha256(self, remote: str, place: str) -> str: ...
    def send(self, source: Path, place: str, on_bytes: Callable[[int], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file here, and its path below the streamer's folder there."""

    source: Path
    name: str


class Sending:
    """To one remote. `folders` are those that may be chosen there, best first."""

    def __init__(
        self,
        remote: str,
        *,
        sender: Sender,
        plan: PlanFile,
        link: Path,
        folders: Sequence[str],
        clock: Clock,
    ) -> None:
        self._remote = remote
        self._sender = sender
        self._file = plan
        self._plan = plan.of(remote)
        self._link = link
        self._folders = folders
        self._clock = clock

    def choose(self, files: Sequence[Outgoing]) -> None:
        """A folder in which none of these files is another's."""
        if self._plan.folder is not None:
            return
        for folder in self._folders:
            if all(self._is_free(folder, file) for file in files):
                self._plan.folder = folder
                return self._file.save()
        name = f"{self._folders[-1]}/{files[0].name}"
        raise StepFailed(f"another file is at {self._place(name)}, and is not replaced")

    def _is_free(self, folder: str, file: Outgoing) -> bool:
        place = self._place(f"{folder}/{file.name}")
        size = self._sender.size(place)
        return size is None or self._is_equal(file, size, place)

    def _is_equal(self, file: Outgoing, size: int, place: str) -> bool:
        known = self._file.known(file.source)
        return size == known.size and self._sender.sha256(self._remote, place) == known.sha256

    def send(self, file: Outgoing, on_bytes: Callable[[int], None]) -> Uploaded:
        """See to it that a file is there, equal; raises StepFailed, RcloneFailed and OSError."""
        known, path = self._file.known(file.source), f"{self._plan.folder}/{file.name}"
        there = self._plan.equal.get(path)
        if there is not None and there.sha256 == known.sha256:
            return there
        place = self._place(path)
        size = self._sender.size(place)
        if size is None or not self._is_equal(file, size, place):
            if size is not None and path not in self._plan.begun:
                raise StepFailed(f"another file is at {place}, and is not replaced")
            self._begin(path)
            self._put(file, place, on_bytes)
        return self._mark(path, known)

    def _begin(self, path: str) -> None:
        if path not in self._plan.begun:
            self._plan.begun.add(path)
            self._file.save()

    def _put(self, file: Outgoing, place: str, on_bytes: Callable[[int], None]) -> None:
        """By a link of a plain name, for no name of a file is to mean anything to rclone."""
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(file.source)
        self._sender.send(self._link, place, on_bytes)
        size = self._sender.size(place)
        if size is None or not self._is_equal(file, size, place):
            raise StepFailed(f"what {self._remote} has of {file.name} is not what was sent")

    def _mark(self, path: str, known: FileSum) -> Uploaded:
        found = Uploaded(
            remote=self._remote, path=path, bytes=known.size, sha256=known.sha256, at=self._clock.now().realtime
        )
        self._plan.equal[path] = found
        self._file.save()
        return found

    def _place(self, path: str) -> str:
        separator = "" if self._remote.endswith(":") else "/"
        return f"{self._remote}{separator}{path}"
