# SPDX-License-Identifier: GPL-3.0-or-later
"""Twelve sources with nothing odd about them, of different paces: none of their recordings needs a second run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from tests.odd.clips import Spec, ensure_clip
from tests.odd.show import Manner, Piece, Track
from tests.odd.take import Take


class Pace(NamedTuple):
    """Seconds of a media segment, and how many of them a playlist has."""

    kind: str
    segment: int
    window: int
    tracks: tuple[str, ...] = ("va",)


APART: Final = ("v", "a")
PACES: Final = (
    Pace("ts", 2, 6),
    Pace("ts", 2, 15),
    Pace("ts", 2, 90),
    Pace("ts", 6, 4),
    Pace("ts", 6, 10),
    Pace("ts", 10, 4),
    Pace("fmp4", 4, 4),
    Pace("fmp4", 4, 15),
    Pace("ts", 2, 8, APART),
    Pace("ts", 6, 5, APART),
    Pace("fmp4", 4, 5, APART),
    Pace("fmp4", 4, 60, APART),
)
AHEAD: Final = 3
"""Media segments that were on air before."""


def steady(seconds: int) -> list[Take]:
    """One of each pace, so long."""
    return [_take(pace, seconds) for pace in PACES]


def _take(pace: Pace, seconds: int) -> Take:
    tracks = tuple(_track(pace, name, seconds) for name in pace.tracks)
    name = f"steady-{pace.kind}-{pace.segment}-{pace.window}{'-apart' if len(tracks) > 1 else ''}"
    manner = Manner(window=pace.window, ahead=AHEAD, endlist=True)
    return Take(name=name, tracks=tracks, manner=manner, is_steady=True, faults=("nothing",))


def _track(pace: Pace, tracks: str, seconds: int) -> Track:
    clip = ensure_clip(Spec(seconds=seconds, segment=pace.segment, kind=pace.kind, tracks=tracks))
    name = "main" if len(pace.tracks) == 1 else tracks
    return Track(name, tuple(Piece(clip=clip, index=index) for index in range(clip.count)))


@contextmanager
def busy(number: int) -> Iterator[None]:
    """So many processes compute meanwhile, as fast as they can."""
    command = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command) for _ in range(number)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()
