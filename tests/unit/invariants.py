# SPDX-License-Identifier: GPL-3.0-or-later
"""The invariants of docs/design/001-recording.md, as far as one step of the core shows them."""

from __future__ import annotations

from streamvaultd.core import effects as fx
from streamvaultd.core.deadlines import next_deadline
from streamvaultd.core.model import Phase, Recorder, State

DUE_MAX = 30
"""More deadlines than this at one instant are a loop (I4)."""


def broken_by_step(before: Recorder, after: Recorder, effects: tuple[fx.Effect, ...]) -> list[str]:
    """The invariants that can be seen in the core alone."""
    broken = []
    saves = [effect for effect in effects if isinstance(effect, fx.Save)]
    if (before != after) != bool(saves) or (saves and effects[0] != saves[0]) or len(saves) > 1:
        broken.append("I1: a change is not saved first")
    numbers = [segment.number for segment in after.segments]
    if numbers != sorted(set(numbers)) or numbers[: len(before.segments)] != [s.number for s in before.segments]:
        broken.append("I3: segment numbers are not unique and increasing")
    if (next_deadline(after) is None) != after.state.is_final:
        broken.append(f"I4: {after.state} has no deadline, or a final state has one")
    going_on = [segment for segment in after.live if segment.phase is not Phase.STOPPING]
    if len(going_on) not in _GOING_ON[after.state] and after.segments:
        broken.append(f"I5: {len(going_on)} segments are meant to go on in {after.state}")
    if after.state in _QUIET and any(not segment.phase.is_over for segment in after.segments):
        broken.append(f"I5: a segment lives in {after.state}")
    if after.path is not None and after.state not in (State.COMPLETED, State.STOPPED):
        broken.append(f"I8: there is a joined file in {after.state}")
    return broken


_GOING_ON = {
    State.STARTING: (1,), State.RECORDING: (1,), State.ROTATING: (2,), State.BACKOFF: (0,), State.GRACE: (0,),
    State.STOPPING: (0,), State.FINALIZING: (0,), State.COMPLETED: (0,), State.STOPPED: (0,), State.FAILED: (0,),
}  # fmt: skip
_QUIET = frozenset({State.FINALIZING, State.COMPLETED, State.STOPPED, State.FAILED})
