# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon of the test's own as a process: what it relies on is in a folder, and is there, away, or never answers."""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from streamvaultd.config.settings import Settings

PATIENCE = 60.0
"""Ends a test whose daemon says nothing (s)."""


class Started:
    """A daemon, and what it tells the service manager."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], told: socket.socket) -> None:
        self.folder = folder
        self.process = process
        self._told = told
        self.heard: list[str] = []

    def hear(self, text: str) -> None:
        """Return when the daemon has said a line that begins so."""
        while not any(line.startswith(text) for line in self.heard):
            ready = select.select([self._told], [], [], PATIENCE)[0]
            assert ready, f"it did not say {text!r}, but {self.heard}"
            self.heard += self._told.recv(65536).decode().splitlines()

    def stop(self) -> int:
        """Send SIGTERM; how it ended."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


@contextmanager
def started(folder: Path, **how: object) -> Iterator[Started]:
    """Start a daemon that lives in a folder; `how` is what `main()` reads."""
    address = folder / "notify"
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": str(address),
        "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder / 'bus'}",
    }
    with ExitStack() as stack:
        told = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        told.bind(str(address))
        command = [sys.executable, "-m", __name__, json.dumps({"folder": str(folder), **how})]
        process = stack.enter_context(subprocess.Popen(command, env=environment))
        stack.callback(process.kill)
        yield Started(folder, process, told)


@contextmanager
def silent(path: Path) -> Iterator[None]:
    """A socket to which one can connect, and that never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        yield


def main(how: Mapping[str, Any]) -> None:
    """The daemon. `journal` says "hangs" if reading it never ends, `limit` how long (s) a witness is waited for."""
    from streamvaultd.daemon import main as program
    from streamvaultd.daemon import outside
    from streamvaultd.daemon.base import Places
    from streamvaultd.scopes.witnesses.journal import JournalWatch, Replay

    folder = Path(how["folder"])
    places = Places(
        root=folder, state=folder, runtime=folder, broker=folder / "broker", probe=folder / "probe",
        notify=folder / "notify-socket",
    )  # fmt: skip

    def read(_watch: JournalWatch) -> Replay:
        (folder / "reading").touch()
        threading.Event().wait()
        return Replay((), has_gap=False)

    outside.WITNESS_LIMIT = how.get("limit", 0.5)  # type: ignore[attr-defined]
    if how.get("journal") == "hangs":
        JournalWatch.replay = read  # type: ignore[method-assign, assignment]
    settings = Settings(directory=folder / "recordings", store_path=folder / "store.sqlite")
    asyncio.run(program.serve(places, settings, ()))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
