# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are held open, and systemd's fd store as they see it."""

from __future__ import annotations

import asyncio
import os

from streamvaultd.base.clock import SystemClock
from streamvaultd.recording.files.held import HeldFiles
from streamvaultd.recording.inbox import Inbox
from tests.fakes.parts import Posted


class Store:
    """An fd store: copies of descriptors by name, as the next daemon gets them."""

    def __init__(self) -> None:
        self.fds: dict[str, list[int]] = {}

    def store_fd(self, name: str, fd: int) -> None:
        self.fds.setdefault(name, []).append(os.dup(fd))

    def remove_fd(self, name: str) -> None:
        for fd in self.fds.pop(name, []):
            os.close(fd)


def held_files(store: Store | None = None, inbox: Inbox | None = None) -> HeldFiles:
    """Those of a daemon."""
    return HeldFiles(
        asyncio.get_running_loop(), fd_store=store or Store(), inbox=inbox or Posted(), clock=SystemClock()
    )
