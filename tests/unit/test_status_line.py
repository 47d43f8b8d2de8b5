# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemctl status shows: what runs, what is wrong, and after an installation what comes first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Recorder, State
from streamvaultd.daemon.status_line import StatusLine
from streamvaultd.errors import ConfigInvalid
from tests.unit.rows import new_recorder

NOTHING = "0 recordings, 0 segments, 0 joins"
FIRST = "; no streamer yet: 'streamvaultctl add URL' adds one"


def test_the_next_step_is_told_while_nothing_is_recorded_and_nobody_watched() -> None:
    told: list[str] = []

    class Notifier:
        def status(self, text: str) -> None:
            told.append(text)

    recorders: dict[int, Recorder] = {}
    status = StatusLine(notifier=cast("Any", Notifier()), recorders=recorders, settings=LiveSettings(Settings()))
    assert status.text == NOTHING, "the files have not been read"
    for count in (0, 0, 2, 0):
        status.on_streamers(count)
    assert told == [NOTHING + FIRST, NOTHING, NOTHING + FIRST]
    recorders[1] = replace(new_recorder(), state=State.RECORDING)
    assert status.text == "1 recording, 0 segments, 0 joins"


def test_mistakes_are_told_too() -> None:
    live = LiveSettings(Settings())
    live.wrong_streamers = (ConfigInvalid(file="a.toml", section="a", key="b", value="1", why="x"),)
    status = StatusLine(notifier=cast("Any", None), recorders={}, settings=live)
    assert status.text == f"{NOTHING}; 1 mistake in the settings, see 'streamvaultctl status'"
