# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run in a scope needs of the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from streamvaultd.core.model import ScopeLimits


class Spawned(Protocol):
    """A gated process; see scopes/launcher.py."""

    pid: int
    pidfd: int
    exit_fd: int

    def open_gate(self) -> None: ...
    def abandon(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a command may reach besides the system's programs and its own scratch folder; see scopes/confine.py.

    One that is `spare` is killed before the others of its slice when memory is short.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    network: bool = False
    browser: bool = False
    spare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run. The descriptors are the caller's to close; `secrets` are struck out of its log lines.

    `environment` is what the command finds in its environment besides what every command does.
    """

    argv: Sequence[str]
    fields: Mapping[str, str]
    label: str
    stdin_fd: int | None = None
    stdout_fd: int | None = None
    extra_fds: Sequence[int] = ()
    secrets: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    rules: Access


class Launcher(Protocol):
    """Blocking; called in threads. Raises OSError."""

    def spawn(self, command: Command) -> Spawned: ...
    def tidy(self, unit: str) -> None:
        """Take back the scratch folder of a unit of which nothing runs, or has begun to run."""


class StartedScope(Protocol):
    """A scope that runs; its control group as /proc/PID/cgroup names it."""

    @property
    def control_group(self) -> str: ...


class Scopes(Protocol):
    """Starts and stops scopes by the broker; raises its typed errors, and ScopeFailed if it does not answer."""

    async def start(
        self, name: str, pidfd: int, description: str, limits: ScopeLimits, mounts_for: Path | None
    ) -> StartedScope: ...
    async def stop(self, name: str) -> None: ...
    async def reset_failed(self, name: str) -> None: ...


class FdStore(Protocol):
    """systemd's fd store."""

    def store_fd(self, name: str, fd: int) -> None: ...
    def remove_fd(self, name: str) -> None: ...


class Watcher(Protocol):
    """Calls back once when a process is gone; owns the descriptors."""

    def watch(
        self, key: str, pidfd: int, exit_fd: int | None, on_exit: Callable[[str, bytes | None, int | None], None]
    ) -> None: ...
    def pidfd(self, key: str) -> int | None: ...
    def adopt(self, control_group: str) -> tuple[int, int] | None:
        """(pid, pidfd) of the shim that runs in a control group."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a new daemon found of earlier ones: control groups of live scopes, and stored exit pipes, by unit name."""

    groups: Mapping[str, str] = field(default_factory=dict)
    pipes: Mapping[str, int] = field(default_factory=dict)
