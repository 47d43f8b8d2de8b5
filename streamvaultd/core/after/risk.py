# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a recording needs the machine so much that what happens to others afterwards has to wait."""

from __future__ import annotations

from typing import Final

from streamvaultd.core.cause import Cause, kind_of
from streamvaultd.core.model import Recorder, State

HOLD_LIMIT: Final = 60.0
"""What is held for longer (s) is stopped: it keeps the memory and the room that the recording needs."""

_WAITING: Final = frozenset({State.STARTING, State.BACKOFF})
_WANT: Final = frozenset({Cause.OOM, Cause.OOMD, Cause.DISK_FULL})


def is_at_risk(recorder: Recorder) -> bool:
    """Whether it stands still for want of room on its disk, or of memory."""
    if recorder.state is State.PAUSED:
        return True
    last = next((segment.cause for segment in reversed(recorder.segments) if segment.cause is not None), None)
    return recorder.state in _WAITING and last is not None and kind_of(last) in _WANT
