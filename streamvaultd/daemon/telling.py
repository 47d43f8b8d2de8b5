# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the composition root that builds notifications."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from streamvaultd.base.clock import Clock
from streamvaultd.base.tasks import Tasks
from streamvaultd.config.live import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.reporting.notices import Journal
from streamvaultd.reporting.notifier import Choice, Telling
from streamvaultd.reporting.notify_line import LINE_MAX, Connect, NotifyLine

NOTIFY_SOCKET: Final = Path("/run/streamvault-notify/socket")


def build_telling(
    settings: LiveSettings,
    streamer: Callable[[str], Streamer | None],
    *,
    tasks: Tasks,
    journal: Journal,
    clock: Clock,
    connect: Connect | None = None,
) -> Telling:
    """What notifies people; it hears what the journal is told from now on."""

    def choice(name: str) -> Choice:
        found = streamer(name)
        to, events = (None, None) if found is None else (found.notify, found.events)
        return settings.now.notify if to is None else to, settings.now.events if events is None else events

    telling = Telling(
        sender=NotifyLine(connect or _connect),
        choice=choice,
        hourly=lambda: settings.now.notify_hourly,
        tasks=tasks,
        journal=journal,
        clock=clock,
        host=socket.gethostname(),
    )
    journal.on_said = telling.hear
    return telling


def named_targets(settings: Settings, streamers: Iterable[Streamer]) -> tuple[str, ...]:
    """Every target that the settings name, once."""
    named = (*settings.notify, *(name for streamer in streamers for name in streamer.notify or ()))
    return tuple(dict.fromkeys(named))


async def _connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(NOTIFY_SOCKET, limit=LINE_MAX)
