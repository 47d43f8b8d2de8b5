# SPDX-License-Identifier: GPL-3.0-or-later
"""The line that systemctl status shows."""

from __future__ import annotations

from collections.abc import Mapping

from streamvaultd.base.sd_notify import Notifier
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.model import Recorder, State


class StatusLine:
    """Says how many recordings, segments and joins there are, what is wrong, and what comes first."""

    def __init__(self, *, notifier: Notifier, recorders: Mapping[int, Recorder], settings: LiveSettings) -> None:
        self._notifier = notifier
        self._recorders = recorders
        self._settings = settings
        self._watched: int | None = None

    @property
    def text(self) -> str:
        """As it is now."""
        recorders = self._recorders.values()
        running = sum(recorder.state.status == "recording" for recorder in recorders)
        live = sum(len(recorder.live) for recorder in recorders)
        joining = sum(recorder.state is State.FINALIZING for recorder in recorders)
        wrong = len(self._settings.mistakes)
        trouble = f"; {_count(wrong, 'mistake')} in the settings, see 'streamvaultctl status'" if wrong else ""
        first = "" if self._watched != 0 or running else "; no streamer yet: 'streamvaultctl add URL' adds one"
        return f"{_count(running, 'recording')}, {_count(live, 'segment')}, {_count(joining, 'join')}{first}{trouble}"

    def on_recorder(self, _recorder: Recorder) -> None:
        """A recording has changed."""
        self._notifier.status(self.text)

    def on_streamers(self, count: int) -> None:
        """There are so many streamers now."""
        if count != self._watched:
            self._watched = count
            self._notifier.status(self.text)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
