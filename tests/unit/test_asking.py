# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recorder is told of its source's answer."""

from __future__ import annotations

from typing import Any, cast

import pytest

from streamvaultd.base.clock import SystemClock
from streamvaultd.core.recording.events import BroadcastOver, Event, Outcome, SourceProbed
from streamvaultd.recording.asking import Asking
from streamvaultd.watching.watcher import SourceAnswer
from tests.fakes.parts import Posted
from tests.unit.rows import new_recorder


@pytest.mark.parametrize(
    ("is_another", "told"), [(False, [SourceProbed]), (True, [BroadcastOver, SourceProbed])], ids=["same", "another"]
)
async def test_another_broadcast_ends_the_recording_and_is_told_first(
    *, is_another: bool, told: list[type[Event]]
) -> None:
    inbox = Posted()

    class Source:
        async def probe(self, _recording: object) -> SourceAnswer:
            return SourceAnswer(outcome=Outcome.ENDED, detail="as it says", mark="7", is_another=is_another)

    await Asking(prober=cast("Any", Source()), inbox=inbox, clock=SystemClock()).ask(new_recorder(), 3)
    assert [type(event) for event in inbox.events] == told
    *_, last = inbox.events
    assert isinstance(last, SourceProbed)
    assert (last.probe, last.outcome, last.detail, last.mark) == (3, Outcome.ENDED, "as it says", "7")
