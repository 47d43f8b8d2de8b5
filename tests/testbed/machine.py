# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests and the demo do with a Debian that runs systemd, be it a box or this host."""

from __future__ import annotations

import abc
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, TypeVar

from tests.testbed.spaces import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")
Entry = dict[str, str]


class WaitError(AssertionError):
    """What was waited for did not come in time."""


class RunError(AssertionError):
    """A command failed that should not."""


class Machine(abc.ABC):
    """Runs commands; subclasses say where."""

    name: str
    between_looks: ClassVar[float] = 0.05
    """Seconds between two looks at what is waited for"""
    patience: ClassVar[float] = 4.0
    """Limits of waiting are stretched by this factor: what others do on a machine makes it slow for a while."""

    @abc.abstractmethod
    def argv(self, command: list[str]) -> list[str]:
        """The command as this host must start it so that it runs there."""

    @abc.abstractmethod
    def path(self, inside: str) -> Path:
        """Where this host finds a file of the machine, now."""

    @abc.abstractmethod
    def pause(self, seconds: float) -> None:
        """Let the machine go on for a while; raises at once when it dies."""

    @property
    @abc.abstractmethod
    def is_on(self) -> bool:
        """Whether commands can be run there."""

    def logs(self) -> list[Path]:
        """Files of this host that tell about the machine, even when it is off."""
        return []

    def environment(self) -> dict[str, str]:
        """A small, known environment: nothing of the caller's leaks in."""
        return {**ENVIRONMENT, "TERM": "dumb"}

    def popen(
        self,
        command: list[str],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = subprocess.PIPE,
        stderr: int | IO[bytes] | None = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command there; the caller waits for it."""
        return subprocess.Popen(
            self.argv(command),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**self.environment(), **(env or {})},
            start_new_session=True,
        )

    def run(
        self,
        command: list[str],
        *,
        check: bool = True,
        input: str | None = None,  # noqa: A002 - the name that subprocess.run has for it
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end; with `check` a failure raises with its output in the text."""
        process = self.popen(command, stdin=subprocess.PIPE, env=env)
        try:
            out, err = process.communicate((input or "").encode(), timeout=timeout * self.patience)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        done = subprocess.CompletedProcess(
            command, process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
        )
        if check and done.returncode != 0:
            raise RunError(f"{command} gave {done.returncode} in {self.name}\n{done.stdout}\n{done.stderr}")
        return done

    def write_file(self, inside: str, content: str | bytes) -> None:
        """Make a file there, and its folder."""
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1"'
        process = self.popen(["sh", "-c", script, "sh", inside], stdin=subprocess.PIPE)
        _, err = process.communicate(
            content.encode() if isinstance(content, str) else content, timeout=60 * self.patience
        )
        if process.returncode != 0:
            raise RunError(f"cannot write {inside} in {self.name}: {err.decode(errors='replace')}")

    def fetch(self, inside: str, to: Path) -> Path:
        """Copy a file from there to this host."""
        with to.open("wb") as file:
            process = self.popen(["cat", inside], stdout=file)
            _, err = process.communicate(timeout=300)
        if process.returncode != 0:
            raise RunError(f"cannot fetch {inside} from {self.name}: {err.decode(errors='replace')}")
        return to

    def reach(self, url: str) -> str:
        """The URL by which the machine reaches what this host serves on its loopback."""
        return url

    def journal(self, *matches: str) -> list[Entry]:
        """The journal's entries that match, oldest first: FIELD=value, or options of journalctl(1)."""
        self.run(["journalctl", "--sync"], check=False)  # what was said is written; journald may be away
        text = self.run(["journalctl", "--output=json", "--all", "--no-pager", *matches]).stdout
        return [json.loads(line) for line in text.splitlines()]

    def wait_journal(
        self, *matches: str, until: Callable[[Entry], bool] = lambda _: True, timeout: float = 20
    ) -> Entry:
        """The first entry, present or future, that matches and for which `until` holds."""
        follow = ["journalctl", "--output=json", "--all", "--follow", "--lines=all", *matches]
        process = self.popen(follow, stderr=subprocess.DEVNULL)
        try:
            for line in read_lines(process, timeout=timeout * self.patience):
                entry: Entry = json.loads(line)
                if until(entry):
                    return entry
        finally:
            process.kill()
            process.communicate()
        raise WaitError(f"no journal entry {matches} within {timeout} s in {self.name}")

    def wait_for(self, condition: Callable[[], T], what: str, *, timeout: float = 20, seen: object = None) -> T:
        """Ask `condition` until its answer is true, and return that: for what gives no event of its own.

        `seen` is what `condition` looked at last; the error tells it.
        """
        deadline = time.monotonic() + timeout * self.patience
        while not (answer := condition()):
            if time.monotonic() > deadline:
                last = f"; last seen: {seen}" if seen else ""
                raise WaitError(f"{what}: not within {timeout} s in {self.name}{last}")
            self.pause(self.between_looks)
        return answer


def read_lines(process: subprocess.Popen[bytes], *, timeout: float) -> Iterator[str]:
    """Lines of a process's stdout as they come, until its end or until `timeout` seconds are over."""
    assert process.stdout is not None
    pipe, buffer, deadline = process.stdout.fileno(), b"", time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([pipe], [], [], left)[0]:
            return
        if not (chunk := os.read(pipe, 1 << 16)):
            return
        *lines, buffer = (buffer + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)


class Host(Machine):
    """This machine itself; its PID 1 must be systemd."""

    name = "this host"
    is_on = True

    def argv(self, command: list[str]) -> list[str]:
        return command

    def path(self, inside: str) -> Path:
        return Path(inside)

    def pause(self, seconds: float) -> None:
        select.select([], [], [], seconds)
