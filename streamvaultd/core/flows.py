# SPDX-License-Identifier: GPL-3.0-or-later
"""How far each stream of a growing file has come, and which of them stand still while others go on.

Pictures and sound are looked at, by their timestamps, a few seconds apart. A stream is said to stand still only where
that cannot be its way: others have gone on for several times its own longest pause, in more than one look. Data (ID3,
SCTE 35, subtitles) come when there is something to say, and are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

STILL: Final = 10.0
"""So long (s) others go on before a stream is said to stand still."""

PAUSES: Final = 3.0
"""And this many times its own longest pause: a slow camera sends a picture in some seconds."""

UNITS: Final = 3
"""How many units it takes to know how long a stream pauses."""

LOOKS: Final = 2
"""How many looks have to find it where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What one look found of a stream that the file says to have: its last timestamp, on a clock of its own.

    `stamp` is None if nothing of it came. `units` came since the last look, `pause` (s) is the longest between two.
    """

    stream: int
    is_video: bool
    stamp: int | None
    units: int = 0
    pause: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A stream of which something came: where it is, and since when (seconds of CLOCK_MONOTONIC)."""

    stream: int
    is_video: bool
    stamp: int
    moved_at: float
    units: int
    pause: float
    looks: int = 0  # since then, in which others went on


def observed(known: Iterable[Flow], pulses: Sequence[Pulse], now: float) -> tuple[Flow, ...]:
    """The flows after a look; one that found nothing tells nothing.

    A stream that the file does not say to have any more is none.
    """
    if not pulses:
        return tuple(known)
    before = {flow.stream: flow for flow in known}
    after = [flow for pulse in pulses if (flow := _moved(before.get(pulse.stream), pulse, now)) is not None]
    if not any(flow.moved_at == now for flow in after):
        return tuple(after)
    return tuple(flow if flow.moved_at == now else replace(flow, looks=flow.looks + 1) for flow in after)


def _moved(flow: Flow | None, pulse: Pulse, now: float) -> Flow | None:
    if pulse.stamp is None or (flow is not None and flow.stamp == pulse.stamp):
        return flow
    units, pause = (0, 0.0) if flow is None else (flow.units, flow.pause)
    return Flow(
        stream=pulse.stream, is_video=pulse.is_video, stamp=pulse.stamp, moved_at=now,
        units=min(units + pulse.units, UNITS), pause=max(pause, pulse.pause),
    )  # fmt: skip


def standing(flows: Sequence[Flow], limit: float = STILL) -> tuple[Flow, ...]:
    """Those that stand still while others go on, for `limit` seconds at least."""
    newest = max((flow.moved_at for flow in flows), default=0.0)
    return tuple(
        flow
        for flow in flows
        if flow.looks >= LOOKS and flow.units >= UNITS and newest - flow.moved_at >= max(limit, PAUSES * flow.pause)
    )


def are_watched(flows: Sequence[Flow]) -> bool:
    """Whether there are several, so that one may stand still by itself."""
    return len(flows) > 1


def is_open(flows: Sequence[Flow]) -> bool:
    """Whether one may be about to stand still, so that another look soon tells."""
    return any(flow.looks for flow in flows)


def describe(still: Sequence[Flow]) -> str:
    """For people."""
    kinds = {flow.is_video for flow in still}
    what = (
        "some of its streams stand"
        if len(kinds) > 1
        else "its pictures stand"
        if True in kinds
        else "its sound stands"
    )
    return f"{what} still while the rest goes on"
