# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs for us, and its names: runs of streamlink and of chats, jobs, their scopes, and what systemd keeps.

The only place that writes or reads a name of a unit (systemd.unit(5)) or of a descriptor in the fd store
(FDNAME=, sd_pid_notify_with_fds(3)).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final, Self

DAEMON: Final = "streamvaultd.service"
RECORDINGS_SLICE: Final = "streamvault-recordings.slice"
JOBS_SLICE: Final = "streamvault-jobs.slice"

PREFIX: Final = "streamvault-"
SCOPES: Final = f"{PREFIX}*.scope"
"""Matches the scope of every run and job, and of what was named by another hand as if it were one."""

PROBE_SOCKET: Final = "/run/streamvault-probe/socket"
NOTIFY_SOCKET: Final = "/run/streamvault-notify/socket"
INSTALL_SOCKET: Final = "/run/streamvault-install/socket"
"""Each connection to one of these starts an instance of the service of the same name."""

_RUN_FILE = re.compile(r"file-([1-9]\d{0,9})-(\d{1,6})", re.ASCII)


class _Process:
    """Something that runs for us in a scope of its own; its numbers are in its names."""

    __slots__ = ()
    UNIT: ClassVar[re.Pattern[str]]
    PIPE: ClassVar[re.Pattern[str]]

    @property
    def label(self) -> str:
        """What it is called in names."""
        raise NotImplementedError

    @property
    def unit(self) -> str:
        """Its scope, e.g. ``streamvault-348-002.scope``."""
        return f"{PREFIX}{self.label}.scope"

    @property
    def pipe(self) -> str:
        """FDNAME= of its exit pipe."""
        return f"exit-{self.label}"

    @classmethod
    def of(cls, unit: str) -> Self | None:
        """What a scope is of; None for any other unit."""
        return cls._read(cls.UNIT, unit)

    @classmethod
    def of_pipe(cls, name: str) -> Self | None:
        """What a stored exit pipe is of; None for any other descriptor."""
        return cls._read(cls.PIPE, name)

    @classmethod
    def _read(cls, pattern: re.Pattern[str], name: str) -> Self | None:
        match = pattern.fullmatch(name)
        return cls(*map(int, match.groups())) if match else None


@dataclass(frozen=True, slots=True, order=True)
class Run(_Process):
    """One run of streamlink: the recording's number, and the segment's, which its events call the attempt."""

    UNIT: ClassVar = re.compile(r"streamvault-([1-9]\d{0,9})-(\d{3,6})\.scope", re.ASCII)
    PIPE: ClassVar = re.compile(r"exit-([1-9]\d{0,9})-(\d{1,6})", re.ASCII)

    recording: int
    number: int

    @property
    def label(self) -> str:
        """What it is called in names, e.g. ``348-002``."""
        return f"{self.recording}-{self.number:03d}"

    @property
    def pipe(self) -> str:
        """FDNAME= of its exit pipe."""
        return f"exit-{self.recording}-{self.number}"

    @property
    def file(self) -> str:
        """FDNAME= of its file, if that has lost its name."""
        return f"file-{self.recording}-{self.number}"

    @classmethod
    def of_file(cls, name: str) -> Run | None:
        """The run that a stored file is of; None for any other descriptor."""
        return cls._read(_RUN_FILE, name)


@dataclass(frozen=True, slots=True, order=True)
class ChatRun(_Process):
    """One run of what captures the chat of a recording, or packs it: the recording's number, and its own."""

    UNIT: ClassVar = re.compile(r"streamvault-([1-9]\d{0,9})-chat-([1-9]\d{0,5})\.scope", re.ASCII)
    PIPE: ClassVar = re.compile(r"exit-([1-9]\d{0,9})-chat-([1-9]\d{0,5})", re.ASCII)

    recording: int
    number: int

    @property
    def label(self) -> str:
        """What it is called in names, e.g. ``348-chat-1``."""
        return f"{self.recording}-chat-{self.number}"


@dataclass(frozen=True, slots=True, order=True)
class Job(_Process):
    """One process that works on a recording that is over, by the number of its row."""

    UNIT: ClassVar = re.compile(r"streamvault-job-([1-9]\d{0,9})\.scope", re.ASCII)
    PIPE: ClassVar = re.compile(r"exit-job-([1-9]\d{0,9})", re.ASCII)

    number: int

    @property
    def label(self) -> str:
        """What it is called in names, e.g. ``job-12``."""
        return f"job-{self.number}"


@dataclass(frozen=True, slots=True)
class HookUnit:
    """The unit of one call of a hook: an instance, numbered as the call, of the template that was installed for it."""

    NAME: ClassVar = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
    FACTS: ClassVar = "/run/streamvault-hooks"
    CALL_MAX: ClassVar = 9_999_999_999

    hook: str
    call: int

    @property
    def unit(self) -> str:
        """Its unit, e.g. ``streamvault-hook-nas@17.service``."""
        return f"{PREFIX}hook-{self.hook}@{self.call}.service"

    @property
    def facts(self) -> str:
        """The file with what it gets to know; the template names it with %i."""
        return f"{self.FACTS}/{self.call}.json"

    @classmethod
    def checked(cls, hook: str, call: int) -> HookUnit | None:
        """The unit, None if a hook may not be called so, or no call have this number."""
        is_sound = cls.NAME.fullmatch(hook) is not None and 0 < call <= cls.CALL_MAX
        return cls(hook, call) if is_sound else None


def unit_of_pipe(name: str) -> str | None:
    """The scope of the run or job that a stored exit pipe is of; None for any other descriptor."""
    found = Run.of_pipe(name) or ChatRun.of_pipe(name) or Job.of_pipe(name)
    return None if found is None else found.unit


def slice_groups(name: str) -> tuple[str, ...]:
    """The control groups of a slice and of the slices it is in, outermost first; systemd.slice(5)."""
    words = name.removesuffix(".slice").split("-")
    names = ["-".join(words[: count + 1]) + ".slice" for count in range(len(words))]
    return tuple("/" + "/".join(names[: count + 1]) for count in range(len(names)))
