# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs for us, and its names: runs of streamlink and of chats, jobs, their scopes, and what systemd keeps.

The only place that writes or reads a name of a unit (systemd.unit(5)) or of a descriptor in the fd store
(FDNAME=, sd_pid_notify_with_fds(3)).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

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

_RUN_UNIT = re.compile(r"streamvault-([1-9]\d{0,9})-(\d{3,6})\.scope", re.ASCII)
_RUN_PIPE = re.compile(r"exit-([1-9]\d{0,9})-(\d{1,6})", re.ASCII)
_RUN_FILE = re.compile(r"file-([1-9]\d{0,9})-(\d{1,6})", re.ASCII)
_CHAT_UNIT = re.compile(r"streamvault-([1-9]\d{0,9})-chat-([1-9]\d{0,5})\.scope", re.ASCII)
_CHAT_PIPE = re.compile(r"exit-([1-9]\d{0,9})-chat-([1-9]\d{0,5})", re.ASCII)
_JOB_UNIT = re.compile(r"streamvault-job-([1-9]\d{0,9})\.scope", re.ASCII)
_JOB_PIPE = re.compile(r"exit-job-([1-9]\d{0,9})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """One run of streamlink: the recording's number, and the segment's, which its events call the attempt."""

    recording: int
    number: int

    @property
    def label(self) -> str:
        """What it is called in names, e.g. ``348-002``."""
        return f"{self.recording}-{self.number:03d}"

    @property
    def unit(self) -> str:
        """Its scope, e.g. ``streamvault-348-002.scope``."""
        return f"{PREFIX}{self.label}.scope"

    @property
    def pipe(self) -> str:
        """FDNAME= of its exit pipe."""
        return f"exit-{self.recording}-{self.number}"

    @property
    def file(self) -> str:
        """FDNAME= of its file, if that has lost its name."""
        return f"file-{self.recording}-{self.number}"

    @classmethod
    def of(cls, unit: str) -> Run | None:
        """The run that a scope is of; None for any other unit."""
        return cls._read(_RUN_UNIT, unit)

    @classmethod
    def of_pipe(cls, name: str) -> Run | None:
        """The run that a stored exit pipe is of; None for any other descriptor."""
        return cls._read(_RUN_PIPE, name)

    @classmethod
    def of_file(cls, name: str) -> Run | None:
        """The run that a stored file is of; None for any other descriptor."""
        return cls._read(_RUN_FILE, name)

    @classmethod
    def _read(cls, pattern: re.Pattern[str], name: str) -> Run | None:
        match = pattern.fullmatch(name)
        return cls(int(match[1]), int(match[2])) if match else None


@dataclass(frozen=True, slots=True, order=True)
class ChatRun:
    """One run of what captures the chat of a recording, or packs it: the recording's number, and its own."""

    recording: int
    number: int

    @property
    def label(self) -> str:
        """What it is called in names, e.g. ``348-chat-1``."""
        return f"{self.recording}-chat-{self.number}"

    @property
    def unit(self) -> str:
        """Its scope, e.g. ``streamvault-348-chat-1.scope``."""
        return f"{PREFIX}{self.label}.scope"

    @property
    def pipe(self) -> str:
        """FDNAME= of its exit pipe."""
        return f"exit-{self.label}"

    @classmethod
    def of(cls, unit: str) -> ChatRun | None:
        """The run that a scope is of; None for any other unit."""
        return cls._read(_CHAT_UNIT, unit)

    @classmethod
    def of_pipe(cls, name: str) -> ChatRun | None:
        """The run that a stored exit pipe is of; None for any other descriptor."""
        return cls._read(_CHAT_PIPE, name)

    @classmethod
    def _read(cls, pattern: re.Pattern[str], name: str) -> ChatRun | None:
        match = pattern.fullmatch(name)
        return cls(int(match[1]), int(match[2])) if match else None


@dataclass(frozen=True, slots=True, order=True)
class Job:
    """One process that works on a recording that is over, by the number of its row."""

    number: int

    @property
    def label(self) -> str:
        """What it is called in names, e.g. ``job-12``."""
        return f"job-{self.number}"

    @property
    def unit(self) -> str:
        """Its scope, e.g. ``streamvault-job-12.scope``."""
        return f"{PREFIX}{self.label}.scope"

    @property
    def pipe(self) -> str:
        """FDNAME= of its exit pipe."""
        return f"exit-{self.label}"

    @classmethod
    def of(cls, unit: str) -> Job | None:
        """The job that a scope is of; None for any other unit."""
        return cls._read(_JOB_UNIT, unit)

    @classmethod
    def of_pipe(cls, name: str) -> Job | None:
        """The job that a stored exit pipe is of; None for any other descriptor."""
        return cls._read(_JOB_PIPE, name)

    @classmethod
    def _read(cls, pattern: re.Pattern[str], name: str) -> Job | None:
        match = pattern.fullmatch(name)
        return cls(int(match[1])) if match else None


def unit_of_pipe(name: str) -> str | None:
    """The scope of the run or job that a stored exit pipe is of; None for any other descriptor."""
    found = Run.of_pipe(name) or ChatRun.of_pipe(name) or Job.of_pipe(name)
    return None if found is None else found.unit


def slice_groups(name: str) -> tuple[str, ...]:
    """The control groups of a slice and of the slices it is in, outermost first; systemd.slice(5)."""
    words = name.removesuffix(".slice").split("-")
    names = ["-".join(words[: count + 1]) + ".slice" for count in range(len(words))]
    return tuple("/" + "/".join(names[: count + 1]) for count in range(len(names)))
