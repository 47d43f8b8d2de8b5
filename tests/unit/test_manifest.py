# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest of DASH that does not come: it is asked for again, and after long the run ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from streamlink.exceptions import StreamError
from streamlink.stream.dash.dash import DASHStreamWorker
from streamlink.stream.dash.manifest import MPDParsingError

_reload = DASHStreamWorker.reload
from streamvaultd.recording.streamlink.guard import streamvault_manifest as manifest  # noqa: E402

DASHStreamWorker.reload = _reload  # type: ignore[method-assign]


class Worker:
    """Of streamlink: a manifest comes, or not, and it is closed or not."""

    def __init__(self, answers: Iterator[bool]) -> None:
        self.answers = answers
        self.closed = False

    def close(self) -> None:
        self.closed = True


def answer(worker: Worker) -> bool:
    if not next(worker.answers):
        raise StreamError("Unable to open URL")
    return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(manifest, "_reload", answer)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    "error", [StreamError("503"), MPDParsingError("no Period"), ValueError("P-T2 is no duration")]
)
def test_what_is_no_manifest_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A page of a server that is busy, with the status 200, comes as any of these."""

    def refuse(_worker: Worker) -> bool:
        raise error

    monkeypatch.setattr(manifest, "_reload", refuse)
    worker: Any = Worker(iter(()))
    assert manifest.reload(worker) is True
    assert not worker.closed


@pytest.mark.parametrize(
    ("answers", "closed"),
    [("++++++++", False), ("+---+---", False), ("+-----+", False), ("+-------", True), ("-------", True)],
)
def test_it_is_over_after_long_alone(clock: list[float], answers: str, closed: bool) -> None:
    """One try in four seconds."""
    worker: Any = Worker(iter([answer == "+" for answer in answers]))
    for _ in answers:
        assert manifest.reload(worker) is True
        clock[0] += 4.0
    assert worker.closed is closed
