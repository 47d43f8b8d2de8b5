# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest of DASH that does not come: it is asked for again, and after long the run ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from streamlink.exceptions import StreamError
from streamlink.stream.dash.dash import DASHStreamWorker

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
