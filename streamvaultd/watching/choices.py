# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is notified of a streamer, and of what: as its file says, else as the settings do."""

from __future__ import annotations

from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.reporting.notifier import Choice
from streamvaultd.watching.watcher import Watches


class Choices:
    """Looks it up anew each time: a reload may have changed it."""

    def __init__(self, *, watches: Watches, settings: LiveSettings) -> None:
        self._watches = watches
        self._settings = settings

    @property
    def hourly(self) -> int:
        """Messages about one event of one streamer, at most."""
        return self._settings.now.notify_hourly

    def of(self, streamer: str) -> Choice:
        """Of this streamer."""
        found, settings = self._watches.streamer(streamer), self._settings.now
        to, events = (None, None) if found is None else (found.notify, found.events)
        return settings.notify if to is None else to, settings.events if events is None else events

    @property
    def targets(self) -> tuple[str, ...]:
        """Every target that the settings and the files name, once."""
        streamers = self._watches.streamers
        named = (*self._settings.now.notify, *(name for streamer in streamers for name in streamer.notify or ()))
        return tuple(dict.fromkeys(named))
