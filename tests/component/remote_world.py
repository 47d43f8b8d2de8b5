# SPDX-License-Identifier: GPL-3.0-or-later
"""A remote on this machine: a real `rclone serve webdav` with a password, and the configuration that reaches it."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

USER, PASSWORD = "vault", "pw-5e0b1c9a77"
LIMIT = 60.0


class Webdav:
    """Serves a folder; it may be stopped and started again, at the same address."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Returns when it answers."""
        argv = ["rclone", "serve", "webdav", str(self.folder), "--addr", f"127.0.0.1:{self.port}", *self._options]
        signed = [*argv, "--user", USER, "--pass", PASSWORD, "--config", "/dev/null", "--dir-cache-time", "0s"]
        self._process = subprocess.Popen(signed, stderr=subprocess.DEVNULL)
        end = time.monotonic() + LIMIT
        while not self._answers():
            assert time.monotonic() < end, "it does not answer"
            assert self._process.poll() is None, "it has ended"

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def kill(self) -> None:
        """Its process is gone, in the middle of whatever it did."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def config(self, name: str = "nas", password: str = PASSWORD) -> str:
        """A section of rclone.conf."""
        return (
            f"[{name}]\ntype = webdav\nurl = http://127.0.0.1:{self.port}\nvendor = other\nuser = {USER}\n"
            f"pass = {obscured(password)}\n"
        )

    def files(self) -> dict[str, bytes]:
        """All that it has."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


def obscured(password: str) -> str:
    """As rclone's configuration has it."""
    return subprocess.run(["rclone", "obscure", password], check=True, capture_output=True, text=True).stdout.strip()
