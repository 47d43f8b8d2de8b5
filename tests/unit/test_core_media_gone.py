# SPDX-License-Identifier: GPL-3.0-or-later
"""A segment whose file holds less than was seen in it is told of: it may not go unnoticed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamvaultd.core.model import Moment, Phase, Segment, State
from streamvaultd.core.recording.effects import Announce, Notice
from streamvaultd.core.recording.events import SegmentSealed
from streamvaultd.core.recording.machine import step
from tests.unit.rows import new_recorder

AT = Moment(monotonic=100.0, realtime=1_795_000_000_000_000)


@pytest.mark.parametrize(("sealed", "told"), [(0, True), (999, True), (1000, False), (5000, False)])
def test_media_that_are_gone_are_told_of(sealed: int, told: bool) -> None:
    segment = Segment(number=1, phase=Phase.SEALING, since=AT, started=AT, media_at=AT, size=1000, cause="stopped")
    recorder = replace(new_recorder(), state=State.STOPPING, segments=(segment,))
    after, effects = step(recorder, SegmentSealed(at=AT, attempt=1, size=sealed))
    notices = [effect.notice for effect in effects if isinstance(effect, Announce)]
    assert (Notice.MEDIA_GONE in notices) is told
    assert after.segments[0].size == sealed
    assert after.state is (State.FINALIZING if sealed else State.FAILED)
