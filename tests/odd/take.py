# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording to be made: of which broadcast, with which settings, and what is done to it meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.odd.show import Manner, Show, Track


class Step(NamedTuple):
    """Done in second `at` of the broadcast.

    `what`: kill (streamlink, with the signal `how`), rotate, away (the source answers 503 for `seconds`), remove (the
    file that is being written), move (the streamer's folder).
    """

    at: float
    what: str
    how: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """`settings`: of its file, by section and key; without any it is recorded by hand."""

    name: str
    tracks: tuple[Track, ...]
    manner: Manner = field(default_factory=Manner)
    steps: tuple[Step, ...] = ()
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    is_refused: bool = False
    """the source cannot be recorded, and that has to be told"""
    is_flawed: bool = False
    """the source's own media are such that players complain"""
    told: tuple[str, ...] = ()
    """kinds of events that people have to be told of"""
    is_steady: bool = False
    """nothing happens to it that another run could be wanted for"""
    faults: tuple[str, ...] = ()
    """what is odd about it, in words"""

    def show(self) -> Show:
        """A broadcast of it, which has not begun."""
        return Show(self.name, self.tracks, self.manner)

    @property
    def is_joined_by_us(self) -> bool:
        return any(step.what in ("remove", "move") for step in self.steps)

    def __str__(self) -> str:
        done = [f"{step.at:.1f} s {step.what} {step.how or ''}".rstrip() for step in self.steps]
        done += [f"for {step.seconds:.0f} s" for step in self.steps if step.seconds]
        asked = [f"{key}={value}" for section in self.settings.values() for key, value in section.items()]
        return f"{self.name}: {'; '.join([*self.faults, *asked, *done])}"
