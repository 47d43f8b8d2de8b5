# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon that answers streamvaultctl from a script, and a way to run streamvaultctl against it."""

from __future__ import annotations

import io
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from streamvaultd.ctl.main import main
from streamvaultd.ctl.show.screen import Screen
from streamvaultd.errors import ConnectionLost, DaemonNotRunning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Answer = dict[str, Any]

HOUR = 3_600_000_000
NOW = 1_795_000_000_000_000
"""2026-11-18 11:06:40 UTC, a Wednesday."""


def at(realtime: int) -> Answer:
    """A Timestamp."""
    return {"realtime": realtime, "monotonic": realtime - NOW + 9 * HOUR}


def recording(state: str = "recording", *, number: int = 348, streamer: str = "demo", **runtime: Any) -> Answer:
    """A Recording that began two hours and three minutes ago."""
    return {
        "id": number,
        "stream": 77,
        "context": {
            "streamer": streamer,
            "url": "https://example.org/live.m3u8?token=***",
            "quality": "best",
            "directory": "/srv/media",
            "durationUSec": None,
            "rotateAgeUSec": 24 * HOUR,
            "rotateSize": 100 << 30,
            "graceUSec": 60_000_000,
            "memoryMax": 256 << 20,
        },
        "runtime": {
            "state": state,
            "since": at(NOW - 2 * HOUR),
            "startedAt": at(NOW - 2 * HOUR - 180_000_000),
            "bytes": 3 << 30,
            "segments": 2,
            "deaths": 0,
            **runtime,
        },
    }


def segment(number: int = 1, phase: str = "writing", **fields: Any) -> Answer:
    """A Segment that began an hour ago."""
    return {
        "number": number,
        "unit": f"streamvault-348-{number:03d}.scope",
        "path": f"/srv/media/demo/stream_77_segments/segment_{number:03d}.ts",
        "phase": phase,
        "startedAt": at(NOW - HOUR),
        "bytes": 3600 << 20,
        **fields,
    }


def one(state: str = "recording", **runtime: Any) -> Answer:
    """The answer of most methods."""
    return {"recording": recording(state, **runtime)}


def event(**fields: Any) -> Answer:
    """An Event of a second ago."""
    return {
        "at": at(NOW - 1_000_000),
        "kind": "segment-died",
        "priority": 4,
        "message": "Segment 1 died",
        "recording": 348,
        **fields,
    }


def lost() -> ConnectionLost:
    """What a client raises when the daemon is gone in the middle of a call."""
    return ConnectionLost(address="/run/socket", why="the connection was closed")


def not_running() -> DaemonNotRunning:
    """What a client raises when there is no daemon."""
    return DaemonNotRunning(address="/run/socket", why="connection refused")


_UNASKED: dict[str, list[list[Any]]] = {
    "List": [[{"recordings": []}]],
    "GetStatus": [[{"mistakes": []}]],
    "ListStreamers": [[{"streamers": [{}]}]],
    "GetStream": [[{"stream": {}}]],
}
"""What is answered without a script: nothing is called like what was not found, and all is well."""


class FakeDaemon:
    """Answers each method from its script: one script for each call; an exception in it is raised.

    `calls` are the methods and parameters in the order in which they were called.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, Answer]] = []
        self.socket = ""
        self.printed: list[str] = []
        self.answers: list[str] = []
        """Of the people who are asked; nobody can be where there is none."""
        self._scripts: dict[str, list[list[Answer | BaseException]]] = {}

    def on(self, method: str, *answers: Answer | BaseException) -> FakeDaemon:
        """Answer one more call of `method` so; the last script is used for all further calls."""
        self._scripts.setdefault(method, []).append(list(answers))
        return self

    def read(self, _argv: list[str]) -> list[str]:
        """What a command prints that is run to be read."""
        return self.printed

    def client_of(self, path: str) -> FakeDaemon:
        self.socket = path
        return self

    def call(self, method: str, parameters: Mapping[str, object]) -> Answer:
        return next(self.more(method, parameters))

    def more(self, method: str, parameters: Mapping[str, object]) -> Iterator[Answer]:
        name = method.removeprefix("io.streamvault.Recorder.")
        self.calls.append((name, dict(parameters)))
        scripts = self._scripts.get(name) or _UNASKED[name]
        for answer in scripts.pop(0) if len(scripts) > 1 else scripts[0]:
            if isinstance(answer, BaseException):
                raise answer
            yield answer

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class Ran(NamedTuple):
    """How a run ended, and what it printed."""

    code: int
    out: str
    err: str
    executed: list[list[str]]


@contextmanager
def zone(name: str) -> Iterator[None]:
    """The local zone, as tzset(3) reads it from $TZ."""
    before = os.environ.get("TZ")
    try:
        os.environ["TZ"] = name
        time.tzset()
        yield
    finally:
        del os.environ["TZ"]
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


def run(daemon: FakeDaemon, *argv: str, on_terminal: bool = False, **environ: str) -> Ran:
    """Run streamvaultctl in UTC; its output goes to a terminal of 80 columns and 24 lines, or to pipes."""
    out, err = (Terminal(), Terminal()) if on_terminal else (io.StringIO(), io.StringIO())
    given = Terminal("".join(daemon.answers)) if daemon.answers else None
    executed: list[list[str]] = []
    with zone("UTC0"):
        code = main(
            argv,
            screen=Screen(out, err, {"TERM": "xterm", **environ}, given),
            client_of=daemon.client_of,
            now=lambda: NOW,
            execute=executed.append,
            read=daemon.read,
        )
    return Ran(code, out.getvalue(), err.getvalue(), executed)
