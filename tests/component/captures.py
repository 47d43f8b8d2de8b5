# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the shim in tests: a journal to look into, and a run to wait for."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamvaultd.base.memory_file import memfd_with
from streamvaultd.recording.streamlink.command import Installation, Version, build_command, config_text
from streamvaultd.scopes.launcher import Launcher, Spawned, clean_environment, own_roots
from streamvaultd.scopes.ports import Access, Command
from streamvaultd.scopes.scratch import Scratch
from streamvaultd.scopes.witnesses.pidfd import reap, take_record
from tests.fakes.media import MediaSpec

LIMIT = 60.0
READABLE = (str(Path(__file__).parents[1]), str(Path(sys.executable).parents[1]))
"""What the stand-ins of streamlink need."""

FAKE = Path(__file__).parent.parent / "fakes" / "fake_streamlink.py"
FAKE_STREAMLINK = Installation(
    command=(sys.executable, str(FAKE)), version=Version(8, 6, 3), python=sys.executable, managed=False
)
SHORT_MEDIA = MediaSpec(segment=1, seconds=60)
FIELDS = {"STREAMVAULT_RECORDING": "348", "STREAMVAULT_STREAMER": "demo"}


def real_streamlink() -> str:
    """The streamlink of the environment that runs the tests."""
    places = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    found = shutil.which("streamlink", path=places)
    assert found is not None, "streamlink is not installed"
    return found


def wait_readable(fd: int, what: str) -> None:
    """Wait until a descriptor is readable or at its end."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    assert poller.poll(LIMIT * 1000), f"{what}: nothing within {LIMIT} s"


class FakeJournal:
    """journald's socket; its address is short whatever the test is called."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "journal")
        self.socket = self.listen()

    def listen(self) -> socket.socket:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        found.bind(self.address)
        return found

    def restart(self) -> None:
        """Forget what was not read, and be another socket."""
        self.socket.close()
        Path(self.address).unlink()
        self.socket = self.listen()

    def fill(self) -> None:
        """Send entries until no further one is taken."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.sendto(b"MESSAGE=filler\n", self.address)

    def next(self) -> dict[str, str]:
        """The next entry, waited for."""
        wait_readable(self.socket.fileno(), "journal entry")
        lines = self.socket.recv(1 << 16).decode().splitlines()
        return dict(line.partition("=")[::2] for line in lines)

    def entries(self) -> list[dict[str, str]]:
        """What has arrived."""
        found = []
        while select.select([self.socket], [], [], 0)[0]:
            found.append(self.next())
        return found


class Run:
    """One run of a command behind the shim."""

    def __init__(self, spawned: Spawned) -> None:
        self.spawned = spawned

    def wait(self) -> dict[str, Any] | None:
        """Wait for the shim's end; its exit record."""
        wait_readable(self.spawned.pidfd, "end of the shim")
        reap(self.spawned.pidfd)
        record = take_record(self.spawned.exit_fd)
        os.close(self.spawned.pidfd)
        os.close(self.spawned.exit_fd)
        assert record is None or (len(record) <= select.PIPE_BUF and record.endswith(b"\n"))
        return None if record is None else json.loads(record)

    def ended(self) -> dict[str, Any]:
        """Wait for the end; there must be a record."""
        record = self.wait()
        assert record is not None
        return record

    def child(self) -> int:
        """The command's process; it must run."""
        task = f"/proc/{self.spawned.pid}/task/{self.spawned.pid}/children"
        return int(Path(task).read_text().split()[0])

    def stop(self) -> None:
        """TERM to everything in the scope, as systemd does."""
        for pid in (self.spawned.pid, self.child()):
            os.kill(pid, signal.SIGTERM)


def command_of(*argv: str, label: str = "348-002", rules: Access | None = None, **more: Any) -> Command:
    """A command with a segment's rules, unless it has others."""
    return Command(argv=argv, fields=FIELDS, label=label, rules=rules or Access(network=True), **more)


class World:
    """A launcher with its journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = FakeJournal(folder)
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.launcher = Launcher(
            environment=clean_environment(folder / "home"),
            scratch=Scratch(self.scratch),
            read=(*own_roots(), *READABLE),
            journal=self.journal.address,
        )

    def start(self, *command: str, **more: Any) -> Run:
        """Start a command; its gate is open."""
        spawned = self.launcher.spawn(command_of(*command, **more))
        spawned.open_gate()
        return Run(spawned)

    def record(
        self,
        url: str,
        output: Path,
        installation: Installation = FAKE_STREAMLINK,
        *,
        options: tuple[tuple[str, str], ...] = (),
        limit: float | None = None,
        **more: Any,
    ) -> Run:
        """Start a recording of a URL into a new file."""
        config = memfd_with("config", config_text(installation.version, url, "best", options, limit=limit))
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        try:
            return self.start(*build_command(installation, config), stdout_fd=file, extra_fds=[config], **more)
        finally:
            os.close(file)
            os.close(config)


@contextlib.contextmanager
def world() -> Iterator[World]:
    """A world in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="capture-") as name:
        found = World(Path(name))
        try:
            yield found
        finally:
            found.journal.socket.close()
