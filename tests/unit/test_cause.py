# SPDX-License-Identifier: GPL-3.0-or-later
"""The words for why a segment ended: stored, on the wire, in metrics and in the manual."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamvaultd.core.cause import DEATHS, Cause, is_death, kind_of
from streamvaultd.reporting.metrics.figures import CAUSES, deaths_by_kind

MANUAL = Path(__file__).parents[2] / "docs/man/streamvaultd.8.rst"


def test_the_manual_names_every_cause() -> None:
    named = {kind_of(word) for word in re.findall(r"\*\*([a-z-]+(?::N)?)\*\*", MANUAL.read_text(encoding="utf-8"))}
    assert {str(cause) for cause in Cause} <= named


def test_every_death_is_counted_under_its_own_word() -> None:
    assert (*DEATHS, "other") == CAUSES
    counted = deaths_by_kind({str(cause): 1 for cause in Cause})
    assert counted == {word: int(word != "other") for word in CAUSES}


@pytest.mark.parametrize(
    ("cause", "kind", "is_dead"),
    [
        (Cause.SIGNAL.numbered(9), Cause.SIGNAL, True),
        (Cause.EXIT.numbered(1), Cause.EXIT, True),
        ("unkillable", Cause.UNKILLABLE, True),
        ("rotated", Cause.ROTATED, False),
        ("launch-failed", Cause.LAUNCH_FAILED, False),
    ],
)
def test_stored_words(cause: str, kind: Cause, is_dead: bool) -> None:
    assert kind_of(cause) == kind
    assert is_death(cause) is is_dead
    assert f"{kind}" == kind.value
