# SPDX-License-Identifier: GPL-3.0-or-later
"""What a join is asked for: the JSON object on its standard input, which main.py describes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from streamvaultd.errors import InvalidParameter
from streamvaultd.media.chapters import Change

# Left free on the file system beside the result, unless the input says how much the captures that run need
RESERVE = 64 << 20
# What the job's scope may have, unless the input says so
MEMORY = 512 << 20

# When a segment was received: from, until
Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to join; `output` is the result's path without its suffix."""

    recording: int
    segments: tuple[Path, ...]
    times: tuple[Span | None, ...] = ()
    dates: tuple[int | None, ...] = ()
    titles: tuple[Change, ...] = ()
    output: Path
    report: Path
    reserve: int = RESERVE
    progress: Path | None = None
    least: int = 0
    previous: Path | None = None
    mp4: bool = False
    timed: bool = False
    memory: int = MEMORY
    tries: int = 1


def parse_spec(text: str) -> Spec:
    """The job's input. Raises InvalidParameter naming what is missing or wrong."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise InvalidParameter(parameter="input") from error
    for name, kind in (("recording", int), ("segments", list), ("output", str), ("report", str)):
        if not isinstance(given, dict) or not isinstance(given.get(name), kind):
            raise InvalidParameter(parameter=name)
    if not given["segments"] or not all(isinstance(path, str) for path in given["segments"]):
        raise InvalidParameter(parameter="segments")
    return Spec(
        recording=given["recording"],
        segments=tuple(Path(path) for path in given["segments"]),
        times=_times("times", given.get("times", []), len(given["segments"])),
        dates=_dates("dates", given.get("dates", []), len(given["segments"])),
        titles=_titles("titles", given.get("titles", [])),
        output=Path(given["output"]),
        report=Path(given["report"]),
        reserve=_count("reserve", given.get("reserve", RESERVE)),
        progress=_path("progress", given.get("progress")),
        previous=_path("previous", given.get("previous")),
        least=_count("least", given.get("least", 0)),
        mp4=given.get("mp4") is True,
        timed=given.get("timed") is True,
        memory=_count("memory", given.get("memory", MEMORY)),
        tries=_count("tries", given.get("tries", 1)),
    )


def _path(name: str, given: object) -> Path | None:
    if given is not None and not isinstance(given, str):
        raise InvalidParameter(parameter=name)
    return None if given is None else Path(given)


def _times(name: str, given: object, count: int) -> tuple[Span | None, ...]:
    if not isinstance(given, list) or len(given) not in (0, count):
        raise InvalidParameter(parameter=name)
    return tuple(None if each is None else _span(name, each) for each in given)


def _dates(name: str, given: object, count: int) -> tuple[int | None, ...]:
    if not isinstance(given, list) or len(given) not in (0, count):
        raise InvalidParameter(parameter=name)
    return tuple(None if each is None else _count(name, each) for each in given)


def _titles(name: str, given: object) -> tuple[Change, ...]:
    if not isinstance(given, list):
        raise InvalidParameter(parameter=name)
    found = []
    for each in given:
        if not isinstance(each, list) or len(each) != 2 or not isinstance(each[1], str):
            raise InvalidParameter(parameter=name)
        found.append(Change(_count(name, each[0]), each[1]))
    return tuple(found)


def _span(name: str, given: object) -> Span:
    if not isinstance(given, list) or len(given) != 2:
        raise InvalidParameter(parameter=name)
    return _count(name, given[0]), _count(name, given[1])


def _count(name: str, given: object) -> int:
    if not isinstance(given, int) or given < 0:
        raise InvalidParameter(parameter=name)
    return given
